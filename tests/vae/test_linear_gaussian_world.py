"""Every loss on the linear-Gaussian world against its closed form, and every bound against the exact log p(x); float64.

Where q is normal, the expectation of a quadratic is exact with few points (`expected`). Where it is a mixture, d is 1
and the integral is a sum over Gauss-Hermite nodes, or the loss is a naive loop over the same random numbers.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal
from vae_world import (
    LATENT,
    NOISE,
    PRIVATE,
    SETS,
    SIZES,
    Joint,
    close,
    exact_encoder,
    expected,
    f64,
    linear,
    make,
    model_of,
    noise,
    only,
    repeated,
    rows,
    skew_world,
    straight_world,
    table_of,
)

from mmtutor.vae import (
    JMVAE,
    MMVAE,
    MVAE,
    MVTCAE,
    TELBO,
    Coordinated,
    MMVAEPlus,
    MoPoE,
    average,
    gaussian,
    symmetric_kl,
    wasserstein,
)

WEIGHTS, BETA = {"a": 0.5, "c": 3.0}, 1.7
OPTIONS = {"weights": WEIGHTS, "beta": BETA}
plain_and_weighted = pytest.mark.parametrize("options", [{}, OPTIONS], ids=["plain", "weighted"])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def world():
    return skew_world()


@pytest.fixture(scope="module")
def straight():
    return straight_world()


@pytest.fixture(scope="module")
def batch(world):
    return world.sample(5, seed=7)[1]


def weight_of(options, modality):
    return options.get("weights", {}).get(modality, 1.0)


def q_of(net, x):
    """What an encoder's output means, read here once more."""
    output = net(x)
    d = output.shape[1] // 2
    return Independent(Normal(output[:, :d], output[:, d:].exp()), 1)


def times(qs, prior):
    """A product of Gaussians by natural parameters, one factor after the other."""
    tau, weighted = (1.0, 0.0) if prior else (0.0, 0.0)
    for q in qs:
        tau = tau + q.stddev**-2
        weighted = weighted + q.mean * q.stddev**-2
    return Independent(Normal(weighted / tau, tau**-0.5), 1)


def cost(world, batch, q, modality):
    """−E_q log p(xᵢ|z), exactly."""
    return world.elbo(batch, q, ()) - world.elbo(batch, q, modality)


def prior_kl(world, batch, q):
    return -world.elbo(batch, q, ())


def minus_elbo(world, batch, q, modalities, options):
    costs = sum(weight_of(options, s) * cost(world, batch, q, s) for s in modalities)
    return costs + options.get("beta", 1.0) * prior_kl(world, batch, q)


def kl(q, p):
    """By its formula, number by number."""
    v, w = q.stddev**2, p.stddev**2
    return (0.5 * (w / v).log() + (v + (q.mean - p.mean) ** 2) / (2 * w) - 0.5).sum(-1)


def experts(model, batch, modalities="abc"):
    return {s: q_of(model.encoders[s], batch[s]) for s in modalities}


# ------------------------------------------------------------------------------- posteriors that are normal: exact


@plain_and_weighted
@pytest.mark.parametrize("modalities", ["abc", "ac", "b"])
def test_mvaes_loss_is_the_elbos_of_all_modalities_and_of_each(world, batch, options, modalities):
    model, given = make(MVAE, world, drawn=0, **options), only(batch, modalities)
    q = experts(model, batch, modalities)
    sets = [modalities] if len(modalities) == 1 else [modalities, *modalities]
    naive = sum(minus_elbo(world, batch, times([q[s] for s in S], True), S, options) for S in sets)
    terms = expected(model, given)
    close(terms["loss"], naive)
    for s in modalities:
        parts = [cost(world, batch, times([q[i] for i in S], True), s) for S in sets if s in S]
        close(terms[s], sum(parts))
    close(terms["kl"], sum(prior_kl(world, batch, times([q[s] for s in S], True)) for S in sets))
    whole = make(MVAE, world, encoders=model.encoders, drawn=0, single=False, **options)
    close(expected(whole, given)["loss"], minus_elbo(world, batch, times(q.values(), True), modalities, options))


@plain_and_weighted
def test_mvaes_loss_has_the_elbos_of_the_sets_drawn(world, batch, options, monkeypatch):
    model = make(MVAE, world, drawn=2, single=False, **options)
    q = experts(model, batch)
    first = [[1, 0, 1, 0, 1], [1, 1, 0, 0, 0], [0, 0, 1, 0, 1]]  # the fourth example draws the empty set
    drawn = torch.tensor(
        [first, [[0, 1, 1, 1, 0], [0, 0, 1, 0, 0], [0, 0, 1, 1, 1]]]
    ).bool()  # (set, modality, example)
    every = drawn.repeat_interleave(2 * LATENT, 2)
    monkeypatch.setattr(model, "_sets", lambda present: torch.cat([present[None], every]))
    got = expected(model, batch)
    for b in range(5):
        one = rows(batch, [b])
        mine = {s: Independent(Normal(p.mean[b : b + 1], p.stddev[b : b + 1]), 1) for s, p in q.items()}
        naive = minus_elbo(world, one, times(mine.values(), True), "abc", options)
        for k in range(2):
            S = [s for i, s in enumerate("abc") if drawn[k, i, b]]
            if S:
                naive = naive + minus_elbo(world, one, times([mine[s] for s in S], True), S, options)
        close(got["loss"][b : b + 1], naive)


