"""What a network starts from, and the sizes that images come in."""

from dataclasses import replace
from importlib.resources import files
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from emu_core.data.augment import Augmentation
from emu_core.data.sample import Sample
from emu_core.labels import CITYSCAPES
from emu_core.networks import DepthFormer, SegDepthFormer, SegFormer, save_model
from emu_core.training import build
from emu_core.training.build import build_network, class_weights, depth_statistics
from emu_core.training.config import Architecture, Data

AUGMENTATION = Augmentation(32, 64)


def sample(depth):
    image, labels = np.zeros((32, 64, 3), np.uint8), np.zeros((32, 64), np.uint8)
    return Sample("", image, labels, np.asarray(depth, np.float32), (100.0, 100.0))


half = np.repeat([10.0, 30.0], 32)[None].repeat(32, 0)
half[:, ::2] = np.nan
SAMPLES = [sample(half), sample(half)]


class Frames(list):
    classes = CITYSCAPES


def same(first, second):
    """Whether all weights agree."""
    theirs = second.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in first.state_dict().items())


@pytest.fixture
def trained(tmp_path):
    """A network with a file of its own."""
    torch.manual_seed(1)
    network = SegDepthFormer("b0", 19, layer_norm_eps=1e-5)
    save_model(network, tmp_path / "trained.safetensors")
    return network, tmp_path / "trained.safetensors"


def test_the_shipped_model_file_is_a_start_like_any_other():
    shipped = files("emu_core") / "models" / "emu_b0_drives.onnx"
    joint = build_network(Architecture(init=shipped, dropout=0.5), 19, SAMPLES, AUGMENTATION)
    depth = build_network(Architecture(init=shipped, task="depth"), 19, SAMPLES, AUGMENTATION)
    assert joint.dropout == 0.5 and isinstance(depth, DepthFormer)
    assert same(depth.depth_decoder, joint.depth_decoder)
    # Settled: the norms undo what they do to these very images.
    norm = depth.depth_decoder.norm
    assert torch.equal(norm.bias, norm.running_mean) and norm.bias.abs().max() > 0.1


def test_class_weights_follow_the_shares_of_the_labels_and_are_1_in_the_mean():
    labels = np.repeat(np.array([0, 11, 255], np.uint8), [64, 4, 32]).reshape(10, 10)
    samples = Frames([SimpleNamespace(labels=labels)] * 3)
    weights = class_weights(samples, 0.5)
    assert weights.shape == (19,) and torch.isfinite(weights).all()
    assert float(weights[11] / weights[0]) == pytest.approx(4.0)
    assert float(64 * weights[0] + 4 * weights[11]) == pytest.approx(68.0)
    assert class_weights(samples, 0.0) is None
    nothing = Frames([SimpleNamespace(labels=np.full((4, 4), 255, np.uint8))])
    with pytest.raises(ValueError, match="has a labelled pixel"):
        class_weights(nothing, 0.5)


def test_depth_starts_at_the_mean_and_deviation_of_valid_depth():
    assert depth_statistics(SAMPLES, AUGMENTATION) == (pytest.approx(20), pytest.approx(10))
    network = build_network(Architecture(), 19, SAMPLES, AUGMENTATION)
    mean, variance = network.depth_decoder.head.bias
    assert mean.item() == pytest.approx(20)
    assert 100 * torch.nn.functional.softplus(variance).item() == pytest.approx(100, rel=1e-4)
    given = build_network(Architecture(depth_mean=7.0), 19, SAMPLES, AUGMENTATION)
    assert given.depth_decoder.head.bias[0].item() == 7


def test_a_network_starts_from_all_weights_of_another(trained):
    other, path = trained
    network = build_network(Architecture(init=path, dropout=0.5), 19, SAMPLES, AUGMENTATION)
    assert same(network, other)
    assert network.encoder.layer_norm_eps == 1e-5
    assert network.dropout == 0.5  # which no file decides


def test_what_the_other_lacks_starts_anew(tmp_path):
    torch.manual_seed(1)
    other = SegFormer("b0", 19)
    save_model(other, tmp_path / "seg.safetensors")
    network = build_network(
        Architecture(init=tmp_path / "seg.safetensors"), 19, SAMPLES, AUGMENTATION
    )
    assert same(network.encoder, other.encoder)
    assert same(network.segmentation_decoder, other.segmentation_decoder)
    assert network.depth_decoder.head.bias[0].item() == pytest.approx(20)
    depth = replace(Architecture(init=tmp_path / "seg.safetensors"), task="depth")
    assert isinstance(build_network(depth, 19, SAMPLES, AUGMENTATION), DepthFormer)


def test_an_encoder_is_taken_alone(trained):
    other, path = trained
    network = build_network(Architecture(encoder=str(path)), 40, SAMPLES, AUGMENTATION)
    assert same(network.encoder, other.encoder)
    assert network.encoder.layer_norm_eps == 1e-5
    assert network.num_classes == 40
    assert not same(network.depth_decoder, other.depth_decoder)


@pytest.mark.parametrize("variant", ["b0", "b2"])
def test_the_encoder_s_name_follows_the_variant(variant, monkeypatch):
    asked = []
    monkeypatch.setattr(
        build, "load_hugging_face", lambda network, name, **options: asked.append((name, options))
    )
    build_network(Architecture(variant, encoder="nvidia/mit-{variant}"), 19, SAMPLES, AUGMENTATION)
    assert asked == [(f"nvidia/mit-{variant}", {"encoder_only": True})]


def test_weights_of_another_kind_are_refused_by_name(trained):
    _, path = trained
    with pytest.raises(ValueError, match="holds a b0 encoder, but this network is a b1"):
        build_network(Architecture("b1", init=path), 19, SAMPLES, AUGMENTATION)
    with pytest.raises(ValueError, match="has 19 classes, but the data has 40"):
        build_network(Architecture(init=path), 40, SAMPLES, AUGMENTATION)
    with pytest.raises(ValueError, match="not both"):
        Architecture(init=path, encoder="nvidia/mit-b0")


def test_whole_images_keep_the_scale_of_the_crops():
    crops = Augmentation(768, 768, image_width=2048, scale=(0.5, 2.0))
    data = Data(augmentation=crops, validation_size=(1024, 2048))
    assert data.whole_images == replace(crops, height=1024, width=2048)
    assert Data(augmentation=crops).whole_images == crops
    with pytest.raises(ValueError, match=r"needs data\.augmentation\.image_width"):
        Data(validation_size=(1024, 2048))
