"""The linear-Gaussian world against computations that share nothing with it; float64.

All modalities and z are one linear map of standard normal numbers, u = (z, ε). Its covariance is conditioned by
blocks here, integrated on a grid for d = 1, or sampled; no precision is ever added up.
"""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from mmtutor.lineargaussian import LinearGaussian

NOISE = {"a": 0.4, "b": 0.9, "c": 1.3}
SIZES = {"a": 3, "b": 4, "c": 2}
SUBSETS = [s for n in range(4) for s in itertools.combinations("abc", n)]
every_subset = pytest.mark.parametrize("modalities", SUBSETS, ids=lambda s: "".join(s) or "none")
some = pytest.mark.parametrize("modalities", [s for s in SUBSETS if s], ids="".join)


def covariance(size, seed):
    A = np.random.default_rng(seed).normal(size=(size, size))
    return torch.from_numpy(A @ A.T / size + 0.2 * np.eye(size))


# A number, a covariance and standard deviations, one of each in one world.
MIXED = {"a": covariance(3, 0), "b": torch.tensor([0.3, 0.9, 1.4, 0.6], dtype=torch.float64), "c": 1.3}


@pytest.fixture(scope="module", params=[NOISE, MIXED], ids=["numbers", "covariances"])
def world(request):
    return LinearGaussian.random(SIZES, latent=3, noise=request.param, seed=1)


def noise_of(world, modality):
    """The distribution of a modality's noise."""
    noise, size = world.noise[modality], len(world.weights[modality])
    C = noise if torch.is_tensor(noise) else noise**2 * torch.eye(size, dtype=torch.float64)
    return MultivariateNormal(torch.zeros(size, dtype=torch.float64), C)


@pytest.fixture(scope="module")
def batch(world):
    return world.sample(6, seed=2)[1]


def joint(world):
    """The covariance of (z, a, b, c), and where each of them stands in it."""
    d, sizes = world.latent, [len(w) for w in world.weights.values()]
    at, start = {"z": list(range(d))}, d
    for modality, size in zip(world.weights, sizes, strict=True):
        at[modality] = list(range(start, start + size))
        start += size
    M = np.zeros((start, start))
    M[:d, :d] = np.eye(d)
    for modality, w in world.weights.items():
        M[np.ix_(at[modality], at["z"])] = w.numpy()
        M[np.ix_(at[modality], at[modality])] = np.linalg.cholesky(noise_of(world, modality).covariance_matrix.numpy())
    return M @ M.T, at


def conditioned(world, batch, to, modalities):
    """Mean (B, ·) and covariance of ``to`` given modalities: S_to,g S_gg⁻¹ x and S_to,to − S_to,g S_gg⁻¹ S_g,to."""
    S, at = joint(world)
    t, g = at[to], [i for modality in modalities for i in at[modality]]
    x = np.concatenate([np.zeros((len(batch["a"]), 0)), *(batch[modality].numpy() for modality in modalities)], 1)
    gain = S[np.ix_(t, g)] @ np.linalg.inv(S[np.ix_(g, g)])
    return x @ gain.T, S[np.ix_(t, t)] - gain @ S[np.ix_(g, t)]


def divergence(m1, C1, m2, C2):
    """KL(N(m1, C1) ‖ N(m2, C2)) from covariances, for rows of means."""
    inverse, difference = np.linalg.inv(C2), np.asarray(m2) - np.asarray(m1)
    quadratic = np.einsum("bi,ij,bj->b", difference, inverse, difference)
    volumes = np.linalg.slogdet(C2)[1] - np.linalg.slogdet(C1)[1]
    return (np.trace(inverse @ C1) + quadratic - len(C1) + volumes) / 2


def some_q(size, d, seed=0, diagonal=False):
    """A Gaussian for each example, far from everything."""
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(size, d, generator=generator, dtype=torch.float64)
    L = 0.4 * torch.randn(size, d, d, generator=generator, dtype=torch.float64).tril(-1)
    std = 0.3 + torch.rand(size, d, generator=generator, dtype=torch.float64)
    return Normal(mean, std) if diagonal else MultivariateNormal(mean, scale_tril=L + std.diag_embed())


def close(got, expected, tolerance=1e-10):
    got = got.detach().numpy() if isinstance(got, torch.Tensor) else got
    np.testing.assert_allclose(got, np.asarray(expected), rtol=tolerance, atol=tolerance)


# ------------------------------------------------------------------------------------------ the world


@pytest.mark.parametrize("noise", [0.4, covariance(2, 1)], ids=["number", "covariance"])
def test_a_sample_has_the_joint_covariance(noise):
    """400,000 draws: a covariance entry of standard deviation at most 4 / √400,000 = 0.006 is within 5 of these."""
    world = LinearGaussian.random({"a": 2, "b": 1}, 2, {"a": noise, "b": 0.9}, seed=5)
    z, batch = world.sample(400_000, seed=0)
    assert z.shape == (400_000, 2)
    assert {s: x.shape[1] for s, x in batch.items()} == {"a": 2, "b": 1}
    S, _ = joint(world)
    drawn = torch.cat([z, *batch.values()], 1).numpy()
    assert np.abs(np.cov(drawn.T) - S).max() < 0.03
    assert np.abs(drawn.mean(0)).max() < 0.02


