"""The training commands' options and help, and how they end: in one line where a user erred."""

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

_CHATTER = (
    ".*does not have many workers.*",  # validation is short, and its frames come in order
    ".*logs directory .* exists and is not empty.*",  # `run.keep_metrics` has seen to it
    ".*[Cc]heckpoint directory .* exists and is not empty.*",
    ".*in eval mode at the start of training.*",  # a sub-ensemble's trunk
    ".*LeafSpec.*",  # torch's, about Lightning
)


class HelpFormatter(argparse.RawDescriptionHelpFormatter, jsonargparse.DefaultHelpFormatter):
    """jsonargparse's, which leaves the lines of the description as they are."""


def parse_config(kind: type[Config], arguments: Sequence[str], description: str) -> Config:
    """Read a configuration from a command line and its --config files.

    Args:
        kind: data class; its fields are the options, those of nested data classes have dots.
        arguments: of the command line.
        description: the command's help text.
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
    """Run a command, and say in one line on stderr what stopped it.

    Args:
        name: of the command.
        call: what it does.

    Returns:
        The exit status.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    settle_rank()
    for message in _CHATTER:
        warnings.filterwarnings("ignore", message)
    try:
        call()
    except (ValueError, FloatingPointError, ExportError, OSError) as error:
        # From a loading process comes a traceback that ends in the message.
        message = str(error).rpartition("DataError: ")[2].strip()
        print(f"{name}: {message}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, SystemExit) as error:
        # Lightning exits when it is interrupted.
        if not any(isinstance(e, KeyboardInterrupt) for e in (error, error.__context__)):
            raise
        print(f"{name}: interrupted; the same command goes on from there.", file=sys.stderr)
        return 130
    return 0


def settle_rank() -> None:
    """Let `rank_zero_only` know before there is a Trainer which process is the very first.

    Until then Lightning goes by RANK, LOCAL_RANK or SLURM_PROCID alone, so that the first process
    of every node is taken for the first of all where nodes are started by hand, and each writes.
    """
    numbers = (
        ("RANK",)  # torchrun's, which is all that counts
        if "RANK" in os.environ
        else ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
    )
    rank = max(int(os.environ.get(name, "0")) for name in numbers)
    rank_zero_only.rank = rank  # type: ignore[attr-defined]


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def prepare_cpu(threads: int = 0) -> None:
    """Bound the CPU threads (0: leave them) and keep freed memory in the process.

    glibc returns large blocks to the system at once, so that every activation is a page fault
    again at the next step. Elsewhere than on glibc nothing happens.
    """
    if threads:
        torch.set_num_threads(threads)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
