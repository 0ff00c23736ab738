"""The command training/annotations.py, and its message where datumaro is missing."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

COMMAND = Path(__file__).parents[2] / "training/annotations.py"
WITHOUT = """
import runpy, sys
sys.modules["datumaro"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(*arguments):
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_a_missing_package_is_one_sentence_that_says_what_to_install(write_root, tmp_path):
    root = write_root(tmp_path / "root", {1: "grass"})
    for arguments in (
        ("export", root, "--format", "cvat", "--output", tmp_path / "out"),
        ("import", root, "--format", "cvat", "--output", tmp_path / "out"),
        ("import", root, "--output", tmp_path / "out"),
    ):
        done = run("-c", WITHOUT, COMMAND, *arguments)
        assert done.returncode == 1
        assert 'pip install "emu_core[annotation]"' in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_the_command_exports_and_imports(write_root, read_labels, indices, tmp_path):
    pytest.importorskip("datumaro", reason="needs datumaro: make test-annotation")
    root = write_root(tmp_path / "root", {1: "grass", 2: "fence", 3: "sky"}, indices)
    exported = run(COMMAND, "export", root, "--format", "cvat", "--output", tmp_path / "tool")
    assert exported.returncode == 0, exported.stderr
    assert "1 frames with their labels, 0 with predictions, 1 empty" in exported.stdout
    (root / "labels/a/07.png").unlink()
    imported = run(COMMAND, "import", tmp_path / "tool", "--output", root)
    assert imported.returncode == 0, imported.stderr
    assert "1 frames with labels from cvat, 1 without; 0 images copied" in imported.stdout
    assert f"{100 * (indices == 2).mean():.2f} %" in imported.stdout
    np.testing.assert_array_equal(read_labels(root)["a/07"], indices)
    assert exported.stderr + imported.stderr == ""


def test_the_commands_of_the_page_about_own_data(write_root, indices, tmp_path, monkeypatch):
    pytest.importorskip("datumaro", reason="needs datumaro: make test-annotation")
    page = (COMMAND.parents[1] / "docs/own_data.md").read_text(encoding="utf-8")
    lines = re.findall(r"^python training/annotations.py (.*)$", page, re.MULTILINE)
    commands = [shlex.split(line) for line in lines]
    assert len(commands) == 4
    monkeypatch.chdir(tmp_path)
    write_root(tmp_path / "data/yard", {1: "ground", 2: "wall", 3: "box"}, indices)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/yard_labelled").symlink_to("yard_cvat")  # as if the tool had exported it
    for command in commands[:2]:
        done = run(COMMAND, *command)
        assert done.returncode == 0, done.stderr
