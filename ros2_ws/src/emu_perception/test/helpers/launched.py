"""Run a launch file from the sources, as `ros2 launch` runs the installed one.

    with launched(prefix, domain, "emu.launch.py", model=model) as process:
        process.wait_for_line("waiting for")

It needs `launch` and `launch_ros`, but no colcon: `installed(folder)` makes an ament index.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers.ros_processes import ChildProcess, stopping

LAUNCH = Path(__file__).parents[2] / "launch"
EXECUTABLES = {"emu_node": "node", "player": "player"}
_SERVICE = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

source = PythonLaunchDescriptionSource(sys.argv[1])
arguments = [argument.split(":=", 1) for argument in sys.argv[2:]]
service = LaunchService(noninteractive=True)  # so that it forwards SIGINT, as a terminal would
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)])
)
sys.exit(service.run())
"""


def installed(prefix: Path) -> Path:
    """Make an ament index with the package, and executables that run its sources."""
    index = prefix / "share" / "ament_index" / "resource_index" / "packages"
    programs = prefix / "lib" / "emu_perception"
    for folder in (index, programs):
        folder.mkdir(parents=True)
    (index / "emu_perception").touch()
    for name, module in EXECUTABLES.items():
        script = programs / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -m emu_perception.{module} "$@"\n')
        script.chmod(0o755)
    return prefix


def stand_in(path: Path) -> None:
    """Make an executable that prints "NAME PID ARGUMENTS." and waits for a signal."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        f"#!{sys.executable}\nimport os, signal, sys\n"
        f"print({path.name!r}, os.getpid(), *sys.argv[1:], end='.\\n', flush=True)\n"
        "signal.pause()\n"
    )
    path.chmod(0o755)


@contextmanager
def launched(
    prefix: Path, domain: int, file: str, *, alone: bool = False, **arguments: object
) -> Iterator[ChildProcess]:
    """Run the launch file in a process, which is stopped at the end, as by Ctrl-C.

    With `alone`, no ROS package is installed but this one.
    """
    underlay = None if alone else os.environ.get("AMENT_PREFIX_PATH")
    process = ChildProcess(
        *(sys.executable, "-c", _SERVICE, LAUNCH / file),
        *(f"{name}:={value}" for name, value in arguments.items()),
        domain=domain,
        AMENT_PREFIX_PATH=os.pathsep.join(filter(None, [str(prefix), underlay])),
        ROS_LOG_DIR=str(prefix / "log"),
    )
    with stopping(process):
        yield process
