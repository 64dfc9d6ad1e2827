"""Iterative inference on the pretend accelerator: as on the CPU, wherever the batch is, and without a wait."""

import copy
import math

import pretend_device as pretend
import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

from mmtutor.iterative import (
    Distillation,
    Elbo,
    FlowStudents,
    FromModality,
    FromPrior,
    GradientAscent,
    IterativeVAE,
    Refiner,
    Students,
    amortisation_gap,
    divergence,
    drawn_kl,
    forward_kl,
    naive_product,
    posterior,
    product_of_students,
    refine,
    refinements,
    reverse_kl,
)
from mmtutor.vae import bernoulli

SIZES = {"a": 3, "b": 4}
REFINERS = {
    "ascent": lambda: GradientAscent(0.1),
    "unit": lambda: GradientAscent(0.1, unit=True),
    "learned": lambda: Refiner(2, ["lam", "unit", "norms", "gradient"], (6,)),
    "reads features": lambda: Refiner(2, ["lam", "unit", "features"], (6,), features=3),
}
batch_on = pytest.mark.parametrize("on_device", [False, True], ids=["batch on the CPU", "batch on the device"])
both_ways = pytest.mark.parametrize("one_pass", [True, False], ids=["one pass", "textbook"])
every_start = pytest.mark.parametrize("start", ["joint", "modality", "prior"])
every_refiner = pytest.mark.parametrize("refiner", REFINERS)
every_divergence = pytest.mark.parametrize("kl", [forward_kl, reverse_kl])


@pytest.fixture(params=[True, False], ids=["float64", "no float64"])
def device(request, monkeypatch):
    """The accelerator; one without float64 too, as Apple's."""
    monkeypatch.setattr(pretend, "FLOAT64", request.param)
    forget_waits()
    with pretend.Mode():
        yield pretend.DEVICE
    forget_waits()


def forget_waits():
    pretend.SYNCS.clear()
    pretend.UPLOADS.clear()


def waits():
    return pretend.SYNCS + pretend.UPLOADS


def gaussian(scale):
    return lambda mean: Independent(Normal(mean, torch.full_like(mean, scale), validate_args=False), 1, False)


class Beside(nn.Module):
    """A network of all modalities side by side; it does not move them."""

    def __init__(self, outputs):
        super().__init__()
        self.net = nn.Linear(sum(SIZES.values()), outputs)

    def forward(self, batch):
        return self.net(torch.cat([batch[m] for m in SIZES], 1))


def bound():
    decoders = {m: nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, D)) for m, D in SIZES.items()}
    return Elbo(decoders, {m: gaussian(0.7) for m in SIZES}, {"b": 2.0}, 0.7)


def teacher(start="joint", refiner="learned", **options):
    torch.manual_seed(0)
    starts = {"joint": lambda: Beside(4), "modality": lambda: FromModality("b", nn.Linear(4, 4)),
              "prior": lambda: FromPrior(2)}  # fmt: skip
    features = Beside(3) if refiner == "reads features" else None
    model = IterativeVAE(starts[start](), bound(), REFINERS[refiner](), 3, features=features, **options)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return model


def students():
    torch.manual_seed(3)
    return Students({m: nn.Linear(D, 4) for m, D in SIZES.items()})


def examples(missing=False):
    torch.manual_seed(1)
    batch = {m: torch.randn(6, D) for m, D in SIZES.items()}
    if missing:
        batch["a"][2], batch["a_present"] = math.nan, torch.arange(6) != 2
    return batch


def moved(batch, device):
    return {name: x.to(device) for name, x in batch.items()}


def same(found, expected, device):
    if isinstance(expected, Normal | Independent):
        same(found.mean, expected.mean, device)
        same(found.stddev, expected.stddev, device)
        return
    assert found.device == device
    assert found.dtype == expected.dtype
    assert found.requires_grad == expected.requires_grad
    torch.testing.assert_close(found.detach().cpu(), expected.detach(), rtol=1e-5, atol=1e-6)


def seeded(function, *args):
    torch.manual_seed(2)
    return function(*args)


def train(model, batch):
    """Its loss and gradients, and how often the program waited."""
    forget_waits()
    terms = seeded(model.loss, batch)
    terms["loss"].backward()
    return terms, waits()


def compare_training(model, there, batch, given, device, waits_allowed=False):
    wanted, _ = train(model, batch)
    terms, waited = train(there, given)
    assert waits_allowed or not waited
    assert terms.keys() == wanted.keys()
    for name, value in wanted.items():
        same(terms[name], value, device)
    for (name, p), q in zip(there.named_parameters(), model.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None), name
        if q.grad is not None:
            torch.testing.assert_close(p.grad.cpu(), q.grad, rtol=1e-4, atol=1e-5)


