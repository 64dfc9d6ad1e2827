# %% [markdown]
# # 1 · The digit world: ten digits, many modalities
#
# A digit can be written by hand, painted on a house, spoken, spelled or measured. This chapter introduces the small world
# that all chapters share: ten digits in six modalities. You will look at it and listen to it. You will measure how much
# each modality alone tells about the digit, and what two of them tell together. At the end you see why a careless split of
# the data makes a model look better than it is.
#
# > **You learn** to look at data of several modalities, to measure what each tells and what only two tell together, and
# > to split data without leaking.
# >
# > **You need** PyTorch tensors, probability (conditional probability, entropy).
# >
# > **It takes** 20 minutes to read, half a minute to run on a CPU.
# >
# > **Papers** [Quantifying unique information](https://arxiv.org/abs/1311.2852), [Quantifying multimodal
# > interactions](https://arxiv.org/abs/2302.12247), [MNIST, SVHN and text](https://arxiv.org/abs/2006.08242).

# %% tags=["hide-input", "nbval-ignore-output"]
from mmtutor.data import digits, smartwatch
from mmtutor.plotting import bars, show, sound, world

modalities = ("handwritten", "street", "spoken", "waveform", "word", "shape")
everything = digits(*modalities, split="train", n=200, snr_db=(20, 30))
examples = [int((everything[:]["label"] == digit).nonzero()[3]) for digit in (2, 5, 7, 8)]
show(
    world(everything, examples, "Four digits, each in six modalities"),
    "A grid of four rows and six columns. Each row is one digit: written by hand, on a house number, as the log-mel "
    "spectrogram of a spoken word, as its waveform, as a word, and as sixteen measurements.",
)

# %% [markdown]
# ## The idea
#
# A *modality*, or sense, is one way in which information reaches us. Modalities differ in form: an image is a grid of
# pixels, a sound is a series of samples, a word is a sequence of letters. They also differ in what they tell. One modality
# may be clear where another is not. Sometimes no modality has the answer alone, because it lies in the relation
# between them. These are two reasons to learn from several modalities at once, which is called *multimodal* learning.
#
# Everywhere in mmtutor a batch is a **dict of tensors**. Each key is the name of a modality, and its value is a tensor of
# shape $(B, \dots)$ for $B$ examples. The class is called `label`.

# %%
batch = everything[:8]
for name, value in batch.items():
    print(f"{name:12} {tuple(value.shape)!s:18} {str(value.dtype).removeprefix('torch.')}")

# %% [markdown]
# Which data are real, and which are synthetic?
#
# - `handwritten` is real: 5,000 digits of MNIST. `shape` is measured on them, such as how much ink there is, how many
#   holes, and how slanted the digit is.
# - `street` is **synthetic**: rendered with some twenty fonts, then sheared, shaded and blurred like the house numbers of
#   SVHN.
# - `spoken` and `waveform` are **synthetic**: 64 voices of the speech synthesiser espeak-ng, in noise. Chapter 2 tests how
#   well a network trained on them recognises real voices.
# - `word` is the English word at a random position in a row of eight letters.
# - At the end of the chapter there are real recordings of a smartwatch.
#
# With an internet connection, `digits(..., sources={"handwritten": mnist, "street": svhn, "spoken": fsdd})` reads the real
# data sets instead (`mmtutor.data.mnist`, `mmtutor.data.svhn`, `mmtutor.data.fsdd`); nothing else changes.
#
# ## Listen: the signal-to-noise ratio
#
# The modality `spoken` is a log-mel spectrogram: the energy of a sound in each frequency band over time. First listen to
# the sound itself, clean and in noise. The signal-to-noise ratio (SNR) compares signal and noise in decibels (dB). With
# $P_s$ and $P_n$ for their powers, which are their mean squares,
#
# $$\mathrm{SNR} = 10 \log_{10} \frac{P_s}{P_n}.$$
#
# At 0 dB signal and noise have equal power.

# %%
clean = digits("waveform", split="test", n=6, snr_db=(float("inf"), float("inf")))
noisy = digits("waveform", split="test", n=6, snr_db=(0.0, 0.0))
word = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")[int(clean[1]["label"])]
sound(clean[1]["waveform"], 8000, f"A synthetic voice says “{word}”, clean.")
sound(noisy[1]["waveform"], 8000, f"The same voice says “{word}” in noise of equal power.")

