"""Averaged weights against the recursion written out by hand."""

import pytest
import torch

from emu_core.training.averaging import average


def test_the_first_averages_follow_the_weights_quickly():
    value = torch.tensor([1.0])
    for count, current in ((1, 3.0), (2, 5.0)):
        value = average(value, torch.tensor([current]), count, decay=0.999)
    # 2/11 of 1 and 9/11 of 3, then 3/12 of that and 9/12 of 5.
    assert value.item() == pytest.approx(0.25 * (2 / 11 * 1 + 9 / 11 * 3) + 0.75 * 5)


def test_later_ones_decay_as_asked():
    value = average(torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor(10**6), decay=0.9)
    assert value.item() == pytest.approx(1.1)
