"""Handwritten, word, shape and smartwatch: against values worked out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mmtutor.data import EXERCISES, SPLITS, smartwatch
from mmtutor.data.handwritten import handwritten
from mmtutor.data.items import packaged
from mmtutor.data.shape import NAMES, shape
from mmtutor.data.word import LENGTH, LETTERS, WORDS, read_word, word

# ---- handwritten


def test_handwritten_are_real_images_of_every_class():
    for split in SPLITS:
        items = handwritten(split)
        assert items.values.dtype == np.uint8
        assert items.values.shape == (len(items.labels), 1, 28, 28)
        assert items.values.max() == 255
        assert items.labels.dtype == np.int64
        assert (items.values.reshape(len(items.labels), -1).mean(1) > 4).all()  # none is empty
    with pytest.raises(ValueError, match="split must be one of"):
        handwritten("all")


def test_handwritten_can_be_told_apart_across_splits():
    """Nearest neighbour among the training images: the labels belong to the images."""
    train, test = handwritten("train"), handwritten("test")
    x = train.values.reshape(-1, 784).astype(np.float32) / 255
    y = test.values[::5].reshape(-1, 784).astype(np.float32) / 255
    distance = (x**2).sum(1) - 2 * y @ x.T
    assert (train.labels[distance.argmin(1)] == test.labels[::5]).mean() > 0.9


def test_items_are_copies():
    """What a reader does to the items does not change the next reader's."""
    first = handwritten("valid")
    first.values[:] = 0
    assert handwritten("valid").values.any()


# ---- word


def test_every_offset_is_reached_and_equally_often():
    for label, name in enumerate(WORDS):
        places = LENGTH - len(name) + 1
        texts = [word(label, np.random.default_rng([label, s])) for s in range(600)]
        starts = [int((t.argmax(1) > 0).argmax()) for t in texts]
        counts = np.bincount(starts, minlength=places)
        assert len(counts) == places
        assert (counts > 0).all()
        assert stats.chisquare(counts).pvalue > 1e-3


def test_read_word_inverts_word():
    for label, name in enumerate(WORDS):
        for seed in range(20):
            letters = word(label, np.random.default_rng(seed))
            assert letters.shape == (8, 27)
            assert letters.dtype == np.uint8
            assert (letters.sum(1) == 1).all()
            assert read_word(letters) == name
            scores = letters + np.random.default_rng(seed).uniform(-0.4, 0.4, (8, 27))
            assert read_word(scores) == name


@pytest.mark.parametrize("typos", [0.1, 0.5, 1.0])
def test_letters_are_wrong_as_often_as_asked(typos):
    """A letter is drawn again with that probability; one in 26 is then the old one. Spaces stay, and so does the
    place of the word. Bound: 4.4 standard deviations."""
    wrong = letters = 0
    for seed in range(1500):
        right = word(seed % 10, np.random.default_rng(seed))
        typed = word(seed % 10, np.random.default_rng(seed), typos)
        assert ((typed[:, 0] == 1) == (right[:, 0] == 1)).all()
        wrong += int((typed != right).any(1).sum())
        letters += len(WORDS[seed % 10])
    rate = typos * 25 / 26
    assert abs(wrong / letters - rate) < 4.4 * (rate * (1 - rate) / letters) ** 0.5


def test_typos_are_uniform_over_letters():
    typed = np.sum([word(3, np.random.default_rng(seed), 1.0) for seed in range(1000)], (0, 1))
    assert LETTERS[0] == " "
    assert typed[0] == 3 * 1000
    assert stats.chisquare(typed[1:]).pvalue > 1e-3


# ---- shape


def picture(*rectangles):
    """Ink 255 in rectangles (top, bottom, left, right), 0 in those given with a minus: later ones lie on top."""
    image = np.zeros((28, 28), np.uint8)
    for value, top, bottom, left, right in rectangles:
        image[top:bottom, left:right] = value
    return image


def measured(image):
    values = shape(image)
    assert values.shape == (16,)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    return dict(zip(NAMES, values.tolist(), strict=True))


