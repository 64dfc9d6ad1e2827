# %% [markdown]
# # 5 · Visual question answering: exercises
#
# Write your answer into the cell below a task, and run it: `check` says whether it is right, or which usual mistake it is, and
# gives a hint. A second wrong try gets a second hint.

# %%
import torch

from mmtutor.exercises import check

# %% [markdown]
# ## 5.1 · The best guess without the picture
#
# *5 minutes, easy.* $p(\text{question}, \text{answer})$ is a tensor $(Q, C)$ whose numbers sum to 1. Write a function that returns how
# often the best guess is right that knows the question and not the picture.

# %% tags=["starter"]
best_guess = None  # replace this by a function: def best_guess(p): ...


# %% tags=["solution"]
def best_guess(p):
    return p.max(dim=1).values.sum()


# %% tags=["right"]
def best_guess(p):
    of_question = p.sum(1, keepdim=True)
    return (of_question[:, 0] * (p / of_question).amax(1)).sum()


# %% tags=["wrong"]
# the commonest answer of all
def best_guess(p):
    return p.sum(0).max()


# %% tags=["wrong"]
# all questions count the same
def best_guess(p):
    return (p / p.sum(1, keepdim=True)).amax(1).mean()


# %% tags=["wrong"]
# this is a guess drawn from p(answer | question)
def best_guess(p):
    return (p * p / p.sum(1, keepdim=True)).sum()


# %%
check("5.1", best_guess)

# %% [markdown]
# ## 5.2 · A hop of attention
#
# *10 minutes, easy.* Write a function that gets regions $v$, a tensor $(B, L, H)$, the question so far $u$, $(B, H)$, and a score of each
# region, $(B, L)$. It returns what $u$ is after the hop, $(B, H)$.

# %% tags=["starter"]
hop = None  # replace this by a function: def hop(v, u, score): ...


# %% tags=["solution"]
def hop(v, u, score):
    p = score.softmax(dim=1)
    return u + torch.einsum("bl,blh->bh", p, v)


# %% tags=["right"]
def hop(v, u, score):
    e = score.exp()
    p = e / e.sum(1, keepdim=True)
    return u + (p[:, None] @ v)[:, 0]


# %% tags=["wrong"]
# the softmax is over the batch
def hop(v, u, score):
    return u + torch.einsum("bl,blh->bh", score.softmax(dim=0), v)


# %% tags=["wrong"]
# what was seen takes the place of what was asked
def hop(v, u, score):
    return torch.einsum("bl,blh->bh", score.softmax(dim=1), v)


# %% tags=["wrong"]
# the regions are averaged
def hop(v, u, score):
    return u + (score.softmax(dim=1)[..., None] * v).mean(1)


# %%
check("5.2", hop)

# %% [markdown]
# ## 5.3 · FiLM
#
# *10 minutes, medium.* A linear layer of the question gives $[\Delta\gamma; \beta]$, a tensor $(B, 2H)$, and $\gamma = 1 + \Delta\gamma$. Write a
# function that gets features $F$, $(B, H, \text{rows}, \text{columns})$, and this tensor, and returns $\gamma \odot F + \beta$.

# %% tags=["starter"]
film = None  # replace this by a function: def film(features, change): ...


# %% tags=["solution"]
def film(features, change):
    delta, beta = change[:, :, None, None].chunk(2, dim=1)
    return (1 + delta) * features + beta


# %% tags=["right"]
def film(features, change):
    B, H, _, _ = features.shape
    out = torch.empty_like(features)
    for h in range(H):
        out[:, h] = (1 + change[:, h]).view(B, 1, 1) * features[:, h] + change[:, H + h].view(B, 1, 1)
    return out


# %% tags=["wrong"]
# γ is Δγ without the 1
def film(features, change):
    gamma, beta = change[:, :, None, None].chunk(2, dim=1)
    return gamma * features + beta


