"""Processes of ROS tests: start them, wait for their output, and stop them in any case.

All waits are for conditions, with a timeout. Without ROS, a test file that imports this module is
skipped.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from emu_perception.ros.distro import localhost_only

TIMEOUT_S = 30.0  # also for what normally takes a moment: test machines are busy


def ros_environment(domain: int) -> dict[str, str]:
    """This process's environment with a ROS domain, on this machine only."""
    return {
        **os.environ,
        **localhost_only(),
        "ROS_DOMAIN_ID": str(domain),
        "ROS_PYTHON_CHECK_FIELDS": "1",
        "PYTHONUNBUFFERED": "1",
    }


def wait_until(
    condition: Callable[[], object],
    what: str,
    spin: Callable[[], object] = lambda: time.sleep(0.01),
    timeout_s: float = TIMEOUT_S,
) -> None:
    """Call `spin` until the condition holds; fail the test after the timeout."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s"
        spin()


class ChildProcess:
    """A child process; `output` is its stdout and stderr until now."""

    def __init__(self, *command: str | Path, domain: int, **environment: str) -> None:
        self.command = [str(part) for part in command]
        self._output = ""
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            self.command,
            env={**ros_environment(domain), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C in the terminal goes to pytest, which stops the child
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        with self._changed:
            return self._output

    def wait_for_line(self, pattern: str, timeout_s: float = TIMEOUT_S) -> re.Match:
        """The first match of a pattern in the output; fails if the process ends without it."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                if found := re.search(pattern, self._output):
                    return found
                over = not self._reader.is_alive() or time.monotonic() > deadline
                assert not over, f"{self.command}: no {pattern!r} in\n{self._output}"
                self._changed.wait(0.1)

    def wait(self, timeout_s: float = TIMEOUT_S) -> int:
        """The exit code of a process that ends by itself."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.command} does not end:\n{self.output}") from None
        self._reader.join(timeout_s)
        return code

    def stop(self, patience_s: float = 10.0) -> int:
        """The exit code after SIGINT; SIGTERM and SIGKILL follow if the process does not end."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                self.process.send_signal(number)
            try:
                self.process.wait(patience_s)
                break
            except subprocess.TimeoutExpired:
                continue
        self._reader.join(patience_s)
        return self.process.returncode

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self._output += line
                self._changed.notify_all()


@contextmanager
def stopping(*processes: ChildProcess) -> Iterator[None]:
    """Stop the processes after the block, the last one first; print their output on failure."""
    try:
        yield
    except BaseException:
        for process in processes:
            print(f"--- {' '.join(process.command[1:4])}\n{process.output}")
        raise
    finally:
        for process in reversed(processes):
            process.stop()


class TestNode:
    """A node inside the test process, with its own context and executor."""

    __test__ = False  # pytest collects names that begin with Test

    def __init__(self, domain: int, name: str = "test_node") -> None:
        os.environ.update(localhost_only())  # read when the context is made
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node: Node = rclpy.create_node(name, context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)

    def spin(self) -> None:
        """Run one callback, or wait a moment for one."""
        self.executor.spin_once(timeout_sec=0.05)

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        """Run callbacks until the condition holds; fail the test after the timeout."""
        wait_until(condition, what, self.spin)

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


def module(name: str, *arguments: str | Path) -> Sequence[str | Path]:
    """The command that runs one of our modules with this interpreter."""
    return [sys.executable, "-m", f"emu_perception.{name}", *arguments]
