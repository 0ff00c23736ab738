"""Tables of metrics: Markdown, terminal, and their columns."""

import pandas as pd

from emu_core.evaluation.tables import (
    METRICS,
    TABLES,
    Metric,
    class_metrics,
    markdown,
    name_classes,
    summary,
)
from emu_core.evaluation.values import COLUMNS, Value, metric_table
from emu_core.metrics.text import number

COLUMNS_SHOWN = (
    Metric("rmse", "RMSE, m", "lower", 2),
    Metric("ece", "ECE", "lower", beside="ece_gap"),
    Metric("absent", "absent", None),
)


def table(**methods):
    rows = [
        ("test", method, 1, metric, *value)
        for method, values in methods.items()
        for metric, value in values.items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def test_a_table_has_means_spreads_intervals_signs_and_marks_the_best():
    single = {
        "rmse": Value(4.5, 0.125, 4.25, 5.0),
        "ece": Value(0.1),
        "ece_gap": Value(-0.05),
    }
    student = {"rmse": Value(4.0), "ece": Value(0.2)}
    methods = {"single": "single network", "student": "student"}
    assert markdown(table(single=single, student=student), COLUMNS_SHOWN, methods) == (
        "| method | RMSE, m ↓ | ECE ↓ |\n"
        "|:---|---:|---:|\n"
        "| single network | 4.50 ± 0.12<br><sub>4.25 … 5.00</sub> | **0.100** (-0.050) |\n"
        "| student | **4.00** | 0.200 |"
    )


def test_methods_that_were_not_scored_are_dashes():
    text = markdown(table(a={"rmse": Value(1.0)}), COLUMNS_SHOWN, {"a": "A", "b": "B"})
    assert text.endswith("| B | – |")
    assert "**" not in text  # a single method is not the best
    assert markdown(table(), COLUMNS_SHOWN, {"a": "A"}) == "Nothing was scored yet."


def test_a_terminal_gets_a_column_for_each_method_and_a_dash_for_what_is_missing():
    methods = {
        "single": {"miou": Value(0.5, 0.1), "rmse": Value(4.0)},
        "student": {"miou": Value(0.625, low=0.6, high=0.7)},
    }
    assert summary(table(**methods)).splitlines() == [
        "                single student",
        "classes mIoU ↑   0.500   0.625",
        "depth RMSE, m ↓   4.00       –",
    ]


def test_every_threshold_and_every_class_has_its_columns(scored):
    found = metric_table({"test": {"a": [scored(0)], "b": [scored(1)]}}, {})
    methods = {"a": "a", "b": "b"}
    text = markdown(found, TABLES["segmentation, certain or not"], methods)
    assert "| p(acc\\|cer) ↑ |" in text
    assert "| p(acc\\|cer), median ↑ |" in text
    assert "p(acc" not in markdown(found, TABLES["segmentation"], methods)
    everywhere = {metric.name for metrics in TABLES.values() for metric in metrics}
    assert everywhere == set(METRICS)
    names = ("road", "car", "sky", "tree", "rider")
    text = markdown(name_classes(found, names), class_metrics(names), methods)
    assert text.startswith("| method | road ↑ | car ↑ | sky ↑ | tree ↑ | rider ↑ |")


def test_every_column_is_a_metric_that_is_computed(scored):
    computed = set(scored(0).results.pooled) | {"ms_per_image"}
    for metric in METRICS.values():
        # Without unknown objects there are no metrics of them.
        assert (metric.name in computed) != ("unknown" in metric.name)
        assert metric.beside is None or metric.beside in computed or "unknown" in metric.name


def test_what_could_not_be_measured_is_no_data_in_every_table():
    nothing = {"rmse": Value(float("nan")), "ece": Value(0.25), "ece_gap": Value(float("nan"))}
    methods = table(a=nothing, b={"rmse": Value(2.0)})
    text = markdown(methods, COLUMNS_SHOWN, {"a": "A", "b": "B"})
    assert text.splitlines()[2:] == ["| A | no data | 0.250 |", "| B | **2.00** | – |"]
    first, second, *_ = summary(methods).splitlines()[1:]
    assert first.split()[-2:] == ["0.250", "–"]
    assert second.endswith("no data  2.00") and number(float("nan"), 3) == "no data"
