"""The inference thread: what it counts, and that nothing ends it."""

import threading
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")

from emu_perception.complaints import Complaints
from emu_perception.images import UnsupportedImage
from emu_perception.worker import Worker

TIMEOUT_S = 10.0


class Stage:
    """Publishers with one listened output, whose `make` does what the frame says."""

    def __init__(self, log=lambda text: None):
        self.published, self.lines = [], []
        self.heard = True
        self.done = threading.Semaphore(0)
        logger = SimpleNamespace(error=lambda text: (self.lines.append(text), log(text)))
        self.worker = Worker(self.answer, self, Complaints(logger))

    def listened(self):
        output = SimpleNamespace(make=lambda answer: answer())
        publisher = SimpleNamespace(publish=self.publish)
        return [(output, publisher)] if self.heard else []

    def answer(self, frame):
        self.done.release()
        return frame

    def publish(self, made):
        self.published.append(made)

    def show(self, frame):
        """Give the worker a frame and wait until it has taken it up."""
        self.worker.put(frame)
        assert self.done.acquire(timeout=TIMEOUT_S)

    def finish(self):
        self.worker.close(TIMEOUT_S)
        return {kind: count for kind, count in self.worker.counts().items() if count}


def raising(error):
    def make():
        raise error

    return make


def test_a_refused_and_a_failing_frame_are_told_counted_and_survived():
    stage = Stage()
    stage.show(raising(UnsupportedImage("step", "step too small")))
    stage.show(raising(ZeroDivisionError("surprise")))
    stage.show(lambda: "good")
    assert stage.finish() == {"in": 3, "answered": 1, "refused": 1, "failed": 1}
    assert stage.published == ["good"]
    assert stage.lines[0] == "image refused: step too small"
    assert "surprise" in stage.lines[1] and len(stage.lines) == 2


def test_even_a_log_that_raises_is_survived(capfd):
    stage = Stage(log=lambda text: 1 / 0)
    stage.show(raising(UnsupportedImage("step", "step too small")))
    stage.show(lambda: "good")
    assert stage.finish() == {"in": 2, "answered": 1, "failed": 1}
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_an_output_without_a_message_is_not_published():
    stage = Stage()
    stage.show(lambda: None)
    assert stage.finish() == {"in": 1, "answered": 1}
    assert stage.published == []


def test_while_one_frame_is_at_work_the_newest_of_the_others_waits():
    stage, at_work, go_on = Stage(), threading.Event(), threading.Event()

    def slow():
        at_work.set()
        assert go_on.wait(TIMEOUT_S)
        return "slow"

    stage.show(slow)
    assert at_work.wait(TIMEOUT_S)
    for number in range(4):
        stage.worker.put(lambda number=number: number)
    go_on.set()
    assert stage.done.acquire(timeout=TIMEOUT_S)
    assert stage.finish() == {"in": 5, "answered": 2, "dropped": 3}
    assert stage.published == ["slow", 3]


def test_no_listener_no_answer():
    stage = Stage()
    stage.heard = False
    taken = threading.Event()
    stage.listened = lambda: taken.set() or []
    stage.worker.put(raising(AssertionError("nobody asked")))
    assert taken.wait(TIMEOUT_S)
    assert stage.finish() == {"in": 1, "unheard": 1}
