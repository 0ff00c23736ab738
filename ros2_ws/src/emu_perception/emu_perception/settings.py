"""What may change from one frame to the next: the parameters that are read at any time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """The parameters that may change at any time, as they are for one frame."""

    max_rate: float = 0.0
    unknown_above: float = 0.0
    max_depth_std_ratio: float = 0.3
    overlay_alpha: float = 0.5
    jpeg_quality: int = 80

    @property
    def names_unknown(self) -> bool:
        """Whether doubtful pixels get a class of their own."""
        return 0 < self.unknown_above < 1
