"""Light, weather and camera of a drive.

Images are formed in linear light. Haze follows Koschmieder's law, I = J·t + A·(1 − t) with
t = exp(−β·z). At night the renderer draws surface colours without light; headlights and street
lamps are added here, using depth. Shot noise, read noise and the sRGB curve are applied last.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from emu_core.data.appearance.effects import KOSCHMIEDER, SKY_DISTANCE, SRGB_GAMMA
from emu_core.drives.layout import Rng
from emu_core.drives.objects import textures

_MIN_SKY_HAZE = 0.01  # by day, weaker haze (β, 1/m) does not change the sky


@dataclass(frozen=True)
class PinholeCamera:
    """Camera of a drive: size and focal length in pixels, height in metres, angles in radians."""

    width: int
    height: int
    focal: float
    mount_height: float
    pitch: float
    roll: float
    yaw: float

    @property
    def centre(self) -> tuple[float, float]:
        """Principal point (u0, v0) in pixels; pixel centres are whole numbers."""
        return (self.width - 1) / 2, (self.height - 1) / 2

    def offsets(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the pixels' distances from the principal point, float32 (W,) and (H,1)."""
        u0, v0 = self.centre
        u = np.arange(self.width, dtype=np.float32) - u0
        return u, (np.arange(self.height, dtype=np.float32) - v0)[:, None]

    @property
    def fovy(self) -> float:
        """Vertical field of view, degrees."""
        return float(np.degrees(2 * np.arctan(self.height / 2 / self.focal)))


HORIZONTAL_FOV = (56.0, 76.0)  # range of the horizontal field of view, degrees


def draw_camera(rng: Rng, width: int, height: int) -> PinholeCamera:
    """Draw focal length, mounting height and angles at random."""
    return PinholeCamera(
        width=width,
        height=height,
        focal=_draw_focal(rng, HORIZONTAL_FOV, width),
        mount_height=float(rng.uniform(1.25, 1.9)),
        pitch=float(np.radians(rng.uniform(-3.0, 5.0))),
        roll=float(np.radians(rng.normal(0, 0.5))),
        yaw=float(np.radians(rng.normal(0, 1.2))),
    )


AROUND_FOV = (56.0, 96.0)  # the same for cameras that look in any direction


def look_around(rng: Rng, camera: PinholeCamera) -> PinholeCamera:
    """Turn a camera in any direction, as those at the sides and the rear of a car."""
    return replace(
        camera,
        focal=_draw_focal(rng, AROUND_FOV, camera.width),
        mount_height=float(rng.uniform(1.2, 2.2)),
        yaw=float(rng.uniform(-np.pi, np.pi)),
    )


def _draw_focal(rng: Rng, views: tuple[float, float], width: int) -> float:
    """Draw a horizontal field of view, degrees, and return its focal length in pixels."""
    fov = np.radians(rng.uniform(*views))
    return float(width / 2 / np.tan(fov / 2))


@dataclass(frozen=True)
class Conditions:
    """Sun, sky, air and sensor of a drive; angles in radians, `haze` is β in 1/m.

    `sun_warmth` is 0 for white to 1 for orange; `white_balance` is the sensor's RGB gains.
    """

    night: bool
    sun_elevation: float
    sun_azimuth: float
    sun: float
    ambient: float
    clouds: float
    sun_warmth: float
    haze: float
    exposure: float
    white_balance: tuple[float, float, float]
    shot_noise: float
    read_noise: float
    blur: float
    vignette: float
    seed: int

    @property
    def sun_direction(self) -> np.ndarray:
        """Unit vector from the ground towards the sun."""
        flat, azimuth = np.cos(self.sun_elevation), self.sun_azimuth
        up = np.sin(self.sun_elevation)
        return np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), up])

    @property
    def horizon(self) -> np.ndarray:
        """sRGB colour of the sky at the horizon and of the air, 0…1."""
        if self.night:
            return np.array([0.05, 0.055, 0.08])
        grey = np.array([0.8, 0.82, 0.85])
        blue = np.array([0.72, 0.81, 0.93])
        low_sun = np.array([0.93, 0.8, 0.66])
        clear = blue * (1 - self.sun_warmth) + low_sun * self.sun_warmth
        return grey * self.clouds + clear * (1 - self.clouds)

    @property
    def zenith(self) -> np.ndarray:
        """sRGB colour of the sky overhead, 0…1."""
        if self.night:
            return np.array([0.01, 0.012, 0.025])
        grey, blue = np.array([0.62, 0.65, 0.7]), np.array([0.25, 0.45, 0.78])
        return grey * self.clouds + blue * (1 - self.clouds)


