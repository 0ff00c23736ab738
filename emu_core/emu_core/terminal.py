"""What every command needs from its terminal: any text, errors in words, and an orderly end."""

from __future__ import annotations

import io
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def accept_any_text() -> None:
    r"""Let `print` write a character that the terminal lacks as \xe4, as stderr does by default.

    Otherwise, a help text or the name of a file would end the program.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def system_problem(error: OSError) -> str:
    """Return which file or address the system refused, and why."""
    if not error.strerror:
        return str(error)
    return f"{error.filename or 'the system'}: {error.strerror}"


@contextmanager
def orderly_end() -> Iterator[None]:
    """Let SIGTERM raise SystemExit with status 143, as Ctrl-C raises KeyboardInterrupt.

    By default, SIGTERM (`kill`, `timeout`, a service that stops) ends Python at once: no `finally`
    runs, and the processes that the command has started go on. An earlier handler stays.
    """
    is_main = threading.current_thread() is threading.main_thread()  # others cannot set handlers
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(number: int, frame: object) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is end:  # else somebody has set another one to stay
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Let SIGINT and SIGTERM take effect at the end of the block.

    In it, start a process and store it where it will be stopped. A signal that interrupts `Popen`
    leaves a process that nobody knows.
    """
    if threading.current_thread() is not threading.main_thread():  # only that one gets signals
        yield
        return
    received: list[int] = []
    previous = {
        number: signal.signal(number, lambda number, frame: received.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
        # The process that is started inherits that it ignores a signal. None: not set by Python.
        if signal.getsignal(number) not in (signal.SIG_IGN, None)
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if received:
            signal.raise_signal(received[0])
