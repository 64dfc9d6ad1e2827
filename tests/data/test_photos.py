"""Photographs with captions, from small files in the real formats, made here and served by this machine."""

import gc
import hashlib
import io
import json
import pickle
import unicodedata
import zipfile

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from mmtutor.data import Photos, Vocabulary, flickr8k, photos
from mmtutor.data.download import DownloadError, RemoteFile
from mmtutor.data.photos import FILES
from mmtutor.training import fit

RNG = np.random.default_rng(0)
PIXELS = {f"{name}.png": RNG.integers(0, 256, (8, 12, 3), np.uint8) for name in "abcdefgh"}
SPLITS = dict(zip(PIXELS, "train restval train val val test test test".split(), strict=True))


def image_file(pixels, kind="PNG"):
    file = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(file, kind)
    return file.getvalue()


IMAGES = {name: image_file(pixels) for name, pixels in PIXELS.items()}


def listing(**changes):
    """The JSON of Karpathy's splits as a dict; ``changes`` are made in the image d.png."""
    images = []
    for k, (name, split) in enumerate(SPLITS.items()):
        texts = [f"{name[0]} dog {'very ' * n}runs" for n in range(1 + k % 3)]
        sentences = [{"tokens": text.split(), "raw": text, "imgid": k, "sentid": n} for n, text in enumerate(texts)]
        images.append({"filename": name, "split": split, "imgid": k, "sentids": [], "sentences": sentences})
    images[3] |= changes
    return {"images": images, "dataset": "flickr8k"}


def zipped(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


# As in Flickr8k's archive, with what a Mac left there.
ARCHIVE = zipped(
    {"Flicker8k_Dataset/": b""}
    | {f"Flicker8k_Dataset/{name}": content for name, content in IMAGES.items()}
    | {f"__MACOSX/Flicker8k_Dataset/{start}{name}": b"junk" for name in IMAGES for start in ("._", "")}
)


@pytest.fixture
def captions(tmp_path):
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(listing()))
    return path


@pytest.fixture(params=["folder", "zip"])
def images(request, tmp_path):
    path = tmp_path / "images"
    if request.param == "zip":
        path.write_bytes(ARCHIVE)
    else:
        path.mkdir()
        for name, content in IMAGES.items():
            (path / name).write_bytes(content)
    return path


# ---------------------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize(("split", "names"), [("train", "abc"), ("valid", "de"), ("test", "fgh")])
def test_the_splits_hold_their_photos_and_captions(captions, images, split, names):
    """At the size of the shorter side nothing is resized: the pixels are those of the middle square."""
    data = photos(split, captions=captions, images=images, size=8)
    assert len(data) == len(names)
    assert [file.rsplit("/")[-1] for file in data.files] == [f"{name}.png" for name in names]
    by_file = {image["filename"]: image for image in listing()["images"]}
    for k, name in enumerate(names):
        photo = data[k]["photo"]
        assert list(data[k]) == ["photo"]
        assert photo.dtype == torch.float32
        assert photo.is_contiguous()
        wanted = torch.tensor(PIXELS[f"{name}.png"][:, 2:10]).permute(2, 0, 1) / 255
        assert torch.equal(photo, wanted)
        assert data.captions[k] == [sentence["raw"] for sentence in by_file[f"{name}.png"]["sentences"]]


def test_a_photo_is_opened_only_when_it_is_asked_for(captions, images, tmp_path):
    if images.is_dir():
        (images / "b.png").write_bytes(b"damaged")
    else:
        members = {f"x/{name}": content for name, content in IMAGES.items()}
        images.write_bytes(zipped(members | {"x/b.png": b"damaged"}))
    data = photos("train", captions=captions, images=images, size=8)
    assert data[0]["photo"].shape == data[2]["photo"].shape == data[-1]["photo"].shape == (3, 8, 8)
    with pytest.raises(ValueError, match=r"images: cannot read the photo '.*b\.png'"):
        data[1]


def test_an_index_out_of_range_and_no_index(captions, images):
    data = photos("valid", captions=captions, images=images, size=8)
    with pytest.raises(IndexError):
        data[2]
    assert len(list(data)) == 2
    for index in (slice(2), [0, 1], 1.0):
        with pytest.raises(TypeError):
            data[index]


def only(pixels, tmp_path, size):
    """The photo that a file with these pixels (or this content) becomes."""
    (tmp_path / "x").write_bytes(pixels if isinstance(pixels, bytes) else image_file(pixels))
    return Photos(tmp_path, ["x"], [["a dog"]], size)[0]["photo"]


