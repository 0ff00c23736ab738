"""The rule of folders: what a robot runs imports neither torch nor anything above it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import emu_core
import emu_perception

ROBOT_FOLDERS = ("runtime", "bags", "data", "metrics", "registry")
ROBOT_FILES = ("labels", "files")
FORBIDDEN = {"torch", "lightning", "transformers", "mujoco", "pandas", "snakemake"}

CORE, NODE = (Path(package.__file__).parent for package in (emu_core, emu_perception))

IMPORT_WITHOUT = """
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "lightning", "rclpy", "onnx", "h5py", "scipy"}:
            raise ModuleNotFoundError(f"No module named {name!r} (blocked)", name=name)

sys.meta_path.insert(0, Blocked())
for module in sys.argv[1:]:
    importlib.import_module(module)
"""


def robot_files():
    """Every file at or below the floor line: of emu_core, and the whole ROS package."""
    core = [CORE / f"{name}.py" for name in ROBOT_FILES]
    core += [file for name in ROBOT_FOLDERS for file in (CORE / name).rglob("*.py")]
    return [*core, *NODE.rglob("*.py")]


def imports(file):
    """Full names of the modules that a file imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("file", robot_files(), ids=lambda file: "/".join(file.parts[-3:]))
def test_a_robots_file_imports_no_training_package_and_nothing_above_the_line(file):
    names = set(imports(file))
    assert {name.partition(".")[0] for name in names}.isdisjoint(FORBIDDEN)
    ours = {name.split(".")[1] for name in names if name.startswith("emu_core.")}
    assert ours <= {*ROBOT_FOLDERS, *ROBOT_FILES}


def test_the_robots_folders_import_without_packages_that_a_robot_lacks():
    files = [file for file in robot_files() if file.is_relative_to(CORE)]
    names = (file.relative_to(CORE).with_suffix("").parts for file in files)
    modules = {".".join(("emu_core", *parts)).removesuffix(".__init__") for parts in names}
    command = [sys.executable, "-c", IMPORT_WITHOUT, *sorted(modules)]
    subprocess.run(command, check=True, timeout=120)
