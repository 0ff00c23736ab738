"""The node's parameters: one table, from which they are declared, checked and documented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node

from emu_core.fitting import FITS
from emu_core.perceiver import PROVIDERS

from .command_line import UserError


@dataclass(frozen=True)
class Parameter:
    """One parameter; its default's type is its type, `allowed` a choice of texts or a range."""

    name: str
    default: str | bool | int | float
    meaning: str
    allowed: tuple = ()

    def descriptor(self) -> ParameterDescriptor:
        """What `ros2 param describe` tells, and what rclpy checks."""
        result = ParameterDescriptor(description=self.meaning, read_only=True)
        if self.is_choice:
            result.additional_constraints = f"one of {', '.join(self.allowed)}"
        elif self.allowed:
            low, high = self.allowed
            if isinstance(self.default, float):
                result.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
            else:
                result.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        return result

    @property
    def is_choice(self) -> bool:
        return bool(self.allowed) and isinstance(self.default, str)


PARAMETERS = (
    Parameter("model", "", "ONNX file of an EMU model; empty: the one that comes with emu_core"),
    Parameter("provider", "cpu", "ONNX Runtime's execution provider", tuple(PROVIDERS)),
    Parameter("allow_cpu_fallback", False, "go on, on the CPU, where the provider cannot be had"),
    Parameter(
        "threads", 0, "CPU threads of an inference; 0: as many as cores, 4 at most", (0, 256)
    ),
    Parameter("fit", "stretch", "how images of another aspect ratio meet the network", FITS),
    Parameter(
        "image_transport",
        "raw",
        "Image from `image`, or CompressedImage from `image`/compressed",
        ("raw", "compressed"),
    ),
    Parameter("overlay_alpha", 0.5, "how opaque the overlay's classes are", (0.0, 1.0)),
    Parameter("jpeg_quality", 80, "of ~/overlay/compressed", (1, 100)),
)


def declare_parameters(node: Node) -> dict[str, Any]:
    """Declare all on a node and return their values by name.

    Raises
    ------
    UserError
        A value of another type, out of range, or none of the choices.
    """
    values = {}
    for parameter in PARAMETERS:
        try:
            value = node.declare_parameter(
                parameter.name, parameter.default, parameter.descriptor()
            ).value
        except ParameterException as error:
            reason = str(error).removesuffix(f": {parameter.name}")
            raise UserError(f"parameter {parameter.name}: {reason}") from None
        if parameter.is_choice and value not in parameter.allowed:
            raise UserError(
                f"parameter {parameter.name}: expected one of {', '.join(parameter.allowed)}, "
                f"but got {value!r}"
            )
        values[parameter.name] = value
    return values
