# %% [markdown]
# # 4 · Image captioning: exercises
#
# Write your answer into the cell below a task, and run it: `check` says whether it is right, or which usual mistake it is, and
# gives a hint. A second wrong try gets a second hint.

# %%
import torch

from mmtutor.exercises import check

# %% [markdown]
# ## 4.1 · Attention weights and the context vector
#
# *10 minutes, easy.* For one word and $B$ images you have the scores $e$ of the regions, a tensor $(B, L)$, their vectors
# $a$, $(B, L, D)$, and the output $f(h)$ of a linear layer, $(B,)$, from which the gate is computed. Write a function that
# returns the attention weights $\alpha$, $(B, L)$, and the context vectors $z$, $(B, D)$, with soft attention.

# %% tags=["starter"]
context = None  # replace this by a function: def context(e, a, f): ... return alpha, z


# %% tags=["solution"]
def context(e, a, f):
    alpha = e.softmax(1)
    return alpha, torch.sigmoid(f)[:, None] * torch.einsum("bl,bld->bd", alpha, a)


# %% tags=["right"]
def context(e, a, f):
    alpha, z = [], []
    for scores, regions, gate in zip(e, a, f, strict=True):
        alpha.append(scores.exp() / scores.exp().sum())
        z.append(alpha[-1] @ regions / (1 + torch.exp(-gate)))
    return torch.stack(alpha), torch.stack(z)


# %% tags=["wrong"]
# the softmax is over the images
def context(e, a, f):
    alpha = e.softmax(0)
    return alpha, torch.sigmoid(f)[:, None] * torch.einsum("bl,bld->bd", alpha, a)


# %% tags=["wrong"]
# the gate is forgotten
def context(e, a, f):
    alpha = e.softmax(1)
    return alpha, torch.einsum("bl,bld->bd", alpha, a)


# %% tags=["wrong"]
# the gate is not between 0 and 1
def context(e, a, f):
    alpha = e.softmax(1)
    return alpha, f[:, None] * torch.einsum("bl,bld->bd", alpha, a)


# %% tags=["wrong"]
# the weighted mean is divided by L once more
def context(e, a, f):
    alpha = e.softmax(1)
    return alpha, torch.sigmoid(f)[:, None] * (alpha[:, :, None] * a).mean(1)


# %% tags=["wrong"]
# the regions are weighted by their scores e
def context(e, a, f):
    return e.softmax(1), torch.sigmoid(f)[:, None] * (e[:, :, None] * a).sum(1)


# %% tags=["wrong"]
# only the region with the largest weight is seen
def context(e, a, f):
    alpha = e.softmax(1)
    return alpha, torch.sigmoid(f)[:, None] * torch.stack([a[k, i] for k, i in enumerate(alpha.argmax(1))])


# %%
check("4.1", context)

# %% [markdown]
# ## 4.2 · Your λ is not my λ
#
# *15 minutes, medium.* In our loss both parts are means over the $B$ captions of a batch. For one caption the words' part is
# the sum of $-\log p(y_t)$ over its $T$ words, and the doubly stochastic term is a sum over $L$ regions. All captions have $T$
# words. In another program the words' part is a sum or a mean over the words of a caption (`words` is `"sum"` or `"mean"`), and
# a mean over captions. Its doubly stochastic term is a sum or a mean over regions (`regions`), and a sum or a mean over
# captions (`captions`). Write a function that gets its $\lambda$ and returns ours, with which the gradient of the whole loss
# has the same direction. The chapter has two cases to compare with.

# %% tags=["starter"]
ours = None  # replace this by a function: def ours(lam, words, regions, captions, T, L, B): ...


# %% tags=["solution"]
def ours(lam, words, regions, captions, T, L, B):
    if regions == "mean":
        lam = lam / L  # a mean over regions is a sum, L times smaller
    if captions == "sum":
        lam = lam * B  # a sum over captions is a mean, B times larger
    if words == "mean":
        lam = lam * T  # multiply the whole loss by T: then the words' part is ours
    return lam


