"""A multimodal dataset: a dict of tensors in memory, indexed by example."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from .arrays import on_device


class MultimodalDataset(Dataset[dict[str, Tensor]]):
    """Multimodal examples in memory: modality name to a tensor of shape ``(N, ...)``.

    A modality that is missing for some examples comes with a boolean tensor ``"<modality>_present"`` of shape
    ``(N,)``; its values are zero where it is missing. The class is ``"label"``, int64 of shape ``(N,)``.

    Indexing with an int gives one example, with a list of ints, a slice or a tensor a whole batch, always as
    a dict of tensors. It works with any ``DataLoader``; ``loader`` indexes whole batches and is much faster.

    Args:
        tensors: one tensor per name, all of the same length N ≥ 1.

    Raises:
        TypeError: a value is not a tensor, a name not a string, or a mask not boolean.
        ValueError: there is nothing in it, the lengths differ, or a mask is not (N,).

    Examples:
        >>> data = MultimodalDataset({"shape": torch.rand(5, 16), "label": torch.arange(5)})
        >>> len(data), data.modalities, data[[0, 2]]["shape"].shape
        (5, ('shape',), torch.Size([2, 16]))
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        if not isinstance(tensors, Mapping):
            raise TypeError(f"MultimodalDataset: tensors must be a dict of tensors, not {type(tensors).__name__}")
        for name, value in tensors.items():
            if not isinstance(name, str):
                raise TypeError(f"MultimodalDataset: a name must be a string, not {name!r}")
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"MultimodalDataset: {name!r} must be a torch.Tensor, not {type(value).__name__}{_convert(value)}"
                )
            if name.endswith("_present") and value.dtype != torch.bool:
                raise TypeError(f"MultimodalDataset: the mask {name!r} must be of torch.bool, not {value.dtype}")
            if name.endswith("_present") and value.ndim != 1:
                raise ValueError(
                    f"MultimodalDataset: the mask {name!r} must be of shape (N,), got {tuple(value.shape)}"
                )
        lengths = {name: len(value) if value.ndim else 0 for name, value in tensors.items()}
        if not lengths or 0 in lengths.values():
            raise ValueError(f"MultimodalDataset: every tensor needs at least one example, got lengths {lengths}")
        if len(set(lengths.values())) > 1:
            raise ValueError(f"MultimodalDataset: all tensors must have the same length, got {lengths}")
        self.tensors = dict(tensors)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities: without labels, masks, and lengths, the numbers of real steps of sequences."""
        ends = ("_present", "_label", *(f"{m}_length" for m in self.tensors))
        return tuple(n for n in self.tensors if n not in ("label", "length") and not n.endswith(ends))

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> dict[str, Tensor]:
        if isinstance(index, tuple):  # for a tensor, a tuple is one index along each of several axes
            index = list(index)
        return {name: take(value, index) for name, value in self.tensors.items()}

    def loader(self, batch_size: int, *, shuffle: bool = False, seed: int = 0) -> DataLoader[dict[str, Tensor]]:
        """Batches as dicts of tensors; the last one may be smaller.

        Args:
            batch_size: examples per batch, at least 1.
            shuffle: draw a new order in every pass.
            seed: of the order; the same seed gives the same orders.
        """
        if not hasattr(batch_size, "__index__") or isinstance(batch_size, bool):
            raise TypeError(f"MultimodalDataset.loader: batch_size must be an int, got {batch_size!r}")
        batch_size = operator.index(batch_size)
        if batch_size < 1:
            raise ValueError(f"MultimodalDataset.loader: batch_size must be at least 1, got {batch_size}")
        order = (
            RandomSampler(self, generator=torch.Generator().manual_seed(seed)) if shuffle else SequentialSampler(self)
        )
        return DataLoader(self, sampler=BatchSampler(order, batch_size, drop_last=False), batch_size=None)


def take(x: Tensor, index: int | slice | Sequence[int] | Tensor) -> Tensor:
    """The rows of x; indices are copied to its device while the program goes on."""
    return x[on_device(index, x.device) if isinstance(index, Tensor) else index]


def _convert(value: object) -> str:
    """How to make a tensor of a value that is none; NumPy and pandas make float64, and models are float32."""
    if not isinstance(value, np.ndarray) and not hasattr(value, "to_numpy"):
        return "; convert it with torch.tensor(…)" if isinstance(value, list | tuple) else ""
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        return f" of {array.dtype}, which torch does not have"
    to_numpy = "" if isinstance(value, np.ndarray) else ".to_numpy()"
    return f"; convert it with torch.from_numpy(…{to_numpy}){'.float()' if array.dtype == np.float64 else ''}"
