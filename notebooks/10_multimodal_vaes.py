# %% [markdown]
# # 10 · Multimodal VAEs: one latent code for all modalities
#
# You read "seven" and can picture a seven. In this chapter models learn one latent code from which a handwritten digit, a
# house number and the digit's word can all be generated, whichever of them is known. You see what goes wrong when a
# modality is missing, and why. Then you see how the models of the field solve it, with a product of experts (PoE), a
# mixture of experts (MoE), and in other ways.
#
# > **You learn** to infer one latent code from whichever modalities there are, and to compare models by coherence and by
# > how real their pictures look.
# >
# > **You need** [chapter 8](08_mfm_images.ipynb), the Gaussian distribution, KL divergence.
# >
# > **It takes** 35 minutes to read, 2 to run on a CPU.
# >
# > **Papers** [JMVAE](https://arxiv.org/abs/1611.01891), [MVAE](https://arxiv.org/abs/1802.05335),
# > [MMVAE](https://arxiv.org/abs/1911.03393), [MoPoE](https://arxiv.org/abs/2105.02470),
# > [survey](https://arxiv.org/abs/2207.02127).

# %% tags=["hide-input"]
import torch
from torch import nn

from mmtutor.data import digits
from mmtutor.plotting import bars, curves, frames, grid, scatter, show, vae_map, verdicts
from mmtutor.training import budget, claim, fit, seed_everything

n, epochs, batch_size, lr = budget(quick=(3000, 6, 32, 3e-3), full=(20000, 30, 256, 3e-3))
modalities = ("handwritten", "street", "word")
train, test = digits(*modalities, split="train", n=n), digits(*modalities, split="test", n=1000)

# %% tags=["hide-input"]
import torch.nn.functional as F


