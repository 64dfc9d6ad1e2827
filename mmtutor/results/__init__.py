"""What the experiments measured: claims of the papers and of the chapters, over several seeds.

Each experiment is one file here, ``fusion.json`` for ``python -m experiments.fusion`` in the repository. It has these
keys, and more on how it was made (``settings``, ``versions``, ``code``, ``date``, ``device``, ``seconds``):

| key | what it is |
| --- | --- |
| ``experiment`` | its name |
| ``what`` | the experiment in one sentence |
| ``seeds`` | the seeds, S of them |
| ``numbers`` | seed to all its numbers, by name |
| ``rows`` | the claims, a dict each |

A claim has these, the verdict being computed from the rest of them:

| key | what it is |
| --- | --- |
| ``claim``, ``source`` | the claim in words, and whose it is |
| ``values`` | name to S numbers |
| ``larger``, ``smaller``, ``margin`` | the claim is that the first exceeds the second by more than the margin |
| ``unit`` | of these numbers |
| ``difference`` | larger − smaller, the mean over seeds, and the two ends of its 95 % interval |
| ``p``, ``p, corrected`` | of a paired t-test, and corrected for the number of rows |
| ``verdict`` | ``holds``, ``undecided`` or ``does not hold`` |

Beside these are pictures that models generated after longer training, ``pictures.npz``: see `generated`; and what a
model trained on photographs says about a portrait, ``portrait.npz``: see `portrait`.

Examples:
    >>> row = measured("fusion")["rows"][0]
    >>> row["claim"], row["verdict"]
    ('Three modalities together beat the best single one', 'holds')
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parent


def measured(experiment: str) -> dict[str, Any]:
    """The stored results of an experiment, as the table above says.

    Args:
        experiment: its name, such as ``"fusion"``.

    Raises:
        ValueError: there is none of that name; the message lists those that there are.
    """
    path = FOLDER / f"{experiment}.json"
    if not isinstance(experiment, str) or not path.is_file() or path.parent != FOLDER:
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.json")))
        raise ValueError(f"measured: no results of {experiment!r}; there are {known}")
    return {"experiment": experiment, **json.loads(path.read_text(encoding="utf-8"))}


def generated(model: str) -> dict[str, Tensor]:
    """Pictures that a model generated after 3,000 steps, from the first test example of each digit, 0 to 9.

    They are of one run each, by ``python -m experiments.pictures`` in the repository: to be looked at, no verdict rests
    on them.

    Args:
        model: its name, such as ``"MVAE"``; ``"given"`` has the test examples themselves.

    Returns:
        For each kind, such as ``"street from handwritten"``, float (10, C, H, W) in [0, 1].

    Raises:
        ValueError: there is none of that name; the message lists those that there are.

    Examples:
        >>> {kind: tuple(x.shape) for kind, x in generated("given").items()}
        {'handwritten': (10, 1, 28, 28), 'street': (10, 3, 32, 32)}
    """
    with np.load(FOLDER / "pictures.npz") as stored:
        names = [key.split(": ") for key in stored.files]
        if model not in (known := list(dict(names))):
            raise ValueError(f"generated: no pictures of {model!r}; there are {', '.join(known)}")
        return {kind: torch.from_numpy(stored[f"{name}: {kind}"]) / 255 for name, kind in names if name == model}


def portrait() -> tuple[Tensor, list[str], Tensor]:
    """What soft attention, trained on Flickr8k, says about a portrait of Grace Hopper, and where it looks.

    The portrait is in the public domain and comes with matplotlib. It is one picture, to be looked at: no verdict rests
    on it.

    Returns:
        The portrait, float (3, 224, 224) in [0, 1]; T words; attention weights (T, 49) of 7 × 7 regions.

    Examples:
        >>> photo, words, alpha = portrait()
        >>> tuple(photo.shape), alpha.shape[1], len(words) == len(alpha)
        ((3, 224, 224), 49, True)
    """
    from matplotlib import cbook

    from mmtutor.data.pictures import read_picture

    picture = read_picture(Path(str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))).read_bytes(), 224)
    with np.load(FOLDER / "portrait.npz") as stored:
        return picture, stored["words"].tolist(), torch.from_numpy(stored["alpha"]).float()
