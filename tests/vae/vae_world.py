"""A world where everything is known, every model on it, and random numbers that a test decides.

In the straight world the columns of each Wᵢ are orthogonal, so every posterior has a diagonal covariance, and linear
encoders can be exact. In the skew world no diagonal posterior is exact.
"""

import math
from contextlib import contextmanager

import torch
from torch import nn
from torch.distributions import Normal

from mmtutor.lineargaussian import LinearGaussian
from mmtutor.vae import (
    DMVAE,
    JMVAE,
    MMVAE,
    MVAE,
    MVTCAE,
    TELBO,
    Coordinated,
    MMVAEPlus,
    MoPoE,
    gaussian,
    product_of_posteriors,
    wasserstein,
)
from mmtutor.vae.private import PrivateVAE

SIZES, NOISE, LATENT, PRIVATE = {"a": 3, "b": 4, "c": 2}, {"a": 0.7, "b": 1.1, "c": 0.9}, 2, 1
SETS = [("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c"), ("a", "b", "c")]
# Every model, with the options that make another model of it.
MODELS = {
    "Coordinated": (Coordinated, {}),
    "Coordinated, crossing": (Coordinated, {"distance": wasserstein, "cross_weight": 0.3, "distance_weight": 0.5}),
    "JMVAE": (JMVAE, {}),
    "TELBO": (TELBO, {}),
    "MVAE": (MVAE, {}),
    "MVAE, two drawn": (MVAE, {"drawn": 2}),
    "MVAE, whole": (MVAE, {"drawn": 0, "single": False}),
    "MMVAE": (MMVAE, {}),
    "MMVAE, iwae": (MMVAE, {"k": 3}),
    "MMVAE, dreg": (MMVAE, {"k": 3, "objective": "dreg"}),
    "MoPoE": (MoPoE, {}),
    "MoPoE, prior": (MoPoE, {"prior": True}),
    "MVTCAE": (MVTCAE, {"alpha": 0.7}),
    "DMVAE": (DMVAE, {}),
    "DMVAE, prior once": (DMVAE, {"combine": product_of_posteriors}),
    "MMVAEPlus": (MMVAEPlus, {}),
    "MMVAEPlus, iwae": (MMVAEPlus, {"k": 3}),
}


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


def close(a, b, tolerance=1e-11):
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    assert (a - b).abs().max() < tolerance


def skew_world(latent=LATENT, sizes=SIZES):
    return LinearGaussian.random(sizes, latent, {s: NOISE[s] for s in sizes}, seed=3)


def straight_world(latent=LATENT, sizes=SIZES):
    dice, weights = torch.Generator().manual_seed(5), {}
    for s, D in sizes.items():
        Q = torch.linalg.qr(torch.randn(D, latent, generator=dice, dtype=torch.float64))[0]
        weights[s] = Q * (0.5 + torch.rand(latent, generator=dice, dtype=torch.float64))
    return LinearGaussian(weights, {s: NOISE[s] for s in sizes})


def linear(weight, bias):
    layer = nn.Linear(weight.shape[1], len(weight)).double()
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def affine(mean_from, log_std):
    """An encoder whose mean is linear in x, and whose σ is always the same."""
    return linear(torch.cat([mean_from, torch.zeros_like(mean_from)]), torch.cat([torch.zeros_like(log_std), log_std]))


def exact_encoder(world, modalities, prior=True):
    """p(z|x_S) of a straight world; without the prior the expert that it is a product of."""
    P = world.precision(modalities).diagonal() - (0 if prior else 1)
    gain = torch.cat([world.weights[s].T / world.noise[s] ** 2 for s in modalities], 1)
    return affine(gain / P[:, None], -P.log() / 2)


class Joint(nn.Module):
    """A joint encoder: a network of all modalities side by side, in the order of the alphabet."""

    def __init__(self, net, modalities):
        super().__init__()
        self.net, self.modalities = net, sorted(modalities)

    def forward(self, batch):
        return self.net(torch.cat([batch[s] for s in self.modalities], 1))


def random_linear(inputs, outputs, size=0.25):
    layer = nn.Linear(inputs, outputs).double()
    with torch.no_grad():
        for p in layer.parameters():
            p.normal_(0, size)
    return layer


