"""Photographs with captions: Flickr8k, and any set in the format of Karpathy's splits.

The captions are one JSON file (Karpathy and Fei-Fei, 2015), the photographs a folder or a zip archive. A photograph
is opened when it is asked for, so that a set may be larger than the memory; nothing is unpacked to disk.
"""

from __future__ import annotations

import copy
import io
import json
import operator
import os
import reprlib
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .download import DAMAGED, RemoteFile, fetch, leaves_folder
from .items import check_split
from .vocabulary import Vocabulary

FILES: Mapping[str, RemoteFile] = MappingProxyType(
    {
        "images": RemoteFile(
            "flickr8k/Flickr8k_Dataset.zip",
            ("https://github.com/jbrownlee/Datasets/releases/download/Flickr8k/Flickr8k_Dataset.zip",),
            "md5:f18a1e2920de5bd84dae7cf08ec78978",
        ),
        "captions": RemoteFile(
            "karpathy/caption_datasets.zip",
            ("https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",),
            None,
        ),
    }
)
_SPLITS = {"train": "train", "restval": "train", "val": "valid", "test": "test"}
_MOST_BYTES = 2**26  # of one photograph's file, 64 MiB
_MOST_TEXT = 2**29  # of a JSON file in an archive, 512 MiB; COCO's is the largest, about 140


class Photos(Dataset[dict[str, Tensor]]):
    """Photographs with captions, read from disk one by one; `photos` and `flickr8k` make them.

    ``photos[k]`` is a dict with ``"photo"``, float32 (3, size, size) in [0, 1]: red, green and blue, the shorter side
    resized to ``size`` (bilinear over all pixels that fall into one, so that fine patterns do not flicker) and cut
    to the middle square (EXIF orientation is not read). It raises a ValueError with the file's name if
    that is missing or damaged.

    It works with any ``DataLoader``, also one with workers.

    Args:
        images: a folder or a zip archive.
        files: where each photograph lies below the folder, or its full name in the archive.
        captions: the captions of each photograph, words with a space between them.
        size: pixels on a side.

    Attributes:
        files: as given.
        captions: as given; all of them, as references for the metrics.

    Raises:
        OSError: there is nothing at ``images``.
        ValueError: no photograph, not as many files as captions, or no size.
    """

    def __init__(
        self, images: str | os.PathLike[str], files: Sequence[str], captions: Sequence[Sequence[str]], size: int = 256
    ) -> None:
        _check_size(size)
        if not files or len(files) != len(captions):
            raise ValueError(f"Photos: needs captions for every file, got {len(files)} files, {len(captions)} captions")
        self.images, self.size = Path(images), size
        self.files, self.captions = list(files), [list(texts) for texts in captions]
        self._archive = None if self.images.is_dir() else _Zip(self.images)
        self._text: tuple[Vocabulary, int, int] | None = None

    def tokenised(self, vocabulary: Vocabulary, length: int = 52, references: int = 5) -> Photos:
        """The same photographs with captions as numbers.

        Args:
            vocabulary: made from the captions of the training photographs.
            length: numbers per caption, start and end included, at least 3. Of longer captions the end is cut off.
            references: captions per photograph, at least 1: the first ones, repeated in turn where there are fewer.

        Returns:
            New photos whose items also have ``"caption"``, int64 (references, length).
        """
        if not isinstance(references, int) or isinstance(references, bool) or references < 1:
            raise ValueError(f"Photos.tokenised: references must be a whole number of at least 1, got {references!r}")
        vocabulary.encode("any", length)  # refuses a bad length here, not later in a worker
        new = copy.copy(self)
        new._text = vocabulary, length, references
        return new

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        k = operator.index(index)
        item = {"photo": self._photo(self.files[k])}
        if self._text is not None:
            vocabulary, length, references = self._text
            texts = islice(cycle(self.captions[k]), references)
            item["caption"] = torch.stack([vocabulary.encode(text, length, cut=True) for text in texts])
        return item

    def _photo(self, file: str) -> Tensor:
        from PIL import Image

        try:
            content = self._archive.read(file, _MOST_BYTES) if self._archive else (self.images / file).read_bytes()
            with Image.open(io.BytesIO(content)) as image:
                side = min(image.size)
                left, top = (image.width - side) / 2, (image.height - side) / 2
                square = image.convert("RGB").resize(
                    (self.size, self.size), Image.Resampling.BILINEAR, (left, top, left + side, top + side)
                )
        except MemoryError:
            raise
        except Exception as error:  # Pillow raises a dozen kinds for a damaged file
            raise ValueError(f"{self.images}: cannot read the photo {file!r} ({error})") from error
        return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous() / 255


