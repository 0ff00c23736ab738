"""All metrics of one method on one split, against references and for consistency."""

import numpy as np
import pytest
import torch
from random_pixels import CLASSES, classes, counted, depths, objects
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from torchmetrics.classification import MulticlassCalibrationError, MulticlassJaccardIndex

from emu_core.evaluation.tables import METRICS
from emu_core.labels import IGNORE
from emu_core.metrics import PerceptionMetrics, StudyMetrics, road_objects
from emu_core.metrics.drives import DriveResults


def test_every_reported_metric_exists_and_is_finite():
    metrics = counted().compute()
    assert set(metrics) >= set(METRICS) - {"ms_per_image"}
    assert all(type(value) is float and np.isfinite(value) for value in metrics.values())


def test_metrics_of_classes_agree_with_the_references():
    rng, study = np.random.default_rng(1), StudyMetrics(CLASSES, 80.0)
    images = [classes(rng) for _ in range(3)]
    for image in images:
        study.update_classes(*image)
    p = torch.from_numpy(np.stack([image[0] for image in images]))
    truth = torch.from_numpy(np.stack([image[1] for image in images])).long()
    metrics = study.compute()
    jaccard = MulticlassJaccardIndex(CLASSES, ignore_index=IGNORE)(p.argmax(1), truth)
    assert metrics["miou"] == pytest.approx(float(jaccard), rel=1e-6)
    each = MulticlassJaccardIndex(CLASSES, average=None, ignore_index=IGNORE)(p.argmax(1), truth)
    assert [metrics[f"iou_{k}"] for k in range(CLASSES)] == pytest.approx(each.tolist(), rel=1e-6)
    valid = truth != IGNORE
    rows, true = p.permute(0, 2, 3, 1)[valid], truth[valid]
    ece = MulticlassCalibrationError(CLASSES, n_bins=15)(rows, true)
    assert metrics["ece"] == pytest.approx(float(ece), abs=1e-6)
    nll = torch.nn.functional.nll_loss(rows.double().log(), true)
    assert metrics["seg.nll"] == pytest.approx(float(nll), rel=1e-6)
    brier = (rows - torch.eye(CLASSES)[true]).square().sum(1).mean()
    assert metrics["seg.brier"] == pytest.approx(float(brier), rel=1e-6)
    wrong = (rows.argmax(1) != true).numpy()
    entropy = torch.special.entr(rows).sum(1).numpy()
    assert metrics["seg.error_auroc"] == pytest.approx(roc_auc_score(wrong, entropy), abs=1e-5)
    assert metrics["seg.error_auroc_bound"] == 0.0
    assert metrics["accuracy"] == metrics["seg.accuracy"] == pytest.approx(1 - wrong.mean())
    assert metrics["seg.p_acc_cer"] > metrics["seg.p_acc_cer_random"]
    assert 0 < metrics["seg.ause"] < metrics["seg.ause_random"]


def test_metrics_of_depth_agree_with_plain_formulas():
    rng, study = np.random.default_rng(2), StudyMetrics(CLASSES, 80.0)
    images = [depths(rng) for _ in range(3)]
    for image in images:
        study.update_depth(*image)
    mean, variance, truth = (np.stack(both) for both in zip(*images, strict=True))
    valid = np.isfinite(truth)
    mu, s2, y = (x[valid].astype(np.float64) for x in (mean, variance, truth))
    metrics = study.compute()
    wrong = np.maximum(mu / y, y / mu) >= 1.25
    assert metrics["rmse"] == pytest.approx(np.sqrt(np.mean((mu - y) ** 2)))
    assert metrics["abs_rel"] == pytest.approx(np.mean(np.abs(mu - y) / y))
    assert metrics["delta1"] == metrics["depth.accuracy"] == pytest.approx(1 - wrong.mean())
    s2 += 1e-4
    nll = 0.5 * np.mean((mu - y) ** 2 / s2 + np.log(s2))
    assert metrics["depth.nll"] == pytest.approx(nll, rel=1e-6)
    inside = np.abs(mu - y) < 1.6448536 * np.sqrt(s2)
    assert metrics["depth.coverage90"] == pytest.approx(inside.mean(), abs=1e-3)
    auroc = roc_auc_score(wrong, np.sqrt(s2) / mu)
    assert metrics["depth.ratio_error_auroc"] == pytest.approx(auroc, abs=1e-5)
    assert metrics["depth.ratio_error_auroc_given"] == metrics["depth.ratio_error_auroc"]
    auroc = roc_auc_score(wrong, np.sqrt(s2))
    assert metrics["depth.ratio_error_auroc_by_std"] == pytest.approx(auroc, abs=1e-5)
    auroc = roc_auc_score(np.abs(mu - y) >= 1, np.sqrt(s2))
    assert metrics["depth.metre_error_auroc"] == pytest.approx(auroc, abs=1e-5)