def test_seeds_decide_and_global_random_numbers_are_left_alone():
    before = torch.get_rng_state()
    one, same, other = (LinearGaussian.random(SIZES, 3, seed=seed) for seed in (0, 0, 1))
    draws = [one.sample(4, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.weights["b"], same.weights["b"])
    assert not torch.equal(one.weights["b"], other.weights["b"])
    assert torch.equal(draws[0][1]["c"], draws[1][1]["c"])
    assert not torch.equal(draws[0][1]["c"], draws[2][1]["c"])
    assert one.noise == dict.fromkeys(SIZES, 0.5)
    assert one.weights["a"].dtype == torch.float64


def test_each_number_of_a_random_picture_has_variance_one_on_average():
    W = LinearGaussian.random({"a": 4000}, latent=5).weights["a"]
    assert W.square().sum(1).mean().item() == pytest.approx(1, abs=0.05)


# ------------------------------------------------------------------------------------- what is true


@every_subset
def test_the_posterior_is_the_joint_conditioned(world, batch, modalities):
    q = world.posterior(batch, modalities)
    mean, covariance = conditioned(world, batch, "z", modalities)
    assert isinstance(q, MultivariateNormal)
    assert (q.batch_shape, q.event_shape) == ((6,), (3,))
    close(q.mean, mean)
    for C in q.covariance_matrix:
        close(C, covariance)
    close(world.precision(modalities), np.linalg.inv(covariance), 1e-9)


def test_a_set_of_modalities_can_be_said_in_several_ways(world, batch):
    mean = world.posterior(batch, ["c", "a"]).mean
    for given, modalities in [
        ({"a": batch["a"], "c": batch["c"]}, None),
        ({"c": batch["c"], "a": batch["a"]}, None),
        (batch, ("a", "c", "a")),
        (batch, iter(["c", "a"])),
    ]:
        assert torch.equal(world.posterior(given, modalities).mean, mean)
    assert torch.equal(world.posterior(batch, "b").mean, world.posterior({"b": batch["b"]}).mean)
    assert torch.equal(world.posterior(batch).mean, world.posterior(batch, SIZES).mean)
    assert torch.equal(world.log_prob({"c": batch["c"], "a": batch["a"]}), world.log_prob(batch, ("a", "c")))


def test_of_no_modality_the_posterior_is_the_prior(world, batch):
    q = world.posterior(batch, ())
    close(q.mean, np.zeros((6, 3)))
    close(q.covariance_matrix, np.eye(3)[None].repeat(6, 0))
    close(world.log_prob(batch, ()), np.zeros(6))
    close(world.gap(batch, some_q(6, 3), ()), kl_divergence(some_q(6, 3), world.prior))


@some
def test_log_prob_is_that_of_the_joint(world, batch, modalities):
    S, at = joint(world)
    g = [i for modality in modalities for i in at[modality]]
    x = torch.cat([batch[modality] for modality in modalities], 1)
    expected = stats.multivariate_normal(np.zeros(len(g)), S[np.ix_(g, g)]).logpdf(x.numpy())
    close(world.log_prob(batch, modalities), expected)
    assert world.marginal(modalities).mean.tolist() == [0.0] * len(g)
    close(world.marginal(modalities).covariance_matrix, S[np.ix_(g, g)])


@every_subset
def test_log_prob_is_what_bayes_says_at_any_z(world, batch, modalities):
    """The second route: log p(x_S) = log p(x_S | z) + log p(z) − log p(z | x_S), through the posterior, at any z."""
    z = some_q(6, 3).mean
    likelihood = sum(
        (noise_of(world, s).log_prob(batch[s] - z @ world.weights[s].T) for s in modalities), torch.zeros(6)
    )
    bayes = likelihood + Normal(0, 1).log_prob(z).sum(1) - world.posterior(batch, modalities).log_prob(z)
    close(world.log_prob(batch, modalities), bayes)


@pytest.mark.parametrize("to", "abc")
@every_subset
def test_prediction_is_the_joint_conditioned(world, batch, modalities, to):
    if to in modalities:
        with pytest.raises(ValueError, match=f"to='{to}' is among what is given"):
            world.predict(batch, to, modalities)
        return
    predicted = world.predict(batch, to, modalities)
    mean, covariance = conditioned(world, batch, to, modalities)
    close(predicted.mean, mean)
    for C in predicted.covariance_matrix:
        close(C, covariance)
    if modalities:
        both, given = world.log_prob(batch, (*modalities, to)), world.log_prob(batch, modalities)
        close(predicted.log_prob(batch[to]), both - given)


def test_prediction_from_what_is_in_the_batch(world, batch):
    given = {"a": batch["a"], "b": batch["b"]}
    assert torch.equal(world.predict(given, "c").mean, world.predict(batch, "c", ["a", "b"]).mean)


def test_one_dimension_is_integrated_on_a_grid():
    """Evidence, posterior and ELBO as sums over 20,001 values of z from −12 to 12: only the three densities."""
    world = LinearGaussian.random({"a": 2, "b": 1}, 1, {"a": 0.7, "b": 0.5}, seed=3)
    _, batch = world.sample(4, seed=4)
    z = np.linspace(-12, 12, 20_001)
    step = z[1] - z[0]
    log_joint = stats.norm.logpdf(z) + sum(
        stats.norm.logpdf(x.numpy()[:, None], z[:, None] * world.weights[s].numpy()[:, 0], world.noise[s]).sum(2)
        for s, x in batch.items()
    )
    evidence = np.exp(log_joint).sum(1) * step
    close(world.log_prob(batch), np.log(evidence))
    posterior = np.exp(log_joint) / evidence[:, None]
    mean = (posterior * z).sum(1) * step
    close(world.posterior(batch).mean[:, 0], mean)
    close(world.posterior(batch).variance[:, 0], (posterior * (z - mean[:, None]) ** 2).sum(1) * step)
    q = Normal(
        torch.tensor([[0.3], [-1.0], [2.0], [0.0]]).double(), torch.tensor([[0.5], [1.1], [0.2], [0.9]]).double()
    )
    log_q = stats.norm.logpdf(z, q.mean.numpy(), q.stddev.numpy())
    bound = (np.exp(log_q) * (log_joint - log_q)).sum(1) * step
    close(world.elbo(batch, q), bound)
    close(world.gap(batch, q), (np.exp(log_q) * (log_q - np.log(posterior))).sum(1) * step)


# ---------------------------------------------------------------------- how far from it an inference is


@pytest.mark.parametrize("diagonal", [True, False])
@every_subset
def test_the_gap_is_the_divergence_to_the_posterior(world, batch, modalities, diagonal):
    """log p − ELBO, from the marginal and the ELBO, against the KL to the conditioned joint, which uses neither."""
    q = some_q(6, 3, diagonal=diagonal)
    mean, covariance = conditioned(world, batch, "z", modalities)
    C = q.variance.diag_embed() if diagonal else q.covariance_matrix
    expected = [divergence(q.mean[[b]], C[b].numpy(), mean[[b]], covariance)[0] for b in range(6)]
    gap = world.gap(batch, q, modalities)
    close(gap, expected)
    close(gap, world.log_prob(batch, modalities) - world.elbo(batch, q, modalities))
    assert (gap > 0.1).all()
    close(world.gap(batch, world.posterior(batch, modalities), modalities), np.zeros(6), 1e-11)


def test_every_kind_of_gaussian_is_taken(world, batch):
    q = some_q(6, 3, diagonal=True)
    full = MultivariateNormal(q.mean, q.variance.diag_embed())
    for same in (full, Independent(q, 1), Independent(Normal(q.mean, q.stddev, validate_args=False), 1)):
        close(world.elbo(batch, same), world.elbo(batch, q), 1e-13)
    single = Independent(Normal(q.mean.float(), q.stddev.float()), 1)
    assert world.elbo(batch, single).dtype == torch.float64
    close(world.elbo(batch, single), world.elbo(batch, q), 1e-5)


def test_the_elbo_is_a_mean_over_draws_from_q(world, batch):
    """200,000 draws; the mean must lie within 5 of its standard errors."""
    given, q = {s: batch[s][:1] for s in ("a", "c")}, some_q(1, 3)
    torch.manual_seed(0)
    z = q.sample((200_000,))[:, 0]
    each = Normal(0, 1).log_prob(z).sum(1) - q.log_prob(z.unsqueeze(1))[:, 0]
    for s, x in given.items():
        each = each + noise_of(world, s).log_prob(x - z @ world.weights[s].T)
    assert abs(each.mean() - world.elbo(given, q)[0]) < 5 * each.std() / math.sqrt(len(each))


@every_subset
def test_the_mean_field_floor(world, batch, modalities):
    q = world.mean_field(batch, modalities)
    assert isinstance(q, Independent)
    assert (q.batch_shape, q.event_shape) == ((6,), (3,))
    mean, covariance = conditioned(world, batch, "z", modalities)
    close(q.mean, mean)
    floor = divergence(q.mean, np.diag(q.variance[0].numpy()), mean, covariance)
    close(floor, np.full(6, world.mean_field_floor(modalities)))
    assert (world.mean_field_floor(modalities) > 0.01) == bool(modalities)


def test_no_diagonal_gaussian_is_better_than_mean_field(world, batch):
    """Newton's method on the gap over mean and log σ, from the prior, ends at `mean_field` and its floor."""
    x = {s: v[:1] for s, v in batch.items()}

    def gap(parameters):
        return world.gap(x, Normal(parameters[None, :3], parameters[None, 3:].exp())).sum()

    at = torch.zeros(6, dtype=torch.float64)
    for _ in range(30):
        step = torch.linalg.solve(
            torch.autograd.functional.hessian(gap, at), torch.autograd.functional.jacobian(gap, at)
        )
        at = at - step
    close(at[:3], world.mean_field(x).mean[0], 1e-8)
    close(at[3:].exp(), world.mean_field(x).stddev[0], 1e-8)
    assert gap(at).item() == pytest.approx(world.mean_field_floor(), abs=1e-10)
    exact = world.posterior(x)
    assert world.gap(x, Normal(exact.mean, exact.stddev)).item() > world.mean_field_floor() + 0.01


def test_a_newton_step_on_the_mean_is_exact(world, batch):
    """∇_m ELBO = P (m* − m), whatever the covariance: one step P⁻¹∇ from anywhere ends at the posterior's mean."""
    for modalities in SUBSETS:
        q = some_q(6, 3, seed=len(modalities))
        mean = q.mean.clone().requires_grad_()
        elbo = world.elbo(batch, MultivariateNormal(mean, scale_tril=q.scale_tril), modalities)
        (gradient,) = torch.autograd.grad(elbo.sum(), mean)
        after = mean.detach() + gradient @ torch.linalg.inv(world.precision(modalities))
        close(after, world.posterior(batch, modalities).mean)


def test_gradient_ascent_on_the_elbo_from_the_prior_ends_at_the_posterior(world, batch):
    """Mean and full covariance C = LLᵀ, for all examples at once, in plain steps; the gap falls and is gone."""
    mean = torch.zeros(6, 3, dtype=torch.float64, requires_grad=True)
    L = torch.eye(3, dtype=torch.float64).repeat(6, 1, 1).requires_grad_()
    step = 1 / torch.linalg.eigvalsh(world.precision()).max()
    gaps = []
    for _ in range(400):
        q = MultivariateNormal(mean, scale_tril=L.tril())
        gaps.append(world.gap(batch, q).mean().item())
        gradients = torch.autograd.grad(world.elbo(batch, q).sum(), (mean, L))
        with torch.no_grad():
            for parameter, gradient, rate in zip((mean, L), gradients, (step, step / 2), strict=True):
                parameter += rate * gradient
    assert gaps[0] > 10
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(gaps))
    assert gaps[-1] < 1e-10
    close(mean, conditioned(world, batch, "z", "abc")[0], 1e-5)
    close((L.tril() @ L.tril().mT)[0], conditioned(world, batch, "z", "abc")[1], 1e-5)


