"""What a study trains and scores, in order: each row's networks right before the row itself.

The order is the configuration's, so that a study that ends early has its most valuable rows.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from emu_core.evaluation.candidate import Candidate
from emu_core.study.config import Distilling, Study
from emu_core.study.rows import APART, ROWS, Row
from emu_core.training.config import Architecture, Data, Optimisation, Run, Task
from emu_core.training.objectives import MemberLoss, StudentLoss
from emu_core.training.run import WEIGHTS
from emu_core.training.teacher import SUB_ENSEMBLE

PRETRAINING = "pretraining"

COPIED = "data/drives"
COPIED_APART = "data/pretraining"
"""Where the reduced copies lie below the study's folder."""

STUDENT_SEEDS = 100
"""Students' and controls' seeds come behind all members'."""


@dataclass(frozen=True)
class Training:
    """One network to train, or the heads of a sub-ensemble.

    Args:
        key: its folder below the study's.
        kind: what trains it.
        encoder: key of the network that the encoder starts from.
        init: key of the network that all weights start from.
        trunk: key of the network whose encoder the heads share.
        heads: of a sub-ensemble, the trunk's own included.
        teacher: keys of the student's teachers.
        distilling: how students and controls learn.
        fresh: whether a student also learns on frames without labels.
        asks: whether its teacher has to be asked; else an earlier student's answers are kept.
    """

    key: str
    kind: Literal["network", "heads", "student", "control"]
    data: Data
    architecture: Architecture
    loss: MemberLoss
    optimisation: Optimisation
    run: Run
    encoder: str | None = None
    init: str | None = None
    trunk: str | None = None
    heads: int = 0
    teacher: tuple[str, ...] = ()
    distilling: Distilling | None = None
    fresh: bool = False
    asks: bool = True

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of the trainings that come before it."""
        single = (key for key in (self.encoder, self.trunk, self.init) if key)
        return (*single, *self.teacher)

    @property
    def images(self) -> int:
        """Training passes, of all heads together."""
        return self.run.steps * self.data.batch * max(self.heads - 1, 1)

    @property
    def answers(self) -> int:
        """How many images its teacher is asked about: where answers are kept, each one once."""
        if not self.teacher or not self.asks:
            return 0
        variants = self.distilling.variants if self.distilling else None
        frames = self.data.limit
        if self.fresh and frames is not None and self.distilling is not None:
            limit = self.distilling.fresh_limit
            frames = None if limit is None else frames + limit
        if variants is None or frames is None:
            return self.images
        return min(self.images, frames * variants)

    @property
    def learns_variance(self) -> bool:
        """Whether anything trains the variance of its depth."""
        if self.kind == "student" and isinstance(self.loss, StudentLoss):
            return self.loss.depth == "gnll" or self.loss.variance_weight > 0
        return self.loss.depth == "gnll"

    def weights(self, folder: Path) -> Path:
        """What it leaves in the study's folder."""
        return folder / self.key / (SUB_ENSEMBLE if self.kind == "heads" else WEIGHTS)

    def settings(self) -> dict[str, Any]:
        """All that it depends on, as it comes back from JSON."""
        return json.loads(json.dumps(asdict(self), default=str))


