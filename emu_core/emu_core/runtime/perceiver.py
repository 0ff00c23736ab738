"""Perceive an RGB image: classes, depth and their uncertainties, through a model file.

    perceiver = Perceiver()                              # the model that comes with emu_core
    seen = perceiver.perceive(rgb, focal=(fx, fy))       # rgb uint8 (h, w, 3)
    near = np.isfinite(seen.depth) & (seen.depth_std <= 0.1 * seen.depth)

Python only resizes the image and, for a known lens, multiplies the depth; the graph in the model
file computes the rest, see `emu_core.runtime.model_file`.

`depth_std` is +Inf where `depth` is +Inf, so a limit on `depth_std` alone excludes those pixels. A
limit on the ratio does not: Inf/Inf is NaN, and Inf ≤ 0.1·Inf is true. Test `np.isfinite(depth)`
first, as above. NaN (no estimate) fails every comparison.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from emu_core.runtime.batching import BATCHING, BatchEngine
from emu_core.runtime.engines import PROVIDERS, ProviderError, SessionEngine, open_engine
from emu_core.runtime.fastest import AUTO, Choice, choose_provider
from emu_core.runtime.fitting import FITS, Fitting, check_image, fit_image, fit_pixels
from emu_core.runtime.model_file import ModelError, default_model
from emu_core.runtime.verification import verify

__all__ = ["PROVIDERS", "Perceiver", "Perception", "ProviderError"]


@dataclass(frozen=True, eq=False)
class Request:
    """An image to perceive.

    Args:
        rgb, focal: See `Perceiver.perceive`.
        groups: See `Perceiver.perceive_groups`; None for no probabilities.
    """

    rgb: np.ndarray
    focal: tuple[float, float] | float | None = None
    groups: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Perception:
    """Maps of one camera image, all (H, W) and C-contiguous.

    A map that the model does not have (`ModelInfo.outputs`) is None: both of a task, or only
    `depth_std`.

    Attributes:
        labels: uint8, train ids, 255 = unlabelled.
        label_uncertainty: float32, entropy / ln C, 0 to 1.
        depth: float32, metres along Z (not along the ray); +Inf where it is certainly sky and
            beyond the model's range, NaN where there is no estimate.
        depth_std: float32, standard deviation in metres; +Inf and NaN where `depth` is.
    """

    labels: np.ndarray | None = None
    label_uncertainty: np.ndarray | None = None
    depth: np.ndarray | None = None
    depth_std: np.ndarray | None = None

    def maps(self) -> dict[str, np.ndarray]:
        """Return the maps that there are, by name."""
        return {name: values for name, values in vars(self).items() if values is not None}


class Perceiver:
    """A loaded model file.

    Args:
        model: Model file; None for the file that is installed with emu_core.
        provider: One of `PROVIDERS`, or "auto" for the fastest one, see `fastest`.
        threads, allow_cpu_fallback: See `engines.open_engine`, also for exceptions.
        fit: Resize mode for other aspect ratios, see `fitting.fit_image`.

    Attributes:
        info: Metadata of the file.
        provider: Provider that is really used.
        choice: What was measured for the provider "auto"; None for the others.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        provider: str = "cpu",
        threads: int | None = None,
        fit: str = "stretch",
        allow_cpu_fallback: bool = False,
    ) -> None:
        if provider not in (AUTO, *PROVIDERS):
            raise ValueError(
                f"Expected argument `provider` to be one of {', '.join((AUTO, *PROVIDERS))}, but "
                f"got {provider!r}"
            )
        if fit not in FITS:
            raise ValueError(f"Expected argument `fit` to be one of {FITS}, but got {fit!r}")
        if threads is not None and threads < 1:
            raise ValueError(f"Expected argument `threads` to be at least 1, but got {threads}")
        path = default_model() if model is None else Path(model)
        self._fit = fit
        self.choice: Choice | None = None
        if provider == AUTO:
            self.choice = choose_provider(path, threads)
            provider = self.choice.provider
        self._engine = open_engine(path, provider, threads, allow_cpu_fallback)
        self.info, self.provider = self._engine.info, self._engine.provider
        self._batch: BatchEngine | None = None

    def fitting(self, height: int, width: int) -> Fitting:
        """Geometry of an image of this size: scales and offsets for its camera_info."""
        return fit_image((height, width), self.info.input_size, self.info.output_size, self._fit)

    def perceive(
        self, rgb: np.ndarray, focal: tuple[float, float] | float | None = None
    ) -> Perception:
        """Compute the maps of one image; other threads run meanwhile.

        Args:
            rgb: uint8 (h, w, 3) of any size.
            focal: (fx, fy), or one value for both, in pixels of `rgb`. Depth and its standard
                deviation are multiplied by f / `info.canonical_focal`, where f is the geometric
                mean of fx and fy at the network's resolution. None leaves the depth of the
                canonical focal length. A model without one gives metres for every lens.

        Raises:
            ValueError: The image or the focal length is invalid.
        """
        return self.perceive_many([Request(rgb, focal)])[0][0]

    def perceive_groups(
        self,
        rgb: np.ndarray,
        groups: np.ndarray,
        focal: tuple[float, float] | float | None = None,
    ) -> tuple[Perception, np.ndarray]:
        """Compute the maps of one image, and the probabilities of groups of classes.

        Args:
            groups: bool (C, k).

        Returns:
            The maps; and the probabilities, float32 (H, W, k), 0 to 1.

        Raises:
            ValueError: As `perceive`, or the model has no logits.
        """
        perception, probabilities = self.perceive_many([Request(rgb, focal, groups)])[0]
        assert probabilities is not None
        return perception, probabilities

    def perceive_many(
        self, requests: Sequence[Request]
    ) -> list[tuple[Perception, np.ndarray | None]]:
        """Compute the maps of several images, together where `use_batches` found that faster.

        Returns:
            The maps of each; and its probabilities, None without groups.

        Raises:
            ValueError: As `perceive_groups`.
        """
        logits = any(request.groups is not None for request in requests)
        if logits and self.info.logits_size is None:
            raise ValueError(f"{self.info.path} has no output 'logits': export the model again")
        focals = [_check_focal(r.focal) if r.focal is not None else None for r in requests]
        fittings, images = [], []
        for request in requests:
            check_image(request.rgb)
            fittings.append(self.fitting(*request.rgb.shape[:2]))
            images.append(fit_pixels(request.rgb, fittings[-1], self.info.input_size))
        if self._batch is not None and self._batch.least <= len(images) <= self._batch.count:
            results = self._batch.run(images, logits)
        else:
            results = [self._run(image, logits) for image in images]
        each = zip(results, fittings, focals, requests, strict=True)
        return [self._finish(*one) for one in each]

    def _finish(
        self,
        results: list[np.ndarray],
        fitting: Fitting,
        focal: tuple[float, float] | None,
        request: Request,
    ) -> tuple[Perception, np.ndarray | None]:
        """Make the maps of a request from the results of the engine."""
        maps = dict(zip(self.info.outputs, results, strict=False))
        if request.groups is not None:
            logits = results[-1][0]
            size = self.info.output_size
            maps["probabilities"] = group_probabilities(logits, size, request.groups)
        if (fitting.height, fitting.width) != self.info.output_size:
            rows = slice(fitting.crop_top, fitting.crop_top + fitting.height)
            columns = slice(fitting.crop_left, fitting.crop_left + fitting.width)
            maps = {n: np.ascontiguousarray(values[rows, columns]) for n, values in maps.items()}
        if focal is not None and self.info.canonical_focal is not None:
            ratio = np.float32(fitting.network_focal(*focal) / self.info.canonical_focal)
            for name in ("depth", "depth_std"):
                if name in maps:
                    maps[name] *= ratio
        probabilities = maps.pop("probabilities", None)
        return Perception(**maps), probabilities

    def use_batches(self, count: int) -> str:
        """Let `perceive_many` compute images together where that is faster; say what was found.

        Args:
            count: Largest number of images.
        """
        self._batch = None
        if self.provider not in BATCHING or not isinstance(self._engine, SessionEngine):
            return f"images one after the other: '{self.provider}' gains nothing by batches"
        try:
            batch = BatchEngine(self._engine, count)
        except ModelError as error:
            return f"images one after the other: batches cannot be used: {error}"
        one, all_together = batch.milliseconds
        times = f"{all_together:.1f} ms for {count} images together, {one:.1f} ms for one"
        if batch.least > count:
            return f"images one after the other: {times}"
        self._batch = batch
        return f"from {batch.least} images on together: {times}"

    @property
    def least_batch(self) -> int | None:
        """Number of images from which on they are computed together; None for never."""
        return None if self._batch is None else self._batch.least

    def verify(self) -> dict[str, float]:
        """Run the file's reference image, see `verification.verify`."""
        return verify(self._engine)

    def _run(self, image: np.ndarray, logits: bool = False) -> list[np.ndarray]:
        return self._engine.run(image, logits)  # the benchmark times it


