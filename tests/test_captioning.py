"""Captioners against their equations, word by word and region by region; float64."""

import copy
import functools
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from mmtutor.captioning import (
    Captioner,
    HardAttention,
    ShowAndTell,
    ShowAttendTell,
    SoftAttention,
    Tokens,
    beam_candidates,
    beam_search,
    greedy,
    sample,
)
from mmtutor.data import MultimodalDataset, Vocabulary
from mmtutor.training import fit

PAD, START, END = 0, 1, 2
NEVER = -torch.inf


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def shaken(model, size=1.2):
    """Larger weights than at birth, or attention would be all but uniform; the padding's word vector too."""
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, size)
    return model


def show_and_tell(tokens=Tokens(6), **options):  # noqa: B008
    return shaken(ShowAndTell(nn.Identity(), 3, tokens, image="regions", embed=4, hidden=5, **options).double(), 2.0)


def show_attend_tell(tokens=Tokens(6), **options):  # noqa: B008
    options = {"embed": 4, "hidden": 5, "attend": 3, **options}
    return shaken(ShowAttendTell(nn.Identity(), 3, tokens, image="regions", **options).double())


def hard_attention(tokens=Tokens(6), reinforce=1.0, entropy=0.01, expectation=0.5, **options):  # noqa: B008
    attention = HardAttention(reinforce, entropy, expectation)
    return show_attend_tell(tokens, attention=attention, **options)


MODELS = {
    "tell": show_and_tell,
    "soft": show_attend_tell,
    "soft, reads first": functools.partial(show_attend_tell, read_first=True),
    "hard": hard_attention,
}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
first_or_later = pytest.mark.parametrize("read_first", [False, True])


def images(b=2, regions=3):
    return {"regions": torch.randn(b, regions, 3, dtype=torch.float64)}


def with_captions(b=2, regions=3):
    """Two references of each image, of 3, 3, 4 and 2 words with the end; two columns that are only padding."""
    captions = [[[1, 3, 3, 2, 0, 0, 0], [1, 5, 4, 2, 0, 0, 0]], [[1, 5, 3, 4, 2, 0, 0], [1, 4, 2, 0, 0, 0, 0]]]
    return {**images(b, regions), "caption": torch.tensor(captions)[-b:]}


def exactly(values):
    return torch.tensor(values, dtype=torch.float64)


def close(a, b, tolerance=1e-12):
    assert a.shape == b.shape
    assert (a - b).abs().max() < tolerance


def gradient(loss, model):
    """All of the model's gradient, one after the other."""
    parameters = list(model.parameters())
    grads = torch.autograd.grad(loss, parameters, allow_unused=True)
    return torch.cat(
        [torch.zeros(p.numel()).double() if g is None else g.flatten() for g, p in zip(grads, parameters, strict=True)]
    )


# ------------------------------------------------------------------------------------------ the equations, naively


def cell(w_ih, w_hh, b_ih, b_hh, x, h, c):
    i, f, g, o = (w_ih @ x + b_ih + w_hh @ h + b_hh).chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def with_attention(model, regions, caption, chosen=None):
    """One caption read by the equations of Xu: scores, α and log p of each word up to the padding.

    ``chosen`` has the region that was sampled for each word; without it the expectation is seen.
    """
    linear = lambda layer, x: layer.weight @ x + (0 if layer.bias is None else layer.bias)  # noqa: E731
    lstm = [model.lstm.weight_ih, model.lstm.weight_hh, model.lstm.bias_ih, model.lstm.bias_hh]
    mean = sum(regions) / len(regions)
    h, c, z = linear(model.first_h, mean).tanh(), linear(model.first_c, mean).tanh(), mean
    scores, alphas, log_p = [], [], []
    for t in range(1, sum(word != PAD for word in caption)):
        embedded = model.embedding.weight[caption[t - 1]]
        if model.read_first:
            h, c = cell(*lstm, torch.cat([embedded, z]), h, c)
        e = [linear(model.score, (linear(model.key, a) + linear(model.query, h)).tanh())[0].exp() for a in regions]
        alpha = [x / sum(e) for x in e]
        weights = alpha if chosen is None else [float(i == chosen[t - 1]) for i in range(len(regions))]
        z = linear(model.gate, h).sigmoid() * sum(w * a for w, a in zip(weights, regions, strict=True))
        if not model.read_first:
            h, c = cell(*lstm, torch.cat([embedded, z]), h, c)
        logits = linear(model.output, embedded + linear(model.from_h, h) + linear(model.from_z, z))
        scores.append(logits)
        alphas.append(torch.stack(alpha))
        log_p.append(logits[caption[t]] - logits.exp().sum().log())
    return scores, alphas, torch.stack(log_p)


def without_attention(model, regions, caption):
    """One caption read by the equations of Vinyals: the image first, then the words."""
    weights = [model.lstm.weight_ih_l0, model.lstm.weight_hh_l0, model.lstm.bias_ih_l0, model.lstm.bias_hh_l0]
    zero = torch.zeros(5).double()
    h, c = cell(*weights, model.show.weight @ (sum(regions) / len(regions)) + model.show.bias, zero, zero)
    scores, log_p = [], []
    for t in range(1, sum(word != PAD for word in caption)):
        h, c = cell(*weights, model.embedding.weight[caption[t - 1]], h, c)
        logits = model.output.weight @ h + model.output.bias
        scores.append(logits)
        log_p.append(logits[caption[t]] - logits.exp().sum().log())
    return scores, torch.stack(log_p)


@first_or_later
def test_soft_attention_against_loops_over_images_references_words_and_regions(read_first):
    model, batch = show_attend_tell(read_first=read_first, doubly_stochastic=0.3, tau=1.0), with_captions()
    logits, _, log_alpha, log_s = model(batch)
    assert logits.shape == (2, 2, 4, 6)  # the two columns of nothing but padding are cut
    assert log_alpha.shape == (2, 2, 4, 3)
    assert (log_s == 0).all()
    surprise, unevenness = [], []
    for b, r in itertools.product(range(2), range(2)):
        scores, alphas, log_p = with_attention(model, batch["regions"][b], batch["caption"][b, r].tolist())
        for t in range(len(scores)):
            close(logits[b, r, t], scores[t])
            close(log_alpha[b, r, t].exp(), alphas[t])
        surprise.append(-log_p.sum())
        unevenness.append(sum((1 - x) ** 2 for x in sum(alphas)))
    assert log_alpha.exp().max() > 0.6  # not all but uniform
    terms = model.loss(batch)
    close(terms["words"], sum(surprise) / 4)
    close(terms["doubly_stochastic"], sum(unevenness) / 4)
    close(terms["loss"], (sum(surprise) + 0.3 * sum(unevenness)) / 4)
    close(gradient(terms["loss"], model), gradient((sum(surprise) + 0.3 * sum(unevenness)) / 4, model), 1e-11)


def test_show_and_tell_against_loops():
    model, batch = show_and_tell(), with_captions()
    logits, target, log_alpha, log_s = model(batch)
    assert log_alpha is log_s is None
    assert target.tolist() == batch["caption"][:, :, 1:5].tolist()
    assert logits.shape == (2, 2, 4, 6)
    surprise = []
    for b, r in itertools.product(range(2), range(2)):
        scores, log_p = without_attention(model, batch["regions"][b], batch["caption"][b, r].tolist())
        for t, expected in enumerate(scores):
            close(logits[b, r, t], expected)
        surprise.append(-log_p.sum())
    terms = model.loss(batch)
    assert terms.keys() == {"loss", "words"}
    close(terms["words"], sum(surprise) / 4)
    close(gradient(terms["loss"], model), gradient(sum(surprise) / 4, model), 1e-11)
    vector = {**batch, "regions": batch["regions"].mean(1)}  # an encoder that gives one vector
    close(model(vector).logits, logits)


