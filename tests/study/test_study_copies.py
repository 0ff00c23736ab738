"""Reduced copies of drives: the same depths and classes through a lens of another focal length."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from emu_core.data.cityscapes import OBJECT_MASK, Cityscapes
from emu_core.data.sample import DataError
from emu_core.study.config import Copies
from emu_core.study.copies import copy_drives

FOLDER = Path("copies")
DRIVES, PRETRAINING = FOLDER / "drives", FOLDER / "pretraining"
SPLITS = ("train", "val", "haze")


@pytest.fixture
def copied(drives, study):
    """Copies at half the size, one of three training drives for the pre-training."""
    mask = np.zeros((80, 160), np.uint8)
    mask[40:60, 20:50] = 255
    path = study.data.root / "gtFine/haze/haze3001" / f"haze3001_000000_000000_{OBJECT_MASK}"
    assert cv2.imwrite(str(path), mask)
    copies = Copies(study.data.root, width=80, pretraining_drives=1)
    assert copy_drives(copies, SPLITS, FOLDER) == 3 + 2 * 1 + 2
    return copies


def test_depth_classes_and_masks_are_those_of_the_nearest_pixel(copied, study):
    big, small = (Cityscapes(root, "haze")[1] for root in (study.data.root, DRIVES))
    assert small.name == big.name
    assert small.image.shape == (40, 80, 3)
    np.testing.assert_array_equal(small.labels, big.labels[1::2, 1::2])
    np.testing.assert_allclose(small.depth, big.depth[1::2, 1::2], rtol=1e-6)
    mask = DRIVES / "gtFine/haze/haze3001" / f"haze3001_000000_000000_{OBJECT_MASK}"
    expected = np.zeros((40, 80), np.uint8)
    expected[20:30, 10:25] = 255
    np.testing.assert_array_equal(cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE), expected)


def test_images_are_averaged_and_focal_lengths_shrink_with_them(copied, study):
    big, small = (Cityscapes(root, "haze")[0] for root in (study.data.root, DRIVES))
    means = big.image.reshape(40, 2, 80, 2, 3).mean((1, 3))
    np.testing.assert_allclose(small.image, means, atol=0.51)
    assert small.focal == pytest.approx((75.0, 75.0))


def test_no_other_training_uses_drives_of_the_pretraining(copied):
    pretraining, others = (set(Cityscapes(r, "train").names) for r in (PRETRAINING, DRIVES))
    assert (len(pretraining), len(others)) == (1, 2)
    assert pretraining.isdisjoint(others)
    assert len(Cityscapes(PRETRAINING, "val")) == len(Cityscapes(DRIVES, "val")) == 1


def test_only_frames_that_are_not_complete_are_copied_again(copied):
    (DRIVES / "camera/haze/haze3000/haze3000_000000_000000_camera.json").unlink()
    assert copy_drives(copied, SPLITS, FOLDER) == 1
    assert len(Cityscapes(DRIVES, "haze")) == 2


def test_another_split_is_added_and_changes_nothing_for_trainings(copied):
    before = (FOLDER / "train.json").read_bytes()
    assert set(json.loads(before)["train"]) == {f"train300{k}_000000" for k in range(3)}
    assert copy_drives(copied, (*SPLITS, "test"), FOLDER) == 2
    assert copy_drives(copied, SPLITS, FOLDER) == 0
    assert (FOLDER / "train.json").read_bytes() == before


def test_frames_are_not_enlarged_and_a_missing_split_is_named(drives, study):
    copy_drives(Copies(study.data.root, 1000, 0), ("haze",), FOLDER)
    assert Cityscapes(DRIVES, "haze")[0].image.shape == (80, 160, 3)
    with pytest.raises(DataError, match=r"No folder .*leftImg8bit/night"):
        copy_drives(Copies(study.data.root), ("night",), FOLDER)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pretraining_drives": 2}, "pretraining_drives: 1 → 2"),
        ({"width": 64}, "width: 80 → 64"),
        ({"source": Path("elsewhere")}, "source: data/drives → elsewhere"),
    ],
)
def test_copies_of_other_settings_are_refused_before_anything_is_mixed(copied, changes, message):
    shutil.copytree("data/drives", "elsewhere")
    with pytest.raises(DataError, match=f"{message}.*another name, or delete that folder"):
        copy_drives(replace(copied, **changes), SPLITS, FOLDER)
    assert [len(Cityscapes(root, "train")) for root in (PRETRAINING, DRIVES)] == [1, 2]


def test_drives_that_were_rendered_later_and_unlisted_copies_are_refused(copied):
    for path in sorted(copied.source.glob("*/train/train3000")):
        new = path.with_name("train3009")
        shutil.copytree(path, new)
        for file in new.iterdir():
            file.rename(new / file.name.replace("3000", "3009"))
    with pytest.raises(DataError, match="train: 3 drives of 3 frames → 4 drives of 4 frames"):
        copy_drives(copied, SPLITS, FOLDER)
    (FOLDER / "copies.json").unlink()
    with pytest.raises(DataError, match="with unknown settings"):
        copy_drives(copied, SPLITS, FOLDER)
