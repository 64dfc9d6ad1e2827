"""Arguments as people give them: NumPy's numbers, strings for lists, classes for modules; taken or refused by name."""

import copy
import functools
import os
import re
import warnings

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, event, given, settings
from torch import nn

from mmtutor import (
    captioning,
    data,
    decoders,
    embedding,
    encoders,
    fusion,
    iterative,
    lineargaussian,
    localisation,
    mfm,
    sentences,
    text_to_image,
    vae,
    vqa,
    workspace,
)

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile("few", max_examples=600, deadline=None, derandomize=True, suppress_health_check=SLOW)
settings.register_profile("many", max_examples=10_000, deadline=None, suppress_health_check=SLOW, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "few"))


def two(make):
    return {"a": make(), "b": make()}


def lines(before, after):
    return two(lambda: nn.Linear(before, after))


def of_vae(**others):
    return dict(
        encoders=lines(4, 4), decoders=lines(2, 4), likelihoods=two(lambda: vae.gaussian(1.0)), latent=2, beta=1.0,
        weights={"a": 2.0}, **others,
    )  # fmt: skip


def factor(modality="a"):
    return mfm.Factor(mfm.FromModality(modality, nn.Linear(4, 6)), 6, z=2, f=3)


def captioner(**others):
    return dict(encoder=nn.Linear(4, 5), dim=5, tokens=captioning.Tokens(7), image="a", embed=4, dropout=0.1, **others)


def of_dims(**others):
    return dict(dims=[3, 4], **others)


def of_mfm(**others):
    return dict(
        classes=3, label=factor(), style={"a": factor()}, decoders={"a": nn.Linear(6, 4)}, weights={"a": 1.0},
        label_weight=1.0, prior=1.0, joint=False, dropout=0.1, **others,
    )  # fmt: skip


