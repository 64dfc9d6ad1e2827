"""Low-rank against materialised tensor fusion, and against its textbook formulation.

``python -m benchmarks.fusion``, forward and backward, batch 64, on the CPU with one thread. The textbook formulation
is written here from the paper's equations: put a one before each feature vector, multiply by R matrices kept in a
three-dimensional tensor, take the product over the modalities, weigh the R results.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.timing import alternate
from mmtutor.fusion import LowRankFusion, TensorFusion

B, FEATURES, DIM, RANK = 64, 32, 64, 4


class TextbookLowRank(nn.Module):
    """The equations of Liu and others (2018) as they stand, with the parameters of ours."""

    def __init__(self, ours: LowRankFusion) -> None:
        super().__init__()
        weights = [
            torch.cat([f.bias[:, None], f.weight], 1).view(ours.rank, ours.dim, -1).transpose(1, 2)
            for f in ours.factors
        ]  # (R, dₘ+1, D)
        self.factors = nn.ParameterList(nn.Parameter(w.detach().clone()) for w in weights)
        self.weight = nn.Parameter(ours.weight.detach().clone()[None])
        self.bias = nn.Parameter(ours.bias.detach().clone())

    def forward(self, features: list[Tensor]) -> Tensor:
        """List of (B, dₘ) to (B, D)."""
        product: Tensor | None = None
        for factor, x in zip(self.factors, features, strict=True):
            with_one = torch.cat([x.new_ones(len(x), 1), x], 1)
            part = torch.matmul(with_one, factor)  # (R, B, D)
            product = part if product is None else product * part
        assert product is not None
        return torch.matmul(self.weight, product.permute(1, 0, 2)).squeeze(1) + self.bias


def step(merge: nn.Module, features: list[Tensor]) -> Callable[[], Tensor]:
    """Forward and backward of the mean square."""

    def run() -> Tensor:
        merge.zero_grad()
        loss: Tensor = merge(features).square().mean()
        loss.backward()
        return loss.detach()

    return run


def megabytes(merge: nn.Module) -> float:
    """Weights and their gradients, in MB."""
    return 2 * sum(p.numel() * p.element_size() for p in merge.parameters()) / 1e6


def main() -> None:
    """Print the table; the last line is the ratio of the fusion step to the textbook formulation at M = 3."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    ratio = 0.0
    print(f"forward and backward, batch {B}, {FEATURES} features a modality, D = {DIM}, rank {RANK}, one thread")
    print(f"{'modalities':>10} {'tensor ms':>10} {'textbook ms':>12} {'ours ms':>8} {'tensor MB':>10} {'ours MB':>8}")
    for m in (2, 3, 4):
        dims = [FEATURES] * m
        features = [torch.randn(B, FEATURES) for _ in dims]
        ours = LowRankFusion(dims, DIM, RANK)
        textbook = TextbookLowRank(ours)
        exact = copy.deepcopy(ours).double()
        inputs = [x.double() for x in features]
        torch.testing.assert_close(exact(inputs), TextbookLowRank(exact)(inputs), rtol=1e-6, atol=1e-9)
        times = alternate({"ours": step(ours, features), "textbook": step(textbook, features)}, repeats=100)
        # By itself: its tensor would push what the others need out of the processor's cache.
        tensor = TensorFusion(dims, DIM)
        times |= alternate({"tensor": step(tensor, features)}, repeats=7)
        print(
            f"{m:10} {1e3 * times['tensor']:10.2f} {1e3 * times['textbook']:12.2f} {1e3 * times['ours']:8.2f} "
            f"{megabytes(tensor):10.1f} {megabytes(ours):8.2f}"
        )
        if m == 3:
            ratio = times["textbook"] / times["ours"]
            print(f"           tensor fusion takes {times['tensor'] / times['ours']:.1f} times as long as low-rank")
    print(f"ratio: {ratio:.2f} (textbook low-rank over ours, three modalities)")


if __name__ == "__main__":
    main()
