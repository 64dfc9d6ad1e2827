"""FiLM, feature-wise linear modulation: the question says how the convolutions see."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from .checks import whole
from .model import QuestionAnswering


class FiLM(QuestionAnswering):
    """γ(q) ⊙ F + β(q) in residual blocks of convolutions (Perez and others, 2018).

    The regions are those of a square grid, row by row. Whoever wants places hands in regions that say where they are,
    as those of `mmtutor.encoders.GridEncoder` do with their last two features.

    Args:
        encoders: the picture and the question, from (B, …) to regions (B, L, D) with L a square, and to (B, Q).
        dims: D and Q.
        classes: number C of answers.
        dim: H, channels of the convolutions.
        blocks: how many.

    Examples:
        >>> import torch
        >>> model = FiLM({"regions": nn.Identity(), "question": nn.Identity()}, [5, 4], classes=3, dim=8)
        >>> model({"regions": torch.rand(2, 9, 5), "question": torch.rand(2, 4)}).shape
        torch.Size([2, 3])
    """

    def __init__(
        self, encoders: Mapping[str, nn.Module], dims: Sequence[int], classes: int, dim: int = 64, blocks: int = 2
    ) -> None:
        super().__init__(encoders, dims, classes)
        dim, blocks = whole("FiLM", "dim", dim), whole("FiLM", "blocks", blocks)
        D, Q = self.dims
        self.first = nn.Conv2d(D, dim, 1)
        self.blocks = nn.ModuleList(Block(dim, Q) for _ in range(blocks))
        self.output = nn.Sequential(nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, self.classes))

    def answer(self, regions: Tensor, question: Tensor) -> Tensor:
        """Blocks, the largest value of each channel, and a perceptron."""
        x = regions.transpose(1, 2).reshape(len(regions), -1, *_square(regions))  # (B, D, rows, columns)
        x = self.first(x).relu()  # (B, H, rows, columns)
        for block in self.blocks:
            x = block(x, question)  # (B, H, rows, columns)
        logits: Tensor = self.output(x.amax((2, 3)))  # (B, C)
        return logits


class Block(nn.Module):
    """x′ + φ(γ(q) ⊙ F + β(q)), with x′ = φ(W x + b), and F the normalised features of a 3 × 3 convolution of x′.

    φ is ReLU, and γ = 1 + W q + b: at first the features are nearly as they were.

    Args:
        dim: H.
        question: Q.
    """

    def __init__(self, dim: int, question: int) -> None:
        super().__init__()
        self.one, self.three = nn.Conv2d(dim, dim, 1), nn.Conv2d(dim, dim, 3, padding=1)
        self.norm = nn.BatchNorm2d(dim, affine=False)
        self.modulation = nn.Linear(question, 2 * dim)

    def forward(self, x: Tensor, question: Tensor) -> Tensor:
        """Features (B, H, rows, columns) and a question (B, Q), to features of the same shape."""
        scale, beta = self.modulation(question)[..., None, None].chunk(2, 1)  # (B, H, 1, 1) each
        gamma = 1 + scale  # (B, H, 1, 1)
        x = self.one(x).relu()  # (B, H, rows, columns)
        features = self.norm(self.three(x))  # (B, H, rows, columns)
        modulated: Tensor = gamma * features + beta
        return x + modulated.relu()


# ---- messages


def _square(regions: Tensor) -> tuple[int, int]:
    side = math.isqrt(regions.shape[1])
    if side * side != regions.shape[1]:
        raise ValueError(f"FiLM: needs the regions of a square grid, such as 49 or 64, got {regions.shape[1]}")
    return side, side
