# %% [markdown]
# # 9 · Factorised representations, sequences: MFN and MFM
#
# "The lunch menu felt simply painful." Is this meant seriously? The voice may tell, and so may the face. In this chapter a
# network reads short monologues of three modalities: language, voice (acoustic) and face (visual). You compare it with the
# exact truth: how much information each modality has about the label, and at which time step.
#
# > **You learn** to use what two modalities tell only together, to do without one, and to ask a trained model what
# > mattered.
# >
# > **You need** [chapter 8](08_mfm_images.ipynb), the parts of information of [chapter 1](01_digit_world.ipynb), what an
# > LSTM is.
# >
# > **It takes** 25 minutes to read, 2 to run on a CPU.
# >
# > **Papers** [MFN](https://arxiv.org/abs/1802.00927), [MFM](https://arxiv.org/abs/1806.06176).

# %% tags=["hide-input"]
import torch
from torch import nn

from mmtutor.data import information, monologues
from mmtutor.plotting import bars, sentence_heatmap, show
from mmtutor.training import budget, claim, fit, seed_everything

n, epochs, batch_size, lr = budget(quick=(4000, 9, 64, 3e-3), full=(16000, 20, 256, 6e-3))
features = {"language": 32, "acoustic": 12, "visual": 16}
train, valid, test = monologues("train", n), monologues("valid", 1000), monologues("test", 2000)

# %% tags=["hide-input"]
k = 0
steps = slice(20 - int(test[k]["length"]), 20)
events = {m: test.events[m][k, steps] for m in features}
show(
    sentence_heatmap(test.sentences[k], {m: e.double() for m, e in events.items()}, events, "The events of a sentence"),
    f"The sentence '{' '.join(test.sentences[k])}' with a row for each modality; a few steps are marked: "
    + "; ".join(f"{m} at step {', '.join(map(str, e.nonzero().flatten().tolist()))}" for m, e in events.items()),
)

# %% [markdown]
# These monologues are synthetic, so that their truth is known. A speaker likes something ($y = 1$) or dislikes it, and is
# ironic with probability 0.3. The **words** say the opposite if the speaker is ironic. The **voice** rises for $y = 1$ and
# falls for $y = 0$, but is wrong with probability 0.35. It also creaks if the speaker is ironic, and is wrong about this
# with probability 0.1. The **face** smiles or frowns, and is wrong with probability 0.25. Each of these *events* has a time
# of its own, one to three steps; all else is noise and style. These numbers determine the mutual information with $y$ and
# the accuracy of the best possible classifier:

# %%
for names in (["language"], ["acoustic"], ["visual"], ["language", "acoustic"], list(features)):
    bits, best = information(names)
    print(f"{' + '.join(names):30} {bits:.3f} bit about y, accuracy at best {best:.1%}")

# %% [markdown]
# Language and voice together have far more information than the sum of both: the creak tells whether to trust the words.
# This is *synergy*. In the parts of [chapter 1](01_digit_world.ipynb), language and voice together tell 0.60 bit: 0.48 are
# synergy, 0.07 redundancy, and 0.05 unique to language. *Additive* late fusion adds up one score for each modality, and so
# cannot use all of it.
#
# The figure shows the best possible accuracies for other probabilities of irony, all exact. **Before you move it:** if half
# of all speakers are ironic, what do the words alone tell, and what do words and voice tell together?

# %% tags=["nbval-ignore-output", "hide-input"]
from mmtutor.data.monologue import additive_accuracy
from mmtutor.plotting import frames

readers = {"language": ["language"], "acoustic": ["acoustic"], "visual": ["visual"]}
readers |= {"language + acoustic": ["language", "acoustic"], "all three": [*features]}
best_of = {
    p: {name: information(of, irony=p).accuracy for name, of in readers.items()}
    | {"all three, additive fusion": additive_accuracy(irony=p)}
    for p in (0.0, 0.1, 0.3, 0.5)
}
drawn = {f"{p:.0%}": bars(best, "The best possible accuracy", "accuracy", chance=0.5) for p, best in best_of.items()}
for figure in drawn.values():
    figure.axes[0].set_xlim(0, 1.15)
