"""Exercises of chapter 11: iterative amortised inference."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from mmtutor.exercises.answers import Exercise, Mistake, uniform

# ---- 11.1: the gradient of the ELBO with respect to the mean and log σ, for one number z


def gradient(x: float, w: float, noise: float, mean: float, log_std: float, prior: float = 1.0) -> tuple[float, float]:
    """∂ELBO/∂μ and ∂ELBO/∂log σ of p(z) = N(0, 1), p(x | z) = N(wz, noise²), q = N(μ, σ²)."""
    precision = prior + (w / noise) ** 2
    return w * x / noise**2 - precision * mean, 1 - precision * math.exp(2 * log_std)


GRADIENT = Exercise(
    right=gradient,
    why="Both are 0 at the posterior: σ² = 1/P, and μ = m. P = 1 + w²/noise² stretches the way to it.",
    hints=(
        "Write the ELBO with μ and σ² only, and derive. Check it with torch.autograd.",
        "With P = 1 + w²/noise²: w x/noise² − P μ, and 1 − P σ².",
    ),
    wrong={
        Mistake(
            "the second is the gradient with respect to σ, not to log σ",
            ("log σ is what is moved. How does σ change with it?", "∂σ/∂log σ = σ: multiply by σ."),
        ): lambda x, w, noise, mean, log_std: (
            (g := gradient(x, w, noise, mean, log_std))[0],
            g[1] / math.exp(log_std),
        ),
        Mistake(
            "the second is the gradient with respect to log σ², not to log σ",
            ("log σ² = 2 log σ.", "A step in log σ is two steps in log σ²: it is twice as large."),
        ): lambda x, w, noise, mean, log_std: (
            (g := gradient(x, w, noise, mean, log_std))[0],
            g[1] / 2,
        ),
        Mistake(
            "the divergence from the prior is left out",
            (
                "The ELBO has two terms. Which one keeps q near p(z)?",
                "KL(q ‖ p(z)) = (μ² + σ² − 1)/2 − log σ: take its gradient off.",
            ),
        ): lambda x, w, noise, mean, log_std: (
            w * (x - w * mean) / noise**2,
            -((w * math.exp(log_std) / noise) ** 2),
        ),
        Mistake(
            "the prior is left out, but not the entropy of q",
            ("E log p(z) = −(μ² + σ²)/2 + constant. What is its gradient?", "P is 1 + w²/noise²."),
        ): lambda x, w, noise, mean, log_std: gradient(x, w, noise, mean, log_std, 0),
        Mistake(
            "the entropy of q is left out: σ would shrink to 0",
            ("What keeps q from becoming a point?", "The entropy has log σ, whose gradient is 1."),
        ): lambda x, w, noise, mean, log_std: (
            (g := gradient(x, w, noise, mean, log_std))[0],
            g[1] - 1,
        ),
        Mistake(
            "the sign is wrong: this is the gradient of −ELBO, the loss",
            ("Inference goes up the ELBO.", "Where x is far above wμ, should μ rise or fall?"),
        ): lambda x, w, noise, mean, log_std: (
            -(g := gradient(x, w, noise, mean, log_std))[0],
            -g[1],
        ),
        Mistake(
            "w is forgotten in the chain rule: the error (x − wμ)/noise² is one of x, not of z",
            ("How much does wμ change if μ rises by 1?", "By w: multiply (x − wμ)/noise² by w."),
        ): lambda x, w, noise, mean, log_std: (
            (x - w * mean) / noise**2 - mean,
            gradient(x, w, noise, mean, log_std)[1],
        ),
    },
    inputs=[(1.5, 2.0, 0.5, 0.3, -0.4), (-0.7, 0.6, 0.8, 0.5, 0.2), (0.4, -1.2, 1.3, -0.9, -1.0)],
)

# ---- 11.2: the two parts of the inference gap


def gaps(m: Tensor, P: Tensor, mu: Tensor, sigma: Tensor) -> tuple[float, float]:
    """The approximation gap and the amortisation gap of q = N(μ, σ²) for the posterior N(m, P⁻¹), in nats."""
    floor = _kl(m, P, m, P.diagonal().rsqrt())
    return floor, _kl(m, P, mu, sigma) - floor


def _kl(m: Tensor, P: Tensor, mu: Tensor, sigma: Tensor, reverse: bool = False) -> float:
    """KL(q ‖ p) of q = N(μ, σ²) and p = N(m, P⁻¹); or KL(p ‖ q)."""
    two = [MultivariateNormal(mu, scale_tril=sigma.diag()), MultivariateNormal(m, precision_matrix=P)]
    return float(kl_divergence(*two[:: -1 if reverse else 1]))


def _marginal(m: Tensor, P: Tensor, mu: Tensor, sigma: Tensor, reverse: bool = False) -> tuple[float, float]:
    """With the widths of the posterior's marginals as the best ones."""
    floor = _kl(m, P, m, torch.linalg.inv(P).diagonal().sqrt(), reverse)
    return floor, _kl(m, P, mu, sigma, reverse) - floor


