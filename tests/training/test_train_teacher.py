"""`training/train_teacher.py` as a researcher starts it, on a few tiny frames.

1. Four steps leave checkpoints, weights, metrics and the configuration.
2. The same command with two more steps goes on from there.
3. Nothing to train, nothing to read and a diverging loss end with one clear message.
"""

import csv
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from emu_core.networks import SegDepthFormer
from emu_core.networks.weights import load_model
from emu_core.training.member import Member, Optimisation

SCRIPT = Path(__file__).parents[2] / "training" / "train_teacher.py"


def write_drives(root, write_frame):
    rng = np.random.default_rng(0)
    camera = {
        "extrinsic": {"baseline": 0.22},
        "intrinsic": {"fx": 150.0, "fy": 150.0, "u0": 79.5, "v0": 39.5},
    }
    for split, count in (("train", 5), ("val", 2)):
        for i in range(count):
            write_frame(
                root,
                split,
                f"drive0001_{i:06d}_000000",
                rng.integers(0, 256, (80, 160, 3), np.uint8),
                rng.choice(np.array([7, 11, 23], np.uint8), (80, 160)),
                rng.integers(400, 4000, (80, 160)).astype(np.uint16),
                camera,
            )


def train(folder, *arguments, root="data"):
    options = {
        "data.root": root,
        "data.batch": 2,
        "data.workers": 1,
        "data.augmentation.height": 64,
        "data.augmentation.width": 128,
        "data.augmentation.canonical_focal": 100.0,
        "data.augmentation.flip": True,
        "run.name": "tiny",
        "run.steps": 4,
        "run.precision": "32-true",
        "run.ema": 0.5,
        "run.validate_every": 2,
        "run.checkpoint_every": 250,
        "run.threads": 1,
    }
    command = [sys.executable, str(SCRIPT)]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder with data/ and, after four steps, runs/tiny/."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def script():
    """The command as a module."""
    spec = importlib.util.spec_from_file_location("train_teacher", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their annotations up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def trained(folder, write_frame):
    if not (folder / "data").exists():
        write_drives(folder / "data", write_frame)
        done = train(folder)
        assert done.returncode == 0, done.stderr
        assert "5 training images from data" in done.stdout
    return folder / "runs" / "tiny"


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def weights(path):
    return load_model(path)[0].state_dict()


def read_checkpoint(path):
    return torch.load(path, map_location="cpu", weights_only=True)


def assert_same_weights(first, second):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=0)


def test_four_steps_leave_checkpoints_weights_metrics_and_configuration(trained):
    checkpoint = read_checkpoint(trained / "last.ckpt")
    assert checkpoint["global_step"] == 4
    averaged = {k.removeprefix("model."): v for k, v in checkpoint["state_dict"].items()}
    assert_same_weights(weights(trained / "last.safetensors"), averaged)
    best = read_checkpoint(trained / "best.ckpt")["state_dict"]
    best = {name.removeprefix("model."): value for name, value in best.items()}
    assert_same_weights(weights(trained / "best.safetensors"), best)
    metrics = rows(trained / "metrics.csv")
    assert [row["step"] for row in metrics if row["val_miou"]] == ["1", "3"]
    assert all(float(row["val_depth_rmse_m"]) > 0 for row in metrics if row["val_miou"])
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["run"]["steps"] == 4
    assert config["data"]["root"] == "data"
    assert config["data"]["augmentation"]["canonical_focal"] == 100.0
    assert config["variant"] == "b0"


def test_the_averaged_weights_are_not_the_trained_ones(trained):
    checkpoint = read_checkpoint(trained / "last.ckpt")
    name = "model.depth_decoder.head.bias"
    averaged, raw = checkpoint["state_dict"][name], checkpoint["current_model_state"][name]
    assert not torch.equal(averaged, raw)


def test_a_finished_run_given_again_keeps_its_averaged_weights(trained, script):
    member = Member(SegDepthFormer("b0"), Optimisation())
    script.fit(member, None, None, script.Run(name="tiny", steps=4), trained)
    assert_same_weights(member.model.state_dict(), weights(trained / "last.safetensors"))


def test_the_same_command_with_more_steps_goes_on_and_keeps_the_earlier_metrics(trained, folder):
    earlier, before = rows(trained / "metrics.csv"), weights(trained / "last.safetensors")
    done = train(folder, "--run.steps", "6")
    assert done.returncode == 0, done.stderr
    assert "last.ckpt has 4 of 6 steps" in done.stdout
    assert read_checkpoint(trained / "last.ckpt")["global_step"] == 6
    assert rows(trained / "metrics-1.csv") == earlier
    assert [row["step"] for row in rows(trained / "metrics.csv") if row["val_miou"]] == ["5"]
    after = weights(trained / "last.safetensors")
    name = "encoder.stages.0.embed.weight"
    assert not torch.equal(before[name], after[name])
    # AdamW moves a weight by about its rate: a run from the start would be elsewhere by 1e-2.
    assert (before[name] - after[name]).abs().max() < 1e-3


def test_class_weights_follow_the_shares_of_the_labels_and_are_1_in_the_mean(script):
    labels = np.repeat(np.array([0, 11, 255], np.uint8), [64, 4, 32]).reshape(10, 10)
    weights = script.class_weights([SimpleNamespace(labels=labels)], 0.5)
    assert float(weights[11] / weights[0]) == pytest.approx(4.0)
    assert float(64 * weights[0] + 4 * weights[11]) == pytest.approx(68.0)


def test_missing_data_ends_with_one_clear_message_and_leaves_nothing(tmp_path):
    done = train(tmp_path, root="nowhere")
    assert done.returncode == 1
    assert "train_teacher: No folder nowhere/leftImg8bit/train." in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_damaged_file_met_by_a_loading_process_ends_with_its_message_alone(
    script, monkeypatch, capsys
):
    def fail(*_, **__):
        try:
            raise script.DataError("x.png is damaged.")
        except script.DataError:
            torch._utils.ExceptionWrapper(where="in DataLoader worker process 0").reraise()

    with pytest.raises(script.DataError, match="Traceback"):
        fail()
    monkeypatch.setattr(script.jsonargparse, "auto_cli", fail)
    assert script.main() == 1
    assert capsys.readouterr().err == "train_teacher: x.png is damaged.\n"


def test_a_diverging_loss_ends_with_its_message(script, monkeypatch, capsys):
    def fail(*_, **__):
        raise FloatingPointError("The loss became nan at step 3.")

    monkeypatch.setattr(script.jsonargparse, "auto_cli", fail)
    assert script.main() == 1
    assert capsys.readouterr().err == "train_teacher: The loss became nan at step 3.\n"
