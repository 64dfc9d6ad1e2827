# %% [markdown]
# # One world of digits, many modalities
#
# A digit can be written, seen on a house, spoken, spelled or measured. In this chapter you meet the small world that all
# chapters share: ten digits, seen and heard through six modalities. You will look at it, listen to it, find out how much each
# modality knows by itself, and see why a careless split makes a model look better than it is.

# %% tags=["hide-input", "nbval-ignore-output"]
from mmtutor.data import digits, smartwatch
from mmtutor.plotting import bars, show, sound, world

modalities = ("handwritten", "street", "spoken", "waveform", "word", "shape")
everything = digits(*modalities, split="train", n=200, snr_db=(20, 30))
examples = [int((everything[:]["label"] == digit).nonzero()[3]) for digit in (2, 5, 7, 8)]
show(
    world(everything, examples, "Four digits, each seen through six modalities"),
    "A grid of four rows and six columns. Each row is one digit: written by hand, on a house number, as the log-mel "
    "picture of a spoken word, as the sound wave, as a word, and as sixteen measured numbers.",
)

# %% [markdown]
# ## The idea
#
# A *modality*, or *modality*, is one way in which something reaches us. Modalities differ in shape: a picture is a grid, a sound is
# a series, a word is a row of letters. They also differ in what they know. A modality may be clear about one digit and unsure
# about another, and where one fails another may not. Sometimes the answer lies in neither, but between them. These are two
# reasons to use several modalities.
#
# Everywhere in mmtutor a batch is a **dict of tensors**, from the name of a modality to a tensor of shape $(B, \dots)$, with $B$
# examples. The class is called `label`.

# %%
batch = everything[:8]
for name, value in batch.items():
    print(f"{name:12} {tuple(value.shape)!s:18} {str(value.dtype).removeprefix('torch.')}")

# %% [markdown]
# What is real and what is not?
#
# - `handwritten` is real: 5,000 digits of MNIST. `shape` is measured on them: how much ink, how many holes, how slanted.
# - `street` is **synthetic**: rendered with some twenty fonts, then bent, shaded and blurred like the house numbers of SVHN.
# - `spoken` and `waveform` are **synthetic**: 64 voices of the speech program espeak-ng, in noise. The next chapter asks
#   how far that carries to real people.
# - `word` is the English word at a random place in a row of eight letters.
# - At the end you meet real recordings of a smartwatch.
#
# With internet, `digits(..., sources={"handwritten": mnist, "street": svhn, "spoken": fsdd})` reads the real sets instead
# (`mmtutor.data.mnist`, `mmtutor.data.svhn`, `mmtutor.data.fsdd`); nothing else changes.
#
# ## Listen
#
# The modality `spoken` is a picture of a sound. First hear the sound itself, clean and in noise. How loud noise is compared
# with a sound is given in decibels. With the mean squares $P_s$ of the signal and $P_n$ of the noise,
#
# $$\mathrm{SNR} = 10 \log_{10} \frac{P_s}{P_n}.$$
#
# At 0 dB both are equally strong.

# %%
clean = digits("waveform", split="test", n=6, snr_db=(float("inf"), float("inf")))
noisy = digits("waveform", split="test", n=6, snr_db=(0.0, 0.0))
word = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")[int(clean[1]["label"])]
sound(clean[1]["waveform"], 8000, f"A synthetic voice says “{word}”, clean.")
sound(noisy[1]["waveform"], 8000, f"The same voice says “{word}” in noise of equal strength.")

# %% [markdown]
# ## By hand: how loud is the noise?
#
# Take the noisy wave apart. The noise is what is left after the clean wave has been taken away. Noise is random, so the
# measured ratio is close to the 0 dB we asked for, not equal to it. (The library scales a wave that would leave
# $[-1, 1]$, so we first find that factor.)

# %%
import torch

from mmtutor.training import budget, claim, fit, seed_everything

