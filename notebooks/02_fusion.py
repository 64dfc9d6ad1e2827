# %% [markdown]
# # 2 · Multimodal fusion: early, late, cross-modal
#
# Three uncertain sources can give one certain answer. In this chapter a blurred house number, a voice in noise and a table
# of measurements are combined to recognise one digit. *Where* can they be merged, and *how*? And why can a network that is
# trained on several modalities at once learn each of them worse than a network of its own?
#
# > **You learn** where and how modalities are merged, which merges are the same function, and why joint training can
# > leave a modality behind.
# >
# > **You need** [chapter 1](01_digit_world.ipynb), training a classifier in PyTorch.
# >
# > **It takes** 30 minutes to read, 2 to run on a CPU.
# >
# > **Papers** [survey](https://arxiv.org/abs/1705.09406), [tensor fusion](https://arxiv.org/abs/1707.07250), [low-rank
# > fusion](https://arxiv.org/abs/1806.00064), [cross-modal attention](https://arxiv.org/abs/1906.00295),
# > [Gradient-Blending](https://arxiv.org/abs/1905.12681), [gradient modulation](https://arxiv.org/abs/2203.15332).

# %% tags=["hide-input"]
from mmtutor.plotting import bars, dots, frames, fusion_map, show, verdicts

show(
    fusion_map(),
    "Three diagrams. Early fusion: three modalities go into one learner. Late fusion: each modality has a learner of its "
    "own, and their outputs are merged. Cross-modal fusion: the learners exchange features before these are merged.",
)

# %% [markdown]
# ## The idea
#
# - **Early fusion** merges the modalities first; one learner reads all of them.
# - **Late fusion** gives each modality its own learner (a *branch*) and merges their outputs. The outputs are features, or
#   class probabilities; merging probabilities is called **decision-level fusion**.
# - **Cross-modal fusion**, also called intermediate fusion, lets the branches exchange features while they compute, once or
#   several times.
# - **Hybrid fusion** merges features *and* class probabilities.
#
# Let the vector $x_m$ be the features of modality $m$. A
# merge makes one vector from all of them. The main ones:
#
# | merge | equation |
# |---|---|
# | concatenation | $[x_1; x_2; \dots]$ |
# | arithmetic | $\sum_m x_m$, their mean, or their product |
# | inner product | $\langle x_m, x_n \rangle$ for every two modalities |
# | merge layer | $\sum_m W_m x_m + b$ |
# | gates | $\sum_m g_m \odot \tanh(W_m x_m + b_m)$; the gates $g_m$ are computed from all $x_m$ |
# | tensor fusion | $W\,\mathrm{vec}([1; x_1] \otimes [1; x_2] \otimes \dots) + b$ |
# | low-rank fusion | $\sum_r w_r \prod_m W_m^{(r)} [1; x_m] + b$ |
# | cross-attention | $x_m \leftarrow x_m + \mathrm{attention}(x_m, \text{all others})$, $K$ times, then concatenation |
#
# A semicolon stacks vectors, so $[1; x_m]$ is $x_m$ with a one in front: it keeps the products of fewer modalities.
# $\otimes$ is the outer product (every element of one vector times every element of the other), and vec flattens the result
# into one long vector. $W$, $W_m$, $W_m^{(r)}$, $w_r$, $b$ and $b_m$ are learned; $r$ runs from 1 to the rank $R$;
# attention is a mean of vectors, weighted by how well they fit, and $K$ says how often. $\prod$ and $\odot$ multiply vectors element by element. All merges in `mmtutor.fusion` have the same signature: a list of tensors
# $(B, d_m)$, with $d_m$ features of modality $m$, gives one tensor $(B, D)$.
#
# ## By hand: when concatenation equals a merge layer
#
# A network can *concatenate* features, or *merge* them in a weighted layer. A
# linear layer on a concatenation can be split into blocks, one per modality:
#
# $$W \begin{bmatrix} x_1 \\ x_2 \end{bmatrix} + b = [W_1 \; W_2] \begin{bmatrix} x_1 \\ x_2 \end{bmatrix} + b
# = W_1 x_1 + W_2 x_2 + b.$$
#
# So *concatenation followed by a linear layer* **is** a linear merge layer, exactly. The
# $x_m$ may be raw features or the nodes of a layer, $h_m = \varphi(W_m x_m + b_m)$ with a nonlinearity $\varphi$.