def test_an_upright_bar():
    """Rows 4 to 23, columns 12 to 15: 20 by 4 pixels; variances of 20 and 4 equal steps are 399/12 and 15/12."""
    m = measured(picture((255, 4, 24, 12, 16)))
    expected = {
        "ink": 80 / 784 * 4,
        "height": 20 / 28,
        "width": 4 / 28,
        "centre_x": 13.5 / 28,
        "centre_y": 13.5 / 28,
        "std_x": (15 / 12) ** 0.5 / 7,
        "std_y": (399 / 12) ** 0.5 / 7,
        "slant": 0,
        "holes": 0,
        "hole_height": (13.5 - 4) / 20,  # no hole: the centre
        # 20 rows in thirds of 7, 7 and 6; columns in halves
        **{f"zone_{r}{c}": (6 if r == "b" else 7) / 40 for r in "tmb" for c in "lr"},
    }
    assert m == pytest.approx(expected, abs=1e-6)


def test_one_hole():
    """A frame of 12 by 10 with a hole of 6 by 6 in rows 8 to 13, of which the middle is row 10.5."""
    m = measured(picture((255, 5, 17, 8, 18), (0, 8, 14, 10, 16)))
    assert m["holes"] == 0.5
    assert m["hole_height"] == pytest.approx((10.5 - 5) / 12)
    assert m["ink"] == pytest.approx((120 - 36) / 784 * 4)
    assert m["height"] == pytest.approx(12 / 28)
    # Thirds of four rows, halves of five columns of which three lie over the hole in its rows (8, 9-12, 13).
    zones = [20 - 3, 20 - 3, 20 - 12, 20 - 12, 20 - 3, 20 - 3]
    assert [m[n] for n in NAMES[-6:]] == pytest.approx([z / 84 for z in zones])


def test_two_holes():
    m = measured(picture((255, 2, 26, 9, 19), (0, 5, 11, 12, 16), (0, 15, 23, 12, 16)))
    assert m["holes"] == 1
    assert m["hole_height"] == pytest.approx(((7.5 + 18.5) / 2 - 2) / 24)  # the mean of the holes' middles
    assert m["height"] == pytest.approx(24 / 28)


def test_what_is_no_hole():
    frame = picture((255, 5, 17, 8, 18), (0, 8, 14, 10, 16))
    open_frame = frame.copy()
    open_frame[10, 16:] = 0  # a gap to the outside
    assert measured(open_frame)["holes"] == 0
    speck = picture((255, 5, 17, 8, 18))
    speck[10, 12] = 0  # one pixel is noise
    assert measured(speck)["holes"] == 0
    speck[10, 13] = 0  # two are a hole
    assert measured(speck)["holes"] == 0.5
    at_border = picture((255, 0, 28, 0, 28), (0, 0, 5, 10, 15))
    assert measured(at_border)["holes"] == 0
    faint = picture((255, 5, 17, 8, 18), (120, 8, 14, 10, 16))  # grey is ink
    assert measured(faint)["holes"] == 0


def test_slant_and_place():
    """A line of one pixel a row that moves one column in every row: slant 1, and −1 in the mirror. Moving it moves
    the centre and nothing else."""
    image = np.zeros((28, 28), np.uint8)
    image[range(4, 24), range(4, 24)] = 255
    assert measured(image)["slant"] == pytest.approx(1)
    assert measured(image[:, ::-1].copy())["slant"] == pytest.approx(-1)
    moved = measured(np.roll(image, (3, -2), (0, 1)))
    for name, value in measured(image).items():
        shift = {"centre_x": -2 / 28, "centre_y": 3 / 28}.get(name, 0)
        assert moved[name] == pytest.approx(value + shift, abs=1e-6)


def test_no_ink_and_one_pixel():
    assert not shape(np.zeros((28, 28), np.uint8)).any()
    assert not shape(np.full((28, 28), 64, np.uint8)).any()
    one = picture((255, 10, 11, 20, 21))
    m = measured(one)
    assert m["height"] == pytest.approx(1 / 28)
    assert m["std_x"] == m["std_y"] == m["slant"] == 0
    assert m["zone_tl"] == 1


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    rectangles=st.lists(st.tuples(*[st.integers(0, 28)] * 4, st.integers(0, 255)), max_size=6),
)
def test_any_image_gives_finite_numbers_of_order_one(seed, rectangles):
    image = picture(*((v, *sorted(y), *sorted(x)) for *p, v in rectangles for y, x in [(p[:2], p[2:])]))
    if seed % 2:
        image |= np.random.default_rng(seed).integers(0, 256, (28, 28), np.uint8)
    m = measured(image)
    assert all(-2 < m[n] < 5 for n in NAMES if n not in ("slant", "holes"))
    assert sum(m[n] for n in NAMES[-6:]) <= 1 + 1e-5