# ---- the teacher


@batch_on
@both_ways
@pytest.mark.parametrize(
    ("start", "refiner"), [("joint", "reads features"), ("modality", "learned"), ("prior", "unit"), ("joint", "ascent")]
)
def test_the_teachers_loss_is_that_of_the_cpu_and_does_not_wait(start, refiner, one_pass, on_device, device):
    model, batch = teacher(start, refiner, one_pass=one_pass), examples(missing=True)
    there = copy.deepcopy(model).to(device)
    compare_training(model, there, batch, moved(batch, device) if on_device else batch, device)


@both_ways
def test_the_last_step_alone_and_masks_on_the_cpu(one_pass, device):
    """`fit` moves the batch and leaves the masks on the CPU."""
    model, batch = teacher(over="last", one_pass=one_pass), examples(missing=True)
    there = copy.deepcopy(model).to(device)
    given = {name: x if name.endswith("_present") else x.to(device) for name, x in batch.items()}
    compare_training(model, there, batch, given, device)


@both_ways
@pytest.mark.parametrize("grad", [torch.no_grad, torch.inference_mode])
def test_a_loss_without_gradients_does_not_wait(one_pass, grad, device):
    model, batch = teacher(one_pass=one_pass), moved(examples(), device)
    model.to(device)
    if grad is torch.inference_mode:
        model.steps = 0
    forget_waits()
    with grad():
        loss = model.loss(batch)["loss"]
    assert not waits()
    assert loss.device == device


@batch_on
@every_start
def test_what_a_teacher_infers_is_on_its_device(start, on_device, device):
    model, batch = teacher(start, "reads features"), examples()
    there = copy.deepcopy(model).to(device)
    given = moved(batch, device) if on_device else batch
    for wanted, found in zip(
        seeded(lambda: [*model.refinements(batch, 4)]), seeded(lambda: [*there.refinements(given, 4)]), strict=True
    ):
        same(found, wanted, device)
    same(seeded(there.infer, given), seeded(model.infer, batch), device)
    same(seeded(there.encode, given), seeded(model.encode, batch), device)
    same(seeded(there.bounds, given), seeded(model.bounds, batch), device)


@batch_on
def test_starts(on_device, device):
    """That from the prior has no parameters; it stays where the batch is."""
    batch, start = examples(), FromModality("b", nn.Linear(4, 4))
    given, there = moved(batch, device) if on_device else batch, copy.deepcopy(start).to(device)
    same(there(given), start(batch), device)
    same(FromPrior(2).to(device)(given), torch.zeros(6, 4), given["a"].device)


def test_inference_does_not_wait(device):
    model, batch = teacher(refiner="reads features").to(device), moved(examples(), device)
    forget_waits()
    model.encode(batch)
    model.bounds(batch)
    assert not waits()


@batch_on
@pytest.mark.parametrize("lam_on_device", [False, True], ids=["λ on the CPU", "λ on the device"])
def test_the_terms_of_a_bound_are_on_its_device(on_device, lam_on_device, device):
    elbo, batch, lam = bound(), examples(missing=True), 0.3 * torch.randn(6, 4)
    there = copy.deepcopy(elbo).to(device)
    given, given_lam = moved(batch, device) if on_device else batch, lam.to(device) if lam_on_device else lam
    wanted, found = seeded(elbo, lam, batch), seeded(there, given_lam, given)
    assert found.keys() == wanted.keys()
    for name, term in wanted.items():
        same(found[name], term, device)
    z = torch.randn(5, 2)
    for name, p in elbo.decode(z).items():
        same(there.decode(z.to(device) if lam_on_device else z)[name], p, device)


@pytest.mark.parametrize("on_device", [False, True], ids=["λ on the CPU", "λ on the device"])
def test_a_refiner_gives_what_is_on_its_device(on_device, device):
    lam, gradient, features = torch.randn(6, 4), torch.randn(6, 4), torch.randn(6, 3)
    refiner = teacher(refiner="reads features").refiner
    there = copy.deepcopy(refiner).to(device)
    given = [x.to(device) if on_device else x for x in (lam, gradient, features)]
    same(there(*given), refiner(lam, gradient, features), device)


# ---- functions: the device of λ


