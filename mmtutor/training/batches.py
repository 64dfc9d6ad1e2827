"""Which examples make a batch, and the batches themselves."""

from __future__ import annotations

import copy
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmtutor.data import MultimodalDataset
from mmtutor.training.seeds import ORDER, mix, private_rng

Batch = dict[str, Tensor]
Data = Dataset[Any] | DataLoader[Any]
LARGE = 2**31  # bytes; a larger dataset in memory is moved to the device batch by batch


class Examples:
    """Which examples make the batches of an epoch, and those batches.

    An epoch's batches are lists of indices made from the seed and the epoch alone. So a resumed run skips the
    batches it has seen without loading them, and several processes agree on them without talking.
    """

    def __init__(self, data: Data, name: str, batch_size: int, seed: int, *, shuffle: bool) -> None:
        self.loader = data if isinstance(data, DataLoader) else None
        self.dataset: Any = data.dataset if isinstance(data, DataLoader) else data
        if not (hasattr(self.dataset, "__getitem__") and hasattr(self.dataset, "__len__")):
            raise TypeError(
                f"{name} must be a map-style dataset (with a length) or a DataLoader of one, "
                f"got {type(data).__name__} of {type(self.dataset).__name__}"
            )
        if len(self.dataset) == 0:
            raise ValueError(f"{name} has no examples")
        self.name, self.batch_size, self.seed, self.shuffle = name, batch_size, seed, shuffle
        self.moved: tuple[torch.device, bool, MultimodalDataset] | None = None
        self.count = sum(map(len, self.plan(0)))
        if self.count == 0:
            raise ValueError(f"{name} makes no batches (does its DataLoader drop the only one?)")

    def plan(self, epoch: int) -> list[list[int]]:
        """The indices of each batch."""
        key = mix(self.seed, ORDER, epoch)
        if self.loader is None:
            order = list(range(len(self.dataset)))
            if self.shuffle:
                order = torch.randperm(len(order), generator=torch.Generator().manual_seed(key)).tolist()
            return [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        samplers = [self.loader.batch_sampler, self.loader.sampler]
        samplers += [getattr(sampler, "sampler", None) for sampler in samplers]
        with private_rng(key):
            for generator in [getattr(sampler, "generator", None) for sampler in samplers]:
                if generator is not None:
                    generator.manual_seed(key)
            # A loader with batch_size=None has a sampler that makes whole batches, as in `MultimodalDataset.loader`.
            plan = list(samplers[0] if samplers[0] is not None else self.loader.sampler)
        if not all(isinstance(batch, list | tuple) for batch in plan):
            raise TypeError(f"{self.name}: its DataLoader must make batches, not single examples")
        return [list(batch) for batch in plan]

    def batches(
        self, plan: list[list[int]], epoch: int, device: torch.device, *, masks: bool = True
    ) -> Iterator[Batch]:
        """The batches of a plan, on the device; with ``masks=False`` masks stay on the CPU."""
        loaded: Iterable[Any]
        if isinstance(self.dataset, MultimodalDataset):
            dataset = self.on(device, masks)
            loaded = (dataset[torch.tensor(index)] for index in plan)
        else:
            # Its own generator, or starting to load would draw from the stream that the model draws from.
            generator = torch.Generator().manual_seed(mix(self.seed, ORDER, epoch))
            names = ("num_workers", "collate_fn", "pin_memory", "timeout", "worker_init_fn")
            kept = {name: getattr(self.loader, name) for name in names if self.loader is not None}
            if self.loader is not None and self.loader.batch_sampler is None:
                loaded = DataLoader(self.dataset, None, sampler=plan, generator=generator, **kept)
            else:
                loaded = DataLoader(self.dataset, batch_sampler=plan, generator=generator, **kept)
        for batch in loaded:
            if not (isinstance(batch, Mapping) and all(isinstance(value, Tensor) for value in batch.values())):
                raise TypeError(f"{self.name}: a batch must be a dict of tensors, got {reprlib.repr(batch)}")
            yield to_device(batch, device, masks)

    def on(self, device: torch.device, masks: bool) -> MultimodalDataset:
        """The dataset in memory with its tensors on the device, moved once: batches are gathered there."""
        data: MultimodalDataset = self.dataset
        if device.type == "cpu" or sum(x.nbytes for x in data.tensors.values()) > LARGE:
            return data
        if self.moved is None or self.moved[:2] != (device, masks):
            data = copy.copy(data)
            data.tensors = to_device(data.tensors, device, masks)
            self.moved = (device, masks, data)
        return self.moved[2]


def to_device(batch: Mapping[str, Tensor], device: torch.device, masks: bool = True) -> Batch:
    """The batch on the device; its masks only if they are to move."""
    stay = [name for name in batch if name.endswith("_present") and not masks]
    # Copied while the program goes on; to the CPU what is read may not be there yet, and on MPS it may be gone.
    non_blocking = device.type not in ("cpu", "mps")
    return {name: x if name in stay else x.to(device, non_blocking=non_blocking) for name, x in batch.items()}