def test_mvae_draws_every_set_for_every_example_by_itself(world):
    model = make(MVAE, world, drawn=3, single=True)
    present = torch.ones(3, 2000, dtype=torch.bool)
    sets = model._sets(present)
    assert sets.shape == (1 + 3 + 3, 3, 2000)
    assert sets[0].all()
    assert (sets[1:4] == torch.eye(3).bool()[..., None]).all()
    drawn = sets[4:].double()
    for value in drawn.mean(2).flatten():
        assert abs(value - 0.5) < 5 * 0.5 / math.sqrt(2000)
    correlation = torch.corrcoef(drawn.view(9, 2000)) - torch.eye(9)
    assert correlation.abs().max() < 5 / math.sqrt(2000)
    present[1, :1000] = False
    assert not model._sets(present)[:, 1, :1000].any()


def test_with_the_exact_posterior_mvaes_elbo_is_log_p(straight):
    batch = straight.sample(4, seed=3)[1]
    encoders = {s: exact_encoder(straight, [s], prior=False) for s in "abc"}
    model = make(MVAE, straight, encoders=encoders, drawn=0, single=False)
    close(expected(model, batch)["loss"], -straight.log_prob(batch))
    for S in SETS:
        q, exact = model.encode(batch, S), straight.posterior(batch, S)
        close(q.mean, exact.mean)
        close(q.variance, exact.variance)
        close(expected(model, only(batch, S))["loss"], -straight.log_prob(batch, S))
    # The exact posterior is the best: any other product has a larger loss.
    worse = make(MVAE, straight, drawn=0, single=False)
    assert (expected(worse, batch)["loss"] > -straight.log_prob(batch)).all()


@plain_and_weighted
@pytest.mark.parametrize("alpha", [0.0, 0.1, 2.5])
def test_jmvaes_loss_is_the_joint_elbo_and_the_divergences_of_the_surrogates(world, batch, options, alpha):
    model = make(JMVAE, world, alpha=alpha, **options)
    q, each = q_of(model.joint, batch), experts(model, batch)
    apart = sum(kl(q, p) for p in each.values())
    terms = expected(model, batch)
    close(terms["loss"], minus_elbo(world, batch, q, "abc", options) + alpha * apart)
    close(terms["surrogate_kl"], apart)
    close(terms["kl"], prior_kl(world, batch, q))
    for s in "abc":
        close(terms[s], cost(world, batch, q, s))


@plain_and_weighted
def test_telbos_loss_is_the_joint_elbo_and_one_of_each_modality(world, batch, options):
    model = make(TELBO, world, **options)
    q, each = q_of(model.joint, batch), experts(model, batch)
    naive = minus_elbo(world, batch, q, "abc", options)
    naive = naive + sum(minus_elbo(world, batch, each[s], s, options) for s in "abc")
    terms = expected(model, batch)
    close(terms["loss"], naive)
    for s in "abc":
        close(terms[s], cost(world, batch, q, s) + cost(world, batch, each[s], s))
    close(terms["kl"], prior_kl(world, batch, q) + sum(prior_kl(world, batch, p) for p in each.values()))
    for S in ("ab", "c"):  # without all modalities the ELBOs of each one remain
        close(expected(model, only(batch, S))["loss"], sum(minus_elbo(world, batch, each[s], s, options) for s in S))


def test_a_perfect_jmvae_and_telbo_lose_exactly_log_p(straight):
    batch = straight.sample(4, seed=3)[1]
    joint = Joint(exact_encoder(straight, [*"abc"]), "abc")
    encoders = {s: exact_encoder(straight, [s]) for s in "abc"}
    jmvae = make(JMVAE, straight, encoders=encoders, joint=joint, alpha=0.0)
    close(expected(jmvae, batch)["loss"], -straight.log_prob(batch))
    telbo = make(TELBO, straight, encoders=encoders, joint=joint)
    close(expected(telbo, batch)["loss"], -sum(straight.log_prob(batch, S) for S in (None, "a", "b", "c")))
    for model, S in itertools.product((jmvae, telbo), SETS):  # two of three: the product of surrogates
        q, exact = model.encode(batch, S), straight.posterior(batch, S)
        close(q.mean, exact.mean)
        close(q.variance, exact.variance)


@plain_and_weighted
@pytest.mark.parametrize("alpha", [0.0, 0.9, 1.0])  # 0.9 / 3 is no short binary: a float32 on the way would show
@pytest.mark.parametrize("modalities", ["abc", "bc", "a"])
def test_mvtcaes_loss_is_its_definition(world, batch, options, alpha, modalities):
    model = make(MVTCAE, world, alpha=alpha, **options)
    each, M = experts(model, batch, modalities), len(modalities)
    q = times(each.values(), False)
    costs = sum(weight_of(options, s) * cost(world, batch, q, s) for s in modalities)
    apart = sum(kl(q, p) for p in each.values())
    naive = (M - alpha) / M * costs
    naive = naive + options.get("beta", 1.0) * ((1 - alpha) * prior_kl(world, batch, q) + alpha / M * apart)
    terms = expected(model, only(batch, modalities))
    close(terms["loss"], naive)
    close(terms["expert_kl"], apart)
    close(terms["kl"], prior_kl(world, batch, q))


@pytest.mark.parametrize("modalities", ["abc", "bc", "a"])
def test_mvtcae_infers_by_the_product_of_its_encoders(world, batch, modalities):
    model = make(MVTCAE, world)
    naive = times(experts(model, batch, modalities).values(), False)
    for q in (model.encode(batch, [*modalities]), model.encode(only(batch, modalities))):
        close(q.mean, naive.mean)
        close(q.stddev, naive.stddev)


