# %% [markdown]
# # Words, voice and face
#
# "The lunch menu felt simply painful." Was that meant? The voice may tell, and the face. In this chapter a network reads
# short monologues of three modalities, and you hold it against the exact truth: how much each modality can tell at best, and at
# which moment it tells it.

# %% tags=["hide-input"]
import torch
from torch import nn

from mmtutor.data import information, monologues
from mmtutor.plotting import bars, shares, show
from mmtutor.training import budget, claim, fit, seed_everything

n, epochs = budget(quick=(4000, 9), full=(16000, 20))
features = {"language": 32, "acoustic": 12, "visual": 16}
train, valid, test = monologues("train", n), monologues("valid", 1000), monologues("test", 2000)

# %% tags=["hide-input"]
k = 0
steps = slice(20 - int(test[k]["length"]), 20)
events = {modality: test.events[modality][k, steps] for modality in features}
show(
    shares(test.sentences[k], {s: e.double() for s, e in events.items()}, events, "Where each modality says something"),
    f"The sentence '{' '.join(test.sentences[k])}' with a row for each modality; a few steps are marked: "
    + "; ".join(f"{s} at step {', '.join(map(str, e.nonzero().flatten().tolist()))}" for s, e in events.items()),
)

# %% [markdown]
# These monologues are made, so that their truth is known. Someone is for something ($y = 1$) or against it, and is ironic
# three times in ten. The **words** say the opposite when ironic. The **voice** rises or falls with $y$, wrongly in 35 of
# 100 cases, and creaks when ironic (wrong in 10). The **face** smiles or frowns with $y$, wrongly in 25. Each happens at a
# step of its own; all else is noise and style. From these numbers follows, by counting all cases, how often the best
# possible reader is right:

# %%
for names in (["language"], ["acoustic"], ["visual"], ["language", "acoustic"], list(features)):
    bits, best = information(names)
    print(f"{' + '.join(names):30} {bits:.3f} bit about y, right {best:.1%} at best")

# %% [markdown]
# Words and voice together know far more than both apart: the creak tells how to take the words. This is *synergy*. A model
# that adds up what each modality says by itself cannot use all of it.
#
# ## The Memory Fusion Network
#
# MFN (Zadeh and others, 2018) reads each modality with an LSTM of its own and watches all their memories $c_t$ together. What
# changes *at the same moment* in several modalities goes into a common memory $u_t$:
#
# $$\begin{aligned}
# c^*_t &= [c_{t-1}; c_t] \\
# \hat c_t &= \mathrm{softmax}(\mathrm{NN}_a(c^*_t)) \odot c^*_t \\
# u_t &= \gamma_1 \odot u_{t-1} + \gamma_2 \odot \tanh(\mathrm{NN}_u(\hat c_t)).
# \end{aligned}$$
#
# $c_t$ stands for the memories of all modalities side by side, $\odot$ multiplies number by number, and the gates
# $\gamma_1, \gamma_2$ between 0 and 1 are made from $\hat c_t$ and $u_{t-1}$, as in the released code. One step by hand:

# %%
from mmtutor.mfm import MFN, hsic, saliency, sensitivity, sequence_mfm

seed_everything(0)
mfn = MFN({"words": 4, "voice": 2}, hidden=3, memory=5).double()
x = {"words": torch.randn(1, 1, 4).double(), "voice": torch.randn(1, 1, 2).double()}
states = {modality: cell(x[modality][:, 0]) for modality, cell in mfn.lstms.items()}  # h and c after one step
c = torch.cat([c for _, c in states.values()], 1)
both = torch.cat([torch.zeros_like(c), c], 1)  # before the first step all memories are zero
seen = mfn.attention(both).softmax(1) * both
gates = mfn.gates(torch.cat([seen, torch.zeros(1, 5).double()], 1)).relu()[:, mfn.keep.in_features :]
u = mfn.write(gates).sigmoid() * mfn.propose(seen).tanh()  # γ₁ keeps nothing yet
by_hand = torch.cat([*(h for h, _ in states.values()), u], 1)
gap = (by_hand - mfn(x)).abs().max()
claim("one step by hand equals the library's", gap < 1e-12, f"gap {gap}")

