"""Training the networks that a teacher consists of, one after the other, each resumable.

A Deep Ensemble's members differ in their seed: weights, order, augmentation and dropout. A Deep
Sub-Ensemble's heads differ likewise, on the trunk of the first one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.utilities import rank_zero_only

from emu_core.methods.sub_ensemble import save_sub_ensemble, with_new_heads
from emu_core.networks import load_model
from emu_core.training.learner import Member, Optimisation
from emu_core.training.objectives import MemberLoss
from emu_core.training.recipe import Architecture, Data, class_weights
from emu_core.training.run import (
    WEIGHTS,
    Run,
    complete,
    fit,
    print_once,
    read_settings,
    start,
    training_batches,
)

SUB_ENSEMBLE = "sub_ensemble.safetensors"
"""The file that holds a whole Deep Sub-Ensemble, beside its heads' folders."""

TeacherMethod = Literal["ensemble", "sub_ensemble"]


@dataclass(frozen=True)
class Teacher:
    """Where a teacher comes from.

    Args:
        folder: of a finished one, as training/train_teacher.py leaves it; null trains one first.
        method: ensemble trains networks independently, sub_ensemble new heads on one trunk; a
            finished one is what it is.
        members: how many networks; of a finished ensemble at most so many.
        loss: of the teacher's networks; null: the student's on ground truth.
        steps: of each of them; null: as many as the student's.
        seed: of the first one; none of theirs may be the student's.
        architecture: of the teacher's networks; null: the student's, without its init.
    """

    folder: Path | None = None
    method: TeacherMethod = "ensemble"
    members: int = 10
    loss: MemberLoss | None = None
    steps: int | None = None
    seed: int = 0
    architecture: Architecture | None = None


def obtain_teacher(
    teacher: Teacher,
    data: Data,
    architecture: Architecture,
    loss: MemberLoss,
    optimisation: Optimisation,
    run: Run,
    folder: Path,
    *,
    rest: bool = False,
) -> tuple[str, list[Path]]:
    """Train a teacher, or find a finished one.

    Args:
        teacher: where it comes from.
        data: what it is trained on.
        architecture: the student's.
        loss: the student's on ground truth.
        optimisation: optimiser and schedule.
        run: the student's; its seed and its steps are not the teacher's.
        folder: where it is trained.
        rest: whether the student also learns on what `data` leaves out, which a finished teacher
            must not have seen.

    Returns:
        Kind and files as `load_method` takes them.

    Raises:
        As `train_ensemble`; ValueError for a student with a member's seed, and for a folder whose
        teacher is not finished, learned depth for another focal length or saw the fresh frames.
    """
    if teacher.folder is not None:
        return _take_finished(teacher.folder, teacher.members, data, run, rest)
    for k in range(teacher.members):
        _expect_another_seed(run, teacher.seed + k, f"member-{k}")
    own = replace(run, seed=teacher.seed, steps=teacher.steps or run.steps)
    network = teacher.architecture or replace(architecture, init=None)
    own_loss = teacher.loss or loss
    arguments = (data, network, own_loss, optimisation, own, teacher.members, folder)
    if teacher.method == "sub_ensemble":
        return "dse", [train_sub_ensemble(*arguments)]
    return "de", train_ensemble(*arguments)


def train_ensemble(
    data: Data,
    architecture: Architecture,
    loss: MemberLoss,
    optimisation: Optimisation,
    run: Run,
    members: int,
    folder: Path,
) -> list[Path]:
    """Train the members of a Deep Ensemble, member k with seed run.seed + k.

    Returns:
        folder/member-K/last.safetensors of each; complete ones are not trained again.

    Raises:
        DataError: the data is missing or damaged.
        FloatingPointError: a loss diverged.
        ValueError: settings that do not fit together, or not to what the folder holds.
    """
    paths = []
    for k in range(members):
        own = replace(run, seed=run.seed + k)
        print_once(f"member {k} of {members}, seed {own.seed}: {folder / f'member-{k}'}")
        paths.append(
            train_network(data, architecture, loss, optimisation, own, folder / f"member-{k}")
        )
    return paths


def train_sub_ensemble(
    data: Data,
    architecture: Architecture,
    loss: MemberLoss,
    optimisation: Optimisation,
    run: Run,
    heads: int,
    folder: Path,
) -> Path:
    """Train a Deep Sub-Ensemble: trunk and head 0 together, then heads 1… on the frozen trunk.

    Returns:
        folder/sub_ensemble.safetensors; complete heads in folder/member-K are not trained again.

    Raises:
        As `train_ensemble`.
    """
    (first,) = train_ensemble(data, architecture, loss, optimisation, run, 1, folder)
    paths = [first]
    for k in range(1, heads):
        own = replace(run, seed=run.seed + k)
        print_once(f"head {k} of {heads}, seed {own.seed}: {folder / f'member-{k}'}")
        path = train_network(
            data, architecture, loss, optimisation, own, folder / f"member-{k}", trunk=first
        )
        paths.append(path)
    together = folder / SUB_ENSEMBLE
    rank_zero_only(save_sub_ensemble)([load_model(path)[0] for path in paths], together)
    if torch.distributed.is_initialized():
        torch.distributed.barrier()  # the other processes go on to read it
    return together