@pytest.mark.parametrize("shape", [(60, 91), (91, 60), (64, 64), (7, 30), (1, 1)])
def test_the_shorter_side_is_resized_and_the_middle_cut_out(tmp_path, shape):
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 4, 5), shape, mode="bilinear")
    pixels = (smooth[0] * 255).round().byte()
    photo = only(pixels.permute(1, 2, 0).numpy(), tmp_path, 16)
    height, width = (max(16, round(16 * side / min(shape))) for side in shape)
    whole = F.interpolate(pixels[None] / 255, (height, width), mode="bilinear", antialias=True)[0]
    top, left = (height - 16) // 2, (width - 16) // 2
    wanted = whole[:, top : top + 16, left : left + 16]
    assert photo.shape == (3, 16, 16)
    # A cut may lie half a pixel beside ours: compare with what moving by one pixel would change.
    assert (photo - wanted).abs().mean() < 0.02
    if shape == (64, 64):
        assert (photo - wanted).abs().max() < 1.01 / 255


def test_fine_patterns_become_grey(tmp_path):
    chess = np.indices((128, 128)).sum(0) % 2 * 255
    photo = only(np.repeat(chess[..., None], 3, 2).astype(np.uint8), tmp_path, 32)
    assert (photo - 0.5).abs().max() < 0.05


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_every_kind_of_picture_becomes_red_green_and_blue(tmp_path, mode):
    picture = Image.new("RGB", (20, 16), "white").convert(mode)
    photo = only(image_file(picture, "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"), tmp_path, 8)
    assert photo.shape == (3, 8, 8)
    assert (photo > 0.98).all()


def test_coco_gives_a_folder_with_each_photo(tmp_path):
    listed = listing()
    for k, image in enumerate(listed["images"]):
        image["filepath"] = f"{'val' if k % 2 else 'train'}2014"
        image["filename"] = f"{k // 2}.png"  # the same name in both folders
    (tmp_path / "coco.json").write_text(json.dumps(listed))
    members = {
        f"{image['filepath']}/{image['filename']}": IMAGES[f"{'abcdefgh'[k]}.png"]
        for k, image in enumerate(listed["images"])
    }
    for name, content in members.items():
        path = tmp_path / "coco" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "coco.zip").write_bytes(zipped({f"all/of/it/{name}": content for name, content in members.items()}))
    (tmp_path / "plain.zip").write_bytes(zipped(members))
    for images in ("coco", "coco.zip", "plain.zip"):
        data = photos("test", captions=tmp_path / "coco.json", images=tmp_path / images, size=8)
        for k, name in enumerate("fgh"):
            assert torch.equal(data[k]["photo"][0] * 255, torch.tensor(PIXELS[f"{name}.png"][:, 2:10, 0]).float())


# ---------------------------------------------------------------------------------------------- numbers


def test_captions_as_numbers(captions, images):
    data = photos("train", captions=captions, images=images, size=8)
    vocabulary = Vocabulary(["dog", "runs", "very", "a", "b"])
    new = data.tokenised(vocabulary, length=6, references=3)
    assert list(data[0]) == ["photo"]  # the old one is as it was
    assert list(new[0]) == ["photo", "caption"]
    assert new.captions == data.captions
    assert torch.equal(new[1]["photo"], data[1]["photo"])
    assert new[0]["caption"].dtype == torch.int64
    assert new[0]["caption"].tolist() == [[1, 7, 4, 5, 2, 0]] * 3  # "a dog runs", the only one
    two = [[1, 8, 4, 5, 2, 0], [1, 8, 4, 6, 5, 2]]
    assert new[1]["caption"].tolist() == [two[0], two[1], two[0]]  # in turn
    assert new[2]["caption"][2].tolist() == [1, 3, 4, 6, 6, 2]  # "c dog very very runs": cut, with its end
    assert data.tokenised(vocabulary, references=2)[2]["caption"].shape == (2, 52)
    assert data.tokenised(vocabulary)[0]["caption"].shape == (5, 52)


