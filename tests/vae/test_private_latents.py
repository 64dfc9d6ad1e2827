"""DMVAE against plain computations, and against exact posteriors of what is shared and what is private.

In a world with private latents, xᵢ = Wᵢz + Vᵢwᵢ + ε, the latent code of all is (z, w of a, w of b, w of c). Where the
columns of Wᵢ and Vᵢ are orthogonal, z and wᵢ are independent given xᵢ, and DMVAE's posteriors can be exact.
"""

import math

import pytest
import torch
from torch.distributions import Independent, Normal
from vae_world import LATENT, NOISE, affine, close, linear, make, only, skew_world

from mmtutor.lineargaussian import LinearGaussian
from mmtutor.vae import DMVAE, normal, product_of_posteriors

PRIVATE, WIDE = 1, {"a": 3, "b": 4, "c": 5}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def log_normal(x, mean, std):
    """Σ log N(x; mean, std²) over the last axis."""
    return (-(((x - mean) / std) ** 2) / 2 - torch.log(std * torch.ones_like(x)) - math.log(2 * math.pi) / 2).sum(-1)


def kl_to_prior(mean, std):
    return ((mean**2 + std**2 - 1) / 2 - std.log()).sum(-1)


# --------------------------------------------------------------------------------------------------- the objective


@pytest.mark.parametrize("options", [{}, {"weights": {"a": 0.3, "b": 2.0}, "beta": 1.7}], ids=["plain", "weighted"])
@pytest.mark.parametrize("modalities", ["abc", "ac", "b"])
@pytest.mark.parametrize("combine", ["paper", "prior once"])
def test_dmvaes_loss_is_the_elbos_of_the_product_and_of_each_modality(options, modalities, combine, monkeypatch):
    """The package MultiVae has the same objective: the sum of these ELBOs, each of all modalities."""
    world, P = skew_world(), 2
    chosen = {"combine": product_of_posteriors} if combine == "prior once" else {}
    model = make(DMVAE, world, private=P, **options, **chosen)
    batch = only(world.sample(5, seed=7)[1], modalities)
    drawn, before = [], Normal.rsample
    monkeypatch.setattr(Normal, "rsample", lambda self, shape=(): drawn.append(before(self, shape)) or drawn[-1])
    terms = model.terms(batch)
    z, w = drawn
    beta, weights, M = options.get("beta", 1.0), options.get("weights", {}), len(modalities)
    parts = [model.encoders[s](batch[s]).split([LATENT, LATENT, P, P], 1) for s in modalities]
    posteriors = [(mean, log_std.exp()) for mean, log_std, *_ in parts]
    if M > 1:
        tau = sum(std**-2 for _, std in posteriors) + (1 if combine == "paper" else 1 - M)
        tau = tau if combine == "paper" else tau.clamp_min(1)
        joint = sum(mean * std**-2 for mean, std in posteriors) / tau, tau**-0.5
        posteriors.append(joint)
    z = z if M > 1 else z[-1:]  # of one modality there is one ELBO, not the same twice
    loss, private = 0.0, sum(kl_to_prior(part[2], part[3].exp()) for part in parts)
    costs = dict.fromkeys(modalities, 0.0)
    for q, drawn_z in zip(posteriors, z, strict=True):
        loss = loss + beta * (kl_to_prior(*q) + private)
        for i, s in enumerate(modalities):
            mean = model.decoders[s](torch.cat([drawn_z, w[i]], 1))
            costs[s] = costs[s] - log_normal(batch[s], mean, torch.tensor(NOISE[s], dtype=torch.float64))
    loss = loss + sum(weights.get(s, 1.0) * cost for s, cost in costs.items())
    close(terms["loss"], loss)
    close(terms["kl"], sum(kl_to_prior(*q) for q in posteriors))
    close(terms["private_kl"], len(posteriors) * private)
    for s in modalities:
        close(terms[s], costs[s])


def test_from_one_modality_dmvae_infers_by_its_encoder_and_from_several_by_the_product_with_the_prior():
    world = skew_world()
    model, batch = make(DMVAE, world), world.sample(4, seed=1)[1]
    mean, log_std, *_ = model.encoders["a"](batch["a"]).split([LATENT, LATENT, PRIVATE, PRIVATE], 1)
    close(model.encode(batch, "a").mean, mean)
    close(model.encode(batch, "a").stddev, log_std.exp())
    tau = 1 + sum(model.encode(batch, s).stddev ** -2 for s in "ab")
    close(model.encode(batch, ["a", "b"]).stddev, tau**-0.5)
    masks = {"b_present": torch.tensor([True, False, True, False])}
    given = {**only(batch, "ab"), **masks}
    one, two = model.encode(batch, "a"), model.encode(batch, ["a", "b"])
    close(model.encode(given).mean, torch.where(masks["b_present"][:, None], two.mean, one.mean))


# ---------------------------------------------------------------------------- exact shared and private posteriors


