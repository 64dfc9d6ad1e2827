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
    LateFusion,
    LowRankFusion,
    MeanRule,
    Merge,
    MergeLayer,
    ProductRule,
    Rule,
    SumNodes,
    TensorFusion,
    WeightedRule,
)

DIMS = [3, 3, 3]
MERGES = {
    "concat": lambda d: Concat(d),
    "nodes": lambda d: ConcatNodes(d, 5),
    "sum": lambda d: Arithmetic(d, "sum"),
    "mean": lambda d: Arithmetic(d, "mean"),
    "product": lambda d: Arithmetic(d, "product"),
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
        assert (z.grad[present[:, m]] != 0).any(1).all() or isinstance(merge, ConcatNodes | SumNodes)


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


# -------------------------------------------------------------------------------------------------- bad input


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
        (lambda: LateFusion({"a": Concat, "b": 3}, 4, Concat([3, 3])), "the encoder of 'a' must be a torch.nn.Module"),
        (lambda: LateFusion({0: nn.Flatten()}, 4, Concat([3])), "name must be a string, got 0"),
        (lambda: EarlyFusion("ab", 4), "sizes must be a dict"),
        (lambda: ProductRule([0.5, 0.5]), "prior must be a float tensor"),
        (lambda: Merge([3], 3), "abstract"),
        (lambda: Classifier(encoders(), [3, 3], 4), "abstract"),
        (lambda: Rule(), "abstract"),
    ],
)
def test_arguments_of_another_kind_are_refused(make, says):
    with pytest.raises(TypeError, match=says):
        make()


def test_sizes_may_be_any_whole_number():
    d = np.int64(3)
    model = LateFusion(encoders(), np.int64(4), Concat([d, d]), hidden=np.int64(5))
    assert model.double()(batch()).shape == (6, 4)
    assert type(Concat([d, d]).dim) is int


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
