"""Scoring a method on a split: the metrics, and the memory they take."""

import gc
import tracemalloc
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from emu_core.data.label_space import LabelSpace
from emu_core.evaluation import score as module
from emu_core.evaluation.score import DriveMetrics, score
from emu_core.evaluation.splits import Split, View
from emu_core.labels import CITYSCAPES
from emu_core.methods.prediction import Prediction
from emu_core.metrics import StudyMetrics


def test_metrics_are_those_of_all_images_in_metres_of_their_lenses(
    tiny_data, write_drive, noise_method
):
    for drive in (3000, 3001):
        for frame in range(3):
            name = f"test{drive}_000000_{frame:06d}"
            write_drive(tiny_data.root, "test", name, seed=10 * drive + frame)
    split = Split(tiny_data, "test")
    results = score(noise_method, split, batch=4)
    expected = StudyMetrics(19, 80.0)
    for view in split:
        p = noise_method(torch.from_numpy(view.image).permute(2, 0, 1)[None])
        expected.update_classes(p.probabilities[0].numpy(), view.labels)
        mean, variance = p.depth_mean[0, 0].numpy(), p.depth_variance[0, 0].numpy()
        expected.update_depth(mean * 0.6, variance * 0.36, view.depth)
    assert results.names == ("test3000", "test3001")
    for name, value in expected.compute().items():
        assert results.pooled[name] == pytest.approx(value, rel=1e-5, nan_ok=True), name
        if not name.endswith("_bound"):
            assert results.compute()[name] == pytest.approx(value, rel=1e-5, nan_ok=True), name


def test_a_method_of_one_task_has_only_metrics_of_that_task(tiny_data, write_drive, noise_method):
    write_drive(tiny_data.root, "test", "test3000_000000_000000")

    def depth_alone(images):
        return SimpleNamespace(**{**vars(noise_method(images)), "probabilities": None})

    metrics = score(depth_alone, Split(tiny_data, "test")).pooled
    assert "rmse" in metrics
    assert "miou" not in metrics


def test_a_drive_that_comes_again_is_refused(noise_method):
    metrics = DriveMetrics(19, 80.0, 2)
    with pytest.raises(ValueError, match="drives one after the other, but a comes again"):
        for drive in "aba":
            view = random_view(drive, np.random.default_rng(0), (4, 8))
            image = torch.from_numpy(view.image).permute(2, 0, 1)[None]
            metrics.update(view, noise_method(image), 0)


def random_view(drive, rng, shape):
    image = rng.integers(0, 256, (*shape, 3), np.uint8)
    labels = rng.integers(0, 19, shape).astype(np.uint8)
    return View(drive, image, labels, rng.uniform(5, 60, shape).astype("float32"), 1.0, None)


class RandomSplit:
    """Random images, made one by one."""

    space, max_depth = LabelSpace.identity(CITYSCAPES), 80.0

    def __init__(self, drives, images):
        self.drives, self.images = [f"{d:04d}" for d in range(drives)], images

    def __len__(self):
        return len(self.drives) * self.images

    def __iter__(self):
        rng = np.random.default_rng(0)
        for drive in self.drives:
            for _ in range(self.images):
                yield random_view(drive, rng, (32, 64))


def noisy(images):
    """Predict another uncertainty for every pixel, so that no two share a bin of a ranking."""
    shape = (len(images), 19, *images.shape[-2:])
    p = torch.rand(shape).softmax(1)
    return Prediction(p, 60 * torch.rand_like(p[:, :1]), 9 * torch.rand_like(p[:, :1]))


def peak(split):
    torch.manual_seed(0)
    gc.collect()
    tracemalloc.start()
    score(noisy, split)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def test_peak_memory_depends_neither_on_the_number_of_images_nor_of_drives(monkeypatch):
    # Few bins, so that the rankings are full after the first images.
    monkeypatch.setattr(module, "DriveMetrics", partial(DriveMetrics, bins=1 << 12))
    few = peak(RandomSplit(drives=3, images=4))
    assert peak(RandomSplit(drives=3, images=40)) < 1.2 * few
    assert peak(RandomSplit(drives=15, images=4)) < 1.5 * few
