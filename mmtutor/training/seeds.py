"""Random streams: the one that everybody seeds, and private ones that disturb nobody."""

from __future__ import annotations

import operator
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

# What the streams that `fit` derives from its seed are for; each depends on nothing else.
ORDER, NOISE, VALID, CALLBACK = range(4)


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch (every device), 0 ≤ seed < 2³².

    Examples:
        >>> seed_everything(0)
        >>> first = torch.rand(3)
        >>> seed_everything(0)
        >>> bool((torch.rand(3) == first).all())
        True
    """
    seed = check_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  other people's code draws from this one
    torch.manual_seed(seed)


def mix(*key: int) -> int:
    """One 32-bit seed from several numbers. Not `a << 32 | b`: torch's CPU generator keeps 32 bits only."""
    return int(np.random.SeedSequence(key).generate_state(1)[0])


def rng_state() -> dict[str, Any]:
    """The state of the global generators, as JSON can hold it."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    state = {"python": random.getstate(), "numpy": [name, np.asarray(keys).tolist(), *rest]}
    state["torch"] = torch.get_rng_state().numpy().tobytes().hex()
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state().numpy().tobytes().hex()
    return state


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Put the global generators back."""
    version, keys, gauss = state["python"]
    random.setstate((version, tuple(keys), gauss))
    np.random.set_state(tuple(state["numpy"]))  # noqa: NPY002
    torch.set_rng_state(torch.frombuffer(bytearray.fromhex(state["torch"]), dtype=torch.uint8))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(torch.frombuffer(bytearray.fromhex(state["cuda"]), dtype=torch.uint8))


@contextmanager
def private_rng(seed: int) -> Iterator[None]:
    """Seed the global generators, and put them back as they were."""
    before = rng_state()
    seed_everything(seed)
    try:
        yield
    finally:
        set_rng_state(before)


def check_seed(seed: object) -> int:
    """The seed as an int; all generators take 32 bits."""
    try:
        if isinstance(seed, bool):
            raise TypeError
        number = operator.index(seed)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"seed must be an int, got {seed!r}") from None
    if not 0 <= number < 2**32:
        raise ValueError(f"seed must be between 0 and 2**32 - 1, got {seed}")
    return number
