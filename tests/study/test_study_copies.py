"""Reduced copies of drives: the same depths and classes through a lens that is described anew."""

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
    np.testing.assert_array_equal(small.labels, big.labels[::2, ::2])
    np.testing.assert_allclose(small.depth, big.depth[::2, ::2], rtol=1e-6)
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
