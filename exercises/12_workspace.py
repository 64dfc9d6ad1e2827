# %% [markdown]
# # 12 · Modules and a shared workspace: exercises
#
# Write your answer into the cell below a task, and run it: `check` says whether it is right, or which usual mistake it is, and
# gives a hint. A second wrong try gets a second hint.

# %%
import torch

from mmtutor.exercises import check

# %% [markdown]
# ## 12.1 · Two messages
#
# *5 minutes, easy.* Several modules say something about one number, each a mean and a variance. Write a function that gets the means and the
# variances, tensors $(M,)$, and returns mean and variance of the normalised product, a tensor $(2,)$.

# %% tags=["starter"]
together = None  # replace this by a function: def together(means, variances): ...


# %% tags=["solution"]
def together(means, variances):
    precision = (1 / variances).sum()
    return torch.stack([(means / variances).sum() / precision, 1 / precision])


# %% tags=["right"]
def together(means, variances):
    m, v = means[0], variances[0]
    for mean, variance in zip(means[1:], variances[1:], strict=True):
        m, v = (m * variance + mean * v) / (v + variance), v * variance / (v + variance)
    return torch.stack([m, v])


# %% tags=["wrong"]
# the mean is that of the means
def together(means, variances):
    return torch.stack([means.mean(), 1 / (1 / variances).sum()])


# %% tags=["wrong"]
# variances add up here
def together(means, variances):
    precision = (1 / variances).sum()
    return torch.stack([(means / variances).sum() / precision, variances.sum()])


# %% tags=["wrong"]
# the means are weighted by the variances
def together(means, variances):
    return torch.stack([(means * variances).sum() / variances.sum(), 1 / (1 / variances).sum()])


# %%
check("12.1", together)

# %% [markdown]
# ## 12.2 · A message on its way
#
# *10 minutes, medium.* A child is $a$ times its parent, plus noise of variance $q$. What is known of the child is the message $(h, p)$.
# Write a function that gets the four numbers and returns what follows for the parent, a tensor $(h', p')$.

# %% tags=["starter"]
up = None  # replace this by a function: def up(h, p, a, q): ...


# %% tags=["solution"]
def up(h, p, a, q):
    M = 1 / (1 + p * q)
    return torch.tensor([a * M * h, a * M * p * a])


# %% tags=["right"]
def up(h, p, a, q):
    mean, variance = h / p, 1 / p + q  # of the child without its noise
    return torch.tensor([a * mean / variance, a**2 / variance])


# %% tags=["wrong"]
# the noise of the link is forgotten
def up(h, p, a, q):
    return torch.tensor([a * h, a**2 * p])


# %% tags=["wrong"]
# a is forgotten
def up(h, p, a, q):
    return torch.tensor([h, p]) / (1 + p * q)


# %% tags=["wrong"]
# the precision has a where it needs a²
def up(h, p, a, q):
    return torch.tensor([a * h, a * p]) / (1 + p * q)


# %%
check("12.2", up)

# %% [markdown]
# ## 12.3 · What a parent tells a child
#
# *5 minutes, easy.* A parent believes $(m, v)$, mean and variance. One factor of that is what this child told it, $(m', v')$. Write a function that gets
# both, tensors $(2,)$, and returns mean and variance of what the parent tells this child.

# %% tags=["starter"]
down = None  # replace this by a function: def down(belief, told): ...


# %% tags=["solution"]
def down(belief, told):
    precision = 1 / belief[1] - 1 / told[1]
    return torch.stack([(belief[0] / belief[1] - told[0] / told[1]) / precision, 1 / precision])


# %% tags=["right"]
def down(belief, told):
    v = belief[1] * told[1] / (told[1] - belief[1])
    return torch.stack([v * (belief[0] / belief[1] - told[0] / told[1]), v])


# %% tags=["wrong"]
# this is the whole belief
def down(belief, told):
    return belief


