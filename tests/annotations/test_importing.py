"""Labels from files of annotation tools: files that datumaro writes, and hand-written ones."""

import json

import cv2
import numpy as np
import pytest
import yaml

pytest.importorskip("datumaro", reason="needs datumaro: make test-annotation")

import datumaro
from datumaro.components.annotation import Bbox, Ellipse, Mask, Polygon, PolyLine

from emu_core.annotations.formats import FORMATS, detect_format
from emu_core.annotations.importing import import_annotations
from emu_core.data.sample import DataError

NAMES = ("background", "grass", "Fence_post", "sky")
RECTANGLE = [10, 20, 40, 20, 40, 44, 10, 44]


@pytest.fixture
def write_source(write_images, tmp_path):
    """Function that lets datumaro write two frames, the second without objects."""

    def write(exporter, objects, names=NAMES, subset="default", frame=None):
        first, second = write_images(tmp_path / "pictures")
        items = [
            datumaro.DatasetItem(
                frame or "a/07",
                subset=subset,
                media=datumaro.Image.from_file(path=str(first)),
                annotations=objects,
            ),
            datumaro.DatasetItem(
                "b/1", subset=subset, media=datumaro.Image.from_file(path=str(second))
            ),
        ]
        data = datumaro.Dataset.from_iterable(items, categories=list(names))
        data.export(str(tmp_path / "source"), exporter, save_media=True)
        return tmp_path / "source"

    return write


def masks_of(indices):
    return [Mask(indices == k, label=k, id=k, group=k) for k in (1, 2, 3)]


EXPORTERS = {
    **{name: name for name in ("cvat", "voc", "cityscapes", "camvid", "datumaro")},
    **{name: name for name in ("coco_panoptic", "kitti_segmentation")},
    "coco": "coco_instances",
}


@pytest.mark.parametrize("name", EXPORTERS)
def test_a_source_of_masks_keeps_pixels_names_and_images(
    name, write_source, read_labels, indices, tmp_path
):
    source = write_source(EXPORTERS[name], masks_of(indices))
    done = import_annotations(source, tmp_path / "root", name)
    about = yaml.safe_load((tmp_path / "root/dataset.yaml").read_text())
    assert done.format == name and done.unlabelled == 0
    shift = int(name == "coco")  # COCO's ids count from 1, and background has one
    assert about == {"name": "root", "classes": {k + shift: NAMES[k] for k in (1, 2, 3)}}
    labels = read_labels(tmp_path / "root")["a/07"]
    np.testing.assert_array_equal(labels, np.where(indices, indices + shift, 0))
    for image in ("a/07.jpg", "b/1.png"):
        copied = (tmp_path / "root/images" / image).read_bytes()
        assert copied == (tmp_path / "pictures" / image).read_bytes()


DETECTED = [name for name in EXPORTERS if name != "kitti_segmentation"]


@pytest.mark.parametrize("name", DETECTED)
def test_the_format_of_a_source_is_detected(name, write_source, indices):
    assert detect_format(write_source(EXPORTERS[name], masks_of(indices))) == name


def test_later_polygons_cover_earlier_ones_by_z_order(write_source, read_labels, tmp_path):
    objects = [
        Polygon(RECTANGLE, label=3, z_order=1),
        Polygon([0, 0, 64, 0, 64, 48, 0, 48], label=1, z_order=0),
        Polygon([20, 20, 30, 20, 30, 30, 20, 30], label=0, z_order=2),  # erases
    ]
    import_annotations(write_source("cvat", objects), tmp_path / "root")
    expected = np.full((48, 64), 1, np.uint8)
    expected[20:44, 10:40] = 3
    expected[20:30, 20:30] = 0
    np.testing.assert_array_equal(read_labels(tmp_path / "root")["a/07"], expected)


def test_label_me_polygons_and_masks_are_read(write_source, read_labels, tmp_path):
    mask = np.zeros((48, 64), bool)
    mask[2:6, 2:6] = True
    objects = [Polygon(RECTANGLE, label=3, id=1), Mask(mask, label=1, id=2)]
    import_annotations(write_source("label_me", objects), tmp_path / "root")
    about = yaml.safe_load((tmp_path / "root/dataset.yaml").read_text())
    ids = {name: k for k, name in about["classes"].items()}
    expected = np.full((48, 64), 255, np.uint8)  # 0 is a class: LabelMe stores no background
    expected[20:44, 10:40], expected[mask] = ids["sky"], ids["grass"]
    np.testing.assert_array_equal(read_labels(tmp_path / "root")["a/07"], expected)


