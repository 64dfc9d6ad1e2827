"""Synthetic house numbers, rendered with the difficulties of photographs.

Each picture shows one digit in the middle, in a font of its split, with cut-off neighbours, shear, shadow, a
low resolution, noise and JPEG's blocks. ``svhn`` in the same folder reads real ones.
"""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .items import check_split

# Faces, split before anything is rendered. Unseen faces are cousins of seen ones, as on real streets.
FONTS = {
    "train": """DejaVuSans DejaVuSans-Bold DejaVuSans-Oblique DejaVuSansMono DejaVuSansMono-Oblique
        DejaVuSansMono-BoldOblique DejaVuSerif-Bold DejaVuSerif-BoldItalic STIXGeneral STIXGeneralBolIta cmr10 cmb10
        cmti10""".split(),
    "valid": "DejaVuSerif-Italic STIXGeneralItalic cmtt10".split(),
    "test": "DejaVuSansMono-Bold DejaVuSans-BoldOblique DejaVuSerif STIXGeneralBol cmss10 Aileron".split(),
}
_SIZE, _CANVAS = 32, 64


@cache
def _font(name: str, size: int) -> Any:
    import matplotlib
    from PIL import ImageFont

    if name == "Aileron":  # the face inside Pillow
        return ImageFont.load_default(size)
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf" / f"{name}.ttf", size)


def _colours(rng: np.random.Generator, difficulty: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """A ground and an ink colour, mostly grey-blue, that nearly always differ enough in brightness to be read."""
    light = rng.uniform(0.1, 0.85)
    contrast = rng.uniform(0.5 - 0.32 * difficulty, 0.75 - 0.25 * difficulty)
    ink = light + contrast if light + contrast < 1 and (light < 0.3 or rng.random() < 0.5) else light - contrast
    tint = 0.25 if rng.random() < 0.15 else 0.05
    blue = np.array([-0.02, 0.0, 0.03])
    ground = np.clip(light + blue + tint * rng.standard_normal(3), 0, 1)
    return ground, np.clip(ink + blue + tint * rng.standard_normal(3), 0, 1)


def street(label: int, split: str, rng: np.random.Generator, difficulty: float = 0.5) -> NDArray[np.uint8]:
    """Render one house-number crop.

    Args:
        label: the digit in the middle, 0 to 9.
        split: whose fonts to use.
        rng: where everything else is drawn from.
        difficulty: 0 is clean and upright, 1 is dark, bent and blurred.

    Returns:
        uint8 (3, 32, 32), red, green and blue.
    """
    from PIL import Image, ImageDraw, ImageFilter

    fonts = FONTS[check_split(split)]
    size = int(rng.integers(46, 60))
    font = _font(fonts[int(rng.integers(len(fonts)))], size)
    ground, ink = _colours(rng, difficulty)

    # The number is drawn on a canvas of twice the size, so that warping does not clip its neighbours.
    mask = Image.new("L", (2 * _CANVAS, 2 * _CANVAS))
    pen = ImageDraw.Draw(mask)
    left, top, right, bottom = font.getbbox(str(label))
    x, y = _CANVAS - (left + right) / 2, _CANVAS - (top + bottom) / 2
    pen.text((x, y), str(label), fill=255, font=font)
    gap = int(rng.integers(1, 7))
    for side in (-1, 1):
        neighbour, there = str(rng.integers(10)), rng.random() < 0.25 + 0.35 * difficulty
        if there:
            box = font.getbbox(neighbour)
            beside = x + right + gap - box[0] if side > 0 else x + left - gap - box[2]
            pen.text((beside, y), neighbour, fill=255, font=font)

    turn = np.deg2rad(rng.uniform(-12, 12) * difficulty)
    shear, zoom_x, zoom_y = (
        rng.uniform(-0.3, 0.3) * difficulty,
        rng.uniform(0.72, 1.0),
        rng.uniform(0.76, 0.98),
    )
    bend = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ [
        [zoom_x, shear],
        [0, zoom_y],
    ]
    shift = np.array([_CANVAS, _CANVAS]) - bend @ (np.array([_CANVAS / 2] * 2) + rng.uniform(-4, 4, 2) * difficulty)
    affine = (*bend[0], shift[0], *bend[1], shift[1])
    mask = mask.transform((_CANVAS, _CANVAS), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)

    alpha = np.asarray(mask, float)[..., None] / 255
    if rng.random() < 0.4 * difficulty:  # a shadow of the digit, a few pixels away
        fall = int(rng.integers(2, 5))
        ground = ground * (1 - 0.5 * np.roll(alpha, (fall, fall), (0, 1)))
    scene = ground * (1 - alpha) + ink * alpha
    slope = np.tensordot(rng.uniform(-0.2, 0.2, 2) * difficulty, np.mgrid[-1:1:64j, -1:1:64j], 1)
    if rng.random() < 0.2 * difficulty:  # weatherboards
        slope = slope + 0.06 * np.sign(np.sin(np.arange(_CANVAS) / rng.uniform(1.5, 4)))[:, None]
    picture = Image.fromarray((255 * np.clip(scene + slope[..., None], 0, 1)).astype(np.uint8))

    picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.6 + 1.4 * difficulty)))
    coarse = int(rng.uniform(_SIZE - 16 * difficulty, _SIZE + 1))
    picture = picture.resize((coarse, coarse), Image.Resampling.BOX).resize((_SIZE, _SIZE), Image.Resampling.BICUBIC)
    noise = rng.standard_normal((_SIZE, _SIZE, 1)) * 8 * difficulty
    noisy = np.clip(np.asarray(picture) + noise + rng.standard_normal((_SIZE, _SIZE, 3)) * 3 * difficulty, 0, 255)
    buffer = io.BytesIO()
    Image.fromarray(noisy.astype(np.uint8)).save(buffer, "JPEG", quality=int(rng.integers(60, 95)))
    return np.ascontiguousarray(np.asarray(Image.open(buffer)).transpose(2, 0, 1))
