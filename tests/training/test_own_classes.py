"""A network with own classes: exported, perceived, drawn and named, without the table's file."""

import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from builtin_interfaces.msg import Time

from emu_core.labels import load_classes
from emu_core.networks import SegDepthFormer
from emu_core.runtime.overlay import blend
from emu_core.runtime.perceiver import Perceiver
from emu_core.training.export import export
from emu_perception.node import label_info

TABLE = """
classes:
  - {name: ground, color: [200, 100, 0], aliases: [road]}
  - {name: tree, color: [0, 250, 50]}
  - {name: open sky, color: [10, 20, 240]}
"""
METRES = 7.5


def network(shares):
    """A network whose outputs are these shares of three classes and METRES everywhere."""
    made = SegDepthFormer("b0", 3).eval()
    with torch.no_grad():
        for decoder in (made.segmentation_decoder, made.depth_decoder):
            decoder.head.weight.zero_()
        made.segmentation_decoder.head.bias.copy_(torch.tensor(shares).log())
        made.depth_decoder.head.bias.copy_(torch.tensor([METRES, 0.0]))
    return made


@pytest.fixture
def perceiver(tmp_path):
    """Function that exports a network for a table file, and opens it when that file is gone."""

    def call(shares, sky):
        file = tmp_path / "orchard.yaml"
        file.write_text(f"{TABLE}sky: {sky}")
        export(
            network(shares),
            tmp_path / "own.onnx",
            reference_image=np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8),
            depth_range=(0.5, 80.0),
            canonical_focal=100.0,
            horizontal_fov=(50.0, 90.0),
            training_data="none",
            metrics={},
            classes=load_classes(file),
            input_size=(64, 96),
            commit="0123abc",
        )
        file.unlink()
        return Perceiver(tmp_path / "own.onnx")

    return call


@pytest.mark.parametrize(
    ("shares", "sky", "label", "color"),
    [
        ((0.7, 0.2, 0.1), "null", 0, (200, 100, 0)),
        ((0.1, 0.2, 0.7), "null", 2, (10, 20, 240)),
        ((0.1, 0.2, 0.7), "Open_Sky", 2, (10, 20, 240)),
        ((0.2, 0.7, 0.1), "Open_Sky", 1, (0, 250, 50)),
    ],
)
def test_a_network_with_three_own_classes_is_perceived_and_drawn(
    perceiver, shares, sky, label, color
):
    model, grey = perceiver(shares, sky), np.full((64, 96, 3), 80, np.uint8)
    seen = model.perceive(grey)
    assert (seen.labels == label).all()
    # 0.7 ln 0.7 + 0.2 ln 0.2 + 0.1 ln 0.1 = -0.8018, and ln 3 = 1.0986.
    np.testing.assert_allclose(seen.label_uncertainty, 0.8018 / 1.0986, atol=1e-4)
    np.testing.assert_allclose(seen.depth, METRES, rtol=1e-5)
    assert np.isfinite(seen.depth_std).all()
    drawn = blend(grey, seen.labels, seen.label_uncertainty, model.info.classes, alpha=1.0)
    opacity = 1 - 0.8018 / 1.0986
    expected = (1 - opacity) * 80 + opacity * np.array(color)
    np.testing.assert_allclose(drawn, np.broadcast_to(expected, drawn.shape), atol=1)


def test_only_its_certain_sky_is_infinitely_far(perceiver):
    grey = np.full((64, 96, 3), 80, np.uint8)
    for sky, metres in (("Open_Sky", math.inf), ("null", METRES)):
        seen = perceiver((0.0005, 0.0005, 0.999), sky).perceive(grey)
        assert (seen.labels == 2).all() and seen.label_uncertainty.max() < 0.01
        np.testing.assert_allclose(seen.depth, metres, rtol=1e-5)
        assert np.isfinite(seen.depth_std).all() == math.isfinite(metres)


def test_its_names_are_in_the_model_file_and_in_label_info(perceiver, monkeypatch):
    classes = perceiver((0.7, 0.2, 0.1), "open sky").info.classes
    assert (classes.dataset, classes.sky, classes.index("Road")) == ("orchard", 2, 0)
    stand_in = SimpleNamespace(VisionClass=SimpleNamespace, LabelInfo=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "vision_msgs", SimpleNamespace(msg=stand_in))
    monkeypatch.setitem(sys.modules, "vision_msgs.msg", stand_in)
    message = label_info.message(classes, with_unknown=True, stamp=Time())
    assert {entry.class_id: entry.class_name for entry in message.class_map} == {
        0: "ground",
        1: "tree",
        2: "open sky",
        3: "unknown",
    }
