r"""Make a data set of folders from ROS 2 bags: images, their cameras, depth if there is any.

    python training/bag_to_dataset.py drive --output data/own                # 2 images per second
    python training/bag_to_dataset.py drive --output data/own --rate 5 \
        --depth /camera/aligned_depth_to_color/image_raw                     # RGB-D camera
    python training/bag_to_dataset.py drive1 drive2 --output data/own \
        --image /front/image_raw/compressed /rear/image_raw/compressed \
        --depth /lidar/points --max-depth 80                                 # lidar, /tf_static
    python training/bag_to_dataset.py uncertain --moments --output data/own \
        --prefill shipped          # what record_uncertain kept, with predictions to correct

ROS is not needed. The result: images/SPLIT/CAMERA/BAG/SECONDS_NANOSECONDS.jpg, depth/… as PNG
(16 bits, metres x 256, 0: none), cameras.json, labels/… with --prefill, and dataset.yaml, whose
splits are train, and val with the last part of each bag. Distorted images are rectified, others
copied. A cloud is projected into the image, without the points that the camera cannot see.

The same command continues an interrupted run. With --resume, further bags are added.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jsonargparse
from rich.console import Console
from rich.progress import Progress

from emu_core.recordings.convert import convert
from emu_core.recordings.options import ConversionOptions
from emu_core.training.command import HelpFormatter, run_command


def parse_options(arguments: list[str]) -> ConversionOptions:
    """Read the options of the command line."""
    parser = jsonargparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    add = parser.add_argument
    add("bags", nargs="+", type=Path, metavar="BAG", help="bag: a folder, or its data file")
    add("--output", type=Path, required=True, help="folder of the data set")
    add("--image", nargs="+", default=[], metavar="TOPIC", help="cameras (if there are several)")
    add(
        "--camera-info",
        nargs="+",
        default=[],
        metavar="TOPIC",
        help="topic or calibration file (YAML) for each camera, or none (default: by convention)",
    )
    add(
        "--depth",
        nargs="+",
        default=[],
        metavar="TOPIC",
        help="aligned depth image for each camera, or point cloud for all of them",
    )
    add("--rate", type=float, default=2.0, help="images per second")
    add("--all", action="store_true", help="take every image")
    add("--moments", action="store_true", help="take every image of bags of record_uncertain")
    add("--val", type=float, default=0.2, help="last part of each bag for validation, 0 to 1")
    add("--gap", type=float, default=1.0, help="seconds between training and validation")
    add("--max-depth", type=float, default=None, help="drop larger depths, metres")
    add(
        "--max-time-difference",
        type=float,
        default=0.05,
        help="largest time between an image and its depth, seconds",
    )
    add(
        "--rectified",
        type=bool,
        default=None,
        help="whether images are rectified already (default: if their topic is like image_rect)",
    )
    add("--image-format", default="jpg", help="jpg or png, for images that cannot be copied")
    add("--name", default=None, help="name of the data set (default: the folder's)")
    add("--license", default=None, help="licence of the frames, for dataset.yaml")
    add("--attribution", default=None, help="whom to name, for dataset.yaml")
    add(
        "--prefill",
        default=None,
        metavar="MODEL",
        help="write the predictions of a model file (or: shipped) as labels, to correct them",
    )
    add(
        "--unlabelled-above",
        type=float,
        default=0.5,
        help="with --prefill, pixels with a larger uncertainty are unlabelled, 0 to 1",
    )
    add("--salvage", action="store_true", help="read the complete part of truncated bags")
    add("--resume", action="store_true", help="add frames to a complete data set")
    return ConversionOptions(**vars(parser.parse_args(arguments)))


def run(arguments: list[str]) -> None:
    options, console = parse_options(arguments), Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("frames", total=None)
        lines = convert(options, lambda n, total: bar.update(task, completed=n, total=total))
    print("\n".join(lines))


def main() -> int:
    return run_command("bag_to_dataset", lambda: run(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
