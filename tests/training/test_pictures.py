"""What a training looks like from outside."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import TQDMProgressBar

from emu_core.labels import CITYSCAPES, IGNORE
from emu_core.prediction import Prediction
from emu_core.training import pictures
from emu_core.training.pictures import ProgressBar, to_perception

LABELS = torch.tensor([[0, 13, CITYSCAPES.sky, 2]])


def prediction():
    """One row of four pixels: certain classes, depths 8, 0 (a ReLU that is off), 40 and 20 m."""
    probabilities = torch.nn.functional.one_hot(LABELS[None], 19).permute(0, 3, 1, 2).float()
    mean = torch.tensor([8.0, 0.0, 40.0, 20.0]).view(1, 1, 1, 4)
    return Prediction(probabilities, mean, torch.full_like(mean, 4.0))


def test_a_picture_shows_what_a_robot_would_receive():
    seen = to_perception(prediction(), 1.5, CITYSCAPES)
    np.testing.assert_array_equal(seen.labels, LABELS.numpy())
    np.testing.assert_allclose(seen.label_uncertainty, 0, atol=1e-6)
    np.testing.assert_array_equal(seen.depth, [[12, np.nan, np.inf, 30]])
    np.testing.assert_array_equal(seen.depth_std, [[3, np.nan, np.inf, 3]])


def test_what_a_network_does_not_predict_is_unlabelled_or_without_estimate():
    both = prediction()
    classes = to_perception(Prediction(both.probabilities), 1.0, CITYSCAPES)
    assert np.isnan(classes.depth).all() and np.isnan(classes.depth_std).all()
    depth = to_perception(Prediction(None, both.depth_mean, both.depth_variance), 1.0, CITYSCAPES)
    assert (depth.labels == IGNORE).all()
    np.testing.assert_array_equal(depth.depth, [[8, np.nan, 40, 20]])


def test_images_per_second_leave_validation_out(monkeypatch):
    clock = iter([10.0, 12.0, 14.0, 114.0, 116.0])
    monkeypatch.setattr(pictures.time, "monotonic", lambda: next(clock))
    for name in ("on_train_batch_end", "on_validation_end"):
        monkeypatch.setattr(TQDMProgressBar, name, lambda *_: None)
    monkeypatch.setattr(TQDMProgressBar, "get_metrics", lambda *_: {"v_num": 3, "loss": 1.0})
    bar, trainer = ProgressBar(batch=8), SimpleNamespace()
    bar.on_train_batch_end(trainer)
    assert bar.get_metrics(trainer, None) == {"loss": 1.0}
    for _ in range(2):
        bar.on_train_batch_end(trainer)
    bar.on_validation_end(trainer)  # of a hundred seconds
    for _ in range(2):
        bar.on_train_batch_end(trainer)
    assert bar.get_metrics(trainer, None) == {"loss": 1.0, "images/s": "4.0"}
    with pytest.raises(StopIteration):
        next(clock)
