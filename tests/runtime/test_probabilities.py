"""Probabilities of groups of classes, from the optional output `logits` of a model file."""

import cv2
import numpy as np
import onnx
import pytest

from emu_core.runtime.dummy_model import make_dummy_model
from emu_core.runtime.model_file import ModelError, read_info
from emu_core.runtime.perceiver import Perceiver, group_probabilities

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return make_dummy_model(tmp_path_factory.mktemp("model") / "logits.onnx", logits=True)


def softmax(logits):
    exp = np.exp(logits.astype(np.float64) - logits.max(axis=0))
    return exp / exp.sum(axis=0)


def test_probabilities_of_groups_are_sums_of_the_softmax():
    logits = np.random.default_rng(1).normal(0, 30, (5, 6, 8)).astype(np.float32)
    groups = np.array([[1, 0], [0, 0], [1, 0], [0, 1], [0, 1]], bool)
    found = group_probabilities(logits, (6, 8), groups)
    expected = softmax(logits)
    assert found.shape == (6, 8, 2) and found.dtype == np.float32
    assert np.allclose(found[..., 0], expected[0] + expected[2], atol=1e-5)
    assert np.allclose(found[..., 1], expected[3] + expected[4], atol=1e-5)


def test_logits_are_enlarged_before_the_softmax_as_in_torch():
    torch = pytest.importorskip("torch")
    logits = np.random.default_rng(2).normal(0, 5, (4, 5, 7)).astype(np.float32)
    large = torch.nn.functional.interpolate(
        torch.from_numpy(logits)[None], size=(20, 28), mode="bilinear", align_corners=False
    )
    expected = large.softmax(dim=1)[0].permute(1, 2, 0).numpy()
    found = group_probabilities(logits, (20, 28), np.eye(4, dtype=bool))
    assert np.allclose(found, expected, atol=1e-5)


def test_logits_that_differ_by_hundreds_between_neighbours_are_right():
    torch = pytest.importorskip("torch")
    logits = np.random.default_rng(3).normal(0, 200, (4, 5, 7)).astype(np.float32)
    large = torch.nn.functional.interpolate(
        torch.from_numpy(logits)[None].double(),
        size=(20, 28),
        mode="bilinear",
        align_corners=False,
    )
    expected = large.softmax(dim=1)[0].permute(1, 2, 0).numpy()
    found = group_probabilities(logits, (20, 28), np.eye(4, dtype=bool))
    assert np.allclose(found, expected, atol=1e-4)


def test_asking_for_them_changes_no_map(path):
    perceiver = Perceiver(path)
    plain = perceiver.perceive(IMAGE, 80.0)
    seen, found = perceiver.perceive_groups(IMAGE, np.eye(19, dtype=bool), 80.0)
    for name, values in plain.maps().items():
        assert np.array_equal(values, seen.maps()[name], equal_nan=True)
    red = IMAGE[..., 0].astype(int)
    expected = softmax(np.stack([-((red + i) % 19) / 2 for i in range(19)]))
    assert np.allclose(found, np.moveaxis(expected, 0, -1), atol=1e-5)


def test_they_are_cropped_as_the_maps_of_a_letterboxed_image(path):
    perceiver = Perceiver(path, fit="letterbox")
    wide = cv2.resize(IMAGE, (64, 24))
    seen, found = perceiver.perceive_groups(wide, np.ones((19, 1), bool))
    assert found.shape == (*seen.labels.shape, 1) == (24, 64, 1)
    assert np.allclose(found, 1, atol=1e-5)


def test_a_file_without_logits_says_how_to_get_them(tmp_path):
    path = make_dummy_model(tmp_path / "plain.onnx")
    perceiver = Perceiver(path)
    assert perceiver.info.logits_size is None and perceiver.info.format_version == 1
    with pytest.raises(ValueError, match=r"plain\.onnx has no output 'logits': export"):
        perceiver.perceive_groups(IMAGE, np.ones((19, 1), bool))


def test_older_readers_refuse_a_file_with_logits_by_its_version(path):
    info = read_info(path)
    assert info.logits_size == (48, 64) and info.format_version == 2


def test_logits_of_other_classes_are_refused(path, tmp_path):
    model = onnx.load(str(path))
    (logits,) = (value for value in model.graph.output if value.name == "logits")
    logits.type.tensor_type.shape.dim[1].dim_value = 18
    (scores,) = (tensor for tensor in model.graph.initializer if tensor.name == "scores")
    kept = onnx.numpy_helper.to_array(scores)[:, :18]
    scores.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(kept), "scores"))
    onnx.save(model, str(tmp_path / "other.onnx"))
    with pytest.raises(ModelError, match=r"expected the output 'logits' to be .*\(1, 19, h, w\)"):
        read_info(tmp_path / "other.onnx")
