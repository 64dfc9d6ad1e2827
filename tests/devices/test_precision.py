"""Every model that has a loss trains in float32, in float64, and in bfloat16 by the rules of the CPU and of CUDA.

By CUDA's rules on the pretend device only: torch's CPU tensors follow the CPU's.
"""

from contextlib import nullcontext
from functools import cache, partial

import pretend_autocast
import pretend_device as pretend
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from devices import test_captioning as captioning
from devices import test_embedding as embedding
from devices import test_fusion as fusion
from devices import test_iterative as iterative
from devices import test_localisation as localisation
from devices import test_mfm as mfm
from devices import test_text_to_image as text_to_image
from devices import test_training as training
from devices import test_vae as vae
from devices import test_vqa as vqa
from devices import test_workspace as workspace
from mmtutor.captioning import HardAttention, ShowAttendTell
from mmtutor.fusion import LateFusion
from mmtutor.iterative import Distillation, forward_kl, reverse_kl
from mmtutor.mfm import LSTMEncoder, Surrogate
from mmtutor.training import fit

# ---- the models; each comes with a batch, and with modules that it reads but does not hold


def of_fusion(make):
    torch.manual_seed(0)
    return make(), fusion.batch()


def of_captioning(make):
    batch = captioning.examples("grid" if make == "grid" else "regions")
    batch["caption"] = batch["caption"][..., :5]  # no column of padding, which is cut only on the CPU
    return make() if callable(make) else captioning.make(make), batch


def hard_reads_first():
    torch.manual_seed(0)
    options = {**captioning.SIZES, "read_first": True, "doubly_stochastic": 0.3, "dropout": 0.3}
    return ShowAttendTell(nn.Linear(3, 4), 4, captioning.TOKENS, attention=HardAttention(), **options)


def frozen_vectors():
    torch.manual_seed(0)
    vectors = {"vectors": torch.randn(7, 4), "freeze_vectors": True}
    return ShowAttendTell(nn.Linear(3, 4), 4, captioning.TOKENS, **captioning.SIZES, **vectors)


def of_embedding(loss, sentence):
    return embedding.model_of(loss, sentence), embedding.batch_of()


def of_vqa(name):
    return vqa.model_of(name), vqa.batch_of()


def of_localisation(name):
    return localisation.model_of(name), localisation.batch_of()


def of_workspace(name):
    return workspace.model_of(name), workspace.batch_of()


def of_text_to_image(name):
    return text_to_image.model_of(name), text_to_image.batch_of()


def of_mfm(name):
    torch.manual_seed(0)
    return mfm.MODELS[name](), mfm.batch(name)


def of_vae(name):
    return vae.model_of(name), vae.batch_of(name != "JMVAE")


def teacher(*args, **options):
    return iterative.teacher(*args, **options), iterative.examples(missing=True)


def surrogate():
    model, batch = of_mfm("MFM")
    return Surrogate(model, "voice", LSTMEncoder("words", 3, 5), 5), batch, model


def distillation(kl, inferred):
    model, batch = iterative.teacher(), iterative.examples()
    if inferred:
        batch["teacher_posterior"] = 0.3 * torch.randn(6, 4)
        return Distillation(None, iterative.students(), kl), batch
    return Distillation(model.encode, iterative.students(), kl), batch, model


CASES = {
    **{f"fusion, {name}": partial(of_fusion, make) for name, make in fusion.MODELS.items()},
    **{
        f"late fusion, {name}": partial(of_fusion, lambda make=make: LateFusion(fusion.encoders(), 4, make()))
        for name, make in fusion.MERGES.items()
    },
    **{f"captioning, {name}": partial(of_captioning, name) for name in [*captioning.MODELS, "hard"]},
    "captioning, hard, reads first": partial(of_captioning, hard_reads_first),
    "captioning, frozen vectors": partial(of_captioning, frozen_vectors),
    **{f"embedding, {loss}, {s}": partial(of_embedding, loss, s) for loss, s in embedding.MODELS},
    **{f"mfm, {name}": partial(of_mfm, name) for name in mfm.MODELS},
    **{f"localisation, {name}": partial(of_localisation, name) for name in localisation.MODELS},
    **{f"text to image, {name}": partial(of_text_to_image, name) for name in text_to_image.MODELS},
    **{f"vqa, {name}": partial(of_vqa, name) for name in vqa.MODELS},
    **{f"workspace, {name}": partial(of_workspace, name) for name in workspace.MODELS},
    "mfm, surrogate": surrogate,
    **{f"vae, {name}": partial(of_vae, name) for name in vae.MODELS},
    **{
        f"teacher, {name}{'' if one_pass else ', textbook'}": partial(teacher, refiner=name, one_pass=one_pass)
        for name in iterative.REFINERS
        for one_pass in (True, False)
    },
    "teacher, from a modality": partial(teacher, "modality", over="last"),
    "teacher, from the prior": partial(teacher, "prior"),
    "students": partial(distillation, forward_kl, False),
    "students, reverse KL": partial(distillation, reverse_kl, False),
    "students, inferred before": partial(distillation, forward_kl, True),
}
PRECISIONS = {
    "float32": (torch.float32, None),
    "float64": (torch.float64, None),
    "bfloat16 as on the CPU": (torch.float32, "CPU"),
    "bfloat16 as on CUDA": (torch.float32, "CUDA"),
}
WAYS = [(place, how) for place in ("CPU", "device") for how in PRECISIONS if (place, how[-4:]) != ("CPU", "CUDA")]
device = training.device


