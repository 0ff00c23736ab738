"""Train the networks of a teacher one after the other; each training can be resumed.

Networks differ in their seed, which decides first weights, order, augmentation and dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_only

from emu_core.data.survey import survey_training
from emu_core.files import natural_sort
from emu_core.labels import ClassTable
from emu_core.methods.registry import METHODS
from emu_core.methods.sub_ensemble import save_sub_ensemble, with_new_heads
from emu_core.networks import load_model
from emu_core.networks.learned import check_weights
from emu_core.networks.weights import read_header
from emu_core.options import at_least
from emu_core.registry import Registry
from emu_core.training.build import build_network, init_depth_head
from emu_core.training.config import (
    REST,
    SEED,
    Architecture,
    Run,
    StudentConfig,
    TrainingConfig,
    flat,
    plain,
)
from emu_core.training.learner import Member
from emu_core.training.objectives import MemberLoss
from emu_core.training.run import (
    WEIGHTS,
    check_start,
    complete,
    describe_training,
    fit,
    print_once,
    read_settings,
    start,
    training_batches,
)

SUB_ENSEMBLE = "sub_ensemble.safetensors"
"""The file that holds a complete Deep Sub-Ensemble, next to the folders of its heads."""


@dataclass(frozen=True)
class TeacherKind:
    """How the networks of a teacher are trained.

    Args:
        method: Name of the teacher in `METHODS`.
        train: Function that trains networks in a folder and returns the files of the method.
        files: Pattern of these files in that folder.
    """

    method: str
    train: Callable[[TrainingConfig, int, Path], list[Path]]
    files: str


TEACHERS: Registry[TeacherKind] = Registry("kind of teacher")


@dataclass(frozen=True)
class Teacher:
    """The teacher: trained first, or taken from a folder.

    Args:
        folder: Folder of a trained teacher (output of training/train_teacher.py); null trains one.
        method: ensemble trains networks independently, sub_ensemble trains new heads on one trunk.
            It has no effect on a trained teacher.
        members: Number of networks; of a trained ensemble, the maximum number.
        loss: Loss of the teacher's networks; null: the student's loss on ground truth.
        steps: Steps of each network; null: as many as the student.
        seed: Seed of the first network; network K has seed + K. The student needs another seed.
        architecture: Architecture of the networks; null: the student's, without its init.
    """

    folder: Path | None = None
    method: str = "ensemble"
    members: int = field(default=10, metadata=at_least(1))
    loss: MemberLoss | None = None
    steps: int | None = field(default=None, metadata=at_least(1))
    seed: int = field(default=0, metadata=SEED)
    architecture: Architecture | None = None

    def __post_init__(self) -> None:
        TEACHERS.check(self.method)


def obtain_teacher(
    teacher: Teacher, config: StudentConfig, folder: Path
) -> tuple[str, list[Path]]:
    """Train a teacher, or find a trained one.

    Args:
        teacher: Where it comes from.
        config: The student's; seed and steps of its run are not the teacher's.
        folder: Where the teacher is trained.

    Returns:
        Kind and files as `load_method` takes them.

    Raises:
        ValueError: The student has a member's seed; or the teacher in `teacher.folder` is not
            finished, learned another scale of depth, or was trained on the unlabelled frames.
    """
    run = config.run
    if teacher.folder is not None:
        return _take_finished(teacher.folder, teacher.members, config)
    for k in range(teacher.members):
        _expect_another_seed(run, teacher.seed + k, f"member-{k}")
    own = TrainingConfig(
        config.data,
        teacher.architecture or replace(config.architecture, init=None),
        teacher.loss or config.loss.supervised,
        config.optimisation,
        replace(run, seed=teacher.seed, steps=teacher.steps or run.steps),
    )
    kind = TEACHERS[teacher.method]
    return kind.method, kind.train(own, teacher.members, folder)


def train_ensemble(
    config: TrainingConfig, members: int, folder: Path, first: int = 0
) -> list[Path]:
    """Train the members of a Deep Ensemble, member k with seed run.seed + k.

    Args:
        config: Settings of every member.
        members: Number of members to train.
        folder: Folder of the ensemble.
        first: Number of the first one; other processes or settings train those before it.

    Returns:
        folder/member-K/last.safetensors of each; complete members are not trained again.
    """
    numbers = range(first, first + members)
    for k in numbers:  # before hours of training
        complete(folder / f"member-{k}", _seeded(config, k))
    return [_train_one(config, f"member {k} of {numbers.stop}", k, folder) for k in numbers]


def train_sub_ensemble(config: TrainingConfig, heads: int, folder: Path) -> Path:
    """Train a Deep Sub-Ensemble: trunk and head 0 together, then heads 1… on the frozen trunk.

    Returns:
        folder/sub_ensemble.safetensors; complete heads in folder/member-K are not trained again.
    """
    paths: list[Path] = []
    for k in range(heads):  # before hours of training
        complete(folder / f"member-{k}", _seeded(config, k), "head" if k else "network")
    for k in range(heads):
        trunk = paths[0] if paths else None
        paths.append(_train_one(config, f"head {k} of {heads}", k, folder, trunk))
    together = folder / SUB_ENSEMBLE
    heads_and_metadata = [load_model(path) for path in paths]
    first = heads_and_metadata[0][1].get("learned", {})
    learned = {**first, "method": "sub_ensemble", "trunk": _trunk_of(paths[0])}
    networks = [network for network, _ in heads_and_metadata]
    rank_zero_only(save_sub_ensemble)(networks, together, {"learned": learned})
    if torch.distributed.is_initialized():
        torch.distributed.barrier()  # the other processes read the file next
    return together


def _seeded(config: TrainingConfig, k: int) -> TrainingConfig:
    return replace(config, run=replace(config.run, seed=config.run.seed + k))


def _train_one(
    config: TrainingConfig, name: str, k: int, folder: Path, trunk: Path | None = None
) -> Path:
    own = _seeded(config, k)
    print_once(f"{name}, seed {own.run.seed}: {folder / f'member-{k}'}")
    return train_network(own, folder / f"member-{k}", trunk)


def train_network(config: TrainingConfig, folder: Path, trunk: Path | None = None) -> Path:
    """Train one network on ground truth; leaves the files of `run.fit` in `folder`.

    Args:
        config: Data, network, loss, optimiser, schedule.
        folder: Folder of this run.
        trunk: Weights of a network whose encoder is copied and frozen.

    Returns:
        folder/last.safetensors; a complete network is not trained again.

    Raises:
        DataError: The data is missing or damaged.
        FloatingPointError: The loss is not finite.
        ValueError: The settings contradict each other, or a run in the folder has other settings.
    """
    method, digest = ("network", None) if trunk is None else ("head", _trunk_of(trunk))
    if complete(folder, config, method, digest):
        return folder / WEIGHTS
    start(config.run)
    data, architecture = config.data, config.architecture
    samples = data.open_training()
    check_start(config)
    print_once("\n".join(survey_training(samples, architecture.task, architecture.continues)))
    if trunk is None:
        network = build_network(architecture, samples.classes, samples, data.augmentation)
    else:
        network = with_new_heads(load_model(trunk)[0])
        if network.depth_decoder is not None:
            init_depth_head(network, architecture, samples, data.augmentation)
    return fit(Member(network, config, samples), training_batches(config, samples), folder)


def _trunk_of(path: Path) -> str | None:
    """Digest of the encoder in a file; older files have none."""
    return read_header(path)[0].get("encoder")


def find_teacher(folder: Path) -> tuple[str, list[Path]]:
    """Find the teacher that was trained in a folder; ValueError if there is none.

    Returns:
        Kind and files as `load_method` takes them.
    """
    for kind in TEACHERS.values():
        if paths := natural_sort(folder.glob(kind.files)):
            return kind.method, paths
    raise ValueError(
        f"Found no member-K/{WEIGHTS} in {folder}: train a teacher with "
        "training/train_teacher.py first."
    )


def single_networks(kind: str, paths: list[Path]) -> list[Path]:
    """The files of a teacher's networks that were trained on their own."""
    if METHODS[kind].takes_all_files:
        return paths
    # The other heads of a sub-ensemble use the trunk of the first one.
    first = paths[0].parent / "member-0" / WEIGHTS
    return [first] if first.is_file() else []


