"""The claims of the chapter on sequences, over several seeds: ``python -m experiments.mfm_sequences --seeds 5``.

Monologues of known information. All models that are compared are given the same data and number of steps; the epoch
with the lowest validation loss of the label is kept. Hyperparameters were chosen on the valid split. The paper's
ablations are in ``experiments.mfm_ablations``. Stops and resumes seed by seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.results import Claim, measure
from mmtutor.data import Monologues, monologues
from mmtutor.data.monologue import additive_accuracy, information
from mmtutor.metrics import correct
from mmtutor.mfm import (
    MFM,
    MFN,
    Factor,
    LSTMDecoder,
    LSTMEncoder,
    Surrogate,
    hsic,
    saliency,
    sensitivity,
    sequence_mfm,
)
from mmtutor.training import fit, seed_everything

FEATURES = {"language": 32, "acoustic": 12, "visual": 16}
SETTINGS: dict[str, Any] = {
    "train": 4000,
    "valid": 1000,
    "test": 4000,
    "epochs": 10,
    "patience": 6,
    "batch": 64,
    "lr": 3e-3,
    "clip": 1.0,
    "dropout": 0.2,
    "hidden, memory, attend": 32,
    "z, f": 16,
    "width of the decoders": 32,
    "prior": 1.0,
    "weights of the modalities": 1.0,
    "epochs of a surrogate": 8,
}
TSAI, ZADEH, OURS = "Tsai 2019", "Zadeh 2018", "ours"
MODALITIES = tuple(FEATURES)
FOUND = 0.8  # accuracy of a run that uses the irony: the face alone reaches .75, adding up scores .785
INFORMATION = ("alone", "given the others", "Shapley")
M = TypeVar("M", bound=nn.Module)

CLAIMS = [
    Claim("The Memory Fusion Network predicts better than the best single modality", ZADEH, "accuracy, M_B",
          "accuracy, best single modality"),
    Claim("The Memory Fusion Network predicts better than additive late fusion",
          ZADEH, "accuracy, M_B", "accuracy, additive late fusion",
          show=("exact: additive late fusion at best", "exact: all modalities")),
    Claim("The Memory Fusion Network predicts better than the exact optimum of additive late fusion",
          OURS, "accuracy, M_B",
          "exact: additive late fusion at best"),
    Claim("The Memory Fusion Network comes within .02 of the exact optimum of all modalities", OURS, "accuracy, M_B",
          "exact: all modalities, less .02"),
    Claim("The Memory Fusion Network predicts better than one LSTM on the joined inputs (early fusion)",
          ZADEH, "accuracy, M_B",
          "accuracy, joined inputs", found=FOUND),
    Claim("MFM predicts better than the Memory Fusion Network alone, M_B", TSAI, "accuracy, MFM", "accuracy, M_B"),
    Claim("One multimodal factor predicts better than one for each modality, M_B > M_A, with 4,000 examples", TSAI,
          "accuracy, M_B", "accuracy, M_A", found=FOUND),
    *(Claim(f"Without {modality}: the surrogate predicts better than the model with zeros in its place", TSAI,
            f"without {modality}: accuracy, surrogate", f"without {modality}: accuracy, zeros",
            show=(f"exact: without {modality}",)) for modality in MODALITIES),
    *(Claim(f"Without {modality}: the surrogate predicts better than a network trained only for that, Φ_D", TSAI,
            f"without {modality}: accuracy, surrogate", f"without {modality}: accuracy, Φ_D",
            show=(f"exact: without {modality}",)) for modality in MODALITIES),
    *(Claim(f"Without {modality}: the surrogate reconstructs it better than a network trained only for that, Φ_G", TSAI,
            f"without {modality}: error, Φ_G", f"without {modality}: error, surrogate", "squared error",
            show=(f"error of the mean, {modality}",)) for modality in MODALITIES),
    Claim("If language is dominant, its absence costs the most accuracy", TSAI,
          "dominant: without the worst other modality", "dominant: without language",
          show=("dominant: all", "dominant: without acoustic", "dominant: without visual")),
    Claim("If language is not dominant, its absence costs the most accuracy, too",
          OURS, "without the worst other modality",
          "without language: accuracy, surrogate", show=tuple(f"exact: without {s}" for s in MODALITIES)),
    Claim("The ratio r = HSIC(F_y, X̂)/HSIC(F_a, X̂) is largest for language, the modality that adds most", TSAI,
          "r, language", "r, largest of the others", "ratio",
          show=tuple(f"exact: {s}, {of}, bits" for of in INFORMATION for s in MODALITIES)),
    Claim("The ratio r is largest for language with each HSIC normalised (centred kernel alignment), too",
          OURS, "r, normalised, language",
          "r, normalised, largest of the others", "ratio"),
    Claim("The ratio r ranks the modalities more like what each adds to the others (or its Shapley value, which "
          "gives the same order) than like what each knows alone", OURS, "rank agreement of r, given the others",
          "rank agreement of r, alone", "Spearman's ρ"),
    *(Claim(f"The ratio r ranks all three modalities as their information {of} does",
            OURS, f"rank agreement of r, {of}",
            "zero", "Spearman's ρ", margin=0.99, show=(f"rank agreement of r, normalised, {of}",
                                                        *(f"r, {m}" for m in MODALITIES)))
      for of in ("alone", "given the others")),
    *(Claim(f"The gradient ∂x̂/∂F_y is larger at the known events of {modality} than elsewhere in the sentence", TSAI,
            f"gradient at events over elsewhere, {modality}", "one", "ratio") for modality in MODALITIES),
    *(Claim(f"The gradient ∂x̂/∂F_y is larger at the events of {modality} than at the same step of other sentences",
            TSAI,
            f"gradient at events over the same step elsewhere, {modality}", "one", "ratio") for modality in MODALITIES),
    *(Claim(f"Gradient × F_y is larger at the events of {modality} than at the same step of other sentences", OURS,
            f"gradient × input at events over the same step elsewhere, {modality}", "one", "ratio",
            show=(f"gradient × input at events over elsewhere, {modality}",)) for modality in MODALITIES),
    *(Claim(f"The step with the largest input gradient ∂ log p(ŷ)/∂x is an event more often than by chance, {modality}",
            OURS, f"hits, input gradient, {modality}", f"hits, chance, {modality}", "share of sentences")
      for modality in MODALITIES),
    *(Claim(f"The step with the largest gradient × input is an event more often than by chance, {modality}",
            OURS, f"hits, input gradient × input, {modality}",
            f"hits, chance, {modality}", "share of sentences", show=(f"hits, size of the input, {modality}",))
      for modality in MODALITIES),
    Claim("If padding is read, as in the released code, the Memory Fusion Network predicts worse", OURS,
          "accuracy, M_B", "accuracy, M_B, padding read"),
    Claim("If padding is read, the network's predictions depend on the amount of padding",
          OURS, "change by padding, padding read",
          "change by padding, padding skipped", "share of predictions"),
]  # fmt: skip


def build(variant: str, modalities: Sequence[str] = MODALITIES, **options: Any) -> MFM:
    """One of the variants in the sizes of the experiment."""
    n, z = SETTINGS["hidden, memory, attend"], SETTINGS["z, f"]
    options = {"prior": SETTINGS["prior"]} | options
    weights = dict.fromkeys(modalities, SETTINGS["weights of the modalities"])
    return sequence_mfm({s: FEATURES[s] for s in modalities}, 20, 2, variant, hidden=n, memory=n, attend=n, z=z, f=z,
                        width=SETTINGS["width of the decoders"], weights=weights, dropout=SETTINGS["dropout"],
                        **options)  # fmt: skip


def train(model: M, data: dict[str, Monologues], seed: int, *, monitor: str = "label", epochs: int = 0) -> M:
    """Train in place with early stopping."""
    s = SETTINGS
    fit(model, data["train"], data["valid"], epochs=epochs or s["epochs"], lr=s["lr"], batch_size=s["batch"],
        schedule="one-cycle", clip_norm=s["clip"], patience=s["patience"], monitor=monitor, mode="min",
        seed=seed, progress=False)  # fmt: skip
    return model.eval()


def accuracy(model: nn.Module, data: Monologues) -> float:
    """The share of labels that are predicted correctly."""
    return float(correct(model, data).mean())


class Single(nn.Module):
    """The label from one modality by an LSTM."""

    def __init__(self, modality: str) -> None:
        super().__init__()
        n = SETTINGS["hidden, memory, attend"]
        self.encoder = LSTMEncoder(modality, FEATURES[modality], n)
        self.classifier = nn.Sequential(nn.Dropout(SETTINGS["dropout"]), nn.Linear(n, n), nn.ReLU(), nn.Linear(n, 2))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Scores (B, 2)."""
        scores: Tensor = self.classifier(self.encoder(batch))
        return scores

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Cross-entropy."""
        label = F.cross_entropy(self(batch), batch["label"])
        return {"loss": label, "label": label}


class Additive(Single):
    """Additive late fusion: the sum of the scores of all modalities."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.parts = nn.ModuleList(Single(modality) for modality in FEATURES)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Scores (B, 2)."""
        return torch.stack([part(batch) for part in self.parts]).sum(0)


