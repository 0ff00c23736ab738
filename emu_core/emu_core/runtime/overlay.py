"""Colour images of the maps: class colours over the camera image, colour scales, a panel."""

from __future__ import annotations

import cv2
import numpy as np

from emu_core.labels import ClassTable
from emu_core.runtime.fitting import resize
from emu_core.runtime.perceiver import Perception

DEPTH_SPAN = (2.0, 80.0)
STD_SPAN = (0.1, 20.0)
"""Metres at the ends of the logarithmic colour scales."""

TILE = (512, 256)
"""Width and height of one image in a panel, pixels."""

_COLUMN, _ROW = 132, 24
_LEGEND_COLUMNS, _LEGEND_ROWS = 2, 10
_BAR = 24
_WHITE, _GREY = (240, 240, 240), (24, 24, 28)
_NOTHING = np.full((1, 2, 3), _GREY, np.uint8)


def colorize_labels(labels: np.ndarray, table: ClassTable) -> np.ndarray:
    """Train ids, uint8 (H, W), as colours of the table, uint8 (H, W, 3) RGB; no class is black."""
    return cv2.LUT(cv2.cvtColor(labels, cv2.COLOR_GRAY2RGB), table.colors()[np.newaxis])


def blend(
    rgb: np.ndarray,
    labels: np.ndarray,
    label_uncertainty: np.ndarray,
    table: ClassTable,
    alpha: float = 0.5,
) -> np.ndarray:
    """Blend class colours over an image; the more certain a pixel, the more opaque its colour.

    Args:
        rgb: uint8 (h, w, 3) of any size; it is resized to (H, W).
        labels: Train ids, uint8 (H, W).
        label_uncertainty: 0 to 1, float32 (H, W).
        table: Classes of the labels.
        alpha: The opacity is alpha·(1 − uncertainty), and 0 where there is no class.

    Returns:
        RGB, uint8 (H, W, 3).
    """
    rgb = resize(rgb, labels.shape)
    opacity = np.float32(alpha) * (1 - label_uncertainty)
    opacity[labels >= len(table)] = 0
    return cv2.blendLinear(rgb, colorize_labels(labels, table), 1 - opacity, opacity)


def colorize_depth(depth: np.ndarray) -> np.ndarray:
    """Metres, float (H, W), on a logarithmic scale from red (near) to blue (far), RGB uint8.

    +Inf (sky, beyond range) is white, NaN (no estimate) is black.
    """
    colors = _on_scale(depth, DEPTH_SPAN, cv2.COLORMAP_TURBO, reverse=True)
    colors[np.isposinf(depth)] = 255
    return colors


def colorize_depth_std(depth_std: np.ndarray) -> np.ndarray:
    """Colour metres, float (H, W), on a log scale from black (certain) to yellow, RGB uint8.

    +Inf (no depth) is grey, and NaN is black.
    """
    colors = _on_scale(depth_std, STD_SPAN, cv2.COLORMAP_INFERNO)
    colors[np.isposinf(depth_std)] = 96
    return colors


def colorize_label_uncertainty(uncertainty: np.ndarray) -> np.ndarray:
    """Entropy / ln C, float 0 to 1 (H, W), from black (certain) to yellow, RGB uint8."""
    return _mapped((255 * np.clip(uncertainty, 0, 1)).astype(np.uint8), cv2.COLORMAP_INFERNO)


def panel(
    rgb: np.ndarray, perception: Perception, table: ClassTable, caption: tuple[str, ...] = ()
) -> np.ndarray:
    """Show all maps in one image: camera, semantics, depth, both uncertainties, legend.

    The tile of a map that the model does not have is grey, and its title says so.

    Args:
        rgb: Camera image, uint8 (h, w, 3).
        perception, table: Its maps, and the classes of the labels.
        caption: Lines for the legend, e.g. the time of the frame.

    Returns:
        RGB uint8, three by two tiles of size `TILE`, each under a title bar.
    """
    p = perception
    semantics = uncertainty = depth = std = _NOTHING
    if p.labels is not None and p.label_uncertainty is not None:
        semantics = blend(rgb, p.labels, p.label_uncertainty, table, 0.75)
        uncertainty = colorize_label_uncertainty(p.label_uncertainty)
    if p.depth is not None:
        depth = colorize_depth(p.depth)
    if p.depth_std is not None:
        std = colorize_depth_std(p.depth_std)
    tiles = (
        ("camera", rgb),
        ("semantics", semantics),
        ("depth", depth),
        ("class uncertainty (entropy / ln C)", uncertainty),
        ("depth uncertainty (std)", std),
    )
    cells = [_titled(t if x is not _NOTHING else f"no {t}", _fit_tile(x)) for t, x in tiles]
    cells.append(_titled("legend", _legend(table, p.labels, caption)))
    return np.vstack([np.hstack(cells[:3]), np.hstack(cells[3:])])