# %% [markdown]
# ## By hand: how loud is the noise?
#
# Subtract the clean wave from the noisy one: what is left is the noise. Noise is random, so the measured ratio is close to
# the 0 dB that we asked for, but not equal to it. (The library scales a wave that would leave $[-1, 1]$, so we first
# estimate that factor.)

# %%
import torch

from mmtutor.training import budget, claim, fit, seed_everything

ratios = []
for signal, mixed in zip(clean[:]["waveform"], noisy[:]["waveform"], strict=True):
    scale = (signal @ mixed) / (signal @ signal)  # least squares: how much of the signal is in the mix
    noise = mixed - scale * signal
    length = int(signal.nonzero().max()) + 1  # silence at the end does not count
    ratios.append(float(10 * torch.log10((scale * signal)[:length].square().mean() / noise.square().mean())))
print("measured:", ", ".join(f"{ratio:+.2f} dB" for ratio in ratios))
claim("at 0 dB, noise and voice have equal power", max(map(abs, ratios)) < 0.5, f"{ratios} dB")

# %% [markdown]
# ## What does each modality tell about the digit?
#
# Now train a small network on each modality alone (a *unimodal* classifier), with the same examples and the same number of
# steps. An *encoder* turns a modality into a vector of features. Those of `mmtutor.encoders` are a few convolutions for
# images and spectrograms, a multilayer perceptron for measurements, and a convolution along the letters for words.
# `LateFusion` with a single modality is just an encoder and a classifier.

# %% tags=["nbval-ignore-output"]
from mmtutor.encoders import AudioEncoder, ImageEncoder, TabularEncoder, TextEncoder
from mmtutor.fusion import Concat, LateFusion
from mmtutor.metrics import confusion, correct, predict

seed_everything(0)  # the same initial weights in every run
encoders = {
    "handwritten": ImageEncoder(1),
    "street": ImageEncoder(3),
    "spoken": AudioEncoder(),
    "word": TextEncoder(27),
    "shape": TabularEncoder(16),
}
n, epochs, batch_size, lr = budget(quick=(4000, 6, 64, 2e-3), full=(20000, 20, 256, 4e-3))
world_of = dict(street_difficulty=1.0, seed=0)
train = digits(*encoders, split="train", n=n, **world_of)
test = digits(*encoders, split="test", n=1000, **world_of)

# %% tags=["nbval-ignore-output"]
models = {}
for modality, encoder in encoders.items():
    models[modality] = LateFusion({modality: encoder}, classes=10, merge=Concat([64]))
    fit(models[modality], train, epochs=epochs, batch_size=batch_size, lr=lr, schedule="one-cycle", clip_norm=1.0)
accuracy = {modality: correct(model, test).mean() for modality, model in models.items()}
show(
    bars(accuracy, "Alone, some modalities tell much more than others", "accuracy on the test set", chance=0.1),
    "Accuracy of five modalities alone: "
    + ", ".join(f"{modality} {value:.2f}" for modality, value in accuracy.items())
    + "; chance is 0.10.",
)

# %%
claim("each modality alone is far better than chance", min(accuracy.values()) > 0.5, str(accuracy))
claim("a word without typing errors determines the digit", accuracy["word"] > 0.99, f"{accuracy['word']:.3f}")

# %% [markdown]
# The word is too easy: it *is* the label, spelled out. The argument `typos` makes it harder.
#
# It is more interesting to see *which* digits a network confuses. The network for voices and the network for measurements
# confuse different digits.

# %% tags=["nbval-ignore-output"]
label = test[:]["label"]
for modality in ("shape", "spoken"):
    table = confusion(label, predict(models[modality], test).argmax(1), 10)
    off = table - torch.diag(torch.from_numpy(table).diag()).numpy()
    pairs = sorted(((off[i, j] + off[j, i], i, j) for i in range(10) for j in range(i)), reverse=True)[:3]
    print(f"{modality:7} most often confuses", ", ".join(f"{j} and {i}" for _, i, j in pairs))

# %% [markdown]
# ## What do two modalities tell together?
#
# Two modalities may tell the same (*redundancy*), each may tell something of its own (*unique information*), or the answer may
# lie in both together (*synergy*). Here are three small worlds as tables of probabilities $p(x_1, x_2, y)$, with modalities
# $x_1, x_2$ and label $y$. In the second, an eye reads each 7 as a 1, and an ear hears each “nine” as “five”.
#
# Information is measured in *bits*: one bit is the answer to a yes-or-no question with equal chances. Ten equally likely
# digits have an entropy of $\log_2 10 = 3.32$ bits. **Before you run it:** how many of these bits does $x_1$ alone tell in
# each world? How many of them does $x_2$ tell, too?

