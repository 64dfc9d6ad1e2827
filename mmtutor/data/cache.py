"""Keep a composed tensor on disk, safe against two processes at once and against a kill while writing."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor


def cached(name: str, key: Sequence[Any], make: Callable[[], Tensor], folder: Path) -> Tensor:
    """Read the tensor made earlier with the same key, or make and store it.

    The file is written under a temporary name, flushed and renamed, under a lock; a damaged file is
    replaced. Where the folder cannot be written, the tensor is made all the same and a warning says so.

    Args:
        name: the beginning of the file's name.
        key: everything the content depends on, as plain JSON values.
        make: makes the tensor.
        folder: where the files are.

    Returns:
        What ``make`` returns, or returned earlier.
    """
    from filelock import FileLock
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    path = folder / f"{name}-{digest}.safetensors"
    lock = FileLock(path.with_suffix(".lock"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        warnings.warn(f"{name} is not cached, {folder} cannot be written: {error}", stacklevel=2)
        return make()
    part = path.with_suffix(".part")  # the lock makes its owner the only one to write it
    try:
        if path.exists():
            try:
                return load_file(path)["tensor"]
            except (SafetensorError, OSError, KeyError):
                pass  # damaged: it is replaced
        tensor = make()
        try:
            save_file({"tensor": tensor}, part)
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.replace(path)
        except (SafetensorError, OSError) as error:
            part.unlink(missing_ok=True)
            warnings.warn(f"{name} is not cached, {path} cannot be written: {error}", stacklevel=2)
        return tensor
    finally:
        lock.release()
