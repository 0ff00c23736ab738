"""Colour images of the maps: the meaning of each colour, and its position in a panel."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from emu_core.labels import CITYSCAPES, IGNORE, NYUV2
from emu_core.runtime.overlay import (
    DEPTH_SPAN,
    STD_SPAN,
    TILE,
    blend,
    colorize_depth,
    colorize_depth_std,
    colorize_label_uncertainty,
    colorize_labels,
    panel,
)
from emu_core.runtime.perceiver import Perception


def depth_color(metres):
    return colorize_depth(np.full((2, 3), metres, np.float32))[1, 2]


def luminance(colors):
    return colors.astype(float) @ (0.2126, 0.7152, 0.0722)


def test_the_depth_scale_runs_from_red_to_blue_is_logarithmic_and_ends_at_its_span():
    near, far = depth_color(3.0).astype(int), depth_color(60.0).astype(int)
    assert near[0] > near[2] + 100
    assert far[2] > far[0] + 100
    middle = depth_color(np.sqrt(DEPTH_SPAN[0] * DEPTH_SPAN[1]))
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_TURBO)
    distance = np.abs(table[:, 0, ::-1].astype(int) - middle).sum(1)
    assert abs(int(distance.argmin()) - 127) <= 1
    one_step = 5  # of the colour table: float32 rounds the end of the scale
    for outside, end in ((0.0, 0), (0.01, 0), (1e6, 1)):
        expected = depth_color(DEPTH_SPAN[end])
        np.testing.assert_allclose(depth_color(outside).astype(int), expected, atol=one_step)


def test_infinite_and_missing_values_have_colours_of_their_own():
    colors = colorize_depth(np.array([[np.inf, np.nan, -np.inf, 10.0]], np.float32))
    assert colors[0, :3].tolist() == [[255, 255, 255], [0, 0, 0], [0, 0, 0]]
    assert colors[0, 3].any()
    assert colors.dtype == np.uint8
    colors = colorize_depth_std(np.array([[np.inf, np.nan]], np.float32))
    assert colors[0].tolist() == [[96, 96, 96], [0, 0, 0]]


def test_uncertainty_runs_from_black_to_yellow():
    std = colorize_depth_std(np.geomspace(*STD_SPAN, 30).astype(np.float32)[None])
    entropy = colorize_label_uncertainty(np.linspace(0, 1, 30, dtype=np.float32)[None])
    for colors in (std[0], entropy[0]):
        brightness = luminance(colors)
        assert (np.diff(brightness) > -1).all()
        assert brightness[0] < 5
        assert brightness[-1] > 200
        red, green, blue = colors[-1].astype(int)
        assert min(red, green) > blue + 50


def test_labels_have_the_palettes_colours_and_no_class_is_black():
    labels = np.array([[*range(19), IGNORE, 19]], np.uint8)
    colors = colorize_labels(labels, CITYSCAPES)
    assert [tuple(c) for c in colors[0].tolist()] == [*CITYSCAPES.palette, (0, 0, 0), (0, 0, 0)]


def test_certain_classes_are_more_opaque():
    rgb = np.full((2, 4, 3), 100, np.uint8)
    labels = np.array(2 * [[13, 13, 13, IGNORE]], np.uint8)
    uncertainty = np.tile(np.array([0, 0.5, 1, 0], np.float32), (2, 1))
    blended = blend(rgb, labels, uncertainty, CITYSCAPES, alpha=0.8)
    for column, opacity in enumerate((0.8, 0.4, 0.0, 0.0)):
        expected = (1 - opacity) * 100 + opacity * np.array(CITYSCAPES.palette[13])
        np.testing.assert_allclose(blended[0, column], expected, atol=1.01)


@pytest.mark.parametrize("size", [(12, 20), (3, 5), (6, 10)])
def test_the_blend_has_the_size_of_the_labels(size):
    rgb = np.full((*size, 3), 60, np.uint8)
    labels = np.full((6, 10), IGNORE, np.uint8)
    blended = blend(rgb, labels, np.zeros((6, 10), np.float32), CITYSCAPES)
    np.testing.assert_array_equal(blended, np.full((6, 10, 3), 60))


@pytest.fixture(scope="module")
def perception():
    """A certain car, 5 m away below the sky."""
    depth = np.full((64, 128), 5.0, np.float32)
    depth[:32] = np.inf
    return Perception(
        labels=np.full((64, 128), 13, np.uint8),
        label_uncertainty=np.zeros((64, 128), np.float32),
        depth=depth,
        depth_std=np.where(np.isinf(depth), np.inf, np.float32(0.05)).astype(np.float32),
    )


def tiles(picture):
    """The six tiles below their title bars, in reading order."""
    width, height = TILE
    rows = (picture[: len(picture) // 2], picture[len(picture) // 2 :])
    return [row[-height:, i * width : (i + 1) * width] for row in rows for i in range(3)]


@pytest.mark.parametrize("size", [(480, 640), (256, 512), (20, 30), (720, 1280)])
def test_the_panel_has_one_even_size_for_all_cameras(perception, size):
    picture = panel(np.zeros((*size, 3), np.uint8), perception, CITYSCAPES, ("0.0 s",))
    assert (picture.dtype, picture.shape) == (np.uint8, (2 * (256 + 24), 3 * 512, 3))


def test_each_tile_shows_its_map(perception):
    rgb = np.full((256, 512, 3), (10, 20, 30), np.uint8)
    camera, semantics, depth, entropy, std, _ = tiles(panel(rgb, perception, CITYSCAPES))
    assert (camera == (10, 20, 30)).all()
    car = 0.25 * np.array([10, 20, 30]) + 0.75 * np.array(CITYSCAPES.palette[13])
    np.testing.assert_allclose(semantics[128, 256], car, atol=1.01)
    assert depth[10, 256].tolist() == [255, 255, 255]
    np.testing.assert_array_equal(depth[-10, 256], depth_color(5.0))
    assert luminance(entropy).max() < 5
    assert std[10, 256].tolist() == [96, 96, 96]
    assert luminance(std[-10, 256]) < 5


def test_images_keep_their_aspect_ratio_in_a_tile(perception):
    rgb = np.full((256, 256, 3), 200, np.uint8)
    camera = tiles(panel(rgb, perception, CITYSCAPES))[0]
    assert (camera[:, 128:384] == 200).all()
    assert not camera[:, :120].any()
    assert not camera[:, 392:].any()


def test_a_legend_of_too_many_classes_shows_the_most_frequent_ones(perception):
    labels = np.arange(64 * 128, dtype=np.uint16).reshape(64, 128)
    labels = np.where(labels < 2000, labels % 10, 30 + labels % 10).astype(np.uint8)
    picture = panel(np.zeros((64, 128, 3), np.uint8), replace(perception, labels=labels), NYUV2)
    legend = tiles(picture)[5]
    shown = [i for i, color in enumerate(NYUV2.palette) if (legend == color).all(-1).sum() > 200]
    assert shown == [*range(10), *range(30, 40)]
    assert (legend[4:20, 10:28] == NYUV2.palette[0]).all()
    assert (legend[4:20, 142:160] == NYUV2.palette[30]).all()


def test_the_legend_of_a_table_without_sky_does_not_name_it(perception):
    rgb = np.zeros((64, 128, 3), np.uint8)
    with_sky, without = (
        tiles(panel(rgb, perception, table))[5]
        for table in (CITYSCAPES, replace(CITYSCAPES, sky=None))
    )
    rows, columns = np.nonzero((with_sky != without).any(-1))
    assert rows.min() > 130 and rows.max() < 160 and columns.min() > 280


def test_the_legend_shows_all_classes_the_ends_of_the_scale_and_the_caption(perception):
    rgb = np.zeros((64, 128, 3), np.uint8)
    legend = tiles(panel(rgb, perception, CITYSCAPES))[5]
    colors = {tuple(color) for color in legend.reshape(-1, 3).tolist()}
    assert set(CITYSCAPES.palette) <= colors
    for end in DEPTH_SPAN:
        assert tuple(depth_color(end).tolist()) in colors
    captioned = tiles(panel(rgb, perception, CITYSCAPES, ("frame 7", "0.7 s")))[5]
    changed = (captioned != legend).any(-1)
    assert changed[160:].sum() > 50
    assert not changed[:160].any()
