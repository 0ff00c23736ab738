"""A teacher's predictions on disk: they pay from the second student on, or the second epoch.

Predictions depend on the augmented image, so the augmentation may take only so many variants of a
frame (`TrainingSet`); the first epochs ask the teacher and fill the cache, later ones read it. A
file holds the maps at a quarter of the size, in half precision, compressed: about 0.3 MB for 19
classes at 256 × 512. What is read is what was written, already in the pass that writes it: a
resumed run sees the same targets.

Networks upsample their logits from a quarter of the size, and log p is the logits but for what all
classes have in common, which a softmax takes out. So log p of one network can be kept at H/4 and
upsampled without loss, and that of an ensemble almost: on rendered streets KL(teacher ‖ kept) is
1e-5, where the probabilities' own averages, upsampled, lose 8e-3 and a fifth of the certainty.

A file knows which image and which teacher it belongs to; where another one is asked for, with
another augmentation perhaps, it is written anew.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from emu_core.files import replace_file
from emu_core.methods.ensembles import Method
from emu_core.methods.prediction import Prediction
from emu_core.training.loader import Batch

SHRINK = 4
"""Maps are kept at H/4 × W/4, the networks' own output size."""

_CORRECTIONS = 3  # each leaves at most 0.44 of the error
_SMALLEST_PROBABILITY = 1e-7
_SMALLEST = 1e-8  # of a variance in m²: below, log s² says nothing
_FORMAT = b"log p, mean, log variance"  # files of another one belong to nobody
_OWNER = "owner"

Maps = dict[str, np.ndarray]
"""float16 (C or 1, H/4, W/4) by name, and the digest of image and teacher."""


class TeacherCache:
    """Keeps one file for each (variant, index) in a folder.

    Args:
        folder: of this data set; made if it is not there.
        teacher: whose predictions these are, see `fingerprint`.

    Raises:
        ValueError: nobody said whose.
    """

    def __init__(self, folder: str | Path, teacher: str):
        if not teacher:
            raise ValueError("Expected `teacher` to tell this one from others, but it is empty.")
        self.folder, self.teacher = Path(folder), teacher
        self.folder.mkdir(parents=True, exist_ok=True)

    def predict(self, teacher: Method, batch: Batch) -> Prediction:
        """The teacher's prediction of a batch, from the cache as far as it is there.

        Args:
            teacher: asked for the whole batch, if an image has no file yet.
            batch: `image` (N,3,H,W) and `key` (N,2): variant and index.
        """
        images = batch["image"]
        owners = [self._owner(image) for image in images]
        files = [self.folder / f"{v:03d}_{i:06d}.npz" for v, i in batch["key"].tolist()]
        kept = [_read(file, owner) for file, owner in zip(files, owners, strict=True)]
        missing = [n for n, maps in enumerate(kept) if maps is None]
        if missing:
            # The whole batch: an answer's last bits depend on its company, and a resumed run,
            # which finds some of a batch's files, shall end as one that was never killed.
            fresh = teacher(images)
            for n in missing:
                maps = _shrunk(fresh, n) | {_OWNER: owners[n]}
                _write(files[n], maps)
                kept[n] = maps
        height, width = images.shape[-2:]
        return _enlarged([maps for maps in kept if maps], (height, width), images.device)

    def _owner(self, image: Tensor) -> np.ndarray:
        digest = hashlib.blake2b(_FORMAT + self.teacher.encode(), digest_size=16)
        digest.update(image.cpu().numpy().tobytes())
        return np.frombuffer(digest.digest(), np.uint8)


def fingerprint(paths: Iterable[str | Path]) -> str:
    """What tells one teacher from another: a digest of its files' contents."""
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def _shrunk(prediction: Prediction, place: int) -> Maps:
    """What is kept of one image; variances as logarithms, which half precision holds to 1 %."""

    def own(maps: Tensor) -> Tensor:
        return maps[place : place + 1].float()

    kept = {}
    if prediction.probabilities is not None:
        probabilities = own(prediction.probabilities)
        kept["log_probabilities"] = probabilities.clamp_min(_SMALLEST_PROBABILITY).log()
    if prediction.depth_mean is not None and prediction.depth_variance is not None:
        kept["mean"] = own(prediction.depth_mean)
        kept["log_variance"] = own(prediction.depth_variance).clamp_min(_SMALLEST).log()
    return {name: _quarter(maps)[0].half().cpu().numpy() for name, maps in kept.items()}


def _quarter(full: Tensor) -> Tensor:
    """Maps (N,·,H/4,W/4) that bilinear upsampling turns into these (N,·,H,W).

    Where there are such maps, iterating finds them; else what agrees in the middle of each cell.
    """
    size = (full.shape[-2], full.shape[-1])
    small = (-(-size[0] // SHRINK), -(-size[1] // SHRINK))
    quarter = _resized(full, small)  # the mean of the 2 × 2 pixels amid each cell
    for _ in range(_CORRECTIONS):
        quarter = quarter + _resized(full - _resized(quarter, size), small)
    return quarter


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def _write(file: Path, maps: Maps) -> None:
    replace_file(file, lambda unfinished: np.savez_compressed(unfinished, **maps))  # type: ignore[arg-type]


def _read(file: Path, owner: np.ndarray) -> Maps | None:
    """The maps of a file; None if there is none, it is damaged, or another image's."""
    try:
        with np.load(file) as stored:
            maps = dict(stored)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    return maps if np.array_equal(maps.get(_OWNER, ()), owner) else None


def _enlarged(frames: list[Maps], size: tuple[int, int], device: torch.device) -> Prediction:
    full = {
        name: _resized(
            torch.from_numpy(np.stack([frame[name] for frame in frames])).to(device).float(), size
        )
        for name in frames[0]
        if name != _OWNER
    }
    logits, mean = full.get("log_probabilities"), full.get("mean")
    return Prediction(
        None if logits is None else logits.softmax(dim=1),
        None if mean is None else mean.clamp_min(0),  # a correction may have gone below
        full["log_variance"].exp() if "log_variance" in full else None,
    )
