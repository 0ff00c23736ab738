"""Comparisons and gaps, against sums by hand."""

import pandas as pd
import pytest

from emu_core.study.claims import GAP, compare, compare_backbones, gap_closed, verdict

METRICS = (*GAP, "ece", "miou", "rmse", "abs_rel", "delta1")


@pytest.fixture
def methods(scored):
    """Function that makes methods: of each the values of its seeds, for one metric or for all."""

    def make(metric=None, **values):
        names = METRICS if metric is None else (metric,)
        return {
            name: [scored(dict.fromkeys(names, value)) for value in seeds]
            for name, seeds in values.items()
        }

    return make


def compared(methods, **place):
    """The comparisons, or those of a place, by claim, method, other and metric."""
    rows = pd.DataFrame(list(compare(methods))).rename(columns={"kind": "claim"})
    for name, value in place.items():
        rows = rows[rows[name] == value]
    return {(r.claim, r.method, r.other, r.metric): r for r in rows.itertuples()}


def gap_rows(methods):
    """Rows of `gap_closed` by kind and method."""
    return {(row["kind"], row["method"]): row for row in gap_closed(methods)}


def test_each_claim_compares_the_methods_that_it_is_about(methods):
    alike = {"single": (1.0, 1.0), "de": (0.5,) * 2, "student": (0.6,) * 2, "mcd20": (0.7,) * 2}
    found = compared(methods(**alike, control=(0.9,) * 2, **{"single_task-single": (1.2,) * 2}))
    assert {key[:3] for key in found} == {
        ("claim 1", "single", "single_task-single"),
        *(("claim 2", "de", other) for other in ("single", "mcd20")),
        *(("claim 3", "student", other) for other in ("de", "single", "control")),
        *(("claim 4", "student", other) for other in ("de", "single", "control")),
    }


def test_a_lower_nll_and_a_higher_auroc_are_better(methods):
    found = compared(methods(single=(1.0, 1.0), de=(0.5, 0.5)))
    nll = found["claim 2", "de", "single", "seg.nll"]
    assert nll.mean == pytest.approx(-0.5)
    assert verdict(nll) == "better"
    assert verdict(found["claim 2", "de", "single", "depth.ratio_error_auroc"]) == "worse"


def test_depth_losses_and_the_distilled_variance_are_compared_by_depth(methods):
    values = {"student": (1.0,), "student_l1": (1.5,), "control_l1": (1.8,), "single_l1": (2.0,)}
    found = compared(methods(**values, student_novar=(1.5,), student_logvar=(0.9,)))
    accuracy = {"rmse", "abs_rel", "delta1"}
    uncertainty = {"depth.nll", "depth.ratio_error_auroc", "depth.ause"}
    metrics = {}
    for claim, method, other, metric in found:
        assert claim == "claim 4"
        metrics.setdefault((method, other), set()).add(metric)
    assert metrics == {
        ("student_l1", "control_l1"): accuracy,
        ("student", "student_l1"): accuracy,
        ("student", "student_novar"): accuracy | uncertainty,
        ("student", "student_logvar"): accuracy | uncertainty,
    }


def test_a_student_half_way_to_its_teacher_closes_half_the_gap(methods):
    students = (0.77, 0.8, 0.83)
    values = {"single": (1.1,) * 3, "de": (0.5,), "student": students, "control": (1.1,)}
    rows = gap_rows(methods("seg.nll", **values))
    assert rows["gap", "de"]["mean"] == pytest.approx(-0.6)
    share = rows["share", "student"]
    assert share["mean"] == pytest.approx(0.5)
    assert share["sd"] == pytest.approx(0.05)
    half = 4.303 * 0.05 / 3**0.5  # Student's t of two degrees of freedom
    assert (share["low"], share["high"]) == pytest.approx((0.5 - half, 0.5 + half), rel=0.15)
    assert rows["share", "control"]["mean"] == pytest.approx(0.0)


def test_an_ensemble_is_compared_with_its_own_members_by_the_gains_without_each(methods):
    """Members differ a lot, but every ensemble gains about 0.3."""
    singles, gains = (1.0, 2.0, 3.0), (0.29, 0.31, 0.30)
    without = [sum(singles) / 2 - s / 2 - g for s, g in zip(singles, gains, strict=True)]
    (row,) = compared(methods("seg.nll", single=singles, de=(1.68,))).values()
    assert verdict(row) == "open"  # as if its members were others
    (row,) = compared(methods("seg.nll", single=singles, de=(1.68,), de_less=without)).values()
    assert verdict(row) == "better" and row.source == "own"
    # Jackknife: √(2/3 · (0.01² + 0.01²)), and Student's t of two degrees of freedom.
    half = 4.303 * (2 / 3 * 2e-4) ** 0.5
    assert (row.low, row.high) == pytest.approx((-0.32 - half, -0.32 + half), rel=0.05)
    alone = {"single_task-single": singles, "single_task-de": (1.68,)}
    assert not compared(methods("seg.nll", **alone))