def test_gradients_flow_to_weights_and_modalities():
    """At q = posterior the gap is at its least, so log p and ELBO have the same gradient by the weights."""
    fixed = LinearGaussian.random(SIZES, 3, NOISE, seed=1)
    W = {s: w.clone().requires_grad_() for s, w in fixed.weights.items()}
    world = LinearGaussian(W, NOISE)
    _, batch = fixed.sample(3, seed=0)
    q = fixed.posterior(batch)
    by_log_p = torch.autograd.grad(world.log_prob(batch).sum(), list(W.values()))
    by_elbo = torch.autograd.grad(world.elbo(batch, q).sum(), list(W.values()))
    for one, other in zip(by_log_p, by_elbo, strict=True):
        close(one, other)
        assert one.abs().max() > 0.1


# ------------------------------------------------------------------------------- students and products


@every_subset
def test_missing_information_is_a_difference_of_entropies(world, modalities):
    """I(z; x_rest | x_S) = H(x_rest | x_S) − H(x_rest | z), from determinants of the joint; no precision."""
    S, at = joint(world)

    def entropy(names):
        g = [i for name in names for i in at[name]]
        return np.linalg.slogdet(S[np.ix_(g, g)])[1] / 2 if g else 0.0

    rest = [s for s in "abc" if s not in modalities]
    expected = (
        entropy("abc")
        - entropy(modalities)
        - sum(noise_of(world, s).covariance_matrix.logdet().item() / 2 for s in rest)
    )
    close(world.missing_information(modalities), expected)
    assert (world.missing_information(modalities) > 0.01) == bool(rest)


