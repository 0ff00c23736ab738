"""Writing bags: existing paths, a killed process, a full disk."""

import resource
import signal
import subprocess
import sys

import pytest
import text_bags

from emu_core.bags.errors import BagError
from emu_core.bags.writer import BagWriter

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


@pytest.mark.parametrize("storage", text_bags.STORAGES)
def test_existing_and_impossible_paths_are_refused(tmp_path, storage):
    text_bags.write(tmp_path / "bag", 1, storage)
    with pytest.raises(BagError, match="exists already and is not overwritten"):
        BagWriter(tmp_path / "bag", storage)
    assert text_bags.read(tmp_path / "bag") == text_bags.expected(1)
    (tmp_path / "file").write_text("")
    with pytest.raises(BagError, match=r"cannot create a bag at .*file/bag"):
        BagWriter(tmp_path / "file" / "bag", storage)
    with pytest.raises(BagError, match="unknown storage 'rocksdb': use one of mcap, sqlite3"):
        BagWriter(tmp_path / "new", "rocksdb")


def test_a_full_disk_at_the_start_leaves_nothing(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(BagError, match="cannot create a bag"):
            BagWriter(tmp_path / "bag", "sqlite3")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "bag").exists()


@pytest.mark.parametrize("storage", text_bags.STORAGES)
def test_flushed_messages_survive_a_killed_writer(tmp_path, storage):
    with write_in_child(tmp_path / "bag", storage, 0) as child:
        flushed = [int(child.stdout.readline()) for _ in range(3)]
        child.send_signal(signal.SIGKILL)
    assert flushed == [50, 100, 150]
    messages = text_bags.read(tmp_path / "bag", salvage=True)
    assert len(messages) >= 150
    assert messages == [(index, 1000 * "x") for index in range(len(messages))]


@pytest.mark.parametrize("storage", text_bags.STORAGES)
def test_a_full_disk_is_reported_and_earlier_messages_are_kept(tmp_path, storage):
    with write_in_child(tmp_path / "bag", storage, 2**20) as child:
        *_, flushed, error = child.stdout.read().splitlines()
    assert child.returncode == 1
    assert error.startswith(f"cannot write to {tmp_path / 'bag'}: ")
    assert "free some space and record again" in error
    messages = text_bags.read(tmp_path / "bag")  # without salvage: the file has a proper end
    assert len(messages) >= int(flushed) - 50
    assert messages == [(index, 1000 * "x") for index in range(len(messages))]
