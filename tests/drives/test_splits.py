from pathlib import Path

import pytest

from emu_core.drives.splits import SplitsError, load_splits

CONFIG = Path(__file__).parents[2] / "training" / "configs" / "drives.yaml"


@pytest.fixture(scope="module")
def splits():
    return load_splits(CONFIG)


def test_the_configuration_has_enough_drives(splits):
    assert len(splits["test"]) >= 20
    assert len(splits["demo"]) == 1 and splits["demo"][0].frames >= 100


def test_training_drives_have_neither_haze_nor_night_nor_unknown_objects(splits):
    found = {n: {(d.condition, d.intruder) for d in drives} for n, drives in splits.items()}
    assert found == {
        **{name: {("day", None)} for name in ("train", "val", "test", "demo")},
        "haze": {("haze", None)},
        "night": {("night", None)},
        "unknown": {("day", "unknown"), ("day", "known")},
    }


def test_the_drives_around_have_seeds_of_their_own(splits):
    around = load_splits(CONFIG.with_name("drives_around.yaml"))
    assert all(drive.around for drives in around.values() for drive in drives)
    theirs, ours = (
        {drive.seed for drives in each.values() for drive in drives} for each in (around, splits)
    )
    assert not theirs & ours


def test_the_two_drives_of_a_pair_are_adjacent_and_share_their_seed(splits):
    drives = [(drive.seed, drive.intruder) for drive in splits["unknown"]]
    assert drives == [(s, kind) for s, _ in drives[::2] for kind in ("unknown", "known")]


HEAD = "width: 64\nheight: 32\nsplits:\n"
PLAIN = "frames: 1, interval: 1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("width: 64\n", "expected the keys width, height and splits"),
        ("a: [", "is not valid YAML"),
        (HEAD, "expected splits to map names to entries"),
        (
            f"{HEAD}  val: {{seeds: [1, 2]}}",
            "split val: expected the keys frames, interval, seeds",
        ),
        (f"{HEAD}  val: {{seeds: [3, 1], {PLAIN}}}", "seeds as [first, last]"),
        (f"{HEAD}  val: {{seeds: [a, b], {PLAIN}}}", "split val"),
        (f"{HEAD}  val: {{seeds: [1, 2], frames: 0, interval: 1}}", "a positive frames"),
        (f"{HEAD}  val: {{seeds: [1, 2], {PLAIN}, fog: 2}}", "optionally around, condition"),
        (
            f"{HEAD}  val: {{seeds: [1, 2], {PLAIN}}}\n  test: {{seeds: [2, 5], {PLAIN}}}",
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