def draw_conditions(rng: Rng) -> Conditions:
    """Draw the conditions of a day: clear to overcast, with light haze at most."""
    clouds = float(np.clip(rng.beta(0.7, 0.7), 0, 1))
    elevation = float(np.radians(rng.uniform(12, 68)))
    gains = 1 + 0.04 * rng.normal(size=3)
    return Conditions(
        night=False,
        sun_elevation=elevation,
        sun_azimuth=float(rng.uniform(0, 2 * np.pi)),
        sun=float((1 - 0.9 * clouds) * rng.uniform(0.55, 0.75)),
        ambient=float(0.36 + 0.3 * clouds + rng.normal(0, 0.03)),
        clouds=clouds,
        sun_warmth=float(np.clip(1.2 - np.degrees(elevation) / 25, 0, 0.9)),
        haze=float(np.exp(rng.uniform(np.log(4e-4), np.log(6e-3)))),
        exposure=float(np.exp(rng.normal(0.22, 0.16))),
        white_balance=(float(gains[0]), float(gains[1]), float(gains[2])),
        shot_noise=float(rng.uniform(0.004, 0.016)),
        read_noise=float(rng.uniform(0.001, 0.006)),
        blur=float(rng.uniform(0.3, 0.7)),
        vignette=float(rng.uniform(0, 0.25)),
        seed=int(rng.integers(2**31)),
    )


def dense_haze(rng: Rng, day: Conditions) -> Conditions:
    """Change a day to fog: visibility of 40 to 130 m, hardly any sun."""
    visibility = rng.uniform(40, 130)
    return replace(day, haze=float(KOSCHMIEDER / visibility), clouds=1.0, sun=0.05, ambient=0.62)


def at_night(rng: Rng, day: Conditions) -> Conditions:
    """Change a day to a night: headlights and street lamps, and a noisier sensor."""
    dark = replace(day, night=True, sun=0.0, ambient=1.0, sun_warmth=0.0, haze=min(day.haze, 2e-3))
    return replace(
        dark,
        exposure=float(rng.uniform(0.9, 1.6)),
        shot_noise=float(rng.uniform(0.02, 0.05)),
        read_noise=float(rng.uniform(0.006, 0.015)),
        blur=float(rng.uniform(0.5, 0.9)),
    )


def sun_tint(warmth: float) -> np.ndarray:
    """RGB colour of sunlight (3,): white (warmth 0) to orange (warmth 1)."""
    return np.array([1.0, 1.0 - 0.12 * warmth, 1.0 - 0.35 * warmth])


def sky_faces(conditions: Conditions, size: int = 256) -> np.ndarray:
    """Paint the sky as a cube map, uint8 (6·size, size, 3): right, left, up, down, front, back."""
    rng = np.random.default_rng(conditions.seed)
    noise = textures.noise(rng, 512, 4, 6, 0.55)
    a = (np.arange(size) + 0.5) / size * 2 - 1
    u, v = np.meshgrid(a, -a)
    one = np.ones_like(u)
    directions = [(one, v, -u), (-one, v, u), (u, one, -v), (u, -one, v)]
    directions += [(u, v, one), (-u, v, -one)]
    faces = []
    for x, up, z in directions:
        length = np.sqrt(x * x + up * up + z * z)
        height = np.clip(up / length, 0, 1)
        fade = height[..., None] ** 0.6
        color = conditions.horizon * (1 - fade) + conditions.zenith * fade
        scale = 1 / np.maximum(height, 0.06)
        column = (x / length * scale * 34).astype(int) % 512
        row = (z / length * scale * 34).astype(int) % 512
        cover = np.clip(noise[row, column] * 0.6 + conditions.clouds * 1.6 - 0.75, 0, 1)
        cover = (cover * np.clip(height * 7, 0, 1))[..., None]
        white = np.array([0.93, 0.94, 0.95]) if not conditions.night else conditions.horizon
        color = color * (1 - cover) + white * (0.78 + 0.22 * (1 - conditions.clouds)) * cover
        faces.append(color)
    return textures.finish(np.concatenate(faces) * 255)


