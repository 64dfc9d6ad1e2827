"""Words and their numbers: what is counted, what is cut, what is refused, and what a file must hold."""

import json

import numpy as np
import pytest
import torch

from mmtutor.data import Vocabulary

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
            with pytest.raises(ValueError, match="length must be at least 3"):
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
    with pytest.raises(ValueError, match="min_count must be an int of at least 1"):
        Vocabulary.from_captions(["a"], min_count=bad)


def test_one_string_is_not_many_captions():
    with pytest.raises(TypeError, match="many strings, got one"):
        Vocabulary.from_captions("a red seven")


@pytest.mark.parametrize("captions", [[], [""], ["  ", "\n"]])
def test_captions_without_a_word_are_refused(captions):
    with pytest.raises(ValueError, match="no word in the captions"):
        Vocabulary.from_captions(captions)


def test_captions_that_lie_in_lists_are_refused_by_name():
    with pytest.raises(TypeError, match="captions"):
        Vocabulary.from_captions([["a red seven", "a seven"], ["a blue one"]])


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
