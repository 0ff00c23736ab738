"""Commands of training/ as modules and as functions."""

import importlib.util
import sys
from pathlib import Path

import pytest

TRAINING = Path(__file__).parents[2] / "training"


@pytest.fixture(scope="module")
def load_command():
    """Function that imports a command of training/, e.g. "distill", as a module."""
    with pytest.MonkeyPatch.context() as patch:

        def load(name):
            spec = importlib.util.spec_from_file_location(name, TRAINING / f"{name}.py")
            module = importlib.util.module_from_spec(spec)
            patch.setitem(sys.modules, name, module)
            spec.loader.exec_module(module)
            return module

        yield load


@pytest.fixture(scope="session")
def as_arguments():
    """Function that makes a command line of a dictionary of options."""
    return lambda options: [
        str(p) for name, value in options.items() for p in (f"--{name}", value)
    ]


@pytest.fixture
def run(load_command, monkeypatch, tmp_path):
    """Function that runs a command of training/ in tmp_path, and returns its exit status."""
    monkeypatch.chdir(tmp_path)

    def call(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        return load_command(name).main()

    return call
