"""Read mcap files of any writer (mcap.dev/spec): with or without index, summary, chunks, profile.

The reader of `rosbags` takes for damaged what other writers than rosbag2 write: no profile, JSON
channels beside CDR, chunks without index, messages that are not in order of time.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from emu_core.bags.storage.compression import zstd
from emu_core.bags.storage.data_file import (
    Channel,
    Record,
    definition,
    full_type,
    merged,
    offered_qos,
)
from emu_core.bags.storage.mcap import DATA_END, FOOTER, HEAD, MAGIC

_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _CHUNK_INDEX, _STATISTICS = 3, 4, 5, 6, 8, 11
_MESSAGE_HEAD = struct.Struct("<HIQQ")  # channel, number, log time, time of publication
_FOOTER_SIZE = HEAD.size + 20
_SMALLEST = len(MAGIC) + _FOOTER_SIZE + len(MAGIC)


class _Chunk(NamedTuple):
    """Place of a chunk; `channels` is None if it is unknown which ones it holds."""

    start_ns: int
    offset: int
    channels: frozenset[int] | None


class _Loose(NamedTuple):
    """Place of the data of a message outside of chunks."""

    time_ns: int
    offset: int
    size: int
    channel: int


class _Tally:
    """Number of messages by channel, and the times of the first and the last one."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.start_ns = self.end_ns = 0

    def add(self, channel: int, time_ns: int) -> None:
        self.update_times(time_ns, time_ns)
        self.counts[channel] += 1

    def update(self, other: _Tally) -> None:
        self.update_times(other.start_ns, other.end_ns)
        self.counts.update(other.counts)

    def update_times(self, start_ns: int, end_ns: int) -> None:
        self.start_ns = min(self.start_ns, start_ns) if self.counts else start_ns
        self.end_ns = max(self.end_ns, end_ns)


