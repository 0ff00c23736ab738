"""What every command needs from its terminal: any text, and an orderly end."""

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
