"""Batches of captions that have the same number of words, so that no step is spent on padding.

Xu and others (2015, section 4.3): an update takes time in proportion to the longest caption of its batch; they sample a
length, and then a batch of captions of this length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from .encoded import EncodedPhotos
from .items import whole
from .vocabulary import PAD


class Sentences(Dataset[dict[str, Tensor]]):
    """The captions of photographs one by one: each example is a caption, and the regions of its photograph.

    Indexing with a number gives one example, with a list of numbers a batch whose captions are cut to the longest.

    Args:
        photos: from `EncodedPhotos.tokenised`.

    Attributes:
        words: how many numbers each caption has, its end included and its start not, a list.
    """

    def __init__(self, photos: EncodedPhotos) -> None:
        if "caption" not in photos.tensors:
            raise ValueError("Sentences: no captions as numbers; call .tokenised(vocabulary) on the photographs first")
        self.regions, caption = photos.tensors["regions"], photos.tensors["caption"]
        self.references = caption.shape[1]
        self.caption = caption.flatten(0, 1)  # (N R, T)
        self.words: list[int] = ((self.caption != PAD).sum(1) - 1).tolist()

    def __len__(self) -> int:
        return len(self.caption)

    def __getitem__(self, index: int | list[int]) -> dict[str, Tensor]:
        if isinstance(index, int):
            regions = self.regions[index // self.references].float()
            return {"regions": regions, "caption": self.caption[index]}
        longest = max(self.words[k] for k in index)
        rows = torch.tensor(index)
        return {
            "regions": self.regions[rows // self.references].float(),
            "caption": self.caption[rows, : longest + 1],
        }


class SameLength(Sampler[list[int]]):
    """Batches of examples of the same length, in a new random order in each pass.

    Args:
        lengths: of the examples.
        batch_size: the most examples of a batch; the last one of each length may be smaller.
        seed: of the order.

    Examples:
        >>> batches = [*SameLength([3, 5, 3, 5, 5], batch_size=2)]
        >>> sorted(map(sorted, batches), key=len)[0] in ([1], [3], [4]), len(batches)
        (True, 3)
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int = 0) -> None:
        self.lengths = list(lengths)
        self.batch_size = whole("SameLength", "batch_size", batch_size, 1)
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return sum(-(-count // self.batch_size) for count in Counter(self.lengths).values())

    def __iter__(self) -> Iterator[list[int]]:
        same: dict[int, list[int]] = {}
        for k in torch.randperm(len(self.lengths), generator=self.generator).tolist():
            same.setdefault(self.lengths[k], []).append(k)
        size = self.batch_size
        batches = [rows[i : i + size] for _, rows in sorted(same.items()) for i in range(0, len(rows), size)]
        for k in torch.randperm(len(batches), generator=self.generator).tolist():
            yield batches[k]


def same_length(photos: EncodedPhotos, batch_size: int, seed: int = 0) -> DataLoader[dict[str, Tensor]]:
    """The captions of photographs in batches of one length.

    Args:
        photos: from `EncodedPhotos.tokenised`.
        batch_size: the most captions of a batch.
        seed: of the order; `mmtutor.training.fit` sets it from its own.

    Returns:
        Batches of ``"regions"`` (B, L, D) and ``"caption"``, int64 (B, T + 1) without padding.

    Examples:
        >>> from mmtutor.data import Vocabulary
        >>> data = EncodedPhotos(torch.rand(2, 4, 3), [["a dog", "a big dog"], ["a cat", "cats"]])
        >>> loader = same_length(data.tokenised(Vocabulary(["a", "dog"]), 9, references=2), batch_size=8)
        >>> sorted(batch["caption"].shape for batch in loader)
        [torch.Size([1, 3]), torch.Size([1, 5]), torch.Size([2, 4])]
    """
    data = Sentences(photos)
    return DataLoader(data, batch_size=None, sampler=SameLength(data.words, batch_size, seed))
