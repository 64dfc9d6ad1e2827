"""Scenes: what the pixels show is what the labels say, and every sentence is true."""

import re
import signal
from itertools import combinations

import numpy as np
import pytest
import torch

from mmtutor.data import COLOURS, Items, MultimodalDataset, Pairs, Scenes, Vocabulary, scenes
from mmtutor.data.handwritten import handwritten
from mmtutor.data.scene import CAPTION_LENGTH, Thing, holds, relation

WORDS = "zero one two three four five six seven eight nine".split()
LABELS = ("owner_label", "box_label", "digit_label", "colour_label", "big_label")
EVERY_PAIR = [(colour, digit) for colour in COLOURS for digit in range(10)]


@pytest.fixture(scope="module", autouse=True)
def _no_hanging():
    def late(*_):
        raise TimeoutError("hangs")

    old = signal.signal(signal.SIGALRM, late)
    yield
    signal.signal(signal.SIGALRM, old)


def quiet(split="train", *, seconds=30, **settings):
    signal.alarm(seconds)
    try:
        return scenes(split, **{"n": 3, "progress": False, **settings})
    finally:
        signal.alarm(0)


@pytest.fixture(scope="module")
def many():
    return quiet(n=300, objects=(1, 4), seed=3)


def every(data):
    """Scene, number and object."""
    return [(k, i, thing) for k, row in enumerate(data.objects) for i, thing in enumerate(row)]


# ---- what is in it


@pytest.mark.parametrize(("objects", "most"), [((1, 3), 3), ((1, 1), 1), ((4, 4), 4), ([2, 3], 3)])
def test_shapes_types_and_ranges(objects, most):
    data = quiet(n=5, objects=objects)
    shapes = {name: (tuple(value.shape), value.dtype) for name, value in data[:].items()}
    assert shapes == {
        "scene": ((5, 3, 64, 64), torch.float32),
        "owner_label": ((5, 64, 64), torch.int8),
        "box_label": ((5, most, 4), torch.int64),
        "digit_label": ((5, most), torch.int64),
        "colour_label": ((5, most), torch.int64),
        "big_label": ((5, most), torch.int64),
    }
    assert 0 <= data[:]["scene"].min() < 0.3 < 0.8 < data[:]["scene"].max() <= 1
    assert data.modalities == ("scene",)
    assert len(data) == len(data.objects) == len(data.captions) == 5


def test_all_numbers_of_objects_and_all_digits_colours_and_sizes_occur(many):
    assert {len(row) for row in many.objects} == {1, 2, 3, 4}
    assert {len(row) for row in quiet(n=40).objects} == {1, 2, 3}
    for kind, wanted in (("digit", range(10)), ("colour", COLOURS), ("size", ("small", "big"))):
        assert {getattr(thing, kind) for _, _, thing in every(many)} == set(wanted)
    assert all(len(row) == 4 for row in quiet(n=10, objects=(4, 4)).objects)
    assert all(len(row) == 1 for row in quiet(n=10, objects=(1, 1)).objects)


def test_labels_are_the_objects(many):
    tensors, names = many.tensors, list(COLOURS)
    shown = torch.zeros_like(tensors["digit_label"], dtype=torch.bool)
    for k, i, thing in every(many):
        shown[k, i] = True
        assert tensors["digit_label"][k, i] == thing.digit
        assert names[tensors["colour_label"][k, i]] == thing.colour
        assert tensors["big_label"][k, i] == (thing.size == "big")
        assert tuple(tensors["box_label"][k, i].tolist()) == thing.box
        assert (tensors["owner_label"][k] == i).sum() > 10
    for name in LABELS[1:]:
        assert (tensors[name][~shown] == -1).all()
        assert (tensors[name][shown] >= 0).all()
    assert (tensors["owner_label"].flatten(1).amax(1) == torch.tensor([len(row) - 1 for row in many.objects])).all()
    assert tensors["owner_label"].min() == -1


def test_colours_and_digits_differ_within_a_scene(many):
    for row in many.objects:
        assert len({thing.digit for thing in row}) == len({thing.colour for thing in row}) == len(row)


