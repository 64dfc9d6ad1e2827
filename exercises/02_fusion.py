# %% [markdown]
# # 2 · Multimodal fusion: exercises
#
# Write your answer into the cell below a task, and run it: `check` says whether it is right, or which usual mistake it is, and
# gives a hint. A second wrong try gets a second hint.

# %%
import torch

from mmtutor.exercises import check

# %% [markdown]
# ## 2.1 · Concatenation is a merge layer
#
# *5 minutes, easy.* A linear layer on $[x_1; x_2]$ has the weight $W$, a tensor $(o, d_1 + d_2)$. Write a function that gets
# $W$ and $d_1$ and returns the weights $W_1$ and $W_2$ with $W [x_1; x_2] = W_1 x_1 + W_2 x_2$.

# %% tags=["starter"]
blocks = None  # replace this by a function: def blocks(W, d1): ... return W1, W2


# %% tags=["solution"]
def blocks(W, d1):
    return W[:, :d1], W[:, d1:]


# %% tags=["right"]
def blocks(W, d1):
    return list(torch.split(W, [d1, W.shape[1] - d1], dim=1))


# %% tags=["wrong"]
# the rows are split
def blocks(W, d1):
    return W[:d1], W[d1:]


# %% tags=["wrong"]
# W₁ and W₂ have changed places
def blocks(W, d1):
    return W[:, d1:], W[:, :d1]


