"""Examples of the data, and what a model made of them: modalities, scenes, pictures, words."""

from __future__ import annotations

import reprlib
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from mmtutor.data import MultimodalDataset
from mmtutor.data.arrays import to_array
from mmtutor.data.word import LETTERS, read_word
from mmtutor.plotting.style import COLOURS, STYLE
from mmtutor.training.batches import Data


def world(data: Data, examples: Sequence[int], title: str) -> Figure:
    """One row per example, one column per modality.

    Args:
        data: from `mmtutor.data.digits`, or your own with a ``"label"``: a dict of tensors or a dataset of dicts.
        examples: which ones.
        title: the message.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: the data have no modality or no label, or there is no such example.
    """
    chosen = _examples("world", data, examples)
    names = tuple(chosen[0])
    modalities = MultimodalDataset({name: x[None] for name, x in chosen[0].items()}).modalities
    if not modalities or "label" not in names:
        raise ValueError(f"world: data must have a modality and a 'label', got {', '.join(names)}")
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(chosen), len(modalities), figsize=(1.7 * len(modalities), 1.55 * len(chosen) + 0.5), squeeze=False
        )
        for row, example in zip(axes, chosen, strict=True):
            for axis, modality in zip(row, modalities, strict=True):
                _draw(axis, modality, to_array(example[modality]))
            label = ", ".join(f"{value:g}" for value in to_array(example["label"]).ravel())
            row[0].set_ylabel(label, rotation=0, size=16, labelpad=16, va="center")
        for axis, modality in zip(axes[0], modalities, strict=True):
            axis.set_title(modality, loc="center")
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def _draw(axis: Any, modality: str, value: np.ndarray) -> None:
    """One modality of one example."""
    axis.set_xticks([])
    axis.set_yticks([])
    if modality == "word" and value.ndim == 2 and value.shape[1] == len(LETTERS):
        axis.spines[:].set_visible(False)
        axis.text(0.5, 0.5, read_word(value), ha="center", va="center", size=14, family="monospace")
        axis.set(xlim=(0, 1), ylim=(0, 1))
    elif value.ndim == 1 and len(value) > 100:
        axis.plot(value, linewidth=0.4, color=COLOURS[0])
    elif value.ndim == 0:
        axis.text(0.5, 0.5, f"{value:g}", ha="center", va="center", size=14)
    elif value.ndim == 1:
        axis.bar(range(len(value)), value, color=COLOURS[0])
    elif value.ndim == 2:
        axis.plot(value, linewidth=0.8)
    elif value.ndim > 3:
        raise ValueError(f"world: {modality!r} cannot be drawn, an example of it has the shape {value.shape}")
    elif value.shape[0] == 3:
        axis.imshow(value.transpose(1, 2, 0))
    else:
        axis.imshow(
            value[0], cmap="magma" if modality == "spoken" else "gray", origin="lower" if modality == "spoken" else None
        )


