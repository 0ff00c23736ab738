"""Where TensorRT's engines are kept, so that only a model's first start takes minutes.

One folder for everything that an engine depends on: the model file, its options, ONNX Runtime,
TensorRT, the GPU. ONNX Runtime's own names for engines follow the graph alone: of two files that
differ in their weights, the second would run with the first one's.

    $EMU_ENGINE_CACHE, else $XDG_CACHE_HOME/emu/engines, else ~/.cache/emu/engines
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

FACTS = "engine.json"
"""What an engine in its folder depends on, for people who look."""

_JETSON = Path("/proc/device-tree/model")
_TENSORRT = ("libnvinfer.so.10", "libnvinfer.so.8", "libnvinfer.so")


def engine_folder(model_sha256: str, options: Mapping[str, str]) -> Path:
    """The folder of a model's engine on this machine, made if it is not there.

    Raises:
        OSError: it cannot be made.
    """
    import onnxruntime

    facts = {
        "model": model_sha256,
        "options": dict(sorted(options.items())),
        "onnxruntime": onnxruntime.__version__,
        "tensorrt": tensorrt_version(),
        "gpu": gpu(),
    }
    text = json.dumps(facts, indent=1)
    folder = cache_root() / hashlib.sha256(text.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FACTS).write_text(text + "\n", encoding="utf-8")
    return folder


def cache_root() -> Path:
    """Where all engines are."""
    if own := os.environ.get("EMU_ENGINE_CACHE"):
        return Path(own)
    caches = os.environ.get("XDG_CACHE_HOME")
    return (Path(caches) if caches else Path.home() / ".cache") / "emu" / "engines"


def caching_options(folder: Path) -> dict[str, str]:
    """Options of ONNX Runtime's TensorRT provider that keep engine and timings in a folder."""
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
    }


def tensorrt_version() -> str:
    """Version of the TensorRT that this process would load, as one number; empty without."""
    for name in _TENSORRT:
        try:
            return str(ctypes.CDLL(name).getInferLibVersion())
        except (OSError, AttributeError):
            continue
    return ""


def gpu() -> str:
    """Name and driver of the GPUs, or the Jetson's model; empty where nobody tells."""
    if _JETSON.is_file():
        return _JETSON.read_text(errors="replace").rstrip("\0\n")
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return "; ".join(found.stdout.splitlines())
