"""What all models of question answering share: from a batch to the loss. Equations: see ``__init__.py``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checks import check_batch, check_label, check_names, kind, modules, moved, on_device, reading, whole


class QuestionAnswering(nn.Module, ABC):
    """Abstract: a picture as regions, a question as a vector, and the cross-entropy of the answer.

    A model of your own defines ``answer``. A batch may be on any device; what is returned is on that of the parameters.
    Where a mask, ``"<modality>_present"`` bool (B,), says that the picture or the question is missing, zeros stand in
    place of its features.

    Args:
        encoders: the picture and the question, in this order: networks from (B, …) to regions (B, L, D), and from
            (B, …) to (B, Q).
        dims: D and Q.
        classes: number C of answers.

    Raises:
        TypeError: an encoder is no module.
        ValueError: there are not two modalities, or sizes do not fit.
    """

    def __init__(self, encoders: Mapping[str, nn.Module], dims: Sequence[int], classes: int) -> None:
        self.dims = _check(type(self).__name__, encoders, dims)
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.classes = whole(type(self).__name__, "classes", classes, 2)

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The cross-entropy of the answer in nats, ``{"loss": ()}``.

        Args:
            batch: with ``"label"``, int64 (B,).

        Raises:
            TypeError: a modality is no tensor or of another float type than the parameters, or the label is not int64.
            ValueError: as ``forward``, or a label is not from 0 to C − 1.
        """
        self.check_batch(batch)
        logits = self.answer(*self._read(batch))  # (B, C)
        return {"loss": F.cross_entropy(logits, on_device(batch["label"], logits.device))}

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits of the answers, (B, C).

        Raises:
            TypeError: a modality is no tensor, or of another float type than the parameters.
            ValueError: a modality is missing in the batch or misspelt, both are missing in an example, sizes differ,
                values are NaN or infinite, or an encoder gives something else than regions or vectors.
        """
        return self.answer(*self.read(batch))

    @abstractmethod
    def answer(self, regions: Tensor, question: Tensor) -> Tensor:
        """The equation: regions (B, L, D) and a question (B, Q) to logits (B, C)."""

    def read(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The regions (B, L, D) and the question (B, Q), zeros where they are missing."""
        self._size(batch)
        return self._read(batch)

    def _read(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        names = [name for m in self.encoders for name in (m, f"{m}_present") if name in batch]
        batch = moved({name: batch[name] for name in names}, self)
        regions, question = (self._features(m, batch) for m in self.encoders)
        return regions, question

    def _features(self, m: str, batch: Mapping[str, Tensor]) -> Tensor:
        x, present = batch[m], batch.get(f"{m}_present")
        x = _keep(x, present)
        with reading(type(self).__name__, m, x, self.encoders[m]):
            features: Tensor = self.encoders[m](x)
        _check_features(self, m, x, features)
        return _keep(features, present)

    # ---- messages

    def check_batch(self, batch: Mapping[str, Tensor]) -> None:
        """Refuse what `loss` cannot take, as it does; values that are on the CPU."""
        check_label(type(self).__name__, batch, self.classes, self._size(batch))

    def _size(self, batch: Mapping[str, Tensor]) -> int:
        who = type(self).__name__
        here = check_batch(who, batch, self.encoders, model=self)
        if len(here) < 2:
            missing = next(m for m in self.encoders if m not in here)
            raise ValueError(
                f"{who}: the batch has no {missing!r}, only {', '.join(batch)}; where it is missing in some examples, "
                f"give zeros and a mask '{missing}_present'"
            )
        return len(batch[here[0]])


def _keep(x: Tensor, present: Tensor | None) -> Tensor:
    """Zeros where a modality is missing, also in the gradient."""
    return x if present is None else torch.where(present.view(-1, *[1] * (x.ndim - 1)), x, torch.zeros_like(x))


def _check(who: str, encoders: Mapping[str, nn.Module], dims: Sequence[int]) -> list[int]:
    modules(who, "encoders", encoders)
    check_names(who, encoders)
    if not hasattr(dims, "__len__") or isinstance(dims, str | bytes | Mapping | set) or getattr(dims, "ndim", 1) != 1:
        raise TypeError(f"{who}: dims must be the two encoders' output sizes, such as [66, 64], got {dims!r}")
    if len(encoders) != 2 or len(dims) != 2:
        raise ValueError(
            f"{who}: reads a picture and a question, got {len(encoders)} encoders and {len(dims)} dims; with one of "
            "them alone, mmtutor.fusion.LateFusion answers"
        )
    return [whole(who, f"dims[{k}]", d) for k, d in enumerate(dims)]


def _check_features(model: QuestionAnswering, m: str, x: Tensor, features: Tensor) -> None:
    first, (D, Q) = next(iter(model.encoders)), model.dims
    fits = isinstance(features, Tensor) and (
        features.ndim == 3 and features.shape[2] == D and features.shape[1]
        if m == first
        else features.shape[1:] == (Q,)
    )
    if not fits or len(features) != len(x):
        wanted = f"regions (B, L, {D})" if m == first else f"(B, {Q})"
        raise ValueError(
            f"{type(model).__name__}: the encoder of {m!r} must give {wanted}, got {kind(features)} for {kind(x)}"
        )
