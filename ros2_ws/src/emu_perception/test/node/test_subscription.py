"""Subscriptions take the QoS that their publishers offer, whole."""

import time

import pytest
from helpers.camera_rig import BEST_EFFORT, RELIABLE, CameraRig, gray, noise, pinhole, rgb8
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo

TRANSIENT_LOCAL, VOLATILE = DurabilityPolicy.TRANSIENT_LOCAL, DurabilityPolicy.VOLATILE
DURABILITY = "qos_overrides.{}.subscription.durability"


@pytest.mark.parametrize("fixed", [False, True], ids=["followed", "fixed"])
def test_a_camera_info_that_was_latched_before_the_start_is_used(domain, model, fixed):
    name = f"/latched{fixed:d}"
    rig = CameraRig(domain, name, topics=["depth/image", "depth/camera_info"])
    publisher = rig.ros.node.create_publisher(
        CameraInfo, f"{name}/camera_info", QoSProfile(depth=1, durability=TRANSIENT_LOCAL)
    )
    publisher.publish(pinhole(80.0))
    override = f"{DURABILITY.format(f'{name}/camera_info')}:=transient_local"
    with rig.node("-p", f"model:={model}", *(["-p", override] if fixed else [])) as process:
        rig.wait_for_outputs(rgb8(noise()))
        assert rig.process_image(rgb8(noise()))["depth/camera_info"].k[0] == 80
        assert "scale unverified" not in process.output
        assert ("subscribed again as transient local" in process.output) != fixed


def test_an_image_that_was_latched_before_the_start_is_processed(domain, model):
    rig = CameraRig(domain, "/still", topics=["depth/image"])
    rig.replace_camera(RELIABLE, durability=TRANSIENT_LOCAL)
    stamp = rig.send(gray())
    with rig.node("-p", f"model:={model}") as process:
        rig.ros.wait_until(lambda: rig.complete(stamp), "the depth of the latched image")
        rig.replace_camera(BEST_EFFORT, durability=VOLATILE)
        process.wait_for_line("subscribed again as best effort and volatile")
        rig.wait_for_outputs()


def test_volatile_publishers_beside_latched_ones_are_received(domain, make_node):
    rig = CameraRig(domain, "", topics=[], offers=RELIABLE)
    rig.replace_camera(RELIABLE, durability=TRANSIENT_LOCAL)
    node = make_node()
    node.bring_up()
    images = node._cameras[""].subscriptions[1]
    follow(rig, images, TRANSIENT_LOCAL, publishers=1)
    assert images.publishers() == [("/rig_ (reliable, transient local)", "")]
    rig.ros.node.create_publisher(rig.image_type, rig.image_topic, 5)
    follow(rig, images, VOLATILE, publishers=2)
    rig.ros.close()


def known(images):
    """The publishers whose nodes are discovered; an endpoint is known earlier than its node."""
    return [name for name, _ in images.publishers() if "UNKNOWN" not in name]


def follow(rig, images, durability, publishers):
    """Wait until the subscription knows these publishers, and has this durability."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and len(known(images)) != publishers:
        rig.ros.spin()
    images.adapt()
    assert images._subscription.qos_profile.durability == durability
