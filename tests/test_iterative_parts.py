"""Iterative inference whose parts share parameters, learn their σ, give λ another meaning, or have the wrong size."""

import copy
import io
import itertools
import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, MixtureSameFamily, Normal, kl_divergence

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
    divergence,
    drawn_kl,
    forward_kl,
    posterior,
    product_of_students,
    refine,
)
from mmtutor.iterative.flows import Flow

both_ways = pytest.mark.parametrize("one_pass", [True, False], ids=["one pass", "textbook"])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def normal(mean, scale=0.5):
    return Independent(Normal(mean, scale, validate_args=False), 1, validate_args=False)


def of_log_variance(lam):
    """λ = (μ, log σ²)."""
    mean, log_variance = lam.chunk(2, -1)
    return normal(mean, (log_variance / 2).exp())


def data(n=200, seed=3):
    """x = W z + noise of 0.5, and W."""
    dice = torch.Generator().manual_seed(seed)
    z, W, noise = (torch.randn(*shape, generator=dice, dtype=torch.float64) for shape in ((n, 2), (2, 6), (n, 6)))
    return z @ W + 0.5 * noise, W


def train(model, batch, rounds=300, lr=0.02):
    adam = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr)
    for _ in range(rounds):
        adam.zero_grad()
        loss = model.loss(batch)["loss"]
        loss.backward()
        adam.step()
    return loss.item()


# ---- parameters that the bound uses, whichever part has them


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(6, 4), nn.Linear(2, 6)

    def forward(self, batch):
        return self.encoder(batch["a"])


class Borrowing(nn.Module):
    """A bound with the decoder of a VAE that is another part: a function hides it from torch."""

    def __init__(self, vae):
        super().__init__()
        self.vae = lambda: vae

    def forward(self, lam, batch):
        q = posterior(lam)
        z = q.rsample()
        prior = Independent(Normal(torch.zeros_like(z), 1.0), 1)
        return {"a": normal(self.vae().decoder(z)).log_prob(batch["a"]), "prior": -kl_divergence(q, prior)}


@pytest.mark.parametrize("over", ["mean", "last"])
def test_the_decoder_of_a_vae_that_the_start_has_learns_in_one_pass(over):
    """All gradients are those of the textbook, and those of the decoder as if the bound had it."""
    batch, grads = {"a": data(20)[0]}, []
    for one_pass, owner in itertools.product((True, False), ("start", "elbo")):
        torch.manual_seed(1)
        vae = VAE().double()
        elbo = Borrowing(vae)
        if owner == "elbo":
            elbo.own = vae
        model = IterativeVAE(vae, elbo, Refiner(2, hidden=5).double(), 2, over=over, one_pass=one_pass)
        torch.manual_seed(2)
        model.loss(batch)["loss"].backward()
        grads.append([p.grad for p in (*vae.parameters(), *model.refiner.net[-1].parameters(), model.refiner.step)])
    for others in grads[1:]:
        for got, expected in zip(grads[0], others, strict=True):
            assert expected.abs().max() > 1e-6
            torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


@both_ways
def test_a_vae_that_the_start_has_is_trained(one_pass):
    vae, (x, _) = VAE().double(), data()
    model = IterativeVAE(vae, Borrowing(vae), Refiner(2, hidden=8).double(), 2, one_pass=one_pass)
    best = -log_evidence(x)
    assert train(model, {"a": x}) < best + 0.7  # not trained, the decoder leaves it about 30 nats above


def log_evidence(x):
    """log p(x) of the normal distribution with the covariance WᵀW + 0.25 I that made x, the mean over examples."""
    _, W = data(len(x))
    covariance = W.T @ W + 0.25 * torch.eye(6).double()
    p = torch.distributions.MultivariateNormal(torch.zeros(6).double(), covariance)
    return p.log_prob(x).mean().item()


@both_ways
def test_a_parameter_that_belongs_to_no_part_is_refused(one_pass):
    """It would neither be trained nor stored. A tensor that requires gradients, but is no parameter, may be used."""
    batch, outside = {"a": data(5)[0]}, VAE().double()
    model = IterativeVAE(FromPrior(2), Borrowing(outside), GradientAscent(), 2, one_pass=one_pass)
    with pytest.raises(
        ValueError, match=r"the ELBO uses a parameter \(6, 2\) that belongs to none|\(6,\) that belongs"
    ):
        model.loss(batch)
    model.loss({"a": batch["a"].clone().requires_grad_()})  # what made the batch has parameters of its own
    with torch.no_grad():
        model.loss(batch)
    scale = nn.Parameter(torch.zeros(()).double())
    elbo = Elbo({"a": nn.Linear(2, 6).double()}, {"a": lambda output: normal(output, scale.exp())})
    with pytest.raises(ValueError, match=r"a parameter \(\) that belongs to none of the parts.*a likelihood with a"):
        IterativeVAE(FromPrior(2), elbo, GradientAscent(), 1, one_pass=one_pass).loss(batch)
    scale = torch.zeros((), dtype=torch.float64, requires_grad=True)
    IterativeVAE(FromPrior(2), elbo, GradientAscent(), 1, one_pass=one_pass).loss(batch)


