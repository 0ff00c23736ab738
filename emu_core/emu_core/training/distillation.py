"""Distillation: one network learns from a teacher what the teacher needs many passes for.

The *control* is trained alike, on the same inputs, from the same start and for as many passes, but
without the teacher: stronger jitter and more passes alone can look like distillation.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import ConcatDataset

from emu_core.data.datasets import Selection, evenly
from emu_core.data.sample import DataSet, Samples
from emu_core.files import replace_text
from emu_core.methods.ensembles import Method
from emu_core.training.learner import Optimisation, Student
from emu_core.training.objectives import StudentLoss
from emu_core.training.recipe import Architecture, Data, class_weights
from emu_core.training.run import WEIGHTS, Run, complete, fit, print_once, start, training_batches
from emu_core.training.teacher import train_network
from emu_core.training.teacher_cache import TeacherCache

REST = "rest"
_TEACHER = "teacher.txt"
_NEVER_READ = (
    "A cache of the teacher's answers needs distillation.variants: without it every epoch has new "
    "augmentations, and no answer would be read again."
)


@dataclass(frozen=True)
class Distillation:
    """What the student and its teacher look at.

    Args:
        jitter: of the student's inputs, in place of data.augmentation.jitter, so that the teacher
            meets inputs that it has not memorised (DUDES, arXiv 2303.09843). The default is what
            torchvision calls (.2, .2, .2, .2): its hue counts in turns, ours in half turns.
        variants: how many augmentations of each frame there are, in place of data.variants; null:
            new ones every epoch. Few of them can be kept in the cache.
        cache: folder that keeps the teacher's answers to them, for later epochs and students;
            null asks the teacher in every step.
        fresh: where frames come from that no member has seen: rest, which is what data.limit and
            data.sequences leave out of train, or another split, e.g. train_extra; null for none.
            Their ground truth is not used, so they need a loss.mean_weight.
        fresh_limit: at most so many of them.
    """

    jitter: tuple[float, float, float, float] = (0.2, 0.2, 0.2, 0.4)
    variants: int | None = None
    cache: Path | None = None
    fresh: str | None = None
    fresh_limit: int | None = None

    def __post_init__(self) -> None:
        """Refuse a cache that would never be read."""
        if self.cache is not None and self.variants is None:
            raise ValueError(_NEVER_READ)

    def inputs(self, data: Data) -> Data:
        """The data as the student, or its control, sees it."""
        augmentation = replace(data.augmentation, jitter=self.jitter)
        return replace(data, augmentation=augmentation, variants=self.variants)

    def open_fresh(self, data: Data) -> DataSet | None:
        """The frames without ground truth, if there are any."""
        if self.fresh is None:
            return None
        if self.fresh == REST:
            limits = data.limit, data.sequences
            if limits == (None, None):
                raise ValueError(
                    "distillation.fresh is rest, but neither data.limit nor data.sequences "
                    "leaves anything out of train."
                )
            rest = data.open_training(rest=True, labelled=False)
            return Selection(rest, evenly(len(rest), self.fresh_limit))
        return data.open(self.fresh, self.fresh_limit, labelled=False)


def open_frames(
    data: Data, architecture: Architecture, loss: StudentLoss, distillation: Distillation
) -> tuple[DataSet, DataSet | None]:
    """What a student learns on: frames with ground truth, and those without, if there are any.

    Raises:
        DataError: the data is missing.
        ValueError: frames without ground truth that are not there, or that would teach nothing.
    """
    labelled, fresh = data.open_training(), distillation.open_fresh(data)
    if fresh is not None and architecture.task != "segmentation" and not loss.mean_weight:
        raise ValueError(
            f"distillation.fresh adds {len(fresh)} frames without ground truth, and without a "
            "term for the teacher's mean depth nothing ties the student's there: set "
            "loss.mean_weight above 0, or leave these frames out."
        )
    return labelled, fresh


def train_student(
    data: Data,
    architecture: Architecture,
    loss: StudentLoss,
    optimisation: Optimisation,
    run: Run,
    folder: Path,
    teacher: Method,
    distillation: Distillation = Distillation(),
    cache: TeacherCache | None = None,
    teacher_id: str = "",
) -> Path:
    """Distil a teacher into one network; leaves what `run.fit` says in `folder`.

    Args:
        data: what its members were trained on.
        architecture: of the student.
        loss: EMUFormer's, term by term.
        optimisation: optimiser and schedule.
        run: length, seed, precision.
        folder: of this run.
        teacher: asked for each batch, unless the cache knows the answer.
        distillation: what is added to the data, and how it is augmented.
        cache: `TeacherCache(distillation.cache, teacher_id)`, or None.
        teacher_id: what tells this teacher from others, `teacher_cache.fingerprint` of its files:
            a folder goes on with the teacher that it began with. A cache knows it.

    Returns:
        folder/last.safetensors; a complete student is not trained again.

    Raises:
        As `teacher.train_ensemble`.
    """
    config = {
        "data": asdict(data), "architecture": asdict(architecture), "loss": asdict(loss),
        "optimisation": asdict(optimisation), "run": asdict(run),
        "distillation": asdict(distillation),
    }  # fmt: skip
    if cache is not None:
        teacher_id = cache.teacher
        if distillation.variants is None:
            raise ValueError(_NEVER_READ)
    _expect_same_teacher(folder, teacher_id)
    if complete(folder, run, config):
        return folder / WEIGHTS
    start(run)
    labelled, fresh = open_frames(data, architecture, loss, distillation)
    samples: Samples = labelled
    if fresh is not None:
        samples = ConcatDataset([labelled, fresh])  # type: ignore[list-item, assignment]
    inputs = distillation.inputs(data)
    print_once(
        f"{len(labelled)} labelled and {0 if fresh is None else len(fresh)} fresh images from "
        f"{data.root}, depth valid up to {labelled.max_depth:g} m"
    )
    network = architecture.build(len(labelled.classes), labelled, inputs.augmentation)
    student = Student(
        network, teacher, optimisation, loss, len(labelled.classes), labelled.max_depth,
        labelled.classes.sky, run.seed, run.shares_every, cache,
        class_weights(labelled, loss.class_balance),
    )  # fmt: skip
    _note_teacher(folder, teacher_id)
    return fit(student, training_batches(inputs, samples, run), inputs, run, folder, config)


def train_control(
    data: Data,
    architecture: Architecture,
    loss: StudentLoss,
    optimisation: Optimisation,
    run: Run,
    folder: Path,
    distillation: Distillation = Distillation(),
) -> Path:
    """Train the student's control: alike in all but the teacher; arguments as `train_student`."""
    return train_network(
        distillation.inputs(data), architecture, loss.supervised, optimisation, run, folder
    )


def _expect_same_teacher(folder: Path, teacher_id: str) -> None:
    path = folder / _TEACHER
    if path.is_file() and teacher_id and path.read_text().strip() != teacher_id:
        raise ValueError(
            f"{folder} holds a student of another teacher. Give this one another run.name, or "
            "delete that folder."
        )


@rank_zero_only
def _note_teacher(folder: Path, teacher_id: str) -> None:
    if teacher_id:
        replace_text(folder / _TEACHER, teacher_id + "\n")
