"""From an RGB image to a Perception, through ONNX Runtime; no torch, no ROS.

Everything but one resize of the image (and, for a known lens, one multiplication of the depths)
happens inside the model file's graph, see `emu_core.runtime.model_file`.

    perceiver = Perceiver()                              # the model that comes with emu_core
    seen = perceiver.perceive(rgb, focal=(fx, fy))       # rgb uint8 (h, w, 3)
    near = np.isfinite(seen.depth) & (seen.depth_std <= 0.1 * seen.depth)

`depth_std` is +Inf where `depth` is +Inf, so a limit on `depth_std` alone shuts those pixels out.
A limit on the ratio does not: Inf/Inf is NaN, and Inf ≤ 0.1·Inf holds. Ask `np.isfinite(depth)`
first, as above; NaN (no estimate) fails every comparison.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from emu_core.runtime.engines import EngineError, OpenVinoEngine, caching_options, engine_folder
from emu_core.runtime.fitting import FITS, Fitting, check_image, fit_image, fit_pixels
from emu_core.runtime.model_file import (
    INPUT,
    OUTPUTS,
    ModelError,
    ModelInfo,
    default_model,
    open_session,
    read_info,
    session_info,
)
from emu_core.runtime.parity import violations

_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_OPENVINO = "OpenVINOExecutionProvider"
_TENSORRT = "TensorrtExecutionProvider"
PROVIDERS: dict[str, tuple[str, dict[str, str]]] = {
    "cpu": (_CPU, {}),
    # TF32 keeps 10 bits of the mantissa: outside the tolerances of fp32.
    "cuda": (_CUDA, {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}),
    "tensorrt": (_TENSORRT, {}),
    # A LayerNorm's sum of squares leaves half precision's range.
    "tensorrt-fp16": (_TENSORRT, {"trt_fp16_enable": "1", "trt_layer_norm_fp32_fallback": "1"}),
    "openvino": (_OPENVINO, {}),
    "openvino-bf16": ("", {}),
}
"""Short name -> ONNX Runtime's name and options.

