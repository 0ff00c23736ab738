"""Build the engine of a model in advance, so that the node starts within seconds.

    build_engine                                     # the shipped model, provider tensorrt
    build_engine --model student.onnx --provider tensorrt-fp16
    build_engine --cameras 4                         # and one for the images of four cameras

TensorRT takes minutes for a new model, GPU or version. The engine is checked with the reference
in the model file and kept in $EMU_ENGINE_CACHE (default: ~/.cache/emu/engines), where a node of
the same user finds it. Other providers are only checked; they keep nothing.

Exit codes: 0 built and checked, 1 failed (the reason is printed in one line), 2 wrong arguments.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from emu_perception.errors import UserError
from emu_perception.ros.command_line import argument_parser, run, split_ros_arguments


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    own, _ = split_ros_arguments(sys.argv[1:] if arguments is None else arguments)
    return run("build_engine", lambda: _build(own))


def _build(arguments: Sequence[str]) -> int:
    parser = argument_parser("build_engine", __doc__)
    parser.add_argument("--model", help="ONNX file (default: the shipped model)")
    parser.add_argument("--provider", default="tensorrt", help="default: %(default)s")
    parser.add_argument("--cameras", type=int, default=1, help="cameras of the node (default: 1)")
    given = parser.parse_args(arguments)
    model, provider, cameras = given.model, given.provider, given.cameras
    if cameras < 1:
        parser.error(f"--cameras must be at least 1, but it is {cameras}")
    from emu_core.runtime.engines import cache_root
    from emu_core.runtime.model_file import ModelError
    from emu_core.runtime.perceiver import Perceiver, ProviderError

    start = time.monotonic()
    try:
        with _progress(provider):
            perceiver = Perceiver(model, provider=provider)
            errors = perceiver.verify()
            batches = perceiver.use_batches(cameras) if cameras > 1 else ""
    except (ModelError, ProviderError, ValueError) as error:
        raise UserError(str(error)) from error
    info, elapsed = perceiver.info, time.monotonic() - start
    checked = ", ".join(f"{name} {value:.3g}" for name, value in errors.items())
    print(
        f"{info.name} (sha256 {info.sha256[:12]}) on {provider}: ready and checked in "
        f"{elapsed:.1f} s; {checked}"
    )
    if batches:
        print(f"{cameras} cameras: {batches}")
    if provider.startswith("tensorrt"):
        print(f"kept in {cache_root()}")
    return 0


@contextmanager
def _progress(provider: str) -> Iterator[None]:
    """Print the elapsed time every ten seconds."""
    done, start = threading.Event(), time.monotonic()

    def report() -> None:
        while not done.wait(10.0):
            elapsed = time.monotonic() - start
            print(f"{provider}: running for {elapsed:.0f} s", file=sys.stderr, flush=True)

    threading.Thread(target=report, daemon=True).start()
    try:
        yield
    finally:
        done.set()


if __name__ == "__main__":
    sys.exit(main())
