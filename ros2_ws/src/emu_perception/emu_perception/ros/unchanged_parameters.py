"""Parameters that can be written back unchanged, as `ros2 param load` does with a dump."""

from __future__ import annotations

from collections.abc import Iterable

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from emu_perception.ros.distro import with_type_names


class NodeWithUnchangedParameters(Node):
    """Node that accepts the present value of every parameter, also of a read-only one.

    An empty list has no type in YAML and on the command line: it gets the type of the parameter.
    """

    def set_parameters_atomically(
        self, parameter_list: Iterable[Parameter]
    ) -> SetParametersResult:
        """Set the parameters that change, all or none."""
        changed = []
        for given in parameter_list:
            name, now = given.name, self.get_parameter_or(given.name)
            is_empty = _is_list(now) and _is_list(given) and len(given.value) == 0
            new = Parameter(name, now.type_, []) if is_empty else given
            same = now.get_parameter_value() == new.get_parameter_value()
            if not (self.has_parameter(name) and same):
                changed.append(new)
        if not changed:
            return SetParametersResult(successful=True)
        result = super().set_parameters_atomically(changed)
        result.reason = with_type_names(result.reason)
        return result


def _is_list(parameter: Parameter) -> bool:
    return parameter.type_.name.endswith("_ARRAY")
