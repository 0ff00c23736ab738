"""The player as a process over real DDS, in a ROS domain of its own."""

import json
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("rosbags", reason="needs rosbags")

from helpers.drive_bags import IMAGE, START_NS, stamp_of, write_bag
from helpers.ros_processes import ChildProcess, module, stopping
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import String

from emu_core.bags.reader import open_bag
from emu_core.bags.writer import BagWriter, offered
from emu_perception.bag_tools import playback, player
from emu_perception.ros import command_line

ANSWERS = ("/answering_node/ids", "/answering_node/copy")


def answering_node(domain, refuse_every=0):
    script = Path(__file__).parents[1] / "helpers" / "answering_node.py"
    return ChildProcess(sys.executable, script, IMAGE, str(refuse_every), domain=domain)


def stamps_of(report, topic):
    return [m["stamp_ns"] for m in report["messages"] if m["topic"] == topic]


def test_raw_720p_frames_pass_three_processes_in_lock_step_without_loss(tmp_path, domain):
    """1. node and recorder start; 2. the player shows 25 frames; 3. the recorder has them all."""
    frames = 25
    bag = write_bag(tmp_path / "drive", frames + 2, size=(720, 1280))
    topics = ("--topics", *ANSWERS, "/answering_node/info", "--report", tmp_path / "record.json")
    command = module("recorder", "--output", tmp_path / "out", "--max-frames", frames, *topics)
    record = ChildProcess(*command, domain=domain)
    node = answering_node(domain)
    with stopping(node, record):
        record.wait_for_line("recording 3 topics")
        arguments = ("--frames", str(frames), "--lock-step", *ANSWERS)
        report = ("--report", tmp_path / "play.json")
        play = ChildProcess(*module("player", bag, *report, *arguments), domain=domain)
        with stopping(play):
            assert play.wait(60.0) == 0, play.output
        # Not stopped: Fast DDS may send a message again, after up to 3 s.
        assert record.wait() == 0, record.output

    played = json.loads((tmp_path / "play.json").read_text())
    recorded = json.loads((tmp_path / "record.json").read_text())
    stamps = [stamp_of(i) for i in range(frames)]
    assert [frame["stamp_ns"] for frame in played["frames"]] == stamps
    assert played["totals"]["answered"] == frames
    messages = 2 * frames + 1
    losses = {"lost": 0, "lost_in_transport": 0}
    assert recorded["totals"] == {"messages": messages, "written": messages, **losses}
    for topic in ANSWERS:
        assert stamps_of(recorded, topic) == stamps
    receipts = {(m["topic"], m["stamp_ns"]): m["receipt_ns"] for m in recorded["messages"]}
    for frame, following in zip(played["frames"], played["frames"][1:], strict=False):
        for topic in ANSWERS:
            assert frame["publish_ns"] < frame["answers"][topic] < following["publish_ns"]
            assert frame["publish_ns"] < receipts[topic, frame["stamp_ns"]]

    with open_bag(tmp_path / "out") as out:
        assert out.topics["/answering_node/info"].latched
        assert not out.topics[ANSWERS[0]].latched
        copies = [out.decode(m) for m in out.messages([ANSWERS[1]])]
        for index, copy in enumerate(copies):
            assert (copy.height, copy.width, copy.encoding) == (720, 1280, "rgb8")
            assert copy.header.frame_id == "camera_optical"
            assert copy.data.size == 720 * 1280 * 3 and (copy.data == index).all()
        assert [m.time_ns for m in out.messages()] == sorted(m.time_ns for m in out.messages())


