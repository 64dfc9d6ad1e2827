"""Joint embedding: losses against loops, closed forms and exact optima; masks, several sentences, refusals."""

import itertools
import math

import pytest
import torch
from torch import nn

from mmtutor.embedding import InfoNCE, JointEmbedding, Sigmoid, Triplet
from mmtutor.metrics import contrastive_floor
from mmtutor.training import evaluate, fit


def exact(loss, scale):
    """In float64, the scale to all digits."""
    loss = loss.double()
    loss.log_scale.data.fill_(math.log(scale))
    return loss


LOSSES = {
    "InfoNCE": lambda: exact(InfoNCE(7.0), 7.0),
    "triplet": lambda: Triplet(0.3),
    "hardest": lambda: Triplet(0.3, hardest=True),
    "sigmoid": lambda: exact(Sigmoid(5.0, -2.0), 5.0),
}
every_loss = pytest.mark.parametrize("name", LOSSES)


def problem(N=4, R=3, seed=0):
    """Similarities, owners, and which pairs count: one picture is missing, one sentence is a known false negative."""
    torch.manual_seed(seed)
    s = (2 * torch.rand(N, N * R, dtype=torch.float64) - 1).requires_grad_()
    owner = torch.arange(N).repeat_interleave(R)
    counted = torch.ones(N, N * R, dtype=torch.bool)
    counted[1], counted[:, owner == 1] = False, False
    counted[0, owner == 2] = False
    return s, owner, counted


def by_loops(name, s, owner, counted):
    """Each pair, each of its negatives, one after the other."""
    N, M = s.shape
    pairs = [(int(owner[j]), j) for j in range(M) if counted[owner[j], j]]
    total = torch.zeros((), dtype=s.dtype)
    if name == "sigmoid":
        for i in range(N):
            for j in range(M):
                if counted[i, j]:
                    z = 5.0 * s[i, j] - 2.0
                    p = torch.sigmoid(z if owner[j] == i else -z)
                    total = total - p.log()
        return total / sum(bool(counted[i].any()) for i in range(N))
    for i, j in pairs:
        of_picture = [s[i, k] for k in range(M) if owner[k] != i and counted[i, k]]
        of_sentence = [s[k, j] for k in range(N) if owner[j] != k and counted[k, j]]
        for negatives in (of_picture, of_sentence):
            if name == "InfoNCE":
                e = [torch.exp(7.0 * x) for x in (s[i, j], *negatives)]
                total = total - (e[0] / sum(e)).log() / 2
            else:
                hinges = [(0.3 + x - s[i, j]).clamp_min(0) for x in negatives]
                total = total + (max(hinges) if name == "hardest" else sum(hinges))
    return total / len(pairs)


@every_loss
@pytest.mark.parametrize("R", [1, 3])
def test_a_loss_and_its_gradient_by_loops(name, R):
    s, owner, counted = problem(R=R)
    loss = LOSSES[name]()(s, owner, counted)
    wanted = by_loops(name, s, owner, counted)
    (gradient,) = torch.autograd.grad(loss, s)
    (expected,) = torch.autograd.grad(wanted, s)
    assert (loss - wanted).abs() < 1e-12
    assert (gradient - expected).abs().max() < 1e-12


def test_with_one_sentence_each_infonce_is_the_cross_entropy_of_clip():
    s = torch.randn(6, 6, dtype=torch.float64)
    target = torch.arange(6)
    ours = exact(InfoNCE(3.0), 3.0)(s, target, torch.ones(6, 6, dtype=torch.bool))
    theirs = (nn.functional.cross_entropy(3 * s, target) + nn.functional.cross_entropy(3 * s.T, target)) / 2
    assert (ours - theirs).abs() < 1e-12


def test_where_all_is_one_point_the_triplets_are_their_margins():
    """The trap of hardest negatives: 2 α a pair, 2 B α a batch; with all negatives 2 (B − 1) α a pair."""
    B, all_counted = 8, torch.ones(8, 8, dtype=torch.bool)
    s, owner = torch.ones(B, B, dtype=torch.float64), torch.arange(B)
    assert B * Triplet(0.2, hardest=True)(s, owner, all_counted).item() == pytest.approx(2 * B * 0.2, abs=1e-12)
    assert Triplet(0.2)(s, owner, all_counted).item() == pytest.approx(2 * (B - 1) * 0.2, abs=1e-12)
    assert InfoNCE(5.0).double()(s, owner, all_counted).item() == pytest.approx(math.log(B), abs=1e-12)


