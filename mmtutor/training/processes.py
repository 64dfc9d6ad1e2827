"""Device and scale-out, all of it through Hugging Face accelerate."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn

from mmtutor.training.batches import Batch, Examples

T = TypeVar("T")


@contextmanager
def own_accelerator() -> Iterator[Any]:
    """An `Accelerator` whose process-wide state is gone afterwards: each `fit` is the first."""
    with warnings.catch_warnings():
        # accelerate imports tqdm.auto, which in a notebook misses ipywidgets; nothing here uses its bars.
        warnings.filterwarnings("ignore", message="IProgress not found")
        from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState, GradientState, PartialState

    shared = [(cls, dict(cls._shared_state)) for cls in (AcceleratorState, GradientState, PartialState)]
    try:
        # A batch without some modality leaves that modality's encoder unused; averaging must not wait for it.
        accelerator = Accelerator(kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)])
        kind = accelerator.distributed_type.value
        if kind != "NO" and not kind.startswith("MULTI_"):
            raise ValueError(f"fit: accelerate is configured for {kind}; fit knows one process or data parallelism")
        if accelerator.gradient_accumulation_steps != 1:
            raise ValueError("fit: accelerate is configured to accumulate gradients; use accumulate=... instead")
        yield accelerator
    finally:
        for cls, state in shared:
            cls._shared_state.clear()
            cls._shared_state.update(state)


class Share:
    """This process's part of every batch; the whole of it when there is only one process."""

    def __init__(self, accelerator: Any = None) -> None:
        self.accelerator = accelerator
        self.count: int = accelerator.num_processes if accelerator else 1
        self.rank: int = accelerator.process_index if accelerator else 0
        self.main = self.rank == 0

    def batches(
        self, examples: Examples, plan: list[list[int]], epoch: int, device: torch.device, model: nn.Module
    ) -> Iterator[tuple[int, float, Batch]]:
        """Size of the whole batch, the part of it that is ours (0 to 1), and our part."""
        parts, weights = [], []
        for index in plan:
            mine = index
            if self.count > 1:
                with self.accelerator.split_between_processes(index) as mine:
                    pass
            # Fewer examples than processes: take one along with weight 0, since all must step together.
            weights.append(len(mine) / len(index) if self.rank < len(index) else 0.0)
            parts.append(mine or index[-1:])
        loaded = examples.batches(parts, epoch, device, model)
        for index, weight, batch in zip(plan, weights, loaded, strict=True):
            yield len(index), weight, batch

    def means(self, values: list[list[float]], weights: list[float]) -> list[list[float]]:
        """The values of some steps, each a mean over our share of a batch, as means over the whole batches."""
        if self.count == 1:
            return values
        # A share without weight adds nothing, not even a NaN.
        parts = [[w * v if w else 0.0 for v in row] for row, w in zip(values, weights, strict=True)]
        whole = [torch.tensor(row, dtype=torch.float64) for row in parts]
        return [self.accelerator.reduce(row.to(self.accelerator.device), "sum").tolist() for row in whole]

    def gather(self, value: T) -> list[T]:
        """What each process has, in the order of the processes."""
        if self.count == 1:
            return [value]
        from accelerate.utils import gather_object

        gathered: list[T] = gather_object([value])
        return gathered

    def same_buffers(self, model: nn.Module) -> None:
        """Give every process the first one's buffers, such as the running means of batch normalisation."""
        if self.count > 1:
            from accelerate.utils import broadcast

            for buffer in model.buffers():
                broadcast(buffer)
