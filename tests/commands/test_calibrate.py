"""`training/calibrate.py`: from frames to a calibrated model file."""

import json
import re

import numpy as np
import pytest
import torch

from emu_core.networks import SegDepthFormer, save_model
from emu_core.runtime.dummy_model import make_dummy_model
from emu_core.runtime.model_file import read_info
from emu_core.training.config import Data, Run, TrainingConfig
from emu_core.training.run import describe_training, write_config


@pytest.fixture
def model(tmp_path):
    return make_dummy_model(tmp_path / "model.onnx", logits=True)


def metrics(text):
    """Metrics before and after by name, from the output of the command."""
    found = re.findall(r": (\w+) ([\d.]+) → ([\d.]+)", text)
    return {name: (float(before), float(after)) for name, before, after in found}


def test_a_model_is_calibrated_on_drives(run, model, tmp_path, write_drive, capsys):
    for frame in range(4):
        write_drive(tmp_path / "drives", "val", f"val3000_000000_00000{frame}", seed=frame)
    new = tmp_path / "new.onnx"
    options = ("--model", model, "--kind", "drives", "--root", "drives", "--output", new)
    assert run("calibrate", *options, "--dry-run") == 0 and not new.exists()
    assert run("calibrate", *options) == 0
    shown = metrics(capsys.readouterr().out)
    assert shown["nll"][1] < shown["nll"][0]
    assert shown["interval_90"][1] == pytest.approx(0.9, abs=2e-3)
    found = read_info(new).calibration
    assert found.frames == "4 frames of drives (val)"
    assert run("calibrate", *options, "--shifts", "fog", "night", "--dry-run") == 0
    shown_shifted = capsys.readouterr().out
    assert (
        "drives (val+fog): interval_90" in shown_shifted and "drives (val+night)" in shown_shifted
    )
    assert (
        metrics(shown_shifted.split("drives (val+fog)")[0])["interval_90"] == shown["interval_90"]
    )
    assert run("calibrate", *options, "--shifts", "hail") == 1
    assert "Expected a shift of rain, dirt" in capsys.readouterr().err
    assert found.after["drives (val).nll"] == pytest.approx(shown["nll"][1], abs=1e-4)
    # Calibrated again, from the file itself, it comes to the same values.
    assert run("calibrate", "--model", new, *options[2:-2]) == 0
    again = metrics(capsys.readouterr().out)
    assert again["nll"] == pytest.approx((shown["nll"][1], shown["nll"][1]), abs=2e-4)
    np.testing.assert_allclose(
        read_info(new).calibration.temperature, found.temperature, rtol=1e-2
    )


def test_weights_are_calibrated_on_the_validation_frames_of_their_training(
    run, tmp_path, write_drive, capsys
):
    for split in ("train", "val"):
        for frame in range(3):
            write_drive(tmp_path / "data", split, f"{split}1_000000_00000{frame}", seed=frame)
    config = TrainingConfig(Data("drives", tmp_path / "data"), run=Run(steps=7))
    torch.manual_seed(0)
    network = SegDepthFormer("b0", 19)
    network.init_depth(11.0, 0.5)
    learned = {**describe_training(config), "method": "network", "seed": 0}
    save_model(network, tmp_path / "last.safetensors", {"learned": learned})
    write_config(tmp_path, config)
    files = ("--weights", "last.safetensors", "--config", "config.yaml")
    assert run("calibrate", *files) == 0
    shown = metrics(capsys.readouterr().out)
    assert shown["nll"][1] < shown["nll"][0]
    assert shown["interval_90"][1] == pytest.approx(0.9, abs=2e-3)
    methods = ("single=last.safetensors", "calibrated=last.safetensors")
    options = ("--methods", *methods, "--config", "config.yaml", "--splits", "val")
    assert run("evaluate", *options, "--output", "scores") == 0
    found = json.loads((tmp_path / "scores" / "evaluation.json").read_text())
    values = {(r["method"], r["metric"]): r["mean"] for r in found}
    assert values["calibrated", "seg.nll"] < values["single", "seg.nll"]
    assert values["calibrated", "depth.coverage90"] == pytest.approx(0.9, abs=0.01)
    assert run("calibrate", *files, "--shifts", "rain", "--dry-run") == 0
    assert "data (val+rain): interval_90" in capsys.readouterr().out
    assert run("calibrate", *files, "--root", "elsewhere") == 1
    assert "elsewhere: no frames for a calibration" in capsys.readouterr().err
    assert run("calibrate", *files[:2]) == 1
    assert "--weights needs --config" in capsys.readouterr().err
    assert run("calibrate", *files, "--model", "model.onnx") == 1
    assert "either --model or --weights" in capsys.readouterr().err


def test_a_distance_is_refused_before_the_work(run, model, tmp_path, write_drive, capsys):
    options = ("--kind", "drives", "--root", "drives", "--distance")
    for frame in range(10):
        if frame == 9:
            assert run("calibrate", "--model", model, *options) == 1
            assert "at least 10 frames of the first data set, but" in capsys.readouterr().err
        write_drive(tmp_path / "drives", "val", f"val3000_000000_{frame:06d}")
    assert run("calibrate", "--model", model, *options) == 1
    assert "give a second data set, or shifts" in capsys.readouterr().err
    assert run("calibrate", "--model", model, *options, "--shifts", "night") == 1
    assert "has no encoder of this project" in capsys.readouterr().err
    weights = ("--weights", "last.safetensors", "--config", "config.yaml")
    assert run("calibrate", *weights, "--distance") == 1
    assert "--distance needs --model" in capsys.readouterr().err


def test_what_cannot_be_calibrated_is_refused(run, tmp_path, write_drive, capsys):
    write_drive(tmp_path / "drives", "val", "val3000_000000_000000")
    only = {"outputs": ("labels", "label_uncertainty")}
    plain = make_dummy_model(tmp_path / "plain.onnx", **only)
    options = ("--model", plain, "--kind", "drives", "--root", "drives")
    assert run("calibrate", *options) == 1
    assert "neither the output 'logits' nor 'depth_std'" in capsys.readouterr().err
    assert run("calibrate", *options, "other") == 1
    assert "--kind and --root equally often: got 1 and 2" in capsys.readouterr().err
    assert run("calibrate", *options, "--splits", "haze") == 1
    assert "haze" in capsys.readouterr().err
