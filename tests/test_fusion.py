"""Each merge against its equation written out, each model against what it promises; float64."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmtutor.encoders import SequenceEncoder, TextEncoder
from mmtutor.fusion import (
    Arithmetic,
    Classifier,
    Concat,
    ConcatNodes,
    CrossAttention,
    CrossModalFusion,
    DecisionFusion,
    EarlyFusion,
    Gated,
    InnerProduct,
    LateFusion,
    LowRankFusion,
    MeanRule,
    Merge,
    MergeLayer,
    ProductRule,
    Rule,
    SumNodes,
    TensorFusion,
    WeightedCrossEntropy,
    WeightedRule,
    absolute_error,
    cross_entropy,
    squared_error,
)

DIMS = [3, 3, 3]
MERGES = {
    "concat": lambda d: Concat(d),
    "nodes": lambda d: ConcatNodes(d, 5),
    "sum": lambda d: Arithmetic(d, "sum"),
    "mean": lambda d: Arithmetic(d, "mean"),
    "product": lambda d: Arithmetic(d, "product"),
    "inner": lambda d: InnerProduct(d, parts=1),
    "layer": lambda d: MergeLayer(d, 4),
    "sum of nodes": lambda d: SumNodes(d, 4),
    "gated": lambda d: Gated(d, 4),
    "tensor": lambda d: TensorFusion(d, 4),
    "low-rank": lambda d: LowRankFusion(d, 4, rank=2),
    "cross": lambda d: CrossAttention(d, 8, exchanges=2, heads=2),
}
every_merge = pytest.mark.parametrize("make", MERGES.values(), ids=MERGES)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def features(dims=DIMS, b=4):
    return [torch.randn(b, d, dtype=torch.float64) for d in dims]


def close(a, b, tolerance=1e-12):
    assert a.shape == b.shape
    assert (a - b).abs().max() < tolerance


# ------------------------------------------------------------------------------- merges against their equations


def test_concat_and_arithmetic_are_what_they_say():
    x = features()
    rows = [[*a, *b, *c] for a, b, c in zip(*(t.tolist() for t in x), strict=True)]
    close(Concat(DIMS)(x), torch.tensor(rows, dtype=torch.float64))
    close(Arithmetic(DIMS)(x), x[0] + x[1] + x[2])
    close(Arithmetic(DIMS, "mean")(x), (x[0] + x[1] + x[2]) / 3)
    close(Arithmetic(DIMS, "product")(x), x[0] * x[1] * x[2])


def test_concat_then_linear_is_a_merge_layer_and_differs_with_a_nonlinearity_per_branch():
    dims, x = [2, 3, 4], features([2, 3, 4])
    layer = MergeLayer(dims, 5).double()
    linear = nn.Linear(9, 5).double()
    with torch.no_grad():
        linear.weight.copy_(torch.cat([part.weight for part in layer.layers], 1))
        linear.bias.copy_(layer.bias.normal_())
    close(linear(torch.cat(x, 1)), layer(x))

    nodes = SumNodes(dims, 5).double()
    before = [part(z) for part, z in zip(nodes.layers, x, strict=True)]
    close(nodes(x), sum(F.relu(h) for h in before))
    assert (nodes(x) - F.relu(sum(before))).abs().max() > 0.1


def test_concat_nodes():
    x, merge = features(), ConcatNodes(DIMS, 5).double()
    close(merge(x), torch.cat([F.relu(z @ p.weight.T + p.bias) for z, p in zip(x, merge.layers, strict=True)], 1))


def test_gated_example_by_example():
    x, merge = features(), Gated(DIMS, 4).double()
    out = merge(x)
    for i in range(4):
        every = torch.cat([z[i] for z in x])
        scores = (merge.gates.weight @ every + merge.gates.bias).view(3, 4)
        for unit in range(4):
            e = [math.exp(s) for s in scores.detach()[:, unit].tolist()]
            h = [math.tanh((p.weight[unit] @ z[i] + p.bias[unit]).item()) for p, z in zip(merge.layers, x, strict=True)]
            assert out[i, unit].item() == pytest.approx(
                sum(a * b for a, b in zip(e, h, strict=True)) / sum(e), abs=1e-12
            )


@pytest.mark.parametrize("dims", [[2], [2, 3], [2, 3, 4], [1, 2, 2, 3]])
def test_tensor_fusion_against_the_sum_over_all_products(dims):
    x, merge = features(dims, 2), TensorFusion(dims, 2).double()
    out = merge(x)
    with_one = [[[1.0, *row.tolist()] for row in z] for z in x]
    for i in range(2):
        products = [math.prod(p) for p in itertools.product(*(z[i] for z in with_one))]
        close(out[i], merge.linear.weight @ torch.tensor(products, dtype=torch.float64) + merge.linear.bias)


@pytest.mark.parametrize("dims", [[2], [2, 3], [2, 3, 4], [1, 2, 2, 3]])
def test_low_rank_equals_tensor_fusion_with_its_full_weight(dims):
    x, low, full = features(dims), LowRankFusion(dims, 3, rank=2).double(), TensorFusion(dims, 3).double()
    with torch.no_grad():
        low.bias.normal_()
        full.linear.weight.copy_(low.full_weight())
        full.linear.bias.copy_(low.bias)
    close(full(x), low(x), 1e-10)
    present = torch.rand(4, len(dims)) < 0.6
    present[:, 0] = True
    close(full(x, present), low(x, present), 1e-10)


def test_one_exchange_against_a_naive_attention():
    """Two modalities with positions, one head, weights read from the module: attention written with loops."""
    merge = CrossAttention([3, 2], 4, exchanges=1, heads=1).double()
    x = [torch.randn(2, 3, 3).double(), torch.randn(2, 2, 2).double()]
    out = merge(x)

    def norm(layer, v):
        return (v - v.mean()) / (v.var(unbiased=False) + layer.eps).sqrt() * layer.weight + layer.bias

    for i in range(2):
        h = [[f.weight @ v + f.bias for v in z[i]] for f, z in zip(merge.project, x, strict=True)]
        means = []
        for m, block in enumerate(merge.exchanges[0].blocks):
            wq, wk, wv = block.attention.in_proj_weight.chunk(3)
            bq, bk, bv = block.attention.in_proj_bias.chunk(3)
            context = [norm(block.norm_context, v) for v in h[1 - m]]
            keys = [wk @ v + bk for v in context] + [torch.zeros(4).double()]  # a zero key is always there
            values = [wv @ v + bv for v in context] + [torch.zeros(4).double()]
            new = []
            for v in h[m]:
                q = wq @ norm(block.norm_query, v) + bq
                a = torch.stack([q @ k / 2 for k in keys]).softmax(0)  # √4 = 2
                v = v + block.attention.out_proj(sum(w * u for w, u in zip(a, values, strict=True)))
                new.append(v + block.mlp(norm(block.norm_mlp, v)))
            means.append(torch.stack(new).mean(0))
        close(out[i], torch.cat(means), 1e-10)


# --------------------------------------------------------------------------------- missing modalities, for every merge


@every_merge
def test_what_stands_where_a_modality_is_missing_does_not_matter(make):
    merge, x = make(DIMS).double().eval(), features()
    present = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 1, 0]]).bool()
    spoiled = [torch.where(present[:, m, None], z, torch.tensor(torch.nan).double()) for m, z in enumerate(x)]
    out = merge(spoiled, present)
    assert out.isfinite().all()
    close(out, merge(x, present))
    close(out[:1], merge([z[:1] for z in x]))  # all there: as without a mask
    for i in range(4):  # and each example as if it were alone
        close(out[i : i + 1], merge([z[i : i + 1] for z in x], present[i : i + 1]))


@every_merge
def test_missing_values_send_no_gradient(make):
    merge, x = make(DIMS).double(), [z.requires_grad_() for z in features()]
    present = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 1, 0]]).bool()
    merge(x, present).square().sum().backward()
    for m, z in enumerate(x):
        assert (z.grad[~present[:, m]] == 0).all()
        read = present[:, m] & (present.sum(1) > 1) if isinstance(merge, InnerProduct) else present[:, m]
        assert (z.grad[read] != 0).any(1).all() or isinstance(merge, ConcatNodes | SumNodes)


def test_missing_modalities_by_hand():
    x, present = features(), torch.tensor([[1, 0, 1]] * 4).bool()
    close(Concat(DIMS)(x, present), torch.cat([x[0], 0 * x[1], x[2]], 1))
    close(Arithmetic(DIMS)(x, present), x[0] + x[2])
    close(Arithmetic(DIMS, "mean")(x, present), (x[0] + x[2]) / 2)
    close(Arithmetic(DIMS, "product")(x, present), x[0] * x[2])
    nodes = ConcatNodes(DIMS, 5).double()
    h = [F.relu(layer(z)) for layer, z in zip(nodes.layers, x, strict=True)]
    close(nodes(x, present), torch.cat([h[0], 0 * h[1], h[2]], 1))
    nodes = SumNodes(DIMS, 5).double()
    h = [F.relu(layer(z)) for layer, z in zip(nodes.layers, x, strict=True)]
    close(nodes(x, present), h[0] + h[2])
    full, rest = TensorFusion(DIMS, 2).double(), TensorFusion([3, 3], 2).double()
    with torch.no_grad():  # only products without the second modality remain: its index is 0, the leading one
        rest.linear.weight.copy_(full.linear.weight.view(2, 4, 4, 4)[:, :, 0].flatten(1))
        rest.linear.bias.copy_(full.linear.bias)
    close(full(x, present), rest([x[0], x[2]]))


def test_a_missing_modality_gets_no_gate():
    x, merge = features(), Gated(DIMS, 4).double()
    present = torch.tensor([[1, 0, 1]] * 4).bool()
    scores = merge.gates(torch.cat([x[0], 0 * x[1], x[2]], 1)).view(4, 3, 4)[:, [0, 2]].exp()
    h = torch.stack([merge.layers[m](x[m]).tanh() for m in (0, 2)], 1)
    close(merge(x, present), (scores * h).sum(1) / scores.sum(1))


def test_no_modality_attends_to_a_missing_one():
    """With the second of three modalities missing, the exchange is that of the other two, and its block is zero."""
    three, two = CrossAttention(DIMS, 4, 2, 2).double(), CrossAttention(DIMS[:2], 4, 2, 2).double()
    for k, m in enumerate((0, 2)):
        two.project[k].load_state_dict(three.project[m].state_dict())
        for step in range(2):
            two.exchanges[step].blocks[k].load_state_dict(three.exchanges[step].blocks[m].state_dict())
    x = features()
    out, pair = three(x, torch.tensor([[1, 0, 1]] * 4).bool()), two([x[0], x[2]])
    close(out, torch.cat([pair[:, :4], torch.zeros(4, 4).double(), pair[:, 4:]], 1))


@every_merge
def test_every_parameter_gets_a_gradient(make):
    merge = make(DIMS).double()
    if not list(merge.parameters()):
        return
    # Dead ReLUs must not hide a parameter that never trains: many examples, several of them.
    merge(features(b=64)).square().sum().backward()
    for name, p in merge.named_parameters():
        assert p.grad is not None, name
        assert (p.grad != 0).any(), name


@every_merge
def test_examples_do_not_see_each_other(make):
    merge, x, order = make(DIMS).double(), features(), torch.tensor([2, 0, 3, 1])
    close(merge([z[order] for z in x]), merge(x)[order])


@every_merge
def test_the_size_is_the_one_announced(make):
    merge = make(DIMS).double()
    assert merge(features()).shape == (4, merge.dim)


# ---------------------------------------------------------------------------------------------------- models


def encoders():
    return {"a": nn.Sequential(nn.Linear(5, 3), nn.Tanh()), "b": nn.Linear(2, 3)}


def models():
    return {
        "early": EarlyFusion({"a": 5, "b": 2}, 4),
        "late": LateFusion(encoders(), 4, Concat([3, 3])),
        "late linear": LateFusion(encoders(), 4, Gated([3, 3], 6), hidden=0),
        "cross": CrossModalFusion(encoders(), 4, [3, 3], exchanges=2, dim=8, heads=2),
        "mean": DecisionFusion(encoders(), 4, [3, 3]),
        "product": DecisionFusion(encoders(), 4, [3, 3], ProductRule(torch.tensor([0.1, 0.2, 0.3, 0.4]))),
        "weighted": DecisionFusion(encoders(), 4, [3, 3], WeightedRule(2)),
    }


every_model = pytest.mark.parametrize("name", models())


def batch(b=6):
    return {
        "a": torch.randn(b, 5, dtype=torch.float64),
        "b": torch.randn(b, 2, dtype=torch.float64),
        "label": torch.arange(b) % 4,
    }


@every_model
def test_loss_is_the_cross_entropy_of_the_scores(name):
    model, data = models()[name].double(), batch()
    terms = model.loss(data)
    if isinstance(model, DecisionFusion):  # branches are trained each on its own
        log_p, _ = model.branches(data)
        each = [-log_p[range(6), m, data["label"]].mean() for m in range(2)]
        close(terms["a"], each[0])
        close(terms["b"], each[1])
        whole = each[0] + each[1]
        if isinstance(model.rule, WeightedRule):
            whole = whole - model(data).log_softmax(1)[range(6), data["label"]].mean()
    else:
        logits = model(data)
        whole = -(logits - logits.logsumexp(1, keepdim=True))[range(6), data["label"]].mean()
    close(terms["loss"], whole)


def test_a_branch_learns_from_the_examples_in_which_its_modality_is_there():
    model = DecisionFusion(encoders(), 4, [3, 3], WeightedRule(2)).double()
    mask = torch.tensor([1, 0, 1, 1, 0, 1]).bool()
    data = {**batch(), "b_present": mask}
    terms, whole = model.loss(data), model.branches(batch_of(data, mask))[0]
    close(terms["b"], -whole[range(4), 1, data["label"][mask]].mean())
    # The weights see the branches, the branches do not see the weights.
    others = [p for name, p in model.named_parameters() if name != "rule.weights"]
    assert all(g is None for g in torch.autograd.grad(terms["weights"], others, allow_unused=True))


def batch_of(data, mask):
    return {name: value[mask] for name, value in data.items() if not name.endswith("_present")}


@every_model
def test_every_parameter_of_every_model_gets_a_gradient(name):
    model = models()[name].double()
    model.loss(batch(64))["loss"].backward()
    for which, p in model.named_parameters():
        assert p.grad is not None, which
        assert (p.grad != 0).any(), which


@every_model
def test_a_model_learns(name):
    """The label is a simple function of both modalities together; every model must fit ten examples."""
    model, data = models()[name].double(), batch(10)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    first = model.loss(data)["loss"].item()
    for _ in range(200):
        optimizer.zero_grad()
        loss = model.loss(data)["loss"]
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5 * first


@every_model
def test_missing_modalities_in_a_batch(name):
    model, data = models()[name].double().eval(), batch()
    mask = torch.tensor([1, 0, 1, 1, 0, 1]).bool()
    spoiled = {**data, "b": data["b"].masked_fill(~mask[:, None], torch.nan), "b_present": mask}
    out = model(spoiled)
    assert out.isfinite().all()
    close(out[mask], model(data)[mask])
    alone = model({"a": data["a"]})  # the modality is absent as a whole
    close(out[~mask], alone[~mask])
    loss = model.loss(spoiled)["loss"]
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_features_with_positions_may_be_missing():
    """A modality with positions that is absent as a whole is as one whose mask is False everywhere."""
    model = CrossModalFusion(encoders(), 4, [3, 3], exchanges=2, dim=8, heads=2).double()
    data = {"a": torch.randn(6, 5).double(), "b": torch.randn(6, 7, 2).double()}
    nowhere, somewhere = torch.zeros(6).bool(), torch.tensor([1, 0, 1, 1, 0, 1]).bool()
    absent = model({"a": data["a"]})
    close(model({**data, "b_present": nowhere}), absent)
    some = model({**data, "b_present": somewhere})
    close(some[~somewhere], absent[~somewhere])
    close(some[somewhere], model(data)[somewhere])
    assert (some - absent)[somewhere].abs().max() > 1e-3


def test_a_misspelt_modality_is_not_taken_for_a_missing_one():
    model = LateFusion({"handwritten": nn.Flatten(), "spoken": nn.Flatten()}, 3, Concat([4, 4]))
    with pytest.raises(ValueError, match="no 'handwritten' but 'hand_written'"):
        model({"hand_written": torch.rand(2, 4), "spoken": torch.rand(2, 4)})
    assert model({"spoken": torch.rand(2, 4)}).shape == (2, 3)


@every_model
def test_an_unknown_tensor_is_not_taken_for_a_known_modality(name):
    """A known modality may be absent, and a batch may hold more than a model reads, but not both at once."""
    model, data = models()[name].double(), batch()
    close(model({**data, "c": data["b"], "c_label": data["label"], "length": data["label"]}), model(data))
    del data["b"]
    with pytest.raises(ValueError, match="the batch has no 'b' but 'c'; rename it, or leave it out"):
        model({**data, "c": torch.rand(6, 2).double()})
    assert model({**data, "c_label": data["label"], "length": data["label"]}).isfinite().all()


@every_model
def test_names_decide_not_the_order(name):
    model, data = models()[name].double(), batch()
    close(model(dict(reversed(data.items()))), model(data))


def test_decisions_by_hand():
    p = torch.tensor([[[0.7, 0.2, 0.1], [0.5, 0.1, 0.4]]], dtype=torch.float64)  # (1, 2 modalities, 3 classes)
    both, first = torch.tensor([[True, True]]), torch.tensor([[True, False]])
    prior = torch.tensor([0.5, 0.25, 0.25])

    def fuse(rule, present):
        return rule.double()(p.log(), present).exp()[0]

    close(fuse(MeanRule(), both), torch.tensor([0.6, 0.15, 0.25], dtype=torch.float64))
    weighted = WeightedRule(2)  # equal weights at the start
    close(fuse(weighted, both), torch.tensor([0.6, 0.15, 0.25], dtype=torch.float64))
    raw = torch.tensor([0.35, 0.02, 0.04], dtype=torch.float64)
    close(fuse(ProductRule(), both), raw / raw.sum())  # equal priors
    raw = raw / prior.double()
    close(fuse(ProductRule(prior), both), raw / raw.sum(), 1e-7)  # the prior is stored in float32
    for rule in (MeanRule(), weighted, ProductRule(), ProductRule(prior)):
        close(fuse(rule, first), p[0, 0])
    with torch.no_grad():
        weighted.weights.copy_(torch.tensor([math.log(3), 0.0], dtype=torch.float64))  # weights 3/4 and 1/4
    close(fuse(weighted, both), 0.75 * p[0, 0] + 0.25 * p[0, 1])


@pytest.mark.parametrize("rule", [MeanRule(), ProductRule(), WeightedRule(2)], ids=["mean", "product", "weighted"])
def test_a_rule_does_not_read_what_is_missing(rule):
    log_p = torch.randn(3, 2, 4).double().log_softmax(2)
    present = torch.tensor([[1, 1], [1, 0], [0, 1]]).bool()
    spoiled = torch.where(present[..., None], log_p, torch.nan).requires_grad_()
    out = rule.double()(spoiled, present)
    close(out, rule(log_p, present))
    out.exp()[:, 0].sum().backward()
    assert spoiled.grad.isfinite().all()
    assert (spoiled.grad[~present] == 0).all()
    assert (spoiled.grad[present] != 0).any(1).all()


def test_a_branch_is_a_classifier_of_its_own():
    model, data = models()["mean"].double(), batch()
    log_p, present = model.branches(data)
    for m, name in enumerate("ab"):
        h, head = model.encoders[name](data[name]).clamp(min=0), model.heads[name]
        close(log_p[:, m].exp(), (h @ head.weight.T + head.bias).softmax(1))
    assert present.all()


def test_a_rule_can_be_changed_without_training():
    model, data = models()["mean"].double(), batch()
    log_p = model.branches(data)[0]
    close(model(data).exp(), log_p.exp().mean(1))
    model.rule = ProductRule()
    close(model(data), log_p.sum(1).log_softmax(1))


def test_the_product_is_the_exact_posterior_of_independent_modalities():
    """Two discrete modalities, independent given the class: Bayes' rule by enumeration."""
    prior = torch.tensor([0.2, 0.3, 0.5]).double()
    x1, x2 = torch.rand(3, 4).double(), torch.rand(3, 5).double()
    x1, x2 = x1 / x1.sum(1, keepdim=True), x2 / x2.sum(1, keepdim=True)  # p(x | y)
    rule = ProductRule(prior)
    for i, j in itertools.product(range(4), range(5)):
        exact = prior * x1[:, i] * x2[:, j]
        single = torch.stack([prior * x1[:, i], prior * x2[:, j]])
        single = single / single.sum(1, keepdim=True)
        fused = rule(single.log()[None], torch.ones(1, 2).bool()).exp()[0]
        close(fused, exact / exact.sum())


