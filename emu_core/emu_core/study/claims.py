"""The paper's claims (paper.md §7) as comparisons with intervals, and the gap a student closes.

Every comparison is of two rows on the same drives of one split; its interval holds what other
drives and other seeds would change. What the interval does not settle is called open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from emu_core.evaluation.tables import DEPTH, SEGMENTATION
from emu_core.evaluation.values import (
    Cell,
    Difference,
    SeedError,
    Value,
    difference,
    interval,
    mean,
    pooled,
    replicates,
    seed_error,
)
from emu_core.study.rows import APART, LOSSES, ROWS

BETTER = {f.name: f.better for f in (*SEGMENTATION, *DEPTH) if f.better is not None}
"""Where each figure is better."""

SEG_UNCERTAINTY = ("seg.nll", "seg.brier", "ece", "seg.error_auroc", "seg.ause")
DEPTH_UNCERTAINTY = ("depth.nll", "depth.error_auroc", "depth.ause")
UNCERTAINTY = (*SEG_UNCERTAINTY, *DEPTH_UNCERTAINTY)

GAP = ("seg.nll", "seg.brier", "seg.error_auroc", "seg.ause", *DEPTH_UNCERTAINTY)
"""Figures by which an ensemble is to be better than a single network."""

LEAST_GAP = 0.03
"""Share of the single network's figure, of what an AUROC lacks to 1, from which on there is a gap.

An ensemble's NLL and Brier are better than its members' mean by Jensen's inequality alone."""

DEPTH_ACCURACY = ("rmse", "abs_rel", "delta1")

RIVALS = ("single", "mcd20", "mcd50", "dse")
"""What a Deep Ensemble is compared with."""

SEEDS = (
    "95 % intervals hold what other drives (bootstrap) and other seeds (Student's t) would "
    "change. A row of one seed borrows the standard deviation between the seeds of the single "
    "networks, or of the students, an ensemble that of a mean over its members: °. Where there is "
    "none to borrow, it says “1 seed”, and no tally counts it."
)
"""What the tables of comparisons say of their intervals."""

Rows = Mapping[str, Cell]
"""The rows of one regime on one split."""


@dataclass(frozen=True)
class Comparison:
    """One row against another by one figure.

    Args:
        claim: number in paper.md §7.
        regime: of both.
        split: of both.
        first: the row that is claimed to be better.
        second: the other.
        figure: name.
        difference: first less second.
    """

    claim: int
    regime: str
    split: str
    first: str
    second: str
    figure: str
    difference: Difference

    @property
    def verdict(self) -> Literal["better", "worse", "open"]:
        """What the interval says of the first."""
        better = BETTER[self.figure]
        assert better is not None
        return self.difference.verdict(better)


@dataclass(frozen=True)
class Closed:
    """How much of the gap between single networks and their ensemble a row closes.

    Args:
        gap: ensemble less single network.
        size: of the gap, as a share of the single network's figure; of what an AUROC lacks to 1.
        spread: standard deviation of the single networks' figures; None of a single one.
        shares: by row: 0 as the single network, 1 as the ensemble, more if better; None where
            there is no gap to close: the ensemble is not clearly better, or by less than
            `LEAST_GAP`, or by less than its members differ.
        distilled: by student: how much of the gap it closes beyond its control, the student's
            training without a teacher; None likewise.
    """

    regime: str
    split: str
    figure: str
    gap: Difference
    size: float
    spread: float | None
    shares: dict[str, Value | None]
    distilled: dict[str, Value | None]


