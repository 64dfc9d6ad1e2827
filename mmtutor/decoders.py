"""Decoders: one compact network per modality, from a vector to that modality; see `mmtutor.encoders`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ImageDecoder"]


class ImageDecoder(nn.Module):
    """An image from a vector: (B, dim) to (B, channels, size, size), with values from 0 to 1.

    A linear layer gives a feature map of a quarter of the size; two transposed convolutions double it each. A sigmoid
    is the last layer. A cost or likelihood that wants logits, such as `binary_cross_entropy_with_logits`, takes
    ``logits=True``; a VAE with ``bernoulli()`` reads either, and trains better with logits.

    Args:
        dim: size of the vector.
        channels: of the image, 1 for grey and 3 for colour.
        size: height and width, a multiple of 4.
        widths: channels of the feature map and after the first transposed convolution.
        logits: leave the sigmoid out; an output is then any number, and its sigmoid the image.

    Attributes:
        probabilities: whether the output is from 0 to 1.

    Examples:
        >>> import torch
        >>> ImageDecoder(10, 3, 32)(torch.rand(2, 10)).shape
        torch.Size([2, 3, 32, 32])
    """

    def __init__(
        self, dim: int, channels: int, size: int, widths: tuple[int, int] = (32, 16), *, logits: bool = False
    ) -> None:
        super().__init__()
        dim, channels, size, first, second = _sizes(dim, channels, size, widths)
        if type(logits).__name__ not in ("bool", "bool_"):
            raise TypeError(f"ImageDecoder: logits must be True or False, got {logits!r}")
        self.probabilities = not logits
        self.layers = nn.Sequential(
            nn.Linear(dim, first * (size // 4) ** 2),
            nn.Unflatten(1, (first, size // 4, size // 4)),
            nn.ReLU(),
            nn.ConvTranspose2d(first, second, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(second, channels, 4, stride=2, padding=1),
            *([] if logits else [nn.Sigmoid()]),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Decode vectors, float (B, dim), on any device; the image is where the parameters are."""
        _expect(self, x)
        device = next(self.parameters()).device
        x = x.to(device, non_blocking=device.type not in ("cpu", "mps"))  # (B, dim)
        image: Tensor = self.layers(x)  # (B, channels, size, size)
        return image


# ---- messages


def _expect(decoder: ImageDecoder, x: Tensor) -> None:
    weight = next(decoder.parameters())
    if not isinstance(x, Tensor) or x.shape[1:] != weight.shape[1:]:
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"ImageDecoder: expected vectors (B, {weight.shape[1]}), got {got}")
    if x.dtype != weight.dtype and (x.dtype == torch.float64 or not torch.is_autocast_enabled(weight.device.type)):
        raise TypeError(f"ImageDecoder: the vectors are {x.dtype}, the parameters {weight.dtype}; convert them")


def _sizes(dim: int, channels: int, size: int, widths: tuple[int, int]) -> list[int]:
    if not isinstance(widths, list | tuple) or len(widths) != 2:
        raise ValueError(f"ImageDecoder: widths must be two whole numbers, got {widths!r}")
    sizes = [("dim", dim), ("channels", channels), ("size", size), *(("widths", w) for w in widths)]
    for name, value in sizes:
        if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
            raise ValueError(f"ImageDecoder: {name} must be a whole number of at least 1, got {value!r}")
    if size % 4:
        raise ValueError(f"ImageDecoder: size must be a multiple of 4, got {size}")
    return [int(value) for _, value in sizes]  # torch does not take the whole numbers of NumPy everywhere