# %% tags=["wrong"]
# the layer is cut in the middle
def blocks(W, d1):
    return W[:, : W.shape[1] // 2], W[:, W.shape[1] // 2 :]


# %%
check("2.1", blocks)

# %% [markdown]
# ## 2.2 · The product rule
#
# *15 minutes, medium.* Branches give $\log p(y \mid x_m)$, a tensor $(B, M, C)$; the prior $p(y)$ is a tensor $(C,)$. Given
# the class the modalities are independent. Write a function that returns $\log p(y \mid x_1, \dots, x_M)$, $(B, C)$,
# normalised.

# %% tags=["starter"]
product_rule = None  # replace this by a function: def product_rule(log_p, prior): ...


# %% tags=["solution"]
def product_rule(log_p, prior):
    # p(y | x₁ … x_M) ∝ p(y) ∏ p(xₘ | y) ∝ p(y) ∏ p(y | xₘ) / p(y)
    return (log_p.sum(1) - (log_p.shape[1] - 1) * prior.log()).log_softmax(1)


# %% tags=["right"]
def product_rule(log_p, prior):
    p = prior * (log_p.exp() / prior).prod(1)
    return (p / p.sum(1, keepdim=True)).log()


# %% tags=["wrong"]
# the prior counts M times
def product_rule(log_p, prior):
    return log_p.sum(1).log_softmax(1)


# %% tags=["wrong"]
# the prior does not count at all
def product_rule(log_p, prior):
    return (log_p - prior.log()).sum(1).log_softmax(1)


# %% tags=["wrong"]
# it is not normalised
def product_rule(log_p, prior):
    return log_p.sum(1) - (log_p.shape[1] - 1) * prior.log()


# %%
check("2.2", product_rule)

# %% [markdown]
# ## 2.3 · Low-rank fusion, written out
#
# *15 minutes, medium.* Two factors are tensors $(R, d_m + 1, D)$. Low-rank fusion gives
# $\sum_r (W_1^{(r)} [1; x_1]) \odot (W_2^{(r)} [1; x_2])$. Tensor fusion has one weight for each output and each pair of
# numbers of $[1; x_1]$ and $[1; x_2]$. Write a function that gets the list of the two factors and returns that weight,
# $(D, d_1 + 1, d_2 + 1)$.

# %% tags=["starter"]
full_weight = None  # replace this by a function: def full_weight(factors): ...


# %% tags=["solution"]
def full_weight(factors):
    return torch.einsum("rid,rjd->dij", *factors)


# %% tags=["right"]
def full_weight(factors):
    first, second = factors
    outer = [first[r].T.unsqueeze(2) * second[r].T.unsqueeze(1) for r in range(len(first))]
    return torch.stack(outer).sum(0)


# %% tags=["wrong"]
# the factors are summed over r
def full_weight(factors):
    return torch.einsum("id,jd->dij", *(factor.sum(0) for factor in factors))


# %% tags=["wrong"]
# the outputs come last
def full_weight(factors):
    return torch.einsum("rid,rjd->ijd", *factors)


# %% tags=["wrong"]
# it is the mean over r
def full_weight(factors):
    return torch.einsum("rid,rjd->rdij", *factors).mean(0)


# %%
check("2.3", full_weight)

# %% [markdown]
# ## 2.4 · What a branch lacks
#
# *5 minutes, easy.* A linear probe of a branch gives $\log p(y \mid \text{features})$, a tensor $(B, C)$. Write a function
# that gets it and the labels and returns what the branch lacks, in nats, for an example on average.

# %% tags=["starter"]
lacks = None  # replace this by a function: def lacks(log_p, label): ...


# %% tags=["solution"]
def lacks(log_p, label):
    return -log_p.gather(1, label[:, None]).mean()


# %% tags=["right"]
def lacks(log_p, label):
    return torch.nn.functional.cross_entropy(log_p, label)  # the softmax of log p is p


# %% tags=["wrong"]
# this is in bits
def lacks(log_p, label):
    return -(log_p.gather(1, label[:, None]) / torch.log(torch.tensor(2.0).double())).mean()


# %% tags=["wrong"]
# this is the entropy of the predictions
def lacks(log_p, label):
    return -(log_p.exp() * log_p).sum(1).mean()


# %% tags=["wrong"]
# this is the share of wrong answers
def lacks(log_p, label):
    return (log_p.argmax(1) != label).double().mean()


# %%
check("2.4", lacks)

# %% [markdown]
# ## 2.5 · Gradient modulation
#
# *15 minutes, medium.* The confidences of $M$ modalities are $s_m$, a tensor $(M,)$. Write a function that gets $s$ and
# $\alpha$ and returns the numbers $k_m$ with which gradient modulation multiplies the gradients of the encoders.

# %% tags=["starter"]
modulation = None  # replace this by a function: def modulation(s, alpha): ...


# %% tags=["solution"]
def modulation(s, alpha):
    others = (s.sum() - s) / (len(s) - 1)
    rho = s / others
    return torch.where(rho > 1, 1 - torch.tanh(alpha * rho), 1.0)


# %% tags=["right"]
def modulation(s, alpha):
    k = []
    for m in range(len(s)):
        rho = s[m] / torch.cat([s[:m], s[m + 1 :]]).mean()
        k.append(1 - torch.tanh(alpha * rho) if rho > 1 else torch.ones_like(rho))
    return torch.stack(k)


# %% tags=["wrong"]
# all modalities are slowed down
def modulation(s, alpha):
    return 1 - torch.tanh(alpha * s * (len(s) - 1) / (s.sum() - s))


# %% tags=["wrong"]
# the mean of all
def modulation(s, alpha):
    rho = s / s.mean()
    return torch.where(rho > 1, 1 - torch.tanh(alpha * rho), 1.0)


# %% tags=["wrong"]
# the modalities that are behind
def modulation(s, alpha):
    rho = s * (len(s) - 1) / (s.sum() - s)
    return torch.where(rho < 1, 1 - torch.tanh(alpha * rho), 1.0)


# %%
check("2.5", modulation)

# %% [markdown]
# ## To try in the chapter
#
# - Replace `Concat` by each other merge in the section on missing modalities. Which one loses the most accuracy?
# - Start late fusion with the encoders that were trained alone, `alone[m].encoders[m]`. How much do the branches forget?
# - Train `LateFusion` on all three modalities for four times as many epochs. Does the branch for house numbers catch up?
# - Train the sum of two digits with `Concat` and more epochs. When does it learn the relation, if at all?
# - Copy the folder `mmtutor/fusion` into your own project and train `LateFusion` on two modalities of your own.
