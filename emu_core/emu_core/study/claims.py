"""The paper's claims as comparisons with intervals, and the gap that a student closes.

Every comparison is of two methods on the same drives of one split. Its interval covers the effect
of other drives and of other seeds. What the interval does not decide is called open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from emu_core.evaluation.tables import METRICS
from emu_core.evaluation.values import (
    Better,
    Difference,
    SeedError,
    Seeds,
    Value,
    deviation,
    difference,
    draws,
    interval,
    mean,
    pooled,
    seed_error,
)
from emu_core.study.config import SINGLE_TASK, study_method

CLAIMS = {
    1: "Joint training helps the quality of the segmentation uncertainty against separate "
    "networks.",
    2: "Deep Ensembles give the best uncertainties, above all out of domain.",
    3: "The student matches its teacher's uncertainties at a small fraction of the cost.",
    4: "The student's depth beats its teacher's, and GNLL with distilled variances is why.",
    5: "How these move with the backbone.",
}
"""Claims of the paper (arXiv 2402.10580) by number."""

SEG_UNCERTAINTY = ("seg.nll", "seg.brier", "ece", "seg.error_auroc", "seg.ause")
DEPTH_UNCERTAINTY = ("depth.nll", "depth.ratio_error_auroc", "depth.ause")
UNCERTAINTY = (*SEG_UNCERTAINTY, *DEPTH_UNCERTAINTY)
DEPTH_ACCURACY = ("rmse", "abs_rel", "delta1")

GAP = ("seg.nll", "seg.brier", "seg.error_auroc", "seg.ause", *DEPTH_UNCERTAINTY)
"""Metrics by which an ensemble should be better than a single network."""

LEAST_GAP = 0.03
"""Smallest gap, relative to the metric of the single network (for an AUROC: to 1 − AUROC).

