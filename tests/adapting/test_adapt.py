"""`training/adapt.py`: model files give what transformers' networks give in PyTorch."""

import json
import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("transformers", reason="needs transformers")

from foreign_networks import (
    NAMES,
    Plain,
    depth_anything,
    dpt,
    export,
    graph,
    save,
    segformer,
)

from emu_core.labels import NO_CLASSES

SIZE = (64, 96)
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


@pytest.fixture
def classes(tmp_path):
    path = tmp_path / "streets.yaml"
    path.write_text(f"classes: [{', '.join(NAMES)}]\nsky: sky\n")
    return path


def pixels(picture, mean=MEAN, std=STD):
    """Normalised pixels (1, 3, H, W), in float64."""
    values = (torch.from_numpy(picture).double() / 255 - torch.tensor(mean)) / torch.tensor(std)
    return values.permute(2, 0, 1)[None].float()


def at_size(raw, size):
    return F.interpolate(raw, size, mode="bilinear", align_corners=False)[0].detach()


def assert_labels(seen, logits):
    """Compare labels and entropies with those of class scores (C, H, W)."""
    p = logits.double().softmax(0).numpy()
    assert np.mean(seen.labels == p.argmax(0)) >= 0.999
    entropy = -(p * np.log(p)).sum(0) / math.log(len(p))
    np.testing.assert_allclose(seen.label_uncertainty, entropy, atol=1e-4)


def test_segformer_is_wrapped_with_its_normalisation_and_classes(
    adapted, tmp_path, classes, picture, capsys
):
    network = segformer()
    path = export(Plain(network), tmp_path / "seg.onnx", SIZE)
    perceiver = adapted(
        *("--segmentation.file", path, "--segmentation.classes", classes),
        *("--segmentation.mean", list(MEAN), "--segmentation.std", list(STD)),
        *("--license", "CC BY 4.0", "--note", "trained on nothing"),
    )
    assert "against the original on 3 images: labels_agree" in capsys.readouterr().out
    info = perceiver.info
    assert (info.outputs, info.classes.names) == (("labels", "label_uncertainty"), NAMES)
    assert info.license == "CC BY 4.0" and "trained on nothing" in info.training_data
    assert "seg.onnx" in info.training_data and info.canonical_focal is None
    image = picture(*SIZE)
    assert_labels(perceiver.perceive(image), at_size(network(pixels(image)).logits, SIZE))
    perceiver.verify()


def test_bgr_probabilities_in_nhwc_of_any_size_are_wrapped(adapted, tmp_path, classes, picture):
    network = segformer()

    class Other(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, x):  # BGR from 0 to 255 in NHWC
            logits = self.network((x / 255).permute(0, 3, 1, 2)).logits
            return logits.softmax(1).permute(0, 2, 3, 1)

    path = tmp_path / "seg.onnx"
    axes = {"pixels": {0: "n", 1: "h", 2: "w"}}
    names = {"input_names": ["pixels"], "output_names": ["out"], "dynamic_axes": axes}
    torch.onnx.export(
        Other().eval(),
        (torch.zeros(1, *SIZE, 3),),
        str(path),
        dynamo=False,
        opset_version=17,
        **names,
    )
    perceiver = adapted(
        *("--segmentation.file", path, "--segmentation.classes", classes),
        *("--segmentation.size", list(SIZE), "--segmentation.channels", "bgr"),
        *("--segmentation.factor", 1, "--segmentation.mean", [0, 0, 0]),
        *("--segmentation.std", [1, 1, 1], "--segmentation.scores", "probabilities"),
    )
    image = picture(*SIZE)
    bgr = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    p = at_size(network(bgr).logits.softmax(1), SIZE)
    assert_labels(perceiver.perceive(image), p.log())


