"""Lightning modules that train one network, on ground truth (Member) or as a student (Student)."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor, nn

from emu_core.data.config import unique
from emu_core.data.datasets import DataSet
from emu_core.data.label_space import LabelSpace
from emu_core.data.mixture import Mixture
from emu_core.methods.base import NetworkMethod, image_size
from emu_core.methods.prediction import Prediction, grouped, to_prediction
from emu_core.methods.registry import Method
from emu_core.methods.uncertainty import normalized_entropy
from emu_core.metrics import PerceptionMetrics
from emu_core.metrics.text import number
from emu_core.networks.models import Network, RawOutputs, normalize
from emu_core.training.build import class_weights
from emu_core.training.config import Optimisation, StudentConfig, TrainingConfig
from emu_core.training.loader import Batch
from emu_core.training.losses import global_mean_count
from emu_core.training.objectives import (
    Terms,
    gradient_shares,
    member_loss,
    student_loss,
    total,
)
from emu_core.training.teacher_cache import TeacherCache

_MAX_SKIPPED_STEPS = 50
"""Steps in a row that half precision may skip: 2^16, the first scale, is used up long before."""


class Learner(lightning.LightningModule):
    """Trains one network: optimiser, schedule, seeds, validation. Subclasses define the loss.

    Dropout and stochastic depth are seeded anew at each step, so that a resumed run draws the same
    values as an uninterrupted one.

    Args:
        model: The network.
        config: Loss, optimisation, seed; the data is not read from it.
        samples: Training data: its classes, label spaces and, for class weights, labels.
    """

    class_weights: Tensor | None
    held_out: Sequence[DataSet] = ()
    """Data sets for validation, one for each loader; set before the training."""

    def __init__(self, model: Network, config: TrainingConfig, samples: Mixture) -> None:
        super().__init__()
        self.model, self.config = model, config
        self.classes, self.sets = samples.classes, samples.sets
        self.max_depth = samples.max_depth
        self.groups = [None if p.space.is_single else p.space.groups for p in samples.parts]
        weights = class_weights(samples, config.loss.class_balance)
        self.register_buffer("class_weights", weights, persistent=False)
        self._skipped_steps = 0

    @abstractmethod
    def terms(self, raw: RawOutputs, batch: Batch) -> Terms:
        """Compute the weighted terms of the loss from the network's raw outputs for a batch."""

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        words = np.random.SeedSequence([self.config.run.seed, self.global_step, self.global_rank])
        torch.manual_seed(int(words.generate_state(1, np.uint64)[0]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the loss of one batch.

        Raises:
            FloatingPointError: The loss of a process is not finite; all processes raise.
        """
        raw = self.model(normalize(batch["image"]))
        terms = self.terms(raw, batch)
        loss = total(terms)
        if global_mean_count((~torch.isfinite(loss.detach())).float()):
            finite = bool(torch.isfinite(loss))
            what = "of another process is not finite" if finite else f"became {loss.item()}"
            each = ", ".join(f"{name} {term.item():.4g}" for name, term in terms.items())
            raise self._divergence(f"The loss {what}", each)
        every = self.config.run.shares_every
        if every and self.global_step % every == 0:
            shares = gradient_shares(terms, raw).items()
            named = {f"share_{name.replace('/', '_')}": share for name, share in shares}
            for logger in self.loggers:  # `log_dict` would wait for the logging interval
                logger.log_metrics(named, step=self.global_step)
        self.log_dict({"loss": loss, **terms}, prog_bar=True)
        return loss

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradient's norm; stop before a gradient that is not finite is applied."""
        limit = self.config.optimisation.clip or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        # In half precision, the scaler skips such a step and halves the scale of the next loss.
        self._skipped_steps = 0 if torch.isfinite(norm) else self._skipped_steps + 1
        if self._skipped_steps > (_MAX_SKIPPED_STEPS if self._scales_loss else 0):
            skipped = f"; {_MAX_SKIPPED_STEPS} steps before it were skipped"
            details = "the loss is finite" + (skipped if self._scales_loss else "")
            raise self._divergence(f"The gradient's norm became {norm.item()}", details)
        self.log("gradient_norm", norm)

    @property
    def _scales_loss(self) -> bool:
        return getattr(self.trainer.precision_plugin, "scaler", None) is not None

    def _divergence(self, what: str, details: str) -> FloatingPointError:
        return FloatingPointError(
            f"{what} at step {self.global_step} ({details}). The last checkpoint is good: lower "
            "the learning rate and run the command again to resume from it."
        )

    def on_validation_epoch_start(self) -> None:
        self._metrics = [
            PerceptionMetrics(len(data.space.groups), data.max_depth) for data in self.held_out
        ]

    def validation_step(
        self, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, Prediction]:
        """Add one batch to the metrics of its data set, in metres at the network's size."""
        image = batch["image"]
        prediction = to_prediction(self.model(normalize(image)), image_size(image))
        space = self.held_out[dataloader_idx].space
        update_metrics(self._metrics[dataloader_idx], prediction, batch, space)
        return {"prediction": prediction}

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of the network's tasks for each data set, and their means."""
        decoders = {True: self.model.depth_decoder, False: self.model.segmentation_decoder}
        names = unique([data.title for data in self.held_out])
        scores = [
            {
                name: float(value)
                for name, value in metrics.compute().items()
                if decoders[name.startswith("depth_")] is not None
            }
            for metrics in self._metrics
        ]
        several = len(scores) > 1
        for data, own in zip(names, scores, strict=True):
            measured = {k: v for k, v in own.items() if not (several and math.isnan(v))}
            if several:
                self.log_dict({f"val_{data}_{name}": v for name, v in measured.items()})
            if not self.trainer.sanity_checking:
                where = f" of {data}" if several else ""
                values = ", ".join(f"{k} {number(v, 4)}" for k, v in measured.items())
                self.print(f"validation{where}:", values or "no ground truth")
        means = {name: mean_of_known([own[name] for own in scores]) for name in scores[0]}
        self.log_dict({f"val_{name}": value for name, value in means.items()}, prog_bar=False)

    def configure_optimizers(self):
        """AdamW with linear warm-up and polynomial decay; see `parameter_groups`."""
        o = self.config.optimisation
        # Fused is six times as fast on a CPU, but makes a scaler unscale only after clipping.
        groups, fused = parameter_groups(self.model, o), not self._scales_loss
        optimizer = torch.optim.AdamW(groups, lr=o.learning_rate, fused=fused)
        steps = int(self.trainer.estimated_stepping_batches)

        def factor(step: int) -> float:
            warm = min(1.0, (step + 1) / max(o.warmup, 1))
            return warm * max(1 - step / steps, 0.0) ** o.power

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def on_train_start(self) -> None:
        """Set rates and decay from the configuration; a checkpoint has restored its own."""
        (optimizer,), (config,) = self.trainer.optimizers, self.trainer.lr_scheduler_configs
        schedule = config.scheduler
        assert isinstance(schedule, torch.optim.lr_scheduler.LambdaLR)
        wanted = parameter_groups(self.model, self.config.optimisation)
        schedule.base_lrs = [group["lr"] for group in wanted]
        for group, own, factor in zip(
            optimizer.param_groups, wanted, schedule.lr_lambdas, strict=True
        ):
            group["initial_lr"], group["weight_decay"] = own["lr"], own["weight_decay"]
            group["lr"] = own["lr"] * factor(schedule.last_epoch)


class Member(Learner):
    """Trains one network on ground truth alone."""

    def terms(self, raw: RawOutputs, batch: Batch) -> Terms:
        labels, depth, loss = batch["labels"], batch["depth"], self.config.loss
        return member_loss(raw, labels, depth, loss, self.class_weights, self.sets)


class Student(Learner):
    """Trains one network with EMUFormer's loss (arXiv 2402.10580).

    Teacher and student see the same tensor, including augmentation and jitter. The teacher's
    networks are in eval mode, without gradients, and not part of checkpoints. Under autocast, the
    teacher runs in the student's precision.

    Args:
        model, config, samples: As `Learner`; the samples with labels.
        teacher: Method to learn from, usually a `DeepEnsemble`.
        cache: Keeps the teacher's predictions on disk; None runs the teacher in every step.
    """

    config: StudentConfig

    def __init__(
        self,
        model: Network,
        config: StudentConfig,
        samples: Mixture,
        teacher: Method,
        cache: TeacherCache | None = None,
    ) -> None:
        super().__init__(model, config, samples)
        self.cache = cache
        # A function: weight averaging makes a deep copy of this module, but not of a function.
        self.teacher = lambda: teacher

    def on_fit_start(self) -> None:
        teacher = self.teacher()
        if isinstance(teacher, NetworkMethod):
            teacher.to(self.device)  # where the images are

    def terms(self, raw: RawOutputs, batch: Batch) -> Terms:
        teacher, loss = self.teacher(), self.config.loss
        prediction = self.cache.predict(teacher, batch) if self.cache else teacher(batch["image"])
        weights, sky = self.class_weights, self.classes.sky
        return student_loss(raw, prediction, batch, loss, sky, weights, self.sets, self.groups)


def monitored(model: Network) -> tuple[str, str]:
    """Validation metric that chooses the best weights, and its best end, min or max."""
    if model.segmentation_decoder is None:
        return "val_depth_rmse_m", "min"
    return "val_miou", "max"


def mean_of_known(values: Sequence[float]) -> float:
    """Mean of the values that are not NaN; NaN if there are none."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def update_metrics(
    metrics: PerceptionMetrics, prediction: Prediction, batch: Batch, space: LabelSpace
) -> None:
    """Add a batch to the metrics, in metres, as a robot would receive it.

    Args:
        metrics: Metrics of as many classes as the space has groups.
        prediction: Class probabilities and canonical depth.
        batch: Ground truth; its labels are those of the data set.
        space: Classes of the data set: probabilities are summed within its groups.
    """
    if (probabilities := grouped(prediction, space).probabilities) is not None:
        labels = probabilities.argmax(1).to(torch.uint8)  # (N,H,W)
        uncertainty = normalized_entropy(probabilities)  # (N,1,H,W)
        truth = torch.from_numpy(space.group_of_label[batch["labels"].cpu().numpy()])
        _update_frames(metrics.update_labels, labels, uncertainty, truth)
    if prediction.depth_mean is not None and prediction.depth_variance is not None:
        factor = batch["depth_factor"].view(-1, 1, 1, 1)
        depth, std = prediction.depth_mean * factor, prediction.depth_variance.sqrt() * factor
        _update_frames(metrics.update_depth, depth, std, batch["depth"] * factor)


def parameter_groups(model: nn.Module, o: Optimisation) -> list[dict]:
    """Parameters that are not frozen, with learning rate and weight decay.

    Norms and biases do not decay.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups["decoder" in name.split(".")[0], parameter.ndim > 1].append(parameter)
    return [
        {
            "params": groups[decoder, decays],
            "lr": o.learning_rate * (o.decoder_factor if decoder else 1.0),
            "weight_decay": o.weight_decay if decays else 0.0,
        }
        for decoder, decays in sorted(groups)
    ]


def _update_frames(update: Callable[..., None], *maps: Tensor) -> None:
    """Call `update` with each frame's arrays (H, W)."""
    for frame in zip(*(m.squeeze(1).cpu().numpy() for m in maps), strict=True):
        update(*frame)
