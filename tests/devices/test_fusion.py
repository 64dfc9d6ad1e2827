"""Multimodal fusion on a device that is not the CPU: a pretend one, with and without float64."""

import copy

import pretend_device as pretend
import pytest
import torch
from torch import nn

from mmtutor.encoders import SequenceEncoder, TextEncoder
from mmtutor.fusion import (
    Arithmetic,
    Concat,
    ConcatNodes,
    CrossAttention,
    CrossModalFusion,
    DecisionFusion,
    EarlyFusion,
    Gated,
    HarmonicRule,
    HybridFusion,
    InnerProduct,
    LateFusion,
    LowRankFusion,
    MeanRule,
    MergeLayer,
    ModulatedFusion,
    ProductRule,
    SumNodes,
    TensorFusion,
    WeightedCrossEntropy,
    WeightedRule,
    absolute_error,
    squared_error,
)

DIMS = [3, 3]
MERGES = {
    "concat": lambda: Concat(DIMS),
    "nodes": lambda: ConcatNodes(DIMS, 5),
    "sum": lambda: Arithmetic(DIMS, "sum"),
    "mean": lambda: Arithmetic(DIMS, "mean"),
    "product": lambda: Arithmetic(DIMS, "product"),
    "inner": lambda: InnerProduct(DIMS, parts=3),
    "layer": lambda: MergeLayer(DIMS, 4),
    "sum of nodes": lambda: SumNodes(DIMS, 4),
    "gated": lambda: Gated(DIMS, 4),
    "tensor": lambda: TensorFusion(DIMS, 4),
    "low-rank": lambda: LowRankFusion(DIMS, 4, rank=2),
    "cross": lambda: CrossAttention(DIMS, 8, exchanges=2, heads=2),
}
PRIOR = torch.tensor([0.1, 0.2, 0.3, 0.4])
RULES = {
    "mean": MeanRule,
    "product": ProductRule,
    "product with a prior": lambda: ProductRule(PRIOR),
    "harmonic": HarmonicRule,
    "weighted": lambda: WeightedRule(2),
}


def encoders():
    return {"a": nn.Sequential(nn.Linear(5, 3), nn.Tanh()), "b": nn.Linear(2, 3)}


MODELS = {
    "early": lambda: EarlyFusion({"a": 5, "b": 2}, 4),
    "cross": lambda: CrossModalFusion(encoders(), 4, DIMS, exchanges=2, dim=8, heads=2),
    "late": lambda: LateFusion(encoders(), 4, Gated(DIMS, 6)),
    "weighted classes": lambda: LateFusion(
        encoders(), 4, Concat(DIMS), cost=WeightedCrossEntropy([0.5, 1.0, 2.0, 3.0])
    ),
    "hybrid": lambda: HybridFusion(encoders(), 4, Concat(DIMS), rule=ProductRule()),
    "modulated": lambda: ModulatedFusion(encoders(), 4, Gated(DIMS, 6)),
    "modulated, cross": lambda: ModulatedFusion(encoders(), 4, CrossAttention(DIMS, 8, heads=2)),
    "joint": lambda: DecisionFusion(encoders(), 4, DIMS, ProductRule(), joint=True),
    **{
        f"decision, {name}": lambda rule=rule: DecisionFusion(encoders(), 4, DIMS, rule())
        for name, rule in RULES.items()
    },
}
every_merge = pytest.mark.parametrize("make", MERGES.values(), ids=MERGES)
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
every_rule = pytest.mark.parametrize("make", RULES.values(), ids=RULES)
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


def batch(b=6):
    data = {"a": torch.randn(b, 5), "b": torch.randn(b, 2), "label": torch.arange(b) % 4}
    data["b_present"] = torch.tensor([True, False, True, True, False, True])
    data["b"][1] = torch.nan
    return data


def at(data, home):
    """The batch on the CPU, on the device, or on the device but for its masks."""
    stay = [n for n in data if home == "CPU" or (home != "device" and n.endswith("_present"))]
    return {n: x if n in stay else x.to(pretend.DEVICE) for n, x in data.items()}


def moved(module):
    return copy.deepcopy(module).to(pretend.DEVICE)


def same(x, expected):
    assert x.device == pretend.DEVICE
    torch.testing.assert_close(x.detach().cpu(), expected.detach(), rtol=1e-5, atol=1e-6)


@every_home
@every_model
def test_a_model_reads_a_batch_from_any_device(make, home):
    model, data = make(), batch()
    there, data_there = moved(model), at(data, home)
    same(there(data_there), model(data))
    terms, expected = there.loss(data_there), model.loss(data)
    assert terms.keys() == expected.keys()
    for name, term in terms.items():
        same(term, expected[name])
    features, present = there.encode(data_there)
    for x, y in zip([*features, present.float()], [*(e := model.encode(data))[0], e[1].float()], strict=True):
        same(x, y)
    if isinstance(model, DecisionFusion):
        for x, y in zip(there.branches(data_there), model.branches(data), strict=True):
            same(x.float(), y.float())
    only = {"a": data["a"], "label": data["label"]}
    same(there.loss(at(only, home))["loss"], model.loss(only)["loss"])


@both
@pytest.mark.parametrize("home", ["device", "masks on the CPU"])
@every_model
def test_nobody_waits_within_a_loss_and_its_gradient(make, home):
    model, data = make(), batch()
    there, data_there = moved(model), at(data, home)
    pretend.SYNCS.clear()
    pretend.UPLOADS.clear()
    there.loss(data_there)["loss"].backward()
    assert not pretend.SYNCS + pretend.UPLOADS
    model.loss(data)["loss"].backward()
    for p, q in zip(there.parameters(), model.parameters(), strict=True):
        same(p.grad, q.grad)


