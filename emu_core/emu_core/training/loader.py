"""Batches for training: new augmentations in every epoch, the same for any number of workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from emu_core.data.appearance.partners import Partners
from emu_core.data.augment import Augmentation, Combine, prepare
from emu_core.data.mixture import Mixture
from emu_core.data.sample import DataError, Sample, Samples

Batch = dict[str, Tensor]
"""image uint8 (N,3,H,W); labels uint8 (N,H,W); depth float32 (N,1,H,W) canonical metres, NaN where
invalid; depth_factor float32 (N,), metres per canonical metre; labelled and measured bool (N,),
whether there is ground truth of classes and depth; part int64 (N,), data set of a mixture; inside
bool (N,H,W), False where a small image was padded; in training only: key int64 (N,2), variant and
index."""


class StepBatches(Sampler):
    """The batches of a complete training, one for each step from `start` on.

    Each is a list of (epoch, index). The order of `length` samples in an epoch is drawn from
    (seed, epoch); the last, smaller batch is dropped. Each process of a distributed training takes
    its share of a batch.

    Raises:
        DataError: At iteration, if there are more processes than samples in a batch.
    """

    def __init__(self, length: int, batch: int, steps: int, seed: int):
        self.length, self.batch, self.steps, self.seed, self.start = length, batch, steps, seed, 0

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        rank, processes = _rank_and_processes()
        if processes > self.batch:
            raise DataError(
                f"A batch of {self.batch} cannot be shared by {processes} processes: set "
                f"data.batch to {processes} or more, or train on fewer devices."
            )
        return (batch[rank::processes] for batch in self.batches())

    def batches(self) -> Iterator[list[tuple[int, int]]]:
        """Yield the complete batches from `start` on."""
        per_epoch = self.length // self.batch
        order, drawn = np.empty(0, np.int64), -1
        for step in range(self.start, self.steps):
            epoch, place = divmod(step, per_epoch)
            if epoch != drawn:
                order = np.random.default_rng([self.seed, epoch]).permutation(self.length)
                drawn = epoch
            batch = order[place * self.batch : (place + 1) * self.batch]
            yield [(epoch, int(index)) for index in batch]


class MixedStepBatches(StepBatches):
    """The batches of a training on several data sets, each with its share.

    The number of samples of a data set in a batch is its share of the batch, rounded up or down at
    random so that its mean is exact (systematic sampling). Each data set has its own epochs.

    Args:
        lengths: Samples of each data set; their indices follow each other.
        shares: Relative share of each data set, above 0.
        batch, steps, seed: Arguments of `StepBatches`.
    """

    def __init__(
        self, lengths: Sequence[int], shares: Sequence[float], batch: int, steps: int, seed: int
    ):
        super().__init__(sum(lengths), batch, steps, seed)
        self.lengths, self.shares = list(lengths), np.asarray(shares, float)

    def batches(self) -> Iterator[list[tuple[int, int]]]:
        ends = np.cumsum(self.shares) / self.shares.sum()
        offsets = np.random.default_rng([self.seed, len(ends)]).random(self.steps)
        points = (
            offsets[:, None] + np.arange(self.batch)
        ) / self.batch  # (steps, batch), in [0, 1)
        sets = np.minimum(np.searchsorted(ends, points, side="right"), len(ends) - 1)
        counts = (sets[..., None] == np.arange(len(ends))).sum(axis=1)  # (steps, sets)
        taken = np.cumsum(counts, axis=0) - counts
        starts = np.cumsum([0, *self.lengths[:-1]])
        for step in range(self.start, self.steps):
            chosen = []
            for part, (first, count) in enumerate(zip(taken[step], counts[step], strict=True)):
                for place in range(first, first + count):
                    epoch, rest = divmod(place, self.lengths[part])
                    index = order(self.seed, part, epoch, self.lengths[part])[rest]
                    chosen.append((int(epoch), int(starts[part] + index)))
            yield chosen


@lru_cache(maxsize=64)
def order(seed: int, part: int, epoch: int, length: int) -> np.ndarray:
    """Return the order of the samples of a data set in one of its epochs, int64 (length,)."""
    return np.random.default_rng([seed, part, epoch]).permutation(length)


class TrainingLoader(DataLoader):
    """The batches of a complete training as one epoch; Lightning's checkpoints store its state."""

    batch_sampler: StepBatches
    _taken = 0

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        self._taken = self.batch_sampler.start
        for batch in super().__iter__():
            self._taken += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"taken": self._taken}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Skip the batches that were taken; call it before iterating."""
        self.batch_sampler.start = self._taken = state["taken"]


class TrainingSet(Dataset):
    """Samples as network input; random augmentation depends only on (seed, variant, index).

    Args:
        samples: Samples to load.
        augmentation: Size, and strengths of the augmentation.
        seed: Seed of the augmentation.
        variants: Number of augmentations of a sample, which epochs use in turn. They are the same
            for every seed, so that all students share the cache, and differ from the augmentations
            without variants. None: a new augmentation in every epoch.
    """

    def __init__(
        self, samples: Samples, augmentation: Augmentation, seed: int, variants: int | None = None
    ):
        self.samples, self.augmentation = samples, augmentation
        self.seed, self.variants = seed, variants
        look = augmentation.appearance
        self.partners = None
        if isinstance(samples, Mixture) and (look.fourier or look.class_mix):
            self.partners = Partners(samples, augmentation)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        epoch, index = key
        variant = epoch % self.variants if self.variants else epoch
        words = np.random.SeedSequence([self.seed, epoch, index])
        if self.variants:  # a spawned sequence: no [seed, epoch, index] gives the same numbers
            words = np.random.SeedSequence([variant, index], spawn_key=(0,))
        combine = None if self.partners is None else partial(self.partners.combine, index)
        rng = np.random.default_rng(words)
        batch = as_tensors(self.samples[index], self.augmentation, rng, combine)
        return {**batch, "key": torch.tensor([variant, index])}


def as_tensors(
    sample: Sample,
    augmentation: Augmentation,
    rng: np.random.Generator | None,
    combine: Combine | None = None,
) -> Batch:
    """Prepare one sample as a `Batch` without the axis N; arguments as `prepare`."""
    ready = prepare(sample, augmentation, rng, combine)
    image = np.ascontiguousarray(ready.image.transpose(2, 0, 1))  # much faster than in torch
    return {
        "image": torch.from_numpy(image),
        "labels": torch.from_numpy(ready.labels),
        "depth": torch.from_numpy(ready.depth)[None],
        "depth_factor": torch.tensor(ready.depth_factor, dtype=torch.float32),
        "labelled": torch.tensor(sample.labelled),
        "measured": torch.tensor(sample.measured),
        "part": torch.tensor(sample.part),
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
    """Load shuffled, augmented batches, one for each step.

    Args:
        samples, augmentation, variants: As in `TrainingSet`.
        batch: Samples in a batch, over all processes of a distributed training.
        steps: Number of batches.
        seed: Seed of order and augmentation.
        workers: Processes that load samples; 0 loads in this process.

    Raises:
        DataError: There are fewer samples than in one batch.
    """
    if isinstance(samples, Mixture) and samples.shares is not None:
        lengths = [len(part) for part in samples.parts]
        batches: StepBatches = MixedStepBatches(lengths, samples.shares, batch, steps, seed)
    elif len(samples) < batch:
        raise DataError(f"{len(samples)} training images are too few for a batch of {batch}.")
    else:
        batches = StepBatches(len(samples), batch, steps, seed)
    return TrainingLoader(
        TrainingSet(samples, augmentation, seed, variants),
        batch_sampler=batches,
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,
        pin_memory=torch.cuda.is_available(),
    )


def validation_loader(samples: Samples, augmentation: Augmentation, batch: int) -> DataLoader:
    """Load every sample once, in order, only resized."""

    def collate(frames: list[Sample]) -> Batch:
        return default_collate([as_tensors(frame, augmentation, None) for frame in frames])

    return DataLoader(samples, batch, collate_fn=collate)  # type: ignore[arg-type]


def _rank_and_processes() -> tuple[int, int]:
    """Rank of this process, and number of processes that train together."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
