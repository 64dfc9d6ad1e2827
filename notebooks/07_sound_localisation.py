# %% [markdown]
# # 7 · Sound localisation: which of them speaks?
#
# A picture shows a few digits, and a voice says one of them. A network gets many such pictures with their sounds, and has one
# task: which sound belongs to which picture? Nobody tells it where anything is, or what a digit is. Yet it learns to point at
# the digit that is said. Then you learn to distrust such pointing. How often is one right who does not listen? Where does the
# network point in silence? And what do the scores of this field measure?
#
# > **You learn** to find a sound's source without labels, and which questions to ask of a map that looks good.
# >
# > **You need** InfoNCE ([chapter 3](03_joint_embedding.ipynb)), regions and attention ([chapter 4](04_image_captioning.ipynb)).
# >
# > **It takes** 30 minutes to read, 2 to run on a CPU.
# >
# > **Papers** [Learning to localize sound source](https://arxiv.org/abs/1803.03849), [Objects that
# > sound](https://arxiv.org/abs/1712.06651), [The hard way](https://arxiv.org/abs/2104.02691), [The easy
# > way](https://arxiv.org/abs/2203.09324), [Do we need sound?](https://arxiv.org/abs/2007.05722), [Negative
# > audio](https://arxiv.org/abs/2410.01020).

# %% tags=["hide-input"]
import torch
from torch import nn

from mmtutor.data import scenes, speak, twins
from mmtutor.data.word import WORDS
from mmtutor.metrics import hearing, map_overlap, map_pointing, predict, speaker_masks
from mmtutor.plotting import captioned, curves, frames, localisation_diagram, show, sound
from mmtutor.training import budget, claim, fit, seed_everything

n, epochs, batch_size, lr = budget(quick=(5000, (4, 5), 64, 3e-3), full=(20000, (6, 12), 128, 3e-3))
shown = scenes("test", n=1000)
test = speak(shown, "test")

# %% tags=["hide-input"]
first = speak(scenes("test", n=4, seed=6, objects=(3, 3)), "test", snr_db=(10, 10), waveform=True)
said = [WORDS[int(digit)] for digit in first.tensors["said_label"]]
show(
    captioned(
        {"scene": first[:]["scene"]}, range(4), [f"a voice says “{word}”" for word in said], "Which of them speaks?"
    ),
    "Four dark scenes, each with three coloured handwritten digits. A voice says " + ", ".join(said) + ".",
)
for k in range(2):
    sound(
        first[k]["waveform"], 8000, f"The sound of scene {k + 1}: a synthetic voice says “{said[k]}” in a little noise."
    )

# %% [markdown]
# Digits are real handwriting; scenes and voices are synthetic, and the voices of the test are not among those of training. The
# noise is louder in training and test: the signal-to-noise ratio is −3 to 10 dB.
#
# ## From a sound to a picture of it
#
# A sound is a *waveform*: 8,000 numbers for a second. Its *power spectrum* says how much of each frequency there is, and not
# when. So one cuts the sound into short overlapping *frames*, and takes the spectrum of each: the *spectrogram*. Ears tell low
# frequencies apart better than high ones, and hear loudness on a logarithmic scale. So neighbouring frequencies are summed in
# bands of equal width on the *mel* scale, $2595 \log_{10}(1 + f/700)$, and energies become decibels: the *log-mel spectrogram*, which the network sees.

# %%
from mmtutor.data.spoken import log_mel

wave = first[0]["waveform"].double()
power = torch.fft.rfft(wave).abs() ** 2  # of the whole sound
window = torch.hann_window(400, periodic=False, dtype=torch.float64)  # 50 ms, soft at both ends
cut = nn.functional.pad(wave, (200, 200)).unfold(0, 400, 250)[:32] * window  # 32 frames, one each 31 ms
spectrogram = torch.fft.rfft(cut, 512).abs() ** 2  # (32, 257)
f = torch.linspace(0, 4000, 257, dtype=torch.float64)
lowest, highest = (2595 * torch.log10(torch.tensor(1 + hertz / 700)) for hertz in (60, 3900))
corners = 700 * (10 ** (torch.linspace(lowest, highest, 34, dtype=torch.float64) / 2595) - 1)  # of 32 triangles
left, middle, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
triangles = torch.minimum((f - left) / (middle - left), (right - f) / (right - middle)).clamp(min=0)  # (32, 257)
energy = spectrogram @ triangles.T
decibels = 10 * torch.log10((energy / energy.max()).clamp(min=1e-6))  # from −60 to 0
by_hand = (decibels / 60 + 1).T

