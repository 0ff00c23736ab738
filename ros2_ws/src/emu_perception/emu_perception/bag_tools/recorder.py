"""Record ROS 2 topics into a rosbag2 bag that Humble and Jazzy read (mcap or sqlite3).

    recorder --output drive --topics /camera/image_raw /camera/camera_info
    recorder --output drive --all --until-idle 5
    recorder --output drive --topics /depth:=sensor_msgs/msg/Image --report receipt.json

Prints "recording N topics" on stdout once every named topic is subscribed: their publishers must
be there by then, unless the type is given behind `:=`. Ends on SIGINT or SIGTERM, after
--max-frames or --until-idle, and leaves a whole bag then. Bag time is the time of receipt.

Exit codes: 0 recorded, 1 a mistake or a disk that is full, told in one line, 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from emu_perception.errors import UserError
from emu_perception.ros.command_line import (
    check_writable,
    count,
    run,
    seconds,
    split_ros_arguments,
    write_report,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    own, ros = split_ros_arguments(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(own)
    return run("recorder", lambda: _record(options, ros))


def _record(given: argparse.Namespace, ros_arguments: Sequence[str]) -> int:
    from emu_core.bags.writer import BagWriter
    from emu_perception.bag_tools.recording import Options, Recording
    from emu_perception.ros.ros_process import ros_process

    options = Options(
        topics=dict(given.topics or ()),
        pattern=re.compile("") if given.all else given.regex,
        max_frames=given.max_frames,
        until_idle=given.until_idle,
        wait=given.wait,
        keep_receipts=given.report is not None,
    )
    with BagWriter(given.output, given.storage) as writer:
        try:
            check_writable(given.report)
            with ros_process("recorder", ros_arguments) as ros:
                recording = Recording(ros, writer, options)
                try:
                    recording.run()
                finally:
                    report = recording.report()
                    write_report(given.report, report)
        except (UserError, OSError):
            if not writer.counts:
                writer.discard()  # else the next try would be refused: its output exists
            raise
    counts = ", ".join(f"{name} {topic['count']}" for name, topic in report["topics"].items())
    lost = f"; {recording.lost} messages were lost, the disk is too slow" if recording.lost else ""
    print(f"recorder: {given.output} holds {counts or 'nothing'}{lost}", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recorder",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--output", type=Path, required=True, metavar="BAG", help="folder to make; must not exist")
    add("--storage", choices=("mcap", "sqlite3"), default="mcap")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--topics", nargs="+", type=_topic, metavar="TOPIC[:=TYPE]")
    what.add_argument("--all", action="store_true", help="all topics, also those that come later")
    what.add_argument("--regex", type=_pattern, help="all topics whose names contain a match")
    add(
        "--max-frames",
        type=count,
        metavar="N",
        help="end once every topic that is not latched has brought N messages",
    )
    add(
        "--until-idle",
        type=seconds,
        metavar="S",
        help="end when nothing came for so long; counts from the first message on",
    )
    add("--wait", type=seconds, metavar="S", help="give up if a topic has no publisher by then")
    add("--report", type=Path, metavar="FILE.json", help="stamp and receipt of every message")
    return parser


def _topic(text: str) -> tuple[str, str | None]:
    name, _, msgtype = text.partition(":=")
    if msgtype and "/msg/" not in msgtype:
        raise argparse.ArgumentTypeError(f"{msgtype} is no type such as sensor_msgs/msg/Image")
    return name if name.startswith("/") else f"/{name}", msgtype or None


def _pattern(text: str) -> re.Pattern:
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from error
