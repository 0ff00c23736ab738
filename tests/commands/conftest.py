"""Commands of training/ as functions."""

import importlib.util
import sys
from pathlib import Path

import pytest

TRAINING = Path(__file__).parents[2] / "training"


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Function that runs a command of training/ in tmp_path, and returns its exit status."""
    monkeypatch.chdir(tmp_path)

    def call(name, *arguments):
        spec = importlib.util.spec_from_file_location(f"command_{name}", TRAINING / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        return module.main()

    return call
