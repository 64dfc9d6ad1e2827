"""Modules that exchange messages, categories found together, and a shared workspace, held against closed forms."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence

from mmtutor.embedding import InfoNCE
from mmtutor.lineargaussian import LinearGaussian
from mmtutor.workspace import (
    CategoricalMessage,
    GaussianMessage,
    LinearLink,
    MessageTree,
    MixtureLink,
    SharedCategories,
    SharedWorkspace,
    TableLink,
    procrustes,
)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def covariance(d, seed=0):
    A = random(d, d, seed=seed)
    return A @ A.T / d + 0.5 * torch.eye(d).double()


# ---- messages on a tree


def evidence_of(W, sigma, x):
    """What x = W z + noise says about z."""
    return GaussianMessage(x @ W / sigma**2, W.T @ W / sigma**2)


class Chain:
    """z_b → z_a → z_c with four modalities, also as one `LinearGaussian` whose latent code is (z_b, e_a, e_c)."""

    def __init__(self):
        b, a, c = 2, 3, 2
        A, Q = {"a": random(a, b, seed=1), "c": random(c, a, seed=2)}, {"a": covariance(a, 3), "c": covariance(c, 4)}
        self.W = {
            "x1": random(4, a, seed=5),
            "x2": random(2, a, seed=6),
            "x3": random(3, b, seed=7),
            "x4": random(3, c, seed=8),
        }
        self.noise = {"x1": 0.5, "x2": 0.7, "x3": 0.4, "x4": 0.9}
        self.at = {"x1": "a", "x2": "a", "x3": "b", "x4": "c"}
        root = {m: torch.linalg.cholesky(Q[m]) for m in Q}
        zeros = torch.zeros(a, c).double()
        self.Z = {
            "b": torch.eye(b, b + a + c).double(),
            "a": torch.cat([A["a"], root["a"], zeros], 1),
        }  # of the latent code
        self.Z["c"] = torch.cat([A["c"] @ self.Z["a"][:, : b + a], root["c"]], 1)
        self.world = LinearGaussian({x: self.W[x] @ self.Z[m] for x, m in self.at.items()}, self.noise)
        self.tree = MessageTree({"a": ("b", LinearLink(A["a"], Q["a"])), "c": ("a", LinearLink(A["c"], Q["c"]))})

    def evidence(self, batch):
        out = {}
        for x, value in batch.items():
            said = evidence_of(self.W[x], self.noise[x], value)
            out[self.at[x]] = out[self.at[x]] * said if self.at[x] in out else said
        return out


@pytest.mark.parametrize("seen", [("x1", "x2", "x3", "x4"), ("x1", "x3"), ("x4",), ("x3",), ("x2", "x4")])
def test_two_sweeps_give_the_posterior_of_the_linear_gaussian_world(seen):
    chain = Chain()
    _, batch = chain.world.sample(6, seed=0)
    batch = {x: batch[x] for x in seen}
    exact, found = chain.world.posterior(batch), chain.tree.beliefs(chain.evidence(batch))
    for m, Z in chain.Z.items():
        torch.testing.assert_close(found[m].mean, exact.mean @ Z.T, rtol=0, atol=1e-12)
        torch.testing.assert_close(found[m].covariance, Z @ exact.covariance_matrix[0] @ Z.T, rtol=0, atol=1e-12)


def test_a_tree_with_branches_and_observed_modules_gives_the_joint_posterior():
    d = {"r": 2, "a": 3, "b": 1, "c": 2, "d": 2}
    parent = {"a": "r", "b": "r", "c": "a", "d": "a"}
    A = {m: random(d[m], d[p], seed=k) for k, (m, p) in enumerate(parent.items())}
    Q = {m: covariance(d[m], k + 9) for k, m in enumerate(parent)}
    at, n = {}, 0
    for m, size in d.items():
        at[m], n = slice(n, n + size), n + size
    J, h = torch.zeros(4, n, n).double(), torch.zeros(4, n).double()
    J[:, at["r"], at["r"]] += torch.eye(2)
    for m, p in parent.items():
        R = torch.linalg.inv(Q[m])
        for one, other, block in ((m, m, R), (p, p, A[m].T @ R @ A[m]), (m, p, -R @ A[m]), (p, m, -A[m].T @ R)):
            J[:, at[one], at[other]] += block
    each = torch.stack([covariance(3, k) for k in range(4)])  # of another precision in each example
    evidence = {
        "a": GaussianMessage(random(4, 3, seed=20), each),
        "c": GaussianMessage(random(4, 2, seed=21), covariance(2, 22)),
    }
    for m, message in evidence.items():
        J[:, at[m], at[m]] += message.P
        h[:, at[m]] += message.h
    b, rest = random(4, 1, seed=23), [k for k in range(n) if k != at["b"].start]
    h = h[:, rest] - J[:, rest, at["b"].start] * b
    C = torch.linalg.inv(J[:, rest][:, :, rest])
    mean = (C @ h[..., None])[..., 0]
    tree = MessageTree({m: (p, LinearLink(A[m], Q[m])) for m, p in parent.items()})
    found = tree.beliefs(evidence | {"b": b})
    assert found["b"] is b
    for m in ("r", "a", "c", "d"):
        i = [rest.index(k) for k in range(at[m].start, at[m].stop)]
        torch.testing.assert_close(found[m].mean, mean[:, i], rtol=0, atol=1e-12)
        torch.testing.assert_close(found[m].covariance, C[:, i][:, :, i], rtol=0, atol=1e-12)


def test_what_one_way_messages_miss_is_the_information_of_the_others():
    """E KL(p(z_a | all) ‖ p(z_a | own)) = ½ (log det of the covariances' ratio)."""
    chain = Chain()
    _, batch = chain.world.sample(200_000, seed=1)
    evidence = chain.evidence(batch)
    both, own = chain.tree.beliefs(evidence)["a"], chain.tree.beliefs({"a": evidence["a"]})["a"]
    gap = (both.P.logdet() - own.P.logdet()) / 2
    kl = kl_divergence(MultivariateNormal(both.mean, both.covariance), MultivariateNormal(own.mean, own.covariance))
    assert gap > 0.05
    assert abs(kl.mean() - gap) < 4 * kl.std() / len(kl) ** 0.5


@pytest.mark.parametrize("told", [0, 1, 2, 5])
def test_modules_that_repeat_what_they_were_told_become_too_sure_by_a_power_of_two(told):
    """Each adds all that the other knows, its own words among them: the evidence counts 2^(t−1) times."""
    own = {
        "a": GaussianMessage(random(1, 2), covariance(2, 1)),
        "b": GaussianMessage(random(1, 2, seed=2), covariance(2, 3)),
    }
    prior = GaussianMessage(torch.zeros(1, 2).double(), torch.eye(2).double())
    a, b = own["a"], own["b"]
    for _ in range(told):
        a, b = a * b, b * a
    both, times = own["a"] * own["b"], 2.0 ** (told - 1)
    if told:
        torch.testing.assert_close((a * prior).P, times * both.P + prior.P)
        torch.testing.assert_close((a * prior).h, times * both.h)


@pytest.mark.parametrize("n", [3, 4, 7])
def test_messages_round_a_ring_end_at_the_closed_form(n):
    """Loopy belief propagation on a ring of n numbers, precision a on the diagonal and −b beside it."""
    a, b, h = 1.0, 0.45, random(n, seed=n)
    J = a * torch.eye(n).double() - b * (torch.eye(n).roll(1, 0) + torch.eye(n).roll(-1, 0)).double()
    right, left = torch.zeros(n).double(), torch.zeros(n).double()  # precision of the messages to the neighbours
    hr, hl = torch.zeros(n).double(), torch.zeros(n).double()
    for _ in range(500):
        pr, pl = a + right.roll(1), a + left.roll(-1)  # without what comes back
        right, hr, left, hl = -(b**2) / pr, b / pr * (h + hr.roll(1)), -(b**2) / pl, b / pl * (h + hl.roll(-1))
    precision = a + right.roll(1) + left.roll(-1)
    mean = (h + hr.roll(1) + hl.roll(-1)) / precision
    exact = torch.linalg.inv(J)
    torch.testing.assert_close(precision, torch.full((n,), math.sqrt(a**2 - 4 * b**2)).double())
    torch.testing.assert_close(mean, exact @ h)  # the mean is right
    r = (a - math.sqrt(a**2 - 4 * b**2)) / (2 * b)
    torch.testing.assert_close(exact.diagonal() * precision, torch.full((n,), (1 + r**n) / (1 - r**n)).double())


def test_a_message_is_taken_back_by_division():
    one, other = GaussianMessage(random(3, 2), covariance(2)), GaussianMessage(random(3, 2, seed=1), covariance(2, 1))
    back = one * other / other
    torch.testing.assert_close((back.h, back.P), (one.h, one.P))
    p, q = CategoricalMessage(random(3, 4)), CategoricalMessage(random(3, 4, seed=1))
    torch.testing.assert_close((p * q / q).logits, p.logits)
    torch.testing.assert_close(
        (p * q).distribution.probs, (p.probs * q.probs) / (p.probs * q.probs).sum(1, keepdim=True)
    )
    torch.testing.assert_close(GaussianMessage.of(one.mean, one.covariance).h, one.h)
    torch.testing.assert_close(one.distribution.mean, one.mean)


# ---- categories


def mixture(K=3, d=2, seed=0):
    link = MixtureLink(K, d).double()
    link.means.copy_(random(K, d, seed=seed))
    link.covariances.copy_(torch.stack([covariance(d, seed + k) for k in range(K)]))
    return link


def test_a_mixture_says_of_an_observed_vector_its_density():
    link, z = mixture(), random(5, 2, seed=9)
    wanted = [MultivariateNormal(mu, S).log_prob(z) for mu, S in zip(link.means, link.covariances, strict=True)]
    torch.testing.assert_close(link.up(z).logits, torch.stack(wanted, 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("each", [False, True])
def test_a_mixture_says_of_a_message_its_integral(each):
    """∫ N(z; μ, Σ) N(z; m, S) dz = N(m; μ, Σ + S), and the message is N(z; m, S) but for a factor that is known."""
    link, m = mixture(), random(5, 2, seed=9)
    S = torch.stack([covariance(2, k) for k in range(5)]) if each else covariance(2, 5)
    message = GaussianMessage.of(m, S)
    factor = ((message.h * m).sum(1) + torch.logdet(2 * math.pi * S)) / 2
    wanted = [
        MultivariateNormal(mu, C + S).log_prob(m) + factor for mu, C in zip(link.means, link.covariances, strict=True)
    ]
    torch.testing.assert_close(link.up(message).logits, torch.stack(wanted, 1), rtol=0, atol=1e-11)
    nothing = GaussianMessage(torch.zeros(5, 2).double(), torch.zeros(2, 2).double())
    torch.testing.assert_close(link.up(nothing).logits, torch.zeros(5, 3).double(), rtol=0, atol=1e-12)


def test_the_label_of_a_linear_gaussian_mixture_is_known_exactly():
    """c → z → two modalities: the tree's p(c | x) is that of the densities p(x | c)."""
    link, W, noise, p = (
        mixture(seed=3),
        {"x": random(4, 2), "y": random(3, 2, seed=1)},
        {"x": 0.6, "y": 0.9},
        torch.tensor([0.2, 0.5, 0.3]).double(),
    )
    x = {m: random(7, len(w), seed=k) for k, (m, w) in enumerate(W.items())}
    tree = MessageTree({"z": ("c", link)}, prior=p)
    found = tree.beliefs({"z": evidence_of(W["x"], 0.6, x["x"]) * evidence_of(W["y"], 0.9, x["y"])})
    both, w = torch.cat([x["x"], x["y"]], 1), torch.cat([W["x"], W["y"]])
    R = torch.diag(torch.cat([torch.full((len(W[m]),), noise[m] ** 2, dtype=torch.float64) for m in W]))
    log_p = [
        MultivariateNormal(w @ mu, w @ S @ w.T + R).log_prob(both)
        for mu, S in zip(link.means, link.covariances, strict=True)
    ]
    torch.testing.assert_close(found["c"].probs, (torch.stack(log_p, 1) + p.log()).softmax(1), rtol=0, atol=1e-12)


def test_what_goes_down_to_the_vector_of_a_mixture_has_its_mean_and_covariance():
    link = mixture()
    down, p = link.down(CategoricalMessage(torch.tensor([[0.1, 0.6, 0.3]]).double().log())), (0.1, 0.6, 0.3)
    mean = sum(q * mu for q, mu in zip(p, link.means, strict=True))
    second = sum(q * (S + torch.outer(mu, mu)) for q, mu, S in zip(p, link.means, link.covariances, strict=True))
    torch.testing.assert_close(down.mean[0], mean)
    torch.testing.assert_close(down.covariance[0], second - torch.outer(mean, mean))
    sure = MessageTree({"z": ("c", link)}).beliefs({"c": torch.tensor([2])})["z"]  # exact
    torch.testing.assert_close((sure.mean[0], sure.covariance[0]), (link.means[2], link.covariances[2]))


def test_tables_on_a_tree_give_the_joint_posterior():
    """c → a → b and c → d, by adding up all cases."""
    sizes = {"c": 3, "a": 4, "b": 2, "d": 3}
    links = {"a": ("c", TableLink(3, 4)), "b": ("a", TableLink(4, 2)), "d": ("c", TableLink(3, 3))}
    for k, (_, link) in enumerate(links.values()):
        link.double().table.copy_(random(*link.sizes, seed=k).softmax(1))
    prior = torch.tensor([0.5, 0.3, 0.2]).double()
    evidence = {"a": CategoricalMessage(random(2, 4, seed=8)), "d": torch.tensor([0, 2])}
    joint = torch.zeros(2, *sizes.values()).double()
    for n in range(2):
        for c, a, b in itertools.product(range(3), range(4), range(2)):
            d = int(evidence["d"][n])
            p = prior[c] * links["a"][1].table[c, a] * links["b"][1].table[a, b] * links["d"][1].table[c, d]
            joint[n, c, a, b, d] = p * evidence["a"].logits[n, a].exp()
    found = MessageTree(links, prior).beliefs(evidence)
    for k, m in enumerate(sizes):
        if m == "d":
            assert found[m] is evidence["d"]
            continue
        wanted = joint.sum([j for j in range(1, 5) if j != k + 1])
        torch.testing.assert_close(found[m].probs, wanted / wanted.sum(1, keepdim=True), rtol=0, atol=1e-12)


def test_what_is_impossible_stays_so():
    table = TableLink(2, 2, pseudo=0.0)
    table.update(torch.tensor([0, 1]), torch.eye(2))
    tree = MessageTree({"a": ("c", table), "b": ("c", TableLink(2, 3))})
    found = tree.beliefs({"a": CategoricalMessage(torch.tensor([[-torch.inf, 0.0]]))})
    assert found["c"].probs.tolist() == [[0.0, 1.0]]
    assert found["b"].probs.isfinite().all()


def test_what_is_impossible_stays_so_beside_what_is_missing():
    c, batch = together(60)
    batch |= {"label": c, "label_present": torch.arange(60) < 50}
    links = {"picture": MixtureLink(4, 2), "voice": MixtureLink(4, 1), "label": TableLink(4, 4, pseudo=0.0)}
    model = SharedCategories(links).double()
    assert model.fit_em(batch, steps=20, starts=2).isfinite().all()
    assert model.belief(batch).probs.isfinite().all()
    never = CategoricalMessage(torch.tensor([[-torch.inf, 1.0]]))
    assert ((never * never) / never).logits.tolist() == [[-torch.inf, 1.0]]


def together(n=300, seed=0, apart=4.0):
    """Four categories; the picture cannot tell 0 from 1, the voice not 2 from 3."""
    g = torch.Generator().manual_seed(seed)
    c = torch.randint(4, (n,), generator=g)
    picture = torch.tensor([0.0, 0.0, apart, -apart]).double()[c][:, None] + random(n, 2, seed=seed)
    voice = torch.tensor([apart, -apart, 0.0, 0.0]).double()[c][:, None] + random(n, 1, seed=seed + 1)
    return c, {"picture": picture, "voice": voice}


def agreement(a, b):
    same = lambda x: x[:, None] == x  # noqa: E731
    return float((same(a) == same(b)).double().mean())


def test_em_never_lowers_its_score_and_its_step_is_the_textbook_one():
    c, batch = together(80, apart=2.0)
    batch |= {"label": c, "label_present": torch.arange(80) < 9}
    model = SharedCategories(
        {"picture": MixtureLink(4, 2), "voice": MixtureLink(4, 1, pseudo=2.0), "label": TableLink(4, 4)}
    ).double()
    score = model.fit_em(batch, steps=30, seed=1)
    assert (score.diff() >= -1e-12).all()
    assert score[-1] > score[0] + 0.01
    r, mu, S = model.belief(batch).probs, model.links["picture"].means.clone(), torch.zeros(4, 2, 2).double()
    wanted = (
        model.prior.log()
        + model.links["voice"].up(batch["voice"]).logits
        + model.links["picture"].up(batch["picture"]).logits
    )
    wanted[:9] += model.links["label"].table.log().T[c[:9]]
    torch.testing.assert_close(r, wanted.softmax(1))
    model._update(batch, r)
    for k in range(4):
        mu[k] = sum(w * z for w, z in zip(r[:, k], batch["picture"], strict=True)) / r[:, k].sum()
        for w, z in zip(r[:, k], batch["picture"], strict=True):
            S[k] += w * torch.outer(z - mu[k], z - mu[k])
        S[k] = (S[k] + 10 * torch.eye(2)) / (r[:, k].sum() + 10)
    torch.testing.assert_close(model.links["picture"].means, mu)
    torch.testing.assert_close(model.links["picture"].covariances, S)
    count = torch.stack([r[:9][c[:9] == v].sum(0) for v in range(4)], 1) + 0.1
    torch.testing.assert_close(model.links["label"].table, count / count.sum(1, keepdim=True))


def test_what_one_module_cannot_tell_the_other_one_says():
    c, batch = together()
    found = {}
    for names in (("picture",), ("voice",), ("picture", "voice")):
        model = SharedCategories({m: MixtureLink(4, batch[m].shape[1]) for m in names}).double()
        model.fit_em({m: batch[m] for m in names}, steps=60, starts=5)
        found[names] = agreement(model.belief({m: batch[m] for m in names}).probs.argmax(1), c)
    assert found["picture", "voice"] > 0.95
    assert max(found["picture",], found["voice",]) < 0.9


def test_examples_need_not_be_complete():
    c, batch = together()
    model = SharedCategories({"picture": MixtureLink(4, 2), "voice": MixtureLink(4, 1)}).double()
    there = torch.arange(300) % 3 > 0
    holes = batch | {"voice_present": there, "voice": torch.where(there[:, None], batch["voice"], torch.nan)}
    assert model.fit_em(holes, steps=60, starts=5).isfinite().all()
    assert agreement(model.belief(batch).probs.argmax(1), c) > 0.95
    torch.testing.assert_close(model.belief(holes).logits[~there], model.belief(batch, "picture").logits[~there])
    torch.testing.assert_close(model.belief(holes).logits[there], model.belief(batch).logits[there])


def test_few_labels_name_the_categories():
    c, batch = together()
    few = batch | {
        "label": c,
        "label_present": torch.zeros(300)
        .bool()
        .scatter(0, torch.tensor([int((c == k).nonzero()[0]) for k in range(4)]), True),
    }
    model = SharedCategories(
        {"picture": MixtureLink(4, 2), "voice": MixtureLink(4, 1), "label": TableLink(4, 4)}
    ).double()
    model.fit_em(few, steps=60, starts=5)
    _, new = together(seed=5)
    assert (model.predict(new, to="label").probs.argmax(1) == together(seed=5)[0]).double().mean() > 0.95


# ---- a shared workspace


def workspace(weights, k=3, contrast=None):
    torch.manual_seed(0)
    e = {"a": nn.Linear(4, k), "b": nn.Sequential(nn.Linear(5, k), nn.Tanh()), "c": nn.Linear(2, k)}
    d = {"a": nn.Linear(k, 4), "b": nn.Linear(k, 5), "c": nn.Linear(k, 2)}
    return SharedWorkspace(e, d, weights, contrast).double()


def codes(n=6):
    batch = {m: random(n, d, seed=d) for m, d in (("a", 4), ("b", 5), ("c", 2))}
    there = {"a": torch.tensor([1, 1, 0, 1, 1, 1]).bool(), "b": torch.tensor([1, 0, 1, 1, 0, 1]).bool()}
    for m, mask in there.items():
        batch[m] = torch.where(mask[:, None], batch[m], torch.nan)
        batch[f"{m}_present"] = mask
    return batch, there | {"c": torch.ones(n).bool()}


def test_each_loss_is_that_of_a_loop():
    model = workspace(
        {"translation": 1.0, "contrastive": 0.1, "demi_cycle": 0.5, "cycle": 2.0}, contrast=InfoNCE(1.0, learned=False)
    )
    batch, there = codes()
    found = model.loss(batch)
    e, d, names = model.encoders, model.decoders, ["a", "b", "c"]
    wanted = {name: [] for name in ("translation", "contrastive", "demi_cycle", "cycle")}
    for i in names:
        rows = [n for n in range(6) if there[i][n]]
        wanted["demi_cycle"].append(
            sum(nn.functional.mse_loss(d[i](e[i](batch[i][n])), batch[i][n]) for n in rows) / len(rows)
        )
        for j in names:
            if i == j:
                continue
            back = [nn.functional.mse_loss(d[i](e[j](d[j](e[i](batch[i][n])))), batch[i][n]) for n in rows]
            wanted["cycle"].append(sum(back) / len(rows))
            pairs = [n for n in rows if there[j][n]]
            wanted["translation"].append(
                sum(nn.functional.mse_loss(d[j](e[i](batch[i][n])), batch[j][n]) for n in pairs) / len(pairs)
            )
            if i < j:
                s = (
                    nn.functional.normalize(e[i](batch[i][pairs]), dim=1)
                    @ nn.functional.normalize(e[j](batch[j][pairs]), dim=1).T
                )
                own = torch.arange(len(pairs))
                wanted["contrastive"].append(
                    (nn.functional.cross_entropy(s, own) + nn.functional.cross_entropy(s.T, own)) / 2
                )
    for name, parts in wanted.items():
        torch.testing.assert_close(found[name], torch.stack(parts).mean(), rtol=0, atol=1e-12)
    total = found["translation"] + 0.1 * found["contrastive"] + 0.5 * found["demi_cycle"] + 2 * found["cycle"]
    torch.testing.assert_close(found["loss"], total)
    found["loss"].backward()
    assert all(p.grad.isfinite().all() for p in [*e.parameters(), *d.parameters()])


def test_without_pairs_only_the_cycles_are_there():
    model, (batch, _) = workspace({"translation": 1.0, "cycle": 1.0}), codes()
    alone = {"a": batch["c"].new_ones(6, 4), "b": batch["c"].new_ones(6, 5), "c": batch["c"]} | {
        f"{m}_present": torch.arange(6) % 3 == k for k, m in enumerate("abc")
    }
    losses = model.loss(alone)
    assert losses["translation"] == 0
    assert losses["cycle"] > 0


def test_the_workspace_is_the_mean_of_what_is_there():
    model, (batch, there) = workspace(None), codes()
    s, wanted = model.encode(batch), []
    for n in range(6):
        wanted.append(torch.stack([model.encoders[m](batch[m][n]) for m in "abc" if there[m][n]]).mean(0))
    torch.testing.assert_close(s, torch.stack(wanted))
    torch.testing.assert_close(
        model.translate(batch, to="c", modalities="a")[0], model.decoders["c"](model.encoders["a"](batch["a"][0]))
    )
    first = {"b": batch["b"][:1], "c": batch["c"][:1]}
    torch.testing.assert_close(model.translate(first, to="a"), model.decoders["a"](model.encode(first)))


def turned(d=4, n=50):
    """Codes of one module, and of another one that has them turned by Q."""
    Q = torch.linalg.qr(random(d, d, seed=3))[0]
    a = random(n, d, seed=4)
    return a, a @ Q, Q


def linear(W):
    layer = nn.Linear(W.shape[1], W.shape[0], bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(W)
    return layer


def test_cycles_are_blind_to_any_invertible_map_and_pairs_are_not():
    a, b, Q = turned()
    I, wrong = torch.eye(4).double(), random(4, 4, seed=8)  # noqa: E741
    for R, right in ((Q, True), (wrong, False)):
        model = SharedWorkspace({"a": linear(I), "b": linear(R)}, {"a": linear(I), "b": linear(torch.linalg.inv(R))},
                                {"translation": 1.0, "demi_cycle": 1.0, "cycle": 1.0})  # fmt: skip
        losses = model.loss({"a": a, "b": b})
        assert losses["cycle"] < 1e-24
        assert losses["demi_cycle"] < 1e-24
        assert (losses["translation"] < 1e-24) == right


@pytest.mark.parametrize("pairs", [1, 2, 3, 4, 10])
def test_d_pairs_determine_a_rotation(pairs):
    a, b, Q = turned()
    found = procrustes(a[:pairs], b[:pairs])
    torch.testing.assert_close(found.T @ found, torch.eye(4).double())
    torch.testing.assert_close(a[:pairs] @ found, b[:pairs])
    assert ((found - Q).abs().max() < 1e-12) == (pairs >= 4)


def test_a_trained_linear_workspace_keeps_the_leading_eigenvectors():
    """The best k numbers of x in units of its noise are V_kᵀh, and lose ½ Σ log λⱼ of the eigenvalues left out."""
    world, k = LinearGaussian.random({"a": 3, "b": 4}, latent=3, noise={"a": 0.5, "b": 0.8}, seed=2), 2
    W = torch.cat([w / world.noise[m] for m, w in world.weights.items()])  # in units of the noise
    C = W @ W.T + torch.eye(7).double()  # covariance of x in these units
    root = torch.linalg.cholesky(C)
    torch.manual_seed(0)
    into, out = (nn.Parameter(torch.randn(*shape, dtype=torch.float64) / 3) for shape in ((7, k), (k, 7)))
    optimizer = torch.optim.LBFGS(
        [into, out], max_iter=2000, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def loss():
        optimizer.zero_grad()
        cost = ((torch.eye(7).double() - into @ out).T @ root).square().sum()  # E ‖x − x E D‖²
        cost.backward()
        return cost

    optimizer.step(loss)
    lam, V = torch.linalg.eigh(world.precision())
    assert abs(loss().item() - (lam[: 3 - k].sum() + 4).item()) < 1e-8
    best = W @ V[:, 3 - k :] / (lam[3 - k :] - 1).sqrt()  # the directions V_kᵀh, of length 1
    basis = torch.linalg.qr(into.detach())[0]
    assert (basis @ basis.T - best @ best.T).abs().max() < 1e-6
    # I(z; x) − I(z; s), of s = Eᵀx
    s, E = into.detach().T @ C @ into.detach(), into.detach()
    noise = E.T @ E
    lost = (world.precision().logdet() - s.logdet() + noise.logdet()) / 2
    assert abs(lost.item() - (lam[: 3 - k].log().sum() / 2).item()) < 1e-8


# ---- few pairs


def factor_loss(weights, batches, noise):
    """−log p of examples with different sets of modalities, in nats."""
    world = LinearGaussian(weights, noise)
    return -sum(world.log_prob(batch).sum() for batch in batches)


def learned(world, batches):
    """W of both modalities, by the likelihood of complete and incomplete examples."""
    torch.manual_seed(0)
    W = {m: nn.Parameter(torch.randn_like(w)) for m, w in world.weights.items()}
    options = {"tolerance_grad": 1e-10, "tolerance_change": 0, "line_search_fn": "strong_wolfe"}
    optimizer = torch.optim.LBFGS([*W.values()], max_iter=500, **options)

    def step():
        optimizer.zero_grad()
        loss = factor_loss(W, batches, 0.5) / 100
        loss.backward()
        return loss

    optimizer.step(step)
    return torch.cat([*W.values()]).detach()


def test_decoders_learned_from_complete_and_incomplete_examples():
    """Of complete ones those of PPCA (Tipping and Bishop, 1999): W Wᵀ = U (Λ − σ² I) Uᵀ, with leading eigenvectors.

    Examples of one modality alone bring W Wᵀ nearer to the truth.
    """
    world = LinearGaussian.random({"a": 3, "b": 4}, latent=2, noise=0.5, seed=0)
    _, x = world.sample(6100, seed=1)
    complete = {m: v[:100] for m, v in x.items()}
    both = torch.cat([complete["a"], complete["b"]], 1)
    lam, U = torch.linalg.eigh(both.T @ both / 100)
    ppca = (U[:, -2:] * (lam[-2:] - 0.25)) @ U[:, -2:].T
    found = learned(world, [complete])
    torch.testing.assert_close(found @ found.T, ppca, rtol=0, atol=1e-7)
    more = learned(world, [complete, {"a": x["a"][100:3100]}, {"b": x["b"][3100:]}])
    W = torch.cat([*world.weights.values()])
    assert (more @ more.T - W @ W.T).norm() < 0.5 * (ppca - W @ W.T).norm()


def test_unpaired_examples_leave_a_rotation_open():
    """log p of examples of one modality alone does not change if its decoder is turned; that of pairs does."""
    world = LinearGaussian.random({"a": 3, "b": 4}, latent=2, noise=0.5, seed=0)
    _, x = world.sample(50, seed=1)
    Q = torch.linalg.qr(random(2, 2, seed=1))[0]
    turned_world = {"a": world.weights["a"], "b": world.weights["b"] @ Q}
    apart = [{"a": x["a"][:25]}, {"b": x["b"][25:]}]
    torch.testing.assert_close(factor_loss(turned_world, apart, 0.5), factor_loss(world.weights, apart, 0.5))
    assert factor_loss(turned_world, [x], 0.5) > factor_loss(world.weights, [x], 0.5) + 1


# ---- what is refused


def of(h, P):
    return GaussianMessage(torch.tensor(h), torch.tensor(P))


ONE = torch.eye(1)
TREE = {"a": ("r", LinearLink(ONE, ONE)), "b": ("r", LinearLink(ONE, ONE))}
REFUSED = {
    "h is a list": (lambda: GaussianMessage([[1.0]], ONE), TypeError, "h must be a tensor"),
    "h is a vector": (lambda: of([1.0], [[1.0]]), ValueError, "h must be float"),
    "P of another size": (lambda: of([[1.0]], [[1.0, 0.0], [0.0, 1.0]]), ValueError, "P must be"),
    "logits of one example": (lambda: CategoricalMessage(torch.zeros(3)), ValueError, "logits must be"),
    "no covariance": (lambda: LinearLink(ONE, -ONE), ValueError, "Q must be symmetric"),
    "Q of another size": (lambda: LinearLink(torch.eye(2), ONE), ValueError, "Q must be"),
    "A has NaN": (lambda: LinearLink(ONE * torch.nan, ONE), ValueError, "A has NaN"),
    "a circle": (lambda: MessageTree({"a": ("b", TREE["a"][1]), "b": ("a", TREE["b"][1])}), ValueError, "no circle"),
    "two roots": (lambda: MessageTree({"a": ("r", TREE["a"][1]), "b": ("s", TREE["b"][1])}), ValueError, "one root"),
    "no link": (lambda: MessageTree({"a": ("r", nn.Linear(1, 1))}), TypeError, "must be (parent, link)"),
    "two kinds": (lambda: MessageTree({"a": ("r", MixtureLink(1, 1)), "b": TREE["b"]}), ValueError, "in another"),
    "prior of a vector": (lambda: MessageTree(TREE, torch.ones(1)), ValueError, "prior is for"),
    "prior is none": (lambda: MessageTree({"a": ("c", TableLink(2, 2))}, torch.ones(2)), ValueError, "add up to 1"),
    "unknown module": (lambda: MessageTree(TREE).beliefs({"x": ONE}), ValueError, "no module 'x'"),
    "evidence of float64": (lambda: MessageTree(TREE).beliefs({"a": ONE.double()}), ValueError, "evidence of 'a'"),
    "labels for a vector": (lambda: MessageTree(TREE).beliefs({"a": torch.tensor([1])}), ValueError, "evidence of 'a'"),
    "a category for a vector": (
        lambda: MessageTree(TREE).beliefs({"a": CategoricalMessage(torch.zeros(1, 1))}), TypeError, "GaussianMessage"),
    "other sizes": (lambda: MessageTree(TREE).beliefs({"a": ONE, "b": torch.ones(2, 1)}), ValueError, "same number"),
    "a value too high": (lambda: TableLink(2, 3).up(torch.tensor([3])), ValueError, "from 0 to 2"),
    "a value as float": (lambda: TableLink(2, 3).up(torch.tensor([1.0])), ValueError, "int64"),
    "a vector of another size": (lambda: MixtureLink(2, 3).up(torch.zeros(4, 2)), ValueError, "(B, 3)"),
    "other categories": (
        lambda: SharedCategories({"a": MixtureLink(2, 3), "b": TableLink(3, 2)}), ValueError, "of categories"),
    "a network for a link": (lambda: SharedCategories({"a": nn.Linear(1, 1)}), TypeError, "links['a']"),
    "a modality is missing": (
        lambda: SharedCategories({"a": MixtureLink(2, 1), "b": MixtureLink(2, 1)}).fit_em({"a": torch.zeros(3, 1)}),
        ValueError, "'b_present'"),
    "nothing to start with": (
        lambda: SharedCategories({"a": TableLink(2, 2)}).fit_em({"a": torch.tensor([0, 1])}), ValueError, "vectors"),
    "no steps": (
        lambda: SharedCategories({"a": MixtureLink(2, 1)}).fit_em({"a": torch.zeros(3, 1)}, 0), ValueError, "steps"),
    "one modality": (lambda: SharedWorkspace({"a": nn.Identity()}, {"a": nn.Identity()}), ValueError, "two modalities"),
    "a loss unknown": (lambda: workspace({"cycles": 1.0}), ValueError, "'cycles'"),
    "no loss": (lambda: workspace({"cycle": 0.0}), ValueError, "above 0"),
    "contrastive alone": (lambda: workspace({"contrastive": 1.0}), ValueError, "contrast"),
    "codes of one missing": (lambda: workspace(None).loss({"a": random(2, 4)}), ValueError, "'b_present'"),
    "codes in float32": (lambda: workspace(None).encode({"a": torch.zeros(2, 4)}), TypeError, "'a'"),
    "to nowhere": (lambda: workspace(None).translate({"a": random(2, 4)}, to="d"), ValueError, "'d'"),
    "pairs of other shapes": (lambda: procrustes(ONE, torch.ones(2, 1)), ValueError, "alike"),
}  # fmt: skip


@pytest.mark.parametrize("call", REFUSED)
def test_what_does_not_fit_is_refused_in_words(call):
    function, error, words = REFUSED[call]
    with pytest.raises(error) as caught:
        function()
    assert words in str(caught.value)
