"""Text to image: each player's loss and gradient, optima in closed form, the way of flow matching; refusals."""

import copy
import math
from functools import partial

import pytest
import torch
from torch import nn

from mmtutor.text_to_image import (
    ConditionalGAN,
    Discriminator,
    FlowMatching,
    Generator,
    MatchingAware,
    MovingAverage,
    Relativistic,
    TextToImageGAN,
    VelocityNetwork,
)
from mmtutor.training import fit

OBJECTIVES = {"conditional": ConditionalGAN, "matching-aware": MatchingAware, "relativistic": lambda: Relativistic(0.7)}
every_objective = pytest.mark.parametrize("name", OBJECTIVES)


def model_of(name="matching-aware", normalise=True, **settings):
    torch.manual_seed(0)
    normalise = normalise and name != "relativistic"
    players = Generator(nn.Linear(4, 6), 6, 5, width=8), Discriminator(nn.Linear(4, 6), 6, width=8, normalise=normalise)
    return TextToImageGAN(*players, 5, OBJECTIVES[name](), **settings)


def batch_of(B=6, dtype=torch.float32):
    torch.manual_seed(1)
    return {"picture": torch.rand(B, 3, 16, 16, dtype=dtype), "sentence": torch.randn(B, 4, dtype=dtype)}


def softplus(x):
    return math.log1p(math.exp(-abs(x))) + max(x, 0)


# ---- losses and gradients


@every_objective
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("given", [True, False])
def test_the_losses_by_loops(name, together, given):
    model = model_of(name, normalise=together, together=together, wrong="other" if given else None).double()
    batch = batch_of(dtype=torch.float64)
    x, s = batch["picture"], batch["sentence"]
    batch["other"] = torch.randn_like(s)
    torch.manual_seed(2)
    found = model.loss(batch)
    torch.manual_seed(2)
    fake = model.generator(s, torch.randn(6, 5, dtype=torch.float64)).detach()
    wrong = batch["other"] if given else torch.stack([s[k - 1] for k in range(6)])
    pairs = [(x, s), (x, wrong), (fake, s)] if name == "matching-aware" else [(x, s), (fake, s)]
    if together:
        logits = model.discriminator(torch.cat([p for p, _ in pairs]), torch.cat([q for _, q in pairs])).view(-1, 6)
    else:
        logits = torch.stack([model.discriminator(*pair) for pair in pairs])
    real, *others, false = logits.tolist()
    of_d = of_g = 0.0
    for k in range(6):
        if name == "relativistic":
            of_d += softplus(false[k] - real[k]) / 6
            of_g += softplus(real[k] - false[k]) / 6
        else:
            against = sum(softplus(row[k]) for row in [*others, false]) / (2 if others else 1)
            of_d += (softplus(-real[k]) + against) / 6
            of_g += softplus(-false[k]) / 6
    if name == "relativistic":
        for pictures in (x, fake):
            for k in range(6):  # each logit's own gradient
                picture = pictures[k : k + 1].clone().requires_grad_()
                (slope,) = torch.autograd.grad(model.discriminator(picture, s[k : k + 1]).sum(), picture)
                of_d += 0.7 / 2 * slope.square().sum().item() / 6
    assert found["discriminator"].item() == pytest.approx(of_d, abs=1e-12)
    assert found["generator"].item() == pytest.approx(of_g, abs=1e-12)
    assert found["loss"].item() == pytest.approx(of_d + of_g, abs=1e-12)


@every_objective
def test_only_the_relativistic_loss_ignores_what_is_added_for_a_sentence(name):
    """So its scores of two sentences cannot be compared."""
    model, batch = model_of(name).double(), batch_of(dtype=torch.float64)
    judge = model.discriminator.forward
    losses = []
    for more in (0.0, 3.0):
        model.discriminator.forward = lambda picture, s, more=more: judge(picture, s) + more * s.sum(1)
        torch.manual_seed(2)
        losses.append(model.loss(batch)["loss"].item())
    assert (abs(losses[1] - losses[0]) < 1e-12) == (name == "relativistic")


