"""Photographs as a frozen image encoder sees them: encoded once, kept in a file, read as a data set.

An image encoder that is not trained gives the same regions of a photograph in every epoch, and costs more than all the
rest. So `encode_photos` runs it once, and training reads the file. The file is an ordinary ``safetensors`` file with
one tensor, ``"regions"`` (N, L, D) in half precision, that is mapped into memory, not loaded: it may be larger than the
memory. It grows photograph by photograph under a temporary name; after a kill the same call goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from .dataset import MultimodalDataset
from .items import whole
from .photos import Photos
from .vocabulary import Vocabulary

DTYPES = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32"}
OTHER = "is of another encoder, of other photographs or of another dtype; remove it, or give another path"


class EncodedPhotos(MultimodalDataset):
    """Photographs as regions, with their captions; `encode_photos` makes it.

    Its examples are dicts with ``"regions"``, float32 (L, D) whatever is stored, and, from `tokenised`, ``"caption"``,
    int64 (references, length). An image encoder that takes them is ``nn.Identity()``.

    Args:
        regions: (N, L, D).
        captions: the captions of each photograph; they may be empty.
        caption: as numbers, int64 (N, references, length); None: without.

    Attributes:
        captions: as given; all of them, as references for the metrics.

    Examples:
        >>> data = EncodedPhotos(torch.rand(2, 49, 320).half(), [["a dog"], ["a cat", "two cats"]])
        >>> data[0]["regions"].dtype, data.tokenised(Vocabulary(["a", "dog"]), 5, 2)[[0, 1]]["caption"].shape
        (torch.float32, torch.Size([2, 2, 5]))
    """

    def __init__(self, regions: Tensor, captions: Sequence[Sequence[str]], caption: Tensor | None = None) -> None:
        if not isinstance(regions, Tensor) or regions.ndim != 3 or not regions.is_floating_point():
            raise ValueError("EncodedPhotos: regions must be floating-point numbers of shape (N, L, D)")
        if len(captions) != len(regions):
            raise ValueError(f"EncodedPhotos: {len(regions)} photographs, but captions of {len(captions)}")
        super().__init__({"regions": regions} | ({} if caption is None else {"caption": caption}))
        self.captions = [list(texts) for texts in captions]

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> dict[str, Tensor]:
        return {name: x.float() if x.is_floating_point() else x for name, x in super().__getitem__(index).items()}

    def tokenised(self, vocabulary: Vocabulary, length: int = 52, references: int = 5) -> EncodedPhotos:
        """The same photographs with captions as numbers; see `Photos.tokenised`.

        Args:
            vocabulary: made from the captions of the training photographs.
            length: numbers per caption, start and end included, at least 3. Of longer captions the end is cut off.
            references: captions per photograph, at least 1: the first ones, repeated in turn where there are fewer.
        """
        references = whole("EncodedPhotos.tokenised", "references", references, 1)
        if not all(self.captions):
            raise ValueError("EncodedPhotos.tokenised: these photographs have no captions")
        numbers = [
            torch.stack([vocabulary.encode(texts[r % len(texts)], length, cut=True) for r in range(references)])
            for texts in self.captions
        ]
        return EncodedPhotos(self.tensors["regions"], self.captions, torch.stack(numbers))


def encode_photos(
    encoder: nn.Module,
    photos: Photos,
    path: str | os.PathLike[str],
    *,
    batch_size: int = 8,
    workers: int = 0,
    dtype: torch.dtype = torch.float16,
    progress: bool = True,
) -> EncodedPhotos:
    """The regions of photographs, by an image encoder that is not trained any more; computed once, then read.

    Args:
        encoder: from photographs (B, 3, size, size) to regions (B, L, D), such as
            `mmtutor.photo_encoders.EfficientNetLiteGrid`; it runs on its own device, in evaluation mode.
        photos: the photographs.
        path: the file. If it is there, and of this encoder and these photographs, it is read. Until it is whole it is
            called ``path.part``; after a kill, or on a full disk that was cleared, the same call goes on.
        batch_size: photographs at a time.
        workers: processes that read photographs.
        dtype: in which regions are stored; half precision has three digits, float32 needs twice the room.
        progress: show a bar once it has taken a second.

    Raises:
        ValueError: the file is of another encoder or of other photographs, or is damaged; the encoder gives no regions,
            or values that ``dtype`` cannot hold; a photograph cannot be read. What was computed before is kept.
        OSError: the disk is full, for example.

    Examples:
        >>> from mmtutor.photo_encoders import EfficientNetLiteGrid
        >>> encoder = EfficientNetLiteGrid.pretrained()  # doctest: +SKIP
        >>> train = encode_photos(encoder, flickr8k("train", size=224), "train.safetensors")  # doctest: +SKIP
        >>> train[0]["regions"].shape  # doctest: +SKIP
        torch.Size([49, 320])
    """
    from filelock import FileLock

    batch_size = whole("encode_photos", "batch_size", batch_size, 1)
    if not isinstance(encoder, nn.Module) or not isinstance(photos, Photos):
        kinds = f"{type(encoder).__name__} and {type(photos).__name__}"
        raise TypeError(f"encode_photos: needs a torch.nn.Module and Photos, got {kinds}")
    if dtype not in DTYPES:
        raise ValueError(f"encode_photos: dtype must be one of {', '.join(map(str, DTYPES))}, got {dtype}")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    of = {"encoder": _encoder_digest(encoder), "photographs": _photos_digest(photos)}
    with FileLock(path.with_name(f"{path.name}.lock")):
        if not path.exists():
            part = path.with_name(f"{path.name}.part")
            _write(encoder, photos, part, of, batch_size, workers, dtype, progress)
            part.replace(path)
    return EncodedPhotos(_read(path, of, len(photos), dtype), photos.captions)


def _write(
    encoder: nn.Module,
    photos: Photos,
    part: Path,
    of: dict[str, str],
    batch_size: int,
    workers: int,
    dtype: torch.dtype,
    progress: bool,
) -> None:
    """Append the photographs that are not in the file yet; its length tells how many are."""
    from mmtutor.data.progress import tqdm

    with _encoding(encoder), part.open("r+b" if part.exists() else "w+b") as file:
        one = _regions(encoder, photos[0]["photo"][None], dtype)  # (1, L, D)
        header, size = _header((len(photos), *one.shape[1:]), DTYPES[dtype], of), one.numel() * one.element_size()
        there = file.read(len(header))
        if not header.startswith(there):
            raise ValueError(f"{part} {OTHER}")
        if len(there) < len(header):
            file.seek(0)
            file.write(header)
        done = max(0, os.path.getsize(part) - len(header)) // size
        file.truncate(len(header) + done * size)  # of the last one a piece may be there
        file.seek(0, os.SEEK_END)
        left = DataLoader(photos, batch_size, sampler=range(done, len(photos)), num_workers=workers)
        with tqdm(
            total=len(photos), initial=done, desc="encoding photographs", disable=not progress, delay=1, unit="photo"
        ) as bar:
            for batch in left:
                _append(file, _regions(encoder, batch["photo"], dtype))
                bar.update(len(batch["photo"]))


def _append(file: BinaryIO, regions: Tensor) -> None:
    file.write(regions.view(torch.uint8).numpy().tobytes())
    file.flush()
    os.fsync(file.fileno())


def _regions(encoder: nn.Module, pictures: Tensor, dtype: torch.dtype) -> Tensor:
    """Regions (B, L, D) on the CPU, as they are stored."""
    like = next(encoder.parameters(), pictures)
    regions = encoder(pictures.to(like.device, like.dtype))
    if not isinstance(regions, Tensor) or regions.ndim != 3 or len(regions) != len(pictures):
        got = tuple(regions.shape) if isinstance(regions, Tensor) else type(regions).__name__
        raise ValueError(f"encode_photos: the encoder must give regions (B, L, D) with B = {len(pictures)}, got {got}")
    stored = regions.to(dtype).cpu().contiguous()
    if not stored.isfinite().all():
        raise ValueError(
            f"encode_photos: the regions are not finite, or too large for {dtype}; dtype=torch.float32 holds more"
        )
    return stored


def _header(shape: tuple[int, ...], kind: str, of: dict[str, str]) -> bytes:
    """How a safetensors file with one tensor begins."""
    count = 4 if kind == "F32" else 2
    for n in shape:
        count *= n
    tensor = {"dtype": kind, "shape": shape, "data_offsets": (0, count)}
    text = json.dumps({"__metadata__": of, "regions": tensor}).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _read(path: Path, of: dict[str, str], count: int, dtype: torch.dtype) -> Tensor:
    """The regions, mapped into memory."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            stored = file.metadata() or {}
            regions: Tensor = file.get_tensor("regions")
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged, or no file of encode_photos ({error}); remove it") from error
    if stored != of or len(regions) != count or regions.dtype != dtype:
        raise ValueError(f"{path} {OTHER}")
    return regions


def _encoder_digest(encoder: nn.Module) -> str:
    """Of an encoder's class, weights and settings."""
    digest = hashlib.sha256(type(encoder).__qualname__.encode())
    settings = {k: v for k, v in vars(encoder).items() if isinstance(v, int | float | str | tuple) and k != "training"}
    digest.update(repr(sorted(settings.items())).encode())
    for name, value in [*encoder.named_parameters(), *encoder.named_buffers()]:
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _photos_digest(photos: Photos) -> str:
    """Of the names and the size of photographs."""
    return hashlib.sha256(json.dumps([photos.size, photos.files]).encode()).hexdigest()[:16]


@contextmanager
def _encoding(encoder: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every part is left in the mode it came in."""
    before: list[tuple[nn.Module, bool]] = [(module, module.training) for module in encoder.modules()]
    try:
        encoder.eval()
        with torch.inference_mode():
            yield
    finally:
        for module, training in before:
            module.training = training