# %% [markdown]
# ## Padding that is read
#
# Sentences have 8 to 20 words, and the files are filled up with zeros *at the front*. The released code reads these zeros.
# They are no news, and still move the memories before the first word comes. Compare a sentence in its padding with the
# same sentence alone:

# %%
short = test[(test[:]["length"] == 10).nonzero()[:, 0]]
alone = {name: x[:, 10:] if name in features else x for name, x in short.items()}
change = {}
for padding in ("read", "skip"):
    seed_everything(0)
    mfn = MFN(features, hidden=32, memory=32, padding=padding)
    with torch.no_grad():
        change[padding] = float((mfn(short) - mfn(alone)).norm() / mfn(alone).norm())
print(f"reading the padding changes the output by {change['read']:.1%}, skipping it by {change['skip']:.1%}")
claim("reading the padding changes what is said of a sentence", change["read"] > 1e-3, str(change))
claim("starting at the first word mends it", change["skip"] < 1e-5, str(change))

# %% [markdown]
# The change is small in this network, whose weights are still random. What it does after training is in the table below.

# %% [markdown]
# ## Training
#
# The model is the factorized one of [the last chapter](08_mfm_images.ipynb) with MFN as the encoder of $Z_y$, and LSTMs that read and write the
# modalities. Beside it stands late fusion: one LSTM a modality, whose scores are added up.

# %% tags=["nbval-ignore-output"]
from mmtutor.metrics import correct
from mmtutor.mfm import LSTMEncoder

recipe = dict(epochs=epochs, lr=3e-3, schedule="one-cycle", clip_norm=1.0, patience=6)


class Added(nn.Module):
    def __init__(self):
        super().__init__()
        self.readers = nn.ModuleList(LSTMEncoder(modality, d, 32) for modality, d in features.items())
        self.scores = nn.ModuleList(nn.Sequential(nn.Dropout(0.2), nn.Linear(32, 2)) for _ in features)

    def forward(self, batch):
        return sum(score(reader(batch)) for score, reader in zip(self.scores, self.readers, strict=True))

    def loss(self, batch):
        return {"loss": nn.functional.cross_entropy(self(batch), batch["label"])}


# %% tags=["nbval-ignore-output"]
seed_everything(0)
added = Added()
fit(added, train, valid, **recipe)
seed_everything(0)
sizes = dict(hidden=32, memory=32, attend=32, z=16, f=16)
model = sequence_mfm(features, 20, 2, dropout=0.2, **sizes)
fit(model, train, valid, monitor="label", **recipe)
right = {"MFM": correct(model, test).mean(), "scores added up": correct(added, test).mean()}

# %% tags=["nbval-ignore-output"]
values = right | {
    "best modality alone, exact": information(["visual"]).accuracy,
    "all modalities, exact": information().accuracy,
}
values = {name: float(value) for name, value in values.items()}
show(
    bars(values, "MFM comes close to the best possible", "share of monologues read rightly"),
    "Shares of monologues read rightly: " + ", ".join(f"{k} {v:.3f}" for k, v in values.items()) + ".",
)

# %%
claim(
    "MFM reads better than any reader of one modality can",
    right["MFM"] > information(["visual"]).accuracy + 0.03,
    str(right),
)
claim("and better than scores added up", right["MFM"] > right["scores added up"] + 0.03, str(right))

# %% [markdown]
# ## A modality is missing
#
# A *surrogate* learns to infer the label's code and the code of the missing modality from the others. Without it, one would
# feed zeros to a network that has never seen any:

# %% tags=["nbval-ignore-output"]
from mmtutor.mfm import Surrogate

seed_everything(0)
encoder = MFN({s: d for s, d in features.items() if s != "language"}, hidden=32, memory=32, dropout=0.2)
surrogate = Surrogate(model, "language", encoder, encoder.size)
fit(surrogate, train, valid, **recipe)
silent = test[:]
with torch.no_grad():
    zeros = model.eval()(silent | {"language": torch.zeros_like(silent["language"])}).argmax(1)
    inferred = surrogate.eval()(silent).argmax(1)
without = {
    name: float((x == silent["label"]).double().mean()) for name, x in (("zeros", zeros), ("surrogate", inferred))
}
best = information(["acoustic", "visual"]).accuracy
print(f"without words: zeros {without['zeros']:.3f}, surrogate {without['surrogate']:.3f}, best possible {best:.3f}")

