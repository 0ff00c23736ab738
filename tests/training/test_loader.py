"""Batches depend only on the seed, not on the workers, and are new in every epoch."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import default_collate

from emu_core.data.augment import Augmentation, prepare
from emu_core.data.nyuv2 import NYUv2
from emu_core.data.sample import DataError, Sample, partial_sample
from emu_core.training import loader as loading
from emu_core.training.loader import (
    StepBatches,
    TrainingSet,
    as_tensors,
    training_loader,
    validation_loader,
)

AUGMENTATION = Augmentation(
    24, 48, canonical_focal=80.0, scale=(0.8, 1.6), flip=True, jitter=(0.2, 0.2, 0.2, 0.05)
)


def sample(index):
    rng = np.random.default_rng(index)
    depth = rng.uniform(2, 60, (32, 64)).astype(np.float32)
    depth[:4] = np.nan
    image = rng.integers(0, 256, (32, 64, 3), np.uint8)
    labels = np.full((32, 64), index, np.uint8)
    return Sample(f"frame{index}", image, labels, depth, (100.0 + index, 100.0 + index))


SAMPLES = [sample(index) for index in range(7)]


def batches(batch, steps, seed=0, workers=0):
    return training_loader(SAMPLES, AUGMENTATION, batch, steps, seed, workers)


def assert_same(first, second):
    torch.testing.assert_close(list(first), list(second), rtol=0, atol=0, equal_nan=True)


def test_batches_have_the_documented_types_and_shapes():
    batch = next(iter(batches(3, 1)))
    assert {name: (value.dtype, tuple(value.shape)) for name, value in batch.items()} == {
        "image": (torch.uint8, (3, 3, 24, 48)),
        "labels": (torch.uint8, (3, 24, 48)),
        "depth": (torch.float32, (3, 1, 24, 48)),
        "depth_factor": (torch.float32, (3,)),
        "labelled": (torch.bool, (3,)),
        "measured": (torch.bool, (3,)),
        "part": (torch.int64, (3,)),
        "inside": (torch.bool, (3, 24, 48)),
        "key": (torch.int64, (3, 2)),
    }


def test_tensors_hold_the_prepared_sample():
    tensors = as_tensors(SAMPLES[2], AUGMENTATION, np.random.default_rng(5))
    ready = prepare(SAMPLES[2], AUGMENTATION, np.random.default_rng(5))
    np.testing.assert_array_equal(tensors["image"].permute(1, 2, 0), ready.image)
    np.testing.assert_array_equal(tensors["labels"], ready.labels)
    np.testing.assert_array_equal(tensors["depth"][0], ready.depth)
    np.testing.assert_array_equal(tensors["inside"], ready.inside)
    assert tensors["depth_factor"].item() == pytest.approx(ready.depth_factor)


def test_a_sample_depends_only_on_seed_epoch_and_index():
    data = TrainingSet(SAMPLES, AUGMENTATION, seed=4)
    np.random.seed(0)
    first = data[2, 5]
    data[0, 0], data[2, 4]
    np.random.seed(1)
    assert_same([first], [data[2, 5]])
    for other in (data[3, 5], data[2, 4], TrainingSet(SAMPLES, AUGMENTATION, seed=5)[2, 5]):
        assert not torch.equal(first["image"], other["image"])


def test_variants_are_used_in_turn_and_are_the_same_for_every_seed():
    data = TrainingSet(SAMPLES, AUGMENTATION, seed=4, variants=2)
    assert_same([data[0, 5], data[1, 5]], [data[2, 5], data[3, 5]])
    assert not torch.equal(data[0, 5]["image"], data[1, 5]["image"])
    assert data[3, 5]["key"].tolist() == [1, 5]
    assert_same([data[1, 2]], [TrainingSet(SAMPLES, AUGMENTATION, seed=8, variants=2)[1, 2]])


def test_variants_differ_from_the_augmentations_of_every_member():
    """Otherwise a student would see, except for its jitter, what a member has memorised."""
    plain = replace(AUGMENTATION, jitter=(0, 0, 0, 0))
    data = TrainingSet(SAMPLES, plain, seed=0, variants=3)
    ours = [data[variant, 5]["image"] for variant in range(3)]
    for seed in (0, 1, 2, 5, 100, 2**32 - 1):
        member = TrainingSet(SAMPLES, plain, seed)
        theirs = [member[epoch, 5]["image"] for epoch in range(6)]
        assert not any(torch.equal(a, b) for a in ours for b in theirs)


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 40), data=st.data(), seed=st.integers(0, 2**32))
def test_every_epoch_is_a_permutation_without_its_last_smaller_batch(length, data, seed):
    batch = data.draw(st.integers(1, length))
    per_epoch = length // batch
    drawn = list(StepBatches(length, batch, 3 * per_epoch, seed))
    assert len(drawn) == 3 * per_epoch
    for epoch in range(3):
        pairs = [pair for b in drawn[epoch * per_epoch :][:per_epoch] for pair in b]
        assert {number for number, _ in pairs} == {epoch}
        indices = [index for _, index in pairs]
        assert len(set(indices)) == len(indices) == per_epoch * batch
        assert set(indices) <= set(range(length))


def test_seeds_and_epochs_differ_in_their_order_and_there_is_a_batch_for_each_step():
    assert len({str(list(StepBatches(20, 5, 4, seed))) for seed in range(5)}) == 5
    first, second = StepBatches(20, 20, 2, seed=0)  # two epochs
    assert [index for _, index in first] != [index for _, index in second]
    loader = batches(3, 5)  # ends within an epoch
    assert len(loader) == len(list(loader)) == 5
    with pytest.raises(DataError, match="7 training images are too few for a batch of 8"):
        batches(8, 1)


def test_processes_share_each_batch_of_the_same_order(monkeypatch):
    joint = list(StepBatches(11, 5, 6, seed=3))
    shares = []
    for rank in range(2):
        monkeypatch.setattr(loading, "_rank_and_processes", lambda rank=rank: (rank, 2))
        shares.append(list(StepBatches(11, 5, 6, seed=3)))
    assert [len(share) for share in shares[0]] == [3] * 6
    for complete, first, second in zip(joint, *shares, strict=True):
        assert sorted(first + second) == sorted(complete)
    monkeypatch.setattr(loading, "_rank_and_processes", lambda: (0, 4))
    with pytest.raises(DataError, match="A batch of 3 cannot be shared by 4 processes"):
        next(iter(StepBatches(11, 3, 6, seed=3)))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_resumes_after_the_batches_that_were_taken(workers):
    uninterrupted = batches(2, 8, seed=5)
    stopped = batches(2, 8, 5, workers)
    assert stopped.state_dict() == {"taken": 0}
    first = list(islice(stopped, 5))  # workers have loaded more than was taken
    resumed = batches(2, 8, 5, workers)
    resumed.load_state_dict(stopped.state_dict())
    assert resumed.state_dict() == {"taken": 5}
    assert_same([*first, *resumed], uninterrupted)
    assert resumed.state_dict() == {"taken": 8}


def test_nyuv2s_official_file_is_read_in_worker_processes(tmp_path, write_nyuv2):
    size, image = (480, 640), np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    content = {
        number: (image, np.full(size, number), np.full(size, number / 100))
        for number in (2, 100, 328, 500, 654)
    }
    write_nyuv2(tmp_path, content)
    data = NYUv2(tmp_path, "test")
    samples = data.select([data.names.index(f"{number:04d}") for number in content])
    samples[0]  # read by the parent before it forks
    augmentation = Augmentation(60, 80, depth_limit=100, scale=(0.8, 1.2), jitter=(0.2,) * 4)
    alone, helped = (list(training_loader(samples, augmentation, 1, 5, 3, w)) for w in (0, 2))
    assert_same(alone, helped)
    found = sorted((b["depth"] * b["depth_factor"]).nanmean().item() for b in helped)
    np.testing.assert_allclose(found, [number / 100 for number in content], rtol=1e-5)


def test_validation_has_every_sample_once_in_order_without_augmentation():
    without_labels = partial_sample("none", SAMPLES[0].image, SAMPLES[0].focal)
    samples = [*SAMPLES[:-1], without_labels]
    loaded = list(validation_loader(samples, AUGMENTATION, 3))
    assert [len(batch["image"]) for batch in loaded] == [3, 3, 1]
    expected = [as_tensors(s, AUGMENTATION, None) for s in samples]
    assert_same(loaded, [default_collate(expected[i : i + 3]) for i in (0, 3, 6)])
    assert [batch["labelled"].all().item() for batch in loaded] == [True, True, False]
