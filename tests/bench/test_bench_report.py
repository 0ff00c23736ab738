"""Tables of bench.json, alone and inside a document."""

import json
import re
from pathlib import Path

import pytest

from emu_core.bench.measurement import ABSOLUTE_VALUES, RATIOS, missing, summarize, with_all_keys
from emu_core.bench.report import TABLES, draw, fill, main, render

RESULTS = {
    "command": "python -m emu_core.bench",
    "machine": {
        **{"processor": "a processor", "extensions": ["avx2"], "cores": 2, "memory_gb": 8.0},
        **{"gpus": [], "python": "3.11", "versions": {"numpy": "2"}, "load_at_start": 0.1},
    },
    "settings": {"threads": 2, "clock": "wall", "repetitions": 2, "quick": False},
    "model": {"name": "a_model", "sha256": 64 * "a"},
    "ratios": with_all_keys({"student_ort_over_hf_ort": summarize([0.5, 0.7])}, RATIOS),
    "figures": with_all_keys({"node_rss_mb": summarize([400.0])}, ABSOLUTE_VALUES),
    "details": {
        "milliseconds": {"8x16": {"a": summarize([1.0, 3.0]), "b": missing("not | installed")}},
        "profile": {
            "size": "8x16",
            "peak_giga_multiply_adds_per_s": summarize([50.0, 100.0]),
            "giga_multiply_adds": {"attention": 2.0},
            "milliseconds_by_part": {"attention": 30.0, "layout changes": 5.0},
        },
        "ros_path_milliseconds": {"maps": summarize([3.0])},
        "ros_round_trip": {"stock": {"milliseconds": summarize([9.0]), "lost": 1, "sent": 2}},
        "rate": {
            "all": {
                "sent": 3,
                "answered": 2,
                "milliseconds": {
                    "a/topic": {**summarize([5.0, 7.0]), "p99": 6.98},
                    "b": missing("nothing was answered"),
                },
            }
        },
    },
}

PARTS = ["attention | 30 | 2 | 20", "layout changes | 5 | 0 | 0", "all | 35 | 2 | 20"]
ROS = [
    "in one process: maps | 3 | 3 | 3 | 1 | ",
    "between processes, stock | 9 | 9 | 9 | 1 | 1 of 2",
]
RATE = [
    "all: 2 of 3 images answered | a/topic | 6 | 5 | 7 | 2 | 6.98",
    " | b | – | – | – | nothing was answered | –",
]
TIMES = ["8x16 | a | 2 | 1 | 3 | 2", "8x16 | b | – | – | – | not / installed"]


@pytest.mark.parametrize(
    ("name", "rows"), [("times", TIMES), ("profile", PARTS), ("ros", ROS), ("rate", RATE)]
)
def test_tables_have_a_row_per_model_or_part(name, rows):
    """The last column of the profile is the time at the highest rate."""
    assert TABLES[name](RESULTS).splitlines()[2:] == [f"| {row} |" for row in rows]


def test_ratios_are_listed_by_key_and_missing_ones_have_a_reason():
    table = TABLES["ratios"](RESULTS)
    assert "| `student_ort_over_hf_ort` | time ratio | 0.6 | 0.5 | 0.7 | 2 |" in table
    assert "| `node_rss_mb` | MB | 400 | 400 | 400 | 1 |" in table
    assert "| `ros_path_ms` | ms | – | – | – | its part was not run: see --parts |" in table


def test_parts_that_were_not_run_have_no_table_and_no_plot(tmp_path):
    text = render(RESULTS)
    assert "## Times" in text
    assert "## Growth" not in text
    draw(RESULTS, tmp_path / "bench.png")
    draw({"details": {}}, tmp_path / "none.png")
    assert [path.name for path in tmp_path.iterdir()] == ["bench.png"]


def test_text_outside_the_marks_of_a_document_is_kept(tmp_path):
    path, results = tmp_path / "page.md", tmp_path / "bench.json"
    path.write_text("before\n<!-- bench:times -->\nold\n<!-- /bench -->\nafter\n")
    results.write_text(json.dumps(RESULTS))
    main([str(results), "--document", str(path)])
    table = TABLES["times"](RESULTS)
    assert path.read_text() == f"before\n<!-- bench:times -->\n{table}<!-- /bench -->\nafter\n"


def test_the_page_on_performance_has_a_mark_for_every_table_and_a_row_for_every_key():
    page = (Path(__file__).parents[2] / "docs" / "performance.md").read_text()
    filled = fill(page, RESULTS)
    assert all(table(RESULTS) in filled for table in TABLES.values())
    # Other programs read these keys.
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == [*RATIOS, *ABSOLUTE_VALUES]


def test_a_mark_without_a_table_is_refused():
    with pytest.raises(ValueError, match="'bench:tims' is none of"):
        fill("<!-- bench:tims -->\n<!-- /bench -->", RESULTS)
