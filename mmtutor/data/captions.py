"""Files of captions: the formats in which people share them, each read to the captions of each photograph.

Karpathy's JSON has splits and tokens. The others have neither: `mmtutor.data.tokenise` makes words of their sentences,
and the caller says which photographs are in which split.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import reprlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .download import leaves_folder
from .items import SPLITS, check_split
from .vocabulary import composed, tokenise

FORMATS = (
    "the JSON of Karpathy's splits (dataset_*.json), that of COCO (captions_*.json), Kaggle's captions.txt of Flickr8k "
    "(its first line is 'image,caption'), Flickr30k's results.csv ('image_name| comment_number| comment') and "
    "Flickr8k.token.txt (lines of 'name.jpg#0', a tab and a caption)"
)
Splits = Mapping[str, str | os.PathLike[str]] | float
_IN_KARPATHY = {"train": "train", "restval": "train", "val": "valid", "test": "test"}
_IMAGE, _CAPTION = ("image", "image_name", "filename", "file_name"), ("caption", "comment")  # headings of tables


@dataclass(frozen=True)
class CaptionFile:
    """What a file of captions holds.

    Attributes:
        texts: the captions of each photograph, by its name; words with a space between them.
        splits: the split of each photograph, or None where the format has none.
    """

    texts: dict[str, list[str]]
    splits: dict[str, str] | None = None


def read_captions(content: bytes, source: str) -> CaptionFile:
    """The captions of each photograph, whatever the format; every row is checked.

    Args:
        content: of the file.
        source: what messages call the file.

    Raises:
        ValueError: no known format, or a row that is not what it should be; the message names it.
    """
    if content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        try:
            data = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{source}: no JSON ({error})") from error
        if not isinstance(data, dict) or "images" not in data:
            raise ValueError(f'{source}: should be a dict with "images"; the known formats are {FORMATS}')
        for key in ("images", "annotations"):
            if key in data and not isinstance(data[key], list):
                raise ValueError(f'{source}: "{key}" should be a list, is {type(data[key]).__name__}')
        return _coco(data, source) if "annotations" in data else _karpathy(data["images"], source)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{source}: no text in UTF-8 ({error}); save it as UTF-8") from error
    first = text.split("\n", 1)[0].rstrip("\r")
    if _LINE.fullmatch(first):
        return _lines(text, source)
    for delimiter in (",", ";", "\t", "|"):
        headings = [heading.strip().strip('"').lower() for heading in first.split(delimiter)]
        image = [k for k, heading in enumerate(headings) if heading in _IMAGE]
        caption = [k for k, heading in enumerate(headings) if heading in _CAPTION]
        if len(image) == len(caption) == 1:
            if delimiter == "|":
                return _bars(text, source, len(headings), image[0], caption[0])
            return _table(text, source, delimiter, len(headings), image[0], caption[0])
    raise ValueError(
        f"{source}: no known format of captions, it begins with {first[:60]!r}; the known ones are {FORMATS}"
    )


def select(captions: CaptionFile, source: str, split: str, splits: Splits | None) -> dict[str, list[str]]:
    """The photographs of a split with their captions.

    Args:
        captions: what the file holds.
        source: what messages call the file.
        split: ``"train"``, ``"valid"``, ``"test"`` or ``"all"``.
        splits: which photographs are in which split, where the file does not say; see `mmtutor.data.photos`.

    Raises:
        ValueError: the file says it and ``splits`` too, or none of the two; a name is not in the file or in two
            splits; or nothing is in the split.
        TypeError: ``splits`` is something else.
    """
    if captions.splits is not None and splits is not None:
        raise ValueError(f"{source}: has splits of its own; leave out the argument splits")
    if split == "all":
        return captions.texts
    of = captions.splits
    if of is None:
        of = _drawn(captions.texts, splits) if isinstance(splits, float) else _listed(captions.texts, source, splits)
    found = {file: texts for file, texts in captions.texts.items() if of.get(file) == split}
    if not found:
        raise ValueError(f"{source}: none of the {len(captions.texts)} images is in the split {split!r}")
    return found


def check_splits(splits: object) -> None:
    """Refuse what says of no photograph in which split it is.

    Raises:
        ValueError: a share out of range, or another split.
        TypeError: something else.
    """
    if isinstance(splits, float):
        if not 0 < splits < 0.5:
            raise ValueError(f"photos: splits as a share must be between 0 and 0.5, got {splits}")
    elif isinstance(splits, Mapping):
        for name, path in splits.items():
            check_split(name)
            if not isinstance(path, str | os.PathLike):
                raise TypeError(f"photos: splits[{name!r}] must be a file of names, got {reprlib.repr(path)}")
    elif splits is not None:
        raise TypeError(
            "photos: splits must be a dict of files of names, {'train': …, 'valid': …, 'test': …}, or a share such as "
            f"0.1, got {reprlib.repr(splits)}"
        )


def _drawn(texts: Mapping[str, Any], share: float) -> dict[str, str]:
    """The split of each photograph, as if at random: by the order of the checksums of their names."""
    order = sorted(texts, key=lambda file: hashlib.sha256(file.encode()).digest())
    count = max(1, round(share * len(order)))
    return {file: SPLITS[2 - k // count] if k < 2 * count else "train" for k, file in enumerate(order)}


def _listed(texts: Mapping[str, Any], source: str, splits: Mapping[str, Any] | None) -> dict[str, str]:
    """The split of each photograph whose name is in a list."""
    if splits is None:
        raise ValueError(
            f"{source}: the file does not say which photographs are in which split (only the JSON of Karpathy's splits "
            "does); give splits={'train': 'Flickr_8k.trainImages.txt', …}, files of names, or splits=0.1 for a tenth "
            "each in valid and test; or take the whole file by split='all'"
        )
    found: dict[str, str] = {}
    for split, path in splits.items():
        try:
            lines = Path(path).read_bytes().decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: no text in UTF-8 ({error}); save it as UTF-8") from error
        for number, line in enumerate(lines, 1):
            name = composed(line.strip())
            if not name:
                continue
            if name not in texts:
                raise ValueError(f"{path}, line {number}: {name!r} has no captions in {source}")
            if found.setdefault(name, split) != split:
                raise ValueError(f"{path}, line {number}: {name!r} is in {split!r} and in {found[name]!r}")
    return found


def _karpathy(images: list[Any], source: str) -> CaptionFile:
    """``{"images": [{"filename", "split", "sentences": [{"tokens"}]}]}``, perhaps with a ``"filepath"``."""
    texts: dict[str, list[str]] = {}
    splits: dict[str, str] = {}
    for k, image in enumerate(images):
        where = f"{source}, image {k}"
        if isinstance(image, dict) and "filename" not in image and "file_name" in image:
            raise ValueError(
                f'{where}: looks like COCO\'s JSON, but there is no "annotations"; the formats are {FORMATS}'
            )
        file = _text(image, "filename", where)
        if "filepath" in image:
            file = f"{_text(image, 'filepath', where)}/{file}"
        file = _name(file, where)
        where = f"{where} ({file})"
        if file in texts:
            raise ValueError(f"{where}: occurs twice, perhaps in two splits")
        if _text(image, "split", where) not in _IN_KARPATHY:
            raise ValueError(f"{where}: split should be one of {', '.join(_IN_KARPATHY)}, is {image['split']!r}")
        sentences = image.get("sentences")
        if not isinstance(sentences, list) or not sentences:
            raise ValueError(f'{where}: has no captions: "sentences" should be a list of at least one')
        texts[file] = [_sentence(sentence, where) for sentence in sentences]
        splits[file] = _IN_KARPATHY[image["split"]]
    return CaptionFile(texts, splits)


def _sentence(sentence: Any, where: str) -> str:
    tokens = sentence.get("tokens") if isinstance(sentence, dict) else None
    if tokens is None and isinstance(sentence, dict) and isinstance(sentence.get("raw"), str):
        return _words(sentence["raw"], where)
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise ValueError(f'{where}: the "tokens" of a caption should be a list of strings, got {reprlib.repr(tokens)}')
    text = " ".join(tokens)
    if not text.split():
        raise ValueError(f"{where}: a caption without words")
    return text


def _coco(data: dict[str, Any], source: str) -> CaptionFile:
    """``{"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}``."""
    files: dict[Any, str] = {}
    texts: dict[str, list[str]] = {}
    for k, image in enumerate(data["images"]):
        where = f"{source}, image {k}"
        file = _name(_text(image, "file_name", where), where)
        if (number := _id(image, "id", where)) in files or file in texts:
            raise ValueError(f"{where} ({file}): its id or its file_name occurs twice")
        files[number], texts[file] = file, []
    for k, annotation in enumerate(data["annotations"]):
        where = f"{source}, annotation {k}"
        if (number := _id(annotation, "image_id", where)) not in files:
            raise ValueError(f"{where}: there is no image with the id {number!r}")
        if "caption" not in annotation:
            raise ValueError(
                f"{where}: has no 'caption'; COCO's captions are in captions_*.json, not in instances_*.json"
            )
        texts[files[number]].append(_words(_text(annotation, "caption", where), where))
    for file, captions in texts.items():
        if not captions:
            raise ValueError(f'{source}: the image {file!r} has no captions; give it one, or remove it from "images"')
    return CaptionFile(texts)


def _id(item: Any, key: str, where: str) -> int | str:
    number = item.get(key) if isinstance(item, dict) else None
    if not isinstance(number, int | str):
        raise ValueError(f"{where}: {key!r} should be a whole number, is {reprlib.repr(number)}")
    return number


def _table(text: str, source: str, delimiter: str, headings: int, image: int, caption: int) -> CaptionFile:
    """A table with commas. A caption that has some stands between quote marks; in the last column it needs none."""
    texts: dict[str, list[str]] = defaultdict(list)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    last = 0
    try:
        for row in reader:
            where, last = f"{source}, line {last + 1}", reader.line_num
            if len(row) > headings and caption == headings - 1:
                row = [*row[:caption], delimiter.join(row[caption:])]
            if not row or where.endswith(" line 1"):
                continue
            if len(row) != headings:
                raise ValueError(f"{where}: should have {headings} columns, has {len(row)}")
            if "\n" in row[caption].strip() or "\n" in row[image]:
                raise ValueError(f"{where}: a cell goes on over several lines; is a quote mark not closed?")
            _add(texts, row[image], row[caption], where)
    except csv.Error as error:
        raise ValueError(
            f"{source}, line {last + 1}: {error}; a quote mark within quote marks is written twice"
        ) from error
    return _all_of(texts, source)


def _bars(text: str, source: str, headings: int, image: int, caption: int) -> CaptionFile:
    """Flickr30k's table with bars. Quote marks mean themselves; one row of the published file lacks its second bar."""
    if (headings, image, caption) != (3, 0, 2):
        raise ValueError(f"{source}: the first line should be 'image_name| comment_number| comment'")
    return _rows(text, source, re.compile(r"([^|]+)\|\s*\d+(?:\s*\||\s)(.*)"), "'name.jpg| 0| caption'", skip=1)


_LINE = re.compile(r"(.+)#\d+\t(.*)")


def _lines(text: str, source: str) -> CaptionFile:
    """Flickr8k's (and Flickr30k's) own ``*.token*``: the name, #, the caption's number, a tab and the caption."""
    return _rows(text, source, _LINE, "'name.jpg#0', a tab and a caption", skip=0)


def _rows(text: str, source: str, form: re.Pattern[str], wanted: str, skip: int) -> CaptionFile:
    texts: dict[str, list[str]] = defaultdict(list)
    for number, line in enumerate(text.split("\n"), 1):
        if number > skip and line.strip():
            where = f"{source}, line {number}"
            match = form.fullmatch(line.rstrip("\r"))
            if match is None:
                raise ValueError(f"{where}: should be {wanted}, is {reprlib.repr(line)}")
            _add(texts, match[1], match[2], where)
    return _all_of(texts, source)


def _add(texts: dict[str, list[str]], file: str, caption: str, where: str) -> None:
    if not file.strip():
        raise ValueError(f"{where}: has no name of a photograph")
    file = _name(file.strip(), where)
    texts[file].append(_words(caption, f"{where} ({file})"))


def _all_of(texts: dict[str, list[str]], source: str) -> CaptionFile:
    if not texts:
        raise ValueError(f"{source}: has no captions")
    return CaptionFile(dict(texts))


def _words(caption: str, where: str) -> str:
    words = tokenise(caption)
    if not words:
        raise ValueError(f"{where}: a caption without words, {reprlib.repr(caption)}; remove it, or write it")
    return words


def _text(image: Any, key: str, where: str) -> str:
    text = image.get(key) if isinstance(image, dict) else None
    if not isinstance(text, str) or not text:
        raise ValueError(f"{where}: {key!r} should be a string, is {reprlib.repr(text)}")
    return text


def _name(file: str, where: str) -> str:
    """The name of a photograph in one Unicode form: in two forms it would be two photographs, perhaps in two splits."""
    if leaves_folder(file):
        raise ValueError(f"{where}: refused, {file!r} is outside the folder")
    return composed(file)