def test_mvtcae_with_alpha_0_is_mopoe_with_one_set(world, batch):
    a = make(MVTCAE, world, alpha=0.0, **OPTIONS)
    b = make(MoPoE, world, encoders=a.encoders, sets=[[*"abc"]], **OPTIONS)
    close(expected(a, batch)["loss"], expected(b, batch)["loss"])


@plain_and_weighted
@pytest.mark.parametrize("distance", [symmetric_kl, wasserstein])
@pytest.mark.parametrize(("apart", "cross"), [(0.0, 0.0), (0.6, 0.0), (0.0, 0.3), (0.6, 0.3)])
def test_coordinateds_loss_is_its_definition(world, batch, options, distance, apart, cross):
    model = make(Coordinated, world, distance=distance, distance_weight=apart, cross_weight=cross, **options)
    q = experts(model, batch)
    naive = sum(minus_elbo(world, batch, q[s], s, options) for s in "abc")
    between, crossed = torch.zeros(5).double(), torch.zeros(5).double()
    for i, j in itertools.combinations("abc", 2):
        if distance is symmetric_kl:
            between = between + (kl(q[i], q[j]) + kl(q[j], q[i])) / 2
        else:
            gaps = (q[i].mean - q[j].mean) ** 2 + (q[i].stddev - q[j].stddev) ** 2
            between = between + gaps.sum(1)
    for i, j in itertools.permutations("abc", 2):
        crossed = crossed + weight_of(options, j) * cost(world, batch, q[i], j)
    terms = expected(model, batch)
    close(terms["loss"], naive + apart * between + cross * crossed)
    close(terms["distance"], between)
    close(terms["cross_generation"], crossed if cross else torch.zeros(5).double())
    for s in "abc":
        close(terms[s], cost(world, batch, q[s], s))


@pytest.mark.parametrize("modalities", SETS, ids="".join)
def test_coordinated_infers_from_several_by_the_corrected_product(straight, modalities):
    batch = straight.sample(4, seed=3)[1]
    model = make(Coordinated, straight, encoders={s: exact_encoder(straight, [s]) for s in "abc"})
    q, exact = model.encode(batch, [*modalities]), straight.posterior(batch, modalities)
    close(q.mean, exact.mean)
    close(q.variance, exact.variance)


@pytest.mark.parametrize("modalities", ["ab", "c", "abc"])
def test_coordinateds_average_is_the_wasserstein_barycentre(world, batch, modalities):
    model = make(Coordinated, world, combine=average)
    q, each = model.encode(batch, [*modalities]), experts(model, batch, modalities)
    close(q.mean, sum(p.mean for p in each.values()) / len(each))
    close(q.stddev, sum(p.stddev for p in each.values()) / len(each))


# --------------------------------------------------------------------------- MoPoE: the mean over all choices: exact


SOME_SETS = [None, [("a",), ("b",), ("c",)], [("a", "b", "c")], [("a",), ("b", "c"), ("c", "a")]]


@plain_and_weighted
@pytest.mark.parametrize("prior", [False, True])
@pytest.mark.parametrize("sets", SOME_SETS, ids=["all", "singles", "whole", "some"])
def test_mopoes_loss_is_the_mean_over_its_sets(world, batch, options, prior, sets):
    model = make(MoPoE, world, sets=sets, prior=prior, **options)
    each, members = experts(model, batch), sets or SETS
    got = [expected(model, batch, pick=lambda row, options, j=j: options[j]) for j in range(len(members))]
    qs = [times([each[s] for s in S], prior) for S in members]
    M = len(members)
    naive = sum(minus_elbo(world, batch, q, "abc", {**options, "beta": 0.0}) for q in qs) / M
    naive = naive + options.get("beta", 1.0) * sum(prior_kl(world, batch, q) for q in qs) / M
    close(sum(g["loss"] for g in got) / M, naive)
    for s in "abc":
        close(sum(g[s] for g in got) / M, sum(cost(world, batch, q, s) for q in qs) / M)
    for g in got:  # the divergence is no draw
        close(g["kl"], sum(prior_kl(world, batch, q) for q in qs) / M)
    chosen = sorted(round(g["a"][0].item(), 9) for g in got)
    assert chosen == sorted(round(cost(world, batch, q, "a")[0].item(), 9) for q in qs)  # each of them once


def log_mixture(qs, z):
    return torch.stack([q.log_prob(z) for q in qs]).logsumexp(0) - math.log(len(qs))


@pytest.mark.parametrize("prior", [False, True])
@pytest.mark.parametrize("modalities", ["abc", "bc", "a"])
def test_mopoe_infers_from_all_by_the_mixture_and_from_some_by_their_product(world, batch, prior, modalities):
    model = make(MoPoE, world, prior=prior)
    each, z = experts(model, batch), torch.randn(6, 5, LATENT).double()
    qs = [times([each[s] for s in S], prior) for S in SETS if set(S) <= set(modalities)]
    product_of_given = times([each[s] for s in modalities], prior)
    for given in ((batch, [*modalities]), (only(batch, modalities),)):
        close(model.encode_mixture(*given).log_prob(z), log_mixture(qs, z))
        q = model.encode(*given)
        close(q.log_prob(z), log_mixture(qs, z) if modalities == "abc" else product_of_given.log_prob(z))
        if modalities != "abc":
            close(q.mean, product_of_given.mean)
            close(q.variance, product_of_given.variance)


