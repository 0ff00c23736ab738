"""The paper's claims as comparisons, and the gap a student closes, on figures made by hand."""

import pytest

from emu_core.study.claims import GAP, compare, gap_closed
from emu_core.study.document import claim_text


def rows(scored, **figures):
    """Rows of two like seeds each and the same figure for everything that is asked."""
    return {
        row: 2 * [scored(dict.fromkeys((*GAP, "ece", "miou", "rmse", "abs_rel", "delta1"), value))]
        for row, value in figures.items()
    }


def found(comparisons, claim, first, second):
    return {
        c.figure: c for c in comparisons if (c.claim, c.first, c.second) == (claim, first, second)
    }


def test_each_claim_compares_the_rows_it_is_about(scored):
    of_study = rows(scored, single=1.0, de=0.5, student=0.6, control=0.9, mcd20=0.7)
    of_study["apart-single"] = rows(scored, x=1.2)["x"]
    comparisons = compare("few", "haze", of_study)
    assert {(c.claim, c.first, c.second) for c in comparisons} == {
        (1, "single", "apart-single"),
        (2, "de", "single"), (2, "de", "mcd20"),
        (3, "student", "de"), (3, "student", "single"), (3, "student", "control"),
        (4, "student", "de"), (4, "student", "control"), (4, "student", "single"),
    }  # fmt: skip
    assert {(c.regime, c.split) for c in comparisons} == {("few", "haze")}


def test_a_lower_nll_and_a_higher_auroc_are_better(scored):
    comparisons = found(
        compare("few", "haze", rows(scored, single=1.0, de=0.5)), 2, "de", "single"
    )
    assert comparisons["seg.nll"].difference.mean == pytest.approx(-0.5)
    assert comparisons["seg.nll"].verdict == "better"
    assert comparisons["depth.error_auroc"].verdict == "worse"


def test_a_difference_that_drives_do_not_agree_on_is_open(scored):
    single = 2 * [scored({"seg.nll": [1.0, 2.0, 3.0, 4.0]})]
    ensemble = 2 * [scored({"seg.nll": [2.0, 1.0, 2.0, 3.0]})]
    (comparison,) = compare("few", "haze", {"single": single, "de": ensemble})
    assert comparison.difference.mean == pytest.approx(-0.5)
    assert comparison.verdict == "open"


def test_the_ablation_is_about_depth(scored):
    of_study = rows(scored, student=1.0, student_l1=1.5, single_l1=2.0, control_l1=1.8)
    comparisons = [c for c in compare("few", "haze", of_study) if c.claim == 4]
    assert {(c.first, c.second) for c in comparisons} == {
        ("student_l1", "control_l1"), ("student", "student_l1"),
    }  # fmt: skip
    assert {c.figure for c in comparisons} == {"rmse", "abs_rel", "delta1"}


def test_what_the_distilled_variance_does_is_compared_by_accuracy_and_uncertainty(scored):
    of_study = rows(scored, student=1.0, student_novar=1.5, student_logvar=0.9)
    for other in ("student_novar", "student_logvar"):
        comparisons = found(compare("few", "haze", of_study), 4, "student", other)
        assert set(comparisons) == {
            "rmse", "abs_rel", "delta1", "depth.nll", "depth.error_auroc", "depth.ause",
        }  # fmt: skip


def test_a_student_half_way_to_its_teacher_closes_half_the_gap(scored):
    cells = {
        "single": [scored({"seg.nll": 1.1})] * 3,
        "de": [scored({"seg.nll": 0.5})],
        "student": [scored({"seg.nll": value}) for value in (0.77, 0.8, 0.83)],
        "control": [scored({"seg.nll": 1.1})],
    }
    (closed,) = gap_closed("few", "haze", cells)
    assert closed.figure == "seg.nll"
    assert closed.gap.mean == pytest.approx(-0.6)
    assert closed.shares["student"].mean == pytest.approx(0.5)
    assert closed.shares["student"].sd == pytest.approx(0.05)
    low, high = closed.shares["student"].ci95
    half = 4.303 * 0.05 / 3**0.5  # Student's t of two degrees of freedom
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), rel=0.15)
    assert closed.shares["control"].mean == pytest.approx(0.0)