class SameDraws(TorchDispatchMode):
    """Random numbers are drawn in float64 and rounded, so that they are the same in each precision."""

    def __init__(self, run=lambda function, args, kwargs: function(*args, **kwargs)):
        super().__init__()
        self.run = run

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        match str(func):
            case "aten.normal_.default" | "aten.bernoulli_.float" | "aten.exponential_.default":
                return args[0].copy_(func(float64(args[0]), *args[1:], **(kwargs or {})))
            case "aten.normal.Tensor_Tensor":
                return args[0] + args[1] * torch.empty_like(args[0]).copy_(float64(args[0]).normal_())
            case "aten.randn.default" | "aten.rand.default":
                draw = torch.randn if "randn" in str(func) else torch.rand
                noise, *kind = draw(args[0], dtype=torch.float64), kwargs.get("dtype"), kwargs.get("device")
                return torch.empty(args[0], dtype=kind[0], device=kind[1]).copy_(noise)
            case "aten.native_dropout.default":  # of accelerators
                kept = torch.empty_like(args[0]).copy_(float64(args[0]).bernoulli_(1 - args[1]))
                return args[0] * kept / (1 - args[1]), kept.bool()
        return self.run(func, args, kwargs or {})


def float64(x):
    return torch.empty(x.shape, dtype=torch.float64)


def train(case, place, how):
    """The first loss and its gradients, after two steps of Adam."""
    dtype, rules = PRECISIONS[how]
    device = torch.device("cpu") if place == "CPU" else pretend.DEVICE
    model, batch, *others = CASES[case]()
    for module in (model, *others):
        module.to(device, dtype)
    batch = {name: x.to(dtype) if x.is_floating_point() else x for name, x in batch.items()}
    batch = {name: x if name.endswith("_present") else x.to(device) for name, x in batch.items()}
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    found = []
    torch.manual_seed(2)
    for _ in range(2):
        optimizer.zero_grad()
        pretend.SYNCS.clear()
        pretend.UPLOADS.clear()
        with torch.autocast(device.type, dtype=torch.bfloat16) if rules else nullcontext():
            loss = model.loss(batch)["loss"]
        loss.backward()
        assert not pretend.SYNCS + pretend.UPLOADS
        gradients = {name: p.grad.cpu().double() for name, p in model.named_parameters() if p.grad is not None}
        found.append((loss.item(), gradients))
        assert loss.isfinite()
        assert all(x.isfinite().all() for x in gradients.values())
        optimizer.step()
    for name, p in model.named_parameters():
        assert p.dtype == dtype, name
        assert p.isfinite().all(), name
    assert any((p != before[name]).any() for name, p in model.named_parameters())
    return found[0]


@cache
def in_float32(case):
    with SameDraws():
        return train(case, "CPU", "float32")


@pytest.mark.usefixtures("bfloat16_on_any_cpu")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("place", "how"), WAYS, ids=[f"{place}, {how}" for place, how in WAYS])
def test_a_model_trains(place, how, case, monkeypatch):
    expected, wanted = in_float32(case)
    if (place, how) == ("CPU", "float32"):
        return
    monkeypatch.setattr(pretend, "FLOAT64", how == "float64")
    rounds = PRECISIONS[how][1]
    with SameDraws(pretend.run) if place == "device" else SameDraws(), pretend_autocast.rules(rounds or "CUDA"):
        loss, gradients = train(case, place, how)
    assert loss == pytest.approx(expected, rel=5e-2 if rounds else 1e-5)
    assert gradients.keys() == wanted.keys()
    ours, theirs = (torch.cat([x.flatten() for x in each.values()]) for each in (gradients, wanted))
    assert F.cosine_similarity(ours, theirs, 0) > (0.9 if rounds else 0.9999)


# ---- `fit`


@pytest.mark.parametrize("place", ["CPU", "device"])
@pytest.mark.parametrize("device", [False], indirect=True, ids=["no float64"])
def test_fit_trains_in_bfloat16_where_accelerate_is_told_to(place, device, monkeypatch):
    if place == "CPU":
        monkeypatch.setattr(pretend, "DEVICE", torch.device("cpu"))
    else:
        monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
        monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "pretend:0")
    found = {}
    for asked in ("no", "bf16"):
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", asked)
        model, seen = training.model(), []
        model.head.register_forward_hook(lambda head, args, out, seen=seen: seen.append((head.training, out.dtype)))
        history = fit(model, training.data(16), training.data(8), epochs=2, batch_size=4, progress=False)
        found[asked] = history.train["loss"] + history.valid["loss"]
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        dtype = torch.bfloat16 if asked == "bf16" else torch.float32
        assert seen[-1] == (False, dtype)
        assert [kind for trains, kind in seen if trains][-8:] == [dtype] * 8
    assert found["bf16"] == pytest.approx(found["no"], rel=2e-2)
    assert found["bf16"] != found["no"]
