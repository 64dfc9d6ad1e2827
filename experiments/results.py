"""Results as data: rows of claims, the figures of each seed, and a verdict that is computed, never typed."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from mmtutor.metrics import Interval, mean_interval

RESULTS = Path(__file__).parents[1] / "docs" / "results"


@dataclass(frozen=True)
class Claim:
    """The figure named ``larger`` is more than ``margin`` above the one named ``smaller``."""

    claim: str
    source: str
    larger: str
    smaller: str
    unit: str = "accuracy"
    margin: float = 0.0
    show: tuple[str, ...] = ()  # further figures of the row, for the reader


def difference(larger: Sequence[float], smaller: Sequence[float]) -> Interval:
    """Mean over seeds of larger − smaller, paired by seed, with its 95 % interval."""
    return mean_interval([a - b for a, b in zip(larger, smaller, strict=True)])


def verdict(interval: Sequence[float], margin: float = 0.0) -> str:
    """``holds`` or ``does not hold`` where the whole interval is on one side of the margin, else ``undecided``."""
    _, low, high = interval
    return "holds" if low > margin else "does not hold" if high < margin else "undecided"


def measure(
    name: str,
    what: str,
    claims: Sequence[Claim],
    one_seed: Callable[[int], dict[str, float]],
    seeds: int,
    settings: dict[str, Any],
) -> Path:
    """Run the seeds that are not yet in ``docs/results/NAME.json``, and write the file after each.

    Args:
        name: of the file.
        what: one sentence for the reader.
        claims: the rows.
        one_seed: a seed to all figures of it, by name.
        seeds: how many.
        settings: what was run; figures stored under other settings are thrown away.

    Returns:
        The file.
    """
    path = RESULTS / f"{name}.json"
    stored = json.loads(path.read_text()) if path.exists() else {}
    same = stored.get("settings") == json.loads(json.dumps(settings))
    figures: dict[str, dict[str, float]] = stored.get("figures", {}) if same else {}
    seconds = float(stored.get("seconds", 0)) if same else 0.0
    for seed in tqdm([s for s in range(seeds) if str(s) not in figures], f"{name}: seeds"):
        start = time.perf_counter()
        figures[str(seed)] = one_seed(seed)
        seconds += time.perf_counter() - start
        _write(path, what, claims, figures, settings, seconds)
    _write(path, what, claims, figures, settings, seconds)
    return path


def _write(
    path: Path,
    what: str,
    claims: Sequence[Claim],
    figures: dict[str, dict[str, float]],
    settings: dict[str, Any],
    seconds: float,
) -> None:
    rows = []
    for claim in claims if len(figures) > 1 else []:
        row = asdict(claim)
        names = (claim.larger, claim.smaller, *row.pop("show"))
        values = {n: [round(f[n], 6) for f in figures.values()] for n in names}
        interval = difference(values[claim.larger], values[claim.smaller])
        row |= {"values": values, "difference": list(interval), "verdict": verdict(interval, claim.margin)}
        rows.append(row)
    on_gpu = torch.cuda.is_available()
    content = {
        "what": what,
        "date": date.today().isoformat(),
        "device": torch.cuda.get_device_name() if on_gpu else f"CPU ({platform.machine()}), one thread",
        "versions": {p: version(p) for p in ("torch", "numpy", "mmtutor")} | {"python": platform.python_version()},
        "settings": settings,
        "seeds": [int(s) for s in figures],
        "seconds": round(seconds),
        "rows": rows,
        "figures": figures,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("w") as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
