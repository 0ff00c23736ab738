"""A study of seconds: drives of two frames, networks that are made instead of trained."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from emu_core.data.augment import Augmentation
from emu_core.evaluation.store import Scored
from emu_core.methods.sub_ensemble import save_sub_ensemble, with_new_heads
from emu_core.metrics import DriveResults
from emu_core.networks import DepthFormer, SegDepthFormer, SegFormer, load_model, save_model
from emu_core.study.config import Distilling, Item, Pretraining, Regime, Study
from emu_core.study.execution import Execution, Trainers
from emu_core.study.plan import make_plan
from emu_core.training.config import Architecture, Data, Optimisation, Run


def write_drives(write_drive, root):
    """Drives of one frame each."""
    for split, drives in (("train", 3), ("val", 1), ("test", 2), ("haze", 2)):
        for drive in range(drives):
            write_drive(root, split, f"{split}300{drive}_000000_000000", drive)


def make_study():
    """Two regimes, two members, every kind of row."""
    data = Data(
        root=Path("data/drives"),
        augmentation=Augmentation(height=32, width=64, canonical_focal=100.0),
        batch=2,
        workers=0,
    )
    costs = dict.fromkeys(("joint", "segmentation", "depth", "heads", "forward"), 0.1)
    return Study(
        name="tiny",
        data=data,
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
            Item("mcd20", regimes=["few"]),
            Item("dse", regimes=["few"]),
            Item("single", seeds=2, apart=True, regimes=["few"]),
        ],
        members=2,
        samples=2,
        pretraining=Pretraining(steps=30, root=Path("data/others")),
        distilling=Distilling(variants=4),
        seconds_per_image=costs | {"metrics": 0.1, "load": 0.0},
        resamples=20,
    )


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study with all kinds of rows, in a working folder of its own."""
    monkeypatch.chdir(tmp_path)
    return make_study()


@pytest.fixture
def small(study):
    """A study of two networks and a student."""
    order = [Item("single", seeds=2), Item("student"), Item("control")]
    few = {"few": study.regimes["few"]}
    return replace(study, regimes=few, order=order, pretraining=None)


@pytest.fixture
def drives(study, write_drive):
    """The study's drives on disk."""
    write_drives(write_drive, study.data.root)


class Fakes:
    """Trainers that write untrained networks, and remember what they were asked for."""

    def __init__(self):
        self.asked = []
        self.failing = set()

    def network(self, data, architecture, loss, optimisation, run, folder):
        return self._train("network", folder, architecture, run, data=data)

    def student(self, data, architecture, loss, optimisation, run, folder, teacher, inputs, cache):
        assert len(teacher.members) == 2
        details = {"loss": loss, "inputs": inputs, "cache": cache}
        return self._train("student", folder, architecture, run, **details)

    def control(self, data, architecture, loss, optimisation, run, folder, inputs):
        return self._train("control", folder, architecture, run, loss=loss, inputs=inputs)

    def heads(self, data, architecture, loss, optimisation, run, heads, folder):
        first = load_model(folder / "member-0" / "last.safetensors")[0]
        self._remember("heads", folder, run, architecture=architecture)
        torch.manual_seed(run.seed)
        others = [with_new_heads(first) for _ in range(1, heads)]
        save_sub_ensemble([first, *others], folder / "sub_ensemble.safetensors")

    def trainers(self):
        return Trainers(
            self.network, self.heads, self.student, self.control, dict,
            lambda folder, files: folder,
        )  # fmt: skip

    def _train(self, kind, folder, architecture, run, **details):
        self._remember(kind, folder, run, architecture=architecture, **details)
        torch.manual_seed(run.seed)
        options = {"dropout": architecture.dropout}
        if architecture.task == "segmentation":
            network = SegFormer("b0", 19, **options)
        elif architecture.task == "depth":
            network = DepthFormer("b0", **options)
        else:
            network = SegDepthFormer("b0", 19, **options)
        if network.depth_decoder is not None:
            network.init_depth(11.0, 5.0)
        save_model(network, folder / "last.safetensors", {"steps": run.steps})

    def _remember(self, kind, folder, run, **details):
        if folder.name in self.failing:
            raise FloatingPointError("The loss became nan at step 3.")
        key = folder.relative_to("runs/tiny").as_posix()
        self.asked.append((key, kind, run, details))

    @property
    def keys(self):
        return [key for key, *_ in self.asked]


@pytest.fixture
def fakes():
    return Fakes()


@pytest.fixture
def scored():
    """Function that makes results with the same value, or replicates, for every figure asked."""

    def make(figures, drives=("a", "b")):
        arrays = {name: np.atleast_1d(np.asarray(v, float)) for name, v in figures.items()}
        pooled = {name: float(v.mean()) for name, v in arrays.items()}
        resampled = {name: np.resize(v, 40) for name, v in arrays.items()}
        return Scored(DriveResults(tuple(drives), 2, 80.0, {}, {}, pooled), resampled)

    return make


@pytest.fixture(scope="module")
def finished(tmp_path_factory, write_drive):
    """A study with all kinds of rows that was carried out, and its fakes, in their folder."""
    here = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("work"))
    fakes, study = Fakes(), make_study()
    write_drives(write_drive, study.data.root)
    execution, told = Execution(study, make_plan(study), fakes.trainers()), []
    assert execution.run(scored=lambda scoring: told.append(scoring.key))
    yield SimpleNamespace(study=study, fakes=fakes, execution=execution, told=told)
    os.chdir(here)
