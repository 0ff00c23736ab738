"""A tiny model file for tests, whose outputs are a known function of the image. Needs `onnx`.

    make_dummy_model(tmp_path / "dummy.onnx", input_size=(48, 64))
    expected = dummy_outputs(image)          # image uint8 (48, 64, 3), RGB

For a pixel (R, G, B): the label is R // 16 modulo the number of classes, its uncertainty G / 255,
depth B / 4 metres (+Inf for B = 255, NaN for B = 0), its standard deviation R / 8 metres (+Inf and
NaN where depth is). At another output size, pixel (v, u) is that of the input at
(v·H // H', u·W // W'). The optional logits, at the output size, depend on R, too (`_tables`); they
do not fit the labels.

With `fixed` maps, such as those of `street`, the outputs do not depend on the image, and an
inference takes about as long as a copy of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emu_core.labels import CITYSCAPES, NO_CLASSES, ClassTable
from emu_core.runtime.metadata import OUTPUTS
from emu_core.runtime.model_file import IR_VERSION, OPSET, ModelInfo, to_metadata
from emu_core.runtime.parity import FP32_TOLERANCES, Reference, encode_png

if TYPE_CHECKING:
    import onnx


def _tables(n_classes: int) -> dict[str, np.ndarray]:
    """Outputs by the value of a byte; depth_std is the sum of `std` of R and `kind` of B."""
    byte = np.arange(256)
    kind = np.zeros(256, np.float32)
    kind[0], kind[255] = np.nan, np.inf
    return {
        "label": (byte // 16 % n_classes).astype(np.uint8),
        "uncertainty": byte.astype(np.float32) / np.float32(255),
        "metres": (byte / 4).astype(np.float32) + kind,
        "std": (byte / 8).astype(np.float32),
        "kind": kind,
        # The logit of class i is -((R + i) modulo C) / 2.
        "scores": -((byte[:, None] + np.arange(n_classes)) % n_classes / 2).astype(np.float32),
    }


def dummy_outputs(
    image: np.ndarray, output_size: tuple[int, int] | None = None, n_classes: int = 19
) -> dict[str, np.ndarray]:
    """Compute the exact outputs of the dummy model for an image, uint8 (H, W, 3), of input size.

    `output_size` is (height, width); None for the input size.
    """
    height, width = output_size or image.shape[:2]
    rows = np.arange(height) * image.shape[0] // height
    columns = np.arange(width) * image.shape[1] // width
    red, green, blue = np.moveaxis(image[rows][:, columns], -1, 0)
    table = _tables(n_classes)
    return {
        "labels": table["label"][red],
        "label_uncertainty": table["uncertainty"][green],
        "depth": table["metres"][blue],
        "depth_std": table["std"][red] + table["kind"][blue],
    }


def make_dummy_model(
    path: str | Path,
    input_size: tuple[int, int] = (48, 64),
    output_size: tuple[int, int] | None = None,
    *,
    classes: ClassTable = CITYSCAPES,
    canonical_focal: float | None = 100.0,
    outputs: Sequence[str] = tuple(OUTPUTS),
    logits: bool = False,
    fixed: Mapping[str, np.ndarray] | None = None,
    metadata: Mapping[str, str | None] | None = None,
) -> Path:
    """Write the dummy model and return its path.

    Sizes are (height, width). `outputs` is one of `metadata.OUTPUT_SETS`; with `logits`, there is
    also that output. `fixed` are all maps by name, (H, W), and perhaps logits (1, C, h, w), which
    are then the outputs for every image. `metadata` replaces raw metadata entries, or removes
    those that it maps to None, which makes an invalid file.
    """
    import onnx

    path, output_size = Path(path), output_size or input_size
    image = np.random.default_rng(0).integers(0, 256, (*input_size, 3), np.uint8)
    if fixed is None:
        graph = _graph(input_size, output_size, len(classes))
        maps = dummy_outputs(image, output_size, len(classes))
    else:
        graph, maps = _fixed_graph(input_size, fixed), dict(fixed)
    logits_size = output_size
    if "logits" in maps:
        logits_size = (maps["logits"].shape[2], maps["logits"].shape[3])
    wanted = {*outputs, *(["logits"] if logits else [])}
    kept = [value for value in graph.output if value.name in wanted]
    del graph.output[:]
    graph.output.extend(kept)
    model = onnx.helper.make_model(
        graph,
        ir_version=IR_VERSION,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        producer_name="emu_core.runtime.dummy_model",
    )
    info = ModelInfo(
        name=path.stem,
        classes=classes if "labels" in outputs else NO_CLASSES,
        depth_range=(0.25, 63.5) if "depth" in outputs else None,
        canonical_focal=canonical_focal if "depth" in outputs else None,
        horizontal_fov=(30.0, 120.0),
        training_data="none: a dummy for tests",
        commit="",
        metrics={"miou": 0.0},
        precision="fp32",
        tolerances={"fp32": FP32_TOLERANCES},
        reference=Reference.sample(encode_png(image), {name: maps[name] for name in outputs}, 512),
        logits_size=logits_size if logits else None,
    )
    entries = {**to_metadata(info), **(metadata or {})}
    onnx.helper.set_model_props(model, {k: v for k, v in entries.items() if v is not None})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def street(size: tuple[int, int], logits_size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return maps and logits of a street with class ids of Cityscapes, as for `fixed`.

    Below the horizon there is road, 1.5 metres below the camera (focal length: the width), with a
    car on it; above, buildings at 40 metres and sky. Sizes are (height, width).
    """
    road, building, sky, car = 0, 2, 10, 13
    rows, columns = np.indices(size, np.float32)
    below = rows - (size[0] - 1) / 2
    maps: dict[str, np.ndarray] = {"labels": np.full(size, road, np.uint8)}
    maps["depth"] = np.float32(1.5 * size[1]) / np.maximum(below, np.float32(0.25))
    for label, metres, area in (
        (building, 40, maps["depth"] > 40),
        (sky, np.inf, (maps["depth"] > 40) & (np.abs(columns / size[1] - 0.5) < 0.2)),
        (car, 8, (np.abs(below) < size[0] / 8) & (np.abs(columns / size[1] - 0.7) < 0.1)),
    ):
        maps["labels"][area], maps["depth"][area] = label, metres
    maps["label_uncertainty"] = np.full(size, 0.02, np.float32)
    maps["depth_std"] = maps["depth"] / np.float32(20)
    y, x = np.indices(logits_size)
    near = maps["labels"][y * size[0] // logits_size[0], x * size[1] // logits_size[1]]
    maps["logits"] = 8 * np.eye(19, dtype=np.float32)[near].transpose(2, 0, 1)[None]
    return maps


def _fixed_graph(input_size: tuple[int, int], maps: Mapping[str, np.ndarray]) -> onnx.GraphProto:
    """A graph whose outputs are constants."""
    from onnx import TensorProto, helper, numpy_helper

    stored = [numpy_helper.from_array(values, f"fixed_{name}") for name, values in maps.items()]
    return helper.make_graph(
        [helper.make_node("Identity", [f"fixed_{name}"], [name]) for name in maps],
        "fixed",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, *input_size, 3])],
        [
            helper.make_tensor_value_info(name, tensor.data_type, values.shape)
            for (name, values), tensor in zip(maps.items(), stored, strict=True)
        ],
        stored,
    )