# %%
claim("without words the surrogate reads better than zeros in their place", without["surrogate"] > without["zeros"])
claim("and no better than the exact limit, but for chance", without["surrogate"] < best + 0.03, str(without))

# %% [markdown]
# **Why are voice and face easier to make again than words?** Here is the error of each modality, as a share of what guessing the
# mean would leave:

# %% tags=["nbval-ignore-output"]
with torch.no_grad():
    made = model.generate(model.infer(silent))
real = torch.arange(20) >= 20 - silent["length"].unsqueeze(1)
for modality in features:
    x = silent[modality][real]
    left = (made[modality][real] - x).square().mean() / (x - x.mean(0)).square().mean()
    print(f"{modality:9} {left:.2f} of the variance is left")

# %% [markdown]
# A voice keeps its pitch and a face its brightness: a few numbers in the code settle a part of *every* step. Each *word* is
# news. A sentence of 14 words from a vocabulary of hundreds is not put into 32 numbers here by a small
# LSTM, and the mean of several word vectors is no word. It is not that language has more meaning; its steps are less
# predictable from each other. The paper's features are alike in this: spectra and facial muscles against GloVe vectors.
#
# ## Which modality does the label hang on?
#
# The paper asks this by $r_i = \mathrm{MI}(F_y, \hat X_i) / \mathrm{MI}(F_{ai}, \hat X_i)$: does the label's factor or the style
# decide what is made? Mutual information of such variables is hard to estimate; `hsic` is another measure of dependence. We
# can put the exact information beside it:

# %% tags=["nbval-ignore-output"]
with torch.no_grad():
    codes = model.infer(test[:1000])
    factors = model.factors(codes)
    made = model.decode(factors)
for modality in features:
    r = hsic(factors["label"], made[modality]) / hsic(factors[modality], made[modality])
    print(f"{modality:9} r {r:.3f}, exact {information([modality]).bits:.3f} bit")

# %% [markdown]
# ## And at which moment?
#
# The paper's second method follows the gradient of what is *made* at step $t$, $\hat x^t$, for $F_y$. One can also multiply
# it by $F_y$, which asks how much of $\hat x^t$ hangs on what is in $F_y$ now. We add the other direction: the gradient of the
# log-probability of the predicted label for what was *read* at step $t$, alone and times the input. Here is how much larger
# each is at the known events than elsewhere, and how often its largest step is one:

# %% tags=["nbval-ignore-output"]
some, first = {name: code[:500] for name, code in codes.items()}, test[:500]
ways = {}
for times, plus in ((False, ""), (True, " × input")):
    ways[f"made{plus}"] = {s: sensitivity(model, some, s, times_input=times) for s in features}
    ways[f"read{plus}"] = {s: saliency(model, first, s, times_input=times) for s in features}
ways["size of the input"] = {s: first[s].norm(dim=2) for s in features}
hits, chance = {}, {}
for name, way in ways.items():
    for modality, g in way.items():
        event, there = test.events[modality][:500], real[:500]
        largest = g.masked_fill(~there, -1).argmax(1)
        hits[name, modality] = float(event[torch.arange(500), largest].double().mean())
        chance[modality] = float((event.sum(1) / there.sum(1)).mean())
        ratio = g[event].mean() / g[there & ~event].mean()
        print(
            f"{name:17} {modality:9} {ratio:.2f} times, hits {hits[name, modality]:.2f}, chance {chance[modality]:.2f}"
        )

# %%
better = hits["read × input", "acoustic"] > 1.25 * chance["acoustic"]
claim("gradient × input of what is read hits the events of the voice more often than chance", better, str(hits))
blind = abs(hits["size of the input", "acoustic"] / chance["acoustic"] - 1) < 0.2
claim("the size of the input does not", blind, str(hits))

# %% tags=["nbval-ignore-output"]
show(
    shares(
        test.sentences[k], {s: g[k, steps] for s, g in ways["read × input"].items()}, events, "What decided the label"
    ),
    "The same sentence. The darker a step, the more its input moves the prediction; framed steps are where something was "
    "really said.",
)

