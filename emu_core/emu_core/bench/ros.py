"""Measure the ROS node with programs of `emu_perception`, in separate processes.

emu_core does not depend on ROS: it runs the programs of `emu_perception.bench` as commands and
reads the JSON that they print.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emu_core.bench.measurement import (
    Measurement,
    ProgramError,
    missing,
    run_program,
    summarize,
)
from emu_core.bench.models import student_file
from emu_core.bench.settings import BenchSettings
from emu_core.runtime.dummy_model import make_dummy_model, street

_DOMAIN = str(1 + os.getpid() % 100)
"""A ROS domain that is probably not used by a robot or by another run."""

_STARTS = 3
_ROUND_TRIP_KEYS = ("node_rss_mb", "start_to_first_result_s")

_SECONDS, _RATE, _STRIDE = 20.0, 30.0, 4
_FOLD = 4
"""The logits of the model are smaller than its maps by this factor, as those of the student."""

_SLOW = "semantic/probabilities"


def measure_ros(settings: BenchSettings) -> dict[str, Any]:
    """Measure the path inside one process, and round trips with both Fast DDS profiles."""
    model = student_file(settings.ratio_size, settings.models)
    frames = settings.repetitions if settings.quick else 5 * settings.repetitions
    options = ("--model", model, "--threads", settings.threads, "--frames", frames)

    def run(program: str, *more: str) -> Any:
        module = f"emu_perception.bench.{program}"
        return run_program(module, *options, *more, ROS_DOMAIN_ID=_DOMAIN)

    try:
        times = run("path", "--clock", settings.clock)
        path = {name: summarize(values) for name, values in times.items()}
    except ProgramError as error:
        path = dict.fromkeys(("maps", "all_topics"), missing(str(error)))
    trips: dict[str, Any] = {}
    try:
        ours = [run("round_trip") for _ in range(_STARTS)]
        stock = [run("round_trip", "--stock-dds")]
        trips = {"with our Fast DDS profile": _trip(ours), "with stock Fast DDS": _trip(stock)}
        values = {key: summarize([one[key] for one in ours]) for key in _ROUND_TRIP_KEYS}
    except ProgramError as error:
        values = dict.fromkeys(_ROUND_TRIP_KEYS, missing(str(error)))
    return {
        "figures": {
            "ros_path_ms": path["maps"],
            "node_all_topics_ms": path["all_topics"],
            **values,
        },
        "details": {"ros_path_milliseconds": path, "ros_round_trip": trips},
    }


def _trip(runs: list[dict[str, Any]]) -> dict[str, Any]:
    times = [ms for run in runs for ms in run["milliseconds"]]
    lost = sum(run["lost"] for run in runs)
    milliseconds = summarize(times) if times else missing("no frame was answered")
    return {"milliseconds": milliseconds, "lost": lost, "sent": len(times) + lost}


def measure_rate(settings: BenchSettings) -> dict[str, Any]:
    """Measure the node with all topics, a camera with 30 Hz and a model of one millisecond.

    There are answers and service calls, with and without the topic of probabilities.
    """
    size = settings.ratio_size
    settings.models.mkdir(parents=True, exist_ok=True)
    fixed = street(size, (size[0] // _FOLD, size[1] // _FOLD))
    model = make_dummy_model(settings.models / "street.onnx", size, logits=True, fixed=fixed)
    seconds = 2.0 if settings.quick else _SECONDS
    options: tuple[object, ...] = ("--model", model, "--threads", settings.threads)
    options += ("--rate", _RATE, "--stride", _STRIDE, "--seconds", seconds)
    cases: dict[str, Any] = {}
    for name, more in (("all topics", ()), (f"without {_SLOW}", ("--without", _SLOW))):
        try:
            run = run_program("emu_perception.bench.rate", *options, *more, ROS_DOMAIN_ID=_DOMAIN)
        except ProgramError as error:
            run = {"sent": 0, "answered": 0, "milliseconds": [], "topics": {}, "services": {}}
            cases[name] = _case(run, str(error))
        else:
            cases[name] = _case(run, "nothing was answered")
    return {"details": {"rate": cases}}


def _case(run: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """Summarise the milliseconds of a run; `reason` is why there may be none."""
    times = {"last topic of a frame": run["milliseconds"], **run["topics"], **run["services"]}
    rows = {name: _with_p99(values, reason) for name, values in times.items()}
    return {"sent": run["sent"], "answered": run["answered"], "milliseconds": rows}


def _with_p99(milliseconds: Sequence[float], reason: str) -> Measurement:
    if not milliseconds:
        return missing(reason)
    return {**summarize(milliseconds), "p99": float(np.percentile(milliseconds, 99))}
