"""Frames and label maps that the tests of annotation tools share."""

import cv2
import numpy as np
import pytest
import yaml

SIZE = (48, 64)


def label_map():
    """Indices 0 to 3: two regions, one of which has a hole of index 0 and an island of index 3."""
    indices = np.zeros(SIZE, np.uint8)
    indices[4:40, 2:30] = 1
    indices[30:48, 20:60] = 2  # touches the border and covers index 1
    indices[10:16, 6:14] = 0
    indices[20:26, 10:20] = 3
    return indices


@pytest.fixture
def indices():
    return label_map()


@pytest.fixture
def write_images():
    """Function that writes one JPEG and one PNG of noise below a folder; returns their paths."""

    def write(folder, names=("a/07.jpg", "b/1.png")):
        rng = np.random.default_rng(0)
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(folder / name), rng.integers(0, 256, (*SIZE, 3), np.uint8))
        return [folder / name for name in names]

    return write


@pytest.fixture
def write_root(write_images):
    """Function that writes a folder data set of two frames, the first one with labels."""

    def write(root, classes, ids=None, **description):
        write_images(root / "images")
        if ids is not None:
            path = root / "labels/a/07.png"
            path.parent.mkdir(parents=True)
            assert cv2.imwrite(str(path), ids)
        content = {"classes": classes, **description}
        (root / "dataset.yaml").write_text(yaml.safe_dump(content))
        return root

    return write


@pytest.fixture
def read_labels():
    """Function that returns the labels of a folder data set by frame name."""

    def read(root):
        folder = root / "labels"
        return {
            path.relative_to(folder).with_suffix("").as_posix(): cv2.imread(str(path), -1)
            for path in folder.rglob("*.png")
        }

    return read
