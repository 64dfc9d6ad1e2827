# %% [markdown]
# # 12 · Modules and a shared workspace: join what was trained apart
#
# One network knows pictures, another one voices, and they were never trained together. Must you start again with both? Two ways say
# no. Modules can send each other *messages*, what follows from what each knows; done rightly, each ends up with what all of them
# know together. Or they write into a small *shared workspace* that all can read. You build both, and see what must not be said
# twice, how many pairs are really needed, and what a few labels add.
#
# > **You learn** to pass messages that give the exact posterior, to find categories with modules of different kinds, and to join
# > frozen modules with few pairs.
# >
# > **You need** Gaussians and the linear-Gaussian world ([chapter 10](10_multimodal_vaes.ipynb)).
# >
# > **It takes** 35 minutes to read, 2 to run on a CPU.
# >
# > **Papers** [SERKET](https://arxiv.org/abs/1712.00929), [Neuro-SERKET](https://arxiv.org/abs/1910.08918), [a shared workspace
# > among modules](https://arxiv.org/abs/2103.01197), [a global workspace with few pairs](https://arxiv.org/abs/2306.15711).

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score
from torch import nn

from mmtutor.data import digits
from mmtutor.plotting import TEN_COLOURS, curves, frames, gaussians, grid, show, workspace_diagram
from mmtutor.training import budget, claim, fit, seed_everything

n, epochs, batch_size, lr = budget(quick=(4000, 8, 64, 3e-3), full=(20000, 30, 256, 6e-3))

# %% tags=["hide-input"]
from mmtutor.workspace import GaussianMessage, LinearLink, MessageTree

A = torch.tensor([[0.9, 0.3], [-0.2, 0.8]], dtype=torch.float64)
Q = torch.tensor([[0.3, 0.1], [0.1, 0.2]], dtype=torch.float64)
tree = MessageTree({"picture": ("voice", LinearLink(A, Q))})
weights = {m: torch.tensor([w], dtype=torch.float64) for m, w in (("picture", [1.0, 0.2]), ("voice", [0.4, -1.0]))}
sigma = {"picture": 0.3, "voice": 0.4}


def observed(m, x):  # what x = W z + noise says about z
    return GaussianMessage(x @ weights[m] / sigma[m] ** 2, weights[m].T @ weights[m] / sigma[m] ** 2)


# %% tags=["hide-input"]
evidence = {m: observed(m, torch.tensor([[x]], dtype=torch.float64)) for m, x in (("picture", 1.5), ("voice", 1.0))}
both = tree.beliefs(evidence)
alone = {m: tree.beliefs({m: evidence[m]})[m] for m in evidence}
silent = tree.beliefs({"voice": GaussianMessage(evidence["voice"].h * 0, evidence["voice"].P * 0)})
known = {"nothing": silent, "its own data": alone, "and the other’s message": both}
steps = {m: {name: (b[m].mean[0], b[m].covariance) for name, b in known.items()} for m in ("picture", "voice")}
show(
    gaussians({m: x["and the other’s message"] for m, x in steps.items()}, steps, "What each module knows"),
    "Two panels, the picture's module and the voice's. In each a wide ellipse, then a flat one from its own data, then a "
    "small one with the other's message: the exact posterior of all data, in grey.",
)

# %% [markdown]
# ## The idea: say what follows, and only what is yours
#
# Each module has a variable of its own: here $z_v$ of the voice's module and $z_p$ of the picture's, two numbers each. They depend on each other,
# $z_p = A z_v + e$ with a known matrix $A$ and noise $e \sim \mathcal N(0, Q)$. So $z_v$ is the *parent*, $z_p$ its *child*. Each module sees one measurement, which cannot fix two numbers: the flat ellipses above. Grey is the posterior of all data.
# The two never show each other their data. They send *messages*: a message about $z$ is a factor,
#
# $$\exp(h^\top z - \tfrac12 z^\top P z),$$
#
# a Gaussian by its *information* $h$ and *precision* $P$. Two messages about one variable are multiplied, and so $h$ and $P$ add up; by
# subtraction one is taken back. A message on its way from $z_p$ up to $z_v$ becomes $\int p(z_p \mid z_v) \exp(\dots)\, dz_p$, which is again of that form, with
#
# $$M = (I + P Q)^{-1}, \qquad P' = A^\top M P A, \qquad h' = A^\top M h.$$
#
# Down goes $\mathcal N(A m, A C A^\top + Q)$, if the parent believes $\mathcal N(m, C)$ *without what this child told it*. This is belief
# propagation (Pearl, 1988). On a tree, after one sweep up and one down, each module's belief is the posterior given *all* data. SERKET
# (2018) joins the modules of a robot in this spirit, by probabilities or samples.

