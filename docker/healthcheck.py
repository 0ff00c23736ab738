#!/usr/bin/env python3
"""Docker's health check: exit code 0 if the perception node is active, otherwise 1.

healthcheck.py [NODE]        # full name; by default $EMU_NODE, or /emu_perception
"""

from __future__ import annotations

import os
import sys
from functools import partial

import rclpy
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.node import Node

from emu_perception.ros.services import call

TIMEOUT_S = 10.0  # shorter than Docker's own timeout, which gives no reason


def main() -> int:
    """Ask the node for its state and print it."""
    name = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("EMU_NODE", "/emu_perception")
    # Without a log file for each check.
    rclpy.init(args=["--ros-args", "--disable-external-lib-logs"])
    node = rclpy.create_node("healthcheck", enable_rosout=False, start_parameter_services=False)
    try:
        state = _state(node, f"{name}/get_state")
    finally:
        node.destroy_node()
        rclpy.shutdown()
    print(f"{name}: {state.label if state else f'no answer within {TIMEOUT_S:g} s'}")
    return 0 if state and state.id == State.PRIMARY_STATE_ACTIVE else 1


def _state(node: Node, service: str) -> State | None:
    client = node.create_client(GetState, service)
    spin = partial(rclpy.spin_once, node, timeout_sec=0.1)
    response = call(client, GetState.Request(), spin, TIMEOUT_S)
    return response.current_state if response else None


if __name__ == "__main__":
    sys.exit(main())
