"""What holds for every model: order, masks, gradients, modes, and what it generates; float64.

With `noise` what is drawn depends on the example alone, so batches can be compared that differ in who is in them.
"""

import copy
import math

import pytest
import torch
from torch import nn
from vae_world import (
    LATENT,
    MODELS,
    NOISE,
    PRIVATE,
    SIZES,
    close,
    exact_encoder,
    f64,
    linear,
    make,
    masked,
    model_of,
    noise,
    only,
    random_linear,
    rows,
    skew_world,
    straight_world,
    table_of,
)

from mmtutor.vae import JMVAE, MMVAE, MVAE, TELBO, Coordinated, MMVAEPlus, MoPoE, average, categorical, gaussian
from mmtutor.vae.private import PrivateVAE

LENIENT = [name for name in MODELS if name != "JMVAE"]  # what trains on incomplete examples
every_model = pytest.mark.parametrize("name", MODELS)
every_lenient = pytest.mark.parametrize("name", LENIENT)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def world():
    return skew_world()


@pytest.fixture(scope="module")
def batch(world):
    return world.sample(6, seed=7)[1]


def of_row(numbers):
    """The decisions of `noise` for examples that have these numbers."""
    return {
        "choice": lambda row, options: options[numbers[row] % len(options)],
        "coin": lambda row: numbers[row] % 2,
    }


def terms_of(model, batch, numbers, table=None):
    with noise((table_of(6) if table is None else table)[:, numbers], **of_row(numbers)):
        return model.terms(batch)


