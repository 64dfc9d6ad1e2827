"""Products, mixtures and distances of Gaussians against numerical integrals, naive loops and frequencies; float64."""

import itertools
import math

import pytest
import torch
from torch.distributions import MultivariateNormal
from vae_world import SETS, close, exact_encoder, f64, skew_world, straight_world

from mmtutor.vae import (
    average,
    from_network,
    mixture,
    normal,
    product,
    product_of_posteriors,
    stacked,
    subsets,
    symmetric_kl,
    wasserstein,
)
from mmtutor.vae.gaussian import choose, divergence, log_prob, row, standard, where

GRID = torch.linspace(-30, 30, 60001, dtype=torch.float64)
MASKS = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 1], [1, 1, 1]]).bool()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def experts_of(M=3, B=5, d=2, wide=0.5):
    return normal(2 * torch.randn(M, B, d).double(), (wide * torch.randn(M, B, d).double()).exp())


def gauss(z, mean, std):
    return (-((z - mean) ** 2) / (2 * std**2)).exp() / (std * math.sqrt(2 * math.pi))


def moments(values):
    """Mean and standard deviation of a density on the grid that is yet to be normalised."""
    values = values / values.sum()
    mean = (values * GRID).sum()
    return mean.item(), (values * (GRID - mean) ** 2).sum().sqrt().item()


def logs(experts, i, b, z):
    """log qᵢ(z|xᵢ) of example b for one z, number by number."""
    mean, std = experts.mean[i, b].tolist(), experts.stddev[i, b].tolist()
    return sum(math.log(gauss(f64(x), m, s)) for x, m, s in zip(z.tolist(), mean, std, strict=True))


# ------------------------------------------------------------------------------------------------- products


@pytest.mark.parametrize("prior", [True, False])
def test_a_product_is_the_densities_multiplied(prior):
    experts = experts_of(M=3, B=5, d=1)
    among = MASKS.T  # (3, 5): each example has another set
    q = product(experts, among, prior=prior)
    assert q.batch_shape == (5,)
    assert q.event_shape == (1,)
    for b in range(5):
        values = gauss(GRID, 0, 1) if prior else torch.ones_like(GRID)
        for i in among[:, b].nonzero()[:, 0].tolist():
            values = values * gauss(GRID, experts.mean[i, b, 0], experts.stddev[i, b, 0])
        mean, std = moments(values)
        assert q.mean[b, 0].item() == pytest.approx(mean, abs=1e-9)
        assert q.stddev[b, 0].item() == pytest.approx(std, abs=1e-9)


def test_a_product_without_a_mask_is_of_all_experts():
    experts = experts_of()
    everyone = torch.ones(3, 5, dtype=torch.bool)
    for of, options in ((product, {"prior": True}), (product, {"prior": False}), (product_of_posteriors, {})):
        close(of(experts, **options).mean, of(experts, everyone, **options).mean, 1e-14)
        close(of(experts, **options).stddev, of(experts, everyone, **options).stddev, 1e-14)


def test_the_product_of_no_expert_is_the_prior():
    experts, nobody = experts_of(), torch.zeros(3, 5, dtype=torch.bool)
    for q in (product(experts, nobody), product_of_posteriors(experts, nobody)):
        assert not q.mean.any()
        assert (q.stddev == 1).all()


@pytest.mark.parametrize("of", [product, product_of_posteriors])
def test_many_masks_at_once_are_each_of_them_alone(of):
    experts = experts_of()
    among = torch.rand(4, 2, 3, 5) < 0.6
    q = of(experts, among)
    assert q.batch_shape == (4, 2, 5)
    for i, j in itertools.product(range(4), range(2)):
        one = of(experts, among[i, j])
        close(q.mean[i, j], one.mean, 1e-13)
        close(q.stddev[i, j], one.stddev, 1e-13)


@pytest.mark.parametrize("of", [product, product_of_posteriors])
def test_the_order_of_experts_does_not_matter_and_those_outside_the_mask_count_nothing(of):
    experts, among = experts_of(), MASKS.T
    other = normal(experts.mean.flip(0), experts.stddev.flip(0))
    close(of(experts, among).mean, of(other, among.flip(0)).mean, 1e-13)
    close(of(experts, among).stddev, of(other, among.flip(0)).stddev, 1e-13)
    moved = normal(
        torch.where(among[..., None], experts.mean, 1e3), torch.where(among[..., None], experts.stddev, 1e-3)
    )
    assert (of(moved, among).mean == of(experts, among).mean).all()
    assert (of(moved, among).stddev == of(experts, among).stddev).all()