# %%
from itertools import product

from mmtutor.metrics import information_parts, mutual_information


def table(cases, *shape):  # equally likely cases (x₁, x₂, y)
    p = torch.zeros(shape, dtype=torch.float64)
    for case in cases:
        p[case] += 1
    return p / p.sum()


# %%
pairs = list(product(range(10), repeat=2))
misread = [(1 if digit == 7 else digit, 5 if digit == 9 else digit, digit) for digit in range(10)]
worlds = {
    "the same digit twice": table([(digit, digit, digit) for digit in range(10)], 10, 10, 10),
    "an eye and an ear": table(misread, 10, 10, 10),
    "sum of two digits modulo 10": table([(a, b, (a + b) % 10) for a, b in pairs], 10, 10, 10),
}

# %% [markdown]
# The trained networks read digits, too. Their confusion matrices, which count what is read as what, give
# $p(\text{digit read} \mid \text{digit})$. Given the digit, shape and voice are drawn independently, so the probabilities
# multiply.

# %% tags=["nbval-ignore-output"]
reads = []
for modality in ("shape", "spoken"):
    counts = torch.from_numpy(confusion(label, predict(models[modality], test).argmax(1), 10)).double()
    reads.append(counts / counts.sum(1, keepdim=True))  # each row sums to 1
worlds["two networks: shape, spoken"] = torch.einsum("yi,yj->ijy", *reads) / 10

# %% [markdown]
# The last world is that of [chapter 9](09_mfm_sequences.ipynb): short monologues in words, voice and face. The label $y$
# says whether the speaker is for or against something. Ironic words say the opposite. The voice tells $y$ with many errors,
# but its tone shows whether the words are ironic. A program with five random bits makes these monologues, so the table is a
# sum over 32 cases. We divide it twice: words against voice, and both of these against the face:

# %% tags=["hide-input"]
from mmtutor.data import information
from mmtutor.data.monologue import FACE_FLIP, IRONY, TONE_FLIP, VOICE_FLIP

monologue = torch.zeros(2, 4, 2, 2, dtype=torch.float64)  # words, voice and tone, face, y
for y, *flips in product((0, 1), repeat=5):
    chances = torch.tensor([IRONY, VOICE_FLIP, TONE_FLIP, FACE_FLIP], dtype=torch.float64)
    ironic, voice, tone, face = flips
    chance = torch.where(torch.tensor(flips) == 1, chances, 1 - chances).prod() / 2
    monologue[y ^ ironic, 2 * (y ^ voice) + (ironic ^ tone), y ^ face, y] += chance
worlds["monologues: words, voice"] = monologue.sum(2)
worlds["monologues: words and voice, face"] = monologue.flatten(0, 1)

# %% tags=["nbval-ignore-output"]
from mmtutor.plotting import shares

names = ("redundancy", "unique to the first", "unique to the second", "synergy")
parts = {name: information_parts(p) for name, p in worlds.items()}
named = {name: dict(zip(names, of, strict=False)) for name, of in parts.items()}
show(
    shares(named, "Two modalities tell the same, something of their own, or more only together", "bit"),
    "Stacked bars. In bits: "
    + "; ".join(
        f"{name}: {', '.join(f'{part} {x:.2f}' for part, x in of.items() if x > 0.005)}" for name, of in named.items()
    )
    + ".",
)

