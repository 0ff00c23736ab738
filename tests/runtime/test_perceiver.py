"""Perceiver against values computed by hand."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest

from emu_core.runtime.dummy_model import dummy_outputs, make_dummy_model
from emu_core.runtime.model_file import ModelError
from emu_core.runtime.parity import FP32_TOLERANCES
from emu_core.runtime.perceiver import Perceiver


@pytest.fixture(scope="module")
def perceiver(dummy):
    return Perceiver(dummy)


@pytest.fixture
def image():
    return np.random.default_rng(7).integers(0, 256, (48, 64, 3), np.uint8)


def constant(height, width, red=40, green=51, blue=100):
    return np.full((height, width, 3), (red, green, blue), np.uint8)


@pytest.mark.parametrize("output_size", [None, (96, 128), (20, 24)])
def test_outputs_have_the_types_and_shapes_of_the_graph(tmp_path, image, output_size):
    path = make_dummy_model(tmp_path / "m.onnx", (48, 64), output_size)
    seen = Perceiver(path).perceive(image)
    for name, expected in dummy_outputs(image, output_size).items():
        values = getattr(seen, name)
        assert values.dtype == expected.dtype
        assert values.flags.c_contiguous
        np.testing.assert_array_equal(values, expected)


def test_read_only_reversed_and_padded_arrays_are_read(perceiver, image):
    frozen = np.frombuffer(image.tobytes(), np.uint8).reshape(image.shape)
    reversed_channels = np.ascontiguousarray(image[..., ::-1])[..., ::-1]
    padded = np.zeros((48, 70, 3), np.uint8)
    padded[:, :64] = image
    for rgb in (frozen, reversed_channels, padded[:, :64]):
        labels = perceiver.perceive(rgb).labels
        np.testing.assert_array_equal(labels, dummy_outputs(image)["labels"])


def test_an_image_twice_as_large_is_averaged(perceiver):
    # 2×2 blocks of 0, 100, 100, 200 have the mean 100.
    block = np.array([[0, 100], [100, 200]], np.uint8)
    large = np.repeat(np.tile(block, (48, 64))[..., None], 3, axis=2)
    assert (perceiver.perceive(large).depth == 25.0).all()


SIZES = [(48, 64), (1, 1), (7, 5), (48, 640), (480, 64), (1080, 1920), (3, 5000)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_a_constant_colour_has_values_computed_by_hand_at_any_size(dummy, size, fit):
    seen = Perceiver(dummy, fit=fit).perceive(constant(*size, red=40, green=51, blue=100))
    by_hand = (40 // 16, np.float32(51 / 255), 100 / 4, 40 / 8)
    for values, expected in zip(vars(seen).values(), by_hand, strict=True):
        assert values.size
        assert (values == expected).all()  # no pixel of the letterbox's border


@pytest.mark.parametrize(
    ("size", "focal", "ratio"),
    [
        ((48, 64), 50.0, 1.0),
        ((48, 64), (100.0, 100.0), 2.0),
        ((96, 128), 100.0, 1.0),  # resized by ½: 50 pixels
        ((96, 64), (50.0, 200.0), np.sqrt(2.0)),  # 50 across, 100 down: √5000 = 70.7
    ],
)
def test_depth_is_rescaled_by_the_focal_length(perceiver, size, focal, ratio):
    seen = perceiver.perceive(constant(*size), focal=focal)
    np.testing.assert_allclose(seen.depth, 25.0 * ratio, rtol=1e-6)
    np.testing.assert_allclose(seen.depth_std, 5.0 * ratio, rtol=1e-6)
    assert (seen.label_uncertainty == np.float32(0.2)).all()


@pytest.mark.parametrize("focal", [0, -1.0, np.nan, np.inf, (100.0, 0.0), (1, 2, 3), "long"])
def test_an_invalid_focal_length_is_refused(perceiver, focal):
    with pytest.raises(ValueError, match="positive focal lengths"):
        perceiver.perceive(constant(48, 64), focal=focal)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((48, 64, 3), np.float32), "uint8 array, but got float32"),
        (np.zeros((48, 64), np.uint8), r"\(h, w, 3\) and not empty, but got \(48, 64\)"),
        (np.zeros((48, 64, 4), np.uint8), r"but got \(48, 64, 4\)"),
        (np.zeros((0, 64, 3), np.uint8), r"but got \(0, 64, 3\)"),
        (None, "uint8 array, but got NoneType"),
    ],
)
def test_an_invalid_image_is_refused(perceiver, wrong, message):
    with pytest.raises(ValueError, match=message):
        perceiver.perceive(wrong)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"provider": "npu"}, "`provider` to be one of auto, cpu, cpu-fused, cuda"),
        ({"fit": "crop"}, "`fit` to be one of"),
        ({"threads": 0}, "`threads` to be at least 1"),
    ],
)
def test_invalid_arguments_are_named(dummy, options, message):
    with pytest.raises(ValueError, match=message):
        Perceiver(dummy, **options)


def test_verify_passes_on_the_files_own_reference(perceiver):
    errors = perceiver.verify()
    assert [errors.pop(name) for name in ("labels_agree", "depth_kind_agree")] == [1.0, 1.0]
    assert errors == {"label_uncertainty_abs": 0.0, "depth_rel": 0.0, "depth_std_rel": 0.0}


def changed(path, name, change):
    """Replace a constant of a model file's graph."""
    model = onnx.load(str(path))
    tensor = next(t for t in model.graph.initializer if t.name == name)
    value = np.asarray(change(onnx.numpy_helper.to_array(tensor)))
    tensor.CopyFrom(onnx.numpy_helper.from_array(value, name))
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(
    ("constant_name", "change", "message"),
    [
        ("metres", lambda old: np.float32(1.2) * old, r" .* depth_rel 0\.2 \(must be ≤ 0\.001\)"),
        ("rows", lambda old: old + 1000, " does not run on 'cpu': .*bounds"),
    ],
)
def test_verify_refuses_a_changed_graph(tmp_path, constant_name, change, message):
    path = changed(make_dummy_model(tmp_path / "changed.onnx"), constant_name, change)
    with pytest.raises(ModelError, match=rf"changed\.onnx{message}"):
        Perceiver(path).verify()


