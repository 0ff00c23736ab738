"""A teacher's member, which is also a plain single network: cross-entropy + depth loss."""

from __future__ import annotations

from torch import Tensor

from emu_core.losses import ReduceCount
from emu_core.networks.models import Network, RawOutputs
from emu_core.objectives import MemberLoss, Terms, member_loss
from emu_core.training.learner import Learner, Optimisation
from emu_core.training.loader import Batch


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
