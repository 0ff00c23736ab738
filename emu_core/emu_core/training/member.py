"""A teacher's member, which is also a plain single network: cross-entropy + Gaussian NLL."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from emu_core.labels import CITYSCAPES
from emu_core.losses import cross_entropy, gaussian_nll
from emu_core.metrics import PerceptionMetrics
from emu_core.networks.models import RawOutputs, SegDepthFormer, normalize
from emu_core.prediction import Prediction, activate, to_prediction, upsample
from emu_core.training.loader import Batch
from emu_core.uncertainty import normalized_entropy


@dataclass(frozen=True)
class Optimisation:
    """AdamW with a polynomial schedule (paper.md §6).

    Args:
        learning_rate: of the encoder; 6e-5 from ImageNet weights, 5e-4…1e-3 from scratch.
        decoder_factor: the decoders' rate over the encoder's; 10 in the papers, 1 from scratch.
        weight_decay: not applied to norms and biases.
        warmup: steps of linear warm-up.
        power: of the polynomial decay.
        clip: gradient norm limit.
    """

    learning_rate: float = 6e-5
    decoder_factor: float = 10.0
    weight_decay: float = 0.01
    warmup: int = 500
    power: float = 0.9
    clip: float = 1.0


class Member(lightning.LightningModule):
    """Trains one SegDepthFormer.

    Args:
        model: the network.
        optimisation: optimiser and schedule.
        depth_weight: w1 in L = L_CE + w1·L_GNLL.
        beta: β of β-NLL; 0 is the plain Gaussian NLL.
        max_depth: range of validation's depth scores, metres.
        class_weights: what a pixel of each class counts in the cross-entropy (C,); None for 1.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        model: SegDepthFormer,
        optimisation: Optimisation,
        depth_weight: float = 1.0,
        beta: float = 0.0,
        max_depth: float = 80.0,
        class_weights: Tensor | None = None,
    ):
        super().__init__()
        self.model, self.optimisation = model, optimisation
        self.depth_weight, self.beta, self.max_depth = depth_weight, beta, max_depth
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.save_hyperparameters({"optimisation": asdict(optimisation), "beta": beta})

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """L = L_CE + w1·L_GNLL on one batch."""
        raw = upsample(self.model(normalize(batch["image"])), _size(batch))
        estimate = activate(RawOutputs(None, raw.depth))
        mean, variance = estimate.depth_mean, estimate.depth_variance
        assert raw.logits is not None and mean is not None and variance is not None
        seg = cross_entropy(raw.logits, batch["labels"], self.class_weights)
        depth = gaussian_nll(mean, variance, batch["depth"], self.beta)
        loss = seg + self.depth_weight * depth
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"The loss became {loss.item()} at step {self.global_step} (cross-entropy "
                f"{seg.item():.4g}, GNLL {depth.item():.4g}). The last checkpoint is still good: "
                "lower the learning rate, then resume from it."
            )
        self.log_dict({"loss": loss, "ce": seg, "gnll": depth}, prog_bar=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Start counting."""
        self._metrics = PerceptionMetrics(len(CITYSCAPES), self.max_depth)

    def validation_step(self, batch: Batch, _: int) -> None:
        """Score one batch in metres at the network's size."""
        raw = self.model(normalize(batch["image"]))
        update_metrics(self._metrics, to_prediction(raw, _size(batch)), batch)

    def on_validation_epoch_end(self) -> None:
        """Log the scores."""
        scores = {name: float(value) for name, value in self._metrics.compute().items()}
        self.log_dict({f"val_{name}": value for name, value in scores.items()}, prog_bar=False)
        self.print("validation:", ", ".join(f"{k} {v:.4f}" for k, v in scores.items()))

    def configure_optimizers(self):
        """AdamW: no decay on norms and biases, the decoders faster than the encoder."""
        o = self.optimisation
        optimizer = torch.optim.AdamW(parameter_groups(self.model, o), lr=o.learning_rate)
        total = int(self.trainer.estimated_stepping_batches)

        def factor(step: int) -> float:
            warm = min(1.0, (step + 1) / max(o.warmup, 1))
            return warm * max(1 - step / total, 0.0) ** o.power

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


def update_metrics(metrics: PerceptionMetrics, prediction: Prediction, batch: Batch) -> None:
    """Add a batch to the metrics, in metres, as a robot would receive it."""
    assert prediction.probabilities is not None and prediction.depth_variance is not None
    assert prediction.depth_mean is not None
    factor = batch["depth_factor"].view(-1, 1, 1, 1)
    seg = (prediction.probabilities.argmax(1).to(torch.uint8),
           normalized_entropy(prediction.probabilities)[:, 0], batch["labels"])  # fmt: skip
    depth = (prediction.depth_mean * factor, prediction.depth_variance.sqrt() * factor,
             batch["depth"] * factor)  # fmt: skip
    for maps, update in ((seg, metrics.update_labels), (depth, metrics.update_depth)):
        for frame in zip(*(m.squeeze(1).cpu().numpy() for m in maps), strict=True):
            update(*frame)


def parameter_groups(model: nn.Module, o: Optimisation) -> list[dict]:
    """Parameters with their learning rate and weight decay; norms and biases do not decay."""
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
        key = ("decoder" in name.split(".")[0], parameter.ndim > 1)
        groups[key]["params"].append(parameter)
    return [group for group in groups.values() if group["params"]]


def _size(batch: Batch) -> tuple[int, int]:
    height, width = batch["image"].shape[-2:]
    return height, width
