"""Convert a rendered drive to the rosbag2 bag that `make demo` replays.

    python training/make_demo_bag.py --root data/drives --split demo --output demo/drive

Topics: /camera/image_raw/compressed (JPEG), /camera/camera_info, and the ground truth:
/ground_truth/labels (PNG of train ids, 255: unlabelled) and /ground_truth/disparity (16-bit PNG,
Cityscapes' code for the camera's fx and `BASELINE`, half the image's size). All messages of a
frame have one stamp.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2

from emu_core.bags import ground_truth
from emu_core.bags.calibration import from_cityscapes
from emu_core.bags.drive_writer import DriveWriter
from emu_core.bags.errors import BagError
from emu_core.data.cityscapes import list_frames, read_camera, read_png
from emu_core.data.sample import DataError
from emu_core.options import Range
from emu_core.terminal import accept_any_text

RANGES = {"rate": Range(0, open_low=True), "quality": Range(1, 100)}

START_S = 1_700_000_000


def write_bag(root: Path, split: str, output: Path, rate: float, quality: int) -> int:
    """Write all frames of a split, in order, as one drive; returns their number."""
    frames = list_frames(root, split)
    with DriveWriter(output, quality=quality) as drive:
        for topic in (ground_truth.LABELS, ground_truth.DISPARITY):
            drive.bag.add_topic(topic, "sensor_msgs/msg/CompressedImage")
        for i, files in enumerate(frames):
            time_ns = START_S * 10**9 + round(i * 1e9 / rate)
            image = read_png(files.path("leftImg8bit"), cv2.IMREAD_COLOR)
            ids = read_png(files.path("gtFine"), cv2.IMREAD_GRAYSCALE)
            labels = ground_truth.CLASSES.to_train_ids(ids)
            raw = read_png(files.path("disparity"), cv2.IMREAD_UNCHANGED)
            height, width = image.shape[:2]
            half = cv2.resize(raw, (width // 2, height // 2), interpolation=cv2.INTER_NEAREST)
            for topic, code, array in (
                (ground_truth.LABELS, "mono8; png", labels),
                (ground_truth.DISPARITY, "mono16; png", half),
            ):
                message = drive.compressed(time_ns, code, cv2.imencode(".png", array)[1])
                drive.bag.write_message(topic, time_ns, message)
            camera = files.path("camera")
            calibration = from_cityscapes(read_camera(camera), (height, width), camera)
            drive.write(time_ns, image, calibration)
    return len(frames)


def main() -> int:
    """Run the command line; returns the exit code."""
    accept_any_text()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--root", type=Path, default=Path("data/drives"), help="data set (%(default)s)")
    add("--split", default="demo", help="its split (%(default)s)")
    add("--output", type=Path, default=Path("demo/drive"), help="new bag (%(default)s)")
    add("--rate", type=float, default=10.0, help="frames per second (%(default)s)")
    add("--quality", type=int, default=88, help="JPEG quality (%(default)s)")
    args = parser.parse_args()
    for name, allowed in RANGES.items():
        if not allowed.accepts(value := getattr(args, name)):
            parser.error(f"--{name} must be {allowed}, but it is {value}.")
    try:
        count = write_bag(args.root, args.split, args.output, args.rate, args.quality)
    except (BagError, DataError) as error:
        print(f"make_demo_bag: {error}", file=sys.stderr)
        return 1
    size = sum(f.stat().st_size for f in args.output.iterdir()) / 1e6
    print(f"{args.output}: {count} frames, {size:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
