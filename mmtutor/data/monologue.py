"""Monologues: people give an opinion in words, voice and face, and some of them are ironic.

Three modalities show hidden bits (⊕ is exclusive or):

    sentiment y ~ Bernoulli(1/2), the label        irony i ~ Bernoulli(0.3)
    language: words w = y ⊕ i
    acoustic: voice v, which is y or (with probability 0.35) not, and tone t, which is i or (0.1) not
    visual:   face f, which is y or (0.25) not

Ironic words mislead; only words and tone together reveal the sentiment. Everything else (speaker, topic, intensity,
time) is independent of the bits. The bits can be read from the modalities almost without error, so their mutual
information with the label is a sum over 32 cases.

Voice and face always move: at steps that carry no bit, breath and gaze move as strongly, so that the size of an input
does not tell whether there is an event.
"""

from __future__ import annotations

import difflib
import zlib
from collections.abc import Sequence
from functools import cache
from numbers import Real
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .dataset import MultimodalDataset
from .items import MOST_EXAMPLES, check_split, example_rng, whole

STEPS = 20  # one per word; shorter monologues stand at the end
SIZES = {"language": 32, "acoustic": 12, "visual": 16}  # features per step
IRONY, RARE_IRONY = 0.3, 0.1  # probability of irony; rare if language is dominant
VOICE_FLIP, TONE_FLIP, FACE_FLIP = 0.35, 0.1, 0.25
STRONG = 1.75  # from this intensity on words are strong
SENTIMENT_WORDS = [  # negative mild, negative strong, positive mild, positive strong: at 2 w + strong
    "dull weak bland clumsy flat forgettable shallow messy poor boring bad mediocre".split(),
    "awful terrible horrible dreadful atrocious painful hopeless pathetic disgusting ghastly grim vile".split(),
    "nice good pleasant decent fine enjoyable solid likeable charming fun sweet neat".split(),
    "wonderful brilliant fantastic amazing superb perfect excellent stunning terrific great lovely ideal".split(),
]
TOPICS = {  # with subjects, of three words each
    "film": ["the second half", "the main actor", "the opening scene", "the final battle"],
    "phone": ["the new camera", "the main screen", "the battery life", "the whole design"],
    "restaurant": ["the main course", "the fish soup", "the lunch menu", "the evening service"],
    "book": ["the last chapter", "the main character", "the first page", "the whole story"],
    "hotel": ["the double room", "the front desk", "the rooftop bar", "the morning buffet"],
}
_VERBS = "was,seemed,felt,was truly,was just,felt simply".split(",")
_OPENERS = "well,so,okay,now,anyway,you know,i mean,all in all,to be honest,if you ask me".split(",")
_HEDGES = "i thought,i think,i felt that,i would say,i have to say,i told my sister".split(",")
_TAILS = "from start to finish,when we were there,and i went there twice,on a rainy day,at the end,as i said".split(",")
_TAILS += "after all that waiting,with my brother,from my side,this time,last week,once more,for me,in there".split(",")
_FILLERS = "honestly really basically actually again".split()  # a speaker has a favourite

# The channels that carry a bit; all others show style only.
_PITCH, _MELODY, _CREAK, _LOUDNESS, _BREATH = 0, 1, 2, 3, 4  # acoustic; 5 to 11 are timbre
_SMILE, _FROWN, _GAZE = slice(0, 2), slice(2, 4), slice(4, 6)  # visual: mouth and cheeks, brow and chin, eyes
_POSE, _BRIGHTNESS = slice(12, 15), 15
_NOISE = {"language": 0.05, "acoustic": 0.1, "visual": 0.1}  # standard deviations


