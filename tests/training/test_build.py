"""What a network starts from, and the sizes of its images."""

from dataclasses import replace
from importlib.resources import files
from unittest.mock import ANY, Mock

import numpy as np
import pytest
import torch

from emu_core.data.augment import Augmentation
from emu_core.data.sample import Sample
from emu_core.labels import CITYSCAPES, TABLES
from emu_core.networks import DepthFormer, SegDepthFormer, SegFormer, save_model
from emu_core.training import build
from emu_core.training.build import build_network
from emu_core.training.config import Architecture, Data

half = np.repeat([10.0, 30.0], 32)[None].repeat(32, 0).astype(np.float32)  # mean 20, deviation 10
half[:, ::2] = np.nan
IMAGE, LABELS = np.zeros((32, 64, 3), np.uint8), np.zeros((32, 64), np.uint8)
SAMPLES = [Sample("", IMAGE, LABELS, half, (100.0, 100.0))] * 2


def make(architecture, classes=CITYSCAPES):
    return build_network(architecture, classes, SAMPLES, Augmentation(32, 64))


def same(first, second):
    """Whether all weights are equal."""
    theirs = second.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in first.state_dict().items())


@pytest.fixture
def trained(tmp_path):
    """A network, and its file."""
    torch.manual_seed(1)
    network = SegDepthFormer("b0", 19, layer_norm_eps=1e-5)
    save_model(network, tmp_path / "trained.safetensors")
    return network, tmp_path / "trained.safetensors"


def test_training_can_start_from_the_shipped_model_file():
    shipped = files("emu_core") / "models" / "emu_b0_drives.onnx"
    joint = make(Architecture(init=shipped, dropout=0.5))
    depth = make(Architecture(init=shipped, task="depth"))
    assert joint.dropout == 0.5 and isinstance(depth, DepthFormer)
    assert same(depth.depth_decoder, joint.depth_decoder)
    # BatchNorm is the identity for the statistics of these images.
    norm = depth.depth_decoder.norm
    assert torch.equal(norm.bias, norm.running_mean) and norm.bias.abs().max() > 0.1


def test_depth_starts_at_the_mean_and_deviation_of_valid_depth():
    mean, variance = make(Architecture()).depth_decoder.head.bias
    assert mean.item() == pytest.approx(20)
    assert 100 * torch.nn.functional.softplus(variance).item() == pytest.approx(100, rel=1e-4)
    given = make(Architecture(depth_mean=7.0))
    assert given.depth_decoder.head.bias[0].item() == 7


def test_a_network_starts_from_all_weights_of_a_file(trained):
    other, path = trained
    network = make(Architecture(init=path, dropout=0.5))
    assert same(network, other)
    assert network.encoder.layer_norm_eps == 1e-5
    assert network.dropout == 0.5  # not that of the file


def test_a_decoder_that_is_not_in_the_file_starts_from_random_weights(tmp_path):
    other, path = SegFormer("b0", 19), tmp_path / "seg.safetensors"
    save_model(other, path)
    network = make(Architecture(init=path))
    assert same(network.encoder, other.encoder)
    assert same(network.segmentation_decoder, other.segmentation_decoder)
    assert network.depth_decoder.head.bias[0].item() == pytest.approx(20)
    assert isinstance(make(Architecture(init=path, task="depth")), DepthFormer)


def test_an_evidential_network_starts_from_another_one_but_for_the_last_layer_of_depth(trained):
    network, path = trained
    found = make(Architecture(init=path, evidential=True))
    assert same(found.encoder, network.encoder)
    assert same(found.segmentation_decoder, network.segmentation_decoder)
    assert same(found.depth_decoder.fuse, network.depth_decoder.fuse)
    head = found.depth_decoder.head
    assert len(head.bias) == 4 and head.bias[0].item() == pytest.approx(20)


def test_an_encoder_is_loaded_alone(trained):
    other, path = trained
    network = make(Architecture(encoder=str(path)), TABLES["nyuv2"])
    assert same(network.encoder, other.encoder)
    assert network.encoder.layer_norm_eps == 1e-5
    assert network.num_classes == 40
    assert not same(network.depth_decoder, other.depth_decoder)


@pytest.mark.parametrize("variant", ["b0", "b2"])
def test_the_name_of_the_encoder_follows_the_variant(variant, monkeypatch):
    monkeypatch.setattr(build, "load_hugging_face", load := Mock())
    make(Architecture(variant, encoder="nvidia/mit-{variant}"))
    load.assert_called_once_with(ANY, f"nvidia/mit-{variant}", encoder_only=True)


@pytest.mark.parametrize("file", ["model file", "weights", "weights with names"])
def test_of_a_file_with_other_classes_all_but_the_last_layer_is_loaded(
    file, trained, tmp_path, capsys
):
    _, path = trained
    classes = TABLES["nyuv2"]
    if file == "model file":
        path = files("emu_core") / "models" / "emu_b0_drives.onnx"
    if file == "weights with names":  # as many classes, but in another order
        classes = replace(CITYSCAPES, names=CITYSCAPES.names[::-1])
        path = tmp_path / "named.safetensors"
        save_model(trained[0], path, {"learned": {"classes": list(CITYSCAPES.names)}})
    expected, network = make(Architecture(init=path)), make(Architecture(init=path), classes)
    assert f"{path} has other classes: the last layer" in capsys.readouterr().out
    weights = network.state_dict()
    other = {k for k, v in expected.state_dict().items() if not torch.equal(v, weights[k])}
    assert {k.rpartition(".")[0] for k in other} == {"segmentation_decoder.head"}
    assert len(network.segmentation_decoder.head.bias) == len(classes)


def test_weights_of_another_variant_are_refused(trained):
    _, path = trained
    with pytest.raises(ValueError, match="holds a b0 encoder, but this network is a b1"):
        make(Architecture("b1", init=path))
    with pytest.raises(ValueError, match="not both"):
        Architecture(init=path, encoder="nvidia/mit-b0")


def test_whole_images_keep_the_scale_of_the_crops():
    crops = Augmentation(768, 768, image_width=2048, scale=(0.5, 2.0))
    data = Data(augmentation=crops, validation_size=(1024, 2048))
    assert data.whole_images == replace(crops, height=1024, width=2048)
    assert Data(augmentation=crops).whole_images == crops
    with pytest.raises(ValueError, match=r"needs data\.augmentation\.image_width"):
        Data(validation_size=(1024, 2048))
