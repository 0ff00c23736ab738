"""The node's parameters: one table, from which they are declared, checked and documented."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import rclpy.parameter
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import ParameterException
from rclpy.node import Node

from emu_core.labels import DOUBTFUL, ClassTable, ClassTableError
from emu_core.runtime.engines import PROVIDERS
from emu_core.runtime.fastest import AUTO
from emu_core.runtime.fitting import FITS
from emu_perception.errors import UserError
from emu_perception.planners.classes import DYNAMIC, GROUND, Roles, class_groups, class_roles

AT_START, ON_CONFIGURE, ANY_TIME = "at start", "on configure", "any time"
"""When a parameter is read, and therefore when it may change."""

_ADVICE = {
    "DOUBLE": " (write 10.0, not 10)",
    "STRING_ARRAY": " (write a list of names, such as ['front', 'rear'])",
}
"""What to do about a value that has not this type."""

WRONG_QOS = (RuntimeError, ParameterException)
"""What rclpy raises for a wrong value or type among the `qos_overrides`."""


@dataclass(frozen=True)
class Parameter:
    """One parameter. Its type is the type of its default."""

    name: str
    default: str | bool | int | float | tuple[str, ...]
    description: str
    allowed: tuple = ()
    """The allowed texts, or the smallest and the largest number; empty: no limit."""
    changes: str = ON_CONFIGURE

    @property
    def is_choice(self) -> bool:
        return bool(self.allowed) and isinstance(self.default, str)

    @property
    def is_list(self) -> bool:
        return isinstance(self.default, tuple)

    def descriptor(self) -> ParameterDescriptor:
        """Return what `ros2 param describe` prints and rclpy checks."""
        result = ParameterDescriptor(description=self.description)
        result.read_only = self.changes == AT_START
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
        return result

    def problem(self, value: Any) -> str:
        """Return the problem with a value, beyond the checks of rclpy; empty if there is none."""
        if self.is_choice and value not in self.allowed:
            return f"expected one of {', '.join(self.allowed)}, but got {value!r}"
        if not self.is_list:
            return ""
        return _camera_problem(value) if self.name == "cameras" else _list_problem(value)


PARAMETERS = (
    Parameter("model", "", "ONNX file of an EMU model; empty: the model installed with emu_core"),
    Parameter(
        "provider",
        AUTO,
        "ONNX Runtime execution provider; auto: the fastest one, measured at the first start",
        (AUTO, *PROVIDERS),
    ),
    Parameter("allow_cpu_fallback", False, "run on the CPU if the provider is not available"),
    Parameter("threads", 0, "CPU threads of an inference; 0: one per core, at most 4", (0, 256)),
    Parameter("fit", "stretch", "resize mode for other aspect ratios: stretch or letterbox", FITS),
    Parameter(
        "rectify",
        False,
        "rectify raw images with P of camera_info; if false, only points are corrected",
    ),
    Parameter(
        "image_geometry",
        "auto",
        "raw: K and D of camera_info hold; rectified: P holds; auto: rectified if the image topic "
        "has such a name, as image_rect",
        ("auto", "raw", "rectified"),
    ),
    Parameter(
        "image_transport",
        "raw",
        "raw: subscribe to `image` (Image); compressed: to `image`/compressed (CompressedImage)",
        ("raw", "compressed"),
    ),
    Parameter(
        "cameras",
        (),
        "names of several cameras: `front` subscribes to `front/image` and publishes `~/front/…`",
    ),
    Parameter(
        "autostart",
        True,
        "configure and activate at start; false: a lifecycle manager does it",
        changes=AT_START,
    ),
    Parameter(
        "max_rate", 0.0, "maximum images per second and camera; 0: no limit", (0.0, 1e3), ANY_TIME
    ),
    Parameter(
        "unknown_above",
        0.0,
        "pixels with a higher label uncertainty get the class `unknown`; 0 or 1: off",
        (0.0, 1.0),
        ANY_TIME,
    ),
    Parameter(
        "max_depth_std_ratio",
        0.3,
        "points above this depth_std / depth are NaN",
        (0.0, 10.0),
        ANY_TIME,
    ),
    Parameter(
        "doubtful_above",
        DOUBTFUL,
        "above this label uncertainty, sky is no free space and no class is ground or ignored",
        (0.0, 1.0),
        ANY_TIME,
    ),
    Parameter(
        "ground_classes",
        GROUND,
        "classes of ~/ground, which are no obstacles; the model may lack those of the default",
        changes=ANY_TIME,
    ),
    Parameter(
        "dynamic_classes",
        DYNAMIC,
        "classes of ~/semantic/dynamic_mask; the model may lack those of the default",
        changes=ANY_TIME,
    ),
    Parameter(
        "ignore_classes",
        (),
        "classes that are neither obstacles nor ground, such as the robot itself",
        changes=ANY_TIME,
    ),
    Parameter(
        "min_obstacle_height",
        0.1,
        "metres from the ground plane below which nothing is an obstacle; 0: all heights",
        (0.0, 10.0),
        ANY_TIME,
    ),
    Parameter(
        "max_obstacle_height",
        2.0,
        "metres over the ground plane that ~/clearing looks at; the same as in the costmap",
        (0.0, 100.0),
        ANY_TIME,
    ),
    Parameter(
        "clearing_range", 20.0, "longest ray of ~/clearing in metres", (0.1, 1000.0), ANY_TIME
    ),
    Parameter(
        "clearing_sigmas",
        2.0,
        "a ray of ~/clearing ends so many depth_std before the depth of its pixel",
        (0.0, 10.0),
        ANY_TIME,
    ),
    Parameter(
        "stride",
        1,
        "the clouds have every n-th row and column; the semantic layer of Nav2 needs 1",
        (1, 64),
        ANY_TIME,
    ),
    Parameter(
        "probability_groups",
        (),
        "channels of ~/semantic/probabilities, `NAME=CLASS,CLASS` or `CLASS`; empty: all classes",
        changes=ANY_TIME,
    ),
    Parameter(
        "overlay_alpha", 0.5, "opacity of the class colours in the overlay", (0.0, 1.0), ANY_TIME
    ),
    Parameter("jpeg_quality", 80, "JPEG quality of ~/overlay/compressed", (1, 100), ANY_TIME),
)


class Settings(SimpleNamespace):
    """Values for one frame of the parameters that may change at any time."""

    @property
    def marks_unknown(self) -> bool:
        """Whether uncertain pixels get the class `unknown`."""
        return 0 < self.unknown_above < 1

    def roles(self, classes: ClassTable) -> Roles:
        """Return the roles of a model's classes; raises ClassTableError for a wrong name."""
        lists = (self.ground_classes, self.dynamic_classes, self.ignore_classes)
        return class_roles(classes, *map(tuple, lists))

    def groups(self, classes: ClassTable) -> dict[str, np.ndarray]:
        """Return the groups of a model's classes; raises ClassTableError for a wrong name."""
        return class_groups(classes, tuple(self.probability_groups))