def test_unanswered_frames_are_counted_and_the_player_continues(tmp_path, domain, finish):
    bag = write_bag(tmp_path / "drive", frames=12)
    report = tmp_path / "play.json"
    arguments = ("--report", report, "--timeout", "0.7", "--lock-step", *ANSWERS)
    with stopping(answering_node(domain, refuse_every=5)):
        code, output = finish("player", bag, *arguments)
    assert code == 3, output
    report = json.loads(report.read_text())
    answered = [None not in frame["answers"].values() for frame in report["frames"]]
    assert answered == [(index + 1) % 5 != 0 for index in range(12)]
    assert report["totals"]["unanswered"] == 2
    assert report["totals"]["messages"] == {IMAGE: 12}
    assert "frame 4 (stamp 1700000000.200000000): no answer after 0.7 s on" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--lock-step /nobody --wait 0.3", "player: no publisher of /nobody after 0.3 s"),
        ("--remap /imge:=/image", f"has no topic /imge; it has: {IMAGE}"),
    ],
)
def test_a_topic_that_is_missing_is_named(tmp_path, finish, arguments, message):
    code, output = finish("player", write_bag(tmp_path / "drive", frames=1), *arguments.split())
    assert code == 1 and message in output and "Traceback" not in output


def test_an_endless_play_keeps_bytes_stamps_qos_and_latched_messages_until_sigint(
    tmp_path, ros, domain
):
    """1. subscribe; 2. play six frames from the second on, at double speed; 3. stop the player."""
    latched = ("/map", "std_msgs/msg/String", [offered(latched=True, depth=50)])
    lossy = ("/lossy", "std_msgs/msg/String", [offered(reliable=False)])
    unknown = ("/thing", "nowhere_msgs/msg/Thing", None)
    extra = [latched, lossy, unknown]
    bag = write_bag(tmp_path / "drive", frames=6, extra=extra, reliable=True)
    with open_bag(bag) as original:
        sent = {topic: [m.data for m in original.messages([topic])] for topic in (IMAGE, "/map")}
    images, maps, clocks, offers = [], [], set(), {}
    later = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    ros.node.create_subscription(Image, "/front/image", images.append, 100, raw=True)
    ros.node.create_subscription(String, "/map", maps.append, later, raw=True)
    ros.node.create_subscription(
        Clock, "/clock", lambda m: clocks.add(m.clock.sec * 10**9 + m.clock.nanosec), 100
    )

    def everything_came():
        for topic in ("/lossy", "/map"):
            for info in ros.node.get_publishers_info_by_topic(topic):
                offers[topic] = (info.qos_profile.reliability, info.qos_profile.durability)
        times = {stamp_of(i) + 7 for i in range(1, 6)}
        return len(images) >= 11 and len(maps) >= 7 and times <= clocks and len(offers) == 2

    arguments = ["--rate", "2", "--clock", "--start", "0.04", "--wait-for-subscribers", "1"]
    arguments += ["--loop", "--remap", f"{IMAGE}:=/front/image"]
    arguments += ["--report", tmp_path / "play.json"]
    play = ChildProcess(*module("player", bag, *arguments), domain=domain)
    with stopping(play):
        ros.wait_until(everything_came, "two rounds of everything")
        assert play.stop() == 0, play.output

    assert images[:11] == [*sent[IMAGE][1:], *sent[IMAGE][1:], sent[IMAGE][1]]
    # The map of frame 0 lies before the start, but was latched: it comes first, and once.
    expected = [*sent["/map"], sent["/map"][1]]  # DDS pads raw data to 4 bytes
    assert all(map(bytes.startswith, maps[:7], expected))
    assert min(clocks) >= START_NS + 40_000_000
    assert offers["/map"] == (ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)
    assert offers["/lossy"] == (ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)
    report = json.loads((tmp_path / "play.json").read_text())
    frames = report["frames"]
    assert report["interrupted"] and report["totals"]["frames"] == len(frames) >= 11
    assert [frame["stamp_ns"] for frame in frames[:6]] == [stamp_of(i) for i in (1, 2, 3, 4, 5, 1)]
    # Two rounds of 105 ms at double speed; a busy machine may show the first frame late.
    assert frames[10]["publish_ns"] - frames[0]["publish_ns"] > 0.1e9
    assert play.output.count("nowhere_msgs/msg/Thing is not installed here") == 1
    assert "Traceback" not in play.output


