"""Figures and sounds: one message each, colours that colour-blind readers can tell apart, a text beside each."""

from __future__ import annotations

import base64
import html
import io
import textwrap
import wave as wav
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from mmtutor.data import Scenes, Senses
from mmtutor.data.word import read_word
from mmtutor.training import History

# Okabe and Ito's palette, without yellow and black.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "font.size": 10.0,
    "figure.dpi": 100.0,
    "figure.constrained_layout.use": True,
}


def show(figure: Figure, alt: str) -> None:
    """Display a figure in a notebook with a text that says what it shows, and close it.

    Args:
        figure: a matplotlib figure.
        alt: what a reader who cannot see it should know, in a sentence or two.

    Raises:
        ValueError: the text is empty.
        TypeError: no figure, or no text.
    """
    from IPython.display import display  # only in notebooks

    if not isinstance(figure, Figure):
        raise TypeError(f"show: figure must be a matplotlib figure, got {type(figure).__name__}")
    _check_alt("show", alt)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, facecolor="white", bbox_inches="tight")
    plt.close(figure)
    image = {"image/png": base64.b64encode(buffer.getvalue()).decode(), "text/plain": alt}
    display(image, raw=True, metadata={"image/png": {"alt": alt}})  # type: ignore[no-untyped-call]


def sound(wave: ArrayLike, rate: int, alt: str) -> None:
    """Put a player for a sound into a notebook.

    Args:
        wave: (samples,) in [-1, 1].
        rate: samples per second, a whole number.
        alt: what one hears.

    Raises:
        ValueError: the wave is not one row of finite numbers in [-1, 1], the rate is no whole number from 1, or
            the text is empty.
        TypeError: the wave is not of numbers, or the text is no text.
    """
    from IPython.display import display

    try:
        x = np.asarray(wave, float)
    except (TypeError, ValueError) as error:
        raise TypeError(f"sound: wave must be a row of numbers, got {wave!r}") from error
    if x.ndim != 1 or not len(x) or not np.abs(x).max() <= 1:
        raise ValueError(f"sound: wave must be one row of numbers in [-1, 1], got shape {x.shape}")
    if not isinstance(rate, int) or isinstance(rate, bool) or not 1 <= rate < 2**31:
        raise ValueError(f"sound: rate must be a whole number of samples per second, got {rate!r}")
    _check_alt("sound", alt)
    buffer = io.BytesIO()
    with wav.open(buffer, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(np.rint(x * 32767).astype("<i2").tobytes())
    data, text = base64.b64encode(buffer.getvalue()).decode(), html.escape(alt)
    player = f'<audio controls aria-label="{text}" src="data:audio/wav;base64,{data}"></audio>'
    shown = {"text/html": f"<figure>{player}<figcaption>{text}</figcaption></figure>", "text/plain": alt}
    display(shown, raw=True)  # type: ignore[no-untyped-call]


def _check_alt(who: str, alt: object) -> None:
    if not isinstance(alt, str):
        raise TypeError(f"{who}: alt must be a string, got {alt!r}")
    if not alt.strip():
        raise ValueError(f"{who}: alt must say what there is to see or hear")


def world(data: Senses, examples: Sequence[int], title: str) -> Figure:
    """One row per example, one column per sense.

    Args:
        data: from `mmtutor.data.digits`, with any of its senses.
        examples: which ones.
        title: the message.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: the data have no sense or no label, or there is no such example.
    """
    senses = data.senses
    if not senses or "label" not in data.tensors:
        raise ValueError(f"world: data must have a sense and a 'label', got {', '.join(data.tensors)}")
    if not len(examples) or not all(-len(data) <= k < len(data) for k in examples):
        raise ValueError(f"world: examples must be some of the {len(data)}, got {examples!r}")
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            len(examples), len(senses), figsize=(1.7 * len(senses), 1.55 * len(examples) + 0.5), squeeze=False
        )
        for row, k in zip(axes, examples, strict=True):
            example = data[k]
            for axis, sense in zip(row, senses, strict=True):
                _draw(axis, sense, example[sense].numpy())
            row[0].set_ylabel(str(int(example["label"])), rotation=0, size=16, labelpad=16, va="center")
        for axis, sense in zip(axes[0], senses, strict=True):
            axis.set_title(sense, loc="center")
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def _draw(axis: Any, sense: str, value: np.ndarray) -> None:
    """One sense of one example."""
    axis.set_xticks([])
    axis.set_yticks([])
    if sense == "word":
        axis.spines[:].set_visible(False)
        axis.text(0.5, 0.5, read_word(value), ha="center", va="center", size=14, family="monospace")
        axis.set(xlim=(0, 1), ylim=(0, 1))
    elif value.ndim == 1 and len(value) > 100:
        axis.plot(value, linewidth=0.4, color=COLOURS[0])
    elif value.ndim == 1:
        axis.bar(range(len(value)), value, color=COLOURS[0])
    elif value.ndim == 2:
        axis.plot(value, linewidth=0.8)
    elif value.shape[0] == 3:
        axis.imshow(value.transpose(1, 2, 0))
    else:
        axis.imshow(
            value[0], cmap="magma" if sense == "spoken" else "gray", origin="lower" if sense == "spoken" else None
        )


