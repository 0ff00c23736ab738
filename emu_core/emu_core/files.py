"""Files that are whole or not there: written beside their place, then moved there in one step.

A process that is killed leaves the old file or the new one, never half of it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def replace_file(
    path: str | Path, write: Callable[[Path], Any], unfinished: str | Path | None = None
) -> None:
    """Write a file in one step; its folder is made.

    Args:
        path: of the file.
        write: writes it to the path that it is given, in the same folder.
        unfinished: that path; None for one of this process's own. A fixed one is written over by
            whoever comes after a process that was killed, but has to have one writer at a time.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{os.getpid()}.{path.name}")  # with its suffix, which NumPy minds
    own = beside if unfinished is None else Path(unfinished)
    try:
        write(own)
        os.replace(own, path)
    finally:
        own.unlink(missing_ok=True)


def replace_text(path: str | Path, text: str) -> None:
    """Write a text in one step, in UTF-8."""
    replace_file(path, lambda own: own.write_text(text, encoding="utf-8"))


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold a lock for as long as the block lasts.

    Args:
        path: its file, which is made and stays.
        wait: until another process releases it; else go on without it.

    Yields:
        Whether this process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
