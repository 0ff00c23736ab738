"""What was seen: share of pixels, depths and uncertainty of each class, as text and CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
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
    labels, maps = perception.labels, perception.maps()
    if labels is None:
        shape = next(iter(maps.values())).shape
        return {ALL: _row(maps, np.ones(shape, bool))}
    counts = np.bincount(labels.ravel(), minlength=256)[: len(table)]
    order = [k for k in np.argsort(-counts, kind="stable") if counts[k]]
    return {table.names[k]: _row(maps, labels == k) for k in order}


def _row(maps: Mapping[str, np.ndarray], pixels: np.ndarray) -> Row:
    row = {"share": float(pixels.mean())}
    if "depth" in maps:
        known = pixels & np.isfinite(maps["depth"])
        found = bool(known.any())
        depth = maps["depth"][known]
        row["median_depth_m"] = float(np.median(depth)) if found else np.nan
        row["nearest_depth_m"] = float(np.percentile(depth, NEAREST_PERCENT)) if found else np.nan
        if "depth_std" in maps:
            std = maps["depth_std"][known]
            row["median_depth_std_m"] = float(np.median(std)) if found else np.nan
    if "label_uncertainty" in maps:
        row["mean_uncertainty"] = float(maps["label_uncertainty"][pixels].mean())
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


def _reduced(function: Callable, values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(function(known)) if known else np.nan


def cells(rows: Mapping[str, Row]) -> list[list[str]]:
    """Return the titles, and the cells of each class, as texts; an unknown value is "-"."""
    columns = [c for c in COLUMNS if any(c in row for row in rows.values())]
    table = [["class", *(COLUMNS[c][0] for c in columns)]]
    for name, row in rows.items():
        texts = ["-" if np.isnan(row[c]) else COLUMNS[c][1].format(row[c]) for c in columns]
        table.append([name, *texts])
    return table


def as_text(rows: Mapping[str, Row]) -> str:
    """Return a table in aligned columns."""
    lines = cells(rows)
    first, *widths = (max(map(len, column)) for column in zip(*lines, strict=True))
    return "\n".join(
        "  ".join([name.ljust(first), *(t.rjust(w) for t, w in zip(texts, widths, strict=True))])
        for name, *texts in lines
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