# %%
gap = (by_hand - torch.from_numpy(log_mel(wave.numpy()))[0]).abs().max()
claim("the log-mel spectrogram by hand equals the library's", gap < 1e-5, f"gap {gap}")

# %% tags=["hide-input"]
import matplotlib.pyplot as plt

figure, axes = plt.subplots(1, 4, figsize=(9.6, 2.4), layout="constrained")
axes[0].plot(torch.arange(8000) / 8000, wave, linewidth=0.4)
axes[0].set(title="waveform", xlabel="seconds")
axes[1].plot(torch.linspace(0, 4000, len(power)), power, linewidth=0.4)
axes[1].set(title="power spectrum", xlabel="hertz", yticks=[])
axes[2].imshow(10 * torch.log10(spectrogram.T + 1e-6), origin="lower", aspect="auto", extent=(0, 1, 0, 4000))
axes[2].set(title="spectrogram", xlabel="seconds", ylabel="hertz")
axes[3].imshow(by_hand, origin="lower", aspect="auto", extent=(0, 1, 0, 32))
axes[3].set(title="log-mel", xlabel="seconds", ylabel="band")
show(
    figure, f"The word {said[0]} four times: a waveform, its power spectrum, its spectrogram, its log-mel spectrogram."
)

# %% [markdown]
# ## The idea: a map, and one number of it
#
# The picture becomes $L = 64$ regions with vectors $a_1, \dots, a_L$, the sound a vector $b$. Both are mapped into one space, where
# all have length 1. The *map* says how similar each region is to the sound:
#
# $$v_l = \frac{W a_l}{\lVert W a_l \rVert}, \qquad h = \frac{U b}{\lVert U b \rVert}, \qquad m_l = v_l^\top h.$$
#
# How well do picture $i$ and sound $j$ fit? That is one number, so the map must be *pooled*:
#
# | pooling | $S$ | source |
# | --- | --- | --- |
# | mean | $\frac1L \sum_l m_l$ | the picture as one vector |
# | maximum | $\max_l m_l$ | Arandjelović 2018, EZ-VSL 2022 |
# | attention | $\sum_l p_l m_l$ with $p = \mathrm{softmax}(r m)$ | Senocak 2018 |
# | log-sum-exp | $\frac1r \log \frac1L \sum_l \exp(r m_l)$ | Pinheiro 2015 |
#
# The loss is InfoNCE of chapter 3 in both directions: of all $B$ sounds of a batch, which belongs to this picture?
#
# $$-\log \frac{\exp(t\, S_{ii})}{\sum_j \exp(t\, S_{ij})}$$
#
# "Three" fits to all pictures with a three, and to no other. The only way to tell them apart is the region with the three: no
# label says so, it is what they have in common.

# %% tags=["hide-input"]
show(
    localisation_diagram(),
    "A diagram. A picture becomes regions, a sound one vector. Their cosines are a map over the picture, which is pooled "
    "to one number for each picture and sound. Pairs should have high numbers, the rest low ones.",
)

# %% [markdown]
# By hand, and what the gradient of each pooling says about where to learn:

# %%
from mmtutor.localisation import Attention, LogSumExp, Max, Mean, SoundLocalisation

parts = {"scene": nn.Identity(), "spoken": nn.Identity()}
model = SoundLocalisation(parts, [5, 4], dim=3).double()
batch = {"scene": torch.randn(2, 9, 5).double(), "spoken": torch.randn(2, 4).double()}
v, h = batch["scene"] @ model.image.weight.T, batch["spoken"] @ model.sound.weight.T
by_hand = torch.stack([v[i] @ h[i] / (v[i].norm(dim=1) * h[i].norm()) for i in range(2)])
gap = (by_hand - model.map(batch)).abs().max()
claim("the map by hand equals the library's", gap < 1e-12, f"gap {gap}")

# %%
m = torch.tensor([0.9, 0.8, 0.1, -0.3], dtype=torch.float64, requires_grad=True)
for pooling in (Mean(), Max(), LogSumExp(5.0), Attention(5.0)):
    (slope,) = torch.autograd.grad(pooling(m), m)
    print(f"{type(pooling).__name__:9}", ", ".join(f"{x:+.2f}" for x in slope))
