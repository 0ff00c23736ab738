"""The node's parameters: one table, from which they are declared, checked and documented."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import ParameterException
from rclpy.node import Node

from emu_core.runtime.fitting import FITS
from emu_core.runtime.perceiver import PROVIDERS
from emu_perception.errors import UserError

AT_START, ON_CONFIGURE, ANY_TIME = "at start", "on configure", "any time"
"""When a parameter is read, and therefore when it may change."""

WRONG_QOS = (RuntimeError, ParameterException)
"""What rclpy raises for a wrong value, or one of a wrong type, among the `qos_overrides`."""

_CAMERA_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Parameter:
    """One parameter; its default's type is its type, `allowed` a choice of texts or a range."""

    name: str
    default: str | bool | int | float | tuple[str, ...]
    meaning: str
    allowed: tuple = ()
    changes: str = ON_CONFIGURE

    def descriptor(self) -> ParameterDescriptor:
        """What `ros2 param describe` tells, and what rclpy checks."""
        result = ParameterDescriptor(description=self.meaning, read_only=self.changes == AT_START)
        if self.changes == ON_CONFIGURE:
            result.additional_constraints = "changes only while the node is unconfigured"
        if self.is_choice:
            result.additional_constraints += f"; one of {', '.join(self.allowed)}"
        elif self.allowed:
            low, high = self.allowed
            if isinstance(self.default, float):
                result.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
            else:
                result.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        # rclpy takes an empty list for one of bytes: its type is checked here instead.
        result.dynamic_typing = self.is_list
        return result

    @property
    def is_choice(self) -> bool:
        return bool(self.allowed) and isinstance(self.default, str)

    @property
    def is_list(self) -> bool:
        return isinstance(self.default, tuple)

    def problem(self, value: Any) -> str:
        """What is wrong with a value, of what rclpy does not check; empty: nothing."""
        if self.is_choice and value not in self.allowed:
            return f"expected one of {', '.join(self.allowed)}, but got {value!r}"
        return _camera_problem(value) if self.is_list else ""


PARAMETERS = (
    Parameter("model", "", "ONNX file of an EMU model; empty: the one that comes with emu_core"),
    Parameter("provider", "cpu", "ONNX Runtime's execution provider", tuple(PROVIDERS)),
    Parameter("allow_cpu_fallback", False, "go on, on the CPU, where the provider cannot be had"),
    Parameter(
        "threads", 0, "CPU threads of an inference; 0: as many as cores, 4 at most", (0, 256)
    ),
    Parameter("fit", "stretch", "how images of another aspect ratio meet the network", FITS),
    Parameter(
        "rectify",
        False,
        "straighten images first, as P of camera_info has them; else rays follow the lens",
    ),
    Parameter(
        "image_transport",
        "raw",
        "Image from `image`, or CompressedImage from `image`/compressed",
        ("raw", "compressed"),
    ),
    Parameter(
        "cameras",
        (),
        "names of several cameras: `front` reads `front/image`, answers on `~/front/…`",
    ),
    Parameter(
        "autostart",
        True,
        "configure and activate by itself; else a lifecycle manager does",
        changes=AT_START,
    ),
    Parameter(
        "max_rate",
        0.0,
        "answers per second and camera, at most; 0: no limit",
        (0.0, 1e3),
        ANY_TIME,
    ),
    Parameter(
        "unknown_above",
        0.0,
        "label uncertainty beyond which a pixel gets the class `unknown`; 0 or 1: none does",
        (0.0, 1.0),
        ANY_TIME,
    ),
    Parameter(
        "max_depth_std_ratio",
        0.3,
        "points whose depth deviates by more than this part of it are NaN",
        (0.0, 10.0),
        ANY_TIME,
    ),
    Parameter("overlay_alpha", 0.5, "how opaque the overlay's classes are", (0.0, 1.0), ANY_TIME),
    Parameter("jpeg_quality", 80, "of ~/overlay/compressed", (1, 100), ANY_TIME),
)


class Parameters:
    """The parameters of a node, declared. `unconfigured` says whether the node is that now.

    Raises
    ------
    UserError
        A value of another type, out of range, or none of the choices.
    """

    def __init__(self, node: Node, unconfigured: Callable[[], bool]) -> None:
        self._node, self._unconfigured = node, unconfigured
        for parameter in PARAMETERS:
            declare(node, parameter)
        node.add_on_set_parameters_callback(self._check)

    def settings(self) -> Settings:
        """Those that may change at any time; for any thread."""
        return Settings(**{field.name: self[field.name] for field in fields(Settings)})

    def __getitem__(self, name: str) -> Any:
        return self._node.get_parameter(name).value

    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras; one empty name stands for the only camera."""
        return tuple(filter(None, self["cameras"])) or ("",)

    def _check(self, given: Sequence[Any]) -> SetParametersResult:
        """Answer to a wish to set parameters; ranges, types and read-only flags are rclpy's."""
        known = {parameter.name: parameter for parameter in PARAMETERS}
        for each in given:
            parameter = known.get(each.name)
            if parameter is None:
                continue
            problem = parameter.problem(each.value)
            if not problem and parameter.changes == ON_CONFIGURE and not self._unconfigured():
                problem = (
                    "read when the node configures: deactivate, clean up, set it, configure and "
                    "activate again"
                )
            if problem:
                return SetParametersResult(successful=False, reason=f"{each.name}: {problem}")
        return SetParametersResult(successful=True)


def declare(node: Node, parameter: Parameter) -> Any:
    """Declare a parameter on a node; its value.

    Raises
    ------
    UserError
        A value of another type, out of range, or none of the choices.
    """
    default = list(parameter.default) if parameter.is_list else parameter.default  # type: ignore[arg-type]
    try:
        value = node.declare_parameter(parameter.name, default, parameter.descriptor()).value
    except ParameterException as error:
        reason = str(error).removesuffix(f": {parameter.name}")
        advice = " (write 10.0, not 10)" if "expecting type 'DOUBLE'" in reason else ""
        raise UserError(f"parameter {parameter.name}: {reason}{advice}") from None
    if problem := parameter.problem(value):
        raise UserError(f"parameter {parameter.name}: {problem}")
    return value


def _camera_problem(names: Any) -> str:
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        return f"expected a list of names, such as ['front', 'rear'], but got {names!r}"
    if list(names) == [""]:  # a launch file cannot write an empty list
        return ""
    wrong = [name for name in names if not _CAMERA_NAME.fullmatch(name)]
    if wrong:
        return f"{wrong[0]!r} is no name for a topic: use letters, digits and underscores"
    twice = {name for name in names if list(names).count(name) > 1}
    return f"{min(twice)} is named twice" if twice else ""


@dataclass(frozen=True)
class Settings:
    """The parameters that may change at any time, as they are for one frame."""

    max_rate: float = 0.0
    unknown_above: float = 0.0
    max_depth_std_ratio: float = 0.3
    overlay_alpha: float = 0.5
    jpeg_quality: int = 80

    @property
    def names_unknown(self) -> bool:
        """Whether doubtful pixels get a class of their own."""
        return 0 < self.unknown_above < 1
