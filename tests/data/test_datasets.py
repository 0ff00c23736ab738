"""The registry of data sets, and parts of them: evenly spread and never overlapping."""

import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu_core.data.cityscapes import Cityscapes
from emu_core.data.datasets import DATASETS, SplitNames, choose, evenly, open_dataset
from emu_core.data.decoded import cached
from emu_core.data.drives import Drives
from emu_core.data.nyuv2 import NYUv2
from emu_core.data.sample import DataError
from emu_core.labels import CITYSCAPES, IGNORE, NYUV2
from emu_core.registry import RegistryError

SEQUENCES = [f"train{seed}_000000" for seed in range(1000, 1020) for _ in range(14)]


@pytest.fixture
def drives(tmp_path, write_frame):
    for split, seeds in (("train", (10, 11, 12)), ("val", (20,))):
        for seed in seeds:
            for i in range(4):
                rgb = np.full((24, 48, 3), 10 * (seed % 10) + i, np.uint8)
                write_frame(tmp_path, split, f"{split}{seed}_000000_{i:06d}", rgb, focal=50.0)
    return tmp_path


@pytest.mark.parametrize("kind", ["cityscapes", "drives"])
def test_cityscapes_and_drives_share_their_layout(drives, kind):
    data = open_dataset(kind, drives, "val")
    assert isinstance(data, DATASETS[kind])
    assert (len(data), data.classes, data.max_depth) == (4, CITYSCAPES, 80.0)
    assert open_dataset(kind, drives, "train", 30.0).max_depth == 30.0


def test_nyuv2_has_its_own_classes_and_range_and_no_sequences(tmp_path, write_nyuv2):
    write_nyuv2(tmp_path, {})
    data = open_dataset("nyuv2", tmp_path, "test")
    assert isinstance(data, NYUv2)
    assert (len(data), data.classes, data.max_depth) == (654, NYUV2, 10.0)
    few = open_dataset("nyuv2", tmp_path, "train", limit=300)
    assert (len(few), few.classes, few.max_depth) == (300, NYUV2, 10.0)
    with pytest.raises(DataError, match="data set nyuv2 has no sequences"):
        open_dataset("nyuv2", tmp_path, "train", sequences=3)


def test_every_data_set_names_its_splits(tmp_path):
    assert Cityscapes.split_names(tmp_path) == SplitNames("train", "val", "val")
    assert NYUv2.split_names(tmp_path) == SplitNames("train", "test", "test")
    assert Drives.split_names(tmp_path) == SplitNames("train", "val", "test")
    (tmp_path / "leftImg8bit" / "night").mkdir(parents=True)
    assert Drives.split_names(tmp_path).extra == ("night",)


@pytest.mark.parametrize(
    ("kind", "name", "group"),
    [
        ("drives", "test3000_000000_000003", "test3000"),
        ("drives", "unknown7000_000001_000000", "unknown7000"),
        ("cityscapes", "frankfurt_000001_000538", "frankfurt_000001"),
        ("nyuv2", "0042", "0042"),
    ],
)
def test_a_bootstrap_draws_drives_sequences_or_images(kind, name, group):
    data = DATASETS[kind].__new__(DATASETS[kind])  # without files
    data.root, data.split = "root", "split"
    assert data.group_of(name) == group


def test_a_part_and_a_cache_keep_everything_that_a_data_set_knows(drives, tmp_path):
    data = open_dataset("drives", drives, "train", 30.0)
    data.own = "attribute of a subclass"
    part = cached(data, tmp_path / "cache").select([7, 2]).select([1, 0])
    assert type(part) is Drives
    assert part.names == [data.names[2], data.names[7]]
    assert {**vars(part), "names": [], "cache": None} == {**vars(data), "names": [], "cache": None}
    for name, expected in zip(part.names, (data[2], data[7]), strict=True):
        assert part.camera(name) == data.camera(name)
        assert part.files(name) == data.files(name)
        np.testing.assert_array_equal(part[part.names.index(name)].image, expected.image)
    with pytest.raises(IndexError):
        part[2]
    assert len(data) == 12 and data.cache is None


def test_the_rest_is_what_a_training_has_not_used(drives):
    options = {"limit": 2, "sequences": 1}
    used = open_dataset("drives", drives, "train", **options)
    unused = open_dataset("drives", drives, "train", **options, rest=True, labelled=False)
    assert {name.split("_")[0] for name in used.names} == {"train11"}
    assert {name.split("_")[0] for name in unused.names} == {"train10", "train12"}
    assert len(unused) == 8
    assert (unused[0].labels == IGNORE).all()
    assert np.isnan(unused[0].depth).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 12, "rest": True}, r"No frame of .*train is left"),
        ({"root": "nowhere", "rest": True}, "Expected limit or sequences together with rest"),
        ({"limit": 0}, "Expected limit to be positive, but got 0"),
        ({"max_depth": 0.0}, r"Expected max_depth to be positive, but got 0\.0"),
        ({"sequences": -3}, "Expected sequences to be positive, but got -3"),
        ({"kind": "kitti"}, "of cityscapes, drives, folder, nyuv2, but got 'kitti'"),
    ],
)
def test_empty_rests_wrong_numbers_and_unknown_kinds_are_refused(drives, options, message):
    with pytest.raises((DataError, RegistryError), match=message):
        open_dataset(**{"kind": "drives", "root": drives, "split": "train"} | options)


def test_without_h5py_and_scipy_only_the_official_files_of_nyuv2_are_unreadable(
    tmp_path, write_nyuv2, monkeypatch
):
    write_nyuv2(tmp_path, {})
    for module in ("h5py", "scipy", "scipy.io"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=r"need h5py and SciPy: install emu_core\[train\]"):
        open_dataset("nyuv2", tmp_path, "train")


@given(st.integers(1, 400), st.integers(1, 400))
def test_evenly_spread_indices_have_no_large_gap(count, wanted):
    indices = evenly(count, wanted)
    assert len(indices) == min(count, wanted)
    gaps = np.diff([-1, *indices, count])
    assert gaps.min() >= 1
    share = count / len(indices)
    assert max(gaps[1:-1], default=1) <= share + 1
    assert gaps[[0, -1]].max() <= share / 2 + 1


def test_without_a_number_everything_is_taken():
    assert evenly(4, None) == [0, 1, 2, 3]
    assert choose(SEQUENCES, None, None) == list(range(len(SEQUENCES)))


def test_few_frames_come_from_all_sequences_and_few_sequences_keep_their_frames():
    counts = Counter(SEQUENCES[i] for i in choose(SEQUENCES, 60, None))
    assert counts == dict.fromkeys(SEQUENCES, 3)
    chosen = choose(SEQUENCES, None, 5)
    counts = Counter(SEQUENCES[i] for i in chosen)
    assert counts == {f"train{seed}_000000": 14 for seed in (1002, 1006, 1010, 1014, 1018)}
    fewer = choose(SEQUENCES, 10, 5)
    assert set(fewer) < set(chosen)
    assert Counter(SEQUENCES[i] for i in fewer) == dict.fromkeys(counts, 2)


@given(st.none() | st.integers(1, 300), st.none() | st.integers(1, 25))
def test_a_choice_and_its_rest_never_overlap(limit, sequences):
    chosen = choose(SEQUENCES, limit, sequences)
    rest = choose(SEQUENCES, limit, sequences, rest=True)
    assert chosen == sorted(set(chosen))
    assert not set(chosen) & set(rest)
    if sequences is None:
        assert len(chosen) + len(rest) == len(SEQUENCES)
    else:
        assert not {SEQUENCES[i] for i in chosen} & {SEQUENCES[i] for i in rest}
