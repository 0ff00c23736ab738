"""Plots: curves, legends, axes."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from emu_core.evaluation import plots
from emu_core.evaluation.report import write_plots
from emu_core.evaluation.values import Value, metric_table
from emu_core.metrics import DriveResults, StudyMetrics


@pytest.fixture
def scores(scored):
    return {
        split: {"single": [scored(0), scored(1)], "de": [scored(2, 1.5)]}
        for split in ("in_domain", "haze")
    }


def test_curves_are_those_of_all_drives_together():
    rng, drives, whole = np.random.default_rng(0), {}, StudyMetrics(4, 80.0)
    for name in "ab":
        drives[name] = StudyMetrics(4, 80.0)
        truth = rng.integers(0, 4, (6, 8)).astype(np.uint8)
        p = rng.dirichlet(np.ones(4), (6, 8)).transpose(2, 0, 1).astype(np.float32)
        for study in (drives[name], whole):
            study.update_classes(p, truth)
    found = plots.curves(DriveResults.of(drives))
    for name, curve in whole.arrays().items():
        np.testing.assert_allclose(found[name], curve, err_msg=name)


@pytest.mark.parametrize(
    ("plot", "panels"),
    [(plots.reliability, 2), (plots.depth_coverage, 2), (plots.sparsification, 4)],
)
def test_every_method_has_a_line_in_every_panel_and_is_named_once_in_a_row(scores, plot, panels):
    figure = plot(scores, "Few frames")
    assert len(figure.axes) == panels
    legends = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    assert len(legends) == panels // 2
    for legend in legends:
        assert [text.get_text() for text in legend.get_texts()] == ["single", "de"]
    for method in ("single", "de"):
        colors = [[line.get_color() for line in axes.lines] for axes in figure.axes]
        assert all(plots.color(method) in of_axes for of_axes in colors)
    assert all(axes.get_xlabel() for axes in figure.axes[-2:])


def test_a_method_without_depth_is_left_out_of_depths_plots(scored):
    classes = scored(0)
    sums = {k: v * (not k.startswith("depth.")) for k, v in classes.results.sums.items()}
    alone = {"test": {"single": [replace(classes, results=replace(classes.results, sums=sums))]}}
    assert not plots.depth_coverage(alone, "x").axes[0].get_legend().get_texts()


def test_shares_are_in_percent_and_what_leaves_the_axis_is_an_arrow_or_a_number():
    canvas = plots.shares(
        {
            "within": {"student": Value(0.8, low=-1.4, high=2.4)},
            "open": {"student": Value(0.8, low=-9.0, high=9.0)},
            "far": {"student": Value(12.0, low=11.0, high=13.0)},
        },
        "few",
    )
    (axes,) = canvas.axes
    line, mark = axes.lines[2:4]
    assert list(line.get_xdata()) == pytest.approx([-140, 240])
    assert list(mark.get_xdata()) == pytest.approx([80])
    arrows = [(line.get_marker(), *line.get_xydata()[0]) for line in axes.lines]
    found = [arrow for arrow in arrows if arrow[0] in "<>"]
    assert found == [("<", -150, 1), (">", 250, 1), (">", 250, 2)]
    texts = {text.get_text(): text.xy for text in axes.texts}
    assert texts["student"] == (80, 0)
    assert texts["1200 %"] == (250, 2)


def test_all_plots_of_a_report_are_written(scores, tmp_path):
    names = write_plots(tmp_path, "few", scores, metric_table(scores, {}), prefix="few_")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)
    plots_of_scores = ("reliability", "depth_coverage", "sparsification")
    overviews = ("overview_classes", "overview_depth")
    assert set(names) == {f"few_{name}.png" for name in (*plots_of_scores, *overviews)}
    assert write_plots(tmp_path, "few", {"test": {}}, metric_table({}, {})) == []


def test_bins_that_are_empty_for_a_seed_are_not_averaged(monkeypatch):
    name = "seg.reliability_"
    nan = np.nan
    first = {"count": [0, 30, 10], "confidence": [nan, 0.2, 0.5], "accuracy": [nan, 0.1, 0.6]}
    second = {"count": [0, 10, 0], "confidence": [nan, 0.4, nan], "accuracy": [nan, 0.5, nan]}
    each = [{name + k: np.array(v, float) for k, v in c.items()} for c in (first, second)]
    each[0]["seg.sparsification_error"] = np.array([1.0, 0.5])
    each[1]["seg.sparsification_error"] = np.array([nan, nan])  # a seed without errors
    monkeypatch.setattr(plots, "curves", lambda results: results)
    found = plots.mean_curves([SimpleNamespace(results=c) for c in each])
    assert found[name + "count"].tolist() == [0, 20, 5]
    # (30·0.2 + 10·0.4)/40 and (30·0.1 + 10·0.5)/40
    np.testing.assert_allclose(found[name + "confidence"], [nan, 0.25, 0.5])
    np.testing.assert_allclose(found[name + "accuracy"], [nan, 0.2, 0.6])
    assert found["seg.sparsification_error"].tolist() == [1.0, 0.5]


def test_a_plot_that_fails_is_one_warning_and_the_others_are_drawn(
    scores, tmp_path, monkeypatch, capsys
):
    def fail(*_):
        raise RuntimeError("no\nfont")

    monkeypatch.setattr(plots, "sparsification", fail)
    fail.__name__ = "sparsification"
    table = metric_table(scores, {})
    table.loc[table.metric == "rmse", "mean"] = np.nan
    names = write_plots(tmp_path, "few", scores, table)
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())
    assert "sparsification.png" not in names and "reliability.png" in names
    (line,) = capsys.readouterr().err.splitlines()
    expected = f"warning: {tmp_path}/sparsification.png was not drawn (RuntimeError: no font)"
    assert line == expected
