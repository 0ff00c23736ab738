"""The machine of a run: its hardware, versions, and how many multiply-adds a second it can do."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Any

import torch

from emu_core.bench.figures import Figure, summarize
from emu_core.bench.rounds import run_rounds

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
