"""Damaged, truncated and wrong bags: a message with the file and a remedy, and salvage."""

import sqlite3

import numpy as np
import pytest
import text_bags

from emu_core.bags.errors import BagError
from emu_core.bags.reader import open_bag


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("metadata", lambda text: text[:0], r"yaml is damaged or does not .*ros2 bag reindex"),
        ("metadata", lambda text: text[:100], r"damaged, 'relative_file_paths' is missing"),
        ("metadata", lambda text: text[:550], r"yaml is damaged in line \d+ \(.*\): .*reindex"),
        ("metadata", ("sqlite3", "rocksdb"), r"storage 'rocksdb'.*ros2 bag convert"),
        ("metadata", ("version: 5", "version: 10"), r"version 10, but only versions up to 9"),
        ("metadata", ("mode: ''", "mode: FILE"), r"compressed with 'none' in mode 'file'"),
        ("metadata", ("- d.db3", "- d_1.db3"), r"data files are missing: d_1.db3"),
        ("d", lambda data: data[:0], r"d.db3 is damaged or not a bag file"),
        ("d", lambda data: data[:5000], r"d.db3 is damaged"),
    ],
)
def test_a_damaged_bag_is_reported_with_its_file_and_a_remedy(tmp_path, name, change, message):
    text_bags.rosbag2_sqlite(tmp_path / "d.db3", text_bags.expected(200))
    text_bags.rosbag2_metadata(tmp_path, 5, ["d.db3"])
    (file,) = tmp_path.glob(f"{name}.*")
    if callable(change):
        file.write_bytes(change(file.read_bytes()))
    else:
        assert change[0] in file.read_text()
        file.write_text(file.read_text().replace(*change))
    with pytest.raises(BagError, match=message):
        text_bags.read(tmp_path)


def test_other_files_and_folders_are_reported_by_their_kind(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "drive.bag").write_bytes(b"#ROSBAG V2.0\n")
    (tmp_path / "drive.txt").write_bytes(b"")
    (tmp_path / "drive.mcap").write_bytes(np.random.default_rng(1).bytes(3000))
    for name, message in {
        "nothing": "no bag at .*nothing: give the folder",
        "folder": "no metadata.yaml and no .mcap or .db3 files",
        "drive.bag": "is a ROS 1 bag: convert it with `rosbags-convert`",
        "drive.txt": "is not a bag: give a folder or a .mcap or .db3 file",
        "drive.mcap": "drive.mcap is damaged or not a bag file: File magic is invalid",
    }.items():
        with pytest.raises(BagError, match=message):
            open_bag(tmp_path / name)


@pytest.mark.parametrize("storage", text_bags.STORAGES)
def test_an_empty_bag_is_refused(tmp_path, storage):
    text_bags.write(tmp_path / "bag", 0, storage)
    with pytest.raises(BagError, match="is empty: it holds no message"):
        open_bag(tmp_path / "bag")


def test_an_mcap_file_truncated_anywhere_is_refused_and_salvaged_up_to_there(tmp_path):
    file = text_bags.write(tmp_path / "bag", 4, flush=True) / "bag.mcap"
    complete = file.read_bytes()
    counts = []
    for length in range(len(complete) - 1, 8, -29):
        file.write_bytes(complete[:length])
        with pytest.raises(BagError, match=r"bag.mcap is truncated.*--salvage"):
            open_bag(file)
        try:
            found = text_bags.read(file, salvage=True)
        except BagError:
            found = []
        assert found == text_bags.expected(4)[: len(found)]
        assert file.read_bytes() == complete[:length]  # the user's file is not changed
        counts.append(len(found))
    assert counts == sorted(counts, reverse=True) and set(counts) == {0, 1, 2, 3, 4}


def test_an_sqlite_file_with_an_open_journal_is_refused_and_salvaged(tmp_path):
    """A recorder in WAL mode was killed: its last messages are only in the journal."""
    text_bags.rosbag2_sqlite(tmp_path / "live.db3", text_bags.expected(2))
    database = sqlite3.connect(tmp_path / "live.db3")
    database.execute("PRAGMA journal_mode=WAL")
    text_bags.insert(database, text_bags.expected(5)[2:])
    database.commit()
    (tmp_path / "copy").mkdir()
    for file in tmp_path.glob("live.db3*"):
        (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
    database.close()
    with pytest.raises(BagError, match=r"live.db3 is truncated.*--salvage"):
        open_bag(tmp_path / "copy")
    assert text_bags.read(tmp_path / "copy", salvage=True) == text_bags.expected(5)
