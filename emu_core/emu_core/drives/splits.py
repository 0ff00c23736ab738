"""Reads the list of all drives: splits, their seeds and conditions, from a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from emu_core.drives.drive import DriveSpec

_REQUIRED = {"seeds", "frames", "interval"}
_OPTIONAL = {"condition", "paired"}


class SplitsError(ValueError):
    """The list of drives is missing or wrong; the message names the file and the split."""


def load_splits(path: str | Path) -> dict[str, list[DriveSpec]]:
    """Every split's drives in the order of their seeds; those of a pair follow one another.

    The file holds `width`, `height` and `splits`, which maps a name to `seeds` ([first, last]),
    `frames`, `interval` (seconds), and at will `condition` and `paired`.

    Raises:
        SplitsError: no such file, no YAML, a missing or wrong entry, or a seed in two splits.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SplitsError(f"Cannot read {path}: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise SplitsError(f"{path} is no YAML: {error}") from error
    if not isinstance(content, dict) or not {"width", "height", "splits"} <= set(content):
        raise SplitsError(f"{path}: expected the keys width, height and splits.")
    if not isinstance(content["splits"], dict) or not content["splits"]:
        raise SplitsError(f"{path}: expected splits to map names to entries.")
    size = (content["width"], content["height"])
    splits = {}
    for name, entry in content["splits"].items():
        try:
            splits[str(name)] = _drives(str(name), entry, size)
        except (TypeError, ValueError) as error:
            raise SplitsError(f"{path}, split {name}: {error}") from error
    _check_apart(path, splits)
    return splits


def _drives(split: str, entry: Any, size: tuple[int, int]) -> list[DriveSpec]:
    if not isinstance(entry, dict) or not set(entry) >= _REQUIRED:
        raise ValueError(f"expected the keys {', '.join(sorted(_REQUIRED))}, but got {entry!r}.")
    strange = sorted(set(entry) - _REQUIRED - _OPTIONAL)
    if strange:
        raise ValueError(
            f"unknown key {', '.join(strange)}; optional are {', '.join(sorted(_OPTIONAL))}."
        )
    seeds = entry["seeds"]
    if not (isinstance(seeds, list) and len(seeds) == 2 and seeds[0] <= seeds[1]):
        raise ValueError(f"expected seeds as [first, last], but got {seeds!r}.")
    kinds = ["unknown", "known"] if entry.get("paired") else [None]
    return [
        DriveSpec(
            split, seed, entry["frames"], entry["interval"], entry.get("condition", "day"), kind,
            None, *size,
        )
        for seed in range(seeds[0], seeds[1] + 1)
        for kind in kinds
    ]  # fmt: skip


def _check_apart(path: Path, splits: dict[str, list[DriveSpec]]) -> None:
    owners: dict[int, str] = {}
    for name, drives in splits.items():
        for drive in drives:
            other = owners.setdefault(drive.seed, name)
            if other != name:
                raise SplitsError(
                    f"{path}: seed {drive.seed} is in the splits {other} and {name}; a drive "
                    "belongs to one split only."
                )
