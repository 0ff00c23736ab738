"""The roles of classes (ground, dynamic, ignored) and groups of classes. Imports no ROS."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from emu_core.labels import ClassTable, ClassTableError

GROUND = ("road", "sidewalk", "terrain", "ground", "floor", "floor mat")
DYNAMIC = ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle", "movable")


class Roles(NamedTuple):
    """Whether a pixel's id is that of a role, bool (256,). Unknown and unlabelled have none."""

    ground: np.ndarray
    dynamic: np.ndarray
    ignored: np.ndarray


@lru_cache(maxsize=8)
def class_roles(
    classes: ClassTable,
    ground: tuple[str, ...],
    dynamic: tuple[str, ...],
    ignored: tuple[str, ...],
) -> Roles:
    """Look up the names (or aliases) of each role.

    Names of the defaults that the model does not have are skipped, so the defaults suit all
    models. Empty names stand for an empty list.

    Raises:
        ClassTableError: any other name that is no class, or a class that is ground and ignored
            or dynamic.
    """
    lists = {"ground_classes": ground, "dynamic_classes": dynamic, "ignore_classes": ignored}
    roles = {name: _table(classes, names, name) for name, names in lists.items()}
    for other in ("dynamic_classes", "ignore_classes"):
        both = roles["ground_classes"] & roles[other]
        if both.any():
            name = classes.names[int(both.argmax())]
            raise ClassTableError(f"{name!r} is in ground_classes and in {other}: remove one")
    return Roles(*roles.values())


def _table(classes: ClassTable, names: Sequence[str], parameter: str) -> np.ndarray:
    table = np.zeros(256, bool)
    for name in filter(None, names):
        try:
            table[classes.index(name)] = True
        except ClassTableError as error:
            if name not in (*GROUND, *DYNAMIC):
                raise ClassTableError(f"{parameter}: {error}") from None
    return table


@lru_cache(maxsize=8)
def class_groups(classes: ClassTable, groups: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return whether each class, bool (C,), is in a group, by the name of the group.

    Args:
        groups: `NAME=CLASS,CLASS` or `CLASS`; without any, each class is a group.

    Raises:
        ClassTableError: a name is no class, or two groups have the same name.
    """
    result: dict[str, np.ndarray] = {}
    for group in tuple(filter(None, groups)) or classes.names:
        name, _, members = (part.strip() for part in group.partition("="))
        if name in result or not name:
            raise ClassTableError(f"probability_groups: {group!r} needs a name of its own")
        result[name] = np.zeros(len(classes), bool)
        for member in (members or name).split(","):
            try:
                result[name][classes.index(member.strip())] = True
            except ClassTableError as error:
                raise ClassTableError(f"probability_groups: {error}") from None
    return result
