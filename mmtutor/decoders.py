"""Decoders: one compact network per modality, from a vector to that modality; see `mmtutor.encoders`."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["ImageDecoder"]


class ImageDecoder(nn.Module):
    """An image from a vector: (B, dim) to (B, channels, size, size), with values from 0 to 1.

    A linear layer gives a feature map of a quarter of the size; two transposed convolutions double it each.

    Args:
        dim: size of the vector.
        channels: of the image, 1 for grey and 3 for colour.
        size: height and width, a multiple of 4.
        widths: channels of the feature map and after the first transposed convolution.

    Examples:
        >>> import torch
        >>> ImageDecoder(10, 3, 32)(torch.rand(2, 10)).shape
        torch.Size([2, 3, 32, 32])
    """

    def __init__(self, dim: int, channels: int, size: int, widths: tuple[int, int] = (32, 16)) -> None:
        super().__init__()
        _check_sizes(dim, channels, size, widths)
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
        """Decode vectors, float (B, dim), on any device; the image is where the parameters are."""
        device = next(self.parameters()).device
        x = x.to(device, non_blocking=device.type not in ("cpu", "mps"))  # (B, dim)
        image: Tensor = self.layers(x)  # (B, channels, size, size)
        return image


# ---- messages


def _check_sizes(dim: int, channels: int, size: int, widths: tuple[int, int]) -> None:
    for name, value in (("dim", dim), ("channels", channels), ("size", size), *(("widths", w) for w in widths)):
        if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
            raise ValueError(f"ImageDecoder: {name} must be a whole number of at least 1, got {value!r}")
    if size % 4:
        raise ValueError(f"ImageDecoder: size must be a multiple of 4, got {size}")