def test_learned_weights_find_the_better_modality():
    rule = WeightedRule(2).double()
    label = torch.arange(40) % 4
    log_p = torch.full((40, 2, 4), 0.25).double()
    log_p[:, 0] = 0.02 + 0.92 * F.one_hot(label, 4)  # the first modality knows, the second guesses
    log_p, present = log_p.log(), torch.ones(40, 2).bool()
    optimizer = torch.optim.Adam(rule.parameters(), 0.1)
    for _ in range(100):
        optimizer.zero_grad()
        F.nll_loss(rule(log_p, present), label).backward()
        optimizer.step()
    assert rule.weights.softmax(0)[0] > 0.95


# ------------------------------------------------------------------------------------------- costs, regression


def of_cost(cost, classes=4):
    return {
        "early": EarlyFusion({"a": 5, "b": 2}, classes, cost=cost).double(),
        "late": LateFusion(encoders(), classes, Concat([3, 3]), cost=cost).double(),
        "cross": CrossModalFusion(encoders(), classes, [3, 3], dim=8, heads=2, cost=cost).double(),
    }


every_kind = pytest.mark.parametrize("name", of_cost(cross_entropy))


@every_kind
@pytest.mark.parametrize("classes", [1, 3])
def test_a_regression_by_hand(name, classes):
    data = {**batch(), "label": torch.randn(6, classes).double()}
    model = of_cost(squared_error, classes)[name]
    difference = model(data) - data["label"]
    close(model.loss(data)["loss"], difference.square().mean())
    model.cost = absolute_error
    close(model.loss(data)["loss"], difference.abs().mean())
    if classes == 1:  # one number may have no axis of its own
        close(model.loss({**data, "label": data["label"][:, 0]})["loss"], difference.abs().mean())
    close(model.loss({**data, "label": data["label"].float()})["loss"], difference.abs().mean(), 1e-6)


