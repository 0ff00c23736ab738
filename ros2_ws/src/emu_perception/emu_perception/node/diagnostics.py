"""The node's health on /diagnostics, in the words of `verdicts`."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions

from emu_perception.errors import UserError
from emu_perception.node.checks import Level, Verdict
from emu_perception.node.parameters import WRONG_QOS

PERIOD_S = 1.0
DEPTH = 10

_LEVELS = {  # bytes: a plain number goes out as garbage
    Level.OK: DiagnosticStatus.OK,
    Level.WARN: DiagnosticStatus.WARN,
    Level.ERROR: DiagnosticStatus.ERROR,
}


class Diagnostics:
    """Publishes verdicts, named `node: task`, in every state of the node.

    UserError for wrong `qos_overrides`.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._name = node.get_fully_qualified_name().lstrip("/")
        self._hardware = socket.gethostname() or "unknown host"
        try:
            self._publisher = node.create_publisher(
                DiagnosticArray,
                "/diagnostics",
                QoSProfile(depth=DEPTH),
                callback_group=MutuallyExclusiveCallbackGroup(),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
        except WRONG_QOS as error:
            raise UserError(f"/diagnostics cannot be published: {error}") from error

    def publish(self, verdicts: Iterable[tuple[str, Verdict]]) -> None:
        """Tell the verdict on each task, by its name."""
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.status = [self._status(task, verdict) for task, verdict in verdicts]
        self._publisher.publish(message)

    def _status(self, task: str, verdict: Verdict) -> DiagnosticStatus:
        return DiagnosticStatus(
            level=_LEVELS[verdict.level],
            name=f"{self._name}: {task}",
            message=verdict.message,
            hardware_id=self._hardware,
            values=[KeyValue(key=key, value=value) for key, value in verdict.values.items()],
        )
