"""What a robot runs imports where neither torch nor ROS is installed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import emu_perception

ROBOT_MODULES = {
    "emu_core.bag_error",
    "emu_core.bag_files",
    "emu_core.bag_types",
    "emu_core.bag_writer",
    "emu_core.bags",
    "emu_core.calibration",
    "emu_core.data.augment",
    "emu_core.data.cityscapes",
    "emu_core.data.files",
    "emu_core.data.sample",
    "emu_core.drive_sources",
    "emu_core.drive_writer",
    "emu_core.engine_cache",
    "emu_core.fitting",
    "emu_core.ground_truth",
    "emu_core.labels",
    "emu_core.mcap_file",
    "emu_core.metrics",
    "emu_core.model_file",
    "emu_core.openvino_engine",
    "emu_core.overlay",
    "emu_core.parity",
    "emu_core.perceiver",
    "emu_core.scoring",
    "emu_core.testing",
    "emu_core.video",
    "emu_core.whole_files",
}

BLOCKED = """
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "lightning", "rclpy", "onnx"}:
            raise ModuleNotFoundError(f"No module named {name!r} (blocked)", name=name)

sys.meta_path.insert(0, Blocked())
for module in sys.argv[1:]:
    importlib.import_module(module)
"""


def _import(*modules):
    return subprocess.run(
        [sys.executable, "-c", BLOCKED, *modules],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


def _imported(path):
    """Modules of emu_core that a file imports from."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "emu_core":
            yield from (f"emu_core.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("emu_core."):
            yield node.module


def test_they_import_without_torch_ros_and_onnx():
    done = _import(*sorted(ROBOT_MODULES))
    assert done.returncode == 0, done.stderr


def test_the_node_imports_nothing_else_of_emu_core():
    files = list(Path(emu_perception.__file__).parent.glob("*.py"))
    assert len(files) > 10
    assert set().union(*map(_imported, files)) <= ROBOT_MODULES


@pytest.mark.parametrize("module", ["torch", "onnx"])
def test_the_block_works(module):
    done = _import(module)
    assert done.returncode == 1
    assert "(blocked)" in done.stderr
