"""What the training commands share: options, help, error messages and process settings."""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import jsonargparse
import torch
from lightning.pytorch.utilities import rank_zero_only

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
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    set_global_rank()
    for message in _HIDDEN_WARNINGS:
        warnings.filterwarnings("ignore", message)
    try:
        call()
    except (ValueError, FloatingPointError, ExportError, OSError) as error:
        # An error in a loading process arrives as a traceback that ends with the message.
        message = str(error).rpartition("DataError: ")[2].strip()
        print(f"{name}: {message}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, SystemExit) as error:
        # Lightning exits when it is interrupted.
        if not any(isinstance(e, KeyboardInterrupt) for e in (error, error.__context__)):
            raise
        print(f"{name}: interrupted; the same command resumes.", file=sys.stderr)
        return 130
    return 0


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