def expose(
    image: np.ndarray,
    depth: np.ndarray,
    glow: np.ndarray,
    lamps: np.ndarray,
    camera: PinholeCamera,
    conditions: Conditions,
    rng: Rng,
) -> np.ndarray:
    """Turn a clean rendering into the image that the camera records.

    Args:
        image: rendering, uint8 sRGB (H,W,3); at night, surface colours without light.
        depth: metres along z (H,W), +Inf for sky.
        glow: light that the surface itself emits, 0…1 (H,W).
        lamps: street lamps in camera coordinates (N,3), x right, y down, z forward, m.
        camera: only size and focal length are used.
        conditions: light, air and sensor.
        rng: draws the sensor noise.

    Returns:
        Image, uint8 sRGB (H,W,3).
    """
    light: np.ndarray = (image.astype(np.float32) / 255) ** SRGB_GAMMA
    if conditions.night:
        light = _light_at_night(light, depth, glow, lamps, camera)
    light = _add_haze(light, depth, conditions)
    light *= conditions.exposure * np.array(conditions.white_balance, np.float32)
    light = cv2.GaussianBlur(light, (0, 0), conditions.blur)
    light *= _vignette(camera, conditions.vignette)
    noise = rng.standard_normal(light.shape, np.float32)
    variance = np.maximum(light, 0) * conditions.shot_noise**2 + conditions.read_noise**2
    light = light + noise * np.sqrt(variance)
    return textures.finish(255 * np.clip(light, 0, 1) ** (1 / SRGB_GAMMA) + 0.5)


def _add_haze(light: np.ndarray, depth: np.ndarray, conditions: Conditions) -> np.ndarray:
    """Apply Koschmieder's law to linear light (H,W,3)."""
    airlight = conditions.horizon.astype(np.float32) ** SRGB_GAMMA
    distance = np.minimum(depth, SKY_DISTANCE)
    transmission = np.exp(-conditions.haze * distance).astype(np.float32)[..., None]
    if not conditions.night and conditions.haze < _MIN_SKY_HAZE:
        transmission[np.isinf(depth)] = 1
    return light * transmission + airlight * (1 - transmission)


def _vignette(camera: PinholeCamera, strength: float) -> np.ndarray:
    u, v = (offset / camera.width for offset in camera.offsets())
    return 1 - strength * 3 * (u**2 + v**2)[..., None]  # (H,W,1)


def _light_at_night(
    light: np.ndarray,
    depth: np.ndarray,
    glow: np.ndarray,
    lamps: np.ndarray,
    camera: PinholeCamera,
) -> np.ndarray:
    """Add the light of headlights, street lamps and glowing surfaces to linear colours (H,W,3)."""
    distance = np.minimum(depth, 300.0).astype(np.float32)
    x, y = (offset / camera.focal * distance for offset in camera.offsets())
    points = np.stack([x, y, distance], -1)  # (H,W,3), m: x right, y down, z forward
    normals = np.cross(np.gradient(points, axis=1), np.gradient(points, axis=0))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-9
    normals *= -np.sign(np.sum(normals * points, -1, keepdims=True))  # towards the camera
    irradiance = np.full((*depth.shape, 3), 0.012, np.float32)
    irradiance *= np.array([0.7, 0.8, 1.2], np.float32)
    for side in (-0.6, 0.6):
        irradiance += _headlight(points, normals, np.array([side, 0.7, 0.0], np.float32))
    for lamp in lamps:
        irradiance += _street_lamp(points, normals, lamp.astype(np.float32))
    sky = np.isinf(depth)[..., None]
    shine = light * (glow[..., None] * 3.0)
    lit = np.where(sky, light, light * irradiance + shine)
    lit = lit + 0.6 * cv2.GaussianBlur(shine, (0, 0), 5)
    return lit + 0.25 * cv2.GaussianBlur(shine, (0, 0), 20)


def _headlight(points: np.ndarray, normals: np.ndarray, lamp: np.ndarray) -> np.ndarray:
    """Compute the light (H,W,3) of a low beam at `lamp` (3,): wide, and dim above the horizon."""
    offset = points - lamp
    distance = np.linalg.norm(offset, axis=-1)
    tilt = offset[..., 1] / np.maximum(offset[..., 2], 0.1) - 0.02
    beam = np.exp(-((offset[..., 0] / np.maximum(offset[..., 2], 0.1) / 0.42) ** 2))
    beam *= np.exp(-((tilt / np.where(tilt > 0, 0.22, 0.06)) ** 2))
    cosine = np.clip(-np.sum(offset * normals, -1) / (distance + 1e-6), 0.05, 1)
    color = np.array([1.0, 0.97, 0.9], np.float32)
    return (beam * cosine * 55 / (distance**2 + 12))[..., None] * color


def _street_lamp(points: np.ndarray, normals: np.ndarray, lamp: np.ndarray) -> np.ndarray:
    """Compute the light (H,W,3) of a sodium lamp at `lamp` (3,), equal in all directions."""
    offset = lamp - points
    distance = np.linalg.norm(offset, axis=-1)
    cosine = np.clip(np.sum(offset * normals, -1) / (distance + 1e-6), 0.03, 1)
    return (cosine * 9 / (distance**2 + 4))[..., None] * np.array([1.0, 0.78, 0.5], np.float32)
