# %% [markdown]
# # 11 · Iterative amortised inference: guess, look, guess again
#
# Asked what is in a picture, a network answers at once. You would look a second time. In this chapter an encoder's guess of
# the latent code is only the start: a decoder shows what the guess would look like, and the error shows how to improve the
# guess. What this slow inference finds can then be taught to networks that see one modality alone.

# %% tags=["hide-input"]
import torch
import torch.nn.functional as F
from torch import nn

from mmtutor.data import MultimodalDataset, digits
from mmtutor.plotting import curves, gaussians, grid, show
from mmtutor.training import budget, claim, fit, seed_everything

n, epochs, batch_size, lr = budget(quick=(3000, 6, 32, 3e-3), full=(20000, 30, 256, 6e-3))
modalities = ("handwritten", "street", "word")
train, test = digits(*modalities, split="train", n=n), digits(*modalities, split="test", n=500)

# %% tags=["hide-input"]
from mmtutor.iterative import FromPrior, GradientAscent, IterativeVAE, Refiner, posterior, refine, refinements
from mmtutor.lineargaussian import LinearGaussian

weights = {"image": torch.tensor([[1.0, 0.6]]), "sound": torch.tensor([[0.2, -0.5], [0.5, 0.4]])}
world = LinearGaussian({modality: w.double() for modality, w in weights.items()}, {"image": 0.5, "sound": 0.8})
(_, world_train), (_, world_test) = world.sample(2000, seed=0), world.sample(500, seed=1)
start = torch.zeros(500, 4, dtype=torch.float64)  # mean and log σ of the prior, for each example


def elbo(lam):
    return {"elbo": world.elbo(world_test, posterior(lam))}


# %% tags=["hide-input"]
exact, ellipses = world.posterior(world_test), {}
for step in (0.05, 0.2):
    q = [posterior(lam) for lam in refinements(start, elbo, GradientAscent(step), 16)]
    steps = (0, 1, 2, 4, 16)
    ellipses[f"step size {step}"] = {f"t = {t}": (q[t].mean[0], q[t].variance[0].diag()) for t in steps}
show(
    gaussians((exact.mean[0], exact.covariance_matrix[0]), ellipses, "Guesses approach the posterior"),
    "A tilted grey ellipse, the exact posterior of two numbers, and ellipses that move to its centre and shrink.",
)

# %% [markdown]
# ## The idea
#
# The encoder of a VAE infers the posterior of an example $x$ in one go: $q(z; \lambda) = \mathcal N(\mu, \sigma^2)$ with
# $\lambda = (\mu, \log \sigma)$. How good is it? The evidence lower bound (ELBO) tells, because
#
# $$\begin{aligned}
# & \log p(x) - \mathrm{ELBO}(x; \lambda) \\
# & = \mathrm{KL}(q(z; \lambda) \,\Vert\, p(z \mid x)).
# \end{aligned}$$
#
# This difference, the *inference gap*, has two parts (Cremer, Li and Duvenaud, 2018). The *approximation gap* is a floor: no $q$
# of this kind fits the exact posterior. The rest is the *amortisation gap*: one encoder must serve all examples, and it misses
# the best $\lambda$ of each. But the ELBO can be computed for *this* example, and its gradient with respect to $\lambda$ shows
# how to improve $\lambda$:
#
# $$\begin{aligned}
# g_t &= \partial\,\mathrm{ELBO}(x; \lambda_t) / \partial \lambda, \\
# \lambda_{t+1} &= r(\lambda_t, g_t).
# \end{aligned}$$
#
# $r$ is a *refiner*: a plain step along the gradient, or a small network that has learned how far to go (Marino, Yue and
# Mandt, 2018). In the figure above, the grey ellipses are an exact posterior, and the coloured ones are guesses after $t$ steps.
#
# ## By hand, where everything is known
#
# In the linear-Gaussian world of [chapter 10](10_multimodal_vaes.ipynb) the posterior $\mathcal N(m, P^{-1})$, $\log p(x)$ and
# the ELBO have closed forms. The gradient with respect to the mean is
#
# $$\partial\,\mathrm{ELBO} / \partial \mu = P (m - \mu).$$
#
# It is the direction to the exact mean, $m - \mu$, but stretched by $P$, more in one direction than in another. So it does not
# point exactly at $m$, and no single step size suits all directions. Check this, and that $\log p(x)$ minus the ELBO is the
# divergence:

# %%
lam = (start + 0.3).requires_grad_()
(gradient,) = torch.autograd.grad(elbo(lam)["elbo"].sum(), lam)
lam = lam.detach()
P, mu, sigma = world.precision(), lam[:, :2], lam[:, 2:].exp()
error = float((gradient[:, :2] - (exact.mean - mu) @ P).abs().max())
claim("the gradient by hand is that of autograd", error < 1e-10, str(error))

q = torch.distributions.MultivariateNormal(mu, scale_tril=sigma.diag_embed())
error = world.log_prob(world_test) - elbo(lam)["elbo"] - torch.distributions.kl_divergence(q, exact)
claim("log p(x) − ELBO is the divergence", float(error.abs().max()) < 1e-10, str(error))

# %% [markdown]
# Plain steps along the gradient approach the posterior. But $q$ has independent numbers here, so its ellipse cannot be tilted
# as the posterior's is: the inference gap stops at the approximation gap, however many steps are taken. With the posterior's
# covariance, one *Newton step*, $\mu + P^{-1} g$, is exact.


# %%
def gap(lam):
    return world.gap(world_test, posterior(lam))


refined, floor = refine(start, elbo, GradientAscent(0.1), 400), world.mean_field_floor()
error = float((gap(refined) - floor).abs().max())
claim("the inference gap shrinks to the approximation gap", error < 1e-6, str(error))


# %%
def full(mean):
    return torch.distributions.MultivariateNormal(mean, precision_matrix=P)


def elbo_of_mean(mean):
    return {"elbo": world.elbo(world_test, full(mean))}


newton = refine(start[:, :2], elbo_of_mean, lambda mean, gradient: mean + gradient @ torch.linalg.inv(P), steps=1)
error = float(world.gap(world_test, full(newton)).abs().max())
claim("one Newton step on the mean is exact, if the covariance is", error < 1e-10, str(error))

# %% [markdown]
# ## A refiner that learns
#
# For a decoder that is a network, nobody knows $P$. So let the refiner be a small network that reads $\lambda$ and the gradient
# (scaled, and the logarithm of its size). It is trained to raise the ELBO, averaged over all steps:
#
# $$\mathrm{loss} = -\tfrac 1 {T+1} \textstyle\sum_{t=0}^{T} \mathrm{ELBO}(x; \lambda_t).$$
#
# Here are three refiners in the known world. They start from the prior and are trained with $T = 1$, 2 and 4 steps. What
# happens when they take more steps than in training?


# %%
class WorldElbo(nn.Module):
    def forward(self, lam, batch):
        return {"elbo": world.to(lam).elbo(batch, posterior(lam))}


known_train, known_test = (MultimodalDataset({m: x.float() for m, x in of.items()}) for of in (world_train, world_test))
after = {}
for steps in (1, 2, 4):
    seed_everything(0)
    vae = IterativeVAE(FromPrior(2), WorldElbo(), Refiner(2, hidden=(32,)), steps)
    fit(vae, known_train, epochs=10, batch_size=100, lr=1e-2, schedule="one-cycle", progress=False)
    after[steps] = torch.stack([gap(lam).mean() for lam in vae.refinements(known_test[:], steps=16)])
text = str({steps: gaps.tolist() for steps, gaps in after.items()})
claim("a refiner that was trained with one step fails when it is iterated", after[1][2:].max() > 3 * after[1][1], text)
claim(
    "one that was trained with four steps can go on", after[4].max() == after[4][0] and after[4][16] < 2 * floor, text
)

# %% tags=["nbval-ignore-output", "hide-input"]
lines = {f"trained with T = {steps}": gaps.log10() for steps, gaps in after.items()}
show(
    curves(
        range(17),
        lines,
        "Training with one step does not prepare for many",
        "steps taken",
        "log₁₀ of the inference gap in nats",
    ),
    "Inference gap by number of steps: the refiner trained with one step gets worse at once, that of four steps stays low.",
)

