"""The rule of folders (docs/architecture.md): a folder imports only from folders below it.

The code of a robot does not import torch.
"""

import ast
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import emu_core
import emu_perception

ROOT = Path(__file__).parents[1]
ROBOT_FLOORS = (
    *(("web",), ("recordings", "annotations", "predict"), ("runtime",), ("bags",)),
    *(("data", "metrics"), ("labels",)),
    ("registry", "files", "machine", "options", "privacy", "terminal"),
)
FLOORS = (
    *(
        ("study",),
        ("evaluation", "bench", "adapting"),
        ("training", "drives"),
        ("methods",),
        ("networks",),
    ),
    *ROBOT_FLOORS,
)
"""Folders and files of emu_core, from top to bottom. Folders on one floor are independent."""

ROBOT = {name for floor in ROBOT_FLOORS for name in floor}
FORBIDDEN = {"torch", "lightning", "transformers", "mujoco", "pandas", "snakemake"}

CORE, NODE = (Path(package.__file__).parent for package in (emu_core, emu_perception))

BLOCKED = {"torch", "lightning", "rclpy", "onnx", "h5py", "scipy", "safetensors"}
IMPORT_WITHOUT = f"""
import importlib, sys

BLOCKED = {BLOCKED}

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError("No module named " + name + " (blocked)", name=name)

sys.meta_path.insert(0, Blocked())
for module in sys.argv[1:]:
    importlib.import_module(module)
"""


def core_files(names):
    """List the Python files of these folders and files of emu_core."""
    for name in names:
        path = CORE / f"{name}.py"
        yield from [path] if path.is_file() else sorted((CORE / name).rglob("*.py"))


ROBOT_FILES = [*core_files(sorted(ROBOT)), *sorted(NODE.rglob("*.py"))]


def imports(file):
    """Full names of the modules that a file imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_parts(file):
    """Names of the folders and files of emu_core that a file imports."""
    return {name.split(".")[1] for name in imports(file) if name.startswith("emu_core.")}


@pytest.mark.parametrize("file", ROBOT_FILES, ids=lambda file: "/".join(file.parts[-3:]))
def test_a_file_for_robots_imports_no_training_package(file):
    assert {name.partition(".")[0] for name in imports(file)}.isdisjoint(FORBIDDEN)
    assert imported_parts(file) <= ROBOT


@pytest.mark.parametrize("floor", range(len(FLOORS)), ids=lambda floor: "+".join(FLOORS[floor]))
def test_a_folder_imports_only_from_folders_below_it(floor):
    below = {name for names in FLOORS[floor + 1 :] for name in names}
    for name in FLOORS[floor]:
        for file in core_files([name]):
            assert imported_parts(file) <= {name, *below}, file


def test_every_folder_and_file_of_emu_core_has_a_floor():
    found = {path.stem for path in CORE.iterdir() if path.suffix == ".py" or path.is_dir()}
    found -= {"__init__", "__pycache__", "models"}
    assert found == {name for floor in FLOORS for name in floor}


def test_the_code_for_robots_imports_without_packages_that_a_robot_lacks():
    names = (file.relative_to(CORE).with_suffix("").parts for file in core_files(sorted(ROBOT)))
    modules = {".".join(("emu_core", *parts)).removesuffix(".__init__") for parts in names}
    modules.remove("emu_core.data.decoded")  # the cache of training, which needs safetensors
    command = [sys.executable, "-c", IMPORT_WITHOUT, *sorted(modules)]
    subprocess.run(command, check=True, timeout=120)


def test_the_names_of_test_files_are_unique():  # pytest imports them by their base names
    names = [path.name for path in ROOT.glob("tests/**/test_*.py")]
    assert len(names) > 100 and sorted(names) == sorted(set(names))


@pytest.mark.parametrize("folder", ["emu_core", "ros2_ws/src", "tests", "training", "docs"])
def test_folders_have_at_most_15_files_and_files_at_most_400_lines(folder):
    paths = [Path(root, name) for root, _, names in os.walk(ROOT / folder) for name in names]
    own = [path for path in paths if path.suffix in {".py", ".md", ".yaml"}]
    folders = Counter(path.parent for path in own)
    assert len(own) > 10 and [path for path, count in folders.items() if count > 15] == []
    long = [path for path in own if len(path.read_text(encoding="utf-8").splitlines()) > 400]
    assert long == []
