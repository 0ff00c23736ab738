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
invalid; depth_factor float32 (N,) that turns canonical metres into metres; labelled bool (N,),
whether there is ground truth; inside bool (N,H,W), False where a small image was padded; key
int64 (N,2), the variant and the index, in training alone."""


class StepBatches(Sampler):
    """The batches of a whole training, one for each step from `start` on.

    Each is a list of (epoch, index). The order of an epoch is drawn from (seed, epoch), its last,
    smaller batch is dropped. Of a batch every process of a distributed training takes its share.

    Args:
        length: samples in an epoch.
        batch: samples of a step, of all processes together.
        steps: of the training.
        seed: of the order.

    Raises:
        DataError: at iteration, if there are more processes than samples in a batch.
    """

    def __init__(self, length: int, batch: int, steps: int, seed: int):
        self.length, self.batch, self.steps, self.seed, self.start = length, batch, steps, seed, 0

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        rank, processes = _process()
        if processes > self.batch:
            raise DataError(
                f"A batch of {self.batch} cannot be shared by {processes} processes: set "
                f"data.batch to {processes} or more, or train on fewer devices."
            )
        per_epoch = self.length // self.batch
        order, drawn = np.empty(0, np.int64), -1
        for step in range(self.start, self.steps):
            epoch, place = divmod(step, per_epoch)
            if epoch != drawn:
                order = np.random.default_rng([self.seed, epoch]).permutation(self.length)
                drawn = epoch
            batch = order[place * self.batch : (place + 1) * self.batch]
            yield [(epoch, int(index)) for index in batch[rank::processes]]


class TrainingLoader(DataLoader):
    """Batches of a whole training as one long epoch, that goes on where a checkpoint stopped.

    Lightning keeps `state_dict()` in its checkpoints.
    """

    batch_sampler: StepBatches
    _taken = 0

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        self._taken = self.batch_sampler.start
        for batch in super().__iter__():
            self._taken += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """How many batches were taken."""
        return {"taken": self._taken}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Begin behind the batches that were taken; call it before iterating."""
        self.batch_sampler.start = self._taken = state["taken"]


class TrainingSet(Dataset):
    """Samples as network inputs; random augmentation depends on (seed, variant, index) alone.

    Args:
        samples: what to load.
        augmentation: size and strengths.
        seed: of the augmentation.
        variants: how many augmentations of a sample there are, the same for every seed, so that
            every student finds them in the cache, and no seed's own; epochs take them in turn.
            None: a new one in every epoch.
    """

    def __init__(
        self, samples: Samples, augmentation: Augmentation, seed: int, variants: int | None = None
    ):
        self.samples, self.augmentation = samples, augmentation
        self.seed, self.variants = seed, variants

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        epoch, index = key
        variant = epoch % self.variants if self.variants else epoch
        if self.variants:
            # A child of the sequence: no [seed, …] gives its numbers, whatever the seed.
            words = np.random.SeedSequence([variant, index], spawn_key=(0,))
        else:
            words = np.random.SeedSequence([self.seed, epoch, index])
        batch = as_tensors(self.samples[index], self.augmentation, np.random.default_rng(words))
        return {**batch, "key": torch.tensor([variant, index])}


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
    image = np.ascontiguousarray(ready.image.transpose(2, 0, 1))  # many times torch's speed
    return {
        "image": torch.from_numpy(image),
        "labels": torch.from_numpy(ready.labels),
        "depth": torch.from_numpy(ready.depth)[None],
        "depth_factor": torch.tensor(ready.depth_factor, dtype=torch.float32),
        "labelled": torch.tensor(sample.labelled),
        "inside": torch.from_numpy(ready.inside),
    }


def training_loader(
    samples: Samples,
    augmentation: Augmentation,
    batch: int,
    steps: int,
    seed: int,
    workers: int = 0,
    variants: int | None = None,
) -> TrainingLoader:
    """Shuffled, augmented batches, one for each step; the same whatever the workers.

    Args:
        batch: samples in each, of all processes of a distributed training together.
        steps: how many batches.
        seed: of order and augmentation.
        workers: processes that load samples; 0 loads in this one.
        variants: see `TrainingSet`.

    Raises:
        DataError: there are too few samples for one batch.
    """
    if len(samples) < batch:
        raise DataError(f"{len(samples)} training images are too few for a batch of {batch}.")
    return TrainingLoader(
        TrainingSet(samples, augmentation, seed, variants),
        batch_sampler=StepBatches(len(samples), batch, steps, seed),
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,
        pin_memory=torch.cuda.is_available(),
    )


def validation_loader(samples: Samples, augmentation: Augmentation, batch: int) -> DataLoader:
    """Every sample once, in order."""
    return DataLoader(ValidationSet(samples, augmentation), batch_size=batch)


def _process() -> tuple[int, int]:
    """Rank of this process, and how many train together."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
