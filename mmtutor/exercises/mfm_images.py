"""Exercises of chapter 8: the Multimodal Factorization Model on images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from mmtutor.exercises.answers import Exercise, Mistake, uniform

# ---- 8.1: the cheapest way to give latent codes to examples, under three conditions

Q = tuple[int, ...]  # the latent code of each of four examples, 2 z_y + z_a


def together(q: Q) -> bool:
    """Whether all four latent codes are used equally often, Q_Z = P_Z."""
    return sorted(q) == [0, 1, 2, 3]


def one_by_one(q: Q) -> bool:
    """Whether z_y is 0 as often as 1, and z_a likewise."""
    return sum(k // 2 for k in q) == sum(k % 2 for k in q) == 2


def cheapest(cost: Tensor, allowed: Callable[[Q], bool]) -> float:
    """The smallest mean cost of the Q that a condition allows."""
    rows = cost.tolist()
    every = product(range(4), repeat=4)
    return float(min(sum(row[k] for row, k in zip(rows, q, strict=True)) for q in every if allowed(q)) / 4)


def infima(cost: Tensor) -> tuple[float, float, float]:
    """With Q_Z = P_Z, with that condition on each latent code by itself, and without any."""
    return cheapest(cost, together), cheapest(cost, one_by_one), float(cost.min(1).values.mean())


def _in_turn(cost: Tensor) -> float:
    """The mean cost if each example takes the best code that those before it have left."""
    left, total = {0, 1, 2, 3}, 0.0
    for row in cost.tolist():
        best = min(left, key=row.__getitem__)
        left.remove(best)
        total += row[best]
    return total / 4


INFIMA = Exercise(
    right=infima,
    why="One discrepancy of all latent codes belongs to together, a sum of one for each code to one_by_one. "
    "Fewer conditions, smaller infima: a penalty for each code allows styles that depend on the label.",
    hints=(
        "There are only 4⁴ = 256 choices of Q: try them all, and keep those that a condition allows.",
        "Together: all four codes once. One by one: z_y is 0 for two examples, and z_a is 0 for two.",
    ),
    wrong={
        Mistake(
            "the first condition is not kept: a latent code is used twice, and another never",
            (
                "How often does the model generate from each code? How often may Q choose it, then?",
                "Four codes, four examples: each code once. These are the 24 permutations.",
            ),
        ): lambda cost: (infima(cost)[2], *infima(cost)[1:]),
        Mistake(
            "the examples take their codes one after the other",
            (
                "May the first example take a code that another needs more?",
                "Try all 24 permutations: itertools.permutations(range(4)).",
            ),
        ): lambda cost: (_in_turn(cost), *infima(cost)[1:]),
        Mistake(
            "the second condition is as strict as the first",
            (
                "Let Q choose (0, 0) and (1, 1) only, each twice. Which of the two conditions does it keep?",
                "z_y is 0 for two examples, z_a is 0 for two examples: no more is asked.",
            ),
        ): lambda cost: (infima(cost)[0], infima(cost)[0], infima(cost)[2]),
        Mistake(
            "the second condition is asked of the label's code only",
            (
                "Each of the two codes has a penalty of its own.",
                "z_y is 0 for two examples, and z_a is 0 for two examples.",
            ),
        ): lambda cost: (infima(cost)[0], cheapest(cost, lambda q: sum(k // 2 for k in q) == 2), infima(cost)[2]),
        Mistake(
            "the second condition asks that each value is used, and it should be used equally often",
            ("In the prior, how likely is z_y = 0?", "Two of the four examples have z_y = 0."),
        ): lambda cost: (
            infima(cost)[0],
            cheapest(cost, lambda q: len({k // 2 for k in q}) == len({k % 2 for k in q}) == 2),
            infima(cost)[2],
        ),
        Mistake(
            "these are sums over the examples, and not means",
            ("Each example has the probability 1/4.", "Divide by the number of examples."),
        ): lambda cost: tuple(4 * value for value in infima(cost)),
    },
    inputs=[(5 * uniform(4, 4, seed=k),) for k in (4, 7, 8, 11)],
)

# ---- 8.2: the exact discrepancy between N(0, S) and N(0, I)


def similarity(C: Tensor, h: float, power: float = 0.5) -> Tensor:
    """E exp(−‖u‖²/2h) of u from N(0, C)."""
    return torch.det(torch.eye(len(C), dtype=C.dtype) + C / h).pow(-power)


def discrepancy(S: Tensor, h: float, cross: float = 2.0, power: float = 0.5) -> Tensor:
    """MMD² of N(0, S) and N(0, I); ``cross`` is how often the similarity between them counts."""
    eye = torch.eye(len(S), dtype=S.dtype)
    return similarity(2 * S, h, power) - cross * similarity(S + eye, h, power) + similarity(2 * eye, h, power)


def _two_of_three(S: Tensor, h: float, among: Tensor, between: Tensor) -> Tensor:
    return similarity(among, h) - 2 * similarity(between, h) + similarity(2 * torch.eye(len(S), dtype=S.dtype), h)


def _covariance(d: int, seed: int) -> Tensor:
    root = 2 * uniform(d, d, seed=seed) - 1
    return root @ root.T


DISCREPANCY = Exercise(
    right=discrepancy,
    why="Two codes that are always equal: together they have 0.045 with h = 2, and each of them alone has 0.",
    hints=(
        "What comes out with S = I? It should be 0.",
        "E k(z, z') − 2 E k(z, p) + E k(p, p'), with the covariances 2S, S + I and 2I.",
    ),
    wrong={
        Mistake(
            "z − z' has the covariance 2S, not S",
            (
                "Both z and z' vary, independently of each other. How wide is their difference?",
                "Variances of independent numbers add up: S + S.",
            ),
        ): lambda S, h: _two_of_three(S, h, S, S + torch.eye(len(S), dtype=S.dtype)),
        Mistake(
            "z − p has the covariance S + I: here the prior has no width",
            ("Both z and p vary. How wide is their difference?", "Variances of independent numbers add up."),
        ): lambda S, h: _two_of_three(S, h, 2 * S, S),
        Mistake(
            "the similarity of z and p counts once, and it should count twice",
            ("(a − b)² has the term −2ab.", "What should come out if S = I?"),
        ): lambda S, h: discrepancy(S, h, cross=1.0),
        Mistake(
            "covariances are left out: only the diagonal of S is used",
            (
                "Turn the axes until S is diagonal. Which variances has it then?",
                "A product over the eigenvalues, or 1/√det(I + C/h).",
            ),
        ): lambda S, h: discrepancy(S.diagonal().diag(), h),
        Mistake(
            "the square root is missing",
            ("One number gives √(h/(h + v)), d numbers a product of such roots.", "So det(I + C/h) has the power −½."),
        ): lambda S, h: discrepancy(S, h, power=1.0),
        Mistake(
            "the kernel has h where it should have 2h",
            ("The formula in the task holds for exp(−u²/2h).", "What is v/h for the two kernels?"),
        ): lambda S, h: discrepancy(S, h / 2),
        Mistake(
            "this is MMD, and MMD² is asked for",
            ("Leave out the last root.", "MMD² is the sum of the three similarities as it is."),
        ): lambda S, h: discrepancy(S, h).clamp_min(0).sqrt(),
    },
    inputs=[
        (torch.ones(2, 2).double(), 2.0),
        (torch.zeros(4, 4).double(), 4.0),
        (_covariance(3, 0), 3.0),
        (4 * _covariance(4, 1), 8.0),
    ],
)

# ---- 8.3: the penalty of a `VariationalFactor`


def divergence(q: Tensor, scale: float = 1.0) -> Tensor:
    """The mean KL divergence from N(0, I), with μ and log σ, (B, 2d); ``scale`` times the second half is log σ."""
    mean, log_std = q[:, : q.shape[1] // 2], scale * q[:, q.shape[1] // 2 :]
    return ((mean**2 + (2 * log_std).exp() - 1) / 2 - log_std).sum(1).mean()


def _reverse(q: Tensor) -> Tensor:
    mean, log_std = q.chunk(2, 1)
    return (log_std + (1 + mean**2) / 2 * (-2 * log_std).exp() - 0.5).sum(1).mean()


def _narrow(q: Tensor) -> Tensor:
    mean, log_std = q.chunk(2, 1)
    return ((mean**2 + log_std.exp() - 1) / 2 - log_std).sum(1).mean()


DIVERGENCE = Exercise(
    right=divergence,
    why="A code that is the prior for every image tells nothing and costs nothing. Each nat that it tells has a price.",
    hints=(
        "Which halves of q are μ and log σ? What comes out for q = 0? It should be 0.",
        "(μ² + σ² − 1)/2 − log σ; the sum over the numbers of a code, the mean over the examples.",
    ),
    wrong={
        Mistake(
            "the second half is taken for log σ², and it is log σ",
            ("What is the variance, if this number is 1?", "σ² = exp(2 log σ)."),
        ): lambda q: divergence(q, 0.5),
        Mistake(
            "σ stands in the place of σ²",
            ("The second moment of the code is μ² + σ².", "exp(2 log σ), not exp(log σ)."),
        ): _narrow,
        Mistake(
            "the factor ½ is missing",
            ("The density of a normal has exp(−z²/2).", "(μ² + σ² − 1)/2 − log σ for each number."),
        ): lambda q: 2 * divergence(q),
        Mistake(
            "the divergence goes in the other direction: the mean is under p, and it should be under q",
            (
                "Where is the mean taken, under the code's distribution or under the prior?",
                "E_q [log q(z) − log p(z)]: no division by σ².",
            ),
        ): _reverse,
        Mistake(
            "it is a mean over the numbers of a code, and not a sum",
            ("Would a code of 16 numbers cost as much as one of 8?", "log q(z) is a sum over the numbers."),
        ): lambda q: divergence(q) / (q.shape[1] / 2),
        Mistake(
            "it is a sum over the examples, and not a mean",
            (
                "Would λ have to change with the size of a batch?",
                "Sum over the numbers of a code, then take the mean over the examples.",
            ),
        ): lambda q: divergence(q) * len(q),
        Mistake(
            "μ and log σ have changed places",
            ("μ comes first.", "q[:, :d] is μ, and q[:, d:] is log σ."),
        ): lambda q: divergence(q.roll(q.shape[1] // 2, 1)),
        Mistake(
            "every second number is taken for log σ, and the second half is",
            ("In which order does q have its 2d numbers?", "q[:, :d] is μ, and q[:, d:] is log σ: q.chunk(2, 1)."),
        ): lambda q: divergence(torch.cat([q[:, ::2], q[:, 1::2]], 1)),
        Mistake(
            "each example has a value of its own, and their mean is asked for",
            ("A penalty is one number for a batch.", "End with .mean()."),
        ): lambda q: torch.stack([divergence(row[None]) for row in q]),
        Mistake(
            "the sign is wrong: a divergence is never below 0",
            ("What is more likely under q than under p, on average?", "E_q [log q(z) − log p(z)], not the reverse."),
        ): lambda q: -divergence(q),
    },
    inputs=[(3 * uniform(b, 2 * d, seed=b) - 1.5,) for b, d in ((6, 3), (5, 4))],
)

# ---- 8.4: a swap of the label's code

Codes = Mapping[str, Tensor]


def donors(label: Tensor, step: int = 1) -> Tensor:
    """The next pair that shows another digit, (B,); after the last pair comes the first."""
    found = []
    for i in range(len(label)):
        j = i
        while label[j] == label[i]:
            j = (j + step) % len(label)
        found.append(j)
    return torch.tensor(found)


def swap(latents: Codes, label: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """The latent codes with which to generate, and the donor of each label."""
    return _swap(latents, donors(label))


def _swap(latents: Codes, donor: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    return {**latents, "label": latents["label"][donor]}, donor


def _first_other(label: Tensor) -> Tensor:
    return (label != label[:, None]).int().argmax(1)


def _codes(label: list[int], seed: int) -> tuple[dict[str, Tensor], Tensor]:
    sizes = {"label": 3, "handwritten": 2, "street": 4}
    return {name: uniform(len(label), d, seed=seed + d) for name, d in sizes.items()}, torch.tensor(label)


SWAP = Exercise(
    right=swap,
    why="If label and style are separated, the images now show the donor's digit in the pair's own style.",
    hints=(
        "Write the donor of each pair by hand for the label [3, 3, 7], and compare.",
        'Look at i + 1, i + 2, … modulo B until the digit differs. Only "label" of the dict changes.',
    ),
    wrong={
        Mistake(
            "a donor may show the same digit, and then the swap tests nothing",
            ("If both show a 3, what can one see after the swap?", "Go on until the digit differs."),
        ): lambda z, y: _swap(z, torch.arange(len(y)).roll(-1)),
        Mistake(
            "the donor comes before the pair, and it should come after it",
            ("x.roll(1)[i] is x[i − 1].", "Search from i + 1 on, and go on at 0 after the last pair."),
        ): lambda z, y: _swap(z, donors(y, -1)),
        Mistake(
            "here a pair gets its donor from before, not from after, and it may show the same digit",
            ("x.roll(1)[i] is x[i − 1]. What is x.roll(−1)[i]?", "Begin at i + 1, and go on until the digit differs."),
        ): lambda z, y: _swap(z, torch.arange(len(y)).roll(1)),
        Mistake(
            "the label itself is handed in, and its latent code is asked for",
            ("What does the decoder get: a digit, or the numbers that tell it?", 'Take latents["label"] of the donor.'),
        ): lambda z, y: ({**z, "label": y[donors(y)]}, donors(y)),
        Mistake(
            "the search for a donor begins at the first pair, and not at the next one",
            ("Then nearly all pairs have one and the same donor.", "Begin at i + 1."),
        ): lambda z, y: _swap(z, _first_other(y)),
        Mistake(
            "the styles come from the donor, too",
            ("What would one see then: a swap, or only another order of the images?", "Replace one code only."),
        ): lambda z, y: ({name: code[donors(y)] for name, code in z.items()}, donors(y)),
        Mistake(
            "the styles come from the donor, and the label's code is the pair's own",
            ("Whose digit should be seen, and whose style?", 'Only "label" comes from the donor; the other two stay.'),
        ): lambda z, y: (
            {name: code if name == "label" else code[donors(y)] for name, code in z.items()},
            donors(y),
        ),
    },
    inputs=[_codes([3, 3, 7, 1, 1, 1, 3, 3], 0), _codes([5, 2, 2, 5, 5, 8, 8, 5], 1), _codes([4, 4, 4, 9], 2)],
)

# ---- 8.5: the cost of few labels


def label_cost(scores: Tensor, label: Tensor, present: Tensor) -> Tensor:
    """The mean of −log p(label) over the pairs whose label is known; 0 if none is."""
    cost = F.cross_entropy(scores, torch.where(present, label, 0), reduction="none")
    return (cost * present).sum() / present.sum().clamp_min(1)


def _all(scores: Tensor, label: Tensor) -> Tensor:
    return F.cross_entropy(scores, label)


COST = Exercise(
    right=label_cost,
    why="The cost of a batch says the same whether few or many of its labels are known.",
    hints=(
        "Which pairs may count? Over how many is the mean?",
        "Sum the cross-entropy where present is true, and divide by their number, at least 1.",
    ),
    wrong={
        Mistake(
            "it is divided by the number of all pairs, and not of the labelled ones",
            (
                "With labels for 5 of 100 pairs, how large is the cost? How large if all are known?",
                "Divide by present.sum(), at least 1.",
            ),
        ): lambda scores, label, present: label_cost(scores, label, present) * present.double().mean(),
        Mistake(
            "unknown labels are read",
            ("What stands in their place is arbitrary.", "Where does present come in?"),
        ): lambda scores, label, present: _all(scores, label),
        Mistake(
            "unknown labels are taken for the digit 0",
            (
                "0 is a digit like the others. What would the model learn from these pairs?",
                "Leave out these pairs: multiply their costs by 0, or take scores[present].",
            ),
        ): lambda scores, label, present: _all(scores, torch.where(present, label, 0)),
        Mistake(
            "scores of 0 have a cost, too",
            (
                "What is the softmax of ten zeros, and what does it cost?",
                "Leave out the costs of the unlabelled pairs, not their scores.",
            ),
        ): lambda scores, label, present: _all(scores * present[:, None], label),
        Mistake(
            "it is a sum over the labelled pairs, and not their mean",
            ("Would it grow with the number of labels?", "Divide by the number of known labels."),
        ): lambda scores, label, present: label_cost(scores, label, present) * present.sum(),
        Mistake(
            "it is NaN where no label is known, and it should be 0",
            ("Over how many pairs is the mean, then?", "Divide by at least 1: present.sum().clamp_min(1)."),
        ): lambda scores, label, present: _all(scores[present], label[present]),
    },
    inputs=[
        (6 * uniform(n, c, seed=n) - 3, torch.arange(n) * 3 % c, torch.arange(n) % 3 == 1)
        for n, c in ((12, 10), (7, 4))
    ]
    + [(6 * uniform(5, 4, seed=0) - 3, torch.arange(5) % 4, torch.zeros(5, dtype=torch.bool))],
)

EXERCISES = {"8.1": INFIMA, "8.2": DISCREPANCY, "8.3": DIVERGENCE, "8.4": SWAP, "8.5": COST}
