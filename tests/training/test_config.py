"""Which settings decide the weights of a training."""

from dataclasses import replace
from pathlib import Path

import pytest

from emu_core.data.augment import Augmentation
from emu_core.training.config import (
    Architecture,
    Data,
    Distillation,
    Optimisation,
    Run,
    StudentConfig,
    TrainingConfig,
    deciding_settings,
)

CONFIG = StudentConfig(Data(augmentation=Augmentation(32, 64)), run=Run(seed=5))


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("data", {"root": Path("moved")}),
        ("data", {"cache": Path("cache")}),
        ("data", {"workers": 7}),
        ("run", {"name": "other"}),
        ("run", {"threads": 3}),
        ("run", {"devices": 2, "nodes": 2}),
        ("run", {"validate_every": 1, "checkpoint_every": 1, "shares_every": 1}),
    ],
)
def test_where_and_how_a_training_runs_decides_nothing(section, change):
    other = replace(CONFIG, **{section: replace(getattr(CONFIG, section), **change)})
    assert deciding_settings(other) == deciding_settings(CONFIG)
    assert deciding_settings(other, resumed=True) == deciding_settings(CONFIG, resumed=True)


@pytest.mark.parametrize(
    ("section", "value", "option"),
    [
        ("architecture", Architecture(variant="b1"), "architecture.variant"),
        ("data", Data(augmentation=Augmentation(48, 64)), "data.augmentation.height"),
        ("distillation", Distillation(variants=2), "distillation.variants"),
        ("run", Run(seed=6), "run.seed"),
        ("run", Run(seed=5, steps=9), "run.steps"),
        ("optimisation", Optimisation(learning_rate=1.0), "optimisation.learning_rate"),
    ],
)
def test_all_other_settings_decide_and_a_resumed_training_may_change_the_schedule(
    section, value, option
):
    before, after = (deciding_settings(c) for c in (CONFIG, replace(CONFIG, **{section: value})))
    assert [name for name in after if after[name] != before[name]] == [option]
    schedule = option in ("run.steps", "optimisation.learning_rate")
    assert (option in deciding_settings(CONFIG, resumed=True)) is not schedule


def test_settings_are_plain_values():
    config = TrainingConfig(architecture=Architecture(init=Path("a") / "b.onnx"))
    settings = deciding_settings(config)
    assert settings["architecture.init"] == "a/b.onnx"
    assert settings["data.augmentation.scale"] == [1.0, 1.0]
    plain = (str, int, float, list, type(None))
    assert all(isinstance(value, plain) for value in settings.values())
