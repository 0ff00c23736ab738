"""The node's part of a frame, measured by programs of `emu_perception` in processes of their own.

emu_core knows nothing of ROS: it runs `emu_perception.bench.path` and
`emu_perception.bench.round_trip` as commands and reads the JSON that they print.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from emu_core.bench.files import student_file
from emu_core.bench.report import missing, ratio, summarize
from emu_core.bench.settings import Settings

_TIMEOUT_S = 600
_STARTS = 3


class RosError(RuntimeError):
    """A program that could not measure; the message is its own last line."""


def measure(settings: Settings) -> dict[str, Any]:
    """The path inside one process, then round trips with and without the Fast DDS profile."""
    model = student_file(settings.compared, settings.output / "models")
    frames = settings.repetitions if settings.quick else 5 * settings.repetitions
    path, ratios = _path(model, frames, settings)
    trips, figures = _round_trips(model, frames, settings)
    return {
        "ratios": ratios,
        "figures": {"ros_path_ms": path.get("ours", missing("see details")), **figures},
        "details": {"ros_path_milliseconds": path, "ros_round_trip": trips},
    }


def _path(model: Path, frames: int, settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        found = _run("bench.path", model, frames, settings, "--clock", settings.clock)
    except RosError as error:
        return {"ours": missing(str(error))}, {"ros_path_over_usual": missing(str(error))}
    return (
        {name: summarize(values) for name, values in found.items()},
        {"ros_path_over_usual": ratio(found["ours"], found["usual"])},
    )


def _round_trips(
    model: Path, frames: int, settings: Settings
) -> tuple[dict[str, Any], dict[str, Any]]:
    program = "bench.round_trip"
    try:
        ours = [_run(program, model, frames, settings) for _ in range(_STARTS)]
        stock = [_run(program, model, frames, settings, "--stock-dds")]
    except RosError as error:
        keys = ("node_rss_mb", "start_to_first_result_s")
        return {}, {key: missing(str(error)) for key in keys}
    trips = {"with our Fast DDS profile": _trip(ours), "with stock Fast DDS": _trip(stock)}
    return trips, {
        key: summarize([one[key] for one in ours])
        for key in ("node_rss_mb", "start_to_first_result_s")
    }


def _trip(runs: list[dict[str, Any]]) -> dict[str, Any]:
    taken = [ms for run in runs for ms in run["milliseconds"]]
    return {
        "milliseconds": summarize(taken) if taken else missing("no frame was answered"),
        "lost": sum(run["lost"] for run in runs),
        "sent": len(taken) + sum(run["lost"] for run in runs),
    }


def _run(program: str, model: Path, frames: int, settings: Settings, *options: str) -> Any:
    command = [sys.executable, "-m", f"emu_perception.{program}", "--model", str(model)]
    command += ["--threads", str(settings.threads), "--frames", str(frames), *options]
    # A domain that neither the user's robot nor a run beside this one is likely to be in.
    environment = {**os.environ, "ROS_DOMAIN_ID": str(1 + os.getpid() % 100)}
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        raise RosError(f"{program}: no end within {_TIMEOUT_S} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise RosError(f"{program}: {lines[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])
