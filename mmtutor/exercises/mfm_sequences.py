"""Exercises of chapter 9: MFN and MFM on sequences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import combinations, permutations, product

import torch
from torch import Tensor

from mmtutor.exercises.answers import Exercise, Mistake, uniform

# ---- 9.1: the best classifier of language and voice


def best_accuracy(irony: float, voice: float, tone: float, melody: bool = True) -> float:
    """Σₓ max_y p(y, x), with x = (words, voice, tone); without ``melody``, x = (words, tone)."""
    p: dict[tuple[int, ...], list[float]] = {}
    for y, i, v, t in product((0, 1), repeat=4):
        chances = ((i, irony), (v ^ y, voice), (t ^ i, tone))
        x = (y ^ i, v, t) if melody else (y ^ i, t)
        p.setdefault(x, [0.0, 0.0])[y] += 0.5 * math.prod(chance if bit else 1 - chance for bit, chance in chances)
    return sum(map(max, p.values()))


BEST = Exercise(
    right=best_accuracy,
    why="The creak says how far to trust the words; the melody decides only where it is more reliable than they are.",
    hints=(
        "For each x = (w, v, t): which y is more likely? How often is that right?",
        "Σₓ max over y of p(y, x), and p(y, x) is a sum over ironic or not.",
    ),
    wrong={
        Mistake(
            "the words are trusted, and the voice is not heard",
            ("What does a creak tell about the words?", "For each (w, v, t) the best guess is the more likely y."),
        ): lambda irony, voice, tone: 1 - irony,
        Mistake(
            "the scores of both modalities are added up: then the more reliable one always decides",
            (
                "Alone, the voice tells y by its melody only. Where does the creak come in?",
                "Take words, melody and creak as one x: for each of its eight values, which y is more likely?",
            ),
        ): lambda irony, voice, tone: max(irony, 1 - irony, voice, 1 - voice),
        Mistake(
            "the creak is always believed",
            (
                "Let irony be very rare. Is a creak then more often irony, or an error?",
                "Compare p(y = 0, w, v, t) with p(y = 1, w, v, t), whatever the creak says.",
            ),
        ): lambda irony, voice, tone: 1 - tone,
        Mistake(
            "only irony without a creak counts as an error; a creak without irony misleads, too",
            ("A sincere speaker creaks by chance. What would you guess?", "Sum over both values of i."),
        ): lambda irony, voice, tone: 1 - irony * tone,
        Mistake(
            "the melody of the voice is left out",
            (
                "Can the melody be more reliable than the words? Try voice=0.05.",
                "There are eight values of (w, v, t), not four of (w, t).",
            ),
        ): lambda irony, voice, tone: best_accuracy(irony, voice, tone, melody=False),
        Mistake(
            "it is twice as large: p(y) is missing",
            ("An accuracy is at most 1.", "p(y, x) = p(y) p(x | y), and p(y) = 1/2."),
        ): lambda irony, voice, tone: 2 * best_accuracy(irony, voice, tone),
    },
    inputs=[(0.3, 0.35, 0.1), (0.3, 0.2, 0.3), (0.7, 0.25, 0.2), (0.1, 0.4, 0.3), (0.15, 0.3, 0.4), (0.4, 0.05, 0.2)],
)

# ---- 9.2: Shapley values from the information of each set of modalities

Bits = Mapping[frozenset[str], float]


def _all(bits: Bits) -> frozenset[str]:
    return max(bits, key=len)


def shapley(bits: Bits) -> dict[str, float]:
    """What each modality adds to those before it, the mean over all orders."""
    orders = list(permutations(sorted(_all(bits))))
    return {
        m: sum(_gain(bits, m, order[: order.index(m)]) for order in orders) / len(orders) for m in sorted(_all(bits))
    }


def _gain(bits: Bits, m: str, before: Iterable[str]) -> float:
    """What m adds to a set."""
    return bits[frozenset(before) | {m}] - bits[frozenset(before)]


def _alone(bits: Bits) -> dict[str, float]:
    return {m: bits[frozenset({m})] for m in _all(bits)}


def _given_others(bits: Bits) -> dict[str, float]:
    return {m: _gain(bits, m, _all(bits) - {m}) for m in _all(bits)}


def _over_sets(bits: Bits) -> dict[str, float]:
    gains = {m: [_gain(bits, m, others) for others in bits if m not in others] for m in _all(bits)}
    return {m: sum(g) / len(g) for m, g in gains.items()}


def _scaled(bits: Bits) -> dict[str, float]:
    alone = _alone(bits)
    return {m: value * bits[_all(bits)] / sum(alone.values()) for m, value in alone.items()}


def _information(names: str, seed: int) -> tuple[Bits]:
    """Information of all sets of some modalities: a set never has less than its subsets."""
    more = (uniform(2 ** len(names), seed=seed) / 2).tolist()
    bits = {frozenset[str](): 0.0}
    for size in range(1, len(names) + 1):
        for some in map(frozenset, combinations(names, size)):
            bits[some] = round(max(bits[some - {m}] for m in some) + more.pop(), 3)
    return (bits,)


SHAPLEY = Exercise(
    right=shapley,
    why="A mean over orders shares out all of the information: the values sum up to that of all modalities.",
    hints=(
        "Do the values sum up to the information of all modalities?",
        "For each order: bits of those before it and itself, less bits of those before it. Then the mean.",
    ),
    wrong={
        Mistake(
            "this is what each modality tells alone",
            ("Do the values sum up to the information of all?", "What does it add to those that came before it?"),
        ): _alone,
        Mistake(
            "this is what each modality adds to all others",
            ("That is its value when it comes last. What if it comes first?", "Take the mean over all orders."),
        ): _given_others,
        Mistake(
            "the mean is over sets, and not over orders",
            (
                "Do the values sum up to the information of all?",
                "In how many orders does it come first, in how many second? Sets do not occur equally often.",
            ),
        ): _over_sets,
        Mistake(
            "this is the mean of first place and last place; those between are left out",
            (
                "Three modalities have six orders: list them.",
                "itertools.permutations gives all orders. A modality is second in a third of them.",
            ),
        ): lambda bits: {m: (value + _given_others(bits)[m]) / 2 for m, value in _alone(bits).items()},
        Mistake(
            "what each tells alone is only scaled, so that the sum is right",
            (
                "Let two modalities tell nothing alone, and all together. What is the value of each?",
                "In each order ask what a modality adds to those before it. Take the mean.",
            ),
        ): _scaled,
        Mistake(
            "it is the sum over the orders, and not their mean",
            ("Divide by the number of orders.", "M modalities have M! orders."),
        ): lambda bits: {m: math.factorial(len(_all(bits))) * value for m, value in shapley(bits).items()},
    },
    inputs=[_information("abc", 0), _information("lav", 1), _information("pqrs", 2)],
    other="these are not the Shapley values, a dict from each modality to a number",
)

# ---- 9.3: the gradient of a linear model, alone and times the input

Parts = tuple[Tensor, Tensor]


def saliency(w: Tensor, x: Tensor) -> Parts:
    """‖∂ log p(ŷ)/∂xᵗ‖ and |∂ log p(ŷ)/∂xᵗ · xᵗ|, (B, T) both."""
    return _saliency(w, x, torch.sigmoid(-_score(w, x).abs()))  # ∂ log σ(|s|) / ∂|s| = σ(−|s|)


def _score(w: Tensor, x: Tensor) -> Tensor:
    """s, (B,)."""
    return (w * x).sum((1, 2))


def _saliency(w: Tensor, x: Tensor, slope: Tensor) -> Parts:
    """Both, where ``slope`` (B,) is how steeply the output rises with s, without its sign."""
    return slope[:, None] * w.norm(dim=1), slope[:, None] * (w * x).sum(2).abs()


SALIENCY = Exercise(
    right=saliency,
    why="The gradient of a linear model has the same largest step for each input; times the input it has not.",
    hints=(
        "Take ∂ log p(ŷ)/∂x = (∂ log p(ŷ)/∂s)(∂s/∂x), and check it with torch.autograd.",
        "∂ log p(ŷ)/∂s has the size σ(−|s|), and ∂s/∂xᵗ is wᵗ.",
    ),
    wrong={
        Mistake(
            "this is the gradient of the score, not of log p",
            (
                "A prediction that is certain hardly changes. Where is that in your gradient?",
                "∂ log p/∂x = (∂ log p/∂s)(∂s/∂x), and s changes log p by 1 − p.",
            ),
        ): lambda w, x: _saliency(w, x, torch.ones_like(_score(w, x))),
        Mistake(
            "this is the gradient of p, not of its logarithm",
            ("The derivative of σ(s) is p (1 − p). Of log σ(s)?", "Divide by p."),
        ): lambda w, x: _saliency(w, x, torch.sigmoid(_score(w, x)) * torch.sigmoid(-_score(w, x))),
        Mistake(
            "the class is always 1, and not the predicted one",
            ("If s is below 0, which class is the most probable?", "Then p(ŷ) is 1 − σ(s) = σ(−s)."),
        ): lambda w, x: _saliency(w, x, torch.sigmoid(-_score(w, x))),
        Mistake(
            "the size of the gradient is multiplied by the size of the input, whatever their directions",
            ("An input at a right angle to the gradient changes nothing.", "Take the scalar product of both."),
        ): lambda w, x: (saliency(w, x)[0], saliency(w, x)[0] * x.norm(dim=2)),
        Mistake(
            "absolute values are taken before the sum over d, not after it",
            ("Two numbers of a step may cancel.", "|g · x|, and not Σ |gᵢ xᵢ|."),
        ): lambda w, x: (saliency(w, x)[0], saliency(w, x)[0] / w.norm(dim=1) * (w * x).abs().sum(2)),
        Mistake(
            "the second part has signs, and sizes are asked for",
            ("A step that speaks against ŷ matters, too.", "Take the absolute value at the end."),
        ): lambda w, x: (saliency(w, x)[0], saliency(w, x)[0] / w.norm(dim=1) * _signed(w, x)),
    },
    inputs=[(uniform(3, 2, seed=k) - 0.5, 4 * uniform(4, 3, 2, seed=9 + k) - 2) for k in range(2)],
)


def _signed(w: Tensor, x: Tensor) -> Tensor:
    """What each step adds to the score of the predicted class, (B, T)."""
    return (w * x).sum(2) * _score(w, x).sign()[:, None]


# ---- 9.4: runs that found it, and McNemar's exact test

Runs = tuple[int, int, float]


def found(a: Tensor, b: Tensor, above: float) -> Runs:
    """How many runs of a and of b found it, and the p-value of McNemar's exact test."""
    only_a, only_b = _only(a, b, above)
    return _runs(a, b, above, min(1.0, 2 * _tail(max(only_a, only_b), only_a + only_b)))


