"""Show, Attend and Tell as two public programs compute it, written anew; float64.

The authors' is arctic-captions (its ``capgen.py``, time first, batches of captions of one length), the tutorial's is
sgrvinod's (captions sorted by length, fewer of them at each word). What they average decides what our λ corresponds to.
"""

import pytest
import torch
from test_captioning import close, gradient, hard_attention, images, prescribe, show_attend_tell, with_baseline
from torch.nn import functional as F

from experiments.photographs import Recipe, captioner
from mmtutor.captioning import Tokens
from mmtutor.data import Vocabulary


def tutorial(model, batch, alpha_c):
    """The tutorial's loss, but with tanh for its relu and in the first state, and with one gate instead of D."""
    regions, caption, lengths = batch["regions"], batch["caption"], (batch["caption"] > 0).sum(1) - 1
    order = lengths.argsort(descending=True)
    regions, caption, lengths = regions[order], caption[order], lengths[order].tolist()
    h, c = (layer(regions.mean(1)).tanh() for layer in (model.first_h, model.first_c))
    alphas, scores, targets = torch.zeros(len(caption), max(lengths), regions.shape[1]).double(), [], []
    for t in range(max(lengths)):
        left = sum(n > t for n in lengths)
        on, h, c = regions[:left], h[:left], c[:left]
        e = (on @ model.key.weight.T + model.key.bias + model.query(h)[:, None]).tanh()
        alphas[:left, t] = alpha = (e @ model.score.weight[0]).softmax(1)
        z = model.gate(h).sigmoid() * (alpha[:, :, None] * on).sum(1)
        h, c = model.lstm(torch.cat([model.embedding(caption[:left, t]), z], 1), (h, c))
        scores.append(h @ model.output.weight[:, -h.shape[1] :].T + model.output.bias)  # of the state alone
        targets.append(caption[:left, t + 1])
    words = F.cross_entropy(torch.cat(scores), torch.cat(targets))  # the mean over all words
    return words + alpha_c * ((1 - alphas.sum(1)) ** 2).mean()  # the mean over captions and regions


def of_the_state_alone():
    """Ours, with word vectors that end in as many zeros as there are units: the output reads the state, there."""
    model = show_attend_tell(Tokens(6), embed=9, hidden=5, doubly_stochastic=1.0, tau=1.0)
    with torch.no_grad():
        model.embedding.weight[:, 4:] = 0
        model.output.weight[:, :4] = 0
        model.from_h.weight.copy_(torch.cat([torch.zeros(4, 5), torch.eye(5)]))
        model.from_h.bias.zero_()
        model.from_z.weight.zero_()
    return model


def test_the_tutorials_loss_has_our_lambda_of_mean_words_over_regions():
    """Its 1 is our T/L, of a loss that is T times smaller, T = 11/4 words a caption and L = 3; it is not our 1/L."""
    batch = images(4) | {"caption": torch.tensor([[1, 5, 2, 0, 0], [1, 4, 3, 5, 2], [1, 4, 2, 0, 0], [1, 3, 4, 2, 0]])}
    model, words = of_the_state_alone(), 11 / 4
    for alpha_c in (0.0, 1.0, 0.3):
        model.doubly_stochastic = alpha_c * words / 3
        theirs, ours = tutorial(model, batch, alpha_c), model.loss(batch)["loss"]
        close(ours, words * theirs)
        shared = [
            p for n, p in model.named_parameters() if n.split(".")[0] in ("key", "query", "gate", "lstm", "first_h")
        ]
        for a, b in zip(torch.autograd.grad(ours, shared), torch.autograd.grad(words * theirs, shared), strict=True):
            close(a, b, 1e-11)
    model.doubly_stochastic = 1 / 3
    assert abs(model.loss(batch)["loss"] - words * tutorial(model, batch, 1.0)) > 0.1


def test_the_recipe_for_photographs_counts_words_and_regions():
    """A share of T/L is asked for: the whole of it is the tutorial's λ, of a caption's 11 words and 49 regions."""
    vocabulary = Vocabulary.from_captions(["a red one"])
    for spread in (1.0, 0.25):
        recipe = Recipe(spread=spread, units=4, embed=4, attend=4)
        assert captioner(recipe, vocabulary, 3, 49, 11.0).doubly_stochastic == pytest.approx(spread * 11 / 49)


