"""Maps of a field: boxes and arrows that show how its models differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from mmtutor.plotting.style import COLOURS, STYLE

GREY, WHITE, BLACK = "0.85", "white", "black"
BLUE, ORANGE = COLOURS[:2]


def fusion_map() -> Figure:
    """Where three modalities can meet: early, late and cross-modal fusion."""
    modalities = ("image", "sound", "table")
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.1))
        titles = ("Early fusion: one learner", "Late fusion: a learner each", "Cross-modal fusion: exchange")
        for axis, title in zip(axes, titles, strict=True):
            axis.set(xlim=(0, 10), ylim=(0, 6.6), title=title)
            axis.axis("off")
            for k, name in enumerate(modalities):
                _box(axis, 1.3, 5.5 - 2.2 * k, name, GREY, BLACK)
        early, late, cross = axes
        _box(early, 5.2, 3.3, "learner", BLUE, WHITE, height=5.4)
        _box(early, 8.8, 3.3, "class", GREY, BLACK)
        for k in range(3):
            y = 5.5 - 2.2 * k
            _arrow(early, (2.3, y), (4.2, y))
            for axis in (late, cross):
                _arrow(axis, (2.3, y), (3.2, y))
                _box(axis, 4.2, y, "learner", BLUE, WHITE)
                _arrow(axis, (5.2, y), (6.3, 3.3 + 0.8 * (1 - k)))
        for axis in (late, cross):
            _box(axis, 7.1, 3.3, "merge", ORANGE, BLACK, width=1.5, height=2.6)
            _box(axis, 9.3, 3.3, "class", GREY, BLACK, width=1.3)
            _arrow(axis, (7.9, 3.3), (8.6, 3.3))
        _arrow(early, (6.2, 3.3), (7.8, 3.3))
        for y in (4.4, 2.2):
            _arrow(cross, (4.2, y + 0.55), (4.2, y - 0.55), "<->")
    return figure


# The map of VAEs is laid out in inches: centres of its diagrams, distances of modalities and of rows in a diagram.
LEFT, MIDDLE, RIGHT = 1.15, 3.25, 5.35
ACROSS, DOWN = 0.62, 0.49
HALF = 0.145  # of a box's height
POSITIONS = ((-1, "₁"), (0, "₂"), (1, "₃"))  # of the modalities, and their numbers
SETS = ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))  # of modalities


def vae_map() -> Figure:
    """Multimodal VAEs by how q(z|X) is built, in the order of Suzuki and Matsuo (2022, arXiv:2207.02127)."""
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(6.5, 9.78))
        axis.set(xlim=(0, 6.5), ylim=(0, 9.4), aspect="equal")
        axis.set_title("Multimodal VAEs differ in how q(z|X) is built", size=13, weight="bold")
        axis.axis("off")
        _coordinated(axis, 9.38)
        _area(axis, 7.52, 0.02, "Joint: one q(z|X) for all modalities", tint="#fdf0d9")
        _surrogate(axis, 7.14)
        _aggregation(axis, 5.34)
        _private(axis, 1.86)
    return figure


def _coordinated(axis: Any, top: float) -> None:
    """A VAE for each modality; arrows between the posteriors."""
    _area(axis, top, top - 1.76, "Coordinated: a VAE for each modality", tint="#e4eef7")
    y = top - 0.56
    _words(
        axis,
        2.5,
        y,
        "The posteriors of one example are drawn",
        "together (↔). None of them sees several",
        "modalities: there is no q(z|X).",
    )
    _experts(axis, LEFT, y)
    for k, _ in POSITIONS:
        _latent(axis, LEFT + k * ACROSS, y - 2 * DOWN)
    for k in (-1, 1):
        _arrow(axis, (LEFT + k * 0.2, y - DOWN), (LEFT + k * (ACROSS - 0.2), y - DOWN), "<->")


def _surrogate(axis: Any, top: float) -> None:
    """An encoder of all modalities; dashed, one for each."""
    _area(axis, top, top - 1.72, "Surrogate: JMVAE, TELBO")
    y = top - 0.54
    _words(axis, 4.5, y, "One encoder sees all", "modalities. Surrogates", "(dashed) serve when", "some are missing.")
    for k, number in POSITIONS:
        _small(axis, LEFT + k * ACROSS, y, f"x{number}", GREY)
        _arrow(axis, (LEFT + k * ACROSS, y - HALF), (LEFT + k * ACROSS, y - DOWN + HALF))
    _small(axis, LEFT, y - DOWN, "q(z|X)", BLUE, WHITE, width=1.68)
    _latent(axis, LEFT, y - 2 * DOWN)
    _experts(axis, MIDDLE, y, "--")
    for k, _ in POSITIONS:
        _latent(axis, MIDDLE + k * ACROSS, y - 2 * DOWN, "--")


def _aggregation(axis: Any, top: float) -> None:
    """Experts, how they are combined, and the result for three of them."""
    _area(axis, top, top - 3.4, "Aggregation: experts qᵢ combined, missing ones left out")
    kinds = (
        (LEFT, "Product (PoE)\nMVAE, MVTCAE", "∏", SETS[-1:]),
        (MIDDLE, "Mixture (MoE)\nMMVAE", "Σ", SETS[:3]),
        (RIGHT, "Mixture of products\nMoPoE", "Σ", SETS),
    )
    y, end = top - 0.9, top - 0.9 - 3.15 * DOWN
    for x, names, sign, members in kinds:
        axis.text(x, y + 0.36, names, ha="center", va="center", size=10)
        _experts(axis, x, y)
        _small(axis, x, end, sign, ORANGE, width=0.9)
        if members == SETS:
            _products(axis, x, y - DOWN, end)
        else:
            for k, _ in POSITIONS:
                _arrow(axis, (x + k * ACROSS, y - DOWN - HALF), (x + 0.3 * k, end + HALF))
        _curves(axis, x, top - 3.12, members)
    axis.text(MIDDLE, top - 3.27, "grey: experts, orange: q(z|X)", ha="center", va="center", size=9.5)


def _products(axis: Any, x: float, top: float, bottom: float) -> None:
    """Between the experts and their mixture: the product of each set of them."""
    y, look = 0.45 * top + 0.55 * bottom, {"color": "0.4", "linewidth": 0.8}
    for j, members in enumerate(SETS):
        at = x + 0.27 * (j - 3)
        _small(axis, at, y, "∏", ORANGE, width=0.23)
        for k in members:
            axis.plot([x + (k - 1) * ACROSS, at], [top - HALF, y + HALF], **look)
        axis.plot([at, x + 0.45 * (at - x)], [y - HALF, bottom + HALF], **look)


def _curves(axis: Any, x: float, y: float, members: Sequence[Sequence[int]]) -> None:
    """Three experts over z, and the mean of the products, each a density again, of some sets of them."""
    z, means, width = np.linspace(-2.7, 2.7, 301), np.array([-1.3, 0, 1.3]), 0.5

    def product(*numbers: int) -> Any:
        narrow = width / len(numbers) ** 0.5  # of Gaussians of one width: the mean of their means, a narrower width
        return np.exp(-(((z - means[[*numbers]].mean()) / narrow) ** 2) / 2) / narrow

    across, up = x + 0.33 * z, 0.12
    axis.fill_between(across, y, y + up * np.mean([product(*m) for m in members], 0), color=ORANGE, linewidth=0)
    for k in range(3):
        axis.plot(across, y + up * product(k), color="0.5", linewidth=1)
    axis.plot(across[[0, -1]], [y, y], color="0.3", linewidth=1)
    axis.text(across[-1] + 0.02, y, "z", va="center")


def _private(axis: Any, top: float) -> None:
    """A mixture for z, and a w of each modality beside it."""
    _area(axis, top, top - 1.76, "Private latents: DMVAE, MMVAE+")
    y, middle = top - 0.54, 2.15
    _words(
        axis,
        4.5,
        y,
        "z is shared, by product",
        "or mixture. A modality",
        "has a private latent wᵢ",
        "for what it alone shows.",
    )
    for k, number in POSITIONS:
        x = middle + 1.3 * k
        _small(axis, x, y, f"x{number}", GREY)
        _arrow(axis, (x - 0.1, y - HALF), (x - 0.28, y - DOWN + HALF))
        _small(axis, x - 0.28, y - DOWN, f"q{number}", BLUE, WHITE)
        _arrow(axis, (x - 0.28, y - DOWN - HALF), (middle - 0.28 + 0.3 * k, y - 2 * DOWN + HALF))
        _arrow(axis, (x + 0.1, y - HALF), (x + 0.26, y - DOWN + HALF))
        _circle(axis, x + 0.28, y - DOWN, f"w{number}", "#b5e3d3")
    _small(axis, middle - 0.28, y - 2 * DOWN, "∏ or Σ", ORANGE, width=0.9)
    _arrow(axis, (middle + 0.17, y - 2 * DOWN), (middle + 0.6, y - 2 * DOWN))
    _circle(axis, middle + 0.76, y - 2 * DOWN, "z")


def _area(axis: Any, top: float, bottom: float, title: str, tint: str = "") -> None:
    """A region of the map, tinted, or a part of one, with its title."""
    left = 0.02 if tint else 0.12
    edge = "none" if tint else "0.6"
    axis.add_patch(Rectangle((left, bottom), 6.5 - 2 * left, top - bottom, facecolor=tint or WHITE, edgecolor=edge))
    axis.text(left + 0.12, top - 0.2, title, size=11 if tint else 10.5, weight="bold", va="center")


def _words(axis: Any, x: float, y: float, *lines: str) -> None:
    axis.text(x, y + HALF, "\n".join(lines), size=10, va="top", linespacing=1.4)


def _experts(axis: Any, x: float, y: float, line: str = "-") -> None:
    """Three modalities, and one row below an encoder for each; dashed lines for surrogates."""
    face, ink = (BLUE, WHITE) if line == "-" else (WHITE, BLACK)
    for k, number in POSITIONS:
        at = x + k * ACROSS
        _small(axis, at, y, f"x{number}", GREY)
        _arrow(axis, (at, y - HALF), (at, y - DOWN + HALF), line=line)
        _small(axis, at, y - DOWN, f"q{number}", face, ink, line=line)


def _latent(axis: Any, x: float, y: float, line: str = "-") -> None:
    """z, with an arrow from the row above."""
    _arrow(axis, (x, y + DOWN - HALF), (x, y + 0.16), line=line)
    _circle(axis, x, y, "z")


def _circle(axis: Any, x: float, y: float, text: str, face: str = WHITE) -> None:
    axis.add_patch(Circle((x, y), 0.16, facecolor=face, edgecolor="0.3"))
    axis.text(x, y, text, ha="center", va="center", size=10)


def _small(
    axis: Any, x: float, y: float, text: str, face: str, ink: str = BLACK, width: float = 0.4, line: str = "-"
) -> None:
    _box(axis, x, y, text, face, ink, width, 2 * HALF, 10, line)


def _box(
    axis: Any,
    x: float,
    y: float,
    text: str,
    face: str,
    ink: str,
    width: float = 2.0,
    height: float = 1.0,
    size: float = 9,
    line: str = "-",
) -> None:
    corner = x - width / 2, y - height / 2
    axis.add_patch(Rectangle(corner, width, height, facecolor=face, edgecolor="0.3", linestyle=line))
    axis.text(x, y, text, ha="center", va="center", color=ink, size=size)


def _arrow(axis: Any, start: tuple[float, float], end: tuple[float, float], style: str = "->", line: str = "-") -> None:
    axis.annotate("", end, start, arrowprops={"arrowstyle": style, "color": "0.3", "linestyle": line})