# %% tags=["wrong"]
# γ and β are exchanged
def film(features, change):
    beta, delta = change[:, :, None, None].chunk(2, dim=1)
    return (1 + delta) * features + beta


# %% tags=["wrong"]
# channels are not modulated but columns
def film(features, change):
    delta, beta = change[:, None, None].chunk(2, dim=3)
    return (1 + delta) * features + beta


# %%
check("5.3", film)

# %% [markdown]
# ## 5.4 · The additive projection
#
# *10 minutes, medium.* The scores of a model for picture $i$ with question $j$ are a tensor $(N, N, C)$. Write a function that
# returns the scores of its additive projection, EMAP, for the pairs $(i, i)$, a tensor $(N, C)$.

# %% tags=["starter"]
projection = None  # replace this by a function: def projection(scores): ...


# %% tags=["solution"]
def projection(scores):
    return scores.mean(1) + scores.mean(0) - scores.mean((0, 1))


# %% tags=["right"]
def projection(scores):
    middle = scores.flatten(0, 1).mean(0)
    return middle + (scores.mean(1) - middle) + (scores.mean(0) - middle)


# %% tags=["wrong"]
# the mean of all is in it twice
def projection(scores):
    return scores.mean(1) + scores.mean(0)


# %% tags=["wrong"]
# these are the model's own scores
def projection(scores):
    own = torch.arange(len(scores))
    return scores[own, own]


# %% tags=["wrong"]
# this is the part of the picture alone
def projection(scores):
    return scores.mean(1)


# %%
check("5.4", projection)

# %% [markdown]
# ## 5.5 · The accuracy of VQA
#
# *15 minutes, hard.* In VQA ten people answer each question, and people disagree. The official accuracy of an answer leaves each of the
# ten out once; if $n'$ of the other nine gave that answer, it is worth $\min(n'/3, 1)$, and the mean of these ten numbers is the
# accuracy. Write a function that gets how many of the ten gave an answer, whole numbers $(N,)$, and returns its accuracy, $(N,)$.

# %% tags=["starter"]
accuracy = None  # replace this by a function: def accuracy(count): ...


# %% tags=["solution"]
def accuracy(count):
    one_of_them_left_out = ((count - 1) / 3).clamp(0, 1)
    another_left_out = (count / 3).clamp(0, 1)
    return (count * one_of_them_left_out + (10 - count) * another_left_out) / 10


# %% tags=["right"]
def accuracy(count):
    worth = []
    for n in count.tolist():
        people = [True] * n + [False] * (10 - n)
        worth.append(sum(min(sum(people[:k] + people[k + 1 :]) / 3, 1) for k in range(10)) / 10)
    return torch.tensor(worth, dtype=torch.float64)


# %% tags=["wrong"]
# this is min(n / 3, 1)
def accuracy(count):
    return (count / 3).clamp_max(1)


# %% tags=["wrong"]
# this is the share of people
def accuracy(count):
    return count / 10


# %% tags=["wrong"]
# the person who is left out has always given the answer
def accuracy(count):
    return ((count - 1) / 3).clamp(0, 1)


# %%
check("5.5", accuracy)

# %% [markdown]
# ## To try in the chapter
#
# - Train `stacked()` without `hidden`, as in the paper. Which kind of question suffers most, and why?
# - Train `StackedAttention` with one hop and with three. Which kinds gain?
# - Take the two coordinates from the regions, `predict(classifier, data)[..., :64]`, and ask `questions(data, n=m, kinds=("beside",))` alone (networks then get 64 numbers a region in place of 66).
#   Who still answers?
# - Make FiLM wider, `dim=64`, with ten epochs. Does it read new pairs better?
# - Train FiLM on the biased questions. How much less does it lose than concatenation?
# - Ask a question of your own: `VOCABULARY.encode("is there a seven", 9)`, about a scene of your choice.
# - Copy the folder `mmtutor/vqa` into your own project, and ask about your own pictures.
