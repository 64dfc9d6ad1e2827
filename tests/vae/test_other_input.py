"""What people bring: float64 from NumPy, pictures of bytes, ignored labels, padding, decoders of probabilities."""

import copy
import io
import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal
from vae_world import LATENT, MODELS, SIZES, make, masked, model_of, only, skew_world

from mmtutor.decoders import ImageDecoder
from mmtutor.vae import MVAE, MMVAEPlus, MoPoE, bernoulli, categorical, gaussian, laplace
from mmtutor.vae.checks import last_layer
from mmtutor.vae.private import PrivateVAE

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


def methods(model):
    """Every public method that reads a batch."""
    read = {
        "loss": model.loss,
        "terms": model.terms,
        "encode": model.encode,
        "experts": model.experts,
        "generate": model.generate,
        "log_likelihood": lambda batch: model.log_likelihood(batch, 3),
        "check_batch": model.check_batch,
    }
    return read | ({"encode_private": model.encode_private} if isinstance(model, PrivateVAE) else {})


def numbers(result):
    """All tensors that a method gives, distributions by their density at 0 and their mean."""
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, torch.distributions.Distribution):
        return [result.mean, result.log_prob(torch.zeros_like(result.mean))]
    if isinstance(result, dict | tuple | list):
        return [x for part in (result.values() if isinstance(result, dict) else result) for x in numbers(part)]
    return []


# ---------------------------------------------------------------------------------------------------- float types


@every_model
def test_float64_data_are_refused_by_every_method_and_the_message_says_what_to_do(world, batch, name):
    model = model_of(name, world).float()
    for call in methods(model).values():
        with pytest.raises(TypeError, match=r"'a' is torch.float64 \(4, 3\), .* torch.float32; convert it with .float"):
            call(batch)
    with pytest.raises(TypeError, match=r"'z' is torch.float64"):
        model.decode(torch.zeros(2, LATENT).double())
    half = {name: x.half() for name, x in batch.items()}
    with pytest.raises(TypeError, match=r"'a' is torch.float16"):
        model.loss(half)
    assert model.loss({name: x.float() for name, x in batch.items()})["loss"].isfinite()
    assert model.double().loss(batch)["loss"].dtype == torch.float64


@every_model
def test_half_precision_data_are_read_under_autocast_as_before(world, batch, name):
    model, bf16 = model_of(name, world).float(), {name: x.bfloat16() for name, x in batch.items()}
    with torch.autocast("cpu", torch.bfloat16):
        assert model.loss(bf16)["loss"].isfinite()
        with pytest.raises(TypeError, match=r"'a' is torch.float64"):
            model.loss(batch)


def test_a_private_latent_of_another_float_type_is_refused(world):
    model, z = model_of("MMVAEPlus", world).float(), torch.zeros(4, LATENT)
    with pytest.raises(TypeError, match=r"'a' is torch.float64"):
        model.decode(z, "a", {"a": torch.zeros(4, 1).double()})


def test_numbers_of_numpy_are_numbers():
    nets = {"a": nn.Linear(3, 4)}, {"a": nn.Linear(2, 3)}, {"a": gaussian(np.float32(0.5))}
    model = MVAE(*nets, np.int64(2), weights={"a": np.float64(2)}, beta=torch.tensor(0.5), drawn=np.int32(1))
    assert (type(model.beta), type(model.weights["a"]), model.latent) == (float, float, 2)
    assert model.loss({"a": torch.rand(1, 3)})["loss"].isfinite()  # one example is enough
    assert model.generate(n=np.int64(2))["a"].shape == (2, 3)
    with pytest.raises(ValueError, match="latent must be a whole number ≥ 1, got True"):
        MVAE(*nets, True)


# ---------------------------------------------------------------------------------------- what is masked is not read


