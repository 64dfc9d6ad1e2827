"""Exercises of chapter 4: image captioning."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from mmtutor.exercises.answers import Exercise, Mistake, uniform

# ---- 4.1: attention weights and the context vector


def context(e: Tensor, a: Tensor, f: Tensor, axis: int = 1) -> tuple[Tensor, Tensor]:
    """α, (B, L), and z, (B, D), from the scores e, (B, L), the regions a, (B, L, D), and the linear layer f, (B,)."""
    alpha = e.softmax(axis)
    return alpha, f.sigmoid()[:, None] * torch.einsum("bl,bld->bd", alpha, a)


CONTEXT = Exercise(
    right=context,
    why="One vector, of the regions that matter for this word, and as large as the image matters for it.",
    hints=(
        "Check each step: do the weights of an image sum to 1? Is z without a gate their mean of a?",
        "α = softmax(e) over the regions, β = σ(f), z = β Σᵢ αᵢ aᵢ.",
    ),
    wrong={
        Mistake(
            "the softmax is over the images, not over the regions",
            ("Which weights have to sum to 1: those of one image or those of one region?", "The regions are axis 1."),
        ): lambda e, a, f: context(e, a, f, 0),
        Mistake(
            "the gate is forgotten",
            ("Does a word such as “of” need the image?", "z is β times the weighted mean."),
        ): lambda e, a, f: (e.softmax(1), torch.einsum("bl,bld->bd", e.softmax(1), a)),
        Mistake(
            "the gate is not between 0 and 1: f is used as it comes from its layer",
            ("Look at how β is computed from f.", "β = σ(f), the logistic function."),
        ): lambda e, a, f: (e.softmax(1), f[:, None] * torch.einsum("bl,bld->bd", e.softmax(1), a)),
        Mistake(
            "the weighted mean is divided by L once more",
            ("What do the attention weights of an image sum to?", "Take the sum of αᵢ aᵢ: it is a mean already."),
        ): lambda e, a, f: (e.softmax(1), context(e, a, f)[1] / e.shape[1]),
        Mistake(
            "the regions are weighted by their scores e, and not by α",
            ("Could a score be negative? Could a weight?", "α = softmax(e), and z is made of Σ αᵢ aᵢ."),
        ): lambda e, a, f: (e.softmax(1), f.sigmoid()[:, None] * torch.einsum("bl,bld->bd", e, a)),
        Mistake(
            "only the region with the largest weight is seen",
            ("That is what hard attention does in evaluation mode.", "Soft attention sums over all regions."),
        ): lambda e, a, f: (e.softmax(1), f.sigmoid()[:, None] * a[torch.arange(len(a)), e.argmax(1)]),
    },
    inputs=[
        (4 * uniform(b, n, seed=n) - 2, 2 * uniform(b, n, d, seed=b) - 1, 3 * uniform(b, seed=d) - 1)
        for b, n, d in ((3, 6, 4), (5, 5, 2))
    ],
)

# ---- 4.2: what the λ of another program is in ours


def ours(lam: float, words: str, regions: str, captions: str, T: int, L: int, B: int) -> float:
    """Our λ, from that of a program which takes the sum or the mean over words, regions and captions."""
    return lam * (T if words == "mean" else 1) / (L if regions == "mean" else 1) * (B if captions == "sum" else 1)


def _ours(by_words: float, by_regions: float, by_captions: float) -> Callable[..., float]:
    """The same with other powers of T, L and B; the right ones are 1, −1 and 1."""

    def wrong(lam: float, words: str, regions: str, captions: str, T: int, L: int, B: int) -> float:
        return float(
            lam
            * (T**by_words if words == "mean" else 1)
            * (L**by_regions if regions == "mean" else 1)
            * (B**by_captions if captions == "sum" else 1)
        )

    return wrong


OURS = Exercise(
    right=ours,
    why="A λ says nothing before one knows what is averaged: for COCO, 1 is about 0.06 or 0.33 of ours.",
    hints=(
        "Take one switch at a time, with λ = 1. By which factor do the two parts change beside each other?",
        "What stands before one region's term, over what stands before one word's term, has to be equal.",
    ),
    wrong={
        Mistake(
            "this turns our λ into theirs",
            (
                "Let their term be a mean over regions, and λ be 1. Is it stronger or weaker than a sum with λ = 1?",
                "Each factor is turned over: divide where you multiply.",
            ),
        ): lambda lam, words, regions, captions, T, L, B: lam**2 / ours(lam, words, regions, captions, T, L, B),
        Mistake(
            "the mean over words makes λ smaller, and it should become larger",
            (
                "If the words' part is T times smaller, does the other part matter more or less beside it?",
                "Multiply their whole loss by T, so that its words' part is ours. What is before the term then?",
            ),
        ): _ours(-1, -1, 1),
        Mistake(
            "how the words are averaged is left out",
            (
                "λ weighs one part against another. The words are the other part.",
                "If the words' part is T times smaller, multiply the whole loss by T.",
            ),
        ): _ours(0, -1, 1),
        Mistake(
            "the mean over regions makes λ larger, and it should become smaller",
            ("A mean over L regions is a sum times 1/L.", "So λ times the mean is λ/L times the sum."),
        ): _ours(1, 1, 1),
        Mistake(
            "the sum over captions makes λ smaller, and it should become larger",
            (
                "Which is larger, a sum over B captions or their mean? Which one has our term?",
                "λ times a sum over captions is λ · B times their mean.",
            ),
        ): _ours(1, -1, -1),
        Mistake(
            "whether the term is a sum over captions is left out",
            (
                "Ours is a mean over captions in both parts. What if only the words' part is?",
                'With captions="sum" their term is B times larger beside the words: λ · B.',
            ),
        ): _ours(1, -1, 0),
    },
    inputs=[
        (lam, *averages, *sizes)
        for averages in product(("sum", "mean"), repeat=3)
        for lam, sizes in ((1.0, (11, 196, 64)), (0.5, (3, 6, 4)))
    ],
)

# ---- 4.3: the pointing game


def touched_regions(owner: Tensor, named: Tensor) -> Tensor:
    """Which of the 8 × 8 regions touch the object that is named, bool (n, 64), from masks (n, 64, 64)."""
    return _cells(owner == named[:, None, None]).any(2)


def _cells(pixels: Tensor) -> Tensor:
    """(n, 64, 64), the pixels of each region."""
    return pixels.reshape(-1, 8, 8, 8, 8).transpose(2, 3).reshape(-1, 64, 64)


def _pointing(alpha: Tensor, touched: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hits, mass and chance."""
    hits = touched.gather(1, alpha.argmax(1, keepdim=True)).double().mean()
    return hits, (alpha * touched).sum(1).mean(), touched.double().mean()


