"""What people hand in: each model takes it and gives what they meant, or refuses it in words, and never in silence.

Hypothesis draws a model, one of its public methods and a habit: float64 from NumPy, labels as a column, padding under a
mask, a misspelt name. ``HYPOTHESIS_PROFILE=many`` draws more.
"""

import copy
import os
import warnings
from collections.abc import Mapping

import hypothesis.strategies as st
import torch
from devices.test_precision import CASES
from hypothesis import HealthCheck, event, given, settings
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.utils._pytree import tree_leaves

from mmtutor.mfm import MFM

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile("few", max_examples=600, deadline=None, derandomize=True, suppress_health_check=SLOW)
settings.register_profile("many", max_examples=10_000, deadline=None, suppress_health_check=SLOW, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "few"))
METHODS = (  # each takes a batch
    "loss", "forward", "encode", "encode_private", "experts", "generate", "log_likelihood", "terms", "infer",
    "branches", "bounds", "check_batch",
)  # fmt: skip
SAME, REFUSED, EITHER, FINITE = "the same", "refused", "the same, or refused", "finite, or refused"


def modalities(batch):
    other = ("label", "length", "caption", "teacher_posterior")
    return [n for n in batch if n not in other and not n.endswith(("_present", "_label", "_length"))]


def float_modalities(batch):
    return [n for n in modalities(batch) if batch[n].is_floating_point()]


def size(batch):
    return len(batch[modalities(batch)[0]])


# ---- habits: each gives a changed batch, what has to happen, and words of which a refusal has one


def another_float_type(batch, draw):
    if not float_modalities(batch):
        return batch, SAME, []
    name = draw(st.sampled_from(float_modalities(batch)))
    dtype = draw(st.sampled_from([torch.float64, torch.float16, torch.bfloat16]))
    return {**batch, name: batch[name].to(dtype)}, REFUSED, [f"{name}"]


def all_float64(batch, draw):
    names = float_modalities(batch)
    return {n: x.double() if n in names else x for n, x in batch.items()}, REFUSED, names


def numpy_for_a_tensor(batch, draw):
    name = draw(st.sampled_from([n for n in batch if n not in ("teacher_posterior",) and not n.endswith("_label")]))
    how = draw(st.sampled_from([Tensor.numpy, Tensor.tolist, lambda x: None, lambda x: 3]))
    return {**batch, name: how(batch[name])}, EITHER, [name]


def an_extra_key(batch, draw):
    name = draw(st.sampled_from(["id", "extra", "weights", "text", "y", "labels", "image_label", "Label"]))
    value = draw(st.sampled_from([torch.full((size(batch),), 7.0), torch.tensor(1), "words", None, [1, 2]]))
    return {**batch, name: value}, EITHER, [name]


def a_masked_value(batch, draw):
    if not float_modalities(batch):
        return batch, SAME, []
    name = draw(st.sampled_from(float_modalities(batch)))
    value = draw(st.sampled_from([torch.nan, torch.inf, 1e30, -5.0]))
    masked = torch.zeros(size(batch), dtype=torch.bool)
    masked[draw(st.integers(0, size(batch) - 1))] = True
    if f"{name}_present" in batch:
        masked |= ~batch[f"{name}_present"]
    changed, reference = batch[name].clone(), batch[name].clone()
    changed[masked], reference[masked] = value, 0.0
    mask = {f"{name}_present": ~masked}
    return (
        {**batch, name: changed, **mask},
        SAME,
        [name, "present", "missing", "in training"],
        {**batch, name: reference, **mask},
    )


def a_wrong_mask(batch, draw):
    name = draw(st.sampled_from(modalities(batch)))
    true = torch.ones(size(batch), dtype=torch.bool)
    wrong = draw(
        st.sampled_from([true.float(), true.long(), true[:, None], true[1:], "yes", True, [True], true.numpy()])
    )
    return {**batch, f"{name}_present": wrong}, REFUSED, [f"{name}_present"]


