"""Polygons and label maps: closed forms, and the way there and back."""

import cv2
import numpy as np
import pytest

pytest.importorskip("pycocotools", reason="needs datumaro: make test-annotation")

from pycocotools import mask as coco

from emu_core.annotations.shapes import paint_mask, paint_polygons, trace_polygons
from emu_core.data.sample import DataError


def paint(polygons, shape):
    painted = np.zeros(shape, np.uint8)
    for index, points in polygons:
        paint_polygons([points], painted, index)
    return painted


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (-3, 0), (4, 3), (20, 0), (0, -9)])
def test_a_rectangle_covers_the_pixels_between_its_edges(dx, dy):
    corners = np.array([[2, 1], [5, 1], [5, 4], [2, 4]]) + (dx, dy)
    rows, columns = np.mgrid[:6, :8]  # a pixel is inside if its centre is
    inside = (rows >= 1 + dy) & (rows < 4 + dy) & (columns >= 2 + dx) & (columns < 5 + dx)
    painted = paint([(1, corners.ravel().tolist())], (6, 8))
    np.testing.assert_array_equal(painted, inside)


@pytest.mark.parametrize("seed", range(20))
def test_polygons_are_painted_as_coco_decodes_them(seed):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-10, 60, 2 * rng.integers(3, 9)).round(2).tolist()
    expected = coco.decode(coco.merge(coco.frPyObjects([points], 40, 50)))
    np.testing.assert_array_equal(paint([(1, points)], (40, 50)), expected)


def test_a_polygon_of_two_corners_has_no_pixels():
    assert not paint([(1, [2, 2, 9, 9])], (20, 20)).any()


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(DataError, match="3×2 pixels, but the image has 4×2; was it resized"):
        paint_mask(np.ones((2, 3), bool), np.zeros((2, 4), np.uint8), 1)


def test_the_outline_of_a_rectangle_has_four_corners():
    indices = np.zeros((6, 8), np.uint8)
    indices[1:4, 2:5] = 7
    ((index, points),) = trace_polygons(indices)
    assert index == 7
    assert {tuple(point) for point in np.reshape(points, (-1, 2))} == {
        *((2, 1), (5, 1), (5, 4), (2, 4))
    }


def test_what_lies_in_a_hole_is_painted_later(indices):
    polygons = trace_polygons(indices)
    assert [index for index, _ in polygons] == [1, 2, 3, 0]  # by area; none for the border's 0
    np.testing.assert_array_equal(paint(polygons, indices.shape), indices)


def test_small_regions_go_to_the_region_around_them(indices):
    painted = paint(trace_polygons(indices, smallest=61), indices.shape)
    assert (painted[10:26, 6:14] == 1).all()  # the hole of 48 and the island of 60 pixels


@pytest.mark.parametrize("seed", range(5))
def test_noise_keeps_every_pixel(seed):
    indices = np.random.default_rng(seed).integers(0, 4, (30, 40), np.uint8)
    np.testing.assert_array_equal(paint(trace_polygons(indices), indices.shape), indices)


def test_large_round_regions_have_few_corners_and_keep_98_percent():
    indices = np.zeros((400, 600), np.uint8)
    cv2.circle(indices, (250, 200), 180, 1, -1)
    cv2.ellipse(indices, (400, 220), (150, 60), 20, 0, 360, 2, -1)
    polygons = trace_polygons(indices)
    painted = paint(polygons, indices.shape)
    assert sum(len(points) // 2 for _, points in polygons) < 100
    for k in (1, 2):
        same, either = ((painted == k) & (indices == k)), ((painted == k) | (indices == k))
        assert same.sum() / either.sum() >= 0.98