def test_objects_without_pixels_are_counted(write_source, read_labels, tmp_path):
    objects = [
        Polygon(RECTANGLE, label=1),
        Bbox(1, 1, 5, 5, label=2),
        PolyLine([0, 0, 5, 5], label=2),
    ]
    done = import_annotations(write_source("cvat", objects), tmp_path / "root")
    assert done.skipped == {"bbox": 1, "polyline": 1}
    assert set(np.unique(read_labels(tmp_path / "root")["a/07"])) == {0, 1}


TRACK = """<annotations><meta><task><labels><label><name>car</name></label></labels>
<original_size><width>64</width><height>48</height></original_size></task></meta>
<track id="0" label="car">
 <polygon frame="0" outside="0" occluded="0" keyframe="1" points="0,0;8,0;8,8;0,8" z_order="0"/>
 <polygon frame="1" outside="1" occluded="0" keyframe="1" points="0,0;8,0;8,8;0,8" z_order="0"/>
</track></annotations>"""


def test_an_object_of_a_cvat_video_ends_when_it_leaves_the_image(
    write_images, read_labels, tmp_path
):
    write_images(tmp_path / "source/images", ["frame_000000.png", "frame_000001.png"])
    (tmp_path / "source/annotations.xml").write_text(TRACK)
    done = import_annotations(tmp_path / "source", tmp_path / "root")
    (labels,) = read_labels(tmp_path / "root").values()
    assert (labels == 0).sum() == 64 and (labels == 255).sum() == labels.size - 64
    assert (done.labelled, done.without, done.copied) == (1, 1, 2)


def test_an_ellipse_is_filled(write_source, read_labels, tmp_path):
    source = write_source("datumaro", [Ellipse(10, 10, 50, 40, label=1)])
    import_annotations(source, tmp_path / "root")
    area = (read_labels(tmp_path / "root")["a/07"] == 1).sum()
    assert area == pytest.approx(np.pi * 20 * 15, rel=0.02)


def test_several_subsets_become_folders_and_splits(write_images, indices, read_labels, tmp_path):
    first, second = write_images(tmp_path / "pictures")
    items = [
        datumaro.DatasetItem(
            "same",
            subset=subset,
            media=datumaro.Image.from_file(path=str(path)),
            annotations=masks_of(indices),
        )
        for subset, path in (("train", first), ("val", second))
    ]
    data = datumaro.Dataset.from_iterable(items, categories=list(NAMES))
    data.export(str(tmp_path / "source"), "voc_segmentation", save_media=True)
    import_annotations(tmp_path / "source", tmp_path / "root")
    about = yaml.safe_load((tmp_path / "root/dataset.yaml").read_text())
    assert about["splits"] == {"train": ["train/*"], "val": ["val/*"]}
    assert set(read_labels(tmp_path / "root")) == {"train/same", "val/same"}


def test_a_data_set_keeps_its_ids_frames_and_description(
    write_source, write_root, read_labels, indices, tmp_path
):
    classes = {5: "fence post", 9: "GRASS", 40: "sky"}
    root = write_root(tmp_path / "root", classes, np.full((48, 64), 5, np.uint8))
    before = (root / "dataset.yaml").read_bytes()
    done = import_annotations(write_source("cvat", masks_of(indices), frame="renamed"), root)
    assert done.copied == 0  # its image equals that of a/07
    expected = np.array([0, 9, 5, 40], np.uint8)[indices]
    np.testing.assert_array_equal(read_labels(root)["a/07"], expected)
    assert (root / "dataset.yaml").read_bytes() == before


def test_a_description_without_classes_gets_them(write_source, write_root, indices, tmp_path):
    root = write_root(tmp_path / "root", {}, license="CC0-1.0")
    (root / "dataset.yaml").write_text("# mine\nlicense: CC0-1.0\n")
    import_annotations(write_source("cvat", masks_of(indices)), root)
    text = (root / "dataset.yaml").read_text()
    assert text.startswith("# mine\n")
    assert yaml.safe_load(text)["classes"] == {1: "grass", 2: "Fence_post", 3: "sky"}


