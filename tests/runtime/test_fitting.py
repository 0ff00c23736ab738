"""Geometry of fitting an image to a network, against values computed by hand."""

import numpy as np
import pytest

from emu_core.runtime.dummy_model import make_dummy_model
from emu_core.runtime.fitting import fit_image
from emu_core.runtime.perceiver import Perceiver


def test_letterbox_geometry_is_that_of_a_hand_made_case():
    # 50×100 into 48×64: scale min(48/50, 64/100) = 0.64, so 32×64, 8 rows free above and below.
    # Outputs are twice as large: 16 rows are cropped above, 64 remain.
    fitting = fit_image((50, 100), (48, 64), (96, 128), "letterbox")
    assert (fitting.resized, fitting.top, fitting.left) == ((32, 64), 8, 0)
    assert (fitting.crop_top, fitting.crop_left) == (16, 0)
    assert (fitting.height, fitting.width) == (64, 128)
    # A principal point in the middle stays in the middle: (64 - 1)/2 and (128 - 1)/2.
    assert fitting.intrinsics(100, 100, 49.5, 24.5) == pytest.approx((128, 128, 63.5, 31.5))
    assert fitting.network_focal(100, 100) == pytest.approx(64)


def test_a_border_of_a_fraction_of_an_output_pixel_leaves_an_offset():
    # 33×64 into 48×64 leaves 7 rows above; outputs of half the size begin at row 3.5, so at 4,
    # and end at (7 + 33)/2 = 20.
    fitting = fit_image((33, 64), (48, 64), (24, 32), "letterbox")
    assert (fitting.crop_top, fitting.height, fitting.offset_y) == (4, 16, 0.5)
    # Row 0 of the image has its centre at ½ · ½ − ½ − ½ = −0.75 of the cropped map.
    assert fitting.intrinsics(1, 1, 0, 0)[3] == pytest.approx(-0.75)


def test_stretch_scales_each_axis_about_pixel_centres():
    fitting = fit_image((720, 1280), (256, 512), (256, 512), "stretch")
    fx, fy, cx, cy = fitting.intrinsics(800, 800, 640, 360)
    assert (fx, fy) == pytest.approx((320, 800 * 256 / 720))
    assert cx == pytest.approx(640.5 * 0.4 - 0.5)
    assert cy == pytest.approx(360.5 * 256 / 720 - 0.5)


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("output_size", [(48, 64), (96, 128), (24, 32)])
@pytest.mark.parametrize("size", [(100, 300), (301, 100), (66, 128), (24, 40)])
def test_a_mark_in_the_image_lies_where_the_geometry_says(tmp_path, fit, output_size, size):
    perceiver = Perceiver(make_dummy_model(tmp_path / "m.onnx", (48, 64), output_size), fit=fit)
    height, width = size
    # A green rectangle whose centre of mass is known, wide enough for the coarsest output.
    top, left = height // 4, width // 4
    image = np.zeros((height, width, 3), np.uint8)
    image[top : top + height // 2, left : left + width // 2, 1] = 255
    weights = perceiver.perceive(image).label_uncertainty.astype(np.float64)
    _, _, column, row = perceiver.fitting(height, width).intrinsics(
        1, 1, left + (width // 2 - 1) / 2, top + (height // 2 - 1) / 2
    )
    rows, columns = np.indices(weights.shape)
    # The dummy takes nearest pixels, which moves the centre by at most half a pixel of the larger.
    slack = 0.5 * max(1.0, output_size[0] / 48)
    assert (rows * weights).sum() / weights.sum() == pytest.approx(row, abs=slack + 0.05)
    assert (columns * weights).sum() / weights.sum() == pytest.approx(column, abs=slack + 0.05)
