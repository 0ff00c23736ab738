"""What is done with one camera's image: answered on the topics that somebody listens to."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Any

from .answer import Answer
from .clocks import Age
from .complaints import Complaints
from .health import Health, Timing
from .images import UnsupportedImage
from .label_info import LabelInfo
from .outputs import Publishers


class Responder:
    """Answers images of one camera; no image's failure passes on.

    `answer` makes the (lazy) Answer to a message, `age` tells how old a stamp is.
    """

    def __init__(
        self,
        answer: Callable[[Any], Answer],
        publishers: Publishers,
        labels: LabelInfo,
        health: Health,
        complaints: Complaints,
        age: Callable[[Any], Age],
    ) -> None:
        self._answer, self._publishers, self._labels = answer, publishers, labels
        self._health, self._complaints, self._age = health, complaints, age

    def respond(self, message: Any, received: float) -> None:
        """Answer one message that came at `received` (monotonic), and note what it counts as."""
        outcome, timing = "failed", None
        try:
            outcome, timing = self._respond(message, received)
        except UnsupportedImage as refusal:
            outcome = "refused"
            self._health.failed(f"image refused: {refusal}")
            self._complaints.error(f"refused {refusal.kind}", f"image refused: {refusal}")
        except Exception as error:  # whatever it is, the next frame may be fine
            self._health.failed(f"a frame failed: {type(error).__name__}: {error}")
            self._complaints.error(
                f"failed {type(error).__name__}",
                f"a frame failed, the next is tried: {traceback.format_exc()}",
            )
        finally:
            self._health.finished(outcome, timing)

    def _respond(self, message: Any, received: float) -> tuple[str, Timing | None]:
        listened = self._publishers.listened()
        if not listened:
            return "unheard", None
        if not message.header.frame_id:
            self._complaints.warning(
                "frame_id",
                "the images carry no frame_id, so the answers carry none: nobody can tell where "
                "they look. Set it in the camera's driver",
            )
        answer = self._answer(message)
        self._labels.tell(answer.unknown is not None)
        for output, publisher in listened:
            made = output.make(answer)
            if made is not None:
                publisher.publish(made)
        return "answered", Timing(
            latency_s=time.monotonic() - received,
            inference_s=answer.inference_s,
            age=self._age(message.header.stamp),
        )