def test_the_warm_up_of_hardest_negatives_sums_first():
    s, owner, counted = problem()
    loss = Triplet(0.3, hardest=True, warm_up=2).train()
    values = [loss(s, owner, counted).item() for _ in range(4)]
    wanted = {name: by_loops(name, s, owner, counted).item() for name in ("triplet", "hardest")}
    assert values == pytest.approx([wanted["triplet"]] * 2 + [wanted["hardest"]] * 2)
    again = Triplet(0.3, hardest=True, warm_up=2)
    assert again.eval()(s, owner, counted).item() == pytest.approx(wanted["hardest"])
    assert again.batches == 0
    again.load_state_dict(loss.state_dict())
    assert again.batches == 4  # a run that goes on does not begin with the warm-up again


@pytest.mark.parametrize("loss", [InfoNCE, Sigmoid])
def test_a_learned_scale_is_held_and_can_come_down_again(loss):
    module = loss(scale=99.0, most=100.0)
    with torch.no_grad():
        module.log_scale.add_(1.0)
    s = torch.zeros(3, 3)
    module(s, torch.arange(3), torch.ones(3, 3, dtype=torch.bool)).backward()
    assert module.scale.item() == pytest.approx(100.0, rel=1e-5)
    module.zero_grad()
    wrong = torch.tensor([[0.0, 1.0], [1.0, 0.0]])  # the pairs are least similar: a smaller scale is better
    module(wrong, torch.arange(2), torch.ones(2, 2, dtype=torch.bool)).backward()
    assert module.log_scale.grad > 0
    fixed = loss(scale=5.0, learned=False)
    assert not any(p.requires_grad for p in fixed.parameters())


# ---- exact optima


def joint(seed=0, X=4, Y=5):
    torch.manual_seed(seed)
    p = torch.rand(X, Y, dtype=torch.float64) ** 3 + 0.01
    return p / p.sum()


def batches(p, N):
    """Every batch of N pairs of a discrete world, with its probability."""
    cells = [(x, y) for x in range(p.shape[0]) for y in range(p.shape[1])]
    for rows in itertools.product(cells, repeat=N):
        yield torch.tensor(rows), math.prod(p[x, y].item() for x, y in rows)


@pytest.mark.parametrize("name", ["InfoNCE", "sigmoid"])
def test_the_best_similarity_is_pointwise_mutual_information(name):
    """The gradient of the expected loss, over all batches, is zero there: up to a constant, or minus log (N − 1)."""
    p, N = joint(X=2, Y=3), 3
    pmi = (p / (p.sum(1, keepdim=True) * p.sum(0))).log()
    t = (pmi if name == "InfoNCE" else pmi - math.log(N - 1)).requires_grad_()
    loss = (InfoNCE(1.0, learned=False) if name == "InfoNCE" else Sigmoid(1.0, 0.0, learned=False)).double()
    owner, counted = torch.arange(N), torch.ones(N, N, dtype=torch.bool)
    expected = sum(w * loss(t[rows[:, 0]][:, rows[:, 1]], owner, counted) for rows, w in batches(p, N))
    (gradient,) = torch.autograd.grad(expected, t)
    assert gradient.abs().max() < 1e-12
    elsewhere = (t + torch.tensor([[0.1, 0.0, 0.0], [0.0, 0.0, 0.0]])).detach().requires_grad_()
    away = sum(w * loss(elsewhere[rows[:, 0]][:, rows[:, 1]], owner, counted) for rows, w in batches(p, N))
    assert away > expected


def test_no_similarity_is_below_the_floor_and_the_best_one_is_on_it():
    """Pictures and sentences share a class alone: with the exact similarity the loss of many batches is E log m."""
    torch.manual_seed(0)
    N, p = 16, [0.5, 0.2, 0.2, 0.1]
    losses = []
    for _ in range(2000):
        c = torch.multinomial(torch.tensor(p), N, replacement=True)
        s = torch.where(c[:, None] == c, 0.0, -1.0).double()
        losses.append(InfoNCE(60.0).double()(s, torch.arange(N), torch.ones(N, N, dtype=torch.bool)).item())
    error = torch.tensor(losses).std().item() / math.sqrt(len(losses))
    assert abs(sum(losses) / len(losses) - contrastive_floor(p, N)) < 4 * error


# ---- linear encoders in a linear-Gaussian world: canonical correlation analysis (CCA, Hotelling 1936)


