"""Words and their numbers: what is counted, what is cut, what is refused, and what a file must hold."""

import json
import unicodedata

import numpy as np
import pytest
import torch

from mmtutor.data import Vocabulary, tokenise

SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")


@pytest.fixture
def vocabulary():
    return Vocabulary(["a", "red", "seven"])  # 4, 5, 6


def test_the_four_come_first_and_then_the_words_in_their_order(vocabulary):
    assert vocabulary.words == (*SPECIAL, "a", "red", "seven")
    assert len(vocabulary) == 7
    assert Vocabulary([]).words == SPECIAL


def test_the_commonest_words_come_first_then_by_the_alphabet():
    captions = ["b c c  a", "c\tb\nd", "Zoe a"]  # c 3, a 2, b 2, d 1, Zoe 1
    assert Vocabulary.from_captions(captions).words[4:] == ("c", "a", "b", "Zoe", "d")
    assert Vocabulary.from_captions(captions, 2).words[4:] == ("c", "a", "b")
    assert Vocabulary.from_captions(captions, min_count=3).words[4:] == ("c",)
    assert Vocabulary.from_captions(captions, min_count=4).words == SPECIAL
    assert Vocabulary.from_captions(reversed(captions)).words == Vocabulary.from_captions(c for c in captions).words


def test_words_are_taken_as_they_are():
    assert Vocabulary.from_captions(["Red red, red"]).words[4:] == ("Red", "red", "red,")


@pytest.mark.parametrize(
    ("caption", "length", "numbers"),
    [
        ("a red seven", 5, [1, 4, 5, 6, 2]),
        ("a red seven", 8, [1, 4, 5, 6, 2, 0, 0, 0]),
        ("  seven\n a ", 4, [1, 6, 4, 2]),
        ("a blue Seven", 6, [1, 4, 3, 3, 2, 0]),
        ("red", 3, [1, 5, 2]),
    ],
)
def test_encode_by_hand(vocabulary, caption, length, numbers):
    code = vocabulary.encode(caption, length)
    assert code.tolist() == numbers
    assert code.dtype == torch.int64
    assert code.shape == (length,)
    assert vocabulary.encode(caption, length, cut=True).tolist() == numbers  # nothing to cut


def test_cut_leaves_out_the_last_words_and_keeps_the_end(vocabulary):
    assert vocabulary.encode("a red seven", 4, cut=True).tolist() == [1, 4, 5, 2]
    assert vocabulary.encode("a red seven", 3, cut=True).tolist() == [1, 4, 2]


def test_what_does_not_fit_is_refused(vocabulary):
    with pytest.raises(ValueError, match=r"3 words do not fit into length 4 .*'a red seven'"):
        vocabulary.encode("a red seven", 4)
    for cut in (False, True):
        for empty in ("", " \n "):
            with pytest.raises(ValueError, match="caption is empty"):
                vocabulary.encode(empty, 5, cut=cut)
        for length in (2, 0, -3):
            with pytest.raises(ValueError, match="length must be a whole number of at least 3"):
                vocabulary.encode("a", length, cut=cut)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([1, 4, 5, 6, 2, 0, 0], "a red seven"),
        ([4, 5], "a red"),  # a model that never ended
        ([1, 4, 2, 5, 99, -1], "a"),  # nothing after the end is looked at
        ([1, 4, 3, 2], "a <unk>"),
        ([0, 4, 0, 1, 6], "a seven"),
        ([1, 2], ""),
        ([], ""),
    ],
)
def test_decode_by_hand(vocabulary, numbers, words):
    for kind in (list, tuple, iter, torch.tensor, np.array):
        assert vocabulary.decode(kind(numbers)) == words


@pytest.mark.parametrize("bad", [7, -1, 10**6])
def test_a_number_that_is_no_words_is_refused(vocabulary, bad):
    with pytest.raises(ValueError, match=f"{bad} is no word's number, there are 7 words"):
        vocabulary.decode([4, bad])


def test_what_was_encoded_is_decoded_again():
    captions = ["a red seven left of an orange one", "Grün ist ä ñandú", "猫 と 犬 🐈"]
    vocabulary = Vocabulary.from_captions(captions)
    for caption in captions:
        assert vocabulary.decode(vocabulary.encode(caption, 12)) == caption


