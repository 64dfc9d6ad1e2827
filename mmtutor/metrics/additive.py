"""How much of its accuracy a model owes to two modalities *together*: the additive projection, EMAP.

A model of two modalities gives scores f(x₁, x₂). Of all additive ones, g₁(x₁) + g₂(x₂), the nearest in the squared
difference over all N × N pairs of N examples is

    f̂(xᵢ, yᵢ) = meanⱼ f(xᵢ, yⱼ) + meanⱼ f(xⱼ, yᵢ) − meanⱼₖ f(xⱼ, yₖ),

the *empirical multimodally-additive projection* (Hessel and Lee, 2020, arXiv:2010.06572). An additive model cannot let
one modality say how the other is read. Where the projection is as accurate as the model, the model has not been shown
to use both together; what it loses is what it owes to that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmtutor.data import MultimodalDataset
from mmtutor.data.dataset import take
from mmtutor.data.items import whole

from .reading import predict


def emap(
    model: nn.Module,
    data: MultimodalDataset | Mapping[str, Tensor],
    modality: str | Sequence[str],
    batch_size: int = 512,
) -> Tensor:
    """The scores of the additive projection of a model, for every example.

    The model reads all N × N pairs of a first part and the rest, in evaluation mode: 500 examples are 250,000 pairs.

    Args:
        model: from a batch, a dict of tensors, to scores (B, classes).
        data: N examples, at least two.
        modality: the first part, a modality or several; a mask and a length of a modality go with it. The second part
            is all the rest.
        batch_size: how many pairs at a time.

    Returns:
        (N, classes) on the CPU, to be compared with `predict`: the share in which the largest score is the label's.

    Raises:
        TypeError: data are no dict of tensors, and no data set that holds them.
        ValueError: there is no such modality, nothing is left for the second part, or there is one example only.

    Examples:
        >>> class Sum(nn.Module):
        ...     def forward(self, batch):
        ...         return torch.stack([batch["a"] + batch["b"], batch["a"] * batch["b"]], 1)
        >>> emap(Sum(), {"a": torch.tensor([1.0, -1.0]), "b": torch.tensor([1.0, -1.0])}, "a")  # a · b has no such part
        tensor([[ 2.,  0.],
                [-2.,  0.]])
    """
    examples = (data if isinstance(data, MultimodalDataset) else MultimodalDataset(data))[:]
    first = _part(examples, modality)
    N = len(next(iter(examples.values())))
    if N < 2:
        raise ValueError("emap: needs at least two examples, got one")
    pairs = _Pairs(examples, first, N)
    scores = predict(model, pairs, whole("emap", "batch_size", batch_size, 1))  # (N N, C)
    if scores.ndim != 2:
        raise ValueError(f"emap: the model must give scores (B, classes), got {tuple(scores.shape)}")
    scores = scores.view(N, N, -1)  # (N, N, C)
    projected: Tensor = scores.mean(1) + scores.mean(0) - scores.mean((0, 1))  # (N, C)
    return projected


class _Pairs(MultimodalDataset):
    """Example i N + j has the first part of example i, and the rest of example j."""

    def __init__(self, tensors: Mapping[str, Tensor], first: Sequence[str], n: int) -> None:
        super().__init__(tensors)
        self.first, self.n = first, n

    def __len__(self) -> int:
        return self.n * self.n

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> dict[str, Tensor]:
        k = torch.as_tensor(range(len(self))[index] if isinstance(index, slice) else index)
        one, other = k // self.n, k % self.n
        return {name: take(x, one if name in self.first else other) for name, x in self.tensors.items()}


def _part(examples: Mapping[str, Tensor], modality: str | Sequence[str]) -> list[str]:
    """The names of all tensors of the first part."""
    asked = [modality] if isinstance(modality, str) else list(modality)
    modalities = MultimodalDataset(examples).modalities
    for m in asked:
        if m not in modalities:
            raise ValueError(f"emap: no modality {m!r}, only {', '.join(modalities)}")
    first = [name for name in examples if any(name == m + end for m in asked for end in ("", "_present", "_length"))]
    rest = [name for name in modalities if name not in first]
    if not asked or not rest:
        raise ValueError(f"emap: modality must name a part of the modalities, and leave another, got {modality!r}")
    return first
