"""The tables of photographs: what papers published, and what ``photographs.json`` and ``photo_retrieval.json`` have."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from statistics import fmean, stdev

from experiments.photo_retrieval import KLEIN

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
    scales = {**dict.fromkeys(METRICS, 100.0), "words": 1.0, "minutes to the best": 1.0}

    def ours(seeds: Sequence[Mapping[str, float]]) -> tuple[list[list[str]], str]:
        lines = []
        for group, rows in GROUPS.items():
            lines.append([f"**{group}**", *[""] * (len(HEAD) - 1)])
            lines += [[name, *_cells(row, seeds, scales)] for name, row in rows.items()]
        minutes = fmean(sum(seed[f"minutes, {row}"] for row in GROUPS[TRAINED].values()) for seed in seeds)
        return lines, f"the six models of a seed were trained for {minutes:.0f} minutes"

    published = [[f"{name}, in the paper", *scores, *["–"] * 3] for name, scores in PAPER.items()]
    return _table(path, HEAD, published, ours)


RETRIEVAL_HEAD = ["", *(f"R@{k}, {thing}" for thing in ("sentence", "photograph") for k in (1, 5, 10))]
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
    scales = {f"R@{k}, {way}": 100.0 for way in KLEIN for k in (1, 5, 10)}

    def ours(seeds: Sequence[Mapping[str, float]]) -> tuple[list[list[str]], str]:
        return [[name, *_cells(row, seeds, scales)] for name, row in RETRIEVAL.items()], "R@K in percent"

    klein = [f"{100 * value:.1f}" for of in KLEIN.values() for value in of.values()]
    return _table(path, RETRIEVAL_HEAD, [["mean of word2vec, VGG, CCA, in the paper", *klein]], ours)


def _table(
    path: Path,
    head: list[str],
    published: list[list[str]],
    ours: Callable[[Sequence[Mapping[str, float]]], tuple[list[list[str]], str]],
) -> str:
    """What is published, then what `ours` makes of the seeds in the file, rows and a remark."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *published]
    if not path.exists():
        return _markdown(lines) + "\n\nNot measured yet."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        seeds = list(content["numbers"].values())
        rows, remark = ours(seeds)
        measured = f"{len(seeds)} seeds; {remark}, {content['device']}, {content['date']}"
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error!r}") from error
    return f"{_markdown(lines + rows)}\n\n<small>{measured}</small>"


def _cells(row: str, seeds: Sequence[Mapping[str, float]], scales: Mapping[str, float]) -> list[str]:
    return [_cell([seed.get(f"{name}, {row}") for seed in seeds], scale) for name, scale in scales.items()]


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
