"""Bags of uncertain moments: content, reason, quota, and a full disk."""

import json
import resource
from contextlib import contextmanager

import pytest

pytest.importorskip("rosbags", reason="needs rosbags")

from emu_core.bags.reader import open_bag
from emu_core.bags.types import typestore
from emu_core.bags.writer import offered
from emu_perception.bag_tools.disk_queue import Received
from emu_perception.record_uncertain.moment_bags import DELETE_OLDEST, STOP, MomentBags, Quota
from emu_perception.record_uncertain.trigger import DEPTH, LABEL, FrameUncertainty, Moment

TEXT = "std_msgs/msg/String"
STORE = typestore()
WALL_NS = 1_700_000_000 * 10**9
MB = 10**6


def received(index, content="", topic="/text"):
    data = bytes(STORE.serialize_cdr(STORE.types[TEXT](content or str(index)), TEXT))
    return Received(topic, index, WALL_NS + index, data)


def large(index, megabytes):
    return received(index, "x" * int(megabytes * MB))


def write(writer, message):
    if message.topic not in writer.counts:
        writer.add_topic(message.topic, TEXT, [offered(latched=message.topic == "/names")])
    writer.write(message.topic, message.bag_time_ns, message.data)


class Recorded:
    """Bags in a folder, and their log lines."""

    def __init__(self, folder, quota=100 * MB, when_full=STOP, storage="mcap"):
        self.folder, self.infos, self.errors = folder, [], []
        log = (self.infos.append, self.errors.append)
        self.bags = MomentBags(folder, Quota(folder, quota, when_full), storage, write, *log)

    def record(self, before=(), after=(), complete=True):
        trigger = FrameUncertainty(LABEL, 0.6, 17, 3)
        moment = Moment(trigger, 0.5, [FrameUncertainty(DEPTH, 0.25, 16, 2), trigger])
        self.bags.begin(moment, before)
        for message in after:
            self.bags.add(message)
        self.bags.end(complete)

    def written(self):
        """Our bags, in the order in which they were made."""
        return sorted(file.parent for file in self.folder.glob("*/why.json"))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "uncertain"


def why(bag):
    return json.loads((bag / "why.json").read_text())


def times(bag):
    with open_bag(bag) as opened:
        return [m.time_ns - WALL_NS for m in opened.messages()]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_bag_holds_the_messages_before_and_after_and_the_reason(folder, storage):
    recorded = Recorded(folder, storage=storage)
    before = [received(1, "a", "/names"), received(1), received(2)]
    recorded.record(before, [received(3), received(4)])
    (bag,) = recorded.written()
    with open_bag(bag) as opened:
        content = [(m.topic, opened.decode(m).data) for m in opened.messages()]
        assert opened.topics["/names"].latched and not opened.topics["/text"].latched
    assert content == [("/names", "a"), *(("/text", str(number)) for number in (1, 2, 3, 4))]
    assert times(bag) == [1, 1, 2, 3, 4]
    report = why(bag)
    assert report["reason"] == "mean label uncertainty 0.600 > 0.5"
    assert (report["state"], report["stamp_ns"]) == ("whole", 17)
    assert report["peak"] == {LABEL: 0.6, DEPTH: 0.25}
    assert report["messages"] == {"/names": 1, "/text": 4}
    assert report["frames"] == [{"stamp_ns": 16, DEPTH: 0.25}, {"stamp_ns": 17, LABEL: 0.6}]
    assert report["time"].startswith(bag.name[:10]) and report["time"].endswith("+00:00")
    assert recorded.infos == [f"{bag}: mean label uncertainty 0.600 > 0.5"]
    assert not recorded.errors


def test_moments_within_a_millisecond_get_different_bags_and_incomplete_ones_say_so(folder):
    recorded = Recorded(folder)
    for _ in range(30):
        recorded.record([received(1)], complete=False)
    assert len(recorded.written()) == 30 == recorded.bags.written
    assert why(recorded.written()[0])["state"] == "cut short: the recorder was stopped"


def test_a_quota_stops_recording_and_deletes_nothing(folder):
    recorded = Recorded(folder, quota=3 * MB)
    recorded.record([large(1, 1)], [large(2, 1)])
    recorded.record([large(3, 0.5)], [large(4, 1), large(5, 0.1)])
    first, second = recorded.written()
    assert times(second) == [3]
    assert why(first)["state"] == "whole"
    assert why(second)["state"].startswith("cut short: the bags")
    recorded.record([large(6, 1)])
    assert recorded.written() == [first, second]
    cut, refused = recorded.errors
    assert f"{second} is incomplete: the bags in {folder} have reached the quota" in cut
    assert refused.startswith("no bag of this moment (mean label uncertainty 0.600 > 0.5)")
    assert recorded.bags.written == 1


@pytest.mark.parametrize("why_of_others", ['{"made_by": "somebody else"}', "[]", "no JSON"])
def test_a_quota_deletes_our_oldest_bags_and_no_others(folder, why_of_others):
    other = folder / "0000-other"
    other.mkdir(parents=True)
    (other / "why.json").write_text(why_of_others)
    (other / "data").write_bytes(bytes(5 * MB))
    recorded = Recorded(folder, quota=3 * MB, when_full=DELETE_OLDEST)
    for index in range(5):
        recorded.record([large(index, 0.5)], [large(index, 0.5)])
    assert [times(bag)[0] for bag in recorded.written() if bag != other] == [3, 4]
    assert (other / "data").stat().st_size == 5 * MB
    assert not recorded.errors


def test_a_moment_larger_than_the_quota_is_cut_short(folder):
    recorded = Recorded(folder, quota=MB, when_full=DELETE_OLDEST)
    recorded.record([large(1, 0.4)], [large(2, 0.4), large(3, 0.4), large(4, 0.1)])
    (bag,) = recorded.written()
    assert times(bag) == [1, 2] and len(recorded.errors) == 1


@contextmanager
def file_size_limit(size):
    """Writes fail as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_reported_and_the_next_moment_is_recorded(folder):
    recorded = Recorded(folder)
    with file_size_limit(2 * MB):
        recorded.record([large(0, 0.2)], [large(index, 0.2) for index in range(1, 20)])
    assert len(recorded.errors) == 1 and "File too large" in recorded.errors[0]
    recorded.record([received(9)])
    broken, fine = recorded.written()
    assert why(broken)["state"].startswith("cut short: cannot write to")
    assert why(fine)["state"] == "whole"
    assert 1 <= len(times(broken)) < 10 and times(broken) == list(range(len(times(broken))))
    assert times(fine) == [9]


def test_a_disk_without_space_for_why_json_gets_no_bag(folder):
    recorded = Recorded(folder)
    with file_size_limit(100):
        recorded.record([received(1)], [received(2)])
    (error,) = recorded.errors
    assert "why.json cannot be written: File too large" in error
    assert list(folder.iterdir()) == [] and recorded.bags.written == 0


def test_a_folder_that_cannot_be_created_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    recorded = Recorded(tmp_path / "file" / "uncertain")
    recorded.record([received(1)], [received(2)])
    assert len(recorded.errors) == 1 and "Not a directory" in recorded.errors[0]
