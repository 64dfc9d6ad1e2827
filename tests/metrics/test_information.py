"""Redundancy, unique information and synergy: closed forms, brute force, a slow solver, the worlds of the chapters."""

import math
from itertools import combinations, permutations, product

import pytest
import torch

from mmtutor.data import information
from mmtutor.data.monologue import FACE_FLIP, IRONY, RARE_IRONY, TONE_FLIP, VOICE_FLIP
from mmtutor.data.scene import COLOURS
from mmtutor.lineargaussian import LinearGaussian
from mmtutor.metrics import information_parts, mutual_information
from mmtutor.metrics.information import _onto

TEN = math.log2(10)
DIGITS = torch.eye(10, dtype=torch.float64)


def table(cases, *shape):
    """Probabilities from equally likely cases (x1, x2, y)."""
    p = torch.zeros(shape, dtype=torch.float64)
    for case in cases:
        p[case] += 1
    return p / p.sum()


def bits(f):
    return table(((a, b, f(a, b)) for a, b in product((0, 1), repeat=2)), 2, 2, 4)


def readers(first, second):
    """Two readers of one digit that err independently; p(x | y), the digits y in rows."""
    return torch.einsum("yi,yj->ijy", first, second) / 10


def symmetric(right):
    return right * DIGITS + (1 - right) / 9 * (1 - DIGITS)


def confuses(*pairs):
    """A reader that takes the two digits of a pair for one."""
    reader = DIGITS.clone()
    for a, b in pairs:
        reader[b] = reader[a]
    return reader


def random_table(*shape, seed, zeros=0.0, power=1.0):
    generator = torch.Generator().manual_seed(seed)
    p = torch.rand(shape, generator=generator, dtype=torch.float64) ** power
    p = p * (torch.rand(shape, generator=generator) >= zeros)
    p[0, 0] = p[0, 0].clamp_min(1e-9)  # something is there
    return p / p.sum()


def check(p, expected, tolerance=2e-9):
    """The four parts, and the three equations that hold in every definition."""
    parts = information_parts(p)
    assert parts[:4] == pytest.approx(expected, abs=tolerance)
    consistent(p, parts)


def consistent(p, parts):
    r, u1, u2, s, error = parts
    assert 0 <= error < 2e-9
    assert min(parts) >= 0
    assert r + u1 == pytest.approx(mutual_information(p.sum(1)), abs=5e-9)
    assert r + u2 == pytest.approx(mutual_information(p.sum(0)), abs=5e-9)
    assert r + u1 + u2 + s == pytest.approx(mutual_information(p.flatten(0, 1)), abs=5e-9)


# ---- closed forms


def test_mutual_information_is_its_definition():
    p = random_table(4, 3, seed=0, zeros=0.2)
    terms = (
        float(p[i, j]) * math.log2(p[i, j] / (p[i].sum() * p[:, j].sum()))
        for i in range(4)
        for j in range(3)
        if p[i, j]
    )
    assert mutual_information(p) == pytest.approx(sum(terms), abs=1e-14)
    assert mutual_information(torch.outer(p[0], p[1]) / p[0].sum() / p[1].sum()) == pytest.approx(0, abs=1e-14)
    assert mutual_information(DIGITS / 10) == pytest.approx(TEN, abs=1e-14)


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda a, b: a ^ b, (0, 0, 0, 1)),
        (lambda a, b: a & b, (1.5 - 0.75 * math.log2(3), 0, 0, 0.5)),
        (lambda a, b: a | b, (1.5 - 0.75 * math.log2(3), 0, 0, 0.5)),
        (lambda a, b: a, (0, 1, 0, 0)),
        (lambda a, b: b, (0, 0, 1, 0)),
        (lambda a, b: 2 * a + b, (0, 1, 1, 0)),  # Williams and Beer: (1, 0, 0, 1)
        (lambda a, b: 3, (0, 0, 0, 0)),
    ],
    ids=["xor", "and", "or", "copy of 1", "copy of 2", "both copied", "constant"],
)
def test_gates(f, expected):
    check(bits(f), expected)


