"""The model file: metadata is read back, and every invalid file is refused with a message."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from emu_core.labels import CITYSCAPES, ClassTable
from emu_core.runtime import model_file
from emu_core.runtime.dummy_model import make_dummy_model
from emu_core.runtime.model_file import ModelError, read_info, to_metadata
from emu_core.runtime.parity import FP32_TOLERANCES
from emu_core.runtime.perceiver import Perceiver


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A dummy model file whose outputs have half the size of its input."""
    return make_dummy_model(tmp_path_factory.mktemp("model") / "half.onnx", (48, 64), (24, 32))


def test_the_metadata_is_read_back(half):
    info = read_info(half)
    assert (info.name, info.path, info.precision) == ("half", half, "fp32")
    assert info.classes == CITYSCAPES
    assert (info.input_size, info.output_size) == ((48, 64), (24, 32))
    assert (info.depth_range, info.horizontal_fov) == ((0.25, 63.5), (30.0, 120.0))
    assert info.canonical_focal == 100.0
    assert info.tolerances == {"fp32": FP32_TOLERANCES}
    assert info.sha256 == hashlib.sha256(half.read_bytes()).hexdigest()
    depth = info.reference.values["depth"]
    assert np.isinf(depth).any() and np.isnan(depth).any()


def test_metadata_is_standard_json_and_is_written_again_unchanged(half):
    written = {p.key: p.value for p in onnx.load(str(half)).metadata_props}
    for text in written.values():
        json.loads(text, parse_constant=pytest.fail)  # NaN and Infinity are not JSON
    assert to_metadata(read_info(half)) == written


ROOMS = ClassTable(
    "rooms", ("wall", "floor"), (1, 2), ((1, 2, 3), (4, 5, 6)), None, (("tile", 1), ("brick", 0))
)


def test_a_table_without_sky_and_with_aliases_is_kept(tmp_path):
    assert read_info(make_dummy_model(tmp_path / "m.onnx", classes=ROOMS)).classes == ROOMS


def test_a_file_of_an_older_version_has_no_aliases(tmp_path):
    names = json.dumps({k: v for k, v in asdict(ROOMS).items() if k != "aliases"})
    path = make_dummy_model(tmp_path / "m.onnx", classes=ROOMS, metadata={"emu.classes": names})
    assert read_info(path).classes == replace(ROOMS, aliases=())


@pytest.mark.parametrize("kept", [0, 1, 100, 0.25, 0.5, 0.9, -200, -1, b"random bytes"])
def test_a_truncated_or_random_file_is_refused(half, tmp_path, kept):
    raw = half.read_bytes()
    length = int(kept * len(raw)) if isinstance(kept, float) else kept
    short = tmp_path / "short.onnx"
    short.write_bytes(kept if isinstance(kept, bytes) else raw[:length])
    with pytest.raises(ModelError, match=r"short\.onnx .*training/export\.py"):
        read_info(short)
    with pytest.raises(ModelError, match=r"no model file at .*nothing\.onnx"):
        read_info(tmp_path / "nothing.onnx")
    with pytest.raises(ModelError, match="is a folder"):
        read_info(tmp_path)


def test_an_onnx_file_of_another_kind_is_refused(tmp_path):
    text = (
        '<ir_version: 8, opset_import: ["": 18]> relu (float[1] x) => (float[1] y) {y = Relu(x)}'
    )
    onnx.save(onnx.parser.parse_model(text), str(tmp_path / "relu.onnx"))
    with pytest.raises(ModelError, match="an ONNX file but not an EMU model"):
        read_info(tmp_path / "relu.onnx")


@pytest.mark.parametrize(("version", "remedy"), [(3, "Update emu_core"), (0, "Export the model")])
def test_another_format_version_is_refused_with_a_remedy(tmp_path, version, remedy):
    path = make_dummy_model(tmp_path / "other.onnx", metadata={"emu.format_version": str(version)})
    with pytest.raises(ModelError, match=f"format version {version}.* reads up to 2.*{remedy}"):
        read_info(path)