By Jensen's inequality alone, an ensemble's NLL and Brier score are better than its members'
mean."""

RIVALS = ("single", "mcd20", "mcd50", "dse")
"""Methods that a Deep Ensemble is compared with."""

CLOSING = ("student", "student_unlabelled", "control")
"""Methods that may close the gap between single network and ensemble; the control is the last."""

Methods = Mapping[str, Seeds]
"""The methods of one regime on one split."""

Row = dict[str, Any]
"""A row of the table of results; `results` lists its columns."""


def compare(methods: Methods) -> Iterator[Row]:
    """Compare all pairs of methods that the claims are about, as far as they were scored."""
    students, losses = ("student", "student_unlabelled"), ("l1", "rmsle", "beta")
    seg, accuracy = ("miou", *SEG_UNCERTAINTY), DEPTH_ACCURACY
    both, depth = ("miou", *UNCERTAINTY), (*DEPTH_ACCURACY, *DEPTH_UNCERTAINTY)
    pairs: list[tuple[int, str, str, tuple[str, ...]]] = [
        *((1, name, SINGLE_TASK + name, seg) for name in (*RIVALS, "de")),
        *((2, "de", rival, UNCERTAINTY) for rival in RIVALS),
        *((3, name, other, both) for name in students for other in ("de", "single", "control")),
        *((4, "student", other, accuracy) for other in ("de", "control", "single")),
        *((4, f"student_{loss}", f"control_{loss}", accuracy) for loss in losses),
        *((4, "student", f"student_{loss}", accuracy) for loss in losses),
        *((4, "student", other, depth) for other in ("student_novar", "student_logvar")),
    ]
    for claim, method, other, metrics in pairs:
        for metric in metrics if method in methods and other in methods else ():
            if (found := _difference(methods, method, other, metric)) is not None:
                yield {**_row(f"claim {claim}", metric, method, other), **found._asdict()}


def compare_backbones(larger: Methods, methods: Methods, regime: str) -> Iterator[Row]:
    """Compare every method of a larger backbone with the same method of the study's backbone.

    Args:
        larger, methods: What both have on one split.
        regime: Regime of `methods`; the second method of a row is `REGIME/METHOD`.
    """
    for name in (*RIVALS, "de", *CLOSING):
        if name not in larger or name not in methods:
            continue
        other = f"{regime}/{name}"
        both = {name: larger[name], other: methods[name]}
        lenders = {
            "single": larger.get("single", ()),
            f"{regime}/single": methods.get("single", ()),
        }
        for metric in ("miou", *DEPTH_ACCURACY, *UNCERTAINTY):
            if (found := _difference({**lenders, **both}, name, other, metric)) is not None:
                yield {**_row("claim 5", metric, name, other), **found._asdict()}


def gap_closed(methods: Methods) -> Iterator[Row]:
    """Measure the gaps between single network and ensemble, and which share each method closes.

    Each metric in `GAP` has these rows: the gap; its size relative to the metric of the single
    network (for an AUROC: to 1 − AUROC), with the deviation between single networks; the share
    that each method closes (0: like the single network, 1: like the ensemble); the share that each
    student closes more than its control. A share is NaN if there is no gap: the ensemble is not
    clearly better, or by less than `LEAST_GAP`, or by less than the deviation between the single
    networks.
    """
    if "single" not in methods or "de" not in methods:
        return
    for metric in GAP:
        gap = _difference(methods, "de", "single", metric)
        if gap is None:
            continue
        single = mean(methods["single"], metric)
        largest = 1.0 - single if _better(metric) == "higher" else abs(single)
        size = abs(gap.mean) / largest if largest > 0 else float("nan")
        spread = deviation(pooled(methods["single"], metric))
        is_gap = (
            gap.verdict(_better(metric)) == "better"
            and size >= LEAST_GAP
            and not abs(gap.mean) <= spread  # which may be NaN
        )
        yield {**_row("gap", metric, "de", "single"), **gap._asdict()}
        yield {**_row("gap size", metric, "de", "single"), "mean": size, "sd": spread}
        shares = [("share", name, "single") for name in CLOSING]
        for kind, name, other in [*shares, *(("distilled", n, "control") for n in CLOSING[:-1])]:
            if name in methods and other in methods:
                share = _share(methods, name, other, metric) if is_gap else Value(float("nan"))
                yield {**_row(kind, metric, name, other), **share._asdict()}


def verdict(row: Any) -> Literal["better", "worse", "open"]:
    """Whether the first method of a comparison is better than the second.

    Args:
        row: Row of `compare`, with its values as attributes.
    """
    difference = Difference(row.mean, row.low, row.high, row.source)
    return difference.verdict(_better(row.metric))


def _row(kind: str, metric: str, method: str, other: str) -> Row:
    return {"kind": kind, "metric": metric, "method": method, "other": other}


def _better(metric: str) -> Better:
    return METRICS[metric].better or "higher"  # metrics without a direction are not compared


def _paired(method: str, other: str) -> bool:
    """Whether both start equally for each seed: student and control, or joint and single-task."""
    if "/" in other:  # another backbone
        return False
    if other.startswith(SINGLE_TASK):
        return other == SINGLE_TASK + method
    return all(study_method(name).from_teacher for name in (method, other))


def _difference(methods: Methods, method: str, other: str, metric: str) -> Difference | None:
    both = methods[method], methods[other]
    if not all(metric in scored.resampled for seeds in both for scored in seeds):
        return None
    found = difference(*both, metric, errors=_errors(methods, method, other, metric))
    return found if np.isfinite([found.mean, found.low, found.high]).all() else None


def _errors(methods: Methods, method: str, other: str, metric: str) -> list[SeedError]:
    """Errors of a difference by few seeds: one error of pairs, otherwise one of each method."""
    if (of_members := _jackknife(methods, method, other, metric)) is not None:
        return [of_members]
    names = method, other
    own = [pooled(methods[name], metric) for name in names]
    lent = [pooled(_lender(methods, name, metric), metric) for name in names]
    if _paired(method, other) and len(own[0]) == len(own[1]):
        own, lent = [_less(*own)], [_less(*lent)]
    each = zip(names, own, lent, strict=False)
    return [seed_error(seeds, others, _networks(name, others)) for name, seeds, others in each]


def _less(first: Sequence[float], second: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(first, second, strict=False)]


def _jackknife(methods: Methods, method: str, other: str, metric: str) -> SeedError | None:
    """Error of an ensemble's gain over its own members, from the gains without each member.

    Ensemble and single networks share their members, so their errors are not independent: a lucky
    choice of members is lucky for both (Efron & Stein, 1981). None for other pairs of methods.
    """
    without, alone = methods.get("de_less", ()), methods[other]
    if (method, other) != ("de", "single") or len(without) != len(alone) or len(alone) < 2:
        return None
    members, count = np.array(pooled(alone, metric)), len(alone)
    others = (members.sum() - members) / (count - 1)
    gains = np.array(pooled(without, metric)) - others
    scale = float(np.sqrt((count - 1) / count * np.square(gains - gains.mean()).sum()))
    return SeedError(scale, count - 1, "own")


def _lender(methods: Methods, name: str, metric: str) -> Seeds:
    """The method whose deviation between seeds is used for a method with only one seed.

    These are the students for a variant of the student, otherwise the single networks; of one task
    each for single-task methods, and of the same regime.
    """
    regime, slash, method = name.rpartition("/")
    prefix = f"{regime}{slash}" + (SINGLE_TASK if method.startswith(SINGLE_TASK) else "")
    own = [f"{prefix}student"] if method.startswith("student") else []
    for lender in (*own, f"{prefix}single"):
        seeds = methods.get(lender, ())
        if len(seeds) > 1 and all(metric in scored.results.pooled for scored in seeds):
            return seeds
    return ()


def _networks(name: str, lent: Sequence[float]) -> int:
    """Number of networks that a method averages: an ensemble's members are the single networks."""
    method = name.rpartition("/")[2].removeprefix(SINGLE_TASK)
    return max(len(lent), 1) if method == "de" else 1


def _share(methods: Methods, name: str, other: str, metric: str) -> Value:
    """(method − other)/(ensemble − single network), for other drives and seeds."""
    drawn, means = [], []
    for first, second, stream in ((name, other, 0), ("de", "single", 2)):
        errors = _errors(methods, first, second, metric)
        drawn.append(draws(methods[first], methods[second], metric, errors, stream))
        means.append(mean(methods[first], metric) - mean(methods[second], metric))
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = drawn[0] / drawn[1]
    each_seed = pooled(methods[name], metric)
    if _paired(name, other) and len(methods[other]) == len(each_seed):
        each_seed = _less(each_seed, pooled(methods[other], metric))
    return Value(means[0] / means[1], deviation(each_seed) / abs(means[1]), *interval(shares))