def test_hard_attention_sees_the_likeliest_region_when_not_training():
    model, batch = hard_attention().eval(), with_captions()
    logits, _, log_alpha, log_s = model(batch)
    assert (log_s == 0).all()
    regions = log_alpha.argmax(3)
    assert len(regions.unique()) > 1
    for b, r in itertools.product(range(2), range(2)):
        caption = batch["caption"][b, r].tolist()
        scores, alphas, _ = with_attention(model, batch["regions"][b], caption, regions[b, r].tolist())
        for t in range(len(scores)):
            close(logits[b, r, t], scores[t])
            close(log_alpha[b, r, t].exp(), alphas[t])


@every_model
def test_step_by_step_is_what_forward_gives(make):
    model, batch = make().eval(), with_captions()
    whole, _, log_alpha, _ = model(batch)
    features = model.encode_image(batch["regions"])
    state = tuple(part.expand(-1, 2, -1) for part in model.initial_state(features))
    real = batch["caption"] != PAD
    for t in range(4):
        logits, state, alpha = model.step(features, state, batch["caption"][:, :, t])
        on = real[:, :, t + 1].any(1)  # images with a caption that has a word t + 1
        close(logits[on], whole[on, :, t])
        if log_alpha is not None:
            close(alpha[on], log_alpha[on, :, t].exp())
    assert not on.all()


@pytest.mark.parametrize("make", [show_attend_tell, hard_attention])
@first_or_later
def test_regions_get_the_gradient_of_each_image_alone(make, read_first):
    """Captions of different length stand side by side in a batch, and what follows their end must not count."""
    model = make(read_first=read_first, doubly_stochastic=0.3).eval()
    batch = with_captions()
    batch["regions"].requires_grad_()
    model.loss(batch)["loss"].backward()
    for b in range(2):
        alone = batch["regions"][b].detach().requires_grad_()
        total = torch.zeros((), dtype=torch.float64)
        for r in range(2):
            caption = batch["caption"][b, r].tolist()
            forced = None
            if make is hard_attention:
                with torch.no_grad():
                    forced = model(batch).log_alpha[b, r].argmax(1).tolist()
            _, alphas, log_p = with_attention(model, alone, caption, forced)
            tau = len(alphas) / 3
            total = total - log_p.sum() + 0.3 * sum((tau - x) ** 2 for x in sum(alphas))
        (wanted,) = torch.autograd.grad(total / 4, alone)
        close(batch["regions"].grad[b], wanted, 1e-11)


def test_the_loss_can_be_differentiated_twice():
    model, batch = show_attend_tell(), with_captions()
    loss = lambda regions: model.loss({**batch, "regions": regions})["loss"]  # noqa: E731
    assert torch.autograd.gradgradcheck(loss, batch["regions"].requires_grad_())


@every_model
@pytest.mark.parametrize("training", [True, False])
def test_between_batch_and_loss_no_value_is_looked_at(make, training):
    """Tensors on the device "meta" have no values: whatever made the program wait for a GPU would fail."""
    model = make(dropout=0.5).train(training).to("meta")
    batch = {name: value.to("meta") for name, value in with_captions().items()}
    terms = model.loss(batch)
    terms["loss"].backward()
    assert {term.shape for term in terms.values()} == {()}


def test_keys_are_made_once_and_words_are_scored_together():
    model, calls = show_attend_tell(), []
    for name in ("key", "output", "query"):
        getattr(model, name).register_forward_hook(lambda *_, name=name: calls.append(name))
    model.loss(with_captions())
    assert {name: calls.count(name) for name in calls} == {"key": 1, "output": 1, "query": 4}


def test_dropout_drops_what_the_word_is_predicted_from_only_in_training():
    for make in (show_and_tell, show_attend_tell):
        model, batch = make(dropout=0.5), with_captions()
        ways = {model.loss(batch)["words"].item() for _ in range(8)}
        assert len(ways) > 1
        model.eval()
        assert len({model.loss(batch)["words"].item() for _ in range(8)}) == 1
        model.train().dropout.p = 1.0
        close(model(batch).logits, model.output.bias.expand(2, 2, 4, 6))
        features = model.encode_image(batch["regions"])
        logits, *_ = model.step(features, model.initial_state(features), torch.ones(2, 1).long())
        close(logits, model.output.bias.expand(2, 1, 6))


# ------------------------------------------------------------------------------------------------ hard attention


def prescribe(model, regions):
    """Let the next samples be these: a list of one region for each caption, for each word."""
    queue = iter(regions)

    def draw(alpha):
        assert alpha.shape[2:] == (3,) or alpha.shape[2:] == (2,)
        assert not alpha.requires_grad
        return torch.tensor(next(queue)).view(alpha.shape[:2])

    model.attention.draw = draw


def always_sampling(**options):
    """Hard attention that samples for every caption, has no entropy term, and a baseline that was seen before."""
    return with_baseline(hard_attention(**{"entropy": 0.0, "expectation": 0.0, **options}), -3.0)


def with_baseline(model, value, weight=0.4):
    with torch.no_grad():
        model.attention.reward.fill_(value * weight)
        model.attention.reward_weight.fill_(weight)
    return model


def log_prob_of_regions(alphas, chosen):
    return sum(alpha[s].log() for alpha, s in zip(alphas, chosen, strict=False))


@first_or_later
@pytest.mark.parametrize("baseline", [-3.0, 0.0, 25.0])
def test_the_expected_gradient_of_reinforce_is_that_of_the_expected_log_probability(read_first, baseline):
    """E over all 27 ways to look of log p(y | s), differentiated as a whole, against the weighted sum of gradients."""
    model, image = always_sampling(read_first=read_first), images(1)
    caption = [1, 5, 3, 2]
    batch = {**image, "caption": torch.tensor([caption])}
    expectation, found = 0, 0
    for chosen in itertools.product(range(3), repeat=3):
        _, alphas, log_p = with_attention(model, image["regions"][0], caption, chosen)
        p = log_prob_of_regions(alphas, chosen).exp()
        expectation = expectation + p * log_p.sum()
        prescribe(model, [[s] for s in chosen])
        with_baseline(model, baseline)
        found = found + p.item() * gradient(model.loss(batch)["loss"], model)
    close(found, gradient(-expectation, model), 1e-10)
    assert found.norm() > 0.1


def test_the_expected_gradient_with_padding_and_several_captions():
    """Two captions of 3 and 2 words of one image, two regions: 8 x 4 ways to look; after the end it matters not."""
    model, image = always_sampling(), images(1, 2)
    captions = [[1, 5, 3, 2], [1, 4, 2, 0]]
    batch = {**image, "caption": torch.tensor([captions])}
    both = [list(itertools.product(range(2), repeat=n)) for n in (3, 2)]
    ways = [
        [with_attention(model, image["regions"][0], y, s) for s in every]
        for y, every in zip(captions, both, strict=True)
    ]
    p = [
        [log_prob_of_regions(w[1], s).exp() for w, s in zip(way, every, strict=True)]
        for way, every in zip(ways, both, strict=True)
    ]
    expectation = sum(p[r][k] * ways[r][k][2].sum() for r in range(2) for k in range(len(p[r]))) / 2
    found = 0
    for (i, first), (j, second) in itertools.product(enumerate(both[0]), enumerate(both[1])):
        prescribe(model, list(zip(first, (*second, i % 2), strict=True)))
        with_baseline(model, -3.0)
        found = found + (p[0][i] * p[1][j]).item() * gradient(model.loss(batch)["loss"], model)
    close(found, gradient(-expectation, model), 1e-10)


@first_or_later
def test_one_draw_has_the_gradient_of_the_learning_rule(read_first):
    """-[log p(y | s) + 0.7 (R - b) log p(s)] with b = -3, and the value of its first part."""
    model, batch = always_sampling(read_first=read_first, reinforce=0.7), with_captions(1)
    chosen = [(0, 2, 1, 1), (2, 0)]
    prescribe(model, [(0, 2), (2, 0), (1, 0), (1, 1)])
    terms = model.loss(batch)
    rule, words = [], []
    for caption, s in zip(batch["caption"][0].tolist(), chosen, strict=True):
        _, alphas, log_p = with_attention(model, batch["regions"][0], caption, s)
        words.append(-log_p.sum())
        rule.append(words[-1] - 0.7 * (log_p.sum().item() + 3) * log_prob_of_regions(alphas, s))
    close(terms["words"], sum(words) / 2)
    close(terms["loss"], sum(words) / 2)
    close(gradient(terms["loss"], model), gradient(sum(rule) / 2, model), 1e-11)


