"""The command `training/adapt.py`, and pictures."""

import importlib.util
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from emu_core.runtime.perceiver import Perceiver

COMMAND = Path(__file__).parents[2] / "training" / "adapt.py"


@pytest.fixture
def adapt(monkeypatch, tmp_path):
    """Function that runs the command; returns its exit status."""
    spec = importlib.util.spec_from_file_location("adapt", COMMAND)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def call(*options):
        output = tmp_path / "out" / "adapted.onnx"
        arguments = ["adapt", "--output", output, *options]
        monkeypatch.setattr(sys, "argv", [str(part) for part in arguments])
        return module.main()

    return call


@pytest.fixture
def adapted(adapt, tmp_path):
    """Function that adapts and opens the model file."""

    def call(*options):
        assert adapt(*options) == 0
        return Perceiver(tmp_path / "out" / "adapted.onnx")

    return call


@pytest.fixture
def picture():
    """Function that makes a picture of a size, uint8 (H, W, 3)."""

    def make(height, width):
        coarse = np.random.default_rng(5).integers(0, 256, (6, 8, 3), np.uint8)
        return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)

    return make
