"""Trained methods as files, and their scores on disk.

    store = Store("runs/x/evaluation")
    for candidate in parse_candidates("de=runs/x/member-*/last.safetensors"):
        if not store.has(candidate, "test", setting):
            store.keep(candidate, "test", setting, score(candidate.load(), split))
        scored = store.load(candidate, "test", setting)

Scores lie in FOLDER/SPLIT/NAME-SEED.npz. A JSON file next to them describes the candidate. It is
written last, so an evaluation that is killed leaves no incomplete scores. Scores of other weights,
images, sizes or metric definitions count as missing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np
import torch

from emu_core.files import expand, file_digest, read_json, write_atomically, write_json
from emu_core.methods.registry import METHODS, LoadOptions, Method, load_method
from emu_core.metrics import METRICS_VERSION, DriveResults, drive_weights
from emu_core.networks.learned import check_independent, check_weights
from emu_core.networks.weights import WeightsError, read_header

SCORES, RESAMPLED = ".npz", ".resampled.npz"
"""Ends of the files of a candidate's scores."""

MAX_MEMORY = 2 << 30
"""Methods whose files are larger in total, in bytes, read their networks again for every batch."""


@dataclass(frozen=True)
class Candidate:
    """A method under one seed, to be scored.

    Args:
        name: Name of the method in tables, e.g. mcd20.
        kind: Name in `METHODS`.
        paths: File of the method, or of each member of an ensemble.
        depth_paths: Single-task networks for depth; `paths` are then those for classes.
        seed: Number of this seed; methods that draw samples use it as their seed.
        samples: Number of samples of methods that draw some.
        depth_uncertainty: False where no loss trained the depth variance (RMSLE and L1 without a
            teacher): metrics that depend on it are left out.
        lazy: Read an ensemble's members again for every batch, even if they fit into memory.
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
    def files(self) -> tuple[Path, ...]:
        """All files."""
        return (*self.paths, *self.depth_paths)

    @property
    def size(self) -> int:
        """Total size of the files, bytes."""
        return sum(path.stat().st_size for path in self.files if path.is_file())

    @property
    def reads_lazily(self) -> bool:
        """Whether an ensemble's members are read again for every batch."""
        return self.lazy or self.size > MAX_MEMORY

    def load(self, device: str | torch.device = "cpu") -> Method:
        """Load the method; errors as of `load_method`."""
        options = LoadOptions(self.samples, self.seed, not self.reads_lazily, device)
        method = load_method(self.kind, self.paths, options)
        if not self.depth_paths:
            return method
        depth = load_method(self.kind, self.depth_paths, options)
        return lambda images: replace(depth(images), probabilities=method(images).probabilities)

    def check(self, expected: Mapping[str, Any], source: str | Path) -> None:
        """Check that the files learned what they are used for.

        Args:
            expected: Classes and scale of depth, in the form of `networks.learned`.
            source: The configuration that they come from, for the message.

        Raises:
            WeightsError: They learned something else, or a file is missing or damaged.
        """
        method = METHODS[self.kind]
        for path in self.files:
            advice = "Give --config the config.yaml beside the weights."
            check_weights(path, expected, source, advice)
            trained_as = read_header(path)[1].get("learned", {}).get("method", method.networks)
            if (trained_as == "student") != (method.networks == "student") and (
                method.networks in ("student", "control")
            ):
                raise WeightsError(
                    f"{path} was trained as a {trained_as}, but is given as {self.kind}: choose "
                    "another kind, e.g. [NAME:]single=FILES."
                )
        if method.takes_all_files:
            check_independent(self.paths)
            check_independent(self.depth_paths)

    def fingerprint(self) -> str:
        """Digest of the weights and of how they are used, but not of their place.

        Raises:
            OSError: A file cannot be read.
        """
        method = METHODS[self.kind]
        use = self.kind + (f" {self.samples} {self.seed}" if method.draws_samples else "")
        if method.beside is not None:
            use += f" {[file_digest(method.beside(path)) for path in self.files]}"
        files = [list(map(file_digest, paths)) for paths in (self.paths, self.depth_paths)]
        return hashlib.sha256(f"{use} {files}".encode()).hexdigest()[:16]