@pytest.mark.parametrize("modalities", ["a", "b", ("b", "c")], ids="".join)
def test_the_best_forward_student_is_the_posterior_and_misses_that_information(world, modalities):
    """Monte Carlo over 40,000 examples within 5 standard errors, and no disturbance of it is better."""
    _, batch = world.sample(40_000, seed=7)
    teacher, student = world.posterior(batch), world.posterior(batch, modalities)
    each = kl_divergence(teacher, student)
    assert abs(each.mean() - world.missing_information(modalities)) < 5 * each.std() / 200
    # In closed form, from block matrices: E KL = ½ [tr C_S⁻¹ C + tr C_S⁻¹ (C_S − C) − d + log det C_S/C].
    few = {s: x[:1] for s, x in batch.items()}
    C, C_S = conditioned(world, few, "z", "abc")[1], conditioned(world, few, "z", modalities)[1]
    expected = divergence(np.zeros((1, 3)), C, np.zeros((1, 3)), C_S)[0] + np.trace(np.linalg.inv(C_S) @ (C_S - C)) / 2
    close(world.missing_information(modalities), expected)
    mean, covariance = student.mean, student.covariance_matrix[0]
    for other in [
        MultivariateNormal(mean + 0.1, covariance),
        MultivariateNormal(0.9 * mean, covariance),
        MultivariateNormal(mean, 1.15 * covariance),
        MultivariateNormal(mean, 0.85 * covariance),
        MultivariateNormal(mean, covariance + 0.05 * torch.ones(3, 3)),
    ]:
        assert kl_divergence(teacher, other).mean() > each.mean() + 1e-3


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_a_fitted_student_finds_the_student_that_is_said_to_be_the_best(world, direction):
    """q(z | x_b) = N(A x_b + c, LLᵀ) fitted by L-BFGS to the exact teacher on 20,000 examples.

    The best student of a finite sample differs from that of the world by about 1/√20,000 = 0.007; 0.04 is allowed.
    """
    _, batch = world.sample(20_000, seed=8)
    teacher, x = world.posterior(batch), batch["b"]
    A = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
    c = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    free = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)  # L, with the logarithm of its diagonal
    optimizer = torch.optim.LBFGS([A, c, free], max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def student():
        return MultivariateNormal(x @ A.T + c, scale_tril=free.tril(-1) + free.diagonal().exp().diag())

    def loss():
        q = student()
        return (kl_divergence(teacher, q) if direction == "forward" else kl_divergence(q, teacher)).mean()

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
    best = world.posterior(batch, "b") if direction == "forward" else world.reverse_student(batch, "b")
    assert (student().mean - best.mean).abs().max() < 0.15  # of the farthest of 20,000
    assert (student().mean - best.mean).abs().mean() < 0.04
    assert (student().covariance_matrix[0] - best.covariance_matrix[0]).abs().max() < 0.04
    C = torch.from_numpy(conditioned(world, batch, "z", "abc")[1])
    if direction == "forward":
        remains = world.missing_information("b")
    else:
        close(best.covariance_matrix[0], C)  # the teacher's, and so much narrower than it should be:
        assert (best.stddev[0] / world.posterior(batch, "b").stddev[0] < 0.9).all()
        remains = (torch.trace(world.precision() @ torch.linalg.inv(world.precision("b"))).item() - 3) / 2
    assert loss().item() == pytest.approx(remains, rel=0.02)


@pytest.mark.parametrize("modalities", ["b", ("a", "c"), ()], ids=lambda s: "".join(s) or "none")
def test_the_reverse_student_in_closed_form(world, modalities):
    """It has the conditioned mean and the teacher's covariance, and ½ (tr P P_S⁻¹ − d) remain (5 standard errors)."""
    _, batch = world.sample(40_000, seed=6)
    student = world.reverse_student(batch, modalities)
    mean, C_S = conditioned(world, batch, "z", modalities)
    C = conditioned(world, batch, "z", "abc")[1]
    close(student.mean, mean)
    close(student.covariance_matrix, np.broadcast_to(C, (40_000, 3, 3)))
    each = kl_divergence(student, world.posterior(batch))
    remains = (np.trace(np.linalg.inv(C) @ C_S) - 3) / 2
    assert abs(each.mean() - remains) < 5 * each.std() / 200


@some
def test_posteriors_multiply_to_the_posterior_if_the_prior_is_divided_out(world, batch, modalities):
    """∏ p(z | xᵢ) / p(z)^(M−1) and p(z | x_S), as densities at 200 values of z: their log-ratio is the same at each."""
    z = some_q(200, 3).mean.unsqueeze(1)
    one_by_one = sum(world.posterior(batch, s).log_prob(z) for s in modalities)
    product = one_by_one - (len(modalities) - 1) * world.prior.log_prob(z)
    ratio = product - world.posterior(batch, modalities).log_prob(z)
    close(ratio - ratio[:1], np.zeros((200, 6)), 1e-9)
    naive = one_by_one - world.naive_product(batch, modalities).log_prob(z)
    close(naive - naive[:1], np.zeros((200, 6)), 1e-9)
    if len(modalities) == 1:
        close(world.naive_product(batch, modalities).mean, world.posterior(batch, modalities).mean)
    else:
        wrong = one_by_one - world.posterior(batch, modalities).log_prob(z)
        assert (wrong - wrong[:1]).abs().max() > 1
        assert (
            world.naive_product(batch, modalities).mean.norm(dim=1)
            < world.posterior(batch, modalities).mean.norm(dim=1)
        ).all()
        assert (world.naive_product(batch, modalities).variance < world.posterior(batch, modalities).variance).all()


@some
def test_the_gap_of_the_naive_product(world, modalities):
    """Its expectation: exactly, with the covariance of x_S, and as the mean gap of 40,000 examples (5 errors)."""
    S, at = joint(world)
    each = [conditioned(world, world.sample(1, 0)[1], "z", (s,))[1] for s in modalities]
    naive = np.linalg.inv(sum(np.linalg.inv(C) for C in each))
    exact = conditioned(world, world.sample(1, 0)[1], "z", modalities)[1]
    g = [i for s in modalities for i in at[s]]
    # Both means are linear in x_S: K x for the exact one, and the weighted mean of the single ones for the naive one.
    K = S[np.ix_(at["z"], g)] @ np.linalg.inv(S[np.ix_(g, g)])
    single = [S[np.ix_(at["z"], at[s])] @ np.linalg.inv(S[np.ix_(at[s], at[s])]) for s in modalities]
    K_naive = np.concatenate([naive @ np.linalg.inv(C) @ k for C, k in zip(each, single, strict=True)], 1)
    apart = (K_naive - K) @ S[np.ix_(g, g)] @ (K_naive - K).T
    zero = np.zeros((1, 3))
    expected = divergence(zero, naive, zero, exact)[0] + np.trace(np.linalg.inv(exact) @ apart) / 2
    close(world.naive_product_gap(modalities), expected)
    assert (world.naive_product_gap(modalities) > 0.01) == (len(modalities) > 1)
    _, batch = world.sample(40_000, seed=9)
    gaps = world.gap(batch, world.naive_product(batch, modalities), modalities)
    assert abs(gaps.mean().item() - expected) < 5 * gaps.std().item() / 200 + 1e-10


def test_noisier_modalities_make_the_naive_product_worse():
    """What it costs to count the prior M times is more where the modalities say little and the prior much."""
    gaps = [LinearGaussian.random(SIZES, 3, noise, seed=1).naive_product_gap() for noise in (0.1, 0.3, 1.0)]
    assert gaps == sorted(gaps)


# ------------------------------------------------------------------------------------------- wrong input

W = torch.ones(2, 3)


@pytest.mark.parametrize(
    ("weights", "noise", "message"),
    [
        ({}, 1.0, "weights must name at least one modality"),
        ({"a": torch.ones(3)}, 1.0, r"weights\['a'\] must be float \(Dᵢ, d\), got torch.float32 \(3,\)"),
        ({"a": torch.ones(2, 0)}, 1.0, r"weights\['a'\] must be float"),
        ({"a": torch.ones(2, 3).long()}, 1.0, r"weights\['a'\] must be float .* got torch.int64"),
        ({"a": W, "b": torch.ones(2, 4)}, 1.0, r"weights\['b'\] must have d, .* of 'a', \(3, .*\), got \(4, "),
        ({"a": W, "b": W.double()}, 1.0, r"weights\['b'\] must have .* got \(3, torch.float64"),
        ({"a": W, "b": W.to("meta")}, 1.0, r"weights\['b'\] must have .*type='meta'"),
        ({"a": W * math.nan}, 1.0, r"weights\['a'\] has NaN or infinite"),
        ({"a": W / 0}, 1.0, r"weights\['a'\] has NaN or infinite"),
        ({"a": W, "b": W}, {"a": 1.0}, r"noise must be given for a, b, got \['a'\]"),
        ({"a": W}, {"a": 1.0, "c": 1.0}, r"noise must be given for a, got \['a', 'c'\]"),
        *(
            ({"a": W, "b": W}, {"a": 1.0, "b": sigma}, r"noise\['b'\] must be finite and above 0, got")
            for sigma in (0.0, -1.0, math.nan, math.inf, 1e-200, 1e200)
        ),
        ({"a": W}, 0.0, r"noise\['a'\] must be finite and above 0, got 0.0"),
        ({"a": W}, torch.ones(3), r"noise\['a'\] must be a number, float \(2,\) or \(2, 2\), got torch.float32 \(3,\)"),
        ({"a": W}, torch.ones(2, 1), r"noise\['a'\] must be a number, float \(2,\) or \(2, 2\), got"),
        ({"a": W}, torch.eye(2).long(), r"noise\['a'\] must be a number, float .* got torch.int64"),
        ({"a": W}, torch.tensor([1.0, 0.0]), r"noise\['a'\] must be finite and above 0, got"),
        ({"a": W}, torch.tensor([1.0, -1.0]), r"noise\['a'\] must be finite and above 0, got"),
        ({"a": W}, torch.tensor([1.0, math.nan]), r"noise\['a'\] must be finite and above 0, got"),
        *(
            ({"a": W}, torch.tensor(C), r"noise\['a'\] must be finite and symmetric and positive definite, got")
            for C in ([[1.0, 0.5], [0.0, 1.0]], [[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.0], [0.0, math.inf]])
        ),
    ],
)
def test_a_world_that_cannot_be(weights, noise, message):
    with pytest.raises(ValueError, match=message):
        LinearGaussian(weights, noise)


@pytest.mark.parametrize(
    ("sizes", "latent", "message"),
    [
        ({"a": 0}, 2, r"sizes\['a'\] must be a whole number of at least 1, got 0"),
        ({"a": 2.5}, 2, r"sizes\['a'\] must be a whole number of at least 1, got 2.5"),
        ({"a": True}, 2, r"sizes\['a'\] must be a whole number of at least 1, got True"),
        ({"a": 1}, -1, "latent must be a whole number of at least 1, got -1"),
    ],
)
def test_a_random_world_that_cannot_be(sizes, latent, message):
    with pytest.raises(ValueError, match=message):
        LinearGaussian.random(sizes, latent)


def test_the_numbers_of_numpy_make_the_same_world():
    world = LinearGaussian.random({"a": np.int64(3)}, np.int32(2), np.float64(0.5), np.int64(1))
    same = LinearGaussian.random({"a": 3}, 2, 0.5, 1)
    assert torch.equal(world.weights["a"], same.weights["a"])
    assert torch.equal(world.sample(np.int64(4), np.int64(0))[1]["a"], same.sample(4, 0)[1]["a"])
    for n in (-1, 2.5, True):
        with pytest.raises(ValueError, match="sample: n must be a whole number of at least 0, got"):
            same.sample(n, 0)


def test_noise_is_a_number_standard_deviations_or_a_covariance():
    """The same noise said in three ways; what a world keeps of a tensor is its covariance, without the gradient."""
    sigma = torch.full((3,), 0.5, requires_grad=True)
    worlds = [LinearGaussian.random({"a": 3}, 2, noise, 1) for noise in (0.5, sigma, 0.25 * torch.eye(3))]
    _, batch = worlds[0].sample(4, 0)
    q = some_q(4, 2)
    for world in worlds[1:]:
        assert torch.equal(world.noise["a"], 0.25 * torch.eye(3).double())
        close(world.sample(4, 0)[1]["a"], batch["a"])
        close(world.posterior(batch).mean, worlds[0].posterior(batch).mean)
        close(world.log_prob(batch), worlds[0].log_prob(batch))
        close(world.elbo(batch, q), worlds[0].elbo(batch, q))
        close(world.to(torch.ones(1)).log_prob(batch), worlds[0].log_prob(batch), 1e-5)


def test_private_latents_are_noise_to_the_shared_latent():
    """The world of z with the noise VVᵀ + σ²I says of z what the world of (z, w of a, w of b) says of it."""
    one = LinearGaussian.random({"a": 3, "b": 4}, 3, 0.7, seed=4)
    W = {s: w[:, :2] for s, w in one.weights.items()}
    V = {s: w[:, 2:] for s, w in one.weights.items()}
    beside = {"a": [W["a"], V["a"], 0 * V["a"]], "b": [W["b"], 0 * V["b"], V["b"]]}
    full = LinearGaussian({s: torch.cat(parts, 1) for s, parts in beside.items()}, 0.7)
    shared = LinearGaussian(W, {s: v @ v.T + 0.49 * torch.eye(len(v)).double() for s, v in V.items()})
    _, batch = full.sample(5, seed=0)
    for modalities in ("a", "b", ("a", "b")):
        q, exact = full.posterior(batch, modalities), shared.posterior(batch, modalities)
        close(exact.mean, q.mean[:, :2])
        close(exact.covariance_matrix, q.covariance_matrix[:, :2, :2])
        close(shared.log_prob(batch, modalities), full.log_prob(batch, modalities))
    close(shared.predict(batch, "b", "a").covariance_matrix, full.predict(batch, "b", "a").covariance_matrix)


def test_what_is_no_tensor_is_refused():
    world = LinearGaussian.random({"a": 3}, 2)
    with pytest.raises(TypeError, match=r"weights\['a'\] must be a tensor, got ndarray"):
        LinearGaussian({"a": np.eye(2)}, 0.5)
    with pytest.raises(TypeError, match="'a' must be a tensor, got ndarray"):
        world.posterior({"a": np.ones((2, 3))})
    with pytest.raises(TypeError, match="a batch must be a dict of tensors, got Tensor"):
        world.log_prob(torch.ones(2, 3))


def test_a_world_is_saved_and_copied():
    world = LinearGaussian.random({"a": 3, "b": 2}, 2)
    batch = world.sample(4, 0)[1]
    for other in (copy.deepcopy(world), pickle.loads(pickle.dumps(world))):
        assert torch.equal(other.log_prob(batch), world.log_prob(batch))


GOOD = torch.ones(5, 3, dtype=torch.float64)
CALLS = {
    "posterior": lambda world, batch, modalities: world.posterior(batch, modalities),
    "log_prob": lambda world, batch, modalities: world.log_prob(batch, modalities),
    "predict": lambda world, batch, modalities: world.predict(batch, "c", modalities),
    "elbo": lambda world, batch, modalities: world.elbo(batch, some_q(5, 3), modalities),
    "gap": lambda world, batch, modalities: world.gap(batch, some_q(5, 3), modalities),
    "mean_field": lambda world, batch, modalities: world.mean_field(batch, modalities),
    "reverse_student": lambda world, batch, modalities: world.reverse_student(batch, modalities),
    "naive_product": lambda world, batch, modalities: world.naive_product(batch, modalities),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("given", "modalities", "message"),
    [
        ({}, None, "at least one of a, b, c must be given, got none"),
        ({}, (), "at least one of a, b, c must be given, got none"),
        ({"a": GOOD}, ["b"], "'b' is not in the batch, only a"),
        ({"a": GOOD}, ["a", "x"], "unknown modality 'x'; expected one of a, b, c"),
        ({"a": GOOD, "a_present": GOOD}, None, "unknown modality 'a_present'; masks are not read"),
        ({"a": GOOD[:, :2]}, None, r"'a' must be \(B, 3\), got \(5, 2\)"),
        ({"a": GOOD[0]}, None, r"'a' must be \(B, 3\), got \(3,\)"),
        ({"a": GOOD[0, 0]}, None, r"'a' must be \(B, 3\), got \(\)"),
        ({"a": GOOD.unsqueeze(2)}, None, r"'a' must be \(B, 3\), got \(5, 3, 1\)"),
        ({"a": GOOD, "b": torch.ones(4, 4)}, None, r"'b' must be \(B, 4\) with B = 5 as 'a' has, got \(4, 4\)"),
        ({"a": GOOD, "b": torch.ones(4, 4)}, "a", r"'b' must be \(B, 4\) with B = 5"),
        ({"a": GOOD * math.nan}, None, "'a' has NaN or infinite values"),
        ({"a": GOOD / 0}, None, "'a' has NaN or infinite values"),
    ],
)
def test_a_batch_that_does_not_fit(world, call, given, modalities, message):
    with pytest.raises(ValueError, match=message):
        call(world, given, modalities)


def test_an_unknown_modality_is_answered_with_the_nearest():
    world = LinearGaussian.random({"picture": 2, "sound": 2}, 2)
    with pytest.raises(ValueError, match="unknown modality 'pictures'; did you mean 'picture'"):
        world.precision(["pictures"])
    for wrong in (world.mean_field_floor, world.missing_information, world.naive_product_gap, world.marginal):
        with pytest.raises(ValueError, match="unknown modality 'soud'; did you mean 'sound'"):
            wrong(["soud"])
    with pytest.raises(ValueError, match="unknown modality 'soud'; did you mean 'sound'"):
        world.predict({"picture": torch.ones(1, 2)}, "soud")


def test_what_has_no_meaning_without_a_modality(world, batch):
    for wrong in (
        lambda: world.marginal(()),
        lambda: world.naive_product_gap(()),
        lambda: world.naive_product(batch, ()),
    ):
        with pytest.raises(ValueError, match="at least one of a, b, c must be given"):
            wrong()


@pytest.mark.parametrize(
    ("q", "error", "message"),
    [
        (some_q(4, 3), ValueError, r"q must have mean \(6, 3\), got \(4, 3\)"),
        (some_q(6, 2, diagonal=True), ValueError, r"q must have mean \(6, 3\), got \(6, 2\)"),
        (torch.distributions.Laplace(torch.zeros(6, 3), 1), TypeError, "q must be a MultivariateNormal, Normal"),
        (
            Independent(torch.distributions.Laplace(torch.zeros(6, 3), 1), 1),
            TypeError,
            "q must be a MultivariateNormal, Normal",
        ),
        (Normal(torch.full((6, 3), math.nan), 1, validate_args=False), ValueError, "q has NaN or infinite"),
        (Normal(torch.zeros(6, 3), math.inf, validate_args=False), ValueError, "q has NaN or infinite"),
    ],
)
def test_a_q_that_does_not_fit(world, batch, q, error, message):
    with pytest.raises(error, match=message):
        world.elbo(batch, q)


def test_dtype_and_order_follow_the_weights():
    world = LinearGaussian({"a": torch.eye(2), "b": torch.ones(3, 2)}, {"b": 2.0, "a": 1.0})
    assert list(world.noise) == ["a", "b"]
    z, batch = world.sample(3, seed=0)
    assert z.dtype == batch["b"].dtype == torch.float32
    double = {s: x.double() for s, x in batch.items()}
    for value in (world.posterior(double).mean, world.log_prob(double), world.elbo(double, some_q(3, 2))):
        assert value.dtype == torch.float32
    assert world.predict({"a": double["a"]}, "b").mean.dtype == torch.float32
    assert isinstance(world.mean_field_floor(), float)
