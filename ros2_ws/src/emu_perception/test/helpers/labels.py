"""LabelInfo in tests: from vision_msgs if it is installed, otherwise from a stand-in."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

STAND_INS = Path(__file__).parent / "stand_ins"
INSTALLED = importlib.util.find_spec("vision_msgs") is not None
if not INSTALLED:
    sys.path.append(str(STAND_INS))


def with_vision_msgs() -> dict[str, str]:
    """Environment variables of a node that finds vision_msgs or the stand-in."""
    if INSTALLED:
        return {}
    return {"PYTHONPATH": os.pathsep.join(filter(None, (*sys.path, str(STAND_INS))))}


def label_info_type() -> type:
    """The message class to subscribe to."""
    from vision_msgs.msg import LabelInfo

    return LabelInfo


def time_ns(message: Any) -> int:
    """The stamp, in nanoseconds."""
    if hasattr(message, "class_map"):
        return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
    return int(message.hardware_id)


def classes(message: Any) -> dict[int, str]:
    """Class names by id."""
    if hasattr(message, "class_map"):
        return {entry.class_id: entry.class_name for entry in message.class_map}
    return {int(pair.key): pair.value for pair in message.values}
