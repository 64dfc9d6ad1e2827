"""Pairs of a picture and a sentence: what a batch must have, besides what ``checks.py`` asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from .checks import check_batch, kind


def check_pairs(who: str, batch: Mapping[str, Tensor], names: Sequence[str], model: nn.Module) -> None:
    """Refuse a batch that lacks one of them, or whose pictures are not in [0, 1]; values that are on the CPU.

    Raises:
        TypeError: one is no tensor, pictures are not floating point, or of another float type than the parameters.
        ValueError: one is missing, in the batch or in some examples, sizes differ, or pictures are not as they must be.
    """
    here = check_batch(who, batch, names, model=model)
    if len(here) < len(names):
        missing = next(m for m in names if m not in here)
        raise ValueError(f"{who}: the batch has no {missing!r}, only {', '.join(batch)}")
    for m in names:
        if f"{m}_present" in batch:
            raise ValueError(f"{who}: needs {m!r} in all examples, so no '{m}_present'; leave out those that lack it")
    picture, x = names[0], batch[names[0]]
    if not x.is_floating_point():
        raise TypeError(f"{who}: {picture!r} must be floating point, got {x.dtype}; convert it with .float() / 255")
    if x.ndim != 4 or not x.numel():
        raise ValueError(f"{who}: {picture!r} must be pictures (B, C, H, W), got {kind(x)}")
    if x.device.type == "cpu" and not (x.min() >= 0 and x.max() <= 1):
        raise ValueError(f"{who}: {picture!r} must be in [0, 1], got values from {x.min():.3g} to {x.max():.3g}")
