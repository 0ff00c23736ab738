"""Bags: what we write, what rosbag2 and other tools write, and what is broken."""

import resource
import signal
import sqlite3
import struct
import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rosbags.interfaces import QosDurability, QosReliability
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from emu_core.bags import types as bag_types
from emu_core.bags.errors import BagError
from emu_core.bags.reader import open_bag
from emu_core.bags.writer import BagWriter, offered

TEXT = "std_msgs/msg/String"
STORE = bag_types.typestore()
STORAGES = ("mcap", "sqlite3")
# What rosbag2 notes about a publisher whose history DDS does not tell: ints up to version 8.
QOS_NUMBERS = """\
- history: 3
  depth: 0
  reliability: 1
  durability: 1
  deadline:
    sec: 9223372036
    nsec: 854775807
  lifespan:
    sec: 9223372036
    nsec: 854775807
  liveliness: 1
  liveliness_lease_duration:
    sec: 9223372036
    nsec: 854775807
  avoid_ros_namespace_conventions: false"""
QOS_WORDS = (
    QOS_NUMBERS.replace("history: 3", "history: unknown")
    .replace("reliability: 1", "reliability: reliable")
    .replace("durability: 1", "durability: transient_local")
    .replace("liveliness: 1", "liveliness: automatic")
)


def text(data):
    return bytes(STORE.serialize_cdr(STORE.types[TEXT](data), TEXT))


def write_texts(path, count, storage="mcap", topic="/text"):
    """A bag of `count` texts, "0", "1", …, at the times 0, 10, 20, … ns."""
    with BagWriter(path, storage) as writer:
        writer.add_topic(topic, TEXT, [offered(latched=True, depth=3)])
        for index in range(count):
            writer.write(topic, 10 * index, text(str(index)))
    return path


def read_texts(path, **how):
    with open_bag(path, **how) as bag:
        return [(message.time_ns, bag.decode(message).data) for message in bag.messages()]


def expected_texts(count):
    return [(10 * index, str(index)) for index in range(count)]


@pytest.mark.parametrize("storage", STORAGES)
def test_what_was_written_is_read_with_its_times_types_and_qos(tmp_path, storage):
    messages = [("/b", 5, text("later")), ("/a", 3, text("first")), ("/b", 5, text("last"))]
    with BagWriter(tmp_path / "bag", storage) as writer:
        writer.add_topic("/a", TEXT, [offered(reliable=False, depth=7), offered()])
        writer.add_topic("/b", TEXT)
        for message in messages:
            writer.write(*message)
    with open_bag(tmp_path / "bag") as bag:
        read = [(m.topic, m.time_ns, m.data) for m in bag.messages()]
        assert read == [messages[1], messages[0], messages[2]]  # by time, then as written
        assert [(m.topic, m.type) for m in bag.messages(["/a"])] == [("/a", TEXT)]
        assert [m.data for m in bag.messages(start_ns=4)] == [text("later"), text("last")]
        assert (bag.start_ns, bag.end_ns, bag.message_count) == (3, 5, 3)
        assert {name: topic.count for name, topic in bag.topics.items()} == {"/a": 1, "/b": 2}
        lossy, default = bag.topics["/a"].qos
        assert (lossy.reliability, lossy.depth) == (QosReliability.BEST_EFFORT, 7)
        assert (default.reliability, default.durability) == (
            QosReliability.RELIABLE,
            QosDurability.VOLATILE,
        )
        assert not bag.topics["/b"].latched
        with pytest.raises(BagError, match=r"no topic /c; it has: /a, /b"):
            next(bag.messages(["/c"]))


def rosbag2_sqlite(file, texts, qos=QOS_NUMBERS):
    """A data file with the tables of rosbag2 in Foxy to Humble, made with sqlite3 alone."""
    with sqlite3.connect(file) as database:
        database.executescript(
            "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,"
            " serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL);"
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL,"
            " timestamp INTEGER NOT NULL, data BLOB NOT NULL);"
        )
        database.execute("INSERT INTO topics VALUES(1, '/text', ?, 'cdr', ?)", (TEXT, qos))
        for time_ns, data in texts:
            row = (time_ns, text(data))
            database.execute("INSERT INTO messages VALUES(NULL, 1, ?, ?)", row)
    database.close()


