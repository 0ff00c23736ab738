"""Parameters while the node runs: some change at once, the others say why they do not."""

import re

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")
pytest.importorskip("onnx", reason="needs onnx, to make a model file")

from helpers.camera_rig import CameraRig, counts, image_message, picture, pixels
from helpers.remote import Remote
from helpers.ros_processes import ChildProcess, module

from emu_core.labels import CITYSCAPES
from emu_core.runtime.dummy_model import dummy_outputs
from emu_core.runtime.overlay import blend
from emu_perception.node.parameters import ANY_TIME, AT_START, ON_CONFIGURE, PARAMETERS, Settings


@pytest.fixture(scope="module")
def rig(domain, model):
    rig = CameraRig(domain, "/tuned", topics=["semantic/image", "overlay", "overlay/compressed"])
    with rig.node("-p", f"model:={model}"):
        rig.remote = Remote(rig.ros, "/tuned/emu_perception")
        rig.wait_for_answers()
        yield rig


@pytest.mark.parametrize("alpha", [0.0, 1.0, 0.25])
def test_the_overlay_s_opacity_changes_with_the_next_frame(rig, alpha):
    rgb, message = picture()
    assert rig.remote.set("overlay_alpha", alpha) == ""
    seen = dummy_outputs(rgb)
    expected = blend(rgb, seen["labels"], seen["label_uncertainty"], CITYSCAPES, alpha)
    assert np.array_equal(pixels(rig.ask(message)["overlay"]), expected[..., ::-1])


def test_the_jpegs_quality_changes_with_the_next_frame(rig):
    message = picture()[1]
    for quality in (10, 95):
        assert rig.remote.set("jpeg_quality", quality) == ""
        answers = rig.ask(message)
        overlay = np.ascontiguousarray(pixels(answers["overlay"]))
        expected = cv2.imencode(".jpg", overlay, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        assert answers["overlay/compressed"].data.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("overlay_alpha", 1.5, "out of range"),
        ("overlay_alpha", float("nan"), "out of range"),
        ("jpeg_quality", 0, "out of range"),
        ("jpeg_quality", 80.0, "expected .*INTEGER"),
        ("unknown_above", -0.1, "out of range"),
        ("max_rate", -1.0, "out of range"),
        ("max_depth_std_ratio", -1.0, "out of range"),
        ("provider", "quantum", "provider: expected one of cpu, .*got 'quantum'"),
        ("autostart", False, "read-only"),
        ("cameras", ["front", "front"], "front is named twice"),
        ("cameras", ["left eye"], "'left eye' is no name for a topic"),
        ("cameras", "front", "expected a list of names"),
        ("model", "other.onnx", "model: read when the node configures: deactivate"),
        ("threads", 2, "threads: read when the node configures"),
    ],
)
def test_what_cannot_be_set_is_refused_with_the_reason_and_stays(rig, name, value, said):
    before = rig.remote.get(name)
    reason = rig.remote.set(name, value)
    assert re.search(said, reason), reason
    assert rig.remote.get(name) == before
    rig.ask(picture()[1])


def test_every_parameter_is_described_with_its_range_and_when_it_changes(rig):
    for parameter in PARAMETERS:
        described = rig.remote.describe(parameter.name)
        assert described.description == parameter.meaning
        assert described.read_only == (parameter.changes == AT_START)
        assert ("unconfigured" in described.additional_constraints) == (
            parameter.changes == ON_CONFIGURE
        )
        if parameter.is_choice:
            assert ", ".join(parameter.allowed) in described.additional_constraints
        elif parameter.allowed:
            (limits,) = [*described.integer_range, *described.floating_point_range]
            assert (limits.from_value, limits.to_value) == parameter.allowed


def test_settings_are_the_parameters_that_may_change_at_any_time_with_their_defaults():
    table = {p.name: p.default for p in PARAMETERS if p.changes == ANY_TIME}
    assert vars(Settings()) == table


def test_one_empty_name_stands_for_no_names_as_launch_files_cannot_write_an_empty_list():
    (cameras,) = (p for p in PARAMETERS if p.name == "cameras")
    assert [cameras.problem(given) for given in ([], [""], ["front", "rear"])] == ["", "", ""]
    assert cameras.problem(["front", ""])