@every_kind
def test_a_regression_learns_numbers(name):
    data = batch(10)
    data["label"] = 5 * data["a"][:, 0] * data["b"].sum(1)
    model = of_cost(squared_error, 1)[name]
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    first = model.loss(data)["loss"].item()
    for _ in range(200):
        optimizer.zero_grad()
        loss = model.loss(data)["loss"]
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 * first


def test_scores_of_float64_are_read_by_a_model_of_float32_and_not_rounded_to_half_precision():
    model, data = LateFusion(encoders(), 1, Concat([3, 3]), cost=squared_error), batch()
    data = {**data, "a": data["a"].float(), "b": data["b"].float(), "label": torch.full((6,), 1001.0).double()}
    assert model.loss(data)["loss"].dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        numbers, loss = model(data), model.loss(data)["loss"]
    close(loss, (numbers.float() - 1001).square().mean(), 1e-1)


@every_kind
def test_weights_of_classes_by_hand(name):
    weights, data = [0.5, 1.0, 2.0, 0.0], batch()
    model = of_cost(WeightedCrossEntropy(weights))[name]
    nll = -model(data).log_softmax(1)[range(6), data["label"]]
    each = torch.tensor([0.5, 1, 2, 0, 0.5, 1]).double()
    close(model.loss(data)["loss"], (each * nll).mean())
    parts = [{k: x[rows] for k, x in data.items()} for rows in (slice(0, 3), slice(3, 6))]
    close(sum(model.loss(part)["loss"] for part in parts) / 2, model.loss(data)["loss"])
    assert "cost.weights" in model.state_dict()


