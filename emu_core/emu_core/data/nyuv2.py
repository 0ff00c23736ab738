"""NYU Depth V2 with 40 classes: 795 training and 654 test images of indoor scenes.

Either the three official files in one folder (they need h5py and SciPy),

    ROOT/nyu_depth_v2_labeled.mat   images, depths, labels (894 classes); HDF5, 2.8 GB
    ROOT/splits.mat                 trainNdxs, testNdxs
    ROOT/classMapping40.mat         mapClass: 894 → 40 classes (Gupta et al., CVPR 2013)

or the unpacked form that ESANet's `prepare_dataset.py` (Seichter et al., ICRA 2021) writes,

    ROOT/{train,test}/rgb/NNNN.png        8-bit colour; NNNN is the image's number from 1
    ROOT/{train,test}/depth/NNNN.png      16-bit grey, millimetres, 0 invalid
    ROOT/{train,test}/labels_40/NNNN.png  8-bit grey, 0 unlabelled, 1 to 40 the classes

All images are 640×480. Depth is `depths`, in which the authors have filled missing values
(in-painting); benchmarks use it, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from emu_core.data.datasets import DATASETS, DataSet, PinholeCamera, SplitNames
from emu_core.data.image_files import existing_variant, find_images
from emu_core.data.sample import (
    DataError,
    MissingSplitError,
    Sample,
    existing_file,
    partial_sample,
    read_grey,
    read_image,
)
from emu_core.labels import NYUV2

MAX_DEPTH = 10.0
"""Default limit of valid ground truth, metres: the sensor's range."""

SPLITS = ("train", "test")

SIZE = (480, 640)
"""Height and width of every image."""

FOCAL = (518.85790117450188, 519.46961112127485)
"""(fx, fy) of the RGB camera in pixels of 640×480: fx_rgb and fy_rgb in `camera_params.m` of the
data set's own toolbox. Depth is projected into this camera."""

ORIGINS = {
    "nyu_depth_v2_labeled.mat": "cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html",
    "splits.mat": "horatio.cs.nyu.edu/mit/silberman/indoor_seg_sup/splits.mat",
    "classMapping40.mat": "github.com/ankurhanda/nyuv2-meta-data",
}
"""Official file → where to get it."""

_DATA, _SPLITS, _MAPPING = ORIGINS
_FINE_CLASSES = 894


@DATASETS.register("nyuv2")
class NYUv2(DataSet):
    """A split of NYUv2. Names are numbers in the official file, 0001 to 1449."""

    classes = NYUV2
    default_max_depth = MAX_DEPTH
    image_source = "images of nyuv2"

    @cached_property
    def _source(self) -> _Official | _Unpacked:
        if self.split not in SPLITS:
            raise MissingSplitError(
                f"NYUv2 has the splits {' and '.join(SPLITS)}, but got {self.split!r}."
            )
        return _open(self.root, self.split)

    def list_names(self) -> list[str]:
        return self._source.names

    @classmethod
    def split_names(cls, root: Path) -> SplitNames:
        """Return the splits. There is no validation split, so validation uses the test split."""
        return SplitNames(validation="test")

    def read(self, name: str) -> Sample:
        image = self._source.image(name)
        if not self.labelled:
            return partial_sample(name, image, FOCAL)
        labels, depth = self._source.ground_truth(name)
        valid = (depth > 0) & (depth <= self.max_depth)
        return Sample(name, image, labels, np.where(valid, depth, np.float32(np.nan)), FOCAL)

    def files(self, name: str) -> list[Path]:
        return self._source.files(name)

    def camera(self, name: str) -> PinholeCamera:
        height, width = SIZE
        return PinholeCamera(*FOCAL, width, height)


def _open(root: Path, split: str) -> _Official | _Unpacked:
    missing = [name for name in ORIGINS if not (root / name).is_file()]
    if not missing:
        try:
            return _Official(root, split)
        except ModuleNotFoundError as error:  # robots have neither package
            raise DataError(
                f"The official files in {root} need h5py and SciPy: install emu_core[train], or "
                "unpack them."
            ) from error
    if (root / split / "rgb").is_dir():
        return _Unpacked(root / split)
    if len(missing) < len(ORIGINS):
        raise DataError(
            f"{root} does not hold all three files of NYUv2; missing: {_with_origins(missing)}."
        )
    raise DataError(
        f"No NYUv2 in {root}. Expected either {_with_origins(ORIGINS)}; or the unpacked form, "
        f"{root / split}/{{rgb,depth,labels_40}}/NNNN.png of ESANet's prepare_dataset.py."
    )


def _with_origins(names: Iterable[str]) -> str:
    return ", ".join(f"{name} (from {ORIGINS[name]})" for name in names)


