"""Options of the benchmark, and the machine that it runs on."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jsonargparse.typing import PositiveInt

from emu_core.bench.measurement import CLOCKS
from emu_core.machine import processor_name

PARTS = ("inference", "ros", "rate", "training", "growth", "profile")
SIZES = ((256, 512), (512, 1024), (1024, 2048))
RATIO_SIZE = (512, 1024)
"""Image size of the ratios. If --sizes does not contain it, the largest size is used."""

PACKAGES = (
    *("numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "torch", "transformers", "onnx"),
    *("torch-uncertainty", "opencv-python-headless"),
)
_EXTENSIONS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "asimd", "bf16")


@dataclass(frozen=True)
class BenchSettings:
    """Options of `python -m emu_core.bench`; sizes are (height, width)."""

    sizes: tuple[tuple[int, int], ...]
    repetitions: int
    threads: int
    parts: tuple[str, ...]
    output: Path
    clock: str
    quick: bool

    @property
    def ratio_size(self) -> tuple[int, int]:
        """Image size for which ratios are computed."""
        return RATIO_SIZE if RATIO_SIZE in self.sizes else max(self.sizes)

    @property
    def members(self) -> int:
        """Number of members of the ensemble, and number of samples of MC Dropout."""
        return 2 if self.quick else 10

    @property
    def time(self) -> Callable[[], float]:
        """The chosen clock, seconds."""
        return CLOCKS[self.clock]

    @property
    def models(self) -> Path:
        """Folder of the model files."""
        return self.output / "models"


def parse(arguments: Sequence[str] | None = None) -> BenchSettings:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m emu_core.bench",
        description="Measure the run time of this project and of alternatives to it.",
    )
    add = parser.add_argument
    sizes_help = f"image sizes (default: {' '.join(map(size_name, SIZES))})"
    add("--sizes", type=_size, nargs="+", metavar="HxW", help=sizes_help)
    add("--repetitions", type=PositiveInt, help="number of rounds (default: 10)")
    cores = min(4, len(os.sched_getaffinity(0)))
    add(
        "--threads",
        type=PositiveInt,
        default=cores,
        help="CPU threads (default: all cores, at most 4)",
    )
    parts_help = "which parts to run (default: all)"
    add("--parts", choices=PARTS, nargs="+", default=list(PARTS), help=parts_help)
    add(
        "--output", type=Path, default=Path("out/bench"), help="output folder (default: out/bench)"
    )
    clock_help = (
        "wall: elapsed time; cpu: CPU time, gives valid ratios with --threads 1 on a busy machine"
    )
    add("--clock", choices=tuple(CLOCKS), default="wall", help=clock_help)
    add("--quick", action="store_true", help="one small image, two rounds, two members")
    given = parser.parse_args(arguments)
    given.sizes = tuple(given.sizes or ([(64, 128)] if given.quick else SIZES))
    given.repetitions = given.repetitions or (2 if given.quick else 10)
    given.parts = tuple(part for part in PARTS if part in given.parts)
    return BenchSettings(**vars(given))


def size_name(size: tuple[int, int]) -> str:
    """Write (height, width) as HxW."""
    return "{}x{}".format(*size)


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)[x×](\d+)", text)
    if not found or min(size := (int(found[1]), int(found[2]))) < 32:
        raise argparse.ArgumentTypeError(f"expected HxW of at least 32x32, but got {text!r}")
    return size


def describe_machine() -> dict[str, Any]:
    """Collect processor, memory, accelerators, versions and load of this machine."""
    file = Path("/proc/cpuinfo")
    cpu = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    flags = re.search(r"(?:flags|Features)\s*:\s*(.*)", cpu)
    extensions = set(flags[1].split()) if flags else ()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    versions = {}
    for package in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "processor": processor_name(),
        "extensions": [name for name in _EXTENSIONS if name in extensions],
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 2**30, 1),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
        "load_at_start": os.getloadavg()[0],
    }
