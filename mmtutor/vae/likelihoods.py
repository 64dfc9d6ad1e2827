"""Likelihoods p(x|z): what a decoder's output means as a distribution of a modality.

Each function here makes a function from a decoder's output (B, ...) to a distribution of batch shape (B,), so that
``log_prob(x)`` is the sum over the numbers of an example, in nats. Any function of that kind will do.

Examples:
    >>> output = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    >>> gaussian(1.0)(output).log_prob(torch.zeros(2, 2))  # − ½ ‖x − output‖² − log 2π
    tensor([ -1.8379, -14.3379])
    >>> categorical()(output).log_prob(torch.tensor([0, 1])).exp()
    tensor([0.5000, 0.7311])
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, Laplace, Normal, OneHotCategorical
from torch.nn import functional as F

from .checks import flag, kind, last_layer, number
from .gaussian import full_precision

Likelihood = Callable[[Tensor], Distribution]


def gaussian(scale: float) -> Likelihood:
    """N(output, scale²) for each number. With scale 1 its −log is the half squared error and a constant."""
    return GaussianLikelihood(number("gaussian", "scale", scale, above=True))


def laplace(scale: float) -> Likelihood:
    """Laplace(output, scale) for each number; its −log is the absolute error over scale, and a constant."""
    return LaplaceLikelihood(number("laplace", "scale", scale, above=True))


def bernoulli(probabilities: bool = False) -> Likelihood:
    """For each number 0 or 1, the output its logit. A number between 0 and 1 counts as its share of both.

    Args:
        probabilities: the output is the probability itself, not its logit. A model finds that out by itself where the
            decoder is an `nn.Sequential` that ends in `nn.Sigmoid`, or has an attribute ``probabilities = True``.
            Logits are better: a probability that is rounded to 0 or 1 has no gradient.
    """
    return BernoulliLikelihood(flag("bernoulli", "probabilities", probabilities))


def categorical(one_hot: bool = False, probabilities: bool = False) -> Likelihood:
    """One of several classes, the output (B, ..., classes) their logits.

    Args:
        one_hot: x is one-hot, of the output's shape, such as the letters of a word; else numbers of classes, int64, of
            its shape without the last axis, such as a label (B,).
        probabilities: as for `bernoulli`; here the decoder ends in `nn.Softmax`.
    """
    return CategoricalLikelihood(
        flag("categorical", "one_hot", one_hot), flag("categorical", "probabilities", probabilities)
    )


# Classes, so that a model with its likelihoods can be pickled, copied, compared and printed.


@dataclass(frozen=True)
class GaussianLikelihood:
    """See `gaussian`."""

    scale: float

    def __call__(self, output: Tensor) -> Distribution:
        """Of batch shape (B,)."""
        return Spherical(full_precision(output), self.scale)


@dataclass(frozen=True)
class LaplaceLikelihood:
    """See `laplace`."""

    scale: float

    def __call__(self, output: Tensor) -> Distribution:
        """Of batch shape (B,)."""
        return _each(Laplace(*_with_scale(full_precision(output), self.scale), validate_args=False))


@dataclass(frozen=True)
class BernoulliLikelihood:
    """See `bernoulli`."""

    probabilities: bool

    def __call__(self, output: Tensor) -> Distribution:
        """Of batch shape (B,)."""
        output = full_precision(output)
        return _each(Bits(**{"probs" if self.probabilities else "logits": output}, validate_args=False))

    def for_decoder(self, who: str, name: str, decoder: nn.Module) -> BernoulliLikelihood:
        """The likelihood that reads what this decoder gives, logits or probabilities."""
        last = last_layer(decoder)
        if isinstance(last, nn.Sigmoid | nn.Hardsigmoid) or getattr(last, "probabilities", False):
            return replace(self, probabilities=True)
        _check_logits(who, name, last, "bernoulli", "nn.Sigmoid")
        return self

    def check_values(
        self, who: str, name: str, x: Tensor, mask: Tensor | None, _: Callable[[], Tensor] | None = None
    ) -> None:
        """Refuse values that are not from 0 to 1."""
        there = _there(x, mask)
        if there.dtype == torch.bool or not there.numel() or ((ends := there.aminmax()).min >= 0 and ends.max <= 1):
            return
        rows = there.reshape(len(there), -1)
        row = int(((rows < 0) | (rows > 1)).any(1).nonzero()[0])
        value = rows[row][(rows[row] - 0.5).abs().argmax()].item()
        raise ValueError(
            f"{who}: with bernoulli() {name!r} must be from 0 to 1, got {value:g} in example {row}; divide a picture "
            "of bytes by 255, or take gaussian(scale) for other numbers"
        )


@dataclass(frozen=True)
class CategoricalLikelihood:
    """See `categorical`; ``axis`` is that along which a decoder's probabilities add up to 1."""

    one_hot: bool
    probabilities: bool
    axis: int = -1

    def __call__(self, output: Tensor) -> Distribution:
        """Of batch shape (B,)."""
        if self.axis not in (-1, output.ndim - 1):
            raise ValueError(f"categorical: the classes are the last axis of a decoder's output {tuple(output.shape)}, "
                             f"but its Softmax is along axis {self.axis}; make it nn.Softmax(-1)")  # fmt: skip
        output = full_precision(output)
        given = {"probs" if self.probabilities else "logits": output}
        return OneHot(**given) if self.one_hot else _each(Categorical(**given, validate_args=False))

    def for_decoder(self, who: str, name: str, decoder: nn.Module) -> CategoricalLikelihood:
        """The likelihood that reads what this decoder gives, logits or probabilities."""
        last = last_layer(decoder)
        if isinstance(last, nn.Softmax):
            return replace(self, probabilities=True, axis=-1 if last.dim is None else last.dim)
        if getattr(last, "probabilities", False):
            return replace(self, probabilities=True)
        if not isinstance(last, nn.LogSoftmax):  # whose log-probabilities are logits, too
            _check_logits(who, name, last, "categorical", "nn.Softmax(-1)")
        return self

    def check_values(
        self, who: str, name: str, x: Tensor, mask: Tensor | None, output: Callable[[], Tensor] | None = None
    ) -> None:
        """Refuse what are no numbers of classes; how many there are, an output of the decoder says."""
        if self.one_hot:
            return
        if x.is_floating_point():
            raise ValueError(f"{who}: with categorical() {name!r} must be int64, numbers of classes, got {kind(x)}; "
                             "for one-hot classes take categorical(one_hot=True)")  # fmt: skip
        rows = _there(x, mask).reshape(len(x), -1)
        if not rows.numel():
            return
        least, most = (int(end) for end in rows.aminmax())
        classes = output().shape[-1] if output and least >= 0 else most + 1
        if least < 0 or most >= classes:
            wrong = ((rows < 0) | (rows >= classes)).nonzero()
            row, value = int(wrong[0, 0]), int(rows[*wrong[0]])
            to = f" to {classes - 1}" if least >= 0 else ""
            raise ValueError(f"{who}: {name!r} needs classes from 0{to}, got {value} in example {row}")


