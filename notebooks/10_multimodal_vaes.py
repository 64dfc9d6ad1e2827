# %% [markdown]
# # One code for all modalities
#
# You read "seven" and can picture a seven. In this chapter models learn one hidden code from which a handwritten digit, a
# house number and the digit's word can all be made, whichever of them is known. You see what happens when a modality is missing,
# why it happens, and what the field has come up with against it.

# %% tags=["hide-input"]
import torch
from torch import nn

from mmtutor.data import digits
from mmtutor.plotting import bars, curves, grid, latents, scatter, show, vae_map
from mmtutor.training import budget, claim, fit, seed_everything

n, epochs = budget(quick=(3000, 6), full=(20000, 30))
modalities = ("handwritten", "street", "word")
train, test = digits(*modalities, split="train", n=n), digits(*modalities, split="test", n=1000)

# %% tags=["hide-input"]
import torch.nn.functional as F


def same_size(picture):  # grey to colour, 28 to 32 pixels
    return F.pad(picture, [(32 - picture.shape[-1]) // 2] * 4).expand(-1, 3, -1, -1)


def spell(word):  # from (B, 8, 27), the first symbol is a blank
    return ["".join(" abcdefghijklmnopqrstuvwxyz"[k] for k in row).strip() for row in word.argmax(2)]


batch = test[:]
pairs = torch.stack([same_size(batch[modality][:8]) for modality in modalities[:2]])
show(
    grid(pairs, modalities[:2], spell(batch["word"][:8]), "Three modalities say one thing"),
    "Eight triples of a handwritten digit, a house number and a word: " + ", ".join(spell(batch["word"][:8])) + ".",
)

# %% [markdown]
# ## The idea
#
# A *variational autoencoder* explains what it sees by a code $z$ with the prior $p(z) = \mathcal N(0, I)$. Decoders
# $p_i(x_i \mid z)$ make each modality $x_i$ from it; an encoder infers the *posterior* $q(z \mid X)$ from all modalities
# $X = (x_1, \dots, x_M)$. Both are trained to raise a lower bound of the log-likelihood, the ELBO:
#
# $$\begin{aligned}
# \log p(X) \ge\ & \mathbb E_{q(z \mid X)} \textstyle\sum_i \log p_i(x_i \mid z) \\
# & - \mathrm{KL}(q(z \mid X) \,\Vert\, p(z)).
# \end{aligned}$$
#
# The first part asks that the modalities can be made again; the *Kullback-Leibler divergence* asks the code not to say more than
# it must. With *one* modality that is all. With several, a question arises: how is $q(z \mid X)$ built, so that it can do
# without some of them? First see what goes wrong without an answer, after two tools.
#
# ## By hand: the product of two Gaussians
#
# Two *experts* each say where they believe $z$ to be. Likely is what *all* hold likely, so multiply their densities, and the
# prior's. The result is again a Gaussian. With $\tau_i$ for the *precision* of expert $i$, one over its variance, and $\mu_i$
# for its mean, it has
#
# $$\tau = 1 + \tau_1 + \tau_2, \qquad \mu = (\tau_1 \mu_1 + \tau_2 \mu_2) / \tau.$$

# %%
from mmtutor.vae import normal, product, product_of_posteriors, stacked

mean, std = torch.tensor([[[-0.5]], [[2.0]]]).double(), torch.tensor([[[1.0]], [[0.5]]]).double()
q = product(normal(mean, std))  # two experts, one example, one number
z = torch.linspace(-8, 8, 8001, dtype=torch.float64)
densities = [torch.distributions.Normal(m, s).log_prob(z).exp() for m, s in ((-0.5, 1.0), (2.0, 0.5), (0.0, 1.0))]
by_hand = densities[0] * densities[1] * densities[2]
by_hand /= by_hand.sum() * (z[1] - z[0])
gap = float((by_hand - q.log_prob(z.view(-1, 1, 1)).exp()[:, 0]).abs().max())
claim("the product of three densities is the library's", gap < 1e-6, f"gap {gap}")

# %% tags=["nbval-ignore-output", "hide-input"]
lines = dict(zip(("expert 1", "expert 2", "prior"), densities, strict=True)) | {"product": by_hand}
show(
    curves(
        z[2000:6001:100],
        {k: v[2000:6001:100] for k, v in lines.items()},
        "The product is surer than each",
        "z",
        "density",
    ),
    "Four bell curves. The product of both experts and the prior is the narrowest, and lies between them.",
)

# %% [markdown]
# Care with the prior. If $q_i$ is itself a *posterior*, the prior is in it already, and a plain product of $M$ of them counts
# it $M$ times. Divide by $p(z)^{M-1}$; the modalities must be independent given $z$. In a world where all is linear and Gaussian the truth is known exactly, so one can see
# what the mistake costs:

# %%
from mmtutor.lineargaussian import LinearGaussian

world = LinearGaussian.random({"a": 3, "b": 4, "c": 2}, latent=1, noise=1.0, seed=0)
_, seen = world.sample(500, seed=1)
single = stacked([world.posterior(seen, [modality]) for modality in seen])
both = {"naive": product(single, prior=False), "corrected": product_of_posteriors(single)}
cost = {name: float(world.gap(seen, q).mean()) for name, q in both.items()}
claim("the corrected product is the exact posterior", cost["corrected"] < 1e-10, str(cost))
off = cost["naive"] / world.naive_product_gap()
claim("the naive product is off, as theory says", abs(off - 1) < 0.15 and cost["naive"] > 0.01, str(cost))

# %% [markdown]
# ## The networks
#
# All models are handed the same kind of encoders and decoders. An encoder gives mean and log standard deviation of $q_i$. The
# pictures have Gaussian likelihoods, the word's letters categorical ones. Weights raise the likelihoods of the word (8
# letters) and of the small picture (784 numbers) against the large one (3,072). With them the objective is no longer a bound
# of $\log p(X)$.

# %%
from mmtutor.vae import JMVAE, MMVAE, MVAE, MMVAEPlus, MoPoE, categorical, from_network, gaussian, mean_of

latent = 20


def encoder(modality, outputs):
    if modality == "word":
        return nn.Sequential(nn.Flatten(), nn.Linear(216, 128), nn.SiLU(), nn.Linear(128, outputs))
    channels, side = {"handwritten": (1, 7), "street": (3, 8)}[modality]
    layers = [nn.Conv2d(channels, 16, 4, 2, 1), nn.GroupNorm(4, 16), nn.SiLU(), nn.Conv2d(16, 32, 4, 2, 1)]
    layers += [nn.GroupNorm(4, 32), nn.SiLU(), nn.Flatten(), nn.Linear(32 * side**2, 128), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(128, outputs))


# %%
def decoder(modality):  # of z, or of z and w side by side
    first = [nn.Linear(latent, 128), nn.SiLU()]
    if modality == "word":
        return nn.Sequential(*first, nn.Linear(128, 216), nn.Unflatten(1, (8, 27)))
    channels, side = {"handwritten": (1, 7), "street": (3, 8)}[modality]
    first += [nn.Linear(128, 32 * side**2), nn.SiLU(), nn.Unflatten(1, (32, side, side))]
    layers = [nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.SiLU(), nn.ConvTranspose2d(16, channels, 4, 2, 1), nn.Sigmoid()]
    return nn.Sequential(*first, *layers)


# %%
class JointEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleDict({modality: encoder(modality, 128) for modality in modalities})
        self.last = nn.Sequential(nn.SiLU(), nn.Linear(3 * 128, 2 * latent))

    def forward(self, batch):
        return self.last(torch.cat([part(batch[modality]) for modality, part in self.parts.items()], 1))


# %%
def build(kind, *joint, private=0, **options):
    seed_everything(0)
    options |= {"private": private} if private else {}
    encoders, decoders = {s: encoder(s, 2 * latent) for s in modalities}, {s: decoder(s) for s in modalities}
    likelihoods = {"handwritten": gaussian(0.2), "street": gaussian(0.25), "word": categorical(one_hot=True)}
    weights = {"handwritten": 4.0, "street": 1.0, "word": 40.0}
    return kind(
        *(make() for make in joint), encoders, decoders, likelihoods, latent - private, weights=weights, **options
    )


# %% tags=["nbval-ignore-output"]
recipe = dict(epochs=epochs, lr=3e-3, batch_size=32, schedule="one-cycle", clip_norm=200.0)
models = {
    "JMVAE": build(JMVAE, JointEncoder, alpha=1.0),
    "MVAE": build(MVAE),
    "MMVAE": build(MMVAE),
    "MoPoE": build(MoPoE),
    "MMVAE+": build(MMVAEPlus, private=14, beta=4.0),
}
for model in models.values():
    fit(model, train, **recipe)
    model.eval()

# %% [markdown]
# ## A modality is missing
#
# JMVAE's joint encoder has only ever seen complete triples. What if one fills the gaps with zeros? Here only the *word* is
# known. Above, the joint encoder reads it beside two black pictures; below, JMVAE's *surrogate* $q_i$ reads it
# alone. Training added the cost $\alpha \sum_i \mathrm{KL}(q(z \mid X) \,\Vert\, q_i(z \mid x_i))$, where the number
# $\alpha$ says how much it counts that a surrogate is close to the joint posterior.

# %% tags=["nbval-ignore-output"]
ten = torch.stack([(batch["label"] == digit).nonzero()[0, 0] for digit in range(10)])
words = {"word": batch["word"][ten]}


@torch.no_grad()
def zero_filled(given, to):
    like = {s: torch.zeros_like(batch[s][: len(next(iter(given.values())))]) for s in modalities}
    z = from_network(models["JMVAE"].joint(like | given)).sample()
    return {s: mean_of(p) for s, p in models["JMVAE"].decode(z, to).items()}


# %% tags=["nbval-ignore-output"]
seed_everything(0)
rows = [zero_filled(words, [s])[s] for s in modalities[:2]]
rows += [models["JMVAE"].generate(words, [s])[s][0] for s in modalities[:2]]
show(
    grid(
        torch.stack([same_size(x) for x in rows]),
        ["zeros: hand", "zeros: street", "surrogate: hand", "surrogate: street"],
        spell(words["word"]),
        "Pictures of ten words",
    ),
    "Ten words and pictures made from each: with zeros for the missing modalities hardly any shows the digit, with the "
    "surrogate most handwritten ones do.",
)

# %% [markdown]
# To score this we need *classifiers*, classifiers that were trained on real pictures. **Coherence** is the share of made pictures
# in which the classifier sees the right digit. A classifier errs too, so its own accuracy is the most to be had.

# %% tags=["nbval-ignore-output"]
from mmtutor.metrics import coherence, correct, linear_probe


class EvaluationClassifier(nn.Module):
    def __init__(self, modality):
        super().__init__()
        self.modality, self.body, self.last = modality, encoder(modality, 64), nn.Linear(64, 10)

    def forward(self, batch):
        return self.last(F.silu(self.body(batch[self.modality])))

    def loss(self, batch):
        return {"loss": F.cross_entropy(self(batch), batch["label"])}


classifiers = {}
for modality in modalities[:2]:
    seed_everything(1)
    classifiers[modality] = EvaluationClassifier(modality)
    fit(classifiers[modality], train, epochs=epochs, lr=3e-3, schedule="one-cycle")
    print(f"the classifier of {modality} pictures is right in {correct(classifiers[modality].eval(), test).mean():.3f}")

# %%
seed_everything(0)
label, known = batch["label"], {"word": batch["word"]}
made = {name: {s: x[0] for s, x in model.generate(known, modalities[:2]).items()} for name, model in models.items()}
by = {"joint encoder, zeros": zero_filled(known, ["handwritten"])} | made
hand = classifiers["handwritten"]
shares = {name: float(coherence(hand, "handwritten", x["handwritten"], label).mean()) for name, x in by.items()}
for name in models:
    claim(
        f"{name} makes the right digit from a word more often than zeros do",
        shares[name] > shares["joint encoder, zeros"] + 0.1,
        str(shares),
    )

# %% tags=["nbval-ignore-output"]
show(
    bars(shares, "Handwritten digits made from words", "share that show the digit", chance=0.1),
    "Shares of handwritten pictures that show the digit of the word: "
    + ", ".join(f"{k} {v:.2f}" for k, v in shares.items())
    + ".",
)

# %% [markdown]
# ## The field's answers
#
# They can be put on one map, that of Suzuki and Matsuo (2022), with a later model put in:

# %% tags=["nbval-ignore-output"]
show(
    vae_map(),
    "A map of models. Coordinated models have an inference for each modality and draw these together. Joint models have one "
    "inference for all: by a joint encoder with surrogates, by aggregation (product, mixture, or mixture of products), or "
    "with private codes besides.",
)

# %% [markdown]
# *Surrogate* models have a joint encoder for all modalities, and stand-ins $q_i(z \mid x_i)$ for one modality each. *Aggregation*
# builds the posterior from the $q_i$ themselves. The page [Map](../map.md) has every model with its equation.
#
# ## Product or mixture?
#
# **MVAE** multiplies: $q(z \mid X) \propto p(z) \prod_i \tilde q_i(z \mid x_i)$, where $\tilde q_i$ is an
# expert and no posterior yet: the prior comes once, in front. A modality that is missing is a factor that is left out. Each
# modality is free to be silent about what it does not know. **MMVAE** takes a *mixture*,
# $q(z \mid X) = \frac 1 M \sum_i q_i(z \mid x_i)$: one modality is drawn at random, and its code has to explain *all* modalities. That
# forces each modality to say what is common. But a word cannot know the colour of a house, so the decoder learns to answer with
# a mean of all colours. **MoPoE** is a mixture of the products of all sets of modalities. Here are house numbers made
# from handwritten digits, and again from handwritten digit *and* word:

# %% tags=["nbval-ignore-output"]
given = {"handwritten": batch["handwritten"][ten]}
seed_everything(0)
rows = {"given": given["handwritten"], "true": batch["street"][ten]}
for name in ("MVAE", "MMVAE", "MoPoE"):
    rows[name] = models[name].generate(given, ["street"])["street"][0]
    rows[f"{name}, + word"] = models[name].generate(given | words, ["street"])["street"][0]
show(
    grid(torch.stack([same_size(x) for x in rows.values()]), list(rows), spell(words["word"]), "From hand to house"),
    "Ten handwritten digits, house numbers that belong to them, and house numbers made by three models. Those of the "
    "mixtures are alike in colour and blurred.",
)

# %% [markdown]
# ## A look at the code
#
# The means of $q(z \mid x)$, inferred from *handwriting alone*, seen from the two directions in which they differ most. A
# *linear probe*, logistic regression on the codes, tells how much of the digit can be read off them:

# %% tags=["nbval-ignore-output"]
with torch.no_grad():
    codes = {
        name: [model.encode({"handwritten": part[:]["handwritten"]}).mean for part in (train, test)]
        for name, model in models.items()
    }
show(
    latents(codes["MoPoE"][1], label, "Codes of handwritten digits (MoPoE)"),
    "Codes as points; zeros and ones stand apart.",
)
read = {name: linear_probe(x, train[:]["label"], y, label).mean() for name, (x, y) in codes.items()}
print({name: f"{share:.3f} of the digits can be read off the code" for name, share in read.items()})

# %%
for name, share in read.items():
    claim(f"the code that {name} infers from handwriting alone tells the digit", share > 0.5, str(read))

# %% [markdown]
# ## What belongs to one modality alone
#
# The colour of a house number is nobody else's business. Models with *private* latents give each modality a $w_i$ of its own
# beside the shared $z$; the factors of [chapter 8](08_mfm_images.ipynb) are relatives. MMVAE+ makes each modality also from
# another's $z$ *without* the modality's own $w_i$. So what is common has to be in $z$, though nothing forbids that it is in $w_i$
# too. So we give it a narrow $z$, 6 numbers, a wide $w$, 14, and a higher price for both, $\beta = 4$. Below, each column
# has the $z$ of a *word*, each row the $w$ of a picture:


# %% tags=["nbval-ignore-output"]
@torch.no_grad()
def styled(modality, words, pictures):  # of examples by their numbers: z of a word, w of a picture
    z = models["MMVAE+"].encode({"word": batch["word"][words]}).mean
    w = models["MMVAE+"].encode_private({modality: batch[modality][pictures]})[modality].mean
    return mean_of(models["MMVAE+"].decode(z, [modality], {modality: w})[modality])


by_ink, table = batch["handwritten"].mean((1, 2, 3)).argsort(), []
for modality, rows in (("street", torch.tensor([3, 11, 14])), ("handwritten", by_ink[[30, 500, 970]])):
    for row in rows:
        table.append(same_size(torch.cat([batch[modality][row : row + 1], styled(modality, ten, row.repeat(10))])))
show(
    grid(torch.stack(table), [""] * 6, ["w of", *spell(words["word"])], "Digit from a word, style from a picture"),
    "Three house numbers and three handwritten digits, and beside each ten that were made with its private code and the "
    "shared code of ten words: dark or light, bold or thin as the one to the left.",
)

# %%
made = styled("street", torch.randperm(len(label)), torch.arange(len(label)))
related = float(torch.corrcoef(torch.stack([x.mean((1, 2, 3)) for x in (batch["street"], made)]))[0, 1])
claim("house numbers made from words are light or dark as the one whose w they have", related > 0.5, str(related))

# %% [markdown]
# This is bought with coherence: fewer digits can be read off the shared code of 6 numbers (see above), and thin strokes come
# with the shape of a 1. In so short a training colour is faint, as the decoder half answers with a mean of all; the paper
# trains for hundreds of epochs.
#
# ## Labels for few
#
# A label is a modality like any other, and it may be missing for most examples. This is *weak supervision*: the batch carries
# `label_present`, and an example without label trains everything but the label's part. Here are house numbers, of which a
# share has labels: two models with the label as a modality, and a classifier that is trained on the labelled ones alone, for as
# many steps (stored figures; the share is shown as its logarithm to base 10):

# %% tags=["nbval-ignore-output"]
import json
from pathlib import Path

here = Path.cwd() if Path("docs").exists() else Path.cwd().parent
stored = json.loads((here / "docs/results/vae.json").read_text())
share_of_labels, seeds = stored["settings"]["label shares"], list(stored["figures"].values())
logs = torch.tensor(share_of_labels).log10()
lines = {
    name: [[seed[f"{share:.0%} of labels: {name}"] for share in share_of_labels] for seed in seeds]
    for name in ("MVAE", "MMVAE", "classifier")
}
show(
    curves(logs, lines, "Labels for some of 4,000 house numbers", "log₁₀ of the share that has a label", "accuracy"),
    "Accuracy by the share of labels: the classifier is ahead where labels are few; MMVAE reaches it, MVAE does not.",
)

# %% [markdown]
# ## Sharp or coherent?
#
# How good are the pictures as pictures? The *Fréchet distance* (FD) compares the classifier's features, those before its last
# layer, of real and of made pictures: means and covariances. It is 0 where both agree. Blur and sameness raise it, even when
# every digit is right. We take the means of the decoders, without noise. Here are all nine models of the experiment. To the
# right is coherent, below is like real pictures. Each seed has its own classifiers and so its own unit, so each FD is divided by
# MVAE's of the same seed:

# %% tags=["nbval-ignore-output", "hide-input"]
points = {}
for name in (*models, "TELBO", "MVTCAE", "Coordinated", "Coordinated, cross"):
    coherent = [f[f"coherence, one modality given: {name}"] for f in seeds]
    distance = [f[f"FD from the word: {name}"] / f["FD from the word: MVAE"] for f in seeds]
    points[name] = sum(coherent) / len(seeds), sum(distance) / len(seeds)
show(
    scatter(
        points, "Mixtures: coherent, and far from real", "coherence, one modality given", "FD from the word over MVAE's"
    ),
    "Each model as a point: mixtures to the upper right, JMVAE to the lower right, MVAE and TELBO in the middle.",
)

# %% [markdown]
# ## What five seeds say
#
# This table was made by `python -m experiments.vae`: first the linear-Gaussian world, where each objective's optimum can be
# held against the truth, then digits, with 4,000 triples. It is loaded here, not computed; the [page of claims](../claims.md)
# has all figures. A line that begins with … goes on with the one above it.

# %%
for row in stored["rows"]:
    mean, low, high = row["difference"]
    print(f"{row['claim']}:\n    {row['verdict']}, {mean:+.3f} [{low:+.3f}, {high:+.3f}] {row['unit']}")

# %% [markdown]
# Read it slowly. In the *linear-Gaussian world* the best encoders are within reach, and theory can be seen at work. JMVAE's
# surrogates, TELBO and MVAE find each modality's posterior within 0.01 nats. Mixtures, with one draw of $z$, do not: each expert
# has to explain *all* modalities, and becomes too sure. MMVAE's experts have 0.56 of the width that they should have, less even
# than the posterior of all modalities (0.65), MoPoE's 0.78. MVTCAE comes within 0.01 nats of the joint posterior, with experts
# that are too wide.
#
# On *digits* MMVAE makes the right digit or word from one modality most often (0.84, MVAE 0.58, mean of six directions), and its
# pictures made from words are about three to four times as far from real ones: the mixture is coherent and dull, the product
# livelier and less coherent, as Daunhawer and others say. Yet JMVAE, the oldest, has coherence 0.75 and the best pictures
# from words. MoPoE is not between product and mixture here: it is no more coherent than MVAE, and its pictures are no better
# than MMVAE's. The bound of its likelihood is higher than MMVAE's, but MVAE's is higher still. MMVAE+'s shared code tells
# the digit in 0.99, but its private ones in 0.64 too; its pictures are not better than MMVAE's. With the narrow shared code of
# the picture above, the private ones tell the digit even in 0.80, and it stays open whether style follows them more. From the
# *prior* no model is coherent: its three modalities agree in less than a fifth of the draws.
#
# A joint encoder that is fed zeros is right in 0.23, worse than surrogates and aggregation. The corrected product of two
# surrogates is more coherent than the naive one, by 0.02. Coordinated by KL with λ = 1 is no better than zeros, and a product
# or average of its inferences is worth no more than the better one alone; coordinated by cross-generation it has 0.80.
# *Complete examples* matter: with 1, 5, 20 and 100 % of them MVAE's coherence is 0.13, 0.20, 0.34 and 0.58. A *label* as one
# more modality does not beat a classifier: MMVAE equals it from 20 % of the labels on, MVAE never, for nothing in its objective
# asks a house number alone for its label. With 1 % of the labels the classifier sees each of them 800 times, the models 8.
#
# Do not read this as a ranking. Eight epochs are few; MoPoE's authors take 200. Only the α of JMVAE and of MVTCAE was tuned.
# MMVAE has one draw and normal distributions, where its paper has many and Laplace's. Steps are equal, time is not.
#
# ## Exercises
#
# 1. Train JMVAE with `alpha=0.01` and `alpha=10`. What happens to the pictures made from words, and to those made from all?
# 2. Train `MVAE` with `single=False, drawn=0`: the joint ELBO alone. What is left of its inference from a word?
# 3. Give `MMVAE` the options `k=5` and `objective="dreg"`. Compare `log_likelihood(test[:], k=50)` at equal time.
# 4. Take most words away: `MultimodalDataset(train.tensors | {"word_present": torch.rand(n) < 0.1})`, with `MultimodalDataset` from
#    `mmtutor.data`. Train MVAE and MoPoE. Which loses more?
#
# ## Where to read on
#
# - M. Suzuki and Y. Matsuo (2022), A survey of multimodal deep generative models, arXiv:2207.02127.
# - M. Suzuki, K. Nakayama and Y. Matsuo (2016), Joint multimodal learning with deep generative models, arXiv:1611.01891.
# - M. Wu and N. Goodman (2018), Multimodal generative models for scalable weakly-supervised learning, arXiv:1802.05335.
# - Y. Shi and others (2019), Variational mixture-of-experts autoencoders, arXiv:1911.03393.
# - T. Sutter, I. Daunhawer and J. Vogt (2021), Generalized multimodal ELBO, arXiv:2105.02470.
# - I. Daunhawer and others (2022), On the limitations of multimodal VAEs, arXiv:2110.04121.
# - E. Palumbo, I. Daunhawer and J. Vogt (2023), MMVAE+: Enhancing the generative quality of multimodal VAEs.
# - The library behind this chapter: `mmtutor.vae`, `mmtutor.lineargaussian`, `mmtutor.metrics.coherence`,
#   `mmtutor.metrics.frechet_distance`.
