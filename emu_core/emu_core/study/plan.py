"""The jobs of a study, in order: each method's trainings come right before its scoring.

The order follows the configuration, so a study that ends early has its most valuable methods.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from emu_core.evaluation.candidate import Candidate
from emu_core.metrics import METRICS_VERSION
from emu_core.study.config import SINGLE_TASK, Item, Study, study_method
from emu_core.study.copies import FOR_TRAINING
from emu_core.training.config import (
    REST,
    Distillation,
    StudentConfig,
    Task,
    TrainingConfig,
    deciding_settings,
    plain,
)
from emu_core.training.losses import DEPTH_LOSSES
from emu_core.training.objectives import StudentLoss
from emu_core.training.run import WEIGHTS
from emu_core.training.teacher import SUB_ENSEMBLE

Config = TypeVar("Config", bound=TrainingConfig)

COPIES, PRETRAINING, TIMING = "copies", "pretraining", "timing"
"""Keys of jobs that there is one of."""

DATA = Path("data")
"""Folder of the reduced copies, below the study's."""

STUDENT_SEEDS = 100
"""First seed of students and controls; all members have lower seeds."""


@dataclass(frozen=True)
class Job:
    """A job of the workflow.

    Args:
        key: Name; of a training its folder below the study's.
        output: File that it leaves, relative to the study's folder.
        needs: Keys of the jobs that it depends on.
        settings: Everything else that it depends on, as JSON can hold it.
    """

    key: str
    output: str
    needs: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Training(Job):
    """The training of one network, or of the heads of a sub-ensemble.

    Args:
        config: Its settings; a student's is a `StudentConfig`.
        trunk: Key of the training whose encoder the heads share.
        heads: Number of heads of a sub-ensemble, with the trunk's own.
        teacher: Keys of the teacher's members.
    """

    config: TrainingConfig = field(default_factory=TrainingConfig)
    trunk: str | None = None
    heads: int = 0
    teacher: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scoring(Job):
    """The scoring of a method under one seed.

    Args:
        regime: Regime of its networks; REGIME-VARIANT for another backbone than the study's.
        method: Name of the method.
        candidate: The method as files.
    """

    regime: str = ""
    method: str = ""
    candidate: Candidate = field(default_factory=lambda: Candidate("", "", ()))


def make_plan(study: Study) -> list[Job]:
    """Return every job of a study, each after those that it depends on."""
    jobs: dict[str, Job] = {}
    if study.copies is not None:
        names = ("train", study.data.split_names.validation, *study.splits.values())
        settings = {"copies": plain(study.copies), "splits": list(dict.fromkeys(names))}
        jobs[COPIES] = Job(COPIES, str(DATA / FOR_TRAINING), (), settings)
    networks: dict[tuple[str, str], _Networks] = {}
    for item in study.order:
        variant = item.variant or study.architecture.variant
        for regime in item.regimes or study.regimes:
            made = networks.setdefault((regime, variant), _Networks(study, regime, variant))
            for seed in range(item.seeds):
                scoring = made.scoring(item, seed)
                made.add_to(jobs, scoring.needs)
                if isinstance(earlier := jobs.get(scoring.key), Scoring):  # on other splits
                    splits = earlier.settings["splits"] | scoring.settings["splits"]
                    scoring = replace(scoring, settings=scoring.settings | {"splits": splits})
                jobs[scoring.key] = scoring
    scored = tuple(key for key, job in jobs.items() if isinstance(job, Scoring))
    jobs[TIMING] = Job(TIMING, "timing.json", scored, {"threads": study.run.threads})
    return list(jobs.values())