# %% tags=["right"]
def ours(lam, words, regions, captions, T, L, B):
    # what stands before Σ −log p and before Σ (τ − A)², both summed over all there is
    of_words = {"sum": 1, "mean": 1 / T}[words] / B
    of_term = lam * {"sum": 1, "mean": 1 / L}[regions] * {"sum": 1, "mean": 1 / B}[captions]
    return of_term / of_words


# %% tags=["wrong"]
# this turns our λ into theirs
def ours(lam, words, regions, captions, T, L, B):
    return lam * (L if regions == "mean" else 1) / (B if captions == "sum" else 1) / (T if words == "mean" else 1)


# %% tags=["wrong"]
# the mean over words makes λ smaller
def ours(lam, words, regions, captions, T, L, B):
    return lam / (L if regions == "mean" else 1) * (B if captions == "sum" else 1) / (T if words == "mean" else 1)


# %% tags=["wrong"]
# how the words are averaged is left out
def ours(lam, words, regions, captions, T, L, B):
    return lam / (L if regions == "mean" else 1) * (B if captions == "sum" else 1)


# %% tags=["wrong"]
# the mean over regions makes λ larger
def ours(lam, words, regions, captions, T, L, B):
    return lam * (L if regions == "mean" else 1) * (B if captions == "sum" else 1) * (T if words == "mean" else 1)


# %% tags=["wrong"]
# the sum over captions makes λ smaller
def ours(lam, words, regions, captions, T, L, B):
    return lam / (L if regions == "mean" else 1) / (B if captions == "sum" else 1) * (T if words == "mean" else 1)


# %% tags=["wrong"]
# whether the term is a sum over captions is left out
def ours(lam, words, regions, captions, T, L, B):
    return lam / (L if regions == "mean" else 1) * (T if words == "mean" else 1)


# %%
check("4.2", ours)

# %% [markdown]
# ## 4.3 · The pointing game
#
# *20 minutes, medium.* Each of $n$ words names an object in a scene of its own. You have the attention weights of the words,
# `alpha`, $(n, 64)$. As in the chapter, a scene has 64 × 64 pixels, and the regions are 8 × 8 squares of 8 × 8 pixels, row by
# row. `owner`, $(n, 64, 64)$, says which object a pixel shows, −1 for none; `named`, $(n,)$, which object the word names. Write
# a function that returns three numbers, means over the words: the hits of the pointing game, the mass, and chance.

# %% tags=["starter"]
pointing = None  # replace this by a function: def pointing(alpha, owner, named): ... return hits, mass, chance


# %% tags=["solution"]
def pointing(alpha, owner, named):
    n = len(owner)
    cells = owner.view(n, 8, 8, 8, 8).transpose(2, 3).reshape(n, 64, 64)  # (word, region, pixel of the region)
    touched = (cells == named[:, None, None]).any(2)  # (n, 64)
    hits = touched.gather(1, alpha.argmax(1, keepdim=True))
    # Uniform attention has the weight 1/64 for each region: its mass is the share of regions that touch the object.
    return hits.double().mean(), (alpha * touched).sum(1).mean(), touched.double().mean()


# %% tags=["right"]
def pointing(alpha, owner, named):
    hits, mass, chance = [], [], []
    for weights, picture, thing in zip(alpha, owner, named, strict=True):
        touched = torch.nn.functional.max_pool2d((picture == thing).double()[None, None], 8).flatten()
        hits.append(touched[weights.argmax()])
        mass.append(weights @ touched)
        chance.append(touched.mean())
    return tuple(sum(values) / len(named) for values in (hits, mass, chance))


# %% tags=["wrong"]
# a row of pixels is taken for a region
def pointing(alpha, owner, named):
    touched = (owner.view(len(owner), 64, 64) == named[:, None, None]).any(2)
    hits = touched.gather(1, alpha.argmax(1, keepdim=True))
    return hits.double().mean(), (alpha * touched).sum(1).mean(), touched.double().mean()


