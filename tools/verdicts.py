"""The page 'Do the papers' claims hold?' from the stored numbers of the experiments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from experiments.code import changed
from experiments.results import found_by, judged

TOLERANCE = 1e-9
OPENING = """# Do the papers’ claims hold?

Papers claim things. Some of the claims can be measured again, on small data and with several seeds. This page shows
what came out, also where it came out differently.

Each row compares two numbers. Their difference is taken seed by seed; the table gives its mean and, in brackets, the
95 % interval of that mean. A claim **holds** if the whole interval is above what was claimed, and **does not hold** if
the whole interval is below it. Else it is **undecided**: these seeds cannot tell. A number is a mean over seeds ± the
standard deviation between them.

Of many rows some would be decided by luck alone, about one in twenty of those in which there is nothing. So each row
also has a p-value that is corrected for the number of rows of its experiment (Benjamini and Hochberg, 1995): among the
decided rows at most 5 % are false, in expectation. A row whose corrected p-value is above 0.05 counts as undecided even
where its own interval is on one side.

Some runs fall into two groups, those that found something and those that did not, whatever the seeds of the others did.
There a mean says little, and the row counts them.

Small data and few steps are not the papers’ conditions, so a verdict speaks of the settings given here. On another
machine a single run differs by up to about .02, since sums are computed in another order; means over seeds differ less.
"""


def claims_page(folder: Path) -> str:
    """Markdown of the page.

    Args:
        folder: with the files that the experiments wrote.

    Raises:
        ValueError: a file lacks something, or a stored difference, p-value or verdict is not what its numbers give.
    """
    files = sorted(folder.glob("*.json"))
    sections = [section(path) for path in files] or ["Nothing has been measured yet.\n"]
    return "\n".join([OPENING, *sections])


def section(path: Path) -> str:
    """One experiment: how it was measured, then its rows."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = [row(entry) for entry in checked(content["rows"], len(content["seeds"]))]
        lines = [
            f"## {content['what'].rstrip('.')}",
            f"Measured on {content['date']} with {len(content['seeds'])} seeds on {content['device']}, in "
            f"{duration(content['seconds'])}, with {pairs(content['versions'], ' ', ', ')}{since(content, path.stem)}. "
            f"Settings: {pairs(content['settings'], ': ', '; ')}. "
            f"[The numbers of every seed](results/{path.name}).",
            "| Claim | Verdict | Difference | p, corrected | Numbers |\n| --- | --- | --- | --- | --- |\n"
            + "\n".join(rows),
        ]
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path.name}: {type(error).__name__} {error}") from error
    return "\n\n".join(lines) + "\n"


def since(content: Mapping[str, Any], experiment: str) -> str:
    """Which code has changed since the numbers were measured, in words; nothing where it is the same."""
    modules = changed(content["code"], experiment)
    named = ", ".join(f"`{m}`" for m in modules) if len(modules) <= 3 else f"{len(modules)} modules"
    return f", and with older code ({named} changed since)" if modules else ""


def checked(entries: Sequence[Mapping[str, Any]], seeds: int) -> Sequence[Mapping[str, Any]]:
    """The rows, which must say what the values of the seeds give, all rows being one family."""
    for entry in entries:
        if any(len(series) != seeds for series in entry["values"].values()):
            raise ValueError(f"'{entry['claim']}': every number needs one value for each of {seeds} seeds")
    for entry, computed in zip(entries, judged(entries), strict=True):
        names = ("difference", "p", "p, corrected")
        stored, there = ([*x["difference"], x["p"], x["p, corrected"]] for x in (entry, computed))
        words = all(entry[name] == computed[name] for name in ("interval alone", "verdict"))
        if not words or any(abs(a - b) > TOLERANCE for a, b in zip(stored, there, strict=True)):
            raise ValueError(
                f"'{entry['claim']}': its numbers give {computed['verdict']}, {[computed[n] for n in names]}, "
                f"the file says {entry['verdict']}, {[entry[n] for n in names]}"
            )
    return entries


def row(entry: Mapping[str, Any]) -> str:
    """One claim as a line of the table."""
    values: Mapping[str, Sequence[float]] = entry["values"]
    numbers = "<br>".join(
        f"{name} {number(fmean(series))}\u00a0±\u00a0{number(stdev(series))}" for name, series in values.items()
    )
    mean, low, high = (number(value, "+") for value in entry["difference"])
    margin = f", claimed: more than {number(entry['margin'])}" if entry["margin"] else ""
    judged = f"**{entry['verdict']}**"
    if entry["verdict"] != entry["interval alone"]:
        judged += f" <small>(its interval alone: {entry['interval alone']})</small>"
    cells = [
        f"{entry['claim']} <small>({entry['source']})</small>",
        judged,
        f"{mean} [{low},\u00a0{high}]{margin}{counts(entry)}",
        small(entry["p, corrected"]),
        f"{numbers} <small>({entry['unit']})</small>",
    ]
    return "| " + " | ".join(cell.replace("|", "&#124;") for cell in cells) + " |"


def counts(entry: Mapping[str, Any]) -> str:
    """How many runs found it, where a row says what that is."""
    if entry["found"] is None:
        return ""
    larger, smaller, p = found_by(entry["values"], entry)
    n = len(entry["values"][entry["larger"]])
    return f"<br>above {number(entry['found'])}: {larger} and {smaller} of {n} (McNemar’s exact test: p {small(p)})"


def small(p: float) -> str:
    """A p-value with three decimals."""
    return f"{p:.3f}" if p >= 0.001 else "<\u00a00.001".replace("<", "&lt;")


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