def usable_depth(depth: np.ndarray, depth_std: np.ndarray | None, max_ratio: float) -> np.ndarray:
    """Whether depth is finite and depth_std (if there is any) at most `max_ratio` · depth."""
    usable = np.isfinite(depth)
    if depth_std is not None:  # +Inf ≤ +Inf is true, so isfinite is needed, too
        usable &= depth_std <= max_ratio * depth
    return usable


_STRIP = 8
"""Rows of the softmax at a time: their scores of all classes fit into a processor's cache."""


def group_probabilities(
    logits: np.ndarray, size: tuple[int, int], groups: np.ndarray
) -> np.ndarray:
    """Sum the probabilities of the classes of each group; float32 (H, W, k), 0 to 1.

    The logits are enlarged before the softmax, as for the model's labels.

    Args:
        logits: float32 (C, h, w).
        size: (H, W).
        groups: bool (C, k).
    """
    enlarged = [cv2.resize(p, size[::-1], interpolation=cv2.INTER_LINEAR) for p in logits]
    weights = np.vstack([groups.T, np.ones(len(groups))]).astype(np.float32)  # the last: all
    result = np.empty((*size, groups.shape[1]), np.float32)
    for top in range(0, size[0], _STRIP):
        rows = slice(top, top + _STRIP)
        flat = np.stack([plane[rows] for plane in enlarged]).reshape(len(logits), -1)
        flat -= flat.max(axis=0)
        cv2.exp(flat, flat)
        sums = weights @ flat  # (k + 1, pixels)
        result[rows] = (sums[:-1] / sums[-1]).T.reshape(-1, *result.shape[1:])
    return result


def _check_focal(focal: tuple[float, float] | float) -> tuple[float, float]:
    try:
        fx, fy = (float(f) for f in np.broadcast_to(np.asarray(focal, np.float64), 2))
    except (TypeError, ValueError):
        fx = fy = math.nan
    if not (0 < fx < math.inf and 0 < fy < math.inf):
        raise ValueError(
            f"Expected argument `focal` to be one or two positive focal lengths, but got {focal!r}"
        )
    return fx, fy
