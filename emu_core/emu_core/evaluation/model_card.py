"""The model card: what a model file holds, what it has seen, and how well it does, in Markdown."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from emu_core.data.datasets import DataSet
from emu_core.evaluation.model_scores import Scores
from emu_core.evaluation.tables import to_markdown
from emu_core.networks import Network
from emu_core.runtime.calibration import Calibration
from emu_core.runtime.model_file import ModelInfo
from emu_core.training.config import Data

_CALIBRATED = ("label_ece", "depth_interval_90")
"""Metrics that a calibration changes."""

TEMPLATE = Path(__file__).with_name("model_card_template.md")


@dataclass(frozen=True)
class Origin:
    """Where a network comes from.

    Args:
        data: Data of the training.
        parts: The training frames of each data set.
        settings: Settings of the training, by the names of the options.
        license: Licence of the weights; empty if unknown.
        more: Further sections in Markdown, e.g. the commands of the training.
    """

    data: Data
    parts: Sequence[DataSet]
    settings: Mapping[str, Any]
    license: str = ""
    more: str = ""

    @property
    def encoder(self) -> str | None:
        """Weights of others that the encoder began with."""
        return self.settings.get("architecture.encoder")

    @property
    def real_images(self) -> bool:
        """Whether the training saw real images."""
        return any(part.real_images for part in self.parts)


def model_card(
    info: ModelInfo,
    network: Network,
    scores: Mapping[str, Scores],
    frames: Mapping[str, DataSet],
    origin: Origin,
    before: Mapping[str, Scores] | None = None,
) -> str:
    """Return the model card in Markdown.

    Args:
        info: Metadata of the model file.
        network: The network in the file.
        scores: Scores by split.
        frames: The frames of every split in `scores`.
        origin: Where the network comes from.
        before: Scores without the file's calibration, by split.
    """
    data, settings = origin.data, origin.settings
    extra = " and ".join(f"`{split}`" for split in scores if split in data.split_names.extra)
    return TEMPLATE.read_text(encoding="utf-8").format(
        info=info,
        megabytes=info.path.stat().st_size / 1e6,
        variant=network.variant.upper(),
        parameters=sum(weight.numel() for weight in network.parameters()) / 1e6,
        network=type(network).__name__,
        outputs=_outputs(info),
        depth_scale=_depth_scale(info),
        loss=", ".join(f"{k[5:]} {v}" for k, v in settings.items() if k.startswith("loss.")),
        max_depth=_range_of_truth(frames),
        data=data_table(origin.parts),
        calibration=calibration_section(info, scores, before or {}),
        more=origin.more.strip() + "\n\n" if origin.more else "",
        command="`\n`".join(evaluate_commands(info.path, data, frames)),
        conditions=f"No training frame shows the conditions of {extra}." if extra else "",
        **notices(origin),
        **tables(scores),
    )


def _outputs(info: ModelInfo) -> str:
    """Say what the model computes for each pixel."""
    classes = f"one of {len(info.classes)} classes ({info.classes.dataset})"
    found = [classes] if "labels" in info.outputs else []
    found += ["depth"] if "depth" in info.outputs else []
    uncertain = "both" if len(found) == 2 else "it"
    return f"{', '.join(found)}, and the uncertainty of {uncertain}"


def _depth_scale(info: ModelInfo) -> str:
    """Say which lenses the training saw, and what depth refers to."""
    views = info.horizontal_fov
    text = ""
    if views is not None:
        text = f"The training images have horizontal fields of view from {views[0]:g}°"
        text += f" to {views[1]:g}°. "
    if info.depth_range is None or info.canonical_focal is None:
        return f"{text}The model has no depth."
    return (
        f"{text}Depth is learned for a canonical focal length\nof {info.canonical_focal:g} px at "
        f"a width of {info.input_size[1]} px, up to {info.depth_range[1]:g} canonical metres. At "
        "run time it is rescaled to the lens of the camera."
    )


def calibration_section(
    info: ModelInfo, scores: Mapping[str, Scores], before: Mapping[str, Scores]
) -> str:
    """Say how the file was calibrated, with the metrics that it changes; empty if it was not."""
    found = info.calibration
    if found is None:
        return ""
    rows = {
        f"{split}: {metric}": {"before": before[split][metric], "after": scores[split][metric]}
        for split in scores
        for metric in _CALIBRATED
        if split in before and metric in scores[split]
    }
    table = f"\n\n{_markdown(pd.DataFrame.from_dict(rows, orient='index'))}" if rows else "\n"
    return (
        f"**Calibration.** Class scores are divided by {found.temperature:.3f}. The deviation of "
        f"depth is multiplied by {found.std_scale:.3f} + {found.std_doubt:.3f} · class "
        f"uncertainty.\n{_distant(found)}All were fitted on {found.frames}, which no training "
        f"saw, and are part of the graph.{table}\n"
    )


def _distant(found: Calibration) -> str:
    distance = found.distance
    if distance is None:
        return ""
    return (
        f"Images whose features are far from those of the first data set below have "
        f"{distance.temperature:.3f} instead of {found.temperature:.3f}, and a deviation that is "
        f"also multiplied by {distance.std_factor:.3f}. The change begins at the distance within "
        f"which 90 % of its frames lie, and is complete at {distance.far / distance.near:.1f} "
        "times this distance.\n"
    )


def evaluate_commands(model: Path, data: Data, frames: Mapping[str, DataSet]) -> list[str]:
    """Return the commands that score the model file again, one line for each data set."""
    commands = []
    for source in data.sources:
        splits = [part.split_title for part in frames.values() if part.root == source.root]
        command = ["python", "training/evaluate.py", "--model", str(model), "--kind", source.kind]
        command += ["--root", str(source.root), "--splits", *splits]
        if source.max_depth is not None:
            command += ["--max-depth", f"{source.max_depth:g}"]
        if data.classes is not None:
            command += ["--classes", data.classes]
        if source.mapping is not None:
            command += ["--mapping", str(source.mapping)]
        commands += [shlex.join(command)] if splits else []
    return commands


def data_table(parts: Sequence[DataSet]) -> str:
    """Return a table of the data sets of a training, with ground truth and licence."""
    rows = [
        {
            "data set": f"{part.title} ({part.split_title})",
            "frames": f"{len(part)} {part.image_source}",
            "ground truth": _ground_truth(part),
            "licence": part.license or "unknown",
            "attribution": part.attribution or "–",
        }
        for part in parts
    ]
    return to_markdown(pd.DataFrame(rows)) + "\n"


def _ground_truth(part: DataSet) -> str:
    kinds = {"classes": part.has_labels, "depth": part.has_depth}
    found = [kind for kind, has in kinds.items() if any(map(has, part.names))]
    return " and ".join(found) if found and part.labelled else "none: learned from the teacher"


def notices(origin: Origin) -> dict[str, str]:
    """Return the warning and the licence for the model card."""
    if not origin.real_images:
        seen = "never seen a real image"
    else:
        seen = "been tried only on the images below"
    licence = f"{origin.license}." if origin.license else ""
    if not licence and not origin.real_images and not origin.encoder:
        licence = "Apache-2.0, like the code: no third-party weights or data."
    if origin.real_images or origin.encoder:
        advice = (
            "Read the licences of the training data and of the weights that the training began "
            f"with ({origin.encoder or 'none of others'}) before you pass this file on."
        )
        licence = f"{licence} {advice}".strip()
    return {"seen": seen, "licence": licence}


def tables(scores: Mapping[str, Scores]) -> dict[str, str]:
    """Return the metrics and the IoU of every class, with one column for each split."""
    metrics = {split: {k: v for k, v in s.items() if k != "iou"} for split, s in scores.items()}
    iou = pd.DataFrame({split: s["iou"] for split, s in scores.items()}).sort_index()
    return {"metrics": _markdown(pd.DataFrame(metrics)), "iou": _markdown(iou)}


def _markdown(values: pd.DataFrame) -> str:
    cells = values.map(lambda value: "–" if math.isnan(value) else f"{value:.3f}")
    return to_markdown(cells.rename_axis("").reset_index()) + "\n"


def _range_of_truth(frames: Mapping[str, DataSet]) -> str:
    """Say up to which depth the ground truth is valid, for each data set if they differ."""
    farthest = {part.title: f"{part.max_depth:g} m" for part in frames.values()}
    if len(set(farthest.values())) == 1:
        return next(iter(farthest.values()))
    return ", ".join(f"{depth} ({title})" for title, depth in farthest.items())