# What is called, and arguments that it takes.
CALLS = {
    encoders.TabularEncoder: dict(features=4, dim=5, hidden=6),
    encoders.ImageEncoder: dict(channels=1, dim=5, widths=(3, 4), tokens=False),
    encoders.AudioEncoder: dict(dim=5, widths=(3, 4), tokens=True),
    encoders.GridEncoder: dict(channels=1, widths=(3, 4)),
    encoders.TextEncoder: dict(symbols=7, dim=5, hidden=6, width=3, tokens=False),
    encoders.SequenceEncoder: dict(features=4, dim=5, hidden=6, tokens=False),
    decoders.ImageDecoder: dict(dim=4, channels=1, size=8, widths=(3, 4)),
    fusion.Concat: of_dims(),
    fusion.Arithmetic: dict(dims=[4, 4], operator="sum"),
    fusion.ConcatNodes: of_dims(nodes=2),
    fusion.SumNodes: of_dims(dim=5),
    fusion.MergeLayer: of_dims(dim=5),
    fusion.Gated: of_dims(dim=5),
    fusion.TensorFusion: of_dims(dim=5),
    fusion.LowRankFusion: of_dims(dim=5, rank=2),
    fusion.CrossAttention: of_dims(dim=8, exchanges=1, heads=2),
    fusion.EarlyFusion: dict(sizes={"a": 4, "b": 5}, classes=3, learner=nn.Linear(9, 3)),
    fusion.LateFusion: dict(encoders=lines(4, 5), classes=3, merge=fusion.Concat([5, 5]), hidden=6),
    fusion.CrossModalFusion: dict(encoders=lines(4, 5), classes=3, dims=[5, 5], exchanges=1, dim=8, heads=2),
    fusion.DecisionFusion: dict(encoders=lines(4, 5), classes=3, dims=[5, 5], rule=fusion.MeanRule(), joint=True),
    fusion.InnerProduct: dict(dims=[4, 4], parts=2),
    fusion.HybridFusion: dict(
        encoders=lines(4, 5), classes=3, merge=fusion.Concat([5, 5]), branch_weight=0.5, rule=fusion.MeanRule(),
        hidden=6,
    ),
    fusion.ModulatedFusion: dict(encoders=lines(4, 5), classes=3, merge=fusion.Concat([5, 5]), alpha=0.5, hidden=6),
    fusion.WeightedRule: dict(modalities=2),
    fusion.WeightedCrossEntropy: dict(weights=torch.tensor([0.5, 1.5])),
    fusion.ProductRule: dict(prior=torch.tensor([0.25, 0.75])),
    captioning.HardAttention: dict(reinforce=0.1, entropy=0.1, expectation=0.5, decay=0.9),
    captioning.ShowAndTell: captioner(hidden=6),
    captioning.ShowAttendTell: captioner(
        hidden=6, attend=4, attention=captioning.SoftAttention(), doubly_stochastic=0.1, tau=1.0, read_first=False
    ),
    mfm.Factor: dict(encoder=nn.Linear(4, 6), size=6, z=2, f=3, weight=1.0, dropout=0.1),
    mfm.VariationalFactor: dict(encoder=nn.Linear(4, 6), size=6, z=2, f=3, weight=1.0, dropout=0.1),
    mfm.FromModality: dict(modality="a", encoder=nn.Linear(4, 6)),
    mfm.MFM: of_mfm(),
    mfm.MFN: dict(features={"a": 3, "b": 4}, hidden=5, memory=4, attend=6, dropout=0.1),
    mfm.LSTMEncoder: dict(modality="a", features=3, hidden=4),
    mfm.LSTMDecoder: dict(size=3, features=2, steps=4, hidden=5),
    mfm.sequence_mfm: dict(
        features={"a": 3, "b": 4}, steps=4, classes=3, variant="MFM", hidden={"a": 4, "b": 5}, memory=4, attend=5, z=3,
        f=2, width=4, weights={"a": 1.0}, prior=1.0, dropout=0.1,
    ),
    embedding.InfoNCE: dict(scale=5.0, learned=False, most=50.0),
    embedding.Sigmoid: dict(scale=5.0, bias=0.5, learned=True, most=50.0),
    embedding.Triplet: dict(margin=0.2, hardest=True, warm_up=3),
    embedding.JointEmbedding: dict(
        encoders=lines(4, 4), dims=[4, 4], dim=3, loss=embedding.Triplet(), several=False, group="label"
    ),
    sentences.BagOfWords: dict(words=9, dim=4, embed=5),
    sentences.RecurrentSentence: dict(words=9, dim=4, embed=5, hidden=6),
    sentences.TransformerSentence: dict(words=9, dim=4, embed=8, heads=2, layers=1, longest=7),
    **{
        kind: dict(encoders=lines(4, 4), dims=[4, 4], classes=3, dim=4, **more)
        for kind, more in (
            (vqa.StackedAttention, dict(hops=2)), (vqa.FiLM, dict(blocks=2)), (vqa.RelationNetwork, dict()),
        )
    },
    localisation.Attention: dict(sharpness=5.0),
    localisation.LogSumExp: dict(sharpness=5.0),
    localisation.Positives: dict(positive=0.5, negative=0.25, temperature=0.1),
    localisation.InfoNCE: dict(scale=5.0, learned=False, most=50.0),
    localisation.SoundLocalisation: dict(encoders=lines(4, 4), dims=[4, 4], dim=3, pooling=localisation.Max()),
    workspace.MixtureLink: dict(categories=3, size=2, pseudo=1.0),
    workspace.TableLink: dict(categories=3, values=2, pseudo=1.0),
    workspace.SharedCategories: dict(links=two(lambda: workspace.MixtureLink(3, 2))),
    workspace.SharedWorkspace: dict(
        encoders=lines(4, 2), decoders=lines(2, 4), weights={"translation": 1.0, "cycle": 0.5},
        contrast=embedding.InfoNCE(),
    ),
    workspace.procrustes: dict(a=torch.rand(5, 3), b=torch.rand(5, 3)),
    text_to_image.Generator: dict(reader=nn.Identity(), dim=3, noise=2, channels=1, size=8, width=4),
    text_to_image.Discriminator: dict(
        reader=nn.Identity(), dim=3, channels=1, size=8, width=4, normalise=True, projection=False
    ),
    text_to_image.Relativistic: dict(penalty=0.5),
    text_to_image.MovingAverage: dict(network=nn.Linear(3, 3), decay=0.5),
    text_to_image.TextToImageGAN: dict(
        generator=nn.Linear(3, 3), discriminator=nn.Linear(3, 3), noise=3, together=True, average=0.5
    ),
    text_to_image.FlowMatching: dict(
        network=nn.Linear(3, 3), reader=nn.Linear(3, 3), dim=3, drop=0.1, average=0.5
    ),
    text_to_image.VelocityNetwork: dict(dim=3, channels=1, size=8, width=4, patch=1),
    vae.gaussian: dict(scale=0.5),
    vae.laplace: dict(scale=0.5),
    vae.MVAE: of_vae(drawn=1),
    vae.MMVAE: of_vae(k=2, objective="iwae"),
    vae.MoPoE: of_vae(sets=["a", ["a", "b"]]),
    vae.MVTCAE: of_vae(alpha=0.5),
    vae.JMVAE: of_vae(joint=nn.Identity(), alpha=0.1),
    vae.TELBO: of_vae(joint=nn.Identity()),
    vae.Coordinated: of_vae(distance_weight=1.0, cross_weight=0.5),
    vae.DMVAE: of_vae(private=1) | dict(encoders=lines(4, 6), decoders=lines(3, 4)),
    vae.MMVAEPlus: of_vae(private=1, k=2) | dict(encoders=lines(4, 6), decoders=lines(3, 4)),
    vae.subsets: dict(modalities=3),
    iterative.FromPrior: dict(latent=3),
    iterative.FromModality: dict(modality="a", encoder=nn.Linear(4, 6)),
    iterative.GradientAscent: dict(step=0.1, unit=False),
    iterative.Refiner: dict(latent=3, inputs=("lam", "unit", "features"), hidden=(5, 6), step=0.1, features=2),
    iterative.Elbo: dict(
        decoders=lines(2, 4), likelihoods=two(lambda: vae.gaussian(1.0)), weights={"a": 2.0}, beta=1.0
    ),
    iterative.IterativeVAE: dict(
        start=iterative.FromPrior(2), elbo=iterative.Elbo(lines(2, 4), two(lambda: vae.gaussian(1.0))),
        refiner=iterative.GradientAscent(), steps=2, over="mean",
    ),
    iterative.Students: dict(encoders=lines(4, 4)),
    iterative.FlowStudents: dict(encoders=lines(4, 5), latent=2, features=5, couplings=2, hidden=6),
    lineargaussian.LinearGaussian: dict(
        weights={"a": torch.ones(3, 2), "b": torch.ones(4, 2)}, noise={"a": 1.0, "b": 0.5}
    ),
    data.Vocabulary: dict(words=["a", "dog"]),
    data.MultimodalDataset: dict(tensors={"a": torch.rand(5, 3), "label": torch.arange(5)}),
    data.digits: dict(split="train", n=3, seed=1, relation="same", drop=0.1, street_difficulty=0.5, typos=0.1),
    data.scenes: dict(split="train", n=2, seed=1, objects=(1, 2)),
    data.monologues: dict(split="train", n=2, seed=1, irony=0.3),
    data.smartwatch: dict(split="train", fold=1, hop=50),
}  # fmt: skip
MODULES = (
    captioning, decoders, embedding, encoders, fusion, iterative, lineargaussian, localisation, mfm, sentences,
    text_to_image, vae, vqa, workspace,
)  # fmt: skip
ELSEWHERE = {  # what takes other things than arguments of this kind: tensors, distributions, models
    embedding.Contrast,
    captioning.Captioner, captioning.Captions, captioning.Tokens, captioning.TeacherForcing, captioning.SoftAttention,
    fusion.Classifier, fusion.Merge, fusion.Rule, fusion.MeanRule, fusion.HarmonicRule,
    iterative.Distillation,
    localisation.Max, localisation.Mean, localisation.Pooling,
    text_to_image.ConditionalGAN, text_to_image.MatchingAware, text_to_image.Objective,
    workspace.CategoricalMessage, workspace.GaussianMessage, workspace.LinearLink, workspace.Link,
    workspace.MessageTree, mfm.Surrogate, vqa.QuestionAnswering, vae.MultimodalVAE, vae.bernoulli, vae.categorical,
}  # fmt: skip


