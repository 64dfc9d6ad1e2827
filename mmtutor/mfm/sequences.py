"""Encoders and decoders of sequences.

The encoder Q(Z_y|X₁:M) is the Memory Fusion Network, `MFN` (Zadeh and others, 2018, arXiv:1802.00927). A batch of
sequences may carry ``"length"``, int64 (B,): how many steps are real. They stand at the end; what is before them is
padding and is not read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .model import MFM, Batch, Factor


class MFN(nn.Module):
    """The Memory Fusion Network: an LSTM for each modality, and a memory of what they do together.

        c*ₜ = [cₜ₋₁; cₜ] of all modalities,  ĉₜ = softmax(NN_a(c*ₜ)) ⊙ c*ₜ            what changes, and matters
        uₜ = γ₁ ⊙ uₜ₋₁ + γ₂ ⊙ tanh(NN_u(ĉₜ)),  γ = σ(NN_γ([ĉₜ; uₜ₋₁]))          the memory
        output = [h_T of all modalities; u_T]

    Only the gates γ need the memory of the step before. All else is computed for all steps at once.

    Args:
        features: numbers at each step of each modality.
        hidden: units of each modality's LSTM, or of all alike.
        memory: size of u.
        attend: units within the networks NN.
        dropout: within them, in training.
        padding: ``"skip"`` starts at the first real step; ``"read"`` reads the padding too, as the released code does.

    Examples:
        >>> encoder = MFN({"language": 6, "visual": 4}, hidden=5, memory=3)
        >>> batch = {"language": torch.rand(2, 7, 6), "visual": torch.rand(2, 7, 4), "length": torch.tensor([7, 2])}
        >>> encoder(batch).shape[1] == encoder.size == 5 + 5 + 3
        True
    """

    def __init__(
        self,
        features: Mapping[str, int],
        hidden: Mapping[str, int] | int = 64,
        memory: int = 64,
        attend: int = 64,
        dropout: float = 0.0,
        padding: str = "skip",
    ) -> None:
        super().__init__()
        if padding not in ("skip", "read"):
            raise ValueError(f"MFN: padding must be 'skip' or 'read', got {padding!r}")
        self.features, self.padding = dict(features), padding
        units = dict.fromkeys(features, hidden) if isinstance(hidden, int) else dict(hidden)
        if units.keys() != features.keys() or not features:
            raise ValueError(f"MFN: features of {list(features)} need as many hidden sizes, got {list(units)}")
        self.lstms = nn.ModuleDict({s: nn.LSTMCell(d, units[s]) for s, d in features.items()})
        total = sum(units.values())
        self.size = total + memory

        def network(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(nn.Linear(inputs, attend), nn.ReLU(), nn.Dropout(dropout), nn.Linear(attend, outputs))

        self.attention, self.propose = network(2 * total, 2 * total), network(2 * total, memory)
        self.gates = nn.Linear(2 * total + memory, 2 * attend)  # the first layers of both gates side by side
        self.dropout, self.keep, self.write = nn.Dropout(dropout), nn.Linear(attend, memory), nn.Linear(attend, memory)

    def forward(self, batch: Batch) -> Tensor:
        """[h_T; u_T] after the last step, (B, size)."""
        skipped = batch if self.padding == "skip" else {k: x for k, x in batch.items() if k != "length"}
        xs, last = _sequences("MFN", skipped, self.features)
        h, c = self._cells(xs)
        before = F.pad(c[:, :-1], (0, 0, 1, 0))
        both = torch.cat([before, c], 2)  # c*, (B, T, 2 S)
        seen = self.attention(both).softmax(2) * both  # ĉ
        u = self._remember(seen, self.propose(seen).tanh())
        rows = torch.arange(len(last), device=last.device)
        return torch.cat([h[rows, last], u[rows, last]], 1)

    def _cells(self, xs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """All h and c of all modalities after each step, (B, T, S) with S their units together.

        What the inputs say to the gates is computed for all steps at once; `nn.LSTM` keeps its c to itself.
        """
        hs, cs = [], []
        for x, lstm in zip(xs, self.lstms.values(), strict=True):
            assert isinstance(lstm, nn.LSTMCell)
            ready = F.linear(x, lstm.weight_ih, lstm.bias_ih + lstm.bias_hh)
            h = c = x.new_zeros(len(x), lstm.hidden_size)
            steps = []
            for r in ready.unbind(1):
                i, f, g, o = torch.addmm(r, h, lstm.weight_hh.T).chunk(4, 1)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * c.tanh()
                steps.append((h, c))
            hs.append(torch.stack([h for h, _ in steps], 1))
            cs.append(torch.stack([c for _, c in steps], 1))
        return torch.cat(hs, 2), torch.cat(cs, 2)

    def _remember(self, seen: Tensor, proposed: Tensor) -> Tensor:
        """The memory u after each step, (B, T, memory)."""
        ready = F.linear(seen, self.gates.weight[:, : seen.shape[2]], self.gates.bias)  # what ĉ says, for all steps
        recurrent = self.gates.weight[:, seen.shape[2] :].T
        u, us = proposed.new_zeros(proposed.shape[0], proposed.shape[2]), []
        for r, new in zip(ready.unbind(1), proposed.unbind(1), strict=True):
            keep, write = self.dropout(torch.addmm(r, u, recurrent).relu()).chunk(2, 1)
            u = self.keep(keep).sigmoid() * u + self.write(write).sigmoid() * new
            us.append(u)
        return torch.stack(us, 1)


class LSTMEncoder(nn.Module):
    """What an LSTM has read after the last step of one modality, (B, hidden).

    Args:
        modality: its name; the batch has (B, T, features).
        features: numbers at each step.
        hidden: units.
    """

    def __init__(self, modality: str, features: int, hidden: int) -> None:
        super().__init__()
        self.modality = modality
        self.lstm = nn.LSTM(features, hidden, batch_first=True)

    def forward(self, batch: Batch) -> Tensor:
        """The last hidden state, (B, hidden)."""
        (x,), last = _sequences("LSTMEncoder", batch, {self.modality: self.lstm.input_size})
        h: Tensor = self.lstm(x)[0]
        return h[torch.arange(len(h), device=h.device), last]


class LSTMDecoder(nn.Module):
    """A sequence made from factors; the last step is made first, so that padding at the front costs nothing.

    Args:
        size: of the factors together, read again at each step.
        features: numbers at each step.
        steps: T.
        hidden: units.
    """

    def __init__(self, size: int, features: int, steps: int, hidden: int) -> None:
        super().__init__()
        self.steps = steps
        self.lstm, self.output = nn.LSTM(size, hidden, batch_first=True), nn.Linear(hidden, features)

    def forward(self, factors: Tensor) -> Tensor:
        """From (B, size) to (B, T, features)."""
        x: Tensor = self.output(self.lstm(factors.unsqueeze(1).expand(-1, self.steps, -1))[0])
        return x.flip(1)


def _sequences(who: str, batch: Batch, features: Mapping[str, int]) -> tuple[list[Tensor], Tensor]:
    """The modalities with their real steps at the front, (B, T, d) each; and where the last of them is, (B,).

    Raises:
        ValueError: a modality is missing, has another shape than promised, is not finite, or has not as many steps as the
            others; or a length is not from 1 to T.
    """
    xs = []
    for modality, d in features.items():
        if modality not in batch:
            raise ValueError(f"{who}: the batch has no {modality!r}, only {', '.join(batch)}")
        x = batch[modality]
        if x.ndim != 3 or x.shape[2] != d or 0 in x.shape:
            raise ValueError(f"{who}: {modality!r} must be (B, T, {d}), got {tuple(x.shape)}")
        if x.shape[:2] != batch[next(iter(features))].shape[:2]:
            raise ValueError(
                f"{who}: all modalities must have as many steps, got {tuple(x.shape)} for {modality!r}; pad the shorter ones "
                'at the front and give "length", the number of real steps'
            )
        if not all(v.isfinite() for v in x.detach().aminmax()):
            raise ValueError(f"{who}: {modality!r} has NaN or infinite values")
        present = batch.get(f"{modality}_present")
        xs.append(x if present is None else x * present[:, None, None])
    B, T, _ = xs[0].shape
    length = batch.get("length")
    if length is None:
        return xs, torch.full((B,), T - 1, device=xs[0].device)
    if length.shape != (B,) or length.dtype != torch.int64 or not ((length > 0) & (length <= T)).all():
        raise ValueError(f'{who}: "length" must be int64 ({B},) with values from 1 to {T}')
    move = (torch.arange(T, device=length.device) + (T - length).unsqueeze(1)) % T  # padding goes to the end
    return [x.gather(1, move.unsqueeze(2).expand_as(x)) for x in xs], length - 1


def sequence_mfm(
    features: Mapping[str, int],
    steps: int,
    classes: int,
    variant: str = "MFM",
    *,
    hidden: Mapping[str, int] | int = 64,
    memory: int = 64,
    attend: int = 64,
    z: Mapping[str, int] | int = 32,
    f: Mapping[str, int] | int = 16,
    width: int | None = None,
    penalty: str = "mmd",
    weights: Mapping[str, float] | None = None,
    label_cost: str = "cross-entropy",
    prior: float | None = None,
    joint: bool = False,
    dropout: float = 0.0,
    padding: str = "skip",
) -> MFM:
    """An MFM for sequences or one of its ablations: an `MFN` for Z_y, LSTMs for the styles and for making sequences.

    ``sequence_mfm({"language": 300, "acoustic": 5, "visual": 20}, 20, 1, label_cost="absolute", **ORIGINAL)`` has the
    sizes of the released code for CMU-MOSI.

    Args:
        features: numbers at each step of each modality.
        steps: T.
        classes: of the label.
        variant: ``"M_A"`` to ``"M_E"`` or ``"MFM"``, by the paper's letters.
        hidden: units of the LSTMs within the MFN, by modality or of all.
        memory: of the MFN.
        attend: units of the MFN's small networks.
        z: sizes of the codes, by ``"label"`` and modality, or of all. The one style of M_E is as large as those
            of all modalities together.
        f: sizes of the factors, likewise.
        width: units of the LSTMs that make the modalities; None: as many as their factors have numbers, as in the released
            code, where the decoders of M_E are then wider than those of M_D.
        penalty: see `Factor`.
        weights: see `MFM`.
        label_cost: see there.
        prior: see there; None: 1, but 0 for M_A and M_B, which make nothing.
        joint: see there.
        dropout: in all small networks.
        padding: see `MFN`.

    Raises:
        ValueError: there is no such variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f"sequence_mfm: variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
    shared, kind, makes = VARIANTS[variant]
    zs, fs = ({**dict.fromkeys(["label", *features], x)} if isinstance(x, int) else dict(x) for x in (z, f))
    for letter, sizes in (("z", zs), ("f", fs)):
        if sizes.keys() != {"label", *features}:
            raise ValueError(f"sequence_mfm: {letter} needs sizes for label, {', '.join(features)}, got {list(sizes)}")
        sizes["style"] = sum(sizes[modality] for modality in features)

    def fused(name: str) -> Factor:
        encoder = MFN(features, hidden, memory, attend, dropout, padding)
        return Factor(encoder, encoder.size, zs[name], fs[name], penalty=penalty, dropout=dropout)

    def alone(modality: str) -> Factor:
        encoder = LSTMEncoder(modality, features[modality], zs[modality])
        return Factor(encoder, zs[modality], zs[modality], fs[modality], penalty=penalty, dropout=dropout)

    label = fused("label") if shared else None
    style: Mapping[str, Factor] | Factor | None = None
    if kind is not None:
        style = fused("style") if kind == "one" else {modality: alone(modality) for modality in features}
    decoders = None
    if makes:
        size = {s: fs["label"] * shared + {None: 0, "one": fs["style"], "each": fs[s]}[kind] for s in features}
        decoders = {
            modality: LSTMDecoder(size[modality], d, steps, width or size[modality]) for modality, d in features.items()
        }
    return MFM(
        classes, label, style, decoders, weights=weights if makes else None, label_cost=label_cost,
        prior=float(makes) if prior is None else prior, joint=joint, dropout=dropout,
    )  # fmt: skip


# Is there an F_y? Which styles? Are the modalities made again?
VARIANTS: dict[str, tuple[bool, str | None, bool]] = {
    "M_A": (False, "each", False),
    "M_B": (True, None, False),
    "M_C": (False, "each", True),
    "M_D": (True, None, True),
    "M_E": (True, "one", True),
    "MFM": (True, "each", True),
}
ORIGINAL: dict[str, Any] = {
    "hidden": {"language": 88, "acoustic": 64, "visual": 48},
    "memory": 64,
    "z": {"label": 32, "language": 32, "acoustic": 8, "visual": 80},
    "f": {"label": 16, "language": 88, "acoustic": 8, "visual": 8},
    "weights": {"language": 1.0, "acoustic": 0.01, "visual": 0.5},
}
