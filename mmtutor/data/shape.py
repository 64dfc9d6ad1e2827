"""Sixteen measurements of a handwritten digit: the tabular modality."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NAMES = (
    "ink",
    "height",
    "width",
    "centre_x",
    "centre_y",
    "std_x",
    "std_y",
    "slant",
    "holes",
    "hole_height",
    *(f"zone_{r}{c}" for r in "tmb" for c in "lr"),
)


def shape(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Measure a handwritten digit.

    Args:
        image: uint8 (28, 28), ink bright.

    Returns:
        float32 (16,), in the order of ``NAMES``, each of order one: mean brightness; height, width, centre and
        standard deviation of the ink relative to the size of the image; slant (sideways shift per row); number of
        holes and the height at which they lie; the fraction of the ink in each of six zones of the digit's
        bounding box (top, middle, bottom; left, right). No ink brighter than 64 gives zeros.

    Raises:
        ValueError: the image is not uint8 (28, 28).
    """
    from scipy.ndimage import label as components  # imported late: importing mmtutor.data stays quick

    if image.shape != (28, 28) or image.dtype != np.uint8:
        raise ValueError(f"shape: image must be uint8 (28, 28), got {image.dtype} {image.shape}")
    ink = image / 255.0
    total = max(float(ink.sum()), 1e-6)
    rows, cols = np.flatnonzero(image.max(1) > 64), np.flatnonzero(image.max(0) > 64)
    if not len(rows):
        return np.zeros(len(NAMES), np.float32)
    y, x = np.arange(28)[:, None], np.arange(28)[None]
    cy, cx = float((ink * y).sum() / total), float((ink * x).sum() / total)
    vy, vx = float((ink * (y - cy) ** 2).sum() / total), float((ink * (x - cx) ** 2).sum() / total)
    slant = float((ink * (y - cy) * (x - cx)).sum() / total) / max(vy, 1e-6)
    # A hole is a dark region, of two pixels at least, that does not touch the border.
    regions, count = components(np.pad(image < 96, 1, constant_values=True))
    holes = [r for r in range(1, count + 1) if r != regions[0, 0] and (regions == r).sum() >= 2]
    hole_y = float(np.mean([np.argwhere(regions == r)[:, 0].mean() for r in holes])) - 1 if holes else cy
    box = ink[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    zones = [part.sum() / total for third in np.array_split(box, 3) for part in np.array_split(third, 2, axis=1)]
    height, width = len(box), box.shape[1]
    measures = [total / 784 * 4, height / 28, width / 28, cx / 28, cy / 28, vx**0.5 / 7, vy**0.5 / 7, slant]
    return np.array([*measures, len(holes) / 2, (hole_y - rows[0]) / height, *zones], np.float32)
