"""Fixtures that tests of several modules share."""

import json
import sys

import cv2
import numpy as np
import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small tensors on a busy machine: one thread is faster than two that wait for each other.

    Fixtures of whole modules as well: two threads add up in another order.
    """
    if "torch" in sys.modules:  # a robot's tests do without
        sys.modules["torch"].set_num_threads(1)


def camera_file(fx, fy, u0, v0, baseline):
    """Content of one of Cityscapes' camera files."""
    return {
        "extrinsic": {"baseline": baseline},
        "intrinsic": {"fx": fx, "fy": fy, "u0": u0, "v0": v0},
    }


AACHEN = camera_file(2262.52, 2265.3017905988554, 1096.98, 513.137, 0.209313)
"""Content of a real camera file, for images of 2048 × 1024."""


@pytest.fixture(scope="session")
def write_frame():
    """Function that writes a frame's four files in Cityscapes' layout, without code under test.

    The camera is a real one, the content of `camera`, or one of `focal` pixels with the principal
    point in the centre and a baseline of 0.22 m.
    """

    def write(
        root, split, name, rgb=None, ids=None, raw=None, camera=None, size=(24, 48), focal=None
    ):
        rgb = np.full((*size, 3), 90, np.uint8) if rgb is None else rgb
        height, width = size = rgb.shape[:2]
        ids = np.full(size, 7, np.uint8) if ids is None else ids
        raw = np.full(size, 4000, np.uint16) if raw is None else raw
        if focal is not None:
            camera = camera_file(focal, focal, width / 2 - 0.5, height / 2 - 0.5, 0.22)
        for folder, suffix, image in (
            ("leftImg8bit", "leftImg8bit.png", rgb[..., ::-1]),
            ("gtFine", "gtFine_labelIds.png", ids),
            ("disparity", "disparity.png", raw),
            ("camera", "camera.json", None),
        ):
            path = root / folder / split / name.split("_")[0] / f"{name}_{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if image is None:
                path.write_text(json.dumps(camera or AACHEN))
            else:
                assert cv2.imwrite(str(path), image)

    return write


@pytest.fixture(scope="session")
def write_drive(write_frame):
    """Function that writes a drive's frame: road below, sky above, 11 m everywhere but the sky."""

    def write(root, split, name, seed=0, ids=None):
        if ids is None:
            ids = np.full((80, 160), 7, np.uint8)
            ids[:30] = 23
        raw = np.where(ids == 23, 0, 1 + 256 * 3).astype(np.uint16)  # 0.22 · 150 / 3 px = 11 m
        rgb = np.random.default_rng(seed).integers(0, 256, (80, 160, 3), np.uint8)
        write_frame(root, split, name, rgb, ids, raw, focal=150.0)

    return write


@pytest.fixture(scope="session")
def write_noise(write_frame):
    """Function that writes frames of noise: three classes and any depth, the same every time."""

    def write(root, frames, size=(64, 128), focal=100.0, codes=(400, 4000)):
        """`frames` are pairs of split and name; `codes` bounds the disparity's code."""
        rng = np.random.default_rng(0)
        for split, name in frames:
            rgb = rng.integers(0, 256, (*size, 3), np.uint8)
            ids = rng.choice(np.array([7, 11, 23], np.uint8), size)
            raw = rng.integers(*codes, size).astype(np.uint16)
            write_frame(root, split, name, rgb, ids, raw, focal=focal)

    return write


@pytest.fixture(scope="session")
def write_nyuv2():
    """Function that writes NYUv2's three official files; frames that it is not given are zero.

    `frames` maps numbers 1…1449 to image (480,640,3), labels (480,640) of 894 classes, depth. Odd
    numbers up to 1307 and all from 1309 to 1449 are train's: 795 and 654 as they should be. Class
    c of 894 maps to (c − 1) % 40 + 1.
    """

    def write(root, frames):
        import h5py  # here, so that a robot's tests do without
        from scipy.io import savemat

        root.mkdir(parents=True, exist_ok=True)
        arrays = {
            "images": ((3, 640, 480), np.uint8),
            "labels": ((640, 480), np.uint16),
            "depths": ((640, 480), np.float32),
        }
        # MATLAB 7.3 writes HDF5 after a header of 512 bytes, in chunks, and its axes are reversed.
        with h5py.File(root / "nyu_depth_v2_labeled.mat", "w", userblock_size=512) as file:
            for place, (key, (shape, dtype)) in enumerate(arrays.items()):
                options = {"chunks": (1, *shape), "compression": "gzip"}
                stored = file.create_dataset(key, (1449, *shape), dtype, **options)
                for number, frame in frames.items():
                    stored[number - 1] = np.asarray(frame[place], dtype).T
        numbers = np.arange(1.0, 1450)[:, None]
        test = (numbers % 2 == 0) & (numbers <= 1308)
        splits = {"trainNdxs": numbers[~test][:, None], "testNdxs": numbers[test][:, None]}
        savemat(root / "splits.mat", splits)
        savemat(root / "classMapping40.mat", {"mapClass": np.arange(894.0)[None] % 40 + 1})

    return write


@pytest.fixture(scope="session")
def write_nyuv2_unpacked():
    """Function that writes a frame of NYUv2's unpacked form; by default a grey wall at 3 m."""

    def write(root, split, number=1, rgb=None, ids=None, millimetres=None):
        size = (480, 640)
        for folder, image in (
            ("rgb", np.full((*size, 3), 90, np.uint8) if rgb is None else rgb[..., ::-1]),
            ("labels_40", np.ones(size, np.uint8) if ids is None else ids),
            ("depth", np.full(size, 3000, np.uint16) if millimetres is None else millimetres),
        ):
            path = root / split / folder / f"{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), image, [cv2.IMWRITE_PNG_COMPRESSION, 0])

    return write


@pytest.fixture(scope="session")
def renderer():
    """The class `Scene`; skips with the reason where nothing can be rendered."""
    from emu_core.drives.drive import DriveSpec, draw
    from emu_core.drives.rendering import RenderingError

    try:
        from emu_core.drives.scene import Scene

        with Scene(draw(DriveSpec("train", 1, 1, 0.1, width=32, height=16))):
            pass
    except RenderingError as error:
        pytest.skip(str(error))
    return Scene
