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
from pathlib import Path
from typing import Any

import jsonargparse
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Results = Mapping[str, Any]
"""Content of bench.json."""

_MARK = re.compile(r"(<!-- bench:(\w+) -->\n).*?(<!-- /bench -->)", re.DOTALL)
_COLUMNS = ("median", "min", "max", "runs")
_STUDENT, _OTHER = "#d62728", "#777777"


def render(results: Results) -> str:
    """Write all tables that have rows."""
    tables = ((name, table(results)) for name, table in TABLES.items())
    return "\n".join(f"## {name.replace('_', ' ').capitalize()}\n\n{t}" for name, t in tables if t)


def fill(document: str, results: Results) -> str:
    """Replace the marked tables of a document.

    Raises:
        ValueError: a mark has the name of no table.
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
        "load when it began": f"{about['load_at_start']:.1f}",
    }
    if settings["quick"]:
        rows["quick"] = "a test run: do not quote these numbers"
    return _table(("", ""), list(rows.items()))


def ratios_table(results: Results) -> str:
    """List ratios and other measurements by their keys."""
    both = {**results["ratios"], **results["figures"]}
    rows = [[f"`{key}`", *_cells(measurement)] for key, measurement in both.items()]
    return _table(("", *_COLUMNS), rows)


def times_table(results: Results) -> str:
    """List the milliseconds of every model at every size."""
    return _table(("size", "milliseconds", *_COLUMNS), _nested_rows(results, "milliseconds"))


def training_table(results: Results) -> str:
    """List the images per second of a joint training step."""
    rows = _nested_rows(results, "training_images_per_s")
    return _table(("size", "images per second", *_COLUMNS), rows)


def ros_table(results: Results) -> str:
    """List the times of the ROS node in one process and of its round trips."""
    path = results["details"].get("ros_path_milliseconds", {})
    rows = [[f"in one process: {name}", *_cells(x), ""] for name, x in path.items()]
    for name, trip in results["details"].get("ros_round_trip", {}).items():
        lost = f"{trip['lost']} of {trip['sent']}"
        rows.append([f"between processes, {name}", *_cells(trip["milliseconds"]), lost])
    return _table(("milliseconds", *_COLUMNS, "lost"), rows)


def growth_table(results: Results) -> str:
    """List time and memory over image size, cameras, members and backbone."""
    rows = [
        [quantity, value, *_cells(case["milliseconds"]), _number(case.get("peak_rss_mb"))]
        for quantity, cases in results["details"].get("growth", {}).items()
        for value, case in cases.items()
    ]
    return _table(("", "", "ms, median", *_COLUMNS[1:], "peak MB"), rows)


def profile_table(results: Results) -> str:
    """List milliseconds and multiply-adds by part, and the time of the latter at the peak rate."""
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
    "times": times_table,
    "ros": ros_table,
    "training": training_table,
    "growth": growth_table,
    "profile": profile_table,
}


def _nested_rows(results: Results, key: str) -> list[list[str]]:
    details = results["details"].get(key, {}).items()
    return [[size, name, *_cells(x)] for size, models in details for name, x in models.items()]


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
    sizes = results["details"].get("milliseconds", {})
    if not sizes:
        return
    heights = [1 + 0.35 * sum(x["runs"] > 0 for x in models.values()) for models in sizes.values()]
    figure = Figure(figsize=(9, sum(heights)), layout="constrained")
    panels = figure.subplots(len(sizes), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (size, models) in zip(panels, sizes.items(), strict=True):
        _panel(axes, size, models)
    figure.savefig(path, dpi=120)


def _panel(axes: Axes, size: str, models: Mapping[str, Mapping[str, Any]]) -> None:
    measured = {name: x for name, x in models.items() if x["runs"]}
    names = sorted(measured, key=lambda name: -measured[name]["median"])
    low, medians, high = ([measured[n][key] for n in names] for key in ("min", "median", "max"))
    errors = [
        [m - a for m, a in zip(medians, low, strict=True)],
        [b - m for m, b in zip(medians, high, strict=True)],
    ]
    colors = [_STUDENT if name.startswith("student") else _OTHER for name in names]
    axes.barh(names, medians, xerr=errors, color=colors, ecolor="#333333")
    axes.set_xscale("log")
    axes.set_title(size, loc="left")
    axes.set_xlabel("milliseconds per image: median, minimum to maximum")


def write_tables(results: Path, document: Path | None = None) -> None:
    """Print the tables, or insert them into a document.

    Args:
        results: bench.json.
        document: Markdown file with marks.
    """
    content = json.loads(results.read_text())
    if document is None:
        sys.stdout.write(render(content))
    else:
        document.write_text(fill(document.read_text(), content))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    jsonargparse.auto_cli(write_tables, args=arguments, prog="python -m emu_core.bench.report")


if __name__ == "__main__":
    main()
