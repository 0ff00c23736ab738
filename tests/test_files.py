"""Tests of atomic writes, JSON, locks, digests and natural order."""

import hashlib
import multiprocessing
import os
import random
from pathlib import Path
from types import SimpleNamespace

import pytest

from emu_core import files
from emu_core.data.description import read_yaml
from emu_core.data.sample import DataError, read_image
from emu_core.files import (
    DiskFullError,
    digest,
    expand,
    file_digest,
    folder_size,
    lfs_problem,
    locked,
    natural_sort,
    read_json,
    require_space,
    visible_entries,
    visible_files,
    without_nan,
    write_atomically,
    write_json,
    write_text,
)
from emu_core.runtime.model_file import ModelError, read_info


def test_a_text_replaces_another_and_the_folder_is_created(tmp_path):
    path = tmp_path / "new" / "a.txt"
    for text in ("ä\n", "b"):
        write_text(path, text)
        assert path.read_bytes() == text.encode()
    assert os.listdir(path.parent) == ["a.txt"]


@pytest.mark.parametrize("temporary", [None, "a.npz.part"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, temporary):
    path = tmp_path / "a.npz"
    path.write_text("old")
    written = []

    def write(part):
        part.write_text("half")
        written.append(part)
        raise OSError("the disk was removed")

    with pytest.raises(OSError, match="the disk was removed"):
        write_atomically(path, write, None if temporary is None else tmp_path / temporary)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.npz"]
    assert written[0].parent == tmp_path  # on the same file system
    assert temporary or written[0].suffix == ".npz"


def test_json_is_read_back_and_none_stands_for_what_cannot_be_read(tmp_path):
    path = tmp_path / "a.json"
    assert read_json(path) is None
    write_json(path, {"name": "ä", "values": [1, None]})
    assert read_json(path) == {"name": "ä", "values": [1, None]}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, float("nan"))
    assert read_json(path) is not None
    path.write_text('{"name": ')
    assert read_json(path) is None


def test_a_digest_is_that_of_the_content_and_follows_changes(tmp_path):
    path = tmp_path / "a.bin"
    for content in (b"", os.urandom(3 << 20)):  # more than one block
        path.write_bytes(content)
        assert file_digest(path) == hashlib.sha256(content).hexdigest()
    other = tmp_path / "b.bin"
    other.write_bytes(b"other")
    before = digest([path, other])
    assert before != digest([other, path])
    assert digest([path.rename(tmp_path / "c.bin"), other]) == before
    with pytest.raises(FileNotFoundError):
        digest([path])


def test_numbers_in_names_are_sorted_by_value(tmp_path):
    names = ["b", "frame_9.png", "frame_10.png", "member-2/x10", "member-10/x9", "member-10/x10"]
    shuffled = random.Random(0).sample(names, len(names))
    assert natural_sort(shuffled) == names
    assert natural_sort(tmp_path / name for name in shuffled) == [tmp_path / n for n in names]
    assert natural_sort(["1", "a", "²", "0a"]) == ["0a", "1", "a", "²"]  # "²".isdigit()


def _holds_lock(path, wait, queue):
    with locked(path, wait) as held:
        queue.put(held)


def test_one_process_holds_a_lock_and_the_others_wait_or_go_on_without_it(tmp_path):
    path = tmp_path / "locks" / "a"
    processes = multiprocessing.get_context("spawn")
    queue = processes.Queue()
    impatient, patient = (
        processes.Process(target=_holds_lock, args=(path, wait, queue)) for wait in (False, True)
    )
    with locked(path) as held:
        assert held
        impatient.start()
        assert queue.get(timeout=60) is False
        patient.start()
        patient.join(0.3)
        assert queue.empty() and patient.is_alive()
    assert queue.get(timeout=60) is True
    for process in (impatient, patient):
        process.join(60)
        assert process.exitcode == 0


def write_to_a_full_device(part):
    part.write_text("half")
    Path("/dev/full").write_text("more")  # the kernel's own ENOSPC


def fail_as_torch_does(part):
    raise RuntimeError("PytorchStreamWriter failed writing file data/1: file write failed")


@pytest.mark.parametrize("write", [write_to_a_full_device, fail_as_torch_does])
def test_a_full_disk_is_one_sentence_with_file_and_space(tmp_path, monkeypatch, write):
    path = tmp_path / "last.ckpt"
    path.write_text("good")
    usage = SimpleNamespace(total=2_000_000_000, free=0)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage)
    message = rf"^{path} was not written: the disk is full \(0 GB of 2 GB free in {tmp_path}\)"
    with pytest.raises(DiskFullError, match=message):
        write_atomically(path, write)
    assert path.read_text() == "good" and os.listdir(tmp_path) == ["last.ckpt"]


def test_a_disk_that_is_too_small_for_all_files_on_it_is_reported(tmp_path, monkeypatch):
    usage = SimpleNamespace(total=9, free=3_000_000_000)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage)
    needs = [("weights", tmp_path / "new" / "runs", 2_000_000_000), ("cache", tmp_path, 10**9)]
    require_space(needs)
    message = "about 2 GB of weights in .*/new/runs, 1.5 GB of cache in .*, but only 3 GB are free"
    with pytest.raises(OSError, match=message):
        require_space([needs[0], ("cache", tmp_path, 1_500_000_000)])
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(bytes(7))
    assert (folder_size(tmp_path), folder_size(tmp_path / "none")) == (7, 0)


def test_a_folder_with_brackets_is_no_pattern(tmp_path):
    for name in ("a[1]/member-10", "a[1]/member-2", "a1/member-0", "a[1]/member-2/.hidden"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "x").touch()
    numbered = [tmp_path / f"a[1]/member-{k}/x" for k in (2, 10)]
    assert expand(tmp_path / "a[1]/member-*/x") == numbered
    assert expand(tmp_path / "a[1]/**/x") == numbered
    assert expand(tmp_path / "a[0-9]/*/x") == [tmp_path / "a1/member-0/x"]
    assert expand("") == expand(tmp_path / "b*") == []


def test_hidden_files_are_never_listed_but_a_hidden_folder_above_does_not_matter(tmp_path):
    root = tmp_path / ".cache" / "data"
    for name in ("a/1.png", "a/._1.png", "a/.b/2.png", ".DS_Store", "c/.d/e/3.png", "4.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    assert [path.name for path in visible_entries(root)] == ["4.png", "a", "c"]
    found = [root / "4.png", root / "a/1.png"]
    assert list(visible_files(root)) == expand(root / "**/*.png") == found
    assert expand(root / "c/**/3.png") == []


def test_a_pointer_of_git_lfs_is_recognised(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    assert "model.onnx is a Git LFS pointer" in lfs_problem(path)
    with pytest.raises(ModelError, match=r"is a Git LFS pointer.*`git lfs pull`"):
        read_info(path)
    for read in (read_yaml, lambda file: read_image(file, 1)):
        with pytest.raises(DataError, match="is a Git LFS pointer"):
            read(path)
    for content in (b"", b"version", b"version https://git-lfs.github.com/spec/v1" + bytes(2000)):
        path.write_bytes(content)
        assert lfs_problem(path) is None
    assert lfs_problem(tmp_path) is lfs_problem(tmp_path / "none") is None


def test_json_has_no_nan():
    content = {"a": float("nan"), "b": [1, {"c": (float("inf"), 2.5)}], "d": "x"}
    assert without_nan(content) == {"a": None, "b": [1, {"c": [None, 2.5]}], "d": "x"}