# %%
import torch

from mmtutor.fusion import Concat, LowRankFusion, MergeLayer, SumNodes, TensorFusion
from mmtutor.training import budget, claim, fit, seed_everything

seed_everything(0)
x = [torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)]
merge = MergeLayer([3, 4], 6).double()
torch.nn.init.normal_(merge.bias)  # it starts at zero
W = torch.cat([layer.weight for layer in merge.layers], 1)  # [W₁ W₂]
by_hand = Concat([3, 4])(x) @ W.T + merge.bias
gap = (by_hand - merge(x)).abs().max()
claim("concatenation and a linear layer equal a linear merge layer", gap < 1e-12, f"gap {gap}")

# %% [markdown]
# The two differ as soon as each branch of the merge has its own nonlinearity: $\sum_m \varphi(W_m x_m + b_m)$ is not
# $\varphi(\sum_m W_m x_m + b)$. In the first, each modality passes $\varphi$ alone, so none can switch a node of another
# off. In the second, their sum decides whether a node is active.

# %%
nodes = SumNodes([3, 4], 6).double()
first, second = nodes.layers
h = x[0] @ first.weight.T + first.bias, x[1] @ second.weight.T + second.bias
assert torch.allclose(nodes(x), h[0].relu() + h[1].relu(), atol=1e-12)
gap = ((h[0] + h[1]).relu() - nodes(x)).abs().max()
claim("with a nonlinearity in each branch they differ", gap > 0.1, f"gap {gap}")

# %% [markdown]
# ## Tensor fusion and low-rank fusion
#
# Tensor fusion gives a weight to every *product* of features. So it can express "the image shows a 3 **and** the voice says
# 5", which a sum cannot express without a nonlinearity after it. The cost is its size: three modalities with 64 features
# each make $65^3 = 274{,}625$ products. Low-rank fusion writes the weight as a sum of $R$ outer products and never builds
# the tensor. With such a weight both compute the same function:

# %%
low = LowRankFusion([3, 4], 6, rank=2).double()
full = TensorFusion([3, 4], 6).double()
with torch.no_grad():
    full.linear.weight.copy_(low.full_weight())
    full.linear.bias.copy_(low.bias)
gap = (full(x) - low(x)).abs().max()
claim("low-rank fusion equals tensor fusion with its full weight", gap < 1e-10, f"gap {gap}")

# %% [markdown]
# ## Train: three modalities
#
# A hard house number, a voice in noise, and sixteen measurements of a handwritten digit show the same digit; apart from
# that they are independent. First train on each modality alone, then on all three.

# %% tags=["nbval-ignore-output"]
from mmtutor.data import digits, smartwatch
from mmtutor.encoders import AudioEncoder, ImageEncoder, SequenceEncoder, TabularEncoder
from mmtutor.fusion import CrossModalFusion, DecisionFusion, EarlyFusion, LateFusion, MeanRule, ProductRule
from mmtutor.metrics import correct, paired_interval, predict, probe_loss

n, epochs, batch_size, lr = budget(quick=(4000, 6, 64, 2e-3), full=(20000, 20, 256, 4e-3))
modalities = ("street", "spoken", "shape")
train = digits(*modalities, split="train", n=n, street_difficulty=1.0)
test = digits(*modalities, split="test", n=1000, street_difficulty=1.0)

# %%
ENCODERS = {
    "handwritten": lambda: ImageEncoder(1),
    "street": lambda: ImageEncoder(3),
    "spoken": AudioEncoder,
    "shape": lambda: TabularEncoder(16),
    "accelerometer": lambda: SequenceEncoder(3),
    "gyroscope": lambda: SequenceEncoder(3),
}


def encoders(*names):
    seed_everything(0)
    return {name: ENCODERS[name]() for name in names}


def trained(model, data, epochs=epochs):
    fit(model, data, epochs=epochs, batch_size=batch_size, lr=lr, schedule="one-cycle", clip_norm=1.0)
    return model


