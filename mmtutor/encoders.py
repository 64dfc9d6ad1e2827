"""Encoders: one compact network per modality, from a batch of that modality to features.

A multimodal model does not depend on how an image or a sound becomes a vector; it takes an encoder for each modality.
The ones here are as small as the chapters allow. Each maps ``(B, ...)`` to ``(B, dim)``. Those for images, text and
series give one vector for each region, letter or time step, ``(B, T, dim)``, with ``tokens=True``: cross-attention
needs these.

None of them normalises over the batch, so an example's features do not depend on the other examples of its batch, and
a missing modality in one example leaves all others as they are. (`GridEncoder` does while it is
trained: it is meant to be trained first and then used frozen.)

Texts and series of different length are padded. `TextEncoder` and `SequenceEncoder` take the number of real steps,
``length``, int64 (B,), beside them: then an example's features are those that it would have alone, without padding.
``padding`` says at which end it is: ``"end"``, as ``torch.nn.utils.rnn.pad_sequence`` pads, or ``"front"``. Models of
`mmtutor.fusion` hand ``"length"`` on to an encoder with ``reads_length = True``, yours too.

The input may be on any device; it is moved to that of the encoder's parameters.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = [
    "AudioEncoder",
    "GridEncoder",
    "ImageEncoder",
    "SequenceEncoder",
    "TabularEncoder",
    "TextEncoder",
]


class TabularEncoder(nn.Module):
    """A two-layer perceptron for a row of numbers: (B, features) to (B, dim).

    Args:
        features: numbers in a row.
        dim: size of the output.
        hidden: units of the hidden layer.

    Examples:
        >>> TabularEncoder(16, dim=8)(torch.rand(2, 16)).shape
        torch.Size([2, 8])
    """

    def __init__(self, features: int, dim: int = 64, hidden: int = 64) -> None:
        super().__init__()
        features, dim, hidden = _positive(features=features, dim=dim, hidden=hidden)
        self.features, self.dim = features, dim
        self.net = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Encode rows, float (B, features); the result is (B, dim)."""
        x = _expect(self, x, "(B, features)", (None, self.features))
        encoded: Tensor = self.net(x)  # (B, dim)
        return encoded


class ImageEncoder(nn.Module):
    """Strided convolutions for images of any size: (B, channels, H, W) to (B, dim).

    Each convolution halves the image; what is left is averaged to a grid of 4×4 regions, and a linear layer reads all
    of them, so that positions matter. With ``tokens=True`` each of the 16 regions gives one vector.

    Args:
        channels: of the image, 1 for grey and 3 for colour.
        dim: size of the output.
        widths: channels after each convolution.
        tokens: give (B, 16, dim), one vector per region, instead of one for the whole image.

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
        channels, dim = _positive(channels=channels, dim=dim)
        widths = _widths(widths)
        self.channels, self.dim = channels, dim
        layers: list[nn.Module] = []
        for before, after in zip((channels, *widths), widths, strict=False):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(1, after), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(self.grid))
        width = widths[-1] if widths else channels
        tokens = _flag(tokens)
        self.head = nn.Linear(width if tokens else width * self.grid**2, dim)
        # A region's vector does not contain its position: a learned position embedding is added.
        self.positions = nn.Parameter(0.02 * torch.randn(self.grid**2, dim)) if tokens else None

    def forward(self, x: Tensor) -> Tensor:
        """Encode images, float (B, channels, H, W), usually in [0, 1]."""
        x = _expect(self, x, "(B, channels, H, W)", (None, self.channels, None, None))
        x = self.convolutions(x)  # (B, width, 4, 4)
        if self.positions is None:
            encoded: Tensor = self.head(x.flatten(1))  # (B, dim)
        else:
            encoded = self.head(x.flatten(2).transpose(1, 2)) + self.positions  # (B, 16, dim)
        return encoded


class GridEncoder(nn.Module):
    """Convolutions that keep regions apart, for images of any size: (B, channels, H, W) to (B, L, dim).

    Each width halves the image with one convolution and widens a region's receptive field with another. Three widths
    make a region of 8×8 pixels: an image of 64×64 has L = 64 regions, from the top left row by row. The last two of
    the ``dim`` features are the region's position, across and down, from -1 to 1 (Liu et al., 2018, arXiv:1807.03247).

    It has batch normalisation, as ResNet does, and learns much faster with it. So put it into eval mode before it is
    used frozen. In training each feature has mean 0 and variance 1 over a batch and its regions.

    Args:
        channels: of the image.
        widths: channels after each halving.

    Attributes:
        dim: features of each region, ``widths[-1] + 2``.

    Examples:
        >>> GridEncoder(3).eval()(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2, 64, 66])
    """

    def __init__(self, channels: int, widths: tuple[int, ...] = (16, 32, 64)) -> None:
        super().__init__()
        (channels,), widths = _positive(channels=channels), _widths(widths)
        _positive(**{"number of widths": len(widths)})
        self.channels, self.dim = channels, widths[-1] + 2
        layers: list[nn.Module] = []
        for before, after in zip((channels, *widths), widths, strict=False):
            for into, stride in ((before, 2), (after, 1)):
                layers += [nn.Conv2d(into, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        layers[-2:] = [nn.BatchNorm2d(widths[-1], affine=False)]
        self.convolutions = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Encode images, float (B, channels, H, W), usually in [0, 1]."""
        x = _expect(self, x, "(B, channels, H, W)", (None, self.channels, None, None))
        x = self.convolutions(x)  # (B, width, rows, columns)
        B, _, rows, columns = x.shape
        down, across = (torch.linspace(-1, 1, n, dtype=x.dtype, device=x.device) for n in (rows, columns))
        across, down = across.expand(rows, columns), down.unsqueeze(1).expand(rows, columns)
        positions = torch.stack([across, down]).expand(B, -1, -1, -1)  # (B, 2, rows, columns)
        x = torch.cat([x, positions], 1)  # (B, dim, rows, columns)
        return x.flatten(2).transpose(1, 2)  # (B, rows columns, dim)


