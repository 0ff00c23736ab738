"""Find the fastest provider of this machine that computes the reference outputs of a model file.

    choice = choose_provider(path)
    print(choice.provider, choice.milliseconds, choice.refused)

The result is kept in a file for each model, number of threads, processor, GPU, and versions of the
engines, below the folder of `engines.cache_root`. With one provider nothing is measured or kept.
TensorRT is tried only if its engine is there, because it takes minutes to build one.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from emu_core.files import write_json
from emu_core.machine import processor_name
from emu_core.runtime.engines import (
    PROVIDERS,
    ProviderError,
    cache_root,
    engine_folder,
    gpu,
    open_engine,
    tensorrt_version,
)
from emu_core.runtime.graphs import fused_attention
from emu_core.runtime.model_file import ModelError, one_line, read_info
from emu_core.runtime.verification import decode_reference, verify
from emu_core.terminal import accept_any_text

AUTO = "auto"
"""Name that stands for the fastest provider."""

_RUNS, _SECONDS = 7, 3.0
"""Runs of a provider after the first one, and the time after which no further one starts."""

_TIMEOUT_S = 120
"""Time of a process that loads the model and measures a provider."""

_OPENVINO_PACKAGE = ("openvino", "openvino-bf16")


@dataclass(frozen=True)
class Choice:
    """The fastest provider and what it was compared with.

    Args:
        provider: The fastest provider of those that compute the reference outputs.
        milliseconds: Median time of an inference by provider; empty if there was only one.
        refused: Reason by provider for those that cannot be used.
        remembered: Whether the times are from an earlier start.
    """

    provider: str
    milliseconds: dict[str, float]
    refused: dict[str, str]
    remembered: bool = False

    def __str__(self) -> str:
        times = [f"{name} {ms:.0f} ms" for name, ms in self.milliseconds.items()]
        reasons = [f"{name} refused ({reason})" for name, reason in self.refused.items()]
        source = ["measured earlier on this machine"] * self.remembered
        return ", ".join([*times, *reasons, *source]) or "the only provider that is installed"


def installed_providers() -> list[str]:
    """Return the names of the providers that have what they need in Python packages."""
    import onnxruntime

    of_session = onnxruntime.get_available_providers()
    package = find_spec("openvino") is not None
    lacking = set() if fused_attention.is_available() else {"cpu-fused"}
    return [
        name
        for name, (session_name, _) in PROVIDERS.items()
        if (session_name in of_session or (package and name in _OPENVINO_PACKAGE))
        and name not in lacking
    ]


def choose_provider(path: Path, threads: int | None = None) -> Choice:
    """Return the fastest provider for a model file, measured once on every machine.

    Args:
        path: Model file.
        threads: See `engines.open_engine`.

    Raises:
        ModelError: The file is unusable, or no provider computes its reference outputs.
    """
    info = read_info(path)
    names = [n for n in installed_providers() if not _needs_build(n, info.sha256)]
    if names == ["cpu"]:
        return Choice("cpu", {}, {})
    memory = _memory(_facts(info.sha256, names, threads))
    if (known := _recall(memory)) is not None:
        return known
    found = measure(names, lambda name: _in_a_process(path, name, threads))
    if memory is not None:
        with suppress(OSError):  # the folder is not writable: the next start measures again
            write_json(memory, asdict(found))
    return found


def measure(names: list[str], measure_one: Callable[[str], float]) -> Choice:
    """Compare providers.

    Args:
        names: The providers.
        measure_one: Loads and checks the model on a provider, and returns the milliseconds of an
            inference. It raises ModelError or ProviderError.

    Raises:
        ModelError: None of them can be used.
    """
    times: dict[str, float] = {}
    refused: dict[str, str] = {}
    for name in names:
        try:
            times[name] = measure_one(name)
        except (ModelError, ProviderError) as error:
            refused[name] = str(error)
    if not times:
        raise ModelError(next(iter(refused.values())))
    return Choice(min(times, key=times.__getitem__), times, refused)


def _in_a_process(path: Path, name: str, threads: int | None) -> float:
    """Measure a provider in a process of its own: an engine that crashes is only refused."""
    command = [sys.executable, "-m", __name__, str(path), name, str(threads or 0)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModelError(f"{name} could not be measured: {one_line(error)}") from error
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        said = done.stderr.strip().splitlines()
        problem = said[-1] if said else f"its process ended with {done.returncode}"
        raise ModelError(f"{name} could not be measured: {problem}")
    found = json.loads(lines[-1])
    if "refused" in found:
        raise ModelError(found["refused"])
    return float(found["milliseconds"])


def main(path: str, name: str, threads: str) -> None:
    """Check and time a provider in this process, and print a line of JSON."""
    accept_any_text()
    try:
        engine = open_engine(Path(path), name, int(threads) or None)
        verify(engine)  # this is the warm-up, too
    except (ModelError, ProviderError) as error:
        print(json.dumps({"refused": str(error)}))
        return
    picture = decode_reference(engine.info)
    print(json.dumps({"milliseconds": median_ms(lambda: engine.run(picture))}))


def median_ms(run: Callable[[], object]) -> float:
    """Return the median milliseconds of some runs."""
    seconds: list[float] = []
    while len(seconds) < _RUNS and sum(seconds) < _SECONDS:
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return 1e3 * statistics.median(seconds)


def _needs_build(name: str, sha256: str) -> bool:
    """Whether TensorRT would build an engine first."""
    if not name.startswith("tensorrt"):
        return False
    try:
        return not any(engine_folder(sha256, PROVIDERS[name][1], create=False).glob("*.engine"))
    except OSError:
        return True


def _facts(sha256: str, names: list[str], threads: int | None) -> dict[str, Any]:
    """Everything that the times depend on."""
    versions = {}
    for package in ("onnx", "onnxruntime", "onnxruntime-gpu", "openvino"):
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {
        "model": sha256,
        "providers": names,
        "threads": threads,
        "versions": versions,
        "tensorrt": tensorrt_version() if any("tensorrt" in name for name in names) else "",
        "gpu": gpu() if {"cuda", "tensorrt"} & set(names) else "",
        "processor": processor_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
    }


def _memory(facts: dict[str, Any]) -> Path | None:
    """File that keeps the choice for these facts; None if this user has no home folder."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    try:
        return cache_root() / "providers" / f"{digest[:16]}.json"
    except OSError:
        return None


def _recall(memory: Path | None) -> Choice | None:
    """Read an earlier choice; None if there is none, or the file is damaged."""
    if memory is None:
        return None
    try:
        content = json.loads(memory.read_text(encoding="utf-8"))
        if content["provider"] not in PROVIDERS:
            return None
        return Choice(
            content["provider"],
            {str(name): float(ms) for name, ms in content["milliseconds"].items()},
            {str(name): str(reason) for name, reason in content["refused"].items()},
            remembered=True,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


if __name__ == "__main__":
    main(*sys.argv[1:])