def test_the_log_probability_of_the_regions_that_were_sampled():
    model, batch = always_sampling(), with_captions(1)
    prescribe(model, [(0, 2), (2, 0), (1, 0), (1, 1)])
    log_alpha, log_s = model(batch)[2:]
    for r, way in enumerate([(0, 2, 1, 1), (2, 0, 0, 1)]):
        close(log_s[0, r], torch.stack([log_alpha[0, r, t, s] for t, s in enumerate(way)]))


def test_real_draws_average_to_the_expected_gradient():
    """30 batches of 400 captions, half of which see the expectation: each mean lies within 5 standard errors."""
    model, image = always_sampling(hidden=3, embed=2), images(1)
    model.attention.expectation = 0.5
    caption = [1, 5, 3, 2]
    exact = 0
    for chosen in itertools.product(range(3), repeat=3):
        _, alphas, log_p = with_attention(model, image["regions"][0], caption, chosen)
        exact = exact - log_prob_of_regions(alphas, chosen).exp() * log_p.sum() / 2
    exact = gradient(exact - with_attention(model, image["regions"][0], caption)[2].sum() / 2, model)
    batch = {"regions": image["regions"].expand(400, -1, -1), "caption": torch.tensor([caption] * 400)}
    torch.manual_seed(1)
    found = torch.stack([gradient(with_baseline(model, -6.0).loss(batch)["loss"], model) for _ in range(30)])
    error = found.std(0) / math.sqrt(30)
    assert error.norm() < 0.05 * exact.norm()
    assert ((found.mean(0) - exact).abs() <= 5 * error + 1e-12).all()
    # without the regions' part of the gradient this would not hold
    model.attention.reinforce = 0.0
    found = torch.stack([gradient(model.loss(batch)["loss"], model) for _ in range(30)])
    assert ((found.mean(0) - exact).abs() > 5 * found.std(0) / math.sqrt(30) + 1e-12).any()


def test_half_of_the_captions_see_the_expectation_for_all_of_their_words():
    model = hard_attention()
    batch = {"regions": torch.randn(500, 3, 3).double(), "caption": torch.tensor([[[1, 5, 3, 2]] * 2] * 500)}
    soft = ~(model(batch).log_s < 0)
    assert (soft.all(2) | ~soft.any(2)).all()
    share = soft[..., 0].double().mean()
    assert abs(share - 0.5) < 4 * math.sqrt(0.25 / 1000)
    assert not torch.equal(soft[:, 0], soft[:, 1])  # each caption for itself
    model.attention.expectation = 0.9
    assert abs((model(batch).log_s[..., 0] == 0).double().mean() - 0.9) < 4 * math.sqrt(0.09 / 1000)


def test_captions_that_end_at_different_words_keep_their_own_draws():
    model = hard_attention()
    captions = torch.tensor([[1, 5, 2, 0, 0], [1, 5, 3, 4, 2], [1, 5, 3, 2, 0]] * 100).unsqueeze(1)
    batch = {"regions": torch.randn(300, 3, 3).double(), "caption": captions}
    logits, _, log_alpha, log_s = model(batch)
    soft = show_attend_tell()
    soft.load_state_dict(model.state_dict(), strict=False)
    real = captions[..., 1:] != PAD
    expected = (log_s == 0).all(2, keepdim=True) & real
    close(logits[expected], soft(batch).logits[expected])
    sampled = (log_s < 0).flatten(0, 1) & real.flatten(0, 1)
    assert (
        sampled.any(1, keepdim=True) & real.flatten(0, 1) == sampled
    ).all()  # for all words of a caption or for none
    assert 0.3 < sampled.any(1).double().mean() < 0.7
    assert ((log_alpha - log_s.unsqueeze(3)).abs().amin(3)[real & (log_s < 0)] == 0).all()


def test_when_all_see_the_expectation_it_is_soft_attention():
    hard = hard_attention(entropy=0.0, expectation=1.0, doubly_stochastic=0.2)
    soft, batch = show_attend_tell(doubly_stochastic=0.2), with_captions()
    hard.load_state_dict(soft.state_dict(), strict=False)
    close(hard.loss(batch)["loss"], soft.loss(batch)["loss"])
    close(gradient(hard.loss(batch)["loss"], hard), gradient(soft.loss(batch)["loss"], soft))


def test_the_entropy_term():
    """-0.3 times the entropy of α, summed over the words of a caption, has its value and its gradient."""
    model, batch = always_sampling(), with_captions(1)
    chosen = [(0, 2), (2, 0), (1, 0), (1, 1)]
    terms = []
    for model.attention.entropy in (0.0, 0.3):
        prescribe(model, chosen)
        terms.append(with_baseline(model, 1.0).loss(batch)["loss"])
    entropy = 0
    for r, caption in enumerate(batch["caption"][0].tolist()):
        _, alphas, _ = with_attention(model, batch["regions"][0], caption, [way[r] for way in chosen])
        entropy = entropy - sum(x * x.log() for alpha in alphas for x in alpha) / 2
    close(terms[1] - terms[0], -0.3 * entropy)
    close(gradient(terms[1] - terms[0], model), gradient(-0.3 * entropy, model), 1e-11)


def test_soft_attention_has_no_entropy_term_and_keeps_no_baseline():
    model, batch = show_attend_tell(attention=SoftAttention()), with_captions()
    terms = model.loss(batch)
    close(terms["loss"], terms["words"])
    assert not list(model.attention.buffers())
    model = hard_attention().eval()
    terms = model.loss(batch)
    close(terms["loss"], terms["words"])
    assert model.attention.reward_weight == 0


def test_the_baseline_is_a_moving_average_of_the_batches_before():
    model = hard_attention()
    used = [model.attention.baseline(torch.tensor(reward).double()).item() for reward in (-2.0, -5.0, -1.0, 0.0)]
    # Weights .1 · .9ⁿ, made to sum to 1; the first batch knows none before and takes its own.
    expected = [-2, -2, (0.09 * -2 + 0.1 * -5) / 0.19, (0.081 * -2 + 0.09 * -5 + 0.1 * -1) / 0.271]
    assert used == pytest.approx(expected, abs=1e-12)


def test_the_baseline_follows_the_log_probability_of_the_captions():
    model, rewards = hard_attention(), []
    for _ in range(3):
        rewards.append(-model.loss(with_captions())["words"].item())
    assert model.attention.reward.item() == pytest.approx(
        0.081 * rewards[0] + 0.09 * rewards[1] + 0.1 * rewards[2], abs=1e-12
    )
    assert model.attention.reward_weight.item() == pytest.approx(0.271, abs=1e-12)
    other = hard_attention()
    other.load_state_dict(model.state_dict())
    assert other.attention.reward == model.attention.reward
    assert other.attention.reward_weight == model.attention.reward_weight
    assert not model.attention.reward.requires_grad


def test_a_first_batch_of_one_caption_is_its_own_baseline():
    """Its baseline is its own reward, so only the path through the words is followed."""
    model, batch = with_baseline(always_sampling(), 0.0, 0.0), {**images(1), "caption": torch.tensor([[1, 5, 2]])}
    prescribe(model, [[1], [2]])
    _, _, log_p = with_attention(model, batch["regions"][0], [1, 5, 2], (1, 2))
    close(gradient(model.loss(batch)["loss"], model), gradient(-log_p.sum(), model), 1e-11)


# ------------------------------------------------------------------------------------------- doubly stochastic


class Prescribed(nn.Module):
    """Scores log α with a row of α for each word, the same for every caption."""

    def __init__(self, rows):
        super().__init__()
        self.rows = itertools.cycle(rows)

    def forward(self, hidden):
        return exactly(next(self.rows)).log().view(1, 1, -1, 1).expand(*hidden.shape[:3], 1)


