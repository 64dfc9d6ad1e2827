"""Question answering: each equation by loops in float64; masks, devices, refusals; and that each model learns."""

import itertools
import math

import pytest
import torch
from torch import nn

from mmtutor.training import evaluate, fit
from mmtutor.vqa import FiLM, QuestionAnswering, RelationNetwork, StackedAttention

KINDS = {
    "stacked attention": lambda encoders, dims, C: StackedAttention(encoders, dims, C, dim=6, hops=3),
    "stacked attention, hidden": lambda encoders, dims, C: StackedAttention(encoders, dims, C, dim=6, hidden=7),
    "FiLM": lambda encoders, dims, C: FiLM(encoders, dims, C, dim=6, blocks=2),
    "FiLM, grid": lambda encoders, dims, C: FiLM(encoders, dims, C, dim=6, grid=(1, 9)),
    "relations": lambda encoders, dims, C: RelationNetwork(encoders, dims, C, dim=6),
}
every_model = pytest.mark.parametrize("name", KINDS)


def model_of(name, D=5, Q=4, C=3):
    torch.manual_seed(0)
    return KINDS[name]({"regions": nn.Identity(), "question": nn.Identity()}, [D, Q], C)


def batch_of(B=4, L=9, D=5, Q=4, C=3, dtype=torch.float64):
    torch.manual_seed(1)
    regions, question = torch.randn(B, L, D, dtype=dtype), torch.randn(B, Q, dtype=dtype)
    return {"regions": regions, "question": question, "label": torch.arange(B) % C}


# ---- equations by loops


def linear(layer, x):
    """Row by row, number by number."""
    rows = []
    for k, row in enumerate(layer.weight):
        bias = 0.0 if layer.bias is None else layer.bias[k]
        rows.append(sum(row[j] * x[j] for j in range(len(x))) + bias)
    return torch.stack(rows)


def perceptron(layers, x):
    for layer in layers:
        x = linear(layer, x) if isinstance(layer, nn.Linear) else nn.functional.relu(x)
    return x


def attention_by_loops(model, regions, question):
    """The logits of one example, and the weights of each hop."""
    v = [torch.tanh(linear(model.image, a)) for a in regions]
    u = torch.tanh(linear(model.question, question))
    looked = []
    for hop in model.hops:
        scores = [linear(hop.score, torch.tanh(linear(hop.key, x) + linear(hop.query, u))).item() for x in v]
        total = sum(math.exp(s) for s in scores)
        p = [math.exp(s) / total for s in scores]
        u = u + sum(weight * x for weight, x in zip(p, v, strict=True))
        looked.append(p)
    return perceptron(model.output, u), torch.tensor(looked, dtype=torch.float64)


def film_by_loops(model, regions, question):
    """The logits of one example; batch normalisation with its running statistics."""
    rows, columns = model.grid or (math.isqrt(len(regions)),) * 2
    x = {(r, c): nn.functional.relu(linear_of_convolution(model.first, regions[r * columns + c]))
         for r, c in itertools.product(range(rows), range(columns))}  # fmt: skip
    for block in model.blocks:
        H = len(next(iter(x.values())))
        modulation = linear(block.modulation, question)
        gamma, beta = 1 + modulation[:H], modulation[H:]
        x = {place: nn.functional.relu(linear_of_convolution(block.one, value)) for place, value in x.items()}
        out = {}
        for r, c in x:
            total = block.three.bias.clone()
            for i, j in itertools.product((-1, 0, 1), repeat=2):
                if (r + i, c + j) in x:
                    total = total + block.three.weight[:, :, i + 1, j + 1] @ x[r + i, c + j]
            normed = (total - block.norm.running_mean) / (block.norm.running_var + block.norm.eps).sqrt()
            out[r, c] = x[r, c] + nn.functional.relu(gamma * normed + beta)
        x = out
    largest = torch.stack([*x.values()]).max(0).values
    first, _, last = model.output
    return linear(last, nn.functional.relu(linear(first, largest)))


def linear_of_convolution(layer, x):
    return layer.weight[:, :, 0, 0] @ x + layer.bias