def test_a_mixture_has_all_four_parts():
    """Each modality has three bits: one that both have, one of its own, one of an exclusive or; y has all of them."""
    cases = (
        (4 * r + 2 * a + s, 4 * r + 2 * b + t, 8 * r + 4 * a + 2 * b + (s ^ t))
        for r, a, b, s, t in product((0, 1), repeat=5)
    )
    check(table(cases, 8, 8, 16), (1, 1, 1, 1))


def test_parts_of_independent_labels_add_up():
    first, second = bits(lambda a, b: a & b), random_table(2, 3, 2, seed=3)
    both = torch.einsum("abc,xyz->axbycz", first, second).reshape(4, 6, 8)
    expected = [x + y for x, y in zip(information_parts(first)[:4], information_parts(second)[:4], strict=True)]
    check(both, expected, 1e-8)


# ---- brute force and a slow solver


def by_grid(p):
    """The least I_q(x1; y | x2) of a 2 × 2 × 2 table: Δ has one number for each y, q(0, 0, y); a grid that zooms in."""
    p1, p2, py = p.sum(1), p.sum(0), p.sum((0, 1))
    low, high = (p1[0] + p2[0] - py).clamp_min(0), torch.minimum(p1[0], p2[0])
    centre, width = (low + high) / 2, (high - low) / 2
    for _ in range(12):
        steps = torch.linspace(-1, 1, 41, dtype=torch.float64)
        a = [(centre[y] + width[y] * steps).clamp(low[y], high[y]) for y in range(2)]
        q00 = torch.stack(torch.meshgrid(*a, indexing="ij"), -1)  # (41, 41, 2)
        q = torch.stack([q00, p1[0] - q00, p2[0] - q00, py - p1[0] - p2[0] + q00], -2).clamp_min(0)  # (…, x1 x2, y)
        joint = torch.special.xlogy(q, q).sum((-2, -1)) - torch.special.xlogy(q.sum(-1), q.sum(-1)).sum(-1)
        second = torch.special.xlogy(p2, p2).sum() - torch.special.xlogy(p2.sum(1), p2.sum(1)).sum()
        values = (joint - second) / math.log(2)
        centre, width = q00.flatten(0, 1)[values.argmin()], width / 4
    return float(values.min())


@pytest.mark.parametrize("seed", range(12))
def test_two_by_two_by_two_tables_are_those_of_a_grid(seed):
    p = random_table(2, 2, 2, seed=seed, zeros=0.25 if seed % 3 == 0 else 0, power=1 + seed % 4)
    parts = information_parts(p)
    assert parts.unique_1 == pytest.approx(by_grid(p), abs=1e-7)
    assert parts.unique_2 == pytest.approx(by_grid(p.transpose(0, 1)), abs=1e-7)
    consistent(p, parts)


def alternating(p, rounds=2000):
    """I_q(x1; y | x2) by alternating minimisation: −H_q(y | x1, x2) = min over r of KL(q ‖ r(x1, x2)).

    r is q(x1, x2), and q is r · a(x1, y) · b(x2, y), scaled to the pair marginals.
    """
    p1, p2 = p.sum(1), p.sum(0)
    a, b = p1, p2
    r = p1.sum(1, keepdim=True) * p2.sum(1)
    for _ in range(rounds):
        for _ in range(2):
            a = p1 / torch.einsum("ij,jy->iy", r, b)
            b = p2 / torch.einsum("ij,iy->jy", r, a)
        q = r[..., None] * a[:, None] * b
        r = q.sum(2)
    joint = torch.special.xlogy(q, q).sum() - torch.special.xlogy(r, r).sum()
    second = torch.special.xlogy(p2, p2).sum() - torch.special.xlogy(p2.sum(1), p2.sum(1)).sum()
    return float(joint - second) / math.log(2)


