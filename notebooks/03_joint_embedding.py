# %% [markdown]
# # 3 · Joint embedding: one space for pictures and words
#
# Which of a thousand pictures shows *the red seven and the blue three*? To answer, one has to compare pictures with sentences,
# and they have nothing in common: one is made of pixels, the other of words. In this chapter two networks learn to put both
# into *one space*, in which what belongs together is near. Nobody tells them what a seven is, or that red is a colour. You will
# know beforehand how well they can do at best; and afterwards, what such a space knows and what it does not.
#
# > **You learn** to train two encoders by contrast, to predict the best loss and recall, and to test what the space has learned.
# >
# > **You need** [chapter 1](01_digit_world.ipynb), training in PyTorch, what a GRU is.
# >
# > **It takes** 30 minutes to read, 2 to run on a CPU.
# >
# > **Papers** [visual-semantic embedding](https://arxiv.org/abs/1411.2539), [VSE++](https://arxiv.org/abs/1707.05612),
# > [InfoNCE](https://arxiv.org/abs/1807.03748), [CLIP](https://arxiv.org/abs/2103.00020),
# > [SigLIP](https://arxiv.org/abs/2303.15343), [bags of words](https://arxiv.org/abs/2210.01936).

# %% tags=["hide-input"]
import torch
from torch import nn

from mmtutor.data import COLOURS, Vocabulary, digits, scenes
from mmtutor.data.word import WORDS
from mmtutor.plotting import bars, dots, embedding_diagram, frames, latents, retrieved, show, verdicts
from mmtutor.training import budget, claim, fit, seed_everything

n, m, epochs, lr = budget(quick=(4000, 1000, 10, 3e-3), full=(20000, 1000, 30, 3e-3))
never = [("red", 7), ("green", 2), ("blue", 5), ("purple", 9)]  # pairs that no scene for training shows
train, test = (scenes(split, n=k, objects=(1, 2), never=never) for split, k in (("train", n), ("test", m)))


def name(colour, digit):
    return f"the {colour} {WORDS[digit]}"


def sentences(data, order=1):
    return [" and ".join(name(t.colour, t.digit) for t in things[::order]) for things in data.objects]


# %% tags=["hide-input"]
shown = [{(t.colour, t.digit) for t in things} for things in test.objects]
wanted = [(things[0].colour, things[0].digit) for things in (test.objects[k] for k in (1, 7, 12))]
true_of = torch.tensor([[pair in pairs for pairs in shown] for pair in wanted])
ideal = [torch.cat([row.nonzero()[:3, 0], (~row).nonzero()[20 * k :][:2, 0]]) for k, row in enumerate(true_of)]
show(
    retrieved(
        {"scene": test.tensors["scene"]},
        [name(*pair) for pair in wanted],
        torch.stack(ideal),
        torch.stack([row[k] for row, k in zip(true_of, ideal, strict=True)]),
        "What three phrases should find: the pictures with a frame",
    ),
    "Three phrases, such as 'the red seven'. Beside each three scenes that show it, with a frame, and two that do not.",
)

# %% [markdown]
# This is how it should be; no network has found these pictures.
#
# ## The idea: two encoders that meet
#
# An encoder $f$ for pictures $x_i$ and an encoder $g$ for sentences $y_j$ each give a vector. Linear maps, $W_a$ and $W_b$, take both to
# $d$ numbers, which are scaled to length 1: $a_i$ and $b_j$. The *similarity* of picture $i$ and sentence $j$ is the cosine of the angle between them:
#
# $$\begin{gathered}
# a_i = \frac{W_a f(x_i)}{\lVert W_a f(x_i) \rVert}, \qquad b_j = \frac{W_b\, g(y_j)}{\lVert W_b\, g(y_j) \rVert}, \\
# s_{ij} = a_i^\top b_j .
# \end{gathered}$$
#
# Training needs only pairs: this sentence was said about that picture. The other sentences of the batch are the *negatives*. The loss
# **InfoNCE** asks: which of the $N$ sentences of the batch belongs to this picture, and which of the pictures to this
# sentence? It is the cross-entropy of the answer, the mean of both directions:
#
# $$L = -\frac{1}{2N} \sum_i \left( \log \frac{e^{t s_{ii}}}{\sum_j e^{t s_{ij}}} + \log \frac{e^{t s_{ii}}}{\sum_j e^{t s_{ji}}} \right).$$
#
# The factor $t$, one over the *temperature*, is learned. Two other losses are usual. The **triplet loss** asks that a pair
# be more similar than other pairs by a margin $\alpha$. With $[x]_+ = \max(x, 0)$ pair $i$ costs
#
# $$\sum_{j \ne i} [\alpha + s_{ij} - s_{ii}]_+ + \sum_{j \ne i} [\alpha + s_{ji} - s_{ii}]_+,$$
#
# or only the largest term of each sum, that of the *hardest negative* (VSE++). The **sigmoid loss** (SigLIP) asks of each $(i, j)$ by
# itself whether it is a pair.