(slope,) = torch.autograd.grad(LogSumExp(5.0)(m), m)
gap = (slope - (5 * m).softmax(0)).abs().max()
claim("the gradient of log-sum-exp is the softmax of the map", gap < 1e-12, f"gap {gap}")

# %% [markdown]
# The mean moves all regions alike, background too. The maximum moves one region, right or wrong. Log-sum-exp moves the good ones
# most. Attention even pushes the worse ones down.
#
# ## What is the best loss?
#
# A program knows which digits each picture shows. The best score of a picture and a sound is the logarithm of how much more often
# the two occur together than by chance: of a scene with $n$ digits, $10/n$ for a digit that is there, else 0. A picture with a three
# fits to each sound "three" of the batch equally well; so even the best loss is far above zero. **Before you run it:** guessing
# among 64 sounds costs $\log 64 = 4.16$ nats. What is the best?


# %%
def best_loss(data, batch_size=64):
    """The loss of the program, the mean over batches."""
    losses, said = [], data.tensors["said_label"]
    for rows in torch.arange(len(data)).split(batch_size):
        digits = data.tensors["digit_label"][rows]  # (B, objects)
        count = (digits >= 0).sum(1, keepdim=True)
        there = (digits[:, None] == said[rows][:, None]).any(2)  # (pictures, sounds)
        score = torch.where(there, (10 / count).log(), -1e9)
        right = torch.arange(len(rows))
        ways = [nn.functional.cross_entropy(s, right) for s in (score, score.T)]
        losses.append(sum(ways) / 2)
    return torch.stack(losses[:-1]).mean().item()  # the last batch is smaller


print(f"guessing {torch.tensor(64.0).log():.2f} nats, the best {best_loss(test):.2f}")

# %% [markdown]
# ## How far without ears?
#
# In the *pointing game* the answer is the region with the largest value, and it is right if it touches the object that speaks. Some
# answers need no training, and some need no sound:

# %%
masks, objects = speaker_masks(test), speaker_masks(test, every=True)
count = (test.tensors["digit_label"] >= 0).sum(1)
down, across = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
centre = -((down - 3.5) ** 2 + (across - 3.5) ** 2).float().expand(1000, 8, 8)
touch = torch.from_numpy(masks).view(1000, 8, 8, 8, 8).any(4).any(2)  # which regions touch the speaker
without = {
    "any region": touch.float().mean().item(),
    "the centre": map_pointing(centre, masks).mean(),
    "an object, but which?": (1 / count).mean().item(),
}
for name, value in without.items():
    print(f"{name:22} {value:.2f}")

# %% [markdown]
# The last row is exact: whoever points at the same one of $n$ objects, whatever is said, is right for one of $n$ voices. Here that
# is .63, for a third of the scenes have one object. So a model that only finds objects looks good. (Oya and others, 2020, found
# that on the usual benchmark vision alone does about as well as with sound.)
#
# ## Train
#
# First on scenes of one object, then of one to three. That is still matching alone; but where one digit is in the picture, a
# sound fits one picture in ten, and learning sets in much earlier.

# %% tags=["nbval-ignore-output"]
from mmtutor.encoders import GridEncoder

single = speak(scenes("train", n=n, seed=1, objects=(1, 1)), "train", seed=1)
train = speak(scenes("train", n=n), "train")


def network(pooling=None):
    ear = nn.Sequential(GridEncoder(1), nn.Flatten(), nn.Linear(16 * 66, 64))  # the log-mel spectrogram, as a picture
    return SoundLocalisation({"scene": GridEncoder(3), "spoken": ear}, [66, 64], pooling=pooling)


# %% tags=["nbval-ignore-output"]
seed_everything(0)
model = network()
for data, k in ((single, epochs[0]), (train, epochs[1])):
    past = fit(model, data, epochs=k, batch_size=batch_size, lr=lr, schedule="one-cycle")
    print(f"loss {past.train['loss'][-1]:.2f} nats")

# %% tags=["nbval-ignore-output"]
from mmtutor.training import evaluate

loss = evaluate(model, test, batch_size=64)["loss"]
print(f"on new scenes and voices: {loss:.2f} nats; guessing 4.16, the best {best_loss(test):.2f}")

# %%
claim(
    "on new scenes the loss is nearer to the best than to guessing", loss < (4.16 + best_loss(test)) / 2, f"{loss:.2f}"
)
claim("it is not below the best", loss > best_loss(test), f"{loss:.2f}")