# %% tags=["wrong"]
# means are subtracted
def down(belief, told):
    return torch.stack([belief[0] - told[0], 1 / (1 / belief[1] - 1 / told[1])])


# %% tags=["wrong"]
# the mean is still that of the whole belief
def down(belief, told):
    return torch.stack([belief[0], 1 / (1 / belief[1] - 1 / told[1])])


# %%
check("12.3", down)

# %% [markdown]
# ## 12.4 · A category from several modules
#
# *10 minutes, medium.* Write a function that gets $p(c)$, a tensor $(K,)$, the messages $\log p(x_m \mid c)$, a tensor $(M, B, K)$, and a mask $(M, B)$ that says which module
# observed something. It returns $p(c \mid x)$, $(B, K)$.

# %% tags=["starter"]
category = None  # replace this by a function: def category(prior, messages, present): ...


# %% tags=["solution"]
def category(prior, messages, present):
    said = torch.where(present[..., None], messages, torch.zeros_like(messages))
    return (prior.log() + said.sum(0)).softmax(1)


# %% tags=["right"]
def category(prior, messages, present):
    p = prior * (messages.exp() ** present[..., None].double()).prod(0)
    return p / p.sum(1, keepdim=True)


# %% tags=["wrong"]
# the prior counts once for each module
def category(prior, messages, present):
    return ((messages * present[..., None]) + prior.log()).sum(0).softmax(1)


# %% tags=["wrong"]
# messages of modules that observed nothing are counted
def category(prior, messages, present):
    return (prior.log() + messages.sum(0)).softmax(1)


# %% tags=["wrong"]
# the prior is missing
def category(prior, messages, present):
    return (messages * present[..., None]).sum(0).softmax(1)


# %%
check("12.4", category)

# %% [markdown]
# ## 12.5 · A rotation from pairs
#
# *10 minutes, medium.* Two modules have codes of the same things, turned against each other. Write a function that gets pairs, tensors $a$ and $b$, both $(n, d)$, and
# returns the rotation or reflection $Q$, $(d, d)$, for which $a Q$ is nearest to $b$.

# %% tags=["starter"]
rotation = None  # replace this by a function: def rotation(a, b): ...


# %% tags=["solution"]
def rotation(a, b):
    U, _, Vh = torch.linalg.svd(a.T @ b)
    return U @ Vh


# %% tags=["right"]
def rotation(a, b):
    values, V = torch.linalg.eigh(b.T @ a @ a.T @ b)
    return a.T @ b @ (V / values.sqrt()) @ V.T  # the polar factor of a.T @ b


# %% tags=["wrong"]
# this is least squares
def rotation(a, b):
    return torch.linalg.lstsq(a, b).solution


# %% tags=["wrong"]
# this turns the other way
def rotation(a, b):
    U, _, Vh = torch.linalg.svd(b.T @ a)
    return U @ Vh


# %% tags=["wrong"]
# S is still in it
def rotation(a, b):
    return a.T @ b


# %%
check("12.5", rotation)

# %% [markdown]
# ## To try in the chapter
#
# - Let three modules form a chain. Which of them gains most from the third one's message?
# - Let a parent tell each child all it believes (copy `MessageTree`, and leave out `sibling != child`). By how much are beliefs too sure?
# - Find ten categories in place of 20: `categories("picture", "voice", k=10)`. Are they the ten digits, with other starts too (`seed=1`)?
# - Give `SharedCategories` 100 pairs, and of all other examples one modality (with masks). How many pairs do messages need, and how many
#   does the workspace need?
# - Add the contrastive loss: `workspace(100, contrast=InfoNCE(), translation=1.0, contrastive=0.03)`, with `InfoNCE` of `mmtutor.embedding`.
# - Add words as a third module: a `TableLink(20, 27)` for letter $k$ of `digits("word", …)`, with `word[:, k].argmax(1)`.
# - Copy the folder `mmtutor/workspace` into your own project, with two networks that were trained apart.
