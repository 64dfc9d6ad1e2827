"""The MFN, the MFM with its ablations and its surrogate against their equations, written as loops; float64."""

import copy
import io
import itertools
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence

from mmtutor.mfm import (
    MFM,
    MFN,
    ORIGINAL,
    VARIANTS,
    Factor,
    FromModality,
    LSTMDecoder,
    LSTMEncoder,
    Surrogate,
    VariationalFactor,
    absolute_error,
    cross_entropy,
    hsic,
    mmd,
    saliency,
    sensitivity,
    sequence_mfm,
    squared_error,
)

FEATURES = {"words": 3, "voice": 2}
HIDDEN, STEPS, CLASSES = {"words": 3, "voice": 2}, 4, 3
Z, LATENTS = {"label": 3, "words": 2, "voice": 4}, {"label": 3, "words": 2, "voice": 4, "style": 6}
F = {"label": 4, "words": 5, "voice": 3}
# From which latent codes do the label and the modalities come? From the paper's figure, not from the program.
DECODED_FROM = {
    "M_A": {"label": {"words", "voice"}},
    "M_B": {"label": {"label"}},
    "M_C": {"label": {"words", "voice"}, "words": {"words"}, "voice": {"voice"}},
    "M_D": {"label": {"label"}, "words": {"label"}, "voice": {"label"}},
    "M_E": {"label": {"label"}, "words": {"label", "style"}, "voice": {"label", "style"}},
    "MFM": {"label": {"label"}, "words": {"label", "words"}, "voice": {"label", "voice"}},
}
every_variant = pytest.mark.parametrize("variant", DECODED_FROM)
every_generator = pytest.mark.parametrize("variant", ["M_D", "M_E", "MFM"])
every_factor = pytest.mark.parametrize("factor", [Factor, VariationalFactor])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def shaken(model, size=0.6):
    """Larger weights than at birth, or gates would be all but half open and attention all but even."""
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, size)
    return model


def model_of(variant="MFM", **options):
    options = {"hidden": HIDDEN, "memory": 3, "attend": 4, "z": Z, "f": F, **options}
    model = shaken(sequence_mfm(FEATURES, STEPS, CLASSES, variant, **options).double())
    with torch.no_grad():
        for part in model.parts.values():  # or a factor of few numbers could be 0 for every example
            part.to_factor[0].bias.abs_()
            part.to_factor[3].bias.abs_()
        model.classifier[0].bias.abs_()
    return model


def sequences(b=5, steps=STEPS):
    batch = {modality: torch.randn(b, steps, d, dtype=torch.float64) for modality, d in FEATURES.items()}
    return {**batch, "label": torch.arange(b) % CLASSES}


def masked(b=5):
    """Lengths of all kinds; the voice of the second example and the words of the last one are absent."""
    batch = {**sequences(b), "length": torch.tensor([4, 1, 2, 3, 4])}
    batch["voice_present"] = torch.tensor([True, False, True, True, True])
    batch["words_present"] = torch.tensor([True, True, True, True, False])
    for modality in FEATURES:
        batch[modality] = batch[modality] * batch[f"{modality}_present"][:, None, None]
    return batch


def rows(batch, index):
    return {name: x[index] for name, x in batch.items()}


def close(a, b, tolerance=1e-11):
    assert a.shape == b.shape
    assert (a - b).abs().max() < tolerance


def gradient(loss, model):
    """All of the model's gradient, one after the other; a parameter that is not used raises an error."""
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])


def without_gradient(model, loss):
    """Names of the parameters that a loss does not change."""
    model.zero_grad()
    loss.backward()
    return [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]


# ------------------------------------------------------------------------------------------ the equations, naively


def linear(layer, x):
    return layer.weight @ x + layer.bias


def cell(lstm, x, h, c):
    w_ih, w_hh, b_ih, b_hh = list(lstm.parameters())
    i, f, g, o = (w_ih @ x + b_ih + w_hh @ h + b_hh).chunk(4)
    c = c / (1 + (-f).exp()) + g.tanh() / (1 + (-i).exp())
    return c.tanh() / (1 + (-o).exp()), c


def network(net, x):
    """Two layers with a ReLU between."""
    first, last = [layer for layer in net if isinstance(layer, nn.Linear)]
    return linear(last, linear(first, x).clamp_min(0))


def softmax(x):
    e = [v.exp() for v in x]
    return torch.stack([v / sum(e) for v in e])


def mfn_alone(model, modalities):
    """The MFN's output for one example, (T, d) of each modality, step by step."""
    h = {s: torch.zeros(lstm.hidden_size).double() for s, lstm in model.lstms.items()}
    c = dict(h)
    u = torch.zeros(model.keep.out_features).double()
    for t in range(len(next(iter(modalities.values())))):
        before = list(c.values())
        for s, lstm in model.lstms.items():
            h[s], c[s] = cell(lstm, modalities[s][t], h[s], c[s])
        both = torch.cat([*before, *c.values()])
        attended = softmax(network(model.attention, both)) * both
        inner = linear(model.gates, torch.cat([attended, u])).clamp_min(0)
        half = len(inner) // 2
        keep, write = linear(model.keep, inner[:half]), linear(model.write, inner[half:])
        u = u / (1 + (-keep).exp()) + network(model.propose, attended).tanh() / (1 + (-write).exp())
    return torch.cat([*h.values(), u])


def lstm_alone(lstm, xs):
    """All hidden states of an `nn.LSTM` for one example."""
    h = c = torch.zeros(lstm.hidden_size).double()
    hs = []
    for x in xs:
        h, c = cell(lstm, x, h, c)
        hs.append(h)
    return hs


def decoded(decoder, factors):
    """A sequence from the factors of one example; what the LSTM generates first is the last step."""
    return torch.stack([linear(decoder.output, h) for h in lstm_alone(decoder.lstm, [factors] * decoder.steps)][::-1])


def encoded(encoder, batch, i):
    """What the encoder gives for the real steps of example i alone."""
    real = int(batch["length"][i]) if "length" in batch else STEPS
    modalities = {s: batch[s][i, STEPS - real :] for s in FEATURES}
    if isinstance(encoder, MFN):
        return mfn_alone(encoder, modalities)
    return lstm_alone(encoder.lstm, modalities[encoder.modality])[-1]


def kernel_mean(z, other, h, skip):
    """The mean of k over all pairs, in loops."""
    pairs = [(i, j) for i in range(len(z)) for j in range(len(other)) if not (skip and i == j)]
    return sum((-((z[i] - other[j]) ** 2).sum() / (2 * h)).exp() for i, j in pairs) / len(pairs)


def mmd_by_loops(z):
    n, d = z.shape
    to_prior = sum((-(x**2).sum() / (2 * (d + 1))).exp() for x in z) / n * math.sqrt(d / (d + 1)) ** d
    return kernel_mean(z, z, d, True) - 2 * to_prior + math.sqrt(d / (d + 2)) ** d


def kl_by_formula(means, log_stds):
    return sum((m**2 + (2 * s).exp() - 1 - 2 * s).sum() / 2 for m, s in zip(means, log_stds, strict=True)) / len(means)


def terms_by_hand(model, variant, batch, factor):
    """Equation 4 of a model in evaluation, example by example; label by cross-entropy, modalities by squared error."""
    b = len(batch["label"])
    labels, errors, penalties = [], {s: [] for s in DECODED_FROM[variant] if s != "label"}, {}
    factors = [{} for _ in range(b)]
    for name, part in model.parts.items():
        given = [linear(part.to_latent, encoded(part.encoder, batch, i)) for i in range(b)]
        latents = torch.stack([x[: LATENTS[name]] for x in given])
        there = [name == "label" or bool(batch.get(f"{name}_present", torch.ones(b))[i]) for i in range(b)]
        z, log_std = latents[there], [x[LATENTS[name] :] for x, t in zip(given, there, strict=True) if t]
        penalties[name] = mmd_by_loops(z) if factor is Factor else kl_by_formula(z, log_std)
        for i in range(b):
            factors[i][name] = network(part.to_factor, latents[i]).clamp_min(0)
    order = ["label", "style", *FEATURES]
    for i in range(b):
        inputs = {
            output: torch.cat([factors[i][n] for n in order if n in names])
            for output, names in DECODED_FROM[variant].items()
        }
        labels.append(-softmax(network(model.classifier, inputs["label"]))[batch["label"][i]].log())
        real = int(batch["length"][i]) if "length" in batch else STEPS
        for s in errors:
            if f"{s}_present" not in batch or batch[f"{s}_present"][i]:
                x_hat = decoded(model.decoders[s], inputs[s])
                wrong = [(x_hat[t] - batch[s][i, t]) ** 2 for t in range(STEPS - real, STEPS)]
                errors[s].append(sum(sum(w) for w in wrong) / (real * FEATURES[s]))
    terms = {"label": sum(labels) / b, **{s: sum(e) / len(e) for s, e in errors.items()}}
    return {**terms, "prior": sum(penalties.values())}


# ------------------------------------------------------------------------------------------------- MFN and LSTMs


def mfn(**options):
    return shaken(MFN(FEATURES, HIDDEN, memory=3, attend=4, **options).double(), 1.0)


@pytest.mark.parametrize(("b", "steps"), [(3, 5), (1, 4), (3, 1), (1, 1)])
def test_the_mfn_against_a_loop_over_examples_steps_and_modalities(b, steps):
    model, batch = mfn(), sequences(b, steps)
    out = model(batch)
    naive = torch.stack([mfn_alone(model, {s: batch[s][i] for s in FEATURES}) for i in range(b)])
    close(out, naive)
    assert model.size == out.shape[1] == 3 + 2 + 3
    weight = torch.randn_like(out)
    close(gradient((out * weight).sum(), model), gradient((naive * weight).sum(), model))


def test_each_sequence_of_an_mfn_is_read_as_if_it_were_alone():
    model, batch = mfn(), {**sequences(4), "length": torch.tensor([4, 1, 3, 2])}
    out = model(batch)
    naive = torch.stack([encoded(model, batch, i) for i in range(4)])
    close(out, naive)
    weight = torch.randn_like(out)
    close(gradient((out * weight).sum(), model), gradient((naive * weight).sum(), model))
    for i, n in enumerate([4, 1, 3, 2]):
        close(out[i : i + 1], model({s: batch[s][i : i + 1, 4 - n :] for s in FEATURES}))
    junk = {**batch, "words": batch["words"].clone()}
    junk["words"][1, :3], junk["words"][3, :2] = 50.0, -50.0
    close(model(junk), out)


def test_each_prefix_of_a_sequence_gives_the_output_and_the_gradient_of_the_steps_one_by_one():
    model, batch = mfn(), sequences(3, 6)
    weight = torch.randn(3, model.size).double()
    for steps in range(1, 7):
        prefix = {s: batch[s][:, :steps] for s in FEATURES}
        padded = {s: torch.cat([torch.zeros_like(batch[s][:, steps:]), x], 1) for s, x in prefix.items()}
        naive = torch.stack([mfn_alone(model, {s: x[i] for s, x in prefix.items()}) for i in range(3)])
        wanted = gradient((naive * weight).sum(), model)
        for out in (model(prefix), model({**padded, "length": torch.full((3,), steps)})):
            close(out, naive, 1e-12)
            close(gradient((out * weight).sum(), model), wanted, 1e-11)


