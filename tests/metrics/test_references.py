"""BLEU and CIDEr-D by hand, and against slow implementations that follow their papers word by word."""

import math
import random

import numpy as np
import pytest

from mmtutor.metrics import bleu, cider

# ---- BLEU

CORPUS = (
    ["a a a red seven", "two red cats there"],
    [["a red seven at the left", "a a blue seven on top of it"], ["cats", "two red cats there now"]],
)


def test_bleu_by_hand():
    """Clipped: 'a' counts 2 of 3 times and 'a a' 1 of 2. Lengths: 5 words, closest 6; 4 words, closest 5."""
    p1 = (2 + 1 + 1 + 4) / (5 + 4)
    p2 = (1 + 1 + 1 + 3) / (4 + 3)  # a a, a red, red seven
    p3 = (1 + 2) / (3 + 2)  # a red seven
    p4 = (0 + 1) / (2 + 1)
    short = np.exp(1 - (6 + 5) / (5 + 4))
    expected = [short * np.prod(p) ** (1 / len(p)) for p in ([p1], [p1, p2], [p1, p2, p3], [p1, p2, p3, p4])]
    scores = bleu(*CORPUS)
    assert scores == pytest.approx(expected, rel=1e-6)
    assert all(type(score) is float for score in scores)


def test_bleu_is_of_the_corpus_not_the_mean_of_sentences():
    captions, references = CORPUS
    alone = [bleu([w], [r]) for w, r in zip(captions, references, strict=True)]
    assert alone[0][3] == 0  # no four words in a row are right
    assert alone[1] == pytest.approx([np.exp(1 - 5 / 4)] * 4, rel=1e-6)
    assert bleu(*CORPUS)[3] > 0.3
    assert abs(bleu(*CORPUS)[0] - np.mean([a[0] for a in alone])) > 1e-3


@pytest.mark.parametrize(
    ("captions", "references", "expected"),
    [
        ("a red seven there", ["a red seven there", "one"], [1] * 4),
        ("a red seven there is more", ["a red seven there"], [4 / 6, (4 / 6 * 3 / 5) ** 0.5]),  # long: no punishment
        ("a red", ["a red seven there"], [np.exp(-1), np.exp(-1), 0, 0]),
        ("blue", ["a red"], [0] * 4),
        ("", ["a red"], [0] * 4),
        ("  ", ["a red", ""], [0] * 4),
        ("Red  seven", ["red seven"], [0.5, 0]),
        ("the the the", ["the cat the", "the"], [2 / 3, 0]),
    ],
)
def test_bleu_of_one_sentence(captions, references, expected):
    assert bleu([captions], [references])[: len(expected)] == pytest.approx(expected, rel=1e-6)


def test_of_two_equally_close_references_the_shorter_says_how_long_a_sentence_should_be():
    references = ["a red seven there", "a red seven there is more"]  # 4 and 6 words
    captions = ["a red seven there is"]  # 5 words, all in the second
    for order in (references, references[::-1]):
        assert bleu(captions, [order]) == pytest.approx([1] * 4)
    longer = ["a", "a red seven there is more or"]  # 1 and 7 words: the second is closer
    assert bleu(captions, [longer])[0] == pytest.approx(np.exp(1 - 7 / 5))


def grams(text, n):
    words = text.split()
    return [tuple(words[k : k + n]) for k in range(len(words) - n + 1)]


def slow_bleu(captions, references, n):
    """Papineni and others, section 2: each n-gram of each caption is looked up in each reference."""
    p, r, c = [], 0, sum(len(caption.split()) for caption in captions)
    for m in range(1, n + 1):
        right, total = 0, 0
        for caption, texts in zip(captions, references, strict=True):
            own = grams(caption, m)
            total += len(own)
            for gram in set(own):
                right += min(own.count(gram), max(grams(text, m).count(gram) for text in texts))
        p.append(right / total if total else 0)
    for caption, texts in zip(captions, references, strict=True):
        lengths = sorted(len(text.split()) for text in texts)  # the shorter first
        r += min(lengths, key=lambda length: abs(length - len(caption.split())))
    if min(p) == 0:
        return 0
    return (1 if c > r else math.exp(1 - r / c)) * math.exp(sum(map(math.log, p)) / n)