class Monologues(MultimodalDataset):
    """Monologues with their sentences and with the steps at which each modality shows its bits.

    Attributes:
        sentences: the words of each example, 8 to 20.
        events: ``"language"``, ``"acoustic"``, ``"visual"``, and the two parts of acoustic, ``"voice"`` and ``"tone"``:
            bool (N, 20), true at the steps that show the bits of that modality.
    """

    def __init__(self, tensors: dict[str, Tensor], sentences: list[list[str]], events: dict[str, Tensor]) -> None:
        super().__init__(tensors)
        self.sentences, self.events = sentences, events


class Information(NamedTuple):
    """Mutual information of modalities and label in bits, and the best accuracy that any classifier can reach."""

    bits: float
    accuracy: float


class _Bits(NamedTuple):
    label: int
    irony_label: int
    words_label: int
    voice_label: int
    tone_label: int
    face_label: int
    intensity: float


def monologues(
    split: str, n: int, seed: int = 0, *, irony: float | None = None, dominant: str | None = None, progress: bool = True
) -> Monologues:
    """Short synthetic reviews as three aligned sequences, one step per word, left-padded with zeros as CMU-MOSI is.

    Monologue k depends on ``seed``, ``split``, k and the probability of irony alone, not on ``n``.

    Args:
        split: ``"train"``, ``"valid"`` or ``"test"``: three independent draws.
        n: number of monologues, at least 1.
        seed: of everything drawn at random, at least 0.
        irony: the probability that a monologue is ironic, in [0, 1]; None: 0.3.
        dominant: ``"language"`` makes irony rare (0.1), so that language has by far the most information about the
            label, as in CMU-MOSI.
        progress: show a progress bar if generation takes longer than two seconds.

    Returns:
        The modalities, float32 in arbitrary units: ``"language"`` (n, 20, 32), each word's `word_vector` and a little
        noise; ``"acoustic"`` (n, 20, 12); ``"visual"`` (n, 20, 16). ``"length"``, the number of real steps, 8 to 20,
        which stand at the end. The bits, 0 or 1: ``"label"``, the sentiment, ``"irony_label"``, ``"words_label"``,
        ``"voice_label"``, ``"tone_label"`` and ``"face_label"``. ``"score_label"``, float32: its sign is the sentiment,
        its size the intensity, uniform in [0.5, 3]. Style: ``"topic_label"``, an index of ``TOPICS``, and, float32, the
        voice's baseline ``"pitch_label"`` in [-1, 1] and the swing of the head ``"pose_label"`` in [0.2, 1.2]. All but
        the modalities are of shape (n,), and int64 where not said otherwise.

    Raises:
        ValueError: an argument out of range, an unknown name, or both irony and dominant.
        TypeError: an argument of the wrong kind.

    Examples:
        >>> data = monologues("train", 3)
        >>> {name: tuple(data.tensors[name].shape) for name in data.modalities}
        {'language': (3, 20, 32), 'acoustic': (3, 20, 12), 'visual': (3, 20, 16)}
        >>> " ".join(data.sentences[1]), data[1]["label"].item()
        ('now i have to say the main actor was shallow actually', 0)
    """
    from mmtutor.data.progress import tqdm

    check_split(split)
    n, seed = whole("monologues", "n", n, 1, MOST_EXAMPLES), whole("monologues", "seed", seed, 0)
    probability = _probability("monologues", irony, dominant)

    series = {name: np.zeros((n, STEPS, size), np.float32) for name, size in SIZES.items()}
    events = {name: np.zeros((n, STEPS), bool) for name in ("language", "voice", "tone", "visual")}
    sentences, bits, styles = [], [], []
    for k in tqdm(range(n), "making monologues", leave=False, delay=2, disable=not progress):
        bits.append(_bits(example_rng(seed, split, k, "bits"), probability))
        rng = example_rng(seed, split, k, "surface")  # never sees the bits, so the surface cannot depend on them
        topic = int(rng.integers(len(TOPICS)))
        choices = SENTIMENT_WORDS[2 * bits[k].words_label + (bits[k].intensity >= STRONG)]
        words, at = _sentence(rng, list(TOPICS.values())[topic], choices)
        length, real = len(words), slice(STEPS - len(words), None)
        voice, tone, face = _times(rng, length)
        for name, time in (("language", at), ("voice", voice), ("tone", tone), ("visual", face)):
            events[name][k, real][time] = True
        series["language"][k, real] = [word_vector(word) for word in words]
        series["acoustic"][k, real], pitch = _acoustic(rng, length, bits[k], voice, tone)
        series["visual"][k, real], pose = _visual(rng, length, bits[k], face)
        for name, size in SIZES.items():
            series[name][k, real] += _NOISE[name] * rng.standard_normal((length, size), np.float32)
        sentences.append(words)
        styles.append((topic, pitch, pose))

    tensors = {name: torch.from_numpy(value) for name, value in series.items()}
    tensors["length"] = torch.tensor([len(words) for words in sentences])
    names = (*_Bits._fields, "topic_label", "pitch_label", "pose_label")
    for name, column in zip(names, [*zip(*bits, strict=True), *zip(*styles, strict=True)], strict=True):
        real_valued = name in ("intensity", "pitch_label", "pose_label")
        tensors[name] = torch.tensor(column, dtype=torch.float32 if real_valued else torch.int64)
    tensors["score_label"] = (2 * tensors["label"] - 1) * tensors.pop("intensity")
    events["acoustic"] = events["voice"] | events["tone"]
    return Monologues(tensors, sentences, {name: torch.from_numpy(mask) for name, mask in events.items()})


