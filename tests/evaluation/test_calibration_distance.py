"""Values of a calibration that change with the distance from known images."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis

from emu_core.evaluation.fitting.calibration import fit, measure
from emu_core.evaluation.fitting.known import known_images
from emu_core.evaluation.fitting.pixels import Pixels
from emu_core.runtime.calibration import Calibration, Distance

CLASSES, FEATURES = 5, 40
CENTRES = np.linspace(-2, 2, FEATURES)


def pixels(offset, temperature, spread, seed=0, frames=40, each=500):
    """Frames whose features are `offset` deviations away, with classes drawn from
    softmax(scores / temperature), and errors of depth of the deviation `spread`, one for all or of
    each pixel, where 1 m was predicted."""
    rng = np.random.default_rng(seed)
    count = frames * each
    scores = 3 * rng.normal(size=(count, CLASSES))
    p = np.exp(scores / temperature)
    p /= p.sum(axis=1, keepdims=True)
    truth = (p.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1).clip(max=CLASSES - 1)
    frame = np.repeat(np.arange(frames), each)
    true_depth = rng.uniform(10, 30, count)
    return Pixels(
        scores=scores,
        group=truth,
        class_frame=frame,
        groups=np.eye(CLASSES, dtype=bool),
        depth=true_depth + spread * rng.normal(size=count),
        std=np.ones(count),
        true_depth=true_depth,
        depth_scores=scores,
        depth_frame=frame,
        features=CENTRES + offset + rng.normal(size=(frames, FEATURES)),
    )


def test_the_distance_is_that_of_mahalanobis():
    rng = np.random.default_rng(1)
    mean, scale = rng.normal(size=6), rng.uniform(0.5, 2, 6)
    images = rng.normal(size=(4, 6))
    expected = [mahalanobis(image, mean, np.diag(1 / scale**2)) / np.sqrt(6) for image in images]
    distance = Distance(tuple(mean), tuple(scale), 1.0, 2.0)
    assert distance.of(images) == pytest.approx(expected)
    expected_weights = np.clip(np.array(expected) - 1, 0, 1)
    assert distance.weight(images) == pytest.approx(expected_weights)


def test_nine_tenths_of_new_images_of_the_same_kind_are_near():
    known = pixels(0, 1, 1, frames=60, each=1).features
    found, weights = known_images(known)
    assert np.mean(weights == 0) == pytest.approx(0.9, abs=0.02)
    fresh = pixels(0, 1, 1, seed=7, frames=400, each=1).features
    assert np.mean(found.weight(fresh) == 0) == pytest.approx(0.9, abs=0.08)
    assert found.weight(fresh).max() < 1
    assert (found.weight(pixels(2.5, 1, 1, frames=9, each=1).features) == 1).all()
    assert found.far == pytest.approx(1.5 * found.near, rel=1e-5)


def test_known_and_distant_images_get_the_values_that_each_needs():
    known, away = pixels(0, 1.0, 0.5), pixels(3, 2.0, 3.0, seed=1)
    found = fit([known, away], distance=True)
    assert found.temperature == pytest.approx(1.0, rel=0.05)
    assert found.distance.temperature == pytest.approx(2.0, rel=0.05)
    assert found.std_scale + found.std_doubt / 2 == pytest.approx(0.5, rel=0.1)
    assert found.distance.std_factor == pytest.approx(6.0, rel=0.1)
    for part, other in ((known, pixels(0, 1.0, 0.5, seed=5)), (away, pixels(3, 2.0, 3.0, seed=6))):
        assert measure(part, found)["interval_90"] == pytest.approx(0.9, abs=0.02)
        measured = measure(other, found)
        assert measured["interval_90"] == pytest.approx(0.9, abs=0.03)
        assert measured["ece"] < 0.02
    one = fit([known, away])
    assert measure(known, one)["interval_90"] > 0.99  # one factor serves the worst
    assert measure(away, one)["ece"] > 2 * measure(away, found)["ece"]


def test_changed_frames_count_like_other_data_sets():
    known, away = pixels(0, 1.0, 0.5), pixels(3, 2.0, 3.0, seed=1)
    assert fit([known], [away], distance=True) == fit([known, away], distance=True)


def test_intervals_hold_the_share_of_data_sets_that_are_partly_near():
    known = pixels(0, 1.0, 0.5)
    offset = np.linspace(0, 2.0, 40)
    spread = 0.5 + np.maximum(offset - 0.5, 0)
    between = pixels(offset[:, None], 1.0, np.repeat(spread, 500), seed=2)
    weight = known_images(known.features)[0].weight(between.features)
    assert 0.1 < np.mean(weight == 0) < 0.8 and 0.1 < np.mean(weight == 1) < 0.8
    found = fit([known, between], distance=True)
    assert measure(between, found)["interval_90"] == pytest.approx(0.9, abs=0.01)
    assert measure(known, found)["interval_90"] == pytest.approx(0.9, abs=0.02)


def test_other_data_sets_count_equally():
    known, easy = pixels(0, 1.0, 0.5), pixels(3, 1.0, 1.0, seed=1)
    hard = pixels(3, 1.0, 3.0, seed=2, frames=10)
    found = fit([known, easy, hard], distance=True)
    held = [measure(part, found)["interval_90"] for part in (easy, hard)]
    assert np.mean(held) == pytest.approx(0.9, abs=0.005)
    assert held[0] > 0.98


def test_distant_images_are_never_called_more_certain():
    found = fit([pixels(0, 1.5, 2.0), pixels(3, 0.5, 0.5, seed=1)], distance=True)
    assert found.distance.temperature == found.temperature == pytest.approx(1.5, rel=0.05)
    assert found.distance.std_factor == 1
    assert found.std_scale + found.std_doubt / 2 == pytest.approx(2.0, rel=0.1)


def test_the_values_of_images_between_are_between():
    distance = Distance((0.0,), (1.0,), 1.0, 2.0, temperature=3.0, std_factor=2.0)
    found = Calibration(1.0, 0.5, 1.0, distance=distance)
    weight = found.weight(np.array([[0.5], [-1.5], [9.0]]))
    assert weight == pytest.approx([0, 0.5, 1])
    assert found.temperature_at(weight) == pytest.approx([1, 2, 3])
    assert found.factor(np.array(0.25), weight) == pytest.approx([0.75, 1.125, 1.5])


def test_what_cannot_be_fitted_is_refused():
    known = pixels(0, 1.0, 0.5)
    with pytest.raises(ValueError, match=r"No other data set and no shift has 3 frames .* far"):
        fit([known, pixels(0, 1.0, 0.5, seed=3)], distance=True)
    with pytest.raises(ValueError, match=r"at least 10 frames of the first data set, but .* 4:"):
        fit([pixels(0, 1.0, 0.5, frames=4), known], distance=True)


@pytest.mark.parametrize("task", ["classes", "depth"])
def test_one_task_leaves_the_values_of_the_other(task):
    known, away = pixels(0, 1.0, 0.5), pixels(3, 2.0, 3.0, seed=1)
    lost = ("scores", "group", "class_frame")
    if task == "classes":
        lost = ("depth", "std", "true_depth", "depth_scores", "depth_frame")
    parts = [
        replace(part, **{name: getattr(part, name)[:0] for name in lost}) for part in (known, away)
    ]
    if task == "depth":
        parts = [replace(part, depth_scores=np.ones((len(part.depth), 1))) for part in parts]
    found, both = fit(parts, distance=True), fit([known, away], distance=True)
    if task == "classes":
        assert found.distance.temperature == both.distance.temperature
        assert (found.std_scale, found.std_doubt, found.distance.std_factor) == (1, 0, 1)
    else:
        assert found.temperature == found.distance.temperature == 1
        assert found.std_doubt == 0  # no class says anything
        assert found.distance.std_factor == pytest.approx(6, rel=0.1)