@pytest.mark.parametrize("modalities", SETS, ids="".join)
def test_the_product_of_posteriors_is_the_posterior(modalities):
    world = straight_world()
    batch = world.sample(4, seed=1)[1]
    each = stacked([from_network(exact_encoder(world, [s])(batch[s])) for s in world.weights])
    among = torch.tensor([s in modalities for s in world.weights])[:, None].expand(3, 4)
    q, exact = product_of_posteriors(each, among), world.posterior(batch, modalities)
    close(q.mean, exact.mean)
    close(q.variance, exact.variance)
    # Divided by the prior M − 1 times: the same as multiplying what the modalities alone say, and the prior once.
    likely = stacked([from_network(exact_encoder(world, [s], prior=False)(batch[s])) for s in world.weights])
    close(product(likely, among).mean, exact.mean)
    close(product(likely, among).stddev, q.stddev)


def test_a_plain_product_of_posteriors_counts_the_prior_too_often():
    world = straight_world()
    batch = world.sample(4, seed=1)[1]
    each = stacked([from_network(exact_encoder(world, [s])(batch[s])) for s in world.weights])
    q, naive = product(each, prior=False), world.naive_product(batch)
    close(q.mean, naive.mean)
    close(q.variance, naive.variance)
    exact = world.posterior(batch)
    close(q.variance, 1 / (1 / exact.variance + 2))
    close(q.mean, exact.mean / (1 + 2 * exact.variance))
    assert (q.mean.abs() < exact.mean.abs()).all()
    # With the prior once more it is off by one more.
    close(product(each).variance, 1 / (1 / exact.variance + 3))


def test_a_product_of_posteriors_wider_than_the_prior_is_not_wider_than_the_prior():
    wide = normal(torch.randn(2, 4, 3).double(), torch.full((2, 4, 3), 2.0).double())
    q = product_of_posteriors(wide)
    close(q.stddev, torch.ones(4, 3).double(), 1e-14)
    mixed = normal(torch.zeros(2, 1, 1).double(), f64([[[2.0]], [[0.5]]]))
    close(product_of_posteriors(mixed).variance, f64([[1 / 3.25]]), 1e-14)  # 1/4 + 4 − 1
    barely = normal(torch.zeros(2, 1, 1).double(), torch.full((2, 1, 1), 1.0).double())
    close(product_of_posteriors(barely).variance, torch.ones(1, 1).double(), 1e-14)


def test_the_product_of_one_posterior_is_that_posterior_even_if_it_is_wide():
    wide = normal(torch.full((1, 1, 1), 3.0).double(), torch.full((1, 1, 1), 2.0).double())
    close(product_of_posteriors(wide).mean, wide.mean[0])
    close(product_of_posteriors(wide).stddev, wide.stddev[0])


# ------------------------------------------------------------------------------------------------- mixtures


@pytest.mark.parametrize("among", [None, MASKS.T], ids=["all", "some"])
def test_the_density_of_a_mixture_is_the_mean_of_densities(among):
    components = experts_of()
    q = mixture(components, among)
    z = torch.randn(4, 5, 2).double()
    value = log_prob(q, z)
    for k, b in itertools.product(range(4), range(5)):
        there = range(3) if among is None else among[:, b].nonzero()[:, 0].tolist()
        mean = sum(math.exp(logs(components, i, b, z[k, b])) for i in there) / len(there)
        assert value[k, b].item() == pytest.approx(math.log(mean), abs=1e-11)
    assert value.shape == (4, 5)


def test_a_mixture_of_one_is_that_one():
    one = experts_of(M=1)
    z = torch.randn(5, 2).double()
    close(log_prob(mixture(one), z), log_prob(row(one, 0), z), 1e-13)
    lone = torch.zeros(3, 5, dtype=torch.bool)
    lone[1] = True
    many = experts_of()
    close(log_prob(mixture(many, lone), z), log_prob(row(many, 1), z), 1e-13)


