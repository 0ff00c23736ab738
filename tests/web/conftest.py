"""Fixtures of the page's tests: a dummy model, and a rendered street."""

from pathlib import Path

import cv2
import pytest

from emu_core.runtime.dummy_model import make_dummy_model
from emu_core.runtime.perceiver import Perceiver

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def perceiver(tmp_path_factory):
    """A dummy model of 48 × 64 pixels with the canonical focal length 50."""
    pytest.importorskip("onnx", reason="the dummy model needs onnx: pip install onnx")
    folder = tmp_path_factory.mktemp("model")
    return Perceiver(make_dummy_model(folder / "dummy.onnx", (48, 64), canonical_focal=50.0))


@pytest.fixture(scope="session")
def street(tmp_path_factory):
    """A PNG of a rendered street: the camera's tile of the README's picture."""
    path = tmp_path_factory.mktemp("street") / "street.png"
    picture = cv2.imread(str(ROOT / "docs" / "demo.jpg"))[24:280, :512]
    assert cv2.imwrite(str(path), picture)
    return path