@every_objective
def test_each_player_has_the_gradient_of_its_own_loss_alone(name):
    model, batch = model_of(name).double(), batch_of(dtype=torch.float64)
    torch.manual_seed(2)
    model.loss(batch)["loss"].backward()
    for player, term in ((model.discriminator, "discriminator"), (model.generator, "generator")):
        torch.manual_seed(2)
        wanted = torch.autograd.grad(model.loss(batch)[term], [*player.parameters()])
        for p, slope in zip(player.parameters(), wanted, strict=True):
            torch.testing.assert_close(p.grad, slope)
    torch.manual_seed(2)
    loss = model.loss(batch)
    apart = torch.autograd.grad(
        loss["generator"], [*model.discriminator.parameters()], allow_unused=True, retain_graph=True
    )
    assert all(slope is None for slope in apart)
    apart = torch.autograd.grad(loss["discriminator"], [*model.generator.parameters()], allow_unused=True)
    assert all(slope is None for slope in apart)


# ---- optima


class Table(nn.Module):
    """A logit for each of the pictures, one-hot (B, K), and each sentence (B,)."""

    def __init__(self, sentences, pictures):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(sentences, pictures, dtype=torch.float64))

    def forward(self, picture, sentence):
        return (self.table[sentence] * picture).sum(1)


@pytest.mark.parametrize("name", ["conditional", "matching-aware"])
def test_the_best_discriminator_in_closed_form(name):
    torch.manual_seed(0)
    S, K, B = 2, 4, 40
    sentence = torch.arange(B) % S
    real, fake = (torch.eye(K, dtype=torch.float64)[torch.randint(0, K, (B,))] for _ in range(2))
    counted = {"real": real, "fake": fake, "wrong": real}
    of = {"real": sentence, "fake": sentence, "wrong": sentence.roll(1)}
    p = {n: torch.stack([counted[n][of[n] == k].sum(0) for k in range(S)]) + 1e-12 for n in counted}
    judge, objective = Table(S, K), OBJECTIVES[name]()
    optimiser = torch.optim.LBFGS(
        judge.parameters(), max_iter=500, tolerance_grad=1e-13, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def loss():
        optimiser.zero_grad()
        value = objective.discriminator(
            lambda pairs: [judge(x, s) for x, s in pairs], real, fake, sentence, sentence.roll(1)
        )
        value.backward()
        return value

    optimiser.step(loss)
    against = (p["wrong"] + p["fake"]) / 2 if name == "matching-aware" else p["fake"]
    seen = (p["real"] > 0.5) & (against > 0.25)
    best = p["real"] / (p["real"] + against)
    assert seen.sum() > 4
    assert (judge.table.sigmoid() - best)[seen].abs().max() < 1e-6


def best_generator(p, wrong):
    """Minimises the value of GAN-CLS at the best discriminator, by gradient descent over distributions."""
    logits = torch.zeros_like(p, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=2000, tolerance_grad=1e-13, tolerance_change=1e-16,
                                  line_search_fn="strong_wolfe")  # fmt: skip

    def value():
        optimiser.zero_grad()
        q = (wrong + logits.softmax(0)) / 2
        loss = (p * (p / (p + q)).log() + q * (q / (p + q)).log()).sum()
        loss.backward()
        return loss

    for _ in range(4):
        optimiser.step(value)
    return logits.detach().softmax(0)


def test_the_optimum_of_gan_cls_is_not_the_data():
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    wrong = torch.tensor([0.4, 0.4, 0.2], dtype=torch.float64)
    found = best_generator(p, wrong)
    assert (found - (2 * p - wrong)).abs().max() < 1e-8
    assert (found - p).abs().max() > 0.09


def test_where_that_is_no_distribution_rare_pictures_die():
    """Where 2 p − p′ is negative nothing is left; of the rest it is 2 k p − p′, with k so that it sums to one."""
    p = torch.tensor([0.60, 0.32, 0.02, 0.02, 0.02, 0.02], dtype=torch.float64)
    wrong = torch.tensor([0.30, 0.20, 0.125, 0.125, 0.125, 0.125], dtype=torch.float64)
    alive = 2 * p > wrong
    k = (1 + wrong[alive].sum()) / (2 * p[alive].sum())
    wanted = torch.where(alive, 2 * k * p - wrong, 0.0)
    assert (best_generator(p, wrong) - wanted).abs().max() < 1e-6
    assert wanted[2:].sum() == 0
    assert wanted.sum() == pytest.approx(1)


class Point(nn.Module):
    """The Dirac-GAN (Mescheder and others, 2018): a generator of one number, a discriminator that is linear in it."""

    def __init__(self, value):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value, dtype=torch.float64))


