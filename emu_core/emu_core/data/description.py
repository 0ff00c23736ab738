"""The file dataset.yaml of a folder data set (`emu_core.data.folder`, docs/own_data.md)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from emu_core.data.label_space import Targets
from emu_core.data.sample import DataError, existing_file
from emu_core.labels import ClassTable, pascal_color

DESCRIPTION = "dataset.yaml"
"""Name of the file that describes a folder data set."""

DEPTH_SCALE = 256.0
"""Default of `depth.scale`: values per metre, KITTI's convention."""

MAX_DEPTH = 80.0
"""Default of `depth.limit`, metres."""


GROUPS = ("folder", "name")
"""Values of `group_by`."""


@dataclass(frozen=True)
class Description:
    """Content of dataset.yaml.

    Args:
        name: Name of the data set.
        classes: Names of the label ids.
        maps_to: Class table of the model: a name or a YAML file; None: `classes` are the table.
        mapping: What each class stands for in that table; see `LabelSpace.of`.
        depth_scale: Values per metre of depth PNGs.
        depth_limit: Depth beyond it is no ground truth, metres.
        splits: Patterns of the frame names of each split.
        group_by: What frames have in common that a bootstrap draws together: their `folder`, or
            the `name` of the file, e.g. the moment of several cameras.
        license: Licence of the frames.
        attribution: Whom to name if results are published.
    """

    name: str
    classes: dict[int, str] = field(default_factory=dict)
    maps_to: str | None = None
    mapping: dict[str, Targets] = field(default_factory=dict)
    depth_scale: float = DEPTH_SCALE
    depth_limit: float = MAX_DEPTH
    splits: dict[str, list[str]] = field(default_factory=dict)
    group_by: str = GROUPS[0]
    license: str = ""
    attribution: str = ""


def read_description(root: str | Path) -> Description:
    """Read dataset.yaml; DataError if it is missing or has a wrong entry."""
    path = Path(root) / DESCRIPTION
    if not path.is_file():
        raise DataError(
            f"No file {path}. A folder data set needs it; docs/own_data.md shows the smallest one."
        )
    stat = path.stat()
    return _read_description(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _read_description(path: Path, _mtime_ns: int, _size: int) -> Description:
    content = read_yaml(path)
    known = ["name", "classes", "maps_to", "mapping", "depth", "splits", "group_by"]
    known += ["license", "attribution"]
    _expect(path, set(content) <= set(known), f"the keys {', '.join(known)}", list(content))
    classes, depth = content.get("classes") or {}, content.get("depth") or {}
    mapping, splits = content.get("mapping") or {}, content.get("splits") or {}
    if isinstance(classes, list):
        classes = dict(enumerate(classes))
    if isinstance(mapping, str):
        mapping = read_yaml(path.parent / mapping)
    for name, value in (
        *(("classes", classes), ("mapping", mapping), ("depth", depth), ("splits", splits)),
    ):
        _expect(path, isinstance(value, dict), f"`{name}` to be a mapping", value)
    ids_fit = all(isinstance(k, int) and 0 <= k < 256 for k in classes)
    _expect(path, ids_fit, "ids from 0 to 255 in `classes`", list(classes))
    named = all(isinstance(name, str | int | float) for name in classes.values())
    _expect(path, named, "names in `classes`", list(classes.values()))
    _expect(path, len(classes) < 256, "at most 255 classes", len(classes))
    names = list(map(str, classes.values()))
    twice = sorted({name for name in names if names.count(name) > 1})
    _expect(path, not twice, "each class to have one id", twice)
    _expect(path, set(depth) <= {"scale", "limit"}, "scale and limit in `depth`", list(depth))
    numbers = (depth.get("scale", DEPTH_SCALE), depth.get("limit", MAX_DEPTH))
    positive = all(isinstance(x, int | float) and 0 < x < np.inf for x in numbers)
    _expect(path, positive, "positive numbers in `depth`", numbers)
    patterns = {
        str(name): [value] if isinstance(value, str) else value for name, value in splits.items()
    }
    texts = all(
        isinstance(value, list) and all(isinstance(pattern, str) for pattern in value)
        for value in patterns.values()
    )
    _expect(path, texts, "patterns of frame names in `splits`", splits)
    maps_to = content.get("maps_to")
    _expect(path, isinstance(maps_to, str | None), "`maps_to` to name a class table", maps_to)
    group_by = content.get("group_by", GROUPS[0])
    _expect(path, group_by in GROUPS, f"`group_by` to be one of {', '.join(GROUPS)}", group_by)
    return Description(
        name=str(content.get("name") or path.absolute().parent.name),
        classes={k: str(name) for k, name in sorted(classes.items())},
        maps_to=maps_to,
        mapping=mapping,
        depth_scale=float(numbers[0]),
        depth_limit=float(numbers[1]),
        splits=patterns,
        group_by=group_by,
        license=str(content.get("license") or ""),
        attribution=str(content.get("attribution") or ""),
    )


def class_table(about: Description) -> ClassTable:
    """Return the data set's own classes, coloured by PASCAL VOC's rule."""
    ids = tuple(about.classes)
    palette = tuple(map(pascal_color, range(1, len(ids) + 1)))
    return ClassTable(about.name, tuple(about.classes.values()), ids, palette, sky=None)


def _expect(path: Path, holds: bool, what: str, got: Any) -> None:
    if not holds:
        raise DataError(f"{path}: expected {what}, but got {got}.")


def read_yaml(path: Path) -> dict[Any, Any]:
    """Read a YAML file of keys and values; DataError if it is something else."""
    import yaml

    try:
        content = yaml.safe_load(existing_file(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"{path} cannot be read as YAML: {error}") from error
    _expect(path, isinstance(content, dict), "a mapping of keys to values", content)
    return content


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of keys and values; DataError if it is something else."""
    try:
        content = json.loads(existing_file(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    _expect(path, isinstance(content, dict), "a JSON object", content)
    return content
