"""What a model file says of its training, from the run's configuration."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import jsonargparse
import numpy as np
import yaml

from emu_core.data.cityscapes import Cityscapes, focal_of_image, read_camera
from emu_core.data.datasets import Selection
from emu_core.data.sample import DataSet
from emu_core.training.config import Data, Run

_SAME_LENS = 1.05
"""Focal lengths that differ by less than this factor count as one."""


def read_config(path: str | Path) -> tuple[Data, Run]:
    """Data and run of a training's config.yaml.

    Raises:
        ValueError: the file is missing or says something else.
    """
    try:
        content = yaml.safe_load(Path(path).read_text())
        sections = {name: content[name] for name in ("data", "run")}
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is no configuration of a training ({error!r}): expected YAML with the "
            "sections data and run."
        ) from error
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--data", type=Data)
    parser.add_argument("--run", type=Run)
    try:
        chosen = parser.instantiate(parser.parse_object(sections))
    except jsonargparse.ArgumentError as error:
        raise ValueError(f"{path}: {error}") from error
    return chosen.data, chosen.run


def model_facts(data: Data, run: Run, note: str = "") -> dict[str, Any]:
    """The arguments of `export` that follow from a training.

    Args:
        data: what the network was trained on.
        run: for how long.
        note: what else to say of it, e.g. what it was distilled from.

    Raises:
        DataError: the data is not there.
        ValueError: depth was learned in plain metres through lenses that differ.
    """
    train, whole = data.open_training(), data.whole_images
    reference = np.ascontiguousarray(data.open_validation()[0].image)
    lenses = _lenses(train)
    views = [math.degrees(2 * math.atan(0.5 / fx)) for fx, _ in lenses]
    focal = data.augmentation.canonical_focal
    if focal is None:
        means = [math.sqrt(fx * fy) for fx, fy in lenses]
        if max(means) > _SAME_LENS * min(means):
            raise ValueError(
                f"Depth was learned in plain metres through lenses of {min(views):.0f}° to "
                f"{max(views):.0f}°: it fits none of them. Train with "
                "data.augmentation.canonical_focal."
            )
        focal = float(np.median(means)) * (whole.image_width or whole.width)
    images = "rendered frames" if data.kind == "drives" else f"images of {train.classes.dataset}"
    return {
        "reference_image": reference,
        "classes": train.classes,
        "depth_range": (0.5, float(whole.depth_limit)),
        "canonical_focal": float(focal),
        "horizontal_fov": (round(min(views), 1), round(max(views), 1)),
        "input_size": (whole.height, whole.width),
        "training_data": f"{len(train)} {images} ({data.root}, split train), {run.steps} steps of "
        f"{data.batch} images, seed {run.seed}"
        + (f", {note}" if note else "")
        + ("; no real images" if data.kind == "drives" else ""),
    }


def _lenses(data: DataSet) -> list[tuple[float, float]]:
    """(fx, fy) over the width of the images; NYUv2's one lens from one of them."""
    first = data[0]
    width = first.image.shape[1]
    all_of_it, indices = data, list(range(len(data)))
    if isinstance(data, Selection):
        all_of_it, indices = data.data, data.indices
    if not isinstance(all_of_it, Cityscapes):
        return [(first.focal[0] / width, first.focal[1] / width)]
    found = []
    for index in indices:
        path = all_of_it.frames[index].path("camera")
        fx, fy = focal_of_image(read_camera(path), first.image.shape[:2], path)
        found.append((fx / width, fy / width))
    return found
