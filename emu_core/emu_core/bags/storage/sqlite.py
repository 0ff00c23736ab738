"""Read the tables of rosbag2's sqlite3 storage, in all versions of its schema."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path
from urllib.parse import quote

from emu_core.bags.storage.data_file import Channel, Record, definition, full_type, offered_qos

MAGIC = b"SQLite format 3\0"


class SqliteFile:
    """Open .db3 file, a `DataFile`; it is only read, and no file is written beside it."""

    def __init__(self, file: Path) -> None:
        uri = f"file:{quote(str(file.absolute()))}?immutable=1"
        self._database = sqlite3.connect(uri, uri=True)
        try:
            self._look()
        except BaseException:
            self.close()
            raise

    def _look(self) -> None:
        columns = {row[1] for row in self._rows("PRAGMA table_info(topics)")}
        if not columns:
            raise ValueError("it has no table of topics")
        qos = "offered_qos_profiles" if "offered_qos_profiles" in columns else "''"
        defined = (
            "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
        )
        known = self._rows("PRAGMA table_info(message_definitions)")
        definitions = {name: rest for name, *rest in (self._rows(defined) if known else ())}
        counts = dict(self._rows("SELECT topic_id, COUNT(*) FROM messages GROUP BY topic_id"))
        query = f"SELECT id, name, type, serialization_format, {qos} FROM topics ORDER BY id"
        self.channels = [
            Channel(
                *(number, topic, full_type(kind), encoding),
                definition(*definitions.get(kind, ("", ""))),
                offered_qos(profiles),
                counts.get(number, 0),
            )
            for number, topic, kind, encoding, profiles in self._rows(query)
        ]
        ((first, last),) = self._rows("SELECT MIN(timestamp), MAX(timestamp) FROM messages")
        self.start_ns, self.end_ns = first or 0, last or 0

    def _rows(self, query: str) -> list[tuple]:
        return self._database.execute(query).fetchall()

    def records(self, channels: Collection[int], start_ns: int | None = None) -> Iterator[Record]:
        """Messages of these channels from `start_ns` on, by time, then as written."""
        numbers = ", ".join(map(str, sorted(channels)))
        query = f"SELECT timestamp, topic_id, data FROM messages WHERE topic_id IN ({numbers})"
        if start_ns is not None:
            query += f" AND timestamp >= {start_ns:d}"
        for row in self._database.execute(f"{query} ORDER BY timestamp, id"):
            yield Record(*row)

    def close(self) -> None:
        """Close the file."""
        self._database.close()
