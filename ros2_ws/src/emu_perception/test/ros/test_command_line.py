"""Programs end in their own time after a signal, and print on terminals of any encoding."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from emu_perception.ros.command_line import stop_signals

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ENDING = """
import os, signal, sys
from emu_perception.ros.command_line import stop_signals

class Late:
    def __del__(self):  # when Python has reset the handlers that are functions
        os.kill(os.getpid(), signal.SIGINT)
        print("ended", flush=True)

with stop_signals() as stop:
    late = Late()
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)
    assert stop.wait(10)
os.kill(os.getpid(), signal.SIGINT)
sys.exit(3)
"""


def test_further_signals_do_not_kill_a_process_that_ends():
    command = [sys.executable, "-c", ENDING]
    done = subprocess.run(command, check=False, capture_output=True, timeout=120)
    assert (done.returncode, done.stdout) == (3, b"ended\n"), done.stderr


def test_without_a_signal_the_handlers_are_as_before():
    before = [signal.getsignal(number) for number in SIGNALS]
    with stop_signals() as stop:
        assert isinstance(stop, threading.Event)
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=lambda environment: "+".join(environment.values()),
)
@pytest.mark.parametrize(
    "arguments",
    [
        ("player", "--help"),
        ("recorder", "--help"),
        ("drive_to_bag", "--help"),
        ("demo", "--help"),
        ("build_engine", "--help"),
        ("player", "Fahrt über die Straße → 1"),
        ("build_engine", "--model", "Gerät.onnx", "--provider", "cpu"),
    ],
    ids=" ".join,
)
def test_a_program_prints_on_terminals_that_are_not_utf_8(environment, arguments):
    command = [sys.executable, "-m", f"emu_perception.{arguments[0]}", *arguments[1:]]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        timeout=120,
        env={**os.environ, **environment},
    )
    assert b"Traceback" not in done.stderr, done.stderr
    assert done.returncode == (0 if "--help" in arguments else 1)
    assert done.stdout if "--help" in arguments else arguments[0].encode() in done.stderr
