"""/diagnostics of the running node: each problem is reported with its reason until it is over."""

import sys
from pathlib import Path

import pytest
from helpers import labels
from helpers.camera_rig import BEST_EFFORT, RELIABLE, CameraRig, gray, noise, pinhole, rgb8
from helpers.remote import ERROR, OK, WARN
from helpers.ros_processes import ChildProcess, stopping
from rclpy.qos import DurabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from emu_perception.node.statistics import resident_bytes
from emu_perception.ros.dds import PROFILE_VARIABLES

IMAGE = rgb8(noise())
TRANSIENT_LOCAL = DurabilityPolicy.TRANSIENT_LOCAL


@pytest.fixture(scope="module")
def rig(domain, model):
    rig = CameraRig(domain, "/watched", topics=["depth/image"], calibrated=True)
    with rig.node("-p", f"model:={model}", **labels.with_vision_msgs()):
        yield rig


def show(rig, focal=100.0):
    """A function that publishes an image with its camera_info."""
    return lambda: rig.show(IMAGE, pinhole(focal))


def test_a_missing_image_is_reported_with_the_publishers(rig):
    status = rig.remote.wait_for_status(
        "input", ERROR, r"no image on /watched/image for \d+ s; publishers: /rig_watched_ "
    )
    assert status.name == "watched/emu_perception: input" and status.hardware_id
    assert rig.remote.values("input")["publishers"] == "/rig_watched_ (reliable)"


def test_with_images_every_task_is_ok(rig):
    rig.wait_for_node()
    for task in ("input", "output", "scale", "labels", "model", "state"):
        rig.remote.wait_for_status(task, OK, "", show(rig))
    rig.remote.wait_for_status("output", OK, r"Hz, inference \d+ ms, age \d+ ms", show(rig))
    output, received = rig.remote.values("output"), rig.remote.values("input")
    assert float(received["input rate"].split()[0]) > 1
    assert 0 < float(output["age p50"].split()[0]) <= float(output["age p99"].split()[0]) < 5e3
    assert int(output["images processed"]) > 0 and output["last error"] == "none"
    assert rig.remote.values("model")["provider"] == "cpu"
    megabytes = float(rig.remote.values("state")["memory"].split()[0])
    assert megabytes == pytest.approx(resident_bytes(rig.process.process.pid) / 1e6, rel=0.2)


def test_diagnostics_are_published_once_a_second(rig):
    beats, start_s = rig.remote.beats, rig.remote.beat_s
    rig.ros.wait_until(lambda: rig.remote.beats >= beats + 3, "three heartbeats")
    # By their stamps: on a busy machine, their times of arrival would bunch.
    assert 1.6 < rig.remote.beat_s - start_s < 9


def test_a_field_of_view_beyond_correction_is_an_error_until_it_changes(rig):
    # The dummy was "trained" on 30° to 120°; a focal length of 1000 px sees 4° of 64.
    rig.remote.wait_for_status("scale", ERROR, "field of view 4°", show(rig, 1000.0))
    rig.remote.wait_for_status("scale", OK, r"x1\.500", show(rig, 150.0))


def test_stamps_of_another_clock_give_a_reason_instead_of_an_age(rig):
    rig.remote.wait_for_status(
        "output",
        WARN,
        "age unknown: .*days behind",
        lambda: (rig.send(IMAGE, None, (1_000_000_000, 0)), rig.ros.spin()),
    )
    assert rig.remote.values("output")["age p50"] == "unknown"
    assert rig.remote.values("output")["inference p50"] != "unknown"


def test_a_publisher_of_another_type_is_reported_until_the_camera_returns(rig):
    rig.ros.node.destroy_publisher(rig.camera)
    rig.remote.wait_for_status("input", ERROR, "no image on .*; publishers: none")
    rig.camera = rig.ros.node.create_publisher(CompressedImage, rig.image_topic, 5)
    text = "publishes sensor_msgs/msg/CompressedImage, but this node subscribes to sensor_msgs/msg"
    rig.remote.wait_for_status("input", ERROR, text)
    rig.replace_camera(RELIABLE)
    rig.wait_for_node()
    rig.remote.wait_for_status("input", OK, "Hz", show(rig))


@pytest.mark.parametrize(
    ("transport", "kind", "published", "advice"),
    [
        ("raw", CompressedImage, "image/compressed", "compressed"),
        ("compressed", Image, "image", "raw"),
    ],
)
def test_a_driver_with_the_other_transport_is_named(
    domain, model, transport, kind, published, advice
):
    space = f"/other_than_{transport}"
    rig = CameraRig(domain, space, topics=[], image=kind, image_topic=published)
    with rig.node("-p", f"model:={model}", "-p", f"image_transport:={transport}") as process:
        text = f"{space}/{published} is published: set image_transport:={advice}"
        process.wait_for_line(f"no image on {space}/image.*: {text}")
        rig.remote.wait_for_status("input", ERROR, f"publishers: none; {text}")
        rig.remote.next_statuses()
        assert process.output.count(text) == 1


def test_incompatible_qos_is_reported_in_the_log_and_in_the_diagnostics(domain, model):
    rig = CameraRig(domain, "/strict", topics=[])
    name = "qos_overrides./strict/image.subscription"
    fixed = ("-p", f"{name}.reliability:=reliable", "-p", f"{name}.durability:=transient_local")
    rig.replace_camera(BEST_EFFORT, durability=TRANSIENT_LOCAL)
    with rig.node("-p", f"model:={model}", *fixed) as process:
        process.wait_for_line(r"incompatible QoS \(reliability\): no messages will be received")
        assert rig.camera.get_subscription_count() == 0
        rig.replace_camera(RELIABLE)
        text = "incompatible QoS: volatile publisher and transient local subscription"
        assert name in rig.remote.wait_for_status("input", ERROR, text).message
        process.wait_for_line(r"incompatible QoS \(durability\): no messages will be received")
        rig.replace_camera(RELIABLE, durability=TRANSIENT_LOCAL)
        rig.wait_for_node()
        rig.remote.wait_for_status("input", OK, "Hz", lambda: rig.show(gray()))


def test_lost_large_images_of_a_publisher_without_profile_are_reported(domain, model):
    rig = CameraRig(domain, "/large", topics=["depth/image"])
    rig.ros.node.destroy_publisher(rig.camera)
    script = Path(__file__).parents[1] / "helpers" / "sending_camera.py"
    size = ("1280", "720", "10", "best_effort")
    with rig.node("-p", f"model:={model}"):
        camera = ChildProcess(
            *(sys.executable, script, "/large/image", *size),
            domain=domain,
            **dict.fromkeys(PROFILE_VARIABLES, ""),
        )
        with stopping(camera):
            # It depends on the machine whether some images arrive (a warning) or none (an error).
            lost = r"images of (2\.8 MB|unknown size) were lost in transport: .*PROFILES_FILE=/"
            rig.remote.wait_for_status("input", WARN + ERROR, lost)
