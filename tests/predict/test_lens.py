"""Focal lengths from options, EXIF and the training, against the pinhole formulas."""

import math

import pytest

from emu_core.predict.lens import LensOptions, find_lens

SIZE = (48, 64)


def test_the_given_lens_comes_before_exif_and_exif_before_a_guess(perceiver):
    given = find_lens(perceiver, SIZE, LensOptions(focal=70), 26)
    assert (given.focal, given.origin) == (70, "given")
    assert given.intrinsics == (70, 70, 31.5, 23.5)
    view = find_lens(perceiver, SIZE, LensOptions(fov=90), 26)
    assert view.focal == pytest.approx(32) and "field of view of 90°" in view.text
    exif = find_lens(perceiver, SIZE, LensOptions(), 26)
    # The picture's diagonal of 80 pixels is that of 36 × 24 mm of film.
    assert exif.focal == pytest.approx(26 * 80 / 43.2666, rel=1e-4)
    assert exif.origin == "EXIF" and "26 mm of 35 mm film" in exif.text


@pytest.mark.parametrize(("size", "focal"), [((48, 64), 50), ((96, 128), 100), ((96, 64), 70.71)])
def test_without_a_lens_the_focal_length_of_the_training_is_assumed(perceiver, size, focal):
    """It leaves the depth as the model computes it: the geometric mean of both axes is 50."""
    lens = find_lens(perceiver, size, LensOptions())
    assert lens.focal == pytest.approx(focal, rel=1e-4) and lens.origin == "guess"
    view = math.degrees(2 * math.atan(size[1] / 2 / focal))
    assert "scale of depth is a guess" in lens.text and f"{focal:.0f} pixels" in lens.text
    assert f"{view:.0f}°" in lens.text


def test_a_lens_unlike_those_of_the_training_is_named(perceiver):
    narrowest, widest = perceiver.info.horizontal_fov
    assert "outside" not in find_lens(perceiver, SIZE, LensOptions(fov=widest)).text
    assert "outside those of the training" in find_lens(perceiver, SIZE, LensOptions(fov=8)).text
    assert narrowest > 10


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"focal": 0}, "above 0 pixels"),
        ({"focal": math.nan}, "above 0 pixels"),
        ({"fov": 180}, "below 180 degrees"),
        ({"fov": 90, "focal": 50}, "not both"),
    ],
)
def test_impossible_lenses_are_refused(options, reason):
    with pytest.raises(ValueError, match=reason):
        LensOptions(**options)
