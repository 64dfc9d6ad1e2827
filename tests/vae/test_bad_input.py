"""What is wrong is refused with a sentence that says what, before a parameter or a random number is touched."""

import itertools
import math

import pytest
import torch
from torch import nn
from vae_world import LATENT, MODELS, SIZES, linear, make, model_of, only, rows, skew_world

from mmtutor.vae import (
    JMVAE,
    MMVAE,
    MVAE,
    MVTCAE,
    Coordinated,
    MMVAEPlus,
    MoPoE,
    MultimodalVAE,
    bernoulli,
    categorical,
    gaussian,
)
from mmtutor.vae.jmvae import JointVAE

every_model = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def world():
    return skew_world()


@pytest.fixture(scope="module")
def batch(world):
    return world.sample(4, seed=7)[1]


class Refused:
    """``with Refused(match, model):`` expects a ValueError, and that nothing was drawn and no parameter changed."""

    def __init__(self, match, model=None):
        self.raises, self.model = pytest.raises(ValueError, match=match), model

    def __enter__(self):
        self.before = torch.get_rng_state()
        self.state = [] if self.model is None else [x.clone() for x in self.model.state_dict().values()]
        return self.raises.__enter__()

    def __exit__(self, *error):
        done = self.raises.__exit__(*error)
        assert (torch.get_rng_state() == self.before).all(), "random numbers were drawn"
        now = [] if self.model is None else self.model.state_dict().values()
        assert all(torch.equal(a, b) for a, b in zip(self.state, now, strict=True))
        assert self.model is None or all(p.grad is None for p in self.model.parameters())
        return done


def parts(**changes):
    given = {
        "encoders": {s: nn.Linear(D, 2 * LATENT) for s, D in SIZES.items()},
        "decoders": {s: nn.Linear(LATENT, D) for s, D in SIZES.items()},
        "likelihoods": {s: gaussian(1.0) for s in SIZES},
        "latent": LATENT,
    }
    return {**given, **changes}


# ------------------------------------------------------------------------------------------------------ a model


@pytest.mark.parametrize("cls", [MVAE, MMVAE, MoPoE, MVTCAE, Coordinated])
def test_parts_of_different_modalities_are_refused(cls):
    for name in ("decoders", "likelihoods"):
        for change in (lambda x: {k: x[k] for k in "ab"}, lambda x: {**x, "d": x["a"]}, lambda x: {}):
            given = parts()
            given[name] = change(given[name])
            with Refused(f"{cls.__name__}: encoders are of .*'a', 'b', 'c'.*{name} of .*both need the same"):
                cls(**given)
    with Refused(f"{cls.__name__}: encoders"):
        cls({}, {}, {}, LATENT)


@pytest.mark.parametrize("value", [0, 0.0, -1.0, math.inf, math.nan, -math.inf])
def test_weights_and_beta_are_above_0(value):
    given = parts()
    with Refused(r"MVAE: the weight of 'b' must be finite and above 0, got"):
        MVAE(**given, weights={"b": value})
    with Refused(r"MVAE: beta must be finite and above 0, got"):
        MVAE(**given, beta=value)


def test_a_weight_of_no_modality_is_refused():
    given = parts()
    with Refused("no modality 'd'"):
        MVAE(**given, weights={"d": 1.0})


def test_a_weight_of_a_misspelt_modality_is_refused_with_the_nearest_name():
    nets = {"picture": nn.Linear(3, 4)}
    with pytest.raises(ValueError, match="did you mean 'picture'"):
        MVAE(nets, {"picture": nn.Linear(2, 3)}, {"picture": gaussian(1.0)}, 2, weights={"pictre": 1.0})


@pytest.mark.parametrize("latent", [0, -1, pytest.param(1.5, id="half")])
def test_a_latent_below_1_is_refused(latent):
    given = parts(latent=latent)
    with Refused("MVAE: latent must be a whole number ≥ 1, got"):
        MVAE(**given)