def test_the_share_of_a_gap_knows_that_the_ensemble_consists_of_the_single_networks(methods):
    values = {"single": (1.0, 1.1, 1.2), "de": (0.6,), "student": (0.85,) * 3}
    rows = gap_rows(methods("seg.nll", **values, de_less=(0.65, 0.6, 0.55)))  # all gain 0.5
    share = rows["share", "student"]
    half = 4.303 * 0.1 / 3**0.5 / 0.5  # only the single networks' mean is uncertain
    assert (share["high"] - share["low"]) / 2 == pytest.approx(half, rel=0.2)
    assert (share["high"] + share["low"]) / 2 == pytest.approx(0.5)


def test_where_the_ensemble_is_not_clearly_better_there_is_no_gap_to_close(scored, methods):
    cells = {
        "single": 2 * [scored({"seg.nll": [1.0, 2.0]})],
        "de": [scored({"seg.nll": [1.1, 1.8]})],
        "student": [scored({"seg.nll": 1.0})],
    }
    assert pd.isna(gap_rows(cells)["share", "student"]["mean"])
    assert list(gap_closed({"single": cells["single"]})) == []


@pytest.mark.parametrize(
    ("metric", "values", "size", "share"),
    [
        # Less than three percent, as Jensen's inequality gives an ensemble of like networks.
        ("seg.nll", {"single": (1.0, 1.0), "de": (0.98,), "student": (0.98,)}, 0.02, None),
        ("seg.nll", {"single": (1.0, 1.0), "de": (0.96,), "student": (0.98,)}, 0.04, 0.5),
        # Less than the deviation between the single networks.
        ("seg.nll", {"single": (0.9, 1.1), "de": (0.88,), "student": (0.9,)}, 0.12, None),
        ("seg.nll", {"single": 5 * (0.95, 1.05), "de": (0.88,), "student": (0.94,)}, 0.12, 0.5),
        # Of an AUROC: a share of its distance to 1.
        ("seg.error_auroc", {"single": (0.9, 0.9), "de": (0.92,), "student": (0.91,)}, 0.2, 0.5),
    ],
)
def test_a_gap_must_be_large_enough(methods, metric, values, size, share):
    rows = gap_rows(methods(metric, **values))
    assert rows["gap size", "de"]["mean"] == pytest.approx(size)
    found = rows["share", "student"]["mean"]
    assert pd.isna(found) if share is None else found == pytest.approx(share)


def test_what_distillation_closes_is_the_students_lead_over_its_control(methods):
    values = {"single": (1.0, 1.0), "de": (0.5,), "control": (0.9, 0.8), "student": (0.7, 0.6)}
    share = gap_rows(methods("seg.nll", **values))["distilled", "student"]
    assert share["other"] == "control"
    assert share["mean"] == pytest.approx(0.4)
    assert share["sd"] == pytest.approx(0.0)  # both pairs differ by 0.2
    assert (share["low"], share["high"]) == pytest.approx((0.4, 0.4))


def test_seeds_that_start_alike_are_compared_in_pairs(methods):
    """Seeds differ by 1 in both methods, but every pair by exactly -0.2."""
    values = {"student": (0.8, 1.8, 2.8), "control": (1.0, 2.0, 3.0)}
    found = compared(methods("rmse", **values, single=(1.0, 2.0, 3.0)))
    assert verdict(found["claim 4", "student", "control", "rmse"]) == "better"
    assert verdict(found["claim 4", "student", "single", "rmse"]) == "open"


def test_a_method_of_one_seed_borrows_the_deviation_between_the_single_networks(methods):
    values = {"single": (0.9, 1.0, 1.1), "mcd20": (0.9,), "de": (0.7,), "control": (0.5, 0.9)}
    found = compared(methods("seg.nll", **values))
    rows = [found["claim 2", "de", other, "seg.nll"] for other in ("single", "mcd20")]
    assert [row.source for row in rows] == ["borrowed", "borrowed"]
    # Three networks' mean against three networks' mean, and against one network.
    narrow, wide = (row.high - row.low for row in rows)
    assert narrow < wide
    # Two like errors with two degrees of freedom: between one and twice one.
    one = 2 * 4.303 * 0.1 / 3**0.5
    assert 0.8 * one < narrow < 2 * one


def test_backbones_are_compared_method_by_method(methods):
    small = methods(single=(1.0, 1.2), student=(0.9,), mcd20=(0.8,))
    large = methods(single=(0.7, 0.9), student=(0.5,), de=(0.4,))
    rows = pd.DataFrame(list(compare_backbones(large, small, "few")))
    assert set(rows.kind) == {"claim 5"}
    pairs = set(zip(rows.method, rows.other, strict=True))
    assert pairs == {("single", "few/single"), ("student", "few/student")}
    nll = rows[rows.metric == "seg.nll"].set_index("method")
    assert nll["mean"]["single"] == pytest.approx(-0.3)
    assert nll["mean"]["student"] == pytest.approx(-0.4)
    # Two seeds of each: the error of their difference is larger than that of pairs, which is 0.
    assert nll["source"]["single"] == "own" and nll["low"]["single"] < -0.31
    assert nll["source"]["student"] == "borrowed"  # from the single networks