def test_objects_lie_inside_and_apart(many):
    for row in many.objects:
        for thing in row:
            left, top, right, bottom = thing.box
            assert 0 < left < right < 64
            assert 0 < top < bottom < 64
            assert thing.centre == ((left + right) / 2, (top + bottom) / 2)
        for a, b in combinations([thing.box for thing in row], 2):
            assert max(b[0] - a[2], a[0] - b[2], b[1] - a[3], a[1] - b[3]) >= 2, (a, b)


def test_big_is_higher_than_small(many):
    heights = {size: {t.box[3] - t.box[1] for _, _, t in every(many) if t.size == size} for size in ("small", "big")}
    assert heights == {"small": set(range(13, 18)), "big": set(range(23, 29))}


# ---- the pixels


def test_masks_lie_in_their_boxes_and_nearly_touch_the_sides(many):
    slack = []
    for k, i, thing in every(many):
        rows, columns = np.nonzero(many.tensors["owner_label"][k].numpy() == i)
        left, top, right, bottom = thing.box
        sides = (columns.min() - left, rows.min() - top, right - 1 - columns.max(), bottom - 1 - rows.max())
        assert min(sides) >= 0
        slack.append(max(sides))
    assert np.mean(np.array(slack) <= 2) > 0.95
    assert max(slack) < 10  # a faint stroke belongs to the box, not to the mask


def test_the_pixels_of_a_mask_have_the_colour(many):
    """By hue: what is thin or dark is mixed with the ground, so the brightest of the three channels is set to 1."""
    palette = np.array(list(COLOURS.values()))
    palette /= palette.max(1, keepdims=True)
    right = []
    for k, i, thing in every(many):
        mean = many.tensors["scene"][k][:, many.tensors["owner_label"][k] == i].mean(1).numpy()
        nearest = np.square(palette - mean / mean.max()).sum(1).argmin()
        right.append(list(COLOURS)[nearest] == thing.colour)
    assert np.mean(right) > 0.99


def test_the_mask_is_what_stands_out_from_the_ground(many):
    brighter = []
    for k, i, thing in every(many):
        left, top, right, bottom = thing.box
        part = many.tensors["scene"][k, :, top:bottom, left:right].amax(0)
        mask = many.tensors["owner_label"][k, top:bottom, left:right] == i
        if not mask.all():
            brighter.append((part[mask].mean() - part[~mask].mean()).item())
    assert min(brighter) > 0.1
    assert np.mean(brighter) > 0.4


def test_the_ground_is_grey_noise_without_objects(many):
    scene, ground = many.tensors["scene"].clone(), torch.ones(len(many), 64, 64, dtype=torch.bool)
    for k, _, thing in every(many):
        left, top, right, bottom = thing.box
        ground[k, top:bottom, left:right] = False
    assert (many.tensors["owner_label"][ground] == -1).all()
    pixels = scene.movedim(1, -1)[ground]
    assert (pixels.amax(1) - pixels.amin(1)).max() < 0.08
    assert pixels.max() < 0.65
    steps = [scene[k, 0, :, 1:][ground[k, :, 1:]].std().item() for k in range(len(many))]
    assert min(steps) > 0.02  # noise


def solid(asked):
    """A source whose digits are told by their form: blocks, 20 high and 6 + 2 × digit wide, grey at the top left."""
    values = np.zeros((10, 1, 28, 28), np.uint8)
    for digit in range(10):
        values[digit, 0, 4:24, 1 : 7 + 2 * digit] = 255
        values[digit, 0, 4:10, 1 : 7 + 2 * digit] = values[digit, 0, 4:24, 1:3] = 120

    def source(split):
        asked.append(split)
        return Items(values, np.arange(10))

    return source


def test_the_source_is_asked_for_the_split_and_the_picture_shows_the_labels_digit():
    asked = []
    for split in ("train", "valid", "test"):
        data = quiet(split, n=40, source=solid(asked))
        assert asked.pop() == split
        assert not asked
        for k, i, thing in every(data):
            left, top, right, bottom = thing.box
            assert round(((right - left) / (bottom - top) * 20 - 6) / 2) == thing.digit
            assert (data.tensors["owner_label"][k, top:bottom, left:right] == i).all()  # a block fills its box


