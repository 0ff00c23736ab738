"""/diagnostics of the running node: each problem is reported with its reason until it is over."""

import sys
from pathlib import Path

import pytest
from helpers import labels
from helpers.camera_rig import (
    BEST_EFFORT,
    RELIABLE,
    CameraRig,
    gray,
    image_message,
    noise,
    pinhole,
    rgb8,
)
from helpers.remote import ERROR, OK, WARN
from helpers.ros_processes import ChildProcess, stopping
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage

from emu_core.runtime.dummy_model import make_dummy_model
from emu_perception.ros.dds import PROFILE_VARIABLES

IMAGE = rgb8(noise())


@pytest.fixture(scope="module")
def rig(domain, model):
    rig = CameraRig(domain, "/watched", topics=["depth/image"], calibrated=True)
    with rig.node("-p", f"model:={model}", **labels.with_vision_msgs()):
        yield rig


def test_a_missing_image_is_reported_with_the_publishers(rig):
    status = rig.remote.wait_for_status(
        "input", ERROR, r"no image on /watched/image for \d+ s; publishers: /rig_watched_ "
    )
    assert status.name == "watched/emu_perception: input" and status.hardware_id
    assert rig.remote.values("input")["publishers"] == "/rig_watched_ (reliable)"


def test_with_images_every_task_is_ok(rig):
    def show():
        rig.show(IMAGE, pinhole(100.0))

    rig.wait_for_node()
    for task in ("input", "output", "scale", "labels", "model", "state"):
        rig.remote.wait_for_status(task, OK, "", show)
    rig.remote.wait_for_status("output", OK, r"Hz, inference \d+ ms, age \d+ ms", show)
    output, received = rig.remote.values("output"), rig.remote.values("input")
    assert float(received["input rate"].split()[0]) > 1
    assert 0 < float(output["age p50"].split()[0]) <= float(output["age p99"].split()[0]) < 5e3
    assert int(output["images processed"]) > 0 and output["last error"] == "none"
    assert rig.remote.values("model")["provider"] == "cpu"
    megabytes = float(rig.remote.values("state")["memory"].split()[0])
    pages = Path(f"/proc/{rig.process.process.pid}/statm").read_text().split()[1]
    assert megabytes == pytest.approx(int(pages) * 4096 / 1e6, rel=0.2)


def test_diagnostics_are_published_once_a_second(rig):
    rig.remote.next_statuses()
    beats, start_s = rig.remote.beats, rig.remote.beat_s
    rig.ros.wait_until(lambda: rig.remote.beats >= beats + 5, "five heartbeats")
    # By their stamps: on a busy machine, their times of arrival would bunch.
    assert 2.6 < rig.remote.beat_s - start_s < 15


def test_a_refused_image_is_reported_while_it_is_recent(rig):
    rig.remote.wait_for_status(
        "output",
        WARN,
        "images refused in 10 s: image refused: .*it has no pixels",
        lambda: (rig.show(image_message("rgb8", 0, 0, b"")), rig.show(IMAGE, pinhole(100.0))),
    )
    rig.remote.wait_for_status("output", OK, "", lambda: rig.show(IMAGE, pinhole(100.0)))
    assert "no pixels" in rig.remote.values("output")["last error"]


@pytest.mark.parametrize(
    ("level", "text", "image", "focal"),
    [
        # The dummy was "trained" on 30° to 120°; a focal length of 1000 px sees 4° of 64.
        (ERROR, "field of view 4°", IMAGE, 1000.0),
        (WARN, "unverified: camera_info is for", gray(), 100.0),
        (OK, r"x1\.500", IMAGE, 150.0),
    ],
)
def test_a_scale_is_verified_unverified_or_beyond_correction(rig, level, text, image, focal):
    rig.remote.wait_for_status("scale", level, text, lambda: rig.show(image, pinhole(focal)))