class Draws(Point):
    def forward(self, sentence, noise):
        return self.value.expand(len(sentence), 1, 1, 1)


class Judges(Point):
    def forward(self, picture, sentence):
        return self.value * picture.flatten()


@pytest.mark.parametrize("penalty", [0.0, 0.1, 1.0])
def test_the_dirac_gan_converges_at_its_known_rate(penalty):
    """Near the optimum ψ' = −θ/2 − 2γψ, θ' = ψ/2: the eigenvalues are −γ ± √(γ² − 1/4)."""
    start = torch.tensor([1e-3, 2e-3], dtype=torch.float64)  # ψ, θ
    model = TextToImageGAN(Draws(start[1].item()), Judges(start[0].item()), 1, Relativistic(penalty))
    batch = {"picture": torch.zeros(2, 1, 1, 1, dtype=torch.float64), "sentence": torch.zeros(2, 1).double()}
    optimiser, step = torch.optim.SGD(model.parameters(), lr=1e-3), 1e-3
    for _ in range(3000):
        optimiser.zero_grad()
        model.loss(batch)["loss"].backward()
        optimiser.step()
    flow = torch.tensor([[-2 * penalty, -0.5], [0.5, 0]], dtype=torch.float64)
    wanted = torch.linalg.matrix_exp(3000 * step * flow) @ start
    found = torch.stack([model.discriminator.value, model.generator.value])
    assert (found - wanted).norm() < 2e-3 * start.norm()
    rates = torch.linalg.eigvals(flow)
    root = torch.sqrt(torch.tensor(penalty**2 - 0.25, dtype=torch.complex128))
    torch.testing.assert_close(rates.real.max(), (-penalty + root).real)
    assert (found.norm() < 0.9 * start.norm()) == (penalty > 0)


# ---- networks, averages


def test_a_discriminator_that_normalises_sees_what_is_in_its_batch():
    batch = batch_of()
    x, s = batch["picture"], batch["sentence"]
    pairs = [(x, s), (1 - x, s)]
    for normalise in (True, False):
        of = {together: model_of(normalise=normalise, together=together)._judge(pairs) for together in (True, False)}
        gap = max((a - b).abs().max().item() for a, b in zip(of[True], of[False], strict=True))
        assert (gap > 1e-2) == normalise


def test_projection_is_a_product_of_features_and_sentence():
    torch.manual_seed(0)
    judge = Discriminator(nn.Linear(4, 6), 6, width=8, normalise=False, projection=True).double()
    batch = batch_of(dtype=torch.float64)
    features = judge.features(2 * batch["picture"] - 1).flatten(1)
    s = judge.reader(batch["sentence"])
    for k, logit in enumerate(judge(batch["picture"], batch["sentence"])):
        wanted = judge.output.weight[0] @ features[k] + judge.output.bias[0] + s[k] @ judge.match.weight.T @ features[k]
        assert (logit - wanted).abs() < 1e-12


def moved(network):
    with torch.no_grad():
        for p in network.parameters():
            p.add_(1.0)