class _Official:
    """Frames of the official file. It is opened for each frame: forked workers share no handle."""

    def __init__(self, root: Path, split: str) -> None:
        self.path, splits = root / _DATA, root / _SPLITS
        numbers = _load_mat(splits, "trainNdxs", "testNdxs")[f"{split}Ndxs"].astype(int)
        count = _check_layout(self.path)
        if numbers.size == 0 or numbers.min() < 1 or numbers.max() > count:
            raise DataError(
                f"{splits} has image numbers from {numbers.min(initial=1)} to "
                f"{numbers.max(initial=0)}, but {self.path} has images 1 to {count}."
            )
        mapping = _load_mat(root / _MAPPING, "mapClass")["mapClass"]
        if len(mapping) != _FINE_CLASSES or mapping.min() < 1 or mapping.max() > len(NYUV2):
            raise DataError(
                f"{root / _MAPPING}: expected mapClass to map {_FINE_CLASSES} classes to "
                f"1…{len(NYUV2)}, but got {len(mapping)} to {mapping.min()}…{mapping.max()}; "
                f"download {_with_origins([_MAPPING])}."
            )
        # Train ids (895,), uint8, of unlabelled pixels and of the 894 classes.
        self.train_ids = NYUV2.to_train_ids(np.concatenate([[0], mapping]).astype(np.uint8))
        self.names = [f"{number:04d}" for number in numbers]

    def files(self, name: str) -> list[Path]:
        return [self.path, self.path.with_name(_MAPPING)]

    def image(self, name: str) -> np.ndarray:
        return self._read(name, "images")[0].transpose(2, 1, 0).copy()  # (3,W,H) → (H,W,3)

    def ground_truth(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        labels, depth = self._read(name, "labels", "depths")
        if labels.max() > _FINE_CLASSES:
            raise DataError(
                f"{self.path}: image {name} has the label {labels.max()}, but there are "
                f"{_FINE_CLASSES} classes."
            )
        return self.train_ids[labels.T], depth.T.copy()

    def _read(self, name: str, *keys: str) -> list[np.ndarray]:
        import h5py

        try:
            with h5py.File(self.path) as file:
                return [file[key][int(name) - 1] for key in keys]
        except OSError as error:
            raise _damaged(self.path, error) from error


def _load_mat(path: Path, *keys: str) -> dict[str, np.ndarray]:
    """Read variables of one of the small files, each flattened."""
    from scipy.io import loadmat

    existing_file(path, f" (from {ORIGINS[path.name]})")
    try:
        content = loadmat(path, variable_names=keys)
        return {key: np.asarray(content[key], float).ravel() for key in keys}
    except Exception as error:  # SciPy's reader fails on damaged files in many ways
        raise DataError(
            f"{path} is not the expected MATLAB file with {', '.join(keys)} "
            f"({type(error).__name__}: {error}); download it from {ORIGINS[path.name]}."
        ) from error


def _check_layout(path: Path) -> int:
    """Check the arrays of the official file, and return how many images it holds."""
    import h5py

    height, width = SIZE
    try:
        with h5py.File(existing_file(path, f" (from {ORIGINS[path.name]})")) as file:
            found = {k: (file[k].shape, file[k].dtype) for k in ("images", "depths", "labels")}
    except (OSError, KeyError, AttributeError) as error:
        raise _damaged(path, error) from error
    count = (found["images"][0] or (0,))[0]
    expected = {  # MATLAB's order of axes, reversed
        "images": ((count, 3, width, height), np.uint8),
        "depths": ((count, width, height), np.float32),
        "labels": ((count, width, height), np.uint16),
    }
    for key, (shape, dtype) in expected.items():
        if found[key] != (shape, dtype):
            raise DataError(
                f"{path}: expected {key} to be {np.dtype(dtype)} {shape}, but got "
                f"{found[key][1]} {found[key][0]}; download {_with_origins([path.name])}."
            )
    return count


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} is damaged or is not an HDF5 file with images, depths and labels ({error}); "
        f"download it from {ORIGINS[path.name]}."
    )


class _Unpacked:
    """Frames of the folder of one split."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._images = find_images(folder / "rgb")
        self.names = list(self._images)
        if not self.names:
            raise DataError(f"No image in {folder / 'rgb'}: expected NNNN.png.")

    def files(self, name: str) -> list[Path]:
        return [self._path(folder, name) for folder in ("rgb", "labels_40", "depth")]

    def image(self, name: str) -> np.ndarray:
        path = self._path("rgb", name)
        return self._checked(path, read_image(path, cv2.IMREAD_COLOR))[..., ::-1]

    def ground_truth(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        ids_path, depth_path = self._path("labels_40", name), self._path("depth", name)
        ids = read_grey(ids_path, np.uint8, "Did you use the colour preview of the labels?")
        raw = read_grey(depth_path, np.uint16, "Did you use an 8-bit preview?")
        ids, raw = self._checked(ids_path, ids), self._checked(depth_path, raw)
        if ids.max() > len(NYUV2):
            raise DataError(
                f"{ids_path} holds the id {ids.max()}; expected 0 (unlabelled) to {len(NYUV2)}. "
                "If the file uses 255 for unlabelled and 0 for the first class, add 1 to every "
                "pixel (255 becomes 0)."
            )
        return NYUV2.to_train_ids(ids), raw.astype(np.float32) / 1000

    def _path(self, folder: str, name: str) -> Path:
        if folder == "rgb":
            return self._images[name]
        return existing_variant(self.folder / folder / f"{name}.png")

    @staticmethod
    def _checked(path: Path, image: np.ndarray) -> np.ndarray:
        if image.shape[:2] != SIZE:
            raise DataError(
                f"{path} has the size {image.shape[:2]} (H,W), but images of NYUv2 have {SIZE}; "
                "the focal lengths are valid only for that size."
            )
        return image
