"""Read what an annotation tool has exported, in any of the formats."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from emu_core.annotations.formats import (
    Shape,
    ToolData,
    ToolFrame,
    check_format,
    coco_files,
    detect_format,
    detected_importers,
    load_datumaro,
)
from emu_core.annotations.shapes import paint_mask, paint_polygons
from emu_core.data.folder import read_ids
from emu_core.data.sample import DataError
from emu_core.files import visible_files

_UPLOAD = re.compile(r"^[0-9a-f]{8}-")  # Label Studio puts it before the name of an uploaded file
_COCO_TASK = re.compile(r"^(instances|stuff|person_keypoints)_")


def read_source(source: Path, name: str | None) -> tuple[str, ToolData]:
    """Read a folder or file that a tool has exported.

    Args:
        source: Folder or file.
        name: One of `FORMATS`; None: detect it.

    Returns:
        The name of the format, and the content.
    """
    if not source.exists():
        raise DataError(f"No file or folder {source}.")
    if source.suffix.lower() == ".zip":
        raise DataError(f"{source} is a ZIP file: unpack it, and give the folder.")
    source = without_hidden(source)
    name = detect_format(source) if name is None else name
    importers = check_format(name).importers
    load_datumaro()
    try:
        data = _read_datumaro(source, name, importers) if importers else read_coco(source, name)
    except DataError:
        raise
    except Exception as error:  # the parsers of datumaro's formats raise errors of all kinds
        reason = " ".join(str(error.__cause__ or error).split())
        raise DataError(
            f"{source} cannot be read as {name} ({type(error).__name__}: {reason})."
        ) from error
    if not data.frames:
        raise DataError(f"{source} has no frames in the format {name}.")
    return name, data


def without_hidden(source: Path) -> Path:
    """Return a folder, or if it has hidden files, links to the others: datumaro reads them all.

    The links are deleted when the process ends.
    """
    if not source.is_dir():
        return source
    shown = list(visible_files(source))
    if len(shown) == sum(path.is_file() for path in source.rglob("*")):
        return source
    copy = Path(tempfile.mkdtemp(prefix="emu_annotations_"), source.resolve().name)
    atexit.register(shutil.rmtree, copy.parent, ignore_errors=True)
    for path in shown:
        link = copy / path.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.resolve())
    return copy


def _read_datumaro(source: Path, name: str, importers: tuple[str, ...]) -> ToolData:
    datumaro = load_datumaro()
    if len(importers) > 1:
        found = detected_importers(source)
        importers = tuple(each for each in importers if each in found) or importers
    dataset = datumaro.Dataset.import_from(str(source.resolve()), importers[0])
    id_files = _cityscapes_ids(source) if name == "cityscapes" else {}
    data = ToolData({}, [])
    for item in dataset:
        path, sized = getattr(item.media, "path", ""), getattr(item.media, "has_size", False)
        size = item.media.size if sized else None
        frame = ToolFrame(item.id, item.subset, Path(path), size)
        if (key := f"{item.subset}/{item.id}") in id_files:
            frame.shapes.extend(_shapes_of_ids(id_files[key]))
        else:
            frame.shapes.extend(_shapes(item.annotations, data.skipped))
        data.frames.append(frame)
    # Some formats have found all their classes only now.
    labels = dataset.categories()[datumaro.AnnotationType.label]
    data.classes.update(enumerate(label.name for label in labels))
    return data


def _shapes(annotations: Any, skipped: Counter[str]) -> Iterator[Shape]:
    """Convert datumaro's annotations; count those that have no pixels."""
    for each in annotations:
        kind = each.type.name
        if each.attributes.get("outside"):  # CVAT: the object of a track has left the image
            continue
        if kind == "mask":
            yield Shape(each.label, each.z_order, partial(_paint_datumaro, each))
        elif kind in ("polygon", "ellipse"):
            points = each.points if kind == "polygon" else each.as_polygon()
            yield Shape(each.label, each.z_order, partial(paint_polygons, [points]))
        else:
            skipped[kind] += 1


