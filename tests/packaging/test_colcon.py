"""`colcon build` at the repository's root, as on a robot, and what it installs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COLCON = Path(sys.executable).with_name("colcon")
SOURCES = ("emu_core", "ros2_ws/src/emu_perception", "training", "tests")
PROGRAMS = (
    *("emu_node", "player", "recorder", "demo"),
    *("drive_to_bag", "record_uncertain", "build_engine"),
)

pytestmark = pytest.mark.skipif(
    not COLCON.is_file(), reason="colcon is not installed: pip install colcon-common-extensions"
)


def run(folder, *command) -> subprocess.CompletedProcess:
    """Run a command with this interpreter's environment active, as after `source bin/activate`."""
    path = f"{COLCON.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "ROS_DOMAIN_ID": "99"}
    options = {"cwd": folder, "env": environment, "text": True, "timeout": 240}
    return subprocess.run(command, check=False, capture_output=True, **options)


def sourced(workspace, command):
    return run(workspace, "bash", "-c", f"source install/setup.bash && {command}")


@pytest.fixture(scope="module", params=[[], ["--symlink-install"]], ids=["copied", "symlinked"])
def workspace(request, tmp_path_factory):
    """A copy of the sources, built."""
    root = tmp_path_factory.mktemp("workspace")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for source in SOURCES:
        shutil.copytree(ROOT / source, root / source, ignore=ignored)
    shutil.copy(ROOT / "colcon.meta", root)
    built = run(root, COLCON, "build", *request.param)
    assert built.returncode == 0, built.stdout + built.stderr
    assert "DeprecationWarning" not in built.stderr, built.stderr
    return root


def test_colcon_finds_our_two_packages_and_no_other(workspace):
    listed = run(workspace, COLCON, "list", "--names-only")
    assert sorted(listed.stdout.split()) == ["emu_core", "emu_perception"]


def test_python_imports_the_installed_packages(workspace):
    code = "import emu_core, emu_perception; print(emu_core.__file__, emu_perception.__file__)"
    done = sourced(workspace, f"python3 -c '{code}'")
    assert done.returncode == 0, done.stderr
    for path in done.stdout.split():
        assert Path(path).resolve().is_relative_to(workspace)


def test_resources_are_installed(workspace):
    share = workspace / "install" / "emu_perception" / "share"
    assert (share / "ament_index/resource_index/packages/emu_perception").is_file()
    for file in (
        *("package.xml", "rviz/emu.rviz"),
        *("launch/emu.launch.py", "launch/nav2_semantic.launch.py"),
        *("config/fastdds.xml", "config/desktop.yaml", "config/jetson.yaml"),
    ):
        assert (share / "emu_perception" / file).is_file(), file
    # The files that a user finds and changes are the ones that are used.
    code = "from emu_perception.ros.dds import profile; print(profile().resolve())"
    used = sourced(workspace, f"python3 -c '{code}'").stdout.strip()
    assert used == str((share / "emu_perception/config/fastdds.xml").resolve())


@pytest.mark.parametrize("name", PROGRAMS)
def test_installed_programs_run_in_the_calling_environment(workspace, name):
    executable = workspace / "install" / "emu_perception" / "lib" / "emu_perception" / name
    # Not the interpreter that ran colcon: a robot's virtual environment has the onnxruntime.
    assert executable.read_text().startswith("#!/usr/bin/env python3")
    if name == "emu_node":
        done = sourced(workspace, f"{executable} --ros-args -p model:=/no/such/model.onnx")
        assert done.returncode == 1
        assert "/no/such/model.onnx" in done.stderr
        assert "Traceback" not in done.stderr
    else:
        done = sourced(workspace, f"{executable} --help")
        assert done.returncode == 0, done.stderr
        assert "usage" in done.stdout