@pytest.mark.parametrize(("shape", "seed"), [((5, 4, 3), 3), ((3, 6, 2), 1), ((7, 7, 4), 7), ((2, 9, 5), 3)])
def test_larger_tables_are_those_of_a_slow_solver(shape, seed):
    p = random_table(*shape, seed=seed, power=2)
    parts = information_parts(p)
    assert parts.unique_1 == pytest.approx(alternating(p), abs=1e-6)
    assert parts.unique_2 == pytest.approx(alternating(p.transpose(0, 1)), abs=1e-6)
    consistent(p, parts)


@pytest.mark.parametrize("seed", range(30))
def test_tables_with_zeros_and_very_small_numbers(seed):
    shape = [int(n) for n in torch.randint(1, 7, (3,), generator=torch.Generator().manual_seed(seed))]
    p = random_table(*shape, seed=seed, zeros=0.1 * (seed % 8), power=1 + seed)
    consistent(p, information_parts(p))


def test_a_garbled_modality_has_nothing_unique_and_the_order_of_the_modalities_does_not_matter():
    p = random_table(4, 1, 3, seed=5)
    garbled = random_table(4, 5, seed=6)
    p = p * (garbled / garbled.sum(1, keepdim=True))[:, :, None]  # x2 is drawn given x1 alone
    parts = information_parts(p)
    assert parts.unique_2 == pytest.approx(0, abs=2e-9)
    assert parts.redundancy == pytest.approx(mutual_information(p.sum(0)), abs=2e-9)
    assert parts.synergy == pytest.approx(0, abs=2e-9)
    r, u1, u2, s, _ = information_parts(p.transpose(0, 1))
    assert (r, u2, u1, s) == pytest.approx(parts[:4], abs=4e-9)


def test_the_same_numbers_every_time_whatever_the_type_and_values_that_never_occur_change_nothing():
    p = random_table(5, 4, 3, seed=7)
    parts = information_parts(p)
    assert information_parts(p) == parts == information_parts(p.numpy()) == information_parts(p.tolist())
    assert information_parts(p.float())[:4] == pytest.approx(parts[:4], abs=1e-6)
    assert information_parts(1.00005 * p)[:4] == pytest.approx(parts[:4], abs=1e-12)  # rounded probabilities
    wide = torch.zeros(7, 6, 5, dtype=torch.float64)
    wide[1:6, :4, 2:] = p
    assert information_parts(wide)[:4] == pytest.approx(parts[:4], abs=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 4, 6])
def test_the_error_is_a_bound_also_where_the_parts_are_not_exact_yet(steps, monkeypatch):
    tables = [random_table(5, 4, 3, seed=seed, zeros=0.2, power=1 + seed) for seed in range(6)]
    exact = [information_parts(p) for p in tables]
    monkeypatch.setattr("mmtutor.metrics.information._STEPS", steps)
    monkeypatch.setattr("mmtutor.metrics.information._ACCEPTED", math.inf)
    for p, parts in zip(tables, exact, strict=True):
        rough = information_parts(p)
        wrong = max(abs(x - y) for x, y in zip(rough[:4], parts[:4], strict=True))
        assert wrong <= rough.error + 1e-8
        assert rough.error > 1e-6


def test_few_steps_are_enough(monkeypatch):
    monkeypatch.setattr("mmtutor.metrics.information._STEPS", 20)
    for seed in range(20):
        information_parts(random_table(6, 5, 4, seed=seed, power=3))


def test_a_distribution_is_moved_onto_the_pair_marginals():
    p, q = random_table(4, 5, 3, seed=0, zeros=0.3), random_table(4, 5, 3, seed=1, power=8)
    given = torch.cat([p.sum(1), p.sum(0)])
    moved = _onto(q, given)
    assert moved.min() >= 0
    torch.testing.assert_close(torch.cat([moved.sum(1), moved.sum(0)]), given)
    torch.testing.assert_close(_onto(p, given), p)


# ---- the worlds of the chapters: every number that a text prints


def test_certain_readers_of_one_digit_and_the_sum_modulo_ten():
    check(readers(DIGITS, DIGITS), (TEN, 0, 0, 0))
    check(table(((a, b, (a + b) % 10) for a, b in product(range(10), repeat=2)), 10, 10, 10), (0, 0, 0, TEN))


