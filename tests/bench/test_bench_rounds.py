"""Contestants run in turn, warm up, and are timed on the clock that is given."""

import pytest

from emu_core.bench.settings import PARTS, parse, run_rounds


class Clock:
    """Stands still but for what the contestants take."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def taking(self, seconds, log, name):
        def run():
            log.append(name)
            self.now += seconds.pop(0)

        return run


def test_every_round_runs_each_once_and_the_first_ones_are_not_counted():
    clock, log = Clock(), []
    contestants = {
        "a": clock.taking([9.0, 0.001, 0.002, 0.003], log, "a"),
        "b": clock.taking([9.0, 0.010, 0.020, 0.030], log, "b"),
    }
    series = run_rounds(contestants, 3, warm_up=1, clock=clock)
    assert series["a"] == pytest.approx([1, 2, 3])
    assert series["b"] == pytest.approx([10, 20, 30])
    assert [sorted(log[i : i + 2]) for i in range(0, 8, 2)] == [["a", "b"]] * 4


def test_rounds_have_orders_of_their_own():
    clock, log = Clock(), []
    contestants = {name: clock.taking([0.0] * 20, log, name) for name in "abc"}
    run_rounds(contestants, 20, warm_up=0, clock=clock)
    orders = {tuple(log[i : i + 3]) for i in range(0, 60, 3)}
    assert len(orders) > 3


def test_options_are_read():
    settings = parse(["--sizes", "64x128", "512x1024", "--threads", "3", "--parts", "ros"])
    assert (settings.sizes, settings.threads) == (((64, 128), (512, 1024)), 3)
    assert settings.parts == ("ros",)
    assert settings.compared == (512, 1024)
    assert parse([]).parts == PARTS
    assert parse(["--quick"]).members == 2
    assert parse(["--sizes", "64x128", "32x64"]).compared == (64, 128)


@pytest.mark.parametrize(
    "wrong", [["--sizes", "64"], ["--sizes", "16x512"], ["--threads", "0"], ["--parts", "all"]]
)
def test_wrong_options_are_refused(wrong, capsys):
    with pytest.raises(SystemExit):
        parse(wrong)
    assert wrong[0] in capsys.readouterr().err
