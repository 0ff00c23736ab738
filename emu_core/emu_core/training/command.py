"""The training commands' options and help, and how they end: in one line where a user erred."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence

import jsonargparse
from lightning.pytorch.utilities import rank_zero_only

from emu_core.export import ExportError

_CHATTER = (
    ".*does not have many workers.*",  # validation is short, and its frames come in order
    ".*logs directory .* exists and is not empty.*",  # `run.keep_metrics` has seen to it
    ".*[Cc]heckpoint directory .* exists and is not empty.*",
    ".*in eval mode at the start of training.*",  # a sub-ensemble's trunk
    ".*LeafSpec.*",  # torch's, about Lightning
)


class HelpFormatter(argparse.RawDescriptionHelpFormatter, jsonargparse.DefaultHelpFormatter):
    """jsonargparse's, which leaves the lines of the description as they are."""


def call_from(arguments: Sequence[str], function: Callable[..., object], description: str) -> None:
    """Call a function with options from a command line and its --config files.

    Args:
        arguments: of the command line.
        function: its parameters are the options; those of data classes have dots.
        description: the command's.
    """
    jsonargparse.auto_cli(
        function,
        args=list(arguments),
        as_positional=False,
        description=description,
        formatter_class=HelpFormatter,
        usage="%(prog)s [--config FILE …] [--OPTION VALUE …]",
    )


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
    rank_zero_only.rank = max(int(os.environ.get(name, "0")) for name in numbers)
