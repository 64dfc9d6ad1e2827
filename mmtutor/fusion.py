"""Fusion: where and how several modalities meet in one classifier.

*Where.* Early: the modalities are merged before the one learner. Late: each modality has its own learner, and what
they learned is merged, either features (``LateFusion``) or class probabilities (``DecisionFusion``). In
between: the branches exchange what they know while they compute, once or several times (``CrossModalFusion``).

*How.* A merge takes a list of features, one (B, dₘ) per modality, and gives one (B, D). All of them have this one
signature, so any merge goes into any model. In the equations xₘ are the features of modality m, M their number:

    class               equation                                    source
    Concat              [x₁; …; x_M]
    ConcatNodes         [φ(W₁x₁ + b₁); …; φ(W_M x_M + b_M)]
    Arithmetic          Σ xₘ,  Σ xₘ / M,  or  ∏ xₘ
    MergeLayer          Σ Wₘxₘ + b
    Gated               Σ gₘ ⊙ tanh(Wₘxₘ),  g = softmaxₘ(Vₘ[x])     Arevalo and others 2017
    TensorFusion        W vec(⊗ₘ [1; xₘ]) + b                       Zadeh and others 2017
    LowRankFusion       Σᵣ wᵣ ∏ₘ Wₘ⁽ʳ⁾[1; xₘ] + b                   Liu and others 2018
    CrossAttention      xₘ ← xₘ + attention(xₘ, others), K times    Vaswani and others 2017

*Missing modalities.* A batch is a dict of tensors, modality to (B, …). A modality may be absent as a whole, or for some
examples: then ``"<modality>_present"`` is a mask, bool (B,). What is missing is set to zero before an encoder
sees it and again before a merge, and each merge leaves it out in its own way, stated in its docstring.

This file needs only torch: copy it into your own project.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "Arithmetic",
    "Concat",
    "ConcatNodes",
    "CrossAttention",
    "CrossModalFusion",
    "DecisionFusion",
    "EarlyFusion",
    "Gated",
    "LateFusion",
    "LowRankFusion",
    "MergeLayer",
    "TensorFusion",
]


# ---------------------------------------------------------------------------------------------- merges


class Merge(nn.Module):
    """What all merges share: sizes, and the check of what comes in.

    Args:
        dims: size dₘ of each modality's features.
        dim: size D of the result.

    Call a merge with a list of float tensors (B, dₘ) and, where modalities are missing, ``present``, bool (B, M).
    It raises TypeError or ValueError for features that do not fit, are NaN or infinite, or an example in
    which every modality is missing.
    """

    def __init__(self, dims: Sequence[int], dim: int) -> None:
        super().__init__()
        for name, size in [("dim", dim), *((f"dims[{m}]", d) for m, d in enumerate(dims))]:
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"{type(self).__name__}: {name} must be a whole number ≥ 1, got {size!r}")
        if not dims:
            raise ValueError(f"{type(self).__name__}: dims must name at least one modality")
        self.dims, self.dim = tuple(dims), dim

    def forward(self, features: Sequence[Tensor], present: Tensor | None = None) -> Tensor:
        """Merge: a list of (B, dₘ), and perhaps ``present`` (B, M), to (B, D)."""
        self._check(features)
        features = list(features)
        if present is None:
            present = torch.ones(len(features[0]), len(features), dtype=torch.bool, device=features[0].device)
        else:
            _check_present(type(self).__name__, present, (len(features[0]), len(features)))
            features = [_keep(x, present[:, m]) for m, x in enumerate(features)]
        for m, x in enumerate(features):
            if not _finite(x):
                raise ValueError(f"{type(self).__name__}: features[{m}] hold NaN or infinite values")
        return self._merge(features, present)

    def _merge(self, features: list[Tensor], present: Tensor) -> Tensor:
        """The equation; missing features are zero, ``present`` is bool (B, M)."""
        raise NotImplementedError

    def _check(self, features: Sequence[Tensor]) -> None:
        name = type(self).__name__
        if len(features) != len(self.dims):
            raise ValueError(f"{name}: expected features of {len(self.dims)} modalities, got {len(features)}")
        for m, (x, d) in enumerate(zip(features, self.dims, strict=True)):
            if not isinstance(x, Tensor) or not x.is_floating_point():
                raise TypeError(f"{name}: features[{m}] must be a float tensor, got {_kind(x)}")
            tokens = x.ndim == 3 and isinstance(self, CrossAttention)
            if not (x.ndim == 2 or tokens) or x.shape[-1] != d or len(x) != len(features[0]) or 0 in x.shape:
                wanted = f"({len(features[0]) or 'at least 1'}, {d})"
                raise ValueError(f"{name}: features[{m}] must be {wanted}, got {tuple(x.shape)}")


class Concat(Merge):
    """Concatenation of features, [x₁; …; x_M]. A missing modality is a block of zeros.

    Examples:
        >>> Concat([2, 3])([torch.ones(4, 2), torch.zeros(4, 3)]).shape
        torch.Size([4, 5])
    """

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__(dims, sum(dims) if dims else 1)

    def _merge(self, features: list[Tensor], present: Tensor) -> Tensor:
        return torch.cat(features, 1)


class ConcatNodes(Merge):
    """Concatenation of nodes: each modality first has a layer of its own, [φ(Wₘxₘ + bₘ)]ₘ with φ = ReLU.

    Args:
        dims: size of each modality's features.
        nodes: units of each modality's layer, so D = nodes · M. A missing modality is a block of zeros.
    """

    def __init__(self, dims: Sequence[int], nodes: int) -> None:
        super().__init__(dims, nodes * max(len(dims), 1))
        self.layers = nn.ModuleList(nn.Linear(d, nodes) for d in dims)

    def _merge(self, features: list[Tensor], present: Tensor) -> Tensor:
        nodes = [layer(x).relu() for layer, x in zip(self.layers, features, strict=True)]
        return torch.cat([_keep(h, present[:, m]) for m, h in enumerate(nodes)], 1)


class Arithmetic(Merge):
    """An arithmetic operator on features of equal size: sum, mean or product.

    Args:
        dims: size of each modality's features, all equal.
        operator: ``"sum"``, ``"mean"`` (over the modalities that are there) or ``"product"`` (a missing modality
            is a factor of one).

    Examples:
        >>> Arithmetic([1, 1], "product")([torch.tensor([[3.0]]), torch.tensor([[2.0]])])
        tensor([[6.]])
    """

    def __init__(self, dims: Sequence[int], operator: str = "sum") -> None:
        super().__init__(dims, dims[0] if dims else 1)
        if len(set(dims)) > 1:
            raise ValueError(f"Arithmetic: all features need the same size, got {tuple(dims)}")
        if operator not in ("sum", "mean", "product"):
            raise ValueError(f"Arithmetic: operator must be sum, mean or product, got {operator!r}")
        self.operator = operator

    def _merge(self, features: list[Tensor], present: Tensor) -> Tensor:
        x = torch.stack(features, 1)  # (B, M, D)
        if self.operator == "product":
            return torch.where(present[..., None], x, 1.0).prod(1)
        return x.sum(1) / (present.sum(1, keepdim=True) if self.operator == "mean" else 1)


class MergeLayer(Merge):
    """A weighted merge layer: Σ Wₘxₘ + b over the modalities that are there.

    It is a linear layer on the concatenation, W[x₁; …; x_M] + b with W = [W₁ … W_M], written modality by modality.
    With ``nonlinear=True`` each branch has its own nonlinearity, Σ φ(Wₘxₘ + bₘ), and the two differ.

    Args:
        dims: size of each modality's features.
        dim: units D of the layer.
        nonlinear: add φ(Wₘxₘ + bₘ), φ = ReLU, instead of Wₘxₘ.
    """

    def __init__(self, dims: Sequence[int], dim: int, nonlinear: bool = False) -> None:
        super().__init__(dims, dim)
        self.nonlinear = nonlinear
        self.layers = nn.ModuleList(nn.Linear(d, dim, bias=nonlinear) for d in dims)
        self.bias = None if nonlinear else nn.Parameter(torch.zeros(dim))

    def _merge(self, features: list[Tensor], present: Tensor) -> Tensor:
        nodes = [layer(x) for layer, x in zip(self.layers, features, strict=True)]
        if self.bias is None:
            return sum((_keep(h.relu(), present[:, m]) for m, h in enumerate(nodes)), torch.zeros_like(nodes[0]))
        return sum(nodes, self.bias)


class Gated(Merge):
    """Σ gₘ ⊙ tanh(Wₘxₘ + bₘ): gates g, one per modality and unit, say whom to believe; they add up to one.

    A missing modality gets the gate zero. Source: Arevalo and others (2017), Gated Multimodal Units, with a
    softmax over any number of modalities where the paper has a sigmoid for two.
    """

    def __init__(self, dims: Sequence[int], dim: int) -> None:
        super().__init__(dims, dim)
        self.layers = nn.ModuleList(nn.Linear(d, dim) for d in dims)
        self.gates = nn.Linear(sum(dims), dim * len(dims))

    def _merge(self, features: list[Tensor], present: Tensor) -> Tensor:
        h = torch.stack([layer(x).tanh() for layer, x in zip(self.layers, features, strict=True)], 1)  # (B, M, D)
        scores = self.gates(torch.cat(features, 1)).view_as(h)
        g = scores.masked_fill(~present[..., None], -torch.inf).softmax(1)
        fused: Tensor = (g * h).sum(1)
        return fused


class TensorFusion(Merge):
    """W vec(⊗ₘ [1; xₘ]) + b: every product of features of different modalities gets a weight.

    The leading ones keep the single features and the products of fewer modalities. W has D · ∏(dₘ + 1) numbers;
    ``LowRankFusion`` does the same with far fewer. A missing modality is [1; 0]: what remains is the tensor of
    the others. Source: Zadeh and others (2017), Tensor Fusion Network.

    Examples:
        >>> TensorFusion([2, 3], 4).linear.in_features
        12
    """

    def __init__(self, dims: Sequence[int], dim: int) -> None:
        super().__init__(dims, dim)
        size = math.prod(d + 1 for d in dims)
        if size * dim > 2**28:
            raise ValueError(f"TensorFusion: {size} × {dim} weights for {tuple(dims)}; use LowRankFusion")
        self.linear = nn.Linear(size, dim)

    def _merge(self, features: list[Tensor], present: Tensor) -> Tensor:
        outer = features[0].new_ones(len(features[0]), 1)  # (B, 1)
        for x in features:
            x1 = F.pad(x, (1, 0), value=1.0)  # [1; xₘ]
            outer = (outer[:, :, None] * x1[:, None]).flatten(1)
        fused: Tensor = self.linear(outer)
        return fused


class LowRankFusion(Merge):
    """Σᵣ wᵣ ∏ₘ Wₘ⁽ʳ⁾[1; xₘ] + b: tensor fusion whose weight is a sum of R rank-one tensors.

    Wₘ⁽ʳ⁾[1; xₘ] is a linear layer with a bias, and one layer per modality holds all R of them. The tensor is
    never built: time and memory grow with Σ dₘ, not with ∏ dₘ. A missing modality is [1; 0], as in
    ``TensorFusion``. Source: Liu and others (2018), Low-rank Multimodal Fusion, equations 9 to 12.

    Args:
        dims: size of each modality's features.
        dim: size D of the result.
        rank: number R of rank-one tensors.
    """

    def __init__(self, dims: Sequence[int], dim: int, rank: int = 4) -> None:
        super().__init__(dims, dim)
        if not isinstance(rank, int) or rank < 1:
            raise ValueError(f"LowRankFusion: rank must be a whole number ≥ 1, got {rank!r}")
        self.rank = rank
        self.factors = nn.ModuleList(nn.Linear(d, rank * dim) for d in dims)
        self.weight = nn.Parameter(torch.randn(rank) / math.sqrt(rank))
        self.bias = nn.Parameter(torch.zeros(dim))

    def _merge(self, features: list[Tensor], present: Tensor) -> Tensor:
        product = features[0].new_ones(())
        for factor, x in zip(self.factors, features, strict=True):
            product = product * factor(x)  # (B, R·D)
        fused: Tensor = self.weight @ product.view(-1, self.rank, self.dim) + self.bias  # Σᵣ wᵣ …
        return fused

    def full_weight(self) -> Tensor:
        """The weight (D, ∏(dₘ + 1)) of the ``TensorFusion`` that this one equals."""
        full = self.weight[:, None, None]  # (R, 1, 1)
        for factor in self.factors:
            bias, weight = factor.get_parameter("bias"), factor.get_parameter("weight")
            w1 = torch.cat([bias[:, None], weight], 1).view(self.rank, self.dim, -1)  # (R, D, dₘ+1)
            full = (full[..., None] * w1[:, :, None]).flatten(2)  # the order of the outer product above
        return full.sum(0)


class CrossAttention(Merge):
    """K exchanges between branches: each modality asks all others and adds what it hears, then all are joined.

    In an exchange xₘ ← xₘ + attention(query xₘ; keys and values of all other modalities), then
    xₘ ← xₘ + MLP(xₘ), each with layer normalisation first. Features may have places, (B, T, dₘ): then a
    place asks the places of the other modalities. After the last exchange the mean over places of each modality is
    kept and all are concatenated, so D = dim · M. With ``exchanges=0`` no modality hears another.

    Nobody asks a missing modality, and its block in the result is zero. A modality that is alone hears silence (a
    zero that is always among the keys).

    Args:
        dims: size of each modality's features.
        dim: size of each modality's features during the exchange, a multiple of ``heads``.
        exchanges: number K of exchanges.
        heads: attention heads.
    """

    def __init__(self, dims: Sequence[int], dim: int = 64, exchanges: int = 1, heads: int = 4) -> None:
        super().__init__(dims, dim * max(len(dims), 1))
        if exchanges < 0 or heads < 1 or dim % heads:
            raise ValueError(
                f"CrossAttention: needs exchanges ≥ 0 and dim a multiple of heads, got {exchanges}, {dim}, {heads}"
            )
        self.enter = nn.ModuleList(nn.Linear(d, dim) for d in dims)
        self.steps = exchanges if len(dims) > 1 else 0
        self.hear = nn.ModuleList(_Exchange(dim, heads) for _ in range(self.steps) for _ in dims)

    def _merge(self, features: list[Tensor], present: Tensor) -> Tensor:
        # A feature without places is one with a single place: (B, dₘ) → (B, 1, dim).
        x = [f(z if z.ndim == 3 else z[:, None]) for f, z in zip(self.enter, features, strict=True)]
        missing = [~present[:, m, None].expand(-1, h.shape[1]) for m, h in enumerate(x)]  # (B, Tₘ)
        for k in range(self.steps):
            heard = []
            for m, h in enumerate(x):
                others = torch.cat([o for j, o in enumerate(x) if j != m], 1)
                gone = torch.cat([o for j, o in enumerate(missing) if j != m], 1)
                heard.append(self.hear[k * len(x) + m](h, others, gone))
            x = heard
        return torch.cat([_keep(h.mean(1), present[:, m]) for m, h in enumerate(x)], 1)


class _Exchange(nn.Module):
    """One modality hears the others: attention, then a small MLP, both added to what it knew."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.ask, self.tell, self.think = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True, add_zero_attn=True)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor, others: Tensor, missing: Tensor) -> Tensor:
        told = self.tell(others)
        x = x + self.attention(self.ask(x), told, told, key_padding_mask=missing, need_weights=False)[0]
        thought: Tensor = x + self.mlp(self.think(x))
        return thought


