"""The check of a GPU, on the CPU: the same code with another device."""

import json
import os
import time

import pytest
import torch

from emu_core.bench.gpu import __main__ as gpu
from emu_core.bench.gpu import trainings
from emu_core.bench.gpu.checks import FailedError, GpuSettings, SkippedError, measure_ms


def check(folder, *parts, options=()):
    """The exit code and gpu.json of parts of the check."""
    given = ("--device", "cpu", "--quick", "--output", str(folder), "--parts", *parts, *options)
    return gpu.main(given), json.loads((folder / "gpu.json").read_text())


def test_without_a_gpu_it_says_so_and_ends_with_3(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--output", str(tmp_path / "gpu")]) == gpu.NO_GPU == 3
    assert "finds no GPU here" in capsys.readouterr().err
    assert not (tmp_path / "gpu").exists()


def test_engines_networks_and_crops_are_checked_and_timed(tmp_path):
    pytest.importorskip("transformers")
    code, content = check(tmp_path, "engines", "networks", "crops")
    assert code == 0 and content["device"] == "cpu"
    assert {name: part["status"] for name, part in content["parts"].items()} == dict.fromkeys(
        ("engines", "crops", "networks"), "passed"
    )
    rows = {row["name"]: row for part in content["parts"].values() for row in part["rows"]}
    assert set(rows) == {
        *(f"cpu 64x128, {way}" for way in ("perceive", "IO binding", "2 images together")),
        "b0, 2 crops of 64x128",
        *(f"b0 64x128, {kind}" for kind in ("student", "SegFormer of transformers")),
        "b0 64x128, ensemble of 2",
    }
    assert all(0 < row["min"] <= row["median"] <= row["max"] for row in rows.values())
    assert rows["cpu 64x128, perceive"]["labels_agree"] == 1
    crops = rows["b0, 2 crops of 64x128"]
    assert crops["images_per_s"] == pytest.approx(2000 / crops["median"])
    table = (tmp_path / "gpu.md").read_text()
    assert "| engines | passed |" in table and "b0 64x128, ensemble of 2" in table


def test_what_does_not_run_and_what_is_wrong_are_told_apart(tmp_path, monkeypatch):
    def skip(settings):
        raise SkippedError("no device")

    def fail(settings):
        raise FailedError("labels_agree 0.5")

    monkeypatch.setattr(gpu, "PARTS", {"engines": skip, "crops": lambda settings: {}})
    code, content = check(tmp_path, "engines", "crops")
    assert code == 0 and content["parts"]["engines"]["reason"] == "no device"
    monkeypatch.setitem(gpu.PARTS, "engines", fail)
    code, content = check(tmp_path, "engines", "crops")
    assert code == 1 and content["parts"]["engines"]["status"] == "failed"
    assert content["parts"]["crops"]["status"] == "passed"
    code, content = check(tmp_path, "engines", options=("--seconds", "1e-9"))
    assert code == 0 and content["parts"]["engines"]["reason"] == "the time was over"


def test_losses_that_differ_are_an_error(tmp_path, monkeypatch):
    settings = GpuSettings("cpu", tmp_path, True, 100, time.monotonic())
    losses = {"cpu_bf16": 2.0, "cpu_32": 2.1, "devices_1": 3.0, "devices_2": 3.6}
    monkeypatch.setattr(trainings, "_run", lambda *_: None)
    monkeypatch.setattr(trainings, "_last_loss", lambda _, name, folder: losses[name])
    found = trainings.check_training(settings)
    assert found["relative_differences"]["student"] == pytest.approx(0.1 / 2.1)
    with pytest.raises(FailedError, match=r"differs by more than 0\.1 between devices"):
        trainings.check_devices(settings)
    losses["cpu_32"] = float("nan")
    with pytest.raises(FailedError, match="losses differ"):
        trainings.check_training(settings)


def test_times_are_medians_after_a_warm_up(tmp_path):
    settings = GpuSettings("cpu", tmp_path, False, 100, time.monotonic())
    calls = []
    measured = measure_ms(lambda: calls.append(0), settings, warm_up=4)
    assert len(calls) == 24 and measured["runs"] == 20
    assert 0 <= measured["min"] <= measured["median"] <= measured["max"] < 1000


@pytest.mark.skipif("EMU_LONG_TESTS" not in os.environ, reason="two minutes: EMU_LONG_TESTS=1")
def test_trainings_on_one_and_on_two_processes_agree(tmp_path):
    code, content = check(tmp_path, "training", "devices")
    assert code == 0, content
    assert all(part["status"] == "passed" for part in content["parts"].values())
    assert set(content["parts"]["devices"]["losses_by_devices"]) == {"1", "2"}