class McapFile:
    """Open mcap file, a `DataFile`. A chunk is read when the time of its messages has come."""

    def __init__(self, file: Path) -> None:
        self._stream = file.open("rb")
        self._chunks: list[_Chunk] = []
        self._loose: list[_Loose] = []
        self._schemas: dict[int, tuple[str, str, str]] = {}
        self._channels: dict[int, Channel] = {}
        self._unpacked: tuple[int, bytes] = (-1, b"")
        try:
            self._survey()
        except BaseException:
            self.close()
            raise

    def _survey(self) -> None:
        """Find all messages. A complete summary saves reading all chunks."""
        size = self._stream.seek(0, 2)
        if size < _SMALLEST or self._read(0, len(MAGIC)) != MAGIC:
            raise ValueError("it does not begin as an mcap file")
        footer = size - len(MAGIC) - _FOOTER_SIZE
        (start,) = struct.unpack("<Q", self._read(footer + HEAD.size, 8))
        summary = _Summary(self._read(start, footer - start)) if 0 < start < footer else None
        usable = summary is not None and summary.usable()
        tally = _Tally()
        at = len(MAGIC)
        while at < (start or footer):
            if summary and usable and at in summary.chunks:
                chunk, at = summary.chunks[at]
                self._chunks.append(chunk)
                continue
            opcode, length = HEAD.unpack(self._read(at, HEAD.size))
            place = at + HEAD.size
            if opcode == 0 or place + length > footer:
                raise ValueError(f"invalid record at byte {at}")
            if opcode in (DATA_END, FOOTER):
                break
            if opcode == _MESSAGE:
                self._add_message(place, length, tally)
            elif opcode == _CHUNK:
                self._add_chunk(at, tally)
            elif opcode in (_SCHEMA, _CHANNEL):
                self._define(opcode, self._read(place, length))
            at = place + length
        for opcode, content in summary.definitions if summary else ():
            self._define(opcode, content)
        if summary and usable:
            tally = summary.tally
        if unknown := tally.counts.keys() - self._channels.keys():
            raise ValueError(f"messages of unknown channels {sorted(unknown)}")
        self._loose.sort()
        found = self._channels.items()
        self.channels = [replace(channel, count=tally.counts[k]) for k, channel in found]
        self.start_ns, self.end_ns = tally.start_ns, tally.end_ns

    def _read(self, offset: int, size: int) -> bytes:
        self._stream.seek(offset)
        data = self._stream.read(size)
        if len(data) < size:
            raise ValueError(f"only {len(data)} of {size} bytes at byte {offset}")
        return data

    def _add_message(self, place: int, length: int, tally: _Tally) -> None:
        head = self._read(place, _MESSAGE_HEAD.size)
        channel, _, time_ns, _ = _MESSAGE_HEAD.unpack(head)
        self._loose.append(_Loose(time_ns, place + len(head), length - len(head), channel))
        tally.add(channel, time_ns)

    def _add_chunk(self, offset: int, tally: _Tally) -> None:
        own = _Tally()
        for opcode, content in _records(self._chunk_content(offset)):
            if opcode == _MESSAGE:
                channel, _, time_ns, _ = _MESSAGE_HEAD.unpack_from(content)
                own.add(channel, time_ns)
            elif opcode in (_SCHEMA, _CHANNEL):
                self._define(opcode, content)
        if own.counts:
            self._chunks.append(_Chunk(own.start_ns, offset, frozenset(own.counts)))
            tally.update(own)

    def _define(self, opcode: int, content: bytes | memoryview) -> None:
        fields = _Fields(content)
        if opcode == _SCHEMA:
            number = fields.number("H")
            self._schemas[number] = fields.text(), fields.text(), fields.text(errors="replace")
            return
        number, schema = fields.number("H"), fields.number("H")
        topic, encoding, metadata = fields.text(), fields.text(), _Fields(fields.block())
        entries = dict(iter(metadata.pair, None))
        name, form, text = self._schemas.get(schema, ("", "", ""))
        qos = offered_qos(entries.get("offered_qos_profiles"))
        described = definition(form, text)
        self._channels[number] = Channel(
            number, topic, full_type(name), encoding, described, qos, 0
        )

    def _chunk_content(self, offset: int) -> bytes:
        """Records of a chunk; the last chunk is kept."""
        if self._unpacked[0] == offset:
            return self._unpacked[1]
        opcode, length = HEAD.unpack(self._read(offset, HEAD.size))
        if opcode != _CHUNK:
            raise ValueError(f"no chunk at byte {offset}")
        fields = _Fields(self._read(offset + HEAD.size, length))
        _, _, size, checksum = (fields.number(form) for form in "QQQI")
        compression, packed = fields.text(), fields.block("Q")
        content = _unpack(compression, packed)
        if len(content) != size or (checksum and crc32(content) != checksum):
            raise ValueError(f"damaged chunk at byte {offset}")
        self._unpacked = offset, content
        return content

    def records(self, channels: Collection[int], start_ns: int | None = None) -> Iterator[Record]:
        """Messages of these channels from `start_ns` on, by time, then as written."""
        wanted, start = frozenset(channels), start_ns or 0
        sources = [
            (chunk.start_ns, partial(self._chunk_records, chunk.offset, wanted, start))
            for chunk in self._chunks
            if chunk.channels is None or chunk.channels & wanted
        ]
        if self._loose:
            sources.append((self._loose[0].time_ns, partial(self._loose_records, wanted, start)))
        return merged(sources, lambda record: record.time_ns)

    def _chunk_records(self, offset: int, wanted: frozenset[int], start: int) -> Iterator[Record]:
        found = []
        for opcode, content in _records(self._chunk_content(offset)):
            if opcode == _MESSAGE:
                channel, _, time_ns, _ = _MESSAGE_HEAD.unpack_from(content)
                if channel in wanted and time_ns >= start:
                    found.append((time_ns, channel, content))
        for time_ns, channel, content in sorted(found, key=lambda entry: entry[0]):
            yield Record(time_ns, channel, bytes(content[_MESSAGE_HEAD.size :]))

    def _loose_records(self, wanted: frozenset[int], start: int) -> Iterator[Record]:
        for loose in self._loose:
            if loose.channel in wanted and loose.time_ns >= start:
                data = self._read(loose.offset, loose.size)
                yield Record(loose.time_ns, loose.channel, data)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


