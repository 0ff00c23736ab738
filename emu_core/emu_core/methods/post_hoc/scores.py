"""Other scores than the entropy that rank pixels by doubt about their class.

Each is a method of its own: the same networks, probabilities and depth as `single` or `de`, but
another ranking. Scores must be at least 0 for the rankings, so those of unbounded logits are moved
by `OFFSET`; that changes no ranking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from emu_core.methods.base import NetworkMethod, SampledMethod, average, image_size, to_input
from emu_core.methods.prediction import Prediction, activate, upsample
from emu_core.methods.registry import METHODS, LoadOptions, MethodKind
from emu_core.methods.uncertainty import predictive_entropy
from emu_core.networks.models import Network
from emu_core.networks.weights import load_model

OFFSET = 128.0
"""Added to scores that may be negative; single precision still resolves 1e-5 there."""

Score = Callable[[Tensor], Tensor]
"""Function from logits (N, C, H, W) to the score (N, 1, H, W)."""


def one_minus_largest(logits: Tensor) -> Tensor:
    """1 − the largest probability (maximum softmax; Hendrycks and Gimpel, ICLR 2017)."""
    return 1 - logits.softmax(dim=1).amax(dim=1, keepdim=True)


def negative_largest_logit(logits: Tensor) -> Tensor:
    """Minus the largest logit (max-logit; Hendrycks et al., ICML 2022), moved by `OFFSET`."""
    return _moved(-logits.amax(dim=1, keepdim=True))


def energy(logits: Tensor) -> Tensor:
    """−log Σ exp z (energy at temperature 1; Liu et al., NeurIPS 2020), moved by `OFFSET`."""
    return _moved(-logits.logsumexp(dim=1, keepdim=True))


def _moved(score: Tensor) -> Tensor:
    return (score + OFFSET).clamp_min(0)


class ScoredNetwork(NetworkMethod):
    """One pass of one network, ranked by a score of its logits."""

    def __init__(self, network: Network, score: Score) -> None:
        super().__init__([network])
        self.score = score

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Prediction:
        raw = upsample(self.networks[0](to_input(images)), image_size(images))
        prediction = activate(raw)
        if raw.logits is None:
            return prediction
        return replace(prediction, class_score=self.score(raw.logits))


class MutualInformation:
    """Samples that are averaged, ranked by the mutual information of class and sample.

    This is the entropy of the mean softmax minus the mean entropy of the samples: what the samples
    disagree about (Houlsby et al., arXiv 1112.5745).
    """

    def __init__(self, method: SampledMethod) -> None:
        self.method = method

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Prediction:
        entropies = RunningMean()

        def watched() -> Iterator[Prediction]:
            for sample in self.method.samples(images):
                if sample.probabilities is not None:
                    entropies.add(predictive_entropy(sample.probabilities))
                yield sample
                del sample  # it would stay in memory while the next one is computed

        prediction = average(watched())
        if prediction.probabilities is None:
            return prediction
        information = predictive_entropy(prediction.probabilities) - entropies.mean
        return replace(prediction, class_score=information.clamp_min(0))


class RunningMean:
    """Mean of tensors that are added one by one."""

    def __init__(self) -> None:
        self.count, self.total = 0, torch.zeros(())

    def add(self, values: Tensor) -> None:
        self.count, self.total = self.count + 1, self.total.to(values.device) + values

    @property
    def mean(self) -> Tensor:
        """The mean; NaN before the first tensor."""
        return self.total / self.count if self.count else torch.tensor(torch.nan)


def _load(score: Score, paths: Sequence[Path], options: LoadOptions) -> ScoredNetwork:
    return ScoredNetwork(load_model(paths[0])[0].to(options.device), score)


def _load_information(paths: Sequence[Path], options: LoadOptions) -> MutualInformation:
    ensemble = METHODS["de"].load(paths, options)
    assert isinstance(ensemble, SampledMethod)
    return MutualInformation(ensemble)


for _name, _heading, _score in (
    ("max_softmax", "single network, ranked by maximum softmax", one_minus_largest),
    ("max_logit", "single network, ranked by max-logit", negative_largest_logit),
    ("energy", "single network, ranked by energy", energy),
):
    METHODS.add(_name, MethodKind(_heading, partial(_load, _score)))
METHODS.add(
    "de_information",
    MethodKind(
        "Deep Ensemble, ranked by mutual information",
        _load_information,
        "members",
        takes_all_files=True,
    ),
)