def test_a_limited_rate_leaves_out_what_comes_too_soon(domain, model):
    rig = CameraRig(domain, "/limited", topics=["semantic/image"])
    with rig.node("-p", f"model:={model}") as process:
        remote = Remote(rig.ros, "/limited/emu_perception")
        rig.wait_for_answers()
        message = image_message("mono8", 8, 8, bytes(64))
        assert remote.set("max_rate", 0.001) == ""
        rig.ask(message)
        for _ in range(5):
            rig.send(message)
        rig.ros.wait_until(
            lambda: remote.values("answers").get("images limited") == "5", "five frames left out"
        )
        assert remote.set("max_rate", 0.0) == ""
        rig.ask(message)
        assert process.stop() == 0
    assert counts(process)["limited"] == 5


def test_a_whole_number_for_a_fraction_is_refused_with_advice(domain, model):
    process = ChildProcess(
        *module("node", "--ros-args", "-p", f"model:={model}", "-p", "max_rate:=10"), domain=domain
    )
    assert process.wait() == 1
    assert "parameter max_rate" in process.output and "write 10.0, not 10" in process.output


def test_every_publisher_and_subscription_has_its_qos_overrides(domain, model):
    rig = CameraRig(domain, "/qos", topics=[])
    overrides = {
        "/qos/emu_perception/depth/image.publisher.depth": 17,
        "/qos/emu_perception/semantic/image.publisher.reliability": "best_effort",
        "/qos/image.subscription.depth": 3,
        "/qos/camera_info.subscription.reliability": "best_effort",
        "/diagnostics.publisher.depth": 4,
    }
    parameters = [a for k, v in overrides.items() for a in ("-p", f"qos_overrides.{k}:={v}")]
    with rig.node("-p", f"model:={model}", *parameters):
        remote = Remote(rig.ros, "/qos/emu_perception")
        for name, value in overrides.items():
            assert remote.get(f"qos_overrides.{name}") == value
        mask = "/qos/emu_perception/semantic/image"
        rig.ros.wait_until(lambda: rig.ros.node.get_publishers_info_by_topic(mask), "the mask")
        (info,) = rig.ros.node.get_publishers_info_by_topic(mask)
        assert info.qos_profile.reliability.name == "BEST_EFFORT"


@pytest.mark.parametrize(
    ("wrong", "value"),
    [
        ("/wrong/emu_perception/depth/image.publisher.reliability", "perfect"),
        ("/wrong/emu_perception/depth/image.publisher.depth", "perfect"),
        ("/wrong/image.subscription.durability", "perfect"),
        ("/wrong/image.subscription.reliability", "perfect"),
        ("/wrong/image.subscription.reliability", "1"),
        ("/diagnostics.publisher.reliability", "perfect"),
        ("/diagnostics.publisher.depth", "perfect"),
    ],
)
def test_a_wrong_qos_override_ends_the_start_with_one_line(domain, model, wrong, value):
    process = ChildProcess(
        *module("node", "--ros-args", "-r", "__ns:=/wrong", "-p", f"model:={model}"),
        *("-p", f"qos_overrides.{wrong}:={value}"),
        domain=domain,
    )
    assert process.wait() == 1
    (line,) = [x for x in process.output.splitlines() if x.startswith("emu_node: ")]
    assert value in line and wrong.rpartition(".")[2] in line
    assert "Traceback" not in process.output


def test_cameras_cannot_be_changed_while_configured_but_can_before(domain, model):
    rig = CameraRig(domain, "/renamed", topics=["semantic/image"], camera="front")
    parameters = ("-p", f"model:={model}", "-p", "autostart:=false")
    with rig.node(*parameters):
        remote = Remote(rig.ros, "/renamed/emu_perception")
        assert remote.set("cameras", ["front"]) == ""
        assert remote.change("configure")
        assert "deactivate" in remote.set("cameras", ["rear"])
        assert remote.change("activate")
        rig.wait_for_answers()