# ---------------------------------------------------------------------------------------------- models


class Classifier(nn.Module):
    """What the models share: an encoder for each modality, and the check of a batch.

    ``forward(batch)`` gives log-odds (B, classes), ``loss(batch)`` the cross-entropy. Both raise ValueError or
    TypeError for a batch that does not fit, holds NaN, or has an example in which every modality is missing. (On a GPU
    these checks wait for it a few times a step: clear errors are worth that here.)

    Args:
        encoders: modality to a network from (B, …) to (B, dₘ).
        dims: the encoders' output sizes dₘ.
        classes: number of classes.
    """

    def __init__(self, encoders: Mapping[str, nn.Module], dims: Sequence[int], classes: int) -> None:
        super().__init__()
        name = type(self).__name__
        if not encoders or len(dims) != len(encoders):
            raise ValueError(f"{name}: needs at least one modality, and a size for each; got {tuple(encoders)}, {dims}")
        if not isinstance(classes, int) or classes < 2:
            raise ValueError(f"{name}: classes must be a whole number ≥ 2, got {classes!r}")
        for modality in encoders:
            if "." in modality or hasattr(nn.ModuleDict, modality):
                raise ValueError(f"{name}: a modality cannot be named {modality!r}")
        self.encoders, self.dims, self.classes = nn.ModuleDict(encoders), tuple(dims), classes

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Mean cross-entropy in nats of a batch with ``"label"``, int64 (B,)."""
        logits = self(batch)
        return {"loss": F.cross_entropy(logits, self._label(batch, len(logits)))}

    def features(self, batch: Mapping[str, Tensor]) -> tuple[list[Tensor], Tensor]:
        """Encode each modality: a list of (B, dₘ), zeros where a modality is absent, and ``present``, bool (B, M)."""
        name = type(self).__name__
        for modality in self.encoders:
            if modality in batch and (not isinstance(batch[modality], Tensor) or not batch[modality].ndim):
                raise TypeError(f"{name}: {modality!r} must be a tensor (B, …), got {_kind(batch[modality])}")
        sizes = {modality: len(batch[modality]) for modality in self.encoders if modality in batch}
        for modality in self.encoders.keys() - sizes.keys():
            if near := difflib.get_close_matches(modality, batch.keys() - self.encoders.keys(), 1, 0.8):
                raise ValueError(f"{name}: the batch has no {modality!r} but {near[0]!r}; is one of them misspelt?")
        if not sizes:
            raise ValueError(
                f"{name}: the batch has none of the modalities {tuple(self.encoders)}, only {tuple(batch)}"
            )
        size = min(sizes.values())
        if size == 0 or set(sizes.values()) != {size}:
            raise ValueError(f"{name}: modalities need the same number of examples, at least one, got {sizes}")
        everyone = torch.ones(size, dtype=torch.bool, device=batch[next(iter(sizes))].device)
        encoded, masks = {}, []
        for modality, encoder in self.encoders.items():
            mask = batch.get(f"{modality}_present", everyone) if modality in sizes else ~everyone
            if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != (size,):
                raise ValueError(f"{name}: {modality}_present must be bool ({size},), got {_kind(mask)}")
            masks.append(mask)
            if modality in sizes:
                x = batch[modality] if mask is everyone else _keep(batch[modality], mask)
                if not _finite(x):
                    raise ValueError(f"{name}: {modality!r} holds NaN or infinite values")
                encoded[modality] = encoder(x)
        some = next(iter(encoded.values()))
        features = [
            encoded[modality] if modality in encoded else some.new_zeros(size, d)
            for modality, d in zip(self.encoders, self.dims, strict=True)
        ]
        present = torch.stack(masks, 1)
        _check_present(name, present, (size, len(features)))
        return features, present

    def _label(self, batch: Mapping[str, Tensor], size: int) -> Tensor:
        name, label = type(self).__name__, batch.get("label")
        if label is None:
            raise ValueError(f"{name}: the batch has no 'label'")
        if not isinstance(label, Tensor) or label.dtype != torch.int64 or label.ndim != 1:
            raise TypeError(f"{name}: label must be int64 (B,), got {_kind(label)}")
        if len(label) != size or not 0 <= int(label.min()) <= int(label.max()) < self.classes:
            raise ValueError(f"{name}: needs {size} labels from 0 to {self.classes - 1}, got {label}")
        return label


class EarlyFusion(Classifier):
    """Early fusion: the modalities are laid side by side as they come, and one learner reads them all.

    A missing modality is zeros, which the learner cannot tell from true zeros.

    Args:
        sizes: how many numbers one example of each modality has; they are flattened and concatenated.
        classes: number of classes.
        learner: a network from (B, sum of sizes) to (B, classes); by default a perceptron with two hidden
            layers of 128 on the normalised input (raw modalities have different scales, and without it this does
            not learn).
    """

    def __init__(self, sizes: Mapping[str, int], classes: int, learner: nn.Module | None = None) -> None:
        super().__init__({modality: nn.Flatten() for modality in sizes}, list(sizes.values()), classes)
        self.merge = Concat(self.dims)
        self.learner = learner or nn.Sequential(
            nn.LayerNorm(self.merge.dim),
            nn.Linear(self.merge.dim, 128),
            nn.ReLU(),
            nn.Linear(128, 128),
            nn.ReLU(),
            nn.Linear(128, classes),
        )

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Log-odds (B, classes)."""
        logits: Tensor = self.learner(self.merge(*self.features(batch)))
        return logits


