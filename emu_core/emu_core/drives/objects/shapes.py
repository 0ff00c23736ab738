"""Building blocks of everything that is rendered: parts, limbs and actors."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from emu_core.drives.objects.meshes import Mesh

Tint = tuple[float, float, float]  # RGB factors 0…1 by which a material multiplies its texture
WHITE: Tint = (1.0, 1.0, 1.0)

PAINT: tuple[Tint, ...] = (
    *((0.92, 0.92, 0.92), (0.12, 0.12, 0.13), (0.55, 0.56, 0.58), (0.32, 0.33, 0.35)),
    *((0.62, 0.1, 0.1), (0.12, 0.2, 0.48), (0.2, 0.34, 0.24), (0.7, 0.62, 0.45)),
    (0.8, 0.55, 0.12),
)
"""Colours of cars, clothes and helmets."""

HEADLIGHT: tuple[Tint, float] = ((1.0, 1.0, 0.92), 0.35)
TAILLIGHT: tuple[Tint, float] = ((0.75, 0.05, 0.05), 0.25)  # tint and glow


@dataclass(frozen=True)
class Part:
    """A shape with its surface and class.

    `texture` names an image of the drive, `label` a class of Cityscapes (or "unknown"). `glow` is
    the light that the part itself emits, 0…1.
    """

    mesh: Mesh
    texture: str
    label: str
    tint: Tint = WHITE
    glow: float = 0.0

    def resized(self, factor: float) -> Part:
        """Scale the part about the origin of its actor."""
        return replace(self, mesh=self.mesh.scaled(factor, factor, factor))


@dataclass(frozen=True)
class Limb:
    """A leg or arm that swings about y through `pivot` (m), with amplitude and phase in rad."""

    parts: list[Part]
    pivot: tuple[float, float, float]
    swing: float
    phase: float

    def resized(self, factor: float) -> Limb:
        """Scale the limb about the origin of its actor."""
        x, y, z = self.pivot
        parts = [part.resized(factor) for part in self.parts]
        return replace(self, parts=parts, pivot=(x * factor, y * factor, z * factor))


@dataclass(frozen=True)
class Actor:
    """Parts and limbs in the actor's own coordinates; `length` and `width` on the ground, m."""

    parts: list[Part]
    length: float
    width: float
    limbs: list[Limb] = field(default_factory=list)