# %% tags=["hide-input"]
show(
    workspace_diagram(),
    "A diagram. Pictures pass a VAE, sounds pass PPCA, to codes. Each module's message about a category is joined to one "
    "belief; or both codes are written into a workspace.",
)

# %% [markdown]
# ## One message by hand
#
# The picture's measurement says nothing about one direction of $z_p$, so its $P$ has no inverse; $M$ exists nevertheless. For comparison the
# posterior of [chapter 10](10_multimodal_vaes.ipynb), where one network would have to know all: its latent code is $(z_v, e)$.

# %%
from mmtutor.lineargaussian import LinearGaussian

P, h = evidence["picture"].P, evidence["picture"].h
M = torch.linalg.inv(torch.eye(2) + P @ Q)
told = GaussianMessage(h @ M.T @ A, A.T @ M @ P @ A)
prior = GaussianMessage(torch.zeros(1, 2).double(), torch.eye(2).double())
voice = prior * evidence["voice"] * told

# %%
root = torch.linalg.cholesky(Q)
zp, zv = torch.cat([A, root], 1), torch.eye(2, 4).double()  # as functions of the latent code
world = LinearGaussian({"picture": weights["picture"] @ zp, "voice": weights["voice"] @ zv}, sigma)
exact = world.posterior({"picture": torch.tensor([[1.5]]), "voice": torch.tensor([[1.0]])})
off = max(
    float((voice.mean - exact.mean @ zv.T).abs().max()), float((both["picture"].mean - exact.mean @ zp.T).abs().max())
)
C = exact.covariance_matrix[0]
off = max(
    off,
    float((voice.covariance - zv @ C @ zv.T).abs().max()),
    float((both["picture"].covariance - zp @ C @ zp.T).abs().max()),
)
claim("two messages give both modules the exact posterior", off < 1e-12, f"off by {off:.0e}")

# %% [markdown]
# If only one of them speaks, the other one misses something. On average it is what the second measurement tells, and that has a closed form:
# $\frac12 (\log\det C_{\text{alone}} - \log\det C_{\text{both}})$.

# %%
_, x = world.sample(20_000, seed=0)
all_data = {m: observed(m, x[m]) for m in x}
knows, misses = (tree.beliefs(e)["picture"].distribution for e in (all_data, {"picture": all_data["picture"]}))
measured = torch.distributions.kl_divergence(knows, misses).mean().item()
predicted = (alone["picture"].covariance.logdet() - both["picture"].covariance.logdet()).item() / 2
print(f"the picture's module misses {measured:.3f} nats on average, predicted {predicted:.3f}")
claim("one-way messages miss what the other one measured", abs(measured - predicted) < 0.02, f"{measured}, {predicted}")

# %% [markdown]
# ## What breaks: saying twice what was said once
#
# A module that passes on *all* it believes repeats what the other one told it, and is told it again. Take the simplest case: both speak about one variable, $z_v$, and what the
# picture says about it is the message above. **Predict:** how sure is the voice's module after five exchanges, with one measurement each?

# %% tags=["hide-input"]
a, b, rumours = evidence["voice"], told, {}
for t in range(6):
    name = ("its own data", "one exchange")[t] if t < 2 else f"{t} exchanges"
    rumours[name] = {"belief": ((prior * a).mean[0], (prior * a).covariance)}
    a, b = a * b, b * a
shown = {name: rumours[name] for name in ("its own data", "one exchange", "3 exchanges", "5 exchanges")}
show(
    gaussians((voice.mean[0], voice.covariance), shown, "Rumours make sure"),
    "The voice's belief beside the exact one, in grey: wide with its own data, exact after one exchange, too narrow after "
    "three, almost a point after five.",
)

# %%
counted = (a.P - 2.0**5 * (evidence["voice"] * told).P).abs().max().item()
claim("after t exchanges each measurement counts 2^(t−1) times", counted < 1e-9, f"off by {counted:.0e}")

# %% [markdown]
# With division nothing is repeated, on a tree. On a *loop* a message still comes back round the corner. Take a ring of $n$ modules with one number each; the precision matrix of all has $1$ on the
# diagonal and $-b$ between neighbours ($0 < b < \frac12$). There the means end up right (Weiss and Freeman, 2001), but the variances are too small by the factor $(1 + r^n)/(1 - r^n)$ with
# $r = (1 - \sqrt{1 - 4 b^2})/(2b)$: messages see an endless line in place of the ring, and the ring's variance is the line's times $1 + 2 (r^n + r^{2n} + \dots)$, once for each way round. Six modules, by messages:


