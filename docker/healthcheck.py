#!/usr/bin/env python3
"""Health check for Docker: exit code 0 if the perception node is active, otherwise 1.

healthcheck.py [NODE]        # full name; default: $EMU_NODE or /emu_perception
"""

import os
import sys
import time

import rclpy
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState

TIMEOUT_S = 10.0  # shorter than the timeout of HEALTHCHECK, which would not print a reason


def main() -> int:
    """Ask the node for its state and print it in one line."""
    name = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("EMU_NODE", "/emu_perception")
    rclpy.init(args=[])
    node = rclpy.create_node("healthcheck", enable_rosout=False, start_parameter_services=False)
    try:
        state = _state(node, f"{name}/get_state")
    finally:
        node.destroy_node()
        rclpy.shutdown()
    print(f"{name}: {state.label if state else f'no answer within {TIMEOUT_S:g} s'}")
    return 0 if state and state.id == State.PRIMARY_STATE_ACTIVE else 1


def _state(node, service):
    """Return the state of a lifecycle node, or None without an answer."""
    deadline = time.monotonic() + TIMEOUT_S
    client = node.create_client(GetState, service)
    if not client.wait_for_service(TIMEOUT_S):
        return None
    future = client.call_async(GetState.Request())
    rclpy.spin_until_future_complete(node, future, timeout_sec=deadline - time.monotonic())
    return future.result().current_state if future.done() else None


if __name__ == "__main__":
    sys.exit(main())
