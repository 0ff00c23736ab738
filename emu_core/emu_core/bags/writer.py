"""Rosbag2 bags, written without ROS: metadata version 8, which Humble and Jazzy both read.

    with BagWriter("drive") as writer:
        writer.add_topic("/camera/image_raw", "sensor_msgs/msg/Image")
        writer.add_topic("/label_info", "vision_msgs/msg/LabelInfo", [offered(latched=True)])
        writer.write("/camera/image_raw", time_ns, data)  # data: raw CDR

What was written before a crash or a full disk stays readable: data go to the file at least once a
second, and a file that could not be finished is closed behind its last whole record. No torch, no
ROS.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError
from rosbags.typesys import TypesysError
from rosbags.typesys.store import Typestore

from emu_core.bags import mcap as mcap_file
from emu_core.bags import types as bag_types
from emu_core.bags.errors import BagError

_STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
_FLUSH_EVERY_S = 1.0
_FOREVER = QosTime(9223372036, 854775807)  # how rmw writes an infinite duration
_UNKNOWN_HASH = "RIHS01_" + 64 * "0"


def offered(*, reliable: bool = True, latched: bool = False, depth: int = 10) -> Qos:
    """QoS profile of a publisher: keep the last `depth`; latched means transient local."""
    return Qos(
        QosHistory.KEEP_LAST,
        depth,
        QosReliability.RELIABLE if reliable else QosReliability.BEST_EFFORT,
        QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        _FOREVER,
        _FOREVER,
        QosLiveliness.AUTOMATIC,
        _FOREVER,
        False,
    )


class BagWriter:
    """Writes one bag, a new folder at `path`; `storage` is "mcap" or "sqlite3".

    Use one writer from one thread at a time. `store` holds the message types that it knows.

    Raises
    ------
    BagError
        Something exists at the path, or the folder cannot be made.
    """

    def __init__(self, path: str | Path, storage: str = "mcap") -> None:
        if storage not in _STORAGES:
            raise BagError(f"cannot store as {storage!r}: known are {', '.join(_STORAGES)}")
        self.path = Path(path)
        self.store: Typestore = bag_types.typestore()
        self.counts: dict[str, int] = {}
        self._connections: dict[str, Connection] = {}
        self._flushed = time.monotonic()
        self._closed = False
        if self.path.exists():
            raise BagError(
                f"{self.path} exists already and is not overwritten: "
                "delete it or choose another name"
            )
        try:
            self._writer = Writer(self.path, version=8, storage_plugin=_STORAGES[storage])
            self._writer.open()
        except (OSError, sqlite3.Error, WriterError) as error:
            if not isinstance(error, (WriterError, FileExistsError)):  # then it is not ours
                shutil.rmtree(self.path, ignore_errors=True)
            raise BagError(f"cannot make a bag at {self.path}: {error}") from error

    def add_topic(self, name: str, msgtype: str, qos: Sequence[Qos] | None = None) -> None:
        """Announce a topic, before its first message.

        Messages of a type that is not in `store` are kept all the same, but only readers that
        know the type decode them (`bag_types.learn` and `learn_installed` extend the store).

        Parameters
        ----------
        qos : what its publishers offer, one profile each; by default one reliable, volatile one.
        """
        try:
            msgdef, _ = self.store.generate_msgdef(msgtype, ros_version=2)
            rihs01 = self.store.hash_rihs01(msgtype)
        except (TypesysError, KeyError):
            msgdef, rihs01 = "", _UNKNOWN_HASH
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

        Raises
        ------
        BagError
            The disk is full or cannot be written. The bag is closed then; what it holds is whole.
        """
        if self._closed:
            raise BagError(f"the bag {self.path} is closed already")
        try:
            self._writer.write(self._connections[topic], time_ns, data)
        except (OSError, sqlite3.Error) as error:
            raise self._give_up(error) from error
        self.counts[topic] += 1
        if time.monotonic() - self._flushed > _FLUSH_EVERY_S:
            self.flush()

    def encode(self, message: Any) -> bytes:
        """Raw CDR of a message object of one of the classes in `store.types`."""
        return bytes(self.store.serialize_cdr(message, message.__msgtype__))

    def flush(self) -> None:
        """Hand everything written so far to the operating system."""
        self._flushed = time.monotonic()
        storage: Any = self._writer.storage
        if storage is None:
            return
        try:
            if hasattr(storage, "conn"):
                storage.conn.commit()
            elif storage.chunk.msgs:
                storage.close_chunk()
                storage.bio.flush()
        except (OSError, sqlite3.Error) as error:
            raise self._give_up(error) from error

    def close(self) -> None:
        """Finish the bag; a second call does nothing."""
        if self._closed:
            return
        try:
            self._writer.close()
        except (OSError, sqlite3.Error) as error:
            raise self._give_up(error) from error
        self._closed = True

    def discard(self) -> None:
        """Close the bag and delete it: for a recording that did not begin, or is no use."""
        with suppress(BagError):
            self.close()
        shutil.rmtree(self.path, ignore_errors=True)

    def _give_up(self, error: Exception) -> BagError:
        """Close what can be kept after a failed write; returns the error to raise."""
        self._closed = True
        storage: Any = self._writer.storage
        with suppress(OSError, sqlite3.Error):
            self._writer.abort()
        if storage is not None and storage.path.suffix == ".mcap":
            with suppress(OSError):
                mcap_file.close_broken(storage.path)
        reason = getattr(error, "strerror", None) or str(error)
        return BagError(
            f"cannot write to {self.path}: {reason}. It holds what was written before "
            f"(`ros2 bag reindex {self.path}` makes its metadata.yaml); make room and record again"
        )

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