def corpus(seed, shortest=0):
    """Captions and one to five references of each, of few words, so that many n-grams are shared."""
    rng = random.Random(seed)
    words = "a the red blue seven three left of is".split()[: rng.randint(2, 9)]
    n = rng.randint(2, 9)
    text = lambda least: " ".join(rng.choices(words, k=rng.randint(least, 9)))  # noqa: E731
    return [text(shortest) for _ in range(n)], [[text(1) for _ in range(rng.randint(1, 5))] for _ in range(n)]


def test_bleu_of_many_corpora_is_that_of_the_paper():
    scores = []
    for seed in range(200):
        scores.append(bleu(*corpus(seed)))
        assert scores[-1] == pytest.approx([slow_bleu(*corpus(seed), n) for n in (1, 2, 3, 4)], abs=1e-12)
    assert 0.2 < np.mean([score[3] > 0 for score in scores]) < 0.9


def test_bleu_and_cider_as_the_programs_of_others_compute_them():
    """nltk 3.10 gave these numbers for BLEU, pycocoevalcap 1.2 the same but for 10⁻¹⁰, and those for CIDEr-D."""
    captions = ["a blue the the a the", "the blue a the red a blue", "a a red blue the a"]
    references = [
        [
            "red",
            "blue red the red blue blue blue the",
            "blue a red red the red blue blue red",
            "red blue a the blue the blue",
        ],
        ["the", "the a red red red the the", "a a blue the red the the blue red", "red a a a a blue red"],
        ["the blue the blue red red red the blue", "blue red red the a blue red a red",
         "blue the a red blue the red blue", "red a a"],
    ]  # fmt: skip
    wanted = [0.7191070868408715, 0.6497506597788344, 0.4365488507819131, 0.29032299385227545]
    assert bleu(captions, references) == pytest.approx(wanted, abs=1e-12)
    wanted = [0.2797570519361988, 0.1396334507232458, 1.4999864519245898]
    assert cider(captions, references) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize(
    ("captions", "references"),
    [([], []), (["a"], []), (["a"], [["a"], ["b"]]), (["a", "b"], [["a"], []]), (["a"], [[]]), (["a"], ["a b"])],
)
def test_bleu_of_what_does_not_fit_is_refused(captions, references):
    for score in (bleu, cider):
        with pytest.raises(
            ValueError, match=rf"{score.__name__}: each of the .* captions needs a list of at least one"
        ):
            score(captions, references)


TOKENS = ["a", "red", "seven"]


@pytest.mark.parametrize(
    ("captions", "references", "says"),
    [
        (["a red seven"], ["a red seven"], r"one reference for each is written \[\[text\] for text in references\]"),
        (["a red", "b"], [["a red"], "b"], r"one reference for each is written"),
        ([TOKENS], [[TOKENS]], r"these are tokens, join those of a text with ' '\.join\(tokens\)"),
        (["a red seven"], [[TOKENS]], r"these are tokens"),
        ([TOKENS], [["a red seven"]], r"these are tokens"),
        ([["a red seven"]], ["a red seven"], "captions come first"),
        ([[TOKENS]], [TOKENS], r"captions come first, then the references \(in NLTK it is the other way round\)"),
        ("a red seven", ["a red seven"], "captions must be a list, too, got str"),
        (None, [["a"]], "captions must be a list, too, got NoneType"),
        ({1: "a red"}, {1: ["a red"]}, "this is a dict"),
        (["a", "b"], [["a"], ["b"], ["c"]], "got references for 3"),
        (["a", "b"], [["a"], []], r"caption 1 has 'b' and \[\]"),
        (["a", None], [["a"], ["b"]], r"caption 1 has None and \['b'\]"),
        (["a", "b"], [["a"], ["b", 3]], r"caption 1 has 'b' and \['b', 3\]"),
    ],
)
def test_what_is_wanted_instead_is_said(captions, references, says):
    for score in (bleu, cider):
        with pytest.raises(ValueError, match=rf"{score.__name__}: each of the .*; .*{says}"):
            score(captions, references)