def test_drawing_uses_the_moving_average():
    model, batch = model_of(average=0.9), batch_of()
    before = [p.clone() for p in model.average.parameters()]
    model.loss(batch)  # nothing has changed yet
    assert all((a == b).all() for a, b in zip(before, model.average.parameters(), strict=True))
    moved(model.generator)
    for _ in range(3):  # one change, however often the loss is computed
        model.loss(batch)
    for old, new, now in zip(before, model.average.parameters(), model.generator.parameters(), strict=True):
        torch.testing.assert_close(new, 0.9 * old + 0.1 * now)
        assert not new.requires_grad
    z = torch.randn(6, 5)
    torch.testing.assert_close(model.draw(batch["sentence"], z), model.average.network(batch["sentence"], z))
    assert not model.average.network.training
    assert model.generator.training
    kept = [p.clone() for p in model.average.parameters()]
    moved(model.generator)
    model.eval().loss(batch)
    assert all((a == b).all() for a, b in zip(kept, model.average.parameters(), strict=True))


def test_the_average_has_batch_statistics_of_its_own():
    model, batch = model_of(average=0.9), batch_of(B=64)
    for _ in range(60):
        moved_a_little = model.generator.first.weight
        with torch.no_grad():
            moved_a_little.add_(0.01 * torch.randn_like(moved_a_little))
        model.loss(batch)
    average = copy.deepcopy(model.average.network).train()
    with torch.no_grad():
        for _ in range(100):
            average(batch["sentence"], torch.randn(64, 5))
    own, wanted = (dict(net.named_buffers()) for net in (model.average.network, average))
    for name in own:
        if "running_mean" in name:
            assert (own[name] - wanted[name]).abs().mean() < 0.1 * wanted[name].abs().mean()


def test_the_generator_does_not_move_the_discriminators_statistics():
    model, batch = model_of(), batch_of()
    model.loss(batch)
    counts = [b.item() for name, b in model.discriminator.named_buffers() if name.endswith("num_batches_tracked")]
    assert set(counts) == {1}


def test_both_players_learn_by_the_usual_training(fit_device):
    """Two sentences, two brightnesses."""
    torch.manual_seed(0)
    sentence = torch.eye(2)[torch.arange(256) % 2]
    picture = (0.2 + 0.6 * sentence[:, :1, None, None]).expand(-1, 1, 8, 8).clone()
    players = Generator(nn.Identity(), 2, 3, 1, 8, 16), Discriminator(nn.Identity(), 2, 1, 8, 16, normalise=False)
    model = TextToImageGAN(*players, 3, Relativistic(0.1), average=0.9)
    data = {"picture": picture, "sentence": sentence}
    adam = partial(torch.optim.Adam, betas=(0.5, 0.99))
    fit(model, data, epochs=25, lr=3e-3, batch_size=64, optimizer=adam, progress=False, seed=0)
    drawn = model.cpu().eval().draw(sentence).mean((1, 2, 3))
    assert (drawn - picture.mean((1, 2, 3))).abs().mean() < 0.1


# ---- flow matching


@pytest.mark.parametrize("times", ["uniform", "logit-normal"])
def test_the_loss_of_flow_matching_by_loops(times):
    torch.manual_seed(0)
    model = FlowMatching(VelocityNetwork(6, width=4), nn.Linear(4, 6), 6, drop=0.5, times=times).double()
    nn.init.normal_(model.velocity.nothing)
    batch = batch_of(dtype=torch.float64)
    torch.manual_seed(2)
    found = model.loss(batch)["loss"].item()
    torch.manual_seed(2)
    x = 2 * batch["picture"] - 1
    noise = torch.randn_like(x)
    if times == "uniform":
        time = torch.rand(6, dtype=torch.float64)
    else:
        time = 1 / (1 + (-torch.randn(6, dtype=torch.float64)).exp())
    out = torch.rand(6, dtype=torch.float32) < 0.5
    assert 0 < out.sum() < 6
    total = 0.0
    for k in range(6):
        s = model.velocity.nothing if out[k] else model.velocity.reader(batch["sentence"][k])
        at = (1 - time[k]) * noise[k] + time[k] * x[k]
        velocity = model.velocity.network(at[None], time[k : k + 1], s[None])[0]
        total += (velocity - (x[k] - noise[k])).square().mean().item() / 6
    assert found == pytest.approx(total, abs=1e-12)


