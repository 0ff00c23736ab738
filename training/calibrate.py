r"""Calibrate a model file, or weights, on frames that the training has not seen.

    python training/calibrate.py --model runs/student.onnx --kind folder --root data/yard \
        --output runs/student_calibrated.onnx
    python training/calibrate.py --model runs/student.onnx --kind drives folder \
        --root data/drives data/yard --splits val --output runs/student_calibrated.onnx
    python training/calibrate.py --weights runs/distilled/student/last.safetensors \
        --config runs/distilled/student/config.yaml

Fits a temperature of the class scores, and a factor of the standard deviation of depth with which
intervals of 90 % hold 90 % of the true depths. In a model file both become part of the graph; an
earlier calibration of the file is replaced. For weights, which use the split `calibration` of
their training's data, or `val` if there is none, they are written to last.calibration.json:
evaluate.py knows the method `calibrated`.
With --shifts, the deviation grows as much with the uncertainty of the class as changed frames
need; intervals still hold 90 % on the frames of the fit. With --distance, both values change with
the distance of an image from the frames of the first --root, measured in features of the network:
the other data, and the --shifts of the first, say how uncertain distant images are.
--dry-run only prints what it finds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import jsonargparse
from jsonargparse.typing import PositiveInt

from emu_core.data.appearance.shifts import SHIFTS
from emu_core.data.config import Data
from emu_core.data.datasets import DATASETS, DataSet
from emu_core.evaluation.fitting.beside import fit_calibration
from emu_core.evaluation.fitting.calibrated_file import write_calibrated
from emu_core.evaluation.fitting.calibration import calibrate
from emu_core.terminal import accept_any_text
from emu_core.training.command import run_command


def calibrate_model(given: jsonargparse.Namespace) -> None:
    """Fit on the frames, print the metrics before and after, and write the file."""
    roots = given.root or []
    if len(given.kind) != len(roots):
        raise ValueError(
            f"Give --kind and --root equally often: got {len(given.kind)} and {len(roots)}."
            if roots
            else "Give --root, the folder of the data of the fit."
        )
    parts: list[DataSet] = []
    for kind, root in zip(given.kind, roots, strict=True):
        data = Data(kind, root=root, mapping=given.mapping, classes=given.classes)
        if given.splits is None:
            parts += data.open_calibration()
        else:
            parts += data.open_scored(given.splits).values()
    found = calibrate(given.model, parts, given.stride, given.shifts, given.distance)
    if not given.dry_run:
        info = write_calibrated(given.model, given.output or given.model, found)
        print(f"{info.path}: written, sha256 {info.sha256[:12]}")


def run(given: jsonargparse.Namespace) -> None:
    """Calibrate what was given."""
    if (given.model is None) == (given.weights is None):
        raise ValueError("Give either --model or --weights.")
    if given.weights is None:
        calibrate_model(given)
    elif given.distance:
        raise ValueError("--distance needs --model: calibrate the exported file.")
    elif given.config is None:
        raise ValueError("--weights needs --config, the config.yaml in the same folder.")
    else:
        fit_calibration(
            given.weights,
            given.config,
            given.root or (),
            given.stride,
            given.shifts,
            given.dry_run,
        )


def main() -> int:
    """Run the command line; returns the exit code."""
    accept_any_text()
    parser = jsonargparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", type=Path, help="ONNX file")
    add("--weights", type=Path, help="…/last.safetensors")
    add("--config", type=Path, help="config.yaml in the same folder as --weights")
    add("--kind", nargs="+", default=["folder"], help=f"of the data: {', '.join(DATASETS)}")
    add("--root", type=Path, nargs="+", help="folder of the data, for each kind")
    add("--splits", nargs="+", help="frames of the fit (default: calibration, or val without it)")
    add(
        "--shifts",
        nargs="+",
        default=[],
        help="changes of the frames, on which it is chosen how much the deviation grows with the "
        f"uncertainty of the class: {', '.join(SHIFTS)}",
    )
    add(
        "--distance",
        action="store_true",
        help="change both values with the distance of an image from the frames of the first "
        "--root",
    )
    add("--stride", type=PositiveInt, default=1, help="use only every so many frames")
    add("--classes", help="class table of the model: a name or a YAML file")
    add("--mapping", type=Path, help="YAML file: what each class of the data is")
    add("--output", type=Path, help="ONNX file to write (default: --model is replaced)")
    add(*("--dry-run", "--dry_run"), action="store_true", help="write nothing")
    given = parser.parse_args()
    return run_command("calibrate", lambda: run(given))


if __name__ == "__main__":
    sys.exit(main())
