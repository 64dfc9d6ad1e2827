"""The table of measured figures on the map of multimodal VAEs, from what ``experiments/vae.py`` stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from statistics import fmean, stdev

from tools.verdicts import number

MODELS = ("JMVAE", "TELBO", "MVAE", "MMVAE", "MoPoE", "MVTCAE", "MMVAE+", "Coordinated", "Coordinated, cross")
COLUMNS = {  # head of the column to the figure's name in the file
    "one sense given": "coherence, one sense given: {}",
    "two senses given": "coherence, two senses given: {}",
    "from the prior": "coherence, from the prior: {}",
    "FD from the word": "FD from the word: {}",
    "FD from the prior": "FD from the prior: {}",
    "log-likelihood": "log-likelihood: {}",
    "world: one sense": "world: {}, one sense",
}


def vae_table(path: Path) -> str:
    """Markdown: one row per model, each figure as mean ± standard deviation over seeds, then how it was measured.

    Args:
        path: the file that the experiment wrote; it may be missing.

    Raises:
        ValueError: the file lacks something, or none of its figures belongs into one of the columns.
    """
    if not path.exists():
        return "Nothing has been measured yet."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        figures: dict[str, Mapping[str, float]] = content["figures"]
        if [int(seed) for seed in figures] != content["seeds"]:
            raise ValueError(f"its figures are of seeds {', '.join(figures)}, its seeds are {content['seeds']}")
        names = [figure.format(model) for model in MODELS for figure in COLUMNS.values()]
        cells = {name: cell(name, figures) for name in names}
        for head, figure in COLUMNS.items():
            if all(cells[figure.format(model)] == "–" for model in MODELS):
                raise ValueError(f"no model has a figure '{head}'")
        rows = [[model, *(cells[figure.format(model)] for figure in COLUMNS.values())] for model in MODELS]
        measured = f"over {len(figures)} seeds, measured on {content['date']} on {content['device']}"
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path.name}: {type(error).__name__} {error}") from error
    lines = [["model", *COLUMNS], ["---"] * (1 + len(COLUMNS)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + (
        f"\n\nMean ± standard deviation {measured}. The first three columns are coherence, as a share of examples; "
        "FD is the Fréchet distance of pictures, the log-likelihood is in nats, and the last column in nats of KL from "
        "the exact posterior of the linear-Gaussian world. –: not measured."
    )


def cell(name: str, figures: Mapping[str, Mapping[str, float]]) -> str:
    """A figure's mean and standard deviation over seeds; a dash where no seed has it."""
    values = [seed[name] for seed in figures.values() if name in seed]
    if not values:
        return "–"
    if len(values) != len(figures) or not all(isfinite(value) for value in values):
        raise ValueError(f"'{name}' needs a finite number for each of {len(figures)} seeds, got {values}")
    return f"{number(fmean(values))}\u00a0±\u00a0{number(stdev(values))}"
