"""Find the image files of a folder, read the headers of PNG and JPEG files, and find their end."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import cv2
import numpy as np

from emu_core.files import visible_files

SUFFIXES = (".png", ".jpg", ".jpeg")
"""Suffixes of images, in the order of preference; capital letters count as well."""

_ORIENTATION = 0x0112  # EXIF tag; 1 is upright
_SHORT = 3  # EXIF type of 16-bit numbers
_EXIF = 0x8769  # EXIF tag: where the directory of the camera's settings begins
_FILM_FOCAL = 0xA405  # EXIF tag of FocalLengthIn35mmFilm
_SIZES = {3: 2, 4: 4}  # EXIF type -> bytes of a whole number
_HEAD = 1 << 16  # bytes; a JPEG's EXIF segment is no longer than that

_PNG_START = b"\x89PNG\r\n\x1a\n"
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_SCAN = 0xDA  # marker of a JPEG's pixels
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_TAIL = 64  # bytes that are decoded in the place of missing ones

_known_flags: set[int] = set()  # that this process has warned of


def find_images(folder: str | Path, end: str = "") -> dict[str, Path]:
    """Find the images below a folder, of all depths, also behind symbolic links.

    Hidden files and folders are left out. A frame with several images, e.g. a .jpg beside a .png,
    is one frame: the first of `SUFFIXES` is taken, and a warning names both.

    Args:
        folder: The folder.
        end: What the names end with before the suffix, e.g. "_leftImg8bit", in any case; images
            without it are counted in a warning.

    Returns:
        Path below the folder, with "/" and without `end` and suffix → file, sorted.
    """
    found: dict[str, list[Path]] = {}
    others: list[Path] = []
    for path in visible_files(Path(folder)):
        if path.suffix.lower() not in SUFFIXES:
            continue
        name = path.stem[: len(path.stem) - len(end)]
        if name and path.stem.lower().endswith(end.lower()):
            key = path.relative_to(folder).with_name(name).as_posix()
            found.setdefault(key, []).append(path)
        else:
            others.append(path)
    images = {key: sorted(found[key], key=_preference) for key in sorted(found)}
    if several := [paths for paths in images.values() if len(paths) > 1]:
        first, second, *_ = several[0]
        warnings.warn(
            f"{len(several)} frames in {folder} have several images, e.g. {second} beside "
            f"{first}: the {first.suffix} files are read. Delete the others.",
            stacklevel=2,
        )
    if others:
        warnings.warn(
            f"{len(others)} images in {folder} are ignored, e.g. {others[0]}: their names do not "
            f"end with {end} before the suffix.",
            stacklevel=2,
        )
    return {key: paths[0] for key, paths in images.items()}


def existing_variant(path: Path) -> Path:
    """Return a path, or the one with its suffix in capital letters if only that exists."""
    capital = path.with_suffix(path.suffix.upper())
    return capital if not path.is_file() and capital.is_file() else path


def warn_of_orientation(path: Path, code: bytes) -> None:
    """Warn once if an image has an EXIF flag that asks viewers to rotate or mirror it.

    All images are read as they are stored: labels and depth have the pixels of the stored image,
    and the camera that a robot sends has no such flag.
    """
    flag = orientation(code)
    if flag != 1 and flag not in _known_flags:
        _known_flags.add(flag)
        warnings.warn(
            f"{path} has the EXIF orientation {flag}: this image and all others are read as "
            "stored, not rotated, as the node reads them. If they lie on their side, rotate their "
            "pixels and remove the flag.",
            stacklevel=3,
        )


def orientation(code: bytes) -> int:
    """Read the EXIF orientation, 1…8, of a JPEG or PNG; 1 if there is none."""
    flag = exif_numbers(code).get(_ORIENTATION, 1)
    return flag if 1 <= flag <= 8 else 1


def film_focal(code: bytes) -> int | None:
    """Read the focal length in mm of 35 mm film from the EXIF of a JPEG or PNG; None if unknown.

    By EXIF's definition, the diagonal of the image is then that of the film, 43.27 mm.
    """
    return exif_numbers(code).get(_FILM_FOCAL) or None


def exif_numbers(code: bytes) -> dict[int, int]:
    """Read the whole numbers in the EXIF of a JPEG or PNG, by their tags; none if it is damaged.

    Source: CIPA DC-008 (Exif 3.0), 4.6.
    """
    head = code[:_HEAD]
    for mark in (b"Exif\0\0", b"eXIf"):
        start = head.find(mark)
        if start >= 0:
            return _numbers(head[start + len(mark) :])
    return {}


def without_orientation(jpeg: bytes) -> bytes:
    """Return a JPEG whose EXIF does not ask viewers to rotate or mirror it; no pixel changes."""
    flag = orientation(jpeg)
    for order in ("big", "little"):
        numbers = ((_ORIENTATION, 2), (_SHORT, 2), (1, 4))  # tag, type, count
        entry = b"".join(number.to_bytes(size, order) for number, size in numbers)
        upright = entry + (1).to_bytes(2, order)
        jpeg = jpeg.replace(entry + flag.to_bytes(2, order), upright, 1)
    return jpeg


def _numbers(tiff: bytes) -> dict[int, int]:
    """Read the whole numbers of the first directory and of EXIF's own."""
    order = {b"II": "little", b"MM": "big"}.get(tiff[:2])
    if order is None:
        return {}

    def number(place: int, size: int) -> int:
        return int.from_bytes(tiff[place : place + size], order)  # type: ignore[arg-type]

    def directory(start: int) -> dict[int, int]:
        entries = range(start + 2, min(start + 2 + 12 * number(start, 2), len(tiff)), 12)
        sizes = {at: _SIZES.get(number(at + 2, 2)) for at in entries}
        return {number(at, 2): number(at + 8, size) for at, size in sizes.items() if size}

    first = directory(number(4, 4))
    return {**directory(first[_EXIF]), **first} if _EXIF in first else first


