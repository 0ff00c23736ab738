"""Write the frames of a folder data set for annotation tools, with labels or predictions."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from emu_core.annotations.formats import MASKS, Format, check_format, load_datumaro
from emu_core.annotations.shapes import trace_polygons
from emu_core.data.description import DESCRIPTION, Description, read_description
from emu_core.data.folder import (
    IMAGE_SUFFIXES,
    VOID_IDS,
    FolderDataSet,
    find_files,
    read_ids,
)
from emu_core.data.image_files import orientation, without_orientation
from emu_core.data.sample import DataError, image_size, read_image
from emu_core.files import visible_entries
from emu_core.labels import ClassTable, normalized
from emu_core.runtime.perceiver import Perceiver

MAX_UNCERTAINTY = 0.5
"""Default of the label uncertainty above which predicted pixels stay empty, 0 to 1."""

_SPECK = 50.0  # predicted regions with fewer pixels would be more polygons than people correct


@dataclass
class Exported:
    """What an export has done: the numbers of frames, and classes that the model cannot fill in.

    Args:
        labelled: Frames with existing labels.
        predicted: Frames with predictions.
        empty: Frames with neither.
        unused: Classes of the model that are no class, or several classes, of the data set.
    """

    labelled: int = 0
    predicted: int = 0
    empty: int = 0
    unused: list[str] = field(default_factory=list)


def export_annotations(
    root: Path,
    output: Path,
    name: str,
    *,
    shapes: str | None = None,
    split: str | None = None,
    model: Perceiver | None = None,
    max_uncertainty: float = MAX_UNCERTAINTY,
    track: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Exported:
    """Write frames with their labels, and with predictions where a frame has no labels.

    Args:
        root: Root of a folder data set.
        output: New folder for the tool.
        name: One of `formats.FORMATS` that can be written.
        shapes: masks or polygons; None: what suits the format.
        split: Only the frames of this split.
        model: Model that labels the frames without labels; None: they stay empty.
        max_uncertainty: Predicted pixels with more label uncertainty stay empty, 0 to 1.
        track: Wraps the loop over the frames, for a progress bar.

    Raises:
        DataError: The data set is damaged, or the request does not fit it.
    """
    kind = check_format(name, write=True)
    shapes = shapes or kind.shapes[0]
    if shapes not in kind.shapes:
        raise DataError(f"{name} holds {' or '.join(kind.shapes)}, but not {shapes}.")
    if not 0 <= max_uncertainty <= 1:
        raise DataError(f"Expected a largest uncertainty from 0 to 1, but got {max_uncertainty}.")
    if output.exists() and (not output.is_dir() or visible_entries(output)):
        raise DataError(f"{output} is not empty: give a new folder.")
    if model and "labels" not in model.info.outputs:
        raise DataError(f"{model.info.path} predicts no classes: give a model of segmentation.")
    datumaro = load_datumaro()
    about = read_description(root) if (root / DESCRIPTION).is_file() else Description(root.name)
    images = _images(root, split)
    labels = find_files(root / "labels", (".png",))
    done = Exported()
    classes = about.classes
    if model and not classes:
        classes = dict(enumerate(model.info.classes.names, start=1))
    if not classes:
        raise DataError(
            f"{root / DESCRIPTION} has no `classes`: name those that people shall label, or take "
            "a model's with --prefill."
        )
    codes = _codes(classes, kind)
    if model:
        to_index = _model_codes(list(classes.values()), about, model.info.classes, done, kind)
    with tempfile.TemporaryDirectory() as cache:
        items = []
        for count, (frame, path) in enumerate(track(list(images.items()))):
            if frame in labels:
                indices = _labelled(labels[frame], image_size(path), codes)
                done.labelled += 1
            elif model:
                indices = _predicted(model, path, max_uncertainty, to_index)
                done.predicted += 1
            else:
                indices = np.zeros(image_size(path), np.uint8)
                done.empty += 1
            stored = Path(cache, f"{count}.png")
            cv2.imwrite(str(stored), indices)
            shown = _as_stored(path, Path(cache, f"{count}-image{path.suffix}"))
            media = datumaro.Image.from_file(path=str(shown), size=indices.shape)
            smallest = 0.0 if frame in labels else _SPECK
            objects = _masks(indices, stored) if shapes == MASKS else _polygons(indices, smallest)
            items.append(datumaro.DatasetItem(frame, media=media, annotations=list(objects)))
        names = [kind.empty, *_names(classes, kind)]
        data = datumaro.Dataset.from_iterable(items, categories=names)
        options = {}
        if kind.exporter == "coco_instances":
            options["segmentation_mode"] = "mask" if shapes == MASKS else "polygons"
        data.export(str(output.resolve()), kind.exporter, save_media=True, **options)
    return done


def _images(root: Path, split: str | None) -> dict[str, Path]:
    images = find_files(root / "images", IMAGE_SUFFIXES)
    if not images:
        raise DataError(f"No image in {root / 'images'}.")
    if split is None:
        return images
    return {name: images[name] for name in FolderDataSet(root, split).list_names()}


def _as_stored(path: Path, copy: Path) -> Path:
    """Return an image that tools show as stored, as its labels are: a copy if EXIF turns it."""
    code = path.read_bytes()
    if orientation(code) == 1:
        return path
    copy.write_bytes(without_orientation(code))
    return copy


def _names(classes: dict[int, str], kind: Format) -> list[str]:
    """Names of the indices from 1, as the format can hold them."""
    names = [label for label in classes.values() if normalized(label) != kind.empty]
    return names if kind.spaces else ["_".join(label.split()) for label in names]


def _codes(classes: dict[int, str], kind: Format) -> np.ndarray:
    """Return the index of each label id in the tool's files, int16 (256,); −1: unknown ids.

    A class with the name of index 0 has this index: the format cannot tell them apart.
    """
    codes = np.full(256, -1, np.int16)
    codes[list(VOID_IDS)] = 0
    index = 0
    for k, label in classes.items():
        index += normalized(label) != kind.empty
        codes[k] = index if normalized(label) != kind.empty else 0
    return codes


def _model_codes(
    names: list[str], about: Description, table: ClassTable, done: Exported, kind: Format
) -> np.ndarray:
    """Return the index of each train id of a model, uint8 (256,); 0 if there is none.

    A class of the model is the class of the data set with this name, or the only one that
    `mapping` maps to it.
    """
    claims: dict[int, set[int]] = {k: set() for k in range(len(table))}
    codes = _codes(dict(enumerate(names)), kind)
    for k, name in enumerate(names):
        targets = about.mapping.get(name, name)
        for target in [targets] if isinstance(targets, str) else targets:
            try:
                claims[table.index(target)].add(int(codes[k]))
            except ValueError:  # the model has no such class
                continue
    done.unused = [table.names[k] for k, found in claims.items() if len(found) != 1]
    to_index = np.zeros(256, np.uint8)
    for k, found in claims.items():
        if len(found) == 1:
            to_index[k] = found.pop()
    return to_index


def _labelled(path: Path, size: tuple[int, int], codes: np.ndarray) -> np.ndarray:
    """Return the indices of a label file, uint8 (H, W)."""
    ids = read_ids(path)
    if ids.shape != size:
        raise DataError(
            f"{path} has {ids.shape[1]}×{ids.shape[0]} pixels, but its image has "
            f"{size[1]}×{size[0]}."
        )
    indices = codes[ids]
    if indices.min() < 0:
        raise DataError(f"{path} has the id {ids[indices < 0][0]}, which `classes` does not name.")
    return indices.astype(np.uint8)


def _predicted(
    model: Perceiver, path: Path, max_uncertainty: float, to_index: np.ndarray
) -> np.ndarray:
    """Return the indices that a model predicts for an image, uint8 (H, W)."""
    rgb = read_image(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)[..., ::-1]
    maps = model.perceive(np.ascontiguousarray(rgb)).maps()
    certain = maps["label_uncertainty"] <= max_uncertainty
    indices = np.where(certain, to_index[maps["labels"]], 0).astype(np.uint8)
    return cv2.resize(indices, (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_NEAREST_EXACT)


@lru_cache(maxsize=2)
def _read(path: Path) -> np.ndarray:
    return read_image(path, cv2.IMREAD_UNCHANGED)


def _masks(indices: np.ndarray, stored: Path) -> Iterable[Any]:
    """One mask for each class of an image; its pixels are read again when they are written."""
    from datumaro.components.annotation import ExtractedMask

    for k in map(int, np.flatnonzero(np.bincount(indices.ravel()))):
        if k:
            yield ExtractedMask(partial(_read, stored), k, label=k, id=k, group=k)


def _polygons(indices: np.ndarray, smallest: float) -> Iterable[Any]:
    from datumaro.components.annotation import Polygon

    for order, (k, points) in enumerate(trace_polygons(indices, smallest), start=1):
        yield Polygon(points, label=k, id=order, group=order, z_order=order)
