"""Calls of services that survive a lost response."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.client import Client
from rclpy.task import Future

REPEAT_S = 2.0


class RepeatedCall:
    """A request that is sent again every `repeat_s` seconds until one response arrives.

    A client sees a service as ready as soon as it has discovered the server. The server may
    discover the client later, and on a busy machine it drops a response to a client that it does
    not know yet. Use it only for requests that have the same effect when they are sent twice.
    """

    def __init__(self, client: Client, request: Any, repeat_s: float = REPEAT_S) -> None:
        self._client, self._request, self._repeat_s = client, request, repeat_s
        self._futures: list[Future] = []
        self._next_s = 0.0

    def is_done(self) -> bool:
        """Return whether a response has arrived; send the request if it is time to."""
        if any(future.done() for future in self._futures):
            return True
        now = time.monotonic()
        if now >= self._next_s and self._client.service_is_ready():
            self._futures.append(self._client.call_async(self._request))
            self._next_s = now + self._repeat_s
        return False

    def result(self) -> Any:
        """Return the first response that arrived; None if there is none yet."""
        return next((future.result() for future in self._futures if future.done()), None)


def call(client: Client, request: Any, spin: Callable[[], object], timeout_s: float) -> Any:
    """Call a service, see `RepeatedCall`; `spin` runs callbacks. None after the timeout."""
    repeated = RepeatedCall(client, request)
    deadline = time.monotonic() + timeout_s
    while not repeated.is_done() and time.monotonic() < deadline:
        spin()
    return repeated.result()