@every_model
def test_no_method_reads_what_a_mask_hides(world, name):
    model = model_of(name, world)
    calls = methods(model)
    if name == "JMVAE":  # learns from complete examples alone
        calls = {key: call for key, call in calls.items() if key not in ("loss", "terms")}
    for key, call in calls.items():
        results = []
        for garbage in (None, 7.0, math.nan):
            torch.manual_seed(1)
            results.append(numbers(call(masked(world, garbage))))
        for other in results[1:]:
            assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True)), key


@every_model
def test_a_modality_that_is_masked_everywhere_is_as_one_that_is_left_out(world, batch, name):
    model, hidden = model_of(name, world), {**batch, "b": batch["b"] * math.nan, "b_present": torch.zeros(4).bool()}
    z = torch.randn(4, LATENT).double()
    q, p = model.encode(hidden), model.encode(only(batch, "ac"))
    assert (q.log_prob(z) - p.log_prob(z)).abs().max() < 1e-11


# ------------------------------------------------------------------------------------------------ saved and copied


@every_model
def test_a_whole_model_is_saved_copied_and_pickled(world, batch, name):
    model = model_of(name, world)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for other in (torch.load(file, weights_only=False), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        losses = []
        for each in (model, other):
            torch.manual_seed(1)
            losses.append(each.loss(batch)["loss"])
        assert torch.equal(*losses)
        assert other.likelihoods == model.likelihoods


def test_likelihoods_are_equal_if_they_say_the_same_and_say_what_they_are():
    for make_one in (lambda: gaussian(0.5), lambda: laplace(0.5), bernoulli, categorical):
        assert make_one() == make_one()
    made = [gaussian(0.5), gaussian(1.0), laplace(0.5), bernoulli(), bernoulli(True), categorical(), categorical(True)]
    assert len(set(made)) == len(set(map(repr, made))) == len(made)
    assert repr(gaussian(0.5)) == "GaussianLikelihood(scale=0.5)"


# ------------------------------------------------------------------------------------------ a likelihood that learns


class Learned(nn.Module):
    """N(output, σ²) with a σ that is learned."""

    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, output):
        return Independent(Normal(output, self.log_scale.exp(), validate_args=False), 1, validate_args=False)


@every_model
def test_a_learned_sigma_is_a_parameter_of_the_model(world, name):
    model = model_of(name, world, likelihoods={m: Learned() for m in SIZES})
    sigmas = {k: p for k, p in model.named_parameters() if "log_scale" in k}
    assert len(sigmas) == len(SIZES)
    assert sigmas.keys() <= model.state_dict().keys()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for p in twin.learned.parameters():
            p.fill_(0.3)
    assert all(p.item() == 0 for p in sigmas.values())
    assert all(twin.likelihoods[m].log_scale.item() == 0.3 for m in SIZES)
    batch = world.sample(4, seed=7)[1]
    model.loss(batch)["loss"].backward()
    assert all(p.grad is not None and p.grad != 0 for p in sigmas.values())


# ------------------------------------------------------------------------------------ what a decoder's output means


def picture_model(decoder, likelihood=None, size=8):
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(size * size, 4))
    return MVAE({"picture": encoder}, {"picture": decoder}, {"picture": likelihood or bernoulli()}, 2)


ENDS = {
    "ImageDecoder": lambda: ImageDecoder(2, 1, 8),
    "Sequential": lambda: nn.Sequential(nn.Linear(2, 64), nn.Unflatten(1, (1, 8, 8)), nn.Sigmoid()),
    "before a new shape": lambda: nn.Sequential(nn.Linear(2, 64), nn.Sigmoid(), nn.Unflatten(1, (1, 8, 8))),
    "nested": lambda: nn.Sequential(
        nn.Linear(2, 2), nn.Sequential(nn.Sequential(ImageDecoder(2, 1, 8)), nn.Identity())
    ),
}