def same_size(picture):  # grey to colour, 28 to 32 pixels
    return F.pad(picture, [(32 - picture.shape[-1]) // 2] * 4).expand(-1, 3, -1, -1)


def spell(word):  # from (B, 8, 27); the first symbol is a blank
    return ["".join(" abcdefghijklmnopqrstuvwxyz"[k] for k in row).strip() for row in word.argmax(2)]


batch = test[:]
pairs = torch.stack([same_size(batch[modality][:8]) for modality in modalities[:2]])
show(
    grid(pairs, modalities[:2], spell(batch["word"][:8]), "Three modalities of one digit"),
    "Eight triples of a handwritten digit, a house number and a word: " + ", ".join(spell(batch["word"][:8])) + ".",
)

# %% [markdown]
# ## A variational autoencoder (VAE) for several modalities
#
# A **variational autoencoder (VAE)** explains data by a latent code $z$ with the prior $p(z) = \mathcal N(0, I)$. Decoders
# $p_i(x_i \mid z)$ generate each modality $x_i$ from it; an encoder infers the *posterior* $q(z \mid X)$ from all modalities
# $X = (x_1, \dots, x_M)$. Both are trained to maximise a lower bound of the log-likelihood, the ELBO (evidence lower bound):
#
# $$\begin{aligned}
# \log p(X) \ge\ & \mathbb E_{q(z \mid X)} \textstyle\sum_i \log p_i(x_i \mid z) \\
# & - \mathrm{KL}(q(z \mid X) \,\Vert\, p(z)).
# \end{aligned}$$
#
# The first term asks for a good reconstruction of all modalities. The second, the *Kullback-Leibler (KL) divergence*, keeps the
# posterior near the prior. With *one* modality that is all. With several, there is a question: how do we build $q(z \mid X)$
# so that it still works when some modalities are missing? First we need one tool.
#
# ## Product of experts (PoE), by hand
#
# Two *experts* are two Gaussian densities of $z$, for example one for each modality. A **product of experts (PoE)** multiplies
# them, and the prior: a value of $z$ is likely if *every* factor says so. The result is again a Gaussian. Expert $i$ has the
# mean $\mu_i$ and the *precision* $\tau_i$, which is one over its variance. The product has
#
# $$\tau = 1 + \tau_1 + \tau_2, \qquad \mu = (\tau_1 \mu_1 + \tau_2 \mu_2) / \tau.$$
#
# **Before you move it:** where does the product go when expert 2 knows nothing ($\sigma$ is large)?

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
few = z[2000:6001:100]


def drawn(s):  # the product, if expert 2 has the standard deviation s
    q = product(normal(mean, torch.tensor([[[1.0]], [[s]]]).double()))
    factors = {"expert 1": (-0.5, 1.0), "expert 2": (2.0, s), "prior": (0.0, 1.0)}
    lines = {name: torch.distributions.Normal(*of).log_prob(few).exp() for name, of in factors.items()}
    lines["product"] = q.log_prob(few.view(-1, 1, 1)).exp()[:, 0]
    return curves(few, lines, "The product is narrower than each of its factors", "z", "density")


text = "Four bell curves. The product is the narrowest. It is nearer to expert 2, the more certain that is; here its σ is {}."
sigmas = {f"σ = {s}": s for s in (4.0, 1.0, 0.5, 0.25)}
alts = {name: text.format(s) for name, s in sigmas.items()}
frames({name: drawn(s) for name, s in sigmas.items()}, alts, "standard deviation σ of expert 2", "σ = 0.5")

# %% [markdown]
# An expert that knows nothing has almost no weight: the product goes to where expert 1 and the prior agree.
#
# Take care of the prior. If $q_i$ is itself a *posterior*, it contains the prior already, and a plain product of $M$ posteriors
# counts it $M$ times. We must divide by $p(z)^{M-1}$; this is right if the modalities are independent given $z$. In a
# *linear-Gaussian world* each modality is a linear function of $z$ plus Gaussian noise. There the exact posterior is known,
# so we can measure the cost of the mistake. The unit is the *nat*, information with natural logarithms (1 nat = 1.44 bits):

# %%
from mmtutor.lineargaussian import LinearGaussian

world = LinearGaussian.random({"a": 3, "b": 4, "c": 2}, latent=1, noise=1.0, seed=0)
_, observed = world.sample(500, seed=1)
single = stacked([world.posterior(observed, modality) for modality in observed])
both = {"naive": product(single, prior=False), "corrected": product_of_posteriors(single)}
cost = {name: float(world.gap(observed, q).mean()) for name, q in both.items()}
print(", ".join(f"{name} product: off by {nats:.3f} nats" for name, nats in cost.items()))
claim("the corrected product is the exact posterior", cost["corrected"] < 1e-10, str(cost))
ratio = cost["naive"] / world.naive_product_gap()
claim("the naive product costs what theory predicts", abs(ratio - 1) < 0.15 and cost["naive"] > 0.01, str(cost))

# %% [markdown]
# ## The networks
#
# Five models are trained here, JMVAE, MVAE, MMVAE, MoPoE and MMVAE+; the sections below explain each. All get the same kind
# of encoders and decoders. An encoder gives the mean and the log standard deviation of $q_i(z \mid x_i)$. The pictures have
# Gaussian likelihoods, the letters of the word categorical ones. Without weights the large picture (3,072 numbers) would
# count much more than the small one (784 numbers) and the word (8 letters), so weights raise the log-likelihoods of these
# two. With weights the objective is no longer a bound of $\log p(X)$.

# %%
from mmtutor.vae import JMVAE, MMVAE, MVAE, MMVAEPlus, MoPoE, categorical, gaussian, mean_of

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
recipe = dict(epochs=epochs, batch_size=batch_size, lr=lr, schedule="one-cycle", clip_norm=200.0)
models = {
    "JMVAE": build(JMVAE, JointEncoder, alpha=1.0),
    "MVAE": build(MVAE),
    "MMVAE": build(MMVAE),
    "MoPoE": build(MoPoE),
    "MMVAE+": build(MMVAEPlus, private=14, beta=2.0),
}
for model in models.values():
    fit(model, train, **recipe)
    model.eval()

# %% [markdown]
# ## Missing modalities
#
# Here only the *word* is known: two modalities are missing. **JMVAE** (joint multimodal VAE) has a *joint encoder*, which reads
# all modalities, and was trained with complete triples only. What happens if we fill in zeros for the missing ones? In the two upper rows the joint encoder gets the word and two black
# pictures. In the lower rows JMVAE's *surrogate* $q_i(z \mid x_i)$ gets the word alone. It was trained by the additional term
# $\alpha \sum_i \mathrm{KL}(q(z \mid X) \,\Vert\, q_i(z \mid x_i))$: the number $\alpha$ weights how close each surrogate must
# be to the joint posterior.

# %% tags=["nbval-ignore-output"]
ten = torch.stack([(batch["label"] == digit).nonzero()[0, 0] for digit in range(10)])
words = {"word": batch["word"][ten]}


@torch.no_grad()
def zero_filled(given, to):
    like = {s: torch.zeros_like(batch[s][: len(next(iter(given.values())))]) for s in modalities}
    z = models["JMVAE"].encode(like | given).sample()
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
        "Pictures generated from ten words",
    ),
    "Ten words and pictures generated from each: with zeros for the missing modalities all are dark and alike, with the "
    "surrogate they differ, and several show the digit.",
)