def test_mopoe_goes_by_what_each_example_has(world, batch):
    model, z = make(MoPoE, world), torch.randn(6, 5, LATENT).double()
    masked = {**batch, "a_present": torch.tensor([True, False, True, True, False])}
    masked["c_present"] = torch.tensor([True, True, False, True, False])
    q = model.encode(masked).log_prob(z)
    for row, modalities in enumerate(["abc", "bc", "ab", "abc", "b"]):
        close(q[:, row], model.encode(batch, [*modalities]).log_prob(z)[:, row])


def test_mopoe_has_the_mixture_where_the_product_of_the_given_was_never_trained(world, batch):
    model, z = make(MoPoE, world, sets=["a", "b", ("a", "c")]), torch.randn(6, 5, LATENT).double()
    each = experts(model, batch)
    close(model.encode(batch, ["a", "b"]).log_prob(z), log_mixture([each["a"], each["b"]], z))
    close(model.encode(batch, ["a", "c"]).log_prob(z), times([each["a"], each["c"]], False).log_prob(z))


def test_mopoes_sets_are_named_and_not_counted(world, batch):
    """Whatever the order of the model's modalities, and of the names in a set."""
    plain = make(MoPoE, world, sets=[("a", "b"), ("c",)])
    z = torch.randn(6, 5, LATENT).double()
    for order in (["c", "a", "b"], ["b", "c", "a"]):
        other = make(MoPoE, world, encoders=plain.encoders, order=order, sets=[("c",), ("b", "a")])
        close(other.encode(batch).log_prob(z), plain.encode(batch).log_prob(z))
        close(other.encode(batch, ["b", "a"]).log_prob(z), plain.encode(batch, ["a", "b"]).log_prob(z))


def test_mopoe_with_one_set_and_the_prior_is_mvae_without_its_further_elbos(world, batch):
    mvae = make(MVAE, world, drawn=0, single=False, **OPTIONS)
    mopoe = make(MoPoE, world, encoders=mvae.encoders, sets=[[*"abc"]], prior=True, **OPTIONS)
    with noise(table_of(5)):
        a, b = mvae.terms(batch), mopoe.terms(batch)
    assert a.keys() == b.keys()
    for name in a:
        close(a[name], b[name])
    z = torch.randn(3, 5, LATENT).double()
    close(mvae.encode(batch).log_prob(z), mopoe.encode(batch).log_prob(z))


def test_mopoe_of_single_modalities_is_mmvaes_mixture(world, batch):
    mmvae = make(MMVAE, world)
    mopoe = make(MoPoE, world, encoders=mmvae.encoders, sets=["a", "b", "c"])
    z = torch.randn(3, 5, LATENT).double()
    for modalities in ("abc", "ac", "b"):
        log_q = mmvae.encode(batch, [*modalities]).log_prob(z)
        close(log_q, mopoe.encode(batch, [*modalities]).log_prob(z))
        close(log_q, log_mixture(experts(mmvae, batch, modalities).values(), z))


# ----------------------------------------------------------------------------------- mixtures: integrals and loops


def log_normal(x, mean, std):
    return -((x - mean) ** 2) / (2 * std**2) - math.log(std * math.sqrt(2 * math.pi))


@plain_and_weighted
def test_mmvaes_loss_with_k_1_is_the_elbo_of_the_mixture(options):
    """d = 1: by Gauss-Hermite nodes in the model, by a sum over a grid here."""
    world = skew_world(latent=1)
    batch = world.sample(3, seed=2)[1]
    model = make(MMVAE, world, **options)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    with noise(torch.tensor(nodes).repeat(3).view(1, -1, 1)):
        terms = model.terms(repeated(batch, 60))
    got = {name: (v.view(3, 60) * torch.tensor(weights / weights.sum())).sum(1) for name, v in terms.items()}
    z = torch.linspace(-12, 12, 24001, dtype=torch.float64)
    each = experts(model, batch)
    for b in range(3):
        log_qs = [log_normal(z, q.mean[b].item(), q.stddev[b].item()) for q in each.values()]
        q = sum(v.exp() for v in log_qs) / 3
        divergence = q.log() - log_normal(z, 0, 1)
        costs = {}
        for s, W in world.weights.items():
            costs[s] = -sum(log_normal(x, w * z, NOISE[s]) for x, w in zip(batch[s][b].tolist(), W[:, 0], strict=True))
        whole = sum(weight_of(options, s) * c for s, c in costs.items()) + options.get("beta", 1.0) * divergence
        step = z[1] - z[0]
        assert got["loss"][b].item() == pytest.approx(((q * whole).sum() * step).item(), abs=1e-7)
        assert got["kl"][b].item() == pytest.approx(((q * divergence).sum() * step).item(), abs=1e-7)
        for s in "abc":
            assert got[s][b].item() == pytest.approx(((q * costs[s]).sum() * step).item(), abs=1e-7)


class Recorder:
    """Writes down what is drawn."""

    def __init__(self, monkeypatch):
        self.rsamples, self.randns = [], []
        for holder, name, log in ((Normal, "rsample", self.rsamples), (torch, "randn", self.randns)):
            monkeypatch.setattr(holder, name, self.wrapped(getattr(holder, name), log))

    @staticmethod
    def wrapped(draw, log):
        def drawing(*args, **kwargs):
            log.append(draw(*args, **kwargs))
            return log[-1]

        return drawing


def log_of(means, stds, values):
    return sum(log_normal(v, m, s) for v, m, s in zip(values, means, stds, strict=True))


def log_mean_exp(values):
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values) / len(values))