@pytest.mark.parametrize(
    "name", ["loss", "kl", "distance", "cross_generation", "private_kl", "expert_kl", "surrogate_kl"]
)
def test_a_modality_named_like_a_term_is_refused(name):
    with pytest.raises(ValueError, match=f"MVAE: a modality cannot be called '{name}'"):
        MVAE({name: nn.Linear(3, 4)}, {name: nn.Linear(2, 3)}, {name: gaussian(1.0)}, 2)


@pytest.mark.parametrize(
    ("cls", "options", "match"),
    [
        (MVAE, {"drawn": -1}, "MVAE: drawn must be a whole number ≥ 0, got -1"),
        (MMVAE, {"k": 0}, "MMVAE: k must be a whole number ≥ 1, got 0"),
        (MMVAE, {"k": -3}, "MMVAE: k must be a whole number ≥ 1, got -3"),
        (MMVAE, {"objective": "elbo"}, "MMVAE: objective must be 'iwae' or 'dreg', got 'elbo'"),
        (MVTCAE, {"alpha": -0.1}, "MVTCAE: alpha must be finite and from 0 to 1, got -0.1"),
        (MVTCAE, {"alpha": 1.1}, "MVTCAE: alpha must be finite and from 0 to 1, got 1.1"),
        (MVTCAE, {"alpha": math.nan}, "MVTCAE: alpha must be finite and from 0 to 1, got nan"),
        (
            Coordinated,
            {"distance_weight": -1.0},
            "Coordinated: distance_weight must be finite and at least 0, got -1.0",
        ),
        (Coordinated, {"cross_weight": math.inf}, "Coordinated: cross_weight must be finite and at least 0, got inf"),
        (Coordinated, {"cross_weight": math.nan}, "Coordinated: cross_weight must be finite and at least 0, got nan"),
        (MoPoE, {"sets": []}, "MoPoE: sets must be at least one, and none of them empty"),
        (MoPoE, {"sets": [("a",), ()]}, "MoPoE: sets must be at least one, and none of them empty"),
        (MoPoE, {"sets": [("a", "d")]}, "MoPoE: no modality 'd', only a, b, c"),
    ],
)
def test_an_option_out_of_range_is_refused(cls, options, match):
    given = parts()
    with Refused(match):
        cls(**given, **options)


@pytest.mark.parametrize("alpha", [-0.1, math.inf, math.nan])
def test_jmvaes_alpha_is_at_least_0(alpha):
    given = parts()
    with Refused("JMVAE: alpha must be finite and at least 0, got"):
        JMVAE(nn.Identity(), **given, alpha=alpha)


@pytest.mark.parametrize(("name", "value"), [("private", 0), ("private", -1), ("k", 0)])
def test_mmvaepluss_sizes_are_at_least_1(name, value):
    given = parts()
    with Refused(f"MMVAEPlus: {name} must be a whole number ≥ 1, got {value}"):
        MMVAEPlus(**given, **{"private": 1, "k": 1, name: value})


def test_abstract_classes_are_no_models():
    for cls in (MultimodalVAE, JointVAE):
        with pytest.raises(TypeError, match=f"Can't instantiate abstract class {cls.__name__}"):
            cls(**parts())


# ----------------------------------------------------------------------------------------------------- a batch


def calls(model):
    return (model.loss, model.encode, model.log_likelihood, model.generate)


def without(x, place, value):
    x = x.clone()
    x[place] = value
    return x


@every_model
def test_values_that_are_no_numbers_are_refused(world, batch, name):
    model = model_of(name, world)
    for call, value in itertools.product(calls(model), (math.nan, math.inf, -math.inf)):
        with Refused(f"{type(model).__name__}: 'b' holds NaN or infinite values, first in example 2", model):
            call({**batch, "b": without(batch["b"], (2, 1), value)})


def test_numbers_whose_sum_alone_is_infinite_are_not_refused(world):
    model = make(MVAE, world, encoders={"a": linear(torch.zeros(4, 3), torch.zeros(4))}).float()
    q = model.encode({"a": torch.full((4, 3), 3e38)})
    assert q.mean.isfinite().all()


