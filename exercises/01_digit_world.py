# %% [markdown]
# # 1 · The digit world: exercises
#
# Write your answer into the cell below a task, and run it: `check` says whether it is right, or which usual mistake it is, and
# gives a hint. A second wrong try gets a second hint.

# %%
import torch

from mmtutor.exercises import check

# %% [markdown]
# ## 1.1 · How loud is the noise?
#
# *10 minutes, easy.* Write a function that returns the signal-to-noise ratio of two waves in decibels.

# %% tags=["starter"]
snr = None  # replace this by a function: def snr(signal, noise): ...


# %% tags=["solution"]
def snr(signal, noise):
    return 10 * torch.log10(signal.square().mean() / noise.square().mean())


# %% tags=["right"]
import math


def snr(signal, noise):
    power = [sum(float(x) ** 2 for x in wave) / len(wave) for wave in (signal, noise)]
    return 20 * math.log10(math.sqrt(power[0]) / math.sqrt(power[1]))


# %% tags=["wrong"]
# it has the factor 20
def snr(signal, noise):
    return 20 * torch.log10(signal.square().mean() / noise.square().mean())


# %% tags=["wrong"]
# it is the noise over the signal
def snr(signal, noise):
    return 10 * torch.log10(noise.square().mean() / signal.square().mean())


# %% tags=["wrong"]
# it has the natural logarithm
def snr(signal, noise):
    return 10 * torch.log(signal.square().mean() / noise.square().mean())


# %% tags=["wrong"]
# it compares mean sizes
def snr(signal, noise):
    return 10 * torch.log10(signal.abs().mean() / noise.abs().mean())


# %% tags=["wrong"]
# it has the factor 10 and a ratio of amplitudes
def snr(signal, noise):
    return 10 * torch.log10(signal.square().mean().sqrt() / noise.square().mean().sqrt())


# %% tags=["wrong"]
# it has no logarithm
def snr(signal, noise):
    return 10 * signal.square().mean() / noise.square().mean()


# %% tags=["wrong"]
# this is the ratio itself
def snr(signal, noise):
    return signal.square().mean() / noise.square().mean()


# %%
check("1.1", snr)

# %% [markdown]
# ## 1.2 · One digit of a sum
#
# *5 minutes, easy.* With `relation="sum"` each modality shows a digit of its own, and the label is their sum modulo 10. A
# classifier sees one modality and reads it without error. Which accuracy can it have at best, and how many bits does this
# modality tell about the label? Think before you compute. In chapter 2 you train on such data.

# %% tags=["starter"]
one_digit = None  # replace this by {"accuracy": ..., "bits": ...}

# %% tags=["solution"]
# Let the digit be 3. The other is 0 to 9, so the label is 3, 4, …, 9, 0, 1, 2: each with probability 1/10.
one_digit = {"accuracy": 0.1, "bits": 0.0}

# %% tags=["right"]
from mmtutor.metrics import mutual_information

p = torch.full((10, 10), 1 / 100, dtype=torch.float64)  # of the digit that is seen, and of the label
one_digit = {"bits": mutual_information(p), "accuracy": 1 / 10}

# %% tags=["wrong"]
# half of the sum
one_digit = {"accuracy": 0.5, "bits": 0.0}

# %% tags=["wrong"]
# half of the bits
one_digit = {"accuracy": 0.1, "bits": 1.661}

# %% tags=["wrong"]
# knowing nothing is 0 bits
one_digit = {"accuracy": 0.1, "bits": 3.3219}

# %%
check("1.2", one_digit)

# %% [markdown]
# ## 1.3 · A split without leakage
#
# *15 minutes, medium.* Each window of the smartwatch data belongs to a person. Write a function that gets the person of each
# window and returns a mask, `True` for the test set. It draws the given share of all *people* by chance, with a seed, so that
# no person is on both sides.

# %% tags=["starter"]
split = None  # replace this by a function: def split(people, share, seed): ...


