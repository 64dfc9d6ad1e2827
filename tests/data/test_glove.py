"""Word vectors from small files in the real format."""

import unicodedata

import numpy as np
import pytest
import torch

from mmtutor.data import Vocabulary, glove
from mmtutor.data.vocabulary import PAD, SPECIAL

WORDS = Vocabulary(["cat", "dog", "zebra", "naïve", "eel"])
GLOVE = """\
the 0.5 -0.5 1e-2
dog 1 2 3
. . . 9 9 9
to infinity 8 8 8
naïve -1 -2 -3.5
dog 7 7 7
cat 4 5 6
"""
FOUND = torch.tensor([[4.0, 5, 6], [1, 2, 3], [-1, -2, -3.5]])  # cat, dog, naïve


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "vectors.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize(
    "text",
    [
        GLOVE,
        "7 3\n" + GLOVE,  # as word2vec writes it
        GLOVE.replace("\n", " \n"),
        GLOVE.replace("\n", "\r\n"),
        GLOVE.rstrip("\n"),
        GLOVE.replace("the", "next\u0085line"),  # ends a line for str.splitlines, not here
        GLOVE.replace("the", "a\rb"),
        GLOVE.replace("the 0.5", "7 5"),
    ],
    ids=[
        "GloVe",
        "word2vec",
        "space at the end",
        "Windows",
        "no last line end",
        "odd letter",
        "carriage return",
        "a number as word",
    ],
)
def test_words_get_their_vectors(write, text):
    table, missing = glove(write(text), WORDS)
    assert table.dtype == torch.float32
    assert table.shape == (9, 3)
    assert torch.equal(table[[4, 5, 7]], FOUND)
    assert missing == ["zebra", "eel"]
    assert torch.equal(table[PAD], torch.zeros(3))


def test_words_that_are_not_there_get_noise_as_wide_as_the_vectors_found(write):
    many = Vocabulary(["dog", "cat", "naïve", *(f"w{k}" for k in range(4000))])
    table, missing = glove(write(GLOVE), many)
    assert missing == [f"w{k}" for k in range(4000)]
    noise = torch.cat([table[1:4], table[7:]])
    sd = FOUND.std(correction=0)
    assert sd.item() == pytest.approx(3.0712, abs=1e-3)
    assert abs(noise.mean() / sd) < 0.03
    assert noise.std() == pytest.approx(sd.item(), rel=0.03)
    assert noise.unique(dim=0).shape == noise.shape  # each its own


def test_the_noise_depends_on_the_seed_alone(write):
    path = write(GLOVE)
    first, again, other = glove(path, WORDS, seed=1)[0], glove(path, WORDS, seed=1)[0], glove(path, WORDS, seed=2)[0]
    assert torch.equal(first, again)
    assert not torch.equal(first[6], other[6])
    state = torch.get_rng_state()
    glove(path, WORDS)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_special_word_may_be_there_but_padding_is_zero_and_neither_counts_as_found(write):
    table, missing = glove(write(GLOVE + "<unk> 5 5 5\n<pad> 1 1 1\n"), WORDS)
    assert torch.equal(table[SPECIAL.index("<unk>")], torch.full((3,), 5.0))
    assert torch.equal(table[PAD], torch.zeros(3))
    assert missing == ["zebra", "eel"]
    with pytest.raises(ValueError, match="none of the 5 words"):
        glove(write("<unk> 5 5 5\n"), WORDS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GLOVE + "emu 1 2\n", "line 8: should be a word and 3 numbers, has 2"),
        (GLOVE + "emu 1 2 3 4\n", "line 8: should be a word and 3 numbers, has 4"),
        (GLOVE.replace("dog 1 2 3", "dog 1 2"), "line 2: should be a word and 3 numbers, has 2"),
        (GLOVE + "\n", "line 8: should be a word and 3 numbers, has 0"),
        ("7 4\n" + GLOVE, "line 2: should be a word and 4 numbers, has 3"),
        ("the\t1\t2\ncat\t1\t2\n", "line 1: should be a word and its numbers, has 0"),
        ("\n", "line 1: should be a word and its numbers, has 0"),
        (GLOVE.replace("dog 1", "dog one"), "line 2: could not convert .*one"),
        ("a word that is text\ncat 1 2 3 4\n", "line 1: could not convert .*word"),
        (GLOVE.replace("cat 4", "cat nan"), "line 7: a number is not finite"),
        (GLOVE.replace("cat 4", "cat -inf"), "line 7: a number is not finite"),
        (GLOVE.replace("cat 4", "cat 1e39"), "line 7: a number is not finite"),  # as float32
        ("emu 1 2 3\n", "none of the 5 words of the vocabulary"),
        ("", "none of the 5 words of the vocabulary"),
        ("Cat 1 2 3\n", "none of the 5 words of the vocabulary"),
        (b"PK\x03\x04\x00 \xff\x00 \x01\n", r"line 1: could not convert"),
    ],
)
def test_a_malformed_file_is_named_with_its_line(write, text, says):
    with pytest.raises(ValueError, match=says) as caught:
        glove(write(text), WORDS)
    assert "vectors.txt" in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.txt"):
        glove(tmp_path / "absent.txt", WORDS)


def test_the_file_is_read_line_by_line(write):
    import tracemalloc

    path = write(GLOVE + "".join(f"emu{k} 1 2 3\n" for k in range(200_000)))
    tracemalloc.start()
    try:
        glove(path, WORDS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < path.stat().st_size / 5


def test_accents_in_another_unicode_form_are_the_same_word(write):
    for form in ("NFC", "NFD"):
        table, missing = glove(write(unicodedata.normalize(form, GLOVE)), WORDS)
        assert torch.equal(table[[4, 5, 7]], FOUND)
        assert missing == ["zebra", "eel"]


def test_arguments_are_taken_or_refused_by_name(write):
    path = write(GLOVE)
    wanted = glove(path, WORDS, seed=3)[0]
    for seed in (np.int64(3), np.array(3), torch.tensor(3)):
        assert torch.equal(glove(str(path), WORDS, seed=seed)[0], wanted)
    for seed in (-1, 1.0, True, "3", None, 2**64):
        with pytest.raises(ValueError, match="glove: seed must be a whole number from 0"):
            glove(path, WORDS, seed=seed)
    for words in (["cat", "dog"], {"cat": 4}, None):
        with pytest.raises(TypeError, match="glove: vocabulary must be a Vocabulary, got"):
            glove(path, words)