def _runs(a: Tensor, b: Tensor, above: float, p: float) -> Runs:
    return int((a > above).sum()), int((b > above).sum()), p


def _only(a: Tensor, b: Tensor, above: float) -> tuple[int, int]:
    """Seeds in which one found it and the other did not."""
    return int(((a > above) & (b <= above)).sum()), int(((b > above) & (a <= above)).sum())


def _tail(k: int, n: int) -> float:
    """The probability that of n tosses of a fair coin k or more are heads."""
    return sum(math.comb(n, j) for j in range(k, n + 1)) * 0.5**n


def _among(k: int, n: int) -> float:
    """The two-sided p-value of k heads of n tosses."""
    return min(1.0, 2 * _tail(max(k, n - k), n))


def _chi_squared(a: int, b: int) -> float:
    return math.erfc(abs(a - b) / math.sqrt(2 * (a + b))) if a + b else 1.0


def _fisher(a: int, b: int, n: int) -> float:
    """Fisher's exact test of a of n against b of n."""
    weights = [math.comb(n, j) * math.comb(n, a + b - j) if j <= a + b else 0 for j in range(n + 1)]
    return sum(w for w in weights if w <= weights[a]) / sum(weights)


def _seeds(n: int, share: float, seed: int) -> tuple[Tensor, Tensor, float]:
    """Accuracies of n runs of two models."""
    return (0.7 + 0.2 * uniform(n, seed=seed).sqrt(), 0.7 + 0.2 * uniform(n, seed=seed + 9) * share, 0.8)


