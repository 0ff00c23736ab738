"""Fill a folder data set from what an annotation tool has exported."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from emu_core.annotations.formats import EMPTY_NAMES, ToolData, ToolFrame
from emu_core.annotations.sources import read_source
from emu_core.data.description import DESCRIPTION, read_description
from emu_core.data.folder import IMAGE_SUFFIXES, VOID_IDS, find_files
from emu_core.data.sample import DataError, image_size
from emu_core.files import file_digest, write_atomically, write_text
from emu_core.labels import normalized

MAX_CLASSES = 255
"""One of the 256 ids is left for pixels without a class."""


@dataclass
class Imported:
    """What an import has done.

    Args:
        format: Format of the source.
        classes: Names of the label ids.
        unlabelled: Id of the pixels without a class.
        pixels: Number of pixels of each id.
        labelled, without, copied: Number of frames with labels, of those without, and of images
            that were copied.
        skipped: Number of objects that have no pixels or no class, by kind.
    """

    format: str
    classes: dict[int, str]
    unlabelled: int
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    labelled: int = 0
    without: int = 0
    copied: int = 0
    skipped: Counter[str] = field(default_factory=Counter)


def import_annotations(
    source: Path,
    output: Path,
    name: str | None = None,
    track: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Imported:
    """Write labels, and images that are not there, into a folder data set.

    Classes, ids and frames of a data set that exists stay as they are: classes are found by name,
    frames by name or by equal images; their labels are replaced. In a new data set, ids are those
    of the tool where they fit into 8 bits.

    Args:
        source: What the tool has exported: a folder or file.
        output: Root of the folder data set.
        name: One of `formats.FORMATS`; None: detect it.
        track: Wraps the loop over the frames, for a progress bar.

    Raises:
        DataError: The source or the data set is damaged, or they do not fit.
    """
    name, data = read_source(source, name)
    has_description = (output / DESCRIPTION).is_file()
    classes = read_description(output).classes if has_description else {}
    known = bool(classes)
    if not known:
        classes = _new_classes(data)
    done = Imported(name, classes, _free_id(classes), skipped=data.skipped)
    to_id = _target_ids(data, done, output)
    # In label maps, the class at index 0 is where no object is: a data set may have it as a class.
    has_empty = normalized(data.classes.get(0, "")) in EMPTY_NAMES
    fill = to_id[0] if has_empty else done.unlabelled
    places = _places(data, output)
    for frame, place in track(list(zip(data.frames, places, strict=True))):
        image = output / "images" / place
        if not image.is_file():
            write_atomically(image, partial(shutil.copyfile, frame.image))
            done.copied += 1
        ids = _paint(frame, image, to_id, fill, done)
        if ids is None:
            done.without += 1
            continue
        _write_ids(output / "labels" / Path(place).with_suffix(".png"), ids)
        done.labelled += 1
        done.pixels += np.bincount(ids.ravel(), minlength=256)
    if not known:
        _write_description(output, classes, () if has_description else _subsets(data))
    return done


def _new_classes(data: ToolData) -> dict[int, str]:
    """Choose the ids of a new data set: the tool's, or the order of the classes."""
    classes = {
        k: label for k, label in data.classes.items() if normalized(label) not in EMPTY_NAMES
    }
    if len(classes) > MAX_CLASSES:
        raise DataError(
            f"The annotations have {len(classes)} classes, but 8-bit labels hold {MAX_CLASSES}: "
            "merge or remove classes in the tool."
        )
    twice = sorted(label for label, n in Counter(classes.values()).items() if n > 1)
    if twice:
        raise DataError(f"Several classes are named {twice[0]}: rename them in the tool.")
    if all(0 <= k < MAX_CLASSES for k in classes):
        return classes
    return dict(enumerate(classes.values(), start=int(len(classes) < MAX_CLASSES)))


def _free_id(classes: dict[int, str]) -> int:
    free = [k for k in VOID_IDS if k not in classes]
    if not free:
        raise DataError(f"The ids {VOID_IDS} are both classes: one must be left for no class.")
    return free[0]


