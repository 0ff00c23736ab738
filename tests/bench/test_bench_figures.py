"""Statistics, ratios and the keys of bench.json, against hand-made cases."""

import pytest

from emu_core.bench.inference import ratios_of
from emu_core.bench.report import FIGURES, RATIOS, completed, missing, ratio, summarize


def test_a_series_is_told_by_its_median_and_extremes():
    assert summarize([5.0, 1.0, 3.0]) == {"median": 3.0, "min": 1.0, "max": 5.0, "runs": 3}
    assert summarize([4.0, 1.0])["median"] == 2.5


def test_a_ratio_is_taken_round_by_round():
    # The medians' quotient would be 2.
    assert ratio([2.0, 40.0, 6.0], [2.0, 10.0, 1.0]) == {
        "median": 4.0,
        "min": 1.0,
        "max": 6.0,
        "runs": 3,
    }


def test_series_of_unequal_length_have_no_ratio():
    with pytest.raises(ValueError):
        ratio([1.0, 2.0], [1.0])


def test_the_keys_are_those_that_readers_expect():
    assert set(RATIOS) | set(FIGURES) == {
        *("student_ort_over_hf_ort", "student_best_over_hf_ort", "student_best_over_hf_eager"),
        *("ensemble10_over_student_same_engine", "ensemble10_eager_over_student_best"),
        *("mcd10_over_student_same_engine", "ros_path_ms", "ros_path_over_usual"),
        *("train_bf16_over_hf_fp32", "train_fp32_over_hf_fp32"),
        *("node_rss_mb", "start_to_first_result_s"),
    }


def test_what_was_not_measured_is_null_and_says_why():
    figures = completed({"ros_path_ms": summarize([1.0])}, FIGURES)
    assert list(figures) == list(FIGURES)
    assert figures["ros_path_ms"]["runs"] == 1
    assert figures["node_rss_mb"]["median"] is None
    assert "--parts" in figures["node_rss_mb"]["reason"]


def test_a_key_that_nobody_expects_is_refused():
    with pytest.raises(ValueError, match="but got ros_path_seconds"):
        completed({"ros_path_seconds": missing("")}, FIGURES)


def test_the_best_student_is_the_fastest_one_on_a_cpu():
    series = {
        "student, cpu": [10.0, 12.0],
        "student, openvino": [8.0, 8.0],
        "student, cuda": [1.0, 1.0],
        "SegFormer of transformers, ort cpu": [20.0, 16.0],
        "Deep Ensemble, ort cpu": [100.0, 60.0],
    }
    found = ratios_of(series, {"SegFormer of transformers, eager torch": "no transformers"})
    assert found["student_ort_over_hf_ort"]["max"] == 0.75
    assert found["student_best_over_hf_ort"]["median"] == pytest.approx(0.45)
    assert found["student_best_over_hf_ort"]["of"][0] == "student, openvino"
    assert found["ensemble10_over_student_same_engine"]["min"] == 5.0
    assert found["student_best_over_hf_eager"]["median"] is None
    assert "no transformers" in found["student_best_over_hf_eager"]["reason"]
