"""Log lines once per kind; errors again after a minute."""

from types import SimpleNamespace

import pytest

from emu_perception.node.log_once import AGAIN_AFTER_S, Complaints


@pytest.fixture
def told():
    return []


@pytest.fixture
def complaints(clock, told):
    logger = SimpleNamespace(
        warning=lambda text: told.append(f"warning: {text}"),
        error=lambda text: told.append(f"error: {text}"),
    )
    return Complaints(logger, clock)


def test_each_kind_is_told_once_within_a_minute(complaints, clock, told):
    for _ in range(5):
        complaints.error("step", "step too small")
        complaints.warning("lens", "no lens")
        clock.now += AGAIN_AFTER_S / 10
    assert told == ["error: step too small", "warning: no lens"]


def test_a_warning_is_told_once(complaints, clock, told):
    for _ in range(3):
        complaints.warning("lens", "no lens")
        clock.now += 2 * AGAIN_AFTER_S
    assert told == ["warning: no lens"]


def test_after_a_minute_the_next_error_is_told_with_the_number_left_out(complaints, clock, told):
    for _ in range(4):
        complaints.error("step", "first")
    clock.now = AGAIN_AFTER_S
    complaints.error("step", "later")
    clock.now = 2 * AGAIN_AFTER_S
    complaints.error("step", "much later")
    assert told == ["error: first", "error: later (3 more like it since)", "error: much later"]