def attending(rows, **options):
    model = show_attend_tell(**options)
    model.score = Prescribed(rows)
    return model


@pytest.mark.parametrize(
    ("target", "three", "two"),
    [
        # α sums to (1.25, 0.75, 0.5, 0.5) over three words, and to (0.75, 0.5, 0.25, 0.5) over two.
        (1.0, 0.0625 + 0.0625 + 0.25 + 0.25, 0.0625 + 0.25 + 0.5625 + 0.25),
        # τ = 3/4 and 2/4
        (None, 0.25 + 0 + 0.0625 + 0.0625, 0.0625 + 0 + 0.0625 + 0),
        (0.0, 1.5625 + 0.5625 + 0.25 + 0.25, 0.5625 + 0.25 + 0.0625 + 0.25),
    ],
)
def test_doubly_stochastic_by_hand(target, three, two):
    rows = [[0.5, 0.25, 0.125, 0.125], [0.25, 0.25, 0.125, 0.375], [0.5, 0.25, 0.25, 0.0]]
    model = attending(rows, tau=target, doubly_stochastic=2.0)
    batch = {**images(2, 4), "caption": torch.tensor([[1, 5, 4, 2, 0], [1, 5, 2, 0, 0]])}
    terms = model.loss(batch)
    assert terms["doubly_stochastic"].item() == pytest.approx((three + two) / 2, abs=1e-12)
    assert terms["loss"].item() == pytest.approx(terms["words"].item() + three + two, abs=1e-12)


def test_uniform_attention_is_free_at_t_over_l_and_never_at_one():
    batch = with_captions(2, 5)  # 4, 2, 3 and 3 words
    assert attending([[0.2] * 5]).loss(batch)["doubly_stochastic"].item() == pytest.approx(0, abs=1e-12)
    # At best L (1 - T/L)² = (L - T)² / L.
    least = (1 + 9 + 4 + 4) / 5 / 4
    assert attending([[0.2] * 5], tau=1.0).loss(batch)["doubly_stochastic"].item() == pytest.approx(least, abs=1e-12)
    for _ in range(20):
        assert show_attend_tell(tau=1.0).loss(batch)["doubly_stochastic"] > least


def test_no_gradient_contains_tau():
    batch, grads = with_captions(), []
    for target in (None, 1.0, 7.0):
        torch.manual_seed(0)
        model = show_attend_tell(tau=target)
        grads.append(gradient(model.loss(batch)["doubly_stochastic"], model))
    close(grads[1], grads[0])
    close(grads[2], grads[0])
    assert grads[0].norm() > 0.1


# ---------------------------------------------------------------------------------------------------- decoding


def next_log_p(model, batch, beginning):
    """log p of the next word after a beginning, by teacher forcing; padding and the start cannot be embedded."""
    caption = torch.tensor([[START, *beginning, 3]] * len(batch["regions"]))
    logits = model({**batch, "caption": caption}).logits[:, 0, -1].detach().clone()
    logits[:, [PAD, START]] = NEVER
    return logits - logits.exp().sum(1, keepdim=True).log()


def one(batch, b):
    return {name: value[b : b + 1] for name, value in batch.items()}


def padded(captions, width):
    return torch.tensor([[*s, *[PAD] * (width - len(s))] for s in captions])


def searched(model, batch, length, beams, normalise):
    """A beam search of one image with lists, which never stops early; beams = None keeps all."""
    live, done = {(): 0.0}, {}
    for _ in range(length):
        longer = {}
        for words, value in live.items():
            for word, more in enumerate(next_log_p(model, batch, words)[0].tolist()):
                if more > NEVER:
                    longer[*words, word] = value + more
        kept = sorted(longer, key=longer.get, reverse=True)[:beams]
        done |= {words: longer[words] for words in kept if words[-1] == END}
        live = {words: longer[words] for words in kept if words[-1] != END}
    if not done:
        return max(live.items(), key=lambda item: item[1])
    return max(done.items(), key=lambda item: item[1] / len(item[0]) ** normalise)


@every_model
@pytest.mark.parametrize("normalise", [0, 0.7, 1])
def test_with_beams_for_all_captions_the_search_is_exhaustive(make, normalise):
    model, batch = make(Tokens(5)).eval(), images(3)
    found = beam_search(model, batch, 4, beams=5**4, normalise=normalise)
    best = [searched(model, one(batch, b), 4, None, normalise) for b in range(3)]
    assert torch.equal(found.tokens, padded([s for s, _ in best], found.tokens.shape[1]))
    close(found.score, exactly([value for _, value in best]))


@every_model
@pytest.mark.parametrize("beams", [1, 2, 3])
def test_beam_search_against_lists(make, beams):
    """Many small models, long captions, all images together against each alone."""
    lengths = set()
    for seed in range(6):
        torch.manual_seed(seed)
        model, batch, normalise = make(Tokens(7)).eval(), images(3), (0, 0.7, 1, 2)[seed % 4]
        with torch.no_grad():
            model.output.bias[END] -= 1.5
        found = beam_search(model, batch, 6, beams, normalise)
        best = [searched(model, one(batch, b), 6, beams, normalise) for b in range(3)]
        assert torch.equal(found.tokens, padded([s for s, _ in best], found.tokens.shape[1]))
        assert found.tokens.shape[1] == max(len(s) for s, _ in best)
        close(found.score, exactly([value for _, value in best]))
        lengths |= {len(s) for s, _ in best}
    assert len(lengths) > 2


@every_model
def test_one_beam_is_greedy(make):
    lengths = set()
    for seed in range(5):
        torch.manual_seed(seed)
        model, batch = make(Tokens(9)), images(20)
        with torch.no_grad():
            model.output.bias[END] += 2.0
        a, b = greedy(model, batch, 8), beam_search(model, batch, 8, beams=1, normalise=0.7)
        assert torch.equal(a.tokens, b.tokens)
        close(a.score, b.score)
        if a.alpha is not None:
            close(a.alpha, b.alpha)
        lengths |= {len(row) - row.count(PAD) for row in a.tokens.tolist()}
    assert len(lengths) > 2


def ranked(model, batch, length, normalise):
    """All captions of one image that end within ``length`` words, or, if there is none, all of that length."""
    live, done = {(): 0.0}, {}
    for _ in range(length):
        longer = {}
        for words, value in live.items():
            for word, more in enumerate(next_log_p(model, batch, words)[0].tolist()):
                if more > NEVER:
                    longer[*words, word] = value + more
        done |= {words: value for words, value in longer.items() if words[-1] == END}
        live = {words: value for words, value in longer.items() if words[-1] != END}
    found = done or live
    return sorted(found.items(), key=lambda item: -item[1] / len(item[0]) ** normalise)


@every_model
@pytest.mark.parametrize("normalise", [0, 0.7, 1])
def test_candidates_of_a_search_that_keeps_all_are_the_exhaustive_ranking(make, normalise):
    """Two words and the end, at most four words: 1 + 2 + 4 + 8 = 15 captions end; the other 16 of 24 do not."""
    model, batch = make(Tokens(5)).eval(), images(3)
    found = beam_candidates(model, batch, 4, beams=24, normalise=normalise)
    assert found.tokens.shape == (3, 24, 4)
    for b in range(3):
        wanted = ranked(model, one(batch, b), 4, normalise)
        assert len(wanted) == 15
        assert torch.equal(found.tokens[b, :15], padded([words for words, _ in wanted], 4))
        close(found.score[b, :15], exactly([value for _, value in wanted]))
    assert (found.tokens[:, 15:] == PAD).all()
    assert (found.score[:, 15:] == NEVER).all()
    assert found.alpha is None or (found.alpha[:, 15:] == 0).all()


