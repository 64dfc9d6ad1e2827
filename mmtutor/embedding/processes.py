"""What the other processes of a run have embedded: the negatives of a batch are those of all its parts.

Under ``accelerate launch`` each process has a part of the batch. The loss of a part alone would have fewer negatives,
so it would be another loss. Each process computes the loss of the whole batch instead, from all embeddings, through
which gradients go back to the process that they came from.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def gathered(x: Tensor) -> Tensor:
    """The rows of all processes, in their order; x itself where there is one process.

    Args:
        x: (B, …), B may differ from process to process. All processes must call this.
    """
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return x
    from torch.distributed.nn.functional import all_gather

    sizes = [torch.zeros(1, dtype=torch.int64, device=x.device) for _ in range(distributed.get_world_size())]
    distributed.all_gather(sizes, torch.tensor([len(x)], device=x.device))
    counts = [int(size) for size in sizes]
    padding = x.new_zeros(max(counts) - len(x), *x.shape[1:])
    every = torch.cat([x, padding])
    if x.requires_grad:
        parts = all_gather(every)  # type: ignore[no-untyped-call]
    else:
        parts = [torch.empty_like(every) for _ in counts]
        distributed.all_gather(parts, every)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
