"""Which examples make a batch, and the batches themselves."""

from __future__ import annotations

import copy
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mmtutor.data import MultimodalDataset
from mmtutor.data.arrays import on_device
from mmtutor.training.seeds import ORDER, mix, private_rng

Batch = dict[str, Tensor]
Data = Dataset[Any] | DataLoader[Any]
LARGE = 2**31  # bytes; a larger dataset in memory is moved to the device batch by batch
CHUNK = 4096  # examples of a dataset in memory that are checked at a time


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
        self.moved: tuple[Border, MultimodalDataset] | None = None
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

    def steps(self, epoch: int, accumulate: int) -> list[list[list[int]]]:
        """The indices of each batch of each step."""
        plan = self.plan(epoch)
        return [plan[i : i + accumulate] for i in range(0, len(plan), accumulate)]

    def batches(self, plan: list[list[int]], epoch: int, device: torch.device, model: nn.Module) -> Iterator[Batch]:
        """The batches of a plan on the device of a model, which checks them before they leave the CPU."""
        loaded: Iterable[Any]
        border = Border(model, device)
        if isinstance(self.dataset, MultimodalDataset):
            if border.crossed(self.dataset.tensors) and sum(x.nbytes for x in self.dataset.tensors.values()) <= LARGE:
                yield from (self.on(border)[torch.tensor(index)] for index in plan)
                return
            loaded = (self.dataset[torch.tensor(index)] for index in plan)
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
            yield border.move(border.check(dict(batch)))

    def on(self, border: Border) -> MultimodalDataset:
        """The dataset in memory with its tensors on the device, checked and moved once: batches are gathered there."""
        if self.moved is None or self.moved[0] != border:
            data: MultimodalDataset = self.dataset
            for start in range(0, len(data), CHUNK):
                try:
                    border.check(data[torch.arange(start, min(start + CHUNK, len(data)))])
                except ValueError as error:
                    counted = f", counted from example {start}" if start else ""
                    raise ValueError(f"{self.name}{counted}: {error}") from error
            data = copy.copy(data)
            data.tensors = border.move(data.tensors)
            self.moved = (border, data)
        return self.moved[1]


class Border(NamedTuple):
    """Between the data and a model on a device.

    A model may have a method ``check_batch``, which refuses what its loss cannot take. Once values are on a GPU nobody
    looks at them: to read them back, a program must wait for it. On the CPU the loss itself checks each batch. A model
    with ``masks_on_cpu = True`` wants masks on the CPU, where it chooses rows by them.
    """

    model: nn.Module
    device: torch.device

    def crossed(self, batch: Mapping[str, Tensor]) -> bool:
        """Whether values leave the CPU."""
        return self.device.type != "cpu" and any(x.device.type == "cpu" for x in batch.values())

    def check(self, batch: Batch) -> Batch:
        """The batch, checked if it leaves the CPU."""
        if self.crossed(batch) and (check := getattr(self.model, "check_batch", None)):
            check(batch)
        return batch

    def move(self, batch: Mapping[str, Tensor]) -> Batch:
        """The batch on the device."""
        stay = [name for name in batch if name.endswith("_present") and getattr(self.model, "masks_on_cpu", False)]
        return {name: x if name in stay else on_device(x, self.device) for name, x in batch.items()}
