"""Predictions of a model as first labels, which people correct."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from emu_core.labels import IGNORE, TABLES
from emu_core.recordings.options import SHIPPED
from emu_core.runtime.model_file import ModelError
from emu_core.runtime.perceiver import Perceiver

_UNLABELLED = "unlabelled"


class Prefill:
    """Predicts labels with a model file.

    Args:
        model: Path of the model file, or "shipped" for the one that comes with emu_core.
        unlabelled_above: Pixels with a larger uncertainty are unlabelled, 0 to 1.

    Raises:
        ModelError: The model file is unusable, or predicts no classes.
    """

    def __init__(self, model: str, unlabelled_above: float) -> None:
        self._perceiver = Perceiver(None if model == SHIPPED else model)
        if "labels" not in self._perceiver.info.outputs:
            raise ModelError(f"{model} predicts no classes: give a model of segmentation.")
        self._limit = unlabelled_above
        self._table = self._perceiver.info.classes

    def labels(self, rgb: np.ndarray, seen: np.ndarray | None) -> np.ndarray:
        """Class ids of an image, uint8 (H, W); 255 where uncertain or outside of `seen`."""
        maps = self._perceiver.perceive(rgb).maps()
        certain = maps["label_uncertainty"] <= self._limit
        labels = np.where(certain, maps["labels"], np.uint8(IGNORE))
        labels = cv2.resize(labels, rgb.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        return labels if seen is None else np.where(seen, labels, np.uint8(IGNORE))

    def entries(self) -> dict[str, Any]:
        """Entries of dataset.yaml about the classes."""
        known = TABLES.get(self._table.dataset) == self._table
        return {
            "classes": {**dict(enumerate(self._table.names)), IGNORE: _UNLABELLED},
            "maps_to": self._table.dataset if known else "classes.yaml",
            "mapping": {_UNLABELLED: "ignore"},
        }

    def table(self) -> Mapping[str, Any] | None:
        """Content of classes.yaml; None if the class table has a name that is known."""
        if self.entries()["maps_to"] != "classes.yaml":
            return None
        table = self._table
        colors = zip(table.names, table.palette, strict=True)
        sky = None if table.sky is None else table.names[table.sky]
        classes = [{"name": name, "color": list(color)} for name, color in colors]
        return {"name": table.dataset, "classes": classes, "sky": sky}