@pytest.mark.parametrize("make_decoder", ENDS.values(), ids=ENDS)
def test_a_decoder_that_ends_in_a_sigmoid_gives_probabilities(make_decoder):
    model, x, z = picture_model(make_decoder()), torch.rand(4, 1, 8, 8), torch.randn(4, 2)
    assert model.likelihoods["picture"] == bernoulli(probabilities=True)
    (p,), output = model.decode(z).values(), model.decoders["picture"](z)
    by_hand = (x * output.log() + (1 - x) * (1 - output).log()).sum((1, 2, 3))
    assert (p.log_prob(x) - by_hand).abs().max() < 1e-4
    assert torch.equal(p.mean, output)
    assert p.log_prob(x.double()).isfinite().all()


def test_logits_and_probabilities_of_one_decoder_are_one_distribution():
    logits, x = torch.randn(4, 6).double(), torch.rand(4, 6).double()
    close = lambda a, b: (a - b).abs().max() < 1e-12  # noqa: E731
    assert close(bernoulli()(logits).log_prob(x), bernoulli(True)(logits.sigmoid()).log_prob(x))
    logits, one_hot = logits.view(4, 2, 3), torch.eye(3).double()[torch.randint(3, (4, 2))]
    given = logits.softmax(-1)
    assert close(categorical(True)(logits).log_prob(one_hot), categorical(True, True)(given).log_prob(one_hot))
    classes = one_hot.argmax(-1)
    assert close(categorical()(logits).log_prob(classes), categorical(False, True)(given).log_prob(classes))
    for likelihood, sure, x in (
        (bernoulli(True), torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])),
        (categorical(True, True), torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[1.0, 0.0]]])),
    ):
        assert likelihood(sure).log_prob(x).isfinite().all()  # a probability that was rounded to 0


def test_a_picture_is_learned_black_and_white():
    x = (torch.arange(8) < 4).float().expand(16, 1, 8, 8).contiguous()
    for decoder in (ImageDecoder(2, 1, 8), ImageDecoder(2, 1, 8, logits=True)):
        model = picture_model(decoder)
        optimizer = torch.optim.Adam(model.parameters(), 0.03)
        for _ in range(60):
            optimizer.zero_grad()
            model.loss({"picture": x})["loss"].backward()
            optimizer.step()
        made = model.generate({"picture": x})["picture"]
        assert made.min() < 0.1
        assert made.max() > 0.9


def test_logits_are_left_to_be_logits():
    class Own(nn.Module):  # nobody sees what its forward does
        def __init__(self):
            super().__init__()
            self.net, self.end = nn.Linear(2, 64), nn.Sigmoid()

        def forward(self, z):
            return self.net(z).view(-1, 1, 8, 8)

    class Backwards(nn.Sequential):
        def forward(self, z):
            return super().forward(z).logit()

    for decoder in (
        Own(),
        Backwards(nn.Linear(2, 64), nn.Unflatten(1, (1, 8, 8)), nn.Sigmoid()),
        nn.Sequential(nn.Linear(2, 64), nn.Sigmoid(), nn.Linear(64, 64), nn.Unflatten(1, (1, 8, 8))),
        ImageDecoder(2, 1, 8, logits=True),
    ):
        assert picture_model(decoder).likelihoods["picture"] == bernoulli()
    assert picture_model(Own(), bernoulli(probabilities=True)).likelihoods["picture"] == bernoulli(True)
    assert isinstance(last_layer(nn.Sequential()), nn.Sequential)


@pytest.mark.parametrize("layer", [nn.Tanh(), nn.ReLU(), nn.Softmax(-1), nn.LogSoftmax(-1), nn.Softplus()])
def test_a_decoder_whose_last_layer_gives_no_logits_is_refused(layer):
    decoder = nn.Sequential(nn.Linear(2, 64), layer, nn.Unflatten(1, (1, 8, 8)))
    with pytest.raises(ValueError, match=r"MVAE: bernoulli\(\) reads .* logits, .* of 'picture' ends in .* nn.Sigmoid"):
        picture_model(decoder)
    assert picture_model(decoder, gaussian(1.0)).loss({"picture": torch.rand(2, 1, 8, 8)})["loss"].isfinite()


