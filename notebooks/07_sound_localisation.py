# %% [markdown]
# # 7 · Sound localisation: which of them speaks?
#
# A picture shows a few digits, and a voice says one of them. A network gets many such pictures with their sounds, and has one
# task: which sound belongs to which picture? Nobody tells it where anything is, or what a digit is. Yet it learns to point at
# the digit that is said. Then you learn to distrust such pointing. How often is an answer right that ignores the sound? Where
# does the network point if nobody speaks? And what do the scores of this field measure?
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
# ## Sound representation: from a waveform to a picture
#
# A sound is a *waveform*: 8,000 numbers for a second. Its *power spectrum* says how much of each frequency there is, but not
# when. So one cuts the sound into short overlapping *frames*, and takes the spectrum of each: the *spectrogram*. (512 points in
# place of 400 only make its frequencies denser.)

# %%
wave = first[0]["waveform"].double()
power = torch.fft.rfft(wave).abs() ** 2  # of the whole sound
window = torch.hann_window(400, periodic=False, dtype=torch.float64)  # 50 ms, soft at both ends
cut = nn.functional.pad(wave, (200, 200)).unfold(0, 400, 250)[:32] * window  # 32 frames, one each 31 ms
spectrogram = torch.fft.rfft(cut, 512).abs() ** 2  # (32, 257)

# %% [markdown]
# Ears tell low frequencies apart better than high ones. On the *mel* scale, $2595 \log_{10}(1 + f/700)$, steps that sound alike
# are about equal. So the energy is summed in 32 overlapping bands, triangles of equal width on that scale:

# %%
f = torch.linspace(0, 4000, 257, dtype=torch.float64)
lowest, highest = (2595 * torch.log10(torch.tensor(1 + hertz / 700)) for hertz in (60, 3900))
corners = 700 * (10 ** (torch.linspace(lowest, highest, 34, dtype=torch.float64) / 2595) - 1)
left, middle, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
triangles = torch.minimum((f - left) / (middle - left), (right - f) / (right - middle)).clamp(min=0)  # (32, 257)
energy = spectrogram @ triangles.T

# %% [markdown]
# Loudness is heard on a logarithmic scale, so energies become decibels: the *log-mel spectrogram*, which the network sees.

# %%
from mmtutor.data.spoken import log_mel

decibels = 10 * torch.log10((energy / energy.max()).clamp(min=1e-6))  # from −60 to 0
by_hand = (decibels / 60 + 1).T
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
# How is the sound used? Twice. In training it is the *supervision*: which sound belongs to this picture? Afterwards it is the
# *question*: its one vector is compared with each region. Which direction a sound comes from is nowhere in it, for the sound
# is mono. So the network can find what makes such a sound, not what made this one.
#
# The picture becomes $L = 64$ regions with vectors $a_1, \dots, a_L$, the sound a vector $b$. Both are mapped into one space, where
# all have length 1. The *map* says how similar each region is to the sound:
#
# $$v_l = \frac{W a_l}{\lVert W a_l \rVert}, \qquad h = \frac{U b}{\lVert U b \rVert}, \qquad m_l = v_l^\top h.$$
#
# How well do picture $i$ and sound $j$ fit? That is one number, $S_{ij}$, so the map must be *pooled*:
#
# | pooling | $S$ | source |
# | --- | --- | --- |
# | mean | $\frac1L \sum_l m_l$ | the picture as one vector |
# | maximum | $\max_l m_l$ | Arandjelović 2018, EZ-VSL 2022 |
# | log-sum-exp | $\frac1r \log \frac1L \sum_l \exp(r m_l)$ | Pinheiro 2015 |
# | attention | $\sum_l p_l m_l$ with $p = \mathrm{softmax}(r m)$ | after Senocak 2018 |
# | positive regions | $\sum_l w_l m_l / \sum_l w_l$ with $w = \sigma((m - \varepsilon) / \tau)$ | Chen 2021, "the hard way" |
#
# The sharpness $r$ goes from the mean, $r \to 0$, to the maximum, $r \to \infty$; here it is 14. The loss is InfoNCE of chapter 3 in both
# directions, with the inverse temperature $t$: of all $B$ sounds of a batch, which belongs to this picture?
#
# $$-\log \frac{\exp(t\, S_{ii})}{\sum_j \exp(t\, S_{ij})}$$
#
# A sound "three" belongs to pictures with a three. What these have in common is the three, so a region that shows it is the
# easiest to rely on. But the loss does not demand that: a region sees beyond its $8 \times 8$ pixels, and the mean can match without
# pointing. So pointing must be tested.

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
# These are the directions for a pair that fits; for one that does not, all signs turn round. The mean moves all regions alike,
# background too. The maximum moves one region, right or wrong. Log-sum-exp moves the good ones most. Attention even pushes the
# worse ones down.
#
# ## What is the best loss?
#
# A program knows which digits each picture shows. As in chapter 3, the best score of a pair is its pointwise mutual information, how
# much more often the two occur together than by chance. A digit that a scene of $n$ objects shows is said there with $1/n$, and anywhere with
# $1/10$: so the score is $\log(10/n)$, and $-\infty$ for a digit that is not there. A picture with a three fits each sound "three" of
# the batch equally well; so even the best loss is far above zero. **Before you run it:** guessing among 64 sounds costs
# $\log 64 = 4.16$ nats. What is the best?