def alike(part, item):
    """How well a cut-out scene looks like an item, from -1 to 1."""
    from PIL import Image

    rows, columns = np.flatnonzero((item > 50).any(1)), np.flatnonzero((item > 50).any(0))
    item = item[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    item = np.asarray(Image.fromarray(item).resize(part.shape[::-1], Image.Resampling.BILINEAR), float)
    return np.corrcoef(part.ravel(), item.ravel())[0, 1]


@pytest.mark.parametrize("split", ["valid", "test"])
def test_the_digits_are_the_handwritten_ones_of_the_split(split):
    data, best = quiet(split, n=8, objects=(1, 1), seed=1), []
    for k, _, thing in every(data):
        left, top, right, bottom = thing.box
        part = data.tensors["scene"][k, :, top:bottom, left:right].sum(0).numpy()
        for other in ("train", "valid", "test"):
            items = handwritten(other)
            best.append(max(alike(part, v[0]) for v in items.values[items.labels == thing.digit]))
    assert (np.array(best).reshape(-1, 3).argmax(1) == ["train", "valid", "test"].index(split)).all()
    assert max(best) > 0.98


def test_bytes_and_floats_are_the_same_source():
    items = handwritten("valid")
    as_floats = Items(items.values * np.float64(1 / 255), items.labels)
    one, two, three = quiet("valid"), quiet("valid", source=handwritten), quiet("valid", source=lambda split: as_floats)
    for other in (two, three):
        assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)
        assert one.captions == other.captions


# ---- what a scene depends on


def test_scene_k_does_not_depend_on_n():
    more, fewer = quiet(n=9, seed=4), quiet(n=4, seed=4)
    assert all(torch.equal(more[:4][name], fewer[:][name]) for name in fewer.tensors)
    assert more.captions[:4] == fewer.captions
    assert more.objects[:4] == fewer.objects
    words = Vocabulary.from_captions(c for row in more.captions for c in row)
    for name in ("caption", "about_label"):
        assert torch.equal(more.tokenised(words)[:4][name], fewer.tokenised(words)[:][name])
    assert len({str(row) for row in more.objects}) == 9


def test_other_seeds_and_splits_give_other_scenes():
    one = {"n": 4, "source": solid([])}  # what is drawn at random differs, not only the digits
    kinds = [quiet(**one), quiet(seed=1, **one), quiet("valid", **one), quiet("test", **one)]
    for a, b in combinations(kinds, 2):
        for k in range(4):
            assert not torch.equal(a[k]["scene"], b[k]["scene"])
            assert a.objects[k] != b.objects[k]
    again = quiet(**one)
    assert torch.equal(again[:]["scene"], kinds[0][:]["scene"])


# ---- sentences, read here in another way than the library does

NAME = r"an? (?:(?:big|small) )?\w+ (?:{})".format("|".join(WORDS))
SENTENCE = re.compile(
    rf"(?:there is )?({NAME})"
    rf"(?:( is)? (left of|right of|above|below) ({NAME})((?: and {NAME})*)| at the (top|bottom|)( ?)(left|right|))?"
)


def one_by(row, name):
    """Where the object that the words name stands in the row; everything that the words say of it must be true."""
    article, *sizes, colour, digit = name.split()
    (i,) = [i for i, thing in enumerate(row) if thing.digit == WORDS.index(digit)]
    assert row[i].colour == colour
    assert len(sizes) <= 1
    assert all(size == row[i].size for size in sizes)
    assert article == ("an" if (*sizes, colour)[0][0] in "aeiou" else "a")
    return i


def apart(a, b):
    (left, top, right, bottom), (x0, y0, x1, y1) = a.box, b.box
    return (left + right - x0 - x1) / 2, (top + bottom - y0 - y1) / 2