RUNS = Exercise(
    right=found,
    why="A seed in which both found it, or neither, does not tell which model finds it more often.",
    hints=(
        "Count the seeds in which only a found it, and those in which only b did.",
        "n is the sum of both. Twice the probability of max(both) or more heads of n tosses, at most 1.",
    ),
    wrong={
        Mistake(
            "all runs that found it are counted, also in seeds in which both did",
            (
                "What does a seed in which both found it tell of their difference?",
                "Count the seeds in which a found it and b did not, and those of the other kind.",
            ),
        ): lambda a, b, above: _runs(a, b, above, _among(_runs(a, b, above, 0)[0], sum(_runs(a, b, above, 0)[:2]))),
        Mistake(
            "the coin is tossed for each seed, and not only where the two differ",
            ("In how many seeds could the coin have fallen the other way?", "n is the sum of both kinds of seeds."),
        ): lambda a, b, above: _runs(a, b, above, _among(max(_only(a, b, above)), len(a))),
        Mistake(
            "the p-value is one-sided",
            ("b could as well have been ahead.", "Take both ends: twice the smaller one."),
        ): lambda a, b, above: _runs(a, b, above, _tail(max(_only(a, b, above)), sum(_only(a, b, above)))),
        Mistake(
            "the p-value is above 1 where both kinds are equally many",
            ("The middle count is in both ends then.", "min(1, …)"),
        ): lambda a, b, above: _runs(a, b, above, 2 * _tail(max(_only(a, b, above)), sum(_only(a, b, above)))),
        Mistake(
            "the seeds are not paired: this is Fisher's test of two independent groups",
            ("Run k of a and run k of b have the same seed.", "McNemar's test compares them pair by pair."),
        ): lambda a, b, above: _runs(a, b, above, _fisher(*_runs(a, b, above, 0)[:2], len(a))),
        Mistake(
            "this is the approximation by χ², which needs many seeds",
            (
                "The exact test has a fair coin: the binomial distribution.",
                "math.comb(n, j) / 2**n is the probability of j heads in n tosses.",
            ),
        ): lambda a, b, above: _runs(a, b, above, _chi_squared(*_only(a, b, above))),
    },
    inputs=[
        _seeds(20, 0.8, 0),
        _seeds(12, 0.9, 1),
        _seeds(20, 0.7, 2),
        (torch.tensor([0.9, 0.7, 0.88, 0.75]).double(), torch.tensor([0.74, 0.87, 0.86, 0.72]).double(), 0.8),
        (torch.tensor([0.9, 0.7]).double(), torch.tensor([0.85, 0.75]).double(), 0.8),
    ],
)

EXERCISES = {"9.1": BEST, "9.2": SHAPLEY, "9.3": SALIENCY, "9.4": RUNS}
