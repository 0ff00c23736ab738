"""What methods are scored on: sizes, metres, drives and pairs."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from emu_core.data.cityscapes import OBJECT_MASK
from emu_core.data.sample import DataError
from emu_core.evaluation.splits import drive_of, open_split


def test_the_truth_is_in_metres_of_the_images_own_lens(tiny_data, write_drive):
    write_drive(tiny_data.root, "test", "test3000_000000_000000")
    (view,) = open_split(tiny_data, "test")
    assert view.image.shape == (32, 64, 3)
    assert view.labels.shape == view.depth.shape == (32, 64)
    # fx is 150 of 160 columns, hence 60 of 64, learned as if it were 100.
    assert view.depth_factor == pytest.approx(0.6)
    np.testing.assert_allclose(view.depth[16:], 11.0, rtol=1e-3)
    assert np.isnan(view.depth[:10]).all()
    assert set(np.unique(view.labels)) == {0, 10}
    assert view.objects is None


def test_depth_that_the_network_cannot_reach_is_scored_nevertheless(tiny_data, write_drive):
    write_drive(tiny_data.root, "test", "test3000_000000_000000")
    near = replace(tiny_data.augmentation, depth_limit=5.0)
    (view,) = open_split(replace(tiny_data, augmentation=near), "test")
    assert np.isfinite(view.depth).any()


def test_nothing_random_of_the_augmentation_is_used(tiny_data, write_drive):
    write_drive(tiny_data.root, "test", "test3000_000000_000000")
    wild = replace(tiny_data.augmentation, scale=(0.5, 2.0), flip=True, jitter=(1.0,) * 4)
    (plain,), (view,) = (
        open_split(replace(tiny_data, augmentation=a), "test")
        for a in (tiny_data.augmentation, wild)
    )
    np.testing.assert_array_equal(plain.image, view.image)


def test_another_size_changes_the_factor_with_the_focal_length(tiny_data, write_drive):
    write_drive(tiny_data.root, "test", "test3000_000000_000000")
    (view,) = open_split(tiny_data, "test", size=(16, 32))
    assert view.image.shape == (16, 32, 3)
    assert view.depth_factor == pytest.approx(0.3)
    np.testing.assert_allclose(view.depth[8:], 11.0, rtol=1e-3)


def test_images_come_drive_by_drive_and_every_so_many_if_asked(tiny_data, write_drive):
    for drive in (3001, 3000):
        for frame in range(3):
            write_drive(tiny_data.root, "test", f"test{drive}_000000_{frame:06d}", frame)
    split = open_split(tiny_data, "test")
    assert [view.drive for view in split] == ["test3000"] * 3 + ["test3001"] * 3
    assert split.drives == ["test3000", "test3001"]
    assert len(open_split(tiny_data, "test", stride=2)) == 3
    assert [view.drive for view in split.some(2)] == ["test3000", "test3001"]


def test_a_pair_is_one_drive_and_its_objects_are_told_apart(tiny_data, write_drive):
    for sequence in ("000000", "000001"):
        name = f"unknown7000_{sequence}_000000"
        ids = np.full((80, 160), 7, np.uint8)
        ids[:40] = 11
        ids[50:60, 60:80] = 0 if sequence == "000000" else 26  # no class, or a car
        write_drive(tiny_data.root, "unknown", name, ids=ids)
        mask = np.zeros((80, 160), np.uint8)
        mask[50:60, 60:80] = 255
        folder = tiny_data.root / "gtFine" / "unknown" / "unknown7000"
        assert cv2.imwrite(str(folder / f"{name}_{OBJECT_MASK}"), mask)
    unknown, twin = open_split(tiny_data, "unknown")
    assert unknown.drive == twin.drive == "unknown7000"
    expected = np.zeros((32, 64), bool)
    expected[20:24, 24:32] = True
    np.testing.assert_array_equal(unknown.objects.unknown, expected)
    np.testing.assert_array_equal(twin.objects.known, expected)
    assert not unknown.objects.known.any()
    assert not twin.objects.unknown.any()
    for view in (unknown, twin):
        assert view.objects.region[16:].all()
        assert not view.objects.region[:16].any()


@pytest.mark.parametrize(
    ("kind", "name", "drive"),
    [
        ("drives", "test3000_000000_000003", "test3000"),
        ("drives", "unknown7000_000001_000000", "unknown7000"),
        ("cityscapes", "frankfurt_000001_000538", "frankfurt_000001"),
        ("nyuv2", "0042", "0042"),
    ],
)
def test_what_counts_as_a_drive_depends_on_the_data_set(kind, name, drive):
    assert drive_of(name, kind) == drive


def test_a_split_that_is_not_there_is_named(tiny_data, write_drive):
    write_drive(tiny_data.root, "test", "test3000_000000_000000")
    with pytest.raises(DataError, match=r"No folder .*leftImg8bit/haze"):
        open_split(tiny_data, "haze")


def test_networks_that_trained_on_crops_are_scored_on_whole_images(tiny_data, write_drive):
    write_drive(tiny_data.root, "test", "test3000_000000_000000")
    crops = replace(tiny_data.augmentation, height=24, width=24, image_width=64)
    data = replace(tiny_data, augmentation=crops, validation_size=(32, 64))
    (view,), (plain,) = open_split(data, "test"), open_split(tiny_data, "test")
    np.testing.assert_array_equal(view.image, plain.image)
    assert view.depth_factor == pytest.approx(plain.depth_factor)
