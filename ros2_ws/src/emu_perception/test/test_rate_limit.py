"""Answers per second, limited without costing a camera more than the limit asks for."""

import numpy as np
import pytest

from emu_perception.rate_limit import RateLimit


def admitted(times, rate):
    limit = RateLimit()
    return [time for time in times if limit.admits(time, rate)]


def test_no_limit_admits_all():
    assert admitted([1.0, 1.0, 1.1], 0.0) == [1.0, 1.0, 1.1]


@pytest.mark.parametrize(("camera", "limit"), [(30, 20), (30, 10), (30, 7), (100, 1), (25, 24)])
def test_the_mean_rate_is_the_limit_whatever_the_camera_s_is(camera, limit):
    times = 100 + np.arange(20 * camera) / camera
    assert len(admitted(times, limit)) == pytest.approx(20 * limit, abs=2)


def test_a_camera_at_just_the_limit_loses_nothing_to_its_jitter():
    jitter = np.random.default_rng(0).uniform(-0.004, 0.004, 500)
    times = 100 + np.arange(500) * 0.1 + jitter
    assert len(admitted(times, 10.0)) == 500


def test_a_pause_earns_no_burst():
    times = [100.0, 200.0, 200.01, 200.02, 200.08, 200.1]
    assert admitted(times, 10.0) == [100.0, 200.0, 200.1]


def test_a_limit_that_is_raised_counts_at_once():
    limit = RateLimit()
    assert limit.admits(100.0, 0.01)
    assert not limit.admits(101.0, 0.01)
    assert limit.admits(101.0, 10.0)