# %% tags=["wrong"]
# the regions are numbered column by column
def pointing(alpha, owner, named):
    cells = owner.view(-1, 8, 8, 8, 8).permute(0, 3, 1, 2, 4).reshape(-1, 64, 64)
    touched = (cells == named[:, None, None]).any(2)
    hits = touched.gather(1, alpha.argmax(1, keepdim=True))
    return hits.double().mean(), (alpha * touched).sum(1).mean(), touched.double().mean()


# %% tags=["wrong"]
# one pixel of each region is looked at
def pointing(alpha, owner, named):
    touched = owner[:, ::8, ::8].flatten(1) == named[:, None]
    hits = touched.gather(1, alpha.argmax(1, keepdim=True))
    return hits.double().mean(), (alpha * touched).sum(1).mean(), touched.double().mean()


# %% tags=["wrong"]
# only if most of it belongs to the object
def pointing(alpha, owner, named):
    mask = (owner == named[:, None, None]).double()
    touched = torch.nn.functional.avg_pool2d(mask[:, None], 8).flatten(1).round().bool()
    hits = touched.gather(1, alpha.argmax(1, keepdim=True))
    return hits.double().mean(), (alpha * touched).sum(1).mean(), touched.double().mean()


# %% tags=["wrong"]
# any object counts
def pointing(alpha, owner, named):
    mask = (owner != -1).double()
    touched = torch.nn.functional.max_pool2d(mask[:, None], 8).flatten(1).bool()
    hits = touched.gather(1, alpha.argmax(1, keepdim=True))
    return hits.double().mean(), (alpha * touched).sum(1).mean(), touched.double().mean()


# %% tags=["wrong"]
# the mass is a mean over the regions
def pointing(alpha, owner, named):
    cells = owner.view(-1, 8, 8, 8, 8).transpose(2, 3).reshape(-1, 64, 64)
    touched = (cells == named[:, None, None]).any(2)
    hits = touched.gather(1, alpha.argmax(1, keepdim=True))
    mass = torch.stack([weights[on].mean() for weights, on in zip(alpha, touched, strict=True)])
    return hits.double().mean(), mass.mean(), touched.double().mean()


# %% tags=["wrong"]
# chance is taken to be one region in 64
def pointing(alpha, owner, named):
    cells = owner.view(-1, 8, 8, 8, 8).transpose(2, 3).reshape(-1, 64, 64)
    touched = (cells == named[:, None, None]).any(2)
    hits = touched.gather(1, alpha.argmax(1, keepdim=True))
    return hits.double().mean(), (alpha * touched).sum(1).mean(), 1 / 64


# %%
check("4.3", pointing)

# %% [markdown]
# ## 4.4 · What a baseline changes
#
# *20 minutes, hard.* Hard attention samples a region $s$ with the probabilities $\alpha = \mathrm{softmax}(e)$, and gets the
# reward $r_s$. REINFORCE estimates the gradient with respect to $e$ by $(r_s - b)\, \nabla \log \alpha_s$. The chapter samples
# 100,000 times to see the mean and the variance of this estimate. Write a function that gets $e$ and $r$, tensors $(L,)$, and
# the number $b$, and returns both, exactly, without sampling: the mean, $(L,)$, and the variance, summed over the $L$ numbers
# of the gradient. Then try some $b$: is the expected reward, $\sum_i \alpha_i r_i$, the best baseline?

# %% tags=["starter"]
moments = None  # replace this by a function: def moments(e, r, b): ... return mean, variance


# %% tags=["solution"]
def moments(e, r, b):
    alpha = e.softmax(0)
    score = torch.eye(len(e), dtype=e.dtype) - alpha  # row s is ∇ log αₛ
    estimate = (r - b)[:, None] * score
    mean = alpha @ estimate
    # The best b is Σ αₛ rₛ |∇ log αₛ|² / Σ αₛ |∇ log αₛ|², which is near the expected reward, but not equal to it.
    return mean, alpha @ (estimate - mean).square().sum(1)


