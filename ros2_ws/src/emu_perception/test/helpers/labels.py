"""Where LabelInfo comes from in tests: vision_msgs where it is installed, else a stand-in."""

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
    """Environment of a node that finds vision_msgs, or what stands in for it."""
    if INSTALLED:
        return {}
    return {"PYTHONPATH": os.pathsep.join(filter(None, (*sys.path, str(STAND_INS))))}


def without_vision_msgs(folder: Path) -> dict[str, str]:
    """Environment of a node that does not find it, whatever is installed."""
    package = folder / "vision_msgs"
    package.mkdir()
    (package / "__init__.py").write_text("raise ModuleNotFoundError(name='vision_msgs')")
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(folder), *sys.path)))}


def label_info_type() -> type:
    """What to subscribe to."""
    from vision_msgs.msg import LabelInfo

    return LabelInfo


def classes(message: Any) -> dict[int, str]:
    """Names by id."""
    if hasattr(message, "class_map"):
        return {entry.class_id: entry.class_name for entry in message.class_map}
    return {int(pair.key): pair.value for pair in message.values}
