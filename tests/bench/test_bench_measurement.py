"""Rounds, statistics, ratios and the keys of bench.json, against cases computed by hand."""

import pytest

from emu_core.bench.inference import ratios_of
from emu_core.bench.measurement import (
    ABSOLUTE_VALUES,
    missing,
    ratio,
    run_rounds,
    summarize,
    with_all_keys,
)
from emu_core.bench.settings import PARTS, parse


def test_every_round_runs_each_function_once_in_another_order_and_warm_up_is_not_counted():
    now, log = 0.0, []

    def run(name, step):
        nonlocal now
        log.append(name)
        now += step * log.count(name)  # milliseconds in round n: n steps

    functions = {"a": lambda: run("a", 0.001), "b": lambda: run("b", 0.01)}
    series = run_rounds(functions, 19, warm_up=1, clock=lambda: now)
    assert series["a"] == pytest.approx(range(2, 21))
    assert series["b"] == pytest.approx(range(20, 210, 10))
    rounds = [tuple(log[i : i + 2]) for i in range(0, 40, 2)]
    assert set(rounds) == {("a", "b"), ("b", "a")}


def test_a_series_is_summarised_and_a_ratio_is_computed_round_by_round():
    assert summarize([5.0, 1.0, 3.0]) == {"median": 3.0, "min": 1.0, "max": 5.0, "runs": 3}
    assert summarize([4.0, 1.0])["median"] == 2.5
    # The ratio of the medians would be 2.
    expected = {"median": 4.0, "min": 1.0, "max": 6.0, "runs": 3}
    assert ratio([2.0, 40.0, 6.0], [2.0, 10.0, 1.0]) == expected
    with pytest.raises(ValueError):
        ratio([1.0, 2.0], [1.0])


def test_a_missing_measurement_is_null_with_a_reason():
    figures = with_all_keys({"ros_path_ms": summarize([1.0])}, ABSOLUTE_VALUES)
    assert list(figures) == list(ABSOLUTE_VALUES)
    assert figures["ros_path_ms"]["runs"] == 1
    assert figures["node_rss_mb"]["median"] is None
    assert "--parts" in figures["node_rss_mb"]["reason"]
    with pytest.raises(ValueError, match="but got ros_path_seconds"):
        with_all_keys({"ros_path_seconds": missing("")}, ABSOLUTE_VALUES)


def test_the_best_student_is_the_fastest_one_on_a_cpu():
    series = {
        "student, cpu": [10.0, 12.0],
        "student, cpu-fused": [9.0, 12.0],
        "student, openvino": [8.0, 8.0],
        "student, cuda": [1.0, 1.0],
        "SegFormer of transformers, ort cpu": [20.0, 16.0],
        "Deep Ensemble, ort cpu": [100.0, 60.0],
    }
    found = ratios_of(series, {"SegFormer of transformers, eager torch": "no transformers"})
    assert found["student_ort_over_hf_ort"]["min"] == 0.45
    assert found["student_ort_over_hf_ort"]["of"][0] == "student, cpu-fused"
    assert found["student_best_over_hf_ort"]["median"] == pytest.approx(0.45)
    assert found["student_best_over_hf_ort"]["of"][0] == "student, openvino"
    assert found["ensemble10_over_student_same_engine"]["min"] == 5.0
    assert found["student_best_over_hf_eager"]["median"] is None
    assert "no transformers" in found["student_best_over_hf_eager"]["reason"]


def test_options_are_read():
    settings = parse(["--sizes", "64x128", "512x1024", "--threads", "3", "--parts", "ros"])
    assert (settings.sizes, settings.threads) == (((64, 128), (512, 1024)), 3)
    assert settings.parts == ("ros",)
    assert settings.ratio_size == (512, 1024)
    assert (parse([]).parts, parse([]).repetitions) == (PARTS, 10)
    assert (parse(["--quick"]).members, parse(["--quick"]).repetitions) == (2, 2)
    assert parse(["--sizes", "64x128", "32x64"]).ratio_size == (64, 128)


@pytest.mark.parametrize("wrong", ["--sizes 64", "--sizes 16x512", "--threads 0", "--parts all"])
def test_invalid_options_are_refused(wrong, capsys):
    with pytest.raises(SystemExit):
        parse(wrong.split())
    assert wrong.split()[0] in capsys.readouterr().err