# %%
def ring(h, b):
    """Mean and precision that each module believes, after messages from both sides."""
    P, left, right = 0.0, torch.zeros_like(h), torch.zeros_like(h)  # both sides tell the same precision
    for _ in range(1000):  # each passes on what it has, without what came from there
        left, right = b * (h + left).roll(1) / (1 + P), b * (h + right).roll(-1) / (1 + P)
        P = -(b**2) / (1 + P)
    return (h + left + right) / (1 + 2 * P), 1 + 2 * P


# %%
def beside_exact(n, b):
    """How far off the means are, and how many times too small the variances."""
    h = torch.arange(n).double()
    C = torch.linalg.inv(torch.eye(n).double() - b * (torch.eye(n).roll(1, 0) + torch.eye(n).roll(-1, 0)).double())
    mean, precision = ring(h, b)
    return (mean - C @ h).abs().max().item(), C[0, 0].item() * precision


(off, found), r = beside_exact(6, 0.45), (1 - (1 - 4 * 0.45**2) ** 0.5) / 0.9
claim("a loop makes modules too sure by the closed form", abs(found - (1 + r**6) / (1 - r**6)) < 1e-10, f"{found:.4f}")
claim("and their means are right", off < 1e-10, f"off by {off:.0e}")
print("variance too small by:", ", ".join(f"n = {n}: {beside_exact(n, 0.45)[1]:.2f}" for n in (3, 6, 12)))

# %% [markdown]
# ## Two modules of different kinds
#
# Now digits. The picture's module is a VAE that sees pictures alone. The voice's module is no network at all: probabilistic PCA
# of log-mel spectrograms, the linear-Gaussian model whose best weights are known (Tipping and Bishop, 1999); its code is 16 principal components, scaled to variance 1.

# %% tags=["nbval-ignore-output"]
from mmtutor.decoders import ImageDecoder
from mmtutor.encoders import ImageEncoder
from mmtutor.vae import MVAE, bernoulli

train, test = (digits("handwritten", "spoken", split=s, n=k) for s, k in (("train", n), ("test", 1000)))
seed_everything(0)
encoder, decoder = ImageEncoder(1, 20), ImageDecoder(10, 1, 28, logits=True)
vae = MVAE({"picture": encoder}, {"picture": decoder}, {"picture": bernoulli()}, latent=10)
fit(vae, {"picture": train.tensors["handwritten"]}, epochs=epochs, batch_size=batch_size, lr=lr, schedule="one-cycle")

sounds = train.tensors["spoken"].flatten(1)
_, scale, components = torch.linalg.svd(sounds - sounds.mean(0), full_matrices=False)


# %%
def codes(data):
    """What the two modules make of an example: their latent codes."""
    with torch.no_grad():
        picture = vae.eval().encode({"picture": data.tensors["handwritten"]}).mean.cpu()
    centred = data.tensors["spoken"].flatten(1) - sounds.mean(0)
    return {"picture": picture, "voice": centred @ components[:16].T / scale[:16] * len(sounds) ** 0.5}


known, new, label = codes(train), codes(test), test.tensors["label"]

# %% [markdown]
# Which kinds of things are there? Nobody says. Let both modules depend on a *category* $c$, one of 20 (with other data, ten did not become the ten digits, and 20 worked with every start): $z_m \mid c \sim \mathcal N(\mu_{mc}, \Sigma_{mc})$. The message from
# a module is $p(z_m \mid c)$, 20 numbers, and the belief is proportional to $p(c) \prod_m p(z_m \mid c)$. EM (expectation, maximisation) alternates: exchange messages; then each module updates
# its own $\mu$ and $\Sigma$, weighted by the common belief, whose mean is the new $p(c)$. No gradient passes from one to the other. Alone, each module is a plain Gaussian mixture. (Neuro-SERKET trains the VAE
# further with what it is told; here it stays as it is.)
#
# **Before you run it:** the picture alone finds categories, and so does the voice. Does what the *picture* can tell get better by having listened?

# %% tags=["nbval-ignore-output"]
from mmtutor.workspace import MixtureLink, SharedCategories


def categories(*modules, k=20, seed=0):
    model = SharedCategories({m: MixtureLink(k, known[m].shape[1], pseudo=50.0) for m in modules})
    score = model.fit_em({m: known[m] for m in modules}, steps=60, starts=3, seed=seed)
    return model, score


def agreement(model, *modules):
    """The adjusted Rand index: 0 by chance, 1 if two examples share a category just where they share a digit."""
    return adjusted_rand_score(label, model.belief(new, modules).probs.argmax(1))