def linear_gaussian():
    """The joint covariance of x (3) and y (4), which share two numbers, and the canonical pairs: ρ, and both maps."""
    torch.manual_seed(0)
    A, B = torch.randn(3, 2).double(), torch.randn(4, 2).double()
    covariance = torch.cat([A, B]) @ torch.cat([A, B]).T + torch.diag(torch.rand(7).double() + 0.5)
    roots = [torch.linalg.cholesky(covariance[part, part]) for part in (slice(0, 3), slice(3, 7))]
    whitened = torch.linalg.solve(roots[0], covariance[:3, 3:]) @ torch.linalg.inv(roots[1]).T
    U, rho, Vh = torch.linalg.svd(whitened, full_matrices=False)
    return covariance, rho, torch.linalg.solve(roots[0].T, U), torch.linalg.solve(roots[1].T, Vh.T), roots


def drawn(covariance, n):
    z = torch.randn(n, 7).double() @ torch.linalg.cholesky(covariance).T
    return z[:, :3], z[:, 3:]


def test_pointwise_mutual_information_of_gaussians_is_that_of_canonical_pairs():
    covariance, rho, to_u, to_v, _ = linear_gaussian()
    x, y = drawn(covariance, 50)
    normal = torch.distributions.MultivariateNormal
    parts = [(torch.cat([x, y], 1), covariance), (x, covariance[:3, :3]), (y, covariance[3:, 3:])]
    together, *alone = (normal(torch.zeros(len(c)).double(), c).log_prob(z) for z, c in parts)
    u, v = x @ to_u, y @ to_v
    by_pair = (rho * u * v - rho**2 * (u**2 + v**2) / 2) / (1 - rho**2) - (1 - rho**2).log() / 2
    assert rho[2] < 1e-7 < 0.3 < rho[1]  # two numbers are shared
    assert (together - sum(alone) - by_pair.sum(1)).abs().max() < 1e-10


