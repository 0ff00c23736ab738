"""Record bags of the moments in which the network is uncertain: the frames worth labelling next.

    record_uncertain --ros-args -r image:=/camera/image_raw -p label_uncertainty:=0.15

The program holds the last seconds of the camera's and the perception node's topics in memory. When
the mean uncertainty of a frame exceeds a limit, it writes them, and the seconds that follow, into
a bag with a why.json: at most one bag per interval, within a quota. The perception node computes
the outputs that this program subscribes to.

Exit codes: 0 after SIGINT or SIGTERM, 1 user error (one line on stderr), 2 wrong arguments.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from emu_perception.ros.command_line import argument_parser, run, split_ros_arguments


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    return run("record_uncertain", lambda: _record(given))


def _record(arguments: Sequence[str]) -> int:
    own, ros_arguments = split_ros_arguments(arguments)
    from emu_perception.record_uncertain.recorder import PARAMETERS, UncertainRecording
    from emu_perception.ros.ros_process import ros_process

    lines = ["parameters (--ros-args -p NAME:=VALUE):"]
    lines += [f"  {p.name:<18} {p.default!r:<20} {p.description}" for p in PARAMETERS]
    parameters = "\n".join(lines)
    argument_parser("record_uncertain", __doc__, parameters).parse_args(own)
    with ros_process("record_uncertain", ros_arguments, visible=True) as ros:
        UncertainRecording(ros).run()
    return 0