# %% tags=["nbval-ignore-output"]
(joined, score), (looks, _), (listens, _) = categories("picture", "voice"), categories("picture"), categories("voice")
rand = {
    "picture": (agreement(looks, "picture"), agreement(joined, "picture")),
    "voice": (agreement(listens, "voice"), agreement(joined, "voice")),
}
for m, (before, after) in rand.items():
    print(f"what the {m} tells: trained alone {before:.2f}, trained with messages {after:.2f}")
rand["both"] = agreement(joined, "picture", "voice")
print(f"both together: {rand['both']:.2f}")

# %%
claim("EM never lowers its score", bool((score.diff() > -1e-4).all()), str(score.diff().min()))
claim(
    "with messages each module tells more of the digit than alone",
    all(after > before + 0.03 for before, after in (rand["picture"], rand["voice"])),
    str(rand),
)
claim("both together tell more than either", rand["both"] > max(rand["picture"][1], rand["voice"][1]), str(rand))

# %% [markdown]
# Together they drew borders that neither sees alone. What does a message clear up? Categories are named by their most frequent digit. **Choose an
# example** whose picture is misread:

# %% tags=["nbval-ignore-output", "hide-input"]
belief = {name: joined.belief(new, m).probs for name, m in (("picture", "picture"), ("voice", "voice"), ("both", None))}
owner = joined.belief(known).probs.argmax(1)
name = torch.stack([torch.bincount(train.tensors["label"][owner == c], minlength=10) for c in range(20)]).argmax(1)
of_digit = {m: p @ nn.functional.one_hot(name, 10).float() for m, p in belief.items()}
wrong = (of_digit["picture"].argmax(1) != label) & (of_digit["both"].argmax(1) == label)
# %% tags=["nbval-ignore-output", "hide-input"]
figures, alts = {}, {}
for k in wrong.nonzero()[:6, 0].tolist():
    figure, axes = plt.subplots(1, 2, figsize=(6.6, 2.6), layout="constrained", width_ratios=(1, 2.4))
    axes[0].imshow(test.tensors["handwritten"][k, 0], cmap="gray")
    axes[0].set_axis_off()
    for j, (m, p) in enumerate(of_digit.items()):
        axes[1].bar(torch.arange(10) + 0.27 * (j - 1), p[k], 0.27, label=m, color=TEN_COLOURS[j])
    axes[1].set(xlabel="digit", ylabel="belief", xticks=range(10))
    axes[1].legend(frameon=False)
    said = "; ".join(f"{m}: {int(p[k].argmax())}" for m, p in of_digit.items())
    key = f"{len(figures) + 1}: a {int(label[k])}"
    figures[key], alts[key] = figure, f"A handwritten {int(label[k])}. The likeliest digit from {said}."
frames(figures, alts, "example")

# %% [markdown]
# Messages go down as well. From a voice alone the picture's module is told $p(c)$, so it expects a picture:

# %% tags=["nbval-ignore-output", "hide-input"]
first = [int((label == d).nonzero()[0]) for d in range(10)]
tree = MessageTree({m: ("category", joined.links[m]) for m in ("picture", "voice")}, joined.prior)
expects = tree.beliefs({"voice": new["voice"][first]})["picture"].mean


def drawn(v):
    with torch.no_grad():
        return vae.decoders["picture"](v.to(next(vae.parameters()).device)).sigmoid().view(-1, 1, 28, 28).cpu()


show(
    grid(
        torch.stack([test.tensors["handwritten"][first], drawn(expects)]),
        ["true picture", "expected"],
        [f"“{d}”" for d in range(10)],
        "What a voice makes the picture’s module expect",
    ),
    "Ten voices, zero to nine; the true picture of each, and what is expected: a blurred mean digit, mostly the right one.",
)

# %% [markdown]
# ## Few labels
#
# A label is one more module, of a third kind: a table $p(\text{label} \mid c)$. Where an example has no label the module says nothing. Then
# $p(\text{label} \mid x)$ follows from the other messages. Here the categories stay as they are, and labels fill the table. How many labels does one need at
# the least? If categories *were* the digits, each label would only name one. With $m$ labels at random $1 - (9/10)^m$ of the digits have a name, and of the
# rest one can be guessed:

# %% tags=["nbval-ignore-output"]
from math import comb

from mmtutor.workspace import TableLink

