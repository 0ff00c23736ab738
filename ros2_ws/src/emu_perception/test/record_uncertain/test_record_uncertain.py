"""The node record_uncertain as a process over DDS: doubt in, bags out."""

import json
import resource
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")
pytest.importorskip("rosbags", reason="needs rosbags")

from helpers.camera_rig import image_message
from helpers.ros_processes import ChildProcess, TestNode, module, stopping, wait_until
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

from emu_core.bags.reader import open_bag
from emu_perception.record_uncertain import main as record_uncertain

IMAGE = "/front/image_raw"
UNCERTAINTY = "/front/emu_perception/semantic/uncertainty"
DEPTH = "/front/emu_perception/depth/image"
DEVIATION = "/front/emu_perception/depth/uncertainty"
NAMES = "/front/emu_perception/semantic/label_info"
SIZE = (6, 8)


class Drive:
    """A best-effort camera and what the perception node says of it, a frame at a time."""

    def __init__(self, domain):
        self.ros = TestNode(domain, "drive")
        create = self.ros.node.create_publisher
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        lossy = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        kind = type(image_message("mono8", 1, 1, b"0"))
        self.names = create(String, NAMES, latched)
        self.names.publish(String(data="names"))
        self.publishers = {
            IMAGE: create(kind, IMAGE, lossy),
            **{t: create(kind, t, 10) for t in (UNCERTAINTY, DEPTH, DEVIATION)},
        }
        self.frames = 0

    def heard(self):
        publishers = (*self.publishers.values(), self.names)
        return all(p.get_subscription_count() for p in publishers)

    def show(self, doubt, depth_doubt=0.1):
        """One frame: 10 m everywhere, doubts as given; its stamp in seconds."""
        self.frames += 1
        height, width = SIZE
        maps = {UNCERTAINTY: doubt, DEPTH: 10.0, DEVIATION: 10.0 * depth_doubt}
        messages = {IMAGE: image_message("rgb8", width, height, bytes(3 * height * width))}
        for topic, value in maps.items():
            messages[topic] = image_message(
                "32FC1", width, height, np.full(SIZE, value, np.float32)
            )
        for topic, message in messages.items():
            message.header.stamp.sec = self.frames
            self.publishers[topic].publish(message)
        self.ros.spin()
        return self.frames


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


def bag_told(process, number=1):
    """The bag in the n-th line that tells of one."""
    pattern = r"\]: (\S+): mean [^\n]*" + r"(?:.|\n)*?\]: (\S+): mean [^\n]*" * (number - 1)
    return Path(process.wait_for_line(pattern).group(number))


def stamps(bag, topic):
    with open_bag(bag) as opened:
        return [opened.stamp_ns(m) // 10**9 for m in opened.messages([topic])]


def test_the_moments_of_doubt_and_no_others_are_recorded(tmp_path, domain, drive):
    """1. sure frames; 2. one doubtful class; 3. sure frames, an end; 4. doubtful depth."""
    folder = tmp_path / "uncertain"
    process = recorder(domain, folder)
    with stopping(process):
        drive.ros.wait_until(drive.heard, "the recorder's subscriptions")
        calm = [drive.show(0.1) for _ in range(5)]
        doubtful = drive.show(0.6)
        wait_until(
            lambda: "mean label" in process.output, "the first bag", lambda: drive.show(0.2)
        )
        first = bag_told(process)
        deep = drive.show(0.1, depth_doubt=0.4)
        wait_until(
            lambda: "mean relative depth" in process.output,
            "the second bag",
            lambda: drive.show(0.1),
        )
        second = bag_told(process, 2)
        assert process.stop() == 0, process.output
    assert sorted(folder.iterdir()) == [first, second]
    assert set(calm + [doubtful]) <= set(stamps(first, IMAGE))
    assert doubtful in stamps(first, UNCERTAINTY) and deep not in stamps(first, IMAGE)
    assert deep in stamps(second, DEPTH)
    why = json.loads((first / "why.json").read_text())
    assert why["reason"] == "mean label uncertainty 0.600 > 0.5"
    assert why["stamp_ns"] == doubtful * 10**9
    why = json.loads((second / "why.json").read_text())
    assert why["reason"] == "mean relative depth uncertainty 0.400 > 0.3"
    for bag in (first, second):
        with open_bag(bag) as opened:
            (names,) = (opened.decode(m).data for m in opened.messages([NAMES]))
            assert names == "names" and opened.topics[NAMES].latched
            assert opened.topics[IMAGE].qos[0].reliability.name == "BEST_EFFORT"
    assert "moments recorded: 2;" in process.output and "Traceback" not in process.output


def test_a_full_disk_is_told_and_the_node_goes_on(tmp_path, domain, drive):
    process = recorder(domain, tmp_path / "uncertain")
    with stopping(process):
        drive.ros.wait_until(drive.heard, "the recorder's subscriptions")
        unlimited = resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (50, unlimited[1]))
        wait_until(
            lambda: "File too large" in process.output, "the error", lambda: drive.show(0.9)
        )
        resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, unlimited)
        folder = tmp_path / "uncertain"
        wait_until(lambda: not list(folder.iterdir()), "no half a bag is left")
        wait_until(
            lambda: "]: " + str(tmp_path) in process.output.split("File too large")[-1],
            "a bag after it",
            lambda: drive.show(0.9),
        )
        assert process.stop() == 0, process.output
    assert "Traceback" not in process.output


def test_a_topic_that_is_no_map_is_told_once_and_survived(tmp_path, domain, drive):
    process = recorder(domain, tmp_path, "-p", "answers:=other")
    with stopping(process):
        text = drive.ros.node.create_publisher(String, "/front/other/semantic/uncertainty", 10)
        image = drive.ros.node.create_publisher(
            type(image_message("mono8", 1, 1, b"0")), "/front/other/depth/image", 10
        )

        def show():
            text.publish(String(data="doubtful"))
            image.publish(image_message("mono8", 8, 6, bytes(48)))
            drive.ros.spin()

        for name in ("semantic/uncertainty", "depth/image"):
            told = f"/front/other/{name} is no Image of encoding 32FC1"
            wait_until(lambda told=told: told in process.output, told, show)
        for _ in range(5):
            show()
        assert process.stop() == 0, process.output
    assert process.output.count("is no Image") == 2 and "Traceback" not in process.output


@pytest.mark.parametrize(
    ("parameter", "told"),
    [
        ("when_full:=never", "parameter when_full: expected one of stop, delete_oldest"),
        ("label_uncertainty:=1.5", "parameter label_uncertainty: "),
        ("buffer_mb:=much", "parameter buffer_mb: "),
    ],
)
def test_a_wrong_parameter_ends_it_with_one_line(tmp_path, domain, parameter, told):
    process = recorder(domain, tmp_path, "-p", parameter)
    with stopping(process):
        assert process.wait() == 1
    assert f"record_uncertain: {told}" in process.output and "Traceback" not in process.output


def test_without_any_limit_it_says_that_no_moment_begins(tmp_path, domain):
    limits = ("-p", "label_uncertainty:=0.0", "-p", "depth_uncertainty:=0.0")
    process = recorder(domain, tmp_path, *limits)
    with stopping(process):
        assert process.wait() == 1
    assert "are both 0: no moment begins" in process.output


def test_help_lists_the_parameters(capsys):
    with pytest.raises(SystemExit) as ended:
        record_uncertain.main(["--help"])
    assert ended.value.code == 0
    assert "label_uncertainty  0.1" in capsys.readouterr().out
