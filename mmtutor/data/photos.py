"""Photographs with captions: Flickr8k, and any set whose captions are in one of the usual formats.

The captions are one file, such as the JSON of Karpathy's splits (Karpathy and Fei-Fei, 2015), the photographs a folder
or a zip archive. A photograph is opened when it is asked for, so that a set may be larger than the memory; nothing is
unpacked to disk.
"""

from __future__ import annotations

import copy
import operator
import os
import reprlib
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor
from torch.utils.data import Dataset

from .captions import Splits, check_splits, read_captions, select
from .download import DAMAGED, RemoteFile, fetch
from .items import check_split, whole
from .pictures import read_picture
from .vocabulary import Vocabulary, composed

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
_MOST_BYTES = 2**26  # of one photograph's file, 64 MiB
_MOST_TEXT = 2**29  # of a JSON file in an archive, 512 MiB; COCO's is the largest, about 140


class Photos(Dataset[dict[str, Tensor]]):
    """Photographs with captions, read from disk one by one; `photos` and `flickr8k` make them.

    ``photos[k]`` is a dict with ``"photo"``, float32 (3, size, size) in [0, 1]: red, green and blue, the shorter side
    resized to ``size`` (bilinear over all pixels that fall into one, so that fine patterns do not flicker) and cut
    to the middle square. EXIF orientation is followed, what is transparent becomes white, 16-bit grey levels keep
    their brightness, and of an animation it is the first picture. It raises a ValueError with the file's name if
    that is missing, damaged or of a kind whose brightness is not known.

    It works with any ``DataLoader``, also one with workers.

    Args:
        images: a folder or a zip archive.
        files: where each photograph lies below the folder, or its full name in the archive.
        captions: the captions of each photograph, words with a space between them; a string is the only one. None: they
            have none, such as new photographs that a model is to caption.
        size: pixels on a side.
        skip_damaged: read every photograph once, now, and leave out those that cannot be read, with a warning.

    Attributes:
        files: as given, without those left out.
        captions: as given, in the Unicode form NFC; all of them, as references for the metrics.
        skipped: the files left out.

    Raises:
        OSError: there is nothing at ``images``.
        ValueError: no photograph, not as many files as captions, a caption without words, or no size.
        TypeError: files or captions are something else.
    """

    def __init__(
        self,
        images: str | os.PathLike[str],
        files: Iterable[str],
        captions: Iterable[str | Sequence[str]] | None = None,
        size: int = 256,
        *,
        skip_damaged: bool = False,
    ) -> None:
        self.size = whole("Photos", "size", size, 1)
        self.files = _strings("files", files)
        self.captions: list[list[str]] = [[] for _ in self.files] if captions is None else _references(captions)
        if not self.files or len(self.files) != len(self.captions):
            counts = f"{len(self.files)} files, {len(self.captions)} captions"
            raise ValueError(f"Photos: needs captions for every file, got {counts}")
        self.images, self.skipped = Path(images), list[str]()
        self._archive = None if self.images.is_dir() else _Zip(self.images)
        self._text: tuple[Vocabulary, int, int] | None = None
        if skip_damaged:
            self._skip_damaged()

    def _skip_damaged(self) -> None:
        from mmtutor.data.progress import tqdm

        damaged: dict[int, str] = {}
        for k, file in enumerate(tqdm(self.files, "checking photos", leave=False, delay=1)):
            try:
                self._photo(file)
            except ValueError as error:
                damaged[k] = str(error)
        if len(damaged) == len(self.files):
            raise ValueError(f"Photos: none of the {len(self.files)} photos can be read; {damaged[0]}")
        if damaged:
            self.skipped = [self.files[k] for k in damaged]
            some = ", ".join(map(repr, self.skipped[:5])) + (", …" if len(damaged) > 5 else "")
            warnings.warn(
                f"Photos: {len(damaged)} of {len(self.files)} photos are left out ({some}; see .skipped); the first: "
                f"{next(iter(damaged.values()))}",
                stacklevel=3,
            )
            kept = [k for k in range(len(self.files)) if k not in damaged]
            self.files, self.captions = [self.files[k] for k in kept], [self.captions[k] for k in kept]

    def tokenised(self, vocabulary: Vocabulary, length: int = 52, references: int = 5) -> Photos:
        """The same photographs with captions as numbers.

        Args:
            vocabulary: made from the captions of the training photographs.
            length: numbers per caption, start and end included, at least 3. Of longer captions the end is cut off.
            references: captions per photograph, at least 1: the first ones, repeated in turn where there are fewer.

        Returns:
            New photos whose items also have ``"caption"``, int64 (references, length).
        """
        if not isinstance(vocabulary, Vocabulary):
            raise TypeError(f"Photos.tokenised: vocabulary must be a Vocabulary, got {type(vocabulary).__name__}")
        references = whole("Photos.tokenised", "references", references, 1)
        if not all(self.captions):
            raise ValueError("Photos.tokenised: these photographs have no captions")
        new = copy.copy(self)
        new._text = vocabulary, whole("Photos.tokenised", "length", length, 3), references
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
        try:
            content = self._archive.read(file, _MOST_BYTES) if self._archive else (self.images / file).read_bytes()
            return read_picture(content, self.size)
        except MemoryError:
            raise
        except Exception as error:  # Pillow raises a dozen kinds for a damaged file
            raise ValueError(f"{self.images}: cannot read the photo {file!r} ({error})") from error


