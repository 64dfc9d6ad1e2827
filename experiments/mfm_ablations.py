"""The paper's ablations, over many seeds: ``python -m experiments.mfm_ablations --seeds 20``.

Trained on 1,500 monologues, about as many as the paper has of CMU-MOSI, so that there is much room for improvement. All
six are trained with the penalty and without it, by the same recipe and with decoders of one width; the paper has M_A
and M_B, which reconstruct nothing, without. The epoch with the lowest validation loss of the label is kept.

Runs fall into two groups: some see little more than the face (accuracy about .75), others find out that the creak of
the voice tells whether the words are ironic (about .88). So a mean says little, and the rows count the runs that found
it. Stops and resumes seed by seed.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch

from experiments.mfm_sequences import FOUND, build, ratios, reconstruction, train
from experiments.results import Claim, measure
from mmtutor.data import monologues
from mmtutor.data.monologue import Monologues
from mmtutor.metrics import correct
from mmtutor.mfm import MFM, VARIANTS
from mmtutor.training import seed_everything

SETTINGS: dict[str, Any] = {"train": 1500, "valid": 1000, "test": 4000, "epochs": 20, "prior": 1.0}
TSAI, OURS = "Tsai 2019", "ours"
PENALTY = {True: "", False: ", no penalty"}


def order(larger: str, smaller: str, what: str, penalties: tuple[bool, bool], source: str = TSAI) -> Claim:
    """A row for one of the paper's orders; ``penalties``: whether the larger and the smaller one has the penalty."""
    a, b = (f"{v}{PENALTY[p]}" for v, p in zip((larger, smaller), penalties, strict=True))
    show = f"accuracy on ironic ones, {a}", f"accuracy on ironic ones, {b}"
    return Claim(what, source, f"accuracy, {a}", f"accuracy, {b}", show=show, found=FOUND)


ORDERS = {
    ("M_D", "M_C"): "with reconstruction, one multimodal factor predicts better than one for each modality",
    ("M_B", "M_A"): "without reconstruction, one multimodal factor predicts better than one for each modality",
    ("M_C", "M_A"): "reconstruction improves prediction, with a factor for each modality",
    ("M_E", "M_B"): "reconstruction improves prediction, with one multimodal factor and one for all styles",
    ("M_E", "M_D"): "a separate factor for all styles improves prediction",
    ("MFM", "M_E"): "one style factor for each modality predicts better than one for all",
}
CLAIMS = [
    *(order(a, b, f"{a} > {b}: {what}", (VARIANTS[a].reconstructs, VARIANTS[b].reconstructs))
      for (a, b), what in ORDERS.items()),
    *(order(a, b, f"{a} > {b}, both without the penalty", (False, False), OURS)
      for a, b in ORDERS if VARIANTS[a].reconstructs),
    order("M_B", "M_A", "M_B > M_A, both with the penalty", (True, True), OURS),
    order("M_D", "M_B", "M_D > M_B: reconstruction improves prediction, with one multimodal factor alone",
          (True, False), OURS),
    *(Claim(f"The penalty costs accuracy: {v} without it > {v} with it", OURS, f"accuracy, {v}, no penalty",
            f"accuracy, {v}", found=FOUND) for v in VARIANTS),
    *(Claim(f"MFM > {v}: {what} reconstructs the modalities with less error", TSAI, f"reconstruction, {v}",
            "reconstruction, MFM", "squared error")
      for v, what in (("M_D", "MFM"), ("M_E", "one style factor for each modality"))),
    Claim("The ratio r of MFM is largest for language, the modality that adds most", TSAI, "r, language",
          "r, largest of the others", "ratio", show=("r, acoustic", "r, visual")),
    Claim("Without the penalty, the ratio r of MFM is largest for language, too",
          OURS, "r, language, no penalty", "r, largest of the others, no penalty",
          "ratio", show=("r, acoustic, no penalty", "r, visual, no penalty")),
    Claim("The ratio r ranks the modalities more like their information given the others than like "
          "what each knows alone",
          OURS, "rank agreement of r, given the others", "rank agreement of r, alone", "Spearman's ρ"),
]  # fmt: skip


@torch.no_grad()
def interpret(model: MFM, data: Monologues) -> dict[str, float]:
    """The ratio r of each modality, on the first 1,000 monologues."""
    factors = model.factors(model.infer(data[:1000]))
    return ratios(factors, model.decode(factors))


def one_seed(seed: int) -> dict[str, float]:
    """Train and measure everything once."""
    data = {split: monologues(split, SETTINGS[split], seed, progress=False) for split in ("train", "valid", "test")}
    ironic = data["test"][:]["irony_label"] == 1
    out = {}
    for variant, has in VARIANTS.items():
        for penalty, name in PENALTY.items():
            seed_everything(seed)
            prior = SETTINGS["prior"] if penalty else 0.0
            model = train(build(variant, prior=prior), data, seed, epochs=SETTINGS["epochs"])
            right = correct(model, data["test"])
            out[f"accuracy, {variant}{name}"] = float(right.mean())
            out[f"accuracy on ironic ones, {variant}{name}"] = float(right[ironic].mean())
            if has.reconstructs:
                out[f"reconstruction, {variant}{name}"] = reconstruction(model, data["test"])
            if variant == "MFM":
                out |= {key + name: value for key, value in interpret(model, data["test"]).items()}
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    what = "The ablations of the Multimodal Factorization Model on sequences of known information"
    print(measure("mfm_ablations", what, CLAIMS, one_seed, parser.parse_args().seeds, SETTINGS))