@pytest.mark.parametrize(
    ("arguments", "says"), [({"length": 2}, "length must be"), ({"references": 0}, "references must be")]
)
def test_bad_lengths_are_refused_at_once(captions, images, arguments, says):
    data = photos("train", captions=captions, images=images, size=8)
    with pytest.raises(ValueError, match=says):
        data.tokenised(Vocabulary(["dog"]), **arguments)
    for length in (True, 6.0, "6"):
        with pytest.raises(ValueError, match="length must be"):
            data.tokenised(Vocabulary(["dog"]), length)
    for references in (True, 2.0, "2"):
        with pytest.raises(ValueError, match="references must be"):
            data.tokenised(Vocabulary(["dog"]), references=references)


# ---------------------------------------------------------------------------------------------- loading


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_loader_gives_batches(captions, images, workers):
    data = photos("test", captions=captions, images=images, size=8).tokenised(Vocabulary(["dog"]), 6)
    before = data[0]  # in a zip: an archive that is open before workers are forked
    batches = [batch for _ in range(3) for batch in DataLoader(data, 2, num_workers=workers)]
    assert [tuple(batch["photo"].shape) for batch in batches] == [(2, 3, 8, 8), (1, 3, 8, 8)] * 3
    assert [tuple(batch["caption"].shape) for batch in batches] == [(2, 5, 6), (1, 5, 6)] * 3
    assert torch.equal(batches[0]["photo"][0], before["photo"])
    assert torch.equal(batches[-1]["photo"][0], data[2]["photo"])


def test_a_damaged_photo_is_named_from_a_worker(captions, images):
    data = photos("test", captions=captions, images=images, size=8)
    data.files[1] = "absent.png"
    with pytest.raises(ValueError, match=r"cannot read the photo 'absent\.png'"):
        list(DataLoader(data, 2, num_workers=2))


def test_each_process_opens_the_archive_for_itself(captions, tmp_path, monkeypatch):
    (tmp_path / "i.zip").write_bytes(ARCHIVE)
    data = photos("test", captions=captions, images=tmp_path / "i.zip", size=8)
    wanted, mine = data[0]["photo"], data._archive.open()
    assert data._archive.open() is mine  # once
    gc.collect()  # a loader's workers that are left from another test end now: they ask for the process, too
    with monkeypatch.context() as patched:
        patched.setattr("os.getpid", lambda: -1)
        assert data._archive.open() is not mine
        assert torch.equal(data[0]["photo"], wanted)


def test_pickling_takes_the_path_along_and_not_the_open_file(captions, images):
    data = photos("test", captions=captions, images=images, size=8).tokenised(Vocabulary(["dog"]), 6)
    item, copied = data[0], pickle.loads(pickle.dumps(data))
    assert copied.captions == data.captions
    for name, value in copied[0].items():
        assert torch.equal(value, item[name])


class Brightness(nn.Module):
    """How far a number is from the photos' brightness."""

    def __init__(self):
        super().__init__()
        self.level = nn.Parameter(torch.zeros(()))

    def loss(self, batch):
        assert batch["caption"].shape[1:] == (5, 6)
        return {"loss": (batch["photo"].mean((1, 2, 3)) - self.level).square().mean()}


def test_fit_takes_photos(captions, images, fit_device):
    train, valid = (
        photos(split, captions=captions, images=images, size=8).tokenised(Vocabulary(["dog"]), 6)
        for split in ("train", "valid")
    )
    history = fit(Brightness(), train, valid, epochs=20, batch_size=2, lr=0.1, progress=False)
    assert history.valid["loss"][-1] < history.valid["loss"][0] / 5


# ---------------------------------------------------------------------------------------------- refusals


