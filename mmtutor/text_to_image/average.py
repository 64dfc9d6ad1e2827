"""A moving average of a network's weights, which draws better pictures than the last weights do."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from .checks import module, number


class MovingAverage(nn.Module):
    """A copy of a network that follows it, once for each change of its weights; it is always in evaluation mode.

    It begins with the weights as they are, and after t steps they still count decayᵗ: train several times
    1/(1 − decay) steps.

    Args:
        network: what it follows.
        decay: weight of the past at each step, from 0 to below 1; with 0 it is the network of one step ago.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = number("MovingAverage", "decay", decay, 0, 1)
        if self.decay == 1:
            raise ValueError("MovingAverage: with a decay of 1 it would never move")
        network = module("MovingAverage", "network", network)
        self.network = deepcopy(network).requires_grad_(False).eval()
        self.followed = _version(network)

    @torch.no_grad()
    def follow(self, network: nn.Module, *inputs: Tensor) -> None:
        """Move towards a network whose weights have changed; its own batch statistics are those of these inputs."""
        if _version(network) == self.followed:  # no step since: an accumulated gradient, or a trial
            return
        self.followed = _version(network)
        for kept, now in zip(self.network.parameters(), network.parameters(), strict=True):
            kept.lerp_(now.to(kept.dtype), 1 - self.decay)
        if any(True for _ in self.network.buffers()):  # statistics of the average, not of the network
            self.network.train()
            self.network(*inputs)
            self.network.eval()

    def forward(self, *inputs: Tensor) -> Any:
        """What the averaged network gives."""
        return self.network(*inputs)

    def train(self, mode: bool = True) -> MovingAverage:
        """As of any module; the average stays in evaluation mode."""
        super().train(mode)
        self.network.eval()
        return self


def _version(network: nn.Module) -> int:
    """A number that changes when a weight is changed in place, as optimisers do."""
    return sum(p._version for p in network.parameters())