@pytest.mark.parametrize(
    "bad", ["", "a b", " a", "a\n", "\u00a0", "<pad>", "<start>", "<end>", "<unk>", 3, None, ["a"]]
)
def test_a_bad_word_is_refused(bad):
    with pytest.raises(ValueError, match="a word must be a string without white space"):
        Vocabulary(["a", bad])


def test_a_word_that_occurs_twice_is_refused_by_name():
    with pytest.raises(ValueError, match="'red' occurs twice"):
        Vocabulary(["a", "red", "seven", "red"])


def test_a_caption_may_not_hold_one_of_the_four():
    with pytest.raises(ValueError, match="<end>"):
        Vocabulary.from_captions(["a red <end> seven"])


@pytest.mark.parametrize("bad", [0, -1, 1.5, 2.0, True, "2", None])
def test_a_bad_min_count_is_refused(bad):
    with pytest.raises(ValueError, match="min_count must be a whole number of at least 1"):
        Vocabulary.from_captions(["a"], min_count=bad)


def test_one_string_is_not_many_captions():
    with pytest.raises(TypeError, match="many strings, got one"):
        Vocabulary.from_captions("a red seven")


@pytest.mark.parametrize("captions", [[], [""], ["  ", "\n"]])
def test_captions_without_a_word_are_refused(captions):
    with pytest.raises(ValueError, match="no word in the captions"):
        Vocabulary.from_captions(captions)


def test_captions_may_lie_in_lists_and_be_lists_of_words():
    wanted = Vocabulary.from_captions(["a red seven", "a seven", "a blue one"]).words
    for captions in (
        [["a red seven", "a seven"], ["a blue one"]],  # those of each photograph
        [("a", "red", "seven"), ("a", "seven"), ["a", "blue", "one"]],
        np.array([["a red seven", "a seven"], ["a", "blue one"]]),
        (text for text in ("a red seven", "a seven", "a blue one")),
        {"a red seven", "a seven", "a blue one"},
    ):
        assert Vocabulary.from_captions(captions).words == wanted
    assert Vocabulary.from_captions([["a", "a"], ["b"]], min_count=np.int64(2)).words[4:] == ("a",)


class Photographs(list):
    captions = (("a dog",),)


@pytest.mark.parametrize(
    ("captions", "says"),
    [
        ({"1.jpg": ["a dog"]}, "must be many strings, got dict"),
        (b"a dog", "must be many strings, got bytes"),
        (3, "must be many strings, got int"),
        (None, "must be many strings, got NoneType"),
        (Photographs([3]), r"must be many strings, got Photographs; give its \.captions"),
        (["a dog", float("nan")], "must be strings, got nan in row 1"),  # an empty cell of a table
        ([["a dog"], ["a", 3]], "must be strings, got 3 in row 1"),
        ([["a dog"], [["a"]]], r"must be strings, got \['a'\] in row 1"),
        ([{"caption": "a dog"}], "must be strings, got {'caption': 'a dog'} in row 0"),
        (torch.tensor([[1, 2]]), "must be strings, got tensor.* in row 0"),
    ],
)
def test_what_holds_no_captions_is_refused(captions, says):
    with pytest.raises(TypeError, match=says):
        Vocabulary.from_captions(captions)


def test_a_table_is_not_read_by_its_headings():
    class Frame:
        columns = ("image", "caption")

        def __iter__(self):
            return iter(self.columns)

    with pytest.raises(TypeError, match="got a table; give a column"):
        Vocabulary.from_captions(Frame())


@pytest.mark.parametrize("words", [{"a": 0, "b": 1}, {"a", "b"}, frozenset("ab"), b"ab", 3, None])
def test_words_without_an_order_are_refused(words):
    with pytest.raises(TypeError, match="words must be many strings in the order of their numbers, got"):
        Vocabulary(words)
    assert Vocabulary(word for word in "ab").words[4:] == ("a", "b")


# ---- writing systems


COMPOSED, TAKEN_APART = "개가 café에서 뛴다", unicodedata.normalize("NFD", "개가 café에서 뛴다")


