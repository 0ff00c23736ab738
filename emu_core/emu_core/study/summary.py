"""docs/study.json: every figure of every method as {mean, sd, ci95}, null where there is none.

    REGIME → SPLIT → METHOD → miou, ece, rmse, abs_rel, delta1, ms_per_image, seeds,
                              seg → nll, brier, …;  depth → nll, coverage90, …

Beside the regimes: `about`, `single_task` and `ablation` (REGIME → SPLIT → ROW, as above),
`disagreement` of the members, `gap_closed` and `claims`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

from emu_core.evaluation.tables import DEPTH, SEGMENTATION, UNKNOWN, Row
from emu_core.evaluation.values import Value
from emu_core.study.claims import Closed, Comparison
from emu_core.study.findings import Findings
from emu_core.study.rows import ABLATION, APART, METHODS

_SEG = ("nll", "brier", "error_auroc", "ause", "p_acc_cer", "p_unc_inacc", "p_inacc_unc", "pavpu",
        "unknown_auroc")  # fmt: skip
_DEPTH = (*(name for name in _SEG if name != "brier"), "coverage90")

REQUIRED = (
    "miou", "ece", "rmse", "abs_rel", "delta1", "ms_per_image",
    *(f"seg.{name}" for name in _SEG), *(f"depth.{name}" for name in _DEPTH),
)  # fmt: skip
"""Figures that every entry has, be it as null."""

_SHOWN = tuple(
    dict.fromkeys(
        name for f in (*SEGMENTATION, *DEPTH, *UNKNOWN) for name in (f.name, f.beside) if name
    )
)


def summarise(
    findings: Findings,
    comparisons: Sequence[Comparison],
    closed: Sequence[Closed],
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of study.json.

    Args:
        about: sizes, dates, commit.
    """

    def entries(regime: str, names: Mapping[str, str]) -> dict[str, Any]:
        return {
            split: {
                key: _entry(rows[name], len(findings.cells[regime][split][name]))
                for key, name in names.items()
                if name in rows
            }
            for split, rows in findings.rows[regime].items()
        }

    fresh = {"student_fresh": "student_fresh"}
    apart = {name: APART + name for name in METHODS}
    regimes = list(findings.rows)
    return {
        **{r: entries(r, {name: name for name in METHODS} | fresh) for r in regimes},
        "about": dict(about),
        "single_task": {r: entries(r, apart) for r in regimes},
        "ablation": {r: entries(r, {name: name for name in ABLATION}) for r in regimes},
        "disagreement": findings.disagreement,
        "gap_closed": [asdict(c) for c in closed],
        "claims": [{**asdict(c), "verdict": c.verdict} for c in comparisons],
    }


def as_text(content: Mapping[str, Any]) -> str:
    """JSON with a line for each {mean, sd, ci95}, numbers to six digits."""
    text = json.dumps(_rounded(content), indent=1, ensure_ascii=False, allow_nan=False)
    innermost = re.compile(r'\{\s*"mean":[^{}]*\}')
    return innermost.sub(lambda found: re.sub(r"\s+", " ", found.group()), text) + "\n"


def _entry(row: Row, seeds: int) -> dict[str, Any]:
    entry: dict[str, Any] = {"seeds": seeds}
    for name in dict.fromkeys((*REQUIRED, *_SHOWN)):
        if name not in row and name not in REQUIRED:
            continue
        value = _value(row.get(name))
        task, point, figure = name.partition(".")
        if point:
            entry.setdefault(task, {})[figure] = value
        else:
            entry[name] = value
    return entry


def _value(value: Value | None) -> dict[str, Any] | None:
    return None if value is None else asdict(value)


def _rounded(content: Any) -> Any:
    if isinstance(content, float):
        return float(f"{content:.6g}") if isfinite(content) else None
    if isinstance(content, Mapping):
        return {name: _rounded(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_rounded(value) for value in content]
    return content
