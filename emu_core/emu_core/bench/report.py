"""Tables and a plot of a bench.json; tables can be inserted into a document.

    python -m emu_core.bench.report out/bench/bench.json
    python -m emu_core.bench.report out/bench/bench.json --document docs/performance.md

With `--document`, the lines between `<!-- bench:NAME -->` and `<!-- /bench -->` are replaced by
the table of that name; NAME is one of `TABLES`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jsonargparse
import numpy as np
from matplotlib.figure import Figure

from emu_core.bench.measurement import ABSOLUTE_VALUES
from emu_core.terminal import accept_any_text

Results = Mapping[str, Any]  # content of bench.json
_MARK = re.compile(r"(<!-- bench:(\w+) -->\n).*?(<!-- /bench -->)", re.DOTALL)
_COLUMNS = ("median", "min", "max", "runs")


def render(results: Results) -> str:
    """Write all tables that have rows."""
    tables = ((name, table(results)) for name, table in TABLES.items())
    return "\n".join(f"## {name.replace('_', ' ').capitalize()}\n\n{t}" for name, t in tables if t)


def fill(document: str, results: Results) -> str:
    """Replace the marked tables of a document.

    Raises:
        ValueError: a mark names an unknown table.
    """

    def replace(found: re.Match[str]) -> str:
        if found[2] not in TABLES:
            raise ValueError(f"'bench:{found[2]}' is none of {', '.join(TABLES)}")
        return f"{found[1]}{TABLES[found[2]](results)}{found[3]}"

    return _MARK.sub(replace, document)


def machine_table(results: Results) -> str:
    """Describe the machine and the settings of the run."""
    about, settings, model = results["machine"], results["settings"], results["model"]
    versions = ", ".join(f"{name} {v}" for name, v in about["versions"].items())
    rows = {
        "command": f"`{results['command']}`",
        "processor": f"{about['processor']}, {about['cores']} cores, {about['memory_gb']} GB",
        "extensions": ", ".join(about["extensions"]),
        "accelerators": ", ".join(about["gpus"]) or "none",
        "threads; clock; rounds": "{threads}; {clock}; {repetitions}".format(**settings),
        "Python; packages": f"{about['python']}; {versions}",
        "model": f"{model['name']}, sha256 {model['sha256'][:12]}",
        "load at the start": f"{about['load_at_start']:.1f}",
    }
    if settings["quick"]:
        rows["quick"] = "a test run: do not quote these numbers"
    return _table(("", ""), list(rows.items()))


def ratios_table(results: Results) -> str:
    """List ratios and other measurements by their keys."""
    both = {**results["ratios"], **results["figures"]}
    rows = [[f"`{key}`", _kind(key), *_cells(values)] for key, values in both.items()]
    return _table(("", "kind", *_COLUMNS), rows)


def _kind(key: str) -> str:
    """Name the kind of ratio, or the unit of an absolute value."""
    if key in ABSOLUTE_VALUES:
        return {"ms": "ms", "mb": "MB", "s": "s"}[key.rpartition("_")[2]]
    return "throughput ratio" if key.startswith("train_") else "time ratio"


def models_table(key: str, unit: str, results: Results) -> str:
    """List the measurements of every model at every size; `key` is one of `details`."""
    sizes = results["details"].get(key, {}).items()
    rows = [[size, name, *_cells(x)] for size, models in sizes for name, x in models.items()]
    return _table(("size", unit, *_COLUMNS), rows)


def ros_table(results: Results) -> str:
    """List the times of the ROS node in one process and of its round trips."""
    path = results["details"].get("ros_path_milliseconds", {})
    rows = [
        [f"in one process: {name.replace('_', ' ')}", *_cells(x), ""] for name, x in path.items()
    ]
    for name, trip in results["details"].get("ros_round_trip", {}).items():
        lost = f"{trip['lost']} of {trip['sent']}"
        rows.append([f"between processes, {name}", *_cells(trip["milliseconds"]), lost])
    return _table(("milliseconds", *_COLUMNS, "lost"), rows)


def rate_table(results: Results) -> str:
    """List the times of all topics and of calls of services at a fixed rate of images."""
    rows = []
    for name, case in results["details"].get("rate", {}).items():
        answered = f"{name}: {case['answered']} of {case['sent']} images answered"
        for what, values in case["milliseconds"].items():
            rows.append([answered, what, *_cells(values), _number(values.get("p99"))])
            answered = ""
    return _table(("", "milliseconds", *_COLUMNS, "p99"), rows)


def growth_table(results: Results) -> str:
    """List time and memory by image size, cameras, members and backbone."""
    rows = [
        [quantity, value, *_cells(case["milliseconds"]), _number(case.get("peak_rss_mb"))]
        for quantity, cases in results["details"].get("growth", {}).items()
        for value, case in cases.items()
    ]
    return _table(("", "", "ms, median", *_COLUMNS[1:], "peak MB"), rows)


def profile_table(results: Results) -> str:
    """List milliseconds and multiply-adds by part, and the time at the peak rate."""
    profile = results["details"].get("profile")
    if not profile:
        return ""
    counts, peak = profile["giga_multiply_adds"], profile["peak_giga_multiply_adds_per_s"]["max"]
    times = profile["milliseconds_by_part"]
    parts = [(part, ms, counts.get(part, 0.0)) for part, ms in times.items()]
    parts.append(("all", sum(times.values()), sum(counts.values())))
    rows = [[part, *map(_number, (ms, count, 1000 * count / peak))] for part, ms, count in parts]
    limit = f"ms at the peak of {peak:.0f}·10⁹/s"
    return _table((f"part, at {profile['size']}", "ms", "10⁹ multiply-adds", limit), rows)


TABLES: dict[str, Callable[[Results], str]] = {
    "machine": machine_table,
    "ratios": ratios_table,
    "times": partial(models_table, "milliseconds", "milliseconds"),
    "ros": ros_table,
    "rate": rate_table,
    "training": partial(models_table, "training_images_per_s", "images per second"),
    "growth": growth_table,
    "profile": profile_table,
}


def _cells(measurement: Mapping[str, Any]) -> list[str]:
    if measurement["median"] is None:
        return ["–", "–", "–", measurement["reason"]]
    return [*(_number(measurement[key]) for key in _COLUMNS[:3]), str(measurement["runs"])]


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [names, ["---"] * len(names), *rows]
    return "".join(f"| {' | '.join(c.replace('|', '/') for c in line)} |\n" for line in lines)


def draw(results: Results, path: Path) -> None:
    """Plot the milliseconds of all models as PNG; without times, write nothing."""
    details = results["details"].get("milliseconds", {})
    if not details:
        return
    sizes = {s: {n: x for n, x in models.items() if x["runs"]} for s, models in details.items()}
    heights = [1 + 0.35 * len(measured) for measured in sizes.values()]
    figure = Figure(figsize=(9, sum(heights)), layout="constrained")
    panels = figure.subplots(len(sizes), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (size, measured) in zip(panels, sizes.items(), strict=True):
        names = sorted(measured, key=lambda name: -measured[name]["median"])
        medians, low, high = np.array([[measured[n][k] for n in names] for k in _COLUMNS[:3]])
        colors = ["#d62728" if name.startswith("student") else "#777777" for name in names]
        errors = [medians - low, high - medians]
        axes.barh(names, medians, xerr=errors, color=colors, ecolor="#333333")
        axes.set_xscale("log")
        axes.set_title(size, loc="left")
        axes.set_xlabel("milliseconds per image: median, minimum to maximum")
    figure.savefig(path, dpi=120)


def write_tables(results: Path, document: Path | None = None) -> None:
    """Print the tables, or insert them into a document.

    Args:
        results: bench.json.
        document: Markdown file with marks.
    """
    content = json.loads(results.read_text(encoding="utf-8"))
    if document is None:
        sys.stdout.write(render(content))
    else:
        filled = fill(document.read_text(encoding="utf-8"), content)
        document.write_text(filled, encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    accept_any_text()
    jsonargparse.auto_cli(write_tables, args=arguments, prog="python -m emu_core.bench.report")


if __name__ == "__main__":
    main()