def test_balanced_weights():
    cost = WeightedCrossEntropy.balanced(torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1, 2]), 3)
    close(cost.weights, torch.tensor([10 / 15, 10 / 12, 10 / 3]), 1e-6)
    for labels, says in (
        (torch.tensor([0, 2]), "no example is of class 1"),
        (torch.tensor([0, 3]), "labels from 0 to 2, got 3 in example 1"),
        (torch.zeros(4), r"label must be int64 .* convert classes with \.long\(\)"),
        (np.zeros(4, int), "got ndarray; convert it with torch.from_numpy"),
    ):
        with pytest.raises((TypeError, ValueError), match=f"WeightedCrossEntropy: .*{says}"):
            WeightedCrossEntropy.balanced(labels, 3)
    with pytest.raises(ValueError, match="classes must be a whole number ≥ 2, got 1"):
        WeightedCrossEntropy.balanced(torch.zeros(2).long(), 1)
    for weights in ([], [1.0, -1.0], [0.0, 0.0], [math.nan, 1.0], [[1.0, 2.0]], 1.0):
        with pytest.raises(ValueError, match="weights must be a number ≥ 0 for each class"):
            WeightedCrossEntropy(weights)


@every_kind
def test_a_cost_of_your_own(name):
    def focal(logits, label):
        nll = cross_entropy(logits, label)
        return (1 - (-nll).exp()) ** 2 * nll

    data = batch()
    model = of_cost(focal)[name]
    close(model.loss(data)["loss"], focal(model(data), data["label"]).mean())
    numbers = {**data, "label": torch.randn(6, 4).double()}
    model = of_cost(nn.HuberLoss(reduction="none"))[name]
    close(model.loss(numbers)["loss"], F.huber_loss(model(numbers), numbers["label"]))
    soft = {**data, "label": torch.rand(6, 4).double()}
    model = of_cost(nn.BCEWithLogitsLoss(reduction="none"))[name]
    close(model.loss(soft)["loss"], F.binary_cross_entropy_with_logits(model(soft), soft["label"]))


@every_kind
@pytest.mark.parametrize(
    ("cost", "classes", "label", "says"),
    [
        (squared_error, 1, torch.arange(6), r"for a regression label must be float .* got torch.int64 .* \.float\(\)"),
        (nn.MSELoss(reduction="none"), 4, torch.arange(6) % 4, "for a regression label must be float"),
        (squared_error, 1, [1.0] * 6, "got list; convert it with torch.tensor"),
        (squared_error, 2, torch.rand(6), r"label must be \(B, 2\) with B = 6, got \(6,\)"),
        (squared_error, 1, torch.rand(6, 2), r"label must be \(B,\) or \(B, 1\) with B = 6"),
        (squared_error, 1, torch.tensor([1, 2, torch.nan, 0, 0, 0]), "'label' holds NaN .* first in example 2"),
        (cross_entropy, 4, torch.rand(6), r"convert classes with \.long\(\), scores need a regression"),
        (cross_entropy, 4, torch.rand(6, 4), r"label must be int64 .* convert it with \.argmax\(1\)"),
        (cross_entropy, 4, torch.eye(4)[:, [0, 0, 1, 2, 3, 1]].T.long(), r"convert it with \.argmax\(1\)"),
        (cross_entropy, 4, torch.zeros(6, 1).long(), r"convert it with \.squeeze\(1\)$"),
        (cross_entropy, 4, torch.zeros(6, 1).int(), r"convert it with \.squeeze\(1\)\.long\(\)$"),
        (cross_entropy, 4, torch.zeros(6).bool(), r"convert it with \.long\(\)$"),
        (cross_entropy, 4, torch.zeros(6).int(), r"convert it with \.long\(\)$"),
        (cross_entropy, 4, np.zeros(6, int), "convert it with torch.from_numpy"),
        (
            lambda x, y: (x[:, 0] - y[:, None]).square(),
            4,
            torch.arange(6) % 4,
            "cost must give the cost of each example",
        ),
        (
            lambda x, y: x.mean(),
            4,
            torch.arange(6) % 4,
            r"must give the cost of each example, \(6,\), got torch.float64",
        ),
    ],
)
def test_labels_that_do_not_fit_the_cost_are_refused(name, cost, classes, label, says):
    model, data = of_cost(cost, classes)[name], {**batch(), "label": label}
    with pytest.raises((TypeError, ValueError), match=says):
        model.loss(data)
    if "cost must" not in says and "must give" not in says:
        with pytest.raises((TypeError, ValueError), match=says):
            model.check_batch(data)


@pytest.mark.parametrize(
    ("cost", "classes", "error", "says"),
    [
        ("mse", 1, TypeError, "cost must be a function such as squared_error, got 'mse'"),
        (nn.MSELoss, 1, TypeError, "cost must be a function"),
        (nn.MSELoss(), 1, ValueError, "take it with reduction='none'"),
        (nn.CrossEntropyLoss(torch.ones(4)), 4, ValueError, "take it with reduction='none'"),
        (F.cross_entropy, 4, ValueError, "take it with reduction='none'"),
        (cross_entropy, 1, ValueError, "two classes are 2, a regression takes cost=squared_error, got 1"),
        (squared_error, 0, ValueError, "classes must be a whole number ≥ 1, got 0"),
        (WeightedCrossEntropy([1.0, 2.0]), 4, ValueError, "cost has weights of 2 classes, not 4"),
    ],
)
def test_bad_costs_are_refused(cost, classes, error, says):
    with pytest.raises(error, match=says):
        of_cost(cost, classes)


def test_decisions_have_no_cost_of_their_own():
    with pytest.raises(TypeError, match="cost"):
        DecisionFusion(encoders(), 4, [3, 3], cost=squared_error)


def ending(*last):
    return nn.Sequential(nn.Linear(7, 8), nn.ReLU(), nn.Sequential(nn.Linear(8, 4), nn.Sequential(*last)))


@pytest.mark.parametrize("last", [nn.Softmax(1), nn.Sigmoid()], ids=["softmax", "sigmoid"])
def test_probabilities_are_not_taken_for_logits(last):
    for cost in (cross_entropy, WeightedCrossEntropy([1.0] * 4), nn.CrossEntropyLoss(reduction="none")):
        with pytest.raises(ValueError, match=rf"learner ends in {type(last).__name__}\(.*leave this layer out"):
            EarlyFusion({"a": 5, "b": 2}, 4, ending(last), cost)
    assert EarlyFusion({"a": 5, "b": 2}, 4, ending(last), squared_error)  # numbers between 0 and 1


