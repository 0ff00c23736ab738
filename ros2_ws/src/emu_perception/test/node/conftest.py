"""The node inside the test's process, where its parts can be inspected and made to fail."""

import pytest


@pytest.fixture
def make_node(domain, model):
    """Make the node with the dummy model and with ROS arguments, such as "-p", "fit:=stretch"."""
    import rclpy

    from emu_perception.node.lifecycle import PerceptionNode

    nodes = []

    def make(*arguments):
        rclpy.init(domain_id=domain, args=["--ros-args", "-p", f"model:={model}", *arguments])
        nodes.append(PerceptionNode())
        return nodes[0]

    yield make
    for node in nodes:
        node.close()
        node.destroy_node()
    rclpy.try_shutdown()
