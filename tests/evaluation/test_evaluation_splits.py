"""Images and ground truth for scoring: sizes, metres, drives, pairs and digests."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from emu_core.data.cityscapes import OBJECT_MASK
from emu_core.evaluation.splits import Split


@pytest.mark.parametrize(("size", "factor"), [(None, 0.6), ((16, 32), 0.3)])
def test_ground_truth_of_every_size_is_in_metres(tiny_data, write_drive, size, factor):
    write_drive(tiny_data.root, "test", "test3000_000000_000000")
    (view,) = Split(tiny_data, "test", size)
    height, width = size or (32, 64)
    assert view.image.shape == (height, width, 3)
    assert view.labels.shape == view.depth.shape == (height, width)
    # fx is 150 of 160 columns, hence 60 of 64, learned as if it were 100.
    assert view.depth_factor == pytest.approx(factor)
    np.testing.assert_allclose(view.depth[height // 2 :], 11.0, rtol=1e-3)
    assert np.isnan(view.depth[: height // 3]).all()
    assert set(np.unique(view.labels)) == {0, 10}
    assert view.objects is None


@pytest.mark.parametrize(
    "changes", [{"depth_limit": 5.0}, {"scale": (0.5, 2.0), "flip": True, "jitter": (1.0,) * 4}]
)
def test_views_depend_neither_on_the_depth_limit_nor_on_random_augmentation(
    tiny_data, write_drive, changes
):
    write_drive(tiny_data.root, "test", "test3000_000000_000000")
    changed = replace(tiny_data, augmentation=replace(tiny_data.augmentation, **changes))
    (plain,), (view,) = (Split(data, "test") for data in (tiny_data, changed))
    np.testing.assert_array_equal(plain.image, view.image)
    np.testing.assert_array_equal(plain.depth, view.depth)


def test_views_are_sorted_by_drive_and_taken_with_a_stride(tiny_data, write_drive):
    for drive in (3001, 3000):
        for frame in range(3):
            write_drive(tiny_data.root, "test", f"test{drive}_000000_{frame:06d}", frame)
    split = Split(tiny_data, "test")
    assert [view.drive for view in split] == ["test3000"] * 3 + ["test3001"] * 3
    assert split.drives == ["test3000", "test3001"]
    assert len(Split(tiny_data, "test", stride=2)) == 3
    assert [view.drive for view in split.some(2)] == ["test3000", "test3001"]


def test_a_pair_is_one_drive_with_an_unknown_and_a_known_object(tiny_data, write_drive):
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
    unknown, twin = Split(tiny_data, "unknown")
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


def test_networks_that_trained_on_crops_are_scored_on_whole_images(tiny_data, write_drive):
    write_drive(tiny_data.root, "test", "test3000_000000_000000")
    crops = replace(tiny_data.augmentation, height=24, width=24, image_width=64)
    data = replace(tiny_data, augmentation=crops, validation_size=(32, 64))
    (view,), (plain,) = Split(data, "test"), Split(tiny_data, "test")
    np.testing.assert_array_equal(view.image, plain.image)
    assert view.depth_factor == pytest.approx(plain.depth_factor)


def test_the_digest_depends_only_on_the_images(tiny_data, tmp_path, write_nyuv2):
    for frame in range(2):
        name = f"test3000_000000_{frame:06d}"
        for folder, end in (
            *(("leftImg8bit", "leftImg8bit.png"), ("gtFine", "gtFine_labelIds.png")),
            *(("disparity", "disparity.png"), ("camera", "camera.json")),
        ):
            path = tiny_data.root / folder / "test" / "test3000" / f"{name}_{end}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"{}" if folder == "camera" else b"12345")
    split = Split(tiny_data, "test")
    assert split.digest == "5d71d99800b20490"  # results are stored with it: it must stay the same
    digests = {split.digest, Split(tiny_data, "test", stride=2).digest}
    path.write_text("{ }")
    digests.add(Split(tiny_data, "test").digest)
    write_nyuv2(tmp_path / "nyu", {})  # here all frames are in the same files
    nyuv2 = replace(tiny_data, kind="nyuv2", root=tmp_path / "nyu")
    digests |= {Split(nyuv2, "test", stride=stride).digest for stride in (300, 301)}
    assert len(digests) == 5