# %% [markdown]
# ## A teacher and its students
#
# The posterior $p(z \mid X)$ depends on *all* modalities $X$, and so does the ELBO whose gradient is needed. When some
# modalities are missing, one can still follow the gradient of the ELBO of the others. But this takes many decodings, and the
# prior is all it knows about which latent codes are likely. Oshima, Suzuki and Matsuo (2023) count a missing modality as a
# part of the amortisation gap, and close it in two stages. The refined inference is a *teacher*. For each modality $i$ a
# *student* $q_i(z \mid x_i)$, which sees $x_i$ alone, learns the teacher's posterior:
#
# $$\mathrm{loss} = \textstyle\sum_i \mathrm{KL}(q(z; \lambda_T) \,\Vert\, q_i(z \mid x_i)).$$
#
# What is the best that a student of an exact teacher can do? In the known world it is $p(z \mid x_i)$, and a loss remains, the
# mean of $\mathrm{KL}(p(z \mid X) \,\Vert\, p(z \mid x_i))$. This is the information $I(z; x_\mathrm{rest} \mid x_i)$ that
# the other modalities have and the student's does not. So *this loss is a poor measure of a student*: it depends more on the
# modalities and on the teacher. With the reverse divergence, $\mathrm{KL}(q_i \,\Vert\, q)$, a student is as narrow as the
# teacher, without knowing what the teacher knows.


# %%
from_both, from_image = world.posterior(world_test), world.posterior(world_test, "image")
loss = float(torch.distributions.kl_divergence(from_both, from_image).mean())
missing = world.missing_information("image")
claim("the best student's loss is what its modality lacks", abs(loss / missing - 1) < 0.2, f"{loss} and {missing} nats")
width = float((world.reverse_student(world_test, "image").variance / from_image.variance).sqrt().mean())
claim("a student by the reverse divergence is too narrow", width < 0.95, f"{width} of the right width")

# %% [markdown]
# ## Digits
#
# Now the triples of chapter 10: a handwritten digit, a house number and the digit's word. The ELBO has the weights $w_i$ of
# the modalities as there. So it is the ELBO of the model $p(z) \prod_i p(x_i \mid z)^{w_i}$, and the nats below are, too. A step
# draws $z$ once, so the gradient is noisy now. It is an input of the refiner, and is not differentiated again.
#
# Two models have the same networks and the same number of training steps. The *joint VAE* has an encoder of all modalities and
# no refinement: it is a JMVAE whose students are trained afterwards. The *iterative VAE* has the same encoder and refines
# $T = 4$ times.

# %%
from mmtutor.iterative import Distillation, Elbo, Students, amortisation_gap, product_of_students
from mmtutor.vae import categorical, gaussian, mean_of

latent = 20


def encoder(modality, outputs):
    if modality == "word":
        return nn.Sequential(nn.Flatten(), nn.Linear(216, 128), nn.SiLU(), nn.Linear(128, outputs))
    channels, side = {"handwritten": (1, 7), "street": (3, 8)}[modality]
    layers = [nn.Conv2d(channels, 16, 4, 2, 1), nn.GroupNorm(4, 16), nn.SiLU(), nn.Conv2d(16, 32, 4, 2, 1)]
    layers += [nn.GroupNorm(4, 32), nn.SiLU(), nn.Flatten(), nn.Linear(32 * side**2, 128), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(128, outputs))


# %%
def decoder(modality):
    first = [nn.Linear(latent, 128), nn.SiLU()]
    if modality == "word":
        return nn.Sequential(*first, nn.Linear(128, 216), nn.Unflatten(1, (8, 27)))
    channels, side = {"handwritten": (1, 7), "street": (3, 8)}[modality]
    first += [nn.Linear(128, 32 * side**2), nn.SiLU(), nn.Unflatten(1, (32, side, side))]
    layers = [nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.SiLU(), nn.ConvTranspose2d(16, channels, 4, 2, 1), nn.Sigmoid()]
    return nn.Sequential(*first, *layers)