# ---- a likelihood that learns


class Learned(nn.Module):
    """N(output, σ²) with a σ that is learned."""

    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, output):
        return normal(output, self.log_scale.exp())


def with_learned_scale(one_pass=True):
    torch.manual_seed(0)
    elbo = Elbo({"a": nn.Linear(2, 6)}, {"a": Learned()})
    return IterativeVAE(FromModality("a", nn.Linear(6, 4)), elbo, Refiner(2, hidden=8), 2, one_pass=one_pass).double()


@both_ways
def test_a_learned_sigma_becomes_that_of_the_data(one_pass):
    model = with_learned_scale(one_pass)
    train(model, {"a": data()[0]}, rounds=250, lr=0.03)
    assert model.elbo.likelihoods["a"].log_scale.exp().item() == pytest.approx(0.5, abs=0.05)


def test_a_learned_sigma_is_saved_copied_and_counted_once():
    model, other = with_learned_scale(), with_learned_scale()
    nn.init.constant_(model.elbo.likelihoods["a"].log_scale, -0.7)
    names = [name for name, _ in model.named_parameters() if "log_scale" in name]
    assert names == ["elbo.learned.a.log_scale"]
    assert names[0] in model.state_dict()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file))
    assert other.elbo.likelihoods["a"].log_scale.item() == pytest.approx(-0.7)
    twin = copy.deepcopy(model)
    nn.init.constant_(twin.elbo.learned["a"].log_scale, 0.3)
    z = torch.zeros(1, 2).double()
    assert twin.elbo.decode(z)["a"].base_dist.scale[0, 0].item() == pytest.approx(math.exp(0.3))
    assert model.elbo.decode(z)["a"].base_dist.scale[0, 0].item() == pytest.approx(math.exp(-0.7))
    plain = Elbo({"a": nn.Linear(2, 6)}, {"a": normal})
    assert [*plain.state_dict()] == ["decoders.a.weight", "decoders.a.bias"]


# ---- λ may mean something else


def test_a_bound_of_log_variances_is_that_of_log_sigmas():
    """The same posterior, once as (μ, log σ²): the same terms, and gradients with half the slope."""
    x, _ = data(7)
    decoder, lam = nn.Linear(2, 6).double(), 0.3 * torch.randn(7, 4).double()
    other = torch.cat([lam[:, :2], 2 * lam[:, 2:]], 1).requires_grad_()
    lam.requires_grad_()
    found = []
    for parameters, means in ((lam, posterior), (other, of_log_variance)):
        torch.manual_seed(4)
        terms = Elbo({"a": decoder}, {"a": normal}, posterior=means)(parameters, {"a": x})
        (slope,) = torch.autograd.grad(terms["a"].sum() + terms["prior"].sum(), parameters)
        found.append((terms, slope))
    for name in ("a", "prior"):
        torch.testing.assert_close(found[0][0][name], found[1][0][name])
    torch.testing.assert_close(found[0][1][:, :2], found[1][1][:, :2])
    torch.testing.assert_close(found[0][1][:, 2:], 2 * found[1][1][:, 2:])


