"""What was seen: share of pixels, depths and uncertainty of each class, as text and CSV."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from typing import TextIO

import numpy as np

from emu_core.labels import ClassTable
from emu_core.runtime.perceiver import Perception

COLUMNS = {
    "share": ("share of pixels", "{:.1%}"),
    "median_depth_m": ("median depth", "{:.1f} m"),
    "nearest_depth_m": ("nearest depth", "{:.1f} m"),
    "median_depth_std_m": ("depth deviation", "{:.1f} m"),
    "mean_uncertainty": ("class uncertainty", "{:.2f}"),
}
"""Name in files -> title and format in texts."""

NEAREST_PERCENT = 5
"""The nearest depth of a class is this percentile: single wrong pixels do not count."""

ALL = "all"
"""Name of the only row of a model without classes."""

Row = dict[str, float]


def survey(perception: Perception, table: ClassTable) -> dict[str, Row]:
    """Describe each class that occurs in the maps, by its name, the most frequent first.

    Columns of `COLUMNS` that the model cannot fill are missing; a class without any finite depth
    has NaN there.
    """
    labels = perception.labels
    if labels is None:
        return {ALL: _row(perception, np.ones(perception.depth.shape, bool))}
    counts = np.bincount(labels.ravel(), minlength=256)[: len(table)]
    order = [k for k in np.argsort(-counts, kind="stable") if counts[k]]
    return {table.names[k]: _row(perception, labels == k) for k in order}


def _row(perception: Perception, pixels: np.ndarray) -> Row:
    row = {"share": float(pixels.mean())}
    if perception.depth is not None:
        known = pixels & np.isfinite(perception.depth)
        depth = perception.depth[known]
        row["median_depth_m"] = float(np.median(depth)) if depth.size else np.nan
        row["nearest_depth_m"] = (
            float(np.percentile(depth, NEAREST_PERCENT)) if depth.size else np.nan
        )
        if perception.depth_std is not None:
            std = perception.depth_std[known]
            row["median_depth_std_m"] = float(np.median(std)) if std.size else np.nan
    if perception.label_uncertainty is not None:
        row["mean_uncertainty"] = float(perception.label_uncertainty[pixels].mean())
    return row


def merge(surveys: Sequence[Mapping[str, Row]]) -> dict[str, Row]:
    """Combine the surveys of pictures.

    Shares are means over all pictures, nearest depths the smallest ones, and all else medians over
    the pictures in which the class occurs.
    """
    names = dict.fromkeys(name for each in surveys for name in each)
    merged = {}
    for name in names:
        rows = [each[name] for each in surveys if name in each]
        merged[name] = {
            column: sum(values) / len(surveys)
            if column == "share"
            else _reduced(min if column == "nearest_depth_m" else np.median, values)
            for column in rows[0]
            for values in [[row[column] for row in rows]]
        }
    return dict(sorted(merged.items(), key=lambda item: -item[1]["share"]))


def _reduced(function, values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(function(known)) if known else np.nan


def as_text(rows: Mapping[str, Row]) -> str:
    """Return a table in aligned columns."""
    columns = [c for c in COLUMNS if any(c in row for row in rows.values())]
    lines = [["class", *(COLUMNS[c][0] for c in columns)]]
    for name, row in rows.items():
        cells = ["-" if np.isnan(row[c]) else COLUMNS[c][1].format(row[c]) for c in columns]
        lines.append([name, *cells])
    first, *widths = (max(map(len, cells)) for cells in zip(*lines, strict=True))
    return "\n".join(
        "  ".join([name.ljust(first), *(c.rjust(w) for c, w in zip(cells, widths, strict=True))])
        for name, *cells in lines
    )


class TableWriter:
    """Write surveys of pictures into a CSV file, picture by picture."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._writer = csv.writer(file)
        self._columns: list[str] = []

    def add(self, picture: str, rows: Mapping[str, Row]) -> None:
        """Add a line for each class; an unknown value is an empty cell."""
        if not self._columns:
            self._columns = list(next(iter(rows.values()), {}))
            self._writer.writerow(["picture", "class", *self._columns])
        for name, row in rows.items():
            values = ["" if np.isnan(row[c]) else f"{row[c]:.6g}" for c in self._columns]
            self._writer.writerow([picture, name, *values])
        self._file.flush()
