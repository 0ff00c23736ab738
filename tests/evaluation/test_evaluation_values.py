"""Means, spreads, intervals and differences of rows."""

import numpy as np
import pytest

from emu_core.evaluation.store import Scored
from emu_core.evaluation.values import Difference, difference, interval, values
from emu_core.metrics import DriveResults


def made(pooled, resampled, drives=("a", "b")):
    """Results with these figures and no others."""
    results = DriveResults(drives, 2, 80.0, {}, {}, pooled)
    return Scored(results, {name: np.array(v, float) for name, v in resampled.items()})


def test_a_value_is_the_mean_over_seeds_with_their_sd_and_the_drives_interval():
    # Resamples 0…100 and 10…110: their means run from 5 to 105, 2.5 % of the way is 7.5.
    cell = [
        made({"rmse": 40.0}, {"rmse": range(101)}),
        made({"rmse": 46.0}, {"rmse": range(10, 111)}),
    ]
    value = values(cell)["rmse"]
    assert value.mean == 43.0
    assert value.sd == pytest.approx(np.sqrt(18.0))
    assert value.ci95 == pytest.approx((7.5, 102.5))


def test_a_single_seed_has_no_spread_and_what_cannot_be_resampled_no_interval():
    found = values([made({"ap": 0.5, "rmse": 4.0}, {"rmse": [4.0, 4.0]})])
    assert found["ap"].ci95 is None
    assert found["rmse"].sd is None
    assert found["rmse"].ci95 == (4.0, 4.0)


def test_a_figure_that_is_no_number_is_left_out():
    assert not values([made({"rmse": float("nan")}, {"rmse": [1.0]})])
    found = values([made({"rmse": 1.0}, {"rmse": [float("nan")] * 2})])
    assert found["rmse"].ci95 is None


def test_drives_are_drawn_in_pairs():
    hard = [0.0, 50.0, 100.0]  # how hard the drives of each resample are
    first = [made({"rmse": 9.0}, {"rmse": np.add(hard, 1)})]
    second = [made({"rmse": 8.0}, {"rmse": hard})]
    found = difference(first, second, "rmse")
    assert found.mean == 1.0
    assert found.ci95 == pytest.approx((1.0, 1.0))


def test_seeds_are_drawn_too_and_in_pairs_where_they_are_pairs():
    spread = [made({"rmse": x}, {"rmse": [x] * 400}) for x in (0.0, 10.0, 20.0)]
    shifted = [made({"rmse": x}, {"rmse": [x] * 400}) for x in (1.0, 11.0, 21.0)]
    paired = difference(shifted, spread, "rmse", paired_seeds=True)
    assert paired.ci95 == pytest.approx((1.0, 1.0))
    apart = difference(shifted, spread, "rmse")
    assert apart.mean == paired.mean == 1.0
    low, high = apart.ci95
    assert low < -10 and high > 12  # of two means of three, each with an SD of 4.7


def test_rows_of_other_drives_are_not_compared():
    with pytest.raises(ValueError, match="on the same drives"):
        difference([made({}, {})], [made({}, {}, drives=("a", "c"))], "rmse")
    with pytest.raises(ValueError, match="ap has no resamples"):
        difference([made({"ap": 1.0}, {})], [made({"ap": 1.0}, {})], "ap")


def test_a_verdict_needs_an_interval_without_zero_and_a_direction():
    assert Difference(-1, (-2.0, -0.5)).verdict("lower") == "better"
    assert Difference(-1, (-2.0, -0.5)).verdict("higher") == "worse"
    assert Difference(1, (0.5, 2.0)).verdict("higher") == "better"
    assert Difference(1, (-0.5, 2.0)).verdict("higher") == "open"
    assert Difference(0, (0.0, 0.0)).verdict("lower") == "open"


def test_intervals_pass_over_resamples_without_the_figure():
    assert interval(np.array([1.0, np.nan, 1.0])) == (1.0, 1.0)


def test_results_of_random_pixels_hold_their_own_mean_in_the_interval(scored):
    for name, value in values([scored(seed) for seed in range(3)]).items():
        if value.ci95 is not None and not name.endswith("_random"):
            assert value.ci95[0] <= value.mean <= value.ci95[1], name
