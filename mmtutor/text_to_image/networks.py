"""Small convolutional players for pictures of 8 × 8 to 64 × 64: each has an encoder of sentences of its own."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from .checks import flag, module, whole


class Generator(nn.Module):
    """A sentence and noise to a picture in [0, 1]: a linear layer to 4 × 4, then each block doubles the size.

    Args:
        reader: from sentences (B, …) to (B, S).
        dim: S.
        noise: Z.
        channels: of the pictures.
        size: height and width, 4 times a power of 2.
        width: channels of the first feature map; each block halves them.

    Examples:
        >>> Generator(nn.Identity(), 6, 5)(torch.rand(2, 6), torch.randn(2, 5)).shape
        torch.Size([2, 3, 16, 16])
    """

    def __init__(
        self, reader: nn.Module, dim: int, noise: int, channels: int = 3, size: int = 16, width: int = 64
    ) -> None:
        super().__init__()
        self.reader, widths = module("Generator", "reader", reader), _widths("Generator", size, width)
        dim, noise = whole("Generator", "dim", dim), whole("Generator", "noise", noise)
        self.first = nn.Linear(dim + noise, widths[0] * 16)
        blocks: list[nn.Module] = [nn.BatchNorm2d(widths[0]), nn.ReLU()]
        for before, after in itertools.pairwise(widths):
            blocks += [
                nn.Upsample(scale_factor=2),
                nn.Conv2d(before, after, 3, padding=1),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.blocks = nn.Sequential(*blocks)
        self.output = nn.Conv2d(widths[-1], whole("Generator", "channels", channels), 3, padding=1)

    def forward(self, sentence: Tensor, noise: Tensor) -> Tensor:
        """Sentences (B, …) and noise (B, Z) to pictures (B, C, size, size)."""
        return self.draw(self.reader(sentence), noise)

    def draw(self, vector: Tensor, noise: Tensor) -> Tensor:
        """Sentences as vectors (B, S), such as one between two sentences, and noise (B, Z) to (B, C, size, size)."""
        x = self.first(torch.cat([vector, noise], 1))  # (B, 16 w)
        x = self.blocks(x.view(len(x), -1, 4, 4))  # (B, w', size, size)
        picture: Tensor = self.output(x).sigmoid()
        return picture


class Discriminator(nn.Module):
    """A picture becomes a feature map of 4 × 4; the sentence joins it at each place, and one logit comes out.

    Args:
        reader: from sentences (B, …) to (B, S).
        dim: S.
        channels: of the pictures.
        size: height and width, 4 times a power of 2.
        width: channels of the last feature map; blocks before it have half as many each.
        normalise: batch normalisation in the blocks.
        projection: the sentence joins by a product with the features instead, D(x, s) = w φ(x) + b + s V φ(x), as
            Miyato and Koyama (2018) have it; they pool φ over places, and normalise weights spectrally.

    Examples:
        >>> Discriminator(nn.Identity(), 6)(torch.rand(2, 3, 16, 16), torch.rand(2, 6)).shape
        torch.Size([2])
    """

    def __init__(
        self,
        reader: nn.Module,
        dim: int,
        channels: int = 3,
        size: int = 16,
        width: int = 64,
        *,
        normalise: bool = True,
        projection: bool = False,
    ) -> None:
        super().__init__()
        self.reader, widths = module("Discriminator", "reader", reader), _widths("Discriminator", size, width)[::-1]
        dim, channels = whole("Discriminator", "dim", dim), whole("Discriminator", "channels", channels)
        normalise = flag("Discriminator", "normalise", normalise)
        self.projection = flag("Discriminator", "projection", projection)
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 3, padding=1), nn.LeakyReLU(0.2)]
        for before, after in itertools.pairwise(widths):
            norm = [nn.BatchNorm2d(after)] if normalise else []
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), *norm, nn.LeakyReLU(0.2)]
        self.features = nn.Sequential(*layers)
        if self.projection:
            self.output, self.match = nn.Linear(width * 16, 1), nn.Linear(dim, width * 16, bias=False)
        else:
            norm = [nn.BatchNorm2d(width)] if normalise else []
            self.join = nn.Sequential(nn.Conv2d(width + dim, width, 1), *norm, nn.LeakyReLU(0.2))
            self.output = nn.Linear(width * 16, 1)

    def forward(self, picture: Tensor, sentence: Tensor) -> Tensor:
        """Pictures (B, C, size, size) and sentences (B, …) to logits (B,)."""
        x, s = self.features(2 * picture - 1), self.reader(sentence)  # (B, w, 4, 4), (B, S)
        if self.projection:
            phi = x.flatten(1)  # (B, 16 w)
            both: Tensor = self.output(phi)[:, 0] + (self.match(s) * phi).sum(1)
            return both
        x = self.join(torch.cat([x, s[..., None, None].expand(-1, -1, 4, 4)], 1))  # (B, w, 4, 4)
        logits: Tensor = self.output(x.flatten(1))[:, 0]
        return logits


def _widths(who: str, size: int, width: int) -> list[int]:
    """Channels at 4 × 4, at 8 × 8 and so on."""
    size, width, widths = whole(who, "size", size, 4), whole(who, "width", width), [width]
    while 4 * 2 ** (len(widths) - 1) < size:
        widths.append(max(widths[-1] // 2, 1))
    if 4 * 2 ** (len(widths) - 1) != size:
        raise ValueError(f"{who}: size must be 4 times a power of 2, got {size}")
    return widths