def sentences(*tokens):
    return {"sentences": [{"tokens": t} for t in tokens]}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no known format of captions, it begins with ''; the known ones are .*Karpathy"),
        (b'{"images": [', "no JSON"),
        (b"\xff\xfe\xff", "no text in UTF-8"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", 'should be a dict with "images"; the known formats are .*Karpathy.*COCO.*Kaggle.*Flickr30k.*token'),
        (b"3", "no known format of captions, it begins with '3'; the known ones are .*Karpathy"),
        (b"{}", 'should be a dict with "images"'),
        (b'{"images": {}}', '"images" should be a list, is dict'),
        (b'{"images": []}', "none of the 0 images is in the split 'train'"),
        (b'{"images": [3]}', "image 0: 'filename' should be a string, is None"),
        (listing(filename=""), "image 3: 'filename' should be a string, is ''"),
        (listing(filename=3), "image 3: 'filename' should be a string, is 3"),
        (listing(filename="../d.png"), r"image 3: refused, '\.\./d\.png' is outside the folder"),
        (listing(filename="x/../../d.png"), "image 3: refused"),
        (listing(filename="/etc/passwd"), "image 3: refused"),
        (listing(filename="C:\\d.png"), "image 3: refused"),
        (listing(filename="..\\d.png"), "image 3: refused"),
        (listing(filepath=".."), r"image 3: refused, '\.\./d\.png'"),
        (listing(filepath="/"), "image 3: refused"),
        (listing(filepath=None), "image 3: 'filepath' should be a string"),
        (listing(filename="a.png"), r"image 3 \(a\.png\): occurs twice"),
        (listing(split="dev"), r"image 3 \(d\.png\): split should be one of train, restval, val, test, is 'dev'"),
        (listing(split=[]), "image 3 .*: 'split' should be a string"),
        (listing(sentences=[]), "image 3 .*: has no captions"),
        (listing(sentences=None), "image 3 .*: has no captions"),
        (listing(**sentences(["a"], [])), r"image 3 \(d\.png\): a caption without words"),
        (listing(**sentences([" "])), "image 3 .*: a caption without words"),
        (listing(**sentences(["a"], ["a", 3])), r"image 3 .*: the \"tokens\" .*\['a', 3\]"),
        (listing(**sentences("text")), "image 3 .*: the \"tokens\" .*'text'"),
        (listing(sentences=["text"]), 'image 3 .*: the "tokens" .*None'),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_malformed_caption_file_is_named_whatever_the_split(captions, tmp_path, content, says):
    (tmp_path / "images").mkdir()
    captions.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(ValueError, match=says) as caught:
        photos("train", captions=captions, images=tmp_path / "images")
    assert str(caught.value).startswith(str(captions))


def test_a_split_without_photos_is_refused(captions, images):
    listed = listing()
    listed["images"] = listed["images"][:3]
    captions.write_text(json.dumps(listed))
    with pytest.raises(ValueError, match="none of the 3 images is in the split 'test'"):
        photos("test", captions=captions, images=images)


def test_missing_photos_are_counted_and_the_first_one_named(captions, images):
    if images.is_dir():
        for name in "fh":
            (images / f"{name}.png").unlink()
    else:
        images.write_bytes(zipped({f"x/{n}": c for n, c in IMAGES.items() if n[0] not in "fh"} | {"x/xf.png": b""}))
    with pytest.raises(ValueError, match=r"images: 2 of 3 photos are missing, the first is 'f\.png'"):
        photos("test", captions=captions, images=images)
    assert len(photos("train", captions=captions, images=images)) == 3


def test_a_name_that_fits_two_photos_of_an_archive_is_refused(captions, tmp_path):
    path = tmp_path / "i.zip"
    path.write_bytes(zipped({f"x/{n}": c for n, c in IMAGES.items()} | {"y/g.png": IMAGES["g.png"]}))
    with pytest.raises(ValueError, match=r"i\.zip: 'g\.png' could be any of x/g\.png, y/g\.png"):
        photos("test", captions=captions, images=path)
    path.write_bytes(zipped({"y/g.png": b"thumbnail"} | IMAGES))  # the full name is no question
    assert photos("test", captions=captions, images=path).files == ["f.png", "g.png", "h.png"]


def test_files_that_are_not_there_or_no_archive(captions, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.json"):
        photos("train", captions=tmp_path / "absent.json", images=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"absent\.zip"):
        photos("train", captions=captions, images=tmp_path / "absent.zip")
    with pytest.raises(FileNotFoundError, match="absent"):
        Photos(tmp_path / "absent", ["x"], [["a"]])
    with pytest.raises(ValueError, match=r"dataset\.json: cut off, damaged, or no zip archive"):
        photos("train", captions=captions, images=captions)


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "8"])
def test_a_bad_size_is_refused(captions, images, size):
    with pytest.raises(ValueError, match="size must be a whole number of at least 1"):
        photos("train", captions=captions, images=images, size=size)
    with pytest.raises(ValueError, match="size must be a whole number of at least 1"):
        Photos(images, ["x"], [["a"]], size)


@pytest.mark.parametrize("arguments", [{"split": "val"}, {"split": "train", "size": 0}])
def test_bad_arguments_are_refused_before_anything_is_read(tmp_path, arguments):
    with pytest.raises(
        ValueError, match=r"split must be one of train, valid, test, all, got 'val'; did you mean 'valid'|size must be"
    ):
        photos(**arguments, captions=tmp_path / "absent", images=tmp_path / "absent")