# %% tags=["right"]
def moments(e, r, b):
    e = e.clone().requires_grad_()
    alpha = e.softmax(0)
    grads = [torch.autograd.grad(alpha[s].log(), e, retain_graph=True)[0] for s in range(len(e))]
    p = alpha.tolist()
    mean = sum(p[s] * (r[s] - b) * grads[s] for s in range(len(e)))
    square = sum(p[s] * ((r[s] - b) * grads[s]).square().sum() for s in range(len(e)))
    return mean, square - mean.square().sum()


# %% tags=["wrong"]
# all regions are drawn equally often
def moments(e, r, b):
    estimate = (r - b)[:, None] * (torch.eye(len(e), dtype=e.dtype) - e.softmax(0))
    return estimate.mean(0), estimate.var(0, correction=0).sum()


# %% tags=["wrong"]
# the variance counts all regions equally
def moments(e, r, b):
    alpha = e.softmax(0)
    estimate = (r - b)[:, None] * (torch.eye(len(e), dtype=e.dtype) - alpha)
    mean = alpha @ estimate
    return mean, (estimate - mean).square().sum(1).mean()


# %% tags=["wrong"]
# this is the gradient of α
def moments(e, r, b):
    alpha = e.softmax(0)
    estimate = (r - b)[:, None] * (alpha.diag() - torch.outer(alpha, alpha))
    mean = alpha @ estimate
    return mean, alpha @ (estimate - mean).square().sum(1)


# %% tags=["wrong"]
# the softmax is forgotten
def moments(e, r, b):
    alpha = e.softmax(0)
    estimate = (r - b)[:, None] * torch.eye(len(e), dtype=e.dtype)
    mean = alpha @ estimate
    return mean, alpha @ (estimate - mean).square().sum(1)


# %% tags=["wrong"]
# the second is the mean square
def moments(e, r, b):
    alpha = e.softmax(0)
    estimate = (r - b)[:, None] * (torch.eye(len(e), dtype=e.dtype) - alpha)
    return alpha @ estimate, alpha @ estimate.square().sum(1)


# %% tags=["wrong"]
# the sign is wrong
def moments(e, r, b):
    alpha = e.softmax(0)
    estimate = (b - r)[:, None] * (torch.eye(len(e), dtype=e.dtype) - alpha)
    mean = alpha @ estimate
    return mean, alpha @ (estimate - mean).square().sum(1)


# %% tags=["wrong"]
# the baseline is left out
def moments(e, r, b):
    alpha = e.softmax(0)
    estimate = r[:, None] * (torch.eye(len(e), dtype=e.dtype) - alpha)
    mean = alpha @ estimate
    return mean, alpha @ (estimate - mean).square().sum(1)


# %%
check("4.4", moments)

# %% [markdown]
# ## 4.5 · One word of beam search
#
# *25 minutes, hard.* A beam search has $K$ beginnings of a caption. `live`, $(K,)$, is the log-probability of each, and
# `log_p`, $(K, V)$, that of each next word after it. Word 0 is the end, and `ended`, bool $(K,)$, says which beginnings have
# ended: they take no more words, but compete with their score as it is, and their next word is 0. (The library sets them aside
# instead.) Write a function that returns the $K$ best continuations, the best first, as three tensors $(K,)$: which beginning
# each continues, its new word, and its log-probability.

# %% tags=["starter"]
advance = None  # replace this by a function: def advance(live, log_p, ended): ... return parent, word, score


# %% tags=["solution"]
def advance(live, log_p, ended):
    K, V = log_p.shape
    log_p = log_p.clone()
    log_p[ended] = -torch.inf
    log_p[ended, 0] = 0  # what has ended goes on with the end alone, at no cost
    score, choice = (live[:, None] + log_p).flatten().topk(K)
    return choice // V, choice % V, score


