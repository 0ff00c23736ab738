"""Frames that were decoded once, against the data sets that decode them every time."""

import os
import warnings

import cv2
import numpy as np
import pytest

from emu_core.data.cityscapes import Cityscapes
from emu_core.data.datasets import Selection
from emu_core.data.decoded import Decoded
from emu_core.data.nyuv2 import NYUv2
from emu_core.data.sample import DataError
from emu_core.training.config import Data
from emu_core.training.loader import training_loader

NAMES = ["town_000000_000000", "town_000000_000001", "town_000001_000000"]
SIZE = (24, 48)


def write(root, write_frame, name, seed):
    rng = np.random.default_rng(seed)
    write_frame(
        root, "train", name,
        rng.integers(0, 256, (*SIZE, 3), np.uint8),
        rng.choice(np.array([0, 7, 11, 23], np.uint8), SIZE),
        rng.integers(0, 65536, SIZE).astype(np.uint16),
    )  # fmt: skip


@pytest.fixture
def root(tmp_path, write_frame):
    for seed, name in enumerate(NAMES):
        write(tmp_path / "drives", write_frame, name, seed)
    return tmp_path / "drives"


class Counted(Cityscapes):
    """Counts how often a frame is decoded."""

    decoded = 0

    def __getitem__(self, index):
        self.decoded += 1
        return super().__getitem__(index)


def assert_same(one, other):
    assert (one.name, one.focal, one.labelled) == (other.name, other.focal, other.labelled)
    for ours, theirs in zip(
        (one.image, one.labels, one.depth), (other.image, other.labels, other.depth), strict=True
    ):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_every_member_gets_what_was_decoded_once(tmp_path, root):
    data = Counted(root, "train")
    for _member in range(3):
        decoded = Decoded(data, tmp_path / "kept")
        assert decoded.names == NAMES
        for index, expected in enumerate(Cityscapes(root, "train")):
            assert_same(decoded[index], expected)
    assert data.decoded == len(NAMES)
    assert len(list((tmp_path / "kept").iterdir())) == len(NAMES)


def test_a_part_of_the_data_shares_the_files_of_the_whole(tmp_path, root):
    data = Counted(root, "train")
    Decoded(data, tmp_path / "kept")[2]
    part = Decoded(Selection(data, [2]), tmp_path / "kept")
    assert_same(part[0], Cityscapes(root, "train")[2])
    assert data.decoded == 1
    with pytest.raises(IndexError):
        part[1]


def test_frames_without_labels_are_kept_as_images_alone(tmp_path, root):
    data = Counted(root, "train", labelled=False)
    for _ in range(2):
        assert_same(
            Decoded(data, tmp_path / "kept")[0], Cityscapes(root, "train", labelled=False)[0]
        )
    assert data.decoded == 1
    (file,) = (tmp_path / "kept").iterdir()
    assert SIZE[0] * SIZE[1] * 3 < file.stat().st_size < SIZE[0] * SIZE[1] * 4


def test_what_is_decoded_otherwise_is_kept_apart(tmp_path, root):
    for limit in (80.0, 30.0):
        for labelled in (True, False):
            data = Cityscapes(root, "train", limit, labelled)
            assert_same(Decoded(data, tmp_path / "kept")[1], data[1])
            assert_same(Decoded(data, tmp_path / "kept")[1], data[1])


