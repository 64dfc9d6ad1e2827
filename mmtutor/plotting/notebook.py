"""What a notebook shows: figures and sounds, each with a text for readers who do not see or hear it."""

from __future__ import annotations

import base64
import html
import io
import sys
import wave as wav
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from mmtutor.data.arrays import to_array


def show(figure: Figure, alt: str) -> None:
    """Display a figure in a notebook with a text that says what it shows, and close it; a script prints the text alone.

    Args:
        figure: a matplotlib figure.
        alt: what a reader who cannot see it should know, in a sentence or two.

    Raises:
        ValueError: the text is empty.
        TypeError: no figure, or no text.
    """
    if not isinstance(figure, Figure):
        raise TypeError(f"show: figure must be a matplotlib figure, got {type(figure).__name__}")
    _check_alt("show", alt)
    if not in_notebook():
        print(" ".join(alt.split()))
        plt.close(figure)
        return
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, facecolor="white", bbox_inches="tight")
    plt.close(figure)
    image = {"image/png": base64.b64encode(buffer.getvalue()).decode(), "text/plain": alt}
    display(image, metadata={"image/png": {"alt": alt}})


def sound(wave: ArrayLike, rate: int, alt: str) -> None:
    """Put a player for a sound into a notebook; a script prints its text alone.

    Args:
        wave: (samples,) in [-1, 1].
        rate: samples per second, a whole number.
        alt: what one hears.

    Raises:
        ValueError: the wave is not one row of finite numbers in [-1, 1], the rate is no whole number from 1, or
            the text is empty.
        TypeError: the wave is not of numbers, or the text is no text.
    """
    try:
        x = to_array(wave, float)
    except (TypeError, ValueError) as error:
        raise TypeError(f"sound: wave must be a row of numbers, got {wave!r}") from error
    if x.ndim != 1 or not len(x) or not np.abs(x).max() <= 1:
        raise ValueError(f"sound: wave must be one row of numbers in [-1, 1], got shape {x.shape}")
    if isinstance(rate, bool) or not hasattr(rate, "__index__") or not 1 <= rate < 2**31:
        raise ValueError(f"sound: rate must be a whole number of samples per second, got {rate!r}")
    _check_alt("sound", alt)
    if not in_notebook():
        print(" ".join(alt.split()))
        return
    buffer = io.BytesIO()
    with wav.open(buffer, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(np.rint(x * 32767).astype("<i2").tobytes())
    data, text = base64.b64encode(buffer.getvalue()).decode(), html.escape(alt)
    player = f'<audio controls aria-label="{text}" src="data:audio/wav;base64,{data}"></audio>'
    display({"text/html": f"<figure>{player}<figcaption>{text}</figcaption></figure>", "text/plain": alt})


def in_notebook() -> bool:
    """Whether something can be displayed: in a notebook or in IPython."""
    ipython = sys.modules.get("IPython")  # it is imported wherever it runs, and need not be installed elsewhere
    return ipython is not None and ipython.get_ipython() is not None


def display(data: dict[str, str], metadata: dict[str, Any] | None = None) -> None:
    """Display one thing in several formats, by MIME type."""
    from IPython.display import display as shown

    shown(data, raw=True, metadata=metadata or {})  # type: ignore[no-untyped-call]


def anchor(text: str) -> str:
    """A text as a name for a place on a page: its letters and digits of ASCII, other signs become hyphens."""
    return "-".join("".join(c if c.isascii() and c.isalnum() else " " for c in text).split())


def _check_alt(who: str, alt: object) -> None:
    if not isinstance(alt, str):
        raise TypeError(f"{who}: alt must be a string, got {alt!r}")
    if not alt.strip():
        raise ValueError(f"{who}: alt must say what there is to see or hear")
