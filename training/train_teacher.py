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
from pathlib import Path

from emu_core.training.command import call_from, run_command
from emu_core.training.learner import Optimisation
from emu_core.training.objectives import MemberLoss
from emu_core.training.recipe import Architecture, Data
from emu_core.training.run import Run
from emu_core.training.teacher import TeacherMethod, train_ensemble, train_sub_ensemble


def train(
    data: Data = Data(),  # noqa: B008
    architecture: Architecture = Architecture(),  # noqa: B008
    loss: MemberLoss = MemberLoss(),  # noqa: B008
    optimisation: Optimisation = Optimisation(),  # noqa: B008
    run: Run = Run(),  # noqa: B008
    members: int = 1,
    method: TeacherMethod = "ensemble",
) -> None:
    """Train the networks of a teacher, one after the other.

    Args:
        data: data set and augmentation.
        architecture: the network and what it starts from.
        loss: cross-entropy and a depth loss.
        optimisation: AdamW and its schedule.
        run: length, seed of the first one, precision, output.
        members: how many; member K has seed run.seed + K.
        method: ensemble trains them independently, sub_ensemble trains new heads on the first
            one's trunk.
    """
    train_them = train_ensemble if method == "ensemble" else train_sub_ensemble
    train_them(data, architecture, loss, optimisation, run, members, Path("runs") / run.name)


def main() -> int:
    """Command line."""
    return run_command("train_teacher", lambda: call_from(sys.argv[1:], train, __doc__))


if __name__ == "__main__":
    sys.exit(main())
