"""Retrieval against hand counts, enumeration and draws."""

import itertools
import math

import numpy as np
import pytest
import torch

from mmtutor.metrics import (
    alignment,
    analogies,
    contrastive_floor,
    modality_gap,
    ranks,
    recall_at,
    recall_ceiling,
    uniformity,
)


def in_random_order(row, good, generator):
    """Whether each place, from the first, has found a right one, ties being broken at random."""
    order = generator.permutation(len(row))
    order = order[np.argsort(-row[order], kind="stable")]
    return np.maximum.accumulate(good[order])


def test_ranks_and_recall_by_drawing_the_ties():
    generator = np.random.default_rng(0)
    s = generator.integers(0, 3, (20, 6)).astype(float)
    right = generator.random((20, 6)) < 0.3
    right[np.arange(20), generator.integers(0, 6, 20)] = True
    drawn = np.mean([[in_random_order(r, g, generator) for r, g in zip(s, right, strict=True)] for _ in range(4000)], 0)
    for k in range(1, 7):
        assert recall_at(s, right, k) == pytest.approx(drawn[:, k - 1].mean(), abs=0.01)
    distinct = generator.permuted(np.tile(np.arange(6.0), (20, 1)), axis=1)
    rows = zip(distinct, right, strict=True)
    first = [1 + min((row > row[k]).sum() for k in np.flatnonzero(good)) for row, good in rows]
    assert ranks(distinct, right).tolist() == first


def test_a_collapsed_embedding_finds_by_chance():
    right = np.eye(50, dtype=bool)
    assert recall_at(np.ones((50, 50)), right, 5) == pytest.approx(0.1)
    assert np.median(ranks(np.ones((50, 50)), right)) == 25.5


def by_enumeration(p, n, of):
    """The mean of a function of m over all classes of n pairs."""
    total = 0.0
    for classes in itertools.product(range(len(p)), repeat=n):
        weight = math.prod(p[c] for c in classes)
        total += weight * np.mean([of(classes.count(c)) for c in classes])
    return total


@pytest.mark.parametrize("p", [[0.5, 0.5], [0.2, 0.3, 0.5], [1.0]])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_floor_and_ceiling_by_enumeration(p, n):
    assert contrastive_floor(p, n) == pytest.approx(by_enumeration(p, n, math.log), abs=1e-12)
    for k in (1, 2):
        assert recall_ceiling(p, n, k) == pytest.approx(by_enumeration(p, n, lambda m, k=k: min(1, k / m)), abs=1e-12)


def test_published_values_for_ten_digits():
    """Of the design of this chapter, and in closed form: E[1 / (1 + X)] = (1 − (1 − p)ᴺ) / (N p)."""
    p = [0.1] * 10
    for n, floor, tenth in ((16, 0.8013, 1.0), (64, 1.9291, 0.9858), (256, 3.2603, 0.3906), (1000, 4.6097, 0.1)):
        assert recall_ceiling(p, n) == pytest.approx((1 - 0.9**n) / (0.1 * n), abs=1e-12)
        assert contrastive_floor(p, n) == pytest.approx(floor, abs=5e-5)
        assert recall_ceiling(p, n, 10) == pytest.approx(tenth, abs=5e-5)
        assert math.log(n) - contrastive_floor(p, n) < math.log(10)


def test_gap_alignment_and_uniformity_by_hand():
    a = torch.nn.functional.normalize(torch.randn(40, 5), dim=1)
    b = torch.nn.functional.normalize(a + 0.1, dim=1)
    assert modality_gap(a, b) == pytest.approx((a.mean(0) - b.mean(0)).norm().item(), abs=1e-6)
    assert alignment(a, b) == pytest.approx((2 - 2 * (a * b).sum(1)).mean().item(), abs=1e-5)
    distances = torch.cdist(a.double(), a.double())[~torch.eye(40, dtype=torch.bool)]
    assert uniformity(a) == pytest.approx(distances.square().mul(-2).exp().mean().log().item(), abs=1e-6)


def test_what_does_not_fit_is_refused():
    s, right = np.zeros((2, 3)), np.ones((2, 3), bool)
    for call, says in (
        (lambda: recall_at(s, right[:1]), r"right must be bool \(2, 3\)"),
        (lambda: ranks(s, np.array([[True] * 3, [False] * 3])), "query 1 has no right candidate"),
        (lambda: recall_at(s, right, 0), "k must be from 1 to 3"),
        (lambda: recall_at(s, right, 4), "k must be from 1 to 3"),
        (lambda: ranks(s * np.nan, right), "similarity must be finite"),
        (lambda: contrastive_floor([0.5, 0.6], 3), "sum to 1"),
        (lambda: recall_ceiling([0.5, 0.5], 0), "n must be at least 1"),
        (lambda: modality_gap(np.zeros((2, 3)), np.zeros((2, 4))), "in two spaces"),
        (lambda: alignment(np.zeros((2, 3)), np.zeros((3, 3))), "needs pairs"),
        (lambda: uniformity(np.zeros((1, 3))), "n at least 2"),
    ):
        with pytest.raises(ValueError, match=says):
            call()


def test_analogies_by_loops():
    """With and without what is left out, against one query after the other; the lengths of candidates do not matter."""
    generator = np.random.default_rng(0)
    start, minus, plus = generator.standard_normal((3, 30, 4))
    candidates = generator.standard_normal((9, 4)) * generator.uniform(0.1, 10, (9, 1))
    right = generator.random((30, 9)) < 0.3
    right[np.arange(30), generator.integers(0, 9, 30)] = True
    exclude = (generator.random((30, 9)) < 0.4) & ~right
    for out in (None, exclude):
        hits = []
        for k in range(30):
            wanted = start[k] - minus[k] + plus[k]
            cosines = [wanted @ c / np.linalg.norm(c) for c in candidates]
            order = sorted(range(9), key=lambda j: -cosines[j])
            hits.append(right[k, next(j for j in order if out is None or not out[k, j])])
        assert analogies(start, minus, plus, candidates, right, out) == np.mean(hits)
    assert analogies(start, minus, plus, candidates, right, exclude) > analogies(start, minus, plus, candidates, right)


def test_what_is_left_out_can_decide():
    """Where a step is short the start is nearest; left out, the next one is found, right or not."""
    candidates = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    start, minus, plus = candidates[:1], np.array([[0.1, 0.0]]), np.array([[0.0, 0.1]])
    right = np.array([[False, True, False]])
    assert analogies(start, minus, plus, candidates, right) == 0
    assert analogies(start, minus, plus, candidates, right, [[True, False, False]]) == 1


def test_analogies_refuse_what_does_not_fit():
    z, right = np.eye(3), np.eye(3, dtype=bool)
    for given, said in (
        ((z, z[:2], z, z, right), r"minus must be \(3, 3\), as start"),
        ((z, z, z[:, :2], z, right), r"plus must be \(3, 3\), as start"),
        ((z, z, z, z[:, :2], right), "two spaces"),
        ((z, z, z, z * [[1], [0], [1]], right), "candidate 1 is 0"),
        ((z, z, z, z, right[:2]), "right must be bool"),
        ((z, z, z, z, right, right), "leave the right candidates in"),
        ((z, z, z, z, right, right[:2]), "exclude must be bool"),
    ):
        with pytest.raises(ValueError, match=f"^analogies: .*{said}"):
            analogies(*given)