class Told(nn.Module):
    """A velocity of (what was told) · τ."""

    def forward(self, x, time, sentence):
        return (sentence[:, :1] * time[:, None])[..., None, None].expand_as(x)


def test_the_way_and_guidance_in_closed_form():
    """Heun's method is exact for a velocity that is linear in time; ∫ s τ dτ = s/2."""
    model = FlowMatching(Told(), nn.Identity(), 1)
    with torch.no_grad():
        model.average.network.nothing.fill_(0.2)
    noise, sentence = 0.1 * torch.randn(3, 1, 2, 2), torch.tensor([[0.5], [0.1], [-0.4]])
    for w in (0.0, 1.0, 3.0):
        found = model.draw(sentence, (1, 2, 2), steps=4, guidance=w, noise=noise)
        moved = noise + (0.2 + w * (sentence - 0.2))[..., None, None] / 2
        torch.testing.assert_close(found, ((moved + 1) / 2).clamp(0, 1))


def test_flow_matching_learns(fit_device):
    torch.manual_seed(0)
    sentence = torch.eye(2)[torch.arange(256) % 2]
    picture = (0.2 + 0.6 * sentence[:, :1, None, None]).expand(-1, 1, 8, 8).clone()
    model = FlowMatching(VelocityNetwork(2, 1, 8, 8), nn.Identity(), 2, average=0.9)
    fit(model, {"picture": picture, "sentence": sentence}, epochs=20, lr=5e-3, batch_size=64, progress=False, seed=0)
    drawn = model.cpu().eval().draw(sentence, (1, 8, 8)).mean((1, 2, 3))
    assert (drawn - picture.mean((1, 2, 3))).abs().mean() < 0.1


# ---- refusals


@pytest.mark.parametrize("kind", ["GAN", "flow"])
def test_a_bad_batch_is_refused(kind):
    model = model_of() if kind == "GAN" else FlowMatching(VelocityNetwork(6, width=4), nn.Linear(4, 6), 6)
    who, batch = type(model).__name__, batch_of()
    for change, error, message in (
        ({"picture": None}, ValueError, f"{who}: the batch has no 'picture', only sentence"),
        ({"picture": torch.rand(6, 3, 16, 16).double()}, TypeError, "'picture' is torch.float64"),
        ({"sentence": torch.rand(5, 4)}, ValueError, "modalities need the same number of examples"),
        ({"sentence": torch.rand(6, 9)}, ValueError, "the encoder of 'sentence' cannot read"),
        ({"picture": (255 * torch.rand(6, 3, 16, 16)).byte()}, TypeError, "convert it with .float"),
        ({"picture": 255 * torch.rand(6, 3, 16, 16)}, ValueError, r"'picture' must be in \[0, 1\], got values from"),
        ({"picture": torch.rand(6, 16, 16)}, ValueError, r"'picture' must be pictures \(B, C, H, W\)"),
        (
            {"picture_present": torch.ones(6).bool()},
            ValueError,
            "needs 'picture' in all examples, so no 'picture_present'",
        ),
    ):
        wrong = {key: value for key, value in {**batch, **change}.items() if value is not None}
        with pytest.raises(error, match=message):
            model.loss(wrong)
    if kind == "GAN":
        with pytest.raises(ValueError, match="one example has no other sentence"):
            model.loss({name: x[:1] for name, x in batch.items()})
        with pytest.raises(ValueError, match="the generator gives"):
            model.loss({**batch, "picture": torch.rand(6, 3, 8, 8)})
        with pytest.raises(ValueError, match=r"noise must be \(6, 5\)"):
            model.draw(batch["sentence"], torch.randn(6, 8))
        alone = {name: x[:1] for name, x in batch.items()}
        assert model_of("relativistic").loss(alone)["loss"].isfinite()


