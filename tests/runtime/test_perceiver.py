"""Perceiver and the geometry of fitting an image, against values computed by hand."""

import subprocess
import sys
import threading

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

from emu_core.runtime import perceiver as perceiver_module
from emu_core.runtime.dummy_model import dummy_outputs, make_dummy_model
from emu_core.runtime.fitting import fit_image
from emu_core.runtime.model_file import ModelError
from emu_core.runtime.perceiver import Perceiver, ProviderError


@pytest.fixture(scope="module")
def dummy(tmp_path_factory):
    return make_dummy_model(
        tmp_path_factory.mktemp("model") / "dummy.onnx", (48, 64), canonical_focal=50.0
    )


@pytest.fixture(scope="module")
def perceiver(dummy):
    return Perceiver(dummy)


@pytest.fixture
def image():
    return np.random.default_rng(7).integers(0, 256, (48, 64, 3), np.uint8)


def constant(height, width, red=40, green=51, blue=100):
    return np.full((height, width, 3), (red, green, blue), np.uint8)


def test_a_pixel_comes_out_as_computed_by_hand(perceiver):
    seen = perceiver.perceive(constant(48, 64, red=40, green=51, blue=100))
    assert (seen.labels == 2).all()  # 40 // 16
    assert (seen.label_uncertainty == np.float32(0.2)).all()  # 51 / 255
    assert (seen.depth == 25.0).all()  # 100 / 4
    assert (seen.depth_std == 5.0).all()  # 40 / 8


@pytest.mark.parametrize("output_size", [None, (96, 128), (20, 24)])
def test_outputs_are_the_graphs_in_type_and_shape(tmp_path, image, output_size):
    path = make_dummy_model(tmp_path / "m.onnx", (48, 64), output_size)
    seen = Perceiver(path).perceive(image)
    for name, expected in dummy_outputs(image, output_size).items():
        values = getattr(seen, name)
        assert values.dtype == expected.dtype
        assert values.flags.c_contiguous
        np.testing.assert_array_equal(values, expected)


def test_depth_std_is_infinite_or_nan_exactly_where_depth_is(perceiver, image):
    image[0, 0, 2], image[0, 1, 2] = 255, 0
    seen = perceiver.perceive(image, focal=100.0)
    assert seen.depth[0, 0] == seen.depth_std[0, 0] == np.inf
    assert np.isnan(seen.depth[0, 1])
    np.testing.assert_array_equal(np.isinf(seen.depth), np.isinf(seen.depth_std))
    np.testing.assert_array_equal(np.isnan(seen.depth), np.isnan(seen.depth_std))


def test_the_gate_of_the_docstring_lets_no_infinite_point_pass(perceiver):
    seen = perceiver.perceive(constant(48, 64, blue=255))
    assert not (np.isfinite(seen.depth) & (seen.depth_std <= 0.1 * seen.depth)).any()
    # Why isfinite is asked first: Inf passes the comparison alone.
    assert (seen.depth_std <= 0.1 * seen.depth).all()


def test_read_only_and_reversed_arrays_are_read(perceiver, image):
    frozen = np.frombuffer(image.tobytes(), np.uint8).reshape(image.shape)
    np.testing.assert_array_equal(
        perceiver.perceive(frozen).labels, dummy_outputs(image)["labels"]
    )
    bgr = np.ascontiguousarray(image[..., ::-1])
    np.testing.assert_array_equal(
        perceiver.perceive(bgr[..., ::-1]).labels, dummy_outputs(image)["labels"]
    )


def test_padded_rows_are_read(perceiver, image):
    padded = np.zeros((48, 70, 3), np.uint8)
    padded[:, :64] = image
    np.testing.assert_array_equal(
        perceiver.perceive(padded[:, :64]).labels, dummy_outputs(image)["labels"]
    )


