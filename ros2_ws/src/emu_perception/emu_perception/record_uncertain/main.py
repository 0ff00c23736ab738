"""The executable `record_uncertain`: keeps bags of the moments in which the network was in doubt.

    record_uncertain --ros-args -r image:=/camera/image_raw -p label_uncertainty:=0.15

The frames worth labelling next. It holds the last seconds of the camera's and the perception
node's topics in memory, and when a frame's mean uncertainty exceeds a limit it writes them, and
the seconds that follow, into a bag with a why.json in it. At most one per interval, within a
quota. What it listens to, the perception node has to compute.

Exit codes: 0 after SIGINT or SIGTERM, 1 a mistake, told in one line, 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from emu_perception.ros.command_line import run, split_ros_arguments


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until it is asked to stop; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    return run("record_uncertain", lambda: _serve(given))


def _serve(arguments: Sequence[str]) -> int:
    own, ros_arguments = split_ros_arguments(arguments)
    from emu_perception.record_uncertain.recorder import PARAMETERS, UncertainRecorder
    from emu_perception.ros.ros_process import ros_process

    _parser(PARAMETERS).parse_args(own)
    with ros_process("record_uncertain", ros_arguments, visible=True) as ros:
        UncertainRecorder(ros).run()
    return 0


def _parser(parameters: Sequence) -> argparse.ArgumentParser:
    lines = ["parameters (--ros-args -p NAME:=VALUE):"]
    lines += [f"  {p.name:<18} {p.default!r:<20} {p.description}" for p in parameters]
    return argparse.ArgumentParser(
        prog="record_uncertain",
        description=__doc__,
        epilog="\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
