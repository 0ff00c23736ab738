"""Plots of scores: a line or a mark for each method.

scores = {"haze": {"single": seeds, "de": seeds}, …}       # split → method → seeds
reliability(scores, "Few frames").savefig("reliability.png")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from emu_core.evaluation.tables import Metric
from emu_core.evaluation.values import MILLISECONDS, Scores, Seeds, Value
from emu_core.methods.registry import METHODS
from emu_core.metrics import DriveResults, StudyMetrics
from emu_core.metrics.study import restore

Curves = Mapping[str, np.ndarray]
Line = tuple[np.ndarray, np.ndarray]

COLORS = {"mcd20": "#56b4e9", "mcd50": "#0072b2", "student_unlabelled": "#cc79a7"}
"""Colours of methods that are not kinds of `METHODS`, from the palette of Okabe and Ito. People
with colour blindness can distinguish them."""

_OTHERS = ("#e69f00", "#8c6bb1", "#7f7f00", "#1b7837", "#40004b")
_GREY = "#999999"
_RARE = 1e-3  # share of the pixels: bins with fewer are noise
_SHARES = (-150.0, 250.0)  # percent of a gap that an axis shows
_SIDES = {_SHARES[0]: "left", _SHARES[1]: "right"}  # horizontal alignment of texts at its ends


def curves(results: DriveResults) -> dict[str, np.ndarray]:
    """Return the curves of `StudyMetrics.arrays` for all drives together.

    Curves of the depth uncertainty are left out if the results do not hold their sums.
    """
    study = StudyMetrics(results.num_classes, results.max_depth)
    held = {name.rpartition(".")[0] for name in results.sums}
    parts = {name: part for name, part in study.parts().items() if name in held}
    restore(parts, {name: array.sum(0) for name, array in results.sums.items()})
    trained = "depth.scores" in held
    return {n: c for n, c in study.arrays().items() if trained or not n.startswith("depth.")}


def mean_curves(seeds: Seeds) -> dict[str, np.ndarray]:
    """Return curves averaged over a method's seeds, by name; seeds without data do not count.

    Bins of the reliability diagram are weighted by their pixels: a bin may be empty for a seed.
    """
    each = [curves(scored.results) for scored in seeds]
    found = {name: np.stack([c[name] for c in each if name in c]) for c in each for name in c}
    weights = found.get("seg.reliability_count")
    weighted = ("seg.reliability_confidence", "seg.reliability_accuracy")
    return {
        name: _mean(values, weights if name in weighted else None)
        for name, values in found.items()
    }


def _mean(values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Average (seeds, n) over the seeds that have a value; NaN where none has."""
    given = np.isfinite(values)
    share = given * (1.0 if weights is None else weights)
    with np.errstate(invalid="ignore"):  # 0/0 is NaN
        return (np.where(given, values, 0.0) * share).sum(0) / share.sum(0)


def reliability(scores: Scores, title: str) -> Figure:
    """Draw reliability diagrams of the classes: accuracy over confidence."""

    def line(c: Curves) -> Line:
        count = c["seg.reliability_count"]
        often = (count > 0) & (count >= _RARE * count.sum())
        return c["seg.reliability_confidence"][often], c["seg.reliability_accuracy"][often]

    figure, (row,) = _panels(scores, f"{title}: how far can class probabilities be trusted?")
    _diagonals(row, (0.2, 1.0), "confidence: probability of the predicted class", "accuracy")
    _lines(row, scores, "seg.reliability_count", line, marker="o")
    return figure


def depth_coverage(scores: Scores, title: str) -> Figure:
    """Draw how often central intervals of depth hold the truth, over their nominal share."""

    def line(c: Curves) -> Line:
        return 100 * c["depth.reliability_nominal"], 100 * c["depth.reliability_coverage"]

    figure, (row,) = _panels(scores, f"{title}: do intervals of depth hold what they promise?")
    inside = "truth inside the interval, % of pixels"
    _diagonals(row, (0.0, 100.0), "promised, % of pixels", inside)
    _lines(row, scores, "depth.reliability_nominal", line, marker="o")
    return figure


