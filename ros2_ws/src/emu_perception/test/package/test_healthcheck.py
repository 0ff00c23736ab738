"""Docker's health check of a lifecycle node in each state, over real DDS."""

import sys
from pathlib import Path

from helpers.remote import Remote
from helpers.ros_processes import ChildProcess, TestNode, stopping

HEALTHCHECK = Path(__file__).parents[5] / "docker" / "healthcheck.py"
NODE = "/robot/emu_perception"
LIFECYCLE_NODE = """
import rclpy
from rclpy.lifecycle import LifecycleNode

rclpy.init()
rclpy.spin(LifecycleNode("emu_perception", namespace="robot"))
"""


def check(domain, name):
    """The exit code and the last line of the health check."""
    process = ChildProcess(sys.executable, HEALTHCHECK, name, domain=domain)
    return process.wait(), process.output.strip().splitlines()[-1]


def test_only_an_active_node_is_healthy(domain):
    ros = TestNode(domain)
    remote = Remote(ros, NODE)
    with stopping(ChildProcess(sys.executable, "-c", LIFECYCLE_NODE, domain=domain)):
        assert check(domain, NODE) == (1, f"{NODE}: unconfigured")
        assert remote.change("configure")
        assert check(domain, NODE) == (1, f"{NODE}: inactive")
        assert remote.change("activate")
        assert check(domain, NODE) == (0, f"{NODE}: active")
    ros.close()


def test_a_missing_node_is_unhealthy(domain):
    assert check(domain, "/missing") == (1, "/missing: no answer within 10 s")
