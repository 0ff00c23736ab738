"""The times of a bench.json as a plot: a panel per size, a bar per contestant."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

_STUDENT, _OTHER = "#d62728", "#777777"


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Write a PNG; without times, nothing."""
    sizes = results["details"].get("milliseconds", {})
    if not sizes:
        return
    heights = [1 + 0.35 * sum(f["runs"] > 0 for f in rows.values()) for rows in sizes.values()]
    canvas = Canvas(figsize=(9, sum(heights)), layout="constrained")
    panels = canvas.subplots(len(sizes), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (size, rows) in zip(panels, sizes.items(), strict=True):
        _panel(axes, size, rows)
    canvas.savefig(path, dpi=120)


def _panel(axes: Axes, size: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
    measured = {name: f for name, f in rows.items() if f["runs"]}
    names = sorted(measured, key=lambda name: -measured[name]["median"])
    medians = [measured[name]["median"] for name in names]
    reach = [
        [m - measured[n]["min"] for m, n in zip(medians, names, strict=True)],
        [measured[n]["max"] - m for m, n in zip(medians, names, strict=True)],
    ]
    colors = [_STUDENT if name.startswith("student") else _OTHER for name in names]
    axes.barh(names, medians, xerr=reach, color=colors, ecolor="#333333")
    axes.set_xscale("log")
    axes.set_title(size, loc="left")
    axes.set_xlabel("milliseconds per image: median, least to most")