@pytest.mark.parametrize(("files", "texts"), [([], []), (["x"], []), (["x"], [["a"], ["b"]]), (iter("xy"), iter("a"))])
def test_files_and_captions_must_fit(tmp_path, files, texts):
    with pytest.raises(ValueError, match=r"needs captions for every file, got . files, . captions"):
        Photos(tmp_path, files, texts)


def test_files_and_captions_as_people_give_them(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(IMAGES[name])
    wanted = [["a dog"], ["a café"]]
    for texts in (
        ["a dog", "a cafe\u0301"],  # one each; and an accent by itself
        [["a dog"], ("a café",)],
        np.array(["a dog", "a café"]),
        (text for text in ("a dog", "a café")),
    ):
        data = Photos(str(tmp_path), (tmp_path.joinpath(n).name for n in ("a.png", "b.png")), texts, np.int64(8))
        assert data.captions == wanted
        assert data.files == ["a.png", "b.png"]
        assert data[np.int64(1)]["photo"].shape == (3, 8, 8)
        new = data.tokenised(Vocabulary(["a", "café"]), np.int32(5), np.int32(2))
        assert new[1]["caption"].tolist() == [[1, 4, 5, 2, 0]] * 2


@pytest.mark.parametrize(
    ("files", "texts", "error", "says"),
    [
        ("x", ["a dog"], TypeError, "files must be many strings, got 'x'"),
        (3, ["a dog"], TypeError, "files must be many strings, got 3"),
        ([3], ["a dog"], TypeError, "files must be strings, got 3 in row 0"),
        (["x"], "a dog", TypeError, "captions must be a list of each photo's captions, got 'a dog'"),
        (["x"], {"x": "a dog"}, TypeError, "captions must be a list of each photo's captions"),
        (["x", "y"], ["a dog", float("nan")], TypeError, r"captions\[1\] must be many strings, got nan"),
        (["x", "y"], ["a dog", [3]], TypeError, r"captions\[1\] must be strings, got 3 in row 0"),
        (["x", "y"], ["a dog", []], ValueError, r"photo 1 has no caption, or one without words: \[\]"),
        (["x", "y"], [["a dog", " "], "a"], ValueError, "photo 0 has no caption, or one without words"),
    ],
)
def test_captions_that_are_none_are_refused_at_once(tmp_path, files, texts, error, says):
    with pytest.raises(error, match=f"Photos: {says}"):
        Photos(tmp_path, files, texts)


def test_what_is_no_vocabulary_is_refused(captions, images):
    with pytest.raises(TypeError, match="vocabulary must be a Vocabulary, got list"):
        photos("train", captions=captions, images=images).tokenised(["dog"])


# ---------------------------------------------------------------------------------------------- damaged ones


def damage(images, **changed):
    """Other content for some of the photos, None for none."""
    changed = {f"{name}.png": content for name, content in changed.items()}
    if images.is_dir():
        for name, content in changed.items():
            (images / name).unlink() if content is None else (images / name).write_bytes(content)
    else:
        images.write_bytes(zipped({f"x/{n}": c for n, c in (IMAGES | changed).items() if c is not None}))


def test_damaged_photos_are_skipped_on_request(captions, images, capfd):
    damage(images, f=IMAGES["f.png"][:80], h=None)
    with pytest.raises(ValueError, match=r"1 of 3 photos are missing, .* 'h\.png'; skip_damaged=True leaves them out"):
        photos("test", captions=captions, images=images)
    says = r"2 of 3 photos are left out \('.*f\.png', 'h\.png'; see \.skipped\); the first: .*cannot read the photo"
    with pytest.warns(UserWarning, match=says):
        data = photos("test", captions=captions, images=images, size=8, skip_damaged=True)
    assert [file.rsplit("/")[-1] for file in data.files] == ["g.png"]
    assert [file.rsplit("/")[-1] for file in data.skipped] == ["f.png", "h.png"]
    assert data.captions == [["g dog runs"]]
    assert torch.equal(data[0]["photo"][0] * 255, torch.tensor(PIXELS["g.png"][:, 2:10, 0]).float())
    assert capfd.readouterr() == ("", "")  # it took less than a second
    data = photos("valid", captions=captions, images=images, size=8, skip_damaged=True)
    assert (len(data), data.skipped) == (2, [])
    assert photos("valid", captions=captions, images=images).skipped == []


def test_a_set_of_damaged_photos_alone_is_refused(captions, images):
    damage(images, f=b"x", g=b"", h=b"\x89PNG")
    with pytest.raises(
        ValueError, match=r"none of the 3 photos can be read; .*f\.png.* \(no picture that Pillow reads"
    ):
        photos("test", captions=captions, images=images, skip_damaged=True)
    damage(images, f=None, g=None, h=None)
    with pytest.raises(ValueError, match=r"3 of 3 photos are missing.*is it the right folder\?"):
        photos("test", captions=captions, images=images, skip_damaged=True)


def test_photos_in_folders_below_are_found(captions, tmp_path):
    for name, content in IMAGES.items():
        folder = tmp_path / "set" / "Images" / name[0]
        folder.mkdir(parents=True)
        (folder / name).write_bytes(content)
    data = photos("test", captions=captions, images=tmp_path / "set", size=8)
    assert data.files == ["Images/f/f.png", "Images/g/g.png", "Images/h/h.png"]
    assert torch.equal(data[1]["photo"][0] * 255, torch.tensor(PIXELS["g.png"][:, 2:10, 0]).float())
    (tmp_path / "set" / "g.png").write_bytes(IMAGES["g.png"])  # the full name is no question
    assert photos("test", captions=captions, images=tmp_path / "set").files[1] == "g.png"
    (tmp_path / "set" / "thumbnails").mkdir()
    (tmp_path / "set" / "thumbnails" / "f.png").write_bytes(b"small")
    with pytest.raises(ValueError, match=r"'f\.png' could be any of Images/f/f\.png, thumbnails/f\.png"):
        photos("test", captions=captions, images=tmp_path / "set")


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_in_another_unicode_form_are_found(tmp_path, kind, forms):
    listed, stored = (unicodedata.normalize(form, "강아지 é.png") for form in forms)
    content = {"images": [{"filename": listed, "split": "test", **sentences(["a", "dog"])}]}
    (tmp_path / "c.json").write_text(json.dumps(content))
    path = tmp_path / "images"
    if kind == "zip":
        path.write_bytes(zipped({f"x/{stored}": IMAGES["a.png"]}))
    else:
        path.mkdir()
        (path / stored).write_bytes(IMAGES["a.png"])
    assert photos("test", captions=tmp_path / "c.json", images=path, size=8)[0]["photo"].shape == (3, 8, 8)


def test_all_photos_at_once(captions, images):
    assert len(photos("all", captions=captions, images=images)) == 8


def test_a_truncated_photo_is_never_read(tmp_path):
    pixels = np.repeat(np.repeat(PIXELS["a.png"], 8, 0), 8, 1)
    for kind in ("PNG", "JPEG"):
        content = image_file(pixels, kind)
        for length in range(0, len(content) * 9 // 10, max(1, len(content) // 40)):
            with pytest.raises(ValueError, match="cannot read the photo 'x'"):
                only(content[:length], tmp_path, 8)


def test_a_damaged_archive_ends_in_a_named_error_when_the_photo_is_read(captions, tmp_path):
    path = tmp_path / "i.zip"
    path.write_bytes(zipped(IMAGES))
    data = photos("test", captions=captions, images=path, size=8)
    raw = bytearray(path.read_bytes())
    raw[raw.index(IMAGES["g.png"][60:90])] ^= 1
    path.write_bytes(raw)
    assert data[0]["photo"].shape == (3, 8, 8)
    with pytest.raises(ValueError, match=r"i\.zip: cannot read the photo 'g\.png' \(.*damaged"):
        data[1]


def test_a_bomb_is_refused(captions, tmp_path):
    path = tmp_path / "i.zip"
    path.write_bytes(zipped(IMAGES | {"g.png": bytes(2**26 + 1)}))
    with pytest.raises(ValueError, match=r"'g\.png' unpacks to more than 67,108,864 bytes"):
        photos("test", captions=captions, images=path, size=8)[1]


def test_too_little_memory_is_not_taken_for_a_damaged_file(captions, images, monkeypatch):
    def too_large(*args, **kwargs):
        raise MemoryError

    data = photos("test", captions=captions, images=images, size=8)
    monkeypatch.setattr("PIL.Image.open", too_large)
    with pytest.raises(MemoryError):
        data[0]


# ---------------------------------------------------------------------------------------------- Flickr8k


def caption_zip(content=None):
    text = json.dumps(listing()) if content is None else content
    # The others are damaged: only what is needed is read.
    return zipped({"dataset_coco.json": b"no JSON", "dataset_flickr8k.json": text, "dataset_flickr30k.json": b""})


@pytest.fixture
def files(server):
    text = RemoteFile(FILES["captions"].name, server.remote(FILES["captions"].name, caption_zip()).urls, None)
    return {"images": server.remote(FILES["images"].name, ARCHIVE), "captions": text}


def test_flickr8k_is_downloaded_once_and_not_unpacked(files, server, tmp_path):
    for split, count in (("train", 3), ("valid", 2), ("test", 3)):
        data = flickr8k(split, folder=tmp_path, size=8, files=files)
        assert len(data) == count
    assert data.files == [f"Flicker8k_Dataset/{name}.png" for name in "fgh"]
    assert torch.equal(data[0]["photo"][0] * 255, torch.tensor(PIXELS["f.png"][:, 2:10, 0]).float())
    assert len(server.requests) == 2
    kept = sorted(path.name for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock")
    assert kept == ["Flickr8k_Dataset.zip", "caption_datasets.zip"]


def test_the_real_addresses():
    assert FILES["images"].hash == "md5:f18a1e2920de5bd84dae7cf08ec78978"
    assert FILES["captions"].hash is None
    assert all(url.startswith("https://") for file in FILES.values() for url in file.urls)


def test_flickr8k_without_damaged_photos(files, server, tmp_path):
    server.answers["/" + FILES["images"].name] = bad = zipped(
        {f"x/{n}": c for n, c in IMAGES.items()} | {"x/g.png": b""}
    )
    files["images"] = RemoteFile(FILES["images"].name, files["images"].urls, "md5:" + hashlib.md5(bad).hexdigest())
    with pytest.warns(UserWarning, match=r"1 of 3 photos are left out \('x/g\.png'"):
        assert len(flickr8k("test", folder=tmp_path, size=8, files=files, skip_damaged=True)) == 2


@pytest.mark.parametrize("arguments", [{"split": "val"}, {"split": "train", "size": 0}])
def test_bad_arguments_are_refused_before_any_download(files, server, tmp_path, arguments):
    with pytest.raises(ValueError, match="must be"):
        flickr8k(**arguments, folder=tmp_path, files=files)
    assert server.requests == []


def test_a_failed_download_is_named(files, server, tmp_path):
    server.answers.clear()
    with pytest.raises(DownloadError, match=r"could not download caption_datasets\.zip"):
        flickr8k("test", folder=tmp_path, files=files)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<html>please log in</html>", "no zip archive"),
        (caption_zip()[:200], "no zip archive"),
        (zipped({"dataset_coco.json": b"{}"}), r"has no 'dataset_flickr8k\.json'"),
        (caption_zip("{"), r"caption_datasets\.zip, dataset_flickr8k\.json: no JSON"),
        (caption_zip('{"images": 3}'), '"images" should be a list'),
        (caption_zip(json.dumps(listing(sentences=[]))), "has no captions"),
        (caption_zip().replace(b"PK\3\4", b"PK\3\5"), "damaged"),
    ],
)
def test_a_damaged_caption_file_says_to_remove_it_and_run_again(files, server, tmp_path, content, says):
    server.answers["/" + FILES["captions"].name] = content
    path = tmp_path / FILES["captions"].name
    with pytest.raises(ValueError, match=says) as caught:
        flickr8k("test", folder=tmp_path, size=8, files=files)
    assert str(caught.value).startswith(str(path))
    assert f"remove {path} and run again" in str(caught.value)
    assert [request[0] for request in server.requests] == ["/" + FILES["captions"].name]  # before 1.1 GB of photos
    path.unlink()
    server.answers["/" + FILES["captions"].name] = caption_zip()
    assert len(flickr8k("test", folder=tmp_path, size=8, files=files)) == 3


def test_new_photographs_need_no_captions(tmp_path):
    Image.fromarray(np.full((9, 12, 3), 51, np.uint8)).save(tmp_path / "new.png")
    new = Photos(tmp_path, ["new.png"], size=4)
    assert new.captions == [[]]
    torch.testing.assert_close(new[0], {"photo": torch.full((3, 4, 4), 0.2)})
    with pytest.raises(ValueError, match="these photographs have no captions"):
        new.tokenised(Vocabulary(["a"]))
