"""What a study's configuration says; training/configs/study.yaml is an example."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from emu_core.networks.encoder import VARIANTS
from emu_core.study.rows import ROWS
from emu_core.training.config import Architecture, Data, Optimisation, Run, Task
from emu_core.training.objectives import MemberLoss, StudentLoss


@dataclass(frozen=True)
class Copies:
    """Reduced copies of drives, made once: reading full frames costs as much as training on them.

    Args:
        source: the drives.
        width: of the copies, pixels; enough for the largest random scale.
        pretraining_drives: how many of train the encoder's pre-training gets, evenly spread; no
            other training sees them.
        rendered: the list of drives that the source was rendered from.
    """

    source: Path = Path("data/drives")
    width: int = 512
    pretraining_drives: int = 60
    rendered: Path = Path("training/configs/drives.yaml")


@dataclass(frozen=True)
class Pretraining:
    """What every encoder of the study starts from.

    Trained on the members' own frames it would make them agree (paper.md §6).

    Args:
        steps: optimiser steps.
        task: joint, segmentation or depth.
        optimisation: of a training from scratch.
        seed: of weights, order and augmentation.
        root: data whose train split no other training sees; null for what `copies` sets apart.
        sequences: at most so many drives of it, evenly spread; the fewer, the less members agree.
    """

    steps: int = 2000
    task: Task = "joint"
    optimisation: Optimisation = field(default_factory=Optimisation)
    seed: int = 1000
    root: Path | None = None
    sequences: int | None = None


@dataclass(frozen=True)
class Regime:
    """How much there is to learn from.

    Args:
        steps: of every network.
        limit: at most so many frames.
        sequences: of at most so many drives.
    """

    steps: int
    limit: int | None = None
    sequences: int | None = None


@dataclass(frozen=True)
class Distilling:
    """How students learn, and the controls with them.

    Args:
        loss: the student's.
        jitter: brightness, contrast, saturation and hue; see `data.augment.color_jitter`.
        variants: how many augmentations of each frame there are; the teacher's answers to them
            are kept for later epochs and students. null: new ones every epoch, nothing kept.
        init: what students and controls start from: the pre-trained encoder, or a whole member.
        steps: of students and controls; null for the regime's.
        fresh_limit: at most so many frames without labels, where some are distilled on. Many
            more than labelled ones leave most batches without a label, which is a second change.
        fresh_mean_weight: weight of the teacher's mean depth there, unless the loss has its own.
    """

    loss: StudentLoss = field(default_factory=StudentLoss)
    jitter: tuple[float, float, float, float] = (0.2, 0.2, 0.2, 0.4)
    variants: int | None = None
    init: Literal["encoder", "member"] = "encoder"
    steps: int | None = None
    fresh_limit: int | None = None
    fresh_mean_weight: float = 1.0


@dataclass(frozen=True)
class Item:
    """A row of the tables, for every regime.

    Args:
        row: one of `rows.ROWS`.
        seeds: 0…seeds − 1; those that an earlier item has are not trained again.
        apart: single-task networks, one for classes and one for depth, instead of joint ones.
        regimes: only these; None for all.
        splits: only these; None for all.
        variant: of all its networks, b0…b5; its results make regimes of their own, e.g. few-b1.
            None for the study's.
    """

    row: str
    seeds: int = 1
    apart: bool = False
    regimes: list[str] | None = None
    splits: list[str] | None = None
    variant: str | None = None


@dataclass(frozen=True)
class Study:
    """A study.

    Args:
        name: of its folder below runs/.
        data: data set, augmentation and batch of all trainings; `limit` and `sequences` are the
            regimes'.
        architecture: of all networks; the rows set task, dropout and encoder.
        loss: of members.
        optimisation: of all networks but the pre-trained one.
        run: precision, averaging, first seed; the rows set name and steps. Every process trains
            on one device: for more devices start more processes.
        regimes: by name.
        splits: what is scored, by its name in the tables.
        order: what is trained and scored first, then next, and so on.
        members: of ensembles, and heads of sub-ensembles.
        samples: of MC Dropout.
        copies: reduced copies to work on instead of data.root; none for null.
        pretraining: what encoders start from; architecture.encoder for null.
        distilling: of students.
        seconds_per_image: what a training pass costs, by kind (`cost.KINDS`); null measures it.
        resamples: of the bootstrap over drives.
    """

    name: str
    data: Data
    architecture: Architecture
    optimisation: Optimisation
    run: Run
    regimes: dict[str, Regime]
    splits: dict[str, str]
    order: list[Item]
    loss: MemberLoss = field(default_factory=MemberLoss)
    members: int = 5
    samples: int = 10
    copies: Copies | None = None
    pretraining: Pretraining | None = None
    distilling: Distilling = field(default_factory=Distilling)
    seconds_per_image: dict[str, float] | None = None
    resamples: int = 1000

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for item in self.order:
            _expect_known(item, "row", [item.row], ROWS)
            _expect_known(item, "regimes", item.regimes or (), self.regimes)
            _expect_known(item, "splits", item.splits or (), self.splits)
            _expect_known(item, "variant", [item.variant] if item.variant else (), VARIANTS)
            if item.apart and ROWS[item.row].teacher:
                raise ValueError(f"order, row {item.row}: students have no single-task form.")
            if item.seeds < 1:
                raise ValueError(f"order, row {item.row}: expected at least one seed.")
            if ROWS[item.row].leaves_out and not 2 < item.seeds == self.members:
                raise ValueError(
                    f"order, row {item.row}: expected as many seeds as there are members, at "
                    f"least 3, but got {item.seeds} and {self.members}."
                )
            if ROWS[item.row].fresh:
                self._expect_fresh_frames(item)
        if self.pretraining and self.pretraining.root is None and self.copies is None:
            raise ValueError(
                "pretraining: without copies it would run on the members' own frames, and make "
                "them agree. Set pretraining.root to other data, or copies to set drives apart."
            )

    def _expect_fresh_frames(self, item: Item) -> None:
        for name in item.regimes or self.regimes:
            if (self.regimes[name].limit, self.regimes[name].sequences) == (None, None):
                raise ValueError(
                    f"order, row {item.row}: regime {name} trains on all frames, so none is "
                    "fresh. Give the row regimes that have a limit or sequences."
                )

    @property
    def folder(self) -> Path:
        """Where all of it lies."""
        return Path("runs") / self.name


def _expect_known(item: Item, name: str, values: Iterable[str], known: Collection[str]) -> None:
    for value in values:
        if value not in known:
            raise ValueError(
                f"order, row {item.row}: expected {name} of {', '.join(known)}, but got {value!r}."
            )