def authors(model, batch, chosen=None):
    """α (T, B, L), and −log p (T, B), of captions of one length; without its tanh before Lₒ and its 10⁻⁸.

    ``chosen``, int64 (T, B), has the regions that were sampled.
    """
    context, x = batch["regions"], batch["caption"][:, 1:].T
    emb = torch.cat([torch.zeros(1, x.shape[1], 4).double(), model.embedding.weight[x[:-1]]])  # moved on by a word
    w, u, bias = (torch.cat([part.chunk(4)[k] for k in (0, 1, 3, 2)]) for part in (  # i, f, o, c
        model.lstm.weight_ih, model.lstm.weight_hh, model.lstm.bias_ih + model.lstm.bias_hh))  # fmt: skip
    projected = context @ model.key.weight.T + model.key.bias + model.query.bias
    h, c = (torch.tanh(context.mean(1) @ f.weight.T + f.bias) for f in (model.first_h, model.first_c))
    alphas, costs = [], []
    for t in range(len(x)):
        alpha = torch.tanh(projected + (h @ model.query.weight.T)[:, None]) @ model.score.weight.T + model.score.bias
        alpha = alpha[:, :, 0].softmax(1)
        seen = alpha if chosen is None else F.one_hot(chosen[t], 3).double()
        ctx = torch.sigmoid(h @ model.gate.weight[0] + model.gate.bias)[:, None] * (context * seen[:, :, None]).sum(1)
        i, f, o, g = (emb[t] @ w[:, :4].T + ctx @ w[:, 4:].T + h @ u.T + bias).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        logit = h @ model.from_h.weight.T + model.from_h.bias + emb[t] + ctx @ model.from_z.weight.T
        p = (logit @ model.output.weight.T + model.output.bias).softmax(1)
        alphas.append(alpha)
        costs.append(-p[torch.arange(len(p)), x[t]].log())
    return torch.stack(alphas), torch.stack(costs)


def without_a_start(model):
    """The authors read zeros before the first word."""
    with torch.no_grad():
        model.embedding.weight[1] = 0
    return model


def of_the_rest(loss, model):
    """The gradient of all but the start's word vector, 4 numbers."""
    g = gradient(loss, model)
    return torch.cat([g[:4], g[8:]])


CAPTIONS = {"caption": torch.tensor([[1, 5, 3, 4, 2], [1, 3, 3, 5, 2]])}  # B = 2, T = 4


@pytest.mark.parametrize("alpha_c", [1.0, 0.2])
def test_the_authors_loss_has_our_lambda_of_captions_over_regions(alpha_c):
    """They sum the term over the B captions of a batch and take the mean over the L regions."""
    batch = images(2) | CAPTIONS
    model = without_a_start(show_attend_tell(doubly_stochastic=alpha_c * 2 / 3, tau=1.0))
    alphas, costs = authors(model, batch)
    close(model(batch).log_alpha[:, 0].exp(), alphas.transpose(0, 1))
    cost = costs.sum(0).mean() + alpha_c * ((1 - alphas.sum(0)) ** 2).sum(0).mean()
    ours = model.loss(batch)["loss"]
    close(ours, cost)
    close(of_the_rest(ours, model), of_the_rest(cost, model), 1e-11)


def test_the_authors_hard_attention_has_our_lambda_of_captions_over_ten_words():
    """They hand α the gradient (cost − b)/10 · s/α + λ_H (log α + 1), with the mean cost of a word, for each caption.

    So the words are averaged over captions, but this is not: B times as much in ours.
    """
    batch, chosen = images(2) | CAPTIONS, torch.tensor([[0, 2], [2, 0], [1, 0], [1, 1]])
    model = without_a_start(
        with_baseline(hard_attention(reinforce=2 / (10 * 4), entropy=2 * 0.03, expectation=0.0), -6)
    )
    prescribe(model, chosen.tolist())
    alphas, costs = authors(model, batch, chosen)
    baseline = 6 / 4  # their average is of the cost of a word
    known = (costs.mean(0) - baseline)[None, :, None] / 10 * F.one_hot(chosen, 3) / alphas
    known = known + 0.03 * (alphas.log() + 1)
    theirs = costs.sum(0).mean() + (known.detach() * alphas).sum()
    close(of_the_rest(model.loss(batch)["loss"], model), of_the_rest(theirs, model), 1e-11)
