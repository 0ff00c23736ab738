"""What a training's folder says of it: its settings, what it was trained from, why it failed.

A network is this study's if it was trained with the study's settings, on these copies of the
drives, from these very weights of other networks. Whatever was trained from a network that was
trained anew is as old as the weights that it has seen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from emu_core.evaluation.store import read_json, write_json
from emu_core.study.copies import MANIFEST
from emu_core.study.plan import COPIED, Training
from emu_core.training.run import WEIGHTS
from emu_core.training.teacher_cache import fingerprint

SETTINGS = "training.json"
"""In the folder of every training: what it was started with and from."""

FAILED = "failed.json"
"""In the folder of a training that diverged: why."""

_HARMLESS = {"data.root", "data.workers", "run.name", "run.threads", "run.devices", "run.nodes",
             "run.validate_every", "run.checkpoint_every", "run.shares_every"}  # fmt: skip
"""Settings that last.safetensors does not depend on."""

_PARENTS = "parents"
_NAMED = 4  # settings, in a message


def note(training: Training, folder: Path) -> None:
    """Write what a training is started with, before it is.

    Args:
        folder: the study's.
    """
    content = {**training.settings(), _PARENTS: parents(training, folder)}
    write_json(folder / training.key / SETTINGS, content)


def parents(training: Training, folder: Path) -> dict[str, str | None]:
    """What a training starts from, by name: digests, None of what is not there."""
    found = {key: _digest(folder / key / WEIGHTS) for key in training.needs}
    copies = folder / Path(COPIED).parent
    if copies in training.data.root.parents:
        found["copy of the drives"] = _digest_of_copies(copies / MANIFEST)
    return found


def misfit(training: Training, folder: Path) -> str | None:
    """Why what lies in a training's folder is not this study's; None if it is, or nothing is."""
    before = read_json(folder / training.key / SETTINGS)
    if before is None:
        return None
    parents_before = before.pop(_PARENTS, {})
    differing = [c for c in changes(before, training.settings()) if c[0] not in _HARMLESS]
    if differing:
        named = "; ".join(f"{key}: {old} → {new}" for key, old, new in differing[:_NAMED])
        return f"was trained with other settings ({named})"
    now = parents(training, folder)
    others = [key for key, digest in now.items() if parents_before.get(key) != digest]
    return f"was trained from another {', another '.join(others)}" if others else None


def misfits(trainings: Iterable[Training], folder: Path) -> dict[str, str]:
    """Key of every training that is not this study's → why.

    Args:
        trainings: each behind those that it needs.
    """
    found: dict[str, str] = {}
    for training in trainings:
        reason = misfit(training, folder)
        if reason is None and (folder / training.key / SETTINGS).is_file():
            anew = [key for key in training.needs if key in found]
            reason = f"was trained from {', '.join(anew)}" if anew else None
        if reason is not None:
            found[training.key] = reason
    return found


def note_failure(training: Training, folder: Path, reason: str) -> None:
    """Tell other processes, and later ones, that a training diverges."""
    write_json(folder / training.key / FAILED, {"reason": reason})


def failure(key: str, folder: Path) -> str | None:
    """Why a training failed, in this process or another; None if it did not."""
    content = read_json(folder / key / FAILED)
    return None if content is None else content["reason"]


def forget_failure(key: str, folder: Path) -> None:
    """Let a training that failed be tried again."""
    (folder / key / FAILED).unlink(missing_ok=True)


def changes(before: Any, now: Any, key: str = "") -> list[tuple[str, Any, Any]]:
    """Where two contents of JSON differ: name with dots, before, now."""
    if isinstance(before, dict) and isinstance(now, dict):
        found = []
        for name in dict.fromkeys((*before, *now)):
            inner = f"{key}.{name}" if key else name
            found += changes(before.get(name), now.get(name), inner)
        return found
    return [] if before == now else [(key, before, now)]


def _digest(path: Path) -> str | None:
    if not path.is_file():
        return None
    stat = path.stat()
    return _content(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1024)
def _content(path: Path, _changed: int, _size: int) -> str:
    return fingerprint([path])


def _digest_of_copies(path: Path) -> str | None:
    """Of what trainings depend on; splits that are only scored do not count."""
    content = read_json(path)
    if content is None:
        return None
    text = json.dumps([content["settings"], content["drives"].get("train")], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
