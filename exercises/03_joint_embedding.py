# %% [markdown]
# # 3 · Joint embedding: exercises
#
# Write your answer into the cell below a task, and run it: `check` says whether it is right, or which usual mistake it is, and
# gives a hint. A second wrong try gets a second hint.

# %%
import torch

from mmtutor.exercises import check

# %% [markdown]
# ## 3.1 · InfoNCE
#
# *10 minutes, easy.* Similarities of $N$ pictures and their $N$ sentences are a tensor $(N, N)$, pictures in the rows, pairs on
# the diagonal. Write a function that gets $s$ and $t$ and returns InfoNCE, the mean of both directions, in nats.

# %% tags=["starter"]
info_nce = None  # replace this by a function: def info_nce(s, t): ...


# %% tags=["solution"]
def info_nce(s, t):
    of_pictures = (t * s).log_softmax(1).diagonal()
    of_sentences = (t * s).log_softmax(0).diagonal()
    return -(of_pictures.mean() + of_sentences.mean()) / 2


# %% tags=["right"]
def info_nce(s, t):
    own = torch.arange(len(s))
    losses = [torch.nn.functional.cross_entropy(t * x, own) for x in (s, s.T)]
    return sum(losses) / 2


# %% tags=["wrong"]
# only pictures look for their sentences
def info_nce(s, t):
    return torch.nn.functional.cross_entropy(t * s, torch.arange(len(s)))


# %% tags=["wrong"]
# similarities are divided by t
def info_nce(s, t):
    own = torch.arange(len(s))
    return sum(torch.nn.functional.cross_entropy(x / t, own) for x in (s, s.T)) / 2


# %% tags=["wrong"]
# it is the sum of both directions
def info_nce(s, t):
    own = torch.arange(len(s))
    return sum(torch.nn.functional.cross_entropy(t * x, own) for x in (s, s.T))


# %%
check("3.1", info_nce)

# %% [markdown]
# ## 3.2 · The least loss of a batch
#
# *10 minutes, medium.* Picture and sentence share a label and nothing else. Write a function that gets the labels of a batch,
# whole numbers $(N,)$, and returns the least value that InfoNCE can have for new examples with these labels, in nats.

# %% tags=["starter"]
least_loss = None  # replace this by a function: def least_loss(label): ...


# %% tags=["solution"]
def least_loss(label):
    m = (label[:, None] == label).sum(1)  # how many of the batch have the label of each
    return m.double().log().mean()


# %% tags=["right"]
def least_loss(label):
    best = (label[:, None] == label).double()  # all of one label get the same
    return -(best / best.sum(1, keepdim=True)).diagonal().log().mean()


# %% tags=["wrong"]
# this is the logarithm of the mean
def least_loss(label):
    return (label[:, None] == label).sum(1).double().mean().log()


# %% tags=["wrong"]
# the right one itself does not count
def least_loss(label):
    m = (label[:, None] == label).sum(1) - 1
    return m.clamp_min(1).double().log().mean()


# %% tags=["wrong"]
# this is the bound log N − I
def least_loss(label):
    return torch.tensor(len(label) / len(label.unique())).double().log()


# %%
check("3.2", least_loss)

# %% [markdown]
# ## 3.3 · The hardest negative
#
# *15 minutes, medium.* Write a function that gets $s$, a tensor $(N, N)$ as in 3.1, and the margin $\alpha$, and returns the triplet
# loss with the hardest negative: for each pair $i$ the largest $[\alpha + s_{ij} - s_{ii}]_+$ over the sentences $j \ne i$, plus
# the largest $[\alpha + s_{ji} - s_{ii}]_+$ over the pictures; then the mean over pairs.

# %% tags=["starter"]
hardest = None  # replace this by a function: def hardest(s, margin): ...


# %% tags=["solution"]
def hardest(s, margin):
    own = torch.eye(len(s), dtype=torch.bool)
    others = s.masked_fill(own, -torch.inf)
    of_pictures = (margin + others.amax(1) - s.diagonal()).clamp_min(0)
    of_sentences = (margin + others.amax(0) - s.diagonal()).clamp_min(0)
    return (of_pictures + of_sentences).mean()


# %% tags=["right"]
def hardest(s, margin):
    total = 0.0
    for i in range(len(s)):
        others = [j for j in range(len(s)) if j != i]
        total += max(max(margin + s[i, j] - s[i, i], 0) for j in others)
        total += max(max(margin + s[j, i] - s[i, i], 0) for j in others)
    return total / len(s)


