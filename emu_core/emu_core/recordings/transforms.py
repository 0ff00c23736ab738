"""Fixed transforms between the frames of a robot, from /tf_static."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from emu_core.bags.errors import BagError
from emu_core.bags.reader import Bag

_TYPE = "tf2_msgs/msg/TFMessage"


class StaticTransforms:
    """The tree of /tf_static of a bag; a topic in a namespace (`…/tf_static`) is read as well.

    Args:
        bag: Open bag, also an attribute.

    Raises:
        BagError: A transform is not finite, or its quaternion is zero.
    """

    def __init__(self, bag: Bag) -> None:
        self.bag = bag
        self._parents = {
            child: (parent, matrix) for parent, child, matrix in _read(bag, "tf_static")
        }

    def matrix(self, source: str, target: str) -> np.ndarray:
        """Matrix, float64 (4, 4), from coordinates in the frame `source` to the frame `target`.

        Raises:
            BagError: /tf_static does not connect the frames.
        """
        source, target = source.strip("/"), target.strip("/")
        from_source, from_target = self._ancestors(source), self._ancestors(target)
        for frame, matrix in from_source.items():
            if frame in from_target:
                return np.linalg.inv(from_target[frame]) @ matrix
        raise BagError(self._missing(source, target))

    def _ancestors(self, frame: str) -> dict[str, np.ndarray]:
        """The frame and its ancestors, each with the matrix from the frame to it."""
        result = {frame: np.eye(4)}
        while frame in self._parents:
            parent, matrix = self._parents[frame]
            if parent in result:
                raise BagError(f"{self.bag.path}: /tf_static has a cycle at the frame {parent!r}")
            result[parent] = matrix @ result[frame]
            frame = parent
        return result

    def _missing(self, source: str, target: str) -> str:
        problem = f"{self.bag.path}: /tf_static does not connect {source!r} and {target!r}"
        parents = {child: parent for parent, child, _ in _read(self.bag, "tf")}
        moving = bool(parents)
        parents.update({child: parent for child, (parent, _) in self._parents.items()})
        if moving and _root(parents, source) == _root(parents, target):
            return (
                f"{problem}, only /tf does, whose transforms change with time: the camera and the "
                "depth sensor must be fixed to each other"
            )
        known = sorted({*self._parents, *(parent for parent, _ in self._parents.values())})
        return (
            f"{problem}; its frames are {', '.join(known) or 'none'}. Record /tf_static, or "
            "publish the position of the sensor with static_transform_publisher while you record"
        )


def _root(parents: dict[str, str], frame: str) -> str:
    for _ in parents:  # a cycle ends, too
        frame = parents.get(frame, frame)
    return frame


def _read(bag: Bag, name: str) -> Iterator[tuple[str, str, np.ndarray]]:
    """Parent, child, and matrix from the child's to the parent's coordinates."""
    topics = [
        topic.name
        for topic in bag.topics.values()
        if topic.type == _TYPE and topic.name.rsplit("/", 1)[-1] == name
    ]
    for message in bag.messages(topics) if topics else ():
        for each in bag.decode(message).transforms:
            parent, child = each.header.frame_id.strip("/"), each.child_frame_id.strip("/")
            q, t = each.transform.rotation, each.transform.translation
            matrix = np.eye(4)
            matrix[:3, 3] = t.x, t.y, t.z
            norm = np.linalg.norm([q.x, q.y, q.z, q.w])
            if not (norm > 0 and np.isfinite(norm) and np.isfinite(matrix).all()):
                raise BagError(
                    f"{bag.path}: the transform from {child!r} to {parent!r} on {message.topic} "
                    "is not finite or has a zero quaternion"
                )
            matrix[:3, :3] = _rotation(*np.array([q.x, q.y, q.z, q.w]) / norm)
            yield parent, child, matrix


def _rotation(x: float, y: float, z: float, w: float) -> np.ndarray:
    """Rotation matrix of a unit quaternion."""
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
