"""Claims with their intervals and verdicts: a small picture a row, in a table that a phone can show, too."""

from __future__ import annotations

import base64
import html
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from mmtutor.plotting.notebook import display, in_notebook

VERDICTS = {"holds": ("#009E73", "✓"), "undecided": ("#888888", "–"), "does not hold": ("#D55E00", "✗")}
WIDTH, HEIGHT, _EDGE = 150, 16, 5  # of a picture, in pixels


def verdicts(results: Mapping[str, Any], claims: Sequence[str] = ()) -> None:
    """Show claims of an experiment, each with its interval and verdict; a script prints a line for each.

    In the picture of a row the point is the mean difference over seeds and the line its 95 % interval. The upright line
    is what is claimed: no difference, or the claim's margin. A claim holds where the whole interval is to the right of
    it. Rows of one unit have one scale.

    Args:
        results: of an experiment, see `mmtutor.results.measured`.
        claims: how the claims begin that are shown, in this order; none: all of them.

    Raises:
        ValueError: no claim begins so, or several do.
    """
    rows = _chosen(results["rows"], claims)
    seeds = len(results["seeds"])
    lines = [f"{row['verdict']:13} {said(row)}  {row['claim']}" for row in rows]
    if not in_notebook():
        print("\n".join(lines))
        return
    cells = "".join(
        f'<tr><td><span data-row="{html.escape(row_id(results, row))}">{html.escape(row["claim"])}</span> '
        f"<small>({html.escape(row['source'])})</small></td><td>{picture(row, extent(rows, row['unit']))}</td>"
        f"<td>{word(row)}</td><td>{said(row)} <small>{html.escape(row['unit'])}</small></td></tr>"
        for row in rows
    )
    head = "<tr><th>Claim</th><th>Interval</th><th>Verdict</th><th>Difference</th></tr>"
    caption = f"<caption>Means over {seeds} seeds with 95 % intervals; the upright line is what is claimed</caption>"
    table = f'<table class="verdicts">{caption}<thead>{head}</thead><tbody>{cells}</tbody></table>'
    display({"text/html": table, "text/plain": "\n".join(lines)})


def row_id(results: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """The name of a row on the page of claims: its experiment, and a number made from its claim."""
    return f"{results['experiment']}-{zlib.crc32(row['claim'].encode()):08x}"


def extent(rows: Sequence[Mapping[str, Any]], unit: str) -> float:
    """Half the width of the scale of a unit: the furthest that an interval goes from what is claimed."""
    ends = [abs(x - row["margin"]) for row in rows if row["unit"] == unit for x in row["difference"]]
    return max(ends, default=0.0) or 1.0


def places(row: Mapping[str, Any], extent: float) -> list[str]:
    """Where the mean and the two ends of an interval are in a picture, in pixels from the left."""
    scale = (WIDTH / 2 - _EDGE) / extent
    return [f"{WIDTH / 2 + scale * (x - row['margin']):.1f}" for x in row["difference"]]


def picture(row: Mapping[str, Any], extent: float) -> str:
    """An interval as an image for HTML, with its text."""
    colour, y = VERDICTS[row["verdict"]][0], HEIGHT / 2
    mean, low, high = places(row, extent)
    fill = "white" if row["verdict"] == "undecided" else colour
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}">'
        f'<path d="M{WIDTH / 2} 0V{HEIGHT}" stroke="#888"/>'
        f'<path d="M{low} {y}H{high}" stroke="{colour}" stroke-width="3"/>'
        f'<circle cx="{mean}" cy="{y}" r="4" fill="{fill}" stroke="{colour}" stroke-width="2"/></svg>'
    )
    data, size = base64.b64encode(svg.encode()).decode(), f'width="{WIDTH}" height="{HEIGHT}"'
    return f'<img alt="{row["verdict"]}: {said(row)}" {size} src="data:image/svg+xml;base64,{data}">'


def word(row: Mapping[str, Any]) -> str:
    """The verdict as HTML: a sign and the word, so that colour is not all that tells them apart."""
    return f'<span style="white-space: nowrap"><b>{VERDICTS[row["verdict"]][1]}</b> {row["verdict"]}</span>'


def said(row: Mapping[str, Any]) -> str:
    """The difference and its interval in figures, the margin where there is one, and how many runs found it."""
    mean, low, high = (number(x) for x in row["difference"])
    margin = f", claimed: more than {number(row['margin'])}" if row["margin"] else ""
    found = ""
    if row["found"] is not None:
        larger, smaller = counts(row)
        found = f"; found it: {larger} and {smaller} of {len(row['values'][row['larger']])} runs"
    return f"{mean} [{low}, {high}]{margin}{found}"


def counts(row: Mapping[str, Any]) -> list[int]:
    """How many runs are above what counts as found, of the larger and of the smaller number."""
    return [sum(x > row["found"] for x in row["values"][row[name]]) for name in ("larger", "smaller")]


def number(value: float) -> str:
    """Three decimals, fewer for large numbers, with a sign that is a true minus."""
    return f"{value:+.{3 if abs(value) < 10 else 1}f}".replace("-", "−")


def _chosen(rows: Sequence[Mapping[str, Any]], claims: Sequence[str]) -> list[Mapping[str, Any]]:
    chosen = list(rows) if not claims else []
    for start in claims:
        found = [row for row in rows if row["claim"].startswith(start)]
        if len(found) != 1:
            raise ValueError(f"verdicts: {len(found)} claims begin with {start!r}; one should")
        chosen += found
    return chosen
