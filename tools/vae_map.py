"""The table of measured numbers on the map of multimodal VAEs, from what ``experiments/vae.py`` stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from statistics import fmean, stdev

from tools.verdicts import number

MODELS = ("JMVAE", "TELBO", "MVAE", "MMVAE", "MoPoE", "MVTCAE", "MMVAE+", "Coordinated", "Coordinated, cross")
COLUMNS = {  # head of the column to the number's name in the file
    "one modality given": "coherence, one modality given: {}",
    "two modalities given": "coherence, two modalities given: {}",
    "from the prior": "coherence, from the prior: {}",
    "FD from the word": "FD from the word: {}",
    "FD from the prior": "FD from the prior: {}",
    "log-likelihood": "log-likelihood: {}",
    "world: one modality": "world: {}, one modality",
}


def vae_table(path: Path) -> str:
    """Markdown: one row per model, each number as mean ± standard deviation over seeds, then how it was measured.

    Args:
        path: the file that the experiment wrote; it may be missing.

    Raises:
        ValueError: the file lacks something, or none of its numbers belongs into one of the columns.
    """
    if not path.exists():
        return "Nothing has been measured yet."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        numbers: dict[str, Mapping[str, float]] = content["numbers"]
        if [int(seed) for seed in numbers] != content["seeds"]:
            raise ValueError(f"its numbers are of seeds {', '.join(numbers)}, its seeds are {content['seeds']}")
        names = [key.format(model) for model in MODELS for key in COLUMNS.values()]
        cells = {name: cell(name, numbers) for name in names}
        for head, key in COLUMNS.items():
            if all(cells[key.format(model)] == "–" for model in MODELS):
                raise ValueError(f"no model has a number '{head}'")
        rows = [[model, *(cells[key.format(model)] for key in COLUMNS.values())] for model in MODELS]
        measured = f"over {len(numbers)} seeds, measured on {content['date']} on {content['device']}"
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path.name}: {type(error).__name__} {error}") from error
    lines = [["model", *COLUMNS], ["---"] * (1 + len(COLUMNS)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + (
        f"\n\nMean ± standard deviation {measured}. The first three columns are coherence, as a share of examples; "
        "FD is the Fréchet distance of pictures, the log-likelihood is in nats, and the last column in nats of KL from "
        "the exact posterior of the linear-Gaussian world. –: not measured."
    )


def cell(name: str, numbers: Mapping[str, Mapping[str, float]]) -> str:
    """A number's mean and standard deviation over seeds; a dash where no seed has it."""
    values = [seed[name] for seed in numbers.values() if name in seed]
    if not values:
        return "–"
    if len(values) != len(numbers) or not all(isfinite(value) for value in values):
        raise ValueError(f"'{name}' needs a finite number for each of {len(numbers)} seeds, got {values}")
    return f"{number(fmean(values))}\u00a0±\u00a0{number(stdev(values))}"
