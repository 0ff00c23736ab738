"""What the readers of data files have in common: topics, messages, and their order in time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat, Qos
from rosbags.rosbag2.metadata import parse_qos

_FORMATS = {
    "ros2msg": MessageDefinitionFormat.MSG,
    "ros2idl": MessageDefinitionFormat.IDL,
    "omgidl": MessageDefinitionFormat.IDL,
}
_T = TypeVar("_T")


@dataclass(frozen=True)
class Channel:
    """Topic in one data file; `encoding` is that of its messages, "cdr" in ROS 2."""

    id: int
    topic: str
    type: str
    encoding: str
    definition: MessageDefinition
    qos: tuple[Qos, ...]
    count: int


class Record(NamedTuple):
    """Stored message; `data` may be compressed."""

    time_ns: int
    channel: int
    data: bytes


class DataFile(Protocol):
    """Open data file of a bag, with the times of its first and last message."""

    channels: list[Channel]
    start_ns: int
    end_ns: int

    def records(self, channels: Collection[int], start_ns: int | None = None) -> Iterator[Record]:
        """Messages of these channels from `start_ns` on, by time, then as written."""

    def close(self) -> None:
        """Close the file."""


def merged(
    sources: Iterable[tuple[int, Callable[[], Iterator[_T]]]], time: Callable[[_T], int]
) -> Iterator[_T]:
    """Merge iterators, each in order of time, by time; of equal times the first source's first.

    Args:
        sources: A time that no element of the source precedes, and a function that opens it. It is
            opened when its time has come, so that few sources are open at once.
        time: Returns the time of an element.
    """
    waiting: list[tuple[int, int, _T, Iterator[_T]]] = []

    def push(number: int, source: Iterator[_T]) -> None:
        for element in source:
            heapq.heappush(waiting, (time(element), number, element, source))
            return

    for number, (start, begin) in sorted(enumerate(sources), key=lambda each: each[1][0]):
        while waiting and waiting[0][0] < start:
            _, turn, element, source = heapq.heappop(waiting)
            yield element
            push(turn, source)
        push(number, begin())
    while waiting:
        _, turn, element, source = heapq.heappop(waiting)
        yield element
        push(turn, source)


def definition(form: str, text: str) -> MessageDefinition:
    """Definition of a message type; none if its form is not one of ROS 2."""
    known = _FORMATS.get(form, MessageDefinitionFormat.NONE)
    return MessageDefinition(known, text if known in _FORMATS.values() else "")


def full_type(name: str) -> str:
    """Name of a message type with "/msg/", which writers other than rosbag2 leave out."""
    package, slash, message = name.partition("/")
    return f"{package}/msg/{message}" if slash and "/" not in message else name


def offered_qos(profiles: object) -> tuple[Qos, ...]:
    """Offered QoS: YAML in a string, or a list in metadata.yaml of version 9."""
    try:
        return tuple(parse_qos(profiles or []))  # type: ignore[arg-type]
    except Exception:  # edited by hand or written by another tool
        return ()