# %% [markdown]
# **Choose what the voice says**, and say beforehand where the map will be light. A white frame is around the region of the largest
# cosine. The last digit is not there.

# %% tags=["nbval-ignore-output"]
maps, heard = predict(model, test), test.tensors["said_label"]
k = next(k for k, things in enumerate(test.objects) if len(things) == 3 and k > 2)
there = [thing.digit for thing in test.objects[k]]
absent = next(digit for digit in range(10) if digit not in there)
voice = {digit: int((heard == digit).nonzero()[0]) for digit in (*there, absent)}
asked = {"scene": test.tensors["scene"][[k] * 4], "spoken": test.tensors["spoken"][[*voice.values()]]}
light = dict(zip(voice, predict(model, asked), strict=True))


# %% tags=["nbval-ignore-output", "hide-input"]
def drawn(m):
    """The scene with a frame around the region of the largest cosine, and the map."""
    figure, axes = plt.subplots(1, 2, figsize=(6.6, 3), layout="constrained")
    axes[0].imshow(test.tensors["scene"][k].permute(1, 2, 0))
    row, column = divmod(int(m.argmax()), 8)
    axes[0].add_patch(plt.Rectangle((8 * column - 0.5, 8 * row - 0.5), 8, 8, fill=False, color="white", linewidth=2))
    image = axes[1].imshow(m.view(8, 8), cmap="gray", vmin=-1, vmax=1)
    figure.colorbar(image, label="cosine")
    for axis in axes:
        axis.set_axis_off()
    return figure


# %% tags=["nbval-ignore-output", "hide-input"]
cosine = {WORDS[d]: m for d, m in light.items()}
alts = {
    word: f"The scene, and where it is similar to “{word}”; largest cosine {m.max():.2f}." for word, m in cosine.items()
}
frames({word: drawn(m) for word, m in cosine.items()}, alts, "the voice says")

# %% [markdown]
# ## Does it point, and does it listen?
#
# For comparison each picture gets the sound of another scene. What the sound adds, as a share of what it could add, is
#
# $$\frac{\text{right with its sound} - \text{right without listening}}{1 - \text{right without listening}}.$$

# %% tags=["nbval-ignore-output"]
other = predict(model, {"scene": test.tensors["scene"], "spoken": test.tensors["spoken"].roll(1, 0)})
own, swapped = map_pointing(maps, masks), map_pointing(other, masks)
finds = map_pointing(maps, objects)
print(
    f"points at some object {finds.mean():.2f}, at the speaker {own.mean():.2f}; if at an object, right {own[finds].mean():.2f}"
)
print(f"with another scene's sound {swapped.mean():.2f}")
ear = {"who finds objects": hearing(own, 1 / count), "itself with other sounds": hearing(own, swapped)}
for name, value in ear.items():
    print(f"of what can be won against {name}: {value:.2f}")

# %%
claim(
    "it points at the speaker twice as often as a region at random, and as the centre",
    own.mean() > 2 * max(without["any region"], without["the centre"]),
    f"{own.mean():.2f}, {without}",
)
several = (count > 1).numpy()
chance = (1 / count[several]).mean().item()
claim(
    "in scenes of two or three it is right half again as often as who does not listen",
    own[several].mean() > 1.5 * chance,
    f"{own[several].mean():.2f}, {chance:.2f}",
)
claim("of what can be won by listening it wins more than a third", min(ear.values()) > 1 / 3, str(ear))

# %% [markdown]
# ## The pooling decides whether it begins
#
# The same network with the maximum, which is the most usual pooling, on the same scenes of one object. And for comparison the
# network that you have trained, which goes on with the maximum. **Before you run it:** which of them will learn?

# %% tags=["nbval-ignore-output"]
from copy import deepcopy

seed_everything(0)
scratch, goes_on = network(Max()), deepcopy(model)
goes_on.pooling = Max()
past = fit(scratch, single, epochs=epochs[0], batch_size=batch_size, lr=lr, schedule="one-cycle")
fit(goes_on, train, epochs=2, batch_size=batch_size, lr=lr / 3, schedule="one-cycle")
hits = {"from the start": scratch, "afterwards": goes_on, "log-sum-exp": model}
hits = {name: map_pointing(predict(of, test), masks).mean() for name, of in hits.items()}
print(f"maximum from the start: loss {past.train['loss'][-1]:.2f} nats, guessing 4.16")
print("points at the speaker:", ", ".join(f"{name} {x:.2f}" for name, x in hits.items()))

