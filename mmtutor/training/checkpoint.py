"""One file that holds a training run: written whole or not at all, and never unpickled.

A checkpoint is an ordinary ``safetensors`` file. Its tensors are the weights and the optimiser's state; all
else (counters, settings, history, states of the random generators) is JSON in the file's own metadata. So
reading one runs no code that came with it. `mmtutor.training.fit` decides what goes in; this file only keeps
the promise that a kill at any moment leaves the previous checkpoint whole.
"""

from __future__ import annotations

import glob
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

FAMILY = "mmtutor checkpoint"
FORMAT = f"{FAMILY} 2"


def write_checkpoint(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], record: Any) -> None:
    """Put tensors and a record into one file, in place of the file that was there.

    The bytes go to a temporary name in the same folder, are flushed to the disk, and only then take the final
    name: a rename within a folder happens wholly or not at all.

    Args:
        path: the file; its folder is made when missing.
        tensors: name to tensor, any shape and dtype, on any device.
        record: anything JSON can hold.

    Raises:
        TypeError: JSON cannot hold the record.
        OSError: the disk is full or the folder cannot be written; the file that was there is untouched.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "run.safetensors"
        >>> write_checkpoint(file, {"w": torch.ones(2)}, {"epoch": 3})
        >>> read_checkpoint(file)
        ({'w': tensor([1., 1.])}, {'epoch': 3})
    """
    path = Path(path)
    # Cloned one by one, since tied weights share memory and the format refuses that.
    kept = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    text = json.dumps(record)
    header = {"format": FORMAT, "record": text, "crc": str(_checksum(kept, text))}
    content = save(kept, metadata=header)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the rename itself is safe from a power cut once the folder is flushed too
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], Any]:
    """Read what `write_checkpoint` wrote.

    Args:
        path: the file.

    Returns:
        The tensors, on the CPU, and the record.

    Raises:
        ValueError: the file is damaged, or is not a checkpoint of this version of mmtutor.
        FileNotFoundError: there is no such file.
    """
    tensors, header = read_safetensors(path)
    if not is_checkpoint(header):
        raise ValueError(f"{path} was not written by mmtutor (expected the format {FORMAT!r})")
    if header["format"] != FORMAT:
        raise ValueError(
            f"{path} was written by another version of mmtutor: it is of the format {header['format']!r}, this version "
            f"reads {FORMAT!r}; give another path, or start anew with resume='never'"
        )
    if header["crc"] != str(_checksum(tensors, header["record"])):
        raise ValueError(f"{path} is damaged: its checksum does not fit its content")
    return tensors, json.loads(header["record"])


def read_safetensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of any safetensors file, on the CPU, and its metadata."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder, not a file")
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            # Cloned, so that nothing keeps the file mapped when a later checkpoint takes its name.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged or is no checkpoint: {error}") from error


def is_checkpoint(header: Mapping[str, str]) -> bool:
    """Whether metadata are those of a checkpoint, of this version or another one."""
    return header.get("format", "").startswith(FAMILY) and {"record", "crc"} <= header.keys()


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Remove the temporary files that killed runs left beside a checkpoint."""
    path = Path(path)
    for name in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        name.unlink(missing_ok=True)


def _checksum(tensors: Mapping[str, Tensor], text: str) -> int:
    """CRC-32 over names, values and the record, in an order that does not depend on the file's."""
    total = zlib.crc32(text.encode())
    for name in sorted(tensors):
        total = zlib.crc32(name.encode(), total)
        total = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes(), total)
    return total