@pytest.mark.parametrize("image", [np.zeros((28, 28)), np.zeros((1, 28, 28), np.uint8), np.zeros((32, 32), np.uint8)])
def test_another_picture_is_refused(image):
    with pytest.raises(ValueError, match="shape: image must be uint8"):
        shape(image)


def test_holes_of_real_digits():
    """What everybody knows of digits: zeros have one hole and ones none, mostly; two holes mean an eight (whose
    loops are often too small to count)."""
    items = handwritten("train")
    holes = np.array([shape(v[0])[NAMES.index("holes")] * 2 for v in items.values[::5]])
    labels = items.labels[::5]
    for digit, usual in {0: 1, 1: 0, 3: 0, 7: 0}.items():
        assert (holes[labels == digit] == usual).mean() > 0.75, digit
    assert (holes[labels == 8] >= 2).mean() > 0.45
    assert (holes[labels != 8] >= 2).mean() < 0.1


# ---- smartwatch


def folds():
    import inspect

    return range(5) if "fold" in inspect.signature(smartwatch).parameters else (None,)


def windows(split, fold=None, **settings):
    return smartwatch(split, **settings) if fold is None else smartwatch(split, fold=fold, **settings)


@pytest.mark.parametrize("fold", folds())
def test_no_person_and_no_recording_is_in_two_splits(fold):
    data = packaged("smartwatch.npz")
    recordings = {s: set(windows(s, fold)[:]["recording_label"].tolist()) for s in SPLITS}
    subjects = {s: {int(data["subjects"][i]) for i in r} for s, r in recordings.items()}
    for kinds, total in ((recordings, len(data["subjects"])), (subjects, 10)):
        assert all(kinds.values())
        assert sum(map(len, kinds.values())) == len(set.union(*kinds.values())) == total
    for split in SPLITS:
        assert set(windows(split, fold)[:]["label"].tolist()) == set(range(len(EXERCISES)))


def test_windows_are_cut_from_the_recordings_as_hop_says():
    data = packaged("smartwatch.npz")
    ends = np.cumsum(data["lengths"])
    for hop in (50, 25, 7):
        got = smartwatch("valid", hop=hop)[:]
        both = torch.cat([got["accelerometer"], got["gyroscope"]], -1).numpy()
        at = 0
        for i in got["recording_label"].unique_consecutive().tolist():
            signal = data["signals"][ends[i] - data["lengths"][i] : ends[i]].astype(np.float32)
            start = 0
            while start + 50 <= len(signal):
                np.testing.assert_array_equal(both[at], signal[start : start + 50])
                assert int(got["label"][at]) == int(data["labels"][i])
                start, at = start + hop, at + 1
        assert at == len(both)
    assert both.shape[1:] == (50, 6)


def test_units_are_g_and_radians():
    """A wrist mostly at rest feels about 1 g; arms turn at a few rad/s."""
    data = smartwatch("train")
    assert data.modalities == ("accelerometer", "gyroscope")
    norm = data[:]["accelerometer"].norm(dim=-1)
    assert 0.9 < norm.median() < 1.1
    assert 0.1 < data[:]["gyroscope"].norm(dim=-1).median() < 5
    assert all(v.isfinite().all() for v in data[:].values())


@pytest.mark.parametrize("hop", [0, -5, 1.5, True, "50", None, float("nan"), float("inf"), [50], 50.0])
def test_a_bad_hop_is_refused(hop):
    with pytest.raises((ValueError, TypeError), match="hop must be"):
        smartwatch("valid", hop=hop)


@pytest.mark.parametrize("split", ["all", None, 3, ["train"], np.zeros(0)])
def test_a_bad_split_is_refused(split):
    with pytest.raises(ValueError, match="split must be one of"):
        smartwatch(split)
