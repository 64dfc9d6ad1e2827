"""When a modality is missing, its latent code is inferred from the others (Tsai and others, 2019, section 2.3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .checks import check_batch, kind, module, moved, reading, whole
from .costs import Batch
from .model import MFM, check_for, check_input, check_modalities, in_evaluation, observed


class Surrogate(nn.Module):
    """Φ: all latent codes, inferred without one modality (section 2.3).

    It learns Z_y and the style of the missing modality from the other modalities, by squared error to the latent codes
    that the trained model infers from all; those targets get no gradient. The missing modality is then decoded from its
    latent code, without ever modelling it directly. Other styles are inferred by the model itself.

    Args:
        model: a trained `MFM`, used in evaluation mode. It is not a part of this module and does not change, and stays
            on its device: what it reads is moved there, and what it gives is moved back.
        missing: the modality that is missing.
        encoder: from a batch without it to (B, size).
        size: of the encoder's output.

    Examples:
        >>> from mmtutor.mfm import LSTMEncoder, sequence_mfm
        >>> model = sequence_mfm({"words": 3, "voice": 2}, steps=4, classes=2)
        >>> surrogate = Surrogate(model, "voice", LSTMEncoder("words", 3, 5), 5)
        >>> sorted(surrogate.loss({"words": torch.rand(5, 4, 3), "voice": torch.rand(5, 4, 2)}))
        ['label', 'loss', 'voice']
        >>> surrogate.generate({"words": torch.rand(5, 4, 3)})["voice"].shape
        torch.Size([5, 4, 2])
    """

    def __init__(self, model: MFM, missing: str, encoder: nn.Module, size: int) -> None:
        super().__init__()
        self.others = check_missing(model, missing)
        self._model = (model,)  # in a tuple, so that it is no part of this module
        self.missing, self.encoder = missing, module("Surrogate", "encoder", encoder)
        self.inferred = [name for name in ("label", "style", missing) if name in model.parts]
        size = whole("Surrogate", "size", size)
        self.heads = nn.ModuleDict({name: nn.Linear(size, model.parts[name].z) for name in self.inferred})

    def latents(self, batch: Batch) -> dict[str, Tensor]:
        """Φ: the latent codes of the label and the missing modality, (B, z) each, from the other modalities."""
        rest = self.without_missing(batch)
        check_rest(self, rest)
        with reading(type(self).__name__, "all other modalities", rest, self.encoder):
            h = self.encoder(observed(moved(rest, self)))  # (B, h)
        return {name: head(h) for name, head in self.heads.items()}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """‖Φ(X without the missing modality) − Z‖², the sum over a latent code and the mean over examples.

        Args:
            batch: all modalities, the missing one too.
        """
        with self.model_in_evaluation() as model, torch.no_grad():
            targets = moved(model.infer(batch), self)
        terms = {name: (z - targets[name]).square().sum(1).mean() for name, z in self.latents(batch).items()}
        return {"loss": torch.stack([*terms.values()]).sum(), **terms}

    def infer(self, batch: Batch) -> dict[str, Tensor]:
        """All latent codes for a batch without the modality: those of Φ, and the styles of the other modalities."""
        inferred, rest = self.latents(batch), observed(self.without_missing(batch))
        with self.model_in_evaluation() as model:
            every = {n: inferred[n] if n in inferred else part.infer(rest)[0] for n, part in model.parts.items()}
        return moved(every, self)

    def forward(self, batch: Batch) -> Tensor:
        """Scores of the label without the modality, (B, classes)."""
        with self.model_in_evaluation() as model:
            return moved({"label": model.classify(model.factors(self.infer(batch)))}, self)["label"]

    def generate(self, batch: Batch) -> dict[str, Tensor]:
        """The missing modality and the others, reconstructed, and as ``"label"`` the scores of the label."""
        with self.model_in_evaluation() as model:
            return moved(model.generate(self.infer(batch)), self)

    def without_missing(self, batch: Batch) -> Batch:
        """The batch without the missing modality and its mask."""
        if not isinstance(batch, Mapping):
            raise TypeError(f"Surrogate: a batch must be a dict of tensors, got {kind(batch)}")
        return {name: x for name, x in batch.items() if name not in (self.missing, f"{self.missing}_present")}

    @contextmanager
    def model_in_evaluation(self) -> Iterator[MFM]:
        """The model in evaluation mode; every part of it is left in the mode it came in."""
        (model,) = self._model
        with in_evaluation(model):
            yield model

    def check_batch(self, batch: Batch) -> None:
        """Refuse what `loss` cannot take, as it does; values that are on the CPU."""
        (model,) = self._model
        check_modalities("MFM", batch, model=model)
        for part in model.parts.values():
            check_for(part.encoder, observed(batch))
        check_rest(self, self.without_missing(batch))


# ---- messages


def check_missing(model: MFM, missing: str) -> list[str]:
    """The modalities of a model besides the missing one; refuse one that it does not know."""
    modalities = sorted({*model.decoders, *model.parts} - {"label", "style"})
    if missing not in modalities:
        raise ValueError(f"Surrogate: the model knows no {missing!r}, only {', '.join(modalities)}")
    return [m for m in modalities if m != missing]


def check_rest(surrogate: Surrogate, batch: Batch) -> None:
    """Refuse a batch from which nothing can be inferred."""
    check_modalities("Surrogate", batch)
    if surrogate.others:
        check_batch("Surrogate", batch, surrogate.others, some=False, model=surrogate)
    check_input(surrogate, observed(batch))
