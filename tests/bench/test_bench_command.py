"""The commands of the benchmark, on small inputs."""

import json
import re

import pytest

from emu_core.bench import compare, loading
from emu_core.bench.__main__ import main
from emu_core.bench.measurement import ABSOLUTE_VALUES, RATIOS
from emu_core.runtime.dummy_model import make_dummy_model


def test_a_quick_run_writes_json_and_tables(tmp_path):
    options = ["--quick", "--threads", "1", "--parts", "profile"]
    assert main([*options, "--output", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "bench.json").read_text())
    measured = results["ratios"] | results["figures"]
    assert (*results["ratios"], *results["figures"]) == (*RATIOS, *ABSOLUTE_VALUES)
    assert all({"median", "min", "max", "runs", "reason"} == set(x) for x in measured.values())
    assert len(results["model"]["sha256"]) == 64
    profile = results["details"]["profile"]
    assert profile["size"] == "64x128"
    assert profile["peak_giga_multiply_adds_per_s"]["min"] > 0
    # The queries of stage 1: 16·32 pixels, 2·4 keys, 32 channels, twice, in two blocks; and so on.
    assert profile["giga_multiply_adds"]["attention"] > 2 * 2 * 512 * 8 * 32 / 1e9
    assert set(profile["giga_multiply_adds"]) <= set(profile["milliseconds_by_part"])
    assert "## Profile" in (tmp_path / "bench.md").read_text()


def test_model_files_are_compared_with_the_first_one(tmp_path, capsys):
    files = [make_dummy_model(tmp_path / f"{name}.onnx") for name in "ab"]
    compare.main([*map(str, files), "--repetitions", "2", "--clock", "cpu"])
    first, second = capsys.readouterr().out.splitlines()
    assert "a.onnx on cpu" in first
    assert "ratio 1.000 (1.000 to 1.000)" in first
    assert "labels_agree 1, " in second


def test_decoding_reading_and_augmenting_are_timed(tmp_path, capsys, write_drive):
    for number in range(2):
        write_drive(tmp_path, "train", f"town_000000_00000{number}")
    assert loading.main(["--root", str(tmp_path), "--repetitions", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = [re.fullmatch(r"(\D+?) +([\d.]+) ms \(([\d.]+) to ([\d.]+)\)", line) for line in lines]
    assert [line[1] for line in found] == ["decode", "read the cache", "augment"]
    for line in found:
        assert 0 < float(line[3]) <= float(line[2]) <= float(line[4])


def test_missing_data_and_invalid_options_are_errors_without_a_traceback(tmp_path, capsys):
    root = ["--root", str(tmp_path / "none")]
    assert loading.main(root) == 1
    assert capsys.readouterr().err.startswith("bench.loading: No folder")
    with pytest.raises(SystemExit):
        loading.main([*root, "--repetitions", "0"])
    assert "repetitions" in capsys.readouterr().err
