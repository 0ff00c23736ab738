"""Configuration of a study; training/configs/study.yaml is an example.

`STUDY_METHODS` holds the methods that a study compares: each is a kind of `METHODS` with its own
settings. A file that the environment variable EMU_PLUGINS names can add to them:

    STUDY_METHODS.add("mcd30", StudyMethod("mcd", "MC Dropout 30 %", dropout=0.3))
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from emu_core.data.augment import JITTER, MIN_SIZE
from emu_core.methods.registry import METHODS
from emu_core.networks.encoder import VARIANTS
from emu_core.options import FolderName, above, allowed, at_least, check_options
from emu_core.registry import Registry
from emu_core.training.config import SEED, Architecture, Data, Optimisation, Run, Task
from emu_core.training.objectives import MemberLoss, StudentLoss


@dataclass(frozen=True)
class StudyMethod:
    """A method that a study compares, and how its training differs from the study's settings.

    Args:
        kind: Name in `METHODS`.
        heading: Name in the tables.
        dropout: Rate before the decoders' last layers; None for the architecture's.
        depth: Kind of depth loss; None for the study's.
        beta: β of β-NLL, used with `depth`.
        variance_weight: Weight of a student's RMSLE on the depth variance; None for the study's.
        log_variance: Compute that RMSLE on log s² instead of log(1 + s²).
        unlabelled: Distil also on unlabelled frames that no member was trained on.
        leaves_out: Seed k of an ensemble leaves out member k.
        post_hoc: It takes the networks of `single` as they are.
        evidential: Train evidential networks.
        variant: Size of the encoder; None for the study's.
        members: Number of members of an ensemble; None for the study's.
    """

    kind: str
    heading: str
    dropout: float | None = None
    depth: str | None = None
    beta: float = 0.0
    variance_weight: float | None = None
    log_variance: bool = False
    unlabelled: bool = False
    leaves_out: bool = False
    post_hoc: bool = False
    evidential: bool = False
    variant: str | None = None
    members: int | None = None

    @property
    def networks(self) -> str:
        """What is trained for it."""
        return METHODS[self.kind].networks

    @property
    def from_teacher(self) -> bool:
        """Whether it is a student or a student's control."""
        return self.networks in ("student", "control")


STUDY_METHODS: Registry[StudyMethod] = Registry("method of a study")

for _name, _method in {
    "single": StudyMethod("single", "single network"),
    "mcd20": StudyMethod("mcd", "MC Dropout 20 %", dropout=0.2),
    "mcd50": StudyMethod("mcd", "MC Dropout 50 %", dropout=0.5),
    "dse": StudyMethod("dse", "Deep Sub-Ensemble"),
    "de": StudyMethod("de", "Deep Ensemble"),
    # Shows how much an ensemble's gain depends on the choice of its members (`claims`).
    "de_less": StudyMethod("de", "Deep Ensemble less one member", leaves_out=True),
    "student": StudyMethod("student", "student"),
    "control": StudyMethod("control", "control: student's training, no teacher"),
    "student_unlabelled": StudyMethod(
        "student", "student, also on unlabelled frames", unlabelled=True
    ),
    # Other depth losses. `single`, `control` and `student` have the Gaussian NLL.
    "single_l1": StudyMethod("single", "single network, L1", depth="l1"),
    "single_rmsle": StudyMethod("single", "single network, RMSLE", depth="rmsle"),
    "single_beta": StudyMethod("single", "single network, β-NLL", depth="gnll", beta=0.5),
    "control_l1": StudyMethod("control", "control, L1", depth="l1"),
    "control_rmsle": StudyMethod("control", "control, RMSLE", depth="rmsle"),
    "control_beta": StudyMethod("control", "control, β-NLL", depth="gnll", beta=0.5),
    "student_l1": StudyMethod("student", "student, L1", depth="l1"),
    "student_rmsle": StudyMethod("student", "student, RMSLE", depth="rmsle"),
    "student_beta": StudyMethod("student", "student, β-NLL", depth="gnll", beta=0.5),
    # The effect of the distilled variance.
    "student_novar": StudyMethod("student", "student, no variance distilled", variance_weight=0.0),
    "student_logvar": StudyMethod("student", "student, RMSLE of log s²", log_variance=True),
    "evidential": StudyMethod("evidential", "evidential network", evidential=True),
    "packed": StudyMethod("packed", "Packed-Ensemble", variant="b0_half", members=4),
}.items():
    STUDY_METHODS.add(_name, _method)
