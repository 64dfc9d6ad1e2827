"""Rendered house numbers: statistics, never hashes of pixels, which may change with Pillow and FreeType."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from mmtutor.data import SPLITS
from mmtutor.data.street import FONTS, _font, street


def pictures(label, split, seeds, difficulty=0.5):
    return np.stack([street(label, split, np.random.default_rng(seed), difficulty) for seed in seeds]) / 255


def contrast(picture):
    """How far the brightest and the darkest tenth of the middle are apart, in grey."""
    middle = picture.mean(0)[6:26, 8:24]
    low, high = np.quantile(middle, [0.1, 0.9])
    return high - low


def test_shape_type_and_repeatability():
    a, b, c = (street(7, "train", np.random.default_rng(s)) for s in (1, 1, 2))
    assert a.shape == (3, 32, 32)
    assert a.dtype == np.uint8
    assert a.flags.c_contiguous
    assert a.flags.writeable
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def glyph(font, digit):
    """Ink of a digit in a box of 40 by 40, as bool."""
    return np.asarray(_font(font, 48).getmask(str(digit), mode="L").resize((40, 40))).reshape(40, 40) > 100


@pytest.mark.parametrize("font", [font for split in SPLITS for font in FONTS[split]])
def test_every_font_draws_ten_visible_and_distinct_digits(font):
    glyphs = np.stack([glyph(font, digit) for digit in range(10)])
    ink = glyphs.mean((1, 2))
    assert (ink > 0.08).all()
    assert (ink < 0.85).all()
    for a in range(10):
        for b in range(a):
            assert (glyphs[a] ^ glyphs[b]).mean() > 0.03, (font, a, b)


def test_no_two_fonts_draw_the_same():
    """No face of one split is another's under a second name: over ten digits the ink differs."""
    drawn = {font: np.stack([glyph(font, d) for d in range(10)]) for split in SPLITS for font in FONTS[split]}
    for a in drawn:
        for b in drawn:
            assert a == b or (drawn[a] ^ drawn[b]).mean() > 0.01, (a, b)


def test_every_font_of_a_split_is_used_and_no_other(monkeypatch):
    import mmtutor.data.street as module

    asked = []

    def note(name, size):
        asked.append(name)
        return _font(name, size)

    monkeypatch.setattr(module, "_font", note)
    for split in SPLITS:
        asked.clear()
        pictures(8, split, range(150))
        assert set(asked) == set(FONTS[split])


@pytest.mark.parametrize("difficulty", [0.0, 0.5, 1.0])
def test_no_picture_is_empty(difficulty):
    """300 seeds: a digit can be seen in every picture, at least in one colour channel."""
    for seed in range(300):
        picture = street(seed % 10, SPLITS[seed % 3], np.random.default_rng(seed), difficulty) / 255
        middle = picture[:, 4:28, 8:24].reshape(3, -1)
        spread = np.quantile(middle, 0.97, axis=1) - np.quantile(middle, 0.03, axis=1)
        assert spread.max() > 0.12, seed


def test_a_digit_stands_in_the_middle_and_it_is_that_of_the_label():
    """Clean pictures against glyphs drawn here, in the middle of an empty picture, in the faces of the train split:
    the digit that fits best is the label, in faces of the test split too."""

    def drawn(font, digit):
        canvas = Image.new("L", (32, 32))
        ImageDraw.Draw(canvas).text((16, 16), str(digit), fill=255, font=_font(font, 32), anchor="mm")
        return np.asarray(canvas.filter(ImageFilter.GaussianBlur(1)), float)

    means = np.stack([np.mean([drawn(font, d) for font in FONTS["train"]], 0) for d in range(10)])
    for split in ("train", "test"):
        right = 0
        for d in range(10):
            for picture in pictures(d, split, range(20), 0.0):
                mask = ink_mask(picture)
                right += d == max(range(10), key=lambda k: np.corrcoef(means[k].ravel(), mask.ravel())[0, 1])
        assert right > 120, f"{right} of 200 in {split}; chance is 20"


def ink_mask(picture):
    """Where the picture is nearer to the ink than to the ground; the ground is the colour of the corners."""
    ground = np.median(picture[:, [0, 0, -1, -1], [0, -1, 0, -1]], 1)
    distance = np.abs(picture - ground[:, None, None]).sum(0)
    return distance / distance.max()


def test_difficulty_makes_it_harder():
    """Contrast and sharpness fall; a classifier by nearest class mean gets fewer right, trained at each level."""
    levels = (0.0, 0.5, 1.0)
    seeds = range(40)
    contrasts, right = [], []
    for level in levels:
        sets = {d: pictures(d, "train", seeds, level) for d in range(10)}
        contrasts.append(np.mean([contrast(p) for ps in sets.values() for p in ps]))
        masks = {d: np.stack([ink_mask(p) for p in ps]) for d, ps in sets.items()}
        means = np.stack([masks[d][:30].mean(0) for d in range(10)])
        guesses = [(((means - m) ** 2).sum((1, 2)).argmin() == d) for d in range(10) for m in masks[d][30:]]
        right.append(np.mean(guesses))
    assert contrasts[0] > contrasts[1] + 0.05 > contrasts[2] + 0.1, contrasts
    assert right[0] > right[1] + 0.1, right
    assert right[0] > right[2] + 0.2, right


def test_colours_are_mostly_grey_blue():
    means = pictures(3, "train", range(300)).mean((2, 3))
    assert 0 < means.min() < means.max() < 1
    tint = np.abs(means - means.mean(1, keepdims=True)).max(1)
    assert np.median(tint) < 0.08  # nearly grey
    assert 0.01 < (tint > 0.12).mean() < 0.3  # some are coloured
    red, _, blue = means.mean(0)
    assert 0.02 < blue - red < 0.1  # the blue of -0.02 and +0.03 on ground and ink
    grounds = means.mean(1)
    assert grounds.std() > 0.1  # dark and light ones


@pytest.mark.parametrize("difficulty", [0.0, 0.5, 1.0])
def test_neighbours_are_as_frequent_as_said(difficulty, monkeypatch):
    """At each side with probability 0.25 + 0.35 difficulty: what is drawn beyond the digit itself is counted.
    Bound: 4.4 standard deviations of a binomial."""
    drawn = []
    text = ImageDraw.ImageDraw.text

    def count(self, place, digit, *rest, **settings):
        drawn.append(digit)
        return text(self, place, digit, *rest, **settings)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", count)
    pictures(1, "train", range(300), difficulty)
    p = 0.25 + 0.35 * difficulty
    assert abs((len(drawn) - 300) / 600 - p) < 4.4 * (p * (1 - p) / 600) ** 0.5
    assert set(drawn) == set("0123456789")


def test_an_unknown_split_has_no_fonts():
    with pytest.raises(ValueError, match="split must be one of"):
        street(1, "training", np.random.default_rng(0))