def sparsification(scores: Scores, title: str) -> Figure:
    """Draw the error that is left without the most uncertain pixels, and each method's oracle."""
    figure, rows = _panels(scores, f"{title}: do uncertainties find the errors?", rows=2)
    tasks = (
        ("seg", "sparsification_error", "wrong classes left, % of all pixels' error"),
        ("depth", "sparsification_rmse", "RMSE of depth left, % of all pixels'"),
    )
    for row, (task, name, heading) in zip(rows, tasks, strict=True):

        def line(c: Curves, at=f"{task}.", name=f"{task}.{name}") -> Line:
            return 100 * c[f"{at}sparsification_fraction"], 100 * c[name]

        oracle = partial(line, name=f"{task}.{name}_oracle")
        for axes in row:
            axes.set(xlim=(0, 100), ylim=(0, 105))
            axes.axhline(100, color=_GREY, linewidth=0.8, linestyle="--")
        row[0].set_ylabel(heading)
        row[0].text(97, 98, "random", color=_GREY, va="top", ha="right", fontsize=8)
        row[0].text(97, 3, "dotted: largest errors first", color=_GREY, ha="right", fontsize=8)
        _lines(row, scores, f"{task}.{name}", oracle, linestyle=":", linewidth=0.8, legend=False)
        _lines(row, scores, f"{task}.{name}", line)
    for axes in rows[-1]:
        axes.set_xlabel("most uncertain pixels dropped, %")
    return figure


def overview(table: pd.DataFrame, metrics: Sequence[Metric], title: str) -> Figure:
    """Draw a panel for each metric of a table: every method's mean and interval on every split."""
    methods, splits = list(table.method.unique()), list(table.split.unique())
    step = len(methods) + 1.5
    figure = Figure(
        figsize=(2.4 * len(metrics) + 0.8, 0.9 + 0.19 * step * len(splits)), layout="constrained"
    )
    figure.suptitle(title)
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    names = {k * step: split for k, split in enumerate(splits)}
    names |= {k * step + 1 + m: name for k in range(len(splits)) for m, name in enumerate(methods)}
    for axes, metric in zip(panels, metrics, strict=True):
        for row in table[table.metric == metric.name].itertuples():
            place = splits.index(row.split) * step + 1 + methods.index(row.method)
            _mark(axes, Value(row.mean, row.sd, row.low, row.high), place, color(row.method))
        axes.set_xlabel(metric.title)
        _simplify(axes)
    panels[0].set_yticks(list(names), list(names.values()))
    for tick, name in zip(panels[0].get_yticklabels(), names.values(), strict=True):
        tick.set_fontweight("bold" if name in splits else "normal")
    panels[0].invert_yaxis()
    return figure


def time_and_quality(
    tables: Mapping[str, pd.DataFrame], metrics: Sequence[Metric], title: str
) -> Figure:
    """Draw metrics over the milliseconds of an image, each method's backbones as a line.

    Args:
        tables: Backbone → metrics, see `values.COLUMNS`; methods without a time are left out.
        metrics: A column of panels for each; each split is a row.
        title: Title of the figure.
    """
    every = pd.concat([t.assign(backbone=name) for name, t in tables.items()])
    wide = every.pivot(index=["split", "method", "backbone"], columns="metric")
    wide = wide[wide["mean", MILLISECONDS].notna()]
    there = [set(wide.index.get_level_values(level)) for level in ("split", "method")]
    splits = [split for split in every.split.unique() if split in there[0]]
    methods = [method for method in every.method.unique() if method in there[1]]
    figure = Figure(
        figsize=(2.9 * len(metrics) + 0.8, 0.8 + 2.3 * len(splits)), layout="constrained"
    )
    figure.suptitle(title)
    panels = figure.subplots(len(splits), len(metrics), squeeze=False)
    for (row, split), (column, metric) in product(enumerate(splits), enumerate(metrics)):
        axes = panels[row][column]
        for method in methods:
            places = [(split, method, name) for name in tables]
            part = wide.loc[[place for place in places if place in wide.index]]
            ms, mean = part["mean", MILLISECONDS], part["mean", metric.name]
            low, high = part["low", metric.name], part["high", metric.name]
            axes.vlines(ms, low, high, color=color(method), alpha=0.4)
            axes.plot(ms, mean, color=color(method), marker="o", markersize=4, label=method)
            for name, x, y in zip(part.index.get_level_values(2), ms, mean, strict=True):
                axes.annotate(name, (x, y), (3, 3), textcoords="offset points", fontsize=7)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_title(f"{split}: {metric.task} {metric.title}", fontsize=9)
        axes.set_xlabel("ms per image")
        _simplify(axes)
    panels[0][0].legend(fontsize=7, frameon=False)
    return figure


