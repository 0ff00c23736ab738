"""The student against what one would run instead, on the same images, threads and machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from emu_core.bench.contestants import (
    DROPOUT_ORT,
    ENSEMBLE_EAGER,
    ENSEMBLE_ORT,
    HF_EAGER,
    HF_ORT,
    STUDENT,
    gather,
)
from emu_core.bench.report import Figure, missing, ratio, summarize
from emu_core.bench.settings import Series, Settings, run_rounds

STUDENT_ORT = STUDENT.format("cpu")
BEST = "the fastest student"
_CPU_PROVIDERS = ("cpu", "openvino", "openvino-bf16")
_RATIOS = {
    "student_ort_over_hf_ort": (STUDENT_ORT, HF_ORT),
    "student_best_over_hf_ort": (BEST, HF_ORT),
    "student_best_over_hf_eager": (BEST, HF_EAGER),
    "ensemble10_over_student_same_engine": (ENSEMBLE_ORT, STUDENT_ORT),
    "ensemble10_eager_over_student_best": (ENSEMBLE_EAGER, BEST),
    "mcd10_over_student_same_engine": (DROPOUT_ORT, STUDENT_ORT),
}


def measure(settings: Settings) -> dict[str, Any]:
    """Times by size and contestant, and the ratios at the compared size."""
    torch.set_num_threads(settings.threads)
    times: dict[str, Any] = {}
    ratios: dict[str, Figure] = {}
    for size in settings.sizes:
        found = gather(size, settings)
        series = run_rounds(found.run, settings.repetitions, warm_up=2, clock=settings.time)
        times[f"{size[0]}x{size[1]}"] = {
            **{name: summarize(values) for name, values in series.items()},
            **{name: missing(reason) for name, reason in found.missing.items()},
        }
        if size == settings.compared:
            ratios = ratios_of(series, found.missing)
    return {"ratios": ratios, "details": {"milliseconds": times}}


def ratios_of(series: Series, reasons: Mapping[str, str]) -> dict[str, Figure]:
    """The ratios of one size, null where one of the two is missing.

    The best student is the one of the lowest median among those that run on the CPU, as the peers
    do.
    """
    students = [STUDENT.format(p) for p in _CPU_PROVIDERS if STUDENT.format(p) in series]
    best = min(students, key=lambda name: summarize(series[name])["median"])
    found = {}
    for key, names in _RATIOS.items():
        over, under = (best if name == BEST else name for name in names)
        absent = [n for n in (over, under) if n not in series]
        found[key] = (
            missing("; ".join(f"{n}: {reasons.get(n, 'not run')}" for n in absent))
            if absent
            else ratio(series[over], series[under]) | {"of": [over, under]}
        )
    return found
