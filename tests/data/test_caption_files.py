"""Files of captions in the formats in which people share them: what is read, how it is split, and what is refused."""

import csv
import io
import json
import unicodedata

import numpy as np
import pytest
from PIL import Image

from mmtutor.data import Vocabulary, photos

TEXTS = {
    "a.jpg": ["A dog, brown and white, runs .", 'A "big" dog\'s T-shirt !'],
    "b.jpg": ["Two 2 cats; 3 | 4 birds"],
    "ç d.jpg": ["Grüne Käfer # 5", "beetles"],
}
WORDS = {
    "a.jpg": ["a dog brown and white runs", "a big dog s t shirt"],
    "b.jpg": ["two 2 cats 3 4 birds"],
    "ç d.jpg": ["grüne käfer 5", "beetles"],
}
NUMBERED = [(file, k, text) for file, texts in TEXTS.items() for k, text in enumerate(texts)]


def table(rows, **how):
    stream = io.StringIO()
    csv.writer(stream, **how).writerows(rows)
    return stream.getvalue()


def kaggle():
    return table([("image", "caption"), *((file, text) for file, _, text in NUMBERED)])


def flickr30k():
    return "image_name| comment_number| comment\n" + "".join(f"{f}| {k}| {t}\n" for f, k, t in NUMBERED)


def tokens():
    return "".join(f"{file}#{k}\t{text}\n" for file, k, text in NUMBERED)


def coco(**changes):
    images = [{"id": 7 * k + 1, "file_name": file, "license": 3} for k, file in enumerate(TEXTS)]
    ids = {image["file_name"]: image["id"] for image in images}
    annotations = [{"image_id": ids[f], "id": k, "caption": text + "\n"} for k, (f, _, text) in enumerate(NUMBERED)]
    return json.dumps({"info": {}, "images": images, "annotations": annotations[::-1]} | changes)


FORMS = {
    "kaggle": kaggle(),
    "kaggle, from Windows": "\ufeff" + kaggle(),
    "kaggle, line ends of Unix": kaggle().replace("\r\n", "\n"),
    "all cells quoted": table([("Image", "Caption"), *((f, t) for f, _, t in NUMBERED)], quoting=csv.QUOTE_ALL),
    "semicolons": table([("image", "caption"), *((f, t) for f, _, t in NUMBERED)], delimiter=";"),
    "tabs": table([("filename", "caption"), *((f, t) for f, _, t in NUMBERED)], delimiter="\t"),
    "more columns": table([("", "caption", "n", "image_name"), *(("x", t, k, f) for f, k, t in NUMBERED)]),
    "flickr30k": flickr30k(),
    "flickr30k, from Windows": flickr30k().replace("\n", "\r\n"),
    "flickr30k, a bar is missing": flickr30k().replace("| 1| beetles", "| 1   beetles"),
    "flickr8k": tokens(),
    "flickr8k, an empty line at the end": tokens() + "\n",
}


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for file in TEXTS:
        Image.new("RGB", (8, 8), "red").save(folder / file)
    return folder


