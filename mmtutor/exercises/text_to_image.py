"""Exercises of chapter 6: text to image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmtutor.exercises.answers import Exercise, Mistake, uniform

# ---- 6.1: the best discriminator


def best_logit(p: Tensor, q: Tensor) -> Tensor:
    """The D with σ(D) = p / (p + q)."""
    return p.log() - q.log()


BEST = Exercise(
    right=best_logit,
    why="σ(D) = p / (p + q) means D = log(p / q): how much more often in the data than among the drawings.",
    hints=(
        "What is D for a picture that is as frequent among drawings as in the data? There σ(D) is ½.",
        "Solve σ(D) = p / (p + q) for D; σ⁻¹(a) = log a − log(1 − a).",
    ),
    wrong={
        Mistake(
            "this is the probability σ(D), not the number D",
            ("Where p = q the number is 0, not ½.", "torch.logit of yours"),
        ): lambda p, q: p / (p + q),
        Mistake(
            "this is the ratio, without its logarithm",
            ("Where p = q the number is 0, not 1.", "(p / q).log()"),
        ): lambda p, q: p / q,
        Mistake(
            "the sign is the other way round: a large number means real",
            ("A picture that is never drawn should have a large number.", "p.log() - q.log()"),
        ): lambda p, q: q.log() - p.log(),
        Mistake(
            "this is the difference of the probabilities",
            ("If a picture is never drawn, the number should be infinite.", "The difference of their logarithms."),
        ): lambda p, q: p - q,
    },
    inputs=[
        (uniform(5, seed=0) + 0.1, uniform(5, seed=1) + 0.1),
        (torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.2, 0.3, 0.5]).double()),
    ],
)

# ---- 6.2: GAN-CLS


def cls_loss(real: Tensor, wrong: Tensor, drawn: Tensor) -> Tensor:
    """−log σ(real) − ½ [log σ(−wrong) + log σ(−drawn)], the mean over a batch, ()."""
    return (F.softplus(-real) + (F.softplus(wrong) + F.softplus(drawn)) / 2).mean()


CLS = Exercise(
    right=cls_loss,
    why="Half of what is true and half of what is false: so σ(D) = ½ means that it cannot tell.",
    hints=(
        "Which of the three kinds of pairs should have large numbers, and which small ones?",
        "torch.nn.functional.softplus(x) is −log σ(−x).",
    ),
    wrong={
        Mistake(
            "the ½ is missing, so there is twice as much false as true",
            ("At D = 0 the loss should be 2 log 2.", "Divide the two terms of false pairs by 2."),
        ): lambda real, wrong, drawn: (F.softplus(-real) + F.softplus(wrong) + F.softplus(drawn)).mean(),
        Mistake(
            "wrong pairs are left out: this is the conditional GAN",
            ("Does yours change with the second argument?", "½ softplus(wrong) + ½ softplus(drawn)"),
        ): lambda real, wrong, drawn: (F.softplus(-real) + F.softplus(drawn)).mean(),
        Mistake(
            "wrong pairs count as true",
            ("A real picture with a wrong sentence is a false pair.", "softplus(wrong), as for what was drawn"),
        ): lambda real, wrong, drawn: (F.softplus(-real) + (F.softplus(-wrong) + F.softplus(drawn)) / 2).mean(),
        Mistake(
            "this is the sum over the batch, not the mean",
            ("It should not grow with the size of the batch.", ".mean()"),
        ): lambda real, wrong, drawn: (F.softplus(-real) + (F.softplus(wrong) + F.softplus(drawn)) / 2).sum(),
    },
    inputs=[
        tuple(6 * uniform(4, seed=k) - 3 for k in (2, 3, 4)),
        tuple(4 * uniform(3, seed=k) - 1 for k in (5, 6, 7)),
    ],
)

# ---- 6.3: what GAN-CLS aims at


def aim(p: Tensor, w: Tensor) -> Tensor:
    """What the generator aims at if it is a distribution: ½ (w + q) = p."""
    return 2 * p - w


AIM = Exercise(
    right=aim,
    why="The discriminator cannot tell if what is true, p, is as frequent as what is false, ½ (w + q).",
    hints=(
        "Half of all false pairs are wrong ones, half are drawn. When do they look like the data?",
        "Solve ½ (w + q) = p for q.",
    ),
    wrong={
        Mistake(
            "these are the data: that would be the aim without wrong pairs",
            ("Does your answer change with w?", "½ (w + q) = p"),
        ): lambda p, w: p,
        Mistake(
            "this does not sum to one",
            ("2 times one, minus one.", "The weight of w is −1 where that of p is 2."),
        ): lambda p, w: 2 * p - w / 2,
        Mistake(
            "this is the mean of data and wrong pairs; drawings go away from the wrong pairs, not towards them",
            ("What is often a wrong pair is drawn less often.", "2 p − w"),
        ): lambda p, w: (p + w) / 2,
    },
    inputs=[
        (torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.4, 0.4, 0.2]).double()),
        (torch.tensor([0.25, 0.75]).double(), torch.tensor([0.3, 0.7]).double()),
    ],
)

# ---- 6.4: flow matching


def way(x: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """Where one is at the times (B,), and the velocity there, for x and noise (B, d): (2, B, d)."""
    return _way(x, noise, time[:, None], x - noise)


def _way(x: Tensor, noise: Tensor, along: Tensor, target: Tensor) -> Tensor:
    return torch.stack([(1 - along) * noise + along * x, target])


WAY = Exercise(
    right=way,
    why="The way is straight, so its velocity is the same at all times: the end minus the start.",
    hints=(
        "At time 0 there is noise, at time 1 the picture. What is halfway?",
        "(1 − t) noise + t x with t of shape (B, 1); the velocity is x − noise.",
    ),
    wrong={
        Mistake(
            "the velocity points from the picture to the noise",
            ("Which way does one go when one draws?", "x - noise"),
        ): lambda x, noise, time: _way(x, noise, time[:, None], noise - x),
        Mistake(
            "the picture stands where the velocity should be",
            ("How does the point move from noise to picture?", "x - noise"),
        ): lambda x, noise, time: _way(x, noise, time[:, None], x),
        Mistake(
            "time runs backwards: at time 1 there should be the picture",
            ("What is your point at time 1?", "(1 - t) * noise + t * x"),
        ): lambda x, noise, time: _way(x, noise, 1 - time[:, None], x - noise),
        Mistake(
            "this is the velocity times the time: how far one has gone, not how fast",
            ("The way is straight and one goes evenly.", "x - noise at all times"),
        ): lambda x, noise, time: _way(x, noise, time[:, None], time[:, None] * (x - noise)),
    },
    inputs=[
        (uniform(4, 3, seed=8), 2 * uniform(4, 3, seed=9) - 1, uniform(4, seed=10)),
        (2 * uniform(2, 5, seed=11), uniform(2, 5, seed=12) - 1, uniform(2, seed=13)),
    ],
)

# ---- 6.5: guidance


def guided(told: Tensor, untold: Tensor, g: float) -> Tensor:
    """The velocity without a sentence, and g times what the sentence changes."""
    return untold + g * (told - untold)


GUIDANCE = Exercise(
    right=guided,
    why="With 0 the sentence is ignored, with 1 the result is what was learned, above 1 it goes further.",
    hints=(
        "What should it be for g = 0, and for g = 1?",
        "Begin at the velocity without a sentence, and go g times the difference.",
    ),
    wrong={
        Mistake(
            "with g = 0 this is the velocity with the sentence: it is the convention of the paper, whose w is g − 1",
            ("With g = 0 the sentence should be ignored.", "untold + g * (told - untold)"),
        ): lambda told, untold, g: told + g * (told - untold),
        Mistake(
            "with and without are exchanged",
            ("With g = 0 the sentence should be ignored.", "untold + g * (told - untold)"),
        ): lambda told, untold, g: told + g * (untold - told),
        Mistake(
            "this scales the whole velocity, so it goes too far even without a sentence",
            ("If both velocities are the same, g should change nothing.", "Only the difference is multiplied."),
        ): lambda told, untold, g: g * told,
    },
    inputs=[
        (uniform(4, 3, seed=14), uniform(4, 3, seed=15), 3.0),
        (uniform(2, 5, seed=16) - 1, uniform(2, 5, seed=17), 0.5),
    ],
)

EXERCISES = {"6.1": BEST, "6.2": CLS, "6.3": AIM, "6.4": WAY, "6.5": GUIDANCE}