def whole(value):
    return {
        "as given": [np.int64(value), np.int32(value), np.array(value), torch.tensor(value)],
        "otherwise": [float(value), True, str(value), None, -1, 0, 1.5, np.nan, [value], np.float32(value), np.True_],
    }  # fmt: skip


def real(value):
    return {
        "as given": [np.float64(value), np.float32(value)],
        "otherwise": [torch.tensor(value), np.nan, np.inf, -np.inf, -1.0, 2.0, str(value), None, [value], "x", 1j],
    }


def variants(value):
    """What people give in its place: what has to be the same, and what may be refused."""
    nothing = {"as given": [], "otherwise": [None, 3, "x", [], {}, object()]}
    match value:
        case bool():
            return {"as given": [np.bool_(value)], "otherwise": [int(value), None, "no", np.array([value])]}
        case int():
            return whole(value)
        case float():
            return real(value)
        case str():
            return {"as given": [np.str_(value)], "otherwise": ["", value.upper(), value + "x", None, 3, [value], b"a"]}
        case list() | tuple() if value and isinstance(value[0], int) and not isinstance(value, captioning.Tokens):
            bad = [*value[:-1], float(value[-1])], [*value[:-1], 0], [*value[:-1], "4"], [*value[:-1], True]
            given = [tuple(value), list(value), np.array(value), [np.int64(v) for v in value], torch.tensor(value)]
            return {
                "as given": given[:2],
                "otherwise": [*given[2:], *bad, [], value[:1], value[0], "34", None, iter(value)],
            }
        case list() | tuple():
            given = [] if isinstance(value, captioning.Tokens) else [tuple(value), list(value)]
            return {"as given": given, "otherwise": [[], value[0], None, [3], [*value, value[0]]]}
        case dict() if all(isinstance(v, int) for v in value.values()):
            ways = [
                {k: new(v) for k, v in value.items()} for new in (np.int64, float, str, lambda v: 0, lambda v: None)
            ]
            return {
                "as given": ways[:1],
                "otherwise": [*ways[1:], [*value.values()], {}, dict(list(value.items())[:1])],
            }
        case dict():
            renamed = [{new(k): v for k, v in value.items()} for new in (str.upper, lambda k: k + ".", lambda k: 3)]
            others = [
                {},
                [*value.values()],
                [*value],
                value | {"label": 3},
                dict.fromkeys(value, "x"),
                dict.fromkeys(value),
            ]
            module = isinstance(next(iter(value.values())), nn.Module)
            others += [dict.fromkeys(value, nn.Linear)] if module else []
            return {"as given": [nn.ModuleDict(value)] if module else [], "otherwise": [*renamed, *others, None, "ab"]}
        case nn.Module():
            return {
                "as given": [copy.deepcopy(value)],
                "otherwise": [type(value), lambda x: x, None, "linear", 3, [value]],
            }
        case torch.Tensor():
            return {
                "as given": [value.clone()],
                "otherwise": [value.numpy(), value.tolist(), value.long(), -value, None],
            }
    return nothing


