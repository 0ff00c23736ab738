"""The node's images, read by the rules of nvblox, elevation_mapping_cupy, Hydra and rtabmap."""

import sys
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")

from helpers.camera_rig import node_maps, noise, pinhole, rgb8
from helpers.clouds import positions
from helpers.fake_node import FakeNode, make_camera
from helpers.labels import label_info_type
from helpers.planners import images

from emu_core.labels import CITYSCAPES
from emu_core.runtime.dummy_model import make_dummy_model
from emu_core.runtime.perceiver import Perceiver
from emu_perception.node.outputs import OUTPUTS, describe_missing

RGB = noise(5)
MAPS = node_maps(RGB)
DYNAMIC = range(11, 19)
"""Cityscapes' persons and vehicles."""


@pytest.fixture(scope="module")
def with_logits(models):
    return make_dummy_model(models / "logits.onnx", (48, 64), logits=True)


def outputs(model, rgb=RGB, info=None, **settings):
    """All messages for an image, by topic."""
    node = FakeNode()
    camera = make_camera(node, Perceiver(model, threads=1), **settings)
    camera.lens.update(info or pinhole(100.0, rgb.shape[1], rgb.shape[0]))
    message = rgb8(rgb)
    message.header.frame_id, message.header.stamp.sec = "front", 7
    camera.process(message, 0.0)
    assert camera.statistics.counts()["failed"] == 0, camera.statistics.snapshot().last_error
    return {topic.removeprefix("~/"): sent[0] for topic, sent in node.published.items() if sent}


def millimetres(metres):
    usable = np.isfinite(metres)
    return np.where(usable, np.round(np.where(usable, metres, 0) * 1000) / 1000, 0)


@pytest.mark.parametrize("depth", ["depth/image", "depth/image_16uc1"])
def test_nvblox_separates_dynamic_things(model, depth):
    made = outputs(model)
    static, dynamic = images.nvblox(
        *(made[t] for t in (depth, "depth/camera_info")),
        *(made[t] for t in ("semantic/dynamic_mask", "semantic/camera_info")),
    )
    metres = millimetres(MAPS["depth"])
    masked = np.isin(MAPS["labels"], DYNAMIC)
    assert masked.any() and np.allclose(static, np.where(masked, 0, metres), atol=6e-4)
    assert np.allclose(dynamic, np.where(masked, metres, 0), atol=6e-4)
    assert set(images.cv_image(made["semantic/dynamic_mask"]).ravel()) == {0, 255}


def test_the_mask_has_the_classes_of_the_parameter(model):
    made = outputs(model, dynamic_classes=["sky", "Traffic-Light"])
    expected = np.isin(MAPS["labels"], [10, 6])
    assert np.array_equal(images.cv_image(made["semantic/dynamic_mask"]) > 0, expected)


@pytest.mark.parametrize("size", [(48, 64), (96, 128), (60, 200)])
@pytest.mark.parametrize("depth", ["depth/image", "depth/image_16uc1"])
def test_rtabmap_gets_colours_depth_and_camera_info_of_one_size(model, size, depth):
    rgb = noise(6, *size)
    made = outputs(model, rgb)
    images.rgbd(made["depth/rgb"], made[depth], made["depth/camera_info"])
    shrinks = size[0] >= 48 and size[1] >= 64
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    expected = cv2.resize(rgb, (64, 48), interpolation=how)
    assert np.array_equal(images.cv_image(made["depth/rgb"]), expected)


def test_millimetres_have_no_value_beyond_their_range(model):
    made = outputs(model, info=pinhole(150.0))  # depth is 1.5 times that of the canonical lens
    metres = 1.5 * MAPS["depth"].astype(np.float64)
    mm = images.cv_image(made["depth/image_16uc1"])
    inside = np.isfinite(metres) & (metres < 65.535)
    assert (metres[np.isfinite(metres)] > 66).any() and (mm[~inside] == 0).all()
    assert np.abs(mm[inside] - 1000 * metres[inside]).max() <= 0.51


def test_hydra_gets_signed_labels(model):
    made = outputs(model)
    colors, metres, labels = images.hydra(
        made["depth/rgb"], made["depth/image"], made["semantic/image_16sc1"]
    )
    assert np.array_equal(labels, MAPS["labels"]) and np.array_equal(colors, RGB)
    assert np.array_equal(metres, MAPS["depth"], equal_nan=True)


def softmax(logits):
    exp = np.exp(logits - logits.max(axis=0))
    return exp / exp.sum(axis=0)


def test_elevation_mapping_gets_the_probability_of_each_group(with_logits):
    groups = {"drivable": [0, 1], "person": [11]}
    names = ["drivable=road,sidewalk", "person"]
    made = outputs(with_logits, probability_groups=names)
    image = made["semantic/probabilities"]
    assert image.encoding == "32FC2"
    layers = images.elevation_mapping(image, made["semantic/camera_info"], list(groups))
    red = RGB[..., 0].astype(np.float64)
    expected = softmax(np.stack([-((red + i) % 19) / 2 for i in range(19)]))
    for name, ids in groups.items():
        assert np.allclose(layers[name], expected[ids].sum(axis=0), atol=1e-5)


def test_by_default_every_class_is_a_channel_and_they_sum_to_one(with_logits):
    made = outputs(with_logits)
    image = made["semantic/probabilities"]
    layers = images.elevation_mapping(image, made["semantic/camera_info"], CITYSCAPES.names)
    assert image.encoding == "32FC19" and np.allclose(sum(layers.values()), 1, atol=1e-5)
    # The other outputs of such a model are the same.
    assert np.array_equal(images.cv_image(made["semantic/image"]), MAPS["labels"])


