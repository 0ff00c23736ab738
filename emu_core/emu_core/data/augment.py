"""Convert samples to network input: joint resizing, crops and flips, and another appearance.

Depth is learned for one *canonical* focal length f_c (Metric3D, arXiv 2307.10984): an object at
depth Z in an image of focal length f looks as it would at depth Z·f_c/f through f_c. That is the
training target, with f in pixels of the resized image; the factor is undone at run time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf, sqrt

import cv2
import numpy as np

from emu_core.data.appearance.effects import Appearance, color_jitter, degrade, fog
from emu_core.data.sample import Sample
from emu_core.labels import IGNORE
from emu_core.options import Range, above, allowed, at_least

MIN_SIZE = 32
"""Smallest height and width that the networks take, pixels."""

JITTER = allowed(Range(0, 1))
"""Metadata of the strengths of `color_jitter`."""


@dataclass(frozen=True)
class Augmentation:
    """How samples become network input (docs/method.md, Training).

    Args:
        height: Rows of the network input.
        width: Columns of the network input.
        canonical_focal: f_c in pixels of the resized image, or None to learn plain metres.
        depth_limit: Targets beyond it are invalid, canonical metres; the range of the model.
        scale: Range of the random factor on top of the resizing to `image_width`.
        flip: Mirror half of the samples.
        jitter: Strengths of brightness, contrast, saturation and hue; see `color_jitter`.
        rescale_depth: Whether random scaling also scales the depth target: an object that is
            enlarged twice is learned at half its depth.
        image_width: Columns that the complete image is resized to before the crop, e.g. 2048 for
            crops of 768×768 from Cityscapes; None for `width`.
        class_crops: Share of the crops that are placed on a pixel of a random class of the frame,
            so that rare classes are seen more often.
        aspect: Range of a random factor on the height of the image over its width, at equal area:
            a camera of another aspect ratio is stretched to the network's input at run time.
        appearance: Shares of the crops whose appearance changes
    """

    height: int = field(default=256, metadata=at_least(MIN_SIZE))
    width: int = field(default=512, metadata=at_least(MIN_SIZE))
    canonical_focal: float | None = field(default=None, metadata=above(0))
    depth_limit: float = field(default=80.0, metadata=allowed(Range(0, inf, open_low=True)))
    scale: tuple[float, float] = field(
        default=(1.0, 1.0), metadata=allowed(Range(0, open_low=True, ascending=True))
    )
    flip: bool = False
    jitter: tuple[float, float, float, float] = field(
        default=(0.0, 0.0, 0.0, 0.0), metadata=JITTER
    )
    rescale_depth: bool = True
    image_width: int | None = field(default=None, metadata=at_least(1))
    class_crops: float = field(default=0.0, metadata=allowed(Range(0, 1)))
    aspect: tuple[float, float] = field(
        default=(1.0, 1.0), metadata=allowed(Range(0, open_low=True, ascending=True))
    )
    appearance: Appearance = field(default_factory=Appearance)


@dataclass(frozen=True)
class Prepared:
    """Network input and targets: image and labels as in `Sample`.

    Args:
        depth: Canonical metres, float32 (H, W), NaN where invalid.
        depth_factor: Metres per canonical metre.
        inside: False where a small image was padded, bool (H, W).
    """

    image: np.ndarray
    labels: np.ndarray
    depth: np.ndarray
    depth_factor: float
    inside: np.ndarray


Combine = Callable[[Prepared, np.random.Generator], Prepared]
"""Combines a crop with that of another frame, see `Partners.combine`."""


def prepare(
    sample: Sample,
    augmentation: Augmentation,
    rng: np.random.Generator | None = None,
    combine: Combine | None = None,
) -> Prepared:
    """Resize and crop a sample to the network's input size, and change its appearance.

    Args:
        sample: The sample.
        augmentation: Size, and what is random.
        rng: Source of all that is random; None: nothing is, and the appearance stays.
        combine: Combines the crop with another one, before the effects of lens and sensor.
    """
    ready = crop(sample, augmentation, rng)
    if rng is None:
        return ready
    look = augmentation.appearance
    if look.fog and rng.random() < look.fog and _is_dense(sample):
        metres = ready.depth * np.float32(ready.depth_factor)
        foggy = fog(ready.image, metres, rng)
        ready = replace(ready, image=np.where(ready.inside[..., None], foggy, 0))
    if combine is not None:
        ready = combine(ready, rng)
    image = degrade(color_jitter(ready.image, augmentation.jitter, rng), look, rng)
    return replace(ready, image=np.ascontiguousarray(image))


def crop(
    sample: Sample, augmentation: Augmentation, rng: np.random.Generator | None = None
) -> Prepared:
    """Resize, crop and flip a sample; without `rng`, nothing is random."""
    a = augmentation
    zoom = 1.0 if rng is None else _log_uniform(a.scale, rng)
    aspect = 1.0 if rng is None or a.aspect == (1.0, 1.0) else _log_uniform(a.aspect, rng)
    fit = (a.image_width or a.width) / sample.image.shape[1]
    image, labels, depth = _resized(sample, fit * zoom, aspect)
    maps = _padded(image, labels, depth, a.height, a.width)
    window = _window(maps[1], a, rng)
    image, labels, depth, inside = (map_[window] for map_ in maps)
    if rng is not None and a.flip and rng.random() < 0.5:
        image, labels, depth, inside = (x[:, ::-1] for x in (image, labels, depth, inside))
    factor = zoom if a.rescale_depth else 1.0
    if a.canonical_focal is not None and sample.focal is not None:
        factor *= float(np.sqrt(sample.focal[0] * sample.focal[1])) * fit / a.canonical_focal
    depth = depth / np.float32(factor)
    depth = np.where(depth <= a.depth_limit, depth, np.float32(np.nan))
    image, labels, inside = (np.ascontiguousarray(x) for x in (image, labels, inside))
    return Prepared(image, labels, depth, factor, inside)


def _log_uniform(limits: tuple[float, float], rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(*np.log(limits))))


def _is_dense(sample: Sample) -> bool:
    """Whether a sample has measured depth that is not sparse."""
    return sample.measured and not is_sparse(np.isfinite(sample.depth))


def _resized(
    sample: Sample, factor: float, aspect: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, labels and depth times `factor`, and as high over their width times `aspect`."""
    height, width = sample.image.shape[:2]
    size = (round(width * factor / sqrt(aspect)), round(height * factor * sqrt(aspect)))
    smooth = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return (
        cv2.resize(sample.image, size, interpolation=smooth),
        resize_truth(sample.labels, sample.labels != IGNORE, size, IGNORE, sample.depth),
        resize_truth(sample.depth, np.isfinite(sample.depth), size, np.nan, sample.depth),
    )


