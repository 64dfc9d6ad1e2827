"""What every figure is held to: it leaves the reader's settings alone, and it can be shown."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest


@pytest.fixture(autouse=True)
def _close():
    before = dict(matplotlib.rcParams)
    yield
    plt.close("all")
    assert dict(matplotlib.rcParams) == before  # no figure changes the reader's settings


@pytest.fixture
def shown(monkeypatch):
    """What would reach the notebook, in which the test pretends to be."""
    calls = []
    monkeypatch.setattr("IPython.get_ipython", object)
    monkeypatch.setattr("IPython.display.display", lambda data, **rest: calls.append((data, rest)))
    return calls
