# %% [markdown]
# # 10 · Multimodal VAEs: exercises
#
# Write your answer into the cell below a task, and run it: `check` says whether it is right, or which usual mistake it is, and
# gives a hint. A second wrong try gets a second hint.

# %%
import torch

from mmtutor.exercises import check

# %% [markdown]
# ## 10.1 · A product of experts
#
# *10 minutes, easy.* $M$ experts are normal densities of one number $z$, with means and standard deviations in tensors
# $(M,)$. Write a function that returns the mean and the standard deviation of MVAE's posterior: the product of all experts and
# the prior $\mathcal N(0, 1)$.

# %% tags=["starter"]
experts = None  # replace this by a function: def experts(mean, std): ... return mean_of_product, std_of_product


# %% tags=["solution"]
def experts(mean, std):
    tau = 1 / std**2
    total = 1 + tau.sum()  # the prior has the precision 1
    return (tau * mean).sum() / total, 1 / total.sqrt()  # and the mean 0


# %% tags=["right"]
def experts(mean, std):
    m, v = (
        torch.tensor(0.0).double(),
        torch.tensor(1.0).double(),
    )  # begin with the prior, then one expert after the other
    for mu, sigma in zip(mean, std, strict=True):
        gain = v / (v + sigma**2)
        m, v = m + gain * (mu - m), (1 - gain) * v
    return m, v.sqrt()


# %% tags=["wrong"]
# the prior is missing
def experts(mean, std):
    tau = 1 / std**2
    return (tau * mean).sum() / tau.sum(), 1 / tau.sum().sqrt()


# %% tags=["wrong"]
# the second number is the variance
def experts(mean, std):
    tau = 1 / std**2
    return (tau * mean).sum() / (1 + tau.sum()), 1 / (1 + tau.sum())


# %% tags=["wrong"]
# this is the mean of the experts
def experts(mean, std):
    return mean.mean(), std.mean()


# %% tags=["wrong"]
# the prior is counted for each expert
def experts(mean, std):
    tau = 1 / std**2 + 1
    return ((tau - 1) * mean).sum() / tau.sum(), 1 / tau.sum().sqrt()


# %%
check("10.1", experts)

# %% [markdown]
# ## 10.2 · A product of posteriors
#
# *10 minutes, medium.* Now the $M$ densities are *posteriors* $p(z \mid x_i)$, and the modalities are independent given $z$.
# Write a function that returns the mean and the standard deviation of $p(z \mid x_1, \dots, x_M)$.

# %% tags=["starter"]
joint = None  # replace this by a function: def joint(mean, std): ... return mean_of_joint, std_of_joint


# %% tags=["solution"]
def joint(mean, std):
    tau = 1 / std**2
    total = tau.sum() - (len(mean) - 1)  # the prior M − 1 times less
    return (tau * mean).sum() / total, 1 / total.sqrt()


# %% tags=["right"]
def joint(mean, std):
    likelihood = 1 / std**2 - 1  # what each modality adds to the prior
    total = 1 + likelihood.sum()
    return (mean / std**2).sum() / total, total**-0.5


# %% tags=["wrong"]
# this is the naive product
def joint(mean, std):
    tau = 1 / std**2
    return (tau * mean).sum() / tau.sum(), 1 / tau.sum().sqrt()


# %% tags=["wrong"]
# one prior more
def joint(mean, std):
    tau = 1 / std**2
    return (tau * mean).sum() / (1 + tau.sum()), 1 / (1 + tau.sum()).sqrt()


# %% tags=["wrong"]
# divided out M times
def joint(mean, std):
    tau = 1 / std**2 - 1
    return (mean / std**2).sum() / tau.sum(), 1 / tau.sum().sqrt()


# %%
check("10.2", joint)

# %% [markdown]
# ## 10.3 · How wide is a mixture?
#
# *10 minutes, medium.* MMVAE's posterior is a mixture of $M$ normal densities with equal weights. Write a function that gets
# their means and standard deviations, $(M,)$, and returns the mean and the standard deviation of the mixture. When is it wider
# than each of its components?

# %% tags=["starter"]
width = None  # replace this by a function: def width(mean, std): ... return mean_of_mixture, std_of_mixture