# %% [markdown]
# All bars have the same length; the number to the right of a bar is the *mutual information* $I(x_1, x_2; y)$: how many bits both modalities together tell
# about the label. It has four parts. **Redundancy** $R$ is what either modality tells. **Unique information** $U_1$ or $U_2$ is what
# one of them tells and the other does not. **Synergy** $S$ is what neither tells alone.
#
# $$I(x_1, x_2; y) = R + U_1 + U_2 + S, \qquad I(x_1; y) = R + U_1, \qquad I(x_2; y) = R + U_2.$$
#
# So $x_1$ alone tells 3.32, 3.12 and 0 bits in the three worlds, and of these $x_2$ tells 3.32, 2.92 and 0, too.
#
# These are three equations for four unknowns, so one more is needed. We use that of Bertschinger, Rauh, Olbrich, Jost and Ay
# (2014), as Liang and others (2023) do for multimodal learning. Their idea is that what is unique to $x_1$ depends only on
# how each modality *alone* is related to the label. So take all distributions $q$ with
# $q(x_1, y) = p(x_1, y)$ and $q(x_2, y) = p(x_2, y)$, however $x_1$ and $x_2$ are related in them. Choose the one in which
# $x_1$ adds least to $x_2$:
#
# $$U_1 = \min_q I_q(x_1; y \mid x_2), \qquad S = I(x_1, x_2; y) - \min_q I_q(x_1, x_2; y).$$
#
# There are other definitions, the first by Williams and Beer (2010), and they give other numbers. With this one, noise that
# can be averaged away counts as synergy. Take two readers with independent errors, each right with probability 0.8: they
# have no unique information and 0.71 bit of synergy. Reading both is better than reading one, although neither has anything
# of its own.
#
# Now mix two of the worlds. With probability $s$ the label is the sum of two digits modulo 10; otherwise both modalities
# show the label itself. Each cell of the table is a pair $(x_1, x_2)$ with its likeliest label. The darker a cell, the more
# often the pair occurs. **Before you move it:** which part of the information shrinks as $s$ grows, and which one takes its
# place?

# %% tags=["nbval-ignore-output", "hide-input"]
import matplotlib.pyplot as plt

from mmtutor.plotting import frames
from mmtutor.plotting.style import COLOURS


def drawn(p, of):  # the table of a world, and its parts
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.4), layout="constrained")
    left.imshow(p.sum(2).sqrt(), cmap="Blues", vmin=0, vmax=0.5)
    for a, b in pairs:
        _ = p[a, b].sum() > 0 and left.text(b, a, int(p[a, b].argmax()), ha="center", va="center")
    left.set(xticks=range(10), yticks=range(10), xlabel="$x_2$", ylabel="$x_1$", title="The likeliest label $y$")
    right.bar_label(right.barh(names, of[:4], color=COLOURS[:4]), fmt="%.2f", padding=3)
    right.set(xlim=(0, 4), ylim=(3.6, -0.6), xlabel="bit", title=f"Both together tell {sum(of[:4]):.2f} bit")
    right.spines[["top", "right"]].set_visible(False)
    return figure


# %% tags=["nbval-ignore-output", "hide-input"]
same, modulo = worlds["the same digit twice"], worlds["sum of two digits modulo 10"]
mixed = {f"s = {s}": (1 - s) * same + s * modulo for s in (0, 0.2, 0.5, 1)}
parts_of = {name: information_parts(p) for name, p in mixed.items()}
seen = ("only the diagonal is used", "the diagonal is dark", "the diagonal is darker", "all are alike")
text = "Ten by ten pairs: {}. Redundancy {:.2f} bit, synergy {:.2f} bit, nothing unique."
alts = {name: text.format(how, of[0], of[3]) for how, (name, of) in zip(seen, parts_of.items(), strict=True)}
frames({name: drawn(mixed[name], of) for name, of in parts_of.items()}, alts, "probability s that the label is the sum")

# %%
falls = [of.redundancy for of in parts_of.values()]
claim("as s grows, redundancy falls", falls == sorted(falls, reverse=True), str(falls))
least = min(sum(of[:4]) for of in parts_of.values())
claim("both modalities together always tell more than 3 bits", least > 3, f"{least:.2f}")
reader = torch.full((10, 10), 0.2 / 9, dtype=torch.float64).fill_diagonal_(0.8)
of = information_parts(torch.einsum("yi,yj->ijy", reader, reader) / 10)
claim("two readers with errors: 0.71 bit of synergy, nothing unique", abs(of.synergy - 0.71) < 0.005, str(of))

# %% [markdown]
# Synergy takes the place of redundancy. At $s = 1$ each row and each column has all ten labels, equally often, so that
# neither modality alone tells anything.
#
# ### By hand: one number to choose
#
# Let $y = 1$ if both bits $x_1$ and $x_2$ are 1; all four pairs of bits are equally likely. Since
# $I_q(x_1; y \mid x_2) = I_q(x_1, x_2; y) - I(x_2; y)$, the least $I_q(x_1, x_2; y)$ gives all four parts. Given $y = 1$ there is nothing to choose. Given $y = 0$, one can move a
# mass $a$ from the cases (0, 1) and (1, 0) to (0, 0) and (1, 1). Then $q(x_1, y)$ and $q(x_2, y)$ stay as they are. So we
# try every $a$ on a fine grid.

