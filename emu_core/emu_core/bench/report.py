"""Markdown tables of a bench.json, alone or inside a document between marks.

    python -m emu_core.bench.report out/bench/bench.json
    python -m emu_core.bench.report out/bench/bench.json --document docs/performance.md

With `--document`, what stands between the lines `<!-- bench:NAME -->` and `<!-- /bench -->` is
replaced by the table of that name; NAME is one of `TABLES`.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

Results = Mapping[str, Any]
_MARK = re.compile(r"(<!-- bench:(\w+) -->\n).*?(<!-- /bench -->)", re.DOTALL)


def render(results: Results) -> str:
    """All tables that the results have something for."""
    made = ((name, table(results)) for name, table in TABLES.items())
    return "\n".join(f"## {name.replace('_', ' ').capitalize()}\n\n{t}" for name, t in made if t)


def fill(document: str, results: Results) -> str:
    """A document with its marked tables replaced; ValueError for a mark that names none."""

    def replace(found: re.Match[str]) -> str:
        if found[2] not in TABLES:
            raise ValueError(f"'bench:{found[2]}' is none of {', '.join(TABLES)}")
        return f"{found[1]}{TABLES[found[2]](results)}{found[3]}"

    return _MARK.sub(replace, document)


def machine(results: Results) -> str:
    """What it ran on, and how."""
    about, settings = results["machine"], results["settings"]
    versions = ", ".join(f"{name} {v}" for name, v in about["versions"].items())
    rows = {
        "command": f"`{results['command']}`",
        "processor": f"{about['processor']}, {about['cores']} cores, {about['memory_gb']} GB",
        "extensions": ", ".join(about["extensions"]),
        "accelerators": ", ".join(about["gpus"]) or "none",
        "threads; clock; rounds": f"{settings['threads']}; {settings['clock']}; "
        f"{settings['repetitions']}",
        "Python; packages": f"{about['python']}; {versions}",
        "model": f"{results['model']['name']}, sha256 {results['model']['sha256'][:12]}",
        "load when it began": f"{about['load_at_start']:.1f}",
    }
    if settings["quick"]:
        rows["quick"] = "only to see that all runs: no figures to quote"
    return _table(("", ""), [[key, value] for key, value in rows.items()])


def ratios(results: Results) -> str:
    """Ratios and figures, by their keys."""
    both = {**results["ratios"], **results["figures"]}
    rows = [[f"`{key}`", *_cells(figure)] for key, figure in both.items()]
    return _table(("", "median", "min", "max", "runs"), rows)


def times(results: Results) -> str:
    """Milliseconds of every contestant at every size."""
    rows = [
        [size, name, *_cells(figure)]
        for size, contestants in results["details"].get("milliseconds", {}).items()
        for name, figure in contestants.items()
    ]
    return _table(("size", "milliseconds", "median", "min", "max", "runs"), rows)


def ros(results: Results) -> str:
    """The node's path and its round trips."""
    details = results["details"]
    rows = [
        [f"in one process: {name}", *_cells(figure), ""]
        for name, figure in details.get("ros_path_milliseconds", {}).items()
    ]
    rows += [
        [f"between processes, {name}", *_cells(trip["milliseconds"]),
         f"{trip['lost']} of {trip['sent']}"]
        for name, trip in details.get("ros_round_trip", {}).items()
    ]  # fmt: skip
    return _table(("milliseconds", "median", "min", "max", "runs", "lost"), rows)


def training(results: Results) -> str:
    """Images per second of a joint training step."""
    rows = [
        [size, name, *_cells(figure)]
        for size, rates in results["details"].get("training_images_per_s", {}).items()
        for name, figure in rates.items()
    ]
    return _table(("size", "images per second", "median", "min", "max", "runs"), rows)


def growth(results: Results) -> str:
    """Time and memory against pixels, cameras, members and backbone."""
    rows = [
        [what, value, *_cells(case["milliseconds"]), _number(case.get("peak_rss_mb"))]
        for what, cases in results["details"].get("growth", {}).items()
        for value, case in cases.items()
    ]
    return _table(("", "", "ms, median", "min", "max", "runs", "peak MB"), rows)


def profile(results: Results) -> str:
    """Milliseconds and multiply-adds by part, and the time that these would take at the peak."""
    found = results["details"].get("profile")
    if not found:
        return ""
    counts, peak = found["giga_multiply_adds"], found["peak_giga_multiply_adds_per_s"]["max"]
    taken = found["milliseconds_by_part"]
    rows = [
        [part, _number(ms), _number(counts.get(part, 0.0)),
         _number(1000 * counts.get(part, 0.0) / peak)]
        for part, ms in taken.items()
    ]  # fmt: skip
    total = sum(counts.values())
    rows.append(
        ["all", _number(sum(taken.values())), _number(total), _number(1000 * total / peak)]
    )
    names = (
        f"part, at {found['size']}", "ms", "10⁹ multiply-adds",
        f"ms at the peak of {peak:.0f}·10⁹/s",
    )  # fmt: skip
    return _table(names, rows)


TABLES: dict[str, Callable[[Results], str]] = {
    "machine": machine,
    "ratios": ratios,
    "times": times,
    "ros": ros,
    "training": training,
    "growth": growth,
    "profile": profile,
}


def _cells(figure: Mapping[str, Any]) -> list[str]:
    if figure["median"] is None:
        return ["–", "–", "–", figure["reason"]]
    return [_number(figure[key]) for key in ("median", "min", "max")] + [str(figure["runs"])]


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [names, ["---"] * len(names), *rows]
    return "".join(
        f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables, or put them into a document."""
    parser = argparse.ArgumentParser(prog="python -m emu_core.bench.report")
    parser.add_argument("results", type=Path)
    parser.add_argument("--document", type=Path)
    given = parser.parse_args(arguments)
    results = json.loads(given.results.read_text())
    if given.document is None:
        sys.stdout.write(render(results))
    else:
        given.document.write_text(fill(given.document.read_text(), results))


if __name__ == "__main__":
    main()


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
