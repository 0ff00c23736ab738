"""The parts of a model card: training data with licences, warnings, ranges of the ground truth."""

from types import SimpleNamespace

import pytest

from emu_core.evaluation.model_card import (
    Origin,
    _range_of_truth,
    calibration_section,
    data_table,
    notices,
)
from emu_core.runtime.calibration import Calibration, Distance


def part(title, kinds=("labels", "depth"), **changes):
    """A data set of two frames with these kinds of ground truth."""
    about = {"split_title": "train", "labelled": bool(kinds), "license": "", "attribution": ""}
    about |= {
        "image_source": "photos",
        "real_images": True,
        "names": ["0", "1"],
        "max_depth": 80.0,
    }
    has = {f"has_{kind}": lambda name, kind=kind: kind in kinds for kind in ("labels", "depth")}

    class Part(SimpleNamespace):
        def __len__(self):
            return 2

    return Part(title=title, **{**about, **has, **changes})


def test_the_table_of_the_data_names_ground_truth_licence_and_attribution():
    parts = [
        part("street", license="CC-BY-4.0", attribution="A. Lidar"),
        part("photos", ("labels",), license="MIT"),
        part("clips", ()),
    ]
    rows = [[cell.strip() for cell in r.split("|")] for r in data_table(parts).splitlines()[2:]]
    assert [row[1:-1] for row in rows] == [
        ["street (train)", "2 photos", "classes and depth", "CC-BY-4.0", "A. Lidar"],
        ["photos (train)", "2 photos", "classes", "MIT", "–"],
        ["clips (train)", "2 photos", "none: learned from the teacher", "unknown", "–"],
    ]


@pytest.mark.parametrize(
    ("real", "encoder", "given", "expected"),
    [
        (False, None, "", "Apache-2.0, like the code: no third-party weights or data."),
        (False, "nvidia/mit-b0", "", "Read the licences of .*began with .nvidia/mit-b0. before"),
        (True, None, "", "Read the licences of .*began with .none of others. before"),
        (True, None, "Apache-2.0", "Apache-2.0. Read the licences of"),
    ],
)
def test_the_licence_depends_on_what_was_used(real, encoder, given, expected):
    settings = {"architecture.encoder": encoder}
    found = notices(Origin(None, [part("a", real_images=real)], settings, given))
    assert found["licence"].startswith(expected.partition(" of .*")[0])
    assert ("never seen a real image" in found["seen"]) is not real


def test_the_range_of_the_ground_truth_is_named_for_each_data_set_if_they_differ():
    same = {"a": part("a"), "b": part("b")}
    assert _range_of_truth(same) == "80 m"
    assert _range_of_truth({**same, "b": part("b", max_depth=120.0)}) == "80 m (a), 120 m (b)"


def test_the_calibration_says_what_changes_with_the_distance():
    distance = Distance((0.0,), (1.0,), 2.0, 3.0, temperature=1.2, std_factor=1.5)
    found = Calibration(0.9, 0.8, 0.4, "12 frames of yard (val)", {}, {}, distance)
    text = calibration_section(SimpleNamespace(calibration=found), {}, {})
    assert "is complete at 1.5 times this distance" in text
    assert "have 1.200 instead of 0.900, and a deviation that is also multiplied by 1.500" in text
    plain = Calibration(0.9, 0.8, 0.4, "12 frames of yard (val)")
    text = calibration_section(SimpleNamespace(calibration=plain), {}, {})
    assert "far" not in text and "All were fitted on 12 frames of yard (val), which no" in text