def train_network(
    data: Data,
    architecture: Architecture,
    loss: MemberLoss,
    optimisation: Optimisation,
    run: Run,
    folder: Path,
    trunk: Path | None = None,
) -> Path:
    """Train one network on ground truth; leaves what `run.fit` says in `folder`.

    Args:
        data: what to train on.
        architecture: which network.
        loss: kinds and weights of its terms.
        optimisation: optimiser and schedule.
        run: length, seed, precision.
        folder: of this run.
        trunk: weights of a network whose encoder is taken over and stays as it is.

    Returns:
        folder/last.safetensors; a complete network is not trained again.

    Raises:
        As `train_ensemble`.
    """
    config = {
        "data": asdict(data), "architecture": asdict(architecture), "loss": asdict(loss),
        "optimisation": asdict(optimisation), "run": asdict(run),
    }  # fmt: skip
    if complete(folder, run, config):
        return folder / WEIGHTS
    start(run)
    samples = data.open_training()
    print_once(
        f"{len(samples)} training images from {data.root}, depth valid up to "
        f"{samples.max_depth:g} m"
    )
    if trunk is None:
        network = architecture.build(len(samples.classes), samples, data.augmentation)
    else:
        network = with_new_heads(load_model(trunk)[0])
        if network.depth_decoder is not None:
            architecture.start_depth(network, samples, data.augmentation)
    member = Member(
        network, optimisation, loss, len(samples.classes), samples.max_depth, run.seed,
        run.shares_every, class_weights(samples, loss.class_balance),
    )  # fmt: skip
    return fit(member, training_batches(data, samples, run), data, run, folder, config)


def find_teacher(folder: Path) -> tuple[str, list[Path]]:
    """What a folder of `train_ensemble` or `train_sub_ensemble` holds.

    Returns:
        kind and paths as `load_method` takes them.

    Raises:
        ValueError: it holds no finished network.
    """
    if (folder / SUB_ENSEMBLE).is_file():
        return "dse", [folder / SUB_ENSEMBLE]
    paths = sorted(folder.glob(f"member-*/{WEIGHTS}"), key=lambda path: _number(path.parent))
    if not paths:
        raise ValueError(
            f"Found no member-K/{WEIGHTS} in {folder}: train a teacher with "
            "training/train_teacher.py first."
        )
    return "de", paths


def _take_finished(
    folder: Path, members: int, data: Data, run: Run, rest: bool
) -> tuple[str, list[Path]]:
    """At most so many members of a folder, if a student of these settings may learn from them."""
    kind, paths = find_teacher(folder)
    folders = sorted((path.parent for path in folder.glob("member-*/config.yaml")), key=_number)
    if kind == "de":
        paths = paths[:members]
        for own in folders:
            if _number(own)[0] < members and own / WEIGHTS not in paths:
                raise ValueError(
                    f"{own} is not finished: go on with training/train_teacher.py, or take fewer "
                    "of them with --teacher.members."
                )
        folders = [own for own in folders if own / WEIGHTS in paths]
        asked = "" if len(paths) == members else f", where {members} were asked for"
        print_once(f"{len(paths)} members in {folder}{asked}")
    for own in folders:
        settings = read_settings(own / "config.yaml")
        _expect_same_depth(own, settings, data)
        _expect_another_seed(run, settings.get("run.seed"), str(own))
        if rest:
            _expect_same_frames(own, settings, data)
    return kind, paths


def _expect_same_depth(member: Path, settings: dict[str, Any], data: Data) -> None:
    """Refuse a teacher whose metres are not the student's, as far as its configuration tells."""
    for name in ("canonical_focal", "width", "image_width", "rescale_depth"):
        option = f"data.augmentation.{name}"
        theirs, ours = settings.get(option), getattr(data.augmentation, name)
        if option in settings and theirs != ours:
            raise ValueError(
                f"The teacher's {member} learned depth with {option} {theirs}, and here it is "
                f"{ours}: its metres would be wrong. Use the same."
            )


def _expect_another_seed(run: Run, seed: int | None, member: str) -> None:
    """Refuse a student that would be a member again: its first weights, order and crops."""
    if run.seed == seed:
        raise ValueError(
            f"The student's run.seed {run.seed} is that of the teacher's {member}: it would begin "
            "with the same weights and meet the same crops in the same order. Give it another, "
            "e.g. --run.seed 100."
        )


def _expect_same_frames(member: Path, settings: dict[str, Any], data: Data) -> None:
    """Refuse fresh frames that a member was trained on."""
    for name in ("kind", "root", "limit", "sequences"):
        option, ours = f"data.{name}", getattr(data, name)
        theirs = settings.get(option)
        same = Path(theirs or "").resolve() == ours.resolve() if name == "root" else theirs == ours
        if option in settings and not same:
            raise ValueError(
                f"distillation.fresh is rest, the frames that the members left out, but the "
                f"teacher's {member} was trained with {option} {theirs}, and here it is {ours}. "
                "Use the same, or other fresh frames."
            )


def _number(path: Path) -> tuple[int, str]:
    """By which members' folders are ordered."""
    digits = path.name.rpartition("-")[2]
    return (int(digits) if digits.isdigit() else -1, str(path))