@pytest.mark.parametrize("on_device", [False, True], ids=["λ on the CPU", "λ on the device"])
@pytest.mark.parametrize("refiner", ["ascent", "unit", "learned"])
def test_refinement_stays_on_the_device_of_lam(refiner, on_device, device):
    """The bound is on the device, and reads a batch on the CPU; and so is the refiner, where it has parameters."""
    elbo, batch, lam, step = bound(), examples(), 0.3 * torch.randn(6, 4), teacher(refiner=refiner).refiner
    there, step_there = copy.deepcopy(elbo).to(device), copy.deepcopy(step).to(device)
    start = lam.to(device) if on_device else lam
    where = device if on_device else torch.device("cpu")
    wanted = seeded(refine, lam, lambda lam: elbo(lam, batch), step, 3)
    same(seeded(refine, start, lambda lam: there(lam, batch), step_there, 3), wanted, where)
    assert {x.device for x in refinements(start, lambda lam: there(lam, batch), step_there, 2)} == {where}
    wanted = seeded(amortisation_gap, lam, lambda lam: elbo(lam, batch), 3, 0.05, 2)
    same(seeded(amortisation_gap, start, lambda lam: there(lam, batch), 3, 0.05, 2), wanted, where)


def test_no_step_of_refinement_or_of_the_gap_waits(device):
    elbo, batch, lam = bound().to(device), moved(examples(), device), torch.zeros(6, 4).to(device)
    forget_waits()
    refine(lam, lambda lam: elbo(lam, batch), GradientAscent(), 3)
    amortisation_gap(lam, lambda lam: elbo(lam, batch), 3, 0.05, 2)
    assert not waits()


@every_divergence
def test_divergences_and_products_are_on_the_device_of_the_first(kl, device):
    p, q = posterior(torch.randn(6, 4)), posterior(torch.randn(6, 4))
    there = Independent(Normal(q.mean.to(device), q.stddev.to(device), validate_args=False), 1, validate_args=False)
    same(divergence(there, p), divergence(q, p), device)
    same(divergence(p, there), divergence(p, q), torch.device("cpu"))
    assert kl(there, there).device == device
    for product in (product_of_students, naive_product):
        same(product([there, p]), product([q, p]), device)
        same(product([p, there.base_dist]), product([p, q]), torch.device("cpu"))


# ---- what is not finite


class Spoilt(nn.Module):
    """A bound that is not finite, or whose gradient is not, from the n-th call on."""

    def __init__(self, elbo, n, how):
        super().__init__()
        self.elbo, self.n, self.how, self.calls = elbo, n, how, 0

    def forward(self, lam, batch):
        terms = self.elbo(lam, batch)
        spoil = {"NaN": lam[:, 0] * math.nan, "steep": (lam * 0).square().sum(1).sqrt()}[self.how]
        self.calls += 1
        return terms | {"spoilt": spoil if self.calls > self.n else spoil.detach().nan_to_num() * 0}


@both_ways
@pytest.mark.parametrize("how", ["NaN", "steep"])
def test_a_gradient_that_is_not_finite_is_named_on_the_cpu_and_makes_the_loss_nan_on_the_device(one_pass, how, device):
    model, batch = teacher(one_pass=one_pass), examples()
    model.elbo = Spoilt(model.elbo, 1, how)
    there = copy.deepcopy(model).to(device)
    with pytest.raises(FloatingPointError, match="at step 1 the gradient is NaN"):
        model.loss(batch)
    terms, waited = train(there, moved(batch, device))
    assert not waited
    assert terms["loss"].isnan()
    there.elbo.calls = 0
    assert there.infer(batch).isnan().any()
    there.elbo.calls = 0
    assert (
        amortisation_gap(there.start(moved(batch, device)), lambda lam: there.elbo(lam, batch), 3, 0.05, 2)
        .isnan()
        .any()
    )


def test_values_are_checked_before_the_batch_is_moved(device):
    batch = examples()
    batch["a"][4] = math.nan
    model, pupils = teacher().to(device), students().to(device)
    for method in (model.loss, model.infer, model.bounds, pupils.encode, Distillation(model.encode, pupils).loss):
        with pytest.raises(ValueError, match="'a' holds NaN or infinite values, first in example 4"):
            method(batch)
    masked = examples(missing=True)
    for method in (pupils.posteriors, Distillation(model.encode, pupils).loss):
        with pytest.raises(ValueError, match="'a' is missing for some examples, first in example 2"):
            method(masked)


# ---- students


@batch_on
@every_divergence
def test_students_learn_as_on_the_cpu_and_do_not_wait(kl, on_device, device):
    model, batch = teacher(), examples() | {"a_present": torch.ones(6).bool()}
    pupils, there = students(), copy.deepcopy(model).to(device)
    distillation = Distillation(there.encode, copy.deepcopy(pupils).to(device), kl)
    given = moved(batch, device) if on_device else batch
    compare_training(Distillation(model.encode, pupils, kl), distillation, batch, given, device)


