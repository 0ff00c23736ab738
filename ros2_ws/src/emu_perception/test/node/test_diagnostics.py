"""/diagnostics of the running node: each trouble is named, with its reason, and passes."""

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")
pytest.importorskip("onnx", reason="needs onnx, to make a model file")

from diagnostic_msgs.msg import DiagnosticStatus
from helpers import labels
from helpers.camera_rig import BEST_EFFORT, RELIABLE, CameraRig, image_message
from helpers.remote import Remote
from helpers.ros_processes import ChildProcess, stopping
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage

from emu_core.runtime.dummy_model import make_dummy_model
from emu_perception.ros.dds import PROFILE_VARIABLES

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


def gray():
    return image_message("mono8", 8, 8, bytes(64))


def stamped(rig, message, info=None):
    """Show an image that was taken now."""
    now = rig.ros.node.get_clock().now().nanoseconds
    rig.send(message, info, divmod(now, 1_000_000_000))
    rig.ros.spin()


@pytest.fixture(scope="module")
def rig(domain, model):
    rig = CameraRig(domain, "/watched", topics=["depth/image"], calibrated=True)
    with rig.node("-p", f"model:={model}", **labels.with_vision_msgs()) as process:
        rig.process, rig.remote = process, Remote(rig.ros, "/watched/emu_perception")
        yield rig


def info(focal=100.0):
    message = CameraInfo(width=64, height=48)
    message.k = np.array([focal, 0, 31.5, 0, focal, 23.5, 0, 0, 1.0])
    return message


def picture():
    return image_message("rgb8", 64, 48, bytes(64 * 48 * 3))


def test_no_image_is_told_with_the_publishers_there(rig):
    status = rig.remote.wait_for_status(
        "input", ERROR, r"no image on /watched/image for \d+ s; publishers there: /rig_watched_ "
    )
    assert status.name == "watched/emu_perception: input" and status.hardware_id
    assert rig.remote.values("input")["publishers"] == "/rig_watched_ (reliable)"


def test_with_images_all_is_well_and_told_in_numbers(rig):
    rig.wait_for_node()
    for task in ("input", "answers", "scale", "labels", "model", "state"):
        rig.remote.wait_for_status(task, OK, "", lambda: stamped(rig, picture(), info()))
    rig.remote.wait_for_status(
        "answers", OK, r"Hz, inference \d+ ms, age \d+ ms", lambda: stamped(rig, picture(), info())
    )
    answers, told = rig.remote.values("answers"), rig.remote.values("input")
    assert float(told["input rate"].split()[0]) > 1
    assert 0 < float(answers["age p50"].split()[0]) <= float(answers["age p99"].split()[0]) < 5e3
    assert int(answers["images answered"]) > 0 and answers["last error"] == "none"
    assert rig.remote.values("model")["provider"] == "cpu"
    megabytes = float(rig.remote.values("state")["memory"].split()[0])
    pages = Path(f"/proc/{rig.process.process.pid}/statm").read_text().split()[1]
    assert megabytes == pytest.approx(int(pages) * 4096 / 1e6, rel=0.2)


def test_it_comes_once_a_second(rig):
    rig.remote.next_statuses()
    beats, start_s = rig.remote.beats, rig.remote.beat_s
    rig.ros.wait_until(lambda: rig.remote.beats >= beats + 5, "five heartbeats")
    # On a busy machine the first may be late, and all of them; by receipt they would even bunch.
    assert 2.6 < rig.remote.beat_s - start_s < 15


def test_a_refused_image_is_told_as_long_as_it_is_recent(rig):
    rig.remote.wait_for_status(
        "answers",
        WARN,
        "images refused in 10 s: image refused: .*it has no pixels",
        lambda: (stamped(rig, image_message("rgb8", 0, 0, b"")), stamped(rig, picture(), info())),
    )
    rig.remote.wait_for_status("answers", OK, "", lambda: stamped(rig, picture(), info()))
    assert "no pixels" in rig.remote.values("answers")["last error"]


def test_a_scale_is_verified_unverified_or_beyond_correction(rig):
    # The dummy was "trained" on 30° to 120°; a focal length of 1000 px sees 4° of 64.
    rig.remote.wait_for_status(
        "scale", ERROR, "sees 4° across", lambda: stamped(rig, picture(), info(1000.0))
    )
    rig.remote.wait_for_status(
        "scale", WARN, "unverified: camera_info describes", lambda: stamped(rig, gray(), info())
    )
    rig.remote.wait_for_status(
        "scale", OK, r"x1\.500", lambda: stamped(rig, picture(), info(150.0))
    )


