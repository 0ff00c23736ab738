"""Base of the streaming metrics: accumulators whose state can be added up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np


class Accumulator:
    """A metric whose state is a set of sums over pixels or images: the attributes `SUMS`.

    Accumulators of single drives can be stored, added up, and weighted (for a bootstrap).
    """

    SUMS: ClassVar[tuple[str, ...]] = ()

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of the sums by name."""
        return {name: np.array(getattr(self, name)) for name in self.SUMS}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Replace the sums by a `state()`, or by a weighted total of several states.

        Raises:
            ValueError: a sum is missing or has another shape.
        """
        for name in self.SUMS:
            shape = np.shape(getattr(self, name))
            got = np.shape(state[name]) if name in state else "nothing"
            if got != shape:
                raise ValueError(
                    f"Expected `{name}` of a {type(self).__name__} of shape {shape}, but got "
                    f"{got}: was it counted with other classes or bins?"
                )
            setattr(self, name, np.array(state[name]))

    def merge(self, other: Accumulator) -> None:
        """Add the sums of another accumulator of the same type.

        Raises:
            ValueError: it has another type, or other classes or bins.
        """
        if type(other) is not type(self):
            names = type(self).__name__, type(other).__name__
            raise ValueError(f"Expected `other` to be a {names[0]}, but got a {names[1]}.")
        mine, theirs = self.state(), other.state()
        shapes = {n: (mine[n].shape, theirs[n].shape) for n in self.SUMS}
        if any(one != two for one, two in shapes.values()):
            raise ValueError(
                f"Expected `other` with sums of the same shapes, but got {shapes}: a "
                f"{type(self).__name__} of other classes or bins cannot be added."
            )
        self.restore({name: mine[name] + theirs[name] for name in self.SUMS})


def same_shape(**arrays: np.ndarray) -> None:
    """Raise ValueError unless the arrays, named for the message, have one shape."""
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"Expected arrays of one shape, but got {shapes}.")
