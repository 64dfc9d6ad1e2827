"""Encoders of sentences: from the numbers of words to a vector, (N, T) to (N, dim).

| class | what it knows of the order of words |
| --- | --- |
| `BagOfWords` | nothing: "red seven and blue three" is "blue seven and red three" |
| `RecurrentSentence` | it reads from left to right, with a GRU |
| `TransformerSentence` | each word knows its place, and looks at all others |

Sentences are padded at their end. Word 0 is padding, which none of the encoders reads; a sentence of padding alone, as
of an example whose sentence is missing, gives zeros before the last layer.
"""

from __future__ import annotations

import operator

import torch
from torch import Tensor, nn

__all__ = ["BagOfWords", "RecurrentSentence", "TransformerSentence"]


class BagOfWords(nn.Module):
    """The mean of the vectors of its words, and a layer.

    Args:
        words: size of the vocabulary, padding included.
        dim: size of the output.
        embed: size of a word vector.

    Examples:
        >>> encoder = BagOfWords(9, dim=8)
        >>> a, b = encoder(torch.tensor([[1, 5, 7, 0], [7, 1, 5, 0]]))
        >>> a.shape, torch.allclose(a, b)
        (torch.Size([8]), True)
    """

    def __init__(self, words: int, dim: int = 64, embed: int = 64) -> None:
        super().__init__()
        words, dim, embed = _positive(words=words, dim=dim, embed=embed)
        self.words, self.dim = words, dim
        self.embedding = nn.Embedding(words, embed, padding_idx=0)
        self.output = nn.Linear(embed, dim)

    def forward(self, sentence: Tensor) -> Tensor:
        """Encode sentences, int64 (N, T)."""
        sentence, real = _expect(self, sentence)
        mean = self.embedding(sentence).sum(1) / real.sum(1, keepdim=True).clamp_min(1)  # (N, embed)
        encoded: Tensor = self.output(mean)
        return encoded


class RecurrentSentence(nn.Module):
    """A GRU reads the words; its state at the last word, and a layer.

    Args:
        words: size of the vocabulary, padding included.
        dim: size of the output.
        embed: size of a word vector.
        hidden: units of the GRU.

    Examples:
        >>> encoder = RecurrentSentence(9, dim=8)
        >>> a, b = encoder(torch.tensor([[1, 5, 7, 0], [1, 5, 7, 0]]))
        >>> torch.allclose(a, encoder(torch.tensor([[1, 5, 7]]))[0], atol=1e-6)  # padding is not read
        True
    """

    def __init__(self, words: int, dim: int = 64, embed: int = 64, hidden: int = 64) -> None:
        super().__init__()
        words, dim, embed, hidden = _positive(words=words, dim=dim, embed=embed, hidden=hidden)
        self.words, self.dim = words, dim
        self.embedding = nn.Embedding(words, embed, padding_idx=0)
        self.gru = nn.GRU(embed, hidden, batch_first=True)
        self.output = nn.Linear(hidden, dim)

    def forward(self, sentence: Tensor) -> Tensor:
        """Encode sentences, int64 (N, T)."""
        sentence, real = _expect(self, sentence)
        states, _ = self.gru(self.embedding(sentence))  # (N, T, hidden)
        last = (real.sum(1) - 1).clamp_min(0)[:, None, None].expand(-1, 1, states.shape[2])  # (N, 1, hidden)
        state = states.gather(1, last)[:, 0] * real.any(1, keepdim=True)  # (N, hidden)
        encoded: Tensor = self.output(state)
        return encoded


class TransformerSentence(nn.Module):
    """Words with a vector for each place, layers of self-attention, and the mean over the words.

    Args:
        words: size of the vocabulary, padding included.
        dim: size of the output.
        embed: size of a word vector, a multiple of ``heads``.
        heads: of each layer.
        layers: of self-attention.
        longest: the most words of a sentence.

    Examples:
        >>> encoder = TransformerSentence(9, dim=8).eval()
        >>> a, b = encoder(torch.tensor([[1, 5, 7, 0], [7, 1, 5, 0]]))
        >>> a.shape, torch.allclose(a, b)
        (torch.Size([8]), False)
    """

    def __init__(
        self, words: int, dim: int = 64, embed: int = 64, heads: int = 4, layers: int = 1, longest: int = 64
    ) -> None:
        super().__init__()
        words, dim, embed, heads, layers, longest = _positive(
            words=words, dim=dim, embed=embed, heads=heads, layers=layers, longest=longest
        )
        if embed % heads:
            raise ValueError(f"TransformerSentence: embed must be a multiple of heads = {heads}, got {embed}")
        self.words, self.dim, self.longest = words, dim, longest
        self.embedding = nn.Embedding(words, embed, padding_idx=0)
        self.place = nn.Parameter(0.1 * torch.randn(longest, embed))
        layer = nn.TransformerEncoderLayer(embed, heads, 2 * embed, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.output = nn.Linear(embed, dim)

    def forward(self, sentence: Tensor) -> Tensor:
        """Encode sentences, int64 (N, T), T at most ``longest``."""
        sentence, real = _expect(self, sentence)
        if sentence.shape[1] > self.longest:
            raise ValueError(
                f"TransformerSentence: sentences of {sentence.shape[1]} words, it was made for longest={self.longest}"
            )
        x = self.embedding(sentence) + self.place[: sentence.shape[1]]  # (N, T, embed)
        # A sentence of padding alone reads its first word, or the softmax would be of nothing.
        hidden = ~real & (torch.arange(real.shape[1], device=real.device) > 0)  # (N, T)
        x = self.layers(x, src_key_padding_mask=hidden)  # (N, T, embed)
        mean = (x * real[..., None]).sum(1) / real.sum(1, keepdim=True).clamp_min(1)  # (N, embed)
        encoded: Tensor = self.output(mean)
        return encoded


# ---- messages


def _positive(**sizes: int) -> list[int]:
    numbers = []
    for name, size in sizes.items():
        try:
            numbers.append(0 if isinstance(size, bool) else operator.index(size))
        except TypeError:  # no whole number
            numbers.append(0)
        if numbers[-1] < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {size!r}")
    return numbers


def _expect(module: BagOfWords | RecurrentSentence | TransformerSentence, sentence: Tensor) -> tuple[Tensor, Tensor]:
    """Sentences on the module's device, and which words are real, bool (N, T); values are checked on the CPU."""
    who = type(module).__name__
    if not isinstance(sentence, Tensor) or sentence.dtype != torch.int64 or sentence.ndim != 2 or 0 in sentence.shape:
        got = f"{sentence.dtype} {tuple(sentence.shape)}" if isinstance(sentence, Tensor) else type(sentence).__name__
        raise TypeError(f"{who}: expected the numbers of words, int64 (N, T), got {got}")
    if sentence.device.type == "cpu":
        wrong = (sentence < 0) | (sentence >= module.words)
        if wrong.any():
            row, place = wrong.nonzero()[0].tolist()
            raise ValueError(f"{who}: word {int(sentence[row, place])} in row {row} is not among the {module.words}")
        real = sentence != 0
        if (real[:, 1:] & ~real[:, :-1]).any():
            row = int((real[:, 1:] & ~real[:, :-1]).any(1).nonzero()[0])
            raise ValueError(f"{who}: padding (0) stands before a word in row {row}; it must be at the end")
    device = module.output.weight.device
    sentence = sentence.to(device, non_blocking=device.type not in ("cpu", "mps"))
    return sentence, sentence != 0
