"""Markdown and CSV of rows, those that are missing as well."""

from emu_core.evaluation.tables import (
    DEPTH,
    SEGMENTATION,
    TABLES,
    UNKNOWN,
    Figure,
    class_figures,
    csv_lines,
    markdown,
    summary,
    with_class_names,
)
from emu_core.evaluation.values import Value

FIGURES = (
    Figure("rmse", "RMSE, m", "lower", 2),
    Figure("ece", "ECE", "lower", beside="ece_gap"),
    Figure("absent", "absent", None),
)


def test_a_table_has_means_spreads_intervals_signs_and_marks_the_best():
    rows = {
        "single network": {
            "rmse": Value(4.5, 0.125, (4.25, 5.0)),
            "ece": Value(0.1, None, None),
            "ece_gap": Value(-0.05, None, None),
        },
        "student": {"rmse": Value(4.0, None, None), "ece": Value(0.2, None, None)},
    }
    assert markdown(FIGURES, rows) == (
        "| method | RMSE, m ↓ | ECE ↓ |\n"
        "|---|--:|--:|\n"
        "| single network | 4.50 ± 0.12<br><sub>4.25 … 5.00</sub> | **0.100** (-0.050) |\n"
        "| student | **4.00** | 0.200 |\n"
    )


def test_rows_that_were_not_scored_are_dashes():
    table = markdown(FIGURES, {"a": {"rmse": Value(1.0, None, None)}, "b": None})
    assert table.endswith("| b | – |\n")
    assert "**" not in table  # one alone is not the best
    assert markdown(FIGURES, {"a": None}) == "Nothing was scored yet.\n"


def test_a_terminal_gets_a_column_for_each_method_and_a_dash_for_what_is_not_there():
    rows = {"single": {"miou": Value(0.5, 0.1, None), "rmse": Value(4.0, None, None)},
            "student": {"miou": Value(0.625, None, (0.6, 0.7))}}  # fmt: skip
    assert summary(rows) == (
        "           single  student\nmIoU ↑      0.500    0.625\nRMSE, m ↓    4.00        –\n"
    )


def test_the_csv_has_a_line_for_each_figure():
    row = {"rmse": Value(4.5, 0.1, (4.0, 5.0)), "ece": Value(0.1234567, None, None)}
    assert csv_lines([(("test", "de"), row)], ("split", "method")) == (
        "split,method,figure,mean,sd,ci95_low,ci95_high\n"
        "test,de,rmse,4.5,0.1,4,5\n"
        "test,de,ece,0.123457,,,\n"
    )


def test_every_threshold_and_every_class_has_its_columns(scored):
    row = {n: Value(0.5, None, None) for n in scored(0).results.pooled}
    table = markdown(TABLES["segmentation, certain or not"], {"a": row, "b": row})
    assert "| p(acc\\|cer) ↑ |" in table
    assert "| p(acc\\|cer), median ↑ |" in table
    assert "p(acc" not in markdown(TABLES["segmentation"], {"a": row})
    everywhere = {f.name for figures in TABLES.values() for f in figures}
    assert everywhere == {f.name for f in (*SEGMENTATION, *DEPTH, *UNKNOWN)}
    assert {f"{t}.pavpu_median" for t in ("seg", "depth")} < everywhere
    names = ("road", "car", "sky", "tree", "rider")
    table = markdown(class_figures(names), {"a": row})
    assert table.startswith("| method | road ↑ | car ↑ | sky ↑ | tree ↑ | rider ↑ |")
    assert with_class_names(row, names)["iou.car"] is row["iou_1"]
    assert "iou_1" not in with_class_names(row, names)


def test_every_column_is_a_figure_that_the_metrics_compute(scored):
    computed = set(scored(0).results.pooled) | {"ms_per_image"}
    for figure in (*SEGMENTATION, *DEPTH):
        assert figure.name in computed
        assert figure.beside is None or figure.beside in computed
    assert {f.name for f in UNKNOWN}.isdisjoint(computed)  # there are no unknown objects here
