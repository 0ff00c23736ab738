"""A study of seconds: drives of one frame, and networks that are created instead of trained."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emu_core.data.augment import Augmentation
from emu_core.evaluation.candidate import Scored
from emu_core.methods.sub_ensemble import save_sub_ensemble, with_new_heads
from emu_core.metrics import DriveResults
from emu_core.networks import DepthFormer, SegDepthFormer, SegFormer, load_model, save_model
from emu_core.study import jobs
from emu_core.study.config import Distilling, Item, Pretraining, Regime, Study
from emu_core.study.plan import make_plan
from emu_core.training.config import Architecture, Data, Optimisation, Run
from emu_core.training.run import write_config

TRAINING = Path(__file__).parents[2] / "training"


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study of two regimes with all kinds of methods, in its own working folder."""
    monkeypatch.chdir(tmp_path)
    few = ["few"]
    return Study(
        name="tiny",
        data=Data(
            root=Path("data/drives"),
            augmentation=Augmentation(height=32, width=64, canonical_focal=100.0),
            batch=2,
            workers=0,
        ),
        architecture=Architecture(depth_mean=11.0, depth_std=5.0),
        optimisation=Optimisation(),
        run=Run(threads=1),
        regimes={"few": Regime(steps=10, limit=2), "ample": Regime(steps=20)},
        splits={"in_domain": "test", "haze": "haze"},
        order=[
            Item("single", seeds=2),
            Item("de"),
            Item("student", seeds=2),
            Item("control"),
            Item("mcd20", regimes=few),
            Item("dse", regimes=few),
            Item("single", seeds=2, single_task=True, regimes=few),
        ],
        members=2,
        samples=2,
        pretraining=Pretraining(steps=30, root=Path("data/others")),
        distilling=Distilling(variants=4),
        resamples=20,
    )


@pytest.fixture
def small(study):
    """A study of two networks, a student and its control."""
    order = [Item("single", seeds=2), Item("student"), Item("control")]
    few = {"few": study.regimes["few"]}
    return replace(study, regimes=few, order=order, pretraining=None)


@pytest.fixture
def drives(study, write_drive):
    """The study's drives on disk, one frame each."""
    for split, count in (("train", 3), ("val", 1), ("test", 2), ("haze", 2)):
        for drive in range(count):
            name = f"{split}300{drive}_000000_000000"
            write_drive(study.data.root, split, name, drive)


@pytest.fixture
def trained(monkeypatch):
    """Replace training by networks with random weights; key of each training → its config."""
    configs = {}

    def train(config, folder, *_):
        configs[folder.relative_to("runs/tiny").as_posix()] = config
        torch.manual_seed(config.run.seed)
        asked = config.architecture
        options = {"dropout": asked.dropout, "evidential": asked.evidential}
        kinds = {"segmentation": SegFormer, "depth": DepthFormer, "joint": SegDepthFormer}
        network = kinds[asked.task](asked.variant, **options)
        if network.depth_decoder is not None:
            network.init_depth(11.0, 5.0)
        save_model(network, folder / "last.safetensors", {"steps": config.run.steps})
        write_config(folder, config)

    def train_heads(config, heads, folder):
        configs[folder.relative_to("runs/tiny").as_posix()] = config
        first = load_model(folder / "member-0" / "last.safetensors")[0]
        others = [with_new_heads(first) for _ in range(1, heads)]
        save_sub_ensemble([first, *others], folder / "sub_ensemble.safetensors")

    monkeypatch.setattr(jobs, "train_network", train)
    monkeypatch.setattr(jobs, "train_student", train)
    monkeypatch.setattr(jobs, "train_sub_ensemble", train_heads)
    return configs


@pytest.fixture
def run_all():
    """Function that runs every job of a study in this process."""

    def run(study):
        plan = {job.key: job for job in make_plan(study)}
        for key in plan:
            jobs.run_job(key, study, plan)
        return plan

    return run


@pytest.fixture
def scored():
    """Function that makes scores with these values, or replicates, of metrics."""

    def make(metrics, drives=("a", "b")):
        arrays = {name: np.atleast_1d(np.asarray(v, float)) for name, v in metrics.items()}
        pooled = {name: float(v.mean()) for name, v in arrays.items()}
        resampled = {name: np.resize(v, 40) for name, v in arrays.items()}
        return Scored(DriveResults(tuple(drives), 2, 80.0, {}, {}, pooled), resampled)

    return make
