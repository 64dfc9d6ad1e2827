"""Progress bars, where they do not look like errors: JupyterLab paints what is on stderr pink."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import tqdm as bars


def tqdm(
    iterable: Iterable[Any] | None = None,
    desc: str | None = None,
    total: int | None = None,
    **settings: bool | float | str,
) -> Any:
    """A bar of tqdm, on stderr; in a notebook on stdout, and it goes when it is done.

    ``TQDM_DISABLE=1`` in the environment hides all bars.

    Args:
        iterable: what is counted while one goes through it.
        desc: what stands before the bar.
        total: how many there will be.
        settings: further ones of tqdm.
    """
    if not settings.get("disable"):
        settings.pop("disable", None)  # else it would be stronger than the environment
    notebook = type(sys.stderr).__module__.startswith("ipykernel")
    where = {"file": sys.stdout, "leave": False} if notebook else {}
    return bars.tqdm(iterable, desc, total, **{**settings, **where})