def resize_truth(
    values: np.ndarray,
    valid: np.ndarray,
    size: tuple[int, int],
    empty: float,
    depth: np.ndarray,
) -> np.ndarray:
    """Resize labels or depth without interpolation.

    Dense maps are resized by nearest neighbour. Sparse ones, e.g. of a lidar, keep their points:
    each valid pixel is moved to the pixel of the result that it falls into. Nearest neighbour
    would drop most points of a reduced map, and make blocks of points of an enlarged one.

    Args:
        values: Labels or metres, (H, W).
        valid: Pixels with ground truth, bool (H, W).
        size: (width, height) of the result.
        empty: Value of pixels without ground truth.
        depth: Metres, (H, W), NaN if unknown: of points that fall into one pixel, the nearest one
            is kept.
    """
    if values.shape == (size[1], size[0]) or not is_sparse(valid):
        return cv2.resize(values, size, interpolation=cv2.INTER_NEAREST_EXACT)
    rows, columns = np.nonzero(valid)
    far = np.where(np.isfinite(depth), depth, np.inf)[rows, columns]
    order = np.argsort(-far, kind="stable")  # the nearest point is written last
    rows, columns = rows[order], columns[order]
    result = np.full(size[::-1], empty, values.dtype)
    height, width = values.shape
    # The centre of a source pixel, in pixels of the result.
    target = (
        ((rows + 0.5) * size[1] / height).astype(int),
        ((columns + 0.5) * size[0] / width).astype(int),
    )
    result[target] = values[rows, columns]
    return result


def is_sparse(valid: np.ndarray) -> bool:
    """Return whether most valid pixels (H, W) are points, without valid neighbours."""
    count = int(np.count_nonzero(valid))
    blocks = valid[:-1, :-1] & valid[1:, :-1] & valid[:-1, 1:]
    return 2 * int(np.count_nonzero(blocks)) < count


def _padded(
    image: np.ndarray, labels: np.ndarray, depth: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pad below and to the right to at least height × width, and return also what is inside."""
    inside: np.ndarray = np.ones(image.shape[:2], np.uint8)
    pad = [max(height - image.shape[0], 0), max(width - image.shape[1], 0)]
    if any(pad):
        edges = (0, pad[0], 0, pad[1])
        image = cv2.copyMakeBorder(image, *edges, cv2.BORDER_CONSTANT, value=(0, 0, 0))
        labels = cv2.copyMakeBorder(labels, *edges, cv2.BORDER_CONSTANT, value=IGNORE)
        depth = cv2.copyMakeBorder(depth, *edges, cv2.BORDER_CONSTANT, value=float("nan"))
        inside = cv2.copyMakeBorder(inside, *edges, cv2.BORDER_CONSTANT, value=0)
    return image, labels, depth, inside.astype(bool)


def _window(
    labels: np.ndarray, a: Augmentation, rng: np.random.Generator | None
) -> tuple[slice, slice]:
    """Place the crop: in the centre; with a generator anywhere, or on a random class."""
    size, margin = (a.height, a.width), (labels.shape[0] - a.height, labels.shape[1] - a.width)
    if rng is None:
        corner = [r // 2 for r in margin]
    elif a.class_crops and rng.random() < a.class_crops and np.any(labels != IGNORE):
        pixel = _pixel_of_a_class(labels, rng)
        corner = [
            int(np.clip(p - rng.integers(n), 0, r))
            for p, n, r in zip(pixel, size, margin, strict=True)
        ]
    else:
        corner = [int(rng.integers(r + 1)) for r in margin]
    top, left = corner
    return slice(top, top + a.height), slice(left, left + a.width)


def occurring_classes(labels: np.ndarray) -> np.ndarray:
    """Return the train ids that occur in labels, uint8 (H, W), ascending."""
    return np.flatnonzero(np.bincount(labels.ravel(), minlength=256)[:IGNORE])


def _pixel_of_a_class(labels: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    """Draw one of the classes that occur, then row and column of one of its pixels."""
    pixels = np.flatnonzero(labels == rng.choice(occurring_classes(labels)))
    row, column = divmod(int(rng.choice(pixels)), labels.shape[1])
    return row, column
