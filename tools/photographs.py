"""The tables of photographs: what papers published, and what ``photographs.json`` and ``photo_retrieval.json`` have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from statistics import fmean, stdev

METRICS = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "CIDEr")
HEAD = ["", *METRICS, "words", "minutes to the best weights"]
PAPER = {"soft attention": ("67", "44.8", "29.9", "19.5"), "hard attention": ("67", "45.7", "31.4", "21.3")}
TRAINED = "Five beams, the likeliest sentence"
GROUPS = {
    TRAINED: {
        "soft attention": "soft",
        "hard attention": "hard",
        "soft attention that reads the last word first": "read first",
        "Show and Tell, with the mean of the same regions": "Show and Tell",
        "soft attention, λ = T/L": "soft, λ = T/L",
        "soft attention, 256 units": "soft, 256 units",
    },
    "Soft attention, other ways to decode": {
        "greedy": "soft, greedy",
        "three beams": "soft, beam 3",
        "five beams, ranked as the validation says": "soft, ranked",
    },
    "Controls": {
        "the sentences of soft attention, for other photographs": "soft, wrong photographs",
        "soft attention, against four of the five references": "soft, four references",
        "a person’s sentence, against the other four": "a person",
    },
}


def photographs_table(path: Path) -> str:
    """Markdown: the paper's rows, then ours; percent, the mean over seeds ± their standard deviation.

    Args:
        path: of the stored file; it may be missing.

    Raises:
        ValueError: the file lacks something.
    """
    published = [f"{name}, in the paper" for name in PAPER]
    lines = [HEAD, ["---", *["---:"] * (len(HEAD) - 1)]]
    lines += [[name, *PAPER[kind], *["–"] * 3] for name, kind in zip(published, PAPER, strict=True)]
    if not path.exists():
        return _markdown(lines) + "\n\nNot measured yet."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        numbers: dict[str, Mapping[str, float]] = content["numbers"]
        for group, rows in GROUPS.items():
            lines.append([f"**{group}**", *[""] * (len(HEAD) - 1)])
            lines += [[name, *_cells(row, numbers)] for name, row in rows.items()]
        rows = GROUPS[TRAINED].values()
        minutes = fmean(sum(seed[f"minutes, {row}"] for row in rows) for seed in numbers.values())
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error!r}") from error
    trained = f"the six models of a seed were trained for {minutes:.0f} minutes"
    measured = f"{len(numbers)} seeds; {trained}, {content['device']}, {content['date']}"
    return f"{_markdown(lines)}\n\n<small>{measured}</small>"


WAYS = ("finds a sentence", "finds a photograph")
RETRIEVAL_HEAD = ["", *(f"R@{k}, {thing}" for thing in ("sentence", "photograph") for k in (1, 5, 10)), "minutes"]
KLEIN = ("mean of word2vec, VGG, CCA, in the paper", "22.6", "48.8", "61.2", "19.1", "45.3", "60.4")
RETRIEVAL = {
    "InfoNCE, GRU": "InfoNCE",
    "triplets with all negatives, GRU": "triplets",
    "triplets with the hardest negative, GRU": "hardest",
    "sigmoid loss, GRU": "sigmoid",
    "InfoNCE, bag of words": "bag",
}


def retrieval_table(path: Path) -> str:
    """Markdown: the paper's row, then ours; percent, the mean over seeds ± their standard deviation.

    Args:
        path: of the stored file; it may be missing.

    Raises:
        ValueError: the file lacks something.
    """
    lines = [RETRIEVAL_HEAD, ["---", *["---:"] * (len(RETRIEVAL_HEAD) - 1)], [*KLEIN, "–"]]
    if not path.exists():
        return _markdown(lines) + "\n\nNot measured yet."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        seeds: list[Mapping[str, float]] = list(content["numbers"].values())
        for name, row in RETRIEVAL.items():
            recalls = [f"R@{k}, {way}, {row}" for way in WAYS for k in (1, 5, 10)]
            cells = [_cell([seed.get(number) for seed in seeds], 100.0) for number in recalls]
            lines.append([name, *cells, _cell([seed.get(f"minutes, {row}") for seed in seeds], 1.0)])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error!r}") from error
    return f"{_markdown(lines)}\n\n<small>{len(seeds)} seeds, {content['device']}, {content['date']}</small>"


def _cells(row: str, numbers: Mapping[str, Mapping[str, float]]) -> list[str]:
    scales = {**dict.fromkeys(METRICS, 100.0), "words": 1.0, "minutes to the best": 1.0}
    return [_cell([seed.get(f"{name}, {row}") for seed in numbers.values()], scale) for name, scale in scales.items()]


def _cell(values: list[float | None], scale: float) -> str:
    """Mean and deviation; a dash where no seed has the number."""
    there = [scale * value for value in values if value is not None and isfinite(value)]
    if not there:
        return "–"
    if len(there) < len(values):
        raise ValueError(f"a number for each of {len(values)} seeds, got {values}")
    return f"{fmean(there):.1f}\u00a0±\u00a0{stdev(there):.1f}"


def _markdown(lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