# %% [markdown]
# With zeros all pictures are alike: to the joint encoder a black picture is not missing, it is a picture that it never saw.
#
# ## Evaluation classifiers and coherence
#
# How often does a generated picture show the right digit? An **evaluation classifier**, trained on real pictures, decides.
# **Coherence** is the share of generated pictures for which it gives the right digit. The classifier makes errors too, so its
# accuracy on real pictures is a yardstick; pictures that are more typical than real ones can exceed it.

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
    print(f"classifier of {modality}: accuracy {correct(classifiers[modality].eval(), test).mean():.3f}")

# %%
seed_everything(0)
label, known = batch["label"], {"word": batch["word"]}
pictures = {name: model.generate(known, "handwritten")["handwritten"][0] for name, model in models.items()}
pictures = {"joint encoder, zeros": zero_filled(known, ["handwritten"])["handwritten"]} | pictures
classifier = classifiers["handwritten"]
shares = {name: float(coherence(classifier, "handwritten", x, label).mean()) for name, x in pictures.items()}
least = shares["joint encoder, zeros"] + 0.1
for name in models:
    claim(f"from a word {name} is more coherent than a joint encoder with zeros", shares[name] > least, str(shares))

# %% tags=["nbval-ignore-output"]
show(
    bars(shares, "Handwritten digits generated from words", "coherence", chance=0.1),
    "Coherence of handwritten digits generated from words: "
    + ", ".join(f"{k} {v:.2f}" for k, v in shares.items())
    + ".",
)

# %% [markdown]
# ## A map of multimodal VAEs
#
# The models of the field on one map, in the order of the survey of Suzuki and Matsuo (2022), with MMVAE+ added:

# %% tags=["nbval-ignore-output"]
show(
    vae_map(),
    "A map of models. Coordinated models have a posterior for each modality and draw these together. Joint models have one "
    "posterior for all: by a joint encoder with surrogates, by aggregation (product, mixture, or mixture of products), or "
    "with private latents besides.",
)

# %% [markdown]
# *Surrogate* models have a joint encoder for all modalities, and a surrogate $q_i(z \mid x_i)$ for each modality alone.
# *Aggregation* builds the posterior from the $q_i$ themselves. The page [Map](../docs/map.md) has every model with its equation.
#
# ## Product of experts (PoE) or mixture of experts (MoE)?
#
# **MVAE** uses a product of experts (PoE), $q(z \mid X) \propto p(z) \prod_i \tilde q_i(z \mid x_i)$. Here $\tilde q_i$ is an
# expert and not yet a posterior: the prior is a factor of its own and counts once. For a missing modality the factor is left
# out. An expert can be wide where its modality has no information.
#
# **MMVAE** uses a **mixture of experts (MoE)**,
# $q(z \mid X) = \frac 1 M \sum_i q_i(z \mid x_i)$: one modality is drawn at random, and its latent code has to explain *all*
# modalities. This forces each modality to encode what is common. But a word says nothing about the colour of a house number,
# so the decoder learns to generate a mean of all colours. **MoPoE** is a mixture of the products of all sets of modalities.
# Here are house numbers generated from a handwritten digit, and from a handwritten digit *and* a word:

# %% tags=["nbval-ignore-output"]
given = {"handwritten": batch["handwritten"][ten]}
seed_everything(0)
rows = {"given": given["handwritten"], "true": batch["street"][ten]}
for name in ("MVAE", "MMVAE", "MoPoE"):
    rows[name] = models[name].generate(given, ["street"])["street"][0]
    rows[f"{name}, + word"] = models[name].generate(given | words, ["street"])["street"][0]
images = torch.stack([same_size(x.cpu()) for x in rows.values()])
show(
    grid(images, list(rows), spell(words["word"]), "House numbers generated from handwriting"),
    "Ten handwritten digits, house numbers that belong to them, and house numbers generated by three models. Those of the "
    "mixtures are alike in colour and blurred.",
)

# %% [markdown]
# After so few steps all of them are grey. Here are the models after 3,000 steps, as in the tables at the end, with two more (one
# run each, made by `experiments.pictures` and stored in the package):

# %% tags=["nbval-ignore-output"]
from mmtutor.results import generated

rows = {"given": generated("given")["handwritten"]}
for kind in ("street from handwritten", "handwritten from word"):
    rows |= {f"{name}, {kind.split()[0]}": generated(name)[kind] for name in models}
show(
    grid(torch.stack([same_size(x) for x in rows.values()]), list(rows), spell(words["word"]), "After 3,000 steps"),
    "Ten handwritten digits, the house numbers that five models generate from them, and the handwritten digits that the "
    "same models generate from the word.",
)

# %% [markdown]
# JMVAE's and MVAE's pictures differ in brightness and stroke, and some show another digit. The mixtures' are a soft mean of all
# styles: their house numbers are alike, and their handwriting nearly always shows the right digit.
#
# What is MoPoE's posterior given *two* modalities? By the paper's equation it is a mixture over three sets: each modality
# alone, and both. The released code takes the product of both, and so does our `encode`; `encode_mixture` gives the mixture.
# Two draws in three from that mixture have seen one modality only. We generate handwritten digits from word and house
# number in both ways, after our short training. (After 3,000 steps the difference is undecided, as the
# [page of claims](../docs/claims.md) shows.)

# %% tags=["nbval-ignore-output"]
seed_everything(0)
two, coherent = {s: batch[s] for s in ("street", "word")}, {}
for way, encode in (("product", models["MoPoE"].encode), ("mixture", models["MoPoE"].encode_mixture)):
    images = mean_of(models["MoPoE"].decode(encode(two).sample(), "handwritten")["handwritten"])
    coherent[way] = float(coherence(classifier, "handwritten", images, label).mean())
print(", ".join(f"{way} {share:.3f}" for way, share in coherent.items()))
claim("the product of two given modalities is more coherent", coherent["product"] > coherent["mixture"], str(coherent))

# %% [markdown]
# ## The latent code
#
# We infer the mean of $q(z \mid x)$ from *handwriting alone*. A *linear probe* is a logistic regression on the latent codes.
# Its accuracy measures how well the digit can be read from them:

# %% tags=["nbval-ignore-output"]
with torch.no_grad():
    means = {
        name: [model.encode({"handwritten": part[:]["handwritten"]}).mean for part in (train, test)]
        for name, model in models.items()
    }
probes = {name: linear_probe(x, train[:]["label"], y, label).mean() for name, (x, y) in means.items()}
print("accuracy of a linear probe:", {name: f"{accuracy:.3f}" for name, accuracy in probes.items()})