def photos(split: str, *, captions: str | os.PathLike[str], images: str | os.PathLike[str], size: int = 256) -> Photos:
    """The photographs of a split, with captions in the format of Karpathy's splits.

    Args:
        split: ``"train"`` (in the file also ``"restval"``), ``"valid"`` (in the file ``"val"``) or ``"test"``.
        captions: the JSON file, such as ``dataset_flickr8k.json``.
        images: where the photographs are. A folder has each at its ``filepath`` (only COCO gives one) and
            ``filename``; in a zip archive other folders may lie around these.
        size: pixels on a side of the square that each is cut to.

    Raises:
        OSError: ``captions`` or ``images`` is not there.
        ValueError: no such split; the JSON file is not what it should be, in any split; ``images`` is no zip archive;
            or a photograph of the split is missing.

    Examples:
        >>> train = photos("train", captions="dataset_coco.json", images="coco")  # doctest: +SKIP
        >>> vocabulary = Vocabulary.from_captions((c for five in train.captions for c in five), 5)  # doctest: +SKIP
        >>> train = train.tokenised(vocabulary)  # doctest: +SKIP
        >>> {name: tuple(value.shape) for name, value in train[0].items()}  # doctest: +SKIP
        {'photo': (3, 256, 256), 'caption': (5, 52)}
    """
    check_split(split)
    _check_size(size)
    return _find(images, _read_captions(Path(captions).read_bytes(), str(captions), split), size)


def flickr8k(
    split: str,
    *,
    folder: str | os.PathLike[str] | None = None,
    size: int = 256,
    files: Mapping[str, RemoteFile] = FILES,
) -> Photos:
    """Flickr8k with Karpathy's splits: 6,000 photographs to train, 1,000 valid and 1,000 test, five captions each.

    Downloaded the first time: 1.1 GB of photographs, 36 MB of captions. The photographs are for non-commercial
    research and teaching only (Hodosh et al., 2013).

    Args:
        split: ``"train"``, ``"valid"`` or ``"test"``.
        folder: the cache folder; see ``cache_folder``.
        size: pixels on a side of the square that each is cut to.
        files: where the files come from.

    Raises:
        ValueError: no such split, or a file that is not what it should be.
        DownloadError: a file could not be fetched.
    """
    check_split(split)
    _check_size(size)
    folder = None if folder is None else Path(folder)
    archive = fetch(files["captions"], folder)
    name = "dataset_flickr8k.json"
    try:
        listed = _read_captions(_Zip(archive).read(name, _MOST_TEXT), f"{archive}, {name}", split)
    except ValueError as error:
        raise ValueError(f"{error}; its checksum is not known: remove {archive} and run again") from error
    return _find(fetch(files["images"], folder), listed, size)


def _check_size(size: int) -> None:
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ValueError(f"size must be a whole number of at least 1, got {size!r}")


def _read_captions(content: bytes, source: str, split: str) -> dict[str, list[str]]:
    """The captions of each photograph of a split, by its file; the other splits are checked, too."""
    try:
        images = json.loads(content)["images"]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{source}: no JSON ({error})") from error
    except (KeyError, TypeError) as error:
        raise ValueError(f'{source}: should be a dict with "images"') from error
    if not isinstance(images, list):
        raise ValueError(f'{source}: "images" should be a list, is {type(images).__name__}')
    listed: dict[str, list[str]] = {}
    seen: set[str] = set()
    for k, image in enumerate(images):
        where = f"{source}, image {k}"
        file = _text(image, "filename", where)
        if "filepath" in image:
            file = f"{_text(image, 'filepath', where)}/{file}"
        if leaves_folder(file):
            raise ValueError(f"{where}: refused, {file!r} is outside the folder")
        where = f"{where} ({file})"
        if file in seen:
            raise ValueError(f"{where}: occurs twice, perhaps in two splits")
        seen.add(file)
        if _text(image, "split", where) not in _SPLITS:
            raise ValueError(f"{where}: split should be one of {', '.join(_SPLITS)}, is {image['split']!r}")
        sentences = image.get("sentences")
        if not isinstance(sentences, list) or not sentences:
            raise ValueError(f'{where}: has no captions: "sentences" should be a list of at least one')
        texts = [_caption(sentence, where) for sentence in sentences]
        if _SPLITS[image["split"]] == split:
            listed[file] = texts
    if not listed:
        raise ValueError(f"{source}: none of the {len(images)} images is in the split {split!r}")
    return listed


