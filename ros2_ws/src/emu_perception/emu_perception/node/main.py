"""The executable `emu_node`: starts the perception node and ends it well.

    emu_node --ros-args -r image:=/camera/image_raw -r camera_info:=/camera/camera_info
    emu_node --ros-args -p model:=/path/to/model.onnx -p image_transport:=compressed

Exit codes: 0 after SIGINT or SIGTERM, 1 a mistake, told in one line, 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import traceback
from collections.abc import Sequence

from emu_perception.errors import UserError
from emu_perception.ros import dds
from emu_perception.ros.command_line import run, split_ros_arguments


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until it is asked to stop; returns the exit code."""
    stop = threading.Event()
    # rclpy's own handlers would shut ROS down under the frame at work and the last log line.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    dds.use_profile()
    given = sys.argv[1:] if arguments is None else arguments
    return run("emu_node", lambda: _serve(given, stop))


def _serve(arguments: Sequence[str], stop: threading.Event) -> int:
    # Here, so that Ctrl-C is heard and a missing ROS is told while they load.
    import rclpy
    from rclpy.exceptions import ParameterException
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    from emu_perception.node.lifecycle import CameraNode

    own, ros = split_ros_arguments(arguments)
    _parser().parse_args(own)
    try:
        rclpy.init(args=ros, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # rclpy's exceptions for wrong arguments differ by distribution
        raise UserError(f"ROS does not start: {error}") from error
    try:
        try:
            node = CameraNode()
        except ParameterException as error:  # one of rclpy's own, as use_sim_time is
            raise UserError(str(error)) from error
        if node.parameters["autostart"]:
            node.bring_up()
        else:
            node.get_logger().info("autostart is off: waiting for a lifecycle manager")
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not stop.is_set():
            try:
                executor.spin_once(timeout_sec=0.1)
            except Exception:  # of one callback, of which the others need know nothing
                node.get_logger().error(f"a callback failed: {traceback.format_exc()}")
        node.get_logger().info(node.close())
        executor.shutdown()
        node.destroy_node()
    finally:
        rclpy.try_shutdown()
    return 0


def _parser() -> argparse.ArgumentParser:
    """No arguments but ROS's; `--help` lists parameters and topics from their tables."""
    from emu_perception.node.outputs import TOPICS
    from emu_perception.node.parameters import PARAMETERS

    lines = ["parameters (--ros-args -p NAME:=VALUE):"]
    for p in PARAMETERS:
        choices = f": {', '.join(p.allowed)}" if p.is_choice else ""
        lines.append(f"  {p.name:<20} {p.default!r:<10} {p.meaning}{choices}")
    lines += ["", "topics:"]
    lines += [f"  {t.topic:<24} {t.encoding:<10} {t.unit}; {t.range}" for t in TOPICS]
    return argparse.ArgumentParser(
        prog="emu_node",
        description=__doc__,
        epilog="\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
