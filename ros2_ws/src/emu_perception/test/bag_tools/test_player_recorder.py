"""Player and recorder as processes over real DDS, in a ROS domain of their own."""

import json
import re
import resource
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")
pytest.importorskip("rosbags", reason="needs rosbags")

import domain_coordinator
from helpers.drive_bags import IMAGE, START_NS, stamp_of, write_bag
from helpers.ros_processes import ChildProcess, TestNode, module, stopping, wait_until
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import QosDurability, QosReliability, QosTime
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import String

from emu_core.bags.reader import open_bag
from emu_core.bags.writer import BagWriter, offered
from emu_perception.bag_tools import playback, player, recorder
from emu_perception.bag_tools import topics as endpoints
from emu_perception.ros import command_line

ANSWERS = ("/answering_node/ids", "/answering_node/copy")


@pytest.fixture
def domain():
    with domain_coordinator.domain_id() as number:
        yield number


@pytest.fixture
def ros(domain):
    node = TestNode(domain)
    yield node
    node.close()


def answering_node(domain, refuse_every=0):
    script = Path(__file__).parents[1] / "helpers" / "answering_node.py"
    return ChildProcess(sys.executable, script, IMAGE, str(refuse_every), domain=domain)


def stamps_of(report, topic):
    return [m["stamp_ns"] for m in report["messages"] if m["topic"] == topic]


def test_raw_720p_frames_go_through_three_processes_in_lock_step_without_loss(tmp_path, domain):
    """1. node and recorder start; 2. the player shows 25 frames; 3. the recorder is stopped."""
    frames = 25
    bag = write_bag(tmp_path / "drive", frames + 2, size=(720, 1280))
    record = ChildProcess(
        *module("recorder", "--output", tmp_path / "out", "--report", tmp_path / "record.json"),
        *("--topics", *ANSWERS, "/answering_node/info"),
        domain=domain,
    )
    node = answering_node(domain)
    with stopping(node, record):
        record.wait_for_line("recording 3 topics")
        play = ChildProcess(
            *module("player", bag, "--report", tmp_path / "play.json", "--lock-step", *ANSWERS),
            *("--frames", str(frames)),
            domain=domain,
        )
        with stopping(play):
            assert play.wait(60.0) == 0, play.output
        assert record.stop() == 0, record.output

    played = json.loads((tmp_path / "play.json").read_text())
    recorded = json.loads((tmp_path / "record.json").read_text())
    stamps = [stamp_of(i) for i in range(frames)]
    assert [frame["stamp_ns"] for frame in played["frames"]] == stamps
    assert played["totals"]["answered"] == frames
    assert recorded["totals"] == {"messages": 2 * frames + 1, "written": 2 * frames + 1, "lost": 0}
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


def test_refused_frames_are_counted_and_the_play_goes_on(tmp_path, domain):
    bag = write_bag(tmp_path / "drive", frames=12)
    node = answering_node(domain, refuse_every=5)
    play = ChildProcess(
        *module("player", bag, "--report", tmp_path / "play.json", "--timeout", "0.7"),
        *("--lock-step", *ANSWERS),
        domain=domain,
    )
    with stopping(node, play):
        assert play.wait() == 3, play.output
    report = json.loads((tmp_path / "play.json").read_text())
    answered = [None not in frame["answers"].values() for frame in report["frames"]]
    assert answered == [(index + 1) % 5 != 0 for index in range(12)]
    assert report["totals"]["unanswered"] == 2
    assert report["totals"]["messages"] == {IMAGE: 12}
    assert "frame 4 (stamp 1700000000.200000000) unanswered after 0.7 s by" in play.output


def test_lock_step_without_a_node_names_the_topics_that_nobody_publishes(tmp_path, domain):
    bag = write_bag(tmp_path / "drive", frames=1)
    play = ChildProcess(
        *module("player", bag, "--lock-step", "/nobody/answers", "--wait", "0.3"), domain=domain
    )
    with stopping(play):
        assert play.wait() == 1
    assert "player: nobody publishes /nobody/answers after 0.3 s" in play.output
    assert "Traceback" not in play.output


