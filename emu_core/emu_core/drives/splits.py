"""Read the list of all drives from a YAML file: splits, seeds and conditions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from emu_core.drives.drive import DriveSpec

_REQUIRED = {"seeds", "frames", "interval"}
_OPTIONAL = {"condition", "paired", "around"}


class SplitsError(ValueError):
    """The list of drives is missing or invalid; the message names the file and the split."""


def load_splits(path: str | Path) -> dict[str, list[DriveSpec]]:
    """Load the drives of every split in the order of their seeds; pairs are adjacent.

    The file has the keys `width`, `height` and `splits`. `splits` maps a name to `seeds`
    ([first, last]), `frames`, `interval` (seconds) and optionally `condition`, `paired` and
    `around`.

    Raises:
        SplitsError: the file is missing or not YAML, an entry is missing or invalid, or a seed is
            in two splits.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SplitsError(f"Cannot read {path}: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise SplitsError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict) or not {"width", "height", "splits"} <= set(content):
        raise SplitsError(f"{path}: expected the keys width, height and splits.")
    if not isinstance(content["splits"], dict) or not content["splits"]:
        raise SplitsError(f"{path}: expected splits to map names to entries.")
    size = (content["width"], content["height"])
    splits: dict[str, list[DriveSpec]] = {}
    owners: dict[int, str] = {}
    for name, entry in content["splits"].items():
        try:
            splits[str(name)] = _drives(str(name), entry, size)
        except (TypeError, ValueError) as error:
            raise SplitsError(f"{path}, split {name}: {error}") from error
        for drive in splits[str(name)]:
            if (other := owners.setdefault(drive.seed, name)) != name:
                raise SplitsError(
                    f"{path}: seed {drive.seed} is in two splits, {other} and {name}."
                )
    return splits


def _drives(split: str, entry: Any, size: tuple[int, int]) -> list[DriveSpec]:
    keys = set(entry) if isinstance(entry, dict) else set()
    if not _REQUIRED <= keys <= _REQUIRED | _OPTIONAL:
        required, optional = (", ".join(sorted(x)) for x in (_REQUIRED, _OPTIONAL))
        raise ValueError(
            f"expected the keys {required} and optionally {optional}, but got {entry!r}."
        )
    seeds = entry["seeds"]
    if not (isinstance(seeds, list) and len(seeds) == 2 and seeds[0] <= seeds[1]):
        raise ValueError(f"expected seeds as [first, last], but got {seeds!r}.")
    length = (entry["frames"], entry["interval"], entry.get("condition", "day"))
    return [
        DriveSpec(split, seed, *length, intruder, None, *size, bool(entry.get("around")))
        for seed in range(seeds[0], seeds[1] + 1)
        for intruder in (("unknown", "known") if entry.get("paired") else (None,))
    ]