alts = {f"{p:.0%}": "Best: " + ", ".join(f"{k} {v:.3f}" for k, v in best.items()) + "." for p, best in best_of.items()}
frames(drawn, alts, "probability that the speaker is ironic", "30%")

# %%
lost = [best["all three"] - best["all three, additive fusion"] for best in best_of.values()]
claim("the more irony, the more additive fusion loses", lost == sorted(lost) and lost[-1] > 0.05, str(lost))

# %% [markdown]
# With half of the speakers ironic, the words alone tell nothing. Yet words and voice together reach 0.900, while additive
# fusion of all three reaches 0.810 at best.
#
# ## The Memory Fusion Network (MFN)
#
# MFN (Zadeh and others, 2018) reads each modality with an LSTM of its own and observes the cell states $c_t$ of all of them
# together. From what they keep, and from what changes at this step, it writes a common memory $u_t$:
#
# $$\begin{aligned}
# c^*_t &= [c_{t-1}; c_t] \\
# \hat c_t &= \mathrm{softmax}(\mathrm{NN}_a(c^*_t)) \odot c^*_t \\
# u_t &= \gamma_1 \odot u_{t-1} + \gamma_2 \odot \tanh(\mathrm{NN}_u(\hat c_t)).
# \end{aligned}$$
#
# Here $c_t$ contains the cell states of all modalities side by side, $\mathrm{NN}_a$ and $\mathrm{NN}_u$ are small networks,
# and $\odot$ is the element-wise product. The gates $\gamma_1, \gamma_2$ between 0 and 1 are computed from $\hat c_t$ and
# $u_{t-1}$, as in the released code. The softmax is an attention over the elements of $c^*_t$. The figure shows one step of
# two modalities, with $h$ cells for each and a memory of $m$ numbers:

# %% tags=["hide-input"]
from mmtutor.plotting import mfn_diagram

show(
    mfn_diagram(),
    "An LSTM for each modality; their cells before and after the step; attention over them; from it a proposal and two "
    "gates, which also see the memory before; and the new memory, the old one and the proposal, each through its gate.",
)

# %% [markdown]
# Here is the same step by hand. In the code `attention` is $\mathrm{NN}_a$ and `propose` $\mathrm{NN}_u$; `gates` is one layer whose first half `keep`
# turns into $\gamma_1$ and whose second half `write` turns into $\gamma_2$. The output is the last $h$ of each LSTM, and $u$:

# %%
from mmtutor.mfm import MFN, hsic, saliency, sensitivity, sequence_mfm

seed_everything(0)
mfn = MFN({"words": 4, "voice": 2}, hidden=3, memory=5).double()
x = {"words": torch.randn(1, 1, 4).double(), "voice": torch.randn(1, 1, 2).double()}
states = {modality: cell(x[modality][:, 0]) for modality, cell in mfn.lstms.items()}  # h and c after one step
c = torch.cat([c for _, c in states.values()], 1)
c_star = torch.cat([torch.zeros_like(c), c], 1)  # before the first step all cell states are zero
c_hat = mfn.attention(c_star).softmax(1) * c_star
gates = mfn.gates(torch.cat([c_hat, torch.zeros(1, 5).double()], 1)).relu()[:, mfn.keep.in_features :]
u = mfn.write(gates).sigmoid() * mfn.propose(c_hat).tanh()  # there is nothing yet that γ₁ could keep
by_hand = torch.cat([*(h for h, _ in states.values()), u], 1)
gap = (by_hand - mfn(x)).abs().max()
claim("one step by hand equals the library's", gap < 1e-12, f"gap {gap}")

# %% [markdown]
# ## Padding
#
# Sentences have 8 to 20 words, and shorter ones are padded with zeros *at the front*. The released code reads these zeros.
# They carry no information, and still change the memories before the first word comes. Compare a padded sentence with the
# same sentence alone:

