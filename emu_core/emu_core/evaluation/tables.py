"""The paper's tables: which figures, in which units, and their Markdown and CSV.

Missing cells are "–": a table of a study that is not finished is one, too.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from emu_core.evaluation.values import Value

MISSING = "–"

Row = Mapping[str, Value]
"""Figures of a row by name; `ms_per_image` as well."""


@dataclass(frozen=True)
class Figure:
    """A column.

    Args:
        name: as in `StudyMetrics.compute`.
        heading: with its unit.
        better: where there is such a direction.
        digits: behind the point.
        beside: figure that is printed in brackets: the value that random scores would get, or a
            sign.
    """

    name: str
    heading: str
    better: Literal["higher", "lower"] | None
    digits: int = 3
    beside: str | None = None

    @property
    def title(self) -> str:
        """Heading with an arrow to where it is better."""
        arrow = {"higher": " ↑", "lower": " ↓", None: ""}[self.better]
        return self.heading + arrow


def _certainty(task: str) -> tuple[Figure, ...]:
    """Shares of accurate × certain pixels, at the mean and at the median of each image."""
    shares = {
        "p_acc_cer": "p(acc\\|cer)",
        "p_unc_inacc": "p(unc\\|inacc)",
        "p_inacc_unc": "p(inacc\\|unc)",
        "pavpu": "PAvPU",
    }
    return tuple(
        Figure(
            f"{task}.{name}{at}", heading + behind, "higher", beside=f"{task}.{name}{at}_random"
        )
        for at, behind in (("", ""), ("_median", ", median"))
        for name, heading in shares.items()
    )


MILLISECONDS = Figure("ms_per_image", "ms per image", "lower", 0)

SEGMENTATION = (
    Figure("miou", "mIoU", "higher"),
    Figure("accuracy", "accuracy", "higher"),
    Figure("ece", "ECE", "lower", beside="ece_gap"),
    Figure("seg.nll", "NLL, nats", "lower"),
    Figure("seg.brier", "Brier", "lower"),
    Figure("seg.error_auroc", "error AUROC", "higher"),
    Figure("seg.ause", "AUSE", "lower", beside="seg.ause_random"),
    Figure("seg.aurc", "AURC", "lower", beside="seg.aurc_random"),
    *_certainty("seg"),
    MILLISECONDS,
)
DEPTH = (
    Figure("rmse", "RMSE, m", "lower", 2),
    Figure("abs_rel", "AbsRel", "lower"),
    Figure("delta1", "δ1", "higher"),
    Figure("depth_coverage", "estimates", "higher"),
    Figure("depth.nll", "NLL", "lower", 2),
    Figure("depth.coverage90", "within 90 %", None),
    Figure("depth.error_auroc", "error AUROC", "higher"),
    Figure("depth.ause", "AUSE", "lower", beside="depth.ause_random"),
    Figure("depth.aurc", "AURC", "lower", beside="depth.aurc_random"),
    *_certainty("depth"),
    MILLISECONDS,
)


def _unknown(task: str, word: str) -> tuple[Figure, ...]:
    name = f"{task}.unknown_"
    return (
        Figure(f"{name}auroc", f"{word}: AUROC", "higher"),
        Figure(f"{name}ap", f"{word}: AP", "higher", beside=f"{name}ap_random"),
        Figure(f"{name}fpr95", f"{word}: FPR95", "lower"),
        Figure(f"{name}twin_auroc", f"{word}: AUROC against its twin", "higher"),
    )


UNKNOWN = (*_unknown("seg", "classes"), *_unknown("depth", "depth"))
"""Unknown objects on the road, found by the entropy and by the deviation of depth."""

_SHARES = {figure.name for task in ("seg", "depth") for figure in _certainty(task)}

TABLES: dict[str, tuple[Figure, ...]] = {
    "segmentation": tuple(f for f in SEGMENTATION if f.name not in _SHARES),
    "segmentation, certain or not": (SEGMENTATION[1], *_certainty("seg")),
    "depth": tuple(f for f in DEPTH if f.name not in _SHARES),
    "depth, certain or not": (DEPTH[2], *_certainty("depth")),
    "unknown": UNKNOWN,
}
"""By their titles. Certain means: an uncertainty not above its image's mean, or median."""


def class_figures(names: Sequence[str]) -> tuple[Figure, ...]:
    """The columns of every class's IoU, by their names in the order of the ids."""
    return tuple(Figure(f"iou_{k}", name, "higher") for k, name in enumerate(names))


