"""Which values options may have, and what a user reads about others."""

from dataclasses import dataclass, field
from math import inf, nan

import pytest

from emu_core.options import (
    CountOr,
    FolderName,
    OneOf,
    Range,
    above,
    allowed,
    at_least,
    check_options,
)


@dataclass(frozen=True)
class Part:
    count: int | None = field(default=None, metadata=at_least(1))
    free: float = nan


@dataclass(frozen=True)
class Whole:
    rate: float = field(default=0.5, metadata={"role": "x"} | above(0))
    part: Part = field(default_factory=Part)
    parts: tuple = ()
    named: dict = field(default_factory=dict)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Whole(rate=0), "^rate must be above 0, but it is 0.$"),
        (Whole(rate=nan), "^rate must be above 0, but it is nan.$"),
        (Whole(rate=inf), "^rate must be above 0, but it is inf.$"),
        (Whole(part=Part(0)), "^part.count must be at least 1, but it is 0.$"),
        (Whole(parts=(Part(), Part(-1))), "^parts.1.count must be at least 1, but it is -1.$"),
        (Whole(named={"a": Part(0)}), "^named.a.count must be at least 1"),
    ],
)
def test_an_option_with_another_value_is_named_with_its_range(options, message):
    check_options(Whole(parts=(Part(1),), named={"a": Part(2)}))
    with pytest.raises(ValueError, match=message):
        check_options(options)


@pytest.mark.parametrize(
    ("rule", "inside", "outside", "text"),
    [
        (Range(0), (0, 1e9), (-1, inf, nan), "at least 0"),
        (Range(0, 1), (0, 1, (0.5, 1)), (1.1, (0, -1)), "at least 0 and at most 1"),
        (Range(0, 1, open_high=True), (0, 0.9), (1, inf), "at least 0 and below 1"),
        (Range(0, inf, open_low=True), (1, inf), (0, nan), "above 0"),
        (
            Range(0, open_low=True, ascending=True),
            ((1, 1), [0.5, 2]),
            ((2, 0.5), (0, 1), [1, inf]),
            "above 0, the smaller number first",
        ),
        (OneOf(("b0", "b1")), ("b0",), ("b9", ""), "one of b0, b1"),
        (CountOr("auto"), (1, 8, "auto"), (0, -1, "2", "all"), "auto or a whole number of at l"),
        (
            FolderName("runs"),
            ("a", "a/b"),
            ("", ".", "..", "a/../b", "/a"),
            "the name of a folder",
        ),
    ],
)
def test_rules(rule, inside, outside, text):
    assert all(map(rule.accepts, inside))
    assert not any(map(rule.accepts, outside))
    assert allowed(rule)["allowed"] is rule and str(rule).startswith(text)
