"""Reading bags: our own, and those of rosbag2 in every version."""

import cv2
import numpy as np
import pytest
import text_bags
from rosbags.interfaces import QosDurability, QosReliability
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from emu_core.bags.errors import BagError
from emu_core.bags.reader import open_bag
from emu_core.bags.types import CompressedImage, Header, Image, Time
from emu_core.bags.writer import BagWriter, offered


@pytest.mark.parametrize("storage", text_bags.STORAGES)
def test_messages_are_read_back_with_times_types_and_qos(tmp_path, storage):
    later, first, last = map(text_bags.text, ("later", "first", "last"))
    messages = [("/b", 5, later), ("/a", 3, first), ("/b", 5, last)]
    with BagWriter(tmp_path / "bag", storage) as writer:
        writer.add_topic("/a", text_bags.TEXT, [offered(reliable=False, depth=7), offered()])
        writer.add_topic("/b", text_bags.TEXT)
        for message in messages:
            writer.write(*message)
    with open_bag(tmp_path / "bag") as bag:
        read = [(m.topic, m.time_ns, m.data) for m in bag.messages()]
        assert read == [messages[1], messages[0], messages[2]]  # by time, then as written
        assert [(m.topic, m.type) for m in bag.messages(["/a"])] == [("/a", text_bags.TEXT)]
        assert [m.data for m in bag.messages(start_ns=4)] == [later, last]
        assert (bag.start_ns, bag.end_ns) == (3, 5)
        assert {name: topic.count for name, topic in bag.topics.items()} == {"/a": 1, "/b": 2}
        lossy, default = bag.topics["/a"].qos
        assert (lossy.reliability, lossy.depth) == (QosReliability.BEST_EFFORT, 7)
        assert default.reliability is QosReliability.RELIABLE
        assert default.durability is QosDurability.VOLATILE
        assert not bag.topics["/b"].latched
        with pytest.raises(BagError, match=r"no topic /c; it has: /a, /b"):
            next(bag.messages(["/c"]))


@pytest.mark.parametrize("version", [4, 5, 6, 7, 8, 9])
def test_bags_of_every_metadata_version_are_read_with_their_qos(tmp_path, version):
    text_bags.rosbag2_sqlite(tmp_path / "drive_0.db3", text_bags.expected(2))
    qos = text_bags.QOS_WORDS if version >= 9 else text_bags.QOS_NUMBERS
    text_bags.rosbag2_metadata(tmp_path, version, ["drive_0.db3"], qos)
    assert text_bags.read(tmp_path) == text_bags.expected(2)
    assert text_bags.read(tmp_path / "metadata.yaml") == text_bags.expected(2)
    with open_bag(tmp_path) as bag:
        (qos,) = bag.topics["/text"].qos
        assert bag.topics["/text"].latched
        assert (qos.reliability, qos.depth) == (QosReliability.RELIABLE, 0)


@pytest.mark.parametrize(
    "compression", ["SQLITE3 FILE", "SQLITE3 MESSAGE", "MCAP FILE", "MCAP MESSAGE", "MCAP STORAGE"]
)
def test_zstd_compressed_files_messages_and_chunks_are_read(tmp_path, compression):
    plugin, mode = compression.split()
    writer = Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin[plugin])
    writer.set_compression(CompressionMode[mode], CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/text", text_bags.TEXT, typestore=text_bags.STORE)
        for time_ns, data in text_bags.expected(3):
            writer.write(connection, time_ns, text_bags.text(data))
    assert text_bags.read(tmp_path / "bag") == text_bags.expected(3)


def test_no_message_is_dropped_where_metadata_and_data_file_differ_in_qos(tmp_path):
    """Tools that edit bags write other QoS and folders into metadata.yaml."""
    text_bags.rosbag2_sqlite(tmp_path / "drive_0.db3", text_bags.expected(2))
    text_bags.rosbag2_metadata(tmp_path, 4, ["old_name/drive_0.db3"], qos="")
    assert text_bags.read(tmp_path) == text_bags.expected(2)
    with open_bag(tmp_path) as bag:
        assert bag.topics["/text"].latched  # from the data file


def test_split_bags_are_read_in_order_with_and_without_metadata(tmp_path):
    text_bags.rosbag2_sqlite(tmp_path / "drive_10.db3", text_bags.expected(4)[2:])
    text_bags.rosbag2_sqlite(tmp_path / "drive_9.db3", text_bags.expected(2))
    assert text_bags.read(tmp_path) == text_bags.expected(4)
    text_bags.rosbag2_metadata(tmp_path, 5, ["drive_9.db3", "drive_10.db3"])
    assert text_bags.read(tmp_path) == text_bags.expected(4)
    with open_bag(tmp_path) as bag:
        assert bag.topics["/text"].count == 4


@pytest.mark.parametrize("storage", text_bags.STORAGES)
def test_a_single_data_file_is_a_bag_as_well(tmp_path, storage):
    text_bags.write(tmp_path / "bag", 3, storage)
    (file,) = (f for f in (tmp_path / "bag").iterdir() if f.name != "metadata.yaml")
    assert text_bags.read(file) == text_bags.expected(3)
    with open_bag(file) as bag:
        assert bag.topics["/text"].latched


def test_the_camera_is_found_among_depth_masks_and_other_images(tmp_path):
    header = Header(Time(1, 2), "")
    gray, color = np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.uint8)

    def raw(encoding, size):
        return Image(header, 4, 4, encoding, 0, 4 * size, np.zeros(16 * size, np.uint8))

    def compressed(kind, pixels, name=".png"):
        return CompressedImage(header, kind, cv2.imencode(name, pixels)[1].reshape(-1))

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
            writer.write_message(topic, index, message)
        writer.add_topic("/silent/image_raw", "sensor_msgs/msg/Image")
    with open_bag(tmp_path / "bag") as bag:
        assert bag.image_topic() == "/camera/image_color/compressed"
        assert bag.image_topic(among=list(pictures)[:4]) == "/overlay"
        assert bag.image_topic(among=list(pictures)[:3]) == "/truth/depth/image"
        assert bag.image_topic("/truth/semantic/image") == "/truth/semantic/image"
        with pytest.raises(BagError, match=r"/overlai is not an image topic .*: /truth/depth"):
            bag.image_topic("/overlai")
        with pytest.raises(BagError, match=r"has no images .*/overlay \(sensor_msgs/msg/Image\)"):
            bag.image_topic(among=["/silent/image_raw"])
