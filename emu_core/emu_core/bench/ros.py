"""Measure the ROS node by programs of `emu_perception`, in separate processes.

emu_core does not depend on ROS: it runs `emu_perception.bench.path` and
`emu_perception.bench.round_trip` as commands and reads the JSON that they print.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from emu_core.bench.measurement import missing, ratio, summarize
from emu_core.bench.models import student_file
from emu_core.bench.settings import BenchSettings

_TIMEOUT_S = 600
_STARTS = 3
_ROUND_TRIP_KEYS = ("node_rss_mb", "start_to_first_result_s")


class RosError(RuntimeError):
    """A program failed; the message is the last line of its output."""


def measure_ros(settings: BenchSettings) -> dict[str, Any]:
    """Measure the path inside one process, and round trips with both Fast DDS profiles."""
    model = student_file(settings.compared, settings.models)
    frames = settings.repetitions if settings.quick else 5 * settings.repetitions
    path, ratios = _path(model, frames, settings)
    trips, figures = _round_trips(model, frames, settings)
    return {
        "ratios": ratios,
        "figures": {"ros_path_ms": path.get("ours", missing("see details")), **figures},
        "details": {"ros_path_milliseconds": path, "ros_round_trip": trips},
    }


def _path(
    model: Path, frames: int, settings: BenchSettings
) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        times = _run("bench.path", model, frames, settings, "--clock", settings.clock)
    except RosError as error:
        return {"ours": missing(str(error))}, {"ros_path_over_usual": missing(str(error))}
    path = {name: summarize(values) for name, values in times.items()}
    return path, {"ros_path_over_usual": ratio(times["ours"], times["usual"])}


def _round_trips(
    model: Path, frames: int, settings: BenchSettings
) -> tuple[dict[str, Any], dict[str, Any]]:
    program = "bench.round_trip"
    try:
        ours = [_run(program, model, frames, settings) for _ in range(_STARTS)]
        stock = [_run(program, model, frames, settings, "--stock-dds")]
    except RosError as error:
        return {}, {key: missing(str(error)) for key in _ROUND_TRIP_KEYS}
    trips = {"with our Fast DDS profile": _trip(ours), "with stock Fast DDS": _trip(stock)}
    return trips, {key: summarize([one[key] for one in ours]) for key in _ROUND_TRIP_KEYS}


def _trip(runs: list[dict[str, Any]]) -> dict[str, Any]:
    times = [ms for run in runs for ms in run["milliseconds"]]
    lost = sum(run["lost"] for run in runs)
    milliseconds = summarize(times) if times else missing("no frame was answered")
    return {"milliseconds": milliseconds, "lost": lost, "sent": len(times) + lost}


def _run(program: str, model: Path, frames: int, settings: BenchSettings, *options: str) -> Any:
    command = [sys.executable, "-m", f"emu_perception.{program}", "--model", str(model)]
    command += ["--threads", str(settings.threads), "--frames", str(frames), *options]
    # A domain that is probably not used by a robot or by another run.
    environment = {**os.environ, "ROS_DOMAIN_ID": str(1 + os.getpid() % 100)}
    run = partial(subprocess.run, check=False, capture_output=True, text=True, env=environment)
    try:
        done = run(command, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise RosError(f"{program}: not finished within {_TIMEOUT_S} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise RosError(f"{program}: {lines[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])
