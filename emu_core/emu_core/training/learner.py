"""What training a member and training a student have in common: optimiser, seeds, validation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor, nn

from emu_core.methods.ensembles import Method, move_to
from emu_core.methods.prediction import Prediction, to_prediction
from emu_core.methods.uncertainty import normalized_entropy
from emu_core.metrics import PerceptionMetrics
from emu_core.networks.models import Network, RawOutputs, normalize
from emu_core.training.config import Optimisation
from emu_core.training.loader import Batch
from emu_core.training.losses import ReduceCount, identity, mean_over_ranks
from emu_core.training.objectives import (
    MemberLoss,
    StudentLoss,
    Terms,
    gradient_shares,
    member_loss,
    student_loss,
    total,
)
from emu_core.training.teacher_cache import TeacherCache

_SKIPPED = 50
"""Steps in a row that half precision may skip: 2^16, the first scale, is used up long before."""


class Learner(lightning.LightningModule):
    """Trains one network; subclasses say with what loss.

    Args:
        model: SegFormer, DepthFormer or SegDepthFormer.
        optimisation: optimiser and schedule.
        num_classes: C of the data set.
        max_depth: range of validation's depth scores, metres.
        seed: of dropout and stochastic depth, drawn anew for each step: so a resumed run draws
            what a run that was never killed would have drawn.
        shares_every: steps between two looks at which term of the loss pulls how much (0: never).
    """

    def __init__(
        self,
        model: Network,
        optimisation: Optimisation,
        num_classes: int,
        max_depth: float,
        seed: int = 0,
        shares_every: int = 0,
    ):
        super().__init__()
        self.model, self.optimisation = model, optimisation
        self.num_classes, self.max_depth = num_classes, max_depth
        self.seed, self.shares_every = seed, shares_every
        self._skipped = 0
        self.save_hyperparameters({"optimisation": asdict(optimisation)})

    @abstractmethod
    def terms(self, raw: RawOutputs, batch: Batch, reduce_count: ReduceCount) -> Terms:
        """The weighted terms of the loss, from the network's raw outputs on a batch."""

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed the step."""
        words = np.random.SeedSequence([self.seed, self.global_step, self.global_rank])
        torch.manual_seed(int(words.generate_state(1, np.uint64)[0]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        raw = self.model(normalize(batch["image"]))
        reduce_count = mean_over_ranks if self.trainer.world_size > 1 else identity
        terms = self.terms(raw, batch, reduce_count)
        loss = total(terms)
        if not self._finite_everywhere(loss):
            whose = "loss" if not torch.isfinite(loss) else "loss of another process"
            each = ", ".join(f"{name} {term.item():.4g}" for name, term in terms.items())
            raise self._diverged(f"The {whose} became {_name(loss)}", each)
        if self.shares_every and self.global_step % self.shares_every == 0:
            shares = gradient_shares(terms, raw)
            for logger in self.loggers:  # at once: `log_dict` waits for the logging interval
                logger.log_metrics(
                    {f"share_{name.replace('/', '_')}": share for name, share in shares.items()},
                    step=self.global_step,
                )
        self.log_dict({"loss": loss, **terms}, prog_bar=True)
        return loss

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Limit the gradient's norm, and stop before one that is not finite spoils the weights."""
        limit = self.optimisation.clip or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        # In half precision the scaler skips such a step, and scales the next loss by half.
        self._skipped = 0 if torch.isfinite(norm) else self._skipped + 1
        if self._skipped > (_SKIPPED if self._scaled else 0):
            details = "the loss is finite"
            if self._scaled:
                details += f"; {_SKIPPED} steps before it were skipped, at ever smaller scales"
            raise self._diverged(f"The gradient's norm became {_name(norm)}", details)
        self.log("gradient_norm", norm)

    @property
    def _scaled(self) -> bool:
        """Whether the loss is scaled, as half precision needs it."""
        return getattr(self.trainer.precision_plugin, "scaler", None) is not None

    def _finite_everywhere(self, loss: Tensor) -> bool:
        """Whether the loss is finite in all processes: they stop together or not at all."""
        broken = (~torch.isfinite(loss.detach())).float()
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(broken)
        return not bool(broken)

    def _diverged(self, what: str, details: str) -> FloatingPointError:
        return FloatingPointError(
            f"{what} at step {self.global_step} ({details}). The last checkpoint is still good: "
            "lower the learning rate, then resume from it."
        )

    def on_validation_epoch_start(self) -> None:
        """Start counting."""
        self._metrics = PerceptionMetrics(self.num_classes, self.max_depth)

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Prediction]:
        """Score one batch in metres at the network's size."""
        raw = self.model(normalize(batch["image"]))
        height, width = batch["image"].shape[-2:]
        prediction = to_prediction(raw, (height, width))
        update_metrics(self._metrics, prediction, batch)
        return {"prediction": prediction}

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the tasks that the network has."""
        scores = {
            name: float(value)
            for name, value in self._metrics.compute().items()
            if (name.startswith("depth_") and self.model.depth_decoder is not None)
            or (not name.startswith("depth_") and self.model.segmentation_decoder is not None)
        }
        self.log_dict({f"val_{name}": value for name, value in scores.items()}, prog_bar=False)
        if not self.trainer.sanity_checking:
            self.print("validation:", ", ".join(f"{k} {v:.4f}" for k, v in scores.items()))

    def configure_optimizers(self):
        """AdamW: no decay on norms and biases, the decoders faster than the encoder."""
        o = self.optimisation
        # Fused is six times as fast on a CPU, and does not let a scaler unscale before clipping.
        groups, fused = parameter_groups(self.model, o), not self._scaled
        optimizer = torch.optim.AdamW(groups, lr=o.learning_rate, fused=fused)
        steps = int(self.trainer.estimated_stepping_batches)

        def factor(step: int) -> float:
            warm = min(1.0, (step + 1) / max(o.warmup, 1))
            return warm * max(1 - step / steps, 0.0) ** o.power

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def on_train_start(self) -> None:
        """Take rates and decay from the configuration: a checkpoint restores those it had."""
        (optimizer,), (config,) = self.trainer.optimizers, self.trainer.lr_scheduler_configs
        schedule = config.scheduler
        assert isinstance(schedule, torch.optim.lr_scheduler.LambdaLR)
        wanted = parameter_groups(self.model, self.optimisation)
        schedule.base_lrs = [group["lr"] for group in wanted]
        for group, own, factor in zip(
            optimizer.param_groups, wanted, schedule.lr_lambdas, strict=True
        ):
            group["initial_lr"], group["weight_decay"] = own["lr"], own["weight_decay"]
            group["lr"] = own["lr"] * factor(schedule.last_epoch)


def monitored(model: Network) -> tuple[str, str]:
    """The validation score that chooses the best weights, and whether it is best at max or min."""
    if model.segmentation_decoder is None:
        return "val_depth_rmse_m", "min"
    return "val_miou", "max"


def update_metrics(metrics: PerceptionMetrics, prediction: Prediction, batch: Batch) -> None:
    """Add a batch to the metrics, in metres, as a robot would receive it."""
    if prediction.probabilities is not None:
        seg = (prediction.probabilities.argmax(1).to(torch.uint8),
               normalized_entropy(prediction.probabilities), batch["labels"])  # fmt: skip
        _each(metrics.update_labels, seg)
    if prediction.depth_mean is not None and prediction.depth_variance is not None:
        factor = batch["depth_factor"].view(-1, 1, 1, 1)
        depth = (prediction.depth_mean * factor, prediction.depth_variance.sqrt() * factor,
                 batch["depth"] * factor)  # fmt: skip
        _each(metrics.update_depth, depth)


def parameter_groups(model: nn.Module, o: Optimisation) -> list[dict]:
    """Parameters with their learning rate and weight decay; norms and biases do not decay.

    Frozen parameters are left out.
    """
    groups: dict[tuple[bool, bool], dict[str, Any]] = {
        (decoder, decay): {
            "params": [],
            "lr": o.learning_rate * (o.decoder_factor if decoder else 1.0),
            "weight_decay": o.weight_decay if decay else 0.0,
        }
        for decoder in (False, True)
        for decay in (False, True)
    }
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = ("decoder" in name.split(".")[0], parameter.ndim > 1)
            groups[key]["params"].append(parameter)
    return [group for group in groups.values() if group["params"]]


def _name(value: Tensor) -> str:
    return "no finite number" if torch.isfinite(value) else str(value.item())


def _each(update: Callable[..., None], maps: tuple[Tensor, ...]) -> None:
    """Call `update` with each frame's arrays (H, W)."""
    for frame in zip(*(m.squeeze(1).cpu().numpy() for m in maps), strict=True):
        update(*frame)


class Member(Learner):
    """Trains one network on ground truth alone.

    Args:
        model: see `Learner`, as all others.
        loss: kinds and weights of its terms.
        class_weights: what a pixel of each class counts in the cross-entropy (C,); None for 1.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        model: Network,
        optimisation: Optimisation,
        loss: MemberLoss,
        num_classes: int,
        max_depth: float,
        seed: int = 0,
        shares_every: int = 0,
        class_weights: Tensor | None = None,
    ):
        super().__init__(model, optimisation, num_classes, max_depth, seed, shares_every)
        self.loss = loss
        self.register_buffer("class_weights", class_weights, persistent=False)

    def terms(self, raw: RawOutputs, batch: Batch, reduce_count: ReduceCount) -> Terms:
        """L_CE + w1·L_depth, those that the network has outputs for."""
        return member_loss(
            raw,
            batch["labels"],
            batch["depth"],
            self.loss,
            class_weights=self.class_weights,
            reduce_count=reduce_count,
        )


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
