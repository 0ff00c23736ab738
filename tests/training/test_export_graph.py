"""Export: the model file gives torch's maps and can verify that; a wrong file is not written."""

import copy

import cv2
import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F

from emu_core.labels import CITYSCAPES, ClassTable
from emu_core.methods.prediction import Prediction, to_prediction
from emu_core.networks.models import SegDepthFormer, normalize
from emu_core.runtime.model_file import ModelError, read_info
from emu_core.runtime.parity import FP16_TOLERANCES, FP32_TOLERANCES
from emu_core.runtime.perceiver import Perceiver
from emu_core.training import export as export_module
from emu_core.training.export import ExportError, export, to_perception

SIZE = (64, 96)
FARTHEST = 10.0
SKY = 10
FACTS = {
    "depth_range": (0.5, FARTHEST),
    "canonical_focal": 120.0,
    "horizontal_fov": (50.0, 90.0),
    "training_data": "none: random weights",
    "metrics": {"miou": 0.25},
    "classes": CITYSCAPES,
    "commit": "0123abc",
}


@pytest.fixture(scope="module")
def image():
    coarse = np.random.default_rng(2).integers(0, 256, (8, 12, 3), np.uint8)
    return cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def network(image):
    """A network whose parameters and statistics are all random: no term vanishes.

    Its last biases are then set so that `image` has every kind of pixel: a third sky, certain
    or not, and depths of 5 ± 5 m.
    """
    generator = torch.Generator().manual_seed(1)
    network = SegDepthFormer("b0", 19).eval()
    for name, value in network.state_dict().items():
        if not value.is_floating_point():
            continue
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith("running_var"):
            value.copy_(0.5 + noise.abs())
        elif value.ndim == 1:
            value.add_(0.2 * noise)
        else:
            value.copy_(noise * value[0].numel() ** -0.5)
    labels, depths = network.segmentation_decoder.head, network.depth_decoder.head
    with torch.no_grad():
        labels.weight.mul_(20)
        logits, depth = network(normalize(torch.from_numpy(image).permute(2, 0, 1)[None]))
        others = torch.cat((logits[:, :SKY], logits[:, SKY + 1 :]), 1)
        labels.bias[SKY] += (others.amax(1) - logits[:, SKY]).quantile(1 / 3)
        scale = 5 / depth[:, 0].std()
        depths.weight[0] *= scale
        depths.bias[0] = (depths.bias[0] - depth[:, 0].mean()) * scale + 5
    return network


