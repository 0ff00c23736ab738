"""What is reported of a series of measurements, and the keys that bench.json always has."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Figure = dict[str, Any]
"""`median`, `min`, `max` and `runs`; where nothing could be measured null, and a `reason`."""

RATIOS = (
    "student_ort_over_hf_ort",
    "student_best_over_hf_ort",
    "student_best_over_hf_eager",
    "ensemble10_over_student_same_engine",
    "ensemble10_eager_over_student_best",
    "mcd10_over_student_same_engine",
    "ros_path_over_usual",
    "train_bf16_over_hf_fp32",
    "train_fp32_over_hf_fp32",
)
FIGURES = ("ros_path_ms", "node_rss_mb", "start_to_first_result_s")


def summarize(values: Sequence[float]) -> Figure:
    """Median and extremes of measurements, of which there must be one."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "runs": len(values),
    }


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Figure:
    """Figure of the quotients of two series that were measured in the same rounds."""
    return summarize([a / b for a, b in zip(numerator, denominator, strict=True)])


def missing(reason: str) -> Figure:
    """A figure that could not be measured."""
    return {"median": None, "min": None, "max": None, "runs": 0, "reason": reason}


def completed(figures: Mapping[str, Figure], keys: Sequence[str]) -> dict[str, Figure]:
    """The figures of exactly these keys; those that no part gave were not asked for."""
    unknown = sorted(set(figures) - set(keys))
    if unknown:
        raise ValueError(f"Expected figures named {', '.join(keys)}, but got {', '.join(unknown)}")
    not_asked = missing("its part was not run: see --parts")
    return {key: figures.get(key, not_asked) for key in keys}
