"""Does what a study's plan says and is not done yet; kill it and start it again.

A training is done when its weights lie in its folder and were trained from the networks that lie
in theirs, a scoring when the store holds it for these weights. Unfinished trainings go on from
their last checkpoint. Several processes may work on one
study: on small images two of one thread each do twice as much as one of two.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from emu_core.evaluation.score import score_missing, setting
from emu_core.evaluation.splits import Split, open_split
from emu_core.evaluation.store import Store, read_json, write_json
from emu_core.files import locked, replace_file
from emu_core.methods.deep_ensemble import DeepEnsemble
from emu_core.methods.disagreement import disagreement
from emu_core.methods.registry import LoadOptions, load_method
from emu_core.study import records
from emu_core.study.config import Study
from emu_core.study.copies import copy_drives
from emu_core.study.plan import COPIED, COPIED_APART, Scoring, Step, Training
from emu_core.training.config import Data, Distillation
from emu_core.training.distillation import train_control, train_student
from emu_core.training.run import WEIGHTS
from emu_core.training.teacher import train_network, train_sub_ensemble
from emu_core.training.teacher_cache import TeacherCache, fingerprint

DISAGREEMENT = "disagreement.json"
"""In a regime's folder: how much its ensemble's members differ, by split."""

TIMING = "timing.json"
"""In the study's folder: milliseconds per image of every row."""

DURATIONS = "durations.json"
"""Seconds of the trainings that ran in one go."""


_POLL_S = 5.0
"""Seconds between two looks at what other processes have done."""

_NAMED = 8  # networks, in a message

_LOOKED_AT = 48
"""Images of a split that the members' disagreement is measured on."""


class StudyError(ValueError):
    """A study's folder does not fit its configuration; the message says what to do."""


class Trainers(NamedTuple):
    """What trains; tests put something quick in their place."""

    network: Callable[..., Any]
    heads: Callable[..., Any]
    student: Callable[..., Any]
    control: Callable[..., Any]
    inputs: Callable[..., Any]
    """Makes what students and controls look at, from jitter, variants, fresh, fresh_limit."""
    cache: Callable[[Path, Sequence[Path]], Any]
    """Makes what keeps a teacher's answers, from a folder and the teacher's files."""


TRAINERS = Trainers(
    train_network,
    train_sub_ensemble,
    train_student,
    train_control,
    Distillation,
    lambda folder, files: TeacherCache(folder, fingerprint(files)),
)
"""The real ones."""