several = (5, 10, 20, 50, 200)
unnamed = [sum((-1) ** (k + 1) * comb(10, k) * (1 - k / 10) ** m for k in range(1, 11)) for m in several]  # P(any)
right = {"at the best": [1 - 0.9**m + p / 10 for m, p in zip(several, unnamed, strict=True)]}
believed, x, y = joined.belief(known).probs, torch.cat([*known.values()], 1), train.tensors["label"]
right |= {"messages": [], "labelled alone": []}
# %% tags=["nbval-ignore-output"]
for m in several:
    hits = torch.zeros(2, 20)
    for draw in range(20):
        few = torch.randperm(n, generator=torch.Generator().manual_seed(draw))[:m]
        table = TableLink(20, 10)
        table.update(y[few], believed[few])
        hits[0, draw] = (table.down(joined.belief(new)).probs.argmax(1) == label).float().mean()
        classifier = LogisticRegression(max_iter=300).fit(x[few], y[few])
        hits[1, draw] = classifier.score(torch.cat([*new.values()], 1), label)
    for name, values in zip(("messages", "labelled alone"), hits.mean(1), strict=True):
        right[name].append(values.item())

# %% tags=["hide-input", "nbval-ignore-output"]
figure = curves(several, right, "Categories without labels, then few labels", "labels", "digits right")
figure.axes[0].set_xscale("log")
show(
    figure,
    "; ".join(f"{name}: {', '.join(f'{x:.2f}' for x in xs)}" for name, xs in right.items()) + ".",
)

# %%
gain = right["messages"][2] - right["labelled alone"][2]
claim("with 20 labels, categories are right more often than a classifier of the labelled codes", gain > 0.1, str(right))

# %% [markdown]
# ## A shared workspace
#
# A *global workspace* is a place where modules write what they know, and from which all of them read; the name is from a theory of consciousness (Baars, 1988). Goyal and others (2021) let
# modules compete for the place by attention; here (after Devillers, 2024) it is a vector $s$ of $k$ numbers. The modules stay as they are, frozen; small networks write, $s = e_i(v_i)$, and read, $d_j(s)$. Four losses train them:
#
# | loss | $\lVert \cdot \rVert^2$ of | needs pairs |
# | --- | --- | --- |
# | translation | $d_j(e_i(v_i)) - v_j$ | yes |
# | contrastive | InfoNCE of $e_i(v_i)$ and $e_j(v_j)$ ([chapter 3](03_joint_embedding.ipynb)) | yes |
# | demi-cycle | $d_i(e_i(v_i)) - v_i$ | no |
# | cycle | $d_i(e_j(d_j(e_i(v_i)))) - v_i$ | no |
#
# **How large must it be?** In the linear-Gaussian world the best $k$ numbers are known: with the eigenvectors $V_k$ of the largest eigenvalues $\lambda_j$ of the posterior's precision, $s = V_k^\top h$, where $h$ is the information of all modalities. The
# rest is lost, $\frac12 \sum_{j > k} \log \lambda_j$ nats about $z$. An autoencoder of $x$, in units of its noise, must find the same directions:

# %%
seed_everything(0)
large = LinearGaussian.random({"picture": 12, "voice": 8}, latent=6, noise=0.7, seed=3)
lam, k = torch.linalg.eigvalsh(large.precision()).flip(0), 3
W = torch.cat([w / 0.7 for w in large.weights.values()])  # (20, 6), in units of the noise
root = torch.linalg.cholesky(W @ W.T + torch.eye(20).double())  # of the covariance of x
into, out = (torch.randn(*shape, dtype=torch.float64).div(3).requires_grad_() for shape in ((20, k), (k, 20)))
optimizer = torch.optim.LBFGS([into, out], max_iter=1000, tolerance_change=0, line_search_fn="strong_wolfe")


# %%
def error():
    optimizer.zero_grad()
    loss = ((torch.eye(20).double() - into @ out).T @ root).square().sum()  # E ‖x − d(e(x))‖²
    loss.backward()
    return loss


optimizer.step(error)
s, noise = (into.T @ root @ root.T @ into).detach(), (into.T @ into).detach()
lost = (lam.log().sum() - s.logdet() + noise.logdet()).item() / 2  # I(z; x) − I(z; s)
claim(
    "a trained bottleneck keeps the leading eigenvectors",
    abs(lost - lam[k:].log().sum().item() / 2) < 1e-4,
    f"lost {lost:.4f} nats",
)

# %% [markdown]
# **What can cycles tell?** That the way back undoes the way there, and not who belongs to whom. If a module's codes pass *any* invertible map on the way in and its inverse on the way out, both
# cycle losses stay zero:

# %%
from mmtutor.workspace import SharedWorkspace, procrustes