@pytest.mark.parametrize(
    ("stamp", "text"),
    [((0, 0), "no stamp"), ((1_000_000_000, 0), "days behind"), ((2**31 - 1, 0), "ahead of")],
)
def test_stamps_of_another_clock_give_a_reason_instead_of_an_age(rig, stamp, text):
    rig.remote.wait_for_status(
        "output",
        WARN,
        f"age unknown: .*{text}",
        lambda: (rig.send(IMAGE, None, stamp), rig.ros.spin()),
    )
    assert rig.remote.values("output")["age p50"] == "unknown"
    assert rig.remote.values("output")["inference p50"] != "unknown"


def test_a_missing_publisher_is_reported_until_it_returns(rig):
    rig.ros.node.destroy_publisher(rig.camera)
    rig.remote.wait_for_status("input", ERROR, "no image on .*; publishers: none")
    rig.camera = rig.make_camera(RELIABLE)
    rig.wait_for_node()
    rig.remote.wait_for_status("input", OK, "Hz", lambda: rig.show(IMAGE, pinhole(100.0)))


def test_an_inactive_node_reports_its_state(rig):
    assert rig.remote.change("deactivate")
    rig.remote.wait_for_status("state", OK, "inactive")
    assert "input" not in rig.remote.next_statuses()
    assert rig.remote.change("activate")
    rig.remote.wait_for_status("state", OK, "^active")


def test_a_publisher_of_another_type_is_reported(domain, model):
    rig = CameraRig(domain, "/typed", topics=[], image=CompressedImage)
    text = "publishes sensor_msgs/msg/CompressedImage, but this node subscribes to sensor_msgs/msg"
    with rig.node("-p", f"model:={model}"):
        rig.remote.wait_for_status("input", ERROR, text)


def test_incompatible_qos_is_reported(domain, model):
    rig = CameraRig(domain, "/strict", topics=[], offers=BEST_EFFORT)
    latched = "qos_overrides./strict/image.subscription.durability:=transient_local"
    with rig.node("-p", f"model:={model}", "-p", latched) as process:
        status = rig.remote.wait_for_status(
            "input", ERROR, "incompatible QoS: volatile publisher and transient local subscription"
        )
        assert "qos_overrides./strict/image.subscription" in status.message
        process.wait_for_line(r"incompatible QoS \(durability\): no messages will be received")
        rig.ros.node.destroy_publisher(rig.camera)
        rig.camera = rig.ros.node.create_publisher(
            rig.image_type,
            rig.image_topic,
            QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),
        )
        rig.wait_for_node()
        rig.remote.wait_for_status("input", OK, "Hz", lambda: rig.show(gray()))


def test_the_cpu_instead_of_a_missing_provider_is_an_error(domain, model):
    rig = CameraRig(domain, "/fallback", topics=["depth/image"])
    parameters = ("-p", "provider:=tensorrt", "-p", "allow_cpu_fallback:=true")
    with rig.node("-p", f"model:={model}", *parameters):
        rig.remote.wait_for_status("model", ERROR, "tensorrt is not available: running on cpu")
        rig.wait_for_outputs()


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
            rig.remote.wait_for_status(
                "input", WARN, r"images of 2\.8 MB were lost in transport: .*PROFILES_FILE=/"
            )


def test_outputs_larger_than_the_user_s_segment_are_reported(domain, models, tmp_path):
    profile = tmp_path / "stock.xml"
    profile.write_text("<dds xmlns='http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles'/>")
    model = make_dummy_model(models / "wide.onnx", (512, 1024))
    rig = CameraRig(domain, "/small", topics=["semantic/image"])
    text = r"outputs of up to 14\.7 MB may be delayed: .*has 0\.5 MB"
    with rig.node("-p", f"model:={model}", **dict.fromkeys(PROFILE_VARIABLES, str(profile))):
        rig.wait_for_node()
        rig.remote.wait_for_status("output", WARN, text, lambda: rig.show(gray()))
