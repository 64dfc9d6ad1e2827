"""A relation network: every two regions, and the question, through one small network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from .checks import whole
from .model import QuestionAnswering


class RelationNetwork(QuestionAnswering):
    """f(Σᵢⱼ g(aᵢ, aⱼ, q)) (Santoro and others, 2017).

    Time and memory grow with L²: 64 regions make 4,096 pairs. The scale of the sum grows with L², too, so the learning
    rate must be small; with the mean in its place it learned far less.

    Args:
        encoders: the picture and the question, from (B, …) to regions (B, L, D), and to (B, Q). Whoever wants relations
            of places hands in regions that say where they are.
        dims: D and Q.
        classes: number C of answers.
        dim: H, units of each layer.

    Examples:
        >>> import torch
        >>> model = RelationNetwork({"regions": nn.Identity(), "question": nn.Identity()}, [5, 4], classes=3, dim=8)
        >>> model({"regions": torch.rand(2, 9, 5), "question": torch.rand(2, 4)}).shape
        torch.Size([2, 3])
    """

    def __init__(self, encoders: Mapping[str, nn.Module], dims: Sequence[int], classes: int, dim: int = 128) -> None:
        super().__init__(encoders, dims, classes)
        dim = whole("RelationNetwork", "dim", dim)
        D, Q = self.dims
        self.one, self.other = nn.Linear(D, dim, bias=False), nn.Linear(D, dim, bias=False)
        self.asked = nn.Linear(Q, dim)
        self.g = nn.Sequential(nn.ReLU(), nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU())
        self.f = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, self.classes))

    def answer(self, regions: Tensor, question: Tensor) -> Tensor:
        """A network of the sum over all pairs; the first layer of g, W[aᵢ; aⱼ; q], is written part by part."""
        one, other = self.one(regions)[:, :, None], self.other(regions)[:, None]  # (B, L, 1, H), (B, 1, L, H)
        pairs = self.g(one + other + self.asked(question)[:, None, None])  # (B, L, L, H)
        logits: Tensor = self.f(pairs.sum((1, 2)))  # (B, C)
        return logits
