"""Encoders and decoders of sequences.

The encoder Q(Z_y|X₁:M) is the Memory Fusion Network, `MFN` (Zadeh and others, 2018, arXiv:1802.00927). A batch of
sequences may carry ``"length"``, int64 (B,): how many steps are real. They stand at the end; what is before them is
padding and is not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, TypedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .checks import check_batch, check_length, check_names, flag, kind, moved, number, whole
from .costs import Batch, Cost, check_padded, cross_entropy
from .model import MFM, Factor, check_one, observed


class MFN(nn.Module):
    """The Memory Fusion Network: an LSTM for each modality, and a memory of what they do together.

        c*ₜ = [cₜ₋₁; cₜ] of all modalities,  ĉₜ = softmax(NN_a(c*ₜ)) ⊙ c*ₜ            attention to what changes
        uₜ = γ₁ ⊙ uₜ₋₁ + γ₂ ⊙ tanh(NN_u(ĉₜ)),  γ = σ(NN_γ([ĉₜ; uₜ₋₁]))          the memory
        output = [h_T of all modalities; u_T]

    Only the gates γ need the memory of the step before. All else is computed for all steps at once.

    Args:
        features: numbers at each step of each modality.
        hidden: units of each modality's LSTM, or of all alike.
        memory: size of u.
        attend: units within the networks NN.
        dropout: probability, within them, in training.
        skip_padding: start at the first real step; False: read the padding too, as the released code does.

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
        *,
        skip_padding: bool = True,
    ) -> None:
        super().__init__()
        units = check_sizes("MFN", features, hidden, memory, attend)
        self.features, self.skip_padding = dict(features), flag("MFN", "skip_padding", skip_padding)
        dropout = number("MFN", "dropout", dropout, 0, 1)
        self.lstms = nn.ModuleDict({modality: nn.LSTMCell(d, units[modality]) for modality, d in features.items()})
        total = sum(units.values())
        self.size = total + memory
        self.attention = two_layers(2 * total, attend, 2 * total, dropout)
        self.propose = two_layers(2 * total, attend, memory, dropout)
        self.gates = nn.Linear(2 * total + memory, 2 * attend)  # the first layers of both gates side by side
        self.dropout, self.keep, self.write = nn.Dropout(dropout), nn.Linear(attend, memory), nn.Linear(attend, memory)

    def forward(self, batch: Batch) -> Tensor:
        """[h_T; u_T] after the last step, (B, size)."""
        self.check(batch)
        xs, last = real_steps_first(observed(moved(batch, self)), self.features, self.skip_padding)
        h, c = self.run_lstms(xs)
        before = F.pad(c[:, :-1], (0, 0, 1, 0))  # (B, T, S)
        c_star = torch.cat([before, c], 2)  # (B, T, 2 S)
        c_hat = self.attention(c_star).softmax(2) * c_star  # (B, T, 2 S)
        u = self.remember(c_hat)  # (B, T, U)
        rows = torch.arange(len(last), device=last.device)  # (B,)
        return torch.cat([h[rows, last], u[rows, last]], 1)  # (B, S + U)

    def check(self, batch: Batch) -> None:
        """Refuse a batch that cannot be read."""
        check_sequences(self, batch, self.features)

    def run_lstms(self, xs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """All h and c of all modalities after each step, (B, T, S) with S their units together.

        The products with the inputs are computed for all steps at once; `nn.LSTM` would not give its c.
        """
        hs, cs = [], []
        for x, lstm in zip(xs, self.lstms.values(), strict=True):
            assert isinstance(lstm, nn.LSTMCell)
            from_input = F.linear(x, lstm.weight_ih, lstm.bias_ih + lstm.bias_hh)  # (B, T, 4 s_m)
            h = c = x.new_zeros(len(x), lstm.hidden_size)
            steps = []
            for ready in from_input.unbind(1):
                i, f, g, o = torch.addmm(ready, h, lstm.weight_hh.T).chunk(4, 1)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * c.tanh()
                steps.append((h, c))
            hs.append(torch.stack([h for h, _ in steps], 1))
            cs.append(torch.stack([c for _, c in steps], 1))
        return torch.cat(hs, 2), torch.cat(cs, 2)

    def remember(self, c_hat: Tensor) -> Tensor:
        """The memory u after each step, (B, T, memory)."""
        proposed = self.propose(c_hat).tanh()  # (B, T, U)
        w_c_hat, w_u = self.gates.weight.tensor_split([c_hat.shape[2]], 1)
        from_c_hat = F.linear(c_hat, w_c_hat, self.gates.bias)  # (B, T, 2 A)
        u = proposed.new_zeros(proposed.shape[0], proposed.shape[2])  # (B, U)
        us = []
        for ready, new in zip(from_c_hat.unbind(1), proposed.unbind(1), strict=True):
            keep, write = self.dropout(torch.addmm(ready, u, w_u.T).relu()).chunk(2, 1)
            u = self.keep(keep).sigmoid() * u + self.write(write).sigmoid() * new  # (B, U)
            us.append(u)
        return torch.stack(us, 1)  # (B, T, U)


class LSTMEncoder(nn.Module):
    """The last hidden state of an LSTM over one modality, (B, hidden). Where it is missing, the LSTM reads zeros.

    Args:
        modality: its name; the batch has (B, T, features).
        features: numbers at each step.
        hidden: units.

    Examples:
        >>> LSTMEncoder("visual", 4, hidden=5)({"visual": torch.rand(2, 7, 4)}).shape
        torch.Size([2, 5])
    """

    def __init__(self, modality: str, features: int, hidden: int) -> None:
        super().__init__()
        check_names("LSTMEncoder", [modality])
        self.modality = modality
        self.lstm = nn.LSTM(
            whole("LSTMEncoder", "features", features), whole("LSTMEncoder", "hidden", hidden), batch_first=True
        )

    def forward(self, batch: Batch) -> Tensor:
        """The last hidden state, (B, hidden)."""
        self.check(batch)
        (x,), last = real_steps_first(observed(moved(batch, self)), [self.modality])
        h: Tensor = self.lstm(x)[0]  # (B, T, H)
        return h[torch.arange(len(last), device=last.device), last]  # (B, H)

    def check(self, batch: Batch) -> None:
        """Refuse a batch that cannot be read."""
        check_sequences(self, batch, {self.modality: self.lstm.input_size}, alone=True)


class LSTMDecoder(nn.Module):
    """A sequence from factors. The last step is generated first, so that padding at the front costs nothing.

    The decoders of the released code generate the first step first, and read the factors there alone; at all other
    steps they read their own hidden state once more.

    Args:
        size: of the factors together, which are read again at each step.
        features: numbers at each step.
        steps: T.
        hidden: units.

    Examples:
        >>> LSTMDecoder(3, features=4, steps=7, hidden=5)(torch.rand(2, 3)).shape
        torch.Size([2, 7, 4])
    """

    def __init__(self, size: int, features: int, steps: int, hidden: int) -> None:
        super().__init__()
        given = {"size": size, "features": features, "hidden": hidden}
        size, features, hidden = (whole("LSTMDecoder", name, value) for name, value in given.items())
        self.steps = whole("LSTMDecoder", "steps", steps)
        self.lstm, self.output = nn.LSTM(size, hidden, batch_first=True), nn.Linear(hidden, features)

    def forward(self, factors: Tensor) -> Tensor:
        """From (B, size) to (B, T, features)."""
        factors = factors.to(self.output.weight.device)
        repeated = factors.unsqueeze(1).expand(-1, self.steps, -1)  # (B, T, F)
        x: Tensor = self.output(self.lstm(repeated)[0])  # (B, T, d)
        return x.flip(1)  # (B, T, d)


def real_steps_first(batch: Batch, names: Iterable[str], skip_padding: bool = True) -> tuple[list[Tensor], Tensor]:
    """The modalities (B, T, d) with their padding moved from the front to the end, and their last real step (B,)."""
    xs = [batch[name] for name in names]
    B, T, _ = xs[0].shape
    if "length" not in batch or not skip_padding:
        return xs, torch.full((B,), T - 1, device=xs[0].device)
    length = batch["length"]
    step = (torch.arange(T, device=length.device) + (T - length).unsqueeze(1)) % T  # (B, T)
    return [x.gather(1, step.unsqueeze(2).expand_as(x)) for x in xs], length - 1


def two_layers(inputs: int, units: int, outputs: int, dropout: float) -> nn.Sequential:
    """One of the networks NN."""
    return nn.Sequential(nn.Linear(inputs, units), nn.ReLU(), nn.Dropout(dropout), nn.Linear(units, outputs))


class Variant(NamedTuple):
    """Which factors a variant has."""

    label: bool  # is there an F_y?
    style: Literal["each", "one"] | None  # a factor for each modality, one for all, or none
    reconstructs: bool


VARIANTS = {
    "M_A": Variant(False, "each", False),
    "M_B": Variant(True, None, False),
    "M_C": Variant(False, "each", True),
    "M_D": Variant(True, None, True),
    "M_E": Variant(True, "one", True),
    "MFM": Variant(True, "each", True),
}


class Sizes(TypedDict):
    """Arguments of `sequence_mfm`."""

    hidden: dict[str, int]
    memory: int
    attend: int
    z: dict[str, int]
    f: dict[str, int]
    weights: dict[str, float]


ORIGINAL: Sizes = {
    "hidden": {"language": 88, "acoustic": 64, "visual": 48},
    "memory": 64,
    "attend": 128,
    "z": {"label": 32, "language": 32, "acoustic": 8, "visual": 80},
    "f": {"label": 16, "language": 88, "acoustic": 8, "visual": 8},
    "weights": {"language": 1.0, "acoustic": 0.01, "visual": 0.5},
}


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
    factor: type[Factor] = Factor,
    weights: Mapping[str, float] | None = None,
    label_cost: Cost = cross_entropy,
    prior: float | None = None,
    joint: bool = False,
    dropout: float = 0.0,
    skip_padding: bool = True,
) -> MFM:
    """An MFM for sequences or one of its ablations: an `MFN` for Z_y, LSTMs for the styles and as decoders.

    ``sequence_mfm({"language": 300, "acoustic": 5, "visual": 20}, 20, 1, label_cost=absolute_error, **ORIGINAL)`` has
    the sizes of the released code for CMU-MOSI (700,694 parameters), and learns a score: its label is float32, as in
    ``mosi(path, part, label="score")``. How that code differs apart from its sizes stands in ``__init__.py``.

    Args:
        features: numbers at each step of each modality.
        steps: T.
        classes: of the label; with another cost than `cross_entropy`, its numbers.
        variant: ``"M_A"`` to ``"M_E"`` or ``"MFM"``, by the paper's letters.
        hidden: units of the LSTMs within the MFN, by modality or of all.
        memory: of the MFN.
        attend: units of the MFN's small networks.
        z: sizes of the latent codes, by ``"label"`` and modality, or of all. The one style of M_E is as large as those
            of all modalities together; in the released code it is as large as that of language, and comes from one
            LSTM over the joined inputs.
        f: sizes of the factors, likewise.
        width: units of the LSTMs that are decoders; None: as many as their factors have numbers, as in the released
            code, where the decoders of M_E are then wider than those of M_D.
        factor: `Factor` for a penalty by MMD, or `VariationalFactor` for one by KL divergence.
        weights: see `MFM`.
        label_cost: see `MFM`.
        prior: see `MFM`; None: 1, but 0 for M_A and M_B, which reconstruct nothing.
        joint: see `MFM`.
        dropout: probability, in all small networks.
        skip_padding: see `MFN`.

    Raises:
        ValueError: there is no such variant, or names or sizes do not fit.

    Examples:
        >>> model = sequence_mfm({"words": 5, "voice": 2}, 6, 3)
        >>> batch = {"words": torch.rand(4, 6, 5), "voice": torch.rand(4, 6, 2), "label": torch.arange(4) % 3}
        >>> batch |= {"voice_present": torch.tensor([True, False, True, True]), "length": torch.tensor([6, 1, 2, 6])}
        >>> list(model.loss(batch))
        ['loss', 'label', 'words', 'voice', 'prior']
    """
    has = check_variant(variant)
    zs, fs = check_each("z", z, features), check_each("f", f, features)
    label, decoders = None, None
    style: Mapping[str, Factor] | Factor | None = None
    if has.label:
        mfn = MFN(features, hidden, memory, attend, dropout, skip_padding=skip_padding)
        label = factor(mfn, mfn.size, zs["label"], fs["label"], dropout=dropout)
    if has.style == "one":
        mfn = MFN(features, hidden, memory, attend, dropout, skip_padding=skip_padding)
        style = factor(mfn, mfn.size, zs["style"], fs["style"], dropout=dropout)
    elif has.style == "each":
        style = {m: factor(LSTMEncoder(m, d, zs[m]), zs[m], zs[m], fs[m], dropout=dropout) for m, d in features.items()}
    if has.reconstructs:
        of_style = {m: {None: 0, "one": fs["style"], "each": fs[m]}[has.style] for m in features}
        sizes = {m: fs["label"] * has.label + of_style[m] for m in features}
        widths = {m: sizes[m] if width is None else width for m in features}
        decoders = {m: LSTMDecoder(sizes[m], d, steps, widths[m]) for m, d in features.items()}
    return MFM(
        classes, label, style, decoders, weights=weights if has.reconstructs else None, label_cost=label_cost,
        prior=float(has.reconstructs) if prior is None else prior, joint=joint, dropout=dropout,
    )  # fmt: skip