TRAINING = '{"canonical_focal": -1, "horizontal_fov": [40, 90], "data": "", "commit": ""}'
CLASSES = (
    '{"dataset": "d", "names": ["a"], "dataset_ids": [1], "palette": [[0, 0, 0]], "sky": null}'
)
CORRUPT = {
    "missing": ("emu.classes", None),
    "no json": ("emu.classes", "{"),
    "no object": ("emu.training", "3"),
    "null": ("emu.reference", "null"),
    "NaN": ("emu.depth_range", "[0.5, NaN]"),
    "text for number": ("emu.depth_range", '["0.5", "80"]'),
    "reversed range": ("emu.depth_range", "[80, 0.5]"),
    "three numbers": ("emu.depth_range", "[1, 2, 3]"),
    "negative focal": ("emu.training", TRAINING),
    "unknown precision": ("emu.precision", '"fp8"'),
    "precision without tolerances": ("emu.precision", '"fp16"'),
    "unknown tolerance": ("emu.tolerances", '{"fp32": {"labels": 1.0}}'),
    "no base64": ("emu.reference", '{"png": "?"}'),
    "bool as version": ("emu.format_version", "true"),
    "classes that do not match": ("emu.classes", CLASSES.replace('"a"', '"a", "b"')),
    "alias outside": ("emu.classes", CLASSES.replace("null", 'null, "aliases": [["b", 1]]')),
    "sky outside": ("emu.classes", CLASSES.replace("null", "1")),
    "colour outside": ("emu.classes", CLASSES.replace("[[0, ", "[[256, ")),
}


@pytest.mark.parametrize(("key", "text"), CORRUPT.values(), ids=CORRUPT)
def test_corrupt_metadata_is_refused_with_its_key(tmp_path, key, text):
    path = make_dummy_model(tmp_path / "corrupt.onnx", metadata={key: text})
    named = "emu.tolerances" if text == '"fp16"' else key
    with pytest.raises(ModelError, match=rf"corrupt\.onnx: metadata '{named}' is corrupt: "):
        read_info(path)


def test_a_sampled_pixel_outside_the_outputs_is_refused(tmp_path):
    large = make_dummy_model(tmp_path / "large.onnx", (96, 96))
    reference = to_metadata(read_info(large))["emu.reference"]
    path = make_dummy_model(tmp_path / "small.onnx", metadata={"emu.reference": reference})
    with pytest.raises(ModelError, match=r"emu\.reference.* outside the outputs"):
        read_info(path)


def rename_output(graph):
    for node in graph.node:
        node.output[:] = ["other" if name == "depth_std" else name for name in node.output]
    graph.output[3].name = "other"


def free_input(graph):
    graph.input[0].type.tensor_type.shape.dim[1].dim_param = "height"


def cast_labels(graph):
    table = next(tensor for tensor in graph.initializer if tensor.name == "label")
    values = onnx.numpy_helper.to_array(table).astype(np.float32)
    table.CopyFrom(onnx.numpy_helper.from_array(values, "label"))
    graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT


def add_batch_axis(graph):
    graph.node.append(onnx.helper.make_node("Unsqueeze", ["kept", "axis0"], ["depth"]))
    for node in graph.node[:-1]:
        node.output[:] = ["kept" if name == "depth" else name for name in node.output]
    graph.output[2].CopyFrom(
        onnx.helper.make_tensor_value_info("depth", onnx.TensorProto.FLOAT, [1, 48, 64])
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename_output, "outputs labels, .* but got image and labels, .*, other"),
        (free_input, r"input 'image' to be uint8 \(1, H, W, 3\) of fixed size"),
        (cast_labels, r"output 'labels' to be uint8 \(H, W\)"),
        (add_batch_axis, r"output 'depth' to be float32 \(H, W\).*\[1, 48, 64\]"),
    ],
)
def test_other_names_types_and_shapes_are_refused(tmp_path, change, message):
    path = make_dummy_model(tmp_path / "wrong.onnx")
    model = onnx.load(str(path))
    change(model.graph)
    onnx.save(model, str(path))
    with pytest.raises(ModelError, match=rf"wrong\.onnx.*{message}"):
        read_info(path)


def test_a_missing_default_model_is_reported_with_a_remedy(monkeypatch):
    monkeypatch.setattr(model_file, "SHIPPED", "not_there.onnx")
    with pytest.raises(ModelError, match=r"not_there\.onnx.*install emu_core again"):
        model_file.default_model()


def test_the_shipped_model_is_small_and_verifies():
    shipped = Path(model_file.__file__).parents[1] / "models" / model_file.SHIPPED
    assert model_file.default_model() == shipped
    assert shipped.stat().st_size <= 20e6
    errors = Perceiver().verify()
    assert errors["labels_agree"] >= 0.999
    assert max(errors["depth_rel"], errors["label_uncertainty_abs"]) <= 1e-3
