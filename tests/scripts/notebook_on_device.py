"""Run a notebook's .py file cell by cell on the pretend accelerator, hardly trained, and name the cells that fail.

    python tests/scripts/notebook_on_device.py notebooks/02_fusion.py [--cpu] [--no-float64] [--waits]

It shows what goes wrong with devices, not what a model learns: each `fit` is one epoch of few examples, and claims are
not checked. ``--cpu`` is the control, without the accelerator. ``--no-float64`` refuses float64, as Apple's GPU does.
``--waits`` counts how often a step of each `fit` waits for the accelerator, on a copy of the model. The exit status is
the number of cells that fail, and of fits that wait.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import os
import sys
import traceback
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import IPython.display
import jupytext
import matplotlib
import pretend_device as pretend
import torch
from torch.utils.data import Subset

import mmtutor.metrics
import mmtutor.training
from mmtutor.data import MultimodalDataset

FEW, TRAINED, DECODED = 300, 100, 50  # examples that there are, that `fit` sees, and that get a caption
STEPS, SIZE = (3, 9), 8  # of the two runs whose waits are compared, and examples of a step
real_fit, real_captions = mmtutor.training.fit, mmtutor.metrics.generate_captions
failures = 0
names: dict[str, Any] = {"__name__": "__main__"}  # of the notebook


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", type=Path)
    for option in ("--cpu", "--no-float64", "--waits"):
        parser.add_argument(option, action="store_true")
    asked = parser.parse_args()
    os.environ["ACCELERATE_USE_CPU"] = "1"
    matplotlib.use("agg")
    torch.set_num_threads(1)
    pretend.FLOAT64 = not asked.no_float64
    fit = fit_and_count if asked.waits else fit_hardly
    mmtutor.training.fit = lambda model, train, *valid, **options: fit(
        model, MultimodalDataset(train) if isinstance(train, Mapping) else train, *valid, **options
    )
    mmtutor.training.budget = small
    mmtutor.training.claim = lambda *_: None
    mmtutor.metrics.generate_captions = true_captions
    IPython.display.display = lambda *_, **__: None
    cells = jupytext.read(asked.notebook, fmt="py:percent").cells
    os.chdir(asked.notebook.resolve().parent)
    with contextlib.nullcontext() if asked.cpu else pretend.chosen():
        for number, cell in enumerate(cells):
            if cell.cell_type == "code":
                run(number, cell.source)
    print(f"{asked.notebook.stem}: {failures} fail")
    sys.exit(min(failures, 99))


def run(number: int, source: str) -> None:
    """A cell; what it prints is dropped, and why it fails is said."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(source, f"cell {number}", "exec"), names)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename.startswith("cell ") or "mmtutor" in frame.filename]
        where = ", ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in own)
        failed(f"cell {number}: {type(error).__name__}: {str(error)[:200]} [{where}]")


def failed(message: str) -> None:
    global failures
    failures += 1
    print(message, file=sys.__stdout__, flush=True)


def small(*, quick: Any, full: Any) -> Any:
    """A budget of few examples and one epoch; what a run is set by otherwise stays."""
    parts = quick if isinstance(quick, tuple) else (quick,)
    few = [FEW if isinstance(x, int) and x > 256 else 1 if isinstance(x, int) and x < 32 else x for x in parts]
    return tuple(few) if isinstance(quick, tuple) else few[0]


def fit_hardly(model: Any, train: Any, *valid: Any, **options: Any) -> Any:
    few = MultimodalDataset(train[:TRAINED]) if type(train) is MultimodalDataset else train
    return real_fit(model, few, *valid, **{**options, "epochs": 1, "progress": False, "patience": None})


def fit_and_count(model: Any, train: Any, *valid: Any, **options: Any) -> Any:
    """Also says how often a step waits, as the difference of a longer and a shorter run."""
    seen, kept = [], {name: x for name, x in options.items() if name not in ("callbacks", "checkpoint", "monitor")}
    kept["batch_size"] = SIZE
    for steps in STEPS:
        pretend.SYNCS.clear()
        pretend.UPLOADS.clear()
        fit_hardly(copy.deepcopy(model), Subset(train, [i % len(train) for i in range(steps * SIZE)]), **kept)
        seen.append(Counter(pretend.SYNCS + pretend.UPLOADS))
    waits = {kind: n / (STEPS[1] - STEPS[0]) for kind, n in (seen[1] - seen[0]).items()}
    if waits:
        failed(f"{type(model).__name__}: a step waits {sum(waits.values()):g} times {waits}")
    return fit_hardly(model, train, *valid, **options)


def true_captions(model: Any, data: Any, *vocabulary: Any, **options: Any) -> Any:
    """True captions in place of generated ones: a model that has hardly learnt names no two things of a scene."""
    captions, n = [several[0] for several in names["test"].captions], min(len(data), DECODED)
    _, alpha = real_captions(model, MultimodalDataset(data[:n]), *vocabulary, **options)
    rows = range(len(data))
    return [captions[k % len(captions)] for k in rows], None if alpha is None else alpha[[k % n for k in rows]]


if __name__ == "__main__":
    main()
