"""A tiny model file for tests, whose outputs are a known function of the image. Needs `onnx`.

    make_dummy_model(tmp_path / "dummy.onnx", input_size=(48, 64))
    expected = dummy_outputs(image)          # image uint8 (48, 64, 3), RGB

For a pixel (R, G, B): the label is R // 16 modulo the number of classes, its uncertainty G / 255,
depth B / 4 metres (+Inf for B = 255, NaN for B = 0), its standard deviation R / 8 metres (+Inf and
NaN where depth is). At another output size, pixel (v, u) is that of the input at
(v·H // H', u·W // W').
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from emu_core.labels import CITYSCAPES, ClassTable
from emu_core.runtime.model_file import INPUT, IR_VERSION, OPSET, OUTPUTS, ModelInfo, to_metadata
from emu_core.runtime.parity import FP32_TOLERANCES, Reference

if TYPE_CHECKING:
    import onnx


def dummy_outputs(
    image: np.ndarray, output_size: tuple[int, int] | None = None, n_classes: int = 19
) -> dict[str, np.ndarray]:
    """Compute the exact outputs of the dummy model.

    Args:
        image: uint8 (H, W, 3) of the model's input size.
        output_size: Size of the outputs; None for the input size.
        n_classes: Number of classes.
    """
    height, width = output_size or image.shape[:2]
    rows = np.arange(height) * image.shape[0] // height
    columns = np.arange(width) * image.shape[1] // width
    picked = image[rows][:, columns]
    red, green, blue = (picked[..., c].astype(np.float32) for c in range(3))
    kind = np.where(blue == 255, np.float32(np.inf), np.float32(1))
    kind = np.where(blue == 0, np.float32(np.nan), kind)
    return {
        "labels": (picked[..., 0] // 16 % n_classes).astype(np.uint8),
        "label_uncertainty": green / np.float32(255),
        "depth": blue * np.float32(0.25) * kind,
        "depth_std": np.where(kind == 1, red * np.float32(0.125), kind),
    }


def make_dummy_model(
    path: str | Path,
    input_size: tuple[int, int] = (48, 64),
    output_size: tuple[int, int] | None = None,
    *,
    classes: ClassTable = CITYSCAPES,
    canonical_focal: float = 100.0,
    horizontal_fov: tuple[float, float] = (30.0, 120.0),
    metadata: Mapping[str, str | None] | None = None,
) -> Path:
    """Write the dummy model.

    Args:
        path: File to write.
        input_size: Height and width.
        output_size: Height and width; None for the input size.
        classes: As in `ModelInfo`, as are the next two.
        canonical_focal: Pixels.
        horizontal_fov: Degrees.
        metadata: Raw metadata entries to replace, or to remove (None): for invalid files.

    Returns:
        The path.
    """
    import onnx

    path, output_size = Path(path), output_size or input_size
    model = onnx.helper.make_model(
        _graph(input_size, output_size, len(classes)),
        ir_version=IR_VERSION,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        producer_name="emu_core.runtime.dummy_model",
    )
    image = np.random.default_rng(0).integers(0, 256, (*input_size, 3), np.uint8)
    png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
    info = ModelInfo(
        name=path.stem,
        classes=classes,
        depth_range=(0.25, 63.5),
        canonical_focal=canonical_focal,
        horizontal_fov=horizontal_fov,
        training_data="none: a dummy for tests",
        commit="",
        metrics={"miou": 0.0},
        precision="fp32",
        tolerances={"fp32": FP32_TOLERANCES},
        reference=Reference.sample(png, dummy_outputs(image, output_size, len(classes)), 512),
    )
    entries = {**to_metadata(info), **(metadata or {})}
    onnx.helper.set_model_props(model, {k: v for k, v in entries.items() if v is not None})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def _graph(
    input_size: tuple[int, int], output_size: tuple[int, int], n_classes: int
) -> onnx.GraphProto:
    """The computation of `dummy_outputs` as a graph."""
    from onnx import TensorProto, helper, numpy_helper

    node = helper.make_node
    constants = {
        "rows": np.arange(output_size[0]) * input_size[0] // output_size[0],
        "columns": np.arange(output_size[1]) * input_size[1] // output_size[1],
        "axis0": np.array([0]),
        "n16": np.int32(16),
        "n_classes": np.int32(n_classes),
        "zero": np.float32(0),
        "eighth": np.float32(0.125),
        "quarter": np.float32(0.25),
        "one": np.float32(1),
        "n255": np.float32(255),
        "inf": np.float32(np.inf),
        "nan": np.float32(np.nan),
        **{f"c{c}": np.int64(c) for c in range(3)},
    }
    nodes = [
        node("Squeeze", [INPUT, "axis0"], ["pixels"]),
        node("Gather", ["pixels", "rows"], ["picked_rows"], axis=0),
        node("Gather", ["picked_rows", "columns"], ["picked"], axis=1),
        *[node("Gather", ["picked", f"c{c}"], [f"byte{c}"], axis=2) for c in range(3)],
        *[node("Cast", [f"byte{c}"], [f"float{c}"], to=TensorProto.FLOAT) for c in range(3)],
        node("Cast", ["byte0"], ["red"], to=TensorProto.INT32),
        node("Div", ["red", "n16"], ["level"]),
        node("Mod", ["level", "n_classes"], ["label"]),
        node("Cast", ["label"], ["labels"], to=TensorProto.UINT8),
        node("Div", ["float1", "n255"], ["label_uncertainty"]),
        node("Equal", ["float2", "n255"], ["is_far"]),
        node("Equal", ["float2", "zero"], ["is_none"]),
        node("Where", ["is_far", "inf", "one"], ["far_kind"]),
        node("Where", ["is_none", "nan", "far_kind"], ["kind"]),
        node("Equal", ["kind", "one"], ["is_finite"]),
        node("Mul", ["float2", "quarter"], ["metres"]),
        node("Where", ["is_finite", "metres", "kind"], ["depth"]),
        node("Mul", ["float0", "eighth"], ["spread"]),
        node("Where", ["is_finite", "spread", "kind"], ["depth_std"]),
    ]
    outputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), output_size
        )
        for name, dtype in OUTPUTS.items()
    ]
    return helper.make_graph(
        nodes,
        "dummy",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [1, *input_size, 3])],
        outputs,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