def _paint_datumaro(mask: Any, ids: np.ndarray, index: int) -> None:
    paint_mask(np.asarray(mask.image), ids, index)


def _cityscapes_ids(source: Path) -> dict[str, Path]:
    """Files of class ids in Cityscapes' layout, by subset/frame.

    Datumaro reads the files of instances instead and loses those with ids from 1000, which the
    original data and some tools have.
    """
    folder, end = source / "gtFine", "_gtFine_labelIds.png"
    paths = list(visible_files(folder)) if folder.is_dir() else []
    if any(path.name.endswith("_labelTrainIds.png") for path in paths):
        raise DataError(
            f"{folder} has files *_labelTrainIds.png, whose classes depend on the tool that made "
            f"them. Remove them: the files *{end} are then read."
        )
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name.removesuffix(end): path for name, path in names.items() if name.endswith(end)}


@lru_cache(maxsize=2)
def _cached_ids(path: Path) -> np.ndarray:
    return read_ids(path)


def _shapes_of_ids(path: Path) -> Iterator[Shape]:
    for index in np.flatnonzero(np.bincount(_cached_ids(path).ravel())):
        yield Shape(int(index), 0, partial(_paint_id, path, int(index)))


def _paint_id(path: Path, old: int, ids: np.ndarray, index: int) -> None:
    paint_mask(_cached_ids(path) == old, ids, index)


def read_coco(source: Path, name: str) -> ToolData:
    """Read COCO files of objects, without datumaro.

    Datumaro drops the category 0, which is Label Studio's first class, and the order in which
    objects cover each other.
    """
    files = coco_files(source)
    if not files:
        raise DataError(f"{source} has no JSON file with `images`, `categories`, `annotations`.")
    data = ToolData({}, [])
    frames: dict[tuple[str, str], ToolFrame] = {}
    for path, content in files:
        subset = _COCO_TASK.sub("", path.stem) if _COCO_TASK.match(path.stem) else ""
        for category in content["categories"]:
            k, label = int(category["id"]), str(category["name"])
            if data.classes.setdefault(k, label) != label:
                raise DataError(
                    f"{path} gives the category id {k} to {label}, but another file gives it to "
                    f"{data.classes[k]}."
                )
        by_id = {}
        for image in content["images"]:
            frame = _coco_frame(image, subset, path, name == "label_studio")
            key = (subset, str(image["file_name"]))
            by_id[image["id"]] = frames.setdefault(key, frame)
        for each in content["annotations"]:
            if not each.get("segmentation"):
                data.skipped["bbox"] += 1
                continue
            paint = partial(_paint_coco, each["segmentation"])
            by_id[each["image_id"]].shapes.append(Shape(int(each["category_id"]), 0, paint))
    data.frames.extend(frames.values())
    return data


def _coco_frame(image: dict[str, Any], subset: str, file: Path, uploaded: bool) -> ToolFrame:
    """Return a frame without objects; its image is where COCO and the tools put images."""
    path = Path(str(image["file_name"]).replace("\\", "/"))
    root = file.parent.parent if file.parent.name == "annotations" else file.parent
    bases = (root / "images" / subset, root / "images", root / subset, root)
    places = [base / part for part in (path, path.name) for base in bases]
    found = next((place for place in places if place.is_file()), places[0])
    name = path.relative_to("images") if path.parts[0] == "images" else path
    if uploaded or name.is_absolute() or ".." in name.parts:
        name = Path(_UPLOAD.sub("", name.name) if uploaded else name.name)
    sized = image.get("height") and image.get("width")
    size = (int(image["height"]), int(image["width"])) if sized else None
    return ToolFrame(name.with_suffix("").as_posix(), subset, found, size)


def _paint_coco(segmentation: Any, ids: np.ndarray, index: int) -> None:
    """Paint a list of polygons, or a mask with run lengths as numbers or text."""
    from pycocotools import mask

    if isinstance(segmentation, list):
        paint_polygons(segmentation, ids, index)
        return
    if isinstance(segmentation["counts"], list):
        segmentation = mask.frPyObjects(segmentation, *segmentation["size"])
    paint_mask(mask.decode(segmentation), ids, index)
