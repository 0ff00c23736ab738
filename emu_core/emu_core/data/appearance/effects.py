"""Effects of light, weather, lens, sensor and compression on one image, with random strengths.

Every effect takes and returns RGB, uint8 (H, W, 3), and leaves its argument unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from emu_core.options import Range, allowed

SHARE = allowed(Range(0, 1))
"""Metadata of a share of the crops."""

SRGB_GAMMA = 2.2
"""Exponent that approximates the sRGB curve."""

SKY_DISTANCE = 450.0
"""Distance of the sky in the formula of fog, metres."""

KOSCHMIEDER = 3.9
"""β times visibility, the distance where a black object's contrast is 2 %."""


@dataclass(frozen=True)
class Appearance:
    """Shares of the training crops that each effect changes, 0 to 1.

    Args:
        exposure: Gamma and brightness of another exposure.
        blur: Blur of the lens or of motion.
        noise: Shot and read noise of the sensor.
        compression: JPEG with low quality.
        fog: Fog by depth (Koschmieder's law), in frames with a depth for almost every pixel.
        night: Little light, a blue tint and strong noise.
        texture: A random pattern over the image, mixed or multiplied (in the spirit of PixMix,
            arXiv 2112.05135): no weather, but what weather does to the look of surfaces.
        fourier: Low-frequency amplitudes of a frame of the mixture's data sets with `style`, in
            frames of the others (Fourier domain adaptation, arXiv 2004.05498).
        class_mix: Pixels of half of the classes of a frame of the others, pasted into a frame of
            a data set with `style` (after DACS, arXiv 2007.08702, with ground truth).
    """

    exposure: float = field(default=0.0, metadata=SHARE)
    blur: float = field(default=0.0, metadata=SHARE)
    noise: float = field(default=0.0, metadata=SHARE)
    compression: float = field(default=0.0, metadata=SHARE)
    fog: float = field(default=0.0, metadata=SHARE)
    night: float = field(default=0.0, metadata=SHARE)
    texture: float = field(default=0.0, metadata=SHARE)
    fourier: float = field(default=0.0, metadata=SHARE)
    class_mix: float = field(default=0.0, metadata=SHARE)


def degrade(image: np.ndarray, appearance: Appearance, rng: np.random.Generator) -> np.ndarray:
    """Apply each effect of light, lens, sensor and compression with its share."""
    effects = (
        (appearance.night, night),
        (appearance.texture, texture),
        (appearance.exposure, exposure),
        (appearance.blur, blur),
        (appearance.noise, noise),
        (appearance.compression, compression),
    )
    for share, effect in effects:
        if share and rng.random() < share:
            image = effect(image, rng)
    return image


def color_jitter(
    image: np.ndarray, strengths: tuple[float, float, float, float], rng: np.random.Generator
) -> np.ndarray:
    """Change brightness, contrast, saturation (factors 1 ± strength) and hue (turns ± strength/2).

    Args:
        image: RGB, uint8 (H, W, 3).
        strengths: Strengths of the four, in that order. torchvision's ColorJitter counts hue in
            turns: its hue h is the strength 2h here.
        rng: Source of the uniformly distributed factors.
    """
    if not any(strengths):
        return image
    brightness, contrast, saturation = (rng.uniform(1 - s, 1 + s) for s in strengths[:3])
    hue = rng.uniform(-strengths[3], strengths[3]) * 0.5
    pixels: np.ndarray = image.astype(np.float32) * brightness
    mean = float(pixels.mean())
    pixels = (pixels - mean) * contrast + mean
    grey = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    pixels = grey[..., None] + (pixels - grey[..., None]) * saturation
    pixels = np.clip(pixels, 0, 255)
    if strengths[3]:
        hsv = cv2.cvtColor(pixels / 255, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0] + 360 * hue) % 360
        pixels = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255
    return as_bytes(pixels)


def exposure(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Multiply by 0.6 to 1.6, after a gamma of 0.6 to 1.65."""
    gamma, gain = np.exp(rng.uniform(-0.5, 0.5)), np.exp(rng.uniform(np.log(0.6), np.log(1.6)))
    table = as_bytes(255 * gain * (np.arange(256) / 255) ** gamma)
    return table[image]


def blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur like a lens (Gaussian, σ of 0.4 to 1.6 pixels) or a motion of 3 to 9 pixels."""
    if rng.random() < 0.5:
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.6))
    kernel = line_kernel(int(rng.integers(3, 10)), rng.uniform(0, np.pi))
    return cv2.filter2D(image, -1, kernel)


def noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add shot noise (σ up to 0.05·√x) and read noise (σ up to 0.03), x and σ of 0 to 1."""
    x = image.astype(np.float32) / 255
    return as_bytes(255 * (x + _sensor_noise(x, rng.uniform(0, 0.05), rng.uniform(0, 0.03), rng)))


def compression(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Encode as JPEG with a quality of 25 to 90, and decode again."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 91))]
    content = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)[1]
    decoded = cv2.imdecode(content, cv2.IMREAD_COLOR)
    assert decoded is not None  # it was encoded above
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


def night(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Leave 3 to 25 % of the light, tint it, and add the noise of a high gain."""
    light = to_light(image)
    tint = 1 + rng.uniform(0, 0.3) * np.array([-0.6, -0.2, 0.6], np.float32)
    light = light * tint * np.float32(np.exp(rng.uniform(np.log(0.03), np.log(0.25))))
    light = light + _sensor_noise(light, rng.uniform(0.01, 0.05), rng.uniform(0, 0.004), rng)
    return from_light(light)


def texture(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mix a pattern into the image, or multiply it with one; at most half of the light is new.

    The pattern is noise that was blurred along a random direction, with details of 1 to 12 pixels,
    turned into patches of a random sharpness.
    """
    height, width = image.shape[:2]
    fine, long = np.exp(rng.uniform(0, np.log(4))), np.exp(rng.uniform(0, np.log(12)))
    size = (int(np.ceil(width / fine)), int(np.ceil(height / fine)))
    pattern: np.ndarray = rng.standard_normal(size[::-1], np.float32)
    pattern = cv2.filter2D(pattern, -1, line_kernel(max(3, int(long)), rng.uniform(0, np.pi)))
    pattern = (pattern - pattern.mean()) / (pattern.std() + 1e-6)
    limit, sharpness = rng.uniform(-1, 1.5), np.exp(rng.uniform(0, np.log(8)))
    mask = cv2.resize(1 / (1 + np.exp(-sharpness * (pattern - limit))), (width, height))
    strength = rng.uniform(0.1, 0.5) * mask[..., None]
    light: np.ndarray = image.astype(np.float32) / 255
    if rng.random() < 0.5:
        light = light + strength * (rng.uniform(0, 1, 3).astype(np.float32) - light)
    else:
        light = light * (1 + np.float32(rng.choice([-1, 1])) * strength)
    return as_bytes(255 * light)


def fog(image: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add fog with a visibility of 30 to 400 m: I = J·t + A·(1 − t), t = exp(−β·z).

    Koschmieder's law for each pixel in linear light, with β = `KOSCHMIEDER` / visibility.

    Args:
        image: RGB, uint8 (H, W, 3).
        depth: Metres, (H, W); NaN is the sky.
        rng: Source of visibility and colour.
    """
    visibility = np.exp(rng.uniform(np.log(30), np.log(400)))
    air = rng.uniform(0.5, 0.95) + rng.uniform(-0.03, 0.03, 3)
    distance = np.where(np.isfinite(depth), depth, SKY_DISTANCE)
    seen = np.exp(-KOSCHMIEDER / visibility * distance).astype(np.float32)[..., None]
    light = to_light(image)
    light = light * seen + air.astype(np.float32) ** SRGB_GAMMA * (1 - seen)
    return from_light(light)


def line_kernel(length: int, angle: float) -> np.ndarray:
    """Return a line of a length in pixels at an angle in radians, whose sum is 1."""
    reach = 0.5 * (length - 1) * np.array([np.cos(angle), np.sin(angle)])
    kernel: np.ndarray = np.zeros((length, length), np.float32)
    for along in np.linspace(-1, 1, 4 * length):  # dense enough to leave no gap
        column, row = np.rint(0.5 * (length - 1) + along * reach).astype(int)
        kernel[row, column] = 1
    return kernel / kernel.sum()


def to_light(image: np.ndarray) -> np.ndarray:
    """Return the linear light, 0 to 1, of an image, uint8."""
    return (image.astype(np.float32) / 255) ** SRGB_GAMMA


def from_light(light: np.ndarray) -> np.ndarray:
    """Return the image, uint8, of linear light; values outside of 0 to 1 are clipped."""
    return as_bytes(255 * np.clip(light, 0, 1) ** (1 / SRGB_GAMMA))


def as_bytes(pixels: np.ndarray) -> np.ndarray:
    """Round values of 0 to 255 to uint8; values outside are clipped."""
    return np.clip(pixels + 0.5, 0, 255).astype(np.uint8)


def _sensor_noise(x: np.ndarray, shot: float, read: float, rng: np.random.Generator) -> np.ndarray:
    deviation = np.sqrt(shot**2 * np.clip(x, 0, 1) + read**2)
    return deviation * rng.standard_normal(x.shape, np.float32)
