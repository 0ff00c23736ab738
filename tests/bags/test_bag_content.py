"""The content of a bag counts: compression, CDR headers, what it states, and order in time."""

import shutil
import sys

import pytest
import text_bags
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from emu_core.bags.errors import BagError
from emu_core.bags.reader import open_bag
from emu_core.bags.writer import BagWriter

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"


def data_file(folder, storage="mcap"):
    (file,) = (f for f in folder.iterdir() if f.name != "metadata.yaml")
    return file


def pack(file, end=".zstd"):
    """Compress a file in the place of the plain one."""
    packed = file.with_name(file.name + end)
    packed.write_bytes(zstd.compress(file.read_bytes()))
    file.unlink()
    return packed


@pytest.fixture(params=text_bags.STORAGES)
def parts(request, tmp_path):
    """A folder without metadata.yaml with three data files, of two messages each."""
    folder = tmp_path / "Fahrt über 100% #1"
    folder.mkdir()
    for k in range(3):
        with BagWriter(tmp_path / f"p{k}", request.param) as writer:
            writer.add_topic("/text", text_bags.TEXT)
            for time_ns, data in text_bags.expected(6)[2 * k : 2 * k + 2]:
                writer.write("/text", time_ns, text_bags.text(data))
        file = data_file(tmp_path / f"p{k}")
        shutil.copy(file, folder / f"drive_{k}{file.suffix}")
    return folder


@pytest.mark.parametrize("packed", [(0, 1, 2), (0, 1), (1,), ()])
@pytest.mark.parametrize("end", [".zstd", ".zst"])
def test_compressed_and_plain_files_without_metadata_are_read(parts, packed, end):
    for k in packed:
        pack(sorted(parts.iterdir())[k], end)
    assert text_bags.read(parts) == text_bags.expected(6)


def test_compression_is_recognised_by_content_and_a_file_is_read_once(parts):
    first, second, _ = sorted(parts.iterdir())
    first.write_bytes(zstd.compress(first.read_bytes()))  # without its suffix
    shutil.copy(second, second.with_name("copy"))
    packed = pack(second)
    (second.parent / "copy").rename(second)  # plain and packed beside each other
    with open_bag(parts) as bag:
        assert [m.time_ns for m in bag.messages()] == [0, 10, 20, 30, 40, 50]
        assert bag.left_out == {packed.name: f"{second.name} is read"}


def test_hidden_files_are_no_data_but_a_hidden_folder_above_does_not_matter(parts, tmp_path):
    (parts / f"._{min(parts.iterdir()).name}").write_bytes(b"\0\5\x16\7 of macOS")
    (parts / ".drive_9.mcap").write_bytes(b"")
    assert text_bags.read(parts) == text_bags.expected(6)
    shutil.move(parts, tmp_path / ".cache" / "bag")
    assert text_bags.read(tmp_path / ".cache" / "bag") == text_bags.expected(6)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"#ROSBAG V2.0\n", "is a ROS 1 bag"),
        (b"\x1f\x8b\x08\x00", "is compressed with gzip: unpack it first"),
        (b"\x04\x22\x4d\x18\0", "is compressed with lz4"),
    ],
)
def test_files_of_other_kinds_are_named(parts, content, problem):
    (parts / "other.mcap.gz").write_bytes(content)
    with open_bag(parts) as bag:
        assert len(list(bag.messages())) == 6 and problem in bag.not_read()
    with pytest.raises(BagError, match=problem):
        open_bag(parts / "other.mcap.gz")


def test_a_pointer_of_git_lfs_is_named_as_such(parts):
    file = min(parts.iterdir())
    file.write_text(POINTER)
    for path in (file, parts):
        with pytest.raises(BagError, match=r"drive_0\.\w+ is a Git LFS pointer.*git lfs pull"):
            open_bag(path)
    (parts / "metadata.yaml").write_text(POINTER)
    with pytest.raises(BagError, match=r"metadata.yaml is a Git LFS pointer"):
        open_bag(parts)


@pytest.mark.parametrize("storage", text_bags.STORAGES)
def test_compressed_messages_are_recognised_without_metadata(tmp_path, storage):
    plugin = StoragePlugin[storage.upper()]
    writer = Writer(tmp_path / "bag", version=9, storage_plugin=plugin)
    writer.set_compression(CompressionMode.MESSAGE, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/text", text_bags.TEXT, typestore=text_bags.STORE)
        for time_ns, data in text_bags.expected(3):
            writer.write(connection, time_ns, text_bags.text(data))
    assert text_bags.read(data_file(tmp_path / "bag")) == text_bags.expected(3)
    (tmp_path / "bag" / "metadata.yaml").unlink()
    assert text_bags.read(tmp_path / "bag") == text_bags.expected(3)


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        ("7b 22 61 22", "no CDR header, it begins with 7b 22 61 22"),
        ("00 03 00 00", "PL_CDR"),
        ("00 07 00 00", "CDR2"),
        ("01 00 00 00", "no CDR header"),
        ("00 01", "no CDR header"),
        ("", "it begins with nothing"),
    ],
)
@pytest.mark.parametrize("packed", [bytes, zstd.compress])
def test_what_is_not_cdr_does_not_come_out(tmp_path, head, problem, packed):
    good, bad = text_bags.text("good"), packed(bytes.fromhex(head))
    with BagWriter(tmp_path / "bag") as writer:
        for topic in ("/good", "/bad", "/later"):
            writer.add_topic(topic, text_bags.TEXT)
        for time_ns, (topic, data) in enumerate(
            [("/good", good), ("/bad", bad), ("/later", good), ("/later", bad)]
        ):
            writer.write(topic, time_ns, data)
    with open_bag(tmp_path / "bag") as bag:
        assert list(bag.topics) == ["/good", "/later"] and problem in bag.left_out["/bad"]
        assert [m.data for m in bag.messages(["/good"])] == [good]
        with pytest.raises(BagError, match=r"damaged after 1 readable .*message 2 of /later"):
            list(bag.messages(["/later"]))


