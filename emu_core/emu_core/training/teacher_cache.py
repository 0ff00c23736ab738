"""A teacher's predictions on disk, shared by epochs and students.

Predictions depend on the augmented image, so the number of augmentations of a frame must be
limited (`TrainingSet.variants`). The first epochs run the teacher and fill the cache. A file holds
maps at a quarter of the size, in half precision, compressed: about 0.3 MB for 19 classes at
256 × 512. The pass that writes a file already uses the stored values, so that a resumed run
sees the same targets.

Networks upsample their logits from H/4, and log p differs from the logits only by a constant per
pixel, which a softmax removes. So log p of one network can be kept at H/4 and upsampled without
loss. For an ensemble, the loss is small: on rendered streets, KL(teacher ‖ cached) is 1e-5. With
upsampled mean probabilities it would be 8e-3, and a fifth of the certainty would be lost.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from emu_core.files import write_atomically
from emu_core.methods.prediction import Prediction
from emu_core.methods.registry import Method
from emu_core.training.loader import Batch

_SHRINK = 4  # maps are kept at H/4 × W/4, the networks' own output size
_CORRECTIONS = 3  # each leaves at most 0.44 of the error
_MIN_PROBABILITY = 1e-7
_MIN_VARIANCE = 1e-8  # m²
_FORMAT = b"log p, mean, log variance"  # part of the digest: files of other formats are replaced
_DIGEST = "owner"

Maps = dict[str, np.ndarray]
"""float16 (C or 1, H/4, W/4) by name, and the digest of image and teacher."""


class TeacherCache:
    """Keeps one file for each (variant, index), and replaces files of other images or teachers.

    Args:
        folder: Folder for this data set; it is created.
        teacher: Digest of the teacher's files.

    Raises:
        ValueError: The digest is empty.
    """

    def __init__(self, folder: str | Path, teacher: str):
        if not teacher:
            raise ValueError("Expected `teacher` to be the digest of a teacher, but it is empty.")
        self.folder, self.teacher = Path(folder), teacher
        self.folder.mkdir(parents=True, exist_ok=True)

    def predict(self, teacher: Method, batch: Batch) -> Prediction:
        """Return the teacher's prediction of a batch; missing files are written.

        Args:
            teacher: Predicts the complete batch if the file of an image is missing.
            batch: `image` (N,3,H,W) and `key` (N,2): variant and index.
        """
        images = batch["image"]
        digests = [self._digest(image) for image in images]
        files = [self.folder / f"{v:03d}_{i:06d}.npz" for v, i in batch["key"].tolist()]
        cached = [_read(file, digest) for file, digest in zip(files, digests, strict=True)]
        missing = [n for n, maps in enumerate(cached) if maps is None]
        if missing:
            # Predict the complete batch: the last bits of a prediction depend on the other images,
            # and a resumed run, which finds some files, must get the same ones.
            prediction = teacher(images)
            for n in missing:
                maps = _shrunk(prediction, n) | {_DIGEST: digests[n]}
                write_atomically(files[n], partial(np.savez_compressed, **maps))  # type: ignore[arg-type]
                cached[n] = maps
        height, width = images.shape[-2:]
        return _enlarged([maps for maps in cached if maps], (height, width), images.device)

    def _digest(self, image: Tensor) -> np.ndarray:
        digest = hashlib.blake2b(_FORMAT + self.teacher.encode(), digest_size=16)
        digest.update(image.cpu().numpy().tobytes())
        return np.frombuffer(digest.digest(), np.uint8)


def _shrunk(prediction: Prediction, n: int) -> Maps:
    """Maps of image n; the logarithm of a variance has 1 % precision in float16."""
    kept = {}
    if (p := prediction.probabilities) is not None:
        kept["log_probabilities"] = p[n : n + 1].float().clamp_min(_MIN_PROBABILITY).log()
    if prediction.depth_mean is not None and (s2 := prediction.depth_variance) is not None:
        kept["mean"] = prediction.depth_mean[n : n + 1].float()
        kept["log_variance"] = s2[n : n + 1].float().clamp_min(_MIN_VARIANCE).log()
    return {name: _quarter(maps)[0].half().cpu().numpy() for name, maps in kept.items()}


def _quarter(full: Tensor) -> Tensor:
    """Find maps (N,·,H/4,W/4) whose bilinear upsampling gives these (N,·,H,W).

    If there are such maps, the iteration converges to them; otherwise to maps that agree in the
    centre of each cell.
    """
    size = (full.shape[-2], full.shape[-1])
    small = (-(-size[0] // _SHRINK), -(-size[1] // _SHRINK))
    quarter = _resized(full, small)  # the mean of the 2 × 2 pixels in the centre of each cell
    for _ in range(_CORRECTIONS):
        quarter = quarter + _resized(full - _resized(quarter, size), small)
    return quarter


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def _read(file: Path, digest: np.ndarray) -> Maps | None:
    """Maps of a file; None if it is missing, damaged, or has another digest."""
    try:
        with np.load(file) as stored:
            maps = dict(stored)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    return maps if np.array_equal(maps.get(_DIGEST, ()), digest) else None


def _enlarged(frames: list[Maps], size: tuple[int, int], device: torch.device) -> Prediction:
    full = {}
    for name in frames[0].keys() - {_DIGEST}:
        maps = torch.from_numpy(np.stack([frame[name] for frame in frames]))
        full[name] = _resized(maps.to(device).float(), size)
    logits, mean = full.get("log_probabilities"), full.get("mean")
    return Prediction(
        None if logits is None else logits.softmax(dim=1),
        None if mean is None else mean.clamp_min(0),  # a correction may have made it negative
        full["log_variance"].exp() if "log_variance" in full else None,
    )
