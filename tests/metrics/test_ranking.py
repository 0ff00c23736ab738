"""Pooled rankings in adaptive bins: they agree with scikit-learn within their error bound."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from emu_core.metrics.ranking import (
    ScoreHistogram,
    auroc,
    average_precision,
    false_positive_rate,
    pairs_won,
    sort_scores,
)


def counted(scores, positive, bins=1 << 19, images=1):
    histogram = ScoreHistogram(bins)
    for some in np.array_split(np.arange(len(scores)), images):
        histogram.update(sort_scores(scores[some]), positive[some])
    return histogram


def fpr95(positive, scores):
    false, true, _ = roc_curve(positive, scores, drop_intermediate=False)
    return false[np.argmax(true >= 0.95)]


def precision_above_zero(positive, scores):
    """scikit-learn's average precision without what the positives of the score 0 contribute."""
    never = (positive & (scores == 0)).sum() / positive.sum()
    return average_precision_score(positive, scores) - positive.mean() * never


REFERENCES = [
    (auroc, roc_auc_score),
    (average_precision, precision_above_zero),
    (false_positive_rate, fpr95),
]


def drawn(rng, size, levels=None):
    scores = rng.gamma(2.0, size=size).astype(np.float32)
    if levels:
        scores = (np.floor(scores * levels) / levels).astype(np.float32)
    return scores, rng.random(size) < 0.02 + 0.9 * scores / scores.max()


@pytest.mark.parametrize(("ours", "theirs"), REFERENCES)
@pytest.mark.parametrize("levels", [None, 1, 20])
def test_metrics_are_exact_while_every_score_has_its_own_bin(ours, theirs, levels):
    scores, positive = drawn(np.random.default_rng(0), 5000, levels)
    metric = ours(counted(scores, positive, images=3).bins())
    assert metric.value == pytest.approx(theirs(positive, scores), abs=1e-12)
    assert metric.bound == 0.0


@pytest.mark.parametrize(("ours", "theirs"), REFERENCES)
@pytest.mark.parametrize("bins", [64, 1000])
def test_metrics_in_few_bins_are_within_their_bound_of_scikit_learn(ours, theirs, bins):
    scores, positive = drawn(np.random.default_rng(1), 20000)
    metric = ours(counted(scores, positive, bins, images=7).bins())
    assert 0 < metric.bound < 40 / bins
    assert abs(metric.value - theirs(positive, scores)) <= metric.bound


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 2.0**100, width=32) | st.sampled_from([0.0, 0.5, 1.0]), st.booleans()
        ),
        min_size=2,
        max_size=60,
    ).filter(lambda pairs: len({positive for _, positive in pairs}) == 2),
    st.integers(1, 20),
)
def test_every_metric_is_within_its_bound_of_scikit_learn(pairs, bins):
    scores = np.array([score for score, _ in pairs], np.float32)
    positive = np.array([positive for _, positive in pairs])
    histogram = counted(scores, positive, bins, images=2)
    assert len(histogram.bins().start) <= bins
    for ours, theirs in REFERENCES:
        metric = ours(histogram.bins())
        assert abs(metric.value - theirs(positive, scores)) <= metric.bound + 1e-12


def test_the_bound_of_precision_holds_if_the_negative_of_a_bin_is_above_its_positives():
    # One bin with nine positives and one negative: precision .9; exactly k/(k + 1) for k = 1…9.
    # The bin begins at 0, and positives of the score 0 count as 0.
    scores, positive = np.arange(1, 11, dtype=np.float32), np.arange(10) < 9
    metric = average_precision(counted(scores, positive, bins=1).bins())
    truth = np.mean(np.arange(1, 10) / np.arange(2, 11))
    assert average_precision_score(positive, scores) == pytest.approx(truth)
    assert metric.value == pytest.approx(0.9)
    assert 0.1 < metric.value - truth <= metric.bound == pytest.approx(0.9)


def test_positives_of_the_score_zero_are_never_found():
    # By hand: precision 1 at the score 2, 2/4 at 1; the two positives at 0 count as 0.
    scores = np.array([2, 1, 1, 1, 0, 0, 0], np.float32)
    positive = np.array([1, 1, 0, 0, 1, 1, 0], bool)
    found = average_precision(counted(scores, positive).bins())
    assert found == (pytest.approx((1 + 1 / 2) / 4), 0.0)


def test_without_positives_or_without_negatives_metrics_are_nan():
    for positive in (np.ones(5, bool), np.zeros(5, bool)):
        bins = counted(np.arange(5.0), positive).bins()
        assert np.isnan(auroc(bins).value) and np.isnan(false_positive_rate(bins).value)
    assert np.isnan(average_precision(bins).value)
    assert np.isnan(auroc(ScoreHistogram().bins()).value)