@plain_and_weighted
@pytest.mark.parametrize("objective", ["iwae", "dreg"])
@pytest.mark.parametrize("modalities", ["abc", "ac"])
def test_mmvaes_loss_is_a_loop_over_the_same_draws(world, batch, options, objective, modalities, monkeypatch):
    model = make(MMVAE, world, k=3, objective=objective, **options)
    record = Recorder(monkeypatch)
    terms = model.terms(only(batch, modalities))
    (z,) = [x.tolist() for x in record.rsamples]
    each = {s: (q.mean.tolist(), q.stddev.tolist()) for s, q in experts(model, batch).items()}
    beta, costs, kls = options.get("beta", 1.0), {s: [0.0] * 5 for s in modalities}, [0.0] * 5
    for b in range(5):
        loss = 0.0
        for m in range(len(modalities)):
            log_w = []
            for k in range(3):
                latent = z[k][m][b]
                logs = [log_of(each[s][0][b], each[s][1][b], latent) for s in modalities]
                kl_z = log_mean_exp(logs) - log_of([0] * LATENT, [1] * LATENT, latent)
                value = -beta * kl_z
                for s in modalities:
                    means = [sum(w * c for w, c in zip(row, latent, strict=True)) for row in world.weights[s].tolist()]
                    log_p = log_of(means, [NOISE[s]] * SIZES[s], batch[s][b].tolist())
                    value += weight_of(options, s) * log_p
                    costs[s][b] -= log_p / 3 / len(modalities)
                log_w.append(value)
                kls[b] += kl_z / 3 / len(modalities)
            loss -= log_mean_exp(log_w) / len(modalities)
        assert terms["loss"][b].item() == pytest.approx(loss, abs=1e-9)
    close(terms["kl"], f64(kls), 1e-9)
    for s in modalities:
        close(terms[s], f64(costs[s]), 1e-9)


@plain_and_weighted
@pytest.mark.parametrize("modalities", ["abc", "ac", "b"])
def test_mmvaepluss_loss_is_a_loop_over_the_same_draws(world, batch, options, modalities, monkeypatch):
    K, private = 3, 2
    model = make(MMVAEPlus, world, k=K, private=private, **options)
    with torch.no_grad():
        for width in model.log_widths.values():
            width.normal_()
    record = Recorder(monkeypatch)
    terms = model.terms(only(batch, modalities))
    z, *ws = [x.tolist() for x in record.rsamples]
    others = [x.tolist() for x in record.randns]
    assert len(ws) == len(others) == len(modalities)
    beta, kls, styles, costs = options.get("beta", 1.0), [0.0] * 5, [0.0] * 5, {s: [0.0] * 5 for s in modalities}
    output = {s: model.encoders[s](batch[s]).tolist() for s in modalities}
    d, p = LATENT, private
    for b in range(5):
        loss = 0.0
        for m, of in enumerate(modalities):
            log_w = []
            for k in range(K):
                latent, own = z[k][m][b], ws[m][k][b]
                each = [output[s][b] for s in modalities]
                logs = [log_of(e[:d], [math.exp(v) for v in e[d : 2 * d]], latent) for e in each]
                kl_z = log_mean_exp(logs) - log_of([0] * d, [1] * d, latent)
                e = output[of][b]
                kl_w = log_of(e[2 * d : 2 * d + p], [math.exp(v) for v in e[2 * d + p :]], own)
                kl_w -= log_of([0] * p, [1] * p, own)
                value = -beta * (kl_z + kl_w)
                for i, s in enumerate(modalities):
                    widths = model.log_widths[s].exp().tolist()
                    w = own if i == m else [n * v for n, v in zip(others[i][k][m][b], widths, strict=True)]
                    mean = model.decoders[s](f64([latent + w]))[0].tolist()
                    log_p = log_of(mean, [NOISE[s]] * SIZES[s], batch[s][b].tolist())
                    value += weight_of(options, s) * log_p
                    costs[s][b] -= log_p / K / len(modalities)
                log_w.append(value)
                kls[b] += kl_z / K / len(modalities)
                styles[b] += kl_w / K / len(modalities)
            loss -= log_mean_exp(log_w) / len(modalities)
        assert terms["loss"][b].item() == pytest.approx(loss, abs=1e-9)
    close(terms["kl"], f64(kls), 1e-9)
    close(terms["private_kl"], f64(styles), 1e-9)
    for s in modalities:
        close(terms[s], f64(costs[s]), 1e-9)


# ----------------------------------------------------------------------------------------- importance weighting


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("objective", ["iwae", "dreg"])
def test_with_the_exact_posterior_the_bound_is_log_p_for_every_k(k, objective):
    world = straight_world(sizes={"a": 3})
    batch = world.sample(6, seed=3)[1]
    model = make(MMVAE, world, encoders={"a": exact_encoder(world, "a")}, k=k, objective=objective)
    close(model.terms(batch)["loss"], -world.log_prob(batch))


@pytest.mark.parametrize("k", [1, 3])
def test_with_the_exact_posterior_the_estimate_of_log_p_is_exact_for_every_k(straight, k):
    batch = straight.sample(5, seed=3)[1]
    model = make(MVAE, straight, encoders={s: exact_encoder(straight, [s], prior=False) for s in "abc"}, **OPTIONS)
    close(model.log_likelihood(batch, k=k), straight.log_prob(batch))
    close(model.log_likelihood(only(batch, "ab"), k=k), straight.log_prob(batch, ["a", "b"]))


def exactly(world, batch, model, tolerance, modalities=None, k=20000, known="abc"):
    got = model.log_likelihood(only(batch, known), k=k, modalities=modalities)
    assert (got - world.log_prob(batch, [*known])).abs().max() < tolerance