@pytest.fixture(scope="module")
def exported(network, image, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "small.onnx"
    return export(network, path, reference_image=image, input_size=SIZE, **FACTS)


@pytest.fixture
def write(network, image, tmp_path):
    """Function that exports the network, or another one, with some arguments changed."""

    def call(model=network, path=tmp_path / "m.onnx", **others):
        arguments = {"reference_image": image, "input_size": SIZE, **FACTS} | others
        return export(model, path, **arguments)

    return call


def maps_in_numpy(network, image, size):
    """The contract of the four maps in double precision, activations from their definitions."""
    network = network.eval()
    with torch.inference_mode():
        raw = network(normalize(torch.from_numpy(image).permute(2, 0, 1)[None]))
        logits, depth = (
            F.interpolate(x.double(), size=size, mode="bilinear", align_corners=False)[0].numpy()
            for x in raw
        )
    exp = np.exp(logits - logits.max(0))
    p = exp / exp.sum(0)
    entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(0)
    labels = logits.argmax(0).astype(np.uint8)
    mean = np.maximum(depth[0], 0)
    std = 10 * np.sqrt(np.logaddexp(0, depth[1]))  # variances count in (10 m)²
    uncertainty = entropy / np.log(len(p))
    far, none = (labels == SKY) & (uncertainty <= 0.05) | (mean > FARTHEST), mean == 0
    return {
        "labels": labels,
        "label_uncertainty": uncertainty,
        "depth": np.where(far, np.inf, np.where(none, np.nan, mean)),
        "depth_std": np.where(far, np.inf, np.where(none, np.nan, std)),
    }


def assert_maps_equal(seen, expected):
    assert np.mean(seen["labels"] == expected["labels"]) >= 0.999
    np.testing.assert_allclose(
        seen["label_uncertainty"], expected["label_uncertainty"], rtol=0, atol=1e-4
    )
    for name in ("depth", "depth_std"):
        same = np.isfinite(seen[name]) == np.isfinite(expected[name])
        assert same.mean() >= 0.999
        np.testing.assert_allclose(seen[name][same], expected[name][same], rtol=1e-4, atol=1e-4)


def test_onnx_runtime_and_torch_give_the_maps_of_the_definition(network, exported, image):
    expected = maps_in_numpy(network, image, SIZE)
    # Every kind of pixel must occur.
    assert len(np.unique(expected["labels"])) > 3
    for kind in (np.isfinite, np.isinf, np.isnan):
        assert kind(expected["depth"]).mean() > 0.01
    seen = Perceiver(exported.path).perceive(image)
    assert_maps_equal(vars(seen), expected)
    sky, certain = seen.labels == SKY, seen.label_uncertainty <= 0.05
    assert np.isinf(seen.depth[sky & certain]).all() and (sky & certain).mean() > 0.01
    assert np.isfinite(seen.depth[sky & ~certain]).mean() > 0.3 and (sky & ~certain).mean() > 0.01
    assert np.isinf(seen.depth[~sky]).any()
    finite = seen.depth[np.isfinite(seen.depth)]
    assert finite.min() > 0 and finite.max() <= FARTHEST
    for kind in (np.isinf, np.isnan):
        np.testing.assert_array_equal(kind(seen.depth), kind(seen.depth_std))

    with torch.inference_mode():
        raw = network.eval()(normalize(torch.from_numpy(image).permute(2, 0, 1)[None]))
        prediction = to_prediction(raw, SIZE)
    assert_maps_equal(vars(to_perception(prediction, SKY, FARTHEST)), expected)


def test_the_probabilities_belong_to_the_labels_and_their_uncertainty(exported, image):
    seen, found = Perceiver(exported.path).perceive_groups(image, np.eye(19, dtype=bool))
    assert np.mean(found.argmax(axis=-1) == seen.labels) > 0.999
    p = np.maximum(found.astype(np.float64), 1e-30)
    entropy = -(p * np.log(p)).sum(axis=-1) / np.log(19)
    assert np.allclose(entropy, seen.label_uncertainty, atol=1e-3)


def test_another_output_size_and_a_large_reference_image(network, image, write):
    large = np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)
    info = write(reference_image=large, output_size=(50, 230))
    assert (info.input_size, info.output_size) == (SIZE, (50, 230))
    picture = cv2.imdecode(np.frombuffer(info.reference.png, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(picture[..., ::-1], image)  # the mean of four equal pixels
    expected = maps_in_numpy(network, image, (50, 230))
    assert_maps_equal(vars(Perceiver(info.path).perceive(image)), expected)


def test_a_perception_is_in_metres_and_without_the_tasks_that_are_missing():
    labels = torch.tensor([[0, 13, SKY, 2]])
    probabilities = F.one_hot(labels[None], 19).permute(0, 3, 1, 2).float()
    mean = torch.tensor([8.0, 0.0, 40.0, 20.0]).view(1, 1, 1, 4)  # the ReLU of the second is off
    depth = (mean, torch.full_like(mean, 4.0))
    seen = to_perception(Prediction(probabilities, *depth), SKY, factor=1.5)
    np.testing.assert_array_equal(seen.labels, labels.numpy())
    np.testing.assert_allclose(seen.label_uncertainty, 0, atol=1e-6)
    np.testing.assert_array_equal(seen.depth, [[12, np.nan, np.inf, 30]])
    np.testing.assert_array_equal(seen.depth_std, [[3, np.nan, np.inf, 3]])
    classes = to_perception(Prediction(probabilities), SKY)
    assert list(classes.maps()) == ["labels", "label_uncertainty"] and classes.depth is None
    alone = to_perception(Prediction(None, *depth), SKY)
    assert list(alone.maps()) == ["depth", "depth_std"]
    np.testing.assert_array_equal(alone.depth, [[8, np.nan, 40, 20]])
    doubtful = 0.9 * probabilities + 0.1 / 19
    assert to_perception(Prediction(doubtful), SKY).label_uncertainty.min() > 0.05
    seen = to_perception(Prediction(doubtful, *depth), SKY)
    np.testing.assert_array_equal(seen.depth, [[8, np.nan, 40, 20]])


def test_entropy_is_right_for_logits_whose_exponentials_overflow(network, image, write):
    loud = copy.deepcopy(network)
    with torch.no_grad():
        loud.segmentation_decoder.head.weight.mul_(100)
    expected = maps_in_numpy(loud, image, SIZE)["label_uncertainty"]
    seen = Perceiver(write(loud).path).perceive(image).label_uncertainty
    assert np.isfinite(seen).all()
    np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("num_classes", [2, 19, 40, 64, 65])
def test_the_first_of_equally_likely_classes_is_the_label(num_classes):
    generator = torch.Generator().manual_seed(0)
    maps = export_module.ClassMaps(num_classes, (20, 50))
    # Few levels, so that most pixels have several largest logits; the first pixel all of them.
    logits = torch.randint(0, 3, (num_classes, 1000), generator=generator).float()
    logits[:, 0] = 0
    labels, uncertainty = maps.label(logits)
    np.testing.assert_array_equal(labels.flatten().numpy(), logits.numpy().argmax(0))
    assert uncertainty[0, 0] == pytest.approx(1)


def test_without_a_sky_class_only_the_range_gives_infinite_depth(image, write):
    table = ClassTable("rooms", CITYSCAPES.names, CITYSCAPES.dataset_ids, CITYSCAPES.palette, None)
    seen = Perceiver(write(classes=table).path).perceive(image)
    assert np.isfinite(seen.depth[seen.labels == SKY]).any()


def test_metadata_tolerances_and_reference_travel_with_the_file(exported, image):
    info = read_info(exported.path)
    for key, value in FACTS.items():
        assert getattr(info, key) == value
    assert info.name == "small"
    assert info.classes == CITYSCAPES
    assert info.tolerances == {"fp32": FP32_TOLERANCES, "fp16": FP16_TOLERANCES}
    picture = cv2.imdecode(np.frombuffer(info.reference.png, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(picture[..., ::-1], image)
    assert len(info.reference.rows) == 4096
    errors = Perceiver(exported.path).verify()
    assert errors["labels_agree"] >= 0.999
    assert errors["depth_rel"] <= 1e-3


def test_a_changed_weight_no_longer_verifies(exported, tmp_path):
    proto = onnx.load(str(exported.path))
    tensor = max(proto.graph.initializer, key=lambda t: len(t.raw_data))
    weights = onnx.numpy_helper.to_array(tensor)
    tensor.CopyFrom(onnx.numpy_helper.from_array(1.5 * weights, tensor.name))
    onnx.save(proto, str(tmp_path / "changed.onnx"))
    with pytest.raises(ModelError, match=r"changed\.onnx does not reproduce its reference"):
        Perceiver(tmp_path / "changed.onnx").verify()


def test_ir_and_opset_are_what_onnxruntime_1_23_reads(exported):
    proto = onnx.load(str(exported.path))
    # ONNX Runtime 1.23 reads IR up to 11 and opset 23; 8 and 18 go back to 1.14.
    assert proto.ir_version == 8
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", 18)]
    assert {node.domain for node in proto.graph.node} == {""}


def test_the_network_is_not_changed_and_exported_in_eval_mode(network, exported, write):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    info = write()
    assert network.training
    assert all(p.requires_grad for p in network.parameters())
    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)
    network.eval()
    for name, values in info.reference.values.items():
        np.testing.assert_array_equal(values, exported.reference.values[name])


def test_a_graph_with_other_maps_is_not_written(write, tmp_path, monkeypatch):
    path = tmp_path / "kept.onnx"
    path.write_bytes(b"the previous file")
    correct = export_module.ClassMaps.label

    def wrong(self, logits):
        labels, uncertainty = correct(self, logits)
        return labels, uncertainty * 1.1

    monkeypatch.setattr(export_module.ClassMaps, "label", wrong)
    with pytest.raises(ExportError, match=r"kept\.onnx was not written: .*label_uncertainty_abs"):
        write(path=path)
    assert path.read_bytes() == b"the previous file"
    assert list(tmp_path.iterdir()) == [path]


def test_half_precision_halves_the_file_within_its_tolerances(exported, write):
    info = write(precision="fp16")
    assert info.precision == "fp16"
    assert info.path.stat().st_size < 0.6 * exported.path.stat().st_size
    errors = Perceiver(info.path).verify()
    assert errors["labels_agree"] >= FP16_TOLERANCES["labels_agree"]
    assert errors["depth_rel"] > 0  # it is not the file in single precision


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"precision": "int8"}, "`precision` to be one of"),
        (
            {"classes": ClassTable("two", ("a", "b"), (1, 2), ((0, 0, 0), (1, 1, 1)), None)},
            r"the network's 19 classes, but got 2 \(two\)",
        ),
        ({"depth_range": (80.0, 0.5)}, r"emu\.depth_range.*expected 0 ≤ low ≤ high"),
        ({"canonical_focal": 0.0}, "positive canonical_focal"),
        ({"metrics": {"miou": float("nan")}}, "not JSON compliant"),
        ({"reference_image": np.zeros((64, 96, 3))}, "uint8 array, but got float64"),
    ],
)
def test_wrong_arguments_are_refused_and_nothing_is_written(write, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        write(**change)
    assert not list(tmp_path.iterdir())