def test_readers_with_confusions_of_their_own_have_unique_information():
    """Each of them lacks one bit for two digits of ten; H(y | x) = 0.2."""
    check(readers(confuses((1, 7)), confuses((5, 9))), (TEN - 0.4, 0.2, 0.2, 0))
    check(readers(confuses((1, 7)), confuses((1, 7))), (TEN - 0.2, 0, 0, 0))


def test_noise_that_is_averaged_away_counts_as_synergy():
    one = mutual_information(symmetric(0.8) / 10)
    both = mutual_information(readers(symmetric(0.8), symmetric(0.8)).flatten(0, 1))
    assert (one, both) == pytest.approx((1.9660, 2.6761), abs=5e-5)
    check(readers(symmetric(0.8), symmetric(0.8)), (one, 0, 0, both - one))
    parts = information_parts(readers(symmetric(0.9), symmetric(0.6)))  # the second is the first with more noise
    assert parts[:4] == pytest.approx((1.0830, 1.4529, 0, 0.1994), abs=5e-5)


def monologue_table(irony=IRONY):
    """p(language, (voice, tone), face, y), from the module's docstring."""
    p = torch.zeros(2, 4, 2, 2, dtype=torch.float64)
    for y, i, v, t, f in product((0, 1), repeat=5):
        chance = 0.5
        for wrong, rate in ((i, irony), (v, VOICE_FLIP), (t, TONE_FLIP), (f, FACE_FLIP)):
            chance *= rate if wrong else 1 - rate
        p[y ^ i, 2 * (y ^ v) + (i ^ t), y ^ f, y] += chance
    return p


@pytest.mark.parametrize(
    ("dominant", "pair", "expected"),
    [
        (None, "language, acoustic", (0.0659, 0.0528, 0, 0.4782)),
        (None, "language, visual", (0.1187, 0, 0.0700, 0.0897)),
        (None, "acoustic, visual", (0.0659, 0, 0.1228, 0.0496)),
        (None, "language + acoustic, visual", (0.1887, 0.4082, 0, 0.0620)),
        ("language", "language, acoustic", (0.0659, 0.4651, 0, 0.2256)),
        ("language", "language + acoustic, visual", (0.1887, 0.5679, 0, 0.0388)),
    ],
)
def test_monologues(dominant, pair, expected):
    p = monologue_table(RARE_IRONY if dominant else IRONY)
    p = {
        "language, acoustic": p.sum(2),
        "language, visual": p.sum(1),
        "acoustic, visual": p.sum(0),
        "language + acoustic, visual": p.flatten(0, 1),
    }[pair]
    parts = information_parts(p)
    assert parts[:4] == pytest.approx(expected, abs=5.1e-5)
    consistent(p, parts)
    first, second = (side.split(" + ") for side in pair.split(", "))
    for names, information_of_names in (
        (first, parts.redundancy + parts.unique_1),
        (second, parts.redundancy + parts.unique_2),
        (first + second, sum(parts[:4])),
    ):
        assert information_of_names == pytest.approx(information(names, dominant=dominant).bits, abs=5e-9)


def scene_parts(count, never=()):
    """The digit after a colour word, from a scene of so many objects and the word: the four parts.

    All that a picture tells about the digit are the digits in it, so those are added up (which leaves R, U₁ and U₂ as
    they are); with the colour it is certain.
    """
    never = {(list(COLOURS).index(colour), digit) for colour, digit in never}
    sets = {digits: k for k, digits in enumerate(combinations(range(10), count))}
    cases = (
        (sets[tuple(sorted(digits))], colour, digit)
        for colours in permutations(range(len(COLOURS)), count)
        for digits in permutations(range(10), count)
        if never.isdisjoint(zip(colours, digits, strict=True))
        for colour, digit in zip(colours, digits, strict=True)
    )
    p = table(cases, len(sets), len(COLOURS), 10)
    y = p.sum((0, 1))
    r, u1, u2, _, _ = information_parts(p)
    return r, u1, u2, -float((y * y.log2()).sum()) - r - u1 - u2


