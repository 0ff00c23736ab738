"""The node's parameters: some change at any time, the others only while it is unconfigured."""

import re

import cv2
import numpy as np
import pytest
from helpers.camera_rig import CameraRig, gray, noise, pixels, rgb8
from rclpy.parameter import Parameter

from emu_core.labels import CITYSCAPES
from emu_core.runtime.dummy_model import dummy_outputs
from emu_core.runtime.overlay import blend
from emu_perception.errors import UserError
from emu_perception.node.parameters import AT_START, ON_CONFIGURE, PARAMETERS


@pytest.fixture(scope="module")
def rig(domain, model):
    rig = CameraRig(domain, "/tuned", topics=["semantic/image", "overlay", "overlay/compressed"])
    with rig.node("-p", f"model:={model}"):
        rig.wait_for_outputs()
        yield rig


@pytest.mark.parametrize("alpha", [0.0, 1.0, 0.25])
def test_the_opacity_of_the_overlay_changes_with_the_next_image(rig, alpha):
    rgb = noise()
    assert rig.remote.set("overlay_alpha", alpha) == ""
    maps = dummy_outputs(rgb)
    expected = blend(rgb, maps["labels"], maps["label_uncertainty"], CITYSCAPES, alpha)
    assert np.array_equal(pixels(rig.process_image(rgb8(rgb))["overlay"]), expected[..., ::-1])


@pytest.mark.parametrize("quality", [10, 95])
def test_the_jpeg_quality_changes_with_the_next_image(rig, quality):
    assert rig.remote.set("jpeg_quality", quality) == ""
    outputs = rig.process_image(rgb8(noise()))
    overlay = np.ascontiguousarray(pixels(outputs["overlay"]))
    expected = cv2.imencode(".jpg", overlay, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    assert outputs["overlay/compressed"].data.tobytes() == expected.tobytes()


def test_max_rate_leaves_out_images_that_come_too_soon(rig):
    assert rig.remote.set("max_rate", 0.001) == ""
    rig.process_image(gray())
    for _ in range(5):
        rig.send(gray())
    rig.ros.wait_until(
        lambda: rig.remote.values("output").get("images limited") == "5", "five limited images"
    )
    assert rig.remote.set("max_rate", 0.0) == ""
    rig.process_image(gray())


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("overlay_alpha", 1.5, "out of range"),
        ("overlay_alpha", float("nan"), "out of range"),
        ("jpeg_quality", 0, "out of range"),
        ("jpeg_quality", 80.0, "expected .*INTEGER"),
        ("unknown_above", -0.1, "out of range"),
        ("max_rate", -1.0, "out of range"),
        ("max_depth_std_ratio", -1.0, "out of range"),
        ("provider", "quantum", "provider: expected one of auto, cpu, .*got 'quantum'"),
        ("autostart", False, "read-only"),
        ("cameras", ["front", "front"], "front is named twice"),
        ("cameras", ["left eye"], "'left eye' cannot be part of a topic"),
        ("cameras", "front", "expected .*STRING_ARRAY"),
        ("cameras", [0, 1], "expected .*STRING_ARRAY"),
        ("model", "other.onnx", "model: is read when the node configures: deactivate"),
        ("threads", 2, "threads: is read when the node configures"),
        ("ground_classes", ["road", "rod"], "ground_classes: .*no class 'rod', only road"),
        ("ignore_classes", ["road"], "'road' is in ground_classes and in ignore_classes"),
        ("dynamic_classes", "person", "Wrong parameter type, expected 'Type.STRING_ARRAY'"),
        ("probability_groups", ["free=rod"], "probability_groups: .*no class 'rod'"),
        ("stride", 0, "out of range"),
        ("doubtful_above", 1.1, "out of range"),
    ],
)
def test_a_wrong_value_is_refused_with_the_reason(rig, name, value, text):
    before = rig.remote.get(name)
    reason = rig.remote.set(name, value)
    assert re.search(text, reason), reason
    assert rig.remote.get(name) == before


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda parameter: parameter.name)
def test_a_parameter_is_described_with_its_range_and_when_it_changes(rig, parameter):
    described = rig.remote.describe(parameter.name)
    assert described.description == parameter.description
    assert described.read_only == (parameter.changes == AT_START)
    on_configure = "unconfigured" in described.additional_constraints
    assert on_configure == (parameter.changes == ON_CONFIGURE)
    if parameter.is_choice:
        assert ", ".join(parameter.allowed) in described.additional_constraints
    elif parameter.allowed:
        (limits,) = [*described.integer_range, *described.floating_point_range]
        assert (limits.from_value, limits.to_value) == parameter.allowed


