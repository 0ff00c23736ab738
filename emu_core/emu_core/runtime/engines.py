"""Engines that run a model file: ONNX Runtime with its execution providers, or OpenVINO.

    engine = open_engine(path, "tensorrt")
    labels, label_uncertainty, depth, depth_std = engine.run(image)

The package `openvino` can be installed together with any ONNX Runtime. It is used if ONNX Runtime
lacks OpenVINO, and always for bfloat16, which takes half the time of single precision.

TensorRT builds its engine in minutes. It is cached in a folder for each model, set of options,
GPU, and version of ONNX Runtime and TensorRT.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emu_core.files import write_json
from emu_core.runtime.graphs import fused_attention
from emu_core.runtime.model_file import (
    INPUT,
    LOGITS,
    one_line,
    open_session,
    read_info,
    session_info,
)

if TYPE_CHECKING:
    import onnxruntime

_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_OPENVINO = "OpenVINOExecutionProvider"
_TENSORRT = "TensorrtExecutionProvider"
PROVIDERS: dict[str, tuple[str, dict[str, str]]] = {
    "cpu": (_CPU, {}),
    "cpu-fused": (_CPU, {}),  # with fused attention: `graphs.fused_attention`
    # TF32 has a mantissa of 10 bits, which exceeds the tolerances of fp32.
    "cuda": (_CUDA, {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}),
    "tensorrt": (_TENSORRT, {}),
    # The sum of squares in a LayerNorm exceeds the range of half precision.
    "tensorrt-fp16": (_TENSORRT, {"trt_fp16_enable": "1", "trt_layer_norm_fp32_fallback": "1"}),
    "openvino": (_OPENVINO, {}),
    "openvino-bf16": (_OPENVINO, {}),
}
"""Name and options of ONNX Runtime's execution provider by our name."""

HALF_PRECISION = ("tensorrt-fp16", "openvino-bf16")
"""Providers that must keep half precision's tolerances, although bfloat16 has fewer digits."""

FACTS = "engine.json"
"""File in an engine's folder that lists everything the engine depends on."""

_JETSON = Path("/proc/device-tree/model")
_TENSORRT_LIBRARIES = ("libnvinfer.so.10", "libnvinfer.so.8", "libnvinfer.so")


class ProviderError(RuntimeError):
    """An execution provider is not available. The message gives the reason and a remedy."""

    def __init__(self, provider: str, path: Path, problem: str) -> None:
        super().__init__(
            f"the provider '{provider}' ({PROVIDERS[provider][0]}) cannot be used for {path}: "
            f"{problem}. Or allow the CPU instead (provider cpu, or allow_cpu_fallback)."
        )


def open_engine(
    path: Path, provider: str, threads: int | None = None, allow_cpu_fallback: bool = False
) -> SessionEngine | OpenVinoEngine:
    """Load a model file.

    Args:
        path: Model file.
        provider: One of `PROVIDERS`.
        threads: CPU threads; None for one per available core, at most 4.
        allow_cpu_fallback: Use the CPU if the provider is not available.

    Raises:
        ModelError: The file is unusable.
        ProviderError: The provider is not available.
    """
    import onnxruntime

    session_has_it = _OPENVINO in onnxruntime.get_available_providers()
    needs_package = provider == "openvino-bf16" or (provider == "openvino" and not session_has_it)
    try:
        return (OpenVinoEngine if needs_package else SessionEngine)(path, provider, threads)
    except ProviderError:
        if not allow_cpu_fallback:
            raise
        return SessionEngine(path, "cpu", threads)


class SessionEngine:
    """ONNX Runtime session; several threads may run it at once."""

    def __init__(self, path: Path, provider: str, threads: int | None) -> None:
        import onnxruntime

        self.provider, self.threads = provider, threads
        self.session = _open_session(path, provider, threads)
        self.info = session_info(self.session, path)
        self._first_run: onnxruntime.RunOptions | None = None
        if PROVIDERS[provider][0] == _CPU:
            # ONNX Runtime plans the memory of later runs from the first one and allocates it as
            # one block. Without this, the first run's memory would stay allocated, unused:
            # 200 MB at 512×1024.
            self._first_run = onnxruntime.RunOptions()
            self._first_run.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def run(self, image: np.ndarray, logits: bool = False) -> list[np.ndarray]:
        """Compute the maps of `info.outputs` of an image, uint8 (H, W, 3), of input size.

        With `logits`, which the model must have, they are the last element.
        """
        options, self._first_run = self._first_run, None
        names = [*self.info.outputs, *([LOGITS] if logits else [])]
        return self.session.run(names, {INPUT: image[np.newaxis]}, options)


def _open_session(path: Path, provider: str, threads: int | None) -> onnxruntime.InferenceSession:
    name, options = PROVIDERS[provider]
    if provider == "cpu":
        return open_session(path, session_options(threads), [_CPU])
    if provider == "cpu-fused":
        return _open_fused(path, threads)
    import onnxruntime

    if name not in onnxruntime.get_available_providers():
        problem = "this onnxruntime was built without it: install a build that has it"
    else:
        try:
            providers = _provider_list(read_info(path).sha256, name, options)
            session = open_session(path, session_options(threads), providers)
            # The list of available providers guarantees nothing; the list of the session does.
            if session.get_providers()[0] == name:
                return session
            problem = "ONNX Runtime fell back to the CPU: are its libraries and a device there?"
        except Exception as error:
            read_info(path)  # raises ModelError if the file is the cause
            problem = one_line(error)
    raise ProviderError(provider, path, problem)


