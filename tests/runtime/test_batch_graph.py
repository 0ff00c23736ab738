"""Graphs for several images at once: each image's results are those of the graph for one image."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import parser

from emu_core.runtime.dummy_model import dummy_outputs, make_dummy_model
from emu_core.runtime.graphs.batch import batch, batched
from emu_core.runtime.model_file import default_model

COUNT = 3
GRAPH = """
<ir_version: 8, opset_import: ["" : 18]>
graph (float[1, 4, 6, 3] image) => (float[4, 6] depth)
<int64[1] first = {0}, int64[1] last = {3}, int64 zero = {0}, int64[2] middle = {1, -2},
 int64[4] rows = {1, 1, 24, 3}, int64[4] planes = {1, 4, 6, 3}, int64[4] free = {-1, 4, 6, 3},
 int64[2] flat = {24, 3}, int64[4] large = {1, 8, 6, 3}, float[4] factors = {1.0, 2.0, 1.0, 1.0},
 float[1, 4, 1, 1] scale = {1, 2, 3, 4}, float[6, 1] wide = {1, 2, 3, 4, 5, 6},
 float[3, 3] mix = {1, 2, 0, 0, 1, 0, 3, 0, 1},
 float[4, 4] left = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7}>
{
    STEPS
    summed = ReduceSum <keepdims = 0> (x, last)
    depth = Squeeze(summed, first)
}
"""


def graph(steps):
    return parser.parse_model(GRAPH.replace("STEPS", "\n    ".join(steps)))


def run(content, image):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    return session.run(None, {"image": image})


ONCE = {
    "Relu": "x = Relu(image)",
    "Mul": "y = Mul(image, scale); x = Add(wide, y)",
    "Softmax": "y = MatMul(image, mix); x = Softmax <axis = 1> (y)",
    "Concat": """y = Concat <axis = -2> (image, image)
                 a, b = Split <axis = 2, num_outputs = 2> (y); x = Add(a, b)""",
    "Reshape": "y = Reshape(image, rows); x = Reshape(y, planes)",
    "MatMul": """y = Transpose <perm = [0, 3, 1, 2]> (image); z = MatMul(left, y)
                 x = Transpose <perm = [0, 2, 3, 1]> (z)""",
    "Resize": """y = Resize <mode = "nearest"> (image, , , large)
                 a, b = Split <axis = 1, num_outputs = 2> (y); x = Sub(a, b)""",
    "ReduceMean": "m = ReduceMean <keepdims = 1> (image, middle); x = Sub(image, m)",
    "Split": """y = Resize <mode = "nearest"> (image, , factors)
                a, b = Split <axis = 1, num_outputs = 2> (y); x = Sub(a, b)""",
}
FOR_EACH = {
    "MatMul": "y = Reshape(image, flat); z = MatMul(y, mix); x = Reshape(z, planes)",
    "Neg": "y = Reshape(image, free); x = Neg(y)",
    "Softmax": "x = Softmax <axis = -4> (image)",
    "LogSoftmax": "x = LogSoftmax <axis = 0> (image)",
    "Gather": "y = Gather <axis = 0> (image, zero); x = Reshape(y, planes)",
    "ReduceMean": "x = ReduceMean <keepdims = 1> (image, first)",
    "ReduceMax": "m = ReduceMax <keepdims = 1> (image); x = Sub(image, m)",
    "Relu": """y = Transpose <perm = [1, 0, 2, 3]> (image); z = Relu(y)
               x = Transpose <perm = [1, 0, 2, 3]> (z)""",
    "Unsqueeze": "y = Squeeze(image, first); x = Unsqueeze(y, first)",
}


@pytest.mark.parametrize(
    ("kind", "steps", "nodes"),
    [(k, s, 1) for k, s in ONCE.items()] + [(k, s, COUNT) for k, s in FOR_EACH.items()],
)
def test_results_of_each_image_are_those_of_the_graph_for_one(kind, steps, nodes):
    model = graph(steps.replace(";", "\n").splitlines())
    images = np.random.default_rng(0).normal(size=(COUNT, 4, 6, 3)).astype(np.float32)
    expected = [run(model.SerializeToString(), image[None])[0] for image in images]
    before = [node.op_type for node in model.graph.node].count(kind)
    batch(model, COUNT)
    onnx.checker.check_model(model, full_check=True)
    found = run(model.SerializeToString(), images)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    # Not those that divide the batch and stack the maps.
    own = [n for n in model.graph.node if not {"batch.ones", "batch.axis"} & {*n.input}]
    kinds = [node.op_type for node in own if node.output[0] != "depth"]
    assert kinds.count(kind) == nodes * before > 0


def test_the_network_of_the_shipped_model_is_not_copied():
    path = default_model()
    content = batched(path, COUNT)
    kinds = [node.op_type for node in onnx.load_from_string(content).graph.node]
    before = [node.op_type for node in onnx.load(str(path)).graph.node]
    for kind in ("Conv", "LayerNormalization", "Softmax"):
        assert kinds.count(kind) == before.count(kind) > 0
    image = np.random.default_rng(0).integers(0, 256, (COUNT, 384, 768, 3), np.uint8)
    together = run(content, image)
    for i in range(COUNT):
        *maps, logits = run(str(path), image[i : i + 1])
        for found, expected in zip(together, [*maps, logits[0]], strict=True):
            np.testing.assert_allclose(found[i], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("logits", [False, True])
def test_a_graph_of_lookups_is_copied_whole(tmp_path, logits):
    path = make_dummy_model(tmp_path / "dummy.onnx", (48, 64), logits=logits)
    image = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), np.uint8)
    found = run(batched(path, 2), image)
    assert len(found) == 4 + logits
    for i in range(2):
        for maps, expected in zip(found, dummy_outputs(image[i]).values(), strict=False):
            np.testing.assert_array_equal(maps[i], expected)
