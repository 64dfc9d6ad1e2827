"""Cross-attention: the branches exchange features, once or several times, before they are merged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .checks import kind, whole
from .merges import Merge, check_sizes, keep


class CrossAttention(Merge):
    """K exchanges between the branches: each modality attends to all others; then all are concatenated.

    In an exchange xₘ ← xₘ + attention(query xₘ; keys and values of all other modalities), then
    xₘ ← xₘ + MLP(xₘ), each with layer normalisation first. Features may have positions (time steps, or the regions
    of an image), (B, Tₘ, dₘ): then each position attends to the positions of the other modalities. After the last
    exchange the mean over positions of each modality is kept and all are concatenated, so D = M · dim. With
    ``exchanges=0`` no modality attends to another. Attention from one modality to another is the crossmodal block of
    MulT (Tsai and others, 2019, arXiv:1906.00295); MulT stacks such blocks for each pair of modalities, here a modality
    attends to all others at once.

    No modality attends to a missing one, and a missing one's block in the result is zero. Nor does any attend to
    padding, where ``real`` says so, and a mean is that over real positions. A zero key with a zero value is always
    there, so that a modality without any other has something to attend to.

    A mean over the positions of new encoders says little. Where the label lies in the relation between modalities,
    train the encoders alone first, each on what its modality shows.

    Args:
        dims: size of each modality's features.
        dim: size of each modality's features during the exchanges, a multiple of ``heads``.
        exchanges: number K of exchanges.
        heads: attention heads.

    Examples:
        >>> merge = CrossAttention([2, 3], 8, exchanges=2)
        >>> merge([torch.ones(5, 2), torch.ones(5, 7, 3)]).shape
        torch.Size([5, 16])
        >>> real = torch.arange(7) < torch.tensor([[7], [6], [5], [4], [3]])
        >>> merge([torch.ones(5, 2), torch.ones(5, 7, 3)], real=[None, real]).shape
        torch.Size([5, 16])
    """

    takes_positions = True

    def __init__(self, dims: Sequence[int], dim: int = 64, exchanges: int = 1, heads: int = 4) -> None:
        dim, exchanges, heads = _check_attention(dim, exchanges, heads)
        super().__init__(dims, len(check_sizes("CrossAttention", dims)) * dim)
        self.project = nn.ModuleList(nn.Linear(d, dim) for d in self.dims)
        steps = exchanges if len(self.dims) > 1 else 0
        self.exchanges = nn.ModuleList(Exchange(len(self.dims), dim, heads) for _ in range(steps))

    def forward(
        self,
        features: Sequence[Tensor],
        present: Tensor | None = None,
        real: Sequence[Tensor | None] | None = None,
    ) -> Tensor:
        """Merge features, (B, dₘ) or (B, Tₘ, dₘ); see `Merge`."""
        features, present = self.prepare(features, present)
        return self.merge(features, present, _check_real(features, real))

    def merge(self, features: list[Tensor], present: Tensor, real: Sequence[Tensor | None] = ()) -> Tensor:
        """K exchanges, the mean over positions, and [x₁; …; x_M]."""
        # A feature without positions is one with a single position: (B, dₘ) to (B, 1, dim).
        x = [project(z if z.ndim == 3 else z[:, None]) for project, z in zip(self.project, features, strict=True)]
        real = real or [None] * len(x)
        there = [present[:, m, None].expand(-1, h.shape[1]) for m, h in enumerate(x)]  # each (B, Tₘ)
        missing = [~(p if r is None else p & r) for p, r in zip(there, real, strict=True)]  # each (B, Tₘ)
        for exchange in self.exchanges:
            x = exchange(x, missing)
        means = [mean(h, r) for h, r in zip(x, real, strict=True)]  # each (B, d)
        return torch.cat([keep(h, present[:, m]) for m, h in enumerate(means)], 1)  # (B, D)


def mean(x: Tensor, real: Tensor | None) -> Tensor:
    """The mean of (B, T, d) over positions, those where ``real``, bool (B, T), is True; None: all."""
    if real is None:
        return x.mean(1)
    total = torch.where(real[..., None], x, x.new_zeros(())).sum(1)  # (B, d)
    return total / real.sum(1, keepdim=True).clamp(min=1)  # (B, d)


class Exchange(nn.Module):
    """One exchange: every modality attends to the positions of all others, all at the same time."""

    def __init__(self, modalities: int, dim: int, heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(AttentionBlock(dim, heads) for _ in range(modalities))

    def forward(self, x: list[Tensor], missing: list[Tensor]) -> list[Tensor]:
        """Features (B, Tₘ, dim) and where they are missing, bool (B, Tₘ), to features (B, Tₘ, dim)."""
        after = []
        for m, block in enumerate(self.blocks):
            context = torch.cat(x[:m] + x[m + 1 :], 1)  # (B, S_m, d)
            padding = torch.cat(missing[:m] + missing[m + 1 :], 1)  # (B, S_m)
            after.append(block(x[m], context, padding))
        return after


class AttentionBlock(nn.Module):
    """x ← x + attention(x, context), then x ← x + MLP(x), each with layer normalisation first."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm_query, self.norm_context, self.norm_mlp = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True, add_zero_attn=True)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor, context: Tensor, missing: Tensor) -> Tensor:
        """Features (B, T, dim) attend to a context (B, S, dim) where ``missing``, bool (B, S), is False."""
        keys = self.norm_context(context)  # (B, S, d)
        attended, _ = self.attention(self.norm_query(x), keys, keys, key_padding_mask=missing, need_weights=False)
        x = x + attended  # (B, T, d)
        updated: Tensor = x + self.mlp(self.norm_mlp(x))  # (B, T, d)
        return updated


# ---- messages


def _check_real(features: list[Tensor], real: Sequence[Tensor | None] | None) -> list[Tensor | None]:
    """Where each modality's positions are no padding, on the features' device."""
    if real is None:
        return [None] * len(features)
    if not isinstance(real, list | tuple) or len(real) != len(features):
        raise ValueError(f"CrossAttention: real must be a list of {len(features)} masks, None where all is real")
    masks: list[Tensor | None] = []
    for m, (x, mask) in enumerate(zip(features, real, strict=True)):
        if mask is not None and (x.ndim != 3 or mask.dtype != torch.bool or mask.shape != x.shape[:2]):
            wanted = f"bool {tuple(x.shape[:2])}" if x.ndim == 3 else "None, since there are no positions"
            raise ValueError(f"CrossAttention: real[{m}] must be {wanted}, got {kind(mask)}")
        masks.append(mask if mask is None else mask.to(x.device))
    return masks


def _check_attention(dim: int, exchanges: int, heads: int) -> tuple[int, int, int]:
    exchanges, dim = whole("CrossAttention", "exchanges", exchanges, 0), whole("CrossAttention", "dim", dim)
    if dim % (heads := whole("CrossAttention", "heads", heads)):
        raise ValueError(f"CrossAttention: dim must be a multiple of heads, got {dim} and {heads}")
    return dim, exchanges, heads
