"""Times of this project and of alternatives that a user could run instead.

    python -m emu_core.bench                          # everything: out/bench/bench.json
    python -m emu_core.bench --parts inference --sizes 512x1024 --threads 2
    python -m emu_core.bench --quick                  # only a test run: do not quote its numbers
    python -m emu_core.bench.report out/bench/bench.json --document docs/performance.md

| module       | measures                                                              |
|--------------|-----------------------------------------------------------------------|
| `inference`  | student, plain networks and ensembles on the same images              |
| `ros`        | the ROS node (programs of `emu_perception`, run as processes)          |
| `training`   | a joint training step, images per second                              |
| `growth`     | time and memory over image size, cameras, members and backbone        |
| `profile`    | time and multiply-adds of the student's parts, and the machine's peak |

Compared models run in turn, round by round, so that other load on the machine slows all of them
equally. Ratios are computed within each round. A part that cannot run reports the reason.
"""
