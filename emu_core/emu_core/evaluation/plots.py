"""Plots of the tables: a line or a mark per method, labelled where it ends.

cells = {"haze": {"single": cell, "de": cell}, …}       # split → method → its seeds
reliability(cells, "Few frames").savefig("reliability.png")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from emu_core.evaluation.tables import Figure
from emu_core.evaluation.values import Cell, Value
from emu_core.metrics import DriveResults, StudyMetrics
from emu_core.metrics.study import restore

Cells = Mapping[str, Mapping[str, Cell]]
"""Split → method → its seeds."""

Curves = Mapping[str, np.ndarray]

COLORS = {
    "single": "#777777",
    "control": "#b5651d",
    "mcd20": "#56b4e9",
    "mcd50": "#0072b2",
    "dse": "#009e73",
    "de": "#111111",
    "student": "#d62728",
    "student_fresh": "#cc79a7",
}
"""Of Okabe and Ito's palette, which the colour-blind tell apart, and the student in red."""

_OTHERS = ("#e69f00", "#8c6bb1", "#7f7f00", "#1b7837", "#40004b")
_GREY = "#999999"
_RARE = 1e-3  # of the pixels: a bin with fewer is noise
_SHARES = (-150.0, 250.0)  # percent of a gap that an axis shows
_SIDES = {_SHARES[0]: "left", _SHARES[1]: "right"}  # of what is written there
_GAP = 0.055  # between two labels, in heights of a panel


def curves(results: DriveResults) -> dict[str, np.ndarray]:
    """The curves of `StudyMetrics.arrays` for all drives together; none of depth's uncertainty
    where the results are without it."""
    study = StudyMetrics(results.num_classes, results.max_depth)
    held = {name.rpartition(".")[0] for name in results.sums}
    restore(
        {name: part for name, part in study.parts().items() if name in held},
        {name: array.sum(0) for name, array in results.sums.items()},
    )
    trained = "depth.scores" in held
    return {n: c for n, c in study.arrays().items() if trained or not n.startswith("depth.")}


def mean_curves(cell: Cell) -> dict[str, np.ndarray]:
    """Curves averaged over a row's seeds, by name."""
    each = [curves(scored.results) for scored in cell]
    return {name: np.mean([c[name] for c in each], axis=0) for name in each[0]}


def reliability(cells: Cells, title: str) -> Canvas:
    """Reliability diagrams of the classes: accuracy over confidence."""

    def line(c: Curves) -> tuple[np.ndarray, np.ndarray]:
        count = c["seg.reliability_count"]
        often = count >= _RARE * count.sum()
        return c["seg.reliability_confidence"][often], c["seg.reliability_accuracy"][often]

    canvas, (row,) = _panels(cells, f"{title}: how far can class probabilities be trusted?")
    for axes in row:
        _diagonal(axes, (0.2, 1.0))
        axes.set_xlabel("confidence: probability of the predicted class")
    row[0].set_ylabel("accuracy")
    _lines(row, cells, "seg.reliability_count", line, marker="o")
    return canvas


def depth_coverage(cells: Cells, title: str) -> Canvas:
    """How often the central intervals of depth hold the truth, over what they promise."""

    def line(c: Curves) -> tuple[np.ndarray, np.ndarray]:
        return 100 * c["depth.reliability_nominal"], 100 * c["depth.reliability_coverage"]

    canvas, (row,) = _panels(cells, f"{title}: do intervals of depth hold what they promise?")
    for axes in row:
        _diagonal(axes, (0.0, 100.0))
        axes.set_xlabel("promised, % of pixels")
    row[0].set_ylabel("truth inside the interval, % of pixels")
    _lines(row, cells, "depth.reliability_nominal", line, marker="o")
    return canvas