def _target_ids(data: ToolData, done: Imported, output: Path) -> dict[int | None, int | None]:
    """Return the label id of each id of the tool; None: objects of it are left out."""
    ids = {normalized(label): k for k, label in done.classes.items()}
    ids = {**dict.fromkeys(EMPTY_NAMES, done.unlabelled), **ids}
    to_id: dict[int | None, int | None] = {
        k: ids.get(normalized(label)) for k, label in data.classes.items()
    }
    used = {shape.label for frame in data.frames for shape in frame.shapes}
    if undeclared := [k for k in used if k is not None and k not in to_id]:
        raise DataError(f"Objects have the class id {min(undeclared)}, which has no name.")
    missing = sorted(data.classes[k] for k in used if k is not None and to_id[k] is None)
    if missing:
        raise DataError(
            f"{output / DESCRIPTION} has no class {', '.join(missing)}: add it to `classes`, or "
            "rename it in the tool."
        )
    return {**to_id, None: None}


def _subsets(data: ToolData) -> list[str]:
    """Names of the subsets if there are several."""
    names = sorted({frame.subset for frame in data.frames})
    return names if len(names) > 1 else []


def _places(data: ToolData, output: Path) -> list[str]:
    """Return the path below images of each frame; DataError if it has no image."""
    folder, several = output / "images", bool(_subsets(data))
    there = find_files(folder, IMAGE_SUFFIXES)
    by_size: dict[int, list[Path]] = {}
    for path in there.values():
        by_size.setdefault(path.stat().st_size, []).append(path)
    places: dict[str, str] = {}
    for frame in data.frames:
        name = f"{frame.subset}/{frame.name}" if several else frame.name
        own = there.get(frame.name) or there.get(name)
        if frame.image.is_file():
            alike = by_size.get(frame.image.stat().st_size, [])
            digest = file_digest(frame.image) if alike else ""
            same = [path for path in alike if file_digest(path) == digest]
            if own and own not in same:
                raise DataError(
                    f"{frame.image} and {own} have the same name but are different images: give "
                    "one of them another name."
                )
            own = own or (same[0] if same else None)
        elif own is None:
            raise DataError(
                f"The image of {frame.name} is neither in {frame.image} nor in {folder}: export "
                "the images together with the annotations, or copy them there first."
            )
        suffix = frame.image.suffix.lower()
        if own is None and (suffix not in IMAGE_SUFFIXES or ".." in Path(name).parts):
            raise DataError(
                f"{frame.image} cannot be copied to {folder}/{name}: expected a name below that "
                f"folder and {', '.join(IMAGE_SUFFIXES)}."
            )
        place = own.relative_to(folder).as_posix() if own else name + frame.image.suffix
        key = place.rpartition(".")[0]
        if key in places:
            raise DataError(f"The annotations have the frame {key} twice: rename one of them.")
        places[key] = place
    return list(places.values())


def _paint(
    frame: ToolFrame,
    image: Path,
    to_id: dict[int | None, int | None],
    fill: int | None,
    done: Imported,
) -> np.ndarray | None:
    """Return the label ids of a frame, uint8 (H, W); None if it has no object."""
    size = image_size(image)
    if frame.size not in (None, size):
        raise DataError(
            f"The annotations of {frame.name} are for {frame.size[1]}×{frame.size[0]} pixels, but "
            f"{image} has {size[1]}×{size[0]}. Was it resized or rotated?"
        )
    ids = np.full(size, fill, np.uint8)
    painted = False
    for shape in sorted(frame.shapes, key=lambda each: each.z_order):
        index = to_id[shape.label]
        if index is None:
            done.skipped["object without a class"] += 1
            continue
        try:
            shape.paint(ids, index)
        except (ValueError, TypeError, KeyError) as error:  # also of pycocotools
            raise DataError(f"An object of {frame.name} cannot be painted: {error}.") from error
        painted |= index != fill
    return ids if painted else None


def _write_ids(path: Path, ids: np.ndarray) -> None:
    _, code = cv2.imencode(".png", ids)
    write_atomically(path, lambda part: part.write_bytes(code.tobytes()))


def _write_description(output: Path, classes: dict[int, str], subsets: Iterable[str]) -> None:
    """Add the classes, and a split for each subset, to dataset.yaml."""
    import yaml

    path = output / DESCRIPTION
    content: dict[str, Any] = {"classes": dict(sorted(classes.items()))}
    text = path.read_text(encoding="utf-8").rstrip() + "\n" if path.is_file() else ""
    if not text:
        content = {"name": output.absolute().name, **content}
    if subsets:
        content["splits"] = {subset: [f"{subset}/*"] for subset in subsets}
    text += yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    write_text(path, text)
    read_description(output)