OpenVINO is taken from its own package where this ONNX Runtime lacks it, and in bfloat16 always.
TensorRT's engines are kept: see `emu_core.runtime.engines`.
"""

HALF_PRECISION = ("tensorrt-fp16", "openvino-bf16")
"""Those held to half precision's tolerances: bfloat16 has a shorter mantissa still, and keeps
them."""

_OPENVINO_PRECISIONS = {"openvino": "f32", "openvino-bf16": "bf16"}


class ProviderError(RuntimeError):
    """An execution provider that cannot be had. The message says why and what to do."""


@dataclass(frozen=True, eq=False)
class Perception:
    """What one camera image shows, pixel by pixel; all maps are (H, W), C-contiguous.

    `labels` uint8, train ids, 255 = unlabelled. `label_uncertainty` float32, entropy / ln C, 0…1.
    `depth` float32, metres along Z (not along the ray), +Inf for sky and beyond the model's range,
    NaN where there is no estimate. `depth_std` float32, metres, +Inf and NaN where `depth` is.
    """

    labels: np.ndarray
    label_uncertainty: np.ndarray
    depth: np.ndarray
    depth_std: np.ndarray


class Perceiver:
    """A model file, loaded and ready.

    `model` is a path, by default the file installed with emu_core. `provider` is one of
    `PROVIDERS`; the attribute `provider` says what the session really runs on. `threads` bounds
    the CPU threads of one inference (default: the processor's, at most 4). `fit` says how images
    of another aspect ratio meet the network's: see `emu_core.runtime.fitting`.

    Raises ModelError for an unusable file and ProviderError where the provider cannot be had:
    with `allow_cpu_fallback` the CPU takes its place instead.
    """

    info: ModelInfo
    provider: str
    _engine: Callable[[np.ndarray], list[np.ndarray]]

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        provider: str = "cpu",
        threads: int | None = None,
        fit: str = "stretch",
        allow_cpu_fallback: bool = False,
    ) -> None:
        if provider not in PROVIDERS:
            raise ValueError(
                f"Expected argument `provider` to be one of {', '.join(PROVIDERS)}, but got "
                f"{provider!r}"
            )
        if fit not in FITS:
            raise ValueError(f"Expected argument `fit` to be one of {FITS}, but got {fit!r}")
        if threads is not None and threads < 1:
            raise ValueError(f"Expected argument `threads` to be at least 1, but got {threads}")
        path = default_model() if model is None else Path(model)
        self._fit = fit
        if _needs_openvino_itself(provider):
            self.info = read_info(path)
            engine = _openvino_engine(path, provider, threads, allow_cpu_fallback)
            if engine is not None:
                self.provider, self._engine = provider, engine
                return
            provider = "cpu"
        self._session = _session(path, provider, threads, allow_cpu_fallback)
        self.info = session_info(self._session, path)
        used = self._session.get_providers()[0]
        self.provider = provider if used == PROVIDERS[provider][0] else "cpu"
        self._engine = self._run_session
        self._first_run = _frugal_run() if self.provider == "cpu" else None

    def fitting(self, height: int, width: int) -> Fitting:
        """How an image of that size is fitted: scales and offsets for its camera_info."""
        return fit_image((height, width), self.info.input_size, self.info.output_size, self._fit)

    def perceive(
        self, rgb: np.ndarray, focal: tuple[float, float] | float | None = None
    ) -> Perception:
        """Look at one image, uint8 (h, w, 3) RGB of any size; other threads run meanwhile.

        With `focal`, (fx, fy) or both at once in pixels of `rgb`, depth and its deviation are
        metres for that lens: they are multiplied by f / `info.canonical_focal`, where f is the
        geometric mean of fx and fy, each scaled as its axis is. Without, they hold for the
        canonical focal length only. Raises ValueError for an image or a focal length that is none.
        """
        fx, fy = _check_focal(focal) if focal is not None else (0.0, 0.0)
        check_image(rgb)
        fitting = self.fitting(*rgb.shape[:2])
        image = fit_pixels(rgb, fitting, self.info.input_size)
        maps = dict(zip(OUTPUTS, self._run(image), strict=True))
        if (fitting.height, fitting.width) != self.info.output_size:
            rows = slice(fitting.crop_top, fitting.crop_top + fitting.height)
            columns = slice(fitting.crop_left, fitting.crop_left + fitting.width)
            maps = {n: np.ascontiguousarray(values[rows, columns]) for n, values in maps.items()}
        if focal is not None:
            ratio = np.float32(fitting.network_focal(fx, fy) / self.info.canonical_focal)
            maps["depth"] *= ratio
            maps["depth_std"] *= ratio
        return Perception(**maps)

    def verify(self) -> dict[str, float]:
        """Run the file's reference image; the errors, by `emu_core.runtime.parity`'s names.

        Raises ModelError where the graph does not run and, with the measured errors, where they
        are out of tolerance: a damaged file, or an engine that computes something else.
        """
        reference, info = self.info.reference, self.info
        picture = cv2.imdecode(np.frombuffer(reference.png, np.uint8), cv2.IMREAD_COLOR)
        if picture is None or picture.shape != (*info.input_size, 3):
            raise ModelError(f"{info.path}: its reference picture is damaged. Copy it again.")
        rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        try:
            maps = self._run(rgb)
        except Exception as error:  # ONNX Runtime has kinds of its own
            raise ModelError(
                f"{info.path} does not run on '{self.provider}': {' '.join(str(error).split())}. "
                "Copy the file again, or use another provider."
            ) from error
        errors = reference.errors(dict(zip(OUTPUTS, maps, strict=True)))
        precision = "fp16" if self.provider in HALF_PRECISION else info.precision
        wrong = violations(errors, info.tolerances[precision])
        if wrong:
            raise ModelError(
                f"{info.path} does not give its own reference's answers on '{self.provider}': "
                f"{', '.join(wrong)}. Copy the file again, or use another provider."
            )
        return errors

    def _run(self, image: np.ndarray) -> list[np.ndarray]:
        """The four maps, in the order of OUTPUTS; `image` is of the network's size."""
        return self._engine(image)

    def _run_session(self, image: np.ndarray) -> list[np.ndarray]:
        options, self._first_run = self._first_run, None
        return self._session.run(list(OUTPUTS), {INPUT: image[np.newaxis]}, options)


def _needs_openvino_itself(provider: str) -> bool:
    if provider not in _OPENVINO_PRECISIONS:
        return False
    import onnxruntime

    return provider != "openvino" or _OPENVINO not in onnxruntime.get_available_providers()


def _openvino_engine(
    path: Path, provider: str, threads: int | None, allow_cpu_fallback: bool
) -> Callable[[np.ndarray], list[np.ndarray]] | None:
    """OpenVINO's run; None where it cannot be had and the CPU may take its place."""
    try:
        return OpenVinoEngine(path, _threads(threads), _OPENVINO_PRECISIONS[provider]).run
    except EngineError as error:
        if allow_cpu_fallback:
            return None
        raise ProviderError(
            f"the provider '{provider}' cannot be used for {path}: {error}. pip install openvino, "
            "or allow the CPU instead (allow_cpu_fallback)."
        ) from error


def _session(path: Path, provider: str, threads: int | None, allow_cpu_fallback: bool) -> Any:
    """A session whose first provider is the one asked for, or, if allowed, the CPU."""
    wanted, options = PROVIDERS[provider]
    if provider == "cpu":
        return open_session(path, session_options(threads), [_CPU])
    import onnxruntime

    why = ""
    if wanted not in onnxruntime.get_available_providers():
        why = "this onnxruntime was built without it: install a build that has it"
    else:
        try:
            providers = _providers(path, wanted, options)
            session = open_session(path, session_options(threads), providers)
            # The list of available providers promises nothing; the session's own does.
            if session.get_providers()[0] == wanted:
                return session
            why = "ONNX Runtime fell back to the CPU: are its libraries and a device there?"
        except Exception as error:
            read_info(path)  # raises ModelError, if the file is to blame
            why = " ".join(str(error).split())
    if not allow_cpu_fallback:
        raise ProviderError(
            f"the provider '{provider}' ({wanted}) cannot be used for {path}: {why}. Or allow "
            "the CPU instead (allow_cpu_fallback)."
        )
    return open_session(path, session_options(threads), [_CPU])


def _providers(path: Path, wanted: str, options: dict[str, str]) -> list[Any]:
    """In ONNX Runtime's form, the CPU last; of TensorRT with the engine's folder, and with CUDA
    for what TensorRT cannot do."""
    if wanted != _TENSORRT:
        return [(wanted, options), _CPU]
    import onnxruntime

    try:
        kept = caching_options(engine_folder(read_info(path).sha256, options))
    except OSError:  # no disk to write to: every start takes minutes, and that is all
        kept = {}
    cuda = [(_CUDA, PROVIDERS["cuda"][1])] * (_CUDA in onnxruntime.get_available_providers())
    return [(wanted, {**options, **kept}), *cuda, _CPU]


def session_options(threads: int | None) -> Any:
    """ONNX Runtime's options, as every session of a Perceiver has them."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _threads(threads)
    options.inter_op_num_threads = 1
    # Spinning threads burn the cores that the rest of the robot needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _frugal_run() -> Any:
    """Options for a session's first run, which gives back the memory that it took.

    From it ONNX Runtime learns what to plan for; later runs take one block as planned, and what
    the first one took would lie beside it, unused: 200 MB at 512×1024.
    """
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def _threads(asked: int | None) -> int:
    return asked or min(4, _cpu_count())


def _cpu_count() -> int:
    """Processors this process may use, which in a container are not all there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check_focal(focal: tuple[float, float] | float) -> tuple[float, float]:
    try:
        fx, fy = (float(f) for f in np.broadcast_to(np.asarray(focal, np.float64), 2))
    except (TypeError, ValueError):
        fx = fy = math.nan
    if not (0 < fx < math.inf and 0 < fy < math.inf):
        raise ValueError(
            f"Expected argument `focal` to be one or two positive focal lengths, but got {focal!r}"
        )
    return fx, fy
