"""Start and end of our command-line ROS programs: one node, an executor, SIGINT as a wish to end.

rclpy's own handlers shut the context down under a program that still has to flush a file; here
SIGINT and SIGTERM only ask to stop, and the program ends by its own path.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from emu_perception.errors import UserError
from emu_perception.ros import dds
from emu_perception.ros.command_line import stop_signals


class RosProcess:
    """A node with its executor; `stop` is set once SIGINT or SIGTERM came."""

    def __init__(self, node: Node, stop: threading.Event) -> None:
        self.node = node
        self.stop = stop
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)

    def spin_once(self, timeout_s: float) -> None:
        """Run one waiting callback, or wait for one for at most `timeout_s`."""
        self._executor.spin_once(timeout_sec=timeout_s)

    def spin_until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Run callbacks until the condition holds; False after the timeout or a wish to stop."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self.stop.is_set() or time.monotonic() > deadline:
                return False
            self.spin_once(min(0.05, timeout_s))
        return True

    def close(self) -> None:
        """Release executor and node."""
        self._executor.shutdown()
        self.node.destroy_node()


@contextmanager
def ros_process(
    name: str, arguments: Sequence[str], *, visible: bool = False
) -> Iterator[RosProcess]:
    """A running node called `name`; `arguments` may hold a `--ros-args` section.

    A `visible` one logs to /rosout and shows its parameters; a tool at work need not.

    Raises
    ------
    UserError
        The ROS arguments are wrong.
    """
    dds.use_profile()  # before the first DDS participant: it is read once
    with stop_signals() as stop:
        try:
            rclpy.init(args=list(arguments), signal_handler_options=SignalHandlerOptions.NO)
        except Exception as error:  # rclpy's exceptions for arguments differ by distribution
            raise UserError(f"ROS does not start: {error}") from error
        try:
            try:
                node = rclpy.create_node(
                    name, enable_rosout=visible, start_parameter_services=visible
                )
            except ParameterException as error:  # one of rclpy's own, as use_sim_time is
                raise UserError(str(error)) from error
            process = RosProcess(node, stop)
            try:
                yield process
            finally:
                process.close()
        finally:
            rclpy.try_shutdown()
