"""When a modality is missing its code is inferred from the others (Tsai and others, 2019, section 2.3)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .model import MFM, Batch


class Surrogate(nn.Module):
    """Φ: the codes of a whole example, inferred without one modality (section 2.3).

    It learns Z_y and the style of the missing modality from the modalities that are there, by squared error to the codes that
    the trained model infers from all; those are only looked at and get no gradient. The missing modality can then be made
    from its code, without ever modelling it directly. Other styles are inferred by the model itself.

    Args:
        model: a trained `MFM`, used in evaluation mode. It is not a part of this module and does not change; move it to
            another device yourself.
        missing: the modality that is not there.
        encoder: from a batch without it to (B, size).
        size: what the encoder gives.
    """

    def __init__(self, model: MFM, missing: str, encoder: nn.Module, size: int) -> None:
        super().__init__()
        modalities = {*model.decoders, *model.parts} - {"label", "style"}
        if missing not in modalities:
            raise ValueError(f"Surrogate: the model knows no {missing!r}, only {', '.join(sorted(modalities))}")
        self._model, self.missing, self.encoder = (model,), missing, encoder
        self.inferred = [name for name in ("label", "style", missing) if name in model.parts]
        self.heads = nn.ModuleDict({name: nn.Linear(size, model._factor(name).z) for name in self.inferred})

    def codes(self, batch: Batch) -> dict[str, Tensor]:
        """The codes that Φ infers, from the modalities that are there."""
        hidden = (self.missing, f"{self.missing}_present")
        seen = self.encoder({name: x for name, x in batch.items() if name not in hidden})
        return {name: head(seen) for name, head in self.heads.items()}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """‖Φ(X without the missing modality) − Z‖², summed over a code and averaged over examples; batches are whole."""
        with self._asked() as model, torch.no_grad():
            target = model.infer(batch)
        terms = {name: (z - target[name]).square().sum(1).mean() for name, z in self.codes(batch).items()}
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}

    def infer(self, batch: Batch) -> dict[str, Tensor]:
        """All codes for a batch without the modality: those of Φ, and the styles of the modalities that are there."""
        found = self.codes(batch)
        with self._asked() as model:
            return {n: found[n] if n in found else model._factor(n).infer(batch)[0] for n in model.parts}

    def forward(self, batch: Batch) -> Tensor:
        """Scores of the label without the modality, (B, classes)."""
        with self._asked() as model:
            return model.scores(model.factors(self.infer(batch)))

    def generate(self, batch: Batch) -> dict[str, Tensor]:
        """The missing modality and all others, made again; and the scores of the label."""
        with self._asked() as model:
            return model.generate(self.infer(batch))

    @contextmanager
    def _asked(self) -> Iterator[MFM]:
        """The model in evaluation mode; every part of it is left in the mode it came in."""
        (model,) = self._model
        before = [(module, module.training) for module in model.modules()]
        try:
            yield model.eval()
        finally:
            for module, training in before:
                module.training = training