def test_infonce_finds_the_canonical_directions():
    """Trained as xᵀ W y and a quadratic form of each, W is Σ uₖ vₖᵀ ρₖ / (1 − ρₖ²) of the whitened x and y."""
    covariance, rho, *_, roots = linear_gaussian()
    x, y = drawn(covariance, 16 * 256)
    W, P, Q = (torch.zeros(shape, dtype=torch.float64, requires_grad=True) for shape in ((3, 4), (3, 3), (4, 4)))
    loss, owner, counted = InfoNCE(1.0, learned=False).double(), torch.arange(256), torch.ones(256, 256).bool()
    optimizer = torch.optim.LBFGS([W, P, Q], max_iter=60, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        total = torch.zeros(()).double()
        for a, b in zip(x.split(256), y.split(256), strict=True):
            s = a @ W @ b.T - ((a @ P) * a).sum(1, keepdim=True) - ((b @ Q) * b).sum(1)
            total = total + loss(s, owner, counted) / 16
        total.backward()
        return total

    first = optimizer.step(closure)
    U, found, Vh = torch.linalg.svd(roots[0].T @ W.detach() @ roots[1])
    _, _, to_u, to_v, _ = linear_gaussian()
    assert (found - rho / (1 - rho**2)).abs().max() < 0.1
    for whitened, exact in ((U, roots[0].T @ to_u), (Vh.T, roots[1].T @ to_v)):
        cosines = (whitened[:, :2] * exact[:, :2]).sum(0).abs()
        assert cosines.min() > 0.99
    information = -(1 - rho**2).log().sum() / 2
    assert closure() < math.log(256) - 0.9 * information
    assert closure() > math.log(256) - information - 0.05
    assert first > closure() + 0.2


# ---- the model


def model(loss=None, several=True, group=None, seed=0):
    torch.manual_seed(seed)
    encoders = {"picture": nn.Linear(5, 6), "words": nn.Linear(4, 7)}
    return JointEmbedding(encoders, [6, 7], 3, loss, several=several, group=group).double()


def batch(B=5, R=2, seed=0):
    torch.manual_seed(seed)
    return {"picture": torch.randn(B, 5).double(), "words": torch.randn(B, R, 4).double()}


@every_loss
def test_the_loss_of_a_batch_by_hand(name):
    m, b = model(LOSSES[name]()), batch()
    z = m.embed(b)
    assert z["words"].shape == (5, 2, 3)
    for x in z.values():
        assert (x.norm(dim=-1) - 1).abs().max() < 1e-12
    s = torch.stack(
        [torch.stack([z["picture"][i] @ z["words"][k, r] for k in range(5) for r in range(2)]) for i in range(5)]
    )
    assert (m.similarity(b) - s).abs().max() < 1e-12
    owner = torch.arange(5).repeat_interleave(2)
    wanted = by_loops(name, s, owner, torch.ones(5, 10, dtype=torch.bool))
    assert (m.loss(b)["loss"] - wanted).abs() < 1e-12


@every_loss
def test_missing_examples_are_as_if_they_were_not_there(name):
    b = batch()
    b |= {
        "picture_present": torch.tensor([1, 1, 0, 1, 1]).bool(),
        "words_present": torch.tensor([1, 0, 1, 1, 1]).bool(),
    }
    b["picture"][2], b["words"][1] = torch.nan, torch.inf
    rows = [0, 3, 4]
    fewer = {"picture": b["picture"][rows], "words": b["words"][rows]}
    m = model(LOSSES[name]())
    losses = [m.loss(x)["loss"] for x in (b, fewer)]
    assert (losses[0] - losses[1]).abs() < 1e-12
    gradients = [torch.autograd.grad(loss, list(m.encoders.parameters())) for loss in losses]
    for a, c in zip(*gradients, strict=True):
        assert (a - c).abs().max() < 1e-10


@every_loss
def test_known_false_negatives_do_not_count(name):
    b = batch() | {"digit_label": torch.tensor([1, 2, 1, 3, 3])}
    m = model(LOSSES[name](), group="digit_label")
    owner = torch.arange(5).repeat_interleave(2)
    label = b["digit_label"]
    counted = (label[:, None] != label[owner]) | (owner == torch.arange(5)[:, None])
    wanted = by_loops(name, m.similarity(b), owner, counted)
    assert (m.loss(b)["loss"] - wanted).abs() < 1e-12
    with pytest.raises(TypeError, match="'digit_label' must be int64"):
        m.loss(batch())


def test_it_learns_to_find(fit_device):
    torch.manual_seed(0)
    c = torch.randint(6, (240,))
    data = {"picture": torch.eye(6)[c] @ torch.randn(6, 5), "words": (torch.eye(6)[c] @ torch.randn(6, 4))[:, None]}
    m = model(InfoNCE(10.0)).float()
    fit(m, data, epochs=30, lr=1e-2, batch_size=24, progress=False)
    floor = contrastive_floor([1 / 6] * 6, 24)
    loss = evaluate(m, data, batch_size=24)["loss"]
    assert floor - 0.1 < loss < floor + 0.15


def test_what_a_batch_must_be():
    m = model()
    one = {name: x[:1] for name, x in batch().items()}
    cases = [
        (one, ValueError, "one pair has nothing to be told apart from"),
        ({"picture": batch()["picture"]}, ValueError, "needs both modalities, the batch has no 'words'"),
        ({**batch(), "words": batch()["words"][:, 0]}, ValueError, r"'words' must be \(B, R, …\)"),
        ({**batch(), "words": batch()["words"].float()}, TypeError, "words"),
        ({**batch(), "picture": batch()["picture"][:3]}, ValueError, "same number of examples"),
        ({"picture": batch()["picture"], "word": batch()["words"]}, ValueError, "misspelt"),
        ({**batch(), "picture": batch()["picture"] * torch.nan}, ValueError, "NaN"),
    ]
    for bad, error, says in cases:
        with pytest.raises(error, match=says):
            m.loss(bad)
    assert m.embed({"picture": batch()["picture"]}).keys() == {"picture"}


def test_arguments_are_checked():
    encoders = {"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)}
    for build, error, says in (
        (lambda: JointEmbedding({"a": nn.Linear(2, 2)}, [2]), ValueError, "embeds two modalities"),
        (lambda: JointEmbedding(encoders, [2, 2], 0), ValueError, "dim must be a whole number"),
        (lambda: JointEmbedding(encoders, [2, 2], loss="clip"), TypeError, "loss must be InfoNCE"),
        (lambda: JointEmbedding(encoders, [2, 2], group="digit"), ValueError, "group must be the name of labels"),
        (lambda: JointEmbedding({"a": 1, "b": 2}, [2, 2]), TypeError, "encoders"),
        (lambda: InfoNCE(0), ValueError, "scale"),
        (lambda: InfoNCE(200.0), ValueError, "scale"),
        (lambda: Triplet(-1), ValueError, "margin"),
        (lambda: Triplet(0.2, hardest=1), TypeError, "hardest"),
        (lambda: Sigmoid(bias=math.nan), ValueError, "bias"),
    ):
        with pytest.raises(error, match=says):
            build()
