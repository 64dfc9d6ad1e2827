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

Examples:
    >>> row = measured("fusion")["rows"][0]
    >>> row["claim"], row["verdict"]
    ('Three modalities together beat the best single one', 'holds')
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
