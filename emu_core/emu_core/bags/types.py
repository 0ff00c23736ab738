"""ROS 2 message types without ROS: definitions, CDR encoding, header stamps.

The definitions come from the package `rosbags`. This module adds `vision_msgs`, which is missing
there, and the definitions that a bag contains.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat, Nodetype
from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_types_from_msg
from rosbags.typesys import get_typestore as rosbags_typestore
from rosbags.typesys.store import Typestore
from rosbags.typesys.stores import ros2_jazzy

Time = ros2_jazzy.builtin_interfaces__msg__Time
Header = ros2_jazzy.std_msgs__msg__Header
CameraInfo = ros2_jazzy.sensor_msgs__msg__CameraInfo
CompressedImage = ros2_jazzy.sensor_msgs__msg__CompressedImage
Image = ros2_jazzy.sensor_msgs__msg__Image
PointCloud2 = ros2_jazzy.sensor_msgs__msg__PointCloud2
RegionOfInterest = ros2_jazzy.sensor_msgs__msg__RegionOfInterest

# Fields as documented on docs.ros.org for vision_msgs (the same in Humble and Jazzy).
_VISION_MSGS = {
    "vision_msgs/msg/VisionClass": "uint16 class_id\nstring class_name\n",
    "vision_msgs/msg/LabelInfo": (
        "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n"
    ),
}
_IDL_SEPARATOR = "=" * 80 + "\n"


def typestore(distro: str = "jazzy") -> Typestore:
    """New store of the message types of a ROS 2 distribution; Jazzy's if it is unknown.

    `store.types[NAME]` are the message classes.
    """
    known = {store.value: store for store in Stores}
    store = rosbags_typestore(known.get(f"ros2_{distro}", Stores.ROS2_JAZZY))
    for name, text in _VISION_MSGS.items():
        if name not in store.fielddefs:
            store.register(get_types_from_msg(text, name))
    return store


def register_definitions(
    store: Typestore, definitions: Iterable[tuple[str, MessageDefinition]]
) -> None:
    """Register those (type name, definition) pairs of a bag that the store does not know.

    A definition that cannot be parsed is skipped: only decoding this type will fail.
    """
    for name, definition in definitions:
        absent = definition.format is MessageDefinitionFormat.NONE or not definition.data.strip()
        if absent or name in store.fielddefs:
            continue
        with suppress(TypesysError, ValueError, KeyError):
            types = _parse(name, definition)
            store.register({k: v for k, v in types.items() if k not in store.fielddefs})


def register_installed(
    store: Typestore, msgtype: str, share_folder: Callable[[str], str | Path]
) -> None:
    """Register a type, and the types of its fields, from the .msg files of installed packages.

    `share_folder` returns the share folder of a package, or raises LookupError. A type that is not
    installed is skipped.
    """
    if msgtype in store.fielddefs:
        return
    package, _, name = msgtype.partition("/msg/")
    with suppress(LookupError, OSError, TypesysError, ValueError):
        text = (Path(share_folder(package)) / "msg" / f"{name}.msg").read_text(encoding="utf-8")
        types = get_types_from_msg(text, msgtype)
        for _, fields in types.values():
            for _, description in fields:
                if (used := _message_name(description)) and used not in types:
                    register_installed(store, used, share_folder)
        store.register(types)


def _message_name(description: Any) -> str | None:
    """Message type of a field or of its elements; None for a primitive type."""
    kind, value = description
    if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        return _message_name(value[0])
    return value if kind is Nodetype.NAME else None


def _parse(name: str, definition: MessageDefinition) -> dict:
    if definition.format is MessageDefinitionFormat.MSG:
        return get_types_from_msg(definition.data, name)
    types: dict = {}
    for part in definition.data.split(_IDL_SEPARATOR):
        body = part.partition("\n")[2] if part.startswith("IDL: ") else part
        if body.strip():
            types.update(get_types_from_idl(body))
    return types


def has_header(store: Typestore, msgtype: str) -> bool:
    """Whether messages of this type begin with a std_msgs/Header (unknown types: no)."""
    if msgtype not in store.fielddefs:
        return False
    fields = store.fielddefs[msgtype][1]
    return bool(fields) and fields[0][1] == (Nodetype.NAME, "std_msgs/msg/Header")


def stamp_ns(data: bytes) -> int:
    """Header stamp, in nanoseconds, of a raw CDR message; ValueError if it is too short."""
    if len(data) < 12:
        raise ValueError(f"a message of {len(data)} bytes is too short for a header stamp")
    # Byte 1 of the encapsulation header gives the byte order: odd is little-endian.
    sec, nanosec = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return sec * 1_000_000_000 + nanosec
