"""What a model file says of its training, from the configuration of the training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonargparse
import numpy as np
import yaml

from emu_core.data.datasets import PinholeCamera
from emu_core.data.sample import DataError
from emu_core.training.config import Data, Run, TrainingConfig
from emu_core.training.run import print_once

_NEAREST = 0.5
"""Start of the depth range of every model, canonical metres."""

_SAME_LENS = 1.05
"""Focal lengths that differ by less than this factor count as equal."""


def read_config(path: str | Path) -> tuple[Data, Run]:
    """Read data and run from the config.yaml of a training.

    Raises:
        ValueError: The file is missing, or it is not the configuration of a training.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        sections = {name: content[name] for name in ("data", "run")}
    except FileNotFoundError as error:
        raise ValueError(
            f"{path} is not a configuration of a training: there is no such file. Give the "
            "config.yaml beside the weights."
        ) from error
    except (OSError, yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(
            f"{path} is not a configuration of a training ({reason}): expected YAML with the "
            "sections data and run."
        ) from error
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--data", type=Data)
    parser.add_argument("--run", type=Run)
    try:
        chosen = parser.instantiate(parser.parse_object(sections))
    except (jsonargparse.ArgumentError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    return chosen.data, chosen.run


def model_facts(data: Data, run: Run, note: str = "", task: str = "joint") -> dict[str, Any]:
    """Return the arguments of `export` that follow from a training.

    This needs no network: call it before a training to learn that no model file can be made.

    Args:
        data: What the network is trained on.
        run: Length and seed of the training.
        note: Text about the training, e.g. what the network was distilled from.
        task: What the network learns: joint, segmentation or depth. Segmentation needs no camera.

    Raises:
        DataError: The data is missing or damaged.
        ValueError: The depth range is empty or endless, or depth in plain metres is learned
            through different lenses.
    """
    train, whole = data.open_training(), data.whole_images
    cameras = train.cameras()
    views = [camera.horizontal_fov for camera in cameras]
    of_depth: dict[str, Any] = {"depth_range": None, "canonical_focal": None}
    if task != "segmentation":
        of_depth = _depth_facts(data, cameras)
    origin = "; ".join(
        f"{len(part)} {part.image_source} ({part.root}, split {part.split_title})"
        for part in train.parts
    )
    steps = f"{run.steps} steps of {data.batch} images, seed {run.seed}"
    return {
        "reference_image": np.ascontiguousarray(data.open_validation()[0][0].image),
        "classes": train.classes,
        **of_depth,
        "horizontal_fov": (round(min(views), 1), round(max(views), 1)) if views else None,
        "input_size": (whole.height, whole.width),
        "training_data": ", ".join(filter(None, (origin, steps, note)))
        + ("" if any(part.real_images for part in train.parts) else "; no real images"),
    }


def _depth_facts(data: Data, cameras: Sequence[PinholeCamera]) -> dict[str, Any]:
    """Return the range and the canonical focal length of depth; ValueError as `model_facts`."""
    whole = data.whole_images
    farthest = float(whole.depth_limit)
    if not _NEAREST < farthest < math.inf:
        raise ValueError(
            "no model file can be made: expected a finite data.augmentation.depth_limit above "
            f"{_NEAREST:g} m, but got {farthest:g}."
        )
    if not cameras:
        raise ValueError("no model file can be made: no training frame has a camera.")
    focal = data.augmentation.canonical_focal
    if focal is None:
        relative = [camera.relative_focal for camera in cameras]
        if max(relative) > _SAME_LENS * min(relative):
            views = [camera.horizontal_fov for camera in cameras]
            raise ValueError(
                f"no model file can be made: depth is learned in plain metres through lenses of "
                f"{min(views):.0f}° to {max(views):.0f}°, and would be right for none of them. "
                "Set data.augmentation.canonical_focal."
            )
        focal = float(np.median(relative)) * (whole.image_width or whole.width)
    return {"depth_range": (_NEAREST, farthest), "canonical_focal": float(focal)}


def report_impossible_export(config: TrainingConfig) -> None:
    """Print why no model file can be made of a training; DataError if the data is missing."""
    try:
        model_facts(config.data, config.run, task=config.architecture.task)
    except DataError:
        raise
    except ValueError as error:
        print_once(f"note: {error}")
