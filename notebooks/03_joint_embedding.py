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
from mmtutor.plotting import bars, dots, embedding_diagram, frames, latents, retrieved, show
from mmtutor.training import budget, claim, fit, seed_everything

n, epochs, lr = budget(quick=(4000, 10, 3e-3), full=(20000, 30, 3e-3))
never = [("red", 7), ("green", 2), ("blue", 5), ("purple", 9)]  # pairs that no scene for training shows
train, test = (scenes(split, n=m, objects=(1, 2), never=never) for split, m in (("train", n), ("test", 1000)))


def name(colour, digit):
    return f"the {colour} {WORDS[digit]}"


def sentences(data, order=1):
    return [" and ".join(name(t.colour, t.digit) for t in things[::order]) for things in data.objects]


# %% tags=["hide-input"]
asked = [test.objects[k] for k in (1, 7, 12)]
shown = [{(t.colour, t.digit) for t in things} for things in test.objects]
wanted = [{(t.colour, t.digit) for t in things[:1]} for things in asked]
right = torch.tensor([[one <= of for of in shown] for one in wanted])
ideal = [torch.cat([row.nonzero()[:3, 0], (~row).nonzero()[20 * k :][:2, 0]]) for k, row in enumerate(right)]
show(
    retrieved(
        {"scene": test.tensors["scene"]},
        [name(*next(iter(one))) for one in wanted],
        torch.stack(ideal),
        torch.stack([row[k] for row, k in zip(right, ideal, strict=True)]),
        "What three phrases should find: the pictures with a frame",
    ),
    "Three phrases, such as 'the red seven'. Beside each three scenes that show it, with a frame, and two that do not.",
)

# %% [markdown]
# This is how it should be; no network has found these pictures.
#
# ## The idea: two encoders that meet
#
# An encoder $f$ for pictures and an encoder $g$ for sentences each give a vector. A linear map takes both to $d$ numbers,
# and they are scaled to length 1. The *similarity* of picture $i$ and sentence $j$ is the cosine of the angle between them:
#
# $$a_i = \frac{W_a f(x_i)}{\lVert W_a f(x_i) \rVert}, \qquad b_j = \frac{W_b\, g(y_j)}{\lVert W_b\, g(y_j) \rVert}, \qquad
# s_{ij} = a_i^\top b_j .$$
#
# Training needs only pairs: this sentence was said about that picture. The other sentences of the batch are the *negatives*. The loss
# **InfoNCE** asks: which of the $N$ sentences of the batch belongs to this picture, and which of the pictures to this
# sentence? It is the cross-entropy of the answer, the mean of both directions:
#
# $$L = -\frac{1}{2N} \sum_i \left( \log \frac{e^{t s_{ii}}}{\sum_j e^{t s_{ij}}} + \log \frac{e^{t s_{ii}}}{\sum_j e^{t s_{ji}}} \right).$$
#
# The factor $t$, one over the *temperature*, is learned. Two other losses are usual. The **triplet loss** asks that a pair
# be more similar than other pairs by a margin $\alpha$: $\sum_j [\alpha + s_{ij} - s_{ii}]_+ + \sum_j [\alpha + s_{ji} -
# s_{ii}]_+$ with $[x]_+ = \max(x, 0)$; or only of the largest of each sum, the *hardest negative* (VSE++). The **sigmoid loss** (SigLIP) asks of each $(i, j)$ by itself whether it
# is a pair.

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
# Take house numbers that are easy to read, and the words for them. Picture and word share the digit and nothing else. In a batch of $N$ pairs,
# let $m$ be the number of words for the same digit, the right one among them. Nothing tells these $m$ apart, so the best answer gives each of them $1/m$, and costs $\log m$. The others are there by chance, $m - 1$ of $N - 1$ with
# probability 1/10 each. So the best loss possible, its **floor**, and the best **R@1**, how often the nearest is the right one, are
# known: the means of $\log m$ and of $1/m$.
#
# **Before you run it:** with larger batches, does the floor rise or fall?

# %%
from mmtutor.metrics import contrastive_floor, recall_at, recall_ceiling

tenth = [0.1] * 10
for N in (16, 64, 256):
    print(f"N = {N:3}: floor {contrastive_floor(tenth, N):.4f} nats, R@1 at most {recall_ceiling(tenth, N):.4f}")

