"""Benchmarks of the node; `python -m emu_core.bench` runs them as processes."""
