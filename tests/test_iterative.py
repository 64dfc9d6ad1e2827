"""Iterative inference against what is known: a linear-Gaussian world, the loss written out, differences; float64.

In the skew world the numbers of z depend on each other given x. In the straight one they do not, so that a linear
encoder with independent numbers can be exact.
"""

import copy
import io
import itertools
import math
import pickle
import weakref
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Independent, MultivariateNormal, Normal

from mmtutor import vae
from mmtutor.iterative import (
    Distillation,
    Elbo,
    FromModality,
    FromPrior,
    GradientAscent,
    IterativeVAE,
    Refiner,
    Students,
    amortisation_gap,
    divergence,
    forward_kl,
    naive_product,
    posterior,
    product_of_students,
    refine,
    refinements,
    reverse_kl,
)
from mmtutor.lineargaussian import LinearGaussian

SIZES, NOISE = {"a": 3, "b": 4, "c": 2}, {"a": 0.7, "b": 1.1, "c": 0.9}
WEIGHTS, BETA = {"b": 2.0, "c": 0.5}, 0.7  # of `teacher`
SETS = [s for n in (1, 2, 3) for s in itertools.combinations("abc", n)]
both_ways = pytest.mark.parametrize("one_pass", [True, False], ids=["one pass", "textbook"])
inf, nan = math.inf, math.nan


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def world():
    return LinearGaussian.random(SIZES, 2, NOISE, seed=11)


@pytest.fixture(scope="module")
def straight():
    dice, weights = torch.Generator().manual_seed(5), {}
    for s, D in SIZES.items():
        Q = torch.linalg.qr(torch.randn(D, 2, generator=dice, dtype=torch.float64))[0]
        weights[s] = Q * (0.5 + torch.rand(2, generator=dice, dtype=torch.float64))
    return LinearGaussian(weights, NOISE)


@pytest.fixture(scope="module")
def batch(world):
    return world.sample(6, seed=2)[1]


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


def close(got, expected, tolerance=1e-11):
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    assert (got - expected).abs().max() < tolerance


def same(p, q, tolerance=1e-11):
    """Two normal distributions."""
    close(p.mean, q.mean, tolerance)
    close(p.stddev, q.stddev, tolerance)


def some(*shape, seed=4, size=0.7):
    return size * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rows(batch, index):
    return {name: x[index] for name, x in batch.items()}


def gaussian(scale):
    return lambda mean: Independent(Normal(mean, scale, validate_args=False), 1, validate_args=False)


class World(nn.Module):
    """The bound of a linear-Gaussian world in closed form, as a module."""

    posterior = staticmethod(posterior)  # what λ means

    def __init__(self, world):
        super().__init__()
        self.world = world

    def forward(self, lam, batch):
        return {"all": self.world.elbo({s: batch[s] for s in SIZES}, posterior(lam))}


def bound(world, batch):
    return lambda lam: World(world)(lam, batch)


