"""Accumulators of drives: added up, stored, and drawn again for a bootstrap."""

import numpy as np
import pytest
from random_pixels import CLASSES, classes, counted, depths

from emu_core.metrics import DriveResults, StudyMetrics, drive_weights

DRIVES = {"b": 10, "a": 20, "c": 30}


@pytest.fixture(scope="module")
def drives():
    return {name: counted(seed, images=2) for name, seed in DRIVES.items()}


def merged(studies):
    total = StudyMetrics(CLASSES, 80.0)
    for study in studies:
        total.merge(study)
    return total


def assert_same(ours, theirs, names=None, tolerance=1e-12):
    for name in names or theirs:
        assert ours[name] == pytest.approx(theirs[name], abs=tolerance), name


def test_images_counted_apart_add_up_to_images_counted_together():
    rng, together, single = np.random.default_rng(0), StudyMetrics(CLASSES, 80.0), []
    for _ in range(3):
        image = classes(rng), depths(rng)
        single.append(StudyMetrics(CLASSES, 80.0))
        for study in (together, single[-1]):
            study.update_classes(*image[0])
            study.update_depth(*image[1])
    before = single[0].compute()
    assert_same(merged(single).compute(), together.compute())
    merged(single).update_classes(*image[0])
    assert_same(single[0].compute(), before, tolerance=0)


def test_other_files_sums_and_numbers_of_drives_are_refused(drives, tmp_path):
    with pytest.raises(ValueError, match=r"`weights` of 3 drives, but got shape \(2,\)"):
        DriveResults.of(drives).compute([1, 2])
    with pytest.raises(ValueError, match="at least one drive"):
        DriveResults.of({})
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match=r"was not written by DriveResults\.save"):
        DriveResults.load(tmp_path / "x.npz")
    state = drives["a"].seg.confusion.state()
    with pytest.raises(ValueError, match=r"`matrix` of a Confusion of shape \(9, 9\)"):
        StudyMetrics(9, 80.0).seg.confusion.restore(state)
    with pytest.raises(ValueError, match="but got nothing"):
        StudyMetrics(9, 80.0).seg.confusion.restore({})


@pytest.mark.parametrize("weights", [None, (2, 0, 1), (0, 3, 0)])
def test_weights_give_the_metrics_of_counting_drives_that_often(drives, weights):
    results, times = DriveResults.of(drives), weights or (1, 1, 1)
    repeated = [s for s, w in zip(drives.values(), times, strict=True) for _ in range(w)]
    expected, metrics = merged(repeated).compute(), results.compute(weights)
    left_out = {n for n in expected if n.endswith(("_bound", "_ap", "_ap_random", "_fpr95"))}
    assert set(metrics) == set(expected) - left_out
    assert_same(metrics, expected, metrics)


def test_pooled_has_the_other_metrics(drives):
    results, expected = DriveResults.of(drives), merged(drives.values()).compute()
    assert results.names == ("b", "a", "c")
    assert_same(results.pooled, expected)
    assert {"seg.unknown_ap", "depth.unknown_fpr95", "seg.error_auroc_bound"} <= set(expected)


def test_a_stored_file_is_small_and_gives_the_same_metrics(drives, tmp_path):
    results = DriveResults.of(drives)
    results.save(tmp_path / "de.npz")
    assert (tmp_path / "de.npz").stat().st_size < 100_000
    read = DriveResults.load(tmp_path / "de.npz")
    assert read.names == results.names and read.pooled == results.pooled
    assert_same(read.compute((2, 0, 1)), results.compute((2, 0, 1)), tolerance=0)


def test_a_single_task_without_unknown_objects_can_be_drawn_again():
    rng, drives = np.random.default_rng(3), {}
    for name in "ab":
        drives[name] = StudyMetrics(CLASSES, 80.0)
        drives[name].update_depth(*depths(rng))
    results = DriveResults.of(drives)
    metrics = results.bootstrap(drive_weights(2, 5, seed=0))
    assert set(metrics) == {n for n in results.pooled if not n.endswith("_bound")}
    assert not any("unknown" in name or name == "miou" for name in metrics)
    assert all(values.shape == (5,) for values in metrics.values())


def test_the_spread_over_resamples_is_that_of_the_mean_over_drives():
    """For a metric that is a plain mean over equal drives the standard error is known."""
    rng, drives, scores = np.random.default_rng(4), {}, []
    for i in range(12):
        mean, variance, truth = depths(rng, (6, 10))
        truth = np.where(np.isnan(truth), mean, truth) + np.float32(3 * rng.random())
        drives[str(i)] = StudyMetrics(CLASSES, 80.0)
        drives[str(i)].update_depth(mean, variance, truth)
        scores.append(drives[str(i)].compute()["abs_rel"])
    drawn = DriveResults.of(drives).bootstrap(drive_weights(12, 400, seed=1))["abs_rel"]
    assert drawn.mean() == pytest.approx(np.mean(scores), rel=0.02)
    assert drawn.std() == pytest.approx(np.std(scores) / np.sqrt(12), rel=0.15)


def test_drives_are_drawn_with_replacement_and_reproducibly():
    weights = drive_weights(20, 300, seed=5)
    assert weights.shape == (300, 20)
    assert (weights.sum(1) == 20).all()
    assert (weights == 0).mean() == pytest.approx((1 - 1 / 20) ** 20, abs=0.02)
    np.testing.assert_array_equal(weights, drive_weights(20, 300, seed=5))
