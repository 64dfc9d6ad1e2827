"""The slides' numbers on iterative inference beside ours, from what two experiments stored.

The triples are in ``iterative.json``, the pairs that stand for CUB in ``iterative_scenes.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import log
from pathlib import Path
from typing import NamedTuple

from experiments.results import corrected, difference, p_value, verdict
from tools.vae_map import cell

OURS = ("MoPoE, equal time", "joint VAE", "joint VAE, equal time", "iterative")
HEAD = ["number of the slides", "MoPoE", "JMVAE student", "iterative student", "ours: MoPoE, equal time",
        "ours: joint VAE's student", "… equal time", "ours: iterative student",
        "better (KL: smaller) than the joint VAE's?", "… equal time?"]  # fmt: skip


class Row(NamedTuple):
    """A row of the slides: what, where; their MoPoE, JMVAE student and iterative student; the name of our number."""

    what: str
    where: str
    mopoe: str
    jmvae: str
    iterative: str
    number: str


ROWS = [
    Row("FID, SVHN → MNIST", "slide 37", "194.49", "59.468", "49.957", "FD, street to handwritten"),
    Row("FID, Text → MNIST", "slide 37", "199.69", "48.680", "38.691", "FD, word to handwritten"),
    Row("FID, MNIST → SVHN", "slide 37", "246.64", "65.407", "60.328", "FD, handwritten to street"),
    Row("FID, Text → SVHN", "slide 37", "246.85", "63.345", "58.674", "FD, word to street"),
    Row("FID, SVHN and Text → MNIST", "slide 64", "196.98", "44.281", "44.026", "FD, street and word to handwritten"),
    Row("FID, Text and MNIST → SVHN", "slide 64", "252.50", "75.465", "72.782", "FD, handwritten and word to street"),
    Row("linear probe, MNIST", "slide 38", "0.9787", "0.9743", "0.9811", "probe, handwritten"),
    Row("linear probe, SVHN", "slide 38", "0.7969", "0.7540", "0.7937", "probe, street"),
    Row("linear probe, Text", "slide 38", "0.9992", "0.9981", "0.9999", "probe, word"),
    Row("linear probe, MNIST and SVHN", "slide 65", "0.9813", "0.9827", "0.9857", "probe, handwritten and street"),
    Row("linear probe, SVHN and Text", "slide 65", "0.9679", "0.9900", "0.9926", "probe, street and word"),
    Row("linear probe, Text and MNIST", "slide 65", "0.9961", "0.9974", "0.9980", "probe, handwritten and word"),
    Row("KL to the student, MNIST", "slide 68", "–", "46.434", "44.022", "KL, handwritten"),
    Row("KL to the student, SVHN", "slide 68", "–", "56.883", "51.836", "KL, street"),
    Row("KL to the student, Text", "slide 68", "–", "74.996", "71.108", "KL, word"),
    Row("CUB: FID, Text → Image", "slide 40", "311.319", "195.425", "191.425", "FD, caption to scene"),
    Row("CUB: cosine similarity", "slide 40", "-0.004795", "0.003665", "0.007960", "cosine"),
    Row("CUB: KL to the student, Image", "slide 68", "–", "104.542", "140.878", "KL, scene"),
    Row("CUB: KL to the student, Text", "slide 68", "–", "247.034", "608.291", "KL, caption"),
]


def slides_table(folder: Path) -> str:
    """Markdown: a row of the slides, our numbers for the same, and whether our iterative student is the better one.

    Args:
        folder: of the files that the experiments wrote; they may be missing.

    Raises:
        ValueError: a file lacks something.
    """
    lines, measured, pairs = [HEAD, ["---"] * len(HEAD)], [], []
    for name, cub in (("iterative.json", False), ("iterative_scenes.json", True)):
        rows, path = [row for row in ROWS if row.what.startswith("CUB") == cub], folder / name
        if not path.exists():
            lines += [[*_published(row), *["–"] * (len(HEAD) - 4)] for row in rows]
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            numbers: dict[str, Mapping[str, float]] = content["numbers"]
            if len(numbers) < 2:
                raise ValueError(f"an interval needs at least 2 seeds, it has {len(numbers)}")
            for row in rows:
                lines.append([*_published(row), *(cell(f"{row.number}: {name}", numbers) for name in OURS)])
                if "–" in lines[-1][5:]:  # the stored run did not measure what is compared
                    lines[-1] += ["–"] * 2
                else:
                    pairs += [(lines[-1], *_compared(row, other, numbers)) for other in OURS[1:3]]
            data = "scenes with captions" if cub else "digits"
            measured.append(f"{data}: {len(numbers)} seeds, {content['date']}, {content['device']}")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{name}: {type(error).__name__} {error}") from error
    words = {"holds": "**yes**", "does not hold": "**no**", "undecided": "undecided"}
    p = corrected([p_value(better, worse) for _, better, worse in pairs])
    for (line, better, worse), q in zip(pairs, p, strict=True):
        line.append(words[verdict(difference(better, worse), p=q)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + (
        f"\n\nOurs ({'; '.join(measured) or 'nothing has been measured yet'}): mean ± standard deviation over seeds. "
        "The last two columns are verdicts from the 95 % interval of the difference (of logarithms, for distances), "
        "corrected for the number of verdicts in this table (Benjamini and Hochberg, 1995): **yes** and **no** if it "
        "lies on one side of 0. A smaller KL is not a better one, see below. –: not on the slides, or not measured."
    )


def _published(row: Row) -> list[str]:
    """The slides' side of a row."""
    return [f"{row.what} <small>({row.where})</small>", row.mopoe, row.jmvae, row.iterative]


def _compared(row: Row, other: str, numbers: Mapping[str, Mapping[str, float]]) -> tuple[list[float], list[float]]:
    """Of each seed, so that more is better: the iterative student's number, and that of another."""
    better, worse = ([seed[f"{row.number}: {name}"] for seed in numbers.values()] for name in ("iterative", other))
    if row.number.startswith("FD"):
        return [-log(value) for value in better], [-log(value) for value in worse]
    if row.number.startswith("KL"):
        return [-value for value in better], [-value for value in worse]
    return better, worse