def test_log_probabilities_are_logits():
    learner, data = ending(nn.LogSoftmax(1)), batch()
    model = EarlyFusion({"a": 5, "b": 2}, 4, learner).double()
    plain = EarlyFusion({"a": 5, "b": 2}, 4, nn.Sequential(*learner[:2], learner[2][0])).double()
    close(model.loss(data)["loss"], plain.loss(data)["loss"])


# ---------------------------------------------------------------------------------------------------- padding


class Reader(nn.Module):
    """The mean of the real steps, or each step; it stands for an encoder of your own."""

    reads_length = True

    def __init__(self, size, padding="end", tokens=False):
        super().__init__()
        self.linear, self.padding, self.tokens = nn.Linear(size, 3), padding, tokens

    def forward(self, x, length=None):
        length = torch.full((len(x),), x.shape[1]) if length is None else length
        real = torch.arange(x.shape[1]) < length[:, None]
        x = self.linear(x) * (real if self.padding == "end" else real.flip(1))[..., None]
        return x if self.tokens else x.sum(1) / length[:, None]


def readers(**settings):
    return {"a": Reader(5, **settings), "b": Reader(2, **settings)}


def of_readers(**settings):
    models = {
        "cross": CrossModalFusion(readers(**settings), 4, [3, 3], exchanges=2, dim=8, heads=2),
        "late cross": LateFusion(readers(**settings), 4, CrossAttention([3, 3], 8, heads=2)),
    }
    if not settings.get("tokens"):
        models["late"] = LateFusion(readers(**settings), 4, Concat([3, 3]))
        models["decision"] = DecisionFusion(readers(**settings), 4, [3, 3])
    return models.values()


LENGTHS = {"a": [1, 4, 3], "b": [7, 2, 5]}


def sequences(padding, lengths=LENGTHS, steps=8):
    """A batch of padded sequences, and each example in a batch of its own without padding."""
    data, alone = {"label": torch.arange(3)}, [{"label": torch.tensor([i])} for i in range(3)]
    for name, size in (("a", 5), ("b", 2)):
        data[f"{name}_length"] = torch.tensor(lengths[name])
        rows = []
        for example, n in zip(alone, lengths[name], strict=True):
            example[name] = torch.randn(1, n, size).double()
            zeros = torch.zeros(1, steps - n, size).double()
            rows.append(torch.cat([example[name], zeros] if padding == "end" else [zeros, example[name]], 1))
        data[name] = torch.cat(rows)
    return data, alone


@pytest.mark.parametrize("padding", ["end", "front"])
@pytest.mark.parametrize("tokens", [False, True], ids=["features", "tokens"])
def test_padding_changes_nothing(padding, tokens):
    for model in of_readers(padding=padding, tokens=tokens):
        model, (data, alone) = model.double().eval(), sequences(padding)
        close(model(data), torch.cat([model(example) for example in alone]))
        close(model.loss(data)["loss"], sum(model.loss(example)["loss"] for example in alone) / 3)
        shared = {**data, "length": data["a_length"]}  # what is said of one modality counts more
        close(model(shared), model(data))
        model.check_batch(shared)


@pytest.mark.parametrize("tokens", [False, True], ids=["features", "tokens"])
def test_one_length_is_that_of_all_modalities(tokens):
    for model in of_readers(tokens=tokens):
        model, (data, alone) = model.double().eval(), sequences("end", {"a": [4, 8, 1], "b": [4, 8, 1]})
        length = data.pop("a_length")
        data.pop("b_length")
        close(model({**data, "length": length}), torch.cat([model(example) for example in alone]))
        with pytest.raises(ValueError, match=r"'length' cannot be that of all, .*'a': 8, 'b': 9.*'<modality>_length'"):
            model({**data, "length": length, "b": torch.rand(3, 9, 2).double()})


@pytest.mark.parametrize("tokens", [False, True], ids=["features", "tokens"])
def test_a_missing_sequence_needs_no_steps(tokens):
    for model in of_readers(tokens=tokens):
        model, (data, alone) = model.double().eval(), sequences("end")
        data["b"][1] = torch.nan
        data |= {"b_present": torch.tensor([True, False, True]), "b_length": torch.tensor([7, 0, 5])}
        alone[1].pop("b")
        close(model(data), torch.cat([model(example) for example in alone]))
        model.loss(data)["loss"].backward()
        assert all(p.grad.isfinite().all() for p in model.parameters())
        with pytest.raises(ValueError, match="'b_length' must be from 1 to 8, got 0 in example 1"):
            model({**data, "b_present": torch.ones(3).bool(), "b": torch.ones(3, 8, 2).double()})


def test_the_encoders_of_the_library_read_lengths():
    torch.manual_seed(1)
    encoders = {"a": SequenceEncoder(5, 3), "b": TextEncoder(2, 3, padding="front")}
    model, (data, alone) = LateFusion(encoders, 4, Concat([3, 3])).double(), sequences("end")
    data["b"] = sequences("front")[0]["b"]
    for i, n in enumerate(LENGTHS["b"]):
        alone[i]["b"] = data["b"][i : i + 1, 8 - n :]
    close(model(data), torch.cat([model(example) for example in alone]))
    tokens = {"a": SequenceEncoder(5, 3, tokens=True), "b": TextEncoder(2, 3, tokens=True, padding="front")}
    model = CrossModalFusion(tokens, 4, [3, 3], dim=8, heads=2).double()
    close(model(data), torch.cat([model(example) for example in alone]))


def test_padding_at_the_other_end_is_refused():
    for padding, other in (("end", "front"), ("front", "end")):
        for model in of_readers(padding=padding):
            says = f"'a' must be padded at the {padding}, but example 0 .* Reader takes padding='{other}'"
            for read in (model.double(), model.loss, model.check_batch):
                with pytest.raises(ValueError, match=says):
                    read(sequences(other)[0])


def test_an_encoder_that_cannot_read_a_length_is_not_handed_padding():
    class Mean(nn.Linear):
        def forward(self, x):
            return super().forward(x).mean(1)

    def model():
        return LateFusion({"a": Mean(5, 3), "b": Mean(2, 3)}, 4, Concat([3, 3])).double()

    data, _ = sequences("end")
    says = "the encoder of 'a' does not read 'a_length', so it would read padding; give it reads_length = True"
    with pytest.raises(ValueError, match=says):
        model()(data)
    for padding in ("end", "front"):
        data, _ = sequences(padding, {"a": [4, 8, 1], "b": [4, 8, 1]})
        shared = {"a": data["a"], "b": data["b"], "length": data["a_length"], "label": data["label"]}
        for read in (model(), model().loss, model().check_batch):
            with pytest.raises(ValueError, match="the encoder of 'a' does not read 'length'"):
                read(shared)
    full = model()
    assert full({**shared, "length": torch.full((3,), 8)}).isfinite().all()  # there is no padding
    assert full({**shared, "a": shared["a"] + 1, "b": shared["b"] + 1}).isfinite().all()  # it is the length of another
    for encoder in full.encoders.values():
        encoder.reads_length = False  # it may
    close(full(shared), full({"a": shared["a"], "b": shared["b"]}))
    early = EarlyFusion({"a": 40, "b": 16}, 4).double()  # reads values as they come
    close(early(shared), early({"a": shared["a"], "b": shared["b"]}))