def test_an_mfn_that_reads_padding_reads_zeros():
    model, batch = mfn(skip_padding=False), {**sequences(3), "length": torch.tensor([4, 2, 1])}
    for s in FEATURES:
        batch[s][1, :2] = batch[s][2, :3] = 0
    naive = torch.stack([mfn_alone(model, {s: batch[s][i] for s in FEATURES}) for i in range(3)])
    close(model(batch), naive)
    skips = mfn()
    skips.load_state_dict(model.state_dict())
    assert ((skips(batch) - naive).abs().max(1).values > 0.01).tolist() == [False, True, True]


@pytest.mark.parametrize("skip_padding", [True, False])
def test_permuting_a_batch_permutes_the_output_and_a_missing_modality_is_not_read(skip_padding):
    model, batch = mfn(skip_padding=skip_padding), masked()
    order = [3, 0, 4, 2, 1]
    out = model(batch)
    close(model(rows(batch, order)), out[order])
    junk = {**batch, "voice": batch["voice"].clone()}
    junk["voice"][1] = 9.0
    close(model(junk), out)
    junk["voice"][2] = 9.0
    assert ((model(junk) - out).abs().max(1).values > 1e-6).tolist() == [False, False, True, False, False]


def test_dropout_of_an_mfn_acts_in_training_in_all_its_networks():
    model, batch = mfn(dropout=0.5), sequences(5)
    with torch.no_grad():
        for layer in (model.attention[0], model.propose[0], model.gates):
            layer.bias.abs_()  # no unit is off for good
    assert not torch.equal(model(batch), model(batch))
    model.eval()
    naive = torch.stack([mfn_alone(model, {s: batch[s][i] for s in FEATURES}) for i in range(5)])
    close(model(batch), naive)
    model.train()
    dropouts = [m for m in model.modules() if isinstance(m, nn.Dropout)]
    assert len(dropouts) == 3
    for one in dropouts:
        model.eval()
        one.train()
        assert max((model(batch) - naive).abs().max() for _ in range(10)) > 1e-6


def test_an_lstm_encoder_against_a_loop_and_padding_at_the_left_changes_nothing():
    model = shaken(LSTMEncoder("words", 3, 4).double(), 1.0)
    batch = {**sequences(3), "length": torch.tensor([4, 2, 1])}
    naive = torch.stack([encoded(model, batch, i) for i in range(3)])
    out = model(batch)
    close(out, naive)
    close(gradient(out.square().sum(), model), gradient(naive.square().sum(), model))
    longer = {"words": torch.cat([torch.full((3, 6, 3), 7.0).double(), batch["words"]], 1), "length": batch["length"]}
    close(model(longer), out)
    del batch["length"]
    close(model(batch), torch.stack([lstm_alone(model.lstm, x)[-1] for x in batch["words"]]))


def test_an_lstm_decoder_against_a_loop_generates_the_last_step_first():
    model, factors = shaken(LSTMDecoder(3, 2, 5, 4).double(), 1.0), torch.randn(3, 3).double()
    out, naive = model(factors), torch.stack([decoded(model, x) for x in factors])
    close(out, naive)
    close(gradient(out.square().sum(), model), gradient(naive.square().sum(), model))
    zero = torch.zeros(4).double()
    close(out[1, -1], linear(model.output, cell(model.lstm, factors[1], zero, zero)[0]))
    model.steps = 2  # a shorter sequence is the end of a longer one
    close(model(factors), out[:, 3:])


# ------------------------------------------------------------------------------------- comparisons with the prior


def normal(n, d):
    return torch.randn(n, d, dtype=torch.float64)


@pytest.mark.parametrize("width", [None, 0.7, 9.0])
def test_mmd_against_a_loop_and_samples_of_the_prior(width):
    z, prior = 0.8 * normal(6, 3) + 0.3, normal(40_000, 3)
    h = 3 if width is None else width
    between = (-torch.cdist(z, prior).square() / (2 * h)).exp()
    among_prior = (-(prior[:20_000] - prior[20_000:]).square().sum(1) / (2 * h)).exp()
    by_chance = kernel_mean(z, z, h, True) - 2 * between.mean() + among_prior.mean()
    assert mmd(z, width).item() == pytest.approx(by_chance.item(), abs=0.01)
    if width is None:
        close(mmd(z), mmd_by_loops(z))
    assert torch.autograd.gradcheck(lambda x: mmd(x, width), z.requires_grad_())


@pytest.mark.parametrize("there", [0, 1, 2, 5])
def test_mmd_of_codes_that_count_is_that_of_these_alone(there):
    z, counted = normal(7, 3), torch.arange(7) < there
    close(mmd(z, counted=counted), mmd(z[counted]) if there > 1 else torch.tensor(0.0, dtype=torch.float64))


@pytest.mark.parametrize(("kind", "joint"), [(Factor, False), (VariationalFactor, False), (Factor, True)])
def test_the_style_of_a_missing_modality_has_no_penalty(kind, joint):
    styles = {m: kind(FromModality(m, nn.Identity()), 3, 2, 4) for m in ("a", "b")}
    label = kind(FromModality("a", nn.Identity()), 3, 2, 4)
    model = MFM(2, label, styles, {m: nn.Linear(8, 3) for m in styles}, prior=1.0, joint=joint).double().eval()
    batch, there = {m: normal(8, 3) for m in styles} | {"label": torch.arange(8) % 2}, torch.arange(8) < 5
    found = model.loss(batch | {"b_present": there})["prior"]
    z, q = (
        dict(zip(model.parts, x, strict=True))
        for x in zip(*(p.infer(batch) for p in model.parts.values()), strict=True)
    )
    if joint:
        close(found, mmd(torch.cat([*z.values()], 1)[there]))
    else:
        close(
            found, sum(part.penalty(q[name][there] if name == "b" else q[name]) for name, part in model.parts.items())
        )


@pytest.mark.parametrize(("mean", "std", "n"), [(0.0, 1.0, 2), (0.7, 0.5, 2), (0.7, 0.5, 7), (0.0, 2.0, 4)])
def test_the_mean_of_mmd_over_batches_is_its_closed_form_for_normal_codes(mean, std, n):
    """z − z' ~ N(0, 2s²I) and z − p ~ N(m, (1 + s²)I), and E exp(−‖N(m, vI)‖²/2h) is known."""
    d, h = 3, 3.0
    k = lambda m2, v: (h / (h + v)) ** (d / 2) * math.exp(-m2 / (2 * (h + v)))  # noqa: E731
    truth = k(0, 2 * std**2) - 2 * k(d * mean**2, 1 + std**2) + k(0, 2)
    estimates = torch.stack([mmd(mean + std * normal(n, d)) for _ in range(3000)])
    error = estimates.std().item() / math.sqrt(3000)
    assert estimates.mean().item() == pytest.approx(truth, abs=4 * error)
    assert error < 0.01  # an estimator with the diagonal is off by 1/n of 1 − E k, at least 0.07
    assert truth == pytest.approx(0, abs=1e-12) if (mean, std) == (0, 1) else truth > 0.05


@pytest.mark.parametrize("d", [2, 8, 64])
def test_mmd_punishes_a_collapse_far_more_than_a_true_sample(d):
    collapse = mmd(torch.zeros(32, d).double())
    true = torch.stack([mmd(normal(32, d)) for _ in range(50)])
    assert collapse > 0.1
    assert true.abs().max() < collapse / 3
    assert true.abs().mean() < collapse / 10


def test_with_too_wide_a_kernel_a_collapse_goes_unpunished():
    """The released code's kernel: a collapse scores better than a finite sample of the prior itself."""
    d, n = 64, 32
    collapse = mmd(torch.zeros(n, d).double(), width=d * d)
    assert 0 < collapse < 1e-3 * mmd(torch.zeros(n, d).double())
    z = normal(n, d)
    with_diagonal = mmd(z, d * d) + (1 - kernel_mean(z, z, d * d, True)) / n  # as the released code estimates it
    assert collapse < with_diagonal


def test_the_gradient_of_mmd_pushes_latent_codes_out_of_a_collapse():
    for d in (2, 8, 64):
        z = (1e-4 * normal(32, d)).requires_grad_()
        mmd(z).backward()
        outward = -(z.grad * (z - z.mean(0))).sum(1)
        assert (outward > 0).all()
        far = (5 * normal(32, d)).requires_grad_()
        mmd(far).backward()
        assert -(far.grad * far).sum() < 0  # and back to the prior from too far


@pytest.mark.parametrize("bad", [torch.zeros(1, 3), torch.zeros(4), torch.zeros(0, 3), torch.zeros(2, 3, 4)])
def test_mmd_needs_two_latent_codes(bad):
    with pytest.raises(ValueError, match="at least two latent codes"):
        mmd(bad)


@pytest.mark.parametrize("width", [0, -1.0, math.nan, math.inf])
def test_mmd_needs_a_width(width):
    with pytest.raises(ValueError, match="width"):
        mmd(torch.zeros(3, 2), width)


def encoder_of(modality="words", size=3):
    return FromModality(modality, nn.Sequential(nn.Flatten(), nn.Linear(STEPS * FEATURES[modality], size)))


def test_the_kl_penalty_against_its_formula_and_torch():
    factor = shaken(VariationalFactor(encoder_of(), 3, z=2, f=4).double())
    batch = sequences()
    _, q = factor.infer(batch)
    means, log_stds = (factor.encoder(batch) @ factor.to_latent.weight.T + factor.to_latent.bias).split(2, 1)
    penalty = factor.penalty(q)
    close(penalty, kl_by_formula(means, log_stds))
    prior = MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
    each = [
        kl_divergence(MultivariateNormal(m, (2 * s).exp().diag()), prior) for m, s in zip(means, log_stds, strict=True)
    ]
    close(penalty, sum(each) / 5)


def test_with_kl_training_draws_and_evaluation_takes_the_mean():
    factor, batch = shaken(VariationalFactor(encoder_of(), 3, z=2, f=4).double()), sequences(3)
    means, log_stds = (factor.encoder(batch) @ factor.to_latent.weight.T + factor.to_latent.bias).split(2, 1)
    drawn = torch.stack([factor.infer(batch)[0] for _ in range(4000)]).detach()
    assert ((drawn.mean(0) - means).abs() < 4 * log_stds.exp() / math.sqrt(4000)).all()
    assert (drawn.std(0) / log_stds.exp() - 1).abs().max() < 0.06
    z, _ = factor.infer(batch)
    assert factor.to_latent.weight.grad is None
    z.square().sum().backward()
    assert factor.to_latent.weight.grad.abs().min() > 0  # those of the standard deviations too
    factor.eval()
    close(factor.infer(batch)[0], means)


