"""Crops that take the look or the objects of another data set."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emu_core.data.appearance.effects import Appearance
from emu_core.data.appearance.partners import Partners, with_amplitudes, with_classes
from emu_core.data.augment import Augmentation, Prepared
from emu_core.data.config import Data, Source
from emu_core.labels import IGNORE

RNG = np.random.default_rng(2)
SMOOTH = np.clip(
    100 + 60 * np.sin(np.mgrid[:40, :64].sum(0) / 9.0)[..., None] + RNG.normal(0, 5, (40, 64, 3)),
    *(30, 225),
).astype(np.uint8)
OTHER = np.clip(SMOOTH[::-1, ::-1] * np.array([0.6, 0.8, 1.0]), 0, 255).astype(np.uint8)


def reference(image, style, band):
    """Fourier domain adaptation with complete, shifted spectra, channel by channel."""
    height, width = image.shape[:2]
    reach = int(band * min(height, width))
    rows = slice(height // 2 - reach, height // 2 + reach + 1)
    columns = slice(width // 2 - reach, width // 2 + reach + 1)
    result = np.empty(image.shape)
    for c in range(3):
        own, other = (np.fft.fftshift(np.fft.fft2(x[..., c])) for x in (image, style))
        amplitude, phase = np.abs(own), np.angle(own)
        amplitude[rows, columns] = np.abs(other)[rows, columns]
        spectrum = np.fft.ifftshift(amplitude * np.exp(1j * phase))
        result[..., c] = np.fft.ifft2(spectrum).real
    return np.clip(result, 0, 255)


@pytest.mark.parametrize("band", [0.0, 0.03, 0.09])
def test_low_frequencies_get_the_amplitudes_of_the_other_image(band):
    expected = reference(SMOOTH, OTHER, band)
    np.testing.assert_allclose(with_amplitudes(SMOOTH, OTHER, band), expected, atol=0.51)


def test_an_image_of_its_own_style_does_not_change():
    np.testing.assert_array_equal(with_amplitudes(SMOOTH, SMOOTH, 0.09), SMOOTH)


def prepared(value, labels, depth):
    image: np.ndarray = np.full((*labels.shape, 3), value, np.uint8)
    inside: np.ndarray = np.ones(labels.shape, bool)
    return Prepared(image, labels, np.full(labels.shape, depth, np.float32), 1.0, inside)


@pytest.mark.parametrize(("classes", "pasted"), [(1, 1), (2, 1), (3, 2), (8, 4)])
def test_half_of_the_classes_are_pasted_with_image_labels_and_depth(classes, pasted):
    labels = np.arange(64, dtype=np.uint8).reshape(8, 8) % classes
    labels[0] = IGNORE
    ready = prepared(10, np.full((8, 8), 18, np.uint8), 50.0)
    mixed = with_classes(ready, prepared(200, labels, 5.0), np.random.default_rng(0))
    new = mixed.image[..., 0] == 200
    assert len(np.unique(labels[new])) == pasted
    assert np.isin(labels, np.unique(labels[new])).sum() == new.sum()  # complete classes
    np.testing.assert_array_equal(mixed.labels, np.where(new, labels, 18))
    np.testing.assert_array_equal(mixed.depth, np.where(new, 5.0, 50.0))
    assert not new[0].any()  # pixels without a label are not pasted


@pytest.fixture
def mixture(streets):
    """Two data sets whose frames have different grey values: the second one is a style."""

    def opened(**shares):
        plain, style = streets("plain", depth=True), streets("style", mapping="sky")
        return Data(
            classes="cityscapes",
            mixture=(
                Source("folder", Path(plain)),
                Source("folder", Path(style), style=True),
                Source("folder", Path(streets("clip", labels=False)), unlabelled=True, style=True),
            ),
            augmentation=Augmentation(32, 64, appearance=Appearance(**shares)),
        )

    return opened


def test_frames_take_the_look_of_styles_and_styles_take_objects(mixture):
    data = mixture(fourier=1.0, class_mix=1.0)
    frames = data.open_training(unlabelled=True)
    assert frames.styles == [False, True, True]
    partners = Partners(frames, data.augmentation)
    labels: np.ndarray = np.full((32, 64), 3, np.uint8)
    ready = replace(prepared(200, labels, 7.0), depth=np.full((32, 64), np.nan, np.float32))
    rng = np.random.default_rng(0)
    restyled = partners.combine(0, ready, rng)
    assert restyled.image.mean() == pytest.approx(90, abs=1)  # the grey value of the styles
    np.testing.assert_array_equal(restyled.labels, labels)
    pasted = partners.combine(2, ready, rng)
    np.testing.assert_array_equal(pasted.labels, np.zeros((32, 64)))  # road
    assert np.isfinite(pasted.depth).all()
    assert partners.combine(4, ready, rng) is ready  # without labels


def test_without_shares_crops_stay(mixture):
    data = mixture()
    frames = data.open_training()
    ready = prepared(200, np.zeros((32, 64), np.uint8), 7.0)
    for index in range(len(frames)):
        combined = Partners(frames, data.augmentation).combine(index, ready, RNG)
        assert combined is ready


@pytest.mark.parametrize("name", ["fourier", "class_mix"])
@pytest.mark.parametrize("styles", [(), (False, False), (True, True)])
def test_a_mixture_without_style_is_refused(name, styles):
    sources = tuple(Source("folder", Path(f"{i}"), style=style) for i, style in enumerate(styles))
    augmentation = Augmentation(appearance=Appearance(**{name: 0.5}))
    with pytest.raises(ValueError, match=f"{name} needs data.mixture with `style: true`"):
        Data(mixture=sources, augmentation=augmentation)
