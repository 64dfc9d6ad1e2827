# %% [markdown]
# # 11 · Iterative amortised inference: exercises
#
# Write your answer into the cell below a task, and run it: `check` says whether it is right, or which usual mistake it is, and
# gives a hint. A second wrong try gets a second hint.

# %%
import torch

from mmtutor.exercises import check

# %% [markdown]
# ## 11.1 · The gradient by hand
#
# *20 minutes, medium.* One number $x$ is seen of one number $z$: $p(z) = \mathcal N(0, 1)$ and
# $p(x \mid z) = \mathcal N(w z, s^2)$, where $s$ is `noise`. The guess is $q(z) = \mathcal N(\mu, \sigma^2)$. Write a function
# that returns the gradient of the ELBO with respect to $\lambda = (\mu, \log \sigma)$, two numbers, without autograd. All
# arguments are numbers. At which $\mu$ and $\sigma$ are both 0?

# %% tags=["starter"]
gradient = None  # replace this by a function: def gradient(x, w, noise, mean, log_std): ... return by_mean, by_log_std


# %% tags=["solution"]
import math


def gradient(x, w, noise, mean, log_std):
    # ELBO = −[(x − wμ)² + w²σ²] / 2s² − (μ² + σ²) / 2 + log σ + constant
    variance = math.exp(2 * log_std)
    by_mean = w * (x - w * mean) / noise**2 - mean
    by_log_std = 1 - variance * (1 + w**2 / noise**2)  # σ · (1/σ − σ P)
    return by_mean, by_log_std


# %% tags=["right"]
def gradient(x, w, noise, mean, log_std):
    P = 1 + (w / noise) ** 2  # the posterior's precision
    m = w * x / noise**2 / P  # and its mean
    return P * (m - mean), 1 - P * torch.tensor(log_std, dtype=torch.float64).exp() ** 2


# %% tags=["right"]
def gradient(x, w, noise, mean, log_std):  # a check by autograd
    lam = torch.tensor([mean, log_std], dtype=torch.float64, requires_grad=True)
    q, prior = torch.distributions.Normal(lam[0], lam[1].exp()), torch.distributions.Normal(0.0, 1.0)
    fit = -((x - w * lam[0]) ** 2 + (w * q.stddev) ** 2) / (2 * noise**2)
    return torch.autograd.grad(fit - torch.distributions.kl_divergence(q, prior), lam)[0].tolist()


# %% tags=["wrong"]
# with respect to σ, not to log σ
import math


def gradient(x, w, noise, mean, log_std):
    std = math.exp(log_std)
    return w * (x - w * mean) / noise**2 - mean, 1 / std - std * (1 + w**2 / noise**2)


# %% tags=["wrong"]
# with respect to log σ²
import math


def gradient(x, w, noise, mean, log_std):
    return w * (x - w * mean) / noise**2 - mean, (1 - math.exp(2 * log_std) * (1 + w**2 / noise**2)) / 2


# %% tags=["wrong"]
# the divergence from the prior is left out
import math


def gradient(x, w, noise, mean, log_std):
    return w * (x - w * mean) / noise**2, -math.exp(2 * log_std) * w**2 / noise**2


# %% tags=["wrong"]
# the prior is left out, but not the entropy
import math


def gradient(x, w, noise, mean, log_std):
    return w * (x - w * mean) / noise**2, 1 - math.exp(2 * log_std) * w**2 / noise**2


# %% tags=["wrong"]
# the entropy of q is left out
import math


def gradient(x, w, noise, mean, log_std):
    return w * (x - w * mean) / noise**2 - mean, -math.exp(2 * log_std) * (1 + w**2 / noise**2)


# %% tags=["wrong"]
# the sign is wrong
import math


def gradient(x, w, noise, mean, log_std):
    return mean - w * (x - w * mean) / noise**2, math.exp(2 * log_std) * (1 + w**2 / noise**2) - 1


# %% tags=["wrong"]
# w is forgotten in the chain rule
import math


def gradient(x, w, noise, mean, log_std):
    return (x - w * mean) / noise**2 - mean, 1 - math.exp(2 * log_std) * (1 + w**2 / noise**2)


# %%
check("11.1", gradient)

# %% [markdown]
# ## 11.2 · Two parts of a gap
#
# *25 minutes, hard.* The exact posterior of an example is $\mathcal N(m, P^{-1})$, with $m$ a tensor $(d,)$ and $P$ one of
# $(d, d)$. An encoder guesses a normal distribution with independent numbers, with means $\mu$ and standard deviations
# $\sigma$, $(d,)$ each. Write a function that returns the approximation gap and the amortisation gap of this example, in nats.
# First find the best guess: which $\mu$ and $\sigma$ make $\mathrm{KL}(q \,\Vert\, p)$ smallest?

