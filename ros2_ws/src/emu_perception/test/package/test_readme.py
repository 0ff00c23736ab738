"""The README's tables of topics and parameters are those of the code."""

from pathlib import Path

import pytest

from emu_perception.node.outputs import describe_topics
from emu_perception.node.parameters import PARAMETERS

README = Path(__file__).parents[5] / "README.md"


def row(*cells) -> str:
    return f"| {' | '.join(cells)} |"


def topic_rows() -> list[str]:
    return [row(f"`{topic}`", *cells) for topic, *cells in describe_topics()]


def parameter_rows() -> list[str]:
    rows = []
    for p in PARAMETERS:
        default = list(p.default) if p.is_list else p.default
        values = ", ".join(p.allowed) if p.is_choice else " to ".join(map(str, p.allowed))
        default_cell = "" if default == "" else f"`{default}`"
        rows.append(row(f"`{p.name}`", default_cell, values, p.changes, p.description))
    return rows


@pytest.mark.parametrize(
    ("heading", "rows"),
    [
        ("| topic | type, encoding | unit | range | rate | QoS |", topic_rows()),
        ("| parameter | default | values | changes | meaning |", parameter_rows()),
    ],
)
def test_the_table_is_that_of_the_code(heading, rows):
    lines = README.read_text().splitlines()
    start = lines.index(heading) + 2
    end = next(i for i in range(start, len(lines)) if not lines[i].startswith("|"))
    assert lines[start:end] == rows
