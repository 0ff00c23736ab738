"""A calibrated model file computes what the calibration says, and says what it is."""

import json
from dataclasses import asdict

import cv2
import numpy as np
import onnx
import pytest
import torch

from emu_core.evaluation.fitting.calibrated_file import uncalibrated, write_calibrated
from emu_core.evaluation.fitting.distance_graph import open_features
from emu_core.labels import CITYSCAPES
from emu_core.networks.models import SegDepthFormer, normalize
from emu_core.runtime.calibration import Calibration, Distance
from emu_core.runtime.dummy_model import make_dummy_model
from emu_core.runtime.model_file import ModelError, read_info
from emu_core.runtime.perceiver import Perceiver
from emu_core.training.export import export

SIZE = (64, 96)
EACH = np.eye(19, dtype=bool)
NEAR = Distance((0.0,), (1.0,), 1.0, 2.0)
FOUND = Calibration(1.7, 0.8, 2.5, "8 frames", {"nll": 0.5}, {"nll": 0.4})


@pytest.fixture(scope="module")
def image():
    coarse = np.random.default_rng(2).integers(0, 256, (8, 12, 3), np.uint8)
    return cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def network():
    """A network at random weights, whose classes and depths vary."""
    torch.manual_seed(3)
    network = SegDepthFormer("b0", 19)
    torch.nn.init.normal_(network.segmentation_decoder.head.weight, std=2.0)
    torch.nn.init.normal_(network.depth_decoder.head.weight, std=1.0)
    network.init_depth(20.0)
    return network.eval()