def test_an_ensemble_is_compared_with_its_own_members_by_the_gains_without_each(scored):
    """Members differ a lot, and yet every ensemble gains 0.3 and a little."""
    singles, gains = (1.0, 2.0, 3.0), (0.29, 0.31, 0.30)
    less = [sum(singles) / 2 - s / 2 - g for s, g in zip(singles, gains, strict=True)]
    cells = {
        "single": [scored({"seg.nll": value}) for value in singles],
        "de": [scored({"seg.nll": 1.68})],
    }
    (apart,) = compare("few", "haze", cells)  # as if its members were others
    assert apart.verdict == "open"
    cells["de_less"] = [scored({"seg.nll": value}) for value in less]
    (own,) = compare("few", "haze", cells)
    assert own.verdict == "better" and own.difference.seeds == "own"
    # Jackknife: √(2/3 · (0.01² + 0.01²)), and Student's t of two degrees of freedom.
    half = 4.303 * (2 / 3 * 2e-4) ** 0.5
    assert own.difference.ci95 == pytest.approx((-0.32 - half, -0.32 + half), rel=0.05)


def test_the_share_of_a_gap_knows_that_the_ensemble_is_made_of_the_single_networks(scored):
    cells = {
        "single": [scored({"seg.nll": value}) for value in (1.0, 1.1, 1.2)],
        "de": [scored({"seg.nll": 0.6})],
        "de_less": [scored({"seg.nll": value}) for value in (0.65, 0.6, 0.55)],  # all gain 0.5
        "student": [scored({"seg.nll": 0.85})] * 3,
    }
    (closed,) = gap_closed("few", "haze", cells)
    low, high = closed.shares["student"].ci95
    half = 4.303 * 0.1 / 3**0.5 / 0.5  # of the single networks' mean alone: the gap is sure
    assert (high - low) / 2 == pytest.approx(half, rel=0.2)
    assert (high + low) / 2 == pytest.approx(0.5)


def test_where_the_ensemble_is_not_clearly_better_there_is_no_gap_to_close(scored):
    cells = {
        "single": 2 * [scored({"seg.nll": [1.0, 2.0]})],
        "de": [scored({"seg.nll": [1.1, 1.8]})],
        "student": [scored({"seg.nll": 1.0})],
    }
    (closed,) = gap_closed("few", "haze", cells)
    assert closed.shares == {"student": None}
    assert gap_closed("few", "haze", {"single": cells["single"]}) == []


def gaps(scored, figure, **values):
    """What `gap_closed` says of one figure, given each row's seeds."""
    cells = {row: [scored({figure: v}) for v in seeds] for row, seeds in values.items()}
    (closed,) = gap_closed("few", "haze", cells)
    return closed


def test_a_gap_of_less_than_three_percent_is_none(scored):
    """As Jensen's inequality gives an ensemble of networks that hardly differ."""
    small = gaps(scored, "seg.nll", single=[1.0, 1.0], de=[0.98], student=[0.98])
    assert small.size == pytest.approx(0.02)
    assert small.shares == {"student": None}
    large = gaps(scored, "seg.nll", single=[1.0, 1.0], de=[0.96], student=[0.98])
    assert large.size == pytest.approx(0.04)
    assert large.shares["student"].mean == pytest.approx(0.5)


def test_a_gap_within_the_spread_of_the_members_is_none(scored):
    wide = gaps(scored, "seg.nll", single=[0.9, 1.1], de=[0.88], student=[0.9])
    assert wide.spread == pytest.approx(0.2 / 2**0.5)
    assert wide.shares == {"student": None}
    narrow = gaps(scored, "seg.nll", single=5 * [0.95, 1.05], de=[0.88], student=[0.94])
    assert narrow.shares["student"].mean == pytest.approx(0.5)