def word_model(*ends, one_hot=True):
    decoder = nn.Sequential(nn.Linear(2, 6), nn.Unflatten(1, (2, 3)), *ends)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(6, 4))
    return MVAE({"word": encoder}, {"word": decoder}, {"word": categorical(one_hot)}, 2)


@pytest.mark.parametrize("axis", [-1, 2])
def test_a_decoder_that_ends_in_a_softmax_gives_probabilities(axis):
    model, x = word_model(nn.Softmax(axis)), torch.eye(3)[torch.randint(3, (5, 2))]
    z = torch.randn(5, 2)
    expected = (x * model.decoders["word"](z).log()).sum((1, 2))
    assert (model.decode(z)["word"].log_prob(x) - expected).abs().max() < 1e-5
    assert model.loss({"word": x})["loss"].isfinite()
    assert word_model(nn.LogSoftmax(-1)).likelihoods == word_model().likelihoods


def test_a_softmax_along_another_axis_and_a_sigmoid_of_classes_are_refused():
    with pytest.raises(ValueError, match=r"the classes are the last axis .* along axis 1; make it nn.Softmax\(-1\)"):
        word_model(nn.Softmax(1)).decode(torch.zeros(1, 2))
    with pytest.raises(ValueError, match=r"MVAE: categorical\(\) reads .* of 'word' ends in Sigmoid.*nn.Softmax\(-1\)"):
        word_model(nn.Sigmoid())


@pytest.mark.parametrize("wrong", [gaussian, bernoulli, "gaussian", None])
def test_a_likelihood_that_was_not_made_is_refused(wrong):
    with pytest.raises(TypeError, match=r"MVAE: the likelihood of 'a' must be such as bernoulli\(\)"):
        MVAE({"a": nn.Linear(3, 4)}, {"a": nn.Linear(2, 3)}, {"a": wrong}, 2)


def test_networks_without_the_names_of_their_modalities_are_refused():
    with pytest.raises(TypeError, match=r"MVAE: encoders must be a dict from modality to torch\.nn\.Module, got list"):
        MVAE([nn.Linear(3, 4)], {"a": nn.Linear(2, 3)}, {"a": gaussian(1.0)}, 2)
    nets = nn.ModuleDict({"a": nn.Linear(3, 4)}), nn.ModuleDict({"a": nn.Linear(2, 3)})
    assert MVAE(*nets, {"a": gaussian(1.0)}, 2).loss({"a": torch.rand(2, 3)})["loss"].isfinite()


# --------------------------------------------------------------------------------------------- values of a modality


@pytest.mark.parametrize(("worst", "says"), [(255.0, "255"), (1.001, "1.001"), (-0.4242, "-0.4242")])
def test_numbers_that_are_no_shares_are_refused_with_their_example(worst, says):
    model, x = picture_model(ImageDecoder(2, 1, 8)), torch.rand(4, 1, 8, 8)
    x[2, 0, 3, 3] = worst
    for call in methods(model).values():
        with pytest.raises(ValueError, match=rf"with bernoulli\(\) 'picture' .* got {says} in example 2; divide"):
            call({"picture": x})
    nets = {"a": nn.Linear(3, 4), **model.encoders}, {"a": nn.Linear(2, 3), **model.decoders}
    both = MVAE(*nets, {"a": gaussian(1.0), "picture": bernoulli()}, 2)
    masked = {"a": torch.rand(4, 3), "picture": x, "picture_present": torch.tensor([True, True, False, True])}
    assert both.loss(masked)["loss"].isfinite()


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64])
def test_black_and_white_of_any_type_have_the_density_of_their_numbers(dtype):
    x, p = (torch.rand(4, 6) > 0.5), bernoulli()(torch.randn(4, 6))
    assert torch.equal(p.log_prob(x.to(dtype)), p.log_prob(x.float()))


