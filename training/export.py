r"""Turn trained weights into the one file that a robot runs, with its metrics and its model card.

    python training/export.py --weights runs/distilled/student/last.safetensors \
        --config runs/distilled/student/config.yaml --output runs/distilled/student.onnx
    python training/export.py … --output emu_core/emu_core/models/emu_b0_drives.onnx

The graph is checked against torch. The outputs that a robot would receive are scored on the
test split of the data set and on its extra splits. The metrics become part of the file and of
the model card next to it, which has the name of the file: student.onnx and student.md.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonargparse
import pandas as pd

from emu_core.data.datasets import DATASETS, DataSet
from emu_core.evaluation.model_scores import Scores, print_scores, score_split, scores_of
from emu_core.evaluation.tables import to_markdown
from emu_core.files import write_text
from emu_core.networks import Network, load_model
from emu_core.networks.learned import MEANING, check_weights
from emu_core.runtime.model_file import ModelInfo
from emu_core.runtime.perceiver import Perceiver
from emu_core.terminal import accept_any_text
from emu_core.training.command import run_command
from emu_core.training.config import Data, TrainingConfig
from emu_core.training.export import export
from emu_core.training.release import model_facts, read_config
from emu_core.training.run import describe_training, read_settings

TEMPLATE = Path(__file__).parent / "model_card_template.md"


def export_measured(
    weights: Path, config: Path, output: Path, note: str = "", splits: Sequence[str] | None = None
) -> None:
    """Export a network, score it, export it again with its scores, and write the model card.

    Args:
        weights: .safetensors file of a network for one task or for both.
        config: config.yaml of its training.
        output: ONNX file to write.
        note: Text about the training, for the card.
        splits: Splits to score on; None for those that the data set reports.

    Raises:
        DataError, ModelError, WeightsError: A file is missing or damaged.
        ExportError: ONNX Runtime and torch disagree.
        ValueError: No model file can be made of this training.
    """
    data, run = read_config(config)
    network, _ = load_model(weights)
    facts = model_facts(data, run, note, network.task)
    if splits is None and not data.mixture:
        splits = [*filter(None, [data.test_split]), *data.split_names.extra]
    frames = data.open_scored(splits)
    expected = {**describe_training(TrainingConfig(data)), "classes": list(facts["classes"].names)}
    advice = "Give --config the config.yaml beside the weights."
    check_weights(weights, expected, config, advice, (*MEANING, "depth_limit"))
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / output.name
        export(network, draft, metrics={}, **facts)
        perceiver = Perceiver(draft)
        scores = {s: scores_of(part, score_split(perceiver, part)) for s, part in frames.items()}
    print_scores(scores)
    metrics = {
        f"{split}.{name}": value
        for split, of_split in scores.items()
        for name, value in of_split.items()
        if name != "iou" and math.isfinite(value)
    }
    info = export(network, output, metrics=metrics, **facts)
    card = output.with_suffix(".md")
    write_text(card, model_card(info, network, scores, data, frames, read_settings(config)))
    print(f"{card} written")


def model_card(
    info: ModelInfo,
    network: Network,
    scores: Mapping[str, Scores],
    data: Data,
    frames: Mapping[str, DataSet],
    settings: Mapping[str, Any],
) -> str:
    """Return the model card in Markdown.

    Args:
        info: Metadata of the model file.
        network: The network in the file.
        scores: Scores by split.
        data: Data of the training.
        frames: The frames of every split in `scores`.
        settings: Settings of the training, by the names of the options.
    """
    extra = " and ".join(f"`{split}`" for split in scores if split in data.split_names.extra)
    first = next(iter(frames.values()))
    return TEMPLATE.read_text(encoding="utf-8").format(
        info=info,
        megabytes=info.path.stat().st_size / 1e6,
        variant=network.variant.upper(),
        parameters=sum(weight.numel() for weight in network.parameters()) / 1e6,
        network=type(network).__name__,
        outputs=_outputs(info),
        depth_scale=_depth_scale(info),
        loss=", ".join(f"{k[5:]} {v}" for k, v in settings.items() if k.startswith("loss.")),
        max_depth=first.max_depth,
        command="`\n`".join(evaluate_commands(info.path, data, frames)),
        conditions=f"No training frame shows the conditions of {extra}." if extra else "",
        **notices(data, settings.get("architecture.encoder")),
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


def evaluate_commands(model: Path, data: Data, frames: Mapping[str, DataSet]) -> list[str]:
    """Return the commands that score the model file again, one line for each data set."""
    commands = []
    for source in data.sources:
        splits = [part.split for part in frames.values() if part.root == source.root]
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


def notices(data: Data, encoder: str | None) -> dict[str, str]:
    """Return the warning and the licence for the model card.

    Args:
        data: Data of the training.
        encoder: Weights that the encoder began with.
    """
    seen = "never seen a real image"
    licence = "Apache-2.0, like the code: no third-party weights or data."
    real_images = any(DATASETS[source.kind].real_images for source in data.sources)
    if real_images:
        seen = "been tested only on the images below"
    if real_images or encoder:
        licence = (
            "Read the licences of the training data and of the weights that the training began "
            f"with ({encoder or 'none'}) before you pass this file on."
        )
    return {"seen": seen, "licence": licence}


def tables(scores: Mapping[str, Scores]) -> dict[str, str]:
    """Return the metrics and the IoU of every class, with one column for each split."""
    metrics = {split: {k: v for k, v in s.items() if k != "iou"} for split, s in scores.items()}
    iou = pd.DataFrame({split: s["iou"] for split, s in scores.items()}).sort_index()
    return {"metrics": _markdown(pd.DataFrame(metrics)), "iou": _markdown(iou)}


def _markdown(values: pd.DataFrame) -> str:
    cells = values.map(lambda value: "–" if math.isnan(value) else f"{value:.3f}")
    return to_markdown(cells.rename_axis("").reset_index()) + "\n"


def main() -> int:
    """Run the command line; returns the exit code."""
    accept_any_text()
    parser = jsonargparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--weights", type=Path, required=True, help="…/last.safetensors")
    add("--config", type=Path, required=True, help="config.yaml in the same folder")
    add("--output", type=Path, required=True, help="ONNX file to write")
    add("--note", default="", help="e.g. 'distilled from 5 networks', for the card")
    add(
        "--splits",
        nargs="+",
        help="splits to score on (default: test and extra splits of the data set)",
    )
    given = parser.parse_args()
    return run_command("export", lambda: export_measured(**vars(given)))


if __name__ == "__main__":
    sys.exit(main())
