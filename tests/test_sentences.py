"""What encoders of sentences promise: padding is not read, order counts or does not, and clear refusals."""

import pytest
import torch

from mmtutor.sentences import BagOfWords, RecurrentSentence, TransformerSentence

ENCODERS = [BagOfWords, RecurrentSentence, TransformerSentence]
every_encoder = pytest.mark.parametrize("make", ENCODERS)


def encoder(make):
    torch.manual_seed(0)
    return make(9, 6, 8).double()


@every_encoder
def test_padding_and_the_other_sentences_are_not_read(make):
    e = encoder(make)
    rows = torch.tensor([[3, 4, 5, 0, 0], [7, 1, 2, 8, 3], [6, 0, 0, 0, 0]])
    out = e(rows)
    assert out.shape == (3, 6)
    for row, n, vector in zip(rows, (3, 5, 1), out, strict=True):
        assert (e(row[None, :n])[0] - vector).abs().max() < 1e-12
    gradient = torch.autograd.grad(out.sum(), e.embedding.weight)[0]
    assert gradient[0].abs().max() == 0


@every_encoder
def test_only_a_bag_does_not_know_the_order(make):
    e = encoder(make)
    a, b = e(torch.tensor([[1, 2, 3, 4], [3, 2, 1, 4]]))
    assert torch.allclose(a, b) == (make is BagOfWords)


@every_encoder
def test_a_missing_sentence_gives_the_same_whatever_its_length(make):
    e = encoder(make)
    for T in (1, 4):
        assert (e(torch.zeros(1, T, dtype=torch.int64))[0] - e.output.bias).abs().max() < 1e-12


@every_encoder
def test_what_is_no_sentence_is_refused(make):
    e = encoder(make)
    for bad, error, says in (
        (torch.rand(2, 3), TypeError, r"int64 \(N, T\), got torch.float32 \(2, 3\)"),
        (torch.ones(3, dtype=torch.int64), TypeError, r"got torch.int64 \(3,\)"),
        ([[1, 2]], TypeError, "got list"),
        (torch.tensor([[1, 2], [1, 9]]), ValueError, "word 9 in row 1 is not among the 9"),
        (torch.tensor([[1, -1]]), ValueError, "word -1 in row 0"),
        (torch.tensor([[1, 2], [0, 2]]), ValueError, "padding .0. stands before a word in row 1"),
    ):
        with pytest.raises(error, match=says):
            e(bad)
    with pytest.raises(ValueError, match="dim must be a whole number"):
        make(9, 0)


def test_a_transformer_has_places_for_so_many_words():
    with pytest.raises(ValueError, match="sentences of 5 words, it was made for longest=4"):
        TransformerSentence(9, longest=4)(torch.ones(1, 5, dtype=torch.int64))
    with pytest.raises(ValueError, match="embed must be a multiple of heads = 4, got 6"):
        TransformerSentence(9, embed=6)