@every_model
def test_a_batch_without_modalities_is_refused(world, name):
    model = model_of(name, world)
    who = type(model).__name__
    for call in calls(model):
        with Refused(rf"{who}: the batch has none of the modalities \('a', 'b', 'c'\), only \(\)", model):
            call({})
        with Refused(f"{who}: the batch has none of the modalities .* only .'a_present',", model):
            call({"a_present": torch.ones(4, dtype=torch.bool)})


@every_model
def test_a_modality_that_is_absent_beside_an_unknown_tensor_is_refused(world, batch, name):
    small = skew_world(sizes=SIZES)
    model = model_of(name, small)
    who = type(model).__name__
    for call in calls(model):
        with Refused(f"{who}: the batch has no 'b' but 'x'; rename it, or leave it out", model):
            call({"a": batch["a"], "c": batch["c"], "x": batch["b"]})
        assert call({**batch, "x": batch["b"], "label": torch.zeros(4).long()}) is not None  # all known ones are there


def test_a_misspelt_modality_is_refused_with_the_nearest_name():
    encoders = {"picture": nn.Linear(3, 4), "sound": nn.Linear(2, 4)}
    decoders = {"picture": nn.Linear(2, 3), "sound": nn.Linear(2, 2)}
    model = MVAE(encoders, decoders, dict.fromkeys(encoders, gaussian(1.0)), 2)
    for call in calls(model):
        with Refused("MVAE: the batch has no 'picture' but 'pictures'; is one of them misspelt", model):
            call({"pictures": torch.ones(4, 3), "sound": torch.ones(4, 2)})


@every_model
def test_what_is_no_tensor_is_refused(world, batch, name):
    model = model_of(name, world)
    for call in calls(model):
        for wrong, match in (
            ({**batch, "b": [1.0]}, "'b' must be a tensor .* got list"),
            ([batch], "a batch must be a dict"),
        ):
            with pytest.raises(TypeError, match=f"{type(model).__name__}: {match}"):
                call(wrong)


@every_model
def test_an_example_without_modalities_is_refused(world, batch, name):
    model = model_of(name, world)
    masks = {f"{s}_present": torch.tensor([True, True, False, True]) for s in SIZES}
    nobody = {f"{s}_present": torch.zeros(4, dtype=torch.bool) for s in SIZES}
    for call in calls(model):
        for wrong in ({**batch, **masks}, {**batch, **nobody}):
            row = 2 if wrong["a_present"].any() else 0
            with Refused(f"{type(model).__name__}: every modality is missing in example {row}; leave it out", model):
                call(wrong)
        one = {"a": batch["a"], "a_present": masks["a_present"]}
        with Refused(f"{type(model).__name__}: every modality is missing in example 2; leave it out", model):
            call(one)
    some = {**batch, "a_present": masks["a_present"]}
    for call in (model.encode, lambda given, names: model.log_likelihood(given, modalities=names)):
        with Refused(f"{type(model).__name__}, from a: every modality is missing in example 2; leave it out", model):
            call(some, "a")


@every_model
def test_an_empty_batch_is_refused(world, batch, name):
    model = model_of(name, world)
    for call in calls(model):
        with Refused(
            f"{type(model).__name__}: modalities need the same number of examples, at least one, got .*0", model
        ):
            call(rows(batch, []))


@every_model
def test_modalities_of_different_length_are_refused(world, batch, name):
    model = model_of(name, world)
    for call in calls(model):
        with Refused(rf"{type(model).__name__}: modalities need the same .* got .*'a': 4, 'b': 3", model):
            call({**batch, "b": batch["b"][:3]})


NO_MASKS = [torch.ones(4), torch.ones(4).long(), *(torch.ones(n).bool() for n in ((4, 1), (3,), (1,), (), (1, 4)))]


@every_model
def test_a_mask_that_is_none_is_refused(world, batch, name):
    model = model_of(name, world)
    for call, mask in itertools.product(calls(model), NO_MASKS):
        with Refused(rf"{type(model).__name__}: 'b_present' must be bool \(4,\), got torch", model):
            call({**batch, "b_present": mask})