def test_an_endless_play_keeps_bytes_stamps_qos_and_what_was_latched_until_sigint(
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

    play = ChildProcess(
        *module("player", bag, "--report", tmp_path / "play.json", "--rate", "2", "--clock"),
        *("--start", "0.04", "--loop", "--wait-for-subscribers", "1"),
        *("--remap", f"{IMAGE}:=/front/image"),
        domain=domain,
    )
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


def test_a_topic_that_the_bag_does_not_have_is_told_with_those_it_has(tmp_path, domain):
    bag = write_bag(tmp_path / "drive", frames=1)
    play = ChildProcess(*module("player", bag, "--remap", "/imge:=/image"), domain=domain)
    with stopping(play):
        assert play.wait() == 1
    assert f"has no topic /imge; it has: {IMAGE}" in play.output


def damage(folder, kind):
    """Turn a good bag of eight frames into one of the bags that users have."""
    data = folder / "drive.mcap"
    metadata = folder / "metadata.yaml"
    if kind == "metadata cut short":
        metadata.write_text(metadata.read_text()[:700])
    elif kind == "data cut short":
        data.write_bytes(data.read_bytes()[:-1000])
    elif kind == "random bytes":
        data.write_bytes(np.random.default_rng(0).bytes(5000))
    elif kind == "data missing":
        data.unlink()
    elif kind == "nothing there":
        return folder / "nothing"
    return folder


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("nothing there", r"player: no bag at .*nothing: give the folder"),
        ("metadata cut short", r"player: .*metadata.yaml is damaged .*ros2 bag reindex"),
        ("data cut short", r"player: .*drive.mcap breaks off.*--salvage"),
        ("random bytes", r"player: .*drive.mcap is damaged or no bag file"),
        ("data missing", r"player: .*lacks its data: drive.mcap"),
    ],
)
def test_a_damaged_bag_is_told_in_one_line(tmp_path, capsys, kind, told):
    path = damage(write_bag(tmp_path / "drive", frames=8), kind)
    assert player.main([str(path)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.match(told, error), error


def test_a_bag_without_messages_or_without_images_is_told_in_one_line(tmp_path, capsys, domain):
    with BagWriter(tmp_path / "empty") as writer:
        writer.add_topic("/text", "std_msgs/msg/String")
    assert player.main([str(tmp_path / "empty")]) == 1
    assert "is empty: it holds no message" in capsys.readouterr().err
    with BagWriter(tmp_path / "text") as writer:
        writer.add_topic("/text", "std_msgs/msg/String")
        text = writer.store.types["std_msgs/msg/String"]("hello")
        writer.write("/text", 1, writer.encode(text))
    play = ChildProcess(*module("player", tmp_path / "text"), domain=domain)
    with stopping(play):
        assert play.wait() == 1
    assert "has no images" in play.output and "/text (std_msgs/msg/String)" in play.output
    assert "Traceback" not in play.output


def test_an_existing_output_is_refused_and_left_alone(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    assert recorder.main(["--output", str(tmp_path / "out"), "--topics", "/a"]) == 1
    assert "exists already and is not overwritten" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_topic_that_never_comes_ends_the_recorder_and_leaves_no_bag(tmp_path, domain):
    record = ChildProcess(
        *module("recorder", "--output", tmp_path / "out", "--topics", "/never", "--wait", "0.3"),
        domain=domain,
    )
    with stopping(record):
        assert record.wait() == 1
    assert "recorder: nobody publishes /never after 0.3 s" in record.output
    assert not (tmp_path / "out").exists()


def test_the_recorder_takes_up_a_publisher_that_comes_late_with_another_qos(tmp_path, ros, domain):
    """Type given, nobody there; then one that is best effort; then silence ends the recording."""
    record = ChildProcess(
        *module("recorder", "--output", tmp_path / "out", "--storage", "sqlite3"),
        *("--topics", "late:=std_msgs/msg/String", "--until-idle", "0.5"),
        domain=domain,
    )
    with stopping(record):
        record.wait_for_line("recording 1 topics")
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        publisher = ros.node.create_publisher(String, "/late", qos)
        ros.wait_until(publisher.get_subscription_count, "a subscription that fits")
        publisher.publish(String(data="here"))
        assert record.wait() == 0, record.output
    with open_bag(tmp_path / "out") as bag:
        assert [bag.decode(m).data for m in bag.messages()] == ["here"]
        assert bag.topics["/late"].qos[0].reliability is QosReliability.BEST_EFFORT


def test_all_topics_of_a_pattern_are_recorded_until_each_brought_its_frames(tmp_path, ros, domain):
    publishers = [ros.node.create_publisher(String, f"/lab/{name}", 10) for name in "ab"]
    other = ros.node.create_publisher(String, "/elsewhere", 10)
    record = ChildProcess(
        *module("recorder", "--output", tmp_path / "out", "--regex", "^/lab/"),
        *("--max-frames", "3"),
        domain=domain,
    )
    with stopping(record):
        record.wait_for_line("recording 2 topics")
        ros.wait_until(lambda: all(p.get_subscription_count() for p in publishers), "recorder")
        for index in range(3):
            for publisher in (*publishers, other):
                publisher.publish(String(data=str(index)))
        assert record.wait() == 0, record.output
    with open_bag(tmp_path / "out") as bag:
        assert {name: topic.count for name, topic in bag.topics.items()} == {
            "/lab/a": 3,
            "/lab/b": 3,
        }


def test_a_full_disk_ends_the_recorder_with_an_error_and_a_readable_bag(tmp_path, ros, domain):
    publisher = ros.node.create_publisher(Image, IMAGE, 10)
    record = ChildProcess(
        *module("recorder", "--output", tmp_path / "out", "--topics", IMAGE), domain=domain
    )
    image = Image(height=512, width=1024, encoding="rgb8", step=3072)
    image.data.frombytes(bytes(512 * 1024 * 3))
    with stopping(record):
        record.wait_for_line("recording 1 topics")
        resource.prlimit(record.process.pid, resource.RLIMIT_FSIZE, (8 * 2**20, 8 * 2**20))

        def show():
            publisher.publish(image)
            ros.spin()

        wait_until(lambda: record.process.poll() is not None, "the recorder's end", show)
        assert record.wait() == 1
    assert "recorder: cannot write to" in record.output and "File too large" in record.output
    assert "Traceback" not in record.output
    with open_bag(tmp_path / "out") as bag:
        assert bag.topics[IMAGE].count >= 4
        assert all(len(bag.decode(m).data) == 512 * 1024 * 3 for m in bag.messages())


def test_a_reader_of_several_publishers_asks_for_what_they_all_offer():
    class Info:
        def __init__(self, reliability, durability):
            self.qos_profile = QoSProfile(depth=1, reliability=reliability, durability=durability)

    reliable, lossy = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
    kept, volatile = DurabilityPolicy.TRANSIENT_LOCAL, DurabilityPolicy.VOLATILE
    for offers, expected in [
        ([], (reliable, volatile)),
        ([(reliable, kept)], (reliable, kept)),
        ([(reliable, kept), (reliable, volatile)], (reliable, volatile)),
        ([(reliable, kept), (lossy, kept)], (lossy, kept)),
    ]:
        qos = endpoints.reader_qos([Info(*offer) for offer in offers])
        assert (qos.reliability, qos.durability) == expected


def test_recorded_qos_comes_back_and_several_publishers_become_one_that_serves_all():
    lossy = endpoints.writer_qos([offered(reliable=False, depth=1)], lossless=False)
    assert lossy.reliability == ReliabilityPolicy.BEST_EFFORT and lossy.depth == 1
    lossless = endpoints.writer_qos([offered(reliable=False, depth=1)], lossless=True)
    assert lossless.reliability == ReliabilityPolicy.RELIABLE and lossless.depth == 10
    both = endpoints.writer_qos(
        [offered(latched=True, depth=1), offered(latched=True, depth=2)], lossless=False
    )
    assert both.durability == DurabilityPolicy.TRANSIENT_LOCAL and both.depth == 3
    unknown = endpoints.writer_qos([], lossless=False)
    assert unknown.reliability == ReliabilityPolicy.RELIABLE and unknown.depth == 10
    hurried = offered()._replace(deadline=QosTime(0, 250_000_000))
    assert endpoints.writer_qos([hurried], lossless=False).deadline.nanoseconds == 250_000_000
    back = endpoints.recorded_qos([])[0]
    assert (back.reliability, back.durability) == (QosReliability.RELIABLE, QosDurability.VOLATILE)


def test_a_schedule_divides_bag_time_by_the_rate_and_moves_behind_a_late_answer(monkeypatch):
    now = 100.0
    monkeypatch.setattr(playback.time, "monotonic", lambda: now)
    schedule = playback.Schedule(2.0, START_NS)
    second = 1_000_000_000
    assert schedule.ahead_s(START_NS) == 0.0
    assert schedule.ahead_s(START_NS + 3 * second) == 1.5
    now = 102.0
    assert schedule.ahead_s(START_NS + 3 * second) == -0.5
    schedule.postpone(0.5)
    assert schedule.ahead_s(START_NS + 4 * second) == 0.5
    schedule.postpone(-1.0)
    assert schedule.ahead_s(START_NS + 4 * second) == 0.5


def test_ros_arguments_are_kept_apart_from_ours():
    own, ros = command_line.split_ros_arguments(
        ["bag", "--ros-args", "-r", "a:=b", "--", "--loop", "--ros-args", "-p", "x:=1"]
    )
    assert own == ["bag", "--loop"]
    assert ros == ["--ros-args", "-r", "a:=b", "--", "--ros-args", "-p", "x:=1"]


def test_a_missing_package_is_told_with_the_way_to_get_it(capsys):
    def work():
        raise ModuleNotFoundError("No module named 'rosbags'", name="rosbags.rosbag2")

    assert command_line.run("player", work) == 1
    assert capsys.readouterr().err == (
        "player: the Python package rosbags is not installed: pip install rosbags\n"
    )


@pytest.mark.parametrize(
    "arguments", [["bag", "--rate", "0"], ["bag", "--remap", "a"], ["bag", "--frames", "0"], []]
)
def test_wrong_arguments_exit_with_2(arguments):
    with pytest.raises(SystemExit) as ended:
        player.main(arguments)
    assert ended.value.code == 2
