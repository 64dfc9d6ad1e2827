"""What all models share: one interface, and the one place where a batch is checked."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Normal

from .gaussian import density, from_network, normal
from .likelihoods import Likelihood

Batch = Mapping[str, Tensor]
TERMS = {"loss", "kl", "surrogates", "experts", "apart", "cross", "private"}  # what else a loss may have


class MultimodalVAE(nn.Module):
    """Encoders qᵢ(z|xᵢ), decoders pᵢ(xᵢ|z), and a prior p(z) = N(0, I). Each model says how they play together.

    A batch is a dict of modalities (B, ...). A modality that is not there is left out; one that is missing for some examples
    comes with ``"<modality>_present"``, bool (B,). Other keys are not read.

    Args:
        encoders: for each modality a network to (B, 2 latent), the mean and log σ of qᵢ.
        decoders: for each modality a network from (N, latent) to what its likelihood reads.
        likelihoods: for each modality what the decoder's output means, see ``likelihoods.py``.
        latent: d, the size of z.
        weights: of each modality's log-likelihood in training, 1 where none is given. Evaluation does not use them.
        beta: β, of the divergence from the prior in training.

    Raises:
        ValueError: the modalities of two arguments differ, or a number is out of range.
    """

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
        who = type(self).__name__
        for name, given in (("decoders", decoders), ("likelihoods", likelihoods)):
            if given.keys() != encoders.keys() or not encoders:
                raise ValueError(
                    f"{who}: encoders are of {list(encoders)}, {name} of {list(given)}; both need the same"
                )
        if taken := sorted(TERMS & encoders.keys()):
            raise ValueError(f"{who}: a modality cannot be called {taken[0]!r}, which is a term of the loss")
        if not isinstance(latent, int) or latent < 1:
            raise ValueError(f"{who}: latent must be a whole number above 0, got {latent!r}")
        self.encoders, self.decoders = nn.ModuleDict(encoders), nn.ModuleDict(decoders)
        self.likelihoods, self.latent, self.beta = dict(likelihoods), latent, beta
        self._known(list(weights or ()))
        self.weights = {**dict.fromkeys(encoders, 1.0), **(weights or {})}
        for name, weight in {**{f"the weight of {s!r}": w for s, w in self.weights.items()}, "beta": beta}.items():
            if not 0 < weight < math.inf:
                raise ValueError(f"{who}: {name} must be finite and above 0, got {weight!r}")

    # ---- what a model defines

    def encode(self, batch: Batch, modalities: Sequence[str] | None = None) -> Distribution:
        """q(z|x): from the named modalities, or from all that are in the batch. Of batch shape (B,), event (d,)."""
        raise NotImplementedError

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """The objective of each example: ``"loss"`` and its parts in nats, (B,) each."""
        raise NotImplementedError

    # ---- what all models share

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The means of `terms` over the examples."""
        return {name: term.mean() for name, term in self.terms(batch).items()}

    def decode(self, z: Tensor, modalities: Sequence[str] | None = None) -> dict[str, Distribution]:
        """p(xᵢ|z) of the named modalities or of all, for z (N, d)."""
        if z.ndim != 2 or z.shape[1] != self.latent:
            raise ValueError(f"{type(self).__name__}: z must be (N, {self.latent}), got {tuple(z.shape)}")
        return {s: self._likelihood(s, z) for s in self._known(modalities)}

    def _likelihood(self, modality: str, z: Tensor) -> Distribution:
        return self.likelihoods[modality](self.decoders[modality](z))

    @torch.no_grad()
    def generate(self, given: Batch | None = None, to: Sequence[str] | None = None, n: int = 1) -> dict[str, Tensor]:
        """Modalities made from modalities: z from q(z|given), or from the prior, and the mean of p(xᵢ|z).

        Args:
            given: a batch of those modalities that are to be known; None: nothing is known, and z is from the prior.
            to: the modalities to make; None: all.
            n: how many for each example; without ``given``, how many at all.

        Returns:
            For each modality (n, B, ...), without ``given`` (n, ...). A categorical modality has probabilities.
        """
        self._known(to)
        if n < 1:
            raise ValueError(f"{type(self).__name__}: n must be at least 1, got {n}")
        if given is None:
            z = torch.randn(n, self.latent, device=self._like().device, dtype=self._like().dtype)
            return {s: mean_of(p) for s, p in self.decode(z, to).items()}
        z = self.encode(given).sample((n,))  # (n, B, d)
        made = self.decode(z.flatten(0, 1), to)
        return {s: (x := mean_of(p)).view(*z.shape[:2], *x.shape[1:]) for s, p in made.items()}

    @torch.no_grad()
    def log_likelihood(
        self, batch: Batch, k: int = 100, modalities: Sequence[str] | None = None, chunk: int = 10000
    ) -> Tensor:
        """The log-likelihood of all modalities in the batch, estimated from below, in nats: log 1/k Σ p(x, z)/q(z|x).

        Args:
            batch: the modalities whose probability is asked.
            k: draws of z for each example; the more, the closer.
            modalities: from which z is inferred; None: all in the batch.
            chunk: how many z to decode at a time.

        Returns:
            (B,). The weights of the modalities and β play no part.
        """
        if k < 1:
            raise ValueError(f"{type(self).__name__}: k must be at least 1, got {k}")
        q = self.encode(batch, modalities)
        there = self._present(batch, self._in(batch, None))
        size, estimates = len(there[next(iter(there))]), []
        for start in range(0, k, step := max(1, chunk // size)):
            z = q.sample((min(step, k - start),))  # (k', B, d)
            log_w = density(standard_like(z), z) - density(q, z)
            for log_p in self._reconstruct(z, batch, there).values():
                log_w = log_w + log_p
            estimates.append(log_w)
        return torch.cat(estimates).logsumexp(0) - math.log(k)

    # ---- parts

    def _like(self) -> Tensor:
        return next(self.parameters())

    def _known(self, modalities: Sequence[str] | None) -> list[str]:
        """The named modalities in the order of the encoders, or all."""
        for modality in modalities or ():
            if modality not in self.likelihoods:
                near = difflib.get_close_matches(modality, self.likelihoods, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                known = ", ".join(self.likelihoods)
                raise ValueError(f"{type(self).__name__}: no modality {modality!r}, only {known}{hint}")
        return [s for s in self.likelihoods if modalities is None or s in modalities]

    def _in(self, batch: Batch, modalities: Sequence[str] | None) -> list[str]:
        """The named modalities, all of which must be in the batch; or those that are. Checks what is there."""
        who = type(self).__name__
        names = self._known(modalities)
        if modalities is None:
            names = [s for s in names if s in batch]
        if not names:
            raise ValueError(f"{who}: no modality; the batch has {', '.join(batch) or 'nothing'}, "
                             f"the model {', '.join(self.likelihoods)}")  # fmt: skip
        for s in names:
            if s not in batch:
                raise ValueError(f"{who}: the batch has no {s!r}, only {', '.join(batch)}")
            if len(batch[s]) != len(batch[names[0]]) or not len(batch[s]):
                raise ValueError(f"{who}: {s!r} has {len(batch[s])} examples, {names[0]!r} {len(batch[names[0]])}")
            # The sum is finite only if all are, and is quick; it may overflow, so it does not decide alone.
            if batch[s].is_floating_point() and not batch[s].sum().isfinite() and not batch[s].isfinite().all():
                raise ValueError(f"{who}: {s!r} has NaN or infinite values")
        return names

    def _present(self, batch: Batch, names: Sequence[str]) -> dict[str, Tensor]:
        """Which examples have each of these modalities, bool (B,)."""
        who, masks = type(self).__name__, {}
        for s in names:
            mask = batch.get(f"{s}_present")
            if mask is None:
                mask = torch.ones(len(batch[s]), dtype=torch.bool, device=batch[s].device)
            elif mask.dtype != torch.bool or mask.shape != (len(batch[s]),):
                raise ValueError(f"{who}: '{s}_present' must be bool ({len(batch[s])},), got {mask.dtype} "
                                 f"{tuple(mask.shape)}")  # fmt: skip
            masks[s] = mask
        if not torch.stack(list(masks.values())).any(0).all():
            raise ValueError(f"{who}: an example has none of {', '.join(names)}; leave it out")
        return masks

    def _experts(
        self, batch: Batch, modalities: Sequence[str] | None = None
    ) -> tuple[list[str], Independent[Normal], Tensor]:
        """The names of the modalities that are there, qᵢ(z|xᵢ) of batch shape (M, B), and which are there, bool (M, B)."""
        names = self._in(batch, modalities)
        present = self._present(batch, names)
        outputs = [self._run(s, batch[s], present[s], 2 * self.latent) for s in names]
        return names, from_network(torch.stack(outputs)), torch.stack([present[s] for s in names])

    def _run(self, modality: str, x: Tensor, present: Tensor, outputs: int) -> Tensor:
        """What an encoder says, (B, outputs). It sees only the examples that have the modality; the others get 0."""
        if present.all():
            return self._checked(f"the encoder of {modality!r}", self.encoders[modality](x), len(x), outputs)
        rows = present.nonzero()[:, 0]
        if not len(rows):
            return self._like().new_zeros(len(x), outputs)
        seen = self._checked(f"the encoder of {modality!r}", self.encoders[modality](x[rows]), len(rows), outputs)
        return seen.new_zeros(len(x), outputs).index_put((rows,), seen)

    def _checked(self, whose: str, output: Tensor, size: int, outputs: int) -> Tensor:
        if output.shape != (size, outputs):
            raise ValueError(f"{type(self).__name__}: {whose} must give (B, {outputs}), mean and log σ, for B = {size} "
                             f"examples, got {tuple(output.shape)}")  # fmt: skip
        return output

    def _reconstruct(self, z: Tensor, batch: Batch, here: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The log-likelihood of each modality where it is asked for, else 0.

        Args:
            z: (..., B, d).
            batch: the modalities.
            here: for each modality to be made, bool that broadcasts to (..., B). A decoder sees only these z.

        Returns:
            For each of these modalities (..., B).
        """
        out = {}
        size = z.shape[-2]
        flat = z.reshape(-1, z.shape[-1])
        for s, asked in here.items():
            if asked.all():
                places, x = None, batch[s]
                if len(flat) > size:
                    x = x.expand(len(flat) // size, *x.shape).flatten(0, 1)
            else:
                places = asked.expand(z.shape[:-1]).reshape(-1).nonzero()[:, 0]
                x = batch[s][places % size]
            if not len(x):
                out[s] = z.new_zeros(z.shape[:-1])
                continue
            p = self._likelihood(s, flat if places is None else flat[places])
            if p.batch_shape + p.event_shape != x.shape:
                raise ValueError(f"{type(self).__name__}: the decoder of {s!r} makes {_sizes(p.event_shape)} "
                                 f"for each example, the batch has {_sizes(x.shape[1:])}")  # fmt: skip
            log_p = density(p, x)
            if places is not None:
                log_p = log_p.new_zeros(len(flat)).index_put((places,), log_p)
            out[s] = log_p.view(z.shape[:-1])
        return out

    def _total(self, log_p: Mapping[str, Tensor]) -> Tensor:
        """Σᵢ wᵢ log p(xᵢ|z)."""
        return torch.stack([self.weights[s] * value for s, value in log_p.items()]).sum(0)


def mean_of(p: Distribution) -> Tensor:
    """The mean of a likelihood; of a class, the probabilities."""
    base = p.base_dist if isinstance(p, Independent) else p
    mean: Tensor = base.probs if isinstance(base, Categorical) else p.mean
    return mean


def _sizes(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or "one number"


def standard_like(z: Tensor) -> Independent[Normal]:
    """The prior N(0, I) of z."""
    return normal(torch.zeros_like(z), torch.ones_like(z))


def divergence(q: Independent[Normal], p: Independent[Normal] | None = None) -> Tensor:
    """KL(q ‖ p) in nats, of the batch shape; p is the prior where none is given."""
    ratio, far = (q.stddev, q.mean) if p is None else (q.stddev / p.stddev, (q.mean - p.mean) / p.stddev)
    return ((ratio.square() + far.square() - 1) / 2 - ratio.log()).sum(-1)


def sum_kl(q: Independent[Normal], single: Independent[Normal], present: Tensor) -> Tensor:
    """Σᵢ KL(q ‖ qᵢ) over the modalities that are there, (B,)."""
    return (divergence(q, single) * present).sum(0)
