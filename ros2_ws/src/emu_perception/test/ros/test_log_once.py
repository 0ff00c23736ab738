"""Each kind of problem is logged once, and errors again after a minute."""

from types import SimpleNamespace

import pytest

from emu_perception.ros.log_once import REPEAT_AFTER_S, LogOnce


@pytest.fixture
def lines():
    return []


@pytest.fixture
def once(clock, lines):
    logger = SimpleNamespace(
        warning=lambda text: lines.append(f"warning: {text}"),
        error=lambda text: lines.append(f"error: {text}"),
    )
    return LogOnce(logger, clock)


def test_each_kind_is_logged_once_within_a_minute_and_a_warning_never_again(once, clock, lines):
    for _ in range(5):
        once.error("step", "step too small")
        once.warning("lens", "no lens")
        clock.now += REPEAT_AFTER_S / 10
    clock.now += 2 * REPEAT_AFTER_S
    once.warning("lens", "no lens")
    assert lines == ["error: step too small", "warning: no lens"]


def test_an_error_is_repeated_after_a_minute_with_the_number_of_suppressed_ones(
    once, clock, lines
):
    for _ in range(4):
        once.error("step", "first")
    clock.now = REPEAT_AFTER_S
    once.error("step", "later")
    clock.now = 2 * REPEAT_AFTER_S
    once.error("step", "much later")
    expected = ["error: first", "error: later (3 more since the last one)", "error: much later"]
    assert lines == expected
