"""Model files of one task, or without a deviation of depth: what they lack is absent."""

import json

import numpy as np
import onnx
import pytest

from emu_core.data.label_space import LabelSpace
from emu_core.data.sample import Sample
from emu_core.labels import CITYSCAPES, NO_CLASSES
from emu_core.runtime.dummy_model import dummy_outputs, make_dummy_model
from emu_core.runtime.metadata import OUTPUT_SETS
from emu_core.runtime.model_file import ModelError, read_info, to_metadata
from emu_core.runtime.overlay import TILE, panel
from emu_core.runtime.perceiver import Perceiver, Perception
from emu_core.runtime.scoring import score

LABELS, DEPTH, DEPTH_STD, BOTH, ALL = OUTPUT_SETS
LABEL_METRICS = {"miou", "label_ece", "label_error_auroc"}
DEPTH_METRICS = {f"depth_{name}" for name in ("rmse_m", "abs_rel", "delta1", "coverage")}
DEPTH_METRICS |= {"depth_false_infinity"}
STD_METRICS = {"depth_ratio_error_auroc", "depth_ratio_error_auroc_given"}
STD_METRICS |= {"depth_metre_error_auroc", "depth_interval_90"}
METRICS = {
    LABELS: LABEL_METRICS,
    DEPTH: DEPTH_METRICS,
    DEPTH_STD: DEPTH_METRICS | STD_METRICS,
    BOTH: LABEL_METRICS | DEPTH_METRICS,
    ALL: LABEL_METRICS | DEPTH_METRICS | STD_METRICS,
}


@pytest.fixture(params=OUTPUT_SETS, ids="+".join)
def outputs(request):
    return request.param


@pytest.fixture
def path(outputs, tmp_path):
    return make_dummy_model(tmp_path / "part.onnx", (48, 64), outputs=outputs)


@pytest.fixture
def image():
    return np.random.default_rng(3).integers(0, 256, (48, 64, 3), np.uint8)


def test_the_file_says_what_it_has(path, outputs):
    info = read_info(path)
    assert info.outputs == outputs
    assert info.classes == (CITYSCAPES if "labels" in outputs else NO_CLASSES)
    assert info.depth_range == ((0.25, 63.5) if "depth" in outputs else None)
    written = {p.key: p.value for p in onnx.load(str(path)).metadata_props}
    assert to_metadata(info) == written
    # Older readers, which expect all outputs, refuse the file with "Update emu_core".
    assert json.loads(written["emu.format_version"]) == (1 if outputs == ALL else 2)


def test_absent_maps_are_none_and_the_others_those_of_the_graph(path, outputs, image):
    perceiver = Perceiver(path)
    perceiver.verify()
    seen = perceiver.perceive(image, focal=200.0)  # twice the canonical one
    assert tuple(seen.maps()) == outputs
    assert {name for name, values in vars(seen).items() if values is None} == {*ALL} - {*outputs}
    for name, expected in dummy_outputs(image).items():
        if name in outputs:
            factor = 2 if name.startswith("depth") else 1
            np.testing.assert_array_equal(getattr(seen, name), factor * expected)


def test_openvino_runs_it(path, outputs, image):
    pytest.importorskip("openvino", reason="needs the package openvino")
    perceiver = Perceiver(path, provider="openvino", threads=1)
    perceiver.verify()
    assert tuple(perceiver.perceive(image).maps()) == outputs


def test_depth_without_a_canonical_focal_length_does_not_depend_on_the_lens(tmp_path, image):
    path = make_dummy_model(tmp_path / "any.onnx", (48, 64), canonical_focal=None, outputs=DEPTH)
    perceiver = Perceiver(path)
    assert perceiver.info.canonical_focal is None
    seen = perceiver.perceive(image, focal=321.0)
    np.testing.assert_array_equal(seen.depth, dummy_outputs(image)["depth"])


def test_only_metrics_of_what_the_model_has_are_computed(path, outputs, image):
    maps = dummy_outputs(image)
    truth = np.where(np.isfinite(maps["depth"]), maps["depth"], np.float32(np.nan))
    sample = Sample("0", image, maps["labels"], truth, (100.0, 100.0))
    space = LabelSpace.identity(CITYSCAPES)
    found = score(Perceiver(path), [sample], space, 80.0).compute()
    assert found.keys() == METRICS[outputs]
    assert found.get("miou", 1.0) == 1.0 and found.get("depth_rmse_m", 0.0) == 0.0


def test_the_panel_has_grey_tiles_for_absent_maps(image):
    full = Perception(**dummy_outputs(image))
    seen = Perception(depth=full.depth)
    width, height = TILE
    picture = panel(image, seen, NO_CLASSES)
    assert picture.shape == panel(image, full, CITYSCAPES).shape
    tiles = picture.reshape(2, -1, 3, width, 3).swapaxes(1, 2)[:, :, -height:]
    grey = [[len(np.unique(tile.reshape(-1, 3), axis=0)) == 1 for tile in row] for row in tiles]
    assert grey == [[False, True, False], [True, True, False]]  # one colour


@pytest.mark.parametrize(
    ("outputs", "key", "value", "problem"),
    [
        (DEPTH, "classes", "classes", "only the output labels has classes"),
        (LABELS, "depth_range", "depth_range", "only the output depth has a range"),
        (DEPTH, "reference", "reference", "expected the input 'image' and the outputs labels"),
    ],
)
def test_metadata_that_contradicts_the_outputs_is_refused(tmp_path, outputs, key, value, problem):
    whole = to_metadata(read_info(make_dummy_model(tmp_path / "all.onnx")))
    change = {f"emu.{key}": whole[f"emu.{value}"]}
    if key == "reference":
        change |= {f"emu.{name}": whole[f"emu.{name}"] for name in ("classes", "depth_range")}
    path = make_dummy_model(tmp_path / "wrong.onnx", outputs=outputs, metadata=change)
    with pytest.raises(ModelError, match=rf"wrong\.onnx.*{problem}"):
        read_info(path)
