# %% [markdown]
# # 6 · Text to image: exercises
#
# Write your answer into the cell below a task, and run it: `check` says whether it is right, or which usual mistake it is, and
# gives a hint. A second wrong try gets a second hint.

# %%
import torch
from torch.nn import functional as F

from mmtutor.exercises import check

# %% [markdown]
# ## 6.1 · The best discriminator
#
# *5 minutes, easy.* Of each picture you know how often it occurs in the data, $p$, and among the drawings, $q$, two tensors. Write a
# function that returns the best number $D$ for each picture.

# %% tags=["starter"]
best_logit = None  # replace this by a function: def best_logit(p, q): ...


# %% tags=["solution"]
def best_logit(p, q):
    return p.log() - q.log()


# %% tags=["right"]
def best_logit(p, q):
    return torch.logit(p / (p + q))


# %% tags=["wrong"]
# this is the probability
def best_logit(p, q):
    return p / (p + q)


# %% tags=["wrong"]
# the sign is the other way round
def best_logit(p, q):
    return (q / p).log()


# %% tags=["wrong"]
# this is the ratio
def best_logit(p, q):
    return p / q


# %%
check("6.1", best_logit)

# %% [markdown]
# ## 6.2 · GAN-CLS
#
# *5 minutes, easy.* Write a function that gets the discriminator's numbers for real pairs, for wrong pairs and for drawings, three
# tensors $(B,)$, and returns its loss, a tensor without dimensions: the mean over the batch.

# %% tags=["starter"]
cls_loss = None  # replace this by a function: def cls_loss(real, wrong, drawn): ...


# %% tags=["solution"]
def cls_loss(real, wrong, drawn):
    return (F.softplus(-real) + (F.softplus(wrong) + F.softplus(drawn)) / 2).mean()


# %% tags=["right"]
def cls_loss(real, wrong, drawn):
    false = (F.logsigmoid(-wrong) + F.logsigmoid(-drawn)) / 2
    return -(F.logsigmoid(real) + false).mean()


# %% tags=["wrong"]
# the ½ is missing
def cls_loss(real, wrong, drawn):
    return (F.softplus(-real) + F.softplus(wrong) + F.softplus(drawn)).mean()


# %% tags=["wrong"]
# wrong pairs are left out
def cls_loss(real, wrong, drawn):
    return (F.softplus(-real) + F.softplus(drawn)).mean()


# %% tags=["wrong"]
# this is the sum over the batch
def cls_loss(real, wrong, drawn):
    return (F.softplus(-real) + (F.softplus(wrong) + F.softplus(drawn)) / 2).sum()


# %%
check("6.2", cls_loss)

# %% [markdown]
# ## 6.3 · What does it aim at?
#
# *5 minutes, medium.* Of each picture you know how often it occurs in the data with this sentence, $p$, and as a wrong pair with it, $w$. The
# discriminator is at its best. Write a function that returns what the generator aims at, if that is a distribution.

# %% tags=["starter"]
aim = None  # replace this by a function: def aim(p, w): ...


# %% tags=["solution"]
def aim(p, w):
    return 2 * p - w


# %% tags=["right"]
def aim(p, w):
    return p + (p - w)


# %% tags=["wrong"]
# these are the data
def aim(p, w):
    return p


# %% tags=["wrong"]
# this does not sum to one
def aim(p, w):
    return 2 * p - w / 2


# %% tags=["wrong"]
# this is the mean of data and wrong pairs
def aim(p, w):
    return (p + w) / 2


# %%
check("6.3", aim)

# %% [markdown]
# ## 6.4 · Flow matching
#
# *5 minutes, medium.* Write a function that gets pictures $(B, d)$, noise $(B, d)$ and times $(B,)$. It returns where one is at these times, and
# the velocity there, stacked to a tensor $(2, B, d)$.

# %% tags=["starter"]
way = None  # replace this by a function: def way(x, noise, time): ...


# %% tags=["solution"]
def way(x, noise, time):
    t = time[:, None]
    return torch.stack([(1 - t) * noise + t * x, x - noise])


# %% tags=["right"]
def way(x, noise, time):
    at = torch.stack([noise[k] + time[k] * (x[k] - noise[k]) for k in range(len(x))])
    return torch.cat([at[None], (x - noise)[None]])


# %% tags=["wrong"]
# the velocity points from the picture to the noise
def way(x, noise, time):
    t = time[:, None]
    return torch.stack([(1 - t) * noise + t * x, noise - x])


# %% tags=["wrong"]
# time runs backwards
def way(x, noise, time):
    t = time[:, None]
    return torch.stack([t * noise + (1 - t) * x, x - noise])


# %% tags=["wrong"]
# the picture stands where the velocity should be
def way(x, noise, time):
    t = time[:, None]
    return torch.stack([(1 - t) * noise + t * x, x])


# %%
check("6.4", way)

# %% [markdown]
# ## 6.5 · Guidance
#
# *5 minutes, easy.* Write a function that gets the velocity with the sentence, the one without, and the guidance $g$, as in the chapter, and
# returns the velocity that is followed.

# %% tags=["starter"]
guided = None  # replace this by a function: def guided(told, untold, g): ...


# %% tags=["solution"]
def guided(told, untold, g):
    return untold + g * (told - untold)


# %% tags=["right"]
def guided(told, untold, g):
    return torch.lerp(untold, told, g)


# %% tags=["wrong"]
# with g = 0 this is the velocity with the sentence
def guided(told, untold, g):
    return told + g * (told - untold)


# %% tags=["wrong"]
# with and without are exchanged
def guided(told, untold, g):
    return told + g * (untold - told)


# %% tags=["wrong"]
# this scales the whole velocity
def guided(told, untold, g):
    return g * told


# %%
check("6.5", guided)

# %% [markdown]
# ## To try in the chapter
#
# - Leave out the wrong pairs, with `ConditionalGAN()`, and take `Discriminator(…, projection=True)`. What is read now, and what is drawn?
# - Take another example's sentence as the wrong one, `wrong=None`. Which word does it read?
# - Normalise the three kinds of pairs apart, `together=False`. Is what it reads the same?
# - `Relativistic(0.01)` with `projection=True` and `normalise=False`: does it vary more?
# - `drawings("train", n=4000, wrong=0.3)`: three in ten sentences say a wrong digit. How many drawings of the GAN are wrong, and of the flow?
# - Draw with 2, 5 and 20 steps of the flow. From how many on does it stop getting better?
# - Copy the folder `mmtutor/text_to_image` into your own project, with photographs of $32 \times 32$ pixels.