for _name in (
    *("max_softmax", "max_logit", "energy", "mahalanobis", "neco", "neco_energy"),
    *("calibrated", "laplace", "tta"),
):
    STUDY_METHODS.add(_name, StudyMethod(_name, METHODS[_name].heading, post_hoc=True))


def study_method(name: str) -> StudyMethod:
    """Return a method of a study; kinds of `METHODS` can be used as they are.

    Raises:
        RegistryError: There is no such method.
    """
    if name in METHODS and name not in STUDY_METHODS:
        return StudyMethod(name, METHODS[name].heading)
    return STUDY_METHODS[name]


SINGLE_TASK = "single_task-"
"""Prefix of the names of single-task networks' results."""


AT = "@"
"""Between a method and its backbone in the names of times: de@b1."""


@dataclass(frozen=True)
class Copies:
    """Reduced copies of rendered drives; reading full frames takes as long as training on them.

    Args:
        source: Folder of the drives.
        width: Width of the copies, pixels; must be enough for the largest random scale.
        pretraining_drives: Number of training drives, evenly spread, that only the encoder's
            pre-training uses.
    """

    source: Path = Path("data/drives")
    width: int = field(default=512, metadata=at_least(MIN_SIZE))
    pretraining_drives: int = field(default=60, metadata=at_least(0))


@dataclass(frozen=True)
class Pretraining:
    """Training of the network that every encoder starts from.

    On the members' own frames it would make them agree (docs/method.md, Training).

    Args:
        steps: Optimiser steps.
        task: joint, segmentation or depth.
        optimisation: Optimiser for a training from scratch.
        seed: Seed of weights, order and augmentation.
        root: Data with a train split that no other training uses; null for the drives that
            `copies` reserves.
        sequences: Maximum number of drives, evenly spread. With fewer drives, members agree less.
    """

    steps: int = field(default=2000, metadata=at_least(1))
    task: Task = "joint"
    optimisation: Optimisation = field(default_factory=Optimisation)
    seed: int = field(default=1000, metadata=SEED)
    root: Path | None = None
    sequences: int | None = field(default=None, metadata=at_least(1))


@dataclass(frozen=True)
class Regime:
    """Amount of training data, and training length.

    Args:
        steps: Optimiser steps of every network.
        limit: Maximum number of frames.
        sequences: Maximum number of drives.
    """

    steps: int = field(metadata=at_least(1))
    limit: int | None = field(default=None, metadata=at_least(1))
    sequences: int | None = field(default=None, metadata=at_least(1))


@dataclass(frozen=True)
class Distilling:
    """Training of students and of their controls.

    Args:
        loss: Loss of students.
        jitter: Brightness, contrast, saturation and hue; see `color_jitter`.
        variants: Number of augmentations of each frame; the teacher's predictions of them are
            kept for later epochs and students. null: new ones in every epoch, nothing is kept.
        init: Students and controls start from the pre-trained encoder, or from a whole member.
        steps: Optimiser steps of students and controls; null for the regime's.
        unlabelled: Split of the unlabelled frames of `student_unlabelled`; null for the training
            frames that the regime leaves out.
        unlabelled_limit: Maximum number of unlabelled frames. If there are many more than labelled
            ones, most batches have no label, which is a second change.
        unlabelled_mean_weight: Weight of the teacher's mean depth on unlabelled frames, unless the
            loss has its own.
    """

    loss: StudentLoss = field(default_factory=StudentLoss)
    jitter: tuple[float, float, float, float] = field(
        default=(0.2, 0.2, 0.2, 0.4), metadata=JITTER
    )
    variants: int | None = field(default=None, metadata=at_least(1))
    init: Literal["encoder", "member"] = "encoder"
    steps: int | None = field(default=None, metadata=at_least(1))
    unlabelled: str | None = None
    unlabelled_limit: int | None = field(default=None, metadata=at_least(1))
    unlabelled_mean_weight: float = field(default=1.0, metadata=above(0))


