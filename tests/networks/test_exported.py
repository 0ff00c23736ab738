"""Networks loaded from model files equal the exported ones, also when training begins."""

import numpy as np
import pytest
import torch
from reference_segformer import randomize

from emu_core.labels import CITYSCAPES
from emu_core.networks import DepthFormer, SegDepthFormer, SegFormer, WeightsError
from emu_core.networks.exported import load_exported, settle_norms
from emu_core.networks.models import normalize
from emu_core.training.export import export

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, 64, 64), np.uint8))


def random_network(**options):
    """A network whose parameters and statistics are all random."""
    network = SegDepthFormer("b0", 19, drop_path=0.0, dropout=0.0, **options).eval()
    randomize(network.state_dict())
    network.init_depth(5.0)
    return network


def export_to(path, network, precision="fp32"):
    facts = {"depth_range": (0.5, 80.0), "canonical_focal": 50.0, "horizontal_fov": (50.0, 90.0)}
    facts |= {"training_data": "none", "metrics": {"miou": 0.1}, "commit": "0123abc"}
    facts |= {"classes": CITYSCAPES}
    facts |= {"reference_image": IMAGES[0].permute(1, 2, 0).numpy(), "input_size": (64, 64)}
    export(network, path, precision=precision, **facts)
    return path


def assert_same_outputs(a, b, tolerance):
    with torch.no_grad():
        for own, other in zip(a(normalize(IMAGES)), b(normalize(IMAGES)), strict=True):
            torch.testing.assert_close(own, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("fp16", 3e-2)])
def test_a_network_is_restored_from_its_model_file(tmp_path, precision, tolerance):
    network = random_network(layer_norm_eps=1e-5)
    again = load_exported(export_to(tmp_path / "model.onnx", network, precision))
    assert (again.variant, again.num_classes, again.training) == ("b0", 19, False)
    assert again.encoder.layer_norm_eps == pytest.approx(1e-5)
    assert_same_outputs(again, network, tolerance)


@pytest.mark.parametrize("kind", [SegFormer, lambda variant, _: DepthFormer(variant)])
def test_a_network_for_one_task_is_restored(tmp_path, kind):
    network = kind("b0", 19).eval()
    randomize(network.state_dict())
    again = load_exported(export_to(tmp_path / "model.onnx", network))
    assert (type(again), again.task) == (type(network), network.task)
    with torch.no_grad():
        pairs = zip(again(normalize(IMAGES)), network(normalize(IMAGES)), strict=True)
    for own, other in pairs:
        assert (own is None) == (other is None)
        if own is not None:
            torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-4)


def test_settled_norms_do_not_change_the_outputs_in_both_modes(tmp_path):
    network = random_network()
    again = load_exported(export_to(tmp_path / "model.onnx", network))
    for module in again.modules():
        if hasattr(module, "drop_path"):
            module.drop_path = 0.0
    for decoder in (again.segmentation_decoder, again.depth_decoder):
        decoder.dropout = torch.nn.Identity()
    settle_norms(again, IMAGES.split(3))  # batches of unequal size
    assert_same_outputs(again.eval(), network, 1e-4)
    assert_same_outputs(again.train(), network, 1e-3)  # here the batch is all images


def test_other_files_are_refused_by_name(tmp_path):
    with pytest.raises(WeightsError, match=r"no model at .*missing\.onnx"):
        load_exported(tmp_path / "missing.onnx")
    (tmp_path / "damaged.onnx").write_bytes(b"no protobuf")
    with pytest.raises(WeightsError, match=r"damaged\.onnx is not a model file"):
        load_exported(tmp_path / "damaged.onnx")
