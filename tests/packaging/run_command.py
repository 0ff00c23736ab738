"""Run the programs of the packaging's tests."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_command(*command, **options):
    """Run a command that must succeed, by default in the repository; return its output."""
    options = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 300} | options
    done = subprocess.run([str(part) for part in command], check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
