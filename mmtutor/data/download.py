"""Getting files from the internet once, whole, and checked; reading archives without trusting them.

``pooch`` downloads to a temporary file, compares its checksum and only then gives it its name. Added here:
mirrors, a lock so that two processes download once, the removal of what a killed process left behind, and
one error that says what to do. Archives are read member by member in memory: nothing is unpacked to disk, so
no member can land outside a folder, and reading stops at a size limit.
"""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# What the standard library raises for a damaged archive: OSError for an offset before its beginning,
# RuntimeError for encryption or an unknown compression.
DAMAGED = (EOFError, OSError, RuntimeError, UnicodeError, zlib.error, tarfile.TarError, zipfile.BadZipFile)


class DownloadError(RuntimeError):
    """A file could not be fetched; the message says why, and what to do. Running again is always safe."""


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Attributes:
        name: where it lies below the cache folder, such as ``"mnist/t10k-labels-idx1-ubyte.gz"``.
        urls: where to get it, the first choice first.
        hash: its checksum with the kind in front, such as ``"md5:ec29..."`` or ``"sha256:8bc4..."``. None: none is
            known, and whoever reads the file has to doubt every byte of it.
    """

    name: str
    urls: tuple[str, ...]
    hash: str | None


def cache_folder(folder: str | Path | None = None) -> Path:
    """Where downloads are kept: ``folder``, else the variable ``MMTUTOR_DATA``, else the user's cache."""
    from platformdirs import user_cache_dir

    return Path(folder or os.environ.get("MMTUTOR_DATA") or user_cache_dir("mmtutor")).expanduser().absolute()


def fetch(file: RemoteFile, folder: str | Path | None = None, *, timeout: float = 30) -> Path:
    """Return the path of a file, downloading it first if it is not there with the right checksum.

    Args:
        file: what to get.
        folder: the cache folder; see ``cache_folder``.
        timeout: seconds a server may stay silent.

    Returns:
        The path ``folder / file.name``; its content has the checksum ``file.hash``, if one is known. If not, a
        file that lies there is taken as it is.

    Raises:
        DownloadError: no URL gave the right file, or the folder cannot be written (rights, full disk). What
            lay at the path before is still there, and nothing half-written is.
    """
    import pooch
    from filelock import FileLock
    from requests.exceptions import RequestException

    path = cache_folder(folder) / file.name
    try:
        # Before the lock, so that a cache on a read-only disk can be used.
        if _is_whole(path, file.hash):
            return path
        # A folder of our own: whatever lies in it while we hold its lock is left from a killed process.
        partial = path.parent / ".partial"
        partial.mkdir(parents=True, exist_ok=True)
        with FileLock(partial / "lock"):
            if _is_whole(path, file.hash):  # another process was faster
                return path
            for left_over in partial.glob("tmp*"):
                left_over.unlink()
            failures = []
            for url in file.urls:
                get = pooch.HTTPDownloader(
                    progressbar=True,
                    chunk_size=2**16,
                    timeout=timeout,
                    # A server that compresses on the way makes the length, and so the bar, wrong.
                    headers={"Accept-Encoding": "identity"},
                )
                try:
                    whole = pooch.retrieve(url, file.hash, fname=path.name, path=partial, downloader=get)
                except (RequestException, ValueError) as error:  # the network, or pooch's checksum
                    failures.append(f"  {url}: {error}")
                else:
                    os.replace(whole, path)
                    return path
    except OSError as error:
        raise DownloadError(
            f"cannot write {path}: {error}. Make room or check the rights, or choose another folder with the "
            "variable MMTUTOR_DATA; then run again."
        ) from error
    checksum = file.hash or "no checksum is known"
    wrong = " The file that lies there now has another checksum." if path.exists() else ""
    raise DownloadError(
        "\n".join([f"could not download {path.name}:", *failures])
        + f"\nRun again when the network is back, or put the file by hand at {path} ({checksum}).{wrong}"
    )


def _is_whole(path: Path, known_hash: str | None) -> bool:
    """Whether the file is there with this checksum, or there at all if none is known."""
    import pooch

    if known_hash is None:
        return path.is_file()
    kind, _, digest = known_hash.partition(":")
    return path.is_file() and pooch.file_hash(str(path), alg=kind) == digest.lower()


def read_archive(path: str | Path, *, limit: int) -> Iterator[tuple[str, bytes]]:
    """The files in a zip or gzipped tar archive, one after the other, in memory.

    Args:
        path: the archive.
        limit: the most bytes that it may unpack to, everything together.

    Yields:
        Name and content of each file, in the archive's order.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: the archive is cut off, damaged or larger than ``limit``, or has a member that would
            leave the folder it is unpacked to (``..``, an absolute path) or is not a plain file (a link, a
            device, a sparse file).
    """
    path = Path(path)
    path.open("rb").close()  # not there, or not ours to read: the system's own error says it best
    members = _zip_members if zipfile.is_zipfile(path) else _tar_members
    try:
        for name, is_file, content in members(path, limit):
            if not is_file or leaves_folder(name):
                raise ValueError(f"{path}: refused, {name!r} is outside the archive's folder or not a plain file")
            yield name, content
    except DAMAGED as error:
        raise ValueError(f"{path}: cut off, damaged, or no zip or tar.gz archive ({error})") from error


def leaves_folder(name: str) -> bool:
    """Whether a file of this name below a folder could lie outside it (``..``, an absolute path), on any system."""
    parts = name.replace("\\", "/").split("/")
    return not parts[0] or ":" in parts[0] or ".." in parts


def _zip_members(path: Path, limit: int) -> Iterator[tuple[str, bool, bytes]]:
    """Name, whether it is a plain file, and content of each member of a zip archive."""
    with zipfile.ZipFile(path) as archive:
        if sum(info.file_size for info in archive.infolist()) > limit:
            raise ValueError(_too_large(path, limit))
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive was not made on Unix
            if not info.filename.endswith("/"):  # a folder; zipfile's is_dir fails on an empty name
                with archive.open(info) as member:
                    # Asking for a size bounds the memory if the declared one is a lie; the checksum tells.
                    yield info.filename, kind in (0, stat.S_IFREG), member.read(info.file_size + 1)


def _tar_members(path: Path, limit: int) -> Iterator[tuple[str, bool, bytes]]:
    """The same for a gzipped tar, read as one stream so that no header can claim more than the limit."""
    with gzip.open(path) as unzipped:
        stream = _Limited(unzipped, limit, _too_large(path, limit))
        with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]
            for info in archive:
                # A sparse file may claim any size: its holes are not in the stream.
                content = archive.extractfile(info) if info.isreg() and not info.issparse() else None
                if not info.isdir():
                    yield info.name, content is not None, content.read() if content else b""
        while stream.read(2**16):  # to the end, where gzip compares the checksum
            pass


class _Limited:
    """A stream that refuses to give more than ``limit`` bytes, headers and skipped members included."""

    def __init__(self, stream: gzip.GzipFile, limit: int, refusal: str) -> None:
        self.stream, self.left, self.refusal = stream, limit, refusal

    def read(self, size: int) -> bytes:
        data = self.stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise ValueError(self.refusal)
        return data


def _too_large(path: Path, limit: int) -> str:
    return f"{path}: refused, it unpacks to more than {limit:,} bytes"
