"""The classes are told before the first mask, to late readers too, and whenever they change."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")
pytest.importorskip("onnx", reason="needs onnx, to make a model file")

from diagnostic_msgs.msg import DiagnosticStatus
from helpers import labels
from helpers.camera_rig import CameraRig, image_message, picture, pixels
from helpers.remote import Remote
from rclpy.qos import DurabilityPolicy, QoSProfile

from emu_core.labels import CITYSCAPES, IGNORE, ClassTable
from emu_core.runtime.dummy_model import dummy_outputs
from emu_perception.node import label_info

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
NAMES = dict(enumerate(CITYSCAPES.names))


class Planner:
    """Reads label_info; `arrived` has the classes of each message."""

    def __init__(self, rig):
        self.rig, self.arrived = rig, []
        rig.ros.node.create_subscription(
            labels.label_info_type(),
            f"{rig.namespace}/emu_perception/semantic/label_info",
            lambda message: self.arrived.append(labels.classes(message)),
            LATCHED,
        )

    def wait_for_classes(self, wanted):
        self.rig.ros.wait_until(
            lambda: self.arrived and self.arrived[-1] == wanted, "the classes on label_info"
        )


@pytest.fixture(scope="module")
def rig(domain, model):
    rig = CameraRig(domain, "/labelled", topics=["semantic/image", "semantic/confidence"])
    with rig.node("-p", f"model:={model}", **labels.with_vision_msgs()):
        rig.remote = Remote(rig.ros, "/labelled/emu_perception")
        rig.wait_for_answers()
        yield rig


def test_a_late_reader_still_gets_every_class(rig):
    planner = Planner(rig)
    planner.wait_for_classes(NAMES)
    assert IGNORE not in planner.arrived[-1]
    rig.remote.wait_for_status("labels", DiagnosticStatus.OK)


def test_the_classes_are_told_again_on_every_activation_and_before_any_mask(rig):
    planner = Planner(rig)
    planner.wait_for_classes(NAMES)
    for count in (2, 3):
        assert rig.remote.change("deactivate") and rig.remote.change("activate")
        rig.ros.wait_until(lambda count=count: len(planner.arrived) >= count, "the classes again")
    rig.wait_for_answers()
    assert planner.arrived == [NAMES] * 3


def test_a_planner_that_waited_gets_the_classes_before_the_first_mask(domain, model):
    rig = CameraRig(domain, "/planned", topics=[])
    order = []
    node = "/planned/emu_perception"
    rig.ros.node.create_subscription(
        labels.label_info_type(), f"{node}/semantic/label_info", lambda m: order.append("i"), 1
    )
    rig.ros.node.create_subscription(
        type(image_message("mono8", 1, 1, b"0")),
        f"{node}/semantic/image",
        lambda m: order.append("m"),
        10,
    )
    parameters = ("-p", f"model:={model}", "-p", "autostart:=false")
    with rig.node(*parameters, **labels.with_vision_msgs()):
        remote = Remote(rig.ros, node)
        assert remote.change("configure")
        for topic in ("semantic/label_info", "semantic/image"):
            rig.ros.wait_until(
                lambda topic=topic: rig.ros.node.count_publishers(f"{node}/{topic}") == 1, topic
            )
        assert order == [], "nothing is told before the node is active"
        assert remote.change("activate")
        rig.wait_for_node()
        rig.ros.wait_until(lambda: rig.send(picture()[1]) and "m" in order, "a mask")
    assert order[0] == "i" and order.count("i") == 1


def test_doubtful_pixels_become_unknown_once_that_class_was_told(rig):
    planner = Planner(rig)
    planner.wait_for_classes(NAMES)
    rgb, message = picture()
    expected = dummy_outputs(rgb)
    sure = rig.ask(message)
    assert np.array_equal(pixels(sure["semantic/image"]), expected["labels"])
    assert rig.remote.set("unknown_above", 0.6) == ""
    doubtful = rig.ask(message)
    planner.wait_for_classes({**NAMES, 19: "unknown"})
    mask = pixels(doubtful["semantic/image"])
    # The dummy's uncertainty is G / 255.
    assert np.array_equal(mask == 19, rgb[..., 1] > 0.6 * 255)
    assert np.array_equal(mask[mask != 19], expected["labels"][mask != 19])
    confidence = pixels(doubtful["semantic/confidence"])
    assert np.array_equal(confidence, 255 - rgb[..., 1]), "doubt travels as confidence, too"
    for off in (1.0, 0.0):
        assert rig.remote.set("unknown_above", off) == ""
        again = rig.ask(message)
        assert np.array_equal(pixels(again["semantic/image"]), expected["labels"])
        planner.wait_for_classes(NAMES)
    assert len(planner.arrived) == 3, "told when they change, not with every frame"


def test_without_vision_msgs_there_is_no_label_info_and_an_error_names_it(domain, model, tmp_path):
    rig = CameraRig(domain, "/unlabelled", topics=["semantic/image"])
    with rig.node("-p", f"model:={model}", **labels.without_vision_msgs(tmp_path)):
        remote = Remote(rig.ros, "/unlabelled/emu_perception")
        rig.wait_for_answers()
        remote.wait_for_status("labels", DiagnosticStatus.ERROR, "vision_msgs is missing")
        topics = dict(rig.ros.node.get_topic_names_and_types())
        ours = {topic for topic in topics if topic.startswith("/unlabelled/emu_perception/")}
        assert "/unlabelled/emu_perception/semantic/image" in ours
        assert not any(topic.endswith(("label_info", "points")) for topic in ours)


@pytest.mark.skipif(
    not labels.INSTALLED, reason="needs vision_msgs, of which there is no wheel; see stand_ins"
)
def test_the_installed_message_takes_every_class():
    message = label_info.message(CITYSCAPES, with_unknown=True)
    assert labels.classes(message) == {**NAMES, 19: "unknown"}


def test_no_id_is_left_for_unknown_where_classes_take_them_all():
    def table(count):
        return ClassTable("many", ("a",) * count, (0,) * count, ((0, 0, 0),) * count, None)

    assert label_info.unknown_id(table(254)) == 254
    assert label_info.unknown_id(table(255)) is None