def test_an_image_twice_as_large_is_averaged(perceiver):
    # 2×2 blocks of 0, 100, 100, 200 have the mean 100.
    block = np.array([[0, 100], [100, 200]], np.uint8)
    large = np.repeat(np.tile(block, (48, 64))[..., None], 3, axis=2)
    assert (perceiver.perceive(large).depth == 25.0).all()


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (48, 640), (480, 64), (1080, 1920), (3, 5000)])
@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_images_of_any_size_keep_a_constant_colour(dummy, size, fit):
    seen = Perceiver(dummy, fit=fit).perceive(constant(*size))
    for values, expected in zip(vars(seen).values(), (2, np.float32(0.2), 25, 5), strict=True):
        assert values.size
        assert (values == expected).all()  # no pixel of the letterbox's border shows


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
def test_a_focal_length_that_is_none_is_refused(perceiver, focal):
    with pytest.raises(ValueError, match="positive focal lengths"):
        perceiver.perceive(constant(48, 64), focal=focal)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((48, 64, 3), np.float32), "uint8 array, but got float32"),
        (np.zeros((48, 64), np.uint8), r"\(h, w, 3\) and not empty, but got \(48, 64\)"),
        (np.zeros((48, 64, 4), np.uint8), r"but got \(48, 64, 4\)"),
        (np.zeros((0, 64, 3), np.uint8), r"but got \(0, 64, 3\)"),
        (np.zeros((48, 0, 3), np.uint8), r"but got \(48, 0, 3\)"),
        ([[[1, 2, 3]]], "uint8 array, but got list"),
        (None, "uint8 array, but got NoneType"),
    ],
)
def test_what_is_no_image_is_refused(perceiver, wrong, message):
    with pytest.raises(ValueError, match=message):
        perceiver.perceive(wrong)


def test_letterbox_geometry_is_that_of_a_hand_made_case():
    # 50×100 into 48×64: scale min(48/50, 64/100) = 0.64, so 32×64, 8 rows free above and below.
    # Outputs are twice as large: 16 rows are cut off above, 64 remain.
    fitting = fit_image((50, 100), (48, 64), (96, 128), "letterbox")
    assert (fitting.resized, fitting.top, fitting.left) == ((32, 64), 8, 0)
    assert (fitting.crop_top, fitting.crop_left) == (16, 0)
    assert (fitting.height, fitting.width) == (64, 128)
    # Principal point of the middle stays in the middle: (64 - 1)/2 and (128 - 1)/2.
    assert fitting.intrinsics(100, 100, 49.5, 24.5) == pytest.approx((128, 128, 63.5, 31.5))
    assert fitting.network_focal(100, 100) == pytest.approx(64)


def test_a_border_that_is_no_whole_output_pixel_leaves_an_offset():
    # 33×64 into 48×64 leaves 7 rows above; outputs of half the size begin at row 3.5, so at 4,
    # and end at (7 + 33)/2 = 20.
    fitting = fit_image((33, 64), (48, 64), (24, 32), "letterbox")
    assert (fitting.crop_top, fitting.height, fitting.offset_y) == (4, 16, 0.5)
    # Row 0 of the image has its centre at ½ · ½ − ½ − ½ = −0.75 of the cut map.
    assert fitting.intrinsics(1, 1, 0, 0)[3] == pytest.approx(-0.75)


