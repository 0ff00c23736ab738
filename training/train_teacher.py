r"""Train a teacher: the members of a Deep Ensemble, or the heads of a Deep Sub-Ensemble.

    python training/train_teacher.py --config training/configs/b0_drives.yaml      # one network
    python training/train_teacher.py --config training/configs/b0_drives.yaml --members 10
    python training/train_teacher.py --config training/configs/b0_drives.yaml --members 10 \
        --method sub_ensemble --run.name sub_ensemble
    python training/train_teacher.py --config training/configs/cityscapes.yaml \
        --architecture.variant b5 --run.devices 4
    python training/train_teacher.py --help

Leaves in runs/NAME/member-K: last.ckpt (training goes on from it when the command is given
again), last.safetensors and best.safetensors (weights alone; best by validation's mIoU),
metrics.csv (metrics-1.csv and so on are those of earlier calls), pictures/ and config.yaml, which
is a --config again. Members that are complete are skipped. A sub-ensemble's heads are put together
in runs/NAME/sub_ensemble.safetensors.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from emu_core.training.command import parse_config, run_command
from emu_core.training.config import TrainingConfig
from emu_core.training.release import report_impossible_export
from emu_core.training.teacher import TeacherMethod, train_ensemble, train_sub_ensemble


@dataclass(frozen=True)
class TeacherConfig(TrainingConfig):
    """The networks of a teacher, trained one after the other.

    Args:
        data: data set and augmentation.
        architecture: the network and the weights that it starts from.
        loss: cross-entropy and a depth loss.
        optimisation: AdamW and its schedule.
        run: length, seed of the first network, precision, output.
        members: number of networks; member K has seed run.seed + K.
        method: ensemble trains them independently, sub_ensemble trains new heads on the trunk of
            the first one.
    """

    members: int = 1
    method: TeacherMethod = "ensemble"


def train(config: TeacherConfig) -> None:
    """Train the networks of a teacher."""
    report_impossible_export(TrainingConfig.part_of(config))
    train_networks = train_ensemble if config.method == "ensemble" else train_sub_ensemble
    train_networks(TrainingConfig.part_of(config), config.members, Path("runs") / config.run.name)


def main() -> int:
    """Command line."""
    return run_command(
        "train_teacher", lambda: train(parse_config(TeacherConfig, sys.argv[1:], __doc__))
    )


if __name__ == "__main__":
    sys.exit(main())