def test_the_gap_of_an_auroc_is_a_share_of_what_it_lacks_to_one(scored):
    closed = gaps(scored, "seg.error_auroc", single=[0.9, 0.9], de=[0.92], student=[0.91])
    assert closed.size == pytest.approx(0.2)
    assert closed.shares["student"].mean == pytest.approx(0.5)


def test_what_distillation_closes_is_the_students_lead_over_its_control(scored):
    closed = gaps(
        scored, "seg.nll", single=[1.0, 1.0], de=[0.5], control=[0.9, 0.8], student=[0.7, 0.6]
    )
    assert closed.distilled["student"].mean == pytest.approx(0.4)
    assert closed.distilled["student"].sd == pytest.approx(0.0)  # both pairs differ by 0.2
    assert closed.distilled["student"].ci95 == pytest.approx((0.4, 0.4))


def test_seeds_that_begin_alike_are_drawn_in_pairs(scored):
    """Seeds differ by 1 in both rows, and every pair by exactly -0.2: only unpaired it is open."""
    student, control = ([scored({"rmse": x + d}) for x in (1.0, 2.0, 3.0)] for d in (-0.2, 0.0))
    comparisons = compare("few", "haze", {"student": student, "control": control})
    verdict = found(comparisons, 4, "student", "control")["rmse"]
    assert verdict.verdict == "better"
    single = compare("few", "haze", {"student": student, "single": control})
    assert found(single, 4, "student", "single")["rmse"].verdict == "open"


def test_a_row_of_one_seed_borrows_the_deviation_between_the_single_networks(scored):
    nll = {"single": (0.9, 1.0, 1.1), "mcd20": (0.9,), "de": (0.7,), "control": (0.5, 0.9)}
    cells = {row: [scored({"seg.nll": v}) for v in seeds] for row, seeds in nll.items()}
    comparisons = compare("few", "haze", cells)
    ensemble = found(comparisons, 2, "de", "single")["seg.nll"].difference
    against = found(comparisons, 2, "de", "mcd20")["seg.nll"].difference
    assert ensemble.seeds == against.seeds == "borrowed"
    # Three networks' mean against three networks' mean, and against one network.
    narrow, wide = (d.ci95[1] - d.ci95[0] for d in (ensemble, against))
    assert narrow < wide
    # Two like errors with two degrees of freedom: between one and twice one.
    one = 2 * 4.303 * 0.1 / 3**0.5
    assert 0.8 * one < narrow < 2 * one
    text = claim_text(2, comparisons)
    assert " °<br>" in text
    assert "borrows the standard deviation" in text


def test_a_row_of_one_seed_that_cannot_borrow_settles_nothing_and_is_not_counted(scored):
    cells = {"single": [scored({"seg.nll": 1.0})], "de": [scored({"seg.nll": 0.5})]}
    comparisons = compare("few", "haze", cells)
    assert [(c.difference.seeds, c.verdict) for c in comparisons] == [("unknown", "open")]
    text = claim_text(2, comparisons)
    assert "better in 0 of 0 comparisons, worse in 0, open in 0" in text
    assert "-0.5 (1 seed)<br>" in text
    (closed,) = gap_closed("few", "haze", {**cells, "student": cells["single"]})
    assert closed.shares == {"student": None}


def test_the_text_of_a_claim_counts_verdicts_and_gives_every_interval(scored):
    text = claim_text(2, compare("few", "haze", rows(scored, single=1.0, de=0.5)))
    assert "Deep Ensembles give the best uncertainties" in text
    assert (
        "Deep Ensemble against single network: better in 6 of 8 comparisons, worse in 2, open in 0"
        in text
    )
    assert "| | classes: NLL, nats |" in text
    assert "| few, haze | -0.5 ✓<br><sub>-0.5 … -0.5</sub> |" in text
    assert "-0.5 ✗" in text
    assert "rows that it needs are missing" in claim_text(5, [])