class Beside(nn.Module):
    """A network of all modalities side by side."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, batch):
        return self.net(torch.cat([batch[s] for s in SIZES], 1))


def teacher(start="joint", features=False, linear=False, seed=0, steps=2, **options):
    """A small teacher whose parameters are all random, so that no gradient is 0 by chance."""
    torch.manual_seed(seed)
    starts = {
        "joint": lambda: Beside(nn.Linear(9, 4)),
        "modality": lambda: FromModality("b", nn.Linear(4, 4)),
        "prior": lambda: FromPrior(2),
    }
    decoders = {
        s: nn.Linear(2, D) if linear else nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, D))
        for s, D in SIZES.items()
    }
    elbo = Elbo(decoders, {s: gaussian(NOISE[s]) for s in SIZES}, WEIGHTS, BETA)
    inputs = ["lam", "unit", "norms", "gradient"] + ["features"] * features
    refiner = Refiner(2, inputs, (6,), features=3 * features)
    read_by_refiner = Beside(nn.Linear(9, 3)) if features else None
    model = IterativeVAE(starts[start](), elbo, refiner, steps, features=read_by_refiner, **options).double()
    with torch.no_grad():
        for p in refiner.net.parameters():
            p.normal_(0, 0.2)
    return model


@contextmanager
def draws(*tables):
    """The standard normal numbers that `rsample` takes: at each call the first rows of the next table."""
    before, order = Normal.rsample, itertools.cycle(tables)

    def rsample(self, sample_shape=()):
        return self.loc + self.scale * next(order)[: len(self.loc)]

    Normal.rsample = rsample
    try:
        yield
    finally:
        Normal.rsample = before


def minimise(model, batch, parameters=None, rounds=200):
    """L-BFGS on the loss of one batch."""
    parameters = list(parameters or model.parameters())
    optimiser = torch.optim.LBFGS(
        parameters, max_iter=rounds, tolerance_grad=1e-12, tolerance_change=1e-18, line_search_fn="strong_wolfe"
    )

    def closure():
        optimiser.zero_grad()
        loss = model.loss(batch)["loss"]
        loss.backward()
        return loss

    optimiser.step(closure)


# --------------------------------------------------------------------------------- refinement in a world that is known


def test_the_bound_misses_the_divergence_from_the_exact_posterior_by_which_it_shrinks(world, batch):
    """log p(x) − ELBO = KL(q ‖ p(z|x)) at each λ_t, the KL from covariances; small steps never raise it."""
    exact, C = world.posterior(batch), torch.linalg.inv(world.precision())
    path = list(refinements(some(6, 4), bound(world, batch), GradientAscent(0.02), 30))
    gaps = []
    for lam in path:
        q, S = posterior(lam), posterior(lam).variance.diag_embed()
        apart = (q.mean - exact.mean).unsqueeze(2)
        expected = torch.stack([
            (torch.trace(P @ S[i]) + (apart[i].T @ P @ apart[i])[0, 0] - 2 + C.logdet() - S[i].logdet()) / 2
            for i, P in enumerate([torch.linalg.inv(C)] * 6)
        ])  # fmt: skip
        gaps.append(world.log_prob(batch) - bound(world, batch)(lam)["all"])
        close(gaps[-1], expected, 1e-10)
    assert all((later < before).all() for before, later in itertools.pairwise(gaps))


def test_gradient_ascent_on_a_full_covariance_finds_the_exact_posterior():
    """λ is the mean and L of C = LLᵀ, its diagonal as logarithms: `refine` does not ask what λ means."""
    world = LinearGaussian.random(SIZES, 3, NOISE, seed=1)
    batch, below = world.sample(5, seed=2)[1], torch.tril_indices(3, 3, -1)

    def q(lam):
        L = lam.new_zeros(len(lam), 3, 3)
        L[:, below[0], below[1]] = lam[:, 6:]
        return MultivariateNormal(lam[:, :3], scale_tril=L + lam[:, 3:6].exp().diag_embed())

    lam = refine(some(5, 9), lambda lam: {"all": world.elbo(batch, q(lam))}, GradientAscent(0.15), 200)
    close(q(lam).mean, world.posterior(batch).mean, 1e-10)
    close(q(lam).covariance_matrix, world.posterior(batch).covariance_matrix, 1e-10)
    assert world.gap(batch, q(lam)).abs().max() < 1e-10


def test_gradient_ascent_on_independent_numbers_finds_the_mean_field_optimum(world, batch):
    lam = refine(some(6, 4), bound(world, batch), GradientAscent(0.12), 150)
    same(posterior(lam), world.mean_field(batch), 1e-10)
    assert world.mean_field_floor() > 0.1
    close(world.gap(batch, posterior(lam)), f64([world.mean_field_floor()] * 6), 1e-10)


def test_a_newton_step_finds_the_mean_at_once(world, batch):
    def newton(lam, gradient):
        step = torch.linalg.solve(world.precision(), gradient[:, :2], left=False)
        return lam + torch.cat([step, torch.zeros_like(step)], 1)

    start = some(6, 4)
    end = refine(start, bound(world, batch), newton, 1)
    close(end[:, :2], world.posterior(batch).mean, 1e-12)
    assert torch.equal(end[:, 2:], start[:, 2:])


@both_ways
def test_a_learned_linear_refiner_is_newtons_step(world, one_pass):
    """Trained with one step from the prior: from the gradient to the mean it learns P⁻¹, and −½ log P_jj for log σ.

    At the start ∂ELBO/∂log σ is the same for each x, so the bias has a part of what it weighs; both together are 0.
    """
    batch, P = world.sample(40, seed=1)[1], world.precision()
    refiner = Refiner(2, inputs=("gradient",), hidden=(), step=0)
    model = IterativeVAE(FromPrior(2), World(world), refiner, 1, over="last", one_pass=one_pass).double()
    minimise(model, batch)
    learned = refiner.net[0]
    close(learned.weight[:2, :2], torch.linalg.inv(P), 1e-6)
    constant = torch.cat([torch.zeros(2).double(), 1 - P.diagonal()])
    rest = learned.weight.clone()
    rest[:, :2] = 0
    close(rest @ constant + learned.bias, torch.cat([torch.zeros(2).double(), -P.diagonal().log() / 2]), 1e-6)
    assert learned.weight[2:, :2].abs().max() < 1e-6  # the width does not depend on x
    other = world.sample(20, seed=9)[1]
    same(model.encode(other), world.mean_field(other), 1e-5)
    close(world.gap(other, model.encode(other)), f64([world.mean_field_floor()] * 20), 1e-10)


def test_no_step_gives_the_start_back(world, batch):
    start = some(6, 4)
    assert torch.equal(refine(start, bound(world, batch), GradientAscent(), 0), start)
    model = teacher(steps=0)
    same(model.encode(batch), posterior(model.start(batch)), 1e-15)
    same(teacher(steps=3).encode(batch, steps=0), posterior(teacher().start(batch)), 1e-15)


def test_the_path_ends_where_refine_does(world, batch):
    start, refiner = some(6, 4), GradientAscent(0.05)
    path = list(refinements(start, bound(world, batch), refiner, 5))
    assert len(path) == 6
    for t, lam in enumerate(path):
        assert torch.equal(refine(start, bound(world, batch), refiner, t), lam)
    by_hand = start.clone().requires_grad_()
    (g,) = torch.autograd.grad(bound(world, batch)(by_hand)["all"].sum(), by_hand)
    close(path[1], start + 0.05 * g, 1e-15)


def test_what_is_refined_has_no_graph(world, batch):
    start, refiner = some(6, 4).requires_grad_(), Refiner(2).double()
    model = teacher(features=True)
    path = list(refinements(start, bound(world, batch), refiner, 3))
    for lam in (refine(start, bound(world, batch), refiner, 3), *path, *model.refinements(batch), model.bounds(batch)):
        assert lam.grad_fn is None
    q = model.encode(batch)
    assert not any(x.requires_grad for x in (q.mean, q.stddev, model.bounds(batch), path[-1]))
    assert start.grad is None
    assert start.requires_grad
    assert all(p.grad is None for m in (refiner, model) for p in m.parameters())


def test_a_path_that_is_kept_does_not_require_gradients(world, batch):
    for refiner in (GradientAscent(), lambda lam, gradient: lam):
        assert not any(lam.requires_grad for lam in list(refinements(some(6, 4), bound(world, batch), refiner, 3)))


def test_under_no_grad_the_same_is_found(world, batch):
    start, model = some(6, 4), teacher()
    with torch.no_grad():
        inside = refine(start, bound(world, batch), GradientAscent(), 3)
        with draws(some(6, 2)):
            q = model.encode(batch)
    assert torch.equal(inside, refine(start, bound(world, batch), GradientAscent(), 3))
    with draws(some(6, 2)):
        same(q, model.encode(batch), 1e-15)


def test_nothing_of_earlier_steps_is_kept(world, batch):
    """The number of λ that are alive when the bound is asked for is the same at step 2 and at step 20."""
    given, counts = [], []

    def elbo(lam):
        given.append(weakref.ref(lam))
        counts.append(sum(x() is not None for x in given))
        return {"all": world.elbo(batch, posterior(lam))}

    refine(some(6, 4), elbo, lambda lam, g: lam + 0.01 * g, 20)
    assert len(counts) == 20
    assert len(set(counts[2:])) == 1


def test_random_numbers_are_drawn_only_where_the_bound_draws(world, batch):
    before = torch.get_rng_state()
    refine(some(6, 4), bound(world, batch), GradientAscent(), 3)
    amortisation_gap(some(6, 4), bound(world, batch), 3)
    model = IterativeVAE(FromPrior(2), World(world), GradientAscent(), 3)
    model.encode(batch)
    model.bounds(batch)
    model.loss(batch)
    assert torch.equal(before, torch.get_rng_state())
    drawing = teacher(steps=3)
    for call, times in ((drawing.loss, 4), (drawing.encode, 3), (lambda b: drawing.encode(b, 5), 5)):
        torch.manual_seed(1)
        call(batch)
        after = torch.get_rng_state()
        torch.manual_seed(1)
        for _ in range(times):
            torch.randn(6, 2, dtype=torch.float64)
        assert torch.equal(after, torch.get_rng_state())


def test_an_example_does_not_depend_on_the_others(world, batch):
    """Each row alone, and all in another order, through refinement, encoding, bounds and the gap."""
    start, model = some(6, 4), teacher(features=True)
    model.elbo, order = World(world), torch.tensor([4, 0, 5, 2, 1, 3])
    refiner = model.refiner
    calls = [
        lambda i: refine(start[i], bound(world, rows(batch, i)), lambda lam, g: refiner(lam, g, some(6, 3)[i]), 4),
        lambda i: refine(start[i], bound(world, rows(batch, i)), GradientAscent(unit=True), 4),
        lambda i: model.encode(rows(batch, i)).mean,
        lambda i: model.encode(rows(batch, i)).stddev,
        lambda i: model.bounds(rows(batch, i)).T,
        lambda i: amortisation_gap(start[i], bound(world, rows(batch, i)), 20),
    ]
    for call in calls:
        whole = call(torch.arange(6))
        close(call(order), whole[order], 1e-12)
        close(torch.cat([call(torch.tensor([i])) for i in range(6)]), whole, 1e-12)


def test_the_loss_is_the_mean_over_examples(world, batch):
    """Of the batch, and of its halves: values and gradients."""
    model = teacher(features=True)
    model.elbo = World(world)
    whole, *halves = (model.loss(rows(batch, i)) for i in (slice(6), slice(2), slice(2, 6)))
    parameters = [p for p in model.parameters() if p.requires_grad]
    slopes = [torch.autograd.grad(out["loss"], parameters) for out in (whole, *halves)]
    for name in whole:
        close(whole[name], halves[0][name] / 3 + halves[1][name] * 2 / 3, 1e-12)
    for all_six, two, four in zip(*slopes, strict=True):
        close(all_six, two / 3 + four * 2 / 3, 1e-12)


def test_bounds_are_those_of_each_step(world, batch):
    model = teacher(steps=2, features=True)
    model.elbo = World(world)
    for steps in (None, 0, 1, 5):
        got = model.bounds(batch, steps)
        path = list(model.refinements(batch, steps))
        assert len(path) == (3 if steps is None else steps + 1)
        close(got, torch.stack([world.elbo(batch, posterior(lam)) for lam in path]), 1e-12)
        same(model.encode(batch, steps), posterior(path[-1]), 1e-15)


def test_more_steps_than_trained_are_those_of_the_refiner(world, batch):
    model = teacher(steps=2, features=True)
    model.elbo = World(world)
    with torch.no_grad():
        features = model.features(batch)
    lam = refine(model.start(batch), bound(world, batch), lambda lam, g: model.refiner(lam, g, features), 6)
    same(model.encode(batch, 6), posterior(lam), 1e-15)
    close(model.infer(batch, 6), lam, 1e-15)
    assert not model.infer(batch).requires_grad
    assert (model.encode(batch).mean - model.encode(batch, 6).mean).abs().max() > 1e-3


# ---------------------------------------------------------------------------------------------------------- the gap


def test_the_amortisation_gap_is_what_lies_above_the_mean_field_floor(world, batch):
    """KL(q ‖ p(z|x)) less its smallest value; what Adam finds lies below it by less than 1e-5 nats."""
    best = world.mean_field(batch)
    lam = torch.cat([best.mean, best.stddev.log()], 1) + some(6, 4, size=0.3)
    exact = world.gap(batch, posterior(lam)) - world.mean_field_floor()
    assert exact.min() > 0.01
    found = amortisation_gap(lam, bound(world, batch), 150, 0.05, draws=2)
    assert (found <= exact + 1e-12).all()
    assert (found > exact - 1e-5).all()
    assert found.grad_fn is None
    assert (amortisation_gap(lam, bound(world, batch), 5, 0.02) < found - 1e-3).all()  # 5 steps of 0.02 do not arrive


def test_at_the_optimum_the_gap_is_nothing(world, batch):
    q = world.mean_field(batch)
    gap = amortisation_gap(torch.cat([q.mean, q.stddev.log()], 1), bound(world, batch), 50)
    assert gap.abs().max() < 1e-4  # Adam goes away a little: it divides rounding errors by their size


def test_the_gap_is_found_by_adam_with_smaller_and_smaller_steps():
    """Four steps written out, whose sizes fall by a cosine from 0.05 to 0."""
    target, lam, T = some(3, 4, seed=5), some(3, 4), 4

    def elbo(lam):
        return {"x": -(lam - target).square().sum(1)}

    best, first, second = lam.clone(), torch.zeros(3, 4).double(), torch.zeros(3, 4).double()
    for t in range(T):
        slope = 2 * (best - target)
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        step = (first / (1 - 0.9 ** (t + 1))) / ((second / (1 - 0.999 ** (t + 1))).sqrt() + 1e-8)
        best = best - 0.05 * (1 + math.cos(math.pi * t / T)) / 2 * step
    close(amortisation_gap(lam, elbo, T, 0.05), elbo(best)["x"] - elbo(lam)["x"], 1e-12)


def test_the_gap_leaves_lam_and_the_networks_alone(batch):
    model, lam = teacher(), some(6, 4).requires_grad_()
    before = lam.detach().clone()
    amortisation_gap(lam, lambda lam: model.elbo(lam, batch), 3, draws=2)
    assert torch.equal(lam, before)
    assert lam.grad is None
    assert all(p.grad is None for p in model.parameters())


def test_both_ends_of_the_gap_are_means_over_draws():
    """A bound that adds 1 to the second example at each call and does not depend on λ: the ends are 5 calls apart."""
    calls = itertools.count()
    gap = amortisation_gap(
        torch.zeros(2, 2), lambda lam: {"x": 0 * lam.sum(1) + next(calls) * f64([0, 1])}, steps=3, draws=5
    )
    assert gap.tolist() == [0, 5]
    assert next(calls) == 3 + 2 * 5


# ------------------------------------------------------------------------------------------------------- the refiners


def test_gradient_ascent_by_hand():
    lam, g = f64([[1, 2, 3, 4]]), f64([[3, 4, 0, -2]])
    close(GradientAscent(0.5)(lam, g), f64([[2.5, 4, 3, 3]]))
    r, s = math.sqrt(12.5), math.sqrt(2)
    close(GradientAscent(0.5, unit=True)(lam, g), f64([[1 + 1.5 / r, 2 + 2 / r, 3, 4 - 1 / s]]))


def test_an_untrained_refiner_walks_along_the_unit_gradient():
    """λ + 0.1 ĝ, where each half of ĝ has root mean square 1, and log σ stays between −4.5 and 1.5."""
    refiner, lam, g = Refiner(3).double(), some(5, 6), some(5, 6, seed=5) * 10.0 ** torch.arange(-2, 3)[:, None]
    lam[:, 3:] *= 0.3
    step = (refiner(lam, g) - lam) / 0.1
    close(step.view(5, 2, 3).square().mean(2), torch.ones(5, 2).double(), 1e-7)  # 0.1 is stored in single precision
    for i, half in itertools.product(range(5), (slice(0, 3), slice(3, 6))):
        close(step[i, half] * g[i, half].norm() / math.sqrt(3), g[i, half], 1e-7 * g[i].norm())
    outside = torch.cat([lam[:, :3] * 100, f64([-4.45, 1.45, 0]).expand(5, 3)], 1)
    far = refiner(outside, torch.cat([g[:, :3], f64([-1, 1, 0]).expand(5, 3)], 1))
    close(far[:, 3:], f64([-4.5, 1.5, 0]).expand(5, 3))
    assert far[:, :3].abs().max() > 30  # the mean is free
    low = refiner(torch.full((1, 6), -9.0).double(), g[:1])
    assert (low[:, 3:] == -4.5).all()


def test_a_refiner_written_out():
    """λ + η ĝ + W₂ silu(W₁ [g, features, norms, λ, ĝ] + b₁) + b₂, inputs in the order they are asked for."""
    refiner = Refiner(2, ("gradient", "features", "norms", "lam", "unit"), (7,), 0.3, features=3).double()
    with torch.no_grad():
        for p in refiner.net.parameters():
            p.normal_(0, 0.2)
    lam, g, x = some(5, 4), some(5, 4, seed=5), some(5, 3, seed=6)
    W1, b1, W2, b2 = refiner.net.parameters()
    expected = []
    for i in range(5):
        rms = [math.sqrt((g[i, 0] ** 2 + g[i, 1] ** 2) / 2), math.sqrt((g[i, 2] ** 2 + g[i, 3] ** 2) / 2)]
        unit = g[i] / f64([rms[0], rms[0], rms[1], rms[1]])
        a = W1 @ torch.cat([g[i], x[i], f64([math.log(r) for r in rms]), lam[i], unit]) + b1
        expected.append(lam[i] + refiner.step * unit + W2 @ (a / (1 + (-a).exp())) + b2)
    close(refiner(lam, g, x), torch.stack(expected))
    assert refiner.step.item() == pytest.approx(0.3)


@pytest.mark.parametrize("step", [0, 0.1])
def test_hidden_layers_and_step_of_a_refiner(step):
    shapes = [tuple(p.shape) for p in Refiner(2, ("lam", "norms"), (5, 3), step).parameters()]
    assert shapes == [()] * (step > 0) + [(5, 6), (5,), (3, 5), (3,), (4, 3), (4,)]
    linear = Refiner(2, ("gradient",), (), step)
    assert isinstance(linear.net, nn.Sequential)
    assert [type(m) for m in linear.net] == [nn.Linear]
    lam = torch.zeros(3, 4)
    assert torch.equal(linear(lam, torch.ones(3, 4)), torch.full((3, 4), float(step)))  # f begins at 0


def test_a_gradient_of_0_moves_nothing_and_is_no_trouble():
    """Of the whole, of one half or of one number: λ stays there, norms end at log 1e-8, slopes are finite."""
    refiner, lam = Refiner(2, ("lam", "unit", "norms", "gradient"), (6,)).double(), some(4, 4).requires_grad_()
    g = f64([[0, 0, 0, 0], [0, 0, 1, 2], [1, 2, 0, 0], [0, 3, 0, -3]])
    moved = refiner(lam, g) - lam
    assert ((moved == 0) == (g == 0)).all()
    nn.init.normal_(refiner.net[-1].weight)
    refiner(lam, g).square().sum().backward()
    assert all(x.grad.isfinite().all() for x in (lam, *refiner.parameters()))
    norms = Refiner(2, ("norms",), (), 0).double()
    norms.net[0].weight.data.copy_(torch.eye(4)[:, :2])
    log_norms = norms(torch.zeros(4, 4).double(), g)[:, :2]
    expected = [[1e-8, 1e-8], [1e-8, math.sqrt(2.5)], [math.sqrt(2.5), 1e-8], [math.sqrt(4.5), 3 / math.sqrt(2)]]
    close(log_norms, f64(expected).log())


@pytest.mark.parametrize("size", [1e-30, 1e25])
def test_a_very_small_or_large_gradient_is_no_trouble(size):
    moved = Refiner(2)(torch.zeros(1, 4), torch.full((1, 4), size))
    assert moved.isfinite().all()
    assert moved.abs().max() <= 0.1001


# ------------------------------------------------------------------------------------------------- start and objective


def test_lam_is_mean_and_log_sigma():
    q = posterior(f64([[1, 2, 0, math.log(3)]]))
    assert (q.batch_shape, q.event_shape) == ((1,), (2,))
    close(q.mean, f64([[1, 2]]))
    close(q.stddev, f64([[1, 3]]))
    assert posterior(torch.zeros(3, 5, 8)).mean.shape == (3, 5, 4)


def test_the_divergence_is_an_integral():
    """KL(q ‖ p) of single numbers on a grid of 40,001 points; of several it is the sum."""
    mean, std, other, wide = f64([0.3, -1]), f64([0.5, 1.2]), f64([0.1, 0.8]), f64([0.9, 0.7])
    x = torch.linspace(-12, 12, 40_001, dtype=torch.float64).unsqueeze(1)
    q, p = Normal(mean, std), Normal(other, wide)
    each = (q.log_prob(x).exp() * (q.log_prob(x) - p.log_prob(x))).sum(0) * 24 / 40_000
    close(divergence(q, p), each.sum(), 1e-9)
    close(divergence(Independent(q, 1), p), each.sum(), 1e-9)
    close(divergence(q, q), f64(0.0))


def log_normal(x, mean, std):
    return (-((x - mean) ** 2) / (2 * std**2) - math.log(std) - math.log(2 * math.pi) / 2).sum(1)


def written_out(model, lam, batch, eps):
    """The bound (B,) of a `teacher` with linear decoders, and its terms."""
    mean, log_std = lam[:, :2], lam[:, 2:]
    z = mean + log_std.exp() * eps
    terms = {}
    for s in SIZES:
        decoder = model.elbo.decoders[s]
        terms[s] = WEIGHTS.get(s, 1.0) * log_normal(batch[s], z @ decoder.weight.T + decoder.bias, NOISE[s])
    terms["prior"] = -BETA * ((2 * log_std).exp() + mean**2 - 1 - 2 * log_std).sum(1) / 2
    return sum(terms.values()), terms


def test_the_terms_of_a_bound_written_out(batch):
    model, lam, eps = teacher(linear=True), some(6, 4), some(6, 2, seed=8)
    with draws(eps):
        terms = model.elbo(lam, batch)
    _, expected = written_out(model, lam, batch, eps)
    assert [*terms] == ["a", "b", "c", "prior"]
    for name in terms:
        close(terms[name], expected[name])
    plain = Elbo({"a": nn.Linear(2, 3).double()}, {"a": gaussian(0.7)})
    close(plain(lam, batch)["prior"], terms["prior"] / BETA)  # β is 1 where it is not given


def linear_decoders(world):
    decoders = {s: nn.Linear(2, D, bias=False).double() for s, D in SIZES.items()}
    with torch.no_grad():
        for s, decoder in decoders.items():
            decoder.weight.copy_(world.weights[s])
    return decoders


def test_the_bound_is_on_average_that_in_closed_form(world, batch):
    """20,000 draws for each of 6 examples: the mean is within 4.5 standard errors of it, and they are below 0.05."""
    elbo, lam = Elbo(linear_decoders(world), {s: gaussian(NOISE[s]) for s in SIZES}), some(6, 4)
    lam[:, 2:] -= 1.5
    many = rows(batch, torch.arange(6).repeat_interleave(20_000))
    with torch.no_grad():
        drawn = sum(elbo(lam.repeat_interleave(20_000, 0), many).values()).view(6, 20_000)
    error = drawn.std(1) / math.sqrt(20_000)
    assert error.max() < 0.05
    assert ((drawn.mean(1) - world.elbo(batch, posterior(lam))).abs() < 4.5 * error).all()


def test_the_bound_of_four_chosen_draws_is_that_in_closed_form(world, batch):
    """±√2 e_j have mean 0 and covariance I, and the terms are quadratic in z: their mean is exact, slopes too."""
    elbo, lam = Elbo(linear_decoders(world), {s: gaussian(NOISE[s]) for s in SIZES}), some(6, 4).requires_grad_()
    corners = math.sqrt(2) * torch.cat([torch.eye(2), -torch.eye(2)]).double()
    with draws(*(corner.expand(6, 2) for corner in corners)):
        mean = sum(sum(elbo(lam, batch).values()) for _ in corners) / 4
    exact = world.elbo(batch, posterior(lam))
    close(mean, exact, 1e-10)
    got, expected = (torch.autograd.grad(x.sum(), lam)[0] for x in (mean, exact))
    close(got, expected, 1e-10)


@pytest.mark.parametrize("value", [1e6, nan, inf])
def test_a_modality_that_is_masked_plays_no_part(batch, value):
    """Each example's terms are those of its own modalities alone; what stands in the place of others has no slope."""
    model, lam, eps = teacher(), some(6, 4).requires_grad_(), some(6, 2, seed=8)
    there = {"a": [1, 1, 0, 0, 1, 0], "b": [1, 0, 1, 0, 1, 1], "c": [1, 0, 0, 1, 0, 0]}
    masked = {**batch, **{f"{s}_present": torch.tensor(there[s]).bool() for s in SIZES}}
    garbage = {s: torch.where(torch.tensor(there[s]).bool()[:, None], batch[s], value) for s in SIZES}
    slopes = []
    for given in (masked, {**masked, **garbage}):
        with draws(eps):
            terms = model.elbo(lam, given)
        slopes.append(torch.autograd.grad(sum(terms.values()).sum(), [lam, *model.elbo.parameters()]))
        for i in range(6):
            own = {s: batch[s][i : i + 1] for s in SIZES if there[s][i]}
            with draws(eps[i : i + 1]):
                alone = model.elbo(lam[i : i + 1], own)
            for s in SIZES:
                close(terms[s][i : i + 1], alone[s] if s in own else torch.zeros(1).double())
            close(terms["prior"][i : i + 1], alone["prior"])
    for clean, dirty in zip(*slopes, strict=True):
        assert torch.equal(clean, dirty)


