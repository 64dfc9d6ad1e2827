"""Which examples make a batch, and the batches themselves."""

from __future__ import annotations

import copy
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate, default_convert

from mmtutor.data import MultimodalDataset
from mmtutor.data.arrays import on_device
from mmtutor.training.seeds import ORDER, mix, private_rng

Batch = dict[str, Tensor]
Data = Dataset[Any] | DataLoader[Any] | Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]]
LARGE = 2**31  # bytes; a larger dataset in memory is moved to the device batch by batch
CHUNK = 4096  # examples of a dataset in memory that are checked at a time


def batches_of(data: Data, batch_size: int, name: str = "data") -> Iterator[Batch]:
    """The batches of any data in their order, where they lie: what `fit` takes, without a model.

    Args:
        data: a dict of tensors, a map-style dataset of dicts of tensors, or a `DataLoader`, whose own batches are kept.
        batch_size: examples per batch; a `DataLoader` has its own.
        name: of the argument, for messages.

    Raises:
        TypeError: the data are of another kind, or a batch is no dict of tensors.
        ValueError: there are no examples.

    Examples:
        >>> [batch["x"].tolist() for batch in batches_of({"x": torch.arange(3)}, 2)]
        [[0, 1], [2]]
    """
    examples = Examples(data, name, batch_size, 0, shuffle=False)
    return examples.loaded(examples.plan(0), 0)