def _text(image: Any, key: str, where: str) -> str:
    text = image.get(key) if isinstance(image, dict) else None
    if not isinstance(text, str) or not text:
        raise ValueError(f"{where}: {key!r} should be a string, is {text!r}")
    return text


def _caption(sentence: Any, where: str) -> str:
    tokens = sentence.get("tokens") if isinstance(sentence, dict) else None
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise ValueError(f'{where}: the "tokens" of a caption should be a list of strings, got {reprlib.repr(tokens)}')
    text = " ".join(tokens)
    if not text.split():
        raise ValueError(f"{where}: a caption without words")
    return text


def _find(images: str | os.PathLike[str], listed: dict[str, list[str]], size: int) -> Photos:
    """The listed photographs, where they lie below the folder or in the archive."""
    images = Path(images)
    found = (
        {file: file for file in listed if (images / file).is_file()} if images.is_dir() else _Zip(images).find(listed)
    )
    missing = [file for file in listed if file not in found]
    if missing:
        raise ValueError(f"{images}: {len(missing)} of {len(listed)} photos are missing, the first is {missing[0]!r}")
    return Photos(images, [found[file] for file in listed], list(listed.values()), size)


class _Zip:
    """A zip archive that each process opens for itself, and only when it reads.

    Two processes with one open file would move each other's position in it. So a worker opens it anew, whether it
    was forked (another process id) or got a pickled copy (the path alone).
    """

    def __init__(self, path: Path) -> None:
        path.open("rb").close()  # not there, or not ours to read: the system's own error says it best
        self.path = path
        self._opened: tuple[int, zipfile.ZipFile] | None = None

    def __reduce__(self) -> tuple[type[_Zip], tuple[Path]]:
        return _Zip, (self.path,)

    def open(self) -> zipfile.ZipFile:
        """The archive, open in this process."""
        if self._opened is None or self._opened[0] != os.getpid():
            try:
                self._opened = os.getpid(), zipfile.ZipFile(self.path)
            except DAMAGED as error:
                raise ValueError(f"{self.path}: cut off, damaged, or no zip archive ({error})") from error
        return self._opened[1]

    def find(self, wanted: Iterable[str]) -> dict[str, str]:
        """The full names of the wanted files that are there, in whatever folder of the archive they lie."""
        ends = defaultdict(set)
        for name in self.open().namelist():
            parts = name.split("/")
            if parts[0] != "__MACOSX":  # what a Mac adds: a small file of the same name for every file
                for k in range(len(parts)):
                    ends["/".join(parts[k:])].add(name)
        found = {}
        for file in wanted:
            names = {file} if file in ends[file] else ends[file]
            if len(names) > 1:
                raise ValueError(f"{self.path}: {file!r} could be any of {', '.join(sorted(names))}")
            for name in names:
                found[file] = name
        return found

    def read(self, name: str, limit: int) -> bytes:
        """The content of a file, of at most ``limit`` bytes.

        Raises:
            ValueError: the archive is damaged, or the file is not in it or larger.
        """
        archive = self.open()
        try:
            info = archive.getinfo(name)
            if info.file_size > limit:
                raise ValueError(f"{self.path}: refused, {name!r} unpacks to more than {limit:,} bytes")
            with archive.open(info) as member:
                return member.read(limit + 1)  # a declared size that is a lie: the checksum tells
        except KeyError:
            raise ValueError(f"{self.path}: has no {name!r}") from None
        except DAMAGED as error:
            raise ValueError(f"{self.path}: {name!r} is damaged ({error})") from error
