"""Convert a drive in files to a rosbag2 bag that Humble and Jazzy play.

    drive_to_bag cityscapes/ drive --split val --city lindau    # with its camera/*.json
    drive_to_bag photos/ drive --rate 15 --camera-info front.yaml
    drive_to_bag dashcam.mp4 drive --fov 78 --compressed none

The source is a folder in Cityscapes' layout (leftImg8bit or leftImg8bit_sequence), a folder of
images in natural order (frame_9 before frame_10), or a video, whose stamps are kept. Images become
upright with square pixels, as the files ask viewers to show them; a calibration is for these. A
JPEG bag stores upright JPEG files unchanged. Without camera_info a network's depth has no known
scale: give the calibration file of ROS's camera_calibration, or the field of view.

Exit codes: 0 written, 1 user error (one line on stderr; no bag is left), 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from emu_perception.errors import UserError
from emu_perception.ros import command_line as cli

START_S = 1_700_000_000
_PROGRESS_PERIOD_S = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    own, _ = cli.split_ros_arguments(sys.argv[1:] if arguments is None else arguments)
    return cli.run("drive_to_bag", lambda: _convert(_parser().parse_args(own)))


def _convert(given: argparse.Namespace) -> int:
    from emu_core.bags.drive_writer import DriveWriter
    from emu_core.bags.sources import SourceOptions, open_source
    from emu_core.data.sample import DataError

    options = SourceOptions(given.rate, given.split, given.city, given.camera_info, given.fov)
    form = {"codec": given.compressed, "quality": given.quality, "camera": given.camera}
    start_ns = round(given.start * 10**9)
    try:
        source, reported_s = open_source(given.source, options), time.monotonic()
        total = f" of {source.count}" if source.count else ""
        if source.ignored:
            names = ", ".join(source.ignored[:3])
            _log(f"{len(source.ignored)} files of {given.source} are no images: {names}")
        with cli.stop_signals() as stop, DriveWriter(given.output, **form) as drive:
            for done, frame in enumerate(source.frames, 1):
                drive.write(start_ns + frame.time_ns, frame.bgr, frame.calibration, frame.jpeg)
                if time.monotonic() - reported_s > _PROGRESS_PERIOD_S:
                    reported_s = time.monotonic()
                    _log(f"{done}{total} frames")
                if stop.is_set():
                    raise UserError(f"interrupted: {given.output} was not written")
    except DataError as error:
        raise UserError(str(error)) from error
    counts = drive.bag.counts
    images, infos = counts[drive.image_topic], counts.get(drive.info_topic, 0)
    _log(f"{given.output} holds {images} frames of {drive.image_topic} ({source.kind})")
    if infos < images:
        _log(
            f"{infos} of them have a camera_info, which depth needs for its scale: "
            "give --camera-info or --fov"
        )
    return 0


def _log(text: str) -> None:
    print(f"drive_to_bag: {text}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = cli.argument_parser("drive_to_bag", __doc__)
    add = parser.add_argument
    add("source", type=Path, help="folder in Cityscapes' layout, folder of images, or video")
    add("output", type=Path, metavar="BAG", help="new folder for the bag")
    add("--split", help="split of Cityscapes, if there are several: train, val, …")
    add("--city", help="city of Cityscapes, if there are several; a bag holds one")
    rate = "images per second (10; Cityscapes' sequences have 17); a video has its own"
    add("--rate", type=cli.positive, default=10.0, metavar="HZ", help=rate)
    lens = parser.add_mutually_exclusive_group()
    calibration = "calibration file in ROS's format"
    lens.add_argument("--camera-info", type=Path, metavar="FILE.yaml", help=calibration)
    lens.add_argument(
        "--fov", type=_angle, metavar="DEG", help="horizontal field of view, degrees"
    )
    codecs = ("jpeg", "png", "none")
    compression = "CompressedImage (jpeg, the default, or png) or Image (none)"
    add("--compressed", choices=codecs, default="jpeg", help=compression)
    add("--quality", type=_quality, default=90, help="quality of newly encoded JPEGs (90)")
    add("--camera", type=_name, default="camera", metavar="NAME", help="/NAME/image_raw (camera)")
    start = f"stamp of the first frame, seconds since 1970 ({START_S})"
    add("--start", type=cli.positive, default=START_S, metavar="S", help=start)
    return parser


def _angle(text: str) -> float:
    value = cli.positive(text)
    if value >= 180:
        raise argparse.ArgumentTypeError(f"{text} is not an angle below 180 degrees")
    return value


def _quality(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 100")
    return value


def _name(text: str) -> str:
    name = text.strip("/")
    if not all(part.isidentifier() and part.isascii() for part in name.split("/")):
        examples = "camera or front/camera"
        raise argparse.ArgumentTypeError(f"{text} is not a ROS name such as {examples}")
    return name