def test_big_endian_cdr_is_read(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        writer.add_topic("/text", text_bags.TEXT)
        writer.write("/text", 5, b"\0\0\0\0" + b"\0\0\0\3" + b"hi\0")
    assert text_bags.read(tmp_path / "bag") == [(5, "hi")]


def test_what_metadata_states_must_be_there(tmp_path):
    file = tmp_path / "drive_0.db3"
    text_bags.rosbag2_sqlite(file, text_bags.expected(1))
    text_bags.rosbag2_metadata(tmp_path, 5, ["drive_0.db3"])  # it states two messages
    with pytest.raises(BagError, match=r"incomplete: .*/text has 2 messages, but 1 are there"):
        open_bag(tmp_path)
    assert text_bags.read(tmp_path, salvage=True) == text_bags.expected(1)
    text_bags.rosbag2_metadata(tmp_path, 5, ["drive_0.db3", "drive_1.db3"])
    with pytest.raises(BagError, match=r"missing: drive_1.db3; read the others with --salvage"):
        open_bag(tmp_path)
    with open_bag(tmp_path, salvage=True) as bag:
        assert bag.left_out["drive_1.db3"] == "it is missing"


def test_files_are_found_under_the_names_before_and_after_compression(tmp_path):
    for k in range(3):
        texts = text_bags.expected(3)[k : k + 1]
        text_bags.rosbag2_sqlite(tmp_path / f"drive_{k}.db3", texts)
    pack(tmp_path / "drive_1.db3")
    names = ["drive_0.db3.zstd", "drive_1.db3"]
    text_bags.rosbag2_metadata(tmp_path, 5, names)
    with open_bag(tmp_path) as bag:
        assert [m.time_ns for m in bag.messages()] == [0, 10]
        assert bag.left_out == {"drive_2.db3": "metadata.yaml does not list it"}


@pytest.mark.parametrize("storage", text_bags.STORAGES)
def test_files_that_overlap_are_merged_by_time(tmp_path, storage):
    (tmp_path / "bag").mkdir()
    for name, times in {"a": [0, 30, 31, 90], "b": [10, 30, 60], "c": [5, 95], "d": [40]}.items():
        with BagWriter(tmp_path / name, storage) as writer:
            writer.add_topic(f"/{name}", text_bags.TEXT)
            for time_ns in times:
                writer.write(f"/{name}", time_ns, text_bags.text(name))
        file = data_file(tmp_path / name)
        shutil.copy(file, tmp_path / "bag" / file.name)
    with open_bag(tmp_path / "bag") as bag:
        order = [(m.time_ns, m.topic) for m in bag.messages()]
        assert [m.time_ns for m in bag.messages(["/b", "/c"], 20)] == [30, 60, 95]
    assert [time_ns for time_ns, _ in order] == [0, 5, 10, 30, 30, 31, 40, 60, 90, 95]
    assert "".join(topic[1:] for _, topic in order) == "acbabadbac"


def test_a_relative_name_is_found_with_and_without_its_slash(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        writer.add_topic("camera/image", "sensor_msgs/msg/Image")
        writer.write("camera/image", 0, text_bags.text("no image"))
    with open_bag(tmp_path / "bag") as bag:
        for name in ("camera/image", "/camera/image"):
            assert bag.image_topic(name) == "camera/image" == bag.topic_name(name)


def test_messages_of_another_type_on_a_topic_are_left_out(tmp_path):
    (tmp_path / "bag").mkdir()
    for k, kind in enumerate((text_bags.TEXT, "std_msgs/msg/Int8")):
        with BagWriter(tmp_path / f"p{k}") as writer:
            writer.add_topic("/text", kind)
            writer.write("/text", k, text_bags.text("a"))
        shutil.copy(data_file(tmp_path / f"p{k}"), tmp_path / "bag" / f"{k}.mcap")
    with open_bag(tmp_path / "bag") as bag:
        assert len(list(bag.messages())) == 1
        assert "1 of its messages are std_msgs/msg/Int8, not" in bag.left_out["/text"]