# %%
claim(
    "the maximum alone has not begun to learn after as many epochs",
    past.train["loss"][-1] > 4.0,
    str(past.train["loss"]),
)
claim(
    "after log-sum-exp it points as well, within 10 points",
    abs(hits["afterwards"] - hits["log-sum-exp"]) < 0.1,
    str(hits),
)

# %% [markdown]
# The maximum can express the answer, but it cannot find it: at first its one region is anywhere, and only that one learns. Published
# models that use it begin with an image encoder that was trained on ImageNet, where regions are told apart already.
#
# ## What do the tables of this field measure?
#
# Benchmarks compare the part of a map above a threshold with a box around the object, as intersection over union (IoU). Two numbers
# are reported: the share of pictures with an IoU of at least one half ("cIoU"), and the area under that share as a function of the
# bound ("AUC"). That area is simply the mean IoU. Which threshold? Published programs take the *median* of each map: then the
# answer covers half the picture, whatever was learned.

# %%
boxes, u = speaker_masks(test, boxes=True), torch.linspace(0, 1, 41)
share = {"this map": [map_overlap(maps, boxes, float(x)).half for x in u]}
share["whole picture"] = [map_overlap(torch.zeros(1000, 8, 8), boxes, float(x)).half for x in u]
overlap, median = map_overlap(maps, boxes), map_overlap(maps, boxes, "median")
print(
    f"IoU at least .5 at threshold .5: {overlap.half:.2f}, at the best: {max(share['this map']):.2f}, median: {median.half:.2f}"
)

# %%
area = torch.tensor([(torch.from_numpy(overlap.iou) >= x).double().mean() for x in torch.linspace(0, 1, 10_001)])
claim("the area under the curve is the mean IoU", abs(area.mean() - overlap.iou.mean()) < 1e-3, f"{area.mean():.3f}")
claim(
    "a map that points well has hardly an IoU of one half", max(share["this map"]) < 0.3 < own.mean(), str(median.half)
)

# %% [markdown]
# A region of this map is $8 \times 8$ pixels, a box here up to $28 \times 28$: the map marks what tells the digit, not its extent. The
# reverse happens, too. If the object fills a share $s$ of the picture, the whole picture has IoU $s$. And an answer of half the picture
# has at most $\min(s, \frac12) / \max(s, \frac12)$, so at the median no map, however good, is counted as right for an object that fills less than a
# quarter:

# %%
size = 40  # rows and columns
shares = torch.arange(2, size + 1, 2) / size
rows = (torch.arange(size) < size * shares[:, None])[..., None].expand(-1, -1, size)  # objects that fill these shares
perfect = rows.float() - 1e-3 * torch.arange(size)[:, None] - 1e-6 * torch.arange(size)  # it knows the object
iou = {
    "the whole picture": map_overlap(torch.zeros_like(perfect), rows).iou,
    "a perfect map, median": map_overlap(perfect, rows, "median").iou,
}
show(
    curves(shares, iou, "What the IoU says depends on how large objects are", "share of the picture", "IoU"),
    "IoU over the object's share. The whole picture rises from 0 to 1; a perfect map at the median rises to 1 at one half, "
    "and falls again to one half.",
)

# %%
bound = torch.minimum(shares, torch.tensor(0.5)) / torch.maximum(shares, torch.tensor(0.5))
gap = (torch.from_numpy(iou["a perfect map, median"]) - bound).abs().max()
claim("at the median even a perfect map is bounded by the object's size", gap < 0.02, f"gap {gap}")

# %% [markdown]
# So ask of a table: how large are the objects, and what does the whole picture get? Ask also how training was stopped. Whoever looks
# at $k$ checkpoints and reports the one that is best on the annotated test pictures reports luck as well:

# %%
seed_everything(0)
right = torch.rand(2000, 20, 250) < 0.8  # 20 checkpoints that are all equally good, 250 pictures, 2,000 times
best = right.double().mean(2).amax(1).mean().item()
print(f"each is right for .80; the best of twenty looks like {best:.3f}")
claim("the best of twenty equal checkpoints looks 4 points better", 0.03 < best - 0.8 < 0.06, f"{best:.3f}")

# %% [markdown]
# (The twenty are drawn independently. Checkpoints of one run resemble each other, so there it is less.)
#
# ## What breaks
#
# **Twins.** Two objects show the same digit. Which of them speaks cannot be heard, so no model can be right for more than one half:

