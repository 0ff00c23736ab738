"""vision_msgs/LabelInfo: the name of each class id.

Without the package vision_msgs, topics that planners misread without LabelInfo are not published.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from std_msgs.msg import Header

from emu_core.labels import IGNORE, UNKNOWN, ClassTable

if TYPE_CHECKING:
    from builtin_interfaces.msg import Time
    from vision_msgs.msg import LabelInfo

TOPIC = "semantic/label_info"
MISSING = (
    "vision_msgs is not installed, so label_info and points are not published: install "
    "ros-$ROS_DISTRO-vision-msgs"
)


def messages() -> ModuleType | None:
    """Return the module vision_msgs.msg; None if it is not installed."""
    try:
        return import_module("vision_msgs.msg")
    except ImportError:
        return None


def unknown_id(classes: ClassTable) -> int | None:
    """Return the id of uncertain pixels, one above the last class; None if all ids are taken."""
    return len(classes) if len(classes) < IGNORE else None


def message(classes: ClassTable, with_unknown: bool, stamp: Time) -> LabelInfo:
    """Return the names of all classes, as of now; unlabelled pixels (255) have no entry."""
    vision_msgs = import_module("vision_msgs.msg")
    names = list(classes.names)
    if with_unknown and unknown_id(classes) is not None:
        names.append(UNKNOWN)
    entries = [vision_msgs.VisionClass(class_id=i, class_name=n) for i, n in enumerate(names)]
    return vision_msgs.LabelInfo(header=Header(stamp=stamp), class_map=entries)
