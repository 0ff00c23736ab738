"""Atomic file writes, disk space, JSON, locks, digests and patterns: one of each."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

_FULL = 1 << 16
"""Free space, bytes, below which a file system counts as full."""

_LFS = b"version https://git-lfs.github.com/spec/"
_LFS_LARGEST = 1024  # bytes, by the specification of Git LFS
_LFS_POINTER = "is a Git LFS pointer, not the file itself: run `git lfs pull` in its repository"

_PathOrText = TypeVar("_PathOrText", bound="str | Path")


class DiskFullError(OSError):
    """A file could not be written because its file system has no space left."""

    def __init__(self, path: str | Path) -> None:
        folder = existing_parent(Path(path))
        usage = shutil.disk_usage(folder)
        super().__init__(
            f"{path} was not written: the disk is full ({gigabytes(usage.free)} of "
            f"{gigabytes(usage.total)} free in {folder.resolve()}). Free some space and run the "
            "same command again: it goes on from the last complete files."
        )


def is_disk_full(error: BaseException, folder: Path) -> bool:
    """Whether an error came from a file system without space, or from a user's quota."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    told = "No space left on device" in str(error)  # of libraries in other languages
    return told or shutil.disk_usage(existing_parent(folder)).free < _FULL


def existing_parent(path: Path) -> Path:
    """Return the path itself if it is a folder, otherwise the closest folder above it."""
    return next(p for p in (path, *path.absolute().parents) if p.is_dir())


def gigabytes(size: float) -> str:
    return f"{size / 1e9:.3g} GB"


def require_space(needs: Iterable[tuple[str, Path, int]]) -> None:
    """Compare what a command is going to write with the free space.

    Args:
        needs: What is written, e.g. "checkpoints and weights", the folder, and bytes.

    Raises:
        OSError: A file system has less space.
    """
    disks: dict[int, list[tuple[str, Path, int]]] = defaultdict(list)
    for need in needs:
        disks[existing_parent(need[1]).stat().st_dev].append(need)
    for of_disk in disks.values():
        total, folder = sum(size for *_, size in of_disk), existing_parent(of_disk[0][1])
        free = shutil.disk_usage(folder).free
        if total > free:
            parts = ", ".join(f"{gigabytes(n)} of {what} in {path}" for what, path, n in of_disk)
            raise OSError(
                f"There is too little disk space: this needs about {parts}, but only "
                f"{gigabytes(free)} are free in {folder.resolve()}. Free some space, or use "
                "another disk."
            )


def folder_size(folder: Path) -> int:
    """Bytes of all files in a folder; 0 if there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def visible_entries(folder: Path) -> list[Path]:
    """Files and folders in a folder, sorted, without hidden ones such as ._image.png of macOS."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def visible_files(folder: Path, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Yield the files below a folder that are not hidden and lie in no hidden folder below it.

    A link to a folder that it lies in is not followed.
    """
    place = os.path.realpath(folder)
    if place in above:
        return
    for path in visible_entries(folder):
        if path.is_dir():
            yield from visible_files(path, above | {place})
        else:
            yield path


def lfs_problem(path: Path) -> str | None:
    """Return what to do about a file that is only a pointer of Git LFS; None for all others."""
    try:
        if path.stat().st_size > _LFS_LARGEST:
            return None
        with path.open("rb") as file:
            head = file.read(len(_LFS))
    except OSError:  # its reader says why
        return None
    return f"{path} {_LFS_POINTER}" if head == _LFS else None


def expand(pattern: str | Path) -> list[Path]:
    """Return the paths that match a pattern with wildcards, in the order of their numbers.

    A part of the pattern that exists under this very name is no pattern: runs/a[1]/* means all
    in the folder a[1]. `**` stands for any number of folders. Wildcards match no hidden files.
    """

    def matches(path: Path, part: str) -> Iterable[Path]:
        if (path / part).exists():
            return [path / part]
        found = ((match, match.relative_to(path).parts) for match in path.glob(part))
        return (match for match, names in found if not any(n.startswith(".") for n in names))

    root = Path(Path(pattern).anchor)
    parts = Path(pattern).relative_to(root).parts
    found = [root] if parts else []
    for part in parts:
        found = [match for path in found for match in matches(path, part)]
    return natural_sort(dict.fromkeys(found))


def write_atomically(
    path: str | Path, write: Callable[[Path], Any], temporary: str | Path | None = None
) -> None:
    """Write a file in one step: a killed process leaves the old file or the new one.

    Args:
        path: Target file. Its folder is created.
        write: Function that writes the content to the path that it receives.
        temporary: Path that is written first and then renamed to `path`; it must be on the same
            file system. The default has the suffix of `path` and is unique to this process. A
            fixed path is reused after a crash, but allows only one writer at a time.

    Raises:
        DiskFullError: There is no space left; an old file at `path` stays as it is.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{os.getpid()}.{path.name}")  # NumPy appends a missing suffix
    part = beside if temporary is None else Path(temporary)
    try:
        write(part)
        os.replace(part, path)
    except Exception as error:
        # Not every library raises OSError: look before the unfinished file is deleted.
        if is_disk_full(error, path.parent):
            raise DiskFullError(path) from error
        raise
    finally:
        part.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in one step, in UTF-8."""
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_json(path: str | Path, content: Any) -> None:
    """Write a JSON file in one step; ValueError for a NaN or an infinity, which JSON lacks."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def without_nan(content: Any) -> Any:
    """Replace NaN and infinities by None at any depth of a content for `write_json`."""
    if isinstance(content, Mapping):
        return {name: without_nan(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def read_json(path: str | Path) -> Any:
    """Read a JSON file; None if it is missing or not valid JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold a lock between processes while the block runs.

    Args:
        path: Lock file. It is created and stays.
        wait: Wait until another process releases the lock; otherwise run the block without it.

    Yields:
        Whether this process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's content; computed again only if its time or size has changed."""
    stat = Path(path).stat()
    return _content_digest(Path(path).absolute(), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1024)
def _content_digest(path: Path, _mtime_ns: int, _size: int) -> str:
    result = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            result.update(block)
    return result.hexdigest()


def digest(paths: Iterable[str | Path]) -> str:
    """SHA-256 of the contents of several files in the given order; their names do not count."""
    return hashlib.sha256("\n".join(map(file_digest, paths)).encode()).hexdigest()


def natural_sort(paths: Iterable[_PathOrText]) -> list[_PathOrText]:
    """Sort by the values of the numbers in the names: frame_9 comes before frame_10."""

    def key(path: str | Path) -> list[str | int]:
        parts = re.split(r"(\d+)", str(path))  # text and digits alternate
        return [int(part) if index % 2 else part for index, part in enumerate(parts)]

    return sorted(paths, key=key)
