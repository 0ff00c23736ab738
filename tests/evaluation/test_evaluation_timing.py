"""Milliseconds per image with a simulated clock, and when they are measured again."""

from dataclasses import replace

import pytest
import torch

from emu_core.evaluation import timing
from emu_core.evaluation.candidate import Candidate
from emu_core.evaluation.report import describe
from emu_core.evaluation.splits import Split
from emu_core.evaluation.timing import median_interval, time_methods, time_missing
from emu_core.files import locked

IMAGES = [torch.zeros(1, 3, 8, 8, dtype=torch.uint8)] * 6


def test_the_median_leaves_out_the_warm_up_and_methods_take_turns():
    now, calls = [0.0], []

    def method(name, times):
        durations = iter(times)

        def run(image):
            calls.append(name)
            now[0] += next(durations)

        return run

    methods = {
        "slow": method("slow", [9.0, 0.010, 0.030, 0.020, 0.500, 0.020]),
        "fast": method("fast", [0.001] * 6),
    }
    timings = time_methods(methods, IMAGES, clock=lambda: now[0])
    assert calls == ["slow", "fast"] * 6
    assert timings["slow"].mean == pytest.approx(20.0)
    assert timings["slow"][2:] == pytest.approx((10.0, 500.0))
    assert timings["fast"] == pytest.approx((1.0, 0.0, 1.0, 1.0))


def test_the_interval_of_a_median_is_between_ranks():
    # Of 100 values, ranks 40 and 61 (from 1) hold the median with 95 % (binomial distribution).
    assert median_interval(range(1, 101)) == (40, 61)
    assert median_interval([3.0]) == (3.0, 3.0)


@pytest.fixture
def timed(tmp_path, tiny_data, write_drive, noise_method, monkeypatch):
    """Two methods, a split of one image, and a function that times them into out/."""
    write_drive(tiny_data.root, "test", "test3000_000000_000000")
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
    candidates = [
        Candidate("single", "single", (tmp_path / "a",)),
        Candidate("mcd", "mcd", (tmp_path / "b",), samples=2),
    ]
    monkeypatch.setattr(Candidate, "load", lambda self, device="cpu": noise_method)
    monkeypatch.setattr(timing, "TIMED_IMAGES", 3)
    taken, path = [], tmp_path / "out" / "timing.json"

    def take(methods, images):
        assert len(images) == 3
        with locked(path.with_name(".timing.json.lock"), wait=False) as free:
            assert not free  # no other process could take times now
        taken.append(list(methods))
        return time_methods(methods, images)

    monkeypatch.setattr(timing, "time_methods", take)

    def run(candidates=candidates, size=None):
        return time_missing(candidates, Split(tiny_data, "test", size), path)

    run.candidates, run.taken = candidates, taken
    threads = torch.get_num_threads()
    yield run
    torch.set_num_threads(threads)


def test_times_are_kept_until_a_method_the_size_or_the_threads_change(timed):
    both = ["single", "mcd"]
    first = timed()
    assert set(first.values) == set(both)
    assert (first.images, first.threads, first.device) == (2, torch.get_num_threads(), "cpu")
    assert timed() == first
    assert timed.taken == [both]
    single, mcd = timed.candidates
    more = timed([single, replace(mcd, samples=5)])
    assert timed.taken == [both] * 2
    assert more.methods["mcd"] != first.methods["mcd"]
    assert timed([single, replace(mcd, samples=5)], (16, 32)).size == (16, 32)
    single.paths[0].write_bytes(b"trained on")
    timed()
    assert timed.taken == [both] * 4
    torch.set_num_threads(2)
    assert timed().threads == 2
    assert timed.taken == [both] * 5
    timed([single])  # part of what is there
    assert timed.taken == [both] * 5


def test_methods_that_do_not_fit_into_memory_together_are_timed_one_by_one(
    timed, tiny_data, monkeypatch
):
    single, mcd = timed.candidates
    times = timed([replace(single, lazy=True), mcd])
    assert timed.taken == [["single"], ["mcd"]]
    split = Split(tiny_data, "test")
    assert "members read again for every image" in describe({"test": split}, times)
    monkeypatch.setattr(timing, "MAX_MEMORY", 1)
    timed([single, replace(mcd, samples=3)])
    assert timed.taken[2:] == [["single"], ["mcd"]]
