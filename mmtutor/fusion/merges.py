"""The merges: each takes the features of M modalities, a list of (B, dₘ), and gives one (B, D).

xₘ are the features of modality m; [a; b] stacks two vectors; φ is ReLU, ⊙ and ∏ multiply number by number.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checks import as_mask, as_tensor, check_dtype, check_finite, check_present, kind, whole


def keep(x: Tensor, mask: Tensor | None) -> Tensor:
    """Zero what is missing: ``x`` (B, …) where ``mask``, bool (B,), is true, else 0, also in the gradient."""
    return x if mask is None else torch.where(mask.view(-1, *[1] * (x.ndim - 1)), x, x.new_zeros(()))


class Merge(nn.Module, ABC):
    """Abstract: what all merges share. A merge of your own defines ``merge``.

    Args:
        dims: size dₘ of each modality's features.
        dim: size D of the result.

    Raises:
        ValueError: a size is no whole number ≥ 1, or there is no modality.
    """

    takes_positions = False  # whether features may be (B, Tₘ, dₘ)

    def __init__(self, dims: Sequence[int], dim: int) -> None:
        super().__init__()
        self.dims = check_sizes(type(self).__name__, dims)
        self.dim = whole(type(self).__name__, "dim", dim)

    def forward(
        self,
        features: Sequence[Tensor],
        present: Tensor | None = None,
        real: Sequence[Tensor | None] | None = None,
    ) -> Tensor:
        """Merge features.

        Args:
            features: one float tensor (B, dₘ) per modality.
            present: where a modality is there, bool (B, M); None: everywhere. What is not there is never read.
            real: for `CrossAttention`, which positions of a modality are no padding, bool (B, Tₘ); None: all.

        Returns:
            Float (B, D), on the device of the merge's parameters; without any, on that of the first features.

        Raises:
            TypeError: a feature is no float tensor.
            ValueError: sizes do not fit, values are NaN or infinite, or an example has no modality at all.
        """
        return self.merge(*self.prepare(features, present))

    def prepare(self, features: Sequence[Tensor], present: Tensor | None) -> tuple[list[Tensor], Tensor]:
        """What `merge` reads: features that are zero where they are missing, and ``present``, on one device."""
        _check_features(self, features, present)
        device = next((p.device for p in self.parameters()), features[0].device)
        features = [x.to(device) for x in features]
        if present is None:
            return features, torch.ones(len(features[0]), len(features), dtype=torch.bool, device=device)
        present = present.to(device)
        return [keep(x, present[:, m]) for m, x in enumerate(features)], present

    @abstractmethod
    def merge(self, features: list[Tensor], present: Tensor) -> Tensor:
        """The equation: features (B, dₘ), zero where ``present``, bool (B, M), is False, to (B, D)."""


class Concat(Merge):
    """Concatenation of features, [x₁; …; x_M]. A missing modality is a block of zeros.

    Args:
        dims: size of each modality's features; D is their sum.

    Examples:
        >>> Concat([2, 3])([torch.ones(4, 2), torch.zeros(4, 3)]).shape
        torch.Size([4, 5])
    """

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__(dims, sum(check_sizes("Concat", dims)))

    def merge(self, features: list[Tensor], present: Tensor) -> Tensor:
        """[x₁; …; x_M]."""
        return torch.cat(features, 1)  # (B, D)


class ConcatNodes(Merge):
    """Concatenation of nodes: each modality first has a layer of its own, [φ(Wₘxₘ + bₘ)]ₘ.

    A missing modality is a block of zeros.

    Args:
        dims: size of each modality's features.
        nodes: units of each modality's layer, so D = M · nodes.

    Examples:
        >>> ConcatNodes([2, 3], nodes=4)([torch.ones(5, 2), torch.ones(5, 3)]).shape
        torch.Size([5, 8])
    """

    def __init__(self, dims: Sequence[int], nodes: int) -> None:
        nodes = whole("ConcatNodes", "nodes", nodes)
        super().__init__(dims, len(check_sizes("ConcatNodes", dims)) * nodes)
        self.layers = nn.ModuleList(nn.Linear(d, nodes) for d in self.dims)

    def merge(self, features: list[Tensor], present: Tensor) -> Tensor:
        """[φ(Wₘxₘ + bₘ)]ₘ."""
        nodes = [layer(x).relu() for layer, x in zip(self.layers, features, strict=True)]
        return torch.cat([keep(h, present[:, m]) for m, h in enumerate(nodes)], 1)  # (B, D)


class Arithmetic(Merge):
    """An arithmetic operator on features of equal size: sum, mean or product.

    Args:
        dims: size of each modality's features, all equal; D is the same.
        operator: ``"sum"``, ``"mean"`` (over the modalities that are there) or ``"product"`` (a missing modality
            is a factor of one).

    Examples:
        >>> x = [torch.tensor([[3.0]]), torch.tensor([[2.0]])]
        >>> Arithmetic([1, 1], "mean")(x), Arithmetic([1, 1], "product")(x)
        (tensor([[2.5000]]), tensor([[6.]]))
    """

    def __init__(self, dims: Sequence[int], operator: str = "sum") -> None:
        super().__init__(dims, check_sizes("Arithmetic", dims)[0])
        self.operator = _check_operator(self, operator)

    def merge(self, features: list[Tensor], present: Tensor) -> Tensor:
        """Σ xₘ, Σ xₘ / M or ∏ xₘ over the modalities that are there."""
        x = torch.stack(features, 1)  # (B, M, D)
        if self.operator == "product":
            return x.masked_fill(~present[..., None], 1.0).prod(1)  # (B, D)
        total = x.sum(1)  # (B, D)
        return total / present.sum(1, keepdim=True) if self.operator == "mean" else total


class InnerProduct(Merge):
    """Inner products ⟨xₘ, xₙ⟩ of every two modalities: how alike their features are, and nothing else.

    With P parts each vector is cut into P of equal size, which gives P numbers for each pair; with as many parts as
    features it is their product, number by number. A missing modality's inner products are 0.

    Args:
        dims: size of each modality's features, all equal, of at least two modalities.
        parts: P, a divisor of the size; D = P · M (M − 1) / 2.

    Examples:
        >>> x = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])]
        >>> InnerProduct([2, 2])(x), InnerProduct([2, 2], parts=2)(x)
        (tensor([[11.]]), tensor([[3., 8.]]))
    """

    def __init__(self, dims: Sequence[int], parts: int = 1) -> None:
        self.parts, self.pairs = _check_pairs(dims, parts)
        super().__init__(dims, self.parts * len(self.pairs))

    def merge(self, features: list[Tensor], present: Tensor) -> Tensor:
        """⟨xₘ, xₙ⟩, part by part, pair after pair."""
        x = torch.stack(features, 1)  # (B, M, d)
        x = x.view(*x.shape[:2], self.parts, -1)  # (B, M, P, e)
        products = [(x[:, m] * x[:, n]).sum(2) for m, n in self.pairs]
        return torch.cat(products, 1)  # (B, D)


class MergeLayer(Merge):
    """A weighted merge layer: Σ Wₘxₘ + b over the modalities that are there.

    It is a linear layer on the concatenation, W[x₁; …; x_M] + b with W = [W₁ … W_M], written modality by modality.

    Args:
        dims: size of each modality's features.
        dim: units D of the layer.

    Examples:
        >>> MergeLayer([2, 3], 4)([torch.ones(5, 2), torch.ones(5, 3)]).shape
        torch.Size([5, 4])
    """

    def __init__(self, dims: Sequence[int], dim: int) -> None:
        super().__init__(dims, dim)
        self.layers = nn.ModuleList(nn.Linear(d, self.dim, bias=False) for d in self.dims)
        self.bias = nn.Parameter(torch.zeros(self.dim))

    def merge(self, features: list[Tensor], present: Tensor) -> Tensor:
        """Σ Wₘxₘ + b."""
        return sum((layer(x) for layer, x in zip(self.layers, features, strict=True)), self.bias)  # (B, D)


class SumNodes(Merge):
    """Sum of nodes: each modality has a layer with a nonlinearity of its own, Σ φ(Wₘxₘ + bₘ).

    Unlike `MergeLayer` it is no linear layer on the concatenation. A missing modality adds nothing.

    Args:
        dims: size of each modality's features.
        dim: units D of each modality's layer.

    Examples:
        >>> SumNodes([2, 3], 4)([torch.ones(5, 2), torch.ones(5, 3)]).shape
        torch.Size([5, 4])
    """

    def __init__(self, dims: Sequence[int], dim: int) -> None:
        super().__init__(dims, dim)
        self.layers = nn.ModuleList(nn.Linear(d, self.dim) for d in self.dims)

    def merge(self, features: list[Tensor], present: Tensor) -> Tensor:
        """Σ φ(Wₘxₘ + bₘ)."""
        nodes = [layer(x).relu() for layer, x in zip(self.layers, features, strict=True)]
        kept = torch.stack([keep(h, present[:, m]) for m, h in enumerate(nodes)])  # (M, B, D)
        return kept.sum(0)  # (B, D)


class Gated(Merge):
    """Σ gₘ ⊙ tanh(Wₘxₘ + bₘ): gates g, one per modality and unit, weigh the modalities; they add up to one.

    A missing modality gets the gate zero. It is related to the Gated Multimodal Unit (Arevalo et al., 2017,
    arXiv:1702.01992). For two modalities the paper has gates z and 1 − z with z = σ(V[x₁; x₂]); a softmax of two scores
    is the same with V the difference of their rows. For more it has a sigmoid for each, whose gates do not add up to
    one; here they do.

    Args:
        dims: size of each modality's features.
        dim: size D of the result.

    Examples:
        >>> Gated([2, 3], 4)([torch.ones(5, 2), torch.ones(5, 3)]).shape
        torch.Size([5, 4])
    """

    def __init__(self, dims: Sequence[int], dim: int) -> None:
        super().__init__(dims, dim)
        self.layers = nn.ModuleList(nn.Linear(d, self.dim) for d in self.dims)
        self.gates = nn.Linear(sum(self.dims), self.dim * len(self.dims))

    def merge(self, features: list[Tensor], present: Tensor) -> Tensor:
        """Σ gₘ ⊙ tanh(Wₘxₘ + bₘ) with g = softmaxₘ(V[x₁; …; x_M] + c)."""
        h = torch.stack([layer(x).tanh() for layer, x in zip(self.layers, features, strict=True)], 1)  # (B, M, D)
        scores = self.gates(torch.cat(features, 1)).view_as(h)  # (B, M, D)
        g = scores.masked_fill(~present[..., None], -torch.inf).softmax(1)  # (B, M, D)
        fused: Tensor = (g * h).sum(1)  # (B, D)
        return fused


class TensorFusion(Merge):
    """W vec(⊗ₘ [1; xₘ]) + b: every product of features of different modalities gets a weight.

    The leading ones keep the single features and the products of fewer modalities. W has D · ∏(dₘ + 1) numbers;
    `LowRankFusion` does the same with far fewer. A missing modality is [1; 0]: what remains is the tensor of the
    others. Source: Zadeh et al. (2017), Tensor Fusion Network.

    Args:
        dims: size of each modality's features.
        dim: size D of the result.

    Examples:
        >>> merge = TensorFusion([2, 3], 4)
        >>> merge.linear.in_features
        12
        >>> merge([torch.ones(5, 2), torch.ones(5, 3)]).shape
        torch.Size([5, 4])
    """

    def __init__(self, dims: Sequence[int], dim: int) -> None:
        super().__init__(dims, dim)
        self.linear = nn.Linear(_check_products(self), self.dim)

    def merge(self, features: list[Tensor], present: Tensor) -> Tensor:
        """W vec(⊗ₘ [1; xₘ]) + b."""
        outer = features[0].new_ones(len(features[0]), 1)  # (B, 1)
        for x in features:
            x1 = F.pad(x, (1, 0), value=1.0)  # (B, d_m + 1)
            outer = (outer[:, :, None] * x1[:, None]).flatten(1)  # (B, n_m)
        fused: Tensor = self.linear(outer)  # (B, D)
        return fused


class LowRankFusion(Merge):
    """Σᵣ wᵣ ∏ₘ Wₘ⁽ʳ⁾[1; xₘ] + b: tensor fusion whose weight is a sum of R rank-one tensors.

    Wₘ⁽ʳ⁾[1; xₘ] is a linear layer with a bias, and one layer per modality holds all R of them. The tensor is
    never built: time and memory grow with Σ dₘ, not with ∏ dₘ. A missing modality is [1; 0], as in `TensorFusion`.
    Source: Liu et al. (2018), Low-rank Multimodal Fusion, equations 9 to 12.

    Args:
        dims: size of each modality's features.
        dim: size D of the result.
        rank: number R of rank-one tensors.

    Examples:
        >>> merge = LowRankFusion([2, 3], 4, rank=2)
        >>> merge([torch.ones(5, 2), torch.ones(5, 3)]).shape, merge.full_weight().shape
        (torch.Size([5, 4]), torch.Size([4, 12]))
    """

    def __init__(self, dims: Sequence[int], dim: int, rank: int = 4) -> None:
        super().__init__(dims, dim)
        self.rank = whole("LowRankFusion", "rank", rank)
        self.factors = nn.ModuleList(nn.Linear(d, self.rank * self.dim) for d in self.dims)
        self.weight = nn.Parameter(torch.randn(self.rank) / math.sqrt(self.rank))
        self.bias = nn.Parameter(torch.zeros(self.dim))

    def merge(self, features: list[Tensor], present: Tensor) -> Tensor:
        """Σᵣ wᵣ ∏ₘ Wₘ⁽ʳ⁾[1; xₘ] + b."""
        product = features[0].new_ones(())  # ()
        for factor, x in zip(self.factors, features, strict=True):
            product = product * factor(x)  # (B, R D)
        product = product.view(-1, self.rank, self.dim)  # (B, R, D)
        return self.weight @ product + self.bias  # (B, D)

    def full_weight(self) -> Tensor:
        """The weight (D, ∏(dₘ + 1)) of the `TensorFusion` that this one equals."""
        full = self.weight[:, None, None]  # (R, 1, 1)
        for factor in self.factors:
            bias, weight = factor.get_parameter("bias"), factor.get_parameter("weight")
            w1 = torch.cat([bias[:, None], weight], 1).view(self.rank, self.dim, -1)  # (R, D, d_m + 1)
            full = (full[..., None] * w1[:, :, None]).flatten(2)  # (R, D, n_m)
        return full.sum(0)  # (D, N)


# ---- messages


def check_sizes(who: str, dims: Sequence[int]) -> tuple[int, ...]:
    """The size of each modality's features, from a list, an array or a tensor; a dict could have another order."""
    is_list = hasattr(dims, "__len__") and not isinstance(dims, str | bytes | Mapping | set)
    if not is_list or getattr(dims, "ndim", 1) != 1 or not len(dims):
        raise ValueError(f"{who}: dims must be a list with a size for at least one modality, got {dims!r}")
    return tuple(whole(who, f"dims[{m}]", d) for m, d in enumerate(dims))


