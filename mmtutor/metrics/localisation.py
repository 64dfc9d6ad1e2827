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
        half: share of maps with an IoU of at least one half, the "cIoU" of the field's tables.
        auc: the area under the share of maps with an IoU of at least u, u from 0 to 1. This is the mean IoU.
    """

    iou: NDArray[np.float64]
    half: float
    auc: float


def speaker_masks(data: Scenes, *, every: bool = False, boxes: bool = False) -> Hits:
    """Which pixels show an object that speaks.

    Args:
        data: from `mmtutor.data.speak`.
        every: any object, whether it speaks or not.
        boxes: the objects' boxes instead of their pixels: what people draw when they annotate.

    Returns:
        bool (n, H, W).

    Raises:
        TypeError: data are no scenes.
        ValueError: nobody speaks in them.
    """
    if not isinstance(data, Scenes):
        raise TypeError(f"speaker_masks: data must be Scenes, got {type(data).__name__}")
    if "speaks_label" not in data.tensors and not every:
        raise ValueError("speaker_masks: the scenes have no sound; see mmtutor.data.speak")
    here = data.tensors["digit_label"] >= 0
    chosen = (here if every else data.tensors["speaks_label"]).cpu().numpy()  # (n, objects)
    owner = data.tensors["owner_label"].cpu().numpy()  # (n, H, W)
    if not boxes:
        inside = owner[:, None] == np.arange(chosen.shape[1])[:, None, None]  # (n, objects, H, W)
        return np.asarray((chosen[:, :, None, None] & inside).any(1))
    down, across = np.arange(owner.shape[1])[:, None], np.arange(owner.shape[2])
    left, top, right, bottom = data.tensors["box_label"].cpu().numpy().transpose(2, 0, 1)[..., None, None]
    inside = (down >= top) & (down < bottom) & (across >= left) & (across < right)  # (n, objects, H, W)
    return np.asarray((chosen[:, :, None, None] & inside).any(1))


def map_pointing(maps: ArrayLike, masks: ArrayLike) -> Hits:
    """The pointing game: whether the region with the largest value touches the mask.

    Args:
        maps: (n, L), L regions in a square grid, or (n, rows, columns).
        masks: bool (n, H, W).

    Returns:
        bool (n,). Where several regions are largest, the first counts.

    Raises:
        ValueError: the shapes do not fit.
    """
    x, y = _both("map_pointing", maps, masks)
    rows, columns = x.shape[1:]
    cells = y.reshape(len(y), rows, y.shape[1] // rows, columns, y.shape[2] // columns).any(
        (2, 4)
    )  # (n, rows, columns)
    chosen: Hits = np.take_along_axis(cells.reshape(len(x), -1), x.reshape(len(x), -1).argmax(1)[:, None], 1)[:, 0]
    return chosen


def map_overlap(maps: ArrayLike, masks: ArrayLike, threshold: float | str = 0.5) -> Overlap:
    """Intersection over union of the masks and what of the maps is above a threshold.

    A map is enlarged to the size of the mask, bilinearly, and scaled so that it goes from 0 to 1; a map that is the
    same everywhere becomes the whole picture.

    Args:
        maps: (n, L), L regions in a square grid, or (n, rows, columns).
        masks: bool (n, H, W).
        threshold: of the scaled map, 0 to 1, or ``"median"``: the larger half of each map, as published programs have
            it. That answer has the size of half the picture, whatever the map says.

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
        own: which answers are right with the scene's own sound.
        deaf: how often one is right who does not listen. Who points at an object of a scene with n objects whatever is
            heard is right for 1/n of them; or the same answers to the sounds of other scenes.

    Returns:
        1 where all is right, 0 where listening wins nothing, and below where it harms.

    Raises:
        ValueError: without listening all is right already.

    Examples:
        >>> hearing([True, True, True, False], [0.5, 0.5, 0.5, 0.5])
        0.5
    """
    a, b = (float(np.mean(to_array(x, float))) for x in (own, deaf))
    if not b < 1:
        raise ValueError("hearing: without listening all is right already; nothing can be won by it")
    return (a - b) / (1 - b)


def _both(who: str, maps: ArrayLike, masks: ArrayLike) -> tuple[NDArray[np.float64], Hits]:
    x, y = to_array(maps, float), to_array(masks, bool)
    side = round(x.shape[1] ** 0.5) if x.ndim == 2 else 0
    if x.ndim == 2 and side**2 == x.shape[1]:
        x = x.reshape(len(x), side, side)
    if (
        x.ndim != 3
        or y.ndim != 3
        or len(x) != len(y)
        or any(b % a for a, b in zip(x.shape[1:], y.shape[1:], strict=True))
    ):
        raise ValueError(
            f"{who}: maps must be (n, L), of regions in a square grid, or (n, rows, columns), masks (n, H, W), and the "
            f"grid must divide H and W, got {x.shape} and {y.shape}"
        )
    if not np.isfinite(x).all():
        raise ValueError(f"{who}: the maps have NaN or infinite values")
    return x, y
