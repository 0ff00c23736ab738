"""How much memory a process has used."""

from __future__ import annotations

import re
from pathlib import Path


def peak_rss_mb(pid: int | str = "self") -> float:
    """Return the largest resident memory that a process has had, MiB, as Linux counts it.

    getrusage's begins with that of the parent process.

    Raises:
        OSError: There is no such process, or this is not Linux.
        ValueError: The process has ended.
    """
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    if found is None:
        raise ValueError(f"process {pid} has no VmHWM: has it ended?")
    return int(found[1]) / 1024
