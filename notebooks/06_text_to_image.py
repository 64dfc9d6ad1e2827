# %% [markdown]
# # 6 · Text to image: draw what the sentence says
#
# "A red seven." One network draws it, another one judges the drawing. The second has to read the sentence, for otherwise any
# good digit would do. Does it? You will see when it reads and when it does not, what the loss of GAN-CLS really aims at (it can be
# computed, and is not always the data), and how to say how good the drawings are. Then you draw with flow matching, which is used
# more today, after about as much training.
#
# > **You learn** two ways to draw from a sentence, GANs and flow matching, and how to find out whether a network reads.
# >
# > **You need** encoders of sentences ([chapter 3](03_joint_embedding.ipynb)), a softmax, gradient descent.
# >
# > **It takes** 35 minutes to read, 2 to run on a CPU.
# >
# > **Papers** [Conditional GANs](https://arxiv.org/abs/1411.1784), [GAN-CLS](https://arxiv.org/abs/1605.05396), [which GANs
# > converge](https://arxiv.org/abs/1801.04406), [flow matching](https://arxiv.org/abs/2210.02747), [classifier-free guidance](https://arxiv.org/abs/2207.12598).

# %% tags=["hide-input"]
import math
from functools import partial
from time import perf_counter

import torch
from torch import nn

from mmtutor.data import COLOURS, drawings
from mmtutor.data.drawing import VOCABULARY, encoded, sentence
from mmtutor.metrics import coverage, predict, variety
from mmtutor.plotting import captioned, dots, frames, grid, show, text_to_image_diagram
from mmtutor.training import budget, claim, fit, seed_everything

n, gan_epochs, flow_epochs, batch_size = budget(quick=(4000, 8, 10, 32), full=(20000, 20, 25, 64))
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
# picture and a sentence, and gives one number, a logit: how surely is this a real pair? With $\sigma$ for the logistic function,
# the discriminator minimises, in the mean over examples,
#
# $$L_D = -\log \sigma(D(x, s)) - \log \sigma(-D(\hat x, s)),$$
#
# and the generator $L_G = -\log \sigma(D(\hat x, s))$: it wants to be taken for real. This is the conditional GAN (Mirza, 2014), a
# generative adversarial network that is shown a sentence.
#
# What is the best answer of the discriminator? Suppose that of one sentence there are three pictures. In the data they occur
# with probabilities $p$, among the drawings with $q$. Let us find the best number for each by descent:


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
gap = (D - (p / q).log()).abs().max()
claim("the best number is log p / q", gap < 1e-5, f"gap {gap}")
middle = (p + q) / 2
distance = (p * (p / middle).log() + q * (q / middle).log()).sum() / 2  # Jensen-Shannon divergence
gap = abs(loss - 2 * (exact(2.0).log().item() - distance))
claim("its loss is 2 log 2 − 2 JS(p, q)", gap < 1e-6, f"gap {gap}")

# %% [markdown]
# So $D = \log \frac pq$, or $\sigma(D) = \frac{p}{p + q}$, and its loss says how far apart data and drawings are: the Jensen-Shannon
# divergence is zero only for $q = p$. Then $D = 0$ everywhere, and it cannot tell. (In practice each makes one step, here both at
# the same time, and neither is ever at its best.)
#
# ## Why should it read?
#
# In the loss above no pair is false *because of its sentence*. Real pictures come with their own sentences, drawings with the
# sentences that they were made for. As long as drawings look odd, the discriminator can tell them apart without reading a word. So
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
# Now there are two kinds of false pairs, half each: wrong ones, and those with drawings, which the field calls *fake*. **Before you
# run it:** let $w$ be how often each of the three pictures is shown with this sentence as a wrong pair ($w$ sums to one). What
# does the generator aim at, still at $p$? (Here it makes the discriminator's loss as large as it can. With $L_G$ the point of rest
# is the same: both stop where $\sigma(D)$ is the same for all that is drawn.)


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
# The discriminator cannot tell if all that is false together looks like what is real: $\frac12 (w + q) = p$, so $q = 2p - w$. A
# picture that is more often a wrong pair than a right one is drawn less often than it occurs. And if $2p - w$ is below zero
# somewhere? Then that picture is never drawn, and the rest follows $q = \max(0, c\,p - w)$, with $c < 2$ so that $q$ sums to one:

# %%
rare = exact(0.60, 0.32, 0.02, 0.02, 0.02, 0.02)
elsewhere = exact(0.30, 0.20, 0.125, 0.125, 0.125, 0.125)
found = best_generator(rare, elsewhere)
print("best drawings", [round(x, 3) for x in found.tolist()])
gap = (found - (1.5 / 0.92 * rare - elsewhere).clamp(min=0)).abs().max()
claim("styles that are rare for this sentence, and common for others, die", gap < 1e-4, f"gap {gap}")

noisy = exact(0.7, *[0.3 / 9] * 9)  # three in ten sentences say a wrong digit
found = best_generator(noisy, exact(*[0.1] * 10))
print("of drawings with noisy sentences, right", round(found[0].item(), 4))
claim("if three in ten sentences are wrong, it aims at drawings that are all right", found[0] > 0.9999, str(found))

never_wrong = exact(0.0, 0.0, 0.0, 1.0)  # a fourth picture, which is the only one shown as a wrong pair
gap = (best_generator(exact(0.5, 0.3, 0.2, 1e-12), never_wrong) - exact(0.5, 0.3, 0.2, 0.0)).abs().max()
claim("if wrong sentences are truly wrong, it aims at the data", gap < 1e-6, f"gap {gap}")

# %% [markdown]
# So GAN-CLS aims at what is *typical for this sentence*. If each picture fits one sentence only, and wrong sentences are truly
# wrong, then $w = 0$ wherever $p > 0$, so $c = 1$, and it aims at the data. So it is with the sentences below: what goes wrong
# there has other reasons.
#
# ## What is a good drawing?
#
# It shows the right digit in the right colour: an evaluation classifier, trained on real pictures, says so. Drawings of one sentence
# should vary: *variety* is the mean distance between two drawings for the same colour and digit, in the features of that classifier,
# divided by that of real pictures. (So a wrong drawing counts as variety, too. The features were trained to ignore style, so they see only some of it.) And *coverage* (Naeem,
# 2020) is the share of real pictures that have a drawing near, nearer than their fifth real neighbour. It does not ask whether
# the sentence fits.

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


# %% tags=["nbval-ignore-output"]
seed_everything(0)
judge = Judge()
many = drawings("train", n=5 * n, seed=1)
past = fit(judge, many, epochs=4, batch_size=128, lr=4e-3, schedule="one-cycle")


# %% tags=["nbval-ignore-output"]
def kind(data):
    return 10 * data.tensors["colour_label"] + data.tensors["digit_label"]


real = predict(judge, test)[:, 18:]


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
    print(f"{name:24}", ", ".join(f"{what} {value:.2f}" for what, value in of.items()))


others = drawings("test", n=500, seed=1)
first = {k: i for i, k in reversed([*enumerate(kind(many).tolist())])}
one = many.tensors["picture"][[first[k] for k in kind(test).tolist()]]
found = {"real": marks(others.tensors["picture"], others), "one real picture each": marks(one, test)}
for name, of in found.items():
    said(name, of)

# %% [markdown]
# The first row is other real pictures of the test: so much can be reached. (The digit is limited by the classifier, and
# coverage is about $1 - 2^{-5} = .97$ even for real pictures.) The second row always shows the same real picture for the same sentence. It has no variety, and
# still covers much: coverage takes all sentences together.
#
# ## Train a GAN
#
# Which sentences are wrong? Those of another example mostly have another colour, so it is nearly enough to read the colour. Ours
# are the right ones *with one word changed*: another colour or another digit (compare the hardest negative of chapter 3). Each
# player has an encoder of sentences of its own. Beside it, a GAN without wrong pairs, with as many steps. **Before you run it:** what
# will the second one draw?

# %% tags=["nbval-ignore-output"]
from mmtutor.text_to_image import ConditionalGAN, Discriminator, Generator, MatchingAware, TextToImageGAN


def reader():
    return nn.EmbeddingBag(len(VOCABULARY), 32, mode="sum", padding_idx=0)  # a vector for each word, and their sum