def slopes(model, loss):
    """All of the gradient side by side; 0 where a parameter is not used."""
    grads = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    pairs = zip(grads, model.parameters(), strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


# ------------------------------------------------------------------------------------------------ order and means


@every_model
def test_the_order_of_the_modalities_changes_nothing(world, batch, name):
    model = model_of(name, world, weights={"b": 2.0}, beta=1.3)
    parts = {"encoders": model.encoders, "decoders": model.decoders}
    joint = {"joint": model.joint} if hasattr(model, "joint") else {}
    other = model_of(name, world, order=["c", "a", "b"], **parts, **joint, weights={"b": 2.0}, beta=1.3)
    turned = {s: batch[s] for s in ("b", "c", "a")}
    everyone = list(range(6))
    for last in (True, False):  # a mixture of all products draws either that of all modalities, or each of them in turn
        if not last and not name.startswith("MoPoE"):
            continue
        picks = [-1] if last else range(7)
        both = []
        for m, given in ((model, batch), (other, turned)):
            sums = {}
            for j in picks:
                with noise(table_of(6), choice=lambda row, options, j=j: options[j]):
                    for key, value in m.terms(given).items():
                        sums[key] = sums.get(key, 0) + value
            both.append(sums)
        assert both[0].keys() == both[1].keys()
        for key in both[0]:
            close(both[0][key], both[1][key])
    z = torch.randn(6, LATENT).double()
    close(model.encode(batch).log_prob(z), other.encode(turned, ["c", "b", "a"]).log_prob(z))
    close(model.encode(batch, ["a", "c"]).log_prob(z), other.encode(turned, ["c", "a"]).log_prob(z))
    assert list(terms_of(model, batch, everyone)) == list(terms_of(model, turned, everyone))


@every_model
def test_the_order_of_the_examples_changes_nothing(world, batch, name):
    model, order = model_of(name, world), [3, 0, 5, 1, 4, 2]
    straight, turned = terms_of(model, batch, list(range(6))), terms_of(model, rows(batch, order), order)
    for key in straight:
        close(straight[key][order], turned[key])
        assert straight[key].shape == (6,)
    z = torch.randn(6, LATENT).double()
    close(model.encode(batch).log_prob(z)[order], model.encode(rows(batch, order)).log_prob(z[order]))


@every_model
def test_a_loss_is_the_mean_of_the_examples_terms(world, batch, name):
    model = model_of(name, world)
    with noise(table_of(6), **of_row(list(range(6)))):
        terms, loss = model.terms(batch), model.loss(batch)
    assert terms.keys() == loss.keys()
    for key, value in terms.items():
        close(loss[key], value.mean())
        assert loss[key].shape == ()
    twice = {k: torch.cat([x, x]) for k, x in batch.items()}
    with noise(torch.cat([table_of(6)] * 2, 1), **of_row(list(range(6)) * 2)):
        close(model.loss(twice)["loss"], loss["loss"])


def linear_in_the_parts(name, terms, beta, weights):
    """The loss from the other terms, where it is linear in them."""
    costs = sum(weights.get(s, 1.0) * terms[s] for s in "abc")
    if name.startswith("Coordinated"):
        return (
            costs
            + beta * terms["kl"]
            + MODELS[name][1].get("distance_weight", 1.0) * terms["distance"]
            + MODELS[name][1].get("cross_weight", 0.0) * terms["cross_generation"]
        )
    if name == "JMVAE":
        return costs + beta * terms["kl"] + 0.1 * terms["surrogate_kl"]
    if name == "MVTCAE":
        return (1 - 0.7 / 3) * costs + beta * (0.3 * terms["kl"] + 0.7 / 3 * terms["expert_kl"])
    return costs + beta * (terms["kl"] + terms.get("private_kl", 0))


@pytest.mark.parametrize("name", [n for n in MODELS if not n.endswith(("iwae", "dreg"))])
def test_weights_and_beta_enter_the_loss_and_no_other_term(world, batch, name):
    weights, beta = {"a": 0.25, "c": 3.0}, 2.5
    model = model_of(name, world)
    plain = terms_of(model, batch, list(range(6)))
    model.weights |= weights
    model.beta = beta
    other = terms_of(model, batch, list(range(6)))
    for key in plain.keys() - {"loss", "cross_generation"}:
        close(plain[key], other[key])
    close(other["loss"], linear_in_the_parts(name, other, beta, weights), 1e-6)
    close(plain["loss"], linear_in_the_parts(name, plain, 1.0, {}), 1e-6)


@every_model
def test_options_are_what_is_handed_in(world, name):
    model = model_of(name, world, weights={"a": 0.5}, beta=2.0)
    assert model.weights == {"a": 0.5, "b": 1.0, "c": 1.0}
    assert model.beta == 2.0
    plain = model_of(name, world)
    assert plain.weights == {"a": 1.0, "b": 1.0, "c": 1.0}
    assert plain.beta == 1.0


# -------------------------------------------------------------------------------------------------- what is missing


def alone(batch, i):
    """One example with what it has, and no mask."""
    present = [s for s in SIZES if batch[f"{s}_present"][i]]
    return {s: batch[s][i : i + 1] for s in present}


@every_lenient
def test_an_example_that_lacks_a_modality_is_an_example_without_it(world, name):
    model, batch = model_of(name, world, weights={"b": 2.0}, beta=1.3), masked(world)
    together = terms_of(model, batch, list(range(6)))
    for i in range(6):
        given = alone(batch, i)
        for key, value in terms_of(model, given, [i]).items():
            close(together[key][i : i + 1], value)
        for s in SIZES.keys() - given.keys():
            assert together[s][i] == 0


@every_lenient
@pytest.mark.parametrize("modalities", ["ac", "b"])
def test_a_modality_that_no_example_has_is_a_modality_left_out(world, batch, name, modalities):
    model, everyone = model_of(name, world), list(range(6))
    nobody = {f"{s}_present": torch.full((6,), s in modalities) for s in SIZES}
    without, with_masks = (
        terms_of(model, only(batch, modalities), everyone),
        terms_of(model, {**batch, **nobody}, everyone),
    )
    for key, value in without.items():
        close(value, with_masks[key])
    for s in SIZES.keys() - set(modalities):
        assert s not in without
        assert not with_masks[s].any()


@every_lenient
def test_masks_that_say_all_are_there_change_nothing(world, batch, name):
    model, everyone = model_of(name, world), list(range(6))
    full = {f"{s}_present": torch.ones(6, dtype=torch.bool) for s in SIZES}
    for key, value in terms_of(model, batch, everyone).items():
        close(terms_of(model, {**batch, **full}, everyone)[key], value)


def with_garbage(model, world, value):
    out = []
    for garbage in (None, value):
        terms = terms_of(model, masked(world, garbage), list(range(6)))
        out.append((terms, slopes(model, terms["loss"].mean())))
    return out


@every_lenient
def test_what_stands_where_a_modality_is_absent_changes_nothing(world, name):
    (zeros, slope), (garbage, slope_of_garbage) = with_garbage(model_of(name, world), world, 7.0)
    for key in zeros:
        close(zeros[key], garbage[key])
    close(slope, slope_of_garbage)
    assert slope.isfinite().all()
    assert slope.any()


@every_lenient
def test_not_even_large_values_where_a_modality_is_absent_change_anything(world, name):
    (zeros, slope), (garbage, slope_of_garbage) = with_garbage(model_of(name, world), world, 1e4)
    close(zeros["loss"], garbage["loss"])
    close(slope, slope_of_garbage)


@every_model
def test_where_a_modality_is_missing_its_expert_is_the_prior(world, name):
    batch = masked(world, 7.0)
    model = model_of(name, world)
    names, experts, present = model.experts(batch)
    assert names == ["a", "b", "c"]
    assert (present == torch.stack([batch[f"{s}_present"] for s in SIZES])).all()
    assert not experts.mean[~present].any()
    assert (experts.stddev[~present] == 1).all()
    for i, s in enumerate(names):
        close(experts.mean[i, present[i]], model.encoders[s](batch[s][present[i]])[:, :LATENT])


@every_lenient
def test_not_even_values_that_are_no_numbers_change_anything_where_a_modality_is_absent(world, name):
    model = model_of(name, world)
    (zeros, slope), (garbage, slope_of_garbage) = with_garbage(model, world, math.nan)
    close(zeros["loss"], garbage["loss"])
    close(slope, slope_of_garbage)
    batch, z = masked(world, math.nan), torch.randn(6, LATENT).double()
    close(model.encode(batch).log_prob(z), model.encode(masked(world)).log_prob(z))
    assert model.log_likelihood(batch, k=2).isfinite().all()
    assert all(x.isfinite().all() for x in model.generate(batch).values())


@every_model
def test_a_string_is_one_modality(world, batch, name):
    model, z = model_of(name, world), torch.randn(6, LATENT).double()
    close(model.encode(batch, "b").log_prob(z), model.encode(batch, ["b"]).log_prob(z))
    assert list(model.decode(z, "b")) == list(model.generate(batch, "b")) == list(model.generate(to="b")) == ["b"]
    assert model.log_likelihood(batch, 2, "b").shape == (6,)
    named = {"picture": nn.Linear(3, 4)}, {"picture": nn.Linear(2, 3)}, {"picture": gaussian(1.0)}
    assert list(MVAE(*named, 2).generate(to="picture")) == ["picture"]


def test_a_string_among_mopoes_sets_is_one_modality(world):
    model = make(MoPoE, world, sets=["a", ("b", "c")])
    assert model.members.tolist() == [[True, False, False], [False, True, True]]


def test_an_encoder_sees_only_the_examples_that_have_its_modality(world):
    class Normed(nn.Sequential):
        def __init__(self, s):
            super().__init__(random_linear(SIZES[s], 4), nn.BatchNorm1d(4).double(), random_linear(4, 2 * LATENT))

    model = make(MVAE, world, encoders={s: Normed(s) for s in SIZES})
    (zeros, _), (garbage, _) = with_garbage(model, world, 7.0)
    close(zeros["loss"], garbage["loss"])


@every_lenient
def test_networks_see_only_what_is_there(world, name):
    """So that it costs nothing, and BatchNorm counts nothing, where a modality is absent."""
    model, seen = model_of(name, world), {}
    for part, nets in (("encoder", model.encoders), ("decoder", model.decoders)):
        for s, net in nets.items():
            net.register_forward_hook(lambda net, args, out, key=(part, s): seen.setdefault(key, []).append(len(out)))
    batch = masked(world)
    terms_of(model, batch, list(range(6)))
    there = torch.stack([batch[f"{s}_present"] for s in SIZES])
    many, k = there.sum(0), MODELS[name][1].get("k", 1)
    for i, s in enumerate(SIZES):
        assert seen["encoder", s] == [there[i].sum()]
        decoded = {
            "TELBO": there[i] * (1 + there.all(0)),
            "MVAE": there[i] * (1 + (many > 1) + (torch.arange(6) % 2 == 0)),  # as the coin has it
            "MVAE, two drawn": there[i] * (1 + (many > 1) + 2 * (torch.arange(6) % 2 == 0)),
            "Coordinated, crossing": there[i] * many,
            "DMVAE": there[i] * (1 + many * (many > 1)),
        }.get(name.removesuffix(", prior once"), there[i] * many * k if name.startswith("MMVAE") else there[i])
        assert seen["decoder", s] == [decoded.sum()]


@pytest.mark.parametrize(("name", "options"), [*((n, {}) for n in MODELS), ("Coordinated", {"combine": average})])
def test_inference_with_masks_is_inference_from_what_is_there(world, name, options):
    model, batch = model_of(name, world, **options), masked(world)
    z = torch.randn(6, LATENT).double()
    q = model.encode(batch)
    for i in range(6):
        close(q.log_prob(z)[i : i + 1], model.encode(alone(batch, i)).log_prob(z[i : i + 1]))
    garbage = model.encode(masked(world, 7.0))
    close(q.log_prob(z), garbage.log_prob(z))
    pair = rows(batch, [0, 1, 4, 5, 2])  # who has a or b
    close(model.encode(pair, ["a", "b"]).log_prob(z[:5]), model.encode(only(pair, "ab")).log_prob(z[:5]))


def test_the_estimate_of_log_p_with_masks_is_that_of_what_is_there():
    """Exact here: q is the exact posterior, of any set of modalities."""
    straight = straight_world()
    encoders = {s: exact_encoder(straight, [s], prior=False) for s in "abc"}
    model, batch = make(MVAE, straight, encoders=encoders, beta=3.0), masked(straight, 7.0)
    got = model.log_likelihood(batch, k=2)
    for i in range(6):
        close(got[i : i + 1], straight.log_prob(alone(batch, i)))
    some = model.log_likelihood(rows(batch, [0, 1, 4]), k=40000, modalities=["a"])  # of all it has, from a alone
    for i, row in enumerate([0, 1, 4]):
        close(some[i : i + 1], straight.log_prob(alone(batch, row)), 0.05)


@every_model
def test_the_estimate_of_log_p_is_finite_with_masks_and_blind_to_weights(world, name):
    model, batch = model_of(name, world, weights={"a": 100.0}, beta=100.0), masked(world, 7.0)
    plain = model_of(name, world, encoders=model.encoders, decoders=model.decoders,
                     **({"joint": model.joint} if hasattr(model, "joint") else {}))  # fmt: skip
    for given in (batch, only(rows(batch, [0, 1, 2, 4]), "ab")):
        torch.manual_seed(1)
        got = model.log_likelihood(given, k=5)
        torch.manual_seed(1)
        close(got, plain.log_likelihood(given, k=5))
        assert got.isfinite().all()
        assert not got.requires_grad


def test_jmvae_refuses_incomplete_examples_and_says_so(world):
    model = model_of("JMVAE", world)
    for batch in (masked(world), only(masked(world), "ab"), only(world.sample(3, 0)[1], "ac")):
        with pytest.raises(ValueError, match=r"JMVAE: .*(needs all modalities|every modality is missing)"):
            model.loss(batch)
    everyone = {f"{s}_present": torch.ones(3, dtype=torch.bool) for s in SIZES}
    assert model.loss({**world.sample(3, 0)[1], **everyone})["loss"].isfinite()


@every_model
def test_generated_modalities_are_of_every_example_and_never_from_an_absent_one(world, name):
    model, batch = model_of(name, world), masked(world, 7.0)
    generated = model.generate(batch, n=3)
    assert {s: x.shape for s, x in generated.items()} == {s: (3, 6, D) for s, D in SIZES.items()}
    assert all(x.isfinite().all() for x in generated.values())
    if isinstance(model, MMVAE | MMVAEPlus | MoPoE):
        far = {s: copy.deepcopy(net) for s, net in model.encoders.items()}
        with torch.no_grad():
            far["c"].weight.zero_()
            far["c"].bias.zero_()
            far["c"].bias[0] = 1000.0
        model = model_of(name, world, encoders=far)
        z = model.encode(batch).sample((200,))[..., 0]
        assert (z[:, ~batch["c_present"]] < 100).all()
        # Of examples that have c, some z are from c; where c is the only one, all are.
        assert (z[:, 3] > 900 if name != "MoPoE, prior" else z[:, 3] > 400).all()


# ------------------------------------------------------------------------------------------------ gradients and modes


@every_model
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_gradients_reach_every_parameter(world, batch, name, training):
    model = model_of(name, world).train(training)
    if isinstance(model, MVAE):
        assert model.drawn >= 0
    model.loss(batch)["loss"].backward()
    for who, p in model.named_parameters():
        assert p.grad is not None, who
        assert p.grad.isfinite().all(), who
        assert p.grad.flatten(1).any(1).all() if p.ndim > 1 and not name.startswith("MoPoE") else p.grad.any(), who


@every_lenient
def test_gradients_reach_every_parameter_with_masks(world, name):
    model = model_of(name, world)
    terms_of(model, masked(world), list(range(6)))["loss"].mean().backward()
    for who, p in model.named_parameters():
        assert p.grad.isfinite().all(), who
        assert p.grad.any(), who


@every_model
def test_single_precision_gives_the_same_but_for_rounding(world, batch, name):
    model = model_of(name, world)
    exact = terms_of(model, batch, list(range(6)))
    small = {k: x.float() for k, x in batch.items()}
    rounded = terms_of(model.float(), small, list(range(6)), table_of(6).float())
    for key, value in exact.items():
        assert rounded[key].dtype == torch.float32
        assert ((rounded[key] - value).abs() / (1 + value.abs())).max() < 1e-4
    z = model.encode(small).sample((2,))
    assert z.dtype == torch.float32
    for s, x in {**model.generate(small, n=2), **model.generate(n=2)}.items():
        assert x.dtype == torch.float32, s
    assert model.log_likelihood(small, k=3).dtype == torch.float32


def mixed_comes_near(model, batch):
    """As `fit` has it: networks in bfloat16, of single precision weights."""
    table, small = table_of(6).float(), {k: x.float() if x.is_floating_point() else x for k, x in batch.items()}
    exact = terms_of(model.float(), small, list(range(6)), table)["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = terms_of(model, small, list(range(6)), table)["loss"]
    assert ((mixed - exact).abs() / (1 + exact.abs())).max() < 0.1


@every_model
def test_mixed_precision_comes_near(world, batch, name):
    mixed_comes_near(model_of(name, world), batch)


@every_lenient
def test_mixed_precision_with_masks_comes_near(world, name):
    mixed_comes_near(model_of(name, world), masked(world))


@every_model
def test_training_lowers_the_loss(world, name):
    """Steps by hand: the first optimizer of a process loads much."""
    batch = world.sample(64, seed=1)[1]
    model = model_of(name, world)

    def mean_loss():
        with torch.no_grad():
            return sum(model.loss(batch)["loss"] for _ in range(5)) / 5

    before = mean_loss()
    for _ in range(30):
        grads = torch.autograd.grad(model.loss(batch)["loss"], list(model.parameters()))
        size = torch.cat([g.flatten() for g in grads]).norm().clamp_min(1)
        with torch.no_grad():
            for p, g in zip(model.parameters(), grads, strict=True):
                p -= 0.05 * g / size
    assert mean_loss() < before - 0.5


@every_model
def test_a_model_comes_back_from_its_state(world, batch, name):
    model, other = model_of(name, world), model_of(name, world)
    other.load_state_dict(model.state_dict())
    for a, b in zip(*(terms_of(m, batch, list(range(6))).values() for m in (model, other)), strict=True):
        close(a, b)
    again = copy.deepcopy(model)
    close(terms_of(again, batch, list(range(6)))["loss"], terms_of(model, batch, list(range(6)))["loss"])


@every_model
def test_the_loss_differs_from_draw_to_draw_but_not_for_the_same_seed(world, batch, name):
    model, values = model_of(name, world), []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        values.append(model.loss(batch)["loss"].item())
    assert values[0] == values[1] != values[2]


@every_model
def test_evaluation_leaves_no_gradient_and_no_mode_behind(world, batch, name):
    model = model_of(name, world).eval()
    assert not model.generate(batch, n=2)["a"].requires_grad
    assert not model.log_likelihood(batch, k=2).requires_grad
    assert not model.training
    model.train()
    model.generate(batch)
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert model.encode(batch).mean.requires_grad


def test_mmvaeplus_runs_each_encoder_once(world, batch):
    model, calls = model_of("MMVAEPlus", world), []
    model.encoders["a"].register_forward_hook(lambda *_: calls.append(1))
    model.loss(batch)
    assert len(calls) == 1


# --------------------------------------------------------------------------------------------------- what is inferred


@pytest.mark.parametrize("cls", [Coordinated, JMVAE, TELBO])
def test_from_one_modality_a_model_infers_by_its_encoder_even_if_that_is_wider_than_the_prior(world, batch, cls):
    wide = {"a": linear(torch.zeros(4, 3), f64([3, 3, 1, 1]))}
    model = make(cls, world, encoders=wide)
    q = model.encode(batch, ["a"])
    close(q.mean, torch.full((6, 2), 3.0).double())


@pytest.mark.parametrize("cls", [Coordinated, JMVAE, TELBO])
def test_from_one_modality_a_model_infers_by_its_encoder(world, batch, cls):
    narrow = {"a": linear(torch.zeros(4, 3), f64([3, 3, -1, -1]))}
    model = make(cls, world, encoders=narrow)
    for q in (model.encode(batch, ["a"]), model.encode(only(batch, "a"))):
        close(q.mean, torch.full((6, 2), 3.0).double())
        close(q.stddev, torch.full((6, 2), -1.0).double().exp())


@pytest.mark.parametrize("cls", [JMVAE, TELBO])
def test_from_all_modalities_the_joint_encoder_infers_and_from_fewer_the_surrogates(world, cls):
    model, batch = make(cls, world), masked(world)
    q, joint = model.encode(batch), model.joint(batch)
    for i in (0, 5):
        close(q.mean[i], joint[i, :2])
        close(q.stddev[i], joint[i, 2:].exp())
    single = model.encoders["a"](batch["a"])
    assert single[1, 2:].max() < 0  # narrower than the prior
    close(q.mean[1], single[1, :2])
    assert not torch.allclose(model.encode(batch, ["a", "b", "c"]).mean[4], joint[4, :2])
    full = model.encode(rows(batch, [0, 5]))
    close(full.mean, joint[[0, 5], :2])


# ---------------------------------------------------------------------------------------- labels, words and pictures

LETTERS, LENGTH = 5, 3


class JointOfAll(nn.Module):
    def __init__(self, latent):
        super().__init__()
        self.label, self.word = nn.Embedding(10, 6), nn.Linear(LETTERS * LENGTH, 6)
        self.picture, self.out = nn.Linear(16, 6), nn.Linear(6, 2 * latent)

    def forward(self, batch):
        seen = (
            self.label(batch["label"]) + self.word(batch["word"].flatten(1)) + self.picture(batch["picture"].flatten(1))
        )
        return self.out(seen.tanh())


def mixed_model(name):
    cls, options = MODELS[name]
    d, extra = 3, 2 if issubclass(cls, PrivateVAE) else 0
    inner = 2 * (d + extra)
    encoders = {
        "picture": nn.Sequential(nn.Conv2d(1, 4, 4), nn.Flatten(), nn.Linear(4, inner)),
        "word": nn.Sequential(nn.Flatten(), nn.Linear(LETTERS * LENGTH, inner)),
        "label": nn.Embedding(10, inner),
    }
    decoders = {
        "picture": nn.Sequential(nn.Linear(d + extra, 16), nn.Unflatten(1, (1, 4, 4))),
        "word": nn.Sequential(nn.Linear(d + extra, LETTERS * LENGTH), nn.Unflatten(1, (LENGTH, LETTERS))),
        "label": nn.Linear(d + extra, 10),
    }
    with torch.no_grad():
        encoders["label"].weight.mul_(0.2)
    likelihoods = {"picture": gaussian(0.5), "word": categorical(one_hot=True), "label": categorical()}
    joint = [JointOfAll(d)] if cls in (JMVAE, TELBO) else []
    sizes = {"private": extra} if extra else {}
    return cls(*joint, encoders, decoders, likelihoods, d, **sizes, **options)


def mixed_batch(n=6):
    letters = torch.randint(LETTERS, (n, LENGTH))
    return {
        "picture": torch.rand(n, 1, 4, 4),
        "word": nn.functional.one_hot(letters, LETTERS).float(),
        "label": torch.arange(n) % 10,
        "name": torch.arange(n),  # not a modality
    }


@every_model
def test_pictures_words_and_labels_are_modalities_like_others(name):
    model, batch = mixed_model(name), mixed_batch()
    losses = model.loss(batch)
    losses["loss"].backward()
    assert {"picture", "word", "label", "loss"} <= losses.keys()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
    generated = model.generate({"picture": batch["picture"]}, ["label", "word"], n=2)
    assert {s: x.shape for s, x in generated.items()} == {"word": (2, 6, LENGTH, LETTERS), "label": (2, 6, 10)}
    for x in generated.values():
        assert (x.sum(-1) - 1).abs().max() < 1e-5
        assert (x >= 0).all()
    generated = model.generate({"label": torch.tensor([3, 3, 7])}, n=4)
    assert {s: x.shape for s, x in generated.items()} == {
        "picture": (4, 3, 1, 4, 4), "word": (4, 3, LENGTH, LETTERS), "label": (4, 3, 10)}  # fmt: skip
    generated = model.generate(n=5)
    assert {s: x.shape for s, x in generated.items()} == {
        "picture": (5, 1, 4, 4), "word": (5, LENGTH, LETTERS), "label": (5, 10)}  # fmt: skip
    assert model.generate(to=["word"])["word"].shape == (1, LENGTH, LETTERS)
    assert model.log_likelihood(batch, k=3).shape == (6,)


@every_lenient
def test_few_labels_are_weak_supervision(name):
    """Labels of examples that have none do not count, and those of the others teach encoder and decoder."""
    torch.manual_seed(1)
    model, batch = mixed_model(name).double(), mixed_batch()
    batch = {k: x.double() if x.is_floating_point() else x for k, x in batch.items()}
    batch["label_present"] = torch.tensor([1, 0, 1, 0, 0, 1]).bool()
    other = {**batch, "label": torch.where(batch["label_present"], batch["label"], 9)}
    wide = torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    both = []
    for given in (batch, other):
        terms = terms_of(model, given, list(range(6)), wide)
        both.append((terms, slopes(model, terms["loss"].mean())))
    close(both[0][0]["loss"], both[1][0]["loss"])
    close(both[0][1], both[1][1])
    assert (both[0][0]["label"][~batch["label_present"]] == 0).all()
    assert (both[0][0]["label"][batch["label_present"]] > 0).all()
    model.zero_grad()
    terms_of(model, batch, list(range(6)), wide)["loss"].mean().backward()
    taught = model.encoders["label"].weight.grad.any(1).tolist()
    assert taught == [i in (0, 2, 5) for i in range(10)]


def test_a_decoder_of_a_gaussian_is_its_mean_and_decode_gives_the_distribution(world):
    model = model_of("MVAE", world)
    z = torch.randn(4, LATENT).double()
    p = model.decode(z)
    assert list(p) == ["a", "b", "c"]
    for s, W in world.weights.items():
        close(p[s].mean, z @ W.T)
        close(p[s].stddev, f64([[NOISE[s]] * SIZES[s]] * 4))
    assert list(model.decode(z, ["c", "a"])) == ["a", "c"]


def test_what_is_generated_from_nothing_is_what_the_decoders_make_of_the_prior(world):
    model = model_of("MVAE", world)
    torch.manual_seed(4)
    generated = model.generate(n=3)
    torch.manual_seed(4)
    z = torch.randn(3, LATENT).double()  # drawn in the dtype of the model
    assert generated["a"].shape == (3, 3)
    torch.manual_seed(4)
    z = torch.randn(3, LATENT, dtype=torch.float64)
    for s, W in world.weights.items():
        close(generated[s], z @ W.T)


def test_each_draw_has_its_own_row_in_what_is_generated(world, batch):
    """n draws of B examples: draw i of example b stands at (i, b)."""
    sure = {"a": linear(torch.cat([torch.eye(2, 3), torch.zeros(2, 3)]), f64([0, 0, -30, -30]))}
    model = make(MMVAE, world, encoders=sure)
    generated = model.generate(only(batch, "a"), ["b"], n=4)["b"]
    for i in range(4):
        close(generated[i], batch["a"][:, :2] @ world.weights["b"].T, 1e-9)


def test_a_generated_modality_has_its_own_inferred_private_latent_and_that_of_others_is_drawn(world):
    """Of a, z is the first number, w the second; decoders show z and w, encoders are all but sure."""
    one = {"a": torch.randn(6, 3).double(), "b": torch.randn(6, 4).double()}
    sure = linear(
        torch.cat([torch.eye(3)[[0, 1]], torch.zeros(2, 3), torch.eye(3)[[2]], torch.zeros(1, 3)]),
        f64([0, 0, -30, -30, 0, -30]),
    )
    show = {s: linear(torch.eye(SIZES[s], 3), torch.zeros(SIZES[s])) for s in "ab"}
    model = make(MMVAEPlus, world, encoders={"a": sure}, decoders=show)
    with torch.no_grad():
        model.log_widths["b"].fill_(1.0)
    generated = model.generate(only(one, "a"), n=2000)
    close(generated["a"], one["a"].expand(2000, 6, 3), 1e-9)
    close(generated["b"][..., :2], one["a"][:, :2].expand(2000, 6, 2), 1e-9)
    assert (generated["b"][..., 2].mean(0).abs() < 5 * generated["b"][..., 2].std(0) / 2000**0.5).all()
    spread = generated["b"][..., 2].std(0)
    assert spread.min() > 0.9
    assert spread.max() < 1.1  # as the prior's, not as the auxiliary's
    # An example that lacks a has no private latent of a, though others do.
    masks = {"a_present": torch.tensor([True, False] * 3)}
    generated = model.generate({**one, **masks}, ["a"], n=500)["a"][..., 2]
    close(generated[:, ::2], one["a"][::2, 2].expand(500, 3), 1e-9)
    assert generated[:, 1::2].std(0).min() > 0.8


def test_private_latents_of_another_size_than_z(world, batch):
    model = make(MMVAEPlus, world, private=PRIVATE + 3)
    assert model.loss(batch)["loss"].isfinite()
    assert model.encode(batch).event_shape == (LATENT,)
    assert model.encode_private(batch)["b"].event_shape == (PRIVATE + 3,)
    assert set(dict(model.named_parameters())) >= {f"log_widths.{s}" for s in SIZES}


def test_one_modality_alone_is_a_vae(world, batch):
    for name in MODELS:
        small = skew_world(sizes={"a": 3})
        model = model_of(name, small)
        assert model.loss(only(batch, "a"))["loss"].isfinite(), name
    assert isinstance(model_of("TELBO", skew_world(sizes={"a": 3})), TELBO)
