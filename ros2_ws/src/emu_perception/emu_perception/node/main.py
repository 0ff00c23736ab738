"""The executable `emu_node`: runs the perception node until SIGINT or SIGTERM.

    emu_node --ros-args -r image:=/camera/image_raw -r camera_info:=/camera/camera_info
    emu_node --ros-args -p model:=/path/to/model.onnx -p image_transport:=compressed

Exit codes: 0 after SIGINT or SIGTERM, 1 user mistake (printed in one line), 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import sys
import threading
import traceback
from collections.abc import Sequence

from emu_perception.ros.command_line import run, split_ros_arguments, stop_signals


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node and return the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    with stop_signals() as stop:  # before the imports below, which take a while
        return run("emu_node", lambda: _serve(given, stop))


def _serve(arguments: Sequence[str], stop: threading.Event) -> int:
    from emu_perception.node.lifecycle import PerceptionNode
    from emu_perception.ros.ros_process import running

    own, ros = split_ros_arguments(arguments)
    _parser().parse_args(own)
    with running(PerceptionNode, ros, stop) as process:
        node = process.node
        assert isinstance(node, PerceptionNode)
        if node.parameters["autostart"]:
            node.bring_up()
        else:
            node.get_logger().info("autostart is off: waiting for a lifecycle manager")
        while not stop.is_set():
            try:
                process.spin_once(0.1)
            except Exception:  # an error in one callback does not affect the others
                node.get_logger().error(f"a callback failed: {traceback.format_exc()}")
        node.get_logger().info(node.close())
    return 0


def _parser() -> argparse.ArgumentParser:
    """Return a parser without arguments; `--help` lists the parameters and the topics."""
    from emu_perception.node.outputs import describe_topics
    from emu_perception.node.parameters import PARAMETERS

    lines = ["parameters (--ros-args -p NAME:=VALUE):"]
    for p in PARAMETERS:
        choices = f": {', '.join(p.allowed)}" if p.is_choice else ""
        lines.append(f"  {p.name:<20} {p.default!r:<10} {p.description}{choices}")
    lines += ["", "topics:"]
    for topic, kind, unit, values, *_ in describe_topics():
        lines.append(f"  {topic:<24} {kind:<23} {unit}; {values}")
    return argparse.ArgumentParser(
        prog="emu_node",
        description=__doc__,
        epilog="\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