@both_ways
@pytest.mark.parametrize("start", ["joint", "prior"])
def test_nothing_reads_what_stands_under_a_mask(batch, start, one_pass):
    """Start, features, ELBO and inference see 0 there, whatever it is; so values and gradients are the same."""
    model = teacher(start, features=True, one_pass=one_pass)
    mask = torch.tensor([True, False] * 3)
    outs = []
    for value in (0.0, 3.0, nan, inf):
        given = {**batch, "b": torch.where(mask[:, None], batch["b"], value), "b_present": mask}
        torch.manual_seed(1)
        out = model.loss(given)
        model.zero_grad()
        out["loss"].backward()
        grads = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        outs.append([*out.values(), *grads, model.encode(given).mean, model.bounds(given)])
    for other in outs[1:]:
        assert all(torch.equal(x, y) for x, y in zip(outs[0], other, strict=True))


def test_an_example_without_any_modality_is_refused(batch):
    masks = {f"{s}_present": torch.tensor([True, True, False, True, True, False]) for s in SIZES}
    model = teacher()
    for who, call in (
        ("IterativeVAE", model.loss),
        ("IterativeVAE", model.encode),
        ("Elbo", lambda batch: model.elbo(some(6, 4), batch)),
        ("FromModality", FromModality("b", nn.Linear(4, 4).double())),
    ):
        with Refused(f"{who}: every modality is missing in example 2; leave it out", model):
            call({**batch, **masks})


@both_ways
def test_a_modality_that_is_left_out_of_the_batch_plays_no_part(batch, one_pass):
    """The loss is that of a model that does not know the modality, whose decoder learns nothing."""
    model = teacher(start="modality", one_pass=one_pass)
    smaller = copy.deepcopy(model)
    del smaller.elbo.decoders["a"], smaller.elbo.likelihoods["a"]
    given = {s: batch[s] for s in "bc"}
    with draws(some(6, 2)):
        got, expected = model.loss(given), smaller.loss(given)
    got["loss"].backward()
    expected["loss"].backward()
    assert [*got] == [*expected] == ["loss", "start", "end", "b", "c", "prior"]
    for name in got:
        close(got[name], expected[name])
    assert all(p.grad is None or (p.grad == 0).all() for p in model.elbo.decoders["a"].parameters())
    for name, p in smaller.named_parameters():
        close(model.get_parameter(name).grad, p.grad)


def test_decoding(batch):
    elbo, z = teacher(linear=True).elbo, some(5, 2)
    decoded = elbo.decode(z)
    assert [*decoded] == ["a", "b", "c"]
    assert [*elbo.decode(z, ["c", "a"])] == ["a", "c"]
    assert [*elbo.decode(z, "c")] == ["c"]
    close(decoded["b"].mean, elbo.decoders["b"](z))
    close(decoded["b"].stddev, torch.full((5, 4), NOISE["b"]).double(), 1e-7)  # it was stored in single precision


