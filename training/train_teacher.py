r"""Train a teacher: the members of a Deep Ensemble, or the heads of a Deep Sub-Ensemble.

    python training/train_teacher.py --config training/configs/b0_drives.yaml      # one network
    python training/train_teacher.py --config training/configs/b0_drives.yaml --members 10
    python training/train_teacher.py --config training/configs/b0_drives.yaml --members 10 \
        --method sub_ensemble --run.name sub_ensemble
    python training/train_teacher.py --config training/configs/b0_drives.yaml --members 5 \
        --first 5   # members 5 to 9, while another process trains 0 to 4
    python training/train_teacher.py --config training/configs/cityscapes.yaml \
        --architecture.variant b5 --run.devices 4
    python training/train_teacher.py --help

Output in runs/NAME/member-K: last.ckpt (the same command resumes from it), last.safetensors and
best.safetensors (weights only; best by the mIoU of validation), metrics.csv (metrics-1.csv and so
on of earlier calls), pictures/ and config.yaml, which can be given to --config. Complete members
are skipped. The heads of a sub-ensemble are combined in runs/NAME/sub_ensemble.safetensors.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from emu_core.options import at_least
from emu_core.training.command import (
    cache_sizes,
    check_devices,
    parse_config,
    require_training_space,
    run_command,
)
from emu_core.training.config import TrainingConfig
from emu_core.training.release import report_impossible_export
from emu_core.training.teacher import TEACHERS, train_ensemble


@dataclass(frozen=True)
class TeacherConfig(TrainingConfig):
    """Training of a teacher's networks, one after the other.

    Args:
        members: Number of networks; network K has seed run.seed + K.
        method: ensemble trains the networks independently, sub_ensemble trains new heads on the
            trunk of the first one.
        first: Number of the first network; those before it are trained by other calls, e.g. on
            another machine or from other weights.
    """

    members: int = field(default=1, metadata=at_least(1))
    method: str = "ensemble"
    first: int = field(default=0, metadata=at_least(0))

    def __post_init__(self) -> None:
        super().__post_init__()
        TEACHERS.check(self.method)
        if self.first and self.method != "ensemble":
            raise ValueError(
                f"Expected first to be 0 with method {self.method!r}, whose networks share the "
                f"trunk of the first one, but got {self.first}"
            )


def train(config: TeacherConfig) -> None:
    training, folder = TrainingConfig.part_of(config), Path("runs") / config.run.name
    report_impossible_export(training)
    check_devices(training.run)
    require_training_space(folder, [training] * config.members, cache_sizes(training))
    if config.first:
        train_ensemble(training, config.members, folder, config.first)
    else:
        TEACHERS[config.method].train(training, config.members, folder)


def main() -> int:
    return run_command(
        "train_teacher", lambda: train(parse_config(TeacherConfig, sys.argv[1:], __doc__))
    )


if __name__ == "__main__":
    sys.exit(main())
