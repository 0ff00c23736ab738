"""The command itself, on its smallest parts."""

import json

from emu_core.bench import compare
from emu_core.bench.__main__ import main
from emu_core.bench.report import FIGURES, RATIOS
from emu_core.runtime.dummy_model import make_dummy_model


def test_a_quick_run_writes_json_and_tables(tmp_path):
    options = ["--quick", "--threads", "1", "--parts", "profile"]
    assert main([*options, "--output", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "bench.json").read_text())
    assert list(results["ratios"]) == list(RATIOS)
    assert list(results["figures"]) == list(FIGURES)
    for figure in (*results["ratios"].values(), *results["figures"].values()):
        assert {"median", "min", "max", "runs", "reason"} == set(figure)
    assert len(results["model"]["sha256"]) == 64
    found = results["details"]["profile"]
    assert found["size"] == "64x128"
    assert found["peak_giga_multiply_adds_per_s"]["min"] > 0
    # Stage 1's queries: 16·32 pixels and 2·4 keys, 32 channels, twice, in two blocks; and so on.
    assert found["giga_multiply_adds"]["attention"] > 2 * 2 * 512 * 8 * 32 / 1e9
    assert set(found["giga_multiply_adds"]) <= set(found["milliseconds_by_part"])
    assert "## Profile" in (tmp_path / "bench.md").read_text()


def test_model_files_are_compared_with_the_first_of_them(tmp_path, capsys):
    files = [make_dummy_model(tmp_path / f"{name}.onnx") for name in "ab"]
    compare.main([*map(str, files), "--repetitions", "2", "--clock", "cpu"])
    first, second = capsys.readouterr().out.splitlines()
    assert "a.onnx on cpu" in first
    assert "ratio 1.000 (1.000 to 1.000)" in first
    assert "labels_agree 1, " in second
