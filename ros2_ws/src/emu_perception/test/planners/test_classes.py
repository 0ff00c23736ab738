"""Names of classes in the node's parameters."""

import numpy as np
import pytest

from emu_core.labels import CITYSCAPES, NYUV2, ClassTable, ClassTableError
from emu_perception.planners.classes import DYNAMIC, GROUND, class_groups, class_roles

YARD = ClassTable(
    "yard", ("soil", "wall", "box"), (1, 2, 3), ((1, 1, 1), (2, 2, 2), (3, 3, 3)), None,
    (("road", 0),),
)  # fmt: skip


def members(table, mask):
    return [name for name, inside in zip(table.names, mask, strict=False) if inside]


@pytest.mark.parametrize(
    ("table", "ground", "dynamic"),
    [
        (CITYSCAPES, ["road", "sidewalk", "terrain"],
         ["person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"]),
        (NYUV2, ["floor", "floor mat"], ["person"]),
        (YARD, ["soil"], []),
    ],
)  # fmt: skip
def test_the_defaults_suit_every_class_table(table, ground, dynamic):
    roles = class_roles(table, GROUND, DYNAMIC, ())
    assert members(table, roles.ground) == ground and members(table, roles.dynamic) == dynamic
    assert not roles.ignored.any()


def test_unknown_and_unlabelled_pixels_have_no_role():
    roles = class_roles(CITYSCAPES, GROUND, DYNAMIC, ("sky",))
    for mask in roles:
        assert mask.shape == (256,) and not mask[len(CITYSCAPES) :].any()


def test_names_may_be_aliases_of_any_case_and_empty_names_stand_for_none():
    roles = class_roles(YARD, ("ROAD",), ("",), ("Box",))
    assert members(YARD, roles.ground) == ["soil"] and members(YARD, roles.ignored) == ["box"]
    assert not roles.dynamic.any()


@pytest.mark.parametrize(
    ("lists", "text"),
    [
        ((("rod",), (), ()), "ground_classes: .*no class 'rod', only road, "),
        (((), ("cars",), ()), "dynamic_classes: .*'cars'"),
        (((), (), ("hood",)), "ignore_classes: .*'hood'"),
        ((("road",), (), ("road",)), "'road' is in ground_classes and in ignore_classes"),
        ((("car",), ("car",), ()), "'car' is in ground_classes and in dynamic_classes"),
    ],
)
def test_a_wrong_name_is_refused_with_its_list(lists, text):
    with pytest.raises(ClassTableError, match=text):
        class_roles(CITYSCAPES, *lists)


def test_groups_of_classes():
    every = class_groups(CITYSCAPES, ())
    assert list(every) == list(CITYSCAPES.names)
    assert np.array_equal(np.stack(list(every.values())), np.eye(19, dtype=bool))
    groups = class_groups(CITYSCAPES, ("drivable=road, sidewalk", "person"))
    named = {name: members(CITYSCAPES, group) for name, group in groups.items()}
    assert named == {"drivable": ["road", "sidewalk"], "person": ["person"]}


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        (("a=road,lava",), "no class 'lava'"),
        (("lava",), "no class 'lava'"),
        (("road", "road=terrain"), "'road=terrain' needs a name of its own"),
        (("=road",), "'=road' needs a name"),
    ],
)
def test_a_wrong_group_is_refused(groups, text):
    with pytest.raises(ClassTableError, match=f"probability_groups: .*{text}"):
        class_groups(CITYSCAPES, groups)
