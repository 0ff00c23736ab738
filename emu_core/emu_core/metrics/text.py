"""Metrics as text."""

from __future__ import annotations

from math import isnan

NO_DATA = "no data"
"""Text of a metric that is NaN: there was nothing to measure."""


def number(value: float, digits: int) -> str:
    """Write a metric with so many digits after the point; `NO_DATA` for NaN."""
    return NO_DATA if isnan(value) else f"{value:.{digits}f}"