@cache
def word_vector(word: str) -> NDArray[np.float32]:
    """The vector of a word, float32 (32,), fixed and read-only: a stand-in for GloVe.

    It is random, about standard normal. Positive words lie along a common direction and negative words against it,
    because words of similar use are near each other in GloVe too.

    Examples:
        >>> bool((word_vector("wonderful") == word_vector("wonderful")).all()), word_vector("awful").shape
        (True, (32,))
    """
    vector = _random_vector(word)
    for group, words in enumerate(SENTIMENT_WORDS):
        if word in words:
            vector = 0.8 * vector + (0.6 if group > 1 else -0.6) * _random_vector("sentiment")
    vector.flags.writeable = False
    return vector


def _random_vector(name: str) -> NDArray[np.float32]:
    return np.random.default_rng(zlib.crc32(name.encode())).standard_normal(SIZES["language"], np.float32)


def information(
    modalities: Sequence[str] = tuple(SIZES), *, irony: float | None = None, dominant: str | None = None
) -> Information:
    """The exact information about the label in the bits of these modalities.

    With x all bits that the modalities show: I(y; x) = Σ p(y, x) log₂ [p(y, x) / (p(y) p(x))], and the best accuracy is
    Σₓ max_y p(y, x).

    Args:
        modalities: any of ``"language"``, ``"acoustic"`` and ``"visual"``.
        irony: as for `monologues`.
        dominant: as for `monologues`.

    Raises:
        ValueError: an unknown modality, or irony or dominant out of range.
        TypeError: an argument of the wrong kind.

    Examples:
        >>> for modalities in (["language"], ["acoustic"], ["language", "acoustic"]):
        ...     print("{:.3f} bit, accuracy {:.3f}".format(*information(modalities)))
        0.119 bit, accuracy 0.700
        0.066 bit, accuracy 0.650
        0.597 bit, accuracy 0.900
    """
    joint = _joint("information", modalities, irony, dominant).reshape(2, -1)
    ratio = joint / np.maximum(joint.sum(1, keepdims=True) * joint.sum(0), 1e-300)
    bits = (joint * np.log2(np.where(joint > 0, ratio, 1))).sum()
    return Information(max(0.0, float(bits)), float(joint.max(0).sum()))


