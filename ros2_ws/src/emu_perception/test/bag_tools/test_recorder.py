"""The recorder as a process over real DDS, and the QoS of subscriptions and bags."""

import json
import resource
import signal

import pytest

pytest.importorskip("rosbags", reason="needs rosbags")

from helpers.drive_bags import IMAGE
from helpers.ros_processes import ChildProcess, module, stopping, wait_until
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import QosDurability, QosReliability, QosTime
from sensor_msgs.msg import Image
from std_msgs.msg import String

from emu_core.bags.reader import open_bag
from emu_core.bags.writer import offered
from emu_perception.bag_tools import recorder
from emu_perception.bag_tools.topics import reader_qos, recorded_qos, writer_qos

RELIABLE, LOSSY = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
LATCHED, VOLATILE = DurabilityPolicy.TRANSIENT_LOCAL, DurabilityPolicy.VOLATILE


def start(domain, folder, *arguments):
    return ChildProcess(*module("recorder", "--output", folder, *arguments), domain=domain)


def test_an_existing_output_is_refused_and_not_changed(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    assert recorder.main(["--output", str(tmp_path / "out"), "--topics", "/a"]) == 1
    assert "exists already and is not overwritten" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_topic_that_never_appears_ends_the_recorder_and_leaves_no_bag(tmp_path, finish):
    arguments = ("--output", tmp_path / "out", "--topics", "/never", "--wait", "0.3")
    code, output = finish("recorder", *arguments)
    assert code == 1 and "recorder: no publisher of /never after 0.3 s" in output
    assert not (tmp_path / "out").exists()


def test_a_late_publisher_with_another_qos_is_recorded(tmp_path, ros, domain):
    """Type given, no publisher; then one that is best effort; then silence ends the recording."""
    arguments = ("--storage", "sqlite3", "--topics", "late:=std_msgs/msg/String")
    record = start(domain, tmp_path / "out", *arguments, "--until-idle", "0.5")
    with stopping(record):
        record.wait_for_line("recording 1 topics")
        lossy = QoSProfile(depth=1, reliability=LOSSY)
        publisher = ros.node.create_publisher(String, "/late", lossy)
        ros.wait_until(publisher.get_subscription_count, "a compatible subscription")
        publisher.publish(String(data="here"))
        assert record.wait() == 0, record.output
    with open_bag(tmp_path / "out") as bag:
        assert [bag.decode(m).data for m in bag.messages()] == ["here"]
        assert bag.topics["/late"].qos[0].reliability is QosReliability.BEST_EFFORT


def test_topics_of_a_pattern_are_recorded_until_each_has_its_messages(tmp_path, ros, domain):
    publishers = [ros.node.create_publisher(String, f"/lab/{name}", 10) for name in "ab"]
    other = ros.node.create_publisher(String, "/elsewhere", 10)
    record = start(domain, tmp_path / "out", "--regex", "^/lab/", "--max-frames", "3")
    with stopping(record):
        record.wait_for_line("recording 2 topics")
        ros.wait_until(lambda: all(p.get_subscription_count() for p in publishers), "recorder")
        for index in range(3):
            for publisher in (*publishers, other):
                publisher.publish(String(data=str(index)))
        assert record.wait() == 0, record.output
    with open_bag(tmp_path / "out") as bag:
        counts = {name: topic.count for name, topic in bag.topics.items()}
        assert counts == {"/lab/a": 3, "/lab/b": 3}


def test_a_camera_that_publishes_everything_latched_is_recorded_until_it_has_its_images(
    tmp_path, ros, domain
):
    latched = QoSProfile(depth=1, durability=LATCHED)
    names = ("/latched/image", "/latched/camera_info")
    images, info = (ros.node.create_publisher(String, name, latched) for name in names)
    info.publish(String(data="once, before the recorder"))
    record = start(domain, tmp_path / "out", "--topics", *names, "--max-frames", "3")
    with stopping(record):
        record.wait_for_line("recording 2 topics")
        ros.wait_until(images.get_subscription_count, "recorder")
        wait_until(
            lambda: record.process.poll() is not None,
            "the recorder's end",
            lambda: (images.publish(String(data="image")), ros.spin()),
        )
        assert record.wait() == 0, record.output
    with open_bag(tmp_path / "out") as bag:
        assert bag.topics[names[0]].count >= 3 and bag.topics[names[1]].count == 1


def test_messages_that_never_arrive_are_counted_and_those_that_arrive_late_are_recorded(
    tmp_path, ros, domain
):
    """The recorder stands still while a publisher shows four times as many images as it keeps."""
    publisher, count = ros.node.create_publisher(Image, IMAGE, 10), 40
    image = Image(height=720, width=1280, encoding="rgb8", step=3840, data=bytes(720 * 3840))
    report = tmp_path / "record.json"
    record = start(domain, tmp_path / "out", "--topics", IMAGE, "--report", report)
    with stopping(record):
        record.wait_for_line("recording 1 topics")
        record.process.send_signal(signal.SIGSTOP)
        for index in range(count):
            image.header.stamp.sec = index
            publisher.publish(image)
        record.process.send_signal(signal.SIGCONT)
        assert publisher.wait_for_all_acked(Duration(seconds=20))
        assert record.stop() == 0, record.output
    result = json.loads(report.read_text())
    totals, seconds = result["totals"], [m["stamp_ns"] // 10**9 for m in result["messages"]]
    assert seconds[-10:] == list(range(count))[-10:]
    assert totals["lost"] == 0 and totals["written"] == totals["messages"] == len(seconds)
    assert totals["lost_in_transport"] == count - len(seconds) > 0
    assert f"messages of {IMAGE} were lost in transport" in record.output
    assert (
        f"{totals['lost_in_transport']} messages lost: before they arrived here" in record.output
    )


def test_a_full_disk_ends_the_recorder_with_an_error_and_a_readable_bag(tmp_path, ros, domain):
    publisher = ros.node.create_publisher(Image, IMAGE, 10)
    record = start(domain, tmp_path / "out", "--topics", IMAGE)
    image = Image(height=512, width=1024, encoding="rgb8", step=3072, data=bytes(512 * 1024 * 3))
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


def test_a_reader_of_several_publishers_requests_what_they_all_offer():
    class Endpoint:
        def __init__(self, reliability, durability):
            self.qos_profile = QoSProfile(depth=1, reliability=reliability, durability=durability)

    for offers, expected in [
        ([], (RELIABLE, VOLATILE)),
        ([(RELIABLE, LATCHED)], (RELIABLE, LATCHED)),
        ([(RELIABLE, LATCHED), (RELIABLE, VOLATILE)], (RELIABLE, VOLATILE)),
        ([(RELIABLE, LATCHED), (LOSSY, LATCHED)], (LOSSY, LATCHED)),
    ]:
        qos = reader_qos([Endpoint(*offer) for offer in offers])
        assert (qos.reliability, qos.durability) == expected


@pytest.mark.parametrize(
    ("recorded", "lossless", "expected"),
    [
        ([offered(reliable=False, depth=1)], False, (LOSSY, VOLATILE, 1)),
        ([offered(reliable=False, depth=1)], True, (RELIABLE, VOLATILE, 10)),
        ([offered(latched=True, depth=n) for n in (1, 2)], False, (RELIABLE, LATCHED, 3)),
        ([], False, (RELIABLE, VOLATILE, 10)),
    ],
)
def test_recorded_qos_is_replayed_and_serves_the_readers_of_all(recorded, lossless, expected):
    qos = writer_qos(recorded, lossless=lossless)
    assert (qos.reliability, qos.durability, qos.depth) == expected


def test_a_deadline_is_replayed_and_the_default_profile_recorded():
    hurried = offered()._replace(deadline=QosTime(0, 250_000_000))
    assert writer_qos([hurried], lossless=False).deadline.nanoseconds == 250_000_000
    (default,) = recorded_qos([])
    assert default.reliability is QosReliability.RELIABLE
    assert default.durability is QosDurability.VOLATILE