def test_a_likelihood_may_be_any_distribution():
    """Pixels: E_q log p by hand with a Bernoulli."""
    decoder, lam, eps = nn.Linear(1, 3).double(), some(4, 2), some(4, 1, seed=8)
    elbo = Elbo({"p": decoder}, {"p": lambda logits: Independent(Bernoulli(logits=logits), 1)})
    x = f64([[0, 1, 1], [1, 0, 0], [1, 1, 1], [0, 0, 0]])
    with draws(eps):
        term = elbo(lam, {"p": x})["p"]
    p = torch.sigmoid(decoder(lam[:, :1] + lam[:, 1:].exp() * eps))
    close(term, (x * p.log() + (1 - x) * (1 - p).log()).sum(1))


def test_starts(batch):
    net = nn.Linear(4, 4).double()
    start = FromModality("b", net)
    close(start(batch), net(batch["b"]))
    assert torch.equal(start({**batch, "a": batch["a"] + 1}), start(batch))
    zero = FromPrior(3)(batch)
    assert zero.shape == (6, 6)
    assert zero.dtype == torch.float64
    assert (zero == 0).all()
    assert FromPrior(3)({"class": torch.arange(4)}).dtype == torch.get_default_dtype()
    prior = posterior(zero)
    assert (prior.stddev == 1).all()


# ------------------------------------------------------------------------------------------------- one backward pass


def gradients(model, batch, one_pass, scale=2.5):
    """All terms of the loss, and the gradient of each parameter; the same draws for both ways."""
    model.one_pass = one_pass
    model.zero_grad()
    torch.manual_seed(7)
    out = model.loss(batch)
    (scale * out["loss"]).backward()
    return out, {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}


def equal_ways(model, batch, still=()):
    """Both ways have equal values and gradients, of which none is 0 but those of what is still. Gives them."""
    (out, one), (expected, two) = (gradients(model, batch, one_pass) for one_pass in (True, False))
    assert [*out] == [*expected]
    for name in out:
        close(out[name], expected[name], 1e-12)
        assert out[name].requires_grad == (name == "loss")
    for name in one:
        close(one[name], two[name], 1e-12)
        assert (one[name].abs().max() == 0) == name.startswith(tuple(still)), name
    return one


@pytest.mark.parametrize("over", ["mean", "last"])
@pytest.mark.parametrize("steps", [0, 1, 4])
@pytest.mark.parametrize("start", ["joint", "modality", "prior"])
@pytest.mark.parametrize("features", [True, False], ids=["features", "no features"])
def test_one_pass_has_the_gradients_of_the_textbook(batch, over, steps, start, features):
    model = teacher(start, features, steps=steps, over=over)
    equal_ways(model, batch, () if steps else ("refiner", "features"))


@pytest.mark.parametrize("over", ["mean", "last"])
def test_one_pass_with_parameters_that_stand_apart(batch, over):
    """Frozen decoders, a frozen start, a parameter of the bound that is not used, and a batch with masks."""
    model = teacher(features=True, over=over)
    model.elbo.decoders["a"].requires_grad_(False)
    model.elbo.spare = nn.Parameter(torch.ones(2).double())
    equal_ways(model, batch, ("elbo.decoders.a", "elbo.spare"))
    model.elbo.requires_grad_(False)
    equal_ways(model, batch, ("elbo",))
    model.start.requires_grad_(False)
    equal_ways(model, batch, ("elbo", "start"))
    whole = teacher(over=over)
    equal_ways(whole, {**batch, "b_present": torch.tensor([True, False] * 3)})


@both_ways
@pytest.mark.parametrize("over", ["mean", "last"])
def test_a_parameter_that_plays_no_part_has_no_gradient(batch, over, one_pass):
    """Not one of 0: weight decay and momentum would move it."""
    model = teacher(over=over, one_pass=one_pass)
    model.elbo.spare = nn.Parameter(torch.ones(2).double())
    model.loss(batch)["loss"].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == ["elbo.spare"]


@pytest.mark.parametrize("over", ["mean", "last"])
def test_what_comes_before_the_batch_learns_through_start_and_bound(batch, over):
    """Whichever way is asked for, and as the slope of the loss is, the noise and g_t being the same."""
    slopes = []
    for one_pass in (True, False):
        model, scale = teacher(over=over, one_pass=one_pass), f64(1.3).requires_grad_()
        torch.manual_seed(3)
        model.loss({**batch, "a": scale * batch["a"]})["loss"].backward()
        slopes.append(scale.grad)
    close(slopes[0], slopes[1])
    without = teacher("prior", over=over, steps=0)
    scale = f64(1.3).requires_grad_()
    torch.manual_seed(3)
    without.loss({**batch, "a": scale * batch["a"]})["loss"].backward()
    torch.manual_seed(3)
    terms = without.elbo(torch.zeros(6, 4).double(), {**batch, "a": scale * batch["a"]})
    (expected,) = torch.autograd.grad(-terms["a"].mean(), scale)
    close(scale.grad, expected)
    assert abs(expected) > 1e-3


@pytest.mark.parametrize("over", ["mean", "last"])
def test_one_pass_with_a_parameter_of_both_start_and_decoder(batch, over):
    """A start, and features, that share the decoder's weights: the gradients through both add up."""

    class Tied(nn.Module):
        def __init__(self, decoder, size):
            super().__init__()
            self.decoder, self.size = decoder, size

        def forward(self, batch):
            return self.size * torch.cat([batch["a"] @ self.decoder.weight] * 2, 1)

    model = teacher(linear=True, over=over)
    decoder = model.elbo.decoders["a"]
    model.start = Tied(decoder, 0.3)
    model.refiner, model.features = Refiner(2, ("features",), (), features=4).double(), Tied(decoder, 0.5)
    nn.init.normal_(model.refiner.net[0].weight, 0, 0.1)
    tied = equal_ways(model, batch)["start.decoder.weight"]
    model.start.decoder, model.features.decoder = (copy.deepcopy(decoder).requires_grad_(False) for _ in range(2))
    alone = equal_ways(model, batch, ("start", "features"))["elbo.decoders.a.weight"]
    assert (tied - alone).abs().max() > 1e-3


def test_the_gradient_grows_with_the_slope_of_what_comes_after(batch):
    model = teacher()
    one, ten = (gradients(model, batch, True, scale)[1] for scale in (1.0, 10.0))
    for name in one:
        close(10 * one[name], ten[name], 1e-11)


def differences(function, x, h=1e-5):
    """∂ function / ∂ x by central differences; x is changed in place."""
    slope = torch.zeros_like(x)
    flat, out = x.view(-1), slope.view(-1)
    for i in range(len(flat)):
        value, ends = flat[i].item(), []
        for step in (h, -h):
            flat[i] = value + step
            ends.append(function())
        flat[i] = value
        out[i] = (ends[0] - ends[1]) / (2 * h)
    return slope


def around(got, expected):
    """Within 1e-6 of the largest, which is what differences are good for."""
    close(got, expected, 1e-6 * (1 + expected.abs().max().item()))


@both_ways
@pytest.mark.parametrize("over", ["mean", "last"])
def test_gradients_are_those_of_the_loss_written_out_while_g_is_held(batch, over, one_pass):
    """Central differences of −Σ a_t ELBO(X; λ_t), where the refiner is given the g_t that it was given in training.

    These g_t are the differences of Σ_b ELBO_b. Where they follow the parameters, the differences are others.
    """
    model, T = teacher(linear=True, features=True, over=over), 2
    eps, few = [some(3, 2, seed=20 + t) for t in range(T + 1)], rows(batch, slice(3))
    given = []
    hook = model.refiner.register_forward_pre_hook(lambda _, inputs: given.append([x.detach() for x in inputs[:2]]))
    model.one_pass = one_pass
    with draws(*eps):
        out = model.loss(few)
    hook.remove()
    out["loss"].backward()
    assert len(given) == T
    for t, (lam, g) in enumerate(given):
        lam = lam.clone()
        around(g, differences(lambda lam=lam, t=t: written_out(model, lam, few, eps[t])[0].sum(), lam))

    def follow(lam, t):
        leaf = lam.detach().requires_grad_()
        return torch.autograd.grad(written_out(model, leaf, few, eps[t])[0].sum(), leaf)[0]

    @torch.no_grad()
    def loss(hold=True):
        lam, total = model.start(few), 0
        for t in range(T + 1):
            value, terms = written_out(model, lam, few, eps[t])
            total -= (1 / (T + 1) if over == "mean" else float(t == T)) * value.mean()
            if t == 0:
                start = -value.mean()
            if t < T:
                with torch.enable_grad():
                    g = given[t][1] if hold else follow(lam, t)
                lam = model.refiner(lam, g, model.features(few))
        return {"loss": total, "start": start, "end": -value.mean(), **{s: -x.mean() for s, x in terms.items()}}

    expected = loss()
    assert [*out] == [*expected]
    for name in out:
        close(out[name].detach(), expected[name], 1e-12)
    with torch.no_grad():
        for name, p in model.named_parameters():
            around(p.grad, differences(lambda: loss()["loss"], p.data))
            assert p.grad.abs().max() > 1e-4, name
        p = model.start.net.weight
        assert (p.grad - differences(lambda: loss(hold=False)["loss"], p.data)).abs().max() > 1e-3


@both_ways
@pytest.mark.parametrize("over", ["mean", "last"])
def test_without_a_step_it_is_a_plain_vae(batch, over, one_pass):
    """The same weights and draws in a JMVAE with α = 0: the same loss, terms and gradients."""
    model = teacher(steps=0, over=over, one_pass=one_pass)
    plain = vae.JMVAE(
        copy.deepcopy(model.start),
        {s: nn.Linear(D, 4).double() for s, D in SIZES.items()},
        {s: copy.deepcopy(model.elbo.decoders[s]) for s in SIZES},
        {s: vae.gaussian(NOISE[s]) for s in SIZES},
        2,
        weights=WEIGHTS,
        beta=BETA,
        alpha=0,
    )
    torch.manual_seed(5)
    out = model.loss(batch)
    torch.manual_seed(5)
    expected = plain.loss(batch)
    close(out["loss"], expected["loss"])
    close(out["start"], out["end"], 1e-15)
    close(out["end"], out["loss"].detach(), 1e-15)
    close(out["prior"], BETA * expected["kl"].detach())
    for s in SIZES:
        close(out[s], WEIGHTS.get(s, 1.0) * expected[s].detach())
    out["loss"].backward()
    expected["loss"].backward()
    for s in SIZES:
        for p, q in zip(model.elbo.decoders[s].parameters(), plain.decoders[s].parameters(), strict=True):
            close(p.grad, q.grad)
    for p, q in zip(model.start.parameters(), plain.joint.parameters(), strict=True):
        close(p.grad, q.grad)


