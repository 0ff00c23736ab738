from dataclasses import asdict, replace

import numpy as np
import pytest

from emu_core.drives.drive import Drive, DriveSpec, draw
from emu_core.labels import CITYSCAPES


def everything(drive: Drive) -> list[np.ndarray]:
    """All numbers of a drive that a renderer uses."""
    movers = [*drive.movers, drive.intruder] if drive.intruder else drive.movers
    parts = [*drive.scenery.parts, *(p for m in movers for p in m.actor.parts)]
    places = [(m.s, m.d, m.speed, m.drift, m.heading, m.z) for m in movers]
    return [
        np.concatenate([part.mesh.vertices for part in parts]),
        np.concatenate([part.mesh.uvs for part in parts]),
        np.array([part.tint for part in parts]),
        np.array(places),
        np.concatenate([image.ravel() for image in drive.textures.values()]),
        np.array(list(asdict(drive.camera).values())),
    ]


def assert_same(one: Drive, other: Drive) -> None:
    assert one.conditions == other.conditions
    for a, b in zip(everything(one), everything(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_same_seed_generates_the_same_drive(small_drive):
    assert_same(small_drive(11), draw(DriveSpec("train", 11, 3, 0.5, width=256, height=128)))


def test_another_seed_generates_another_street(small_drive):
    one, other = small_drive(11), small_drive(12)
    assert one.scenery.layout != other.scenery.layout
    assert one.camera != other.camera and one.conditions != other.conditions


@pytest.mark.parametrize("condition", ["haze", "night"])
def test_weather_changes_the_light_and_not_the_street(small_drive, condition):
    day, other = small_drive(11), small_drive(11, condition)
    np.testing.assert_array_equal(everything(day)[0], everything(other)[0])
    assert day.camera == other.camera
    assert other.conditions.night == (condition == "night")
    assert (other.conditions.haze > 0.02) == (condition == "haze")


def test_a_pair_differs_in_its_intruder_only(small_drive):
    unknown, known = (small_drive(11, intruder=kind) for kind in ("unknown", "known"))
    assert {part.label for part in unknown.intruder.actor.parts} == {"unknown"}
    assert {part.label for part in known.intruder.actor.parts} <= {"car", "motorcycle"}
    assert_same(*(replace(drive, intruder=None) for drive in (unknown, known)))


def test_a_training_drive_has_only_classes_of_cityscapes(small_drive):
    drive = small_drive(11)
    parts = [*drive.scenery.parts, *(p for m in drive.movers for p in m.actor.parts)]
    parts += [p for m in drive.movers for limb in m.actor.limbs for p in limb.parts]
    assert {part.label for part in parts} <= set(CITYSCAPES.names)
    assert {part.texture for part in parts} <= set(drive.textures)
    assert drive.intruder is None


def test_a_specification_counts_the_frames_to_render():
    counts = [
        DriveSpec("train", 1, n, 0.6, first=k).count for n, k in ((14, None), (14, 3), (2, 3))
    ]
    assert counts == [14, 3, 2]


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