@dataclass(frozen=True)
class Item:
    """A method to train and score in every regime.

    Args:
        method: Name in `STUDY_METHODS`.
        seeds: Number of seeds; seeds of an earlier item are not trained again.
        single_task: Whether classes and depth have separate networks instead of a joint one.
        regimes: Names of regimes; null for all.
        splits: Names of splits; null for all.
        variant: Backbone, b0 to b5; null for the study's backbone. Another backbone
            has its own regimes, e.g. few-b1.
    """

    method: str
    seeds: int = field(default=1, metadata=at_least(1))
    single_task: bool = False
    regimes: list[str] | None = None
    splits: list[str] | None = None
    variant: str | None = None


@dataclass(frozen=True)
class Study:
    """A study.

    Args:
        name: Name of its folder below runs/.
        data: Data set, augmentation and batch of all trainings; regimes set `limit` and
            `sequences`.
        architecture: Architecture of all networks; methods set task, dropout and encoder.
        loss: Loss of members.
        optimisation: Optimiser of all networks except the pre-trained one.
        run: Precision, averaging, first seed; name and steps are set by the study. Every job runs
            on one device.
        regimes: Regimes by name.
        splits: Splits to score on, by their names in the tables.
        order: What is trained and scored, the most valuable first.
        members: Number of members of ensembles, and of heads of sub-ensembles.
        samples: Number of samples of MC Dropout.
        copies: Train on reduced copies instead of data.root; null for none.
        pretraining: What encoders start from; null for architecture.encoder.
        distilling: Training of students.
        resamples: Number of bootstrap resamples of the drives.
    """

    name: str = field(metadata=allowed(FolderName("runs")))
    data: Data
    architecture: Architecture
    optimisation: Optimisation
    run: Run
    regimes: dict[str, Regime]
    splits: dict[str, str]
    order: list[Item]
    loss: MemberLoss = field(default_factory=MemberLoss)
    members: int = field(default=5, metadata=at_least(1))
    samples: int = field(default=10, metadata=at_least(1))
    copies: Copies | None = None
    pretraining: Pretraining | None = None
    distilling: Distilling = field(default_factory=Distilling)
    resamples: int = field(default=1000, metadata=at_least(1))

    def __post_init__(self) -> None:
        """Refuse settings that do not fit together."""
        check_options(self)
        for item in self.order:
            self._check(item)
        if self.pretraining and self.pretraining.root is None and self.copies is None:
            raise ValueError(
                "pretraining: without copies it would run on the members' own frames, and make "
                "them agree. Set pretraining.root to other data, or copies to set drives aside."
            )

    def _check(self, item: Item) -> None:
        where = f"order, method {item.method}"
        method = study_method(item.method)
        _expect_known(where, "regimes", item.regimes or (), self.regimes)
        _expect_known(where, "splits", item.splits or (), self.splits)
        _expect_known(where, "variant", [item.variant] if item.variant else (), VARIANTS)
        if item.single_task and method.from_teacher:
            raise ValueError(f"{where}: students have no single-task form.")
        if method.leaves_out and not 2 < item.seeds == self.members:
            raise ValueError(
                f"{where}: expected as many seeds as there are members, at least 3, but got "
                f"{item.seeds} and {self.members}."
            )
        rest = method.unlabelled and self.distilling.unlabelled is None
        for name in (item.regimes or self.regimes) if rest else ():
            if (self.regimes[name].limit, self.regimes[name].sequences) == (None, None):
                raise ValueError(
                    f"{where}: regime {name} trains on all frames, so there are no unlabelled "
                    "ones. Give the method regimes that have a limit or sequences, or set "
                    "distilling.unlabelled to a split."
                )

    @property
    def folder(self) -> Path:
        """Folder of everything that belongs to the study."""
        return Path("runs") / self.name

    def backbone_of(self, regime: str) -> tuple[str, str]:
        """Divide REGIME-VARIANT into its regime and its backbone, empty for the study's own."""
        if regime in self.regimes:
            return regime, ""
        own, _, variant = regime.rpartition("-")
        return own, variant


def _expect_known(where: str, name: str, values: Iterable[str], known: Collection[str]) -> None:
    for value in values:
        if value not in known:
            raise ValueError(f"{where}: expected {name} of {', '.join(known)}, but got {value!r}.")