# ---- messages


def check_sequences(model: nn.Module, batch: Batch, features: Mapping[str, int], *, alone: bool = False) -> None:
    """Refuse modalities that are not there, of another shape or not of as many steps; and lengths that do not fit.

    ``alone``: others read further modalities of the batch, so that an example can do without this one.
    """
    who = type(model).__name__
    if alone:
        (modality,) = features
        check_one(who, batch, modality, model)
    elif len(there := check_batch(who, batch, features, model=model)) < len(features):
        missing = next(m for m in features if m not in there)
        raise ValueError(f"{who}: the batch has no {missing!r}, only {', '.join(batch)}")
    first = batch[next(iter(features))]
    for modality, d in features.items():
        x = batch[modality]
        if x.ndim != 3 or x.shape[2] != d or 0 in x.shape:
            raise ValueError(f"{who}: {modality!r} must be (B, T, {d}), got {tuple(x.shape)}")
        if x.shape[:2] != first.shape[:2]:
            raise ValueError(
                f"{who}: all modalities must have as many steps, got {tuple(x.shape)} for {modality!r}; pad the "
                'shorter ones at the front and give "length", the number of real steps'
            )
    if "length" in batch:
        check_length(who, batch["length"], *first.shape[:2])
        for modality in features:
            check_padded(who, batch, modality)


