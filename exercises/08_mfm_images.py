# %% [markdown]
# # 8 · Factorised representations: exercises
#
# Write your answer into the cell below a task, and run it: `check` says whether it is right, or which usual mistake it is, and
# gives a hint. A second wrong try gets a second hint.

# %%
import torch

from mmtutor.exercises import check

# %% [markdown]
# ## 8.1 · One condition or two
#
# *20 minutes, medium.* As in the chapter, there are four examples and four latent codes $(z_y, z_a)$, all equally likely. $Q$
# gives each example one latent code. `cost`, a tensor $(4, 4)$, says what that costs: its rows are the examples, its columns
# the codes (0, 0), (0, 1), (1, 0), (1, 1). Write a function that returns three numbers. Each is the smallest mean cost of an
# example:
#
# - `together`: under the condition $Q_Z = P_Z$.
# - `one_by_one`: under the condition that $z_y$ by itself has the distribution of the prior, and $z_a$ by itself, too.
# - `free`: without any condition.
#
# The chapter has two discrepancies, one of all latent codes together, and a sum of one for each. Which of them asks for
# `together`, and which for `one_by_one`?

# %% tags=["starter"]
infima = None  # replace this by a function: def infima(cost): ... return together, one_by_one, free


# %% tags=["solution"]
from itertools import product


