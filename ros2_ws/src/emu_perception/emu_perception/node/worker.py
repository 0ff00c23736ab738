"""One thread for inference, and a mailbox with one slot for each camera.

A queue would let the latency grow while the rate looks fine. Here a worker that is too slow
processes fewer images, always the newest, and equally many of each camera.
"""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections.abc import Iterable, Mapping

from sensor_msgs.msg import CompressedImage, Image

from emu_perception.node.camera import Camera, process_together

EARLY = 0.1
"""Fraction of a period by which a frame may come early, so that jitter costs no frame."""

Item = tuple[Image | CompressedImage, float]
"""An image and the monotonic time in seconds at which it was received."""


class Mailboxes:
    """Pass the newest item of each key from other threads to one worker; keys take turns."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._changed = threading.Condition()
        self._turns = list(keys)  # the key that was served longest ago comes first
        self._items: dict[str, Item] = {}
        self._closed = False

    def put(self, key: str, item: Item) -> bool:
        """Store an item; return whether one is lost: the previous, or this one after `close`."""
        with self._changed:
            if self._closed:
                return True
            loses = key in self._items
            self._items[key] = item
            self._changed.notify()
            return loses

    def get(self, together: int | None = None) -> list[tuple[str, Item]]:
        """Wait for an item and take it, or all if at least `together` wait; [] after `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._items)
            if self._closed:
                return []
            keys = sorted(self._items, key=self._turns.index)
            if together is None or len(keys) < together:
                del keys[1:]
            for key in keys:
                self._turns.remove(key)
                self._turns.append(key)
            return [(key, self._items.pop(key)) for key in keys]

    def close(self) -> list[str]:
        """Make all calls of `get` return [], and return the keys of the items that are left."""
        with self._changed:
            self._closed = True
            left = list(self._items)
            self._items.clear()
            self._changed.notify_all()
            return left


class RateLimit:
    """Limit the mean number of frames per second, and keep their distances even."""

    def __init__(self) -> None:
        self._last = -math.inf

    def admits(self, now: float, rate: float) -> bool:
        """Return whether to take a frame that arrives now (monotonic seconds); rate 0: always."""
        if rate <= 0:
            return True
        period = 1 / rate
        due = self._last + period
        if now < due - EARLY * period:
            return False
        # A slightly late frame does not delay the next one, and a pause allows no burst.
        self._last = due if now - due < period else now
        return True


class Worker:
    """Call `Camera.process` with the newest image of each camera, in a separate thread.

    Args:
        together: Number of images from which on `process_together` is called; None for never.
    """

    def __init__(self, cameras: Mapping[str, Camera], together: int | None = None) -> None:
        self._cameras, self._together = cameras, together
        self._limits = {name: RateLimit() for name in cameras}
        self._mailboxes = Mailboxes(cameras)
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def put(self, name: str, message: Image | CompressedImage) -> None:
        """Take an image of a camera without blocking."""
        camera, now = self._cameras[name], time.monotonic()
        camera.statistics.count_image(len(message.data))
        if not self._limits[name].admits(now, camera.settings().max_rate):
            camera.statistics.count_outcome("limited")
        elif self._mailboxes.put(name, (message, now)):
            camera.statistics.count_outcome("dropped")

    def close(self, timeout_s: float = 10.0) -> bool:
        """Finish the image in progress, drop the others, and return whether the thread ended."""
        for name in self._mailboxes.close():
            self._cameras[name].statistics.count_outcome("dropped")
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while turns := self._mailboxes.get(self._together):
            try:
                if len(turns) == 1:
                    name, item = turns[0]
                    self._cameras[name].process(*item)
                else:
                    process_together([(self._cameras[name], *item) for name, item in turns])
            except Exception:  # even logging failed; the thread must go on all the same
                traceback.print_exc()
