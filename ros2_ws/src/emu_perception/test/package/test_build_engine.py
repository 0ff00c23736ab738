"""build_engine, on the providers that there are here."""

from emu_perception.build_engine import main


def test_an_engine_is_built_and_checked(model, capsys):
    assert main(["--model", str(model), "--provider", "cpu"]) == 0
    told = capsys.readouterr().out
    assert "on cpu: ready and checked in" in told and "depth_rel 0" in told


def test_a_provider_that_is_not_here_is_told_in_one_line(model, capsys):
    assert main(["--model", str(model), "--provider", "tensorrt"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("build_engine: the provider 'tensorrt'") and "without it" in line


def test_an_unknown_provider_and_a_missing_file_are_told_in_one_line(tmp_path, capsys):
    assert main(["--provider", "abacus"]) == 1
    assert main(["--model", str(tmp_path / "none.onnx"), "--provider", "cpu"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert "abacus" in first and "there is no model file" in second
