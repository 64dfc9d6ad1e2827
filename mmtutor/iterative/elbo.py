"""The evidence lower bound (ELBO) of all modalities, as a function of λ.

    q(z; λ) = N(μ, σ²),    λ = (μ, log σ)
    ELBO(X; λ) = E_q [Σᵢ wᵢ log p(xᵢ|z)] − β KL(q(z; λ) ‖ N(0, I))

The expectation is estimated from one draw of z, z = μ + σ ε with ε ~ N(0, I).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from .checks import check_batch, check_dtype, check_names, check_unpadded, kind, modules, moved, named, number
from .refinement import check_lam

Batch = Mapping[str, Tensor]
Likelihood = Callable[[Tensor], Distribution]
Posterior = Callable[[Tensor], Distribution]  # from λ to q(z; λ)


def posterior(lam: Tensor) -> Independent[Normal]:
    """q(z; λ) = N(μ, σ²): the first half of λ (…, 2 d) is μ, the second log σ.

    What λ means is said by a function like this one, which is handed to `Elbo` and to `Students`. It is this one where
    none is handed over.

    Raises:
        ValueError: λ is no tensor (…, 2 d).

    Examples:
        >>> import torch
        >>> q = posterior(torch.zeros(3, 8))
        >>> q.mean.shape, q.stddev[0]
        (torch.Size([3, 4]), tensor([1., 1., 1., 1.]))
    """
    check_lam("posterior", lam, even=True)
    mean, log_std = lam.chunk(2, -1)
    return Independent(Normal(mean, log_std.exp(), validate_args=False), 1, validate_args=False)  # (..., d)


def divergence(q: Distribution, p: Distribution) -> Tensor:
    """KL(q ‖ p) of two normal distributions with independent numbers, in nats, of the batch shape, on the device of q.

    Raises:
        TypeError: one of them is no Normal and no Independent(Normal).
        ValueError: their shapes differ.
    """
    mean, std = mean_and_std(q)
    p_mean, p_std = mean_and_std(on_device(p, mean.device))
    check_shapes("divergence", [mean, p_mean])
    ratio = (std.square() + (mean - p_mean).square()) / p_std.square()  # (..., d)
    return (ratio / 2 - 0.5 + (p_std / std).log()).sum(-1)  # (...,)


class Elbo(nn.Module):
    """The ELBO of all modalities in the batch, with one draw of z.

    A modality that is not in the batch plays no part, nor does one with ``"<modality>_present"`` False for an example;
    there the decoder's likelihood is asked for 0 in place of the value, and the answer is not used. With weights, nats
    are those of the model p(z) ∏ᵢ p(xᵢ|z)^wᵢ, and q approaches that model's posterior.

    Args:
        decoders: for each modality a network from z (B, d).
        likelihoods: for each modality a function from the decoder's output to a distribution of batch shape (B,); with
            ``validate_args=False``, or at each call the program waits for the GPU to hear whether all is valid. One
            that has parameters, such as a learned σ, must be a module.
        weights: wᵢ, 1 where none is given.
        beta: β.
        posterior: what λ means, a function to a normal distribution with independent numbers, see `posterior`.

    Raises:
        ValueError: the modalities of two arguments differ, a name is taken, or a number is out of range.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> likelihood = lambda output: Independent(Normal(output, 0.5), 1)
        >>> elbo = Elbo({"image": nn.Linear(2, 6)}, {"image": likelihood})
        >>> batch = {"image": torch.rand(5, 6), "image_present": torch.ones(5).bool()}
        >>> {name: tuple(term.shape) for name, term in elbo(torch.zeros(5, 4), batch).items()}
        {'image': (5,), 'prior': (5,)}
    """

    def __init__(
        self,
        decoders: Mapping[str, nn.Module],
        likelihoods: Mapping[str, Likelihood],
        weights: Mapping[str, float] | None = None,
        beta: float = 1.0,
        posterior: Posterior = posterior,
    ) -> None:
        super().__init__()
        check_parts(decoders, likelihoods, weights or {}, beta)
        self.decoders, self.beta = nn.ModuleDict(decoders), float(beta)
        self.likelihoods = {m: for_decoder(m, p, decoders[m]) for m, p in likelihoods.items()}
        self.learned = nn.ModuleDict({m: p for m, p in self.likelihoods.items() if isinstance(p, nn.Module)})
        self.posterior = function("Elbo", "posterior", posterior)
        self.weights = {**dict.fromkeys(decoders, 1.0), **{m: float(w) for m, w in (weights or {}).items()}}

    def forward(self, lam: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The terms by name, (B,) each, in nats: one for each modality, and ``"prior"``."""
        names = check_elbo_batch(self, batch, lam)
        batch = without_missing(moved(batch, self))
        q = self.posterior(lam.to(batch[names[0]].device))  # (B, d)
        z = q.rsample()  # (B, d)
        terms = {}
        for modality, p in self.decode(z, names).items():
            check_decoded(modality, p, batch[modality])
            log_p = self.weights[modality] * p.log_prob(batch[modality])  # (B,)
            present = batch.get(f"{modality}_present")  # (B,)
            terms[modality] = log_p if present is None else torch.where(present, log_p, 0)
        mean, std = mean_and_std(q)
        kl = ((std.square() + mean.square() - 1) / 2 - std.log()).sum(1)  # (B,)
        return {**terms, "prior": -self.beta * kl}

    def decode(self, z: Tensor, modalities: str | Sequence[str] | None = None) -> dict[str, Distribution]:
        """p(xᵢ|z) of the named modalities or of all, for z (B, d)."""
        names = named("Elbo", modalities, self.likelihoods)
        check_dtype("Elbo", "z", z, self)
        z = moved({"z": z}, self)["z"]  # (B, d)
        outputs = {m: self.decoders[m](z) for m in names}
        decoded = {m: self.likelihoods[m](output) for m, output in outputs.items()}
        check_not_repeated(decoded, outputs)
        return decoded


