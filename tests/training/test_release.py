"""What a model file says of its training."""

import math
from pathlib import Path

import numpy as np
import pytest
import yaml

from emu_core.data.augment import Augmentation
from emu_core.training.config import Data, Run, TrainingConfig
from emu_core.training.objectives import MemberLoss
from emu_core.training.release import model_facts, read_config
from emu_core.training.run import write_config

RUN = Run(steps=70, seed=3)


@pytest.fixture
def root(tmp_path, write_frame):
    """Three training frames through lenses of 40, 50 and 62.5 pixels, and one to validate on."""
    for split, focals in (("train", (40.0, 50.0, 62.5)), ("val", (50.0,))):
        for i, focal in enumerate(focals):
            camera = {
                "extrinsic": {"baseline": 0.22},
                "intrinsic": {"fx": focal, "fy": focal, "u0": 31.5, "v0": 15.5},
            }
            rgb = np.full((32, 64, 3), 40 + i, np.uint8)
            write_frame(tmp_path, split, f"a_000000_{i:06d}", rgb, camera=camera, size=(32, 64))
    return tmp_path


def degrees(focal):
    return round(math.degrees(2 * math.atan(32 / focal)), 1)


def test_facts_follow_from_data_and_run(root):
    augmentation = Augmentation(64, 128, canonical_focal=90.0, depth_limit=110.0)
    facts = model_facts(
        Data(root=root, augmentation=augmentation, batch=4), RUN, "distilled from 5 networks"
    )
    assert facts["horizontal_fov"] == (degrees(62.5), degrees(40.0))
    assert facts["canonical_focal"] == 90.0
    assert facts["depth_range"] == (0.5, 110.0)
    assert facts["input_size"] == (64, 128)
    assert facts["reference_image"].shape == (32, 64, 3)
    assert (facts["reference_image"] == 40).all()
    assert facts["training_data"] == (
        f"3 rendered frames ({root}, split train), 70 steps of 4 images, seed 3, distilled from "
        "5 networks; no real images"
    )


def test_the_lens_of_plain_metres_is_that_of_the_training_images(root):
    crops = Augmentation(32, 32, image_width=128)
    data = Data(root=root, augmentation=crops, validation_size=(64, 128), limit=1)
    facts = model_facts(data, RUN)
    assert facts["canonical_focal"] == pytest.approx(100)  # 50 px of 64, of a width of 128
    assert facts["input_size"] == (64, 128)
    with pytest.raises(ValueError, match=r"plain metres through lenses of 54° to 77°"):
        model_facts(Data(root=root, augmentation=Augmentation(32, 64)), RUN)


def test_a_configuration_is_read_back(tmp_path):
    data = Data(root=tmp_path, augmentation=Augmentation(32, 64, scale=(0.5, 2.0)), limit=7)
    write_config(tmp_path, TrainingConfig(data, loss=MemberLoss("l1"), run=RUN))
    assert read_config(tmp_path / "config.yaml") == (data, RUN)


@pytest.mark.parametrize("content", ["data: {}", "- 1", "data: {batch: many}\nrun: {}", None])
def test_other_files_are_refused_by_name(tmp_path, content):
    path = tmp_path / "other.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=r"other\.yaml"):
        read_config(path)


def test_every_configuration_of_the_project_is_one():
    folder = Path(__file__).parents[2] / "training" / "configs"
    contents = {p: yaml.safe_load(p.read_text()) for p in folder.glob("*.yaml")}
    found = [p for p, c in contents.items() if "data" in c and "regimes" not in c]
    assert len(found) >= 4
    for path in found:
        data, run = read_config(path)
        assert run.name != Run().name
        assert data.whole_images.width % 32 == data.whole_images.height % 32 == 0
