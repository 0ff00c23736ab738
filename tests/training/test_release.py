"""What a model file says of its training."""

import math
from dataclasses import replace

import numpy as np
import pytest

from emu_core.data.augment import Augmentation
from emu_core.data.sample import DataError
from emu_core.training.config import Architecture, Data, Run, TrainingConfig
from emu_core.training.release import model_facts, read_config, report_impossible_export
from emu_core.training.run import write_config

RUN = Run(steps=70, seed=3)
CANONICAL = Augmentation(64, 128, canonical_focal=90.0, depth_limit=110.0)


@pytest.fixture
def write_lenses(tmp_path, write_frame):
    """Function that writes a training frame for each (focal length, width), and one of val."""

    def write(*lenses):
        for i, (focal, width) in enumerate([*lenses, lenses[0]]):
            rgb = np.full((width // 2, width, 3), 40 + i, np.uint8)
            split = "train" if i < len(lenses) else "val"
            write_frame(tmp_path, split, f"a_000000_{i:06d}", rgb, focal=focal)
        return tmp_path

    return write


@pytest.fixture
def root(write_lenses):
    """Three training frames through lenses of 40, 50 and 62.5 pixels, and one to validate on."""
    return write_lenses((50.0, 64), (40.0, 64), (62.5, 64))


def degrees(relative_focal):
    return round(math.degrees(2 * math.atan(0.5 / relative_focal)), 1)


@pytest.mark.parametrize("cache", [None, "cache"])
def test_facts_follow_from_data_and_run(root, tmp_path, cache):
    cache = cache and tmp_path / cache
    data = Data(root=root, augmentation=CANONICAL, batch=4, cache=cache, limit=3)
    facts = model_facts(data, RUN, "distilled from 5 networks")
    assert facts["horizontal_fov"] == (degrees(62.5 / 64), degrees(40.0 / 64))
    assert facts["canonical_focal"] == 90.0
    assert facts["depth_range"] == (0.5, 110.0)
    assert facts["input_size"] == (64, 128)
    assert (facts["reference_image"] == np.full((32, 64, 3), 43)).all()
    assert facts["training_data"] == (
        f"3 rendered frames ({root}, split train), 70 steps of 4 images, seed 3, distilled from "
        "5 networks; no real images"
    )


def test_facts_of_nyuv2(tmp_path, write_nyuv2):
    write_nyuv2(tmp_path / "nyu", {})
    facts = model_facts(Data("nyuv2", tmp_path / "nyu", augmentation=Augmentation(48, 64)), RUN)
    assert facts["training_data"].startswith("795 images of nyuv2 (")
    assert facts["canonical_focal"] == pytest.approx(math.sqrt(518.8579 * 519.4696) / 10, abs=1e-3)
    assert len(facts["classes"]) == 40


def test_images_of_different_sizes_may_have_one_lens(write_lenses):
    root = write_lenses((50.0, 64), (150.0, 192), (51.0, 64))
    facts = model_facts(Data(root=root, augmentation=Augmentation(64, 128)), RUN)
    assert facts["canonical_focal"] == pytest.approx(100)  # the median
    assert facts["horizontal_fov"] == (degrees(51 / 64), degrees(50 / 64))


def test_the_lens_of_plain_metres_is_that_of_the_training_images(write_lenses):
    root = write_lenses((50.0, 64))
    crops = Augmentation(32, 32, image_width=128)
    facts = model_facts(Data(root=root, augmentation=crops, validation_size=(64, 128)), RUN)
    assert facts["canonical_focal"] == pytest.approx(100)  # 50 px of 64, of a width of 128
    assert facts["input_size"] == (64, 128)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"canonical_focal": None}, "plain metres through lenses of 54° to 77°"),
        ({"depth_limit": 0.4}, "above 0.5 m, but got 0.4"),
        ({"depth_limit": math.inf}, "but got inf"),
    ],
)
@pytest.mark.parametrize("cache", [None, "cache"])
def test_a_training_without_a_possible_model_file_is_refused(
    root, tmp_path, changes, message, cache
):
    data = Data(root=root, augmentation=replace(CANONICAL, **changes))
    with pytest.raises(ValueError, match=message):
        model_facts(replace(data, cache=cache and tmp_path / cache), RUN)


def test_an_impossible_export_is_reported_before_a_training(root, capsys):
    config = TrainingConfig(Data(root=root, augmentation=replace(CANONICAL, canonical_focal=None)))
    report_impossible_export(config)
    assert capsys.readouterr().out.startswith("note: no model file can be made: depth is learned")
    report_impossible_export(replace(config, data=Data(root=root, augmentation=CANONICAL)))
    report_impossible_export(replace(config, architecture=Architecture(task="segmentation")))
    assert capsys.readouterr().out == ""
    with pytest.raises(DataError):
        report_impossible_export(replace(config, data=Data(root=root / "nowhere")))


def test_a_configuration_is_read_back(tmp_path):
    data = Data(root=tmp_path, augmentation=Augmentation(32, 64, scale=(0.5, 2.0)), limit=7)
    write_config(tmp_path, TrainingConfig(data=data, run=RUN))
    assert read_config(tmp_path / "config.yaml") == (data, RUN)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("data: {}", "expected YAML with the sections data and run"),
        ("- 1", "expected YAML"),
        ("data: {batch: many}\nrun: {}", "many"),
        ("data: {kind: kitti}\nrun: {}", "of cityscapes, drives, folder, nyuv2, but"),
        (None, "there is no such file"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, content, message):
    path = tmp_path / "other.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        read_config(path)
    assert str(path) in str(error.value)
