"""The three networks: sizes, outputs, initial depth, gradients, freezing."""

import math

import pytest
import torch

from emu_core.methods.prediction import activate
from emu_core.networks import DepthFormer, SegDepthFormer, SegFormer, normalize


def count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("variant", "millions"),
    [("b0", 3.8), ("b1", 13.7), ("b2", 27.5), ("b3", 47.3), ("b4", 64.1), ("b5", 84.7)],
)
def test_segformer_has_the_published_number_of_parameters(variant, millions):
    with torch.device("meta"):
        network = SegFormer(variant, num_classes=150)  # SegFormer's table 1, ADE20K
    assert round(count(network) / 1e6, 1) == millions


def test_the_joint_network_has_one_encoder_and_two_decoders():
    with torch.device("meta"):
        seg, depth, joint = SegFormer("b0"), DepthFormer("b0"), SegDepthFormer("b0")
    assert count(joint) == count(seg) + count(depth) - count(seg.encoder)
    assert round(count(joint) / 1e6, 1) == 4.1
    assert set(joint.state_dict()) == set(seg.state_dict()) | set(depth.state_dict())


@pytest.mark.parametrize("std", [0.01, 0.5, 5.0, 40.0])
def test_depth_starts_at_the_given_mean_and_standard_deviation(std):
    network = DepthFormer("b0")
    network.init_depth(mean=17.5, std=std)
    network.depth_decoder.head.weight.data.zero_()
    with torch.no_grad():
        prediction = activate(network(torch.zeros(2, 3, 32, 32)))
    assert torch.all(prediction.depth_mean == 17.5)
    torch.testing.assert_close(prediction.depth_variance.sqrt(), torch.full((2, 1, 8, 8), std))


def test_invalid_networks_and_depths_are_refused():
    with pytest.raises(ValueError, match="SegFormer has no depth decoder"):
        SegFormer("b0").init_depth(10.0)
    with pytest.raises(ValueError, match="above 0 m, but got -3"):
        DepthFormer("b0").init_depth(-3.0)
    with pytest.raises(ValueError, match="`num_classes` to be at least 2, but got 1"):
        SegFormer("b0", num_classes=1)


@pytest.mark.parametrize("folded", [True, False])
def test_gradients_reach_every_parameter_under_autocast(folded):
    torch.manual_seed(0)
    network = SegDepthFormer("b0", folded=folded, drop_path=0.0)
    with torch.autocast("cpu", torch.bfloat16):
        raw = network(torch.randn(2, 3, 64, 64))
    assert raw.depth.dtype == torch.float32
    (raw.logits.float().square().sum() + raw.depth.square().sum()).backward()
    for name, p in network.named_parameters():
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
        # A bias before BatchNorm, and the bias of the keys, have no effect.
        if "projections" not in name and "key.bias" not in name:
            assert p.grad.abs().max() > 0, name


def test_normalisation_is_that_of_imagenet():
    rgb = torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    expected = [(0 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    torch.testing.assert_close(normalize(rgb).flatten(), torch.tensor(expected))
    assert math.isclose(expected[0], -2.1179, abs_tol=1e-4)