def trained(objective):
    seed_everything(0)
    players = Generator(reader(), 32, 32), Discriminator(reader(), 32)
    model = TextToImageGAN(*players, noise=32, objective=objective, wrong="wrong_sentence")
    adam = partial(torch.optim.Adam, betas=(0.5, 0.99))  # less momentum, for two players
    start = perf_counter()
    past = fit(model, train, epochs=gan_epochs, batch_size=batch_size, lr=1e-3, optimizer=adam)
    terms = ", ".join(f"{name} {values[-1]:.2f}" for name, values in past.train.items())
    print(f"{perf_counter() - start:.0f} s, losses: {terms}")
    return model.eval()


# %% tags=["nbval-ignore-output"]
gans = {"GAN-CLS": trained(MatchingAware()), "no wrong pairs": trained(ConditionalGAN())}
for name, model in gans.items():
    found[name] = marks(model.draw(test.tensors["sentence"]).cpu(), test)
    said(name, found[name])
gan = gans["GAN-CLS"]

# %%
claim("GAN-CLS draws the right colour", found["GAN-CLS"]["colour"] > 0.9, str(found["GAN-CLS"]))
claim(
    "it draws the right digit, six times as often as by chance", found["GAN-CLS"]["digit"] > 0.6, str(found["GAN-CLS"])
)
claim(
    "without wrong pairs the digit is right for .3 less",
    found["no wrong pairs"]["digit"] < found["GAN-CLS"]["digit"] - 0.3,
)
claim("drawings of GAN-CLS vary less than two thirds as much as real ones", found["GAN-CLS"]["variety"] < 2 / 3)

# %% [markdown]
# With wrong pairs the sentence is drawn. But variety is far smaller than that of real pictures: this is called *mode collapse*. The
# losses tell little of all this, for each player is measured against a moving opponent. Look at the drawings of GAN-CLS:

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
# A sentence is a vector, so there is something between two sentences. **Move from one to the other**, for eight different $z$. How
# much does $z$ matter?

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
# It hardly matters: all eight look much the same. That is the mode collapse from above. And halfway there is no digit that anyone writes.
#
# ## Does the discriminator read?
#
# Show it real pictures of the test, each with its sentence and with one word changed. How often does it prefer the right one? By
# chance in one half.


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


prefers = {name: reads(model, test) for name, model in gans.items()}
for name, of in prefers.items():
    print(f"{name}: prefers the right", ", the right ".join(f"{what} {share:.2f}" for what, share in of.items()))

# %%
claim("the discriminator of GAN-CLS reads the colour", prefers["GAN-CLS"]["colour"] > 0.9, str(prefers))
claim("it reads the digit", prefers["GAN-CLS"]["digit"] > 0.75, str(prefers))
lost = prefers["GAN-CLS"]["digit"] - prefers["no wrong pairs"]["digit"]
claim("without wrong pairs it reads the digit less often, by .15", lost > 0.15, str(prefers))

# %% [markdown]
# So read it does if it is shown what is wrong. A preference of one half alone would not prove that it does not read: without wrong pairs
# the best $D(x, s)$ is $\log p(x \mid s) - \log q(x \mid s)$, and that is zero for every sentence once the drawings are
# right. But here they show the wrong digit. Whether reading is needed or enough, the five seeds below say.
#
# ## Two players, and what can go wrong
#
# **A discriminator that is too good.** Early on it is sure of each drawing. In the first form of the game the generator minimised
# $\log \sigma(-D)$, which is called the *saturating* loss: where $D$ is sure, it has no slope. $L_G$ is the *non-saturating* one:

# %%
d = torch.linspace(-8, 8, 9, dtype=torch.float64, requires_grad=True)
slopes = {}
for name, loss in (("log σ(−D)", nn.functional.logsigmoid(-d)), ("−log σ(D)", -nn.functional.logsigmoid(d))):
    (slopes[name],) = torch.autograd.grad(loss.sum(), d)
    print(f"{name:10}", ", ".join(f"{x:+.3f}" for x in slopes[name]))
claim("where D is sure of a drawing, log σ(−D) has no slope", slopes["log σ(−D)"][0].abs() < 1e-3)
claim("and −log σ(D) has its largest", slopes["−log σ(D)"][0] < -0.999)

