"""Refiners: from λ and the gradient g of the ELBO with respect to λ to the next λ.

    λ + η g                          `GradientAscent`
    λ + η ĝ + f(λ, ĝ, norms, …)      `Refiner`, with the second half of λ kept between −4.5 and 1.5

ĝ is g with each half, that of the means and that of log σ, divided by its root mean square; ``norms`` are the
logarithms of the two root mean squares. λ is (B, 2 d): d means, then d numbers log σ.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .checks import check_dtype, flag, moved, number, whole

LOG_STD = (-4.5, 1.5)  # for log σ: σ from 0.011 to 4.5


class GradientAscent(nn.Module):
    """λ + η g: the refiner that has nothing to learn.

    Args:
        step: η, above 0.
        unit: whether g is first divided by its root mean squares, so that it is ĝ.

    Raises:
        ValueError: η is not finite or not above 0.

    Examples:
        >>> import torch
        >>> GradientAscent(0.5)(torch.zeros(1, 4), torch.tensor([[1.0, 0.0, 2.0, -2.0]]))
        tensor([[ 0.5000,  0.0000,  1.0000, -1.0000]])
    """

    def __init__(self, step: float = 0.1, unit: bool = False) -> None:
        super().__init__()
        self.step = number("GradientAscent", "step", step, above=True)
        self.unit = flag("GradientAscent", "unit", unit)

    def forward(self, lam: Tensor, gradient: Tensor) -> Tensor:
        """The next λ, (B, 2 d)."""
        direction = unit_gradient(gradient)[0] if self.unit else gradient  # (B, 2 d)
        return lam + self.step * direction  # (B, 2 d)


class Refiner(nn.Module):
    """A learned step: λ + η ĝ + f(…), with the second half of λ, log σ, kept between −4.5 and 1.5.

    The last layer of the network f is 0 at first, so that training begins with steps of size η along ĝ.

    Args:
        latent: d; λ is (B, 2 d).
        inputs: what f reads, side by side: ``"lam"``, λ; ``"unit"``, ĝ; ``"norms"``, the logarithms of both root mean
            squares; ``"gradient"``, g as it is; ``"features"``, of x, which are handed over at each step.
        hidden: sizes of f's hidden layers, or of the only one; ``()``: f is linear.
        step: η at first; it is learned, too. 0: there is no step along ĝ.
        features: how many there are, if they are among the inputs.
        limits: what the second half of λ is kept between, where it is not log σ; for log σ² take (−9, 3).

    Raises:
        ValueError: an input is unknown, a number is out of range, or λ has another size.

    Examples:
        >>> import torch
        >>> refiner = Refiner(latent=2, inputs=("lam", "unit", "features"), features=3)
        >>> refiner(torch.zeros(5, 4), torch.ones(5, 4), torch.rand(5, 3))[0]  # f is 0 before training
        tensor([0.1000, 0.1000, 0.1000, 0.1000], grad_fn=<SelectBackward0>)
    """

    def __init__(
        self,
        latent: int,
        inputs: str | Sequence[str] = ("lam", "unit", "norms"),
        hidden: int | Sequence[int] = (128, 128),
        step: float = 0.1,
        features: int = 0,
        limits: tuple[float, float] = LOG_STD,
    ) -> None:
        super().__init__()
        inputs = [inputs] if isinstance(inputs, str) else list(inputs)
        latent, features = whole("Refiner", "latent", latent), whole("Refiner", "features", features, 0)
        sizes = {"lam": 2 * latent, "unit": 2 * latent, "norms": 2, "gradient": 2 * latent, "features": features}
        check_inputs(inputs, sizes)
        step = number("Refiner", "step", step)
        self.inputs, self.latent, self.limits = tuple(inputs), latent, check_limits(limits)
        self.step = nn.Parameter(torch.tensor(step)) if step else None
        layers_of_f = hidden if isinstance(hidden, Sequence) else [hidden]
        units = [whole("Refiner", "hidden", h) for h in layers_of_f]
        widths = [sum(sizes[name] for name in inputs), *units, 2 * latent]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.SiLU()]
        self.net = nn.Sequential(*layers[:-1])
        for p in layers[-2].parameters():
            nn.init.zeros_(p)

    def forward(self, lam: Tensor, gradient: Tensor, features: Tensor | None = None) -> Tensor:
        """The next λ, (B, 2 d); features (B, F), if f reads them."""
        check_features(self.inputs, features)
        check_size(self.latent, lam)
        check_dtype("Refiner", "λ", lam, self)
        known = {"lam": lam, "gradient": gradient} | ({} if features is None else {"features": features})
        known = moved(known, self)
        lam, (unit, norms) = known["lam"], unit_gradient(known["gradient"])
        known |= {"unit": unit, "norms": norms}
        change = self.net(torch.cat([known[name] for name in self.inputs], 1))  # (B, 2 d)
        lam = lam + change if self.step is None else lam + self.step * unit + change  # (B, 2 d)
        mean, log_std = lam.chunk(2, 1)
        return torch.cat([mean, log_std.clamp(*self.limits)], 1)  # (B, 2 d)


def unit_gradient(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """ĝ (B, 2 d), and the logarithms of what its two halves were divided by (B, 2)."""
    tiny = torch.finfo(gradient.dtype).tiny
    halves = gradient.view(len(gradient), 2, -1)  # (B, 2, d)
    # Divided by the largest first, or the squares could be 0 or infinite.
    largest = halves.abs().amax(2, keepdim=True).clamp_min(tiny)  # (B, 2, 1)
    rms = (largest * (halves / largest).square().mean(2, keepdim=True).sqrt()).clamp_min(tiny)  # (B, 2, 1)
    return (halves / rms).flatten(1), rms[..., 0].clamp_min(1e-8).log()


# ---- messages


def check_inputs(inputs: Sequence[str], sizes: dict[str, int]) -> None:
    """Refuse inputs that are unknown, and features without their number."""
    if unknown := [name for name in inputs if name not in sizes]:
        raise ValueError(f"Refiner: inputs may be {', '.join(sizes)}, got {unknown[0]!r}")
    if not inputs or ("features" in inputs) != (sizes["features"] > 0):
        raise ValueError(
            f"Refiner: inputs {list(inputs)} and features={sizes['features']} do not fit; f needs an input, and "
            "'features' their number"
        )


def check_limits(limits: Sequence[float]) -> tuple[float, float]:
    """Two numbers, the smaller one first, or an error; ±∞ is no limit."""
    if len(limits) != 2 or not limits[0] < limits[1]:
        raise ValueError(f"Refiner: limits must be two numbers, the smaller one first, got {limits!r}")
    return (float(limits[0]), float(limits[1]))


def check_size(latent: int, lam: Tensor) -> None:
    """Refuse λ of another size."""
    if lam.ndim != 2 or lam.shape[1] != 2 * latent:
        raise ValueError(f"Refiner: with latent={latent} λ must be (B, {2 * latent}), got {tuple(lam.shape)}")


def check_features(inputs: Sequence[str], features: Tensor | None) -> None:
    """Refuse a call without the features that f reads."""
    if "features" in inputs and features is None:
        raise ValueError("Refiner: it reads features, but none were handed over")