# %% tags=["nbval-ignore-output"]
alone = {m: trained(LateFusion(encoders(m), 10, Concat([64])), train) for m in modalities}
hits = {m: correct(model, test) for m, model in alone.items()}  # for each model, which test items it gets right
late = trained(LateFusion(encoders(*modalities), 10, Concat([64] * 3)), train)
hits["all three"] = correct(late, test)
show(
    bars({name: h.mean() for name, h in hits.items()}, "Three modalities together beat each alone", "accuracy", 0.1),
    "Accuracy on the test set: " + ", ".join(f"{name} {h.mean():.3f}" for name, h in hits.items()) + ".",
)

# %% [markdown]
# Is the gain real, or luck? All models were tested on the same 1,000 items, so compare them item by item. The bootstrap
# resamples the items many times and gives a confidence interval for the difference. If the interval lies above zero, the
# gain does not depend on a few lucky items.

# %%
best = max(modalities, key=lambda modality: hits[modality].mean())
gain = paired_interval(hits["all three"], hits[best])
claim("three modalities together beat the best single one", gain.low > 0, f"{gain} over {best}")

# %% [markdown]
# ## Early, late or cross-modal fusion?
#
# Compare six models on the same data with the same number of steps. Early fusion reads raw values: 3,072 of the image, 1,024
# of the spectrogram and 16 measurements. (Give each modality an encoder first, and early fusion *is* late fusion of
# features.) In cross-modal fusion, each modality here is a single vector that attends to the other two, once. Its control
# has no exchange. The last two models are decision-level fusion: they merge the class probabilities
# $p_m = p(y \mid x_m)$ of class $y$. The mean rule averages them, $\frac{1}{M} \sum_m p_m$ for $M$ modalities. The product
# rule comes from Bayes' rule: if the modalities are independent given the digit, then
#
# $$p(y \mid x_1, \dots, x_M) \propto \frac{\prod_m p(y \mid x_m)}{p(y)^{M-1}}.$$
#
# where $\propto$ means equal up to a factor that makes the probabilities sum to one. Each $p(y \mid x_m)$ contains the prior
# $p(y)$ once, and the result should contain it once, so $M - 1$ of them are divided out. Each branch is trained on its own,
# so both rules can use the same trained branches.

# %% tags=["nbval-ignore-output"]
dims = [64] * 3
compared = {
    "early": EarlyFusion({"street": 3072, "spoken": 1024, "shape": 16}, 10),
    "cross-modal: no exchange": CrossModalFusion(encoders(*modalities), 10, dims, exchanges=0),
    "cross-modal: one exchange": CrossModalFusion(encoders(*modalities), 10, dims, exchanges=1),
    "late: product of probabilities": DecisionFusion(encoders(*modalities), 10, dims, ProductRule()),
}
hits["late: features"] = hits["all three"]
hits |= {name: correct(trained(model, train), test) for name, model in compared.items()}
product = compared["late: product of probabilities"]

# %% tags=["nbval-ignore-output"]
product.rule = MeanRule()
hits["late: mean of probabilities"] = correct(product, test)
product.rule = ProductRule()
errors = {name: 1 - hits[name].mean() for name in ("late: features", *compared, "late: mean of probabilities")}
show(
    bars(errors, "The product of probabilities makes the fewest errors here", "error rate on the test set"),
    "Error rates: " + ", ".join(f"{name} {rate:.3f}" for name, rate in errors.items()) + ".",
)

# %%
edge = paired_interval(hits["late: product of probabilities"], hits["early"])
claim("here the product of probabilities beats early fusion", edge.low > 0, str(edge))

# %% [markdown]
# One exchange seems to help here; five seeds do not confirm it. The product rule needs no fusion network,
# and it makes the fewest errors. There is a tempting explanation: voice, house
# number and handwriting are drawn independently given the digit, so the assumption of the product rule is true here. But test it. The product differs from late fusion in one more way: its branches were trained *each on its
# own*. So train the product rule as a whole, with the cross-entropy of the merged decision. If the rule is what
# counts, it will be as good as before.

# %% tags=["nbval-ignore-output"]
whole = trained(DecisionFusion(encoders(*modalities), 10, dims, ProductRule(), joint=True), train)
hits["product, trained as a whole"] = correct(whole, test)
for name in ("late: features", "product, trained as a whole", "late: mean of probabilities"):
    print(f"{name:28} {1 - hits[name].mean():.3f}")
