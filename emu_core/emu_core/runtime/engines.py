"""OpenVINO itself as an engine, where the package `openvino` is installed: no ONNX Runtime build.

`onnxruntime-openvino` takes the place of `onnxruntime`; the package `openvino` lies beside it. On
CPUs with bfloat16 instructions it computes in half the time of single precision.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from emu_core.runtime.model_file import INPUT, OUTPUTS

PRECISIONS = ("f32", "bf16")


class EngineError(RuntimeError):
    """OpenVINO is missing, cannot do what was asked, or cannot read the file."""


class OpenVinoEngine:
    """A model file compiled for the CPU; one image at a time, other threads run meanwhile.

    EngineError without the package, without bfloat16 instructions where those are asked for, or
    for a file that OpenVINO cannot compile.
    """

    def __init__(self, path: Path, threads: int, precision: str = "f32") -> None:
        try:
            import openvino
        except ImportError as error:
            raise EngineError("the Python package openvino is not installed") from error
        core = openvino.Core()
        if precision == "bf16" and "BF16" not in core.get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        ):
            raise EngineError("this CPU has no bfloat16 instructions")
        options: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
            # Threads bound to cores would wait for those that the rest of the robot keeps busy.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            model = core.compile_model(str(path), "CPU", options)
            self._request = model.create_infer_request()
            self._outputs = [model.output(name) for name in OUTPUTS]
        except RuntimeError as error:
            raise EngineError(" ".join(str(error).split())) from error

    def run(self, image: np.ndarray) -> list[np.ndarray]:
        """The four maps, in the order of OUTPUTS, for an image (H, W, 3) of the network's size."""
        # The answers are copied: the next run overwrites the engine's own.
        found = self._request.infer({INPUT: image[np.newaxis]}, share_inputs=True)
        return [found[output] for output in self._outputs]


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
