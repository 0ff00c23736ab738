"""One camera without DDS: what it publishes, logs and counts for each image."""

import sys
from unittest.mock import Mock

import numpy as np
import pytest
from helpers import labels
from helpers.camera_rig import node_maps, noise, pinhole, pixels, rgb8
from helpers.clouds import cloud_array, positions
from helpers.fake_node import FakeNode, make_camera

from emu_core.bags.images import UnsupportedImage
from emu_core.labels import CITYSCAPES
from emu_core.registry import Registry
from emu_core.runtime.perceiver import Perceiver
from emu_perception.node import checks
from emu_perception.node.outputs import Output


@pytest.fixture
def node():
    return FakeNode()


@pytest.fixture
def camera(node, model, monkeypatch):
    """A camera with a single output, whose message is made by the test's `camera.make`."""

    def make(frame):
        return camera.make(frame)

    registry = Registry("output topic")
    registry.add("test", Output(object, "", "", "", make))
    for module in ("camera", "outputs"):
        monkeypatch.setattr(f"emu_perception.node.{module}.OUTPUTS", registry)
    camera = make_camera(node, Perceiver(model, threads=1))
    camera.make = lambda frame: "message"
    return camera


def process(camera, frame_id="front"):
    message = rgb8(noise())
    message.header.frame_id = frame_id
    message.header.stamp.sec = 100
    camera.process(message, 0.0)
    return {kind: count for kind, count in camera.statistics.counts().items() if count}


@pytest.mark.parametrize(
    ("error", "outcome", "text", "logged"),
    [
        (UnsupportedImage("step", "step too small"), "refused", "step too small", "step"),
        (ZeroDivisionError("zero"), "failed", "ZeroDivisionError: zero", "Traceback"),
    ],
)
def test_an_error_is_logged_and_counted_and_does_not_affect_the_next_image(
    camera, node, error, outcome, text, logged
):
    camera.make = Mock(side_effect=error)
    for _ in range(2):
        process(camera)
    camera.make = lambda frame: "good"
    assert process(camera) == {outcome: 2, "processed": 1}
    assert node.published["~/test"] == ["good"]
    assert len(node.lines) == 1 and node.lines[0].startswith(f"image {outcome}: {logged}")
    assert camera.statistics.snapshot().last_error == f"image {outcome}: {text}"


def test_an_output_without_a_message_is_not_published(camera, node):
    camera.make = lambda frame: None
    assert process(camera) == {"processed": 1}
    assert node.published["~/test"] == []


def test_without_a_subscriber_nothing_is_computed(camera, node):
    node.subscribers = 0
    camera.make = Mock(side_effect=AssertionError)
    assert process(camera) == {"no_subscriber": 1}


def test_images_without_a_frame_id_are_processed_with_one_warning(camera, node):
    process(camera, frame_id="")
    assert process(camera, frame_id="") == {"processed": 2}
    assert len(node.lines) == 1 and "no frame_id" in node.lines[0]


def test_a_processed_image_has_its_durations_and_age(camera, node):
    node.now_s = 100.25
    camera.make = lambda frame: frame.perception and "message"
    process(camera)
    durations = camera.statistics.snapshot().durations_ms
    assert durations["age"] == (250.0, 250.0)
    assert 0 < durations["inference"][0] < durations["latency"][0]


def test_the_classes_are_published_before_the_first_mask(camera, node):
    names = node.published["~/semantic/label_info"]
    camera.make = lambda frame: len(names)
    process(camera)
    assert node.published["~/test"] == [1]
    assert labels.classes(names[0]) == dict(enumerate(CITYSCAPES.names))


# --- the outputs of the node


FOCAL, CENTER = 80.0, (31.5, 23.5)
ROWS, COLUMNS = np.mgrid[:48, :64]
RAYS = np.stack([(COLUMNS - CENTER[0]) / FOCAL, (ROWS - CENTER[1]) / FOCAL, ROWS**0], axis=-1)
RGB = noise()
MAPS = node_maps(RGB)


def lens(model="plumb_bob", d=(0.0,) * 5):
    message = pinhole(FOCAL)
    message.distortion_model, message.d = model, d
    return message


def outputs(camera, rgb, info=None):
    """The messages for an image, by topic."""
    published = camera._node.published
    for messages in published.values():
        messages.clear()
    if info is not None:
        camera.lens.update(info)
    camera.process(rgb8(rgb), 0.0)
    assert camera.statistics.counts()["failed"] == 0, camera.statistics.snapshot().last_error
    return {topic.removeprefix("~/"): sent[0] for topic, sent in published.items() if sent}