def _take_finished(folder: Path, members: int, config: StudentConfig) -> tuple[str, list[Path]]:
    kind, paths = find_teacher(folder)
    folders = [path.parent for path in natural_sort(folder.glob("member-*/config.yaml"))]
    if METHODS[kind].takes_all_files:
        paths = paths[:members]
        wanted = {folder / f"member-{k}" for k in range(members)}
        for own in folders:
            if own in wanted and own / WEIGHTS not in paths:
                raise ValueError(
                    f"{own} is not finished: continue it with training/train_teacher.py, or use "
                    "fewer members with --teacher.members."
                )
        folders = [own for own in folders if own / WEIGHTS in paths]
        requested = "" if len(paths) == members else f", but {members} were requested"
        print_once(f"{len(paths)} members in {folder}{requested}")
    for own in folders:
        _check_member(own, config)
    return kind, paths


def _check_member(member: Path, config: StudentConfig) -> None:
    """Refuse a member if its config.yaml shows that this student must not learn from it."""
    theirs, ours = read_settings(member / "config.yaml"), flat(plain(config))
    _expect_another_seed(config.run, theirs.get("run.seed"), str(member))
    scale = ("canonical_focal", "width", "image_width", "rescale_depth")
    names = [f"data.augmentation.{name}" for name in scale]
    consequences = dict.fromkeys(names, "its depth would have a wrong scale.")
    if config.distillation.unlabelled == REST:
        frames = ("data.kind", "data.root", "data.limit", "data.sequences")
        seen = "it may have been trained on the unlabelled frames."
        consequences |= dict.fromkeys(frames, seen)
        if Path(theirs.get("data.root", "")).resolve() == config.data.root.resolve():
            theirs.pop("data.root", None)
    for option, consequence in consequences.items():
        if theirs.get(option, ours[option]) != ours[option]:
            raise ValueError(
                f"The teacher's {member} was trained with {option} {theirs[option]}, but here it "
                f"is {ours[option]}: {consequence}"
            )


def check_teacher(paths: Sequence[Path], config: StudentConfig, classes: ClassTable) -> None:
    """Check that a teacher's networks learned the classes and the scale of depth of a student.

    Raises:
        WeightsError: They learned others, or a file is damaged.
    """
    expected = {**describe_training(config), "classes": list(classes.names)}
    for path in paths:
        advice = "Distil with the values that the teacher was trained with, or train another one."
        check_weights(path, expected, "the student's configuration", advice)


def _expect_another_seed(run: Run, seed: int | None, member: str) -> None:
    """Refuse a student with a member's seed: it would get the same first weights and crops."""
    if run.seed == seed:
        raise ValueError(
            f"The student's run.seed {run.seed} is that of the teacher's {member}: it would start "
            "with the same weights and see the same crops in the same order. Choose another seed, "
            "e.g. --run.seed 100."
        )


# A sub-ensemble's folder also holds its heads as members: `find_teacher` looks for it first.
TEACHERS.add(
    "sub_ensemble",
    TeacherKind("dse", lambda config, n, to: [train_sub_ensemble(config, n, to)], SUB_ENSEMBLE),
)
TEACHERS.add("ensemble", TeacherKind("de", train_ensemble, f"member-*/{WEIGHTS}"))
