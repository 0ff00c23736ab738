"""Data sets with only some truth: trained where it is enough, refused before the training if not.

The refusals end with exit status 1 and one sentence, and write nothing.
"""

import csv
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

from emu_core.data.augment import Augmentation
from emu_core.networks import SegDepthFormer, load_model
from emu_core.training.config import Data, Run
from emu_core.training.release import model_facts

pytestmark = pytest.mark.filterwarnings("ignore")

OPTIONS = {
    "data.workers": 0,
    "data.batch": 2,
    "data.augmentation.height": 32,
    "data.augmentation.width": 64,
    "run.name": "tiny",
    "run.steps": 2,
    "run.validate_every": 2,
    "run.precision": "32-true",
    "run.threads": 1,
}
VALIDATED = {
    "segmentation": ("val_miou", "val_depth_rmse_m"),
    "depth": ("val_depth_rmse_m", "val_miou"),
}
MEASURED = {"segmentation": ("miou", "rmse"), "depth": ("rmse", "miou")}


@pytest.fixture
def command(run, as_arguments, monkeypatch):
    """Function that runs a training command with OPTIONS and others, as the names of options."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    def call(name, *arguments, **others):
        options = OPTIONS | {key.replace("__", "."): value for key, value in others.items()}
        return run(name, *arguments, *as_arguments(options))

    return call


@pytest.fixture
def refused(command, tmp_path, capsys):
    """Function that expects a command to be refused, and returns the sentence."""

    def call(name, *arguments, **others):
        before = sorted(tmp_path.rglob("*"))
        assert command(name, *arguments, **others) == 1
        assert sorted(tmp_path.rglob("*")) == before
        error = capsys.readouterr().err
        assert error.startswith(f"{name}: ") and error.count("\n") == 1
        return error

    return call


def write_cityscapes(write_noise, root, *missing):
    """Write frames in Cityscapes' layout, and remove some kinds of files."""
    frames = [(split, f"town_000000_{k:06d}") for split in ("train", "val") for k in range(2)]
    write_noise(root, frames, (32, 64), 60.0, (100, 1000))
    for name in missing:
        shutil.rmtree(root / name)


@pytest.mark.parametrize(
    ("task", "missing"),
    [
        ("segmentation", ("disparity",)),
        ("segmentation", ("disparity", "camera")),
        ("depth", ("gtFine",)),
    ],
)
def test_a_network_of_one_task_needs_only_the_truth_of_its_task(
    command, run, tmp_path, write_noise, task, missing
):
    write_cityscapes(write_noise, tmp_path / "data", *missing)
    data = {"data__kind": "cityscapes", "data__root": "data"}
    assert command("train_teacher", **data, architecture__task=task) == 0
    folder = tmp_path / "runs/tiny/member-0"
    with open(folder / "metrics.csv", newline="") as file:
        (row,) = [
            r for r in csv.DictReader(file) if r.get("val_miou") or r.get("val_depth_rmse_m")
        ]
    other = "val_depth_rmse_m" if task == "segmentation" else "val_miou"
    assert other not in row
    options = ("--config", folder / "config.yaml", "--output", "scores")
    assert run("evaluate", "--methods", f"single={folder}/last.safetensors", *options) == 0
    table = pd.read_json(tmp_path / "scores/evaluation.json").set_index("metric")["mean"]
    measured, absent = MEASURED[task]
    assert np.isfinite(table[measured]) and absent not in table


@pytest.mark.parametrize(
    ("task", "missing", "message"),
    [
        ("segmentation", ("gtFine",), "none of 2 frames has labels."),
        ("depth", ("disparity",), "none of 2 frames has depth with a camera."),
        ("depth", ("camera",), "none of 2 frames has depth with a camera."),
        ("joint", ("gtFine",), "Train a network without classes with architecture.task depth."),
        ("joint", ("disparity",), "Without depth, train with architecture.task segmentation."),
    ],
)
def test_a_task_without_any_truth_is_refused(
    refused, tmp_path, write_noise, task, missing, message
):
    write_cityscapes(write_noise, tmp_path / "data", *missing)
    data = {"data__kind": "cityscapes", "data__root": "data", "architecture__task": task}
    assert message in refused("train_teacher", **data)


@pytest.mark.parametrize("name", ["train_teacher", "distill"])
def test_ids_that_no_table_knows_are_refused_and_listed(refused, tmp_path, write_frame, name):
    ids = np.full((32, 64), 101, np.uint8)
    ids[8:] = 107
    for split in ("train", "val"):
        for k in range(2):
            write_frame(
                tmp_path / "data", split, f"t_000000_{k:06d}", ids=ids, size=(32, 64), focal=60.0
            )
    (tmp_path / "empty.yaml").write_text("run: {seed: 100}")
    data = {"data__kind": "cityscapes", "data__root": "data"}
    error = refused(name, "--config", "empty.yaml", **data)
    assert "no pixel of the labels has a class" in error and "107 (75%), 101 (25%)" in error
    assert "Expected ids of cityscapes: 7 road, 8 sidewalk, " in error