# %% tags=["starter"]
gaps = None  # replace this by a function: def gaps(m, P, mu, sigma): ... return approximation_gap, amortisation_gap


# %% tags=["solution"]
def gaps(m, P, mu, sigma):
    def kl(mu, sigma):  # KL(N(μ, σ²) ‖ N(m, P⁻¹))
        error = (mu - m) @ P @ (mu - m)
        return (error + (P.diagonal() * sigma**2).sum() - len(m) - P.logdet() - 2 * sigma.log().sum()) / 2

    # ∂KL/∂σⱼ = Pⱼⱼ σⱼ − 1/σⱼ is 0 at σⱼ² = 1/Pⱼⱼ
    approximation = kl(m, P.diagonal() ** -0.5)
    return approximation, kl(mu, sigma) - approximation


# %% tags=["right"]
from torch.distributions import MultivariateNormal, kl_divergence


def gaps(m, P, mu, sigma):
    q, p = MultivariateNormal(mu, torch.diag(sigma**2)), MultivariateNormal(m, precision_matrix=P)
    approximation = (P.diagonal().log().sum() - P.logdet()) / 2
    return approximation.item(), (kl_divergence(q, p) - approximation).item()


# %% tags=["wrong"]
# the two gaps are exchanged
from torch.distributions import MultivariateNormal, kl_divergence


def gaps(m, P, mu, sigma):
    q, p = MultivariateNormal(mu, torch.diag(sigma**2)), MultivariateNormal(m, precision_matrix=P)
    approximation = (P.diagonal().log().sum() - P.logdet()) / 2
    return kl_divergence(q, p) - approximation, approximation


# %% tags=["wrong"]
# the second is the whole inference gap
from torch.distributions import MultivariateNormal, kl_divergence


def gaps(m, P, mu, sigma):
    q, p = MultivariateNormal(mu, torch.diag(sigma**2)), MultivariateNormal(m, precision_matrix=P)
    return (P.diagonal().log().sum() - P.logdet()) / 2, kl_divergence(q, p)


# %% tags=["wrong"]
# the widths of the posterior's marginals
from torch.distributions import MultivariateNormal, kl_divergence


def gaps(m, P, mu, sigma):
    q, p = MultivariateNormal(mu, torch.diag(sigma**2)), MultivariateNormal(m, precision_matrix=P)
    best = MultivariateNormal(m, torch.diag(torch.linalg.inv(P).diagonal()))
    approximation = kl_divergence(best, p)
    return approximation, kl_divergence(q, p) - approximation


# %% tags=["wrong"]
# the divergence goes in the other direction
from torch.distributions import MultivariateNormal, kl_divergence


def gaps(m, P, mu, sigma):
    q, p = MultivariateNormal(mu, torch.diag(sigma**2)), MultivariateNormal(m, precision_matrix=P)
    best = MultivariateNormal(m, torch.diag(torch.linalg.inv(P).diagonal()))
    approximation = kl_divergence(p, best)
    return approximation, kl_divergence(p, q) - approximation


# %% tags=["wrong"]
# the second has only the error of the mean
def gaps(m, P, mu, sigma):
    return (P.diagonal().log().sum() - P.logdet()) / 2, (m - mu) @ P @ (m - mu) / 2


# %%
check("11.2", gaps)

# %% [markdown]
# ## 11.3 · What the best student loses
#
# *25 minutes, hard.* All is normal, and $z$ is one number. The teacher is exact: it has the posterior $p(z \mid X)$, with the
# precision $\tau$. A student sees $x_i$ alone; $p(z \mid x_i)$ has the precision $\tau_i$. Both precisions are the same for all
# examples. What are the best normal students by the *forward* divergence, the mean of
# $\mathrm{KL}(p(z \mid X) \,\Vert\, q_i(z \mid x_i))$ over all examples, and by the *reverse* one? Write a function that
# returns a dict `{"forward": (std, loss), "reverse": (std, loss)}`: the standard deviation of this student, and the loss that
# remains, in nats.

# %% tags=["starter"]
students = None  # replace this by a function: def students(tau, tau_i): ...


# %% tags=["solution"]
import math


def students(tau, tau_i):
    # Given xᵢ, the teacher's mean m varies by 1/τᵢ − 1/τ: together with its own 1/τ this is the variance of p(z | xᵢ).
    # Forward: the best student is p(z | xᵢ), and I(z; x_rest | xᵢ) remains.
    # Reverse: −½ log σ² + ½ τ (σ² + 1/τᵢ − 1/τ) + … is smallest at σ² = 1/τ.
    return {
        "forward": (1 / math.sqrt(tau_i), math.log(tau / tau_i) / 2),
        "reverse": (1 / math.sqrt(tau), (tau / tau_i - 1) / 2),
    }