# %% [markdown]
# **Going in circles.** The smallest GAN (Mescheder, 2018): all data are at 0, the generator draws one number $\theta$, and $D(x) = \psi x$.
# The optimum is $\theta = \psi = 0$. A penalty on the slope of $D$ at real pictures, $R_1$, adds $\frac{\gamma}{2} \psi^2$ to $L_D$.
# Near the optimum $\sigma = \frac12$, so in continuous time $\dot\theta = \frac12 \psi$ and $\dot\psi = -\frac12 \theta - \gamma \psi$:


# %%
def way(gamma, steps, h=0.05):
    """θ and ψ at each step of both players, (steps, 2)."""
    theta, psi, found = 1.0, 0.0, []
    for _ in range(steps):
        found.append((theta, psi))
        real = 1 / (1 + math.exp(-theta * psi))  # σ(D) of the drawing
        theta, psi = theta + h * psi * (1 - real), psi - h * (theta * real + gamma * psi)
    return torch.tensor(found, dtype=torch.float64)


ways = {gamma: way(gamma, 1200) for gamma in (0.0, 0.2)}

# %% tags=["hide-input"]
import matplotlib.pyplot as plt

figure, axis = plt.subplots(figsize=(5, 4.4), layout="constrained")
for gamma, at in ways.items():
    axis.plot(*at.T, "-" if gamma else "--", label=f"γ = {gamma}")
axis.set(title="Each chases the other", xlabel="what is drawn, θ", ylabel="slope of D, ψ", aspect="equal")
axis.legend()
show(
    figure,
    "Two spirals from (1, 0). Without a penalty it goes round and round, nearer ever more slowly; with one it winds into the middle.",
)

# %%
ends = {h: way(0.0, 50_000, h)[-1].norm().item() for h in (0.05, 0.1)}
off = max(abs(r / (2 * h) ** 0.5 - 1) for h, r in ends.items())
claim("without a penalty it ends on a circle of radius √(2h)", off < 0.02, str(ends))
claim("with one it arrives", way(0.2, 8000)[-1].norm() < 1e-3)
field = torch.stack([exact(0.0, 0.5), exact(-0.5, -0.2)])  # for γ = 0.2
rate = (1 + 0.05 * torch.linalg.eigvals(field)).abs().log().max() / 0.05
at = way(0.2, 2000).norm(dim=1)
measured = (at[-1] / at[1000]).log() / (0.05 * 999)
claim(
    "with a penalty it comes nearer as fast as the eigenvalues say",
    abs(measured - rate) < 0.01,
    f"{measured:.3f}, {rate:.3f}",
)

# %% [markdown]
# Without a penalty it never arrives. In one step of size $h$ the squared radius $\rho^2$ grows by $h^2 \rho^2 / 4$, along the tangent, and
# shrinks by $h \rho^4 / 8$ on average, as $\sigma$ bends; so it circles at $\rho = \sqrt{2h}$. R3GAN (Huang, 2024) uses
# $R_1$, the same penalty at drawings, and asks another question: is the real picture *more* real than the drawing, $-\log \sigma(D(x, s) - D(\hat x, s))$?
#
# ## Flow matching
#
# Now without an opponent. Take a picture $x$, noise $\varepsilon$, and a time $\tau$ between 0 and 1. On the straight way from noise to picture,
# $x_\tau = (1 - \tau)\, \varepsilon + \tau x$, the velocity is $x - \varepsilon$. A network learns to say it from $x_\tau$, $\tau$ and the sentence:
#
# $$L = \lVert v(x_\tau, \tau, s) - (x - \varepsilon) \rVert^2.$$
#
# It cannot know which picture and which noise it was, so the best it can say is the mean of all that pass here. To draw, start
# with noise and follow $v$ in small steps. By hand, for "pictures" of two pixels: from $x_\tau$ and $x$ follows
# $x - \varepsilon = (x - x_\tau) / (1 - \tau)$. So if the training data are $x_1, x_2, x_3$, equally often, the best velocity is
#
# $$v(x_\tau, \tau) = \frac{\sum_k \pi_k x_k - x_\tau}{1 - \tau}, \qquad \pi = \mathrm{softmax}_k \Bigl(-\frac{\lVert x_\tau - \tau x_k \rVert^2}{2 (1 - \tau)^2}\Bigr).$$
#
# **Before you run it:** where do the ways end?

