"""Multimodal VAEs and the linear-Gaussian world on the pretend accelerator: the numbers of the CPU, and no waits."""

from functools import partial

import pretend_device as pretend
import pytest
import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal

from mmtutor.lineargaussian import LinearGaussian
from mmtutor.vae import (
    DMVAE,
    JMVAE,
    MMVAE,
    MVAE,
    MVTCAE,
    TELBO,
    Coordinated,
    MMVAEPlus,
    MoPoE,
    average,
    bernoulli,
    categorical,
    gaussian,
    laplace,
    mean_of,
    mixture,
    normal,
    product,
    product_of_posteriors,
    wasserstein,
)
from mmtutor.vae.gaussian import choose, where
from mmtutor.vae.private import PrivateVAE

LATENT, PRIVATE, SIZE = 2, 1, 6
MODELS = {
    "Coordinated": partial(Coordinated),
    "Coordinated, crossing": partial(Coordinated, distance=wasserstein, cross_weight=0.3, combine=average),
    "JMVAE": partial(JMVAE),
    "TELBO": partial(TELBO),
    "MVAE": partial(MVAE, drawn=2),
    "MMVAE": partial(MMVAE, k=3),
    "MMVAE, dreg": partial(MMVAE, k=3, objective="dreg"),
    "MoPoE": partial(MoPoE),
    "MoPoE, sets": partial(MoPoE, sets=["image", "sound", ("sound", "word"), "bits", "kind"], prior=True),
    "MVTCAE": partial(MVTCAE),
    "DMVAE": partial(DMVAE),
    "MMVAEPlus": partial(MMVAEPlus, k=2),
}
LIKELIHOODS = {
    "image": gaussian(0.5),
    "sound": laplace(0.5),
    "bits": bernoulli(),
    "word": categorical(one_hot=True),
    "kind": categorical(),
}
every_model = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(params=[True, False], ids=["float64", "no float64"])
def device(request, monkeypatch):
    """The accelerator; one without float64 too, as Apple's."""
    monkeypatch.setattr(pretend, "FLOAT64", request.param)
    pretend.SYNCS.clear()
    pretend.UPLOADS.clear()
    with pretend.Mode():
        yield pretend.DEVICE