class _Networks:
    """The trainings of one regime with one backbone, b0 to b5."""

    def __init__(self, study: Study, regime: str, variant: str) -> None:
        self.study = study
        self.suffix = "" if variant == study.architecture.variant else f"-{variant}"
        self.regime = regime + self.suffix
        self.trainings: dict[str, Training] = {}
        limits = study.regimes[regime]
        root = study.data.root if study.copies is None else study.folder / DATA / "drives"
        self._base = TrainingConfig(
            replace(study.data, root=root, limit=limits.limit, sequences=limits.sequences),
            replace(study.architecture, variant=variant),
            study.loss,
            study.optimisation,
            # Each job is one process, so none of them may start others for more devices.
            replace(study.run, name=study.name, steps=limits.steps, devices=1, nodes=1),
        )

    def scoring(self, item: Item, seed: int) -> Scoring:
        """Return the scoring of a method under one seed."""
        study, method = self.study, study_method(item.method)
        tasks: tuple[Task, ...] = ("segmentation", "depth") if item.single_task else ("joint",)
        of_tasks = [self._trained(item.method, seed, task) for task in tasks]
        files = [tuple(study.folder / t.output for t in trainings) for trainings in of_tasks]
        candidate = Candidate(
            (SINGLE_TASK if item.single_task else "") + item.method,
            method.kind,
            files[0],
            files[1] if item.single_task else (),
            seed,
            study.samples,
            all(_trains_variance(training.config) for training in of_tasks[-1]),
        )
        key = f"{self.regime}/evaluation/{candidate.name}-{seed}"
        splits = {name: study.splits[name] for name in item.splits or study.splits}
        settings = {"splits": splits, "samples": study.samples, "metrics": METRICS_VERSION}
        needs = tuple(training.key for trainings in of_tasks for training in trainings)
        return Scoring(key, f"{key}.json", needs, settings, self.regime, item.method, candidate)

    def add_to(self, jobs: dict[str, Job], keys: tuple[str, ...]) -> None:
        """Add trainings, each after those that it depends on."""
        for key in keys:
            if key not in jobs:
                self.add_to(jobs, self.trainings[key].needs)
                jobs[key] = self.trainings[key]

    def _trained(self, name: str, seed: int, task: Task) -> list[Training]:
        """The trainings of a method's networks."""
        method = study_method(name)
        if method.networks == "members":
            left_out = seed if method.leaves_out else None
            members = [k for k in range(method.members or self.study.members) if k != left_out]
            own = "single" if method.variant is None else name
            return [self._network(own, k, task) for k in members]
        if method.networks == "heads":
            trunk, heads = self._network("single", 0, task), self.study.members
            key = f"{self.regime}/{task}-{name}"
            more: dict[str, Any] = {"trunk": trunk.key, "heads": heads}
            return [self._training(key, trunk.config, (trunk.key,), **more)]
        if not method.from_teacher:
            return [self._network("single" if method.post_hoc else name, seed, task)]
        key, config = f"{self.regime}/{name}/seed-{seed}", self._distilled(name, seed)
        if method.networks == "control":
            return [self._training(key, config.supervised)]
        teacher = tuple(member.key for member in self._trained("de", 0, "joint"))
        return [self._training(key, config, teacher, teacher=teacher)]

    def _network(self, name: str, seed: int, task: Task) -> Training:
        """Train a network on ground truth; networks of `single` are the ensemble's members."""
        config = self._adapted(self._base, name, self.study.run.seed + seed, task)
        folder = task if name == "single" else f"{task}-{name}"
        return self._training(f"{self.regime}/{folder}/member-{seed}", config)

    def _distilled(self, name: str, seed: int) -> StudentConfig:
        """What a student and its control have in common."""
        method, distilling, base = study_method(name), self.study.distilling, self._base
        loss, frames = distilling.loss, "labelled"
        more: dict[str, Any] = {}
        if method.unlabelled:
            weight = loss.mean_weight or distilling.unlabelled_mean_weight
            loss, frames = replace(loss, mean_weight=weight), "unlabelled"
            more = {"unlabelled": distilling.unlabelled or REST}
            more["unlabelled_limit"] = distilling.unlabelled_limit
        if method.variance_weight is not None:
            loss = replace(loss, variance_weight=method.variance_weight)
        if method.log_variance:
            loss = replace(loss, log_variance=True)
        kept = self.study.folder / self.regime / "predictions" / frames
        cache = None if distilling.variants is None else kept
        config = StudentConfig(
            base.data,
            base.architecture,
            loss,
            base.optimisation,
            replace(base.run, steps=distilling.steps or base.run.steps),
            Distillation(distilling.jitter, distilling.variants, cache, **more),
        )
        config = self._adapted(config, name, self.study.run.seed + STUDENT_SEEDS + seed)
        if distilling.init == "encoder":
            return config
        init = self.study.folder / self._network("single", 0, "joint").output
        return replace(config, architecture=replace(config.architecture, encoder=None, init=init))

    def _adapted(self, config: Config, name: str, seed: int, task: Task = "joint") -> Config:
        """Return the configuration with task, seed and the special settings of the method."""
        method, architecture, loss = study_method(name), config.architecture, config.loss
        variant = method.variant or architecture.variant
        evidential = method.evidential or architecture.evidential
        architecture = replace(architecture, task=task, variant=variant, evidential=evidential)
        if self.study.pretraining is not None:
            encoder = self.study.folder / self._pretraining(variant).output
            architecture = replace(architecture, encoder=str(encoder))
        if method.dropout is not None:
            architecture = replace(architecture, dropout=method.dropout)
        if method.depth is not None:
            loss = replace(loss, depth=method.depth, beta=method.beta)
        run = replace(config.run, seed=seed)
        return replace(config, architecture=architecture, loss=loss, run=run)

    def _pretraining(self, variant: str) -> Training:
        study, plan = self.study, self.study.pretraining
        assert plan is not None
        root = plan.root or study.folder / DATA / PRETRAINING
        config = TrainingConfig(
            replace(study.data, root=root, limit=None, sequences=plan.sequences),
            replace(self._base.architecture, task=plan.task, variant=variant),
            optimisation=plan.optimisation,
            run=replace(self._base.run, steps=plan.steps, seed=plan.seed),
        )
        own = variant == study.architecture.variant
        return self._training(PRETRAINING + ("" if own else f"-{variant}"), config)

    def _training(
        self, key: str, config: TrainingConfig, needs: tuple[str, ...] = (), **more: Any
    ) -> Training:
        """Add a training; it also depends on the copies and on the weights that it starts from."""
        folder = self.study.folder
        starts = {str(config.architecture.encoder), str(config.architecture.init)}
        needs += tuple(k for k, t in self.trainings.items() if str(folder / t.output) in starts)
        if folder / DATA in config.data.root.parents:
            needs += (COPIES,)
        output = f"{key}/{SUB_ENSEMBLE if 'heads' in more else WEIGHTS}"
        settings = deciding_settings(config) | {name: str(value) for name, value in more.items()}
        training = Training(key, output, tuple(dict.fromkeys(needs)), settings, config, **more)
        return self.trainings.setdefault(key, training)


def _trains_variance(config: TrainingConfig) -> bool:
    """Whether a loss trains the variance of the depth."""
    distilled = isinstance(config.loss, StudentLoss) and config.loss.variance_weight > 0
    return DEPTH_LOSSES[config.loss.depth].trains_variance or distilled
