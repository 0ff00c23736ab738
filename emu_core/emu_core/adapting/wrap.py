"""Check other networks, wrap them into a model file, and compare it with the originals."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
import torch.nn.functional as F

from emu_core.adapting.foreign import AdaptError, Foreign, read_foreign
from emu_core.adapting.graph import joined
from emu_core.adapting.options import AdaptOptions, Source
from emu_core.adapting.outputs import (
    Networks,
    check_depth,
    class_axis,
    depth_plane,
    to_metres,
)
from emu_core.data.sample import read_image
from emu_core.files import file_digest, write_atomically
from emu_core.labels import load_classes
from emu_core.runtime.fitting import resize
from emu_core.runtime.model_file import (
    ModelInfo,
    default_model,
    parse_metadata,
    read_info,
    to_metadata,
)
from emu_core.runtime.parity import Reference, encode_png, measure_errors, violations
from emu_core.runtime.perceiver import Perceiver
from emu_core.training.export import TOLERANCES, head_commit


def check(options: AdaptOptions) -> Networks:
    """Read the networks and check them against the options, before any work.

    Raises:
        AdaptError: A network cannot be wrapped so.
        ClassTableError: The class table is wrong.
    """
    seg, depth = options.segmentation, options.depth
    if seg.file is None and depth.file is None:
        raise AdaptError(
            "there is no network to adapt: give --segmentation.file, --depth.file or "
            "--hugging-face."
        )
    networks = Networks(None, None)
    if seg.file is not None:
        if seg.classes is None:
            raise AdaptError(
                f"{seg.file} does not say what its classes are: give --segmentation.classes, a "
                "class table's name or YAML file."
            )
        classes = load_classes(seg.classes)
        network = read_foreign(seg.file, seg, "segmentation")
        last = class_axis(network, seg, classes) == 3
        networks = replace(
            networks, segmentation=(network, seg), classes=classes, channels_last=last
        )
    if depth.file is not None:
        network = read_foreign(depth.file, depth, "depth")
        check_depth(network, depth)
        networks = replace(networks, depth=(network, depth))
    return networks


def wrap(networks: Networks, options: AdaptOptions) -> ModelInfo:
    """Write the model file, if it gives what the networks give on test images.

    Raises:
        AdaptError: The file differs from the originals, or ONNX Runtime cannot run it.
        DataError: An image is missing or damaged.
    """
    pictures = _pictures(options.images, networks.size)
    expected = [original(networks, picture) for picture in pictures]
    info = _info(networks, options, pictures[0], expected[0])
    path, metadata = options.output, to_metadata(info)
    parse_metadata(metadata, path)  # refuses values that no robot would accept
    worst: dict[str, float] = {}

    def write(part: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            model = joined(networks, Path(folder))
        onnx.helper.set_model_props(model, metadata)
        onnx.save(model, str(part))
        perceiver = Perceiver(part)
        for picture, maps in zip(pictures, expected, strict=True):
            errors = measure_errors(perceiver.perceive(picture).maps(), maps)
            for name, value in errors.items():
                pick = min if name.endswith("_agree") else max
                worst[name] = pick(value, worst.get(name, value))
        if wrong := violations(worst, TOLERANCES[info.precision]):
            names = " and ".join(str(network.path) for network, _ in networks.all)
            raise AdaptError(
                f"{path} was not written: on {len(pictures)} images, its maps differ from those "
                f"of {names} by {', '.join(wrong)}. Please report this with the file."
            )

    write_atomically(path, write)
    measured = ", ".join(f"{name} {value:.6g}" for name, value in worst.items())
    print(
        f"{path}: {path.stat().st_size / 1e6:.1f} MB, {networks.size[1]}×{networks.size[0]} "
        f"pixels, {', '.join(info.outputs)}; against the original on {len(pictures)} images: "
        f"{measured}"
    )
    return read_info(path)


def original(networks: Networks, picture: np.ndarray) -> dict[str, np.ndarray]:
    """Run the original networks, and compute the maps from their outputs in torch.

    Args:
        networks: The networks.
        picture: RGB, uint8 (H, W, 3), of the size of the model file.
    """
    size, maps = networks.size, {}
    if networks.segmentation is not None:
        network, seg = networks.segmentation
        scores = torch.from_numpy(network.run(prepared(network, seg, picture))).float()
        scores = scores.permute(0, 3, 1, 2) if networks.channels_last else scores
        scores = F.interpolate(scores, size, mode="bilinear", align_corners=False)[0]
        p = scores if seg.scores == "probabilities" else scores.softmax(0)
        entropy = torch.special.entr(p / p.sum(0)).sum(0) / math.log(len(p))
        maps["labels"] = scores.argmax(0).numpy().astype(np.uint8)
        maps["label_uncertainty"] = entropy.clamp(max=1).numpy()
    if networks.depth is not None:
        network, options = networks.depth
        values = depth_plane(torch.from_numpy(network.run(prepared(network, options, picture))))
        values = F.interpolate(values, size, mode="bilinear", align_corners=False)[0, 0]
        depth = to_metres(values, options).numpy()
        far = depth > options.max_depth
        if networks.classes.sky is not None:
            far |= maps["labels"] == networks.classes.sky
        depth = np.where(depth > 0, depth, np.float32(np.nan))
        maps["depth"] = np.where(far, np.float32(np.inf), depth)
    return maps


def prepared(network: Foreign, options: Source, picture: np.ndarray) -> np.ndarray:
    """Return the input of a network for a picture, (h, w, 3) in its type."""
    pixels = picture[..., ::-1] if options.channels == "bgr" else picture
    if network.size != picture.shape[:2]:
        planes = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]
        planes = F.interpolate(planes, network.size, mode="bilinear", align_corners=False)
        pixels = planes[0].permute(1, 2, 0).numpy()
    if network.dtype is np.uint8:
        return np.rint(pixels).astype(np.uint8)
    scale, shift = options.affine
    factors, offsets = (np.asarray(values, np.float32) for values in (scale, shift))
    return (pixels * factors + offsets).astype(network.dtype)


def _pictures(paths: Sequence[Path], size: tuple[int, int]) -> list[np.ndarray]:
    """Test images of a size: those given or the shipped one, its mirror image, and noise."""
    found = [read_image(path, cv2.IMREAD_COLOR) for path in paths]
    if not found:
        png = np.frombuffer(read_info(default_model()).reference.png, np.uint8)
        shipped = cv2.imdecode(png, cv2.IMREAD_COLOR)
        assert shipped is not None  # `read_info` has checked it
        found = [shipped]
    pictures = [np.ascontiguousarray(resize(image, size)[..., ::-1]) for image in found]
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    return [*pictures, np.ascontiguousarray(pictures[0][:, ::-1]), noise]


def _info(
    networks: Networks,
    options: AdaptOptions,
    picture: np.ndarray,
    expected: dict[str, np.ndarray],
) -> ModelInfo:
    focal = depth_range = None
    if networks.depth is not None:
        network, depth = networks.depth
        depth_range = (0.0, depth.max_depth)
        if depth.focal is not None:  # at the size of the file's input
            (height, width), (own_height, own_width) = networks.size, network.size
            focal = depth.focal * math.sqrt(height / own_height * width / own_width)
    origin = "; ".join(
        f"{network.path.name}, SHA-256 {file_digest(network.path)}" for network, _ in networks.all
    )
    half = any(network.dtype is np.float16 for network, _ in networks.all)
    note = options.note or "its training data is not known here"
    return ModelInfo(
        name=options.name or options.output.stem,
        classes=networks.classes,
        depth_range=depth_range,
        canonical_focal=focal,
        horizontal_fov=None,
        training_data=f"another project's network ({origin}): {note}",
        commit=head_commit(),
        metrics={},
        precision="fp16" if half else "fp32",
        tolerances=TOLERANCES,
        reference=Reference.sample(encode_png(picture), expected),
        license=options.license,
    )
