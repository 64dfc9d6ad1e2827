"""Sound localisation: maps, poolings and the loss by loops in float64; masks, refusals; that it learns to point."""

import math

import pytest
import torch
from torch import nn

from mmtutor import embedding
from mmtutor.localisation import Attention, InfoNCE, LogSumExp, Max, Mean, Pooling, Positives, SoundLocalisation
from mmtutor.metrics import contrastive_floor
from mmtutor.training import evaluate, fit

POOLINGS = {
    "mean": Mean,
    "max": Max,
    "attention": lambda: Attention(5.0),
    "log-sum-exp": lambda: LogSumExp(5.0),
    "positives": lambda: Positives(0.3, 0.1, 0.2),
}
every_pooling = pytest.mark.parametrize("name", POOLINGS)
BOTH = {"scene": nn.Identity(), "spoken": nn.Identity()}


def model_of(name="log-sum-exp", A=5, C=4, **settings):
    torch.manual_seed(0)
    return SoundLocalisation(BOTH, [A, C], 3, POOLINGS[name](), **settings).double()


def batch_of(B=4, L=9, A=5, C=4):
    torch.manual_seed(1)
    return {"scene": torch.randn(B, L, A).double(), "spoken": torch.randn(B, C).double()}


# ---- equations by loops


def cosine(model, a, b):
    v = [sum(w * x for w, x in zip(row, a, strict=True)) for row in model.image.weight]
    h = [sum(w * x for w, x in zip(row, b, strict=True)) for row in model.sound.weight]
    product = sum(x * y for x, y in zip(v, h, strict=True))
    return (product / math.sqrt(sum(x * x for x in v)) / math.sqrt(sum(x * x for x in h))).item()


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def pooled(name, m):
    if name == "mean":
        return sum(m) / len(m)
    if name == "max":
        return max(m)
    if name == "attention":
        weights = [math.exp(5 * x) for x in m]
        return sum(w * x for w, x in zip(weights, m, strict=True)) / sum(weights)
    if name == "log-sum-exp":
        return math.log(sum(math.exp(5 * x) for x in m) / len(m)) / 5
    weights = [sigmoid((x - 0.3) / 0.2) for x in m]
    return sum(w * x for w, x in zip(weights, m, strict=True)) / sum(weights)


def background(m):
    weights = [1 - sigmoid((x - 0.1) / 0.2) for x in m]
    return sum(w * x for w, x in zip(weights, m, strict=True)) / sum(weights)


@every_pooling
def test_the_map_and_the_loss_by_loops(name):
    model, batch = model_of(name), batch_of()
    with torch.no_grad():
        m = [[[cosine(model, a, b) for a in picture] for b in batch["spoken"]] for picture in batch["scene"]]
        own = torch.tensor([m[i][i] for i in range(4)], dtype=torch.float64)
        assert (model.map(batch) - own).abs().max() < 1e-12
        t = model.contrast.scale.item()
        s = [[t * pooled(name, m[i][j]) for j in range(4)] for i in range(4)]
        total = 0.0
        for i in range(4):
            behind = [t * background(m[i][i])] if name == "positives" else []
            total += math.log(sum(math.exp(x) for x in s[i] + behind)) - s[i][i]
            total += math.log(sum(math.exp(s[k][i]) for k in range(4))) - s[i][i]
        assert t == pytest.approx(14.0)
        assert model.loss(batch)["loss"].item() == pytest.approx(total / 8, abs=1e-12)
        fits = torch.tensor([pooled(name, m[i][i]) for i in range(4)], dtype=torch.float64)
        assert (model.fits(batch) - fits).abs().max() < 1e-12


def test_log_sum_exp_is_between_the_mean_and_the_maximum():
    maps = batch_of()["scene"][..., 0].tanh()
    assert (LogSumExp(1e-6)(maps) - Mean()(maps)).abs().max() < 1e-5
    assert (LogSumExp(1e5)(maps) - Max()(maps)).abs().max() < 1e-4
    low, high = LogSumExp(2.0)(maps), LogSumExp(20.0)(maps)
    assert (Mean()(maps) < low).all()
    assert (low < high).all()
    assert (high < Max()(maps)).all()


def test_the_gradient_of_log_sum_exp_is_a_softmax_and_of_the_maximum_one_region():
    maps = batch_of()["scene"][..., 0].tanh().requires_grad_()
    (slope,) = torch.autograd.grad(LogSumExp(5.0)(maps).sum(), maps)
    torch.testing.assert_close(slope, (5 * maps).softmax(1))
    (slope,) = torch.autograd.grad(Max()(maps).sum(), maps)
    assert ((slope != 0).sum(1) == 1).all()