@pytest.mark.parametrize("name", ["Coordinated", "JMVAE", "TELBO", "MVAE", "MMVAE", "MoPoE", "MVTCAE"])
def test_the_estimate_of_log_p_comes_to_log_p(straight, name):
    """The tolerance is far above the error at this k, and far below the first bound's."""
    batch = straight.sample(4, seed=3)[1]
    encoders = {s: exact_encoder(straight, [s], prior=name != "MVAE") for s in "abc"}
    joint = {"joint": Joint(exact_encoder(straight, [*"abc"]), "abc")} if name in ("JMVAE", "TELBO") else {}
    model = model_of(name, straight, encoders=encoders, **joint, **OPTIONS)
    exactly(straight, batch, model, 0.04)
    exactly(straight, batch, model, 0.04, modalities=["a"])
    exactly(straight, batch, model, 0.04, modalities=["b", "c"])
    exactly(straight, batch, model, 0.04, known="ac")


def test_the_estimate_grows_towards_log_p_with_k_and_chunks_do_not_matter(straight):
    batch = repeated(straight.sample(4, seed=3)[1], 500)
    encoders = {s: exact_encoder(straight, [s]) for s in "abc"}
    model = make(MMVAE, straight, encoders=encoders)
    exact = straight.log_prob(batch)
    by_k = [model.log_likelihood(batch, k=k) - exact for k in (1, 3, 12)]
    for less, more in itertools.pairwise(by_k):
        error = math.hypot(less.std().item(), more.std().item()) / math.sqrt(2000)
        assert more.mean() - less.mean() > 5 * error
        assert more.mean() < 3 * more.std() / math.sqrt(2000)
    for chunk in (1, 2000, 4001, 10**6):
        again = model.log_likelihood(batch, k=12, chunk=chunk) - exact
        assert abs(again.mean() - by_k[2].mean()) < 5 * math.hypot(again.std(), by_k[2].std()) / math.sqrt(2000)


def test_chunks_of_the_estimate_hold_k_draws_in_all(straight, monkeypatch):
    model, batch = make(MVAE, straight), straight.sample(4, seed=3)[1]
    drawn, before = [], Normal.sample
    monkeypatch.setattr(Normal, "sample", lambda self, shape=(): drawn.append(shape[0]) or before(self, shape))
    for k, chunk, naive in ((7, 12, [3, 3, 1]), (6, 12, [3, 3]), (3, 1, [1, 1, 1]), (5, 100, [5])):
        drawn.clear()
        model.log_likelihood(batch, k=k, chunk=chunk)
        assert drawn == naive


def test_the_estimate_with_private_latents_comes_to_the_marginal_of_both_latents():
    """x = Wz + Vw + ε is a linear-Gaussian world too, whose modalities' noise is VVᵀ + σ²I."""
    world = straight_world(latent=1, sizes={"a": 2, "b": 3})
    batch = world.sample(4, seed=3)[1]
    model = make(MMVAEPlus, world, private=1)
    with torch.no_grad():
        for width in model.log_widths.values():
            width.fill_(0.8)  # of no use here
        for net in model.encoders.values():
            net.bias.copy_(f64([0, 0, 0.6, -0.2]))  # w is not inferred to be from its prior
            net.weight.mul_(0.1)
    columns = torch.cat([net.weight for net in model.decoders.values()]).detach()  # (5, 2): W and V
    W, V = columns[:, :1], columns[:, 1:].clone()
    styles = torch.block_diag(V[:2] @ V[:2].T, V[2:] @ V[2:].T)
    sigma = torch.cat([f64([NOISE["a"] ** 2] * 2), f64([NOISE["b"] ** 2] * 3)]).diag()
    covariance = W @ W.T + styles + sigma

    def exact(at):
        p = torch.distributions.MultivariateNormal(torch.zeros(len(at)).double(), covariance[at][:, at])
        return p.log_prob(torch.cat([batch["a"], batch["b"]], 1)[:, at])

    both, a, b = list(range(5)), [0, 1], [2, 3, 4]
    close(model.log_likelihood(batch, k=40000), exact(both), 0.06)
    close(model.log_likelihood(batch, k=40000, modalities=["a"]), exact(both), 0.06)
    close(model.log_likelihood(only(batch, "b"), k=40000), exact(b), 0.06)
    masks = {"b_present": torch.tensor([True, False, True, False])}
    got = model.log_likelihood({**batch, **masks}, k=40000)
    close(got, torch.where(masks["b_present"], exact(both), exact(a)), 0.06)


@pytest.mark.parametrize("cls", [MMVAE, MMVAEPlus])
def test_the_loss_falls_with_k_in_the_mean(straight, cls):
    batch = repeated(straight.sample(4, seed=3)[1], 500)
    encoders = {} if cls is MMVAEPlus else {s: exact_encoder(straight, [s]) for s in "abc"}
    model = make(cls, straight, encoders=encoders)
    by_k = []
    for k in (1, 3, 12):
        model.k = k
        by_k.append(model.terms(batch)["loss"].detach())
    for less, more in itertools.pairwise(by_k):
        error = math.hypot(less.std().item(), more.std().item()) / math.sqrt(2000)
        assert less.mean() - more.mean() > 5 * error
    if cls is MMVAE:
        assert (by_k[-1] + straight.log_prob(batch)).mean() > 0  # a bound, still


