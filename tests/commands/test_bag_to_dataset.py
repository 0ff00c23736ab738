"""The command bag_to_dataset: its options, its summary and its errors."""

import cv2
import numpy as np
import pytest

from emu_core.bags.calibration import pinhole
from emu_core.bags.drive_writer import DriveWriter


@pytest.fixture
def bag(tmp_path):
    with DriveWriter(tmp_path / "drive", camera="front") as drive:
        for i in range(20):
            bgr = np.full((48, 64, 3), 10 * i, np.uint8)
            drive.write(10**18 + i * 10**8, bgr, pinhole(64, 48, 50, 50, 31.5, 23.5))
    return tmp_path / "drive"


def test_the_options_of_the_command_line_reach_the_data_set(run, bag, tmp_path, capsys):
    options = ["--rate", 5, "--gap", 0.2, "--val", 0.5, "--name", "town", "--license", "MIT"]
    assert run("bag_to_dataset", bag, "--output", tmp_path / "own", *options) == 0
    shown = capsys.readouterr()
    assert "own: 9 frames written from 1 bag (4 train, 5 val)" in shown.out
    assert "\x1b" not in shown.out + shown.err
    images = sorted((tmp_path / "own/images").rglob("*.jpg"))
    assert [int(cv2.imread(str(image))[0, 0, 0]) for image in images] == [
        *(0, 20, 40, 60),
        *(100, 120, 140, 160, 180),
    ]
    assert "name: town" in (tmp_path / "own/dataset.yaml").read_text()
    assert run("bag_to_dataset", bag, "--output", tmp_path / "own", *options, "--resume") == 0
    assert "0 frames written from 1 bag (0 train, 0 val), 9 were there" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--image", "/rear"], "has no topic /rear; its topics: /front/image_raw/compressed ("),
        (["--max-depth", "0"], "--max-depth must be above 0"),
        (["--camera-info", "missing.yaml"], "has no topic missing.yaml"),
    ],
)
def test_an_error_is_one_line(run, bag, tmp_path, capsys, options, problem):
    assert run("bag_to_dataset", bag, "--output", tmp_path / "own", *options) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("bag_to_dataset: ")
    assert problem in line
    assert not (tmp_path / "own").exists()