# %%
both = table([(a, b, a & b) for a, b in product((0, 1), repeat=2)], 2, 2, 2)
one, two = (mutual_information(both.sum(axis)) for axis in (1, 0))  # each modality alone
together = []
for a in torch.linspace(0, 0.25, 101):
    q = both.clone()
    q[[0, 1], [0, 1], 0] += a
    q[[0, 1], [1, 0], 0] -= a
    together.append(mutual_information(q.flatten(0, 1)))
least = min(together)
hand = (one + two - least, least - two, least - one, together[0] - least)  # R, U₁, U₂, S
print("R {:.3f}, U₁ {:.3f}, U₂ {:.3f}, S {:.3f} bit".format(*hand))
difference = max(abs(x - y) for x, y in zip(hand, information_parts(both), strict=False))
claim("by hand, the four parts are those of the library", difference < 1e-6, f"they differ by {difference:.1e} bit")

# %%
same, misread, modulo, networks, voice, face = parts.values()
claim("the same digit: all is redundant", abs(same.redundancy - sum(same[:4])) < 1e-6, str(same))
claim("the sum modulo 10: all is synergy", abs(modulo.synergy - sum(modulo[:4])) < 1e-6, str(modulo))
gap = abs(sum(face[:4]) - information().bits)
claim("the four parts are all that a monologue tells", gap < 1e-6, f"they differ by {gap:.1e} bit")

# %% tags=["nbval-ignore-output"]
claim("most of what words and voice tell is synergy", voice.synergy > 0.5 * sum(voice[:4]), str(voice))

# %% [markdown]
# The bar of the two networks is an *estimate*, from a hundred examples of each digit. How much would it find unique where nothing is? Set a network beside itself, on other examples:


# %% tags=["nbval-ignore-output"]
def again(p):
    """What a reader of this table reads of other examples."""
    counts = torch.distributions.Multinomial(len(test) // 10, probs=p).sample()
    return counts / counts.sum(1, keepdim=True)


seed_everything(0)
twice = [torch.einsum("yi,yj->ijy", again(p), again(p)) / 10 for p in reads for _ in range(5)]
by_chance = max(information_parts(p).unique_1 for p in twice)
print(f"unique by chance: up to {by_chance:.2f} bit; shape {networks.unique_1:.2f}, voice {networks.unique_2:.2f} bit")
claim("the voice knows what the shape does not, more than by chance", networks.unique_2 > 2 * by_chance, str(networks))

# %% [markdown]
# So what the shape seems to have of its own may be chance; what the voice has is not.
#
# Each part has a chapter where it matters. Redundancy lets a model do without a modality, or generate one from another
# (chapters 8, 10 and 11). Unique information is lost with its modality. Synergy is lost if each modality is judged by
# itself, and is what fusion of features is for (chapters 2 and 9).
#
# ## Reproducible examples
#
# Every example has its own random numbers, which depend only on the seed, the split and its index $k$. So example 3 is the
# same whether you ask for five examples or for five thousand, and whichever other modalities you ask for. Two people who
# train on different amounts of data still use the same digits.

# %%
few = digits("handwritten", "spoken", split="train", n=5)
many = digits("spoken", split="train", n=50)
claim("example 3 does not depend on how many examples there are", torch.equal(few[3]["spoken"], many[3]["spoken"]))

# %% [markdown]
# ## Missing modalities
#
# In practice a modality is often missing for some examples: the microphone was off, or there is no image. A **missing
# modality** is not the same as a modality full of zeros. A black image is information; a missing image is none. So the batch
# has a mask, `<modality>_present`, a boolean tensor of shape $(B,)$. Where it is false, the modality is missing, and no
# model may read the values there. A modality that is missing for the whole batch is simply left out of the dict.
#
# The argument `drop` removes each modality at random with a given probability. At least one modality of each example is
# always kept.

# %%
some_missing = digits("handwritten", "spoken", split="train", n=8, seed=1, drop=0.4)
for modality in ("handwritten", "spoken"):
    print(f"{modality:12}", "".join("●" if present else "·" for present in some_missing[:][f"{modality}_present"]))

# %% [markdown]
# ## What breaks: data leakage
#
# Suppose we first compose examples and then split them at random. Then the same voice is in both the training set and the
# test set, perhaps even the same clip in other noise. This is *data leakage*. mmtutor splits the **source items** first:
# handwritten digits, families of voices, fonts, people.
#
# To see the difference, test the network for `spoken` on two sets that it has never seen. One has *the same clips in new
# noise*, as after a careless split. The other has *new voices*.

# %% tags=["nbval-ignore-output"]
same_clips = digits("spoken", split="train", n=2000, seed=1)
new_voices = digits("spoken", split="test", n=2000, seed=1)
scores = {
    "same clips, new noise": correct(models["spoken"], same_clips).mean(),
    "new voices, new noise": correct(models["spoken"], new_voices).mean(),
}
show(
    bars(scores, "A careless split makes the model look better", "accuracy on spoken digits"),
    "Two bars: " + ", ".join(f"{name} {value:.3f}" for name, value in scores.items()) + ".",
)

# %%
easy, hard = scores.values()
claim("clips from the training set are recognised better than new voices", easy > hard + 0.02, f"{easy} {hard}")

# %% [markdown]
# The gap is what the network has learned about these clips and not about digits; only an honest split shows it. (Whether it knows the clip or the voice, and whether the few new voices are harder in themselves, this does
# not tell.)
#
# ## Two real modalities
#
# A smartwatch has two motion sensors. The accelerometer measures acceleration, in units of gravity; the gyroscope measures
# rotation, in radians per second. The recordings are real: ten people doing seven exercises for the shoulder (D. Burns and
# others, 2018), cut into windows of two seconds. No person is in two splits.

# %% tags=["hide-input"]
from mmtutor.data import EXERCISES

watch = smartwatch("test")
figure, axes = plt.subplots(2, 3, figsize=(9, 3.6), sharex=True, sharey="row", layout="constrained")
for column, exercise in enumerate((1, 3, 6)):
    window = watch[int((watch[:]["label"] == exercise).nonzero()[5])]
    for axis, modality in zip(axes[:, column], ("accelerometer", "gyroscope"), strict=True):
        lines = axis.plot(torch.arange(50) / 25, window[modality])
    axes[0, column].set_title(EXERCISES[exercise])
    axes[1, column].set_xlabel("time (s)")
for axis, label in zip(axes[:, 0], ("acceleration (g)", "rotation (rad/s)"), strict=True):
    axis.set_ylabel(label)
_ = figure.legend(lines, ["x", "y", "z"], loc="outside right center", title="axis", frameon=False)
_ = figure.suptitle("Each exercise moves the wrist in its own way", x=0.01, ha="left")
show(figure, "Two seconds of three exercises: three axes of acceleration above, three of rotation below.")

# %%
people = {split: len(smartwatch(split)) for split in ("train", "valid", "test")}
print("windows of two seconds:", people)

# %% [markdown]
# ## Exercises
#
# Four short exercises check your answers, say which usual mistake they see, and give hints: the
# [exercises of chapter 1](exercises/01_digit_world.ipynb). At their end are things to try here, with the models of this chapter.
#
# ## Where to read on
#
# - N. Bertschinger, J. Rauh, E. Olbrich, J. Jost, N. Ay (2014), Quantifying unique information, Entropy 16(4), [arXiv:1311.2852](https://arxiv.org/abs/1311.2852).
# - P. Williams, R. Beer (2010), Nonnegative decomposition of multivariate information, [arXiv:1004.2515](https://arxiv.org/abs/1004.2515).
# - P. P. Liang and others (2023), Quantifying & modeling multimodal interactions: an information decomposition framework,
#   [arXiv:2302.12247](https://arxiv.org/abs/2302.12247).
# - Y. LeCun, L. Bottou, Y. Bengio, P. Haffner (1998), Gradient-based learning applied to document recognition: MNIST.
# - Y. Netzer and others (2011), Reading digits in natural images with unsupervised feature learning: SVHN.
# - T. Sutter, I. Daunhawer, J. Vogt (2020), Multimodal generative learning utilizing Jensen-Shannon divergence,
#   [arXiv:2006.08242](https://arxiv.org/abs/2006.08242): the triple of MNIST, SVHN and text that this world follows.
# - The library behind this chapter: `mmtutor.data.digits`, `mmtutor.data.smartwatch`, `mmtutor.encoders`,
#   `mmtutor.metrics.information_parts`.
