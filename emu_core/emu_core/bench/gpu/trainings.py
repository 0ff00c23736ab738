"""Train and distil with the commands of this project on the device, and compare with the CPU."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

from emu_core.bench.gpu.checks import FailedError, GpuSettings, SkippedError

TOLERANCE = 0.1
"""Largest relative difference of a loss in bfloat16 on the device from that in fp32 on the CPU."""

_DRIVES = {
    "width": 256,
    "height": 128,
    "splits": {
        "train": {"seeds": [8000, 8003], "frames": 4, "interval": 0.7},
        "val": {"seeds": [8100, 8100], "frames": 2, "interval": 2.0},
        "test": {"seeds": [8200, 8200], "frames": 2, "interval": 2.0},
    },
}
_OPTIONS = {
    "data.kind": "drives",
    "data.root": "drives",
    "data.batch": 4,
    "data.workers": 0,
    "data.augmentation.canonical_focal": 200.0,
    "data.augmentation.depth_limit": 110.0,
    "optimisation.learning_rate": 1e-3,
    "optimisation.decoder_factor": 1.0,
    "optimisation.warmup": 5,
    "run.seed": 3,
    "run.ema": 0.9,
}


def check_training(settings: GpuSettings) -> dict[str, Any]:
    """Train a teacher and distil in bfloat16 on the device and in fp32 on the CPU.

    Raises:
        SkippedError: The commands are not there.
        FailedError: A command failed, or a loss differs by more than `TOLERANCE`.
    """
    losses = {}
    for place, precision in ((settings.device, "bf16-mixed"), ("cpu", "32-true")):
        name = f"{place}_{precision.partition('-')[0]}"
        teacher = {"teacher.members": 1, "teacher.steps": _steps(settings)}
        _run(settings, "distill.py", name, place, precision, teacher)
        folders = {"teacher": "teacher/member-0", "student": "student"}
        losses[name] = {kind: _last_loss(settings, name, f) for kind, f in folders.items()}
    first, second = losses.values()
    differences = {kind: abs(first[kind] / second[kind] - 1) for kind in first}
    if not all(difference <= TOLERANCE for difference in differences.values()):
        raise FailedError(f"losses differ by {differences}, more than {TOLERANCE}: {losses}")
    return {"losses": losses, "relative_differences": differences}


def check_devices(settings: GpuSettings) -> dict[str, Any]:
    """Train on all devices together (DDP); the loss agrees with that of one device.

    Raises:
        SkippedError: There is one GPU only, or the command is not there.
        FailedError: As `check_training`.
    """
    count = torch.cuda.device_count() if settings.on_gpu else 2
    if count < 2:
        raise SkippedError("this machine has one GPU; several processes need several")
    losses = {}
    for number in (1, count):
        name = f"devices_{number}"
        options = {"run.devices": number, "members": 1}
        _run(settings, "train_teacher.py", name, settings.device, "32-true", options)
        losses[number] = _last_loss(settings, name, "member-0")
    if not abs(losses[count] / losses[1] - 1) <= TOLERANCE:
        raise FailedError(f"the loss differs by more than {TOLERANCE} between devices: {losses}")
    return {"losses_by_devices": {str(number): loss for number, loss in losses.items()}}


def _steps(settings: GpuSettings) -> int:
    return 20 if settings.quick else 50


def _run(
    settings: GpuSettings,
    script: str,
    name: str,
    place: str,
    precision: str,
    options: dict[str, Any],
) -> None:
    """Run a script of training/ with small drives, which are rendered first."""
    if not (settings.output / "drives").is_dir():
        config = settings.output / "drives.yaml"
        config.write_text(yaml.safe_dump(_DRIVES), encoding="utf-8")
        _call(settings, "render_drives.py", "cpu", "--config", "drives.yaml", "--output", "drives")
    size = (64, 128) if settings.quick else (128, 256)
    given = {
        **_OPTIONS,
        "data.augmentation.height": size[0],
        "data.augmentation.width": size[1],
        "run.name": name,
        "run.precision": precision,
        "run.steps": _steps(settings),
        **options,
    }
    _call(settings, script, place, *(x for k, v in given.items() for x in (f"--{k}", str(v))))


def _call(settings: GpuSettings, script: str, place: str, *arguments: str) -> None:
    program = Path("training", script).resolve()
    if not program.is_file():
        raise SkippedError(f"there is no training/{script} here: start it where the repository is")
    environment = {**os.environ}
    if place == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    done = subprocess.run(
        [sys.executable, str(program), *arguments],
        cwd=settings.output,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise FailedError(f"training/{script} on {place}: {last}")


def _last_loss(settings: GpuSettings, name: str, folder: str) -> float:
    path = settings.output / "runs" / name / folder / "metrics.csv"
    with path.open(encoding="utf-8") as file:
        return [float(row["loss"]) for row in csv.DictReader(file) if row.get("loss")][-1]