def shares(closed: Mapping[str, Mapping[str, Value]], title: str) -> Figure:
    """Draw how much of the gap between single network and ensemble methods close, in percent.

    An interval that leaves the axis ends in an arrow; a mean beyond the axis is a number.

    Args:
        closed: Heading of a metric → method → share, 1 for the complete gap.
        title: Title of the plot.
    """
    figure = Figure(figsize=(7, 1.2 + 0.5 * len(closed)), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots()
    axes.axvline(0, color=_GREY, linewidth=0.8)
    axes.axvline(100, color=_GREY, linewidth=0.8, linestyle="--")
    for place, methods in enumerate(closed.values()):
        for k, (method, value) in enumerate(methods.items()):
            y, shade = place + 0.26 * (k - (len(methods) - 1) / 2), color(method)
            _mark(axes, value, y, shade, 100)
            _arrows(axes, value, y, shade)
            mean = float(np.clip(100 * value.mean, *_SHARES))
            words = [method] if place == 0 else []
            words += [f"{100 * value.mean:.0f} %"] if mean in _SHARES else []
            if words:
                label, side = " ".join(words), _SIDES.get(mean, "center")
                axes.annotate(
                    label, (mean, y), (0, 5), textcoords="offset points", color=shade, ha=side
                )
    axes.set_yticks(range(len(closed)), list(closed))
    axes.invert_yaxis()
    axes.set(xlim=_SHARES, xlabel="gap closed, % (0: single network, 100: its ensemble)")
    _simplify(axes)
    return figure


def color(method: str) -> str:
    """Return the colour of a method, the same in every plot."""
    kind = METHODS[method].color if method in METHODS else None
    return COLORS.get(method) or kind or _OTHERS[sum(map(ord, method)) % len(_OTHERS)]


def _mark(axes: Axes, value: Value, place: float, shade: str, scale: float = 1.0) -> None:
    """Draw a mean with its horizontal interval, if there is one."""
    axes.plot([scale * value.low, scale * value.high], [place, place], color=shade, linewidth=2)
    axes.plot(scale * value.mean, place, color=shade, marker="o", markersize=4)


def _arrows(axes: Axes, share: Value, place: float, shade: str) -> None:
    """Mark the sides on which a share or its interval leaves the axis."""
    ends = 100 * np.array([share.mean, share.low, share.high])
    low, high = _SHARES
    if (ends < low).any():
        axes.plot(low, place, "<", color=shade, markersize=6, clip_on=False)
    if (ends > high).any():
        axes.plot(high, place, ">", color=shade, markersize=6, clip_on=False)


def _panels(scores: Scores, title: str, rows: int = 1) -> tuple[Figure, list[list[Axes]]]:
    """Make a figure with a column of panels for each split."""
    figure = Figure(figsize=(3.4 * len(scores) + 2.5, 0.7 + 3.3 * rows), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(rows, len(scores), sharex=True, sharey="row", squeeze=False)
    for axes in grid.flat:
        _simplify(axes)
    for axes, split in zip(grid[0], scores, strict=True):
        axes.set_title(split)
    return figure, [list(row) for row in grid]


def _lines(
    row: Sequence[Axes],
    scores: Scores,
    needed: str,
    line: Callable[[Curves], Line],
    legend: bool = True,
    **style,
) -> None:
    """Draw a line for each method that has the curve `needed`, and a legend next to the row."""
    for axes, methods in zip(row, scores.values(), strict=True):
        for method, seeds in methods.items():
            c = mean_curves(seeds)
            if needed in c:
                options = {"linewidth": 1.4, "markersize": 2.5, **style, "color": color(method)}
                axes.plot(*line(c), label=method, **options)
    if legend:
        lines = {str(line.get_label()): line for axes in row for line in axes.lines}
        names, place = [name for name in lines if not name.startswith("_")], (1.02, 0.5)
        handles = [lines[name] for name in names]
        row[-1].legend(handles, names, loc="center left", bbox_to_anchor=place, frameon=False)


def _diagonals(row: Sequence[Axes], limits: tuple[float, float], x: str, y: str) -> None:
    """Draw the diagonal, and write the labels of the axes."""
    low, high = limits
    place = (high - 0.03 * (high - low), low + 0.04 * (high - low))
    for axes in row:
        axes.set(xlim=limits, ylim=limits, xlabel=x)
        axes.plot(limits, limits, color=_GREY, linewidth=0.8, linestyle="--")
        axes.text(*place, "below the line: over-confident", color=_GREY, ha="right", fontsize=8)
    row[0].set_ylabel(y)


def _simplify(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#eeeeee", linewidth=0.8)
    axes.set_axisbelow(True)
