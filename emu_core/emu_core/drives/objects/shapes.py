"""A piece of what is rendered: a shape with its surface and its class."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from emu_core.drives.objects.meshes import Mesh

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


PAINT: tuple[Tint, ...] = (
    (0.92, 0.92, 0.92), (0.12, 0.12, 0.13), (0.55, 0.56, 0.58), (0.32, 0.33, 0.35),
    (0.62, 0.1, 0.1), (0.12, 0.2, 0.48), (0.2, 0.34, 0.24), (0.7, 0.62, 0.45), (0.8, 0.55, 0.12),
)  # fmt: skip
"""Colours of cars, clothes and helmets."""

HEADLIGHT: tuple[Tint, float] = ((1.0, 1.0, 0.92), 0.35)
TAILLIGHT: tuple[Tint, float] = ((0.75, 0.05, 0.05), 0.25)
"""Tint and glow."""


@dataclass(frozen=True)
class Limb:
    """A leg or an arm that swings about y through `pivot` (m): `swing` rad at `phase` rad."""

    parts: list[Part]
    pivot: tuple[float, float, float]
    swing: float
    phase: float


@dataclass(frozen=True)
class Actor:
    """Parts and limbs in the actor's frame; `length` and `width` in metres on the ground."""

    parts: list[Part]
    length: float
    width: float
    limbs: list[Limb] = field(default_factory=list)


def resized(part: Part, factor: float) -> Part:
    """The part scaled about the actor's origin."""
    return replace(part, mesh=part.mesh.scaled(factor, factor, factor))
