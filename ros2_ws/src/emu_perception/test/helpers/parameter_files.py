"""The parameters that a node gets from a parameter file, parsed by ROS itself."""

from __future__ import annotations

from pathlib import Path

import rclpy
from rclpy.context import Context
from rclpy.parameter import Parameter

_OF_EVERY_NODE = ("use_sim_time", "start_type_description_service")


def parameters_for(
    path: Path, domain: int, name: str, namespace: str = "/"
) -> dict[str, Parameter]:
    """The parameters of the node `name` in `namespace`, by name."""
    context = Context()
    arguments = ["--ros-args", "--params-file", str(path)]
    rclpy.init(args=arguments, context=context, domain_id=domain)
    node = rclpy.create_node(
        name,
        namespace=namespace,
        context=context,
        start_parameter_services=False,
        automatically_declare_parameters_from_overrides=True,
    )
    parameters = node.get_parameters_by_prefix("")
    node.destroy_node()
    context.try_shutdown()
    return {name: p for name, p in parameters.items() if name not in _OF_EVERY_NODE}
