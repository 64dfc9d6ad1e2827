# %% [markdown]
# # 9 · MFN and MFM: exercises
#
# Write your answer into the cell below a task, and run it: `check` says whether it is right, or which usual mistake it is, and
# gives a hint. A second wrong try gets a second hint.

# %%
import torch

from mmtutor.exercises import check

# %% [markdown]
# ## 9.1 · When may one trust the words?
#
# *20 minutes, medium.* A classifier of the monologues sees language and voice. It reads the bits of both without error: the
# words $w$, whether the voice rises ($v$), and whether it creaks ($t$). As in the chapter, $y$ is 0 or 1 with equal
# probability. A speaker is ironic with probability `irony`, and then the words say the opposite of $y$. The melody $v$ is $y$,
# but wrong with probability `voice`; the creak $t$ tells irony, but wrongly with probability `tone`. Write a function that gets
# these three probabilities and returns the accuracy of the best possible classifier. For 0.3, 0.35 and 0.1 the chapter has the
# value.

# %% tags=["starter"]
best = None  # replace this by a function: def best(irony, voice, tone): ...


# %% tags=["solution"]
def best(irony, voice, tone):
    accuracy = 0.0
    for w in (0, 1):
        for v in (0, 1):
            for t in (0, 1):
                p = []  # p(y, w, v, t) for both y
                for y in (0, 1):
                    i = w ^ y  # the words tell irony, once y is known
                    chances = ((i, irony), (v ^ y, voice), (t ^ i, tone))
                    p.append(0.5)
                    for bit, chance in chances:
                        p[-1] *= chance if bit else 1 - chance
                accuracy += max(p)  # the best guess is the more likely y
    return accuracy


# %% tags=["right"]
def best(irony, voice, tone):
    accuracy = 0.0
    for creak in (True, False):
        ironic = irony * (1 - tone if creak else tone)
        sincere = (1 - irony) * (tone if creak else 1 - tone)
        words = max(ironic, sincere) / (ironic + sincere)  # how reliable they are, if reversed where irony is likely
        accuracy += (ironic + sincere) * max(words, voice, 1 - voice)  # the more reliable of two decides
    return accuracy


# %% tags=["wrong"]
# the words are trusted
def best(irony, voice, tone):
    return 1 - irony


# %% tags=["wrong"]
# the scores of both modalities are added up
def best(irony, voice, tone):
    log_odds = {"words": torch.tensor((1 - irony) / irony).log(), "voice": torch.tensor((1 - voice) / voice).log()}
    accuracy = 0.0
    for words_right in (0, 1):
        for voice_right in (0, 1):
            p = (1 - irony if words_right else irony) * (1 - voice if voice_right else voice)
            score = (2 * words_right - 1) * log_odds["words"] + (2 * voice_right - 1) * log_odds["voice"]
            accuracy += p * float(score > 0)
    return accuracy


# %% tags=["wrong"]
# the creak is always believed
def best(irony, voice, tone):
    return irony * (1 - tone) + (1 - irony) * (1 - tone)


# %% tags=["wrong"]
# only irony without a creak counts as an error
def best(irony, voice, tone):
    return 1 - irony * tone


# %% tags=["wrong"]
# the melody of the voice is left out
def best(irony, voice, tone):
    return max(irony * (1 - tone), (1 - irony) * tone) + max(irony * tone, (1 - irony) * (1 - tone))


# %%
check("9.1", best)

# %% [markdown]
# ## 9.2 · Shapley values
#
# *15 minutes, medium.* A dict has the information about the label of each set of modalities: its keys are frozensets of
# names, also the empty one and that of all. Write a function that gets it and returns the Shapley values, a dict with a number
# for each name. There may be any number of modalities. Which sum must come out?

# %% tags=["starter"]
shapley = None  # replace this by a function: def shapley(bits): ...  # bits[frozenset({"words", "voice"})] is a number


# %% tags=["solution"]
from itertools import permutations


def shapley(bits):
    orders = [*permutations(max(bits, key=len))]
    values = {}
    for m in orders[0]:
        before = [frozenset(order[: order.index(m)]) for order in orders]
        values[m] = sum(bits[some | {m}] - bits[some] for some in before) / len(orders)
    return values  # they sum up to the information of all


# %% tags=["right"]
from math import factorial


def shapley(bits):
    everyone = max(bits, key=len)
    values = dict.fromkeys(everyone, 0.0)
    for some in bits:
        for m in everyone - some:
            # the share of orders in which exactly these come before m
            share = factorial(len(some)) * factorial(len(everyone) - len(some) - 1) / factorial(len(everyone))
            values[m] += share * (bits[some | {m}] - bits[some])
    return values