def test_what_a_teacher_of_log_variances_encodes_and_its_students_learn_is_right():
    """The true decoder, frozen; the exact σ is that of (I + WᵀW/0.25)⁻¹, W with orthogonal columns."""
    dice = torch.Generator().manual_seed(1)
    W = torch.linalg.qr(torch.randn(6, 2, generator=dice, dtype=torch.float64)).Q * torch.tensor([1.0, 2.0])
    x = torch.randn(300, 2, generator=dice).double() @ W.T + 0.5 * torch.randn(300, 6, generator=dice).double()
    exact = (1 + 4 * torch.tensor([1.0, 4.0]).double()).rsqrt()  # .447 and .243
    decoder = nn.Linear(2, 6, bias=False).double()
    decoder.weight.data.copy_(W).requires_grad_(False)
    elbo = Elbo({"a": decoder.requires_grad_(False)}, {"a": normal}, posterior=of_log_variance)
    refiner = Refiner(2, hidden=8, limits=(-9, 3))
    teacher = IterativeVAE(FromModality("a", nn.Linear(6, 4)), elbo, refiner, 1).double()
    train(teacher, {"a": x}, 300)
    torch.manual_seed(1)
    q = teacher.encode({"a": x})
    torch.testing.assert_close(q.stddev.mean(0), exact, rtol=0.1, atol=0)
    torch.manual_seed(1)
    before = {"a": x, "teacher_posterior": teacher.infer({"a": x})}
    torch.testing.assert_close(before["teacher_posterior"][:, 2:].div(2).exp(), q.stddev)
    for means, batch, source in ((of_log_variance, before, None), (posterior, {"a": x}, teacher.encode)):
        students = Students({"a": nn.Linear(6, 4).double()}, means)
        train(Distillation(source, students), batch, 300)
        torch.testing.assert_close(students.encode({"a": x}).stddev.mean(0), q.stddev.mean(0), rtol=0.05, atol=0)


def test_students_of_log_variances_have_that_sigma():
    x, encoder = data(5)[0], nn.Linear(6, 4).double()
    q = Students({"a": encoder}, of_log_variance).posteriors({"a": x})["a"]
    torch.testing.assert_close(q.mean, encoder(x)[:, :2])
    torch.testing.assert_close(q.stddev, (encoder(x)[:, 2:] / 2).exp())


def test_a_bound_that_does_not_say_what_lam_means_has_no_posterior():
    """Neither a guess nor a change for what needs none."""
    x, vae = data(5)[0], VAE().double()
    model = IterativeVAE(vae, Borrowing(vae), GradientAscent(), 2)
    assert model.infer({"a": x}).shape == (5, 4)
    with pytest.raises(TypeError, match="Borrowing does not say what λ means; give it an attribute posterior"):
        model.encode({"a": x})
    model.elbo.posterior = of_log_variance
    torch.manual_seed(1)
    q = model.encode({"a": x})
    torch.manual_seed(1)
    torch.testing.assert_close(q.stddev, (model.infer({"a": x})[:, 2:] / 2).exp())


@pytest.mark.parametrize("wrong", [None, 3, Normal, "normal"])
def test_the_meaning_of_lam_is_a_function(wrong):
    with pytest.raises(TypeError, match="Elbo: posterior must be a function from λ"):
        Elbo({"a": nn.Linear(2, 6)}, {"a": normal}, posterior=wrong)
    with pytest.raises(TypeError, match="Students: posterior must be a function from λ"):
        Students({"a": nn.Linear(6, 4)}, wrong)


def test_a_refiner_keeps_the_second_half_of_lam_between_its_limits():
    lam, g = torch.tensor([[50.0, -50.0, 50.0, -50.0]]), torch.zeros(1, 4)
    assert Refiner(2)(lam, g).tolist() == [[50, -50, 1.5, -4.5]]
    assert Refiner(2, limits=(-9, 3))(lam, g).tolist() == [[50, -50, 3, -9]]
    assert Refiner(2, limits=(-math.inf, math.inf))(lam, g).tolist() == lam.tolist()
    for wrong in ((1, 0), (0, 0), (1,), (0, math.nan)):
        with pytest.raises(ValueError, match="limits must be two numbers, the smaller one first"):
            Refiner(2, limits=wrong)


# ---- sizes


@pytest.mark.parametrize("scale", [0.5, torch.full((6,), 0.5)], ids=["one σ", "six σ"])
@pytest.mark.parametrize("outputs", [1, 6])
def test_a_decoder_of_the_wrong_size_is_not_broadcast(scale, outputs):
    """With a σ for each number torch makes six of one."""
    elbo = Elbo({"a": nn.Linear(2, outputs)}, {"a": lambda output: normal(output, scale)})
    lam, batch = torch.zeros(5, 4), {"a": torch.rand(5, 6)}
    if outputs == 6:
        elbo(lam, batch)
        return
    with pytest.raises(ValueError, match=r"the decoder of 'a' gives \(1,\) for each example.*\(6,\)"):
        elbo(lam, batch)


