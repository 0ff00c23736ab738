"""Time functions in turn, and summarise the times."""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Measurement = dict[str, Any]
"""`median`, `min`, `max` and `runs`; if nothing was measured they are null, with a `reason`."""

Series = dict[str, list[float]]
"""Milliseconds of each round by name."""

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
"""Clocks in seconds. With one thread, CPU time gives reliable ratios on a busy machine, too."""

RATIOS = (
    *("student_ort_over_hf_ort", "student_best_over_hf_ort", "student_best_over_hf_eager"),
    *("ensemble10_over_student_same_engine", "ensemble10_eager_over_student_best"),
    *("mcd10_over_student_same_engine", "ros_path_over_usual"),
    *("train_bf16_over_hf_fp32", "train_fp32_over_hf_fp32"),
)
FIGURES = ("ros_path_ms", "node_rss_mb", "start_to_first_result_s")
"""Keys of `ratios` and of `figures` in bench.json."""


def run_rounds(
    functions: Mapping[str, Callable[[], object]],
    repetitions: int,
    *,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
    seed: int = 0,
) -> Series:
    """Time functions in turn, in a random order in each round.

    Args:
        functions: by name; a call is one run and returns when its result is ready.
        repetitions: number of timed rounds.
        warm_up: number of earlier rounds that are not counted.
        clock: returns seconds.
        seed: of the orders.

    Returns:
        Milliseconds of each round, by name.
    """
    series: Series = {name: [] for name in functions}
    order, rng = list(functions), random.Random(seed)
    for number in range(warm_up + repetitions):
        rng.shuffle(order)
        for name in order:
            start = clock()
            functions[name]()
            milliseconds = 1000 * (clock() - start)
            if number >= warm_up:
                series[name].append(milliseconds)
        print(f"\rround {number + 1} of {warm_up + repetitions}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return series


def summarize(values: Sequence[float]) -> Measurement:
    """Compute median and extremes of at least one value."""
    extremes = {"min": min(values), "max": max(values)}
    return {"median": statistics.median(values), **extremes, "runs": len(values)}


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Measurement:
    """Summarise the ratios of two series, round by round."""
    return summarize([a / b for a, b in zip(numerator, denominator, strict=True)])


def missing(reason: str) -> Measurement:
    """Make the entry of a value that could not be measured."""
    return {"median": None, "min": None, "max": None, "runs": 0, "reason": reason}


def completed(
    measurements: Mapping[str, Measurement], keys: Sequence[str]
) -> dict[str, Measurement]:
    """Fill up the measurements to exactly these keys.

    Raises:
        ValueError: there is a measurement with another key.
    """
    if unknown := sorted(set(measurements) - set(keys)):
        raise ValueError(f"Expected keys among {', '.join(keys)}, but got {', '.join(unknown)}")
    not_run = missing("its part was not run: see --parts")
    return {key: measurements.get(key, not_run) for key in keys}
