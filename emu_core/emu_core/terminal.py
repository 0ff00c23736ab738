"""Printing on terminals that are not UTF-8."""

from __future__ import annotations

import io
import sys


def accept_any_text() -> None:
    r"""Let `print` write a character that the terminal lacks as \xe4, as stderr does by default.

    Otherwise, a help text or the name of a file would end the program.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
