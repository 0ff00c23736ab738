"""Read rosbag2 bags without ROS: folders with metadata.yaml (versions 4-9) or single data files.

    with open_bag("drive/") as bag:
        for message in bag.messages(["/camera/image_raw"]):
            print(message.time_ns, bag.decode(message).encoding)

It supports sqlite3 and mcap, and zstd compression of files or messages. `rosbags` decodes the
container formats. Its reader of folders is not used: it silently drops every message of a topic
whose QoS differs between metadata.yaml and the data file, as some tools write it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rosbags.interfaces import Connection, Qos, QosDurability
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.metadata import parse_qos

from emu_core.bags import types
from emu_core.bags.errors import BagError
from emu_core.bags.files import find_files, open_file, reason, zstd

IMAGE_TYPES = (types.Image.__msgtype__, types.CompressedImage.__msgtype__)
"""Types of messages with one image."""

_COLOR_ENCODINGS = ("rgb", "bgr", "bayer", "yuv", "nv", "uyvy", "yuyv", "8UC3", "8UC4")


class Message(NamedTuple):
    """Recorded message: `time_ns` is the time of receipt, `data` raw CDR."""

    topic: str
    type: str
    time_ns: int
    data: bytes


@dataclass(frozen=True)
class BagTopic:
    """Recorded topic, and the QoS profiles that its publishers offered."""

    name: str
    type: str
    count: int
    qos: tuple[Qos, ...] = ()

    @property
    def latched(self) -> bool:
        """Whether a publisher offered transient local durability."""
        return any(qos.durability is QosDurability.TRANSIENT_LOCAL for qos in self.qos)


class Bag:
    """Open bag; create it with `open_bag`, close it with `close` or a `with` block.

    `topics` maps names to topics, and `left_out` the names of topics that are not CDR to their
    encodings. `start_ns` and `end_ns` are the times of the first and last message. All methods
    raise BagError for a topic that the bag lacks, an unknown type, and damaged data.
    """

    def __init__(
        self, path: Path, files: list[tuple[Path, Reader]], metadata: dict, stack: ExitStack
    ) -> None:
        self.path = path
        self._files = files
        self._stack = stack
        self._compressed_messages = metadata.get("compression_mode") == "message"
        every = [connection for _, reader in files for connection in reader.connections]
        connections = [c for c in every if _encoding(c) == "cdr"]
        self.left_out = {c.topic: _encoding(c) for c in every if _encoding(c) != "cdr"}
        self.topics = _topics(connections, metadata)
        filled = [reader for _, reader in files if reader.message_count]
        if not filled:
            raise BagError(
                f"the bag {path} is empty: it holds no message. "
                "Was anything published while it was recorded?"
            )
        self.start_ns = min(reader.start_time for reader in filled)
        self.end_ns = max(reader.end_time for reader in filled) - 1
        # Recorders before version 6 (Humble or older) do not store their distribution.
        old = "humble" if int(metadata.get("version", 9)) <= 5 else "jazzy"
        self._store = types.typestore(str(metadata.get("ros_distro") or old))
        types.register_definitions(self._store, ((c.msgtype, c.msgdef) for c in connections))

    def require(self, topics: Iterable[str]) -> None:
        """Raise BagError if the bag lacks one of these topics."""
        if unknown := [topic for topic in topics if topic not in self.topics]:
            raise BagError(
                f"{self.path} has no topic {', '.join(unknown)}; it has: {', '.join(self.topics)}"
            )

    def messages(
        self, topics: Collection[str] | None = None, start_ns: int | None = None
    ) -> Iterator[Message]:
        """Messages of these topics (default: all) from `start_ns` on, in recorded order."""
        self.require(topics or ())
        count = 0
        names = self.topics if topics is None else topics
        for file, reader in self._files:
            wanted = [c for c in reader.connections if c.topic in names and _encoding(c) == "cdr"]
            if not wanted:
                continue
            try:
                for connection, time_ns, data in reader.messages(wanted, start=start_ns):
                    plain = zstd.decompress(data) if self._compressed_messages else data
                    yield Message(connection.topic, connection.msgtype, time_ns, plain)
                    count += 1
            except Exception as error:  # decoders raise many kinds for damaged bytes
                raise BagError(
                    f"{file} is damaged after {count} readable messages: "
                    f"{reason(error)}. Copy it again from where it was recorded"
                ) from error

    def decode(self, message: Message) -> Any:
        """Decode a message into an object with the fields of its type."""
        if message.type not in self._store.fielddefs:
            raise BagError(f"{self.path} has no definition of {message.type}: cannot decode it")
        try:
            return self._store.deserialize_cdr(message.data, message.type)
        except Exception as error:
            problem = f"a message on {message.topic} does not decode as {message.type}"
            raise BagError(f"{self.path}: {problem}: {reason(error)}") from error

    def stamp_ns(self, message: Message) -> int | None:
        """Header stamp in nanoseconds; None for a type that does not begin with a Header."""
        if not types.has_header(self._store, message.type):
            return None
        try:
            return types.stamp_ns(message.data)
        except ValueError as error:
            raise BagError(f"{self.path}: damaged message on {message.topic}: {error}") from error

    def image_topic(self, wanted: str | None = None, among: Collection[str] | None = None) -> str:
        """Find the camera's topic among ground truth, depth and masks, which are images too.

        Colour images come first, then names such as `image` or `image_raw` (or `compressed` below
        them), then the order in the bag. `wanted` is only checked; `among` limits the choice.
        """
        images = [t for t in self.topics.values() if t.type in IMAGE_TYPES]
        images = [t for t in images if not among or t.name in among]
        names = [topic.name for topic in images]
        if wanted in names:
            return wanted
        if wanted is not None:
            raise BagError(
                f"{wanted} is not an image topic in {self.path}; "
                f"its image topics: {', '.join(names) or 'none'}"
            )
        images = [topic for topic in images if topic.count]
        if not images:
            kinds = ", ".join(f"{t.name} ({t.type})" for t in self.topics.values())
            raise BagError(
                f"the bag {self.path} has no images ({' or '.join(IMAGE_TYPES)}); "
                f"its topics: {kinds}"
            )
        return min(images, key=self._camera_order).name

    def _camera_order(self, topic: BagTopic) -> tuple[bool, bool]:
        first = self.decode(next(self.messages([topic.name])))
        base = topic.name.removesuffix("/compressed").rsplit("/", 1)[-1]
        return not is_color(first), not base.startswith("image")

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_bag(path: str | Path, *, salvage: bool = False) -> Bag:
    """Open a rosbag2 bag: its folder, its metadata.yaml, or a single .mcap or .db3 file.

    A folder without metadata.yaml (the recorder was killed) is read file by file. A truncated file
    is refused, or with `salvage` read up to its last complete message.

    Raises:
        BagError: There is no bag, it is empty or damaged, or its format is unknown.
    """
    path = Path(path)
    if path.name == "metadata.yaml":
        path = path.parent
    files, metadata = find_files(path)
    stack = ExitStack()
    try:
        opened = [(file, open_file(file, stack, salvage)) for file in files]
        opened.sort(key=lambda file_and_reader: file_and_reader[1].start_time)
        return Bag(path, opened, metadata, stack)
    except BaseException:
        stack.close()
        raise


def _topics(connections: list[Connection], metadata: dict) -> dict[str, BagTopic]:
    """Topics of all files; QoS from metadata.yaml takes precedence, as in rosbag2's player."""
    described = {
        entry["topic_metadata"]["name"]: entry["topic_metadata"].get("offered_qos_profiles")
        for entry in metadata.get("topics_with_message_count", ())
    }
    topics: dict[str, BagTopic] = {}
    for c in connections:
        known = topics.get(c.topic)
        qos = _qos(described.get(c.topic)) or tuple(getattr(c.ext, "offered_qos_profiles", ()))
        count = c.msgcount + (known.count if known else 0)
        topics[c.topic] = BagTopic(c.topic, known.type if known else c.msgtype, count, qos)
    return topics


def _qos(profiles: Any) -> tuple[Qos, ...]:
    """Offered QoS from metadata.yaml: YAML in a string up to version 8, a list in version 9."""
    try:
        return tuple(parse_qos(profiles or []))
    except Exception:  # edited by hand or by another tool: the data file has it as well
        return ()


def _encoding(connection: Connection) -> str:
    return getattr(connection.ext, "serialization_format", "")


def is_color(image: types.Image | types.CompressedImage) -> bool:
    """Whether a decoded Image or CompressedImage shows colours rather than depth or class ids."""
    if not hasattr(image, "format"):
        return image.encoding.startswith(_COLOR_ENCODINGS)
    data = bytes(image.data[:26])
    if data.startswith(b"\x89PNG"):
        return data[25:26] in (b"\x02", b"\x06")  # colour type of the header: RGB, RGBA
    return "compressedDepth" not in image.format