@batch_on
@pytest.mark.parametrize("student_on_device", [False, True], ids=["students on the CPU", "students on the device"])
def test_a_teacher_may_be_on_another_device(student_on_device, on_device, device):
    model, batch, pupils = teacher(), examples(), students()
    there = copy.deepcopy(model) if student_on_device else copy.deepcopy(model).to(device)
    where = device if student_on_device else torch.device("cpu")
    distillation = Distillation(there.encode, copy.deepcopy(pupils).to(where))
    given = moved(batch, device) if on_device else batch
    compare_training(Distillation(model.encode, pupils), distillation, batch, given, where, waits_allowed=True)


@batch_on
def test_the_teachers_posterior_may_have_been_inferred_before(on_device, device):
    pupils, batch = students(), examples() | {"teacher_posterior": 0.3 * torch.randn(6, 4)}
    distillation = Distillation(None, copy.deepcopy(pupils).to(device))
    given = moved(batch, device) if on_device else batch
    compare_training(Distillation(None, pupils), distillation, batch, given, device, waits_allowed=not on_device)


@batch_on
def test_students_infer_on_their_device(on_device, device):
    pupils, batch = students(), examples() | {"a_present": torch.ones(6).bool()}
    there = copy.deepcopy(pupils).to(device)
    given = moved(batch, device) if on_device else batch
    forget_waits()
    for asked in (None, "a", ["a", "b"]):
        same(there.encode(given, asked), pupils.encode(batch, asked), device)
    for name, q in pupils.posteriors(batch).items():
        same(there.posteriors(given)[name], q, device)


@batch_on
def test_flow_students_learn_and_answer_on_their_device(on_device, device):
    """All draws are the device's own, so they are the CPU's with the same seed."""
    model, batch = teacher(), examples()
    torch.manual_seed(3)
    pupils = FlowStudents({m: nn.Linear(D, 5) for m, D in SIZES.items()}, latent=2, features=5, hidden=6)
    for p in pupils.couplings.parameters():
        nn.init.normal_(p, 0, 0.3)
    there, given = copy.deepcopy(pupils).to(device), moved(batch, device) if on_device else batch
    distillation = Distillation(copy.deepcopy(model).to(device).encode, there, drawn_kl)
    compare_training(Distillation(model.encode, pupils, drawn_kl), distillation, batch, given, device)
    same(seeded(there.encode(given, "a").rsample), seeded(pupils.encode(batch, "a").rsample), device)


class Learned(nn.Module):
    """A likelihood whose σ is learned."""

    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-0.5))

    def forward(self, mean):
        return Independent(Normal(mean, self.log_scale.exp().expand_as(mean), validate_args=False), 1, False)


@both_ways
@batch_on
def test_a_learned_sigma_and_log_variances_are_on_the_device(on_device, one_pass, device):
    """Its parameter moves with the model, and nothing waits."""
    elbo = Elbo({"a": nn.Linear(2, 3)}, {"a": Learned()}, posterior=lambda lam: posterior(lam * torch.ones_like(lam)))
    model = IterativeVAE(FromModality("a", nn.Linear(3, 4)), elbo, Refiner(2, limits=(-9, 3)), 2, one_pass=one_pass)
    there, batch = copy.deepcopy(model).to(device), examples()
    batch = {"a": batch["a"]}
    compare_training(model, there, batch, moved(batch, device) if on_device else batch, device)
    assert there.elbo.learned["a"].log_scale.grad.device == device
    same(seeded(there.encode, batch), seeded(model.encode, batch), device)


def test_what_a_likelihood_cannot_take_is_refused_before_it_is_moved(device):
    elbo = Elbo({"a": nn.Linear(2, 3)}, {"a": bernoulli()})
    model = IterativeVAE(FromModality("a", nn.Linear(3, 4)), elbo, Refiner(2), 1).to(device)
    bad = torch.rand(4, 3)
    bad[1] = 255.0
    for call in (model.loss, model.infer, model.check_batch):
        with pytest.raises(ValueError, match=r"'a' must be from 0 to 1, got 255 in example 1"):
            call({"a": bad})
        with pytest.raises(TypeError, match=r"'a' is torch.float64"):
            call({"a": torch.rand(4, 3).double()})
    train(model, there := {"a": torch.rand(4, 3).to(device)})
    assert not train(model, there)[1]
