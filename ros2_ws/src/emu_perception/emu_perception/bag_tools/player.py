"""Play a rosbag2 bag over ROS 2, with its stamps: at a rate, in a loop or in lock-step.

    player drive/                                          # as recorded
    player drive/ --rate 0.5 --loop --clock
    player drive/ --lock-step /emu_perception/semantic/image /emu_perception/depth/image
    player drive/ --remap /camera/image_raw:=/front/image --frames 100 --report play.json

In lock-step the player publishes everything up to and including an image, and goes on when every
named topic has delivered a message with that image's stamp, or when --timeout is over: then the
frame counts as unanswered. Everything is published reliably then; otherwise with the QoS recorded.

Exit codes: 0 played (or interrupted), 1 a mistake, told in one line, 2 wrong arguments, 3 played
in lock-step with frames unanswered.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from emu_perception.ros.command_line import (
    check_writable,
    count,
    positive,
    run,
    seconds,
    split_ros_arguments,
    write_report,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    own, ros = split_ros_arguments(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(own)
    return run("player", lambda: _play(options, ros))


def _play(given: argparse.Namespace, ros_arguments: Sequence[str]) -> int:
    from emu_core.bags.reader import open_bag
    from emu_perception.bag_tools.playback import Options, Playback
    from emu_perception.ros.ros_process import ros_process

    settings = vars(given)
    report, salvage = settings.pop("report"), settings.pop("salvage")
    settings["remap"] = dict(settings["remap"])
    options = Options(**settings, keep_frames=report is not None)
    with (
        open_bag(options.bag, salvage=salvage) as bag,
        ros_process("player", ros_arguments) as ros,
    ):
        playback = Playback(ros, bag, options)
        check_writable(report)
        try:
            playback.run()
        finally:
            write_report(report, playback.report())
        totals = playback.report()["totals"]
    unanswered = f", {totals['unanswered']} unanswered" if options.lock_step else ""
    print(f"player: {totals['frames']} frames of {playback.image}{unanswered}", file=sys.stderr)
    return 3 if totals["unanswered"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="player",
        description=(__doc__ or "").replace("%", "%%"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("bag", type=Path, help="folder of a rosbag2 recording, or its .mcap or .db3 file")
    add("--rate", type=positive, help="bag seconds per second (1; in lock-step: no limit)")
    add("--loop", action="store_true", help="begin again at the end")
    add(
        "--lock-step",
        nargs="+",
        type=_topic,
        default=(),
        metavar="TOPIC",
        help="wait for these answers to every image",
    )
    add(
        "--timeout",
        type=seconds,
        default=10.0,
        metavar="S",
        help="seconds after which a frame counts as unanswered (10)",
    )
    add(
        "--wait",
        type=seconds,
        default=60.0,
        metavar="S",
        help="seconds to wait for the node before the first frame (60)",
    )
    add(
        "--topics",
        nargs="+",
        type=_topic,
        default=(),
        metavar="TOPIC",
        help="play these topics only",
    )
    add(
        "--image",
        type=_topic,
        metavar="TOPIC",
        help="the camera, if there are several image topics; by default the first colour one",
    )
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
    add("--start", type=seconds, default=0.0, metavar="S", help="skip the first seconds")
    add("--frames", type=count, metavar="N", help="stop after N images")
    add(
        "--wait-for-subscribers",
        type=count,
        metavar="N",
        help="subscribers of the image before the first frame (in lock-step 1, else 0)",
    )
    add("--salvage", action="store_true", help="play what there is of a bag that breaks off")
    add(
        "--report", type=Path, metavar="FILE.json", help="stamps, publish and answer times, totals"
    )
    return parser


def _topic(text: str) -> str:
    return text if text.startswith("/") else f"/{text}"


def _remapping(text: str) -> tuple[str, str]:
    old, sign, new = text.partition(":=")
    if not (old and sign and new):
        raise argparse.ArgumentTypeError(f"{text} is not of the form FROM:=TO")
    return _topic(old), _topic(new)