@both
@every_home
@pytest.mark.parametrize("cost", [squared_error, absolute_error])
@pytest.mark.parametrize("classes", [1, 3])
def test_a_regression_on_a_device(classes, cost, home):
    model = LateFusion(encoders(), classes, Concat(DIMS), cost=cost)
    data = {**batch(), "label": torch.randn(6, classes)}
    there, data_there = moved(model), at(data, home)
    same(there.loss(data_there)["loss"], model.loss(data)["loss"])
    if home != "CPU":
        pretend.SYNCS.clear()
        pretend.UPLOADS.clear()
        there.loss(data_there)["loss"].backward()
        assert not pretend.SYNCS + pretend.UPLOADS
    scores = data["label"].double()  # as NumPy makes them; without float64 on the device they are converted before
    same(there.loss({**data, "label": scores})["loss"], model.loss({**data, "label": scores})["loss"])


def padded(padding, tokens):
    torch.manual_seed(0)
    networks = {
        "a": SequenceEncoder(5, 3, tokens=tokens, padding=padding),
        "b": TextEncoder(2, 3, tokens=tokens, padding=padding),
    }
    kind = CrossModalFusion(networks, 4, DIMS, dim=8, heads=2) if tokens else LateFusion(networks, 4, Concat(DIMS))
    data = {"a": torch.randn(6, 7, 5), "b": torch.randn(6, 4, 2), "label": torch.arange(6) % 4}
    data["a_length"], data["b_length"] = torch.tensor([7, 1, 4, 5, 2, 6]), torch.tensor([4, 0, 1, 2, 3, 3])
    for m in "ab":
        steps = torch.arange(data[m].shape[1])
        real = (steps if padding == "end" else steps.flip(0)) < data[f"{m}_length"][:, None]
        data[m] = torch.where(real[..., None], data[m], 0.0)
    return kind, {**data, "b_present": data["b_length"] > 0}


@both
@every_home
@pytest.mark.parametrize("padding", ["end", "front"])
@pytest.mark.parametrize("tokens", [False, True], ids=["features", "tokens"])
def test_padding_is_left_out_on_a_device_without_a_wait(tokens, padding, home):
    model, data = padded(padding, tokens)
    there, data_there = moved(model), at(data, home)
    same(there(data_there), model(data))
    pretend.SYNCS.clear()
    pretend.UPLOADS.clear()
    there.loss(data_there)["loss"].backward()
    assert home == "CPU" or not pretend.SYNCS + pretend.UPLOADS
    model.loss(data)["loss"].backward()
    for p, q in zip(there.parameters(), model.parameters(), strict=True):
        same(p.grad, q.grad)


@pytest.mark.parametrize("home", ["CPU", "device"])
def test_padding_at_the_other_end_is_seen_before_it_is_moved(home):
    model, data = padded("end", False)
    front = padded("front", False)[1]
    for reader, says in (
        (moved(model), "'a' must be padded at the end"),
        (moved(model).encoders["a"], "padding must be"),
    ):
        read = reader if isinstance(reader, LateFusion) else lambda batch, e=reader: e(batch["a"], batch["a_length"])
        assert read(at(data, home)).isfinite().all()
        if home == "CPU":
            with pytest.raises(ValueError, match=says):
                read(front)


@every_home
@every_merge
def test_a_merge_reads_features_from_any_device(make, home):
    merge, features = make(), [torch.randn(4, 3), torch.randn(4, 3)]
    present = torch.tensor([[1, 1], [1, 0], [0, 1], [1, 1]]).bool()
    there, expected = moved(merge), [merge(features), merge(features, present)]
    on = [x if home == "CPU" else x.to(pretend.DEVICE) for x in features]
    mask = present.to(pretend.DEVICE) if home == "device" else present
    for x, y in zip([there(on), there(on, mask)], expected, strict=True):
        if any(True for _ in merge.parameters()) or home != "CPU":
            same(x, y)
        else:  # without parameters: where the features are
            assert torch.equal(x, y)
    if isinstance(merge, LowRankFusion):
        same(there.full_weight(), merge.full_weight())
    if home == "device":
        pretend.SYNCS.clear()
        pretend.UPLOADS.clear()
        there([x.requires_grad_() for x in on], mask).sum().backward()
        assert not pretend.SYNCS + pretend.UPLOADS


@every_home
@every_rule
def test_a_rule_reads_probabilities_from_any_device(make, home):
    rule, log_p = make(), torch.randn(4, 2, 4).log_softmax(2)
    present = torch.tensor([[1, 1], [1, 0], [0, 1], [1, 1]]).bool()
    on = log_p if home == "CPU" else log_p.to(pretend.DEVICE)
    out = moved(rule)(on, present.to(pretend.DEVICE) if home == "device" else present)
    if any(True for _ in rule.parameters()) or home != "CPU":
        same(out, rule(log_p, present))
    else:
        assert torch.equal(out, rule(log_p, present))


def test_a_rule_can_be_tried_after_the_model_has_moved():
    model, data = DecisionFusion(encoders(), 4, DIMS), batch()
    there = moved(model)
    model.rule = there.rule = ProductRule(PRIOR)  # its prior is still on the CPU
    same(there(data), model(data))


def test_values_on_the_cpu_are_checked_before_they_are_moved():
    model = moved(MODELS["late"]())
    bad = batch()
    bad["a"][2] = torch.nan
    with pytest.raises(ValueError, match="'a' holds NaN or infinite values, first in example 2"):
        model.loss(bad)
    with pytest.raises(ValueError, match="needs labels from 0 to 3, got 4 in example 0"):
        model.loss({**batch(), "label": torch.full((6,), 4)})
    with pytest.raises(ValueError, match="every modality is missing in example 1"):
        model.loss({**batch(), "a_present": torch.arange(6) != 1})
