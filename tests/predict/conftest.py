"""Fixtures of predict's tests: a model file with known outputs, and pictures."""

import cv2
import numpy as np
import pytest

from emu_core.runtime.dummy_model import make_dummy_model
from emu_core.runtime.perceiver import Perceiver


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A dummy model file of 48 × 64 pixels with the canonical focal length 50."""
    pytest.importorskip("onnx", reason="the dummy model needs onnx: pip install onnx")
    folder = tmp_path_factory.mktemp("model")
    return make_dummy_model(folder / "dummy.onnx", (48, 64), canonical_focal=50.0)


@pytest.fixture(scope="session")
def perceiver(model):
    return Perceiver(model)


@pytest.fixture(scope="session")
def noise():
    """RGB noise of the model's input size, uint8 (48, 64, 3)."""
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


@pytest.fixture(scope="session")
def write_image():
    """Function that writes an RGB image, of any suffix."""

    def write(path, rgb):
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), rgb[..., ::-1] if rgb.ndim == 3 else rgb)
        return path

    return write
