"""Start and end the node of a command.

rclpy's own signal handlers shut the context down under a command that still has to flush a file.
Here SIGINT and SIGTERM only set an event, and the command ends by itself.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from emu_perception.errors import UserError
from emu_perception.ros import dds
from emu_perception.ros.command_line import stop_signals
from emu_perception.ros.unchanged_parameters import NodeWithUnchangedParameters


class RosProcess:
    """A node with its executor; `stop` is set after SIGINT or SIGTERM."""

    def __init__(self, node: Node, stop: threading.Event) -> None:
        self.node = node
        self.stop = stop
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)

    def spin_once(self, timeout_s: float) -> None:
        """Run one waiting callback, or wait at most `timeout_s` for one."""
        self._executor.spin_once(timeout_sec=timeout_s)

    def spin_until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Run callbacks until the condition holds; False after the timeout or a stop signal."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self.stop.is_set() or time.monotonic() > deadline:
                return False
            self.spin_once(min(0.05, timeout_s))
        return True

    def close(self) -> None:
        """Shut down the executor and destroy the node."""
        self._executor.shutdown()
        self.node.destroy_node()


@contextmanager
def ros_process(
    name: str, arguments: Sequence[str], *, visible: bool = False
) -> Iterator[RosProcess]:
    """Run a plain node, see `running`; a `visible` one logs to /rosout and offers parameters."""

    def create() -> Node:
        return NodeWithUnchangedParameters(
            name, enable_rosout=visible, start_parameter_services=visible
        )

    with stop_signals() as stop, running(create, arguments, stop) as process:
        yield process


@contextmanager
def running(
    create: Callable[[], Node], arguments: Sequence[str], stop: threading.Event
) -> Iterator[RosProcess]:
    """Start ROS with our DDS profile, create a node, and end both after the block.

    Raises:
        UserError: the `--ros-args` among the arguments are wrong.
    """
    dds.use_profile()  # before the first DDS participant, which reads it
    try:
        rclpy.init(
            args=[*_log_arguments(), *arguments], signal_handler_options=SignalHandlerOptions.NO
        )
    except Exception as error:  # rclpy's exceptions for wrong arguments differ by distribution
        raise UserError(f"ROS does not start: {error}") from error
    try:
        try:
            process = RosProcess(create(), stop)
        except ParameterException as error:  # a parameter of rclpy itself, as use_sim_time is
            raise UserError(str(error)) from error
        with closing(process):
            yield process
    finally:
        rclpy.try_shutdown()


def _log_arguments() -> list[str]:
    """Return the ROS arguments that keep log files out of the home folder.

    rcl would write ~/.ros/log, and end the process if there is no home folder. With a folder that
    the user has chosen it writes there.
    """
    if os.environ.get("ROS_LOG_DIR") or os.environ.get("ROS_HOME"):
        return []
    return ["--ros-args", "--disable-external-lib-logs", "--"]