def relations_by_loops(model, regions, question):
    first = torch.cat([model.one.weight, model.other.weight, model.asked.weight], 1)  # of [aᵢ; aⱼ; q]
    _, second, _, third, _ = model.g
    total = 0
    for a, b in itertools.product(regions, repeat=2):
        h = nn.functional.relu(first @ torch.cat([a, b, question]) + model.asked.bias)
        total = total + nn.functional.relu(linear(third, nn.functional.relu(linear(second, h))))
    one, _, last = model.f
    return linear(last, nn.functional.relu(linear(one, total)))


def trained_a_little(name):
    """Batch normalisation that has seen something."""
    model, batch = model_of(name).double(), batch_of()
    for _ in range(3):
        model.loss(batch)
    return model.eval(), batch


@every_model
def test_the_logits_by_loops(name):
    model, batch = trained_a_little(name)
    logits = model(batch)
    for k in range(4):
        a, q = batch["regions"][k], batch["question"][k]
        if name.startswith("stacked attention"):
            wanted, weights = attention_by_loops(model, a, q)
            assert (model.attention(batch)[k] - weights).abs().max() < 1e-12
        else:
            wanted = (relations_by_loops if name == "relations" else film_by_loops)(model, a, q)
        assert (logits[k] - wanted).abs().max() < 1e-12


@every_model
def test_the_loss_is_the_mean_cross_entropy(name):
    model, batch = trained_a_little(name)
    p = model(batch).softmax(1)
    wanted = -sum(math.log(p[k, batch["label"][k]].item()) for k in range(4)) / 4
    assert model.loss(batch)["loss"].item() == pytest.approx(wanted, abs=1e-12)


def test_attention_adds_up_to_one_and_the_question_moves_it():
    model, batch = trained_a_little("stacked attention")
    weights = model.attention(batch)
    assert weights.shape == (4, 3, 9)
    torch.testing.assert_close(weights.sum(2), torch.ones(4, 3, dtype=torch.float64))
    other = model.attention({**batch, "question": -batch["question"]})
    assert (weights - other).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["stacked attention", "relations"])
def test_the_order_of_regions_does_not_matter(name):
    model, batch = trained_a_little(name)
    order = torch.randperm(9)
    torch.testing.assert_close(model({**batch, "regions": batch["regions"][:, order]}), model(batch))


def test_film_without_modulation_does_not_hear_the_question():
    model, batch = trained_a_little("FiLM")
    for block in model.blocks:
        nn.init.zeros_(block.modulation.weight)
    torch.testing.assert_close(model(batch), model({**batch, "question": 5 * batch["question"]}))


# ---- learning, masks


@every_model
def test_it_learns_what_only_both_together_tell(name, fit_device):
    """Two regions of four hold a sign each; the question says which one is asked for."""
    torch.manual_seed(0)
    n = 512
    signs = torch.randint(0, 2, (n, 4)).float()
    where = torch.arange(n) % 4
    regions = torch.cat([(2 * signs - 1)[..., None], torch.eye(4).expand(n, 4, 4)], 2)
    data = {"regions": regions, "question": torch.eye(4)[where], "label": signs[torch.arange(n), where].long()}
    encoders = {"regions": nn.Identity(), "question": nn.Identity()}
    makes = {
        "stacked attention": lambda: StackedAttention(encoders, [5, 4], 2, dim=16),
        "stacked attention, hidden": lambda: StackedAttention(encoders, [5, 4], 2, dim=16, hidden=16),
        "FiLM": lambda: FiLM(encoders, [5, 4], 2, dim=16),
        "FiLM, grid": lambda: FiLM(encoders, [5, 4], 2, dim=16, grid=(4, 1)),
        "relations": lambda: RelationNetwork(encoders, [5, 4], 2, dim=32),
    }
    model = makes[name]()
    fit(model, data, epochs=25, lr=1e-2, batch_size=64, progress=False, seed=0)
    assert evaluate(model, data)["loss"] < 0.1  # without looking log 2


