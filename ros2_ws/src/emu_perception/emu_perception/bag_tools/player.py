"""Play a rosbag2 bag over ROS 2 with its stamps: at a rate, in a loop or in lock-step.

    player drive/                                          # as recorded
    player drive/ --rate 0.5 --loop --clock
    player drive/ --lock-step /emu_perception/semantic/image /emu_perception/depth/image
    player drive/ --remap /camera/image_raw:=/front/image --frames 100 --report play.json

In lock-step the player publishes all messages up to and including an image. It continues when
every named topic has delivered a message with that image's stamp, or after --timeout: then the
frame counts as unanswered. It publishes everything reliably, otherwise with the recorded QoS.

Before it plays, it names what it leaves out: topics that are not CDR, of types that are not
installed here, or with names that ROS 2 forbids, and files that are no part of the bag. A bag that
holds fewer messages than it states is an error, unless --salvage is given.

Exit codes: 0 played (or interrupted), 1 user error (one line on stderr), 2 wrong arguments, 3
played in lock-step with unanswered frames.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emu_perception.ros import command_line as cli


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    own, ros = cli.split_ros_arguments(sys.argv[1:] if arguments is None else arguments)
    return cli.run("player", lambda: _play(_parser().parse_args(own), ros))


def _play(given: argparse.Namespace, ros_arguments: Sequence[str]) -> int:
    from emu_core.bags.reader import open_bag
    from emu_perception.bag_tools.playback import Playback, PlaybackOptions, log
    from emu_perception.ros.ros_process import ros_process

    settings = vars(given)
    path, report, salvage = (settings.pop(name) for name in ("bag", "report", "salvage"))
    settings["remap"] = dict(settings["remap"])
    options = PlaybackOptions(**settings, keep_frames=report is not None)
    with open_bag(path, salvage=salvage) as bag, ros_process("player", ros_arguments) as ros:
        playback = Playback(ros, bag, options)
        cli.check_writable(report)
        try:
            playback.run()
        finally:
            cli.write_report(report, playback.report())
    unanswered = f", {playback.unanswered} unanswered" if options.lock_step else ""
    log(f"{playback.shown} frames of {playback.image}{unanswered}")
    return 3 if playback.unanswered else 0


def _parser() -> argparse.ArgumentParser:
    parser = cli.argument_parser("player", __doc__)
    add = parser.add_argument
    topics: dict[str, Any] = {"nargs": "+", "default": (), "metavar": "TOPIC"}
    a_time: dict[str, Any] = {"type": cli.seconds, "metavar": "S"}
    add("bag", type=Path, help="folder of a rosbag2 recording, or its .mcap or .db3 file")
    add("--rate", type=cli.positive, help="bag seconds per second (1; in lock-step: no limit)")
    add("--loop", action="store_true", help="start again at the end")
    add(
        "--lock-step",
        **topics,
        type=cli.absolute,
        help="wait for an answer on these topics after every image",
    )
    add("--timeout", **a_time, default=10.0, help="seconds to wait for an answer (10)")
    add("--wait", **a_time, default=60.0, help="seconds to wait for the node at the start (60)")
    add("--topics", **topics, help="play only these topics")
    add("--image", metavar="TOPIC", help="camera topic (the first colour images)")
    add(
        "--remap",
        nargs="+",
        type=_remapping,
        default=[],
        action="extend",
        metavar="FROM:=TO",
        help="publish a topic of the bag under another name",
    )
    add("--clock", action="store_true", help="publish the bag's time on /clock")
    add("--start", **a_time, default=0.0, help="skip the first S seconds")
    add("--frames", type=cli.count, metavar="N", help="stop after N images")
    add(
        "--wait-for-subscribers",
        type=cli.count,
        metavar="N",
        help="wait for N subscribers of the image (1 in lock-step, otherwise 0)",
    )
    add("--salvage", action="store_true", help="play the complete part of a truncated bag")
    add("--report", type=Path, metavar="FILE.json", help="write stamps, times and totals")
    return parser


def _remapping(text: str) -> tuple[str, str]:
    old, sign, new = text.partition(":=")
    if not (old and sign and new):
        raise argparse.ArgumentTypeError(f"{text} is not of the form FROM:=TO")
    return old, cli.absolute(new)