class Joint(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(6 + 5 + 4 + 6 + 1, 2 * LATENT)

    def forward(self, batch):
        dtype = self.net.weight.dtype
        return self.net(torch.cat([batch[s].to(dtype).flatten(1) if s != "kind" else batch[s].to(dtype).unsqueeze(1)
                                   for s in LIKELIHOODS], 1))  # fmt: skip


def model_of(name):
    torch.manual_seed(0)
    made, private = MODELS[name], PRIVATE if name in ("DMVAE", "MMVAEPlus") else 0
    out, d = 2 * (LATENT + private), LATENT + private
    encoders = {
        "image": nn.Linear(6, out),
        "sound": nn.Linear(5, out),
        "bits": nn.Linear(4, out),
        "word": nn.Sequential(nn.Flatten(), nn.Linear(6, out)),
        "kind": nn.Embedding(3, out),
    }
    decoders = {
        "image": nn.Linear(d, 6),
        "sound": nn.Linear(d, 5),
        "bits": nn.Linear(d, 4),
        "word": nn.Sequential(nn.Linear(d, 6), nn.Unflatten(1, (2, 3))),
        "kind": nn.Linear(d, 3),
    }
    first = [Joint()] if name in ("JMVAE", "TELBO") else []
    last = [PRIVATE] if private else []
    return made(*first, encoders, decoders, LIKELIHOODS, LATENT, *last)


def batch_of(masks):
    """Six examples; with masks the first is complete, and each modality is missing somewhere."""
    g = torch.Generator().manual_seed(1)
    kind = torch.randint(3, (SIZE,), generator=g)
    batch = {
        "image": torch.rand(SIZE, 6, generator=g),
        "sound": torch.rand(SIZE, 5, generator=g),
        "bits": (torch.rand(SIZE, 4, generator=g) > 0.5).float(),
        "word": torch.eye(3)[torch.randint(3, (SIZE, 2), generator=g)],
        "kind": kind,
    }
    if masks:
        there = torch.tensor([[1, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 0, 1, 1, 0, 1], [1, 0, 0, 1, 0, 1],
                              [1, 1, 0, 0, 1, 1]]).bool()  # fmt: skip
        batch |= {f"{s}_present": there[i] for i, s in enumerate(list(batch))}
    return batch


def on(batch, device, masks):
    """The batch on a device, with its masks or without them."""
    return {k: v.to(device) if masks or not k.endswith("_present") else v for k, v in batch.items()}


def all_answers(model, batch, complete):
    """What every public method returns, for the same seed."""
    z = torch.rand(SIZE, LATENT, generator=torch.Generator().manual_seed(2))
    here = next(model.parameters()).device
    torch.manual_seed(3)
    model.zero_grad()
    loss = model.loss(complete if isinstance(model, JMVAE) else batch)
    loss["loss"].backward()
    answers = {**loss, **{f"slope of {k}": p.grad for k, p in model.named_parameters() if p.grad is not None}}
    for modalities, given in ((None, batch), ("image", complete), (["sound", "image"], complete)):
        q = model.encode(given, modalities)
        answers |= {f"{modalities}, mean": q.mean, f"{modalities}, density": q.log_prob(z.to(here))}
        answers[f"{modalities}, sample"] = q.sample((2,))
    _, experts, _ = model.experts(batch)
    answers |= {"experts": experts.mean, "experts, σ": experts.stddev}
    answers |= {f"decoded {k}": mean_of(p) for k, p in model.decode(z).items()}
    if isinstance(model, PrivateVAE):
        w = {"image": torch.ones(SIZE, PRIVATE)}
        answers |= {f"decoded {k}, w given": mean_of(p) for k, p in model.decode(z, "image", private=w).items()}
        answers |= {f"w of {k}": q.mean for k, q in model.encode_private(batch).items()}
    answers |= {f"generated {k}": v for k, v in model.generate(batch, n=2).items()}
    answers |= {f"generated {k}, from nothing": v for k, v in model.generate(n=2).items()}
    answers["log p"] = model.log_likelihood(batch, k=5, chunk=12)
    return answers


def equal(expected, got):
    assert expected.keys() == got.keys()
    for key, value in expected.items():
        assert got[key].device == pretend.DEVICE, key
        assert got[key].dtype == value.dtype, key
        torch.testing.assert_close(got[key].detach().cpu(), value.detach(), rtol=1e-5, atol=1e-5, msg=key)


@every_model
def test_every_method_gives_the_cpus_answer_on_the_device_wherever_the_batch_is(device, name):
    model, complete, masked = model_of(name), batch_of(False), batch_of(True)
    expected = all_answers(model, masked, complete)
    model.to(device)
    for batch_on, masks_too in (("cpu", False), (device, False), (device, True)):
        equal(expected, all_answers(model, *(on(batch, batch_on, masks_too) for batch in (masked, complete))))


@every_model
def test_a_loss_and_its_gradient_never_wait_for_the_device(device, name):
    model = model_of(name).to(device)
    for masks in (False, name != "JMVAE"):
        batch = on(batch_of(masks), device, masks=False)
        pretend.SYNCS.clear()
        pretend.UPLOADS.clear()
        model.loss(batch)["loss"].backward()
        assert not pretend.SYNCS + pretend.UPLOADS


def test_masks_on_the_device_are_what_waits(device):
    model, batch = model_of("MVAE").to(device), on(batch_of(True), device, masks=True)
    pretend.SYNCS.clear()
    pretend.UPLOADS.clear()
    model.loss(batch)["loss"].backward()
    assert dict(pretend.SYNCS) == {"copy to the CPU": len(LIKELIHOODS)}


def test_a_function_that_combines_posteriors_gets_masks_on_their_device(device):
    def first(q, present):
        weight = (present & (present.cumsum(0) == 1)).unsqueeze(-1)
        return normal((q.mean * weight).sum(0), (q.stddev * weight).sum(0))

    model, batch = model_of("Coordinated"), batch_of(True)
    model.combine = first
    expected = model.encode(batch).mean
    equal({"mean": expected}, {"mean": model.to(device).encode(batch).mean})


def test_a_model_on_the_cpu_reads_a_batch_from_the_device(device):
    model, batch = model_of("MoPoE"), batch_of(True)
    torch.manual_seed(0)
    expected = model.loss(batch)["loss"]
    torch.manual_seed(0)
    got = model.loss(on(batch, device, masks=True))["loss"]
    assert got.device.type == "cpu"
    assert got == expected


@every_model
def test_values_of_a_batch_on_the_cpu_are_checked_before_it_is_moved(device, name):
    model, batch = model_of(name).to(device), batch_of(False)
    batch["sound"][4, 2] = torch.nan
    with pytest.raises(ValueError, match="'sound' holds NaN or infinite values, first in example 4"):
        model.loss(batch)
    nobody = {f"{s}_present": torch.arange(SIZE) != 3 for s in LIKELIHOODS}
    batch = {**batch_of(False), **nobody}
    for given in (batch, on(batch, device, masks=False), on(batch, device, masks=True)):
        with pytest.raises(ValueError, match="every modality is missing in example 3"):
            model.loss(given)


def test_what_a_likelihood_cannot_take_is_refused_before_it_is_moved(device):
    model = model_of("MVAE").to(device)
    for name, bad, says in (
        ("bits", torch.full((SIZE, 4), 255.0), "'bits' must be from 0 to 1, got 255 in example 0"),
        ("kind", torch.tensor([0, 1, -100, 0, 0, 0]), "'kind' needs classes from 0, got -100 in example 2"),
        ("kind", torch.tensor([0, 1, 2, 3, 0, 0]), "'kind' needs classes from 0 to 2, got 3 in example 3"),
        ("image", torch.zeros(SIZE, 6).double(), "'image' is torch.float64"),
    ):
        for call in (model.loss, model.check_batch):
            with pytest.raises((ValueError, TypeError), match=says):
                call({**batch_of(False), name: bad})


def test_decoders_of_probabilities_are_read_on_the_device_without_a_wait(device):
    model, batch = model_of("MVAE"), {name: x for name, x in batch_of(True).items() if "kind" not in name}
    parts = [dict(part) for part in (model.encoders, model.decoders, LIKELIHOODS)]
    for part in parts:
        del part["kind"]
    encoders, decoders, likelihoods = parts
    decoders["bits"] = nn.Sequential(decoders["bits"], nn.Sigmoid())
    decoders["word"] = nn.Sequential(decoders["word"], nn.Softmax(-1))
    model = MVAE(encoders, decoders, likelihoods, LATENT)
    assert model.likelihoods["bits"].probabilities
    assert model.likelihoods["word"].probabilities
    complete = {name: x for name, x in batch_of(False).items() if name != "kind"}
    expected = all_answers(model, batch, complete)
    model.to(device)
    equal(expected, all_answers(model, on(batch, device, masks=False), on(complete, device, masks=False)))
    there = on(batch, device, masks=False)
    pretend.SYNCS.clear()
    pretend.UPLOADS.clear()
    model.loss(there)["loss"].backward()
    assert not pretend.SYNCS + pretend.UPLOADS


@every_model
def test_what_comes_of_networks_in_bfloat16_is_float32(name):
    model, batch = model_of(name), batch_of(name != "JMVAE")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(term.dtype == torch.float32 for term in model.loss(batch).values())
        assert model.encode(batch).mean.dtype == torch.float32
        for p in model.decode(torch.zeros(2, LATENT)).values():
            assert mean_of(p).dtype == torch.float32


def test_masks_on_the_cpu_meet_distributions_on_the_device(device):
    g = torch.Generator().manual_seed(0)
    mean, std = torch.randn(3, 5, LATENT, generator=g), torch.rand(3, 5, LATENT, generator=g) / 2 + 0.1
    among = torch.rand(3, 5, generator=g) > 0.4
    among[0] = True
    for combine in (product, product_of_posteriors, average, mixture, choose):
        for mask in (None, among):
            torch.manual_seed(0)
            expected = combine(normal(mean, std), mask)
            pretend.SYNCS.clear()
            pretend.UPLOADS.clear()
            torch.manual_seed(0)
            got = combine(normal(mean.to(device, non_blocking=True), std.to(device, non_blocking=True)), mask)
            assert not pretend.SYNCS + pretend.UPLOADS, combine
            equal({"mean": expected.mean, "σ": expected.stddev}, {"mean": got.mean, "σ": got.stddev})
    a, b = normal(mean[0], std[0]), normal(mean[1], std[1])
    got = where(among[1], *(normal(q.mean.to(device), q.stddev.to(device)) for q in (a, b)))
    equal({"mean": where(among[1], a, b).mean}, {"mean": got.mean})


# ------------------------------------------------------------------------------------------ the linear-Gaussian world


def world_answers(world, batch, q):
    means = {
        "posterior": world.posterior(batch).mean,
        "left": world.posterior(batch, "left").mean,
        "predicted": world.predict(batch, "right", "left").mean,
        "mean field": world.mean_field(batch).mean,
        "reverse student": world.reverse_student(batch, "left").mean,
        "naive product": world.naive_product(batch).mean,
    }
    values = {"log p": world.log_prob(batch), "ELBO": world.elbo(batch, q), "gap": world.gap(batch, q)}
    of_the_world = {"precision": world.precision(), "marginal": world.marginal().covariance_matrix}
    numbers = [world.mean_field_floor(), world.missing_information("left"), world.naive_product_gap()]
    return {**means, **values, **of_the_world, "numbers": torch.tensor(numbers, dtype=torch.float64)}


def some_q(mean, device="cpu"):
    mean, std = mean.to(device), torch.full_like(mean, 0.5).to(device)
    cov = MultivariateNormal(mean, scale_tril=torch.diag_embed(std), validate_args=False)
    base = Normal(mean, std, validate_args=False)
    return base, Independent(base, 1, validate_args=False), cov


def test_a_world_in_float64_on_the_cpu_answers_about_a_batch_on_the_device(device):
    world = LinearGaussian.random({"left": 3, "right": 2}, latent=2, noise=0.7, seed=0)
    batch = {modality: x.float() for modality, x in world.sample(5, seed=1)[1].items()}
    mean = torch.zeros(5, 2) + 0.1
    there = {modality: x.to(device) for modality, x in batch.items()}
    for here, q in zip(some_q(mean), some_q(mean, device), strict=True):
        expected, got = world_answers(world, batch, here), world_answers(world, there, q)
        for key, value in expected.items():
            assert got[key].device.type == "cpu", key
            assert got[key].dtype == torch.float64, key
            torch.testing.assert_close(got[key], value, rtol=1e-12, atol=1e-12, msg=key)
    there["left"] = there["left"] * torch.nan
    with pytest.raises(ValueError, match="'left' has NaN or infinite values"):
        world.posterior(there)


COVARIANCE = {"left": torch.tensor([[0.5, 0.2, 0.0], [0.2, 0.9, 0.1], [0.0, 0.1, 0.4]]), "right": 0.7}


@pytest.mark.parametrize("noise", [0.7, COVARIANCE], ids=["number", "covariance"])
def test_a_world_in_float32_on_the_device_answers_there(device, noise):
    weights = LinearGaussian.random({"left": 3, "right": 2}, latent=2, noise=0.7, seed=0).weights
    world = LinearGaussian({modality: w.float() for modality, w in weights.items()}, noise)
    on_the_device = LinearGaussian({modality: w.float().to(device) for modality, w in weights.items()}, noise)
    z, batch = world.sample(5, seed=1)
    equal({"z": z, **batch}, {"z": on_the_device.sample(5, seed=1)[0], **on_the_device.sample(5, seed=1)[1]})
    expected = world_answers(world, batch, some_q(torch.zeros(5, 2))[0])
    got = world_answers(on_the_device, batch, some_q(torch.zeros(5, 2))[0])
    torch.testing.assert_close(got.pop("numbers"), expected.pop("numbers"), rtol=1e-5, atol=1e-6)
    equal(expected, got)
