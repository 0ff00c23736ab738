"""Check that an engine computes the reference outputs of its model file."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from emu_core.runtime.engines import HALF_PRECISION, OpenVinoEngine, SessionEngine
from emu_core.runtime.model_file import ModelError, ModelInfo, one_line
from emu_core.runtime.parity import violations


def verify(engine: SessionEngine | OpenVinoEngine) -> dict[str, float]:
    """Run the file's reference image and return the errors named in `runtime.parity`.

    Raises:
        ModelError: The graph does not run, or an error exceeds its tolerance: the file is
            damaged, or the engine computes other results.
    """
    info, tolerances = engine.info, tolerances_of(engine)
    picture = decode_reference(info)
    try:
        maps = engine.run(picture)
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise ModelError(
            f"{info.path} does not run on '{engine.provider}': {one_line(error)}. "
            "Copy the file again, or use another provider."
        ) from error
    errors = info.reference.errors(dict(zip(info.outputs, maps, strict=True)))
    if wrong := violations(errors, tolerances):
        raise ModelError(
            f"{info.path} does not reproduce its reference outputs on '{engine.provider}': "
            f"{', '.join(wrong)}. Copy the file again, or use another provider."
        )
    return errors


def tolerances_of(engine: SessionEngine | OpenVinoEngine) -> Mapping[str, float]:
    """Return the tolerances of an engine's precision, see `runtime.parity`.

    Raises:
        ModelError: The file has none.
    """
    info = engine.info
    precision = "fp16" if engine.provider in HALF_PRECISION else info.precision
    if precision not in info.tolerances:
        raise ModelError(
            f"{info.path} has no tolerances for {precision}, so the results of "
            f"'{engine.provider}' cannot be checked. Use a provider of {info.precision}."
        )
    return info.tolerances[precision]


def decode_reference(info: ModelInfo) -> np.ndarray:
    """Decode the reference image of a model file: RGB, uint8 (H, W, 3).

    Raises:
        ModelError: It is damaged.
    """
    picture = cv2.imdecode(np.frombuffer(info.reference.png, np.uint8), cv2.IMREAD_COLOR)
    if picture is None or picture.shape != (*info.input_size, 3):
        raise ModelError(f"{info.path}: its reference image is damaged. Copy it again.")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
