"""Frames that were decoded once, against the data sets that decode them every time."""

import os
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from emu_core.data.cityscapes import Cityscapes
from emu_core.data.decoded import cached
from emu_core.labels import CITYSCAPES
from emu_core.training.config import Data
from emu_core.training.loader import training_loader

NAMES = ["town_000000_000000", "town_000000_000001", "town_000001_000000"]
SIZE = (24, 48)


@pytest.fixture
def write(write_noise):
    """Function that writes frames of noise with any depth, through a real camera."""
    return lambda root, names: write_noise(
        root, [("train", name) for name in names], SIZE, focal=None, codes=(0, 65536)
    )


@pytest.fixture
def root(tmp_path, write):
    write(tmp_path / "drives", NAMES)
    return tmp_path / "drives"


class Counted(Cityscapes):
    """Counts how often a frame is decoded."""

    decoded = 0

    def read(self, name):
        Counted.decoded += 1
        return super().read(name)


@pytest.fixture
def counted(root, monkeypatch):
    monkeypatch.setattr(Counted, "decoded", 0)
    return Counted(root, "train")


def assert_same(one, other):
    assert (one.name, one.focal, one.labelled, one.measured) == (
        *(other.name, other.focal, other.labelled, other.measured),
    )
    for name in ("image", "labels", "depth"):
        ours, theirs = getattr(one, name), getattr(other, name)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_a_frame_is_decoded_once_for_all_networks_and_parts(tmp_path, root, counted):
    for _network in range(3):
        decoded = cached(counted, tmp_path / "cache")
        assert decoded.names == NAMES
        for index, expected in enumerate(Cityscapes(root, "train")):
            assert_same(decoded[index], expected)
    part = cached(counted.select([2]), tmp_path / "cache")
    assert_same(part[0], Cityscapes(root, "train")[2])
    assert counted.decoded == len(NAMES)
    assert len(list((tmp_path / "cache").iterdir())) == len(NAMES)


def test_frames_without_labels_are_kept_as_images(tmp_path, root, counted):
    counted.labelled = False
    for _ in range(2):
        expected = Cityscapes(root, "train", labelled=False)[0]
        assert_same(cached(counted, tmp_path / "cache")[0], expected)
    assert counted.decoded == 1
    (file,) = (tmp_path / "cache").iterdir()
    assert SIZE[0] * SIZE[1] * 3 < file.stat().st_size < SIZE[0] * SIZE[1] * 4


class OtherClasses(Cityscapes):
    classes = replace(CITYSCAPES, names=("other", *CITYSCAPES.names[1:]), dataset_ids=(11,) * 19)


@pytest.mark.parametrize("kind", [Cityscapes, OtherClasses])
@pytest.mark.parametrize("limit", [80.0, 30.0])
@pytest.mark.parametrize("labelled", [True, False])
def test_frames_that_are_decoded_differently_have_files_of_their_own(
    tmp_path, root, kind, limit, labelled
):
    cached(Cityscapes(root, "train"), tmp_path / "cache")[1]
    data = kind(root, "train", limit, labelled)
    for _ in range(2):
        assert_same(cached(data, tmp_path / "cache")[1], data[1])


@pytest.mark.parametrize("folder", ["leftImg8bit", "gtFine", "disparity", "camera"])
def test_a_changed_file_is_decoded_again(tmp_path, root, write, folder):
    data = Cityscapes(root, "train")
    cached(data, tmp_path / "cache")[0]
    other = tmp_path / "other"
    write(other, reversed(NAMES))
    (path,) = (path for path in data.files(NAMES[0]) if folder in path.parts)
    replacement = other / path.relative_to(root)
    content = replacement.read_bytes().replace(b"0.209313", b"0.309313")  # the camera's baseline
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert_same(cached(data, tmp_path / "cache")[0], data[0])


@pytest.mark.parametrize("damage", [lambda code: code[:-9], lambda _: b"", lambda _: b"x" * 99])
def test_a_damaged_file_is_written_again(tmp_path, root, counted, damage):
    decoded = cached(counted, tmp_path / "cache")
    decoded[0]
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(damage(file.read_bytes()))
    for _ in range(2):
        assert_same(decoded[0], Cityscapes(root, "train")[0])
    assert counted.decoded == 2


def test_a_folder_that_cannot_be_written_costs_one_warning(tmp_path, root):
    (tmp_path / "cache").write_text("not a folder")
    data = Cityscapes(root, "train")
    decoded = cached(data, tmp_path / "cache")
    with pytest.warns(UserWarning, match="cache: cannot write decoded frames .* set data.cache"):
        first = decoded[0]
    assert_same(first, data[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(decoded[1], data[1])


def test_frames_without_files_are_not_cached(tmp_path, counted, monkeypatch):
    monkeypatch.setattr(Counted, "files", lambda *_: [])
    data = cached(counted, tmp_path / "cache")
    data[0], data[0]
    assert counted.decoded == 2
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_with_a_cache(tmp_path, root, workers):
    plain = Data(root=root)
    with_cache = Data(root=root, cache=tmp_path / "cache")

    def batches(data):
        return list(training_loader(data.open_training(), data.augmentation, 2, 4, 7, workers))

    expected = batches(plain)
    for _network in range(2):
        torch.testing.assert_close(batches(with_cache), expected, rtol=0, atol=0, equal_nan=True)
    kept = {path.name.rpartition("-")[0] for path in (tmp_path / "cache").iterdir()}
    assert kept == set(NAMES)


def test_every_split_of_a_configuration_uses_the_cache(tmp_path, root):
    data = Data(root=root, cache=tmp_path / "cache", limit=1)
    for mixture in (data.open_training(), data.open_training(rest=True, labelled=False)):
        (samples,) = mixture.parts
        assert samples.cache is not None
        assert len(samples) in (1, 2)
    assert data.open("train", 2).cache is not None
    assert Data(root=root).open("train").cache is None