# %% tags=["solution"]
def width(mean, std):
    variance = (std**2).mean() + ((mean - mean.mean()) ** 2).mean()  # the law of total variance
    return mean.mean(), variance.sqrt()


# %% tags=["right"]
def width(mean, std):
    second_moment = (std**2 + mean**2).mean()
    return mean.mean(), (second_moment - mean.mean() ** 2).sqrt()


# %% tags=["wrong"]
# the components' distances are left out
def width(mean, std):
    return mean.mean(), (std**2).mean().sqrt()


# %% tags=["wrong"]
# the components' own widths are left out
def width(mean, std):
    return mean.mean(), mean.std(correction=0)


# %% tags=["wrong"]
# that of a sample
def width(mean, std):
    return mean.mean(), ((std**2).mean() + mean.var()).sqrt()


# %%
check("10.3", width)

# %% [markdown]
# ## 10.4 · More draws
#
# *10 minutes, medium.* MMVAE's paper trains with an importance-weighted bound, $\log \frac 1 K \sum_k w_k$ with
# $w_k = p(x, z_k) / q(z_k \mid x)$ for $K$ draws $z_k$. Write a function that gets $\log w$, a tensor $(K, B)$, and returns the
# bound of each example, $(B,)$. It must work where $\log w$ is $-900$.

# %% tags=["starter"]
bound = None  # replace this by a function: def bound(log_w): ...


# %% tags=["solution"]
def bound(log_w):
    return log_w.logsumexp(0) - torch.log(torch.tensor(float(len(log_w)), dtype=log_w.dtype))


# %% tags=["right"]
def bound(log_w):
    most = log_w.max(0).values
    return most + (log_w - most).exp().mean(0).log()


# %% tags=["wrong"]
# the mean of the logarithms
def bound(log_w):
    return log_w.mean(0)


# %% tags=["wrong"]
# the K is missing
def bound(log_w):
    return log_w.logsumexp(0)


# %% tags=["wrong"]
# the best draw alone
def bound(log_w):
    return log_w.max(0).values


# %%
check("10.4", bound)

# %% [markdown]
# ## 10.5 · Joint coherence
#
# *5 minutes, easy.* Examples of several modalities were generated from the prior. A dict has the scores of each modality's
# evaluation classifier, tensors (n, classes). Write a function that returns the share of examples that are coherent: all their
# modalities are classified alike.

# %% tags=["starter"]
coherent = None  # replace this by a function: def coherent(scores): ...


# %% tags=["solution"]
def coherent(scores):
    classes = torch.stack([s.argmax(1) for s in scores.values()])  # (modalities, n)
    return (classes == classes[0]).all(0).double().mean()


# %% tags=["right"]
def coherent(scores):
    rows = zip(*(s.argmax(1).tolist() for s in scores.values()), strict=True)
    alike = [len(set(row)) == 1 for row in rows]
    return sum(alike) / len(alike)


# %% tags=["wrong"]
# pairs that agree are counted
def coherent(scores):
    a, b, c = (s.argmax(1) for s in scores.values())
    return torch.stack([a == b, b == c, a == c]).double().mean()


# %% tags=["wrong"]
# only the first two modalities
def coherent(scores):
    a, b, _ = (s.argmax(1) for s in scores.values())
    return (a == b).double().mean()


# %% tags=["wrong"]
# this is the number of examples
def coherent(scores):
    a, b, c = (s.argmax(1) for s in scores.values())
    return ((a == b) & (b == c)).sum()


# %%
check("10.5", coherent)

# %% [markdown]
# ## To try in the chapter
#
# - Train JMVAE with `alpha=0.01` and `alpha=10`. What happens to the pictures generated from words, and from all modalities?
# - Train `MVAE` with `single=False, drawn=0`: the joint ELBO alone. How good is its inference from a word then?
# - Give `MMVAE` the options `k=5` and `objective="dreg"`, which lowers the variance of its gradient. Compare
#   `log_likelihood(test[:], k=50)` at equal time.
# - Remove most words: `MultimodalDataset(train.tensors | {"word_present": torch.rand(n) < 0.1})`, with `MultimodalDataset`
#   from `mmtutor.data`. Train MVAE and MoPoE. Which loses more coherence?