def nothing_present(batch, draw):
    row = draw(st.integers(0, size(batch) - 1))
    masks = {}
    for name in modalities(batch):
        masks[f"{name}_present"] = batch.get(f"{name}_present", torch.ones(size(batch), dtype=torch.bool)).clone()
        masks[f"{name}_present"][row] = False
    return {**batch, **masks}, REFUSED, [f"example {row}", "missing"]


def not_finite(batch, draw):
    if not float_modalities(batch):
        return batch, SAME, []
    name = draw(st.sampled_from(float_modalities(batch)))
    present = batch.get(f"{name}_present", torch.ones(size(batch), dtype=torch.bool))
    row = draw(st.sampled_from(present.nonzero()[:, 0].tolist()))
    changed = batch[name].clone()
    changed[row] = draw(st.sampled_from([torch.nan, torch.inf, -torch.inf]))
    return {**batch, name: changed}, REFUSED, [f"example {row}"]


def a_misspelt_name(batch, draw):
    name = draw(st.sampled_from(modalities(batch)))
    other = draw(st.sampled_from([name + "s", name[:-1] + "_", name.upper(), "img", "my_" + name, "x"]))
    return {(other if n == name else n): x for n, x in batch.items()}, REFUSED, [name]


def labels_in_another_shape(batch, draw):
    if "label" not in batch:
        return batch, SAME, []
    label = batch["label"]
    ways = {
        "column": label[:, None],
        "int32": label.int(),
        "float": label.float(),
        "double": label.double(),
        "bool": label.bool(),
        "one hot": torch.nn.functional.one_hot(label.long()) if not label.is_floating_point() else label[:, None, None],
        "ignored": torch.where(torch.arange(len(label)) == 1, -100, label),
        "too large": torch.where(torch.arange(len(label)) == 1, 1000, label),
        "twice as many": torch.cat([label, label]),
        "one": label[0],
        "none": None,
        "list": label.tolist(),
    }
    return {**batch, "label": ways[draw(st.sampled_from(sorted(ways)))]}, EITHER, ["label"]


def no_label(batch, draw):
    return {n: x for n, x in batch.items() if n != "label"}, EITHER, ["label"]


def captions_in_another_form(batch, draw):
    if "caption" not in batch:
        return batch, SAME, []
    caption = batch["caption"]
    ways = {
        "int32": caption.int(),
        "float": caption.float(),
        "padding first": caption.flip(-1),
        "one row": caption[..., 0],
        "twice as many": torch.cat([caption, caption]),
        "words": ["a red seven"] * len(caption),
        "no start": caption[..., 1:],
        "negative": -caption,
        "numpy": caption.numpy(),
    }
    return {**batch, "caption": ways[draw(st.sampled_from(sorted(ways)))]}, REFUSED, ["caption"]


def lengths_in_another_form(batch, draw):
    steps = max([x.shape[1] for n in modalities(batch) for x in [batch[n]] if x.ndim == 3], default=1)
    length = torch.full((size(batch),), steps)
    ways = [length.float(), length.int(), length[:, None], length[1:], 0 * length, length + 1, -length, "3", 3, None]
    return {**batch, "length": draw(st.sampled_from(ways))}, EITHER, ["length"]


def few_rows(batch, draw):
    rows = draw(st.integers(0, 1))
    words = ["least one", "empty", "number of examples", "modalit", "least two"]
    return {n: x[:rows] for n, x in batch.items()}, REFUSED if rows == 0 else FINITE, words


def rows_that_differ(batch, draw):
    names = modalities(batch)
    name = draw(st.sampled_from(names))
    changed = {**batch, name: batch[name][:-1]}
    if f"{name}_present" in batch:
        changed[f"{name}_present"] = batch[f"{name}_present"][:-1]
    return changed, REFUSED, [name, "number of examples", "must be", "labels"]


def another_shape(batch, draw):
    name = draw(st.sampled_from(modalities(batch)))
    x = batch[name]
    ways = [x[..., None], x[:, None], x.flatten(), x[..., :-1], torch.cat([x, x], -1), x[..., :0], x.sum()]
    wanted = FINITE if x.ndim == 4 else EITHER  # an image may be of another size
    return {**batch, name: draw(st.sampled_from(ways))}, wanted, [name, "caption", "encoder", "equal shapes"]


