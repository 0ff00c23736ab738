"""What the operating system tells of this machine and its processes."""

from __future__ import annotations

import platform
import re
from pathlib import Path


def processor_name() -> str:
    """Return the name of the processor, or its architecture where the system tells no name."""
    file = Path("/proc/cpuinfo")
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    found = re.search(r"model name\s*:\s*(.*)", text)
    return found[1].strip() if found else platform.machine()


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
