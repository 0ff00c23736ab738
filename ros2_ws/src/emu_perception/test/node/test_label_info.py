"""label_info: published before the first mask, also for late subscribers, and after changes."""

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from helpers import labels
from helpers.camera_rig import CameraRig, noise, pixels, rgb8
from helpers.remote import OK
from rclpy.qos import DurabilityPolicy, QoSProfile

from emu_core.labels import CITYSCAPES, IGNORE, ClassTable, class_table
from emu_core.runtime.dummy_model import dummy_outputs, make_dummy_model
from emu_perception.node import label_info

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
NAMES = dict(enumerate(CITYSCAPES.names))


class Planner:
    """A subscription to label_info; `received` has the classes of each message."""

    def __init__(self, rig):
        self.rig, self.received = rig, []
        rig.ros.node.create_subscription(
            labels.label_info_type(),
            f"{rig.namespace}/emu_perception/semantic/label_info",
            self.receive,
            LATCHED,
        )

    def receive(self, message):
        self.received.append(labels.classes(message))
        age_ns = self.rig.ros.node.get_clock().now().nanoseconds - labels.time_ns(message)
        assert 0 <= age_ns < 100 * 10**9, "the stamp is the time of publishing"

    def wait_for_classes(self, wanted):
        self.rig.ros.wait_until(
            lambda: self.received and self.received[-1] == wanted, "the classes on label_info"
        )


@pytest.fixture(scope="module")
def rig(domain, model):
    """A rig with `first`, a planner that subscribed before the node was active."""
    rig = CameraRig(domain, "/labelled", topics=["semantic/image", "semantic/confidence"])
    rig.first = Planner(rig)
    parameters = ("-p", f"model:={model}", "-p", "autostart:=false")
    with rig.node(*parameters, **labels.with_vision_msgs()):
        assert rig.remote.change("configure")
        for topic in ("semantic/label_info", "semantic/image"):
            name = f"/labelled/emu_perception/{topic}"
            rig.ros.wait_until(lambda name=name: rig.ros.node.count_publishers(name) == 1, topic)
        assert not rig.first.received, "nothing is published before the node is active"
        assert rig.remote.change("activate")
        rig.first.wait_for_classes(NAMES)  # although there is no image yet
        rig.wait_for_outputs()
        yield rig


def test_a_waiting_planner_gets_every_class_once_and_before_the_first_mask(rig):
    assert rig.first.received == [NAMES] and IGNORE not in NAMES


def test_a_late_subscriber_gets_the_classes_and_again_on_every_activation(rig):
    planner = Planner(rig)
    planner.wait_for_classes(NAMES)
    rig.remote.wait_for_status("labels", OK)
    for count in (2, 3):
        assert rig.remote.change("deactivate") and rig.remote.change("activate")
        rig.ros.wait_until(lambda count=count: len(planner.received) >= count, "the classes again")
    rig.wait_for_outputs()
    assert planner.received == [NAMES] * 3


def test_uncertain_pixels_become_unknown_after_that_class_was_published(rig):
    planner = Planner(rig)
    planner.wait_for_classes(NAMES)
    rgb = noise()
    expected = dummy_outputs(rgb)["labels"]
    assert np.array_equal(pixels(rig.process_image(rgb8(rgb))["semantic/image"]), expected)
    assert rig.remote.set("unknown_above", 0.6) == ""
    outputs = rig.process_image(rgb8(rgb))
    planner.wait_for_classes({**NAMES, 19: "unknown"})
    mask = pixels(outputs["semantic/image"])
    # The dummy's uncertainty is G / 255.
    assert np.array_equal(mask == 19, rgb[..., 1] > 0.6 * 255)
    assert np.array_equal(mask[mask != 19], expected[mask != 19])
    assert np.array_equal(pixels(outputs["semantic/confidence"]), 255 - rgb[..., 1])
    for off in (1.0, 0.0):
        assert rig.remote.set("unknown_above", off) == ""
        assert np.array_equal(pixels(rig.process_image(rgb8(rgb))["semantic/image"]), expected)
        planner.wait_for_classes(NAMES)
    assert len(planner.received) == 3, "published on changes, not with every image"


def test_own_classes_have_their_names_and_colours(domain, models):
    classes = ["ground", {"name": "tree", "color": [9, 200, 30]}, "sky"]
    table = class_table({"name": "orchard", "classes": classes}, "orchard.yaml")
    model = make_dummy_model(models / "own.onnx", (48, 64), classes=table)
    rig = CameraRig(domain, "/own", topics=["semantic/image", "overlay"])
    planner, rgb = Planner(rig), noise()
    rgb[..., 1] = 0  # all pixels are certain
    settings = ("-p", f"model:={model}", "-p", "overlay_alpha:=1.0", "-p", "unknown_above:=0.5")
    with rig.node(*settings, **labels.with_vision_msgs()):
        planner.wait_for_classes({0: "ground", 1: "tree", 2: "sky", 3: "unknown"})
        rig.wait_for_outputs()
        outputs = rig.process_image(rgb8(rgb))
    mask = pixels(outputs["semantic/image"])
    assert np.array_equal(mask, rgb[..., 0] // 16 % 3)  # the dummy's label
    # VOC's first and third colour, and the given one.
    colors = np.array([(128, 0, 0), (9, 200, 30), (128, 128, 0)], np.uint8)
    assert np.array_equal(pixels(outputs["overlay"])[..., ::-1], colors[mask])


@pytest.mark.skipif(not labels.INSTALLED, reason="needs vision_msgs, which has no wheel")
def test_the_installed_message_has_every_class():
    message = label_info.message(CITYSCAPES, with_unknown=True, stamp=Time(sec=7, nanosec=8))
    assert labels.classes(message) == {**NAMES, 19: "unknown"}
    assert labels.time_ns(message) == 7_000_000_008


@pytest.mark.parametrize(("count", "unknown"), [(254, 254), (255, None)])
def test_the_id_of_unknown_is_the_next_free_one(count, unknown):
    table = ClassTable("many", ("a",) * count, (0,) * count, ((0, 0, 0),) * count, None)
    assert label_info.unknown_id(table) == unknown
