"""Messages of uncertain moments, from hand-made streams with a frame per second."""

import numpy as np
import pytest

from emu_perception.bag_tools.disk_queue import Received
from emu_perception.record_uncertain.trigger import (
    DEPTH,
    LABEL,
    DepthRatio,
    FrameUncertainty,
    RingBuffer,
    Trigger,
    TriggerRules,
    mean_uncertainty,
)

S = 10**9
WALL_S = 1_700_000_000


class ListSink:
    """A sink that keeps bags as lists of data."""

    def __init__(self):
        self.bags, self.moments, self.complete = [], [], []

    def begin(self, moment, messages):
        self.moments.append(moment)
        self.bags.append([message.data.decode() for message in messages])
        self.first = messages

    def add(self, message):
        self.bags[-1].append(message.data.decode())

    def end(self, complete):
        self.complete.append(complete)


def make_trigger(rules):
    sink = ListSink()
    return Trigger(rules, sink, lambda size, call: call()), sink


def message(second, text, topic="/image", latched=False):
    return Received(topic, second * S, (WALL_S + second) * S, text.encode(), latched)


def drive(rules, uncertainties, kind=LABEL):
    """Show the trigger a frame per second."""
    trigger, sink = make_trigger(rules)
    for second, value in enumerate(uncertainties):
        trigger.take(message(second, f"i{second}"))
        trigger.check(FrameUncertainty(kind, value, second, second * S))
    return trigger, sink


def rules(label=0.5, depth=0.0, before=2.0, after=1.0, interval=0.0, size=10**6):
    return TriggerRules({LABEL: label, DEPTH: depth}, before, after, interval, size)


def test_a_moment_includes_the_seconds_before_and_after_its_trigger():
    _, sink = drive(rules(), [0.1, 0.1, 0.1, 0.1, 0.6, 0.1, 0.1, 0.1])
    assert sink.bags == [["i2", "i3", "i4", "i5"]]
    assert sink.complete == [True]
    (moment,) = sink.moments
    assert (moment.trigger, moment.limit) == (FrameUncertainty(LABEL, 0.6, 4, 4 * S), 0.5)
    assert [frame.value for frame in moment.frames] == [0.1, 0.1, 0.6, 0.1]
    assert (moment.peak(LABEL), moment.peak(DEPTH)) == (0.6, None)


@pytest.mark.parametrize(
    ("limits", "values", "kind", "bags"),
    [
        (rules(), [0.5] * 5, LABEL, []),  # exactly the limit
        (rules(label=0.0), [1.0] * 5, LABEL, []),  # disabled
        (rules(label=0.9, depth=0.2), [0.5, 0.5], LABEL, []),
        (rules(label=0.9, depth=0.2), [0.1, 0.3], DEPTH, ["i0 i1"]),
        # Moments do not share messages.
        (rules(), [0.6, 0, 0, 0.6, 0.6, 0.6, 0, 0], LABEL, ["i0 i1", "i2 i3 i4", "i5 i6"]),
        # Three messages of two bytes from the buffer, then the moment's own.
        (rules(before=100.0, size=6), [0, 0, 0, 0, 0.6, 0], LABEL, ["i2 i3 i4 i5"]),
    ],
)
def test_each_kind_has_a_limit_and_the_buffer_has_a_size(limits, values, kind, bags):
    assert [" ".join(bag) for bag in drive(limits, values, kind)[1].bags] == bags


def test_frames_within_the_interval_do_not_trigger():
    trigger, sink = drive(rules(interval=5.0), [0.6] * 11)
    assert [moment.trigger.stamp_ns for moment in sink.moments] == [0, 5, 10]
    # A moment lasts two frames: of five, it contains the first two, and three came too soon.
    assert trigger.suppressed == 6


def test_the_ring_buffer_counts_its_bytes():
    ring = RingBuffer(2.0, 10)
    for second, text in enumerate(("aaaa", "bbbb", "cc", "dddd")):
        ring.add(message(second, text))
    assert ring.size == 10
    assert [m.data for m in ring.drain()] == [b"bbbb", b"cc", b"dddd"]
    assert ring.size == 0 and ring.drain() == []
    ring.add(message(9, "far too long for it"))
    assert ring.size == 0


def test_latched_messages_of_any_age_come_first_with_the_time_of_the_first_other():
    trigger, sink = make_trigger(rules())
    for second, text in ((0, "old names"), (1, "names")):
        trigger.take(message(second, text, "/label_info", latched=True))
    for second in range(10, 15):
        trigger.take(message(second, f"i{second}"))
    trigger.check(FrameUncertainty(LABEL, 0.7, 14, 14 * S))
    assert sink.bags == [["names", "i12", "i13", "i14"]]
    assert [m.bag_time_ns // S - WALL_S for m in sink.first] == [12, 12, 13, 14]


def test_a_camera_that_publishes_all_images_latched_is_buffered_like_any_other():
    trigger, sink = make_trigger(rules())
    trigger.take(message(0, "info", "/camera_info", latched=True))
    for second in range(10, 15):
        trigger.take(message(second, f"i{second}", latched=True))
    trigger.check(FrameUncertainty(LABEL, 0.7, 14, 14 * S))
    assert sink.bags == [["info", "i12", "i13", "i14"]]


def test_a_moment_ends_by_time_even_without_messages():
    trigger, sink = drive(rules(), [0.1, 0.6])
    trigger.tick(2 * S)
    assert sink.complete == []
    trigger.tick(2 * S + 1)
    assert sink.complete == [True]


def test_the_end_of_the_recording_ends_the_moment_once():
    trigger, sink = drive(rules(), [0.1, 0.6])
    trigger.finish()
    trigger.finish()
    assert sink.bags == [["i0", "i1"]] and sink.complete == [False]
    trigger, sink = drive(rules(), [0.1])
    trigger.finish()
    assert sink.bags == sink.complete == []


def test_the_mean_uncertainty_is_that_of_finite_pixels():
    assert mean_uncertainty(np.array([[0.25, 0.75], [np.nan, np.inf]], np.float32)) == 0.5
    assert mean_uncertainty(np.full((2, 2), np.nan, np.float32)) is None


@pytest.mark.parametrize("std_first", [False, True])
def test_depth_and_std_of_one_frame_are_combined_in_either_order(std_first):
    ratio = DepthRatio()
    depth = np.array([[10.0, 20.0], [np.inf, np.nan]], np.float32)
    std = np.array([[1.0, 6.0], [np.inf, np.nan]], np.float32)
    parts = [("depth", depth), ("std", std)]
    (first, one), (second, other) = parts[::-1] if std_first else parts
    assert ratio.add(first, 1, one) is None
    assert ratio.add(second, 2, other) is None  # of the next frame
    assert ratio.add(first, 2, one) == pytest.approx((0.1 + 0.3) / 2)
    assert ratio.add(second, 3, other) is None
    assert ratio.add(first, 3, np.ones((4, 4), np.float32)) is None  # of another size
