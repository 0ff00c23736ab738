"""The command training/annotations.py, and its message where datumaro is missing."""

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
