"""Likelihoods against their formulas, number by number; float64."""

import math

import pytest
import torch
from torch import nn
from vae_world import close, f64

from mmtutor.vae import bernoulli, categorical, gaussian, laplace
from mmtutor.vae.base import mean_of


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def summed(log_of_one, x, output):
    """Σ over all numbers of an example, by a loop."""
    return torch.stack(
        [
            sum(log_of_one(a, o) for a, o in zip(xs.flatten(), os.flatten(), strict=True))
            for xs, os in zip(x, output, strict=True)
        ]
    )


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 3, 2, 2)])
def test_densities_are_the_formulas_summed_over_an_example(shape):
    x, output, s = torch.randn(shape).double(), torch.randn(shape).double(), 0.6
    x2, o2 = x.view(4, -1), output.view(4, -1)
    normal = summed(lambda a, o: -((a - o) ** 2) / (2 * s**2) - math.log(s * math.sqrt(2 * math.pi)), x2, o2)
    close(gaussian(s)(output).log_prob(x), normal)
    close(laplace(s)(output).log_prob(x), summed(lambda a, o: -abs(a - o) / s - math.log(2 * s), x2, o2))
    bit = torch.rand(shape).double()
    binary = summed(lambda a, o: -a * (1 + (-o).exp()).log() - (1 - a) * (1 + o.exp()).log(), bit.view(4, -1), o2)
    close(bernoulli()(output).log_prob(bit), binary)
    close(bernoulli()(output).log_prob(bit.round()), summed(
        lambda a, o: (torch.sigmoid(o) if a == 1 else 1 - torch.sigmoid(o)).log(), bit.round().view(4, -1), o2
    ))  # fmt: skip


def test_a_gaussian_of_scale_1_is_half_the_squared_error_and_a_constant():
    x, output = torch.randn(5, 7).double(), torch.randn(5, 7).double()
    rest = -gaussian(1)(output).log_prob(x) - (x - output).square().sum(1) / 2
    close(rest, f64([3.5 * math.log(2 * math.pi)] * 5))


@pytest.mark.parametrize("places", [(), (6,), (2, 3)])
def test_categories_are_integers_or_one_hot_and_both_say_the_same(places):
    scores = torch.randn(5, *places, 4).double()
    x = torch.randint(4, (5, *places))
    log_p = torch.log_softmax(scores, -1)
    naive = torch.stack(
        [sum(p[c] for p, c in zip(log_p[b].view(-1, 4), x[b].flatten(), strict=True)) for b in range(5)]
    )
    numbers, one_hot = categorical()(scores), categorical(one_hot=True)(scores)
    close(numbers.log_prob(x), naive)
    close(one_hot.log_prob(nn.functional.one_hot(x, 4)), naive)
    close(one_hot.log_prob(nn.functional.one_hot(x, 4).double()), naive)
    assert numbers.batch_shape == one_hot.batch_shape == (5,)
    assert numbers.event_shape == places
    assert one_hot.event_shape == (*places, 4)
    close(mean_of(numbers), scores.softmax(-1))
    close(mean_of(one_hot), scores.softmax(-1))


@pytest.mark.parametrize("name", ["gaussian", "laplace", "bernoulli", "numbers", "one-hot"])
def test_many_draws_have_a_density_each(name):
    """As of any distribution: axes of x to the left are further draws."""
    likelihoods = {"gaussian": gaussian(0.5), "laplace": laplace(0.5), "bernoulli": bernoulli(),
                   "numbers": categorical(), "one-hot": categorical(one_hot=True)}  # fmt: skip
    p = likelihoods[name](torch.randn(4, 3, 2).double())
    x = p.sample((5,))
    close(p.log_prob(x), torch.stack([p.log_prob(one) for one in x]))


def test_a_class_that_cannot_be_does_not_spoil_the_others():
    p = categorical(one_hot=True)(f64([[0.0, 0.0, -math.inf]]))
    close(p.log_prob(f64([[1.0, 0.0, 0.0]])), f64([-math.log(2)]))


def test_a_picture_in_bytes_has_the_density_of_its_numbers():
    x, p = torch.randint(255, (4, 3), dtype=torch.uint8), gaussian(0.5)(torch.randn(4, 3).double())
    close(p.log_prob(x), p.log_prob(x.double()))


def test_the_mean_is_what_is_shown():
    output = torch.randn(5, 3).double()
    close(mean_of(gaussian(0.3)(output)), output)
    close(mean_of(laplace(0.3)(output)), output)
    close(mean_of(bernoulli()(output)), 1 / (1 + (-output).exp()))
    close(mean_of(torch.distributions.Normal(output, 1.0)), output)


def test_the_mean_of_a_count_is_its_mean():
    p = torch.distributions.Binomial(10, probs=f64([0.3] * 4))
    close(mean_of(p), f64([3.0] * 4))


@pytest.mark.parametrize("scale", [0, 0.0, -1.0, math.inf, math.nan])
@pytest.mark.parametrize("likelihood", [gaussian, laplace])
def test_a_scale_that_is_none_is_refused(likelihood, scale):
    with pytest.raises(ValueError, match=rf"{likelihood.__name__}: scale must be finite and above 0, got {scale}"):
        likelihood(scale)


def test_single_precision_stays_single_precision():
    for likelihood in (gaussian(0.5), laplace(0.5), bernoulli()):
        assert likelihood(torch.randn(2, 3)).log_prob(torch.rand(2, 3)).dtype == torch.float32
