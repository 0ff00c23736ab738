"""Procedural textures of all surfaces, painted from a random generator.

Each painter returns an RGB tile, uint8 (H,W,3), row 0 at the top. Tiles of surfaces that show
several tiles side by side repeat without a seam.
"""

from __future__ import annotations

import cv2
import numpy as np

Rng = np.random.Generator
Color = tuple[float, float, float]


def noise(rng: Rng, size: int, cells: int, octaves: int = 4, gain: float = 0.5) -> np.ndarray:
    """Make tileable fractal noise, float32 (size,size), of zero mean and unit deviation."""
    total = np.zeros((size, size), np.float32)
    weight = 1.0
    for _ in range(octaves):
        if cells > size:
            break
        lattice = rng.normal(size=(cells, cells)).astype(np.float32)
        padded = np.pad(lattice, 2, mode="wrap")
        scale = size / cells
        big = cv2.resize(padded, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        start = round(2 * scale)
        total += weight * big[start : start + size, start : start + size]
        cells, weight = cells * 2, weight * gain
    return (total - total.mean()) / (total.std() + 1e-6)


def paint(base: np.ndarray | Color, grain: np.ndarray, strength: float) -> np.ndarray:
    """Modulate a colour or an image by noise (H,W); float32 (H,W,3), 0…255."""
    return np.asarray(base, np.float32) * (1 + strength * grain[..., None])


def finish(image: np.ndarray) -> np.ndarray:
    """Clip to uint8."""
    return np.clip(image, 0, 255).astype(np.uint8)


def jitter(rng: Rng, color: Color, amount: float = 0.1) -> np.ndarray:
    """Vary a colour at random: brightness by about `amount`, hue by about a third of `amount`."""
    factor = 1 + amount * (rng.normal() + 0.35 * rng.normal(size=3))
    return np.clip(np.array(color) * factor, 0, 255)


def asphalt(rng: Rng, size: int = 512) -> np.ndarray:
    """Paint a road surface without marks: grain, stains, repaired patches, cracks."""
    grey = rng.uniform(62, 108)
    tint = np.array([1.0, 1.0, rng.uniform(0.96, 1.06)]) * grey
    image = paint(tint, noise(rng, size, 128, 2), 0.07)
    image *= (1 + 0.06 * noise(rng, size, 4))[..., None]
    for _ in range(rng.integers(0, 4)):  # repaired patches
        x, y = rng.integers(0, size - 80, 2)
        w, h = rng.integers(30, 80, 2)
        image[y : y + h, x : x + w] *= rng.uniform(0.72, 1.15)
    cracks = np.zeros((size, size), np.uint8)
    for _ in range(rng.integers(2, 7)):
        walk = rng.integers(0, size, 2) + np.cumsum(rng.normal(0, 9, (24, 2)), axis=0)
        cv2.polylines(cracks, [walk.astype(np.int32)], False, 255, 1)
    image[cracks > 0] *= 0.7
    return finish(image)


def road(rng: Rng, width: float, lines: list[tuple[float, str]], length: float) -> np.ndarray:
    """Paint the full width of a road with its lane marks.

    Args:
        width: metres across (columns of the tile).
        lines: (offset from the left edge in metres, "solid" | "dashed" | "rail").
        length: metres along (rows of the tile); the tile has two dashes.
    """
    size = 1024
    base = cv2.resize(asphalt(rng), (size, size), interpolation=cv2.INTER_LINEAR)
    image: np.ndarray = base.astype(np.float32)
    image *= (1 + 0.05 * noise(rng, size, 256, 1))[..., None]
    worn = np.clip(0.85 + 0.25 * noise(rng, size, 32, 3), 0.25, 1)[..., None]
    mark = (222.0, 186.0, 80.0) if rng.random() < 0.15 else (226.0, 226.0, 220.0)
    for offset, kind in lines:
        half = 0.075 if kind != "rail" else 0.06
        x0, x1 = (round((offset + side * half) / width * size) for side in (-1, 1))
        rows = np.ones((size, 1, 1), np.float32)
        if kind == "dashed":
            rows[np.arange(size) % (size // 2) >= size // 5] = 0
        color = np.array((52.0, 50.0, 50.0) if kind == "rail" else mark)
        alpha = rows * (worn[:, x0:x1] if kind != "rail" else 0.9)
        image[:, x0:x1] = image[:, x0:x1] * (1 - alpha) + color * alpha
    if rng.random() < 0.6:  # manholes
        for _ in range(rng.integers(1, 3)):
            centre = (int(rng.integers(100, size - 100)), int(rng.integers(100, size - 100)))
            axes = (round(0.32 / width * size), round(0.32 / length * size))
            cv2.ellipse(image, centre, axes, 0, 0, 360, (48.0, 46.0, 45.0), -1)
            cv2.ellipse(image, centre, axes, 0, 0, 360, (92.0, 90.0, 88.0), 2)
    return finish(image)


def zebra(rng: Rng) -> np.ndarray:
    """Paint a pedestrian crossing: 10 bars along the road.

    The tile has few rows: with many, the renderer would also blur the columns at a distance.
    """
    rows, columns = 32, 512
    image = cv2.resize(asphalt(rng, 256), (columns, rows), interpolation=cv2.INTER_AREA)
    worn = np.clip(0.9 + 0.2 * noise(rng, columns, 32)[:rows], 0.3, 1)[..., None]
    bars = (np.arange(columns) // 26 % 2 == 0)[None, :, None] * np.ones((rows, 1, 1))
    return finish(image * (1 - bars * worn) + 225.0 * bars * worn)


def pavers(rng: Rng, size: int = 256) -> np.ndarray:
    """Paint sidewalk slabs with joints."""
    base = jitter(rng, [(158, 152, 146), (140, 138, 138), (165, 142, 126)][rng.integers(3)], 0.06)
    image = paint(base, noise(rng, size, 32), 0.06)
    step = int(rng.choice([32, 64, 128]))
    shade = np.kron(rng.normal(0, 0.05, (size // step,) * 2), np.ones((step, step)))
    image *= (1 + shade)[..., None]
    image[::step] *= 0.7
    image[:, ::step] *= 0.7
    return finish(image)


def ground(rng: Rng, size: int = 256) -> np.ndarray:
    """Paint grass, from green to dry."""
    green, dry = np.array([92.0, 118.0, 58.0]), np.array([140.0, 128.0, 78.0])
    mix = rng.uniform(0, 0.75)
    image = paint(green * (1 - mix) + dry * mix, noise(rng, size, 64, 3), 0.2)
    bare = np.clip(noise(rng, size, 6) - 1.1, 0, 1)[..., None]
    return finish(image * (1 - bare) + np.array([120.0, 98.0, 72.0]) * bare)


def foliage(rng: Rng, size: int = 256) -> np.ndarray:
    """Paint leaves with dark gaps and bright tips, from blue-green to autumn colours."""
    hues = [(70, 104, 42), (56, 90, 48), (98, 116, 48), (52, 78, 40), (142, 108, 46)]
    color = jitter(rng, hues[rng.choice(5, p=[0.3, 0.25, 0.2, 0.17, 0.08])], 0.1)
    image = paint(color, noise(rng, size, 12, 4, 0.85), 0.28)
    leaves = noise(rng, size, 64, 2)
    image *= np.where(leaves > 0.9, 1.4, np.where(leaves < -0.8, 0.5, 1.0))[..., None]
    return finish(image)


def bark(rng: Rng, size: int = 64) -> np.ndarray:
    """Paint the bark of a tree trunk."""
    lattice = noise(rng, size, 16, 2)
    stretched = cv2.resize(lattice[: size // 4], (size, size))
    return finish(paint(jitter(rng, (96, 78, 62), 0.15), stretched, 0.25))


def masonry(rng: Rng, rows: int, size: int = 256) -> np.ndarray:
    """Paint bricks or blocks with mortar, `rows` per tile."""
    color = [(142, 76, 58), (168, 104, 78), (120, 84, 72), (176, 160, 132), (150, 148, 144)]
    base = jitter(rng, color[rng.integers(5)], 0.1)
    height = -(-size // rows)
    image: np.ndarray = np.empty((rows * height, size, 3), np.float32)
    mortar = 168.0
    width = height * 2 if rows > 8 else height * 2 - height // 2
    count = max(size // width, 1)
    for row in range(rows):
        shift = (row % 2) * width // 2
        shades = 1 + 0.12 * rng.normal(size=count)
        line = np.roll(np.repeat(shades, -(-size // count))[:size], shift)
        course = image[row * height : (row + 1) * height]
        course[:] = base * line[None, :, None]
        course[:, (np.arange(count) * (size // count) + shift) % size] = mortar
        course[0] = mortar * 0.9
    image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    return finish(paint(image, noise(rng, size, 32), 0.06))


def concrete(rng: Rng, size: int = 256) -> np.ndarray:
    """Paint concrete with stains and joints."""
    image = paint(jitter(rng, (150, 148, 142), 0.08), noise(rng, size, 4, 6), 0.08)
    image[:: size // 2] *= 0.75
    image[:, :: size // 2] *= 0.75
    return finish(image)


def boards(rng: Rng, size: int = 256) -> np.ndarray:
    """Paint a wooden or metal fence: boards with dark gaps, rails behind them."""
    color = [(128, 92, 58), (150, 118, 84), (92, 96, 90), (188, 186, 178), (70, 92, 66)]
    base = jitter(rng, color[rng.integers(5)], 0.1)
    count = int(rng.choice([8, 16]))
    width = size // count
    image = paint(base, noise(rng, size, 16), 0.08)
    image *= (1 + 0.1 * np.repeat(rng.normal(size=count), width))[None, :, None]
    mask = np.arange(size) % width < max(width // 4, 2)
    image[:, mask] *= 0.22
    for rail in (size // 5, size * 3 // 4):
        image[rail : rail + size // 16][:, mask] *= 3.2
    return finish(image)


def tiles(rng: Rng, size: int = 256) -> np.ndarray:
    """Paint roof tiles."""
    base = jitter(rng, [(146, 72, 52), (96, 72, 64), (82, 84, 90)][rng.integers(3)], 0.1)
    image = paint(base, noise(rng, size, 32), 0.1)
    image *= (0.75 + 0.35 * (np.arange(size) % 16 / 16))[:, None, None]
    return finish(image)


def facade(rng: Rng, size: int = 512) -> np.ndarray:
    """Paint a facade, four bays by four floors: brick, plaster, concrete or glass."""
    style = rng.choice(["brick", "plaster", "concrete", "glass"], p=[0.3, 0.38, 0.2, 0.12])
    if style == "brick":
        bricks = cv2.resize(masonry(rng, 32), (size, size), interpolation=cv2.INTER_AREA)
        wall: np.ndarray = bricks.astype(np.float32)
    else:
        colors = [(214, 202, 176), (196, 176, 146), (204, 204, 200), (182, 122, 100)]
        colors += [(160, 172, 178), (222, 214, 204), (178, 180, 150)]
        base = (142, 142, 140) if style != "plaster" else colors[rng.integers(7)]
        wall = paint(jitter(rng, base, 0.07), noise(rng, size, 3, 6), 0.04)
    cell = size // 4
    wide = {"glass": 0.9, "concrete": rng.uniform(0.55, 0.92)}.get(style, rng.uniform(0.3, 0.52))
    tall = {"glass": 0.86}.get(style, rng.uniform(0.45, 0.66))
    frames = [(228, 226, 220), (70, 60, 54), (120, 116, 110)]
    frame = jitter(rng, frames[rng.integers(3)])
    w, h = int(cell * wide), int(cell * tall)
    x0, y0 = (cell - w) // 2, int((cell - h) * 0.4)
    for row in range(4):
        if style == "brick" and rng.random() < 0.7:
            wall[row * cell : row * cell + 5] = 172.0
        for column in range(4):
            x, y = column * cell + x0, row * cell + y0
            window(rng, wall[y : y + h, x : x + w], frame)
            if style in ("brick", "plaster"):  # sill and its shadow
                wall[y + h : y + h + 5, max(x - 4, 0) : x + w + 4] = frame * 0.8
                wall[y + h + 5 : y + h + 8, max(x - 4, 0) : x + w + 4] *= 0.7
    return finish(wall)


def window(rng: Rng, view: np.ndarray, frame: np.ndarray) -> None:
    """Paint one window into `view` (h,w,3) in place: reflected sky, frame, curtain, blind."""
    h, w = view.shape[:2]
    sky = np.linspace(1.15, 0.6, h)[:, None, None]
    view[:] = np.array([74.0, 88.0, 102.0]) * sky * rng.uniform(0.45, 1.35)
    if rng.random() < 0.4:  # curtain
        side = int(w * rng.uniform(0.15, 0.5))
        view[:, :side] = view[:, :side] * 0.35 + np.array([190.0, 184.0, 170.0]) * 0.55
    if rng.random() < 0.25:  # blind
        view[: int(h * rng.uniform(0.2, 0.7))] = np.array([186.0, 182.0, 172.0])
    edge = max(min(h, w) // 16, 2)
    view[:edge] = view[-edge:] = frame
    view[:, :edge] = view[:, -edge:] = frame
    view[:, w // 2 - edge // 2 : w // 2 + edge // 2 + 1] = frame


def shopfront(rng: Rng) -> np.ndarray:
    """Paint a ground floor of 12 m × 4 m: shop windows, doors and sign boards; 512 × 170."""
    image = paint(jitter(rng, (150, 140, 130), 0.2), noise(rng, 512, 16)[:170], 0.05)
    edges = np.sort(rng.choice(np.arange(100, 420, 80), 3, replace=False))
    boards = [(150, 40, 36), (40, 70, 120), (44, 96, 64), (200, 170, 70)]
    for x0, x1 in zip([0, *edges], [*edges, 512], strict=True):
        image[12:42, x0 + 6 : x1 - 6] = jitter(rng, boards[rng.integers(4)], 0.2)
        letters = rng.random((1, (x1 - x0) // 6)) > 0.45
        text = cv2.resize(letters.astype(np.uint8), (x1 - x0 - 40, 12), interpolation=0)
        image[21:33, x0 + 20 : x1 - 20][text > 0] = 235.0
        window(rng, image[50:158, x0 + 8 : x1 - 8], jitter(rng, (80, 76, 72), 0.3))
        if rng.random() < 0.5:
            image[60:170, x0 + 12 : x0 + 46] = jitter(rng, (96, 62, 44), 0.3)
    return finish(image)


def wheel(rng: Rng, spokes: bool = False) -> np.ndarray:
    """Paint the side of a wheel: tyre, rim or spokes, hub; 128 × 128."""
    image = np.full((128, 128, 3), 26, np.uint8)
    if spokes:
        cv2.circle(image, (64, 64), 57, (150, 152, 155), -1)
        for angle in np.arange(0, np.pi, np.pi / 9):
            dx, dy = int(56 * np.cos(angle)), int(56 * np.sin(angle))
            cv2.line(image, (64 - dx, 64 - dy), (64 + dx, 64 + dy), (84, 86, 88), 2)
    else:
        cv2.circle(image, (64, 64), 42, (172, 174, 178), -1)
        for angle in np.arange(0, 2 * np.pi, 2 * np.pi / int(rng.choice([5, 6, 8]))):
            centre = (int(64 + 26 * np.cos(angle)), int(64 + 26 * np.sin(angle)))
            cv2.circle(image, centre, 8, (50, 50, 54), -1)
    cv2.circle(image, (64, 64), 8, (90, 92, 96), -1)
    return image


def sign(rng: Rng, shape: str) -> np.ndarray:
    """Paint a traffic sign, 96 × 96; `shape` is round, square or triangle."""
    image = np.full((96, 96, 3), 232, np.uint8)
    red, blue, yellow = (196, 28, 36), (26, 74, 164), (238, 196, 40)
    kind = rng.integers(3)
    if shape == "round":
        ring, fill = [(red, (240, 240, 240)), (blue, blue), (red, red)][kind]
        image[:] = ring
        cv2.circle(image, (48, 48), 34, fill, -1)
        if kind == 2:
            cv2.rectangle(image, (20, 40), (76, 56), (240, 240, 240), -1)
        else:
            ink = (20, 20, 20) if kind == 0 else (240, 240, 240)
            text = str(rng.integers(2, 9) * 10)
            cv2.putText(image, text, (24, 60), cv2.FONT_HERSHEY_SIMPLEX, 1.1, ink, 4)
    elif shape == "square":
        image[:] = [blue, yellow, (240, 240, 240)][kind]
        ink = (240, 240, 240) if kind == 0 else (24, 24, 24)
        cv2.rectangle(image, (6, 6), (89, 89), ink, 3)
        cv2.circle(image, (48, 30), 9, ink, -1)
        cv2.line(image, (48, 38), (48, 62), ink, 8)
        cv2.line(image, (48, 60), (34, 82), ink, 6)
        cv2.line(image, (48, 60), (62, 82), ink, 6)
    else:
        image[:] = red
        triangle = np.array([[48, 70], [20, 20], [76, 20]], np.int32)
        cv2.fillPoly(image, [triangle], (240, 240, 240))
        cv2.line(image, (48, 28), (48, 48), (20, 20, 20), 6)
    return image


def cloth(rng: Rng, size: int = 64) -> np.ndarray:
    """Paint cloth, plain or striped and nearly white; the tint of the material colours it."""
    image = paint((225, 225, 225), noise(rng, size, 16), 0.08)
    kind = rng.integers(4)
    if kind == 1:
        image[np.arange(size) // 8 % 2 == 0] *= 0.6
    elif kind == 2:
        image[:, np.arange(size) // 8 % 2 == 0] *= 0.75
    return finish(image)


def plain() -> np.ndarray:
    """Paint a uniform, nearly white surface; the tint of the material colours it."""
    return np.full((16, 16, 3), 235, np.uint8)