def test_every_sentence_is_true_and_names_every_object_once(many):
    kinds = set()
    for row, captions in zip(many.objects, many.captions, strict=True):
        for caption in captions:
            parts = SENTENCE.fullmatch(caption)
            assert parts, caption
            first, verb, stated, second, more, down, space, across = parts.groups()
            named = [one_by(row, name) for name in re.findall(NAME, caption)]
            assert sorted(named) == list(range(len(row))), caption
            assert len({bool(re.search("big|small", name)) for name in re.findall(NAME, caption)}) == 1
            assert not (verb and caption.startswith("there is"))
            if stated:
                x, y = apart(row[one_by(row, first)], row[one_by(row, second)])
                far = {"left of": -x, "right of": x, "above": -y, "below": y}[stated]
                assert far > 0
                assert far == max(abs(x), abs(y)), caption
                assert far >= 1.3 * min(abs(x), abs(y)), caption
            else:
                assert len(row) == 1
            if down is not None:
                assert bool(space) == bool(down and across)
                assert down or across
                x, y = apart(row[0], Thing(0, "red", "big", (32, 32, 32, 32)))
                assert ("left" if x < -12 else "right" if x > 12 else "") == across
                assert ("top" if y < -12 else "bottom" if y > 12 else "") == down
            kinds |= {stated or f"{down} {across}", verb, bool(more), caption[:5] == "there", "small" in caption}
    places = {f"{down} {across}" for down in ("top", "", "bottom") for across in ("left", "", "right")} - {" "}
    assert kinds >= {"left of", "right of", "above", "below", " is", True, False, "None None"} | places


def test_three_different_references(many):
    assert all(len(row) == 3 == len(set(row)) for row in many.captions)
    assert {len(caption.split()) for row in many.captions for caption in row} >= {3, 22}  # shortest and longest
    in_the_middle = [k for k, row in enumerate(many.captions) if len(many.objects[k]) == 1 and "at" not in str(row)]
    assert in_the_middle  # of which the fewest sentences can be made


def test_every_word_knows_its_object(many):
    vocabulary = Vocabulary.from_captions(c for row in many.captions for c in row)
    data = many.tokenised(vocabulary)
    assert CAPTION_LENGTH == 24
    for name in ("caption", "about_label"):
        assert data[:][name].shape == (300, 3, 24)
        assert data[:][name].dtype == torch.int64
    for k, row in enumerate(data.objects):
        for r, text in enumerate(data.captions[k]):
            caption, about = data[k]["caption"][r], data[k]["about_label"][r]
            assert vocabulary.decode(caption) == text
            words = text.split()
            assert about[0] == -1
            assert (about[len(words) + 1 :] == -1).all()
            for word, owner in zip(words, about[1:].tolist(), strict=False):
                thing = row[owner]
                if word in COLOURS or word in WORDS or word in ("big", "small"):
                    assert owner >= 0
                    assert word in (thing.colour, WORDS[thing.digit], thing.size)
                elif word in ("a", "an"):
                    assert owner >= 0
                elif word in ("at", "the", "top", "bottom") or (word in ("left", "right") and len(row) == 1):
                    assert owner == 0
                else:
                    assert word in "there is left right of above below and".split()
                    assert owner == -1
            for i in range(len(row)):  # an object's words stand together, its article first
                at = (about == i).nonzero().flatten().tolist()
                assert words[at[0] - 1] in ("a", "an")
                assert at == list(range(at[0], at[-1] + 1))


def test_the_longest_sentence_with_four_objects_fits():
    data = quiet(n=40, objects=(4, 4))
    data = data.tokenised(Vocabulary.from_captions(c for row in data.captions for c in row))
    assert (data[:]["caption"] != 0).sum(2).max() == 24
    assert (data[:]["caption"] == 2).sum(2).eq(1).all()  # each ends


# ---- never and always


def test_never_and_always_are_obeyed():
    never = {(colour, digit) for colour, digit in EVERY_PAIR if colour == "red" or digit < 3}
    always = [("blue", 7), ("white", 9)]
    data = quiet(n=60, never=never, always=always)
    for row in data.objects:
        pairs = {(thing.colour, thing.digit) for thing in row}
        assert pairs.isdisjoint(never)
        assert pairs & set(always)
    alone = [(t.colour, t.digit) for _, _, t in every(quiet(n=60, objects=(1, 1), always=always))]
    assert set(alone) == set(always)
    assert 15 < alone.count(always[0]) < 45
    firsts = [(row[0].colour, row[0].digit) in always for row in data.objects if len(row) > 1]
    assert 0 < np.mean(firsts) < 1  # not always the same object
    one = quiet(n=5, objects=(1, 1), always=frozenset({("green", 0)}))
    assert [(t.colour, t.digit) for _, _, t in every(one)] == [("green", 0)] * 5