print(f"{'product, branches alone':28} {1 - hits['late: product of probabilities'].mean():.3f}")

# %% [markdown]
# Trained as a whole, the product rule loses most of its lead; in the five seeds at the end it falls from 0.998 to 0.987, and
# late fusion has 0.984.
#
# ## Why several modalities can learn worse
#
# How much does each branch know? Freeze its encoder. Train a linear classifier on its features, with examples that the
# network has not seen; this is called a *linear probe*. Its cross-entropy on the test set is what the branch *lacks*:
# 0 is perfect, $\log 10 = 2.30$ a guess. The unit, *nats*, is that of the natural logarithm; a bit is 0.69 nats. Compare each encoder with the same encoder trained alone.

# %% tags=["nbval-ignore-output"]
valid = digits(*modalities, split="valid", n=2000, street_difficulty=1.0)


@torch.no_grad()
def lacking(model, examples=test):
    seen, new = ([x.relu().cpu() for x in model.eval().encode(data[:])[0]] for data in (valid, examples))
    labels = valid[:]["label"], examples[:]["label"]
    return {m: probe_loss(a, labels[0], b, labels[1]).mean() for m, a, b in zip(model.encoders, seen, new, strict=True)}


lacks = {"each alone": {m: lacking(model)[m] for m, model in alone.items()}}
lacks |= {"late: features": lacking(late), "product, trained as a whole": lacking(whole)}
for m in modalities:
    print(f"{m:7} lacks {lacks['each alone'][m]:.2f} nats alone, {lacks['late: features'][m]:.2f} with the others")

# %% [markdown]
# The branch for house numbers, trained with the others, has learned much less than it can. Is it overfitting? Then it would
# lack little on its *training* examples. Or did it stop learning? Then it lacks as much there. One reason to stop: let $z$ be the
# logits (the scores before the softmax), $p$ their softmax and $e_y$ the vector with a one at the label. The gradient of the loss $-\log p_y$ that reaches branch $m$ is
#
# $$\left(\frac{\partial z}{\partial x_m}\right)^{\!\top} (p - e_y).$$
#
# The factor $p - e_y$ is the same for *all* branches. As soon as one modality predicts the label, it is near zero, and no
# branch learns from this example any more, whatever it knows itself. The size of $p - e_y$ at the label is $1 - p_y$:


# %% tags=["nbval-ignore-output"]
def signal(model):
    p = predict(model, train).softmax(1)
    return 1 - p.gather(1, train[:]["label"].view(-1, 1)).mean().item()


for name, model in {"street alone": alone["street"], "all three": late}.items():
    stopped = lacking(model, train)["street"]
    print(
        f"{name:12} on training examples: 1 − p(label) {signal(model):.3f}, the street branch lacks {stopped:.2f} nats"
    )

# %% [markdown]
# The branch stopped: there was nearly nothing left to learn from. Wu and
# others (2022) call such learning greedy. Wang and others (2020) saw networks of several modalities lose to the best single
# one; there the modalities overfitted, each at its own rate. Three remedies:
#
# | remedy | what it does |
# |---|---|
# | a loss on each branch | $\mathrm{CE}(\text{fused}) + w \sum_m \mathrm{CE}(\text{branch } m)$ |
# | modality dropout | a modality is missing at random, so that the others must predict alone |
# | gradient modulation | the gradient of encoder $m$ is multiplied by $k_m$ |
#
# Gradient-Blending (Wang and others, 2020) is the first, with a weight for each branch from how fast it overfits; here
# $w = 1$. Gradient modulation (Peng and others, 2022) slows down the modality that is ahead. Let $s_m$ be the mean of
# $p(y \mid x_m)$ over a batch, from the fused classifier with the other modalities missing, and $\rho_m$ the ratio of $s_m$ to
# the mean of the others'. Then $k_m = 1 - \tanh(\alpha \rho_m)$ where $\rho_m > 1$, and $k_m = 1$ elsewhere.

# %% tags=["nbval-ignore-output"]
from mmtutor.fusion import HybridFusion, ModulatedFusion

