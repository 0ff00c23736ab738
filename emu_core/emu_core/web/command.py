"""Serve a page that shows what the model sees in a picture or clip that is dropped on it.

    python -m emu_core.web                     # then open the printed address in a browser
    python -m emu_core.web --host 0.0.0.0      # also for other computers of the network

The page needs Gradio: pip install 'emu_core[web]'. Nothing leaves this computer: there is no
telemetry, no public link, and all parts of the page come from the server. Dropped files are
deleted after an hour.

Exit codes: 0 stopped by Ctrl-C, 1 the page cannot be served (one line on stderr).
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from emu_core.predict.command import add_inference_options
from emu_core.privacy import SWITCHES
from emu_core.runtime.model_file import ModelError
from emu_core.runtime.perceiver import Perceiver, ProviderError
from emu_core.terminal import accept_any_text

OFFLINE = {**SWITCHES, "GRADIO_ANALYTICS_ENABLED": "False"}
"""Environment of the page, whatever the user has set: it has no telemetry."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    accept_any_text()
    options = make_parser().parse_args(arguments)
    os.environ.update(OFFLINE)
    try:
        if importlib.util.find_spec("gradio") is None:
            raise ModuleNotFoundError("No module named 'gradio'", name="gradio")
        perceiver = Perceiver(options.model, provider=options.provider, fit=options.fit)
        from emu_core.web.page import serve

        serve(perceiver, options.host, options.port, options.clip_frames)
    except ModuleNotFoundError as error:
        say(f"the Python package {error.name} is missing: pip install 'emu_core[web]'")
        return 1
    except (ModelError, ProviderError, OSError) as error:
        say(" ".join(str(error).split()))
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def say(text: str) -> None:
    """Print a line on stderr."""
    print(f"web: {text}", file=sys.stderr, flush=True)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        "python -m emu_core.web",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen at (%(default)s)")
    add("--port", type=int, default=7860, help="port (%(default)s)")
    add("--model", type=Path, help="model file (default: the one that comes with emu_core)")
    frames = "only the first N frames of a clip are predicted (%(default)s)"
    add("--clip-frames", type=int, default=300, metavar="N", help=frames)
    add_inference_options(parser)
    return parser
