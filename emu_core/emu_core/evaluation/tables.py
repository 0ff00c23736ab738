"""The metrics that tables show, and their Markdown.

    table = metric_table(scores, times)             # a row for each split, method and metric
    markdown(table[table.split == "test"], TABLES["depth"], {"de": "Deep Ensemble"})

A cell is "–" if nothing was scored, so tables of unfinished studies can be written, too. It is
"no data" if there was nothing to measure: no pixel, no error, or not for every seed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from typing import Any

import pandas as pd

from emu_core.evaluation.values import MILLISECONDS, Better
from emu_core.metrics.text import NO_DATA, number

MISSING = "–"


@dataclass(frozen=True)
class Metric:
    """A metric that tables and plots show.

    Args:
        name: As in `StudyMetrics.compute`.
        heading: With its unit.
        better: The better direction, if there is one.
        digits: After the decimal point.
        beside: Metric that is printed in brackets: the value of random scores, or a sign.
        task: Classes or depth; "" for both.
    """

    name: str
    heading: str
    better: Better | None
    digits: int = 3
    beside: str | None = None
    task: str = ""

    @property
    def title(self) -> str:
        """Heading with an arrow to the better side."""
        return self.heading + {"higher": " ↑", "lower": " ↓", None: ""}[self.better]

    @property
    def label(self) -> str:
        """Heading with the task."""
        return f"{self.task}: {self.heading}" if self.task else self.heading


def _of_task(task: str, *metrics: Metric) -> list[Metric]:
    return [replace(metric, task=task) for metric in metrics]


def _certainty(prefix: str) -> list[Metric]:
    """Shares of accurate × certain pixels, at the mean and at the median of each image."""
    headings = {
        "p_acc_cer": "p(acc\\|cer)",
        "p_unc_inacc": "p(unc\\|inacc)",
        "p_inacc_unc": "p(inacc\\|unc)",
        "pavpu": "PAvPU",
    }
    found = []
    for at, suffix in (("", ""), ("_median", ", median")):
        for name, heading in headings.items():
            full = f"{prefix}.{name}{at}"
            found.append(Metric(full, heading + suffix, "higher", beside=f"{full}_random"))
    return found


def _unknown(prefix: str, word: str) -> list[Metric]:
    """How well uncertainty finds unknown objects on the road."""
    name = f"{prefix}.unknown_"
    return [
        Metric(f"{name}auroc", f"{word}: AUROC", "higher"),
        Metric(f"{name}ap", f"{word}: AP", "higher", beside=f"{name}ap_random"),
        Metric(f"{name}fpr95", f"{word}: FPR95", "lower"),
        Metric(f"{name}twin_auroc", f"{word}: AUROC against its twin", "higher"),
    ]


_SEGMENTATION = _of_task(
    "classes",
    Metric("miou", "mIoU", "higher"),
    Metric("accuracy", "accuracy", "higher"),
    Metric("ece", "ECE", "lower", beside="ece_gap"),
    Metric("seg.nll", "NLL, nats", "lower"),
    Metric("seg.brier", "Brier", "lower"),
    Metric("seg.error_auroc", "error AUROC", "higher"),
    Metric("seg.ause", "AUSE", "lower", beside="seg.ause_random"),
    Metric("seg.aurc", "AURC", "lower", beside="seg.aurc_random"),
)
_DEPTH = _of_task(
    "depth",
    Metric("rmse", "RMSE, m", "lower", 2),
    Metric("abs_rel", "AbsRel", "lower"),
    Metric("delta1", "δ1", "higher"),
    Metric("depth_coverage", "estimates", "higher"),
    Metric("depth.nll", "NLL", "lower", 2),
    Metric("depth.coverage90", "within 90 %", None),
    Metric("depth.ratio_error_auroc", "ratio error AUROC", "higher"),
    Metric("depth.ratio_error_auroc_given", "ratio error AUROC of estimates", "higher"),
    Metric("depth.ratio_error_auroc_by_std", "ratio error AUROC by std", "higher"),
    Metric("depth.metre_error_auroc", "metre error AUROC", "higher"),
    Metric("depth.ause", "AUSE", "lower", beside="depth.ause_random"),
    Metric("depth.aurc", "AURC", "lower", beside="depth.aurc_random"),
)
_CERTAIN_CLASSES = _of_task("classes", *_certainty("seg"))
_CERTAIN_DEPTH = _of_task("depth", *_certainty("depth"))
_UNKNOWN = [*_unknown("seg", "classes"), *_unknown("depth", "depth")]
_TIME = Metric(MILLISECONDS, "ms per image", "lower", 0)

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (*_SEGMENTATION, *_CERTAIN_CLASSES, *_DEPTH, *_CERTAIN_DEPTH, *_UNKNOWN, _TIME)
}
"""Every metric that is shown, by name."""

TABLES: dict[str, list[Metric]] = {
    "segmentation": [*_SEGMENTATION, _TIME],
    "segmentation, certain or not": [METRICS["accuracy"], *_CERTAIN_CLASSES],
    "depth": [*_DEPTH, _TIME],
    "depth, certain or not": [METRICS["delta1"], *_CERTAIN_DEPTH],
    "unknown": _UNKNOWN,
}
"""Columns of tables by title. A pixel is certain if its uncertainty is at most the mean, or the
median, of its image."""

DEPTH_LOSS = [*_DEPTH, *_CERTAIN_DEPTH, _TIME]
"""Columns of the table that compares depth losses."""

HEADLINES = [
    METRICS[name]
    for name in (
        *("miou", "ece", "seg.nll", "seg.brier", "seg.error_auroc", "seg.ause"),
        *("rmse", "abs_rel", "depth.nll", "depth.coverage90"),
        *("depth.ratio_error_auroc", "depth.ratio_error_auroc_by_std"),
        *("depth.ause", MILLISECONDS),
    )
]
"""What a terminal shows."""

EXPLANATION = (
    "Mean ± standard deviation over seeds, and below it the 95 % interval of a bootstrap over "
    "drives; in brackets the signed calibration gap (positive: over-confident) and the value of "
    "random uncertainties; bold: the best mean of a column. A pixel is certain if its uncertainty "
    f"is at most the mean, or the median, of its image. {NO_DATA}: there was nothing to measure, "
    f"at least for one seed. {MISSING}: not scored."
)


def class_metrics(names: Sequence[str]) -> list[Metric]:
    """Columns of every class's IoU, after `name_classes`."""
    return [Metric(f"iou.{name}", name, "higher") for name in names]