# %% [markdown]
# The paper's gradient tells *how the decoder uses* $F_y$. A decoder that does not know at which step this speaker smiled
# cannot show it there; it shows where smiles are on average. The other direction starts from this very sentence. Even there
# the bare gradient tells where a change *would* matter most, which is rarely where something happened: breath and gaze move
# as strongly as voice and face, only elsewhere. Times the input it points at what did happen more often. The last lines are a
# check: the *size of the input* knows nothing of any label, and finds no more than chance does. Were the events simply the
# largest inputs, it would find them all, and no gradient would be needed.
#
# ## What five seeds say
#
# This table was made by `python -m experiments.mfm_sequences`, with five seeds. The six ablations, M_A to MFM, were trained on
# 1,500 monologues, about as many as CMU-MOSI has, all else on 4,000. It is loaded here, not computed; the
# [page of claims](../claims.md) has all figures. A line that begins with … goes on with the one above it.

# %%
import json
from pathlib import Path

here = Path.cwd() if Path("docs").exists() else Path.cwd().parent
for row in json.loads((here / "docs/results/mfm_sequences.json").read_text())["rows"]:
    mean, low, high = row["difference"]
    print(f"{row['claim']}:\n    {row['verdict']}, {mean:+.3f} [{low:+.3f}, {high:+.3f}]")

# %% [markdown]
# M_A has one factor for each modality and makes only the label, M_B one multimodal factor. M_C and M_D are the same two, and
# make the modalities again too. M_E adds one factor for all styles to M_D, MFM one for each modality.
#
# Read it slowly. MFN comes within two in a hundred of the exact optimum (0.90 of 0.91), and passes every reader that adds
# up (0.85 at best, 0.77 as trained). Of the paper's six orders one holds here, M_B > M_A: with a penalty for both, one
# multimodal factor predicts better than one for each modality. Without the penalty, as the paper has these two, the same
# difference is undecided, as are the other five orders. On 1,500 examples single runs differ by as much as the models do,
# and five seeds cannot tell more. One thing they do tell: where one factor must serve both, making the modalities again *costs*
# accuracy (M_D < M_B, by 0.11). A factor of their own for the styles wins this back: MFM has 0.85, as M_B. And it makes the
# modalities again with less error than M_D and M_E, as the paper says.
#
# Without a modality the surrogate predicts better than zeros do, and as well as a network trained only for that (Φ_D), close to
# the exact limits. It makes the missing modality again worse than a network trained only for that (Φ_G), and for voice and
# face even worse than the mean. Losing words or voice costs 16 in a hundred, exactly alike, as each is of no use without
# the other; losing the face costs one. Where words dominate, losing them costs 20, and nothing else more than 5.
#
# $r$ does not order the modalities as the exact information does, as it stands or with each HSIC normalised. It is not stable,
# and does not measure what a modality knows of the label. The paper's gradient is 4 in a hundred larger at the events of words
# than at the same step of other sentences, 2 for the face, and not for the voice: there is something, but no one would find
# an event by it. The input at which gradient × input is largest is an event of the voice in 63 of 100 sentences (39 by
# chance), the word that counts in 15 (8 by chance); for the face it is undecided. Reading the padding costs no accuracy here; with 20 more steps of it than in the files, between one and two
# predictions in a hundred change.
#
# ## Exercises
#
# 1. `monologues(..., dominant="language")` makes people ironic more rarely. Which modality does losing hurt most now?
# 2. Train with `variant="M_E"`. Are the modalities made again better or worse?
# 3. Give `sequence_mfm` the option `penalty="kl"`. What happens to `r` of each modality?
# 4. Read CMU-MOSI with `mmtutor.data.mosi`, and use `mmtutor.mfm.ORIGINAL` for the sizes of the released code.
#
# ## Where to read on
#
# - Y.-H. H. Tsai and others (2019), Learning factorized multimodal representations, arXiv:1806.06176.
# - A. Zadeh and others (2018), Memory fusion network for multi-view sequential learning, arXiv:1802.00927.
# - A. Gretton and others (2005), Measuring statistical dependence with Hilbert-Schmidt norms.
# - The library behind this chapter: `mmtutor.mfm.MFN`, `mmtutor.mfm.sequence_mfm`, `mmtutor.mfm.Surrogate`,
#   `mmtutor.mfm.sensitivity`, `mmtutor.mfm.saliency`, `mmtutor.data.monologues`.
