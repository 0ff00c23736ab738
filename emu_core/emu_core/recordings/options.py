"""Options of the conversion of bags to a data set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from emu_core.bags.errors import BagError
from emu_core.files import expand, read_json

SHIPPED = "shipped"
NO_CAMERA = "none"
_WHY = "why.json"
_MAY_CHANGE = ("bags", "output", "resume", "salvage", "name", "license", "attribution")
_PNG16_METRES = 65535 / 256
"""Largest depth in the files of the data set, metres."""


@dataclass(frozen=True)
class ConversionOptions:
    """What to take from the bags, and how to write it.

    Args:
        bags: Bags; with `moments`, folders of record_uncertain as well.
        output: Folder of the data set.
        image: Topics of the cameras; empty: the only camera of the bag.
        camera_info: A topic or calibration file for each camera, or "none"; empty: by convention.
        depth: Topics of depth images (one for each camera) or of point clouds (one for all
            cameras, or one for each); empty: no depth.
        rate: Frames per second.
        all: Take every frame.
        moments: Take every frame of the bags of record_uncertain.
        val: Part of each bag, from its end, that is for validation, 0 to 1.
        gap: Time between the frames for training and those for validation, seconds.
        max_depth: Larger depths are dropped, metres.
        max_time_difference: Largest time between an image and its depth, seconds.
        rectified: Whether images are rectified already; None: those with a topic like image_rect.
        image_format: Format of the images that are not copied as they are: jpg or png.
        name, license, attribution: Entries of dataset.yaml.
        prefill: Model file whose predictions are written as labels, or "shipped"; None: no labels.
        unlabelled_above: Predictions with a larger uncertainty are unlabelled, 0 to 1.
        salvage: Read truncated bags up to their last complete message.
        resume: Add frames to a complete data set.
    """

    bags: Sequence[Path]
    output: Path
    image: Sequence[str] = ()
    camera_info: Sequence[str] = ()
    depth: Sequence[str] = ()
    rate: float = 2.0
    all: bool = False
    moments: bool = False
    val: float = 0.2
    gap: float = 1.0
    max_depth: float | None = None
    max_time_difference: float = 0.05
    rectified: bool | None = None
    image_format: str = "jpg"
    name: str | None = None
    license: str | None = None
    attribution: str | None = None
    prefill: str | None = None
    unlabelled_above: float = 0.5
    salvage: bool = False
    resume: bool = False

    def __post_init__(self) -> None:
        ranges = {
            "rate": (0 < self.rate <= 1000, "above 0 and at most 1000"),
            "val": (0 <= self.val <= 1, "from 0 to 1"),
            "gap": (0 <= self.gap < 1e6, "at least 0"),
            "max_depth": (
                self.max_depth is None or 0 < self.max_depth <= _PNG16_METRES,
                "above 0 and at most 255.99, the largest depth that the files can hold",
            ),
            "max_time_difference": (0 <= self.max_time_difference < 1e6, "at least 0"),
            "image_format": (self.image_format in ("jpg", "png"), "jpg or png"),
            "unlabelled_above": (0 <= self.unlabelled_above <= 1, "from 0 to 1"),
        }
        for name, (valid, text) in ranges.items():
            if not valid:
                option = name.replace("_", "-")
                raise ValueError(f"--{option} must be {text}, but is {getattr(self, name)}")

    @property
    def depth_limit(self) -> float:
        """Largest depth that is written, metres."""
        return self.max_depth or _PNG16_METRES

    def stored(self) -> dict:
        """The options that all frames of a data set share, for its JSON file."""
        kept = {k: v for k, v in asdict(self).items() if k not in _MAY_CHANGE}
        return json.loads(json.dumps(kept))


def find_bags(options: ConversionOptions) -> tuple[dict[str, Path], list[str]]:
    """Bags by their names in the data set, and notes about those that are left out.

    Raises:
        BagError: Two bags have one name, or there are no moments.
    """
    paths, notes = list(options.bags), []
    if options.moments:
        paths = []
        for path in options.bags:
            here = [path] if (path / _WHY).is_file() else []
            found = here or [file.parent for file in expand(path / "*" / _WHY)]
            if not found:
                raise BagError(
                    f"{path} holds no moments of record_uncertain (bags with {_WHY}): give the "
                    "folder that it wrote, or leave out --moments"
                )
            for bag in found:
                content = read_json(bag / _WHY)
                if isinstance(content, dict) and content.get("state") == "being recorded":
                    notes.append(f"{bag} is left out: it is still being recorded")
                else:
                    paths.append(bag)
    names: dict[str, Path] = {}
    for path in paths:
        resolved = path.resolve()
        if resolved.name == "metadata.yaml":
            resolved = resolved.parent
        # db3.zstd has two suffixes; names of folders may have dots.
        name = resolved.name if resolved.is_dir() else resolved.name.partition(".")[0]
        name = name.replace(".", "_")
        if name in names:
            raise BagError(
                f"{names[name]} and {path} have the same name, but it names the frames in the "
                "data set: rename one"
            )
        names[name] = path
    return names, notes