def history(past: History, title: str, term: str = "loss", unit: str = "nats") -> Figure:
    """A loss term by epoch, in training and, where it was measured, in validation.

    Args:
        past: what `mmtutor.training.fit` returned.
        title: the message.
        term: which term.
        unit: of the term; empty if it has none.

    Raises:
        ValueError: the history has no such term.
    """
    if not past.train.get(term) and not past.valid.get(term):
        raise ValueError(f"history: unknown term {term!r}, known: {', '.join({**past.train, **past.valid})}")
    with plt.rc_context(_STYLE):
        figure, axis = plt.subplots(figsize=(5, 2.8))
        for values, name, colour in ((past.train, "training", 0), (past.valid, "validation", 1)):
            if values.get(term):
                axis.plot(range(1, len(values[term]) + 1), values[term], "o-", color=COLOURS[colour], label=name)
        axis.set(xlabel="epoch", ylabel=f"{term} ({unit})" if unit else term, title=title)
        axis.legend(frameon=False)
    return figure


def bars(values: Mapping[str, float], title: str, unit: str, chance: float | None = None) -> Figure:
    """Named figures as horizontal bars with their numbers.

    Args:
        values: name to figure.
        title: the message.
        unit: what the axis shows.
        chance: draws a dashed line there.

    Raises:
        ValueError: there is no figure, or one is not finite.
    """
    if not values or not np.isfinite(list(values.values())).all():
        raise ValueError(f"bars: values must be finite, at least one, got {dict(values)}")
    with plt.rc_context(_STYLE):
        figure, axis = plt.subplots(figsize=(6, 0.36 * len(values) + 1.1))
        names = list(values)[::-1]
        drawn = axis.barh(names, [values[n] for n in names], color=COLOURS[0])
        axis.bar_label(drawn, fmt="%.3f", padding=3)
        if chance is not None:
            axis.axvline(chance, linestyle="--", color="0.4", linewidth=1)
        axis.set(xlabel=unit if chance is None else f"{unit} (dashed: chance)", title=title)
        axis.margins(x=0.12)
    return figure