def gradients(model, batch, draws):
    """The gradients of many losses of the same batch, (draws, numbers), for encoders and for decoders."""
    out = {}
    for part in ("encoders", "decoders"):
        out[part] = []
    for _ in range(draws):
        model.zero_grad()
        model.loss(batch)["loss"].backward()
        for part in out:
            out[part].append(torch.cat([p.grad.flatten() for p in getattr(model, part).parameters()]))
    return {part: torch.stack(values) for part, values in out.items()}


def agree(left, right, sigmas=5.0):
    """Means of two sets of draws within standard errors, number by number."""
    error = (left.var(0) / len(left) + right.var(0) / len(right)).sqrt() + 1e-12
    return ((left.mean(0) - right.mean(0)).abs() / error).max() < sigmas


def both_objectives(modalities, k=3, beta=1.0, draws=60, times=300):
    """Gradients of IWAE and of DReG for the same networks, many times, in a batch of many copies of two examples."""
    small = skew_world(sizes={s: SIZES[s] for s in modalities})
    batch = repeated(small.sample(2, seed=4)[1], times)
    iwae = make(MMVAE, small, k=k, beta=beta)
    dreg = make(MMVAE, small, encoders=iwae.encoders, decoders=iwae.decoders, k=k, beta=beta, objective="dreg")
    return gradients(iwae, batch, draws), gradients(dreg, batch, draws)


def noise_of(draws):
    """How far from its mean a gradient is, squared."""
    return draws.var(0).sum()


def test_dregs_gradient_is_iwaes_in_the_mean_and_less_noisy_for_the_encoder():
    iwae, dreg = both_objectives("a")
    assert agree(iwae["encoders"], dreg["encoders"])
    assert agree(iwae["decoders"], dreg["decoders"])
    assert noise_of(dreg["encoders"]) < 0.9 * noise_of(iwae["encoders"])
    size = iwae["encoders"].mean(0).norm()  # or agreement would say nothing
    assert (noise_of(iwae["encoders"]) / 60).sqrt() < 0.05 * size


@pytest.mark.parametrize("beta", [0.5, 2.5])
def test_with_another_beta_dregs_gradient_is_iwaes_in_the_mean(beta):
    iwae, dreg = both_objectives("a", beta=beta)
    assert agree(iwae["encoders"], dreg["encoders"])


@pytest.mark.parametrize("beta", [1.0, 1.7])
@pytest.mark.parametrize("modalities", ["a", "abc"])
def test_with_k_1_dregs_gradient_is_iwaes_in_the_mean(modalities, beta):
    iwae, dreg = both_objectives(modalities, k=1, beta=beta, draws=40)
    for part in ("encoders", "decoders"):
        assert agree(iwae[part], dreg[part])


def test_of_several_experts_dregs_gradient_is_iwaes_for_decoders_and_near_it_for_encoders():
    """Doubly reparametrised is a draw from q; here the draws are from experts, and q is their mixture. By 2 % off."""
    iwae, dreg = both_objectives("ab", k=5)
    assert agree(iwae["decoders"], dreg["decoders"])
    assert not agree(iwae["encoders"], dreg["encoders"])
    left, right = iwae["encoders"].mean(0), dreg["encoders"].mean(0)
    assert (left - right).norm() < 0.05 * left.norm()


@pytest.mark.parametrize("modalities", ["a", "abc"])
def test_the_value_of_dreg_is_that_of_iwae(world, batch, modalities):
    iwae = make(MMVAE, world, k=3, **OPTIONS)
    dreg = make(MMVAE, world, encoders=iwae.encoders, k=3, objective="dreg", **OPTIONS)
    given = only(batch, modalities)
    with noise(table_of(5)):
        a, b = iwae.terms(given), dreg.terms(given)
        with torch.no_grad():
            c = dreg.terms(given)
    assert a.keys() == b.keys()
    for name in a:
        close(a[name], b[name])
        close(a[name], c[name])


def test_dregs_gradient_is_the_formula(world, batch):
    """Σₖ w̃ₖ² ∂log wₖ/∂zₖ ∂zₖ/∂φ for encoders, q itself held fast, and Σₖ w̃ₖ ∂log wₖ/∂θ for decoders; in a loop."""
    decoders = {s: linear(torch.randn(D, LATENT), torch.randn(D)) for s, D in SIZES.items()}
    model = make(MMVAE, world, decoders=decoders, k=3, objective="dreg", weights=WEIGHTS)
    with noise(table_of(5)):
        model.loss(batch)["loss"].backward()
    params = dict(model.named_parameters())
    naive = {name: torch.zeros_like(p) for name, p in params.items()}
    table, each = table_of(5), experts(model, batch)
    fixed = {s: Independent(Normal(q.mean.detach(), q.stddev.detach()), 1) for s, q in each.items()}
    for q in each.values():
        zs, log_w = [], []
        for k in range(3):
            z = q.mean + q.stddev * table[k, :, :LATENT]
            value = log_normal(z, 0, 1).sum(1) - log_mixture(list(fixed.values()), z)
            for s in "abc":
                error = log_normal(batch[s], decoders[s](z), NOISE[s]).sum(1)
                value = value + weight_of(OPTIONS, s) * error
            zs.append(z)
            log_w.append(value)
        share = torch.stack(log_w).detach().softmax(0)
        for k in range(3):
            objective = -(share[k] * log_w[k]).sum() / 5 / 3
            slope = torch.autograd.grad(objective, zs[k], retain_graph=True)[0]
            for name, p in params.items():
                if name.startswith("decoders"):
                    naive[name] += torch.autograd.grad(objective, p, retain_graph=True)[0]
                else:
                    through = (zs[k] * (share[k][:, None] * slope).detach()).sum()
                    more = torch.autograd.grad(through, p, retain_graph=True, allow_unused=True)[0]
                    naive[name] += 0 if more is None else more
    for name, p in params.items():
        close(p.grad, naive[name], 1e-10)


