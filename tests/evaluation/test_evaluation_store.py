"""Scores on disk: which ones are kept, and which ones count as missing."""

from dataclasses import replace

import numpy as np
import pytest

from emu_core.evaluation import candidate as module
from emu_core.evaluation import plots
from emu_core.evaluation.candidate import Candidate, Store
from emu_core.evaluation.report import load_scores, write_plots
from emu_core.evaluation.score import score_missing, setting
from emu_core.evaluation.splits import open_split
from emu_core.evaluation.tables import TABLES, markdown
from emu_core.evaluation.values import metric_table

SETTING = {"split": "test", "height": 32}


@pytest.fixture
def candidate(tmp_path):
    weights = tmp_path / "last.safetensors"
    weights.write_bytes(b"weights")
    return Candidate("single", "single", (weights,), seed=2)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "evaluation", resamples=50)


def test_scores_are_read_again_with_all_resamples_of_the_drives(store, candidate, scored):
    results = scored(0).results
    store.keep(candidate, "haze", SETTING, results)
    back = store.load(candidate, "haze", SETTING)
    assert back.results.pooled == results.pooled
    assert back.resampled["seg.nll"].shape == (50,)
    assert back.resampled["seg.nll"].mean() == pytest.approx(results.pooled["seg.nll"], rel=0.02)
    assert store.load(replace(candidate, seed=0), "haze", SETTING) is None
    assert store.load(candidate, "test", SETTING) is None


def test_all_methods_of_a_split_have_the_same_resamples(store, candidate, scored):
    found = []
    for name in ("a", "b"):
        other = Candidate(name, "single", candidate.paths)
        store.keep(other, "test", SETTING, scored(0).results)
        found.append(store.load(other, "test", SETTING).resampled["rmse"])
    np.testing.assert_array_equal(*found)


def test_other_weights_settings_or_resamples_count_as_not_scored(store, candidate, scored):
    assert not store.has(candidate, "test", SETTING)
    store.keep(candidate, "test", SETTING, scored(0).results)
    assert store.has(candidate, "test", SETTING)
    assert not store.has(candidate, "test", SETTING | {"height": 64})
    assert not Store(store.folder, resamples=60).has(candidate, "test", SETTING)
    candidate.paths[0].write_bytes(b"trained on")
    assert not store.has(candidate, "test", SETTING)


def test_other_metric_definitions_count_as_not_scored(store, candidate, scored, monkeypatch):
    store.keep(candidate, "test", SETTING, scored(0).results)
    monkeypatch.setattr(module, "METRICS_VERSION", module.METRICS_VERSION + 1)
    assert not store.has(candidate, "test", SETTING)


def test_a_setting_changes_only_with_the_images_and_their_geometry(tiny_data, write_drive):
    name = "test3000_000000_000000"
    write_drive(tiny_data.root, "test", name)

    def now(**changes):
        data = replace(tiny_data, augmentation=replace(tiny_data.augmentation, **changes))
        return setting(open_split(data, "test"))

    before = now()
    assert now(scale=(0.5, 2.0), flip=True, jitter=(1.0,) * 4, depth_limit=50.0) == before
    assert now(image_width=80) != before
    assert now(canonical_focal=None) != before
    camera = tiny_data.root / "camera" / "test" / "test3000" / f"{name}_camera.json"
    camera.write_text(camera.read_text() + " ")
    assert now() != before
    moved = tiny_data.root.rename(tiny_data.root.with_name("moved"))
    after = setting(open_split(replace(tiny_data, root=moved), "test"))
    assert after == setting(open_split(replace(tiny_data, root=moved), "test")) != before
    camera = moved / camera.relative_to(tiny_data.root)
    camera.write_text(camera.read_text()[:-1])
    assert setting(open_split(replace(tiny_data, root=moved), "test")) == before


def test_only_current_scores_of_existing_files_are_loaded(
    store, candidate, scored, tiny_data, write_drive
):
    write_drive(tiny_data.root, "test", "test3000_000000_000000")
    splits = {"in_domain": open_split(tiny_data, "test")}
    other = Candidate("single", "single", candidate.paths, seed=3)
    gone = Candidate("gone", "single", (candidate.paths[0].with_name("gone"),))
    store.keep(candidate, "in_domain", setting(splits["in_domain"]), scored(0).results)
    # Fewer resamples cannot be averaged with those of the other seed.
    few = Store(store.folder, resamples=20)
    few.keep(other, "in_domain", setting(splits["in_domain"]), scored(0).results)
    (seeds,) = load_scores(store, [candidate, other, gone], splits)["in_domain"].values()
    assert [s.resampled["rmse"].shape for s in seeds] == [(50,)]


def test_an_evaluation_that_was_killed_while_writing_counts_as_not_scored(
    store, candidate, scored, monkeypatch
):
    store.keep(candidate, "test", SETTING, scored(0).results)
    candidate.paths[0].write_bytes(b"trained on")

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        store.keep(candidate, "test", SETTING, scored(1).results)
    assert not store.has(candidate, "test", SETTING)
    assert store.load(candidate, "test", SETTING) is None


def test_only_what_is_missing_is_scored_and_loaded(
    store, tiny_data, write_drive, noise_method, tmp_path, monkeypatch
):
    for split in ("test", "haze"):
        write_drive(tiny_data.root, split, f"{split}3000_000000_000000")
    candidates = []
    for k in range(2):
        weights = tmp_path / f"{k}.safetensors"
        weights.write_bytes(bytes([k]))
        candidates.append(Candidate("single", "single", (weights,), seed=k))
    loaded = []

    def load(self, device="cpu"):
        loaded.append(self.seed)
        return noise_method

    monkeypatch.setattr(Candidate, "load", load)
    splits = {"in_domain": open_split(tiny_data, "test")}
    assert score_missing(candidates[:1], splits, store) == 1
    splits["haze"] = open_split(tiny_data, "haze")
    assert score_missing(candidates, splits, store) == 3
    assert loaded == [0, 0, 1]
    assert score_missing(candidates, splits, store) == 0
    assert loaded == [0, 0, 1]


def test_a_method_without_trained_variance_has_no_metrics_and_curves_of_it(
    store, candidate, scored, tiny_data, write_drive
):
    write_drive(tiny_data.root, "test", "test3000_000000_000000")
    splits = {"in_domain": open_split(tiny_data, "test")}
    plain = replace(candidate, name="l1", depth_uncertainty=False)
    for each in (candidate, plain):
        store.keep(each, "in_domain", setting(splits["in_domain"]), scored(0).results)
    scores = load_scores(store, [candidate, plain], splits)
    table = metric_table(scores, {})
    wide = table.pivot(index="metric", columns="method", values="mean")
    gone = wide.index[wide.l1.isna()]
    assert set(gone) == {name for name in wide.index if name.startswith("depth.")}
    assert wide.l1["rmse"] == wide.single["rmse"]
    assert not any(name.startswith("depth.") for name in scores["in_domain"]["l1"][0].resampled)
    text = markdown(table, TABLES["depth"], {"single": "single", "l1": "l1"})
    (line,) = (line for line in text.splitlines() if line.startswith("| l1 |"))
    assert line.count("| – ") == sum(metric.name in gone for metric in TABLES["depth"])
    own, every = (plots.mean_curves(scores["in_domain"][name]) for name in ("l1", "single"))
    assert set(own) == {name for name in every if not name.startswith("depth.")}
    write_plots(store.folder, "Few", scores, table)
