"""The program record_uncertain as a process over DDS: uncertain frames in, bags out."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs rosbags")

from helpers.camera_rig import image_message
from helpers.ros_processes import ChildProcess, TestNode, module, stopping, wait_until
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import String

from emu_core.bags.reader import open_bag
from emu_perception.record_uncertain import main as record_uncertain

IMAGE = "/front/image_raw"
UNCERTAINTY = "/front/emu_perception/semantic/uncertainty"
DEPTH = "/front/emu_perception/depth/image"
DEPTH_STD = "/front/emu_perception/depth/uncertainty"
NAMES = "/front/emu_perception/semantic/label_info"
SIZE = (6, 8)


class Drive:
    """A best-effort camera and the outputs of a perception node, a frame at a time."""

    def __init__(self, domain):
        self.ros = TestNode(domain, "drive")
        create = self.ros.node.create_publisher
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        lossy = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.names = create(String, NAMES, latched)
        self.names.publish(String(data="names"))
        self.publishers = {
            IMAGE: create(Image, IMAGE, lossy),
            **{t: create(Image, t, 10) for t in (UNCERTAINTY, DEPTH, DEPTH_STD)},
        }
        self.frames = 0

    def wait_for_recorder(self):
        for publisher in (*self.publishers.values(), self.names):
            self.ros.wait_until(publisher.get_subscription_count, "the recorder's subscriptions")

    def show(self, label_uncertainty, depth_uncertainty=0.1):
        """Publish one frame, 10 m everywhere; returns its stamp in seconds."""
        self.frames += 1
        height, width = SIZE
        maps = {UNCERTAINTY: label_uncertainty, DEPTH: 10.0, DEPTH_STD: 10.0 * depth_uncertainty}
        messages = {IMAGE: image_message("rgb8", width, height, bytes(3 * height * width))}
        for topic, value in maps.items():
            values = np.full(SIZE, value, np.float32)
            messages[topic] = image_message("32FC1", width, height, values)
        for topic, message in messages.items():
            message.header.stamp.sec = self.frames
            self.publishers[topic].publish(message)
        self.ros.spin()
        return self.frames

    def show_until(self, condition, label_uncertainty):
        wait_until(condition, "a log line", lambda: self.show(label_uncertainty))


@pytest.fixture
def drive(domain):
    made = Drive(domain)
    yield made
    made.ros.close()


def recorder(domain, folder, *parameters):
    arguments = ["-r", "__ns:=/front", "-r", f"image:={IMAGE}", "-p", f"folder:={folder}"]
    limits = ("label_uncertainty:=0.5", "depth_uncertainty:=0.3")
    for value in (*limits, "after_s:=0.5", "interval_s:=0.0"):
        arguments += ["-p", value]
    return ChildProcess(
        *module("record_uncertain", "--ros-args", *arguments, *parameters), domain=domain
    )


def logged_bag(process, kind):
    """The bag that a line names with a mean of this kind."""
    return Path(process.wait_for_line(rf"\]: (\S+): mean {kind} ").group(1))


def stamps(bag, topic):
    with open_bag(bag) as opened:
        return [opened.stamp_ns(m) // 10**9 for m in opened.messages([topic])]


def test_uncertain_moments_and_no_others_are_recorded(tmp_path, domain, drive):
    """1. certain frames; 2. an uncertain class; 3. certain frames, an end; 4. uncertain depth."""
    folder = tmp_path / "uncertain"
    process = recorder(domain, folder)
    with stopping(process):
        drive.wait_for_recorder()
        certain = [drive.show(0.1) for _ in range(5)]
        uncertain = drive.show(0.6)
        drive.show_until(lambda: "mean label" in process.output, 0.2)
        first = logged_bag(process, "label")
        deep = drive.show(0.1, depth_uncertainty=0.4)
        drive.show_until(lambda: "mean relative depth" in process.output, 0.1)
        second = logged_bag(process, "relative depth")
        assert process.stop() == 0, process.output
    assert sorted(folder.iterdir()) == [first, second]
    assert {*certain, uncertain} <= set(stamps(first, IMAGE))
    assert uncertain in stamps(first, UNCERTAINTY) and deep not in stamps(first, IMAGE)
    assert deep in stamps(second, DEPTH)
    reasons = [json.loads((bag / "why.json").read_text()) for bag in (first, second)]
    assert reasons[0]["reason"] == "mean label uncertainty 0.600 > 0.5"
    assert reasons[0]["stamp_ns"] == uncertain * 10**9
    assert reasons[1]["reason"] == "mean relative depth uncertainty 0.400 > 0.3"
    for bag in (first, second):
        with open_bag(bag) as opened:
            (names,) = (opened.decode(m).data for m in opened.messages([NAMES]))
            assert names == "names" and opened.topics[NAMES].latched
            assert opened.topics[IMAGE].qos[0].reliability.name == "BEST_EFFORT"
    assert "moments recorded: 2;" in process.output and "Traceback" not in process.output


def test_a_topic_that_is_not_a_map_is_reported_once(tmp_path, domain, drive):
    process = recorder(domain, tmp_path, "-p", "answers:=other")
    with stopping(process):
        create = drive.ros.node.create_publisher
        text = create(String, "/front/other/semantic/uncertainty", 10)
        image = create(Image, "/front/other/depth/image", 10)

        def show():
            text.publish(String(data="uncertain"))
            image.publish(image_message("mono8", 8, 6, bytes(48)))
            drive.ros.spin()

        for name in ("semantic/uncertainty", "depth/image"):
            error = f"/front/other/{name} is not an Image with encoding 32FC1"
            wait_until(lambda error=error: error in process.output, error, show)
        for _ in range(5):
            show()
        assert process.stop() == 0, process.output
    assert process.output.count("is not an Image") == 2 and "Traceback" not in process.output


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("-p when_full:=never", "parameter when_full: expected one of stop, delete_oldest"),
        ("-p buffer_mb:=much", "parameter buffer_mb: "),
        (
            "-p label_uncertainty:=0.0 -p depth_uncertainty:=0.0",
            "label_uncertainty and depth_uncertainty are both 0",
        ),
    ],
)
def test_an_invalid_parameter_ends_the_program_with_one_line(
    tmp_path, domain, parameters, message
):
    process = recorder(domain, tmp_path, *parameters.split())
    with stopping(process):
        assert process.wait() == 1
    assert f"record_uncertain: {message}" in process.output
    assert "Traceback" not in process.output


def test_help_lists_the_parameters(capsys):
    with pytest.raises(SystemExit, match="0"):
        record_uncertain.main(["--help"])
    assert "label_uncertainty  0.1" in capsys.readouterr().out
