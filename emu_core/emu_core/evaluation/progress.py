"""A progress bar for terminals."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def with_progress(items: Iterable[T], label: str, total: int) -> Iterator[T]:
    """Yield items with a bar on stderr; without a bar if stderr is no terminal."""
    hidden, console = not sys.stderr.isatty(), Console(stderr=True)
    yield from track(items, label, total, console=console, transient=True, disable=hidden)
