"""The thread that answers images: always the newest, and only what somebody listens to."""

from __future__ import annotations

import threading
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

from .answer import Answer
from .complaints import Complaints
from .images import UnsupportedImage
from .mailbox import Mailbox
from .outputs import Publishers


class Worker:
    """Answers the newest of the messages it is given; no frame's failure ends it.

    `answer` makes the (lazy) Answer to a message.
    """

    def __init__(
        self,
        answer: Callable[[Any], Answer],
        publishers: Publishers,
        complaints: Complaints,
    ) -> None:
        self._answer, self._publishers = answer, publishers
        self._complaints = complaints
        self._mailbox: Mailbox[Any] = Mailbox()
        self._counts: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def put(self, message: Any) -> None:
        """Take an Image or CompressedImage; never blocks."""
        self._counts["in"] += 1
        self._mailbox.put(message)

    def close(self, patience_s: float = 10.0) -> None:
        """Finish the frame at hand, and no other."""
        self._mailbox.close()
        self._thread.join(patience_s)

    def counts(self) -> dict[str, int]:
        """Frames so far: in = answered + dropped + refused + failed + unheard + at work."""
        kinds = ("in", "answered", "dropped", "refused", "failed", "unheard")
        return {kind: self._counts[kind] for kind in kinds} | {"dropped": self._mailbox.dropped}

    def _run(self) -> None:
        while (message := self._mailbox.get()) is not None:
            try:
                outcome = self._outcome(message)
            except Exception:  # not even the log would take it: this thread must live all the same
                traceback.print_exc()
                outcome = "failed"
            self._counts[outcome] += 1

    def _outcome(self, message: Any) -> str:
        """Answer one message; what it counts as."""
        try:
            return self._publish(message)
        except UnsupportedImage as refusal:
            self._complaints.error(f"refused {refusal.kind}", f"image refused: {refusal}")
            return "refused"
        except Exception as error:  # whatever it is, the next frame may be fine
            self._complaints.error(
                f"failed {type(error).__name__}",
                f"a frame failed, the next is tried: {traceback.format_exc()}",
            )
            return "failed"

    def _publish(self, message: Any) -> str:
        listened = self._publishers.listened()
        if not listened:
            return "unheard"
        answer = self._answer(message)
        for output, publisher in listened:
            made = output.make(answer)
            if made is not None:
                publisher.publish(made)
        return "answered"
