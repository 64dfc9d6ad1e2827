"""One small network per modality that makes it from a vector: the way back of `mmtutor.encoders`."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["ImageDecoder"]


class ImageDecoder(nn.Module):
    """A picture from a vector: (B, dim) to (B, channels, size, size), with values from 0 to 1.

    A linear layer makes a grid of a quarter of the size; it is doubled twice, and a convolution follows each time.

    Args:
        dim: size of the vector.
        channels: of the picture, 1 for grey and 3 for colour.
        size: height and width, a multiple of 4.
        widths: channels of the grid and after the first convolution.

    Examples:
        >>> import torch
        >>> ImageDecoder(10, 3, 32)(torch.rand(2, 10)).shape
        torch.Size([2, 3, 32, 32])
    """

    def __init__(self, dim: int, channels: int, size: int, widths: tuple[int, int] = (32, 16)) -> None:
        super().__init__()
        if size < 4 or size % 4:
            raise ValueError(f"ImageDecoder: size must be a multiple of 4, got {size}")
        first, second = widths
        self.layers = nn.Sequential(
            nn.Linear(dim, first * (size // 4) ** 2),
            nn.Unflatten(1, (first, size // 4, size // 4)),
            nn.ReLU(),
            nn.ConvTranspose2d(first, second, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(second, channels, 4, stride=2, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Make pictures from vectors (B, dim)."""
        picture: Tensor = self.layers(x)
        return picture