# %% tags=["right"]
def students(tau, tau_i):
    tau, tau_i = torch.tensor([tau, tau_i], dtype=torch.float64)
    varies = 1 / tau_i - 1 / tau  # the teacher's mean, around the student's

    def mean_kl(q, p):  # of two normals with these variances
        return (q / p - 1 + varies / p - (q / p).log()) / 2

    return {
        "forward": (tau_i.rsqrt(), mean_kl(1 / tau, 1 / tau_i)),
        "reverse": (tau.rsqrt(), mean_kl(1 / tau, 1 / tau)),
    }


# %% tags=["wrong"]
# forward and reverse are exchanged
import math


def students(tau, tau_i):
    return {
        "reverse": (1 / math.sqrt(tau_i), math.log(tau / tau_i) / 2),
        "forward": (1 / math.sqrt(tau), (tau / tau_i - 1) / 2),
    }


# %% tags=["wrong"]
# the student by reverse KL is taken to be p(z | xᵢ)
import math


def students(tau, tau_i):
    std, ratio = 1 / math.sqrt(tau_i), tau / tau_i
    # KL(N(mᵢ, 1/τᵢ) ‖ N(m, 1/τ)), with (m − mᵢ)² = 1/τᵢ − 1/τ on average
    return {
        "forward": (std, math.log(ratio) / 2),
        "reverse": (std, (ratio + ratio - 1 - 1 - math.log(ratio)) / 2),
    }


# %% tags=["wrong"]
# the teacher's mean is taken to be the student's
import math


def students(tau, tau_i):
    ratio = tau_i / tau
    return {
        "forward": (1 / math.sqrt(tau_i), (ratio - 1 - math.log(ratio)) / 2),
        "reverse": (1 / math.sqrt(tau), 0.0),
    }


# %% tags=["wrong"]
# these are variances
import math


def students(tau, tau_i):
    return {"forward": (1 / tau_i, math.log(tau / tau_i) / 2), "reverse": (1 / tau, (tau / tau_i - 1) / 2)}


# %% tags=["wrong"]
# the factor ½ is missing
import math


def students(tau, tau_i):
    return {
        "forward": (1 / math.sqrt(tau_i), math.log(tau / tau_i)),
        "reverse": (1 / math.sqrt(tau), tau / tau_i - 1),
    }


# %%
check("11.3", students)

# %% [markdown]
# ## 11.4 · The density of a flow
#
# *15 minutes, medium.* The flow of a student has one coupling. A latent code is drawn from $\mathcal N(0, I)$, and its halves
# are called $a$ and $b$. The coupling keeps $a$ and makes $a, b \cdot \exp s + t$ of both, with $s$ and $t$ that were computed
# from $a$. Write a function that gets $z$, a tensor $(B, d)$ that has gone through the coupling, and its $s$ and $t$,
# $(B, d/2)$ each, and returns $\log q(z)$, $(B,)$.

# %% tags=["starter"]
log_density = None  # replace this by a function: def log_density(z, s, t): ...


# %% tags=["solution"]
def log_density(z, s, t):
    a, c = z.chunk(2, 1)
    b = (c - t) * torch.exp(-s)  # a was kept, so s and t are known: the coupling is undone
    before = torch.distributions.Normal(0.0, 1.0).log_prob(torch.cat([a, b], 1)).sum(1)
    return before - s.sum(1)  # the Jacobian is triangular, and its determinant exp Σ s


# %% tags=["right"]
def log_density(z, s, t):
    # Given a, the second half of z is normal, with the mean t and the standard deviation exp s.
    a, c = z[:, : z.shape[1] // 2], z[:, z.shape[1] // 2 :]
    log_p = torch.distributions.Normal(0.0, 1.0).log_prob(a) + torch.distributions.Normal(t, s.exp()).log_prob(c)
    return log_p.sum(1)


# %% tags=["wrong"]
# the logarithm of the determinant has the wrong sign
def log_density(z, s, t):
    a, c = z.chunk(2, 1)
    before = torch.cat([a, (c - t) / s.exp()], 1)
    return torch.distributions.Normal(0.0, 1.0).log_prob(before).sum(1) + s.sum(1)


# %% tags=["wrong"]
# the determinant is missing
def log_density(z, s, t):
    a, c = z.chunk(2, 1)
    before = torch.cat([a, (c - t) / s.exp()], 1)
    return torch.distributions.Normal(0.0, 1.0).log_prob(before).sum(1)


# %% tags=["wrong"]
# exp s is subtracted in the place of s
def log_density(z, s, t):
    a, c = z.chunk(2, 1)
    before = torch.cat([a, (c - t) / s.exp()], 1)
    return torch.distributions.Normal(0.0, 1.0).log_prob(before).sum(1) - s.exp().sum(1)


# %% tags=["wrong"]
# the coupling is applied once more
def log_density(z, s, t):
    a, c = z.chunk(2, 1)
    return torch.distributions.Normal(0.0, 1.0).log_prob(torch.cat([a, c * s.exp() + t], 1)).sum(1) - s.sum(1)


# %% tags=["wrong"]
# the inverse has the wrong order
def log_density(z, s, t):
    a, c = z.chunk(2, 1)
    return torch.distributions.Normal(0.0, 1.0).log_prob(torch.cat([a, c / s.exp() - t], 1)).sum(1) - s.sum(1)


# %% tags=["wrong"]
# z itself is looked up in the base density
def log_density(z, s, t):
    return torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1) - s.sum(1)