@dataclass(frozen=True)
class Scoring:
    """A row under one seed, to be scored.

    Args:
        regime: it was trained in; with another backbone than the study's, REGIME-VARIANT.
        row: of `ROWS`.
        seed: 0, 1, …
        networks: the method's; of single-task networks, those for classes.
        depth_networks: single-task networks for depth.
        splits: by their names in the tables.
        samples: of MC Dropout.
    """

    regime: str
    row: str
    seed: int
    networks: tuple[Training, ...]
    depth_networks: tuple[Training, ...]
    splits: tuple[str, ...]
    samples: int

    @property
    def key(self) -> str:
        """Where its results lie below the study's folder, but for the split."""
        return f"{self.regime}/evaluation/{self.name}-{self.seed}"

    @property
    def name(self) -> str:
        """Of its results: the row's, behind `APART` for single-task networks."""
        return (APART if self.depth_networks else "") + self.row

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of the trainings that come before it."""
        return tuple(t.key for t in (*self.networks, *self.depth_networks))

    def candidate(self, folder: Path) -> Candidate:
        """The method as files in the study's folder."""
        files, depth_files = (
            tuple(t.weights(folder) for t in trainings)
            for trainings in (self.networks, self.depth_networks)
        )
        kind = ROWS[self.row].kind
        learned = all(t.learns_variance for t in self.depth_networks or self.networks)
        return Candidate(self.name, kind, files, depth_files, self.seed, self.samples, learned)


Step = Training | Scoring


def make_plan(study: Study) -> list[Step]:
    """Every training and scoring of a study, in an order in which it can be done."""
    makers: dict[tuple[str, str], _Networks] = {}
    steps: dict[str, Step] = {}
    for item in study.order:
        splits = tuple(item.splits or study.splits)
        variant = item.variant or study.architecture.variant
        for regime in item.regimes or study.regimes:
            maker = makers.setdefault((regime, variant), _Networks(study, regime, variant))
            for seed in range(item.seeds):
                scoring = maker.scoring(item.row, seed, item.apart, splits)
                for training in maker.wanted(scoring):
                    steps.setdefault(training.key, training)
                earlier = steps.get(scoring.key)
                if isinstance(earlier, Scoring):
                    both = dict.fromkeys((*earlier.splits, *splits))
                    scoring = replace(scoring, splits=tuple(both))
                steps[scoring.key] = scoring
    return list(steps.values())


