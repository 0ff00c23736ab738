"""`training/distill.py`: from members to a model file, on a few tiny frames."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from emu_core import files
from emu_core.data.sample import DataError
from emu_core.runtime.perceiver import Perceiver
from emu_core.training import teacher

FOLDER = Path(__file__).parents[2] / "training"

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec")


@pytest.fixture(scope="module")
def script(load_command):
    return load_command("distill")


FRAMES = [(s, f"{s}0001_000000_{i:06d}") for s in ("train", "val", "test") for i in range(3)]

OPTIONS = {
    "data.root": "data",
    "data.batch": 2,
    "data.workers": 0,
    "data.augmentation.height": 64,
    "data.augmentation.width": 128,
    "data.augmentation.canonical_focal": 100.0,
    "teacher.members": 2,
    "teacher.steps": 1,
    "distillation.variants": 2,
    "distillation.cache": "cache",
    "control": "true",
    "run.name": "tiny",
    "run.steps": 2,
    "run.seed": 100,
    "run.threads": 1,
}


@pytest.fixture
def distill(run, as_arguments, tmp_path, monkeypatch):
    """Function that runs the command in a folder of its own, and returns its exit status."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (tmp_path / "base.yaml").write_text("optimisation: {learning_rate: 1.0e-4}\n")

    def call(**others):
        options = OPTIONS | {name.replace("__", "."): value for name, value in others.items()}
        return run("distill", "--config", "base.yaml", *as_arguments(options))

    return call


def test_one_command_leads_from_drives_to_a_model_file(
    distill, tmp_path, write_noise, capsys, monkeypatch, script
):
    write_noise(tmp_path / "data", FRAMES)
    assert distill() == 0
    out = capsys.readouterr().out
    run = tmp_path / "runs" / "tiny"
    for name in ("teacher/member-0", "teacher/member-1", "student", "control"):
        assert (run / name / "last.safetensors").is_file()
    table = pd.read_json(run / "evaluation/evaluation.json")
    means = {name: rows["mean"] for name, rows in table.set_index("metric").groupby("method")}
    methods = ["single", "de", "student", "control"]
    assert list(table.method.unique()) == methods
    assert all(0 <= means[m]["miou"] <= 1 and means[m]["rmse"] > 0 for m in methods)
    header, *lines = out[out.index("test, 3 images") :].splitlines()[1:]
    assert header.split() == methods
    assert lines[0].split()[3:] == [f"{means[m]['miou']:.3f}" for m in methods]
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 4  # 2 epochs, 2 frames each
    perceiver = Perceiver(run / "student.onnx")
    assert perceiver.info.metrics["test.miou"] == pytest.approx(means["student"]["miou"])
    assert "distilled from 2 networks" in perceiver.info.training_data

    # The same command trains nothing again; a second student uses the finished members.
    with monkeypatch.context() as patch:
        for module in ("teacher", "distillation"):
            patch.setattr(f"emu_core.training.{module}.fit", None)
        assert distill() == 0
    assert pd.read_json(run / "evaluation/evaluation.json").equals(table)
    monkeypatch.setattr(script, "write_model", lambda *_: None)
    second = {"run__name": "second", "run__seed": 101, "control": "false"}
    assert distill(teacher__folder=run / "teacher", **second) == 0
    assert not (tmp_path / "runs/second/teacher").exists()
    table = pd.read_json(tmp_path / "runs/second/evaluation/evaluation.json")
    assert list(table.method.unique()) == ["single", "de", "student"]


def test_unlabelled_frames_without_a_loss_term_are_refused_before_a_member_is_trained(
    distill, tmp_path, write_noise, capsys
):
    write_noise(tmp_path / "data", FRAMES)
    assert distill(distillation__unlabelled="rest", data__limit=2) == 1
    assert "set loss.mean_weight above 0" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_without_a_configuration_the_tiny_one_is_used(script, monkeypatch):
    seen = []
    monkeypatch.setattr(script, "parse_config", lambda _, given, *__: seen.append(given))
    monkeypatch.setattr(script, "distill", lambda _: None)
    for arguments in ([], ["--run.steps", "3"], ["--config=x.yaml"], ["--help"]):
        monkeypatch.setattr(sys, "argv", ["distill", *arguments])
        assert script.main() == 0
    tiny = ["--config", str(FOLDER / "configs" / "distill_tiny.yaml")]
    assert seen == [tiny, [*tiny, "--run.steps", "3"], ["--config=x.yaml"], ["--help"]]


def test_missing_drives_are_rendered(script, tmp_path, monkeypatch):
    commands, status = [], 0

    def run(command, check):
        commands.append(command)
        return SimpleNamespace(returncode=status)

    monkeypatch.setattr(script.subprocess, "run", run)
    script.render_drives(Path("drives_tiny.yaml"), tmp_path)
    config = str(FOLDER / "configs" / "drives_tiny.yaml")
    command = [sys.executable, str(FOLDER / "render_drives.py")]
    assert commands == [[*command, "--config", config, "--output", str(tmp_path)]]
    status = 1
    with pytest.raises(DataError, match=r"lacks drives, .* rendering them failed.*Then copy"):
        script.render_drives(Path("drives_tiny.yaml"), tmp_path)

    drives = tmp_path / "two.yaml"
    drives.write_text(
        "{width: 64, height: 32, splits: {train: {seeds: [1, 2], frames: 1, interval: 1}}}"
    )
    for name in ("train1", "train2"):
        path = tmp_path / "camera" / "train" / name / f"{name}_000000_000000_camera.json"
        path.parent.mkdir(parents=True)
        path.touch()
    script.render_drives(drives, tmp_path)  # complete: nothing to render
    assert len(commands) == 2


def test_what_makes_a_result_impossible_is_said_before_a_member_is_trained(
    distill, tmp_path, write_noise, capsys, monkeypatch
):
    write_noise(tmp_path / "data", FRAMES)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: SimpleNamespace(total=9, free=9))
    assert distill() == 1
    error = capsys.readouterr().err
    assert error.startswith("distill: There is too little disk space: this needs about 0.6")
    assert "of cached frames in cache, but only 9e-09 GB are free" in error
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**12))
    write_noise(tmp_path / "data", [("train", "train0002_000000_000000")], focal=60.0)
    assert distill(data__augmentation__canonical_focal="null") == 1
    error = capsys.readouterr().err
    assert error.startswith("distill: no model file can be made: depth is learned in plain metres")
    assert distill(teacher__architecture__task="depth") == 1
    assert "teacher.architecture.task is depth, but the student's" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()

    def stop(*_):
        raise ValueError("The members would be trained now.")

    monkeypatch.setattr(teacher, "obtain_teacher", stop)
    assert distill(architecture__task="depth") == 1
    assert "The members would be trained now." in capsys.readouterr().err