# %% tags=["hide-input"]
show(
    embedding_diagram(),
    "A diagram. Pictures and sentences each go through an encoder and become vectors of length 1. The cosines of all with "
    "all are a square of B by B numbers. The loss wants those of pairs high and the rest low.",
)

# %% [markdown]
# ## By hand: InfoNCE
#
# The loss of the library for a batch of three, and the same from the equation:

# %%
from mmtutor.embedding import InfoNCE, JointEmbedding, Triplet

seed_everything(0)
model = JointEmbedding({"scene": nn.Flatten(), "word": nn.Embedding(9, 5)}, [12, 5], dim=4).double()
batch = {"scene": torch.rand(3, 3, 2, 2, dtype=torch.float64), "word": torch.tensor([1, 2, 3])}
t, s = model.contrast.scale, model.similarity(batch)
e = (t * s).exp()
by_hand = -sum((e[i, i] / e[i].sum()).log() + (e[i, i] / e[:, i].sum()).log() for i in range(3)) / 6
gap = (by_hand - model.loss(batch)["loss"]).abs()
claim("InfoNCE by hand equals the library's", gap < 1e-12, f"gap {gap}")

# %% [markdown]
# ## Predict before you train
#
# Take house numbers that are easy to read, and the words for them. Picture and word share the digit and nothing else. In a
# batch of $N$ pairs, let $m$ be the number of words for the picture's digit, the right one among them. Nothing tells these
# $m$ apart, so the best answer gives each of them $1/m$, and costs $\log m$. Each of the other $N - 1$ words has the digit with
# probability 1/10. So the best loss possible, its **floor**, is known: the mean of $\log m$, with $m - 1$ from a binomial
# distribution. It is in *nats*, the unit of the natural logarithm. So is the best **R@1**, how often the most similar word is the
# right one: the mean of $1/m$.
#
# **Before you run it:** with larger batches, does the floor rise or fall?

# %%
from mmtutor.metrics import contrastive_floor, recall_at, recall_ceiling

tenth = [0.1] * 10
for N in (16, 64, 256, 1000):
    print(f"N = {N:4}: floor {contrastive_floor(tenth, N):.4f} nats, R@1 at most {recall_ceiling(tenth, N):.4f}")

# %% tags=["nbval-ignore-output"]
from mmtutor.encoders import GridEncoder, ImageEncoder, TextEncoder