# %%
def best_loss(data):
    losses = []
    for rows in torch.arange(len(data["said_label"])).split(64):
        digits = data["digit_label"][rows]  # (B, objects)
        count = (digits >= 0).sum(1, keepdim=True)
        there = (digits[:, None] == data["said_label"][rows][:, None]).any(2)  # (pictures, sounds)
        score = torch.where(there, (10 / count).log(), -1e9)
        right = torch.arange(len(rows))
        losses += [nn.functional.cross_entropy(s, right) for s in (score, score.T)]
    return torch.stack(losses).mean().item()


batches = test[:960]  # fifteen batches of 64
print(f"guessing {torch.tensor(64.0).log():.2f} nats, the best {best_loss(batches):.2f}")

# %% [markdown]
# ## How far without ears?
#
# In the *pointing game* the answer is the region with the largest value; it is right if no object is nearer to its middle than the one that
# speaks, and that one is near. Some answers need no training, and some need no sound:

# %%
count = (test.tensors["digit_label"] >= 0).sum(1)
middle = torch.arange(8) - 3.5
centre = -(middle[:, None] ** 2 + middle**2).flatten()
each = [map_pointing(region.expand(1000, -1), test).mean() for region in torch.eye(64)]
without = {
    "a region at random": sum(each) / 64,
    "the centre": map_pointing(centre.expand(1000, -1), test).mean(),
    "an object, but which?": (1 / count).mean().item(),
}
for name, value in without.items():
    print(f"{name:22} {value:.2f}")

# %% [markdown]
# The last row is exact: an answer that points at the same one of $n$ objects, whatever is said, is right for one of $n$ voices. Here
# that is .63, for more than a third of the scenes have one object. So a model that only finds objects looks good. (Oya and others,
# 2020, found that on the usual benchmark vision alone does about as well as with sound.)
#
# ## Train
#
# First on scenes of one object, then of one to three. That is still matching alone; but with one digit in the picture a sound fits
# one picture in ten, and learning sets in earlier (try it without; an exercise asks for that).

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

loss, best = evaluate(model, batches, batch_size=64)["loss"], best_loss(batches)
print(f"on new scenes and voices: {loss:.2f} nats; guessing 4.16, the best {best:.2f}")

# %%
claim("on new scenes the loss is nearer to the best than to guessing", loss < (4.16 + best) / 2, f"{loss:.2f}")
claim("it is not below the best", loss > best, f"{loss:.2f}")

# %% [markdown]
# One scene, and four voices of the test: those that say one of its three digits, and one that says another digit.

# %% tags=["nbval-ignore-output"]
maps, heard = predict(model, test), test.tensors["said_label"]
k = 18  # a scene of three digits; try others, such as 0
there = [thing.digit for thing in test.objects[k]]
absent = min({*range(10)} - {*there})
voices = [int((heard == digit).nonzero()[0]) for digit in (*there, absent)]
asked = {"scene": test.tensors["scene"][[k] * 4], "spoken": test.tensors["spoken"][voices]}
cosine = dict(zip([WORDS[digit] for digit in (*there, absent)], predict(model, asked), strict=True))

