"""Reduced copies of drives: the same depths and classes through a lens that is described anew."""

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


@pytest.fixture
def copied(drives, study):
    """Copies at half the size, one of three training drives for the pre-training."""
    mask = np.zeros((80, 160), np.uint8)
    mask[40:60, 20:50] = 255
    path = study.data.root / "gtFine/haze/haze3001" / f"haze3001_000000_000000_{OBJECT_MASK}"
    assert cv2.imwrite(str(path), mask)
    copies = Copies(study.data.root, width=80, pretraining_drives=1)
    count = copy_drives(copies, ("train", "val", "haze"), Path("apart"), Path("rest"))
    assert count == 3 + 2 * 1 + 2
    return copies


def test_depth_classes_and_masks_are_those_of_the_nearest_pixel(copied, study):
    big, small = (Cityscapes(root, "haze")[1] for root in (study.data.root, "rest"))
    assert small.name == big.name
    assert small.image.shape == (40, 80, 3)
    np.testing.assert_array_equal(small.labels, big.labels[1::2, 1::2])
    np.testing.assert_allclose(small.depth, big.depth[1::2, 1::2], rtol=1e-6)
    mask = Path("rest/gtFine/haze/haze3001") / f"haze3001_000000_000000_{OBJECT_MASK}"
    expected = np.zeros((40, 80), np.uint8)
    expected[20:30, 10:25] = 255
    np.testing.assert_array_equal(cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE), expected)


def test_images_are_averaged_and_focal_lengths_shrink_with_them(copied, study):
    big, small = (Cityscapes(root, "haze")[0] for root in (study.data.root, "rest"))
    means = big.image.reshape(40, 2, 80, 2, 3).mean((1, 3))
    np.testing.assert_allclose(small.image, means, atol=0.51)
    assert small.focal == pytest.approx((75.0, 75.0))


def test_no_drive_of_the_pretraining_is_another_trainings(copied):
    apart, rest = (set(Cityscapes(root, "train").names) for root in ("apart", "rest"))
    assert len(apart) == 1
    assert len(rest) == 2
    assert apart.isdisjoint(rest)
    assert len(Cityscapes("apart", "val")) == len(Cityscapes("rest", "val")) == 1


def test_only_frames_that_are_not_complete_are_copied_again(copied):
    Path("rest/camera/haze/haze3000/haze3000_000000_000000_camera.json").unlink()
    again = copy_drives(copied, ("train", "val", "haze"), Path("apart"), Path("rest"))
    assert again == 1
    assert len(Cityscapes("rest", "haze")) == 2


def test_frames_are_not_enlarged(drives, study):
    copy_drives(Copies(study.data.root, 1000, 0), ("haze",), Path("apart"), Path("rest"))
    assert Cityscapes("rest", "haze")[0].image.shape == (80, 160, 3)


def test_a_missing_split_is_named(drives, study):
    with pytest.raises(DataError, match=r"No folder .*leftImg8bit/night"):
        copy_drives(Copies(study.data.root), ("night",), Path("apart"), Path("rest"))


SPLITS = ("train", "val", "haze")


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
        copy_drives(replace(copied, **changes), SPLITS, Path("apart"), Path("rest"))
    apart, rest = (Cityscapes(root, "train").names for root in ("apart", "rest"))
    assert (len(apart), len(rest)) == (1, 2)


def test_drives_that_were_rendered_later_are_refused(copied):
    for path in sorted(copied.source.glob("*/train/train3000")):
        new = path.with_name("train3009")
        shutil.copytree(path, new)
        for file in new.iterdir():
            file.rename(new / file.name.replace("3000", "3009"))
    with pytest.raises(DataError, match="train: 3 drives of 3 frames → 4 drives of 4 frames"):
        copy_drives(copied, SPLITS, Path("apart"), Path("rest"))


def test_another_split_is_added_to_the_copies(copied):
    assert copy_drives(copied, (*SPLITS, "test"), Path("apart"), Path("rest")) == 2
    assert copy_drives(copied, SPLITS, Path("apart"), Path("rest")) == 0


def test_copies_that_nobody_listed_are_refused(copied):
    Path("copies.json").unlink()
    with pytest.raises(DataError, match="nobody knows how"):
        copy_drives(copied, SPLITS, Path("apart"), Path("rest"))
