"""Run times of this project and of alternatives that a user could run instead.

    python -m emu_core.bench                          # everything: out/bench/bench.json
    python -m emu_core.bench --parts inference --sizes 512x1024 --threads 2
    python -m emu_core.bench --quick                  # only a test run: do not quote its numbers
    python -m emu_core.bench.report out/bench/bench.json --document docs/performance.md

In each round, every model runs once, in random order; other load then slows all models equally.
Ratios are computed within each round. If a part cannot run, its results contain the reason.
"""
