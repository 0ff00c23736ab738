"""Accumulators that add up: those of parts of the images give the figures of the whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np


class Additive:
    """A metric whose whole state is sums over pixels or images.

    `SUMS` names the attributes that hold them. Since they are sums, an accumulator per drive can
    be kept, added up, weighted (a bootstrap over drives) or written to disk.
    """

    SUMS: ClassVar[tuple[str, ...]] = ()

    def state(self) -> dict[str, np.ndarray]:
        """The sums by name, copied."""
        return {name: np.array(getattr(self, name)) for name in self.SUMS}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Replace the sums by those of a `state()`, or by a weighted total of several.

        Raises:
            ValueError: a sum is missing or has another shape.
        """
        for name in self.SUMS:
            here = getattr(self, name)
            if name not in state or np.shape(state[name]) != np.shape(here):
                got = np.shape(state[name]) if name in state else "nothing"
                raise ValueError(
                    f"Expected `{name}` of a {type(self).__name__} of shape {np.shape(here)}, "
                    f"but got {got}: was it counted with other classes or bins?"
                )
            setattr(self, name, np.array(state[name]))

    def merge(self, other: Additive) -> None:
        """Add what another accumulator of the same kind has counted.

        Raises:
            ValueError: it is of another kind, or counts other classes or bins.
        """
        if type(other) is not type(self):
            raise ValueError(
                f"Expected `other` to be a {type(self).__name__}, but got a "
                f"{type(other).__name__}."
            )
        theirs = other.state()
        mine = self.state()
        if any(theirs[name].shape != mine[name].shape for name in self.SUMS):
            shapes = {n: (mine[n].shape, theirs[n].shape) for n in self.SUMS}
            raise ValueError(
                f"Expected `other` with sums of the same shapes, but got {shapes}: two "
                f"{type(self).__name__} of different classes or bins do not add up."
            )
        self.restore({name: mine[name] + theirs[name] for name in self.SUMS})


def same_shape(**arrays: np.ndarray) -> None:
    """Raise ValueError unless the arguments, named for the message, are of one shape."""
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"Expected arrays of one shape, but got {shapes}.")