def test_nan_and_infinity_rank_highest_and_negative_scores_as_zero():
    scores = np.array([np.nan, np.inf, 1e38, 0.0, -0.0, 1e-45], np.float32)
    positive = np.array([True, False, True, False, True, False])
    # NaN ties with Inf and beats 0 and the denormal; 1e38 beats two; −0 ties with 0.
    assert auroc(counted(scores, positive).bins()).value == pytest.approx((2.5 + 2 + 0.5) / 9)
    for size in (1, 7, 1000):
        for score in (-0.0, -1e-7):
            scores = np.concatenate([np.full(size, score), np.zeros(size)]).astype(np.float32)
            assert auroc(counted(scores, np.arange(2 * size) < size).bins()).value == 0.5


def test_different_numbers_of_scores_and_pixels_are_refused():
    with pytest.raises(ValueError, match="of the 3 pixels in `order`, but got 2"):
        ScoreHistogram().update(sort_scores(np.ones(3)), np.ones(2, bool))


def softmax_entropies(rng, size, margin):
    """Entropies of two classes in float32; `margin` is the spread of the logits' difference."""
    p = (1 / (1 + np.exp(-np.abs(rng.normal(0, margin, size))))).astype(np.float32)
    q = 1 - p
    logs = (np.log(np.maximum(x, np.finfo(np.float32).tiny)) * x for x in (p, q))
    entropy = np.maximum(-sum(logs), 0).astype(np.float32)
    return entropy, rng.random(size) > p


def spiked(rng, size, width, elsewhere=0.01):
    """Standard deviations within `width` of 1 m; a share `elsewhere` is spread over 15 decades."""
    std = 1 + width * rng.random(size)
    tail = rng.random(size) < elsewhere
    std[tail] = 10 ** rng.uniform(-12, 3, int(tail.sum()))
    return std.astype(np.float32), rng.random(size) < 0.05 + 0.1 * (std > 1 + width / 2)


def drifting(rng, size, image):
    """Standard deviations that grow by a third from image to image."""
    std = 1.33**image * rng.lognormal(0, 0.5, size)
    return std.astype(np.float32), rng.random(size) < np.minimum(0.02 * std, 0.5)


SITUATIONS = {
    "uncertain network": lambda rng, size, _: softmax_entropies(rng, size, 3),
    "saturated network": lambda rng, size, _: softmax_entropies(rng, size, 30),
    "spread of 1 %": lambda rng, size, _: spiked(rng, size, 1e-2),
    "half within 1 %": lambda rng, size, _: spiked(rng, size, 1e-2, elsewhere=0.6),
    "spread of 0.1 %": lambda rng, size, _: spiked(rng, size, 1e-3),
    "drift": drifting,
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_bound_is_below_1e_5_for_any_distribution_of_the_scores(situation):
    """A million pixels in eight images: more than there are bins."""
    rng = np.random.default_rng(0)
    images = [SITUATIONS[situation](rng, 1 << 17, i) for i in range(8)]
    scores, positive = (np.concatenate(both) for both in zip(*images, strict=True))
    histogram = counted(scores, positive, images=8)
    metric = auroc(histogram.bins())
    assert len(histogram.bins().start) <= 1 << 19
    assert metric.bound < 1e-5
    assert abs(metric.value - roc_auc_score(positive, scores)) <= metric.bound + 1e-12


@pytest.mark.parametrize("bins", [1 << 19, 300])
def test_histograms_of_drives_add_up_and_pairs_won_give_the_auroc_with_weights(bins):
    rng = np.random.default_rng(3)
    drives = [drawn(rng, 2000, levels) for levels in (None, 30, None)]
    parts, total = [counted(*drive, bins) for drive in drives], ScoreHistogram(bins)
    for part in parts:
        total.merge(part)
    scores, positive = (np.concatenate(both) for both in zip(*drives, strict=True))
    metric = auroc(total.bins())
    assert len(total.bins().start) <= bins and total.bins().positives.sum() == positive.sum()
    assert abs(metric.value - roc_auc_score(positive, scores)) <= metric.bound + 1e-12
    won = pairs_won([part.bins() for part in parts], total.bins())
    # With equal weights it is the metric of the joint histogram.
    pairs = int(positive.sum()) * int((~positive).sum())
    assert won.sum() / pairs == pytest.approx(metric.value, abs=1e-12)
    for weights in ([1, 1, 1], [2, 0, 1], [0, 3, 0]):
        repeated = [d for d, w in zip(drives, weights, strict=True) for _ in range(w)]
        scores, positive = (np.concatenate(both) for both in zip(*repeated, strict=True))
        value = np.array(weights) @ won @ weights / (positive.sum() * (~positive).sum())
        tolerance = 1e-12 if bins > 10000 else 0.01
        assert value == pytest.approx(roc_auc_score(positive, scores), abs=tolerance)
