"""How much samples differ, against closed forms."""

import math

import pytest
import torch

from emu_core.methods.base import SampledMethod
from emu_core.methods.disagreement import disagreement
from emu_core.methods.prediction import Prediction


class Samples(SampledMethod):
    """Returns these samples for every image."""

    def __init__(self, *samples):
        self.given = samples

    def samples(self, images):
        return iter(self.given)

    def raw_outputs(self, x):
        raise NotImplementedError


def constant(p, mean, variance):
    """One pixel with these class probabilities and this depth."""
    maps = (
        torch.tensor(v, dtype=torch.float32).view(1, -1, 1, 1) for v in (p, [mean], [variance])
    )
    return Prediction(*maps)


def test_members_that_are_certain_of_different_classes_and_depths():
    method = Samples(constant([1.0, 0.0], 10.0, 1.0), constant([0.0, 1.0], 14.0, 3.0))
    found = disagreement(method, [torch.zeros(1)])
    assert found["labels"] == 1.0
    assert found["mutual_information"] == pytest.approx(math.log(2))
    assert found["information_share"] == pytest.approx(1.0)
    assert found["epistemic_share"] == pytest.approx(4 / (4 + 2))


def test_members_that_agree_have_no_disagreement():
    method = Samples(*[constant([0.7, 0.3], 10.0, 2.0)] * 3)
    found = disagreement(method, [torch.zeros(1)] * 2)
    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=1e-6)
    assert set(found) == {"labels", "mutual_information", "information_share", "epistemic_share"}


def test_two_of_three_members_agree_in_a_third_of_the_pairs():
    members = [constant(p, 1.0, 1.0) for p in ([0.9, 0.1], [0.8, 0.2], [0.1, 0.9])]
    assert disagreement(Samples(*members), [torch.zeros(1)])["labels"] == pytest.approx(2 / 3)


def test_a_missing_task_has_no_metrics():
    depth = Prediction(None, torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2))
    assert set(disagreement(Samples(depth, depth), [torch.zeros(1)])) == {"epistemic_share"}