# %%
for name, accuracy in probes.items():
    claim(f"a linear probe of {name}'s latent code of handwriting alone finds the digit", accuracy > 0.5, str(probes))

# %% [markdown]
# ## Private latents: what only one modality has
#
# Think of the parts of information of [chapter 1](01_digit_world.ipynb). Where the digit is easy to recognise, any two of
# these modalities are redundant about it: both tell its 3.32 bits. A style is unique to its modality: no other has the
# colour of a house number. Models with *private* latents give each modality a $w_i$ of its own beside the shared $z$.
# **DMVAE** has a product of experts for $z$, **MMVAE+** a mixture; the factors of [chapter 8](08_mfm_images.ipynb) are
# similar. What is the exact posterior of $z$ then? In a linear-Gaussian world, $x = W z + V w + \varepsilon$, the private
# part is *noise* to $z$, of covariance $V V^\top + \sigma^2 I$:

# %%
W, V = torch.tensor([[2.0], [1.0]]).double(), torch.tensor([[0.0], [3.0]]).double()
shared = LinearGaussian({"a": W}, noise=V @ V.T + torch.eye(2).double())
full = LinearGaussian({"a": torch.cat([W, V], 1)}, noise=1.0)  # of (z, w)
_, seen = full.sample(5, seed=0)
gap = float((shared.posterior(seen).mean[:, 0] - full.posterior(seen).mean[:, 0]).abs().max())
claim("to z, a private latent is noise with a covariance", gap < 1e-12, f"gap {gap}")

# %% [markdown]
# The experiment `vae_world` compares both models with this exact posterior. On digits, MMVAE+ generates each modality also
# from another modality's $z$ *without* its own $w_i$. So $z$ must contain what is common, but nothing prevents $w_i$ from
# containing it, too. So that the style follows $w$ more, we give the model a small $z$ of 6 numbers, a large $w$ of 14, and a
# higher weight $\beta = 2$ of both divergences; $w$ then contains more of the digit, too. Below, each column has the $z$ of a *word*, each row the $w$ of a picture:


# %% tags=["nbval-ignore-output"]
@torch.no_grad()
def styled(modality, of_words, of_pictures):  # row numbers: z of these words, w of these pictures
    z = models["MMVAE+"].encode({"word": batch["word"][of_words]}).mean
    w = models["MMVAE+"].encode_private({modality: batch[modality][of_pictures]})[modality].mean
    return mean_of(models["MMVAE+"].decode(z, [modality], {modality: w})[modality]).cpu()


by_ink, table = batch["handwritten"].mean((1, 2, 3)).argsort(), []
for modality, rows in (("street", torch.tensor([3, 11, 14])), ("handwritten", by_ink[[30, 500, 970]])):
    for row in rows:
        table.append(same_size(torch.cat([batch[modality][row : row + 1], styled(modality, ten, row.repeat(10))])))
show(
    grid(torch.stack(table), [""] * 6, ["w of", *spell(words["word"])], "Digit from a word, style from a picture"),
    "Three house numbers and three handwritten digits, and beside each ten that were generated with its private latent and "
    "the shared latent of ten words: faint, and grey where it is a house number; handwriting is as bold or thin as the one to the left, and "
    "often shows its digit.",
)

# %%
generated = styled("street", torch.randperm(len(label)), torch.arange(len(label)))
correlation = float(torch.corrcoef(torch.stack([x.mean((1, 2, 3)) for x in (batch["street"], generated)]))[0, 1])
claim("a generated house number is light or dark as the one whose w it has", correlation > 0.5, str(correlation))

