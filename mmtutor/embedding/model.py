"""Two encoders, two linear maps, one space: from a batch to the loss. Equations and symbols: see ``__init__.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checks import check_batch, check_names, kind, modules, moved, reading, whole
from .losses import Contrast, InfoNCE
from .processes import gathered


class JointEmbedding(nn.Module):
    """Embeds two modalities in one space, in which what belongs together is similar.

    The first modality has one example a row, such as a picture; of the second there may be several, such as the
    sentences about it. A batch may be on any device; what is returned is on that of the parameters.

    Where a mask, ``"<modality>_present"`` bool (B,), says that one of the two is missing, the pair counts neither as a
    pair nor as a negative. Under ``accelerate launch`` the negatives are those of all processes.

    Args:
        encoders: the two modalities, each with a network from (B, …) to (B, D).
        dims: the encoders' output sizes D, in that order.
        dim: d, numbers of the space.
        loss: `InfoNCE` (None), `Triplet` or `Sigmoid`.
        several: whether the second modality comes as (B, R, …), R of each example.
        group: name of further labels in the batch, int64 (B,), such as ``"digit_label"``: examples of one group are
            *known false negatives* of each other. They do not count.

    Raises:
        TypeError: an encoder is no module, or the loss none of ours.
        ValueError: there are not two modalities, or sizes do not fit.

    Examples:
        >>> model = JointEmbedding({"image": nn.Flatten(), "word": nn.Embedding(9, 5)}, [12, 5], dim=4)
        >>> batch = {"image": torch.rand(3, 3, 2, 2), "word": torch.tensor([1, 2, 3])}
        >>> sorted(model.loss(batch))
        ['loss']
        >>> model.similarity(batch).shape
        torch.Size([3, 3])
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        dims: Sequence[int],
        dim: int = 64,
        loss: Contrast | None = None,
        *,
        several: bool = False,
        group: str | None = None,
    ) -> None:
        dims, dim = _check(encoders, dims, dim, loss, group)
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.maps = nn.ModuleDict({m: nn.Linear(d, dim, bias=False) for m, d in zip(encoders, dims, strict=True)})
        self.contrast = InfoNCE() if loss is None else loss
        self.dim, self.several, self.group = dim, several, group

    def embed(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The embeddings of the modalities that are in the batch, of length 1: (B, d), or (B, R, d) of several.

        Raises:
            TypeError: a modality is no tensor, or of another float type than the parameters.
            ValueError: there is neither modality, sizes differ, or an encoder cannot read what it is handed.
        """
        here = check_batch(type(self).__name__, batch, self.encoders, also=self._also, model=self)
        batch = moved(batch, self)
        return {m: self._embedded(m, batch) for m in here}

    def _embedded(self, m: str, batch: Mapping[str, Tensor]) -> Tensor:
        x, present = batch[m], batch.get(f"{m}_present")
        if present is not None:
            x = torch.where(present.view(-1, *[1] * (x.ndim - 1)), x, torch.zeros_like(x))
        many = self.several and m == list(self.encoders)[1]
        rows = x.flatten(0, 1) if many else x  # (B R, …)
        with reading(type(self).__name__, m, rows, self.encoders[m]):
            features = self.encoders[m](rows)  # (B R, D)
        z = F.normalize(_precise(self.maps[m](features)), dim=1)  # (B R, d)
        return z.view(*x.shape[:2], -1) if many else z

    def similarity(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The cosines of all pictures with all sentences of the batch, (B, B) or (B, B R)."""
        a, b = self.embed(self._both(batch)).values()
        return _cosines(a, b.reshape(-1, self.dim))

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The loss of the batch, ``{"loss": ()}``; of all processes' parts together.

        Args:
            batch: both modalities, and the labels of ``group`` if there are any.

        Raises:
            TypeError: as in `embed`, or the labels are not int64.
            ValueError: as in `embed`; or there is a single pair, which has nothing to be told apart from.
        """
        both = moved(self._both(batch), self)
        a, b = self.embed(both).values()
        R = b.shape[1] if self.several else 1
        a, b = gathered(a), gathered(b).reshape(-1, self.dim)  # (N, d), (M, d)
        if len(a) < 2:
            raise ValueError(
                f"{type(self).__name__}: one pair has nothing to be told apart from, its loss would be 0; make batches "
                "of at least two"
            )
        owner = torch.arange(len(a), device=a.device).repeat_interleave(R)  # (M,)
        return {"loss": self.contrast(_cosines(a, b), owner, self._counted(both, owner, R))}

    def _counted(self, batch: Mapping[str, Tensor], owner: Tensor, R: int) -> Tensor:
        """Which pictures and sentences may be together or apart, bool (N, M)."""
        first, second = self.encoders
        everywhere = torch.ones(len(batch[first]), dtype=torch.bool, device=owner.device)
        there = everywhere
        for m in (first, second):
            there = there & batch.get(f"{m}_present", everywhere)
        there = gathered(there)  # (N,)
        counted = there[:, None] & there[owner]  # (N, M)
        if self.group is not None:
            group = gathered(batch[self.group])  # (N,)
            other = group[:, None] != group[owner]  # (N, M)
            counted = counted & (other | (owner == torch.arange(len(group), device=owner.device)[:, None]))
        return counted

    @property
    def _also(self) -> list[str]:
        return [] if self.group is None else [self.group]

    # ---- messages

    def check_batch(self, batch: Mapping[str, Tensor]) -> None:
        """Refuse what `loss` cannot take, as it does; values that are on the CPU."""
        self._both(batch)

    def _both(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The two modalities with their masks, and the labels of the group."""
        who = type(self).__name__
        here = check_batch(who, batch, self.encoders, also=self._also, model=self)
        if len(here) < 2:
            missing = next(m for m in self.encoders if m not in here)
            raise ValueError(f"{who}: needs both modalities, the batch has no {missing!r}, only {', '.join(batch)}")
        second = batch[here[1]]
        if self.several and (second.ndim < 3 or not second.shape[1]):
            raise ValueError(f"{who}: {here[1]!r} must be (B, R, …), R of each example, got {kind(second)}")
        if self.group is not None:
            label = batch.get(self.group)
            if not isinstance(label, Tensor) or label.dtype != torch.int64 or label.shape != (len(second),):
                raise TypeError(f"{who}: {self.group!r} must be int64 ({len(second)},), got {kind(label)}")
        names = [*here, *(f"{m}_present" for m in here), *self._also]
        return {name: batch[name] for name in names if name in batch}


def _precise(x: Tensor) -> Tensor:
    """In float32 where autocast gave less: cosines of three digits, 50 times as large, say little."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _cosines(a: Tensor, b: Tensor) -> Tensor:
    """aᵢᵀ bⱼ of vectors of length 1, (N, d) and (M, d), not by the rules of autocast."""
    if not torch.is_autocast_enabled(a.device.type):
        return a @ b.T
    with torch.autocast(a.device.type, enabled=False):
        return a @ b.T


def _check(
    encoders: Mapping[str, nn.Module], dims: Sequence[int], dim: int, loss: Contrast | None, group: str | None
) -> tuple[list[int], int]:
    who = "JointEmbedding"
    modules(who, "encoders", encoders)
    check_names(who, encoders)
    if not hasattr(dims, "__len__") or isinstance(dims, str | bytes | Mapping | set) or getattr(dims, "ndim", 1) != 1:
        raise TypeError(f"{who}: dims must be the two encoders' output sizes, such as [64, 64], got {dims!r}")
    if len(encoders) != 2 or len(dims) != 2:
        raise ValueError(f"{who}: embeds two modalities, got {len(encoders)} encoders and {len(dims)} dims")
    if not isinstance(loss, Contrast | None):
        raise TypeError(f"{who}: loss must be InfoNCE(), Triplet() or Sigmoid(), got {loss!r}")
    if group is not None and not (isinstance(group, str) and group.endswith(("label", "_label"))):
        raise ValueError(f"{who}: group must be the name of labels, such as 'label' or 'digit_label', got {group!r}")
    return [whole(who, f"dims[{k}]", d) for k, d in enumerate(dims)], whole(who, "dim", dim)
