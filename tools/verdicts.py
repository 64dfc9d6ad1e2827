"""The rows of the page of claims, from the stored numbers of the experiments, by chapter."""

from __future__ import annotations

import base64
import html
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from experiments.code import changed
from experiments.results import found_by, judged
from mmtutor.plotting.claims import HEIGHT, VERDICTS, extent, number, places, row_id, said

TOLERANCE = 1e-9
CHAPTERS = {
    "fusion": "02_fusion",
    "embedding": "03_joint_embedding",
    "photo_retrieval": "03_joint_embedding",
    "captioning": "04_image_captioning",
    "photographs": "04_image_captioning",
    "vqa": "05_question_answering",
    "nlvr": "05_question_answering",
    "text_to_image": "06_text_to_image",
    "localisation": "07_sound_localisation",
    "mfm_images": "08_mfm_images",
    "mfm_ablations": "09_mfm_sequences",
    "mfm_sequences": "09_mfm_sequences",
    "vae_world": "10_multimodal_vaes",
    "vae": "10_multimodal_vaes",
    "vae_long": "10_multimodal_vaes",
    "iterative": "11_iterative_inference",
    "iterative_scenes": "11_iterative_inference",
    "workspace": "12_workspace",
}
Content = Mapping[str, Any]  # of a file of results


def stored(folder: Path) -> list[Content]:
    """The results of all experiments, in the order of the chapters.

    Raises:
        ValueError: a file lacks something, or a stored difference, p-value or verdict is not what its numbers give.
    """
    order = list(CHAPTERS)
    paths = sorted(
        folder.glob("*.json"), key=lambda p: (order.index(p.stem) if p.stem in order else len(order), p.stem)
    )
    contents = []
    for path in paths:
        try:
            content = {"experiment": path.stem, **json.loads(path.read_text(encoding="utf-8"))}
            checked(content["rows"], len(content["seeds"]))
            section(content)
        except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
            raise ValueError(f"{path.name}: {type(error).__name__} {error}") from error
        contents.append(content)
    return contents


def claims(folder: Path) -> str:
    """HTML of all results: how many claims hold, then the rows of each experiment, folded."""
    contents = stored(folder)
    return (
        "\n".join([totals(contents), FILTER, *map(section, contents)]) if contents else "Nothing has been measured yet."
    )


# ---- all experiments


def totals(contents: Sequence[Content]) -> str:
    """In words how many claims there are and hold."""
    rows = [row for content in contents for row in content["rows"]]
    papers = [row for row in rows if not ours(row)]
    expected = [row for row in rows if ours(row)]
    said = f"{len(papers)} claims are from papers: of these {tally(papers)}."
    return f"<p>{said} {len(expected)} are what we expected ourselves: of these {tally(expected)}.</p>"


