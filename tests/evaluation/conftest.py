"""Drives with known depth, and methods that predict without a network."""

import numpy as np
import pytest
import torch

from emu_core.data.augment import Augmentation
from emu_core.evaluation.candidate import Scored
from emu_core.methods.prediction import Prediction
from emu_core.metrics import DriveResults, StudyMetrics, drive_weights
from emu_core.training.config import Data


@pytest.fixture
def tiny_data(tmp_path):
    """Drives at 32 × 64 pixels, for a canonical focal length of 100 pixels."""
    return Data(
        root=tmp_path / "data",
        augmentation=Augmentation(height=32, width=64, canonical_focal=100.0, depth_limit=20.0),
    )


@pytest.fixture
def noise_method():
    """A method that computes classes and depth from the colours of the image."""

    def method(images):
        x = images.float() / 255
        logits = torch.cat([x * (k + 1) for k in range(6)] + [x[:, :1]], 1)  # (N,19,H,W)
        mean = 20 + 10 * x[:, :1]
        return Prediction(logits.softmax(1), mean, 1 + 4 * x[:, 1:2])

    return method


@pytest.fixture
def scored():
    """Function that makes scores of random pixels on three drives; `skill` makes them better."""

    def make(seed, skill=1.0, classes=5, resamples=40):
        rng = np.random.default_rng(7)  # the same drives for all
        own = np.random.default_rng(seed)
        drives = {}
        for name in ("a", "b", "c"):
            study = StudyMetrics(classes, 80.0)
            for _ in range(2):
                truth = rng.integers(0, classes, (12, 20)).astype(np.uint8)
                logits = own.normal(size=(classes, 12, 20))
                logits += skill * np.eye(classes)[truth].transpose(2, 0, 1)
                p = np.exp(logits) / np.exp(logits).sum(0)
                y = rng.uniform(5, 60, (12, 20)).astype(np.float32)
                std = (own.uniform(0.1, 0.5, y.shape) * y / skill).astype(np.float32)
                mean = np.abs(y + std * own.normal(size=y.shape)).astype(np.float32)
                study.update_classes(p.astype(np.float32), truth)
                study.update_depth(mean, std**2, y)
            drives[name] = study
        results = DriveResults.of(drives)
        return Scored(results, results.bootstrap(drive_weights(3, resamples, 0)))

    return make
