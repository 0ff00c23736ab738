"""The student: one network that learns classes, metres and both uncertainties from a teacher."""

from __future__ import annotations

import torch
from torch import Tensor

from emu_core.ensembles import Method, move_to
from emu_core.losses import ReduceCount
from emu_core.networks.models import Network, RawOutputs
from emu_core.objectives import StudentLoss, Terms, student_loss
from emu_core.prediction import Prediction
from emu_core.training.learner import Learner, Optimisation
from emu_core.training.loader import Batch
from emu_core.training.teacher_cache import TeacherCache


class Student(Learner):
    """Trains one network with EMUFormer's loss (arXiv 2402.10580).

    Teacher and student see the same tensor, augmentation and jitter included. The teacher stays as
    it is: in eval mode, without gradients, and in no checkpoint; under autocast it runs in the
    student's precision.

    Args:
        model: see `Learner`, as all others.
        teacher: any method, usually a `DeepEnsemble`.
        loss: kinds, weights and masks of its terms.
        sky: train id of the sky, None if the data set has none.
        class_weights: what a pixel of each class counts in the cross-entropy (C,); None for 1.
        cache: keeps the teacher's predictions on disk; None asks the teacher anew.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        model: Network,
        teacher: Method,
        optimisation: Optimisation,
        loss: StudentLoss,
        num_classes: int,
        max_depth: float,
        sky: int | None,
        seed: int = 0,
        shares_every: int = 0,
        cache: TeacherCache | None = None,
        class_weights: Tensor | None = None,
    ):
        super().__init__(model, optimisation, num_classes, max_depth, seed, shares_every)
        self.loss, self.sky = loss, sky
        self.cache = cache
        self.register_buffer("class_weights", class_weights, persistent=False)

        # In functions: what a module holds is copied for averaging, and modules in it are saved.
        def ask_teacher(images: Tensor) -> Prediction:
            return teacher(images)

        def move_teacher(device: torch.device) -> None:
            move_to(teacher, device)

        self.ask_teacher, self._move_teacher = ask_teacher, move_teacher

    def on_fit_start(self) -> None:
        """Put the teacher where the images come."""
        self._move_teacher(self.device)

    def terms(self, raw: RawOutputs, batch: Batch, reduce_count: ReduceCount) -> Terms:
        """L_CE + w1·L_depth + w2·L_KL + w3·L_RMSLE (+ w4·L_mean)."""
        if self.cache is None:
            prediction = self.ask_teacher(batch["image"])
        else:
            prediction = self.cache.predict(self.ask_teacher, batch)
        return student_loss(
            raw,
            prediction,
            batch["labels"],
            batch["depth"],
            self.loss,
            sky=self.sky,
            labelled=batch["labelled"],
            inside=batch["inside"],
            class_weights=self.class_weights,
            reduce_count=reduce_count,
        )
