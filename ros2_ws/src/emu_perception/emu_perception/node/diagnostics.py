"""Publish the statuses of `checks` on /diagnostics."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions

from emu_perception.errors import UserError
from emu_perception.node.checks import Status
from emu_perception.node.parameters import WRONG_QOS

PERIOD_S = 1.0


class Diagnostics:
    """Publish statuses, named `node: task`, in every lifecycle state of the node.

    Raises:
        UserError: a wrong `qos_overrides` parameter.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        try:
            self._publisher = node.create_publisher(
                DiagnosticArray,
                "/diagnostics",
                QoSProfile(depth=10),
                callback_group=MutuallyExclusiveCallbackGroup(),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
        except WRONG_QOS as error:
            raise UserError(f"cannot publish /diagnostics: {error}") from error

    def publish(self, statuses: Iterable[tuple[str, Status]]) -> None:
        """Publish one status for each task, given by the task's name."""
        name = self._node.get_fully_qualified_name().lstrip("/")
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.status = [
            DiagnosticStatus(
                level=bytes([status.level]),  # an integer would be published as garbage
                name=f"{name}: {task}",
                message=status.message,
                hardware_id=socket.gethostname() or "unknown host",
                values=[KeyValue(key=key, value=value) for key, value in status.values.items()],
            )
            for task, status in statuses
        ]
        self._publisher.publish(message)