def test_positions_of_which_nobody_knows_the_padding_are_refused():
    class Halves(Reader):
        def forward(self, x, length=None):
            return super().forward(x, length)[:, ::2]

    model = CrossModalFusion({"a": Halves(5, tokens=True)}, 4, [3], dim=8, heads=2).double()
    data = {"a": torch.rand(3, 8, 5).double()}
    assert model(data).shape == (3, 4)
    with pytest.raises(ValueError, match="the encoder of 'a' gives 4 positions for 8 steps"):
        model({**data, "length": torch.tensor([8, 3, 2])})


def test_lengths_are_checked():
    model, (data, _) = LateFusion(readers(), 4, Concat([3, 3])).double(), sequences("end")
    for length in (torch.tensor([1.0, 2, 3]), torch.tensor([[1], [2], [3]]), [1, 2, 3], torch.tensor([1, 2])):
        with pytest.raises(ValueError, match=r"'b_length' must be int64 \(3,\) with values from 1 to 8, got"):
            model({**data, "b_length": length})
    with pytest.raises(ValueError, match="'b_length' must be from 1 to 8, got 9 in example 2"):
        model({**data, "b_length": torch.tensor([7, 2, 9])})
    reader = Reader(5)
    reader.padding = "left"
    with pytest.raises(ValueError, match="padding of the encoder of 'a' must be end or front, got 'left'"):
        LateFusion({"a": reader}, 4, Concat([3]))


@pytest.mark.parametrize(
    ("real", "says"),
    [
        ([None], "real must be a list of 2 masks"),
        (torch.ones(2, 4, 5).bool(), "real must be a list of 2 masks"),
        ([torch.ones(4, 1).bool(), None], r"real\[0\] must be None, since there are no positions"),
        ([None, torch.ones(4, 6).bool()], r"real\[1\] must be bool \(4, 5\), got torch.bool \(4, 6\)"),
        ([None, torch.ones(4, 5)], r"real\[1\] must be bool \(4, 5\), got torch.float32"),
    ],
)
def test_bad_masks_of_positions_are_refused(real, says):
    with pytest.raises(ValueError, match=f"CrossAttention: {says}"):
        CrossAttention([3, 3], 8)([torch.rand(4, 3), torch.rand(4, 5, 3)], real=real)


# -------------------------------------------------------------------------------------------------- bad input


@every_model
def test_another_float_type_than_the_models_is_named(name):
    model, data = models()[name], batch()
    for read in (model, model.loss, model.check_batch):
        with pytest.raises(TypeError, match=r"'a' is torch.float64 \(6, 5\), .* convert it with \.float\(\)"):
            read(data)
    single = {k: x.float() if x.is_floating_point() else x for k, x in data.items()}
    with pytest.raises(TypeError, match=r"'b' is torch.float64"):
        model({**single, "b": data["b"]})
    with pytest.raises(TypeError, match=r"'a' is torch.float32 .* convert it with \.to\(torch.float64\)"):
        models()[name].double()(single)


@every_model
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_reads_numbers_of_its_own_type(name, dtype):
    model, data = models()[name].to(dtype), batch()
    data = {k: x.to(dtype) if x.is_floating_point() else x for k, x in data.items()}
    loss = model.loss({**data, "b_present": torch.arange(6) != 1})["loss"]
    loss.backward()
    assert loss.isfinite()
    assert {p.grad.dtype for p in model.parameters()} == {dtype}


@every_model
def test_under_autocast_a_model_reads_what_is_converted(name):
    model, data = models()[name], batch()
    with torch.autocast("cpu", torch.bfloat16):
        for dtype in (torch.float32, torch.bfloat16):
            typed = {k: x.to(dtype) if x.is_floating_point() else x for k, x in data.items()}
            assert model.loss(typed)["loss"].isfinite()


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (
            torch.zeros(6, 5).long(),
            r"the encoder of 'a' cannot read torch.int64 \(6, 5\); convert it with \.float\(\)$",
        ),
        (torch.zeros(6, 5).bool(), r"the encoder of 'a' cannot read torch.bool .* \.float\(\)$"),
        (torch.zeros(6, 5).to(torch.uint8), r"the encoder of 'a' cannot read torch.uint8 .* \.float\(\) / 255$"),
    ],
)
def test_whole_numbers_that_an_encoder_cannot_read_are_named(x, says):
    for model in (LateFusion(encoders(), 4, Concat([3, 3])), DecisionFusion(encoders(), 4, [3, 3])):
        with pytest.raises(TypeError, match=says):
            model({"a": x, "b": torch.zeros(6, 2)})
    with pytest.raises(TypeError, match=rf"'a' must be floats, got {x.dtype} \(6, 5\); convert it with \.float\(\)"):
        EarlyFusion({"a": 5, "b": 2}, 4)({"a": x, "b": torch.zeros(6, 2)})

    class Converts(nn.Linear):
        def forward(self, x):
            return super().forward(x.float())

    assert LateFusion({"a": Converts(5, 3)}, 4, Concat([3]))({"a": x}).shape == (6, 4)


def test_an_error_within_an_encoder_says_whose_it_is():
    model = LateFusion({"a": nn.Linear(5, 3), "word": nn.Sequential(nn.Embedding(9, 3))}, 4, Concat([3, 3]))
    with pytest.raises(ValueError, match=r"the encoder of 'a' cannot read torch.float32 \(6, 4\): mat1 and mat2"):
        model({"a": torch.rand(6, 4), "word": torch.zeros(6).long()})
    with pytest.raises(ValueError, match=r"the encoder of 'word' cannot read torch.int64 \(6,\): index out of range"):
        model({"a": torch.rand(6, 5), "word": torch.full((6,), 9)})
    model.encoders["a"].register_forward_pre_hook(lambda *_: {}["weight"])  # an error of its own kind stays one
    with pytest.raises(KeyError) as info:
        model({"a": torch.rand(6, 5), "word": torch.zeros(6).long()})
    assert "the encoder of 'a' cannot read" in info.value.__notes__[0]


@pytest.mark.parametrize("name", MERGES)
def test_an_encoder_of_another_size_is_named(name):
    model = LateFusion(encoders(), 4, MERGES[name]([3, 3])).double()
    model.encoders["b"] = nn.Linear(2, 5).double()
    says = r"the encoder of 'b' must give floats \(6, 3\), as the merge's dims say, got torch.float64 \(6, 5\)"
    with pytest.raises(ValueError, match=f"LateFusion: {says}"):
        model(batch())
    model.encoders["b"] = nn.GRU(2, 3).double()
    with pytest.raises(ValueError, match=r"the encoder of 'b' must give floats \(6, 3\), .* got tuple"):
        model(batch())
    if name != "cross":
        model.encoders["b"] = nn.Unflatten(1, (1, 2))
        with pytest.raises(ValueError, match=r"the encoder of 'b' must give floats \(6, 3\), .* \(6, 1, 2\)"):
            model(batch())


def test_a_learner_of_another_size_is_named():
    for last in (nn.Linear(7, 5), nn.Sequential(nn.Linear(7, 1), nn.Flatten(0))):
        with pytest.raises(ValueError, match=r"EarlyFusion: needs \(6, 4\) for the cost, classes being 4; got"):
            EarlyFusion({"a": 5, "b": 2}, 4, last).double().loss(batch())
    with pytest.raises(ValueError, match=r"'a' must have 6 values for each example, as sizes says, got .* \(6, 5\)"):
        EarlyFusion({"a": 6, "b": 2}, 4).double()(batch())
    with pytest.raises(TypeError, match=r"learner must be a torch.nn.Module, got <function"):
        EarlyFusion({"a": 5}, 4, lambda x: x)


