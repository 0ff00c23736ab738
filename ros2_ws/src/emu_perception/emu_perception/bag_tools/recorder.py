"""Record ROS 2 topics into a rosbag2 bag (mcap or sqlite3) that Humble and Jazzy read.

    recorder --output drive --topics /camera/image_raw /camera/camera_info
    recorder --output drive --all --until-idle 5
    recorder --output drive --topics /depth:=sensor_msgs/msg/Image --report receipt.json

Prints "recording N topics" on stdout when all named topics are subscribed. Each needs a publisher
by then, unless its type is given after `:=`. Ends on SIGINT or SIGTERM, or as --max-frames and
--until-idle say, and leaves a complete bag. The time in the bag is the time of receipt.

Exit codes: 0 recorded, 1 user error or full disk (one line on stderr), 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from emu_perception.errors import UserError
from emu_perception.ros import command_line as cli


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    own, ros = cli.split_ros_arguments(sys.argv[1:] if arguments is None else arguments)
    return cli.run("recorder", lambda: _record(_parser().parse_args(own), ros))


def _record(given: argparse.Namespace, ros_arguments: Sequence[str]) -> int:
    from emu_core.bags.writer import BagWriter
    from emu_perception.bag_tools.recording import BagRecording, RecordingOptions, log
    from emu_perception.ros.ros_process import ros_process

    options = RecordingOptions(
        topics=dict(given.topics or ()),
        pattern=re.compile("") if given.all else given.regex,
        max_frames=given.max_frames,
        until_idle=given.until_idle,
        wait=given.wait,
        keep_receipts=given.report is not None,
    )
    with BagWriter(given.output, given.storage) as writer:
        try:
            cli.check_writable(given.report)
            with ros_process("recorder", ros_arguments) as ros:
                recording = BagRecording(ros, writer, options)
                try:
                    recording.run()
                finally:
                    report = recording.report()
                    cli.write_report(given.report, report)
        except (UserError, OSError):
            if not writer.counts:
                writer.discard()  # a second try would be refused because the output exists
            raise
    counts = ", ".join(f"{name} {topic['count']}" for name, topic in report["topics"].items())
    log(f"{given.output} holds {counts or 'nothing'}{_losses(report['totals'])}")
    return 0


def _losses(totals: Mapping[str, int]) -> str:
    reasons = {"lost": "the disk is too slow", "lost_in_transport": "before they arrived here"}
    return "".join(
        f"; {totals[name]} messages lost: {reason}"
        for name, reason in reasons.items()
        if totals[name]
    )


def _parser() -> argparse.ArgumentParser:
    parser = cli.argument_parser("recorder", __doc__)
    add = parser.add_argument
    add("--output", type=Path, required=True, metavar="BAG", help="new folder for the bag")
    add("--storage", choices=("mcap", "sqlite3"), default="mcap", help="file format (mcap)")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--topics", nargs="+", type=_topic, metavar="TOPIC[:=TYPE]", help="topics to record"
    )
    what.add_argument("--all", action="store_true", help="all topics, including later ones")
    what.add_argument("--regex", type=_pattern, help="all topics whose names contain a match")
    message_limit = "end when every topic that is not latched has received N messages"
    add("--max-frames", type=cli.count, metavar="N", help=message_limit)
    idle_limit = "end after S seconds without a message, counted from the first message on"
    add("--until-idle", type=cli.seconds, metavar="S", help=idle_limit)
    add("--wait", type=cli.seconds, metavar="S", help="seconds to wait for publishers (no limit)")
    report = "write stamp and time of receipt of every message"
    add("--report", type=Path, metavar="FILE.json", help=report)
    return parser


def _topic(text: str) -> tuple[str, str | None]:
    name, _, msgtype = text.partition(":=")
    if msgtype and "/msg/" not in msgtype:
        raise argparse.ArgumentTypeError(f"{msgtype} is not a type such as sensor_msgs/msg/Image")
    return cli.absolute(name), msgtype or None


def _pattern(text: str) -> re.Pattern:
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from error
