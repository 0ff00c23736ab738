"""The table of results, and the documents that are made from it."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from emu_core.evaluation.values import MILLISECONDS
from emu_core.study.config import Item
from emu_core.study.document import summary_text, tables_text, write_document
from emu_core.study.jobs import StudyError, open_splits
from emu_core.study.results import (
    RESULTS,
    load_scores,
    read_results,
    results_table,
    with_earlier,
    write_results,
)

REPOSITORY = Path(__file__).parents[2]
COMMITTED = REPOSITORY / "docs" / "study"


@pytest.fixture
def results(small, drives, trained, run_all):
    """Results of a study, as they are read from its folder."""
    plan = list(run_all(small).values())
    splits = open_splits(small)
    scores = load_scores(small, plan, splits)
    return results_table(small, plan, splits, scores), scores


def test_results_come_back_with_six_digits_and_the_same_bytes(results, tmp_path):
    table, _ = results
    write_results(table, tmp_path / "first.csv.xz")
    found = read_results(tmp_path / "first.csv.xz")
    write_results(found, tmp_path / "second.csv.xz")
    first, second = ((tmp_path / f"{n}.csv.xz").read_bytes() for n in ("first", "second"))
    assert first == second
    np.testing.assert_allclose(found["mean"], table["mean"].astype(float), rtol=1e-5)
    about = found[found.kind == "about"].set_index("metric")
    assert "learning_rate" in about.text["configuration"]
    assert "1 threads, cpu" in about.text["setting"]
    (tmp_path / "other.csv").write_bytes(b"split,method\n")
    (tmp_path / "damaged.csv.xz").write_bytes(first[:9])
    with pytest.raises(ValueError, match=r"damaged.csv.xz holds no results"):
        read_results(tmp_path / "damaged.csv.xz")
    with pytest.raises(ValueError, match=r"other.csv holds no results"):
        read_results(tmp_path / "other.csv")


def table_of(rows, settings="members: 2", commit="new"):
    about = [("about", "", "", "", "", "configuration", None, settings)]
    about.append(("about", "", "", "", "", "commit", None, commit))
    columns = ["kind", "regime", "split", "method", "other", "metric", "mean", "text"]
    return pd.DataFrame([*((*row, "") for row in rows), *about], columns=columns)


def test_a_study_whose_folder_was_lost_keeps_what_was_not_measured_again():
    old = [
        ("metric", "few", "test", "single", "", "miou", 0.1),
        ("metric", "few", "test", "de", "", "miou", 0.2),
        ("metric", "few", "test", "de", "", MILLISECONDS, 50.0),
        ("metric", "few", "haze", "de", "", "miou", 0.3),
        ("metric", "ample", "test", "single", "", "miou", 0.4),
        ("claim 2", "few", "test", "de", "single", "miou", 0.5),
    ]
    new = [
        ("metric", "few", "test", "single", "", "miou", 0.6),
        ("metric", "few", "test", "mcd20", "", "miou", 0.7),
        ("metric", "few", "haze", "single", "", "miou", 0.8),
    ]
    earlier = table_of(old, "members: 2\norder: [a]", commit="old")
    merged = with_earlier(table_of(new, "members: 2\norder: [a, b]"), earlier)
    rows = merged[["kind", "regime", "split", "method", "metric", "mean"]].dropna()
    assert list(rows.itertuples(index=False, name=None)) == [
        ("metric", "few", "test", "single", "miou", 0.6),
        ("metric", "few", "test", "mcd20", "miou", 0.7),
        ("metric", "few", "test", "de", "miou", 0.2),
        ("metric", "few", "haze", "single", "miou", 0.8),
        ("metric", "few", "haze", "de", "miou", 0.3),
        ("metric", "ample", "test", "single", "miou", 0.4),
        ("claim 2", "few", "test", "de", "miou", 0.5),
    ]
    assert list(merged[merged.metric == "commit"].text) == ["new, and earlier old"]
    with pytest.raises(StudyError, match=r"those of another study: members, steps differ"):
        with_earlier(table_of(new, "members: 3\nsteps: 1"), earlier)


def test_every_method_is_in_the_tables_and_plots(results, tmp_path):
    table, scores = results
    write_document(tmp_path, table, scores)
    text = (tmp_path / "tables.md").read_text()
    for heading in ("few, in_domain: segmentation", "few, haze: depth, certain or not"):
        assert f"### {heading}\n" in text
    assert "| single network (2) |" in text
    assert "| Deep Ensemble | – |" in text
    assert "Needs the methods `single` and `de`." in text
    assert "student against control: student's training, no teacher: better in" in text
    assert "Nothing was compared: all networks have the same backbone." in text
    assert "| few | haze | student |" in (tmp_path / "summary.md").read_text()
    assert "ms per image" in (tmp_path / "summary.md").read_text()
    assert (tmp_path / "few_overview_depth.png").is_file()
    assert (tmp_path / RESULTS).is_file()


def test_a_larger_backbone_has_comparisons_with_the_studys_and_times_of_its_own(
    small, drives, trained, run_all
):
    study = replace(small, order=[*small.order, Item("single", seeds=2, variant="b1")])
    plan = list(run_all(study).values())
    splits = open_splits(study)
    table = results_table(study, plan, splits, load_scores(study, plan, splits))
    claims = table[table.kind == "claim 5"]
    assert set(claims.regime) == {"few-b1"} and set(claims.split) == {"in_domain", "haze"}
    assert set(zip(claims.method, claims.other, strict=True)) == {("single", "few/single")}
    metrics = table[(table.kind == "metric") & (table.split == "haze")].set_index(
        ["regime", "method", "metric"]
    )["mean"]
    rmse = claims[(claims.split == "haze") & (claims.metric == "rmse")].iloc[0]["mean"]
    difference = metrics["few-b1", "single", "rmse"] - metrics["few", "single", "rmse"]
    assert rmse == pytest.approx(difference)
    assert metrics["few-b1", "single", MILLISECONDS] > metrics["few", "single", MILLISECONDS] > 0
    write_document(Path("report"), table, {"few": {}, "few-b1": {}})
    assert cv2.imread("report/few_backbones.png").shape[0] > 400  # two rows of panels
    assert not Path("report/few-b1_backbones.png").exists()
    text = Path("report/tables.md").read_text()
    assert "single network against single network of few: better in" in text
    assert "all networks have the same backbone" not in text


def make_claims(source):
    row = {"kind": "claim 2", "regime": "few", "split": "haze", "method": "de", "other": "single"}
    row |= {"metric": "seg.nll", "mean": -0.5, "low": -0.6, "high": -0.4, "source": source}
    worse = row | {"metric": "seg.brier", "mean": 0.1, "low": 0.05, "high": 0.2}
    return pd.DataFrame([row, worse])


@pytest.mark.parametrize(
    ("source", "cell", "counts"),
    [
        ("own", "-0.5 ✓<br><sub>-0.6 … -0.4</sub>", "better in 1 of 2 comparisons, worse in 1"),
        ("borrowed", "-0.5 ✓ °<br><sub>-0.6 … -0.4</sub>", "better in 1 of 2 comparisons"),
        ("unknown", "-0.5 (1 seed)<br><sub>-0.6 … -0.4</sub>", "better in 0 of 0 comparisons"),
    ],
)
def test_claims_count_verdicts_and_give_every_interval(source, cell, counts):
    claims = make_claims(source).assign(text="", seeds=None)
    text = tables_text(claims)
    assert "Nothing was scored yet." in text
    assert "Nothing was scored yet." in summary_text(claims)
    assert "**Claim 2.** Deep Ensembles give the best uncertainties" in text
    assert f"Deep Ensemble against single network: {counts}" in text
    assert f"| few, haze | {cell} |" in text
    assert "Nothing was compared: the methods that it needs are missing." in text


@pytest.mark.parametrize(
    ("name", "config"), [("rendered", "study"), ("longer", "study"), ("real", "study_real")]
)
def test_the_committed_summary_is_that_of_the_committed_results(
    name, config, tmp_path, monkeypatch
):
    """As `training/study.py --results docs/study/rendered/results.csv.xz --docs docs` does."""
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("study", REPOSITORY / "training" / "study.py")
    command = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(command)
    settings, committed = REPOSITORY / f"training/configs/{config}.yaml", COMMITTED / name
    options = ["--docs", "docs", "--results", str(committed / RESULTS)]
    arguments = ["--config", str(settings), *options]
    monkeypatch.setattr(sys, "argv", ["study.py", *arguments])
    assert command.main() == 0
    found = tmp_path / "docs"
    assert (found / "summary.md").read_bytes() == (committed / "summary.md").read_bytes()
    again, before = (read_results(folder / RESULTS) for folder in (found, committed))
    pd.testing.assert_frame_equal(again, before)