def without_missing(batch: Batch) -> Batch:
    """The batch with 0 in place of each missing value, so that nothing reads what stands there, NaN included."""
    filled = dict(batch)
    for name in batch:
        if (present := batch.get(f"{name}_present")) is not None:
            x = batch[name]  # (B, ...)
            there = present.view(-1, *[1] * (x.ndim - 1))
            filled[name] = torch.where(there, x, x.new_zeros(()))
    return filled


def mean_and_std(q: Distribution) -> tuple[Tensor, Tensor]:
    """μ and σ of a Normal or an Independent(Normal)."""
    base: Any = q.base_dist if isinstance(q, Independent) else q
    if not isinstance(base, Normal):
        raise TypeError(f"expected a Normal or an Independent(Normal), got {q!r}")
    return base.mean, base.stddev


def on_device(q: Distribution, device: torch.device) -> Distribution:
    """A Normal or an Independent(Normal) on that device; a distribution of another kind is left as it is."""
    base: Any = q.base_dist if isinstance(q, Independent) else q
    if not isinstance(base, Normal) or base.mean.device == device:
        return q
    base = Normal(base.mean.to(device), base.stddev.to(device), validate_args=False)
    return Independent(base, len(q.event_shape), validate_args=False)


# ---- messages


def check_parts(
    decoders: Mapping[str, nn.Module],
    likelihoods: Mapping[str, Likelihood],
    weights: Mapping[str, float],
    beta: float,
) -> None:
    """Refuse decoders, likelihoods and weights that do not fit together."""
    modules("Elbo", "decoders", decoders)
    for name, given in (("likelihoods", likelihoods), ("weights", weights)):
        if not isinstance(given, Mapping):
            raise TypeError(f"Elbo: {name} must be a dict by modality, got {kind(given)}")
    if decoders.keys() != likelihoods.keys() or not decoders or set(weights) - set(decoders):
        raise ValueError(
            f"Elbo: decoders are of {list(decoders)}, likelihoods of {list(likelihoods)}, weights of {list(weights)}; "
            "the first two need the same modalities, weights none but these"
        )
    check_names("Elbo", decoders, taken=("prior", "start", "end"))  # terms of the loss
    for name, value in {**weights, "beta": beta}.items():
        number("Elbo", f"the weight of {name!r}", value, above=True)


def check_decoded(name: str, p: Distribution, x: Tensor) -> None:
    """Refuse a decoder that gives another shape than the batch has."""
    if p.batch_shape + p.event_shape != x.shape:
        raise ValueError(f"Elbo: the decoder of {name!r} gives {tuple(p.event_shape)} for each example, the batch has "
                         f"{tuple(x.shape[1:])}")  # fmt: skip


def check_not_repeated(decoded: Mapping[str, Distribution], outputs: Mapping[str, Any]) -> None:
    """Refuse a distribution of more numbers than the decoder gave: a likelihood with a σ for each would repeat them."""
    for m, p in decoded.items():
        shape = p.batch_shape + p.event_shape
        if isinstance(output := outputs[m], Tensor) and shape.numel() > output.numel():
            raise ValueError(f"Elbo: the decoder of {m!r} gives {tuple(output.shape[1:])} for each example, and its "
                             f"likelihood repeats that for {tuple(shape[1:])}; give it as many outputs")  # fmt: skip


def for_decoder(name: str, likelihood: Likelihood, decoder: nn.Module) -> Likelihood:
    """A likelihood with a method ``for_decoder`` learns what its decoder gives: logits or probabilities."""
    if not callable(likelihood):
        raise ValueError(f"Elbo: the likelihood of {name!r} must be a function from an output to a distribution, got "
                         f"{likelihood!r}")  # fmt: skip
    suit = getattr(likelihood, "for_decoder", None)
    return suit("Elbo", name, decoder) if suit else likelihood


def check_values(who: str, elbo: Elbo, batch: Batch, names: Iterable[str]) -> None:
    """Refuse what a likelihood with a method ``check_values`` cannot take; on the CPU."""
    for m in names:
        x, mask = batch[m], batch.get(f"{m}_present")
        here = x.device.type == "cpu" and (mask is None or mask.device.type == "cpu")
        if here and (check := getattr(elbo.likelihoods[m], "check_values", None)):
            check(who, m, x, mask)


def check_elbo_batch(elbo: Elbo, batch: Batch, lam: Tensor) -> list[str]:
    """The modalities of the batch, all of them checked."""
    names = check_batch("Elbo", batch, elbo.likelihoods, model=elbo)
    check_unpadded("Elbo", batch, names)
    check_values("Elbo", elbo, batch, names)
    check_dtype("Elbo", "λ", lam, elbo)
    if len(lam) != len(batch[names[0]]):
        raise ValueError(f"Elbo: λ is of {len(lam)} examples, the batch has {len(batch[names[0]])}")
    return names


def function(who: str, name: str, value: Posterior) -> Posterior:
    """A function from λ, or an error."""
    if callable(value) and not isinstance(value, type):
        return value
    raise TypeError(f"{who}: {name} must be a function from λ to a distribution of z, got {value!r}")


def check_shapes(who: str, means: Sequence[Tensor]) -> None:
    """Refuse distributions of different shapes."""
    if len({tuple(mean.shape) for mean in means}) > 1:
        raise ValueError(f"{who} needs equal shapes, got {[tuple(mean.shape) for mean in means]}")