dropped = digits(*modalities, split="train", n=n, street_difficulty=1.0, drop=0.3)
robust = trained(LateFusion(encoders(*modalities), 10, Concat(dims)), dropped)
modulated = trained(ModulatedFusion(encoders(*modalities), 10, Concat(dims), alpha=0.5), train)
hybrid = trained(HybridFusion(encoders(*modalities), 10, Concat(dims)), train)
remedies = {"modality dropout": robust, "gradient modulation": modulated, "a loss on each branch": hybrid}
lacks |= {name: lacking(model) for name, model in remedies.items()}
show(
    dots(lacks, "A loss on each branch teaches every branch", "what the branch lacks (nats)"),
    "Nats that a linear probe of each branch lacks. "
    + "; ".join(f"{k}: {', '.join(f'{m} {x:.2f}' for m, x in of.items())}" for k, of in lacks.items())
    + ".",
)

# %%
mean = {name: sum(of.values()) / 3 for name, of in lacks.items()}
claim(
    "trained together, branches know less than alone",
    mean["late: features"] > mean["each alone"] + 0.1,
    str(mean),
)
claim(
    "a loss on each branch closes most of the gap",
    mean["a loss on each branch"] - mean["each alone"] < 0.5 * (mean["late: features"] - mean["each alone"]),
    str(mean),
)

# %% [markdown]
# A loss on each branch changes exactly the factor above: each branch gets a $p - e_y$ of its own. It brings the branches back
# to what they know alone; the explanation stands. Modality dropout helps the house number less; what gradient modulation does differs from run to run.
#
# ## Replace one modality
#
# Late fusion is modular. Suppose the house number is replaced by a handwritten digit. The other branches and the classifier
# on top need not be trained again: freeze them, and train only a new encoder, whose features the old classifier can use.

# %% tags=["nbval-ignore-output"]
new = ("handwritten", "spoken", "shape")
swapped = LateFusion(encoders(*new), 10, Concat(dims))
swapped.encoders["spoken"], swapped.encoders["shape"] = late.encoders["spoken"], late.encoders["shape"]
swapped.head = late.head
for part in (swapped.encoders["spoken"], swapped.encoders["shape"], swapped.head):
    part.requires_grad_(False)
frozen = [p.clone() for p in swapped.head.parameters()]
trained(swapped, digits(*new, split="train", n=n))
accuracy_after = correct(swapped, digits(*new, split="test", n=1000)).mean()
print(f"with street {hits['all three'].mean():.3f}, with handwritten and only a new branch {accuracy_after:.3f}")

# %%
untouched = all(torch.equal(a, b) for a, b in zip(frozen, swapped.head.parameters(), strict=True))
claim(
    "a modality can be replaced by training its branch only",
    untouched and accuracy_after > hits["all three"].mean() - 0.03,
    str(accuracy_after),
)

# %% [markdown]
# ## What breaks: the label lies in the relation
#
# Now each modality shows *its own* digit, $a$ in handwriting and $b$ in speech, and the label is $y = (a + b) \bmod 10$.
# Whatever $a$ is, all ten values of $b$ are equally likely, so all ten labels are. Hence
#
# $$p(y \mid a) = \tfrac{1}{10} = p(y \mid b) \quad\text{for every } y.$$
#
# The best that a branch alone can predict is the uniform distribution. No rule helps: a mean of uniform distributions is
# uniform, and so is their product. The label is not in either modality, it is in the relation *between* them. In the words of
# [chapter 1](01_digit_world.ipynb): one digit shown twice is all redundancy, the sum modulo 10 is all synergy. Given $y$,
# $a$ determines $b$: the modalities are completely dependent, and the product rule does not apply. Fusion of features can
# learn the relation; low-rank fusion does it sooner than a concatenation.

