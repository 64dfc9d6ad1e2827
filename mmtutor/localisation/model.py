"""From a picture and a sound to a map of where it comes from, and to the loss. Equations: see ``__init__.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checks import check_batch, check_names, kind, module, modules, moved, number, reading, whole
from .losses import InfoNCE
from .pooling import LogSumExp, Pooling, Positives


class SoundLocalisation(nn.Module):
    """Learns from pictures and their sounds where in a picture a sound comes from.

    A batch may be on any device; what is returned is on that of the parameters. Where a mask, ``"<modality>_present"``
    bool (B,), says that the picture or the sound is missing, the pair does not count, neither as a pair nor as a
    negative. The negatives of a sound are the other pictures of its batch.

    Args:
        encoders: the picture and the sound, in this order: networks from (B, …) to regions (B, L, A), and from (B, …)
            to (B, C).
        dims: A and C.
        dim: d, numbers of the space.
        pooling: from a map to one number; None: `LogSumExp`. `Positives` adds its background to the negatives.
        contrast: which sound belongs to which picture; None: `InfoNCE`. Those of `mmtutor.embedding` fit, too, but not
            with `Positives`.

    Attributes:
        threshold: above it a sound comes from the picture; infinite until `calibrate`, so that none does.

    Raises:
        TypeError: an encoder, the pooling or the contrast is no module.
        ValueError: there are not two modalities, or sizes do not fit.

    Examples:
        >>> model = SoundLocalisation({"scene": nn.Identity(), "spoken": nn.Identity()}, [5, 4], dim=3)
        >>> batch = {"scene": torch.rand(2, 9, 5), "spoken": torch.rand(2, 4)}
        >>> sorted(model.loss(batch)), model.map(batch).shape
        (['loss'], torch.Size([2, 9]))
    """

    threshold: Tensor

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        dims: Sequence[int],
        dim: int = 64,
        pooling: Pooling | None = None,
        contrast: nn.Module | None = None,
    ) -> None:
        self.dims = _check(encoders, dims)
        super().__init__()
        who, dim = "SoundLocalisation", whole("SoundLocalisation", "dim", dim)
        self.encoders = nn.ModuleDict(encoders)
        self.image, self.sound = (nn.Linear(d, dim, bias=False) for d in self.dims)
        self.pooling = LogSumExp() if pooling is None else module(who, "pooling", pooling)
        self.contrast = InfoNCE() if contrast is None else module(who, "contrast", contrast)
        if isinstance(self.pooling, Positives) and not isinstance(self.contrast, InfoNCE):
            raise ValueError(
                f"{who}: Positives has a background, which only InfoNCE of this folder takes as a negative"
            )
        self.register_buffer("threshold", torch.tensor(torch.inf))

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Which sound of the batch belongs to which picture, ``{"loss": ()}``.

        Raises:
            TypeError: a modality is no tensor, or of another float type than the parameters.
            ValueError: as `map`; or there is a single pair, which has nothing to be told apart from.
        """
        self.check_batch(batch)
        batch = moved(batch, self)
        v, h = self.embed(batch)  # (B, L, d), (B, d)
        maps = _products(v, h.T).transpose(1, 2)  # (B pictures, B sounds, L)
        similarity = self.pooling(maps)  # (B, B)
        owner, there = torch.arange(len(h), device=h.device), self._there(batch, h)  # (B,)
        given = [similarity, owner, there[:, None] & there]
        if isinstance(self.pooling, Positives):
            given.append(self.pooling.background(maps[owner, owner]))
        return {"loss": self.contrast(*given)}

    def map(self, batch: Mapping[str, Tensor]) -> Tensor:
        """How similar each region is to the sound, cosines (B, L).

        Raises:
            TypeError: a modality is no tensor, or of another float type than the parameters.
            ValueError: a modality is missing in the batch or misspelt, sizes differ, values are NaN or infinite, or an
                encoder gives something else than regions or vectors.
        """
        self._both(batch)
        v, h = self.embed(moved(batch, self))
        return _products(v, h[..., None])[..., 0]

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The maps, (B, L); as `map`."""
        return self.map(batch)

    def embed(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Regions (B, L, d) and sounds (B, d) in one space, of length 1."""
        (m, n), (to_v, to_h) = self.encoders, (self.image, self.sound)
        v = F.normalize(_precise(to_v(self._features(m, batch))), dim=-1)
        h = F.normalize(_precise(to_h(self._features(n, batch))), dim=-1)
        return v, h

    def fits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """How well each sound fits to its picture, the pooled map, (B,)."""
        pooled: Tensor = self.pooling(self.map(batch))
        return pooled

    def calibrate(self, negatives: Mapping[str, Tensor], false_alarms: float = 0.05) -> Tensor:
        """Set the threshold so that of sounds that come from nothing in the picture this share is above it.

        Pairs of which something is missing do not count.

        Args:
            negatives: one batch of pictures with silence, or with sounds from elsewhere; not those of the test.
            false_alarms: the share, from 0 to 1.

        Returns:
            The threshold, ().

        Raises:
            RuntimeError: the model is in training mode.
        """
        share = number("SoundLocalisation.calibrate", "false_alarms", false_alarms, 0, 1)
        if self.training:
            raise RuntimeError("SoundLocalisation.calibrate: the model is in training mode; call .eval() first")
        with torch.no_grad():
            fits = self.fits(negatives).float()  # (B,)
            there = self._there(moved(negatives, self), fits)
            self.threshold.copy_(torch.where(there, fits, torch.nan).nanquantile(1 - share))
        return self.threshold.clone()

    def comes_from_picture(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Whether each sound comes from its picture, bool (B,): the pooled map is above the threshold."""
        return self.fits(batch) > self.threshold

    def _there(self, batch: Mapping[str, Tensor], like: Tensor) -> Tensor:
        there = torch.ones(len(like), dtype=torch.bool, device=like.device)
        for m in self.encoders:
            there = there & batch.get(f"{m}_present", there)
        return there

    def _features(self, m: str, batch: Mapping[str, Tensor]) -> Tensor:
        x, present = batch[m], batch.get(f"{m}_present")
        if present is not None:
            x = torch.where(present.view(-1, *[1] * (x.ndim - 1)), x, torch.zeros_like(x))
        with reading("SoundLocalisation", m, x, self.encoders[m]):
            features: Tensor = self.encoders[m](x)
        _check_features(self, m, x, features)
        return features

    # ---- messages

    def check_batch(self, batch: Mapping[str, Tensor]) -> None:
        """Refuse what `loss` cannot take, as it does; values that are on the CPU."""
        if self._both(batch) < 2:
            raise ValueError(
                "SoundLocalisation: one pair has nothing to be told apart from, its loss would be 0; make batches of "
                "at least two"
            )

    def _both(self, batch: Mapping[str, Tensor]) -> int:
        here = check_batch("SoundLocalisation", batch, self.encoders, model=self)
        if len(here) < 2:
            missing = next(m for m in self.encoders if m not in here)
            raise ValueError(
                f"SoundLocalisation: needs both modalities, the batch has no {missing!r}, only {', '.join(batch)}"
            )
        return len(batch[here[0]])


def _precise(x: Tensor) -> Tensor:
    """In float32 where autocast gave less: cosines of three digits, many times as large, say little."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _products(x: Tensor, y: Tensor) -> Tensor:
    """The matrix product, not by the rules of autocast."""
    if not torch.is_autocast_enabled(x.device.type):
        return x @ y
    with torch.autocast(x.device.type, enabled=False):
        return x @ y


def _check(encoders: Mapping[str, nn.Module], dims: Sequence[int]) -> list[int]:
    who = "SoundLocalisation"
    modules(who, "encoders", encoders)
    check_names(who, encoders)
    if not hasattr(dims, "__len__") or isinstance(dims, str | bytes | Mapping | set) or getattr(dims, "ndim", 1) != 1:
        raise TypeError(f"{who}: dims must be the two encoders' output sizes, such as [66, 64], got {dims!r}")
    if len(encoders) != 2 or len(dims) != 2:
        raise ValueError(f"{who}: reads a picture and a sound, got {len(encoders)} encoders and {len(dims)} dims")
    return [whole(who, f"dims[{k}]", d) for k, d in enumerate(dims)]


def _check_features(model: SoundLocalisation, m: str, x: Tensor, features: Tensor) -> None:
    first, (A, C) = next(iter(model.encoders)), model.dims
    fits = isinstance(features, Tensor) and (
        features.ndim == 3 and features.shape[2] == A and features.shape[1]
        if m == first
        else features.shape[1:] == (C,)
    )
    if not fits or len(features) != len(x):
        wanted = f"regions (B, L, {A})" if m == first else f"(B, {C})"
        raise ValueError(
            f"SoundLocalisation: the encoder of {m!r} must give {wanted}, got {kind(features)} for {kind(x)}"
        )
