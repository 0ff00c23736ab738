"""What a part of the GPU check needs: its settings, its outcome, and times on the device."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from emu_core.bench.measurement import Measurement, summarize


class SkippedError(Exception):
    """A part cannot run on this machine; the message is the reason."""


class FailedError(Exception):
    """A part found a wrong result; the message says which."""


@dataclass(frozen=True)
class GpuSettings:
    """Options of `python -m emu_core.bench.gpu`.

    Args:
        device: cuda, or cpu to run the same code without a GPU.
        output: Folder of gpu.json and gpu.md, and of the files that the parts make.
        quick: Small images, few steps and rounds.
        seconds: Time after which no further measurement starts.
        started: Start of the program, `time.monotonic()`.
    """

    device: str
    output: Path
    quick: bool
    seconds: float
    started: float

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU."""
        return self.device == "cuda"

    @property
    def is_over(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() - self.started > self.seconds

    @property
    def repetitions(self) -> int:
        """Number of timed rounds."""
        return 2 if self.quick else 20


def measure_ms(run: Callable[[], object], settings: GpuSettings, warm_up: int = 3) -> Measurement:
    """Measure milliseconds of a function, with CUDA events on a GPU.

    Args:
        run: Starts work on the device; it need not wait for it.
        settings: The device and the number of rounds.
        warm_up: Number of rounds before them that are not measured.
    """
    for _ in range(1 if settings.quick else warm_up):
        run()
    return summarize([_once(run, settings) for _ in range(settings.repetitions)])


def _once(run: Callable[[], object], settings: GpuSettings) -> float:
    if not settings.on_gpu:
        start = time.perf_counter()
        run()
        return 1e3 * (time.perf_counter() - start)
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
    torch.cuda.synchronize()
    events[0].record()
    run()
    events[1].record()
    torch.cuda.synchronize()
    return events[0].elapsed_time(events[1])


def peak_memory_mb(settings: GpuSettings) -> float | None:
    """Return the largest allocated memory of the device since the last call, and start anew."""
    if not settings.on_gpu:
        return None
    peak = torch.cuda.max_memory_allocated() / 1e6
    torch.cuda.reset_peak_memory_stats()
    return peak


def row(name: str, measured: Measurement, **more: Any) -> dict[str, Any]:
    """Make a row of a table: a name, a measurement, and more columns."""
    return {"name": name, **measured, **more}