@both_ways
def test_a_loss_without_gradients_has_the_same_value_and_no_graph(batch, one_pass):
    model = teacher(features=True, one_pass=one_pass)
    for start in (model.start, FromPrior(2)):
        model.start = start
        torch.manual_seed(3)
        expected = model.loss(batch)
        torch.manual_seed(3)
        with torch.no_grad():
            got = model.loss(batch)
        assert [*got] == [*expected]
        for name in got:
            close(got[name], expected[name].detach(), 1e-13)
            assert not got[name].requires_grad
    assert all(p.grad is None for p in model.parameters())


def kept(model, batch):
    """How many large tensors are kept for going back, each time that the bound is asked for."""

    class Kept:
        def __init__(self, tensor):
            self.tensor = tensor

    alive, counts = weakref.WeakSet(), []

    def pack(tensor):
        if tensor.numel() < 1000:
            return tensor
        alive.add(box := Kept(tensor))
        return box

    handle = model.elbo.register_forward_pre_hook(lambda *_: counts.append(len(alive)))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x.tensor if isinstance(x, Kept) else x):
        loss = model.loss(batch)["loss"]
        counts.append(len(alive))
    handle.remove()
    loss.backward()
    return counts


def test_one_pass_keeps_nothing_of_earlier_decoders(batch):
    """Decoders with 500 hidden numbers, the only large tensors: the textbook keeps those of each step."""
    model = teacher(steps=6, over="last")
    model.elbo.decoders["a"] = nn.Sequential(nn.Linear(2, 500), nn.Tanh(), nn.Linear(500, 3)).double()
    for over in ("mean", "last"):
        model.over, model.one_pass = over, True
        assert kept(model, batch) == [0] * 8
        model.one_pass = False
        counts = kept(model, batch)
        assert counts[0] == 0
        assert all(later > before for before, later in itertools.pairwise(counts))


def test_training_both_ways_ends_at_the_same_place(batch):
    """Ten steps of Adam."""
    ends = []
    for one_pass in (True, False):
        model = teacher(features=True, one_pass=one_pass)
        optimiser = torch.optim.Adam(model.parameters(), 0.01)
        torch.manual_seed(1)
        for _ in range(10):
            optimiser.zero_grad()
            model.loss(batch)["loss"].backward()
            optimiser.step()
        ends.append(model.state_dict())
    for name in ends[0]:
        close(ends[0][name], ends[1][name], 1e-9)


# ------------------------------------------------------------------------------------------------- what is not finite


class Broken(nn.Module):
    """A bound whose second term is spoilt for some examples, from the n-th call on. It has a parameter."""

    def __init__(self, n, spoil, examples=(2, 4)):
        super().__init__()
        self.n, self.spoil, self.examples, self.calls = n, spoil, list(examples), 0
        self.weight = nn.Parameter(f64(1.0))

    def forward(self, lam, batch=None):
        good = -(lam - self.weight).square().sum(1)
        bad = good.clone()
        if self.calls >= self.n:
            bad[self.examples] = self.spoil(lam[self.examples])
        self.calls += 1
        return {"good": good, "bad": bad}


def nowhere(lam):
    return lam.sum(1) * nan


def far(lam):
    return lam[:, 0] * inf


def steep(lam):
    """0, with a slope that is none: of √u at u = 0."""
    return (lam * 0).square().sum(1).sqrt()


@pytest.mark.parametrize("spoil", [nowhere, far, steep])
@pytest.mark.parametrize("step", [0, 3])
def test_a_gradient_that_is_not_finite_is_named(spoil, step):
    why = (
        "All terms are finite, their gradients are not"
        if spoil is steep
        else "The terms 'bad' are NaN or infinite, too"
    )
    match = f"at step {step} the gradient is NaN or infinite for 2 of 6 examples, first in example 2. {why}"
    start, module = some(6, 4), Broken(step, spoil)
    with pytest.raises(FloatingPointError, match=match):
        refine(start, module, GradientAscent(0.01), 5)
    assert module.calls == step + 1
    assert torch.equal(start, some(6, 4))
    with pytest.raises(FloatingPointError, match=match):
        amortisation_gap(start, Broken(step, spoil), 5)


def test_finite_terms_are_not_blamed():
    """Of three terms two are NaN, for different examples."""

    def elbo(lam):
        value = lam.sum(1)
        return {"x": value * f64([1, 1, nan]), "y": value, "z": value * f64([1, inf, 1])}

    with pytest.raises(
        FloatingPointError, match=r"2 of 3 examples, first in example 1\. The terms 'x', 'z' are NaN or"
    ):
        refine(torch.ones(3, 2).double(), elbo, GradientAscent(), 1)


@both_ways
@pytest.mark.parametrize("spoil", [nowhere, far, steep])
def test_a_loss_that_is_not_finite_is_named_before_anything_is_learned(batch, one_pass, spoil):
    model = teacher(steps=3, one_pass=one_pass)
    model.elbo = Broken(2, spoil)
    before = copy.deepcopy(model.state_dict())
    why = "All terms are finite" if spoil is steep else "The terms 'bad' are NaN or infinite, too"
    with pytest.raises(FloatingPointError, match=f"at step 2 .* for 2 of 6 examples, first in example 2. {why}"):
        model.loss(batch)
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    model.elbo.calls = 0
    with torch.no_grad(), pytest.raises(FloatingPointError, match="at step 2"):
        model.loss(batch)


@pytest.mark.parametrize("steps", [0, 3])
def test_a_loss_that_is_not_finite_at_its_last_step_is_named(batch, steps):
    """By the one pass alone: the textbook needs no gradient there before the loss's own."""
    model = teacher(steps=steps)
    model.elbo = Broken(steps, nowhere)
    with pytest.raises(FloatingPointError, match=f"at step {steps} "):
        model.loss(batch)


@both_ways
def test_a_loss_without_gradients_takes_none_at_its_last_step(batch, one_pass):
    """It would go back through the decoders for nothing: so a gradient there that is not finite is no error."""
    model = teacher(steps=2, one_pass=one_pass)
    model.elbo = Broken(2, steep)
    with torch.no_grad():
        assert model.loss(batch)["loss"].isfinite()
    model.elbo, model.steps = teacher().elbo, 0
    with torch.inference_mode():
        assert model.loss(batch)["loss"].isfinite()


# ------------------------------------------------------------------------------------------------------------ students


class Exact:
    """The teacher of a world: the exact posterior of all modalities, which has independent numbers."""

    def __init__(self, world):
        self.world = world

    def encode(self, batch):
        q = self.world.posterior(batch)
        return Independent(Normal(q.mean, q.precision_matrix.diagonal(dim1=1, dim2=2).rsqrt()), 1)


def moments(world, n, seed=0):
    """A batch (2 n) whose means and covariances, modalities and latent code together, are exactly those of the world.

    With each example stands its mirror image, so that third moments are 0 as well.
    """
    u = some(n, world.latent + sum(SIZES.values()), seed=seed)
    u = torch.cat([u, -u])
    u = torch.linalg.solve_triangular(torch.linalg.cholesky(u.T @ u / len(u)), u.T, upper=False).T
    z, *eps = u.split([world.latent, *SIZES.values()], 1)
    return {s: z @ world.weights[s].T + world.noise[s] * e for s, e in zip(SIZES, eps, strict=True)}


def diagonal(q):
    """A MultivariateNormal whose numbers are independent, as such."""
    off = q.covariance_matrix - q.variance.diag_embed()
    assert off.abs().max() < 1e-12
    return Independent(Normal(q.mean, q.stddev), 1)


@pytest.mark.parametrize("kl", [forward_kl, reverse_kl])
def test_linear_students_become_the_best_ones(straight, kl):
    """Forward p(z|xᵢ), and the missing information remains. Reverse the same mean, the teacher's width.

    The batch has the world's moments, on which the best student depends alone; so nothing is left to chance.
    """
    batch, other = moments(straight, 300), straight.sample(20, seed=3)[1]
    students = Students({s: nn.Linear(D, 4).double() for s, D in SIZES.items()})
    distillation = Distillation(Exact(straight).encode, students, kl)
    minimise(distillation, batch)
    losses = distillation.loss(batch)
    assert [*losses] == ["loss", "a", "b", "c"]
    for s in SIZES:
        exact = straight.posterior(other, s)
        best = exact if kl is forward_kl else straight.reverse_student(other, s)
        same(students.encode(other, [s]), diagonal(best), 1e-5)
        if kl is forward_kl:
            remains = straight.missing_information(s)
        else:
            remains = (torch.trace(straight.precision() @ exact.covariance_matrix[0]).item() - 2) / 2
            assert (exact.stddev > students.encode(other, [s]).stddev * 1.05).all()
        assert remains > 0.1
        assert losses[s].item() == pytest.approx(remains, abs=1e-9)
    close(losses["loss"], losses["a"] + losses["b"] + losses["c"])
    if kl is forward_kl:
        for modalities in SETS:
            same(students.encode(other, modalities), diagonal(straight.posterior(other, modalities)), 1e-4)


@pytest.mark.parametrize("modalities", SETS, ids="".join)
def test_a_product_of_exact_students_is_exact(straight, modalities):
    batch = moments(straight, 40)
    single = [diagonal(straight.posterior(batch, s)) for s in modalities]
    got = product_of_students(single)
    assert (got.batch_shape, got.event_shape) == ((80,), (2,))
    same(got, diagonal(straight.posterior(batch, modalities)))
    same(product_of_students(single[::-1]), got)
    naive = naive_product(single)
    same(naive, diagonal(straight.naive_product(batch, modalities)))
    off = straight.gap({s: batch[s] for s in modalities}, naive).mean().item()  # a mean over the world's own moments
    assert off == pytest.approx(straight.naive_product_gap(modalities), abs=1e-10)
    assert (off > 0.01) == (len(modalities) > 1)


@pytest.mark.parametrize("many", [1, 2, 3])
def test_products_are_those_of_the_vaes(many):
    """Of any normal distributions, narrow ones and such as are wider than the prior."""
    single = [Independent(Normal(some(50, 2, seed=i), some(50, 2, seed=9 + i).exp()), 1) for i in range(many)]
    stacked = vae.stacked(single)
    assert (stacked.stddev > 1).any()
    same(product_of_students(single), vae.product_of_posteriors(stacked))
    same(naive_product(single), vae.product(stacked, prior=False))
    same(product_of_students([q.base_dist for q in single]), product_of_students(single), 1e-15)


def test_a_product_is_not_wider_than_the_prior():
    """By hand. Precisions 1/4 + 4/9 − 1 are below 1, so it is 1; 4 + 1 − 1 are not."""
    wide, other = Normal(f64([[3, 1]]), f64([[2, 0.5]])), Normal(f64([[1, 2]]), f64([[1.5, 1]]))
    got = product_of_students([wide, other])
    close(got.mean, f64([[3 / 4 + 4 / 9, (4 + 2) / 4]]))
    close(got.stddev, f64([[1, 0.5]]))
    same(product_of_students([wide]), wide)  # one alone is left as it is
    naive = naive_product([wide, other])
    close(naive.mean, f64([[(3 / 4 + 4 / 9) / (1 / 4 + 4 / 9), 6 / 5]]))
    close(naive.variance, f64([[1 / (1 / 4 + 4 / 9), 1 / 5]]))


