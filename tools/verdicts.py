"""The page 'Do the papers' claims hold?' from the stored numbers of the experiments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from experiments.results import difference, verdict

TOLERANCE = 1e-9
OPENING = """# Do the papers’ claims hold?

Papers claim things. Some of the claims can be measured again, on small data and with several seeds. This page shows
what came out, also where it came out differently.

Each row compares two numbers. Their difference is taken seed by seed; the table gives its mean and, in brackets, the
95 % interval of that mean. A claim **holds** if the whole interval is above what was claimed, and **does not hold** if
the whole interval is below it. Else it is **undecided**: these seeds cannot tell. A number is a mean over seeds ± the
standard deviation between them. Small data and few steps are not the papers’ conditions, so a verdict speaks of the
settings given here.
"""


def claims_page(folder: Path) -> str:
    """Markdown of the page.

    Args:
        folder: with the files that the experiments wrote.

    Raises:
        ValueError: a file lacks something, or its stored difference or verdict is not what its numbers give.
    """
    files = sorted(folder.glob("*.json"))
    sections = [section(path) for path in files] or ["Nothing has been measured yet.\n"]
    return "\n".join([OPENING, *sections])


def section(path: Path) -> str:
    """One experiment: how it was measured, then its rows."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = [row(entry, len(content["seeds"])) for entry in content["rows"]]
        lines = [
            f"## {content['what'].rstrip('.')}",
            f"Measured on {content['date']} with {len(content['seeds'])} seeds on {content['device']}, in "
            f"{duration(content['seconds'])}, with {pairs(content['versions'], ' ', ', ')}. "
            f"Settings: {pairs(content['settings'], ': ', '; ')}. "
            f"[The numbers of every seed](results/{path.name}).",
            "| Claim | Verdict | Difference | Numbers |\n| --- | --- | --- | --- |\n" + "\n".join(rows),
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path.name}: {type(error).__name__} {error}") from error
    return "\n\n".join(lines) + "\n"


def row(entry: Mapping[str, Any], seeds: int) -> str:
    """One claim as a line of the table, computed from the values of the seeds."""
    values: Mapping[str, Sequence[float]] = entry["values"]
    if any(len(series) != seeds for series in values.values()):
        raise ValueError(f"'{entry['claim']}': every number needs one value for each of {seeds} seeds")
    computed = difference(values[entry["larger"]], values[entry["smaller"]])
    judged = verdict(computed, entry["margin"])
    agree = all(abs(a - b) <= TOLERANCE for a, b in zip(computed, entry["difference"], strict=True))
    if not agree or judged != entry["verdict"]:
        raise ValueError(
            f"'{entry['claim']}': its numbers give {judged}, {list(computed)}, "
            f"the file says {entry['verdict']}, {entry['difference']}"
        )
    numbers = "<br>".join(
        f"{name} {number(fmean(series))}\u00a0±\u00a0{number(stdev(series))}" for name, series in values.items()
    )
    mean, low, high = (number(value, "+") for value in computed)
    margin = f", claimed: more than {number(entry['margin'])}" if entry["margin"] else ""
    cells = [
        f"{entry['claim']} <small>({entry['source']})</small>",
        f"**{judged}**",
        f"{mean} [{low},\u00a0{high}]{margin}",
        f"{numbers} <small>({entry['unit']})</small>",
    ]
    return "| " + " | ".join(cell.replace("|", "&#124;") for cell in cells) + " |"


def number(value: float, sign: str = "-") -> str:
    """Three decimals, fewer for large numbers, with a true minus sign."""
    return f"{value:{sign}.{3 if abs(value) < 10 else 1}f}".replace("-", "−")


def duration(seconds: float) -> str:
    """Seconds in words."""
    return f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.0f} minutes"


def pairs(values: Mapping[str, Any], within: str, between: str) -> str:
    """Names and values in one line."""
    shown = {k: " to ".join(map(str, v)) if isinstance(v, list) else v for k, v in values.items()}
    return between.join(f"{name}{within}{value}" for name, value in shown.items())
