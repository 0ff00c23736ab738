"""The commands on one mixture: three label spaces; dense, sparse and no depth; unlabelled frames.

Two runs of train_teacher.py, one of them killed and resumed, and one student serve all tests.
"""

import copy
import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from emu_core.networks import load_model, normalize
from emu_core.runtime.model_file import read_info

pytestmark = pytest.mark.filterwarnings("ignore")

MOVABLE = ["person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"]
LIDAR = {
    "classes": {3: "Ground", 5: "vegetation", 7: "Movable", 9: "Smoke"},
    "maps_to": "cityscapes",
    "mapping": {
        "Ground": ["road", "sidewalk", "terrain"],
        "Movable": MOVABLE,
        "Smoke": "ignore",
    },
}
PHOTOS = {
    "classes": {0: "drivable", 1: "sky", 2: "stuff"},
    "maps_to": "cityscapes",
    "mapping": {"drivable": "road", "stuff": ["building", "wall", "fence", "vegetation"]},
}
# The same by hand, in train ids: ids of the label files, and the classes that they stand for.
GROUPS = {
    "lidar": {3: (0, 1, 9), 5: (8,), 7: tuple(range(11, 19))},
    "photos": {0: (0,), 1: (10,), 2: (2, 3, 4, 8)},
}

CONFIG = {
    "data": {
        "mixture": [
            {"kind": "drives", "root": "drives", "share": 2},
            {"kind": "folder", "root": "lidar", "share": 1},
            {"kind": "folder", "root": "photos", "share": 1},
            {"kind": "folder", "root": "clips", "share": 1, "unlabelled": True},
        ],
        "batch": 4,
        "workers": 0,
        "augmentation": {
            "height": 32,
            "width": 64,
            "canonical_focal": 60.0,
            "flip": True,
            "depth_limit": 80.0,
        },
    },
    "loss": {"class_balance": 0.25},
    "optimisation": {"warmup": 1},
    "run": {
        "steps": 4,
        "validate_every": 2,
        "checkpoint_every": 1,
        "precision": "32-true",
        "ema": 0,
        "threads": 1,
    },
}