@pytest.mark.parametrize("folder", ["leftImg8bit", "gtFine", "disparity", "camera"])
def test_a_file_that_changed_is_decoded_anew(tmp_path, root, write_frame, folder):
    data = Cityscapes(root, "train")
    kept = data.frames[0].path(folder)
    Decoded(data, tmp_path / "kept")[0]
    other = tmp_path / "other"
    write(other, write_frame, NAMES[0], seed=9)
    replacement = Cityscapes(other, "train").frames[0].path(folder)
    content = replacement.read_bytes().replace(b"0.209313", b"0.309313")  # the camera's baseline
    before = kept.stat()
    kept.write_bytes(content)
    os.utime(kept, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert_same(Decoded(data, tmp_path / "kept")[0], data[0])


def test_a_missing_file_is_named_as_without_the_cache(tmp_path, root):
    decoded = Decoded(Cityscapes(root, "train"), tmp_path / "kept")
    decoded[0]
    lost = decoded.files(0)[1]
    lost.unlink()
    with pytest.raises(DataError, match=lost.name):
        decoded[0]


@pytest.mark.parametrize("damage", [lambda whole: whole[:-9], lambda _: b"", lambda _: b"x" * 99])
def test_a_damaged_file_is_decoded_and_written_again(tmp_path, root, damage):
    data = Counted(root, "train")
    decoded = Decoded(data, tmp_path / "kept")
    decoded[0]
    (file,) = (tmp_path / "kept").iterdir()
    file.write_bytes(damage(file.read_bytes()))
    for _ in range(2):
        assert_same(decoded[0], Cityscapes(root, "train")[0])
    assert data.decoded == 2


def test_a_folder_that_takes_nothing_costs_one_warning(tmp_path, root):
    (tmp_path / "kept").write_text("not a folder")
    decoded = Decoded(Cityscapes(root, "train"), tmp_path / "kept")
    with pytest.warns(UserWarning, match="kept takes no more decoded frames .* set data.cache"):
        first = decoded[0]
    assert_same(first, decoded.data[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(decoded[1], decoded.data[1])


def test_nyuv2_is_kept_in_its_official_form(tmp_path, write_nyuv2):
    rng = np.random.default_rng(0)
    frame = (
        rng.integers(0, 256, (480, 640, 3), np.uint8),
        rng.integers(0, 895, (480, 640)).astype(np.uint16),
        rng.uniform(0.5, 12, (480, 640)).astype(np.float32),
    )
    write_nyuv2(tmp_path / "nyu", {1: frame})
    data = NYUv2(tmp_path / "nyu", "train")
    assert [path.name for path in data.files(0)] == [
        "nyu_depth_v2_labeled.mat", "classMapping40.mat",
    ]  # fmt: skip
    for _ in range(2):
        assert_same(Decoded(data, tmp_path / "kept")[0], data[0])


def test_nyuv2_is_kept_in_its_unpacked_form(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (480, 640, 3), np.uint8)
    ids = rng.integers(0, 41, (480, 640)).astype(np.uint8)
    raw = rng.integers(0, 12_000, (480, 640)).astype(np.uint16)
    paths = []
    for folder, array in (("rgb", image), ("labels_40", ids), ("depth", raw)):
        paths.append(tmp_path / "nyu" / "train" / folder / "0003.png")
        paths[-1].parent.mkdir(parents=True)
        assert cv2.imwrite(str(paths[-1]), array)
    data = NYUv2(tmp_path / "nyu", "train")
    assert data.files(0) == paths
    for _ in range(2):
        assert_same(Decoded(data, tmp_path / "kept")[0], data[0])


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_with_a_cache(tmp_path, root, workers):
    plain = Data(root=root)
    cached = Data(root=root, cache=tmp_path / "kept")

    def batches(data):
        return list(training_loader(data.open_training(), data.augmentation, 2, 4, 7, workers))

    expected = batches(plain)
    for _member in range(2):
        for ours, theirs in zip(batches(cached), expected, strict=True):
            assert ours.keys() == theirs.keys()
            for name in ours:
                np.testing.assert_array_equal(ours[name], theirs[name])
    kept = {path.name.rpartition("-")[0] for path in (tmp_path / "kept").iterdir()}
    assert kept == set(NAMES)


def test_validation_and_fresh_frames_are_kept_as_well(tmp_path, root):
    data = Data(root=root, cache=tmp_path / "kept", limit=1)
    for samples in (data.open_training(), data.open_training(rest=True, labelled=False)):
        assert isinstance(samples, Decoded)
        assert len(samples) in (1, 2)
    assert isinstance(data.open("train", 2), Decoded)
    assert not isinstance(Data(root=root).open("train"), Decoded)