def test_stretch_scales_each_axis_about_pixel_centres():
    fitting = fit_image((720, 1280), (256, 512), (256, 512), "stretch")
    fx, fy, cx, cy = fitting.intrinsics(800, 800, 640, 360)
    assert (fx, fy) == pytest.approx((320, 800 * 256 / 720))
    assert cx == pytest.approx(640.5 * 0.4 - 0.5)
    assert cy == pytest.approx(360.5 * 256 / 720 - 0.5)


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("output_size", [(48, 64), (96, 128), (24, 32)])
@pytest.mark.parametrize("size", [(100, 300), (301, 100), (66, 128), (24, 40)])
def test_a_mark_in_the_image_lies_where_the_geometry_says(tmp_path, fit, output_size, size):
    perceiver = Perceiver(make_dummy_model(tmp_path / "m.onnx", (48, 64), output_size), fit=fit)
    height, width = size
    # A plateau of green whose centre of mass is known, wide enough for the coarsest output.
    top, left = height // 4, width // 4
    image = np.zeros((height, width, 3), np.uint8)
    image[top : top + height // 2, left : left + width // 2, 1] = 255
    weights = perceiver.perceive(image).label_uncertainty.astype(np.float64)
    fitting = perceiver.fitting(height, width)
    _, _, column, row = fitting.intrinsics(
        1, 1, left + (width // 2 - 1) / 2, top + (height // 2 - 1) / 2
    )
    rows, columns = np.indices(weights.shape)
    # The dummy takes nearest pixels, which moves the centre by at most half a pixel of the larger.
    slack = 0.5 * max(1.0, output_size[0] / 48)
    assert (rows * weights).sum() / weights.sum() == pytest.approx(row, abs=slack + 0.05)
    assert (columns * weights).sum() / weights.sum() == pytest.approx(column, abs=slack + 0.05)


def test_verify_passes_on_the_files_own_reference(perceiver):
    assert perceiver.verify() == {
        "labels_agree": 1.0,
        "depth_kind_agree": 1.0,
        "label_uncertainty_abs": 0.0,
        "depth_rel": 0.0,
        "depth_std_rel": 0.0,
    }


def test_verify_refuses_a_file_with_a_changed_weight(tmp_path):
    path = make_dummy_model(tmp_path / "changed.onnx")
    model = onnx.load(str(path))
    quarter = next(t for t in model.graph.initializer if t.name == "quarter")
    quarter.CopyFrom(onnx.numpy_helper.from_array(np.float32(0.3), "quarter"))
    onnx.save(model, str(path))
    with pytest.raises(ModelError, match=r"changed\.onnx .* depth_rel 0\.2 \(must be ≤ 0\.001\)"):
        Perceiver(path).verify()


def test_verify_refuses_a_graph_that_does_not_run(tmp_path):
    path = make_dummy_model(tmp_path / "damaged.onnx")
    model = onnx.load(path)
    rows = next(tensor for tensor in model.graph.initializer if tensor.name == "rows")
    outside = onnx.numpy_helper.to_array(rows) + 1000
    rows.CopyFrom(onnx.numpy_helper.from_array(outside, "rows"))
    onnx.save(model, path)
    with pytest.raises(ModelError, match=r"damaged\.onnx does not run on 'cpu': .*bounds"):
        Perceiver(path).verify()


def test_verify_uses_the_tolerances_that_travel_with_the_file(tmp_path):
    limits = (
        '{"labels_agree": 0.9, "depth_kind_agree": 0.9, "label_uncertainty_abs": 0.1, '
        '"depth_rel": 0.25, "depth_std_rel": 0.1}'
    )
    path = make_dummy_model(
        tmp_path / "loose.onnx", metadata={"emu.tolerances": f'{{"fp32": {limits}}}'}
    )
    model = onnx.load(str(path))
    quarter = next(t for t in model.graph.initializer if t.name == "quarter")
    quarter.CopyFrom(onnx.numpy_helper.from_array(np.float32(0.3), "quarter"))
    onnx.save(model, str(path))
    assert Perceiver(path).verify()["depth_rel"] == pytest.approx(0.2)


def test_the_cpu_session_is_bounded_and_does_not_spin(dummy):
    session = Perceiver(dummy, threads=3)._session
    options = session.get_session_options()
    assert options.intra_op_num_threads == 3
    assert options.inter_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


PEAKS = """
import resource
import numpy as np
from emu_core.runtime.perceiver import Perceiver

perceiver = Perceiver(threads=1)
for _ in range(4):
    perceiver.perceive(np.zeros((*perceiver.info.input_size, 3), np.uint8))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
def test_later_frames_take_no_more_memory_than_the_first():
    run = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    first, *_, last = map(int, run.stdout.split())
    assert last - first < 64 << 10  # KiB; without care it is 76 to 86 MB


def test_a_provider_that_this_runtime_lacks_is_refused(dummy, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ProviderError, match=r"'cuda' .*built without it"):
        Perceiver(dummy, provider="cuda")
    fallen_back = Perceiver(dummy, provider="cuda", allow_cpu_fallback=True)
    assert fallen_back.provider == "cpu"


@pytest.mark.parametrize("provider", ["openvino", "openvino-bf16"])
def test_openvino_that_is_not_installed_is_refused(dummy, monkeypatch, provider):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ProviderError, match=r"openvino is not installed.*pip install openvino"):
        Perceiver(dummy, provider=provider)
    assert Perceiver(dummy, provider=provider, allow_cpu_fallback=True).provider == "cpu"


def test_openvino_in_its_own_package_answers_as_the_cpu_does(dummy, monkeypatch):
    pytest.importorskip("openvino", reason="needs the package openvino")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    perceiver = Perceiver(dummy, provider="openvino", threads=1)
    assert perceiver.provider == "openvino"
    perceiver.verify()
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), np.uint8)
    seen = [perceiver.perceive(image) for image in images]  # the first one must outlive the next
    for image, answer in zip(images, seen, strict=True):
        for name, expected in dummy_outputs(image).items():
            np.testing.assert_allclose(getattr(answer, name), expected, rtol=1e-5, atol=1e-5)


def test_bfloat16_keeps_half_precision_tolerances():
    openvino = pytest.importorskip("openvino", reason="needs the package openvino")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bfloat16 instructions")
    errors = Perceiver(provider="openvino-bf16", threads=1).verify()
    assert errors["label_uncertainty_abs"] > 1e-4  # it is not single precision


def test_a_silent_fall_back_is_noticed(dummy, monkeypatch):
    # The runtime claims to have the provider and then runs on the CPU.
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(
        perceiver_module,
        "open_session",
        lambda path, options, providers: onnxruntime.InferenceSession(
            str(path), options, ["CPUExecutionProvider"]
        ),
    )
    with pytest.raises(ProviderError, match="fell back to the CPU"):
        Perceiver(dummy, provider="cuda")


def test_a_provider_that_fails_is_not_mistaken_for_a_bad_file(dummy, tmp_path, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])

    def fail(path, options, providers):
        raise RuntimeError("libcublas.so: cannot open")

    monkeypatch.setattr(perceiver_module, "open_session", fail)
    with pytest.raises(ProviderError, match="libcublas"):
        Perceiver(dummy, provider="cuda")
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"garbage")
    with pytest.raises(ModelError, match=r"garbage\.onnx"):
        Perceiver(garbage, provider="cuda")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"provider": "npu"}, "`provider` to be one of cpu, cuda"),
        ({"fit": "crop"}, "`fit` to be one of"),
        ({"threads": 0}, "`threads` to be at least 1"),
    ],
)
def test_wrong_arguments_are_named(dummy, options, message):
    with pytest.raises(ValueError, match=message):
        Perceiver(dummy, **options)


def test_several_threads_share_one_perceiver(perceiver):
    images = [constant(48, 64, blue=4 * k + 4) for k in range(8)]
    depths = [0.0] * len(images)

    def look(k):
        for _ in range(20):
            depths[k] = float(perceiver.perceive(images[k]).depth[5, 5])

    workers = [threading.Thread(target=look, args=(k,)) for k in range(len(images))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert depths == [k + 1.0 for k in range(len(images))]


def test_the_reference_picture_is_rgb_in_a_png(perceiver):
    png = np.frombuffer(perceiver.info.reference.png, np.uint8)
    rgb = cv2.cvtColor(cv2.imdecode(png, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    reference = perceiver.info.reference
    blue = rgb[reference.rows, reference.cols, 2]
    between = (blue > 0) & (blue < 255)
    np.testing.assert_array_equal(reference.values["depth"][between], blue[between] / 4)