@pytest.fixture
def write(tmp_path):
    def write(content, name="captions"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / name

    return write


@pytest.mark.parametrize("form", FORMS)
def test_every_format_gives_all_captions_as_words(images, write, form):
    data = photos("all", captions=write(FORMS[form]), images=images, size=4)
    assert dict(zip(data.files, data.captions, strict=True)) == WORDS
    assert data[0]["photo"].shape == (3, 4, 4)
    vocabulary = Vocabulary.from_captions(data.captions)
    assert data.tokenised(vocabulary, 10, 2)[2]["caption"].shape == (2, 10)


def test_coco(images, write):
    data = photos("all", captions=str(write(coco())), images=str(images), size=np.int64(4))
    assert {file: sorted(texts) for file, texts in zip(data.files, data.captions, strict=True)} == {
        file: sorted(texts) for file, texts in WORDS.items()
    }


def test_commas_without_quote_marks_belong_to_the_last_column(images, write):
    data = photos("all", captions=write("image,caption\na.jpg,A dog, brown,  runs.\nb.jpg,b\n"), images=images)
    assert data.captions == [["a dog brown runs"], ["b"]]


def test_one_name_in_two_unicode_forms_is_one_photograph(images, write):
    forms = [unicodedata.normalize(form, "ç d.jpg") for form in ("NFC", "NFD")]
    data = photos("all", captions=write(table([("image", "caption"), *((f, "a dog") for f in forms)])), images=images)
    assert data.captions == [["a dog", "a dog"]]


def test_karpathys_captions_without_tokens_become_words(images, write):
    sentences = [{"raw": "A T-shirt ."}, {"tokens": ["as", "It", "is"], "raw": "other"}]
    content = {"images": [{"filename": "a.jpg", "split": "test", "sentences": sentences}]}
    for split in ("test", "all"):
        data = photos(split, captions=write(json.dumps(content)), images=images)
        assert data.captions == [["a t shirt", "as It is"]]


# ---- splits


def many(n, write):
    rows = [(f"{k}.jpg", f"caption {k} {j}") for k in range(n) for j in range(2)]
    return write(table([("image", "caption"), *rows]), "many.txt")


def test_a_share_is_drawn_by_photograph_and_never_changes(tmp_path, write):
    (tmp_path / "pictures").mkdir()
    for k in range(50):
        Image.new("L", (4, 4)).save(tmp_path / "pictures" / f"{k}.jpg")
    where = {"captions": many(50, write), "images": tmp_path / "pictures"}
    parts = {split: photos(split, **where, splits=0.1) for split in ("train", "valid", "test", "all")}
    assert [len(part) for part in parts.values()] == [40, 5, 5, 50]
    files = [file for split in ("train", "valid", "test") for file in parts[split].files]
    assert sorted(files) == sorted(parts["all"].files)
    assert parts["test"].files == ["19.jpg", "26.jpg", "34.jpg", "36.jpg", "38.jpg"]  # on any machine, in any order
    assert all(len(texts) == 2 for part in parts.values() for texts in part.captions)
    upside_down = where["captions"].read_text().splitlines(keepends=True)
    where["captions"].write_text("".join([upside_down[0], *upside_down[:0:-1]]))
    assert set(photos("test", **where, splits=np.float64(0.1)).files) == set(parts["test"].files)


def test_lists_of_names_say_what_is_in_a_split(images, write):
    lists = {"train": write("ç d.jpg\r\nb.jpg\r\n", "train.txt"), "test": str(write("a.jpg", "test.txt"))}
    where = {"captions": write(kaggle()), "images": images, "splits": lists}
    assert photos("train", **where).files == ["b.jpg", "ç d.jpg"]
    assert photos("test", **where).captions == [WORDS["a.jpg"]]
    with pytest.raises(ValueError, match="none of the 3 images is in the split 'valid'"):
        photos("valid", **where)
    lists["valid"] = write("\na.jpg\n", "valid.txt")
    with pytest.raises(ValueError, match=r"valid\.txt, line 2: 'a\.jpg' is in 'valid' and in 'test'"):
        photos("train", **where)
    lists["valid"].write_text("a.jpg#0")
    with pytest.raises(ValueError, match=r"valid\.txt, line 1: 'a\.jpg#0' has no captions in .*captions"):
        photos("train", **where)


@pytest.mark.parametrize("content", [kaggle(), flickr30k(), tokens(), coco()])
def test_a_file_without_splits_must_be_split(images, write, content):
    with pytest.raises(ValueError, match=r"only the JSON of Karpathy's splits does.*splits=0\.1.*split='all'"):
        photos("train", captions=write(content), images=images)


@pytest.mark.parametrize(
    ("splits", "error", "says"),
    [
        (0.0, ValueError, "share must be between 0 and 0.5, got 0.0"),
        (0.5, ValueError, "share must be between"),
        (float("nan"), ValueError, "share must be between"),
        (1, TypeError, "must be a dict of files of names, .* or a share such as 0.1, got 1"),
        ("train.txt", TypeError, "must be a dict of files of names"),
        (["a.jpg"], TypeError, "must be a dict of files of names"),
        ({"train": ["a.jpg"]}, TypeError, r"splits\['train'\] must be a file of names, got \['a\.jpg'\]"),
        ({"val": "val.txt"}, ValueError, "split must be one of train, valid, test, got 'val'; did you mean 'valid'"),
    ],
)
def test_what_says_nothing_of_splits_is_refused_before_anything_is_read(tmp_path, splits, error, says):
    with pytest.raises(error, match=says):
        photos("train", captions=tmp_path / "absent", images=tmp_path / "absent", splits=splits)


def test_karpathys_file_has_its_own_splits(images, write):
    content = {"images": [{"filename": "a.jpg", "split": "test", "sentences": [{"tokens": ["a"]}]}]}
    with pytest.raises(ValueError, match="has splits of its own; leave out the argument splits"):
        photos("test", captions=write(json.dumps(content)), images=images, splits=0.1)


# ---- refusals


def image(**changes):
    return [{"id": 1, "file_name": "a.jpg"} | changes]


def annotation(**changes):
    return [{"image_id": 1, "caption": "a dog"} | changes]


HEAD = "image,caption\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "no known format of captions, it begins with ''; the known ones are .*Karpathy.*COCO.*Kaggle.*Flickr30k"),
        ("a.jpg,A dog\n", "no known format of captions, it begins with 'a.jpg,A dog'; .*'image,caption'"),
        ("image,image,caption\n", "no known format"),
        ("x| image| comment\n", "first line should be 'image_name| comment_number| comment'"),
        (HEAD, "has no captions"),
        (HEAD + "a.jpg\n", "line 2: should have 2 columns, has 1"),
        (HEAD + "a.jpg,a dog\n\nb.jpg\n", "line 4: should have 2 columns, has 1"),
        ("caption,image\na dog, brown,a.jpg\n", "line 2: should have 2 columns, has 3"),
        (HEAD + "a.jpg,a\nb.jpg, .\n", r"line 3 \(b\.jpg\): a caption without words, ' \.'; remove it"),
        (HEAD + ",a dog\n", "line 2: has no name of a photograph"),
        (HEAD + "../a.jpg,a dog\n", r"line 2: refused, '\.\./a\.jpg' is outside the folder"),
        (HEAD + 'a.jpg,"a dog\nb.jpg,"a cat"\n', "line 2: .*a quote mark within quote marks is written twice"),
        (HEAD + 'a.jpg,"a dog\nb.jpg,a cat\n', "line 2: .*a quote mark within quote marks is written twice"),
        (HEAD + 'a.jpg,"a dog\nb.jpg,a ""cat"" runs"\n', "line 2: a cell goes on over several lines"),
        (HEAD + f'a.jpg,x\nb.jpg,"{"y" * 200_000}"\n', "line 3: field larger than"),
        (HEAD.encode() + "a.jpg,개\n".encode("cp949"), "no text in UTF-8 .*; save it as UTF-8"),
        (kaggle().encode("utf-16"), "no text in UTF-8"),
        ("image_name| comment_number| comment\na.jpg| x| a dog\n", r"line 2: should be 'name\.jpg\| 0\| caption', is"),
        ("a.jpg#0\ta dog\nb.jpg#1 a cat\n", r"line 2: should be 'name\.jpg#0', a tab and a caption, is 'b\.jpg#1 a"),
        ("a.jpg#0\ta dog\na.jpg#1\t\n", r"line 2 \(a\.jpg\): a caption without words, ''"),
        ({"images": image()}, 'image 0: looks like COCO\'s JSON, but there is no "annotations"; the formats are'),
        ({"images": image(), "annotations": {}}, '"annotations" should be a list, is dict'),
        ({"images": image(file_name=3), "annotations": []}, "image 0: 'file_name' should be a string, is 3"),
        ({"images": image(file_name="/a.jpg"), "annotations": []}, "image 0: refused, '/a.jpg'"),
        ({"images": image(id=None), "annotations": []}, "image 0: 'id' should be a whole number, is None"),
        ({"images": image() * 2, "annotations": []}, r"image 1 \(a\.jpg\): its id or its file_name occurs twice"),
        ({"images": image(), "annotations": []}, "the image 'a.jpg' has no captions; give it one, or remove it"),
        ({"images": image(), "annotations": annotation(image_id=2)}, "annotation 0: there is no image with the id 2"),
        ({"images": image(), "annotations": [3]}, "annotation 0: 'image_id' should be a whole number"),
        ({"images": image(), "annotations": annotation(caption=3)}, "annotation 0: 'caption' should be a string, is 3"),
        ({"images": image(), "annotations": annotation(caption=" .\n")}, "annotation 0: a caption without words"),
        (
            {"images": image(), "annotations": [{"image_id": 1, "bbox": []}]},
            "annotation 0: has no 'caption'; COCO's captions are in captions_.*, not in instances_",
        ),
        ([{"image": "a.jpg", "caption": "a dog"}], 'should be a dict with "images"; the known formats are .*Karpathy'),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 90 else "",
)
def test_what_is_wrong_is_named_with_its_row(images, write, content, says):
    path = write(json.dumps(content) if isinstance(content, dict | list) else content)
    with pytest.raises(ValueError, match=says) as caught:
        photos("all", captions=path, images=images)
    assert str(caught.value).startswith(str(path))