def test_what_is_rare_is_found():
    only = quiet(n=30, objects=(1, 1), never=[pair for pair in EVERY_PAIR if pair != ("cyan", 4)])
    assert [(t.colour, t.digit) for _, _, t in every(only)] == [("cyan", 4)] * 30


def test_scenes_are_found_where_each_colour_has_its_digit():
    own = list(zip(COLOURS, range(8), strict=True))
    data = quiet(n=20, objects=(4, 4), never=[pair for pair in EVERY_PAIR if pair not in own])
    assert all((thing.colour, thing.digit) in own for _, _, thing in every(data))


@pytest.mark.parametrize(
    "arguments",
    [
        {"never": EVERY_PAIR},
        {"never": [(colour, digit) for colour, digit in EVERY_PAIR if colour != "red"], "objects": (2, 2)},
        {"never": [(colour, digit) for colour, digit in EVERY_PAIR if digit != 3], "objects": (2, 3)},
        {"always": [("red", 1)], "never": [p for p in EVERY_PAIR if p[0] != "red" and p[1] != 1], "objects": (2, 2)},
    ],
)
def test_pairs_that_leave_nothing_are_refused(arguments):
    with pytest.raises(ValueError, match="never and always leave no scene"):
        quiet(**arguments)


def test_a_contradiction_is_refused():
    with pytest.raises(ValueError, match=r"\('red', 7\) is to be shown always and never"):
        quiet(never=[("blue", 1), ("red", 7)], always=[("red", 7), ("green", 2)])


# ---- relations


def at(x, y):
    return Thing(0, "red", "small", (x - 5, y - 7, x + 5, y + 7))


@pytest.mark.parametrize(
    ("first", "second", "stated"),
    [
        ((10, 30), (40, 30), "left of"),
        ((40, 30), (10, 30), "right of"),
        ((30, 10), (30, 40), "above"),
        ((30, 40), (30, 10), "below"),
        ((10, 20), (40, 40), "left of"),  # 30 across, 20 down
        ((30, 40), (10, 10), "below"),  # 20 across, 30 down
        ((10, 40), (40, 12), None),  # 30 and 28
        ((12, 40), (40, 10), None),
        ((10, 10), (20, 20), None),
        ((40, 10), (10, 36), None),  # 30 and 26
        ((10, 10), (24, 20), "left of"),  # 14 and 10
        ((10, 10), (22, 20), None),  # 12 and 10
    ],
)
def test_relations_by_hand(first, second, stated):
    a, b = at(*first), at(*second)
    assert relation(a, b) == stated
    opposite = {"left of": "right of", "right of": "left of", "above": "below", "below": "above", None: None}
    assert relation(b, a) == opposite[stated]
    if stated:
        assert [r for r in ("left of", "right of", "above", "below") if holds(r, a, b)] == [stated]


@pytest.mark.parametrize(
    ("first", "true"),
    [
        ((10, 10), {"left of", "above"}),
        ((50, 10), {"right of", "above"}),
        ((10, 50), {"left of", "below"}),
        ((50, 52), {"right of", "below"}),
    ],
)
def test_on_a_diagonal_both_directions_are_true(first, true):
    assert {r for r in ("left of", "right of", "above", "below") if holds(r, at(*first), at(30, 30))} == true


def test_a_thing_is_nowhere_from_itself():
    assert relation(at(30, 30), at(30, 30)) is None
    assert not any(holds(r, at(30, 30), at(30, 30)) for r in ("left of", "right of", "above", "below"))


# ---- Scenes


