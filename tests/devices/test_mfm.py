"""The MFM, its parts and its surrogate on a device that is not the CPU: a pretend one, with and without float64."""

import copy

import pretend_device as pretend
import pytest
import torch
from torch import nn

from mmtutor.mfm import (
    MFM,
    MFN,
    VARIANTS,
    Factor,
    FromModality,
    LSTMDecoder,
    LSTMEncoder,
    Surrogate,
    VariationalFactor,
    absolute_error,
    cross_entropy,
    hsic,
    mmd,
    saliency,
    sensitivity,
    sequence_mfm,
    squared_error,
)

FEATURES, STEPS = {"words": 3, "voice": 2}, 4
SIZES = {"hidden": 3, "memory": 3, "attend": 4, "z": 3, "f": 4}


def images():
    """Encoders without parameters, a modality of classes, and a label that is a number with a cost of one's own."""

    def read(name):
        return FromModality(name, nn.Flatten())

    styles = {"words": Factor(read("words"), 12, 3, 4), "tag": Factor(FromModality("tag", OneHot()), 5, 3, 4)}
    decoders = {
        "words": nn.Sequential(nn.Linear(8, 12), nn.Unflatten(1, (4, 3))),
        "tag": nn.Sequential(nn.Linear(8, 5), nn.Unflatten(1, (1, 5))),
    }
    costs = {"words": absolute_error, "tag": cross_entropy}
    return MFM(
        1, Factor(read("voice"), 8, 3, 4), styles, decoders, costs=costs, label_cost=nn.HuberLoss(reduction="none")
    )