def rosbag2_metadata(folder, version, names, storage="sqlite3", qos=QOS_NUMBERS, compression=""):
    """metadata.yaml with the keys that rosbag2 writes in this version."""
    if version < 9:  # a YAML document in a string
        profiles = '"' + qos.replace("\n", "\\n") + '"'
    else:
        profiles = "\n" + "\n".join(" " * 10 + line for line in qos.splitlines())
    lines = [
        "rosbag2_bagfile_information:",
        f"  version: {version}",
        f"  storage_identifier: {storage}",
        "  duration:",
        "    nanoseconds: 10",
        "  starting_time:",
        "    nanoseconds_since_epoch: 0",
        "  message_count: 2",
        "  topics_with_message_count:",
        "    - topic_metadata:",
        "        name: /text",
        f"        type: {TEXT}",
        "        serialization_format: cdr",
        f"        offered_qos_profiles: {profiles}",
        "      message_count: 2",
        f"  compression_format: {'zstd' if compression else repr('')}",
        f"  compression_mode: {compression or repr('')}",
        "  relative_file_paths:",
        *(f"    - {name}" for name in names),
    ]
    if version >= 5:
        lines.append("  files: []")
    if version >= 8:
        lines += ["  custom_data: ~", "  ros_distro: jazzy"]
    (folder / "metadata.yaml").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("version", [4, 5, 6, 7, 8, 9])
def test_bags_of_every_metadata_version_are_read_with_their_qos(tmp_path, version):
    rosbag2_sqlite(tmp_path / "drive_0.db3", expected_texts(2))
    words = version >= 9
    rosbag2_metadata(tmp_path, version, ["drive_0.db3"], qos=QOS_WORDS if words else QOS_NUMBERS)
    assert read_texts(tmp_path) == expected_texts(2)
    assert read_texts(tmp_path / "metadata.yaml") == expected_texts(2)
    with open_bag(tmp_path) as bag:
        (qos,) = bag.topics["/text"].qos
        assert bag.topics["/text"].latched
        assert (qos.reliability, qos.depth) == (QosReliability.RELIABLE, 0)