# %% tags=["wrong"]
# this is what each modality tells alone
def shapley(bits):
    return {m: bits[frozenset({m})] for m in max(bits, key=len)}


# %% tags=["wrong"]
# this is what each modality adds to all others
def shapley(bits):
    everyone = max(bits, key=len)
    return {m: bits[everyone] - bits[everyone - {m}] for m in everyone}


# %% tags=["wrong"]
# the mean is over sets
def shapley(bits):
    everyone = max(bits, key=len)
    gains = {m: [bits[some | {m}] - bits[some] for some in bits if m not in some] for m in everyone}
    return {m: sum(gain) / len(gain) for m, gain in gains.items()}


# %% tags=["wrong"]
# the mean of first place and last place
def shapley(bits):
    everyone = max(bits, key=len)
    return {m: (bits[frozenset({m})] + bits[everyone] - bits[everyone - {m}]) / 2 for m in everyone}


# %% tags=["wrong"]
# what each tells alone is only scaled
def shapley(bits):
    everyone = max(bits, key=len)
    total = sum(bits[frozenset({m})] for m in everyone)
    return {m: bits[frozenset({m})] / total * bits[everyone] for m in everyone}


# %%
check("9.2", shapley)

# %% [markdown]
# ## 9.3 · The gradient, and the gradient times the input
#
# *20 minutes, medium.* A linear classifier of two classes reads a sequence $x$ of $T$ steps: $s = \sum_t w^t \cdot x^t$ and
# $p(y = 1) = \sigma(s)$, the logistic function. Its weights $w$ are a tensor $(T, d)$, the inputs $x$ one of $(B, T, d)$. Let
# $\hat y$ be the more probable class of an example. Write a function that returns what the chapter computes at each step, two
# tensors $(B, T)$: the norm of the gradient $\partial \log p(\hat y) / \partial x^t$, and the size $|g \cdot x^t|$ of that
# gradient times the input. Which of the two can tell in which step *this* example shows its event?

# %% tags=["starter"]
saliency = None  # replace this by a function: def saliency(w, x): ... return gradient, gradient_times_input


# %% tags=["solution"]
def saliency(w, x):
    s = (w * x).sum((1, 2))
    slope = torch.sigmoid(-s.abs())  # 1 − p(ŷ), since p(ŷ) = σ(|s|); (B,)
    # The gradient is ± slope · wᵗ: the same largest step for each example. Only times the input it tells something of it.
    return slope[:, None] * w.norm(dim=1), slope[:, None] * (w * x).sum(2).abs()


# %% tags=["right"]
def saliency(w, x):
    x = x.clone().requires_grad_()
    s = (w * x).sum((1, 2))
    log_p = torch.stack([torch.zeros_like(s), s], 1).log_softmax(1)  # of both classes
    (gradient,) = torch.autograd.grad(log_p.amax(1).sum(), x)
    return gradient.norm(dim=2), (gradient * x.detach()).sum(2).abs()


# %% tags=["wrong"]
# this is the gradient of the score
def saliency(w, x):
    return w.norm(dim=1).expand(len(x), -1), (w * x).sum(2).abs()


# %% tags=["wrong"]
# this is the gradient of p
def saliency(w, x):
    x = x.clone().requires_grad_()
    p = torch.sigmoid((w * x).sum((1, 2)))
    (gradient,) = torch.autograd.grad(p.sum(), x)
    return gradient.norm(dim=2), (gradient * x.detach()).sum(2).abs()


# %% tags=["wrong"]
# the class is always 1
def saliency(w, x):
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(torch.nn.functional.logsigmoid((w * x).sum((1, 2))).sum(), x)
    return gradient.norm(dim=2), (gradient * x.detach()).sum(2).abs()


# %% tags=["wrong"]
# the size of the gradient is multiplied by the size of the input
def saliency(w, x):
    gradient = torch.sigmoid(-(w * x).sum((1, 2)).abs())[:, None, None] * w
    return gradient.norm(dim=2), gradient.norm(dim=2) * x.norm(dim=2)


# %% tags=["wrong"]
# absolute values are taken before the sum
def saliency(w, x):
    gradient = torch.sigmoid(-(w * x).sum((1, 2)).abs())[:, None, None] * w
    return gradient.norm(dim=2), (gradient * x).abs().sum(2)


# %% tags=["wrong"]
# the second part has signs
def saliency(w, x):
    s = (w * x).sum((1, 2))
    gradient = (s.sign() * torch.sigmoid(-s.abs()))[:, None, None] * w
    return gradient.norm(dim=2), (gradient * x).sum(2)


# %%
check("9.3", saliency)