# %% tags=["nbval-ignore-output"]
data = torch.tensor([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])


def best_velocity(x, time):
    weights = (-(x[:, None] - time * data).square().sum(2) / (2 * (1 - time) ** 2)).softmax(1)  # (B, 3)
    return (weights @ data - x) / (1 - time)


seed_everything(0)
path = [torch.randn(300, 2)]
for k in range(100):
    path.append(path[-1] + best_velocity(path[-1], k / 100) / 100)
path = torch.stack(path)  # (101, 300, 2)

# %% tags=["hide-input", "nbval-ignore-output"]
figure, axis = plt.subplots(figsize=(5, 4.4), layout="constrained")
axis.plot(path[:, :40, 0], path[:, :40, 1], color="0.6", linewidth=0.8)
axis.plot(*path[0, :40].T, ".", label="noise")
axis.plot(*data.T, "o", label="training data")
axis.set(title="Along the best velocity", xlabel="first pixel", ylabel="second pixel", aspect="equal")
axis.legend()
show(figure, "Forty ways from noise around the middle; each ends at one of three training examples.")

# %%
distance, nearest = torch.cdist(path[-1], data).min(1)
claim("all ways end at a training example", distance.max() < 0.01, f"{distance.max():.4f}")
share = nearest.bincount(minlength=3) / 300
claim("each of them gets a third", (share - 1 / 3).abs().max() < 0.08, str(share))

# %% [markdown]
# At first all go towards the mean of the three; then the weights $\pi$ decide for one. The best velocity for *these training
# examples* gives them back, nothing else. So if a network draws something new, it is because it does not find this velocity.
#
# Now a network: a small U-Net, which makes the picture smaller and larger again, and adds at each size what it had on the way
# down. In one of ten examples a learned vector stands in place of the sentence, so that one network knows two velocities, with and
# without. This allows *classifier-free guidance* (Ho, 2022): go further in the direction that the sentence makes,
#
# $$v_{\text{without}} + g\, (v_{\text{with}} - v_{\text{without}}).$$
#
# With $g = 0$ the sentence is ignored, with $g = 1$ the data are aimed at; in the paper $w$ is $g - 1$. In training the
# library draws times near the middle more often, and it draws pictures with ten steps of Heun's method. **Before you run it:** is more guidance always better?

# %% tags=["nbval-ignore-output"]
from mmtutor.text_to_image import FlowMatching, VelocityNetwork

seed_everything(0)
flow, start = FlowMatching(VelocityNetwork(32), reader(), 32), perf_counter()
past = fit(flow, train, epochs=flow_epochs, batch_size=batch_size, lr=4e-3, schedule="one-cycle")
print(f"{perf_counter() - start:.0f} s")

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
claim("with guidance 8 drawings vary less than real pictures", guided[8]["variety"] < 0.85, str(guided))
scores = predict(judge, {"picture": drawn[1]})
right = scores[:, :10].argmax(1) == test.tensors["digit_label"]
alone = variety(scores[right, 18:], kind(test)[right]) / variety(real, kind(test))
claim("with g = 1 the right drawings alone vary less than all", alone < guided[1]["variety"] - 0.1, f"{alone:.2f}")

# %% tags=["nbval-ignore-output", "hide-input"]
rows = {
    name: found[name]
    for name in ("real", "GAN-CLS", "flow matching, g = 1", "flow matching, g = 2", "flow matching, g = 4")
}
show(
    dots(
        rows,
        "Right is not all: GAN-CLS draws the same again and again",
        "share; variety relative to real pictures",
    ),
    "; ".join(f"{name}: " + ", ".join(f"{what} {x:.2f}" for what, x in of.items()) for name, of in rows.items()) + ".",
)

