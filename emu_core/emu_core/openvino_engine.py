"""OpenVINO itself as an engine, where the package `openvino` is installed: no ONNX Runtime build.

`onnxruntime-openvino` takes the place of `onnxruntime`; the package `openvino` lies beside it. On
CPUs with bfloat16 instructions it computes in half the time of single precision.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from emu_core.model_file import INPUT, OUTPUTS

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