class LateFusion(Classifier):
    """Late fusion of features: one encoder per modality, a merge, and a classifier on top.

    Args:
        encoders: modality to a network from (B, …) to (B, dₘ).
        classes: number of classes.
        merge: how features meet; its ``dims`` are the encoders' output sizes, in the same order.
        hidden: units of the layer between merge and classes; 0 for a linear classifier.

    Examples:
        >>> encoders = {"image": nn.Flatten(), "sound": nn.Linear(5, 4)}
        >>> model = LateFusion(encoders, classes=3, merge=Concat([4, 4]))
        >>> model({"image": torch.rand(7, 1, 2, 2), "sound": torch.rand(7, 5)}).shape
        torch.Size([7, 3])
    """

    def __init__(self, encoders: Mapping[str, nn.Module], classes: int, merge: Merge, hidden: int = 64) -> None:
        super().__init__(encoders, merge.dims, classes)
        self.merge = merge
        if hidden < 0:
            raise ValueError(f"{type(self).__name__}: hidden must be at least 0, got {hidden}")
        layers: list[nn.Module] = [nn.ReLU(), nn.Linear(merge.dim, hidden), nn.ReLU()] if hidden else []
        self.head = nn.Sequential(*layers, nn.Linear(hidden or merge.dim, classes))

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Log-odds (B, classes)."""
        logits: Tensor = self.head(self.merge(*self.features(batch)))
        return logits


class CrossModalFusion(LateFusion):
    """In between: branches that exchange what they know K times before they are joined.

    Args:
        encoders: modality to a network from (B, …) to (B, dₘ) or, with places, (B, Tₘ, dₘ).
        classes: number of classes.
        dims: the encoders' output sizes dₘ.
        exchanges: number K of exchanges.
        dim: size of the features that are exchanged.
        heads: attention heads.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        classes: int,
        dims: Sequence[int],
        exchanges: int = 1,
        dim: int = 64,
        heads: int = 4,
    ) -> None:
        super().__init__(encoders, classes, CrossAttention(dims, dim, exchanges, heads))


