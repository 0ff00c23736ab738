"""One trained method of a table as its files: what to load, and whether it is still the same."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from glob import glob
from pathlib import Path

import torch
from torch import Tensor

from emu_core.methods.prediction import Prediction
from emu_core.methods.registry import METHODS, LoadOptions, Method, load_method
from emu_core.networks.weights import WeightsError

IN_MEMORY = 2 << 30
"""Bytes of networks that are kept in memory together; what is larger is read again and again."""


@dataclass(frozen=True)
class Candidate:
    """A method under one seed.

    Args:
        name: of its row, e.g. mcd20.
        kind: one of `ensembles.KINDS`.
        paths: its file, or a Deep Ensemble's members.
        depth_paths: of single-task networks, those for depth; `paths` are those for classes.
        seed: which of the row's seeds this is; also that of MC Dropout's masks.
        samples: of MC Dropout.
        depth_uncertainty: False where the loss leaves the depth variance untrained (RMSLE and L1
            without a teacher): what ranks by it, or scores it, is no figure of the method.
        lazy: read an ensemble's members anew for every batch, even if they fit into memory.
    """

    name: str
    kind: str
    paths: tuple[Path, ...]
    depth_paths: tuple[Path, ...] = ()
    seed: int = 0
    samples: int = 10
    depth_uncertainty: bool = True
    lazy: bool = False

    @property
    def reads_lazily(self) -> bool:
        """Whether an ensemble's members are read anew for every batch: as asked, and where all
        files together are larger than `IN_MEMORY`."""
        return self.lazy or self.size > IN_MEMORY

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(p.stat().st_size for p in (*self.paths, *self.depth_paths) if p.is_file())

    def load(self, device: str | torch.device = "cpu") -> Method:
        """The method, in memory unless it `reads_lazily`.

        Raises:
            WeightsError: a file is missing, damaged or of another kind.
            ValueError: an unknown kind, or a wrong number of files.
        """
        parts = [
            load_method(
                self.kind,
                list(paths),
                LoadOptions(self.samples, self.seed, not self.reads_lazily, device),
            )
            for paths in (self.paths, self.depth_paths)
            if paths
        ]
        return parts[0] if len(parts) == 1 else Apart(*parts)

    def fingerprint(self) -> str:
        """Changes with the weights and with how they are used, not with where they lie.

        The seed counts for MC Dropout alone, whose masks it draws.

        Raises:
            WeightsError: a file is missing.
        """
        use = self.kind + (f" {self.samples} {self.seed}" if self.kind == "mcd" else "")
        files = [[_digest(p) for p in paths] for paths in (self.paths, self.depth_paths)]
        return hashlib.sha256(f"{use} {files}".encode()).hexdigest()[:16]


class Apart:
    """Two methods, one for classes and one for depth, as one: the single-task rows.

    Args:
        segmentation: predicts class probabilities.
        depth: predicts depth.
    """

    def __init__(self, segmentation: Method, depth: Method) -> None:
        self.segmentation, self.depth = segmentation, depth

    def __call__(self, images: Tensor) -> Prediction:
        """Predict for images, uint8 (N, 3, H, W)."""
        classes, depth = self.segmentation(images), self.depth(images)
        return Prediction(
            classes.probabilities,
            depth.depth_mean,
            depth.depth_variance,
            depth.depth_aleatoric,
            depth.depth_epistemic,
        )


def _digest(path: Path) -> str:
    if not path.is_file():
        raise WeightsError(f"Found no model at {path}.")
    stat = path.stat()
    return _content(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1024)
def _content(path: Path, _changed: int, _size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def parse_candidates(text: str) -> list[Candidate]:
    """The candidates of a row from `[NAME:]KIND=FILES`, as on a command line.

    FILES is a path with wildcards. A Deep Ensemble takes all of them as its members, every other
    kind each as one seed. Two of them with a comma between are single-task networks: those for
    classes, then those for depth. NAME is KIND unless said.

    Raises:
        ValueError: it reads otherwise, or there are not as many networks for depth as for classes.
        WeightsError: there is no such file.
    """
    row, equals, files = text.partition("=")
    name, colon, kind = row.partition(":")
    kind = kind if colon else name
    patterns = files.split(",")
    if not equals or not name or kind not in METHODS or len(patterns) > 2:
        raise ValueError(
            f"Expected [NAME:]KIND=FILES or KIND=FILES,FILES, KIND one of {', '.join(METHODS)}, "
            f"but got {text!r}."
        )
    tasks = [_files(pattern) for pattern in patterns]
    if kind == "de":
        return [Candidate(name, kind, tasks[0], tasks[1] if len(tasks) > 1 else ())]
    if len({len(found) for found in tasks}) > 1:
        raise ValueError(
            f"{text!r}: expected as many networks for depth as for classes, but there are "
            f"{len(tasks[1])} and {len(tasks[0])}."
        )
    return [
        Candidate(name, kind, (path,), tuple(depth_paths), seed)
        for seed, (path, *depth_paths) in enumerate(zip(*tasks, strict=True))
    ]


def refuse_duplicates(candidates: Iterable[Candidate]) -> None:
    """See that no two methods share a row and a seed: their results would be one file.

    Raises:
        ValueError: two do; the message names both and says how to tell them apart.
    """
    known: dict[tuple[str, int], Candidate] = {}
    for candidate in candidates:
        other = known.setdefault((candidate.name, candidate.seed), candidate)
        if other is not candidate:
            raise ValueError(
                f"Two methods are {candidate.name!r}, seed {candidate.seed}: {_told(other)} and "
                f"{_told(candidate)}. Name their rows, [NAME:]KIND=FILES, or give the seeds of "
                "one row as one pattern."
            )


def _told(candidate: Candidate) -> str:
    """A method's first file, with how many others there are."""
    others = len(candidate.paths) + len(candidate.depth_paths) - 1
    return str(candidate.paths[0]) + (f" (and {others} more)" if others else "")


def _files(pattern: str) -> tuple[Path, ...]:
    """The files of a pattern, member-10 behind member-9."""
    found = glob(pattern, recursive=True)
    if not found:
        raise WeightsError(f"Found no model at {pattern}.")
    numbers = re.compile(r"(\d+)")
    natural = sorted(found, key=lambda p: [int(t) if t.isdigit() else t for t in numbers.split(p)])
    return tuple(map(Path, natural))