# %% [markdown]
# More guidance makes the digit right more often, and drawings more alike; with 8 nothing is gained any more, and strokes and colours are
# exaggerated. With $g = 1$ the variety is above that of real pictures, as wrong drawings count; the right ones alone vary less. GAN-CLS is better at
# digits than flow matching with $g = 1$, and varies least. (After a minute, in one run.)
#
# ## New pairs
#
# No red seven and no green two was in training, but red things and sevens were. Are both words of a new pair drawn?

# %% tags=["nbval-ignore-output"]
new = encoded([sentence(colour, digit) for colour, digit in never for _ in range(100)])
asked = torch.tensor([10 * palette.index(colour) + digit for colour, digit in never for _ in range(100)])
seed_everything(0)
of_new = {"GAN-CLS": gan.draw(new), "flow matching, g = 4": flow.draw(new, (3, 16, 16), guidance=4)}
new_right = {}
for name, x in of_new.items():
    scores = predict(judge, {"picture": x.cpu()})
    new_right[name] = (10 * scores[:, 10:18].argmax(1) + scores[:, :10].argmax(1) == asked).float().mean().item()
print("both right:", ", ".join(f"{name} {x:.2f}" for name, x in new_right.items()))

# %%
claim(
    "both draw new pairs correctly thirty times as often as by chance",
    min(new_right.values()) > 30 / 80,
    str(new_right),
)

# %% [markdown]
# So a pair need not have been seen. (This shows that it can happen, not how often.)
#
# ## What five seeds say
#
# `python -m experiments.text_to_image` trains ten GANs and two flows with five seeds, each with 4,000 pictures of its own, for 60 epochs. The evaluation classifier is
# right for .94 of real pictures.

# %% tags=["hide-input"]
from mmtutor.plotting import verdicts
from mmtutor.results import measured

claims = [
    "With one word changed in wrong pairs the discriminator",
    "With wrong pairs the generator",
    "Without wrong pairs the discriminator",
    "Normalised as one batch",
    "Without normalisation",
    "Without wrong pairs a projection",
    "R3GAN covers more",
    "With noisy sentences GAN-CLS",
    "Guidance of 4 makes",
    "GAN-CLS draws pairs that were never",
]
verdicts(measured("text_to_image"), claims)

# %% [markdown]
# **Wrong pairs.** With one word changed the digit is right in .97, with another example's sentence in .88, without wrong pairs in .11. There the
# discriminator does read after so long, it prefers the right digit in .79; the drawings are no better for it. A projection needs no wrong pairs:
# .82 (with them .97).
#
# **Normalisation.** Apart .63 are right; without any, as many as with one batch for all (.96). Normalised apart, the discriminator
# tells right from wrong sentences in .82 if a batch has one kind and in .76 if it has both: undecided.
#
# **Variety.** GAN-CLS has .33 of the variety of real pictures, .13 to .56 by seed, and covers .58. R3GAN varies as they do (variety 1.06, coverage .95), with .88 of the digits right. Yet its discriminator prefers the right sentence in
# .51, by chance. It is never asked to: its loss compares pictures of one sentence.
#
# **Noisy sentences.** If three in ten sentences say another digit, GAN-CLS draws what is said in .76, a little more often than it is true (.70); at its aim it would nearly always. Flow matching
# draws it in .39 with $g = 1$, in .66 with $g = 2$.
#
# **Flow matching**, after as many epochs and about as much time: with guidance 1, 2 and 4 .76, .96 and .99 are right, with coverage .94, .96 and .92.
#
# **New pairs** are drawn rightly by flow matching with guidance 2 in .95. GAN-CLS draws both rightly in three runs, and one of the two always
# wrongly in the other two.
#
# ## What to remember
#
# - A discriminator need not read what it is shown. Test whether it prefers the right word. By concatenation it took wrong pairs to draw the right digit; a projection did without.
# - GAN-CLS aims at $\max(0, c\,p - w)$, which is $2p - w$ if that is nowhere negative: at what is typical for the sentence. If wrong sentences are truly wrong, that is $p$.
# - The losses of a GAN do not say how good it is. Measure what is right and how varied it is, beside real pictures and simple answers.
# - Two players can circle. A penalty on the discriminator's slope lets them arrive.
# - Flow matching learns a velocity with a squared error; followed exactly, the best one gives back the training data.
# - Guidance makes drawings fit the sentence and each other. Too much exaggerates.
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