def make(cls, world, encoders=None, joint=None, order=None, decoders=None, likelihoods=None, **options):
    """A model of a world: its decoders and likelihoods are the world's, its encoders random ones or given ones."""
    names, d = order or list(world.weights), world.latent
    private = options.pop("private", PRIVATE) if issubclass(cls, PrivateVAE) else 0
    sizes = {s: len(w) for s, w in world.weights.items()}
    own = {s: random_linear(sizes[s], 2 * (d + private)) for s in sizes}
    style = {s: torch.randn(sizes[s], private).double() for s in sizes}
    plain = {s: linear(torch.cat([w, style[s]], 1), torch.zeros(sizes[s])) for s, w in world.weights.items()}
    likelihoods = likelihoods or {s: gaussian(world.noise[s]) for s in names}
    chosen, made = {**own, **(encoders or {})}, {**plain, **(decoders or {})}
    args = [{s: chosen[s] for s in names}, {s: made[s] for s in names}, likelihoods, d]
    if issubclass(cls, PrivateVAE):
        return cls(*args, private, **options)
    if cls in (JMVAE, TELBO):
        joint = joint or Joint(random_linear(sum(sizes.values()), 2 * d), names)
        return cls(joint, *args, **options)
    return cls(*args, **options)


def model_of(name, world, **options):
    cls, own = MODELS[name]
    return make(cls, world, **{**own, **options})


def rows(batch, index):
    return {name: x[index] for name, x in batch.items()}


def only(batch, modalities):
    """The batch with nothing but these modalities and their masks."""
    return {k: v for k, v in batch.items() if k.removesuffix("_present") in modalities}


def masked(world, garbage=None, seed=11):
    """Six examples of three modalities, each of another set of modalities; the absent ones are 0, or a value."""
    batch = world.sample(6, seed)[1]
    there = {"a": [1, 1, 0, 0, 1, 1], "b": [1, 0, 1, 0, 1, 1], "c": [1, 0, 0, 1, 0, 1]}
    for s, mask in there.items():
        present = torch.tensor(mask).bool()
        absent = torch.zeros_like(batch[s]) if garbage is None else torch.full_like(batch[s], garbage)
        batch[s] = torch.where(present[:, None], batch[s], absent)
        batch[f"{s}_present"] = present
    return batch


# ------------------------------------------------------------------------------------------- random numbers, decided


@contextmanager
def noise(table, choice=lambda row, options: options[row % len(options)], coin=lambda row: row % 2):
    """Every draw becomes a function of the example alone, not of its place in the batch nor of who else is in it.

    Args:
        table: (K, B, features), standard normal numbers of each example; private latents read the last two features.
        choice: which of the components that an example has it draws, from its row and the list of them.
        coin: what is drawn in place of a number between 0 and 1.
    """

    def normal(shape, last=False):
        K, d = len(table), shape[-1]
        eps = table[..., -1:].expand(*table.shape[:2], d) if last else table[..., :d]
        if len(shape) == 4:  # (K, M, B, d)
            eps = eps[torch.arange(shape[0]) % K].unsqueeze(1)
        elif last:  # (K, B, private)
            eps = eps[torch.arange(shape[0]) % K]
        else:  # (M, B, d), (S, B, d) or (B, d)
            eps = eps[0]
        return eps.expand(shape)

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(torch.Size(sample_shape))
        last = shape[-1] == PRIVATE and len(shape) == 3 and len(sample_shape) == 1
        return self.loc + self.scale * normal(shape, last).to(self.loc.dtype)

    def multinomial(chances, n):
        assert n == 1
        return torch.tensor([[choice(i, row.nonzero()[:, 0].tolist())] for i, row in enumerate(chances)])

    def randn(*shape, **_):
        return table[torch.arange(shape[0]) % len(table)][:, None, :, -2:-1].expand(shape)

    def rand(*shape, **_):
        return torch.tensor([float(coin(i)) for i in range(shape[-1])]).expand(shape)

    before = Normal.rsample, torch.multinomial, torch.randn, torch.rand
    Normal.rsample, torch.multinomial, torch.randn, torch.rand = rsample, multinomial, randn, rand
    try:
        yield
    finally:
        Normal.rsample, torch.multinomial, torch.randn, torch.rand = before


def table_of(n, seed=21, k=3):
    return torch.randn(k, n, LATENT + 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def corners(d, examples):
    """±√d e_j for each example: their mean and covariance are those of N(0, I), so quadratics come out exactly.

    Returns (1, examples · 2d, d); the 2d rows of an example stand together, see `repeated`.
    """
    eye = math.sqrt(d) * torch.eye(d, dtype=torch.float64)
    return torch.cat([eye, -eye]).repeat(examples, 1).unsqueeze(0)


def repeated(batch, times):
    return {k: x.repeat_interleave(times, 0) for k, x in batch.items()}


def expected(model, batch, d=LATENT, pick=None):
    """E over z of the terms of each example, exactly, for posteriors that are normal and likelihoods quadratic in z."""
    size = len(next(iter(batch.values())))
    with noise(corners(d, size), **({} if pick is None else {"choice": pick})):
        terms = model.terms(repeated(batch, 2 * d))
    return {name: v.view(size, 2 * d).mean(1) for name, v in terms.items()}
