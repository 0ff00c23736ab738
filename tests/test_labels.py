"""The class tables: Cityscapes' against cityscapesscripts, NYUv2's against published facts."""

import numpy as np
from cityscapesscripts.helpers.labels import id2label, trainId2label

from emu_core.labels import CITYSCAPES, IGNORE, NYUV2, TABLES, UNKNOWN_OBJECT_ID

STORED = [label for label in id2label.values() if label.id >= 0]
EVALUATED = [trainId2label[i] for i in range(19)]


def test_cityscapes_has_the_nineteen_classes_of_the_benchmark():
    assert len(CITYSCAPES) == 19 == sum(not label.ignoreInEval for label in STORED)
    assert CITYSCAPES.names == tuple(label.name for label in EVALUATED)
    assert CITYSCAPES.dataset_ids == tuple(label.id for label in EVALUATED)
    assert CITYSCAPES.palette == tuple(label.color for label in EVALUATED)


def test_every_byte_maps_to_its_official_train_id_or_is_ignored():
    expected = np.full(256, 255, np.uint8)
    for label in STORED:
        expected[label.id] = label.trainId
    train_ids = CITYSCAPES.to_train_ids(np.arange(256, dtype=np.uint8).reshape(4, 64))
    np.testing.assert_array_equal(train_ids, expected.reshape(4, 64))
    assert train_ids.dtype == np.uint8 and IGNORE == 255


def test_the_colour_table_holds_the_palette_and_is_black_elsewhere():
    colors = CITYSCAPES.colors()
    assert colors.shape == (256, 3)
    assert colors.dtype == np.uint8
    for label in EVALUATED:
        assert tuple(colors[label.trainId]) == label.color
    assert not colors[19:].any()


def test_sky_and_unknown_objects_have_the_official_ids():
    assert CITYSCAPES.sky is not None
    assert CITYSCAPES.names[CITYSCAPES.sky] == "sky"
    assert id2label[UNKNOWN_OBJECT_ID].name == "dynamic"
    assert CITYSCAPES.to_train_ids(np.array([UNKNOWN_OBJECT_ID])) == IGNORE
    assert TABLES[CITYSCAPES.dataset] is CITYSCAPES


PASCAL = [
    *((128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128)),
    *((128, 128, 128), (64, 0, 0), (192, 0, 0), (64, 128, 0), (192, 128, 0), (64, 0, 128)),
    *((192, 0, 128), (64, 128, 128), (192, 128, 128), (0, 64, 0), (128, 64, 0), (0, 192, 0)),
    *((128, 192, 0), (0, 64, 128)),
]
"""The published colours of PASCAL VOC's twenty classes, in their order."""


def test_nyuv2_has_forty_classes_with_ids_from_1_and_0_is_unlabelled():
    assert len(NYUV2) == 40 == len(set(NYUV2.names)) == len(NYUV2.palette)
    # Places in the official classMapping40.mat, counted from 1.
    official = dict(
        [(1, "wall"), (2, "floor"), (5, "chair"), (10, "bookshelf"), (11, "picture")]
        + [(20, "floor mat"), (22, "ceiling"), (24, "refridgerator"), (25, "television")]
        + [(28, "shower curtain"), (30, "whiteboard"), (31, "person"), (32, "night stand")]
        + [(36, "bathtub"), (37, "bag"), (38, "otherstructure"), (40, "otherprop")]
    )
    assert {i: NYUV2.names[i - 1] for i in official} == official
    expected = np.full(256, IGNORE, np.uint8)
    expected[1:41] = range(40)
    ids = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(NYUV2.to_train_ids(ids), expected)
    assert NYUV2.sky is None
    assert TABLES["nyuv2"] is NYUV2


def test_the_colours_of_nyuv2_follow_pascal_voc_and_differ():
    assert list(NYUV2.palette[:20]) == PASCAL
    assert len({*NYUV2.palette, (0, 0, 0)}) == 41
