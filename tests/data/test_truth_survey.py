"""What is said about ground truth before a training, and what is refused."""

import re

import numpy as np
import pytest

from emu_core.data.config import Data, Source
from emu_core.data.sample import DataError
from emu_core.data.survey import survey_training


@pytest.fixture
def both(streets):
    """Function that writes frames with two classes, the only ones of the table beside them."""

    def write(folder, **options):
        root = streets(folder, maps_to="two.yaml", classes={1: "own", 2: "tree"}, **options)
        (root / "two.yaml").write_text("classes: [road, tree]")
        return root

    return write


def source(root, **options):
    return Source("folder", root, **options)


def lines(*sources, task="joint", **options):
    data = Data(mixture=sources, **options)
    return survey_training(data.open_training(unlabelled=True), task)


def test_each_data_set_has_a_line_about_its_truth(both, streets):
    root, images = both("a", frames=4, depth=True), streets("b", labels=False)
    for place in ("labels/3.png", "depth/2.png", "depth/3.png"):
        (root / place).unlink()
    assert lines(source(root, max_depth=30.0), source(images, unlabelled=True)) == [
        f"4 training images from {root}, labels on 100% of the pixels in 3 images, "
        "depth valid up to 30 m on 100% in 2 images",
        f"2 training images from {images}, without ground truth",
    ]
    assert lines(source(root), task="depth")  # tasks need only their own truth
    assert lines(source(both("c")), task="segmentation") == [
        f"2 training images from {both('c')}, labels on 100% of the pixels"
    ]


def test_shares_of_the_pixels_and_unknown_ids_are_counted(both, write_folder):
    root = both("a", depth=True)
    labels = np.ones((8, 16), np.uint8)
    labels[:2], labels[2:4], labels[4, :8] = 0, 77, 200  # 0 is void; 32 pixels of 77, 8 of 200
    metres = np.full((8, 16), 20 * 256, np.uint16)
    metres[:6] = 0
    write_folder({"labels/0.png": labels, "depth/0.png": metres}, "a")
    (line,) = lines(source(root))
    labelled = (128 + 128 - 72) / 256
    assert f"labels on {labelled:.0%} of the pixels, depth valid up to 80 m on 62%" in line
    assert line.endswith("ids without a class: 77 (80%), 200 (20%)")


def test_many_frames_are_described_by_some_of_them(both, monkeypatch):
    root, read = both("a", frames=100, depth=True), []
    mixture = Data("folder", root).open_training()
    (part,), own = mixture.parts, type(mixture.parts[0])
    monkeypatch.setattr(
        own, "read", lambda self, name, do=own.read: read.append(name) or do(self, name)
    )
    assert survey_training(mixture, "joint")[0].startswith("100 training images")
    assert len(part) == 100 and len(set(read)) <= 64


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("joint", {"labels": False}, "none of 2 frames has labels and depth with a camera. Check"),
        ("depth", {}, "a, split train: none of 2 frames has depth with a camera"),
        ("segmentation", {"labels": False, "depth": True}, "none of 2 frames has labels"),
        ("joint", {"labels": False, "depth": True}, "No training frame has labels: .*task depth"),
        (
            "joint",
            {},
            "No training frame has depth and a camera: .*architecture.task segmentation",
        ),
        (
            "segmentation",
            {"mapping": "ignore"},
            "a, split train: no pixel of the labels has a class",
        ),
        ("segmentation", {}, "No data set has labels of sidewalk, building.*map a class to each"),
        (
            "segmentation",
            {"classes": {5: "own", 7: "tree"}, "maps_to": None, "mapping": None},
            r"no pixel .* has a class: the files hold the ids 1 \(100%\)\. Expected ids of a: "
            "5 own, 7 tree",
        ),
    ],
)
def test_data_that_cannot_teach_the_task_is_refused(task, options, message, streets):
    if options.get("mapping", "") is None:
        options = {**options, "mapping": "own"}
    root = streets("a", **options)
    with pytest.raises(DataError, match=message) as error:
        lines(source(root), task=task)
    assert str(root) in str(error.value) or "No data set has" in str(error.value)


def test_labelled_data_without_truth_is_refused_beside_data_that_has_it(both, streets):
    full, images = source(both("a", depth=True)), streets("b", labels=False)
    with pytest.raises(
        DataError, match=f"{re.escape(str(images))}, split train: none of 2 .*unlab"
    ):
        lines(full, source(images))
    assert len(lines(full, source(images, unlabelled=True))) == 2


def test_classes_may_be_taught_by_several_data_sets_and_by_sets_of_classes(streets, tmp_path):
    (tmp_path / "three.yaml").write_text("classes: [road, sidewalk, sky]")
    table = {"maps_to": str(tmp_path / "three.yaml"), "depth": True}
    wide = source(streets("a", mapping=["road", "sidewalk"], **table))
    assert len(lines(wide, source(streets("b", mapping="sky", **table)))) == 2
    with pytest.raises(DataError, match="No data set has labels of sky: map a class to each"):
        lines(wide)
    unlabelled = source(streets("b", mapping="sky", **table), unlabelled=True)
    with pytest.raises(DataError, match="No data set has labels of sky"):
        lines(wide, unlabelled)
    frames = Data(mixture=(wide,)).open_training()
    one, note = survey_training(frames, "joint", continues=True)
    assert one in lines(wide, source(streets("b", mapping="sky", **table)))
    assert note.startswith("note: no data set has labels of sky: ")