def far_apart(B, M=3):
    """Component i lies at 100 i, so that a draw tells from which it came."""
    places = 100.0 * torch.arange(M).view(M, 1, 1).expand(M, B, 1)
    return normal(places.double(), torch.ones(M, B, 1).double())


def drawn_by_mixture(components, among, times):
    return (mixture(components, among).sample((times,))[..., 0] / 100).round().long()


def drawn_by_choose(components, among, times):
    return torch.stack([(choose(components, among).sample()[..., 0] / 100).round().long() for _ in range(times)])


@pytest.mark.parametrize("draw", [drawn_by_mixture, drawn_by_choose])
def test_each_example_chooses_a_component_by_itself_and_never_an_absent_one(draw):
    among, times = MASKS.T, 3000
    which = draw(far_apart(5), among, times)
    assert which.shape == (times, 5)
    for b in range(5):
        share = torch.bincount(which[:, b], minlength=3) / times
        wanted = among[:, b] / among[:, b].sum()
        assert (share[~among[:, b]] == 0).all()
        assert (share - wanted).abs().max() < 5 * math.sqrt(0.25 / times)
    # What one example chooses says nothing about what another does: the last two have two and three components.
    left, right = (which[:, 3] == 0).double(), (which[:, 4] == 0).double()
    assert abs(torch.corrcoef(torch.stack([left, right]))[0, 1]) < 5 / math.sqrt(times)


@pytest.mark.parametrize("draw", [drawn_by_mixture, drawn_by_choose])
def test_a_batch_of_one_uses_all_components_and_a_draw_of_many_is_no_one_component(draw):
    one = draw(far_apart(1), None, 300)[:, 0]
    assert sorted(set(one.tolist())) == [0, 1, 2]
    assert (torch.bincount(one) / 300 - 1 / 3).abs().max() < 5 * math.sqrt(2 / 9 / 300)
    many = draw(far_apart(300), None, 1)[0]
    assert (torch.bincount(many, minlength=3) / 300 - 1 / 3).abs().max() < 5 * math.sqrt(2 / 9 / 300)
    assert many.tolist() != sorted(many.tolist())  # not the first examples the first component


def test_choosing_keeps_the_gradient_of_the_chosen_and_of_nothing_else():
    mean, std = torch.randn(3, 40, 2).double().requires_grad_(), torch.rand(3, 40, 2).double().requires_grad_()
    among = torch.rand(3, 40) < 0.7
    among[0] |= ~among.any(0)
    q = choose(normal(mean, std), among)
    (2 * q.mean.sum() + 3 * q.stddev.sum()).backward()
    assert set(mean.grad.unique().tolist()) == {0.0, 2.0}
    assert (mean.grad.sum(0) == 2).all()
    chosen = mean.grad[..., 0] == 2
    assert (among | ~chosen).all()
    close(std.grad, 1.5 * mean.grad)
    assert (mean.detach()[chosen].sort(0)[0] == q.mean.sort(0)[0]).all()
    close(std.detach()[chosen].sort(0)[0], q.stddev.detach().sort(0)[0], 1e-15)


def test_choosing_from_one_component_takes_it():
    one = experts_of(M=1)
    assert (choose(one).mean == one.mean[0]).all()
    assert (choose(one).stddev == one.stddev[0]).all()


@pytest.mark.parametrize("modalities", [1, 2, 3, 4])
def test_subsets_are_all_sets_once_and_the_small_ones_first(modalities):
    members = subsets(modalities)
    naive = [c for n in range(1, modalities + 1) for c in itertools.combinations(range(modalities), n)]
    got = [tuple(m.nonzero()[:, 0].tolist()) for m in members]
    assert sorted(got) == sorted(naive)
    assert [len(g) for g in got] == [len(n) for n in naive]


# ------------------------------------------------------------------------------------------------- distances


def test_the_wasserstein_distance_is_the_integral_over_quantiles():
    a, b = experts_of(M=1, B=3, d=1), experts_of(M=1, B=3, d=1)
    got = wasserstein(a, b)
    u = (torch.arange(200000, dtype=torch.float64) + 0.5) / 200000
    quantile = math.sqrt(2) * torch.erfinv(2 * u - 1)
    for i in range(3):
        gap = (a.mean - b.mean)[0, i, 0] + (a.stddev - b.stddev)[0, i, 0] * quantile
        assert got[0, i].item() == pytest.approx(gap.square().mean().item(), rel=1e-4)


