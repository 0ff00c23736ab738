"""Class tables: names, dataset ids, train ids and colours; own tables come from YAML files.

    name: orchard                  # default: the name of the file
    classes:
      - {name: ground, color: [128, 64, 128], aliases: [road, path]}
      - tree                       # its colour follows PASCAL VOC's rule
      - sky
    sky: sky                       # the class without depth; absent or null: none

A *dataset id* is what a ground-truth PNG stores (Cityscapes' `labelIds`); a *train id* is the
index of a network's output channel. Cityscapes' ids and colours are the benchmark's (Cordts et
al., CVPR 2016); NYUv2's 40 classes are those of Gupta et al. (CVPR 2013), coloured by PASCAL
VOC's rule.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np

from emu_core.files import lfs_problem
from emu_core.registry import Registry

IGNORE = 255
"""Train id of pixels that losses and metrics leave out; in messages, unlabelled pixels."""

DOUBTFUL = 0.05
"""Uncertainty of the class, entropy / ln C, above which the node does not trust it by default."""


UNKNOWN = "unknown"
"""Name of uncertain pixels in messages."""

Color = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

MAX_CLASSES = 254
"""One id is left for uncertain pixels in messages, and one is `IGNORE`."""


class ClassTableError(ValueError):
    """A class table or one of its entries is wrong; the message names the file and the entry."""


@dataclass(frozen=True)
class ClassTable:
    """The classes of one dataset or network, in the order of their train ids.

    Args:
        dataset: Name of the table.
        names, dataset_ids, palette: Name, id in ground-truth files and RGB colour of each class.
        sky: Train id of the class without depth; None if there is no such class.
        aliases: Further names, as pairs of alias and train id.
    """

    dataset: str
    names: tuple[str, ...]
    dataset_ids: tuple[int, ...]
    palette: tuple[Color, ...]
    sky: int | None
    aliases: tuple[tuple[str, int], ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """Return the train id of a class by its name or an alias.

        Case does not matter, and '_', '-' and space are the same.

        Raises:
            ClassTableError: There is no such class.
        """
        for known, train_id in (*zip(self.names, range(len(self)), strict=True), *self.aliases):
            if normalized(known) == normalized(name):
                return train_id
        raise ClassTableError(
            f"the class table {self.dataset} has no class {name!r}, only {', '.join(self.names)}"
        )

    def colors(self) -> np.ndarray:
        """Return the RGB colour of every train id, uint8 (256, 3); other ids are black."""
        table = np.zeros((256, 3), np.uint8)
        table[: len(self)] = self.palette
        return table

    def to_train_ids(self, dataset_ids: np.ndarray) -> np.ndarray:
        """Map dataset ids (uint8, any shape) to train ids; everything else becomes `IGNORE`."""
        table = np.full(256, IGNORE, np.uint8)
        table[list(self.dataset_ids)] = np.arange(len(self), dtype=np.uint8)
        return table[dataset_ids]


_CITYSCAPES = (
    ("road", 7, (128, 64, 128)),
    ("sidewalk", 8, (244, 35, 232)),
    ("building", 11, (70, 70, 70)),
    ("wall", 12, (102, 102, 156)),
    ("fence", 13, (190, 153, 153)),
    ("pole", 17, (153, 153, 153)),
    ("traffic light", 19, (250, 170, 30)),
    ("traffic sign", 20, (220, 220, 0)),
    ("vegetation", 21, (107, 142, 35)),
    ("terrain", 22, (152, 251, 152)),
    ("sky", 23, (70, 130, 180)),
    ("person", 24, (220, 20, 60)),
    ("rider", 25, (255, 0, 0)),
    ("car", 26, (0, 0, 142)),
    ("truck", 27, (0, 0, 70)),
    ("bus", 28, (0, 60, 100)),
    ("train", 31, (0, 80, 100)),
    ("motorcycle", 32, (0, 0, 230)),
    ("bicycle", 33, (119, 11, 32)),
)

NO_CLASSES = ClassTable("none", (), (), (), sky=None)
"""The classes of a network without segmentation."""

_NAMES, _IDS, _COLORS = zip(*_CITYSCAPES, strict=True)
CITYSCAPES = ClassTable("cityscapes", _NAMES, _IDS, _COLORS, sky=10)

UNKNOWN_OBJECT_ID = 5
"""Cityscapes' labelId `dynamic`, which has no train id: the unknown objects of rendered pairs."""

_NYUV2 = (
    *("wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf"),
    *("picture", "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror"),
    *("floor mat", "clothes", "ceiling", "books", "refridgerator", "television", "paper", "towel"),
    *("shower curtain", "box", "whiteboard", "person", "night stand", "toilet", "sink", "lamp"),
    *("bathtub", "bag", "otherstructure", "otherfurniture", "otherprop"),
)  # the spelling of the official classMapping40.mat


def pascal_color(index: int) -> Color:
    """PASCAL VOC's colours: bits 3i, 3i+1, 3i+2 of the index are bit 7−i of red, green, blue."""
    red, green, blue = (
        sum((index >> (3 * i + channel) & 1) << (7 - i) for i in range(3)) for channel in range(3)
    )
    return red, green, blue


_NYUV2_IDS = tuple(range(1, 41))  # 0 is unlabelled
NYUV2 = ClassTable("nyuv2", _NYUV2, _NYUV2_IDS, tuple(map(pascal_color, _NYUV2_IDS)), sky=None)

TABLES: Registry[ClassTable] = Registry("class table")
"""Class tables by name."""