class _Summary:
    """Summary section: where the chunks are, and how many messages each channel has."""

    def __init__(self, content: bytes) -> None:
        self.chunks: dict[int, tuple[_Chunk, int]] = {}
        """Offset of each chunk → the chunk, and the offset of what follows it and its index."""
        self.definitions: list[tuple[int, memoryview]] = []
        self.tally = _Tally()
        self._chunk_count = -1
        for opcode, record in _records(content):
            if opcode in (_SCHEMA, _CHANNEL):
                self.definitions.append((opcode, record))
            elif opcode == _CHUNK_INDEX:
                self._add_chunk(_Fields(record))
            elif opcode == _STATISTICS:
                self._add_statistics(_Fields(record))

    def _add_chunk(self, fields: _Fields) -> None:
        start, _, offset, length = (fields.number("Q") for _ in range(4))
        channels = {channel for channel, _ in struct.iter_unpack("<HQ", fields.block())}
        after = offset + length + fields.number("Q")
        self.chunks[offset] = _Chunk(start, offset, frozenset(channels) or None), after

    def _add_statistics(self, fields: _Fields) -> None:
        self._messages, _, self._channel_count, _, _, self._chunk_count, start, end = (
            fields.number(form) for form in "QHIIIIQQ"
        )
        self.tally.update_times(start, end)
        self.tally.counts.update(dict(struct.iter_unpack("<HQ", fields.block())))

    def usable(self) -> bool:
        """Whether it tells all that reading the chunks would."""
        channels = sum(opcode == _CHANNEL for opcode, _ in self.definitions)
        return (
            self._chunk_count == len(self.chunks)
            and self._channel_count == channels
            and self._messages == sum(self.tally.counts.values())
        )


class _Fields:
    """Reads the fields of a record one after the other."""

    def __init__(self, content: bytes | memoryview) -> None:
        self._content, self._at = memoryview(content), 0

    def number(self, form: str) -> int:
        (value,) = struct.unpack_from(f"<{form}", self._content, self._at)
        self._at += struct.calcsize(f"<{form}")
        return value

    def block(self, form: str = "I") -> memoryview:
        """Bytes with their number in front."""
        size = self.number(form)
        self._at += size
        if self._at > len(self._content):
            raise ValueError(f"a field of {size} bytes exceeds its record")
        return self._content[self._at - size : self._at]

    def text(self, errors: str = "strict") -> str:
        return str(self.block(), "utf-8", errors)

    def pair(self) -> tuple[str, str] | None:
        """The next entry of a table; None at its end."""
        return (self.text(), self.text()) if self._at < len(self._content) else None


def _records(content: bytes) -> Iterator[tuple[int, memoryview]]:
    """Opcode and content of each record in a chunk or the summary."""
    view, at = memoryview(content), 0
    while at < len(view):
        opcode, length = HEAD.unpack_from(view, at)
        at += HEAD.size + length
        if at > len(view):
            raise ValueError(f"a record of {length} bytes exceeds its section")
        yield opcode, view[at - length : at]


def _unpack(compression: str, packed: memoryview) -> bytes:
    if compression == "zstd":
        return zstd.decompress(packed)
    if compression == "lz4":
        from lz4.frame import decompress

        return decompress(packed)
    if compression not in ("", "none"):
        raise ValueError(f"chunks are compressed with {compression}, only lz4 and zstd are read")
    return bytes(packed)
