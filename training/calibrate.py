r"""Calibrate a model file on frames that its training has not seen.

    python training/calibrate.py --model runs/student.onnx --kind folder --root data/yard \
        --output runs/student_calibrated.onnx
    python training/calibrate.py --model runs/student.onnx --kind drives folder \
        --root data/drives data/yard --splits val --output runs/student_calibrated.onnx

Fits a temperature of the class scores, and a factor of the standard deviation of depth with which
intervals of 90 % hold 90 % of the true depths. Both become part of the graph, at no cost. An
earlier calibration of the file is replaced. With --dry-run, it only prints what it finds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import jsonargparse
from jsonargparse.typing import PositiveInt

from emu_core.data.config import Data
from emu_core.data.datasets import DATASETS, DataSet
from emu_core.evaluation.calibrated_file import write_calibrated
from emu_core.evaluation.calibration import calibrate as fit_on_frames
from emu_core.terminal import accept_any_text
from emu_core.training.command import run_command


def calibrate(given: jsonargparse.Namespace) -> None:
    """Fit on the frames, print the metrics before and after, and write the file."""
    if len(given.kind) != len(given.root):
        raise ValueError(
            f"Give --kind and --root equally often: got {len(given.kind)} and {len(given.root)}."
        )
    parts: list[DataSet] = []
    for kind, root in zip(given.kind, given.root, strict=True):
        data = Data(kind, root=root, mapping=given.mapping, classes=given.classes)
        parts += data.open_scored(given.splits).values()
    found = fit_on_frames(given.model, parts, given.stride)
    if not given.dry_run:
        info = write_calibrated(given.model, given.output or given.model, found)
        print(f"{info.path}: written, sha256 {info.sha256[:12]}")


def main() -> int:
    """Run the command line; returns the exit code."""
    accept_any_text()
    parser = jsonargparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", type=Path, required=True, help="ONNX file")
    add("--kind", nargs="+", default=["folder"], help=f"of the data: {', '.join(DATASETS)}")
    add("--root", type=Path, nargs="+", required=True, help="folder of the data, for each kind")
    add("--splits", nargs="+", default=["val"], help="frames of the fit (default: val)")
    add("--stride", type=PositiveInt, default=1, help="use only every so many frames")
    add("--classes", help="class table of the model: a name or a YAML file")
    add("--mapping", type=Path, help="YAML file: what each class of the data is")
    add("--output", type=Path, help="ONNX file to write (default: --model is replaced)")
    add(*("--dry-run", "--dry_run"), action="store_true", help="write nothing")
    given = parser.parse_args()
    return run_command("calibrate", lambda: calibrate(given))


if __name__ == "__main__":
    sys.exit(main())
