"""FiLM, feature-wise linear modulation: the question says how the convolutions see."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from .checks import whole
from .model import QuestionAnswering


class FiLM(QuestionAnswering):
    """γ(q) ⊙ F + β(q) in residual blocks of convolutions (Perez and others, 2018).

    The regions are those of a grid, row by row. Whoever wants places hands in regions that say where they are,
    as those of `mmtutor.encoders.GridEncoder` do with their last two features.

    Args:
        encoders: the picture and the question, from (B, …) to regions (B, L, D), and to (B, Q).
        dims: D and Q.
        classes: number C of answers.
        dim: H, channels of the convolutions.
        blocks: how many.
        grid: rows and columns of the regions; None: as many rows as columns.

    Examples:
        >>> import torch
        >>> model = FiLM({"regions": nn.Identity(), "question": nn.Identity()}, [5, 4], classes=3, dim=8)
        >>> model({"regions": torch.rand(2, 9, 5), "question": torch.rand(2, 4)}).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        dims: Sequence[int],
        classes: int,
        dim: int = 64,
        blocks: int = 2,
        grid: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(encoders, dims, classes)
        dim, blocks = whole("FiLM", "dim", dim), whole("FiLM", "blocks", blocks)
        self.grid = _grid(grid)
        D, Q = self.dims
        self.first = nn.Conv2d(D, dim, 1)
        self.blocks = nn.ModuleList(Block(dim, Q) for _ in range(blocks))
        self.output = nn.Sequential(nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, self.classes))

    def answer(self, regions: Tensor, question: Tensor) -> Tensor:
        """Blocks, the largest value of each channel, and a perceptron."""
        rows, columns = _rows_columns(self.grid, regions)
        x = regions.transpose(1, 2).reshape(len(regions), -1, rows, columns)  # (B, D, rows, columns)
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


def _grid(grid: tuple[int, int] | None) -> tuple[int, int] | None:
    if grid is None:
        return None
    if not isinstance(grid, tuple | list) or len(grid) != 2:
        raise ValueError(f"FiLM: grid must be (rows, columns) or None, got {grid!r}")
    return whole("FiLM", "grid[0]", grid[0]), whole("FiLM", "grid[1]", grid[1])


def _rows_columns(grid: tuple[int, int] | None, regions: Tensor) -> tuple[int, int]:
    L = regions.shape[1]
    if grid is None and (side := math.isqrt(L)) ** 2 == L:
        return side, side
    if grid is not None and grid[0] * grid[1] == L:
        return grid
    said = "needs the regions of a square grid, such as 49 or 64" if grid is None else f"was made for grid={grid}"
    raise ValueError(f"FiLM: {said}, got {L}" + ("; of another one say grid=(rows, columns)" if grid is None else ""))
