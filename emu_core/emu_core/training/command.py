"""What the training commands share: options, help, messages, process settings, early checks."""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import jsonargparse
import torch
from lightning.pytorch.utilities import rank_zero_only

from emu_core.files import DiskFullError, folder_size, is_disk_full, require_space
from emu_core.networks import DepthFormer, Network, SegDepthFormer, SegFormer
from emu_core.terminal import accept_any_text, orderly_end, system_problem
from emu_core.training.config import Architecture, Run, StudentConfig, TrainingConfig
from emu_core.training.export import ExportError

Config = TypeVar("Config", bound=Any)

_HIDDEN_WARNINGS = (
    ".*does not have many workers.*",  # validation is short and runs in this process
    ".*logs directory .* exists and is not empty.*",  # `run.keep_metrics` has renamed metrics.csv
    ".*[Cc]heckpoint directory .* exists and is not empty.*",
    ".*in eval mode at the start of training.*",  # the trunk of a sub-ensemble
    ".*LeafSpec.*",  # torch's warning about Lightning's code
)


class HelpFormatter(argparse.RawDescriptionHelpFormatter, jsonargparse.DefaultHelpFormatter):
    """jsonargparse's formatter, which keeps the line breaks of the description."""


def parse_config(kind: type[Config], arguments: Sequence[str], description: str) -> Config:
    """Read a configuration from a command line and its --config files.

    Args:
        kind: Data class. Its fields are the options; the names of nested fields have dots.
        arguments: Arguments of the command line.
        description: Help text of the command.
    """
    parser = jsonargparse.ArgumentParser(
        description=description,
        formatter_class=HelpFormatter,
        usage="%(prog)s [--config FILE …] [--OPTION VALUE …]",
    )
    parser.add_argument("--config", action="config", help="YAML file with options")
    parser.add_class_arguments(kind)
    values = parser.instantiate(parser.parse_args(list(arguments)))
    return kind(**{each.name: values[each.name] for each in fields(kind)})


def run_command(name: str, call: Callable[[], object]) -> int:
    """Run a command and return its exit status; print errors of its user in one line on stderr."""
    accept_any_text()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    set_global_rank()
    for message in _HIDDEN_WARNINGS:
        warnings.filterwarnings("ignore", message)
    try:
        with orderly_end():
            call()
    except (ValueError, FloatingPointError, ExportError, OSError) as error:
        print(f"{name}: {message_of(error)}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, SystemExit) as error:
        # Lightning exits when it is interrupted.
        interrupted = any(isinstance(e, KeyboardInterrupt) for e in (error, error.__context__))
        status = 128 + signal.SIGINT if interrupted else getattr(error, "code", None)
        if status not in (128 + signal.SIGINT, 128 + signal.SIGTERM):
            raise
        print(f"{name}: interrupted; the same command resumes.", file=sys.stderr)
        return int(status)
    return 0


def message_of(error: Exception) -> str:
    """Return the message of an error that a user can mend."""
    if isinstance(error, OSError) and error.errno is not None and is_disk_full(error, Path()):
        return str(DiskFullError(error.filename or Path("runs")))
    if isinstance(error, OSError) and error.filename:
        return f"{system_problem(error)}."
    # An error in a loading process arrives as a traceback that ends with the message.
    return re.split(r"^[\w.]+Error: ", str(error), flags=re.MULTILINE)[-1].strip()


def check_devices(run: Run) -> None:
    """Refuse more GPUs than there are; ValueError."""
    if not torch.cuda.is_available() or run.devices == "auto":
        return
    if int(run.devices) > (count := torch.cuda.device_count()):
        raise ValueError(
            f"run.devices must be auto or at most {count}, the number of GPUs of this machine, "
            f"but it is {run.devices}."
        )


def usable_device(name: str) -> torch.device:
    """Return a device by its name; ValueError if there is none of this name."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"--device must be cpu, cuda or another device of this machine, but it is {name!r}: "
            f"{reason}"
        ) from error
    return device


def require_training_space(
    folder: Path, trainings: Iterable[TrainingConfig], cached: Mapping[Path, int] | None = None
) -> None:
    """Check that checkpoints and weights of trainings, and caches, fit onto the disk.

    Args:
        folder: Folder of all trainings; what it holds already is not needed again.
        trainings: Their settings.
        cached: Folder of each cache, and its bytes in total.

    Raises:
        OSError: There is too little space.
    """
    kept, largest = 0, 0
    for config in trainings:
        weights = _weight_bytes(config.architecture)
        checkpoint = (4 if config.run.ema else 3) * weights  # weights, average, two moments
        kept += 2 * checkpoint + 2 * weights  # last and best
        if config.run.steps > min(config.run.checkpoint_every, config.run.validate_every):
            largest = max(largest, checkpoint)  # a new one is written before the old is deleted
    needs = [("checkpoints and weights", folder, kept + largest)]
    needs += [("cached frames", path, size) for path, size in (cached or {}).items()]
    require_space((what, path, max(n - folder_size(path), 0)) for what, path, n in needs)


def cache_sizes(config: TrainingConfig) -> dict[Path, int]:
    """Estimate the bytes that a training writes into the folders of its caches."""
    data, folder, sizes = replace(config.data, cache=None), config.data.cache, {}
    train = data.open_training()
    if folder is not None:
        frames = (*train.parts, *data.open_validation())
        pixels = sum(len(each) * each[0].image[..., 0].size for each in frames)
        sizes[folder] = 8 * pixels  # image, labels, float32 depth
    if isinstance(config, StudentConfig) and (cache := config.distillation.cache) is not None:
        pixels = data.augmentation.height * data.augmentation.width
        maps = 2 * (len(train.classes) + 2) * pixels // 16  # float16 at a quarter of the size
        frames_of_student = len(train) * (config.distillation.variants or 1)
        sizes[cache] = sizes.get(cache, 0) + maps * frames_of_student
    return sizes


@lru_cache
def _weight_bytes(architecture: Architecture) -> int:
    kinds = {"joint": SegDepthFormer, "segmentation": SegFormer}
    with torch.device("meta"):
        if architecture.task == "depth":
            network: Network = DepthFormer(architecture.variant)
        else:
            network = kinds[architecture.task](architecture.variant, 40)
    return sum(x.numel() * x.element_size() for x in network.state_dict().values())


def set_global_rank() -> None:
    """Set `rank_zero_only.rank` of this process before there is a Trainer.

    Lightning reads only RANK, LOCAL_RANK or SLURM_PROCID at first. If nodes are started by hand,
    the first process of every node would take itself for the first of all and write files.
    """
    names = ["LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"]
    if "RANK" in os.environ:  # torchrun sets it; the other variables then have no meaning
        names = ["RANK"]
    rank = max(int(os.environ.get(name, "0")) for name in names)
    rank_zero_only.rank = rank  # type: ignore[attr-defined]


def is_first_process() -> bool:
    """Return whether this process of a training is the one that prints and writes results."""
    return rank_zero_only.rank == 0  # type: ignore[attr-defined]


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def prepare_cpu(threads: int = 0) -> None:
    """Limit the CPU threads and keep freed memory in the process.

    glibc returns large blocks to the system at once, so that every activation causes page faults
    again in the next step. On other C libraries nothing happens.

    Args:
        threads: Number of threads, 0 for no limit.
    """
    if threads:
        torch.set_num_threads(threads)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