ratios = []
for signal, mixed in zip(clean[:]["waveform"], noisy[:]["waveform"], strict=True):
    scale = (signal @ mixed) / (signal @ signal)  # least squares: how much of the signal is in the mix
    noise = mixed - scale * signal
    length = int(signal.nonzero().max()) + 1  # silence at the end does not count
    ratios.append(float(10 * torch.log10((scale * signal)[:length].square().mean() / noise.square().mean())))
claim("noise and voice are equally strong where 0 dB was asked for", max(map(abs, ratios)) < 0.5, f"{ratios} dB")

# %% [markdown]
# ## What does each modality know?
#
# Now train the same kind of small network on each modality alone, with the same examples and the same number of steps. The
# encoders are described in `mmtutor.encoders`: a few convolutions for pictures and sounds, a perceptron for numbers, a
# convolution along the letters for words. `LateFusion` with a single modality is nothing but an encoder and a classifier.

# %% tags=["nbval-ignore-output"]
from mmtutor.encoders import AudioEncoder, ImageEncoder, TabularEncoder, TextEncoder
from mmtutor.fusion import Concat, LateFusion
from mmtutor.metrics import confusion, correct, predict

seed_everything(0)  # the same first weights whenever you run this
encoders = {
    "handwritten": ImageEncoder(1),
    "street": ImageEncoder(3),
    "spoken": AudioEncoder(),
    "word": TextEncoder(27),
    "shape": TabularEncoder(16),
}
n, epochs = budget(quick=(4000, 6), full=(20000, 20))
world_of = dict(street_difficulty=1.0, seed=0)
train = digits(*encoders, split="train", n=n, **world_of)
test = digits(*encoders, split="test", n=1000, **world_of)

# %% tags=["nbval-ignore-output"]
models = {}
for modality, encoder in encoders.items():
    models[modality] = LateFusion({modality: encoder}, classes=10, merge=Concat([64]))
    fit(models[modality], train, epochs=epochs, lr=2e-3, schedule="one-cycle", clip_norm=1.0)
accuracy = {modality: correct(model, test).mean() for modality, model in models.items()}
show(
    bars(accuracy, "Alone, the modalities know very different amounts", "accuracy on new items", chance=0.1),
    "Accuracy of five modalities alone: "
    + ", ".join(f"{s} {a:.2f}" for s, a in accuracy.items())
    + "; chance is 0.10.",
)

# %%
claim("each modality alone is far better than chance", min(accuracy.values()) > 0.5, str(accuracy))
claim("a word without typing errors gives the digit away", accuracy["word"] > 0.99, f"{accuracy['word']:.3f}")

# %% [markdown]
# The word is too easy: it *is* the label in other letters. The argument `typos` makes it harder.
#
# More interesting is *which* digits a modality confuses. The voice is mixed up on other digits than the measurements.

# %% tags=["nbval-ignore-output"]
label = test[:]["label"]
for modality in ("shape", "spoken"):
    table = confusion(label, predict(models[modality], test).argmax(1), 10)
    off = table - torch.diag(torch.from_numpy(table).diag()).numpy()
    pairs = sorted(((off[i, j] + off[j, i], i, j) for i in range(10) for j in range(i)), reverse=True)[:3]
    print(f"{modality:7} mixes up most often", ", ".join(f"{j} and {i}" for _, i, j in pairs))

# %% [markdown]
# ## Example k is example k
#
# Every example has random numbers of its own, made from the seed, the split and its place $k$. So example 3 is the same
# whether you ask for five examples or for five thousand, and whichever other modalities you ask for. Two people who train on
# different amounts of data still talk about the same digits.

# %%
few = digits("handwritten", "spoken", split="train", n=5)
many = digits("spoken", split="train", n=50)
claim("example 3 does not depend on how many examples there are", torch.equal(few[3]["spoken"], many[3]["spoken"]))

# %% [markdown]
# ## Missing modalities
#
# In life a modality is sometimes missing: no sound, no picture. With `drop` each modality is left out at random; a mask
# `<modality>_present` says where it is there. Zeros stand where it is not, and no model may read them as a black picture: it
# must look at the mask. At least one modality always stays.

