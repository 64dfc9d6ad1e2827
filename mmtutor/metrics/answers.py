"""Questions about scenes: whether a model looked at what it was asked about."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mmtutor.data.arrays import to_array
from mmtutor.data.question import KINDS, Questions
from mmtutor.metrics.captions import Pointing


def question_pointing(alpha: ArrayLike, data: Questions) -> dict[str, Pointing]:
    """Whether attention is on an object that the question is about, by kind of question.

    Questions that are about no object of the scene, such as of what is not there, are left out.

    Args:
        alpha: the attention weights of one hop, (n, L), for L regions in a square grid.
        data: n questions, with ``"owner_label"`` of the scenes.

    Returns:
        For each kind; ``words`` is the number of questions.

    Raises:
        TypeError: data are no questions.
        ValueError: the shapes do not fit, or the scenes' ``"owner_label"`` is missing.
    """
    if not isinstance(data, Questions):
        raise TypeError(f"question_pointing: data must be Questions, got {type(data).__name__}")
    if "owner_label" not in data.tensors:
        raise ValueError(
            "question_pointing: the questions have no 'owner_label', which says whose each pixel is; hand it on: "
            "asked.showing({'regions': …, 'owner_label': scenes.tensors['owner_label']})"
        )
    weights, owner = to_array(alpha, float), data.tensors["owner_label"].cpu()
    side = round(weights.shape[-1] ** 0.5) if weights.ndim == 2 else 0
    if not side or len(weights) != len(data) or side**2 != weights.shape[1] or owner.shape[1] % side:
        raise ValueError(
            f"question_pointing: alpha must be (n, L) with n = {len(data)} and L regions in a square grid that divides "
            f"{owner.shape[1]} pixels, got {weights.shape}; of several hops give one"
        )
    cell = owner.shape[1] // side
    cells = owner.view(len(owner), side, cell, side, cell).transpose(2, 3).flatten(3).flatten(1, 2)  # (scenes, L, …)
    asked = data.tensors["asked_label"].cpu().numpy()  # (n, objects)
    touch = np.stack([(cells == k).any(2).numpy() for k in range(asked.shape[1])], 1)  # (scenes, objects, L)
    on = (touch[data.tensors["scene_label"].cpu()] & asked[..., None]).any(1)  # (n, L)
    hit = on[np.arange(len(on)), weights.argmax(1)]
    mass, chance, kind = (weights * on).sum(1), on.mean(1), data.tensors["kind_label"].cpu().numpy()
    found = {}
    for k, name in enumerate(KINDS):
        rows = (kind == k) & asked.any(1)
        if rows.any():
            hits, on_average, uniform = (float(x[rows].mean()) for x in (hit, mass, chance))
            found[name] = Pointing(hits, on_average, uniform, int(rows.sum()))
    return found