def infima(cost):
    every = list(product(range(4), repeat=4))  # the column for each example
    together = [q for q in every if len(set(q)) == 4]
    one_by_one = [q for q in every if sum(k // 2 for k in q) == 2 and sum(k % 2 for k in q) == 2]
    # one MMD of all latent codes asks for `together`, a sum of one MMD for each code for `one_by_one`
    return tuple(
        min(sum(cost[i, k] for i, k in enumerate(q)) for q in some) / 4 for some in (together, one_by_one, every)
    )


# %% tags=["right"]
from itertools import permutations


def infima(cost):
    rows = torch.arange(4)
    together = min(cost[rows, list(q)].mean() for q in permutations(range(4)))
    halves = set(permutations([0, 0, 1, 1]))  # who has a 1
    one_by_one = min(cost[rows, 2 * torch.tensor(zy) + torch.tensor(za)].mean() for zy in halves for za in halves)
    return together, one_by_one, cost.amin(1).mean()


# %% tags=["wrong"]
# the first condition is not kept
from itertools import permutations


def infima(cost):
    rows, halves = torch.arange(4), set(permutations([0, 0, 1, 1]))
    one_by_one = min(cost[rows, 2 * torch.tensor(zy) + torch.tensor(za)].mean() for zy in halves for za in halves)
    return cost.amin(1).mean(), one_by_one, cost.amin(1).mean()


# %% tags=["wrong"]
# the examples take their codes one after the other
from itertools import permutations


def infima(cost):
    rows, halves = torch.arange(4), set(permutations([0, 0, 1, 1]))
    one_by_one = min(cost[rows, 2 * torch.tensor(zy) + torch.tensor(za)].mean() for zy in halves for za in halves)
    together, left = 0.0, cost.clone()
    for i in range(4):
        k = left[i].argmin()
        together += cost[i, k] / 4
        left[:, k] = torch.inf
    return together, one_by_one, cost.amin(1).mean()


# %% tags=["wrong"]
# the second condition is as strict as the first
from itertools import permutations


def infima(cost):
    together = min(cost[torch.arange(4), list(q)].mean() for q in permutations(range(4)))
    return together, together, cost.amin(1).mean()


# %% tags=["wrong"]
# the second condition is asked of the label's code only
from itertools import permutations


def infima(cost):
    together = min(cost[torch.arange(4), list(q)].mean() for q in permutations(range(4)))
    best = cost.unflatten(1, (2, 2)).amin(2)  # the best z_a is free
    one_by_one = min(best[torch.arange(4), list(zy)].mean() for zy in permutations([0, 0, 1, 1]))
    return together, one_by_one, cost.amin(1).mean()


# %% tags=["wrong"]
# the second condition asks that each value is used
from itertools import permutations, product


def infima(cost):
    rows = torch.arange(4)
    together = min(cost[rows, list(q)].mean() for q in permutations(range(4)))
    both = [z for z in product((0, 1), repeat=4) if set(z) == {0, 1}]
    one_by_one = min(cost[rows, 2 * torch.tensor(zy) + torch.tensor(za)].mean() for zy in both for za in both)
    return together, one_by_one, cost.amin(1).mean()


# %% tags=["wrong"]
# these are sums over the examples
from itertools import permutations


def infima(cost):
    rows, halves = torch.arange(4), set(permutations([0, 0, 1, 1]))
    together = min(cost[rows, list(q)].sum() for q in permutations(range(4)))
    one_by_one = min(cost[rows, 2 * torch.tensor(zy) + torch.tensor(za)].sum() for zy in halves for za in halves)
    return together, one_by_one, cost.amin(1).sum()


# %%
check("8.1", infima)

# %% [markdown]
# ## 8.2 · What a discrepancy sees
#
# *25 minutes, hard.* Let the latent codes have the distribution $\mathcal N(0, S)$, where $S$ is a covariance matrix
# $(d, d)$. Write a function that gets $S$ and the width $h$ and returns the exact $\mathrm{MMD}^2$ from the prior
# $\mathcal N(0, I)$, without drawing samples. For one number $u$ from $\mathcal N(0, v)$,
# $\mathbb E \exp(-u^2 / 2h) = \sqrt{h / (h + v)}$. Then let two latent codes of one number each always be equal: $S$ is a
# matrix of ones. How large is one discrepancy of both, and how large the sum of one for each?

# %% tags=["starter"]
discrepancy = None  # replace this by a function: def discrepancy(S, h): ...


# %% tags=["solution"]
def discrepancy(S, h):
    eye = torch.eye(len(S), dtype=S.dtype)

    def similarity(C):  # E exp(−‖u‖²/2h) for u from N(0, C): turn the axes until C is diagonal
        return torch.linalg.det(eye + C / h) ** -0.5

    # z − z' has the covariance 2S, z − p has S + I, and p − p' has 2I.
    # Ones have 0.045 with h = 2; but each code alone has S = [[1]], and 0: a sum of both does not see that they are equal.
    return similarity(2 * S) - 2 * similarity(S + eye) + similarity(2 * eye)


# %% tags=["right"]
def discrepancy(S, h):
    s = torch.linalg.eigvalsh(S)  # variances along the axes of S, and the prior has 1 along all axes
    among, between, prior = ((h / (h + v)).sqrt().prod() for v in (2 * s, s + 1, 2 * torch.ones_like(s)))
    return among - 2 * between + prior


# %% tags=["wrong"]
# z − z' has the covariance 2S
def discrepancy(S, h):
    s = torch.linalg.eigvalsh(S)
    among, between, prior = ((h / (h + v)).sqrt().prod() for v in (s, s + 1, 2 * torch.ones_like(s)))
    return among - 2 * between + prior


# %% tags=["wrong"]
# z − p has the covariance S + I
def discrepancy(S, h):
    s = torch.linalg.eigvalsh(S)
    among, between, prior = ((h / (h + v)).sqrt().prod() for v in (2 * s, s, 2 * torch.ones_like(s)))
    return among - 2 * between + prior


# %% tags=["wrong"]
# the similarity of z and p counts once
def discrepancy(S, h):
    s = torch.linalg.eigvalsh(S)
    among, between, prior = ((h / (h + v)).sqrt().prod() for v in (2 * s, s + 1, 2 * torch.ones_like(s)))
    return among - between + prior


# %% tags=["wrong"]
# covariances are left out
def discrepancy(S, h):
    s = S.diagonal()
    among, between, prior = ((h / (h + v)).sqrt().prod() for v in (2 * s, s + 1, 2 * torch.ones_like(s)))
    return among - 2 * between + prior


# %% tags=["wrong"]
# the square root is missing
def discrepancy(S, h):
    s = torch.linalg.eigvalsh(S)
    among, between, prior = ((h / (h + v)).prod() for v in (2 * s, s + 1, 2 * torch.ones_like(s)))
    return among - 2 * between + prior


# %% tags=["wrong"]
# the kernel has h where it should have 2h
def discrepancy(S, h):
    s = torch.linalg.eigvalsh(S)
    among, between, prior = ((h / (h + 2 * v)).sqrt().prod() for v in (2 * s, s + 1, 2 * torch.ones_like(s)))
    return among - 2 * between + prior


# %% tags=["wrong"]
# this is MMD, and MMD² is asked for
def discrepancy(S, h):
    s = torch.linalg.eigvalsh(S)
    among, between, prior = ((h / (h + v)).sqrt().prod() for v in (2 * s, s + 1, 2 * torch.ones_like(s)))
    return (among - 2 * between + prior).sqrt()


# %%
check("8.2", discrepancy)

# %% [markdown]
# ## 8.3 · The price of a style
#
# *10 minutes, easy.* The network of a `VariationalFactor` gives $\mu$ and $\log \sigma$ of a latent code of $d$ numbers, side
# by side in a tensor $(B, 2d)$. Write a function that returns its penalty: the KL divergence of $\mathcal N(\mu, \sigma^2)$
# from $\mathcal N(0, I)$ in nats, the mean over the examples. Which style is free, and what does it tell about its image?

# %% tags=["starter"]
divergence = None  # replace this by a function: def divergence(q): ...


# %% tags=["solution"]
def divergence(q):
    mean, log_std = q.chunk(2, 1)
    # 0 only for μ = 0 and σ = 1, whatever the image is: such a style tells nothing about it
    return (0.5 * (mean**2 + torch.exp(2 * log_std) - 1) - log_std).sum(1).mean()


# %% tags=["right"]
from torch.distributions import Normal, kl_divergence


def divergence(q):
    d = q.shape[1] // 2
    return kl_divergence(Normal(q[:, :d], q[:, d:].exp()), Normal(0.0, 1.0)).sum() / len(q)


# %% tags=["wrong"]
# the second half is taken for log σ²
def divergence(q):
    mean, log_variance = q.chunk(2, 1)
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1).mean()


# %% tags=["wrong"]
# σ stands in the place of σ²
def divergence(q):
    mean, log_std = q.chunk(2, 1)
    return (0.5 * (mean**2 + log_std.exp() - 1) - log_std).sum(1).mean()


# %% tags=["wrong"]
# the factor ½ is missing
def divergence(q):
    mean, log_std = q.chunk(2, 1)
    return (mean**2 + torch.exp(2 * log_std) - 1 - 2 * log_std).sum(1).mean()


# %% tags=["wrong"]
# the divergence goes in the other direction
from torch.distributions import Normal, kl_divergence


def divergence(q):
    mean, log_std = q.chunk(2, 1)
    return kl_divergence(Normal(0.0, 1.0), Normal(mean, log_std.exp())).sum(1).mean()


# %% tags=["wrong"]
# it is a mean over the numbers of a code
def divergence(q):
    mean, log_std = q.chunk(2, 1)
    return (0.5 * (mean**2 + torch.exp(2 * log_std) - 1) - log_std).mean()


# %% tags=["wrong"]
# it is a sum over the examples
def divergence(q):
    mean, log_std = q.chunk(2, 1)
    return (0.5 * (mean**2 + torch.exp(2 * log_std) - 1) - log_std).sum()


# %% tags=["wrong"]
# μ and log σ have changed places
def divergence(q):
    log_std, mean = q.chunk(2, 1)
    return (0.5 * (mean**2 + torch.exp(2 * log_std) - 1) - log_std).sum(1).mean()


# %% tags=["wrong"]
# every second number is taken for log σ
def divergence(q):
    mean, log_std = q[:, 0::2], q[:, 1::2]
    return (0.5 * (mean**2 + torch.exp(2 * log_std) - 1) - log_std).sum(1).mean()


# %% tags=["wrong"]
# their mean is asked for
def divergence(q):
    mean, log_std = q.chunk(2, 1)
    return (0.5 * (mean**2 + torch.exp(2 * log_std) - 1) - log_std).sum(1)


# %% tags=["wrong"]
# the sign is wrong
def divergence(q):
    mean, log_std = q.chunk(2, 1)
    return (0.5 * (1 - mean**2 - torch.exp(2 * log_std)) + log_std).sum(1).mean()


# %%
check("8.3", divergence)

# %% [markdown]
# ## 8.4 · A swap
#
# *15 minutes, medium.* A model has inferred latent codes of $B$ pairs, a dict with `"label"`, `"handwritten"` and `"street"`;
# `label` has the digit of each pair, at least two different ones. Each pair is to keep its styles, and to get the label's code
# from its donor: the next pair that shows another digit. After the last pair comes the first. Write a function that returns two
# things: the dict that `model.generate` takes, and the donor of each pair, $(B,)$.

# %% tags=["starter"]
swap = None  # replace this by a function: def swap(latents, label): ... return mixed, donor


# %% tags=["solution"]
def swap(latents, label):
    B = len(label)
    donor = []
    for i in range(B):
        after = [(i + step) % B for step in range(1, B)]
        donor.append(next(j for j in after if label[j] != label[i]))
    donor = torch.tensor(donor)
    return latents | {"label": latents["label"][donor]}, donor


# %% tags=["right"]
def swap(latents, label):
    B = len(label)
    ahead = (torch.arange(B) - torch.arange(B)[:, None]) % B  # how far j is after i, (i, j)
    donor = torch.where(label != label[:, None], ahead, B).argmin(1)
    mixed = dict(latents)
    mixed["label"] = latents["label"].index_select(0, donor)
    return mixed, donor


# %% tags=["wrong"]
# a donor may show the same digit
def swap(latents, label):
    donor = (torch.arange(len(label)) + 1) % len(label)
    return latents | {"label": latents["label"][donor]}, donor


# %% tags=["wrong"]
# the donor comes before the pair
def swap(latents, label):
    donor = torch.arange(len(label)).roll(1)
    while (same := label[donor] == label).any():
        donor[same] = (donor[same] - 1) % len(label)
    return latents | {"label": latents["label"][donor]}, donor


# %% tags=["wrong"]
# the search for a donor begins at the first pair
def swap(latents, label):
    donor = torch.tensor([int((label != digit).nonzero()[0]) for digit in label])
    return latents | {"label": latents["label"][donor]}, donor


# %% tags=["wrong"]
# the styles come from the donor, too
def swap(latents, label):
    B = len(label)
    ahead = (torch.arange(B) - torch.arange(B)[:, None]) % B
    donor = torch.where(label != label[:, None], ahead, B).argmin(1)
    return {name: z[donor] for name, z in latents.items()}, donor


# %% tags=["wrong"]
# the label's code is the pair's own
def swap(latents, label):
    B = len(label)
    ahead = (torch.arange(B) - torch.arange(B)[:, None]) % B
    donor = torch.where(label != label[:, None], ahead, B).argmin(1)
    return {name: z[donor] for name, z in latents.items()} | {"label": latents["label"]}, donor


# %% tags=["wrong"]
# here a pair gets its donor from before, not from after
def swap(latents, label):
    donor = torch.arange(len(label)).roll(1)
    return latents | {"label": latents["label"][donor]}, donor


# %% tags=["wrong"]
# the label itself is handed in
def swap(latents, label):
    B = len(label)
    ahead = (torch.arange(B) - torch.arange(B)[:, None]) % B
    donor = torch.where(label != label[:, None], ahead, B).argmin(1)
    return latents | {"label": label[donor]}, donor


# %% tags=["wrong"]
# your function changes its input latents
def swap(latents, label):
    B = len(label)
    ahead = (torch.arange(B) - torch.arange(B)[:, None]) % B
    donor = torch.where(label != label[:, None], ahead, B).argmin(1)
    latents["label"] = latents["label"][donor]
    return latents, donor


# %%
check("8.4", swap)

# %% [markdown]
# ## 8.5 · Few labels
#
# *10 minutes, easy.* A network gives scores of the label, a tensor $(B, \text{classes})$. `label` has a digit for each pair,
# but it is known only where `present`, bool $(B,)$, is true; elsewhere any digit may stand there. Write a function that returns
# the cost of the label in a batch: the mean cross-entropy, in nats, of the pairs whose label is known. What should it be if
# none is?

# %% tags=["starter"]
label_cost = None  # replace this by a function: def label_cost(scores, label, present): ...


# %% tags=["solution"]
def label_cost(scores, label, present):
    cost = torch.nn.functional.cross_entropy(scores, label, reduction="none")
    return (cost * present).sum() / present.sum().clamp_min(1)  # without any label it is 0: this batch teaches nothing


# %% tags=["right"]
def label_cost(scores, label, present):
    if not present.any():
        return scores.sum() * 0  # a loss that can be derived, with a gradient of zeros
    return torch.nn.functional.cross_entropy(scores[present], label[present])


# %% tags=["wrong"]
# it is divided by the number of all pairs
def label_cost(scores, label, present):
    cost = torch.nn.functional.cross_entropy(scores, label, reduction="none")
    return (cost * present).mean()


# %% tags=["wrong"]
# unknown labels are read
def label_cost(scores, label, present):
    return torch.nn.functional.cross_entropy(scores, label)


# %% tags=["wrong"]
# unknown labels are taken for the digit 0
def label_cost(scores, label, present):
    return torch.nn.functional.cross_entropy(scores, label * present)


# %% tags=["wrong"]
# scores of 0 have a cost, too
def label_cost(scores, label, present):
    return torch.nn.functional.cross_entropy(scores * present[:, None], label * present)


# %% tags=["wrong"]
# it is a sum over the labelled pairs
def label_cost(scores, label, present):
    return torch.nn.functional.cross_entropy(scores[present], label[present], reduction="sum")


# %% tags=["wrong"]
# it is NaN where no label is known
def label_cost(scores, label, present):
    return torch.nn.functional.cross_entropy(scores[present], label[present])


# %%
check("8.5", label_cost)

# %% [markdown]
# ## To try in the chapter
#
# - Give the styles 2 numbers in `factorised`, `StyleFactor(encoder, 64, z=2, f=64)`, then 32. What happens to the swap, and to
#   the reconstructions? `models["KL"].loss(batch)` has the error of each modality.
# - Set `label_weight=0.0` in `factorised`, and train. Does $Z_y$ still contain the digit? Under `torch.no_grad()`, take
#   `z, other = (model.infer(part)["label"].cpu() for part in (train[:], batch))`, and ask
#   `linear_probe(z, train[:]["label"], other, batch["label"])`, from `mmtutor.metrics`. Its mean is the accuracy.
# - Go in a straight line from one style to another, with the label fixed. With `z = latents["KL"]` and
#   `t = torch.linspace(0, 1, 8)[:, None]`, take the same pair eight times, `mixed = {m: z[m][[3] * 8] for m in z}`, and put
#   `torch.lerp(z["street"][[3] * 8], z["street"][[11] * 8], t)` in the place of its `"street"`. Show
#   `models["KL"].generate(mixed)["street"]`. What changes first?
# - Let `model = factorised(Factor, 3.0, True)`, and train it in batches of 256:
#   `fit(model, train, **recipe | dict(batch_size=256, epochs=4 * epochs))`. Does one discrepancy of all latent codes now keep
#   the digit out of the style?
