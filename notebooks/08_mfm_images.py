# %% [markdown]
# # 8 · Factorised representations, images: the Multimodal Factorization Model (MFM)
#
# A handwritten seven and a seven on a house show the same digit in different styles. In this chapter one network learns to
# separate the two: one factor for the *label*, shared by both images, and one factor for the *style* of each image. Then
# you swap the factors, and other networks, the *evaluation classifiers*, test whether the swap worked.
#
# > **You learn** to separate what modalities share from what each has alone, and to test by a swap whether it worked.
# >
# > **You need** [chapter 1](01_digit_world.ipynb) for the parts of information, [chapter 2](02_fusion.ipynb), autoencoders.
# >
# > **It takes** 30 minutes to read, 2 to run on a CPU.
# >
# > **Papers** [MFM](https://arxiv.org/abs/1806.06176), [Wasserstein autoencoders](https://arxiv.org/abs/1711.01558).

# %% tags=["hide-input"]
import torch
from torch import nn

from mmtutor.data import digits
from mmtutor.plotting import bars, dots, frames, grid, mfm_diagram, show, verdicts
from mmtutor.training import budget, claim, fit, seed_everything

n, epochs, batch_size, lr = budget(quick=(4000, 7, 64, 3e-3), full=(20000, 20, 256, 6e-3))
recipe = dict(epochs=epochs, batch_size=batch_size, lr=lr, schedule="one-cycle")
modalities = {"handwritten": (1, 28), "street": (3, 32)}  # channels and size
train = digits(*modalities, split="train", n=n)
test = digits(*modalities, split="test", n=1000)

# %% tags=["hide-input"]
import torch.nn.functional as F


