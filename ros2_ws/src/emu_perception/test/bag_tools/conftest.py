"""Fixtures of the tests of players and recorders."""

import pytest


@pytest.fixture
def domain():
    """A ROS domain of each test's own: topics of the last one do not disturb."""
    coordinator = pytest.importorskip(
        "domain_coordinator", reason="needs ros-jazzy-domain-coordinator"
    )
    with coordinator.domain_id() as number:
        yield number


@pytest.fixture
def ros(domain):
    """A node inside the test process."""
    from helpers.ros_processes import TestNode

    node = TestNode(domain)
    yield node
    node.close()


@pytest.fixture
def finish(domain):
    """Function that runs a program of ours to its end, and returns exit code and output."""
    from helpers.ros_processes import ChildProcess, module, stopping

    def run(*command):
        process = ChildProcess(*module(*command), domain=domain)
        with stopping(process):
            return process.wait(), process.output

    return run
