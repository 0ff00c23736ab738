"""Times of this project and of what a user would run instead, side by side in one run.

    python -m emu_core.bench                          # all of it: out/bench/bench.json
    python -m emu_core.bench --parts inference --sizes 512x1024 --threads 2
    python -m emu_core.bench --quick                  # whether all runs; quote none of it
    python -m emu_core.bench.report out/bench/bench.json --document docs/performance.md

| module       | measures                                                              |
|--------------|-----------------------------------------------------------------------|
| `inference`  | the student, plain networks, ensembles, on the same images in turn    |
| `ros`        | the node (a program of `emu_perception`, run as a process)             |
| `training`   | a joint training step, images per second                              |
| `growth`     | how time and memory grow with pixels, cameras, members and backbone   |
| `profile`    | where a student's time goes, its multiply-adds, the machine's peak    |

What is compared runs in turn, round by round, so that whatever else the machine does slows all of
it alike; a ratio is taken within each round. A part that cannot run says why.
"""