def _on_scale(
    values: np.ndarray, span: tuple[float, float], colors: int, reverse: bool = False
) -> np.ndarray:
    low, high = np.log(span)
    known = np.isfinite(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.where(known, np.clip((np.log(values) - low) / (high - low), 0, 1), 0)
    result = _mapped((255 * (1 - part if reverse else part)).astype(np.uint8), colors)
    result[~known] = 0
    return result


def _mapped(codes: np.ndarray, colors: int) -> np.ndarray:
    return cv2.cvtColor(cv2.applyColorMap(codes, colors), cv2.COLOR_BGR2RGB)


def _fit_tile(image: np.ndarray) -> np.ndarray:
    width, height = TILE
    scale = min(width / image.shape[1], height / image.shape[0])
    size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST_EXACT
    small = cv2.resize(image, size, interpolation=interpolation)
    tile = np.zeros((height, width, 3), np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    tile[top : top + size[1], left : left + size[0]] = small
    return tile


def _titled(title: str, tile: np.ndarray) -> np.ndarray:
    bar = np.full((_BAR, tile.shape[1], 3), _GREY, np.uint8)
    _write(bar, title, 8, 16)
    return np.vstack([bar, tile])


def _legend(table: ClassTable, labels: np.ndarray | None, caption: tuple[str, ...]) -> np.ndarray:
    """Draw colours and names of the classes (if too many, the most frequent) and the scales."""
    width, height = TILE
    image = np.full((height, width, 3), _GREY, np.uint8)
    seen = np.zeros(0, np.uint8) if labels is None else labels.ravel()
    pixels = np.bincount(seen, minlength=256)[: len(table)]
    most_frequent = np.argsort(-pixels, kind="stable")[: _LEGEND_COLUMNS * _LEGEND_ROWS]
    for place, i in enumerate(sorted(most_frequent.tolist())):
        column, row = divmod(place, _LEGEND_ROWS)
        x, y = 10 + column * _COLUMN, row * _ROW
        entry = image[y : y + _ROW, x : x + _COLUMN]  # a view, which cuts long names off
        entry[4:20, :18] = table.palette[i]
        _write(entry, table.names[i], 24, 17)
    x0, x1 = 290, width - 14
    ramp = np.linspace(0, 1, x1 - x0, dtype=np.float32)[None].repeat(14, 0)
    scales = (
        ("depth", colorize_depth(_from_unit(ramp, DEPTH_SPAN)), DEPTH_SPAN, " m"),
        ("depth std", colorize_depth_std(_from_unit(ramp, STD_SPAN)), STD_SPAN, " m"),
        ("class uncertainty", colorize_label_uncertainty(ramp), (0, 1), ""),
    )
    for i, (name, bar, (low, high), unit) in enumerate(scales):
        y = 24 + 46 * i
        _write(image, f"{name}: {low:g} to {high:g}{unit}", x0, y - 6)
        image[y : y + 14, x0:x1] = bar
    sky = "" if table.sky is None else "sky or "
    _write(image, f"white: {sky}beyond range", x0, 150)
    for i, line in enumerate(caption):
        _write(image, line, x0, 178 + 20 * i)
    return image


def _from_unit(ramp: np.ndarray, span: tuple[float, float]) -> np.ndarray:
    """Map 0…1 to a logarithmic span."""
    low, high = np.log(span)
    return np.exp(low + (high - low) * ramp).astype(np.float32)


def _write(image: np.ndarray, text: str, x: int, y: int) -> None:
    cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _WHITE, 1, cv2.LINE_AA)
