"""A shared workspace: a few numbers that every module can write and read. Equations: see ``__init__.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations

import torch
from torch import Tensor, nn

from .categories import filled
from .checks import check_batch, check_names, kind, module, modules, moved, named, number, reading

Names = str | Sequence[str] | None
LOSSES = ("translation", "contrastive", "demi_cycle", "cycle")


class SharedWorkspace(nn.Module):
    """A global workspace: frozen modules write their latent codes into k shared numbers, and read from them.

    What is trained are small encoders into the workspace and small decoders out of it. Two losses need pairs,
    translation and contrastive; two do not, demi-cycle and cycle. So with masks ``"<modality>_present"``, bool (B,),
    a batch may hold few pairs and many examples of one modality alone. A batch may be on any device; what is returned
    is on that of the parameters.

    Args:
        encoders: eᵢ of each modality, a network (B, dᵢ) to (B, k).
        decoders: dᵢ of each modality, a network (B, k) to (B, dᵢ).
        weights: of the losses by name: ``"translation"``, ``"contrastive"``, ``"demi_cycle"``, ``"cycle"``; one that is
            not named is 0, and not computed. None: translation and demi-cycle, 1 each.
        contrast: what the contrastive loss is, a module called with cosines (B, B), the partner of each column (B,),
            and which pairs count, bool (B, B), such as `mmtutor.embedding.InfoNCE`.

    Raises:
        TypeError: a network is no module.
        ValueError: modalities differ, a weight is unknown, or the contrastive loss has no ``contrast``.

    Examples:
        >>> model = SharedWorkspace(
        ...     {"picture": nn.Linear(3, 2), "voice": nn.Linear(4, 2)},
        ...     {"picture": nn.Linear(2, 3), "voice": nn.Linear(2, 4)},
        ...     {"translation": 1.0, "cycle": 0.5},
        ... )
        >>> batch = {"picture": torch.rand(5, 3), "voice": torch.rand(5, 4), "voice_present": torch.arange(5) < 2}
        >>> sorted(model.loss(batch))  # two pairs, and three pictures alone
        ['cycle', 'loss', 'translation']
        >>> model.translate({"voice": torch.rand(6, 4)}, to="picture").shape
        torch.Size([6, 3])
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        decoders: Mapping[str, nn.Module],
        weights: Mapping[str, float] | None = None,
        contrast: nn.Module | None = None,
    ) -> None:
        self.weights = _check(encoders, decoders, weights, contrast)
        super().__init__()
        self.encoders, self.decoders = nn.ModuleDict(encoders), nn.ModuleDict(decoders)
        self.contrast = contrast

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The losses by name and ``"loss"``, their weighted sum, () each.

        Raises:
            TypeError: a modality is no tensor, or of another float type than the parameters.
            ValueError: a modality is missing or misspelt, sizes differ, or values are NaN or infinite.
        """
        self.check_batch(batch)
        v, there = self._codes(moved(batch, self))
        s = {m: self.write(m, v[m]) for m in v}  # (B, k) each
        compute = {
            "translation": self._translation, "contrastive": self._contrastive,
            "demi_cycle": self._demi_cycle, "cycle": self._cycle,
        }  # fmt: skip
        losses = {name: compute[name](v, s, there) for name, weight in self.weights.items() if weight}
        total = torch.stack([self.weights[name] * x for name, x in losses.items()]).sum()
        return {"loss": total} | losses

    def _translation(self, v: dict[str, Tensor], s: dict[str, Tensor], there: dict[str, Tensor]) -> Tensor:
        """‖dⱼ(eᵢ(vᵢ)) − vⱼ‖², of pairs."""
        costs = [_mean(_error(self.read(j, s[i]), v[j]), there[i] & there[j]) for i, j in permutations(v, 2)]
        return torch.stack(costs).mean()

    def _contrastive(self, v: dict[str, Tensor], s: dict[str, Tensor], there: dict[str, Tensor]) -> Tensor:
        """Which eᵢ(vᵢ) of the batch belongs to which eⱼ(vⱼ)? Of pairs."""
        unit = {m: nn.functional.normalize(x.float() if x.dtype != torch.float64 else x, dim=1) for m, x in s.items()}
        names, costs = list(v), []
        for n, i in enumerate(names):
            for j in names[n + 1 :]:
                both = there[i] & there[j]  # (B,)
                owner = torch.arange(len(both), device=both.device)
                assert self.contrast is not None
                costs.append(self.contrast(unit[i] @ unit[j].T, owner, both[:, None] & both))
        return torch.stack(costs).mean()

    def _demi_cycle(self, v: dict[str, Tensor], s: dict[str, Tensor], there: dict[str, Tensor]) -> Tensor:
        """‖dᵢ(eᵢ(vᵢ)) − vᵢ‖², of all."""
        return torch.stack([_mean(_error(self.read(i, s[i]), v[i]), there[i]) for i in v]).mean()

    def _cycle(self, v: dict[str, Tensor], s: dict[str, Tensor], there: dict[str, Tensor]) -> Tensor:
        """‖dᵢ(eⱼ(dⱼ(eᵢ(vᵢ)))) − vᵢ‖², of all: there and back through the other module."""
        costs = []
        for i, j in permutations(v, 2):
            back = self.read(i, self.write(j, self.read(j, s[i])))  # (B, dᵢ)
            costs.append(_mean(_error(back, v[i]), there[i]))
        return torch.stack(costs).mean()

    def write(self, modality: str, v: Tensor) -> Tensor:
        """A module's latent code (B, dᵢ) in the workspace, (B, k)."""
        with reading("SharedWorkspace", modality, v, self.encoders[modality]):
            s: Tensor = self.encoders[modality](v)
        return s

    def read(self, modality: str, s: Tensor) -> Tensor:
        """What a module reads in the workspace (B, k): a latent code (B, dᵢ)."""
        v: Tensor = self.decoders[modality](s)
        return v

    def encode(self, batch: Mapping[str, Tensor], modalities: Names = None) -> Tensor:
        """The workspace, (B, k): the mean of what the named modalities write, or of all that are there."""
        here = check_batch("SharedWorkspace", batch, self.encoders, model=self)
        v, there = self._codes(moved(batch, self))
        written = [self.write(m, v[m]) * there[m][:, None] for m in named("SharedWorkspace", modalities, here)]
        count = torch.stack([there[m] for m in named("SharedWorkspace", modalities, here)]).sum(0)  # (B,)
        return torch.stack(written).sum(0) / count.clamp_min(1)[:, None]  # (B, k)

    def translate(self, batch: Mapping[str, Tensor], to: str, modalities: Names = None) -> Tensor:
        """The latent code of a modality (B, d), read from what others write; the others are all but itself."""
        to = named("SharedWorkspace", to, self.encoders)[0]
        others = [m for m in self.encoders if m in batch and m != to] if modalities is None else modalities
        return self.read(to, self.encode(batch, others))

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The workspace, (B, k); as `encode`."""
        return self.encode(batch)

    def _codes(self, batch: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Latent codes, 0 where they are missing, and where they are there, bool (B,)."""
        v, there = {}, {}
        for m in self.encoders:
            if m in batch:
                present = batch.get(f"{m}_present")
                there[m] = (
                    torch.ones(len(batch[m]), dtype=torch.bool, device=batch[m].device) if present is None else present
                )
                v[m] = filled(batch[m], present)
        return v, there

    # ---- messages

    def check_batch(self, batch: Mapping[str, Tensor]) -> None:
        """Refuse what `loss` cannot take, as it does; values that are on the CPU."""
        here = check_batch("SharedWorkspace", batch, self.encoders, model=self)
        if missing := [m for m in self.encoders if m not in here]:
            raise ValueError(
                f"SharedWorkspace: the batch has no {missing[0]!r}; where it is missing for some examples, say so with "
                f"'{missing[0]}_present'"
            )


