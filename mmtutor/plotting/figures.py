"""Numbers as lines, bars and points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike, NDArray

from mmtutor.data.arrays import to_array
from mmtutor.plotting.style import COLOURS, MARKERS, STYLE, TEN_COLOURS
from mmtutor.training import History


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
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(5, 2.8))
        for values, name, colour in ((past.train, "training", 0), (past.valid, "validation", 1)):
            if values.get(term):
                axis.plot(range(1, len(values[term]) + 1), values[term], "o-", color=COLOURS[colour], label=name)
        axis.set(xlabel="epoch", ylabel=f"{term} ({unit})" if unit else term, title=title)
        axis.legend(frameon=False)
    return figure


def bars(values: Mapping[str, float], title: str, unit: str, chance: float | None = None) -> Figure:
    """Named numbers as horizontal bars.

    Args:
        values: name to number.
        title: the message.
        unit: what the axis shows.
        chance: draws a dashed line there.

    Raises:
        ValueError: there is no number, or one is not finite.
    """
    numbers = to_array(list(values.values()))
    if not values or not np.isfinite(numbers).all():
        raise ValueError(f"bars: values must be finite, at least one, got {dict(values)}")
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(6, 0.36 * len(values) + 1.1))
        names = list(values)[::-1]
        drawn = axis.barh(names, numbers[::-1], color=COLOURS[0])
        axis.bar_label(drawn, fmt="%.3f", padding=3)
        if chance is not None:
            axis.axvline(chance, linestyle="--", color="0.4", linewidth=1)
        axis.set(xlabel=unit if chance is None else f"{unit} (dashed: chance)", title=title)
        axis.margins(x=0.12)
    return figure


def dots(values: Mapping[str, Mapping[str, float]], title: str, unit: str) -> Figure:
    """Several numbers for each name, as points on one line: who has more of what.

    Args:
        values: name of a line to its points; a point's name to its number. All lines have the same points.
        title: the message.
        unit: of the numbers.

    Raises:
        ValueError: there is no line, lines have different points, or a number is not finite.
    """
    points = list(next(iter(values.values()), ()))
    if not points or len(points) > len(MARKERS) or any(set(line) != set(points) for line in values.values()):
        raise ValueError(f"dots: values must be lines of the same 1 to {len(MARKERS)} points, got {dict(values)}")
    numbers = {point: _numbers(f"dots: {point!r}", [line[point] for line in values.values()]) for point in points}
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7, 0.36 * len(values) + 1.1))
        for row in range(len(values)):
            axis.axhline(row, color="0.88", linewidth=1, zorder=0)
            for k, point in enumerate(points):
                label = point if row == 0 else None
                axis.plot(numbers[point][row], row, MARKERS[k], color=COLOURS[k % len(COLOURS)], label=label)
        axis.set(yticks=range(len(values)), xlabel=unit, title=title)
        axis.set_yticklabels(list(values))
        axis.invert_yaxis()
        axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def shares(parts: Mapping[str, Mapping[str, float]], title: str, unit: str) -> Figure:
    """What a number is made of: bars of equal length, divided in proportion to its parts.

    A part has its number in it where there is room, and the sum stands at the end of the bar. Of nothing there is no
    bar, and its end says 0.

    Args:
        parts: a bar's name to its parts; a part's name to its number, at least 0. All bars have the same parts, in the
            same order.
        title: the message.
        unit: of the numbers.

    Raises:
        ValueError: there is no bar, bars have different parts, or the numbers of a bar are not finite or below 0.
    """
    names = [list(of) for of in parts.values()]
    if not names or not names[0] or any(of != names[0] for of in names):
        raise ValueError(f"shares: needs at least one bar, and the same parts in all, got {names}")
    numbers = np.stack([_numbers(f"shares: {bar!r}", list(of.values())) for bar, of in parts.items()])
    if (numbers < 0).any():
        raise ValueError(f"shares: the numbers of a bar must be at least 0, got {dict(parts)}")
    totals = numbers.sum(1, keepdims=True)
    widths = numbers / np.where(totals > 0, totals, 1)
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(8, 0.42 * len(parts) + 1.3))
        left = np.zeros(len(parts))
        for k, part in enumerate(names[0]):
            colour = COLOURS[k % len(COLOURS)]
            drawn = axis.barh(range(len(parts)), widths[:, k], 0.7, left, color=colour, edgecolor="white", label=part)
            texts = [f"{n:.2f}" if w > 0.055 else "" for n, w in zip(numbers[:, k], widths[:, k], strict=True)]
            ink = "white" if colour == COLOURS[0] else "black"  # the blue is dark, the others are light
            axis.bar_label(drawn, texts, label_type="center", color=ink, fontsize=8)
            left += widths[:, k]
        for row, total in enumerate(numbers.sum(1)):
            axis.text(1.015, row, f"{total:.2f} {unit}", va="center")
        axis.set(yticks=range(len(parts)), xticks=[], xlim=(0, 1))
        axis.set_yticklabels(list(parts))
        axis.invert_yaxis()
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
        figure.legend(loc="outside lower center", ncols=len(names[0]), frameon=False)
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def curves(x: ArrayLike, values: Mapping[str, ArrayLike], title: str, xlabel: str, ylabel: str) -> Figure:
    """Named lines over the same x values; for several runs the mean, and a band from the lowest to the highest.

    Args:
        x: the x values, (n,).
        values: name to numbers (n,), or to those of k runs (k, n).
        title: the message.
        xlabel: what x is, with its unit.
        ylabel: what the numbers are, with their unit.

    Raises:
        ValueError: there is no line, the shapes do not fit, or a number is not finite.
    """
    positions = _numbers("curves: x", x)
    lines = {name: _numbers(f"curves: {name!r}", value) for name, value in values.items()}
    if positions.ndim != 1 or not len(positions) or not lines:
        raise ValueError(f"curves: needs at least one line over x (n,), got {list(lines)} over {positions.shape}")
    for name, line in lines.items():
        if line.ndim not in (1, 2) or not line.size or line.shape[-1] != len(positions):
            raise ValueError(
                f"curves: {name!r} must be ({len(positions)},) or (runs, {len(positions)}), got {line.shape}"
            )
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7, 3.2))
        for k, (name, line) in enumerate(lines.items()):
            runs = np.atleast_2d(line)
            colour, marker = TEN_COLOURS[k % len(TEN_COLOURS)], MARKERS[k % len(MARKERS)]
            axis.plot(positions, runs.mean(0), marker + "-", color=colour, label=name, markersize=5)
            if len(runs) > 1:
                axis.fill_between(positions, runs.min(0), runs.max(0), color=colour, alpha=0.2, linewidth=0)
        axis.set(xlabel=xlabel, ylabel=ylabel, title=title)
        says = "line: mean of the runs\nband: lowest to highest" if axis.collections else None
        outside: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1, 1), "alignment": "left"}
        axis.legend(title=says, frameon=False, fontsize=9, title_fontsize=9, **outside)
    return figure


def scatter(points: Mapping[str, tuple[float, float]], title: str, xlabel: str, ylabel: str) -> Figure:
    """A point for each name, in a colour and with a marker of its own.

    Args:
        points: x and y of each.
        title: the message.
        xlabel: with its unit.
        ylabel: with its unit.
    """
    if not points:
        raise ValueError("scatter: points must not be empty")
    values = _numbers("scatter: points", list(points.values()))
    if values.shape != (len(points), 2):
        raise ValueError(f"scatter: each point must be (x, y), got {dict(points)!r}")
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(6.4, 3.6))
        for k, (name, point) in enumerate(zip(points, values, strict=True)):
            colour, marker = TEN_COLOURS[k % len(TEN_COLOURS)], MARKERS[k % len(MARKERS)]
            axis.plot(*point, marker, color=colour, label=name, markersize=8)
        axis.set(xlabel=xlabel, ylabel=ylabel, title=title)
        axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def moments(shifts: Mapping[str, Mapping[str, ArrayLike]], title: str) -> Figure:
    """How much attention is on the object that is about to be named, and on the one named before, word by word.

    Args:
        shifts: a model's name to what `mmtutor.metrics.attention_shift` gave.
        title: the message.
    """
    if not shifts:
        raise ValueError("moments: shifts must have at least one model")
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(shifts), figsize=(4.5 * len(shifts), 3), sharey=True, squeeze=False)
        for axis, (name, shift) in zip(axes.flat, shifts.items(), strict=True):
            for k, (label, key) in enumerate((("object to be named", "named"), ("object named before", "before"))):
                values = to_array(shift[key], float)
                x = np.arange(len(values)) - len(values) // 2
                axis.plot(x, values, "os"[k] + "-", color=COLOURS[k], label=label)
            axis.plot(x, to_array(shift["chance"], float), ":", color="0.4", label="chance")
            axis.axvline(0, linestyle="--", color="0.4", linewidth=1)
            axis.set(title=name, xlabel="words after the object's digit")
        axes[0, 0].set_ylabel("attention on the object")
        axes[0, 0].set_ylim(bottom=0)  # of all: they share it
        axes[0, 0].legend(frameon=False, fontsize=9)
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def latents(z: ArrayLike, labels: ArrayLike, title: str) -> Figure:
    """Latent codes as points, coloured by their digit, which is also written at the median of its points.

    Latent codes of more than two numbers are projected on the two directions along which they vary most, their first
    two principal components.

    Args:
        z: (n, d), finite, n and d at least 2; one latent code for each example.
        labels: the digit of each example, whole numbers (n,) or (n, 1) from 0 to 9.
        title: the message.

    Raises:
        ValueError: the shapes do not fit, a number is not finite, or a label is no digit.
    """
    points, digits = _numbers("latents: z", z), to_array(labels)
    digits = digits[:, 0] if digits.ndim == 2 and digits.shape[1] == 1 else digits  # a column is a row
    if points.ndim != 2 or min(points.shape) < 2:
        raise ValueError(f"latents: z must be (n, d), n and d at least 2, got {points.shape}")
    fits = digits.shape == points.shape[:1] and digits.dtype.kind in "iu"
    if not fits or digits.min() < 0 or digits.max() > 9:
        raise ValueError(
            f"latents: labels must be {len(points)} whole numbers from 0 to 9, got {digits.dtype} {digits.shape}"
        )
    names = ["z₁", "z₂"]
    if points.shape[1] > 2:
        points = points - points.mean(0)
        _, spread, directions = np.linalg.svd(points, full_matrices=False)
        for k, direction in enumerate(directions[:2]):  # its sign means nothing: the largest number is made positive
            direction *= np.sign(direction[np.abs(direction).argmax()])
            share = spread[k] ** 2 / max(np.square(spread).sum(), 1e-300)
            names[k] = f"{('first', 'second')[k]} principal component ({share:.0%} of variance)"
        points = points @ directions[:2].T
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(5.6, 4.8))
        colours = [TEN_COLOURS[digit] for digit in digits]
        axis.scatter(points[:, 0], points[:, 1], s=9, c=colours, alpha=0.55, linewidths=0)  # in the data's order
        for digit in np.unique(digits):
            x, y = np.median(points[digits == digit], 0)
            text = axis.text(x, y, str(digit), ha="center", va="center", size=15, weight="bold")
            text.set_path_effects([withStroke(linewidth=3, foreground="white")])
        axis.set(xlabel=names[0], ylabel=names[1], title=title)
        axis.set_aspect("equal", "datalim")
    return figure


def gaussians(
    exact: tuple[ArrayLike, ArrayLike] | Mapping[str, tuple[ArrayLike, ArrayLike]],
    guesses: Mapping[str, Mapping[str, tuple[ArrayLike, ArrayLike]]],
    title: str,
) -> Figure:
    """Guesses at a Gaussian of two numbers, over the contours of the exact one, one panel for each sequence of guesses.

    An ellipse is one standard deviation from its mean; the exact Gaussian has ellipses at one, two and three standard
    deviations. A line joins the means of one panel.

    Args:
        exact: mean (2,) and covariance (2, 2); or those of each panel by name.
        guesses: name of a panel to its guesses, in order: the name of each to its mean and covariance.
        title: the message.

    Raises:
        ValueError: a shape does not fit, a number is not finite, a covariance is not positive definite, or a panel
            is empty or has no exact Gaussian.
    """
    panels = {panel: {k: _ellipse(k, *g) for k, g in some.items()} for panel, some in guesses.items()}
    if not panels or not all(panels.values()):
        raise ValueError(f"gaussians: each panel needs a guess, got {[*guesses.items()]}")
    of_panel = exact if isinstance(exact, Mapping) else dict.fromkeys(panels, exact)
    if missing := [panel for panel in panels if panel not in of_panel]:
        raise ValueError(f"gaussians: exact has no {missing[0]!r}, only {', '.join(map(repr, of_panel))}")
    true = {panel: _ellipse("exact", *of_panel[panel]) for panel in panels}
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            1, len(panels), figsize=(3.1 * len(panels), 3.5), sharex=True, sharey=True, squeeze=False
        )
        for axis, (panel, some) in zip(axes[0], panels.items(), strict=True):
            middle, once = true[panel]
            for width in (3, 2, 1):
                axis.fill(*(middle[:, None] + width * once), color="0.5", alpha=0.22, linewidth=0)
            axis.plot(*np.stack([mean for mean, _ in some.values()], 1), color="0.3", linewidth=1)
            for k, (name, (mean, around)) in enumerate(some.items()):
                colour = TEN_COLOURS[k % len(TEN_COLOURS)]
                axis.plot(*mean, MARKERS[k % len(MARKERS)], color=colour, label=name, markersize=5)
                axis.plot(*(mean[:, None] + around), color=colour, linewidth=1.5)
            axis.set(title=panel, xlabel="z₁")
            axis.set_aspect("equal")
        axes[0, 0].set(ylabel="z₂")
        longest = max(axes[0], key=lambda axis: len(axis.get_legend_handles_labels()[1]))
        figure.legend(*longest.get_legend_handles_labels(), frameon=False, fontsize=9, loc="outside right upper")
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def _ellipse(name: str, mean: ArrayLike, covariance: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean (2,), and the points (2, 100) around 0 that are one standard deviation away."""
    middle, spread = _numbers(f"gaussians: {name!r}", mean), _numbers(f"gaussians: {name!r}", covariance)
    if middle.shape != (2,) or spread.shape != (2, 2) or np.linalg.eigvalsh(spread).min() <= 0:
        raise ValueError(
            f"gaussians: {name!r} must be a mean (2,) and a positive definite covariance (2, 2), got {middle.shape} "
            f"and {spread.tolist()}"
        )
    angle = np.linspace(0, 2 * np.pi, 100)
    return middle, np.linalg.cholesky(spread) @ np.stack([np.cos(angle), np.sin(angle)])


def _numbers(who: str, value: ArrayLike) -> NDArray[np.float64]:
    """Finite numbers of any shape, or an error that names them."""
    try:
        array = to_array(value, float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{who} must be numbers, got {value!r}") from error
    if not np.isfinite(array).all():
        raise ValueError(f"{who} must be finite, got NaN or infinity")
    return array