def name_classes(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Rename the metrics iou_ID to iou.NAME; `names` are in the order of the ids."""
    of_id = {f"iou_{k}": f"iou.{name}" for k, name in enumerate(names)}
    return table.assign(metric=table.metric.replace(of_id))


def markdown(table: pd.DataFrame, metrics: Sequence[Metric], methods: Mapping[str, str]) -> str:
    """Write metrics of one split in Markdown.

    Args:
        table: Rows of one split, see `values.COLUMNS`.
        metrics: Columns; those without any value are left out.
        methods: Name → heading, of the rows of the Markdown table.
    """
    rows = table[table.method.isin(methods)]
    known = {(row.method, row.metric): row for row in rows.itertuples()}
    shown = [metric for metric in metrics if (rows.metric == metric.name).any()]
    if not shown:
        return "Nothing was scored yet."
    columns = {"method": list(methods.values())}
    for metric in shown:
        best = _best(metric, rows)
        columns[metric.title] = [_cell(metric, name, known, best) for name in methods]
    return to_markdown(pd.DataFrame(columns))


def to_markdown(cells: pd.DataFrame, left: int = 1) -> str:
    """Write a table of texts in Markdown, the first `left` columns aligned to the left."""
    align = ["left"] * left + ["right"] * (len(cells.columns) - left)
    padded = cells.to_markdown(index=False, colalign=align, disable_numparse=True)
    return re.sub(r"-{3,}", "---", re.sub(r" +", " ", padded))  # a third of the size


def summary(table: pd.DataFrame) -> str:
    """The most telling means of one split: a line for each metric, a column for each method."""
    methods = list(table.method.unique())
    means = table.set_index(["metric", "method"])["mean"].to_dict()
    known = {name for name, _ in means}
    shown = [metric for metric in HEADLINES if metric.name in known]
    lines = {
        f"{metric.task} {metric.title}".strip(): [
            number(mean, metric.digits)
            if (mean := means.get((metric.name, method))) is not None
            else MISSING
            for method in methods
        ]
        for metric in shown
    }
    return pd.DataFrame.from_dict(lines, "index", columns=methods).to_string()


def _best(metric: Metric, rows: pd.DataFrame) -> float | None:
    means = rows.loc[rows.metric == metric.name, "mean"]
    if metric.better is None or len(means) < 2:
        return None
    return means.max() if metric.better == "higher" else means.min()


def _cell(
    metric: Metric, method: str, known: Mapping[tuple[str, str], Any], best: float | None
) -> str:
    """Mean, deviation, value of `beside`, and interval."""
    row, digits = known.get((method, metric.name)), metric.digits
    if row is None or isnan(row.mean):
        return MISSING if row is None else NO_DATA
    text = f"{row.mean:.{digits}f}"
    if row.mean == best:
        text = f"**{text}**"
    if not isnan(row.sd):
        text += f" ± {row.sd:.{digits}f}"
    beside = known.get((method, metric.beside or ""))
    if beside is not None and not isnan(beside.mean):
        sign = "+" if metric.beside == "ece_gap" else ""
        text += f" ({beside.mean:{sign}.{digits}f})"
    if not isnan(row.low):
        text += f"<br><sub>{row.low:.{digits}f} … {row.high:.{digits}f}</sub>"
    return text