# %%
short = test[(test[:]["length"] == 10).nonzero()[:, 0]]
alone = {name: x[:, 10:] if name in features else x for name, x in short.items()}
change = {}
for name, skip_padding in (("padding read", False), ("padding skipped", True)):
    seed_everything(0)
    mfn = MFN(features, hidden=32, memory=32, skip_padding=skip_padding)
    with torch.no_grad():
        change[name] = float((mfn(short) - mfn(alone)).norm() / mfn(alone).norm())
    print(f"{name:15} the output differs by {change[name]:.1%} from that of the sentence alone")
claim("padding that is read changes the output", change["padding read"] > 1e-3, str(change))
claim("padding that is skipped does not", change["padding skipped"] < 1e-5, str(change))

# %% [markdown]
# The change is small in this network, whose weights are still random. After training (`experiments.mfm_sequences`, five
# seeds) it changes 1.5 % of the predictions on average, and no difference in accuracy can be seen.
#
# ## Training
#
# The model is the MFM of [chapter 8](08_mfm_images.ipynb) with MFN as the encoder of $Z_y$, and with LSTMs as the other
# encoders and as decoders. For comparison we train additive late fusion: an LSTM for each modality, whose scores are added
# up. **Before you run it:** does trained additive fusion reach the 0.851 that is possible for it?

# %% tags=["nbval-ignore-output"]
from mmtutor.metrics import correct
from mmtutor.mfm import LSTMEncoder

recipe = dict(epochs=epochs, batch_size=batch_size, lr=lr, schedule="one-cycle", clip_norm=1.0, patience=6)