@every_model
def test_a_modality_that_does_not_exist_is_refused_with_the_nearest_name(world, batch, name):
    small = skew_world(sizes=SIZES)
    model = model_of(name, small)
    who = type(model).__name__
    with Refused(f"{who}: no modality 'd', only a, b, c", model):
        model.encode(batch, ["d"])
    with Refused(f"{who}: no modality 'cc', only a, b, c; did you mean 'c'", model):
        model.log_likelihood(batch, modalities=["a", "cc"])
    with Refused(f"{who}: no modality 'd'", model):
        model.decode(torch.zeros(2, LATENT).double(), ["d"])
    with Refused(f"{who}: the batch has no 'b', only a, c", model):
        model.encode(only(batch, "ac"), ["a", "b"])
    with Refused(f"{who}: modalities must name at least one of a, b, c, got none", model):
        model.encode(batch, [])


@pytest.mark.parametrize("name", ["JMVAE", "MVAE", "MMVAE", "MMVAEPlus"])
def test_a_modality_that_cannot_be_generated_is_refused_before_anything_is_drawn(world, batch, name):
    model = model_of(name, world)
    for given in (None, batch):
        with Refused(f"{type(model).__name__}: no modality 'd'", model):
            model.generate(given, ["d"])


@pytest.mark.parametrize("name", ["JMVAE", "MVAE", "MMVAE", "MMVAEPlus"])
def test_generating_fewer_than_one_is_refused(world, batch, name):
    model = model_of(name, world)
    for given, n in itertools.product((None, batch), (0, -1)):
        with Refused("n must be a whole number ≥ 1", model):
            model.generate(given, n=n)


@every_model
def test_an_estimate_needs_a_draw(world, batch, name):
    model = model_of(name, world)
    for k in (0, -1):
        with Refused(f"{type(model).__name__}: k must be a whole number ≥ 1, got {k}", model):
            model.log_likelihood(batch, k=k)


@every_model
def test_a_latent_code_of_another_shape_is_refused(world, name):
    model = model_of(name, world)
    for shape in ((LATENT,), (3, LATENT + 1), (3, 2, LATENT), (3, LATENT - 1)):
        with Refused(rf"{type(model).__name__}: z must be \(N, {LATENT}\), got", model):
            model.decode(torch.zeros(shape).double())


@pytest.mark.parametrize("name", ["DMVAE", "MMVAEPlus"])
@pytest.mark.parametrize("shape", [(4, 2), (3, 1), (4,), (1, 1)])
def test_a_private_latent_of_another_shape_is_refused(world, shape, name):
    model = model_of(name, world)
    with Refused(rf"{name}: w of 'a' must be \(4, 1\), got", model):
        model.decode(torch.zeros(4, LATENT).double(), ["a"], {"a": torch.zeros(shape).double()})


def test_a_private_latent_of_no_modality_is_refused(world):
    with pytest.raises(ValueError, match="'d'"):
        model_of("MMVAEPlus", world).decode(torch.zeros(4, LATENT).double(), ["a"], {"d": torch.zeros(4, 1).double()})


def test_a_mopoe_without_a_set_for_an_example_says_so(world, batch):
    model = make(MoPoE, world, sets=[("a", "b"), ("c",)])
    masks = {"b_present": torch.tensor([True, False, True, True]), "c_present": torch.tensor([True, False, True, True])}
    for call in calls(model):
        with Refused("MoPoE: in example 1 every set of modalities lacks one, given a, b, c", model):
            call({**batch, **masks})
        with Refused("MoPoE: in example 0 every set of modalities lacks one, given a", model):
            call(only(batch, "a"))
    assert model.encode(batch, ["a", "b"]).mean.shape == (4, LATENT)


# ------------------------------------------------------------------------------------------ networks that do not fit


@every_model
def test_an_encoder_of_another_size_is_refused(world, batch, name):
    for outputs in (1, LATENT, 2 * LATENT - 1, 2 * LATENT + 1, 4 * LATENT + 2):
        wrong = {"b": linear(torch.zeros(outputs, 4), torch.zeros(outputs))}
        model = model_of(name, world, encoders=wrong)
        for call in calls(model):
            with Refused(rf"{type(model).__name__}: the encoder of 'b' must give \(B, \d\), mean and log σ", model):
                call(batch)