def captioned(data: Scenes, examples: Sequence[int], sentences: Sequence[str], title: str) -> Figure:
    """Scenes side by side, each with a sentence below it.

    Args:
        data: the scenes.
        examples: which ones, four in a row.
        sentences: one for each example.
        title: the message.

    Raises:
        ValueError: there is no such example, or not one sentence for each.
    """
    if not len(examples) or not all(-len(data) <= k < len(data) for k in examples):
        raise ValueError(f"captioned: examples must be some of the {len(data)}, got {examples!r}")
    if len(sentences) != len(examples) or isinstance(sentences, str):
        raise ValueError(f"captioned: sentences must be {len(examples)}, one for each example, got {len(sentences)}")
    rows = -(-len(examples) // 4)
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(rows, 4, figsize=(9, 2.75 * rows + 0.4), squeeze=False)
        for axis in axes.flat:
            axis.axis("off")
        for axis, k, sentence in zip(axes.flat, examples, sentences, strict=False):
            axis.imshow(data[k]["scene"].permute(1, 2, 0).numpy())
            lines = "\n".join(textwrap.wrap(sentence, 26))
            axis.text(0.5, -0.04, lines, ha="center", va="top", size=9, transform=axis.transAxes)
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def attention(scene: ArrayLike, words: Sequence[str], alpha: ArrayLike, title: str) -> Figure:
    """A scene, and for each word of a sentence where the model looked: the lighter, the more.

    Above each word's picture stands how much attention the place with most of it got.

    Args:
        scene: (3, H, W) in [0, 1].
        words: T words.
        alpha: (T, L) or more rows, the attention at each word on L places in a square grid.
        title: the message.

    Raises:
        ValueError: the shapes do not fit.
    """
    picture, looks = np.asarray(scene, float), np.asarray(alpha, float)
    side = round(looks.shape[-1] ** 0.5) if looks.ndim == 2 else 0
    if picture.ndim != 3 or len(picture) != 3 or not words or len(looks) < len(words) or side**2 != looks.shape[-1]:
        raise ValueError(
            f"attention: needs a scene (3, H, W), T words and alpha (T, L) with L a square, "
            f"got {picture.shape}, {len(words)} words and {looks.shape}"
        )
    columns = 6
    rows = -(-(len(words) + 1) // columns)
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(rows, columns, figsize=(9, 1.75 * rows + 0.4), squeeze=False)
        for axis in axes.flat:
            axis.axis("off")
        axes.flat[0].imshow(picture.transpose(1, 2, 0))
        axes.flat[0].set_title("scene", loc="center", size=10)
        for axis, word, look in zip(axes.flat[1:], words, looks, strict=False):
            share = np.kron(look.reshape(side, side) / look.max(), np.ones((picture.shape[1] // side,) * 2))
            axis.imshow(0.6 * picture.transpose(1, 2, 0) + 0.4 * share[..., None])
            axis.set_title(f"{word}  {look.max():.2f}", loc="center", size=10)
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def grid(pictures: ArrayLike, rows: Sequence[str], columns: Sequence[str], title: str) -> Figure:
    """Pictures in rows and columns, such as what comes out when label and style are swapped.

    Args:
        pictures: (rows, columns, C, H, W) in [0, 1].
        rows: what stands before each row.
        columns: what stands over each column; none where it is empty.
        title: the message.
    """
    values = np.asarray(pictures, float)
    if values.ndim != 5 or len(values) != len(rows) or (columns and values.shape[1] != len(columns)):
        raise ValueError(
            f"grid: pictures must be (rows, columns, C, H, W) for {len(rows)} rows and {len(columns)} columns, "
            f"got {values.shape}"
        )
    with plt.rc_context(_STYLE):
        across = values.shape[1]
        size = (0.85 * across + 1.3, 0.85 * len(rows) + 0.8)
        figure, axes = plt.subplots(len(rows), across, figsize=size, squeeze=False)
        for i, j in np.ndindex(*values.shape[:2]):
            axis: Any = axes[i, j]
            picture = values[i, j].transpose(1, 2, 0).clip(0, 1)
            axis.imshow(picture if picture.shape[2] > 1 else picture[..., 0], cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
            if j == 0:
                axis.set_ylabel(rows[i], rotation=0, ha="right", va="center", size=9)
            if i == 0 and columns:
                axis.set_title(columns[j], loc="center", size=9)
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def shares(
    words: Sequence[str], values: Mapping[str, ArrayLike], events: Mapping[str, ArrayLike], title: str
) -> Figure:
    """A sentence whose words are coloured by a share, one row for each sense; known events have a frame.

    Args:
        words: T words.
        values: for each sense a number of at least 0 for each word, (T,); a row is coloured relative to its largest.
        events: for each sense whether something happens at that word, bool (T,).
        title: the message.
    """
    if not values or values.keys() != events.keys() or not words:
        raise ValueError("shares: needs words, and values and events of the same senses")
    with plt.rc_context(_STYLE):
        size = (0.62 * len(words) + 1.3, 0.5 * len(values) + 1.5)
        figure, axis = plt.subplots(figsize=size)
        for row, (sense, value) in enumerate(values.items()):
            numbers, framed = np.asarray(value, float), np.asarray(events[sense], bool)
            if numbers.shape != (len(words),) or framed.shape != (len(words),):
                raise ValueError(f"shares: {sense!r} must have {len(words)} numbers and events, got {numbers.shape}")
            for step, number in enumerate(numbers / max(numbers.max(), 1e-12)):
                axis.add_patch(Rectangle((step, -row), 0.94, 0.88, color=plt.get_cmap("Blues")(0.05 + 0.8 * number)))
                if framed[step]:
                    axis.add_patch(Rectangle((step, -row), 0.94, 0.88, fill=False, edgecolor="#b1400e", linewidth=2))
        axis.set(xlim=(-0.1, len(words) + 0.1), ylim=(0.1 - len(values) + 0.8, 1.0))
        axis.set_yticks([0.44 - row for row in range(len(values))], list(values))
        axis.set_xticks(np.arange(len(words)) + 0.47, words, rotation=60, ha="right", size=9)
        axis.tick_params(length=0)
        for side in ("left", "bottom"):
            axis.spines[side].set_visible(False)
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def moments(looks: Mapping[str, Mapping[str, ArrayLike]], title: str) -> Figure:
    """How much attention is on the object that is about to be named, and on the one named before, word by word.

    Args:
        looks: a model's name to what `mmtutor.metrics.gaze` gave.
        title: the message.
    """
    if not looks:
        raise ValueError("moments: looks must have at least one model")
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(1, len(looks), figsize=(4.5 * len(looks), 3), sharey=True, squeeze=False)
        for axis, (name, look) in zip(axes.flat, looks.items(), strict=True):
            for k, (label, key) in enumerate((("object to be named", "named"), ("object named before", "before"))):
                values = np.asarray(look[key], float)
                x = np.arange(len(values)) - len(values) // 2
                axis.plot(x, values, "os"[k] + "-", color=COLOURS[k], label=label)
            axis.plot(x, np.asarray(look["chance"], float), ":", color="0.4", label="chance")
            axis.axvline(0, linestyle="--", color="0.4", linewidth=1)
            axis.set(title=name, xlabel="words after the object's digit")
        axes[0, 0].set_ylabel("share of attention")
        axes[0, 0].set_ylim(bottom=0)  # of all: they share it
        axes[0, 0].legend(frameon=False, fontsize=9)
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def fusion_map() -> Figure:
    """Where three senses can meet: early, late, and in between."""
    senses = ("image", "sound", "table")
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.1))
        for axis, title in zip(
            axes, ("Early: one learner", "Late: a learner each", "In between: exchange"), strict=True
        ):
            axis.set(xlim=(0, 10), ylim=(0, 6.6), title=title)
            axis.axis("off")
            for k, name in enumerate(senses):
                _box(axis, 1.3, 5.5 - 2.2 * k, name, "0.85", "black")
        early, late, between = axes
        _box(early, 5.2, 3.3, "learner", COLOURS[0], "white", height=5.4)
        _box(early, 8.8, 3.3, "class", "0.85", "black")
        for k in range(3):
            y = 5.5 - 2.2 * k
            _arrow(early, (2.3, y), (4.2, y))
            for axis in (late, between):
                _arrow(axis, (2.3, y), (3.2, y))
                _box(axis, 4.2, y, "learner", COLOURS[0], "white")
                _arrow(axis, (5.2, y), (6.3, 3.3 + 0.8 * (1 - k)))
        for axis in (late, between):
            _box(axis, 7.1, 3.3, "merge", COLOURS[1], "black", width=1.5, height=2.6)
            _box(axis, 9.3, 3.3, "class", "0.85", "black", width=1.3)
            _arrow(axis, (7.9, 3.3), (8.6, 3.3))
        _arrow(early, (6.2, 3.3), (7.8, 3.3))
        for y in (4.4, 2.2):
            _arrow(between, (4.2, y + 0.55), (4.2, y - 0.55), "<->")
    return figure


def _box(
    axis: Any, x: float, y: float, text: str, face: str, ink: str, width: float = 2.0, height: float = 1.0
) -> None:
    axis.add_patch(Rectangle((x - width / 2, y - height / 2), width, height, facecolor=face, edgecolor="0.3"))
    axis.text(x, y, text, ha="center", va="center", color=ink, size=9)


def _arrow(axis: Any, start: tuple[float, float], end: tuple[float, float], style: str = "->") -> None:
    axis.annotate("", end, start, arrowprops={"arrowstyle": style, "color": "0.3"})