def test_the_wasserstein_distance_sums_over_the_numbers_and_is_symmetric():
    a, b = experts_of(), experts_of()
    naive = torch.zeros(3, 5).double()
    for i, j, k in itertools.product(range(3), range(5), range(2)):
        naive[i, j] += (a.mean[i, j, k] - b.mean[i, j, k]) ** 2 + (a.stddev[i, j, k] - b.stddev[i, j, k]) ** 2
    close(wasserstein(a, b), naive)
    close(wasserstein(b, a), naive)
    assert not wasserstein(a, a).any()


def kl_by_formula(q, p, i, b):
    """½ Σ (log σp²/σq² + (σq² + (μq − μp)²)/σp² − 1) for one expert and example."""
    total = 0.0
    for m, s, n, t in zip(
        q.mean[i, b].tolist(), q.stddev[i, b].tolist(), p.mean[i, b].tolist(), p.stddev[i, b].tolist(), strict=True
    ):
        total += math.log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - 0.5
    return total


def test_divergences_are_the_closed_form_in_the_right_direction():
    q, p = experts_of(), experts_of()
    for i, b in itertools.product(range(3), range(5)):
        assert divergence(q, p)[i, b].item() == pytest.approx(kl_by_formula(q, p, i, b), abs=1e-11)
        assert divergence(q)[i, b].item() == pytest.approx(kl_by_formula(q, standard(q.mean), i, b), abs=1e-11)
        both = kl_by_formula(q, p, i, b) + kl_by_formula(p, q, i, b)
        assert symmetric_kl(q, p)[i, b].item() == pytest.approx(both / 2, abs=1e-11)
    joint = row(experts_of(), 0)  # one distribution against each of several
    close(divergence(joint, p), divergence(stacked([joint] * 3), p))


@pytest.mark.parametrize("among", [None, MASKS.T], ids=["all", "some"])
def test_the_average_is_of_means_and_standard_deviations_over_those_that_take_part(among):
    experts = experts_of()
    q = average(experts, among)
    for b in range(5):
        there = range(3) if among is None else among[:, b].nonzero()[:, 0].tolist()
        close(q.mean[b], sum(experts.mean[i, b] for i in there) / len(there))
        close(q.stddev[b], sum(experts.stddev[i, b] for i in there) / len(there))


def test_an_encoders_output_is_the_mean_and_then_the_log_of_the_standard_deviation():
    q = from_network(f64([[1.0, 2.0, 0.0, math.log(3.0)]]))
    assert q.mean.tolist() == [[1.0, 2.0]]
    close(q.stddev, f64([[1.0, 3.0]]), 1e-14)
    z = f64([[0.5, -1.0]])
    exact = MultivariateNormal(f64([1.0, 2.0]), torch.diag(torch.tensor([1.0, 9.0])).double())
    close(log_prob(q, z), exact.log_prob(z))
    prior = MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
    close(log_prob(standard(z), z), prior.log_prob(z))


def test_rows_stack_and_choices_are_per_example():
    experts = experts_of()
    again = stacked([row(experts, i) for i in range(3)])
    assert (again.mean == experts.mean).all()
    assert (again.stddev == experts.stddev).all()
    a, b, c = row(experts, 0), row(experts, 1), torch.tensor([1, 0, 0, 1, 0]).bool()
    q = where(c, a, b)
    for i in range(5):
        assert (q.mean[i] == (a if c[i] else b).mean[i]).all()
        assert (q.stddev[i] == (a if c[i] else b).stddev[i]).all()


def test_single_precision_stays_single_precision():
    experts = normal(torch.randn(3, 5, 2), torch.rand(3, 5, 2) + 0.5)
    for q in (product(experts, MASKS.T), product_of_posteriors(experts, MASKS.T), choose(experts, MASKS.T)):
        assert q.mean.dtype == q.stddev.dtype == torch.float32
    assert mixture(experts, MASKS.T).sample((2,)).dtype == torch.float32


def test_a_skew_world_has_no_diagonal_posterior_so_only_the_straight_one_can_be_met_exactly():
    assert skew_world().mean_field_floor() > 1e-4
    assert abs(straight_world().mean_field_floor()) < 1e-12
