"""Docker's health check of a lifecycle node in each state, over real DDS."""

import sys
from pathlib import Path

import pytest
from helpers.ros_processes import ChildProcess, stopping

HEALTHCHECK = Path(__file__).parents[5] / "docker" / "healthcheck.py"
LIFECYCLE_NODE = """
import sys
import rclpy
from rclpy.lifecycle import LifecycleNode

rclpy.init()
node = LifecycleNode("emu_perception", namespace="robot")
for transition in sys.argv[1:]:
    getattr(node, f"trigger_{transition}")()
print("ready")
rclpy.spin(node)
"""


def check(domain, name="/robot/emu_perception"):
    process = ChildProcess(sys.executable, HEALTHCHECK, name, domain=domain)
    return process.wait(), process.output.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("transitions", "code", "label"),
    [
        ([], 1, "unconfigured"),
        (["configure"], 1, "inactive"),
        (["configure", "activate"], 0, "active"),
    ],
)
def test_only_an_active_node_is_healthy(domain, transitions, code, label):
    node = ChildProcess(sys.executable, "-c", LIFECYCLE_NODE, *transitions, domain=domain)
    with stopping(node):
        node.wait_for_line("ready")
        assert check(domain) == (code, f"/robot/emu_perception: {label}")


def test_a_missing_node_is_unhealthy(domain):
    assert check(domain, "/missing") == (1, "/missing: no answer within 10 s")