def photos(
    split: str,
    *,
    captions: str | os.PathLike[str],
    images: str | os.PathLike[str],
    size: int = 256,
    splits: Splits | None = None,
    skip_damaged: bool = False,
) -> Photos:
    """The photographs of a split, with their captions.

    | format | what it is | splits |
    | --- | --- | --- |
    | ``dataset_*.json`` | Karpathy's splits of Flickr8k, Flickr30k and COCO | its own |
    | ``captions_*.json`` | COCO's annotations | ``splits`` |
    | ``captions.txt`` | Kaggle's Flickr8k, any table that begins with ``image,caption`` | ``splits`` |
    | ``results.csv`` | Flickr30k, ``image_name| comment_number| comment`` | ``splits`` |
    | ``Flickr8k.token.txt`` | Flickr8k's own, ``name.jpg#0``, a tab and a caption | ``splits`` |

    Karpathy's file has its captions as tokens. The sentences of the others become words by `tokenise`.

    Args:
        split: ``"train"`` (in Karpathy's file also ``"restval"``), ``"valid"`` (there ``"val"``) or ``"test"``; or
            ``"all"`` photographs of the file.
        captions: the file, in one of these formats, whatever its name.
        images: where the photographs are, a folder or a zip archive. Other folders may lie around them.
        size: pixels on a side of the square that each is cut to.
        splits: for the formats without splits, which photographs are in which. Files of names, one a line, such as
            ``{"train": "Flickr_8k.trainImages.txt", "valid": …, "test": …}``; photographs in no list are in no split.
            Or a share such as 0.1: that many each for valid and test, drawn by the names, always the same ones. All
            captions of a photograph are in the same split. COCO has a file for each split: take it as ``"all"``.
        skip_damaged: leave out photographs that are missing or cannot be read, with a warning and named in
            ``skipped``. Each one is read once to find out. Otherwise a missing one is refused here, and a damaged one
            when it is asked for.

    Raises:
        OSError: a file, or ``images``, is not there.
        ValueError: no such split; the file of captions is not what it should be, in any split, or does not say what
            is in which split; ``images`` is no zip archive; or a photograph of the split is missing.
        TypeError: ``splits`` is something else.

    Examples:
        >>> train = photos("train", captions="dataset_coco.json", images="coco")  # doctest: +SKIP
        >>> vocabulary = Vocabulary.from_captions(train.captions, 5)  # doctest: +SKIP
        >>> train = train.tokenised(vocabulary)  # doctest: +SKIP
        >>> {name: tuple(value.shape) for name, value in train[0].items()}  # doctest: +SKIP
        {'photo': (3, 256, 256), 'caption': (5, 52)}
        >>> mine = photos("test", captions="captions.txt", images="Images", splits=0.1)  # doctest: +SKIP
    """
    check_split(split, "all")
    size = whole("photos", "size", size, 1)
    check_splits(splits)
    listed = select(read_captions(Path(captions).read_bytes(), str(captions)), str(captions), split, splits)
    return _find(images, listed, size, skip_damaged)