def tally(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many hold, are undecided, and do not hold, in words."""
    count = Counter(row["verdict"] for row in rows)
    words = {"holds": ("holds", "hold"), "undecided": ("is undecided", "are undecided")}
    words["does not hold"] = ("does not hold", "do not hold")
    return ", ".join(f"{count[verdict]} {said[count[verdict] != 1]}" for verdict, said in words.items())


def caterpillar(rows: Sequence[Mapping[str, Any]]) -> str:
    """All intervals side by side, from the clearest that holds: each scaled to one length, the line what is claimed."""
    step, height, reach = 4, 40, 4.0
    bars = []
    for row in rows:
        mean, low, high = (x - row["margin"] for x in row["difference"])
        half = (high - low) / 2
        z = max(-reach, min(reach, mean / half)) if half else (0.0 if not mean else reach if mean > 0 else -reach)
        bars.append((z, VERDICTS[row["verdict"]][0]))
    middle, scale = height / 2, height / 2 / (reach + 1)
    lines: dict[str, str] = {}  # colour to the lines that have it
    for k, (z, colour) in enumerate(sorted(bars, reverse=True)):
        ends = f"M{step * k + 2} {middle - scale * (z - 1):.1f}V{middle - scale * (z + 1):.1f}"
        lines[colour] = lines.get(colour, "") + ends
    width = step * len(bars)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" stroke-width="3">'
        f'<path d="M0 {middle}H{width}" stroke="#888" stroke-width="1"/>'
        + "".join(f'<path d="{ends}" stroke="{colour}"/>' for colour, ends in lines.items())
        + "</svg>"
    )
    data = base64.b64encode(svg.encode()).decode()
    return f'<img alt="{tally(rows)}" width="{width}" height="{height}" src="data:image/svg+xml;base64,{data}">'


# Shown by assets/claims.js, which it needs; without it all rows are there.
FILTER = (
    '<fieldset id="filter" hidden><legend>Show claims that</legend>'
    + "".join(
        f'<label><input type="checkbox" name="verdict" value="{name}" checked> {said}</label> '
        for name, said in (("holds", "hold"), ("undecided", "are undecided"), ("does not hold", "do not hold"))
    )
    + "".join(
        f'<label><input type="checkbox" name="from" value="{name}" checked> {said}</label> '
        for name, said in (("paper", "are a paper’s"), ("ours", "are ours"))
    )
    + '<label>with the words <input type="search" placeholder="MoPoE coherent"></label> '
    + '<output aria-live="polite"></output></fieldset>'
)


# ---- one experiment


def section(content: Content) -> str:
    """One experiment, folded: how it was measured, then its rows."""
    name, chapter = content["experiment"], CHAPTERS.get(content["experiment"])
    rows = "".join(table_row(content, row) for row in content["rows"])
    made = (
        f"<p>Measured by <code>python -m experiments.{name}</code> on {content['date']} with {len(content['seeds'])} "
        f"seeds on {content['device']}, in {duration(content['seconds'])}, with "
        f"{pairs(content['versions'], ' ', ', ')}{since(content)}. "
        f'<a href="../results/{name}.json">The numbers of every seed</a>.'
        + (
            f' <a href="../chapters/{chapter}/">Chapter {int(chapter[:2])}</a> explains them.</p>'
            if chapter
            else "</p>"
        )
    )
    settings = html.escape(pairs(content["settings"], ": ", "; "))
    head = "".join(
        f"<th>{column}</th>" for column in ("Claim", "Interval", "Verdict", "Difference, p corrected", "Numbers")
    )
    title = f"Chapter {int(chapter[:2])} · " if chapter else ""
    return (
        f'<details class="experiment" id="{name}"><summary>{title}{html.escape(content["what"].rstrip("."))}'
        f"<small>{tally(content['rows'])}</small>{caterpillar(content['rows'])}</summary>\n{made}\n"
        f"<details><summary>Settings</summary><p>{settings}</p></details>\n"
        f'<table class="verdicts"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>\n</details>'
    )


def since(content: Content) -> str:
    """Which code has changed since the numbers were measured, in words; nothing where it is the same."""
    modules = changed(content["code"], content["experiment"])
    named = ", ".join(f"<code>{m}</code>" for m in modules) if len(modules) <= 3 else f"{len(modules)} modules"
    return f", and with older code ({named} changed since)" if modules else ""


def checked(entries: Sequence[Mapping[str, Any]], seeds: int) -> None:
    """Refuse rows that do not say what the values of the seeds give, all rows being one family."""
    for entry in entries:
        if any(len(series) != seeds for series in entry["values"].values()):
            raise ValueError(f"'{entry['claim']}': every number needs one value for each of {seeds} seeds")
    for entry, computed in zip(entries, judged(entries), strict=True):
        names = ("difference", "p", "p, corrected")
        was, there = ([*x["difference"], x["p"], x["p, corrected"]] for x in (entry, computed))
        words = all(entry[name] == computed[name] for name in ("interval alone", "verdict"))
        if not words or any(abs(a - b) > TOLERANCE for a, b in zip(was, there, strict=True)):
            raise ValueError(
                f"'{entry['claim']}': its numbers give {computed['verdict']}, {[computed[n] for n in names]}, "
                f"the file says {entry['verdict']}, {[entry[n] for n in names]}"
            )


def drawing(row: Mapping[str, Any], extent: float) -> str:
    """An interval as a drawing; its size, line and colours are in the style sheet, and its text stands beside it."""
    (mean, low, high), y = places(row, extent), HEIGHT // 2
    return f'<svg><path d="M{low} {y}H{high}"/><circle cx="{mean}" cy="{y}" r="4"/></svg>'


def ours(row: Mapping[str, Any]) -> bool:
    """Whether a claim is this project's own, and no paper's."""
    return str(row["source"]).startswith("ours")


def table_row(content: Content, row: Mapping[str, Any]) -> str:
    """One claim as a line of the table."""
    values: Mapping[str, Sequence[float]] = row["values"]
    numbers = "<br>".join(
        f"{html.escape(name)} {plain(fmean(series))}\u00a0±\u00a0{plain(stdev(series))}"
        for name, series in values.items()
        if max(series) > min(series)  # a margin is the same number in all seeds, and stands beside the difference
    )
    differs = row["verdict"] != row["interval alone"]
    alone = f"<br><small>its interval alone: {row['interval alone']}</small>" if differs else ""
    cells = (
        f"<td>{html.escape(row['claim'])} <small>({html.escape(row['source'])})</small></td>",
        f"<td>{drawing(row, extent(content['rows'], row['unit']))}</td>",
        f"<td><b>{VERDICTS[row['verdict']][1]}</b> {row['verdict']}{alone}</td>",
        f"<td>{said(row)}<br><small>p {small(row['p, corrected'])}</small>{chance(row)}</td>",
        f"<td>{numbers} <small>({html.escape(row['unit'])})</small></td>",
    )
    about = f'data-verdict="{row["verdict"]}" data-from="{"ours" if ours(row) else "paper"}"'
    return f'<tr id="{row_id(content, row)}" {about}>{"".join(cells)}</tr>'


def chance(row: Mapping[str, Any]) -> str:
    """The test of the counts, where a row has them."""
    if row["found"] is None:
        return ""
    p = small(found_by(row["values"], row)[2])
    return f"<br><small>found: above {plain(row['found'])}; McNemar’s exact test: p {p}</small>"


def small(p: float) -> str:
    """A p-value with three decimals."""
    return f"{p:.3f}" if p >= 0.001 else "&lt;\u00a00.001"


def plain(value: float) -> str:
    """As `number`, without a plus sign."""
    return number(value).removeprefix("+")


def duration(seconds: float) -> str:
    """Seconds in words."""
    return f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.0f} minutes"


def pairs(values: Mapping[str, Any], within: str, between: str) -> str:
    """Names and values in one line."""
    shown = {k: " to ".join(map(str, v)) if isinstance(v, list) else v for k, v in values.items()}
    return between.join(f"{name}{within}{value}" for name, value in shown.items())
