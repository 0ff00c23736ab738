"""Rosbag2 bags, read without ROS: folders with metadata.yaml (versions 4-9) or single data files.

    with open_bag("drive/") as bag:
        for message in bag.messages(["/camera/image_raw"]):
            print(message.time_ns, bag.decode(message).encoding)

Storages are sqlite3 and mcap; whole files or single messages may be compressed by zstd. Writing
is in `bag_writer`, message types are in `bag_types`. `rosbags` reads the container formats; its
reader of folders is passed over, because it silently drops every message of a topic whose QoS
reads differently in metadata.yaml and in the data file, as some tools leave it (`bag_files` finds
and opens the files). No torch, no ROS.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rosbags.interfaces import Connection, Qos, QosDurability
from rosbags.rosbag2.metadata import parse_qos

from emu_core.bags import types as bag_types
from emu_core.bags.errors import BagError
from emu_core.bags.files import FileReader, find_files, open_file, reason

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_IMAGE = "sensor_msgs/msg/Image"
_COLOR_ENCODINGS = ("rgb", "bgr", "bayer", "yuv", "nv", "uyvy", "yuyv", "8UC3", "8UC4")
_COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"


class Message(NamedTuple):
    """One recorded message: `time_ns` is when it was received, `data` is raw CDR."""

    topic: str
    type: str
    time_ns: int
    data: bytes


@dataclass(frozen=True)
class Topic:
    """One recorded topic and the QoS profiles that its publishers offered."""

    name: str
    type: str
    count: int
    qos: tuple[Qos, ...] = ()

    @property
    def latched(self) -> bool:
        """Whether a publisher offered transient local durability."""
        return any(qos.durability is QosDurability.TRANSIENT_LOCAL for qos in self.qos)


class Bag:
    """An open bag; made by `open_bag`, closed by `close` or the end of a `with` block.

    `topics` maps names to `Topic`; `left_out` names topics that are not CDR, with their encoding.
    `start_ns` and `end_ns` are the times of the first and the last message.
    """

    def __init__(self, path: Path, readers: list[FileReader], metadata: dict, stack: ExitStack):
        self.path = path
        self._readers = readers
        self._stack = stack
        self._compressed_messages = metadata.get("compression_mode") == "message"
        self._by_file = [[c for c in r.connections if _encoding(c) == "cdr"] for r in readers]
        connections = [c for file in self._by_file for c in file]
        self.left_out = {
            c.topic: _encoding(c) for r in readers for c in r.connections if _encoding(c) != "cdr"
        }
        self.topics = _topics(connections, metadata)
        filled = [reader for reader in readers if reader.message_count]
        if not filled:
            raise BagError(
                f"the bag {path} is empty: it holds no message. "
                "Was anything published while it was recorded?"
            )
        self.start_ns = min(reader.start_time for reader in filled)
        self.end_ns = max(reader.end_time for reader in filled) - 1
        self._store = bag_types.typestore(_distro(metadata))
        bag_types.learn(self._store, ((c.msgtype, c.msgdef) for c in connections))

    @property
    def message_count(self) -> int:
        """How many messages `messages()` yields."""
        return sum(topic.count for topic in self.topics.values())

    def messages(
        self, topics: Collection[str] | None = None, start_ns: int | None = None
    ) -> Iterator[Message]:
        """Messages of these topics (default: all) from `start_ns` on, in the order of recording.

        Raises
        ------
        BagError
            A topic is not in the bag, or the data are damaged.
        """
        for topic in topics or ():
            self._require(topic)
        count = 0
        for reader, connections in zip(self._readers, self._by_file, strict=True):
            wanted = [c for c in connections if topics is None or c.topic in topics]
            if not wanted:
                continue
            try:
                for connection, time_ns, data in reader.messages(wanted, start=start_ns):
                    plain = zstd.decompress(data) if self._compressed_messages else data
                    yield Message(connection.topic, connection.msgtype, time_ns, plain)
                    count += 1
            except Exception as error:  # whatever a decoder makes of damaged bytes
                raise BagError(
                    f"{reader.origin} is damaged after {count} readable messages: "
                    f"{reason(error)}. Copy it again from where it was recorded"
                ) from error

    def decode(self, message: Message) -> Any:
        """The message as an object with the fields of its type.

        Raises
        ------
        BagError
            The type is unknown, or the data do not fit it.
        """
        if message.type not in self._store.fielddefs:
            raise BagError(f"{self.path} brings no definition of {message.type}: cannot decode it")
        try:
            return self._store.deserialize_cdr(message.data, message.type)
        except Exception as error:
            raise BagError(
                f"{self.path}: a message on {message.topic} does not decode as {message.type}: "
                f"{reason(error)}"
            ) from error

    def stamp_ns(self, message: Message) -> int | None:
        """Header stamp in nanoseconds, or None for a type that does not begin with a Header."""
        if not bag_types.has_header(self._store, message.type):
            return None
        try:
            return bag_types.stamp_ns(message.data)
        except ValueError as error:
            raise BagError(f"{self.path}: damaged message on {message.topic}: {error}") from error

    def image_topic(self, wanted: str | None = None, among: Collection[str] | None = None) -> str:
        """The camera's topic: `wanted`, or the likeliest of those (`among`) with images.

        Ground truth, depth and masks lie in bags too. Colour images come first, then names that
        end in `image`, `image_raw`, … (or `compressed` below them), then the order in the bag.

        Raises
        ------
        BagError
            `wanted` carries no images, or no topic does.
        """
        images = [
            topic
            for topic in self.topics.values()
            if topic.type in (_IMAGE, _COMPRESSED_IMAGE) and (not among or topic.name in among)
        ]
        names = ", ".join(t.name for t in images)
        if wanted is not None:
            if not any(t.name == wanted for t in images):
                raise BagError(
                    f"{wanted} carries no images in {self.path}; "
                    + (f"topics that do: {names}" if names else "no topic does")
                )
            return wanted
        images = [topic for topic in images if topic.count]
        if not images:
            kinds = ", ".join(f"{t.name} ({t.type})" for t in self.topics.values())
            raise BagError(
                f"the bag {self.path} has no images ({_IMAGE} or {_COMPRESSED_IMAGE}); "
                f"its topics: {kinds}"
            )
        return min(images, key=self._unlikeliness).name

    def _unlikeliness(self, topic: Topic) -> tuple[bool, bool]:
        first = self.decode(next(self.messages([topic.name])))
        base = topic.name.removesuffix("/compressed").rsplit("/", 1)[-1]
        return not _is_color(first), not base.startswith("image")

    def _require(self, topic: str) -> None:
        if topic not in self.topics:
            names = ", ".join(self.topics)
            raise BagError(f"{self.path} has no topic {topic}; it has: {names}")

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_bag(path: str | Path, *, salvage: bool = False) -> Bag:
    """Open a rosbag2 bag: its folder, its metadata.yaml, or a single .mcap or .db3 file.

    A folder without metadata.yaml (a recorder that was killed) is read file by file. A file whose
    recorder did not finish it is refused, unless `salvage` asks for what of it is whole.

    Raises
    ------
    BagError
        No bag there, an empty or damaged one, an unknown storage or compression.
    """
    path = Path(path)
    if path.name == "metadata.yaml":
        path = path.parent
    files, metadata = find_files(path)
    stack = ExitStack()
    try:
        readers = [stack.enter_context(open_file(f, stack, salvage)) for f in files]
        readers.sort(key=lambda reader: reader.start_time)
        return Bag(path, readers, metadata, stack)
    except BaseException:
        stack.close()
        raise


def _topics(connections: list[Connection], metadata: dict) -> dict[str, Topic]:
    """Topics over all files; metadata.yaml's QoS goes first, as in rosbag2's own player."""
    described = {
        entry["topic_metadata"]["name"]: entry["topic_metadata"].get("offered_qos_profiles")
        for entry in metadata.get("topics_with_message_count", ())
    }
    topics: dict[str, Topic] = {}
    for c in connections:
        known = topics.get(c.topic)
        qos = _qos(described.get(c.topic)) or tuple(getattr(c.ext, "offered_qos_profiles", ()))
        count = c.msgcount + (known.count if known else 0)
        topics[c.topic] = Topic(c.topic, known.type if known else c.msgtype, count, qos)
    return topics


def _qos(profiles: Any) -> tuple[Qos, ...]:
    """Offered QoS from metadata.yaml: YAML in a string up to version 8, a list in version 9."""
    try:
        return tuple(parse_qos(profiles or []))
    except Exception:  # shortened by hand or by another tool: the data file knows it as well
        return ()


def _encoding(connection: Connection) -> str:
    return getattr(connection.ext, "serialization_format", "")


def _distro(metadata: dict) -> str:
    """The distribution that recorded; before version 6, Humble or older, it was not noted."""
    old = "humble" if int(metadata.get("version", 9)) <= 5 else "jazzy"
    return str(metadata.get("ros_distro") or old)


def _is_color(image: Any) -> bool:
    """Whether a decoded Image or CompressedImage shows colours rather than depth or class ids."""
    if hasattr(image, "encoding"):
        return image.encoding.startswith(_COLOR_ENCODINGS)
    data = bytes(image.data[:26])
    if data.startswith(b"\x89PNG"):
        return data[25:26] in (b"\x02", b"\x06")  # colour type of the header: RGB, RGBA
    return "compressedDepth" not in image.format
