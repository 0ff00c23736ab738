"""What a run of the benchmark is asked for."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import random
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from emu_core.bench.report import Figure, summarize

PARTS = ("inference", "ros", "training", "growth", "profile")
SIZES = ((256, 512), (512, 1024), (1024, 2048))
COMPARED = (512, 1024)
"""The size that ratios are told of; the largest of --sizes where this is none of them."""


CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
"""Seconds. With one thread, the process's CPU time tells ratios on a busy machine too."""

Series = dict[str, list[float]]
"""By contestant, milliseconds of each round."""


@dataclass(frozen=True)
class Settings:
    """Options of `python -m emu_core.bench`; sizes are (height, width)."""

    sizes: tuple[tuple[int, int], ...] = SIZES
    repetitions: int = 10
    threads: int = 2
    parts: tuple[str, ...] = PARTS
    output: Path = Path("out/bench")
    clock: str = "wall"
    quick: bool = False

    @property
    def compared(self) -> tuple[int, int]:
        """The size that everything is compared at."""
        return COMPARED if COMPARED in self.sizes else max(self.sizes)

    @property
    def members(self) -> int:
        """Members of an ensemble, samples of MC Dropout."""
        return 2 if self.quick else 10

    @property
    def time(self) -> Callable[[], float]:
        """Seconds on the clock that was chosen."""
        return CLOCKS[self.clock]


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """Read the command line."""
    usual = Settings(threads=min(4, len(os.sched_getaffinity(0))))
    parser = argparse.ArgumentParser(
        prog="python -m emu_core.bench",
        description="Time this project and what one would run instead, side by side.",
    )
    add = parser.add_argument
    add("--sizes", type=_size, nargs="+", metavar="HxW", help="of images (default: three)")
    add("--repetitions", type=positive, help="rounds (default 10)")
    add("--threads", type=positive, default=usual.threads, help="default: cores, 4 at most")
    add("--parts", choices=PARTS, nargs="+", default=list(PARTS))
    add("--output", type=Path, default=usual.output, help="folder (default out/bench)")
    add(
        "--clock", choices=tuple(CLOCKS), default="wall",
        help="cpu: the process's CPU time; with --threads 1, for ratios on a busy machine",
    )  # fmt: skip
    add("--quick", action="store_true", help="one small image, two rounds, two members")
    given = parser.parse_args(arguments)
    sizes = given.sizes or ([(64, 128)] if given.quick else SIZES)
    return Settings(
        sizes=tuple(sizes),
        repetitions=given.repetitions or (2 if given.quick else usual.repetitions),
        threads=given.threads,
        parts=tuple(part for part in PARTS if part in given.parts),
        output=given.output,
        clock=given.clock,
        quick=given.quick,
    )


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)[x×](\d+)", text)
    if not found or min(size := (int(found[1]), int(found[2]))) < 32:
        raise argparse.ArgumentTypeError(f"expected HxW of at least 32x32, but got {text!r}")
    return size


def positive(text: str) -> int:
    """An option's whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, but got {text!r}")
    return int(text)


PACKAGES = (
    *("numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "torch", "transformers", "onnx"),
    *("torch-uncertainty", "opencv-python-headless"),
)
_SIDE = 1024
_EXTENSIONS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "asimd", "bf16")


def describe() -> dict[str, Any]:
    """Processor, memory, accelerators, versions and load, as far as the system tells."""
    cpu, memory = _read("/proc/cpuinfo"), _read("/proc/meminfo")
    model = re.search(r"model name\s*:\s*(.*)", cpu)
    flags = set((re.search(r"(?:flags|Features)\s*:\s*(.*)", cpu) or ["", ""])[1].split())
    total = re.search(r"MemTotal:\s*(\d+)", memory)
    return {
        "processor": model[1] if model else platform.processor(),
        "extensions": [name for name in _EXTENSIONS if name in flags],
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(total[1]) / 2**20, 1) if total else None,
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": _versions(),
        "load_at_start": os.getloadavg()[0],
    }


def peak_multiply_adds(threads: int, repetitions: int = 10) -> Figure:
    """Billions of multiply-adds a second of a large matrix product in single precision."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        a, b = torch.rand(_SIDE, _SIDE), torch.rand(_SIDE, _SIDE)
        out = torch.empty_like(a)
        series = run_rounds({"gemm": lambda: torch.mm(a, b, out=out)}, repetitions, warm_up=3)
    finally:
        torch.set_num_threads(before)
    return summarize([_SIDE**3 / ms / 1e6 for ms in series["gemm"]])


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def run_rounds(
    contestants: Mapping[str, Callable[[], object]],
    repetitions: int,
    *,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
    seed: int = 0,
) -> Series:
    """Time contestants in turn.

    Args:
        contestants: by name; each call is one run, and blocks until its result is there.
        repetitions: counted rounds.
        warm_up: rounds before, which are not counted.
        clock: seconds.
        seed: of the orders.
    """
    taken: Series = {name: [] for name in contestants}
    order, draw = list(contestants), random.Random(seed)
    for number in range(warm_up + repetitions):
        draw.shuffle(order)
        for name in order:
            start = clock()
            contestants[name]()
            milliseconds = 1000 * (clock() - start)
            if number >= warm_up:
                taken[name].append(milliseconds)
        print(f"\rround {number + 1} of {warm_up + repetitions}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return taken