def test_bad_arguments_are_refused():
    reader, shared = nn.Identity(), nn.Linear(3, 3)
    for make, error, message in (
        (lambda: Generator(reader, 2, 3, size=12), ValueError, "size must be 4 times a power of 2"),
        (lambda: Discriminator(reader, 2, size=2), ValueError, "size must be a whole number"),
        (lambda: Discriminator(reader, 2, normalise=1), TypeError, "normalise must be True or False"),
        (lambda: TextToImageGAN(reader, reader, 3, "GAN"), TypeError, "objective must be one such as"),
        (lambda: TextToImageGAN(reader, reader, 0), ValueError, "noise must be a whole number"),
        (lambda: TextToImageGAN(shared, shared, 3), ValueError, "share parameters that are trained"),
        (
            lambda: TextToImageGAN(reader, Discriminator(reader, 2), 3, Relativistic()),
            ValueError,
            "a gradient penalty needs logits that depend on their own picture alone",
        ),
        (lambda: TextToImageGAN(reader, reader, 3, average=1), ValueError, "with a decay of 1 it would never move"),
        (lambda: TextToImageGAN(reader, reader, 3, average=2), ValueError, "average must be finite and from 0 to 1"),
        (lambda: TextToImageGAN(nn.Identity, reader, 3), TypeError, "generator must be a torch.nn.Module"),
        (lambda: FlowMatching(reader, reader, 3, drop=-1), ValueError, "drop must be finite and from 0 to 1"),
        (lambda: FlowMatching(reader, reader, 3, times="late"), ValueError, "times must be 'uniform' or"),
        (lambda: MovingAverage(nn.Identity, 0.5), TypeError, "network must be a torch.nn.Module"),
        (lambda: Relativistic(-1), ValueError, "penalty must be finite"),
        (lambda: VelocityNetwork(0), ValueError, "dim must be a whole number"),
        (lambda: VelocityNetwork(3, size=12), ValueError, "size must be a multiple of 4 patches, 8"),
    ):
        with pytest.raises(error, match=message):
            make()
    model = FlowMatching(VelocityNetwork(6, width=4), nn.Linear(4, 6), 6)
    for wrong in ({"steps": 0}, {"guidance": -1}, {"noise": torch.rand(2, 3, 8, 8)}):
        with pytest.raises(ValueError, match=r"FlowMatching.draw: (steps|guidance|noise) must be"):
            model.draw(torch.rand(2, 4), (3, 16, 16), **wrong)
    with pytest.raises(ValueError, match="guidance needs a model that was trained with drop above 0"):
        FlowMatching(VelocityNetwork(6, width=4), nn.Linear(4, 6), 6, drop=0).draw(
            torch.rand(2, 4), (3, 16, 16), guidance=2
        )
    gan = model_of(wrong="other")
    for other in (torch.rand(6, 5), torch.ones(6, 4, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"'other' must be like 'sentence'.*pad both to one length"):
            gan.loss(batch_of() | {"other": other})
    with pytest.raises(ValueError, match="has no 'other'"):
        gan.loss(batch_of())
    with pytest.raises(ValueError, match="pictures must be 16 × 16"):
        model.loss({"picture": torch.rand(2, 3, 12, 16), "sentence": torch.rand(2, 4)})


def test_a_narrow_network_trains_on_a_single_picture():
    model = FlowMatching(VelocityNetwork(6, 1, 8, 4), nn.Linear(4, 6), 6)
    assert model.loss({"picture": torch.rand(1, 1, 8, 8), "sentence": torch.rand(1, 4)})["loss"].isfinite()
