"""Flow matching: noise is moved to a picture along the velocity that a network has learned. See ``__init__.py``."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .average import MovingAverage
from .checks import check_names, kind, module, moved, number, reading, whole
from .pairs import check_pairs


class FlowMatching(nn.Module):
    """A network of the velocity from noise to pictures, given a sentence or none, for guidance.

    Pictures are in [0, 1] in a batch and in what is drawn, and from −1 to 1 in between.

    Args:
        network: from (B, C, H, W), times (B,) and sentence vectors (B, S) to velocities (B, C, H, W).
        reader: from sentences (B, …) to (B, S).
        dim: S.
        drop: how often the sentence is left out in training; a learned vector stands in its place.
        times: how times are drawn in training: ``"uniform"``, as in the paper, or ``"logit-normal"``, more often in the
            middle, where the picture is decided (Esser and others, 2024). The best network is the same.
        average: drawing uses the `MovingAverage` of both networks with this decay.
        picture: name of the pictures in a batch.
        sentence: name of the sentences in a batch.

    Examples:
        >>> model = FlowMatching(VelocityNetwork(8), nn.Linear(4, 8), 8)
        >>> batch = {"picture": torch.rand(6, 3, 16, 16), "sentence": torch.rand(6, 4)}
        >>> sorted(model.loss(batch)), model.draw(batch["sentence"], (3, 16, 16), steps=2).shape
        (['loss'], torch.Size([6, 3, 16, 16]))
    """

    def __init__(
        self,
        network: nn.Module,
        reader: nn.Module,
        dim: int,
        drop: float = 0.1,
        *,
        times: str = "logit-normal",
        average: float = 0.99,
        picture: str = "picture",
        sentence: str = "sentence",
    ) -> None:
        super().__init__()
        who = "FlowMatching"
        network, reader = module(who, "network", network), module(who, "reader", reader)
        self.drop, self.names = number(who, "drop", drop, 0, 1), (picture, sentence)
        check_names(who, self.names)
        if times not in ("uniform", "logit-normal"):
            raise ValueError(f"FlowMatching: times must be 'uniform' or 'logit-normal', got {times!r}")
        self.times = times
        self.velocity = Velocity(network, reader, whole(who, "dim", dim), sentence)
        self.average = MovingAverage(self.velocity, number(who, "average", average, 0, 1))

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean squared error of the velocity, ``{"loss": ()}``.

        Raises:
            TypeError: a modality is no tensor, or pictures are of another float type than the parameters.
            ValueError: a modality is missing, sizes differ, or a network gives something else than it should.
        """
        self.check_batch(batch)
        batch = moved({name: batch[name] for name in self.names}, self)
        x, sentence = 2 * batch[self.names[0]] - 1, batch[self.names[1]]
        noise = torch.randn(x.shape, dtype=x.dtype, device=x.device)  # (B, C, H, W)
        draw = torch.rand if self.times == "uniform" else torch.randn
        time = draw(len(x), dtype=x.dtype, device=x.device)
        time = time if self.times == "uniform" else time.sigmoid()  # (B,)
        told = torch.rand(len(x), device=x.device) >= self.drop  # (B,)
        along = time.view(-1, 1, 1, 1)
        at = (1 - along) * noise + along * x
        loss = (self.velocity(at, time, sentence, told) - (x - noise)).square().mean()
        if self.training:
            self.average.follow(self.velocity, at, time, sentence, told)
        return {"loss": loss}

    @torch.no_grad()
    def draw(
        self,
        sentence: Tensor,
        shape: tuple[int, int, int],
        steps: int = 10,
        guidance: float = 1.0,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Pictures of sentences, (B, C, H, W) in [0, 1]: Heun's method from noise.

        Args:
            sentence: (B, …).
            shape: C, H, W.
            steps: of the method, each with two evaluations of the network, with guidance four.
            guidance: g; 1 draws from what was learned, more exaggerates what the sentence says, 0 ignores it.
            noise: (B, C, H, W), to begin with; drawn if not given.

        Raises:
            ValueError: a size does not fit; or guidance is asked for, and the sentence was never left out in training.
        """
        steps, g = whole("FlowMatching.draw", "steps", steps), number("FlowMatching.draw", "guidance", guidance)
        if g != 1 and not self.drop:
            raise ValueError("FlowMatching.draw: guidance needs a model that was trained with drop above 0")
        like = self.velocity.nothing
        sentence, size = sentence.to(like.device), (len(sentence), *shape)
        x = torch.randn(size, dtype=like.dtype, device=like.device) if noise is None else noise.to(like.device)
        if x.shape != size:
            raise ValueError(f"FlowMatching.draw: noise must be {size}, got {kind(x)}")
        all_told = torch.ones(len(x), dtype=torch.bool, device=x.device)

        def velocity(x: Tensor, time: float) -> Tensor:
            at = torch.full((len(x),), time, dtype=x.dtype, device=x.device)
            told: Tensor = self.average(x, at, sentence, all_told)
            if g == 1:
                return told
            untold: Tensor = self.average(x, at, sentence, ~all_told)
            return untold + g * (told - untold)

        for k in range(steps):
            first = velocity(x, k / steps)
            second = velocity(x + first / steps, (k + 1) / steps)
            x = x + (first + second) / (2 * steps)
        return ((x + 1) / 2).clamp(0, 1)

    # ---- messages

    def check_batch(self, batch: Mapping[str, Tensor]) -> None:
        """Refuse what `loss` cannot take, as it does; values that are on the CPU."""
        check_pairs("FlowMatching", batch, self.names, self)


class Velocity(nn.Module):
    """The network of the velocity, the encoder of sentences, and what stands for no sentence.

    Args:
        network: as of `FlowMatching`.
        reader: as of `FlowMatching`.
        dim: S.
        name: of the sentences in a batch, for messages.
    """

    def __init__(self, network: nn.Module, reader: nn.Module, dim: int, name: str) -> None:
        super().__init__()
        self.name = name
        self.network, self.reader = network, reader
        self.nothing = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor, time: Tensor, sentence: Tensor, told: Tensor) -> Tensor:
        """(B, C, H, W), times (B,), sentences (B, …), and whether they are told, bool (B,), to (B, C, H, W)."""
        with reading("FlowMatching", self.name, sentence, self.reader):
            s: Tensor = self.reader(sentence)
        if s.shape != (len(x), len(self.nothing)):
            raise ValueError(
                f"FlowMatching: the encoder of {self.name!r} must give (B, {len(self.nothing)}), got {kind(s)}"
            )
        velocity: Tensor = self.network(x, time, torch.where(told[:, None], s, self.nothing.to(s.dtype)))
        if velocity.shape != x.shape:
            raise ValueError(f"FlowMatching: the network must give {tuple(x.shape)}, got {kind(velocity)}")
        return velocity


class VelocityNetwork(nn.Module):
    """A small U-Net over patches: down to a quarter of their rows and columns, and up again.

    Time and sentence scale and shift the features of each block. A sum with features of half the rows and columns, one
    number for each place, says what belongs where; convolutions alone learn that slowly.

    Args:
        dim: S, of the sentence vectors.
        channels: of the pictures.
        size: height and width, a multiple of 4 patches.
        width: channels at the size of all patches; twice as many below.
        patch: pixels on a side of a patch.

    Examples:
        >>> VelocityNetwork(6)(torch.randn(2, 3, 16, 16), torch.rand(2), torch.rand(2, 6)).shape
        torch.Size([2, 3, 16, 16])
    """

    frequencies: Tensor

    def __init__(self, dim: int, channels: int = 3, size: int = 16, width: int = 32, patch: int = 2) -> None:
        super().__init__()
        who = "VelocityNetwork"
        dim, channels, width = whole(who, "dim", dim), whole(who, "channels", channels), whole(who, "width", width)
        self.size, self.patch, told = whole(who, "size", size), whole(who, "patch", patch), 4 * width
        if self.size % (4 * self.patch):
            raise ValueError(f"{who}: size must be a multiple of 4 patches, {4 * self.patch}, got {size}")
        channels *= self.patch**2
        self.register_buffer("frequencies", torch.pi * 2.0 ** torch.arange(6), persistent=False)
        self.told = nn.Sequential(nn.Linear(dim + 12, told), nn.SiLU(), nn.Linear(told, told), nn.SiLU())
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.down = nn.ModuleList([Block(width, told), Block(2 * width, told)])
        self.shrink = nn.ModuleList([_halve(width, 2 * width), _halve(2 * width, 2 * width)])
        self.place = nn.Linear(told, 2 * width * (self.size // (2 * self.patch)) ** 2)
        self.middle = Block(2 * width, told)
        self.grow = nn.ModuleList([nn.Conv2d(4 * width, 2 * width, 1), nn.Conv2d(3 * width, width, 1)])
        self.up = nn.ModuleList([Block(2 * width, told), Block(width, told)])
        self.output = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor, sentence: Tensor) -> Tensor:
        """Pictures (B, C, size, size), times (B,) and sentences (B, S) to velocities (B, C, size, size)."""
        if x.shape[2:] != (self.size, self.size):
            raise ValueError(
                f"VelocityNetwork: pictures must be {self.size} × {self.size}, got {tuple(x.shape[2:])}; pass size=…"
            )
        angle = time[:, None] * self.frequencies.to(time.dtype)  # (B, 6)
        told = self.told(torch.cat([sentence, angle.sin(), angle.cos()], 1))  # (B, 4 w)
        x, kept = self.first(nn.functional.pixel_unshuffle(x, self.patch)), []
        for block, halve in zip(self.down, self.shrink, strict=True):
            x = block(x, told)
            kept.append(x)
            x = halve(x)
            if len(kept) == 1:  # at half the rows and columns
                x = x + self.place(told).view_as(x)
        x = self.middle(x, told)
        for mix, block in zip(self.grow, self.up, strict=True):
            x = nn.functional.interpolate(x, scale_factor=2.0)
            x = block(mix(torch.cat([x, kept.pop()], 1)), told)
        return nn.functional.pixel_shuffle(self.output(x), self.patch)


class Block(nn.Module):
    """Two convolutions with a residual path; what was told scales and shifts in between.

    Args:
        width: channels.
        told: numbers of time and sentence.
    """

    def __init__(self, width: int, told: int) -> None:
        super().__init__()
        self.one, self.two = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        groups = math.gcd(8, width) if width > 8 else 1  # one value alone has no variance
        self.norms = nn.ModuleList([nn.GroupNorm(groups, width) for _ in range(2)])
        self.modulation = nn.Linear(told, 2 * width)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """(B, w, H, W) and (B, T) to (B, w, H, W)."""
        scale, shift = self.modulation(told)[..., None, None].chunk(2, 1)
        h = self.one(self.norms[0](x).relu())
        h = (1 + scale) * self.norms[1](h) + shift
        out: Tensor = x + self.two(h.relu())
        return out


def _halve(before: int, after: int) -> nn.Module:
    return nn.Conv2d(before, after, 3, stride=2, padding=1)
