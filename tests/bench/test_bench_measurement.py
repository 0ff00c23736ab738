"""Rounds, statistics, ratios and the keys of bench.json, against cases computed by hand."""

import pytest

from emu_core.bench.inference import ratios_of
from emu_core.bench.measurement import (
    FIGURES,
    RATIOS,
    completed,
    missing,
    ratio,
    run_rounds,
    summarize,
)
from emu_core.bench.settings import PARTS, parse


class Clock:
    """A clock that only advances by the durations of the timed functions."""

    def __init__(self):
        self.now, self.log = 0.0, []

    def __call__(self):
        return self.now

    def function(self, name, seconds):
        def run():
            self.log.append(name)
            self.now += seconds.pop(0)

        return run


def test_every_round_runs_each_function_once_and_warm_up_is_not_counted():
    clock = Clock()
    functions = {
        "a": clock.function("a", [9.0, 0.001, 0.002, 0.003]),
        "b": clock.function("b", [9.0, 0.010, 0.020, 0.030]),
    }
    series = run_rounds(functions, 3, warm_up=1, clock=clock)
    assert series["a"] == pytest.approx([1, 2, 3])
    assert series["b"] == pytest.approx([10, 20, 30])
    assert [sorted(clock.log[i : i + 2]) for i in range(0, 8, 2)] == [["a", "b"]] * 4


def test_the_order_changes_between_rounds():
    clock = Clock()
    run_rounds({n: clock.function(n, [0.0] * 20) for n in "abc"}, 20, warm_up=0, clock=clock)
    assert len({tuple(clock.log[i : i + 3]) for i in range(0, 60, 3)}) > 3


def test_a_series_is_summarised_by_its_median_and_extremes():
    assert summarize([5.0, 1.0, 3.0]) == {"median": 3.0, "min": 1.0, "max": 5.0, "runs": 3}
    assert summarize([4.0, 1.0])["median"] == 2.5


def test_a_ratio_is_computed_round_by_round():
    # The ratio of the medians would be 2.
    expected = {"median": 4.0, "min": 1.0, "max": 6.0, "runs": 3}
    assert ratio([2.0, 40.0, 6.0], [2.0, 10.0, 1.0]) == expected
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


def test_a_missing_measurement_is_null_with_a_reason():
    figures = completed({"ros_path_ms": summarize([1.0])}, FIGURES)
    assert list(figures) == list(FIGURES)
    assert figures["ros_path_ms"]["runs"] == 1
    assert figures["node_rss_mb"]["median"] is None
    assert "--parts" in figures["node_rss_mb"]["reason"]
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


def test_options_are_read():
    settings = parse(["--sizes", "64x128", "512x1024", "--threads", "3", "--parts", "ros"])
    assert (settings.sizes, settings.threads) == (((64, 128), (512, 1024)), 3)
    assert settings.parts == ("ros",)
    assert settings.compared == (512, 1024)
    assert (parse([]).parts, parse([]).repetitions) == (PARTS, 10)
    assert (parse(["--quick"]).members, parse(["--quick"]).repetitions) == (2, 2)
    assert parse(["--sizes", "64x128", "32x64"]).compared == (64, 128)


@pytest.mark.parametrize("wrong", ["--sizes 64", "--sizes 16x512", "--threads 0", "--parts all"])
def test_invalid_options_are_refused(wrong, capsys):
    with pytest.raises(SystemExit):
        parse(wrong.split())
    assert wrong.split()[0] in capsys.readouterr().err