# %%
partly = digits("handwritten", "spoken", split="train", n=8, seed=1, drop=0.4)
for modality in ("handwritten", "spoken"):
    print(f"{modality:12}", "".join("●" if here else "·" for here in partly[:][f"{modality}_present"]))

# %% [markdown]
# ## What breaks: splitting too late
#
# Suppose we first compose examples and then split them at random. The same voice, even the same clip in another noise,
# would be in both parts. mmtutor splits the **source items** first: digits on paper, families of voices, fonts, people.
#
# To see the difference, test the network for `spoken` on two sets it has never seen. One has *the same clips in new
# noise*, as after a careless split. The other has *new voices*.

# %% tags=["nbval-ignore-output"]
careless = digits("spoken", split="train", n=2000, seed=1)
honest = digits("spoken", split="test", n=2000, seed=1)
scores = {
    "same voices, new noise": correct(models["spoken"], careless).mean(),
    "new voices, new noise": correct(models["spoken"], honest).mean(),
}
show(
    bars(scores, "A careless split flatters the model", "accuracy of the network for spoken digits"),
    "Two bars: " + ", ".join(f"{name} {value:.3f}" for name, value in scores.items()) + ".",
)

# %%
easy, hard = scores.values()
claim("voices that were heard in training are understood better than new ones", easy > hard + 0.02, f"{easy} {hard}")

# %% [markdown]
# The gap is no bug of the model. It is the price of a new voice, and only an honest split shows it.
#
# ## A real pair of modalities
#
# A smartwatch has two sensors of movement. The accelerometer feels pushes, in units of gravity; the gyroscope feels turns,
# in radians per second. The recordings are real: ten people doing seven exercises for the shoulder (D. Burns and others,
# 2018), cut into windows of two seconds. No person is in two splits.

# %% tags=["hide-input"]
import matplotlib.pyplot as plt

from mmtutor.data import EXERCISES

watch = smartwatch("test")
figure, axes = plt.subplots(2, 3, figsize=(9, 3.6), sharex=True, sharey="row", layout="constrained")
for column, exercise in enumerate((1, 3, 6)):
    window = watch[int((watch[:]["label"] == exercise).nonzero()[5])]
    for axis, modality in zip(axes[:, column], ("accelerometer", "gyroscope"), strict=True):
        lines = axis.plot(torch.arange(50) / 25, window[modality])
    axes[0, column].set_title(EXERCISES[exercise])
    axes[1, column].set_xlabel("time (s)")
for axis, label in zip(axes[:, 0], ("acceleration (g)", "turning (rad/s)"), strict=True):
    axis.set_ylabel(label)
_ = figure.legend(lines, ["x", "y", "z"], loc="outside right center", title="axis", frameon=False)
_ = figure.suptitle("Each exercise moves the wrist in its own way", x=0.01, ha="left")
show(figure, "Two seconds of three exercises: three axes of acceleration above, three of turning below.")

# %%
people = {split: len(smartwatch(split)) for split in ("train", "valid", "test")}
print("windows of two seconds:", people)

# %% [markdown]
# ## Exercises
#
# 1. Which modality suffers most when `typos=0.3`, `snr_db=(-10, -5)` and `street_difficulty=1.0`? Train each again.
# 2. `relation="sum"` gives each modality its own digit; the label is the sum modulo 10. What can one modality alone know about
#    that label? Think first, then train. The next chapter has the answer.
# 3. Split the smartwatch by windows instead of people. By how much does the accuracy rise, and whom does that fool?
#
# ## Where to read on
#
# - Y. LeCun, L. Bottou, Y. Bengio, P. Haffner (1998), Gradient-based learning applied to document recognition: MNIST.
# - Y. Netzer and others (2011), Reading digits in natural images with unsupervised feature learning: SVHN.
# - T. Sutter, I. Daunhawer, J. Vogt (2021), Generalized multimodal ELBO: the triple of MNIST, SVHN and text that
#   this world follows.
# - The library behind this chapter: `mmtutor.data.digits`, `mmtutor.data.smartwatch`, `mmtutor.encoders`.
