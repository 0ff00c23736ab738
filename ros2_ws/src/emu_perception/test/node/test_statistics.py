"""A camera's numbers, against what was put in, with a clock of the test's own."""

from types import SimpleNamespace

import numpy as np
import pytest

from emu_perception.node.statistics import (
    OUTCOMES,
    WINDOW_S,
    Age,
    Health,
    Timing,
    resident_bytes,
    stamp_age,
)


@pytest.fixture
def health(clock):
    return Health(clock)


def timing(milliseconds, age=Age(0.5)):  # noqa: B008
    return Timing(milliseconds / 1e3, milliseconds / 2e3, age)


def test_rates_are_those_of_the_window(health, clock):
    for number in range(300):
        clock.now += 0.1
        health.arrived(100)
        if number % 2:
            health.finished("answered", timing(10))
        else:
            health.finished("dropped")
    report = health.report()
    assert report.input_rate == pytest.approx(10, rel=0.02)
    assert report.output_rate == pytest.approx(5, rel=0.02)
    assert report.recent["answered"] == pytest.approx(5 * WINDOW_S, abs=1)


def test_a_young_camera_s_rate_counts_from_its_start(health, clock):
    for _ in range(4):
        clock.now += 0.5
        health.arrived(100)
    assert health.report().input_rate == pytest.approx(2.0)


def test_a_rate_beyond_what_is_kept_is_still_right(health, clock):
    for _ in range(8000):
        clock.now += 0.001
        health.arrived(100)
    assert health.report().input_rate == pytest.approx(1000, rel=0.01)


def test_percentiles_are_numpy_s(health, clock):
    values = np.random.default_rng(0).uniform(1, 100, 500)
    for value in values:
        clock.now += 0.001
        health.finished("answered", timing(value, Age(value / 500)))
    report = health.report()
    assert report.latency_ms == pytest.approx(np.percentile(values, (50, 99)))
    assert report.inference_ms == pytest.approx(np.percentile(values / 2, (50, 99)))
    assert report.age_ms == pytest.approx(np.percentile(values * 2, (50, 99)))


def test_what_is_older_than_the_window_is_forgotten_and_totals_are_not(health, clock):
    health.arrived(100)
    health.finished("answered", timing(10))
    health.lost(3)
    clock.now += WINDOW_S
    report = health.report()
    assert report.input_rate == report.output_rate == report.lost == 0
    assert report.latency_ms is report.age_ms is report.inference_ms is None
    assert report.counts == {"in": 1, **dict.fromkeys(OUTCOMES, 0), "answered": 1}
    assert report.silence_s == WINDOW_S and report.image_bytes == 100


def test_losses_add_up(health):
    health.lost(2)
    health.lost(3)
    assert health.report().lost == 5


def test_the_last_error_is_kept_with_its_age(health, clock):
    health.failed("first")
    health.failed("second")
    clock.now += 90
    report = health.report()
    assert (report.last_error, report.last_error_s) == ("second", 90)


def test_without_an_age_there_is_the_reason_until_ages_come_again(health, clock):
    health.finished("answered", timing(10, Age(None, "no stamp")))
    assert (health.report().age_ms, health.report().age_doubt) == (None, "no stamp")
    clock.now += 1
    health.finished("answered", timing(10))
    assert (health.report().age_ms, health.report().age_doubt) == ((500, 500), "")


def test_a_clock_that_jumps_back_takes_the_ages_of_before_with_it(health):
    health.finished("answered", timing(10, Age(20.0)))
    health.clock_jumped()
    assert health.report().age_ms is None
    health.finished("answered", timing(10, Age(0.25)))
    assert health.report().age_ms == (250, 250)
    assert health.report().latency_ms == (10, 10), "durations are of another clock"


def test_an_activation_starts_rates_and_silence_anew_and_keeps_totals(health, clock):
    health.arrived(100)
    clock.now += 5
    health.activated()
    clock.now += 1
    report = health.report()
    assert report.input_rate == 0 and report.counts["in"] == 1
    assert report.active_s == report.silence_s == 1


def test_memory_is_that_of_this_process():
    before = resident_bytes()
    block = np.ones(50_000_000, np.uint8)
    assert resident_bytes() - before == pytest.approx(len(block), rel=0.1)


NOW_NS = 1_800_000_000_250_000_000


def age(sec, nanosec=0, now_ns=NOW_NS):
    return stamp_age(now_ns, SimpleNamespace(sec=sec, nanosec=nanosec))


def test_the_age_is_the_difference_on_one_clock():
    assert age(1_799_999_999, 750_000_000) == (0.5, "")
    assert age(1_800_000_000, 0) == (0.25, "")
    assert age(100, 0, now_ns=101_000_000_000) == (1.0, ""), "simulated time begins anywhere"


def test_a_stamp_just_ahead_is_now():
    assert age(1_800_000_000, 300_000_000) == (0.0, ""), "/clock is read in steps"


@pytest.mark.parametrize(
    ("stamp", "now_ns", "said"),
    [
        ((0, 0), NOW_NS, "no stamp"),
        ((1_800_000_000, 0), 0, "nothing has come on /clock"),
        ((1_700_000_000, 0), NOW_NS, "1157 days behind this node's clock: for a bag"),
        ((1_799_999_900, 0), NOW_NS, "100.2 s behind"),
        ((1_800_000_002, 0), NOW_NS, "1.8 s ahead of this node's clock: synchronise"),
        ((1_800_000_000, 0), 100_000_000_000, "days ahead"),
    ],
)
def test_where_clocks_differ_there_is_a_reason_and_no_age(stamp, now_ns, said):
    seconds, doubt = age(*stamp, now_ns=now_ns)
    assert seconds is None and said in doubt