# %% tags=["right"]
def advance(live, log_p, ended):
    found = []
    for k, score in enumerate(live.tolist()):
        if ended[k]:
            found.append((score, k, 0))
        else:
            found += [(score + more, k, word) for word, more in enumerate(log_p[k].tolist())]
    best = sorted(found, reverse=True)[: len(live)]
    score, parent, word = zip(*best, strict=True)
    return torch.tensor(parent), torch.tensor(word), torch.tensor(score, dtype=torch.float64)


# %% tags=["wrong"]
# each beginning keeps one child
def advance(live, log_p, ended):
    more, word = log_p.max(1)
    score, parent = (live + torch.where(ended, 0, more)).sort(descending=True)
    return parent, torch.where(ended, 0, word)[parent], score


# %% tags=["wrong"]
# the score of the beginning is left out
def advance(live, log_p, ended):
    log_p = torch.where(ended[:, None], -torch.inf, log_p)
    log_p[ended, 0] = 0
    score, choice = log_p.flatten().topk(len(live))
    return choice // log_p.shape[1], choice % log_p.shape[1], score


# %% tags=["wrong"]
# log-probabilities are multiplied
def advance(live, log_p, ended):
    score = live[:, None] * log_p
    score[ended] = -torch.inf
    score[ended, 0] = live[ended]
    score, choice = score.flatten().topk(len(live))
    return choice // log_p.shape[1], choice % log_p.shape[1], score


# %% tags=["wrong"]
# what has ended goes on with new words
def advance(live, log_p, ended):
    score, choice = (live[:, None] + log_p).flatten().topk(len(live))
    return choice // log_p.shape[1], choice % log_p.shape[1], score


# %% tags=["wrong"]
# what has ended has V children
def advance(live, log_p, ended):
    score, choice = (live[:, None] + log_p * ~ended[:, None]).flatten().topk(len(live))
    return choice // log_p.shape[1], choice % log_p.shape[1], score


# %% tags=["wrong"]
# what has ended is lost
def advance(live, log_p, ended):
    score = (live.masked_fill(ended, -torch.inf)[:, None] + log_p).flatten()
    score, choice = score.topk(len(live))
    return choice // log_p.shape[1], choice % log_p.shape[1], score


# %% tags=["wrong"]
# what has ended gets the end at the cost of its log-probability
def advance(live, log_p, ended):
    log_p = log_p.clone()
    log_p[ended, 1:] = -torch.inf
    score, choice = (live[:, None] + log_p).flatten().topk(len(live))
    return choice // log_p.shape[1], choice % log_p.shape[1], score


# %% tags=["wrong"]
# parent and word are taken apart by K
def advance(live, log_p, ended):
    log_p = torch.where(ended[:, None], -torch.inf, log_p)
    log_p[ended, 0] = 0
    score, choice = (live[:, None] + log_p).flatten().topk(len(live))
    return choice // len(live), choice % len(live), score


# %%
check("4.5", advance)

# %% [markdown]
# ## To try in the chapter
#
# - Train `even_model = train_captioner(ShowAttendTell, read_first=True, doubly_stochastic=1.0)`. Does its attention reach the
#   objects more evenly? Compare `evenness(*generate(even_model), test)`, with `evenness` from `mmtutor.metrics`, with that of
#   `read_first_model`.
# - Sample captions, `generate(soft_model, decode=sample, temperature=0.5)`, with `sample` from
#   `mmtutor.captioning`; then with `temperature=2.0`. What breaks first, grammar or truth? `caption_facts` counts the truth.
# - Let beam search compare captions by their mean log-probability per word: `generate(soft_model, decode=beam_search, beams=5,
#   normalise=1.0)`. What happens to length and BLEU?
# - Does the image encoder know a red seven? Take `crops = scenes("test", n=500, always=never, objects=(1, 1)).crops()[:]`, and
#   compare `classifier.digit(classifier.eval()(crops)[:, [5, 6, 9, 10]].mean(1)).argmax(1)` with `crops["digit_label"]`. Then
#   let the image encoder alone see such pairs: put `scenes("train", n=n).crops()` in the place of `train.crops()`, and run the
#   chapter again. And if only red sevens are in all the training, with `never=never[1:]` in the first cell?
