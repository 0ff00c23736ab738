"""Write rosbag2 bags without ROS, with metadata version 8, which Humble and Jazzy both read.

    with BagWriter("drive") as writer:
        writer.add_topic("/camera/image_raw", "sensor_msgs/msg/Image")
        writer.add_topic("/label_info", "vision_msgs/msg/LabelInfo", [offered(latched=True)])
        writer.write("/camera/image_raw", time_ns, data)  # data: raw CDR

Messages written before a crash or a full disk stay readable: the writer flushes at least once per
second, and it ends a file that could not be finished after its last complete record.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rosbags import interfaces as bag
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError
from rosbags.typesys import TypesysError
from rosbags.typesys.store import Typestore

from emu_core.bags.errors import BagError
from emu_core.bags.storage import mcap
from emu_core.bags.types import typestore

_STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
_FLUSH_PERIOD_S = 1.0
_FOREVER = bag.QosTime(9223372036, 854775807)  # how rmw writes an infinite duration


def offered(*, reliable: bool = True, latched: bool = False, depth: int = 10) -> bag.Qos:
    """QoS profile of a publisher: keep the last `depth`; latched means transient local."""
    return bag.Qos(
        bag.QosHistory.KEEP_LAST,
        depth,
        bag.QosReliability.RELIABLE if reliable else bag.QosReliability.BEST_EFFORT,
        bag.QosDurability.TRANSIENT_LOCAL if latched else bag.QosDurability.VOLATILE,
        _FOREVER,
        _FOREVER,
        bag.QosLiveliness.AUTOMATIC,
        _FOREVER,
        False,
    )


class BagWriter:
    """Writes one bag, a new folder at `path`; only one thread at a time may use it.

    `storage` is "mcap" or "sqlite3". The attribute `store` holds the message types, `counts` the
    number of written messages by topic.

    Raises:
        BagError: The path exists, or the folder cannot be created.
    """

    def __init__(self, path: str | Path, storage: str = "mcap") -> None:
        if storage not in _STORAGES:
            raise BagError(f"unknown storage {storage!r}: use one of {', '.join(_STORAGES)}")
        self.path = Path(path)
        self.store: Typestore = typestore()
        self.counts: dict[str, int] = {}
        self._connections: dict[str, bag.Connection] = {}
        self._flushed_s = time.monotonic()
        self._closed = False
        if self.path.exists():
            advice = "delete it or choose another name"
            raise BagError(f"{self.path} exists already and is not overwritten: {advice}")
        try:
            self._writer = Writer(self.path, version=8, storage_plugin=_STORAGES[storage])
            self._writer.open()
        except (OSError, sqlite3.Error, WriterError) as error:
            if not isinstance(error, (WriterError, FileExistsError)):  # else it is not ours
                shutil.rmtree(self.path, ignore_errors=True)
            raise BagError(f"cannot create a bag at {self.path}: {error}") from error

    def add_topic(self, name: str, msgtype: str, qos: Sequence[bag.Qos] | None = None) -> None:
        """Add a topic, before its first message.

        Messages of a type that is not in `store` are kept too, but only readers that know the
        type can decode them (`types.register_installed` extends the store). `qos` are the profiles
        of its publishers, by default one that is reliable and volatile.
        """
        try:
            msgdef, _ = self.store.generate_msgdef(msgtype, ros_version=2)
            rihs01 = self.store.hash_rihs01(msgtype)
        except (TypesysError, KeyError):
            msgdef, rihs01 = "", "RIHS01_" + 64 * "0"
        profiles = [offered()] if qos is None else list(qos)
        try:
            self._connections[name] = self._writer.add_connection(
                name, msgtype, msgdef=msgdef, rihs01=rihs01, offered_qos_profiles=profiles
            )
        except sqlite3.Error as error:
            raise self._give_up(error) from error
        self.counts[name] = 0

    def write(self, topic: str, time_ns: int, data: bytes | memoryview) -> None:
        """Append a message: raw CDR, received at `time_ns` of the system clock.

        Raises:
            BagError: The disk is full or not writable. The bag is closed then, and its content up
                to there is readable.
        """
        if self._closed:
            raise BagError(f"the bag {self.path} is closed already")
        try:
            self._writer.write(self._connections[topic], time_ns, data)
        except (OSError, sqlite3.Error) as error:
            raise self._give_up(error) from error
        self.counts[topic] += 1
        if time.monotonic() - self._flushed_s > _FLUSH_PERIOD_S:
            self.flush()

    def write_message(self, topic: str, time_ns: int, message: Any) -> None:
        """Encode a message object, of a class in `store.types`, and append it."""
        self.write(topic, time_ns, self.encode(message))

    def encode(self, message: Any) -> bytes:
        """Raw CDR of a message object, of a class in `store.types`."""
        return bytes(self.store.serialize_cdr(message, message.__msgtype__))

    def flush(self) -> None:
        """Pass all written messages to the operating system."""
        self._flushed_s = time.monotonic()
        storage: Any = self._writer.storage
        try:
            if hasattr(storage, "conn"):
                storage.conn.commit()
            elif storage is not None and storage.chunk.msgs:
                storage.close_chunk()
                storage.bio.flush()
        except (OSError, sqlite3.Error) as error:
            raise self._give_up(error) from error

    def close(self) -> None:
        """Finish the bag; a second call has no effect."""
        if self._closed:
            return
        try:
            self._writer.close()
        except (OSError, sqlite3.Error) as error:
            raise self._give_up(error) from error
        self._closed = True

    def discard(self) -> None:
        """Close the bag and delete it."""
        with suppress(BagError):
            self.close()
        shutil.rmtree(self.path, ignore_errors=True)

    def _give_up(self, error: Exception) -> BagError:
        """Close the bag after a failed write; returns the error to raise."""
        self._closed = True
        storage: Any = self._writer.storage
        with suppress(OSError, sqlite3.Error):
            self._writer.abort()
        if storage is not None and storage.path.suffix == ".mcap":
            with suppress(OSError):
                mcap.repair(storage.path)
        reason = getattr(error, "strerror", None) or str(error)
        return BagError(
            f"cannot write to {self.path}: {reason}. Earlier messages are kept "
            f"(`ros2 bag reindex {self.path}` creates its metadata.yaml); free some space and "
            "record again"
        )

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
