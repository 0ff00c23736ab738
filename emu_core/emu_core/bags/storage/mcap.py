"""The mcap format, and truncated files: the recorder was killed, or a copy was interrupted.

An mcap file is a magic number, records (opcode, length, content), and the magic number again
(mcap.dev/spec). Messages lie in chunk records, so all data up to the last complete record can be
read once the file has a proper end.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

MAGIC = b"\x89MCAP0\r\n"
DATA_END, FOOTER = 0x0F, 0x02
HEAD = struct.Struct("<BQ")
"""Opcode, and length of the content."""

# End of the data without a checksum, then a footer that declares no summary.
_END = HEAD.pack(DATA_END, 4) + bytes(4) + HEAD.pack(FOOTER, 20) + bytes(20) + MAGIC


def is_truncated(file: Path) -> bool:
    """Whether a file begins as mcap but does not end as mcap."""
    with file.open("rb") as stream:
        begin = stream.read(len(MAGIC))
        size = stream.seek(0, 2)
        stream.seek(max(len(begin), size - len(MAGIC)))
        return begin == MAGIC and stream.read() != MAGIC


def repair(file: Path) -> None:
    """Cut an mcap file after its last complete record and append an end, in place.

    On a full disk the last record is dropped where the end needs its space.
    """
    with file.open("r+b", buffering=0) as stream:
        failure: OSError | None = None
        for end in reversed(_record_ends(stream)):
            try:
                stream.truncate(end)
                stream.seek(end)
                if stream.write(_END) == len(_END):
                    return
            except OSError as error:
                failure = error
        raise failure or OSError(f"{file} has no complete record")


def _record_ends(stream: BinaryIO) -> list[int]:
    """End offsets of the magic number and of every complete record."""
    size = stream.seek(0, 2)
    ends = [len(MAGIC)]
    while ends[-1] + HEAD.size <= size:
        stream.seek(ends[-1])
        opcode, length = HEAD.unpack(stream.read(HEAD.size))
        end = ends[-1] + HEAD.size + length
        # A crashed file system leaves zeros after the data. Readers rebuild the summary and
        # the footer, which follow the data.
        if end > size or opcode in (0, DATA_END, FOOTER):
            break
        ends.append(end)
    return ends