def test_verify_uses_the_tolerances_in_the_file(tmp_path):
    text = json.dumps({"fp32": {**FP32_TOLERANCES, "depth_rel": 0.25}})
    path = make_dummy_model(tmp_path / "loose.onnx", metadata={"emu.tolerances": text})
    changed(path, "metres", lambda old: np.float32(1.2) * old)
    assert Perceiver(path).verify()["depth_rel"] == pytest.approx(0.2)


PEAKS = """
import sys
import numpy as np
from emu_core.machine import peak_rss_mb
from emu_core.runtime.perceiver import Perceiver

perceiver = Perceiver(threads=1)
if sys.argv[1] == "unshrunk":
    perceiver._engine._first_run = None
for _ in range(4):
    perceiver.perceive(np.zeros((*perceiver.info.input_size, 3), np.uint8))
    print(peak_rss_mb())
"""


def peak_growth(mode):
    """MiB by which the peak of memory is higher after the fourth frame than after the first."""
    run = subprocess.run(
        [sys.executable, "-c", PEAKS, mode], capture_output=True, text=True, check=True
    )
    first, *_, last = map(float, run.stdout.split())
    return last - first


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux' /proc")
def test_the_memory_of_the_first_frame_is_given_back():
    # How much a frame takes depends on the processor, so the test compares. It was 71 MB with the
    # arena shrunk and 93 MB without on a Xeon with AMX.
    assert peak_growth("shrunk") < 0.9 * peak_growth("unshrunk")


def test_several_threads_share_one_perceiver(perceiver):
    images = 20 * [constant(48, 64, blue=4 * k + 4) for k in range(8)]
    with ThreadPoolExecutor(8) as threads:
        depths = [seen.depth[5, 5] for seen in threads.map(perceiver.perceive, images)]
    assert depths == 20 * [k + 1.0 for k in range(8)]