@pytest.fixture(scope="module")
def features(network, image):
    """Features of the image, from torch."""
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    with torch.no_grad():
        stages = network.encoder(normalize(pixels))[:3]
    return torch.cat([stage.mean(dim=(2, 3)) for stage in stages], dim=1)[0].numpy()


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def model(request, network, image, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "raw.onnx"
    export(
        network,
        path,
        reference_image=image,
        depth_range=(0.5, 100.0),
        canonical_focal=120.0,
        horizontal_fov=(50.0, 90.0),
        training_data="none",
        metrics={},
        classes=CITYSCAPES,
        input_size=SIZE,
        precision=request.param,
        commit="0123abc",
    )
    return path


def expect_calibrated(raw, calibrated, image, found, weight=0.0):
    """Compare the maps of two files, for an image with this weight of its distance; returns the
    maps of the second."""
    temperature, distant = found.temperature, found.distance
    if distant is not None:
        temperature += weight * (distant.temperature - temperature)
    (first, p), (second, q) = (
        Perceiver(path).perceive_groups(image, EACH, 120.0) for path in (raw, calibrated)
    )
    expected = torch.from_numpy(np.maximum(p, 1e-30)).log().div(temperature).softmax(-1)
    np.testing.assert_allclose(q, expected.numpy(), atol=2e-5)
    assert (first.labels == second.labels).mean() > 0.999
    entropy = torch.special.entr(expected).sum(-1).numpy() / np.log(19)
    np.testing.assert_allclose(second.label_uncertainty, entropy, atol=2e-5)
    np.testing.assert_array_equal(first.depth, second.depth)
    factor = found.std_scale + found.std_doubt * entropy
    if distant is not None:
        factor *= 1 + weight * (distant.std_factor - 1)
    np.testing.assert_allclose(second.depth_std, first.depth_std * factor, rtol=1e-4)
    return second


def test_the_graph_has_the_temperature_and_the_factor(model, image, tmp_path):
    info = write_calibrated(model, tmp_path / "new.onnx", FOUND)
    seen = expect_calibrated(model, info.path, image, FOUND)
    assert 0.02 < seen.label_uncertainty.mean() < 0.98
    assert np.isfinite(seen.depth_std).mean() > 0.3
    assert info.calibration == FOUND == read_info(info.path).calibration
    assert read_info(model).calibration is None
    assert Perceiver(info.path).verify()["label_uncertainty_abs"] < 1e-5


def test_features_are_means_of_the_channels_of_three_stages(model, image, features):
    exact = read_info(model).precision == "fp32"
    assert features.shape == (32 + 64 + 160,)
    assert open_features(model)(image) == pytest.approx(features, abs=2e-5 if exact else 3e-3)


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_the_graph_has_the_distance(model, image, features, tmp_path, weight):
    scale = np.linspace(0.5, 2.0, features.size)
    mean = features - 3.0 * scale * (-1) ** np.arange(features.size)  # the distance is 3
    near, far = {0.0: (3.1, 4.0), 0.4: (2.0, 4.5), 1.0: (2.0, 2.9)}[weight]
    for temperature, factor in ((0.7, 2.5), (1.7, 2.5), (0.7, 1.0)):
        distance = Distance(tuple(mean), tuple(scale), near, far, temperature, factor)
        found = Calibration(1.7, 0.8, 2.5, "8 frames", {}, {}, distance)
        assert found.weight(features[None]) == pytest.approx([weight], abs=1e-5)
        info = write_calibrated(model, tmp_path / "new.onnx", found)
        half = 3e-3 if info.precision == "fp16" else 0.0  # of features in half precision
        exact = float(found.weight(open_features(model)(image)[None])[0])
        assert exact == pytest.approx(weight, abs=1e-5 + half)
        expect_calibrated(model, info.path, image, found, exact)
        assert read_info(info.path).calibration == found
    later = Calibration(0.6, 2.0, 1.0)
    write_calibrated(info.path, info.path, later)
    expect_calibrated(model, info.path, image, later)
    with uncalibrated(info.path) as raw:
        assert read_info(raw).calibration is None
        expect_calibrated(model, raw, image, Calibration())
        assert len(onnx.load(str(raw)).graph.node) == len(onnx.load(str(model)).graph.node)
    assert not raw.exists()


def test_a_distance_needs_an_encoder_of_this_project(tmp_path):
    path = make_dummy_model(tmp_path / "dummy.onnx", logits=True)
    with pytest.raises(ModelError, match=r"no encoder of this project.* without a distance"):
        open_features(path)
    with pytest.raises(ModelError, match="no encoder of this project"):
        found = Calibration(distance=Distance((0.0,), (1.0,), 1.0, 2.0))
        write_calibrated(path, tmp_path / "new.onnx", found)


def test_the_temperature_costs_no_operation_and_the_factor_three(model, tmp_path):
    count = len(onnx.load(str(model)).graph.node)
    for found, more in ((Calibration(2.0), 0), (Calibration(2.0, 1.5), 1), (FOUND, 3)):
        path = write_calibrated(model, tmp_path / "new.onnx", found).path
        # Weights in half precision are not multiplied: the scores are.
        half = read_info(model).precision == "fp16"
        assert len(onnx.load(str(path)).graph.node) == count + more + half


def test_a_later_calibration_takes_the_place_of_the_earlier_one(model, image, tmp_path):
    path = tmp_path / "new.onnx"
    write_calibrated(model, path, FOUND)
    for later in (Calibration(0.6, 2.0, 0.0), Calibration(0.6, 2.0, 1.0), Calibration()):
        write_calibrated(path, path, later)
        expect_calibrated(model, path, image, later)
    assert len(onnx.load(str(path)).graph.node) <= len(onnx.load(str(model)).graph.node) + 2


def test_files_without_the_outputs_are_refused(tmp_path):
    plain = make_dummy_model(tmp_path / "plain.onnx")
    with pytest.raises(ModelError, match="no output 'logits', so its classes cannot be calibrat"):
        write_calibrated(plain, tmp_path / "new.onnx", Calibration(2.0))
    assert not (tmp_path / "new.onnx").exists()
    one = make_dummy_model(tmp_path / "one.onnx", outputs=("labels", "label_uncertainty"))
    with pytest.raises(ModelError, match="no output 'depth_std' that could be calibrated"):
        write_calibrated(one, tmp_path / "new.onnx", Calibration(std_scale=2.0))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"temperature": 0}, "above 0"),
        ({"std_scale": "1"}, "a number"),
        ({"before": {"nll": None}}, "a number"),
        ({"frames": 3}, "a text"),
        ({"distance": {**asdict(NEAR), "far": 0.5}}, "near below far"),
        ({"distance": {**asdict(NEAR), "scale": [0.0]}}, "scales above 0"),
        ({"distance": {**asdict(NEAR), "mean": [0.0, "1"]}}, "a number"),
    ],
)
def test_damaged_metadata_is_refused(tmp_path, change, problem):
    path = make_dummy_model(tmp_path / "dummy.onnx", logits=True)
    write_calibrated(path, path, FOUND)
    proto = onnx.load(str(path))
    for prop in proto.metadata_props:
        if prop.key == "emu.calibration":
            prop.value = json.dumps({**json.loads(prop.value), **change})
    onnx.save(proto, str(path))
    with pytest.raises(ModelError, match=rf"'emu\.calibration' is corrupt: .*{problem}"):
        read_info(path)