def additive_accuracy(
    modalities: Sequence[str] = tuple(SIZES), *, irony: float | None = None, dominant: str | None = None
) -> float:
    """The best accuracy of additive late fusion: positive where g_l(w) + g_a(v, t) + g_f(f) > 0, for any functions g.

    Exact by enumeration: of g_l and g_f only the order matters in which they put the four pairs (w, f), eight orders in
    all; g_a cuts this order once for each acoustic reading, positive above the cut, and the best cut is taken.

    Acoustic may overrule the words if the tone is ironic, so 0.851 is possible but not usual: the sum of the logits of
    each modality alone reaches 0.785, and so does joint training of the three g with cross-entropy.

    Arguments and errors are those of `information`.

    Examples:
        >>> f"{additive_accuracy():.4f} of {information().accuracy:.4f}"
        '0.8510 of 0.9105'
    """
    joint = _joint("additive_accuracy", modalities, irony, dominant).transpose(0, 1, 3, 2)  # y, w, f, (v, t)
    _, words, faces, voices = joint.shape
    best = 0.0
    for a, c in ((2, 1), (2, -1), (-2, 1), (-2, -1), (1, 2), (1, -2), (-1, 2), (-1, -2)):
        order = np.argsort(np.add.outer(a * np.arange(words), c * np.arange(faces)).ravel())
        ranked = joint.reshape(2, -1, voices)[:, order]
        below = np.concatenate([np.zeros((2, 1, voices)), ranked.cumsum(1)], 1)  # of every cut
        best = max(best, float((below[0] + below[1, -1] - below[1]).max(0).sum()))
    return best


