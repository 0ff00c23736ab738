"""The inference thread: the newest image wins, cameras take turns, and every image is counted."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")

from emu_perception.node.parameters import Settings
from emu_perception.node.statistics import CameraStatistics
from emu_perception.node.worker import Mailboxes, RateLimit, Worker

TIMEOUT_S = 10.0


# --- mailboxes


def test_the_newest_item_wins_and_the_others_are_reported():
    mailboxes = Mailboxes(["a"])
    assert [mailboxes.put("a", item) for item in (1, 2, 3)] == [False, True, True]
    assert mailboxes.get() == [("a", 3)]
    assert not mailboxes.put("a", 4), "an item is handed out only once"
    assert mailboxes.get() == [("a", 4)]


def test_keys_take_turns():
    mailboxes = Mailboxes(["a", "b", "c"])
    served = []
    for number in range(6):
        mailboxes.put("a", number)
        mailboxes.put("c", number)
        served += mailboxes.get()
    assert served == [("a", 0), ("c", 1), ("a", 2), ("c", 3), ("a", 4), ("c", 5)]


def test_the_key_that_was_served_longest_ago_is_next_even_after_a_pause():
    mailboxes = Mailboxes(["a", "b"])
    mailboxes.put("a", 1)
    mailboxes.get()
    mailboxes.put("a", 2)
    mailboxes.put("b", 3)
    assert mailboxes.get() == [("b", 3)]


def test_items_are_taken_together_if_enough_wait_the_longest_waiting_key_first():
    mailboxes = Mailboxes("abc")
    mailboxes.put("a", 1)
    assert mailboxes.get(together=2) == [("a", 1)]
    for item, key in enumerate("abc"):
        mailboxes.put(key, item)
    assert mailboxes.get(together=4) == [("b", 1)]
    assert mailboxes.get(together=2) == [("c", 2), ("a", 0)]
    mailboxes.close()
    assert mailboxes.get(together=2) == []


def test_closing_reports_waiting_items_and_loses_later_ones():
    mailboxes = Mailboxes(["a", "b"])
    mailboxes.put("b", 1)
    assert mailboxes.close() == ["b"]
    assert mailboxes.put("a", 2)
    assert mailboxes.get() == []


def test_every_item_of_many_threads_is_taken_or_reported():
    mailboxes, taken, lost = Mailboxes("abcd"), [], []

    def take():
        while turns := mailboxes.get():
            taken.append(turns[0][1])

    def put(key):
        lost.append(sum(mailboxes.put(key, object()) for _ in range(2000)))

    reader = threading.Thread(target=take, daemon=True)
    writers = [threading.Thread(target=put, args=(key,), daemon=True) for key in "abcd"]
    for thread in (reader, *writers):
        thread.start()
    for writer in writers:
        writer.join(TIMEOUT_S)
    left = mailboxes.close()
    reader.join(TIMEOUT_S)
    assert not reader.is_alive()
    assert len(set(taken)) == len(taken)
    assert len(taken) + sum(lost) + len(left) == 8000


# --- rate limit


def admitted(times, rate):
    limit = RateLimit()
    return [time for time in times if limit.admits(time, rate)]


@pytest.mark.parametrize(
    ("times", "rate", "expected"),
    [
        ([1.0, 1.0, 1.1], 0.0, [1.0, 1.0, 1.1]),
        ([100.0, 200.0, 200.01, 200.02, 200.08, 200.1], 10.0, [100.0, 200.0, 200.1]),
    ],
    ids=["no limit", "a pause allows no burst"],
)
def test_admitted_times(times, rate, expected):
    assert admitted(times, rate) == expected


@pytest.mark.parametrize(("camera", "limit"), [(30, 20), (30, 10), (30, 7), (100, 1), (25, 24)])
def test_the_mean_rate_is_the_limit_for_every_rate_of_the_camera(camera, limit):
    times = 100 + np.arange(20 * camera) / camera
    assert len(admitted(times, limit)) == pytest.approx(20 * limit, abs=2)


def test_a_camera_at_the_limit_loses_nothing_to_its_jitter():
    jitter = np.random.default_rng(0).uniform(-0.004, 0.004, 500)
    times = 100 + np.arange(500) * 0.1 + jitter
    assert len(admitted(times, 10.0)) == 500


def test_a_higher_limit_applies_at_once():
    limit = RateLimit()
    assert limit.admits(100.0, 0.01)
    assert not limit.admits(101.0, 0.01)
    assert limit.admits(101.0, 10.0)


# --- worker


class FakeCamera:
    """A camera whose images are functions that `process` calls."""

    def __init__(self, max_rate):
        self.statistics, self.started = CameraStatistics(), threading.Semaphore(0)
        self.settings = lambda: Settings(max_rate=max_rate)

    def process(self, message, received):
        self.started.release()
        message.run()
        self.statistics.count_outcome("processed")


class Stage:
    """A worker with a fake camera; `done` has the items of the processed images."""

    def __init__(self, max_rate=0.0):
        self.camera = FakeCamera(max_rate)
        self.worker, self.done = Worker({"": self.camera}), []

    def put(self, item):
        self.run(lambda: self.done.append(item))

    def run(self, function):
        self.worker.put("", SimpleNamespace(data=b"1234", run=function))

    def block(self):
        """Keep the worker busy until the returned event is set."""
        finish = threading.Event()
        self.run(lambda: finish.wait(TIMEOUT_S))
        self.wait_for_image()
        return finish

    def wait_for_image(self):
        assert self.camera.started.acquire(timeout=TIMEOUT_S)

    def close(self):
        assert self.worker.close(TIMEOUT_S)
        return {kind: count for kind, count in self.camera.statistics.counts().items() if count}


def test_during_an_inference_only_the_newest_image_waits():
    stage = Stage()
    finish = stage.block()
    for number in range(4):
        stage.put(number)
    finish.set()
    stage.wait_for_image()
    assert stage.close() == {"in": 5, "processed": 2, "dropped": 3}
    assert stage.done == [3]
    assert stage.camera.statistics.snapshot().image_bytes == 4


def test_images_above_max_rate_are_counted_as_limited():
    stage = Stage(max_rate=0.001)
    stage.put("first")
    stage.wait_for_image()
    stage.put("too soon")
    assert stage.close() == {"in": 2, "processed": 1, "limited": 1}


def test_an_exception_does_not_end_the_thread(capfd):
    stage = Stage()
    stage.run(lambda: 1 / 0)
    stage.wait_for_image()
    stage.put("good")
    stage.wait_for_image()
    assert stage.close() == {"in": 2, "processed": 1}
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_an_image_that_waits_at_the_end_counts_as_dropped():
    stage = Stage()
    finish = stage.block()
    stage.put("too late")
    closing = threading.Thread(target=stage.worker.close, daemon=True)
    closing.start()
    while not stage.camera.statistics.counts()["dropped"]:
        assert closing.is_alive()
    finish.set()
    closing.join(TIMEOUT_S)
    assert stage.close() == {"in": 2, "processed": 1, "dropped": 1} and stage.done == []