def test_students_see_their_own_modality_alone(batch):
    students = Students({s: nn.Linear(D, 4).double() for s, D in SIZES.items()})
    posteriors = students.posteriors(batch)
    for s, t in itertools.product(SIZES, SIZES):
        changed = students.posteriors({**batch, t: batch[t] + 1})[s]
        assert torch.equal(changed.mean, posteriors[s].mean) == (s != t)
        assert torch.equal(changed.stddev, posteriors[s].stddev) == (s != t)
    for s in SIZES:
        same(posteriors[s], posterior(students.encoders[s](batch[s])), 1e-15)
        same(students.encode({s: batch[s]}), posteriors[s])
        same(students.encode(batch, s), posteriors[s])
    assert [*students.posteriors(batch, ["c", "a"])] == ["a", "c"]
    assert [*students.posteriors({"c": batch["c"], "label": torch.zeros(6).long()})] == ["c"]
    assert [*students.posteriors({"c": batch["c"], "other": batch["a"]}, "c")] == ["c"]
    same(students.encode(batch, ["c", "a"]), product_of_students([posteriors["a"], posteriors["c"]]))
    same(students.encode(batch), product_of_students([*posteriors.values()]))


@both_ways
def test_a_teacher_learns_nothing_from_its_students(batch, one_pass):
    model = teacher(features=True, one_pass=one_pass)
    students = Students({s: nn.Linear(D, 4).double() for s, D in SIZES.items()})
    before, first = copy.deepcopy(model.state_dict()), copy.deepcopy(students.state_dict())
    distillation = Distillation(model.encode, students)
    assert {id(p) for p in distillation.parameters()} == {id(p) for p in students.parameters()}
    assert all(name.startswith("students.") for name in distillation.state_dict())
    optimiser = torch.optim.SGD([*distillation.parameters(), *model.parameters()], 1e-4)
    for _ in range(3):
        optimiser.zero_grad()
        distillation.loss(batch)["loss"].backward()
        assert all(p.grad is None for p in model.parameters())
        assert all(p.grad.abs().max() > 0 for p in students.parameters())
        optimiser.step()
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    assert not any(torch.equal(x, first[name]) for name, x in students.state_dict().items())


def test_the_loss_of_students_written_out(world, batch):
    """Both divergences with torch's own formula; the unrefined target is that of a teacher without steps."""
    model, students = teacher(), Students({s: nn.Linear(SIZES[s], 4).double() for s in "ac"})
    model.elbo = World(world)
    for kl, steps in itertools.product((forward_kl, reverse_kl), (None, 0)):
        got = Distillation(lambda batch, steps=steps: model.encode(batch, steps), students, kl).loss(batch)
        target = model.encode(batch, 2 if steps is None else 0)
        total = 0
        for s in "ac":
            pair = [target, posterior(students.encoders[s](batch[s]))]
            expected = torch.distributions.kl_divergence(*(pair if kl is forward_kl else pair[::-1])).mean()
            close(got[s], expected)
            total = total + expected
        close(got["loss"], total)
        assert [*got] == ["loss", "a", "c"]
    start = copy.deepcopy(model)
    start.steps = 0
    unrefined = Distillation(lambda batch: model.encode(batch, steps=0), students)
    expected = Distillation(start.encode, students)
    close(unrefined.loss(batch)["loss"], expected.loss(batch)["loss"], 1e-15)
    default = Distillation(model.encode, students).loss(batch)["loss"]
    close(default, Distillation(model.encode, students, forward_kl).loss(batch)["loss"], 1e-15)
    assert (default - expected.loss(batch)["loss"]).abs() > 1e-3


def test_a_divergence_may_be_any_function(batch):
    """Here the squared distance of the means."""
    model, students = teacher("prior", steps=0), Students({"a": nn.Linear(3, 4).double()})
    got = Distillation(model.encode, students, lambda p, q: (p.mean - q.mean).square().sum(-1)).loss(batch)
    close(got["a"], students.encode(batch).mean.square().sum(1).mean())


@pytest.mark.parametrize("kl", [forward_kl, reverse_kl])
def test_the_teachers_posterior_may_be_inferred_before(world, batch, kl):
    """λ in the batch: the same loss and gradients as with the teacher, and none for λ."""
    model, students = teacher(), Students({s: nn.Linear(D, 4).double() for s, D in SIZES.items()})
    model.elbo = World(world)
    lam = model.infer(batch).requires_grad_()
    expected = Distillation(model.encode, students, kl).loss(batch)
    got = Distillation(None, students, kl).loss({**batch, "teacher_posterior": lam})
    assert [*got] == [*expected]
    for name in got:
        close(got[name], expected[name], 1e-14)
    slopes = [torch.autograd.grad(out["loss"], list(students.parameters())) for out in (got, expected)]
    for p, q in zip(*slopes, strict=True):
        close(p, q, 1e-14)
    again = Distillation(None, students, kl).loss({**batch, "teacher_posterior": lam})["loss"]
    assert torch.autograd.grad(again, lam, allow_unused=True) == (None,)


def test_a_vae_with_a_joint_encoder_can_be_the_teacher(straight):
    joint = Beside(nn.Linear(9, 4).double())
    networks = [{s: nn.Linear(*size).double() for s, size in sizes.items()} for sizes in (
        {s: (D, 4) for s, D in SIZES.items()}, {s: (2, D) for s, D in SIZES.items()})]  # fmt: skip
    model = vae.JMVAE(joint, *networks, {s: vae.gaussian(1.0) for s in SIZES}, 2)
    students = Students({"b": nn.Linear(4, 4).double()})
    batch = straight.sample(5, seed=1)[1]
    expected = divergence(posterior(joint(batch)), students.encode({"b": batch["b"]})).mean()
    loss = Distillation(model.encode, students).loss(batch)["loss"]
    close(loss, expected)
    loss.backward()
    assert all(p.grad is None for p in model.parameters())


# ------------------------------------------------------------------------------------------------------ from scratch


class First(nn.Module):
    """An encoder of one's own: it sees only the first modality."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 4)

    def forward(self, batch):
        return self.net(batch["a"])


class Bound(nn.Module):
    """A bound of one's own: decoders that are matrices, the expectation in closed form."""

    def __init__(self):
        super().__init__()
        self.W = nn.ParameterDict({s: 0.3 * torch.randn(D, 2) for s, D in SIZES.items()})

    def forward(self, lam, batch):
        mean, log_std = lam.chunk(2, 1)
        terms = {"prior": ((1 - mean**2 - (2 * log_std).exp()) / 2 + log_std).sum(1)}
        for s, W in self.W.items():
            error = (batch[s] - mean @ W.T).square().sum(1) + ((2 * log_std).exp() @ W.square().T).sum(1)
            terms[s] = -error / (2 * NOISE[s] ** 2) - len(W) * math.log(NOISE[s] * math.sqrt(2 * math.pi))
        return terms


def test_parts_from_scratch_learn_and_the_gap_falls_with_the_steps(world):
    """100 steps: the start sees one modality and misses nats, the first refinement mends most of it, the next the rest.

    The decoders are linear, so the gap is known: what lies above the floor of the world that they make.
    """
    model = IterativeVAE(First(), Bound(), Refiner(2, hidden=(24,)), steps=2).double()
    train, test = world.sample(200, seed=1)[1], world.sample(200, seed=2)[1]
    optimiser, losses = torch.optim.Adam(model.parameters(), 0.02), []
    for _ in range(100):
        optimiser.zero_grad()
        out = model.loss(train)
        out["loss"].backward()
        optimiser.step()
        losses.append(out["end"].item())
    truth = -world.log_prob(train).mean().item()
    assert losses[-1] < losses[0] - 2
    assert truth - 0.3 < losses[-1] < truth + 0.5  # a bound, and not far from what is possible
    learned = LinearGaussian({s: W.detach() for s, W in model.elbo.W.items()}, NOISE)
    gaps = [(learned.gap(test, posterior(lam)) - learned.mean_field_floor()).mean() for lam in model.refinements(test)]
    assert gaps[0] > 0.2
    assert gaps[1] < gaps[0] / 4
    assert gaps[2] < gaps[1] * 0.7


# ----------------------------------------------------------------------------------------------------------- bad input


class Refused:
    """Expects this sentence, and no change of parameters, gradients or random numbers."""

    def __init__(self, match, model=None, error=ValueError):
        self.raises, self.model = pytest.raises(error, match=match), model

    def __enter__(self):
        self.rng = torch.get_rng_state()
        self.state = [] if self.model is None else [x.clone() for x in self.model.state_dict().values()]
        return self.raises.__enter__()

    def __exit__(self, *error):
        done = self.raises.__exit__(*error)
        assert torch.equal(self.rng, torch.get_rng_state())
        now = [] if self.model is None else self.model.state_dict().values()
        assert all(torch.equal(a, b) for a, b in zip(self.state, now, strict=True))
        assert self.model is None or all(p.grad is None for p in self.model.parameters())
        return done


@pytest.mark.parametrize("steps", [-1, 1.0, 0.5, "2", None, inf, True])
def test_steps_are_a_whole_number(world, batch, steps):
    with Refused("refine: steps must be a whole number ≥ 0, got"):
        refine(some(6, 4), bound(world, batch), GradientAscent(), steps)
    with Refused("IterativeVAE: steps must be a whole number ≥ 0, got"):
        IterativeVAE(FromPrior(2), World(world), GradientAscent(), steps)
    model = teacher()
    if steps is not None:
        for call in (model.encode, model.bounds):
            with Refused("steps must be a whole number ≥ 0, got", model):
                call(batch, steps)


@pytest.mark.parametrize("shape", [(6, 1), (5,), (), (1,), (6, 4)])
def test_a_term_has_one_number_for_each_example(batch, shape):
    class Wrong(nn.Module):
        def forward(self, lam, batch=None):
            return {"fine": lam.sum(1), "odd": torch.zeros(shape).double()}

    match = r"the ELBO's term 'odd' must be \(6,\), got \("
    with Refused(match):
        refine(some(6, 4), Wrong(), GradientAscent(), 1)
    with Refused(match):
        amortisation_gap(some(6, 4), Wrong())
    for one_pass in (True, False):
        model = teacher(one_pass=one_pass)
        model.elbo = Wrong()
        for call in (model.loss, model.bounds, model.infer):
            with Refused(match, model):
                call(batch)


@pytest.mark.parametrize("fold", [lambda x: x[:, :3], lambda x: x[:1], lambda x: x.sum(1), lambda x: x[None]])
def test_a_refiner_gives_the_shape_it_was_given(world, batch, fold):
    class Wrong(nn.Module):
        def forward(self, lam, gradient):
            return fold(lam)

    match = r"the refiner must give \(6, 4\), got \("
    with Refused(match):
        refine(some(6, 4), bound(world, batch), Wrong(), 1)
    for one_pass in (True, False):
        model = teacher(one_pass=one_pass)
        model.elbo, model.refiner = World(world), Wrong()
        for call in (model.loss, model.encode):
            with Refused(match, model):
                call(batch)