def test_composed_and_decomposed_letters_are_the_same_words(tmp_path):
    assert COMPOSED != TAKEN_APART
    for text in (COMPOSED, TAKEN_APART):
        vocabulary = Vocabulary.from_captions([text, COMPOSED], min_count=2)
        assert vocabulary.words == Vocabulary(text.split()).words[:4] + tuple(sorted(COMPOSED.split()))
        for caption in (COMPOSED, TAKEN_APART, TAKEN_APART.split()):
            assert vocabulary.decode(vocabulary.encode(caption, 6)) == COMPOSED
    (tmp_path / "words.json").write_text(json.dumps([*SPECIAL, *TAKEN_APART.split()]), "utf-8")
    assert Vocabulary.load(tmp_path / "words.json").words[4:] == tuple(COMPOSED.split())
    with pytest.raises(ValueError, match="'개가' occurs twice"):
        Vocabulary([COMPOSED.split()[0], TAKEN_APART.split()[0]])


def test_wide_letters_and_capitals_are_other_words():
    assert len(Vocabulary.from_captions(["ａ a A ｶ カ"])) == 4 + 5


@pytest.mark.parametrize(
    "captions",
    [
        ["犬が芝生の上を走っている", "赤いボール"],
        ["一只棕色的狗在草地上奔跑", "两个孩子在海边玩耍。"],
        ["สุนัขวิ่งบนสนามหญ้า"],
        [["二匹の犬が、公園で 遊んでいる"], ["a dog 犬が公園を走る"]],
    ],
)
def test_a_language_without_spaces_between_words_is_noticed(captions):
    with pytest.warns(UserWarning, match="no spaces between words.*word segmenter") as caught:
        Vocabulary.from_captions(captions)
    assert len(caught) == 1
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "captions",
    [
        ["antidisestablishmentarianism"],
        ["犬 が 芝生 の 上 を 走っ て いる", "ヘリコプター が 飛ぶ"],
        ["一 只 棕色 的 狗 在 草地 上 奔跑"],
        ["สุนัข วิ่ง บน สนาม หญ้า"],
        ["猫", "犬", "dog"],
        ["ヘリコプター", "自転車", "โทรศัพท์"],
        ["개가 잔디에서 뛴다", "강아지"],
        [["犬", "が", "走る"], ["猫"]],
    ],
)
def test_words_that_stand_apart_are_no_reason_to_warn(captions):
    Vocabulary.from_captions(captions)  # a warning would be an error


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A dog runs .", "a dog runs"),
        ("Two dogs, one red-brown; the other's WHITE!", "two dogs one red brown the other s white"),
        ("The T-shirt says “don’t” (twice)", "the t shirt says don t twice"),
        ("Number 28, 4x4, 3.5 & at_last #7", "number 28 4x4 3 5 at last 7"),
        ("  A\tcat\nsat\u00a0.\r\n", "a cat sat"),
        ("Ein GRÜNER Käfer – ¿qué?", "ein grüner käfer qué"),
        (TAKEN_APART + "。", COMPOSED),
        ("कुत्ता दौड़ रहा है।", unicodedata.normalize("NFC", "कुत्ता दौड़ रहा है")),
        ("می‌دود، \u200c", "می‌دود"),
        ("犬が、走る。", "犬が 走る"),
        ("İstanbul", unicodedata.normalize("NFC", "i\u0307stanbul")),
        ("?!", ""),
        ("", ""),
    ],
)
def test_a_sentence_becomes_words(text, words):
    assert tokenise(text) == words
    assert tokenise(words) == words


@pytest.mark.parametrize("text", [None, 3, ["A dog"], b"A dog", float("nan")])
def test_what_is_no_sentence_is_refused(text):
    with pytest.raises(TypeError, match="tokenise: text must be a string, got"):
        tokenise(text)


# ---- other ways to give numbers and words


def test_a_caption_may_be_a_list_of_words(vocabulary):
    for words in (["a", "red", "seven"], ("a", "red", "seven"), np.array(["a", "red", "seven"])):
        assert vocabulary.encode(words, np.int64(5)).tolist() == [1, 4, 5, 6, 2]
    with pytest.raises(ValueError, match="caption is empty"):
        vocabulary.encode([], 5)
    with pytest.raises(ValueError, match="'a red' is no single word; encode one caption at a time"):
        vocabulary.encode(["a red", "a seven"], 9)
    for bad in (None, 3, float("nan"), b"a red", ["a", 3], {"a": 1}, [["a", "red"]]):
        with pytest.raises(TypeError, match="a caption must be a string or a list of words"):
            vocabulary.encode(bad, 9)


