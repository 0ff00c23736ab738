"""Tables of bench.json, alone and inside a document."""

import json
from pathlib import Path

import pytest

from emu_core.bench.report import (
    FIGURES,
    RATIOS,
    TABLES,
    completed,
    fill,
    main,
    missing,
    profile,
    ratios,
    render,
    summarize,
    times,
)

RESULTS = {
    "command": "python -m emu_core.bench",
    "machine": {
        "processor": "a processor", "extensions": ["avx2"], "cores": 2, "memory_gb": 8.0,
        "gpus": [], "python": "3.11", "versions": {"numpy": "2"}, "load_at_start": 0.1,
    },
    "settings": {"threads": 2, "clock": "wall", "repetitions": 2, "quick": False},
    "model": {"name": "a_model", "sha256": 64 * "a"},
    "ratios": completed({"student_ort_over_hf_ort": summarize([0.5, 0.7])}, RATIOS),
    "figures": completed({}, FIGURES),
    "details": {
        "milliseconds": {
            "8x16": {"a": summarize([1.0, 3.0]), "b": missing("not | installed")}
        },
        "profile": {
            "size": "8x16",
            "peak_giga_multiply_adds_per_s": summarize([50.0, 100.0]),
            "giga_multiply_adds": {"attention": 2.0},
            "milliseconds_by_part": {"attention": 30.0, "layout changes": 5.0},
        },
    },
}  # fmt: skip


def test_ratios_stand_beside_their_keys():
    assert "| `student_ort_over_hf_ort` | 0.6 | 0.5 | 0.7 | 2 |" in ratios(RESULTS)
    assert "| `ros_path_ms` | – | – | – | its part was not run: see --parts |" in ratios(RESULTS)


def test_a_missing_contestant_says_why_in_its_row():
    assert times(RESULTS).splitlines()[2:] == [
        "| 8x16 | a | 2 | 1 | 3 | 2 |",
        "| 8x16 | b | – | – | – | not / installed |",
    ]


def test_the_limit_is_the_multiply_adds_at_the_highest_rate_seen():
    assert profile(RESULTS).splitlines()[2:] == [
        "| attention | 30 | 2 | 20 |",
        "| layout changes | 5 | 0 | 0 |",
        "| all | 35 | 2 | 20 |",
    ]


def test_parts_that_were_not_run_have_no_table():
    text = render(RESULTS)
    assert "## Times" in text
    assert "## Growth" not in text


def test_a_document_keeps_what_stands_outside_its_marks(tmp_path):
    path, results = tmp_path / "page.md", tmp_path / "bench.json"
    path.write_text("before\n<!-- bench:times -->\nold\n<!-- /bench -->\nafter\n")
    results.write_text(json.dumps(RESULTS))
    main([str(results), "--document", str(path)])
    assert path.read_text() == (
        f"before\n<!-- bench:times -->\n{times(RESULTS)}<!-- /bench -->\nafter\n"
    )


def test_the_page_on_performance_has_a_place_for_every_table():
    page = Path(__file__).parents[2] / "docs" / "performance.md"
    filled = fill(page.read_text(), RESULTS)
    assert all(table(RESULTS) in filled for table in TABLES.values())


def test_a_mark_without_a_table_is_refused():
    with pytest.raises(ValueError, match="'bench:tims' is none of"):
        fill("<!-- bench:tims -->\n<!-- /bench -->", RESULTS)