# %% tags=["nbval-ignore-output"]
pair = speak(twins("test", n=1000), "test")
of_pair = predict(model, pair)
either = map_pointing(of_pair, speaker_masks(pair, every=True))
speaker = map_pointing(of_pair, speaker_masks(pair))[either]
print(f"at one of the two {either.mean():.2f}; of these at the speaker {speaker.mean():.2f}")

# %%
off = abs(speaker.mean() - 0.5)  # the standard error is below .02
claim("of two twins it points at the speaker half of the time, within 6 points", off < 0.06, f"{speaker.mean():.3f}")
claim("it points at one of the two nearly always", either.mean() > 0.75, f"{either.mean():.2f}")

# %% [markdown]
# **Silence, and voices from elsewhere.** The largest value of a map is somewhere, even where nothing speaks. Scale each map to 0 to 1
# before you look, as many programs do, and you cannot see it. The pooled map $S$ says how well sound and picture fit. Choose a
# threshold on sounds from elsewhere, so that one in twenty is a false alarm; then test on others:


# %% tags=["nbval-ignore-output"]
def told_apart(high, low):
    """How often the first is larger than the second: the area under the ROC curve."""
    return (high[:, None] > low).double().mean().item()


valid = scenes("valid", n=1000, seed=1)
model.eval().calibrate({m: speak(valid, "valid", says="other").tensors[m] for m in ("scene", "spoken")})
nothing, elsewhere = (predict(model, speak(shown, "test", says=what)) for what in ("nothing", "other"))
fits = {name: model.pooling(x) for name, x in (("speaker", maps), ("silence", nothing), ("elsewhere", elsewhere))}
for name, x in fits.items():
    print(f"{name:9} fits {x.mean():.2f}, above the threshold {(x > model.threshold.cpu()).double().mean():.2f}")

# %%
auc = {name: told_apart(fits["speaker"], fits[name]) for name in ("silence", "elsewhere")}
claim("speech is told from silence", auc["silence"] > 0.75, str(auc))
claim("a speaker in the picture is told from one elsewhere", auc["elsewhere"] > 0.85, str(auc))
alarms = (fits["elsewhere"] > model.threshold.cpu()).double().mean().item()
claim("with new voices and pictures there are still few false alarms", alarms < 0.15, f"{alarms:.2f}")

# %% [markdown]
# Silence was never trained. That it fits less well is luck, not design.
#
# ## What to remember
#
# - Matching pictures and sounds is enough to find what a sound comes from: regions are what matching pictures have in common.
# - The pooling decides which regions learn. The maximum moves one region only, so from scratch it may never begin.
# - Say how often one is right who does not listen: for $n$ objects $1/n$. Then test with the sounds of other scenes.
# - IoU depends on the threshold and on how large objects are. At the median the answer is half the picture.
# - A map has a largest value in silence, too. Look at the unscaled values, and test on silence and on voices from elsewhere.
#
# ## Exercises
#
# Short exercises check your answers, say which usual mistake they see, and give hints: the
# [exercises of chapter 7](exercises/07_sound_localisation.ipynb). At their end are things to try here, with the models of this
# chapter.
#
# ## Where to read on
#
# - A. Senocak and others (2018), Learning to localize sound source in visual scenes,
#   [arXiv:1803.03849](https://arxiv.org/abs/1803.03849).
# - R. Arandjelović and A. Zisserman (2018), Objects that sound, [arXiv:1712.06651](https://arxiv.org/abs/1712.06651).
# - H. Chen and others (2021), Localizing visual sounds the hard way, [arXiv:2104.02691](https://arxiv.org/abs/2104.02691).
# - S. Mo and P. Morgado (2022), Localizing visual sounds the easy way, [arXiv:2203.09324](https://arxiv.org/abs/2203.09324); A
#   closer look at weakly-supervised audio-visual source localization, [arXiv:2209.09634](https://arxiv.org/abs/2209.09634).
# - T. Oya and others (2020), Do we need sound for sound source localization?,
#   [arXiv:2007.05722](https://arxiv.org/abs/2007.05722).
# - X. Juanola and others (2024), A critical assessment of visual sound source localization models including negative audio,
#   [arXiv:2410.01020](https://arxiv.org/abs/2410.01020).
# - The library behind this chapter: `mmtutor.localisation.SoundLocalisation`, `mmtutor.data.speak`,
#   `mmtutor.metrics.map_overlap`, `mmtutor.metrics.hearing`.
