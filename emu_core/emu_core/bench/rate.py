"""Measure the ROS node with all topics subscribed, a fast model and a camera with 30 Hz.

The model (`dummy_model.street`) takes about a millisecond, so everything else limits the node. The
program of `emu_perception` runs as a command, as in `bench.ros`.
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
from emu_core.bench.settings import BenchSettings
from emu_core.runtime.dummy_model import make_dummy_model, street

_SECONDS, _RATE, _STRIDE = 20.0, 30.0, 4
_FOLD = 4
"""The logits of the model are smaller than its maps by this factor, as those of the student."""

_SLOW = "semantic/probabilities"


def measure_rate(settings: BenchSettings) -> dict[str, Any]:
    """Measure answers and service calls, with and without the topic of probabilities."""
    size = settings.ratio_size
    settings.models.mkdir(parents=True, exist_ok=True)
    fixed = street(size, (size[0] // _FOLD, size[1] // _FOLD))
    model = make_dummy_model(settings.models / "street.onnx", size, logits=True, fixed=fixed)
    options = ("--model", model, "--threads", settings.threads, "--rate", _RATE)
    options += ("--stride", _STRIDE, "--seconds", 2.0 if settings.quick else _SECONDS)
    # A domain that is probably not used by a robot or by another run.
    domain = str(1 + os.getpid() % 100)
    cases: dict[str, Any] = {}
    for name, more in (("all topics", ()), (f"without {_SLOW}", ("--without", _SLOW))):
        try:
            run = run_program("emu_perception.bench.rate", *options, *more, ROS_DOMAIN_ID=domain)
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