def test_an_image_with_one_channel_is_not_broadcast_to_three():
    class Grey(nn.Module):
        def forward(self, z):
            return z[:, :1, None, None].expand(-1, 1, 4, 4)

    def of_channels(output):
        return Independent(Normal(output, torch.ones(3, 1, 1)), 3)

    elbo = Elbo({"a": Grey()}, {"a": of_channels})
    with pytest.raises(
        ValueError, match=r"gives \(1, 4, 4\) for each example, and its likelihood repeats that for \(3"
    ):
        elbo(torch.zeros(5, 4), {"a": torch.rand(5, 3, 4, 4)})
    with pytest.raises(ValueError, match="likelihood repeats"):
        elbo.decode(torch.zeros(5, 2))


class Gives(nn.Module):
    def __init__(self, give):
        super().__init__()
        self.give = give

    def forward(self, *inputs):
        return self.give(*inputs)


@both_ways
@pytest.mark.parametrize(
    ("give", "error", "message"),
    [
        (
            lambda b: (torch.zeros(5, 2), torch.zeros(5, 2)),
            TypeError,
            r"start: λ must be a tensor.*got tuple; join its",
        ),
        (lambda b: torch.zeros(5, 5), ValueError, r"λ must be \(…, 2 d\).*got \(5, 5\)"),
        (lambda b: torch.zeros(4, 4), ValueError, r"start must give λ \(5, n\), got torch.float32 \(4, 4\)"),
        (lambda b: torch.zeros(4), ValueError, r"start must give λ \(5, n\)"),
        (lambda b: torch.zeros(5, 6), ValueError, r"Refiner: with latent=2 λ must be \(B, 4\), got \(5, 6\)"),
    ],
)
def test_what_a_start_gives_is_looked_at(give, error, message, one_pass):
    decoder = Gives(lambda z: z[:, :1].expand(-1, 6))  # takes a latent code of any size
    elbo = Elbo({"a": decoder}, {"a": normal})
    model = IterativeVAE(Gives(give), elbo, Refiner(2), 1, one_pass=one_pass)
    for call in (model.loss, model.encode):
        with pytest.raises(error, match=message):
            call({"a": torch.rand(5, 6)})


@both_ways
@pytest.mark.parametrize(
    ("give", "message"),
    [
        (
            lambda lam, b: -lam.square().sum(1),
            r"a dict of terms by name, \(B,\) each, got torch.float32 \(5,\); give \{",
        ),
        (lambda lam, b: {}, r"a dict of terms by name, \(B,\) each, got none"),
        (lambda lam, b: None, r"a dict of terms by name, \(B,\) each, got NoneType"),
    ],
)
def test_a_bound_gives_terms_by_name(give, message, one_pass):
    model = IterativeVAE(FromPrior(2), Gives(give), Refiner(2), 1, one_pass=one_pass)
    for call in (model.loss, model.infer):
        with pytest.raises(TypeError, match=message):
            call({"a": torch.rand(5, 6)})


def test_lam_is_a_tensor_with_two_halves():
    with pytest.raises(TypeError, match=r"refine: λ must be a tensor \(B, n\), got list; join"):
        refine([torch.zeros(2)], lambda lam: {"a": lam.sum(1)}, GradientAscent(), 1)
    for shape in ((), (3, 0), (3, 5)):
        with pytest.raises(ValueError, match=r"posterior: λ must be \(…, 2 d\)"):
            posterior(torch.zeros(shape))


# ---- students with a flow


def flows(seed=0, bent=True, **options):
    torch.manual_seed(seed)
    students = FlowStudents({"a": nn.Linear(6, 5), "b": nn.Linear(3, 5)}, 3, 5, hidden=7, **options).double()
    if bent:
        for p in students.couplings.parameters():
            nn.init.normal_(p, 0, 0.4)
    return students


def test_the_density_of_a_flow_is_that_of_what_it_sends_there():
    """log N(z₀) less the logarithm of the Jacobian determinant, by autograd; and it goes back to z₀."""
    x = torch.randn(4, 6).double()
    q = flows(couplings=5).encode({"a": x})
    assert isinstance(q, Flow)
    z0 = q.base.sample()

    def send(row, k):
        z = row[None]
        for coupling in q.couplings:
            z = coupling(z, q.h[k : k + 1])
        return z[0]

    for k in range(4):
        z = send(z0[k], k)
        jacobian = torch.autograd.functional.jacobian(lambda row, k=k: send(row, k), z0[k])
        expected = q.base.log_prob(z0)[k] - torch.linalg.slogdet(jacobian).logabsdet
        got = q.log_prob(z.expand(4, 3))[k]
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)
        assert (got - q.base.log_prob(z0)[k]).abs() > 1e-3
    torch.manual_seed(5)
    drawn = q.sample((2,))
    assert drawn.shape == (2, 4, 3)
    torch.manual_seed(5)
    assert torch.allclose(q.base.sample((2,)), back(q, drawn), atol=1e-10)
    assert q.log_prob(drawn).shape == (2, 4)