for _table in (CITYSCAPES, NYUV2):
    TABLES.add(_table.dataset, _table)


def load_classes(source: str | Path) -> ClassTable:
    """Return the class table of this name in `TABLES`, or read it from a YAML file.

    Raises:
        ClassTableError: There is no such table or file, or the file is wrong.
    """
    if isinstance(source, str) and source in TABLES:
        return TABLES[source]
    path = Path(source)
    if path.suffix.lower() not in (".yaml", ".yml") and not path.is_file():
        raise ClassTableError(
            f"there is no class table {str(source)!r}: expected {', '.join(TABLES)} or the path "
            "of a YAML file"
        )
    try:
        import yaml
    except ImportError:
        raise ClassTableError(
            f"reading the class table {path} needs PyYAML: pip install PyYAML"
        ) from None
    if problem := lfs_problem(path):
        raise ClassTableError(problem)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ClassTableError(f"cannot read the class table {path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ClassTableError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ClassTableError(f"{path} is no class table: expected the keys {', '.join(_KEYS)}")
    return class_table({"name": path.stem, **content}, path)


_KEYS = ("name", "classes", "sky")
_CLASS_KEYS = ("name", "color", "aliases")


def class_table(content: Mapping[str, Any], source: str | Path) -> ClassTable:
    """Check the content of a class table file and return its table.

    The dataset ids are the train ids.

    Args:
        content: The keys `name`, `classes` and `sky` as in a file.
        source: Name of the file, for error messages.

    Raises:
        ClassTableError: An entry is wrong.
    """
    _check_keys(content, _KEYS, str(source))
    table_name = _checked_name(content.get("name"), f"{source}: name")
    entries = content.get("classes")
    if not isinstance(entries, list) or not 2 <= len(entries) <= MAX_CLASSES:
        found = f"{len(entries)} classes" if isinstance(entries, list) else repr(entries)
        raise ClassTableError(
            f"{source}: expected `classes` to be a list of 2 to {MAX_CLASSES} classes, but got "
            f"{found}"
        )
    names: list[str] = []
    aliases: list[tuple[str, int]] = []
    colors: list[Color | None] = []
    for i, entry in enumerate(entries):
        name, others, color = _checked_class(entry, f"{source}: class {i + 1}")
        names.append(name)
        aliases += [(alias, i) for alias in others]
        colors.append(color)
    _refuse_duplicates([*names, *(alias for alias, _ in aliases)], colors, str(source))
    ids = tuple(range(len(names)))
    table = ClassTable(table_name, tuple(names), ids, _palette(colors), None, tuple(aliases))
    if content.get("sky") is None:
        return table
    sky = _checked_name(content["sky"], f"{source}: sky")
    try:
        return replace(table, sky=table.index(sky))
    except ClassTableError as error:
        raise ClassTableError(f"{source}: sky: {error}") from None


def normalized(name: str) -> str:
    """Return a class name for comparison: lower case, with spaces instead of '_' and '-'."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _check_keys(content: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    if unknown := [key for key in content if key not in known]:
        raise ClassTableError(f"{where}: unknown key {unknown[0]!r}; expected {', '.join(known)}")


def _checked_name(value: Any, where: str) -> str:
    if not isinstance(value, str) or not normalized(value) or not value.isprintable():
        remedy = "" if isinstance(value, str) or value is None else "; put it in quotes"
        raise ClassTableError(f"{where}: expected a name, but got {value!r}{remedy}")
    return value.strip()


def _checked_class(entry: Any, where: str) -> tuple[str, list[str], Color | None]:
    """Return the name, aliases and colour of one class."""
    content = entry if isinstance(entry, dict) else {"name": entry}
    _check_keys(content, _CLASS_KEYS, where)
    name = _checked_name(content.get("name"), where)
    where, aliases = f"{where} ({name})", content.get("aliases")
    if not isinstance(aliases, list | None):
        raise ClassTableError(f"{where}: expected `aliases` to be a list, but got {aliases!r}")
    color = None if content.get("color") is None else _checked_color(content["color"], where)
    return name, [_checked_name(alias, f"{where}: aliases") for alias in aliases or []], color


def _checked_color(value: Any, where: str) -> Color:
    valid = isinstance(value, list) and len(value) == 3
    if not valid or not all(type(c) is int and 0 <= c <= 255 for c in value):
        raise ClassTableError(
            f"{where}: expected `color` to be [red, green, blue] from 0 to 255, but got {value!r}"
        )
    red, green, blue = value
    return red, green, blue


def _refuse_duplicates(names: list[str], colors: list[Color | None], source: str) -> None:
    for name, times in Counter(map(normalized, names)).items():
        if times > 1:
            raise ClassTableError(f"{source}: {name!r} occurs twice as a name or alias")
        if name == UNKNOWN:
            raise ClassTableError(
                f"{source}: {name!r} cannot be a class: messages use it for uncertain pixels"
            )
    for color, times in Counter(color for color in colors if color is not None).items():
        if times > 1:
            raise ClassTableError(f"{source}: two classes have the color {list(color)}")


def _palette(colors: list[Color | None]) -> tuple[Color, ...]:
    """Give every class without a colour PASCAL VOC's colour of its place, or the next free one."""
    taken = {color for color in colors if color is not None}
    palette = []
    for i, given in enumerate(colors):
        candidates = map(pascal_color, chain([i + 1], count(len(colors) + 1)))
        color = given or next(c for c in candidates if c not in taken)
        taken.add(color)
        palette.append(color)
    return tuple(palette)
