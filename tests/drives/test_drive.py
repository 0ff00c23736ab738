from dataclasses import asdict, replace

import numpy as np
import pytest

from emu_core.drives.drive import Drive, DriveSpec, draw
from emu_core.labels import CITYSCAPES


def numbers(drive: Drive) -> dict:
    """All values of a drive, without its random generator."""
    return asdict(replace(drive, scenery=replace(drive.scenery, rng=None)))


def test_the_same_seed_generates_the_same_drive(small_drive):
    again = draw(DriveSpec("train", 11, 3, 0.5, width=256, height=128))
    np.testing.assert_equal(numbers(again), numbers(small_drive(11)))
    other = small_drive(12)
    assert again.scenery.layout != other.scenery.layout
    assert again.camera != other.camera and again.conditions != other.conditions


def test_cameras_around_the_car_look_in_all_directions_through_wide_lenses():
    drives = [
        draw(DriveSpec("train", seed, 2, 1.0, width=256, height=128, around=True))
        for seed in range(20, 32)
    ]
    quarters = {int(drive.camera.yaw // (np.pi / 2)) for drive in drives}
    assert quarters == {-2, -1, 0, 1}
    views = [2 * np.degrees(np.arctan(128 / drive.camera.focal)) for drive in drives]
    assert 56 <= min(views) < 70 and 82 < max(views) <= 96
    assert all(drive.scenery.path.s[0] < -100 for drive in drives)  # a street to look back on


@pytest.mark.parametrize("condition", ["haze", "night"])
def test_weather_changes_the_light_and_not_the_street(small_drive, condition):
    day, other = small_drive(11), small_drive(11, condition)
    assert other.conditions.night == (condition == "night")
    assert (other.conditions.haze > 0.02) == (condition == "haze")
    light = {"conditions": day.conditions, "textures": {}}  # the latter are drawn later
    np.testing.assert_equal(*(numbers(replace(drive, **light)) for drive in (day, other)))


def test_a_pair_differs_in_its_intruder_only(small_drive):
    unknown, known = (small_drive(11, intruder=kind) for kind in ("unknown", "known"))
    assert {part.label for part in unknown.intruder.actor.parts} == {"unknown"}
    assert {part.label for part in known.intruder.actor.parts} <= {"car", "motorcycle"}
    np.testing.assert_equal(*(numbers(replace(d, intruder=None)) for d in (unknown, known)))


def test_a_training_drive_has_only_classes_of_cityscapes(small_drive):
    drive = small_drive(11)
    parts = [*drive.scenery.parts, *(p for m in drive.movers for p in m.actor.parts)]
    parts += [p for m in drive.movers for limb in m.actor.limbs for p in limb.parts]
    assert {part.label for part in parts} <= set(CITYSCAPES.names)
    assert {part.texture for part in parts} <= set(drive.textures)
    assert drive.intruder is None


def test_a_specification_counts_the_frames_to_render():
    for frames, first, expected in ((14, None, 14), (14, 3, 3), (2, 3, 2)):
        assert DriveSpec("train", 1, frames, 0.6, first=first).count == expected


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"condition": "rain"}, "expected condition day or haze or night, but got 'rain'"),
        ({"intruder": "elephant"}, "but got 'elephant'"),
        ({"frames": 0}, "a positive frames, but got 0"),
        ({"interval": -1.0}, "a positive interval, but got -1.0"),
        ({"width": 0}, "a positive width, but got 0"),
    ],
)
def test_an_invalid_specification_is_refused(wrong, message):
    values = {"split": "val", "seed": 7, "frames": 1, "interval": 1.0, **wrong}
    with pytest.raises(ValueError, match="Drive 7 of split val") as caught:
        DriveSpec(**values)
    assert message in str(caught.value)
