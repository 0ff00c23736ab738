"""The README's tables of topics and parameters are those of the code."""

from pathlib import Path

import pytest

from emu_perception.node.outputs import TOPICS
from emu_perception.node.parameters import PARAMETERS

README = Path(__file__).parents[5] / "README.md"


def topic_row(topic) -> str:
    kind = f"{topic.type} {topic.encoding}".strip()
    cells = (f"`{topic.topic}`", kind, topic.unit, topic.range, topic.rate, topic.qos)
    return f"| {' | '.join(cells)} |"


def parameter_row(parameter) -> str:
    values = parameter.allowed
    if values and not parameter.is_choice:
        values = (f"{values[0]} to {values[1]}",)
    default = list(parameter.default) if parameter.is_list else parameter.default
    choice = ", ".join(str(value) for value in values)
    cells = (
        f"`{parameter.name}`",
        "" if default == "" else f"`{default}`",
        choice,
        parameter.changes,
        parameter.meaning,
    )
    return f"| {' | '.join(cells)} |"


def rows_of(heading: str) -> list[str]:
    """The rows of the README's table with these words in its first row."""
    lines = README.read_text().splitlines()
    start = lines.index(heading) + 2
    end = next(i for i in range(start, len(lines)) if not lines[i].startswith("|"))
    return lines[start:end]


@pytest.mark.parametrize(
    ("heading", "rows"),
    [
        (
            "| topic | type, encoding | unit | range | rate | QoS |",
            [topic_row(topic) for topic in TOPICS],
        ),
        (
            "| parameter | default | values | changes | meaning |",
            [parameter_row(parameter) for parameter in PARAMETERS],
        ),
    ],
)
def test_the_table_is_that_of_the_code(heading, rows):
    assert rows_of(heading) == rows
