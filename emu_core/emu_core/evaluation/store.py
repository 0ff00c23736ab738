"""Scores on disk: FOLDER/SPLIT/NAME-SEED.npz, and what they are scores of beside it.

    store = Store("runs/x/evaluation")
    if not store.has(candidate, "test", setting):
        store.keep(candidate, "test", setting, score(candidate.load(), split))
    scored = store.load("de", 0, "test")

Files are replaced in one step and the description comes last, so a killed evaluation leaves
nothing half; whatever was scored with other weights, on other images, at another size or by
other definitions of the figures counts as not scored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from emu_core.evaluation.candidate import Candidate
from emu_core.files import replace_file, replace_text
from emu_core.metrics import METRICS_VERSION, DriveResults, drive_weights

RESAMPLES = 1000
"""Bootstrap resamples of the drives."""

_SEED = 0


@dataclass(frozen=True)
class Scored:
    """A method's results on a split, and each figure again for every resample of its drives.

    The draws are the same for all methods of a split, so that differences of `resampled` are
    those of pairs.
    """

    results: DriveResults
    resampled: dict[str, np.ndarray]
    """Figure → (resamples,)."""

    def without_depth_uncertainty(self) -> Scored:
        """The same without what a depth variance that nothing has trained gives: its figures,
        and the sums of its curves."""
        pooled, sums = self.results.pooled, self.results.sums
        results = replace(
            self.results,
            pooled={n: value for n, value in pooled.items() if not n.startswith("depth.")},
            sums={
                n: value
                for n, value in sums.items()
                if n.startswith("depth.distances.") or not n.startswith("depth.")
            },
        )
        kept = {n: drawn for n, drawn in self.resampled.items() if not n.startswith("depth.")}
        return Scored(results, kept)


class Store:
    """What was scored, in a folder.

    Args:
        folder: made when something is kept.
        resamples: of the bootstrap over drives.
    """

    def __init__(self, folder: str | Path, resamples: int = RESAMPLES):
        self.folder, self.resamples = Path(folder), resamples

    def has(self, candidate: Candidate, split: str, setting: Mapping[str, Any]) -> bool:
        """Whether just this method was scored in just this setting.

        Raises:
            WeightsError: a file of the method's is missing.
        """
        about = self._about(candidate.name, candidate.seed, split)
        return read_json(about) == self._describe(candidate, setting)

    def keep(
        self, candidate: Candidate, split: str, setting: Mapping[str, Any], results: DriveResults
    ) -> None:
        """Write results, and those of all resamples of the drives.

        Args:
            setting: what else they depend on, for JSON.
        """
        about = self._about(candidate.name, candidate.seed, split)
        about.parent.mkdir(parents=True, exist_ok=True)
        about.unlink(missing_ok=True)
        weights = drive_weights(len(results.names), self.resamples, _SEED)
        resampled = results.bootstrap(weights)
        replace_file(about.with_suffix(".npz"), results.save)
        replace_file(about.with_suffix(".resampled.npz"), lambda file: _save(file, resampled))
        write_json(about, self._describe(candidate, setting))

    def load(self, name: str, seed: int, split: str) -> Scored | None:
        """What was kept of a row's seed, None if nothing was."""
        about = self._about(name, seed, split)
        if not about.is_file():
            return None
        with np.load(about.with_suffix(".resampled.npz")) as file:
            resampled = dict(file)
        return Scored(DriveResults.load(about.with_suffix(".npz")), resampled)

    def _about(self, name: str, seed: int, split: str) -> Path:
        return self.folder / split / f"{name}-{seed}.json"

    def _describe(self, candidate: Candidate, setting: Mapping[str, Any]) -> dict[str, Any]:
        about = {
            "weights": candidate.fingerprint(),
            "resamples": self.resamples,
            "metrics": METRICS_VERSION,
            **setting,
        }
        return json.loads(json.dumps(about))  # as it comes back from the file


def write_json(path: Path, content: Any) -> None:
    """Write JSON in one step, so that a killed run leaves the old file or the new one."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    replace_text(path, text)


def read_json(path: Path) -> Any:
    """What `write_json` wrote, None if there is no such file or something else in it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