@pytest.mark.parametrize(
    ("stamp", "said"),
    [((0, 0), "no stamp"), ((1_000_000_000, 0), "days behind"), ((2**31 - 1, 0), "ahead of")],
)
def test_stamps_of_another_clock_give_no_age_but_a_reason(rig, stamp, said):
    def show():
        rig.send(picture(), None, stamp)
        rig.ros.spin()

    rig.remote.wait_for_status("answers", WARN, f"age unknown: .*{said}", show)
    assert rig.remote.values("answers")["age p50"] == "unknown"
    assert rig.remote.values("answers")["inference p50"] != "unknown"


def test_a_publisher_that_disappears_is_told_and_forgotten_when_it_returns(rig):
    rig.ros.node.destroy_publisher(rig.camera)
    rig.remote.wait_for_status("input", ERROR, "no image on .*; publishers there: none")
    rig.camera = rig.make_camera(RELIABLE)
    rig.wait_for_node()
    rig.remote.wait_for_status("input", OK, "Hz", lambda: stamped(rig, picture(), info()))


def test_an_inactive_node_says_that_it_is(rig):
    assert rig.remote.change("deactivate")
    rig.remote.wait_for_status("state", OK, "inactive")
    assert "input" not in rig.remote.next_statuses()
    assert rig.remote.change("activate")
    rig.remote.wait_for_status("state", OK, "^active")


def test_a_publisher_of_another_type_is_named(domain, model):
    rig = CameraRig(domain, "/typed", topics=[], image=CompressedImage)
    with rig.node("-p", f"model:={model}"):
        remote = Remote(rig.ros, "/typed/emu_perception")
        remote.wait_for_status(
            "input",
            ERROR,
            "publishes sensor_msgs/msg/CompressedImage, and this node reads sensor_msgs/msg/Image",
        )


def test_incompatible_qos_is_told_in_words(domain, model):
    rig = CameraRig(domain, "/strict", topics=[], offers=BEST_EFFORT)
    latched = "qos_overrides./strict/image.subscription.durability:=transient_local"
    with rig.node("-p", f"model:={model}", "-p", latched) as process:
        remote = Remote(rig.ros, "/strict/emu_perception")
        status = remote.wait_for_status(
            "input", ERROR, "incompatible QoS: volatile publisher and transient local subscription"
        )
        assert "qos_overrides./strict/image.subscription" in status.message
        process.wait_for_line("offers a durability that this node's excludes")
        rig.ros.node.destroy_publisher(rig.camera)
        rig.camera = rig.ros.node.create_publisher(
            rig.image_type,
            rig.image_topic,
            QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),
        )
        rig.wait_for_node()
        remote.wait_for_status("input", OK, "Hz", lambda: stamped(rig, gray()))


def test_a_missing_provider_that_the_cpu_stands_in_for_is_an_error(domain, model):
    rig = CameraRig(domain, "/fallen", topics=["depth/image"])
    parameters = ("-p", "provider:=tensorrt", "-p", "allow_cpu_fallback:=true")
    with rig.node("-p", f"model:={model}", *parameters):
        remote = Remote(rig.ros, "/fallen/emu_perception")
        remote.wait_for_status("model", ERROR, "tensorrt cannot be had: running on cpu")
        rig.wait_for_answers()


def test_large_images_of_a_sender_without_profile_are_the_reason_that_is_named(domain, model):
    rig = CameraRig(domain, "/large", topics=["depth/image"])
    rig.ros.node.destroy_publisher(rig.camera)
    with rig.node("-p", f"model:={model}"):
        remote = Remote(rig.ros, "/large/emu_perception")
        script = Path(__file__).parents[1] / "helpers" / "sending_camera.py"
        size = ("1280", "720", "10", "best_effort")
        camera = ChildProcess(
            *(sys.executable, script, "/large/image", *size),
            domain=domain,
            **dict.fromkeys(PROFILE_VARIABLES, ""),
        )
        with stopping(camera):
            remote.wait_for_status(
                "input", WARN, r"were lost on their way: they take 2\.8 MB.*PROFILES_FILE=/"
            )


def test_answers_above_the_user_s_own_segment_are_told(domain, models, tmp_path):
    profile = tmp_path / "stock.xml"
    profile.write_text("<dds xmlns='http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles'/>")
    model = make_dummy_model(models / "wide.onnx", (512, 1024))
    rig = CameraRig(domain, "/small", topics=["semantic/image"])
    with rig.node("-p", f"model:={model}", **dict.fromkeys(PROFILE_VARIABLES, str(profile))):
        remote = Remote(rig.ros, "/small/emu_perception")
        rig.wait_for_node()
        remote.wait_for_status(
            "answers",
            WARN,
            r"answers of up to 14\.7 MB do not fit the shared-memory segment of 0\.5 MB",
            lambda: stamped(rig, gray()),
        )