@pytest.mark.parametrize(
    ("names", "valid"),
    [([], True), ([""], True), (["front", "rear"], True), (["front", ""], False)],
)
def test_a_launch_file_can_write_no_names_as_one_empty_name(names, valid):
    (cameras,) = (p for p in PARAMETERS if p.name == "cameras")
    assert (cameras.problem(names) == "") == valid


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        ("provider:=quantum", "expected one of auto, cpu"),
        ("provider:=tensorrt", "cannot be used"),
        ("threads:=many", "INTEGER"),
        ("ground_classes:=[rod]", "parameter ground_classes: .*no class 'rod'"),
        ("ground_classes:=rod", "ground_classes: .*write a list of names, such as"),
        ("probability_groups:=['a=rod']", "probability_groups: .*no class 'rod'"),
        ("overlay_alpha:=7.0", "overlay_alpha"),
        ("max_rate:=10", "parameter max_rate: .*write 10.0, not 10"),
        ("model:=~no_such_user/m.onnx", "no model file at ~no_such_user/m.onnx"),
        ("qos_overrides./emu_perception/depth/image.publisher.reliability:=perfect", "perfect"),
        ("qos_overrides./emu_perception/depth/image.publisher.depth:=perfect", "depth.*perfect"),
        ("qos_overrides./image.subscription.durability:=perfect", "durability.*perfect"),
        ("qos_overrides./image.subscription.reliability:=perfect", "expected one of automatic"),
        ("qos_overrides./image.subscription.reliability:=1", "reliability.*1"),
        ("qos_overrides./diagnostics.publisher.reliability:=perfect", "reliability.*perfect"),
        ("qos_overrides./diagnostics.publisher.depth:=perfect", "depth.*perfect"),
    ],
)
def test_a_wrong_parameter_is_a_mistake_that_names_it(make_node, parameter, text):
    with pytest.raises(UserError, match=text):
        make_node("-p", parameter).bring_up()


def test_every_publisher_and_subscription_has_its_qos_overrides(make_node):
    overrides = {
        "/emu_perception/depth/image.publisher.depth": 17,
        "/emu_perception/semantic/image.publisher.reliability": "best_effort",
        "/image.subscription.depth": 3,
        "/camera_info.subscription.reliability": "best_effort",
        "/diagnostics.publisher.depth": 4,
    }
    node = make_node(*(a for k, v in overrides.items() for a in ("-p", f"qos_overrides.{k}:={v}")))
    node.bring_up()
    for name, value in overrides.items():
        assert node.get_parameter(f"qos_overrides.{name}").value == value
    qos = {p.topic_name: p.qos_profile for p in (*node.publishers, *node.subscriptions)}
    assert qos["/emu_perception/depth/image"].depth == 17
    assert qos["/emu_perception/semantic/image"].reliability.name == "BEST_EFFORT"
    assert qos["/image"].depth == 3
    assert qos["/camera_info"].reliability.name == "BEST_EFFORT"


def test_names_of_classes_change_at_any_time(rig):
    for names in (["road"], [""], ["road", "sidewalk", "terrain"]):
        assert rig.remote.set("ground_classes", names) == ""
        assert rig.remote.get("ground_classes") == names


def test_names_are_checked_again_when_the_node_configures(make_node):
    node = make_node()
    assert node.set_parameters([Parameter("ground_classes", value=["rod"])])[0].successful
    with pytest.raises(UserError, match=r"cannot configure: parameter ground_classes: .*'rod'"):
        node.bring_up()
    assert node.set_parameters([Parameter("ground_classes", value=["road"])])[0].successful
    node.bring_up()


def test_cameras_change_only_while_the_node_is_unconfigured(make_node):
    node = make_node()
    front, rear = (Parameter("cameras", value=[name]) for name in ("front", "rear"))
    assert node.set_parameters([front])[0].successful
    node.bring_up()
    assert "deactivate" in node.set_parameters([rear])[0].reason
    assert "/front/image" in {s.topic_name for s in node.subscriptions}