def procrustes(a: Tensor, b: Tensor) -> Tensor:
    """The rotation or reflection Q with the smallest ‖a Q − b‖², (d, d): a Q is a turned onto b.

    With aᵀb = U S Vᵀ it is Q = U Vᵀ (Schönemann, 1966). Without noise d pairs in general position determine it.

    Args:
        a: float (n, d).
        b: float (n, d), the partners.

    Raises:
        TypeError: they are no tensors.
        ValueError: they are of different shapes.

    Examples:
        >>> a = torch.eye(2)
        >>> procrustes(a, torch.tensor([[0.0, 1.0], [-1.0, 0.0]]))
        tensor([[ 0.,  1.],
                [-1.,  0.]])
    """
    for name, x in (("a", a), ("b", b)):
        if not isinstance(x, Tensor):
            raise TypeError(f"procrustes: {name} must be a tensor, got {kind(x)}")
    if a.ndim != 2 or a.shape != b.shape or a.dtype != b.dtype or not a.is_floating_point():
        raise ValueError(f"procrustes: a and b must be float (n, d) and alike, got {kind(a)} and {kind(b)}")
    U, _, Vh = torch.linalg.svd(a.T @ b)
    Q: Tensor = U @ Vh
    return Q


def _error(drawn: Tensor, v: Tensor) -> Tensor:
    """The squared error of each example, over its numbers, (B,)."""
    return (drawn - v).square().flatten(1).mean(1)


def _mean(cost: Tensor, there: Tensor) -> Tensor:
    """Over the examples that are there; 0 if none is."""
    return torch.where(there, cost, torch.zeros_like(cost)).sum() / there.sum().clamp_min(1)


def _check(
    encoders: Mapping[str, nn.Module],
    decoders: Mapping[str, nn.Module],
    weights: Mapping[str, float] | None,
    contrast: nn.Module | None,
) -> dict[str, float]:
    who = "SharedWorkspace"
    modules(who, "encoders", encoders)
    modules(who, "decoders", decoders)
    check_names(who, encoders, taken=LOSSES)
    if set(encoders) != set(decoders) or len(encoders) < 2:
        raise ValueError(f"{who}: needs an encoder and a decoder for each of at least two modalities, got encoders of "
                         f"{', '.join(encoders)} and decoders of {', '.join(decoders)}")  # fmt: skip
    given = {"translation": 1.0, "demi_cycle": 1.0} if weights is None else weights
    if not isinstance(given, Mapping):
        raise TypeError(f"{who}: weights must be a dict from a loss to its weight, got {kind(given)}")
    if unknown := [name for name in given if name not in LOSSES]:
        raise ValueError(f"{who}: weights has {unknown[0]!r}, which is none of {', '.join(LOSSES)}")
    found = {name: number(who, f"weights[{name!r}]", given.get(name, 0.0)) for name in LOSSES}
    if not any(found.values()):
        raise ValueError(f"{who}: weights must name a loss with a weight above 0")
    if contrast is not None:
        module(who, "contrast", contrast)
    if found["contrastive"] and contrast is None:
        raise ValueError(f"{who}: the contrastive loss needs contrast, such as InfoNCE of mmtutor.embedding")
    return found
