"""Per-camera statistics, with a clock that the test sets."""

import mmap
from types import SimpleNamespace

import numpy as np
import pytest

from emu_perception.node.statistics import (
    OUTCOMES,
    WINDOW_S,
    CameraStatistics,
    FrameTiming,
    resident_bytes,
    stamp_age,
)


@pytest.fixture
def statistics(clock):
    return CameraStatistics(clock)


def timing(milliseconds, age_s=0.5, age_problem=""):
    return FrameTiming(milliseconds / 1e3, milliseconds / 2e3, age_s, age_problem)


def test_rates_are_those_of_the_window(statistics, clock):
    for number in range(300):
        clock.now += 0.1
        statistics.count_image(100)
        if number % 2:
            statistics.count_outcome("processed", timing(10))
        else:
            statistics.count_outcome("dropped")
    now = statistics.snapshot()
    assert now.input_rate == pytest.approx(10, rel=0.02)
    assert now.output_rate == pytest.approx(5, rel=0.02)
    assert now.recent["processed"] == pytest.approx(5 * WINDOW_S, abs=1)


def test_the_first_rates_count_from_the_start(statistics, clock):
    for _ in range(4):
        clock.now += 0.5
        statistics.count_image(100)
    assert statistics.snapshot().input_rate == pytest.approx(2)


def test_percentiles_are_those_of_numpy(statistics, clock):
    values = np.random.default_rng(0).uniform(1, 100, 500)
    for value in values:
        clock.now += 0.001
        statistics.count_outcome("processed", timing(value, value / 500))
    durations = statistics.snapshot().durations_ms
    assert durations["latency"] == pytest.approx(np.percentile(values, (50, 99)))
    assert durations["inference"] == pytest.approx(np.percentile(values / 2, (50, 99)))
    assert durations["age"] == pytest.approx(np.percentile(values * 2, (50, 99)))


def test_old_values_leave_the_window_and_totals_stay(statistics, clock):
    statistics.count_image(100)
    statistics.count_outcome("processed", timing(10))
    statistics.count_lost(2)
    statistics.count_lost(3)
    assert statistics.snapshot().lost == 5
    clock.now += WINDOW_S
    now = statistics.snapshot()
    assert now.input_rate == now.output_rate == now.lost == 0
    assert now.durations_ms == {}
    assert now.counts == {"in": 1, **dict.fromkeys(OUTCOMES, 0), "processed": 1}
    assert now.silence_s == WINDOW_S and now.image_bytes == 100


def test_the_last_error_is_kept_with_its_age(statistics, clock):
    statistics.set_last_error("first")
    statistics.set_last_error("second")
    clock.now += 90
    now = statistics.snapshot()
    assert (now.last_error, now.last_error_age_s) == ("second", 90)


def test_an_unknown_age_has_a_reason_until_an_age_is_known(statistics, clock):
    statistics.count_outcome("processed", timing(10, None, "no stamp"))
    now = statistics.snapshot()
    assert "age" not in now.durations_ms and now.age_problem == "no stamp"
    clock.now += 1
    statistics.count_outcome("processed", timing(10))
    now = statistics.snapshot()
    assert now.durations_ms["age"] == (500, 500) and now.age_problem == ""


def test_resetting_ages_keeps_the_other_durations(statistics):
    statistics.count_outcome("processed", timing(10, 20.0))
    statistics.reset_ages()
    assert "age" not in statistics.snapshot().durations_ms
    statistics.count_outcome("processed", timing(10, 0.25))
    assert statistics.snapshot().durations_ms["age"] == (250, 250)
    assert statistics.snapshot().durations_ms["latency"] == (10, 10)


def test_a_restart_clears_rates_and_silence_and_keeps_totals(statistics, clock):
    statistics.count_image(100)
    clock.now += 5
    statistics.restart()
    clock.now += 1
    now = statistics.snapshot()
    assert now.input_rate == 0 and now.counts["in"] == 1
    assert now.active_s == now.silence_s == 1


def test_resident_bytes_are_those_of_this_process():
    before = resident_bytes()
    block = mmap.mmap(-1, 50_000_000)  # new pages, which an array may not need
    np.frombuffer(block, np.uint8)[:] = 1
    assert resident_bytes() - before == pytest.approx(len(block), rel=0.1)


NOW_NS = 1_800_000_000_250_000_000


@pytest.mark.parametrize(
    ("stamp", "now_ns", "seconds"),
    [
        ((1_799_999_999, 750_000_000), NOW_NS, 0.5),
        ((1_800_000_000, 0), NOW_NS, 0.25),
        ((100, 0), 101_000_000_000, 1.0),  # simulated time begins anywhere
        ((1_800_000_000, 300_000_000), NOW_NS, 0.0),  # /clock advances in steps
    ],
)
def test_an_age_is_the_difference_on_one_clock(stamp, now_ns, seconds):
    assert stamp_age(now_ns, SimpleNamespace(sec=stamp[0], nanosec=stamp[1])) == (seconds, "")


@pytest.mark.parametrize(
    ("sec", "now_ns", "text"),
    [
        (0, NOW_NS, "no stamp"),
        (1_800_000_000, 0, "nothing was received on /clock"),
        (1_700_000_000, NOW_NS, "1157 days behind this node's clock: play bags with --clock"),
        (1_799_999_900, NOW_NS, "100.2 s behind"),
        (1_800_000_002, NOW_NS, "1.8 s ahead of this node's clock: synchronise"),
        (1_800_000_000, 100_000_000_000, "days ahead"),
    ],
)
def test_different_clocks_give_a_reason_and_no_age(sec, now_ns, text):
    seconds, problem = stamp_age(now_ns, SimpleNamespace(sec=sec, nanosec=0))
    assert seconds is None and text in problem