TWO = {"classes": {1: "ground", 2: "tree"}}


def mixture(path, *sources, **data):
    """Write a configuration of folder data sets for a student's seed."""
    listed = [{"kind": "folder", **source} for source in sources]
    augmentation = {"canonical_focal": 60.0, "depth_limit": 80.0}
    content = {"data": {"mixture": listed, "augmentation": augmentation, **data}}
    path.write_text(yaml.safe_dump({**content, "run": {"seed": 100}}))


@pytest.mark.parametrize("name", ["train_teacher", "distill"])
def test_a_labelled_data_set_without_truth_is_refused(refused, tmp_path, write_folder, name):
    write_folder(tmp_path / "good", {"train": 2, "val": 2}, (1, 2), 1.0, 60.0, **TWO)
    write_folder(tmp_path / "bare", {"train": 2}, focal=60.0)
    mixture(tmp_path / "mixture.yaml", {"root": "good"}, {"root": "bare"})
    error = refused(name, "--config", "mixture.yaml")
    assert "bare, split train: none of 2 frames has labels and depth with a camera" in error
    assert "`unlabelled: true`" in error


@pytest.mark.parametrize("name", ["train_teacher", "distill"])
def test_classes_that_nothing_teaches_are_refused(refused, tmp_path, write_folder, name):
    write_folder(tmp_path / "own", {"train": 2, "val": 2}, (1, 2), 1.0, 60.0, **TWO)
    (tmp_path / "orchard.yaml").write_text("classes: [ground, tree, ladder, {name: open sky}]")
    mixture(tmp_path / "mixture.yaml", {"root": "own"}, classes="orchard.yaml")
    assert "No data set has labels of ladder, open sky" in refused(
        name, "--config", "mixture.yaml"
    )


def test_frames_without_cameras_teach_no_metres_and_make_no_model_file(
    refused, tmp_path, write_folder
):
    write_folder(tmp_path / "own", {"train": 2, "val": 2}, (1, 2), 1.0, **TWO)
    mixture(tmp_path / "mixture.yaml", {"root": "own"})
    for name in ("distill", "train_teacher"):
        error = refused(name, "--config", "mixture.yaml")
        assert "No training frame has depth and a camera: own." in error
        assert "architecture.task segmentation" in error
    data = Data("folder", tmp_path / "own", augmentation=Augmentation(32, 64))
    with pytest.raises(ValueError, match="no model file can be made: no training frame has a cam"):
        model_facts(data, Run())


def test_a_data_set_without_validation_is_refused(refused, tmp_path, write_folder):
    write_folder(tmp_path / "own", {"train": 4}, (1, 2), 1.0, 60.0, **TWO)
    mixture(tmp_path / "mixture.yaml", {"root": "own"})
    for name in ("train_teacher", "distill"):
        error = refused(name, "--config", "mixture.yaml", architecture__task="segmentation")
        assert "own" in error and "`splits`" in error


@pytest.mark.parametrize("name", ["train_teacher", "distill"])
def test_a_mixture_of_unlabelled_frames_alone_is_refused(refused, tmp_path, write_folder, name):
    write_folder(tmp_path / "clips", {"train": 2})
    mixture(tmp_path / "mixture.yaml", {"root": "clips", "unlabelled": True})
    assert "unlabelled: no truth is left" in refused(name, "--config", "mixture.yaml")


def test_a_student_of_unlabelled_frames_needs_a_loss_for_their_depth(
    refused, tmp_path, write_folder
):
    write_folder(tmp_path / "own", {"train": 2, "val": 2}, (1, 2), 1.0, 60.0, **TWO)
    write_folder(tmp_path / "clips", {"train": 2})
    mixture(tmp_path / "mixture.yaml", {"root": "own"}, {"root": "clips", "unlabelled": True})
    error = refused("distill", "--config", "mixture.yaml")
    assert "2 frames have no ground truth" in error and "loss.mean_weight" in error


def test_own_classes_need_no_table(command, tmp_path, write_folder):
    write_folder(tmp_path / "own", {"train": 2, "val": 2}, (1, 2), 0.1, 60.0, **TWO)
    data = {"data__kind": "folder", "data__root": "own"}
    assert command("train_teacher", **data, run__steps=1) == 0
    network, _ = load_model(tmp_path / "runs/tiny/member-0/last.safetensors")
    assert isinstance(network, SegDepthFormer) and network.num_classes == 2
    parts = Data("folder", tmp_path / "own", augmentation=Augmentation(32, 64)).open_training()
    assert parts.classes.names == ("ground", "tree")
