"""`training/export.py`: every data set's network becomes a model file with scores and a card."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from emu_core.data.augment import Augmentation
from emu_core.data.datasets import DATASETS, DataSet, PinholeCamera, SplitNames
from emu_core.data.sample import Sample
from emu_core.labels import ClassTable
from emu_core.networks import DepthFormer, SegDepthFormer, SegFormer, save_model
from emu_core.runtime.model_file import read_info
from emu_core.training.config import Architecture, Data, Run, TrainingConfig
from emu_core.training.run import write_config
from emu_core.training.teacher import train_network

SIZE = Augmentation(32, 64, canonical_focal=60.0, depth_limit=40.0)


@pytest.fixture
def export(run, tmp_path):
    """Function that exports an untrained network for some data; returns the exit status."""

    def call(data, *options, network=SegDepthFormer, classes=19, encoder=None, learned=None):
        torch.manual_seed(0)
        network = network("b0", classes)
        if network.depth_decoder is not None:
            network.init_depth(11.0, 5.0)
        save_model(network, tmp_path / "last.safetensors", {"learned": learned or {}})
        architecture = Architecture(encoder=encoder)
        write_config(tmp_path, TrainingConfig(data, architecture, run=Run(steps=7)))
        files = ["--weights", "last.safetensors", "--config", "config.yaml"]
        return run("export", *files, "--output", "out/tiny.onnx", *options)

    return call


@pytest.fixture
def write_camera(write_frame, tmp_path):
    """Function that writes one frame below data/, of a width and a relative focal length."""

    def write(split, number, width=64, focal=1.0):
        name, size, focal = f"{split}{number}_000000_000000", (width // 2, width), width * focal
        rgb = np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)
        raw = np.full(size, 1 + round(256 * 0.22 * focal / 11), np.uint16)  # 11 m
        write_frame(tmp_path / "data", split, name, rgb, raw=raw, focal=focal)

    return write


def exported(tmp_path):
    """What the model file says, and its card."""
    card = (tmp_path / "out" / "tiny.md").read_text()
    return read_info(tmp_path / "out" / "tiny.onnx"), card


def splits_of(info):
    return {name.partition(".")[0] for name in info.metrics}


def test_rendered_drives_are_reported_on_test_and_on_the_extra_splits_that_exist(
    export, write_camera, tmp_path
):
    for number, focal in enumerate((1.0, 1.5)):
        write_camera("train", number, focal=focal)
    for split in ("val", "test", "night"):
        write_camera(split, 9)
    data = Data("drives", Path("data"), augmentation=SIZE, cache=Path("cache"), limit=5)
    (tmp_path / "more.md").write_text("## Training\n\nSee here.\n")
    more = ("--sections", "more.md", "--license", "Apache-2.0")
    assert export(data, "--note", "a test", *more) == 0
    info, card = exported(tmp_path)
    assert "## Training\n\nSee here.\n\n## Licence\n\nApache-2.0." in card
    assert "rendered by this project" in card
    assert info.horizontal_fov == pytest.approx((36.9, 53.1), abs=0.1)  # two lenses
    assert splits_of(info) == {"test", "night"}
    assert info.metrics["test.depth_delta1"] > 0.5  # the untrained network predicts 11.7 m
    assert "2 rendered frames (data, split train), 7 steps of 8 images" in card
    assert "seed 0, a test; no real images" in card
    assert "depth valid up to 80 m" in card
    assert "--kind drives --root data --splits test night`" in card
    assert "No training frame shows the conditions of `night`" in card
    assert "Apache-2.0" in card and "never seen a real image" in card


def test_a_file_is_calibrated_on_validation_frames(export, write_camera, tmp_path, capsys):
    for split in ("train", "val", "test"):
        write_camera(split, 1)
    data = Data("drives", Path("data"), augmentation=SIZE)
    assert export(data) == 0
    info, card = exported(tmp_path)
    assert info.calibration is None and "Calibration" not in card
    assert export(data, "--calibrate", "data", "--splits", "test") == 0
    info, card = exported(tmp_path)
    assert info.calibration.frames == "1 frames of data (val)"
    assert info.calibration.after["data (val).interval_90"] == pytest.approx(0.9, abs=2e-3)
    factor = f"{info.calibration.std_scale:.3f} + {info.calibration.std_doubt:.3f}"
    assert f"The deviation of depth is multiplied by {factor} · class uncertainty" in card
    after = info.metrics["test.depth_interval_90"]
    assert re.search(rf"\| test: depth_interval_90 +\| [\d.]+ +\| {after:.3f} ", card)
    assert export(data, "--calibrate-distance") == 1
    assert "--calibrate-distance need --calibrate" in capsys.readouterr().err
    assert export(data, "--calibrate", "elsewhere") == 1
    assert (
        "elsewhere: no frames for a calibration; the training has such frames in data."
        in capsys.readouterr().err
    )


def test_cityscapes_is_reported_on_val_with_images_of_different_sizes(
    export, write_camera, tmp_path
):
    for split in ("train", "val"):
        for number, width in enumerate((64, 128)):
            write_camera(split, number, width)
    data = Data("cityscapes", Path("data"), max_depth=12.0, augmentation=SIZE)
    assert export(data, encoder="nvidia/mit-b0") == 0
    info, card = exported(tmp_path)
    assert splits_of(info) == {"val"}
    assert "2 images of cityscapes (data, split train)" in card
    assert "no real images" not in card and "never seen a real image" not in card
    assert "depth valid up to 12 m" in card
    assert "--kind cityscapes --root data --splits val --max-depth 12`" in card
    assert "training began with (nvidia/mit-b0)" in card and "Apache" not in card


def test_nyuv2_is_reported_on_test_with_its_own_classes_and_range(
    export, write_nyuv2_unpacked, tmp_path
):
    for split in ("train", "test"):
        write_nyuv2_unpacked(tmp_path / "data", split)
    assert export(Data("nyuv2", Path("data"), augmentation=SIZE), classes=40) == 0
    info, card = exported(tmp_path)
    assert splits_of(info) == {"test"}
    assert len(info.classes) == 40 and "40 classes (nyuv2)" in card
    assert "depth valid up to 10 m" in card


@pytest.mark.parametrize(
    ("network", "outputs", "said"),
    [
        (SegFormer, ("labels", "label_uncertainty"), ("SegFormer-B0", "The model has no depth.")),
        (lambda variant, _: DepthFormer(variant), ("depth", "depth_std"), ("DepthFormer-B0",)),
    ],
)
def test_a_network_for_one_task_becomes_a_file_for_this_task(
    export, write_camera, tmp_path, run, network, outputs, said
):
    for number, split in enumerate(("train", "val", "test")):
        write_camera(split, number)
    assert export(Data("drives", Path("data"), augmentation=SIZE), network=network) == 0
    info, card = exported(tmp_path)
    assert info.outputs == outputs and all(text in card for text in said)
    task = "label" if "labels" in outputs else "depth"
    assert {name.split(".")[1][:5] for name in info.metrics} <= {task, "miou"}
    assert any(name.startswith(f"test.{task}") for name in info.metrics)
    # evaluate.py prints and writes only these metrics.
    options = ["--model", "out/tiny.onnx", "--root", "data", "--output", "scores.json"]
    assert run("evaluate", *options) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())["test"]
    assert {
        f"test.{name}" for name, value in scores.items() if name != "iou" and value is not None
    } == set(info.metrics)


@pytest.mark.parametrize(
    ("options", "changes", "message"),
    [
        ([], {"classes": 5}, "to have the network's 5 classes, but got 19"),
        ([], {"learned": {"canonical_focal": 32.0}}, "canonical focal length 32 px against 60 px"),
        ([], {"learned": {"depth_limit": 80.0}}, "depth limit 80 m against 40 m"),
        (["--splits", "val", "dusk"], {}, "No folder data/leftImg8bit/dusk"),
        (["--config", "none.yaml"], {}, "none.yaml is not a configuration of a training"),
    ],
)
def test_an_impossible_export_ends_with_one_message(
    export, write_camera, tmp_path, capsys, options, changes, message
):
    for split in ("train", "val"):
        write_camera(split, 1)
    assert export(Data("cityscapes", Path("data"), augmentation=SIZE), *options, **changes) == 1
    error = capsys.readouterr().err
    assert error.startswith("export: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_distill_reports_an_impossible_export_before_training(run, write_camera, tmp_path, capsys):
    for number, focal in enumerate((1.0, 1.5)):
        write_camera("train", number, focal=focal)
        write_camera("val", number)
    (tmp_path / "base.yaml").write_text("data: {kind: cityscapes, root: data, batch: 2}")
    assert run("distill", "--config", "base.yaml", "--run.name", "tiny") == 1
    error = capsys.readouterr().err
    assert error.startswith("distill: no model file can be made") and "37° to 53°" in error
    assert not (tmp_path / "runs").exists()


class Generated(DataSet):
    classes = ClassTable("weather", ("ground", "sky"), (1, 2), ((90, 60, 0), (0, 0, 255)), 1)
    default_max_depth = 30.0
    image_source = "generated images"

    def list_names(self):
        return [f"{self.split}_{number}" for number in range(3)]

    @classmethod
    def split_names(cls, root):
        return SplitNames("learn", "watch", "report", extra=("storm",))

    def read(self, name):
        image = np.random.default_rng([*name.encode()]).integers(0, 256, (32, 64, 3), np.uint8)
        depth = np.linspace(6, 12, 64, dtype=np.float32)[None].repeat(32, 0)
        return Sample(name, image, np.zeros((32, 64), np.uint8), depth, (64.0, 64.0))

    def files(self, name):
        return []

    def camera(self, name):
        return PinholeCamera(64.0, 64.0, 64, 32)


@pytest.mark.filterwarnings("ignore")
def test_another_data_set_is_trained_on_exported_and_scored(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(DATASETS, "_values", dict(DATASETS))
    DATASETS.register("generated")(Generated)
    data = Data("generated", augmentation=SIZE, batch=2, workers=0, cache=tmp_path / "cache")
    assert data.root == Path("data/generated")
    settings = Run(steps=2, precision="32-true", validate_every=2, devices=1)
    folder = tmp_path / "runs"
    weights = train_network(TrainingConfig(data, run=settings), folder)

    files = ["--weights", weights, "--config", folder / "config.yaml"]
    assert run("export", *files, "--output", "out/tiny.onnx") == 0
    info, _ = exported(tmp_path)
    assert splits_of(info) == {"report", "storm"}
    assert "3 generated images (data/generated, split learn), 2 steps" in info.training_data
    assert info.classes.names == ("ground", "sky")

    options = ["--model", "out/tiny.onnx", "--kind", "generated", "--splits", "watch"]
    assert run("evaluate", *options, "--output", "scores.json") == 0
    assert "on data/generated, depth valid up to 30 m" in capsys.readouterr().out
    scores = json.loads((tmp_path / "scores.json").read_text())["watch"]
    assert 0 <= scores["miou"] <= 1 and scores["depth_rmse_m"] > 0
