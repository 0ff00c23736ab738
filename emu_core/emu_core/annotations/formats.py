"""Formats of annotation tools, and the frames that are read from them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from emu_core.data.sample import DataError
from emu_core.files import expand, lfs_problem
from emu_core.labels import normalized

INSTALL = 'pip install "emu_core[annotation]"'

MASKS, POLYGONS = SHAPES = ("masks", "polygons")
"""How an object is stored."""


@dataclass(frozen=True)
class Format:
    """A format that datumaro reads or writes.

    Args:
        importers: Names in datumaro for reading, the preferred one first; none: `coco` reads it.
        exporter: Name in datumaro for writing; None: it is only read.
        shapes: How objects are written, the default first.
        spaces: Whether its files can hold class names with spaces.
        empty: Name of index 0, the pixels without a class, in its files.
    """

    importers: tuple[str, ...] = ()
    exporter: str | None = None
    shapes: tuple[str, ...] = (MASKS,)
    spaces: bool = True
    empty: str = "background"


FORMATS = {
    "cvat": Format(("cvat",), "cvat", SHAPES, empty="unlabelled"),
    "coco": Format((), "coco_instances", SHAPES[::-1], empty="unlabelled"),
    "label_studio": Format(),
    "voc": Format(("voc_segmentation",), "voc_segmentation"),
    "cityscapes": Format(("cityscapes",), "cityscapes", spaces=False),
    "camvid": Format(("camvid",), "camvid", spaces=False),
    "mapillary_vistas": Format(("mapillary_vistas_panoptic", "mapillary_vistas_instances")),
    "coco_panoptic": Format(("coco_panoptic",)),
    "kitti_segmentation": Format(("kitti_segmentation",)),
    "common_semantic_segmentation": Format(
        ("common_semantic_segmentation", "common_semantic_segmentation_with_subset_dirs")
    ),
    "label_me": Format(("label_me",)),
    "datumaro": Format(("datumaro",), "datumaro", SHAPES, empty="unlabelled"),
}
"""The formats that are tested, by the name in the commands."""

_EMPTY_NAMES = ("background", "unlabelled", "unlabeled", "void", "void--unlabeled", "ignored")
EMPTY_NAMES = frozenset(map(normalized, _EMPTY_NAMES))
"""Class names of pixels that nobody labelled, as `labels.normalized` writes them."""


@dataclass(frozen=True)
class Shape:
    """One object of an image.

    Args:
        label: Id of its class in the tool's files; None if it has none.
        z_order: Objects with a higher number cover those with a lower one.
        paint: Sets the object's pixels in a label map, uint8 (H, W), to an id.
    """

    label: int | None
    z_order: int
    paint: Callable[[np.ndarray, int], None]


@dataclass(frozen=True)
class ToolFrame:
    """One image of an annotation tool.

    Args:
        name: Path without suffix, as the tool names it.
        subset: Name of its subset, e.g. train; it may be empty.
        image: Image file; it may be missing.
        size: (height, width) that the tool states; None if it states none.
        shapes: Objects, in the order in which they are painted where z_order is equal.
    """

    name: str
    subset: str
    image: Path
    size: tuple[int, int] | None
    shapes: list[Shape] = field(default_factory=list)


@dataclass
class ToolData:
    """What an annotation tool has exported: class names by id, frames, and what has no pixels."""

    classes: dict[int, str]
    frames: list[ToolFrame]
    skipped: Counter[str] = field(default_factory=Counter)


def load_datumaro() -> Any:
    """Return the module datumaro; DataError says how to install it if it is missing."""
    try:
        import datumaro
    except ImportError as error:
        raise DataError(
            f"Annotation tools need the Python package datumaro ({error}): {INSTALL}."
        ) from error
    return datumaro


def check_format(name: str, write: bool = False) -> Format:
    """Return a format by its name; DataError with the list of names if there is none."""
    known = [key for key, each in FORMATS.items() if each.exporter or not write]
    if name not in known:
        verb = "write" if write else "read"
        raise DataError(f"Cannot {verb} the format {name!r}: expected {', '.join(known)}.")
    return FORMATS[name]


def detect_format(source: Path) -> str:
    """Return the format of a folder or file; DataError if none or several formats fit."""
    fitting = sorted(
        {
            "label_studio" if content["info"].get("contributor") == "Label Studio" else "coco"
            for _, content in coco_files(source)
        }
    )
    found = detected_importers(source)
    fitting += [name for name, each in FORMATS.items() if found & set(each.importers)]
    if not fitting:
        raise DataError(
            f"{source} fits no format that can be read. Say with --format which one it is: "
            f"{', '.join(FORMATS)}."
        )
    if len(fitting) > 1:
        raise DataError(
            f"{source} fits several formats: {', '.join(fitting)}. Choose one with --format."
        )
    return fitting[0]


def detected_importers(source: Path) -> set[str]:
    """Return datumaro's names of the formats that fit."""
    load_datumaro()
    from datumaro.components.environment import DEFAULT_ENVIRONMENT

    return set(DEFAULT_ENVIRONMENT.detect_dataset(str(source.resolve())))


def coco_files(source: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return the COCO files with objects in a folder, or the file itself, and their content.

    Files of stuff come first: COCO's objects cover its stuff.
    """
    paths = [source]
    if source.is_dir():
        paths = [*expand(source / "*.json"), *expand(source / "annotations/*.json")]
        paths.sort()
    found = []
    for path in paths:
        if path.suffix.lower() != ".json":
            continue
        if problem := lfs_problem(path):
            raise DataError(f"{problem}.")
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read as JSON: {error}.") from error
        keys = ("images", "categories", "annotations")
        if not isinstance(content, dict) or not all(
            isinstance(content.get(k), list) for k in keys
        ):
            continue
        objects = content["annotations"]
        if not objects or any("segmentation" in each for each in objects):
            content.setdefault("info", {})
            found.append((path, content))
    return sorted(found, key=lambda each: not each[0].name.startswith("stuff"))
