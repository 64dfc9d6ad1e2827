"""Multimodal VAEs on digits, 24 epochs (3,000 steps): ``python -m experiments.vae_long --seeds 5``.

The comparison of ``experiments/vae.py`` with three times the steps and a learning-rate schedule of that length: what
papers claim of their models is judged here. Seeds, data and networks are the same, so that numbers of a seed can be
compared between both. Coherence is measured on the way, too. Stops and resumes seed by seed.
"""

from __future__ import annotations

import argparse
from typing import Any

from experiments.results import Claim, measure
from experiments.vae import OURS, PRIVATE, coherent, compared, make_classifiers, make_data, sharper
from experiments.vae import SETTINGS as SHORT

SETTINGS: dict[str, Any] = {**SHORT, "epochs": 24}
SHI, SUTTER, DAUNHAWER, HWANG = "Shi 2019", "Sutter 2021", "Daunhawer 2022", "Hwang 2021"
PALUMBO = "Palumbo 2023"
MODELS = ("JMVAE", "MVAE", "MMVAE", "MoPoE", "MVTCAE", "DMVAE", "MMVAE+")

CLAIMS = [
    coherent("MMVAE", "MVAE", SHI),
    coherent("MoPoE", "MVAE", SUTTER),
    coherent("MoPoE", "MMVAE", SUTTER, "two modalities given"),
    Claim("MoPoE is more coherent with the product of two given modalities than with the mixture over their sets", OURS,
          "coherence, two modalities given: MoPoE", "coherence, two modalities given: MoPoE, mixture",
          "share of examples",
          show=("coherence, one modality given: MoPoE", "FD from two: MoPoE", "FD from two: MoPoE, mixture")),
    Claim("MoPoE's bound of the likelihood (k = 50) is higher than MMVAE's", SUTTER, "log-likelihood: MoPoE",
          "log-likelihood: MMVAE", "nats", show=tuple(f"log-likelihood: {m}" for m in MODELS)),
    sharper("MVAE", "MMVAE", DAUNHAWER),
    sharper("MVAE", "MMVAE", DAUNHAWER, "from the prior"),
    sharper("MVAE", "MoPoE", DAUNHAWER),
    sharper("MoPoE", "MMVAE", OURS),
    coherent("MVTCAE", "MoPoE", HWANG, "two modalities given"),
    sharper("MVTCAE", "MoPoE", HWANG),
    sharper("MMVAE+", "MMVAE", PALUMBO),
    coherent("MMVAE+", "MMVAE", PALUMBO),
    sharper("DMVAE", "MVAE", OURS),
    coherent("DMVAE", "MVAE", OURS),
    *(Claim(f"{name}: of the private latents a linear probe gets fewer than two digits in ten right (its paper: they "
            "hold what is private)", OURS, "two in ten", f"probe: {name}, private", "accuracy",
            show=(f"probe: {name}, shared",)) for name in PRIVATE),
    coherent("MMVAE", "JMVAE", OURS),
    sharper("JMVAE", "MMVAE", OURS),
]  # fmt: skip


def one_seed(seed: int) -> dict[str, float]:
    """Train and measure everything once."""
    data = make_data(seed)
    classifiers, out = make_classifiers(seed, data)
    _, measured = compared(MODELS, classifiers, data, seed, SETTINGS["epochs"])
    last = {m: [measured[f"validation loss, epoch {k}: {m}"] for k in (20, 24)] for m in MODELS}
    falls = {f"fall of the validation loss, last four epochs: {m}": a - b for m, (a, b) in last.items()}
    return out | measured | falls | {"two in ten": 0.2}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    what = "Multimodal VAEs on three modalities of a digit, 3,000 steps"
    print(measure("vae_long", what, CLAIMS, one_seed, parser.parse_args().seeds, SETTINGS))
