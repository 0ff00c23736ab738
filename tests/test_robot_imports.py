"""What a robot runs imports where neither torch nor ROS is installed."""

import importlib.util
import subprocess
import sys

import pytest

ROBOT_MODULES = (
    "labels",
    "parity",
    "fitting",
    "model_file",
    "perceiver",
    "testing",
    "overlay",
    "bags",
    "metrics",
)

BLOCKED = """
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "lightning", "rclpy", "onnx"}:
            raise ModuleNotFoundError(f"No module named {name!r} (blocked)", name=name)

sys.meta_path.insert(0, Blocked())
importlib.import_module(sys.argv[1])
"""


def _import(module):
    return subprocess.run(
        [sys.executable, "-c", BLOCKED, module],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    "module", [m for m in ROBOT_MODULES if importlib.util.find_spec(f"emu_core.{m}")]
)
def test_it_imports_without_torch_ros_and_onnx(module):
    done = _import(f"emu_core.{module}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["torch", "onnx"])
def test_the_block_works(module):
    done = _import(module)
    assert done.returncode == 1
    assert "(blocked)" in done.stderr
