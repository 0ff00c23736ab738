"""Several images in one inference: the same maps, and only where it is faster."""

import numpy as np
import pytest

from emu_core.labels import ClassTable
from emu_core.runtime import batching, perceiver
from emu_core.runtime.dummy_model import make_dummy_model
from emu_core.runtime.graphs.batch import batched
from emu_core.runtime.perceiver import Perceiver, Request

RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 256, (60, 64 + 8 * i, 3), np.uint8) for i in range(4)]


@pytest.fixture
def path(tmp_path):
    return make_dummy_model(tmp_path / "dummy.onnx", (48, 64), canonical_focal=50.0, logits=True)


@pytest.fixture
def takes(monkeypatch):
    """Let batches be tried on the CPU, with given times of one image and of all."""
    monkeypatch.setattr(perceiver, "BATCHING", ("cpu",))

    def take(one, all_together):
        times = iter([one, all_together])
        monkeypatch.setattr(batching, "median_ms", lambda run: run() and next(times))

    return take


def batches_of(found, monkeypatch):
    """The numbers of images of the batches that a perceiver computes from now on."""
    sizes, run = [], found._batch.run

    def counted(images, logits):
        sizes.append(len(images))
        return run(images, logits)

    monkeypatch.setattr(found._batch, "run", counted)
    return sizes


def same(found, expected):
    for (seen, chances), (wanted, chances_wanted) in zip(found, expected, strict=True):
        assert seen.maps().keys() == wanted.maps().keys()
        for name, values in wanted.maps().items():
            np.testing.assert_array_equal(seen.maps()[name], values)
        np.testing.assert_array_equal(chances, chances_wanted)


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_maps_of_a_batch_are_those_of_each_image_alone(path, takes, monkeypatch, fit):
    takes(10.0, 25.0)
    groups = np.eye(19, dtype=bool)[:, :2]
    requests = [
        Request(IMAGES[0]),
        Request(IMAGES[1], 80.0),
        Request(IMAGES[2], (90.0, 70.0), groups),
        Request(IMAGES[3], None, groups[:, :1]),
    ]
    alone, together = (Perceiver(path, fit=fit) for _ in range(2))
    expected = [alone.perceive_many([request])[0] for request in requests]
    told = together.use_batches(4)
    assert told == "from 3 images on together: 25.0 ms for 4 images together, 10.0 ms for one"
    assert together.least_batch == 3
    sizes = batches_of(together, monkeypatch)
    same(together.perceive_many(requests), expected)
    same(together.perceive_many(requests[1:]), expected[1:])  # filled up with the last image
    same(together.perceive_many(requests[:2]), expected[:2])  # too few
    same(together.perceive_many([*requests, requests[0]]), [*expected, expected[0]])  # too many
    assert sizes == [4, 3]


@pytest.mark.parametrize(
    ("times", "least"), [((10.0, 9.0), 1), ((10.0, 19.9), 2), ((10.0, 20.0), None)]
)
def test_a_batch_is_used_only_if_it_is_faster_than_its_images_alone(path, takes, times, least):
    takes(*times)
    found = Perceiver(path)
    told = found.use_batches(2)
    assert found.least_batch == least
    assert told.startswith("images one after the other: 20.0 ms") is (least is None)


def test_providers_that_gain_nothing_are_not_measured(path, monkeypatch):
    monkeypatch.setattr(perceiver, "BatchEngine", None)
    found = Perceiver(path)
    told = found.use_batches(2)
    assert told == "images one after the other: 'cpu' gains nothing by batches"
    assert found.least_batch is None


def of_other_model(path, count):
    few = ClassTable("few", ("road", "sky"), (0, 1), ((0, 0, 0), (9, 9, 9)), 1)
    other = make_dummy_model(path.with_name("other.onnx"), (48, 64), classes=few, logits=True)
    return batched(other, count)


def damaged(path, count):
    return b"no model"


def without_onnx(path, count):
    raise ImportError("No module named 'onnx'")


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (of_other_model, "a batch computes other results: labels_agree 0."),
        (damaged, "INVALID_PROTOBUF"),
        (without_onnx, "the Python package onnx is not installed: pip install onnx"),
    ],
)
def test_a_batch_that_fails_its_check_is_not_used(path, takes, monkeypatch, graph, reason):
    takes(10.0, 11.0)
    monkeypatch.setattr(batching, "batched", graph)
    found = Perceiver(path)
    told = found.use_batches(2)
    assert told.startswith("images one after the other: batches cannot be used: ")
    assert reason in told and found.least_batch is None
    same(
        found.perceive_many([Request(IMAGES[0])] * 2),
        [found.perceive_many([Request(IMAGES[0])])[0]] * 2,
    )
