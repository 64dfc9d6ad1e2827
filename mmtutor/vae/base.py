"""What all models share: the way from a batch to its loss, and one interface.

A model defines two things: `MultimodalVAE.encode`, its posterior, and `MultimodalVAE.terms`, its objective. It builds
both from two parts: `MultimodalVAE.experts` has qᵢ(z|xᵢ) from each modality's encoder, `MultimodalVAE.log_probs` has
log pᵢ(xᵢ|z) from each modality's decoder.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from .checks import (
    check_batch,
    check_dtype,
    check_names,
    check_present,
    check_unpadded,
    modules,
    moved,
    named,
    number,
    on_device,
    reading,
    whole,
)
from .gaussian import from_network, log_prob, standard
from .likelihoods import FACTORIES, Likelihood, mean_of

Batch = Mapping[str, Tensor]
Names = str | Sequence[str] | None  # one modality, several, or all
TERMS = ("kl", "surrogate_kl", "expert_kl", "private_kl", "distance", "cross_generation")  # of a loss, besides "loss"


class MultimodalVAE(nn.Module, ABC):
    """Abstract: encoders qᵢ(z|xᵢ), decoders pᵢ(xᵢ|z) and a prior p(z) = N(0, I). Each model says how they are combined.

    A batch is a dict of modalities (B, ...). A modality that is missing for the whole batch is left out. One that is
    missing for some examples comes with a mask ``"<modality>_present"``, bool (B,); where that is False the values are
    never read, and may be NaN. Other keys are not read.

    A batch and z may be on any device; all methods compute, and return, on that of the parameters. Masks alone belong
    on the CPU, as they say which rows the networks get: then no step waits for the device. One on another device is
    copied to the CPU at each call, which waits. Sets that are drawn at random are drawn with the CPU's generator.

    Args:
        encoders: for each modality a network to (B, 2 latent), the mean and log σ of qᵢ(z|xᵢ).
        decoders: for each modality a network from (N, latent) to what its likelihood reads.
        likelihoods: for each modality the distribution that the decoder's output stands for, see ``likelihoods.py``.
            One that has parameters, such as a learned σ, must be a module.
        latent: d, the size of z.
        weights: wᵢ, of each modality's log-likelihood in training, 1 where none is given. Evaluation does not use them.
        beta: β, of the divergence from the prior in training.

    Raises:
        TypeError: a modality in a batch is no tensor.
        ValueError: the modalities of two arguments differ, or a number is out of range. In the methods: a batch does
            not fit (the modality and the example are named), or a network's output does not.
    """

    masks_on_cpu = True  # asks `mmtutor.training.fit` to leave masks there: rows are chosen without a wait for a GPU

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        decoders: Mapping[str, nn.Module],
        likelihoods: Mapping[str, Likelihood],
        latent: int,
        *,
        weights: Mapping[str, float] | None = None,
        beta: float = 1.0,
    ) -> None:
        super().__init__()
        self._check_arguments(encoders, decoders, likelihoods, latent, weights or {}, beta)
        self.encoders, self.decoders = nn.ModuleDict(encoders), nn.ModuleDict(decoders)
        self.likelihoods, self.latent, self.beta = self._fitted(likelihoods), int(latent), float(beta)
        self.learned = nn.ModuleDict({m: p for m, p in self.likelihoods.items() if isinstance(p, nn.Module)})
        self.weights = {**dict.fromkeys(encoders, 1.0), **{m: float(w) for m, w in (weights or {}).items()}}
        self.output_size = 2 * self.latent  # of each encoder: mean and log σ
        self.input_size = self.latent  # of each decoder

    # ---- what a model defines

    @abstractmethod
    def encode(self, batch: Batch, modalities: Names = None) -> Distribution:
        """The posterior q(z|x) from the named modalities, or from all in the batch.

        Returns:
            Of batch shape (B,) and event shape (d,).
        """

    @abstractmethod
    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """The objective of each example: ``"loss"`` and its parts in nats, (B,) each."""

    # ---- from a batch to its loss

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The means of `terms` over all B examples.

        Returns:
            ``"loss"``; for each modality −log pᵢ(xᵢ|z) in nats, without its weight, 0 where an example lacks it;
            ``"kl"`` without β; and what else a model has.
        """
        return {name: term.mean() for name, term in self.terms(batch).items()}

    def experts(self, batch: Batch, modalities: Names = None) -> tuple[list[str], Independent[Normal], Tensor]:
        """qᵢ(z|xᵢ) of the named modalities, or of all in the batch.

        Returns:
            The M modalities' names, qᵢ of batch shape (M, B), and which examples have which modality, bool (M, B), on
            the CPU. Where a modality is missing qᵢ is the prior N(0, I), whose divergence is 0.
        """
        names, present, outputs = self.encoder_outputs(batch, modalities)
        return names, from_network(outputs), present

    def encoder_outputs(self, batch: Batch, modalities: Names = None) -> tuple[list[str], Tensor, Tensor]:
        """The names, which examples have which modality, bool (M, B), and the encoders' outputs, (M, B, 2 d).

        An encoder sees only the examples that have its modality, so nothing is read where it is missing, and BatchNorm
        counts nothing there. The others get 0: mean 0 and log σ 0, the prior.
        """
        names, present = self._check_batch(batch, modalities)
        outputs, like = [], next(self.parameters())
        for name, there in zip(names, present, strict=True):
            rows = there.nonzero()[:, 0]  # (n_m,)
            output = like.new_zeros(0, self.output_size)  # (0, O)
            if len(rows):
                x = on_device(take(batch[name], rows), like.device)  # (n_m, ...)
                with reading(type(self).__name__, name, x, self.encoders[name]):
                    output = self.encoders[name](x)  # (n_m, O)
                self._check_encoder(f"of {name!r}", output, len(rows))
            outputs.append(put(output, rows, len(there)))
        return names, present, torch.stack(outputs)

    def log_probs(self, z: Tensor, batch: Batch, names: Sequence[str], asked: Tensor) -> Tensor:
        """The reconstruction terms log pᵢ(xᵢ|z) where they are asked for, and 0 elsewhere.

        Decoders take most of the time of a step, and a missing modality has no xᵢ. So each decoder gets, in one call,
        only those z for which its modality is asked.

        Args:
            z: (..., B, d), on the device of the parameters.
            batch: the modalities.
            names: M of them.
            asked: bool (M, ...), for each modality what broadcasts to (..., B); on the CPU.

        Returns:
            (M, ..., B).
        """
        size, flat = z.shape[-2], z.flatten(0, -2)
        log_p = []
        for name, where in zip(names, asked, strict=True):
            rows = where.expand(z.shape[:-1]).flatten().nonzero()[:, 0]  # (n_m,)
            value = flat[:0, 0]  # (0,)
            if len(rows):
                p = self.likelihoods[name](self.decoders[name](take(flat, rows)))  # (n_m, ...)
                x = on_device(batch[name], z.device)  # (B, ...)
                x = take(x, rows) if len(flat) == size else x[on_device(rows % size, z.device)]  # (n_m, ...)
                self._check_decoder(name, p, x)
                value = log_prob(p, x)  # (n_m,)
            log_p.append(put(value, rows, len(flat)).view(z.shape[:-1]))
        return torch.stack(log_p)  # (M, ..., B)

    def weighted(self, names: Sequence[str], log_p: Tensor) -> Tensor:
        """Σᵢ wᵢ log pᵢ(xᵢ|z), from log pᵢ(xᵢ|z) (M, ..., B)."""
        terms = [self.weights[name] * value for name, value in zip(names, log_p, strict=True)]
        return torch.stack(terms).sum(0)  # (..., B)

    # ---- what else a model can do

    def decode(self, z: Tensor, modalities: Names = None) -> dict[str, Distribution]:
        """pᵢ(xᵢ|z) of the named modalities or of all, for z (N, d)."""
        self._check_latent(z)
        z = on_device(z, next(self.parameters()).device)
        return {name: self.likelihoods[name](self.decoders[name](z)) for name in self._named(modalities)}

    @torch.no_grad()
    def generate(self, given: Batch | None = None, to: Names = None, n: int = 1) -> dict[str, Tensor]:
        """Modalities generated from given ones: the means of pᵢ(xᵢ|z), with z from q(z|given) or from the prior.

        Args:
            given: a batch of the modalities that are known; None: nothing is known, and z is from the prior.
            to: the modalities to generate; None: all.
            n: how many for each example; without ``given``, how many at all.

        Returns:
            For each modality (n, B, ...), without ``given`` (n, ...). A categorical modality has probabilities.
        """
        names, n = self._named(to), whole(type(self).__name__, "n", n)
        like = next(self.parameters())
        if given is None:
            z = torch.randn(n, self.latent, device=like.device, dtype=like.dtype)  # (n, d)
            return {name: mean_of(p) for name, p in self.decode(z, names).items()}
        z = self.encode(given).sample((n,))  # (n, B, d)
        means = {name: mean_of(p) for name, p in self.decode(z.flatten(0, 1), names).items()}
        return {name: x.view(*z.shape[:2], *x.shape[1:]) for name, x in means.items()}

    @torch.no_grad()
    def log_likelihood(self, batch: Batch, k: int = 100, modalities: Names = None, chunk: int = 10000) -> Tensor:
        """The log-likelihood of all modalities in the batch, estimated from below, in nats: log 1/k Σ p(x, z)/q(z|x).

        Args:
            batch: the modalities whose probability is asked.
            k: draws of z for each example; the more, the closer.
            modalities: from which z is inferred; None: all in the batch.
            chunk: how many z to decode at a time.

        Returns:
            (B,). The weights of the modalities and β play no part.
        """
        k, chunk = whole(type(self).__name__, "k", k), whole(type(self).__name__, "chunk", chunk)
        q = self.encode(batch, modalities)
        names, present = self._check_batch(batch)
        batch = moved({name: batch[name] for name in names}, self)  # once for all draws
        log_w = []
        step = max(1, chunk // present.shape[1])
        for start in range(0, k, step):
            z = q.sample((min(step, k - start),))  # (k_c, B, d)
            log_p = self.log_probs(z, batch, names, present).sum(0)  # (k_c, B)
            log_w.append(log_prob(standard(z), z) - log_prob(q, z) + log_p)
        return torch.cat(log_w).logsumexp(0) - math.log(k)  # (B,)

    # ---- messages

    def check_batch(self, batch: Batch) -> None:
        """Refuse what `loss` cannot take, as it does; values that are on the CPU."""
        self._check_batch(batch)

    def _named(self, modalities: Names) -> list[str]:
        """The named modalities in the order of the encoders, or all."""
        return named(type(self).__name__, modalities, self.encoders)

    def _check_batch(self, batch: Batch, modalities: Names = None) -> tuple[list[str], Tensor]:
        """The named modalities, or all in the batch, and which examples have which, bool (M, B), on the CPU."""
        who = type(self).__name__
        there = check_batch(who, batch, self.encoders, model=self)
        names = there if modalities is None else self._named(modalities)
        if absent := [name for name in names if name not in there]:
            raise ValueError(f"{who}: the batch has no {absent[0]!r}, only {', '.join(there)}")
        if not names:
            raise ValueError(f"{who}: modalities must name at least one of {', '.join(there)}, got none")
        everyone = torch.ones(len(batch[names[0]]), dtype=torch.bool)  # (B,)
        present = torch.stack([batch.get(f"{name}_present", everyone).cpu() for name in names])  # (M, B)
        check_present(f"{who}, from {', '.join(names)}", present.T)
        check_unpadded(who, batch, names)
        for name, there_is in zip(names, present, strict=True):
            if batch[name].device.type == "cpu" and (check := getattr(self.likelihoods[name], "check_values", None)):
                check(who, name, batch[name], there_is, partial(self._one_output, name))
        return names, present

    @torch.no_grad()
    def _one_output(self, name: str) -> Tensor:
        """What a decoder gives for one z, in evaluation mode: its shape is known before anything is drawn."""
        decoder, like = self.decoders[name], next(self.parameters())
        modes = [(part, part.training) for part in decoder.modules()]
        try:
            output: Tensor = decoder.eval()(like.new_zeros(1, self.input_size))
            return output
        finally:
            for part, training in modes:
                part.training = training

    def _fitted(self, likelihoods: Mapping[str, Likelihood]) -> dict[str, Likelihood]:
        """Each likelihood as its decoder needs it, see ``likelihoods.py``; own functions as they are."""
        who, fitted = type(self).__name__, dict(likelihoods)
        for name, likelihood in likelihoods.items():
            if not callable(likelihood) or likelihood in FACTORIES:
                raise TypeError(f"{who}: the likelihood of {name!r} must be such as bernoulli() or gaussian(1.0), or "
                                f"a function from an output to a distribution, got {likelihood!r}")  # fmt: skip
            if suit := getattr(likelihood, "for_decoder", None):
                fitted[name] = suit(who, name, self.decoders[name])
        return fitted

    def _check_encoder(self, name: str, output: Tensor, size: int) -> None:
        if output.shape != (size, self.output_size):
            raise ValueError(f"{type(self).__name__}: the encoder {name} must give (B, {self.output_size}), mean and "
                             f"log σ, for B = {size} examples, got {tuple(output.shape)}")  # fmt: skip

    def _check_decoder(self, name: str, p: Distribution, x: Tensor) -> None:
        if p.batch_shape + p.event_shape != x.shape:
            raise ValueError(f"{type(self).__name__}: the decoder of {name!r} gives {_sizes(p.event_shape)} for each "
                             f"example, the batch has {_sizes(x.shape[1:])}")  # fmt: skip

    def _check_latent(self, z: Tensor) -> None:
        check_dtype(type(self).__name__, "z", z, self)
        if z.ndim != 2 or z.shape[1] != self.latent:
            raise ValueError(f"{type(self).__name__}: z must be (N, {self.latent}), got {tuple(z.shape)}")

    def _check_arguments(
        self,
        encoders: Mapping[str, nn.Module],
        decoders: Mapping[str, nn.Module],
        likelihoods: Mapping[str, Likelihood],
        latent: int,
        weights: Mapping[str, float],
        beta: float,
    ) -> None:
        who = type(self).__name__
        modules(who, "encoders", encoders)
        modules(who, "decoders", decoders)
        for name, given in (("likelihoods", likelihoods), ("weights", weights)):
            if not isinstance(given, Mapping):
                raise TypeError(f"{who}: {name} must be a dict by modality, got {type(given).__name__}")
        for name, other in (("decoders", decoders), ("likelihoods", likelihoods)):
            if other.keys() != encoders.keys() or not encoders:
                raise ValueError(
                    f"{who}: encoders are of {list(encoders)}, {name} of {list(other)}; both need the same"
                )
        check_names(who, [name for name in encoders if name != "label"], TERMS)  # a label may be a modality here
        named(who, list(weights), encoders)
        whole(who, "latent", latent)
        for name, weight in {**{f"the weight of {m!r}": w for m, w in weights.items()}, "beta": beta}.items():
            number(who, name, weight, above=True)


# ---- parts of the way from a batch to its loss


def take(x: Tensor, rows: Tensor) -> Tensor:
    """The rows of x, in their order, (n, ...); without a copy where they are all of x."""
    return x if len(rows) == len(x) else x[on_device(rows, x.device)]


def put(values: Tensor, rows: Tensor, size: int) -> Tensor:
    """The inverse of `take`: (size, ...) with the values (n, ...) in these rows, and 0 in the others."""
    if len(rows) == size:
        return values
    return values.new_zeros(size, *values.shape[1:]).index_put((on_device(rows, values.device),), values)


def mean_where(values: Tensor, counted: Tensor) -> Tensor:
    """The mean over those of K modalities, or of K sets of them, that an example has: (..., B) from (..., K, B)."""
    counted = on_device(counted, values.device)  # (K, B)
    return (values * counted).sum(-2) / counted.sum(0)  # (..., B)


# ---- messages


def _sizes(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or "one number"
