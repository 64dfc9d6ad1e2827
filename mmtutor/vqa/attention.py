"""Stacked attention: the question looks at the regions, and with what it has seen it looks again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .checks import whole
from .model import QuestionAnswering


class StackedAttention(QuestionAnswering):
    """Attention in K hops (Yang and others, 2016): u begins as tanh(W q + b), and each hop adds what it saw.

    Args:
        encoders: the picture and the question, from (B, …) to regions (B, L, D), and to (B, Q).
        dims: D and Q.
        classes: number C of answers.
        dim: H, size of the regions and of the question where they meet.
        hops: K.
        hidden: units of a layer between u and the answers. The paper has none, 0: what was seen is then added to what
            was asked, and a linear layer cannot compare the two.

    Examples:
        >>> model = StackedAttention({"regions": nn.Identity(), "question": nn.Identity()}, [5, 4], classes=3)
        >>> batch = {"regions": torch.rand(2, 9, 5), "question": torch.rand(2, 4)}
        >>> model(batch).shape, model.attention(batch).shape
        (torch.Size([2, 3]), torch.Size([2, 2, 9]))
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        dims: Sequence[int],
        classes: int,
        dim: int = 64,
        hops: int = 2,
        hidden: int = 0,
    ) -> None:
        super().__init__(encoders, dims, classes)
        dim, hops = whole("StackedAttention", "dim", dim), whole("StackedAttention", "hops", hops)
        hidden = whole("StackedAttention", "hidden", hidden, 0)
        D, Q = self.dims
        self.image, self.question = nn.Linear(D, dim), nn.Linear(Q, dim)
        self.hops = nn.ModuleList(Hop(dim) for _ in range(hops))
        layers = [nn.Linear(dim, hidden), nn.ReLU()] if hidden else []
        self.output = nn.Sequential(*layers, nn.Linear(hidden or dim, self.classes))

    def answer(self, regions: Tensor, question: Tensor) -> Tensor:
        """W u + b, with u after the last hop, or a perceptron of u."""
        u, _ = self.look(regions, question)
        logits: Tensor = self.output(u)  # (B, C)
        return logits

    def look(self, regions: Tensor, question: Tensor) -> tuple[Tensor, Tensor]:
        """What the question has become after the last hop, (B, H), and where it looked, (B, K, L)."""
        v = self.image(regions).tanh()  # (B, L, H)
        u = self.question(question).tanh()  # (B, H)
        looked = []
        for hop in self.hops:
            u, p = hop(v, u)  # (B, H), (B, L)
            looked.append(p)
        return u, torch.stack(looked, 1)

    def attention(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The attention weights of each hop on each region, (B, K, L); those of a hop add up to one."""
        return self.look(*self.read(batch))[1]


class Hop(nn.Module):
    """One look: p = softmax(w tanh(W_v vᵢ + W_u u)), u + Σᵢ pᵢ vᵢ.

    Args:
        dim: H.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.key, self.query = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim)
        self.score = nn.Linear(dim, 1, bias=False)

    def forward(self, v: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Regions (B, L, H) and the question so far (B, H), to the next (B, H) and the weights (B, L)."""
        h = (self.key(v) + self.query(u)[:, None]).tanh()  # (B, L, H)
        p = self.score(h)[..., 0].softmax(1)  # (B, L)
        return u + (p[:, None] @ v)[:, 0], p