# %% [markdown]
# The price is coherence. The linear probe finds fewer digits in the shared latent of 6 numbers (see above), and with the
# $w$ of a thin 1 most digits look like a 1. After such a short training the colours are faint, since the decoder still
# generates something near the mean of all pictures; the paper trains for hundreds of epochs.
#
# ## Weak supervision: missing labels
#
# A label can be a modality like any other, and it may be missing for most examples. This is *weak supervision*: the batch has
# the mask `label_present`, and an example without a label trains everything but the label's encoder and decoder. In our
# experiment MVAE and MMVAE have the label as a modality of some house numbers. A classifier is trained on these labelled
# house numbers alone, for as many steps. Neither model classifies better than it ([page of claims](../docs/claims.md)).
#
# ## How long must we train?
#
# Our models have seen few steps, 564 in the quick budget, too few to judge
# papers. `experiments/vae.py` trains each for 8 epochs, which are 1,000 steps, and `experiments/vae_long.py` for 24
# epochs or 3,000 steps (there MMVAE+ has 10 and 10 numbers, and $\beta = 1$). Each has a learning-rate schedule of its own length. (The job that MoPoE's authors released takes
# about 876,000 steps.) **Before you look:** which model gains most from more steps? Here is coherence on validation triples
# during training, with a line for each model and the range of five seeds:

# %% tags=["nbval-ignore-output"]
from mmtutor.results import measured

long = measured("vae_long")
seeds, steps = list(long["numbers"].values()), torch.arange(4.0, 25, 4)
key = "coherence, one modality given, epoch {}: {}"
lines = {m: [[seed[key.format(int(e), m)] for e in steps] for seed in seeds] for m in models}
show(
    curves(steps, lines, "Some models need more steps than others", "epochs of 125 steps", "coherence"),
    "Coherence over epochs: MMVAE and MMVAE+ start high; JMVAE, MVAE and MoPoE start low, and MoPoE ends highest.",
)

# %% [markdown]
# JMVAE and MoPoE gain most, MMVAE least.
#
# ## Fréchet distance: realistic or coherent?
#
# How close are the generated pictures to real ones? The *Fréchet distance* (FD) compares features of real and of generated pictures
# in the evaluation classifier, before its last layer: their means and covariances. It is 0 where both agree. Blur and lack of
# variety raise it, even if every digit is right. Generated pictures are the means of the decoders, without noise. Here are
# the models after 3,000 steps, with two more from the [map](../docs/map.md), MVTCAE and DMVAE. Coherent models are on the
# right, models with realistic pictures at the bottom. Each seed has its own classifiers, and so its own unit of FD. So we
# divide each FD by that of MVAE for the same seed:

# %% tags=["nbval-ignore-output", "hide-input"]
points = {}
for name in (*models, "MVTCAE", "DMVAE"):
    right = [f[f"coherence, one modality given: {name}"] for f in seeds]
    distance = [f[f"FD from the word: {name}"] / f["FD from the word: MVAE"] for f in seeds]
    points[name] = sum(right) / len(right), sum(distance) / len(right)
show(
    scatter(points, "MMVAE: coherent, not realistic", "coherence, one modality given", "FD from the word / MVAE's"),
    "Each model as a point: mixtures at the upper right, JMVAE, MVAE and MVTCAE at the bottom, DMVAE far to the left.",
)

# %% [markdown]
# ## What five seeds say
#
# In *linear-Gaussian worlds* the encoders can represent the exact posterior, so differences come from the objectives:

# %%
verdicts(measured("vae_world"), ["MVAE's posterior", "MMVAE's experts", "MoPoE's experts"])

# %% [markdown]
# Why are the mixtures' experts too narrow? With one draw of $z$ each expert has to explain *all* modalities, and becomes
# overconfident: its standard deviation is 0.56 of the exact one with MMVAE, and 0.78 with MoPoE. On *digits*, after 3,000 steps:

# %%
coherent = [f"{a} is more coherent than {b}" for a, b in (("MMVAE", "MVAE"), ("MoPoE", "MVAE"), ("MoPoE", "MMVAE"))]
sharp = [f"{name} generates better pictures from the word than MMVAE" for name in ("JMVAE", "MVAE", "MMVAE+")]
verdicts(long, coherent + sharp)