def with_class_names(row: Row, names: Sequence[str]) -> Row:
    """The row with `iou.NAME` for `iou_K`."""
    of_id = {f"iou_{k}": f"iou.{name}" for k, name in enumerate(names)}
    return {of_id.get(name, name): value for name, value in row.items()}


HEADLINES = tuple(
    replace(figure, heading=f"{prefix}{figure.heading}")
    for figures, prefix, names in (
        (SEGMENTATION, "", ("miou", "ece")),
        (SEGMENTATION, "class ", ("seg.nll", "seg.brier", "seg.error_auroc", "seg.ause")),
        (DEPTH, "", ("rmse", "abs_rel")),
        (DEPTH, "depth ", ("depth.nll", "depth.error_auroc", "depth.ause")),
        (DEPTH, "", ("ms_per_image",)),
    )
    for figure in figures
    if figure.name in names
)
"""What a terminal shows."""

EXPLANATION = (
    "Mean ± standard deviation over seeds, and below it the 95 % interval of a bootstrap over "
    "drives; in brackets the signed calibration gap (positive: over-confident) and what random "
    "uncertainties would get; bold: the best mean of a column. Certain pixels are those up to the "
    "mean of their image's uncertainties, or up to their median."
)


def markdown(figures: Sequence[Figure], rows: Mapping[str, Row | None]) -> str:
    """A table in Markdown.

    Args:
        figures: columns; those that no row has are left out.
        rows: by their heading; None for one that there is no result of.
    """
    shown = [f for f in figures if any(row and f.name in row for row in rows.values())]
    if not shown:
        return "Nothing was scored yet.\n"
    lines = ["| method | " + " | ".join(f.title for f in shown) + " |"]
    lines.append("|---|" + "--:|" * len(shown))
    best = {figure.name: _best(figure, rows.values()) for figure in shown}
    for heading, row in rows.items():
        cells = [_cell(figure, row or {}, best[figure.name]) for figure in shown]
        lines.append(f"| {heading} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def summary(rows: Mapping[str, Row]) -> str:
    """The most telling means, a line for each figure and a column for each method, aligned.

    Args:
        rows: by the method's name.
    """
    shown = [f for f in HEADLINES if any(f.name in row for row in rows.values())]
    cells = [["", *rows]] + [[f.title, *(_mean(f, row) for row in rows.values())] for f in shown]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "".join(
        f"{name:{widths[0]}}"
        + "".join(f"  {cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True))
        + "\n"
        for name, *rest in cells
    )


def csv_lines(tables: Iterable[tuple[Sequence[str], Row]], keys: Sequence[str]) -> str:
    """Every figure of every row in one long table.

    Args:
        tables: values of `keys`, and the row.
        keys: headings of the first columns, e.g. split, method.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*keys, "figure", "mean", "sd", "ci95_low", "ci95_high"])
    for key, row in tables:
        for name, value in row.items():
            spread = "" if value.sd is None else f"{value.sd:.6g}"
            ends = ("", "") if value.ci95 is None else (f"{end:.6g}" for end in value.ci95)
            writer.writerow([*key, name, f"{value.mean:.6g}", spread, *ends])
    return text.getvalue()


def _best(figure: Figure, rows: Iterable[Row | None]) -> float | None:
    means = [row[figure.name].mean for row in rows if row and figure.name in row]
    if figure.better is None or len(means) < 2:
        return None
    return max(means) if figure.better == "higher" else min(means)


def _mean(figure: Figure, row: Row) -> str:
    value = row.get(figure.name)
    return MISSING if value is None else f"{value.mean:.{figure.digits}f}"


def _cell(figure: Figure, row: Row, best: float | None) -> str:
    value = row.get(figure.name)
    if value is None:
        return MISSING
    digits = figure.digits
    text = f"{value.mean:.{digits}f}"
    if value.mean == best:
        text = f"**{text}**"
    if value.sd is not None:
        text += f" ± {value.sd:.{digits}f}"
    if figure.beside is not None and figure.beside in row:
        sign = "+" if figure.beside == "ece_gap" else ""
        text += f" ({row[figure.beside].mean:{sign}.{digits}f})"
    if value.ci95 is not None:
        low, high = value.ci95
        text += f"<br><sub>{low:.{digits}f} … {high:.{digits}f}</sub>"
    return text
