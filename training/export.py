r"""Turn trained weights into the one file that a robot runs, measured and with its model card.

    python training/export.py --weights runs/distilled/student/last.safetensors \
        --config runs/distilled/student/config.yaml --output runs/distilled/student.onnx
    python training/export.py … --output emu_core/emu_core/models/emu_b0_drives.onnx

The graph is checked against torch. The model is scored as a robot receives its outputs, on the
test split of the data set and on its extra splits. The metrics become part of the file and of
MODEL_CARD.md beside it.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import jsonargparse

from emu_core.data.datasets import DataSet, open_dataset
from emu_core.evaluation.model_scores import Scores, print_scores, score_split, scores_of
from emu_core.files import replace_text
from emu_core.networks import SegDepthFormer, load_model
from emu_core.runtime.model_file import ModelInfo
from emu_core.runtime.perceiver import Perceiver
from emu_core.training.command import run_command
from emu_core.training.config import Data
from emu_core.training.export import export
from emu_core.training.release import model_facts, read_config
from emu_core.training.run import read_settings

TEMPLATE = Path(__file__).parent / "model_card_template.md"


def export_measured(
    weights: Path, config: Path, output: Path, note: str = "", splits: Sequence[str] | None = None
) -> None:
    """Export a network, score it, export it again with its scores, and write the model card.

    Args:
        weights: .safetensors file of a network for both tasks.
        config: config.yaml of its training.
        output: ONNX file to write.
        note: about the training, for the card.
        splits: names of the splits to score on; None for those that the data set reports.

    Raises:
        DataError, ModelError, WeightsError: a file is missing or damaged.
        ExportError: ONNX Runtime and torch disagree.
        ValueError: no model file can be made of this training.
    """
    data, run = read_config(config)
    facts = model_facts(data, run, note)
    splits = splits or [data.test_split, *data.split_names.extra]
    frames = {s: open_dataset(data.kind, data.root, s, data.max_depth) for s in splits}
    network, _ = load_model(weights)
    if not isinstance(network, SegDepthFormer):
        raise ValueError(
            f"{weights} is a {type(network).__name__}, but a model file needs a network for both "
            "tasks: train one with architecture.task joint."
        )
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / output.name
        export(network, draft, metrics={}, **facts)
        perceiver = Perceiver(draft)
        scores = {
            split: scores_of(perceiver, score_split(perceiver, of_split))
            for split, of_split in frames.items()
        }
    print_scores(scores)
    metrics = {
        f"{split}.{name}": value
        for split, of_split in scores.items()
        for name, value in of_split.items()
        if name != "iou" and math.isfinite(value)
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    info = export(network, output, metrics=metrics, **facts)
    card = output.with_name("MODEL_CARD.md")
    size = f"SegDepthFormer-{network.variant.upper()} with "
    size += f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f} M parameters"
    text = {"network": size, **training_text(read_settings(config), next(iter(frames.values())))}
    text |= measured_text(info, data, frames)
    replace_text(card, model_card(info, scores, text))
    print(f"{card} written")


def training_text(settings: Mapping[str, Any], frames: DataSet) -> dict[str, str]:
    """Return the parts of the card about the training and what follows from it.

    Args:
        settings: of the training, by the names of the options.
        frames: any split of the data set.
    """
    loss = (
        f"{name.removeprefix('loss.')} {value}"
        for name, value in settings.items()
        if name.startswith("loss.")
    )
    start = settings.get("architecture.encoder") or settings.get("architecture.init")
    if frames.real_images or settings.get("architecture.encoder"):
        licence = (
            "The licence follows from those of the training data and of the weights that the "
            f"training began with ({start or 'random weights'}): read them before you pass this "
            "file on."
        )
    else:
        licence = (
            "Apache-2.0, like the code: trained on rendered images, with no third-party weights "
            f"or data{f', beginning with {start}' if start else ''}."
        )
    warning = "nothing but the images below has tested it"
    return {
        "loss": ", ".join(loss) or "unknown",
        "warning": warning if frames.real_images else "it has never seen a real image",
        "licence": licence,
    }


def measured_text(info: ModelInfo, data: Data, frames: Mapping[str, DataSet]) -> dict[str, str]:
    """Return the parts of the card about its measurements."""
    command = ["python", "training/evaluate.py", "--model", str(info.path), "--kind", data.kind]
    command += ["--root", str(data.root), "--splits", *frames]
    if data.max_depth is not None:
        command += ["--max-depth", f"{data.max_depth:g}"]
    extra = [f"`{split}`" for split in frames if split in data.split_names.extra]
    return {
        "command": shlex.join(command),
        "max_depth": f"{next(iter(frames.values())).max_depth:g}",
        "compare": f": compare the error AUROCs of {' and '.join(extra)} below with those of "
        f"`{data.test_split}`"
        if extra
        else "",
        "extra": f"\nNo training frame shows the conditions of {' and '.join(extra)}."
        if extra
        else "",
    }


def model_card(info: ModelInfo, scores: Mapping[str, Scores], text: Mapping[str, str]) -> str:
    """Return the model card in Markdown.

    Args:
        info: what the model file says of itself.
        scores: by split.
        text: `training_text`, `measured_text` and the network.
    """
    splits = list(scores)
    metrics = {
        name: [scores[split][name] for split in splits]
        for name in scores[splits[0]]
        if name != "iou"
    }
    occurring = sorted({name for split in splits for name in scores[split]["iou"]})
    classes = {name: [scores[split]["iou"].get(name) for split in splits] for name in occurring}
    height, width = info.input_size
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        name=info.name,
        megabytes=f"{info.path.stat().st_size / 1e6:.1f}",
        precision=info.precision,
        width=width,
        height=height,
        sha256=info.sha256,
        commit=info.commit,
        training_data=info.training_data,
        number=len(info.classes),
        table=info.classes.dataset,
        narrow=f"{info.horizontal_fov[0]:g}",
        wide=f"{info.horizontal_fov[1]:g}",
        focal=f"{info.canonical_focal:g}",
        farthest=f"{info.depth_range[1]:g}",
        metrics=_markdown(splits, metrics),
        classes=_markdown(splits, classes),
        **text,
    )


def _markdown(columns: Sequence[str], rows: Mapping[str, list[float | None]]) -> str:
    lines = [" | ".join(["", *columns]), "|".join(["---"] * (len(columns) + 1))]
    for name, values in rows.items():
        lines.append(" | ".join([name, *("–" if v is None else f"{v:.3f}" for v in values)]))
    return "".join(f"| {line} |\n" for line in lines)


def main() -> int:
    """Command line."""
    parser = jsonargparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--weights", type=Path, required=True, help="…/last.safetensors")
    add("--config", type=Path, required=True, help="config.yaml beside it")
    add("--output", type=Path, required=True, help="ONNX file to write")
    add("--note", default="", help="e.g. 'distilled from 5 networks', for the card")
    add("--splits", nargs="+", help="what to score on (default: what the data set reports)")
    given = parser.parse_args()
    return run_command("export", lambda: export_measured(**vars(given)))


if __name__ == "__main__":
    sys.exit(main())
