"""`training/evaluate.py --methods` as a user types it, on a few tiny frames."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from emu_core.labels import CITYSCAPES
from emu_core.networks import DepthFormer, SegDepthFormer, SegFormer, save_model


@pytest.fixture
def folder(tmp_path, write_drive):
    """A working folder with data/, networks and a training's configuration."""
    for split in ("test", "haze"):
        for drive in (3000, 3001):
            write_drive(tmp_path / "data", split, f"{split}{drive}_000000_000000", drive)
    torch.manual_seed(0)
    for name, network in (
        ("member-0", SegDepthFormer("b0")),
        ("member-1", SegDepthFormer("b0")),
        ("seg", SegFormer("b0")),
        ("depth", DepthFormer("b0")),
    ):
        if network.depth_decoder is not None:
            network.init_depth(11.0, 5.0)
        save_model(network, tmp_path / name / "last.safetensors")
    augmentation = {"height": 32, "width": 64, "canonical_focal": 100.0, "depth_limit": 110.0}
    data = {"kind": "drives", "root": "data", "augmentation": augmentation}
    config = {"data": data, "run": {"name": "tiny"}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


ARGUMENTS = [
    *("--config", "config.yaml", "--splits", "test", "haze", "--threads", "1", "--output", "out"),
    *("--methods", "single=member-*/last.safetensors", "de=member-*/last.safetensors"),
    "pair:single=seg/last.safetensors,depth/last.safetensors",
]


def test_methods_are_scored_once_and_tables_and_plots_are_written(run, folder, capsys):
    assert run("evaluate", *ARGUMENTS) == 0
    note = capsys.readouterr().out
    assert "Images of 64×32 pixels" in note
    assert "test (2 images, 2 drives)" in note
    assert "1 threads, cpu" in note
    out = folder / "out"
    table = pd.read_json(out / "evaluation.json").set_index(["split", "method", "metric"])
    assert set(table.index.unique(0)) == {"test", "haze"}
    assert set(table.index.unique(1)) == {"single", "de", "pair"}
    assert table.sd["test", "single", "rmse"] > 0
    assert np.isnan(table.sd["test", "de", "rmse"])
    assert (table["mean"].xs("ms_per_image", level="metric") > 0).all()
    assert table["mean"]["test", "single", "iou.road"] >= 0
    text = (out / "evaluation.md").read_text()
    assert "## haze: segmentation" in text
    assert "| pair |" in text
    assert "## test: IoU of every class" in text
    exact = "which changes them by at most 0."
    assert exact in text and exact in note
    rows = pd.read_csv(out / "evaluation.csv")
    assert list(rows) == ["split", "method", "seeds", "metric", "mean", "sd", "low", "high"]
    assert rows["mean"].to_numpy() == pytest.approx(
        table["mean"].to_numpy(), rel=1e-5, nan_ok=True
    )
    assert (out / "reliability.png").stat().st_size > 1000
    kept = {p: p.stat().st_mtime_ns for p in out.glob("*/*.npz")}
    assert len(kept) == 2 * 2 * 4  # results and resamples, of four on two splits
    timing = (out / "timing.json").read_text()

    assert run("evaluate", *ARGUMENTS) == 0
    assert {p: p.stat().st_mtime_ns for p in out.glob("*/*.npz")} == kept
    assert (out / "timing.json").read_text() == timing


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "single=gone.safetensors"], "Found no model at gone.safetensors"),
        (["--methods", "best=x"], "Expected [NAME:]KIND=FILES"),
        (
            ["--methods", *["single=member-0/last.safetensors"] * 2],
            "Two methods are named 'single'",
        ),
        (["--splits", "night"], "No folder data/leftImg8bit/night"),
        (["--config", "member-0"], "member-0 is not a configuration of a training"),
    ],
)
def test_wrong_arguments_end_with_one_clear_message(run, folder, capsys, arguments, message):
    assert run("evaluate", *ARGUMENTS, *arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("evaluate: ")
    assert message in error
    assert error.count(os.linesep) == 1
    assert not (folder / "out").exists()


def test_methods_without_trained_variance_have_no_metrics_of_it(run, folder, capsys):
    arguments = [*ARGUMENTS[: ARGUMENTS.index("--splits")], "--splits", "test", "--threads", "1"]
    methods = ["--methods", "l1:single=member-0/last.safetensors", "de=member-*/last.safetensors"]
    arguments += ["--output", "out", "--lazy", *methods, "--point-depth"]
    assert run("evaluate", *arguments, "l2") == 1
    assert "--point-depth names no method: l2" in capsys.readouterr().err
    assert run("evaluate", *arguments, "l1") == 0
    assert "an ensemble's members read again" in capsys.readouterr().out
    table = pd.read_json(folder / "out" / "evaluation.json")
    metrics = {method: set(rows.metric) for method, rows in table.groupby("method")}
    assert "depth.nll" in metrics["de"]
    lacking = {name for name in metrics["de"] - metrics["l1"] if not name.startswith("iou.")}
    assert lacking == {name for name in metrics["de"] if name.startswith("depth.")}


def test_methods_need_the_configuration_of_their_training(run, folder, capsys):
    with pytest.raises(SystemExit):
        run("evaluate", "--methods", "single=member-0/last.safetensors")
    assert "--methods needs --config" in capsys.readouterr().err


CLASSES = list(CITYSCAPES.names)


@pytest.mark.parametrize(
    ("learned", "method", "message"),
    [
        (
            {"canonical_focal": 32.0},
            "single={}",
            "canonical focal length 32 px against 100 px. Give --config the config.yaml beside",
        ),
        ({"classes": CLASSES[:18] + ["tree"]}, "mcd={}", "classes 19 (road, sidewalk,"),
        ({"method": "network"}, "student={}", "was trained as a network, but is given as student"),
        ({"method": "student"}, "control={}", "was trained as a student, but is given as control"),
        ({}, "de={},{}", None),
        ({"canonical_focal": 100.0, "method": "student", "classes": CLASSES}, "student={}", None),
    ],
)
def test_weights_that_learned_something_else_are_not_scored(
    run, folder, capsys, learned, method, message
):
    torch.manual_seed(0)
    path = folder / "known.safetensors"
    save_model(SegDepthFormer("b0"), path, {"learned": learned})
    method = method.format(path, path)
    assert run("evaluate", *ARGUMENTS, "--splits", "test", "--methods", method) == (
        0 if message is None else 1
    )
    if message is not None:
        error = capsys.readouterr().err
        assert "known.safetensors" in error and message in error and error.count("\n") == 1
        assert not (folder / "out").exists()


def test_heads_on_one_trunk_are_not_scored_as_an_ensemble(run, folder, capsys):
    shutil.copytree(folder / "member-0", folder / "member-2")
    assert run("evaluate", *ARGUMENTS) == 1
    error = capsys.readouterr().err
    assert "member-0/last.safetensors and member-2/last.safetensors share one trunk" in error
    assert not (folder / "out").exists()