# %%
class JointEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleDict({modality: encoder(modality, 128) for modality in modalities})
        self.last = nn.Sequential(nn.SiLU(), nn.Linear(3 * 128, 2 * latent))

    def forward(self, batch):
        return self.last(torch.cat([part(batch[modality]) for modality, part in self.parts.items()], 1))


def build(steps):
    seed_everything(0)
    likelihoods = {"handwritten": gaussian(0.2), "street": gaussian(0.25), "word": categorical(one_hot=True)}
    weights = {"handwritten": 4.0, "street": 1.0, "word": 40.0}
    elbo = Elbo({modality: decoder(modality) for modality in modalities}, likelihoods, weights)
    return IterativeVAE(JointEncoder(), elbo, Refiner(latent), steps)


# %% tags=["nbval-ignore-output"]
recipe = dict(epochs=epochs, batch_size=batch_size, lr=lr, schedule="one-cycle", clip_norm=200.0)
teachers = {"joint VAE": build(0), "iterative VAE": build(4)}
for vae in teachers.values():
    fit(vae, train, **recipe)
    vae.eval()

# %% [markdown]
# ## The amortisation gap
#
# How large is it? From where inference ended, $\lambda$ of each example is now optimised by itself, with 100 steps of Adam. The
# amortisation gap is what the ELBO gains, or a little more. And what happens if refinement goes on for more steps than in
# training? The joint VAE's refiner never took a step in training, so it is still as initialised: it takes steps of size 0.1
# along the scaled gradient. Another size would give another curve.

# %%
batch, gaps, bounds = test[:], {}, {}
hundred = {modality: x[:100] for modality, x in batch.items()}
for name, vae in teachers.items():
    seed_everything(0)
    gaps[name] = float(amortisation_gap(vae.infer(hundred), lambda lam, of=vae: of.elbo(lam, hundred)).mean())
    bounds[name] = vae.bounds(hundred, 16).mean(1)
joint, iterative = bounds["joint VAE"][0], bounds["iterative VAE"][4]
text = f"gaps {gaps}, ELBO {joint:.0f} and {iterative:.0f}"
claim(
    "refinement leaves at most two thirds of the amortisation gap",
    gaps["iterative VAE"] < gaps["joint VAE"] / 1.5,
    text,
)
first = bounds["iterative VAE"][0]  # of its first guess
claim("its own steps raise the ELBO, and above the joint VAE's", iterative > joint and iterative > first + 100, text)

# %% tags=["nbval-ignore-output"]
print({name: f"an amortisation gap of {nats:.0f} nats" for name, nats in gaps.items()})
show(
    curves(range(17), bounds, "The ELBO, step by step", "steps taken", "ELBO with weights (nats)"),
    "The ELBO by steps: the iterative VAE's rises at once and is flat after four steps; steps of one size raise the "
    "joint VAE's slowly.",
)

# %% [markdown]
# What does refinement look like? The decoder shows the guess after $t$ steps:


# %% tags=["nbval-ignore-output"]
def same_size(picture):  # grey to colour, 28 to 32 pixels
    return F.pad(picture, [(32 - picture.shape[-1]) // 2] * 4).expand(-1, 3, -1, -1)


def decode(model, z, modality):
    with torch.no_grad():
        return mean_of(model.elbo.decode(z, [modality])[modality])


eight = {modality: x[:8] for modality, x in batch.items()}
vae = teachers["iterative VAE"]
path = list(vae.refinements(eight, 16))
rows = {"given": eight["street"]}
rows |= {f"t = {t}": decode(vae, path[t][:, :latent], "street").cpu() for t in (0, 1, 2, 4, 16)}
show(
    grid(torch.stack([same_size(x) for x in rows.values()]), list(rows), [""] * 8, "A house number, guessed again"),
    "Eight house numbers, and the decoder's reconstructions after 0, 1, 2, 4 and 16 steps.",
)

# %% [markdown]
# ## Students
#
# For each modality a student learns from each teacher. The teacher's posteriors are inferred once and stored with the data, as
# `teacher_posterior`; so `Distillation` needs no teacher, `None`. Afterwards a word alone is enough to generate pictures. The
# teachers themselves need all modalities.

# %% tags=["nbval-ignore-output"]
students = {}
for name, vae in teachers.items():
    seed_everything(0)
    students[name] = Students({modality: encoder(modality, 2 * latent) for modality in modalities})
    # once for all epochs
    lam = torch.cat([vae.infer(train[k : k + 250]) for k in range(0, n, 250)])
    with_target = MultimodalDataset({**train.tensors, "teacher_posterior": lam})
    fit(Distillation(None, students[name]), with_target, **recipe)
    students[name].eval()

# %% tags=["nbval-ignore-output"]
ten = torch.stack([(batch["label"] == digit).nonzero()[0, 0] for digit in range(10)])
seed_everything(0)
rows = {}
for name, vae in teachers.items():
    for modality in modalities[:2]:
        z = students[name].encode({"word": batch["word"][ten]}).sample()
        rows[f"{name}: {modality}"] = decode(vae, z, modality)
names = "zero one two three four five six seven eight nine".split()
show(
    grid(torch.stack([same_size(x) for x in rows.values()]), list(rows), names, "Pictures generated from ten words"),
    "Ten words, and a handwritten digit and a house number that each teacher's decoder generates from the latent code of "
    "its student.",
)

# %% [markdown]
# The posteriors of two students are multiplied. Each contains the prior, so the product of $M$ contains it $M$ times; divided by
# $p(z)^{M-1}$ it counts once, as in chapter 10. No posterior should be wider than the prior, so the product is kept from being
# wider. A *linear probe* measures how well the latent codes predict the digit:

# %%
from mmtutor.metrics import linear_probe

pair = modalities[:2]
with torch.no_grad():
    posteriors = [list(students["iterative VAE"].posteriors(part[:], pair).values()) for part in (train, test)]
latents = {modality: [q[k].mean for q in posteriors] for k, modality in enumerate(pair)}
latents |= {"both": [product_of_students(q).mean for q in posteriors]}
label = train[:]["label"], batch["label"]
accuracy = {name: linear_probe(x, label[0], y, label[1]).mean() for name, (x, y) in latents.items()}
for name, share in accuracy.items():
    claim(f"the student's latent code of {name} predicts the digit", share > 0.8, str(accuracy))

# %% [markdown]
# ## What five seeds say
#
# This table was made by `python -m experiments.iterative`, with the slides' comparisons on our digits. It is loaded here, not
# computed. The [page of claims](../claims.md) has all numbers, and the page [Slides](../slides.md) puts them beside the slides'
# own. *Equal steps*: both models took the same number of training steps. *Equal time*: the joint VAE has as many epochs as fit
# into the training time of the iterative VAE, about three times as many. Behind each verdict is the mean difference over the
# seeds with its 95 % interval: a claim holds if the whole interval is above 0. Distances are compared by their logarithms: 0.34
# is a factor of 1.4. Of so many rows, one or two may be wrong by chance. A line that begins with … continues the one above it.

# %%
import json
from pathlib import Path

here = Path.cwd() if Path("docs").exists() else Path.cwd().parent
stored = json.loads((here / "docs/results/iterative.json").read_text())
for row in stored["rows"]:
    mean, low, high = row["difference"]
    print(f"{row['claim']}:\n    {row['verdict']}, {mean:+.3f} [{low:+.3f}, {high:+.3f}] {row['unit']}")

# %% [markdown]
# **Inference gets better, without doubt.** The gap shrinks from 230 to 47 nats; also to 45 with the joint VAE's decoders,
# frozen. Three times the training does *not* shrink the joint VAE's gap (230). The ELBO rises by 510 nats. 192 of them come
# from the four steps; 318 are there before the first step, because the decoders have become better. More steps help, in training
# (each doubling, at equal training steps) and afterwards. On digits, with a start from all modalities, even a refiner that was
# trained with one step can be iterated, unlike the one above that starts from the prior.
#
# **Whether it makes better students is another question.** At equal *steps* it does. The Fréchet distance between generated and
# real pictures (see [chapter 10](10_multimodal_vaes.ipynb)), the geometric mean of four directions, is 36; the joint VAE's is
# 49. The difference is clear for handwriting and undecided for house numbers. At equal *time* it does not: the joint VAE's
# students reach 27.
#
# Where does the gain at equal steps come from? A training step of the iterative VAE draws $z$ five times, one of the joint VAE
# once. A joint VAE that draws it five times reaches 47, so this is not the reason. Nor is it the target of the students: a student
# of the *unrefined* start is as good as one of the refined posterior (35), and more coherent: it shows the right digit more often
# (0.744 to 0.727). With the joint VAE's decoders, frozen, the pictures become only a little better (46), and the right digit less
# frequent (0.66 to 0.74). What matters is that the decoders were trained with refined inference.
#
# **Are students needed at all?** With one modality present, one may instead follow the gradient of its ELBO, from the prior, for
# 100 steps of one size. The pictures are worse, at distance 89 to 36, and the right digit is less frequent (0.67 to 0.73). More
# steps help: 300, tried with one seed, came closer to the students, but did not reach them.
#
# **The divergence between teacher and student** is *larger* for the iterative VAE, in each modality, as on the slides for CUB and
# unlike on the slides for digits. It does not rank teachers: a start from handwriting alone leaves a larger gap *and* a larger
# divergence. Whether the latent codes predict the digit better than the joint VAE's, as on the slides, is undecided.
#
# **Against MoPoE**, even with four times the epochs, the pictures are far closer to real ones (36 to 212), as the slides say. But
# from one modality MoPoE shows the right digit more often (0.83 to 0.73), and more training was still improving it.
#
# **Two students** are not always better than one. By distance, handwriting improves the house numbers generated from the word,
# and there it is better to count the prior once. For handwriting it is the reverse: the house number makes the pictures generated
# from the word worse, and the product is worse than the naive one. On the slides the second modality makes both worse.
# **The reverse divergence** makes coherent students (0.87), but their pictures are far from real ones (125): their posteriors are
# too narrow, as in the known world.
#
# **Pictures with sentences** stand for the slides' birds: crops of a scene with a coloured digit, and a caption. The student of
# captions generates scenes at distance 47; the joint VAE's reach 311 at equal steps and 49 at equal time. At equal steps the digit
# is right more often (0.65 to 0.47), the colour less often (0.77 to 0.91). The gap shrinks from 57 to 22, which is less than
# threefold.
#
# The data are small and the epochs few. The slides' models trained longer, on other data, and the slides do not say how many
# steps of refinement they took.
#
# ## Exercises
#
# 1. Start from nothing: `FromPrior(latent)` in place of the joint encoder. How many steps does it need to reach the same ELBO?
# 2. Let the refiner see $x$: `features=` a module from the batch to 32 numbers, and `Refiner(latent, inputs=("lam", "unit",
#    "norms", "features"), features=32)`. Does the gap become smaller?
# 3. Train with `over="last"`: only the last step's ELBO counts. Compare the curves of the ELBO.
# 4. Reverse the divergence of the students: `Distillation(None, students, reverse_kl)`. What happens to the pictures generated
#    from words?
# 5. Do without a student: from λ = 0, take 100 steps of `GradientAscent(0.05, unit=True)` on the ELBO of `{"word": ...}` alone.
#    What does the decoder generate?
#
# ## Where to read on
#
# - J. Marino, Y. Yue and S. Mandt (2018), Iterative amortized inference, arXiv:1807.09356.
# - C. Cremer, X. Li and D. Duvenaud (2018), Inference suboptimality in variational autoencoders, arXiv:1801.03558.
# - Y. Oshima, M. Suzuki and Y. Matsuo (2023), Improving multimodal information integration by iterative amortised inference,
#   in Japanese.
# - The library behind this chapter: `mmtutor.iterative`, `mmtutor.lineargaussian`, `mmtutor.vae`.
