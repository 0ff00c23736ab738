"""Measure the run times of functions in rounds, and summarise them."""

from __future__ import annotations

import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

Measurement = dict[str, Any]
"""`median`, `min`, `max` and `runs`; if nothing was measured they are null, with a `reason`."""

Series = dict[str, list[float]]  # milliseconds of each round by name
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
"""Clocks in seconds. With one thread, CPU time gives reliable ratios on a busy machine, too."""

RATIOS = (
    *("student_ort_over_hf_ort", "student_best_over_hf_ort", "student_best_over_hf_eager"),
    *("ensemble10_over_student_same_engine", "ensemble10_eager_over_student_best"),
    "mcd10_over_student_same_engine",
    *("train_bf16_over_hf_fp32", "train_fp32_over_hf_fp32"),
)
ABSOLUTE_VALUES = ("ros_path_ms", "node_all_topics_ms", "node_rss_mb", "start_to_first_result_s")
"""RATIOS are the keys of `ratios` in bench.json, ABSOLUTE_VALUES those of `figures`."""

_TIMEOUT_S = 600


class ProgramError(RuntimeError):
    """A program failed; the message is the last line of its output."""


def run_program(module: str, *options: object, **environment: str) -> Any:
    """Run `python -m module options` and return the JSON in the last line of its output.

    `environment` are additional environment variables.

    Raises:
        ProgramError: the program failed or did not end within 10 minutes.
    """
    command = [sys.executable, "-m", module, *map(str, options)]
    run = partial(
        subprocess.run, check=False, capture_output=True, encoding="utf-8", errors="replace"
    )
    try:
        done = run(command, timeout=_TIMEOUT_S, env={**os.environ, **environment})
    except subprocess.TimeoutExpired:
        raise ProgramError(f"{module}: not finished within {_TIMEOUT_S} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ProgramError(f"{module}: {lines[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


@dataclass
class Contest:
    """Functions to compare, by name, and the reasons why other functions are missing."""

    functions: dict[str, Callable[[], object]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, prepare: Callable[[], Callable[[], object]]) -> None:
        """Add the function that `prepare` returns; if it raises an exception, store the reason."""
        try:
            self.functions[name] = prepare()
        except Exception as error:  # the other functions run without it
            # The first sentence in one line, without the paths of the model files.
            sentence = " ".join(str(error).split()).partition(". ")[0]
            reason = re.sub(r"\S+\.onnx", "the model file", sentence)
            self.missing[name] = f"{type(error).__name__}: {reason}"


def run_rounds(
    functions: Mapping[str, Callable[[], object]],
    repetitions: int,
    *,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
    seed: int = 0,
) -> Series:
    """Measure run times. In each round every function runs once, in random order.

    Args:
        functions: functions by name; a call returns when its result is ready.
        repetitions: number of timed rounds.
        warm_up: number of rounds before them that are not measured.
        clock: returns seconds.
        seed: seed of the random orders.

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
    """Compute median, minimum and maximum of at least one value."""
    extremes = {"min": min(values), "max": max(values)}
    return {"median": statistics.median(values), **extremes, "runs": len(values)}


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Measurement:
    """Summarise the ratios of two series, round by round."""
    return summarize([a / b for a, b in zip(numerator, denominator, strict=True)])


def missing(reason: str) -> Measurement:
    """Make the entry of a value that could not be measured."""
    return {"median": None, "min": None, "max": None, "runs": 0, "reason": reason}


def with_all_keys(
    measurements: Mapping[str, Measurement], keys: Sequence[str]
) -> dict[str, Measurement]:
    """Return measurements with exactly these keys; missing ones are null with a reason.

    Raises:
        ValueError: there is a measurement with another key.
    """
    if unknown := sorted(set(measurements) - set(keys)):
        raise ValueError(f"Expected keys among {', '.join(keys)}, but got {', '.join(unknown)}")
    not_run = missing("its part was not run: see --parts")
    return {key: measurements.get(key, not_run) for key in keys}
