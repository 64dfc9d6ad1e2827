"""Encoders: one compact network per sense, from a batch of that sense to features.

A multimodal model does not care how an image or a sound becomes a vector; it takes an encoder for each sense.
The ones here are as small as the chapters allow. Each maps ``(B, ...)`` to ``(B, dim)``. Those whose input has
places (a picture, a text, a series) give one vector per place, ``(B, T, dim)``, with ``tokens=True``: cross
attention looks at places.

None of them normalises over the batch, so an example's features do not depend on its neighbours, and a
missing sense in one example leaves all others as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["AudioEncoder", "ImageEncoder", "SequenceEncoder", "TabularEncoder", "TextEncoder"]


class TabularEncoder(nn.Module):
    """A two-layer perceptron for a row of numbers: (B, features) to (B, dim).

    Args:
        features: numbers in a row.
        dim: size of the output.
        hidden: units in between.

    Examples:
        >>> TabularEncoder(16, dim=8)(torch.rand(2, 16)).shape
        torch.Size([2, 8])
    """

    def __init__(self, features: int, dim: int = 64, hidden: int = 64) -> None:
        super().__init__()
        _positive(features=features, dim=dim, hidden=hidden)
        self.features, self.dim = features, dim
        self.net = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Encode rows, float (B, features); the result is (B, dim)."""
        _expect(self, x, "(B, features)", (None, self.features))
        encoded: Tensor = self.net(x)
        return encoded


class ImageEncoder(nn.Module):
    """Strided convolutions for pictures of any size: (B, channels, H, W) to (B, dim).

    Each convolution halves the picture; a linear layer reads what is left of it, cut into a grid of 4×4, so
    that it knows where things are. With ``tokens=True`` each of the 16 places gives one vector.

    Args:
        channels: of the picture, 1 for grey and 3 for colour.
        dim: size of the output.
        widths: channels after each convolution.
        tokens: give (B, 16, dim), one vector per place, instead of one for all.

    Examples:
        >>> ImageEncoder(3, dim=8)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 8])
        >>> ImageEncoder(1, dim=8, tokens=True)(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 16, 8])
    """

    grid = 4

    def __init__(
        self, channels: int, dim: int = 64, widths: tuple[int, ...] = (16, 32, 32), tokens: bool = False
    ) -> None:
        super().__init__()
        _positive(channels=channels, dim=dim, **{f"widths[{i}]": w for i, w in enumerate(widths)})
        self.channels, self.dim = channels, dim
        layers: list[nn.Module] = []
        for before, after in zip((channels, *widths), widths, strict=False):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(1, after), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(self.grid))
        width = widths[-1] if widths else channels
        self.head = nn.Linear(width if tokens else width * self.grid**2, dim)
        # A vector by itself does not say where it is from: each place adds one of its own.
        self.places = nn.Parameter(0.02 * torch.randn(self.grid**2, dim)) if tokens else None

    def forward(self, x: Tensor) -> Tensor:
        """Encode pictures, float (B, channels, H, W), usually in [0, 1]."""
        _expect(self, x, "(B, channels, H, W)", (None, self.channels, None, None))
        x = self.convolutions(x)  # (B, width, 4, 4)
        if self.places is None:
            encoded: Tensor = self.head(x.flatten(1))
        else:
            encoded = self.head(x.flatten(2).transpose(1, 2)) + self.places  # (B, 16, dim)
        return encoded


class AudioEncoder(ImageEncoder):
    """The same network on the log-mel picture of a sound: (B, 1, bands, frames) to (B, dim).

    Args:
        dim: size of the output.
        widths: channels after each convolution.
        tokens: give (B, 16, dim), one vector per band-and-moment, instead of one for all.

    Examples:
        >>> AudioEncoder(dim=8)(torch.rand(2, 1, 32, 32)).shape
        torch.Size([2, 8])
    """

    def __init__(self, dim: int = 64, widths: tuple[int, ...] = (16, 32, 32), tokens: bool = False) -> None:
        super().__init__(1, dim, widths, tokens)


class TextEncoder(nn.Module):
    """Convolutions along one-hot letters or words: (B, length, symbols) to (B, dim).

    The strongest response along the text is kept, so that it does not matter where a word stands.

    Args:
        symbols: size of the alphabet or vocabulary.
        dim: size of the output.
        hidden: channels of the convolutions.
        width: letters that a convolution sees at once, odd.
        tokens: give (B, length, dim), one vector per letter.

    Examples:
        >>> TextEncoder(27, dim=8)(torch.eye(27)[torch.zeros(2, 8, dtype=torch.long)]).shape
        torch.Size([2, 8])
    """

    def __init__(self, symbols: int, dim: int = 64, hidden: int = 64, width: int = 3, tokens: bool = False) -> None:
        super().__init__()
        _positive(symbols=symbols, dim=dim, hidden=hidden, width=width)
        if width % 2 == 0:
            raise ValueError(f"TextEncoder: width must be odd, got {width}")
        self.symbols, self.dim, self.tokens = symbols, dim, tokens
        self.net = nn.Sequential(
            nn.Conv1d(symbols, hidden, width, padding=width // 2),
            nn.ReLU(),
            nn.Conv1d(hidden, hidden, width, padding=width // 2),
            nn.ReLU(),
        )
        self.head = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Encode texts, float (B, length, symbols), one-hot or probabilities."""
        _expect(self, x, "(B, length, symbols)", (None, None, self.symbols))
        x = self.net(x.transpose(1, 2))  # (B, hidden, length)
        encoded: Tensor = self.head(x.transpose(1, 2) if self.tokens else x.amax(2))
        return encoded


class SequenceEncoder(nn.Module):
    """A GRU that reads a series of measurements in both directions: (B, T, features) to (B, dim).

    Args:
        features: measurements per time step.
        dim: size of the output.
        hidden: units of the GRU in each direction.
        tokens: give (B, T, dim), one vector per time step.

    Examples:
        >>> SequenceEncoder(3, dim=8)(torch.rand(2, 50, 3)).shape
        torch.Size([2, 8])
    """

    def __init__(self, features: int, dim: int = 64, hidden: int = 48, tokens: bool = False) -> None:
        super().__init__()
        _positive(features=features, dim=dim, hidden=hidden)
        self.features, self.dim, self.tokens = features, dim, tokens
        self.gru = nn.GRU(features, hidden, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Encode series, float (B, T, features); the mean over time stands for the whole series."""
        _expect(self, x, "(B, T, features)", (None, None, self.features))
        states, _ = self.gru(x)  # (B, T, 2 hidden)
        encoded: Tensor = self.head(states if self.tokens else states.mean(1))
        return encoded


def _positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {size!r}")


def _expect(module: nn.Module, x: Tensor, wanted: str, shape: tuple[int | None, ...]) -> None:
    """Refuse an input of the wrong kind or shape; None stands for any size of at least one."""
    name = type(module).__name__
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise TypeError(f"{name}: expected a floating-point tensor {wanted}, got {getattr(x, 'dtype', type(x))}")
    fits = x.ndim == len(shape) and all(w in (None, g) for w, g in zip(shape, x.shape, strict=True))
    if not fits or 0 in x.shape:
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name}: expected {wanted} = ({sizes}), got {tuple(x.shape)}")