class Execution:
    """Carries out a plan in a study's folder.

    Args:
        study: its configuration.
        plan: of `make_plan`.
        trainers: what trains.
        arguments: of the command line, for the document.
    """

    def __init__(
        self,
        study: Study,
        plan: Sequence[Step],
        trainers: Trainers = TRAINERS,
        arguments: Sequence[str] = (),
    ):
        self.study, self.plan, self.trainers = study, plan, trainers
        self.arguments = tuple(arguments)
        self.folder = study.folder
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.failed: dict[str, str] = {}
        """Key of a step → why it could not be done."""
        self._finished: set[str] = set()
        self._splits: dict[str, Split] | None = None

    @property
    def data(self) -> Data:
        """All that there is to train on, and what is scored: the copies, where there are any."""
        root = self.folder / COPIED if self.study.copies else self.study.data.root
        return replace(self.study.data, root=root)

    @property
    def splits(self) -> dict[str, Split]:
        """What is scored, by the names in the tables."""
        if self._splits is None:
            self._splits = {
                name: open_split(self.data, split) for name, split in self.study.splits.items()
            }
        return self._splits

    def store(self, regime: str) -> Store:
        """Where the scores of a regime lie."""
        return Store(self.folder / regime / "evaluation", self.study.resamples)

    def prepare(self, redo: bool = False, retry: bool = False) -> None:
        """Make the reduced copies, and see that every network that is there is this study's.

        Args:
            redo: delete those that are not, and what was trained from them.
            retry: let trainings that diverged be tried again.

        Raises:
            DataError: the drives are missing or damaged, or the copies are not this study's.
            StudyError: a network was trained with other settings or from other networks.
        """
        if self.study.copies is not None:
            splits = dict.fromkeys(
                ("train", self.study.data.split_names.validation, *self.study.splits.values())
            )
            apart, rest = self.folder / COPIED_APART, self.folder / COPIED
            with self.lock("copies"):
                written = copy_drives(self.study.copies, splits, apart, rest)
            if written:
                print(f"{written} frames copied to {self.folder / 'data'}", flush=True)
        if misfits := records.misfits(self._trainings(), self.folder):
            self._drop(misfits) if redo else self._refuse(misfits)
        if retry:
            for training in self._trainings():
                records.forget_failure(training.key, self.folder)

    def _refuse(self, misfits: Mapping[str, str]) -> None:
        reasons = [f"{self.folder / key} {reason}" for key, reason in misfits.items()]
        beyond = len(reasons) - _NAMED
        more = f"; and {beyond} more" if beyond > 0 else ""
        raise StudyError(
            f"{'; '.join(reasons[:_NAMED])}{more}. Delete these folders to train them anew, or "
            "let --redo delete all of them, or give the study another name."
        )

    def _drop(self, misfits: Mapping[str, str]) -> None:
        """Delete networks that are not this study's."""
        for key, reason in misfits.items():
            with self.lock(key, wait=False) as mine:
                if not mine:
                    raise StudyError(f"Another process is training {key}: stop it first.")
                print(f"{self.folder / key} {reason}: deleted", flush=True)
                shutil.rmtree(self.folder / key)

    def lock(self, name: str, wait: bool = True) -> AbstractContextManager[bool]:
        """Keep other processes that work on this study from the same; see `locked`."""
        return locked(self.folder / "locks" / name.replace("/", "-"), wait)

    def done(self, step: Step) -> bool:
        """Whether nothing is left to do of a step."""
        if isinstance(step, Training):
            there = step.weights(self.folder).is_file()
            return there and records.misfit(step, self.folder) is None
        if not all(
            t.weights(self.folder).is_file() for t in (*step.networks, *step.depth_networks)
        ):
            return False
        candidate, store = step.candidate(self.folder), self.store(step.regime)
        return all(store.has(candidate, name, setting(self.splits[name])) for name in step.splits)

    def run(
        self, hours: float | None = None, scored: Callable[[Scoring], None] = lambda scoring: None
    ) -> bool:
        """Do what is not done, the first of it first; a step that fails costs what needs it.

        Other processes may do the same at the same time: each step is one's alone.

        Args:
            hours: begin no step after so many.
            scored: told after each scoring.

        Returns:
            Whether all that did not fail is done.

        Raises:
            DataError: an image or its truth is missing or damaged.
        """
        end = None if hours is None else time.monotonic() + 3600 * hours
        while (left := self._left()) and not (end is not None and time.monotonic() > end):
            if not any(self._do(step, scored) for step in left):
                time.sleep(_POLL_S)  # others are at what is left, or at what it needs
        if left:
            print(f"{hours:g} h are over: give the command again to go on", flush=True)
        return not left

    def _left(self) -> list[Step]:
        """What is neither done nor impossible."""
        left = []
        for step in self.plan:
            if step.key in self._finished or step.key in self.failed:
                continue
            missing = [key for key in step.needs if key in self.failed]
            if missing:
                self.failed[step.key] = f"needs {', '.join(missing)}"
            elif self.done(step):
                self._finished.add(step.key)
            elif reason := records.failure(step.key, self.folder):
                self.failed[step.key] = reason
            else:
                left.append(step)
        return left

    def _do(self, step: Step, scored: Callable[[Scoring], None]) -> bool:
        """Do a step, unless another process is at it or at what it needs."""
        if not self._finished.issuperset(step.needs):
            return False
        with self.lock(step.key, wait=False) as mine:
            if not mine:
                return False
            if self.done(step) or records.failure(step.key, self.folder):
                return True  # another process was faster
            print(f"[{self.plan.index(step) + 1}/{len(self.plan)}] {step.key}", flush=True)
            if isinstance(step, Training):
                self._train(step)
                return True
            self._score(step)
        scored(step)
        return True

    def raise_failures(self) -> None:
        """StudyError that names every step that failed, and why."""
        if self.failed:
            reasons = "; ".join(f"{key}: {reason}" for key, reason in self.failed.items())
            raise StudyError(
                f"{len(self.failed)} steps could not be done: {reasons} "
                "(--retry tries again what failed; other settings may help it)"
            )

    def _score(self, scoring: Scoring) -> None:
        splits = {name: self.splits[name] for name in scoring.splits}
        candidate = scoring.candidate(self.folder)
        if candidate.name == "de":  # the joint one, whole
            method = candidate.load(self.device)
            assert isinstance(method, DeepEnsemble)
            found = {
                name: disagreement(method, self._images(split)) for name, split in splits.items()
            }
            write_json(self.folder / scoring.regime / DISAGREEMENT, found)
        store = self.store(scoring.regime)
        score_missing([candidate], splits, store, device=self.device)

    def _images(self, split: Split) -> Iterator[Tensor]:
        """Some of a split's images, uint8 (1,3,H,W) each."""
        for view in split.some(_LOOKED_AT):
            image = torch.from_numpy(view.image).permute(2, 0, 1)[None]
            yield image.contiguous().to(self.device)

    def _train(self, training: Training) -> None:
        target = self.folder / training.key
        if reason := records.misfit(training, self.folder):  # a parent was replaced meanwhile
            self.failed[training.key] = f"it {reason}: give the command again"
            return
        fresh = not target.exists()
        records.note(training, self.folder)
        start = time.monotonic()
        try:
            self._call(training, target)
        except FloatingPointError as error:
            self.failed[training.key] = str(error)
            records.note_failure(training, self.folder, str(error))
            print(f"{training.key} failed: {error}", flush=True)
            return
        if not training.weights(self.folder).is_file():
            raise StudyError(f"{target} has no weights after its training: delete that folder.")
        if fresh:
            with self.lock("durations"):
                durations = read_json(self.folder / DURATIONS) or {}
                durations[training.key] = round(time.monotonic() - start, 1)
                write_json(self.folder / DURATIONS, durations)

    def _call(self, t: Training, target: Path) -> None:
        architecture = t.architecture
        if t.encoder is not None:
            architecture = replace(architecture, encoder=str(self._weights(t.encoder)))
        if t.init is not None:
            architecture = replace(architecture, encoder=None, init=self._weights(t.init))
        common = (t.data, architecture, t.loss, t.optimisation, t.run)
        if t.kind == "network":
            self.trainers.network(*common, target)
        elif t.kind == "heads":
            assert t.trunk is not None
            _copy(self._weights(t.trunk), target / "member-0" / WEIGHTS)
            self.trainers.heads(*common, t.heads, target)
        elif t.kind == "control":
            self.trainers.control(*common, target, self._inputs(t))
        else:
            members = [self._weights(key) for key in t.teacher]
            teacher = load_method("de", members, LoadOptions(in_memory=True))
            cache = None
            if t.distilling is not None and t.distilling.variants is not None:
                name = "fresh" if t.fresh else "labelled"
                regime = t.key.split("/")[0]
                cache = self.trainers.cache(self.folder / regime / "answers" / name, members)
            self.trainers.student(*common, target, teacher, self._inputs(t), cache)

    def _inputs(self, t: Training) -> Any:
        assert t.distilling is not None
        fresh = {"fresh": "rest", "fresh_limit": t.distilling.fresh_limit} if t.fresh else {}
        return self.trainers.inputs(
            jitter=t.distilling.jitter, variants=t.distilling.variants, **fresh
        )

    def _weights(self, key: str) -> Path:
        return self.folder / key / WEIGHTS

    def _trainings(self) -> Iterable[Training]:
        return (step for step in self.plan if isinstance(step, Training))


def _copy(source: Path, target: Path) -> None:
    if not target.is_file():
        replace_file(target, lambda unfinished: shutil.copyfile(source, unfinished))
