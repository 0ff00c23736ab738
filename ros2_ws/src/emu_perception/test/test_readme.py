"""The README's tables of topics and parameters are those of the code."""

from pathlib import Path

import pytest

from emu_perception.outputs import outputs
from emu_perception.parameters import PARAMETERS

README = Path(__file__).parents[4] / "README.md"


def topic_row(output) -> str:
    kind = f"{output.kind.__name__} {output.encoding}".strip()
    return f"| `~/{output.topic}` | {kind} | {output.unit} | {output.range} |"


def parameter_row(parameter) -> str:
    values = parameter.allowed
    if values and not parameter.is_choice:
        values = (f"{values[0]} to {values[1]}",)
    default = "" if parameter.default == "" else f"`{parameter.default}`"
    choice = ", ".join(str(value) for value in values)
    return f"| `{parameter.name}` | {default} | {choice} | {parameter.meaning} |"


@pytest.mark.parametrize("row", [topic_row(o) for o in outputs(80)])
def test_every_topic_has_its_row(row):
    assert row in README.read_text()


@pytest.mark.parametrize("row", [parameter_row(p) for p in PARAMETERS])
def test_every_parameter_has_its_row(row):
    assert row in README.read_text()


def test_there_is_no_row_too_many():
    rows = [line for line in README.read_text().splitlines() if line.startswith("| `~/")]
    assert rows == [topic_row(o) for o in outputs(80)]
