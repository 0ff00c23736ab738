"""Which id means which class: vision_msgs/LabelInfo, before the first mask that needs it.

Without vision_msgs there is no such topic, and nothing that a planner could misread without it:
`available()` says so.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from emu_core.labels import IGNORE, ClassTable

TOPIC = "semantic/label_info"
UNKNOWN = "unknown"
MISSING = (
    "the package vision_msgs is missing: no label_info and no points, which planners cannot read "
    "without it. Install ros-$ROS_DISTRO-vision-msgs"
)


def available() -> bool:
    """Whether vision_msgs is installed."""
    return _messages() is not None


def unknown_id(classes: ClassTable) -> int | None:
    """The id of doubtful pixels, one above the last class; None if no id is left for it."""
    return len(classes) if len(classes) < IGNORE else None


class LabelInfo:
    """Tells the classes on one camera's topic, and again when they change.

    `publisher` is of `message_type()`, or None without vision_msgs.
    """

    def __init__(self, publisher: Any | None, classes: ClassTable) -> None:
        self._publisher, self._classes = publisher, classes
        self._told: bool | None = None

    def tell(self, with_unknown: bool, again: bool = False) -> None:
        """Publish the classes, with or without `unknown`, unless that was done already."""
        if self._publisher is None or (with_unknown == self._told and not again):
            return
        self._publisher.publish(message(self._classes, with_unknown))
        self._told = with_unknown


def message_type() -> Any:
    """The class of vision_msgs/LabelInfo."""
    return _messages().LabelInfo  # type: ignore[union-attr]


def message(classes: ClassTable, with_unknown: bool) -> Any:
    """A LabelInfo of all classes; unlabelled pixels (255) have no entry, and confidence 0."""
    messages = _messages()
    named = with_unknown and unknown_id(classes) is not None
    names = [*classes.names, *([UNKNOWN] if named else [])]
    return messages.LabelInfo(  # type: ignore[union-attr]
        class_map=[
            messages.VisionClass(class_id=number, class_name=name)  # type: ignore[union-attr]
            for number, name in enumerate(names)
        ]
    )


def _messages() -> Any | None:
    try:
        return import_module("vision_msgs.msg")
    except ImportError:
        return None
