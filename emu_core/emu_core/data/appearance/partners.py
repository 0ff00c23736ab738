"""Combine a crop with a crop of another data set of a mixture: its look, or its objects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from emu_core.data.appearance.effects import as_bytes
from emu_core.data.augment import Augmentation, Prepared, crop, occurring_classes
from emu_core.data.mixture import Mixture

_BANDS = (0.005, 0.02)
"""Range of the half width of the low frequencies, as a share of the image's size (β of
arXiv 2004.05498, equation 4, which tries 0.01 to 0.09; larger values leave ringing)."""


def with_amplitudes(image: np.ndarray, style: np.ndarray, band: float) -> np.ndarray:
    """Replace the amplitudes of an image's low frequencies (Fourier domain adaptation).

    Args:
        image: RGB, uint8 (H, W, 3). Its phases and its high frequencies stay.
        style: Image of the same shape, whose amplitudes are taken.
        band: Half width of the square of frequencies, as a share of the smaller side.

    Source: arXiv 2004.05498, equation 4.
    """
    height, width = image.shape[:2]
    reach = int(band * min(height, width))
    own, other = (np.fft.rfft2(x.astype(np.float32), axes=(0, 1)) for x in (image, style))
    rows = np.r_[0 : reach + 1, height - reach : height]  # of the spectrum: 0, 1, … −1
    low = own[rows, : reach + 1]
    phase = low / np.maximum(np.abs(low), 1e-9)
    own[rows, : reach + 1] = np.abs(other[rows, : reach + 1]) * phase
    return as_bytes(np.fft.irfft2(own, s=(height, width), axes=(0, 1)))


def with_style(ready: Prepared, other: Prepared, rng: np.random.Generator) -> Prepared:
    """Return a crop with the low-frequency amplitudes of another."""
    band = float(np.exp(rng.uniform(*np.log(_BANDS))))
    return replace(ready, image=with_amplitudes(ready.image, other.image, band))


def with_classes(ready: Prepared, other: Prepared, rng: np.random.Generator) -> Prepared:
    """Paste the pixels of half of the classes of another crop, with labels and depth.

    Both have canonical depths, so that the pasted pixels keep their scale.
    """
    occurring = occurring_classes(other.labels)
    chosen = rng.permutation(occurring)[: (len(occurring) + 1) // 2]
    pasted = np.isin(other.labels, chosen)
    return replace(
        ready,
        image=np.where(pasted[..., None], other.image, ready.image),
        labels=np.where(pasted, other.labels, ready.labels),
        depth=np.where(pasted, other.depth, ready.depth),
        inside=ready.inside | pasted,
    )


class Partners:
    """Combines crops of a mixture with crops of its other data sets, with the shares of an option.

    Crops of data sets without `style` take amplitudes, or nothing; labelled crops of data sets
    with it take classes, or nothing. Each data set is drawn equally often, then one of its frames.

    Args:
        samples: The mixture.
        augmentation: Size and appearance.
    """

    def __init__(self, samples: Mixture, augmentation: Augmentation) -> None:
        self.samples, self.augmentation = samples, augmentation
        ends = np.cumsum([len(part) for part in samples.parts])
        frames = [
            range(end - len(part), end) for end, part in zip(ends, samples.parts, strict=True)
        ]
        self._styles = [f for f, style in zip(frames, samples.styles, strict=True) if style]
        self._objects = [
            f
            for f, part, style in zip(frames, samples.parts, samples.styles, strict=True)
            if not style and part.labelled
        ]

    def combine(self, index: int, ready: Prepared, rng: np.random.Generator) -> Prepared:
        """Combine the crop of the frame `index`, or return it as it is."""
        look, part = self.augmentation.appearance, self.samples.locate(index)[0]
        if not self.samples.styles[part]:
            share, change, others = look.fourier, with_style, self._styles
        else:
            labelled = self.samples.parts[part].labelled
            share, change, others = look.class_mix * labelled, with_classes, self._objects
        if share and rng.random() < share:
            return change(ready, self._crop(others, rng), rng)
        return ready

    def _crop(self, frames: list[range], rng: np.random.Generator) -> Prepared:
        index = int(rng.choice(frames[int(rng.integers(len(frames)))]))
        return crop(self.samples[index], self.augmentation, rng)
