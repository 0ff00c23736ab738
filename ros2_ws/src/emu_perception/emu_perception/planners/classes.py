"""The roles of classes: ground, dynamic, ignored. Imports no ROS."""

from __future__ import annotations

from collections.abc import Sequence
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


def class_roles(
    classes: ClassTable, ground: Sequence[str], dynamic: Sequence[str], ignored: Sequence[str]
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