@every_model
def test_what_is_missing_is_not_read(name):
    model, batch = trained_a_little(name)
    present = torch.tensor([True, False, True, True])
    spoiled = {**batch, "regions": batch["regions"].clone(), "regions_present": present}
    spoiled["regions"][1] = torch.nan
    zero = {**batch, "regions": batch["regions"] * present[:, None, None]}
    torch.testing.assert_close(model(spoiled), model(zero))
    spoiled = {**batch, "question": batch["question"].clone(), "question_present": present}
    spoiled["question"][1] = torch.inf
    torch.testing.assert_close(model(spoiled), model({**batch, "question": batch["question"] * present[:, None]}))
    model.train().loss(spoiled)["loss"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


# ---- refusals


@every_model
def test_a_bad_batch_is_refused(name):
    model, batch = model_of(name).double(), batch_of()
    who = type(model).__name__
    for change, error, message in (
        ({"regions": None}, ValueError, "the batch has no 'regions', only question, label"),
        ({"label": None}, ValueError, "the batch has no 'label'"),
        ({"label": torch.tensor([0, 1, 2, 3])}, ValueError, "needs labels from 0 to 2, got 3 in example 3"),
        ({"label": torch.rand(4)}, TypeError, "label must be int64"),
        ({"question": torch.rand(4, 4)}, TypeError, r"'question' is torch.float32 \(4, 4\), the parameters are"),
        ({"question": torch.rand(3, 4).double()}, ValueError, "modalities need the same number of examples"),
        ({"regions": torch.full((4, 9, 5), torch.nan).double()}, ValueError, "'regions' holds NaN"),
        (
            {"regions": torch.rand(4, 9, 6).double()},
            ValueError,
            r"the encoder of 'regions' must give regions \(B, L, 5",
        ),
        ({"question": torch.rand(4, 2, 4).double()}, ValueError, r"the encoder of 'question' must give \(B, 4\), got"),
        ({"question": torch.rand(4, 5).double()}, ValueError, r"the encoder of 'question' must give \(B, 4\), got"),
    ):
        wrong = {key: value for key, value in {**batch, **change}.items() if value is not None}
        with pytest.raises(error, match=f"^{who}: {message}"):
            model.loss(wrong)
        with pytest.raises(error):
            (model.check_batch if "encoder" not in message else model)(wrong)
    both = {f"{m}_present": torch.tensor([True, False, True, True]) for m in ("regions", "question")}
    with pytest.raises(ValueError, match=f"^{who}: every modality is missing in example 1"):
        model({**batch, **both})


def test_film_needs_a_square_or_its_grid():
    with pytest.raises(ValueError, match=r"^FiLM: needs the regions of a square grid, such as 49 or 64, got 8; of ano"):
        model_of("FiLM").double()(batch_of(L=8))
    with pytest.raises(ValueError, match=r"^FiLM: was made for grid=\(1, 9\), got 8$"):
        model_of("FiLM, grid").double()(batch_of(L=8))
    both = {"regions": nn.Identity(), "question": nn.Identity()}
    for grid, said in ((9, r"grid must be \(rows, columns\)"), ((3, 0), r"grid\[1\] must be a whole number")):
        with pytest.raises(ValueError, match=said):
            FiLM(both, [5, 4], 3, grid=grid)


@every_model
def test_bad_arguments_are_refused(name):
    make, two = KINDS[name], {"regions": nn.Identity(), "question": nn.Identity()}
    for arguments, error, message in (
        (({"regions": nn.Identity()}, [5], 3), ValueError, "reads a picture and a question, got 1 encoders"),
        ((two, [5], 3), ValueError, "reads a picture and a question, got 2 encoders and 1 dims"),
        ((two, [5, 0], 3), ValueError, r"dims\[1\] must be a whole number"),
        ((two, 5, 3), TypeError, "dims must be the two encoders"),
        ((two, [5, 4], 1), ValueError, "classes must be a whole number"),
        (({**two, "question": nn.Identity}, [5, 4], 3), TypeError, r"encoders\['question'\] must be a torch.nn.Module"),
        (({"label": nn.Identity(), "question": nn.Identity()}, [5, 4], 3), ValueError, "a modality cannot be called"),
    ):
        with pytest.raises(error, match=f"{message}"):
            make(*arguments)
    for size in {"stacked attention": ("dim", "hops"), "FiLM": ("dim", "blocks")}.get(name, ("dim",)):
        with pytest.raises(ValueError, match=rf"{size} must be a whole number ≥ 1, got 0"):
            type(model_of(name))(two, [5, 4], 3, **{size: 0})


def test_the_base_class_wants_an_equation():
    with pytest.raises(TypeError, match="abstract"):
        QuestionAnswering({"regions": nn.Identity(), "question": nn.Identity()}, [5, 4], 3)
