"""The dataset of modalities: what indexing gives, whole batches from its loader, and what is refused."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from mmtutor.data import MultimodalDataset

N = 11


class pandas_like:  # noqa: N801  a column of a table
    def __init__(self, values):
        self.values = values

    def to_numpy(self):
        return self.values

    def __array__(self, dtype=None, copy=None):
        return self.values


@pytest.fixture
def data():
    g = torch.Generator().manual_seed(0)
    return MultimodalDataset(
        {
            "image": torch.rand(N, 2, 3, generator=g),
            "text": torch.rand(N, 4, generator=g),
            "text_present": torch.rand(N, generator=g) > 0.5,
            "image_label": torch.arange(N),
            "label": torch.arange(N) % 3,
        }
    )


def test_what_are_modalities(data):
    assert data.modalities == ("image", "text")
    assert len(data) == N


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        ([0, 5, 2], [0, 5, 2]),
        ((0, 5, 2), [0, 5, 2]),  # a tuple is a list of examples, not one index along each of three axes
        ((1, 2), [1, 2]),
        ([7], [7]),
        (slice(2, 9, 3), [2, 5, 8]),
        (slice(None), list(range(N))),
        (range(3, 6), [3, 4, 5]),
        (torch.tensor([4, 4, -1]), [4, 4, N - 1]),
        (np.array([1, 3]), [1, 3]),
        (torch.arange(N) > 8, [9, 10]),
    ],
)
def test_a_batch_is_those_examples(data, index, rows):
    batch = data[index]
    assert list(batch) == list(data.tensors)
    for name, value in batch.items():
        expected = torch.stack([data.tensors[name][r] for r in rows])
        assert torch.equal(value, expected), name


def test_one_example(data):
    for k in (3, -1, np.int64(3)):
        assert all(torch.equal(value, data.tensors[name][k]) for name, value in data[k].items())
    for outside in (N, -N - 1, [0, N]):
        with pytest.raises(IndexError):
            data[outside]
    assert len(list(data)) == N  # iteration ends, as the standard protocol wants


@pytest.mark.parametrize("batch_size", [1, 4, N, 100])
def test_the_loader_gives_every_example_once_and_in_order(data, batch_size):
    batches = list(data.loader(batch_size))
    assert [len(b["label"]) for b in batches] == [min(batch_size, N - s) for s in range(0, N, batch_size)]
    for name, value in data.tensors.items():
        assert torch.equal(torch.cat([b[name] for b in batches]), value)


def test_shuffling_is_seeded_anew_in_every_pass_and_keeps_examples_together(data):
    loader, twin, other = (data.loader(4, shuffle=True, seed=s) for s in (1, 1, 2))

    def order(loader):
        batches = list(loader)
        whole = {name: torch.cat([b[name] for b in batches]) for name in data.tensors}
        rows = whole["image_label"]  # which is the row's number
        assert sorted(rows.tolist()) == list(range(N))
        assert all(torch.equal(value, data.tensors[name][rows]) for name, value in whole.items())
        return rows.tolist()

    first, second = order(loader), order(loader)
    assert first != second
    assert [order(twin), order(twin)] == [first, second]
    assert order(other) != first


def test_it_works_with_the_standard_loader(data):
    batches = list(DataLoader(data, batch_size=4))
    for name, value in data.tensors.items():
        assert torch.equal(torch.cat([b[name] for b in batches]), value)


def test_the_dict_handed_in_is_not_kept(data):
    tensors = dict(data.tensors)
    made = MultimodalDataset(tensors)
    tensors.pop("image")
    assert "image" in made.tensors


@pytest.mark.parametrize(
    ("tensors", "error", "words"),
    [
        ({}, ValueError, "at least one example"),
        ([torch.ones(3)], TypeError, "dict of tensors"),
        (None, TypeError, "dict of tensors"),
        ({3: torch.ones(3)}, TypeError, "name must be a string"),
        ({"a": np.ones(3)}, TypeError, r"'a' must be .* not ndarray; convert it with torch.from_numpy\(…\).float\(\)$"),
        ({"a": np.arange(3)}, TypeError, r"'a' must be .* not ndarray; convert it with torch.from_numpy\(…\)$"),
        ({"a": pandas_like(np.ones(3))}, TypeError, r"torch.from_numpy\(….to_numpy\(\)\).float\(\)$"),
        ({"a": np.array(["x", "y"])}, TypeError, "not ndarray of <U1, which torch does not have"),
        ({"a": [1, 2]}, TypeError, r"'a' must be a torch.Tensor, not list; convert it with torch.tensor\(…\)"),
        ({"a": torch.tensor(1.0)}, ValueError, "'a': 0"),
        ({"a": torch.ones(0, 3)}, ValueError, "'a': 0"),
        ({"a": torch.ones(3), "b": torch.ones(4)}, ValueError, "same length.*'a': 3, 'b': 4"),
        ({"a": torch.ones(3), "a_present": torch.ones(3)}, TypeError, "'a_present' must be of torch.bool"),
        ({"a": torch.ones(3), "a_present": torch.ones(3, 1) > 0}, ValueError, r"'a_present' must be of shape \(N,\)"),
    ],
)
def test_bad_tensors_are_refused(tensors, error, words):
    with pytest.raises(error, match=words):
        MultimodalDataset(tensors)


@settings(deadline=None, derandomize=True, max_examples=80)
@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "label", "a_present"]),
        st.one_of(
            st.builds(torch.zeros, st.lists(st.integers(0, 3), max_size=3)),
            st.builds(lambda n: torch.ones(n, dtype=torch.bool), st.integers(0, 3)),
            st.none(),
            st.text(max_size=2),
            st.lists(st.integers(), max_size=2),
        ),
        max_size=4,
    )
)
def test_any_dict_is_refused_by_name_or_works(tensors):
    try:
        data = MultimodalDataset(tensors)
    except (ValueError, TypeError) as error:
        message = str(error)
    else:
        message = "MultimodalDataset"
        assert len(data) == len(data[:][next(iter(tensors))]) >= 1
    assert message.startswith("MultimodalDataset")


def test_the_batch_size_may_be_a_number_of_numpy(data):
    assert len(list(data.loader(np.int64(4)))) == 3


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.one_of(
        st.integers(-(10**20), 0), st.floats(), st.text(max_size=3), st.none(), st.booleans(), st.lists(st.integers())
    )
)
@example(True)
@example(2.0)
def test_a_bad_batch_size_is_refused(batch_size):
    data = MultimodalDataset({"a": torch.ones(3)})
    with pytest.raises((ValueError, TypeError), match="batch_size must be"):
        data.loader(batch_size)


def test_lengths_are_no_modalities():
    length = torch.tensor([3, 2])
    data = MultimodalDataset({"series": torch.rand(2, 3, 1), "series_length": length, "arm_length": torch.rand(2, 1)})
    assert data.modalities == ("series", "arm_length")
