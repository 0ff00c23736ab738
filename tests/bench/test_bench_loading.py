"""The command that times loading, on two frames."""

import re

import pytest

from emu_core.bench import loading


def test_decoding_reading_and_augmenting_are_timed(tmp_path, capsys, write_drive):
    for number in range(2):
        write_drive(tmp_path, "train", f"town_000000_00000{number}")
    loading.main(["--root", str(tmp_path), "--repetitions", "1"])
    lines = capsys.readouterr().out.splitlines()
    found = [re.fullmatch(r"(\D+?) +([\d.]+) ms \(([\d.]+) to ([\d.]+)\)", line) for line in lines]
    assert [line[1] for line in found] == ["decode", "read what was decoded", "augment"]
    for line in found:
        assert 0 < float(line[3]) <= float(line[2]) <= float(line[4])


@pytest.mark.parametrize(
    ("options", "said"), [([], "No folder"), (["--repetitions", "0"], "expected a number")]
)
def test_what_cannot_be_measured_is_said_in_a_line(tmp_path, capsys, options, said):
    with pytest.raises(SystemExit):
        loading.main(["--root", str(tmp_path / "none"), *options])
    assert said in capsys.readouterr().err