class Examples:
    """Which examples make the batches of an epoch, and those batches.

    An epoch's batches are lists of indices made from the seed and the epoch alone. So a resumed run skips the
    batches it has seen without loading them, and several processes agree on them without talking.
    """

    def __init__(self, data: Any, name: str, batch_size: int, seed: int, *, shuffle: bool) -> None:
        if isinstance(data, Mapping):
            with in_front(name):
                data = MultimodalDataset(data)
        self.source = data
        self.loader = data if isinstance(data, DataLoader) else None
        self.dataset: Any = data.dataset if isinstance(data, DataLoader) else data
        self.name, self.batch_size, self.seed, self.shuffle = name, batch_size, seed, shuffle
        self.moved: tuple[Border, MultimodalDataset] | None = None
        self._check_data()
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

    @property
    def gathered(self) -> bool:
        """Whether batches are rows of tensors in memory, to which no dataset or loader of one's own adds anything.

        The datasets of this library index whole batches; an ``__getitem__`` of one's own may mean a single example.
        """
        kind, loader = type(self.dataset), self.loader
        if not isinstance(self.dataset, MultimodalDataset) or hasattr(kind, "__getitems__"):
            return False
        if loader is not None and (loader.num_workers or loader.collate_fn not in (default_collate, default_convert)):
            return False
        return bool(kind.__getitem__.__module__.partition(".")[0] == "mmtutor")

    @property
    def small(self) -> bool:
        """Whether the dataset in memory may lie on the device as a whole."""
        return sum(int(x.nbytes) for x in self.dataset.tensors.values()) <= LARGE

    def loaded(self, plan: list[list[int]], epoch: int) -> Iterator[Batch]:
        """The batches of a plan, where the data lie."""
        if self.gathered:
            yield from (self.dataset[torch.tensor(index)] for index in plan)
            return
        # Its own generator, or starting to load would draw from the stream that the model draws from.
        options: dict[str, Any] = {"generator": torch.Generator().manual_seed(mix(self.seed, ORDER, epoch))}
        if (loader := self.loader) is not None:
            # Not persistent_workers: they start anew in each epoch, so that a resumed run draws what this one draws.
            names = ["num_workers", "collate_fn", "pin_memory", "timeout", "worker_init_fn"]
            names += ["prefetch_factor", "multiprocessing_context"] if loader.num_workers else []
            options |= {name: getattr(loader, name) for name in names}
        if loader is not None and loader.batch_sampler is None:
            batches = iter(DataLoader(self.dataset, None, sampler=plan, **options))
        else:
            batches = iter(DataLoader(self.dataset, batch_sampler=plan, **options))
        for _ in plan:
            with in_front(self.name):
                try:
                    batch = next(batches)
                except KeyError as error:
                    error.add_note("Have all examples of a batch the same names?")
                    raise
                except RuntimeError as error:
                    if "equal size" in str(error):
                        raise ValueError(
                            f"the examples of a batch have different shapes ({error}); bring them to one shape, or pad "
                            "them in the collate_fn of a DataLoader"
                        ) from error
                    raise
            self._check_batch(batch)
            yield dict(batch)

    def batches(self, plan: list[list[int]], epoch: int, device: torch.device, model: nn.Module) -> Iterator[Batch]:
        """The batches of a plan on the device of a model, which checks them before they leave the CPU."""
        border = Border(model, device)
        if self.gathered and self.small and border.crossed(self.dataset.tensors):
            yield from (self.on(border)[torch.tensor(index)] for index in plan)
            return
        for batch in self.loaded(plan, epoch):
            with in_front(self.name):
                border.check(batch)
            yield border.move(batch)

    def on(self, border: Border) -> MultimodalDataset:
        """The dataset in memory with its tensors on the device, checked and moved once: batches are gathered there."""
        if self.moved is None or self.moved[0] != border:
            data: MultimodalDataset = self.dataset
            for start in range(0, len(data), CHUNK):
                with in_front(f"{self.name}, counted from example {start}" if start else self.name):
                    border.check(data[torch.arange(start, min(start + CHUNK, len(data)))])
            data = copy.copy(data)
            data.tensors = border.move(data.tensors)
            self.moved = (border, data)
        return self.moved[1]

    # ---- messages

    def _check_data(self) -> None:
        """Refuse what is no map-style dataset of dicts, and a loader that makes its batches in a way of its own."""
        name, data, loader = self.name, self.dataset, self.loader
        wanted = (
            f"{name} must be a dict of tensors such as {{'image': (N, 3, 32, 32), 'label': (N,)}}, a map-style dataset "
            "(with a length) whose examples are such dicts, or a DataLoader of one"
        )
        of = "" if loader is None else f"{type(loader).__name__} of "
        of += type(data).__name__
        if loader is None and hasattr(data, "__array__"):
            raise TypeError(f"{wanted}; got {of}: put its columns into a dict, by name")
        sized = hasattr(data, "__getitem__") and hasattr(data, "__len__")
        named = isinstance(data, Mapping) and 0 not in data  # a loader asks for examples by number
        if isinstance(data, IterableDataset | str) or named or not sized:
            raise TypeError(f"{wanted}; got {of}")
        if len(data) == 0:
            raise ValueError(f"{name} has no examples")
        if loader is None and isinstance(data, list | tuple) and not isinstance(data[0], Mapping):
            raise TypeError(f"{wanted}; got {of} of {type(data[0]).__name__}")
        if loader is not None and type(loader).__iter__ is not DataLoader.__iter__:
            raise TypeError(
                f"{name}: {type(loader).__name__} has an __iter__ of its own, whose batches cannot be found again "
                "after a kill; hand over a plain DataLoader, with its own collate_fn where batches are changed"
            )

    def _check_batch(self, batch: Any) -> None:
        """Refuse what is no dict of tensors."""
        if not isinstance(batch, Mapping):
            raise TypeError(
                f"{self.name}: a batch must be a dict of tensors, got {reprlib.repr(batch)}; each example must be a "
                "dict such as {'image': …, 'label': …}; of columns in memory make a MultimodalDataset"
            )
        for key, value in batch.items():
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"{self.name}: a batch must be a dict of tensors, but {key!r} is {type(value).__name__} "
                    f"{reprlib.repr(value)}; make it a tensor in the dataset or in collate_fn, or leave it out"
                )


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

    def check(self, batch: Batch) -> None:
        """Refuse a bad batch before it leaves the CPU."""
        if self.crossed(batch) and (check := getattr(self.model, "check_batch", None)):
            check(batch)

    def move(self, batch: Mapping[str, Tensor]) -> Batch:
        """The batch on the device."""
        stay = [name for name in batch if name.endswith("_present") and getattr(self.model, "masks_on_cpu", False)]
        return {name: x if name in stay else on_device(x, self.device) for name, x in batch.items()}


@contextmanager
def in_front(name: str) -> Iterator[None]:
    """Say of which argument an error speaks."""
    try:
        yield
    except Exception as error:
        if type(error) in (TypeError, ValueError, RuntimeError):  # others may be made in other ways
            raise type(error)(f"{name}: {error}") from error
        error.add_note(f"This is about {name}.")
        raise
