r"""Make a model file for the node of other people's networks: segmentation, depth, or both.

    python training/adapt.py --hugging-face nvidia/segformer-b0-finetuned-cityscapes-512-1024 \
        --license "NVIDIA Source Code License, non-commercial" --output runs/segformer.onnx
    python training/adapt.py --segmentation.file seg.onnx --segmentation.classes cityscapes \
        --depth.file stereo.onnx --depth.values disparity --depth.scale 54.4 \
        --depth.channels bgr --depth.mean '[0.5, 0.5, 0.5]' --depth.std '[0.5, 0.5, 0.5]' \
        --output runs/both.onnx
    python training/adapt.py --depth.file metric.onnx --depth.values metres --depth.focal 721 \
        --depth.size '[352, 1216]' --output runs/depth.onnx

The file takes RGB images as all model files do, and normalises them as the network expects. Class
uncertainty is the entropy of the network's scores. Depth has no standard deviation, so the topics
that need one are absent; so are those of a task that is not there. The file is written only if it
gives what the networks themselves give on test images.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from emu_core.adapting.hugging_face import export_hugging_face
from emu_core.adapting.options import AdaptOptions
from emu_core.adapting.wrap import check, wrap
from emu_core.options import check_options
from emu_core.training.command import parse_config, run_command


def adapt(arguments: Sequence[str]) -> None:
    """Run the command for its arguments."""
    names = [
        re.sub(r"^--[^=]+", lambda m: f"--{m[0][2:].replace('-', '_')}", a) for a in arguments
    ]
    options = parse_config(AdaptOptions, names, __doc__)
    check_options(options)
    with tempfile.TemporaryDirectory() as folder:
        options = export_hugging_face(options, Path(folder))
        wrap(check(options), options)


def main() -> int:
    return run_command("adapt", lambda: adapt(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