@every_model
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"a": np.zeros((6, 5))}, "'a' must be a tensor .* got ndarray; convert it with torch.from_numpy"),
        ({"a": [[0.0] * 5] * 6}, "'a' must be a tensor .* got list; convert it with torch.tensor"),
        ({"b_present": torch.ones(6)}, r"'b_present' must be bool .* convert it with \.bool\(\)"),
        ({"b_present": torch.ones(6, 1).bool()}, r"'b_present' must be bool .* convert it with \.squeeze\(1\)"),
        ({"b_present": torch.ones(6, 1).long()}, r"convert it with \.squeeze\(1\)\.bool\(\)"),
        ({"b_present": np.ones(6, bool)}, "'b_present' must be bool .* convert it with torch.from_numpy"),
        ({"b_mask": torch.ones(6).bool()}, "'b_mask' looks like a mask, which must be called 'b_present'"),
    ],
)
def test_what_is_nearly_a_batch_is_refused_with_what_to_do(name, change, says):
    with pytest.raises((TypeError, ValueError), match=says):
        models()[name].double().loss({**batch(), **change})


def test_a_misspelt_mask_is_not_passed_over():
    model = LateFusion({"handwritten": nn.Flatten(), "spoken": nn.Flatten()}, 3, Concat([4, 4]))
    data, mask = {"handwritten": torch.rand(2, 4), "spoken": torch.rand(2, 4)}, torch.tensor([True, False])
    with pytest.raises(ValueError, match="'handwriten_present' belongs; did you mean 'handwritten_present'"):
        model({**data, "handwriten_present": mask})
    data["other"] = data["spoken"]
    close(model({**data, "other_present": mask}), model(data))  # of a modality that this model does not read
    del data["other"]
    close(model({**data, "other_present": mask}), model(data))


def test_a_batch_that_is_no_dict_is_refused():
    for data in (batch()["a"], (batch()["a"], batch()["label"]), [batch()]):
        with pytest.raises(TypeError, match=r"a batch must be a dict of tensors, modality to \(B, …\), got"):
            models()["late"](data)


@every_model
def test_a_batch_of_one_example(name):
    assert models()[name].double().loss(batch(1))["loss"].isfinite()


def test_encoders_may_read_whole_numbers_and_must_give_what_was_announced():
    words = {"text": nn.Sequential(nn.Embedding(9, 4), nn.Flatten()), "sound": nn.Linear(2, 4)}
    data = {"text": torch.arange(6).view(6, 1), "label": torch.arange(6) % 3}
    for model in (LateFusion(words, 3, Concat([4, 4])), DecisionFusion(words, 3, [4, 4])):
        assert model.loss(data)["loss"].isfinite()  # the other modality is absent as a whole
    for dims in ([5, 4], [4, 5]):
        with pytest.raises(ValueError, match="must give floats"):
            DecisionFusion(words, 3, dims).double()({**data, "sound": torch.rand(6, 2).double()})
    positions = {"text": nn.Embedding(9, 4), "sound": nn.Linear(2, 4)}
    with pytest.raises(ValueError, match="'text' must give floats"):
        DecisionFusion(positions, 3, [4, 4])(data)
    with torch.no_grad():
        words["sound"].weight.fill_(torch.inf)
    with pytest.raises(ValueError, match="'features of sound' holds NaN or infinite values, first in example 0"):
        DecisionFusion(words, 3, [4, 4]).double()({**data, "sound": torch.ones(6, 2).double()})


def test_without_exchanges_no_modality_attends_to_another():
    x, merge = features([3, 3]), CrossAttention([3, 3], 4, exchanges=0, heads=1).double()
    other = [x[0], torch.randn_like(x[1])]
    close(merge(x)[:, :4], merge(other)[:, :4])
    alone = CrossAttention([3], 4, exchanges=2, heads=1).double()  # there is no other modality
    close(alone(x[:1]), alone.project[0](x[0]))
    one = CrossAttention([3, 3], 4, exchanges=1, heads=1).double()
    assert (one(x)[:, :4] - one(other)[:, :4]).abs().max() > 1e-3


@every_merge
@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda x: x[:2], ValueError),
        (lambda x: [*x[:2], x[2][:, :2]], ValueError),
        (lambda x: [*x[:2], x[2][:3]], ValueError),
        (lambda x: [*x[:2], x[2][0]], ValueError),
        (lambda x: [*x[:2], x[2].long()], TypeError),
        (lambda x: [*x[:2], x[2].tolist()], TypeError),
        (lambda x: [*x[:2], x[2] * torch.nan], ValueError),
        (lambda x: [*x[:2], x[2] / 0], ValueError),
        (lambda x: [z[:0] for z in x], ValueError),
    ],
    ids=["few", "size", "length", "rank", "dtype", "list", "nan", "inf", "empty"],
)
def test_bad_features_are_refused(make, spoil, error):
    with pytest.raises(error, match="features"):
        make(DIMS).double()(spoil(features()))


@every_merge
def test_bad_masks_are_refused(make):
    merge, x = make(DIMS).double(), features()
    for mask in (torch.ones(4, 2).bool(), torch.ones(4, 3), torch.ones(3, 3).bool(), [[True] * 3] * 4):
        with pytest.raises(ValueError, match="present must be bool"):
            merge(x, mask)
    with pytest.raises(ValueError, match="every modality is missing in example 2"):
        merge(x, torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1]]).bool())


@every_model
@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"a": None, "b": None}, ValueError, "none of the modalities"),
        ({"a": torch.zeros(5, 5).double()}, ValueError, "same number"),
        ({"a": torch.full((6, 5), torch.nan).double()}, ValueError, "'a' holds NaN"),
        ({"b": torch.full((6, 2), torch.inf).double()}, ValueError, "'b' holds NaN or inf"),
        ({"b": torch.tensor([[0, 1]] * 4 + [[0, torch.nan]] * 2).double()}, ValueError, "first in example 4"),
        ({"b_present": torch.ones(6)}, ValueError, "b_present' must be bool"),
        ({"b_present": torch.ones(5).bool()}, ValueError, "b_present' must be bool"),
        ({"a": None, "b_present": torch.zeros(6).bool()}, ValueError, "every modality is missing in example 0"),
        ({"a": torch.zeros(0, 5).double(), "b": torch.zeros(0, 2).double()}, ValueError, "at least one"),
        ({"label": None}, ValueError, "no 'label'"),
        ({"label": torch.arange(6) % 4 + 1}, ValueError, "labels from 0 to 3, got 4 in example 3"),
        ({"label": torch.arange(6) % 4 - 1}, ValueError, "labels from 0 to 3, got -1 in example 0"),
        ({"label": torch.rand(6)}, TypeError, "label must be int64"),
        ({"label": torch.zeros(6, 1).long()}, TypeError, "label must be int64"),
        ({"label": torch.zeros(5).long()}, ValueError, "label"),
        ({"label": [0] * 6}, TypeError, "label must be int64"),
        ({"a": [[1.0] * 5] * 6}, TypeError, "'a' must be a tensor"),
        ({"b_present": [True] * 6}, ValueError, "b_present' must be bool"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_bad_batches_are_refused(name, change, error, says):
    data = {k: v for k, v in {**batch(), **change}.items() if v is not None}
    with pytest.raises(error, match=says):
        models()[name].double().loss(data)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Concat([]),
        lambda: Concat([3, 0]),
        lambda: Concat([3, 2.5]),
        lambda: MergeLayer([3], 0),
        lambda: Arithmetic([2, 3]),
        lambda: Arithmetic([2, 2], "median"),
        lambda: Concat("33"),
        lambda: Concat(["3", "3"]),
        lambda: ConcatNodes([2, 2], 0),
        lambda: LowRankFusion([2, 2], 3, rank=0),
        lambda: TensorFusion([1000] * 3, 64),
        lambda: CrossAttention([2, 2], 6, heads=4),
        lambda: CrossAttention([2, 2], 8, exchanges=-1),
        lambda: LateFusion({}, 3, Concat([1])),
        lambda: LateFusion({"type": nn.Flatten()}, 3, Concat([1])),
        lambda: LateFusion({"a.b": nn.Flatten()}, 3, Concat([1])),
        lambda: LateFusion({"label": nn.Flatten()}, 3, Concat([1])),
        lambda: LateFusion({"a_present": nn.Flatten()}, 3, Concat([1])),
        lambda: DecisionFusion({"weights": nn.Flatten()}, 3, [1]),
        lambda: LateFusion(encoders(), 3, Concat([3, 3]), hidden=-1),
        lambda: LateFusion(encoders(), 1, Concat([3, 3])),
        lambda: LateFusion(encoders(), 3, Concat([3])),
        lambda: EarlyFusion({}, 3),
        lambda: EarlyFusion({"a": 0}, 3),
        lambda: DecisionFusion(encoders(), 4, [3, 3], WeightedRule(3)),
        lambda: DecisionFusion(encoders(), 4, [3]),
        lambda: DecisionFusion(encoders(), 4, [3, 0]),
        lambda: DecisionFusion(encoders(), 4, [3, 3], ProductRule(torch.tensor([0.5, 0.5]))),
        lambda: ProductRule(torch.tensor([1.0, 0.0, 0.0, 0.0])),
        lambda: ProductRule(torch.tensor([0.5, 0.4])),
        lambda: WeightedRule(0),
    ],
)
def test_bad_settings_are_refused(make):
    with pytest.raises(ValueError, match=r"\w{5}"):
        make()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: DecisionFusion(encoders(), 4, [3, 3], "mean"), "rule must be a Rule"),
        (lambda: LateFusion(encoders(), 4, "concat"), "merge must be a Merge"),
        (lambda: LateFusion("ab", 4, Concat([3, 3])), "encoders must be a dict"),
        (lambda: LateFusion({"a": Concat, "b": 3}, 4, Concat([3, 3])), r"encoders\['a'\] must be a torch.nn.Module"),
        (lambda: LateFusion({0: nn.Flatten()}, 4, Concat([3])), "name must be a string, got 0"),
        (lambda: EarlyFusion("ab", 4), "sizes must be a dict"),
        (lambda: ProductRule([0.5, 0.5]), "prior must be a float tensor"),
        (lambda: Merge([3], 3), "abstract"),
        (lambda: Classifier(encoders(), [3, 3], 4), "abstract"),
        (lambda: Rule(), "abstract"),
        (lambda: LateFusion([("a", nn.Flatten())], 4, Concat([3])), "encoders must be a dict"),
        (lambda: LateFusion({"a": nn.Flatten}, 4, Concat([3])), r"encoders\['a'\] must be a torch.nn.Module"),
    ],
)
def test_arguments_of_another_kind_are_refused(make, says):
    with pytest.raises(TypeError, match=says):
        make()