def test_iwaes_gradient_is_that_of_the_value(world, batch):
    """By finite differences, with the draws held fast."""
    model = make(MMVAE, world, k=3, **OPTIONS)
    with noise(table_of(5)):
        model.loss(batch)["loss"].backward()
        for p in model.parameters():
            way = torch.randn_like(p)
            ends = []
            for step in (1e-5, -1e-5):
                with torch.no_grad():
                    p.add_(step * way)
                    ends.append(model.loss(batch)["loss"].item())
                    p.sub_(step * way)
            assert (p.grad * way).sum().item() == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-6)


# --------------------------------------------------------------------------------------------------- what is generated


def test_what_is_generated_has_the_law_of_the_world(straight):
    """Means of a decoder are W z: from the prior N(0, W Wᵀ), from modalities N(W m, W P⁻¹ Wᵀ)."""
    model = make(MVAE, straight, encoders={s: exact_encoder(straight, [s], prior=False) for s in "abc"})
    n = 20000
    generated = model.generate(n=n)["a"]
    W = straight.weights["a"]
    close(generated.mean(0), torch.zeros(3).double(), 5 * generated.std(0).max().item() / math.sqrt(n))
    close(generated.T.cov(), W @ W.T, 0.06)
    batch = straight.sample(2, seed=3)[1]
    generated = model.generate(only(batch, "bc"), ["a"], n=n)["a"]
    exact = straight.predict(batch, "a", ["b", "c"])
    close(generated.mean(0), exact.mean, 5 * generated.std(0).max().item() / math.sqrt(n))
    for b in range(2):
        seen = exact.covariance_matrix[b] - NOISE["a"] ** 2 * torch.eye(3)
        close(generated[:, b].T.cov(), seen, 0.05)


def test_what_is_generated_from_a_mixture_comes_from_all_its_experts(straight):
    far = {"a": linear(torch.zeros(4, 3), f64([50, 50, -3, -3])), "b": linear(torch.zeros(4, 4), f64([0, 0, -3, -3])),
           "c": linear(torch.zeros(4, 2), f64([-50, -50, -3, -3]))}  # fmt: skip
    decoders = {s: linear(torch.ones(D, 2) / 2, torch.zeros(D)) for s, D in SIZES.items()}
    model = make(MMVAE, straight, encoders=far, decoders=decoders)
    batch = straight.sample(3, seed=3)[1]
    generated = model.generate(batch, ["a"], n=900)["a"][..., 0]  # (900, 3)
    for b in range(3):
        for place in (-50, 0, 50):
            share = ((generated[:, b] - place).abs() < 5).double().mean()
            assert abs(share - 1 / 3) < 5 * math.sqrt(2 / 9 / 900)
    two = model.generate(only(batch, "ac"), ["a"], n=300)["a"][..., 0]
    assert ((two.abs() - 50).abs() < 5).all()


def private_world(straight):
    """MMVAE+ whose decoders show w in the first number and z in the second."""
    show = linear(f64([[0, 0, 1], [1, 0, 0]]), torch.zeros(2))
    model = make(MMVAEPlus, straight, decoders={"c": show})
    with torch.no_grad():
        model.log_widths["c"].fill_(math.log(3))
    return model


def test_private_latents_are_given_or_drawn(straight):
    model = private_world(straight)
    z, w = torch.randn(4, LATENT).double(), torch.randn(4, PRIVATE).double()
    generated = model.decode(z, ["c"], {"c": w, "a": w})["c"].mean
    close(generated, torch.stack([w[:, 0], z[:, 0]], 1))
    drawn = model.decode(torch.zeros(20000, LATENT).double(), ["c"])["c"].mean
    assert drawn[:, 0].std() > 0.5
    assert not drawn[:, 1].any()
    batch = straight.sample(3, seed=3)[1]
    style, output = model.encode_private(batch, ["c"])["c"], model.encoders["c"](batch["c"])
    close(style.mean, output[:, 4:5])
    close(style.stddev, output[:, 5:6].exp())
    assert list(model.encode_private(batch)) == ["a", "b", "c"]


def test_private_latents_that_are_drawn_are_from_their_prior(straight):
    drawn = private_world(straight).generate(to=["c"], n=20000)["c"][:, 0]
    assert abs(drawn.std() - 1) < 0.05


def test_a_likelihood_of_another_scale_is_another_density(world, batch):
    """So that no test above could pass by a likelihood that is not used."""
    model = make(MVAE, world, drawn=0, single=False)
    before = expected(model, batch)["a"]
    model.likelihoods["a"] = gaussian(5.0)
    assert (expected(model, batch)["a"] - before).abs().min() > 0.1


def test_a_decoder_that_is_no_matrix_is_run_on_every_z(world, batch):
    """Decoders are called with (N, d) alone, however many axes z has."""
    seen = []

    class Seeing(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, z):
            seen.append(z.shape)
            return self.net(z)

    plain = make(MMVAE, world, k=3)
    model = make(MMVAE, world, k=3, encoders=plain.encoders, decoders={s: Seeing(n) for s, n in plain.decoders.items()})
    with noise(table_of(5)):
        close(model.terms(batch)["loss"], plain.terms(batch)["loss"])
    assert seen == [(3 * 3 * 5, LATENT)] * 3
