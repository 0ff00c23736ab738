"""Bags of uncertain moments: what is in them, why, and what happens when the disk has no room."""

import json
import resource
from contextlib import contextmanager

import pytest

pytest.importorskip("rosbags", reason="needs rosbags")

from emu_core.bags import types as bag_types
from emu_core.bags.reader import open_bag
from emu_core.bags.writer import offered
from emu_perception.record_uncertain.moment_bags import (
    DELETE_OLDEST,
    STOP,
    MomentBags,
    Quota,
    Recorded,
)
from emu_perception.record_uncertain.moments import DEPTH, LABEL, Doubt, Moment, Received

TEXT = "std_msgs/msg/String"
STORE = bag_types.typestore()
WALL_NS = 1_700_000_000 * 10**9
MB = 10**6


def text(content):
    return bytes(STORE.serialize_cdr(STORE.types[TEXT](content), TEXT))


def received(index, content="", topic="/text"):
    return Received(topic, index, WALL_NS + index, text(content or str(index)))


def moment(value=0.6):
    trigger = Doubt(LABEL, value, 17, 3)
    return Moment(trigger, 0.5, [Doubt(DEPTH, 0.25, 16, 2), trigger])


class Rig:
    """Bags in a folder, and what they told."""

    def __init__(self, folder, quota=100 * MB, when_full=STOP, storage="mcap"):
        self.folder = folder
        self.infos, self.errors = [], []
        self.bags = MomentBags(
            folder,
            Quota(folder, quota, when_full),
            storage,
            lambda topic: Recorded(TEXT, [offered(latched=topic == "/names")]),
            lambda store, msgtype: None,
            self.infos.append,
            self.errors.append,
        )

    def record(self, before=(), after=(), whole=True):
        here = moment()
        self.bags.begin(here, before)
        for message in after:
            self.bags.add(message)
        self.bags.end(here, whole)

    def written(self):
        """Our bags, in the order in which they were made."""
        return sorted(file.parent for file in self.folder.glob("*/why.json"))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "uncertain"


def why(bag):
    return json.loads((bag / "why.json").read_text())


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_bag_holds_what_was_before_and_after_and_says_why(folder, storage):
    rig = Rig(folder, storage=storage)
    rig.record([received(1, "a", "/names"), received(1), received(2)], [received(3), received(4)])
    (bag,) = rig.written()
    with open_bag(bag) as opened:
        messages = list(opened.messages())
        content = [(m.topic, m.time_ns - WALL_NS, opened.decode(m).data) for m in messages]
        assert opened.topics["/names"].latched and not opened.topics["/text"].latched
    assert content == [
        ("/names", 1, "a"),
        ("/text", 1, "1"),
        ("/text", 2, "2"),
        ("/text", 3, "3"),
        ("/text", 4, "4"),
    ]
    told = why(bag)
    assert told["reason"] == "mean label uncertainty 0.600 > 0.5"
    assert (told["state"], told["stamp_ns"]) == ("whole", 17)
    assert told["peak"] == {LABEL: 0.6, DEPTH: 0.25}
    assert told["messages"] == {"/names": 1, "/text": 4}
    assert told["frames"] == [{"stamp_ns": 16, DEPTH: 0.25}, {"stamp_ns": 17, LABEL: 0.6}]
    assert told["time"].startswith(bag.name[:10]) and told["time"].endswith("+00:00")
    assert rig.infos == [f"{bag}: mean label uncertainty 0.600 > 0.5"] and not rig.errors


def test_moments_within_a_millisecond_get_bags_of_their_own(folder):
    rig = Rig(folder)
    for _ in range(30):
        rig.record([received(1)])
    assert len(rig.written()) == 30 == rig.bags.written


def test_a_moment_that_the_end_cut_short_says_so(folder):
    rig = Rig(folder)
    rig.record([received(1)], whole=False)
    assert why(rig.written()[0])["state"] == "cut short: the recorder was stopped"


def filler(index, megabytes):
    return received(index, "x" * int(megabytes * MB))


def test_a_quota_stops_recording_and_deletes_nothing(folder):
    rig = Rig(folder, quota=3 * MB)
    rig.record([filler(1, 1)], [filler(2, 1)])
    rig.record([filler(3, 0.5)], [filler(4, 1), filler(5, 0.1)])
    first, second = rig.written()
    with open_bag(second) as opened:
        assert [m.time_ns - WALL_NS for m in opened.messages()] == [3]
    assert why(first)["state"] == "whole"
    assert why(second)["state"].startswith("cut short: the bags")
    rig.record([filler(6, 1)])
    assert rig.written() == [first, second]
    assert f"{second} is cut short: the bags in {folder} have reached the quota" in rig.errors[0]
    assert rig.errors[1].startswith("no bag of this moment (mean label uncertainty 0.600 > 0.5)")
    assert len(rig.errors) == 2 and rig.bags.written == 1


def test_a_quota_deletes_our_oldest_and_nothing_of_others(folder):
    theirs = folder / "0000-theirs"
    theirs.mkdir(parents=True)
    (theirs / "why.json").write_text('{"made_by": "somebody else"}')
    (theirs / "data").write_bytes(bytes(5 * MB))
    rig = Rig(folder, quota=3 * MB, when_full=DELETE_OLDEST)
    for index in range(5):
        rig.record([filler(index, 0.5)], [filler(index, 0.5)])
    ours = [bag for bag in rig.written() if bag != theirs]
    times = []
    for bag in ours:
        with open_bag(bag) as opened:
            times.append(opened.start_ns - WALL_NS)
    assert times == [3, 4]
    assert (theirs / "data").stat().st_size == 5 * MB
    assert not rig.errors


def test_one_moment_larger_than_the_quota_is_cut_short(folder):
    rig = Rig(folder, quota=MB, when_full=DELETE_OLDEST)
    rig.record([filler(1, 0.4)], [filler(2, 0.4), filler(3, 0.4), filler(4, 0.1)])
    (bag,) = rig.written()
    with open_bag(bag) as opened:
        assert [m.time_ns - WALL_NS for m in opened.messages()] == [1, 2]
    assert len(rig.errors) == 1


@contextmanager
def files_no_larger_than(size):
    """What a full disk is like."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_told_and_the_next_moment_is_recorded_again(folder):
    rig = Rig(folder)
    with files_no_larger_than(2 * MB):
        rig.record([filler(0, 0.2)], [filler(index, 0.2) for index in range(1, 20)])
    assert len(rig.errors) == 1 and "File too large" in rig.errors[0]
    rig.record([received(9)])
    broken, fine = rig.written()
    assert why(broken)["state"].startswith("cut short: cannot write to")
    assert why(fine)["state"] == "whole"
    with open_bag(broken) as opened:
        times = [m.time_ns - WALL_NS for m in opened.messages()]
    assert 1 <= len(times) < 10 and times == list(range(len(times)))
    with open_bag(fine) as opened:
        assert opened.message_count == 1


def test_a_disk_without_room_for_its_why_gets_no_bag(folder):
    rig = Rig(folder)
    with files_no_larger_than(100):
        rig.record([received(1)], [received(2)])
    assert len(rig.errors) == 1 and "why.json cannot be written: File too large" in rig.errors[0]
    assert list(folder.iterdir()) == [] and rig.bags.written == 0


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    rig = Rig(tmp_path / "file" / "uncertain")
    rig.record([received(1)], [received(2)])
    assert len(rig.errors) == 1 and "Not a directory" in rig.errors[0]
