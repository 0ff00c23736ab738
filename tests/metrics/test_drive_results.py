"""Accumulators of drives: added up, written, and drawn again for a bootstrap."""

import numpy as np
import pytest
from random_pixels import CLASSES, classes, counted, depths

from emu_core.metrics import DriveResults, StudyMetrics, drive_weights

DRIVES = {"b": 10, "a": 20, "c": 30}


@pytest.fixture(scope="module")
def drives():
    return {name: counted(seed, images=2) for name, seed in DRIVES.items()}


def merged(studies):
    whole = StudyMetrics(CLASSES, 80.0)
    for study in studies:
        whole.merge(study)
    return whole


def assert_same(ours, theirs, names=None, tolerance=1e-12):
    for name in names or theirs:
        assert ours[name] == pytest.approx(theirs[name], abs=tolerance), name


def test_drives_add_up_to_what_all_their_images_give(drives):
    together = StudyMetrics(CLASSES, 80.0)
    for seed in DRIVES.values():
        together.merge(counted(seed, images=2))
    whole = merged(drives.values())
    assert list(whole.compute()) == list(together.compute())
    assert_same(whole.compute(), together.compute())
    rng, at_once, apart = np.random.default_rng(0), StudyMetrics(CLASSES, 80.0), []
    for _ in range(3):
        image = classes(rng), depths(rng)
        apart.append(StudyMetrics(CLASSES, 80.0))
        for study in (at_once, apart[-1]):
            study.update_classes(*image[0])
            study.update_depth(*image[1])
    assert_same(merged(apart).compute(), at_once.compute())


def test_adding_up_leaves_the_drives_as_they_were(drives):
    before = {name: study.compute() for name, study in drives.items()}
    merged(drives.values()).update_classes(*classes(np.random.default_rng(1)))
    for name, study in drives.items():
        assert_same(study.compute(), before[name], tolerance=0)


def test_a_study_read_from_its_file_goes_on(drives, tmp_path):
    drives["a"].save(tmp_path / "a.npz")
    read = StudyMetrics.load(tmp_path / "a.npz")
    assert_same(read.compute(), drives["a"].compute(), tolerance=0)
    image = classes(np.random.default_rng(2))
    read.update_classes(*image)
    expected = merged([drives["a"]])
    expected.update_classes(*image)
    assert_same(read.compute(), expected.compute())


def test_a_file_of_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    for kind in (StudyMetrics, DriveResults):
        with pytest.raises(ValueError, match=f"was not written by {kind.__name__}.save"):
            kind.load(tmp_path / "x.npz")


def test_sums_of_other_classes_are_refused(drives, tmp_path):
    state = drives["a"].seg.confusion.state()
    with pytest.raises(ValueError, match=r"`matrix` of a Confusion of shape \(9, 9\)"):
        StudyMetrics(9, 80.0).seg.confusion.restore(state)
    with pytest.raises(ValueError, match="but got nothing"):
        StudyMetrics(9, 80.0).seg.confusion.restore({})


# Drawn again


@pytest.mark.parametrize("weights", [(1, 1, 1), (2, 0, 1), (0, 3, 0)])
def test_any_selection_of_drives_gives_the_figures_of_counting_them_that_often(drives, weights):
    results = DriveResults.of(drives)
    repeated = [s for s, w in zip(drives.values(), weights, strict=True) for _ in range(w)]
    expected = merged(repeated).compute()
    figures = results.figures(weights)
    left_out = {n for n in expected if n.endswith(("_bound", "_ap", "_ap_random", "_fpr95"))}
    assert set(figures) == set(expected) - left_out
    assert_same(figures, expected, figures)


def test_all_drives_once_is_the_default_and_pooled_has_the_rest(drives):
    results, expected = DriveResults.of(drives), merged(drives.values()).compute()
    assert results.names == ("b", "a", "c")
    assert_same(results.figures(), expected, results.figures())
    assert_same(results.pooled, expected)
    assert {"seg.unknown_ap", "depth.unknown_fpr95", "seg.error_auroc_bound"} <= set(expected)


def test_what_is_written_is_small_and_gives_the_same_figures(drives, tmp_path):
    results = DriveResults.of(drives)
    results.save(tmp_path / "de.npz")
    assert (tmp_path / "de.npz").stat().st_size < 100_000
    read = DriveResults.load(tmp_path / "de.npz")
    assert read.names == results.names and read.pooled == results.pooled
    assert_same(read.figures((2, 0, 1)), results.figures((2, 0, 1)), tolerance=0)


def test_a_single_task_and_a_split_without_unknown_objects_can_be_drawn_again():
    rng, drives = np.random.default_rng(3), {}
    for name in "ab":
        drives[name] = StudyMetrics(CLASSES, 80.0)
        drives[name].update_depth(*depths(rng))
    results = DriveResults.of(drives)
    figures = results.bootstrap(drive_weights(2, 5, seed=0))
    assert set(figures) == {n for n in results.pooled if not n.endswith("_bound")}
    assert not any("unknown" in name or name == "miou" for name in figures)
    assert all(values.shape == (5,) for values in figures.values())


def test_the_spread_over_resamples_is_that_of_the_mean_over_drives():
    """Of a figure that is a plain mean over equal drives, the bootstrap's deviation is known."""
    rng, drives, scores = np.random.default_rng(4), {}, []
    for i in range(12):
        mean, variance, truth = depths(rng, (6, 10))
        truth = np.where(np.isnan(truth), mean, truth) + np.float32(3 * rng.random())
        drives[str(i)] = StudyMetrics(CLASSES, 80.0)
        drives[str(i)].update_depth(mean, variance, truth)
        scores.append(drives[str(i)].compute()["abs_rel"])
    results = DriveResults.of(drives)
    drawn = results.bootstrap(drive_weights(12, 400, seed=1))["abs_rel"]
    assert drawn.mean() == pytest.approx(np.mean(scores), rel=0.02)
    assert drawn.std() == pytest.approx(np.std(scores) / np.sqrt(12), rel=0.15)


def test_drives_are_drawn_with_replacement_and_reproducibly():
    weights = drive_weights(20, 300, seed=5)
    assert weights.shape == (300, 20)
    assert (weights.sum(1) == 20).all()
    assert (weights == 0).mean() == pytest.approx((1 - 1 / 20) ** 20, abs=0.02)
    np.testing.assert_array_equal(weights, drive_weights(20, 300, seed=5))


def test_weights_of_other_drives_and_no_drives_are_refused(drives):
    with pytest.raises(ValueError, match=r"`weights` of 3 drives, but got shape \(2,\)"):
        DriveResults.of(drives).figures([1, 2])
    with pytest.raises(ValueError, match="at least one drive"):
        DriveResults.of({})