def _check_features(merge: Merge, features: Sequence[Tensor], present: Tensor | None) -> None:
    who, dims = type(merge).__name__, merge.dims
    if not isinstance(features, list | tuple) or len(features) != len(dims):
        got = f"a {type(features).__name__}" if not isinstance(features, list | tuple) else len(features)
        raise ValueError(f"{who}: features must be a list of {len(dims)} tensors, one per modality, got {got}")
    for m, (x, d) in enumerate(zip(features, dims, strict=True)):
        if not isinstance(x, Tensor) or not x.is_floating_point():
            to = "; convert it with .float()" if isinstance(x, Tensor) else as_tensor(x)
            raise TypeError(f"{who}: features[{m}] must be a float tensor, got {kind(x)}{to}")
        axes = (2, 3) if merge.takes_positions else (2,)
        if x.ndim not in axes or x.shape[-1] != d or len(x) != len(features[0]) or 0 in x.shape:
            wanted = f"({len(features[0]) or 'at least 1'}, {d})"
            raise ValueError(f"{who}: features[{m}] must be {wanted}, got {tuple(x.shape)}")
        check_dtype(who, f"features[{m}]", x, merge)
    if present is not None:
        size, shape = len(features[0]), (len(features[0]), len(dims))
        if not isinstance(present, Tensor) or present.dtype != torch.bool or present.shape != shape:
            raise ValueError(f"{who}: present must be bool {shape}, got {kind(present)}{as_mask(present, size)}")
        check_present(who, present)
    for m, x in enumerate(features):
        check_finite(who, f"features[{m}]", x, None if present is None else present[:, m])


def _check_operator(merge: Merge, operator: str) -> str:
    if len(set(merge.dims)) > 1:
        raise ValueError(f"Arithmetic: all features need the same size, got {merge.dims}")
    if operator not in ("sum", "mean", "product"):
        raise ValueError(f"Arithmetic: operator must be sum, mean or product, got {operator!r}")
    return operator


def _check_pairs(dims: Sequence[int], parts: int) -> tuple[int, list[tuple[int, int]]]:
    sizes, parts = check_sizes("InnerProduct", dims), whole("InnerProduct", "parts", parts)
    if len(set(sizes)) > 1 or len(sizes) < 2:
        raise ValueError(f"InnerProduct: needs at least two modalities, all of the same size, got {sizes}")
    if sizes[0] % parts:
        raise ValueError(f"InnerProduct: parts must divide the size {sizes[0]}, got {parts}")
    return parts, list(combinations(range(len(sizes)), 2))


def _check_products(merge: Merge) -> int:
    size = math.prod(d + 1 for d in merge.dims)
    if size * merge.dim > 2**28:
        raise ValueError(f"TensorFusion: {size} × {merge.dim} weights for {merge.dims}; use LowRankFusion")
    return size
