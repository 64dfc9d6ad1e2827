"""What is new beside the plain fusions, each against its equation written out; float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmtutor.fusion import (
    Concat,
    CrossAttention,
    DecisionFusion,
    Gated,
    HarmonicRule,
    HybridFusion,
    InnerProduct,
    LateFusion,
    MeanRule,
    ModulatedFusion,
    ProductRule,
    WeightedRule,
)

ALL = torch.ones(4, 3, dtype=torch.bool)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def encoders():
    return {"a": nn.Linear(5, 3), "b": nn.Linear(4, 3), "c": nn.Linear(2, 3)}


def batch(b=6, missing=False):
    data = {m: torch.randn(b, d, dtype=torch.float64) for m, d in (("a", 5), ("b", 4), ("c", 2))}
    data["label"] = torch.arange(b) % 4
    if missing:
        data["b_present"] = torch.tensor([True, False, True, True, False, True])
        data["b"][1] = torch.nan
    return data


def close(a, b):
    assert a.shape == b.shape
    assert (a - b).abs().max() < 1e-12


# ---- merges and rules


def test_inner_products_pair_by_pair_and_part_by_part():
    x = [torch.randn(4, 6, dtype=torch.float64) for _ in range(3)]
    pairs = [(0, 1), (0, 2), (1, 2)]
    close(InnerProduct([6] * 3)(x), torch.stack([(x[m] * x[n]).sum(1) for m, n in pairs], 1))
    each = [(x[m] * x[n])[:, 2 * p : 2 * p + 2].sum(1) for m, n in pairs for p in range(3)]
    close(InnerProduct([6] * 3, parts=3)(x), torch.stack(each, 1))
    present = ALL.clone()
    present[1, 2] = False
    out = InnerProduct([6] * 3)(x, present)
    assert out[1, 1:].tolist() == [0, 0]
    close(out[1, :1], (x[0] * x[1]).sum(1)[1:2])
    with pytest.raises(ValueError, match="at least two modalities, all of the same size, got \\(6, 5\\)"):
        InnerProduct([6, 5])
    with pytest.raises(ValueError, match="parts must divide the size 6, got 4"):
        InnerProduct([6, 6], parts=4)


def test_the_harmonic_mean_of_probabilities():
    p = torch.randn(4, 3, 5, dtype=torch.float64).softmax(2)
    naive = 3 / (1 / p).sum(1)
    close(HarmonicRule()(p.log(), ALL).exp(), naive / naive.sum(1, keepdim=True))
    present = ALL.clone()
    present[:, 1] = False
    naive = 2 / (1 / p[:, [0, 2]]).sum(1)
    close(HarmonicRule()(p.log(), present).exp(), naive / naive.sum(1, keepdim=True))
    nothing = torch.full((1, 2, 2), -math.inf, dtype=torch.float64)
    nothing[0, :, 0] = 0.0  # a class that a modality rules out
    assert HarmonicRule()(nothing, ALL[:1, :2]).exp().tolist() == [[1.0, 0.0]]


def test_the_gates_of_two_modalities_are_those_of_the_bimodal_unit():
    merge = Gated([3, 3], 4).double()
    x = [torch.randn(4, 3, dtype=torch.float64) for _ in range(2)]
    weight, bias = merge.gates.weight.view(2, 4, 6), merge.gates.bias.view(2, 4)
    z = torch.sigmoid(torch.cat(x, 1) @ (weight[0] - weight[1]).T + bias[0] - bias[1])
    h = [layer(v).tanh() for layer, v in zip(merge.layers, x, strict=True)]
    close(merge(x), z * h[0] + (1 - z) * h[1])


# ---- decisions trained as a whole


@pytest.mark.parametrize("make", [MeanRule, ProductRule, HarmonicRule, lambda: WeightedRule(3)])
def test_decisions_trained_as_a_whole_have_the_loss_of_the_merged_one(make):
    model = DecisionFusion(encoders(), 4, [3] * 3, make(), joint=True).double()
    data = batch(missing=True)
    terms = model.loss(data)
    close(terms["loss"], F.nll_loss(model(data), data["label"]))
    apart = DecisionFusion(model.encoders, 4, [3] * 3, MeanRule()).double()
    apart.heads = model.heads
    for m in "abc":
        close(terms[m], apart.loss(data)[m])
    terms["loss"].backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


# ---- a loss on each branch


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_a_loss_on_each_branch(weight, missing):
    model = HybridFusion(encoders(), 4, Concat([3] * 3), branch_weight=weight).double()
    data = batch(missing=missing)
    terms, label = model.loss(data), data["label"]
    plain = LateFusion(model.encoders, 4, model.merge).double()
    plain.head = model.head
    close(terms["fused"], plain.loss(data)["loss"])
    close(model(data), plain(data).log_softmax(1))
    branches = {}
    for m in "abc":
        there = data.get(f"{m}_present", torch.ones(6, dtype=torch.bool))
        scores = model.heads[m](model.encoders[m](data[m][there]).relu())
        branches[m] = F.cross_entropy(scores, label[there])
        close(terms[m], branches[m])
    close(terms["loss"], terms["fused"] + weight * sum(branches.values()))


def test_hybrid_fusion_merges_the_fused_decision_with_the_branches():
    data = batch(missing=True)
    model = HybridFusion(encoders(), 4, Concat([3] * 3), rule=MeanRule()).double()
    log_p, there = model.decisions(data)
    assert there.tolist() == [[True, True, p, True] for p in data["b_present"].tolist()]
    for row in range(6):
        close(model(data)[row].exp(), log_p[row][there[row]].exp().mean(0))
    model.rule = None
    close(model(data), log_p[:, 0])


def test_hybrid_fusion_refuses():
    for rule in (WeightedRule(3), "mean"):
        with pytest.raises(TypeError, match="HybridFusion: rule must be None or a rule without weights"):
            HybridFusion(encoders(), 4, Concat([3] * 3), rule=rule)
    with pytest.raises(ValueError, match="branch_weight must be finite and at least 0, got -1"):
        HybridFusion(encoders(), 4, Concat([3] * 3), branch_weight=-1)
    model = HybridFusion(encoders(), 4, CrossAttention([3] * 3, 8, heads=2)).double()
    data = batch() | {"a": torch.randn(6, 7, 5, dtype=torch.float64)}
    with pytest.raises(ValueError, match=r"encoder of 'a' must give floats \(6, 3\), .* got torch.float64 \(6, 7, 3\)"):
        model.loss(data)
    with pytest.raises(ValueError, match="label"):
        model.loss(batch() | {"label": torch.full((6,), 4)})


# ---- gradients that are modulated


def gradients(model, data):
    model.zero_grad()
    model.loss(data)["loss"].backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_coefficients_of_two_modalities_are_the_papers():
    """A linear classifier on the concatenation, without bias: p(y | x_m) = softmax(W_m x_m)."""
    alpha = 0.3
    two = {m: nn.Linear(5, 3) for m in "ab"}
    model = ModulatedFusion(two, 4, Concat([3, 3]), alpha, hidden=0).double()
    [last] = model.head
    torch.nn.init.zeros_(last.bias)
    x = {m: torch.randn(6, 5, dtype=torch.float64) for m in "ab"} | {"label": torch.arange(6) % 4}
    with torch.no_grad():
        last.weight[:, :3] *= 4  # a says more about something
        scores = {m: model.encoders[m](x[m]) @ last.weight[:, 3 * k : 3 * k + 3].T for k, m in enumerate("ab")}
    s = {m: sum(float(scores[m][i].softmax(0)[x["label"][i]]) for i in range(6)) for m in "ab"}
    k = {}
    for m, other in ("ab", "ba"):
        rho = s[m] / s[other]
        k[m] = 1 - math.tanh(alpha * rho) if rho > 1 else 1.0
    assert min(k.values()) < 0.9
    assert max(k.values()) == 1.0
    terms = model.loss(x)
    for m in "ab":
        assert terms[f"slower_{m}"].item() == pytest.approx(1 - k[m], abs=1e-12)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("merge", [lambda: Concat([3] * 3), lambda: Gated([3] * 3, 5)], ids=["concat", "gated"])
def test_the_gradient_of_an_encoder_is_multiplied_and_nothing_else_changes(merge, missing):
    model = ModulatedFusion(encoders(), 4, merge(), alpha=0.4).double()
    plain = LateFusion(model.encoders, 4, model.merge).double()
    plain.head, data = model.head, batch(missing=missing)
    terms, slower, straight = model.loss(data), gradients(model, data), gradients(plain, data)
    close(terms["loss"], plain.loss(data)["loss"])
    k = {m: 1 - terms[f"slower_{m}"] for m in "abc"}
    assert min(k.values()) < 1
    for name, gradient in slower.items():
        factor = k[name.split(".")[1]] if name.startswith("encoders") else 1.0
        close(gradient, factor * straight[name])
    model.alpha = 0.0
    for name, gradient in gradients(model, data).items():
        close(gradient, straight[name])


def test_coefficients_of_three_modalities_compare_with_the_mean_of_the_others():
    model = ModulatedFusion(encoders(), 4, Concat([3] * 3), alpha=0.4).double()
    data = batch(missing=True)
    s = []
    for m in "abc":
        there = data.get(f"{m}_present", torch.ones(6, dtype=torch.bool))
        p = LateFusion.forward(model, {m: data[m], f"{m}_present": there} | ({} if there.all() else fill(data, there)))
        s.append(float(p.detach().softmax(1).gather(1, data["label"][:, None])[there].mean()))
    for k, m in enumerate("abc"):
        rho = s[k] / (sum(s[:k] + s[k + 1 :]) / 2)
        wanted = math.tanh(0.4 * rho) if rho > 1 else 0.0
        assert model.loss(data)[f"slower_{m}"].item() == pytest.approx(wanted, abs=1e-12)


def fill(data, there):
    """Another modality for the examples that would have none."""
    return {"a": data["a"], "a_present": ~there}
