"""Text that a terminal cannot show is escaped; every command asks for that first."""

import ast
import io
import sys
from pathlib import Path

import pytest

import emu_core
from emu_core.terminal import accept_any_text

FOLDERS = (Path(emu_core.__file__).parent, Path(__file__).parents[1] / "training")
FILES = [file for folder in FOLDERS for file in sorted(folder.rglob("*.py"))]
COMMANDS = [file for file in FILES if "\ndef main(" in file.read_text(encoding="utf-8")]


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("ascii", rb"\xb2 \u2192 \udcff"), ("latin-1", b"\xb2 " + rb"\u2192 \udcff")],
)
def test_characters_that_an_encoding_lacks_are_escaped(monkeypatch, encoding, expected):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding, newline=""))
    accept_any_text()
    print("² → \udcff", end="", flush=True)  # the last one: a byte of a file name
    assert raw.getvalue() == expected


def test_streams_of_other_kinds_stay_as_they_are(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", None)
    accept_any_text()
    assert sys.stdout is stream


@pytest.mark.parametrize("file", COMMANDS, ids=lambda file: file.stem)
def test_every_command_accepts_any_terminal(file):
    assert len(COMMANDS) > 12
    (main,) = (
        node
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name == "main"
    )
    called = {getattr(n.func, "id", "") for n in ast.walk(main) if isinstance(n, ast.Call)}
    assert called & {"accept_any_text", "run_command"}
