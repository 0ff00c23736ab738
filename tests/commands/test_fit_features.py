"""`training/fit_features.py`: statistics beside the weights, which evaluate.py uses."""

import json

import pytest
import torch

from emu_core.methods.post_hoc.feature_scores import STATISTICS
from emu_core.methods.post_hoc.laplace import CURVATURE
from emu_core.methods.registry import load_method
from emu_core.networks import DepthFormer, SegDepthFormer, WeightsError, save_model
from emu_core.training.config import Data, Run, TrainingConfig
from emu_core.training.run import describe_training, write_config


def test_scores_of_features_are_evaluated(run, tmp_path, write_drive, capsys):
    for split in ("train", "val", "test"):
        for frame in range(3):
            write_drive(tmp_path / "data", split, f"{split}1_000000_00000{frame}", seed=frame)
    config = TrainingConfig(Data("drives", tmp_path / "data"), run=Run(steps=7))
    torch.manual_seed(0)
    network = SegDepthFormer("b0", 19)
    network.init_depth(11.0)
    learned = {**describe_training(config), "method": "network", "seed": 0}
    save_model(network, tmp_path / "last.safetensors", {"learned": learned})
    write_config(tmp_path, config)
    files = ("--weights", "last.safetensors", "--config", "config.yaml")
    assert run("fit_features", *files, "--frames", 2) == 0
    assert STATISTICS.path(tmp_path / "last.safetensors").is_file()
    assert "2 training frames, 2 of 19 classes" in capsys.readouterr().out
    methods = ("single=last.safetensors", "neco=last.safetensors", "mahalanobis=last.safetensors")
    methods = (*methods, "laplace=last.safetensors")
    options = ("--methods", *methods, "--config", "config.yaml", "--size", 64, 128)
    assert run("evaluate", *options, "--splits", "test", "--output", "scores") == 0
    found = json.loads((tmp_path / "scores" / "evaluation.json").read_text())
    auroc = {r["method"]: r["mean"] for r in found if r["metric"] == "seg.error_auroc"}
    assert len(set(auroc.values())) == 4
    miou = {r["method"]: r["mean"] for r in found if r["metric"] == "miou"}
    assert miou["single"] == miou["neco"] == miou["mahalanobis"]


def test_a_network_without_classes_has_only_a_curvature(run, tmp_path, write_drive, capsys):
    write_drive(tmp_path / "data", "train", "train1_000000_000000")
    path = tmp_path / "depth.safetensors"
    save_model(DepthFormer("b0"), path)
    write_config(tmp_path, TrainingConfig(Data("drives", tmp_path / "data")))
    assert run("fit_features", "--weights", "depth.safetensors", "--config", "config.yaml") == 0
    assert CURVATURE.path(path).is_file() and not STATISTICS.path(path).exists()
    with pytest.raises(WeightsError, match=r"neco needs .* there is no .*depth\.features"):
        load_method("neco", [path])