KILLED = """
import os, runpy, signal, sys
from emu_core.training.callbacks import AtomicCheckpoints

save = AtomicCheckpoints.save_checkpoint

def save_and_die(self, checkpoint, *arguments, **options):
    save(self, checkpoint, *arguments, **options)
    if checkpoint["global_step"] == 3:
        os.kill(os.getpid(), signal.SIGKILL)

AtomicCheckpoints.save_checkpoint = save_and_die
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_noise, write_folder):
    """The current folder, with the data sets and mixture.yaml."""
    folder = tmp_path_factory.mktemp("mixture")
    frames = [(s, f"{s}0001_000000_{i:06d}") for s in ("train", "val", "test") for i in range(3)]
    write_noise(folder / "drives", frames, (32, 64), 60.0, (100, 1000))
    write_folder(folder / "lidar", {"train": 3, "val": 2}, (3, 5, 7, 9), 0.1, 50.0, **LIDAR)
    write_folder(folder / "photos", {"train": 3, "val": 2}, (0, 1, 2), **PHOTOS)
    write_folder(folder / "clips", {"train": 3})
    (folder / "moved").symlink_to("lidar")
    (folder / "mixture.yaml").write_text(yaml.safe_dump(CONFIG))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        yield folder


@pytest.fixture(scope="module")
def call(load_command, folder):
    """Function that runs a command and returns its exit status."""

    def run(name, *arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [name, *map(str, arguments)])
            return load_command(name).main()

    return run


@pytest.fixture(scope="module")
def teacher(call, folder):
    """The folder of a network that was trained without an interruption."""
    assert call("train_teacher", "--config", "mixture.yaml", "--run.name", "teacher") == 0
    return folder / "runs/teacher/member-0"


@pytest.fixture(scope="module")
def student(call, folder, teacher):
    """The folder of a distillation with that network as its teacher."""
    options = ("--teacher.folder", "runs/teacher", "--teacher.members", 1, "--run.steps", 2)
    options += ("--run.name", "student", "--run.seed", 100, "--loss.mean_weight", 0.5)
    assert call("distill", "--config", "mixture.yaml", *options) == 0
    return folder / "runs/student"


def rows(*paths):
    return [row for path in paths for row in csv.DictReader(path.read_text().splitlines())]


def state(path):
    return load_model(path)[0].state_dict()


def grouped_iou(weights, name):
    """IoU of each id in the validation frames: sum of the probabilities, then the argmax."""
    network, sets = load_model(weights)[0].eval(), GROUPS[name]
    others = [(k,) for k in range(19) if k not in {k for group in sets.values() for k in group}]
    groups = [*sets.values(), *others]
    hit, union, truths = (np.zeros(len(groups)) for _ in range(3))
    for k in range(2):
        image = cv2.imread(f"{name}/images/val_{k}.png")[..., ::-1].transpose(2, 0, 1).copy()
        ids = cv2.imread(f"{name}/labels/val_{k}.png", cv2.IMREAD_UNCHANGED)
        with torch.no_grad():
            logits = network(normalize(torch.from_numpy(image)[None])).logits
        logits = torch.nn.functional.interpolate(logits, (32, 64), mode="bilinear")
        p = torch.exp(logits)[0].numpy()
        predicted = np.stack([p[list(group)].sum(0) for group in groups]).argmax(0)
        for index, group_id in enumerate([*sets, *[-1] * len(others)]):
            known = np.isin(ids, list(sets))
            ours, theirs = (predicted == index) & known, ids == group_id
            hit[index] += (ours & theirs).sum()
            union[index] += (ours | theirs).sum()
            truths[index] += theirs.sum()
    return (hit / np.maximum(union, 1))[truths > 0]


def test_a_killed_run_ends_bit_identical_when_it_is_resumed(teacher, call, folder, capsys):
    script = os.path.join(os.path.dirname(__file__), "../../training/train_teacher.py")
    command = [sys.executable, "-c", KILLED, script, "--config", "mixture.yaml"]
    killed = subprocess.run([*command, "--run.name", "killed"], check=False, timeout=600)
    assert killed.returncode == -signal.SIGKILL
    run = folder / "runs/killed/member-0"
    assert not (run / "last.safetensors").exists()
    assert call("train_teacher", "--config", "mixture.yaml", "--run.name", "killed") == 0
    assert "last.ckpt has 3 of 4 steps" in capsys.readouterr().out
    for name in ("last.safetensors", "best.safetensors"):
        torch.testing.assert_close(state(run / name), state(teacher / name), rtol=0, atol=0)
    both = [r for r in rows(run / "metrics-1.csv", run / "metrics.csv") if r["val_miou"]]
    expected = [r for r in rows(teacher / "metrics.csv") if r["val_miou"]]
    names = [name for name in expected[0] if name.startswith("val_")]
    assert [[r[n] for n in names] for r in both] == [[r[n] for n in names] for r in expected]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda sources: sources[1].update(share=3), "data.mixture.1.share was 1.0, now 3.0"),
        (lambda sources: sources.pop(), "data.mixture was 4, now 3"),
        (lambda sources: sources[1].update(root="moved"), None),
    ],
)
def test_only_the_folders_of_a_mixture_may_change_when_a_run_is_resumed(
    teacher, call, folder, capsys, change, message
):
    changed = copy.deepcopy(CONFIG)
    change(changed["data"]["mixture"])
    (folder / "changed.yaml").write_text(yaml.safe_dump(changed))
    options = ("--config", "changed.yaml", "--run.name", "teacher")
    assert call("train_teacher", *options) == (0 if message is None else 1)
    assert (message or "") in capsys.readouterr().err


def test_every_data_set_is_validated_on_its_own(teacher, folder):
    last = [row for row in rows(teacher / "metrics.csv") if row["val_miou"]][-1]
    each = {name: float(last[f"val_{name}_miou"]) for name in ("drives", "lidar", "photos")}
    assert float(last["val_miou"]) == pytest.approx(np.mean(list(each.values())))
    rmse = [float(last[f"val_{name}_depth_rmse_m"]) for name in ("drives", "lidar")]
    assert float(last["val_depth_rmse_m"]) == pytest.approx(np.mean(rmse))
    assert "val_photos_depth_rmse_m" not in last
    assert not any("clips" in name for name in last)
    for name in GROUPS:
        expected = grouped_iou(teacher / "last.safetensors", name).mean()
        assert each[name] == pytest.approx(expected, abs=1e-6), name


def test_the_progress_has_one_line_for_each_data_set(call, folder, capsys):
    options = ("--run.name", "lines", "--run.steps", 1, "--config", "mixture.yaml")
    assert call("train_teacher", *options) == 0
    out = capsys.readouterr().out
    assert "3 training images from drives, labels on 100% of the pixels, depth valid up to" in out
    assert re.search(r"from lidar, labels on 7\d% of the pixels, depth .* on 10%\n", out)  # Smoke
    assert "3 training images from photos, labels on 100% of the pixels\n" in out
    lines = dict(re.findall(r"validation of (\w+): (.*)", out))
    assert list(lines) == ["drives", "lidar", "photos"]
    assert "depth_rmse_m" in lines["lidar"] and "depth" not in lines["photos"]


def test_distillation_ends_with_tables_of_every_data_set_and_a_model_file(student):
    table = pd.read_json(student / "evaluation/evaluation.json")
    assert list(table.split.unique()) == ["drives-test", "lidar-val", "photos-val"]
    means = table.set_index(["split", "method", "metric"])["mean"]
    report = (student / "evaluation/evaluation.md").read_text()
    for name in GROUPS:
        iou = grouped_iou(student / "student/last.safetensors", name)
        assert means[f"{name}-val", "student", "miou"] == pytest.approx(iou.mean(), abs=1e-6)
        assert f"## {name}-val: " in report
    assert means["lidar-val", "student", "rmse"] > 0
    depth = table[(table.split == "photos-val") & (table.metric == "rmse")]["mean"]
    assert depth.isna().all()
    for name in ("Ground", "Movable", "stuff"):
        assert name in report
    info = read_info(student / "student.onnx")
    assert info.metrics["lidar-val.miou"] == pytest.approx(
        means["lidar-val", "student", "miou"], abs=1e-6
    )
    assert all(np.isfinite(value) for value in info.metrics.values())
    assert re.search(r"images of clips \(clips, split train\) without", info.training_data)


def test_methods_are_scored_on_a_mixture(call, teacher, student, folder, capsys):
    files = [f"single={teacher}/last.safetensors", f"student={student}/student/last.safetensors"]
    options = ("--config", teacher / "config.yaml", "--output", "scores")
    assert call("evaluate", "--methods", *files, *options) == 0
    out = capsys.readouterr().out
    assert [s for s in ("drives-test", "lidar-val", "photos-val") if f"\n{s}\n" not in out] == []
    ours, theirs = (
        pd.read_json(f / "evaluation.json").set_index(["split", "method", "metric"])["mean"]
        for f in (folder / "scores", student / "evaluation")
    )
    for split in ("drives-test", "lidar-val", "photos-val"):
        for name in ("miou", "ece"):
            assert ours[split, "student", name] == pytest.approx(theirs[split, "student", name])
    assert call("evaluate", "--methods", *files, *options, "--root", "drives") == 1
    assert "--root" in capsys.readouterr().err


def test_the_export_scores_every_data_set_and_its_card_repeats_that(call, student, folder, capsys):
    files = ("--weights", student / "student/last.safetensors")
    options = ("--config", student / "student/config.yaml", "--output", "out/mix.onnx")
    assert call("export", *files, *options) == 0
    (card,) = (path.read_text() for path in (folder / "out").glob("*.md"))
    info = read_info(folder / "out/mix.onnx")
    assert {name.partition(".")[0] for name in info.metrics} == {
        "drives-test",
        "lidar-val",
        "photos-val",
    }
    assert "photos-val.depth_rmse_m" not in info.metrics
    assert "3 rendered frames (drives, split train); 3 images of " in card
    assert "(photos, split train), 4 steps" not in card and "2 steps of 4 images" in card
    assert "never seen a real image" not in card and "Apache-2.0, like the code" not in card
    commands = [line.strip("`.") for line in card.splitlines() if "evaluate.py" in line]
    assert len(commands) == 3
    (command,) = [line for line in commands if "--root lidar" in line]
    _, script, *arguments = shlex.split(command)
    assert script == "training/evaluate.py"
    capsys.readouterr()
    assert call("evaluate", *arguments, "--output", "lidar.json") == 0
    scores = json.loads((folder / "lidar.json").read_text())["val"]
    for name in ("miou", "depth_rmse_m"):
        assert scores[name] == pytest.approx(info.metrics[f"lidar-val.{name}"], abs=1e-6)
    assert {"Ground", "Movable", "vegetation"} <= set(scores["iou"])
    (command,) = [line for line in commands if "--root photos" in line]
    capsys.readouterr()
    assert call("evaluate", *shlex.split(command)[2:], "--output", "photos.json") == 0
    assert json.loads((folder / "photos.json").read_text())["val"]["depth_rmse_m"] is None
    assert "by at most nan" not in capsys.readouterr().out
