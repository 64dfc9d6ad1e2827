"""Maps of where a sound comes from, against masks of the object that makes it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from mmtutor.data.arrays import to_array
from mmtutor.data.scene import Scenes

Hits = NDArray[np.bool_]


class Overlap(NamedTuple):
    """How well maps cover the masks.

    Attributes:
        iou: of each map the intersection over the union, (n,).
        half: share of maps with an IoU of at least one half, which the field's tables call cIoU.
        auc: the area under the share of maps with an IoU of at least u, u from 0 to 1. This is the mean IoU.
    """

    iou: NDArray[np.float64]
    half: float
    auc: float


def speaker_masks(data: Scenes, *, every: bool = False, pixels: bool = False) -> Hits:
    """Where an object speaks: its box, as people draw boxes when they annotate. The boxes of a scene do not overlap.

    Args:
        data: from `mmtutor.data.speak`.
        every: any object, whether it speaks or not.
        pixels: the pixels of the objects in place of their boxes.

    Returns:
        bool (n, H, W).

    Raises:
        TypeError: data are no scenes.
        ValueError: they have no sound.
    """
    if not isinstance(data, Scenes):
        raise TypeError(f"speaker_masks: data must be Scenes, got {type(data).__name__}")
    if "speaks_label" not in data.tensors and not every:
        raise ValueError("speaker_masks: the scenes have no sound; see mmtutor.data.speak")
    here = data.tensors["digit_label"] >= 0
    chosen = (here if every else data.tensors["speaks_label"]).cpu().numpy()[..., None, None]  # (n, objects, 1, 1)
    owner = data.tensors["owner_label"].cpu().numpy()  # (n, H, W)
    if pixels:
        inside = owner[:, None] == np.arange(chosen.shape[1])[:, None, None]  # (n, objects, H, W)
    else:
        down, across = np.arange(owner.shape[1])[:, None], np.arange(owner.shape[2])
        left, top, right, bottom = data.tensors["box_label"].cpu().numpy().transpose(2, 0, 1)[..., None, None]
        inside = (down >= top) & (down < bottom) & (across >= left) & (across < right)  # (n, objects, H, W)
    return np.asarray((chosen & inside).any(1))


def map_pointing(maps: ArrayLike, data: Scenes, *, every: bool = False, tolerance: float = 6.0) -> Hits:
    """The pointing game: whether the object that is nearest to the middle of the best region speaks.

    So a point belongs to one object at most: an answer that ignores the sound is right for one of n objects.

    Args:
        maps: (n, L), L regions in a square grid, or (n, rows, columns).
        data: from `mmtutor.data.speak`.
        every: whether it is any object, one that speaks or not.
        tolerance: the largest distance from a pixel of the object, in pixels. With 6, regions of 8 × 8 count that touch
            an object, and some beside it.

    Returns:
        bool (n,). Where several regions are largest, the first counts.

    Raises:
        TypeError: data are no scenes.
        ValueError: the shapes do not fit, or nobody speaks in the scenes.
    """
    if not isinstance(data, Scenes):
        raise TypeError(f"map_pointing: data must be Scenes, whose objects are known, got {type(data).__name__}")
    if "speaks_label" not in data.tensors and not every:
        raise ValueError("map_pointing: the scenes have no sound; see mmtutor.data.speak")
    owner = data.tensors["owner_label"].cpu().numpy()  # (n, H, W)
    x, _ = _both("map_pointing", maps, owner >= 0)
    (rows, columns), (H, W) = x.shape[1:], owner.shape[1:]
    row, column = np.divmod(x.reshape(len(x), -1).argmax(1), columns)  # (n,)
    down, across = (row + 0.5) * H / rows - 0.5, (column + 0.5) * W / columns - 0.5
    square = (np.arange(H)[:, None] - down[:, None, None]) ** 2 + (np.arange(W) - across[:, None, None]) ** 2
    far = np.where(owner >= 0, square, np.inf).reshape(len(x), -1)  # squared distances of the objects' pixels
    nearest = far.argmin(1)
    whose, here = owner.reshape(len(x), -1)[np.arange(len(x)), nearest], far.min(1) <= tolerance**2
    if every:
        return np.asarray(here)
    return np.asarray(here & data.tensors["speaks_label"].cpu().numpy()[np.arange(len(x)), whose])


def map_overlap(maps: ArrayLike, masks: ArrayLike, threshold: float | str = 0.5) -> Overlap:
    """Intersection over union of the masks and what of the maps is above a threshold.

    A map is enlarged to the size of the mask, bilinearly, and scaled so that it goes from 0 to 1.

    Args:
        maps: (n, L), L regions in a square grid, or (n, rows, columns).
        masks: bool (n, H, W).
        threshold: of the scaled map, 0 to 1; a map that is the same everywhere is above it, as the whole picture. Or
            ``"median"``: what is larger than the median of the map, half of the picture, as in the programs of Chen
            and others (2021, arXiv:2104.02691); of a map that is the same everywhere this is nothing.

    Raises:
        ValueError: the shapes do not fit, or there is no such threshold.
    """
    x, y = _both("map_overlap", maps, masks)
    if threshold != "median" and (isinstance(threshold, str) or not 0 <= threshold <= 1):
        raise ValueError(f"map_overlap: threshold must be from 0 to 1, or 'median', got {threshold!r}")
    large = torch.nn.functional.interpolate(torch.tensor(x)[:, None], y.shape[1:], mode="bilinear")[:, 0].numpy()
    flat, mask = large.reshape(len(x), -1), y.reshape(len(y), -1)
    if threshold == "median":
        answer = flat > np.sort(flat, 1)[:, flat.shape[1] // 2, None]
    else:
        low, high = flat.min(1, keepdims=True), flat.max(1, keepdims=True)
        scaled = np.divide(flat - low, high - low, out=np.ones_like(flat), where=high > low)
        answer = scaled >= threshold
    iou = (answer & mask).sum(1) / (answer | mask).sum(1).clip(1)
    return Overlap(iou, float((iou >= 0.5).mean()), float(iou.mean()))


def hearing(own: ArrayLike, deaf: ArrayLike) -> float:
    """Which share of what can be won by listening is won: (own − deaf) / (1 − deaf), each a mean over scenes.

    Args:
        own: which answers are right with the scene's own sound, (n,).
        deaf: which are right, or how probably, that ignore the sound, (n,). An answer that points at an object of a
            scene with n objects, whatever is heard, is right with 1/n; or take the mean of a model's maps over many
            sounds. (Its answers to the sound of another scene listen, to something wrong.)

    Returns:
        1 where all is right, 0 where listening wins nothing, and below where it harms.

    Raises:
        ValueError: there is no answer, the lengths differ, or without listening all is right already.

    Examples:
        >>> hearing([True, True, True, False], [0.5, 0.5, 0.5, 0.5])
        0.5
    """
    right, without = to_array(own, float), to_array(deaf, float)
    if right.ndim != 1 or right.shape != without.shape or not len(right):
        raise ValueError(f"hearing: own and deaf must be (n,) each, got {right.shape} and {without.shape}")
    a, b = float(right.mean()), float(without.mean())
    if not b < 1:
        raise ValueError("hearing: without listening all is right already; nothing can be won by it")
    return (a - b) / (1 - b)


def _both(who: str, maps: ArrayLike, masks: ArrayLike) -> tuple[NDArray[np.float64], Hits]:
    x, y = to_array(maps, float), to_array(masks, bool)
    side = round(x.shape[1] ** 0.5) if x.ndim == 2 else 0
    if x.ndim == 2 and side**2 == x.shape[1]:
        x = x.reshape(len(x), side, side)
    fits = x.ndim == y.ndim == 3 and len(x) == len(y) and x.size
    if not fits or y.shape[1] % x.shape[1] or y.shape[2] % x.shape[2]:
        raise ValueError(
            f"{who}: maps must be (n, L), of regions in a square grid, or (n, rows, columns), masks (n, H, W), and the "
            f"grid must divide H and W, got {x.shape} and {y.shape}"
        )
    if not np.isfinite(x).all():
        raise ValueError(f"{who}: the maps have NaN or infinite values")
    return x, y