def pointing(alpha: Tensor, owner: Tensor, named: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hits, mass and chance, from weights (n, 64), the object of each pixel (n, 64, 64), and the one named (n,)."""
    return _pointing(alpha, touched_regions(owner, named))


def _mean_mass(alpha: Tensor, owner: Tensor, named: Tensor) -> tuple[Tensor, ...]:
    touched = touched_regions(owner, named)
    hits, _, chance = _pointing(alpha, touched)
    return hits, ((alpha * touched).sum(1) / touched.sum(1)).mean(), chance


def _words(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Words that name one of the two objects of a scene; more often than not attention is on it."""
    owner = torch.full((n, 64, 64), -1)
    corner = (uniform(n, 2, 2, seed=seed) * torch.tensor([40, 18])).long() + torch.tensor([2, 3])
    named = (torch.arange(n) + seed) % 2
    for k in range(n):
        for thing in range(2):
            top, left = corner[k, thing].tolist()
            owner[k, top : top + 19, left + 25 * thing : left + 25 * thing + 13 + k % 4] = thing
    e = 3 * uniform(n, 64, seed=seed + 1) + 1.5 * touched_regions(owner, named)
    return e.softmax(1), owner, named


POINTING = Exercise(
    right=pointing,
    why="Pictures of attention weights convince; these three numbers are a test that attention can fail.",
    hints=(
        "Make a mask of the touched regions first, (n, 64). For one word, draw it as 8 × 8.",
        "All three follow from the mask: at the argmax of alpha, weighted by alpha, and its plain mean.",
    ),
    wrong={
        Mistake(
            "a row of pixels is taken for a region",
            (
                "Both are 64. Which pixels does region 0 have?",
                "Rows 0 to 7 and columns 0 to 7: view both axes as (8, 8), and exchange the middle two.",
            ),
        ): lambda alpha, owner, named: _pointing(alpha, (owner == named[:, None, None]).any(2)),
        Mistake(
            "the regions are numbered column by column",
            ("Region 1 is beside region 0, not below it.", "Region i is in row i // 8 and column i % 8."),
        ): lambda alpha, owner, named: _pointing(alpha, touched_regions(owner, named).view(-1, 8, 8).mT.flatten(1)),
        Mistake(
            "one pixel of each region is looked at",
            ("A digit can touch a region without covering its corner.", "Is *any* of its 64 pixels the object's?"),
        ): lambda alpha, owner, named: _pointing(alpha, (owner == named[:, None, None])[:, ::8, ::8].flatten(1)),
        Mistake(
            "a region counts only if most of it belongs to the object",
            ("What does *touch* mean?", "One pixel is enough: any, not the mean."),
        ): lambda alpha, owner, named: _pointing(alpha, _cells(owner == named[:, None, None]).double().mean(2) > 0.5),
        Mistake(
            "any object counts, not only the one that the word names",
            ("Attention on the other digit is wrong. Does it count as a hit?", "Compare with named, not with −1."),
        ): lambda alpha, owner, named: _pointing(alpha, _cells(owner >= 0).any(2)),
        Mistake(
            "the mass is a mean over the regions that touch the object, and not their sum",
            (
                "If all attention were on the object, what should the mass be?",
                "1, so sum the weights of the regions that touch it: (alpha * touched).sum(1).",
            ),
        ): _mean_mass,
        Mistake(
            "chance is taken to be one region in 64",
            (
                "What if the object touches half of all regions?",
                "Give each region the weight 1/64. What is the mass then?",
            ),
        ): lambda alpha, owner, named: (*pointing(alpha, owner, named)[:2], 1 / 64),
    },
    inputs=[_words(12, 0), _words(9, 3)],
)

# ---- 4.4: the gradient that hard attention estimates, and how much the estimate varies


def moments(
    e: Tensor, r: Tensor, b: float, *, by_log: bool = True, p: Tensor | None = None, p_var: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mean, (L,), and variance, (), of (r_s − b) ∇ log α_s, summed exactly over all s.

    Args:
        e: scores of the regions, (L,).
        r: reward of each region, (L,).
        b: the baseline.
        by_log: the gradient of log α_s; False: of α_s.
        p: with which probability each region is drawn, (L,); None: α.
        p_var: the same for the variance; None: ``p``.
    """
    alpha = e.softmax(0)
    score = torch.eye(len(e), dtype=e.dtype) - alpha  # row s: the gradient of log α_s
    p = alpha if p is None else p
    estimate = (r - b)[:, None] * (score if by_log else alpha[:, None] * score)
    mean = p @ estimate
    return mean, (p if p_var is None else p_var) @ (estimate - mean).square().sum(1)


def _one_hot(e: Tensor, r: Tensor, b: float) -> tuple[Tensor, Tensor]:
    estimate, alpha = torch.diag(r - b), e.softmax(0)
    return alpha @ estimate, alpha @ (estimate - alpha @ estimate).square().sum(1)


def _equally(e: Tensor) -> Tensor:
    return torch.full_like(e, 1 / len(e))


REINFORCE = Exercise(
    right=moments,
    why="The baseline leaves the mean as it is, and changes how much the estimate varies around it. "
    "The expected reward is near the best baseline, but not equal to it.",
    hints=(
        "List the estimate for each s, a matrix (L, L): row s is (r_s − b) times one-hot of s less α.",
        "Both are means with the weights α: of the rows, and of the squared distance to the mean row.",
    ),
    wrong={
        Mistake(
            "all regions are drawn equally often, and not with the probabilities α",
            ("What is the distribution of s?", "A mean over s is Σ_s α_s …"),
        ): lambda e, r, b: moments(e, r, b, p=_equally(e)),
        Mistake(
            "the variance counts all regions equally",
            ("The mean has the weights α. What are those of the variance?", "Σ_s α_s ‖estimate_s − mean‖²"),
        ): lambda e, r, b: moments(e, r, b, p_var=_equally(e)),
        Mistake(
            "this is the gradient of α, and not of log α",
            (
                "A likely region is sampled often already. What takes that into account?",
                "∇ log α_s = ∇ α_s / α_s: divide by α_s.",
            ),
        ): lambda e, r, b: moments(e, r, b, by_log=False),
        Mistake(
            "the softmax is forgotten: e of one region changes the weights of all",
            ("log α_s = e_s − log Σ_j exp e_j. What is its derivative by e_i?", "One-hot of s, less α."),
        ): _one_hot,
        Mistake(
            "the second is the mean square, and not the variance",
            ("An estimate that is always the same has no variance.", "Subtract the mean before you square."),
        ): lambda e, r, b: (m := moments(e, r, b)[0], moments(e, r, b)[1] + m.square().sum()),
        Mistake(
            "the sign is wrong: this makes regions with a small reward likelier",
            (
                "This is the gradient of a reward, which should grow, not of a loss.",
                "(r_s − b) ∇ log α_s, without a minus before it.",
            ),
        ): lambda e, r, b: (-moments(e, r, b)[0], moments(e, r, b)[1]),
        Mistake(
            "the baseline is left out",
            ("b is subtracted from the reward.", "Does it change the mean? Does it change the variance?"),
        ): lambda e, r, b: moments(e, r, 0.0),
    },
    inputs=[
        (torch.tensor([0.5, 0.3, 0.2]).double().log(), torch.tensor([-5.0, -4.0, -6.5]).double(), -4.0),
        (2 * uniform(5, seed=0), -4 * uniform(5, seed=1), -1.5),
    ],
)

# ---- 4.5: one word of beam search

END = 0


def advance(live: Tensor, log_p: Tensor, ended: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Parent, word and score of the K best, the best first, each (K,), from scores (K,), log p (K, V), and (K,)."""
    return _best(live[:, None] + _frozen(log_p, ended))


def _frozen(log_p: Tensor, ended: Tensor) -> Tensor:
    """A beginning that has ended goes on with the end alone, at no cost."""
    only_end = torch.full_like(log_p, -torch.inf)
    only_end[:, END] = 0
    return torch.where(ended[:, None], only_end, log_p)


def _best(score: Tensor, divide: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """The K best of all K V, and where they stand; ``divide``: by what their numbers are taken apart, V if None."""
    K, V = score.shape
    found, choice = score.flatten().topk(K)
    return choice // (divide or V), choice % (divide or V), found


def _one_each(live: Tensor, log_p: Tensor, ended: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    score, word = (live[:, None] + _frozen(log_p, ended)).max(1)
    order = score.argsort(descending=True)
    return order, word[order], score[order]


def _beams(K: int, V: int, ended: tuple[int, ...], seed: int) -> tuple[Tensor, Tensor, Tensor]:
    live = -(3 * uniform(K, seed=seed)).sort().values - 0.5
    has_ended = torch.zeros(K, dtype=torch.bool)
    has_ended[list(ended)] = True
    return live, (4 * uniform(K, V, seed=seed + 50)).log_softmax(1), has_ended


ADVANCE = Exercise(
    right=advance,
    why="One good beginning may have several children, and another none. What has ended waits, and costs nothing more.",
    hints=(
        "How many candidates are there, and what is the score of each?",
        "K · V sums live + log_p; what has ended has one, word 0 at no cost. Take the K best of all.",
    ),
    wrong={
        Mistake(
            "each beginning keeps one child",
            ("May two of the K best share their first words?", "Take the K best of all K · V sums together."),
        ): _one_each,
        Mistake(
            "the score of the beginning is left out: only the next word counts",
            ("What is the log-probability of a whole caption?", "Add live to log_p, a number for each row."),
        ): lambda live, log_p, ended: _best(_frozen(log_p, ended)),
        Mistake(
            "log-probabilities are multiplied, and they should be added",
            (
                "Probabilities are multiplied. What does the logarithm make of a product?",
                "A sum: live[:, None] + log_p.",
            ),
        ): lambda live, log_p, ended: _best(
            torch.where(ended[:, None], _frozen(log_p, ended) + live[:, None], live[:, None] * log_p)
        ),
        Mistake(
            "what has ended goes on with new words",
            ("Which words can follow the end?", "Let it have the end alone, with log p = 0, and −∞ for all others."),
        ): lambda live, log_p, ended: _best(live[:, None] + log_p),
        Mistake(
            "what has ended has V children, all the same caption",
            ("How often may a caption be among the K best?", "Let it have the end alone: −∞ for all other words."),
        ): lambda live, log_p, ended: _best(live[:, None] + log_p.masked_fill(ended[:, None], 0)),
        Mistake(
            "what has ended is lost",
            ("Can a caption that has ended still be the best one?", "It competes with its score as it is."),
        ): lambda live, log_p, ended: _best((live[:, None] + log_p).masked_fill(ended[:, None], -torch.inf)),
        Mistake(
            "what has ended gets the end at the cost of its log-probability, once more",
            ("How long does the score of an ended caption change?", "After the end, a further end has log p = 0."),
        ): lambda live, log_p, ended: _best(
            live[:, None] + torch.where(ended[:, None] & (torch.arange(log_p.shape[1]) != END), -torch.inf, log_p)
        ),
        Mistake(
            "parent and word are taken apart by K, and not by V",
            ("flatten puts the V words of the first beginning first.", "choice // V and choice % V."),
        ): lambda live, log_p, ended: _best(live[:, None] + _frozen(log_p, ended), len(live)),
    },
    inputs=[_beams(3, 6, (), 1), _beams(3, 5, (1,), 3), _beams(4, 7, (0, 3), 4), _beams(4, 5, (2,), 6)],
)

EXERCISES = {"4.1": CONTEXT, "4.2": OURS, "4.3": POINTING, "4.4": REINFORCE, "4.5": ADVANCE}
