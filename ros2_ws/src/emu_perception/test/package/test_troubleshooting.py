"""docs/troubleshooting.md quotes log lines and diagnostics exactly as the code has them."""

import ast
import re
from pathlib import Path

import pytest

pytest.importorskip("emu_perception.node.checks", reason="needs the node's diagnostics")

import emu_core
import emu_perception

DOCUMENT = Path(__file__).parents[5] / "docs" / "troubleshooting.md"
ENOUGH = 10
"""Minimum length of a text in the code that is compared with a quotation."""

QUOTATIONS = [line[2:] for line in DOCUMENT.read_text().splitlines() if line.startswith("> ")]


def texts_of_the_code():
    """Every text in the sources, as a pattern in which formatted values match anything."""
    for package in (emu_perception, emu_core):
        for file in Path(package.__file__).parent.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = [getattr(part, "value", None) for part in node.values]
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    parts = [node.value]
                else:
                    continue
                fixed = [part for part in parts if isinstance(part, str)]
                if sum(len(part) for part in fixed) >= ENOUGH:
                    yield "".join(
                        re.escape(part) if isinstance(part, str) else ".+?" for part in parts
                    )


@pytest.fixture(scope="module")
def texts():
    return [re.compile(pattern) for pattern in set(texts_of_the_code())]


def test_there_are_eleven_sections_and_all_but_that_on_versions_have_a_quotation():
    sections = re.split(r"^## (\d+)\. ", DOCUMENT.read_text(), flags=re.M)[1:]
    numbers, bodies = sections[::2], sections[1::2]
    assert numbers == [str(number) for number in range(1, 12)]
    silent = [n for n, body in zip(numbers, bodies, strict=True) if "\n> " not in body]
    assert silent == ["10"]


@pytest.mark.parametrize("quotation", QUOTATIONS)
def test_a_quotation_has_the_words_of_the_code(texts, quotation):
    covered = set()
    for text in texts:
        for match in text.finditer(quotation):
            covered.update(range(*match.span()))
    left_over = "".join("." if i in covered else c for i, c in enumerate(quotation))
    assert len(covered) >= 0.6 * len(quotation), left_over