def parse_candidates(text: str) -> list[Candidate]:
    """Parse the candidates of one method from `[NAME:]KIND=FILES`, as on a command line.

    FILES is a path with wildcards. An ensemble takes all files as its members; every other kind
    takes each file as one seed. Two patterns with a comma between them are single-task networks:
    those for classes, then those for depth. NAME defaults to KIND.

    Raises:
        ValueError: Another form, or different numbers of networks for depth and for classes.
        WeightsError: A pattern matches no file.
    """
    method, equals, files = text.partition("=")
    name, colon, kind = method.partition(":")
    kind = kind if colon else name
    patterns = [files] if Path(files).is_file() else files.split(",")
    if not equals or not name or kind not in METHODS or len(patterns) > 2:
        raise ValueError(
            f"Expected [NAME:]KIND=FILES or KIND=FILES,FILES, KIND one of {', '.join(METHODS)}, "
            f"but got {text!r}."
        )
    tasks = [_files(pattern) for pattern in patterns]
    if METHODS[kind].takes_all_files:
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
    """Check that no two candidates share name and seed: their scores would be one file.

    Raises:
        ValueError: Two candidates share both.
    """
    known: dict[tuple[str, int], Candidate] = {}
    for candidate in candidates:
        other = known.setdefault((candidate.name, candidate.seed), candidate)
        if other is not candidate:
            raise ValueError(
                f"Two methods are named {candidate.name!r}, seed {candidate.seed}: from "
                f"{other.paths[0]} and from {candidate.paths[0]}. Give them names, "
                "[NAME:]KIND=FILES, or give the seeds of one method as one pattern."
            )


def _files(pattern: str) -> tuple[Path, ...]:
    found = tuple(expand(pattern))
    if not found:
        raise WeightsError(f"Found no model at {pattern}.")
    return found


@dataclass(frozen=True)
class Scored:
    """Scores of one seed of a method on one split.

    Args:
        results: Scores of all drives.
        resampled: Metric → its value for every resample of the drives, (resamples,). All methods
            of a split have the same resamples, so their differences are paired.
    """

    results: DriveResults
    resampled: dict[str, np.ndarray]

    def without_depth_uncertainty(self) -> Scored:
        """Leave out the metrics and the sums of curves that depend on the depth variance."""

        def kept(values: dict[str, Any]) -> dict[str, Any]:
            return {k: v for k, v in values.items() if not re.match(r"depth\.(?!distances\.)", k)}

        pooled, sums = kept(self.results.pooled), kept(self.results.sums)
        return Scored(replace(self.results, pooled=pooled, sums=sums), kept(self.resampled))


class Store:
    """Scores in a folder.

    Args:
        folder: Created with the first scores.
        resamples: Number of bootstrap resamples of the drives.
    """

    def __init__(self, folder: str | Path, resamples: int = 1000) -> None:
        self.folder, self.resamples = Path(folder), resamples

    def has(self, candidate: Candidate, split: str, setting: Mapping[str, Any]) -> bool:
        """Whether there are scores of exactly this candidate in this setting, and not damaged."""
        about = self._about(candidate, split)
        complete = all(is_zipfile(about.with_suffix(end)) for end in (SCORES, RESAMPLED))
        return complete and read_json(about) == self._describe(candidate, setting)

    def keep(
        self, candidate: Candidate, split: str, setting: Mapping[str, Any], results: DriveResults
    ) -> None:
        """Write the scores, and the scores of all resamples of the drives.

        Args:
            candidate: Method that was scored.
            split: Name of the split.
            setting: Everything else that the scores depend on, as JSON returns it.
            results: Scores of all drives.
        """
        about = self._about(candidate, split)
        about.unlink(missing_ok=True)
        resampled = results.bootstrap(drive_weights(len(results.names), self.resamples, seed=0))
        write_atomically(about.with_suffix(SCORES), results.save)
        write_atomically(
            about.with_suffix(RESAMPLED),
            lambda path: np.savez_compressed(path, **resampled),  # type: ignore[arg-type]
        )
        write_json(about, self._describe(candidate, setting))

    def load(self, candidate: Candidate, split: str, setting: Mapping[str, Any]) -> Scored | None:
        """Read the scores of exactly this candidate in this setting; None if there are none."""
        if not self.has(candidate, split, setting):
            return None
        about = self._about(candidate, split)
        with np.load(about.with_suffix(RESAMPLED)) as file:
            resampled = dict(file)
        scored = Scored(DriveResults.load(about.with_suffix(SCORES)), resampled)
        return scored if candidate.depth_uncertainty else scored.without_depth_uncertainty()

    def _about(self, candidate: Candidate, split: str) -> Path:
        return self.folder / split / f"{candidate.name}-{candidate.seed}.json"

    def _describe(self, candidate: Candidate, setting: Mapping[str, Any]) -> dict[str, Any]:
        use = {"weights": candidate.fingerprint(), "resamples": self.resamples}
        return {**use, "metrics": METRICS_VERSION, **setting}
