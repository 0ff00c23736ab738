r"""Learn how the features of a network vary on its training frames, for methods that need it.

    python training/fit_features.py --weights runs/teacher/member-0/last.safetensors \
        --config runs/teacher/member-0/config.yaml
    python training/evaluate.py --config runs/teacher/member-0/config.yaml \
        --methods single=runs/teacher/member-0/last.safetensors \
                  mahalanobis=runs/teacher/member-0/last.safetensors \
                  neco=runs/teacher/member-0/last.safetensors \
                  neco_energy=runs/teacher/member-0/last.safetensors \
                  laplace=runs/teacher/member-0/last.safetensors

Writes two files beside the weights: last.features.safetensors, which the methods mahalanobis, neco
and neco_energy need, and last.laplace.safetensors for the method laplace.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import jsonargparse
from jsonargparse.typing import PositiveInt

from emu_core.evaluation.fitting.beside import FRAMES, fit_features
from emu_core.terminal import accept_any_text
from emu_core.training.command import run_command


def main() -> int:
    """Run the command line; returns the exit code."""
    accept_any_text()
    parser = jsonargparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--weights", type=Path, required=True, help="…/last.safetensors")
    add("--config", type=Path, required=True, help="config.yaml in the same folder")
    add("--frames", type=PositiveInt, default=FRAMES, help="at most so many training frames")
    given = parser.parse_args()
    return run_command("fit_features", lambda: fit_features(**vars(given)))


if __name__ == "__main__":
    sys.exit(main())
