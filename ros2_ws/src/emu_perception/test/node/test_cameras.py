"""Several cameras on one node and one session: served in turn, told apart, stamped right."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")
pytest.importorskip("onnx", reason="needs onnx, to make a model file")

from diagnostic_msgs.msg import DiagnosticStatus
from helpers.camera_rig import RELIABLE, CameraRig, counts, image_message, pixels
from helpers.remote import Remote
from helpers.ros_processes import wait_until
from sensor_msgs.msg import CameraInfo

from emu_core.runtime.dummy_model import dummy_outputs, make_dummy_model

TOPICS = ("semantic/image", "depth/image")
CAMERAS = ("-p", "cameras:=[front, rear]")


def rigs(domain, namespace, **options):
    return [
        CameraRig(domain, namespace, topics=TOPICS, camera=name, **options)
        for name in ("front", "rear")
    ]


def picture(seed):
    rgb = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8)
    return rgb, image_message("rgb8", 64, 48, rgb)


def test_each_camera_is_answered_on_its_own_topics_with_its_own_stamp(domain, model):
    front, rear = rigs(domain, "/two")
    with front.node("-p", f"model:={model}", *CAMERAS) as process:
        process.wait_for_line("waiting for /two/rear/image and /two/rear/camera_info")
        remote = Remote(front.ros, "/two/emu_perception")
        for rig in (front, rear):
            rig.wait_for_answers()
        for seed in range(10):
            for rig, (rgb, message) in ((front, picture(seed)), (rear, picture(100 + seed))):
                message.header.frame_id = "replaced by the rig"
                answers = rig.ask(message)
                expected = dummy_outputs(rgb)
                assert np.array_equal(pixels(answers["semantic/image"]), expected["labels"])
                assert np.array_equal(pixels(answers["depth/image"]), expected["depth"], True)
        tasks = {"front input", "front answers", "front scale", "rear input", "rear answers"}
        assert tasks < set(remote.next_statuses())
        rear.ros.close()


def test_a_slow_node_serves_a_busy_and_a_calm_camera_alike(domain, models):
    model = make_dummy_model(models / "slow.onnx", (1024, 2048))
    busy, calm = rigs(domain, "/fair")
    message = image_message("mono8", 8, 8, bytes(64))
    with busy.node("-p", f"model:={model}", "-p", "threads:=1", *CAMERAS) as process:
        for rig in (busy, calm):
            rig.wait_for_answers()
        boxes = [rig.received["semantic/image", RELIABLE] for rig in (busy, calm)]
        for box in boxes:
            box.clear()
        # The calm camera always has a frame waiting, the busy one always ten.
        for _ in range(15):
            for _ in range(10):
                busy.send(message)
            stamp = calm.send(message)
            calm.ros.wait_until(lambda stamp=stamp: calm.answered(stamp), "the calm camera")
            busy.ros.spin()
        busy.ros.wait_until(lambda: len(boxes[0]) >= 10, "the busy camera")
        assert len(boxes[1]) == 15, "none of the calm camera's frames is lost to the busy one"
        assert len(boxes[0]) <= 3 * len(boxes[1]), "nor waits for more than its turns"
        for box in boxes:
            assert list(box) == sorted(box), "never an older frame after a newer one"
        assert process.stop() == 0
        calm.ros.close()
    told = counts(process)
    assert told["dropped"] > 0 and told["failed"] == 0
    assert told["in"] == sum(count for kind, count in told.items() if kind != "in")


def test_each_camera_has_its_own_lens(domain, model):
    front, rear = rigs(domain, "/lenses", calibrated=True)
    rgb, message = picture(1)
    infos = {}
    for rig, focal in ((front, 100.0), (rear, 200.0)):
        infos[rig] = CameraInfo(width=64, height=48)
        infos[rig].k = np.array([focal, 0, 31.5, 0, focal, 23.5, 0, 0, 1.0])
    with front.node("-p", f"model:={model}", *CAMERAS):
        remote = Remote(front.ros, "/lenses/emu_perception")
        for rig, scale in ((front, 1), (rear, 2)):
            rig.wait_for_answers(message, infos[rig])
            depth = pixels(rig.ask(message, infos[rig])["depth/image"])
            np.testing.assert_allclose(depth, scale * dummy_outputs(rgb)["depth"], rtol=1e-6)
        remote.wait_for_status("front scale", DiagnosticStatus.OK, r"x1\.000")
        remote.wait_for_status("rear scale", DiagnosticStatus.OK, r"x2\.000")
        rear.ros.close()


def test_exchanged_cameras_are_exchanged(domain, model):
    front, rear = rigs(domain, "/turned")
    exchange = ("-r", "front/image:=rear/image", "-r", "rear/image:=front/image")
    with front.node("-p", f"model:={model}", *CAMERAS, *exchange) as process:
        process.wait_for_line("waiting for /turned/rear/image and /turned/front/camera_info")
        rear.wait_for_node()

        def show():
            rear.send(picture(3)[1])
            front.ros.spin()
            rear.ros.spin()

        there = front.received["depth/image", RELIABLE]
        wait_until(lambda: there, "the rear camera on the topics of the front one", show)
        assert not rear.received["depth/image", RELIABLE]
        assert process.stop() == 0
        rear.ros.close()


def test_a_silent_camera_is_told_by_its_name_while_the_other_goes_on(domain, model):
    front, rear = rigs(domain, "/half")
    with front.node("-p", f"model:={model}", *CAMERAS):
        remote = Remote(front.ros, "/half/emu_perception")
        front.wait_for_answers()

        def show():
            front.send(picture(2)[1])
            front.ros.spin()

        remote.wait_for_status(
            "rear input", DiagnosticStatus.ERROR, "no image on /half/rear/image", show
        )
        assert remote.statuses["front input"].level == DiagnosticStatus.OK
        rear.ros.close()