def turned(R):
    layers = {name: nn.Linear(8, 8, bias=False).double() for name in ("in", "out")}
    with torch.no_grad():
        layers["in"].weight.copy_(R)
        layers["out"].weight.copy_(torch.linalg.inv(R))
    return layers


# %%
a = torch.randn(200, 8, dtype=torch.float64)
truth = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64))[0]  # a rotation
other = torch.randn(8, 8, dtype=torch.float64)  # any map
pairs = {"picture": a, "voice": a @ truth}
cycle, translation = [], []
for R in (truth, other):
    nets = {"picture": turned(torch.eye(8)), "voice": turned(R)}
    into_s, out_of = ({m: layers[way] for m, layers in nets.items()} for way in ("in", "out"))
    losses = SharedWorkspace(into_s, out_of, {"translation": 1.0, "cycle": 1.0}).loss(pairs)
    cycle.append(losses["cycle"].item())
    translation.append(losses["translation"].item())
claim("the cycle loss cannot tell the right map from another one", max(cycle) < 1e-20, str(cycle))
claim("translation can", translation[0] < 1e-20 < translation[1], str(translation))

# %% [markdown]
# To know more of the map helps. If *all* is shared, and both codes are scaled alike in all directions, it is a rotation: $d(d-1)/2$ numbers to learn from pairs in place of $d^2$. With noise on the pairs, the expected squared error of the map
# is $\sigma^2 d^2 / (n - d - 1)$ for any linear map by least squares, and about $\sigma^2 d (d - 1) / 2n$ for the best rotation (Procrustes). **Predict:** how many pairs does that knowledge save?

# %%
pair_counts, by = (10, 12, 16, 24, 48, 96, 192), {"any linear map": [], "a rotation": []}
for m in pair_counts:
    squared = torch.zeros(2)
    for _ in range(100):
        a = torch.randn(m, 8, dtype=torch.float64)
        b = a @ truth + 0.3 * torch.randn(m, 8, dtype=torch.float64)
        squared[0] += (torch.linalg.lstsq(a, b).solution - truth).square().sum()
        squared[1] += (procrustes(a, b) - truth).square().sum()
    for name, x in zip(by, squared / 100, strict=True):
        by[name].append(x.item())
formula = {"any linear map": 0.09 * 64 / (192 - 9), "a rotation": 0.09 * 28 / 192}
for name, x in formula.items():
    claim(f"{name}: the error is the predicted one", abs(by[name][-1] / x - 1) < 0.15, f"{by[name][-1]:.4f}, {x:.4f}")

# %% tags=["hide-input"]
figure = curves(pair_counts, by, "A rotation needs fewer pairs", "pairs", "squared error of the map")
figure.axes[0].set(xscale="log", yscale="log")
show(figure, "Both errors fall; with many pairs that of a rotation is half, with few pairs far less.")

# %% [markdown]
# It saves a factor of two when pairs are plenty, and much more when they are about as few as the numbers of a code. A cycle loss alone does not have this knowledge. And a voice knows the digit and nothing of the
# handwriting, so no cycle can come back to $v_i$. Nevertheless: Devillers and others found, with pictures of shapes and descriptions of them, that with cycles 4 to 7 times fewer pairs are enough. Here?
#
# ## How many pairs do digits need?
#
# The same frozen modules, now with few pairs and all examples of one modality alone:


# %%
def net(before, after):
    return nn.Sequential(nn.Linear(before, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, after))


