r"""Turn trained weights into the one file that a robot runs, measured and with its model card.

    python training/export.py --weights runs/distilled/student/last.safetensors \
        --config runs/distilled/student/config.yaml --output runs/distilled/student.onnx
    python training/export.py … --output emu_core/emu_core/models/emu_b0_drives.onnx

The graph is checked against torch; the model is scored on test, haze and night as a robot would
receive its answers; the figures go into the file's metadata and into MODEL_CARD.md beside it.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from pathlib import Path
from string import Template

from emu_core.data.datasets import open_dataset
from emu_core.evaluation.model_scores import measure, print_scores, scores_of
from emu_core.networks.weights import load_model
from emu_core.runtime.model_file import ModelError, ModelInfo
from emu_core.runtime.perceiver import Perceiver
from emu_core.training.export import ExportError, export
from emu_core.training.release import model_facts, read_config

TEMPLATE = Path(__file__).parent / "model_card_template.md"


def export_measured(
    weights: Path, config: Path, output: Path, splits: list[str], note: str = ""
) -> None:
    """Export, score, export again with the scores inside, and write the card."""
    model, _ = load_model(weights)
    data, run = read_config(config)
    root, facts = data.root, model_facts(data, run, note)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / output.name
        export(model, draft, metrics={}, **facts)
        perceiver = Perceiver(draft)
        scores = {}
        for split in splits:
            frames = open_dataset(data.kind, root, split, data.max_depth)
            scores[split] = scores_of(perceiver, measure(perceiver, frames, split))
    print_scores(scores)
    metrics = {
        f"{split}.{name}": value
        for split, values in scores.items()
        for name, value in values.items()
        if name != "iou" and math.isfinite(value)
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    info = export(model, output, metrics=metrics, **facts)
    card = output.with_name("MODEL_CARD.md")
    card.write_text(model_card(info, scores), encoding="utf-8")
    print(f"{card} written")


def model_card(info: ModelInfo, scores: dict[str, dict]) -> str:
    """The model card, in Markdown, from what the file says and what was measured."""
    splits = list(scores)
    figures = {name: [scores[s][name] for s in splits] for name in scores[splits[0]]}
    del figures["iou"]
    occurring = sorted({name for s in splits for name in scores[s]["iou"]})
    classes = {name: [scores[s]["iou"].get(name) for s in splits] for name in occurring}
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
        narrow=f"{info.horizontal_fov[0]:g}",
        wide=f"{info.horizontal_fov[1]:g}",
        focal=f"{info.canonical_focal:g}",
        farthest=f"{info.depth_range[1]:g}",
        splits=" ".join(splits),
        figures=_markdown(splits, figures),
        classes=_markdown(splits, classes),
    )


def _markdown(columns: list[str], rows: dict[str, list[float | None]]) -> str:
    lines = [" | ".join(["", *columns]), "|".join(["---"] * (len(columns) + 1))]
    for name, values in rows.items():
        lines.append(" | ".join([name, *("–" if v is None else f"{v:.3f}" for v in values)]))
    return "".join(f"| {line} |\n" for line in lines)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, required=True, help="…/last.safetensors")
    parser.add_argument("--config", type=Path, required=True, help="config.yaml beside it")
    parser.add_argument("--output", type=Path, required=True, help="ONNX file to write")
    parser.add_argument(
        "--note", default="", help="e.g. 'distilled from 5 networks', for the card"
    )
    parser.add_argument("--splits", nargs="+", default=["test", "haze", "night"])
    args = parser.parse_args()
    try:
        export_measured(args.weights, args.config, args.output, args.splits, args.note)
    except (ValueError, ExportError, ModelError, OSError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
