"""Which settings decide the weights of a training."""

from dataclasses import replace
from pathlib import Path

import pytest

from emu_core.data.augment import Augmentation
from emu_core.training.command import parse_config, run_command
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


def changed(option, value):
    """A configuration of a student with another value of an option."""
    *sections, name = option.split(".")
    parts = [StudentConfig()]
    for section in sections:
        parts.append(getattr(parts[-1], section))
    for part, last in zip(reversed(parts), [name, *reversed(sections)], strict=True):
        value = replace(part, **{last: value})
    return value


@pytest.mark.parametrize(
    ("option", "values", "allowed"),
    [
        ("run.steps", (0, -1), "at least 1"),
        ("run.checkpoint_every", (0,), "at least 1"),
        ("run.validate_every", (0,), "at least 1"),
        ("run.seed", (-1, 2**32), "at least 0 and at most 4294967295"),
        ("run.ema", (1, 1.5, -0.1), "at least 0 and below 1"),
        ("run.devices", (0, -1, "all"), "auto or a whole number"),
        ("run.name", ("", "../out", "/out", "."), "the name of a folder below runs"),
        ("data.batch", (0, -2), "at least 1"),
        ("data.workers", (-1,), "at least 0"),
        ("data.variants", (0,), "at least 1"),
        ("data.limit", (0,), "at least 1"),
        ("data.max_depth", (0, float("nan")), "above 0"),
        ("data.augmentation.height", (0, 31), "at least 32"),
        ("data.augmentation.width", (8,), "at least 32"),
        ("data.augmentation.scale", ((0, 1), (2, 0.5)), "above 0, the smaller number first"),
        ("data.augmentation.jitter", ((2, 0, 0, 0), (0, -1, 0, 0)), "at least 0 and at most 1"),
        ("data.augmentation.canonical_focal", (0,), "above 0"),
        ("data.augmentation.depth_limit", (0, -5), "above 0"),
        ("optimisation.learning_rate", (0, float("inf")), "above 0"),
        ("optimisation.power", (-1,), "at least 0"),
        ("architecture.variant", ("b9",), "one of b0, b1, b2, b3, b4, b5"),
        ("architecture.dropout", (1,), "at least 0 and below 1"),
        ("loss.kl_weight", (-1.0,), "at least 0"),
        ("loss.temperature", (0,), "above 0"),
        ("distillation.unlabelled_limit", (0,), "at least 1"),
    ],
)
def test_an_option_outside_of_its_range_is_named(option, values, allowed):
    for value in values:
        with pytest.raises(ValueError, match=f"^{option} must be {allowed}.*, but it is "):
            changed(option, value)


def test_numbers_that_make_sense_are_accepted():
    changed("data.augmentation.depth_limit", float("inf"))
    changed("run.devices", 4)
    changed("run.shares_every", 0)


def test_a_command_names_the_option_in_one_line(capsys):
    arguments = ["--data.batch", "0"]
    assert run_command("x", lambda: parse_config(TrainingConfig, arguments, "")) == 1
    assert capsys.readouterr().err == "x: data.batch must be at least 1, but it is 0.\n"
