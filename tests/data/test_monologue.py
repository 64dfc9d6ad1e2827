"""Monologues: the information of the modalities is that of the enumeration, and nothing else reveals the bits."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import chi2_contingency, ks_2samp

from mmtutor.data import Monologues, information, monologues
from mmtutor.data import monologue as module
from mmtutor.data.monologue import SENTIMENT_WORDS, SIZES, STEPS, STRONG, TOPICS, additive_accuracy, word_vector

BITS = ("label", "irony_label", "words_label", "voice_label", "tone_label", "face_label")
SHOWN = {"language": ("words_label",), "acoustic": ("voice_label", "tone_label"), "visual": ("face_label",)}
SUBSETS = [subset for r in range(4) for subset in itertools.combinations(SIZES, r)]
CHANCES = [0.0, 0.1, 0.3, 0.5, 0.8, 1.0]


def quiet(split="train", n=50, seed=0, **settings):
    return monologues(split, n, seed, progress=False, **settings)


@pytest.fixture(scope="module")
def many():
    return quiet(n=20_000, seed=1)


def real(data):
    """Bool (N, 20): the steps that are not padding."""
    return torch.arange(STEPS) >= STEPS - data.tensors["length"][:, None]


def table(probability):
    """P(y, w, v, t, f), written out case by case."""
    joint = np.zeros((2,) * 5)
    for y, i, v, t, f in itertools.product((0, 1), repeat=5):
        p = 0.5 * (probability if i else 1 - probability)
        p *= (0.35 if v != y else 0.65) * (0.1 if t != i else 0.9) * (0.25 if f != y else 0.75)
        joint[y, y ^ i, v, t, f] += p
    return joint


# ---- what is in it


def test_shapes_and_types():
    data = quiet(n=5)
    assert isinstance(data, Monologues)
    assert data.modalities == tuple(SIZES) == ("language", "acoustic", "visual")
    kinds = {name: (tuple(value.shape), value.dtype) for name, value in data[:].items()}
    assert kinds == {
        **{name: ((5, 20, size), torch.float32) for name, size in SIZES.items()},
        **dict.fromkeys((*BITS, "length", "topic_label"), ((5,), torch.int64)),
        **dict.fromkeys(("score_label", "pitch_label", "pose_label"), ((5,), torch.float32)),
    }
    assert {name: (tuple(m.shape), m.dtype) for name, m in data.events.items()} == dict.fromkeys(
        ("language", "acoustic", "visual", "voice", "tone"), ((5, 20), torch.bool)
    )


def test_bits_scores_and_styles_are_in_range(many):
    t = many.tensors
    assert all(set(t[name].tolist()) == {0, 1} for name in BITS)
    assert torch.equal(t["words_label"], t["label"] ^ t["irony_label"])
    assert torch.equal(t["score_label"] > 0, t["label"] == 1)
    assert 0.5 <= t["score_label"].abs().min() < 0.51 < 2.99 < t["score_label"].abs().max() <= 3
    assert set(t["topic_label"].tolist()) == set(range(len(TOPICS)))
    assert -1 <= t["pitch_label"].min() < t["pitch_label"].max() <= 1
    assert 0.2 <= t["pose_label"].min() < t["pose_label"].max() <= 1.2
    assert all(torch.isfinite(t[name]).all() for name in SIZES)


def test_padding_is_on_the_left_and_exactly_zero(many):
    assert set(many.tensors["length"].tolist()) == set(range(8, 21))
    for name in SIZES:
        assert torch.equal((many.tensors[name] != 0).any(-1), real(many)), name


def test_sentences_agree_with_the_vectors(many):
    vocabulary = sorted({word for words in many.sentences for word in words})
    vectors = torch.from_numpy(np.stack([word_vector(word) for word in vocabulary]))
    gaps = torch.cdist(vectors, vectors).fill_diagonal_(math.inf)
    assert gaps.min() > 3  # far more than the noise
    for k in range(500):
        assert len(many.sentences[k]) == many.tensors["length"][k]
        seen = many.tensors["language"][k, real(many)[k]]
        assert [vocabulary[j] for j in torch.cdist(seen, vectors).argmin(1)] == many.sentences[k]
    assert abs(float(vectors.var()) - 1) < 0.1


def test_the_word_at_the_event_shows_the_words_bit_and_the_intensity(many):
    at = many.events["language"].int().argmax(1) - STEPS + many.tensors["length"]
    assert torch.equal(many.events["language"].sum(1), torch.ones(20_000, dtype=torch.int64))
    everything = [word for words in SENTIMENT_WORDS for word in words]
    assert len(everything) == len(set(everything)) == 48
    for k, words in enumerate(many.sentences):
        strong = many.tensors["score_label"][k].abs() >= STRONG
        assert words[at[k]] in SENTIMENT_WORDS[2 * many.tensors["words_label"][k] + strong]
        assert sum(word in everything for word in words) == 1


def test_events_lie_in_the_real_steps(many):
    events = many.events
    for mask in events.values():
        assert not (mask & ~real(many)).any()
    for name in ("voice", "tone", "visual"):
        assert set(events[name].sum(1).tolist()) == {2, 3}
        jumps = events[name].int().diff(dim=1).abs().sum(1) + events[name][:, 0] + events[name][:, -1]
        assert (jumps == 2).all()  # one run without a gap
    assert not (events["voice"] & events["tone"]).any()
    assert torch.equal(events["acoustic"], events["voice"] | events["tone"])


def test_examples_depend_on_split_seed_and_index_alone():
    few, more = quiet(n=3, seed=4), quiet(n=6, seed=4)
    assert all(torch.equal(value, more[:3][name]) for name, value in few[:].items())
    assert few.sentences == more.sentences[:3]
    assert all(torch.equal(mask, more.events[name][:3]) for name, mask in few.events.items())
    others = [quiet("valid", 3, 4), quiet("test", 3, 4), quiet("train", 3, 5)]
    for a, b in itertools.combinations([few, *others], 2):
        assert a.sentences != b.sentences
        assert not torch.equal(a.tensors["visual"], b.tensors["visual"])


# ---- nothing else gives the bits away


@pytest.mark.parametrize(
    ("field", "masks"),
    [
        ("words_label", {"language": "language"}),
        ("voice_label", {"acoustic": "voice"}),
        ("tone_label", {"acoustic": "tone"}),
        ("face_label", {"visual": "visual"}),
        ("label", {}),
        ("irony_label", {}),
        ("intensity", {"language": "language", "acoustic": None, "visual": None}),  # None: all real steps
    ],
)
def test_a_bit_changes_only_its_own_event(monkeypatch, field, masks):
    before = quiet(n=200)
    drawn = module._bits

    def other(rng, irony):
        bits = drawn(rng, irony)
        value = 3.5 - bits.intensity if field == "intensity" else 1 - getattr(bits, field)
        return bits._replace(**{field: value})

    monkeypatch.setattr(module, "_bits", other)
    after = quiet(n=200)
    changed_name = "score_label" if field == "intensity" else field
    assert not torch.equal(before.tensors[changed_name], after.tensors[changed_name])
    assert all(torch.equal(mask, after.events[name]) for name, mask in before.events.items())
    for modality in SIZES:
        changed = (before.tensors[modality] != after.tensors[modality]).any(-1)
        expected = torch.zeros_like(changed)
        if modality in masks:
            expected = real(before) if masks[modality] is None else before.events[masks[modality]]
        assert not (changed & ~expected).any()
        if field == "intensity" and modality == "language":  # a word changes where it crosses from mild to strong
            assert changed.any(1).float().mean() > 0.9
        else:
            assert torch.equal(changed, expected)


@pytest.mark.parametrize("modality", SIZES)
def test_the_size_of_a_step_does_not_reveal_the_events(many, modality):
    size, event, there = many.tensors[modality].norm(dim=2), many.events[modality], real(many)
    chance = (event.sum(1) / there.sum(1)).mean()
    for place in (size.masked_fill(~there, -1).argmax(1), size.masked_fill(~there, 1e9).argmin(1)):
        assert abs(event[torch.arange(len(many)), place].double().mean() - chance) < 0.03


@pytest.mark.parametrize("bit", BITS)
def test_length_intensity_and_style_do_not_depend_on_a_bit(many, bit):
    t = {name: value.numpy() for name, value in many.tensors.items()}
    one = t[bit] == 1
    for name in ("length", "topic_label"):
        counts = [np.bincount(t[name][rows])[t[name].min() :] for rows in (one, ~one)]
        assert chi2_contingency(counts).pvalue > 1e-3, name
    for name in ("score_label", "pitch_label", "pose_label"):
        values = np.abs(t[name]) if name == "score_label" else t[name]
        assert ks_2samp(values[one], values[~one]).pvalue > 1e-3, name


# ---- what the modalities know


@pytest.mark.parametrize(
    ("modality", "event", "bit"), [("acoustic", "voice", "voice_label"), ("acoustic", "tone", "tone_label")]
)
def test_the_voice_can_be_read(many, modality, event, bit):
    channel = {"voice": module._MELODY, "tone": module._CREAK}[event]
    heard = (many.tensors[modality][..., channel] * many.events[event]).sum(1)
    assert ((heard > 0) == (many.tensors[bit] == 1)).double().mean() > 0.999


def test_the_face_can_be_read(many):
    face, mask = many.tensors["visual"].double(), many.events["visual"]
    smile = face[..., module._SMILE].sum(-1) - face[..., module._FROWN].sum(-1)
    rest = real(many) & ~mask
    moved = (smile * mask).sum(1) / mask.sum(1) - (smile * rest).sum(1) / rest.sum(1)
    assert ((moved > 0) == (many.tensors["face_label"] == 1)).double().mean() > 0.999


def test_the_words_can_be_read(many):
    vectors = torch.from_numpy(np.stack([word_vector(w) for words in SENTIMENT_WORDS for w in words]))
    nearest = torch.cdist(many.tensors["language"][many.events["language"]], vectors).argmin(1)
    assert ((nearest >= 24) == (many.tensors["words_label"] == 1)).double().mean() > 0.999


def test_intensity_is_seen_in_voice_and_face(many):
    intensity = many.tensors["score_label"].abs()
    creak = (many.tensors["acoustic"][..., module._CREAK].abs() * many.events["tone"]).amax(1)
    face = (many.tensors["visual"][..., :4] * many.events["visual"][..., None]).amax((1, 2))
    for seen in (creak, face):
        assert torch.corrcoef(torch.stack([seen, intensity]))[0, 1] > 0.7


@pytest.mark.parametrize(
    ("modalities", "bits", "accuracy"),
    [
        ((), 0, 0.5),
        (("language",), 0.119, 0.7),
        (("acoustic",), 0.066, 0.65),
        (("visual",), 0.189, 0.75),
        (("language", "acoustic"), 0.597, 0.9),
        (["visual", "acoustic", "language", "visual"], 0.659, 0.9105),
    ],
)
def test_information_by_the_numbers(modalities, bits, accuracy):
    known = information(modalities)
    assert known.bits == pytest.approx(bits, abs=5e-4)
    assert known.accuracy == pytest.approx(accuracy, abs=1e-12)


@pytest.mark.parametrize("modalities", SUBSETS)
@pytest.mark.parametrize("irony", CHANCES)
def test_information_is_that_of_the_written_out_table(modalities, irony):
    axes = {"language": (1,), "acoustic": (2, 3), "visual": (4,)}
    joint = table(irony).sum(tuple(a for name in SIZES if name not in modalities for a in axes[name])).reshape(2, -1)
    given = joint.sum(0)
    bits = 1 + sum(p * math.log2(p / q) for row in joint for p, q in zip(row, given, strict=True) if p > 0)
    assert information(modalities, irony=irony).bits == pytest.approx(bits, abs=1e-12)
    assert information(modalities, irony=irony).accuracy == pytest.approx(joint.max(0).sum(), abs=1e-12)


def _plug_in(data, modalities):
    code = torch.zeros_like(data.tensors["label"])
    for name in (bit for modality in modalities for bit in SHOWN[modality]):
        code = 2 * code + data.tensors[name]
    counts = torch.bincount(2 * code + data.tensors["label"], minlength=32).reshape(-1, 2).double()
    p = counts / counts.sum()
    independent = p.sum(1, keepdim=True) * p.sum(0)
    return (p * (p.clamp_min(1e-300) / independent.clamp_min(1e-300)).log2()).sum().item(), p.amax(1).sum().item()


@pytest.mark.parametrize("modalities", SUBSETS)
def test_information_is_that_of_generated_bits(many, modalities):
    bits, accuracy = _plug_in(many, modalities)  # standard errors at 20,000: below 0.006 bit and 0.0036
    assert bits == pytest.approx(information(modalities).bits, abs=0.02)
    assert accuracy == pytest.approx(information(modalities).accuracy, abs=0.012)


def test_dominant_language_has_by_far_the_most_information():
    known = {name: information([name], dominant="language").bits for name in SIZES}
    assert known["language"] > 2 * known["visual"] > 2 * known["acoustic"]
    assert information(dominant="language") == information(irony=0.1)
    data, twin = quiet(n=4000, dominant="language"), quiet(n=4000, irony=0.1)
    assert all(torch.equal(value, twin.tensors[name]) for name, value in data.tensors.items())
    for modalities in SUBSETS:
        bits, accuracy = _plug_in(data, modalities)
        assert bits == pytest.approx(information(modalities, dominant="language").bits, abs=0.05)
        assert accuracy == pytest.approx(information(modalities, dominant="language").accuracy, abs=0.025)


@pytest.mark.parametrize("irony", [0, 1])
def test_irony_never_and_always(irony):
    data = quiet(irony=irony)
    assert (data.tensors["irony_label"] == irony).all()
    assert information(["language"], irony=irony) == (1, 1)


# ---- additive fusion


@pytest.mark.parametrize("irony", CHANCES)
def test_the_additive_bound_is_that_of_all_whole_weights(irony):
    joint = table(irony).reshape(2, 2, 4, 2)  # y, w, (v, t), f
    levels = np.array(list(itertools.product(range(-6, 7), repeat=4))) + 0.5  # g_a of the four readings
    best = 0
    for g_l, g_f in itertools.product(range(-3, 4), repeat=2):
        above = levels[:, None, :, None] + np.array([0, g_l])[:, None, None] + np.array([0, g_f]) > 0
        best = max(best, (above.reshape(-1, 16) @ (joint[1] - joint[0]).ravel()).max() + joint[0].sum())
    assert additive_accuracy(irony=irony) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("irony", CHANCES)
def test_the_additive_bound_lies_between_the_best_modality_and_all_together(irony):
    for modalities in SUBSETS:
        bound = additive_accuracy(modalities, irony=irony)
        assert bound <= information(modalities, irony=irony).accuracy + 1e-12
        singles = [information([name], irony=irony).accuracy for name in modalities] or [0.5]
        assert bound >= max(singles) - 1e-12
        if len(modalities) < 2:
            assert bound == pytest.approx(singles[0], abs=1e-12)


def test_additive_fusion_as_it_is_trained_reaches_less_than_the_bound():
    joint = table(0.3).reshape(2, 2, 4, 2)
    shown = np.concatenate([np.eye(n)[j.ravel()] for n, j in zip((2, 4, 2), np.indices((2, 4, 2)), strict=True)], 1)
    p = joint.reshape(2, -1)
    trained = (
        shown
        @ minimize(
            lambda g: (p[1] * np.logaddexp(0, -shown @ g) + p[0] * np.logaddexp(0, shown @ g)).sum(), np.zeros(8)
        ).x
    )  # the g that minimise the cross-entropy
    single = [np.log(m[1] / m[0]) for m in (joint.sum((2, 3)), joint.sum((1, 3)), joint.sum((1, 2)))]
    summed = (single[0][:, None, None] + single[1][:, None] + single[2]).ravel()
    for logit in (trained, summed):
        assert np.where(logit > 0, p[1], p[0]).sum() == pytest.approx(0.785, abs=1e-12)
    assert additive_accuracy() == pytest.approx(0.851, abs=1e-12)


# ---- bad input


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"split": "training"}, ValueError, "split must be one of train, valid, test"),
        ({"n": 0}, ValueError, "n must be a whole number from 1 to 1000000000, got 0"),
        ({"n": 2.0}, ValueError, "n must be a whole number"),
        ({"n": True}, ValueError, "n must be a whole number"),
        ({"seed": -1}, ValueError, "seed must be a whole number of at least 0"),
        ({"seed": None}, ValueError, "seed must be a whole number"),
    ],
)
def test_bad_input_is_refused(monkeypatch, settings, error, message):
    monkeypatch.setattr(module, "_bits", None)  # nothing is made
    with pytest.raises(error, match=message):
        quiet(**settings)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        *(({"irony": value}, ValueError, r"irony must be in \[0, 1\]") for value in (-0.1, 1.1, math.nan, math.inf)),
        ({"irony": "often"}, TypeError, "irony must be a number"),
        ({"irony": True}, TypeError, "irony must be a number"),
        ({"dominant": "visual"}, ValueError, "dominant must be 'language' or None, got 'visual'"),
        ({"dominant": "language", "irony": 0.3}, ValueError, "irony is 0.1 where dominant is 'language'"),
    ],
)
@pytest.mark.parametrize("function", [quiet, information, additive_accuracy])
def test_bad_irony_is_refused(monkeypatch, function, settings, error, message):
    monkeypatch.setattr(module, "_bits", None)
    with pytest.raises(error, match=message):
        function(**settings)


@pytest.mark.parametrize("function", [information, additive_accuracy])
def test_unknown_modalities_are_refused(function):
    with pytest.raises(ValueError, match=r"modalities must be of .*, got 'langauge'; did you mean 'la"):
        function(["acoustic", "langauge"])
    with pytest.raises(ValueError, match=r"got 3$"):
        function([3])
    for modalities in ("language", None, 3):
        with pytest.raises(TypeError, match="modalities must be a list of names"):
            function(modalities)
