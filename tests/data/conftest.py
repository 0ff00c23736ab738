"""Fixtures of the data set's tests: small folder data sets, written without code under test."""

import json

import cv2
import numpy as np
import pytest
import yaml

SIZE = (8, 16)


@pytest.fixture
def write_folder(tmp_path):
    """Function that writes a folder data set below `tmp_path`, and returns its folder.

    Args of the function: the files by path (an array is an image or a NumPy file, bytes and text
    are themselves, other values are JSON), the folder, and the content of dataset.yaml.
    """

    def write(files, folder="own", /, **about):
        root = tmp_path / folder
        if about:
            files = {"dataset.yaml": yaml.safe_dump(about), **files}
        for place, content in files.items():
            path = root / place
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            elif isinstance(content, str):
                path.write_text(content)
            elif not isinstance(content, np.ndarray):
                path.write_text(json.dumps(content))
            elif path.suffix == ".npy":
                np.save(path, content)
            else:
                code = cv2.imencode(path.suffix.lower(), content)[1]
                path.write_bytes(code.tobytes())
        return root

    return write


@pytest.fixture
def photo():
    """Function that returns an image of one grey value, (8, 16, 3)."""
    return lambda grey=90, size=SIZE: np.full((*size, 3), grey, np.uint8)


@pytest.fixture
def camera():
    """A camera of the images of `photo`."""
    return {"width": SIZE[1], "height": SIZE[0], "fx": 20.0, "fy": 22.0, "cx": 8, "cy": 4}


@pytest.fixture
def streets(write_folder, photo, camera):
    """Function that writes frames of one class, "own", with its mapping to Cityscapes."""

    def write(name, frames=2, mapping="road", depth=False, labels=True, **about):
        files = {f"images/{i}.png": photo() for i in range(frames)}
        if labels:
            files |= {f"labels/{i}.png": np.full(SIZE, 1, np.uint8) for i in range(frames)}
            about = {"classes": {1: "own"}, "maps_to": "cityscapes"} | about
            about["mapping"] = {"own": mapping}
        if depth:
            files |= {f"depth/{i}.png": np.full(SIZE, 20 * 256, np.uint16) for i in range(frames)}
            files["cameras.json"] = {".": camera}
        return write_folder(files, name, name=name, **about)

    return write
