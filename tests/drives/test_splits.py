from pathlib import Path

import pytest

from emu_core.drives.splits import SplitsError, load_splits

CONFIG = Path(__file__).parents[2] / "training" / "configs" / "drives.yaml"


@pytest.fixture(scope="module")
def splits():
    return load_splits(CONFIG)


def test_the_configuration_has_all_splits(splits):
    assert set(splits) == {"train", "val", "test", "demo", "haze", "night", "unknown"}
    assert len(splits["test"]) >= 20
    assert len(splits["demo"]) == 1 and splits["demo"][0].frames >= 100


def test_training_drives_have_neither_haze_nor_night_nor_unknown_objects(splits):
    conditions = {name: {spec.condition for spec in drives} for name, drives in splits.items()}
    intruders = {name: {spec.intruder for spec in drives} for name, drives in splits.items()}
    for name in ("train", "val", "test", "demo"):
        assert conditions[name] == {"day"}
        assert intruders[name] == {None}
    assert conditions["haze"] == {"haze"} and conditions["night"] == {"night"}
    assert intruders["unknown"] == {"unknown", "known"}


def test_the_two_drives_of_a_pair_are_adjacent_and_share_their_seed(splits):
    drives = splits["unknown"]
    for unknown, known in zip(drives[::2], drives[1::2], strict=True):
        assert unknown.seed == known.seed
        assert (unknown.intruder, known.intruder) == ("unknown", "known")


def entries(*lines):
    """The text of a list of drives with one entry `NAME: {…}` per line."""
    return "width: 64\nheight: 32\nsplits:\n" + "".join(f"  {line}\n" for line in lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("width: 64\n", "expected the keys width, height and splits"),
        ("a: [", "is not valid YAML"),
        (entries(), "expected splits to map names to entries"),
        (entries("val: {seeds: [1, 2]}"), "split val: expected the keys frames, interval, seeds"),
        (entries("val: {seeds: 3, frames: 1, interval: 1}"), "seeds as [first, last]"),
        (entries("val: {seeds: [3, 1], frames: 1, interval: 1}"), "seeds as [first, last]"),
        (entries("val: {seeds: [a, b], frames: 1, interval: 1}"), "split val"),
        (entries("val: {seeds: [1, 2], frames: x, interval: 1}"), "split val"),
        (entries("val: {seeds: [1, 2], frames: 0, interval: 1}"), "a positive frames"),
        (entries("val: {seeds: [1, 2], frames: 1, interval: 1, fog: 2}"), "unknown key fog"),
        (
            entries("val: {seeds: [1, 2], frames: 1, interval: 1, condition: snow}"),
            "day or haze or night, but got 'snow'",
        ),
        (
            entries(
                "val: {seeds: [1, 2], frames: 1, interval: 1}",
                "test: {seeds: [2, 5], frames: 1, interval: 1}",
            ),
            "seed 2 is in two splits, val and test",
        ),
    ],
)
def test_an_invalid_list_of_drives_is_refused(tmp_path, text, message):
    path = tmp_path / "drives.yaml"
    path.write_text(text)
    with pytest.raises(SplitsError) as caught:
        load_splits(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_a_missing_list_of_drives_is_named(tmp_path):
    with pytest.raises(SplitsError, match=r"Cannot read .*nothing\.yaml: No such file"):
        load_splits(tmp_path / "nothing.yaml")
