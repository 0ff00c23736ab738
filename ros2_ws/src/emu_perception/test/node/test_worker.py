"""One slot per camera, the newest wins, all get their turn, what is replaced is told."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")

from emu_perception.messages.images import UnsupportedImage
from emu_perception.node.camera import Responder
from emu_perception.node.log_once import Complaints
from emu_perception.node.statistics import Age, Health
from emu_perception.node.worker import Mailboxes, RateLimit, Worker

TIMEOUT_S = 10.0


def one():
    return Mailboxes(["a"])


def test_the_newest_item_wins_and_the_others_are_told():
    mailboxes = one()
    assert [mailboxes.put("a", item) for item in (1, 2, 3)] == [False, True, True]
    assert mailboxes.get() == ("a", 3)


def test_an_item_is_handed_out_once():
    mailboxes = one()
    mailboxes.put("a", 1)
    assert mailboxes.get() == ("a", 1)
    assert not mailboxes.put("a", 2)
    assert mailboxes.get() == ("a", 2)


def test_keys_that_have_items_take_turns():
    mailboxes = Mailboxes(["a", "b", "c"])
    served = []
    for number in range(6):
        mailboxes.put("a", number)
        mailboxes.put("c", number)
        served.append(mailboxes.get())
    assert served == [("a", 0), ("c", 1), ("a", 2), ("c", 3), ("a", 4), ("c", 5)]


def test_who_was_served_longest_ago_is_next_even_after_a_pause():
    mailboxes = Mailboxes(["a", "b"])
    mailboxes.put("a", 1)
    mailboxes.get()
    mailboxes.put("a", 2)
    mailboxes.put("b", 3)
    assert mailboxes.get() == ("b", 3)


def test_get_waits_for_an_item_from_another_thread():
    mailboxes, got = one(), []
    reader = threading.Thread(target=lambda: got.append(mailboxes.get()), daemon=True)
    reader.start()
    mailboxes.put("a", 1)
    reader.join(TIMEOUT_S)
    assert got == [("a", 1)]


def test_close_wakes_a_reader_that_waits():
    mailboxes, got = one(), []
    reader = threading.Thread(target=lambda: got.append(mailboxes.get()), daemon=True)
    reader.start()
    mailboxes.close()
    reader.join(TIMEOUT_S)
    assert got == [None]


def test_what_waits_at_the_end_is_told_and_what_comes_later_is_lost():
    mailboxes = Mailboxes(["a", "b"])
    mailboxes.put("b", 1)
    assert mailboxes.close() == ["b"]
    assert mailboxes.put("a", 2)
    assert mailboxes.get() is None


def test_every_item_of_many_threads_is_taken_or_told():
    mailboxes, taken, lost = Mailboxes("abcd"), [], []

    def take():
        while (turn := mailboxes.get()) is not None:
            taken.append(turn[1])

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


def admitted(times, rate):
    limit = RateLimit()
    return [time for time in times if limit.admits(time, rate)]


def test_no_limit_admits_all():
    assert admitted([1.0, 1.0, 1.1], 0.0) == [1.0, 1.0, 1.1]


@pytest.mark.parametrize(("camera", "limit"), [(30, 20), (30, 10), (30, 7), (100, 1), (25, 24)])
def test_the_mean_rate_is_the_limit_whatever_the_camera_s_is(camera, limit):
    times = 100 + np.arange(20 * camera) / camera
    assert len(admitted(times, limit)) == pytest.approx(20 * limit, abs=2)


def test_a_camera_at_just_the_limit_loses_nothing_to_its_jitter():
    jitter = np.random.default_rng(0).uniform(-0.004, 0.004, 500)
    times = 100 + np.arange(500) * 0.1 + jitter
    assert len(admitted(times, 10.0)) == 500


def test_a_pause_earns_no_burst():
    times = [100.0, 200.0, 200.01, 200.02, 200.08, 200.1]
    assert admitted(times, 10.0) == [100.0, 200.0, 200.1]


def test_a_limit_that_is_raised_counts_at_once():
    limit = RateLimit()
    assert limit.admits(100.0, 0.01)
    assert not limit.admits(101.0, 0.01)
    assert limit.admits(101.0, 10.0)


TIMEOUT_S = 10.0


class Frame:
    """A message whose answer is what `make` returns or raises."""

    data = b"1234"

    def __init__(self, make, frame_id="front"):
        self.make = make
        self.header = SimpleNamespace(stamp=None, frame_id=frame_id)


class Stage:
    """A worker behind publishers with one listened output."""

    def __init__(self, *cameras, log=lambda text: None, max_rate=lambda: 0.0):
        self.published, self.lines, self.told = [], [], []
        self.heard = True
        self.done = threading.Semaphore(0)

        def note(text):
            self.lines.append(text)
            log(text)

        logger = SimpleNamespace(error=note, warning=note)
        labels = SimpleNamespace(tell=self.told.append)
        self.health = {name: Health() for name in cameras or ("",)}
        self.worker = Worker(
            {
                name: Responder(
                    self.answer, self, labels, health, Complaints(logger), lambda stamp: Age(0.25)
                )
                for name, health in self.health.items()
            },
            self.health,
            max_rate,
        )

    def listened(self):
        output = SimpleNamespace(make=lambda answer: answer.make())
        publisher = SimpleNamespace(publish=self.published.append)
        return [(output, publisher)] if self.heard else []

    def answer(self, frame):
        self.done.release()
        return SimpleNamespace(make=frame.make, unknown=None, inference_s=0.125)

    def put(self, make, camera=""):
        self.worker.put(camera, Frame(make))

    def show(self, make, camera=""):
        """Give the worker a frame and wait until it has taken it up."""
        self.put(make, camera)
        assert self.done.acquire(timeout=TIMEOUT_S)

    def block(self, camera=""):
        """Keep the worker busy until the returned event is set."""
        at_work, go_on = threading.Event(), threading.Event()
        self.show(lambda: at_work.set() or go_on.wait(TIMEOUT_S), camera)
        assert at_work.wait(TIMEOUT_S)
        return go_on

    def finish(self, camera=""):
        assert self.worker.close(TIMEOUT_S)
        return {kind: count for kind, count in self.health[camera].counts().items() if count}


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
    assert stage.health[""].report().last_error == "a frame failed: ZeroDivisionError: surprise"


def test_even_a_log_that_raises_is_survived(capfd):
    stage = Stage(log=lambda text: 1 / 0)
    stage.show(raising(UnsupportedImage("step", "step too small")))
    stage.show(lambda: "good")
    assert stage.finish() == {"in": 2, "answered": 1, "refused": 1}
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_an_output_without_a_message_is_not_published():
    stage = Stage()
    stage.show(lambda: None)
    assert stage.finish() == {"in": 1, "answered": 1}
    assert stage.published == []


def test_images_that_name_no_frame_are_answered_and_that_is_told_once():
    stage = Stage()
    for _ in range(2):
        stage.worker.put("", Frame(lambda: "good", frame_id=""))
        assert stage.done.acquire(timeout=TIMEOUT_S)
    assert stage.finish() == {"in": 2, "answered": 2}
    [line] = stage.lines
    assert "no frame_id" in line


def test_an_answer_notes_its_inference_and_age():
    stage = Stage()
    stage.show(lambda: "good")
    stage.finish()
    report = stage.health[""].report()
    assert report.inference_ms == (125.0, 125.0) and report.age_ms == (250.0, 250.0)
    assert report.image_bytes == 4 and 0 <= report.latency_ms[0] < 1e3 * TIMEOUT_S


def test_classes_are_told_before_the_first_mask():
    stage = Stage()
    stage.show(lambda: stage.published.append(list(stage.told)))
    stage.finish()
    assert stage.published[0] == [False]


def test_while_one_frame_is_at_work_the_newest_of_the_others_waits():
    stage = Stage()
    go_on = stage.block()
    for number in range(4):
        stage.put(lambda number=number: number)
    go_on.set()
    assert stage.done.acquire(timeout=TIMEOUT_S)
    assert stage.finish() == {"in": 5, "answered": 2, "dropped": 3}
    assert stage.published == [True, 3]


def test_a_camera_that_sends_ten_times_as_much_takes_no_more_turns():
    stage = Stage("busy", "calm")
    for turn in range(5):
        go_on = stage.block("busy")
        for number in range(10):
            stage.put(lambda number=number: f"busy {number}", "busy")
        stage.put(lambda turn=turn: f"calm {turn}", "calm")
        go_on.set()
        for _ in range(2):
            assert stage.done.acquire(timeout=TIMEOUT_S)
    assert stage.finish("calm") == {"in": 5, "answered": 5}
    assert stage.finish("busy") == {"in": 55, "answered": 10, "dropped": 45}
    assert stage.published[:3] == [True, "calm 0", "busy 9"]


def test_frames_beyond_the_rate_are_left_out_and_counted_as_such():
    stage = Stage(max_rate=lambda: 0.001)
    stage.show(lambda: "first")
    stage.put(raising(AssertionError("too soon")))
    assert stage.finish() == {"in": 2, "answered": 1, "limited": 1}


def test_no_listener_no_answer():
    stage = Stage()
    stage.heard = False
    taken = threading.Event()
    stage.listened = lambda: taken.set() or []
    stage.put(raising(AssertionError("nobody asked")))
    assert taken.wait(TIMEOUT_S)
    assert stage.finish() == {"in": 1, "unheard": 1}


def test_what_waits_at_the_end_counts_as_dropped():
    stage = Stage()
    go_on = stage.block()
    stage.put(raising(AssertionError("too late")))
    closing = threading.Thread(target=stage.worker.close, daemon=True)
    closing.start()
    while not stage.health[""].counts()["dropped"]:
        assert closing.is_alive()
    go_on.set()
    closing.join(TIMEOUT_S)
    assert stage.finish() == {"in": 2, "answered": 1, "dropped": 1}
