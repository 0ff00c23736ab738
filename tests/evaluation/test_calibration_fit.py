"""A calibration is what references find, and what it says holds."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torchmetrics.classification import MulticlassCalibrationError

from emu_core.evaluation.fitting.calibration import class_nll, fit, fit_temperature, measure
from emu_core.evaluation.fitting.deviation import Deviations
from emu_core.evaluation.fitting.deviation import fit_deviation as fit_factor
from emu_core.evaluation.fitting.pixels import Pixels, normalized_entropy
from emu_core.runtime.calibration import Calibration

CLASSES = 5


def pixels(groups=None, std=1.0, error=None, seed=0, count=6000, temperature=1.0):
    """Scores with classes drawn from softmax(scores / temperature), and depths around 20 m."""
    rng = np.random.default_rng(seed)
    scores = 3 * rng.normal(size=(count, CLASSES))
    p = np.exp(scores / temperature)
    p /= p.sum(axis=1, keepdims=True)
    truth = (p.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1).clip(max=CLASSES - 1)
    groups = np.eye(CLASSES, dtype=bool) if groups is None else groups
    frame = np.arange(count) % 10
    true_depth = rng.uniform(10, 30, count)
    error = rng.normal(size=count) if error is None else error(scores) * rng.normal(size=count)
    return Pixels(
        scores=scores,
        group=groups.argmax(axis=1)[truth],
        class_frame=frame,
        groups=groups,
        depth=true_depth + error,
        std=np.full(count, std),
        true_depth=true_depth,
        depth_scores=scores,
        depth_frame=frame,
        features=np.zeros((10, 0)),
    )


def fit_deviation(parts, shifted=()):
    """Fit the factor where the temperature is 1."""
    some = ([Deviations.of(part, 1.0) for part in each] for each in (parts, shifted))
    return fit_factor(*some)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.2])
def test_the_temperature_is_that_of_a_library_and_of_the_data(temperature):
    part = pixels(temperature=temperature)
    found = fit_temperature([part])
    logits, truth = torch.from_numpy(part.scores), torch.from_numpy(part.group)
    loss = torch.nn.functional.cross_entropy
    expected = minimize_scalar(
        lambda log: float(loss(logits / np.exp(log), truth)), (-1.0, 1.0), tol=1e-9
    )
    assert found == pytest.approx(np.exp(expected.x), rel=1e-3)
    assert found == pytest.approx(temperature, rel=0.06)
    assert class_nll(part, found) == pytest.approx(expected.fun, abs=1e-6)


def test_groups_of_classes_are_judged_by_their_sums():
    groups = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [0, 1]], bool)
    part = pixels(groups, temperature=2.0)
    p = torch.from_numpy(part.scores / 2).softmax(dim=1)
    two = torch.stack([p[:, :2].sum(dim=1), p[:, 2:].sum(dim=1)], dim=1)
    truth = torch.from_numpy(part.group)
    nll = torch.nn.functional.nll_loss(two.log(), truth)
    measured = measure(part, Calibration(temperature=2.0))
    assert measured["nll"] == pytest.approx(float(nll), abs=1e-6)
    ece = MulticlassCalibrationError(2, n_bins=15)(two, truth)
    assert measured["ece"] == pytest.approx(float(ece), abs=1e-5)
    assert fit_temperature([part]) == pytest.approx(2.0, rel=0.1)


def test_all_data_sets_count_equally():
    many, few = pixels(temperature=0.5), pixels(temperature=2.0, seed=1, count=600)
    alone = fit_temperature([many]), fit_temperature([few])
    assert alone[0] < 0.6 and alone[1] > 1.6
    twice = fit_temperature([many, few]), fit_temperature([few, many])
    assert twice[0] == twice[1] and 1.2 * alone[0] < twice[0] < alone[1] / 1.2


def test_intervals_hold_at_least_the_share_of_each_data_set():
    wide, narrow = pixels(std=1.5, seed=4), pixels(std=0.5, seed=5, count=600)
    scale, doubt = fit_deviation([wide, narrow])
    found = Calibration(std_scale=scale, std_doubt=doubt)
    held = [measure(part, found)["interval_90"] for part in (wide, narrow)]
    assert held[1] == pytest.approx(0.9, abs=5e-3) and held[0] > 0.99
    assert fit_deviation([narrow])[0] == pytest.approx(scale, rel=0.2)


def test_the_factor_makes_intervals_hold_what_they_say():
    part = pixels(std=0.5)
    scale, doubt = fit_deviation([part])
    assert scale + doubt / 2 == pytest.approx(2.0, rel=0.06)
    assert measure(part)["interval_90"] < 0.65
    after = measure(part, Calibration(std_scale=scale, std_doubt=doubt))
    assert after["interval_90"] == pytest.approx(0.9, abs=1e-3)


def test_the_factor_grows_with_the_uncertainty_of_the_class_where_that_is_better():
    part = pixels(error=lambda scores: 1 + 4 * normalized_entropy(scores), count=20000)
    scale, doubt = fit_deviation([part])
    assert doubt / scale == 4
    assert scale == pytest.approx(1, rel=0.05)
    alike = pixels(count=20000)
    assert fit_deviation([alike])[1] <= 0.5 * fit_deviation([alike])[0]


def test_shifted_frames_choose_how_much_the_factor_grows_and_leave_the_coverage():
    part = pixels(count=20000)
    shifted = pixels(error=lambda scores: 1 + 8 * normalized_entropy(scores), count=20000, seed=3)
    scale, doubt = fit_deviation([part], [shifted])
    assert doubt / scale > max(2, 2 * np.divide(*fit_deviation([part])[::-1]))
    found = fit([part], [shifted])
    assert (found.std_scale, found.std_doubt) == pytest.approx((scale, doubt), rel=1e-2)
    assert found.temperature == fit([part]).temperature
    assert measure(part, found)["interval_90"] == pytest.approx(0.9, abs=1e-3)
    before = measure(shifted, fit([part]))["interval_90"]
    assert measure(shifted, found)["interval_90"] > before + 0.05


def test_one_task_leaves_the_values_of_the_other():
    part, none = pixels(temperature=2.0), np.zeros(0)
    whole = none.astype(int)
    without = dict.fromkeys(("depth", "std", "true_depth"), none) | {"depth_frame": whole}
    values = {name: getattr(part, name) for name in Pixels.__annotations__}
    classes = fit([Pixels(**{**values, **without, "depth_scores": np.zeros((0, CLASSES))})])
    assert classes.temperature > 1.5 and (classes.std_scale, classes.std_doubt) == (1, 0)
    labels = {"scores": np.zeros((0, 1))} | dict.fromkeys(("group", "class_frame"), whole)
    depth = {"depth_scores": np.zeros((len(part.depth), 1)), "groups": np.ones((1, 1), bool)}
    only_depth = fit([Pixels(**{**values, **labels, **depth})])
    assert only_depth.temperature == 1 and only_depth.std_doubt == 0
    assert only_depth.std_scale == pytest.approx(1, rel=0.05)


def test_the_entropy_is_that_of_a_library():
    scores = np.random.default_rng(2).normal(size=(50, CLASSES)) * 5
    p = torch.from_numpy(scores).softmax(dim=1)
    expected = torch.distributions.Categorical(p).entropy() / np.log(CLASSES)
    assert normalized_entropy(scores) == pytest.approx(expected.numpy(), abs=1e-9)