@pytest.mark.parametrize("step", [0, -0.1, inf, nan])
def test_the_step_of_gradient_ascent_is_above_0(step):
    with Refused("GradientAscent: step must be finite and above 0, got"):
        GradientAscent(step)


def test_inputs_of_a_refiner():
    with Refused("Refiner: inputs may be lam, unit, norms, gradient, features, got 'grad'"):
        Refiner(2, ("lam", "grad"))
    assert Refiner(2, "lam").inputs == ("lam",)  # a string is one name
    for latent in (0, 1.5, True):
        with Refused("Refiner: latent must be a whole number ≥ 1, got"):
            Refiner(latent)
    for inputs, features in (((), 0), (("lam",), 3), (("lam", "features"), 0)):
        with Refused(r"Refiner: inputs \[.*\] and features=\d do not fit; f needs an input, and 'features' their"):
            Refiner(2, inputs, features=features)
    refiner = Refiner(2, ("lam", "features"), features=3)
    with Refused("Refiner: it reads features, but none were handed over", refiner):
        refiner(torch.zeros(1, 4), torch.ones(1, 4))


@pytest.mark.parametrize("wrong", [Bernoulli(torch.tensor([0.5])), MultivariateNormal(torch.zeros(2), torch.eye(2)),
                                   Independent(Bernoulli(torch.full((1, 2), 0.5)), 1)])  # fmt: skip
def test_only_normal_distributions_with_independent_numbers_are_compared(wrong):
    fine, match = Normal(torch.zeros(1, 2), 1.0), r"expected a Normal or an Independent\(Normal\), got"
    calls = (lambda: divergence(wrong, fine), lambda: divergence(fine, wrong))
    calls += (lambda: product_of_students([fine, wrong]), lambda: naive_product([wrong]))
    for call in calls:
        with Refused(match, error=TypeError):
            call()


def test_a_bound_needs_parts_that_fit():
    nets, likelihoods = {s: nn.Linear(2, 3) for s in "ab"}, {s: gaussian(1.0) for s in "ab"}
    for decoders, kinds, weights in (
        (nets, {"a": likelihoods["a"]}, None),
        ({"a": nets["a"]}, likelihoods, None),
        ({}, {}, None),
        (nets, likelihoods, {"c": 1.0}),
    ):
        with Refused("Elbo: "):
            Elbo(decoders, kinds, weights)
    with Refused("Elbo: a modality cannot be called 'prior', which means something else"):
        Elbo({"prior": nets["a"]}, {"prior": gaussian(1.0)})
    for value in (0, -1.0, inf, nan):
        with Refused("Elbo: the weight of 'b' must be finite and above 0, got"):
            Elbo(nets, likelihoods, {"b": value})
        with Refused("Elbo: the weight of 'beta' must be finite and above 0, got"):
            Elbo(nets, likelihoods, beta=value)
    for asked in (["a", "c"], "c"):
        with Refused("Elbo: no modality 'c', only a, b"):
            Elbo(nets, likelihoods).decode(torch.zeros(1, 2), asked)
    with Refused("Elbo: no modality 'ab', only a, b"):  # a string is one name
        Elbo(nets, likelihoods).decode(torch.zeros(1, 2), "ab")


def readers():
    """What reads a batch: a name, a call, a model."""
    model = teacher("modality")
    students = Students({s: nn.Linear(D, 4).double() for s, D in SIZES.items()})
    return [
        ("IterativeVAE", model.loss, model),
        ("IterativeVAE", model.encode, model),
        ("IterativeVAE", model.bounds, model),
        ("Distillation", Distillation(model.encode, students).loss, model),
        ("Students", students.encode, students),
        ("Students", students.posteriors, students),
        ("Distillation", Distillation(teacher("prior", steps=0).encode, students).loss, students),
        ("Elbo", lambda batch: model.elbo(torch.zeros(6, 4).double(), batch), model.elbo),
        ("FromModality", model.start, model),
    ]


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_values_that_are_no_numbers_are_refused(batch, value):
    wrong = {**batch, "b": batch["b"].clone()}
    wrong["b"][3, 1] = value
    for who, call, model in readers():
        with Refused(f"{who}: 'b' holds NaN or infinite values, first in example 3", model):
            call(wrong)


def test_numbers_whose_sum_alone_is_infinite_are_not_refused():
    students = Students({"a": nn.Linear(3, 4)})
    nn.init.zeros_(students.encoders["a"].weight)
    assert students.encode({"a": torch.full((4, 3), 3e38)}).mean.isfinite().all()


def test_a_batch_without_the_modality_is_refused(batch):
    for who, call, model in readers():
        first = "b" if who == "FromModality" else "a"
        with Refused(f"{who}: the batch has no '{first}' but 'x'; rename it, or leave it out", model):
            call({"x": batch["a"], "b_present": batch["a"]})
        with Refused(f"{who}: the batch has none of the modalities .*, only \\(\\)", model):
            call({})


def test_a_modality_that_is_misspelt_is_refused(batch):
    """With a hint, before anything reads the batch: a start of one's own would raise a KeyError."""
    names = ["picture", "sound"]
    nets, likelihoods = {s: nn.Linear(2, 3) for s in names}, dict.fromkeys(names, gaussian(1.0))
    model = IterativeVAE(nn.Linear(3, 4), Elbo(nets, likelihoods), Refiner(2), 1)
    given = {"pictures": torch.zeros(2, 3), "sound": torch.zeros(2, 3)}
    for who, call in (
        ("IterativeVAE", model.loss),
        ("IterativeVAE", model.infer),
        ("Students", Students({s: nn.Linear(3, 4) for s in names}).encode),
        ("Elbo", lambda batch: model.elbo(torch.zeros(2, 4), batch)),
    ):
        with Refused(f"{who}: the batch has no 'picture' but 'pictures'; is one of them misspelt?"):
            call(given)


@pytest.mark.parametrize("value", [None, 3, [1.0, 2.0]])
def test_a_modality_that_is_no_tensor_is_refused(batch, value):
    for who, call, model in readers():
        with Refused(rf"{who}: 'b' must be a tensor \(B, …\), got {type(value).__name__}", model, TypeError):
            call({**batch, "b": value})
        with Refused(f"{who}: a batch must be a dict of tensors, got Tensor|got torch.float64", model, TypeError):
            call(batch["a"])


def test_modalities_of_different_length_are_refused(batch):
    for who, call, model in readers():
        if who != "FromModality":
            with Refused(rf"{who}: modalities need the same number of examples, .* got .*'b': 4", model):
                call({**batch, "b": batch["b"][:4]})


def test_a_lam_of_another_size_than_the_batch_is_refused(batch):
    model = teacher().elbo
    with Refused("Elbo: λ is of 4 examples, the batch has 6", model):
        model(some(4, 4), batch)


def test_a_bound_of_ones_own_reads_all_that_is_no_label_and_no_mask(world, batch):
    """So what is NaN is named, and by which example, before the start reads it."""
    model, wrong = IterativeVAE(FromPrior(2), World(world), Refiner(2).double(), 1), batch["b"].clone()
    wrong[3] = nan
    for call in (model.loss, model.encode, model.bounds):
        with Refused("IterativeVAE: 'b' holds NaN or infinite values, first in example 3", model):
            call({**batch, "b": wrong})
    model.loss({**batch, "label": torch.arange(6), "colour_label": torch.arange(6)})


@both_ways
def test_a_batch_without_examples_is_refused(batch, one_pass):
    none = {modality: x[:0] for modality, x in batch.items()}
    model = teacher(one_pass=one_pass)
    for way in (model.loss, model.encode, model.bounds):
        with pytest.raises(ValueError, match="the same number of examples, at least one"):
            way(none)


@both_ways
def test_inference_mode_is_refused_with_a_way_out(batch, one_pass):
    model = teacher(one_pass=one_pass)
    for way in (model.loss, model.encode):
        with torch.inference_mode(), pytest.raises(RuntimeError, match="no_grad"):
            way(batch)


MASKS = [torch.ones(6), torch.ones(6).long(), *(torch.ones(n).bool() for n in ((6, 1), (5,), (1,), ()))]


@pytest.mark.parametrize("mask", MASKS, ids=lambda m: f"{m.dtype} {tuple(m.shape)}")
def test_a_mask_that_is_none_is_refused(batch, mask):
    model = teacher().elbo
    with Refused(r"'b_present' must be bool \(6,\), got", model):
        model(some(6, 4), {**batch, "b_present": mask})


def test_students_do_not_learn_or_infer_from_a_missing_modality(batch):
    """A mask is fine where nothing is missing."""
    students = Students({s: nn.Linear(SIZES[s], 4).double() for s in "ab"})
    some_missing, none_missing = ({**batch, "b_present": torch.tensor([True] * 5 + [last])} for last in (False, True))
    for call in (students.encode, students.posteriors, Distillation(teacher("prior", steps=0).encode, students).loss):
        who = "Distillation" if call.__name__ == "loss" else "Students"
        with Refused(f"{who}: 'b' is missing for some examples, first in example 5; leave these out", students):
            call(some_missing)
    same(students.encode(none_missing), students.encode(batch), 1e-15)
    same(students.encode(some_missing, ["a"]), students.encode(batch, ["a"]), 1e-15)
    with Refused(r"Students: 'b_present' must be bool \(6,\), got", students):
        students.encode({**batch, "b_present": torch.ones(6)})


@pytest.mark.parametrize("name", ["loss", "start", "end", "label", "a_present"])
def test_a_modality_named_like_a_term_of_the_loss_is_refused(name):
    net = nn.Linear(2, 3)
    with Refused(f"a modality cannot be called '{name}'"):
        Elbo({name: net}, {name: gaussian(1.0)})


@both_ways
@pytest.mark.parametrize("name", ["loss", "start", "end"])
def test_a_term_named_like_a_term_of_the_loss_is_refused(batch, name, one_pass):
    class Named(nn.Module):
        def forward(self, lam, batch):
            return {name: -lam.square().sum(1)}

    model = IterativeVAE(FromPrior(2), Named(), Refiner(2).double(), 1, one_pass=one_pass)
    with pytest.raises(ValueError, match=f"cannot be called '{name}'"):
        model.loss(batch)


@pytest.mark.parametrize("name", ["loss", "label", "teacher_posterior"])
def test_a_student_of_a_modality_that_means_something_else_is_refused(name):
    net = nn.Linear(3, 4)
    with Refused(f"Students: a modality cannot be called '{name}', which means something else"):
        Students({name: net})


def test_students_of_another_size_than_the_teacher_are_refused(batch):
    with pytest.raises(ValueError, match="shape"):
        Distillation(teacher().encode, Students({"a": nn.Linear(3, 2).double()})).loss(batch)