def test_the_digit_of_a_colour_needs_picture_and_words():
    assert scene_parts(1) == pytest.approx((0, TEN, 0, 0), abs=1e-8)
    assert scene_parts(2) == pytest.approx((0, TEN - 1, 0, 1), abs=1e-8)
    never = [("red", 7), ("green", 2), ("blue", 5), ("purple", 9)]  # as in chapter 4
    assert scene_parts(2, never) == pytest.approx((0.0703, 2.2493, 0, 1), abs=5e-5)


def test_a_caption_tells_nothing_about_a_scene_that_the_picture_does_not():
    """A scene of one object: colour, digit and size; half of the captions are silent about the size."""
    size = table(((s, (1 + s) * said, s) for s, said in product((0, 1), repeat=2)), 2, 3, 2)
    check(size, (0.5, 0.5, 0, 0))
    assert math.log2(8 * 10) + 0.5 == pytest.approx(6.8219, abs=5e-5)  # R: colour and digit are always said


def test_two_pictures_of_one_digit_share_the_digit_and_not_the_style():
    """Chapters 8 and 10: y the digit, or the style of the first picture; here 10 digits and 2 styles of each."""
    cases = [(d, a, b) for d in range(10) for a in (0, 1) for b in (0, 1)]
    check(table(((2 * d + a, 2 * d + b, d) for d, a, b in cases), 20, 20, 10), (TEN, 0, 0, 0))
    check(table(((2 * d + a, 2 * d + b, a) for d, a, b in cases), 20, 20, 2), (0, 1, 0, 0))


def test_what_a_student_lacks_is_unique_information_and_synergy():
    """Chapter 11: I(z; x_rest | x_i) = U_rest + S is a difference of informations, in closed form for Gaussians."""
    weights = {"image": torch.tensor([[1.0, 0.6]]), "sound": torch.tensor([[0.2, -0.5], [0.5, 0.4]])}
    world = LinearGaussian({m: w.double() for m, w in weights.items()}, {"image": 0.5, "sound": 0.8})

    def known(modalities):
        return float(torch.logdet(world.precision(modalities))) / 2 / math.log(2)

    image, sound, both = known("image"), known("sound"), known(["image", "sound"])
    assert (image, sound, both) == pytest.approx((1.3435, 0.6193, 1.6798), abs=5e-5)
    for modality, lacks in (("image", both - image), ("sound", both - sound)):
        assert world.missing_information(modality) / math.log(2) == pytest.approx(lacks, abs=1e-12)
    assert (both - image, both - sound) == pytest.approx((0.3363, 1.0605), abs=5e-5)


# ---- messages


@pytest.mark.parametrize(
    ("joint", "message"),
    [
        (torch.full((2, 2), 0.25), r"\(n₁, n₂, k\), got the shape \(2, 2\)"),
        (torch.zeros(0, 2, 2), r"got the shape \(0, 2, 2\)"),
        (torch.ones(2, 2, 2), "sum 1, got 8; divide counts by their sum"),
        (torch.zeros(2, 2, 2), "sum 1, got 0"),
        (torch.tensor([[[1.5, -0.5]]]), r"at least 0 and finite, got -0.5 at \[0, 0, 1\]"),
        (torch.tensor([[[1.0, math.nan]]]), r"finite, got nan at \[0, 0, 1\]"),
        ([[["a"]]], "must be numbers"),
        ([[[1.0], [1.0, 2.0]]], "must be numbers"),
    ],
)
def test_a_table_that_is_none_is_refused(joint, message):
    with pytest.raises(ValueError, match=f"information_parts: .*{message}"):
        information_parts(joint)


def test_mutual_information_names_itself_and_its_shape():
    with pytest.raises(ValueError, match=r"mutual_information: joint must be the probabilities p\(x, y\), \(n, k\)"):
        mutual_information(torch.full((2, 2, 2), 1 / 8))


def test_what_is_not_exact_is_refused(monkeypatch):
    monkeypatch.setattr("mmtutor.metrics.information._STEPS", 3)
    with pytest.raises(ArithmeticError, match=r"may be wrong by .* bit"):
        information_parts(random_table(5, 4, 3, seed=0))