def back(q, z):
    for coupling in reversed(q.couplings):
        z, _ = coupling.inverse(z, q.h)
    return z


def test_a_flow_has_a_total_probability_of_1():
    students = FlowStudents({"a": nn.Linear(6, 5)}, 2, 5, hidden=7).double()
    for p in students.couplings.parameters():
        nn.init.normal_(p, 0, 0.3)
    q = students.encode({"a": torch.randn(1, 6).double()})
    axis = torch.linspace(-9, 9, 300, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis)[:, None]  # (300², 1, 2)
    assert q.log_prob(z).exp().sum().item() * (axis[1] - axis[0]).item() ** 2 == pytest.approx(1, abs=1e-4)


def test_a_flow_begins_as_a_normal_distribution_and_may_learn_two_hills():
    """Without x: a teacher that is here or there, three away from 0. Normal students miss what two hills would save."""
    here = torch.where(torch.arange(200) % 2 == 0, 3.0, -3.0)
    lam = torch.stack([here, torch.zeros(200), *[torch.full((200,), math.log(0.3))] * 2], 1)
    batch, losses = {"a": torch.zeros(200, 6), "teacher_posterior": lam}, {}
    students = FlowStudents({"a": nn.Linear(6, 5)}, 2, 5, hidden=32, couplings=6)
    q = students.encode(batch)
    z = torch.randn(200, 2)
    torch.testing.assert_close(q.log_prob(z), q.base.log_prob(z))
    train(Distillation(None, students, drawn_kl), batch, 250, 0.01)
    two = MixtureSameFamily(torch.distributions.Categorical(torch.ones(2)),
                            Independent(Normal(torch.tensor([[3.0, 0.0], [-3.0, 0.0]]), 0.3), 1))  # fmt: skip
    torch.manual_seed(1)
    z = two.sample((200,))
    with torch.no_grad():
        losses["flow"] = (two.log_prob(z) - students.encode(batch).log_prob(z)).mean().item()
    wide = Normal(torch.zeros(2), torch.tensor([(9 + 0.09) ** 0.5, 0.3]))  # the best normal distribution
    losses["normal"] = (two.log_prob(z) - wide.log_prob(z).sum(-1)).mean().item()
    assert losses["normal"] > 1.5
    assert losses["flow"] < 0.5


def test_the_drawn_divergence_is_the_divergence_on_average():
    p, q = (posterior(0.4 * torch.randn(3, 4).double()) for _ in range(2))
    torch.manual_seed(0)
    draws = torch.stack([drawn_kl(p, q) for _ in range(4000)])
    error = draws.std(0) / 4000**0.5
    assert ((draws.mean(0) - divergence(p, q)).abs() < 4 * error).all()


def test_flow_students_answer_one_modality_at_a_time():
    students, batch = flows(), {"a": torch.randn(4, 6).double(), "b": torch.randn(4, 3).double()}
    assert [*students.posteriors(batch)] == ["a", "b"]
    assert students.encode(batch, "b").sample().shape == (4, 3)
    with pytest.raises(ValueError, match="encode takes one modality, got a, b"):
        students.encode(batch)
    with pytest.raises(TypeError, match="expected a Normal"):
        product_of_students([*students.posteriors(batch).values()])
    with pytest.raises(TypeError, match="expected a Normal"):
        Distillation(lambda b: normal(torch.zeros(4, 3).double()), students, forward_kl).loss(batch)


def test_a_flow_student_sees_its_own_modality_alone():
    students, batch = flows(), {"a": torch.randn(4, 6).double(), "b": torch.randn(4, 3).double()}
    z = torch.randn(4, 3).double()
    before = students.posteriors(batch)["a"].log_prob(z)
    assert torch.equal(students.posteriors({**batch, "b": batch["b"] + 1})["a"].log_prob(z), before)
    (slope,) = torch.autograd.grad(before.sum(), students.base["a"].weight)
    assert slope.abs().max() > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent": 1}, "latent"),
        ({"features": 0}, "features"),
        ({"couplings": 0}, "couplings"),
        ({"hidden": 0}, "hidden"),
    ],
)
def test_numbers_of_flow_students(change, message):
    with pytest.raises(ValueError, match=f"FlowStudents: {message} must be a whole number"):
        FlowStudents({"a": nn.Linear(6, 5)}, **{"latent": 2, "features": 5, **change})
