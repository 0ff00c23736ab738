"""Scores on disk: which ones are kept, and which ones count as missing."""

from dataclasses import replace

import numpy as np
import pytest

from emu_core.evaluation import candidate as module
from emu_core.evaluation import plots
from emu_core.evaluation.candidate import Candidate, Store
from emu_core.evaluation.report import load_scores
from emu_core.evaluation.score import score_missing, setting
from emu_core.evaluation.splits import Split

SETTING = {"split": "test", "height": 32}


@pytest.fixture
def candidate(tmp_path):
    weights = tmp_path / "last.safetensors"
    weights.write_bytes(b"weights")
    return Candidate("single", "single", (weights,), seed=2)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "evaluation", resamples=50)


def test_scores_are_read_again_with_the_same_resamples_for_all_methods(store, candidate, scored):
    results, other = scored(0).results, replace(candidate, name="other")
    for each in (candidate, other):
        store.keep(each, "haze", SETTING, results)
    back, again = (store.load(each, "haze", SETTING) for each in (candidate, other))
    assert back.results.pooled == results.pooled
    assert back.resampled["seg.nll"].shape == (50,)
    assert back.resampled["seg.nll"].mean() == pytest.approx(results.pooled["seg.nll"], rel=0.02)
    np.testing.assert_array_equal(back.resampled["rmse"], again.resampled["rmse"])
    assert store.load(replace(candidate, seed=0), "haze", SETTING) is None
    assert store.load(candidate, "test", SETTING) is None


def test_other_weights_settings_resamples_or_metrics_count_as_not_scored(
    store, candidate, scored, monkeypatch
):
    assert not store.has(candidate, "test", SETTING)
    store.keep(candidate, "test", SETTING, scored(0).results)
    assert store.has(candidate, "test", SETTING)
    assert not store.has(candidate, "test", SETTING | {"height": 64})
    assert not Store(store.folder, resamples=60).has(candidate, "test", SETTING)
    with monkeypatch.context() as patch:
        patch.setattr(module, "METRICS_VERSION", module.METRICS_VERSION + 1)
        assert not store.has(candidate, "test", SETTING)
    candidate.paths[0].write_bytes(b"trained on")
    assert not store.has(candidate, "test", SETTING)


def test_a_setting_changes_only_with_the_images_and_their_geometry(tiny_data, write_drive):
    name = "test3000_000000_000000"
    write_drive(tiny_data.root, "test", name)

    def now(**changes):
        data = replace(tiny_data, augmentation=replace(tiny_data.augmentation, **changes))
        return setting(Split(data, "test"))

    before = now()
    assert now(scale=(0.5, 2.0), flip=True, jitter=(1.0,) * 4, depth_limit=50.0) == before
    assert now(image_width=80) != before
    assert now(canonical_focal=None) != before
    moved = tiny_data.root.rename(tiny_data.root.with_name("moved"))
    assert setting(Split(replace(tiny_data, root=moved), "test")) == before
    camera = moved / "camera" / "test" / "test3000" / f"{name}_camera.json"
    camera.write_text(camera.read_text() + " ")
    assert setting(Split(replace(tiny_data, root=moved), "test")) != before


def test_only_current_scores_of_existing_files_are_loaded(
    store, candidate, scored, tiny_data, write_drive
):
    write_drive(tiny_data.root, "test", "test3000_000000_000000")
    splits = {"in_domain": Split(tiny_data, "test")}
    other = replace(candidate, seed=3)
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

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        store.keep(candidate, "test", SETTING, scored(1).results)
    assert store.load(candidate, "test", SETTING) is None


@pytest.mark.parametrize("end", [".npz", ".resampled.npz"])
def test_damaged_and_missing_scores_count_as_not_scored(store, candidate, scored, end):
    store.keep(candidate, "test", SETTING, scored(0).results)
    path = store.folder / "test" / f"single-2{end}"
    code = path.read_bytes()
    path.write_bytes(code[:-50])
    assert store.load(candidate, "test", SETTING) is None
    path.unlink()
    assert not store.has(candidate, "test", SETTING)


def test_only_what_is_missing_is_scored_and_loaded(
    store, candidate, tiny_data, write_drive, noise_method, monkeypatch
):
    for split in ("test", "haze"):
        write_drive(tiny_data.root, split, f"{split}3000_000000_000000")
    other = replace(candidate, seed=3)
    loaded = []

    def load(self, device="cpu"):
        loaded.append(self.seed)
        return noise_method

    monkeypatch.setattr(Candidate, "load", load)
    splits = {"in_domain": Split(tiny_data, "test")}
    score_missing([candidate], splits, store)
    splits["haze"] = Split(tiny_data, "haze")
    score_missing([candidate, other], splits, store)
    assert loaded == [2, 2, 3]
    assert len(list(store.folder.glob("*/*.json"))) == 4
    score_missing([candidate, other], splits, store)
    assert loaded == [2, 2, 3]


def test_a_method_without_trained_variance_has_no_resamples_and_curves_of_it(
    store, candidate, scored, tiny_data, write_drive
):
    write_drive(tiny_data.root, "test", "test3000_000000_000000")
    splits = {"in_domain": Split(tiny_data, "test")}
    plain = replace(candidate, name="l1", depth_uncertainty=False)
    for each in (candidate, plain):
        store.keep(each, "in_domain", setting(splits["in_domain"]), scored(0).results)
    scores = load_scores(store, [candidate, plain], splits)["in_domain"]
    assert not any(name.startswith("depth.") for name in scores["l1"][0].resampled)
    own, every = (plots.mean_curves(scores[name]) for name in ("l1", "single"))
    assert set(own) == {name for name in every if not name.startswith("depth.")}
