"""Plots: their curves, their labels."""

import numpy as np
import pytest

from emu_core.evaluation import plots
from emu_core.evaluation.report import rows_of, write_plots
from emu_core.evaluation.values import Value
from emu_core.metrics import DriveResults, StudyMetrics


@pytest.fixture
def cells(scored):
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


def test_labels_move_apart_and_no_farther_than_they_must():
    assert plots.spread([0.1, 0.5, 0.9], 0.2) == pytest.approx([0.1, 0.5, 0.9])
    assert plots.spread([0.5, 0.5], 0.2) == pytest.approx([0.4, 0.6])
    assert plots.spread([0.0, 0.9, 0.9, 0.9], 0.1) == pytest.approx([0.0, 0.8, 0.9, 1.0])
    assert plots.spread([], 0.1) == []


@pytest.mark.parametrize(
    ("plot", "panels"),
    [(plots.reliability, 2), (plots.depth_coverage, 2), (plots.sparsification, 4)],
)
def test_every_method_has_a_line_in_every_panel_and_its_name_once_in_a_row(cells, plot, panels):
    canvas = plot(cells, "Few frames")
    assert len(canvas.axes) == panels
    texts = [text.get_text() for axes in canvas.axes for text in axes.texts]
    for method in ("single", "de"):
        assert texts.count(method) == panels // 2
        colors = [[line.get_color() for line in axes.lines] for axes in canvas.axes]
        assert all(plots.color(method) in of_axes for of_axes in colors)
    assert all(axes.get_xlabel() for axes in canvas.axes[-2:])


def test_a_method_without_depth_is_left_out_of_depths_plots(cells, scored):
    classes = scored(0)
    sums = dict(classes.results.sums)
    for name in sums:
        if name.startswith("depth."):
            sums[name] = np.zeros_like(sums[name])
    results = DriveResults(classes.results.names, 5, 80.0, sums, classes.results.pairs, {})
    alone = {"test": {"single": [type(classes)(results, {})]}}
    canvas = plots.depth_coverage(alone, "x")
    assert "single" not in [text.get_text() for text in canvas.axes[0].texts]


def test_shares_of_the_gap_are_drawn_in_percent():
    canvas = plots.shares({"classes: NLL": {"student": Value(0.8, None, (0.7, 0.9))}}, "few")
    line, mark = canvas.axes[0].lines[2:]
    assert list(line.get_xdata()) == pytest.approx([70, 90])
    assert list(mark.get_xdata()) == pytest.approx([80])


def test_what_leaves_the_axis_ends_in_an_arrow_and_a_mean_there_in_a_number():
    canvas = plots.shares(
        {
            "within": {"student": Value(0.8, None, (-1.4, 2.4))},
            "open": {"student": Value(0.8, None, (-9.0, 9.0))},
            "far": {"student": Value(12.0, None, (11.0, 13.0))},
        },
        "few",
    )
    (axes,) = canvas.axes
    arrows = [(line.get_marker(), *line.get_xydata()[0]) for line in axes.lines]
    assert [arrow for arrow in arrows if arrow[0] in "<>"] == [
        ("<", -150, 1), (">", 250, 1), (">", 250, 2),
    ]  # fmt: skip
    texts = {text.get_text(): text.xy for text in axes.texts}
    assert texts["student"] == (80, 0)
    assert texts["1200 %"] == (250, 2)


def test_all_plots_of_a_report_are_written(cells, tmp_path):
    rows = rows_of(cells, {})
    names = write_plots(tmp_path, "few", cells, rows, prefix="few_")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)
    assert set(names) == {f"few_{n}.png" for n in (
        "reliability", "depth_coverage", "sparsification", "overview_classes",
        "overview_depth")}  # fmt: skip
    assert write_plots(tmp_path, "few", {"test": {}}, {"test": {}}) == []