@every_model
def test_candidates_without_an_end_are_the_likeliest_beginnings(make):
    model, batch = make(Tokens(5)).eval(), images(2)
    with torch.no_grad():
        model.output.bias[END] = NEVER
    found = beam_candidates(model, batch, 3, beams=9)
    for b in range(2):
        wanted = ranked(model, one(batch, b), 3, 0)
        assert found.tokens[b, :8].tolist() == [list(words) for words, _ in wanted]
        close(found.score[b, :8], exactly([value for _, value in wanted]))
        assert found.score[b, 8] == NEVER


@every_model
@pytest.mark.parametrize("beams", [1, 3, 6])
def test_the_first_candidate_is_the_best_of_the_search_and_each_is_as_read_again(make, beams):
    ended = 0
    for seed in range(4):
        torch.manual_seed(seed)
        model, batch, normalise = make(Tokens(7)).eval(), images(4), (0, 0.7, 1, 2)[seed]
        with torch.no_grad():
            model.output.bias[END] -= 1.0
        best, found = beam_search(model, batch, 5, beams, normalise), beam_candidates(model, batch, 5, beams, normalise)
        width = best.tokens.shape[1]
        assert torch.equal(found.tokens[:, 0, :width], best.tokens)
        assert (found.tokens[:, 0, width:] == PAD).all()
        close(found.score[:, 0], best.score)
        if best.alpha is not None:
            close(found.alpha[:, 0, :width], best.alpha)
        for b, k in itertools.product(range(4), range(beams)):
            words = [word for word in found.tokens[b, k].tolist() if word != PAD]
            if not words:
                assert found.score[b, k] == NEVER
                continue
            ended += words[-1] == END
            value = sum(next_log_p(model, one(batch, b), words[:t])[0, words[t]] for t in range(len(words)))
            assert found.score[b, k].item() == pytest.approx(value.item(), abs=1e-12)
            if found.alpha is not None:
                again = model({**one(batch, b), "caption": torch.tensor([[START, *words[:-1], 3]])}).log_alpha
                close(found.alpha[b, k, : len(words)], again[0, 0].exp().detach())
                assert (found.alpha[b, k, len(words) :] == 0).all()
        lengths = (found.tokens != PAD).sum(2).clamp(min=1)
        values = found.score / lengths**normalise
        assert (values[:, :-1] >= values[:, 1:]).all()
        for rows in found.tokens.tolist():  # each caption once
            assert len({tuple(row) for row in rows if row[0] != PAD}) == sum(row[0] != PAD for row in rows)
    assert ended > 4


DECODERS = {
    "greedy": greedy,
    "sample": sample,
    "beam": beam_search,
    "normalised beam": functools.partial(beam_search, beams=3, normalise=0.7),
}
every_decoder = pytest.mark.parametrize("decode", DECODERS.values(), ids=DECODERS)


@every_model
@every_decoder
def test_score_and_alpha_are_those_of_the_caption_read_again(make, decode):
    model, batch = make(Tokens(7)), images(12)
    with torch.no_grad():
        model.output.bias[[PAD, START, END]] += 3.0  # what must not be generated would be likely
    tokens, score, alpha = decode(model, batch, 5)
    model.eval()
    assert tokens.dtype == torch.int64
    assert not (tokens == START).any()
    ended = 0
    for b in range(12):
        words = tokens[b].tolist()
        n = words.index(END) + 1 if END in words else len(words)
        ended += END in words
        assert PAD not in words[:n]
        assert words[n:] == [PAD] * (len(words) - n)
        assert n == 5 or END in words
        value = sum(next_log_p(model, one(batch, b), words[:t])[0, words[t]] for t in range(n))
        assert score[b].item() == pytest.approx(value.item(), abs=1e-12)
        if alpha is not None:
            again = model({**one(batch, b), "caption": torch.tensor([[START, *words[: n - 1], 3]])}).log_alpha
            close(alpha[b, :n], again[0, 0, :n].exp().detach())
            assert (alpha[b, n:] == 0).all()
    assert ended > 0
    assert (alpha is None) == isinstance(model, ShowAndTell)
    assert not score.requires_grad


@every_model
@every_decoder
def test_each_image_as_if_it_were_alone(make, decode):
    if decode is sample:
        decode = functools.partial(sample, temperature=1e-4)
    model, batch = make(Tokens(7)), images(6)
    whole = decode(model, batch, 6)
    for b in range(6):
        alone = decode(model, one(batch, b), 6)
        width = alone.tokens.shape[1]
        assert torch.equal(whole.tokens[b, :width], alone.tokens[0])
        assert (whole.tokens[b, width:] == PAD).all()
        close(whole.score[b], alone.score[0])
        if whole.alpha is not None:
            close(whole.alpha[b, :width], alone.alpha[0])
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    mixed = decode(model, {"regions": batch["regions"][order]}, 6)
    assert torch.equal(mixed.tokens, whole.tokens[order])
    close(mixed.score, whole.score[order])


@every_model
@every_decoder
@pytest.mark.parametrize("bias", [-1e9, NEVER])
def test_a_model_that_never_ends_generates_as_many_words_as_it_may(make, decode, bias):
    model = make(Tokens(9))  # more than beams, or even an end of -1e9 would be among the best
    with torch.no_grad():
        model.output.bias[END] = bias
    for length in (1, 4):
        tokens, score, alpha = decode(model, images(), length)
        assert tokens.shape == (2, length)
        assert (tokens > END).all()
        assert score.isfinite().all()
        assert alpha is None or alpha.shape == (2, length, 3)
    if bias == NEVER:
        assert (beam_search(model, images(), 3, beams=50).tokens > END).all()


def test_of_captions_without_an_end_the_likeliest_is_returned():
    model, batch = show_attend_tell(Tokens(6)).eval(), images(3)
    with torch.no_grad():
        model.output.bias[END] = NEVER
    found = beam_search(model, batch, 3, beams=4, normalise=1)
    best = [searched(model, one(batch, b), 3, 4, 1) for b in range(3)]
    assert found.tokens.tolist() == [list(s) for s, _ in best]
    close(found.score, exactly([value for _, value in best]))


@every_model
@every_decoder
def test_a_model_that_ends_at_once_generates_the_end(make, decode):
    model = make()
    with torch.no_grad():
        model.output.bias[END] = 1e9
    tokens, score, alpha = decode(model, images(), 5)
    assert tokens.tolist() == [[END], [END]]
    assert (score == 0).all()
    assert alpha is None or alpha.shape == (2, 1, 3)


def test_normalising_favours_longer_captions():
    model, batch = show_attend_tell(Tokens(8)), images(40)
    mean = [(beam_search(model, batch, 8, 5, n).tokens != PAD).double().sum(1).mean() for n in (0, 1)]
    assert mean[1] > mean[0] + 0.3


def test_a_search_stops_when_nothing_can_become_better():
    """An end of probability 0.9 after the first word: no other caption can be likelier, nor worth a step."""
    model, steps = show_attend_tell(Tokens(5)), []
    with torch.no_grad():
        model.output.weight.zero_()
        model.output.bias[:] = torch.tensor([0, 0, 18.0, 1.0, 1.0]).log()  # 0.9, 0.05, 0.05
    model.query.register_forward_hook(lambda *_: steps.append(1))
    assert beam_search(model, images(), 30).tokens.tolist() == [[END]] * 2
    assert len(steps) == 1
    # By the mean over words a caption of 30 words could still be better: -2.996 / 30 > log 0.9 = -0.105.
    beam_search(model, images(), 30, normalise=1)
    assert len(steps) > 2


def test_of_two_equally_good_captions_the_first_to_end_is_kept():
    model = show_attend_tell(Tokens(6))
    with torch.no_grad():
        model.output.weight.zero_()
        model.output.bias.zero_()  # four words of probability 1/4: the mean per word is that of every caption
    assert beam_search(model, images(), 2, beams=20, normalise=1).tokens.tolist() == [[END]] * 2


def test_near_zero_temperature_is_greedy():
    for make in MODELS.values():
        model, batch = make(Tokens(9)), images(20)
        cold, best = sample(model, batch, 6, 1e-6), greedy(model, batch, 6)
        assert torch.equal(cold.tokens, best.tokens)
        close(cold.score, best.score)