@pytest.mark.parametrize(
    ("plugin", "mode"),
    [
        (StoragePlugin.SQLITE3, CompressionMode.FILE),
        (StoragePlugin.SQLITE3, CompressionMode.MESSAGE),
        (StoragePlugin.MCAP, CompressionMode.FILE),
        (StoragePlugin.MCAP, CompressionMode.MESSAGE),
        (StoragePlugin.MCAP, CompressionMode.STORAGE),
    ],
)
def test_zstd_compressed_files_messages_and_chunks_are_read(tmp_path, plugin, mode):
    writer = Writer(tmp_path / "bag", version=9, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/text", TEXT, typestore=STORE)
        for time_ns, data in expected_texts(3):
            writer.write(connection, time_ns, text(data))
    assert read_texts(tmp_path / "bag") == expected_texts(3)


def test_no_message_is_dropped_where_metadata_and_data_file_tell_another_qos(tmp_path):
    """Tools that edit bags leave QoS and folders of their own in metadata.yaml."""
    rosbag2_sqlite(tmp_path / "drive_0.db3", expected_texts(2))
    rosbag2_metadata(tmp_path, 4, ["old_name/drive_0.db3"], qos="")
    assert read_texts(tmp_path) == expected_texts(2)
    with open_bag(tmp_path) as bag:
        assert bag.topics["/text"].latched  # the data file still knows


def test_split_bags_are_read_in_order_with_and_without_metadata(tmp_path):
    rosbag2_sqlite(tmp_path / "drive_10.db3", expected_texts(4)[2:])
    rosbag2_sqlite(tmp_path / "drive_9.db3", expected_texts(2))
    assert read_texts(tmp_path) == expected_texts(4)
    rosbag2_metadata(tmp_path, 5, ["drive_9.db3", "drive_10.db3"])
    assert read_texts(tmp_path) == expected_texts(4)
    with open_bag(tmp_path) as bag:
        assert bag.topics["/text"].count == bag.message_count == 4


@pytest.mark.parametrize("storage", STORAGES)
def test_a_single_data_file_is_a_bag_as_well(tmp_path, storage):
    write_texts(tmp_path / "bag", 3, storage)
    (file,) = (f for f in (tmp_path / "bag").iterdir() if f.name != "metadata.yaml")
    assert read_texts(file) == expected_texts(3)
    with open_bag(file) as bag:
        assert bag.topics["/text"].latched


def test_a_bag_that_a_full_disk_does_not_let_begin_leaves_nothing(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(BagError, match="cannot make a bag"):
            BagWriter(tmp_path / "bag", "sqlite3")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "bag").exists()


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
    assert bag_types.stamp_ns(data) == 7_000_000_008
    assert bag_types.has_header(STORE, name)


def test_a_stamp_is_read_in_both_byte_orders_and_only_of_types_with_a_header():
    big_endian = b"\x00\x00\x00\x00" + struct.pack(">iI", -1, 500_000_000)
    assert bag_types.stamp_ns(big_endian) == -500_000_000
    with pytest.raises(ValueError, match="too short for a header stamp"):
        bag_types.stamp_ns(big_endian[:11])
    assert not bag_types.has_header(STORE, TEXT)
    assert not bag_types.has_header(STORE, "nowhere_msgs/msg/Thing")


def test_a_type_that_nobody_knows_is_decoded_by_the_definition_in_the_bag(tmp_path):
    """The writer learns it from installed .msg files; the reader from the mcap file."""
    share = tmp_path / "share" / "farm_msgs" / "msg"
    share.mkdir(parents=True)
    (share / "Cow.msg").write_text("std_msgs/Header header\nfarm_msgs/Spot[2] spots\n")
    (share / "Spot.msg").write_text("uint8 size\nstring<=10 color\n")
    with BagWriter(tmp_path / "bag") as writer:
        bag_types.learn_installed(
            writer.store, "farm_msgs/msg/Cow", lambda name: tmp_path / "share" / name
        )
        writer.add_topic("/cow", "farm_msgs/msg/Cow")
        header = struct.pack("<iIIc", 1, 2, 1, b"\0")  # strings begin at multiples of 4
        spots = struct.pack("<BxxI6sBxI6s", 9, 6, b"brown\0", 9, 6, b"brown\0")
        data = b"\x00\x01\x00\x00" + header + spots
        writer.write("/cow", 5, data)
        writer.add_topic("/unknown", "farm_msgs/msg/Unheard")
        writer.write("/unknown", 6, b"\x00\x01\x00\x00\x2a")
    with open_bag(tmp_path / "bag") as bag:
        cow, unknown = bag.messages()
        assert [(spot.size, spot.color) for spot in bag.decode(cow).spots] == 2 * [(9, "brown")]
        assert bag.stamp_ns(cow) == 1_000_000_002
        assert unknown.data == b"\x00\x01\x00\x00\x2a" and bag.stamp_ns(unknown) is None
        with pytest.raises(BagError, match="no definition of farm_msgs/msg/Unheard"):
            bag.decode(unknown)


def test_the_camera_is_found_among_depth_masks_and_other_images(tmp_path):
    types = STORE.types
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](1, 2), "")
    gray, color = np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.uint8)

    def raw(encoding, size):
        pixels = np.zeros(16 * size, np.uint8)
        return types["sensor_msgs/msg/Image"](header, 4, 4, encoding, 0, 4 * size, pixels)

    def compressed(kind, pixels, name=".png"):
        return types["sensor_msgs/msg/CompressedImage"](
            header, kind, cv2.imencode(name, pixels)[1].reshape(-1)
        )

    pictures = {
        "/truth/depth/image": raw("32FC1", 4),
        "/truth/semantic/image": raw("mono8", 1),
        "/truth/ids/compressed": compressed("png", gray),
        "/overlay": raw("bgr8", 3),
        "/camera/image_color/compressed": compressed("rgb8; jpeg compressed bgr8", color, ".jpg"),
        "/rear/image_raw": raw("bayer_rggb8", 1),
    }
    with BagWriter(tmp_path / "bag") as writer:
        for index, (topic, message) in enumerate(pictures.items()):
            writer.add_topic(topic, message.__msgtype__)
            writer.write(topic, index, writer.encode(message))
        writer.add_topic("/silent/image_raw", "sensor_msgs/msg/Image")
    with open_bag(tmp_path / "bag") as bag:
        assert bag.image_topic() == "/camera/image_color/compressed"
        assert bag.image_topic(among=list(pictures)[:4]) == "/overlay"
        assert bag.image_topic(among=list(pictures)[:3]) == "/truth/depth/image"
        assert bag.image_topic("/truth/semantic/image") == "/truth/semantic/image"
        with pytest.raises(BagError, match=r"/overlai carries no images in .*: /truth/depth"):
            bag.image_topic("/overlai")
        with pytest.raises(BagError, match="has no images"):
            bag.image_topic(among=["/silent/image_raw"])