def by_hand():
    """Two scenes whose colours say where one is: red from left to right, green from top to bottom, blue the scene."""
    x = torch.arange(64) / 64
    scene = torch.stack([torch.stack([x.expand(64, 64), x[:, None].expand(64, 64), torch.full((64, 64), b)]) for b in
                         (0.25, 0.75)])  # fmt: skip
    objects = [
        [Thing(3, "red", "small", (20, 30, 30, 44)), Thing(7, "blue", "big", (50, 1, 62, 25))],
        [Thing(0, "white", "big", (1, 38, 14, 63))],
    ]
    tensors = {
        "scene": scene,
        "digit_label": torch.tensor([[3, 7], [0, -1]]),
        "colour_label": torch.tensor([[0, 5], [7, -1]]),
    }
    captions = [["a red three", "there is a red three", "three left of blue"], ["a white zero", "zero", "is is is"]]
    about = [[[0, 0, 0], [-1, -1, 0, 0, 0], [0, -1, -1, 1]], [[0, 0, 0], [0], [-1, -1, -1]]]
    return Scenes(tensors, captions, objects, about)


def test_tokenised_by_hand():
    data, words = by_hand(), Vocabulary(["a", "red", "three", "there", "is", "left", "of", "blue"])  # 4 to 11
    names = set(data.tensors)
    new = data.tokenised(words)
    rest = [0] * 19
    assert new[0]["caption"].tolist() == [
        [1, 4, 5, 6, 2, *rest],
        [1, 7, 8, 4, 5, 6, 2, *rest[2:]],
        [1, 6, 9, 10, 11, 2, *rest[1:]],
    ]
    assert new[1]["caption"].tolist() == [
        [1, 4, 3, 3, 2, *rest],
        [1, 3, 2, *rest, 0, 0],
        [1, 8, 8, 8, 2, *rest],
    ]
    no = [-1] * 18
    assert new[0]["about_label"].tolist() == [[-1, 0, 0, 0, -1, -1, *no], [-1, -1, -1, 0, 0, 0, *no],
                                              [-1, 0, -1, -1, 1, -1, *no]]  # fmt: skip
    assert new[1]["about_label"].tolist() == [[-1, 0, 0, 0, -1, -1, *no], [-1, 0, -1, -1, -1, -1, *no], [-1] * 24]
    assert set(data.tensors) == names  # the old one is as it was
    assert set(new.tensors) == names | {"caption", "about_label"}
    assert torch.equal(new[:]["scene"], data[:]["scene"])
    assert new.captions == data.captions
    assert new.objects == data.objects
    assert new.modalities == ("scene", "caption")
    again = new.tokenised(Vocabulary(["zero"]))  # with other words
    assert again[1]["caption"][1].tolist() == [1, 4, 2, *[0] * 21]
    assert again[0]["caption"][0].tolist() == [1, 3, 3, 3, 2, *rest]


def test_a_caption_that_is_too_long_is_refused():
    data = by_hand()
    data.captions[1][1] = " ".join(["zero"] * 23)
    with pytest.raises(ValueError, match="23 words do not fit"):
        data.tokenised(Vocabulary(["zero"]))


def where(crop):
    """Across and down in the scene of the middle of a crop of `by_hand`, which may lie on the repeated border."""
    half = crop.shape[1] // 2
    return round(64 * crop[0, 0, half].item()), round(64 * crop[1, half, 0].item())


@pytest.mark.parametrize("size", [2, 8, 32, 64])
def test_crops_have_the_object_in_the_middle_and_repeat_the_border(size):
    data = by_hand()
    crops = data.crops(size, shift=0)
    assert type(crops) is MultimodalDataset
    assert crops.modalities == ("scene",)
    assert crops[:]["scene"].shape == (3, 3, size, size)
    assert crops[:]["scene"].dtype == torch.float32
    assert crops[:]["digit_label"].tolist() == [3, 7, 0]
    assert crops[:]["colour_label"].tolist() == [0, 5, 7]
    steps = torch.arange(size) - size // 2
    for crop, (x, y), blue in zip(crops[:]["scene"], [(25, 37), (56, 13), (7, 50)], [0.25, 0.25, 0.75], strict=True):
        across, down = (x + steps).clamp(0, 63) / 64, (y + steps).clamp(0, 63) / 64
        assert torch.equal(crop[0], across.expand(size, size))
        assert torch.equal(crop[1], down[:, None].expand(size, size))
        assert (crop[2] == blue).all()


