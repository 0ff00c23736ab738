"""How much an ensemble's members differ: without that there is nothing to gain from many."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from emu_core.methods.ensembles import SampledMethod
from emu_core.methods.uncertainty import RunningMoments, predictive_entropy


def disagreement(method: SampledMethod, batches: Iterable[Tensor]) -> dict[str, float]:
    """Measure it over all pixels of some images.

    Args:
        method: two samples or more.
        batches: images, uint8 (N, 3, H, W).

    Returns:
        `labels`: share of pixels where two members, drawn at random, name different classes;
        `mutual_information`: entropy of the mean minus mean of the entropies, nats;
        `information_share`: that over the entropy of the mean;
        `epistemic_share`: variance of the members' depths over the predictive variance, summed
        over pixels. Those of the tasks that the method has.
    """
    sums: dict[str, float] = {}

    def add(name: str, values: Tensor) -> None:
        sums[name] = sums.get(name, 0.0) + float(values.double().sum())

    for images in batches:
        labels: list[Tensor] = []
        mean, entropy, moments = None, None, RunningMoments()
        for sample in method.samples(images):
            if (p := sample.probabilities) is not None:
                labels.append(p.argmax(1).to(torch.uint8))  # (N,H,W)
                mean = p if mean is None else mean + p
                own = predictive_entropy(p)
                entropy = own if entropy is None else entropy + own
            if sample.depth_mean is not None and sample.depth_variance is not None:
                moments.add(sample.depth_mean, sample.depth_variance)
        if mean is not None and entropy is not None:
            count = len(labels)
            whole = predictive_entropy(mean / count)
            add("pixels", torch.ones_like(whole))
            add("labels", _differing_pairs(torch.stack(labels)))
            add("information", whole - entropy / count)
            add("entropy", whole)
        if moments.count:
            depth = moments.compute()
            add("epistemic", depth.epistemic)
            add("variance", depth.variance)
    figures = {}
    if "pixels" in sums:
        figures["labels"] = sums["labels"] / sums["pixels"]
        figures["mutual_information"] = sums["information"] / sums["pixels"]
        figures["information_share"] = sums["information"] / max(sums["entropy"], 1e-30)
    if "variance" in sums:
        figures["epistemic_share"] = sums["epistemic"] / max(sums["variance"], 1e-30)
    return figures


def _differing_pairs(labels: Tensor) -> Tensor:
    """Share of the pairs of samples that differ, (N,H,W), from their labels (M,N,H,W)."""
    count = len(labels)
    different = torch.zeros(labels.shape[1:], device=labels.device)
    for i in range(count):
        for j in range(i):
            different += labels[i] != labels[j]
    return different / max(count * (count - 1) / 2, 1)
