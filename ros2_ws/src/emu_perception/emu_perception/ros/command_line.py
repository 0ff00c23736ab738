"""What our ROS programs share on the command line: ROS arguments, mistakes in one line, reports.

Imports neither ROS nor rosbags, so that `--help` works and their absence can be told.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emu_core.bags.errors import BagError
from emu_perception.errors import UserError

_INSTALL = {name: f"pip install {name}" for name in ("rosbags", "av", "onnxruntime")}
"""Packages that no ROS setup file brings."""


def split_ros_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate our arguments from `--ros-args … [--]`, which launch files append."""
    own: list[str] = []
    ros: list[str] = []
    inside = False
    for argument in arguments:
        inside = inside or argument == "--ros-args"
        (ros if inside else own).append(argument)
        inside = inside and argument != "--"
    return own, ros


def run(program: str, work: Callable[[], int]) -> int:
    """Exit code of `work`; a user's mistake or a missing package becomes one line and code 1."""
    try:
        return work()
    except ModuleNotFoundError as error:
        problem = missing(error)
    except (UserError, BagError) as error:
        problem = " ".join(str(error).split())
    except OSError as error:
        problem = f"{error.filename or 'the system'}: {error.strerror or error}"
    print(f"{program}: {problem}", file=sys.stderr, flush=True)
    return 1


def missing(error: ModuleNotFoundError) -> str:
    """Which package is not there, and how it gets there."""
    package = (error.name or "").partition(".")[0]
    advice = _INSTALL.get(package, "source the ROS 2 setup file")
    return f"the Python package {package} is missing here: {advice}"


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set: a wish to end, at a moment that suits the program."""
    stop = threading.Event()
    previous = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def check_writable(file: Path | None) -> None:
    """Raise OSError now rather than after the work, if a report cannot be written."""
    if file is not None:
        file.open("a").close()


def write_report(file: Path | None, report: dict[str, Any]) -> None:
    """Write a JSON report in one step: readers see all of it or nothing."""
    if file is not None:
        unfinished = file.with_name(f".{file.name}.{os.getpid()}")
        unfinished.write_text(json.dumps(report, indent=1), encoding="utf-8")
        unfinished.replace(file)


def positive(text: str) -> float:
    """A number above zero, for argparse."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no positive number")
    return value


def seconds(text: str) -> float:
    """A time of zero or more seconds, for argparse."""
    return 0.0 if float(text) == 0 else positive(text)


def count(text: str) -> int:
    """A number of things, one at least, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value
