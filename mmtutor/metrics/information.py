"""What two modalities tell about a label: redundant, unique and synergistic information, in bits, from probabilities.

What x₁ and x₂ together tell about the label y has four parts:

    I(x₁, x₂; y) = R + U₁ + U₂ + S        I(x₁; y) = R + U₁        I(x₂; y) = R + U₂

R is redundant (either modality tells it), U₁ and U₂ are unique (one modality alone tells it), S is synergy (only both
together tell it). These are three equations for four numbers, so a definition is needed. Here it is that of
Bertschinger, Rauh, Olbrich, Jost and Ay (2014), Quantifying unique information, Entropy 16(4), which Liang and others
(2023, arXiv:2302.12247) use for multimodal learning. Let Δ be all distributions q with the pair marginals
q(x₁, y) = p(x₁, y) and q(x₂, y) = p(x₂, y): each modality alone tells the same under each of them. Then

    U₁ = min I_q(x₁; y | x₂)        U₂ = min I_q(x₂; y | x₁)        over q in Δ,

    R = I(x₁; y) − U₁        S = I(x₁, x₂; y) − min I_q(x₁, x₂; y).

One q gives all three minima. Other definitions share the three equations and differ in the rest: where y is the pair of
two independent bits x₁ and x₂, all is unique here, while the first definition, by Williams and Beer (2010,
arXiv:1004.2515), finds one bit of redundancy.

| symbol | shape | what it is |
| --- | --- | --- |
| p, q | (n₁, n₂, k) | probabilities of (x₁, x₂, y) |
| λ, μ | (n₁, k), (n₂, k) | multipliers of the pair marginals; in the code λ above μ, ``multipliers`` (n₁ + n₂, k) |
| z | (n₁, n₂, k) | multipliers of q ≥ 0 |
| s | (n₁, n₂) | Σ_y exp(λ(x₁, y) + μ(x₂, y)) |
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from mmtutor.data.arrays import to_array

_PRECISION = 1e-9  # in bits
_ACCEPTED = 1e-6  # in bits: less exact results are refused
_STEPS = 200  # most tables need 10 to 70


class InformationParts(NamedTuple):
    """What two modalities tell about a label, in bits.

    Attributes:
        redundancy: what either of them tells.
        unique_1: what only the first tells.
        unique_2: what only the second tells.
        synergy: what only both together tell.
        error: no part is further from the exact number than this. It is the difference of an upper and a lower bound
            of the least information, so it is known, not estimated.
    """

    redundancy: float
    unique_1: float
    unique_2: float
    synergy: float
    error: float


def mutual_information(joint: ArrayLike) -> float:
    """I(x; y) = Σ p(x, y) log₂ [p(x, y) / (p(x) p(y))], in bits.

    Args:
        joint: the probabilities p(x, y), (n, k), at least 0, of sum 1; on any device, computed in float64.

    Raises:
        ValueError: it is no such table.

    Examples:
        >>> mutual_information([[0.5, 0.0], [0.0, 0.5]])  # y is x
        1.0
        >>> mutual_information([[0.25, 0.25], [0.25, 0.25]])  # independent
        0.0
    """
    return _information(_table("mutual_information", "p(x, y), (n, k)", joint, 2))


def information_parts(joint: ArrayLike) -> InformationParts:
    """Redundancy, unique information and synergy of two modalities about a label, as defined at the top of this file.

    Exact, from the table; nothing is sampled. Time grows with the cube of (n₁ + n₂) k: a table of 100 × 100 × 10 takes
    about ten seconds. Values of a modality with the same p(y | x) can be added up first: that changes the synergy only,
    which is the rest of I(x₁, x₂; y).

    Args:
        joint: the probabilities p(x₁, x₂, y), (n₁, n₂, k), at least 0, of sum 1; on any device, computed in float64.

    Raises:
        ValueError: it is no such table.
        ArithmeticError: the error is not known to be below 10⁻⁶ bit.

    Examples:
        >>> both = torch.zeros(2, 2, 2)  # y is 1 if both are
        >>> for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
        ...     both[a, b, a & b] = 1 / 4
        >>> print("R {:.3f}, U₁ {:.3f}, U₂ {:.3f}, S {:.3f}".format(*information_parts(both)))
        R 0.311, U₁ 0.000, U₂ 0.000, S 0.500
    """
    p = _table("information_parts", "p(x₁, x₂, y), (n₁, n₂, k)", joint, 3)
    first, second, all_of_it = _information(p.sum(1)), _information(p.sum(0)), _information(p.flatten(0, 1))
    least, error = _least_information(p)
    parts = (first + second - least, least - second, least - first, all_of_it - least)
    if not error < _ACCEPTED:
        raise ArithmeticError(
            f"information_parts: the parts {parts} may be wrong by {error:.1e} bit, which is too much; add up values "
            "that are very rare"
        )
    redundancy, unique_1, unique_2, synergy = (max(0.0, part) for part in parts)
    return InformationParts(redundancy, unique_1, unique_2, synergy, error)


def _information(p: Tensor) -> float:
    """I(x; y) of a table (n, k), in bits."""
    return max(0.0, _entropy(p.sum(0)) + _entropy(p.sum(1)) - _entropy(p))


def _entropy(p: Tensor) -> float:
    return -float(torch.special.xlogy(p, p).sum()) / math.log(2)


def _least_information(p: Tensor) -> tuple[float, float]:
    """The least I_q(x₁, x₂; y) over q in Δ, in bits, and a bound of its error.

    H(y) is the same for all q in Δ, so this is to find the largest H_q(y | x₁, x₂), a convex problem (Makkeh, Theis and
    Vicente, 2017, Entropy 19(10)). With the multipliers λ, μ of the pair marginals and z ≥ 0 of q ≥ 0, its optimum is

        log q(y | x₁, x₂) = λ(x₁, y) + μ(x₂, y) + z(x₁, x₂, y)        q z = 0.

    An interior-point method: Newton's method for these equations with q z = ν v, where v is the first q and ν goes to
    0. Any λ and μ give a lower bound, Σ p λ + Σ p μ − Σ p(x₁) max log s(x₁, x₂) ≤ −H_q(y | x₁, x₂) for all q in Δ, with
    the maximum over x₂; so the error is known at each step.
    """
    p = p.where(p > 1e-15, 0.0)  # less is lost in the rounding of the others
    p = p[p.sum((1, 2)) > 0][:, p.sum((0, 2)) > 0][:, :, p.sum((0, 1)) > 0]
    n = len(p)
    given = _marginals(p)  # (n1 + n2, k)
    q = v = given[:n, None] * given[n:] / p.sum((0, 1))  # in Δ: x1 and x2 independent given y
    used, z = q > 0, torch.ones_like(q)
    multipliers = torch.cat([given[:n] / p.sum((1, 2))[:, None], torch.ones_like(given[n:])]).log()  # λ above μ
    multipliers = multipliers.where(given > 0, 0.0)
    upper, lower = math.inf, -math.inf
    for _ in range(_STEPS):
        nu = 0.1 * float((q * z).sum())
        dual = (q / q.sum(2, keepdim=True)).log() - _sums(multipliers, n)  # what z should be
        change, d_q = _newton(q, z, (nu * v / q - dual).where(used, 0.0), given)
        d_z = ((nu * v - z * d_q) / q - z).where(used, 0.0)
        length = min(1.0, 0.99 / max(1e-300, float((-d_q / q).where(used, 0.0).max()), float((-d_z / z).max())))
        q, z, multipliers = q + length * d_q, z + length * d_z, multipliers + length * change
        upper = -_conditional_entropy(_onto(q, given))
        log_s = _sums(multipliers, n).where(used, -math.inf).logsumexp(2)  # (n1, n2)
        lower = float((given * multipliers).sum() - (p.sum((1, 2)) * log_s.max(1).values).sum()) / math.log(2)
        if upper - lower < _PRECISION:
            break
    return _entropy(p.sum((0, 1))) + upper, max(0.0, upper - lower)


def _newton(q: Tensor, z: Tensor, b: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
    """The steps of the multipliers and of q: M dq = b + dλ + dμ, where q + dq has the given pair marginals.

    M is diag((1 + z)/q) − 1/q(x₁, x₂), a block for each (x₁, x₂); its inverse is diag(a) + a aᵀ/c with a and c below.
    """
    n, rows = len(q), len(q) * given.shape[1]
    a = q / (1 + z)  # (n1, n2, k)
    c = (a * z).sum(2).clamp_min(1e-300)  # (n1, n2)

    def inverse(b: Tensor) -> Tensor:
        return a * b + a * ((a * b).sum(2) / c)[..., None]

    cross = torch.einsum("ij,ijy,ijz->iyjz", 1 / c, a, a)  # (n1, k, n2, k)
    blocks = [*cross.sum(2), *cross.sum(0).transpose(0, 1)]
    h = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]  # of λ, μ: the marginals of M⁻¹ (λ + μ)
    h.diagonal().add_(_marginals(a).flatten())
    cross.diagonal(dim1=1, dim2=3).add_(a)
    h[:rows, rows:] = cross.reshape(rows, -1)
    h[rows:, :rows] = h[:rows, rows:].T

    scale = h.diagonal().rsqrt().where(given.flatten() > 0, 0.0)
    h = scale[:, None] * h * scale
    h.diagonal().add_(1e-14)  # λ + 1 and μ − 1 would be the same solution: it takes the smallest
    g = (given - _marginals(q + inverse(b))).flatten()
    factor, _ = torch.linalg.cholesky_ex(h)
    change = (scale * torch.cholesky_solve((scale * g)[:, None], factor)[:, 0]).view_as(given)
    return change, inverse(b + _sums(change, n))


def _marginals(q: Tensor) -> Tensor:
    """The pair marginals q(x₁, y) and below them q(x₂, y), (n₁ + n₂, k)."""
    return torch.cat([q.sum(1), q.sum(0)])


def _sums(multipliers: Tensor, n: int) -> Tensor:
    """λ(x₁, y) + μ(x₂, y), (n₁, n₂, k)."""
    return multipliers[:n, None] + multipliers[n:]


def _onto(q: Tensor, given: Tensor) -> Tensor:
    """A distribution near q that has the pair marginals (Altschuler, Weed and Rigollet, 2017, arXiv:1705.09634)."""
    p1, p2 = given[: len(q)], given[len(q) :]
    q = q * (p1 / q.sum(1)).nan_to_num(0).clamp(max=1)[:, None]
    q = q * (p2 / q.sum(0)).nan_to_num(0).clamp(max=1)
    left1, left2 = p1 - q.sum(1), p2 - q.sum(0)  # at least 0, with the same sum for each y
    return q + left1[:, None] * left2 / left1.sum(0).clamp_min(1e-300)


def _conditional_entropy(q: Tensor) -> float:
    """H_q(y | x₁, x₂), in bits."""
    return _entropy(q) - _entropy(q.sum(2))


# ---- messages


def _table(who: str, what: str, joint: ArrayLike, axes: int) -> Tensor:
    """The probabilities in float64, or an error that says what is wrong with them."""
    try:
        p = torch.from_numpy(to_array(joint, float).copy())
    except (TypeError, ValueError) as error:
        raise ValueError(f"{who}: joint must be numbers, {what}, got {joint!r}") from error
    if p.ndim != axes or not p.numel():
        raise ValueError(f"{who}: joint must be the probabilities {what}, got the shape {tuple(p.shape)}")
    if not p.isfinite().all() or (p < 0).any():
        wrong = (~(p.isfinite() & (p >= 0))).nonzero()[0].tolist()
        raise ValueError(f"{who}: probabilities must be at least 0 and finite, got {p[tuple(wrong)]} at {wrong}")
    if abs(float(p.sum()) - 1) > 1e-4:
        raise ValueError(
            f"{who}: the probabilities must have the sum 1, got {float(p.sum()):.6g}; divide counts by their sum"
        )
    return p / p.sum()
