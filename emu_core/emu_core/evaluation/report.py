"""Tables and plots of what was scored, in a folder: evaluation.md, .csv, .json and PNGs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from emu_core.evaluation import plots, tables
from emu_core.evaluation.candidate import Candidate
from emu_core.evaluation.score import setting
from emu_core.evaluation.splits import Split
from emu_core.evaluation.store import Store, read_json, write_json
from emu_core.evaluation.tables import Row
from emu_core.evaluation.timing import Timing
from emu_core.evaluation.values import Cell, Value, values
from emu_core.networks.weights import WeightsError

Rows = Mapping[str, Mapping[str, Row]]
"""Split → method → figures."""

OVERVIEWS = {
    "overview_classes": ("miou", "ece", "seg.nll", "seg.brier", "seg.error_auroc", "seg.ause"),
    "overview_depth": ("rmse", "delta1", "depth.nll", "depth.error_auroc", "depth.ause"),
}
"""Figures of the plots that show a mark for each method."""

_DPI = 90


def load_cells(
    store: Store, candidates: Sequence[Candidate], splits: Mapping[str, Split]
) -> dict[str, dict[str, Cell]]:
    """What the store holds of these methods: split → method → its seeds.

    Scores of other weights, images or definitions do not count, nor do those of a method whose
    networks are gone.
    """
    cells: dict[str, dict[str, Cell]] = {}
    for name, split in splits.items():
        of_split: dict[str, list] = {}
        for candidate in candidates:
            if not _is_current(store, candidate, name, split):
                continue
            scored = store.load(candidate.name, candidate.seed, name)
            if scored is None:
                continue
            if not candidate.depth_uncertainty:
                scored = scored.without_depth_uncertainty()
            of_split.setdefault(candidate.name, []).append(scored)
        cells[name] = dict(of_split)
    return cells


def _is_current(store: Store, candidate: Candidate, name: str, split: Split) -> bool:
    try:
        return store.has(candidate, name, setting(split))
    except WeightsError:
        return False


def rows_of(cells: plots.Cells, timings: Mapping[str, Timing]) -> Rows:
    """The figures of all cells, with the milliseconds per image."""
    rows: dict[str, dict[str, Row]] = {}
    for split, methods in cells.items():
        rows[split] = {}
        for method, cell in methods.items():
            row = values(cell)
            if method in timings:
                row["ms_per_image"] = milliseconds(timings[method])
            rows[split][method] = row
    return rows


def milliseconds(timing: Timing) -> Value:
    """The median time of an image as a figure; its spread is that between images."""
    return Value(timing.median, timing.sd, timing.ci95)


def load_timings(path: Path) -> dict[str, Timing]:
    """What `save_timings` wrote, nothing if there is no such file."""
    content: dict[str, dict[str, Any]] = read_json(path) or {}
    for timing in content.values():
        timing |= {name: tuple(v) for name, v in timing.items() if isinstance(v, list)}
    return {name: Timing(**timing) for name, timing in content.items()}


def save_timings(path: Path, timings: Mapping[str, Timing]) -> None:
    """Write timings as JSON."""
    write_json(path, {name: asdict(timing) for name, timing in timings.items()})


def ranking_bound(cells: plots.Cells) -> str:
    """How exact the pooled rankings of all cells are, in words; nothing where there are none."""
    pooled = [
        scored.results.pooled
        for of_split in cells.values()
        for cell in of_split.values()
        for scored in cell
    ]
    bounds = [
        value
        for p in pooled
        for name, value in p.items()
        if name.endswith("_bound") and value >= 0
    ]
    if not bounds:
        return ""
    return (
        f"AUROC, AP and FPR95 rank binned scores, which changes them by at most {max(bounds):.1g}."
    )


def write_report(
    folder: Path,
    title: str,
    note: str,
    cells: plots.Cells,
    rows: Rows,
    classes: Sequence[str] = (),
) -> None:
    """Write evaluation.md, evaluation.csv, evaluation.json and the plots.

    Args:
        note: what was measured how, below the title.
        classes: their names, for a table of every class's IoU.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = [f"# {title}", "", note, "", tables.EXPLANATION, ""]
    contents = {**tables.TABLES, "IoU of every class": tables.class_figures(classes)}
    for split, methods in rows.items():
        for heading, figures in contents.items():
            if any(f.name in row for row in methods.values() for f in figures):
                text += [f"## {split}: {heading}", "", tables.markdown(figures, methods)]
    text += [f"{ranking_bound(cells)} evaluation.csv has more figures: δ2, δ3, AUSE by the Brier "
             "score and by AbsRel, all values of random uncertainties.", ""]  # fmt: skip
    names = write_plots(folder, title, cells, rows)
    text += [f"![{Path(name).stem}]({name})" for name in names]
    (folder / "evaluation.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    rows = {
        split: {m: tables.with_class_names(row, classes) for m, row in methods.items()}
        for split, methods in rows.items()
    }
    long = [((split, m), row) for split, methods in rows.items() for m, row in methods.items()]
    lines = tables.csv_lines(long, ("split", "method"))
    (folder / "evaluation.csv").write_text(lines, encoding="utf-8")
    write_json(
        folder / "evaluation.json",
        {split: _with_nulls(methods) for split, methods in rows.items()},
    )


def _with_nulls(methods: Mapping[str, Row]) -> dict[str, dict[str, Any]]:
    """The rows of a split for JSON: null for what a method lacks and another one has."""
    names = dict.fromkeys(name for row in methods.values() for name in row)
    return {
        method: {name: asdict(row[name]) if name in row else None for name in names}
        for method, row in methods.items()
    }


def write_plots(
    folder: Path, title: str, cells: plots.Cells, rows: Rows, prefix: str = ""
) -> list[str]:
    """Write the plots that the results suffice for; returns the files' names."""
    there = {split: methods for split, methods in cells.items() if methods}
    if not there:
        return []
    canvases = {
        "reliability": plots.reliability(there, title),
        "depth_coverage": plots.depth_coverage(there, title),
        "sparsification": plots.sparsification(there, title),
    }
    known = {f.name: f for f in (*tables.SEGMENTATION, *tables.DEPTH)}
    held = {name for methods in rows.values() for row in methods.values() for name in row}
    for plot, names in OVERVIEWS.items():
        figures = [known[name] for name in names if name in held]
        if figures:
            task = plot.removeprefix("overview_")
            canvases[plot] = plots.overview(rows, figures, f"{title}: {task}, mean and interval")
    for name, canvas in canvases.items():
        canvas.savefig(folder / f"{prefix}{name}.png", dpi=_DPI)
    return [f"{prefix}{name}.png" for name in canvases]