# %%
check("11.4", log_density)

# %% [markdown]
# ## 11.5 · Equal time
#
# *10 minutes, easy.* Two methods were trained. Tensors `a` and `b` are their distances to real pictures after 1, 2, … epochs,
# smaller is better. An epoch of `a` takes `seconds_a`, one of `b` takes `seconds_b`, which is less; `b` has been trained for
# more epochs than needed. Write a function that returns two differences, the last distance of `a` less that of `b`: after as
# many epochs of `b` as of `a`, and after the last epoch that `b` finishes in the time of `a`. Times are whole numbers.

# %% tags=["starter"]
compared = (
    None  # replace this by a function: def compared(a, b, seconds_a, seconds_b): ... return equal_epochs, equal_time
)


# %% tags=["solution"]
def compared(a, b, seconds_a, seconds_b):
    epochs = len(a) * seconds_a // seconds_b  # what b finishes
    return a[-1] - b[len(a) - 1], a[-1] - b[epochs - 1]


# %% tags=["right"]
def compared(a, b, seconds_a, seconds_b):
    finished = [distance for k, distance in enumerate(b.tolist(), 1) if k * seconds_b <= len(a) * seconds_a]
    return a[-1] - b[: len(a)][-1], float(a[-1]) - finished[-1]


# %% tags=["wrong"]
# the signs are wrong
def compared(a, b, seconds_a, seconds_b):
    return b[len(a) - 1] - a[-1], b[len(a) * seconds_a // seconds_b - 1] - a[-1]


# %% tags=["wrong"]
# time is turned over
def compared(a, b, seconds_a, seconds_b):
    return a[-1] - b[len(a) - 1], a[-1] - b[len(a) * seconds_b // seconds_a - 1]


# %% tags=["wrong"]
# an epoch that was not finished in time
import math


def compared(a, b, seconds_a, seconds_b):
    return a[-1] - b[len(a) - 1], a[-1] - b[math.ceil(len(a) * seconds_a / seconds_b) - 1]


# %% tags=["wrong"]
# one epoch too late
def compared(a, b, seconds_a, seconds_b):
    return a[-1] - b[len(a)], a[-1] - b[len(a) * seconds_a // seconds_b]


# %% tags=["wrong"]
# all the epochs that it has
def compared(a, b, seconds_a, seconds_b):
    return a[-1] - b[len(a) - 1], a[-1] - b[-1]


# %% tags=["wrong"]
# the best epoch of b
def compared(a, b, seconds_a, seconds_b):
    return a[-1] - b[len(a) - 1], a[-1] - b[: len(a) * seconds_a // seconds_b].min()


# %%
check("11.5", compared)

# %% [markdown]
# ## To try in the chapter
#
# - Start from nothing: in `build`, put `FromPrior(latent)` in the place of `JointEncoder()`, and train with `build(4)`. How many
#   steps does it need to reach the ELBO of the joint encoder's first guess? `vae.bounds(hundred, 16)` has one row for each step.
# - Let the refiner see $x$: `IterativeVAE(..., features=reader)` with a module from the batch to 32 numbers, and
#   `Refiner(latent, inputs=("lam", "unit", "norms", "features"), features=32)`. Does the amortisation gap become smaller?
# - Train with `IterativeVAE(..., over="last")`: only the last step's ELBO counts. Compare the curves of `vae.bounds`.
# - Reverse the divergence of the students: `Distillation(None, students, reverse_kl)`, with `reverse_kl` from
#   `mmtutor.iterative`. What happens to the pictures generated from words?
# - Do without a student: `refine(torch.zeros(500, 2 * latent), elbo_of_word, GradientAscent(0.05, unit=True), 100)`, with
#   `elbo_of_word = lambda lam: vae.elbo(lam, {"word": batch["word"]})`. What does the decoder generate from `posterior(lam)`?
# - Train `FlowStudents` for all modalities, from either teacher: `fit(Distillation(None, flow, drawn_kl), targets["joint VAE"], **recipe)`.
#   Which of the two changes pictures more, the teacher or the student?
