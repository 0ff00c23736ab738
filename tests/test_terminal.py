"""Text that a terminal cannot show is escaped, and SIGTERM ends a command as an exception."""

import ast
import io
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import emu_core
from emu_core.terminal import accept_any_text, orderly_end, signals_deferred, system_problem

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


def test_a_system_error_names_the_file_and_the_reason(tmp_path):
    with pytest.raises(OSError) as missing:
        (tmp_path / "none").read_text()
    assert system_problem(missing.value) == f"{tmp_path / 'none'}: No such file or directory"
    assert system_problem(OSError("the cable is loose")) == "the cable is loose"
    assert system_problem(OSError(5, "broken")) == "the system: broken"


# --- SIGTERM


def test_sigterm_ends_a_command_after_its_finally():
    code = """
from emu_core.terminal import orderly_end
import signal
with orderly_end():
    try:
        print("ready", flush=True)
        signal.pause()
    finally:
        print("cleaned up")
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    rest, _ = process.communicate(timeout=30)
    assert rest == "cleaned up\n" and process.returncode == 128 + signal.SIGTERM


@pytest.fixture
def default_handler():
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def test_the_default_comes_back_unless_another_handler_was_set_meanwhile(default_handler):
    with orderly_end():
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    with orderly_end():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN


def test_a_handler_that_was_set_before_stays(default_handler):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with orderly_end():
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN


def test_a_thread_which_cannot_handle_signals_changes_nothing():
    before, during = signal.getsignal(signal.SIGTERM), []

    def work():
        with orderly_end():
            during.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert during == [before]


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_while_a_process_starts_takes_effect_when_it_is_known(
    default_handler, number, error
):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    known = []
    with pytest.raises(error), orderly_end(), signals_deferred():
        signal.raise_signal(number)
        known.append("process")
    assert known == ["process"]
    assert signal.signal(signal.SIGINT, before) == signal.default_int_handler


def test_a_process_that_starts_inherits_what_is_ignored_and_nothing_else():
    code = """
import signal
print(*(signal.getsignal(n) == signal.SIG_IGN for n in (signal.SIGINT, signal.SIGTERM)))
"""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals_deferred():
            process = subprocess.Popen(
                [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
            )
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.communicate(timeout=30)[0] == "True False\n"