def replace_metadata(old, new):
    def break_it(folder):
        file = folder / "metadata.yaml"
        content = file.read_text()
        assert old in content
        file.write_text(content.replace(old, new))

    return break_it


def cut_metadata(length):
    return lambda folder: (folder / "metadata.yaml").write_text(
        (folder / "metadata.yaml").read_text()[:length]
    )


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (cut_metadata(0), r"metadata.yaml is damaged or describes no bag: .*ros2 bag reindex"),
        (cut_metadata(100), r"metadata.yaml is damaged, it lacks 'relative_file_paths'"),
        (cut_metadata(550), r"metadata.yaml is damaged in line \d+ \(.*\): .*ros2 bag reindex"),
        (replace_metadata("sqlite3", "rocksdb"), r"stored as 'rocksdb'.*ros2 bag convert"),
        (replace_metadata("version: 5", "version: 10"), r"version 10, known are those up to 9"),
        (replace_metadata("mode: ''", "mode: FILE"), r"compressed by 'none' in mode 'file'"),
        (replace_metadata("- d.db3", "- d_1.db3"), r"lacks its data: d_1.db3"),
        (lambda folder: (folder / "d.db3").write_bytes(b""), r"d.db3 is damaged or no bag file"),
        (
            lambda folder: (folder / "d.db3").write_bytes((folder / "d.db3").read_bytes()[:5000]),
            r"d.db3 is damaged",
        ),
    ],
)
def test_a_damaged_bag_is_told_with_its_file_and_a_way_out(tmp_path, break_it, told):
    rosbag2_sqlite(tmp_path / "d.db3", expected_texts(200))
    rosbag2_metadata(tmp_path, 5, ["d.db3"])
    break_it(tmp_path)
    with pytest.raises(BagError, match=told):
        read_texts(tmp_path)


def test_what_is_no_bag_is_told_apart(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "drive.bag").write_bytes(b"#ROSBAG V2.0\n")
    (tmp_path / "drive.txt").write_bytes(b"")
    (tmp_path / "drive.mcap").write_bytes(np.random.default_rng(1).bytes(3000))
    for name, told in {
        "nothing": "no bag at .*nothing: give the folder",
        "folder": "neither metadata.yaml nor .mcap or .db3 files",
        "drive.bag": "is a ROS 1 bag: convert it with `rosbags-convert`",
        "drive.txt": "is no bag: known are folders and .mcap or .db3 files",
        "drive.mcap": "drive.mcap is damaged or no bag file: File magic is invalid",
    }.items():
        with pytest.raises(BagError, match=told):
            open_bag(tmp_path / name)


@pytest.mark.parametrize("storage", STORAGES)
def test_an_empty_bag_is_told(tmp_path, storage):
    write_texts(tmp_path / "bag", 0, storage)
    with pytest.raises(BagError, match="is empty: it holds no message"):
        open_bag(tmp_path / "bag")


def chunks(path, count):
    """An mcap bag whose every message lies in a chunk of its own; returns its data file."""
    with BagWriter(path) as writer:
        writer.add_topic("/text", TEXT)
        for time_ns, data in expected_texts(count):
            writer.write("/text", time_ns, text(data))
            writer.flush()
    return path / f"{path.name}.mcap"


def test_an_mcap_file_that_breaks_off_anywhere_is_refused_and_salvaged_up_to_there(tmp_path):
    file = chunks(tmp_path / "bag", 4)
    whole = file.read_bytes()
    counts = []
    for length in range(len(whole) - 1, 8, -29):
        file.write_bytes(whole[:length])
        with pytest.raises(BagError, match=r"bag.mcap breaks off.*--salvage"):
            open_bag(file)
        try:
            found = read_texts(file, salvage=True)
        except BagError:
            found = []
        assert found == expected_texts(4)[: len(found)]
        assert file.read_bytes() == whole[:length]  # the user's file is left alone
        counts.append(len(found))
    assert counts == sorted(counts, reverse=True) and set(counts) == {0, 1, 2, 3, 4}