# %% [markdown]
# After 1,000 steps MoPoE is no more coherent than MVAE, 0.59 given one modality; after 3,000
# it is about as coherent as MMVAE, 0.86. The product keeps the better pictures, the mixtures the coherence, as Daunhawer and
# others report. JMVAE, the oldest model, has the smallest mean FD of pictures from the word (23; MVTCAE 29, MVAE 37) and is nearly as coherent, 0.80. With two
# modalities given it is MVTCAE (26), from the prior DMVAE (101; JMVAE 138). Private latents
# hold the digit, too: from them a linear probe gets 0.82 of the digits right with DMVAE and 0.40 with MMVAE+ (chance: 0.10).
#
# This is not a ranking. 3,000 steps are few. Only the weight α of JMVAE and of MVTCAE was tuned. MMVAE has one draw of $z$
# and normal distributions, where its paper has many draws, Laplace distributions and a learned prior. All models have the
# same number of steps, but not the same time. All rows are on the [page of claims](../docs/claims.md), all numbers on the [map](../docs/map.md).
#
# ## What to remember
#
# - One posterior for all modalities must work when some are missing: multiply experts, mix them, or train surrogates.
# - A product of posteriors counts the prior too often; divide it out, or multiply experts that do not contain it.
# - Given a word, pictures of MVAE and JMVAE came nearer to real ones; mixtures were more coherent. Ask for both numbers.
# - With few steps the order of two models can be the wrong one. Look at the curve before you believe a table.
#
# ## Exercises
#
# Five short exercises check your answers, say which usual mistake they see, and give hints: the
# [exercises of chapter 10](exercises/10_multimodal_vaes.ipynb). At their end are things to try here, with the models of this
# chapter.
#
# ## Where to read on
#
# - M. Suzuki and Y. Matsuo (2022), A survey of multimodal deep generative models, [arXiv:2207.02127](https://arxiv.org/abs/2207.02127).
# - M. Suzuki, K. Nakayama and Y. Matsuo (2016), Joint multimodal learning with deep generative models, [arXiv:1611.01891](https://arxiv.org/abs/1611.01891).
# - R. Vedantam and others (2018), Generative models of visually grounded imagination (TELBO), [arXiv:1705.10762](https://arxiv.org/abs/1705.10762).
# - M. Wu and N. Goodman (2018), Multimodal generative models for scalable weakly-supervised learning, [arXiv:1802.05335](https://arxiv.org/abs/1802.05335).
# - Y. Shi and others (2019), Variational mixture-of-experts autoencoders, [arXiv:1911.03393](https://arxiv.org/abs/1911.03393); its gradient: G. Tucker and others
#   (2019), Doubly reparameterized gradient estimators, [arXiv:1810.04152](https://arxiv.org/abs/1810.04152).
# - T. Sutter, I. Daunhawer and J. Vogt (2021), Generalized multimodal ELBO, [arXiv:2105.02470](https://arxiv.org/abs/2105.02470).
# - I. Daunhawer and others (2022), On the limitations of multimodal VAEs, [arXiv:2110.04121](https://arxiv.org/abs/2110.04121).
# - H. Hwang and others (2021), Multi-view representation learning via total correlation objective (MVTCAE), NeurIPS.
# - M. Lee and V. Pavlovic (2021), Private-shared disentangled multimodal VAE (DMVAE), [arXiv:2012.13024](https://arxiv.org/abs/2012.13024).
# - E. Palumbo, I. Daunhawer and J. Vogt (2023), MMVAE+: Enhancing the generative quality of multimodal VAEs without
#   compromises, ICLR.
# - H. Vo and I. Valera (2026), Hellinger multimodal variational autoencoders: between product and mixture, [arXiv:2601.06572](https://arxiv.org/abs/2601.06572).
# - The library behind this chapter: `mmtutor.vae`, `mmtutor.lineargaussian`, `mmtutor.metrics.coherence`,
#   `mmtutor.metrics.frechet_distance`.