def test_a_damaged_bag_is_reported_in_one_line(tmp_path, capsys):
    file = write_bag(tmp_path / "drive", frames=8) / "drive.mcap"
    file.write_bytes(file.read_bytes()[:-1000])
    assert player.main([str(tmp_path / "drive")]) == 1
    error = capsys.readouterr().err
    assert re.match(r"player: .*drive.mcap is truncated.*--salvage.*\n$", error), error


FOREIGN = ["/lidar/1_2v", "/option/Enable Auto Exposure", "/a//b", "/{node}/x", "/end/", "/~x"]


def test_topics_that_ros_2_forbids_are_named_and_the_others_played(tmp_path, finish):
    extra = [(name, "std_msgs/msg/String", None) for name in (*FOREIGN, "relative", "/odd_type")]
    extra[-1] = ("/odd_type", "no type", None)
    bag = write_bag(tmp_path / "drive", 2, extra=extra)
    report = tmp_path / "play.json"
    code, output = finish("player", bag, "--rate", "100", "--report", report, "--image", IMAGE[1:])
    assert code == 0, output
    assert all(f"{name} (ROS 2 forbids this name: " in output for name in FOREIGN)
    content = json.loads(report.read_text())
    assert content["skipped_topics"].keys() == {*FOREIGN, "/odd_type"}
    assert content["totals"]["messages"] == {IMAGE: 2, "/relative": 2}


def test_a_camera_with_a_forbidden_name_is_played_under_another(tmp_path, finish):
    name = "davis/0/an image"
    with open_bag(write_bag(tmp_path / "drive", 2)) as bag, BagWriter(tmp_path / "odd") as writer:
        writer.add_topic(name, "sensor_msgs/msg/Image")
        for message in bag.messages():
            writer.write(name, message.time_ns, message.data)
    code, output = finish("player", tmp_path / "odd", "--rate", "100")
    assert code == 1 and f"the image topic {name} cannot be played: ROS 2 forbids" in output
    assert "--remap it" in output and "Traceback" not in output
    remap = ("--remap", f"{name}:=/davis/image", "--image", name)
    code, output = finish("player", tmp_path / "odd", "--rate", "100", *remap)
    assert code == 0, output


def test_a_bag_that_lacks_messages_is_refused_before_anything_is_played(tmp_path, capsys):
    file = write_bag(tmp_path / "drive", 2) / "metadata.yaml"
    file.write_text(file.read_text().replace("message_count: 2", "message_count: 9"))
    assert player.main([str(tmp_path / "drive")]) == 1
    error = capsys.readouterr().err
    assert "is incomplete" in error and f"{IMAGE} has 9 messages, but 2 are there" in error
    assert error.count("\n") == 1


def test_a_schedule_divides_bag_time_by_the_rate_and_is_postponed_by_late_answers(monkeypatch):
    now, second = 100.0, 1_000_000_000
    monkeypatch.setattr(playback.time, "monotonic", lambda: now)
    schedule = playback.Schedule(2.0, START_NS)
    assert schedule.ahead_s(START_NS + 3 * second) == 1.5
    now = 102.0
    assert schedule.ahead_s(START_NS + 3 * second) == -0.5
    schedule.postpone(0.5)
    assert schedule.ahead_s(START_NS + 4 * second) == 0.5
    schedule.postpone(-1.0)
    assert schedule.ahead_s(START_NS + 4 * second) == 0.5


def test_ros_arguments_are_separated_from_ours():
    own, ros = command_line.split_ros_arguments(
        ["bag", "--ros-args", "-r", "a:=b", "--", "--loop", "--ros-args", "-p", "x:=1"]
    )
    assert own == ["bag", "--loop"]
    assert ros == ["--ros-args", "-r", "a:=b", "--", "--ros-args", "-p", "x:=1"]


@pytest.mark.parametrize("arguments", ["bag --rate 0", "bag --remap a", "bag --frames 0", ""])
def test_wrong_arguments_exit_with_2(arguments):
    with pytest.raises(SystemExit, match=r"^2$"):
        player.main(arguments.split())