def test_attention_is_the_cosine_of_the_sound_and_what_was_attended_to_before_it_is_scaled():
    model, batch = model_of("attention"), batch_of()
    v, h = model.embed(batch)
    p = (5 * model.map(batch)).softmax(1)
    attended = (p[:, None] @ v)[:, 0]  # Senocak's z
    torch.testing.assert_close((attended * h).sum(1), model.fits(batch))


def test_positives_do_not_underflow():
    maps = torch.full((2, 9), -1.0)
    maps[:, 3] = -0.9
    pooling = Positives(0.65, 0.4, 1e-3)
    assert torch.isfinite(pooling(maps)).all()
    assert torch.isfinite(pooling.background(1.0 - maps)).all()
    assert pooling(maps)[0].item() == pytest.approx(-0.9)


@pytest.mark.parametrize("contrast", [embedding.InfoNCE(), embedding.Triplet(), embedding.Sigmoid()])
def test_a_contrast_of_the_joint_embedding_can_be_handed_in(contrast):
    model, batch = model_of(contrast=contrast.double()), batch_of()
    v, h = model.embed(batch)
    s = torch.stack([torch.stack([LogSumExp(5.0)(picture @ b) for b in h]) for picture in v])
    wanted = contrast(s, torch.arange(4), torch.ones(4, 4, dtype=torch.bool))
    torch.testing.assert_close(model.loss(batch)["loss"], wanted)
    if isinstance(contrast, embedding.InfoNCE):
        own = model_of(contrast=InfoNCE(1 / 0.07)).loss(batch)["loss"]
        torch.testing.assert_close(own, wanted, rtol=1e-5, atol=1e-6)


def test_several_sounds_of_a_picture_by_loops():
    """Two pictures, three sounds, of which the last two belong to the first picture."""
    torch.manual_seed(0)
    s, owner, there = torch.randn(2, 3).double(), torch.tensor([1, 0, 0]), torch.ones(2, 3, dtype=torch.bool)
    total = 0.0
    for j, i in enumerate(owner.tolist()):
        total += math.log(sum(math.exp(s[i, k]) for k in range(3))) - s[i, j].item()
        total += math.log(sum(math.exp(s[k, j]) for k in range(2))) - s[i, j].item()
    assert InfoNCE(1.0)(s, owner, there).item() == pytest.approx(total / 6, abs=1e-12)
    turned = InfoNCE(1.0)(torch.eye(3)[[1, 2, 0]].T, torch.tensor([1, 2, 0]), torch.ones(3, 3, dtype=torch.bool))
    assert turned.item() == pytest.approx(InfoNCE(1.0)(torch.eye(3), torch.arange(3), torch.ones(3, 3).bool()).item())


def test_a_learned_scale_is_held():
    loss = InfoNCE(scale=99.0)
    with torch.no_grad():
        loss.log_scale += 1
    everything = torch.ones(3, 3, dtype=torch.bool)
    loss(torch.eye(3), torch.arange(3), everything)
    assert loss.scale.item() == pytest.approx(100.0)
    assert not InfoNCE(learned=False).log_scale.requires_grad


# ---- learning


def test_it_learns_to_point_from_matching_alone(fit_device):
    """Three regions hold a class each, the sound names one of them; where it is was never said."""
    torch.manual_seed(0)
    n, classes, regions = 1024, 6, 5
    shown = torch.stack([torch.randperm(classes)[:3] for _ in range(n)])
    place = torch.stack([torch.randperm(regions)[:3] for _ in range(n)])
    scene = torch.zeros(n, regions, classes + 1)
    scene[..., classes] = 1
    scene[torch.arange(n)[:, None], place, shown] = 1
    speaks = torch.arange(n) % 3
    said = shown[torch.arange(n), speaks]
    data = {"scene": scene, "spoken": torch.eye(classes)[said]}
    model = SoundLocalisation(BOTH, [classes + 1, classes], 32)
    fit(model, data, epochs=15, lr=2e-2, batch_size=64, progress=False, seed=0)
    found = model.cpu().map(data).argmax(1)
    assert (found == place[torch.arange(n), speaks]).float().mean() > 0.95
    assert contrastive_floor([1 / classes] * classes, 64) < evaluate(model, data, batch_size=64)["loss"] < math.log(64)


# ---- silence