@every_model
def test_an_encoder_with_more_axes_is_refused(world, batch, name):
    model = model_of(name, world)
    inside = model.encoders["b"]
    model.encoders["b"] = nn.Sequential(inside, nn.Unflatten(1, (-1, 1)))
    for call in calls(model):
        with Refused(f"{type(model).__name__}: the encoder of 'b' must give", model):
            call(batch)


class Pool(nn.Module):
    """Mean over the batch: one row, whatever comes in."""

    def forward(self, x):
        return x.mean(0, keepdim=True)


class Half(nn.Module):
    """A forgotten axis: two examples become one."""

    def forward(self, x):
        return x[::2]


@pytest.mark.parametrize("name", ["JMVAE", "MVAE", "MMVAE", "MMVAEPlus"])
def test_an_encoder_that_loses_examples_is_refused(world, batch, name):
    for fold, modalities in itertools.product((Pool, Half), ("abc", "b")):
        model = model_of(name, world)
        for s in SIZES:
            model.encoders[s] = nn.Sequential(model.encoders[s], fold())
        for call in calls(model):
            with Refused(f"{type(model).__name__}: the encoder of '.' must give", model):
                call(only(batch, modalities))


@pytest.mark.parametrize("name", ["JMVAE", "TELBO"])
def test_a_joint_encoder_of_another_size_is_refused(world, batch, name):
    model = model_of(name, world, joint=nn.Sequential(make(JMVAE, world).joint, nn.Linear(2 * LATENT, 3).double()))
    for call in calls(model):
        with Refused(
            rf"{type(model).__name__}: the encoder of all modalities must .*{2 * LATENT}\), .* got \(4, 3\)", model
        ):
            call(batch)


@every_model
def test_a_decoder_of_another_shape_than_its_modality_is_refused_and_not_broadcast(world, batch, name):
    masks = {} if name == "JMVAE" else {"b_present": torch.tensor([True, True, False, True])}
    for fold in (nn.Unflatten(1, (-1, 1)), nn.Unflatten(1, (1, -1)), Pool(), nn.AdaptiveAvgPool1d(1)):
        model = model_of(name, world)
        model.decoders["b"] = nn.Sequential(model.decoders["b"], fold)
        for call, given in ((model.loss, batch), (model.log_likelihood, batch), (model.loss, {**batch, **masks})):
            with pytest.raises(ValueError, match=f"{type(model).__name__}: the decoder of 'b' gives"):
                call(given)


@every_model
def test_a_decoder_of_another_latent_size_does_not_pass_unseen(world, batch, name):
    model = model_of(name, world)
    model.decoders["b"] = nn.Linear(LATENT + 2, 4).double()
    for call in (model.loss, model.log_likelihood, model.generate):
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            call(batch)


def test_labels_of_another_kind_than_their_likelihood_are_refused():
    def model(likelihood):
        return MVAE({"label": nn.Embedding(10, 4)}, {"label": nn.Linear(2, 10)}, {"label": likelihood}, 2)

    label = torch.tensor([1, 2, 3])
    assert model(categorical()).loss({"label": label})["loss"].isfinite()
    for wrong in (categorical(one_hot=True), gaussian(1.0)):
        with pytest.raises(
            ValueError, match="the decoder of 'label' gives 10 for each example, the batch has one number"
        ):
            model(wrong).loss({"label": label})
    with pytest.raises(ValueError, match=r"with bernoulli\(\) 'label' must be from 0 to 1, got 2 in example 1"):
        model(bernoulli()).loss({"label": label})


def test_one_hot_letters_under_a_likelihood_of_numbers_are_refused():
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(6, 4))
    decoder = nn.Sequential(nn.Linear(2, 6), nn.Unflatten(1, (2, 3)))
    model = MVAE({"word": encoder}, {"word": decoder}, {"word": categorical()}, 2)
    with pytest.raises(ValueError, match=r"'word' must be int64, .* take categorical\(one_hot=True\)"):
        model.loss({"word": torch.eye(3)[:2].expand(4, 2, 3)})