def _open_fused(path: Path, threads: int | None) -> onnxruntime.InferenceSession:
    if not fused_attention.is_available():
        problem = "the Python package onnx is not installed: pip install onnx"
    else:
        try:
            content = fused_attention.fused(path)
            if content is not None:
                return open_content(content, "cpu", threads)
            problem = "the model has no attention that can be fused"
        except Exception as error:  # this version of ONNX Runtime may lack the operator
            problem = one_line(error)
    read_info(path)  # raises ModelError if the file is the cause
    raise ProviderError("cpu-fused", path, problem)


def open_content(
    content: bytes, provider: str, threads: int | None
) -> onnxruntime.InferenceSession:
    """Open a model that `graphs` has changed; raises what ONNX Runtime raises."""
    import onnxruntime

    name, options = PROVIDERS[provider]
    providers = [_CPU]
    if name != _CPU:
        providers = _provider_list(hashlib.sha256(content).hexdigest(), name, options)
    return onnxruntime.InferenceSession(
        content, session_options(threads), providers, enable_fallback=0
    )


def _provider_list(sha256: str, name: str, options: dict[str, str]) -> list[Any]:
    """Providers in ONNX Runtime's form. CUDA computes what TensorRT cannot, the CPU the rest."""
    if name != _TENSORRT:
        return [(name, options), _CPU]
    import onnxruntime

    try:
        folder = str(engine_folder(sha256, options))
        caching = {"trt_engine_cache_enable": "1", "trt_engine_cache_path": folder}
        caching |= {"trt_timing_cache_enable": "1", "trt_timing_cache_path": folder}
    except OSError:  # the folder is not writable: every start takes minutes
        caching = {}
    cuda = [(_CUDA, PROVIDERS["cuda"][1])] * (_CUDA in onnxruntime.get_available_providers())
    return [(name, {**options, **caching}), *cuda, _CPU]


def session_options(threads: int | None) -> onnxruntime.SessionOptions:
    """Options of every session; `threads` as in `open_engine`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or _default_threads()
    options.inter_op_num_threads = 1
    # Spinning threads occupy the cores that the rest of the robot needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _default_threads() -> int:
    if hasattr(os, "sched_getaffinity"):  # a container may have fewer processors
        return min(4, len(os.sched_getaffinity(0)))
    return min(4, os.cpu_count() or 1)


class OpenVinoEngine:
    """Model compiled by the package `openvino` for the CPU; one thread at a time may run it."""

    def __init__(self, path: Path, provider: str, threads: int | None) -> None:
        self.provider = provider
        self.info = read_info(path)
        try:
            import openvino
        except ImportError as error:
            problem = "the Python package openvino is not installed: pip install openvino"
            raise ProviderError(provider, path, problem) from error
        core = openvino.Core()
        half = provider in HALF_PRECISION
        if half and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ProviderError(provider, path, "this CPU has no bfloat16 instructions")
        options: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": threads or _default_threads(),
            "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            # Pinned threads would wait for cores that other programs of the robot occupy.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            model = core.compile_model(str(path), "CPU", options)
            self._request = model.create_infer_request()
            names = [*self.info.outputs, *([LOGITS] if self.info.logits_size else [])]
            self._outputs = [model.output(name) for name in names]
        except RuntimeError as error:
            raise ProviderError(provider, path, one_line(error)) from error

    def run(self, image: np.ndarray, logits: bool = False) -> list[np.ndarray]:
        """As `SessionEngine.run`."""
        # `infer` copies its results, so the next run does not overwrite them.
        found = self._request.infer({INPUT: image[np.newaxis]}, share_inputs=True)
        wanted = self._outputs if logits else self._outputs[: len(self.info.outputs)]
        return [found[output] for output in wanted]


def engine_folder(model_sha256: str, options: Mapping[str, str], create: bool = True) -> Path:
    """Return the folder of a model's TensorRT engine on this machine, and create it."""
    import onnxruntime

    facts = {
        "model": model_sha256,
        "options": dict(sorted(options.items())),
        "onnxruntime": onnxruntime.__version__,
        "tensorrt": tensorrt_version(),
        "gpu": gpu(),
    }
    digest = hashlib.sha256(json.dumps(facts, indent=1).encode()).hexdigest()
    folder = cache_root() / digest[:16]
    if create:
        write_json(folder / FACTS, facts)
    return folder


def cache_root() -> Path:
    """Folder that holds the folders of all engines; OSError if this user has no home folder."""
    if chosen := os.environ.get("EMU_ENGINE_CACHE"):
        return Path(chosen)
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if not os.path.isabs(caches):
        raise OSError("There is no home folder: set EMU_ENGINE_CACHE to a folder.")
    return Path(caches, "emu", "engines")


def tensorrt_version() -> str:
    """Version of the TensorRT library that this process would load; empty if there is none."""
    for name in _TENSORRT_LIBRARIES:
        with suppress(OSError, AttributeError):
            return str(ctypes.CDLL(name).getInferLibVersion())
    return ""


def gpu() -> str:
    """Names and drivers of the GPUs, or the model of the Jetson; empty if unknown."""
    if _JETSON.is_file():
        return _JETSON.read_text(encoding="utf-8", errors="replace").rstrip("\0\n")
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        found = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return "; ".join(found.stdout.splitlines())
