"""Allowed values of options: a field's metadata declares them, `check_options` checks all.

@dataclass(frozen=True)
class Run:
    steps: int = field(default=40000, metadata=at_least(1))

check_options(config)  # ValueError: run.steps must be at least 1, but it is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from math import inf
from pathlib import Path
from typing import Any, Protocol

ALLOWED = "allowed"
"""Key of a field's metadata; the value is a `Rule`."""


class Rule(Protocol):
    """The allowed values of an option; its text follows "must be" in a message."""

    def accepts(self, value: Any) -> bool:
        """Whether the option may have this value."""


@dataclass(frozen=True)
class Range:
    """Numbers, or several numbers, between two limits; NaN is outside of every range.

    Args:
        low, high: Limits; without a high limit, numbers must be finite.
        open_low, open_high: Whether the limit itself is not allowed.
        ascending: Of several numbers, none may be smaller than the one before it.
    """

    low: float
    high: float | None = None
    open_low: bool = False
    open_high: bool = False
    ascending: bool = False

    def accepts(self, value: Any) -> bool:
        values = list(value) if isinstance(value, (list, tuple)) else [value]
        return all(map(self._holds, values)) and not (self.ascending and values != sorted(values))

    def _holds(self, x: float) -> bool:
        over_low = x > self.low if self.open_low else x >= self.low
        if self.high is None:
            return over_low and x < inf
        return over_low and (x < self.high if self.open_high else x <= self.high)

    def __str__(self) -> str:
        text = f"{'above' if self.open_low else 'at least'} {self.low:.15g}"
        if self.high not in (None, inf):
            text += f" and {'below' if self.open_high else 'at most'} {self.high:.15g}"
        return text + (", the smaller number first" if self.ascending else "")


@dataclass(frozen=True)
class FolderName:
    """Names of folders below a folder of this project."""

    parent: str

    def accepts(self, value: Any) -> bool:
        path = Path(value)
        return bool(path.parts) and not path.is_absolute() and ".." not in path.parts

    def __str__(self) -> str:
        return f"the name of a folder below {self.parent}: not empty, not absolute, without .."


@dataclass(frozen=True)
class OneOf:
    """Words of a list."""

    words: tuple[str, ...]

    def accepts(self, value: Any) -> bool:
        return value in self.words

    def __str__(self) -> str:
        return f"one of {', '.join(self.words)}"


@dataclass(frozen=True)
class CountOr:
    """Whole numbers from 1, or a word."""

    word: str

    def accepts(self, value: Any) -> bool:
        return value == self.word or (isinstance(value, int) and value >= 1)

    def __str__(self) -> str:
        return f"{self.word} or a whole number of at least 1"


def allowed(rule: Rule) -> dict[str, Any]:
    """Return the metadata of a field with these values."""
    return {ALLOWED: rule}


def at_least(low: float) -> dict[str, Any]:
    """Return the metadata of a field with finite numbers from `low`."""
    return allowed(Range(low))


def above(low: float) -> dict[str, Any]:
    """Return the metadata of a field with finite numbers above `low`."""
    return allowed(Range(low, open_low=True))


def check_options(options: Any, prefix: str = "") -> None:
    """Check the options of a data class, and those of all data classes in it.

    Fields without a rule, and fields that are None, may have any value.

    Args:
        options: Data class, or a mapping, list or tuple with data classes.
        prefix: First part of the options' names in the message, e.g. "run.".

    Raises:
        ValueError: A value is not allowed. The message names the option and the allowed values.
    """
    if is_dataclass(options):
        for each in fields(options):
            value, rule = getattr(options, each.name), each.metadata.get(ALLOWED)
            name = prefix + each.name
            if rule is not None and value is not None and not rule.accepts(value):
                raise ValueError(f"{name} must be {rule}, but it is {value!r}.")
            check_options(value, f"{name}.")
    elif isinstance(options, (Mapping, list, tuple)):
        items = options.items() if isinstance(options, Mapping) else enumerate(options)
        for key, value in items:
            check_options(value, f"{prefix}{key}.")