@pytest.mark.parametrize("make", [dpt, depth_anything])
def test_disparity_becomes_metres(adapted, tmp_path, picture, make):
    size, network = (56, 112) if make is depth_anything else (64, 64), make()
    path = export(Plain(network), tmp_path / "depth.onnx", size)
    image = picture(*size)
    raw = at_size(network(pixels(image)).predicted_depth[:, None], size)[0].double().numpy()
    spread = float(np.ptp(raw))
    assert spread > 1e-2 * np.abs(raw).mean()  # the network is not constant
    scale, shift = 2 * spread, 0.1 * spread - float(raw.min())
    perceiver = adapted(
        *("--depth.file", path, "--depth.values", "disparity"),
        *("--depth.scale", scale, "--depth.shift", shift, "--depth.focal", 50.0),
        *("--depth.mean", list(MEAN), "--depth.std", list(STD), "--depth.max-depth", 15),
    )
    info = perceiver.info
    assert (info.outputs, info.classes, info.depth_range) == (("depth",), NO_CLASSES, (0, 15))
    assert info.canonical_focal == 50.0
    expected = scale / (raw + shift)  # 1.8 to 20 m
    seen = perceiver.perceive(image)
    assert seen.depth_std is None and seen.labels is None
    near = expected < 14.9
    assert 0.1 < near.mean() < 1 and (expected > 15.1).any()
    np.testing.assert_allclose(seen.depth[near], expected[near], rtol=1e-3)
    assert np.isposinf(seen.depth[expected > 15.1]).all()
    rescaled = perceiver.perceive(image, focal=100.0).depth
    np.testing.assert_allclose(rescaled[near], 2 * expected[near], rtol=1e-3)


def test_two_networks_of_different_sizes_share_a_file(adapted, tmp_path, classes, picture):
    seg, depth = segformer(), depth_anything(depth_estimation_type="metric", max_depth=20)
    paths = [
        export(Plain(seg), tmp_path / "seg.onnx", SIZE, opset_version=16),
        export(Plain(depth), tmp_path / "depth.onnx", (56, 56)),
    ]
    options = [f"--{task}.{k}" for task in ("segmentation", "depth") for k in ("mean", "std")]
    values = [list(v) for v in (MEAN, STD, MEAN, STD)]
    perceiver = adapted(
        *("--segmentation.file", paths[0], "--segmentation.classes", classes),
        *("--depth.file", paths[1], "--depth.values", "metres", "--depth.focal", 56.0),
        *(part for pair in zip(options, values, strict=True) for part in pair),
    )
    info = perceiver.info
    assert info.outputs == ("labels", "label_uncertainty", "depth")
    assert info.canonical_focal == pytest.approx(56 * math.sqrt(64 / 56 * 96 / 56))
    image = picture(*SIZE)
    seen = perceiver.perceive(image)
    assert_labels(seen, at_size(seg(pixels(image)).logits, SIZE))
    small = F.interpolate(pixels(image), (56, 56), mode="bilinear", align_corners=False)
    expected = at_size(depth(small).predicted_depth[:, None], SIZE)[0].numpy()
    assert np.ptp(expected) > 0.1
    sky = seen.labels == NAMES.index("sky")
    assert np.isposinf(seen.depth[sky]).all()
    np.testing.assert_allclose(seen.depth[~sky], expected[~sky], rtol=1e-3)


def test_hugging_face_folders_bring_their_facts(adapted, tmp_path, picture):
    size = (56, 112)
    seg, depth = segformer(), depth_anything()
    folders = [save(seg, tmp_path / "seg", SIZE), save(depth, tmp_path / "depth", size)]
    names = ",".join(map(str, folders))
    perceiver = adapted("--hugging-face", names, "--depth.scale", 3, "--depth.shift", 100)
    assert perceiver.info.classes.names == NAMES and perceiver.info.classes.sky == 2
    image = picture(*SIZE)
    seen = perceiver.perceive(image)
    assert_labels(seen, at_size(seg(pixels(image)).logits, SIZE))
    small = F.interpolate(pixels(image), size, mode="bilinear", align_corners=False)
    raw = at_size(depth(small).predicted_depth[:, None], SIZE)[0].numpy()
    land = seen.labels != 2
    np.testing.assert_allclose(seen.depth[land], (3 / (raw + 100))[land], rtol=1e-3)


