"""The thread that answers images: always the newest, and of all cameras in turn."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from .health import Health
from .mailbox import Mailboxes
from .rate_limit import RateLimit
from .responder import Responder


class Worker:
    """Gives each camera's newest image to its responder; nothing ends its thread but `close`.

    Responders and health are by the camera's name; `max_rate` tells the answers per second and
    camera that are allowed at most.
    """

    def __init__(
        self,
        responders: Mapping[str, Responder],
        health: Mapping[str, Health],
        max_rate: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._responders, self._health, self._max_rate = responders, health, max_rate
        self._limits = {name: RateLimit() for name in responders}
        self._mailboxes: Mailboxes[tuple[Any, float]] = Mailboxes(list(responders))
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def put(self, name: str, message: Any) -> None:
        """Take an Image or CompressedImage of a camera; never blocks."""
        now, health = time.monotonic(), self._health[name]
        health.arrived(len(message.data))
        if not self._limits[name].admits(now, self._max_rate()):
            health.finished("limited")
        elif self._mailboxes.put(name, (message, now)):
            health.finished("dropped")

    def close(self, patience_s: float = 10.0) -> bool:
        """Finish the frame at hand, and no other; False if it does not end in time."""
        for name in self._mailboxes.close():
            self._health[name].finished("dropped")
        self._thread.join(patience_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (turn := self._mailboxes.get()) is not None:
            name, (message, received) = turn
            try:
                self._responders[name].respond(message, received)
            except Exception:  # not even the log would take it: this thread must live all the same
                traceback.print_exc()
