r"""Turn trained weights into the one file that a robot runs, with its metrics and its model card.

    python training/export.py --weights runs/distilled/student/last.safetensors \
        --config runs/distilled/student/config.yaml --output runs/distilled/student.onnx
    python training/export.py … --output emu_core/emu_core/models/emu_b0_drives.onnx

The graph is checked against torch. The outputs that a robot would receive are scored on the
test split of the data set and on its extra splits. The metrics become part of the file and of
the model card next to it, which has the name of the file: student.onnx and student.md.

With --calibrate, a temperature of the classes and a factor of the depth deviation are fitted on
the split `calibration` of a data set, or on `val` if there is none, and become part of the graph,
as by training/calibrate.py. The card has the metrics before and after.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import jsonargparse

from emu_core.data.datasets import DataSet
from emu_core.evaluation.fitting.calibrated_file import write_calibrated
from emu_core.evaluation.fitting.calibration import calibrate
from emu_core.evaluation.model_card import Origin, model_card
from emu_core.evaluation.model_scores import Scores, print_scores, score_split, scores_of
from emu_core.files import write_text
from emu_core.networks import load_model
from emu_core.networks.learned import MEANING, check_weights
from emu_core.runtime.perceiver import Perceiver
from emu_core.terminal import accept_any_text
from emu_core.training.command import run_command
from emu_core.training.config import TrainingConfig
from emu_core.training.export import export
from emu_core.training.release import model_facts, read_config
from emu_core.training.run import describe_training, read_settings


def export_measured(
    weights: Path,
    config: Path,
    output: Path,
    note: str = "",
    splits: Sequence[str] | None = None,
    license: str = "",
    sections: Path | None = None,
    calibrate_on: Sequence[Path] = (),
    calibrate_shifts: Sequence[str] = (),
    calibrate_distance: bool = False,
) -> None:
    """Export a network, score it, export it again with its scores, and write the model card.

    Args:
        weights: .safetensors file of a network for one task or for both.
        config: config.yaml of its training.
        output: ONNX file to write.
        note: Text about the training, for the card.
        splits: Splits to score on; None for those that the data set reports.
        license: Licence of the weights, for the card.
        sections: Markdown file with further sections for the card.
        calibrate_on: Folders of the data sets whose frames calibrate the file, see
            `Data.open_calibration`.
        calibrate_shifts: Changes of these frames, see `calibrate`.
        calibrate_distance: Whether the values depend on the distance of an image, see `calibrate`.

    Raises:
        DataError, ModelError, WeightsError: A file is missing or damaged.
        ExportError: ONNX Runtime and torch disagree.
        ValueError: No model file can be made of this training.
    """
    if (calibrate_shifts or calibrate_distance) and not calibrate_on:
        raise ValueError("--calibrate-shifts and --calibrate-distance need --calibrate.")
    data, run = read_config(config)
    more = "" if sections is None else sections.read_text(encoding="utf-8")
    network, _ = load_model(weights)
    facts = model_facts(data, run, note, network.task)
    if splits is None and not data.mixture:
        splits = [*filter(None, [data.test_split]), *data.split_names.extra]
    frames = data.open_scored(splits)
    fitted = data.open_calibration(calibrate_on) if calibrate_on else []
    expected = {**describe_training(TrainingConfig(data)), "classes": list(facts["classes"].names)}
    advice = "Give --config the config.yaml beside the weights."
    check_weights(weights, expected, config, advice, (*MEANING, "depth_limit"))
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / output.name
        export(network, draft, metrics={}, **facts)
        before, calibration = {}, None
        if fitted:
            calibration = calibrate(draft, fitted, 1, calibrate_shifts, calibrate_distance)
            before = _scores(draft, frames)
            write_calibrated(draft, draft, calibration)
        scores = _scores(draft, frames)
    print_scores(scores)
    metrics = {
        f"{split}.{name}": value
        for split, of_split in scores.items()
        for name, value in of_split.items()
        if name != "iou" and math.isfinite(value)
    }
    info = export(network, output, metrics=metrics, **facts)
    if calibration is not None:
        info = write_calibrated(output, output, calibration)
    card, settings = output.with_suffix(".md"), read_settings(config)
    student = any(name.startswith("distillation.") for name in settings)
    parts = data.open_training(unlabelled=student).parts
    origin = Origin(data, parts, settings, license, more)
    write_text(card, model_card(info, network, scores, frames, origin, before))
    print(f"{card} written")


def _scores(model: Path, frames: Mapping[str, DataSet]) -> dict[str, Scores]:
    perceiver = Perceiver(model)
    return {s: scores_of(part, score_split(perceiver, part)) for s, part in frames.items()}


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
    add("--license", default="", help="licence of the weights, for the card, e.g. Apache-2.0")
    add("--sections", type=Path, help="Markdown file with further sections for the card")
    add(
        "--calibrate",
        nargs="+",
        type=Path,
        default=[],
        dest="calibrate_on",
        metavar="ROOT",
        help="folders of data sets of the training, whose held-out frames calibrate the file",
    )
    add(
        *("--calibrate-shifts", "--calibrate_shifts"),
        nargs="+",
        default=[],
        metavar="SHIFT",
        help="changes of these frames, on which it is chosen how much the deviation grows with "
        "the uncertainty of the class, see training/calibrate.py",
    )
    add(
        *("--calibrate-distance", "--calibrate_distance"),
        action="store_true",
        help="change both values with the distance of an image from the frames of the first of "
        "these data sets, see training/calibrate.py",
    )
    given = parser.parse_args()
    return run_command("export", lambda: export_measured(**vars(given)))


if __name__ == "__main__":
    sys.exit(main())
