"""Batches for training: augmented anew every epoch, the same for a seed whatever the workers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from emu_core.data.augment import Augmentation, prepare
from emu_core.data.sample import DataError, Sample, Samples

Batch = dict[str, Tensor]
"""image uint8 (N,3,H,W); labels uint8 (N,H,W); depth float32 (N,1,H,W) canonical metres, NaN where
invalid; depth_factor float32 (N,) that turns canonical metres into metres."""


class EpochSampler(Sampler):
    """Yields (epoch, index) in an order drawn from (seed, epoch)."""

    def __init__(self, length: int, seed: int):
        self.length, self.seed, self.epoch = length, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length)
        return iter([(self.epoch, int(index)) for index in order])


class TrainingSet(Dataset):
    """Samples as network inputs; random augmentation depends on (seed, epoch, index) alone."""

    def __init__(self, samples: Samples, augmentation: Augmentation, seed: int):
        self.samples, self.augmentation, self.seed = samples, augmentation, seed

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        epoch, index = key
        rng = np.random.default_rng([self.seed, epoch, index])
        return as_tensors(self.samples[index], self.augmentation, rng)


class ValidationSet(Dataset):
    """Samples as network inputs, resized and nothing else."""

    def __init__(self, samples: Samples, augmentation: Augmentation):
        self.samples, self.augmentation = samples, augmentation

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Batch:
        return as_tensors(self.samples[index], self.augmentation, None)


def as_tensors(
    sample: Sample, augmentation: Augmentation, rng: np.random.Generator | None
) -> Batch:
    """One prepared sample without its batch axis; see `Batch`."""
    ready = prepare(sample, augmentation, rng)
    return {
        "image": torch.from_numpy(ready.image).permute(2, 0, 1).contiguous(),
        "labels": torch.from_numpy(ready.labels),
        "depth": torch.from_numpy(ready.depth)[None],
        "depth_factor": torch.tensor(ready.depth_factor, dtype=torch.float32),
    }


def training_loader(
    samples: Samples, augmentation: Augmentation, batch: int, seed: int, workers: int
) -> DataLoader:
    """Shuffled, augmented batches; the last, smaller one is dropped.

    Args:
        batch: samples in each.
        seed: of order and augmentation.
        workers: processes that load samples; 0 loads in this one.

    Raises:
        DataError: there are too few samples for one batch.
    """
    if len(samples) < batch:
        raise DataError(f"{len(samples)} training images are too few for a batch of {batch}.")
    return DataLoader(
        TrainingSet(samples, augmentation, seed),
        batch_size=batch,
        sampler=EpochSampler(len(samples), seed),
        num_workers=workers,
        drop_last=True,
        persistent_workers=False,
        multiprocessing_context="fork" if workers else None,
    )


def validation_loader(samples: Samples, augmentation: Augmentation, batch: int) -> DataLoader:
    """Every sample once, in order."""
    return DataLoader(ValidationSet(samples, augmentation), batch_size=batch)