ONE = "(float[1, 3, 8, 8] x)"
CASES = {
    "no file": (None, "there is no ONNX file at"),
    "not ONNX": (b"not a graph", "is not an ONNX file"),
    "classifier": (
        f"g {ONE} => (float[1, 192] y) {{y = Flatten(x)}}",
        "classifier of whole images",
    ),
    "channels": (f"g {ONE} => (float[1, 3, 8, 8] y) {{y = Relu(x)}}", "each of the 5 classes"),
    "label map": (
        f"g {ONE} => (int64[1, 8, 8] y) {{y = ArgMax <axis = 1, keepdims = 0> (x)}}",
        "label map .* without its final argmax",
    ),
    "two inputs": (
        "g (float[1, 3, 8, 8] x, float[1] z) => (float[1, 3, 8, 8] y) {y = Add(x, z)}",
        r"2 inputs \(x, z\)",
    ),
    "two outputs": (
        f"g {ONE} => (float[1, 3, 8, 8] y, float[1, 3, 8, 8] w) {{y = Relu(x) w = Abs(x)}}",
        "outputs y, w: choose one with --segmentation.output",
    ),
    "unknown layout": (
        "g (float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] y) {y = Relu(x)}",
        "no layout of an image",
    ),
    "no image": ("g (float[3, 8] x) => (float[3, 8] y) {y = Relu(x)}", r"the shape \(3, 8\)"),
    "unclear layout": (
        "g (float[1, C, H, W] x) => (float[1, C, H, W] y) {y = Relu(x)}",
        "does not show which axis .* --segmentation.layout",
    ),
    "dynamic": (
        "g (float[N, 3, H, W] x) => (float[N, 3, H, W] y) {y = Relu(x)}",
        r"images of any size.* give --segmentation.size '\[HEIGHT, WIDTH\]'",
    ),
    "batch": (
        "g (float[4, 3, 8, 8] x) => (float[4, 3, 8, 8] y) {y = Relu(x)}",
        "4 images at once",
    ),
    "double": ("g (double[1, 3, 8, 8] x) => (double[1, 3, 8, 8] y) {y = Relu(x)}", "double"),
}


@pytest.mark.parametrize(("content", "message"), CASES.values(), ids=CASES)
def test_a_network_that_cannot_be_wrapped_is_refused_in_a_sentence(
    adapt, tmp_path, classes, capsys, content, message
):
    path = tmp_path / "other.onnx"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        graph(path, content)
    assert adapt("--segmentation.file", path, "--segmentation.classes", classes) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "other.onnx" in error
    assert re.search(message, error), error
    assert not (tmp_path / "out").exists()


RELU = f"g {ONE} => (float[1, 3, 8, 8] y) {{y = Relu(x)}}"
PLANE = f"g {ONE} => (float[1, 1, 8, 8] y) {{y = ReduceMean <axes = [1]> (x)}}"


@pytest.mark.parametrize(
    ("text", "opset", "options", "message"),
    [
        (PLANE, 17, [], "say what it gives with --depth.values"),
        (PLANE, 17, ["--depth.values", "disparity"], "no metres: give --depth.scale"),
        (PLANE, 17, ["--depth.values", "relative"], "no metres: give --depth.scale"),
        (PLANE, 9, ["--depth.values", "metres"], "has opset 9, but at least 11"),
        (RELU, 17, ["--depth.values", "metres"], "depth has one value for each pixel"),
        (PLANE, 17, ["--depth.values", "metres", "--depth.size", "[4, 4]"], "leave out --depth.s"),
        (PLANE, 17, ["--depth.values", "far"], "must be one of metres, disparity, relative"),
        (PLANE, 17, ["--depth.layout", "nhwc"], "not nhwc of 3 channels"),
    ],
)
def test_depth_that_cannot_be_metres_is_refused(
    adapt, tmp_path, capsys, text, opset, options, message
):
    path = graph(tmp_path / "depth.onnx", text, opset)
    assert adapt("--depth.file", path, *options) == 1
    assert message in capsys.readouterr().err


def test_missing_weights_and_own_files_are_refused(adapt, tmp_path, classes, capsys):
    import onnx

    own = export(Plain(segformer()), tmp_path / "large.onnx", SIZE)
    options = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0}
    onnx.save(onnx.load(str(own)), str(own), **options)
    (tmp_path / "weights.bin").unlink()
    asked = ["--segmentation.file", own, "--segmentation.classes", classes]
    assert adapt(*asked) == 1
    assert "has its weights in weights.bin, which is not beside it" in capsys.readouterr().err
    from emu_core.runtime.dummy_model import make_dummy_model

    asked[1] = make_dummy_model(tmp_path / "own.onnx")
    assert adapt(*asked) == 1
    assert "a model file of this project already" in capsys.readouterr().err


def test_other_hugging_face_models_are_refused(adapt, tmp_path, capsys):
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "config.json").write_text(
        json.dumps({"model_type": "bert", "architectures": ["BertForMaskedLM"]})
    )
    assert adapt("--hugging-face", folder) == 1
    assert "is BertForMaskedLM, but this needs a model whose kind" in capsys.readouterr().err
    assert adapt("--hugging-face", tmp_path / "none") == 1
    assert "cannot be read" in capsys.readouterr().err
    assert adapt() == 1
    assert "there is no network to adapt" in capsys.readouterr().err
