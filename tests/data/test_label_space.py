"""What a data set's classes stand for: mappings, codes of training and groups of metrics."""

import numpy as np
import pytest

from emu_core.data.label_space import LabelSpace, wide_sets
from emu_core.data.sample import DataError
from emu_core.labels import CITYSCAPES, IGNORE, class_table

NAMES = ("road", "sidewalk", "terrain", "car", "person", "rider", "motorcycle", "bicycle", "sky")
ROAD, SIDEWALK, TERRAIN, CAR, PERSON, RIDER, MOTORCYCLE, BICYCLE, SKY = range(9)
MODEL = class_table(
    {
        "name": "street",
        "classes": [{"name": n, "aliases": ["walker"] if n == "person" else []} for n in NAMES],
    },
    "street.yaml",
)
PANDASET = LabelSpace.of(
    ("Smoke", "Ground", "Road", "Lane_Line", "Sidewalk", "Car", "Moped", "Scooter", "Pedestrian"),
    MODEL,
    {
        "Smoke": "ignore",
        "Ground": ["terrain", "road", "sidewalk"],
        "Lane_Line": "ROAD",
        "Moped": ["motorcycle", "rider"],
        "Scooter": ["motorcycle", "bicycle"],
        "Pedestrian": ["person", "rider"],
    },
)
GROUND = (ROAD, SIDEWALK, TERRAIN)


def test_a_mapping_gives_each_class_its_set_and_equal_names_need_none():
    assert PANDASET.sets == (
        (),
        GROUND,
        (ROAD,),
        (ROAD,),
        (SIDEWALK,),
        (CAR,),
        (RIDER, MOTORCYCLE),
        (MOTORCYCLE, BICYCLE),
        (PERSON, RIDER),
    )
    by_alias = LabelSpace.of(["WALKER", "Sky"], MODEL)
    assert by_alias.sets == ((PERSON,), (SKY,))
    twice = LabelSpace.of(["all"], MODEL, {"all": ["walker", "person"]})
    assert twice.sets == ((PERSON,),)
    assert LabelSpace.of([], MODEL).sets == ()


@pytest.mark.parametrize(
    ("names", "mapping", "message"),
    [
        (["road", "Smoke", "Fog"], None, r"street has no class for Smoke, Fog: say in `mapping`"),
        (["road"], {"Raod": "road"}, "mapping names Raod, but the data set's classes are road"),
        (["road"], {7: "road"}, "mapping names 7, but"),
        (["Smoke"], {"Smoke": "smoke"}, "mapping of Smoke: .* no class 'smoke', only road, side"),
        (["Fog"], {"Fog": ["road", "ignore"]}, "mapping of Fog: .* no class 'ignore'"),
        (["Fog"], {"Fog": None}, r"mapping of Fog: expected a class, \[classes\] or ignore.*None"),
        (["Fog"], {"Fog": []}, r"mapping of Fog: expected a class, \[classes\] or ignore.*\[\]"),
        (["Fog"], {"Fog": 3}, r"mapping of Fog: expected a class, \[classes\] or ignore.* 3"),
        (["Fog"], {"Fog": [1, "road"]}, "mapping of Fog: expected a class"),
    ],
)
def test_classes_without_counterpart_and_unknown_names_are_refused(names, mapping, message):
    with pytest.raises(DataError, match=message):
        LabelSpace.of(names, MODEL, mapping)


def test_codes_are_train_ids_and_then_the_sets_in_the_order_of_their_occurrence():
    other = LabelSpace.of(["Bike"], MODEL, {"Bike": ["bicycle", "motorcycle"]})
    wide = wide_sets([other, PANDASET])
    assert wide == ((MOTORCYCLE, BICYCLE), GROUND, (RIDER, MOTORCYCLE), (PERSON, RIDER))
    expected = [IGNORE, 10, ROAD, ROAD, SIDEWALK, CAR, 11, 9, 12]
    codes = PANDASET.codes(wide)
    assert codes.dtype == np.uint8 and codes[:9].tolist() == expected
    assert (codes[9:] == IGNORE).all()
    assert other.codes(wide)[0] == 9


def test_groups_are_what_the_labels_can_judge():
    """Ground contains classes with own labels, so it judges nothing; overlapping sets merge."""
    two_wheels = (PERSON, RIDER, MOTORCYCLE, BICYCLE)
    assert PANDASET.groups == ((ROAD,), (SIDEWALK,), (TERRAIN,), (CAR,), two_wheels, (SKY,))
    assert PANDASET.group_names == (
        *("road", "sidewalk", "terrain", "car", "person/rider/motorcycle/bicycle", "sky"),
    )
    of_label = PANDASET.group_of_label
    assert of_label[:9].tolist() == [IGNORE, IGNORE, 0, 0, 1, 3, 4, 4, 4]
    assert (of_label[9:] == IGNORE).all()
    assert PANDASET.group_of_class[:9].tolist() == [0, 1, 2, 3, 4, 4, 4, 4, 5]
    assert (PANDASET.group_of_class[9:] == IGNORE).all()
    assert not PANDASET.is_single


def test_a_single_class_takes_the_sets_that_contain_it_out_of_the_groups():
    names = ("both", "rider", "bicycle or motorcycle")
    mapping = {"both": ["person", "rider"], "bicycle or motorcycle": ["bicycle", "motorcycle"]}
    space = LabelSpace.of(names, MODEL, mapping)
    assert (PERSON,) in space.groups and (RIDER,) in space.groups
    assert (MOTORCYCLE, BICYCLE) in space.groups
    assert space.group_names[space.groups.index((MOTORCYCLE, BICYCLE))] == names[2]
    assert space.group_of_label[0] == IGNORE


def test_equal_classes_are_the_identity():
    space = LabelSpace.identity(CITYSCAPES)
    assert space.is_identity and space.is_single
    assert space == LabelSpace.of(CITYSCAPES.names, CITYSCAPES)
    ids = np.arange(19)
    for table in (space.codes(()), space.group_of_label, space.group_of_class):
        assert table[:19].tolist() == ids.tolist() and (table[19:] == IGNORE).all()
    assert space.group_names == CITYSCAPES.names
    swapped = LabelSpace.of(CITYSCAPES.names[::-1], CITYSCAPES)
    assert swapped.is_single and not swapped.is_identity


def test_every_label_is_in_its_group_or_left_out():
    """Groups are a partition; a label's set lies inside its group, or meets a single class."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        sets = tuple(
            tuple(sorted(rng.choice(9, rng.integers(0, 4), replace=False).tolist()))
            for _ in range(rng.integers(1, 7))
        )
        space = LabelSpace(tuple(map(str, range(len(sets)))), MODEL, sets)
        assert sorted(k for group in space.groups for k in group) == list(range(9))
        single = {s[0] for s in sets if len(s) == 1}
        assert all((k,) in space.groups for k in single)
        for label, members in enumerate(sets):
            group = int(space.group_of_label[label])
            if group == IGNORE:
                assert not members or (len(members) > 1 and single & set(members))
            else:
                assert set(members) <= set(space.groups[group])
                assert {int(space.group_of_class[k]) for k in members} == {group}