def sparsification(cells: Cells, title: str) -> Canvas:
    """Error that is left when the most uncertain pixels are dropped, and each method's oracle."""
    canvas, rows = _panels(cells, f"{title}: do uncertainties find the errors?", rows=2)
    tasks = (
        ("seg", "sparsification_error", "wrong classes left, % of all pixels' error"),
        ("depth", "sparsification_rmse", "RMSE of depth left, % of all pixels'"),
    )
    for row, (task, name, heading) in zip(rows, tasks, strict=True):

        def line(c: Curves, task=task, name=name) -> tuple[np.ndarray, np.ndarray]:
            return 100 * c[f"{task}.sparsification_fraction"], 100 * c[f"{task}.{name}"]

        def oracle(c: Curves, line=line, task=task, name=name):
            return line(c)[0], 100 * c[f"{task}.{name}_oracle"]

        for axes in row:
            axes.set(xlim=(0, 100), ylim=(0, 105))
            axes.axhline(100, color=_GREY, linewidth=0.8, linestyle="--")
        row[0].set_ylabel(heading)
        row[0].text(97, 98, "random", color=_GREY, va="top", ha="right", fontsize=8)
        row[0].text(97, 3, "dotted: largest errors first", color=_GREY, ha="right", fontsize=8)
        _lines(row, cells, f"{task}.{name}", oracle, linestyle=":", linewidth=0.8, labels=0)
        _lines(row, cells, f"{task}.{name}", line, labels=0.3)
    for axes in rows[-1]:
        axes.set_xlabel("most uncertain pixels dropped, %")
    return canvas


def overview(
    rows: Mapping[str, Mapping[str, Mapping[str, Value]]], figures: Sequence[Figure], title: str
) -> Canvas:
    """A panel per figure: every method's mean and interval, one line of marks per split.

    Args:
        rows: split → method → figures.
        figures: which panels.
    """
    methods = list(dict.fromkeys(m for of_split in rows.values() for m in of_split))
    height = 0.9 + 0.19 * (len(methods) + 1.5) * len(rows)
    canvas = Canvas(figsize=(2.4 * len(figures) + 0.8, height), layout="constrained")
    canvas.suptitle(title)
    panels = canvas.subplots(1, len(figures), sharey=True, squeeze=False)[0]
    places: dict[float, str] = {}
    for k, (split, of_split) in enumerate(rows.items()):
        start = k * (len(methods) + 1.5)
        at = {method: start + 1 + m for m, method in enumerate(methods)}
        places |= {start: split} | {place: method for method, place in at.items()}
        for axes, figure in zip(panels, figures, strict=True):
            for method, place in at.items():
                if (value := of_split.get(method, {}).get(figure.name)) is not None:
                    _mark(axes, value, place, color(method))
    for axes, figure in zip(panels, figures, strict=True):
        axes.set_xlabel(figure.title)
        _quiet(axes)
    panels[0].set_yticks(list(places), list(places.values()))
    for tick, name in zip(panels[0].get_yticklabels(), places.values(), strict=True):
        tick.set_fontweight("bold" if name in rows else "normal")
    panels[0].invert_yaxis()
    return canvas


def shares(closed: Mapping[str, Mapping[str, Value]], title: str) -> Canvas:
    """How much of the gap between single network and ensemble methods close, in percent.

    Where an interval goes on beyond the axis it ends in an arrow, a mean there is a number.

    Args:
        closed: figure's heading → method → share, 1 for all of it.
    """
    canvas = Canvas(figsize=(7, 1.2 + 0.5 * len(closed)), layout="constrained")
    canvas.suptitle(title)
    axes = canvas.subplots()
    axes.axvline(0, color=_GREY, linewidth=0.8)
    axes.axvline(100, color=_GREY, linewidth=0.8, linestyle="--")
    for place, methods in enumerate(closed.values()):
        for k, (method, value) in enumerate(methods.items()):
            y = place + 0.26 * (k - (len(methods) - 1) / 2)
            _mark(axes, value, y, color(method), 100)
            _arrows(axes, value, y, color(method))
            mean = float(np.clip(100 * value.mean, *_SHARES))
            words = [method] if place == 0 else []
            words += [f"{100 * value.mean:.0f} %"] if mean in _SHARES else []
            if words:
                axes.annotate(
                    " ".join(words), (mean, y), (0, 5), textcoords="offset points",
                    color=color(method), ha=_SIDES.get(mean, "center"),
                )  # fmt: skip
    axes.set_yticks(range(len(closed)), list(closed))
    axes.invert_yaxis()
    axes.set(xlim=_SHARES, xlabel="gap closed, % (0: single network, 100: its ensemble)")
    _quiet(axes)
    return canvas


