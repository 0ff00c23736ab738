"""Polygons and label maps: closed forms, and the way there and back."""

import cv2
import numpy as np
import pytest

pytest.importorskip("pycocotools", reason="needs datumaro: make test-annotation")

from emu_core.annotations.shapes import fill_polygons, trace_polygons


def paint(polygons, shape):
    painted = np.zeros(shape, np.uint8)
    for index, points in polygons:
        painted[fill_polygons([points], shape)] = index
    return painted


def test_a_rectangle_covers_the_pixels_between_its_edges():
    mask = fill_polygons([[2, 1, 5, 1, 5, 4, 2, 4]], (6, 8))
    expected = np.zeros((6, 8), bool)
    expected[1:4, 2:5] = True
    np.testing.assert_array_equal(mask, expected)


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