def compare(regime: str, split: str, rows: Rows) -> list[Comparison]:
    """Every comparison of the claims that these rows suffice for."""
    pairs: list[tuple[int, str, str, tuple[str, ...]]] = [
        *((1, row, APART + row, ("miou", *SEG_UNCERTAINTY)) for row in (*RIVALS, "de")),
        *((2, "de", rival, UNCERTAINTY) for rival in RIVALS),
        *((3, student, other, ("miou", *UNCERTAINTY))
          for student in ("student", "student_fresh") for other in ("de", "single", "control")),
        (4, "student", "de", DEPTH_ACCURACY),
        (4, "student", "control", DEPTH_ACCURACY),
        (4, "student", "single", DEPTH_ACCURACY),
        *((4, f"student_{loss}", f"control_{loss}", DEPTH_ACCURACY) for loss in LOSSES),
        *((4, "student", f"student_{loss}", DEPTH_ACCURACY) for loss in LOSSES),
        *((4, "student", other, (*DEPTH_ACCURACY, *DEPTH_UNCERTAINTY))
          for other in ("student_novar", "student_logvar")),
    ]  # fmt: skip
    return [
        Comparison(claim, regime, split, first, second, figure, found)
        for claim, first, second, figures in pairs
        if first in rows and second in rows
        for figure in figures
        if (found := _difference(rows, first, second, figure)) is not None
    ]


def gap_closed(
    regime: str,
    split: str,
    rows: Rows,
    of: tuple[str, ...] = ("student", "student_fresh", "control"),
) -> list[Closed]:
    """How much of each figure's gap these rows close."""
    if "single" not in rows or "de" not in rows:
        return []
    found = []
    for figure in GAP:
        gap = _difference(rows, "de", "single", figure)
        if gap is None:
            continue
        better = BETTER[figure]
        assert better is not None
        size, spread = _size(gap, rows["single"], figure)
        there = (
            gap.verdict(better) == "better"
            and size >= LEAST_GAP
            and abs(gap.mean) > (spread or 0.0)
        )
        shares = {row: _share(rows, row, figure) if there else None for row in of if row in rows}
        distilled = {
            row: _distilled(rows, row, figure) if there else None
            for row in ("student", "student_fresh")
            if row in rows and "control" in rows
        }
        found.append(Closed(regime, split, figure, gap, size, spread, shares, distilled))
    return found


def paired(first: str, second: str) -> bool:
    """Whether seed k of one row and seed k of the other begin alike.

    Students and controls have their starts and seeds in common, as single-task networks have
    theirs with the joint ones.
    """
    pupils = all(name in ROWS and ROWS[name].teacher for name in (first, second))
    return pupils or second == APART + first


def _difference(rows: Rows, first: str, second: str, figure: str) -> Difference | None:
    cells = rows[first], rows[second]
    if not all(figure in scored.resampled for cell in cells for scored in cell):
        return None
    found = difference(*cells, figure, errors=_errors(rows, first, second, figure))
    return found if np.isfinite([found.mean, *found.ci95]).all() else None


def _errors(rows: Rows, first: str, second: str, figure: str) -> list[SeedError]:
    """What few seeds leave in a difference of two rows: one error of pairs, else one of each."""
    names = first, second
    if (of_members := _jackknife(rows, first, second, figure)) is not None:
        return [of_members]
    if not paired(first, second) or len(rows[first]) != len(rows[second]):
        return [_error(rows, row, figure) for row in names]
    own, lent = (
        [a - b for a, b in zip(*(pooled(cell, figure) for cell in cells), strict=False)]
        for cells in ([rows[row] for row in names], [_lender(rows, row, figure) for row in names])
    )
    return [seed_error(own, lent, _networks(first, lent))]


def _jackknife(rows: Rows, first: str, second: str, figure: str) -> SeedError | None:
    """The error of an ensemble's gain over its own members, from the gains without each of them.

    They have their members in common, so their errors are not independent: a lucky draw of
    members is lucky for both (Efron & Stein, 1981). None for other rows.
    """
    less = rows.get(f"{first}_less", ())
    if second not in ("single", f"{APART}single") or first != second.replace("single", "de"):
        return None
    alone = rows[second]
    if len(less) != len(alone) or any(figure not in s.results.pooled for s in (*less, *alone)):
        return None
    members, count = np.array(pooled(alone, figure)), len(alone)
    others = (members.sum() - members) / (count - 1)
    gains = np.array(pooled(less, figure)) - others
    scale = float(np.sqrt((count - 1) / count * np.square(gains - gains.mean()).sum()))
    return SeedError(scale, count - 1, "own")