class DecisionFusion(Classifier):
    """Late fusion of decisions: each modality has its own complete classifier, and probabilities are merged.

    With pₘ = p(y | xₘ) and the modalities that are there:

    - ``"mean"``: Σ pₘ / M;
    - ``"product"``: ∏ pₘ / p(y)^(M−1), the exact posterior if modalities are independent given the class; every
      pₘ holds the prior once, so M − 1 of them are divided out;
    - ``"weighted"``: Σ wₘ pₘ with learned weights w = softmax(v).

    The branches are trained each on its own; only the weights see the merged decision.

    Args:
        encoders: modality to a network from (B, …) to (B, dₘ).
        classes: number of classes.
        dims: the encoders' output sizes dₘ.
        rule: one of the three above.
        prior: class probabilities p(y), (classes,), all positive; equal by default.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        classes: int,
        dims: Sequence[int],
        rule: str = "mean",
        prior: Tensor | None = None,
    ) -> None:
        super().__init__(encoders, dims, classes)
        if rule not in ("mean", "product", "weighted"):
            raise ValueError(f"DecisionFusion: rule must be mean, product or weighted, got {rule!r}")
        prior = torch.ones(classes) / classes if prior is None else prior
        if not isinstance(prior, Tensor):
            raise TypeError(f"DecisionFusion: prior must be a tensor ({classes},), got {_kind(prior)}")
        if prior.shape != (classes,) or not (prior > 0).all() or abs(float(prior.sum()) - 1) > 1e-4:
            raise ValueError(f"DecisionFusion: prior must be {classes} positive probabilities that add up to 1")
        self.heads = nn.ModuleDict({s: nn.Linear(d, classes) for s, d in zip(encoders, dims, strict=True)})
        self.rule = rule
        self.weights = nn.Parameter(torch.zeros(len(encoders))) if rule == "weighted" else None
        self.log_prior: Tensor
        self.register_buffer("log_prior", prior.log())

    def branches(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What each modality says by itself: log-probabilities (B, M, classes), and ``present`` (B, M)."""
        features, present = self.features(batch)
        for modality, x, d in zip(self.encoders, features, self.dims, strict=True):
            if x.shape != (len(present), d) or not x.is_floating_point() or not _finite(x):
                wanted = f"finite floats ({len(present)}, {d})"
                raise ValueError(f"DecisionFusion: the encoder of {modality!r} must give {wanted}, got {_kind(x)}")
        says = [head(x.relu()).log_softmax(1) for head, x in zip(self.heads.values(), features, strict=True)]
        return torch.stack(says, 1), present

    def fuse(self, log_p: Tensor, present: Tensor) -> Tensor:
        """Merge log-probabilities (B, M, classes) by the rule: log-probabilities (B, classes)."""
        here = present[..., None]
        if self.rule == "product":
            count = present.sum(1, keepdim=True)
            return (torch.where(here, log_p, 0).sum(1) - (count - 1) * self.log_prior).log_softmax(1)
        w = log_p.new_zeros(len(self.dims)) if self.weights is None else self.weights
        log_w = w[:, None].masked_fill(~here, -torch.inf).log_softmax(1)  # (B, M, 1), over those present
        return (log_p + log_w).logsumexp(1)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Merged log-probabilities (B, classes)."""
        return self.fuse(*self.branches(batch))

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The branches' cross-entropies in nats, by modality, and their sum (plus that of learned weights)."""
        log_p, present = self.branches(batch)
        label = self._label(batch, len(log_p))
        hits = -log_p.gather(2, label[:, None, None].expand(-1, log_p.shape[1], 1))[..., 0] * present  # (B, M)
        each = hits.sum(0) / present.sum(0).clamp(min=1)
        terms = {modality: each[m] for m, modality in enumerate(self.encoders)}
        loss = each.sum()
        if self.weights is not None:
            terms["weights"] = F.nll_loss(self.fuse(log_p.detach(), present), label)
            loss = loss + terms["weights"]
        return {"loss": loss, **terms}


def _kind(x: object) -> str:
    return f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__


def _check_present(name: str, present: Tensor, shape: tuple[int, ...]) -> None:
    if not isinstance(present, Tensor) or present.dtype != torch.bool or present.shape != shape:
        raise ValueError(f"{name}: present must be bool {shape}, got {_kind(present)}")
    nothing = (~present.any(1)).nonzero()
    if len(nothing):
        raise ValueError(f"{name}: every modality is missing in example {int(nothing[0])}")


def _finite(x: Tensor) -> bool:
    # A sum is quick, and finite only if all terms are; finite terms seldom overflow it, then the long way decides.
    return math.isfinite(x.detach().sum().item()) or bool(x.isfinite().all())


def _keep(x: Tensor, mask: Tensor) -> Tensor:
    """``x`` (B, …) where ``mask`` (B,) is true, zero elsewhere, whatever stood there."""
    return torch.where(mask.view(-1, *[1] * (x.ndim - 1)), x, torch.zeros((), dtype=x.dtype, device=x.device))
