"""Fused attention: the same results as the standard operators, and only where it fits."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper, parser

from emu_core.runtime.engines import ProviderError
from emu_core.runtime.graphs import fused_attention
from emu_core.runtime.graphs.fused_attention import fuse
from emu_core.runtime.model_file import default_model
from emu_core.runtime.perceiver import Perceiver

N, KEYS, HEADS, WIDTH = 12, 5, 2, 8
ATTENTION = """
<ir_version: 8, opset_import: ["" : 18]>
attention (float[1, 12, 16] q, float[1, 5, 16] k, float[1, 5, 16] v) => (float[1, 3, 4, 16] y)
<int64[4] heads = {1, -1, 2, 8}, int64[4] joined = {1, 3, 4, 16}, float factor = {0.25}>
{
    q4 = Reshape(q, heads)
    k4 = Reshape(k, heads)
    v4 = Reshape(v, heads)
    qt = Transpose<perm = [0, 2, 1, 3]>(q4)
    kt = Transpose<perm = [0, 2, 3, 1]>(k4)
    vt = Transpose<perm = [0, 2, 1, 3]>(v4)
    qs = Mul(qt, factor)
    products = MatMul(qs, kt)
    weights = Softmax<axis = -1>(products)
    weighted = MatMul(weights, vt)
    rows = Transpose<perm = [0, 2, 1, 3]>(weighted)
    y = Reshape(rows, joined)
}
"""


def attention(**changes):
    text = ATTENTION
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    return parser.parse_model(text)


def computed(model, seed=0):
    rng = np.random.default_rng(seed)
    inputs = {
        name: rng.normal(size=(1, rows, HEADS * WIDTH)).astype(np.float32)
        for name, rows in (("q", N), ("k", KEYS), ("v", KEYS))
    }
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, inputs)[0], inputs


def test_fused_attention_is_softmax_of_the_products_times_the_values():
    model = attention()
    assert fuse(model) == 1
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("MultiHeadAttention") == 1 and "Softmax" not in kinds
    found, inputs = computed(model)
    q, k, v = (
        x.astype(np.float64).reshape(-1, HEADS, WIDTH).swapaxes(0, 1) for x in inputs.values()
    )
    products = np.exp(0.25 * q @ k.swapaxes(1, 2))
    expected = products / products.sum(axis=2, keepdims=True) @ v
    expected = expected.swapaxes(0, 1).reshape(1, 3, 4, HEADS * WIDTH)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        ("qs = Mul(qt, factor)", "qs = Add(qt, factor)"),
        ("kt = Transpose<perm = [0, 2, 3, 1]>(k4)", "kt = Transpose<perm = [0, 3, 2, 1]>(q4)"),
        ("weights = Softmax<axis = -1>(products)", "weights = Sigmoid(products)"),
        ("rows = Transpose<perm = [0, 2, 1, 3]>", "rows = Transpose<perm = [0, 1, 2, 3]>"),
        ("y = Reshape(rows, joined)", "z = Abs(weights)\n    y = Reshape(rows, joined)"),
    ],
)
def test_what_does_not_fit_stays_as_it_is(change):
    model = attention(change=change)
    before = model.SerializeToString()
    assert fuse(model) == 0
    assert model.SerializeToString() == before


def test_heads_of_other_numbers_are_not_fused():
    model = attention(change=("v4 = Reshape(v, heads)", "v4 = Reshape(v, other)"))
    other = numpy_helper.from_array(np.array([1, -1, 4, 4], np.int64), "other")
    model.graph.initializer.append(other)
    assert fuse(model) == 0


def test_the_shipped_model_gives_its_reference_outputs_with_fused_attention():
    path = default_model()
    model = onnx.load(str(path))
    softmaxes = [node.op_type for node in model.graph.node].count("Softmax")
    assert fuse(model) == softmaxes == 8
    perceiver = Perceiver(path, provider="cpu-fused", threads=1)
    assert perceiver.provider == "cpu-fused"
    errors = perceiver.verify()
    assert errors["labels_agree"] == 1 and errors["depth_rel"] < 1e-4
    kinds = {
        node.op_type for node in onnx.load_from_string(fused_attention.fused(path)).graph.node
    }
    assert "MultiHeadAttention" in kinds and "Softmax" not in kinds


def test_models_without_attention_and_machines_without_onnx_are_refused(dummy, monkeypatch):
    with pytest.raises(ProviderError, match="the model has no attention that can be fused"):
        Perceiver(dummy, provider="cpu-fused")
    assert Perceiver(dummy, provider="cpu-fused", allow_cpu_fallback=True).provider == "cpu"
    monkeypatch.setattr(fused_attention, "find_spec", lambda name: None)
    with pytest.raises(ProviderError, match="onnx is not installed: pip install onnx"):
        Perceiver(dummy, provider="cpu-fused")


def test_an_onnx_runtime_without_the_operator_is_refused(monkeypatch):
    def unknown(model):
        model.graph.node[0].domain = "com.example"
        model.opset_import.append(helper.make_opsetid("com.example", 1))
        return 1

    monkeypatch.setattr(fused_attention, "fuse", unknown)
    with pytest.raises(ProviderError, match=r"'cpu-fused' .*com\.example"):
        Perceiver(provider="cpu-fused")
