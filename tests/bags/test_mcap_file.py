"""mcap files as writers other than rosbag2 make them, put together from the specification."""

import json
import struct
import sys

import lz4.frame
import pytest
import text_bags

from emu_core.bags.errors import BagError
from emu_core.bags.reader import open_bag

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC = b"\x89MCAP0\r\n"
PACK = {"": bytes, "lz4": lz4.frame.compress, "zstd": zstd.compress}


def block(data):
    return struct.pack("<I", len(data)) + data


def record(opcode, *parts):
    body = b"".join(block(part.encode()) if isinstance(part, str) else part for part in parts)
    return struct.pack("<BQ", opcode, len(body)) + body


def number(form, *values):
    return struct.pack(f"<{form}", *values)


def message(time_ns, data, channel=1):
    return record(5, number("HIQQ", channel, 0, time_ns, time_ns), data)


def channel(number_, topic, encoding, schema=1):
    return record(4, number("HH", number_, schema), topic, encoding, block(b""))


DEFINED = record(3, number("H", 1), text_bags.TEXT, "ros2msg", block(b"string data"))
DEFINED += channel(1, "/text", "cdr")


def chunk(content, times, compression=""):
    packed = PACK[compression](content)
    head = number("QQQI", min(times, default=0), max(times, default=0), len(content), 0)
    return record(6, head, compression, number("Q", len(packed)), packed)


def file_of(path, data, summary=b"", profile=""):
    """Write a file; the offset of the summary is in the footer."""
    content = MAGIC + record(1, profile, "") + data + record(15, number("I", 0))
    footer = record(2, number("QQI", len(content) if summary else 0, 0, 0))
    path.write_bytes(content + summary + footer + MAGIC)
    return path


def texts(times):
    return b"".join(message(t, text_bags.text(str(t))) for t in times)


def expected(times):
    return [(t, str(t)) for t in sorted(times)]


def statistics(count, chunks, channels=1):
    counts = block(number("HQ", 1, count))
    return record(11, number("QHIIIIQQ", count, 1, channels, 0, 0, chunks, 0, 9), counts)


@pytest.mark.parametrize("profile", ["", "ros2", "px4"])
@pytest.mark.parametrize("compression", PACK)
def test_chunks_without_summary_are_read_in_any_compression(tmp_path, profile, compression):
    parts = [chunk(DEFINED + texts(times), times, compression) for times in ([3, 1], [2, 5], [4])]
    file = file_of(tmp_path / "a.mcap", b"".join(parts), profile=profile)
    assert text_bags.read(file) == expected([1, 2, 3, 4, 5])  # merged, though the chunks overlap


def test_messages_outside_of_chunks_need_not_be_in_order(tmp_path):
    file = file_of(tmp_path / "a.mcap", DEFINED + texts([7, 2]) + chunk(texts([5, 1]), [5, 1]))
    assert text_bags.read(file) == expected([1, 2, 5, 7])
    with open_bag(file) as bag:
        assert (bag.start_ns, bag.end_ns, bag.topics["/text"].count) == (1, 7, 4)
        assert [m.time_ns for m in bag.messages(start_ns=3)] == [5, 7]


@pytest.mark.parametrize("kept", ["all", "no channels", "no statistics", "wrong count"])
def test_a_chunk_index_without_message_index_is_used_or_ignored_but_never_lacks_messages(
    tmp_path, kept
):
    first, second = (chunk(DEFINED + texts(times), times) for times in ([1, 2], [3]))
    start = len(MAGIC + record(1, "", ""))
    index = b""
    for at, part, low, high in ((start, first, 1, 2), (start + len(first), second, 3, 3)):
        place = number("QQQQ", low, high, at, len(part)) + block(b"") + number("Q", 0)
        index += record(8, place, "", number("QQ", 1, 1))
    summary = {
        "all": DEFINED + index + statistics(3, 2),
        "no channels": index + statistics(3, 2),
        "no statistics": DEFINED + index,
        "wrong count": DEFINED + index + statistics(3, 5),
    }[kept]
    file = file_of(tmp_path / "a.mcap", first + second, summary)
    assert text_bags.read(file) == expected([1, 2, 3])


def test_channels_that_are_not_cdr_are_listed_and_the_others_read(tmp_path):
    schemas = record(3, number("H", 2), "Pose", "jsonschema", block(b"{}"))
    schemas += record(3, number("H", 3), "pkg.Pose", "protobuf", block(b"\xff\x80\x00"))
    data = DEFINED + schemas + channel(2, "/pose", "json", 2) + channel(3, "/proto", "protobuf", 3)
    data += channel(4, "/bare", "json", 0) + channel(5, "/odd", "cdr")
    data += texts([1]) + message(2, json.dumps({"x": 1}).encode(), 2) + message(3, b"\x08\x01", 3)
    data += message(4, b"{}", 4) + message(5, b'{"a": 1}', 5) + texts([6])
    with open_bag(file_of(tmp_path / "a.mcap", data)) as bag:
        assert [m.time_ns for m in bag.messages()] == [1, 6]
        assert list(bag.topics) == ["/text"]
        assert bag.left_out["/pose"] == bag.left_out["/bare"] == "its encoding is json, not CDR"
        assert "protobuf" in bag.left_out["/proto"]
        assert "no CDR header, it begins with 7b 22 61 22" in bag.left_out["/odd"]
        with pytest.raises(BagError, match=r"no topic /pose.*/pose: its encoding is json"):
            next(bag.messages(["/pose"]))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (DEFINED + chunk(texts([1]), [1], "zstd")[:-9] + bytes(9), "damaged"),
        (DEFINED + texts([1]) + message(2, b"\0\1\0\0", 9), r"unknown channels \[9\]"),
        (DEFINED + record(6, number("QQQI", 1, 1, 4, 0), "brotli", number("Q", 0)), "brotli"),
        (DEFINED + bytes(40), "invalid record"),
    ],
)
def test_damage_is_an_error_and_no_silent_loss(tmp_path, data, problem):
    with pytest.raises(BagError, match=problem):
        text_bags.read(file_of(tmp_path / "a.mcap", data))


def test_a_file_that_states_more_messages_than_it_holds_is_refused_when_it_is_read(tmp_path):
    part = chunk(DEFINED + texts([1, 2]), [1, 2])
    place = number("QQQQ", 1, 2, len(MAGIC + record(1, "", "")), len(part)) + block(b"")
    index = record(8, place + number("Q", 0), "", number("QQ", 1, 1))
    file = file_of(tmp_path / "a.mcap", part, DEFINED + index + statistics(5, 1))
    with pytest.raises(BagError, match=r"/text has 5 messages, but 2 are there"):
        text_bags.read(file)
