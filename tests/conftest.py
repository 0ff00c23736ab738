"""Fixtures that tests of several modules share."""

import json
import sys

import cv2
import numpy as np
import pytest

AACHEN = {
    "extrinsic": {
        "baseline": 0.209313,
        "pitch": 0.038,
        "roll": 0.0,
        "x": 1.7,
        "y": 0.1,
        "yaw": -0.0195,
        "z": 1.22,
    },
    "intrinsic": {"fx": 2262.52, "fy": 2265.3017905988554, "u0": 1096.98, "v0": 513.137},
}
"""What Cityscapes' camera files hold, for images of 2048 × 1024."""


WIDE = {
    "extrinsic": {"baseline": 0.22},
    "intrinsic": {"fx": 150.0, "fy": 150.0, "u0": 79.5, "v0": 39.5},
}
"""Of the drives' images that `write_drive` writes, 160 × 80."""


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small tensors on a busy machine: one thread is faster than two that wait for each other.

    Fixtures of whole modules as well: two threads add up in another order.
    """
    if "torch" in sys.modules:  # a robot's tests do without
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def write_frame():
    """Function that writes a frame's four files in Cityscapes' layout, without code under test."""
    return _write_frame


def _write_frame(root, split, name, rgb=None, ids=None, raw=None, camera=None, size=(24, 48)):
    city = name.split("_")[0]
    rgb = np.full((*size, 3), 90, np.uint8) if rgb is None else rgb
    ids = np.full(size, 7, np.uint8) if ids is None else ids
    raw = np.full(size, 4000, np.uint16) if raw is None else raw
    for folder, suffix, image in (
        ("leftImg8bit", "leftImg8bit.png", rgb[..., ::-1]),
        ("gtFine", "gtFine_labelIds.png", ids),
        ("disparity", "disparity.png", raw),
    ):
        path = root / folder / split / city / f"{name}_{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), image)
    path = root / "camera" / split / city / f"{name}_camera.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(camera or AACHEN))


@pytest.fixture(scope="session")
def write_drive():
    """Function that writes a drive's frame: road below, sky above, 11 m everywhere but the sky."""

    def write(root, split, name, seed=0, ids=None):
        rng = np.random.default_rng(seed)
        if ids is None:
            ids = np.full((80, 160), 7, np.uint8)
            ids[:30] = 23
        raw = np.where(ids == 23, 0, 1 + 256 * 3).astype(np.uint16)  # 0.22 · 150 / 3 px = 11 m
        rgb = rng.integers(0, 256, (80, 160, 3), np.uint8)
        _write_frame(root, split, name, rgb, ids, raw, WIDE)

    return write


@pytest.fixture
def write_nyuv2():
    """Function that writes NYUv2's three official files; frames that it is not given are zero."""
    return _write_nyuv2


def _write_nyuv2(root, frames):
    """`frames` maps numbers 1…1449 to image (480,640,3), labels (480,640) of 894 classes, depth.

    Odd numbers up to 1307 and all from 1309 to 1449 are train's: 795 and 654 as they should be.
    Class c of 894 maps to (c − 1) % 40 + 1.
    """
    import h5py  # here, so that a robot's tests do without
    from scipy.io import savemat

    root.mkdir(parents=True, exist_ok=True)
    arrays = {"images": ((3, 640, 480), np.uint8), "labels": ((640, 480), np.uint16),
              "depths": ((640, 480), np.float32)}  # fmt: skip
    # MATLAB 7.3 writes HDF5 after a header of 512 bytes, in chunks, and its axes are reversed.
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w", userblock_size=512) as file:
        for place, (key, (shape, dtype)) in enumerate(arrays.items()):
            stored = file.create_dataset(
                key, (1449, *shape), dtype, chunks=(1, *shape), compression="gzip"
            )
            for number, frame in frames.items():
                stored[number - 1] = np.asarray(frame[place], dtype).T
    numbers = np.arange(1, 1450)
    test = (numbers % 2 == 0) & (numbers <= 1308)
    savemat(root / "splits.mat", {"trainNdxs": numbers[~test][:, None].astype(float),
                                  "testNdxs": numbers[test][:, None].astype(float)})  # fmt: skip
    savemat(root / "classMapping40.mat", {"mapClass": np.arange(894.0)[None] % 40 + 1})


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
def write_noise(write_frame):
    """Function that writes frames of noise: three classes and any depth, the same every time."""

    def write(root, frames, size=(64, 128), focal=100.0, codes=(400, 4000)):
        """`frames` are pairs of split and name; `codes` bounds the disparity's code."""
        rng = np.random.default_rng(0)
        height, width = size
        camera = {
            "extrinsic": {"baseline": 0.22},
            "intrinsic": {"fx": focal, "fy": focal, "u0": width / 2 - 0.5, "v0": height / 2 - 0.5},
        }
        for split, name in frames:
            write_frame(
                root, split, name,
                rng.integers(0, 256, (*size, 3), np.uint8),
                rng.choice(np.array([7, 11, 23], np.uint8), size),
                rng.integers(*codes, size).astype(np.uint16), camera,
            )  # fmt: skip

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