def same_size(image):  # grey to colour, 28 to 32 pixels
    return F.pad(image, [(32 - image.shape[-1]) // 2] * 4).expand(-1, 3, -1, -1)


pairs = torch.stack([same_size(test[:8][modality]) for modality in modalities])
digits_shown = ", ".join(str(int(digit)) for digit in test[:8]["label"])
show(
    grid(pairs, list(modalities), [], "Each pair shows one digit in two styles"),
    f"Eight pairs of a handwritten digit and a house number. The digits of the pairs are {digits_shown}.",
)

# %% [markdown]
# ## The idea
#
# Suppose that both images can be read without error. Then, in the terms of [chapter 1](01_digit_world.ipynb), all that they tell about the digit
# is *redundant*: its 3.32 bits are in either image. All that they tell about a style is *unique* to the image that has it.
# So there should be two kinds of factors.
#
# The *Multimodal Factorization Model* (MFM; Tsai and others, 2019) infers latent codes $Z$, turns them into factors $F$,
# and from the factors it predicts the label and reconstructs every modality:
#
# $$\begin{aligned}
# Z_y &\leftarrow X_1, \dots, X_M & F_y &= G_y(Z_y) & \hat Y &= D(F_y) \\
# Z_{ai} &\leftarrow X_i & F_{ai} &= G_{ai}(Z_{ai}) & \hat X_i &= F_i(F_y, F_{ai}).
# \end{aligned}$$
#
# The latent code $Z_y$ is inferred from **all** modalities $X_1, \dots, X_M$, and the label $\hat Y$ is predicted from its
# factor $F_y$. The latent code $Z_{ai}$ is inferred from modality $i$ **only**, and is used to reconstruct modality
# $i$ only. $G$, $D$ and the decoders $F_i$ are small networks. (The paper writes $F$ for two things: $F_y$ and $F_{ai}$ are
# factors, $F_i$ with one index is the decoder of modality $i$. The $a$ marks what a modality has alone.) The loss is
#
# $$\begin{aligned}
# & \textstyle\sum_i \lambda_i\, c(X_i, \hat X_i) + \lambda_y\, c(Y, \hat Y) \\
# & + \lambda\, \mathrm{MMD}^2(Q_Z, \mathcal N(0, I)),
# \end{aligned}$$
#
# with costs $c$, here the squared error of the images and the cross-entropy of the label, and weights $\lambda_i$, $\lambda_y$ and
# $\lambda$. The last term asks the latent codes to have a standard normal distribution, so that new ones can be sampled.
# In the diagram, $B$ is the number of pairs in a batch, and $z$, $f$ and $C$ are the sizes of codes, factors and labels.

# %% tags=["hide-input"]
show(
    mfm_diagram(),
    "A diagram. Both modalities give the latent code and the factor of the label, from which a classifier predicts it. "
    "Each modality alone gives a latent code and a factor of its style. A decoder reads both factors and reconstructs "
    "its modality. All latent codes are compared with the prior.",
)

# %% [markdown]
# **Why is $Y$ not an input of the inference?** In general one would infer $Z$ from $X$ *and* $Y$. The paper makes a
# *mean-field* assumption: given the modalities, $Q(Z \mid X, Y)$ is a product of $Q(Z_y \mid X_1, \dots, X_M)$ and all
# $Q(Z_{ai} \mid X_i)$. None of these has $Y$ as an input. It is an assumption, but without it the model could not *predict*
# $Y$, which is not known at test time. $Y$ still has an influence, through the cost $c(Y, \hat Y)$ in training.
#
# **Is this multi-task learning?** In part: $F_y$ gets gradients from
# all costs. But the tasks of multi-task learning are outputs that we want to have.
# Here the modalities are reconstructed in order to give the styles a place of their own.
#
# ## Where the loss comes from: a Wasserstein distance
#
# The paper compares two *joint* distributions: that of the data $(X_1, \dots, X_M, Y)$, and that of what the model generates
# from noise $Z$. The *Wasserstein distance* is the cost of moving one onto the other. A *coupling* says how much of each
# example goes to each generated point; the distance is the cost of the cheapest coupling (equation 2).
#
# The model generates by functions of $Z$. So to send an example to a generated point is to choose a latent code for it: a
# coupling is an inference distribution $Q(Z \mid X, Y)$. Each generated point must be used as often as it is generated. So
# the latent codes that $Q$ chooses, over all examples together, must have the distribution of the prior, $Q_Z = P_Z$:
#
# $$W = \inf_{Q:\, Q_Z = P_Z} \mathbb E\, [\textstyle\sum_i c(X_i, \hat X_i) + c(Y, \hat Y)].$$
#
# This is the paper's Proposition 1, as in Wasserstein autoencoders (Tolstikhin and others, 2018). The mean-field assumption
# allows fewer $Q$, which can only make the infimum larger. The condition $Q_Z = P_Z$ becomes a penalty, $\lambda$ times a
# discrepancy. In a world of four examples and four latent codes, one can try all $Q$ that give each example a code of
# its own (the cheapest $Q$ is one of these), and compare with the cheapest coupling, which *Sinkhorn's algorithm* finds without any latent code:

# %%
from itertools import permutations

examples = torch.tensor([[0.0, 0, 0], [2, 1, 0], [3, 1, 0], [6, 5, 1]])  # x₁, x₂, y, equally likely
codes = [(zy, za) for zy in (0, 1) for za in (0, 1)]  # equally likely too: the prior
generated = torch.tensor([[5.0 * zy + za * (1 - zy), 4.0 * zy, zy] for zy, za in codes])  # two of them are the same


def cost(points):
    return (examples.unsqueeze(1) - points).square().sum(2)


def cheapest_coupling(cost, b, smooth=0.05):
    v = torch.zeros_like(b)
    for _ in range(500):  # u and v make the row sums of the plan 1/4, and its column sums b
        u = -smooth * ((v - cost) / smooth + b.log()).logsumexp(1, keepdim=True)
        v = -smooth * ((u - cost) / smooth).logsumexp(0) + smooth * torch.tensor(4.0).log()
    return (((u + v - cost) / smooth).exp() * b / 4 * cost).sum()


# %%
points, times = generated.unique(dim=0, return_counts=True)
by_coupling = cheapest_coupling(cost(points), times / 4)
by_codes = min(sum(cost(generated)[i, k] for i, k in enumerate(q)) / 4 for q in permutations(range(4)))
free = cost(generated).min(1).values.mean()  # each example takes its best code
print(f"cheapest coupling {by_coupling:.3f}, best Q with Q_Z = P_Z {by_codes:.3f}, best Q of all {free:.3f}")
claim("the distance is an infimum over Q with Q_Z = P_Z", abs(by_coupling - by_codes) < 0.01, str(by_coupling))
claim("without that condition Q would cost less, and leave codes unused", free < by_codes - 0.1, str(free))

# %% [markdown]
# ## By hand: the maximum mean discrepancy
#
# The *maximum mean discrepancy* (MMD) compares two distributions by a kernel, $k(x, y) = \exp(-\lVert x - y \rVert^2 / 2h)$.
# How similar are two latent codes $z, z'$, two samples $p, p'$ of the normal distribution, and one of each?
#
# $$\mathrm{MMD}^2 = \mathbb E\, k(z, z') - 2\, \mathbb E\, k(z, p) + \mathbb E\, k(p, p').$$
#
# If $p$ is normal, the last two means are known exactly, and the library uses that. Here all three are estimated from
# samples:

# %%
from mmtutor.mfm import MFM, Factor, FromModality, Surrogate, VariationalFactor, mmd

seed_everything(0)
z, p = 0.5 * torch.randn(1500, 3).double(), torch.randn(1500, 3).double()


def kernel(x, y, h=3.0):
    return (-torch.cdist(x, y).square() / (2 * h)).exp()


def among(x):  # the mean over all pairs of different samples
    return (kernel(x, x).sum() - len(x)) / (len(x) * (len(x) - 1))


estimate = among(z) - 2 * kernel(z, p).mean() + among(p)
claim("the discrepancy from samples is close to the exact one", abs(estimate - mmd(z)) < 0.02, str(estimate))

# %% [markdown]
# The width $h$ of the kernel matters. In $d$ dimensions the squared distance $\lVert x - y \rVert^2$ of two normal samples
# is about $2d$. The authors' released code has $k(x, y) = \exp(-\lVert x - y \rVert^2 / d^2)$, which is $h = d^2/2$: for this
# kernel all of them are neighbours. Then a *collapse*, where all latent codes are zero and carry no information, gets almost
# no penalty. Compare it with the values of perfect latent codes in batches of 64:

# %%
seed_everything(0)
collapsed, perfect = torch.zeros(64, 64), torch.randn(500, 64, 64)
for name, width in (("h = d", 64), ("h = d²/2", 64**2 / 2)):
    deviation = torch.stack([mmd(batch, width) for batch in perfect]).std()
    print(f"{name:9} a collapse has {mmd(collapsed, width):.5f}, perfect latent codes 0 ± {deviation:.5f}")
claim("the kernel of width d punishes a collapse", mmd(collapsed) > 0.1)
claim("a kernel of width d²/2 punishes it a hundred times less", mmd(collapsed, 64**2 / 2) < 0.01 * mmd(collapsed))

# %% [markdown]
# The released program also estimates all means from samples, and counts the pair of a latent code and itself. On the paper's
# videos, where the latent code of the face has 80 numbers, a collapse costs 0.00054 and perfect latent codes 0.00078. But a narrow kernel has a weakness too. For
# it, far latent codes have no neighbours at all, and nothing pulls them back. The slope of the discrepancy, when latent codes
# of 8 numbers move outwards:

# %%
slopes = {}
for spread in (0.5, 1.5, 4.0):
    for name, width in (("h = d", 8), ("h = d²/2", 32)):
        seed_everything(0)
        scale = torch.tensor(spread, requires_grad=True)
        mmd(scale * torch.randn(512, 8), width).backward()
        slopes[name, spread] = float(scale.grad)
    print(f"standard deviation {spread}: " + ", ".join(f"{n} {slopes[n, spread]:+.3f}" for n in ("h = d", "h = d²/2")))
claim("the narrow kernel pushes out of a collapse harder", slopes["h = d", 0.5] < 3 * slopes["h = d²/2", 0.5] < 0)
claim("the wide one pulls far codes back harder", slopes["h = d²/2", 4.0] > 3 * slopes["h = d", 4.0], str(slopes))

# %% [markdown]
# ## The model
#
# The encoder of $Z_y$ is a late fusion of two small convolutional networks, straight from
# [chapter 2](02_fusion.ipynb); any multimodal network can take its place. Each latent code has 8 numbers.

# %%
from mmtutor.decoders import ImageDecoder
from mmtutor.encoders import ImageEncoder
from mmtutor.fusion import Concat, LateFusion


def fused(names=tuple(modalities), outputs=64):
    return LateFusion({m: ImageEncoder(modalities[m][0], 64) for m in names}, outputs, Concat([64] * len(names)))


def factorised(StyleFactor, prior, joint=False):
    # an MMD is much smaller than a KL divergence: beside one it gets a larger weight
    label = Factor(fused(), 64, z=8, f=64, weight=100.0 if StyleFactor is VariationalFactor else 1.0)
    encoders = {m: FromModality(m, ImageEncoder(channels, 64)) for m, (channels, _) in modalities.items()}
    style = {m: StyleFactor(encoder, 64, z=8, f=64) for m, encoder in encoders.items()}
    decoders = {m: ImageDecoder(128, channels, size) for m, (channels, size) in modalities.items()}
    weights = dict.fromkeys(modalities, 30.0)
    return MFM(10, label, style, decoders, weights=weights, label_weight=10.0, prior=prior, joint=joint)


# %% [markdown]
# What keeps the digit out of the style? By the equation the last term should. If *all latent codes together* had the
# distribution $\mathcal N(0, I)$, style and label would be independent. That is `joint=True` here. The released code adds up
# one discrepancy *for each latent code*. This says nothing about how they depend on each other: a style that also
# contains the digit improves the images at no cost. A third way is the `VariationalFactor`: a style is drawn from a normal
# distribution, and its *Kullback-Leibler* (KL) divergence $\mathbb E_q [\log q(z) - \log p(z)]$ from the prior is penalised.
# The style becomes noisy, so that every bit in it has a price, and what $F_y$ already has need not be bought. (The code of the
# label keeps an MMD.) **Before you run it:** with which of the three will most swapped images show the
# digit of the pair that the label was taken from, its *donor*?

# %% tags=["nbval-ignore-output"]
kinds = {"MMD": dict(StyleFactor=Factor, prior=3.0), "joint MMD": dict(StyleFactor=Factor, prior=3.0, joint=True)}
kinds["KL"] = dict(StyleFactor=VariationalFactor, prior=0.01)
models, spreads = {}, {}
for name, settings in kinds.items():
    seed_everything(0)
    models[name] = factorised(**settings)
    fit(models[name], train, **recipe)
    models[name].eval()
    with torch.no_grad():
        spreads[name] = {of: float(z.std(0).mean()) for of, z in models[name].infer(test[:]).items()}

# %% tags=["nbval-ignore-output"]
spread = {f"{name}: {of}": value for name, row in spreads.items() for of, value in row.items()}
show(
    bars(spread, "The penalty asks latent codes for a standard deviation of 1", "standard deviation"),
    "Standard deviations of the latent codes: " + "; ".join(f"{of} {value:.1f}" for of, value in spread.items()) + ".",
)

# %% [markdown]
# The codes of the label end up outside the prior: far out the kernel of width $d$ has no slope that could pull them back. Ten digits do not need the room: with
# a wider kernel the standard deviation is 1.0, and the label predicted no worse (five seeds: .976 and .964).
#
# ## Accuracy: does it predict, and does it help?
#
# For comparison: the same encoder trained only to classify, and each modality alone.

# %% tags=["nbval-ignore-output"]
from mmtutor.metrics import correct, image_style, paired_interval


class UnimodalClassifier(nn.Module):
    def __init__(self, modality):
        super().__init__()
        self.modality, channels = modality, modalities[modality][0]
        self.net = nn.Sequential(ImageEncoder(channels, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, batch):
        return self.net(batch[self.modality])

    def loss(self, batch):
        return {"loss": F.cross_entropy(self(batch), batch["label"])}


# %% tags=["nbval-ignore-output"]
right = {}
for name in ("both", *modalities):
    seed_everything(1)
    models[name] = fused(outputs=10) if name == "both" else UnimodalClassifier(name)
    fit(models[name], train, **recipe)
    right[name] = correct(models[name].eval(), test)
right |= {f"MFM ({name})": correct(models[name], test) for name in kinds}
accuracy = {name: float(value.mean()) for name, value in right.items()}
show(
    bars(accuracy, "Accuracy on the test pairs", "accuracy"),
    "Accuracies: " + ", ".join(f"{k} {v:.3f}" for k, v in accuracy.items()) + ".",
)

# %% [markdown]
# These house numbers are so clear that handwriting adds nothing to them in this short run; to handwriting they add
# a little. The factorised model is *less* accurate than the same encoder trained only to classify, and so it is with five seeds.

# %%
gain = paired_interval(right["both"], right["handwritten"])
claim("both modalities together are more accurate than handwriting alone", gain.low > 0, str(gain))

# %% [markdown]
# ## Swapping label and style
#
# Take the latent code of the style from one pair, and that of the label from others: here the mean over all pairs of a
# digit. Each row has one style, each column one label:

# %% tags=["nbval-ignore-output"]
batch, styles = test[:], [3, 11, 14, 20]
with torch.no_grad():
    latents = {name: models[name].infer(batch) for name in kinds}
labels = latents["KL"]["label"]
mean_labels = torch.stack([labels[batch["label"] == digit].mean(0) for digit in range(10)])


@torch.no_grad()
def swap_rows(modality):
    rows = []
    for k in styles:
        mixed = {name: z[[k] * 10] for name, z in latents["KL"].items()} | {"label": mean_labels}
        rows.append(torch.cat([batch[modality][[k]], models["KL"].generate(mixed)[modality].cpu()]))
    return same_size(torch.cat(rows)).unflatten(0, (len(styles), 11))


# %% tags=["nbval-ignore-output"]
for modality in modalities:
    show(
        grid(swap_rows(modality), [""] * len(styles), ["style of", *map(str, range(10))], f"Swapped: {modality}"),
        f"Four rows of ten {modality} digits from 0 to 9. Each row begins with a real image, whose "
        "style it has: handwriting keeps some of its slant and ink, house numbers only light or dark.",
    )

# %% [markdown]
# What does a single number of a style do? Take one handwritten style and the labels 2, 4 and 7. **Before you move it:** what
# may change from left to right, and what must not?


# %% tags=["nbval-ignore-output"]
@torch.no_grad()
def traversal(k):  # from left to right number k of the style goes from -2 to 2
    mixed = {name: z[styles[:1]].repeat(21, 1) for name, z in latents["KL"].items()}
    mixed["label"] = mean_labels[[2, 4, 7]].repeat_interleave(7, 0)
    mixed["handwritten"][:, k] = torch.linspace(-2, 2, 7).repeat(3)
    return models["KL"].generate(mixed)["handwritten"].cpu().unflatten(0, (3, 7))


moved = {f"{k + 1}": traversal(k) for k in range(8)}
ink = {k: [f"{float(image_style(x[:, end])[:, 0].mean()):.2f}" for end in (0, -1)] for k, x in moved.items()}
frames(
    {k: grid(x, ["2", "4", "7"], ["−2", *[""] * 5, "2"], "One number of the style") for k, x in moved.items()},
    {k: "Three rows of seven digits. Ink goes from {} to {}.".format(*of) for k, of in ink.items()},
    "which number of the handwritten style moves",
    max(moved, key=lambda k: float((moved[k][:, -1] - moved[k][:, 0]).square().mean())),
)

# %% [markdown]
# Go through all eight. A few change slant, width and ink; the digit mostly stays, though at the ends some become hard to
# read. The others change almost nothing: the model does not use them. By the KL penalty each bit in a style has a price, and
# few are worth it.
#
# ## Evaluation classifiers
#
# Now measure it. The networks of one modality from above are the evaluation classifiers. Each pair gets the label's latent
# code from another pair with another digit, its *donor*. Which digit do the evaluation classifiers see? And do ink and
# slant, or the mean colours, correlate with the donor of the style?

# %% tags=["nbval-ignore-output"]
donor = torch.arange(len(test)).roll(1)
differs = batch["label"][donor] != batch["label"]


def correlation(a, b):
    return float(torch.stack([torch.corrcoef(torch.stack(both))[0, 1] for both in zip(a.T, b.T, strict=True)]).mean())


# %% tags=["nbval-ignore-output"]
digit_of, style_of = {}, {}  # with which donor do digit and style agree?
for name in kinds:
    with torch.no_grad():
        swapped = models[name].generate(latents[name] | {"label": latents[name]["label"][donor]})
        for m in modalities:
            predicted, style = models[m](swapped).argmax(1).cpu(), image_style(swapped[m].cpu())
            for whose, of in (("label", donor), ("style", torch.arange(len(test)))):
                same = (predicted == batch["label"][of])[differs]
                digit_of[name, m, whose] = float(same.double().mean())
                style_of[name, m, whose] = correlation(style, image_style(batch[m][of]))

# %% tags=["nbval-ignore-output"]
donors = "label", "style"
lines = {f"{m}, {name}": {f"{x}'s donor": digit_of[name, m, x] for x in donors} for m in modalities for name in kinds}
show(
    dots(lines, "After a swap: whose digit is it?", "share of images"),
    "After a swap, shares of images that are classified as the digit of each donor: "
    + ", ".join(f"{m} {name} {whose} {value:.2f}" for (name, m, whose), value in digit_of.items()),
)
for (name, m, whose), value in style_of.items():
    print(f"{name:9} {m:11} style correlation with the {whose} donor {value:+.2f}")

# %%
for m in modalities:
    enough = digit_of["KL", m, "label"] > 0.5
    claim(f"most swapped {m} digits are classified as the digit of the label's donor", enough, str(digit_of))
    both = style_of["KL", m, "style"], style_of["KL", m, "label"]
    claim(f"and their style is that of the style's donor ({m})", both[0] > both[1] + 0.2, str(both))
worse = digit_of["MMD", "handwritten", "label"] < digit_of["KL", "handwritten", "label"] - 0.1
claim("with an MMD for each latent code, fewer handwritten digits follow the label", worse, str(digit_of))

# %% [markdown]
# With an MMD for each latent code the styles contain the digit too. The joint MMD of all latent codes, as in the paper's
# equation, keeps more of it out. The KL penalty, with its noise, keeps out still more of it for handwriting; for house numbers the
# two are alike in this short run. KL has two prices: the error of the reconstruction is larger, and handwritten style follows
# its donor less. And a correlation does not see that colours are lost: the swapped house numbers are grey.
#
# ## Missing modalities: the surrogate
#
# Without the house number, what is its *latent code*? A *surrogate* network learns to predict the latent codes from the
# handwritten digit alone. Its targets are the latent codes that the trained model infers from both modalities. The model
# itself does not change.

# %% tags=["nbval-ignore-output"]
seed_everything(0)
model = models["KL"]
surrogate = Surrogate(model, "street", fused(["handwritten"]), 64)
fit(surrogate, train, **recipe)
with torch.no_grad():
    by_surrogate = surrogate.eval().generate(batch)
    from_zeros = model.generate(model.infer({**batch, "street": torch.zeros_like(batch["street"])}))

# %% tags=["nbval-ignore-output"]
rows = [batch["handwritten"], batch["street"], by_surrogate["street"].cpu(), from_zeros["street"].cpu()]
show(
    grid(
        torch.stack([same_size(images[:8]) for images in rows]),
        ["given", "missing", "surrogate", "zeros"],
        [],
        "The missing house number, generated from the handwritten digit",
    ),
    "Eight handwritten digits, the house numbers that belong to them, those generated by the surrogate, and those "
    "generated by the model when it is given zeros.",
)

# %% tags=["nbval-ignore-output"]
recognised = {
    name: (models["street"](output).argmax(1).cpu() == batch["label"]).double()
    for name, output in (("surrogate", by_surrogate), ("zeros", from_zeros))
}
for name, value in recognised.items():
    print(f"{name:9} {value.mean():.2f} of the generated house numbers are classified as the digit")

# %%
gain = paired_interval(recognised["surrogate"], recognised["zeros"])
claim("house numbers of the surrogate show the digit more often than those from zeros", gain.low > 0, str(gain))

# %% [markdown]
# The generated house numbers all have a similar, dull style. Their style cannot be predicted from handwriting, and the best
# prediction under squared error is the mean. So the colours are lost, and the digit stays.
#
# ## Few labels: semi-supervised learning
#
# Only one term of the loss needs the label. If few pairs are labelled, the others can still train the rest: a mask
# `label_present` says which labels are known. What stands in the place of an unknown label is not read:

# %%
known = torch.arange(64) < 3
first = train[:64] | {"label_present": known}
changed = first | {"label": torch.where(known, first["label"], 9 - first["label"])}
with torch.no_grad():
    terms, same = model.loss(first), model.loss(changed)
    labelled = model.loss({name: x[:3] for name, x in first.items()})
claim("unknown labels are not read", torch.equal(terms["label"], same["label"]))
claim("the cost is that of the labelled pairs", torch.isclose(terms["label"], labelled["label"], rtol=1e-3))

# %% [markdown]
# **Before you look at the end of this chapter:** with labels for 5 of 100 pairs, which predicts better, MFM on all pairs or a
# classifier on the labelled ones alone? A network that reconstructs images well need not find the digit the
# most useful thing to keep. (Drawn at random, a batch would hold three labels only. In the experiment labelled pairs are
# repeated until they are half of all.)
#
# ## Sampling from the prior
#
# If the latent codes have a normal distribution, normal noise should generate images:

# %% tags=["nbval-ignore-output"]
seed_everything(3)
with torch.no_grad():
    samples = model.generate(model.sample(8))
show(
    grid(torch.stack([same_size(samples[m]) for m in modalities]), list(modalities), [], "Pairs generated from noise"),
    "Eight pairs of images generated from noise; few show a clear digit, most a mixture of several.",
)

# %% [markdown]
# Few pairs show a clear digit. The label's codes have a standard deviation far above 1, as the first bars show, and the noise
# has 1. It falls between the digits, where the decoder was hardly trained. The penalty with this kernel does not prevent it.
#
# ## What five seeds say
#
# `python -m experiments.mfm_images` trains all models of this chapter with five seeds, on 6,000 pairs, each seed with test
# pairs of its own:

# %% tags=["hide-input"]
from mmtutor.results import measured

claims = [
    "Both modalities together predict the label better than handwritten",
    "MFM predicts the label better than the same encoder",
    "Styles with KL: after a swap, nine in ten handwritten",
    "An MMD for each latent code: after a swap, nine in ten handwritten",
    "After a swap, more handwritten digits follow F_y's donor with KL for the styles than",
    "After a swap, more handwritten digits follow F_y's donor with one MMD of all latent codes than without",
    "Without handwritten: the surrogate predicts the label better than the model with zeros",
    "Without handwritten: the surrogate predicts the label better than a network trained",
    "With labels for 5% of the pairs",
]
verdicts(measured("mfm_images"), claims)

# %% [markdown]
# **Swap.** With noisy styles (KL), about nine in ten handwritten digits follow the donor of the label, and ink, slant and colours
# correlate with those of the style's donor. With one discrepancy of all latent codes, as in the paper's equation, two in three
# do. But two in three do *without any penalty*, too: this architecture alone gets that far. Whether KL’s noise or its price does the rest was not separated. With
# one discrepancy for each latent code and a kernel of width $d$ it is four in ten, and another third show the style donor's own
# digit; with the wider kernel of the released code six in ten (undecided after
# correction). Both discrepancies reconstruct images with a quarter less
# error than noisy styles.
#
# **Accuracy.** Two modalities are better than handwriting alone. The paper found on its pairs that MFM is more accurate than the
# same encoder trained only to classify. Here it is less accurate, 0.964 against 0.995. With latent codes of 64 numbers and no
# penalty it is 0.978; why it stays below is open.
#
# **Few labels.** With labels for 5 or 20 of 100 pairs, MFM on all pairs is *worse* than a classifier on the labelled ones, even
# with ten times the weight for the label's cost.
#
# **Missing modalities.** From the surrogate's latent codes the right digit is generated far more often than from zeros. It
# also predicts the label far better than zeros without handwriting. But a network trained on house numbers alone is better still.
#
# No kind of latent code gives good samples from the prior. All rows are on the [page of claims](../docs/claims.md).
#
# ## What to remember
#
# - MFM has one factor for what predicts the label, and one for what only the reconstruction of a modality needs.
# - This architecture allows the separation, but does not enforce it. Noisy styles with a KL penalty helped; a discrepancy did no better
#   than no penalty.
# - Test a separation: swap latent codes, and ask an evaluation classifier whose digit it sees.
# - A penalty has a reach. A wide kernel hardly sees a collapse, and a narrow one does not pull far codes back.
# - A surrogate infers the latent codes of a missing modality. It cannot know that modality's style.
#
# ## Exercises
#
# Short exercises check your answers, say which usual mistake they see, and give hints: the
# [exercises of chapter 8](exercises/08_mfm_images.ipynb). At their end are things to try here, with the models of this chapter.
#
# ## Where to read on
#
# - Y.-H. H. Tsai and others (2019), Learning factorized multimodal representations, [arXiv:1806.06176](https://arxiv.org/abs/1806.06176).
# - A. Gretton and others (2012), A kernel two-sample test.
# - I. Tolstikhin and others (2018), Wasserstein auto-encoders, [arXiv:1711.01558](https://arxiv.org/abs/1711.01558).
# - The library behind this chapter: `mmtutor.mfm.MFM`, `mmtutor.mfm.Factor`, `mmtutor.mfm.VariationalFactor`,
#   `mmtutor.mfm.Surrogate`, `mmtutor.mfm.mmd`.
# - [Chapter 9](09_mfm_sequences.ipynb) does the same with sequences.