class OneHot(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("one", torch.ones(()))  # tells the precision

    def forward(self, x):
        return (x == torch.arange(5, device=x.device)).to(self.one.dtype)


MODELS = {
    **{v: lambda v=v: sequence_mfm(FEATURES, STEPS, 3, v, **SIZES) for v in VARIANTS},
    "variational": lambda: sequence_mfm(FEATURES, STEPS, 3, **SIZES, factor=VariationalFactor),
    "joint": lambda: sequence_mfm(FEATURES, STEPS, 3, **SIZES, joint=True),
    "images": images,
}
every_model = pytest.mark.parametrize("name", MODELS)
both = pytest.mark.parametrize("_pretend", [True, False], ids=["float64", "no float64"], indirect=True)
every_home = pytest.mark.parametrize("home", ["CPU", "device", "masks on the CPU"])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _pretend(request):
    before, pretend.FLOAT64 = pretend.FLOAT64, getattr(request, "param", False)
    pretend.SYNCS.clear()
    with pretend.Mode():
        yield
    pretend.FLOAT64 = before
    pretend.SYNCS.clear()


def batch(name="MFM", b=5):
    data = {m: torch.randn(b, STEPS, d) for m, d in FEATURES.items()}
    data |= {"label": torch.arange(b) % 3, "length": torch.tensor([4, 1, 2, 3, 4])}
    data["voice_present"] = torch.tensor([True, False, True, True, True])
    data["voice"][1] = torch.nan
    if name == "images":
        data |= {"tag": torch.arange(b)[:, None] % 5, "label": torch.randn(b)}
        data["label_present"] = torch.arange(b) != 3
    return data


def at(data, home):
    """The batch on the CPU, on the device, or on the device but for its masks."""
    stay = [n for n in data if home == "CPU" or (home != "device" and n.endswith("_present"))]
    return {n: x if n in stay else x.to(pretend.DEVICE) for n, x in data.items()}


def moved(module):
    return copy.deepcopy(module).to(pretend.DEVICE)


def same(x, expected):
    if isinstance(expected, dict):
        assert x.keys() == expected.keys()
        for n in x:
            same(x[n], expected[n])
    else:
        assert x.device == pretend.DEVICE
        torch.testing.assert_close(x.detach().cpu(), expected.detach(), rtol=1e-5, atol=1e-6)


def same_draws(call, expected):
    """Both with the same random numbers."""
    torch.manual_seed(1)
    x = call()
    torch.manual_seed(1)
    same(x, expected())


@every_home
@every_model
def test_a_model_reads_a_batch_from_any_device(name, home):
    model, data = MODELS[name](), batch(name)
    there, on = moved(model), at(data, home)
    for of in ("loss", "infer", "forward"):
        same_draws(lambda: getattr(there, of)(on), lambda: getattr(model, of)(data))  # noqa: B023
    latents = model.eval().infer(data)
    factors = model.factors(latents)
    outputs = model.decode(factors)
    same(there.factors(at(latents, home)), factors)
    same(there.decode(at(factors, home)), outputs)
    same(there.classify(at(factors, home)), outputs["label"])
    same(there.generate(at(latents, home)), outputs)
    same_draws(lambda: there.sample(4), lambda: model.sample(4))
    for n, part in model.parts.items():
        z, q = part.infer(data)
        z_there, q_there = there.eval().parts[n].infer(on)
        same(z_there, z)
        same(q_there, q)
        same(there.parts[n].penalty(q_there), part.penalty(q))
        same(there.parts[n].encoder(on), part.encoder(data)) if name != "images" else None
    for n in model.decoders:
        counted = model.counted(n, data)
        same(there.counted(n, on), counted) if counted is not None else None


@both
@pytest.mark.parametrize("home", ["device", "masks on the CPU"])
@every_model
def test_nobody_waits_within_a_loss_and_its_gradient(name, home):
    model, data = MODELS[name](), batch(name)
    there, on = moved(model), at(data, home)
    pretend.SYNCS.clear()
    pretend.UPLOADS.clear()
    torch.manual_seed(1)
    there.loss(on)["loss"].backward()
    assert not pretend.SYNCS + pretend.UPLOADS
    torch.manual_seed(1)
    model.loss(data)["loss"].backward()
    for p, q in zip(there.parameters(), model.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None)
        same(p.grad, q.grad) if p.grad is not None else None


@every_home
@pytest.mark.parametrize(
    "make",
    [lambda: MFN(FEATURES, 3, 3, 4), lambda: LSTMEncoder("voice", 2, 3), lambda: FromModality("voice", nn.Flatten())],
    ids=["MFN", "LSTMEncoder", "FromModality"],
)
def test_an_encoder_reads_a_batch_from_any_device(make, home):
    encoder, data = make(), batch()
    out = moved(encoder)(at(data, home))
    if isinstance(encoder, FromModality) and home == "CPU":  # without parameters: where the batch is
        assert torch.equal(out, encoder(data))
    else:
        same(out, encoder(data))


def test_a_decoder_and_the_costs_read_from_any_device():
    decoder, factors = LSTMDecoder(3, 4, STEPS, 5), torch.randn(2, 3)
    there = moved(decoder)
    for x in (factors, factors.to(pretend.DEVICE)):
        same(there(x), decoder(factors))
    x_hat, label = torch.randn(2, 5), torch.tensor([1, 4])
    for cost, x in ((squared_error, factors[:, :1]), (absolute_error, factors[:, :1]), (cross_entropy, label)):
        out = x_hat[:, :1] if cost is not cross_entropy else x_hat
        same(cost(out.to(pretend.DEVICE), x), cost(out, x))


def test_kernels_on_a_device():
    a, b = torch.randn(6, 3), torch.randn(6, 2)
    same(mmd(a.to(pretend.DEVICE)), mmd(a))
    pretend.SYNCS.clear()
    same(hsic(a.to(pretend.DEVICE), b), hsic(a, b))
    same(hsic(a.to(pretend.DEVICE), b.to(pretend.DEVICE)), hsic(a, b))
    assert set(pretend.SYNCS) <= {"copy to the CPU"}  # those of this test


@both
@every_home
@pytest.mark.parametrize("times", [True, False])
@pytest.mark.parametrize("name", ["M_A", "M_D", "M_E", "MFM"])
def test_interpretation_on_a_device(name, times, home):
    model, data = MODELS[name](), batch()
    there, on = moved(model), at(data, home)
    same(saliency(there, on, "voice", times_input=times), saliency(model, data, "voice", times_input=times))
    if name != "M_A":
        latents = model.infer(data)
        expected = sensitivity(model, latents, "voice", times_input=times)
        same(sensitivity(there, at(latents, home), "voice", times_input=times), expected.float())
        assert expected.dtype == torch.float64
    assert all(p.device == pretend.DEVICE for p in there.parameters())


@every_home
@pytest.mark.parametrize("both", [True, False], ids=["model on the device", "model on the CPU"])
@pytest.mark.parametrize("name", ["MFM", "M_E", "M_D"])
def test_a_surrogate_and_its_model_may_be_on_two_devices(name, both, home):
    model, data = MODELS[name](), batch()
    encoder = LSTMEncoder("words", 3, 5)
    surrogate = Surrogate(model, "voice", encoder, 5)
    there = Surrogate(moved(model) if both else model, "voice", copy.deepcopy(encoder), 5)
    there.load_state_dict(surrogate.state_dict())
    there, on = there.to(pretend.DEVICE), at(data, home)
    for of in ("latents", "loss", "infer", "generate", "forward"):
        same(getattr(there, of)(on), getattr(surrogate, of)(data))
    if both and home != "CPU":
        pretend.SYNCS.clear()
        pretend.UPLOADS.clear()
        there.loss(on)["loss"].backward()
        assert not pretend.SYNCS + pretend.UPLOADS
    back = Surrogate(moved(model), "voice", copy.deepcopy(encoder), 5)  # the model on the device, the rest on the CPU
    back.load_state_dict(surrogate.state_dict())
    for x, y in zip(back.generate(on).values(), surrogate.generate(data).values(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("of", ["loss", "infer", "forward", "surrogate"])
def test_values_on_the_cpu_are_checked_before_they_are_moved(of):
    model = moved(MODELS["MFM"]())
    surrogate = Surrogate(model, "voice", LSTMEncoder("words", 3, 5), 5).to(pretend.DEVICE)
    call = surrogate.latents if of == "surrogate" else getattr(model, of)
    bad = batch()
    bad["words"][2, 3] = torch.nan
    with pytest.raises(ValueError, match="'words' holds NaN or infinite values, first in example 2"):
        call(bad)
    with pytest.raises(ValueError, match="'length' must be from 1 to 4, got 9 in example 0"):
        call({**batch(), "length": torch.full((5,), 9)})
    if of == "loss":
        with pytest.raises(ValueError, match="needs labels from 0 to 2, got 3 in example 0"):
            call({**batch(), "label": torch.full((5,), 3)})
    with pytest.raises(ValueError, match="every modality is missing in example 1"):
        call({**batch(), "words_present": torch.arange(5) != 1})
    if of != "forward":
        late = {**batch(), "length": torch.tensor([4, 2, 3, 1, 4])}
        late["words"] = late["words"] * (torch.arange(4) < late["length"].unsqueeze(1)).unsqueeze(2)
        with pytest.raises(ValueError, match="'words' must be padded at the front, but example 1 has its 2 real steps"):
            call(late)


def test_a_cost_that_is_a_module_moves_with_the_model_and_does_not_wait():
    class Weighted(nn.Module):
        takes_classes = True

        def __init__(self):
            super().__init__()
            self.register_buffer("weights", torch.tensor([1.0, 2.0, 0.5]))

        def forward(self, scores, label):
            return self.weights[label] * nn.functional.cross_entropy(scores, label, reduction="none")

    torch.manual_seed(0)
    model = sequence_mfm({"words": 3, "voice": 2}, 4, 3, label_cost=Weighted(), hidden=4, memory=3, attend=4, z=3, f=4)
    data = batch()
    expected = model.eval().loss(data)
    there = moved(model)
    same(there.loss(data), expected)
    on = at(data, pretend.DEVICE)
    pretend.SYNCS.clear()
    pretend.UPLOADS.clear()
    there.loss(on)["loss"].backward()
    assert not pretend.SYNCS + pretend.UPLOADS