@pytest.mark.parametrize("shift", [1, 4])
def test_crops_are_shifted_by_no_more_than_asked_and_by_the_seed(shift):
    data, seen = by_hand(), set()
    for seed in range(40):
        crops = data.crops(8, shift=shift, seed=seed)
        x, y = where(crops[0]["scene"])
        seen.add((x - 25, y - 37))
        assert torch.equal(crops[:]["scene"], data.crops(8, shift=shift, seed=seed)[:]["scene"])
        assert crops[:]["digit_label"].tolist() == [3, 7, 0]
    for axis in zip(*seen, strict=True):
        assert set(axis) == set(range(-shift, shift + 1))
    assert len(seen) > 8  # across and down each by itself


def test_crops_of_made_scenes(many):
    crops = many.crops(shift=0)
    objects = [thing for _, _, thing in every(many)]
    assert crops[:]["scene"].shape == (len(objects), 3, 32, 32)
    assert crops[:]["digit_label"].tolist() == [thing.digit for thing in objects]
    assert [list(COLOURS)[c] for c in crops[:]["colour_label"]] == [thing.colour for thing in objects]
    words = Vocabulary.from_captions(c for row in many.captions for c in row)
    assert torch.equal(many.tokenised(words).crops(shift=0)[:]["scene"], crops[:]["scene"])
    assert many.crops()[:]["scene"].shape == crops[:]["scene"].shape


@pytest.mark.parametrize("size", [0, 1, 31, 66, -2, 32.0, "32", None, True])
def test_crops_of_no_such_size_are_refused(size):
    with pytest.raises(ValueError, match=r"Scenes.crops: size must be (a whole number from 2 to 64|even), got"):
        by_hand().crops(size)


@pytest.mark.parametrize("shift", [-1, 5, 1.0, "1", None, True])
def test_crops_of_no_such_shift_are_refused(shift):
    with pytest.raises(ValueError, match=r"Scenes.crops: shift must be a whole number from 0 to 4, got"):
        by_hand().crops(8, shift=shift)


def test_scenes_are_indexed_and_loaded_as_modalities_are():
    data = quiet(n=7)
    data = data.tokenised(Vocabulary.from_captions(c for row in data.captions for c in row))
    assert isinstance(data, MultimodalDataset)
    assert data[2]["caption"].shape == (3, 24)
    for index in ([4, 0], (4, 0), torch.tensor([4, 0])):
        picked = data[index]
        assert all(torch.equal(value, data.tensors[name][[4, 0]]) for name, value in picked.items())
    batches = list(data.loader(3))
    assert [len(batch["scene"]) for batch in batches] == [3, 3, 1]
    for name, value in data.tensors.items():
        assert torch.equal(torch.cat([batch[name] for batch in batches]), value)
    mixed = torch.cat([batch["scene"] for batch in data.loader(3, shuffle=True, seed=1)])
    assert not torch.equal(mixed, data[:]["scene"])
    assert torch.equal(mixed.flatten(1).sum(1).sort().values, data[:]["scene"].flatten(1).sum(1).sort().values)


