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

PARTS = ("inference", "ros", "training", "growth", "profile")
SIZES = ((256, 512), (512, 1024), (1024, 2048))
COMPARED = (512, 1024)
"""Size at which ratios are computed; the largest of --sizes if it is not among them."""

PACKAGES = (
    *("numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "torch", "transformers", "onnx"),
    *("torch-uncertainty", "opencv-python-headless"),
)
_EXTENSIONS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "asimd", "bf16")


@dataclass(frozen=True)
class BenchSettings:
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
        """Size at which ratios are computed."""
        return COMPARED if COMPARED in self.sizes else max(self.sizes)

    @property
    def members(self) -> int:
        """Number of members of an ensemble, and of samples of MC Dropout."""
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
    threads = min(4, len(os.sched_getaffinity(0)))
    parser = argparse.ArgumentParser(
        prog="python -m emu_core.bench",
        description="Time this project and alternatives that a user could run instead.",
    )
    add = parser.add_argument
    add("--sizes", type=_size, nargs="+", metavar="HxW", help="image sizes (default: three)")
    add("--repetitions", type=PositiveInt, help="number of rounds (default 10)")
    add("--threads", type=PositiveInt, default=threads, help="default: cores, at most 4")
    add("--parts", choices=PARTS, nargs="+", default=list(PARTS))
    add("--output", type=Path, default=Path("out/bench"), help="folder (default out/bench)")
    clock_help = "cpu: CPU time of the process; with --threads 1, for ratios on a busy machine"
    add("--clock", choices=tuple(CLOCKS), default="wall", help=clock_help)
    add("--quick", action="store_true", help="one small image, two rounds, two members")
    options = vars(parser.parse_args(arguments))
    quick = options["quick"]
    options["sizes"] = tuple(options["sizes"] or ([(64, 128)] if quick else SIZES))
    options["repetitions"] = options["repetitions"] or (2 if quick else 10)
    options["parts"] = tuple(part for part in PARTS if part in options["parts"])
    return BenchSettings(**options)


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
    cpu, memory = _read("/proc/cpuinfo"), _read("/proc/meminfo")
    model = re.search(r"model name\s*:\s*(.*)", cpu)
    flags = set((re.search(r"(?:flags|Features)\s*:\s*(.*)", cpu) or ["", ""])[1].split())
    total = re.search(r"MemTotal:\s*(\d+)", memory)
    versions = {}
    for package in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "processor": model[1] if model else platform.processor(),
        "extensions": [name for name in _EXTENSIONS if name in flags],
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(total[1]) / 2**20, 1) if total else None,
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
        "load_at_start": os.getloadavg()[0],
    }


def _read(path: str) -> str:
    file = Path(path)
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