def test_an_sqlite_file_with_an_open_journal_is_refused_and_salvaged(tmp_path):
    """A recorder in WAL mode was killed: its last messages are only in the journal."""
    rosbag2_sqlite(tmp_path / "live.db3", expected_texts(2))
    database = sqlite3.connect(tmp_path / "live.db3")
    database.execute("PRAGMA journal_mode=WAL")
    for time_ns, data in expected_texts(5)[2:]:
        row = (time_ns, text(data))
        database.execute("INSERT INTO messages VALUES(NULL, 1, ?, ?)", row)
    database.commit()
    (tmp_path / "copy").mkdir()
    for file in tmp_path.glob("live.db3*"):
        (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
    database.close()
    with pytest.raises(BagError, match=r"live.db3 breaks off.*--salvage"):
        open_bag(tmp_path / "copy")
    assert read_texts(tmp_path / "copy", salvage=True) == expected_texts(5)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_damage_is_a_bag_error_and_nothing_else(tmp_path_factory, data):
    storage = data.draw(st.sampled_from(STORAGES))
    folder = tmp_path_factory.mktemp("bags") / "bag"
    write_texts(folder, 5, storage)
    file = next(f for f in sorted(folder.iterdir()) if f.name.startswith("bag."))
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content)
    try:
        with open_bag(folder) as bag:
            for message in bag.messages():
                bag.decode(message)
    except BagError as error:
        assert str(folder) in str(error)


@pytest.mark.parametrize("storage", STORAGES)
def test_a_writer_refuses_what_exists_and_what_cannot_be_made(tmp_path, storage):
    write_texts(tmp_path / "bag", 1, storage)
    with pytest.raises(BagError, match="exists already and is not overwritten"):
        BagWriter(tmp_path / "bag", storage)
    assert read_texts(tmp_path / "bag") == expected_texts(1)
    (tmp_path / "file").write_text("")
    with pytest.raises(BagError, match=r"cannot make a bag at .*file/bag"):
        BagWriter(tmp_path / "file" / "bag", storage)
    with pytest.raises(BagError, match="cannot store as 'rocksdb': known are mcap, sqlite3"):
        BagWriter(tmp_path / "new", "rocksdb")


WRITING = """
import resource, sys
from emu_core.bags.errors import BagError
from emu_core.bags.writer import BagWriter

path, storage, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
writer = BagWriter(path, storage)
writer.add_topic("/text", "std_msgs/msg/String")
text = writer.encode(writer.store.types["std_msgs/msg/String"](1000 * "x"))
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    for index in range(5000):
        writer.write("/text", index, text)
        if index % 50 == 49:
            writer.flush()
            print(index + 1, flush=True)
except BagError as error:
    print(error)
    sys.exit(1)
"""


def write_in_child(path, storage, limit):
    command = [sys.executable, "-c", WRITING, str(path), storage, str(limit)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("storage", STORAGES)
def test_what_was_flushed_outlives_a_killed_writer(tmp_path, storage):
    with write_in_child(tmp_path / "bag", storage, 0) as child:
        flushed = [int(child.stdout.readline()) for _ in range(3)]
        child.send_signal(signal.SIGKILL)
    assert flushed == [50, 100, 150]
    messages = read_texts(tmp_path / "bag", salvage=True)
    assert len(messages) >= 150
    assert messages == [(index, 1000 * "x") for index in range(len(messages))]


@pytest.mark.parametrize("storage", STORAGES)
def test_a_full_disk_is_told_and_leaves_what_was_written_before(tmp_path, storage):
    with write_in_child(tmp_path / "bag", storage, 2**20) as child:
        *_, flushed, told = child.stdout.read().splitlines()
    assert child.returncode == 1
    assert told.startswith(f"cannot write to {tmp_path / 'bag'}: ")
    assert "make room and record again" in told
    messages = read_texts(tmp_path / "bag")  # without salvage: the file is whole
    assert len(messages) >= int(flushed) - 50
    assert messages == [(index, 1000 * "x") for index in range(len(messages))]
