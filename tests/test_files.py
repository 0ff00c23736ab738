"""A file is replaced in one step, or stays what it was."""

import os
from pathlib import Path

import pytest

from emu_core.files import replace_file, replace_text


def test_a_text_replaces_another_in_a_folder_that_may_be_new(tmp_path):
    path = tmp_path / "new" / "a.txt"
    for text in ("ä\n", "b"):
        replace_text(path, text)
        assert path.read_bytes() == text.encode()
    assert os.listdir(path.parent) == ["a.txt"]


@pytest.mark.parametrize("unfinished", [None, "a.npz.part"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, unfinished):
    path = tmp_path / "a.npz"
    path.write_text("old")
    written = []

    def write(own):
        own.write_text("half")
        written.append(own)
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        replace_file(path, write, None if unfinished is None else tmp_path / unfinished)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.npz"]
    assert written[0].parent == tmp_path  # of one file system: a move is one step
    assert unfinished or Path(written[0]).suffix == ".npz"