def test_the_textbook_leaves_the_batch_alone(batch):
    model, given = teacher(one_pass=False), {**batch, "first": torch.zeros(6, 4).double()}
    model.start = FromModality("first", nn.Identity())
    model.loss(given)
    assert not given["first"].requires_grad


def test_a_teacher_needs_parts_that_can_learn(world):
    for over in ("all", "", None):
        with Refused(f"IterativeVAE: over must be 'mean' or 'last', got {over!r}"):
            IterativeVAE(FromPrior(2), World(world), GradientAscent(), over=over)
    parts = {"start": FromPrior(2), "elbo": World(world), "refiner": GradientAscent()}
    for name in parts:
        with Refused(f"IterativeVAE: {name} must be a torch.nn.Module, got", error=TypeError):
            IterativeVAE(**{**parts, name: lambda *_: None})


def test_students_that_are_not_there(batch):
    with Refused("Students: there must be at least one encoder"):
        Students({})
    students = Students({s: nn.Linear(SIZES[s], 4).double() for s in "ab"})
    with Refused("Students: no modality 'c', only a, b", students):
        students.encode(batch, ["a", "c"])
    with Refused("Students: no modality 'ab', only a, b", students):  # a string is one name
        students.encode(batch, "ab")
    with Refused("Students: the batch has no 'b', only a", students):
        students.posteriors({"a": batch["a"]}, ["a", "b"])
    with Refused("Students: the batch has none of the modalities", students):
        students.posteriors({}, ["a"])
    with Refused("Students: the batch has none of the modalities", students):
        students.posteriors({"b": batch["b"]}, "a")
    with Refused("Students: the batch has none of the modalities", students):
        students.encode(batch, [])


def test_a_teacher_is_a_function_or_its_posteriors_are_in_the_batch(batch):
    model, students = teacher(), Students({"a": nn.Linear(3, 4).double()})
    for wrong, what in ((model, "IterativeVAE"), ("model", "str")):
        with Refused(f"Distillation: teacher must be a function .* such as teacher.encode, or None, got {what}", model,
                     TypeError):  # fmt: skip
            Distillation(wrong, students)
    distillation, lam = Distillation(None, students), some(6, 4)
    with Refused("Distillation: without a teacher the batch needs 'teacher_posterior', it has a$", students):
        distillation.loss({"a": batch["a"]})
    for value in (lam[:4], lam[0], None, "lam"):
        with Refused(r"Distillation: 'teacher_posterior' must be \(6, 2 d\), got|the batch needs", students):
            distillation.loss({"a": batch["a"], "teacher_posterior": value})
    lam[4, 1] = nan
    with Refused("Distillation: 'teacher_posterior' holds NaN or infinite values, first in example 4", students):
        distillation.loss({"a": batch["a"], "teacher_posterior": lam})


def test_students_read_a_batch_that_lacks_one_of_them_beside_the_teachers_posterior(batch):
    students = Students({s: nn.Linear(SIZES[s], 4).double() for s in "ab"})
    given = {"a": batch["a"], "teacher_posterior": some(6, 4)}
    assert [*Distillation(None, students).loss(given)] == ["loss", "a"]
    same(students.encode(given), students.encode(batch, "a"), 1e-15)


def test_a_product_needs_equal_shapes():
    for product in (product_of_students, naive_product):
        with Refused("a product needs at least one distribution"):
            product([])
        with Refused(r"a product needs equal shapes, got \[\(4, 2\), \(4, 3\)\]"):
            product([Normal(torch.zeros(4, d), 1.0) for d in (2, 3)])


# ------------------------------------------------------------------------------------------- what people bring


@pytest.mark.parametrize("start", ["joint", "modality", "prior"])
def test_float64_data_are_refused_everywhere_and_the_message_says_what_to_do(batch, start):
    model, students = teacher(start).float(), Students({s: nn.Linear(D, 4) for s, D in SIZES.items()})
    inferred = {**batch, "teacher_posterior": torch.zeros(6, 4)}
    calls = [
        ("IterativeVAE", model.loss),
        ("IterativeVAE", model.infer),
        ("IterativeVAE", model.encode),
        ("IterativeVAE", model.bounds),
        ("IterativeVAE", lambda batch: next(model.refinements(batch))),
        ("IterativeVAE", model.check_batch),
        ("Elbo", lambda batch: model.elbo(torch.zeros(6, 4), batch)),
        ("Students", students.encode),
        ("Students", students.posteriors),
        ("Distillation", Distillation(model.encode, students).loss),
        ("Distillation", lambda _: Distillation(None, students).loss(inferred)),
        ("Distillation", Distillation(model.encode, students).check_batch),
        ("FromModality", FromModality("a", nn.Linear(3, 4))),
    ]
    for who, call in calls:
        with Refused(
            rf"{who}: 'a' is torch.float64 \(6, 3\), .* torch.float32; convert it with .float", error=TypeError
        ):
            call(batch)
    single = {s: x.float() for s, x in batch.items()}
    assert model.loss(single)["loss"].dtype == torch.float32
    with Refused("Elbo: 'λ' is torch.float64", error=TypeError):
        model.elbo(torch.zeros(6, 4).double(), single)
    with Refused("Elbo: 'z' is torch.float64", error=TypeError):
        model.elbo.decode(torch.zeros(6, 2).double())
    refiner, lam = Refiner(2), torch.zeros(6, 4).double()
    with Refused("Refiner: 'λ' is torch.float64", error=TypeError):
        refiner(lam, lam)


def test_half_precision_data_are_read_under_autocast_as_before(batch):
    model, students = teacher().float(), Students({s: nn.Linear(D, 4) for s, D in SIZES.items()})
    with torch.autocast("cpu", torch.bfloat16):
        half = {s: x.bfloat16() for s, x in batch.items()}
        assert model.encode(half).mean.isfinite().all()
        assert students.encode(half).mean.isfinite().all()


def vae_teacher(likelihood, decoder, start=None):
    """Of one modality, with a likelihood of the multimodal VAEs."""
    elbo = Elbo({"a": decoder}, {"a": likelihood})
    return IterativeVAE(start or nn.Sequential(), elbo, Refiner(2), 1)


def test_a_whole_model_is_saved_copied_and_pickled():
    torch.manual_seed(0)
    model = vae_teacher(vae.gaussian(0.5), nn.Linear(2, 3), FromModality("a", nn.Linear(3, 4)))
    students, batch = Students({"a": nn.Linear(3, 4)}), {"a": torch.rand(4, 3)}
    for each in (model, students, Distillation(model.encode, students), FromPrior(2), GradientAscent(0.1)):
        file = io.BytesIO()
        torch.save(each, file)
        file.seek(0)
        for other in (torch.load(file, weights_only=False), copy.deepcopy(each), pickle.loads(pickle.dumps(each))):
            if hasattr(each, "loss"):
                losses = []
                for one in (each, other):
                    torch.manual_seed(1)
                    losses.append(one.loss(batch)["loss"])
                assert torch.equal(*losses)


def test_a_decoder_that_ends_in_a_sigmoid_gives_probabilities():
    sigmoid = nn.Sequential(nn.Linear(2, 3), nn.Sigmoid())
    assert vae_teacher(vae.bernoulli(), sigmoid).elbo.likelihoods["a"] == vae.bernoulli(probabilities=True)
    tanh = nn.Sequential(nn.Linear(2, 3), nn.Tanh())
    with Refused(r"Elbo: bernoulli\(\) reads .* of 'a' ends in Tanh"):
        Elbo({"a": tanh}, {"a": vae.bernoulli()})
    with Refused("Elbo: the likelihood of 'a' must be a function from an output to a distribution, got 'bernoulli'"):
        Elbo({"a": sigmoid}, {"a": "bernoulli"})


def test_values_that_a_likelihood_cannot_take_are_refused_with_their_example():
    model = vae_teacher(vae.bernoulli(), nn.Linear(2, 3), FromModality("a", nn.Linear(3, 4)))
    x = torch.rand(4, 3)
    x[2, 1] = 255.0
    calls = ("IterativeVAE", model.loss), ("IterativeVAE", model.encode), ("IterativeVAE", model.check_batch)
    for who, call in (*calls, ("Elbo", lambda batch: model.elbo(torch.zeros(4, 4), batch))):
        with Refused(rf"{who}: with bernoulli\(\) 'a' must be from 0 to 1, got 255 in example 2; divide"):
            call({"a": x})
    elbo = Elbo({"word": nn.Linear(2, 3)}, {"word": vae.categorical()})
    with Refused("Elbo: 'word' needs classes from 0, got -100 in example 1"):
        elbo(torch.zeros(2, 4), {"word": torch.tensor([0, -100])})


def test_padding_is_refused_where_it_would_be_read_as_data():
    flat, back = nn.Sequential(nn.Flatten(), nn.Linear(10, 4)), nn.Sequential(nn.Linear(2, 10), nn.Unflatten(1, (5, 2)))
    elbo = Elbo({"series": back}, {"series": vae.gaussian(1.0)})
    model, students = IterativeVAE(FromModality("series", flat), elbo, Refiner(2), 1), Students({"series": flat})
    x, length = torch.rand(3, 5, 2) + 0.1, torch.tensor([5, 2, 3])
    end = torch.where(torch.arange(5)[:, None] < length[:, None, None], x, 0)
    calls = {
        "IterativeVAE": model.loss,
        "Elbo": lambda batch: elbo(torch.zeros(3, 4), batch),
        "Students": students.encode,
        "Distillation": Distillation(model.encode, students).check_batch,
        "FromModality": model.start,
    }
    for who, call in calls.items():
        with Refused(f"{who}: 'series' is padded to one length, .* cut all sequences"):
            call({"series": end, "length": length})
        call({"series": x, "length": length})  # nothing is padded


def test_the_numbers_of_numpy_are_numbers_and_one_size_is_one_layer():
    refiner = Refiner(np.int64(2), hidden=(np.int64(8), np.int32(3)), step=np.float32(0.1))
    elbo = Elbo({"a": nn.Linear(2, 3)}, {"a": vae.gaussian(np.float64(1))}, {"a": np.float32(2)}, torch.tensor(0.5))
    assert (type(elbo.beta), type(elbo.weights["a"]), type(GradientAscent(np.float32(1)).step)) == (float,) * 3
    model = IterativeVAE(FromPrior(np.int64(2)), elbo, refiner, np.int64(2))
    model.loss({"a": torch.rand(1, 3)})["loss"].backward()  # of one example
    assert [layer.out_features for layer in Refiner(2, hidden=16).net if isinstance(layer, nn.Linear)] == [16, 4]
    for wrong in (True, 0, 2.5, (8, 0)):
        with Refused("Refiner: hidden must be a whole number ≥ 1, got"):
            Refiner(2, hidden=wrong)
    with Refused("FromModality: a modality's name must be a string", error=TypeError):
        FromModality(["a"], nn.Identity())