def test_any_temperature_near_zero_is_greedy():
    model, batch = show_attend_tell().float(), {"regions": torch.randn(4, 3, 3)}
    assert torch.equal(sample(model, batch, 6, 1e-42).tokens, greedy(model, batch, 6).tokens)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
def test_words_are_sampled_as_often_as_they_are_likely(temperature):
    """20,000 draws of one word out of four: Pearson's χ² with 3 degrees of freedom is below 16.3 in 99.9 %."""
    model, image = show_attend_tell(), images(1)
    with torch.no_grad():
        model.output.weight.mul_(0.3)
        model.output.bias.mul_(0.3)
    p = next_log_p(model.eval(), image, [])[0].exp() ** (1 / temperature)
    p = p / p.sum()
    assert p[END:].min() > 0.001
    n = 20_000
    found = sample(model, {"regions": image["regions"].expand(n, -1, -1)}, 1, temperature).tokens
    count = torch.bincount(found[:, 0], minlength=6).double()
    assert count[:END].sum() == 0
    assert ((count - n * p)[END:].square() / (n * p)[END:]).sum() < 16.3


@every_model
@every_decoder
def test_the_seed_decides_what_is_generated(make, decode):
    model, batch = make(Tokens(9), dropout=0.5), images(8)
    torch.manual_seed(3)
    first = decode(model, batch, 6)
    after = torch.get_rng_state()
    torch.manual_seed(3)
    second = decode(model, batch, 6)
    assert torch.equal(first.tokens, second.tokens)
    assert torch.equal(first.score, second.score)
    third = decode(model, batch, 6)
    assert torch.equal(first.tokens, third.tokens) == (decode is not sample)  # dropout is off in decoding
    assert torch.equal(after, torch.get_rng_state()) == (decode is not sample)


@every_model
@every_decoder
def test_a_model_is_handed_back_as_it_came(make, decode):
    model = make()
    model.encoder = nn.Sequential(nn.Flatten(1), nn.BatchNorm1d(9), nn.Unflatten(1, (3, 3))).double()
    model.train()
    model.encoder[1].eval()
    modes = [module.training for module in model.modules()]
    during = []
    model.output.register_forward_hook(lambda *_: during.append({module.training for module in model.modules()}))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    decode(model, images(), 4)
    assert during[0] == {False}
    assert [module.training for module in model.modules()] == modes
    for broken in ({"regions": torch.full((2, 3, 3), torch.nan).double()}, {"other": torch.zeros(2)}):
        with pytest.raises(ValueError, match="regions"):
            decode(model, broken, 4)
        assert [module.training for module in model.modules()] == modes
    assert torch.is_grad_enabled()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("decode", "says"),
    [
        (lambda m, b: greedy(m, b, 0), "length must be"),
        (lambda m, b: greedy(m, b, 2.0), "length must be"),
        (lambda m, b: sample(m, b, -1), "length must be"),
        (lambda m, b: sample(m, b, 3, 0), "temperature must be above 0"),
        (lambda m, b: sample(m, b, 3, -1.0), "temperature must be above 0"),
        (lambda m, b: sample(m, b, 3, math.nan), "temperature must be above 0"),
        (lambda m, b: sample(m, b, 3, math.inf), "temperature must be above 0"),
        (lambda m, b: beam_search(m, b, 0), "length must be"),
        (lambda m, b: beam_search(m, b, True), "length must be"),
        (lambda m, b: beam_search(m, b, 3, 0), "beams must be"),
        (lambda m, b: beam_search(m, b, 3, 2.5), "beams must be"),
        (lambda m, b: beam_search(m, b, 3, 2, -0.1), "normalise must be from 0 to 2"),
        (lambda m, b: beam_search(m, b, 3, 2, math.nan), "normalise must be from 0 to 2"),
        (lambda m, b: beam_candidates(m, b, 0), "beam_candidates: length must be"),
        (lambda m, b: beam_candidates(m, b, 3, 0), "beam_candidates: beams must be"),
        (lambda m, b: beam_candidates(m, b, 3, 2, 3), "beam_candidates: normalise must be"),
    ],
)
def test_bad_settings_of_decoding_are_refused(decode, says):
    with pytest.raises(ValueError, match=says):
        decode(show_attend_tell(), images())


# --------------------------------------------------------------------------------------- padding and order


@every_model
def test_padding_order_and_references_change_nothing(make):
    model, batch = make(doubly_stochastic=0.5).eval() if make is not show_and_tell else make(), with_captions()
    loss = model.loss(batch)["loss"]
    grad = gradient(loss, model)

    def same(changed):
        other = model.loss(changed)["loss"]
        close(other, loss)
        close(gradient(other, model), grad, 1e-11)

    same({name: value.flip(0) for name, value in batch.items()})
    same({**batch, "caption": batch["caption"].flip(1)})
    same({**batch, "caption": torch.cat([batch["caption"], torch.zeros(2, 2, 5).long()], 2)})
    same({**batch, "caption": batch["caption"][:, :, :5]})
    same({"regions": batch["regions"].repeat_interleave(2, 0), "caption": batch["caption"].flatten(0, 1)})
    one_each = [model.loss({**batch, "caption": batch["caption"][:, r]})["loss"] for r in range(2)]
    close(sum(one_each) / 2, loss)
    alone = [model.loss({**batch, "caption": batch["caption"][:, r : r + 1]})["loss"] for r in range(2)]
    close(alone[0], one_each[0])
    close(alone[1], one_each[1])


@every_model
def test_images_do_not_influence_each_other_and_padding_is_not_trained(make):
    model, batch = make().eval(), with_captions()
    batch["regions"].requires_grad_()
    logits = model(batch).logits
    (grad,) = torch.autograd.grad(logits[0].square().sum(), batch["regions"], retain_graph=True)
    assert (grad[0] != 0).any()
    assert (grad[1] == 0).all()
    logits.square().sum().backward()  # even where the padding was read
    assert (model.embedding.weight.grad[PAD] == 0).all()
    assert (model.embedding.weight.grad[[START, 3, 4, 5]] != 0).any(1).all()


@every_model
def test_every_parameter_gets_a_gradient(make):
    model, batch = make(), {**images(16), "caption": torch.tensor([[1, 5, 3, 4, 2]] * 16)}
    model.loss(batch)["loss"].backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        if name != "score.bias":  # the softmax does not feel it
            assert (p.grad != 0).any(), name


@every_model
def test_other_numbers_for_the_special_words(make):
    """The vocabulary renumbered: the same model in every respect."""
    model, batch = make().eval(), with_captions()
    other = make(Tokens(6, pad=5, start=3, end=0)).eval()
    new = torch.tensor([5, 3, 0, 1, 4, 2])  # the old word i is the new word new[i]
    state = model.state_dict()
    for name in ("embedding.weight", "output.weight", "output.bias"):
        state[name] = torch.empty_like(state[name]).index_copy(0, new, state[name])
    other.load_state_dict(state)
    close(other.loss({**batch, "caption": new[batch["caption"]]})["loss"], model.loss(batch)["loss"])
    for decode in (greedy, beam_search):
        a, b = decode(model, batch, 6), decode(other, batch, 6)
        assert torch.equal(new[a.tokens], b.tokens)
        close(a.score, b.score)
    other({**batch, "caption": new[batch["caption"]]}).logits.square().sum().backward()
    assert (other.embedding.weight.grad[5] == 0).all()


# ------------------------------------------------------------------------------------------------ word vectors


