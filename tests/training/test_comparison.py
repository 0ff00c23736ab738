"""Methods side by side, against figures worked out by hand."""

import numpy as np
import pytest
import torch

from emu_core.data.augment import Augmentation
from emu_core.data.sample import Sample
from emu_core.labels import CITYSCAPES
from emu_core.prediction import Prediction
from emu_core.training.comparison import compare, markdown, mean_scores


class Frames(list):
    classes, max_depth = CITYSCAPES, 80.0


def frame(label):
    """All of one class at 24 m, which f = 200 shows as 12 canonical metres."""
    return Sample(
        str(label),
        np.full((32, 64, 3), 20 * label, np.uint8),
        np.full((32, 64), label, np.uint8),
        np.full((32, 64), 24.0, np.float32),
        (200.0, 200.0),
    )


def answering(confidence, depth, deviation):
    """A method that knows the class by the brightness, with a confidence, and says one depth."""

    def method(images):
        n, _, *size = images.shape
        label = (images[:, 0].long() // 20)[:, None]
        probabilities = torch.full((n, 19, *size), (1 - confidence) / 18)
        probabilities.scatter_(1, label, confidence)
        mean = torch.full((n, 1, *size), depth)
        return Prediction(probabilities, mean, torch.full_like(mean, deviation**2))

    return method


def test_figures_are_in_metres_and_of_all_frames():
    methods = {"good": answering(0.9, 12.0, 1.0), "bad": answering(0.5, 15.0, 2.0)}
    frames = Frames([frame(0), frame(5)])
    scores = compare(methods, frames, Augmentation(32, 64, canonical_focal=100.0))
    good, bad = scores["good"], scores["bad"]
    assert good["miou"] == bad["miou"] == 1
    assert good["rmse"] == pytest.approx(0, abs=1e-4)
    assert bad["rmse"] == pytest.approx(6)  # 2 · 15 m against 24 m
    assert bad["depth.nll"] == pytest.approx(0.5 * (36 / 16 + np.log(16)), rel=1e-4)
    assert good["seg.nll"] == pytest.approx(-np.log(0.9), rel=1e-4)
    assert bad["ece"] == pytest.approx(0.5, abs=1e-4)
    assert good["ms_per_image"] > 0


def test_a_single_network_is_the_mean_of_the_members():
    assert mean_scores([{"miou": 0.2, "rmse": 4.0}, {"miou": 0.4, "rmse": 6.0}]) == {
        "miou": pytest.approx(0.3), "rmse": pytest.approx(5.0),
    }  # fmt: skip


def test_the_table_has_a_column_for_each_method_and_a_dash_for_what_is_not_there():
    table = markdown({"single": {"miou": 0.5, "rmse": 4.0}, "student": {"miou": 0.625}})
    lines = [line.split() for line in table.splitlines()]
    assert lines[0] == ["|", "|", "single", "|", "student", "|"]
    assert lines[2] == ["|", "mIoU", "↑", "|", "0.500", "|", "0.625", "|"]
    assert lines[3] == ["|", "RMSE,", "m", "↓", "|", "4.000", "|", "–", "|"]
    assert len({len(line) for line in table.splitlines()}) == 1
