"""The experiment that finds photographs by sentences: on tiny data, what it counts and that it learns."""

import pytest
import torch
from torch import nn

from experiments import photo_retrieval
from experiments.photo_retrieval import CLAIMS, Words, one_seed, recalls, trained
from mmtutor.data import EncodedPhotos
from mmtutor.data.vocabulary import UNKNOWN
from mmtutor.sentences import RecurrentSentence

KINDS = ["dog", "cat", "man", "boat", "car", "tree", "bird", "house", "girl", "ball", "horse", "hat"]


def photographs(n, seed):
    """Regions that say which of twelve things is there, and five captions about it."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.arange(n) % 12
    regions = 3 * torch.eye(12)[kind][:, None] + 0.1 * torch.randn(n, 4, 12, generator=generator)
    captions = [[f"a {KINDS[k]} {word}" for word in ("here", "there", "runs", "stands", "waits")] for k in kind]
    return EncodedPhotos(regions.half(), captions)


@pytest.fixture
def small(monkeypatch):
    changed = {
        "size of a word vector": 16,
        "units": 16,
        "d": 16,
        "photographs a batch": 6,
        "epochs at most": 6,
        "patience": 6,
        "lr": 1e-2,
    }
    monkeypatch.setattr(photo_retrieval, "SETTINGS", photo_retrieval.SETTINGS | changed)


def test_a_photograph_finds_any_of_its_captions_and_a_caption_its_photograph():
    a = torch.eye(12)
    b = torch.stack([a, a], 1)  # (12, 2, 12), right but for three of them
    b[0], b[1], b[2] = a[[0, 1]], a[[2, 1]], a[[0, 1]]
    found = recalls(a, b)
    # 0: itself and the first of 2 are equal; 1: one of three that are equal; 2: only one of 1
    assert found["R@1, finds a sentence"] == pytest.approx((1 / 2 + 1 / 3 + 0 + 9) / 12)
    assert found["R@1, finds a photograph"] == pytest.approx((2 + 18) / 24)  # of the first six 0 and 3
    assert found["R@1"] == pytest.approx(((5 / 6 + 9) / 12 + 20 / 24) / 2)


class AsTheyAre(nn.Module):
    """Sentences, padded to six."""

    def forward(self, sentence):
        return nn.functional.pad(sentence, (0, 6 - sentence.shape[1]))


def test_sentences_that_are_read_by_length_keep_their_order():
    lengths = torch.tensor([3, 6, 1, 2, 5, 6, 4])
    sentence = torch.randint(1, 9, (7, 6)).masked_fill(torch.arange(6) >= lengths[:, None], 0)
    torch.testing.assert_close(Words(AsTheyAre(), 0.0)(sentence), sentence)
    reader = RecurrentSentence(9, 8).eval()
    torch.testing.assert_close(Words(reader, 0.0).eval()(sentence), reader(sentence))


def test_words_are_lost_in_training_alone_and_padding_never():
    words = Words(AsTheyAre(), 0.5)
    sentence = torch.tensor([[1, 5, 6, 2, 0, 0]] * 50)
    assert torch.equal(words.eval()(sentence), sentence)
    lost = words.train()(sentence)
    assert torch.equal(lost == 0, sentence == 0)
    assert set(lost[lost != sentence].tolist()) == {UNKNOWN}
    assert 0.3 < (lost[:, :4] == UNKNOWN).float().mean() < 0.7


def test_it_learns_goes_on_and_has_every_number_of_the_claims(tmp_path, small, fit_device):
    data = {split: photographs(12, seed) for seed, split in enumerate(("train", "valid", "test"))}
    numbers = one_seed(0, data, tmp_path)
    for claim in CLAIMS:
        assert {claim.larger, claim.smaller, *claim.show} <= numbers.keys()
    for row in ("InfoNCE", "bag"):  # the others need more steps than a test has
        assert numbers[f"R@5, finds a sentence, {row}"] > 0.5, row  # by chance 0.36
    again = trained("bag", data, tmp_path / "bag, seed 0", 0)  # it was trained: the same numbers at once
    assert {name: numbers[name] for name in again} == again
