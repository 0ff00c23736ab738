"""`colcon build` in the root of the repository, as on a robot, and the installed files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COLCON = Path(sys.executable).with_name("colcon")
PACKAGES = ("emu_core", "ros2_ws/src/emu_perception", "training", "tests")

pytestmark = pytest.mark.skipif(
    not COLCON.is_file(), reason="colcon is not installed: pip install colcon-common-extensions"
)


@pytest.fixture(scope="module", params=[[], ["--symlink-install"]], ids=["copied", "symlinked"])
def workspace(request, tmp_path_factory):
    """Build a copy of the sources."""
    root = tmp_path_factory.mktemp("workspace")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=ignored)
    shutil.copy(ROOT / "colcon.meta", root)
    built = subprocess.run(
        [COLCON, "build", *request.param],
        check=False,
        cwd=root,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return root


def test_colcon_finds_exactly_our_two_packages(workspace):
    listed = subprocess.run(
        [COLCON, "list", "--names-only"],
        cwd=workspace,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert sorted(listed.stdout.split()) == ["emu_core", "emu_perception"]


def test_python_imports_from_the_install_space(workspace):
    code = "import emu_core, emu_perception; print(emu_core.__file__, emu_perception.__file__)"
    done = _sourced(workspace, f"python3 -c '{code}'")
    assert done.returncode == 0, done.stderr
    for path in done.stdout.split():
        assert Path(path).resolve().is_relative_to(workspace)


def test_resources_are_installed(workspace):
    share = workspace / "install" / "emu_perception" / "share"
    assert (share / "ament_index/resource_index/packages/emu_perception").is_file()
    for file in (
        *(
            "package.xml",
            "rviz/emu.rviz",
            "launch/emu.launch.py",
            "launch/nav2_semantic.launch.py",
        ),
        *("config/fastdds.xml", "config/desktop.yaml", "config/jetson.yaml"),
    ):
        assert (share / "emu_perception" / file).is_file(), file
    code = "from emu_perception.ros.dds import profile; print(profile().is_file())"
    assert _sourced(workspace, f"python3 -c '{code}'").stdout.strip() == "True"


@pytest.mark.parametrize(
    "name",
    [
        *("emu_node", "player", "recorder", "demo"),
        *("drive_to_bag", "record_uncertain", "build_engine"),
    ],
)
def test_installed_executables_run_in_the_calling_environment(workspace, name):
    executable = workspace / "install" / "emu_perception" / "lib" / "emu_perception" / name
    # Not the interpreter that ran colcon: onnxruntime may be in a virtual environment.
    assert executable.read_text().startswith("#!/usr/bin/env python3")
    if name == "emu_node":
        done = _sourced(workspace, f"{executable} --ros-args -p model:=/no/such/model.onnx")
        assert done.returncode == 1
        assert "/no/such/model.onnx" in done.stderr
        assert "Traceback" not in done.stderr
    else:
        done = _sourced(workspace, f"{executable} --help")
        assert done.returncode == 0, done.stderr
        assert "usage" in done.stdout


def _environment() -> dict[str, str]:
    """Put the environment of this interpreter first in PATH, like `source venv/bin/activate`."""
    path = f"{COLCON.parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "ROS_DOMAIN_ID": "99"}


def _sourced(workspace: Path, command: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", "-c", f"source install/setup.bash && {command}"],
        check=False,
        cwd=workspace,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