# %% [markdown]
# ## 9.4 · Count the runs
#
# *20 minutes, medium.* Two models were trained with the same seeds; `a` and `b` are their accuracies, tensors $(n,)$. A run
# with an accuracy larger than `above` has found the irony. Does one model find it more often? McNemar's test looks at the seeds
# in which one of the two found it and the other did not. If the models were equally good, each of these would be a toss of a
# fair coin. The exact p-value is the probability of a count that is at least as far from one half, on either side. Write a
# function that returns the number of runs of `a` that found it, that of `b`, and the p-value. Without any such seed it is 1.

# %% tags=["starter"]
found = None  # replace this by a function: def found(a, b, above): ... return found_by_a, found_by_b, p


# %% tags=["solution"]
from math import comb


def found(a, b, above):
    by_a, by_b = a > above, b > above
    only_a, only_b = int((by_a & ~by_b).sum()), int((by_b & ~by_a).sum())
    n = only_a + only_b
    tail = sum(comb(n, k) for k in range(max(only_a, only_b), n + 1)) / 2**n
    return int(by_a.sum()), int(by_b.sum()), min(1.0, 2 * tail)


# %% tags=["right"]
from scipy.stats import binomtest


def found(a, b, above):
    pairs = [(x > above, y > above) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    differ = [x for x, y in pairs if x != y]
    p = binomtest(sum(differ), len(differ), 0.5).pvalue if differ else 1.0
    return sum(x for x, _ in pairs), sum(y for _, y in pairs), p


# %% tags=["wrong"]
# all runs that found it are counted
from scipy.stats import binomtest


def found(a, b, above):
    by_a, by_b = int((a > above).sum()), int((b > above).sum())
    return by_a, by_b, binomtest(by_a, by_a + by_b).pvalue


# %% tags=["wrong"]
# the coin is tossed for each seed
from scipy.stats import binomtest


def found(a, b, above):
    by_a, by_b = a > above, b > above
    most = max(int((by_a & ~by_b).sum()), int((by_b & ~by_a).sum()))
    return int(by_a.sum()), int(by_b.sum()), binomtest(most, len(a)).pvalue


# %% tags=["wrong"]
# the p-value is one-sided
from scipy.stats import binomtest


def found(a, b, above):
    by_a, by_b = a > above, b > above
    only = [int((by_a & ~by_b).sum()), int((by_b & ~by_a).sum())]
    p = binomtest(max(only), sum(only), alternative="greater").pvalue if sum(only) else 1.0
    return int(by_a.sum()), int(by_b.sum()), p


# %% tags=["wrong"]
# the p-value is above 1
from math import comb


def found(a, b, above):
    by_a, by_b = a > above, b > above
    only_a, only_b = int((by_a & ~by_b).sum()), int((by_b & ~by_a).sum())
    n = only_a + only_b
    tail = sum(comb(n, k) for k in range(max(only_a, only_b), n + 1)) / 2**n
    return int(by_a.sum()), int(by_b.sum()), 2 * tail


# %% tags=["wrong"]
# the seeds are not paired
from scipy.stats import fisher_exact


def found(a, b, above):
    by_a, by_b = int((a > above).sum()), int((b > above).sum())
    return by_a, by_b, fisher_exact([[by_a, len(a) - by_a], [by_b, len(b) - by_b]]).pvalue


# %%
check("9.4", found)

# %% [markdown]
# ## To try in the chapter
#
# - `monologues(..., dominant="language")` makes irony rarer. Compute with `information(names, dominant="language")` what each
#   modality adds to the others now. Train MFM on such data. Does the absence of that modality cost most accuracy, too?
# - Train with `sequence_mfm(features, 20, 2, variant="M_E", dropout=0.2, **sizes)`. Are the reconstructions better or worse?
# - Give `sequence_mfm` the option `factor=VariationalFactor`, from `mmtutor.mfm`. What happens to `r` of each modality?
# - Multiply `outputs["language"]` by 100 before `hsic`. Does `r` change? Look up how wide its kernels are.
# - Read CMU-MOSI, which you download by hand, with `mmtutor.data.mosi(path, "train", label="score")`. Train
#   `sequence_mfm(..., 1, label_cost=absolute_error, **ORIGINAL)` on it, with the sizes of the released code; `ORIGINAL` and
#   `absolute_error` are in `mmtutor.mfm`.
# - Give your function of 9.4 the twenty seeds of `measured("mfm_ablations")["numbers"]`, from `mmtutor.results`: the numbers
#   `"accuracy, M_B, no penalty"` and `"accuracy, M_A, no penalty"`. Is the difference in counts as certain as that in means?
