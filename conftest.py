"""What the command line would have to say for ``pytest --nbval notebooks/`` to be strict and repeatable."""

import os
from pathlib import Path

import pytest
from nbval.plugin import IPyNbFile

ROOT = Path(__file__).resolve().parent
collect_ignore_glob = ["notebooks/*.py"]  # or --doctest-modules would run them


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if getattr(config.option, "nbval", False):
        os.environ.setdefault("MMTUTOR_BUDGET", "quick")
        os.environ.setdefault("TQDM_DISABLE", "1")
        config.option.nbval_current_env = True
        config.option.nbval_cell_timeout = 600
        config.option.nbval_sanitize_with = str(ROOT / "tools" / "nbval.cfg")


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Whether a progress bar shows depends on the machine's speed, so nbval does not compare the error stream.

    That nothing but bars is in it is what ``python -m tools.notebooks check`` looks at.
    """
    if isinstance(collector, IPyNbFile):
        collector.skip_compare += ("stderr",)