# %% tags=["solution"]
def split(people, share, seed):
    everyone = people.unique()
    order = torch.randperm(len(everyone), generator=torch.Generator().manual_seed(seed))
    return torch.isin(people, everyone[order[: round(share * len(everyone))]])


# %% tags=["right"]
import random


def split(people, share, seed):
    everyone = sorted(set(people.tolist()))
    chosen = random.Random(seed).sample(everyone, round(share * len(everyone)))
    return torch.tensor([person in chosen for person in people.tolist()])


# %% tags=["wrong"]
# a person is on both sides
def split(people, share, seed):
    order = torch.randperm(len(people), generator=torch.Generator().manual_seed(seed))
    mask = torch.zeros(len(people), dtype=torch.bool)
    mask[order[: round(share * len(people))]] = True
    return mask


# %% tags=["wrong"]
# whatever the seed
def split(people, share, seed):
    everyone = people.unique()
    return torch.isin(people, everyone[: round(share * len(everyone))])


# %% tags=["wrong"]
# the share of people in the test set
def split(people, share, seed):
    order = torch.randperm(20, generator=torch.Generator().manual_seed(seed))
    return people == order[0]


# %%
check("1.3", split)

# %% [markdown]
# ## 1.4 · Two readers
#
# *15 minutes, medium.* One reader of a digit is right with probability 0.9, another with 0.6. An error is equally likely to be
# any other digit, and given the digit the two readers err independently. Make the table of $p(x_1, x_2, y)$, a tensor
# (10, 10, 10) in float64. Then call `mmtutor.metrics.information_parts` on it: why has the worse reader no unique information?

# %% tags=["starter"]
table = None  # replace this by a tensor (10, 10, 10)

# %% tags=["solution"]
eye = torch.eye(10, dtype=torch.float64)
first, second = (right * eye + (1 - right) / 9 * (1 - eye) for right in (0.9, 0.6))  # p(read | digit)
table = torch.einsum("ay,by->aby", first, second) / 10
# The worse reader is like the better one with more noise added: whatever it knows, the better one knows, too.

# %% tags=["right"]
table = torch.zeros(10, 10, 10, dtype=torch.float64)
for a in range(10):
    for b in range(10):
        for y in range(10):
            table[a, b, y] = (0.9 if a == y else 0.1 / 9) * (0.6 if b == y else 0.4 / 9) / 10

# %% tags=["wrong"]
# the table sums to 10
table = torch.einsum("ay,by->aby", *(r * torch.eye(10) + (1 - r) / 9 * (1 - torch.eye(10)) for r in (0.9, 0.6)))

# %% tags=["wrong"]
# the errors are shared over ten digits
table = torch.einsum("ay,by->aby", *(r * torch.eye(10) + (1 - r) / 10 * (1 - torch.eye(10)) for r in (0.9, 0.6))) / 10

# %% tags=["wrong"]
# the readers have changed places
table = torch.einsum("ay,by->aby", *(r * torch.eye(10) + (1 - r) / 9 * (1 - torch.eye(10)) for r in (0.6, 0.9))) / 10

# %% tags=["wrong"]
# an error may be the right digit
table = torch.einsum("ay,by->aby", *(r * torch.eye(10) + (1 - r) / 10 for r in (0.9, 0.6))) / 10

# %% tags=["wrong"]
# y is the first axis
table = torch.einsum("ay,by->yab", *(r * torch.eye(10) + (1 - r) / 9 * (1 - torch.eye(10)) for r in (0.9, 0.6))) / 10

# %% tags=["wrong"]
# y is the middle axis
table = torch.einsum("ay,by->ayb", *(r * torch.eye(10) + (1 - r) / 9 * (1 - torch.eye(10)) for r in (0.9, 0.6))) / 10

# %%
check("1.4", table)

# %% [markdown]
# ## To try in the chapter
#
# - Which modality loses most accuracy with `typos=0.3` and `snr_db=(-10, -5)`, and what does `street` gain with `street_difficulty=0.0`? Train each again.
# - Split the smartwatch data by windows instead of people. By how much does the accuracy rise, and why is that misleading?