def test_what_missing_depths_cost_is_told_apart():
    """The AUROC with them, and without them, of one image and of weighted drives."""
    rng, drives, pixels = np.random.default_rng(3), {}, []
    for drive, missing in (("a", 0.0), ("b", 0.3)):
        mean, variance, truth = depths(rng)
        mean[rng.random(mean.shape) < missing] = np.nan
        drives[drive] = StudyMetrics(CLASSES, 80.0)
        drives[drive].update_depth(mean, variance, truth)
        pixels.append((mean, variance, truth))
    mean, variance, truth = (np.stack(x)[..., None] for x in zip(*pixels, strict=True))
    mean, variance, truth = (np.concatenate([x[0], x[1], x[1]]) for x in (mean, variance, truth))
    given, valid = np.isfinite(mean), np.isfinite(truth)
    relative = (np.sqrt(variance) / mean)[given & valid]
    ratio = np.maximum(mean / truth, truth / mean)[given & valid]
    expected = roc_auc_score(ratio >= 1.25, relative)
    results = DriveResults.of(drives).compute([1, 2])
    assert results["depth.ratio_error_auroc_given"] == pytest.approx(expected, abs=1e-5)
    m = int((valid & ~given).sum())
    pairs = np.count_nonzero(ratio >= 1.25) * np.count_nonzero(ratio < 1.25)
    possible = (np.count_nonzero(ratio >= 1.25) + m) * (np.count_nonzero(ratio < 1.25) + m)
    assert results["depth.ratio_error_auroc"] == pytest.approx(expected * pairs / possible)
    pooled = DriveResults.of(drives)
    assert pooled.compute() == pytest.approx(
        {k: v for k, v in pooled.pooled.items() if not k.endswith("_bound")}
    )


def test_a_task_without_updates_has_no_metrics():
    rng = np.random.default_rng(3)
    seg, depth = StudyMetrics(CLASSES, 80.0), StudyMetrics(CLASSES, 80.0)
    seg.update_classes(*classes(rng))
    depth.update_depth(*depths(rng))
    for study, own, other in (
        (seg, {"miou", "seg.nll"}, ("depth", "rmse", "unknown")),
        (depth, {"rmse", "depth.nll"}, ("seg", "miou", "unknown")),
    ):
        assert own <= set(study.compute()) and study.arrays()
        assert not any(part in name for name in study.compute() for part in other)
    assert StudyMetrics(CLASSES, 80.0).compute() == StudyMetrics(CLASSES, 80.0).arrays() == {}


def test_pixels_without_a_truth_change_nothing():
    rng = np.random.default_rng(4)
    (p, labels), (mean, variance, truth) = classes(rng), depths(rng)
    plain, changed = StudyMetrics(CLASSES, 80.0), StudyMetrics(CLASSES, 80.0)
    plain.update_classes(p, labels)
    plain.update_depth(mean, variance, truth)
    p, ignored = p.copy(), labels == IGNORE
    p[:, ignored] = np.eye(CLASSES, dtype=np.float32)[0][:, None]
    changed.update_classes(p, np.where(ignored, 200, labels).astype(np.uint8))
    invalid = np.isnan(truth)
    changed.update_depth(np.where(invalid, np.nan, mean), np.where(invalid, 9, variance), truth)
    assert plain.compute() == changed.compute()


def test_curves_for_plots_agree_with_the_metrics():
    study = counted()
    arrays, metrics = study.arrays(), study.compute()
    assert arrays["seg.iou"].shape == (CLASSES,)
    count, confidence = arrays["seg.reliability_count"], arrays["seg.reliability_confidence"]
    gap = np.nan_to_num(confidence - arrays["seg.reliability_accuracy"])
    assert np.sum(count * np.abs(gap)) / count.sum() == pytest.approx(metrics["ece"])
    f = arrays["seg.sparsification_fraction"]
    assert (f[0], f[-1], len(f)) == (0, 0.99, 100)
    for curve, name in (
        ("seg.sparsification_error", "seg.ause"),
        ("seg.sparsification_brier", "seg.ause_brier"),
        ("depth.sparsification_rmse", "depth.ause"),
        ("depth.sparsification_abs_rel", "depth.ause_abs_rel"),
    ):
        difference = arrays[curve] - arrays[f"{curve}_oracle"]
        assert (difference >= -1e-6).all() and difference[0] == pytest.approx(0)
        area = np.sum((difference[1:] + difference[:-1]) / 2) / 100
        assert area == pytest.approx(metrics[name])
    at = arrays["depth.reliability_nominal"].tolist().index(0.9)
    assert arrays["depth.reliability_coverage"][at] == metrics["depth.coverage90"]


