"""Files of rendered drives, also after an interrupted rendering. Skipped without a renderer."""

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
def files(renderer):
    from emu_core.drives import files

    return files


@pytest.fixture(scope="module")
def root(files, tmp_path_factory):
    root = tmp_path_factory.mktemp("drives")
    assert files.render(SPEC, root) == 2
    return root


@pytest.fixture(scope="module")
def drive():
    return draw(SPEC)


@pytest.fixture(scope="module")
def expected(renderer, drive):
    """Both frames, rendered without files."""
    with renderer(drive) as scene:
        rngs = [np.random.default_rng([SPEC.seed, i]) for i in (0, 1)]
        return [scene.frame(i * SPEC.interval, rng) for i, rng in enumerate(rngs)]


def path_of(root, kind, frame, suffix):
    return root / kind / "unknown" / "unknown21" / f"unknown21_000000_00000{frame}_{suffix}"


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
    for name, array in (("labelIds", expected[0].label_ids), ("object", expected[0].intruder)):
        path = path_of(root, "gtFine", 0, f"gtFine_{name}.png")
        np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), array)
        assert array.any()


def test_the_camera_file_describes_the_camera(root, drive):
    path = path_of(root, "camera", 0, "camera.json")
    camera, read = drive.camera, read_camera(path)
    assert (read.fx, read.fy, read.u0, read.v0) == (camera.focal, camera.focal, 79.5, 39.5)
    assert read.baseline == BASELINE
    extrinsic = json.loads(path.read_text())["extrinsic"]
    for name in ("pitch", "roll", "yaw"):
        assert extrinsic[name] == getattr(camera, name)
    assert extrinsic["z"] == camera.mount_height


def test_the_known_twin_has_the_next_sequence_number(files):
    specs = [replace(SPEC, seed=3, intruder=kind) for kind in ("unknown", "known")]
    names = [files.frame_files(spec, Path())[1].name for spec in specs]
    assert names == ["unknown3_000000_000001", "unknown3_000001_000001"]


def test_frames_on_disk_are_not_rendered_again(root, files):
    ticks = []
    assert files.render(SPEC, root, lambda: ticks.append(1)) == 0
    assert len(ticks) == 2


def test_a_frame_without_its_camera_file_is_rendered_again(root, files):
    """The camera file is written last: without it the frame is incomplete."""
    other, image = (path_of(root, "leftImg8bit", i, "leftImg8bit.png") for i in (0, 1))
    camera = path_of(root, "camera", 1, "camera.json")
    complete, stamp, names = image.read_bytes(), other.stat().st_mtime_ns, set(root.rglob("*"))
    camera.unlink()
    image.write_bytes(complete[:100])
    assert files.render(SPEC, root) == 1
    assert image.read_bytes() == complete
    assert other.stat().st_mtime_ns == stamp
    assert set(root.rglob("*")) == names  # the camera file is back, and no temporary file is left