def _graph(
    input_size: tuple[int, int], output_size: tuple[int, int], n_classes: int
) -> onnx.GraphProto:
    """The computation of `dummy_outputs` as a graph."""
    from onnx import numpy_helper, parser

    height, width = output_size
    graph = parser.parse_graph(f"""
        dummy (uint8[1, {input_size[0]}, {input_size[1]}, 3] image) => (
            uint8[{height}, {width}] labels, float[{height}, {width}] label_uncertainty,
            float[{height}, {width}] depth, float[{height}, {width}] depth_std,
            float[1, {n_classes}, {height}, {width}] logits
        ) {{
            pixels = Squeeze (image, axis0)
            picked_rows = Gather <axis = 0> (pixels, rows)
            picked = Gather <axis = 1> (picked_rows, columns)
            bytes = Cast <to = 6> (picked)
            R = Gather <axis = 2> (bytes, channel0)
            G = Gather <axis = 2> (bytes, channel1)
            B = Gather <axis = 2> (bytes, channel2)
            labels = Gather (label, R)
            label_uncertainty = Gather (uncertainty, G)
            depth = Gather (metres, B)
            spread = Gather (std, R)
            kinds = Gather (kind, B)
            depth_std = Add (spread, kinds)
            per_pixel = Gather (scores, R)
            per_class = Transpose <perm = [2, 0, 1]> (per_pixel)
            logits = Unsqueeze (per_class, axis0)
        }}""")
    constants = {
        "rows": np.arange(output_size[0]) * input_size[0] // output_size[0],
        "columns": np.arange(output_size[1]) * input_size[1] // output_size[1],
        "axis0": np.array([0]),
        **{f"channel{c}": np.int64(c) for c in range(3)},
        **_tables(n_classes),
    }
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    return graph
