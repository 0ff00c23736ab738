"""Read rosbag2 bags without ROS: folders with metadata.yaml (versions 4-9) or data files.

    with open_bag("drive/") as bag:
        for message in bag.messages(["/camera/image_raw"]):
            print(message.time_ns, bag.decode(message).encoding)

It supports sqlite3 and mcap, and zstd compression of files or messages, which are recognised by
their content. What metadata.yaml or a data file says that it holds is read, or an error tells what
is missing. Messages of several files come in the order of their times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rosbags.interfaces import Qos, QosDurability

from emu_core.bags import types
from emu_core.bags.errors import BagError
from emu_core.bags.storage.compression import zstd
from emu_core.bags.storage.data_file import Channel, DataFile, merged, offered_qos
from emu_core.bags.storage.files import ZSTD, BagFiles, find_files, open_file, reason

IMAGE_TYPES = (types.Image.__msgtype__, types.CompressedImage.__msgtype__)
"""Types of messages with one image."""

_HEADER = 4  # bytes of the encapsulation header
_ENCAPSULATIONS = {
    **dict.fromkeys((2, 3), "PL_CDR"),
    **dict.fromkeys((6, 7), "CDR2"),
    **dict.fromkeys((8, 9), "D_CDR2"),
    **dict.fromkeys((10, 11), "PL_CDR2"),
}
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

    `topics` maps names to topics. `left_out` maps topics and files that are not read to the
    reason. `start_ns` and `end_ns` are the times of the first and last message. All methods
    raise BagError for a topic that the bag lacks, an unknown type, and damaged data.
    """

    def __init__(
        self, path: Path, opened: dict[Path, DataFile], found: BagFiles, stack: ExitStack
    ) -> None:
        self.path = path
        self._stack = stack
        self._files = opened
        self.left_out = dict(found.skipped)
        if not any(channel.count for data in opened.values() for channel in data.channels):
            raise BagError(
                f"the bag {path} is empty: it holds no message. "
                "Was anything published while it was recorded?"
            )
        self._channels: dict[Path, dict[int, Channel]] = {}
        self.topics = self._find_topics(found.metadata)
        filled = [opened[file] for file in opened if self._channels[file]]
        self.start_ns = min((data.start_ns for data in filled), default=0)
        self.end_ns = max((data.end_ns for data in filled), default=0)
        # Recorders before version 6 (Humble or older) do not store their distribution.
        old = "humble" if int(found.metadata.get("version", 9)) <= 5 else "jazzy"
        self._store = types.typestore(str(found.metadata.get("ros_distro") or old))
        readable = [c for channels in self._channels.values() for c in channels.values()]
        types.register_definitions(self._store, ((c.type, c.definition) for c in readable))

    def _find_topics(self, metadata: dict) -> dict[str, BagTopic]:
        """Topics of all files; QoS from metadata.yaml takes precedence, as in rosbag2's player."""
        described = {
            entry["topic_metadata"]["name"]: entry["topic_metadata"].get("offered_qos_profiles")
            for entry in metadata.get("topics_with_message_count", ())
        }
        topics: dict[str, BagTopic] = {}
        for file, data in sorted(self._files.items(), key=lambda item: item[1].start_ns):
            chosen = self._channels[file] = {}
            for c in data.channels:
                known = topics.get(c.topic)
                if problem := self._problem(file, c, known):
                    self.left_out[c.topic] = problem
                    continue
                if c.count:
                    chosen[c.id] = c
                qos = offered_qos(described.get(c.topic)) or c.qos
                count = c.count + (known.count if known else 0)
                topics[c.topic] = BagTopic(c.topic, c.type, count, qos)
        return topics

    def _problem(self, file: Path, channel: Channel, known: BagTopic | None) -> str | None:
        """Why a channel of a file cannot be read; None if it can.

        The first message of a topic tells whether they are CDR. Each later one is checked when it
        is read.
        """
        if channel.encoding not in ("cdr", ""):
            return f"its encoding is {channel.encoding}, not CDR"
        if known is not None and known.type != channel.type:
            return f"{channel.count} of its messages are {channel.type}, not {known.type}"
        if not channel.count or (known is not None and known.count):
            return None
        try:
            data = next(self._files[file].records([channel.id])).data
            return _cdr_problem(_plain(data))
        except Exception as error:  # decoders raise many kinds for damaged bytes
            raise BagError(f"{file} is damaged: {reason(error)}. Copy it again") from error

    def topic_name(self, name: str) -> str:
        """The bag's spelling of a topic; some writers leave out the slash at the beginning."""
        variants = (name, f"/{name}", name.removeprefix("/"))
        return next((each for each in variants if each in self.topics), name)

    def require(self, topics: Iterable[str]) -> None:
        """Raise BagError if the bag lacks one of these topics."""
        if unknown := [topic for topic in topics if topic not in self.topics]:
            why = [
                f"{topic}: {self.left_out[topic]}" for topic in unknown if topic in self.left_out
            ]
            raise BagError(
                f"{self.path} has no topic {', '.join(unknown)}; it has: {', '.join(self.topics)}"
                + "".join(f"; not read: {text}" for text in why)
            )

    def messages(
        self, topics: Collection[str] | None = None, start_ns: int | None = None
    ) -> Iterator[Message]:
        """Messages of these topics (default: all) from `start_ns` on, in order of time."""
        self.require(topics or ())
        names = self.topics if topics is None else topics
        count: Counter[str] = Counter()
        sources = []
        for file, data in self._in_order():
            wanted = {k: c for k, c in self._channels[file].items() if c.topic in names}
            if wanted and data.end_ns >= (start_ns or 0):
                read = partial(self._file_messages, file, wanted, start_ns, count)
                sources.append((data.start_ns, read))
        return merged(sources, lambda message: message.time_ns)

    def _in_order(self) -> list[tuple[Path, DataFile]]:
        """Files whose messages come first at equal times first: camera_info precedes images."""
        return sorted(
            self._files.items(),
            key=lambda item: any(c.type in IMAGE_TYPES for c in self._channels[item[0]].values()),
        )

    def _file_messages(
        self, file: Path, wanted: dict[int, Channel], start_ns: int | None, count: Counter[str]
    ) -> Iterator[Message]:
        """Messages of one file; `count` has those of all files, by topic."""
        own: Counter[int] = Counter()
        try:
            for time_ns, number, data in self._files[file].records(wanted, start_ns):
                channel, plain = wanted[number], _plain(data)
                if problem := _cdr_problem(plain):
                    raise ValueError(f"message {own[number] + 1} of {channel.topic}: {problem}")
                yield Message(channel.topic, channel.type, time_ns, plain)
                own[number] += 1
                count[channel.topic] += 1
        except Exception as error:  # decoders raise many kinds for damaged bytes
            raise BagError(
                f"{file} is damaged after {count.total()} readable messages: "
                f"{reason(error)}. Copy it again from where it was recorded"
            ) from error
        lost = [c.topic for c in wanted.values() if own[c.id] < c.count]
        if start_ns is None and lost:
            problem = _shortage({c.topic: (c.count, own[c.id]) for c in wanted.values()})
            raise BagError(f"{file} is damaged: {problem}. Copy it again")

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
        if wanted is not None and self.topic_name(wanted) in names:
            return self.topic_name(wanted)
        if wanted is not None:
            raise BagError(
                f"{wanted} is not an image topic in {self.path}; "
                f"its image topics: {', '.join(names) or 'none'}"
            )
        images = [topic for topic in images if topic.count]
        if not images:
            kinds = ", ".join(f"{t.name} ({t.type})" for t in self.topics.values())
            text = f"; not read: {self.not_read()}" if self.left_out else ""
            raise BagError(
                f"the bag {self.path} has no images ({' or '.join(IMAGE_TYPES)}); "
                f"its topics: {kinds or 'none'}{text}"
            )
        return min(images, key=self._camera_order).name

    def _camera_order(self, topic: BagTopic) -> tuple[bool, bool]:
        first = self.decode(next(self.messages([topic.name])))
        base = topic.name.removesuffix("/compressed").rsplit("/", 1)[-1]
        return not is_color(first), not base.startswith("image")

    def not_read(self) -> str:
        """Name the topics and files that are not read, with the reasons; empty for none."""
        return ", ".join(f"{name} ({reason})" for name, reason in self.left_out.items())

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_bag(path: str | Path, *, salvage: bool = False) -> Bag:
    """Open a rosbag2 bag: its folder, its metadata.yaml, or a single .mcap or .db3 file.

    Of a folder without metadata.yaml (the recorder was killed), all data files are read. A bag
    that is truncated or lacks something that it lists is refused, or with `salvage` read as far as
    it is there.

    Raises:
        BagError: There is no bag, it is empty or damaged, or its format is unknown.
    """
    path = Path(path)
    if path.name == "metadata.yaml":
        path = path.parent
    found = find_files(path, salvage)
    stack = ExitStack()
    try:
        opened = {}
        for file in found.files:
            if salvage and len(found.files) > 1 and not file.stat().st_size:
                found.skipped[file.name] = "it is empty"
            else:
                opened[file] = open_file(file, stack, salvage)
        if problem := _missing(opened, found.metadata):
            if not salvage:
                raise BagError(
                    f"{path} is incomplete: {problem}. Copy it again, or read what is there with "
                    "--salvage"
                )
            found.skipped["metadata.yaml"] = problem
        return Bag(path, opened, found, stack)
    except BaseException:
        stack.close()
        raise