# %% tags=["nbval-ignore-output"]
relation = dict(relation="sum", snr_db=(20, 30))
sums = digits("handwritten", "spoken", split="train", n=n, **relation)
sums_test = digits("handwritten", "spoken", split="test", n=1000, **relation)
pair = LateFusion(encoders("handwritten", "spoken"), 10, LowRankFusion([64] * 2, 64, rank=8))
accuracy = {"low-rank fusion": correct(trained(pair, sums, 15), sums_test).mean()}
decisions = DecisionFusion(encoders("handwritten", "spoken"), 10, [64] * 2, ProductRule())
accuracy["product of probabilities"] = correct(trained(decisions, sums, 3), sums_test).mean()
show(
    bars(accuracy, "Only fusion of features learns the relation", "accuracy", chance=0.1),
    "Accuracy on the sum of two digits: "
    + ", ".join(f"{name} {value:.3f}" for name, value in accuracy.items())
    + "; chance 0.10.",
)

# %%
claim("merging probabilities stays near chance", accuracy["product of probabilities"] < 0.2, str(accuracy))
claim("fusion of features learns the relation", accuracy["low-rank fusion"] > 0.5, str(accuracy))

# %% [markdown]
# Here a loss on each branch cannot help: a branch alone has nothing to learn. That is also why the start is hard. While one
# branch cannot read its digit, the other branch's digit says nothing about the label, so at first the gradient hardly has a
# direction. With 16 positions a modality (`tokens=True`: features of 16 pieces), the network does not even start in this number of
# steps, with an exchange or without. With encoders that were first trained to read their own digit, it does.

# %% [markdown]
# ## What breaks: missing modalities, and modality dropout
#
# Now each modality of a test example is missing with some probability (each example keeps at least one). `Concat` puts zeros
# where a modality is missing, and the classifier on top has never seen such zeros in training, except with *modality dropout*.
# Hybrid fusion can let the decisions of the branches count, too: those of the modalities that are there. **Before you move
# it:** which accuracy falls most?

# %% tags=["nbval-ignore-output"]
hybrid.rule = MeanRule()  # of the fused decision and those of the branches
models = {
    "no modality dropout": late,
    "modality dropout": robust,
    "hybrid": hybrid,
    "product of probabilities": product,
}

# %% tags=["nbval-ignore-output"]
reached = {}
for drop in (0.0, 0.25, 0.5, 0.75):
    some = digits(*modalities, split="test", n=1000, street_difficulty=1.0, drop=drop)
    reached[f"{drop:.0%}"] = {name: correct(model, some).mean() for name, model in models.items()}
figures = {drop: bars(of, "Accuracy when modalities are missing", "accuracy") for drop, of in reached.items()}
for figure in figures.values():
    figure.axes[0].set_xlim(0, 1.15)  # the same scale in all
alts = {drop: ", ".join(f"{name} {value:.3f}" for name, value in of.items()) for drop, of in reached.items()}
frames(figures, alts, "probability that a modality is missing")
lost = {name: reached["0%"][name] - reached["50%"][name] for name in models}

# %%
claim(
    "with modality dropout, missing modalities cost less accuracy",
    lost["modality dropout"] < lost["no modality dropout"] - 0.05,
    str(lost),
)

# %% [markdown]
# That of a concatenation without modality dropout. The product rule needs no such training, and keeps more than any other here:
# its branches are independent, and a missing modality is simply left out of the equation.
#
# ## Real recordings
#
# On real data: two sensors of a smartwatch, seven exercises, and, for the test, two other people.

# %% tags=["nbval-ignore-output"]
watch, watch_test = smartwatch("train"), smartwatch("test")
subsets = [("accelerometer",), ("gyroscope",), ("accelerometer", "gyroscope")]
hits = {
    " + ".join(names): correct(trained(LateFusion(encoders(*names), 7, Concat([64] * len(names))), watch), watch_test)
    for names in subsets
}
show(
    bars({name: h.mean() for name, h in hits.items()}, "Accuracy on two new people", "accuracy", 1 / 7),
    "Accuracy on seven exercises: " + ", ".join(f"{name} {h.mean():.3f}" for name, h in hits.items()) + ".",
)

# %% [markdown]
# Windows of one recording resemble each other, so they are not independent. Resample at least whole *recordings*; that says how sure the gain is for these two people (for others,
# resample people). Compare it with a bootstrap of single windows.

# %% tags=["nbval-ignore-output"]
*single, both = hits.values()
best = max(single, key=lambda h: h.mean())
print("gain, windows resampled   ", paired_interval(both, best))
print("gain, recordings resampled", paired_interval(both, best, groups=watch_test[:]["recording_label"]))

