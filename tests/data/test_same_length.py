"""Batches of captions of one length: the same captions, the same loss, no padding."""

import pytest
import torch
from torch import nn

from mmtutor.captioning import ShowAndTell, ShowAttendTell, Tokens
from mmtutor.data import EncodedPhotos, Vocabulary, same_length
from mmtutor.training import fit

CAPTIONS = [["a dog", "a big dog", "dog"], ["a cat sits", "cat", "a cat"], ["one", "two", "three four five six"]]


@pytest.fixture
def data():
    torch.manual_seed(0)
    return EncodedPhotos(torch.rand(3, 4, 5).half(), CAPTIONS).tokenised(Vocabulary.from_captions(CAPTIONS), 9, 3)


def test_every_caption_comes_once_with_its_photograph_and_without_padding(data):
    loader, seen = same_length(data, batch_size=2), []
    for batch in loader:
        assert (batch["caption"] != 0).all()
        assert len(batch["caption"]) <= 2
        seen += zip(batch["regions"], batch["caption"], strict=True)
    assert len(loader) == 5  # four captions of one word are two batches, those of two, three and four words one each
    wanted = [(photo["regions"], row[row != 0]) for photo in (data[k] for k in range(3)) for row in photo["caption"]]
    assert len(seen) == len(wanted) == 9
    for regions, caption in wanted:
        assert any(regions.equal(r) and caption.equal(c) for r, c in seen)


@pytest.mark.parametrize("model", [ShowAndTell, ShowAttendTell])
def test_the_loss_is_that_of_padded_captions(data, model):
    model = model(nn.Identity(), 5, Tokens(len(data.captions) + 20), image="regions").double().eval()
    padded = model.loss({name: x.double() if x.is_floating_point() else x for name, x in data[:].items()})["words"]
    total = sum(
        len(batch["caption"]) * model.loss({**batch, "regions": batch["regions"].double()})["words"]
        for batch in same_length(data, batch_size=2)
    )
    assert (total / 9 - padded).abs() < 1e-12


def test_the_order_is_new_in_each_pass_and_the_same_with_the_same_seed(data):
    def order(loader):
        return [batch["caption"].tolist() for batch in loader]

    first, second = same_length(data, 2, seed=1), same_length(data, 2, seed=1)
    passes = [order(first) for _ in range(3)]
    assert passes == [order(second) for _ in range(3)]
    assert passes[0] != passes[1] or passes[1] != passes[2]


def test_it_trains_and_goes_on_after_a_stop(data, tmp_path, fit_device):
    def model():
        torch.manual_seed(0)
        return ShowAttendTell(nn.Identity(), 5, Tokens(30), image="regions", dropout=0.5)

    whole = fit(model(), same_length(data, 2), epochs=4, progress=False)
    fit(model(), same_length(data, 2), epochs=2, checkpoint=tmp_path / "run", progress=False)
    again = fit(model(), same_length(data, 2), epochs=4, checkpoint=tmp_path / "run", progress=False)
    assert whole.train["loss"][-1] < whole.train["loss"][0]
    if fit_device == "cpu":
        assert again.train == whole.train


def test_photographs_without_numbers_are_refused():
    with pytest.raises(ValueError, match=r"call .tokenised\(vocabulary\)"):
        same_length(EncodedPhotos(torch.rand(1, 4, 5), [["a"]]), 2)
    with pytest.raises(ValueError, match="batch_size"):
        same_length(EncodedPhotos(torch.rand(1, 4, 5), [["a"]]).tokenised(Vocabulary(["a"]), 5), 0)
