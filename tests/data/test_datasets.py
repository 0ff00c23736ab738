"""Data sets by name, and parts of them: evenly spread, the same every time, never overlapping."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu_core.data.cityscapes import Cityscapes
from emu_core.data.datasets import (
    MAX_DEPTHS,
    VALIDATION_SPLITS,
    Selection,
    choose,
    evenly,
    open_dataset,
)
from emu_core.data.nyuv2 import NYUv2
from emu_core.data.sample import DataError
from emu_core.labels import CITYSCAPES, IGNORE, NYUV2

DRIVES = [f"train{seed}_000000_{i:06d}" for seed in range(1000, 1020) for i in range(14)]


@pytest.fixture
def drives(tmp_path, write_frame):
    camera = {
        "extrinsic": {"baseline": 0.22},
        "intrinsic": {"fx": 50.0, "fy": 50.0, "u0": 23.5, "v0": 11.5},
    }
    for split, seeds in (("train", (10, 11, 12)), ("val", (20,))):
        for seed in seeds:
            for i in range(4):
                rgb = np.full((24, 48, 3), 10 * (seed % 10) + i, np.uint8)
                name = f"{split}{seed}_000000_{i:06d}"
                write_frame(tmp_path, split, name, rgb, camera=camera)
    return tmp_path


@pytest.mark.parametrize("kind", ["cityscapes", "drives"])
def test_cityscapes_and_drives_open_alike(drives, kind):
    data = open_dataset(kind, drives, VALIDATION_SPLITS[kind])
    assert isinstance(data, Cityscapes)
    assert (len(data), data.classes, data.max_depth) == (4, CITYSCAPES, 80.0)
    assert open_dataset(kind, drives, "train", 30.0).max_depth == 30.0


def test_nyuv2_opens_with_its_own_classes_and_range(tmp_path, write_nyuv2):
    write_nyuv2(tmp_path, {})
    data = open_dataset("nyuv2", tmp_path, VALIDATION_SPLITS["nyuv2"])
    assert isinstance(data, NYUv2)
    assert (len(data), data.classes, data.max_depth) == (654, NYUV2, 10.0)
    few = open_dataset("nyuv2", tmp_path, "train", limit=300)
    assert (len(few), few.classes, few.max_depth) == (300, NYUV2, MAX_DEPTHS["nyuv2"])


def test_a_part_holds_the_very_samples_of_the_whole(drives):
    whole, part = (open_dataset("drives", drives, "train", limit=n) for n in (None, 5))
    assert len(part) == len(part.names) == 5
    assert part.classes is whole.classes
    assert part.max_depth == whole.max_depth
    for i, name in enumerate(part.names):
        expected = whole[whole.names.index(name)]
        assert part[i].name == name
        np.testing.assert_array_equal(part[i].image, expected.image)
    with pytest.raises(IndexError):
        part[5]


def test_the_rest_is_what_a_training_has_not_seen(drives):
    options = {"limit": 2, "sequences": 1}
    seen = open_dataset("drives", drives, "train", **options)
    fresh = open_dataset("drives", drives, "train", **options, rest=True, labelled=False)
    assert {name.split("_")[0] for name in seen.names} == {"train11"}
    assert {name.split("_")[0] for name in fresh.names} == {"train10", "train12"}
    assert len(fresh) == 8
    assert (fresh[0].labels == IGNORE).all()
    assert np.isnan(fresh[0].depth).all()


def test_where_nothing_is_left_that_is_said(drives):
    with pytest.raises(DataError, match=r"Nothing is left of .*train"):
        open_dataset("drives", drives, "train", limit=12, rest=True)
    with pytest.raises(DataError, match="Expected limit or sequences with rest"):
        open_dataset("drives", "nowhere", "train", rest=True)  # before anything is read


@pytest.mark.parametrize("name", ["max_depth", "limit", "sequences"])
@pytest.mark.parametrize("value", [0, -3])
def test_a_number_that_is_not_positive_is_refused_by_name(drives, name, value):
    with pytest.raises(DataError, match=f"Expected {name} to be positive, but got {value}"):
        open_dataset("drives", drives, "train", **{name: value})


def test_an_unknown_kind_is_refused_and_the_known_are_named(drives):
    with pytest.raises(DataError, match="of cityscapes, nyuv2, drives, but got 'kitti'"):
        open_dataset("kitti", drives, "train")


def test_nyuv2_has_no_sequences_to_choose_from(tmp_path):
    with pytest.raises(DataError, match="NYUv2 has no sequences"):
        open_dataset("nyuv2", tmp_path, "train", sequences=3)


@given(st.integers(1, 400), st.integers(1, 400))
def test_what_is_spread_evenly_leaves_no_large_gap(count, wanted):
    indices = evenly(count, wanted)
    assert len(indices) == min(count, wanted)
    gaps = np.diff([-1, *indices, count])
    assert gaps.min() >= 1
    share = count / len(indices)
    assert max(gaps[1:-1], default=1) <= share + 1
    assert gaps[[0, -1]].max() <= share / 2 + 1


def test_everything_is_taken_where_no_number_is_given():
    assert evenly(4, None) == [0, 1, 2, 3]
    assert choose(DRIVES, None, None) == list(range(len(DRIVES)))


def test_few_frames_come_from_all_drives_in_turn():
    names = [DRIVES[i] for i in choose(DRIVES, 60, None)]
    counts = Counter(name.rpartition("_")[0] for name in names)
    assert len(counts) == 20
    assert set(counts.values()) == {3}


def test_few_drives_keep_all_their_frames_up_to_the_limit():
    names = [DRIVES[i] for i in choose(DRIVES, None, 5)]
    counts = Counter(name.split("_")[0] for name in names)
    assert counts == {f"train{seed}": 14 for seed in (1002, 1006, 1010, 1014, 1018)}
    fewer = [DRIVES[i] for i in choose(DRIVES, 10, 5)]
    assert set(fewer) < set(names)
    assert Counter(name.split("_")[0] for name in fewer) == dict.fromkeys(counts, 2)


@given(st.none() | st.integers(1, 300), st.none() | st.integers(1, 25))
def test_a_choice_and_its_rest_never_overlap(limit, sequences):
    chosen = choose(DRIVES, limit, sequences)
    rest = choose(DRIVES, limit, sequences, rest=True)
    assert chosen == sorted(set(chosen))
    assert not set(chosen) & set(rest)
    drive = [name.rpartition("_")[0] for name in DRIVES]
    if sequences is None:
        assert len(chosen) + len(rest) == len(DRIVES)
    else:
        assert not {drive[i] for i in chosen} & {drive[i] for i in rest}


def test_a_selection_keeps_the_order_it_is_given():
    class Letters:
        classes, max_depth, labelled, names = CITYSCAPES, 80.0, True, list("abcd")

        def __len__(self):
            return 4

        def __getitem__(self, index):
            return self.names[index]

    part = Selection(Letters(), (3, 1))
    assert part.names == list(part) == ["d", "b"]
