"""Check before a training what its ground truth can teach, and describe it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from emu_core.data.datasets import DataSet, evenly
from emu_core.data.label_space import wide_sets
from emu_core.data.mixture import Mixture
from emu_core.data.sample import DataError
from emu_core.labels import IGNORE

_FRAMES = 32  # that are read of each data set
_LISTED = 8  # ids in a message


@dataclass(frozen=True)
class Survey:
    """Ground truth of some frames of a data set.

    Args:
        frames: Number of frames.
        labels: Number of frames that have labels.
        depth: Number of frames that have depth.
        labelled: Share of the pixels of the read frames with labels that have a class, which the
            mapping does not leave out.
        measured: Share of the pixels of the read frames with depth that have a depth.
        ids: Pixels of the ids that no class has, in the read frames.
    """

    frames: int
    labels: int
    depth: int
    labelled: float
    measured: float
    ids: Counter[int]


def survey(data: DataSet) -> Survey:
    """Count the ground truth of a data set; some frames, spread evenly, are read."""
    labels = [i for i, name in enumerate(data.names) if data.has_labels(name)]
    depth = [i for i, name in enumerate(data.names) if data.has_depth(name)]
    read_labels, read_depth = (
        {frames[k] for k in evenly(len(frames), _FRAMES)} for frames in (labels, depth)
    )
    shares, valid, ids = [], [], Counter[int]()
    taught = data.space.codes(wide_sets([data.space])) != IGNORE  # (256,)
    for i in sorted(read_labels | read_depth):  # most frames have both, and are read once
        sample = data[i]
        if i in read_labels:
            shares.append(float(taught[sample.labels].mean()))
            ids.update(data.unknown_ids(data.names[i]))
        if i in read_depth:
            valid.append(float(np.isfinite(sample.depth).mean()))
    labelled, measured = (sum(x) / len(x) if x else 0.0 for x in (shares, valid))
    return Survey(len(data), len(labels), len(depth), labelled, measured, ids)


def survey_training(samples: Mixture, task: str, continues: bool = False) -> list[str]:
    """Check that the data sets teach a task, and return one line about each of them.

    Args:
        samples: Training frames.
        task: joint, segmentation or depth.
        continues: Whether it continues the training of a network that has the classes already:
            classes without labels are then only reported.

    Raises:
        DataError: There is no ground truth for the task, a labelled data set has none, or no data
            set has labels of a class.
    """
    surveys = [survey(part) for part in samples.parts]
    classes, depth = task != "depth", task != "segmentation"
    for part, found in zip(samples.parts, surveys, strict=True):
        if part.labelled:
            _check_part(part, found, classes, depth)
    if classes and not any(found.labels for found in surveys):
        raise DataError(
            f"No training frame has labels: {_roots(samples)}. Train a network without "
            "classes with architecture.task depth."
        )
    if depth and not any(found.depth for found in surveys):
        raise DataError(
            f"No training frame has depth and a camera: {_roots(samples)}. Without depth, train "
            "with architecture.task segmentation."
        )
    lines = [describe(p, found) for p, found in zip(samples.parts, surveys, strict=True)]
    missing = _classes_without_labels(samples, surveys) if classes else []
    if missing and not continues:
        raise DataError(
            f"No data set has labels of {', '.join(missing)}: map a class to each of them, or use "
            "a class table without them (data.classes)."
        )
    if missing:
        lines.append(
            f"note: no data set has labels of {', '.join(missing)}: what the network knows of "
            "them can get lost"
        )
    return lines


def describe(data: DataSet, found: Survey) -> str:
    """Describe the ground truth of a data set in one line."""
    what = [f"{found.frames} training images from {data.root}"]
    if not data.labelled:
        return f"{what[0]}, without ground truth"
    if found.labels:
        some = f" in {found.labels} images" if found.labels < found.frames else ""
        what.append(f"labels on {found.labelled:.0%} of the pixels{some}")
    if found.depth:
        some = f" in {found.depth} images" if found.depth < found.frames else ""
        what.append(f"depth valid up to {data.max_depth:g} m on {found.measured:.0%}{some}")
    if found.ids:
        what.append(f"ids without a class: {_list_ids(found.ids)}")
    return ", ".join(what)


def _check_part(part: DataSet, found: Survey, classes: bool, depth: bool) -> None:
    if not (classes and found.labels) and not (depth and found.depth):
        what = " and ".join(filter(None, ("labels" * classes, "depth with a camera" * depth)))
        raise DataError(
            f"{part.root}, split {part.split}: none of {found.frames} frames has {what}. Check "
            "the names of folders and files. In a mixture, set `unlabelled: true` if a student "
            "shall learn these frames from its teacher."
        )
    if classes and found.labels and not found.labelled:
        ids = f": the files hold the ids {_list_ids(found.ids)}" if found.ids else ""
        known = ", ".join(
            f"{k} {name}"
            for k, name in zip(part.classes.dataset_ids, part.classes.names, strict=True)
        )
        raise DataError(
            f"{part.root}, split {part.split}: no pixel of the labels has a class{ids}. Expected "
            f"ids of {part.classes.dataset}: {known}."
        )


def _classes_without_labels(samples: Mixture, surveys: list[Survey]) -> list[str]:
    taught = {
        k
        for part, found in zip(samples.parts, surveys, strict=True)
        for members in part.space.sets
        for k in members
        if found.labels
    }
    return [name for k, name in enumerate(samples.classes.names) if k not in taught]


def _list_ids(ids: Counter[int]) -> str:
    total = ids.total()
    listed = [f"{k} ({n / total:.0%})" for k, n in ids.most_common(_LISTED)]
    return ", ".join(listed) + (", …" if len(ids) > _LISTED else "")


def _roots(samples: Mixture) -> str:
    return ", ".join(str(part.root) for part in samples.parts)