@pytest.fixture
def write_label_studio(write_images, tmp_path):
    """Function that writes Label Studio's COCO export: ids from 0, names with a prefix."""

    def write(**changes):
        folder = tmp_path / "studio"
        write_images(folder / "images", ["0a1b2c3d-07.jpg"])
        content = {
            "images": [
                {"width": 64, "height": 48, "id": 0, "file_name": "images\\1\\0a1b2c3d-07.jpg"}
            ],
            "categories": [{"id": 0, "name": "grass"}, {"id": 1, "name": "sky"}],
            "annotations": [
                {
                    "id": 0,
                    "image_id": 0,
                    "category_id": 0,
                    "segmentation": [RECTANGLE],
                    "bbox": [10, 20, 30, 24],
                    "ignore": 0,
                    "iscrowd": 0,
                    "area": 720,
                },
                {
                    "id": 1,
                    "image_id": 0,
                    "category_id": 1,
                    "iscrowd": 1,
                    "segmentation": {"size": [48, 64], "counts": [0, 48 * 20, 48 * 44]},
                },
                {
                    "id": 2,
                    "image_id": 0,
                    "category_id": 1,
                    "segmentation": [],
                    "bbox": [0, 0, 5, 5],
                    "iscrowd": 0,
                },
            ],
            "info": {"contributor": "Label Studio", "version": "1.0"},
            **changes,
        }
        (folder / "result.json").write_text(json.dumps(content))
        return folder

    return write


def test_label_studio_keeps_its_first_class_and_the_order(
    write_label_studio, read_labels, tmp_path
):
    source = write_label_studio()
    done = import_annotations(source / "result.json", tmp_path / "root")
    assert done.format == "label_studio"
    assert done.classes == {0: "grass", 1: "sky"} and done.unlabelled == 255
    assert done.skipped == {"bbox": 1}
    expected = np.full((48, 64), 255, np.uint8)
    expected[20:44, 10:40] = 0
    expected[:, :20] = 1  # later
    np.testing.assert_array_equal(read_labels(tmp_path / "root")["07"], expected)
    assert (tmp_path / "root/images/07.jpg").is_file()


def test_cityscapes_with_instance_ids_keeps_its_objects(write_images, read_labels, tmp_path):
    source, name = tmp_path / "source", "train/ulm/ulm_0_0"
    write_images(source / "leftImg8bit", [f"{name}_leftImg8bit.png"])
    ids = np.full((48, 64), 7, np.uint8)  # road
    ids[5:20, 5:20] = 26  # car
    for suffix, values in (("labelIds", ids), ("instanceIds", np.where(ids == 26, 26001, 7))):
        path = source / f"gtFine/{name}_gtFine_{suffix}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), values.astype(np.uint16 if values.max() > 255 else np.uint8))
    done = import_annotations(source, tmp_path / "root")
    np.testing.assert_array_equal(read_labels(tmp_path / "root")["ulm/ulm_0_0"], ids)
    assert (done.classes[7], done.classes[26]) == ("road", "car")
    path.with_name("ulm_0_0_gtFine_labelTrainIds.png").write_bytes(path.read_bytes())
    with pytest.raises(DataError, match="labelTrainIds"):
        import_annotations(source, tmp_path / "other")


MAPILLARY = [("construction--flat--road", [128, 64, 128]), ("nature--sky", [70, 130, 180])]


@pytest.mark.parametrize("task", ["panoptic", "instances"])
def test_mapillary_vistas_is_read(task, write_images, read_labels, tmp_path):
    source, numbers = tmp_path / "source", np.zeros((48, 64), np.uint16)
    write_images(source / "training/images", ["x1.jpg"])
    folder = source / "training/v2.0" / task
    folder.mkdir(parents=True)
    numbers[20:] = 1
    if task == "instances":
        config = {"labels": [{"name": name, "color": color} for name, color in MAPILLARY]}
        (source / "config_v2.0.json").write_text(json.dumps(config))
        assert cv2.imwrite(str(folder / "x1.png"), numbers * 256 + 3)
    else:
        content = {
            "images": [{"id": "x1", "file_name": "x1.jpg", "width": 64, "height": 48}],
            "categories": [
                {"id": k, "name": name, "color": color, "supercategory": "x"}
                for k, (name, color) in enumerate(MAPILLARY, start=1)
            ],
            "annotations": [
                {
                    "image_id": "x1",
                    "file_name": "x1.png",
                    "segments_info": [
                        {"id": 11 + k, "category_id": 1 + k, "iscrowd": 0} for k in (0, 1)
                    ],
                }
            ],
        }
        (folder / "panoptic_2020.json").write_text(json.dumps(content))
        # The number of a segment is red + 256 · green + 65536 · blue; OpenCV writes BGR.
        code = np.dstack([np.zeros_like(numbers), np.zeros_like(numbers), numbers + 11])
        assert cv2.imwrite(str(folder / "x1.png"), code.astype(np.uint8))
    done = import_annotations(source, tmp_path / "root")
    assert done.format == "mapillary_vistas"
    np.testing.assert_array_equal(read_labels(tmp_path / "root")["x1"], numbers)
    assert done.classes == {k: name for k, (name, _) in enumerate(MAPILLARY)}


