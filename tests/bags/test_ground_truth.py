"""Ground truth in bags: two kinds of PNG in messages."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from emu_core.bags import ground_truth
from emu_core.bags.errors import BagError


def message(image, extension=".png"):
    done, code = cv2.imencode(extension, image)
    assert done
    return SimpleNamespace(data=code.ravel())


def test_labels_are_the_pngs_pixels():
    labels = np.random.default_rng(0).choice(np.array([0, 5, 18, 255], np.uint8), (12, 20))
    decoded = ground_truth.labels(message(labels))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, labels)


def test_depth_follows_the_disparity_formula_and_ends_at_the_limit():
    raw = np.array([[0, 1, 2, 1025, 4097, 65535]], np.uint16)
    depth = ground_truth.depth(message(raw), focal=400.0, max_depth=80.0)
    assert depth.dtype == np.float32
    # Baseline · focal / ((raw − 1) / 256) = 88 m · 256 / (raw − 1)
    assert ground_truth.BASELINE * 400.0 == 88.0
    expected = [[np.nan, np.nan, np.nan, 22.0, 5.5, 88 * 256 / 65534]]
    np.testing.assert_allclose(depth, expected, rtol=1e-6)
    depth = ground_truth.depth(message(raw), focal=400.0, max_depth=10.0)
    assert np.isnan(depth).tolist() == [[True, True, True, True, False, False]]


GREY8, GREY16 = np.zeros((4, 6), np.uint8), np.zeros((4, 6), np.uint16)
COLOR = np.zeros((4, 6, 3), np.uint8)


def test_images_of_another_kind_are_refused_by_topic():
    for image in (GREY16, COLOR):
        with pytest.raises(BagError, match=r"^/ground_truth/labels: .* not a grey uint8 PNG"):
            ground_truth.labels(message(image))
    for image in (GREY8, COLOR):
        with pytest.raises(BagError, match=r"^/ground_truth/disparity: .* not a grey uint16 PNG"):
            ground_truth.depth(message(image), 400, 80)


@pytest.mark.parametrize("data", [b"", b"no PNG", bytes(message(GREY8).data[:20])])
def test_damaged_messages_are_refused(data, capfd):
    with pytest.raises(BagError, match="/ground_truth/labels"):
        ground_truth.labels(SimpleNamespace(data=data))
    capfd.readouterr()  # warnings of OpenCV
