"""Score a model file on held-out drives, as a robot would receive its answers.

python training/evaluate.py                                        # the shipped model, test
python training/evaluate.py --splits test haze night --output runs/scores.json
python training/evaluate.py --model runs/first_student/student.onnx --stride 4
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.progress import track

from emu_core.data.cityscapes import MAX_DEPTH, Cityscapes
from emu_core.data.sample import DataError, Sample
from emu_core.model_file import ModelError
from emu_core.perceiver import Perceiver
from emu_core.scoring import score


def evaluate(
    perceiver: Perceiver, root: Path, split: str, stride: int = 1
) -> dict[str, float | dict[str, float]]:
    """Scores of one split, with each class's IoU under `iou`."""
    data = Cityscapes(root, split)
    metrics = score(perceiver, _shown(data, range(0, len(data), stride), split))
    classes = metrics.confusion.compute()
    iou = zip(perceiver.info.classes.names, classes["iou"], classes["present"], strict=True)
    return {**metrics.compute(), "iou": {name: float(v) for name, v, there in iou if there}}


def _shown(data: Cityscapes, indices: Sequence[int], split: str) -> Iterator[Sample]:
    """The samples, with a progress bar on stderr."""
    for index in track(indices, description=split, disable=not sys.stderr.isatty()):
        yield data[index]


def print_scores(scores: dict[str, dict]) -> None:
    """One line for each figure, one column for each split."""
    splits = list(scores)
    print(f"{'':22}" + "".join(f"{split:>10}" for split in splits))
    for name in [key for key in scores[splits[0]] if key != "iou"]:
        print(f"{name:22}" + "".join(f"{scores[s][name]:10.4f}" for s in splits))
    for name in sorted({n for s in splits for n in scores[s]["iou"]}):
        row = (scores[s]["iou"].get(name) for s in splits)
        print(
            f"  IoU {name:16}" + "".join(f"{'-':>10}" if v is None else f"{v:10.4f}" for v in row)
        )


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="ONNX file (default: the shipped one)")
    parser.add_argument(
        "--root", type=Path, default=Path("data/drives"), help="Cityscapes' layout"
    )
    parser.add_argument("--splits", nargs="+", default=["test"])
    parser.add_argument("--stride", type=int, default=1, help="only every so many frames")
    parser.add_argument("--output", type=Path, help="write the scores as JSON")
    args = parser.parse_args()
    try:
        perceiver = Perceiver(args.model)
        print(f"{perceiver.info.name} on {args.root}, depth valid up to {MAX_DEPTH:g} m")
        scores = {s: evaluate(perceiver, args.root, s, args.stride) for s in args.splits}
    except (DataError, ModelError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    print_scores(scores)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(scores, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
