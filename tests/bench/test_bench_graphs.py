"""Multiply-adds against a count by hand; sampled graphs against the methods that they replace."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from emu_core.bench.models import disturbed_member, fixed_image, onnx_file, student_file
from emu_core.bench.profile import multiply_adds, part_of
from emu_core.bench.sampled_graphs import DropoutGraph, EnsembleGraph
from emu_core.methods.deep_ensemble import DeepEnsemble
from emu_core.methods.uncertainty import normalized_entropy
from emu_core.runtime.perceiver import Perceiver

SIZE = (64, 96)


def test_multiply_adds_are_those_counted_by_hand(tmp_path):
    def tensor(name, shape):
        return helper.make_tensor(name, TensorProto.FLOAT, shape, np.zeros(np.prod(shape)))

    convolution = {"strides": [2, 2], "group": 2, "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "/depth_decoder/Conv", **convolution),
        helper.make_node("Reshape", ["c", "shape"], ["r"], "/Reshape"),
        helper.make_node("MatMul", ["r", "m"], ["p"], "/encoder/stages.0/attention/MatMul"),
        helper.make_node("Gemm", ["p", "g"], ["y"], "/encoder/stages.0/ffn/Gemm", transB=1),
    ]
    constants = [tensor("w", [6, 2, 3, 3]), tensor("m", [10, 7]), tensor("g", [5, 7])]
    constants.append(helper.make_tensor("shape", TensorProto.INT64, [2], [12, 10]))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 8, 10])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "graph", [x], [y], constants)
    path = tmp_path / "graph.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    assert multiply_adds(path) == {
        "depth decoder": 6 * 4 * 5 * (2 * 3 * 3),
        "attention": 12 * 7 * 10,
        "Mix-FFN": 12 * 5 * 7,
    }


def test_a_node_outside_the_network_belongs_to_full_resolution():
    assert part_of("/Mul_1") == "full resolution"
    assert part_of("/network/encoder/stages.1/blocks.0/attention/query/MatMul") == "attention"


@pytest.fixture(scope="module")
def members():
    return [disturbed_member(k) for k in range(2)]


def test_the_ensemble_graph_computes_the_same_as_the_deep_ensemble(members):
    image = fixed_image(SIZE)
    with torch.inference_mode():
        labels, entropy, mean, std = EnsembleGraph(members)(torch.from_numpy(image)[None])
        expected = DeepEnsemble(members)(torch.from_numpy(image).permute(2, 0, 1)[None])
    assert expected.probabilities is not None and expected.depth_variance is not None
    assert (labels == expected.probabilities[0].argmax(0)).float().mean() > 0.999
    expected_entropy = normalized_entropy(expected.probabilities)[0, 0]
    torch.testing.assert_close(entropy, expected_entropy, rtol=0, atol=1e-4)
    torch.testing.assert_close(mean, expected.depth_mean[0, 0], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(std, expected.depth_variance[0, 0].sqrt(), rtol=1e-3, atol=1e-2)


def test_members_share_no_weights_that_an_engine_could_merge(members):
    first, second = (dict(member.named_parameters()) for member in members)
    # Biases and norms that are exactly 0 remain 0 in every member.
    assert not any(x.any() and torch.equal(x, second[name]) for name, x in first.items())


def test_the_dropout_graph_drops_its_share_and_runs_the_encoder_once(members, tmp_path):
    graph = DropoutGraph(members[0], 3, SIZE)
    assert graph.kept.float().mean() == pytest.approx(0.9, abs=0.01)
    path = onnx_file(graph, "mcd", SIZE, tmp_path)
    nodes = onnx.load(str(path)).graph.node
    assert sum(node.op_type == "Softmax" for node in nodes) == 8  # one per attention of MiT-B0


def test_a_student_of_another_size_is_exported_once_and_passes_its_check(tmp_path):
    path = student_file(SIZE, tmp_path)
    before = path.stat().st_mtime_ns
    assert student_file(SIZE, tmp_path) == path
    assert path.stat().st_mtime_ns == before
    perceiver = Perceiver(path, threads=1)
    perceiver.verify()
    assert perceiver.info.input_size == SIZE