def no_dict(batch, draw):
    return (
        draw(st.sampled_from([list(batch.values()), tuple(batch.items()), None, batch[modalities(batch)[0]], "batch"])),
        (REFUSED),
        ["batch", "dict"],
    )


def a_subset_of_rows(batch, draw):
    rows = draw(st.lists(st.integers(0, size(batch) - 1), min_size=2, max_size=5, unique=True))
    return {n: x[rows] for n, x in batch.items()}, FINITE, []


HABITS = [
    another_float_type, all_float64, numpy_for_a_tensor, an_extra_key, a_masked_value, a_wrong_mask, nothing_present,
    not_finite, a_misspelt_name, labels_in_another_shape, no_label, captions_in_another_form, lengths_in_another_form,
    few_rows, rows_that_differ, another_shape, no_dict, a_subset_of_rows,
]  # fmt: skip


# ---- what happens


def outcome(model, method, batch):
    """The numbers that a method gives, or what it says, and how."""
    torch.manual_seed(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            given = getattr(model, method)(batch)
    except (TypeError, ValueError) as error:
        return None, " ".join([str(error), *getattr(error, "__notes__", [])])
    return [x.detach().clone() for x in tree_leaves(numbers(given)) if isinstance(x, Tensor)], None


def numbers(x):
    """Tensors of a result; a distribution gives its mean."""
    if isinstance(x, Distribution):
        return x.mean
    if isinstance(x, Mapping):
        return {name: numbers(value) for name, value in x.items()}
    return [numbers(value) for value in x] if isinstance(x, list | tuple) else x


def same(a, b):
    return len(a) == len(b) and all(
        x.shape == y.shape and torch.allclose(x.double(), y.double(), 1e-4, 1e-4, equal_nan=True)
        for x, y in zip(a, b, strict=True)
    )


@given(st.data())
def test_a_habit_is_understood_or_refused(data):
    case = data.draw(st.sampled_from(sorted(CASES)), label="model")
    model = CASES[case]()[0]
    methods = methods_of(model)
    check(case, data.draw(st.sampled_from(methods), label="method"), data.draw(st.sampled_from(HABITS)), data.draw)


def methods_of(model):
    """Those that take a batch; an MFM generates from latent codes, and not every model has a forward pass."""
    defined = [name for name in METHODS if callable(getattr(type(model), name, None))]
    without = [] if type(model).forward is not nn.Module.forward else ["forward"]
    return [name for name in defined if name not in without and (type(model), name) != (MFM, "generate")]


def check(case, method, habit, draw):
    """One batch; True if it was tried."""
    model, batch, *_ = CASES[case]()
    model.eval()
    plain, refused = outcome(model, method, batch)
    if refused is not None:  # a method that needs other arguments
        return False
    changed, wanted, words, *reference = habit(batch, draw)
    if changed is batch or (changed is None and method == "generate"):  # nothing to apply it to; "from the prior"
        return False
    if habit is captions_in_another_form and method == "forward":  # the beginning of a caption has a probability, too
        wanted = FINITE
    if case == "mfm, surrogate" and wanted == REFUSED:  # it does not read the modality that it replaces
        wanted = EITHER
    before = copy.deepcopy(model.state_dict())
    kept = {n: x.clone() for n, x in changed.items() if isinstance(x, Tensor)} if isinstance(changed, dict) else {}
    got, says = outcome(model, method, changed)
    event(f"{habit.__name__}: {'refused' if says else 'taken'}")
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items()), "the model has changed"
    assert all(same([changed[n]], [x]) for n, x in kept.items()), "the batch has changed"
    if reference:
        plain, refused = outcome(model, method, reference[0])
    if says is not None:
        assert wanted != SAME or refused is not None, f"refused: {says}"
        assert any(word in says for word in words), f"says nothing of {words}: {says}"
        return True
    assert refused is None, f"taken with {habit.__name__}, but refused without: {refused}"
    assert wanted != REFUSED, f"{habit.__name__} was taken without a word"
    if wanted == FINITE:
        assert all(x.isfinite().all() for x in got)
    elif method != "check_batch":
        assert same(got, plain), f"another result with {habit.__name__}"
    return True
