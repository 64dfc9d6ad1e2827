"""What the other processes of a run have embedded: the negatives of a batch are those of all its parts.

Under ``accelerate launch`` each process has a part of the batch. The loss of a part alone would have fewer negatives,
so it would be another loss. Each process computes the loss of the whole batch instead, from all embeddings, through
which gradients go back to the process that they came from.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


def gathered(x: Tensor) -> Tensor:
    """The rows of all processes, in their order; x itself where there is one process.

    Args:
        x: (B, …), B may differ from process to process. All processes must call this.
    """
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return x
    sizes = [torch.zeros(1, dtype=torch.int64, device=x.device) for _ in range(distributed.get_world_size())]
    distributed.all_gather(sizes, torch.tensor([len(x)], device=x.device))
    counts = [int(size) for size in sizes]
    padding = x.new_zeros(max(counts) - len(x), *x.shape[1:])
    every = _Everyone.apply(torch.cat([x, padding]))  # type: ignore[no-untyped-call]  # (processes, most of B, …)
    return torch.cat([part[:count] for part, count in zip(every, counts, strict=True)])


class _Everyone(torch.autograd.Function):
    """What every process has, stacked. Each of them computes a loss of all: their gradients add up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, x.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous()
        distributed.all_reduce(total)
        return total[distributed.get_rank()]