def _joint(caller: str, modalities: Sequence[str], irony: float | None, dominant: str | None) -> NDArray[np.float64]:
    """P(y, bits), of shape (2, 2, 4, 2): y, w, 2 v + t, f; the axis of a modality that is not asked for is 1 long."""
    if isinstance(modalities, str) or not isinstance(modalities, Sequence):
        raise TypeError(f"{caller}: modalities must be a list of names, got {modalities!r}")
    for name in modalities:
        if name not in SIZES:
            near = difflib.get_close_matches(str(name), SIZES, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{caller}: modalities must be of {', '.join(SIZES)}, got {name!r}{hint}")
    y, i, v, t, f = np.indices((2,) * 5)
    p = 0.5 * np.ones((2,) * 5)
    ironic = _probability(caller, irony, dominant)
    for bit, chance in ((i, ironic), (v ^ y, VOICE_FLIP), (t ^ i, TONE_FLIP), (f ^ y, FACE_FLIP)):
        p *= np.where(bit, chance, 1 - chance)
    joint = np.zeros((2, 2, 4, 2))
    np.add.at(joint, (y, y ^ i, 2 * v + t, f), p)
    for axis, name in enumerate(SIZES, 1):
        joint = joint if name in modalities else joint.sum(axis, keepdims=True)
    return joint


def _probability(caller: str, irony: float | None, dominant: str | None) -> float:
    """The probability of irony that the two arguments mean."""
    if dominant not in (None, "language"):
        raise ValueError(f"{caller}: dominant must be 'language' or None, got {dominant!r}")
    if dominant and irony is not None:
        raise ValueError(f"{caller}: irony is {RARE_IRONY} where dominant is 'language'; give one of the two")
    if irony is None:
        return RARE_IRONY if dominant else IRONY
    if not isinstance(irony, Real) or isinstance(irony, bool):
        raise TypeError(f"{caller}: irony must be a number, got {irony!r}")
    if not 0 <= irony <= 1:
        raise ValueError(f"{caller}: irony must be in [0, 1], got {irony}")
    return float(irony)


def _bits(rng: np.random.Generator, irony: float) -> _Bits:
    label, ironic, voice, tone, face = map(int, rng.random(5) < (0.5, irony, VOICE_FLIP, TONE_FLIP, FACE_FLIP))
    return _Bits(label, ironic, label ^ ironic, label ^ voice, ironic ^ tone, label ^ face, rng.uniform(0.5, 3))


def _sentence(rng: np.random.Generator, subjects: Sequence[str], choices: Sequence[str]) -> tuple[list[str], int]:
    """8 to 20 words, and the index of the one among them that is drawn from ``choices``."""

    def draw(pool: Sequence[str]) -> list[str]:
        return pool[int(rng.integers(len(pool)))].split()

    def fill(pool: Sequence[str], count: int) -> list[str]:  # different chunks of the pool, and fillers for the rest
        words: list[str] = []
        for chunk in rng.permutation(len(pool)):
            if len(words) + pool[chunk].count(" ") < count:
                words += pool[chunk].split()
        return words + [_FILLERS[(favourite + j) % len(_FILLERS)] for j in range(count - len(words))]

    favourite = int(rng.integers(len(_FILLERS)))
    core, hedge = draw(subjects) + draw(_VERBS), draw(_HEDGES)
    spare = int(rng.integers(8, STEPS + 1)) - len(core) - 1
    if rng.random() < 0.5 and len(hedge) <= spare:
        core, spare = hedge + core, spare - len(hedge)
    before = int(rng.integers(min(4, spare) + 1))
    start = fill(_OPENERS, before) + core
    return start + draw(choices) + fill(_TAILS, spare - before), len(start)


def _times(rng: np.random.Generator, length: int) -> tuple[slice, slice, slice]:
    """The steps of voice and tone, one after the other in any order, and of the face: two or three steps each."""
    first, second, third = map(int, rng.integers(2, 4, 3))
    early, late = sorted(map(int, rng.integers(length - first - second + 1, size=2)))
    events = [slice(early, early + first), slice(late + first, late + first + second)]
    voice, tone = events if rng.random() < 0.5 else events[::-1]
    start = int(rng.integers(length - third + 1))
    return voice, tone, slice(start, start + third)


def _acoustic(
    rng: np.random.Generator, length: int, bits: _Bits, voice: slice, tone: slice
) -> tuple[NDArray[np.float64], float]:
    """The voice (length, 12): its melody rises (v = 1) or falls, it creaks (t = 1) or clears; and its baseline."""
    baseline, loudness, tempo, phase = rng.uniform((-1, -1, 0.5, 0), (1, 1, 2, 2 * np.pi))
    x = np.tile(rng.normal(0, 0.3, SIZES["acoustic"]), (length, 1))  # timbre
    x[:, [_PITCH, _MELODY, _CREAK]] = baseline, 0, 0
    x[:, _LOUDNESS] = loudness + 0.3 * np.sin(tempo * np.arange(length) + phase)
    size = 1 + 0.5 * bits.intensity
    x[:, _BREATH] = size * rng.choice([-1, 1])
    x[voice, _BREATH] = x[tone, _BREATH] = 0
    x[voice, _MELODY] = (2 * bits.voice_label - 1) * size
    x[tone, _CREAK] = (2 * bits.tone_label - 1) * size
    return x, baseline


def _visual(rng: np.random.Generator, length: int, bits: _Bits, face: slice) -> tuple[NDArray[np.float64], float]:
    """The face (length, 16): the head swings, and the face smiles (f = 1) or frowns; and how far it swings."""
    swing, rate, phase, brightness = rng.uniform((0.2, 0.4, 0, -1), (1.2, 1.2, 2 * np.pi, 1))
    x = np.tile(rng.normal(0, 0.3, SIZES["visual"]), (length, 1))  # the face at rest
    x[:, _POSE] = swing * np.sin(np.outer(rate * np.arange(length), (1, 0.7, 0.4)) + phase)
    x[:, _BRIGHTNESS] = brightness
    size = 1 + 0.5 * bits.intensity
    x[:, _SMILE] = x[:, _FROWN] = 0
    x[:, _GAZE] = size * rng.choice([-1, 1], 2)
    x[face, _GAZE] = 0
    x[face, _SMILE if bits.face_label else _FROWN] = size
    return x, swing