class Parameters:
    """Declare the parameters of a node and read their values.

    Raises:
        UserError: a value has the wrong type, is out of range, or is none of the choices.
    """

    def __init__(self, node: Node, is_unconfigured: Callable[[], bool]) -> None:
        self._node, self._is_unconfigured = node, is_unconfigured
        self._classes: ClassTable | None = None
        for parameter in PARAMETERS:
            declare(node, parameter)
        node.add_on_set_parameters_callback(self._check)

    def __getitem__(self, name: str) -> Any:
        return self._node.get_parameter(name).value

    def settings(self) -> Settings:
        """Return the current settings. Can be called from any thread."""
        return Settings(**{p.name: self[p.name] for p in PARAMETERS if p.changes == ANY_TIME})

    def bind_classes(self, classes: ClassTable | None) -> None:
        """Check names of classes against a model's, now and when they change; None: no longer.

        Raises:
            UserError: a name is no class.
        """
        if classes is not None and (problem := _class_problem(self.settings(), classes)):
            raise UserError(f"parameter {problem}")
        self._classes = classes

    def cameras(self) -> tuple[str, ...]:
        """Return the names of the cameras; a single empty name if there is only one camera."""
        return tuple(filter(None, self["cameras"])) or ("",)

    def _check(self, given: Sequence[rclpy.parameter.Parameter]) -> SetParametersResult:
        """Check new values; rclpy itself checks ranges, types and read-only flags."""
        values = {parameter.name: parameter.value for parameter in given}
        for parameter in PARAMETERS:
            if parameter.name not in values:
                continue
            problem = parameter.problem(values[parameter.name])
            if not problem and parameter.changes == ON_CONFIGURE and not self._is_unconfigured():
                problem = (
                    "is read when the node configures: deactivate and clean up the node, set the "
                    "parameter, then configure and activate again"
                )
            if problem:
                return SetParametersResult(successful=False, reason=f"{parameter.name}: {problem}")
        if self._classes is not None:
            settings = Settings(**{**vars(self.settings()), **values})
            if problem := _class_problem(settings, self._classes):
                return SetParametersResult(successful=False, reason=problem)
        return SetParametersResult(successful=True)


def declare(node: Node, parameter: Parameter) -> Any:
    """Declare a parameter on a node and return its value.

    Raises:
        UserError: the value has the wrong type, is out of range, or is none of the choices.
    """
    # rclpy takes an empty list for a list of bytes, so a list is declared with one empty name.
    default: Any = parameter.default
    if parameter.is_list:
        default = list(default) or [""]
    try:
        node.declare_parameter(parameter.name, default, parameter.descriptor())
        given = node.get_parameter_or(parameter.name)
        if parameter.is_list and not any(given.value or ()):
            kind = rclpy.parameter.Parameter.Type.STRING_ARRAY
            node.set_parameters([rclpy.parameter.Parameter(parameter.name, kind, [])])
    except ParameterException as error:
        reason = str(error).removesuffix(f": {parameter.name}")
        expected = reason.rpartition("expecting type ")[2].strip("'")
        advice = _ADVICE.get(expected, "")
        raise UserError(f"parameter {parameter.name}: {reason}{advice}") from None
    value = node.get_parameter_or(parameter.name).value
    if value is None:  # an empty list in YAML has no type
        raise UserError(f"parameter {parameter.name} has no value: add one, or remove the line")
    if problem := parameter.problem(value):
        raise UserError(f"parameter {parameter.name}: {problem}")
    return value


def _class_problem(settings: Settings, classes: ClassTable) -> str:
    try:
        settings.roles(classes)
        settings.groups(classes)
    except ClassTableError as error:
        return str(error)
    return ""


def _list_problem(names: object, example: str = "['road', 'sidewalk']") -> str:
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        return f"expected a list of names, such as {example}, but got {names!r}"
    return ""


def _camera_problem(names: Any) -> str:
    if problem := _list_problem(names, "['front', 'rear']"):
        return problem
    if list(names) == [""]:  # a launch file cannot write an empty list
        return ""
    for name in names:
        if not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name):
            return f"{name!r} cannot be part of a topic: use letters, digits and underscores"
        if names.count(name) > 1:
            return f"{name} is named twice"
    return ""
