"""Ages of stamps, by hand, and where nobody can tell them."""

from types import SimpleNamespace

import pytest

from emu_perception.clocks import stamp_age

NOW_NS = 1_800_000_000_250_000_000


def age(sec, nanosec=0, now_ns=NOW_NS):
    return stamp_age(now_ns, SimpleNamespace(sec=sec, nanosec=nanosec))


def test_the_age_is_the_difference_on_one_clock():
    assert age(1_799_999_999, 750_000_000) == (0.5, "")
    assert age(1_800_000_000, 0) == (0.25, "")
    assert age(100, 0, now_ns=101_000_000_000) == (1.0, ""), "simulated time begins anywhere"


def test_a_stamp_just_ahead_is_now():
    assert age(1_800_000_000, 300_000_000) == (0.0, ""), "/clock is read in steps"


@pytest.mark.parametrize(
    ("stamp", "now_ns", "said"),
    [
        ((0, 0), NOW_NS, "no stamp"),
        ((1_800_000_000, 0), 0, "nothing has come on /clock"),
        ((1_700_000_000, 0), NOW_NS, "1157 days behind this node's clock: for a bag"),
        ((1_799_999_900, 0), NOW_NS, "100.2 s behind"),
        ((1_800_000_002, 0), NOW_NS, "1.8 s ahead of this node's clock: synchronise"),
        ((1_800_000_000, 0), 100_000_000_000, "days ahead"),
    ],
)
def test_where_clocks_differ_there_is_a_reason_and_no_age(stamp, now_ns, said):
    seconds, doubt = age(*stamp, now_ns=now_ns)
    assert seconds is None and said in doubt
