"""build_engine, with the providers of this machine."""

import pytest

from emu_perception.build_engine import main


def test_an_engine_is_built_and_checked(model, capsys):
    assert main(["--model", str(model), "--provider", "cpu"]) == 0
    output = capsys.readouterr().out
    assert "on cpu: ready and checked in" in output and "depth_rel 0" in output


def test_what_several_cameras_get_is_told(model, capsys):
    assert main(["--model", str(model), "--provider", "cpu", "--cameras", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "3 cameras: images one after the other: 'cpu' gains nothing by batches"


def test_a_number_of_cameras_below_one_is_a_wrong_argument(capsys):
    with pytest.raises(SystemExit) as raised:
        main(["--cameras", "0"])
    assert raised.value.code == 2
    assert "--cameras must be at least 1, but it is 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--provider", "tensorrt"], "the provider 'tensorrt'"),
        (["--provider", "abacus"], "abacus"),
        (["--provider", "cpu", "--model", "none.onnx"], "there is no model file"),
    ],
)
def test_a_failure_is_reported_in_one_line(model, capsys, arguments, text):
    assert main(["--model", str(model), *arguments]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("build_engine: ") and text in line