@pytest.mark.parametrize(
    ("label", "says"),
    [
        (torch.tensor([0, 1, -100]), "'label' needs classes from 0, got -100 in example 2"),
        (torch.tensor([0, 3, 2]), "'label' needs classes from 0 to 2, got 3 in example 1"),
        (torch.tensor([0.0, 1.0, 2.0]), "'label' must be int64, numbers of classes, got torch.float32"),
    ],
)
def test_a_label_that_is_no_class_is_refused_before_the_encoder_reads_it(label, says):
    decoder = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(), nn.Linear(2, 3))
    model = MVAE({"label": nn.Embedding(3, 4)}, {"label": decoder}, {"label": categorical()}, 2)
    for call in methods(model).values():
        with pytest.raises(ValueError, match=f"MVAE: .*{says}"):
            call({"label": label})
    assert decoder[0].num_batches_tracked == 0
    assert all(part.training for part in model.modules())
    nets = {"a": nn.Linear(3, 4), **model.encoders}, {"a": nn.Linear(2, 3), **model.decoders}
    both = MVAE(*nets, {"a": gaussian(1.0), "label": categorical()}, 2).eval()
    masked = {"a": torch.rand(3, 3), "label": label.long(), "label_present": (label >= 0) & (label < 3)}
    assert both.loss(masked)["loss"].isfinite()


def test_padding_is_refused_where_it_would_be_read_as_data():
    sizes = {"a": (3,), "series": (5, 2), "picture": (5, 2)}
    flat = {m: nn.Sequential(nn.Flatten(), nn.Linear(math.prod(s), 2 * (LATENT + 1))) for m, s in sizes.items()}
    back = {m: nn.Sequential(nn.Linear(LATENT + 1, math.prod(s)), nn.Unflatten(1, s)) for m, s in sizes.items()}
    model = MMVAEPlus(flat, back, {m: gaussian(1.0) for m in sizes}, LATENT, 1)
    x, length = torch.rand(4, 5, 2) + 0.1, torch.tensor([5, 2, 3, 4])
    batch = {"a": torch.zeros(4, 3), "picture": x, "length": length}
    end = torch.where(torch.arange(5)[:, None] < length[:, None, None], x, 0)
    for padded in (end, end.flip(1)):
        with pytest.raises(ValueError, match=r"MMVAEPlus: 'series' is padded to one length, .* leave their lengths"):
            model.loss({**batch, "series": padded})
    assert model.loss({**batch, "series": x})["loss"].isfinite()  # nothing is padded
    assert model.loss({**batch, "series": end, "length": torch.full((4,), 5)})["loss"].isfinite()


def test_one_modality_as_a_string_is_one_set():
    nets = {"image": nn.Linear(3, 4), "i": nn.Linear(2, 4)}, {"image": nn.Linear(2, 3), "i": nn.Linear(2, 2)}
    model = MoPoE(*nets, dict.fromkeys(nets[0], gaussian(1.0)), 2, sets="image")
    assert model.members.tolist() == [[True, False]]
    with pytest.raises(ValueError, match="no modality 'imag'"):
        MoPoE(*nets, dict.fromkeys(nets[0], gaussian(1.0)), 2, sets="imag")


@pytest.mark.parametrize("name", ["MVAE", "MMVAEPlus"])
def test_an_estimate_decodes_at_least_one_at_a_time(world, batch, name):
    with pytest.raises(ValueError, match="chunk must be a whole number ≥ 1, got 0"):
        model_of(name, world).log_likelihood(batch, 3, chunk=0)
    torch.manual_seed(1)
    one = make(MVAE, world)
    assert one.log_likelihood(batch, np.int64(3), chunk=np.int64(1)).shape == (4,)


def test_further_tensors_are_not_read(world, batch):
    model = make(MVAE, world)
    more = {"label": torch.zeros(4, 1).long(), "x": torch.full((7,), math.nan).double(), "a_label": torch.zeros(2)}
    results = []
    for given in (batch, {**batch, **more}):
        torch.manual_seed(1)
        results.append(model.loss(given)["loss"])
    assert torch.equal(*results)
    assert set(SIZES) == set(batch)
