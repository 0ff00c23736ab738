"""The node from outside: its lifecycle services, its parameters and its diagnostics."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import ParameterDescriptor
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters
from rclpy.client import Client
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import QoSProfile

from emu_perception.ros.services import RepeatedCall
from helpers.ros_processes import TestNode, wait_until

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "cleanup": Transition.TRANSITION_CLEANUP,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "shutdown": Transition.TRANSITION_INACTIVE_SHUTDOWN,
}


class Remote:
    """Access to the node with a full name.

    `statuses` has its last diagnostics by task, `states` all states in them, in order, and
    `beat_s` the stamp of the last one, in seconds.
    """

    def __init__(self, ros: TestNode, node: str) -> None:
        self.ros, self.node = ros, node
        self.statuses: dict[str, DiagnosticStatus] = {}
        self.states: list[str] = []
        self.beats, self.beat_s = 0, 0.0
        self._clients: dict[str, Client] = {}
        self._client(ChangeState, "change_state")  # before get_state's, see `change`
        ros.node.create_subscription(
            DiagnosticArray, "/diagnostics", self._receive, QoSProfile(depth=20)
        )

    def change(self, transition: str) -> bool:
        """Request a transition by its id alone, as Nav2's manager does; whether it succeeded."""
        request = ChangeState.Request()
        request.transition.id = TRANSITIONS[transition]
        client = self._client(ChangeState, "change_state")
        # A transition cannot be requested twice. After this response, the node knows this client.
        self.state()
        self.ros.wait_until(client.service_is_ready, f"change_state of {self.node}")
        future = client.call_async(request)
        self.ros.wait_until(future.done, f"the response of change_state of {self.node}")
        return future.result().success

    def state(self) -> str:
        return self.call(GetState, "get_state", GetState.Request()).current_state.label

    def set(self, name: str, value: Any) -> str:
        """Set a parameter; the reason if it was refused, otherwise an empty text."""
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        result = self.call(SetParameters, "set_parameters", request).results[0]
        assert result.successful or result.reason
        return "" if result.successful else result.reason

    def get(self, name: str) -> Any:
        request = GetParameters.Request(names=[name])
        response = self.call(GetParameters, "get_parameters", request)
        return parameter_value_to_python(response.values[0])

    def describe(self, name: str) -> ParameterDescriptor:
        request = DescribeParameters.Request(names=[name])
        return self.call(DescribeParameters, "describe_parameters", request).descriptors[0]

    def values(self, task: str) -> dict[str, str]:
        """The values of a task in the last diagnostics; empty before the first."""
        status = self.statuses.get(task, DiagnosticStatus())
        return {pair.key: pair.value for pair in status.values}

    def next_statuses(self) -> dict[str, DiagnosticStatus]:
        """The diagnostics of the next heartbeat but one, which began after this call."""
        enough = self.beats + 2
        self.ros.wait_until(lambda: self.beats >= enough, f"diagnostics of {self.node}")
        return self.statuses

    def wait_for_status(
        self, task: str, level: bytes, pattern: str = "", spin: Callable[[], object] | None = None
    ) -> DiagnosticStatus:
        """Wait until a task has one of these levels and a message that contains the pattern."""

        def found() -> bool:
            status = self.statuses.get(task)
            return status is not None and (
                status.level in level and re.search(pattern, status.message) is not None
            )

        try:
            wait_until(found, f"{task} {level!r} {pattern!r}", spin or self.ros.spin)
        except AssertionError as error:
            raise AssertionError(f"{error}; last: {self.statuses.get(task)}") from None
        return self.statuses[task]

    def _receive(self, message: DiagnosticArray) -> None:
        prefix = f"{self.node.lstrip('/')}: "
        statuses = {
            status.name.removeprefix(prefix): status
            for status in message.status
            if status.name.startswith(prefix)
        }
        if statuses:
            self.statuses = statuses
            self.beats += 1
            self.beat_s = message.header.stamp.sec + message.header.stamp.nanosec / 1e9
            self.states.append(self.values("state")["state"])

    def call(self, kind: type, service: str, request: Any) -> Any:
        """Call a service whose request may be sent twice; fail the test without a response."""
        repeated = RepeatedCall(self._client(kind, service), request)
        self.ros.wait_until(repeated.is_done, f"the response of {service} of {self.node}")
        return repeated.result()

    def _client(self, kind: type, service: str) -> Client:
        if service not in self._clients:
            self._clients[service] = self.ros.node.create_client(kind, f"{self.node}/{service}")
        return self._clients[service]