def call(function, arguments):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = function(*([] if function is not data.digits else ["handwritten"]), **arguments)
    return made.state_dict() if isinstance(made, nn.Module) else made


@functools.cache
def pairs():
    return [(function, name) for function, arguments in CALLS.items() for name in arguments]


def check(function, name, how, k):
    """One argument in one other form; True if it was taken."""
    arguments = copy.deepcopy(CALLS[function])
    value = variants(arguments[name])[how][k]
    before = {n: copy.deepcopy(x) for n, x in arguments.items() if n != name and isinstance(x, nn.Module)}
    made, says = None, ""
    try:
        made = call(function, arguments | {name: value})
    except (TypeError, ValueError) as error:
        says = str(error)
    if says:
        assert how != "as given", f"{value!r} for {arguments[name]!r} is refused: {says}"
        words = [w for w in re.split(r"\W+|_", name) if w] + [name.rstrip("s"), function.__name__, repr(value)]
        assert any(word in says for word in words), f"says nothing of {words}: {says}"
        for n, x in before.items():
            assert [p.requires_grad for p in arguments[n].parameters()] == [p.requires_grad for p in x.parameters()]
        return False
    if how == "as given" and isinstance(made, dict):
        wanted = call(function, copy.deepcopy(CALLS[function]))
        assert {n: x.shape for n, x in made.items()} == {n: x.shape for n, x in wanted.items()}
    return True


@given(st.data())
def test_an_argument_is_taken_or_refused_by_name(data):
    function, name = data.draw(st.sampled_from(pairs()), label="what is called, and the argument")
    how = data.draw(st.sampled_from(["as given", "otherwise"]))
    forms = variants(CALLS[function][name])[how]
    if forms:
        taken = check(function, name, how, data.draw(st.integers(0, len(forms) - 1), label="form"))
        event(f"{how}: {'taken' if taken else 'refused'}")


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_class_of_the_library_is_called(module):
    classes = {x for x in map(vars(module).get, module.__all__) if isinstance(x, type)}
    assert classes - ELSEWHERE <= CALLS.keys(), classes - ELSEWHERE - CALLS.keys()


@pytest.mark.parametrize("function", CALLS, ids=lambda function: function.__name__)
def test_what_is_called_is_right(function):
    call(function, copy.deepcopy(CALLS[function]))