class _Networks:
    """Makes the trainings of one regime with one backbone."""

    def __init__(self, study: Study, regime: str, variant: str):
        own = variant == study.architecture.variant
        self.study, self.suffix = study, "" if own else f"-{variant}"
        self.architecture = replace(study.architecture, variant=variant)
        self.regime = regime + self.suffix
        of_regime = study.regimes[regime]
        root = study.data.root if study.copies is None else study.folder / COPIED
        self.data = replace(
            study.data, root=root, limit=of_regime.limit, sequences=of_regime.sequences
        )
        # Processes share the steps, so none of them starts others for more devices.
        self.run = replace(study.run, steps=of_regime.steps, devices=1, nodes=1)
        self._made: dict[str, Training] = {}

    def scoring(self, row: str, seed: int, apart: bool, splits: tuple[str, ...]) -> Scoring:
        """A row under one seed."""
        tasks: tuple[Task, ...] = ("segmentation", "depth") if apart else ("joint",)
        networks = [self._of_row(row, seed, task) for task in tasks]
        depth = networks[1] if apart else ()
        samples = self.study.samples
        return Scoring(self.regime, row, seed, networks[0], depth, splits, samples)

    def wanted(self, scoring: Scoring) -> list[Training]:
        """The trainings of a scoring, each behind those that it needs."""
        order: dict[str, Training] = {}

        def visit(key: str) -> None:
            for needed in self._made[key].needs:
                visit(needed)
            order.setdefault(key, self._made[key])

        for key in scoring.needs:
            visit(key)
        return list(order.values())

    def _of_row(self, name: str, seed: int, task: Task) -> tuple[Training, ...]:
        row = ROWS[name]
        if row.kind == "de":
            members = [k for k in range(self.study.members) if not (row.leaves_out and k == seed)]
            return tuple(self._member("", row, k, task) for k in members)
        if row.kind == "dse":
            return (self._heads(name, task),)
        if row.kind == "student":
            return (self._student(name, row, seed),)
        if row.kind == "control":
            return (self._control(name, row, seed),)
        return (self._member("" if name == "single" else name, row, seed, task),)

    def _member(self, variant: str, row: Row, k: int, task: Task) -> Training:
        """A network on ground truth; those without a variant are the ensemble's members."""
        folder = "-".join(part for part in (task, variant) if part)
        return self._add(
            Training(
                f"{self.regime}/{folder}/member-{k}",
                "network",
                self.data,
                self._architecture(task, row.dropout),
                self._loss(self.study.loss, row),
                self.study.optimisation,
                self._seeded(self.study.run.seed + k),
                encoder=self._pretraining(),
            )
        )

    def _heads(self, name: str, task: Task) -> Training:
        trunk = self._member("", ROWS["single"], 0, task)
        return self._add(
            replace(
                trunk,
                key=f"{self.regime}/{task}-{name}",
                kind="heads",
                trunk=trunk.key,
                heads=self.study.members,
            )
        )

    def _student(self, name: str, row: Row, k: int) -> Training:
        distilling = self.study.distilling
        loss = distilling.loss
        if row.fresh:
            loss = replace(loss, mean_weight=loss.mean_weight or distilling.fresh_mean_weight)
        if row.variance_weight is not None:
            loss = replace(loss, variance_weight=row.variance_weight)
        if row.log_variance:
            loss = replace(loss, log_variance=True)
        members = self._of_row("de", 0, "joint")
        kept = distilling.variants is not None
        return self._add(
            replace(
                self._pupil(name, k),
                kind="student",
                loss=self._loss(loss, row),
                teacher=tuple(member.key for member in members),
                distilling=distilling if row.fresh else _without_fresh(distilling),
                fresh=row.fresh,
                asks=not (kept and (k > 0 or name not in ("student", "student_fresh"))),
            )
        )

    def _control(self, name: str, row: Row, k: int) -> Training:
        loss = self._loss(self.study.distilling.loss, row)
        return self._add(replace(self._pupil(name, k), kind="control", loss=loss))

    def _pupil(self, name: str, k: int) -> Training:
        """What a student and its control have in common."""
        distilling = self.study.distilling
        whole = distilling.init == "member"
        run = self._seeded(self.study.run.seed + STUDENT_SEEDS + k)
        return Training(
            f"{self.regime}/{name}/seed-{k}",
            "network",
            self.data,
            self._architecture("joint", None),
            self.study.loss,
            self.study.optimisation,
            replace(run, steps=distilling.steps or run.steps),
            init=self._member("", ROWS["single"], 0, "joint").key if whole else None,
            encoder=None if whole else self._pretraining(),
            distilling=_without_fresh(distilling),
        )

    def _pretraining(self) -> str | None:
        study, plan = self.study, self.study.pretraining
        if plan is None:
            return None
        root = plan.root or study.folder / COPIED_APART
        training = Training(
            PRETRAINING + self.suffix,
            "network",
            replace(study.data, root=root, limit=None, sequences=plan.sequences),
            replace(self.architecture, task=plan.task),
            MemberLoss(),
            plan.optimisation,
            replace(self.run, name=study.name, steps=plan.steps, seed=plan.seed),
        )
        return self._add(training).key

    def _architecture(self, task: Task, dropout: float | None) -> Architecture:
        plain = replace(self.architecture, task=task)
        return plain if dropout is None else replace(plain, dropout=dropout)

    def _seeded(self, seed: int) -> Run:
        return replace(self.run, name=self.study.name, seed=seed)

    def _loss(self, loss: MemberLoss, row: Row) -> MemberLoss:
        return loss if row.depth is None else replace(loss, depth=row.depth, beta=row.beta)

    def _add(self, training: Training) -> Training:
        return self._made.setdefault(training.key, training)


def _without_fresh(distilling: Distilling) -> Distilling:
    """Without what is said of fresh frames, so that it can change where there are none."""
    plain = Distilling()
    return replace(
        distilling, fresh_limit=plain.fresh_limit, fresh_mean_weight=plain.fresh_mean_weight
    )
