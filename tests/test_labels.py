"""The class table against the official one of cityscapesscripts."""

import numpy as np
import pytest
from cityscapesscripts.helpers.labels import id2label, trainId2label

from emu_core.labels import CITYSCAPES, IGNORE, TABLES, UNKNOWN_OBJECT_ID

STORED = [label for label in id2label.values() if label.id >= 0]
EVALUATED = [trainId2label[i] for i in range(19)]


def test_there_are_the_nineteen_classes_that_the_benchmark_evaluates():
    assert len(CITYSCAPES) == 19 == sum(not label.ignoreInEval for label in STORED)
    assert CITYSCAPES.names == tuple(label.name for label in EVALUATED)
    assert CITYSCAPES.dataset_ids == tuple(label.id for label in EVALUATED)
    assert CITYSCAPES.palette == tuple(label.color for label in EVALUATED)


def test_every_byte_maps_to_its_official_train_id_or_is_ignored():
    expected = np.full(256, 255, np.uint8)
    for label in STORED:
        expected[label.id] = label.trainId
    np.testing.assert_array_equal(
        CITYSCAPES.to_train_ids(np.arange(256, dtype=np.uint8)), expected
    )
    assert IGNORE == 255


def test_every_train_id_maps_to_its_official_id_or_to_unlabeled():
    expected = np.zeros(256, np.uint8)
    for label in EVALUATED:
        expected[label.trainId] = label.id
    np.testing.assert_array_equal(
        CITYSCAPES.to_dataset_ids(np.arange(256, dtype=np.uint8)), expected
    )
    assert id2label[0].name == "unlabeled"


def test_ids_survive_the_round_trip_and_ignored_pixels_stay_ignored():
    train_ids = np.array([*range(19), IGNORE], np.uint8)
    back = CITYSCAPES.to_train_ids(CITYSCAPES.to_dataset_ids(train_ids))
    np.testing.assert_array_equal(back, train_ids)


@pytest.mark.parametrize("convert", [CITYSCAPES.to_train_ids, CITYSCAPES.to_dataset_ids])
def test_conversion_keeps_the_shape_and_gives_bytes(convert):
    converted = convert(np.zeros((3, 1, 5), np.uint8))
    assert converted.shape == (3, 1, 5)
    assert converted.dtype == np.uint8


def test_the_colour_table_holds_the_palette_and_is_black_elsewhere():
    colors = CITYSCAPES.colors()
    assert colors.shape == (256, 3)
    assert colors.dtype == np.uint8
    for label in EVALUATED:
        assert tuple(colors[label.trainId]) == label.color
    assert not colors[19:].any()


def test_sky_and_the_unknown_objects_id_are_what_their_names_say():
    assert CITYSCAPES.sky is not None
    assert CITYSCAPES.names[CITYSCAPES.sky] == "sky"
    assert id2label[UNKNOWN_OBJECT_ID].name == "dynamic"
    assert CITYSCAPES.to_train_ids(np.array([UNKNOWN_OBJECT_ID])) == IGNORE
    assert TABLES[CITYSCAPES.dataset] is CITYSCAPES
