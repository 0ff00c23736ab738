"""A teacher's predictions on disk: they pay from the second student on, or the second epoch.

Predictions depend on the augmented image, so the augmentation may take only so many variants of a
frame (`TrainingSet`); the first epochs ask the teacher and fill the cache, later ones read it. A
file holds the maps at a quarter of the size, in half precision, compressed: about 0.3 MB for 19
classes at 256 × 512. What is read is what was written: a resumed run sees the same targets.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from emu_core.ensembles import Method
from emu_core.prediction import Prediction
from emu_core.training.loader import Batch

SHRINK = 4
"""Maps are kept at H/4 × W/4, the networks' own output size."""

_SMALLEST = 1e-8  # of a variance in m²: below, log s² says nothing


class TeacherCache:
    """Keeps one file for each (variant, index) in a folder.

    Args:
        folder: of this teacher, data set and augmentation alone; made if it is not there.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def predict(self, teacher: Method, batch: Batch) -> Prediction:
        """The teacher's prediction of a batch, from the cache as far as it is there.

        Args:
            teacher: asked for the images that have no file yet.
            batch: `image` (N,3,H,W) and `key` (N,2): variant and index.
        """
        files = [self.folder / f"{v:03d}_{i:06d}.npz" for v, i in batch["key"].tolist()]
        missing = [n for n, file in enumerate(files) if not file.is_file()]
        if missing:
            fresh = teacher(batch["image"][missing])
            for place, n in enumerate(missing):
                _write(files[n], fresh, place)
        height, width = batch["image"].shape[-2:]
        return _read(files, (height, width), batch["image"].device)


def _write(file: Path, prediction: Prediction, place: int) -> None:
    maps = {}
    for name, values in _stored(prediction).items():
        small = F.avg_pool2d(values[place : place + 1].float(), SHRINK)[0]
        maps[name] = small.cpu().numpy().astype(np.float16)
    unfinished = file.with_suffix(".part")
    with unfinished.open("wb") as stream:
        np.savez_compressed(stream, **maps)  # type: ignore[arg-type]
    unfinished.replace(file)


def _stored(prediction: Prediction) -> dict[str, Tensor]:
    """What is kept; variances as logarithms, which half precision holds to 0.1 %."""
    maps = {}
    if prediction.probabilities is not None:
        maps["probabilities"] = prediction.probabilities
    if prediction.depth_mean is not None and prediction.depth_variance is not None:
        maps["mean"] = prediction.depth_mean
        maps["log_variance"] = prediction.depth_variance.clamp_min(_SMALLEST).log()
    return maps


def _read(files: list[Path], size: tuple[int, int], device: torch.device) -> Prediction:
    frames = []
    for file in files:
        with np.load(file) as maps:
            frames.append({name: torch.from_numpy(maps[name]).float() for name in maps})
    full = {
        name: F.interpolate(
            torch.stack([frame[name] for frame in frames]).to(device),
            size=size, mode="bilinear", align_corners=False,
        )
        for name in frames[0]
    }  # fmt: skip
    probabilities = full.get("probabilities")
    if probabilities is not None:
        probabilities = probabilities / probabilities.sum(1, keepdim=True)
    variance = full["log_variance"].exp() if "log_variance" in full else None
    return Prediction(probabilities, full.get("mean"), variance)