def _error(rows: Rows, row: str, figure: str) -> SeedError:
    lent = pooled(_lender(rows, row, figure), figure)
    return seed_error(pooled(rows[row], figure), lent, _networks(row, lent))


def _lender(rows: Rows, row: str, figure: str) -> Cell:
    """Whose deviation between seeds a row borrows if it has one seed: students' for a student's
    variant, else that of single networks, of one task each for a row of such."""
    apart = APART if row.startswith(APART) else ""
    for name in (*(["student"] if row.startswith("student") else []), f"{apart}single"):
        cell = rows.get(name, ())
        if len(cell) > 1 and all(figure in scored.results.pooled for scored in cell):
            return cell
    return ()


def _networks(row: str, lent: Sequence[float]) -> int:
    """How many networks a row averages: an ensemble's members are the single networks' seeds."""
    return max(len(lent), 1) if row.removeprefix(APART) == "de" else 1


def _share(rows: Rows, row: str, figure: str) -> Value:
    """(row − single network)/(ensemble − single network), for other drives and other seeds."""
    names = (row, "single", "de")
    own, base, best = (_replicates(rows, name, figure) for name in names)
    count = len(own)
    own_error, base_error = (
        _error(rows, name, figure).draw(count, stream) for stream, name in enumerate(names[:2])
    )
    gap_error = _jackknife(rows, "de", "single", figure)
    if gap_error is None:
        gap = best - base + _error(rows, "de", figure).draw(count, 2) - base_error
    else:
        gap = best - base + gap_error.draw(count, 2)
    at, low, high = (mean(rows[name], figure) for name in names)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = (own + own_error - base - base_error) / gap
    each = [(value - low) / (high - low) for value in pooled(rows[row], figure)]
    sd = float(np.std(each, ddof=1)) if len(each) > 1 else None
    return Value((at - low) / (high - low), sd, interval(shares))


def _size(gap: Difference, single: Cell, figure: str) -> tuple[float, float | None]:
    """A gap's share of the single network's figure, and the spread of the single networks."""
    each = [scored.results.pooled[figure] for scored in single]
    spread = float(np.std(each, ddof=1)) if len(each) > 1 else None
    own = mean(single, figure)
    whole = 1.0 - own if BETTER[figure] == "higher" else abs(own)
    return abs(gap.mean) / whole if whole > 0 else float("inf"), spread


def _distilled(rows: Rows, student: str, figure: str) -> Value:
    """(student − control)/(ensemble − single network), for other drives and other seeds."""
    sides, means = [], []
    for pair, streams in (((student, "control"), (0, 1)), (("de", "single"), (2, 3))):
        a, b = (_replicates(rows, name, figure) for name in pair)
        errors = _errors(rows, *pair, figure)
        noise = [e.draw(len(a), stream) for e, stream in zip(errors, streams, strict=False)]
        sides.append(a - b + sum(noise))
        means.append(mean(rows[pair[0]], figure) - mean(rows[pair[1]], figure))
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = sides[0] / sides[1]
    sd = None
    if len(rows[student]) == len(rows["control"]) > 1:
        twins = zip(pooled(rows[student], figure), pooled(rows["control"], figure), strict=True)
        sd = float(np.std([s - c for s, c in twins], ddof=1)) / abs(means[1])
    return Value(means[0] / means[1], sd, interval(shares))


def _replicates(rows: Rows, row: str, figure: str) -> np.ndarray:
    found = replicates(rows[row], figure)
    assert found is not None  # or there would be no gap
    return found