def captioned(data: Data, examples: Sequence[int], captions: Sequence[str], title: str) -> Figure:
    """Pictures side by side, each with a caption below it.

    Args:
        data: scenes, photographs or other data of which each example has one picture (3, H, W) in [0, 1]: a dict of
            tensors or a dataset of dicts.
        examples: which ones, four in a row.
        captions: one for each example.
        title: the message.

    Raises:
        ValueError: there is no such example, or not one picture and one caption for each.
    """
    pictures = [_picture("captioned", example) for example in _examples("captioned", data, examples)]
    if isinstance(captions, str) or not all(isinstance(c, str) for c in captions) or len(captions) != len(examples):
        raise ValueError(f"captioned: captions must be {len(examples)} strings, one each, got {reprlib.repr(captions)}")
    rows = -(-len(examples) // 4)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(rows, 4, figsize=(9, 2.75 * rows + 0.4), squeeze=False)
        for axis in axes.flat:
            axis.axis("off")
        for axis, picture, caption in zip(axes.flat, pictures, captions, strict=False):
            axis.imshow(picture.transpose(1, 2, 0))
            lines = "\n".join(textwrap.wrap(caption, 26))
            axis.text(0.5, -0.04, lines, ha="center", va="top", size=9, transform=axis.transAxes)
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def attention(scene: ArrayLike, words: str | Sequence[str], alpha: ArrayLike, title: str) -> Figure:
    """A scene, and the same scene for each word of a caption, lighter where the attention weights are larger.

    Above each word's picture stands the largest attention weight; brightness is relative to it. Each region is as large
    as its part of the picture, to a pixel.

    Args:
        scene: the picture, a photograph for example, (3, H, W) or (1, H, W) in [0, 1].
        words: T words, or the caption as one string.
        alpha: (T, L) or more rows, the attention weights at each word, for L regions in a square grid.
        title: the message.

    Raises:
        ValueError: the shapes do not fit, or numbers of the picture are not from 0 to 1.
    """
    if alpha is None:
        raise ValueError("attention: alpha is None; this model has no attention")
    words = words.split() if isinstance(words, str) else list(words)
    picture, weights = to_array(scene, float), to_array(alpha, float)
    side = round(weights.shape[-1] ** 0.5) if weights.ndim == 2 else 0
    fits = picture.ndim == 3 and len(picture) in (1, 3) and 0 < len(words) <= len(weights)
    if not fits or not side or side**2 != weights.shape[-1]:
        raise ValueError(
            f"attention: needs a scene (3, H, W), T words and alpha (T, L) with L a square, all of one caption, "
            f"got {picture.shape}, {len(words)} words and {weights.shape}"
        )
    _check_brightness("attention", picture)
    height, width = picture.shape[1:]
    rows_of, columns_of = np.arange(height) * side // height, np.arange(width) * side // width  # region of each pixel
    picture = picture.repeat(3 // len(picture), 0).transpose(1, 2, 0)
    columns = min(6, len(words) + 1)
    rows = -(-(len(words) + 1) // columns)
    side_in_inches = 1.5 if columns > 2 else 2.4
    size = side_in_inches * columns, (side_in_inches + 0.25) * rows + 0.4
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
        for axis in axes.flat:
            axis.axis("off")
        axes.flat[0].imshow(picture)
        axes.flat[0].set_title("scene", loc="center", size=10)
        for axis, word, weight in zip(axes.flat[1:], words, weights, strict=False):
            light = (weight / max(weight.max(), 1e-12)).reshape(side, side)[rows_of][:, columns_of]  # (H, W)
            axis.imshow(0.6 * picture + 0.4 * light[..., None])
            axis.set_title(f"{word}  {weight.max():.2f}", loc="center", size=10)
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def retrieved(data: Data, queries: Sequence[str], found: ArrayLike, right: ArrayLike, title: str) -> Figure:
    """For each query, such as a sentence, a row of the pictures that it finds; right ones have a frame and a tick.

    Args:
        data: of which each example has one picture (3, H, W) in [0, 1]: a dict of tensors or a dataset of dicts.
        queries: Q texts.
        found: which examples each finds, the most similar first, whole numbers (Q, K).
        right: which of them are right, bool (Q, K).
        title: the message.

    Raises:
        ValueError: there is no such example, an example has not one picture, or the shapes do not fit.
    """
    rows, good = to_array(found), to_array(right, bool)
    if isinstance(queries, str) or rows.ndim != 2 or not rows.size or len(rows) != len(queries):
        raise ValueError(f"retrieved: found must be (Q, K) for {len(queries)} queries, got {rows.shape}")
    if good.shape != rows.shape:
        raise ValueError(f"retrieved: right must be bool {rows.shape}, as found, got {good.shape}")
    pictures = [_picture("retrieved", example) for example in _examples("retrieved", data, rows.ravel().tolist())]
    across = rows.shape[1]
    with plt.rc_context(STYLE):
        size = (1.2 * across + 2.2, 1.3 * len(rows) + 0.4)
        figure, axes = plt.subplots(len(rows), across, figsize=size, squeeze=False)
        for axis, picture, fits in zip(axes.flat, pictures, good.ravel(), strict=True):
            axis.imshow(picture.transpose(1, 2, 0))
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set(visible=True, color=COLOURS[2] if fits else "0.7", linewidth=4 if fits else 1)
            axis.set_title("✓" if fits else "✗", loc="right", size=10, color=COLOURS[2] if fits else "0.4", pad=1)
        for row, query in zip(axes, queries, strict=True):
            lines = "\n".join(textwrap.wrap(query, 18))
            row[0].set_ylabel(lines, rotation=0, ha="right", va="center", size=10, labelpad=8)
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
    if to_array(pictures).dtype.kind in "iu":
        _check_brightness("grid", to_array(pictures))
    values = to_array(pictures, float)
    if values.ndim != 5 or len(values) != len(rows) or (columns and values.shape[1] != len(columns)):
        raise ValueError(
            f"grid: pictures must be (rows, columns, C, H, W) for {len(rows)} rows and {len(columns)} columns, "
            f"got {values.shape}"
        )
    with plt.rc_context(STYLE):
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


def sentence_heatmap(
    words: str | Sequence[str], values: Mapping[str, ArrayLike], events: Mapping[str, ArrayLike], title: str
) -> Figure:
    """A sentence with one row of colours for each modality, such as a gradient at each word; known events have a frame.

    Args:
        words: T words, or the sentence as one string.
        values: for each modality a number of at least 0 for each word, (T,); colours are relative to a row's maximum.
        events: for each modality whether there is an event at that word, bool (T,).
        title: the message.
    """
    words = words.split() if isinstance(words, str) else list(words)
    if not values or values.keys() != events.keys() or not words:
        raise ValueError("sentence_heatmap: needs words, and values and events of the same modalities")
    with plt.rc_context(STYLE):
        size = (0.62 * len(words) + 1.3, 0.5 * len(values) + 1.5)
        figure, axis = plt.subplots(figsize=size)
        for row, (modality, value) in enumerate(values.items()):
            numbers, framed = to_array(value, float), to_array(events[modality], bool)
            if numbers.shape != (len(words),) or framed.shape != (len(words),):
                raise ValueError(
                    f"sentence_heatmap: {modality!r} must have {len(words)} numbers and events, got {numbers.shape}"
                )
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


# ---- messages


def _examples(who: str, data: Data, examples: Sequence[int]) -> list[dict[str, Tensor]]:
    """Some examples of any data, each a dict of tensors."""
    data = data.dataset if isinstance(data, DataLoader) else data
    whole: Any = MultimodalDataset(data) if isinstance(data, Mapping) else data
    if isinstance(examples, str) or not len(examples) or not all(-len(whole) <= k < len(whole) for k in examples):
        raise ValueError(f"{who}: examples must be some of the {len(whole)}, got {examples!r}")
    chosen = [whole[int(k)] for k in examples]
    if not all(isinstance(example, Mapping) for example in chosen):
        raise TypeError(f"{who}: an example must be a dict of tensors, got {type(chosen[0]).__name__}")
    try:
        return [{name: torch.as_tensor(x) for name, x in example.items()} for example in chosen]
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{who}: an example must be a dict of tensors ({error})") from error


def _picture(who: str, example: Mapping[str, Tensor]) -> NDArray[Any]:
    """The one picture of an example, (3, H, W) in [0, 1]."""
    found = {name: to_array(x) for name, x in example.items() if x.ndim == 3 and len(x) in (1, 3)}
    if len(found) != 1:
        shapes = ", ".join(f"{name!r} {tuple(x.shape)}" for name, x in example.items())
        raise ValueError(f"{who}: an example must have one picture (3, H, W), got {shapes}")
    (picture,) = found.values()
    _check_brightness(who, picture)
    return picture.repeat(3 // len(picture), 0)


def _check_brightness(who: str, picture: NDArray[Any]) -> None:
    if picture.size and not (picture.min() >= -1e-6 and picture.max() <= 1 + 1e-6):
        raise ValueError(
            f"{who}: a picture must have numbers from 0 to 1, got {picture.min():.3g} to {picture.max():.3g}; divide "
            "bytes by 255, and draw it as it was before it was normalised"
        )