def _world(d: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    W = 2 * uniform(d + 1, d, seed=seed)
    P = torch.eye(d, dtype=torch.float64) + W.T @ W
    return uniform(d, seed=seed + 9), P, uniform(d, seed=seed + 19), 0.3 + uniform(d, seed=seed + 29)


GAPS = Exercise(
    right=gaps,
    why="A better encoder can close the second. The first needs a q that can be tilted.",
    hints=(
        "Which μ and σ make KL(q ‖ p) smallest? Set its gradient to 0.",
        "μ = m and σⱼ² = 1/Pⱼⱼ: this KL is the first gap. The KL of the guess, less it, is the second.",
    ),
    wrong={
        Mistake(
            "the two gaps are exchanged",
            ("Which of the two remains if each example has its best λ?", "The approximation gap has no μ in it."),
        ): lambda *world: gaps(*world)[::-1],
        Mistake(
            "the second is the whole inference gap",
            ("The inference gap is the sum of both.", "Take the approximation gap off."),
        ): lambda *world: (gaps(*world)[0], sum(gaps(*world))),
        Mistake(
            "the best q is given the widths of the posterior's marginals, which KL(q ‖ p) finds too wide",
            (
                "Where the posterior is tilted, the best q by KL(q ‖ p) is narrower than the marginals.",
                "Set the gradient with respect to log σⱼ to 0: σⱼ² = 1 / Pⱼⱼ, not (P⁻¹)ⱼⱼ.",
            ),
        ): _marginal,
        Mistake(
            "the divergence goes in the other direction",
            ("log p(x) − ELBO is the mean over q, not over p.", "KL(q ‖ p(z | x)): q comes first."),
        ): lambda m, P, mu, sigma: _marginal(m, P, mu, sigma, reverse=True),
        Mistake(
            "the second has only the error of the mean",
            ("The encoder misses σ, too.", "It is KL(q ‖ p) less the approximation gap."),
        ): lambda m, P, mu, sigma: (gaps(m, P, mu, sigma)[0], float((m - mu) @ P @ (m - mu) / 2)),
        Mistake(
            "these are bits, and nats are asked for",
            ("Natural logarithms give nats.", "Leave out the division by log 2."),
        ): lambda *world: tuple(gap / math.log(2) for gap in gaps(*world)),
        Mistake(
            "the signs are wrong: a gap is what the ELBO lacks, and not below 0",
            (
                "log p(x) is the largest of the three numbers.",
                "Subtract the smaller number from the larger one: a KL divergence is at least 0.",
            ),
        ): lambda *world: tuple(-gap for gap in gaps(*world)),
    },
    inputs=[_world(2, 0), _world(2, 1), _world(3, 2)],
)

# ---- 11.3: the best students of an exact teacher, and what their losses come to

Best = dict[str, tuple[float, float]]


def students(tau: float, tau_i: float) -> Best:
    """The standard deviation and the mean loss in nats of the best student by forward and by reverse KL."""
    return {
        "forward": (tau_i**-0.5, math.log(tau / tau_i) / 2),
        "reverse": (tau**-0.5, (tau / tau_i - 1) / 2),
    }


def _changed(best: Best, std: float = 1.0, loss: float = 1.0) -> Best:
    """Standard deviations to a power, losses times a factor."""
    return {name: (s**std, nats * loss) for name, (s, nats) in best.items()}


def _same_means(tau: float, tau_i: float) -> Best:
    return {
        "forward": (tau_i**-0.5, (tau_i / tau - 1 - math.log(tau_i / tau)) / 2),
        "reverse": (tau**-0.5, 0.0),
    }


STUDENTS = Exercise(
    right=students,
    why="Neither loss is 0, though no student can do better: they measure what the modality lacks. And only the "
    "forward student knows that it lacks something.",
    hints=(
        "Given xᵢ, how far does the teacher's mean vary? Take the mean of the KL over that.",
        "Forward: σ² = 1/τᵢ. Reverse: σ² = 1/τ. The teacher's mean has the variance 1/τᵢ − 1/τ.",
    ),
    wrong={
        Mistake(
            "forward and reverse are exchanged",
            ("Forward is KL(teacher ‖ student).", "A student by reverse KL avoids what its teacher excludes."),
        ): lambda tau, tau_i: dict(zip(("reverse", "forward"), students(tau, tau_i).values(), strict=True)),
        Mistake(
            "the student by reverse KL is taken to be p(z | xᵢ), which is too wide for it",
            (
                "Is p(z | xᵢ) the best student by each divergence?",
                "The mean of KL(q ‖ p(z | X)) over X is smallest for a q as narrow as the teacher: σ² = 1/τ.",
            ),
        ): lambda tau, tau_i: {
            "forward": students(tau, tau_i)["forward"],
            "reverse": (tau_i**-0.5, tau / tau_i - 1 - math.log(tau / tau_i) / 2),
        },
        Mistake(
            "the teacher's mean is taken to be the student's",
            (
                "The teacher knows more, so its mean moves where the student's cannot follow.",
                "Given xᵢ, the teacher's mean has the variance 1/τᵢ − 1/τ: the mean over it is part of the loss.",
            ),
        ): _same_means,
        Mistake(
            "these are variances, and standard deviations are asked for",
            ("Take the square root.", "A precision τ gives the variance 1/τ and the standard deviation 1/√τ."),
        ): lambda tau, tau_i: _changed(students(tau, tau_i), std=2),
        Mistake(
            "a standard deviation is one over the square root of a precision",
            ("Should a larger precision give a wider or a narrower q?", "tau ** -0.5, with the minus."),
        ): lambda tau, tau_i: _changed(students(tau, tau_i), std=-1),
        Mistake(
            "the factor ½ is missing in the losses",
            ("log σ is half of log σ².", "The density of a normal has ½ in its exponent."),
        ): lambda tau, tau_i: _changed(students(tau, tau_i), loss=2),
        Mistake(
            "the losses are in bits, and nats are asked for",
            ("Natural logarithms give nats.", "Leave out the division by log 2."),
        ): lambda tau, tau_i: _changed(students(tau, tau_i), loss=1 / math.log(2)),
    },
    inputs=[(5.0, 2.0), (9.0, 1.5), (2.5, 2.0)],
)

# ---- 11.4: the density of a flow of one coupling


def log_density(z: Tensor, s: Tensor, t: Tensor) -> Tensor:
    """Log q(z), (B,), of N(0, I) sent through (a, b) ↦ (a, b · exp s + t)."""
    return _density(z, (_half(z) - t) * (-s).exp()) - s.sum(1)


def _half(z: Tensor) -> Tensor:
    """The second half of z, (B, d/2)."""
    return z[:, z.shape[1] // 2 :]


def _density(z: Tensor, b: Tensor) -> Tensor:
    """Log N(a, b; 0, I), (B,), with a from z."""
    before = torch.cat([z[:, : z.shape[1] // 2], b], 1)
    return -(before.square() + math.log(2 * math.pi)).sum(1) / 2


def _coupling(d: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(3 * uniform(3, n, seed=seed + 9 * k) - 1 for k, n in enumerate((2 * d, d, d)))  # type: ignore[return-value]


FLOW = Exercise(
    right=log_density,
    why="Back to where z came from, and less what the coupling has stretched: a density that is stretched gets lower.",
    hints=(
        "Undo the coupling. What was z before it, and how likely was that?",
        "log N(a, (z₂ − t) exp(−s); 0, I) − Σ s",
    ),
    wrong={
        Mistake(
            "the logarithm of the determinant has the wrong sign",
            ("Where s is large, b is spread widely. Is its density high or low there?", "Subtract Σ s."),
        ): lambda z, s, t: log_density(z, s, t) + 2 * s.sum(1),
        Mistake(
            "the determinant is missing: this density does not sum to 1",
            ("A stretched density must get lower.", "∂z/∂b is exp s; the density is divided by it."),
        ): lambda z, s, t: log_density(z, s, t) + s.sum(1),
        Mistake(
            "exp s is subtracted in the place of s: the logarithm is missing",
            ("log exp s = s.", "Subtract s.sum(1)."),
        ): lambda z, s, t: log_density(z, s, t) + s.sum(1) - s.exp().sum(1),
        Mistake(
            "the coupling is applied once more, not undone",
            ("z has gone through the coupling. From where did it come?", "Solve z₂ = b exp s + t for b."),
        ): lambda z, s, t: _density(z, _half(z) * s.exp() + t) - s.sum(1),
        Mistake(
            "the inverse has the wrong order: t is not shrunk by exp s",
            ("What was added last is taken off first.", "b = (z₂ − t) exp(−s)"),
        ): lambda z, s, t: _density(z, _half(z) * (-s).exp() - t) - s.sum(1),
        Mistake(
            "z itself is looked up in the base density, not where it came from",
            (
                "log q(z) = log N(z₀) − Σ s, with z₀ from before the coupling.",
                "Undo the coupling first: its second half is (z₂ − t) exp(−s).",
            ),
        ): lambda z, s, t: _density(z, _half(z)) - s.sum(1),
        Mistake(
            "each number of z has a value, and one for each example is asked for",
            ("The numbers of z₀ are independent: sum their log densities.", "End with .sum(1)."),
        ): lambda z, s, t: torch.cat([_each(z), _each((_half(z) - t) * (-s).exp(), s)], 1),
    },
    inputs=[_coupling(2, 0), _coupling(3, 1)],
)


def _each(b: Tensor, s: Tensor | None = None) -> Tensor:
    """Log densities of the numbers of one half, (B, d/2); without s, of z the first half."""
    b = b[:, : b.shape[1] // 2] if s is None else b
    return -(b.square() + math.log(2 * math.pi)) / 2 - (0 if s is None else s)


# ---- 11.5: equal steps and equal time


def compared(a: Tensor, b: Tensor, seconds_a: int, seconds_b: int) -> tuple[float, float]:
    """How much larger a's distance is than b's: after as many epochs, and after as many seconds."""
    return _after(a, b, len(a), len(a) * seconds_a // seconds_b)


def _after(a: Tensor, b: Tensor, epochs: int, at_equal_time: int) -> tuple[float, float]:
    """The differences of a's last distance from b's after so many epochs."""
    return float(a[-1] - b[epochs - 1]), float(a[-1] - b[at_equal_time - 1])


def _curve(epochs: int, slope: float, seed: int) -> Tensor:
    """Distances after 1, 2, … epochs, which become smaller, but not always."""
    return 20 + slope / torch.arange(1, epochs + 1).double() + 9 * uniform(epochs, seed=seed)


TIME = Exercise(
    right=compared,
    why="A step that does more takes longer. Say which of the two was held equal, or better show both.",
    hints=(
        "Write down for small numbers: how many epochs does b finish in the time of a?",
        "len(a) · seconds_a // seconds_b epochs, and after k epochs the distance is b[k − 1].",
    ),
    wrong={
        Mistake(
            "the signs are wrong: below 0 should mean that a is better",
            ("A small distance is good.", "a less b."),
        ): lambda a, b, *seconds: tuple(-d for d in compared(a, b, *seconds)),
        Mistake(
            "time is turned over: the slower method got more epochs",
            ("a has used len(a) · seconds_a. How many epochs of b fit into that?", "len(a) * seconds_a // seconds_b"),
        ): lambda a, b, sa, sb: _after(a, b, len(a), len(a) * sb // sa),
        Mistake(
            "an epoch that was not finished in time is counted",
            ("Round down, not up or to the nearest.", "seconds // seconds_b"),
        ): lambda a, b, sa, sb: _after(a, b, len(a), -(-len(a) * sa // sb)),
        Mistake(
            "b is looked up one epoch too late: its first value is that after one epoch",
            ("After k epochs is b[k − 1].", "Take b[len(a) − 1], and for equal time the same shift by one."),
        ): lambda a, b, sa, sb: _after(a, b, len(a) + 1, len(a) * sa // sb + 1),
        Mistake(
            "b is given all the epochs that it has, and so more time than a",
            ("Where does a's time end?", "b may be trained for len(a) · seconds_a seconds."),
        ): lambda a, b, sa, sb: _after(a, b, len(a), len(b)),
        Mistake(
            "the best epoch of b is chosen by the distance that is compared",
            ("Who looks at the test and takes the best of many looks too good.", "Take the last epoch in time."),
        ): lambda a, b, sa, sb: (compared(a, b, sa, sb)[0], float(a[-1] - b[: len(a) * sa // sb].min())),
    },
    inputs=[(_curve(n, 30, n), _curve(20, 60, sa), sa, sb) for n, sa, sb in ((5, 30, 10), (4, 7, 3), (6, 8, 5))],
)

EXERCISES = {"11.1": GRADIENT, "11.2": GAPS, "11.3": STUDENTS, "11.4": FLOW, "11.5": TIME}