class Spherical(Independent[Normal]):
    """N(mean, scale² I) with one scale for all numbers, which torch would first make as large as a picture."""

    def __init__(self, mean: Tensor, scale: float) -> None:
        super().__init__(Normal(*_with_scale(mean, scale), validate_args=False), mean.ndim - 1, validate_args=False)
        self.scale = scale

    def log_prob(self, x: Tensor) -> Tensor:
        """−‖x − mean‖² / 2σ² − d log σ√2π."""
        x, mean = torch.broadcast_tensors(x, self.base_dist.loc)  # type: ignore[no-untyped-call]
        error = _sum(F.mse_loss(x, mean, reduction="none"), len(self.event_shape))
        return -error / (2 * self.scale**2) - self.event_shape.numel() * math.log(self.scale * math.sqrt(2 * math.pi))


class Bits(Bernoulli):
    """Numbers from 0 to 1, of whole or true and false ones, too."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Σ x log p + (1 − x) log(1 − p), before the sum."""
        x = x if x.is_floating_point() else x.to(self._param.dtype)
        log_p: Tensor = super().log_prob(x)  # type: ignore[no-untyped-call]
        return log_p


class OneHot(Independent[OneHotCategorical]):
    """Classes, each x one-hot: torch would look for the one."""

    def __init__(self, probs: Tensor | None = None, logits: Tensor | None = None) -> None:
        one = UncheckedOneHot(probs, logits)
        super().__init__(one, len(one.batch_shape) - 1, validate_args=False)

    def log_prob(self, x: Tensor) -> Tensor:
        """Σ x log p."""
        log_p: Tensor = self.base_dist.logits
        log_p = log_p.clamp_min(torch.finfo(log_p.dtype).min)  # 0 · −∞ would be no number
        return _sum(x * log_p, len(self.event_shape))


class UncheckedOneHot(OneHotCategorical):
    """Torch's own checks its logits even with ``validate_args=False``, and waits for the device."""

    def __init__(self, probs: Tensor | None = None, logits: Tensor | None = None) -> None:
        self._categorical = Categorical(probs, logits, validate_args=False)
        shape = self._categorical.param_shape
        Distribution.__init__(self, shape[:-1], shape[-1:], validate_args=False)


def mean_of(p: Distribution) -> Tensor:
    """The mean of a likelihood; of a class, the probabilities."""
    base = p.base_dist if isinstance(p, Independent) else p
    mean: Tensor = base.probs if isinstance(base, Categorical) else p.mean
    return mean


def _with_scale(output: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Both as tensors: torch would copy a number to the device, and wait for that."""
    return output, output.new_full((), scale)


def _sum(x: Tensor, axes: int) -> Tensor:
    """Over the last axes."""
    return x.reshape(*x.shape[: x.ndim - axes], -1).sum(-1)


def _each(distribution: Distribution) -> Independent[Distribution]:
    """All axes but the first are one event."""
    return Independent(distribution, len(distribution.batch_shape) - 1, validate_args=False)


# ---- messages

FACTORIES: tuple[object, ...] = (gaussian, laplace, bernoulli, categorical)  # which make a likelihood but are none
# Layers after which a value is no logit, which can be any number: no output could be as small, or as large, as needed.
LIMITED = (nn.Sigmoid, nn.Hardsigmoid, nn.LogSigmoid, nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.Tanh, nn.Hardtanh,
           nn.Softsign, nn.Softplus, nn.ReLU, nn.ReLU6)  # fmt: skip


def _check_logits(who: str, name: str, last: nn.Module, likelihood: str, right: str) -> None:
    """Refuse a decoder whose last layer gives no logits."""
    if isinstance(last, LIMITED):
        raise ValueError(
            f"{who}: {likelihood}() reads the output of a decoder as logits, which can be any number, but that of "
            f"{name!r} ends in {last}; leave this layer out, or put {right} in its place"
        )


def _there(x: Tensor, mask: Tensor | None) -> Tensor:
    """The values, 0 where the mask (B,) is False."""
    return x if mask is None else torch.where(mask.view(-1, *[1] * (x.ndim - 1)), x, torch.zeros_like(x))