@pytest.mark.parametrize("make", [show_and_tell, show_attend_tell])
def test_word_vectors_are_taken_over_and_kept_when_frozen(make):
    vectors = torch.randn(6, 4).double()
    cls = ShowAndTell if make is show_and_tell else ShowAttendTell
    for freeze in (False, True):
        model = cls(
            nn.Identity(), 3, Tokens(6), image="regions", embed=4, vectors=vectors, freeze_vectors=freeze
        ).double()
        assert torch.equal(model.embedding.weight, vectors.float().double())
        assert torch.equal(vectors, vectors.clone())
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        model.loss(with_captions())["loss"].backward()
        optimizer.step()
        changed = (model.embedding.weight != vectors.float().double()).any(1)
        assert changed.tolist() == ([False] * 6 if freeze else [False, True, False, True, True, True])
    for shape in ((6, 5), (5, 4), (6,), (4, 6)):
        with pytest.raises(ValueError, match=r"vectors must be \(size, embed\) = \(6, 4\)"):
            cls(nn.Identity(), 3, Tokens(6), embed=4, vectors=torch.zeros(shape))


# --------------------------------------------------------------------------------------------------- bad input


BAD_BATCHES = [
    ({"caption": None}, ValueError, "no 'caption', only regions"),
    ({"caption": torch.zeros(2, 3)}, TypeError, r"must be int64 .*, got torch.float32 \(2, 3\)"),
    ({"caption": torch.ones(2, 3).int()}, TypeError, r"must be int64 .*, got torch.int32 \(2, 3\); .*\.long\(\)"),
    (
        {"caption": np.array([[1, 5, 2]] * 2)},
        TypeError,
        "must be int64 .*, got ndarray; make it one with torch.as_tensor",
    ),
    ({"regions": torch.zeros(2, 3, 3)}, TypeError, r"'regions' is torch.float32 .*, the parameters are torch.float64"),
    ({"caption": torch.ones(2).long()}, ValueError, r"must be \(B, T\) or \(B, R, T\) with B = 2, got \(2,\)"),
    ({"caption": torch.ones(2, 1, 1, 3).long()}, ValueError, r"got \(2, 1, 1, 3\)"),
    ({"caption": torch.tensor([[1, 5, 2]])}, ValueError, r"B = 2, got \(1, 3\)"),
    ({"caption": torch.tensor([[1, 5, 2]] * 3)}, ValueError, r"B = 2, got \(3, 3\)"),
    ({"caption": torch.zeros(2, 0).long()}, ValueError, r"got \(2, 0\)"),
    ({"caption": torch.zeros(2, 0, 3).long()}, ValueError, r"got \(2, 0, 3\)"),
    ({"caption": torch.tensor([[1, 6, 2], [1, 5, 2]])}, ValueError, "not among the 6 known, in example 0"),
    ({"caption": torch.tensor([[1, 5, 2], [1, -1, 2]])}, ValueError, "not among the 6 known, in example 1"),
    ({"caption": torch.tensor([[1, 5, 2], [5, 5, 2]])}, ValueError, "not begin with the start, 1, in example 1"),
    (
        {"caption": torch.tensor([[1, 5, 2], [0, 1, 2]])},
        ValueError,
        "not begin .* example 1; padding stands at the end",
    ),
    (
        {"caption": torch.tensor([[1, 5, 3], [1, 4, 0]])},
        ValueError,
        "no 'caption' of the batch has the end, 2, after its",
    ),
    ({"caption": torch.tensor([[1, 5, 2, 0], [1, 5, 0, 2]])}, ValueError, "goes on after padding .*, in example 1"),
    ({"caption": torch.tensor([[1, 5, 2, 5], [1, 5, 2, 0]])}, ValueError, "or after its end, in example 0"),
    ({"caption": torch.tensor([[1, 5, 2], [1, 2, 0]])}, ValueError, "is empty, in example 1"),
    ({"caption": torch.tensor([[1, 5, 2], [1, 0, 0]])}, ValueError, "is empty"),
    ({"caption": torch.tensor([[1], [1]])}, ValueError, "is empty"),
    ({"caption": torch.tensor([[[1, 5, 2], [1, 2, 0]]] * 2)}, ValueError, "is empty, in example 0"),
    ({"caption_present": torch.tensor([True, False])}, ValueError, "caption is missing; leave the examples"),
    ({"regions_present": torch.tensor([True, False])}, ValueError, "every modality is missing in example 1"),
    ({"regions_present": torch.ones(2)}, ValueError, r"'regions_present' must be bool \(2,\)"),
    (
        {"regions": torch.tensor([0, torch.nan]).view(2, 1, 1).expand(2, 3, 3).double()},
        ValueError,
        "'regions' holds NaN or infinite values, first in example 1",
    ),
    ({"regions": torch.full((2, 3, 3), torch.inf).double()}, ValueError, "NaN or infinite"),
    ({"regions": torch.zeros(2, 3, 4).double()}, ValueError, r"\(B, L, 3\) with B = 2, got \(2, 3, 4\)"),
    ({"regions": torch.zeros(2, 3, 3, 3).double()}, ValueError, r"got \(2, 3, 3, 3\)"),
    ({"regions": torch.zeros(2, 0, 3).double()}, ValueError, r"got \(2, 0, 3\)"),
    ({"regions": None, "region": torch.zeros(2, 3, 3)}, ValueError, "no 'regions' but 'region'; .*misspelt"),
]


@every_model
@pytest.mark.parametrize(("change", "error", "says"), BAD_BATCHES)
def test_bad_batches_are_refused_before_anything_changes(make, change, error, says):
    model, batch = make(), {**images(), "caption": torch.tensor([[1, 5, 2], [1, 3, 2]])}
    model.loss(batch)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rng = torch.get_rng_state()
    with pytest.raises(error, match=says):
        model.loss({name: value for name, value in {**batch, **change}.items() if value is not None})
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(rng, torch.get_rng_state())


@every_model
def test_a_missing_image_is_named(make):
    model = make()
    for decode in DECODERS.values():
        with pytest.raises(ValueError, match="no 'regions' but 'scene'"):
            decode(model, {"scene": torch.zeros(2, 3, 3)}, 4)
        with pytest.raises(ValueError, match=r"at least one, got \{'regions': 0\}"):
            decode(model, {"regions": torch.zeros(0, 3, 3).double()}, 4)


@every_model
def test_a_missing_image_is_named_in_training(make):
    with pytest.raises(ValueError, match=r"none of the modalities \('regions',\), only \('caption',\)"):
        make().loss({"caption": torch.tensor([[1, 5, 2]])})


@every_model
def test_images_of_another_float_type_are_named_in_decoding_too(make):
    for decode in [*DECODERS.values(), beam_candidates]:
        with pytest.raises(
            TypeError, match=r"'regions' is torch.float64 .*, the parameters are torch.float32.*\.float"
        ):
            decode(make().float(), images(), 4)


@every_model
def test_some_captions_may_be_cut_off_and_check_batch_says_what_loss_says(make):
    model, batch = make(), {**images(), "caption": torch.tensor([[1, 5, 3], [1, 4, 2]])}
    model.check_batch(batch)
    assert model.loss(batch)["loss"].isfinite()
    without = {**batch, "caption": torch.tensor([[1, 5, 3], [1, 4, 3]])}
    for says in (model.check_batch, model.loss):
        with pytest.raises(ValueError, match="no 'caption' of the batch has the end"):
            says(without)
    assert model(without).logits.shape == (2, 1, 2, 6)  # how likely the beginning of a caption is has a meaning


def test_captions_in_a_list_are_refused():
    with pytest.raises(TypeError, match=r"'caption' must be int64 .*, got list"):
        show_attend_tell().loss({**images(), "caption": [[1, 5, 2], [1, 3, 2]]})


def test_attention_needs_regions():
    for work in (lambda m, b: m.loss(b), lambda m, b: greedy(m, b, 4)):
        with pytest.raises(
            ValueError, match=r"the image encoder must give regions \(B, L, 3\) with B = 2, got \(2, 3\)"
        ):
            work(show_attend_tell(), {"regions": torch.zeros(2, 3).double(), "caption": torch.tensor([[1, 5, 2]] * 2)})


@every_model
def test_an_encoder_must_give_as_many_as_there_are_images(make):
    class First(nn.Module):
        def forward(self, x):
            return x[:1]

    model = make()
    model.encoder = First()
    with pytest.raises(ValueError, match=r"with B = 2, got \(1, 3, 3\)"):
        model.loss({**images(), "caption": torch.tensor([[1, 5, 2]] * 2)})