def worlds(apart):
    """Of z with private latents as noise, of all latents, and W and V; V apart from W, or half in its direction."""
    dice, W, V = torch.Generator().manual_seed(5), {}, {}
    for s, D in WIDE.items():
        Q = torch.linalg.qr(torch.randn(D, LATENT + 1, generator=dice, dtype=torch.float64))[0]
        Q = Q * (0.5 + torch.rand(LATENT + 1, generator=dice, dtype=torch.float64))
        W[s], V[s] = Q[:, :LATENT], Q[:, LATENT:] + (0 if apart else Q[:, :1])
    shared = LinearGaussian(W, {s: v @ v.T + NOISE[s] ** 2 * torch.eye(len(v)).double() for s, v in V.items()})
    beside = {s: [W[s], *(V[s] * (s == t) for t in WIDE)] for s in WIDE}
    return shared, LinearGaussian({s: torch.cat(parts, 1) for s, parts in beside.items()}, NOISE), W, V


def exact_model(apart, combine=product_of_posteriors):
    """DMVAE with the true decoders, and encoders whose z and w have the exact posteriors of their modality."""
    shared, full, W, V = worlds(apart)
    encoders = {}
    for i, s in enumerate(WIDE):
        P = shared.precision(s).diagonal()
        gain = torch.linalg.solve(shared.noise[s], W[s]).T / P[:, None]
        every = torch.linalg.inv(full.precision(s))[LATENT + i]
        own = (full.weights[s] @ every)[None] / NOISE[s] ** 2
        net = affine(torch.cat([gain, own]), torch.cat([-P.log() / 2, every[LATENT + i].log()[None] / 2]))
        order = [0, 1, 3, 4, 2, 5]  # mean of z and of w, log σ of z and of w: to z first, then w
        encoders[s] = linear(net.weight[order], net.bias[order])
    decoders = {s: linear(torch.cat([W[s], V[s]], 1), torch.zeros(D)) for s, D in WIDE.items()}
    plain = LinearGaussian(W, NOISE)  # for the sizes and the likelihoods
    model = make(DMVAE, plain, encoders=encoders, decoders=decoders, combine=combine)
    return model, shared, full


def of_all(model, batch, modalities=None):
    """q(z|x_S) ∏ q(wᵢ|xᵢ) as one Gaussian of the full world's latent code."""
    z, w = model.encode(batch, modalities), model.encode_private(batch)
    parts = [z, *w.values()]
    return Independent(Normal(torch.cat([q.mean for q in parts], 1), torch.cat([q.stddev for q in parts], 1)), 1)


@pytest.mark.parametrize("apart", [True, False], ids=["apart", "overlapping"])
@pytest.mark.parametrize("modalities", ["a", "b", "ac", "abc"])
def test_dmvaes_posteriors_can_be_the_exact_ones(apart, modalities):
    model, shared, full = exact_model(apart)
    _, batch = full.sample(5, seed=2)
    q, exact = model.encode(batch, [*modalities]), shared.posterior(batch, [*modalities])
    close(q.mean, exact.mean)
    close(q.variance, exact.variance)
    assert (exact.covariance_matrix - exact.variance.diag_embed()).abs().max() < 1e-12  # diagonal, in both worlds
    for i, s in enumerate(WIDE):
        own, truth = model.encode_private(batch)[s], full.posterior(batch, s)
        close(own.mean[:, 0], truth.mean[:, LATENT + i])
        close(own.variance[:, 0], truth.variance[:, LATENT + i])


def test_the_bound_is_tight_where_private_latents_are_apart_and_only_there():
    gaps = {}
    for apart in (True, False):
        model, _, full = exact_model(apart)
        _, batch = full.sample(50, seed=2)
        gaps[apart] = full.gap(batch, of_all(model, batch))
    assert gaps[True].abs().max() < 1e-11
    assert gaps[False].min() > 0.01  # z and wᵢ are dependent given xᵢ, but not in q


def test_the_papers_product_counts_the_prior_once_more_than_there_are_modalities():
    model, shared, full = exact_model(True)
    paper, _, _ = exact_model(True, combine=DMVAE.__init__.__kwdefaults__["combine"])
    _, batch = full.sample(5, seed=2)
    close(paper.encode(batch).variance, 1 / (shared.precision().diagonal() + 3).expand(5, LATENT))
    close(model.encode(batch).variance, 1 / shared.precision().diagonal().expand(5, LATENT))
    apart = full.gap(batch, of_all(paper, batch))
    exact = shared.posterior(batch)
    q = paper.encode(batch)
    close(apart, torch.distributions.kl_divergence(normal(q.mean, q.stddev), Independent(
        Normal(exact.mean, exact.variance.sqrt()), 1)), 1e-9)  # fmt: skip


def test_the_mean_loss_is_minus_the_exact_elbos():
    """20,000 draws; within 5 standard errors of the ELBOs of (z, w) in the world of all latents."""
    model, _, full = exact_model(False)
    _, batch = full.sample(1, seed=2)
    many = {s: x.expand(20000, -1) for s, x in batch.items()}
    loss = model.terms(many)["loss"]
    expected = -sum(full.elbo(batch, of_all(model, batch, given)) for given in (None, "a", "b", "c"))
    assert abs(loss.mean() - expected[0]) < 5 * loss.std() / math.sqrt(20000)
    assert loss.std() > 0