# %% tags=["wrong"]
# the partner counts as a negative
def hardest(s, margin):
    pair = s.diagonal()
    return ((margin + s.amax(1) - pair).clamp_min(0) + (margin + s.amax(0) - pair).clamp_min(0)).mean()


# %% tags=["wrong"]
# all negatives are summed
def hardest(s, margin):
    others = ~torch.eye(len(s), dtype=torch.bool)
    rows = (margin + s - s.diagonal()[:, None]).clamp_min(0) * others
    columns = (margin + s - s.diagonal()).clamp_min(0) * others
    return (rows + columns).sum() / len(s)


# %% tags=["wrong"]
# only one direction counts
def hardest(s, margin):
    others = s.masked_fill(torch.eye(len(s), dtype=torch.bool), -torch.inf)
    return (margin + others.amax(1) - s.diagonal()).clamp_min(0).mean()


# %%
check("3.3", hardest)

# %% [markdown]
# ## 3.4 · Recall at K
#
# *10 minutes, medium.* Similarities of queries with candidates are a tensor $(N, M)$; `right`, bool $(N, M)$, says which candidates
# are right, at least one for each query. Write a function that gets both and $K$ and returns R@K: the share of queries that have a
# right candidate among their $K$ most similar.

# %% tags=["starter"]
recall = None  # replace this by a function: def recall(s, right, k): ...


# %% tags=["solution"]
def recall(s, right, k):
    nearest = s.topk(k, dim=1).indices
    return right.gather(1, nearest).any(1).double().mean()


# %% tags=["right"]
def recall(s, right, k):
    rank_of_best = (s > s.masked_fill(~right, -torch.inf).amax(1, keepdim=True)).sum(1)  # how many are nearer
    return (rank_of_best < k).double().mean()


# %% tags=["wrong"]
# this is the share of right ones among the first K
def recall(s, right, k):
    return right.gather(1, s.topk(k, dim=1).indices).double().mean()


# %% tags=["wrong"]
# all right candidates must be found
def recall(s, right, k):
    found = right.gather(1, s.topk(k, dim=1).indices).sum(1)
    return (found == right.sum(1)).double().mean()


# %% tags=["wrong"]
# the least similar come first
def recall(s, right, k):
    return right.gather(1, s.argsort(1)[:, :k]).any(1).double().mean()


# %%
check("3.4", recall)

# %% [markdown]
# ## 3.5 · What similarity is at best
#
# *10 minutes, easy.* Joint probabilities $p(x, y)$ are a tensor $(X, Y)$ whose numbers sum to 1. Write a function that returns the
# pointwise mutual information of each pair, a tensor $(X, Y)$, in nats.

# %% tags=["starter"]
information = None  # replace this by a function: def information(p): ...


# %% tags=["solution"]
def information(p):
    p_x, p_y = p.sum(1, keepdim=True), p.sum(0, keepdim=True)
    return (p / (p_x * p_y)).log()


# %% tags=["right"]
def information(p):
    return p.log() - torch.outer(p.sum(1), p.sum(0)).log()


# %% tags=["wrong"]
# this is log p(y | x)
def information(p):
    return (p / p.sum(1, keepdim=True)).log()


# %% tags=["wrong"]
# this is log p(x, y)
def information(p):
    return p.log()


# %% tags=["wrong"]
# it is weighted by p(x, y)
def information(p):
    return p * (p / torch.outer(p.sum(1), p.sum(0))).log()


# %%
check("3.5", information)

# %% [markdown]
# ## To try in the chapter
#
# - Train the house numbers with batches of 16 and of 256, with as many epochs. Which of the two meets its floor? Which finds better among 256?
# - Train `find(train, loss=Sigmoid())` with `Sigmoid` from `mmtutor.embedding`. What are R@1 and the gap?
# - Use `TransformerSentence` in place of the GRU for the nine pairs. Does it bind? After how many epochs?
# - Why may the bare word "seven" fail on a new pair, a red seven? Make the scenes without `never`; then with `never`, and with the bare
#   word among the names on which the image encoder is trained. Which of the two helps?
# - Let `sentences` say what is left and what is right, "the red seven left of the blue three": with `Vocabulary.from_captions([*names, "and", "left of", "right of"])`, `length=10` in
#   `encode`, and `relation` of `mmtutor.data.scene`. Does the space learn it? Test with the relation exchanged.
# - Copy the folder `mmtutor/embedding` into your own project and train `JointEmbedding` on two modalities of your own.
