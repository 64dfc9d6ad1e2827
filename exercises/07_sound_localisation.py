# %% [markdown]
# # 7 · Sound localisation: exercises
#
# Write your answer into the cell below a task, and run it: `check` says whether it is right, or which usual mistake it is, and
# gives a hint. A second wrong try gets a second hint.

# %%
import math

import torch

from mmtutor.exercises import check

# %% [markdown]
# ## 7.1 · Decibels
#
# *5 minutes, easy.* Write a function that gets energies, a tensor of any shape, and returns how many decibels each is relative to
# the largest: 0 for the largest, and nothing below −60.

# %% tags=["starter"]
decibels = None  # replace this by a function: def decibels(energy): ...


# %% tags=["solution"]
def decibels(energy):
    return (10 * torch.log10(energy / energy.max())).clamp(min=-60)


# %% tags=["right"]
def decibels(energy):
    return 10 * ((energy / energy.max()).clamp(min=1e-6).log() / math.log(10))


# %% tags=["wrong"]
# 20 times the logarithm is for amplitudes
def decibels(energy):
    return (20 * torch.log10(energy / energy.max())).clamp(min=-60)


# %% tags=["wrong"]
# this is the natural logarithm
def decibels(energy):
    return (10 * (energy / energy.max()).log()).clamp(min=-60)


# %% tags=["wrong"]
# energies are compared with 1
def decibels(energy):
    return (10 * torch.log10(energy)).clamp(min=-60)


# %%
check("7.1", decibels)

# %% [markdown]
# ## 7.2 · The map
#
# *5 minutes, easy.* Write a function that gets the vectors of the regions, a tensor $(L, d)$, and that of the sound, $(d,)$, none of
# which has length 1. It returns their cosines, $(L,)$.

# %% tags=["starter"]
cosines = None  # replace this by a function: def cosines(v, h): ...


# %% tags=["solution"]
def cosines(v, h):
    return (v @ h) / (v.norm(dim=1) * h.norm())


# %% tags=["right"]
def cosines(v, h):
    return torch.nn.functional.cosine_similarity(v, h[None], dim=1)


# %% tags=["wrong"]
# these are products, not cosines
def cosines(v, h):
    return v @ h


# %% tags=["wrong"]
# lengths are computed over the regions
def cosines(v, h):
    return torch.nn.functional.normalize(v, dim=0) @ torch.nn.functional.normalize(h, dim=0)


# %% tags=["wrong"]
# this is a softmax over the regions
def cosines(v, h):
    return ((v @ h) / (v.norm(dim=1) * h.norm())).softmax(0)


# %%
check("7.2", cosines)

# %% [markdown]
# ## 7.3 · Log-sum-exp
#
# *10 minutes, medium.* Write a function that gets maps, a tensor $(\dots, L)$, and the sharpness $r$, and returns
# $\frac1r \log \frac1L \sum_l \exp(r m_l)$, a tensor $(\dots)$.

# %% tags=["starter"]
pool = None  # replace this by a function: def pool(m, r): ...


# %% tags=["solution"]
def pool(m, r):
    return (torch.logsumexp(r * m, dim=-1) - math.log(m.shape[-1])) / r


# %% tags=["right"]
def pool(m, r):
    return (r * m).exp().mean(-1).log() / r


# %% tags=["wrong"]
# this is the sum of exp(r m), not the mean
def pool(m, r):
    return torch.logsumexp(r * m, dim=-1) / r


# %% tags=["wrong"]
# it is not divided by r
def pool(m, r):
    return (r * m).exp().mean(-1).log()


# %% tags=["wrong"]
# this is attention
def pool(m, r):
    return ((r * m).softmax(-1) * m).sum(-1)


# %%
check("7.3", pool)

# %% [markdown]
# ## 7.4 · An answer that ignores the sound
#
# *5 minutes, easy.* Someone always finds the objects of a scene, and points at one of them, whatever the voice says. Write a function
# that gets the number of objects of each scene, int64 $(N,)$, and returns how often this is right.

# %% tags=["starter"]
deaf = None  # replace this by a function: def deaf(count): ...


# %% tags=["solution"]
def deaf(count):
    return (1 / count.double()).mean()


# %% tags=["right"]
def deaf(count):
    return sum(1 / n for n in count.tolist()) / len(count)


# %% tags=["wrong"]
# this is one over the mean number of objects
def deaf(count):
    return 1 / count.double().mean()


# %% tags=["wrong"]
# this is one over the largest number of objects
def deaf(count):
    return 1 / count.max().double()


# %% tags=["wrong"]
# scenes of one object are left out
def deaf(count):
    return (1 / count[count > 1].double()).mean()


# %%
check("7.4", deaf)

# %% [markdown]
# ## 7.5 · At the median
#
# *10 minutes, medium.* An answer covers half of the picture, an object the share $s$ of it. Write a function that gets shares, a tensor,
# and returns the largest IoU that is possible.

# %% tags=["starter"]
best_overlap = None  # replace this by a function: def best_overlap(share): ...


# %% tags=["solution"]
def best_overlap(share):
    half = torch.full_like(share, 0.5)
    return torch.minimum(share, half) / torch.maximum(share, half)


# %% tags=["right"]
def best_overlap(share):
    return torch.where(share < 0.5, 2 * share, 0.5 / share)


# %% tags=["wrong"]
# this is the intersection over the area of the picture
def best_overlap(share):
    return share.clamp(max=0.5)


# %% tags=["wrong"]
# the union counts what both cover twice
def best_overlap(share):
    return share.clamp(max=0.5) / (share + 0.5)


# %% tags=["wrong"]
# this is the Dice coefficient
def best_overlap(share):
    return 2 * share.clamp(max=0.5) / (share + 0.5)


# %%
check("7.5", best_overlap)

# %% [markdown]
# ## To try in the chapter
#
# - Train `network(Mean())` as `network()` was trained. It matches; does it point?
# - Train on scenes of one to three objects from the start. When does learning begin?
# - Two voices at once, `speak(shown, "test", voices=2)`: does the map show both?
# - Louder noise, `snr_db=(-10, -5)`: what fails first, pointing or matching?
# - Hand in another loss: `SoundLocalisation(…, contrast=Triplet(hardest=True, warm_up=200))`, with `Triplet` of `mmtutor.embedding`.
# - Calibrate on silence instead of voices from elsewhere. How many voices from elsewhere are false alarms then?
# - Copy the folder `mmtutor/localisation` into your own project, with a network that was trained on photographs.