# %% [markdown]
# **Choose what the voice says**, and say beforehand where the map will be light. A white frame is around the region of the largest
# cosine. The last digit is not there. (For this scene all is right. Scene 0 shows how it goes wrong.)


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
alts = {
    word: f"The scene, and where it is similar to “{word}”; largest cosine {m.max():.2f}." for word, m in cosine.items()
}
frames({word: drawn(m) for word, m in cosine.items()}, alts, "the voice says")

# %% [markdown]
# ## Does it point, and does it listen?
#
# First a test: does it point elsewhere if each picture gets the sound of another scene? That shows whether it listens, not how well.
# For that, compare with an answer that ignores the sound. What the sound adds, as a share of what it could add, is
#
# $$\frac{\text{right} - \text{right without the sound}}{1 - \text{right without the sound}}.$$
#
# There are two such answers: one object of each scene, which is right with $1/n$; and the network's own map, averaged over all sounds.

# %% tags=["nbval-ignore-output"]
own, finds = map_pointing(maps, test), map_pointing(maps, test, every=True)
other = predict(model, {"scene": test.tensors["scene"], "spoken": test.tensors["spoken"].roll(1, 0)})
with torch.no_grad():
    v, h = model.eval().embed(test[:])
averaged = (v @ h.mean(0)).cpu()  # the mean of v · h over all h
deaf = {"one of the objects": 1 / count, "its own averaged map": map_pointing(averaged, test)}
print(f"points at the speaker {own.mean():.2f}, with the sound of another scene {map_pointing(other, test).mean():.2f}")
print(f"points at some object {finds.mean():.2f}; of these at the speaker {own[finds].mean():.2f}")
ear = {name: hearing(own, right) for name, right in deaf.items()}
for name, right in deaf.items():
    print(f"{name}: right {right.mean():.2f}; of what listening could add, the network gains {ear[name]:.2f}")

# %%
claim(
    "it points at the speaker twice as often as a region at random, and as the centre",
    own.mean() > 2 * max(without["a region at random"], without["the centre"]),
    f"{own.mean():.2f}, {without}",
)
several = (count > 1).numpy()
chance = (1 / count[several]).mean().item()
claim(
    "in scenes of two or three it is right 1.5 times as often as an answer that ignores the sound",
    own[several].mean() > 1.5 * chance,
    f"{own[several].mean():.2f}, {chance:.2f}",
)
claim("it gains more than half of what listening could add", min(ear.values()) > 1 / 2, str(ear))

# %% [markdown]
# ## The pooling decides whether it points
#
# The same network with the maximum, on the same scenes of one object. And for comparison the network that you have trained: one
# copy goes on with the maximum, one as before. **Before you run it:** which of them will point?

# %% tags=["nbval-ignore-output"]
from copy import deepcopy

seed_everything(0)
scratch, goes_on, as_before = network(Max()), deepcopy(model), deepcopy(model)
goes_on.pooling = Max()
fit(scratch, single, epochs=epochs[0], batch_size=batch_size, lr=lr, schedule="one-cycle")
for of in (goes_on, as_before):
    fit(of, train, epochs=1, batch_size=batch_size, lr=lr / 3, schedule="one-cycle")
hits = {"maximum from the start": scratch, "maximum afterwards": goes_on, "log-sum-exp": as_before}
hits = {name: map_pointing(predict(of, test), test).mean() for name, of in hits.items()}
print("points at the speaker:", ", ".join(f"{name} {x:.2f}" for name, x in hits.items()))

# %%
low = hits["maximum from the start"]
claim(
    "with the maximum from the start it points no better than a region at random",
    low < without["a region at random"],
    str(hits),
)
gap = abs(hits["maximum afterwards"] - hits["log-sum-exp"])
claim("begun with log-sum-exp, the maximum points as well, within 10 points", gap < 0.1, str(hits))