def test_it_is_calibrated_on_what_does_not_come_from_the_picture():
    model, batch = model_of().eval(), batch_of(B=400)
    assert not model.comes_from_picture(batch).any()
    shares = []
    for share in (0.0, 0.05, 0.5):
        threshold = model.calibrate(batch, share)
        assert threshold == model.threshold
        shares.append(model.comes_from_picture(batch).double().mean().item())
    assert shares == pytest.approx([0.0, 0.05, 0.5], abs=0.005)
    batch["spoken_present"] = torch.arange(400) < 200
    half = model.calibrate(batch, 0.5)
    first = {name: x[:200] for name, x in batch.items()}
    assert half == model.calibrate(first, 0.5)
    with pytest.raises(RuntimeError, match="the model is in training mode"):
        model.train().calibrate(batch)
    there = model_of()
    there.load_state_dict(model.state_dict())
    assert there.threshold == model.threshold


# ---- masks and refusals


def test_a_pair_of_which_something_is_missing_does_not_count():
    model, batch = model_of(), batch_of(B=5)
    for m in ("scene", "spoken"):
        present = torch.tensor([True, True, False, True, True])
        spoiled = {**batch, m: batch[m].clone(), f"{m}_present": present}
        spoiled[m][2] = torch.nan
        rest = {name: x[present] for name, x in batch.items()}
        torch.testing.assert_close(model.loss(spoiled)["loss"], model.loss(rest)["loss"])
        model.zero_grad()
        model.loss(spoiled)["loss"].backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    nothing = torch.tensor([False, False, False, False, True])
    assert model.loss({**batch, "spoken_present": nothing})["loss"].isfinite()


def test_a_bad_batch_is_refused():
    model, batch = model_of(), batch_of()
    for change, error, message in (
        ({"scene": None}, ValueError, "needs both modalities, the batch has no 'scene', only spoken"),
        ({"spoken": torch.rand(4, 4)}, TypeError, r"'spoken' is torch.float32 \(4, 4\), the parameters are"),
        ({"spoken": torch.rand(3, 4).double()}, ValueError, "modalities need the same number of examples"),
        ({"scene": torch.full((4, 9, 5), torch.nan).double()}, ValueError, "'scene' holds NaN"),
        ({"scene": torch.rand(4, 5).double()}, ValueError, r"the encoder of 'scene' must give regions \(B, L, 5\)"),
        ({"spoken": torch.rand(4, 2, 4).double()}, ValueError, r"the encoder of 'spoken' must give \(B, 4\), got"),
    ):
        wrong = {key: value for key, value in {**batch, **change}.items() if value is not None}
        for call in (model.loss, model.map, model.fits):
            with pytest.raises(error, match=f"^SoundLocalisation: {message}"):
                call(wrong)
    with pytest.raises(ValueError, match="one pair has nothing to be told apart from"):
        model.loss({name: x[:1] for name, x in batch.items()})
    assert model.map({name: x[:1] for name, x in batch.items()}).shape == (1, 9)


def test_bad_arguments_are_refused():
    for arguments, error, message in (
        (
            {"encoders": {"scene": nn.Identity()}, "dims": [5]},
            ValueError,
            "reads a picture and a sound, got 1 encoders",
        ),
        ({"encoders": BOTH, "dims": [5]}, ValueError, "reads a picture and a sound, got 2 encoders and 1 dims"),
        ({"encoders": BOTH, "dims": [5, 0]}, ValueError, r"dims\[1\] must be a whole number"),
        ({"encoders": BOTH, "dims": 5}, TypeError, "dims must be the two encoders"),
        ({"encoders": BOTH, "dims": [5, 4], "dim": 0}, ValueError, "dim must be a whole number"),
        ({"encoders": BOTH, "dims": [5, 4], "pooling": Max}, TypeError, "pooling must be a torch.nn.Module"),
        ({"encoders": BOTH, "dims": [5, 4], "contrast": "InfoNCE"}, TypeError, "contrast must be a torch.nn.Module"),
        (
            {"encoders": BOTH, "dims": [5, 4], "pooling": Positives(), "contrast": embedding.InfoNCE()},
            ValueError,
            "Positives has a background",
        ),
    ):
        with pytest.raises(error, match=message):
            SoundLocalisation(**arguments)
    for make in (lambda: LogSumExp(0), lambda: Attention(-1), lambda: Positives(2), lambda: Positives(0.3, 0.5)):
        with pytest.raises(ValueError, match="must be finite and"):
            make()
    with pytest.raises(ValueError, match="false_alarms must be finite and from 0 to 1"):
        model_of().calibrate(batch_of(), 2)
    with pytest.raises(TypeError, match="abstract"):
        Pooling()
