"""Retrieval in a joint embedding: how well it finds, how well it could, and how the space is filled.

A *query* finds *candidates* by similarity. Of equally similar candidates each is as likely to come first.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmtutor.data.arrays import to_array
from mmtutor.metrics.arguments import matrix


def ranks(similarity: ArrayLike, right: ArrayLike) -> NDArray[np.float64]:
    """The rank of the first right candidate of each query, from 1; equally similar ones count half.

    Args:
        similarity: (N, M), N queries, M candidates.
        right: which candidates are right, bool (N, M), at least one for each query.

    Returns:
        (N,). If all are equally similar and one is right, its rank is (M + 1) / 2.

    Raises:
        ValueError: shapes do not fit, a number is not finite, or a query has no right candidate.

    Examples:
        >>> ranks([[0.9, 0.1, 0.5], [0.3, 0.3, 0.3]], np.eye(3, dtype=bool)[:2]).tolist()
        [1.0, 2.0]
    """
    s, known = _checked("ranks", similarity, right)
    best = np.where(known, s, -np.inf).max(1, keepdims=True)
    wrong = ~known
    return np.asarray(1 + (wrong & (s > best)).sum(1) + (wrong & (s == best)).sum(1) / 2, float)


def recall_at(similarity: ArrayLike, right: ArrayLike, k: int = 1) -> float:
    """R@K: the share of queries with a right candidate among the first K; of equally similar ones, the expectation.

    Args:
        similarity: (N, M), N queries, M candidates.
        right: which candidates are right, bool (N, M), at least one for each query.
        k: K, from 1 to M.

    Raises:
        ValueError: as in `ranks`, or there is no such K.

    Examples:
        >>> (
        ...     recall_at([[0.9, 0.1], [0.8, 0.2]], np.eye(2, dtype=bool)),
        ...     recall_at(np.zeros((2, 2)), np.eye(2, dtype=bool)),
        ... )
        (0.5, 0.5)
    """
    s, known = _checked("recall_at", similarity, right)
    if isinstance(k, bool) or not 1 <= k <= s.shape[1]:
        raise ValueError(f"recall_at: k must be from 1 to {s.shape[1]}, got {k!r}")
    found = []
    for row, good in zip(s, known, strict=True):
        best = row[good].max()
        before = int((row[~good] > best).sum())
        tied, right_tied = int((row == best).sum()), int((row[good] == best).sum())
        left = k - before  # places among the tied ones
        if left <= 0:
            found.append(0.0)
        elif left >= tied - right_tied + 1:
            found.append(1.0)
        else:  # one minus the share of draws that have none of the right ones
            found.append(1 - comb(tied - right_tied, left) / comb(tied, left))
    return float(np.mean(found))


def recall_ceiling(p: Sequence[float], n: int, k: int = 1) -> float:
    """The largest possible R@K if pictures and sentences share a class alone, and each query has one right candidate.

    Among n pairs drawn at random, m of the candidates have the query's class, its own among them, and nothing tells
    them apart: R@K is at best the mean of min(1, K / m).

    Args:
        p: probability of each class; they sum to 1.
        n: pairs, at least 1.
        k: K.

    Examples:
        >>> [round(recall_ceiling([0.1] * 10, n), 4) for n in (16, 64, 256, 1000)]
        [0.5092, 0.1561, 0.0391, 0.01]
    """
    share = _classes("recall_ceiling", p, n)
    return float(sum(q * np.minimum(1, k / np.arange(1, n + 1)) @ _others(q, n) for q in share))


def contrastive_floor(p: Sequence[float], n: int) -> float:
    """The least possible InfoNCE in nats if the two modalities share a class alone: the mean of log m.

    Args:
        p: probability of each class; they sum to 1.
        n: pairs of a batch, at least 1.

    Returns:
        Never below log n minus the entropy of the class, the mutual information of the two.

    Examples:
        >>> [round(contrastive_floor([0.1] * 10, n), 4) for n in (16, 64, 256, 1000)]
        [0.8013, 1.9291, 3.2603, 4.6097]
    """
    share = _classes("contrastive_floor", p, n)
    return float(sum(q * np.log(np.arange(1, n + 1)) @ _others(q, n) for q in share))


def analogies(
    start: ArrayLike,
    minus: ArrayLike,
    plus: ArrayLike,
    candidates: ArrayLike,
    right: ArrayLike,
    exclude: ArrayLike | None = None,
) -> float:
    """The share of queries ``start − minus + plus`` whose most similar candidate is right, by the cosine.

    "Red three − red + blue" should find blue threes (Kiros and others, 2014, arXiv:1411.2539). Where start is itself a
    candidate it is often the nearest, so programs commonly leave it out, and with words ``minus`` and ``plus`` too.
    That can make the arithmetic look better than it is: score it with and without ``exclude``.

    Args:
        start: (N, d).
        minus: (N, d).
        plus: (N, d).
        candidates: (M, d), not 0.
        right: which candidates are right, bool (N, M), at least one for each query.
        exclude: which are left out, bool (N, M); never a query's right ones.

    Examples:
        >>> red, blue, three = np.eye(3)[:1], np.eye(3)[1:2], np.eye(3)[2:]
        >>> candidates = np.concatenate([red + three, blue + three, red])
        >>> analogies(red + three, red, blue, candidates, [[False, True, False]])
        1.0
    """
    x, y = _two("analogies", start, candidates)
    shapes = {name: matrix("analogies", name, z, 1) for name, z in (("minus", minus), ("plus", plus))}
    for name, z in shapes.items():
        if z.shape != x.shape:
            raise ValueError(f"analogies: {name} must be {x.shape}, as start, got {z.shape}")
    length = np.linalg.norm(y, axis=1)
    if not length.all():
        raise ValueError(f"analogies: candidate {int((length == 0).argmax())} is 0, it has no direction")
    s, known = _checked("analogies", (x - shapes["minus"] + shapes["plus"]) @ (y / length[:, None]).T, right)
    if exclude is not None:
        out = to_array(exclude, bool)
        if out.shape != s.shape or (out & known).any():
            raise ValueError(f"analogies: exclude must be bool {s.shape} and leave the right candidates in")
        s = np.where(out, s.min() - 1, s)
    return recall_at(s, known)


def modality_gap(a: ArrayLike, b: ArrayLike) -> float:
    """The distance between the means of two modalities' embeddings (Liang and others, 2022, arXiv:2203.02053).

    Args:
        a: (N, d), of length 1.
        b: (M, d), of length 1.

    Examples:
        >>> modality_gap([[1.0, 0.0], [-1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]])
        1.0
    """
    x, y = _two("modality_gap", a, b)
    return float(np.linalg.norm(x.mean(0) - y.mean(0)))


def alignment(a: ArrayLike, b: ArrayLike) -> float:
    """The mean squared distance of pairs, 0 to 4; smaller is closer (Wang and Isola, 2020, arXiv:2005.10242).

    Args:
        a: (N, d), of length 1.
        b: the other half of each pair, (N, d).

    Examples:
        >>> alignment([[1.0, 0.0]], [[0.0, 1.0]])
        2.0
    """
    x, y = _two("alignment", a, b)
    if len(x) != len(y):
        raise ValueError(f"alignment: needs pairs, got {len(x)} and {len(y)} rows")
    return float(((x - y) ** 2).sum(1).mean())


def uniformity(z: ArrayLike) -> float:
    """Log of the mean of exp(−2 ‖x − y‖²) over two different rows; smaller if the sphere is filled more evenly.

    Args:
        z: (N, d), of length 1, at least two rows.

    Examples:
        >>> uniformity([[1.0, 0.0], [1.0, 0.0]])
        0.0
    """
    x = matrix("uniformity", "z", z, 2)
    squared = (x**2).sum(1)[:, None] + (x**2).sum(1) - 2 * x @ x.T
    pairs = ~np.eye(len(x), dtype=bool)
    return float(np.log(np.exp(-2 * squared[pairs].clip(min=0)).mean()) + 0.0)


def _others(q: float, n: int) -> NDArray[np.float64]:
    """P(m = 1 … n): one, and how many of n − 1 others have a class of probability q."""
    from scipy.stats import binom

    return np.asarray(binom.pmf(np.arange(n), n - 1, q))


def _classes(who: str, p: Sequence[float], n: int) -> NDArray[np.float64]:
    share = np.asarray(p, dtype=float)
    if share.ndim != 1 or not len(share) or (share < 0).any() or abs(share.sum() - 1) > 1e-6:
        raise ValueError(f"{who}: p must be probabilities that sum to 1, got {p!r}")
    if isinstance(n, bool) or n < 1:
        raise ValueError(f"{who}: n must be at least 1, got {n!r}")
    return share


def _two(who: str, a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = matrix(who, "a", a, 1), matrix(who, "b", b, 1)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"{who}: embeddings of {x.shape[1]} and of {y.shape[1]} numbers are in two spaces")
    return x, y


def _checked(who: str, similarity: ArrayLike, right: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    s, known = matrix(who, "similarity", similarity, 1), to_array(right, bool)
    if known.shape != s.shape:
        raise ValueError(f"{who}: right must be bool {s.shape}, as similarity, got {known.shape}")
    if not known.any(1).all():
        raise ValueError(f"{who}: query {int((~known.any(1)).argmax())} has no right candidate")
    return s, known
