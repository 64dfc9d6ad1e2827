"""What the experiments and chapters on MFM compute beside the library, against independent computations."""

import math
from itertools import permutations, product

import pytest
import torch
from scipy.optimize import linprog

from experiments.mfm_images import SETTINGS, SHAPES, ReleasedFactor, build, released_mmd
from experiments.mfm_sequences import INFORMATION, MODALITIES, Joined, exact_information, rank_agreement, ratios
from mmtutor.mfm import Factor, VariationalFactor, hsic


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


# ------------------------------------------------------------------------------------------- the released kernel


def released_by_loops(z, p):
    """Its mean over all pairs, those of a row with itself too."""
    k = lambda x, y: math.exp(-sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) / len(x) ** 2)  # noqa: E731
    mean = lambda a, b: sum(k(x, y) for x in a for y in b) / len(a) / len(b)  # noqa: E731
    return mean(p, p) + mean(z, z) - 2 * mean(z, p)


def test_the_released_discrepancy_against_a_loop():
    z = torch.randn(5, 3).double()
    torch.manual_seed(7)
    found = released_mmd(z)
    torch.manual_seed(7)
    assert found.item() == pytest.approx(released_by_loops(z.tolist(), torch.randn_like(z).tolist()), abs=1e-12)
    assert torch.autograd.gradcheck(lambda x: (torch.manual_seed(7), released_mmd(x))[1], z.requires_grad_())


def test_with_the_released_kernel_a_collapse_costs_less_than_perfect_latent_codes():
    """At the size of its visual style, d = 80, and batches of 64; the means are known exactly."""
    d, n = 80, 64
    h = d * d / 2
    zero, two = (h / (h + 1)) ** (d / 2), (h / (h + 2)) ** (d / 2)  # E k(0, p), and E k(p, p') of different samples
    all_pairs = 1 / n + (1 - 1 / n) * two
    collapse, perfect = all_pairs + 1 - 2 * zero, 2 * all_pairs - 2 * two
    assert collapse == pytest.approx(0.00054, abs=1e-5)
    assert perfect == pytest.approx(0.00078, abs=1e-5)
    for truth, scale in ((collapse, 0.0), (perfect, 1.0)):
        drawn = torch.stack([released_mmd(scale * torch.randn(n, d).double()) for _ in range(300)])
        assert drawn.mean().item() == pytest.approx(truth, abs=4 * drawn.std().item() / math.sqrt(300))


def test_the_wide_kernel_pulls_far_codes_back_and_the_narrow_one_pushes_out_of_a_collapse():
    def inward(penalty, scale):
        z = (scale * torch.randn(64, 8).double()).requires_grad_()
        (gradient,) = torch.autograd.grad(penalty(Factor(torch.nn.Identity(), 8, 8, 2), z), z)
        return ((gradient * z).sum() / z.norm()).item()

    assert inward(ReleasedFactor.penalty, 4) > 5 * inward(Factor.penalty, 4) > 0
    assert inward(Factor.penalty, 0.5) < 5 * inward(ReleasedFactor.penalty, 0.5) < 0


def test_the_models_differ_in_their_penalty_and_in_the_width_of_the_latent_codes_alone():
    kinds = {"KL": VariationalFactor, "MMD, released kernel": ReleasedFactor}
    for name in ("KL", "MMD", "joint MMD", "MMD, released kernel", "no penalty", "no penalty, wide"):
        model = build(name)
        assert [part.z for part in model.parts.values()] == [64 if "wide" in name else SETTINGS["z"]] * 3
        assert all(type(model.parts[s]) is kinds.get(name, Factor) for s in SHAPES)
        assert (model.prior == 0) is name.startswith("no penalty")
        assert model.joint is (name == "joint MMD")


# ------------------------------------------------------------------------------ what a modality tells about the label


def bits_by_hand(names):
    """I(y; bits of these modalities): a sum over the 32 cases of sentiment, irony and three errors, one by one."""
    both, alone = {}, {}
    for y, i, wrong_voice, wrong_tone, wrong_face in product((0, 1), repeat=5):
        p = 0.5
        for bit, chance in ((i, 0.3), (wrong_voice, 0.35), (wrong_tone, 0.1), (wrong_face, 0.25)):
            p *= chance if bit else 1 - chance
        shown = {"language": y ^ i, "acoustic": (y ^ wrong_voice, i ^ wrong_tone), "visual": y ^ wrong_face}
        seen = tuple(shown[name] for name in sorted(names))
        both[y, seen] = both.get((y, seen), 0) + p
        alone[seen] = alone.get(seen, 0) + p
    return sum(p * math.log2(p / (0.5 * alone[seen])) for (_, seen), p in both.items())


def test_what_each_modality_tells_alone_given_the_others_and_by_shapley():
    everything = bits_by_hand(MODALITIES)
    found = {m: exact_information(m) for m in MODALITIES}
    for m in MODALITIES:
        a, b = (other for other in MODALITIES if other != m)
        alone, last = bits_by_hand([m]), everything - bits_by_hand([a, b])
        between = [bits_by_hand([m, other]) - bits_by_hand([other]) for other in (a, b)]
        wanted = (alone, last, (2 * alone + sum(between) + 2 * last) / 6)
        assert list(found[m]) == list(INFORMATION)
        assert list(found[m].values()) == pytest.approx(wanted, abs=1e-12)
    assert sum(found[m]["Shapley"] for m in MODALITIES) == pytest.approx(everything, abs=1e-12)
    rounded = [[round(found[m][of], 3) for m in MODALITIES] for of in INFORMATION]
    assert rounded == [[0.119, 0.066, 0.189], [0.421, 0.381, 0.062], [0.283, 0.237, 0.139]]