def _preference(path: Path) -> tuple[int, bool, str]:
    suffix = path.suffix
    return SUFFIXES.index(suffix.lower()), suffix != suffix.lower(), path.name


def is_png(data: bytes) -> bool:
    """Whether an encoded image is a PNG, by its first bytes."""
    return data.startswith(_PNG_START)


def is_jpeg(data: bytes) -> bool:
    """Whether an encoded image is a JPEG, by its first bytes."""
    return data.startswith(_JPEG_START)


def header_size(data: bytes) -> tuple[int, int]:
    """Read (height, width) from the header of a PNG or JPEG; zeros if it is truncated.

    Sources: ISO/IEC 15948, 11.2.2; ITU-T T.81, B.2.2.
    """
    if is_png(data):
        return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xFF:  # a fill byte
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            width = int.from_bytes(data[at + 7 : at + 9], "big")
            return int.from_bytes(data[at + 5 : at + 7], "big"), width
        else:
            at += 2 + length
    return 0, 0


def with_end(data: bytes) -> bytes:
    """Return a JPEG with its end marker, which some cameras leave out; other files unchanged.

    Without it, OpenCV loses the last rows.
    """
    if not is_jpeg(data) or _has_end(data):
        return data
    return data.rstrip(b"\xff") + _JPEG_END


def _has_end(jpeg: bytes) -> bool:
    return jpeg.rfind(_JPEG_END, _pixels_start(jpeg)) > 0


def _pixels_start(data: bytes) -> int:
    """Return where the segments before a JPEG's pixels end; EXIF's is a JPEG of its own."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != _SCAN:
        fill = data[at + 1] == 0xFF
        at += 1 if fill else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at


def _last_scan(jpeg: bytes) -> int | None:
    """Return where the pixels of a JPEG's last scan begin; None if a scan is missing.

    A progressive JPEG has several, for parts of the coefficients and of their bits (ITU-T T.81,
    B.2.3 and G.1.1.1).
    """
    components, progressive, scan = 0, False, None
    whole: dict[int, set[int]] = {}  # component → coefficients with all bits
    at = 2
    while found := _MARKER.search(jpeg, at):
        start, kind = found.end(), found[0][1]
        at = start + int.from_bytes(jpeg[start : start + 2], "big")
        if at > len(jpeg) or at < start + 2:
            return None
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            components, progressive = jpeg[start + 7], kind % 4 == 2
        elif kind == _SCAN:
            end = start + 3 + 2 * jpeg[start + 2]
            first, last, bits = jpeg[end : end + 3] if progressive else (0, 63, 0)
            if not bits & 15:
                for component in jpeg[start + 3 : end : 2]:
                    whole.setdefault(component, set()).update(range(first, last + 1))
            scan = at
    complete = len(whole) == components and all(len(each) == 64 for each in whole.values())
    return scan if complete else None


def _has_all_pixels(jpeg: bytes) -> bool:
    """Whether a JPEG without an end marker lacks nothing else.

    Then it does not matter which bytes follow. Otherwise they are decoded as pixels. Where rows
    restart, the next of eight markers must follow (ITU-T T.81, F.2.2.5).
    """
    try:
        scan = _last_scan(jpeg)
    except (IndexError, ValueError):  # a damaged segment
        return False
    if scan is None:
        return False
    restarts = _RESTART.findall(jpeg, scan)
    following = restarts[-1][0] + 1 if restarts else 0xD0
    markers = [bytes((0xFF, 0xD0 + (following + k) % 8)) for k in range(16)]
    first: np.ndarray | None = None
    for seed in range(3):
        noise = np.random.default_rng(seed).integers(0, 255, (len(markers), _TAIL), np.uint8)
        tail = b"".join(row.tobytes() + mark for row, mark in zip(noise, markers, strict=True))
        code = np.frombuffer(jpeg.rstrip(b"\xff") + tail + _JPEG_END, np.uint8)
        pixels = cv2.imdecode(code, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if pixels is None or (first is not None and not np.array_equal(first, pixels)):
            return False
        first = pixels
    return True


def decode_image(data: bytes, flags: int) -> np.ndarray | None:
    """Decode a complete image with OpenCV; None if it is truncated (`is_complete`) or damaged.

    Args:
        data: Content of an image file.
        flags: Flags of `cv2.imread`.
    """
    # The check comes first: with an end marker, also a truncated JPEG would look complete.
    return (
        cv2.imdecode(np.frombuffer(with_end(data), np.uint8), flags) if is_complete(data) else None
    )


def damage(data: bytes) -> str:
    """Say why `decode_image` cannot decode an image."""
    return "OpenCV cannot decode it" if is_complete(data) else "its end is missing"


def is_complete(data: bytes) -> bool:
    """Whether a PNG or JPEG is there to its end; true for other formats.

    A JPEG may lack its end marker, but nothing else; `with_end` adds it. All chunks of a PNG must
    fit into it, and the last is IEND (ISO/IEC 15948, 5.3). OpenCV allocates the length of a chunk
    before it checks it: a flipped bit costs 2 GB. Of a truncated image, OpenCV returns the first
    rows without an error.
    """
    if is_jpeg(data):
        return _has_end(data) or _has_all_pixels(data)
    if not is_png(data):
        return True
    at = len(_PNG_START)
    while at + 12 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        at += 12 + length
        if kind == b"IEND":
            return at <= len(data)
    return False