def test_any_kind_of_list_will_do():
    captions, references = corpus(3)
    arrays = np.array(captions), [np.array(texts) for texts in references]
    assert bleu(*arrays) == bleu(tuple(captions), tuple(map(tuple, references))) == bleu(captions, references)
    assert (cider(*arrays) == cider(captions, references)).all()


# ---- CIDEr


def test_cider_by_hand():
    """Two images. Only n-grams that one image alone has weigh anything, log 2 each; 'a' weighs nothing."""
    captions, references = ["a red seven", "a blue one"], [["a red seven", "a seven"], ["a blue two there", "one"]]
    scores = cider(captions, references)
    # First reference: for one, two and three words the same; no four. Second: of {red, seven} it has {seven} and of
    # {a red, red seven} nothing, with one word less.
    first = (3 / 4, 1 / math.sqrt(2) / 4 * math.exp(-1 / 72))
    # {blue, one} and {blue, two, there}; {a blue, blue one} and {a blue, blue two, two there}; 3 and 4 words. Then
    # 'one' of two words, with two words less.
    second = ((1 / math.sqrt(6) + 1 / math.sqrt(6)) / 4 * math.exp(-1 / 72), 1 / math.sqrt(2) / 4 * math.exp(-4 / 72))
    assert scores.dtype == np.float64
    assert scores == pytest.approx([10 * np.mean(first), 10 * np.mean(second)])


def test_a_word_that_is_said_too_often_is_clipped():
    others = ["there is"], [["there is"]]
    once, often = (cider([text, *others[0]], [["red seven"], *others[1]])[0] for text in ("red seven", "red red"))
    assert once == pytest.approx(10 * 2 / 4)
    # Of one word: (2 log 2) for red, clipped to log 2, over the norms 2 log 2 and √2 log 2. Of two words: nothing.
    assert often == pytest.approx(10 / 4 * 1 / (2 * math.sqrt(2)))


def slow_cider(captions, references):
    """Vedantam and others, equations 1 to 4 and section 6 on CIDEr-D, with vectors over all n-grams."""
    N, total = len(captions), np.zeros(len(captions))
    for n in (1, 2, 3, 4):
        known = sorted({g for texts in [captions, *references] for text in texts for g in grams(text, n)})
        having = [sum(any(g in grams(text, n) for text in texts) for texts in references) for g in known]
        idf = np.log(N / np.maximum(having, 1))
        vector = lambda text: np.array([grams(text, n).count(g) for g in known], float) * idf  # noqa: B023, E731
        for k, (caption, texts) in enumerate(zip(captions, references, strict=True)):
            for text in texts:
                c, s = vector(caption), vector(text)
                norms = np.linalg.norm(c) * np.linalg.norm(s)
                delta = len(caption.split()) - len(text.split())
                cosine = np.minimum(c, s) @ s / norms if norms else 0
                total[k] += 10 * cosine * math.exp(-(delta**2) / (2 * 6**2)) / len(texts) / 4
    return total


def test_cider_of_many_corpora_is_that_of_the_paper():
    for seed in range(50):
        scores = cider(*corpus(seed))
        assert scores == pytest.approx(slow_cider(*corpus(seed)), abs=1e-12)
        assert (scores >= 0).all()
    assert cider(*corpus(5)).max() > 1


def test_the_order_of_images_and_of_references_does_not_matter():
    captions, references = corpus(8)
    assert cider(captions[::-1], references[::-1])[::-1] == pytest.approx(cider(captions, references))
    assert cider(captions, [texts[::-1] for texts in references]) == pytest.approx(cider(captions, references))


def test_cider_needs_two_images():
    with pytest.raises(ValueError, match=r"cider: needs at least two images.*, got 1"):
        cider(["a red seven"], [["a red seven"]])
