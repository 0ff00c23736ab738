"""Measure the ROS node with programs of `emu_perception`, in separate processes.

emu_core does not depend on ROS: it runs `emu_perception.bench.path` and
`emu_perception.bench.round_trip` as commands and reads the JSON that they print.
"""

from __future__ import annotations

import os
from typing import Any

from emu_core.bench.measurement import ProgramError, missing, ratio, run_program, summarize
from emu_core.bench.models import student_file
from emu_core.bench.settings import BenchSettings

_STARTS = 3
_ROUND_TRIP_KEYS = ("node_rss_mb", "start_to_first_result_s")


def measure_ros(settings: BenchSettings) -> dict[str, Any]:
    """Measure the path inside one process, and round trips with both Fast DDS profiles."""
    model = student_file(settings.ratio_size, settings.models)
    frames = settings.repetitions if settings.quick else 5 * settings.repetitions
    options = ("--model", model, "--threads", settings.threads, "--frames", frames)
    # A domain that is probably not used by a robot or by another run.
    domain = str(1 + os.getpid() % 100)

    def run(program: str, *more: str) -> Any:
        module = f"emu_perception.bench.{program}"
        return run_program(module, *options, *more, ROS_DOMAIN_ID=domain)

    try:
        times = run("path", "--clock", settings.clock)
        path = {name: summarize(values) for name, values in times.items()}
        over_baseline = ratio(times["ours"], times["usual"])
    except ProgramError as error:
        over_baseline = missing(str(error))
        path = {"ours": over_baseline}
    trips: dict[str, Any] = {}
    try:
        ours = [run("round_trip") for _ in range(_STARTS)]
        stock = [run("round_trip", "--stock-dds")]
        trips = {"with our Fast DDS profile": _trip(ours), "with stock Fast DDS": _trip(stock)}
        values = {key: summarize([one[key] for one in ours]) for key in _ROUND_TRIP_KEYS}
    except ProgramError as error:
        values = dict.fromkeys(_ROUND_TRIP_KEYS, missing(str(error)))
    return {
        "ratios": {"ros_path_over_usual": over_baseline},
        "figures": {"ros_path_ms": path["ours"], **values},
        "details": {"ros_path_milliseconds": path, "ros_round_trip": trips},
    }


def _trip(runs: list[dict[str, Any]]) -> dict[str, Any]:
    times = [ms for run in runs for ms in run["milliseconds"]]
    lost = sum(run["lost"] for run in runs)
    milliseconds = summarize(times) if times else missing("no frame was answered")
    return {"milliseconds": milliseconds, "lost": lost, "sent": len(times) + lost}
