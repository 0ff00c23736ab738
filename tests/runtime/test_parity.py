"""Errors between two runs, computed by hand."""

import numpy as np
import pytest

from emu_core.runtime.parity import FP32_TOLERANCES, Reference, measure_errors, violations


def maps(**changes):
    values = {
        "labels": np.array([1, 2, 3, 4], np.uint8),
        "label_uncertainty": np.array([0.0, 0.25, 0.5, 1.0], np.float32),
        "depth": np.array([np.inf, np.nan, 10.0, 0.0], np.float32),
        "depth_std": np.array([np.inf, np.nan, 1.0, 0.5], np.float32),
    }
    return {**values, **{name: np.array(v, values[name].dtype) for name, v in changes.items()}}


@pytest.mark.parametrize(
    ("changes", "name", "error"),
    [
        ({"labels": [1, 2, 3, 5]}, "labels_agree", 0.75),
        ({"depth": [np.inf, np.nan, np.inf, 0.0]}, "depth_kind_agree", 0.75),
        ({"depth": [np.nan, np.nan, 10.0, 0.0]}, "depth_kind_agree", 0.75),
        ({"depth": [np.inf, np.nan, 10.5, 0.0]}, "depth_rel", 0.05),
        ({"depth": [np.inf, np.nan, 10.0, 0.125]}, "depth_rel", 0.25),  # of 0.5 m, not of 0
        ({"depth_std": [np.inf, np.nan, 1.0, 0.75]}, "depth_std_rel", 0.5),
        ({"label_uncertainty": [0.0, 0.25, 0.5, 0.875]}, "label_uncertainty_abs", 0.125),
        ({"label_uncertainty": [0.0, np.nan, 0.5, 1.0]}, "label_uncertainty_abs", np.inf),
    ],
)
def test_errors_are_those_computed_by_hand(changes, name, error):
    errors = measure_errors(maps(**changes), maps())
    assert errors[name] == pytest.approx(error)
    assert [phrase.split()[0] for phrase in violations(errors, FP32_TOLERANCES)] == [name]


def test_a_reference_samples_distinct_pixels_of_the_outputs():
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    reference = Reference.sample(b"", {"depth": values}, count=5)
    assert len(set(zip(reference.rows, reference.cols, strict=True))) == 5
    np.testing.assert_array_equal(reference.values["depth"], 4.0 * reference.rows + reference.cols)
