"""What every loader makes of arguments as people give them: NumPy's numbers, other words for a split, no numbers."""

import numpy as np
import pytest
import torch

from mmtutor.data import (
    Vocabulary,
    digits,
    flickr8k,
    fsdd,
    mnist,
    monologues,
    mosi,
    photos,
    scenes,
    smartwatch,
    svhn,
)
from mmtutor.data.handwritten import handwritten
from mmtutor.data.spoken import spoken

LOADERS = {
    "digits": lambda split: digits("word", split=split),
    "handwritten": handwritten,
    "spoken": spoken,
    "scenes": scenes,
    "monologues": lambda split: monologues(split, 3),
    "smartwatch": smartwatch,
    "mnist": mnist,
    "svhn": svhn,
    "fsdd": fsdd,
    "flickr8k": flickr8k,
    "mosi": lambda split: mosi("absent.pkl", split),
    "photos": lambda split: photos(split, captions="absent", images="absent"),
}


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
@pytest.mark.parametrize(
    ("split", "meant"),
    [("val", "valid"), ("validation", "valid"), ("dev", "valid"), ("training", "train"), ("Test", "test"),
     ("testing", "test"), ("TRAIN ", "train")],
)  # fmt: skip
def test_another_word_for_a_split_is_understood_and_refused(load, split, meant):
    with pytest.raises(ValueError, match=f"train, valid, test.*, got {split!r}; did you mean {meant!r}"):
        load(split)


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
@pytest.mark.parametrize("split", ["eval", "", None, 0, ["train"], np.array(["train"])])
def test_what_is_no_split_is_refused(load, split):
    with pytest.raises(ValueError, match=r"split must be one of train, valid, test.*, got [^;]*$"):
        load(split)


def of_digits(n=4, seed=3):
    return digits("handwritten", "street", split="valid", n=n, seed=seed, progress=False)


def of_scenes(n=3, seed=3, fewest=2, most=3, digit=7):
    return scenes("valid", n=n, seed=seed, objects=(fewest, most), always=[("red", digit)], progress=False)


def of_monologues(n=3, seed=3):
    return monologues("valid", n, seed, progress=False)


def of_smartwatch(fold=2, hop=40):
    return smartwatch("valid", fold=fold, hop=hop)


def of_crops(size=16, shift=3, seed=2):
    return of_scenes(1).crops(size, shift, seed)


WHOLE = {
    of_digits: {"n": 4, "seed": 3},
    of_scenes: {"n": 3, "seed": 3, "fewest": 2, "most": 3, "digit": 7},
    of_monologues: {"n": 3, "seed": 3},
    of_smartwatch: {"fold": 2, "hop": 40},
    of_crops: {"size": 16, "shift": 3, "seed": 2},
}
PAIRS = [(make, name) for make, numbers in WHOLE.items() for name in numbers]


@pytest.mark.parametrize(("make", "name"), PAIRS)
def test_whole_numbers_of_numpy_and_torch_are_whole_numbers(make, name):
    wanted, value = make()[:], WHOLE[make][name]
    for number in (np.int64(value), np.uint8(value), np.array(value), torch.tensor(value)):
        got = make(**{name: number})[:]
        assert got.keys() == wanted.keys()
        assert all(torch.equal(got[key], wanted[key]) for key in got)


@pytest.mark.parametrize(("make", "name"), PAIRS)
@pytest.mark.parametrize("value", [True, False, 2.0, np.float32(2), "2", None, -1, [2], np.nan])
def test_what_is_no_whole_number_is_refused_by_name(make, name, value):
    said = {"fewest": "objects", "most": "objects", "digit": "always must hold pairs"}.get(name, f"{name} must be")
    with pytest.raises(ValueError, match=said):
        make(**{name: value})


def test_the_cache_knows_a_whole_number_of_numpy_again(own_cache):
    of_digits()
    files = sorted(own_cache.rglob("*.safetensors"))
    of_digits(np.int64(4), np.int64(3))
    assert sorted(own_cache.rglob("*.safetensors")) == files
    assert len(files) == 1


def test_more_examples_than_any_memory_holds_are_refused_at_once():
    for make in (of_digits, of_scenes, of_monologues):
        with pytest.raises(ValueError, match="n must be a whole number from 1 to 1000000000"):
            make(n=2**70)


def test_pairs_may_be_lists_and_generators():
    pairs = ([colour, 7] for colour in ("red", np.str_("blue")))
    wanted = scenes("train", n=3, always=[("red", 7), ("blue", 7)], progress=False)
    assert scenes("train", n=3, always=pairs, progress=False).captions == wanted.captions


def test_scenes_need_a_vocabulary():
    with pytest.raises(TypeError, match=r"Scenes\.tokenised: vocabulary must be a Vocabulary, got list"):
        of_scenes().tokenised(["a", "red"])
    assert of_scenes().tokenised(Vocabulary(["a"]))[0]["caption"].shape == (3, 24)