def test_pairs_are_each_scene_with_each_of_its_captions():
    data = by_hand().tokenised(Vocabulary(["a", "red", "three", "white", "zero"]))
    pairs = Pairs(data.tensors)
    assert isinstance(pairs, MultimodalDataset)
    assert len(pairs) == 6
    assert len(data) == 2
    captions = data.tensors["caption"]
    for p in range(6):
        assert torch.equal(pairs[p]["caption"], captions[p // 3, p % 3])
        assert torch.equal(pairs[p]["scene"], data[p // 3]["scene"])
        assert torch.equal(pairs[p]["digit_label"], data[p // 3]["digit_label"])
    for index in ([5, 0, 2], (5, 0, 2), torch.tensor([5, 0, 2])):
        assert torch.equal(pairs[index]["caption"], captions.flatten(0, 1)[[5, 0, 2]])
        assert torch.equal(pairs[index]["scene"], data.tensors["scene"][[1, 0, 0]])
    assert torch.equal(pairs[:]["caption"], captions.flatten(0, 1))
    assert torch.equal(pairs[-1]["caption"], captions[1, 2])
    with pytest.raises(IndexError):
        pairs[6]
    batches = list(pairs.loader(4))
    assert [tuple(batch["caption"].shape) for batch in batches] == [(4, 24), (2, 24)]
    assert torch.equal(torch.cat([batch["scene"] for batch in batches]), data[[0, 0, 0, 1, 1, 1]]["scene"])
    mixed = torch.cat([batch["caption"] for batch in pairs.loader(4, shuffle=True)])
    assert sorted(mixed.tolist()) == sorted(captions.flatten(0, 1).tolist())


def test_a_pair_knows_what_the_words_of_its_own_caption_are_about():
    data = by_hand().tokenised(Vocabulary(["a"]))
    assert torch.equal(Pairs(data.tensors)[1]["about_label"], data[0]["about_label"][1])


def test_pairs_need_captions_as_numbers():
    with pytest.raises(ValueError, match="Pairs: needs 'caption'"):
        Pairs(by_hand().tensors)


# ---- what is refused


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"split": "training"}, ValueError, "split must be one of train, valid, test.*did you mean 'train'"),
        ({"n": 0}, ValueError, "scenes: n must be a whole number from 1 to 1000000000, got 0"),
        ({"n": 2.0}, ValueError, "scenes: n must be a whole number .*, got 2.0"),
        ({"n": True}, ValueError, "scenes: n must be a whole number .*, got True"),
        ({"seed": -1}, ValueError, "scenes: seed must be a whole number of at least 0, got -1"),
        ({"seed": 0.5}, ValueError, "scenes: seed must be a whole number"),
        ({"seed": False}, ValueError, "scenes: seed must be a whole number"),
        *(({"objects": bad}, ValueError, r"scenes: objects must be \(fewest, most\) between 1 and 4") for bad in (
            (0, 2), (0, 0), (2, 5), (5, 5), (3, 2), (-1, 1), (1.0, 2), (1, True), (True, 3), (1,), (1, 2, 3), (), 3,
            None, "12", {1, 2},
        )),
        ({"never": [("pink", 3)]}, ValueError, r"never must hold pairs of a colour \(red, .*white\) .*'pink'"),
        ({"always": [("red", 10)]}, ValueError, "always must hold pairs"),
        ({"always": [("red", -1)]}, ValueError, "always must hold pairs"),
        ({"always": [("red", "7")]}, ValueError, "always must hold pairs"),
        ({"always": [(7, "red")]}, ValueError, "always must hold pairs"),
        ({"always": [("red", 7, 1)]}, ValueError, "always must hold pairs"),
        ({"never": ("red", 7)}, ValueError, "never must hold pairs .*got 'red'"),
        ({"never": ["red"]}, ValueError, "never must hold pairs"),
        ({"source": lambda split: None}, TypeError, "source must return Items, got NoneType"),
        ({"source": lambda split: np.zeros((10, 1, 28, 28))}, TypeError, "source must return Items, got ndarray"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(arguments, error, words):
    with pytest.raises(error, match=words):
        quiet(**arguments)


@pytest.mark.parametrize("digit", [7.0, True])
def test_a_digit_that_is_no_int_is_refused(digit):
    with pytest.raises((ValueError, TypeError), match="always must hold"):
        quiet(always=[("red", digit)])


def test_a_source_that_is_no_function_is_refused_by_name():
    with pytest.raises(TypeError, match="source"):
        quiet(source=3)


def test_a_source_without_a_digit_is_refused():
    values = np.full((9, 1, 28, 28), 255, np.uint8)
    with pytest.raises(ValueError, match="the source has no 9 in the valid split"):
        quiet("valid", source=lambda split: Items(values, np.arange(9)))


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_an_empty_picture_is_refused(kind):
    with pytest.raises(ValueError, match="source has an empty picture"):
        quiet(source=lambda split: Items(np.zeros((10, 1, 28, 28), kind), np.arange(10)))


def test_pictures_too_wide_for_a_scene_are_refused():
    values = np.zeros((10, 1, 28, 28), np.uint8)
    values[:, :, 12:15] = 255  # 3 × 28: 13 pixels high, 121 wide
    with pytest.raises(ValueError, match="source"):
        quiet(seconds=3, source=lambda split: Items(values, np.arange(10)))


def test_a_bar_is_shown_only_where_asked_and_only_when_it_takes_long(capfd):
    scenes("train", n=3)
    quiet(n=3)
    assert capfd.readouterr() == ("", "")