def test_without_logits_the_diagnostics_say_why_there_are_no_probabilities(model):
    made, info = outputs(model), Perceiver(model).info
    assert "semantic/probabilities" not in made
    assert "the model has no logits, so these topics are not published: semantic/prob" in (
        describe_missing(info, with_optional=True)
    )
    assert describe_missing(info) == ""  # which would be a line in the log


def test_channel_info_names_the_channels_where_its_package_is_installed(with_logits, monkeypatch):
    info = Perceiver(with_logits).info
    if not OUTPUTS["semantic/channel_info"].missing:
        pytest.skip("elevation_map_msgs is installed")
    assert describe_missing(info, with_optional=True) == (
        "elevation_map_msgs is not installed, so these topics are not published: "
        "semantic/channel_info"
    )
    package = ModuleType("elevation_map_msgs.msg")
    package.ChannelInfo = SimpleNamespace
    monkeypatch.setitem(sys.modules, "elevation_map_msgs", ModuleType("elevation_map_msgs"))
    monkeypatch.setitem(sys.modules, "elevation_map_msgs.msg", package)
    from importlib import reload

    from emu_perception.node import channel_info

    try:
        assert reload(channel_info).MISSING == ""
        message = channel_info.message(["road", "person"], "header")
        assert (message.header, message.channels) == ("header", ["road", "person"])
    finally:
        monkeypatch.undo()
        reload(channel_info)


# --- the sky


def test_only_a_certain_sky_is_beyond_the_range(model):
    rgb = RGB.copy()
    rgb[:20, :, 0], rgb[:20, :, 2] = 10 * 16, 255  # sky, of infinite depth
    rgb[:10, :, 1], rgb[10:20, :, 1] = 12, 13  # an uncertainty of 0.047, or 0.051
    made = outputs(model, rgb)
    depth, std = (images.cv_image(made[t]) for t in ("depth/image", "depth/uncertainty"))
    assert np.isposinf(depth[:10]).all() and np.isposinf(std[:10]).all()
    assert np.isnan(depth[10:20]).all() and np.isnan(std[10:20]).all()
    made = outputs(model, rgb, doubtful_above=0.06)
    assert np.isposinf(images.cv_image(made["depth/image"])[:20]).all()
    # A sky that is called unknown is not certain either.
    made = outputs(model, rgb, doubtful_above=1.0, unknown_above=0.05)
    depth = images.cv_image(made["depth/image"])
    assert np.isposinf(depth[:10]).all() and np.isnan(depth[10:20]).all()


def test_a_doubtful_sky_keeps_the_estimate_of_the_model(model):
    rgb = RGB.copy()
    rgb[:20] = 10 * 16, 13, 100  # sky of finite depth, with an uncertainty of 0.051
    expected = node_maps(rgb)
    for limit in (0.0, 0.05):
        made = outputs(model, rgb, doubtful_above=limit)
        for topic, name in (("depth/image", "depth"), ("depth/uncertainty", "depth_std")):
            found = images.cv_image(made[topic])[:20]
            np.testing.assert_array_equal(found, expected[name][:20])
            assert np.isfinite(found).all()
    for topic in ("depth/image", "depth/uncertainty"):
        found = images.cv_image(outputs(model, rgb, doubtful_above=0.06)[topic])
        assert np.isposinf(found[:20]).all()


def test_what_is_out_of_range_but_no_sky_stays_infinite(model):
    rgb = RGB.copy()
    rgb[:20, :, 0], rgb[:20, :, 1:] = 2 * 16, 255  # a building of infinite depth, uncertain
    assert np.isposinf(images.cv_image(outputs(model, rgb)["depth/image"])[:20]).all()


# --- the clouds


@pytest.mark.parametrize("stride", [1, 2, 5])
def test_with_a_stride_all_clouds_have_every_nth_row_and_column(model, stride):
    assert label_info_type()  # without vision_msgs or its stand-in, there would be no ~/points
    every, some = outputs(model), outputs(model, stride=stride)
    for topic in ("points", "obstacles", "ground"):
        expected = positions(every[topic])[::stride, ::stride]
        if topic != "points":  # a plane needs enough points, which noise does not have
            assert expected.shape == positions(some[topic]).shape
        assert np.array_equal(positions(some[topic]), expected, equal_nan=True), topic
    assert positions(some["clearing"]).shape == expected.shape
    assert {m.header.frame_id for m in some.values() if hasattr(m, "header")} == {"front"}
    assert (some["semantic/image"].height, some["semantic/image"].width) == (48, 64)


def test_without_camera_info_there_are_no_clouds_but_masks(model):
    node = FakeNode()
    camera = make_camera(node, Perceiver(model, threads=1))
    camera.process(rgb8(RGB), 0.0)
    sent = {topic.removeprefix("~/") for topic, messages in node.published.items() if messages}
    assert {"semantic/dynamic_mask", "depth/rgb", "depth/image_16uc1"} <= sent
    assert not {"obstacles", "ground", "clearing", "semantic/camera_info"} & sent


@pytest.mark.parametrize(
    ("has", "absent"),
    [
        (
            ["labels", "label_uncertainty"],
            {"obstacles", "ground", "clearing", "depth/image_16uc1"},
        ),
        (["depth", "depth_std"], {"obstacles", "clearing", "semantic/dynamic_mask"}),
        (["labels", "label_uncertainty", "depth"], {"clearing"}),
    ],
)
def test_a_model_without_a_map_has_no_topics_that_need_it(models, has, absent):
    model = make_dummy_model(models / f"{'_'.join(has)}.onnx", (48, 64), outputs=has)
    made = outputs(model)
    assert not absent & made.keys() and ("depth/rgb" in made) == ("depth" in has)
    if len(has) == 3:
        assert {"obstacles", "ground"} <= made.keys()
