r"""Import labels from an annotation tool, or export frames for one, with the library datumaro.

    python training/annotations.py export data/orchard --format cvat --output out/cvat --prefill
    python training/annotations.py import out/task --output data/orchard      # detects the format
    python training/annotations.py import result.json --format label_studio --output data/new
    python training/annotations.py export data/orchard --format coco --split val --output out/coco

A data set is a folder with images, labels and dataset.yaml (docs/own_data.md). The loop of
labelling is: export with --prefill, correct the labels in the tool, import into the same data set.
Import replaces labels and keeps everything else: it finds frames by name or by equal images, and
classes by name. A new data set gets the tool's ids. Later objects cover earlier ones. Pixels that
no object covers have no class, nor have those of the classes background and unlabelled.

Both commands need datumaro: pip install "emu_core[annotation]"
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jsonargparse
from rich.console import Console
from rich.progress import track

from emu_core.annotations.exporting import MAX_UNCERTAINTY, export_annotations
from emu_core.annotations.formats import FORMATS, SHAPES
from emu_core.annotations.importing import import_annotations
from emu_core.runtime.model_file import ModelError
from emu_core.runtime.perceiver import Perceiver
from emu_core.terminal import accept_any_text

SHIPPED = "shipped"
"""Value of --prefill without a file: the model that is installed with emu_core."""


def make_parser() -> jsonargparse.ArgumentParser:
    """Return the parser of the command line."""
    written = ", ".join(name for name, each in FORMATS.items() if each.exporter)
    parser = jsonargparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subcommands(dest="command")

    import_ = jsonargparse.ArgumentParser(description="Import labels from an annotation tool.")
    add = import_.add_argument
    add("source", type=Path, help="folder or file that the tool has exported")
    add("--output", type=Path, required=True, help="folder of the data set, new or existing")
    add("--format", help=f"{', '.join(FORMATS)} (default: detect it)")
    commands.add_subcommand("import", import_, help="labels of a tool into a data set")

    export = jsonargparse.ArgumentParser(description="Export frames for an annotation tool.")
    add = export.add_argument
    add("root", type=Path, help="folder of the data set")
    add("--output", type=Path, required=True, help="new folder for the tool")
    add("--format", required=True, help=written)
    add("--split", help="only the frames of this split (default: all)")
    add(
        "--shapes",
        help=f"{' or '.join(SHAPES)} (default: polygons for coco, otherwise masks)",
    )
    add(
        "--prefill",
        nargs="?",
        const=SHIPPED,
        help="predict the labels of frames without labels; with a model file, or else with the "
        "model that is installed",
    )
    add(
        *("--max-uncertainty", "--max_uncertainty"),
        type=float,
        default=MAX_UNCERTAINTY,
        help="predicted pixels with more label uncertainty stay empty, 0 to 1",
    )
    commands.add_subcommand("export", export, help="frames of a data set for a tool")
    return parser


def with_progress(frames: Iterable[Any]) -> Iterable[Any]:
    """Show a progress bar on a terminal."""
    console = Console(stderr=True)
    return track(
        frames, "frames", console=console, transient=True, disable=not console.is_terminal
    )


def run_import(options: Any) -> None:
    """Import labels, and print what was done."""
    done = import_annotations(options.source, options.output, options.format, with_progress)
    print(
        f"{options.output}: {done.labelled} frames with labels from {done.format}, "
        f"{done.without} without; {done.copied} images copied"
    )
    for kind, count in done.skipped.items():
        print(f"not used: {count} × {kind} (only masks and polygons of a class become labels)")
    total = max(int(done.pixels.sum()), 1)
    for k, name in {**done.classes, done.unlabelled: "unlabelled"}.items():
        if done.pixels[k]:
            print(f"{k:4d} {name}: {100 * done.pixels[k] / total:.2f} %")


def run_export(options: Any) -> None:
    """Export frames, and print what was done."""
    model = None
    if options.prefill is not None:
        model = Perceiver(None if options.prefill == SHIPPED else options.prefill)
    done = export_annotations(
        options.root,
        options.output,
        options.format,
        shapes=options.shapes,
        split=options.split,
        model=model,
        max_uncertainty=options.max_uncertainty,
        track=with_progress,
    )
    print(
        f"{options.output}: {done.labelled} frames with their labels, {done.predicted} with "
        f"predictions, {done.empty} empty"
    )
    if done.unused:
        print(f"left empty, for the data set has no class for them: {', '.join(done.unused)}")


def main() -> int:
    """Run the command line; returns the exit code."""
    accept_any_text()
    parser = make_parser()
    options = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)  # datumaro warns of every image without objects
    try:
        if options.command == "import":
            run_import(options["import"])
        else:
            run_export(options.export)
    except (ValueError, ModelError, OSError) as error:
        print(f"annotations: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("annotations: interrupted; the same command starts again.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
