"""Starts: from a batch to λ₀, (B, 2 d). Any module from a batch to λ₀ can be one, such as an encoder of all modalities.

    λ₀ = encoder(xᵢ)        `FromModality`
    λ₀ = (0, log 1)         `FromPrior`

The refiner improves what they give.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .checks import check_batch, check_names, check_unpadded, module, moved, reading, whole

Batch = Mapping[str, Tensor]


class FromModality(nn.Module):
    """A start that sees one modality, as in the slides of Oshima and others. It must be present in each example.

    Args:
        modality: its name.
        encoder: a network from it to λ (B, 2 d).

    Examples:
        >>> import torch
        >>> FromModality("sound", torch.nn.Linear(3, 4))({"sound": torch.rand(5, 3)}).shape
        torch.Size([5, 4])
    """

    def __init__(self, modality: str, encoder: nn.Module) -> None:
        super().__init__()
        check_names("FromModality", [modality])
        self.modality, self.encoder = modality, module("FromModality", "encoder", encoder)

    def forward(self, batch: Batch) -> Tensor:
        """λ₀, (B, 2 d)."""
        check_batch("FromModality", batch, [self.modality], model=self)
        check_unpadded("FromModality", batch, [self.modality])
        x = moved({"x": batch[self.modality]}, self)["x"]
        with reading("FromModality", self.modality, x, self.encoder):
            lam: Tensor = self.encoder(x)  # (B, 2 d)
        return lam


class FromPrior(nn.Module):
    """A start that sees nothing: λ₀ is that of the prior N(0, I), all 0, on the batch's device.

    It is so where the second half of λ is log σ or log σ².

    Args:
        latent: d.

    Examples:
        >>> import torch
        >>> FromPrior(2)({"sound": torch.rand(1, 3)})
        tensor([[0., 0., 0., 0.]])
    """

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = whole("FromPrior", "latent", latent)

    def forward(self, batch: Batch) -> Tensor:
        """λ₀, (B, 2 d)."""
        check_not_empty(batch)
        x = next((x for x in batch.values() if x.is_floating_point()), next(iter(batch.values())))
        dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
        return torch.zeros(len(x), 2 * self.latent, dtype=dtype, device=x.device)  # (B, 2 d)


# ---- messages


def check_not_empty(batch: Batch) -> None:
    """Refuse a batch that does not say how many examples it has."""
    if not batch:
        raise ValueError("FromPrior: the batch is empty")