def test_common_semantic_segmentation_is_read(write_images, read_labels, indices, tmp_path):
    source = tmp_path / "source"
    write_images(source / "images", ["x1.jpg"])
    (source / "masks").mkdir()
    assert cv2.imwrite(str(source / "masks/x1.png"), indices)
    meta = {"label_map": {str(k): name for k, name in enumerate(NAMES)}}
    (source / "dataset_meta.json").write_text(json.dumps(meta))
    import_annotations(source, tmp_path / "root")
    np.testing.assert_array_equal(read_labels(tmp_path / "root")["x1"], indices)


def test_more_than_255_classes_are_refused(write_label_studio, tmp_path):
    categories = [{"id": k, "name": f"class {k}"} for k in range(256)]
    with pytest.raises(DataError, match="256 classes"):
        import_annotations(write_label_studio(categories=categories), tmp_path / "root")
    categories = [{"id": 1000 * k, "name": f"class {k}"} for k in range(255)]
    categories[1]["id"] = 1
    done = import_annotations(write_label_studio(categories=categories), tmp_path / "root")
    assert len(done.classes) == 255 and done.unlabelled not in done.classes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categories": [{"id": 0, "name": "grass"}]}, "class id 1, which has no name"),
        ({"images": []}, "cannot be read as label_studio"),
        ({"images": [], "annotations": []}, "has no frames"),
        (
            {
                "images": [
                    {"id": k, "file_name": f"{k}/0a1b2c3d-07.jpg", "width": 64, "height": 48}
                    for k in (0, 1)
                ]
            },
            "the frame 07 twice",
        ),
        (
            {"images": [{"id": 0, "file_name": "gone.jpg", "width": 64, "height": 48}]},
            "export the images together with the annotations",
        ),
        (
            {"images": [{"id": 0, "file_name": "0a1b2c3d-07.jpg", "width": 48, "height": 64}]},
            "48×64 pixels.*Was it resized or rotated",
        ),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(changes, message, write_label_studio, tmp_path):
    with pytest.raises(DataError, match=message) as caught:
        import_annotations(write_label_studio(**changes), tmp_path / "root")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "root/labels").exists()


def test_a_class_that_the_data_set_lacks_is_refused(write_source, write_root, indices, tmp_path):
    root = write_root(tmp_path / "root", {1: "grass", 2: "sky"})
    with pytest.raises(DataError, match="has no class Fence_post: add it"):
        import_annotations(write_source("cvat", masks_of(indices)), root)


def test_another_image_of_the_same_name_is_refused(write_source, write_root, indices, tmp_path):
    root = write_root(tmp_path / "root", dict(enumerate(NAMES)))
    assert cv2.imwrite(str(root / "images/a/07.jpg"), np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(DataError, match="same name but are different images"):
        import_annotations(write_source("cvat", masks_of(indices)), root)


def test_formats_are_named_if_none_or_several_fit(
    write_source, write_label_studio, indices, tmp_path
):
    with pytest.raises(DataError, match="No file or folder"):
        import_annotations(tmp_path / "nothing", tmp_path / "root")
    (tmp_path / "task.zip").touch()
    with pytest.raises(DataError, match=r"task\.zip is a ZIP file: unpack it"):
        import_annotations(tmp_path / "task.zip", tmp_path / "root")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=f"--format.*{', '.join(FORMATS)}"):
        import_annotations(empty, tmp_path / "root")
    with pytest.raises(DataError, match="'voc2': expected cvat, coco"):
        import_annotations(empty, tmp_path / "root", "voc2")
    with pytest.raises(DataError, match="cannot be read as camvid"):
        import_annotations(empty, tmp_path / "root", "camvid")
    source = write_source("cvat", masks_of(indices))
    (source / "result.json").write_bytes((write_label_studio() / "result.json").read_bytes())
    with pytest.raises(DataError, match="fits several formats: label_studio, cvat"):
        import_annotations(source, tmp_path / "root")