def _mark(axes: Axes, value: Value, place: float, shade: str, scale: float = 1.0) -> None:
    """A mean with its interval, lying."""
    low, high = value.ci95 or (value.mean, value.mean)
    axes.plot([scale * low, scale * high], [place, place], color=shade, linewidth=2)
    axes.plot(scale * value.mean, place, color=shade, marker="o", markersize=4)


def _arrows(axes: Axes, share: Value, place: float, shade: str) -> None:
    """Show on which sides a share, or its interval, leaves the axis."""
    ends = 100 * np.array([share.mean, *(share.ci95 or ())])
    low, high = _SHARES
    for edge, marker, beyond in ((low, "<", ends.min() < low), (high, ">", ends.max() > high)):
        if beyond:
            axes.plot(edge, place, marker, color=shade, markersize=6, clip_on=False)


def color(method: str) -> str:
    """The same for a method in every plot."""
    return COLORS.get(method) or _OTHERS[sum(map(ord, method)) % len(_OTHERS)]


def _panels(cells: Cells, title: str, rows: int = 1) -> tuple[Canvas, list[list[Axes]]]:
    canvas = Canvas(figsize=(3.4 * len(cells) + 1.4, 0.7 + 3.3 * rows), layout="constrained")
    canvas.suptitle(title)
    grid = canvas.subplots(rows, len(cells), sharex=True, sharey="row", squeeze=False)
    for row in grid:
        for axes in row:
            _quiet(axes)
    for axes, split in zip(grid[0], cells, strict=True):
        axes.set_title(split)
    return canvas, [list(row) for row in grid]


def _lines(
    row: Sequence[Axes],
    cells: Cells,
    needed: str,
    line: Callable[[Curves], tuple[np.ndarray, np.ndarray]],
    labels: float = 1.0,
    **style,
) -> None:
    """Draw each method that has the curve `needed`, with labels beside the last panel.

    They stand in the order of the curves, so far along them (0…1), or nowhere for 0.
    """
    for axes, (split, methods) in zip(row, cells.items(), strict=True):
        ends = {}
        for method, cell in methods.items():
            c = mean_curves(cell)
            if needed in c:
                x, y = line(c)
                options = {"linewidth": 1.4, "markersize": 2.5, **style, "color": color(method)}
                axes.plot(x, y, **options)
                place = round(labels * (len(x) - 1))
                ends[method] = (float(x[place]), float(y[place]))
        if labels and split == list(cells)[-1]:
            _label(axes, ends, leaders=labels == 1)


def _label(axes: Axes, points: Mapping[str, tuple[float, float]], leaders: bool) -> None:
    """Write names to the right of a panel at the heights of their points, none over another."""
    if not points:
        return
    bottom, top = axes.get_ylim()
    order = sorted(points, key=lambda name: points[name][1])
    heights = spread([(points[name][1] - bottom) / (top - bottom) for name in order], _GAP)
    for name, height in zip(order, heights, strict=True):
        line = {"arrowstyle": "-", "color": color(name), "linewidth": 0.5}
        axes.annotate(
            name, points[name], (1.05, height), textcoords="axes fraction", color=color(name),
            va="center", annotation_clip=False, arrowprops=line if leaders else None,
        )  # fmt: skip


def spread(ascending: Sequence[float], gap: float) -> list[float]:
    """Move ascending places as little as needed for this gap between neighbours.

    Least squares under the gaps: what remains of the places, less the gaps below them, is made
    ascending by pooling neighbours.
    """
    blocks: list[tuple[float, int]] = []
    for k, place in enumerate(ascending):
        mean, size = place - k * gap, 1
        while blocks and blocks[-1][0] > mean:
            other, count = blocks.pop()
            mean, size = (mean * size + other * count) / (size + count), size + count
        blocks.append((mean, size))
    moved = [mean for mean, size in blocks for _ in range(size)]
    return [place + k * gap for k, place in enumerate(moved)]


def _diagonal(axes: Axes, limits: tuple[float, float]) -> None:
    low, high = limits
    axes.set(xlim=limits, ylim=limits)
    axes.plot(limits, limits, color=_GREY, linewidth=0.8, linestyle="--")
    place = (high - 0.03 * (high - low), low + 0.04 * (high - low))
    axes.text(*place, "below the line: over-confident", color=_GREY, ha="right", fontsize=8)


def _quiet(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#eeeeee", linewidth=0.8)
    axes.set_axisbelow(True)