class AudioEncoder(ImageEncoder):
    """The same network on the log-mel spectrogram of a sound: (B, 1, bands, frames) to (B, dim).

    Args:
        dim: size of the output.
        widths: channels after each convolution.
        tokens: give (B, 16, dim), one vector per region of time and frequency, instead of one for the whole sound.

    Examples:
        >>> AudioEncoder(dim=8)(torch.rand(2, 1, 32, 32)).shape
        torch.Size([2, 8])
    """

    def __init__(self, dim: int = 64, widths: tuple[int, ...] = (16, 32, 32), tokens: bool = False) -> None:
        super().__init__(1, dim, widths, tokens)


class TextEncoder(nn.Module):
    """Convolutions along one-hot letters or words: (B, length, symbols) to (B, dim).

    Max-pooling along the text follows, so that the position of a word does not matter. Padding for which no length is
    given is read as one more symbol, which can change the maximum.

    Args:
        symbols: size of the alphabet or vocabulary.
        dim: size of the output.
        hidden: channels of the convolutions.
        width: kernel size of the convolutions, in letters, odd.
        tokens: give (B, length, dim), one vector per letter.
        padding: where shorter texts have it, ``"end"`` or ``"front"``.

    Examples:
        >>> encoder, words = TextEncoder(27, dim=8), torch.eye(27)[torch.zeros(2, 9, dtype=torch.long)]
        >>> encoder(words).shape, encoder(words, length=torch.tensor([9, 4])).shape
        (torch.Size([2, 8]), torch.Size([2, 8]))
    """

    reads_length = True

    def __init__(
        self,
        symbols: int,
        dim: int = 64,
        hidden: int = 64,
        width: int = 3,
        tokens: bool = False,
        padding: Literal["end", "front"] = "end",
    ) -> None:
        super().__init__()
        symbols, dim, hidden, width = _positive(symbols=symbols, dim=dim, hidden=hidden, width=width)
        if width % 2 == 0:
            raise ValueError(f"TextEncoder: width must be odd, got {width}")
        self.symbols, self.dim, self.tokens, self.padding = symbols, dim, _flag(tokens), _end("TextEncoder", padding)
        self.net = nn.Sequential(
            nn.Conv1d(symbols, hidden, width, padding=width // 2),
            nn.ReLU(),
            nn.Conv1d(hidden, hidden, width, padding=width // 2),
            nn.ReLU(),
        )
        self.head = nn.Linear(hidden, dim)

    def forward(self, x: Tensor, length: Tensor | None = None) -> Tensor:
        """Encode texts, float (B, T, symbols), one-hot or probabilities; ``length``, int64 (B,): letters that are real.

        What ``tokens`` gives at padding means nothing.
        """
        x, real = _expect_steps(self, x, length, "(B, length, symbols)", (None, None, self.symbols))
        mask = None if real is None else real[:, None]  # (B, 1, T)
        x = _keep(x.transpose(1, 2), mask)  # (B, symbols, T)
        for layer in self.net:  # padding stays zero, as what is beyond the end of a text alone
            x = _keep(layer(x), mask)  # (B, n, T)
        encoded: Tensor = self.head(x.transpose(1, 2) if self.tokens else x.amax(2))  # (B, ..., dim)
        return encoded


class SequenceEncoder(nn.Module):
    """A GRU that reads a series of measurements in both directions: (B, T, features) to (B, dim).

    Args:
        features: measurements per time step.
        dim: size of the output.
        hidden: units of the GRU in each direction.
        tokens: give (B, T, dim), one vector per time step.
        padding: where shorter series have it, ``"end"`` or ``"front"``, as `mmtutor.data.mosi` gives it.

    Examples:
        >>> encoder = SequenceEncoder(3, dim=8)
        >>> encoder(torch.rand(2, 50, 3)).shape
        torch.Size([2, 8])
        >>> padded = torch.nn.utils.rnn.pad_sequence([torch.ones(9, 3), torch.ones(4, 3)], batch_first=True)
        >>> both = encoder(padded, torch.tensor([9, 4]))
        >>> torch.allclose(both[1:], encoder(torch.ones(1, 4, 3)), atol=1e-6)
        True
    """

    reads_length = True

    def __init__(
        self,
        features: int,
        dim: int = 64,
        hidden: int = 48,
        tokens: bool = False,
        padding: Literal["end", "front"] = "end",
    ) -> None:
        super().__init__()
        features, dim, hidden = _positive(features=features, dim=dim, hidden=hidden)
        self.features, self.dim, self.tokens = features, dim, _flag(tokens)
        self.padding = _end("SequenceEncoder", padding)
        self.gru = nn.GRU(features, hidden, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden, dim)

    def forward(self, x: Tensor, length: Tensor | None = None) -> Tensor:
        """Encode series, float (B, T, features); the mean over time stands for the whole series.

        ``length``, int64 (B,), is the number of real steps, over which the mean is then. What ``tokens`` gives at
        padding means nothing.
        """
        x, real = _expect_steps(self, x, length, "(B, T, features)", (None, None, self.features))
        if real is None:
            states, _ = self.gru(x)
            mean = states.mean(1)  # (B, 2 h)
        else:
            states = self.real_states(_keep(x, real[..., None]), real)  # (B, T, 2 h)
            mean = states.sum(1) / real.sum(1, keepdim=True)  # (B, 2 h)
        encoded: Tensor = self.head(states if self.tokens else mean)  # (B, ..., dim)
        return encoded

    def real_states(self, x: Tensor, real: Tensor) -> Tensor:
        """The GRU's states, (B, T, 2 h), at steps that are ``real``, bool (B, T), else zero.

        Each direction must meet the real steps before padding: the first with padding at the end, the other at the
        front. So the GRU reads the series twice, as one batch, and of each only the right direction is kept.
        """
        B, padded = len(x), (~real).sum(1)  # of each example
        front = x if self.padding == "front" else _turn(x, -padded)  # (B, T, features)
        end = x if self.padding == "end" else _turn(x, padded)  # (B, T, features)
        states, _ = self.gru(torch.cat([end, front]))
        (ahead, _), (_, back) = states[:B].chunk(2, 2), states[B:].chunk(2, 2)
        if self.padding == "end":
            back = _turn(back, padded)
        else:
            ahead = _turn(ahead, -padded)
        return _keep(torch.cat([ahead, back], 2), real[..., None])  # (B, T, 2 h)


def _keep(x: Tensor, real: Tensor | None) -> Tensor:
    """Values, zero at padding."""
    return x if real is None else torch.where(real, x, x.new_zeros(()))


def _turn(x: Tensor, shift: Tensor) -> Tensor:
    """Each example's steps (B, T, d) moved towards the start by its shift (B,); what falls out comes in at the end."""
    step = (torch.arange(x.shape[1], device=x.device) + shift[:, None]) % x.shape[1]  # (B, T)
    return x.gather(1, step[..., None].expand_as(x))


# ---- messages


def _positive(**sizes: int) -> list[int]:
    numbers = []
    for name, size in sizes.items():
        try:
            numbers.append(0 if isinstance(size, bool) else operator.index(size))
        except TypeError:  # no whole number
            numbers.append(0)
        if numbers[-1] < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {size!r}")
    return numbers


def _widths(widths: Iterable[int]) -> tuple[int, ...]:
    if isinstance(widths, str) or not hasattr(widths, "__iter__"):
        raise ValueError(f"widths must be a tuple of whole numbers, got {widths!r}")
    return tuple(_positive(**{f"widths[{i}]": width for i, width in enumerate(widths)}))


def _flag(tokens: object) -> bool:
    if isinstance(tokens, bool) or type(tokens).__name__ in ("bool", "bool_"):  # NumPy's
        return bool(tokens)
    raise TypeError(f"tokens must be True or False, got {tokens!r}")


def _end(name: str, padding: Literal["end", "front"]) -> Literal["end", "front"]:
    if padding not in ("end", "front"):
        raise ValueError(f"{name}: padding must be 'end' or 'front', got {padding!r}")
    return padding


def _expect(module: nn.Module, x: Tensor, wanted: str, shape: tuple[int | None, ...]) -> Tensor:
    """An input on the module's device, if it has the right type and shape; None: any size of at least one."""
    name, like = type(module).__name__, next((p for p in module.parameters() if p.is_floating_point()), x)
    if not isinstance(x, Tensor) or not x.is_floating_point():
        got = str(x.dtype) if isinstance(x, Tensor) else type(x).__name__
        to = {"list": "torch.tensor", "ndarray": "torch.from_numpy"}.get(got, ".float()" if "torch" in got else "")
        to = ".float() / 255" if got == "torch.uint8" and "H, W" in wanted else to
        hint = f"; convert it with {to}" if to else ""
        raise TypeError(f"{name}: expected a floating-point tensor {wanted}, got {got}{hint}")
    if x.dtype != like.dtype and (x.dtype == torch.float64 or not torch.is_autocast_enabled(like.device.type)):
        to_dtype = ".float()" if like.dtype == torch.float32 else f".to({like.dtype})"
        raise TypeError(f"{name}: expected {like.dtype}, as its parameters, got {x.dtype}; convert it with {to_dtype}")
    fits = x.ndim == len(shape) and all(w in (None, g) for w, g in zip(shape, x.shape, strict=True))
    if not fits or 0 in x.shape:
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        last = len(shape) == x.ndim == 4 and x.shape[3] == shape[1]
        hint = "; channels come first, as after .permute(0, 3, 1, 2)" if last else ""
        raise ValueError(f"{name}: expected {wanted} = ({sizes}), got {tuple(x.shape)}{hint}")
    return x.to(like.device, non_blocking=like.device.type not in ("cpu", "mps"))


def _expect_steps(
    module: TextEncoder | SequenceEncoder, x: Tensor, length: Tensor | None, wanted: str, shape: tuple[int | None, ...]
) -> tuple[Tensor, Tensor | None]:
    """A padded input and which of its steps are real, bool (B, T), both on the module's device; None: all."""
    given, x = x, _expect(module, x, wanted, shape)
    if length is None:
        return x, None
    name, steps = type(module).__name__, x.shape[1]
    if not isinstance(length, Tensor) or length.dtype != torch.int64 or length.shape != x.shape[:1]:
        got = f"{length.dtype} {tuple(length.shape)}" if isinstance(length, Tensor) else type(length).__name__
        raise ValueError(f"{name}: length must be int64 ({len(x)},), the real steps of each example, got {got}")
    if length.device.type == "cpu" and not ((length > 0) & (length <= steps)).all():
        raise ValueError(f"{name}: length must be from 1 to {steps}, got {length.tolist()}")
    early = torch.arange(steps, device=length.device) < (steps - length)[:, None]  # (B, T)
    padded, other = (early, early.flip(1)) if module.padding == "front" else (early.flip(1), early)
    if given.device.type == length.device.type == "cpu":
        full = given.ne(0).any(2)  # (B, T)
        if len(wrong := ((full & padded).any(1) & ~(full & other).any(1)).nonzero()):
            end = "front" if module.padding == "end" else "end"
            raise ValueError(f"{name}: padding must be at the {module.padding}, but example {int(wrong[0])} has it at "
                             f"the {end}; make the encoder with padding={end!r}")  # fmt: skip
    return x, ~padded.to(x.device, non_blocking=x.device.type not in ("cpu", "mps"))