def test_the_ratio_r_of_each_modality_and_its_agreement_with_what_is_known():
    x = {m: torch.randn(60, 4, 2) for m in MODALITIES}
    strength = {"language": 3.0, "acoustic": 1.0, "visual": 0.3}  # as what they add
    label = torch.randn(60, 2)
    factors = {"label": label, **{m: x[m].flatten(1) for m in MODALITIES}}
    outputs = {m: x[m] + strength[m] * label.unsqueeze(1) for m in MODALITIES}
    found = ratios(factors, outputs)
    for m in MODALITIES:
        style, out = factors[m], outputs[m]
        assert found[f"r, {m}"] == pytest.approx(float(hsic(label, out) / hsic(style, out)), rel=1e-5)
        alignment = [float(hsic(f, out) / (hsic(f, f) * hsic(out, out)).sqrt()) for f in (label, style)]
        assert found[f"r, normalised, {m}"] == pytest.approx(alignment[0] / alignment[1], rel=1e-4)
    assert found["r, language"] > found["r, largest of the others"] == found["r, acoustic"]
    assert found["rank agreement of r, given the others"] == found["rank agreement of r, Shapley"] == pytest.approx(1)
    assert found["rank agreement of r, alone"] == pytest.approx(-0.5)  # the face first: 3, 1, 2 against 1, 2, 3
    assert rank_agreement([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)


def test_the_joined_network_reads_all_modalities_at_each_real_step():
    model = Joined().eval()
    batch = {"language": torch.randn(2, 20, 32), "acoustic": torch.randn(2, 20, 12), "visual": torch.randn(2, 20, 16)}
    batch |= {"length": torch.tensor([20, 12]), "label": torch.tensor([0, 1])}
    for m in MODALITIES:
        batch[m][1, :8] = 0
    scores = model(batch)
    for m in MODALITIES:
        other = {**batch, m: batch[m] + (batch[m] != 0)}
        assert not torch.allclose(model(other), scores)
    alone = {name: x[1:, 8:] if name in MODALITIES else x[1:] for name, x in batch.items()}
    torch.testing.assert_close(model(alone), scores[1:])


# --------------------------------------------------- equation 2: a Wasserstein distance as a choice of latent codes


def world(seed, shared=False):
    """Four equally likely examples (x₁, x₂, y) and four codes (z_y, z_a) of a model x̂₁(z_y, z_a), x̂₂(z_y), ŷ(z_y).

    ``shared``: two codes generate the same, so that couplings are not permutations.
    """
    generator = torch.Generator().manual_seed(seed)
    examples = torch.randint(6, (4, 3), generator=generator).double()
    x1 = torch.randint(6, (2, 1 if shared else 2), generator=generator).double().expand(2, 2)
    of_label = torch.randint(6, (2, 2), generator=generator).double()  # x̂₂ and ŷ of each z_y
    codes = list(product((0, 1), repeat=2))
    generated = torch.stack([torch.tensor([x1[zy, za], *of_label[zy]]) for zy, za in codes])
    return examples, codes, generated


def cost(examples, generated):
    """c(x₁, x̂₁) + c(x₂, x̂₂) + c(y, ŷ), squared errors, of each example and each code."""
    return (examples.unsqueeze(1) - generated).square().sum(2)


def by_couplings(examples, generated):
    """The Wasserstein distance of the two joint distributions: a linear program over all couplings of their points."""
    a, of_a = examples.unique(dim=0, return_counts=True)
    b, of_b = generated.unique(dim=0, return_counts=True)
    c = cost(a, b)
    rows, columns = c.shape
    marginals = [[float(k // columns == i) for k in range(rows * columns)] for i in range(rows)]
    marginals += [[float(k % columns == j) for k in range(rows * columns)] for j in range(columns)]
    masses = [*(of_a / len(examples)).tolist(), *(of_b / len(generated)).tolist()]
    return linprog(c.flatten().tolist(), A_eq=marginals, b_eq=masses).fun


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_the_wasserstein_distance_is_an_infimum_over_codes_whose_mean_is_the_prior(seed, shared):
    examples, _, generated = world(seed, shared)
    c = cost(examples, generated)
    by_codes = min(sum(c[i, k] for i, k in enumerate(chosen)) / 4 for chosen in permutations(range(4)))
    assert by_codes.item() == pytest.approx(by_couplings(examples, generated), abs=1e-9)
    free = c.min(1).values.mean()  # Q may do as it likes: each example takes its best code
    assert free <= by_codes
    if len(set(c.argmin(1).tolist())) < len(generated.unique(dim=0)):  # and then it leaves some code out
        assert free < by_codes


@pytest.mark.parametrize("seed", range(6))
def test_the_mean_field_assumption_allows_fewer_codes_and_so_gives_an_upper_bound(seed):
    """Here z_y is a function of (x₁, x₂) and z_a of x₁ alone (equation 3); Y is read by neither."""
    examples, codes, generated = world(seed)
    c = cost(examples, generated)
    allowed = []
    for chosen in permutations(range(4)):
        z = [codes[k] for k in chosen]
        pairs = {(tuple(e[:2].tolist()), zy) for e, (zy, _) in zip(examples, z, strict=True)}
        firsts = {(e[0].item(), za) for e, (_, za) in zip(examples, z, strict=True)}
        if len(pairs) == len({p for p, _ in pairs}) and len(firsts) == len({x for x, _ in firsts}):
            allowed.append(sum(c[i, k] for i, k in enumerate(chosen)).item() / 4)
    assert allowed == [] or min(allowed) >= by_couplings(examples, generated) - 1e-9
