"""A piece of what is rendered: a shape with its surface and its class."""

from __future__ import annotations

from dataclasses import dataclass

from emu_core.drives.meshes import Mesh

Tint = tuple[float, float, float]
"""RGB factors 0…1 by which a material multiplies its texture."""

WHITE: Tint = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Part:
    """A shape, its surface and its class.

    `texture` names an image of the drive, `label` a class of Cityscapes (or "unknown"); `glow` is
    how much the part shines by itself, 0…1.
    """

    mesh: Mesh
    texture: str
    label: str
    tint: Tint = WHITE
    glow: float = 0.0
