"""What is written to disk, and that a killed rendering goes on. Skipped where nothing renders."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from emu_core.bags.ground_truth import BASELINE
from emu_core.data.cityscapes import Cityscapes, read_camera
from emu_core.drives.drive import DriveSpec, draw

SPEC = DriveSpec("unknown", 21, 2, 0.5, intruder="unknown", width=160, height=80)


@pytest.fixture(scope="module")
def render(renderer):
    from emu_core.drives import files

    return files.render


@pytest.fixture(scope="module")
def root(render, tmp_path_factory):
    root = tmp_path_factory.mktemp("drives")
    assert render(SPEC, root) == 2
    return root


@pytest.fixture(scope="module")
def drive():
    return draw(SPEC)


@pytest.fixture(scope="module")
def expected(renderer, drive):
    """Both frames, rendered without files."""
    with renderer(drive) as scene:
        return [
            scene.frame(i * SPEC.interval, np.random.default_rng([SPEC.seed, i])) for i in (0, 1)
        ]


def test_a_rendered_drive_is_read_as_cityscapes(root, drive, expected):
    sample = Cityscapes(root, "unknown", max_depth=80.0)[1]
    frame = expected[1]
    assert sample.name == "unknown21_000000_000001"
    np.testing.assert_array_equal(sample.image, frame.image)
    near = frame.depth < 79.0
    # A step of the 16-bit code at 80 m: z²/(256·b·f).
    step = 80.0**2 / (256 * BASELINE * drive.camera.focal)
    np.testing.assert_allclose(sample.depth[near], frame.depth[near], atol=step / 2 * 1.01)
    assert np.all(np.isnan(sample.depth[frame.depth > 81.0]))


def test_label_ids_and_the_mask_are_written_as_rendered(root, expected):
    frame = expected[0]
    stem = root / "gtFine" / "unknown" / "unknown21" / "unknown21_000000_000000_gtFine_"
    ids, mask = (
        cv2.imread(f"{stem}{name}.png", cv2.IMREAD_UNCHANGED) for name in ("labelIds", "object")
    )
    np.testing.assert_array_equal(ids, frame.label_ids)
    np.testing.assert_array_equal(mask, frame.intruder)
    assert mask.any()


def test_the_camera_file_is_the_camera(root, drive):
    path = root / "camera" / "unknown" / "unknown21" / "unknown21_000000_000000_camera.json"
    camera, content = drive.camera, json.loads(path.read_text())
    read = read_camera(path)
    assert (read.fx, read.fy, read.u0, read.v0) == (camera.focal, camera.focal, 79.5, 39.5)
    assert read.baseline == BASELINE
    extrinsic = content["extrinsic"]
    assert (extrinsic["pitch"], extrinsic["roll"], extrinsic["yaw"], extrinsic["z"]) == (
        camera.pitch, camera.roll, camera.yaw, camera.mount_height,
    )  # fmt: skip


def test_the_twin_of_a_pair_has_the_next_sequence_number(renderer):
    from emu_core.drives.files import frame_files

    names = [
        frame_files(replace(SPEC, seed=3, intruder=kind), Path())[1].name
        for kind in ("unknown", "known")
    ]
    assert names == ["unknown3_000000_000001", "unknown3_000001_000001"]


def test_frames_on_disk_are_not_rendered_again(root, render):
    ticks = []
    assert render(SPEC, root, lambda: ticks.append(1)) == 0
    assert len(ticks) == 2


def test_a_frame_without_its_camera_file_is_rendered_again(root, render):
    """The camera file is written last: without it the frame is not complete."""
    folder = "unknown/unknown21/unknown21_000000_00000"
    image, camera = (
        root / "leftImg8bit" / f"{folder}1_leftImg8bit.png",
        root / "camera" / f"{folder}1_camera.json",
    )
    whole, other = image.read_bytes(), root / "leftImg8bit" / f"{folder}0_leftImg8bit.png"
    stamp = other.stat().st_mtime_ns
    camera.unlink()
    image.write_bytes(whole[:100])
    assert render(SPEC, root) == 1
    assert image.read_bytes() == whole
    assert camera.is_file()
    assert other.stat().st_mtime_ns == stamp
    assert not list(root.rglob("*.part"))