# %%
widths = [
    (i := paired_interval(both, best, groups=groups)).high - i.low
    for groups in (None, watch_test[:]["recording_label"])
]
claim("resampling whole recordings gives a wider interval", widths[1] > widths[0], str(widths))

# %% [markdown]
# Two people prove little. With five pairs of people held out in turn, two sensors do win: 0.76 against 0.68.
#
# ## What five seeds say
#
# `python -m experiments.fusion` repeats the comparisons with five seeds, each with new examples:

# %% tags=["hide-input"]
from mmtutor.results import measured

claims = [
    "Three modalities together beat the best single one",
    "A branch that is trained with the others knows less than one that is trained alone",
    "Decision-level fusion by the product rule, branches trained alone",
    "It is the training",
    "It is not the rule",
    "With modality dropout the branches lack less",
    "With about half of the modalities missing at test",
    "Label in the relation between modalities: low-rank fusion learns it, the product",
]
verdicts(measured("fusion"), claims)

# %% [markdown]
# **Among networks with the same encoders training counts most**, while each modality shows the label. Late fusion reaches 0.984, with a loss on each branch 0.996, the product
# of branches trained alone 0.998. (Early fusion of raw values: 0.966; of features of encoders trained alone: 0.995.) In joint training the branch for house numbers lacks 1.04 nats instead of 0.39. Modality dropout
# gives back a part, gradient modulation nothing that five seeds can show.
#
# **Exchange** shows no gain with one vector a modality. With 16 positions, a label in the relation and
# encoders that know digits it helps: 0.72 against 0.62.
#
# **A warning.** Trained on synthetic voices, a network recognises nine in ten new synthetic digits, but four in ten real ones.
# All rows are on the [page of claims](../docs/claims.md).
#
# ## What to remember
#
# - If each modality shows the label, give each branch a loss of its own, so that it learns. If the label lies in their relation, the merge decides.
# - A linear layer on a concatenation *is* a linear merge layer.
# - Probabilities of branches that were trained alone merge well. No rule on them learns a label that lies in the relation of
#   modalities.
# - If modalities will be missing, merge such probabilities, or let modalities be missing in training.
# - Resample what is independent: recordings, not windows; people, if you speak of other people.
#
# ## Exercises
#
# Five short exercises check your answers, say which usual mistake they see, and give hints: the
# [exercises of chapter 2](exercises/02_fusion.ipynb). At their end are things to try here, with the models of this chapter.
#
# ## Where to read on
#
# - T. Baltrušaitis, C. Ahuja, L.-P. Morency (2019), Multimodal machine learning: a survey and taxonomy,
#   [arXiv:1705.09406](https://arxiv.org/abs/1705.09406).
# - A. Zadeh and others (2017), Tensor fusion network for multimodal sentiment analysis,
#   [arXiv:1707.07250](https://arxiv.org/abs/1707.07250).
# - Z. Liu and others (2018), Efficient low-rank multimodal fusion with modality-specific factors,
#   [arXiv:1806.00064](https://arxiv.org/abs/1806.00064).
# - J. Arevalo and others (2017), Gated multimodal units for information fusion, [arXiv:1702.01992](https://arxiv.org/abs/1702.01992).
# - Y.-H. H. Tsai and others (2019), Multimodal transformer for unaligned multimodal language sequences, [arXiv:1906.00295](https://arxiv.org/abs/1906.00295).
# - W. Wang, D. Tran, M. Feiszli (2020), What makes training multi-modal classification networks hard?, [arXiv:1905.12681](https://arxiv.org/abs/1905.12681).
# - X. Peng and others (2022), Balanced multimodal learning via on-the-fly gradient modulation, [arXiv:2203.15332](https://arxiv.org/abs/2203.15332).
# - N. Wu and others (2022), Characterizing and overcoming the greedy nature of learning in multi-modal deep neural networks,
#   [arXiv:2202.05306](https://arxiv.org/abs/2202.05306).
# - The library behind this chapter: `mmtutor.fusion.LateFusion`, `mmtutor.fusion.CrossModalFusion`,
#   `mmtutor.fusion.DecisionFusion`, `mmtutor.fusion.HybridFusion`, `mmtutor.fusion.ModulatedFusion`.
