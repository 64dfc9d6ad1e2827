"""A figure to move: frames that were drawn before, and a row of buttons to choose one; without any script."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from mmtutor.plotting.notebook import anchor, display, in_notebook

# A frame is shown while its button is chosen. Buttons are radio buttons, so arrow keys go from one to the next.
_STYLE = (
    ".frames{{border:none;margin:1em 0;padding:0}}.frames>input{{position:absolute;opacity:0;width:0;margin:0}}"
    ".frames>label{{display:inline-block;padding:.25em .8em;margin:.2em .4em .2em 0;white-space:nowrap;cursor:pointer;"
    "border:1px solid;border-radius:1em}}.frames>input:checked+label{{background:#0072b2;color:white}}"
    ".frames>input:focus-visible+label{{outline:2px solid;outline-offset:2px}}"
    ".frames>figure{{display:none;margin:.5em 0}}"
    "{shown}{{display:block}}.frames img{{max-width:100%;height:auto;background:white}}"
)


def frames(figures: Mapping[str, Figure], alts: Mapping[str, str], what: str, first: str | None = None) -> None:
    """Show one of several figures, which the reader chooses; a script prints their texts.

    Click on a button, or go from one to the next by the arrow keys. All is in the notebook, so it moves offline.

    Args:
        figures: name of a button, such as ``"t = 4"``, to its figure; they are closed.
        alts: the same names to what a reader who cannot see a figure should know.
        what: what one chooses, such as ``"steps of refinement"``; each group on a page needs another.
        first: the name of the frame that is seen at first; None: the first one.

    Raises:
        ValueError: there is no figure, names differ, a text is empty, or ``first`` is none of them.
    """
    if not figures or figures.keys() != alts.keys() or not all(text.strip() for text in alts.values()):
        raise ValueError(f"frames: each figure needs a text of its name, got {[*figures]} and {[*alts]}")
    chosen = next(iter(figures)) if first is None else first
    if chosen not in figures:
        raise ValueError(f"frames: first must be one of {[*figures]}, got {first!r}")
    lines = [f"{what}, {name}: {' '.join(alts[name].split())}" for name in figures]
    images = [_webp(figure) for figure in figures.values()]
    if not in_notebook():
        print("\n".join(lines))
        return
    group = anchor(what)
    ids = [f"{group}-{k}" for k in range(len(images))]
    shown = ",".join(f"#{i}:checked~.{i}" for i in ids)
    buttons = "".join(
        f'<input type="radio" name="{group}" id="{i}"{" checked" if name == chosen else ""}>'
        f'<label for="{i}">{html.escape(name)}</label>'
        for i, name in zip(ids, figures, strict=True)
    )
    pictures = "".join(
        f'<figure class="{i}"><img alt="{html.escape(alts[name])}" src="data:image/webp;base64,{image}"></figure>'
        for i, name, image in zip(ids, figures, images, strict=True)
    )
    legend = f"<legend>{html.escape(what)}</legend>"
    style = f"<style>{_STYLE.format(shown=shown)}</style>"
    text = f'{style}<fieldset class="frames">{legend}{buttons}{pictures}</fieldset>'
    display({"text/html": text, "text/plain": "\n".join(lines)})


def _webp(figure: Figure) -> str:
    """A figure as WebP in base64; it is closed.

    Exactly where that is smaller than as a photograph; elsewhere in 64 colours or as a photograph, what is smaller.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90, facecolor="white")
    plt.close(figure)
    picture = Image.open(buffer).convert("RGB")
    exact, drawn, photograph = io.BytesIO(), io.BytesIO(), io.BytesIO()
    picture.save(exact, format="webp", lossless=True)
    picture.quantize(64).convert("RGB").save(drawn, format="webp", lossless=True)
    picture.save(photograph, format="webp", quality=85)
    smallest = exact if exact.tell() < photograph.tell() else min(drawn, photograph, key=io.BytesIO.tell)
    return base64.b64encode(smallest.getvalue()).decode()