def test_unknown_objects_are_ranked_against_the_road_of_both_images_of_a_pair():
    rng, study = np.random.default_rng(5), StudyMetrics(CLASSES, 80.0)
    score, positive, on_object = [], [], []
    for unknown in (True, False):
        where, (p, truth) = objects(rng, unknown), classes(rng)
        study.update_classes(p, truth, where)
        entropy = torch.special.entr(torch.from_numpy(p)).sum(0).numpy()
        score.append(entropy[where.region])
        positive.append(where.unknown[where.region])
        on_object.append((where.unknown | where.known)[where.region])
    score, positive, on_object = map(np.concatenate, (score, positive, on_object))
    metrics = study.compute()
    assert 80 < on_object.sum() < len(positive) < 2 * 24 * 40
    assert metrics["seg.unknown_auroc"] == pytest.approx(roc_auc_score(positive, score), abs=1e-4)
    ap = average_precision_score(positive, score)
    assert metrics["seg.unknown_ap"] == pytest.approx(ap, abs=1e-4)
    assert metrics["seg.unknown_ap_random"] == pytest.approx(positive.mean())
    false, true, _ = roc_curve(positive, score, drop_intermediate=False)
    expected = false[np.argmax(true >= 0.95)]
    assert metrics["seg.unknown_fpr95"] == pytest.approx(expected, abs=2e-3)
    twins = roc_auc_score(positive[on_object], score[on_object])
    assert metrics["seg.unknown_twin_auroc"] == pytest.approx(twins, abs=1e-3)


def test_a_missing_depth_is_an_undetected_object_or_a_false_alarm_on_the_road():
    """Also if the variance is infinite."""
    study, unknown = StudyMetrics(CLASSES, 80.0), np.array([[True, True, False, False]])
    where = road_objects(np.zeros((1, 4), np.uint8), unknown, unknown=True, road=0)
    mean, variance = np.array([[5.0, np.nan, 5.0, 5.0]]), np.array([[3.0, np.inf, 1.0, np.inf]])
    study.update_depth(mean, variance, np.full((1, 4), 5.0), where)
    # The first pixel of the object ranks above one of two road pixels, the second above none.
    assert study.compute()["depth.unknown_auroc"] == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("update", "message"),
    [
        (lambda s, p, d: s.update_classes(p[0][:4], p[1]), r"of 6 classes, but got \(4, 24, 40\)"),
        (lambda s, p, d: s.update_classes(p[0], p[1][:5]), r"\(C,H,W\) and `truth` \(H,W\)"),
        (lambda s, p, d: s.update_depth(d[0], d[1], d[2][:5]), "arrays of one shape"),
        (lambda s, p, d: s.update_depth(d[0], np.log(d[1] / 99), d[2]), "is it log s²"),
        (lambda s, p, d: s.merge(StudyMetrics(5, 80.0)), r"\(6, 80.0\), but got \(5, 80.0\)"),
        (lambda s, p, d: s.depth.risk.merge(s.seg.scores), "to be a RiskCoverage"),
        (lambda s, p, d: s.seg.errors.merge(s.seg.scores), "to be a ScoreHistogram"),
        (
            lambda s, p, d: s.seg.confusion.merge(StudyMetrics(5, 80.0).seg.confusion),
            "of other classes or bins cannot be added",
        ),
    ],
)
def test_invalid_inputs_are_refused(update, message):
    rng = np.random.default_rng(7)
    with pytest.raises(ValueError, match=message):
        update(StudyMetrics(CLASSES, 80.0), classes(rng), depths(rng))


def test_metrics_of_images_without_a_truth_are_nan():
    probabilities, none = np.full((3, 4, 6), 1 / 3, np.float32), np.full((4, 6), 255, np.uint8)
    depth, invalid = np.ones((4, 6), np.float32), np.full((4, 6), np.nan, np.float32)
    one, both = (StudyMetrics(3, 80.0) for _ in range(2))
    one.update_classes(probabilities, none)
    one.update_depth(depth, depth, invalid)
    both.merge(one)
    for metrics in (one, both):
        values = {k: v for k, v in metrics.compute().items() if not k.endswith("_bound")}
        assert {"miou", "ece", "seg.nll", "rmse", "depth.nll", "depth.coverage90"} <= set(values)
        assert np.isnan(list(values.values())).all()
        assert not metrics.arrays()
    robot = PerceptionMetrics(3, 80.0)
    robot.update_labels(none, depth, none)
    robot.update_depth(depth, depth, invalid)
    for metrics in (robot, PerceptionMetrics(3, 80.0)):  # no pixel, and no frame at all
        assert np.isnan(list(metrics.compute().values())).all()


def test_an_image_without_errors_has_no_metrics_of_errors():
    metrics = StudyMetrics(3, 80.0)
    truth = np.array([[0, 1, 2]], np.uint8)
    metrics.update_classes(np.eye(3, dtype=np.float32)[truth].transpose(2, 0, 1), truth)
    values = metrics.compute()
    assert values["accuracy"] == values["miou"] == values["seg.p_acc_cer"] == 1
    for name in ("error_auroc", "ause", "p_unc_inacc", "p_inacc_unc"):
        assert np.isnan(values[f"seg.{name}"]), name
