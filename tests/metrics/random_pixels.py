"""Random predictions with a truth drawn from them, counted by `StudyMetrics`."""

import numpy as np
import torch

from emu_core.labels import IGNORE
from emu_core.metrics import StudyMetrics, road_objects

CLASSES = 6


def classes(rng, shape=(24, 40)):
    """Class probabilities, and a truth drawn from them; 10 % have no class."""
    logits = 2 * rng.normal(size=(CLASSES, *shape)).astype(np.float32)
    p = torch.from_numpy(logits).softmax(0).numpy()
    truth = (p.cumsum(0) < rng.random(shape)).sum(0).clip(0, CLASSES - 1).astype(np.uint8)
    truth[rng.random(shape) < 0.1] = IGNORE
    return p, truth


def depths(rng, shape=(24, 40)):
    """Means, variances, and a truth drawn from them; 20 % are invalid."""
    mean = rng.uniform(4, 60, shape).astype(np.float32)
    std = (0.1 * mean * rng.lognormal(0, 0.5, shape)).astype(np.float32)
    truth = np.clip(mean + std * rng.normal(size=shape), 0.5, 80).astype(np.float32)
    truth[rng.random(shape) < 0.2] = np.nan
    return mean, std**2, truth


def objects(rng, unknown, shape=(24, 40)):
    labels = rng.integers(0, 3, shape).astype(np.uint8)
    mask = np.zeros(shape, np.uint8)
    mask[8:16, 10:20] = 255
    return road_objects(labels, mask, unknown, road=0)


def counted(seed=0, images=3, **options):
    rng, study = np.random.default_rng(seed), StudyMetrics(CLASSES, 80.0, **options)
    for i in range(images):
        where = objects(rng, unknown=i % 2 == 0)
        study.update_classes(*classes(rng), where)
        study.update_depth(*depths(rng), where)
    return study