# %% tags=["nbval-ignore-output"]
from mmtutor.encoders import GridEncoder, ImageEncoder, TextEncoder

easy = dict(street_difficulty=0.0)
street = {split: digits("street", "word", split=split, n=m, **easy) for split, m in (("train", n), ("test", 1024))}
seed_everything(0)
numbers = JointEmbedding({"street": ImageEncoder(3), "word": TextEncoder(27)}, [64, 64], dim=16)
fit(numbers, street["train"], epochs=max(5, epochs // 3), batch_size=64, lr=lr, schedule="one-cycle")
with torch.no_grad():
    a, b = numbers.eval().embed(street["test"][:]).values()

met = {}
for N in (16, 64, 256):
    own, parts = torch.eye(N, dtype=torch.bool), [a[k : k + N] @ b[k : k + N].T for k in range(0, len(a), N)]
    losses = [numbers.contrast(x, torch.arange(N), torch.ones_like(own)).item() for x in parts]
    met[N] = sum(losses) / len(parts), sum(recall_at(x, own) for x in parts) / len(parts)
    print(f"N = {N:3}: loss {met[N][0]:.4f} nats, R@1 {met[N][1]:.4f}")

# %%
floor, ceiling = contrastive_floor(tenth, 64), recall_ceiling(tenth, 64)
claim("the loss is within 5 % of its floor, and not below", floor < met[64][0] < 1.05 * floor, str(met[64]))
claim("R@1 is within 5 % of its ceiling", 0.95 * ceiling < met[64][1] < 1.05 * ceiling, str(met[64]))

# %% [markdown]
# What is left is house numbers that are misread. The floor is never below $\log N - I$, where $I$ is the *mutual information* of
# picture and word, here $\log 10$ (van den Oord, 2018). Read backwards, $\log N - L$ is at most $I$. With $N = 16$ it is below 2 nats, though $I = 2.3$.
#
# ## What similarity means: pointwise mutual information
#
# What would the best similarity be? Which $y_j$ is the partner of $x_i$ is answered by Bayes' rule: with probability
# proportional to $p(x_i, y_j) / (p(x_i)\, p(y_j))$. The loss wants $e^{t s_{ij}}$ in its place, so at best
#
# $$t\, s_{ij} = \log \frac{p(x_i, y_j)}{p(x_i)\, p(y_j)} + \text{const},$$
#
# the *pointwise mutual information*. Test it where it is known: now the word is right only with probability 0.7; with 0.1 each
# it is the digit before or after, and each of the other seven has 0.1/7. So for these three kinds the right side is $\log 7$, $\log 1$ and $\log 1/7$.
# The picture's encoder is frozen, so this takes a moment:

# %% tags=["nbval-ignore-output"]
features = {split: numbers.encoders["street"](data[:]["street"]).detach() for split, data in street.items()}
label = {split: data[:]["label"] for split, data in street.items()}


def embed_words(words, loss=None, dim=16, **settings):
    seed_everything(0)
    encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
    model = JointEmbedding({"features": encoder, "word": nn.Embedding(10, 64)}, [64, 64], dim, loss, **settings)
    data = {"features": features["train"], "word": words, "label": label["train"]}
    past = fit(model, data, epochs=epochs, batch_size=64, lr=lr, schedule="one-cycle", progress=False)
    a = model.eval().embed({"features": features["test"]})["features"].detach()
    return a, model.embed({"word": torch.arange(10)})["word"].detach(), model, past


# %% tags=["nbval-ignore-output"]
i = torch.arange(10)
p = torch.full((10, 10), 0.1 / 7)
p[i, i], p[i, (i + 1) % 10], p[i, (i - 1) % 10] = 0.7, 0.1, 0.1
seed_everything(0)
noisy = torch.multinomial(p[label["train"]], 1)[:, 0]
a, b, model, _ = embed_words(noisy)
t_s = model.contrast.scale.detach() * a @ b.T
mean, pmi = torch.stack([t_s[label["test"] == k].mean(0) for k in range(10)]), (10 * p).log()
learned = {
    kind: {"information": pmi[0, k] - pmi.mean(), "similarity": mean[i, (i + k) % 10].mean() - mean.mean()}
    for kind, k in {"the digit": 0, "one after": 1, "five after": 5}.items()
}

# %% tags=["hide-input", "nbval-ignore-output"]
show(
    dots(learned, "The learned similarity is pointwise mutual information", "nats, less the mean of all"),
    "; ".join(
        f"{kind}: information {x['information']:.2f}, similarity {x['similarity']:.2f}" for kind, x in learned.items()
    ),
)

# %%
worst = max(abs(x["information"] - x["similarity"]) for x in learned.values())
claim("t s equals the pointwise mutual information within 0.3 nats", worst < 0.3, f"off by {worst}")

# %% [markdown]
# So the space keeps of a modality what it says about the other, and has no reason to keep anything else. That is what "meaning" is here.
#
# ## Temperature
#
# Cosines lie between −1 and 1. So with a fixed $t$, the partner can get at most $e^{2t}$ times the probability of another. Here the
# words are right again, and the space has two numbers, so all vectors lie on a circle. **Choose $t$:**

# %% tags=["nbval-ignore-output"]
circles, texts = {}, {}
for t in (1, 4, 16, 64):
    a, b, model, past = embed_words(label["train"], InfoNCE(float(t), learned=False), dim=2)
    spread = f"training loss {past.train['loss'][-1]:.2f} nats"
    circles[f"{t}"] = latents(a[:300], label["test"][:300], f"t = {t}: {spread}; the floor is {floor:.2f}")
    texts[f"{t}"] = f"House numbers on a circle, coloured by digit, for t = {t}; {spread}."
frames(circles, texts, "t")

# %% [markdown]
# With $t = 1$ the digits are in order on the circle, and yet the loss cannot come near its floor. With $t = 64$ it is nearest, and digits
# that are told apart well enough are not pushed any further. CLIP learns $t$, and holds it at 100 or below.
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
# From now on it is frozen. It gives $8 \times 8$ regions of a scene. A small network reads each of them, and their mean is the
# picture's vector. A GRU reads the sentence.


# %% tags=["nbval-ignore-output"]
class Regions(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(66, 128), nn.ReLU(), nn.Linear(128, 128))

    def forward(self, regions):
        return self.network(regions).mean(1).relu()


@torch.no_grad()
def regions(data):
    return torch.cat([grid.eval()(x) for x in data.tensors["scene"].split(250)])


# %% tags=["nbval-ignore-output"]
def find(data, text=RecurrentSentence, batch_size=128):
    seed_everything(0)
    model = JointEmbedding({"regions": Regions(), "sentence": text(len(words), 64)}, [128, 64])
    read = {"regions": regions(data), "sentence": encode(sentences(data))}
    fit(model, read, epochs=epochs, batch_size=batch_size, lr=lr, schedule="one-cycle")
    return model.eval()


space = find(train)
with torch.no_grad():
    pictures, texts = space.embed({"regions": regions(test), "sentence": encode(sentences(test, -1))}).values()
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
own = torch.eye(len(s), dtype=torch.bool)
recall = {
    "picture finds its own sentence": recall_at(s, own),
    "sentence finds its own picture": recall_at(s.T, own),
    "ceiling of both": (1 / same.sum(1)).mean().item(),
    "picture finds a sentence that is true": recall_at(s, same),
    "sentence finds a picture that shows it": recall_at(s.T, same),
}
show(
    bars(recall, "Most mistakes by the usual count are none", "R@1 of 1,000"),
    "R@1: " + ", ".join(f"{name} {x:.2f}" for name, x in recall.items()) + ".",
)

# %%
claim(
    "a sentence finds a picture that shows it far more often than its own picture",
    recall["sentence finds a picture that shows it"]
    > recall["ceiling of both"]
    > recall["sentence finds its own picture"],
    str(recall),
)

# %% [markdown]
# ## Naming without classes
#
# To name a picture of one object, compare it with all 80 names, "the red zero" to "the white nine". No classifier was trained, so this
# is called *zero-shot* classification. Compare names that were in training with four that never were, "the red seven" among
# them; and the digit by its bare word, "seven".

# %% tags=["nbval-ignore-output"]
with torch.no_grad():
    named = space.embed({"sentence": encode(names)})["sentence"]
    bare = space.embed({"sentence": encode(WORDS)})["sentence"]
trained = [("red", 2), ("green", 7), ("blue", 9), ("purple", 5)]
rightly = {}
for kind, listed in (("in training", trained), ("new", never)):
    one = scenes("test", n=300, seed=1, objects=(1, 1), always=listed)
    a = space.embed({"regions": regions(one)})["regions"].detach()
    colour, digit = one.tensors["colour_label"][:, 0], one.tensors["digit_label"][:, 0]
    guess, alone = (a @ named.T).argmax(1), (a @ bare.T).argmax(1)
    hits = {"colour": guess // 10 == colour, "digit": guess % 10 == digit, "digit, by the bare word": alone == digit}
    rightly[kind] = {what: hit.double().mean() for what, hit in hits.items()}

# %% tags=["hide-input", "nbval-ignore-output"]
show(
    dots(rightly, "New pairs are named, if asked for as a pair", "share that is right"),
    "; ".join(f"{kind}: " + ", ".join(f"{k} {x:.2f}" for k, x in of.items()) for kind, of in rightly.items()) + ".",
)

# %% [markdown]
# Why is a new seven found less often by the bare word? A guess, from what similarity is: in training no red picture came with "seven", so
# given "seven" *red* is impossible, and the space has learned it. How would you test this? One way is in the exercises.
#
# ## Red three − red + blue
#
# Kiros and others (2014) found that pictures and words can be added: a picture of a blue car − "blue" + "red" finds red cars. Try it here: take a
# picture of one object, subtract its colour, add another, and look for the nearest picture. A colour's vector is the mean of its ten names. The start is itself
# one of the pictures, and programs commonly leave it out. **Before you run it:** does that matter?

# %% tags=["nbval-ignore-output"]
from mmtutor.metrics import analogies

single = [k for k, things in enumerate(test.objects) if len(things) == 1][:250]
pool, is_a = pictures[single], [(test.objects[k][0].colour, test.objects[k][0].digit) for k in single]
tint = dict(zip(colours, named.view(8, 10, -1).mean(1), strict=True))  # a vector for each colour
asked = [(k, c) for k, (colour, d) in enumerate(is_a) for c in colours if c != colour and (c, d) in is_a]
start, minus = pool[[k for k, _ in asked]], torch.stack([tint[is_a[k][0]] for k, _ in asked])
plus = torch.stack([tint[c] for _, c in asked])
right = torch.tensor([[x == (c, is_a[k][1]) for x in is_a] for k, c in asked])
itself = torch.eye(len(single), dtype=torch.bool)[[k for k, _ in asked]]
sentence = named[[10 * colours.index(c) + is_a[k][1] for k, c in asked]]
scores = {
    "the start may be found": analogies(start, minus, plus, pool, right),
    "the start is left out": analogies(start, minus, plus, pool, right, itself),
    "instead: the sentence 'the blue three'": recall_at(sentence @ pool.T, right),
}

# %% tags=["hide-input", "nbval-ignore-output"]
show(
    bars(scores, "Arithmetic works; asking works better", "share of queries that find a right picture"),
    ", ".join(f"{k} {x:.2f}" for k, x in scores.items()) + ".",
)

# %% [markdown]
# ## What breaks
#
# **The hardest negative may be no negative.** Train house numbers and words with the triplet loss and the hardest negative. In a batch of 64
# some other word is nearly always the same digit, so it is exactly as similar as the right one, and costs $\alpha$ in both directions, for ever. VSE++ users who report a loss stuck
# at $2\alpha$ suspect that the space has collapsed, since a constant embedding has this loss, too. Here it has not. `group` names labels: examples of one group do
# not count as negatives.

# %% tags=["nbval-ignore-output"]
stuck = {}
for way, settings in (("every other word is a negative", {}), ("those of the same digit are not", {"group": "label"})):
    a, b, _, past = embed_words(label["train"], Triplet(0.2, hardest=True), **settings)
    stuck[way] = past.train["loss"][-1]
    right = ((a @ b.T).argmax(1) == label["test"]).double().mean()
    print(f"{way}: loss {stuck[way]:.3f}, right word {right:.3f}")

# %%
with_false, without = stuck.values()
claim("with false negatives the hardest-negative loss stays near 2α", abs(with_false - 0.4) < 0.02, f"{with_false}")
claim("without them it goes to zero", without < 0.02, f"{without}")

# %% [markdown]
# **It finds, but does not bind.** Exchange the digits of a sentence, "the red three and the blue seven". Is the true sentence nearer to the picture?
# A *bag of words* cannot know, the two have the same words. A GRU could.


# %%
def swapped(things):
    return f"{name(things[0].colour, things[1].digit)} and {name(things[1].colour, things[0].digit)}"


@torch.no_grad()
def binding(model, data):
    two = [k for k, things in enumerate(data.objects) if len(things) == 2]
    a, both = model.embed({"regions": regions(data)[two]})["regions"], sentences(data)
    said = encode([both[k] for k in two]), encode([swapped(data.objects[k]) for k in two])
    true, false = ((a * model.embed({"sentence": x})["sentence"]).sum(1) for x in said)
    gap = true - false
    return ((gap > 1e-5).double() + (gap.abs() <= 1e-5) / 2).mean().item()  # a tie is one half


# %% tags=["nbval-ignore-output"]
few = [(c, d) for c in ("red", "green", "blue") for d in (1, 4, 7)]
rest = [(c, d) for c in COLOURS for d in range(10) if (c, d) not in few]
nine = {split: scenes(split, n=m, objects=(2, 2), never=rest) for split, m in (("train", n // 2), ("test", 500))}
bound = {
    "all pairs, GRU": binding(space, test),
    "nine pairs, bag of words": binding(find(nine["train"], BagOfWords, 64), nine["test"]),
    "nine pairs, GRU": binding(find(nine["train"], batch_size=64), nine["test"]),
}
show(
    bars(bound, "It binds only if the batch asks for it", "the true sentence is nearer", 0.5),
    ", ".join(f"{k} {x:.2f}" for k, x in bound.items()) + ".",
)

# %%
claim("a bag of words is at one half", abs(bound["nine pairs, bag of words"] - 0.5) < 0.02, str(bound))
claim("the GRU binds where batches hold the exchanged pairs", bound["nine pairs, GRU"] > 0.9, str(bound))
claim("the same GRU hardly binds where they do not", bound["all pairs, GRU"] < 0.7, str(bound))

# %% [markdown]
# The space that finds pictures so well hardly knows which colour belongs to which digit. Is it the network? No: the same network binds nearly always when there are only nine
# pairs. With 76 pairs, a batch of 128 almost never holds the picture with exchanged digits, and the loss never asks. Yuksekgonul and others
# (2023) saw this in CLIP, and made batches with exchanged words.
#
# **Two cones.** The means of the two modalities lie apart, the *modality gap* (Liang, 2022). Is it harmful? Move both means to zero:

# %% tags=["nbval-ignore-output"]
from mmtutor.metrics import modality_gap

moved = [nn.functional.normalize(z - z.mean(0), dim=1) for z in (pictures, texts)]
print(f"gap {modality_gap(pictures, texts):.2f}, R@1 {recall_at(s.T, same):.3f}")
print(f"moved: gap {modality_gap(*moved):.2f}, R@1 {recall_at(moved[1] @ moved[0].T, same):.3f}")

# %% [markdown]
# It hardly matters here. A batch of one pair has no negatives and the loss 0; the library refuses it.
#
# ## What to remember
#
# - Two encoders and pairs are enough for one space; the rest of the batch is the negatives.
# - The best similarity is pointwise mutual information: the space keeps of each modality what it says about the other.
# - Compute floor and ceiling before you train. A loss of 4.6 can be perfect.
# - Other right answers are false negatives in a batch, and false mistakes in R@K.
# - The loss teaches what batches ask for. To find pictures it need not know which colour belongs to which digit.
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
# - A. Radford and others (2021), Learning transferable visual models from natural language supervision, [arXiv:2103.00020](https://arxiv.org/abs/2103.00020).
# - X. Zhai and others (2023), Sigmoid loss for language image pre-training, [arXiv:2303.15343](https://arxiv.org/abs/2303.15343).
# - M. Yuksekgonul and others (2023), When and why vision-language models behave like bags-of-words, [arXiv:2210.01936](https://arxiv.org/abs/2210.01936).
# - The library behind this chapter: `mmtutor.embedding.JointEmbedding`, `mmtutor.embedding.InfoNCE`, `mmtutor.embedding.Triplet`,
#   `mmtutor.embedding.Sigmoid`, `mmtutor.metrics.recall_at`.