def test_the_lens_scales_depth_and_its_camera_info(node, model):
    camera = make_camera(node, Perceiver(model))
    large = np.repeat(np.repeat(RGB, 2, axis=0), 2, axis=1)  # twice the size of the network
    info = pinhole(240.0, 128, 96)
    info.d, info.p[3] = [0.1] * 5, -24
    made = outputs(camera, large, info)
    for topic, name in (("depth/image", "depth"), ("depth/uncertainty", "depth_std")):
        np.testing.assert_allclose(pixels(made[topic]), np.float32(1.2) * MAPS[name], rtol=1e-6)
    assert "camera 120 px vs canonical 100 px -> x1.200" in camera.lens.scale.text
    described = made["depth/camera_info"]
    assert (described.width, described.height) == (64, 48)
    assert described.k.tolist() == [120, 0, 31.5, 0, 120, 23.5, 0, 0, 1]
    assert described.p.tolist() == [120, 0, 31.5, -12, 0, 120, 23.5, 0, 0, 0, 1, 0]
    assert described.header == made["depth/image"].header
    cropped = outputs(camera, RGB[:20])
    assert "depth/image" in cropped and "depth/camera_info" not in cropped
    assert "scale unverified: camera_info is for a 128x96 image" in node.lines[-1]


def test_every_usable_pixel_has_the_position_of_its_depth_and_ray(node, model):
    made = outputs(make_camera(node, Perceiver(model)), RGB, lens())
    # The dummy's canonical focal length is 100 px, and this lens has 80.
    depth, std = 0.8 * MAPS["depth"], 0.8 * MAPS["depth_std"]
    usable = np.isfinite(depth) & (std <= 0.3 * depth)
    found = positions(made["points"])
    assert np.array_equal(np.isfinite(found).all(axis=-1), usable)
    expected = (RAYS * depth[..., None])[usable]
    np.testing.assert_allclose(found[usable], expected, rtol=1e-5, atol=1e-6)
    points = cloud_array(made["points"])
    assert np.array_equal(points["label"], pixels(made["semantic/image"]))
    assert np.array_equal(points["label_uncertainty"], MAPS["label_uncertainty"])
    assert made["points"].header == made["semantic/image"].header


def test_the_gate_follows_its_parameter_and_uncertain_classes_keep_their_positions(node, model):
    settings = {"unknown_above": 0.5, "max_depth_std_ratio": 0.1}
    made = outputs(make_camera(node, Perceiver(model), **settings), RGB, lens())
    usable = np.isfinite(MAPS["depth"]) & (MAPS["depth_std"] <= 0.1 * MAPS["depth"])
    found = np.isfinite(positions(made["points"])).all(axis=-1)
    assert np.mean(found != usable) < 0.005  # rounding may move a pixel across the limit
    assert (found & (pixels(made["semantic/image"]) == 19)).any()


def test_an_unknown_distortion_model_gives_no_points_but_the_other_outputs(node, model):
    camera = make_camera(node, Perceiver(model))
    made = outputs(camera, RGB, lens("fov", (0.9,)))
    assert "points" not in made and "depth/camera_info" in made
    assert "no points: unsupported distortion model 'fov'" in camera.lens.no_points
    assert "points" in outputs(camera, RGB, lens()) and camera.lens.no_points == ""


def test_the_maps_of_an_image_have_one_size_and_change_it_together(node, model):
    camera = make_camera(node, Perceiver(model, fit="letterbox"))
    # Of a 64x48 network, letterboxed: all of it, its middle rows, or its middle columns.
    for size in [(48, 64), (24, 64), (48, 16)] * 2:
        made = outputs(camera, noise(sum(size), *size))
        sizes = {(m.height, m.width) for topic, m in made.items() if hasattr(m, "height")}
        assert sizes == {size} and len(made) >= 7


def test_without_vision_msgs_neither_label_info_nor_points_are_published(node, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "vision_msgs.msg", None)
    made = outputs(make_camera(node, Perceiver(model)), RGB, lens())
    assert "semantic/image" in made and "points" not in made
    assert not {"~/points", "~/semantic/label_info"} & node.published.keys()
    status = checks.labels_status()
    assert status.level == checks.Level.ERROR
    assert "vision_msgs is not installed" in status.message