@pytest.mark.parametrize("length", [5.0, True, "5", None, [5]])
def test_a_length_that_is_no_whole_number_is_refused(vocabulary, length):
    with pytest.raises(ValueError, match="length must be a whole number of at least 3"):
        vocabulary.encode("a", length)


def test_numbers_of_every_kind_are_decoded(vocabulary):
    for numbers in (torch.tensor([1, 4, 6, 2]), np.array([1, 4, 6, 2], np.int32), np.array([4, 6], np.uint8)):
        for kind in (numbers, list(numbers), tuple(numbers)):
            assert vocabulary.decode(kind) == "a seven"
    for bad in (4, None, "46", torch.tensor(4), [4.0], torch.tensor([4.0]), [True], ["4"], [None]):
        with pytest.raises(TypeError, match="numbers must be the whole numbers of one caption"):
            vocabulary.decode(bad)
    for batch in (torch.tensor([[4, 6]]), np.array([[4, 6]]), [[4, 6]], [torch.tensor([4, 6])]):
        with pytest.raises(TypeError, match="decode each row by itself"):
            vocabulary.decode(batch)


# ---- files


@pytest.mark.parametrize("words", [["a", "red"], ["Grün", "猫", "🐈", 'quo"te', "back\\slash"], []])
def test_a_file_gives_the_same_words(tmp_path, words):
    path = tmp_path / "words.json"
    Vocabulary(words).save(path)
    assert Vocabulary.load(path).words == Vocabulary.load(str(path)).words == (*SPECIAL, *words)
    assert Vocabulary.load(path).encode("a b", 4).tolist() == Vocabulary(words).encode("a b", 4).tolist()
    assert json.loads(path.read_bytes()) == [*SPECIAL, *words]
    assert all(word in path.read_text("utf-8") for word in words if word.isalpha())  # to be read by people
    Vocabulary(["other"]).save(str(path))  # over what lay there
    assert Vocabulary.load(path).words[4:] == ("other",)
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_stays_whole_where_writing_fails(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "words.json"
    Vocabulary(["old"]).save(path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # as if the disk were full
    try:
        with pytest.raises(OSError, match="too large"):
            Vocabulary([f"word{i}" for i in range(1000)]).save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    with pytest.raises(UnicodeEncodeError):
        Vocabulary(["\ud800"]).save(path)
    assert path.read_bytes() == before
    Vocabulary(["new"]).save(path)  # and what was left behind does not stand in the way
    assert Vocabulary.load(path).words[4:] == ("new",)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "words.json: no JSON"),
        (b'["<pad>", "<start>", "<end>", "<unk>", "a"', "words.json: no JSON"),
        (b'["<pad>", "\xff"]', "words.json: no JSON"),
        (b"{}", "words.json: should be a list"),
        (b'{"<pad>": 0}', "words.json: should be a list"),
        (b"3", "words.json: should be a list"),
        (b"null", "words.json: should be a list"),
        (b'"<pad>"', "words.json: should be a list"),
        (b"[]", "words.json: should be a list"),
        (b'["a", "red"]', "words.json: should be a list .*<pad>, <start>, <end>, <unk>"),
        (b'["<pad>", "<start>", "<end>"]', "words.json: should be a list"),
        (b'["<start>", "<pad>", "<end>", "<unk>", "a"]', "words.json: should be a list"),
        (b'["<pad>", "<start>", "<end>", "<unk>", "a", "a"]', "'a' occurs twice"),
        (b'["<pad>", "<start>", "<end>", "<unk>", "a", "<end>"]', "not '<end>'"),
        (b'["<pad>", "<start>", "<end>", "<unk>", 3]', "not 3"),
        (b'["<pad>", "<start>", "<end>", "<unk>", ["a"]]', r"not \['a'\]"),
        (b'["<pad>", "<start>", "<end>", "<unk>", "a b"]', "not 'a b'"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused(tmp_path, content, says):
    path = tmp_path / "words.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=says):
        Vocabulary.load(path)


def test_a_file_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        Vocabulary.load(tmp_path / "words.json")