@every_model
@every_decoder
def test_an_encoding_that_is_not_finite_is_refused_in_decoding(make, decode):
    class Root(nn.Module):
        def forward(self, x):
            return x.sqrt()

    model = make()
    model.encoder = Root()
    with pytest.raises(ValueError, match="'the encoding of regions' holds NaN"):
        decode(model, {"regions": -torch.ones(2, 3, 3).double()}, 4)


@pytest.mark.parametrize("cls", [ShowAndTell, ShowAttendTell])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"dim": 0}, "dim must be a whole number ≥ 1, got 0"),
        ({"dim": 2.0}, "dim must be"),
        ({"dim": True}, "dim must be"),
        ({"tokens": Tokens(-3)}, "tokens.size must be a whole number"),
        ({"tokens": Tokens(6.0)}, "tokens.size must be"),
        ({"embed": 0}, "embed must be"),
        ({"hidden": 0}, "hidden must be"),
        ({"hidden": None}, "hidden must be"),
        ({"tokens": Tokens(2)}, "three of 2 tokens, got 0, 1, 2"),
        ({"tokens": Tokens(6, pad=1)}, "pad, start and end must be three of 6 tokens, got 1, 1, 2"),
        ({"tokens": Tokens(6, end=1)}, "three of 6 tokens"),
        ({"tokens": Tokens(6, end=0)}, "three of 6 tokens"),
        ({"tokens": Tokens(6, start=6)}, "three of 6 tokens"),
        ({"tokens": Tokens(6, pad=-1)}, "tokens must be a whole number ≥ 0, got -1"),
        ({"dropout": 1.5}, "dropout must be finite and from 0 to 1"),
        ({"freeze_vectors": True}, "freeze_vectors needs vectors"),
    ],
)
def test_bad_settings_are_refused(cls, change, says):
    with pytest.raises(ValueError, match=says):
        cls(nn.Identity(), **{"dim": 3, "tokens": Tokens(6), **change})


@pytest.mark.parametrize("cls", [ShowAndTell, ShowAttendTell])
def test_a_size_alone_does_not_say_what_the_tokens_are(cls):
    with pytest.raises(TypeError, match=r"tokens must be Tokens\(size, pad, start, end\), got int; Tokens\(6\)"):
        cls(nn.Identity(), 3, 6)
    with pytest.raises(TypeError, match=r"got Vocabulary; Tokens\(len\(vocabulary\)\) has the numbers"):
        cls(nn.Identity(), 3, Vocabulary(["a"]))


@pytest.mark.parametrize("cls", [ShowAndTell, ShowAttendTell])
def test_a_whole_model_can_be_copied_and_stored(cls, tmp_path):
    attention = {} if cls is ShowAndTell else {"attention": HardAttention()}
    model = cls(nn.Linear(3, 3), 3, Tokens(6), image="regions", **attention).double()
    torch.save(model, tmp_path / "model.pt")
    batch = images()
    wanted = beam_search(model, batch, 5)
    for other in (copy.deepcopy(model), torch.load(tmp_path / "model.pt", weights_only=False)):
        found = beam_search(other, batch, 5)
        assert torch.equal(found.tokens, wanted.tokens)
        assert torch.equal(found.score, wanted.score)


@pytest.mark.parametrize("cls", [ShowAndTell, ShowAttendTell])
def test_any_whole_number_is_a_size(cls):
    numbers = np.array([3, 4, 5, 6])
    model = cls(nn.Identity(), numbers[0], Tokens(numbers[3]), image="regions", embed=numbers[1], hidden=numbers[2])
    assert {type(number) for number in (model.dim, model.lstm.input_size, model.lstm.hidden_size)} == {int}
    assert model.double().loss(with_captions())["loss"].isfinite()


@pytest.mark.parametrize("attention", ["other", "hard", nn.Identity()])
def test_attention_is_a_module_of_its_kind(attention):
    with pytest.raises(TypeError, match=r"attention must be SoftAttention\(\) or HardAttention\(\), got"):
        ShowAttendTell(nn.Identity(), 3, Tokens(6), attention=attention)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"doubly_stochastic": -0.1}, "doubly_stochastic must be finite and at least 0, got -0.1"),
        ({"doubly_stochastic": math.nan}, "doubly_stochastic must be"),
        ({"attend": 0}, "attend must be"),
        ({"attend": -1}, "attend must be"),
        ({"tau": math.nan}, "tau must be"),
        ({"tau": -1.0}, "tau must be"),
    ],
)
def test_bad_settings_of_attention_are_refused(change, says):
    with pytest.raises(ValueError, match=f"ShowAttendTell: {says}"):
        ShowAttendTell(nn.Identity(), 3, Tokens(6), **change)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"reinforce": -1.0}, "reinforce must be finite and at least 0, got -1.0"),
        ({"entropy": -1.0}, "entropy must be"),
        ({"entropy": math.inf}, "entropy must be"),
        ({"expectation": 1.1}, "expectation must be finite and from 0 to 1, got 1.1"),
        ({"decay": -0.1}, "decay must be finite and from 0 to 1"),
    ],
)
def test_bad_settings_of_hard_attention_are_refused(change, says):
    with pytest.raises(ValueError, match=f"HardAttention: {says}"):
        HardAttention(**change)


def test_a_captioner_without_a_way_to_generate_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        Captioner(
            nn.Identity(), 3, Tokens(6), image="regions", embed=4, dropout=0.0, vectors=None, freeze_vectors=False
        )


# ---------------------------------------------------------------------------------------------------- training


def scenes(n=24):
    """Images whose brightest region names the word; captions of two words and the end."""
    regions = torch.randn(n, 3, 3, dtype=torch.float64)
    word = 3 + regions[:, :, 0].argmax(1)
    one = torch.ones(n).long()
    return MultimodalDataset({"regions": regions, "caption": torch.stack([one, word, word, 2 * one, 0 * one], 1)})


@every_model
def test_fit_trains_and_resumes_exactly(make, tmp_path, fit_device):
    data, options = scenes(), {"lr": 0.02, "batch_size": 4, "progress": False}

    def new():
        torch.manual_seed(5)
        return make(dropout=0.1)

    whole, parts, path = new(), new(), tmp_path / "run"
    history = fit(whole, data, data, epochs=2, **options)
    assert history.train["loss"][1] < history.train["loss"][0]
    assert history.valid["words"][1] < history.valid["words"][0]
    fit(parts, data, data, epochs=1, checkpoint=path, **options)
    again = shaken(new())  # what is resumed does not depend on what one starts with
    fit(again, data, data, epochs=2, checkpoint=path, resume="must", **options)
    ours, theirs = again.state_dict(), whole.state_dict()
    if fit_device != "cuda":  # which does not promise the same bits
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    if "attention.reward_weight" in theirs:
        assert theirs["attention.reward_weight"].item() == pytest.approx(
            1 - 0.9**12, abs=1e-12
        )  # 2 epochs of 6 batches


@every_model
def test_a_captioner_learns_its_captions(make):
    """Each of six images has its own caption; greedy decoding then generates it."""
    model, data = (
        make(Tokens(9), hidden=16)
        if make is not show_and_tell
        else ShowAndTell(nn.Identity(), 3, Tokens(9), image="regions", embed=4, hidden=16).double(),
        images(6),
    )
    captions = torch.tensor([[1, 3, 4, 2, 0], [1, 4, 3, 2, 0], [1, 5, 2, 0, 0], [1, 6, 7, 8, 2], [1, 7, 2, 0, 0],
                             [1, 8, 8, 8, 2]])  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), 0.03)
    for _ in range(150):
        optimizer.zero_grad()
        model.loss({**data, "caption": captions})["loss"].backward()
        optimizer.step()
    assert torch.equal(greedy(model, data, 6).tokens, captions[:, 1:])
    assert torch.equal(beam_search(model, data, 6).tokens, captions[:, 1:])
