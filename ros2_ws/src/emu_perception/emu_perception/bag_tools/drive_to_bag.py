"""Turn a drive that lies in files into a rosbag2 bag that Humble and Jazzy play.

    drive_to_bag cityscapes/ drive --split val --city lindau    # with its camera/*.json
    drive_to_bag photos/ drive --rate 15 --camera-info front.yaml
    drive_to_bag dashcam.mp4 drive --fov 78 --compressed none

The first argument is a folder in Cityscapes' layout (leftImg8bit or leftImg8bit_sequence), a
folder of images, taken in natural order (frame_9 before frame_10), or a video, whose stamps are
kept. JPEG files go into a JPEG bag as they are. Without camera_info a network's depth has no
scale: give the calibration file of ROS's camera_calibration, or the field of view.

Exit codes: 0 written, 1 a mistake, told in one line (and no bag is left), 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from emu_perception.errors import UserError
from emu_perception.ros.command_line import positive, run, split_ros_arguments, stop_signals

START_S = 1_700_000_000
_PROGRESS_PERIOD_S = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    own, _ = split_ros_arguments(sys.argv[1:] if arguments is None else arguments)
    given = _parser().parse_args(own)
    return run("drive_to_bag", lambda: _convert(given))


def _convert(given: argparse.Namespace) -> int:
    from emu_core.bags.drive_writer import DriveWriter
    from emu_core.bags.sources import Options, open_source
    from emu_core.data.sample import DataError

    options = Options(given.rate, given.split, given.city, given.camera_info, given.fov)
    start_ns = round(given.start * 10**9)
    progress = _Progress()
    try:
        source = open_source(given.source, options)
        with (
            stop_signals() as stop,
            DriveWriter(
                given.output, codec=given.compressed, quality=given.quality, camera=given.camera
            ) as drive,
        ):
            for frame in source.frames():
                drive.write(start_ns + frame.time_ns, frame.bgr, frame.calibration, frame.jpeg)
                progress.tell(source.count)
                if stop.is_set():
                    raise UserError(f"interrupted: {given.output} was not written")
    except DataError as error:
        raise UserError(str(error)) from error
    counts = drive.bag.counts
    print(
        f"drive_to_bag: {given.output} holds {counts[drive.image_topic]} frames of "
        f"{drive.image_topic} ({source.kind})",
        file=sys.stderr,
    )
    if counts.get(drive.info_topic, 0) < counts[drive.image_topic]:
        print(
            f"drive_to_bag: {counts.get(drive.info_topic, 0)} of them have a camera_info, and "
            "depth needs it for its scale: give --camera-info or --fov",
            file=sys.stderr,
        )
    return 0


class _Progress:
    """Tells on stderr how far the conversion is, every other second."""

    def __init__(self) -> None:
        self._count, self._told_s = 0, time.monotonic()

    def tell(self, whole: int | None) -> None:
        """One more frame is done."""
        self._count += 1
        if time.monotonic() - self._told_s < _PROGRESS_PERIOD_S:
            return
        self._told_s = time.monotonic()
        of_all = f" of {whole}" if whole else ""
        print(f"drive_to_bag: {self._count}{of_all} frames", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="drive_to_bag",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", type=Path, help="Cityscapes' folder, a folder of images, or a video file")
    add("output", type=Path, metavar="BAG", help="folder to make; must not exist")
    add("--split", help="of Cityscapes' folders, if there are several: train, val, …")
    add("--city", help="likewise; one city is one bag")
    add(
        "--rate",
        type=positive,
        default=10.0,
        metavar="HZ",
        help="images per second (10; Cityscapes' sequences have 17); a video has its own",
    )
    lens = parser.add_mutually_exclusive_group()
    lens.add_argument(
        "--camera-info", type=Path, metavar="FILE.yaml", help="calibration, in ROS's format"
    )
    lens.add_argument(
        "--fov", type=_angle, metavar="DEG", help="degrees from the left edge to the right one"
    )
    add(
        "--compressed",
        choices=("jpeg", "png", "none"),
        default="jpeg",
        help="CompressedImage (jpeg), or none: Image",
    )
    add("--quality", type=_quality, default=90, help="of JPEGs that are made here (90)")
    add("--camera", type=_name, default="camera", metavar="NAME", help="/NAME/image_raw (camera)")
    add(
        "--start",
        type=positive,
        default=START_S,
        metavar="S",
        help=f"stamp of the first frame, seconds since 1970 ({START_S})",
    )
    return parser


def _angle(text: str) -> float:
    value = positive(text)
    if value >= 180:
        raise argparse.ArgumentTypeError(f"{text} is no angle below 180 degrees")
    return value


def _quality(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 100")
    return value


def _name(text: str) -> str:
    name = text.strip("/")
    if not all(part.isidentifier() and part.isascii() for part in name.split("/")):
        raise argparse.ArgumentTypeError(f"{text} is no ROS name such as camera or front/camera")
    return name