class Joined(nn.Module):
    """The modalities of a batch side by side at each step, read by one LSTM."""

    def __init__(self) -> None:
        super().__init__()
        n = SETTINGS["hidden, memory, attend"]
        self.encoder = LSTMEncoder("joined", sum(FEATURES.values()), 2 * n)
        self.classifier = nn.Sequential(
            nn.Dropout(SETTINGS["dropout"]), nn.Linear(2 * n, n), nn.ReLU(), nn.Linear(n, 2)
        )

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Scores (B, 2)."""
        joined = {"joined": torch.cat([batch[m] for m in MODALITIES], 2), "length": batch["length"]}
        scores: Tensor = self.classifier(self.encoder(joined))
        return scores

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Cross-entropy."""
        label = F.cross_entropy(self(batch), batch["label"])
        return {"loss": label, "label": label}


def exact_information(modality: str) -> dict[str, float]:
    """What a modality tells about the label in bits: alone, given the others, and as its Shapley value.

    The Shapley value is what it adds to the modalities before it, the mean over all orders of the modalities; over the
    modalities it sums up to the information of all.
    """
    orders = list(permutations(MODALITIES))
    before = [order[: order.index(modality)] for order in orders]
    adds = [information([*names, modality]).bits - information(names).bits for names in before]
    others = [m for m in MODALITIES if m != modality]
    conditional = information().bits - information(others).bits
    return dict(zip(INFORMATION, (information([modality]).bits, conditional, sum(adds) / len(adds)), strict=True))