def _missing(opened: dict[Path, DataFile], metadata: dict) -> str | None:
    """Messages that metadata.yaml counts and that the data files do not hold."""
    there: Counter[str] = Counter()
    for data in opened.values():
        there.update({channel.topic: channel.count for channel in data.channels})
    claimed = {
        entry["topic_metadata"]["name"]: int(entry.get("message_count", 0))
        for entry in metadata.get("topics_with_message_count", ())
    }
    claims = {topic: (count, there[topic]) for topic, count in claimed.items()}
    if any(count > found for count, found in claims.values()):
        return f"metadata.yaml says that {_shortage(claims)}"
    total = int(metadata.get("message_count", 0))
    if total > there.total():
        return f"metadata.yaml counts {total} messages, but the data files hold {there.total()}"
    return None


def _shortage(claims: dict[str, tuple[int, int]]) -> str:
    """Name the topics that have fewer messages than they should: topic → (claimed, found)."""
    lacking = {topic: pair for topic, pair in claims.items() if pair[0] > pair[1]}
    topic, (count, found) = next(iter(lacking.items()))
    others = f" (and {len(lacking) - 1} topics more)" if len(lacking) > 1 else ""
    return f"{topic} has {count} messages, but {found} are there{others}"


def _plain(data: bytes) -> bytes:
    """A message without compression; no message of ROS 2 begins as one that is compressed."""
    return zstd.decompress(data) if data.startswith(ZSTD) else data


def _cdr_problem(data: bytes) -> str | None:
    """Why a message is not the plain CDR of ROS 2, by its encapsulation (DDS-XTypes 7.6.3)."""
    if len(data) >= _HEADER and data[0] == 0 and data[1] in (0, 1):
        return None
    if len(data) >= _HEADER and data[0] == 0 and data[1] in _ENCAPSULATIONS:
        return f"it is encoded as {_ENCAPSULATIONS[data[1]]}, which ROS 2 does not use"
    return f"it has no CDR header, it begins with {data[:4].hex(' ') or 'nothing'}"


def is_color(image: types.Image | types.CompressedImage) -> bool:
    """Whether a decoded Image or CompressedImage shows colours rather than depth or class ids."""
    if not hasattr(image, "format"):
        return image.encoding.startswith(_COLOR_ENCODINGS)
    data = bytes(image.data[:26])
    if data.startswith(b"\x89PNG"):
        return data[25:26] in (b"\x02", b"\x06")  # colour type of the header: RGB, RGBA
    return "compressedDepth" not in image.format
