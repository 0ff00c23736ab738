"""Atomic file writes, JSON, locks and digests: one of each."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

_PathOrText = TypeVar("_PathOrText", bound="str | Path")


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
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{os.getpid()}.{path.name}")  # NumPy appends a missing suffix
    part = beside if temporary is None else Path(temporary)
    try:
        write(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in one step, in UTF-8."""
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_json(path: str | Path, content: Any) -> None:
    """Write a JSON file in one step.

    Raises:
        ValueError: The content holds a NaN or an infinity, which JSON cannot express.
    """
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


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
    """SHA-256 of a file's content; computed again only if its time or size has changed.

    Raises:
        OSError: The file cannot be read.
    """
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


def natural_key(path: str | Path) -> list[str | int]:
    """Sort key that compares numbers by value: frame_9 comes before frame_10."""
    parts = re.split(r"(\d+)", str(path))  # text and digits alternate
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


def natural_sort(paths: Iterable[_PathOrText]) -> list[_PathOrText]:
    """Sort by `natural_key`."""
    return sorted(paths, key=natural_key)