def ratios(factors: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> dict[str, float]:
    """The paper's r of each modality, as it is and with each HSIC normalised."""
    out = {}
    for m in MODALITIES:
        label, style, x = factors["label"], factors[m], outputs[m]
        out[f"r, {m}"] = float(hsic(label, x) / hsic(style, x).clamp_min(1e-12))
        out[f"r, normalised, {m}"] = out[f"r, {m}"] * float(
            (hsic(style, style) / hsic(label, label).clamp_min(1e-12)).sqrt()
        )
    for r in ("r", "r, normalised"):
        out[f"{r}, largest of the others"] = max(out[f"{r}, {m}"] for m in MODALITIES if m != "language")
        for of in INFORMATION:
            out[f"rank agreement of {r}, {of}"] = rank_agreement(
                [out[f"{r}, {m}"] for m in MODALITIES], [exact_information(m)[of] for m in MODALITIES]
            )
    return out


def rank_agreement(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's ρ."""
    ranks = torch.stack([torch.tensor(values).argsort().argsort().double() for values in (a, b)])
    return torch.corrcoef(ranks)[0, 1].item()


def reconstruction(model: MFM, data: Monologues) -> float:
    """The mean squared error over the modalities."""
    with torch.no_grad():
        terms = model.loss(data[:])
    return sum(terms[s].item() for s in MODALITIES) / len(MODALITIES)


def surrogate(model: MFM, modality: str, data: dict[str, Monologues], seed: int) -> Surrogate:
    """Φ for a missing modality."""
    seed_everything(seed)
    encoder = encoder_without(modality)
    return train(Surrogate(model, modality, encoder, encoder.size), data, seed, monitor="loss",
                 epochs=SETTINGS["epochs of a surrogate"])  # fmt: skip


def encoder_without(modality: str) -> MFN:
    """An encoder of the other modalities."""
    n = SETTINGS["hidden, memory, attend"]
    return MFN({s: d for s, d in FEATURES.items() if s != modality}, n, n, n, SETTINGS["dropout"])


def without(model: MFM, modality: str, data: dict[str, Monologues], seed: int) -> dict[str, float]:
    """One modality is missing: the surrogate, zeros, and networks that are trained for one purpose only."""
    z, drop, test = SETTINGS["z, f"], SETTINGS["dropout"], data["test"][:]
    phi = surrogate(model, modality, data, seed)
    seed_everything(seed)
    encoder = encoder_without(modality)
    factor = Factor(encoder, encoder.size, z, z, dropout=drop)
    to_label = train(MFM(2, factor, None, None, prior=0.0, dropout=drop), data, seed)
    seed_everything(seed)
    encoder = encoder_without(modality)
    factor = Factor(encoder, encoder.size, z, 2 * z, dropout=drop)
    decoders = {modality: LSTMDecoder(2 * z, FEATURES[modality], 20, SETTINGS["width of the decoders"])}
    to_modality = MFM(2, factor, None, decoders, label_weight=0.0, prior=0.0)
    train(to_modality, data, seed, monitor=modality, epochs=SETTINGS["epochs of a surrogate"])
    real = torch.arange(20) >= 20 - test["length"].unsqueeze(1)

    def error(x_hat: Tensor) -> float:
        return float((((x_hat - test[modality]).square().mean(2) * real).sum(1) / real.sum(1)).mean())

    with torch.no_grad():
        zeros = model({**test, modality: torch.zeros_like(test[modality])})
        scores = {"surrogate": phi(test), "zeros": zeros, "Φ_D": to_label(test)}
        reconstructed = {
            "surrogate": phi.generate(test)[modality],
            "Φ_G": to_modality.generate(to_modality.infer(test))[modality],
        }
    right = {name: (x.argmax(1) == test["label"]).float().mean().item() for name, x in scores.items()}
    whole = data["train"][:]
    real_steps = torch.arange(20) >= 20 - whole["length"].unsqueeze(1)
    out = {f"error of the mean, {modality}": error(whole[modality][real_steps].mean(0).expand_as(test[modality]))}
    out |= {f"without {modality}: accuracy, {name}": x for name, x in right.items()}
    return out | {f"without {modality}: error, {name}": error(x) for name, x in reconstructed.items()}


def interpret(model: MFM, data: Monologues) -> dict[str, float]:
    """Both of the paper's methods, compared with what is known."""
    batch = data[list(range(1000))]
    with torch.no_grad():
        latents = model.infer(batch)
        factors = model.factors(latents)
        outputs = model.decode(factors)
    real = torch.arange(20) >= 20 - batch["length"].unsqueeze(1)
    out = ratios(factors, outputs)
    for modality in MODALITIES:
        event = data.events[modality][:1000]
        ways = {"size of the input": batch[modality].norm(dim=2)}
        for name, times in (("", False), (" × input", True)):
            g = sensitivity(model, latents, modality, times_input=times)
            usual = (g * real).sum(0) / real.sum(0)  # of each step, over the sentences that have it
            out[f"gradient{name} at events over elsewhere, {modality}"] = float(
                g[event].mean() / g[real & ~event].mean()
            )
            same = usual.expand_as(g)[event].mean()
            out[f"gradient{name} at events over the same step elsewhere, {modality}"] = float(g[event].mean() / same)
            ways[f"input gradient{name}"] = saliency(model, batch, modality, times_input=times)
        for name, g in ways.items():
            largest = g.masked_fill(~real, -1).argmax(1)
            out[f"hits, {name}, {modality}"] = float(event[torch.arange(1000), largest].double().mean())
        out[f"hits, chance, {modality}"] = float((event.sum(1) / real.sum(1)).mean())
    return out


def change_by_padding(model: MFM, data: Monologues) -> float:
    """The share of predictions that change when 20 more steps of padding are put before the first one."""
    batch = data[:]
    longer = {n: F.pad(x, (0, 0, 20, 0)) if n in MODALITIES else x for n, x in batch.items()}
    with torch.no_grad():
        return (model(batch).argmax(1) != model(longer).argmax(1)).float().mean().item()


def one_seed(seed: int) -> dict[str, float]:
    """Train and measure everything once."""
    sizes = {split: SETTINGS[split] for split in ("train", "valid", "test")}
    data = {split: monologues(split, n, seed, progress=False) for split, n in sizes.items()}
    out = {"zero": 0.0, "one": 1.0, "exact: all modalities": information().accuracy}
    out["exact: all modalities, less .02"] = out["exact: all modalities"] - 0.02
    out["exact: additive late fusion at best"] = additive_accuracy()
    for modality in MODALITIES:
        out |= {f"exact: {modality}, {of}, bits": bits for of, bits in exact_information(modality).items()}
        out[f"exact: without {modality}"] = information([s for s in MODALITIES if s != modality]).accuracy
    singles = []
    for modality in MODALITIES:
        seed_everything(seed)
        singles.append(accuracy(train(Single(modality), data, seed), data["test"]))
        out[f"accuracy, {modality}"] = singles[-1]
    out["accuracy, best single modality"] = max(singles)
    seed_everything(seed)
    out["accuracy, additive late fusion"] = accuracy(train(Additive(), data, seed), data["test"])
    seed_everything(seed)
    out["accuracy, joined inputs"] = accuracy(train(Joined(), data, seed), data["test"])
    models = {}
    for variant in ("M_A", "M_B", "MFM"):
        seed_everything(seed)
        models[variant] = train(build(variant, **({} if variant == "MFM" else {"prior": 0.0})), data, seed)
        out[f"accuracy, {variant}"] = accuracy(models[variant], data["test"])
    for modality in MODALITIES:
        out |= without(models["MFM"], modality, data, seed)
    out["without the worst other modality"] = min(
        out[f"without {s}: accuracy, surrogate"] for s in ("acoustic", "visual")
    )
    out |= interpret(models["MFM"], data["test"])
    seed_everything(seed)
    padded = train(build("M_B", skip_padding=False, prior=0.0), data, seed)
    out["accuracy, M_B, padding read"] = accuracy(padded, data["test"])
    out["change by padding, padding read"] = change_by_padding(padded, data["test"])
    out["change by padding, padding skipped"] = change_by_padding(models["M_B"], data["test"])

    data = {split: monologues(split, n, seed, dominant="language", progress=False) for split, n in sizes.items()}
    seed_everything(seed)
    model = train(build("MFM"), data, seed)
    out["dominant: all"] = accuracy(model, data["test"])
    for modality in MODALITIES:
        out[f"dominant: without {modality}"] = accuracy(surrogate(model, modality, data, seed), data["test"])
    out["dominant: without the worst other modality"] = min(
        out[f"dominant: without {s}"] for s in ("acoustic", "visual")
    )
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    what = "The Multimodal Factorization Model on sequences of known information"
    print(measure("mfm_sequences", what, CLAIMS, one_seed, parser.parse_args().seeds, SETTINGS))