@pytest.mark.parametrize(
    "whole", [np.int64, np.uint8, torch.tensor, np.array], ids=["int64", "uint8", "tensor", "array"]
)
def test_sizes_may_be_any_whole_number(whole):
    n, ones = whole(3), [whole(3), whole(3)]
    merges = [Concat(ones), ConcatNodes(ones, n), Arithmetic(ones), MergeLayer(ones, n), SumNodes(ones, n)]
    merges += [Gated(ones, n), TensorFusion(ones, n), LowRankFusion(ones, n, rank=n), CrossAttention(ones, n, n, n)]
    for merge in merges:
        assert merge([torch.rand(2, 3), torch.rand(2, 3)]).shape == (2, merge.dim)
        assert {type(d) for d in (*merge.dims, merge.dim)} == {int}
        assert LateFusion(encoders(), whole(4), merge, hidden=n).double()(batch()).shape == (6, 4)
    for model in (
        EarlyFusion({"a": whole(5), "b": whole(2)}, whole(4)),
        CrossModalFusion(encoders(), whole(4), ones, n, n, n),
        DecisionFusion(encoders(), whole(4), ones, WeightedRule(whole(2))),
    ):
        assert model.double().loss(batch())["loss"].isfinite()
        assert type(model.classes) is int


@pytest.mark.parametrize("dims", [np.array([3, 3]), torch.tensor([3, 3]), (3, 3), range(3, 5)])
def test_dims_may_be_an_array(dims):
    assert Concat(dims).dim == sum(dims)
    assert LateFusion(encoders(), 4, Concat(dims)).dims == tuple(dims)
    assert DecisionFusion(nn.ModuleDict(encoders()), 4, dims).dims == tuple(dims)
    assert CrossModalFusion(encoders(), 4, dims).merge.dims == tuple(dims)


@pytest.mark.parametrize("dims", ["33", {"a": 3, "b": 3}, {3}, 3, None, iter([3, 3]), torch.tensor(3), np.array(3), []])
def test_what_is_no_list_of_dims_is_refused(dims):
    for make in (Concat, lambda d: ConcatNodes(d, 4), Arithmetic, lambda d: Gated(d, 4), CrossAttention):
        with pytest.raises(ValueError, match="dims must be a list with a size for at least one modality, got"):
            make(dims)
    for make in (CrossModalFusion, DecisionFusion):
        with pytest.raises(ValueError, match="dims must be a list"):
            make(encoders(), 4, dims)


@pytest.mark.parametrize("bad", [True, 2.0, np.float64(2), "2", None, [2], torch.tensor(2.0), np.array([2, 2])])
def test_what_is_no_whole_number_is_refused_by_name(bad):
    two = [3, 3]
    for name, make in {
        r"dims\[1\]": lambda: Concat([3, bad]),
        "nodes": lambda: ConcatNodes(two, bad),
        "dim": lambda: MergeLayer(two, bad),
        "rank": lambda: LowRankFusion(two, 3, bad),
        "exchanges": lambda: CrossAttention(two, 8, bad),
        "heads": lambda: CrossAttention(two, 8, 1, bad),
        "classes": lambda: LateFusion(encoders(), bad, Concat(two)),
        "hidden": lambda: LateFusion(encoders(), 4, Concat(two), bad),
        "the size of 'b'": lambda: EarlyFusion({"a": 5, "b": bad}, 4),
        "modalities": lambda: WeightedRule(bad),
    }.items():
        with pytest.raises(ValueError, match=f"{name} must be a whole number ≥ [01], got"):
            make()


def test_a_length_is_no_modality():
    with pytest.raises(ValueError, match="cannot be called 'a_length', which means something else"):
        LateFusion({"a": nn.Flatten(), "a_length": nn.Flatten()}, 3, Concat([1, 1]))
    petal = LateFusion({"petal_length": nn.Flatten()}, 3, Concat([1]))  # a row of its own
    assert petal({"petal_length": torch.rand(2, 1)}).shape == (2, 3)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(sorted(MERGES)),
    st.lists(st.sampled_from([0, 1, 2, 3]), min_size=1, max_size=3),
    st.sampled_from([torch.float64, torch.int64, torch.bool]),
    st.sampled_from([0.0, 1.0, math.nan, math.inf, -1e100]),
)
def test_any_features_end_in_a_result_or_a_clear_error(name, shape, dtype, value):
    merge = MERGES[name](DIMS).double()
    odd = torch.full(shape, value, dtype=torch.float64).nan_to_num(1, 1) if dtype != torch.float64 else None
    odd = torch.full(shape, value, dtype=torch.float64) if odd is None else odd.to(dtype)
    whole = [torch.ones(3, 3).double(), torch.ones(3, 3).double()]
    fits = (
        dtype == torch.float64 and math.isfinite(value) and (shape == [3, 3] or (name == "cross" and shape[-1:] == [3]))
    )
    if fits and shape[0] == 3 and 0 not in shape and len(shape) > 1:
        assert not merge([*whole, odd]).isnan().any()
    else:
        with pytest.raises((TypeError, ValueError), match=type(merge).__name__):
            merge([*whole, odd])
