"""Label spaces: what each class of a data set stands for among the classes of the model.

A class of a data set may stand for one class of the model, for several ("movable" for person, car
and bicycle), or for none. Training needs the *codes* of a space, metrics its *groups*
(docs/method.md, Label spaces).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from emu_core.data.sample import DataError
from emu_core.labels import IGNORE, ClassTable

LEFT_OUT = "ignore"
"""Value in a mapping for classes that losses and metrics leave out."""

Targets = str | Sequence[str]
"""Value in a mapping: name of a class of the model, several names, or `LEFT_OUT`."""


@dataclass(frozen=True)
class LabelSpace:
    """The classes of a data set as sets of classes of a model.

    Args:
        names: Classes of the data set.
        model: Classes of the model.
        sets: For each class of the data set the train ids that it stands for, ascending; empty if
            it is left out.
    """

    names: tuple[str, ...]
    model: ClassTable
    sets: tuple[tuple[int, ...], ...]

    @classmethod
    def identity(cls, classes: ClassTable) -> LabelSpace:
        """Return the space of a data set that has the classes of the model."""
        return cls(classes.names, classes, tuple((k,) for k in range(len(classes))))

    @classmethod
    def of(
        cls, names: Iterable[str], model: ClassTable, mapping: Mapping[str, Targets] | None = None
    ) -> LabelSpace:
        """Map a data set's classes by a mapping, or else by equal names and aliases.

        Raises:
            DataError: A class has no counterpart, or the mapping has an unknown name.
        """
        names, mapping = tuple(names), mapping or {}
        unknown = [str(name) for name in mapping if name not in names]
        if unknown:
            raise DataError(
                f"The mapping names {', '.join(unknown)}, but the data set's classes are "
                f"{', '.join(names)}."
            )
        sets: list[tuple[int, ...]] = []
        missing = []
        for name in names:
            targets = mapping.get(name, name)
            if isinstance(targets, str):
                targets = [targets]
            if not (isinstance(targets, Sequence) and targets) or not all(
                isinstance(target, str) for target in targets
            ):
                raise DataError(
                    f"The mapping of {name}: expected a class, [classes] or {LEFT_OUT}, but got "
                    f"{targets}."
                )
            if list(targets) == [LEFT_OUT]:
                sets.append(())
                continue
            try:
                sets.append(tuple(sorted({model.index(target) for target in targets})))
            except ValueError as error:
                if name in mapping:
                    raise DataError(f"The mapping of {name}: {error}") from error
                missing.append(name)
        if missing:
            raise DataError(
                f"The class table {model.dataset} has no class for {', '.join(missing)}: say in "
                f"`mapping` what each stands for, or {LEFT_OUT}."
            )
        return cls(names, model, tuple(sets))

    @property
    def is_identity(self) -> bool:
        """Whether the labels of the data set are train ids of the model."""
        return self.sets == tuple((k,) for k in range(len(self.model)))

    @property
    def is_single(self) -> bool:
        """Whether the labels can judge each class of the model on its own."""
        return len(self.groups) == len(self.model)

    def codes(self, wide: Sequence[tuple[int, ...]]) -> np.ndarray:
        """Return the code of every label, uint8 (256,).

        The code is the train id of a single class, C + k for the set `wide[k]`, and `IGNORE` for a
        class that is left out.
        """
        table = np.full(256, IGNORE, np.uint8)
        for label, members in enumerate(self.sets):
            if members:
                single = len(members) == 1
                table[label] = members[0] if single else len(self.model) + wide.index(members)
        return table

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The finest partition of the model's classes that the data set's labels can judge.

        A class that has labels of its own is a group. A set that contains such a class is too
        coarse to judge it: its pixels are left out. The other sets are groups; those that overlap
        are one group. Each class without labels is a group.
        """
        single = {members[0] for members in self.sets if len(members) == 1}
        merged: list[set[int]] = []
        for members in self.sets:
            if len(members) < 2 or single.intersection(members):
                continue
            touching = [group for group in merged if group.intersection(members)]
            merged = [group for group in merged if group not in touching]
            merged.append(set(members).union(*touching))
        inside = set().union(*merged)
        alone = [{k} for k in range(len(self.model)) if k not in inside]
        return tuple(sorted(tuple(sorted(group)) for group in [*alone, *merged]))

    @cached_property
    def group_names(self) -> tuple[str, ...]:
        """A name for each group: of the data set's class that it is, or else of its classes."""
        own = {members: name for name, members in zip(self.names, self.sets, strict=True)}
        return tuple(
            own[group]
            if len(group) > 1 and group in own
            else "/".join(self.model.names[k] for k in group)
            for group in self.groups
        )

    @cached_property
    def group_of_label(self) -> np.ndarray:
        """The group of every label of the data set, uint8 (256,); `IGNORE` if it has none."""
        table = np.full(256, IGNORE, np.uint8)
        for label, members in enumerate(self.sets):
            for index, group in enumerate(self.groups):
                if members and set(members) <= set(group):
                    table[label] = index
        return table

    @cached_property
    def group_of_class(self) -> np.ndarray:
        """The group of every train id of the model, uint8 (256,); `IGNORE` beyond the classes."""
        table = np.full(256, IGNORE, np.uint8)
        for index, group in enumerate(self.groups):
            table[list(group)] = index
        return table


def wide_sets(spaces: Iterable[LabelSpace]) -> tuple[tuple[int, ...], ...]:
    """Return the sets of more than one class in the order of their first occurrence."""
    sets = (members for space in spaces for members in space.sets)
    return tuple(dict.fromkeys(members for members in sets if len(members) > 1))
