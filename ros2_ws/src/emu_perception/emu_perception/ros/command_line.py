"""Command lines: ROS arguments, user mistakes, signals and reports.

It imports neither ROS nor rosbags, so that `--help` works and a missing package can be reported.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emu_core.bags.errors import BagError
from emu_core.files import write_text
from emu_core.registry import RegistryError
from emu_core.terminal import accept_any_text, orderly_end, system_problem
from emu_perception.errors import UserError


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
    """Return the exit code of `work`; print a user mistake as one line and return 1.

    Ctrl-C gives 130.
    """
    accept_any_text()
    try:
        with orderly_end():
            return work()
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr, flush=True)
        return 128 + signal.SIGINT
    except ModuleNotFoundError as error:
        problem = missing_package(error)
    except (UserError, BagError, RegistryError) as error:
        problem = " ".join(str(error).split())
    except OSError as error:
        problem = system_problem(error)
    print(f"{program}: {problem}", file=sys.stderr, flush=True)
    return 1


def missing_package(error: ModuleNotFoundError) -> str:
    """Return which package is missing, and how to install it."""
    package = (error.name or "").partition(".")[0]
    on_pypi = package in ("rosbags", "av", "onnxruntime")  # all others come with ROS
    advice = f"pip install {package}" if on_pypi else "source the ROS 2 setup file"
    return f"the Python package {package} is not installed: {advice}"


def argument_parser(
    program: str, description: str | None, epilog: str | None = None
) -> argparse.ArgumentParser:
    """Return a parser; its help shows the description (a module's docstring) unchanged."""
    layout = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(program, None, description, epilog, formatter_class=layout)


def absolute(topic: str) -> str:
    """Full name of a topic; users and some writers of bags leave out the first slash."""
    return topic if topic.startswith("/") else f"/{topic}"


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGINT and SIGTERM set, so that the command ends in its own time.

    After such a signal the process ignores further ones: a terminal and `ros2 launch` both send
    SIGINT, and Python resets handlers that are functions long before the process has ended.
    """
    stop = threading.Event()
    previous = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_IGN if stop.is_set() else handler)


def check_writable(file: Path | None) -> None:
    """Raise OSError before the work, rather than after it, if a report cannot be written."""
    if file is not None:
        file.open("a").close()


def write_report(file: Path | None, report: dict[str, Any]) -> None:
    """Write a JSON report atomically, if a file is given."""
    if file is not None:
        write_text(file, json.dumps(report, indent=1))


def positive(text: str) -> float:
    """Convert a command line argument to a number above zero."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a positive number, but got {text}")
    return value


def seconds(text: str) -> float:
    """Convert a command line argument to a duration of zero or more seconds."""
    return 0.0 if float(text) == 0 else positive(text)


def count(text: str) -> int:
    """Convert a command line argument to an integer of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, but got {text}")
    return value
