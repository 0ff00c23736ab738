"""Which messages belong to an uncertain moment, on hand-made streams. One tick is a second."""

import numpy as np
import pytest

from emu_perception.record_uncertain.moments import (
    DEPTH,
    LABEL,
    DepthDoubts,
    Doubt,
    Moments,
    Received,
    RingBuffer,
    Rules,
    mean_uncertainty,
)

S = 10**9
WALL_S = 1_700_000_000


class Kept:
    """A sink that writes down what it is told: bags as lists of data."""

    def __init__(self):
        self.bags, self.moments, self.whole = [], [], []

    def begin(self, moment, messages):
        self.moments.append(moment)
        self.bags.append([message.data.decode() for message in messages])
        self.first = messages

    def add(self, message):
        self.bags[-1].append(message.data.decode())

    def end(self, moment, whole):
        assert moment is self.moments[-1]
        self.whole.append(whole)


def message(second, text, topic="/image", latched=False):
    return Received(topic, second * S, (WALL_S + second) * S, text.encode(), latched)


def drive(rules, doubts, kind=LABEL):
    """A frame per second, whose doubts are given."""
    kept = Kept()
    moments = Moments(rules, kept)
    for second, doubt in enumerate(doubts):
        moments.take(message(second, f"i{second}"))
        moments.judge(Doubt(kind, doubt, second, second * S))
    return moments, kept


def rules(label=0.5, depth=0.0, before=2.0, after=1.0, interval=0.0, size=10**6):
    return Rules({LABEL: label, DEPTH: depth}, before, after, interval, size)


def test_a_moment_reaches_so_far_back_and_so_far_on():
    _, kept = drive(rules(), [0.1, 0.1, 0.1, 0.1, 0.6, 0.1, 0.1, 0.1])
    assert kept.bags == [["i2", "i3", "i4", "i5"]]
    assert kept.whole == [True]
    (moment,) = kept.moments
    assert (moment.trigger, moment.limit) == (Doubt(LABEL, 0.6, 4, 4 * S), 0.5)
    assert [frame.value for frame in moment.frames] == [0.1, 0.1, 0.6, 0.1]
    assert (moment.peak(LABEL), moment.peak(DEPTH)) == (0.6, None)


def test_exactly_the_limit_is_no_moment():
    assert drive(rules(), [0.5] * 5)[1].bags == []


def test_a_limit_of_zero_is_not_looked_at():
    assert drive(rules(label=0.0), [1.0] * 5)[1].bags == []


def test_depth_has_a_limit_of_its_own():
    limits = rules(label=0.9, depth=0.2)
    assert drive(limits, [0.5, 0.5], LABEL)[1].bags == []
    assert drive(limits, [0.1, 0.3], DEPTH)[1].bags == [["i0", "i1"]]


def test_moments_do_not_share_messages():
    _, kept = drive(rules(), [0.6, 0.1, 0.1, 0.6, 0.6, 0.6, 0.1, 0.1])
    assert kept.bags == [["i0", "i1"], ["i2", "i3", "i4"], ["i5", "i6"]]


def test_an_interval_keeps_moments_apart():
    moments, kept = drive(rules(interval=5.0), [0.6] * 11)
    assert [moment.trigger.stamp_ns for moment in kept.moments] == [0, 5, 10]
    # A moment lasts two frames: of five, it took its first two, and three came too soon.
    assert moments.passed_over == 6


def test_the_buffer_forgets_its_oldest_beyond_its_bytes():
    _, kept = drive(rules(before=100.0, size=6), [0.1, 0.1, 0.1, 0.1, 0.6, 0.1])
    assert kept.bags == [["i2", "i3", "i4", "i5"]]  # three of two bytes each, then the moment's


def test_the_ring_buffer_counts_its_bytes():
    ring = RingBuffer(2.0, 10)
    for second, text in enumerate(("aaaa", "bbbb", "cc", "dddd")):
        ring.add(message(second, text))
    assert ring.size == 10
    assert [m.data for m in ring.drain()] == [b"bbbb", b"cc", b"dddd"]
    assert ring.size == 0 and ring.drain() == []
    ring.add(message(9, "far too long for it"))
    assert ring.size == 0


def test_what_was_latched_long_ago_comes_first_and_with_the_first_messages_time():
    kept = Kept()
    moments = Moments(rules(), kept)
    for second, text in ((0, "old names"), (1, "names")):
        moments.take(message(second, text, "/label_info", latched=True))
    for second in range(10, 15):
        moments.take(message(second, f"i{second}"))
    moments.judge(Doubt(LABEL, 0.7, 14, 14 * S))
    assert kept.bags == [["names", "i12", "i13", "i14"]]
    assert [m.bag_time_ns // S - WALL_S for m in kept.first] == [12, 12, 13, 14]


def test_a_moment_ends_by_time_even_if_nothing_comes_any_more():
    moments, kept = drive(rules(), [0.1, 0.6])
    moments.tick(2 * S)
    assert kept.whole == []
    moments.tick(2 * S + 1)
    assert kept.whole == [True]


def test_the_end_of_the_recording_cuts_a_moment_short():
    moments, kept = drive(rules(), [0.1, 0.6])
    moments.finish()
    moments.finish()
    assert kept.bags == [["i0", "i1"]] and kept.whole == [False]


def test_a_quiet_recording_ends_quietly():
    moments, kept = drive(rules(), [0.1])
    moments.finish()
    assert kept.bags == kept.whole == []


def test_the_mean_uncertainty_is_that_of_finite_pixels():
    values = np.array([[0.25, 0.75], [np.nan, np.inf]], np.float32)
    assert mean_uncertainty(values) == 0.5
    assert mean_uncertainty(np.full((2, 2), np.nan, np.float32)) is None


@pytest.mark.parametrize("deviation_first", [False, True])
def test_depth_and_deviation_of_one_frame_meet_in_either_order(deviation_first):
    doubts = DepthDoubts()
    depth = np.array([[10.0, 20.0], [np.inf, np.nan]], np.float32)
    deviation = np.array([[1.0, 6.0], [np.inf, np.nan]], np.float32)
    parts = [(doubts.depth, depth), (doubts.deviation, deviation)]
    (first, one), (second, other) = parts[::-1] if deviation_first else parts
    assert first(1, one) is None
    assert second(2, other) is None  # of the next frame
    assert first(2, one) == pytest.approx((0.1 + 0.3) / 2)
    assert second(3, other) is None


def test_maps_of_different_sizes_do_not_meet():
    doubts = DepthDoubts()
    doubts.depth(1, np.ones((2, 2), np.float32))
    assert doubts.deviation(1, np.ones((4, 4), np.float32)) is None
