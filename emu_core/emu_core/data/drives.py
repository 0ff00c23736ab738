"""Rendered drives: Cityscapes' layout, with further weather and with pairs of frames."""

from __future__ import annotations

from pathlib import Path

from emu_core.data.cityscapes import IMAGES, CityscapesLayout
from emu_core.data.datasets import DATASETS, SplitNames


@DATASETS.register("drives")
class Drives(CityscapesLayout):
    """What training/render_drives.py writes. A name is DRIVE_SEQUENCE_FRAME."""

    image_source = "rendered frames"
    real_images = False
    license, attribution = "Apache-2.0", "rendered by this project"

    @classmethod
    def split_names(cls, root: Path) -> SplitNames:
        """Return the splits; of the extra ones those that were rendered."""
        return SplitNames(
            extra=tuple(name for name in ("haze", "night") if (root / IMAGES / name).is_dir())
        )

    def group_of(self, name: str) -> str:
        """Return the drive: both sequences of a pair show the same street."""
        return name.rsplit("_", 2)[0]