def check_sizes(
    who: str, features: Mapping[str, int], hidden: Mapping[str, int] | int, memory: int, attend: int
) -> dict[str, int]:
    """The units of each modality's LSTM, all sizes checked."""
    if not isinstance(features, Mapping):
        raise TypeError(f"{who}: features must be a dict from modality to a number, got {kind(features)}")
    check_names(who, features)
    units = dict(hidden) if isinstance(hidden, Mapping) else dict.fromkeys(features, hidden)
    if units.keys() != features.keys() or not features:
        raise ValueError(f"{who}: features of {list(features)} need as many hidden sizes, got {list(units)}")
    for modality, d in features.items():
        whole(who, f"the features of {modality!r}", d)
        whole(who, f"the hidden size of {modality!r}", units[modality])
    whole(who, "memory", memory)
    whole(who, "attend", attend)
    return units


def check_variant(name: str) -> Variant:
    """The variant of a name."""
    if not isinstance(name, str) or name not in VARIANTS:
        raise ValueError(f"sequence_mfm: variant must be one of {', '.join(VARIANTS)}, got {name!r}")
    return VARIANTS[name]


def check_each(letter: str, sizes: Mapping[str, int] | int, features: Mapping[str, int]) -> dict[str, int]:
    """The sizes of the label and of each modality, and of one style for all."""
    each = dict(sizes) if isinstance(sizes, Mapping) else dict.fromkeys(["label", *features], sizes)
    if each.keys() != {"label", *features}:
        raise ValueError(f"sequence_mfm: {letter} needs sizes for label, {', '.join(features)}, got {list(each)}")
    each["style"] = sum(whole("sequence_mfm", f"{letter} of {m!r}", each[m]) for m in features)
    return each