class AdditiveFusion(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoders = nn.ModuleList(LSTMEncoder(modality, d, 32) for modality, d in features.items())
        self.heads = nn.ModuleList(nn.Sequential(nn.Dropout(0.2), nn.Linear(32, 2)) for _ in features)

    def forward(self, batch):
        return sum(head(encoder(batch)) for head, encoder in zip(self.heads, self.encoders, strict=True))

    def loss(self, batch):
        return {"loss": nn.functional.cross_entropy(self(batch), batch["label"])}


# %% tags=["nbval-ignore-output"]
seed_everything(0)
additive = AdditiveFusion()
fit(additive, train, valid, **recipe)
seed_everything(0)
sizes = dict(hidden=32, memory=32, attend=32, z=16, f=16)
model = sequence_mfm(features, 20, 2, dropout=0.2, **sizes)
fit(model, train, valid, monitor="label", mode="min", **recipe)
accuracy = {"MFM": correct(model, test).mean(), "additive late fusion": correct(additive, test).mean()}

# %% tags=["nbval-ignore-output"]
values = accuracy | {
    "best single modality, exact": information(["visual"]).accuracy,
    "all modalities, exact": information().accuracy,
}
values = {name: float(value) for name, value in values.items()}
show(
    bars(values, "MFM comes close to the best possible accuracy", "accuracy"),
    "Accuracies: " + ", ".join(f"{k} {v:.3f}" for k, v in values.items()) + ".",
)

# %%
best_single = information(["visual"]).accuracy
better = accuracy["MFM"] > best_single + 0.03
claim("MFM is more accurate than any classifier of one modality can be", better, str(accuracy))
claim("and than additive late fusion", accuracy["MFM"] > accuracy["additive late fusion"] + 0.03, str(accuracy))

# %% [markdown]
# Additive fusion does not reach 0.851. Training by cross-entropy looks for good probabilities, and the additive scores that are best
# at these have an accuracy of 0.785.
#
# ## Missing modalities: the surrogate
#
# A *surrogate* network learns to infer the latent codes of the label and of the missing modality from the other modalities.
# Without it, one would put zeros in place of the missing modality, which the network has never seen in training:

# %% tags=["nbval-ignore-output"]
from mmtutor.mfm import Surrogate

seed_everything(0)
encoder = MFN({m: d for m, d in features.items() if m != "language"}, hidden=32, memory=32, dropout=0.2)
surrogate = Surrogate(model, "language", encoder, encoder.size)
fit(surrogate, train, valid, **recipe)
batch = test[:]
with torch.no_grad():
    from_zeros = model.eval()(batch | {"language": torch.zeros_like(batch["language"])}).argmax(1).cpu()
    by_surrogate = surrogate.eval()(batch).argmax(1).cpu()
predicted = {"zeros": from_zeros, "surrogate": by_surrogate}
without = {name: float((label == batch["label"]).double().mean()) for name, label in predicted.items()}
best = information(["acoustic", "visual"]).accuracy
print(f"without language: zeros {without['zeros']:.3f}, surrogate {without['surrogate']:.3f}, best possible {best:.3f}")

# %%
claim("without language the surrogate predicts better than zeros", without["surrogate"] > without["zeros"])
claim("and not better than the exact limit, except by chance", without["surrogate"] < best + 0.03, str(without))

# %% [markdown]
# The surrogate is good at the label. At the modality itself it is not: its reconstruction of a missing voice or face is worse than
# the mean.
#
# **With nothing missing, which modality is hardest to reconstruct, and why?** Here is the reconstruction error of each modality, as a fraction of
# its variance:

# %% tags=["nbval-ignore-output"]
with torch.no_grad():
    outputs = model.generate(model.infer(batch))
real = torch.arange(20) >= 20 - batch["length"].unsqueeze(1)
for modality in features:
    x = batch[modality][real]
    left = (outputs[modality].cpu()[real] - x).square().mean() / (x - x.mean(0)).square().mean()
    print(f"{modality:9} {left:.2f} of the variance is not reconstructed")

# %% [markdown]
# It is language. A voice keeps its pitch and a face its brightness: a few numbers of the latent code explain a part of
# *every* step. Each *word* is new. A small LSTM cannot put a sentence of 14 words from a vocabulary of 151 into 32
# numbers, and the mean of several word vectors is not a word. Language does not have more meaning; its steps are less
# predictable from each other. The paper's features are similar in this respect: spectra and facial muscles for voice and
# face, and word vectors (GloVe) for language.
#
# ## Which modality does the label depend on?
#
# There are several answers to what a modality tells. *Alone* it has the information $I(Y; X_i)$. *Given the others* it adds
# $I(Y; X_i \mid X_{\text{rest}})$, which is what all tell minus what the others tell. A third answer is its *Shapley
# value*. Let the modalities come one after the other: the Shapley value is what a modality adds to those before it,
# averaged over all orders (here it lies between the other two, but it need not). Shapley values sum up to the information of all. All three answers are known exactly here:

# %%
from itertools import permutations


def bits(names):
    return information(names).bits


exact = {}
for m in features:
    rest = [other for other in features if other != m]
    before = [order[: order.index(m)] for order in permutations(features)]
    shapley = sum(bits([*names, m]) - bits(names) for names in before) / len(before)
    exact[m] = bits([m]), bits(list(features)) - bits(rest), shapley
    print(f"{m:9} alone {exact[m][0]:.3f}, given the others {exact[m][1]:.3f}, Shapley value {exact[m][2]:.3f} bit")
total = sum(values[2] for values in exact.values())
claim("Shapley values sum up to the information of all", abs(total - bits(list(features))) < 1e-9, str(total))

# %% [markdown]
# Alone, the face tells most. But language and voice add most to the others, since each is needed to interpret the other.
# **Before you run it:** which of these answers can a trained model show?
#
# The paper computes a ratio of mutual informations (MI), $r_i = \mathrm{MI}(F_y, \hat X_i) / \mathrm{MI}(F_{ai}, \hat X_i)$.
# It asks what determines the reconstruction $\hat X_i$: the factor of the label, $F_y$, or that of the style, $F_{ai}$. The
# mutual information of such variables is hard to estimate. We use another measure of dependence, the Hilbert-Schmidt
# independence criterion (HSIC). It asks whether examples that are similar in one variable are similar in the other, and
# is 0 if the two are independent:

# %% tags=["nbval-ignore-output"]
with torch.no_grad():
    latents = model.infer(test[:1000])
    factors = model.factors(latents)
    outputs = model.decode(factors)
r = {m: float(hsic(factors["label"], outputs[m]) / hsic(factors[m], outputs[m])) for m in features}
print("r: " + ", ".join(f"{m} {value:.3f}" for m, value in r.items()))

# %%
claim("r is largest for language, which adds most", r["language"] > max(r["acoustic"], r["visual"]), str(r))

# %% [markdown]
# Here $r$ is largest for the modality that adds most. Whether it is so *because* language adds most, this world cannot say: language is also the hardest to reconstruct. With five seeds $r$ does not rank
# all three like any of the three answers.
#
# ## Sensitivity and saliency: at which step?
#
# The paper's second method is the gradient of the *output* at step $t$, $\hat x^t$, with respect to $F_y$ (`sensitivity`).
# One can also multiply it by $F_y$, which asks how much of $\hat x^t$ depends on the value that $F_y$ has now. We add the
# other direction: the gradient of the log-probability of the predicted label with respect to the *input* at step $t$
# (`saliency`), alone and times the input. For each method we print two numbers: how many times larger it is at the known
# events than elsewhere, and how often its largest step is an event (a *hit*):

# %% tags=["nbval-ignore-output"]
first, first_latents = test[:500], {name: z[:500] for name, z in latents.items()}
methods = {}
for times, by_factor, by_input in ((False, "", ""), (True, " × F_y", " × input")):
    output_gradient = {m: sensitivity(model, first_latents, m, times_input=times) for m in features}
    input_gradient = {m: saliency(model, first, m, times_input=times) for m in features}
    methods |= {f"output gradient{by_factor}": output_gradient, f"input gradient{by_input}": input_gradient}
methods["size of the input"] = {m: first[m].norm(dim=2) for m in features}

# %% tags=["nbval-ignore-output"]
hits, chance = {}, {}
for name, method in methods.items():
    for m, g in method.items():
        g, event, there = g.cpu(), test.events[m][:500], real[:500]
        largest = g.masked_fill(~there, -1).argmax(1)
        hits[name, m] = float(event[torch.arange(500), largest].double().mean())
        chance[m] = float((event.sum(1) / there.sum(1)).mean())
        ratio = g[event].mean() / g[there & ~event].mean()
        print(f"{name:22} {m:9} {ratio:.2f} times, hits {hits[name, m]:.2f}, chance {chance[m]:.2f}")

# %%
better = hits["input gradient × input", "acoustic"] > 1.25 * chance["acoustic"]
claim("input gradient × input hits the events of the voice more often than chance", better, str(hits))
no_better = abs(hits["size of the input", "acoustic"] / chance["acoustic"] - 1) < 0.2
claim("the size of the input does not", no_better, str(hits))

# %% tags=["nbval-ignore-output"]
gradients = {m: g[k, steps] for m, g in methods["input gradient × input"].items()}
show(
    sentence_heatmap(test.sentences[k], gradients, events, "Which steps decide the label"),
    "The same sentence. The darker a step, the more its input changes the prediction; framed steps are the events.",
)

# %% [markdown]
# The paper's gradient shows *how the decoder uses* $F_y$. A decoder that does not know at which step this speaker smiled
# cannot show it there: its largest step for voice and face is an event less often than by chance. The other direction starts from this very sentence. But the
# gradient alone shows where a change *would* matter most, and this is rarely an event. Gradient × input finds the events
# of voice and words more often; for the face five seeds do not decide. In the figure each row has its own scale, and not every event is dark. The last lines that were printed are a check: for voice and face the *size of the input* finds events only by chance, since
# breath and gaze move as strongly at other steps; for words it finds few more. If the events were simply the largest inputs, it would find all of them,
# and no gradient would be needed.
#
# ## What several seeds say
#
# One run can be lucky. So `python -m experiments.mfm_ablations` trains the paper's ablations with twenty seeds, on 1,500
# monologues. This is about as many as there are in CMU-MOSI, a data set of videos in which people review films. **M_A** has
# one factor for each modality and only predicts the label; **M_B** does so with one multimodal factor. **M_D** is M_B that
# also reconstructs the modalities. **M_E** adds one factor for all styles, MFM one for each modality.
#
# Many runs see little more than the face and end near 0.75. Others *find the irony*: they learn what the creak of the voice
# means, and end between 0.80 and 0.90. A mean over **both groups** describes no single run, so we count the runs, too: one
# above 0.80 has found the irony. (Trained additive fusion does not get there, with 0.77; its exact optimum is 0.85.)

# %%
from mmtutor.plotting import verdicts
from mmtutor.results import measured

ablations = measured("mfm_ablations")
verdicts(ablations, ["M_B > M_A: ", "M_D > M_B: ", "M_E > M_D: ", "M_E > M_B: "])

# %% [markdown]
# One multimodal factor predicts better than one for each modality, and 8 runs find the irony instead of 2. (By these counts
# alone the test has p = 0.07, so the verdict rests on the means.) If this factor must reconstruct as well, hardly any run
# finds the irony. With a factor for the styles, most runs find it again. But why is M_E better than M_B, which reconstructs
# nothing? In the paper M_B has no penalty on the latent codes (the MMD of [chapter 8](08_mfm_images.ipynb)). *With* the
# penalty M_B finds the irony in 18 of 20 runs, M_E in 15. So it is the penalty that helps here, not the reconstruction.
#
# The other experiment, `python -m experiments.mfm_sequences`, has five seeds and 4,000 monologues:

# %%
sequences = [
    "The Memory Fusion Network predicts better than the exact optimum of additive",
    "The Memory Fusion Network comes within .02 of the exact optimum",
    "Without language: the surrogate predicts better than the model with zeros",
    "The ratio r = HSIC(F_y, X̂)/HSIC(F_a, X̂) is largest for language",
    "The step with the largest gradient × input is an event more often than by chance, acoustic",
]
verdicts(measured("mfm_sequences"), sequences)

# %% [markdown]
# Does $r$ say which modality matters? With the penalty it is largest for language with every seed, as in the paper. That is
# the modality that adds most, not the face, which tells most alone. Did the model learn to use language, then? Here are the
# runs that found the irony, and those that did not:

# %%
numbers = list(ablations["numbers"].values())
for penalty in ("", ", no penalty"):
    for name, found in (("found the irony", True), ("did not find it", False)):
        some = [seed for seed in numbers if (seed[f"accuracy, MFM{penalty}"] > 0.8) is found]
        first = sum(seed[f"r, language{penalty}"] > seed[f"r, largest of the others{penalty}"] for seed in some)
        print(f"MFM{penalty}: of {len(some)} runs that {name}, r is largest for language in {first}")

# %% [markdown]
# So $r$ does not show what a run has learned: it puts language first also in runs that never found the irony. It only shows
# how the decoders use $F_y$. All rows of both experiments, also those where the paper's claim does not hold, are on the
# [page of claims](../docs/claims.md).
#
# The released code differs from this library in three ways. Its decoders read the factors at the first step only, then
# their own hidden state. The style of M_E comes from one LSTM over the joined inputs. And its penalty has the wide kernel
# of [chapter 8](08_mfm_images.ipynb).
#
# ## What to remember
#
# - A network that reads all modalities at each step can use synergy; additive fusion cannot use all of it.
# - What a modality adds to the others is not what it tells alone.
# - A surrogate infers the latent codes of a missing modality. It predicts the label close to the exact limit, but does not
#   reconstruct the modality well.
# - Where runs fall into two groups, count them.
# - A gradient is an answer to a precise question. Check it on data where the true answer is known.
#
# ## Exercises
#
# Short exercises check your answers, say which usual mistake they see, and give hints: the
# [exercises of chapter 9](exercises/09_mfm_sequences.ipynb). At their end are things to try here, with the models of this
# chapter.
#
# ## Where to read on
#
# - Y.-H. H. Tsai and others (2019), Learning factorized multimodal representations, [arXiv:1806.06176](https://arxiv.org/abs/1806.06176).
# - A. Zadeh and others (2018), Memory fusion network for multi-view sequential learning, [arXiv:1802.00927](https://arxiv.org/abs/1802.00927).
# - A. Gretton and others (2005), Measuring statistical dependence with Hilbert-Schmidt norms.
# - The library behind this chapter: `mmtutor.mfm.MFN`, `mmtutor.mfm.sequence_mfm`, `mmtutor.mfm.Surrogate`,
#   `mmtutor.mfm.sensitivity`, `mmtutor.mfm.saliency`, `mmtutor.data.monologues`.