# %% [markdown]
# So the maximum can express the answer. With these settings it does not find it, not in three times as many epochs either: with each of five seeds its loss is still that of guessing, log 64. A likely reason is that its gradient goes through one region of each
# picture and sound, at first an arbitrary one. EZ-VSL uses it with an image encoder that was trained on ImageNet; Arandjelović and
# Zisserman use it without, but with another loss, yes or no for each pair, and with far more data.
#
# ## What do the tables of this field measure?
#
# Benchmarks compare the part of a map above a threshold with a box around the object, by intersection over union (IoU). Two numbers
# are reported: the share of pictures with an IoU of at least one half ("cIoU", for *consensus*, since several people drew boxes),
# and the area under that share as a function of the bound ("AUC"), which is the mean IoU. (Programs sum it in 20 steps.) Which threshold?
# Those of Chen and of EZ-VSL take the *median* of each map: then the answer covers half the picture, whatever was learned.
#
# For comparison: the true box, as a map of $8 \times 8$ regions.

# %% tags=["nbval-ignore-output"]
masks, u = speaker_masks(test), torch.linspace(0, 1, 21)  # boxes
truth = torch.from_numpy(masks).double().view(1000, 8, 8, 8, 8).mean((2, 4))
share = {
    name: [map_overlap(m, masks, float(x)).half for x in u] for name, m in (("this map", maps), ("the true box", truth))
}
show(
    curves(u, share, "A map that points well can have a small IoU", "threshold", "share of pictures with IoU ≥ ½"),
    f"Over the threshold: the true box reaches {max(share['the true box']):.2f}, this map at most {max(share['this map']):.2f}.",
)
overlap = map_overlap(maps, masks)
print(f"this map: pointing {own.mean():.2f}, mean IoU at threshold .5 {overlap.auc:.2f}")

# %%
area = torch.tensor([(torch.from_numpy(overlap.iou) >= x).double().mean() for x in torch.linspace(0, 1, 10_001)])
claim("the area under the curve is the mean IoU", abs(area.mean() - overlap.iou.mean()) < 1e-3, f"{area.mean():.3f}")
claim(
    "no threshold gives this map an IoU of one half in a third of the pictures",
    max(share["this map"]) < 1 / 3,
    str(share),
)

# %% [markdown]
# It points at what identifies a digit, one or two regions, and not at the digit's extent. A bad answer can also have a good IoU. If the
# object fills a share $s$ of the picture, the whole picture has IoU $s$. And an answer of half the picture has at most
# $\min(s, \frac12) / \max(s, \frac12)$: at the median no map, however good, is counted as right for an object that fills less than a
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
# at $k$ checkpoints and reports the one that is best on the annotated test pictures reports luck as well. The Flickr test set has
# 250 pictures:

# %%
seed_everything(0)
right = torch.rand(2000, 20, 250) < 0.8  # 20 checkpoints that are all equally good, 250 pictures, 2,000 times
best = right.double().mean(2).amax(1).mean().item()
print(f"each is right for .80; the best of twenty looks like {best:.3f}")
claim("the best of twenty equal checkpoints looks 4 to 5 points better", 0.04 < best - 0.8 < 0.05, f"{best:.4f}")

# %% [markdown]
# (The twenty are drawn independently. Checkpoints of one run resemble each other, so there it is less.)
#
# ## What breaks
#
# **Twins.** Two objects show the same digit. Which of them speaks cannot be heard, so no model can be right for more than one half:

# %% tags=["nbval-ignore-output"]
pair = speak(twins("test", n=1000), "test")
of_pair = predict(model, pair)
either = map_pointing(of_pair, pair, every=True)
speaker = map_pointing(of_pair, pair)[either]
print(f"at one of the two {either.mean():.2f}; of these at the speaker {speaker.mean():.2f}")

# %%
off = abs(speaker.mean() - 0.5)  # the standard error is below .02
claim("of two twins it points at the speaker half of the time, within 6 points", off < 0.06, f"{speaker.mean():.3f}")
claim("it points at one of the two in most scenes", either.mean() > 0.8, f"{either.mean():.2f}")

# %% [markdown]
# **Nobody speaks, or someone elsewhere.** The largest value of a map is somewhere, even where nothing speaks. If each map is scaled to
# 0 to 1, as many programs do, this is hidden. The pooled map $S$ says how well sound and picture fit. Choose a threshold with voices
# that say a digit which the picture does not show, so that one in twenty is a false alarm; then test on others, and on noise alone:


# %% tags=["nbval-ignore-output"]
def told_apart(high, low):
    """How often the first is larger than the second: the area under the ROC curve."""
    return (high[:, None] > low).double().mean().item()


valid = scenes("valid", n=1000, seed=1)
model.eval().calibrate({m: speak(valid, "valid", says="other").tensors[m] for m in ("scene", "spoken")})
nothing, elsewhere = (predict(model, speak(shown, "test", says=what)) for what in ("nothing", "other"))
fits = {name: model.pooling(x) for name, x in (("speaker", maps), ("noise", nothing), ("elsewhere", elsewhere))}
for name, x in fits.items():
    print(f"{name:9} fits {x.mean():.2f}, above the threshold {(x > model.threshold.cpu()).double().mean():.2f}")

# %%
auc = {name: told_apart(fits["speaker"], fits[name]) for name in ("noise", "elsewhere")}
claim("a speaker is told from noise alone", auc["noise"] > 0.75, str(auc))
claim("a speaker in the picture is told from one elsewhere", auc["elsewhere"] > 0.85, str(auc))
alarms = (fits["elsewhere"] > model.threshold.cpu()).double().mean().item()
claim("with new voices and pictures there are still few false alarms", alarms < 0.1, f"{alarms:.2f}")

# %% [markdown]
# The area for noise says little: six untrained networks had .31 to .88, by chance of their weights, for noise and voices give other
# vectors in any case. For voices from elsewhere all six had .48 to .52. Noise alone was never trained, and the threshold lets through
# more of it than it was set for: a threshold holds for the negatives with which it was chosen. (A silent room is noise here, too,
# since a log-mel spectrogram is relative to the loudest value of its clip.)
#
# ## What five seeds say
#
# `python -m experiments.localisation` trains eighteen models with five seeds, each with scenes of its own: 8,000 of one object, then
# 8,000 of one to three. An answer that ignores the sound is right for .64.

# %% tags=["hide-input"]
from mmtutor.plotting import verdicts
from mmtutor.results import measured

claims = [
    "Learned from matching alone",
    "It gains more than half",
    "Twice the epochs",
    "Log-sum-exp points better than attention",
    "Log-sum-exp points better than the mean",
    "Log-sum-exp points better than the maximum",
    "8 × 8 regions point better",
    "Who is shown where",
    "Trained on synthetic voices",
    "Trained on the voices of four people",
]
verdicts(measured("localisation"), claims)

# %% [markdown]
# **Pooling.** Log-sum-exp points at the speaker in .90 of the scenes. So does attention in four of five runs (.83 to .91); the fifth never begins
# (.10), as one of five with a sharpness of 40. The mean matches well, it tells a voice from elsewhere for .85 (log-sum-exp .95), but
# points in .61 only: a good match does not show where it comes from. The maximum points in .03 from the start and in .89 after
# log-sum-exp, positive regions in .32 and .90.
#
# **Grid.** $4 \times 4$ regions point in .70, $16 \times 16$ in .93; their mean IoU is .20 and .19, that of $8 \times 8$ .21.
#
# **Longer.** Twice the epochs point in .83, with a worse loss on new scenes (5.1 after 3.4; the best is 2.5): the scenes are learned
# by heart. Scenes of one to three from the start give .89: what single objects win in the beginning is nothing in the end. Batches of
# 16 in place of 64 give .91 after as many updates.
#
# **Shown the place.** A network that is shown the speaker's regions is no better (.88). With the sounds of other scenes it learns nothing (.08,
# untrained .14).
#
# **People's voices.** With the Free Spoken Digit Dataset it points in .62; trained on four of its people and tested on two others
# in .81.
#
# ## What to remember
#
# - Matching pictures and sounds can be enough to find what makes a sound. Test it, for the loss does not ask for it.
# - The pooling decides which regions learn. The maximum moves one region only; here it did not learn without a good start.
# - Say how often an answer is right that ignores the sound: for $n$ objects $1/n$. Swapped sounds show that a model listens, not how well.
# - IoU depends on the threshold and on how large objects are. At the median the answer is half the picture.
# - A map has a largest value if nobody speaks, too. Look at unscaled values, and test on noise and on voices from elsewhere.
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
