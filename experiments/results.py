"""Results as data: rows of claims, the numbers of each seed, and a verdict that is computed, never typed."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from scipy import stats
from tqdm import tqdm

from experiments.code import digests
from mmtutor.metrics import Interval, mean_interval

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "mmtutor" / "results"
FALSE = 0.05  # the share of false ones that is accepted among the decided rows of an experiment


@dataclass(frozen=True)
class Claim:
    """The number named ``larger`` is more than ``margin`` above the one named ``smaller``.

    Where runs fall into two groups, those that found something and those that did not, a mean says little: ``found``
    is the number above which a run has found it, and the row says how many have.
    """

    claim: str
    source: str
    larger: str
    smaller: str
    unit: str = "accuracy"
    margin: float = 0.0
    show: tuple[str, ...] = ()  # further numbers of the row, for the reader
    found: float | None = None


def difference(larger: Sequence[float], smaller: Sequence[float]) -> Interval:
    """Mean over seeds of larger − smaller, paired by seed, with its 95 % interval."""
    return mean_interval([a - b for a, b in zip(larger, smaller, strict=True)])


def p_value(larger: Sequence[float], smaller: Sequence[float], margin: float = 0.0) -> float:
    """Of the two-sided t-test that the mean of larger − smaller is the margin; the interval lacks it where p < .05."""
    gaps = [a - b - margin for a, b in zip(larger, smaller, strict=True)]
    if max(gaps) == min(gaps):
        return float(gaps[0] == 0)
    return float(stats.ttest_1samp(gaps, 0.0).pvalue)


def corrected(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Benjamini and Hochberg, 1995): at most 5 % of those below .05 are false."""
    return [float(q) for q in stats.false_discovery_control(p)] if len(p) else []


def verdict(interval: Sequence[float], margin: float = 0.0, p: float = 0.0) -> str:
    """``holds`` or ``does not hold`` where the whole interval is on one side of the margin, else ``undecided``.

    Args:
        interval: mean, low and high.
        margin: what the difference is compared with.
        p: the corrected p-value; above .05 a row is undecided, too.
    """
    _, low, high = interval
    if p > FALSE:
        return "undecided"
    return "holds" if low > margin else "does not hold" if high < margin else "undecided"


def found_by(values: Mapping[str, Sequence[float]], claim: Mapping[str, Any]) -> tuple[int, int, float]:
    """How many runs found it, of the larger and of the smaller, and the p-value of McNemar's exact test of the two.

    The test asks of the seeds in which one found it and the other did not whether a fair coin gives such counts.
    """
    a, b = ([value > claim["found"] for value in values[claim[name]]] for name in ("larger", "smaller"))
    only_a, only_b = (sum(x and not y for x, y in zip(*two, strict=True)) for two in ((a, b), (b, a)))
    p = float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return sum(a), sum(b), p


def measure(
    name: str,
    what: str,
    claims: Sequence[Claim],
    one_seed: Callable[[int], dict[str, float]],
    seeds: int,
    settings: dict[str, Any],
) -> Path:
    """Run the seeds that are not yet in ``mmtutor/results/NAME.json``, and write the file after each.

    Args:
        name: of the file, and of the module in this folder.
        what: one sentence for the reader.
        claims: the rows.
        one_seed: a seed to all numbers of it, by name.
        seeds: how many, at least 2.
        settings: what is run.

    Seeds come in at ``NAME.json.part``, which takes the place of ``NAME.json`` when all are there. What is stored goes
    on only if the settings, the versions and the code that gives the numbers (`experiments.code`) are the same.

    Returns:
        The file.
    """
    if seeds < 2:
        raise ValueError(f"measure: an interval needs at least 2 seeds, got {seeds}")
    path, part = RESULTS / f"{name}.json", RESULTS / f"{name}.json.part"
    head = {"what": what, "settings": json.loads(json.dumps(settings)), "versions": _versions(), "code": digests(name)}
    numbers: dict[str, dict[str, float]] = {}
    seconds = 0.0
    for file in (path, part):
        stored = json.loads(file.read_text()) if file.exists() else {}
        same = all(stored.get(key) == head[key] for key in ("settings", "versions", "code"))
        if same and len(stored["numbers"]) > len(numbers):
            numbers, seconds = stored["numbers"], float(stored["seconds"])
    for seed in tqdm([s for s in range(seeds) if str(s) not in numbers], f"{name}: seeds"):
        start = time.perf_counter()
        numbers[str(seed)] = one_seed(seed)
        seconds += numbers[str(seed)].get("seconds", time.perf_counter() - start)  # its own, if parts were done before
        _write(part, head, claims, numbers, seconds)
    _write(part, head, claims, numbers, seconds)
    part.replace(path)
    return path


def restate(name: str) -> Path:
    """Make the rows of a stored file anew from its numbers, with the claims as the experiment has them now.

    Args:
        name: of the experiment, a module of this folder with ``CLAIMS``, and of the file it wrote.

    Raises:
        KeyError: a claim asks for a number that was not stored.
    """
    path = RESULTS / f"{name}.json"
    content = json.loads(path.read_text())
    content["rows"] = _rows(import_module(f"experiments.{name}").CLAIMS, content["numbers"])
    _replace(path, content)
    return path


def _versions() -> dict[str, str]:
    return {p: version(p) for p in ("torch", "numpy", "mmtutor")} | {"python": platform.python_version()}


def _write(
    path: Path, head: dict[str, Any], claims: Sequence[Claim], numbers: dict[str, dict[str, float]], seconds: float
) -> None:
    cpu = f"CPU ({platform.machine()}), {torch.get_num_threads()} thread(s)"
    content = {
        **head,
        "date": date.today().isoformat(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else cpu,
        "seeds": [int(s) for s in numbers],
        "seconds": round(seconds),
        "rows": _rows(claims, numbers),
        "numbers": numbers,
    }
    _replace(path, content)


def judged(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """An experiment's rows with interval, p-values and verdict, computed from their ``values``; all are one family."""
    pairs = [(row["values"][row["larger"]], row["values"][row["smaller"]]) for row in rows]
    intervals = [difference(*pair) for pair in pairs]
    p = [p_value(*pair, row["margin"]) for pair, row in zip(pairs, rows, strict=True)]
    out = []
    for row, interval, alone, q in zip(rows, intervals, p, corrected(p), strict=True):
        said = {"interval alone": verdict(interval, row["margin"]), "verdict": verdict(interval, row["margin"], q)}
        out.append({**row, "difference": list(interval), "p": alone, "p, corrected": q, **said})
    return out


def _rows(claims: Sequence[Claim], numbers: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    rows = []
    for claim in claims if len(numbers) > 1 else []:
        row = asdict(claim)
        names = (claim.larger, claim.smaller, *row.pop("show"))
        rows.append(row | {"values": {n: [round(f[n], 6) for f in numbers.values()] for n in names}})
    return judged(rows)


def _replace(path: Path, content: dict[str, Any]) -> None:
    """Write a file so that a kill leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w") as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make texts and verdicts of stored results anew from their numbers.")
    parser.add_argument("names", nargs="+", help="of experiments, such as fusion")
    for name in parser.parse_args().names:
        print(restate(name))