# ----------------------------------------------------------------------------------------------------------- HSIC


def test_hsic_against_its_definition_as_a_sum_over_all_quadruples():
    a, b = normal(6, 2), normal(6, 3)
    b[:, 0] += a[:, 0]
    n, kernels = 6, []
    for x in (a, b):
        distance = [[sum((p - q) ** 2 for p, q in zip(r, s, strict=True)).item() for s in x] for r in x]
        apart = sorted(distance[i][j] for i, j in itertools.combinations(range(n), 2))
        kernels.append([[math.exp(-v / (2 * apart[len(apart) // 2])) for v in row] for row in distance])
    k, m = kernels
    every = range(n)
    both = sum(k[i][j] * m[i][j] for i, j in itertools.product(every, every))
    chain = sum(k[i][j] * m[i][q] for i, j, q in itertools.product(every, every, every))
    apart = sum(k[i][j] * m[q][r] for i, j, q, r in itertools.product(every, every, every, every))
    naive = (both - 2 * chain / n + apart / n**2) / (n - 1) ** 2
    assert hsic(a, b).item() == pytest.approx(naive, abs=1e-12)
    close(hsic(a, b), hsic(b, a))
    order = torch.randperm(6)
    close(hsic(a[order], b[order]), hsic(a, b))
    close(hsic(a.view(6, 2, 1), 1000 * b), hsic(a, b))  # rows of any shape, and the median takes the unit away


def test_hsic_is_small_for_independence_and_large_for_a_dependence_without_correlation():
    a, noise = normal(300, 1), normal(300, 1)
    assert hsic(a, noise) < hsic(a, a**2) / 10
    assert hsic(a, noise) < hsic(a, a + 0.3 * noise) / 20
    close(hsic(torch.full((300, 2), 0.1).double(), noise), torch.zeros(()).double(), 1e-10)


def test_hsic_needs_as_many_rows_of_both():
    for a, b in [(normal(3, 2), normal(4, 2)), (normal(1, 2), normal(1, 2))]:
        with pytest.raises(ValueError, match="as many rows of both"):
            hsic(a, b)


# ----------------------------------------------------------------------------------- which factor goes where, costs


@every_variant
def test_each_latent_code_acts_on_what_the_table_says_and_on_nothing_else(variant):
    model, batch = model_of(variant), sequences(8)
    latents = model.infer(batch)
    assert {name: z.shape for name, z in latents.items()} == {name: (8, LATENTS[name]) for name in latents}
    assert set(latents) == set.union(*DECODED_FROM[variant].values())
    output = model.generate(latents)
    assert set(output) == set(DECODED_FROM[variant])
    for name in latents:
        other = model.generate({**latents, name: latents[name] + normal(8, LATENTS[name])})
        changed = {n for n in output if not torch.equal(other[n], output[n])}
        assert changed == {n for n, names in DECODED_FROM[variant].items() if name in names}
    close(model(batch), output["label"])


@every_variant
def test_each_latent_code_is_inferred_from_what_the_table_says(variant):
    model, batch = model_of(variant), sequences(8)
    latents = model.infer(batch)
    for modality in FEATURES:
        other = model.infer({**batch, modality: batch[modality] + 1})
        changed = {n for n in latents if not torch.equal(other[n], latents[n])}
        assert changed == {n for n in latents if n in ("label", "style", modality)}
    other = model.infer({**batch, "label": 2 - batch["label"]})
    assert all(torch.equal(other[n], latents[n]) for n in latents)


@every_variant
def test_latent_codes_and_label_example_by_example(variant):
    model, batch = model_of(variant, dropout=0.3).eval(), masked()
    latents, scores = model.infer(batch), model(batch)
    for i in range(5):
        z = {name: linear(part.to_latent, encoded(part.encoder, batch, i)) for name, part in model.parts.items()}
        f = {name: network(part.to_factor, z[name]).clamp_min(0) for name, part in model.parts.items()}
        for name in z:
            close(latents[name][i], z[name], 1e-13)
        reads = [f[n] for n in ("label", *FEATURES) if n in DECODED_FROM[variant]["label"]]
        close(scores[i], network(model.classifier, torch.cat(reads)), 1e-13)


@every_variant
@every_factor
@pytest.mark.parametrize("make", [sequences, masked], ids=["whole", "masked"])
def test_the_loss_is_equation_4_example_by_example(variant, factor, make):
    generates = len(DECODED_FROM[variant]) > 1
    weights = {"words": 0.7, "voice": 1.9}
    model = model_of(variant, factor=factor, weights=weights, prior=0.4, dropout=0.3).eval()
    batch = make()
    terms, hand = model.loss(batch), terms_by_hand(model, variant, batch, factor)
    assert list(terms) == ["loss", *hand]
    for name, term in hand.items():
        close(terms[name], term, 1e-10)
    total = hand["label"] + 0.4 * hand["prior"] + (0.7 * hand["words"] + 1.9 * hand["voice"] if generates else 0)
    close(terms["loss"], total, 1e-10)
    close(gradient(terms["loss"], model), gradient(total, model), 1e-9)


@every_variant
def test_the_joint_penalty_is_that_of_all_latent_codes_side_by_side(variant):
    model, batch = model_of(variant, joint=True, prior=0.4), sequences(8)
    terms, latents = model.loss(batch), model.infer(batch)
    close(terms["prior"], mmd_by_loops(torch.cat(list(latents.values()), 1)), 1e-10)
    costs = [terms[name] for name in DECODED_FROM[variant]]
    close(terms["loss"], sum(costs) + 0.4 * terms["prior"], 1e-10)


def test_only_the_joint_penalty_sees_that_latent_codes_depend_on_each_other():
    def cost(joint, alike):
        nets = {name: nn.Sequential(nn.Flatten()) for name in ("words", "voice")}
        factors = {name: Factor(FromModality(name, net), 3, z=3, f=2) for name, net in nets.items()}
        model = MFM(2, None, factors, None, joint=joint).double()
        for factor in factors.values():
            factor.to_latent.weight.data, factor.to_latent.bias.data = torch.eye(3).double(), torch.zeros(3).double()
        x = torch.randn(2, 2000, 3).double()
        batch = {"words": x[0], "voice": x[0] if alike else x[1], "label": torch.zeros(2000, dtype=torch.int64)}
        return model.loss(batch)["prior"].item()

    assert cost(joint=True, alike=True) > 20 * abs(cost(joint=True, alike=False))
    assert abs(cost(joint=False, alike=True)) < 0.002


@every_variant
@every_factor
@pytest.mark.parametrize("sizes", ["by name", "alike"])
def test_gradients_reach_every_parameter(variant, factor, sizes):
    same = {"hidden": 4, "z": 3, "f": 5}
    model = model_of(variant, factor=factor, **(same if sizes == "alike" else {}))
    if factor is VariationalFactor and len(DECODED_FROM[variant]) == 1:
        assert model.prior == 0
    assert without_gradient(model, model.loss(sequences(16))["loss"]) == []


def test_the_sizes_of_the_released_code_and_their_number_of_parameters():
    features, steps = {"language": 300, "acoustic": 5, "visual": 20}, 20
    model = sequence_mfm(features, steps, 1, label_cost=absolute_error, **ORIGINAL)
    lstm = lambda d, h: 4 * h * (d + h) + 8 * h  # noqa: E731
    layer = lambda d, h: d * h + h  # noqa: E731
    two = lambda d, inner, out: layer(d, inner) + layer(inner, out)  # noqa: E731
    total = 88 + 64 + 48
    count = lstm(300, 88) + lstm(5, 64) + lstm(20, 48)
    count += two(2 * total, 128, 2 * total) + two(2 * total, 128, 64) + 2 * two(2 * total + 64, 128, 64)
    count += layer(total + 64, 32) + two(32, 16, 16)
    for d, z, f in [(300, 32, 88), (5, 8, 8), (20, 80, 8)]:
        count += lstm(d, z) + layer(z, z) + two(z, f, f) + lstm(16 + f, 16 + f) + layer(16 + f, d)
    count += two(16, 16, 1)
    assert sum(p.numel() for p in model.parameters()) == count == 700_694
    assert model.weights == {"label": 1, "language": 1, "acoustic": 0.01, "visual": 0.5}
    assert model.prior == 1
    batch = {modality: torch.randn(8, steps, d) for modality, d in features.items()}
    terms = model.loss({**batch, "label": torch.randn(8)})
    assert without_gradient(model, terms["loss"]) == []
    for variant in VARIANTS:
        model = sequence_mfm(features, steps, 1, variant, label_cost=squared_error, **ORIGINAL)
        assert without_gradient(model, model.loss({**batch, "label": torch.randn(8)})["loss"]) == []


def test_without_a_prior_the_penalty_is_not_computed():
    model, batch = model_of(prior=0.0), sequences(1)
    terms = model.loss(batch)  # one example, of which the penalty could not be computed
    assert list(terms) == ["loss", "label", "words", "voice"]
    close(terms["loss"], terms["label"] + terms["words"] + terms["voice"])
    for variant in ("M_A", "M_B"):
        assert list(model_of(variant).loss(batch)) == ["loss", "label"]
        assert list(model_of(variant, prior=0.1).loss(sequences(3))) == ["loss", "label", "prior"]
    with pytest.raises(ValueError, match="at least two latent codes"):
        model_of().loss(batch)
    assert model_of(factor=VariationalFactor).loss(batch)["prior"].isfinite()


def test_a_last_batch_that_is_smaller_counts_by_its_examples():
    model, batch = (
        model_of(factor=VariationalFactor).eval(),
        {**sequences(7), "length": torch.tensor([4, 1, 2, 3, 4, 2, 1])},
    )
    whole, parts = model.loss(batch), [model.loss(rows(batch, index)) for index in (slice(0, 5), slice(5, 7))]
    for name, term in whole.items():
        close(term, (5 * parts[0][name] + 2 * parts[1][name]) / 7)


def picture_model(**options):
    """A picture (B, 2, 3), and a tag (B, 2), a sequence of two steps of four classes."""
    see = nn.Sequential(nn.Flatten(), nn.Linear(6, 5))
    paint = nn.Sequential(nn.Linear(7, 6), nn.Unflatten(1, (2, 3)))
    tag = nn.Sequential(nn.Linear(7, 8), nn.Unflatten(1, (2, 4)))
    tag.steps = 2
    options = {"costs": {"tag": cross_entropy}, "prior": 0.0, **options}
    style = {name: Factor(FromModality("picture", nn.Flatten()), 6, 2, 3) for name in ("picture", "tag")}
    label = Factor(FromModality("picture", see), 5, 3, 4)
    return shaken(MFM(options.pop("classes", 3), label, style, {"picture": paint, "tag": tag}, **options).double())


def pictures(b=4):
    return {
        "picture": torch.randn(b, 2, 3).double(),
        "tag": torch.randint(4, (b, 2)),
        "label": torch.arange(b) % 3,
    }


def test_each_cost_by_hand():
    batch = pictures()
    batch["picture_present"] = torch.tensor([True, False, True, True])
    batch["tag_present"] = torch.tensor([False, True, True, False])
    for cost, power in ((squared_error, 2), (absolute_error, 1)):
        model = picture_model(costs={"picture": cost, "tag": cross_entropy}, weights={"tag": 0.3}, label_weight=2.5)
        output, terms = model.generate(model.infer(batch)), model.loss(batch)
        wrong = [
            sum(
                (output["picture"][i, r, c] - batch["picture"][i, r, c]).abs() ** power
                for r in range(2)
                for c in range(3)
            )
            / 6
            for i in (0, 2, 3)
        ]
        tags = [-softmax(output["tag"][i, k])[batch["tag"][i, k]].log() for i in (1, 2) for k in range(2)]
        labels = [-softmax(output["label"][i])[batch["label"][i]].log() for i in range(4)]
        close(terms["picture"], sum(wrong) / 3)
        close(terms["tag"], sum(tags) / 4)
        close(terms["label"], sum(labels) / 4)
        close(terms["loss"], sum(wrong) / 3 + 0.3 * sum(tags) / 4 + 2.5 * sum(labels) / 4)


@pytest.mark.parametrize(("cost", "power"), [(squared_error, 2), (absolute_error, 1)])
def test_a_label_that_is_a_number(cost, power):
    model = picture_model(classes=1, label_cost=cost)
    batch = {**pictures(), "label": torch.randn(4).double()}
    wrong = [(model(batch)[i, 0] - batch["label"][i]).abs() ** power for i in range(4)]
    close(model.loss(batch)["label"], sum(wrong) / 4)
    close(model.loss({**batch, "label": batch["label"].unsqueeze(1)})["label"], sum(wrong) / 4)
    some = {**batch, "label_present": torch.tensor([True, False, False, True])}
    close(model.loss(some)["label"], (wrong[0] + wrong[3]) / 2)


def test_a_label_that_is_not_known_for_all_examples_counts_where_it_is():
    model, batch = model_of(), {**sequences(4), "label_present": torch.tensor([True, False, True, False])}
    close(model.loss(batch)["label"], model.loss(rows(sequences_like(batch), [0, 2]))["label"])
    assert model.loss({**batch, "label_present": torch.zeros(4, dtype=torch.bool)})["label"] == 0


def test_what_stands_for_an_unknown_label_is_not_read_and_its_example_still_trains_the_rest():
    model, batch = model_of(), {**sequences(4), "label_present": torch.tensor([True, False, True, False])}
    any_label = {**batch, "label": torch.tensor([0, -7, 2, 99])}
    for name, term in model.loss(batch).items():
        close(model.loss(any_label)[name], term)
    other = {**batch, "words": batch["words"].clone()}
    other["words"][1] += 1  # of an example without a label
    changed = {name for name, term in model.loss(other).items() if not torch.equal(term, model.loss(batch)[name])}
    assert changed == {"loss", "words", "voice", "prior"}


def sequences_like(batch):
    return {name: x for name, x in batch.items() if not name.endswith("_present")}


def test_a_modality_that_is_nowhere_in_a_batch_costs_nothing_and_gives_no_nan():
    model, batch = model_of(), {**sequences(4), "voice_present": torch.zeros(4, dtype=torch.bool)}
    terms = model.loss(batch)
    assert terms["voice"] == 0
    terms["loss"].backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_padding_at_the_front_does_not_change_what_a_sequence_costs():
    """Ten steps of which four are real cost as much as those four: read and generated as if alone."""
    short = model_of()
    long = sequence_mfm(FEATURES, 10, CLASSES, hidden=HIDDEN, memory=3, attend=4, z=Z, f=F).double()
    long.load_state_dict(short.state_dict())
    batch = sequences()
    padded = {s: torch.cat([torch.full((5, 6, d), 3.0).double(), batch[s]], 1) for s, d in FEATURES.items()}
    terms = long.loss({**padded, "label": batch["label"], "length": torch.full((5,), 4)})
    for name, term in short.loss(batch).items():
        close(terms[name], term)


def test_training_makes_each_part_of_the_loss_smaller():
    model = sequence_mfm(FEATURES, STEPS, CLASSES, hidden=8, memory=8, attend=8, z=6, f=8).double()
    batch = sequences(12)
    optimizer = torch.optim.Adam(model.parameters(), 0.04)
    first = model.loss(batch)
    for _ in range(30):
        optimizer.zero_grad()
        terms = model.loss(batch)
        terms["loss"].backward()
        optimizer.step()
    assert all(terms[name] < 0.8 * first[name] for name in first)


# ------------------------------------------------------------------------------------------ swapping and sampling


def test_latent_codes_of_two_examples_may_be_put_together():
    model, batch = model_of(), sequences(6)
    latents = model.infer(batch)
    a, b = [0, 1, 2], [5, 3, 4]
    output = model.generate({"label": latents["label"][a], "words": latents["words"][b], "voice": latents["voice"][a]})
    plain = model.generate(latents)
    close(output["label"], plain["label"][a])
    close(output["voice"], plain["voice"][a])
    for i in range(3):
        fy = network(model.parts["label"].to_factor, latents["label"][a[i]]).clamp_min(0)
        fa = network(model.parts["words"].to_factor, latents["words"][b[i]]).clamp_min(0)
        close(output["words"][i], decoded(model.decoders["words"], torch.cat([fy, fa])))
    assert (output["words"] - plain["words"][a]).abs().max() > 0.01
    assert (output["words"] - plain["words"][b]).abs().max() > 0.01


@every_variant
def test_latent_codes_from_the_prior_are_standard_normal_and_independent(variant):
    model = model_of(variant)
    latents = model.sample(4000)
    assert {name: z.shape[1] for name, z in latents.items()} == {name: LATENTS[name] for name in latents}
    assert set(latents) == set.union(*DECODED_FROM[variant].values())
    z = torch.cat(list(latents.values()), 1)
    assert z.dtype == torch.float64
    assert z.mean(0).abs().max() < 0.08
    assert (z.T @ z / 4000 - torch.eye(z.shape[1])).abs().max() < 0.12
    assert set(model.generate(model.sample(2))) == set(DECODED_FROM[variant])
    again = model.sample(4000)
    torch.manual_seed(3)
    one = model.sample(2)
    torch.manual_seed(3)
    assert all(torch.equal(one[n], z) for n, z in model.sample(2).items())
    assert not any(torch.equal(again[n], latents[n]) for n in latents)


@every_factor
def test_inference_is_deterministic_in_evaluation(factor):
    model, batch = model_of(factor=factor, dropout=0.5), sequences()
    assert not torch.equal(model.infer(batch)["label"], model.infer(batch)["label"])
    model.eval()
    first, second = model.infer(batch), model.infer(batch)
    assert all(torch.equal(first[n], second[n]) for n in first)
    assert torch.equal(model(batch), model(batch))
    assert torch.equal(model.loss(batch)["loss"], model.loss(batch)["loss"])


def test_dropout_is_in_every_small_network():
    model = model_of(dropout=0.25)
    rates = [m.p for m in model.modules() if isinstance(m, nn.Dropout)]
    assert rates == [0.25] * (3 + 3 + 1)  # MFN, three G, D


# ------------------------------------------------------------------------------------------------------ surrogate


def surrogate_of(model, missing="voice"):
    left = next(s for s in FEATURES if s != missing)
    return shaken(Surrogate(model, missing, MFN({left: FEATURES[left]}, 4, memory=3, attend=4), 7).double())


def by_surrogate(surrogate, batch, name):
    """The latent code of one name, by Φ, by hand."""
    left = next(s for s in FEATURES if s != surrogate.missing)
    h = torch.stack([mfn_alone(surrogate.encoder, {left: x}) for x in batch[left]])
    return h @ surrogate.heads[name].weight.T + surrogate.heads[name].bias


INFERRED = {"M_A": {"voice"}, "M_C": {"voice"}, "M_D": {"label"}, "M_E": {"label", "style"}, "MFM": {"label", "voice"}}


@pytest.mark.parametrize("variant", INFERRED)
@every_factor
def test_the_surrogate_learns_the_latent_codes_of_the_whole_and_the_model_learns_nothing(variant, factor):
    model, batch = model_of(variant, factor=factor, dropout=0.5), sequences()
    surrogate = surrogate_of(model)
    assert set(surrogate.inferred) == set(surrogate.heads) == INFERRED[variant]
    own = {id(p) for p in surrogate.parameters()}
    assert not own & {id(p) for p in model.parameters()}
    target = {n: z.detach() for n, z in model.eval().infer(batch).items()}
    before = {n: x.clone() for n, x in model.state_dict().items()}
    for training in (True, False):
        model.train(training)
        terms = surrogate.loss(batch)
        assert model.training is training
        assert list(terms) == ["loss", *surrogate.inferred]
        total = 0
        for name in INFERRED[variant]:
            wrong = sum(((by_surrogate(surrogate, batch, name)[i] - target[name][i]) ** 2).sum() for i in range(5)) / 5
            close(terms[name], wrong)
            total = total + wrong
        close(terms["loss"], total)
    close(gradient(terms["loss"], surrogate), gradient(total, surrogate), 1e-9)
    optimizer = torch.optim.Adam(surrogate.parameters(), 0.1)
    for _ in range(12):
        optimizer.zero_grad()
        surrogate.loss(batch)["loss"].backward()
        optimizer.step()
    assert surrogate.loss(batch)["loss"] < 0.7 * total
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(x, before[n]) for n, x in model.state_dict().items())


@pytest.mark.parametrize("variant", INFERRED)
def test_the_surrogate_takes_the_other_styles_from_the_model_and_never_reads_the_missing_modality(variant):
    model, batch = model_of(variant, dropout=0.5).eval(), sequences()
    surrogate = surrogate_of(model)
    whole = model.infer(batch)
    absent = {name: x for name, x in batch.items() if name != "voice"}
    for given in (
        batch,
        absent,
        {**batch, "voice": torch.full_like(batch["voice"], math.nan)},
        {**absent, "voice_present": torch.zeros(5, dtype=torch.bool)},
    ):
        latents = surrogate.infer(given)
        assert set(latents) == set(whole)
        for name, z in latents.items():
            close(z, by_surrogate(surrogate, batch, name) if name in INFERRED[variant] else whole[name])
        output = model.generate(latents)
        assert set(surrogate.generate(given)) == set(output) == set(DECODED_FROM[variant])
        for name, x in surrogate.generate(given).items():
            close(x, output[name])
        close(surrogate(given), output["label"])


def test_a_surrogate_passes_the_length_on():
    model, batch = model_of().eval(), {**sequences(3), "length": torch.tensor([4, 2, 1])}
    surrogate = surrogate_of(model, "words")
    junk = {**batch, "voice": batch["voice"].clone()}
    junk["voice"][1, :2] = 9.0
    one, other = surrogate.infer(batch), surrogate.infer(junk)
    assert set(one) == {"label", "words", "voice"}
    assert all(torch.equal(one[n], other[n]) for n in one)


def test_the_encoder_of_a_surrogate_is_not_even_given_the_missing_modality_and_its_mask():
    class LastStep(nn.Module):
        def forward(self, batch):
            self.given = set(batch)
            return batch["words"][:, -1]

    surrogate = Surrogate(model_of(), "voice", LastStep(), 3).double()
    for call in (surrogate.latents, surrogate.loss, surrogate.infer):
        call(rows(masked(), slice(0, 4)))  # the last example has voice alone
        assert surrogate.encoder.given == {"words", "words_present", "label", "length"}


def test_a_surrogate_of_a_modality_that_the_model_does_not_know():
    for variant, missing in [("MFM", "odour"), ("M_B", "voice"), ("M_C", "voices")]:
        with pytest.raises(ValueError, match=f"knows no '{missing}'"):
            Surrogate(model_of(variant), missing, nn.Identity(), 3)


# ------------------------------------------------------------------------------------------------- interpretation


@every_generator
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("training", [True, False])
def test_sensitivity_against_jacobians_and_finite_differences(variant, dtype, training):
    model, batch = model_of(variant), sequences(3)
    model = model.to(dtype).train(training)
    batch = {n: x.to(dtype) if x.is_floating_point() else x for n, x in batch.items()}
    latents = model.infer(batch)
    before = {n: x.clone() for n, x in model.state_dict().items()}
    sizes = {"M_D": [], "M_E": ["style"], "MFM": ["words"]}[variant]
    raw, product = sensitivity(model, latents, "words"), sensitivity(model, latents, "words", times_input=True)
    assert raw.dtype == product.dtype == torch.float64
    assert not raw.requires_grad
    assert model.training is model.decoders["words"].training is training
    assert all(torch.equal(x, before[n]) and x.dtype == dtype for n, x in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())

    model.double().eval()
    factors = {n: x.detach() for n, x in model.factors({n: z.double() for n, z in latents.items()}).items()}
    decoder = model.decoders["words"]
    for i in range(3):
        fy, rest = factors["label"][i], [factors[n][i] for n in sizes]
        decode = lambda x, rest=rest: decoded(decoder, torch.cat([x, *rest]))  # noqa: E731
        jacobian = torch.autograd.functional.jacobian(decode, fy)
        close(raw[i], jacobian.square().sum((1, 2)).sqrt())
        close(product[i], (jacobian @ fy).norm(dim=1))
        e = 1e-6
        columns = [(decode(fy + e * d) - decode(fy - e * d)) / (2 * e) for d in torch.eye(4).double()]
        close(raw[i], torch.stack(columns, 2).square().sum((1, 2)).sqrt(), 1e-7)
        close(product[i], ((decode((1 + e) * fy) - decode((1 - e) * fy)) / (2 * e)).norm(dim=1), 1e-7)
    assert raw.shape == product.shape == (3, STEPS)
    assert (raw > 1e-3).all()


@pytest.mark.parametrize(
    ("variant", "modality"), [("M_A", "words"), ("M_B", "words"), ("M_C", "words"), ("MFM", "odour")]
)
def test_sensitivity_needs_a_modality_that_is_reconstructed_from_the_label_factor(variant, modality):
    model = model_of(variant)
    with pytest.raises(ValueError, match=f"does not reconstruct '{modality}' from F_y"):
        sensitivity(model, model.infer(sequences()), modality)


@pytest.mark.parametrize("training", [True, False])
def test_saliency_against_finite_differences_of_each_example_alone(training):
    model, batch = model_of("MFM", dropout=0.3), sequences(3)
    model.train(training)
    before = {n: x.clone() for n, x in model.state_dict().items()}
    raw, product = saliency(model, batch, "words"), saliency(model, batch, "words", times_input=True)
    assert model.training is training
    assert all(torch.equal(x, before[n]) for n, x in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not batch["words"].requires_grad
    model.eval()
    for i in range(3):
        one = {n: x[[i]] for n, x in batch.items()}
        with torch.no_grad():
            best = model(one).argmax()
            log_p = lambda x, one=one, best=best: model({**one, "words": x}).log_softmax(1)[0, best]  # noqa: E731
            gradient = torch.zeros_like(one["words"][0])
            for t, d in itertools.product(*map(range, gradient.shape)):
                change = torch.zeros_like(one["words"])
                change[0, t, d] = 1e-6
                gradient[t, d] = (log_p(one["words"] + change) - log_p(one["words"] - change)) / 2e-6
        close(raw[i], gradient.norm(dim=1), 1e-7)
        close(product[i], (gradient * one["words"][0]).sum(1).abs(), 1e-7)
    assert raw.max() > 1e-3


def test_saliency_of_padding_is_zero():
    model, batch = model_of("M_A"), {**sequences(3), "length": torch.tensor([1, 2, STEPS])}
    gradient = saliency(model, batch, "words")
    for i, n in enumerate((1, 2, STEPS)):
        assert (gradient[i, : STEPS - n] == 0).all()
        assert (gradient[i, STEPS - n :] > 0).all()


# ------------------------------------------------------------------------------------------------------ bad input


def spoilt(name, value):
    batch = sequences()
    if value is None:
        del batch[name]
    else:
        batch[name] = value
    return batch


def with_one_bad(value):
    x = sequences()["voice"]
    x[2, 1, 0] = value
    return x


BAD_BATCHES = {
    "NaN": (
        lambda: spoilt("voice", with_one_bad(math.nan)),
        "'voice' holds NaN or infinite values, first in example 2",
    ),
    "infinite": (lambda: spoilt("voice", with_one_bad(-math.inf)), "'voice' holds NaN or infinite.* example 2"),
    "features": (lambda: spoilt("voice", torch.zeros(5, 4, 3).double()), r"'voice' must be \(B, T, 2\)"),
    "dimensions": (lambda: spoilt("words", torch.zeros(5, 3).double()), r"'words' must be \(B, T, 3\)"),
    "no step": (lambda: spoilt("words", torch.zeros(5, 0, 3).double()), r"'words' must be \(B, T, 3\)"),
    "steps": (lambda: spoilt("voice", torch.zeros(5, 3, 2).double()), "as many steps.*'voice'"),
    "length 0": (lambda: spoilt("length", torch.tensor([4, 0, 2, 3, 4])), "'length'.*1 to 4"),
    "length below 0": (lambda: spoilt("length", torch.tensor([4, -1, 2, 3, 4])), "'length'.*1 to 4"),
    "length above T": (lambda: spoilt("length", torch.tensor([4, 5, 2, 3, 4])), "'length'.*1 to 4"),
    "length of floats": (lambda: spoilt("length", torch.tensor([4.0, 1, 2, 3, 4])), "'length' must be int64"),
    "length of int32": (lambda: spoilt("length", torch.tensor([4, 1, 2, 3, 4]).int()), "'length' must be int64"),
    "length shape": (lambda: spoilt("length", torch.ones(5, 1).long()), r"'length' must be int64 \(5,\)"),
    "too few lengths": (lambda: spoilt("length", torch.ones(4).long()), r"'length' must be int64 \(5,\)"),
    "no modality": (lambda: spoilt("voice", None), "no 'voice', only words, label"),
    "no first modality": (lambda: spoilt("words", None), "no 'words', only voice, label"),
    "nothing there": (
        lambda: {**masked(), "voice_present": torch.tensor([True, False, True, True, False])},
        "every modality is missing in example 4; leave it out",
    ),
}
STATE = [pytest.param(*x, id=name) for name, x in BAD_BATCHES.items()]


@pytest.mark.parametrize(("make", "message"), STATE)
@pytest.mark.parametrize("variant", ["MFM", "M_D"])
def test_a_bad_batch_is_refused_with_its_name(make, message, variant):
    model = model_of(variant)
    for call in (model.loss, model.infer, model):
        with pytest.raises(ValueError, match=message):
            call(make())


def test_what_the_loss_and_the_latent_codes_need():
    model, batch = model_of(), sequences()
    with pytest.raises(ValueError, match="MFM: the batch has no 'label'"):
        model.loss({n: x for n, x in batch.items() if n != "label"})
    latents = model.infer(batch)
    with pytest.raises(ValueError, match="no latent code 'voice', only label, words"):
        model.generate({n: z for n, z in latents.items() if n != "voice"})
    with pytest.raises(ValueError, match="FromModality: no modality 'odour', only words, voice"):
        FromModality("odour", nn.Identity())(batch)
    with pytest.raises(ValueError, match=r"must give \(B, 4\), got \(5, 3\)"):
        Factor(encoder_of().double(), 4, 2, 2).double().infer(batch)


def mfm_of(label=True, style=("words",), decoders=("words",), **options):
    factor = lambda: Factor(encoder_of(), 3, 2, 2)  # noqa: E731
    styles = {s: factor() for s in style} if isinstance(style, tuple) else factor() if style == "one" else None
    nets = {s: nn.Linear(4, 12) for s in decoders}
    return MFM(3, factor() if label else None, styles, nets, **options)


BAD_MODELS = {
    "cost": (lambda: mfm_of(costs={"words": "squared"}), "cost of 'words' must be a function, got 'squared'"),
    "label cost": (lambda: mfm_of(label_cost="hinge"), "cost of 'label' must be a function, got 'hinge'"),
    "cost without decoder": (lambda: mfm_of(costs={"voice": squared_error}), "'voice' has no decoder"),
    "weight without decoder": (lambda: mfm_of(weights={"voice": 1.0}), "'voice' has no decoder"),
    "negative": (lambda: mfm_of(weights={"words": -1.0}), "weight of 'words'.*-1.0"),
    "NaN": (lambda: mfm_of(weights={"words": math.nan}), "weight of 'words'.*nan"),
    "infinite": (lambda: mfm_of(label_weight=math.inf), "weight of 'label'.*inf"),
    "label weight": (lambda: mfm_of(label_weight=-0.1), "weight of 'label'"),
    "prior": (lambda: mfm_of(prior=math.nan), "weight of 'prior'"),
    "prior below 0": (lambda: mfm_of(prior=-1), "weight of 'prior'"),
    "joint by KL": (lambda: model_of(joint=True, factor=VariationalFactor), "joint needs factors with an MMD"),
    "called label": (lambda: mfm_of(style=("label",), decoders=()), "cannot be called 'label'"),
    "called style": (lambda: mfm_of(style=("style",), decoders=()), "cannot be called 'style'"),
    "no factor of a decoder": (lambda: mfm_of(decoders=("words", "voice")), "'voice' has a decoder but no factor"),
    "no factor": (lambda: mfm_of(label=False, style=None), "needs the label's factor"),
    "empty": (lambda: mfm_of(label=False, style=()), "needs the label's factor"),
    "one style, no label": (lambda: mfm_of(label=False, style="one"), "needs the label's factor"),
    "joint and a weight": (
        lambda: MFM(2, Factor(encoder_of(), 3, 2, 2, weight=2.0), None, None, joint=True),
        "joint needs .*weight 1",
    ),
    "classes": (lambda: sequence_mfm(FEATURES, STEPS, 0), "MFM: classes must be a whole number ≥ 1, got 0"),
    "size of a latent code": (lambda: model_of(z=0), "z of 'words' must be a whole number"),
    "size of a factor": (lambda: Factor(encoder_of(), 3, 2, 0), "Factor: f must be a whole number ≥ 1, got 0"),
    "variational": (lambda: VariationalFactor(encoder_of(), 3, 2.0, 1), "VariationalFactor: z must be a whole"),
    "steps": (lambda: LSTMDecoder(3, 2, 0, 4), "LSTMDecoder: steps must be a whole number ≥ 1, got 0"),
    "hidden of an encoder": (lambda: LSTMEncoder("words", 3, -1), "LSTMEncoder: hidden must be a whole number"),
    "memory": (lambda: MFN(FEATURES, 3, memory=1.5), "MFN: memory must be a whole number ≥ 1, got 1.5"),
    "one hidden size": (lambda: MFN(FEATURES, {"words": 3, "voice": 0}), "MFN: the hidden size of 'voice' must be"),
    "name of an encoder": (lambda: FromModality("length", nn.Flatten()), "cannot be called 'length'"),
    "name of another": (lambda: LSTMEncoder("a_present", 3, 2), "cannot be called 'a_present'"),
    "size of a surrogate": (
        lambda: Surrogate(model_of(), "voice", nn.Identity(), 0),
        "Surrogate: size must be a whole",
    ),
    "no samples": (lambda: model_of().sample(0), "MFM: n must be a whole number ≥ 1, got 0"),
    "variant": (lambda: model_of("M_F"), "variant must be one of M_A, .*MFM, got 'M_F'"),
    "hidden": (lambda: model_of(hidden={"words": 3}), "need as many hidden sizes"),
    "no modality": (lambda: MFN({}), "hidden sizes"),
    "weights": (lambda: model_of(weights={"odour": 1.0}), "'odour' has no decoder"),
}


@pytest.mark.parametrize(("make", "message"), [pytest.param(*x, id=name) for name, x in BAD_MODELS.items()])
def test_a_bad_model_is_refused_with_what_is_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_penalty_of_a_factor_has_its_own_weight():
    batch = pictures()
    for kind in (Factor, VariationalFactor):
        factor = kind(FromModality("picture", nn.Flatten()), 6, 2, 3).double().eval()
        _, q = factor.infer(batch)
        once = factor.penalty(q)
        factor.weight = 2.5
        close(factor.penalty(q), 2.5 * once)
        assert once.abs() > 1e-6
    for weight in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="Factor: the weight must be finite and at least 0"):
            Factor(nn.Flatten(), 6, 2, 3, weight=weight)


# ------------------------------------------------------------------------------------- missing modalities, never read


def with_nan(batch):
    """NaN, or −7 in whole numbers, wherever a mask says that something is missing."""
    spoilt = dict(batch)
    for name, x in batch.items():
        if f"{name}_present" in batch:
            spoilt[name] = x.clone()
            spoilt[name][~batch[f"{name}_present"]] = math.nan if x.is_floating_point() else -7
    return spoilt


class LastStep(nn.Module):
    """An encoder that knows nothing of masks."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 5)

    def forward(self, batch):
        return self.linear(batch["voice"][:, -1])


ENCODERS = {
    "MFN": lambda: MFN(FEATURES, HIDDEN, memory=3, attend=4),
    "MFN, padding": lambda: MFN(FEATURES, HIDDEN, memory=3, attend=4, skip_padding=False),
    "LSTMEncoder": lambda: LSTMEncoder("voice", 2, 4),
    "FromModality": lambda: encoder_of("voice", 4),
    "Surrogate": lambda: Surrogate(model_of(), "words", LSTMEncoder("voice", 2, 4), 4),
}


@pytest.mark.parametrize("make", ENCODERS.values(), ids=ENCODERS)
def test_no_encoder_reads_nan_under_a_mask_and_its_gradient_is_that_of_zeros(make):
    model = shaken(make().double())
    batch = masked()
    if isinstance(model, Surrogate):
        batch = rows(batch, [0, 2, 3, 4])
    inputs = {n: x.clone().requires_grad_() for n, x in with_nan(batch).items() if n in FEATURES}
    out, zeros = model({**batch, **inputs}), model(batch)
    close(out, zeros)
    if not isinstance(model, Surrogate):  # one of its heads plays no part in the label
        close(gradient(out.square().sum(), model), gradient(zeros.square().sum(), model))
    read = [x for n, x in inputs.items() if n in getattr(model, "features", ["voice"])]
    for x in torch.autograd.grad(model({**batch, **inputs}).square().sum(), read):
        name = next(n for n, d in FEATURES.items() if d == x.shape[2])
        assert x.isfinite().all()
        assert (x[~batch[f"{name}_present"]] == 0).all()
        assert x.abs().sum() > 0


@every_variant
@every_factor
def test_the_loss_reads_nothing_under_a_mask_and_its_gradient_is_that_of_zeros(variant, factor):
    model = model_of(variant, factor=factor).eval()
    batch = {**masked(), "label_present": torch.tensor([True, True, True, False, True])}
    terms, zeros = model.loss(with_nan(batch)), model.loss(batch)
    for name, term in terms.items():
        close(term, zeros[name])
    close(gradient(terms["loss"], model), gradient(zeros["loss"], model))
    for name, z in model.infer(with_nan(batch)).items():
        close(z, model.infer(batch)[name])
    close(model(with_nan(batch)), model(batch))


def test_an_encoder_that_knows_nothing_of_masks_is_given_zeros():
    factor = Factor(LastStep(), 5, 2, 3)
    model = MFM(CLASSES, factor, {"voice": factor}, {"voice": LSTMDecoder(6, 2, STEPS, 4)}, prior=0.0).double().eval()
    surrogate = Surrogate(model, "voice", LastStep(), 5).double()
    surrogate.without_missing = lambda batch: batch  # it would read voice, if it could
    batch = {**sequences(), "voice_present": torch.tensor([True, False, True, True, True])}
    zeros = {**batch, "voice": torch.where(batch["voice_present"][:, None, None], batch["voice"], 0)}
    terms = model.loss(with_nan(batch))
    assert (
        torch.cat([g.flatten() for g in torch.autograd.grad(terms["loss"], list(model.parameters()))]).isfinite().all()
    )
    close(terms["loss"], model.loss(zeros)["loss"])
    for call in (model.infer, surrogate.infer, surrogate.latents):
        for name, z in call(with_nan(batch)).items():
            close(z, call(zeros)[name])


def test_a_surrogate_gives_the_encoders_of_the_model_zeros_for_what_is_missing():
    factors = {"words": Factor(encoder_of("words"), 3, 2, 3), "voice": Factor(LastStep(), 5, 2, 3)}
    model = MFM(CLASSES, None, factors, None).double().eval()
    surrogate = Surrogate(model, "words", LSTMEncoder("voice", 2, 4), 4).double()
    batch = {**sequences(), "voice_present": torch.ones(5, dtype=torch.bool)}
    batch["other"], batch["voice_present"][1] = batch["voice"], False
    batch["voice"] = batch["voice"] * batch["voice_present"][:, None, None]
    close(surrogate.infer(with_nan(batch))["voice"], surrogate.infer(batch)["voice"])


@pytest.mark.parametrize("cost", [squared_error, absolute_error])
def test_a_target_of_another_float_type_takes_that_of_the_model(cost):
    model = picture_model(classes=1, label_cost=cost).float()
    batch = {n: x.float() if x.is_floating_point() else x for n, x in pictures().items()}
    label = torch.randn(4).double()
    terms = model.loss({**batch, "label": label})
    assert terms["label"].dtype == terms["loss"].dtype == torch.float32
    close(terms["label"], model.loss({**batch, "label": label.float()})["label"])


def test_a_number_as_label_and_classes_as_modality_are_not_read_under_a_mask():
    model = picture_model(classes=1, label_cost=squared_error)
    batch = {**pictures(4), "label": torch.randn(4).double()}
    for name, there in (("picture", [0, 1, 2]), ("tag", [1, 2, 3]), ("label", [0, 3])):
        batch[f"{name}_present"] = torch.zeros(4, dtype=torch.bool).index_fill(0, torch.tensor(there), True)
    terms = model.loss(with_nan(batch))
    assert gradient(terms["loss"], model).isfinite().all()
    zeros = {n: batch[n].clone() for n in ("picture", "tag", "label")}
    for name, x in zeros.items():
        x[~batch[f"{name}_present"]] = 0
    for name, term in model.loss({**batch, **zeros}).items():
        close(terms[name], term)


def test_the_saliency_of_a_missing_modality_is_zero():
    model, batch = model_of(), masked()
    for times in (False, True):
        gradient = saliency(model, with_nan(batch), "voice", times_input=times)
        close(gradient, saliency(model, batch, "voice", times_input=times))
        assert (gradient[1] == 0).all()
        assert (gradient[0] > 0).any()


def test_a_surrogate_learns_from_examples_with_a_missing_modality():
    model, batch = model_of("MFM"), rows(masked(), [0, 2, 3, 1])
    surrogate = surrogate_of(model)
    terms = surrogate.loss(with_nan(batch))
    close(terms["loss"], surrogate.loss(batch)["loss"])
    assert gradient(terms["loss"], surrogate).isfinite().all()


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("make", ENCODERS.values(), ids=ENCODERS)
def test_nan_where_the_mask_says_that_something_is_there_is_refused(make, value):
    model = make().double()
    there = torch.tensor([True, isinstance(model, Surrogate), True, True, True])
    batch = {**sequences(), "voice_present": there}
    batch["voice"][3, -1, 0] = value
    with pytest.raises(ValueError, match="'voice' holds NaN or infinite values, first in example 3"):
        model(batch)


@pytest.mark.parametrize(
    "mask", [torch.ones(5), torch.ones(4, dtype=torch.bool), torch.ones(5, 1, dtype=torch.bool), 1]
)
@pytest.mark.parametrize("make", [*ENCODERS.values(), model_of], ids=[*ENCODERS, "MFM"])
def test_a_mask_that_is_no_mask_is_refused(make, mask):
    model = make().double()
    with pytest.raises(ValueError, match=r"'voice_present' must be bool \(5,\), got"):
        model({**sequences(), "voice_present": mask})


def test_a_mask_of_the_label_that_is_no_mask_is_refused():
    with pytest.raises(ValueError, match=r"'label_present' must be bool \(5,\), got torch.int64"):
        model_of().loss({**sequences(), "label_present": torch.ones(5, dtype=torch.int64)})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (ENCODERS["MFN"], "MFN: every modality is missing in example 4"),
        (ENCODERS["Surrogate"], "Surrogate: every modality is missing in example 1"),
        (lambda: model_of("M_B"), "MFM: every modality is missing in example 4"),
    ],
    ids=["MFN", "Surrogate", "MFM"],
)
def test_an_example_without_any_modality_is_named(make, message):
    batch = masked() if "Surrogate" in message else spoilt_masks()
    with pytest.raises(ValueError, match=message):
        make().double()(batch)


def spoilt_masks():
    return {**masked(), "voice_present": torch.tensor([True, False, True, True, False])}


# ------------------------------------------------------------------------------------- names, labels and other tensors


def renamed(old, new):
    return {new if name == old else name: x for name, x in sequences().items()}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda b: mfn()(b), "MFN: the batch has no 'voice' but 'voise'; is one of them misspelt"),
        (lambda b: model_of("M_D").loss(b), "MFM: the batch has no 'voice' but 'voise'; is one of them misspelt"),
        (lambda b: model_of("M_D").infer(b), "MFN: the batch has no 'voice' but 'voise'; is one of them misspelt"),
        (lambda b: LSTMEncoder("voice", 2, 3)(b), "LSTMEncoder: no modality 'voice'.*did you mean 'voise'"),
        (lambda b: encoder_of("voice")(b), "FromModality: no modality 'voice'.*did you mean 'voise'"),
        (lambda b: surrogate_of(model_of(), "words")(b), "Surrogate: the batch has no 'voice' but 'voise'"),
        (lambda b: saliency(model_of(), b, "voice"), "saliency: no modality 'voice'.*did you mean 'voise'"),
    ],
)
def test_a_misspelt_modality_is_named(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call(renamed("voice", "voise"))
    assert "words_present" not in str(error.value)


@pytest.mark.parametrize("make", [*ENCODERS.values(), model_of], ids=[*ENCODERS, "MFM"])
def test_a_batch_that_is_no_dict_or_a_modality_that_is_no_tensor_is_refused(make):
    model = make().double()
    with pytest.raises((TypeError, ValueError), match="'voice' must be a tensor"):
        model({**sequences(), "voice": [1.0, 2.0]})
    with pytest.raises((TypeError, AttributeError)):
        model([sequences()["voice"]])


@pytest.mark.parametrize(
    ("label", "error", "message"),
    [
        (torch.tensor([0, 1, 3, 0, 0]), ValueError, "needs labels from 0 to 2, got 3 in example 2"),
        (torch.tensor([0, 1, 2, 0, -1]), ValueError, "needs labels from 0 to 2, got -1 in example 4"),
        (torch.zeros(5), TypeError, "label must be int64"),
        (torch.zeros(4, dtype=torch.int64), ValueError, "needs 5 labels, got 4"),
    ],
)
def test_a_bad_label_is_refused_with_its_example(label, error, message):
    with pytest.raises(error, match=message):
        model_of().loss({**sequences(), "label": label})


def test_classes_of_a_modality_out_of_range_are_refused():
    batch = pictures()
    for tag in (batch["tag"] + 4, batch["tag"] - 5, batch["tag"].double()):
        with pytest.raises(ValueError, match="'tag' must be int64 from 0 to 3"):
            picture_model().loss({**batch, "tag": tag})


def test_a_cost_can_be_any_function_from_output_and_target_to_the_cost_of_each_number():
    def huber(x_hat, x):
        return nn.functional.huber_loss(x_hat, x, reduction="none")

    model, batch = picture_model(costs={"picture": huber, "tag": cross_entropy}), pictures()
    x_hat = model.generate(model.infer(batch))["picture"]
    close(model.loss(batch)["picture"], nn.functional.huber_loss(x_hat, batch["picture"]))


def test_a_model_that_reconstructs_what_its_encoder_does_not_read_infers_without_it():
    encoder = LSTMEncoder("voice", 2, 4)
    model = MFM(2, Factor(encoder, 4, 3, 5), None, {"words": LSTMDecoder(5, 3, STEPS, 4)}, label_weight=0.0).double()
    batch = sequences()
    latents = model.infer({"voice": batch["voice"]})
    close(latents["label"], model.infer(batch)["label"])
    with pytest.raises(ValueError, match="'words'"):
        model.loss({n: x for n, x in batch.items() if n != "words"})


# ------------------------------------------------------------------------------------------------- once wrong


def test_sensitivity_gives_no_warning():
    code = """
import torch
from mmtutor.mfm import sensitivity, sequence_mfm
model = sequence_mfm({"words": 3}, 4, 3)
sensitivity(model, model.sample(2), "words")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", code], capture_output=True, text=True
    )
    assert "AttributeError" not in done.stderr
    assert "ImportError" not in done.stderr
    assert done.returncode == 0


def test_sensitivity_does_not_hang_on_dropout():
    model = model_of(dropout=0.5)
    latents = model.sample(3)
    assert torch.equal(sensitivity(model, latents, "words"), sensitivity(model, latents, "words"))


def test_a_surrogate_reads_a_modality_whose_name_starts_like_the_missing_one():
    model = sequence_mfm({"voice": 2, "voices": 3}, 4, 3)
    surrogate = Surrogate(model, "voice", LSTMEncoder("voices", 3, 5), 5)
    assert surrogate.infer({"voices": torch.randn(2, 4, 3)})["voice"].shape == (2, 32)


def test_the_model_is_in_its_mode_again_after_a_bad_batch():
    model = model_of()
    surrogate = surrogate_of(model)
    with pytest.raises(ValueError, match="NaN"):
        surrogate.loss(spoilt("voice", with_one_bad(math.nan)))
    assert model.training


def test_a_part_that_was_in_evaluation_stays_so():
    model = model_of()
    model.parts["words"].eval()
    surrogate_of(model).loss(sequences())
    assert model.training
    assert not model.parts["words"].training


@pytest.mark.parametrize(("variant", "missing"), [("MFM", "label"), ("M_E", "style")])
def test_a_surrogate_is_not_for_the_label_or_the_style(variant, missing):
    with pytest.raises(ValueError, match=f"knows no '{missing}'"):
        Surrogate(model_of(variant), missing, nn.Identity(), 3)


@pytest.mark.parametrize(
    ("name", "variant"), [("label", "M_D"), ("label", "M_E"), ("style", "M_E"), ("loss", "MFM"), ("prior", "MFM")]
)
def test_a_modality_cannot_have_a_name_that_has_another_meaning(name, variant):
    with pytest.raises(ValueError, match=f"cannot be called '{name}'"):
        sequence_mfm({name: 3, "voice": 2}, STEPS, CLASSES, variant)


@every_variant
def test_an_example_without_any_modality_is_refused_whether_or_not_the_label_has_a_mask(variant):
    batch = {**masked(), "voice_present": torch.tensor([True, False, True, True, False])}
    if variant != "M_B":
        batch["label_present"] = torch.ones(5, dtype=torch.bool)
    with pytest.raises(ValueError, match="every modality is missing in example 4"):
        model_of(variant).loss(batch)


@pytest.mark.parametrize("variant", ["M_A", "M_C", "M_D", "M_E", "MFM"])
def test_an_example_that_lacks_one_modality_and_the_label_is_not_refused(variant):
    some = torch.tensor([True, True, False, True, True])
    assert model_of(variant).loss({**sequences(), "voice_present": some, "label_present": some})["loss"].isfinite()


def test_the_padding_of_a_sequence_of_classes_costs_nothing():
    model = picture_model()
    batch = {**pictures(4), "length": torch.tensor([1, 2, 2, 1])}
    output = model.generate(model.infer(batch))["tag"]
    each = [[-softmax(output[i, k])[batch["tag"][i, k]].log() for k in range(2)] for i in range(4)]
    close(model.loss(batch)["tag"], (each[0][1] + sum(each[1]) / 2 + sum(each[2]) / 2 + each[3][1]) / 4)


def test_the_length_of_another_modality_does_not_mask_a_picture():
    model, batch = picture_model(), pictures(4)
    series = {"series": torch.randn(4, 9, 1).double(), "length": torch.tensor([1, 1, 9, 5])}
    close(model.loss({**batch, **series})["picture"], model.loss(batch)["picture"])


@pytest.mark.parametrize("steps", [3, 8])
def test_a_batch_of_other_length_than_the_decoder_generates_is_refused(steps):
    with pytest.raises(ValueError, match="'words'"):
        model_of().loss(sequences(5, steps))


def test_a_target_of_another_shape_with_as_many_numbers_is_refused():
    batch = pictures()
    with pytest.raises(ValueError, match="'picture'"):
        picture_model().loss({**batch, "picture": batch["picture"].mT.contiguous()})


@pytest.mark.parametrize("sizes", ["z", "f"])
@pytest.mark.parametrize("lacks", ["label", "voice"])
def test_sizes_given_by_name_must_have_all_names(sizes, lacks):
    with pytest.raises(ValueError, match=f"{lacks}"):
        model_of(**{sizes: {name: 3 for name in F if name != lacks}})


@pytest.mark.parametrize("name", ["picture", "label"])
def test_nan_in_a_modality_that_is_no_sequence_or_in_the_label_is_refused(name):
    batch = {**pictures(), "label": torch.randn(4).double()}
    batch[name] = torch.full_like(batch[name], math.nan)
    with pytest.raises(ValueError, match=f"'{name}'"):
        picture_model(classes=1, label_cost=squared_error).loss(batch)


# ------------------------------------------------------------------------------------------ what people bring


def in_float32(batch):
    return {n: x.float() if x.is_floating_point() else x for n, x in batch.items()}


def readers(model):
    """Every public way in which a model and what belongs to it read a batch."""
    surrogate = surrogate_of(model).to(next(model.parameters()).dtype)
    calls = {"infer": model.infer, "loss": model.loss, "forward": model, "check_batch": model.check_batch}
    calls |= {f"surrogate, {n}": getattr(surrogate, n) for n in ("latents", "loss", "infer", "forward", "generate")}
    return calls | {"saliency": lambda batch: saliency(model, batch, "words")}


@pytest.mark.parametrize("variant", [v for v in DECODED_FROM if v != "M_B"])
def test_float64_data_are_refused_everywhere_and_the_message_says_what_to_do(variant):
    model, batch = model_of(variant).float(), sequences()
    for call in readers(model).values():
        with pytest.raises(
            TypeError, match=r"'(words|voice)' is torch.float64 .* torch.float32; convert it with .float"
        ):
            call(batch)
    for make in ENCODERS.values():
        with pytest.raises(TypeError, match=r"is torch.float64 .* convert it with .float"):
            make().float()(batch)
    with pytest.raises(TypeError, match=r"saliency: 'voice' is torch.float64"):
        saliency(model, batch, "voice")
    assert model.loss(in_float32(batch))["loss"].dtype == torch.float32
    assert model.double().loss(batch)["loss"].dtype == torch.float64


def test_an_encoder_of_ones_own_and_latent_codes_of_another_float_type_are_refused_as_well():
    factor = Factor(LastStep(), 5, 2, 3)
    model = MFM(CLASSES, factor, {"voice": factor}, {"voice": LSTMDecoder(6, 2, STEPS, 4)})
    with pytest.raises(TypeError, match=r"MFM: 'voice' is torch.float64"):
        model.infer({"voice": sequences()["voice"]})
    styles = {"words": Factor(encoder_of(), 3, 2, 3), "voice": factor}
    surrogate = Surrogate(MFM(CLASSES, None, styles, None), "words", LastStep(), 5)
    with pytest.raises(TypeError, match=r"Surrogate: 'voice' is torch.float64"):
        surrogate.latents(sequences())
    latents = model.sample(3)
    for call, given in ((model.generate, latents), (model.decode, model.factors(latents)), (model.factors, latents)):
        with pytest.raises(TypeError, match=r"MFM: '(label|voice)' is torch.float64"):
            call({name: z.double() for name, z in given.items()})


@pytest.mark.usefixtures("bfloat16_on_any_cpu")
def test_half_precision_is_read_under_autocast_as_before():
    model = model_of().float()
    with torch.autocast("cpu", torch.bfloat16):
        batch = {n: x.bfloat16() if x.is_floating_point() else x for n, x in sequences().items()}
        assert model.classify(model.factors(model.infer(in_float32(batch)))).isfinite().all()
        with pytest.raises(TypeError, match=r"is torch.float64"):
            model.loss(sequences())


@every_variant
def test_a_whole_model_is_saved_copied_and_pickled(variant):
    model, batch, file = model_of(variant), sequences(), io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for other in (torch.load(file, weights_only=False), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other.loss(batch)["loss"], model.loss(batch)["loss"])
    if variant != "M_B":
        surrogate = surrogate_of(model)
        assert torch.equal(copy.deepcopy(surrogate).loss(batch)["loss"], surrogate.loss(batch)["loss"])


@pytest.mark.parametrize("make", [*ENCODERS.values(), model_of], ids=[*ENCODERS, "MFM"])
def test_padding_at_the_end_is_refused_with_the_way_to_pad_at_the_front(make):
    model, length = make().double(), torch.tensor([4, 2, 3, 1, 4])
    torch.nn.init.ones_(next(model.parameters()))
    pad = nn.utils.rnn.pad_sequence
    real = {s: [x[:n] for x, n in zip(sequences()[s], length, strict=True)] for s in FEATURES}
    end = {s: pad(xs, batch_first=True) for s, xs in real.items()}
    front = {s: pad(xs, batch_first=True, padding_side="left") for s, xs in real.items()}
    label = {"label": torch.arange(5) % CLASSES}
    if not isinstance(model, FromModality | Surrogate):
        with pytest.raises(ValueError, match=r"must be padded at the front, but example 1 .*padding_side='left'"):
            model({**end, **label, "length": length})
    assert model({**front, **label, "length": length}).isfinite().all()


def test_padding_of_a_missing_modality_may_be_anywhere():
    model, batch = model_of(), {**sequences(), "length": torch.tensor([4, 2, 3, 1, 4])}
    batch["voice_present"] = torch.tensor([True, False, True, True, True])
    batch["voice"][1, 2:] = 0
    assert model.loss(batch)["loss"].isfinite()
    with pytest.raises(ValueError, match="'voice' must be padded at the front, but example 1 has its 2 real steps"):
        model.loss({n: x for n, x in batch.items() if n != "voice_present"})


def test_a_decoder_of_sequences_asks_for_padding_at_the_front_whoever_encodes():
    decoder = nn.Sequential(nn.Linear(3, 2 * STEPS), nn.Unflatten(1, (STEPS, 2)))
    decoder.steps = STEPS
    model = MFM(CLASSES, None, {"voice": Factor(LastStep(), 5, 2, 3)}, {"voice": decoder}).double()
    batch = {**sequences(), "length": torch.tensor([4, 2, 4, 4, 4])}
    batch["voice"][1, 2:] = 0
    with pytest.raises(ValueError, match="MFM: 'voice' must be padded at the front, but example 1"):
        model.loss(batch)


# --------------------------------------------------------------------------------------------- scores and classes


@pytest.mark.parametrize("cost", [squared_error, absolute_error, nn.HuberLoss(reduction="none")])
def test_a_regression_does_not_learn_classes(cost):
    model, batch = picture_model(classes=1, label_cost=cost), pictures()
    for call in (model.loss, model.check_batch):
        with pytest.raises(ValueError, match=r"MFM: for a regression label must be float .* convert it with .float"):
            call(batch)
    for shape in ((2,), (4, 2), (4, 1, 1), (1, 4), ()):
        with pytest.raises(ValueError, match=r"MFM: label must be \(B,\) or \(B, 1\) with B = 4, got"):
            model.loss({**batch, "label": torch.zeros(shape)})
    close(model.loss({**batch, "label": batch["label"].double()})["label"], model.loss(
        {**batch, "label": batch["label"].double()[:, None]})["label"])  # fmt: skip


def test_several_scores_of_an_example():
    model, batch = picture_model(classes=3, label_cost=absolute_error), pictures()
    label = torch.randn(4, 3).double()
    close(model.loss({**batch, "label": label})["label"], (model(batch) - label).abs().mean())
    with pytest.raises(ValueError, match=r"MFM: label must be \(B, 3\) with B = 4, got \(4,\)"):
        model.loss({**batch, "label": label[:, 0]})


@pytest.mark.parametrize(("bad", "says"), [(-100, "got -100 in example 2"), (4, "got 4 in example 2")])
def test_a_class_that_is_none_is_refused_with_its_example(bad, says):
    model, batch = picture_model(), pictures()
    batch["tag"][2, 1] = bad
    for call in (model.loss, model.check_batch):
        with pytest.raises(ValueError, match=f"MFM: 'tag' must be int64 from 0 to 3, {says}"):
            call(batch)
    there = torch.tensor([True, True, False, True])
    assert model.loss({**batch, "tag_present": there})["loss"].isfinite()


class WeightedCost(nn.Module):
    """A cost of classes with a weight each, which has to move with the model."""

    takes_classes = True

    def __init__(self, weights):
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights))

    def forward(self, scores, label):
        return self.weights[label] * nn.functional.cross_entropy(scores, label, reduction="none")


def test_a_cost_may_weight_classes_and_is_a_part_of_the_model():
    model, batch = picture_model(label_cost=WeightedCost([1.0, 2.0, 0.5])), pictures()
    assert model.costs["label"].weights.dtype == torch.float64  # it went to float64 with the model
    each = -model(batch).log_softmax(1)[torch.arange(4), batch["label"]]
    close(model.loss(batch)["label"], (each * torch.tensor([1.0, 2.0, 0.5, 1.0])).mean())
    with pytest.raises(TypeError, match="MFM: label must be int64"):
        model.loss({**batch, "label": batch["label"].double()})
    assert copy.deepcopy(model).cost_modules["label"] is not model.cost_modules["label"]


@pytest.mark.parametrize(
    "cost",
    [
        nn.CrossEntropyLoss(reduction="none"),
        lambda scores, label: nn.functional.cross_entropy(scores, label, reduction="none"),
        lambda scores, label: -scores.log_softmax(1).gather(1, label[:, None])[:, 0],
    ],
)
def test_another_cost_of_classes_is_the_cross_entropy(cost):
    batch, (model, other) = pictures(), (picture_model(), picture_model(label_cost=cost))
    other.load_state_dict(model.state_dict())
    batch["label_present"] = torch.tensor([True, False, True, True])
    close(other.loss(batch)["label"], model.loss(batch)["label"])
    with pytest.raises(ValueError, match="needs labels from 0 to 2, got 3 in example 0"):
        other.loss({**batch, "label": batch["label"] + 3})


@pytest.mark.parametrize("cost", [nn.CrossEntropyLoss(), nn.MSELoss(reduction="sum"), nn.L1Loss()])
def test_a_cost_that_is_a_mean_is_refused_since_masks_would_be_lost(cost):
    with pytest.raises(ValueError, match=r"MFM: the cost of 'label' must give a cost of each .* reduction='none'"):
        picture_model(label_cost=cost)


@pytest.mark.parametrize(
    "cost", [nn.functional.mse_loss, lambda x_hat, x: (x_hat - x[:, 0]).square(), lambda x_hat, x: 0.0]
)
def test_what_a_cost_gives_is_not_broadcast(cost):
    model, batch = picture_model(classes=1, label_cost=cost), {**pictures(), "label": torch.randn(4).double()}
    with pytest.raises(ValueError, match=r"MFM: the cost of 'label' must be one of each number, \(4, 1\)"):
        model.loss(batch)


@pytest.mark.parametrize("layer", [nn.Softmax(-1), nn.Sigmoid()])
@pytest.mark.parametrize("after", [[], [nn.Identity()]], ids=["last", "before a layer that changes nothing"])
def test_a_decoder_of_probabilities_under_a_cost_of_scores_is_refused(layer, after):
    decoder = nn.Sequential(nn.Linear(2, 4), layer, *after)
    factor = Factor(FromModality("tag", nn.Embedding(4, 3)), 3, 2, 2)
    with pytest.raises(ValueError, match=f"MFM: the cost of 'tag' .* ends in {layer.__class__.__name__}.*leave this"):
        MFM(2, None, {"tag": factor}, {"tag": decoder}, costs={"tag": cross_entropy})
    MFM(2, None, {"tag": factor}, {"tag": decoder})


# ---------------------------------------------------------------------------------------------------- small habits


def test_the_numbers_of_numpy_are_numbers():
    size = {"hidden": np.int64(4), "memory": np.int32(3), "attend": np.int64(2), "width": np.int64(3)}
    model = sequence_mfm(
        {"words": np.int64(3), "voice": np.int64(2)}, np.int64(STEPS), np.int64(3), z=np.int64(2), f=np.int64(2),
        prior=np.float32(0.5), weights={"words": np.float64(0.5)}, **size,
    )  # fmt: skip
    model.loss(in_float32(sequences()))["loss"].backward()
    assert (type(model.prior), type(model.weights["words"])) == (float, float)
    assert model.sample(np.int64(2))["label"].shape == (2, 2)
    with pytest.raises(ValueError, match="LSTMDecoder: hidden must be a whole number ≥ 1, got 0"):
        sequence_mfm(FEATURES, STEPS, CLASSES, width=0)
    with pytest.raises(ValueError, match="MFM: classes must be a whole number ≥ 1, got True"):
        sequence_mfm(FEATURES, STEPS, True)


@every_variant
def test_one_example_is_enough_but_for_an_mmd(variant):
    one = sequences(1)
    assert model_of(variant, factor=VariationalFactor).loss(one)["loss"].isfinite()
    model = model_of(variant, prior=0.5)
    assert model(one).isfinite().all()
    with pytest.raises(ValueError, match=r"at least two latent codes .* no last batch of one example"):
        model.loss(one)


@pytest.mark.parametrize("call", ["infer", "loss", "forward"])
def test_further_tensors_are_not_read(call):
    model, batch = model_of(factor=VariationalFactor).eval(), sequences()
    more = {"colour_label": torch.zeros(5), "other": torch.full((5, 9), math.nan), "score_label": torch.zeros(5)}
    given, further = (getattr(model, call)(b) for b in (batch, {**batch, **more}))
    given, further = (x if isinstance(x, dict) else {"": x} for x in (given, further))
    assert all(torch.equal(given[n], further[n]) for n in given)