def few_pairs(m):
    """A fifth of the rows or more are pairs, few pairs many times; the others have one modality."""
    rows, m = torch.arange(n), min(m, n)
    half = torch.arange(max(n // 2, m)) % m
    return {
        "picture": torch.cat([known["picture"][half], known["picture"], torch.zeros(n, 10)]),
        "voice": torch.cat([known["voice"][half], torch.zeros(n, 16), known["voice"]]),
        "picture_present": torch.cat([half >= 0, rows >= 0, rows < 0]),
        "voice_present": torch.cat([half >= 0, rows < 0, rows >= 0]),
    }


# %%
def workspace(m, k=10, lr=3e-2, contrast=None, **weights):
    seed_everything(0)
    size = {"picture": 10, "voice": 16}
    into, out_of = {i: net(d, k) for i, d in size.items()}, {i: net(k, d) for i, d in size.items()}
    model = SharedWorkspace(into, out_of, weights, contrast)
    fit(model, few_pairs(m), epochs=15, batch_size=256, lr=lr, schedule="one-cycle", progress=False)
    return model.eval()


# %% tags=["nbval-ignore-output", "hide-input"]
class Classifier(nn.Module):  # the evaluation classifier
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(ImageEncoder(1, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, batch):
        return self.net(batch["handwritten"])

    def loss(self, batch):
        return {"loss": nn.functional.cross_entropy(self(batch), batch["label"].to(self.net[2].weight.device))}


seed_everything(0)
judge = Classifier()
fit(judge, train, epochs=5, batch_size=64, lr=3e-3, schedule="one-cycle")


# %% tags=["nbval-ignore-output", "hide-input"]
@torch.no_grad()
def digit_right(v):
    scores = judge.eval()({"handwritten": drawn(v).to(next(judge.parameters()).device)})
    return (scores.argmax(1).cpu() == label).double().mean().item()


print(f"right of true pictures' codes {digit_right(new['picture']):.2f}")

# %% tags=["nbval-ignore-output"]
losses = {"pairs alone": dict(translation=1.0), "and demi-cycles": dict(translation=1.0, demi_cycle=1.0)}
losses["and cycles"] = dict(translation=1.0, demi_cycle=1.0, cycle=0.3, lr=3e-3)  # each at its best rate
pair_counts, translated = (30, 100, 300, 1000), {name: [] for name in losses}
for name, weights in losses.items():
    for m in pair_counts:
        model = workspace(m, **weights)
        translated[name].append(digit_right(model.translate({"voice": new["voice"]}, to="picture")))
figure = curves(pair_counts, translated, "A picture for a voice", "pairs", "digits right")
figure.axes[0].set_xscale("log")
show(figure, "; ".join(f"{name}: {', '.join(f'{x:.2f}' for x in xs)}" for name, xs in translated.items()) + ".")

# %%
k = pair_counts.index(100)
gains = {name: translated[name][k] - translated["pairs alone"][k] for name in losses}
claim("with 100 pairs, what is not paired makes more digits right", min([*gains.values()][1:]) > 0.05, str(translated))
claim("and most of it by demi-cycles", gains["and demi-cycles"] > gains["and cycles"] / 2, str(gains))

# %% [markdown]
# So examples without a partner do help while pairs are few, mostly by the demi-cycle: the networks learn what codes look like. With 1,000 pairs little is left of it. How many pairs it
# saves, five seeds say below.
#
# And messages about a category? They were learned from all pairs, so compare with a workspace of as many. A voice says which digit, and
# nothing of the handwriting. So no one can come nearer to a picture's code than the mean code of its digit. **Before you run it:** which of the two comes
# nearer?

# %% tags=["nbval-ignore-output"]
every = {"workspace": workspace(n, translation=1.0), "workspace, slow": workspace(n, translation=1.0, lr=3e-3)}
with torch.no_grad():
    of = {name: model.translate({"voice": new["voice"]}, to="picture").cpu() for name, model in every.items()}
of["messages"] = joined.belief({"voice": new["voice"]}).probs @ joined.links["picture"].means
of["mean of all"] = known["picture"].mean(0).expand(len(label), -1)
of["mean of the digit"] = torch.stack([known["picture"][y == d].mean(0) for d in range(10)])[label]
errors = {name: (v - new["picture"]).square().mean().item() for name, v in of.items()}
for name, v in of.items():
    print(f"{name}: squared error {errors[name]:.3f}, {digit_right(v):.2f} right")

# %%
best, nothing = errors["mean of the digit"], errors["mean of all"]
way = {name: (nothing - errors[name]) / (nothing - best) for name in ("workspace", "messages")}
claim("both go most of the way from the mean of all to that of the digit", 0.6 < min(way.values()) < 1, str(way))
claim("and as far as each other", abs(way["workspace"] - way["messages"]) < 0.1, str(way))

# %% [markdown]
# Both know most of what a voice can tell, and as much as each other. (A comparison is as fair as the care taken of each side: the *slow* one
# has a tenth of the learning rate, and messages would seem to win.) A picture and a voice of a digit are paired at random here, so the digit is all they
# share, just as messages about a category assume. Where more is shared, they could not say it, and the workspace could.
#
# **Too small a workspace.** Few numbers must hold all that is shared, here by translation alone. **Before you move it:** how many numbers do ten digits need?

# %% tags=["nbval-ignore-output"]
of_size, figures, alts = {}, {}, {}
for k in (1, 2, 4, 10):
    v = workspace(1000, k, translation=1.0).translate({"voice": new["voice"]}, to="picture")
    of_size[k] = digit_right(v)
    pictures = torch.stack([test.tensors["handwritten"][first], drawn(v[first])])
    words = [f"“{d}”" for d in range(10)]
    figures[f"k = {k}"] = grid(pictures, ["true picture", "from the voice"], words, f"Numbers in the workspace: {k}")
    alts[f"k = {k}"] = (
        f"Pictures that ten voices give through a workspace of k = {k}; {of_size[k]:.2f} of all are right."
    )
frames(figures, alts, "numbers in the workspace")

# %%
claim("one number is too few", of_size[1] < of_size[10] - 0.2, str(of_size))

# %% [markdown]
# (One number *could* name ten digits, each by its own place on a line. The networks do not learn to.)
#
# ## What five seeds say
#
# `python -m experiments.workspace` does all this with five seeds, each with 4,000 pairs of its own. Rates, weights and the number of categories were
# chosen on validation examples of other seeds.

# %% tags=["hide-input"]
from mmtutor.plotting import verdicts
from mmtutor.results import measured

claims = [
    "Trained with messages the picture",
    "Modules that exchange messages find digits as well",
    "With 20 labels",
    "With 100 pairs, unpaired demi-cycles",
    "With 100 pairs, cycles besides",
    "To be as good as 100 pairs without cycles",
    "At least 4 times fewer are enough",
    "With all 4,000 pairs messages draw more",
    "With 100 pairs, repeated as for the workspace",
    "With all 4,000 pairs the workspace draws more digits right than JMVAE",
]
verdicts(measured("workspace"), claims)

# %% [markdown]
# **Categories.** The picture tells .58 (adjusted Rand index) if its module was trained alone and .82 if it listened, the voice .61 and .81, both together .95. One mixture of
# all 26 numbers finds .91: nothing is lost by keeping modules apart. With the voices of other examples the picture tells .08: what helps is who belongs together.
#
# **Labels.** With 20 labels messages are right for .85 and a classifier of the labelled codes for .60, with 2,000 for .98 and .97.
#
# **Pairs.** With demi-cycles and cycles 2.7 times fewer pairs are as good as 100, and 1.5 times from pictures to voices; of 1,000 none is saved for certain. So "4 to 7 times" does not hold here,
# nor for two VAEs of the same pictures (3.6 times). The gain is the demi-cycle's: with 100 pairs .48 are right without it, .61 with it, and .58 with cycles besides. With all 4,000 pairs
# .86 are right without, .84 with.
#
# **Messages or a workspace?** With all pairs messages are right for .88, as many as true pictures' codes, the workspace for .86. With 100 pairs it is .55 and .62; but there EM saw each pair once among thousands of single examples. Where
# pairs are repeated, as they are for the workspace, messages are right for .72.
#
# **Trained together**, JMVAE is right for .78 after four times as many epochs as the picture's module and .75 after eight times. MVAE, .52 and .64, has not stopped
# improving. With 300 pairs the workspace has .72, JMVAE .56, MVAE .35.
#
# ## What to remember
#
# - A message is a factor; factors multiply, so their parameters add up. On a tree two sweeps give each module the exact posterior.
# - Leave out what you were told by the one you tell. Repeated words make modules too sure; on a loop words come round, too.
# - Modules of different kinds can find categories together, without labels and without joint training, that neither finds alone.
# - Where categories are found already, labels only name them.
# - Cycles need no pairs. They say that the way back undoes the way there, which any invertible map does; pairs must say which map it is.
# - While pairs are few, demi-cycles on single examples help. Compare ways each at its best rate, and with pairs that weigh alike.
#
# ## Exercises
#
# Short exercises check your answers, say which usual mistake they see, and give hints: the
# [exercises of chapter 12](exercises/12_workspace.ipynb). At their end are things to try here, with the models of this chapter.
#
# ## Where to read on
#
# - J. Pearl (1988), Probabilistic reasoning in intelligent systems; Y. Weiss and W. Freeman (2001), Correctness of belief propagation in
#   Gaussian graphical models of arbitrary topology.
# - T. Nakamura and others (2018), SERKET, [arXiv:1712.00929](https://arxiv.org/abs/1712.00929); T. Taniguchi and others (2020),
#   Neuro-SERKET, [arXiv:1910.08918](https://arxiv.org/abs/1910.08918).
# - A. Goyal and others (2021), Coordination among neural modules through a shared global workspace,
#   [arXiv:2103.01197](https://arxiv.org/abs/2103.01197).
# - B. Devillers and others (2024), Semi-supervised multimodal representation learning through a global workspace,
#   [arXiv:2306.15711](https://arxiv.org/abs/2306.15711).
# - M. Tipping and C. Bishop (1999), Probabilistic principal component analysis.
# - The library behind this chapter: `mmtutor.workspace.MessageTree`, `mmtutor.workspace.SharedCategories`,
#   `mmtutor.workspace.SharedWorkspace`.
