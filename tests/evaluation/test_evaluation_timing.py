"""Milliseconds per image, by a clock that the methods wind."""

import pytest
import torch

from emu_core.evaluation.timing import median_interval, time_methods

IMAGES = [torch.zeros(1, 3, 8, 8, dtype=torch.uint8)] * 6


def test_the_median_leaves_out_the_warm_up_and_methods_take_turns():
    now, calls = [0.0], []

    def method(name, times):
        durations = iter(times)

        def run(image):
            calls.append(name)
            now[0] += next(durations)

        return run

    methods = {
        "slow": method("slow", [9.0, 0.010, 0.030, 0.020, 0.500, 0.020]),
        "fast": method("fast", [0.001] * 6),
    }
    timings = time_methods(methods, IMAGES, clock=lambda: now[0])
    assert calls == ["slow", "fast"] * 6
    assert timings["slow"].median == pytest.approx(20.0)
    assert timings["slow"].ci95 == pytest.approx((10.0, 500.0))
    assert timings["fast"].median == pytest.approx(1.0)
    assert timings["fast"].sd == pytest.approx(0.0)
    assert timings["fast"].images == 5
    assert timings["fast"].threads == torch.get_num_threads()
    assert timings["fast"].device == "cpu"


def test_one_image_is_not_enough():
    with pytest.raises(ValueError, match="at least two images"):
        time_methods({"a": lambda image: None}, IMAGES[:1])


def test_the_interval_of_a_median_is_between_ranks():
    # Of 100 values, ranks 40 and 61 (from 1) hold the median with 95 % (binomial distribution).
    assert median_interval(range(1, 101)) == (40, 61)
    assert median_interval([3.0]) == (3.0, 3.0)