def flickr8k(
    split: str,
    *,
    folder: str | os.PathLike[str] | None = None,
    size: int = 256,
    skip_damaged: bool = False,
    files: Mapping[str, RemoteFile] = FILES,
) -> Photos:
    """Flickr8k with Karpathy's splits: 6,000 photographs to train, 1,000 valid and 1,000 test, five captions each.

    Downloaded the first time: 1.1 GB of photographs, 36 MB of captions. The photographs are for non-commercial
    research and teaching only (Hodosh et al., 2013).

    Args:
        split: ``"train"``, ``"valid"`` or ``"test"``; or ``"all"``.
        folder: the cache folder; see ``cache_folder``.
        size: pixels on a side of the square that each is cut to.
        skip_damaged: see `photos`.
        files: where the files come from.

    Raises:
        ValueError: no such split, or a file that is not what it should be.
        DownloadError: a file could not be fetched.
    """
    check_split(split, "all")
    size = whole("flickr8k", "size", size, 1)
    folder = None if folder is None else Path(folder)
    archive = fetch(files["captions"], folder)
    name = "dataset_flickr8k.json"
    try:
        source = f"{archive}, {name}"
        listed = select(read_captions(_Zip(archive).read(name, _MOST_TEXT), source), source, split, None)
    except ValueError as error:
        raise ValueError(f"{error}; its checksum is not known: remove {archive} and run again") from error
    return _find(fetch(files["images"], folder), listed, size, skip_damaged)


def _strings(name: str, values: Iterable[str]) -> list[str]:
    """Many strings, and not one that would be read letter by letter."""
    found = [] if isinstance(values, str | bytes) or not isinstance(values, Iterable) else list(values)
    for row, value in enumerate(found):
        if not isinstance(value, str | os.PathLike):
            raise TypeError(f"Photos: {name} must be strings, got {reprlib.repr(value)} in row {row}")
    if not found and (isinstance(values, str | bytes) or not isinstance(values, Iterable)):
        raise TypeError(f"Photos: {name} must be many strings, got {reprlib.repr(values)}")
    return [os.fspath(value) for value in found]


def _references(captions: Iterable[str | Sequence[str]]) -> list[list[str]]:
    """The captions of each photograph, each with a word in it."""
    if isinstance(captions, str | bytes | Mapping) or not isinstance(captions, Iterable):
        raise TypeError(f"Photos: captions must be a list of each photo's captions, got {reprlib.repr(captions)}")
    found = []
    for row, texts in enumerate(captions):
        texts = [texts] if isinstance(texts, str) else _strings(f"captions[{row}]", texts)
        if not texts or not all(text.split() for text in texts):
            raise ValueError(f"Photos: photo {row} has no caption, or one without words: {reprlib.repr(texts)}")
        found.append([composed(text) for text in texts])
    return found


def _find(images: str | os.PathLike[str], listed: dict[str, list[str]], size: int, skip_damaged: bool) -> Photos:
    """The listed photographs, where they lie below the folder or in the archive."""
    images = Path(images)
    if images.is_dir():
        found = {file: file for file in listed if (images / file).is_file()}
        if len(found) < len(listed):  # in folders below, or with names in another Unicode form
            names = [path.relative_to(images).as_posix() for path in images.rglob("*") if path.is_file()]
            found |= _match([file for file in listed if file not in found], names, images)
    else:
        found = _match(listed, _Zip(images).open().namelist(), images)
    missing = [file for file in listed if file not in found]
    if missing and (not skip_damaged or not found):
        hint = "is it the right folder?" if not found else "skip_damaged=True leaves them out"
        raise ValueError(
            f"{images}: {len(missing)} of {len(listed)} photos are missing, the first is {missing[0]!r}; {hint}"
        )
    files = [found.get(file, file) for file in listed]
    return Photos(images, files, listed.values(), size, skip_damaged=skip_damaged)


def _match(wanted: Iterable[str], names: Iterable[str], where: Path) -> dict[str, str]:
    """The full names of the wanted files that are there, in whatever folder they lie."""
    ends = defaultdict(set)
    for name in names:
        parts = composed(name).split("/")
        if parts[0] != "__MACOSX":  # what a Mac adds: a small file of the same name for every file
            for k in range(len(parts)):
                ends["/".join(parts[k:])].add(name)
    found = {}
    for file in wanted:
        fitting = ends[composed(file)]
        fitting = {file} if file in fitting else fitting
        if len(fitting) > 1:
            raise ValueError(f"{where}: {file!r} could be any of {', '.join(sorted(fitting))}")
        for name in fitting:
            found[file] = name
    return found


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