easy = dict(street_difficulty=0.0)
street = {split: digits("street", "word", split=split, n=k, **easy) for split, k in (("train", n), ("test", m))}
seed_everything(0)
numbers = JointEmbedding({"street": ImageEncoder(3), "word": TextEncoder(27)}, [64, 64], dim=16)
fit(numbers, street["train"], epochs=max(5, epochs // 3), batch_size=64, lr=lr, schedule="one-cycle")


@torch.no_grad()
def embedded(model, batch):
    return {name: z.cpu() for name, z in model.eval().embed(batch).items()}


a, b = embedded(numbers, street["test"][:]).values()

# %% tags=["nbval-ignore-output"]
order = torch.cat([torch.randperm(len(a)) for _ in range(20)])  # every pair in 20 different batches
met, loss = {}, numbers.contrast.cpu()
for N in (16, 64, 256):
    own = torch.eye(N, dtype=torch.bool)
    parts = [a[rows] @ b[rows].T for rows in order[: len(order) // N * N].split(N)]
    losses = [loss(x, torch.arange(N), torch.ones_like(own)).item() for x in parts]
    met[N] = sum(losses) / len(parts), sum(recall_at(x, own) for x in parts) / len(parts)
    print(f"N = {N:4}: loss {met[N][0]:.4f} nats, R@1 {met[N][1]:.4f}")

# %%
floor, ceiling = contrastive_floor(tenth, 64), recall_ceiling(tenth, 64)
claim("the loss is within 5 % of its floor, and not below", floor < met[64][0] < 1.05 * floor, str(met[64]))
claim("R@1 is within 5 % of its ceiling", 0.95 * ceiling < met[64][1] < 1.05 * ceiling, str(met[64]))

# %% [markdown]
# It rises: among more words, more are as good as the right one. With 1,000 a loss of 4.61 is perfect. The floor is never below
# $\log N - I$, where $I$ is the *mutual information* of picture and word, here $\log 10 = 2.30$ (van den Oord, 2018). Read
# backwards, $\log N - L$ never overstates $I$; but with $N = 16$ it cannot say more than $\log 16 - 0.80 = 1.97$.
#
# ## What similarity means: pointwise mutual information
#
# What would the best similarity be? Given a picture $x_i$ and the words $y_1, \dots, y_N$ of a batch, Bayes' rule says which of
# them is its partner: word $j$ with a probability proportional to $p(y_j \mid x_i) / p(y_j)$, since the partner comes from
# $p(y \mid x_i)$ and all others from $p(y)$. For the pictures of a word it is $p(x_j \mid y_i) / p(x_j)$, the same ratio. InfoNCE is
# least if $e^{t s_{ij}}$ is in proportion to it:
#
# $$t\, s_{ij} = \log \frac{p(x_i, y_j)}{p(x_i)\, p(y_j)} + \text{const}.$$
#
# This is the *pointwise mutual information*. It is not $\log p(y_j \mid x_i)$: a word that is said of everything tells little. Its
# value is near 0 for every picture: below that of the right word, above that of a wrong one. Test that with such a word: now with probability 0.2 the word is "zero", whatever the digit; with 0.2 it is
# any of the ten, and else the right one. The image encoder is frozen (its weights no longer change), so this takes a moment:

# %% tags=["nbval-ignore-output"]
features = {split: numbers.encoders["street"](data[:]["street"]).detach().cpu() for split, data in street.items()}
label = {split: data[:]["label"] for split, data in street.items()}


def embed_words(words, loss=None, dim=16, **settings):
    seed_everything(0)
    encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
    model = JointEmbedding({"features": encoder, "word": nn.Embedding(10, 64)}, [64, 64], dim, loss, **settings)
    data = {"features": features["train"], "word": words, "label": label["train"]}
    past = fit(model, data, epochs=epochs, batch_size=64, lr=lr, schedule="one-cycle", progress=False)
    a = embedded(model, {"features": features["test"]})["features"]
    return a, embedded(model, {"word": torch.arange(10)})["word"], model, past


# %% tags=["nbval-ignore-output"]
p = 0.6 * torch.eye(10) + 0.02  # p(word | digit)
p[:, 0] += 0.2
seed_everything(0)
noisy = torch.multinomial(p[label["train"]], 1)[:, 0]
a, b, model, _ = embed_words(noisy)
t_s = model.contrast.scale.item() * a @ b.T
similarity = torch.stack([t_s[label["test"] == k].mean(0) for k in range(10)])  # by digit and word
tables = {"similarity": similarity, "PMI": p.log() - p.mean(0).log(), "log p(word | digit)": p.log()}
digit, other = torch.eye(10, dtype=torch.bool), ~torch.eye(10, dtype=torch.bool)
zero = torch.arange(10).expand(10, 10) == 0
kinds = {"the digit": digit & ~zero, "zero, of a zero": digit & zero, "zero, of another": other & zero}
learned = {
    kind: {name: (x[of].mean() - x[other & ~zero].mean()).item() for name, x in tables.items()}
    for kind, of in kinds.items()
}

# %% tags=["hide-input", "nbval-ignore-output"]
show(
    dots(learned, "The learned similarity is pointwise mutual information (PMI)", "nats more than a wrong word"),
    "; ".join(f"{kind}: " + ", ".join(f"{name} {x:.2f}" for name, x in of.items()) for kind, of in learned.items())
    + ".",
)

# %%
off = max(abs(of["similarity"] - of["PMI"]) for of in learned.values())
claim("t s equals the pointwise mutual information within 0.4 nats", off < 0.4, f"off by {off}")
off = min(abs(learned[kind]["similarity"] - learned[kind]["log p(word | digit)"]) for kind in list(kinds)[1:])
claim("of the word zero, it is far from log p(word | digit)", off > 0.8, f"off by {off}")

# %% [markdown]
# So similarity is what picture and word say *about each other*. That is what "meaning" is here.
#
# ## Temperature
#
# Cosines lie between −1 and 1, so $t$ says how sure the model can be. Here the words are right again, and the space has two
# numbers, so all vectors lie on a circle. Ten digits, evenly spread, are 36° apart, a cosine of 0.81. So a partner gets
# $e^{0.19\,t}$ times the probability of its neighbour: 1.2 times for $t = 1$. **Choose $t$:**

# %% tags=["nbval-ignore-output"]
circles, texts = {}, {}
for t in (1, 4, 16, 64):
    a, b, model, past = embed_words(label["train"], InfoNCE(float(t), learned=False), dim=2)
    spread = f"training loss {past.train['loss'][-1]:.2f} nats"
    circles[f"{t}"] = latents(a[:300], label["test"][:300], f"t = {t}: {spread}; the floor is {floor:.2f}")
    texts[f"{t}"] = f"House numbers on a circle, coloured by digit, for t = {t}; {spread}."
frames(circles, texts, "t")

# %% [markdown]
# The digits stand apart for each $t$. But with $t = 1$ the loss cannot come near its floor, however good the encoder. CLIP learns $t$, and
# holds it at 100 or below.
#
# ## Scenes and sentences
#
# Now scenes of one or two digits. First the image encoder learns from single objects, cut out of the scenes, and their names,
# "the red seven", by InfoNCE, too. In [chapter 4](04_image_captioning.ipynb) it learns from labels; here nothing says that seven is a class.

# %%
from mmtutor.sentences import BagOfWords, RecurrentSentence

colours = list(COLOURS)
names = [name(colour, digit) for colour in colours for digit in range(10)]
words = Vocabulary.from_captions([*names, "and"])


def encode(texts):
    return torch.stack([words.encode(text, length=9) for text in texts])


# %% tags=["nbval-ignore-output"]
class Middle(nn.Module):
    def __init__(self, grid):
        super().__init__()
        self.grid = grid

    def forward(self, crop):  # the mean of the four regions in the middle of 4 × 4
        return self.grid(crop).unflatten(1, (4, 4))[:, 1:3, 1:3].mean((1, 2))


seed_everything(0)
crops, grid = train.crops().tensors, GridEncoder(3)
objects = zip(crops["colour_label"], crops["digit_label"], strict=True)
pairs = {"scene": crops["scene"], "sentence": encode([names[10 * c + d] for c, d in objects])}
namer = JointEmbedding({"scene": Middle(grid), "sentence": RecurrentSentence(len(words), 64)}, [66, 64])
past = fit(namer, pairs, epochs=6, batch_size=64, lr=5e-3, schedule="one-cycle")
print(f"loss {past.train['loss'][-1]:.2f} nats; floor {contrastive_floor([1 / 76] * 76, 64):.2f}, of 76 names")

# %% [markdown]
# From now on it is frozen. Of a scene it gives $8 \times 8$ regions, of 64 features and two numbers for the position. A small network
# reads each region; the mean of what it gives is the picture's vector. A GRU reads the sentence.


# %% tags=["nbval-ignore-output"]
class Regions(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(66, 128), nn.ReLU(), nn.Linear(128, 128))

    def forward(self, regions):
        return self.network(regions).mean(1).relu()


@torch.no_grad()
def regions(data):
    return torch.cat([grid.eval()(x).cpu() for x in data.tensors["scene"].split(250)])


# %% tags=["nbval-ignore-output"]
def find(data, text=RecurrentSentence, batch_size=128, loss=None, alike=None):
    seed_everything(0)
    encoders = {"regions": Regions(), "sentence": text(len(words), 64)}
    read = {"regions": regions(data), "sentence": encode(sentences(data))}
    read |= {} if alike is None else {"alike_label": alike}
    group = None if alike is None else "alike_label"
    model = JointEmbedding(encoders, [128, 64], loss=loss, group=group)
    fit(model, read, epochs=epochs, batch_size=batch_size, lr=lr, schedule="one-cycle")
    return model.eval()


space = find(train)
read = {"regions": regions(test), "sentence": encode(sentences(test, -1))}  # the second object is named first
pictures, texts = embedded(space, read).values()
s = pictures @ texts.T
same = torch.tensor([[x == y for y in shown] for x in shown])  # which sentences say what a picture shows

# %% tags=["hide-input", "nbval-ignore-output"]
rows = [k for k, things in enumerate(test.objects) if len(things) == 2][:3]
best = s.T[rows].topk(5).indices
show(
    retrieved(
        {"scene": test.tensors["scene"]},
        [sentences(test, -1)[k] for k in rows],
        best,
        same[rows].gather(1, best),
        "Three sentences, and the five pictures most similar to each",
    ),
    "Three sentences with the five pictures that are most similar. Those that show what is said have a frame.",
)

# %% [markdown]
# How often is the first right? The usual R@1 counts one answer: the sentence that was written for this picture. But others say
# the same, and count as wrong. Count all that are true, too:

# %% tags=["nbval-ignore-output"]
own, to_picture = torch.eye(len(s), dtype=torch.bool), s.T
one = torch.tensor([len(things) == 1 for things in test.objects])
recall = {
    "its own picture": recall_at(to_picture, own),
    "its own picture, at best": (1 / same.sum(1)).mean().item(),
    "a picture that shows it": recall_at(to_picture, same),
    "… of one digit": recall_at(to_picture[one], same[one]),
    "… of two digits": recall_at(to_picture[~one], same[~one]),
}
show(
    bars(recall, "Most mistakes by the usual count are none", "share of sentences that find …, R@1 of 1,000"),
    "R@1: " + ", ".join(f"{name} {x:.2f}" for name, x in recall.items()) + ".",
)

# %%
claim(
    "a sentence finds a picture that shows it far more often than its own picture",
    recall["a picture that shows it"] > recall["its own picture, at best"] > recall["its own picture"],
    str(recall),
)

# %% [markdown]
# ## Naming without classes
#
# To name a picture of one object, compare it with all 80 names, "the red zero" to "the white nine". No classifier was trained, so this
# is called *zero-shot* classification. Compare names that were in training with four that never were, "the red seven" among
# them; and the digit by its bare word, "seven".

# %% tags=["nbval-ignore-output"]
named, bare = (embedded(space, {"sentence": encode(texts)})["sentence"] for texts in (names, WORDS))
trained = [("red", 2), ("green", 7), ("blue", 9), ("purple", 5)]
rightly = {}
for kind, listed in (("in training", trained), ("new", never)):
    one = scenes("test", n=300, seed=1, objects=(1, 1), always=listed)
    a = embedded(space, {"regions": regions(one)})["regions"]
    colour, digit = one.tensors["colour_label"][:, 0], one.tensors["digit_label"][:, 0]
    guess, alone = (a @ named.T).argmax(1), (a @ bare.T).argmax(1)
    found = {"colour": guess // 10 == colour, "digit": guess % 10 == digit, "digit, by the bare word": alone == digit}
    rightly[kind] = {what: hit.double().mean() for what, hit in found.items()}

# %% tags=["hide-input", "nbval-ignore-output"]
show(
    dots(rightly, "New pairs are named, if asked for as a pair", "share that is right"),
    "; ".join(f"{kind}: " + ", ".join(f"{k} {x:.2f}" for k, x in of.items()) for kind, of in rightly.items()) + ".",
)

# %% [markdown]
# Pairs that were never trained are named not much less often (over five seeds 0.78 of them, trained ones 0.88): the space is *compositional*, it can
# put known words together in a new way. Asked for a new pair
# by the bare word it does no better, in some runs far worse; the exercises have things to try.
#
# ## Red three − red + blue
#
# Kiros and others (2014) found that pictures and words can be added: a picture of a blue car − "blue" + "red" finds red cars. Try it here: take a
# picture of one object, subtract its colour, add another, and look for the nearest picture. A colour's vector is the mean of its
# ten names. The picture at the start is itself a candidate, and programs commonly leave it out. **Before you run it:** does that
# matter?

# %% tags=["nbval-ignore-output"]
from mmtutor.metrics import analogies

single = [k for k, things in enumerate(test.objects) if len(things) == 1][:250]
pool, is_a = pictures[single], [(test.objects[k][0].colour, test.objects[k][0].digit) for k in single]
tint = dict(zip(colours, named.view(8, 10, -1).mean(1), strict=True))  # a vector for each colour
asked = [(k, c) for k, (colour, d) in enumerate(is_a) for c in colours if c != colour and (c, d) in is_a]
of, to = map(list, zip(*asked, strict=True))
minus, plus = torch.stack([tint[is_a[k][0]] for k in of]), torch.stack([tint[c] for c in to])
right = torch.tensor([[x == (c, is_a[k][1]) for x in is_a] for k, c in asked])
itself = torch.eye(len(single), dtype=torch.bool)[of]
sentence = named[[10 * colours.index(c) + is_a[k][1] for k, c in asked]]
scores = {
    "the start may be found": analogies(pool[of], minus, plus, pool, right),
    "the start is left out": analogies(pool[of], minus, plus, pool, right, itself),
    "instead: the sentence 'the blue three'": recall_at(sentence @ pool.T, right),
}

# %% tags=["hide-input", "nbval-ignore-output"]
show(
    bars(scores, "Arithmetic works; asking works better", "share of queries that find a right picture"),
    ", ".join(f"{k} {x:.2f}" for k, x in scores.items()) + ".",
)

# %% [markdown]
# It makes no difference here. The sentence does better, but it was told the digit, which the arithmetic
# has to read from a picture.
#
# ## What breaks
#
# **The hardest negative may be no negative.** Train house numbers and words with the triplet loss and the hardest negative. In a batch of 64
# some other word is nearly always the same. It is exactly as similar to the picture as the right one, and costs $\alpha$, whatever the
# model does; the other direction costs nearly as much. A space in which all vectors are equal has the loss $2\alpha$, too, so this is
# easily taken for such a *collapse*. `group` names labels; examples of one group are then no negatives of each other.

# %% tags=["nbval-ignore-output"]
stuck = {}
for way, group in (("every other word is a negative", None), ("those of the same digit are not", "label")):
    a, b, _, past = embed_words(label["train"], Triplet(0.2, hardest=True), group=group)
    stuck[way] = past.train["loss"][-1]
    share = ((a @ b.T).argmax(1) == label["test"]).double().mean()
    print(f"{way}: loss {stuck[way]:.3f}, right word {share:.3f}")

# %%
with_false, without = stuck.values()
claim("with false negatives the hardest-negative loss stays near 2α", abs(with_false - 0.4) < 0.02, f"{with_false}")
claim("without them it goes to zero", without < 0.02, f"{without}")

# %% [markdown]
# **It finds, but does not bind.** Exchange the digits of a sentence, "the red three and the blue seven". Is the true sentence nearer to the picture?
# A *bag of words* cannot know, since both have the same words; a GRU could. The usual explanation is that the loss never asks: the 76 pairs
# make more than 2,000 scenes of two, so a picture seldom meets the one with exchanged digits. Test it. With nine pairs of colour and
# digit it often does. Train on those; and once more so that scenes with the same colours and digits, however paired, are *no
# negatives* of each other. **Before you run it:** what does the explanation predict?


# %%
def swapped(things):
    return f"{name(things[0].colour, things[1].digit)} and {name(things[1].colour, things[0].digit)}"


def binding(model, data):
    two = [k for k, things in enumerate(data.objects) if len(things) == 2]
    a, both = embedded(model, {"regions": regions(data)[two]})["regions"], sentences(data)
    said = [both[k] for k in two], [swapped(data.objects[k]) for k in two]
    true, exchanged = ((a * embedded(model, {"sentence": encode(x)})["sentence"]).sum(1) for x in said)
    gap = true - exchanged
    return ((gap > 1e-5).double() + (gap.abs() <= 1e-5) / 2).mean().item()  # a tie is one half


# %% tags=["nbval-ignore-output"]
few = [(c, d) for c in ("red", "green", "blue") for d in (1, 4, 7)]
rest = [(c, d) for c in COLOURS for d in range(10) if (c, d) not in few]
nine = {split: scenes(split, n=k, objects=(2, 2), never=rest) for split, k in (("train", n // 2), ("test", m // 2))}
parts = [(sorted(t.colour for t in things), sorted(t.digit for t in things)) for things in nine["train"].objects]
alike = torch.tensor([[*dict.fromkeys(map(str, parts))].index(str(part)) for part in parts])
bound = {
    "all pairs, GRU": binding(space, test),
    "nine pairs, bag of words": binding(find(nine["train"], BagOfWords, 64), nine["test"]),
    "nine pairs, GRU": binding(find(nine["train"], batch_size=64), nine["test"]),
    "… without these negatives": binding(find(nine["train"], batch_size=64, alike=alike), nine["test"]),
}

# %% tags=["hide-input", "nbval-ignore-output"]
show(
    bars(
        bound, "Few pairs are bound, many are not; negatives are only a part of why", "the true sentence is nearer", 0.5
    ),
    ", ".join(f"{k} {x:.2f}" for k, x in bound.items()) + ".",
)

# %%
claim("a bag of words is at one half", abs(bound["nine pairs, bag of words"] - 0.5) < 0.02, str(bound))
claim("the GRU binds nine pairs", bound["nine pairs, GRU"] > 0.9, str(bound))
claim("with all pairs it hardly binds", bound["all pairs, GRU"] < 0.7, str(bound))

# %% [markdown]
# The last two have the same data, network and batches; only what counts as a negative differs. The explanation predicts
# one half, and what came is far from it. So exchanged negatives help, but most of the binding comes without them. The number of pairs seems to matter more:
# with nine, a network can have a feature for each. That is a guess. What is sure: a space can find pictures and hardly know which colour belongs to which digit. Yuksekgonul and others
# (2023) saw this in CLIP, and put exchanged words into its batches.
#
# **The modality gap** is the distance between the means of the two modalities (Liang, 2022). Is it harmful? Move both means to zero:

# %% tags=["nbval-ignore-output"]
from mmtutor.metrics import modality_gap

moved = [nn.functional.normalize(z - z.mean(0), dim=1) for z in (pictures, texts)]
print(f"gap {modality_gap(pictures, texts):.2f}, R@1 {recall_at(s.T, same):.3f}")
print(f"moved: gap {modality_gap(*moved):.2f}, R@1 {recall_at(moved[1] @ moved[0].T, same):.3f}")

# %% [markdown]
# Here the gap does no harm: R@1 stays as it is.
#
# ## What five seeds say
#
# `python -m experiments.embedding` trains these and more models with five seeds on 5,000 scenes of one or two objects, each seed
# with test scenes of its own:

# %% tags=["hide-input"]
from mmtutor.results import measured

claims = [
    "R@1 of words that share a digit",
    "The hardest negative finds better after five epochs",
    "Where known false negatives do not count, the hardest negative",
    "The sigmoid loss finds better than InfoNCE in batches of 32",
    "Batches of 512",
    "A learned temperature finds better than t = 1 does",
    "A bag of words finds nearly as well",
    "A model that finds well hardly knows",
    "Five colours and digits: the GRU binds better",
    "The more colours and digits, the less it binds",
    "The sentence that names what is wanted",
]
verdicts(measured("embedding"), claims)

# %% [markdown]
# **The floor.** Over five seeds the loss is 2.04, the floor 1.93: that it is within 5 % is undecided ([page of claims](../docs/claims.md)).
#
# **Losses.** InfoNCE, triplets with all negatives and the sigmoid loss find about equally well, R@1 0.82 to 0.84. The hardest
# negative needs a warm-up with all negatives: after five epochs of it 0.79, after one 0.43. It gains nothing over all negatives
# here, with false negatives or without.
#
# **Temperature.** With $t = 1$ R@1 is 0.58: similarities lie between −1 and 1, and a softmax of those is nearly flat.
#
# **Binding.** A bag of words finds as well as a GRU, and cannot bind. With three colours and three digits the GRU binds 1.00 of the
# scenes, with five 0.96, with eight 0.67; without the exchanged scenes among the negatives 0.92, 0.75 and 0.63. So such negatives count, for five and for eight. With more pairs it binds less; but its 3,000 scenes
# then show each combination of two less often, 167, 15 and 2 times, and we have not separated the two. A transformer, which knows the places of its words, hardly binds even with three, 0.52. We do
# not know why.
#
# **On photographs.** Among the 1,000 test photographs of Flickr8k and their 5,000 sentences InfoNCE has an R@1 of 0.19 from a
# photograph to a sentence, and of 0.15 back. A GRU finds better than a bag of words there, and the hardest negative finds less than
# all negatives: [the table](../docs/photographs.md#find-a-photograph).
#
# ## What to remember
#
# - Pairs are all that a joint embedding learns from; the rest of the batch are its negatives.
# - The best similarity is pointwise mutual information, what two things say about each other.
# - Compute floor and ceiling before you train: among 1,000, a loss of 4.6 can be perfect.
# - Other right answers are false negatives in a batch, and false mistakes in R@K.
# - A space can find pictures and hardly know which colour belongs to which digit. Test what it binds.
#
# ## Exercises
#
# Short exercises check your answers, say which usual mistake they see, and give hints: the
# [exercises of chapter 3](exercises/03_joint_embedding.ipynb). At their end are things to try here, with the models of this chapter.
#
# ## Where to read on
#
# - R. Kiros and others (2014), Unifying visual-semantic embeddings with multimodal neural language models, [arXiv:1411.2539](https://arxiv.org/abs/1411.2539).
# - A. van den Oord and others (2018), Representation learning with contrastive predictive coding, [arXiv:1807.03748](https://arxiv.org/abs/1807.03748).
# - F. Faghri and others (2018), VSE++: improving visual-semantic embeddings with hard negatives, [arXiv:1707.05612](https://arxiv.org/abs/1707.05612).
# - W. Liang and others (2022), Mind the gap: understanding the modality gap in multi-modal contrastive representation learning,
#   [arXiv:2203.02053](https://arxiv.org/abs/2203.02053).
# - A. Radford and others (2021), Learning transferable visual models from natural language supervision, [arXiv:2103.00020](https://arxiv.org/abs/2103.00020).
# - X. Zhai and others (2023), Sigmoid loss for language image pre-training, [arXiv:2303.15343](https://arxiv.org/abs/2303.15343).
# - M. Yuksekgonul and others (2023), When and why vision-language models behave like bags-of-words, [arXiv:2210.01936](https://arxiv.org/abs/2210.01936).
# - The library behind this chapter: `mmtutor.embedding.JointEmbedding`, `mmtutor.embedding.InfoNCE`, `mmtutor.embedding.Triplet`,
#   `mmtutor.embedding.Sigmoid`, `mmtutor.metrics.recall_at`.
