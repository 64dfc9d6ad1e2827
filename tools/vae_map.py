"""The tables of measured numbers on the map of multimodal VAEs, from what three experiments stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from statistics import fmean, stdev

from tools.verdicts import plain

MODELS = ("JMVAE", "TELBO", "MVAE", "MMVAE", "MoPoE", "MVTCAE", "DMVAE", "MMVAE+", "Coordinated", "Coordinated, cross")
COLUMNS = {  # head of the column to the number's name in the file
    "one modality given": "coherence, one modality given: {}",
    "two modalities given": "coherence, two modalities given: {}",
    "from the prior": "coherence, from the prior: {}",
    "FD from the word": "FD from the word: {}",
    "FD from the prior": "FD from the prior: {}",
    "log-likelihood": "log-likelihood: {}",
}
EXPLAINED = (
    "The first three columns are coherence, as a share of examples; FD is the Fréchet distance of pictures, the "
    "log-likelihood is in nats."
)
WORLD = (
    *MODELS[:6],
    *(f"{world}: {model}" for world in ("apart", "overlapping") for model in ("DMVAE", "DMVAE, prior once", "MMVAE+")),
)
WORLD_COLUMNS = {"one modality": "{}, one modality", "all modalities": "{}, all modalities", "width": "{}, width"}
PRIVATE_COLUMNS = {
    "one modality": "{}, z of one modality",
    "all modalities": "{}, z of all modalities",
    "width": "{}, width of z",
    "private": "{}, w",
}
WORLD_EXPLAINED = (
    "KL divergence of the model's posterior from the exact one in nats, and the width of the posterior of one "
    "modality, as a share of the exact standard deviation. Below the first six models: worlds with private latents "
    "apart from the shared one, or overlapping with it."
)


def vae_table(path: Path) -> str:
    """Markdown: one row per model, each number as mean ± standard deviation over seeds, then how it was measured.

    Args:
        path: the file that an experiment wrote, ``vae.json``, ``vae_long.json`` or ``vae_world.json``; it may be
            missing.

    Raises:
        ValueError: the file lacks something, or none of its numbers belongs into one of the columns.
    """
    if not path.exists():
        return "Nothing has been measured yet."
    world = path.stem == "vae_world"
    columns = {**PRIVATE_COLUMNS, **WORLD_COLUMNS} if world else COLUMNS
    heads = [*WORLD_COLUMNS, "private"] if world else [*COLUMNS]
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        numbers: dict[str, Mapping[str, float]] = content["numbers"]
        if [int(seed) for seed in numbers] != content["seeds"]:
            raise ValueError(f"its numbers are of seeds {', '.join(numbers)}, its seeds are {content['seeds']}")
        rows = []
        for model in WORLD if world else MODELS:
            names = {**columns, **(PRIVATE_COLUMNS if ":" in model else {})}
            cells = [cell(names[head].format(model), numbers) for head in heads]
            if any(text != "–" for text in cells):
                rows.append([model, *cells])
        for k, head in enumerate(heads):
            if all(row[k + 1] == "–" for row in rows):
                raise ValueError(f"no model has a number '{head}'")
        measured = f"over {len(numbers)} seeds, measured on {content['date']} on {content['device']}"
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path.name}: {type(error).__name__} {error}") from error
    lines = [["model", *heads], ["---"] * (1 + len(heads)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + (
        f"\n\nMean ± standard deviation {measured}. {WORLD_EXPLAINED if world else EXPLAINED} –: not measured."
    )


def cell(name: str, numbers: Mapping[str, Mapping[str, float]]) -> str:
    """A number's mean and standard deviation over seeds; a dash where no seed has it."""
    values = [seed[name] for seed in numbers.values() if name in seed]
    if not values:
        return "–"
    if len(values) != len(numbers) or not all(isfinite(value) for value in values):
        raise ValueError(f"'{name}' needs a finite number for each of {len(numbers)} seeds, got {values}")
    return f"{plain(fmean(values))}\u00a0±\u00a0{plain(stdev(values))}"
