"""Frames for annotation tools: there and back, and predictions of a model."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip("datumaro", reason="needs datumaro: make test-annotation")

from emu_core.annotations.exporting import export_annotations
from emu_core.annotations.formats import FORMATS, MASKS
from emu_core.annotations.importing import import_annotations
from emu_core.data.sample import DataError
from emu_core.labels import CITYSCAPES
from emu_core.runtime.perceiver import Perception

CLASSES = {3: "grass", 7: "fence post", 250: "sky"}
IDS = np.array([0, *CLASSES], np.uint8)
WRITABLE = [
    (name, shapes) for name, each in FORMATS.items() if each.exporter for shapes in each.shapes
]


@pytest.mark.parametrize(("name", "shapes"), WRITABLE)
def test_labels_survive_the_way_to_a_tool_and_back(
    name, shapes, write_root, read_labels, indices, tmp_path
):
    root = write_root(tmp_path / "root", CLASSES, IDS[indices])
    done = export_annotations(root, tmp_path / "tool", name, shapes=shapes)
    assert (done.labelled, done.predicted, done.empty) == (1, 0, 1)
    (root / "labels/a/07.png").unlink()
    images = {path: path.read_bytes() for path in (root / "images").rglob("*.*")}
    done = import_annotations(tmp_path / "tool", root, name)
    assert (done.labelled, done.without, done.copied) == (1, 1, 0)
    labels = read_labels(root)["a/07"]
    if shapes == MASKS:
        np.testing.assert_array_equal(labels, IDS[indices])
    for k in CLASSES:
        same = (labels == k) & (IDS[indices] == k)
        assert same.sum() >= 0.98 * ((labels == k) | (IDS[indices] == k)).sum()
    assert {path: path.read_bytes() for path in (root / "images").rglob("*.*")} == images
    import_annotations(tmp_path / "tool", tmp_path / "new", name)
    for path, content in images.items():
        assert (
            tmp_path / "new/images" / path.relative_to(root / "images")
        ).read_bytes() == content


def test_a_class_named_background_is_the_background_of_mask_formats(
    write_root, read_labels, indices, tmp_path
):
    root = write_root(
        tmp_path / "root", {4: "Background", **CLASSES}, IDS[indices] + 4 * (indices == 0)
    )
    export_annotations(root, tmp_path / "voc", "voc")
    import_annotations(tmp_path / "voc", root)
    assert set(np.unique(read_labels(root)["a/07"])) == {4, *CLASSES}


class Model:
    """A model that sees road on the left, sky on the right, and is unsure of the lowest rows."""

    info = SimpleNamespace(classes=CITYSCAPES, outputs=("labels", "label_uncertainty"))

    def perceive(self, rgb):
        assert rgb.dtype == np.uint8 and rgb.shape == (48, 64, 3)
        labels = np.zeros((24, 32), np.uint8)  # half the size of the image
        labels[:, 16:] = CITYSCAPES.index("sky")
        labels[:, :4] = CITYSCAPES.index("car")
        uncertainty = np.full((24, 32), 0.2, np.float32)
        uncertainty[20:] = 0.6
        return Perception(labels, uncertainty)


PREDICTED = np.zeros((48, 64), np.uint8)
PREDICTED[:, 8:32], PREDICTED[:, 32:] = 1, 2


@pytest.mark.parametrize(("max_uncertainty", "empty_from"), [(0.5, 40), (0.6, 48), (0.1, 0)])
def test_predictions_fill_frames_without_labels_where_they_are_certain(
    max_uncertainty, empty_from, write_root, read_labels, indices, tmp_path
):
    root = write_root(
        tmp_path / "root", CLASSES, IDS[indices], mapping={"grass": ["road", "car2"]}
    )
    done = export_annotations(
        root, tmp_path / "tool", "cvat", model=Model(), max_uncertainty=max_uncertainty
    )
    assert (done.labelled, done.predicted) == (1, 1)
    assert "car" in done.unused and not {"road", "sky"} & set(done.unused)
    import_annotations(tmp_path / "tool", root)
    expected = np.array([0, 3, 250], np.uint8)[PREDICTED]
    expected[empty_from:] = 0
    labels = read_labels(root)
    np.testing.assert_array_equal(labels["a/07"], IDS[indices])  # a person's labels stay
    if empty_from:
        np.testing.assert_array_equal(labels["b/1"], expected)
    else:
        assert "b/1" not in labels


def test_a_model_class_that_two_classes_stand_for_stays_empty(write_root, tmp_path):
    mapping = {"grass": ["sky", "road"], "fence post": "road"}
    root = write_root(tmp_path / "root", CLASSES, mapping=mapping)
    done = export_annotations(root, tmp_path / "tool", "coco", model=Model())
    assert {"road", "sky"} <= set(done.unused)


def test_without_classes_of_their_own_frames_get_the_models(write_root, read_labels, tmp_path):
    root = write_root(tmp_path / "root", {})
    (root / "dataset.yaml").unlink()
    with pytest.raises(DataError, match=r"no `classes`.*--prefill"):
        export_annotations(root, tmp_path / "tool", "cvat")
    export_annotations(root, tmp_path / "tool", "cvat", model=Model(), max_uncertainty=1)
    done = import_annotations(tmp_path / "tool", root)
    assert list(done.classes.values()) == list(CITYSCAPES.names)
    labels = read_labels(root)["a/07"]
    assert done.classes[labels[0, 0]] == "car" and done.classes[labels[0, 40]] == "sky"


def test_a_split_is_exported_alone(write_root, read_labels, tmp_path):
    root = write_root(tmp_path / "root", CLASSES, splits={"train": ["a/*"], "val": ["b/*"]})
    export_annotations(root, tmp_path / "tool", "cvat", split="val")
    assert [path.name for path in (tmp_path / "tool/images").rglob("*.*")] == ["1.png"]
    with pytest.raises(DataError, match="no split tset"):
        export_annotations(root, tmp_path / "other", "cvat", split="tset")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "label_studio"}, "Cannot write the format 'label_studio': expected cvat, coco"),
        ({"name": "voc", "shapes": "polygons"}, "voc holds masks, but not polygons"),
        ({"max_uncertainty": 1.5}, "from 0 to 1, but got 1.5"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(options, message, write_root, tmp_path):
    root = write_root(tmp_path / "root", CLASSES)
    with pytest.raises(DataError, match=message):
        export_annotations(root, tmp_path / "tool", **{"name": "cvat", **options})


def test_damaged_data_sets_and_used_folders_are_refused(write_root, tmp_path):
    root = write_root(tmp_path / "root", CLASSES, np.full((48, 64), 9, np.uint8))
    with pytest.raises(DataError, match=r"07\.png has the id 9, which `classes` does not name"):
        export_annotations(root, tmp_path / "tool", "cvat")
    assert cv2.imwrite(str(root / "labels/a/07.png"), np.zeros((9, 9), np.uint8))
    with pytest.raises(DataError, match="9×9 pixels, but its image has 64×48"):
        export_annotations(root, tmp_path / "tool", "cvat")
    with pytest.raises(DataError, match="is not empty"):
        export_annotations(root, root, "cvat")
    with pytest.raises(DataError, match="No image in"):
        export_annotations(tmp_path, tmp_path / "tool", "cvat")
