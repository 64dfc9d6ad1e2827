# %% [markdown]
# # 6 · Text to image: draw what the sentence says
#
# "A red seven." One network draws it, another one judges the drawing. The second has to read the sentence, for otherwise any
# good digit would do. Does it? You will see what makes it read, what the most-copied loss of the field really aims at (it can
# be computed, and it is not the data), and how well the drawings are. Then the same with the method that has replaced these
# networks, in about the same time.
#
# > **You learn** two ways to draw from a sentence, GANs and flow matching, and how to find out whether a network reads.
# >
# > **You need** encoders of sentences ([chapter 3](03_joint_embedding.ipynb)), a softmax, gradient descent.
# >
# > **It takes** 35 minutes to read, 2 to run on a CPU.
# >
# > **Papers** [Conditional GANs](https://arxiv.org/abs/1411.1784), [GAN-CLS](https://arxiv.org/abs/1605.05396), [projection
# > discriminator](https://arxiv.org/abs/1802.05637), [R3GAN](https://arxiv.org/abs/2501.05441), [flow
# > matching](https://arxiv.org/abs/2210.02747), [classifier-free guidance](https://arxiv.org/abs/2207.12598).

# %% tags=["hide-input"]
from functools import partial

import torch
from torch import nn

from mmtutor.data import COLOURS, drawings
from mmtutor.data.drawing import VOCABULARY, encoded, sentence
from mmtutor.metrics import coverage, predict, variety
from mmtutor.plotting import captioned, curves, dots, frames, grid, show, text_to_image_diagram
from mmtutor.training import budget, claim, fit, seed_everything

n, gan_epochs, flow_epochs, batch_size = budget(quick=(4000, 10, 12, 32), full=(20000, 20, 30, 64))
never = [("red", 7), ("green", 2)]
train, test = drawings("train", n=n, never=never), drawings("test", n=500)

# %% tags=["hide-input"]
show(
    captioned({"scene": train[:]["picture"]}, range(8), train.texts[:8], "Eight pictures, and what is said of them"),
    "Eight small dark pictures of one coloured handwritten digit: " + "; ".join(train.texts[:8]) + ".",
)

# %% [markdown]
# Pictures have $16 \times 16$ pixels, eight colours and ten digits. The sentence does not say how the digit is written, or how
# dark the background is: of each sentence there are many pictures. There is no red seven and no green two in training.
#
# ## Two players
#
# The *generator* $G$ turns a sentence $s$ and random numbers $z$ into a picture $\hat x = G(s, z)$. The *discriminator* $D$ is shown a
# picture and a sentence, and gives one number, a logit: how surely is this a real pair? With $\sigma$ for the logistic function, the
# discriminator minimises
#
# $$L_D = -\log \sigma(D(x, s)) - \log \sigma(-D(\hat x, s)),$$
#
# and the generator $L_G = -\log \sigma(D(\hat x, s))$: it wants to be taken for real. This is the conditional GAN (Mirza, 2014).
#
# What is the best answer of the discriminator? Suppose that of one sentence there are three pictures. In the data they occur
# with probabilities $p$, among the drawings with $q$. Let us find the best number for each by gradient descent:


# %%
def exact(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


p, q = exact(0.5, 0.3, 0.2), exact(0.2, 0.3, 0.5)


# %%
def minimised(loss, n):
    """The n numbers that make a loss smallest, and that loss."""
    x = torch.zeros(n, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [x], max_iter=300, tolerance_grad=1e-14, tolerance_change=1e-18, line_search_fn="strong_wolfe"
    )

    def closure():
        optimiser.zero_grad()
        value = loss(x)
        value.backward()
        return value

    for _ in range(4):
        optimiser.step(closure)
    return x.detach(), loss(x).item()


# %%
D, loss = minimised(lambda d: -(p * d.sigmoid().log() + q * (-d).sigmoid().log()).sum(), 3)
gap = (D.sigmoid() - p / (p + q)).abs().max()
claim("the best discriminator says p / (p + q)", gap < 1e-6, f"gap {gap}")
mixed = (p + q) / 2
distance = (p * (p / mixed).log() + q * (q / mixed).log()).sum() / 2  # Jensen-Shannon divergence
claim("its loss says how far apart p and q are", abs(loss - (2 * torch.tensor(2.0).log() - 2 * distance)) < 1e-6)

# %% [markdown]
# So against the best discriminator a generator does best if $q = p$: the number is then $\frac12$ everywhere. (In practice the two take
# turns, one step each, and neither is ever at its best.)
#
# ## Why should it read?
#
# In the loss above no pair is false *because of its sentence*. Real pictures come with their own sentences, drawings with the
# sentences that they were made for. As long as drawings look odd, the discriminator can tell them without reading a word. So
# Reed and others (2016) added a third kind of pair: a real picture with a wrong sentence $s'$. The loss, *GAN-CLS*, is
#
# $$L_D = -\log \sigma(D(x, s)) - \tfrac12 \log \sigma(-D(x, s')) - \tfrac12 \log \sigma(-D(\hat x, s)).$$

# %% tags=["hide-input"]
show(
    text_to_image_diagram(),
    "A diagram. Noise and a sentence go to the generator, which draws. The discriminator gets three kinds of pairs: a real "
    "picture and its sentence, the same picture and another sentence, the drawing and its sentence.",
)

# %% [markdown]
# It now has two kinds of false pairs, half each. **Before you run it:** let $w$ be how often each of the three pictures is shown
# with this sentence as a wrong pair. What does the generator aim at, still at $p$?


# %%
def best_generator(p, w):
    """What to draw, against the best discriminator."""

    def loss(theta):
        false = (w + theta.softmax(0)) / 2
        real = p / (p + false)
        return (p * real.log() + false * (1 - real).log()).sum()

    return minimised(loss, len(p))[0].softmax(0)


w = exact(0.4, 0.4, 0.2)
found = best_generator(p, w)
print("data", p.tolist(), " wrong pairs", w.tolist(), " best drawings", [round(x, 4) for x in found.tolist()])
gap = (found - (2 * p - w)).abs().max()
claim("GAN-CLS aims at 2 p − w, not at the data", gap < 1e-8, f"gap {gap}")

# %% [markdown]
# The discriminator cannot tell what it was shown if all that is false together looks like what is real: $\frac12 (w + q) = p$, so
# $q = 2p - w$. What is often a wrong pair is drawn less often than it occurs. Where $2p - w$ is below zero, the
# picture is never drawn:

# %%
rare = exact(0.60, 0.32, 0.02, 0.02, 0.02, 0.02)
elsewhere = exact(0.30, 0.20, 0.125, 0.125, 0.125, 0.125)
found = best_generator(rare, elsewhere)
print("best drawings", [round(x, 3) for x in found.tolist()])
claim("styles that are rare for this sentence, and common for others, die", found[2:].max() < 1e-5, str(found))

noisy = exact(0.7, *[0.3 / 9] * 9)  # three in ten sentences say a wrong digit
found = best_generator(noisy, exact(*[0.1] * 10))
print("of drawings with noisy sentences, right", round(found[0].item(), 4))
claim("if a few sentences are wrong, GAN-CLS aims at drawings that are all right", found[0] > 0.9999, str(found))

# %% [markdown]
# So it is not the data that are drawn, but what is *typical for this sentence*. If each picture fits one sentence only and wrong
# sentences are truly wrong, then $w = 0$ wherever $p > 0$, and nothing changes. If some sentences are wrong, that even helps.
#
# ## What is a good drawing?
#
# It shows the right digit in the right colour: an evaluation classifier, trained on real pictures, says so. Drawings of one sentence
# should vary: *variety* is the mean distance between two of the same colour and digit, in the features of that classifier,
# divided by that of real pictures. And *coverage* (Naeem, 2020) is the share of real pictures that have a drawing near, nearer
# than their fifth real neighbour. For comparison, the same four numbers of other real pictures of the test:

# %% tags=["nbval-ignore-output"]
from mmtutor.encoders import ImageEncoder


class Judge(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.digit, self.colour = ImageEncoder(3), nn.Linear(64, 10), nn.Linear(64, 8)

    def forward(self, batch):
        z = self.encoder(batch["picture"])
        return torch.cat([self.digit(z), self.colour(z), z], 1)

    def loss(self, batch):
        scores = self(batch)
        digit = nn.functional.cross_entropy(scores[:, :10], batch["digit_label"])
        return {"loss": digit + nn.functional.cross_entropy(scores[:, 10:18], batch["colour_label"])}


seed_everything(0)
judge = Judge()
past = fit(judge, drawings("train", n=5 * n, seed=1), epochs=4, batch_size=128, lr=4e-3, schedule="one-cycle")


# %% tags=["nbval-ignore-output"]
def kind(data):
    return 10 * data.tensors["colour_label"] + data.tensors["digit_label"]


def marks(pictures, data):
    """How good drawings of the sentences of some data are."""
    scores = predict(judge, {"picture": pictures})
    return {
        "colour": (scores[:, 10:18].argmax(1) == kind(data) // 10).float().mean().item(),
        "digit": (scores[:, :10].argmax(1) == kind(data) % 10).float().mean().item(),
        "variety": variety(scores[:, 18:], kind(data)) / variety(real, kind(test)),
        "coverage": coverage(real, scores[:, 18:]),
    }


# %% tags=["nbval-ignore-output"]
def said(name, of):
    print(f"{name:12}", ", ".join(f"{what} {value:.2f}" for what, value in of.items()))


real, others = predict(judge, test)[:, 18:], drawings("test", n=500, seed=1)
found = {"real": marks(others.tensors["picture"], others)}
said("others, real", found["real"])

# %% [markdown]
# ## Train a GAN
#
# Two choices made the difference in our trials. First, which sentences are wrong? Those of another example mostly have another
# colour, so it is nearly enough to read the colour. Ours are the right ones *with one word changed*: another colour or another digit (compare
# the hardest negative of chapter 3).
# Second, the discriminator normalises over its batch; real, wrong and false pairs go through it as one batch. Each
# player has an encoder of sentences of its own.

# %% tags=["nbval-ignore-output"]
from mmtutor.text_to_image import Discriminator, FlowMatching, Generator, TextToImageGAN, VelocityNetwork


def reader():
    return nn.EmbeddingBag(len(VOCABULARY), 32, mode="sum", padding_idx=0)  # a vector for each word, and their sum


seed_everything(0)
gan = TextToImageGAN(Generator(reader(), 32, 32), Discriminator(reader(), 32), noise=32, wrong="wrong_sentence")
adam = partial(torch.optim.Adam, betas=(0.5, 0.99))  # less momentum, for two players
past = fit(gan, train, epochs=gan_epochs, batch_size=batch_size, lr=1e-3, optimizer=adam)

# %% tags=["nbval-ignore-output"]
gan.eval()
found["GAN"] = marks(gan.draw(test.tensors["sentence"]).cpu(), test)
said("GAN", found["GAN"])
print("losses", {name: round(values[-1], 2) for name, values in past.train.items()})

# %%
claim("the GAN draws the right colour", found["GAN"]["colour"] > 0.9, str(found["GAN"]))
claim("it draws the right digit, six times as often as by chance", found["GAN"]["digit"] > 0.6, str(found["GAN"]))

# %% [markdown]
# The digit is right nearly as often as in real pictures, but the variety is far smaller: this is called *mode collapse*. The two losses tell nothing of this, for
# each is measured against a moving opponent. Look at the drawings:

# %% tags=["nbval-ignore-output", "hide-input"]
palette = [*COLOURS]
everything = encoded([sentence(colour, digit) for colour in palette for digit in range(10)])
seed_everything(0)
pictures = gan.draw(everything).cpu().view(8, 10, 3, 16, 16)
show(
    grid(pictures, palette, [str(digit) for digit in range(10)], "Drawn from the sentence: each colour, each digit"),
    "A grid of drawings, a row for each colour, a column for each digit.",
)

# %% [markdown]
# A sentence is a vector, so there is something between two sentences. **Move from one to the other**, for eight different $z$. (How
# much does $z$ matter here?)

# %% tags=["nbval-ignore-output"]
generator = gan.average.network.cpu()  # weights averaged over the last steps
z = torch.randn(8, 32)
with torch.no_grad():
    a, b = generator.reader(encoded([sentence("red", 3), sentence("blue", 8)]))
    between = {t / 4: generator.draw(torch.lerp(a, b, t / 4).expand(8, -1), z) for t in range(5)}
frames(
    {f"{t:.0%}": grid(x[None], [f"{t:.0%}"], [], "From “a red three” to “a blue eight”") for t, x in between.items()},
    {f"{t:.0%}": f"Eight drawings, {t:.0%} of the way from a red three to a blue eight." for t in between},
    "on the way",
)

# %% [markdown]
# ## Does the discriminator read?
#
# Show it real pictures of the test, each with its sentence and with one word changed. How often does it prefer the right one?


# %% tags=["nbval-ignore-output"]
@torch.no_grad()
def reads(gan, data):
    """How often the discriminator prefers the right colour, and the right digit."""
    seed_everything(0)
    colour, digit = data.tensors["colour_label"], data.tensors["digit_label"]
    others = {"colour": ((colour + torch.randint(1, 8, colour.shape)) % 8, digit),
              "digit": (colour, (digit + torch.randint(1, 10, digit.shape)) % 10)}  # fmt: skip
    device, score = next(gan.parameters()).device, {}
    for what, (c, d) in {"right": (colour, digit), **others}.items():
        texts = encoded([sentence(palette[i], j) for i, j in zip(c.tolist(), d.tolist(), strict=True)])
        score[what] = gan.discriminator(data.tensors["picture"].to(device), texts.to(device))
    return {what: (score["right"] > score[what]).float().mean().item() for what in others}


prefers = reads(gan.eval(), test)
print("it prefers the right", ", the right ".join(f"{what} {share:.2f}" for what, share in prefers.items()))

# %%
claim("the discriminator reads the colour", prefers["colour"] > 0.8, str(prefers))
claim("it reads the digit", prefers["digit"] > 0.7, str(prefers))

# %% [markdown]
# It reads. That was not to be taken for granted: leave out the wrong pairs, or take the sentences of other examples, and test it again (an
# exercise asks for that).
#
# ## Flow matching
#
# Now without an opponent. Take a picture $x$, noise $\varepsilon$, and a time $\tau$ between 0 and 1. On the straight way from noise to picture,
# $x_\tau = (1 - \tau)\, \varepsilon + \tau x$, the velocity is $x - \varepsilon$. A network learns to say it from $x_\tau$, $\tau$ and the sentence:
#
# $$L = \lVert v(x_\tau, \tau, s) - (x - \varepsilon) \rVert^2.$$
#
# It cannot know which picture and which noise it was, so the best it can say is the mean of all that pass here. To draw, start
# with noise and follow $v$ in small steps. By hand, for "pictures" of two pixels: if the training data are $x_1, x_2, x_3$, then the best velocity is
#
# $$v(x_\tau, \tau) = \frac{\sum_k p_k x_k - x_\tau}{1 - \tau}, \qquad p = \mathrm{softmax}_k \Bigl(-\frac{\lVert x_\tau - \tau x_k \rVert^2}{2 (1 - \tau)^2}\Bigr).$$
#
# **Before you run it:** where do the ways end?

# %% tags=["nbval-ignore-output"]
data = torch.tensor([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])


def best_velocity(x, time):
    weights = (-(x[:, None] - time * data).square().sum(2) / (2 * (1 - time) ** 2)).softmax(1)  # (B, 3)
    return (weights @ data - x) / (1 - time)


seed_everything(0)
way = [torch.randn(300, 2)]
for k in range(100):
    way.append(way[-1] + best_velocity(way[-1], k / 100) / 100)
way = torch.stack(way)  # (101, 300, 2)

# %% tags=["hide-input", "nbval-ignore-output"]
import matplotlib.pyplot as plt

figure, axis = plt.subplots(figsize=(5, 4.4), layout="constrained")
axis.plot(way[:, :40, 0], way[:, :40, 1], color="0.6", linewidth=0.8)
axis.plot(*way[0, :40].T, ".", label="noise")
axis.plot(*data.T, "o", label="training data")
axis.set(title="Along the best velocity", xlabel="first pixel", ylabel="second pixel", aspect="equal")
axis.legend()
show(figure, "Forty ways from noise around the middle; each ends at one of three training examples.")

# %%
distance, nearest = torch.cdist(way[-1], data).min(1)
claim("all ways end at a training example", distance.max() < 0.01, f"{distance.max():.4f}")
share = nearest.bincount(minlength=3) / 300
claim("each of them gets a third", (share - 1 / 3).abs().max() < 0.08, str(share))

# %% [markdown]
# The best velocity gives back the training data, nothing else. So if a network draws something new, it is because it does *not*
# find the best velocity.
#
# Now the network: a small U-Net. In one of ten examples it gets no sentence, so that one network knows two velocities, with and
# without. This allows *classifier-free guidance* (Ho, 2022): go further in the direction that the sentence makes,
#
# $$v(x_\tau, \tau, -) + g\, \bigl(v(x_\tau, \tau, s) - v(x_\tau, \tau, -)\bigr).$$
#
# With $g = 0$ the sentence is ignored, with $g = 1$ the data are aimed at. (Compare GAN-CLS: $2p - w = p + (p - w)$ goes further, too.)

# %% tags=["nbval-ignore-output"]
seed_everything(0)
flow = FlowMatching(VelocityNetwork(32), reader(), 32)
past = fit(flow, train, epochs=flow_epochs, batch_size=batch_size, lr=4e-3, schedule="one-cycle")

# %% tags=["nbval-ignore-output"]
flow.eval()
seed_everything(0)
noise, drawn = torch.randn(500, 3, 16, 16), {}
for guidance in (0, 1, 2, 4, 8):
    drawn[guidance] = flow.draw(test.tensors["sentence"], (3, 16, 16), guidance=guidance, noise=noise).cpu()
    found[f"flow matching, g = {guidance}"] = marks(drawn[guidance], test)
    said(f"guidance {guidance}", found[f"flow matching, g = {guidance}"])

# %% [markdown]
# **Turn up the guidance**, with the same noise:

# %% tags=["nbval-ignore-output", "hide-input"]
frames(
    {str(g): grid(x[:12].view(2, 6, 3, 16, 16), ["", ""], [], f"Guidance {g}") for g, x in drawn.items()},
    {str(g): f"Twelve drawings with guidance {g} of: {'; '.join(test.texts[:12])}." for g, x in drawn.items()},
    "guidance",
    first="2",
)

# %%
guided = {g: found[f"flow matching, g = {g}"] for g in drawn}
claim("without the sentence the digit is right by chance", guided[0]["digit"] < 0.2, str(guided[0]))
claim("guidance makes the digit right more often", guided[4]["digit"] > guided[1]["digit"] + 0.15, str(guided))
claim("guidance costs variety", guided[8]["variety"] < guided[1]["variety"] - 0.1, str(guided))

# %% tags=["nbval-ignore-output", "hide-input"]
rows = {
    name: found[name]
    for name in ("real", "GAN", "flow matching, g = 1", "flow matching, g = 2", "flow matching, g = 4")
}
show(
    dots(
        rows,
        "Right is not all: the GAN draws the same again and again",
        "share; variety relative to real pictures",
    ),
    "; ".join(f"{name}: " + ", ".join(f"{what} {x:.2f}" for what, x in of.items()) for name, of in rows.items()) + ".",
)

# %% [markdown]
# The GAN draws the right digit most often, in few ways of writing it, and covers less. With $g = 1$ flow matching varies more than real
# pictures do, for many of its drawings are no digits at all. So none of these numbers is enough alone. (Both are trained for about as
# long, and briefly: which is better in the end, this does not say.)
#
# ## What breaks
#
# **New pairs.** No red seven and no green two was in training, but red things and sevens were:

# %% tags=["nbval-ignore-output"]
new = encoded([sentence(colour, digit) for colour, digit in never for _ in range(100)])
asked = torch.tensor([digit for _, digit in never for _ in range(100)])
seed_everything(0)
of_new = {"GAN": gan.draw(new), "flow matching, g = 4": flow.draw(new, (3, 16, 16), guidance=4)}
scores = {name: predict(judge, {"picture": x.cpu()}) for name, x in of_new.items()}
new_right = {name: (x[:, :10].argmax(1) == asked).float().mean().item() for name, x in scores.items()}
print("digit right:", ", ".join(f"{name} {x:.2f}" for name, x in new_right.items()))

# %%
claim("both draw most of the new pairs rightly", min(new_right.values()) > 0.4, str(new_right))

# %% [markdown]
# **A discriminator that is too good.** Early on it is sure of each drawing. If the generator minimised $\log \sigma(-D)$, as in the
# first formula of the first paper, its gradient would be gone just then. That is why $L_G$ has another form:

# %%
d = torch.linspace(-8, 8, 9, dtype=torch.float64, requires_grad=True)
slopes = {}
for name, loss in (("log σ(−D)", nn.functional.logsigmoid(-d)), ("−log σ(D)", -nn.functional.logsigmoid(d))):
    (slopes[name],) = torch.autograd.grad(loss.sum(), d)
    print(f"{name:10}", ", ".join(f"{x:+.3f}" for x in slopes[name]))
claim("where D is sure of a drawing, log σ(−D) has no slope", slopes["log σ(−D)"][0].abs() < 1e-3)
claim("and −log σ(D) has its largest", slopes["−log σ(D)"][0] < -0.999)

# %% [markdown]
# **Going in circles.** The smallest GAN (Mescheder, 2018): all data are at 0, the generator draws one number $\theta$, the
# discriminator is $D(x) = \psi x$. Each chases the other. A penalty on the discriminator's slope at real pictures,
# $R_1 = \frac{\gamma}{2} \psi^2$, helps:


# %%
def radius(gamma, steps=400, h=0.05):
    theta, psi, found = torch.tensor(1.0).double(), torch.tensor(0.0).double(), []
    for _ in range(steps):
        found.append((theta**2 + psi**2).sqrt().item())
        slope = (theta * psi).sigmoid()  # of the discriminator's loss at the drawing
        theta, psi = theta + h * psi * (1 - slope), psi - h * (theta * slope + gamma * psi)
    return torch.tensor(found)


# %%
time = 0.05 * torch.arange(400)
circles = {f"γ = {gamma}": radius(gamma) for gamma in (0.0, 0.2, 1.0)}
show(
    curves(
        time[::10],
        {name: of[::10] for name, of in circles.items()},
        "Without a penalty the two hardly arrive",
        "time",
        "distance from the optimum",
    ),
    "Distance from the optimum over time: slowly falling to about one half without a penalty, to zero with one.",
)

# %%
rate = (circles["γ = 0.2"][200] / circles["γ = 0.2"][-1]).log() / (0.05 * 199)
left = {name: of[-1].item() for name, of in circles.items()}
claim(
    "without a penalty most of the way is left, with one none",
    left["γ = 0.0"] > 0.5 and left["γ = 1.0"] < 0.01,
    str(left),
)
claim("with a small one it comes nearer at the rate γ/2 of the theory", abs(rate - 0.1) < 0.02, f"{rate:.3f}")

# %% [markdown]
# ## What to remember
#
# - A conditional discriminator need not read. Show it real pictures with wrong sentences, and test it: does it prefer the right word?
# - How wrong a wrong sentence is decides what must be read. With one word changed, each word counts.
# - GAN-CLS aims at $2p - w$: typical pictures for the sentence. Rare ones die; a few wrong sentences do no harm.
# - The losses of a GAN do not say how good it is. Measure what is right, how varied it is, and what is covered, beside real pictures.
# - Flow matching learns a velocity with a plain squared error. Guidance trades variety for what the sentence says.
#
# ## Exercises
#
# Short exercises check your answers, say which usual mistake they see, and give hints: the
# [exercises of chapter 6](exercises/06_text_to_image.ipynb). At their end are things to try here, with the models of this
# chapter.
#
# ## Where to read on
#
# - I. Goodfellow and others (2014), Generative adversarial nets, [arXiv:1406.2661](https://arxiv.org/abs/1406.2661); M. Mirza and
#   S. Osindero (2014), Conditional generative adversarial nets, [arXiv:1411.1784](https://arxiv.org/abs/1411.1784).
# - S. Reed and others (2016), Generative adversarial text to image synthesis, [arXiv:1605.05396](https://arxiv.org/abs/1605.05396).
# - T. Miyato and M. Koyama (2018), cGANs with projection discriminator, [arXiv:1802.05637](https://arxiv.org/abs/1802.05637).
# - L. Mescheder and others (2018), Which training methods for GANs do actually converge?,
#   [arXiv:1801.04406](https://arxiv.org/abs/1801.04406); Y. Huang and others (2024), The GAN is dead; long live the GAN!,
#   [arXiv:2501.05441](https://arxiv.org/abs/2501.05441).
# - Y. Lipman and others (2023), Flow matching for generative modeling, [arXiv:2210.02747](https://arxiv.org/abs/2210.02747);
#   J. Ho and T. Salimans (2022), Classifier-free diffusion guidance, [arXiv:2207.12598](https://arxiv.org/abs/2207.12598).
# - M. Naeem and others (2020), Reliable fidelity and diversity metrics for generative models,
#   [arXiv:2002.09797](https://arxiv.org/abs/2002.09797).
# - The library behind this chapter: `mmtutor.text_to_image.TextToImageGAN`, `mmtutor.text_to_image.FlowMatching`,
#   `mmtutor.data.drawings`, `mmtutor.metrics.coverage`.
