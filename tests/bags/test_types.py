"""Message types without ROS, against hashes and bytes of ROS and layouts made by hand."""

import struct

import pytest
from text_bags import STORE, TEXT

from emu_core.bags.errors import BagError
from emu_core.bags.reader import open_bag
from emu_core.bags.types import has_header, register_installed, stamp_ns
from emu_core.bags.writer import BagWriter


def test_label_info_has_the_hash_and_the_bytes_of_vision_msgs():
    # The hash is the one in vision_msgs' generated code; the bytes are laid out by hand as CDR.
    name = "vision_msgs/msg/LabelInfo"
    assert STORE.hash_rihs01(name) == (
        "RIHS01_3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783"
    )
    types = STORE.types
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](7, 8), "cam")
    road = types["vision_msgs/msg/VisionClass"](3, "road")
    data = bytes(STORE.serialize_cdr(types[name](header, [road], 0.5), name))
    by_hand = (
        b"\x00\x01\x00\x00"
        + struct.pack("<iII4s", 7, 8, 4, b"cam\0")
        + struct.pack("<IHxxI5s3xf", 1, 3, 5, b"road\0", 0.5)
    )
    assert data == by_hand
    assert stamp_ns(data) == 7_000_000_008
    assert has_header(STORE, name)


def test_a_stamp_is_read_in_both_byte_orders_and_only_of_types_with_a_header():
    big_endian = b"\x00\x00\x00\x00" + struct.pack(">iI", -1, 500_000_000)
    assert stamp_ns(big_endian) == -500_000_000
    with pytest.raises(ValueError, match="too short for a header stamp"):
        stamp_ns(big_endian[:11])
    assert not has_header(STORE, TEXT)
    assert not has_header(STORE, "nowhere_msgs/msg/Thing")


def test_an_unknown_type_is_decoded_by_the_definition_in_the_bag(tmp_path):
    """The writer reads it from installed .msg files, the reader from the mcap file."""
    share = tmp_path / "share" / "farm_msgs" / "msg"
    share.mkdir(parents=True)
    (share / "Cow.msg").write_text("std_msgs/Header header\nfarm_msgs/Spot[2] spots\n")
    (share / "Spot.msg").write_text("uint8 size\nstring<=10 color\n")
    header = struct.pack("<iIIc", 1, 2, 1, b"\0")  # strings begin at multiples of 4
    spots = struct.pack("<BxxI6sBxI6s", 9, 6, b"brown\0", 9, 6, b"brown\0")
    with BagWriter(tmp_path / "bag") as writer:
        register_installed(
            writer.store, "farm_msgs/msg/Cow", lambda name: tmp_path / "share" / name
        )
        writer.add_topic("/cow", "farm_msgs/msg/Cow")
        writer.write("/cow", 5, b"\x00\x01\x00\x00" + header + spots)
        writer.add_topic("/unknown", "farm_msgs/msg/Unknown")
        writer.write("/unknown", 6, b"\x00\x01\x00\x00\x2a")
    with open_bag(tmp_path / "bag") as bag:
        cow, unknown = bag.messages()
        assert [(spot.size, spot.color) for spot in bag.decode(cow).spots] == 2 * [(9, "brown")]
        assert bag.stamp_ns(cow) == 1_000_000_002
        assert unknown.data == b"\x00\x01\x00\x00\x2a" and bag.stamp_ns(unknown) is None
        with pytest.raises(BagError, match="no definition of farm_msgs/msg/Unknown"):
            bag.decode(unknown)
